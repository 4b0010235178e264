#include "ui/options.h"

#include "bios/bios.h"
#include "cpu/log.h"
#include "cpu/models.h"
#include "hw/storage/floppy.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_DEFAULT (1ull << 30)
#define MEMORY_MIN     (4ull << 20)
#define MEMORY_MAX     (1ull << 40)
#define CODE_CACHE_MIN (4ull << 20)
#define CODE_CACHE_MAX (1ull << 30)

struct option_row;
typedef bool option_fn(struct run_options *options, const struct option_row *row, const char *value,
                       struct error *error);

struct option_row {
    char letter; /* 0: none */
    const char *name;
    const char *argument; /* NULL: takes none */
    option_fn *set;       /* NULL: not built yet */
    const char *help;
};

/* -- Values -- */

static bool parse_size(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno)
        return false;
    unsigned shift = 20; /* a bare number means MiB */
    if (*end) {
        const char *unit = strchr(units, *end & ~0x20);
        if (!unit)
            return false;
        shift = 10 * (unsigned)(unit - units + 1);
        end++;
        if (*end && strcmp(end, "iB") != 0 && strcmp(end, "B") != 0)
            return false;
    }
    if (number > UINT64_MAX >> shift)
        return false;
    *bytes = (uint64_t)number << shift;
    return true;
}

static bool set_memory(struct run_options *options, const struct option_row *row, const char *value,
                       struct error *error)
{
    uint64_t bytes;
    if (!parse_size(value, &bytes))
        return error_set(error, "--memory: '%s' is no size; write for example 512M or 2G", value);
    if (bytes < MEMORY_MIN || bytes > MEMORY_MAX)
        return error_set(error, "--memory: %s is outside what a machine can have (4M to 1T)",
                         value);
    options->memory_bytes = bytes & ~0xfffffull;
    return true;
}

static bool set_accel(struct run_options *options, const struct option_row *row, const char *value,
                      struct error *error)
{
    static const char *const built[] = {"auto", "translator", "interpreter"};
    for (size_t i = 0; i < sizeof built / sizeof built[0]; i++)
        if (strcmp(value, built[i]) == 0) {
            options->accel = built[i];
            return true;
        }
    if (strcmp(value, "kvm") == 0)
        return error_set(error,
                         "--accel: kvm is not built yet; use auto, translator or interpreter");
    return error_set(error, "--accel: '%s' is unknown; use auto, translator or interpreter", value);
}

/* Copies the next comma-separated word of *text (",," stands for a comma within it). */
static char *next_word(const char **text)
{
    char *word = malloc(strlen(*text) + 1);
    if (!word)
        abort();
    size_t length = 0;
    while (**text && !(**text == ',' && (*text)[1] != ',')) {
        if (**text == ',')
            (*text)++;
        word[length++] = *(*text)++;
    }
    if (**text == ',')
        (*text)++;
    word[length] = 0;
    return word;
}

/* What --disk bus= may say; the product plan names more. */
static const struct {
    const char *name;
    enum machine_bus bus;
} disk_buses[] = {
    {"ide", MACHINE_IDE},
    {"ahci", MACHINE_AHCI},
    {"nvme", MACHINE_NVME},
    {"virtio", MACHINE_VIRTIO},
    {"virtio-scsi", MACHINE_VIRTIO_SCSI},
    {"usb", MACHINE_USB},
};

static bool set_disk_bus(struct disk_option *disk, const char *name, struct error *error)
{
    for (size_t i = 0; i < sizeof disk_buses / sizeof disk_buses[0]; i++)
        if (strcmp(name, disk_buses[i].name) == 0) {
            disk->bus = disk_buses[i].bus;
            return true;
        }
    return error_set(error,
                     "--disk: bus '%s' is not built yet; use bus=ide, ahci, nvme, virtio, "
                     "virtio-scsi or usb",
                     name);
}

