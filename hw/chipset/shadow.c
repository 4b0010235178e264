/*
 * Programmable attribute map (Intel 290549, section 3.2.18; 316966, section 5.1.20).
 *
 * Thirteen windows between 0xC0000 and 0xFFFFF are governed by two bits each in PAM0-PAM6: reads
 * come from PCI/ROM or from DRAM, writes go to the one or the other.
 *
 *     write read   what the window shows
 *       0    0     ROM (0xE0000 up), or nothing
 *       0    1     DRAM, write protected
 *       1    0     reads from ROM or nothing, writes go to the DRAM below: made with handlers
 *       1    1     DRAM: no region at all, main RAM shows through
 */
#include "hw/chipset/shadow.h"

#include <string.h>

#define PAM_READ       1
#define PAM_WRITE      2

#define WINDOWS_BASE   0xc0000u
#define BIOS_BASE      0xe0000u
#define BIOS_END       0x100000u
#define BIOS_GRANULE   0x1000u
#define BIOS_MAX_BYTES (16u << 20)

/* Window 0 is the BIOS area 0xF0000 in the high half of PAM0; windows 1 to 12 are 16 KiB each from
 * 0xC0000 up, two to a register. */
static unsigned pam_bits(const struct shadow *shadow, unsigned window)
{
    unsigned nibble = window == 0 ? 1 : window + 1;

    return shadow->registers[nibble / 2] >> (nibble % 2 * 4) & 3;
}

static void place_window(struct shadow *shadow, unsigned index)
{
    struct pam_window *window = &shadow->window[index];
    unsigned bits = pam_bits(shadow, index);
    bool from_rom = !(bits & PAM_READ);
    bool plain_rom = from_rom && !(bits & PAM_WRITE) && window->rom_pages;

    if (window->rom_pages)
        region_place(window->rom_pages, window->base, plain_rom);
    region_place(window->handlers, window->base, from_rom && !plain_rom);
    region_place(window->protected, window->base, bits == PAM_READ);
}

void shadow_update(struct shadow *shadow)
{
    for (unsigned i = 0; i < PAM_WINDOWS; i++)
        place_window(shadow, i);
}

void shadow_write_mask(uint8_t *mask)
{
    mask[0] = 0x30;
    memset(mask + 1, 0x33, PAM_REGISTERS - 1);
}

/* -- A window whose reads do not come from DRAM -- */

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct pam_window *window = opaque;
    uint64_t value = UINT64_MAX;

    if (window->rom)
        memcpy(&value, window->rom + offset, size);
    return value;
}

static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    const struct pam_window *window = opaque;
    struct shadow *shadow = window->shadow;

    if (pam_bits(shadow, (unsigned)(window - shadow->window)) & PAM_WRITE)
        memory_write_ram(shadow->memory, window->base + offset, &value, size);
}

static const struct access_ops window_ops = {window_read, window_write, 1, 8};

/* -- Life -- */

static void add_window(struct shadow *shadow, unsigned index)
{
    struct pam_window *window = &shadow->window[index];
    struct memory *memory = shadow->memory;
    uint8_t *rom = NULL;

    window->shadow = shadow;
    window->size = index == 0 ? 0x10000 : 0x4000;
    window->base = index == 0 ? 0xf0000 : WINDOWS_BASE + (index - 1) * 0x4000;
    if (window->base >= BIOS_BASE && BIOS_END - window->base <= shadow->bios_size)
        rom = shadow->bios + shadow->bios_size - (BIOS_END - window->base);
    window->rom = rom;
    if (rom)
        window->rom_pages = memory_add_host(memory, REGION_ROM, window->base, window->size,
                                            PRIORITY_BOARD, rom, false, "bios");
    window->handlers = memory_add_mmio(memory, window->base, window->size, PRIORITY_BOARD,
                                       &window_ops, window, "pam");
    window->protected = memory_add_ram_alias(memory, REGION_ROM, window->base, window->size,
                                             PRIORITY_BOARD, window->base, "shadow");
    place_window(shadow, index);
}

bool shadow_init(struct shadow *shadow, struct memory *memory, uint8_t *pam_registers,
                 const void *bios, size_t bios_size, struct error *error)
{
    if (bios_size == 0 || bios_size % BIOS_GRANULE != 0 || bios_size > BIOS_MAX_BYTES)
        return error_set(error,
                         "the firmware image has %zu bytes; it must be a multiple of 4 KiB up to "
                         "16 MiB",
                         bios_size);
    if (memory_ram_low(memory) < BIOS_END)
        return error_set(error, "a PC needs at least 1 MiB of memory");

    shadow->memory = memory;
    shadow->registers = pam_registers;
    shadow->bios_size = bios_size;
    shadow->bios = memory_alloc_host(bios_size);
    memcpy(shadow->bios, bios, bios_size);
    memory_add_host(memory, REGION_ROM, MEMORY_HIGH_BASE - bios_size, bios_size, PRIORITY_BOARD,
                    shadow->bios, false, "bios");
    for (unsigned i = 0; i < PAM_WINDOWS; i++)
        add_window(shadow, i);
    return true;
}

void shadow_release(struct shadow *shadow)
{
    memory_free_host(shadow->bios, shadow->bios_size);
}
