/*
 * PCI buses: configuration mechanism 1 (PCI Local Bus 3.0, section 3.2.2.3.2) and, on boards with
 * PCI Express, the memory-mapped one (PCI Express Base 3.0, section 7.2.2); type 0 headers (section
 * 6.1), base address registers (6.2.5), INTx as a wired-or per PIRQ. Bridges are in pci_bridge.c.
 *
 * Not modelled: special cycles, parity and abort reporting.
 */
#include "hw/pci.h"
#include "cpu/cpu.h"
#include "hw/alloc.h"
#include "hw/pci_bridge.h"
#include "hw/pci_msi.h"
#include "hw/pci_power.h"

#include <assert.h>
#include <string.h>

#define CONFIG_ADDRESS      0xcf8
#define CONFIG_DATA         0xcfc
#define ADDRESS_ENABLE      0x80000000u
#define ADDRESS_WRITABLE    0x80fffffcu
#define ADDRESS_BUS(value)  ((value) >> 16 & 0xff)
#define COMMAND_WRITABLE    0x0557 /* I/O, memory, master, MWI, parity, SERR, INTx disable */
#define STATUS_WRITE_CLEARS 0xf900
#define BAR_IO              0x1
#define BAR_64BIT           0x4
#define BAR_PREFETCH        0x8
#define ROM_ENABLE          0x1
#define ROM_SIZE_MAX        (16u << 20)

/* A copy of an option ROM; the bus outlives its devices. */
struct rom_copy {
    struct rom_copy *next;
    void *host;
    size_t size;
};

struct pci_bus {
    struct device device;
    struct io_bus *io;
    struct memory *memory;
    struct pci_bridge *bridge; /* what leads here, NULL on bus 0 */
    struct irq_line irq[PCI_PIRQS];
    unsigned driven[PCI_PIRQS]; /* devices that pull each PIRQ */
    unsigned (*map_irq)(void *opaque, unsigned slot, unsigned pin);
    void *map_opaque;
    struct region *ecam[PCI_ECAM_SIZES];
    struct pci_device *slot[256];
    struct rom_copy *roms;
    void (*take_message)(void *opaque, uint64_t address, uint32_t data);
    void *message_opaque;
    uint32_t config_address;
};

static const struct field pci_bus_fields[] = {
    FIELD(struct pci_bus, config_address, 1),
    FIELD_END,
};

const struct field pci_device_fields[] = {
    FIELD_ARRAY(struct pci_device, config, 1),
    FIELD(struct pci_device, irq_level, 1),
    FIELD_END,
};

static struct pci_bus *root_of(struct pci_bus *bus)
{
    while (bus->bridge)
        bus = bus->bridge->pci.bus;
    return bus;
}

uint32_t pci_get(const uint8_t *config, unsigned offset, unsigned size)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)config[offset + i] << (8 * i);
    return value;
}

void pci_put(uint8_t *config, unsigned offset, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        config[offset + i] = (uint8_t)(value >> (8 * i));
}

static uint16_t command(const struct pci_device *device)
{
    return (uint16_t)pci_get(device->config, PCI_COMMAND, 2);
}

/* -- Address decoding -- */

#define LAST_BASE_64BIT (1ull << CPU_PHYSICAL_BITS)

/* A BAR that holds 0 was never set; one whose end is the last byte below 4 GiB holds the ones of
 * somebody asking for its size. Neither is decoded. */
static bool decodable(uint64_t base, uint32_t size, uint64_t last_possible)
{
    return base != 0 && base - 1 < last_possible - size;
}

/* Every bridge on the way passes these addresses on. */
static bool reachable(const struct pci_device *device, enum bridge_space space, uint64_t base,
                      uint64_t size)
{
    for (const struct pci_bridge *bridge = device->bus->bridge; bridge;
         bridge = bridge->pci.bus->bridge) {
        if (!pci_bridge_passes(bridge, space, base, size))
            return false;
    }
    return true;
}

/* What the command register allows; nothing while the function sleeps or is out of its slot. */
static bool decodes(const struct pci_device *device, uint16_t space)
{
    return (command(device) & space) && !pci_asleep(device) && !device->hidden;
}