static bool set_disk_property(struct disk_option *disk, const char *word, struct error *error)
{
    if (strcmp(word, "readonly") == 0)
        disk->read_only = true;
    else if (strcmp(word, "temporary") == 0)
        disk->temporary = true;
    else if (strncmp(word, "bus=", 4) == 0)
        return set_disk_bus(disk, word + 4, error);
    else if (strncmp(word, "format=", 7) == 0 && strcmp(word + 7, "raw") != 0)
        return error_set(error, "--disk: format '%s' is not built yet; use format=raw", word + 7);
    else if (strncmp(word, "format=", 7) != 0)
        return error_set(error,
                         "--disk: '%s' is unknown; after the file come bus=, format=, readonly, "
                         "temporary",
                         word);
    return true;
}

static bool add_disk(struct run_options *options, const struct option_row *row, const char *value,
                     enum machine_bus bus, struct error *error)
{
    if (options->disks == OPTIONS_DISKS)
        return error_set(error, "--%s: a machine has at most %d disks", row->name, OPTIONS_DISKS);
    struct disk_option *disk = &options->disk[options->disks++];
    disk->bus = bus;
    disk->path = next_word(&value);
    if (!*disk->path)
        return error_set(error, "--%s needs a file name", row->name);
    while (*value) {
        char *word = next_word(&value);
        bool ok = set_disk_property(disk, word, error);
        free(word);
        if (!ok)
            return false;
    }
    return true;
}

static bool set_disk(struct run_options *options, const struct option_row *row, const char *value,
                     struct error *error)
{
    return add_disk(options, row, value, MACHINE_IDE, error);
}

static bool set_floppy(struct run_options *options, const struct option_row *row, const char *value,
                       struct error *error)
{
    if (!add_disk(options, row, value, MACHINE_FLOPPY, error))
        return false;
    return options->disk[options->disks - 1].bus == MACHINE_FLOPPY ||
           error_set(error, "--floppy takes no bus=; a floppy has its own controller");
}

static bool set_cdrom(struct run_options *options, const struct option_row *row, const char *value,
                      struct error *error)
{
    struct disk_option *cdrom = &options->cdrom;
    free(cdrom->path);
    *cdrom = (struct disk_option){.path = next_word(&value)};
    if (!*cdrom->path)
        return error_set(error, "--cdrom needs a file name");
    while (*value) {
        char *word = next_word(&value);
        bool ok = strncmp(word, "bus=", 4) == 0 && set_disk_bus(cdrom, word + 4, NULL) &&
                  cdrom->bus != MACHINE_NVME && cdrom->bus != MACHINE_VIRTIO;
        if (!ok)
            error_set(error,
                      "--cdrom: '%s' is unknown; after the file comes bus=ide, ahci, "
                      "virtio-scsi or usb",
                      word);
        free(word);
        if (!ok)
            return false;
    }
    return true;
}

static bool set_board(struct run_options *options, const struct option_row *row, const char *value,
                      struct error *error)
{
    if (strcmp(value, "pc") == 0)
        options->board = MACHINE_PC;
    else if (strcmp(value, "q35") == 0)
        options->board = MACHINE_Q35;
    else
        return error_set(error, "--board: '%s' is unknown; use pc or q35", value);
    return true;
}

static bool set_firmware(struct run_options *options, const struct option_row *row,
                         const char *value, struct error *error)
{
    const char *file = value;
    char *kind = next_word(&value), *word = NULL;
    bool ok = true;
    options->uefi = strcmp(kind, "uefi") == 0;
    options->firmware = options->uefi || strcmp(kind, "bios") == 0 ? NULL : file;
    if (!options->firmware && *value) {
        word = next_word(&value);
        ok = options->uefi && strncmp(word, "vars=", 5) == 0 && word[5] && !*value;
        if (!ok)
            error_set(error, "--firmware: '%s' is unknown; after uefi comes vars=FILE", word);
        else
            options->uefi_vars = strdup(word + 5);
    }
    free(kind);
    free(word);
    return ok;
}

static bool set_watchdog(struct run_options *options, const struct option_row *row,
                         const char *value, struct error *error)
{
    static const char *const actions[] = {"reset", "poweroff", "pause"};
    for (unsigned i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strcmp(value, actions[i]) == 0) {
            options->watchdog = true;
            options->watchdog_action = (enum machine_action)i;
            return true;
        }
    return error_set(error, "--watchdog: '%s' is no action; use reset, poweroff or pause", value);
}

