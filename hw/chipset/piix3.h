/*
 * 82371SB (PIIX3): PCI-to-ISA bridge at PCI 00:01.0, with interrupt routing and reset control.
 */
#ifndef DOPPEL_HW_CHIPSET_PIIX3_H
#define DOPPEL_HW_CHIPSET_PIIX3_H

#include "hw/chipset/requests.h"
#include "hw/pci.h"

#define ISA_IRQS 16

struct piix3;

/* isa[n]: input n of the interrupt controllers. Takes over the PIRQ lines of `pci`. */
struct piix3 *piix3_new(struct device_list *list, struct pci_bus *pci, struct io_bus *io,
                        const struct irq_line isa[ISA_IRQS], const struct board_requests *requests);

/* The input for a device with ISA interrupt `irq`: ored with the PIRQs that the guest routes there.
 * One device for each number. */
struct irq_line piix3_isa_line(struct piix3 *piix3, int irq);

/* The processor asserts FERR#: IRQ 13, until the guest writes port 0xf0. */
void piix3_fpu_error(struct piix3 *piix3);

#endif
