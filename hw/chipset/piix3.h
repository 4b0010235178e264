/*
 * 82371SB (PIIX3): PCI-to-ISA bridge at PCI 00:01.0, with interrupt routing and reset control.
 */
#ifndef DOPPEL_HW_CHIPSET_PIIX3_H
#define DOPPEL_HW_CHIPSET_PIIX3_H

#include "hw/chipset/isa_bridge.h"

struct piix3;

/* isa[n]: input n of the interrupt controllers. Takes over the PIRQ lines of `pci`. */
struct piix3 *piix3_new(struct device_list *list, struct pci_bus *pci, struct io_bus *io,
                        const struct irq_line isa[ISA_IRQS], const struct board_requests *requests);
/* Where ISA devices connect. */
struct isa_bridge *piix3_isa(struct piix3 *piix3);

#endif
