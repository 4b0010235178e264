/*
 * Power management function of the 82371AB (PIIX4) at PCI 00:01.3: the ACPI registers of the board.
 */
#ifndef DOPPEL_HW_CHIPSET_PIIX4_PM_H
#define DOPPEL_HW_CHIPSET_PIIX4_PM_H

#include "hw/chipset/acpi_pm.h"
#include "hw/pci.h"

/* Fixed places and numbers that the ACPI tables name. */
#define PIIX4_GPE0_PORT          0xafe0
#define PIIX4_GPE0_BYTES         4
#define PIIX4_SLEEP_TYPE_OFF     0 /* SLP_TYP of S5 */
#define PIIX4_SLEEP_TYPE_SUSPEND 1 /* of S3 */

struct piix4_pm;

/* `sci` is the board's interrupt 9, level and active high. */
struct piix4_pm *piix4_pm_new(struct device_list *list, struct pci_bus *pci, struct io_bus *io,
                              struct clock *clock, struct irq_line sci,
                              const struct board_requests *requests);
struct acpi_pm *piix4_pm_acpi(struct piix4_pm *pm);
/* Where the firmware placed the PM registers, 0 if nowhere. */
uint16_t piix4_pm_base(const struct piix4_pm *pm);

#endif
