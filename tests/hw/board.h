/*
 * Whole boards for tests: a machine as `doppel run` would build it, with disk, CD-ROM drive and
 * network card, and with the distribution's firmware or, without it, one that only loops.
 */
#ifndef DOPPEL_TESTS_HW_BOARD_H
#define DOPPEL_TESTS_HW_BOARD_H

#include "bios/bios.h"
#include "hw/alloc.h"
#include "hw/machine_internal.h"

#include <check.h>
#include <string.h>
#include <unistd.h>

#define BOARD_MEMORY     (32u << 20)
#define BOARD_DISK_BYTES (1u << 20)

struct board_parts {
    struct blob bios, vga;
    bool real_firmware;
    enum machine_sound sound;
    const struct cpu_model *model;
};

static inline void board_parts_load(struct board_parts *parts)
{
    struct error error;

    memset(parts, 0, sizeof *parts);
    parts->sound = MACHINE_HDA;
    parts->real_firmware = firmware_load(&parts->bios, FIRMWARE_BIOS, FIRMWARE_PACKAGE, &error) &&
                           firmware_load(&parts->vga, FIRMWARE_VGA, FIRMWARE_PACKAGE, &error);
    if (!parts->real_firmware) {
        blob_free(&parts->bios);
        parts->bios = (struct blob){.bytes = alloc_zeroed(65536), .size = 65536};
        memcpy(parts->bios.bytes + 0xfff0, "\xeb\xfe", 2); /* jmp to itself */
    }
    parts->model = cpu_model_find("default", &error);
    ck_assert_ptr_nonnull(parts->model);
}

static inline void board_parts_free(struct board_parts *parts)
{
    blob_free(&parts->bios);
    blob_free(&parts->vga);
    cpu_model_free(parts->model);
}

/* An empty disk or disc without a name in any folder. */
static inline struct image *board_disk(bool optical)
{
    char path[] = "/tmp/doppel-board-XXXXXX";
    struct error error = {""};
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, BOARD_DISK_BYTES), 0);
    close(fd);
    struct image *image = image_open(
        &(struct image_options){.path = path, .optical = optical, .read_only = optical}, &error);
    ck_assert_msg(image != NULL, "%s", error.text);
    unlink(path);
    return image;
}

/* A paused machine; the firmware gets its tables. */
static inline struct machine *board_new(const struct board_parts *parts)
{
    struct error error = {""};
    struct machine_config config = {
        .memory_bytes = BOARD_MEMORY,
        .model = parts->model,
        .accel = &accel_interpreter,
        .bios = parts->bios.bytes,
        .bios_size = parts->bios.size,
        .vga_rom = parts->vga.bytes,
        .vga_rom_size = parts->vga.size,
        .drive = {{.image = board_disk(false), .present = true},
                  {.image = board_disk(true), .present = true, .cdrom = true, .unit = 2},
                  {.image = board_disk(false), .present = true, .bus = MACHINE_VIRTIO},
                  {.image = board_disk(false), .present = true, .bus = MACHINE_VIRTIO_SCSI}},
        .consoles = 1,
        .balloon = true,
        .rng = true,
        .usb = MACHINE_XHCI,
        .usb_tablet = true,
        .vmmouse = true,
        .nic = MACHINE_E1000,
        .mac = {0x52, 0x54, 0, 1, 2, 3},
        .exit_port = true,
        .sound = parts->sound,
    };

    bios_cmos_boot(NULL, &config.boot_3d, &config.boot_38);
    struct machine *machine = machine_new(&config, &error);
    ck_assert_msg(machine != NULL, "%s", error.text);
    struct bios_config bios = {
        .machine = machine,
        .ram_low = memory_ram_low(machine_memory(machine)),
        .ram_high = memory_ram_high(machine_memory(machine)),
        .cpus = 1,
    };
    bios_add_tables(machine_fw_cfg(machine), &bios);
    return machine;
}

/* -- What the firmware says on its debug console -- */

struct board_text {
    char bytes[65536];
    size_t length;
};

static inline void board_text_add(void *opaque, const uint8_t *bytes, size_t count)
{
    struct board_text *text = opaque;

    for (size_t i = 0; i < count && text->length + 1 < sizeof text->bytes; i++)
        text->bytes[text->length++] = (char)bytes[i];
    text->bytes[text->length] = 0;
}

static inline void board_listen(struct machine *machine, struct board_text *text)
{
    struct byte_port *console = machine_debug_console(machine);

    memset(text, 0, sizeof *text);
    console->send = board_text_add;
    console->outside = text;
}

/* -- Deterministic noise (xorshift64*, Vigna 2014) -- */

static inline uint64_t board_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 2685821657736338717ull;
}

#endif
