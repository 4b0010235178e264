/*
 * `doppel doctor`: what this host offers and what is missing, one line each, with the package to
 * install where one helps.
 */
#include "cpu/version.h"
#include "bios/bios.h"
#include "ui/ui.h"
#include "ui/window.h"

#include <SDL.h>
#include <capstone/capstone.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <lzma.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

static void report(bool good, const char *subject, const char *text)
{
    printf("%s %-12s %s\n", good ? "ok  " : "  - ", subject, text);
}

#ifdef __x86_64__
static void check_processor(void)
{
    static const char *const names[] = {" SSE4.2", " POPCNT", " AVX2", " BMI2"};
    int present[] = {__builtin_cpu_supports("sse4.2"), __builtin_cpu_supports("popcnt"),
                     __builtin_cpu_supports("avx2"), __builtin_cpu_supports("bmi2")};
    char text[128] = "x86-64 with";
    bool base = present[0] && present[1];
    for (size_t i = 0; i < sizeof present / sizeof present[0]; i++)
        if (present[i])
            strcat(text, names[i]);
    report(true, "host", text);
    report(base, "translator",
           base ? "runs here (--accel translator)"
                : "needs SSE4.2 and POPCNT; use --accel interpreter");
}
#else
static void check_processor(void)
{
    report(true, "host", "not x86-64");
    report(false, "translator", "has no code generator for this host; use --accel interpreter");
}
#endif

static void check_kvm(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        report(false, "KVM", "no usable /dev/kvm");
        return;
    }
    char text[96];
    snprintf(text, sizeof text, "/dev/kvm answers (API %d), but doppel does not use KVM yet",
             ioctl(fd, KVM_GET_API_VERSION, 0));
    close(fd);
    report(false, "KVM", text);
}

static bool check_firmware(const char *label, const char *name, const char *package)
{
    char path[1024], text[1200];
    bool found = firmware_path(name, path, sizeof path) != NULL;
    if (found)
        snprintf(text, sizeof text, "%s", path);
    else
        snprintf(text, sizeof text, "%s is missing; install the package '%s'", name, package);
    report(found, label, text);
    return found;
}

static void check_display(void)
{
    char text[640];
    SDL_version version;
    SDL_GetVersion(&version);
    struct error error;
    bool usable = display_start(&error);
    if (usable) {
        snprintf(text, sizeof text, "SDL %d.%d.%d with the %s driver", version.major, version.minor,
                 version.patch, SDL_GetCurrentVideoDriver());
        SDL_Quit();
    } else {
        snprintf(text, sizeof text, "SDL %d.%d.%d finds none (%s); use --headless", version.major,
                 version.minor, version.patch, error.text);
    }
    report(usable, "display", text);
}

static void check_libraries(void)
{
    char text[256];
    int major, minor;
    cs_version(&major, &minor);
    snprintf(text, sizeof text, "libslirp %s, Capstone %d.%d, zlib %s, liblzma %s, libzstd %s",
             slirp_version_string(), major, minor, zlibVersion(), lzma_version_string(),
             ZSTD_versionString());
    report(true, "libraries", text);
}

int command_doctor(int argc, char **argv)
{
    if (argc > 0)
        return complain("doctor takes no arguments, not '%s'", argv[0]);
    printf("doppel %s\n", DOPPEL_VERSION);
    check_processor();
    check_kvm();
    bool firmware = check_firmware("firmware", FIRMWARE_BIOS, FIRMWARE_PACKAGE);
    firmware &= check_firmware("firmware", FIRMWARE_VGA, FIRMWARE_PACKAGE);
    char rom[32];
    snprintf(rom, sizeof rom, FIRMWARE_PXE, "e1000");
    check_firmware("boot ROMs", rom, FIRMWARE_PXE_PACKAGE);
    check_display();
    check_libraries();
    if (!firmware)
        puts("Machines cannot start until the firmware is installed.");
    return firmware ? STATUS_DONE : STATUS_USAGE;
}
