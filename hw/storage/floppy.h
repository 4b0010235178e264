/*
 * Floppy disk controller 82077AA with up to two drives.
 */
#ifndef DOPPEL_HW_STORAGE_FLOPPY_H
#define DOPPEL_HW_STORAGE_FLOPPY_H

#include "hw/chipset/i8237.h"
#include "hw/image/image.h"
#include "hw/loop.h"

#define FLOPPY_DRIVES 2

struct floppy;

/* Claims 0x3f0 to 0x3f5 and 0x3f7; interrupts by `irq`, moves data by DMA channel 2. */
struct floppy *floppy_new(struct device_list *list, struct io_bus *io, struct i8237 *dma,
                          struct irq_line irq, struct loop *loop, _Atomic uint64_t *activity,
                          const char *id);

/* True if `bytes` is the size of a floppy disk, or less than 1.44M: an image without its end. */
bool floppy_size_known(uint64_t bytes);
/* Connects a drive before the machine starts; `image` (NULL: no disk in it) stays the caller's and
 * must have a known size. */
void floppy_attach(struct floppy *floppy, unsigned drive, struct image *image);
/* Type of a drive as CMOS register 10h tells it: 0 none, 1 360K, 2 1.2M, 3 720K, 4 1.44M, 5 2.88M.
 */
uint8_t floppy_cmos_type(const struct floppy *floppy, unsigned drive);

/* Disks of a running machine; board lock held, but released while a transfer ends. Return the disk
 * that was in the drive, or NULL. */
struct image *floppy_change(struct floppy *floppy, unsigned drive, struct image *image);

#endif