static bool set_sound_card(struct run_options *options, const char *card, struct error *error)
{
    static const char *const cards[] = {
        [MACHINE_HDA] = "hda", [MACHINE_AC97] = "ac97", [MACHINE_SB16] = "sb16"};
    for (unsigned i = MACHINE_HDA; i <= MACHINE_SB16; i++)
        if (strcmp(card, cards[i]) == 0) {
            options->sound_card = (enum machine_sound)i;
            return true;
        }
    return error_set(error, "--audio: '%s' is no sound card; use hda, ac97 or sb16", card);
}

static bool set_audio(struct run_options *options, const struct option_row *row, const char *value,
                      struct error *error)
{
    static const char last[] = ",card=";
    char *where = strdup(value);
    char *card = where ? strstr(where, last) : NULL;
    bool ok = true;
    if (!where)
        return error_set(error, "out of memory");
    free(options->wav);
    options->wav = NULL;
    options->sound_card = MACHINE_NO_SOUND;
    if (card) {
        *card = 0;
        ok = set_sound_card(options, card + strlen(last), error);
    }
    if (strcmp(where, "auto") == 0) {
        options->audio = AUDIO_AUTO;
    } else if (strcmp(where, "none") == 0) {
        options->audio = AUDIO_NONE;
    } else if (strncmp(where, "wav:", 4) == 0 && where[4]) {
        options->audio = AUDIO_WAV;
        options->wav = strdup(where + 4);
    } else if (ok) {
        ok = error_set(error, "--audio: '%s' is unknown; use auto, none or wav:FILE", where);
    }
    free(where);
    return ok;
}

/* The controller, and what is plugged into it. */
static bool set_usb(struct run_options *options, const struct option_row *row, const char *value,
                    struct error *error)
{
    bool ok = true;
    options->usb_chosen = true;
    options->usb = MACHINE_XHCI;
    options->usb_tablet = options->usb_keyboard = false;
    while (ok && *value) {
        char *word = next_word(&value);
        if (strcmp(word, "xhci") == 0)
            options->usb = MACHINE_XHCI;
        else if (strcmp(word, "uhci") == 0)
            options->usb = MACHINE_UHCI;
        else if (strcmp(word, "none") == 0)
            options->usb = MACHINE_NO_USB;
        else if (strcmp(word, "tablet") == 0)
            options->usb_tablet = true;
        else if (strcmp(word, "keyboard") == 0)
            options->usb_keyboard = true;
        else
            ok = error_set(error,
                           "--usb: '%s' is unknown; use xhci, uhci or none, then tablet, keyboard",
                           word);
        free(word);
    }
    return ok;
}

static bool set_module(struct run_options *options, const struct option_row *row, const char *value,
                       struct error *error)
{
    if (options->modules == OPTIONS_MODULES)
        return error_set(error, "--module: a kernel gets at most %d modules", OPTIONS_MODULES);
    options->module[options->modules++] = value;
    return true;
}

static bool set_kernel_unpack(struct run_options *options, const struct option_row *row,
                              const char *value, struct error *error)
{
    options->kernel_unpack = value;
    return strcmp(value, "host") == 0 || strcmp(value, "guest") == 0 ||
           error_set(error, "--kernel-unpack: '%s' is unknown; use host or guest", value);
}

static bool set_boot(struct run_options *options, const struct option_row *row, const char *value,
                     struct error *error)
{
    options->boot = value;
    return bios_check_boot(value, error);
}

static bool set_display(struct run_options *options, const struct option_row *row,
                        const char *value, struct error *error)
{
    if (strcmp(value, "window") == 0)
        options->display = DISPLAY_WINDOW;
    else if (strcmp(value, "none") == 0)
        options->display = DISPLAY_NONE;
    else if (strncmp(value, "vnc", 3) == 0)
        return error_set(error, "--display: vnc is not built yet; use window or none");
    else
        return error_set(error, "--display: '%s' is unknown; use window or none", value);
    return true;
}

