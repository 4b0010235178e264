/*
 * 82801IB (ICH9): LPC bridge at PCI 00:1f.0, with interrupt routing, power management, TCO watchdog
 * and chipset configuration registers; SMBus controller at 00:1f.3.
 */
#ifndef DOPPEL_HW_CHIPSET_ICH9_LPC_H
#define DOPPEL_HW_CHIPSET_ICH9_LPC_H

#include "hw/chipset/acpi_pm.h"
#include "hw/chipset/isa_bridge.h"

/* Fixed places and numbers that the ACPI tables name. */
#define ICH9_GPE0_OFFSET 0x20
#define ICH9_GPE0_BYTES  16
/* SLP_TYP of S5 and S3: not the chip's 7 and 5 but what firmware for virtual machines uses. */
#define ICH9_SLEEP_TYPE_OFF     0
#define ICH9_SLEEP_TYPE_SUSPEND 1
#define ICH9_PIRQ_PINS          16 /* PIRQA is wired to this I/O APIC pin, PIRQB to the next... */

struct ich9_lpc;

/* isa[n]: input n of the interrupt controllers; pirq[n]: pin ICH9_PIRQ_PINS + n of the I/O APIC.
 * The SCI is interrupt 9, level and active high. Takes over the PIRQ lines of `pci`. */
struct ich9_lpc *ich9_lpc_new(struct device_list *list, struct pci_bus *pci, struct io_bus *io,
                              struct memory *memory, struct clock *clock,
                              const struct irq_line isa[ISA_IRQS],
                              const struct irq_line pirq[PCI_PIRQS],
                              const struct board_requests *requests);
/* Where ISA devices connect. */
struct isa_bridge *ich9_lpc_isa(struct ich9_lpc *lpc);
struct acpi_pm *ich9_lpc_acpi(struct ich9_lpc *lpc);
/* Where the firmware placed the PM registers, 0 if nowhere. */
uint16_t ich9_lpc_pm_base(const struct ich9_lpc *lpc);

void ich9_smbus_new(struct device_list *list, struct pci_bus *pci);

#endif
