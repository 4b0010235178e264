/*
 * Power management function of the 82371AB (PIIX4) at PCI 00:01.3: the ACPI registers of the board.
 */
#ifndef DOPPEL_HW_CHIPSET_PIIX4_PM_H
#define DOPPEL_HW_CHIPSET_PIIX4_PM_H

#include "hw/chipset/requests.h"
#include "hw/clock.h"
#include "hw/pci.h"

/* Fixed places that the ACPI tables name. */
#define PIIX4_SMI_COMMAND_PORT 0xb2
#define PIIX4_ACPI_ENABLE      0xf1
#define PIIX4_ACPI_DISABLE     0xf0
#define PIIX4_GPE0_PORT        0xafe0
#define PIIX4_GPE0_BYTES       4
#define PIIX4_SLEEP_TYPE_OFF   0 /* SLP_TYP of S5 */

struct piix4_pm;

/* `sci` is the board's interrupt 9, level and active high. */
struct piix4_pm *piix4_pm_new(struct device_list *list, struct pci_bus *pci, struct io_bus *io,
                              struct clock *clock, struct irq_line sci,
                              const struct board_requests *requests);

/* Presses the power button. False if the guest has not asked to be told about it: then it will not
 * switch itself off. */
bool piix4_pm_power_button(struct piix4_pm *pm);

#endif