static void map_io_bar(struct pci_device *device, struct pci_bar *bar, uint32_t base)
{
    bool wanted = decodes(device, PCI_COMMAND_IO) && decodable(base, bar->size, 0x10000) &&
                  reachable(device, BRIDGE_IO, base, bar->size);

    if (bar->range && (!wanted || bar->mapped_base != base)) {
        io_bus_remove(device->bus->io, bar->range);
        bar->range = NULL;
    }
    if (wanted && !bar->range) {
        bar->range = io_bus_add(device->bus->io, (uint16_t)base, bar->size, bar->ops, bar->opaque);
        bar->mapped_base = base;
    }
}

static void map_bar(struct pci_device *device, int index)
{
    struct pci_bar *bar = &device->bar[index];
    unsigned offset = PCI_BAR0 + 4 * (unsigned)index;
    uint64_t base = pci_get(device->config, offset, 4) & ~(bar->size - 1);

    if (bar->kind == PCI_BAR_NONE)
        return;
    if (bar->kind == PCI_BAR_IO) {
        map_io_bar(device, bar, (uint32_t)base);
        return;
    }
    if (bar->wide)
        base |= (uint64_t)pci_get(device->config, offset + 4, 4) << 32;
    bool below_4g = base <= UINT32_MAX;
    bool wanted = decodes(device, PCI_COMMAND_MEMORY) &&
                  decodable(base, bar->size, below_4g ? UINT32_MAX : LAST_BASE_64BIT) &&
                  reachable(device, BRIDGE_MEMORY, base, bar->size);
    bar->mapped_base = base;
    region_place(bar->region, base, wanted);
}

static void map_rom(struct pci_device *device)
{
    if (!device->rom_region)
        return;
    uint32_t bar = pci_get(device->config, PCI_ROM_BAR, 4);
    uint32_t base = bar & ~(device->rom_size - 1);
    region_place(device->rom_region, base,
                 (bar & ROM_ENABLE) && decodes(device, PCI_COMMAND_MEMORY) &&
                     decodable(base, device->rom_size, UINT32_MAX) &&
                     reachable(device, BRIDGE_MEMORY, base, device->rom_size));
}

static void map_all(struct pci_device *device)
{
    for (int i = 0; i < PCI_BARS; i++)
        map_bar(device, i);
    map_rom(device);
}

/* -- Interrupts -- */

/* How PIIX3 boards are wired. */
static unsigned map_irq_plain(void *opaque, unsigned slot, unsigned pin)
{
    return (slot + pin - 1) & 3;
}

/* The PIRQ that the device's pin is wired to. Each bridge turns the pins by the slot behind it
 * (PCI-to-PCI Bridge Architecture 1.2, table 9-1). */
static unsigned pirq_of(const struct pci_device *device)
{
    unsigned slot = device->devfn >> 3, pin = device->identity.interrupt_pin - 1u;
    const struct pci_bus *bus = device->bus;

    for (; bus->bridge; bus = bus->bridge->pci.bus) {
        pin = (pin + slot) & 3;
        slot = bus->bridge->pci.devfn >> 3;
    }
    return bus->map_irq(bus->map_opaque, slot, pin) % PCI_PIRQS;
}

static bool absent(const struct pci_bus *bus)
{
    for (; bus->bridge; bus = bus->bridge->pci.bus) {
        if (!bus->bridge->connected)
            return true;
    }
    return false;
}

static bool should_drive(struct pci_device *device)
{
    return device->irq_level && !pci_asleep(device) && !device->hidden && !absent(device->bus) &&
           device->identity.interrupt_pin != 0 && !(command(device) & PCI_COMMAND_INTX_DISABLE) &&
           !pci_msi_enabled(device) && !pci_msix_enabled(device);
}

static void update_irq(struct pci_device *device)
{
    struct pci_bus *bus = root_of(device->bus);
    bool drive = should_drive(device);

    if (device->irq_level)
        device->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
    else
        device->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
    if (drive == device->irq_driven)
        return;
    device->irq_driven = drive;
    unsigned pirq = pirq_of(device);
    bus->driven[pirq] += drive ? 1u : -1u;
    irq_set(bus->irq[pirq], bus->driven[pirq] > 0);
}