static bool set_scale(struct run_options *options, const struct option_row *row, const char *value,
                      struct error *error)
{
    if (strcmp(value, "fit") == 0)
        options->scale = 0;
    else if (value[0] >= '1' && value[0] <= '8' && !value[1])
        options->scale = (unsigned)(value[0] - '0');
    else
        return error_set(error, "--scale: '%s' is no scale; use fit or 1 to 8", value);
    return true;
}

static bool set_serial(struct run_options *options, const struct option_row *row, const char *value,
                       struct error *error)
{
    if (options->serials == OPTIONS_SERIALS)
        return error_set(error, "--serial: the board has %d serial lines", OPTIONS_SERIALS);
    options->serial[options->serials++] = value;
    return true;
}

static bool set_console(struct run_options *options, const struct option_row *row,
                        const char *value, struct error *error)
{
    if (options->consoles == MACHINE_CONSOLES)
        return error_set(error, "--console: a machine has at most %d ports", MACHINE_CONSOLES);
    struct console_option *console = &options->console[options->consoles++];
    console->where = next_word(&value);
    while (*value) {
        char *word = next_word(&value);
        bool ok = strncmp(word, "name=", 5) == 0 && word[5] && strlen(word + 5) < 64;
        if (ok) {
            free(console->name);
            console->name = strdup(word + 5);
        } else {
            error_set(error, "--console: '%s' is unknown; after the place comes name=NAME", word);
        }
        free(word);
        if (!ok)
            return false;
    }
    return true;
}

static bool set_code_cache(struct run_options *options, const struct option_row *row,
                           const char *value, struct error *error)
{
    uint64_t bytes;
    if (!parse_size(value, &bytes))
        return error_set(error, "--code-cache: '%s' is no size; write for example 64M", value);
    if (bytes < CODE_CACHE_MIN || bytes > CODE_CACHE_MAX)
        return error_set(error, "--code-cache: %s is not between 4M and 1G", value);
    options->code_cache_mb = (unsigned)(bytes >> 20);
    return true;
}

static bool set_balloon(struct run_options *options, const struct option_row *row,
                        const char *value, struct error *error)
{
    if (!parse_size(value, &options->balloon_bytes) || !options->balloon_bytes)
        return error_set(error, "--balloon: '%s' is no size; write for example 512M", value);
    options->balloon = true;
    return true;
}

static bool set_headless(struct run_options *options, const struct option_row *row,
                         const char *value, struct error *error)
{
    options->headless = true;
    return true;
}

static bool set_log(struct run_options *options, const struct option_row *row, const char *value,
                    struct error *error)
{
    static const struct {
        const char *name;
        unsigned item;
    } items[] = {{"guest", LOG_GUEST}, {"in", LOG_IN},   {"ir", LOG_IR}, {"out", LOG_OUT},
                 {"exec", LOG_EXEC},   {"int", LOG_INT}, {"io", LOG_IO}, {"msr", LOG_MSR}};
    const size_t count = sizeof items / sizeof items[0];
    const char *colon = strchr(value, ':');
    size_t length = colon ? (size_t)(colon - value) : strlen(value);
    if (colon)
        options->log_path = colon + 1;
    if (colon && !colon[1])
        return error_set(error, "--log: a file name must follow the colon");
    for (const char *word = value; word < value + length;) {
        size_t word_length = strcspn(word, ",:");
        size_t i = 0;
        while (i < count && (strlen(items[i].name) != word_length ||
                             memcmp(items[i].name, word, word_length) != 0))
            i++;
        if (i == count)
            return error_set(error,
                             "--log: '%.*s' is unknown; use guest, in, ir, out, exec, int, io, msr",
                             (int)word_length, word);
        options->log_items |= items[i].item;
        word += word_length + 1;
    }
    return true;
}

/* Plain strings and switches go by the member's place. */
#define STRING_OPTION(member)                                                                      \
    static bool set_##member(struct run_options *options, const struct option_row *row,            \
                             const char *value, struct error *error)                               \
    {                                                                                              \
        options->member = value;                                                                   \
        return true;                                                                               \
    }
