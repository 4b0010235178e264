/*
 * AHCI host bus adapter of the ICH9: six SATA ports for disks and CD-ROM drives.
 */
#ifndef DOPPEL_HW_STORAGE_AHCI_H
#define DOPPEL_HW_STORAGE_AHCI_H

#include "hw/image/image.h"
#include "hw/loop.h"
#include "hw/pci.h"

#define AHCI_PORTS 6

struct ahci;

/* `id` names the device on the board, *activity counts sectors moved. */
struct ahci *ahci_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                      struct loop *loop, _Atomic uint64_t *activity, const char *id);

/* Attaches drives before the machine starts; `port` is below AHCI_PORTS, and free. Images stay the
 * caller's and outlive the device. */
void ahci_attach_disk(struct ahci *ahci, unsigned port, struct image *image);
/* `image` NULL: a drive without a medium. */
void ahci_attach_cdrom(struct ahci *ahci, unsigned port, struct image *image);

/* Media of a running machine: as piix_ide_insert and piix_ide_eject. */
bool ahci_insert(struct ahci *ahci, unsigned port, struct image *image, struct error *error);
bool ahci_eject(struct ahci *ahci, unsigned port, bool force, struct image **old,
                struct error *error);

#endif