void pci_set_irq(struct pci_device *device, bool level)
{
    device->irq_level = level;
    update_irq(device);
}

/* -- Configuration space -- */

struct pci_device *pci_bus_device(struct pci_bus *bus, uint8_t devfn)
{
    return bus->slot[devfn];
}

/* The bus with that number, as the bridges have been programmed; or NULL. */
static struct pci_bus *find_bus(struct pci_bus *bus, unsigned number)
{
    for (unsigned devfn = 0; number != 0 && bus && devfn < 256;) {
        struct pci_bridge *bridge = pci_bridge_of(bus->slot[devfn++]);
        if (!bridge || !bridge->connected || !pci_bridge_leads_to(bridge, number))
            continue;
        if (bridge->pci.config[PCI_SECONDARY_BUS] == number)
            return bridge->bus;
        bus = bridge->bus;
        devfn = 0;
    }
    return number == 0 ? bus : NULL;
}

static struct pci_device *visible(struct pci_bus *bus, uint8_t devfn)
{
    struct pci_device *device = bus->slot[devfn];

    return device && !device->hidden ? device : NULL;
}

uint32_t pci_config_read(struct pci_bus *bus, uint8_t devfn, unsigned offset, unsigned size)
{
    struct pci_device *device = visible(bus, devfn);

    /* A PCI Express function without extended capabilities shows zeros there. */
    if (device && device->express && offset >= PCI_CONFIG_SIZE)
        return 0;
    if (!device || offset + size > PCI_CONFIG_SIZE)
        return UINT32_MAX >> (32 - 8 * size);
    if (device->config_reading)
        device->config_reading(device, offset, size);
    return pci_get(device->config, offset, size);
}

static void write_config_byte(struct pci_device *device, unsigned offset, uint8_t value)
{
    uint8_t mask = device->write_mask[offset];
    uint8_t clears = device->write_one_clears[offset];

    if (offset == PCI_STATUS || offset == PCI_STATUS + 1)
        clears = (uint8_t)(STATUS_WRITE_CLEARS >> (8 * (offset - PCI_STATUS)));
    device->config[offset] = (device->config[offset] & ~mask) | (value & mask);
    device->config[offset] &= (uint8_t) ~(value & clears);
}

static bool touches(unsigned offset, unsigned size, unsigned first, unsigned count)
{
    return offset < first + count && first < offset + size;
}

void pci_config_write(struct pci_bus *bus, uint8_t devfn, unsigned offset, uint32_t value,
                      unsigned size)
{
    struct pci_device *device = visible(bus, devfn);

    if (!device || offset + size > PCI_CONFIG_SIZE)
        return;
    bool was_asleep = pci_asleep(device);
    for (unsigned i = 0; i < size; i++)
        write_config_byte(device, offset + i, (uint8_t)(value >> (8 * i)));
    bool power_changed = pci_power_config_written(device, offset, size, was_asleep);
    if (power_changed || touches(offset, size, PCI_COMMAND, 2)) {
        map_all(device);
        update_irq(device);
    } else if (touches(offset, size, PCI_BAR0, 4 * PCI_BARS) ||
               touches(offset, size, PCI_ROM_BAR, 4)) {
        map_all(device);
    }
    if (device->msi || device->msix) {
        pci_messages_config_written(device, offset, size);
        update_irq(device);
    }
    if (device->config_written)
        device->config_written(device, offset, size);
}

/* -- Mechanism 1: only a whole dword at 0xCF8 is the address register -- */

static uint64_t address_read(void *opaque, uint64_t offset, unsigned size)
{
    struct pci_bus *bus = opaque;

    return offset == 0 && size == 4 ? bus->config_address : UINT64_MAX;
}

