/*
 * A USB disk or CD-ROM drive (bulk-only transport, SCSI commands of hw/storage/scsi.h).
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_USB_USB_STORAGE_H
#define DOPPEL_HW_USB_USB_STORAGE_H

#include "hw/image/image.h"
#include "hw/loop.h"
#include "hw/usb/usb.h"

/* The image (NULL: no disc in the drive) stays the caller's. Full, high and super speed.
 * `activity` counts sectors. */
struct usb_device *usb_storage_new(struct device_list *list, struct loop *loop, struct image *image,
                                   bool cdrom, unsigned number, _Atomic uint64_t *activity,
                                   const char *id);

#endif