#define SWITCH_OPTION(member)                                                                      \
    static bool set_##member(struct run_options *options, const struct option_row *row,            \
                             const char *value, struct error *error)                               \
    {                                                                                              \
        options->member = true;                                                                    \
        return true;                                                                               \
    }
STRING_OPTION(kernel)
STRING_OPTION(initrd)
STRING_OPTION(append)
STRING_OPTION(net)
STRING_OPTION(name)
SWITCH_OPTION(fullscreen)
SWITCH_OPTION(no_reboot)
SWITCH_OPTION(exit_port)
SWITCH_OPTION(verify)
SWITCH_OPTION(stats)
SWITCH_OPTION(paused)
SWITCH_OPTION(rng)

static bool set_cpu(struct run_options *options, const struct option_row *row, const char *value,
                    struct error *error)
{
    if (strcmp(value, "help") == 0) {
        cpu_models_print(stdout);
        exit(0);
    }
    options->cpu = value;
    return true;
}

static const struct option_row rows[] = {
    {'m', "memory", "SIZE", set_memory, "RAM: 512M, 2G (default 1G)"},
    {'c', "cpus", "N", NULL, "virtual CPUs"},
    {0, "cpu", "MODEL[,+FEAT,-FEAT]", set_cpu,
     "processor model; 'help' lists them and their features"},
    {0, "accel", "ENGINE", set_accel, "how CPUs run: auto, translator, interpreter"},
    {0, "disk", "FILE[,bus=B][,readonly][,temporary]", set_disk,
     "raw disk image on bus ide (default), ahci, nvme, virtio, virtio-scsi, usb; repeatable; "
     "temporary discards writes"},
    {0, "cdrom", "FILE[,bus=B]", set_cdrom,
     "CD-ROM image on bus ide (default), ahci, virtio-scsi or usb"},
    {0, "floppy", "FILE[,readonly][,temporary]", set_floppy,
     "floppy image of 160K to 2.88M; a second one is drive B"},
    {0, "kernel", "FILE", set_kernel,
     "start this kernel directly: Linux bzImage, Multiboot 1 or 2, PVH ELF"},
    {0, "initrd", "FILE", set_initrd, "initial RAM disk of the kernel"},
    {0, "append", "TEXT", set_append, "command line of the kernel"},
    {0, "kernel-unpack", "host|guest", set_kernel_unpack,
     "who unpacks a bzImage: doppel (default, if it can) or the kernel's own code"},
    {0, "module", "FILE [ARGS]", set_module,
     "module for a Multiboot or PVH kernel, after the initrd; repeatable"},
    {0, "board", "NAME", set_board, "pc (i440FX, default) or q35 (PCI Express, SATA)"},
    {0, "firmware", "KIND", set_firmware,
     "bios (default), uefi[,vars=FILE keeps its variables], or a ROM file"},
    {0, "watchdog", "ACTION", set_watchdog,
     "an i6300ESB; when it runs out: reset, poweroff or pause"},
    {0, "boot", "ORDER", set_boot, "boot order: disk,cdrom,floppy,net,menu"},
    {0, "net", "KIND[,...]", set_net,
     "user[,forward=tcp:HOSTPORT:GUESTPORT][,model=e1000|rtl8139|rtl8139c|ne2k|virtio][,mac=..]"
     "[,restrict][,tftp=DIR][,bootfile=NAME][,capture=F], none"},
    {0, "display", "WHERE", set_display, "window (default) or none"},
    {0, "fullscreen", NULL, set_fullscreen, "start with the whole screen"},
    {0, "scale", "fit|N", set_scale, "size of the picture: fit the window, or N times"},
    {0, "serial", "WHERE", set_serial,
     "serial line: stdio, null, file:PATH, unix:PATH, tcp:HOST:PORT; repeatable"},
    {0, "console", "WHERE[,name=NAME]", set_console,
     "virtio console (hvc0), or with a name a port in /dev/virtio-ports; repeatable"},
    {0, "balloon", "SIZE", set_balloon,
     "virtio balloon: the guest is asked to leave itself SIZE and give back the rest"},
    {0, "rng", NULL, set_rng, "virtio random number generator"},
    {0, "headless", NULL, set_headless, "--display none --serial stdio"},
    {0, "share", "DIR", NULL, "a host folder in the guest"},
    {0, "usb", "xhci|uhci|none[,DEVICE...]", set_usb,
     "USB controller with tablet, keyboard (default: with a window xhci,tablet)"},
    {0, "audio", "WHERE[,card=CARD]", set_audio,
     "sound: auto (with a window: the host's loudspeakers), none, wav:FILE; CARD: hda, ac97 or "
     "sb16"},
    {0, "control", "unix:PATH", NULL, "control socket"},
    {0, "gdb", "[HOST:]PORT", NULL, "gdb remote protocol"},
    {0, "paused", NULL, set_paused, "start paused (Ctrl+Alt+P in the window goes on)"},
    {0, "name", "NAME", set_name, "the machine's name, shown in the title"},
    {0, "no-reboot", NULL, set_no_reboot, "end when the guest resets"},
    {0, "exit-port", NULL, set_exit_port,
     "the guest ends the run by writing port 0xf4: status (v<<1)|1"},
    {0, "code-cache", "SIZE", set_code_cache, "room for translated code (default 27M)"},
    {0, "verify", NULL, set_verify, "check every translation against the interpreter (slow)"},
    {0, "log", "ITEMS[:FILE]", set_log,
     "guest,in,ir,out,exec,int,io,msr: what to write to stderr or FILE"},
    {0, "stats", NULL, set_stats, "print the engine's figures at the end"},
};
#define ROWS (sizeof rows / sizeof rows[0])