static void address_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pci_bus *bus = opaque;

    if (offset == 0 && size == 4)
        bus->config_address = (uint32_t)value & ADDRESS_WRITABLE;
    else if (offset != 3 || size != 1) /* 0xCFB chooses mechanism 1 where a chip knows both */
        log_guest("write of %u bytes to port %x, where only a dword selects PCI configuration",
                  size, (unsigned)(CONFIG_ADDRESS + offset));
}

/* The bus that the address register selects, or NULL. */
static struct pci_bus *selected(struct pci_bus *bus)
{
    if (!(bus->config_address & ADDRESS_ENABLE))
        return NULL;
    return find_bus(bus, ADDRESS_BUS(bus->config_address));
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
    uint32_t address = ((struct pci_bus *)opaque)->config_address;
    struct pci_bus *bus = selected(opaque);

    if (!bus)
        return UINT64_MAX;
    return pci_config_read(bus, (uint8_t)(address >> 8), (address & 0xfc) + (unsigned)offset, size);
}

static void data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    uint32_t address = ((struct pci_bus *)opaque)->config_address;
    struct pci_bus *bus = selected(opaque);

    if (bus)
        pci_config_write(bus, (uint8_t)(address >> 8), (address & 0xfc) + (unsigned)offset,
                         (uint32_t)value, size);
}

static const struct access_ops address_ops = {address_read, address_write, 1, 4};
static const struct access_ops data_ops = {data_read, data_write, 1, 4};

/* -- Enhanced configuration access: bus << 20 | device << 15 | function << 12 | register -- */

static uint64_t ecam_read(void *opaque, uint64_t offset, unsigned size)
{
    struct pci_bus *bus = find_bus(opaque, (unsigned)(offset >> 20));

    if (!bus || (offset & 3) + size > 4)
        return UINT64_MAX;
    return pci_config_read(bus, (uint8_t)(offset >> 12), offset & 0xfff, size);
}

static void ecam_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pci_bus *bus = find_bus(opaque, (unsigned)(offset >> 20));

    if (bus && (offset & 3) + size <= 4)
        pci_config_write(bus, (uint8_t)(offset >> 12), offset & 0xfff, (uint32_t)value, size);
}

static const struct access_ops ecam_ops = {ecam_read, ecam_write, 1, 4};

void pci_bus_place_ecam(struct pci_bus *bus, enum pci_ecam_size size, uint64_t base, bool enabled)
{
    for (int i = 0; i < PCI_ECAM_SIZES; i++) {
        bool chosen = enabled && i == (int)size;
        if (!bus->ecam[i] && !chosen)
            continue;
        if (!bus->ecam[i])
            bus->ecam[i] = memory_add_mmio(bus->memory, base, (uint64_t)(256u >> i) << 20,
                                           PRIORITY_BOARD, &ecam_ops, bus, "ecam");
        region_place(bus->ecam[i], base, chosen);
    }
}

/* -- The bus as a device -- */

static void pci_bus_reset(struct device *device)
{
    ((struct pci_bus *)device)->config_address = 0;
}

static void count_drivers(struct pci_bus *root, struct pci_bus *bus)
{
    for (int i = 0; i < 256; i++) {
        struct pci_device *device = bus->slot[i];
        if (!device)
            continue;
        device->irq_driven = should_drive(device);
        if (device->irq_driven)
            root->driven[pirq_of(device)]++;
        if (pci_bridge_of(device))
            count_drivers(root, pci_bridge_of(device)->bus);
    }
}

/* Counts anew who pulls which PIRQ, from the devices' own fields. */
static void recount(struct pci_bus *bus)
{
    struct pci_bus *root = root_of(bus);

    memset(root->driven, 0, sizeof root->driven);
    count_drivers(root, root);
    for (int i = 0; i < PCI_PIRQS; i++)
        irq_set(root->irq[i], root->driven[i] > 0);
}

void pci_bus_irqs_changed(struct pci_bus *bus)
{
    recount(bus);
}

void pci_bus_windows_changed(struct pci_bus *bus)
{
    for (int i = 0; i < 256; i++) {
        struct pci_device *device = bus->slot[i];
        if (!device)
            continue;
        map_all(device);
        if (pci_bridge_of(device))
            pci_bus_windows_changed(pci_bridge_of(device)->bus);
    }
}

