/*
 * The power management capability: all state is in its control register in configuration space.
 * Specification: PCI Bus Power Management Interface 1.2, sections 3 and 5.
 */
#include "hw/pci_power.h"

#include "hw/pci_msi.h"

#define CAPABILITY_BYTES 8
#define PMC              2      /* capabilities: */
#define PMC_VERSION      0x0003 /*   1.2, neither D1 nor D2, no PME# */
#define PMCSR            4      /* control and status: */
#define PMCSR_STATE      0x0003 /*   0 D0, 3 D3hot */

enum { D0, D3HOT = 3 };

void pci_add_power_management(struct pci_device *device, unsigned offset)
{
    device->power = pci_add_capability(device, PCI_CAPABILITY_POWER, offset, CAPABILITY_BYTES);
    pci_put(device->config, device->power + PMC, PMC_VERSION, 2);
    device->write_mask[device->power + PMCSR] = PMCSR_STATE;
}

bool pci_asleep(const struct pci_device *device)
{
    return device->power && device->config[device->power + PMCSR] == D3HOT;
}

bool pci_power_config_written(struct pci_device *device, unsigned offset, unsigned size,
                              bool was_asleep)
{
    unsigned at = device->power + PMCSR;
    if (!device->power || at < offset || at >= offset + size)
        return false;
    if (device->config[at] != D0 && device->config[at] != D3HOT)
        device->config[at] = was_asleep ? D3HOT : D0; /* a state that there is not */
    if (was_asleep && !pci_asleep(device))
        device->device.ops->reset(&device->device);
    return was_asleep != pci_asleep(device);
}

void pci_power_reset(struct pci_device *device)
{
    if (device->power)
        device->config[device->power + PMCSR] = D0;
}
