/*
 * Message signalled interrupts: MSI and MSI-X (PCI Local Bus 3.0, section 6.8).
 *
 *     MSI      +0 id, next   +2 control   +4 address [+8 upper half]   data   [mask   pending]
 *     MSI-X    +0 id, next   +2 control   +4 table: offset | BAR       +8 pending: offset | BAR
 *
 *     MSI-X BAR    000-3FF  table, 16 bytes a vector: address, upper half, data, control (bit 0:
 * masked) 800-807  pending bits, read only
 *
 * A masked vector that should be sent is pending; it is sent when nothing masks it any more.
 */
#include "hw/pci_msi.h"

#include <assert.h>
#include <string.h>

#define CAPABILITIES_FIRST  0x40
#define STATUS_CAPABILITIES 0x10

#define CONTROL             2 /* offset of both message control registers */

/* MSI */
#define MSI_ENABLE           0x0001
#define MSI_CAPABLE(value)   ((value) >> 1 & 7) /* log2 of the vectors */
#define MSI_ALLOWED(value)   ((value) >> 4 & 7)
#define MSI_ALLOWED_BITS     0x0070
#define MSI_HAS_64BIT        0x0080
#define MSI_HAS_MASKING      0x0100
#define MSI_ADDRESS          4
#define MSI_VECTORS_LOG2_MAX 5

/* MSI-X */
#define MSIX_FUNCTION_MASK 0x4000
#define MSIX_ENABLE        0x8000
#define MSIX_BAR_SIZE      0x1000
#define MSIX_PENDING       0x800
#define ENTRY_SIZE         16
#define ENTRY_MASKED       1

static const struct field msix_entry_fields[] = {
    FIELD(struct msix_entry, address_low, 1),
    FIELD(struct msix_entry, address_high, 1),
    FIELD(struct msix_entry, data, 1),
    FIELD(struct msix_entry, control, 1),
    FIELD_END,
};

const struct field pci_msix_fields[] = {
    FIELD_STRUCTS(struct pci_msix, table, msix_entry_fields, 1),
    FIELD(struct pci_msix, pending, 1),
    FIELD_END,
};

/* -- The list of capabilities -- */

unsigned pci_add_capability(struct pci_device *device, enum pci_capability id, unsigned offset,
                            unsigned size)
{
    uint8_t *config = device->config;
    unsigned link = PCI_CAPABILITIES;

    while (config[link])
        link = config[link] + 1u;
    if (!offset)
        offset = device->capabilities_end ? device->capabilities_end : CAPABILITIES_FIRST;
    assert(offset >= CAPABILITIES_FIRST && offset % 4 == 0 && offset + size <= 256);
    config[link] = (uint8_t)offset;
    config[offset] = (uint8_t)id;
    config[offset + 1] = 0;
    config[PCI_STATUS] |= STATUS_CAPABILITIES;
    unsigned end = (offset + size + 3) & ~3u;
    if (end > device->capabilities_end)
        device->capabilities_end = end;
    return offset;
}

static void send(struct pci_device *device, uint64_t address, uint32_t data)
{
    if (pci_bus_master(device))
        pci_bus_send_message(device->bus, address, data);
    else
        log_guest("%s: an interrupt message is lost while bus mastering is off", device->device.id);
}

/* -- MSI -- */

static uint16_t msi_control(const struct pci_device *device)
{
    return device->msi ? (uint16_t)pci_get(device->config, device->msi + CONTROL, 2) : 0;
}

static unsigned msi_data_offset(const struct pci_device *device)
{
    return device->msi + MSI_ADDRESS + (msi_control(device) & MSI_HAS_64BIT ? 8 : 4);
}

static unsigned msi_mask_offset(const struct pci_device *device)
{
    return msi_data_offset(device) + 4;
}

static unsigned msi_pending_offset(const struct pci_device *device)
{
    return msi_data_offset(device) + 8;
}