static bool pci_bus_post_load(struct device *device, struct error *error)
{
    struct pci_bus *bus = (struct pci_bus *)device;

    bus->config_address &= ADDRESS_WRITABLE;
    recount(bus);
    return true;
}

static void free_roms(struct pci_bus *bus)
{
    for (struct rom_copy *rom = bus->roms, *next; rom; rom = next) {
        next = rom->next;
        memory_free_host(rom->host, rom->size);
        free(rom);
    }
}

static void pci_bus_destroy(struct device *device)
{
    free_roms((struct pci_bus *)device);
    free(device);
}

static const struct device_ops pci_bus_ops = {
    .name = "pci-bus",
    .fields = pci_bus_fields,
    .version = 1,
    .reset = pci_bus_reset,
    .post_load = pci_bus_post_load,
    .destroy = pci_bus_destroy,
};

struct pci_bus *pci_bus_new(struct device_list *list, struct io_bus *io, struct memory *memory,
                            const struct irq_line irq[4])
{
    struct pci_bus *bus = alloc_zeroed(sizeof *bus);

    bus->io = io;
    bus->memory = memory;
    bus->map_irq = map_irq_plain;
    if (irq)
        pci_bus_route(bus, irq);
    io_bus_add(io, CONFIG_ADDRESS, 4, &address_ops, bus);
    io_bus_add(io, CONFIG_DATA, 4, &data_ops, bus);
    device_add(list, &bus->device, &pci_bus_ops, "pci0");
    return bus;
}

void pci_bus_reset_devices(struct pci_bus *bus)
{
    for (int i = 0; i < 256; i++) {
        struct device *device = bus->slot[i] ? &bus->slot[i]->device : NULL;
        if (device && device->ops->reset)
            device->ops->reset(device);
    }
}

struct pci_bus *pci_bus_new_behind(struct pci_bridge *bridge)
{
    struct pci_bus *bus = alloc_zeroed(sizeof *bus);

    bus->io = bridge->pci.bus->io;
    bus->memory = bridge->pci.bus->memory;
    bus->bridge = bridge;
    return bus;
}

void pci_bus_free_behind(struct pci_bus *bus)
{
    free_roms(bus);
    free(bus);
}

void pci_bus_route(struct pci_bus *bus, const struct irq_line irq[4])
{
    memcpy(bus->irq, irq, 4 * sizeof *irq);
}

void pci_bus_route_mapped(struct pci_bus *bus, const struct irq_line irq[PCI_PIRQS],
                          unsigned (*map)(void *opaque, unsigned slot, unsigned pin), void *opaque)
{
    memcpy(bus->irq, irq, sizeof bus->irq);
    bus->map_irq = map;
    bus->map_opaque = opaque;
}

void pci_bus_route_messages(struct pci_bus *bus,
                            void (*take)(void *opaque, uint64_t address, uint32_t data),
                            void *opaque)
{
    bus->take_message = take;
    bus->message_opaque = opaque;
}

void pci_bus_send_message(struct pci_bus *bus, uint64_t address, uint32_t data)
{
    bus = root_of(bus);
    if (bus->take_message)
        bus->take_message(bus->message_opaque, address, data);
}

/* -- The common part of a device -- */

void pci_device_init(struct pci_device *device, struct pci_bus *bus, uint8_t devfn,
                     const struct pci_identity *identity)
{
    uint8_t *config = device->config;

    assert(!bus->slot[devfn] && "one device for each slot and function");
    assert(identity->interrupt_pin <= 4);
    bus->slot[devfn] = device;
    device->bus = bus;
    device->devfn = devfn;
    device->identity = *identity;

    pci_put(config, PCI_VENDOR_ID, identity->vendor, 2);
    pci_put(config, PCI_DEVICE_ID, identity->device, 2);
    config[PCI_REVISION] = identity->revision;
    config[PCI_PROG_IF] = identity->prog_if;
    pci_put(config, PCI_CLASS, identity->class_code, 2);
    if (identity->class_code != PCI_CLASS_BRIDGE) {
        pci_put(config, PCI_SUBSYSTEM_VENDOR_ID, identity->subsystem_vendor, 2);
        pci_put(config, PCI_SUBSYSTEM_ID, identity->subsystem, 2);
    }
    config[PCI_INTERRUPT_PIN] = identity->interrupt_pin;

    pci_put(device->write_mask, PCI_COMMAND, COMMAND_WRITABLE, 2);
    device->write_mask[PCI_CACHE_LINE_SIZE] = 0xff;
    device->write_mask[PCI_LATENCY_TIMER] = 0xff;
    device->write_mask[PCI_INTERRUPT_LINE] = 0xff;
}