void options_help(FILE *out)
{
    for (size_t i = 0; i < ROWS; i++) {
        char left[64];
        if (!rows[i].set)
            continue;
        snprintf(left, sizeof left, "%c%c%c --%s%s%s", rows[i].letter ? '-' : ' ',
                 rows[i].letter ? rows[i].letter : ' ', rows[i].letter ? ',' : ' ', rows[i].name,
                 rows[i].argument ? " " : "", rows[i].argument ? rows[i].argument : "");
        if (strlen(left) <= 34)
            fprintf(out, "  %-34s %s\n", left, rows[i].help);
        else
            fprintf(out, "  %s\n  %-34s %s\n", left, "", rows[i].help);
    }
}

/* Finds the row for argv[*index]; *value gets the text after '=' or the letter, or NULL. */
static const struct option_row *find_row(const char *argument, const char **value)
{
    *value = NULL;
    if (argument[1] != '-') {
        for (size_t i = 0; i < ROWS; i++)
            if (rows[i].letter && rows[i].letter == argument[1]) {
                *value = argument[2] ? argument + 2 : NULL;
                return &rows[i];
            }
        return NULL;
    }
    size_t length = strcspn(argument + 2, "=");
    for (size_t i = 0; i < ROWS; i++)
        if (strlen(rows[i].name) == length && memcmp(argument + 2, rows[i].name, length) == 0) {
            *value = argument[2 + length] ? argument + 2 + length + 1 : NULL;
            return &rows[i];
        }
    return NULL;
}

/* The Q35 has no IDE: its own controller, on which drives are unless an option says otherwise, is
 * SATA. */
static void choose_buses(struct run_options *options)
{
    if (options->board != MACHINE_Q35)
        return;
    for (unsigned i = 0; i < options->disks; i++)
        if (options->disk[i].bus == MACHINE_IDE)
            options->disk[i].bus = MACHINE_AHCI;
    if (options->cdrom.bus == MACHINE_IDE)
        options->cdrom.bus = MACHINE_AHCI;
}

static unsigned drives_on(const struct run_options *options, enum machine_bus bus)
{
    unsigned drives = options->cdrom.path && options->cdrom.bus == bus;
    for (unsigned i = 0; i < options->disks; i++)
        drives += options->disk[i].bus == bus;
    return drives;
}

