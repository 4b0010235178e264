/*
 * Flash memory that holds the UEFI firmware's variables.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_PFLASH_H
#define DOPPEL_HW_CHIPSET_PFLASH_H

#include "hw/memory.h"

#define PFLASH_BLOCK 4096u /* erased at once */

struct pflash;

/* Shows `size` bytes (whole blocks) of `host` at `base`. The memory is the caller's, page aligned,
 * and holds what the guest programs: a file mapped there keeps it. It outlives the device. */
struct pflash *pflash_new(struct device_list *list, struct memory *memory, uint64_t base,
                          uint8_t *host, size_t size, const char *id);

#endif
