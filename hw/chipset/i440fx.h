/*
 * 82441FX (PMC): host bridge of the i440FX chipset at PCI 00:00.0.
 */
#ifndef DOPPEL_HW_CHIPSET_I440FX_H
#define DOPPEL_HW_CHIPSET_I440FX_H

#include "hw/pci.h"

/* Copies the firmware image and shows it as ROM: whole below 4 GiB, its last 128 KiB at 0xE0000
 * (until the guest shadows it with RAM). NULL + error if the image has no sensible size or guest
 * memory is below 1 MiB. */
struct i440fx *i440fx_new(struct device_list *list, struct pci_bus *pci, struct memory *memory,
                          const void *bios, size_t bios_size, struct error *error);

#endif
