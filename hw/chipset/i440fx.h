/*
 * 82441FX (PMC): host bridge of the i440FX chipset at PCI 00:00.0.
 */
#ifndef DOPPEL_HW_CHIPSET_I440FX_H
#define DOPPEL_HW_CHIPSET_I440FX_H

#include "hw/chipset/shadow.h"
#include "hw/pci.h"

/* Takes the firmware image as shadow_init does. NULL + error if that fails. */
struct i440fx *i440fx_new(struct device_list *list, struct pci_bus *pci, struct memory *memory,
                          const void *bios, size_t bios_size, struct error *error);

#endif
