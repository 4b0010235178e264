/*
 * An access of any size and alignment, brought into the sizes that a handler takes (the rules stand
 * at struct access_ops in hw/device.h). Shared by the port space and the memory space.
 */
#ifndef DOPPEL_HW_ACCESS_H
#define DOPPEL_HW_ACCESS_H

#include "hw/device.h"

/* All ones in the low `size` bytes. */
static inline uint64_t access_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
}

/* [offset, offset + size) lies within the region; size is 1, 2, 4 or 8. */
uint64_t access_read(const struct access_ops *ops, void *opaque, uint64_t offset, unsigned size);
void access_write(const struct access_ops *ops, void *opaque, uint64_t offset, uint64_t value,
                  unsigned size);

/* True if a region of `length` bytes can serve `ops` (its length is a multiple of min_size). */
bool access_fits(const struct access_ops *ops, uint64_t length);

#endif
