/*
 * PIIX3 IDE: two ATA channels at their legacy ports, with bus-master DMA.
 *
 * After a reset the channels do not decode their ports until firmware enables I/O in the PCI
 * command register. (IDETIM, configuration 40h and 42h, bit 15, turns one off.)
 */
#ifndef DOPPEL_HW_STORAGE_PIIX_IDE_H
#define DOPPEL_HW_STORAGE_PIIX_IDE_H

#include "hw/image/image.h"
#include "hw/loop.h"
#include "hw/pci.h"

struct piix_ide;

/* irq14 and irq15 are the board's ISA interrupt lines. */
struct piix_ide *piix_ide_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                              struct io_bus *io, struct irq_line irq14, struct irq_line irq15,
                              struct loop *loop);

/* Attaches drives before the machine starts; channel and unit are 0 or 1, and free. Images stay the
 * caller's and outlive the device. */
void piix_ide_attach_disk(struct piix_ide *ide, unsigned channel, unsigned unit,
                          struct image *image);
/* `image` NULL: a drive without a medium. */
void piix_ide_attach_cdrom(struct piix_ide *ide, unsigned channel, unsigned unit,
                           struct image *image);

/*
 * Media of a running machine; board lock held, but released while a read of the old medium ends.
 * insert: false + error if there is no CD-ROM drive or a medium lies in it. eject: gives the medium
 * back (or NULL) in *old; false + error if the guest has locked the drive, unless `force`; the
 * guest is then told that the user wants the medium.
 */
bool piix_ide_insert(struct piix_ide *ide, unsigned channel, unsigned unit, struct image *image,
                     struct error *error);
bool piix_ide_eject(struct piix_ide *ide, unsigned channel, unsigned unit, bool force,
                    struct image **old, struct error *error);

/* Sectors moved so far: whoever shows a light compares two readings. Any thread. */
uint64_t piix_ide_activity(const struct piix_ide *ide);

#endif