static struct pci_bar *add_bar(struct pci_device *device, int index, enum pci_bar_kind kind,
                               uint32_t size)
{
    struct pci_bar *bar = &device->bar[index];
    unsigned offset = PCI_BAR0 + 4 * (unsigned)index;

    assert(index < PCI_BARS && bar->kind == PCI_BAR_NONE);
    assert((index == 0 || !bar[-1].wide) && "the upper half of a 64-bit register");
    assert(size >= (kind == PCI_BAR_IO ? 4 : 16) && (size & (size - 1)) == 0);
    bar->kind = kind;
    bar->size = size;
    pci_put(device->write_mask, offset, ~(size - 1), 4);
    pci_put(device->config, offset,
            kind == PCI_BAR_IO                ? BAR_IO
            : kind == PCI_BAR_MEMORY_PREFETCH ? BAR_PREFETCH
                                              : 0,
            4);
    return bar;
}

void pci_add_io_bar(struct pci_device *device, int index, uint32_t size,
                    const struct access_ops *ops, void *opaque)
{
    struct pci_bar *bar = add_bar(device, index, PCI_BAR_IO, size);

    assert(size <= 256 && "a device may ask for at most 256 ports (6.2.5)");
    bar->ops = ops;
    bar->opaque = opaque;
}

void pci_add_mmio_bar(struct pci_device *device, int index, uint32_t size,
                      const struct access_ops *ops, void *opaque)
{
    struct pci_bar *bar = add_bar(device, index, PCI_BAR_MEMORY, size);

    bar->ops = ops;
    bar->opaque = opaque;
    bar->region =
        memory_add_mmio(device->bus->memory, 0, size, PRIORITY_PCI, ops, opaque, device->device.id);
    region_place(bar->region, 0, false);
}

void pci_add_mmio_bar_64(struct pci_device *device, int index, uint32_t size,
                         const struct access_ops *ops, void *opaque)
{
    unsigned offset = PCI_BAR0 + 4 * (unsigned)index;

    assert(index + 1 < PCI_BARS && device->bar[index + 1].kind == PCI_BAR_NONE);
    pci_add_mmio_bar(device, index, size, ops, opaque);
    device->bar[index].wide = true;
    device->config[offset] |= BAR_64BIT;
    pci_put(device->write_mask, offset + 4, UINT32_MAX, 4);
}

void pci_add_memory_bar(struct pci_device *device, int index, uint32_t size, void *host,
                        bool log_dirty)
{
    struct pci_bar *bar = add_bar(device, index, PCI_BAR_MEMORY_PREFETCH, size);

    bar->region = memory_add_host(device->bus->memory, REGION_RAM, 0, size, PRIORITY_PCI, host,
                                  log_dirty, device->device.id);
    region_place(bar->region, 0, false);
}

/* An image that serves several devices names one of them (PCI Firmware 3.0, section 5.1.2), and
 * firmware starts it for no other: it gets this device's name. Byte 6 makes the sum zero again. */
static void name_device(uint8_t *rom, size_t size, const struct pci_identity *identity)
{
    enum { BLOCKS = 2, SUM = 6, DATA_POINTER = 0x18, DATA_SIZE = 0x18, CODE_TYPE = 0x14, X86 = 0 };
    if (size < DATA_POINTER + 2 || rom[0] != 0x55 || rom[1] != 0xaa)
        return;
    size_t length = rom[BLOCKS] * 512u;
    uint8_t *data = rom + pci_get(rom, DATA_POINTER, 2), sum = 0;
    if (length > size || (size_t)(data - rom) + DATA_SIZE > length || memcmp(data, "PCIR", 4) ||
        data[CODE_TYPE] != X86)
        return;
    pci_put(data, 4, identity->vendor, 2);
    pci_put(data, 6, identity->device, 2);
    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + rom[i]);
    rom[SUM] = (uint8_t)(rom[SUM] - sum);
}