void pci_add_msi(struct pci_device *device, unsigned offset, unsigned vectors, unsigned flags)
{
    bool masking = flags & PCI_MSI_MASKING, wide = flags & PCI_MSI_64BIT;
    unsigned log2 = (unsigned)__builtin_ctz(vectors);

    assert(!device->msi && vectors == 1u << log2 && log2 <= MSI_VECTORS_LOG2_MAX);
    unsigned size = MSI_ADDRESS + (wide ? 8u : 4u) + (masking ? 12u : 2u);
    device->msi = pci_add_capability(device, PCI_CAPABILITY_MSI, offset, size);
    pci_put(device->config, device->msi + CONTROL,
            log2 << 1 | (wide ? MSI_HAS_64BIT : 0) | (masking ? MSI_HAS_MASKING : 0), 2);

    uint8_t *writable = device->write_mask;
    pci_put(writable, device->msi + CONTROL, MSI_ENABLE | MSI_ALLOWED_BITS, 2);
    pci_put(writable, device->msi + MSI_ADDRESS, 0xfffffffc, 4);
    if (wide)
        pci_put(writable, device->msi + MSI_ADDRESS + 4, 0xffffffff, 4);
    pci_put(writable, msi_data_offset(device), 0xffff, 2);
    if (masking)
        pci_put(writable, msi_mask_offset(device), UINT32_MAX >> (32 - vectors), 4);
}

bool pci_msi_enabled(const struct pci_device *device)
{
    return msi_control(device) & MSI_ENABLE;
}

unsigned pci_msi_allowed(const struct pci_device *device)
{
    unsigned control = msi_control(device);
    unsigned allowed = MSI_ALLOWED(control), capable = MSI_CAPABLE(control);

    if (!(control & MSI_ENABLE))
        return 0;
    return 1u << (allowed < capable ? allowed : capable);
}

static void msi_send(struct pci_device *device, unsigned vector)
{
    const uint8_t *config = device->config;
    unsigned count = pci_msi_allowed(device);
    uint64_t address = pci_get(config, device->msi + MSI_ADDRESS, 4);

    if (msi_control(device) & MSI_HAS_64BIT)
        address |= (uint64_t)pci_get(config, device->msi + MSI_ADDRESS + 4, 4) << 32;
    uint32_t data = pci_get(config, msi_data_offset(device), 2);
    send(device, address, (data & ~(count - 1)) | vector);
}

static void msi_notify(struct pci_device *device, unsigned vector)
{
    if (vector >> MSI_CAPABLE(msi_control(device)))
        return;
    vector &= pci_msi_allowed(device) - 1;
    if (msi_control(device) & MSI_HAS_MASKING) {
        uint32_t mask = pci_get(device->config, msi_mask_offset(device), 4);
        uint32_t pending = pci_get(device->config, msi_pending_offset(device), 4);
        if (mask >> vector & 1) {
            pci_put(device->config, msi_pending_offset(device), pending | 1u << vector, 4);
            return;
        }
    }
    msi_send(device, vector);
}

static void msi_send_pending(struct pci_device *device)
{
    if (!pci_msi_enabled(device) || !(msi_control(device) & MSI_HAS_MASKING))
        return;
    uint32_t pending = pci_get(device->config, msi_pending_offset(device), 4);
    uint32_t due = pending & ~pci_get(device->config, msi_mask_offset(device), 4);
    pci_put(device->config, msi_pending_offset(device), pending & ~due, 4);
    for (unsigned count = pci_msi_allowed(device), vector = 0; vector < count; vector++)
        if (due >> vector & 1)
            msi_send(device, vector);
}

static void msi_reset(struct pci_device *device)
{
    bool masking = msi_control(device) & MSI_HAS_MASKING;
    unsigned end = msi_data_offset(device) + (masking ? 12 : 2);

    for (unsigned offset = device->msi + CONTROL; offset < end; offset++)
        device->config[offset] &= (uint8_t)~device->write_mask[offset];
    if (masking)
        pci_put(device->config, msi_pending_offset(device), 0, 4);
}

/* -- MSI-X -- */

static uint16_t msix_control(const struct pci_device *device)
{
    return device->msix ? (uint16_t)pci_get(device->config, device->msix->capability + CONTROL, 2)
                        : 0;
}

bool pci_msix_enabled(const struct pci_device *device)
{
    return msix_control(device) & MSIX_ENABLE;
}

static bool msix_masked(const struct pci_msix *msix, unsigned vector)
{
    return (msix_control(msix->device) & MSIX_FUNCTION_MASK) ||
           (msix->table[vector].control & ENTRY_MASKED);
}

