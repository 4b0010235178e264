/*
 * The common part of PCI-to-PCI bridges: bus numbers and address windows.
 *
 *     window         registers         unit     open when
 *     I/O            1C, 1D (30, 32)   4 KiB    base <= limit, I/O enabled
 *     memory         20, 22            1 MiB    base <= limit, memory enabled
 *     prefetchable   24, 26 (28, 2C)   1 MiB    the same; 64-bit
 *
 * Not modelled: ISA and VGA modes of the bridge control register, error forwarding, timers.
 */
#include "hw/pci_bridge.h"

#include <string.h>

#define IO_32BIT         0x01
#define PREFETCH_64BIT   0x01
#define CONTROL_RESET    0x0040
#define CONTROL_WRITABLE 0x0043 /* parity, SERR#, secondary bus reset */

bool pci_bridge_leads_to(const struct pci_bridge *bridge, unsigned number)
{
    const uint8_t *config = bridge->pci.config;

    return config[PCI_SECONDARY_BUS] != 0 && number >= config[PCI_SECONDARY_BUS] &&
           number <= config[PCI_SUBORDINATE_BUS];
}

static bool within(uint64_t base, uint64_t size, uint64_t first, uint64_t last)
{
    return first <= last && base >= first && base <= last && size - 1 <= last - base;
}

bool pci_bridge_passes(const struct pci_bridge *bridge, enum bridge_space space, uint64_t base,
                       uint64_t size)
{
    const uint8_t *config = bridge->pci.config;
    uint32_t command = pci_get(config, PCI_COMMAND, 2);

    if (!bridge->connected)
        return false;
    if (space == BRIDGE_IO) {
        uint64_t first = (config[PCI_IO_BASE] & 0xf0u) << 8 |
                         (uint64_t)pci_get(config, PCI_IO_BASE_HIGH, 2) << 16;
        uint64_t last = (config[PCI_IO_LIMIT] & 0xf0u) << 8 | 0xfff |
                        (uint64_t)pci_get(config, PCI_IO_LIMIT_HIGH, 2) << 16;
        return (command & PCI_COMMAND_IO) && within(base, size, first, last);
    }
    if (!(command & PCI_COMMAND_MEMORY))
        return false;
    uint64_t first = (uint64_t)(pci_get(config, PCI_MEMORY_BASE, 2) & 0xfff0) << 16;
    uint64_t last = (uint64_t)(pci_get(config, PCI_MEMORY_LIMIT, 2) & 0xfff0) << 16 | 0xfffff;
    if (within(base, size, first, last))
        return true;
    first = (uint64_t)(pci_get(config, PCI_PREFETCH_BASE, 2) & 0xfff0) << 16 |
            (uint64_t)pci_get(config, PCI_PREFETCH_BASE_HIGH, 4) << 32;
    last = (uint64_t)(pci_get(config, PCI_PREFETCH_LIMIT, 2) & 0xfff0) << 16 | 0xfffff |
           (uint64_t)pci_get(config, PCI_PREFETCH_LIMIT_HIGH, 4) << 32;
    return within(base, size, first, last);
}

void pci_bridge_config_written(struct pci_bridge *bridge, unsigned offset, unsigned size)
{
    const uint8_t *config = bridge->pci.config;
    unsigned end = offset + size;

    if ((offset < PCI_STATUS && end > PCI_COMMAND) ||
        (offset < PCI_IO_LIMIT_HIGH + 2u && end > PCI_IO_BASE))
        pci_bus_windows_changed(bridge->bus);
    if (offset < PCI_BRIDGE_CONTROL + 2u && end > PCI_BRIDGE_CONTROL &&
        (pci_get(config, PCI_BRIDGE_CONTROL, 2) & CONTROL_RESET) && bridge->reset_behind)
        bridge->reset_behind(bridge);
}

void pci_bridge_connect(struct pci_bridge *bridge, bool connected)
{
    if (bridge->connected == connected)
        return;
    bridge->connected = connected;
    pci_bus_windows_changed(bridge->bus);
    pci_bus_irqs_changed(bridge->bus);
}

void pci_bridge_init(struct pci_bridge *bridge, struct pci_bus *bus, uint8_t devfn,
                     const struct pci_identity *identity)
{
    struct pci_device *pci = &bridge->pci;
    uint8_t *mask = pci->write_mask;

    pci_device_init(pci, bus, devfn, identity);
    pci->is_bridge = true;
    pci->config[PCI_HEADER_TYPE] |= 1;
    pci->config[PCI_IO_BASE] = pci->config[PCI_IO_LIMIT] = IO_32BIT;
    pci->config[PCI_PREFETCH_BASE] = pci->config[PCI_PREFETCH_LIMIT] = PREFETCH_64BIT;
    memset(mask + PCI_PRIMARY_BUS, 0xff, 3);
    mask[PCI_IO_BASE] = mask[PCI_IO_LIMIT] = 0xf0;
    for (unsigned i = PCI_MEMORY_BASE; i < PCI_PREFETCH_BASE_HIGH; i += 2)
        pci_put(mask, i, 0xfff0, 2);
    memset(mask + PCI_PREFETCH_BASE_HIGH, 0xff, 12); /* and the upper halves of the I/O window */
    pci_put(mask, PCI_BRIDGE_CONTROL, CONTROL_WRITABLE, 2);
    bridge->connected = true;
    bridge->bus = pci_bus_new_behind(bridge);
}

void pci_bridge_release(struct pci_bridge *bridge)
{
    pci_bus_free_behind(bridge->bus);
}

void pci_bridge_reset(struct pci_bridge *bridge)
{
    uint8_t *config = bridge->pci.config;

    pci_device_reset(&bridge->pci);
    memset(config + PCI_PREFETCH_BASE_HIGH, 0, 12);
    pci_put(config, PCI_BRIDGE_CONTROL, 0, 2);
    pci_bus_windows_changed(bridge->bus);
}