void pci_add_rom(struct pci_device *device, const void *image, size_t size)
{
    struct pci_bus *bus = device->bus;
    struct rom_copy *rom = alloc_zeroed(sizeof *rom);

    assert(!device->rom_region && size > 0 && size <= ROM_SIZE_MAX);
    device->rom_size = GUEST_PAGE_SIZE;
    while (device->rom_size < size)
        device->rom_size *= 2;
    rom->size = device->rom_size;
    rom->host = memory_alloc_host(rom->size);
    memcpy(rom->host, image, size);
    name_device(rom->host, rom->size, &device->identity);
    rom->next = bus->roms;
    bus->roms = rom;

    pci_put(device->write_mask, PCI_ROM_BAR, ~(device->rom_size - 1) | ROM_ENABLE, 4);
    device->rom_region = memory_add_host(bus->memory, REGION_ROM, 0, device->rom_size, PRIORITY_PCI,
                                         rom->host, false, device->device.id);
    region_place(device->rom_region, 0, false);
}

void pci_device_reset(struct pci_device *device)
{
    uint8_t *config = device->config;

    pci_put(config, PCI_COMMAND, 0, 2);
    pci_put(config, PCI_STATUS, pci_get(config, PCI_STATUS, 2) & ~STATUS_WRITE_CLEARS, 2);
    config[PCI_CACHE_LINE_SIZE] = 0;
    config[PCI_LATENCY_TIMER] = 0;
    config[PCI_INTERRUPT_LINE] = 0;
    for (unsigned offset = PCI_BAR0; offset < PCI_BAR0 + 4 * PCI_BARS; offset++)
        config[offset] &= (uint8_t)~device->write_mask[offset];
    pci_put(config, PCI_ROM_BAR, 0, 4);
    pci_messages_reset(device);
    pci_power_reset(device);
    map_all(device);
    pci_set_irq(device, false);
}

void pci_device_hide(struct pci_device *device, bool hidden)
{
    bool appears = device->hidden && !hidden;

    device->hidden = hidden;
    if (appears)
        device->device.ops->reset(&device->device);
    map_all(device);
    update_irq(device);
}

bool pci_device_post_load(struct pci_device *device, struct error *error)
{
    if (pci_get(device->config, PCI_VENDOR_ID, 2) != device->identity.vendor ||
        pci_get(device->config, PCI_DEVICE_ID, 2) != device->identity.device)
        return error_set(error, "the saved %s is PCI device %04x:%04x, this machine has %04x:%04x",
                         device->device.id, pci_get(device->config, PCI_VENDOR_ID, 2),
                         pci_get(device->config, PCI_DEVICE_ID, 2), device->identity.vendor,
                         device->identity.device);
    map_all(device);
    recount(device->bus);
    return true;
}

/* -- DMA -- */

bool pci_bus_master(const struct pci_device *device)
{
    if (!decodes(device, PCI_COMMAND_MASTER))
        return false;
    return !device->bus->bridge ||
           (device->bus->bridge->connected && pci_bus_master(&device->bus->bridge->pci));
}

static bool may_master(const struct pci_device *device)
{
    if (pci_bus_master(device))
        return true;
    log_guest("%s was asked for DMA while bus mastering is off", device->device.id);
    return false;
}

bool pci_dma_read(struct pci_device *device, uint64_t gpa, void *data, size_t length)
{
    if (may_master(device))
        return memory_dma_read(device->bus->memory, gpa, data, length);
    memset(data, 0xff, length);
    return false;
}

bool pci_dma_write(struct pci_device *device, uint64_t gpa, const void *data, size_t length)
{
    return may_master(device) && memory_dma_write(device->bus->memory, gpa, data, length);
}