static void msix_notify(struct pci_msix *msix, unsigned vector)
{
    if (vector >= msix->vectors)
        return;
    const struct msix_entry *entry = &msix->table[vector];
    if (msix_masked(msix, vector)) {
        msix->pending |= UINT64_C(1) << vector;
        return;
    }
    msix->pending &= ~(UINT64_C(1) << vector);
    send(msix->device, (uint64_t)entry->address_high << 32 | entry->address_low, entry->data);
}

static void msix_send_pending(struct pci_msix *msix)
{
    if (!pci_msix_enabled(msix->device))
        return;
    for (unsigned vector = 0; vector < msix->vectors; vector++)
        if (msix->pending >> vector & 1)
            msix_notify(msix, vector);
}

static uint32_t *table_dword(struct pci_msix *msix, uint64_t offset)
{
    struct msix_entry *entry = &msix->table[offset / ENTRY_SIZE];
    uint32_t *const dword[] = {&entry->address_low, &entry->address_high, &entry->data,
                               &entry->control};

    return offset / ENTRY_SIZE < msix->vectors ? dword[offset % ENTRY_SIZE / 4] : NULL;
}

static uint64_t msix_read(void *opaque, uint64_t offset, unsigned size)
{
    struct pci_msix *msix = opaque;
    const uint32_t *dword = offset < MSIX_PENDING ? table_dword(msix, offset) : NULL;

    if (offset == MSIX_PENDING)
        return (uint32_t)msix->pending;
    if (offset == MSIX_PENDING + 4)
        return (uint32_t)(msix->pending >> 32);
    return dword ? *dword : 0;
}

static void msix_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pci_msix *msix = opaque;
    uint32_t *dword = offset < MSIX_PENDING ? table_dword(msix, offset) : NULL;

    if (!dword)
        return;
    switch (offset % ENTRY_SIZE) {
    case 0:
        *dword = (uint32_t)value & ~3u;
        break;
    case 12:
        *dword = (uint32_t)value & ENTRY_MASKED;
        msix_send_pending(msix);
        break;
    default:
        *dword = (uint32_t)value;
    }
}

static const struct access_ops msix_ops = {msix_read, msix_write, 4, 4};

void pci_add_msix(struct pci_device *device, struct pci_msix *msix, unsigned offset,
                  unsigned vectors, int bar)
{
    assert(!device->msix && vectors >= 1 && vectors <= PCI_MSIX_VECTORS_MAX);
    device->msix = msix;
    msix->device = device;
    msix->vectors = vectors;
    msix->capability = pci_add_capability(device, PCI_CAPABILITY_MSIX, offset, 12);
    pci_put(device->config, msix->capability + CONTROL, vectors - 1, 2);
    pci_put(device->config, msix->capability + 4, (unsigned)bar, 4);
    pci_put(device->config, msix->capability + 8, MSIX_PENDING | (unsigned)bar, 4);
    pci_put(device->write_mask, msix->capability + CONTROL, MSIX_ENABLE | MSIX_FUNCTION_MASK, 2);
    pci_add_mmio_bar(device, bar, MSIX_BAR_SIZE, &msix_ops, msix);
    pci_messages_reset(device);
}

static void msix_reset(struct pci_msix *msix)
{
    unsigned control = msix->capability + CONTROL;

    pci_put(msix->device->config, control, msix->vectors - 1, 2);
    msix->pending = 0;
    memset(msix->table, 0, sizeof msix->table);
    for (unsigned vector = 0; vector < msix->vectors; vector++)
        msix->table[vector].control = ENTRY_MASKED;
}

/* -- Both -- */

bool pci_notify(struct pci_device *device, unsigned vector)
{
    if (pci_msix_enabled(device))
        msix_notify(device->msix, vector);
    else if (pci_msi_enabled(device))
        msi_notify(device, vector);
    else
        return false;
    return true;
}

static bool touches(unsigned offset, unsigned size, unsigned first, unsigned count)
{
    return offset < first + count && first < offset + size;
}

void pci_messages_config_written(struct pci_device *device, unsigned offset, unsigned size)
{
    if (device->msi && touches(offset, size, device->msi, 24))
        msi_send_pending(device);
    if (device->msix && touches(offset, size, device->msix->capability, 4))
        msix_send_pending(device->msix);
}

void pci_messages_reset(struct pci_device *device)
{
    if (device->msi)
        msi_reset(device);
    if (device->msix)
        msix_reset(device->msix);
}
