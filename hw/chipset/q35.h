/*
 * Q35 memory controller hub: host bridge at PCI 00:00.0.
 */
#ifndef DOPPEL_HW_CHIPSET_Q35_H
#define DOPPEL_HW_CHIPSET_Q35_H

#include "hw/chipset/shadow.h"
#include "hw/pci.h"

struct q35;

/* Guest RAM below the hole: firmware places the memory-mapped configuration space of this board at
 * 2.75 GiB. A larger machine keeps 2 GiB there. */
#define Q35_LOW_MAX(ram_bytes) ((ram_bytes) <= 0xb0000000ull ? 0xb0000000ull : 0x80000000ull)

/* Takes the firmware image as shadow_init does. NULL + error if that fails. */
struct q35 *q35_new(struct device_list *list, struct pci_bus *pci, struct memory *memory,
                    const void *bios, size_t bios_size, struct error *error);
/* Where the firmware placed the memory-mapped configuration space; 0 if nowhere. */
uint64_t q35_ecam(const struct q35 *q35, unsigned *buses);

#endif