/* A window comes with a pointer that needs no capture. */
static void choose_usb(struct run_options *options)
{
    bool window = !options->headless && options->display != DISPLAY_NONE;
    if (options->usb_chosen)
        return;
    options->usb = window || drives_on(options, MACHINE_USB) ? MACHINE_XHCI : MACHINE_NO_USB;
    options->usb_tablet = window;
}

static bool check_together(const struct run_options *options, struct error *error)
{
    if ((options->initrd || options->append) && !options->kernel)
        return error_set(error, "%s needs --kernel", options->initrd ? "--initrd" : "--append");
    if (drives_on(options, MACHINE_IDE) > MACHINE_IDE_UNITS)
        return error_set(error, "%s: the IDE bus has room for %d drives only",
                         options->cdrom.path ? "--cdrom" : "--disk", MACHINE_IDE_UNITS);
    if (drives_on(options, MACHINE_FLOPPY) > FLOPPY_DRIVES)
        return error_set(error, "--floppy: there are %d floppy drives only", FLOPPY_DRIVES);
    if (drives_on(options, MACHINE_AHCI) > MACHINE_AHCI_PORTS)
        return error_set(error, "--disk: the AHCI adapter has %d ports only", MACHINE_AHCI_PORTS);
    if (options->usb == MACHINE_NO_USB &&
        (options->usb_tablet || options->usb_keyboard || drives_on(options, MACHINE_USB)))
        return error_set(error, "--usb none: there is a USB device, which needs a controller");
    if (options->kernel_unpack && !options->kernel)
        return error_set(error, "--kernel-unpack needs --kernel");
    if (options->modules && !options->kernel)
        return error_set(error, "--module needs --kernel");
    if (options->kernel && (options->uefi || options->firmware))
        return error_set(error, "--kernel starts through the BIOS; leave --firmware out");
    unsigned terminals = 0;
    for (unsigned i = 0; i < options->serials; i++)
        terminals += strcmp(options->serial[i], "stdio") == 0;
    for (unsigned i = 0; i < options->consoles; i++)
        terminals += strcmp(options->console[i].where, "stdio") == 0;
    if (terminals > 1)
        return error_set(error, "--%s: only one line can have the terminal (stdio)",
                         options->consoles ? "console" : "serial");
    if (options->balloon && options->balloon_bytes > options->memory_bytes)
        return error_set(error, "--balloon: the machine has less memory than that");
    if (options->headless && options->display == DISPLAY_WINDOW)
        return error_set(error, "--headless and --display window exclude each other");
    return true;
}

bool options_parse(struct run_options *options, int argc, char **argv, struct error *error)
{
    *options =
        (struct run_options){.memory_bytes = MEMORY_DEFAULT, .cpu = "default", .accel = "auto"};
    for (int i = 0; i < argc; i++) {
        const char *value;
        if (argv[i][0] != '-' || !argv[i][1])
            return error_set(error, "'%s' is no option; see 'doppel help run'", argv[i]);
        const struct option_row *row = find_row(argv[i], &value);
        if (!row)
            return error_set(error, "unknown option '%s'; see 'doppel help run'", argv[i]);
        if (!row->set)
            return error_set(error, "--%s is not built yet", row->name);
        if (!row->argument && value)
            return error_set(error, "--%s takes no value", row->name);
        if (row->argument && !value) {
            if (i + 1 == argc)
                return error_set(error, "--%s needs a value: %s", row->name, row->argument);
            value = argv[++i];
        }
        if (!row->set(options, row, value, error))
            return false;
    }
    if (options->headless && options->serials == 0)
        options->serial[options->serials++] = "stdio";
    choose_buses(options);
    choose_usb(options);
    if (!check_together(options, error))
        return false;
    if (options->headless)
        options->display = DISPLAY_NONE;
    return true;
}

void options_free(struct run_options *options)
{
    for (unsigned i = 0; i < options->disks; i++)
        free(options->disk[i].path);
    free(options->cdrom.path);
    free(options->wav);
    for (unsigned i = 0; i < options->consoles; i++) {
        free(options->console[i].where);
        free(options->console[i].name);
    }
    free(options->uefi_vars);
}
