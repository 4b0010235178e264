/*
 * The firmware ROM, and what the processor sees between 768 KiB and 1 MiB: the PAM registers that
 * Intel's host bridges have in common.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_SHADOW_H
#define DOPPEL_HW_CHIPSET_SHADOW_H

#include "hw/memory.h"

#define PAM_REGISTERS 7
#define PAM_WINDOWS   13

struct pam_window {
    struct shadow *shadow;
    uint32_t base, size;
    const uint8_t *rom;       /* bytes the window shows from ROM, or NULL */
    struct region *rom_pages; /* read 0 write 0, where there is ROM */
    struct region *handlers;  /* read 0, where rom_pages do not do */
    struct region *protected; /* read 1 write 0 */
};

/* Part of a host bridge. */
struct shadow {
    struct memory *memory;
    uint8_t *registers; /* PAM0 to PAM6 in the bridge's configuration space */
    uint8_t *bios;
    size_t bios_size;
    struct pam_window window[PAM_WINDOWS];
};

/* Copies the firmware image and shows it as ROM: whole below 4 GiB, its last 128 KiB at 0xE0000
 * (until the guest shadows it with RAM). False + error if the image has no sensible size or guest
 * memory is below 1 MiB. */
bool shadow_init(struct shadow *shadow, struct memory *memory, uint8_t *pam_registers,
                 const void *bios, size_t bios_size, struct error *error);
/* The registers have changed. */
void shadow_update(struct shadow *shadow);
void shadow_release(struct shadow *shadow);
/* Writable bits of the registers. */
void shadow_write_mask(uint8_t *mask);

#endif
