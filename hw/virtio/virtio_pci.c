/*
 * Virtio over PCI (Virtio 1.1, 4.1): transitional devices.
 *
 *     BAR 0  128 ports: the legacy registers (4.1.4.8), then the device's configuration
 *     BAR 1  MSI-X
 *     BAR 4  16 KiB of memory: 0000 common configuration (4.1.4.3)
 *                              1000 interrupt status    (4.1.4.5)
 *                              2000 device configuration (4.1.4.6)
 *                              3000 notifications, four bytes a queue (4.1.4.4)
 *
 * Capabilities point at the parts of BAR 4. One more (4.1.4.7) is a window on the BARs through
 * configuration space, for firmware that cannot reach memory up there.
 */
#include "hw/virtio/virtio.h"

#include <string.h>

enum { BAR_LEGACY = 0, BAR_MODERN = 4 };
#define LEGACY_SIZE       128
#define MODERN_SIZE       0x4000
#define PART_SIZE         0x1000
#define NOTIFY_MULTIPLIER 4
#define LEGACY_PAGE       4096u

/* Kinds of capabilities, in the order of the parts of BAR 4 (but for the last). */
enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4, CAP_WINDOW = 5 };
enum { PART_COMMON, PART_ISR, PART_DEVICE, PART_NOTIFY };

/* Fields of a capability. */
enum {
    CAP_LENGTH = 2,
    CAP_TYPE = 3,
    CAP_BAR = 4,
    CAP_OFFSET = 8,
    CAP_SIZE = 12,
    CAP_MULTIPLIER = 16,
    CAP_DATA = 16
};

/* A queue beyond the last has no entries and takes no settings. */
static struct virtqueue *selected(struct virtio *virtio)
{
    unsigned index = virtio->queue_select;
    return &virtio->queue[index < virtio->queues ? index : VIRTIO_QUEUES_MAX];
}

static uint16_t checked_vector(const struct virtio *virtio, uint32_t value)
{
    return value < virtio->msix.vectors ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

static uint8_t read_isr(struct virtio *virtio)
{
    uint8_t isr = virtio->isr;
    virtio->isr = 0;
    pci_set_irq(&virtio->pci, false);
    return isr;
}

/* -- Registers, one row each -- */

struct reg {
    uint16_t offset;
    uint8_t size;
    uint32_t (*read)(struct virtio *virtio);
    void (*write)(struct virtio *virtio, uint32_t value);
};

#define READ(name)  static uint32_t read_##name(struct virtio *virtio)
#define WRITE(name) static void write_##name(struct virtio *virtio, uint32_t value)

READ(device_feature_select)
{
    return virtio->device_feature_select;
}

WRITE(device_feature_select)
{
    virtio->device_feature_select = value;
}

/* ANY_LAYOUT belongs to the legacy interface; modern drivers need not be told. */
READ(device_feature)
{
    uint64_t features = virtio->device_features & ~VIRTIO_F_ANY_LAYOUT;
    return virtio->device_feature_select > 1
               ? 0
               : (uint32_t)(features >> (32 * virtio->device_feature_select));
}

READ(driver_feature_select)
{
    return virtio->driver_feature_select;
}

WRITE(driver_feature_select)
{
    virtio->driver_feature_select = value;
}

READ(driver_feature)
{
    return virtio->driver_feature_select > 1
               ? 0
               : (uint32_t)(virtio->driver_features >> (32 * virtio->driver_feature_select));
}

WRITE(driver_feature)
{
    virtio_set_driver_features(virtio, virtio->driver_feature_select, value);
}

READ(config_vector)
{
    return virtio->config_vector;
}

WRITE(config_vector)
{
    virtio->config_vector = checked_vector(virtio, value);
}

READ(num_queues)
{
    return virtio->queues;
}

READ(status)
{
    return virtio->status;
}

WRITE(status)
{
    virtio_set_status(virtio, (uint8_t)value);
}

READ(generation)
{
    return virtio->generation;
}

READ(queue_select)
{
    return virtio->queue_select;
}

WRITE(queue_select)
{
    virtio->queue_select = (uint16_t)value;
}

READ(queue_size)
{
    return selected(virtio)->size;
}

WRITE(queue_size)
{
    struct virtqueue *queue = selected(virtio);
    if (!value || value > queue->size_max || (value & (value - 1)) || queue->enabled)
        log_guest("%s: a ring of %u entries", virtio->pci.device.id, value);
    else
        queue->size = (uint16_t)value;
}

READ(queue_vector)
{
    return virtio->queue_select < virtio->queues ? selected(virtio)->vector : VIRTIO_NO_VECTOR;
}

WRITE(queue_vector)
{
    if (virtio->queue_select < virtio->queues)
        selected(virtio)->vector = checked_vector(virtio, value);
}

READ(queue_enable)
{
    return selected(virtio)->enabled;
}

WRITE(queue_enable)
{
    struct virtqueue *queue = selected(virtio);
    if (value == 1 && queue->size_max && !queue->enabled && virtio_enable_queue(queue))
        virtio_kick(virtio, queue->index);
}

READ(queue_notify_off)
{
    return virtio->queue_select < virtio->queues ? virtio->queue_select : 0;
}

/* Addresses are written as two halves. */
static void set_half(struct virtio *virtio, uint64_t *address, unsigned half, uint32_t value)
{
    struct virtqueue *queue = selected(virtio);
    if (!queue->size_max || queue->enabled)
        return;
    *address &= ~((uint64_t)UINT32_MAX << (32 * half));
    *address |= (uint64_t)value << (32 * half);
}

#define ADDRESS(name, member)                                                                      \
    READ(name##_low)                                                                               \
    {                                                                                              \
        return (uint32_t)selected(virtio)->member;                                                 \
    }                                                                                              \
    READ(name##_high)                                                                              \
    {                                                                                              \
        return (uint32_t)(selected(virtio)->member >> 32);                                         \
    }                                                                                              \
    WRITE(name##_low)                                                                              \
    {                                                                                              \
        set_half(virtio, &selected(virtio)->member, 0, value);                                     \
    }                                                                                              \
    WRITE(name##_high)                                                                             \
    {                                                                                              \
        set_half(virtio, &selected(virtio)->member, 1, value);                                     \
    }
ADDRESS(desc, descriptors)
ADDRESS(driver, driver_area)
ADDRESS(device, device_area)

static const struct reg common_registers[] = {
    {0x00, 4, read_device_feature_select, write_device_feature_select},
    {0x04, 4, read_device_feature, NULL},
    {0x08, 4, read_driver_feature_select, write_driver_feature_select},
    {0x0c, 4, read_driver_feature, write_driver_feature},
    {0x10, 2, read_config_vector, write_config_vector},
    {0x12, 2, read_num_queues, NULL},
    {0x14, 1, read_status, write_status},
    {0x15, 1, read_generation, NULL},
    {0x16, 2, read_queue_select, write_queue_select},
    {0x18, 2, read_queue_size, write_queue_size},
    {0x1a, 2, read_queue_vector, write_queue_vector},
    {0x1c, 2, read_queue_enable, write_queue_enable},
    {0x1e, 2, read_queue_notify_off, NULL},
    {0x20, 4, read_desc_low, write_desc_low},
    {0x24, 4, read_desc_high, write_desc_high},
    {0x28, 4, read_driver_low, write_driver_low},
    {0x2c, 4, read_driver_high, write_driver_high},
    {0x30, 4, read_device_low, write_device_low},
    {0x34, 4, read_device_high, write_device_high},
};

/* -- Legacy registers: the driver's half of the same state -- */

READ(legacy_device_features)
{
    return (uint32_t)virtio->device_features;
}

READ(legacy_driver_features)
{
    return (uint32_t)virtio->driver_features;
}

WRITE(legacy_driver_features)
{
    virtio_set_driver_features(virtio, 0, value & (uint32_t)virtio->device_features);
    virtio_set_driver_features(virtio, 1, 0);
}

READ(legacy_queue_page)
{
    return (uint32_t)(selected(virtio)->descriptors / LEGACY_PAGE);
}

/* The three areas follow each other (2.6.2). */
WRITE(legacy_queue_page)
{
    struct virtqueue *queue = selected(virtio);
    if (!queue->size_max)
        return;
    virtio_stop_queue(queue);
    if (!value)
        return;
    queue->descriptors = (uint64_t)value * LEGACY_PAGE;
    queue->driver_area = queue->descriptors + 16u * queue->size;
    uint64_t end = queue->driver_area + 6 + 2u * queue->size;
    queue->device_area = (end + LEGACY_PAGE - 1) & ~(uint64_t)(LEGACY_PAGE - 1);
    virtio_enable_queue(queue);
}

WRITE(legacy_notify)
{
    virtio_kick(virtio, value);
}

READ(legacy_isr)
{
    return read_isr(virtio);
}

static const struct reg legacy_registers[] = {
    {0x00, 4, read_legacy_device_features, NULL},
    {0x04, 4, read_legacy_driver_features, write_legacy_driver_features},
    {0x08, 4, read_legacy_queue_page, write_legacy_queue_page},
    {0x0c, 2, read_queue_size, NULL},
    {0x0e, 2, read_queue_select, write_queue_select},
    {0x10, 2, NULL, write_legacy_notify},
    {0x12, 1, read_status, write_status},
    {0x13, 1, read_legacy_isr, NULL},
    {0x14, 2, read_config_vector, write_config_vector}, /* only while MSI-X is on */
    {0x16, 2, read_queue_vector, write_queue_vector},
};
#define LEGACY_REGISTERS      (sizeof legacy_registers / sizeof *legacy_registers)
#define LEGACY_MSIX_REGISTERS 2

/* -- Access by table -- */

/* Bytes that the access takes out of registers; registers wholly or partly inside it are read. */
static uint32_t read_registers(struct virtio *virtio, const struct reg *table, size_t count,
                               unsigned offset, unsigned size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        const struct reg *reg = &table[i];
        if (!reg->read || reg->offset >= offset + size || reg->offset + reg->size <= offset)
            continue;
        uint64_t bits = reg->read(virtio);
        value |= reg->offset >= offset ? bits << (8 * (reg->offset - offset))
                                       : bits >> (8 * (offset - reg->offset));
    }
    return (uint32_t)(value & (UINT64_MAX >> (64 - 8 * size)));
}

/* A register takes a write of exactly its bytes; wider ones are taken apart. A narrower one keeps
 * its other bytes. */
static void write_registers(struct virtio *virtio, const struct reg *table, size_t count,
                            unsigned offset, uint32_t value, unsigned size)
{
    for (size_t i = 0; i < count; i++) {
        const struct reg *reg = &table[i];
        if (!reg->write || reg->offset >= offset + size || reg->offset + reg->size <= offset)
            continue;
        uint64_t mask = UINT64_MAX >> (64 - 8 * reg->size), bits;
        if (reg->offset >= offset && reg->offset + reg->size <= offset + size) {
            bits = (uint64_t)value >> (8 * (reg->offset - offset));
        } else if (reg->offset < offset && offset + size <= reg->offset + reg->size) {
            unsigned shift = 8 * (offset - reg->offset);
            uint64_t part = (UINT64_MAX >> (64 - 8 * size)) << shift;
            bits = ((reg->read ? reg->read(virtio) : 0) & ~part) | ((uint64_t)value << shift);
        } else if (reg->offset == offset) {
            uint64_t part = UINT64_MAX >> (64 - 8 * size);
            bits = ((reg->read ? reg->read(virtio) : 0) & ~part) | value;
        } else {
            continue; /* half of it and something else: nobody does that */
        }
        reg->write(virtio, (uint32_t)(bits & mask));
    }
}

static uint32_t read_config(struct virtio *virtio, unsigned offset, unsigned size)
{
    uint32_t value = 0;
    if (virtio->ops->config_reading)
        virtio->ops->config_reading(virtio);
    for (unsigned i = 0; i < size; i++)
        if (offset + i < virtio->config_size)
            value |= (uint32_t)virtio->config[offset + i] << (8 * i);
    return value;
}

/* -- BAR 0 -- */

static size_t legacy_count(const struct virtio *virtio)
{
    return pci_msix_enabled(&virtio->pci) ? LEGACY_REGISTERS
                                          : LEGACY_REGISTERS - LEGACY_MSIX_REGISTERS;
}

static unsigned legacy_config(const struct virtio *virtio)
{
    return pci_msix_enabled(&virtio->pci) ? 0x18 : 0x14;
}

static uint64_t legacy_read(void *opaque, uint64_t offset, unsigned size)
{
    struct virtio *virtio = opaque;
    if (offset >= legacy_config(virtio))
        return read_config(virtio, (unsigned)offset - legacy_config(virtio), size);
    return read_registers(virtio, legacy_registers, legacy_count(virtio), (unsigned)offset, size);
}

static void legacy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct virtio *virtio = opaque;
    if (virtio->stopping)
        return;
    if (offset >= legacy_config(virtio))
        virtio_write_config(virtio, (unsigned)offset - legacy_config(virtio), (uint32_t)value,
                            size);
    else
        write_registers(virtio, legacy_registers, legacy_count(virtio), (unsigned)offset,
                        (uint32_t)value, size);
}

static const struct access_ops legacy_ops = {legacy_read, legacy_write, 1, 4};

/* -- BAR 4 -- */

static uint64_t modern_read(void *opaque, uint64_t offset, unsigned size)
{
    struct virtio *virtio = opaque;
    unsigned at = (unsigned)offset % PART_SIZE;
    switch (offset / PART_SIZE) {
    case PART_COMMON:
        return read_registers(virtio, common_registers,
                              sizeof common_registers / sizeof *common_registers, at, size);
    case PART_ISR:
        return at ? 0 : read_isr(virtio);
    case PART_DEVICE:
        return read_config(virtio, at, size);
    default:
        return 0;
    }
}

static void modern_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct virtio *virtio = opaque;
    unsigned at = (unsigned)offset % PART_SIZE;
    if (virtio->stopping)
        return;
    switch (offset / PART_SIZE) {
    case PART_NOTIFY:
        virtio_kick(virtio, at / NOTIFY_MULTIPLIER);
        break;
    case PART_COMMON:
        write_registers(virtio, common_registers,
                        sizeof common_registers / sizeof *common_registers, at, (uint32_t)value,
                        size);
        break;
    case PART_DEVICE:
        virtio_write_config(virtio, at, (uint32_t)value, size);
        break;
    }
}

static const struct access_ops modern_ops = {modern_read, modern_write, 1, 4};

/* -- The window in configuration space -- */

/* Offset and size of the access that the window is set to, and through which handlers it goes. */
static const struct access_ops *window_target(const struct virtio *virtio, uint32_t *offset,
                                              uint32_t *size)
{
    const uint8_t *cap = virtio->pci.config + virtio->window;
    uint8_t bar = cap[CAP_BAR];
    uint32_t limit = bar == BAR_LEGACY ? LEGACY_SIZE : bar == BAR_MODERN ? MODERN_SIZE : 0;
    *offset = virtio_le32(cap + CAP_OFFSET);
    *size = virtio_le32(cap + CAP_SIZE);
    if ((*size != 1 && *size != 2 && *size != 4) || *offset % *size || *offset >= limit)
        return NULL;
    return bar == BAR_LEGACY ? &legacy_ops : &modern_ops;
}

static bool touches_window(const struct virtio *virtio, unsigned offset, unsigned size)
{
    return offset < virtio->window + CAP_DATA + 4 && offset + size > virtio->window + CAP_DATA;
}

static void config_reading(struct pci_device *pci, unsigned offset, unsigned size)
{
    struct virtio *virtio = (struct virtio *)pci;
    uint32_t at, length;
    const struct access_ops *ops =
        touches_window(virtio, offset, size) ? window_target(virtio, &at, &length) : NULL;
    if (ops)
        pci_put(pci->config, virtio->window + CAP_DATA, (uint32_t)ops->read(virtio, at, length), 4);
}

static void config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
    struct virtio *virtio = (struct virtio *)pci;
    uint32_t at, length;
    const struct access_ops *ops =
        touches_window(virtio, offset, size) ? window_target(virtio, &at, &length) : NULL;
    if (ops)
        ops->write(virtio, at, pci_get(pci->config, virtio->window + CAP_DATA, length), length);
}

/* -- Construction -- */

static unsigned add_capability(struct virtio *virtio, uint8_t type, uint8_t length, uint32_t offset,
                               uint32_t size)
{
    uint8_t *config = virtio->pci.config;
    unsigned at = pci_add_capability(&virtio->pci, PCI_CAPABILITY_VENDOR, 0, length);
    config[at + CAP_LENGTH] = length;
    config[at + CAP_TYPE] = type;
    config[at + CAP_BAR] = BAR_MODERN;
    pci_put(config, at + CAP_OFFSET, offset, 4);
    pci_put(config, at + CAP_SIZE, size, 4);
    return at;
}

void virtio_pci_init(struct virtio *virtio)
{
    struct pci_device *pci = &virtio->pci;
    pci_add_io_bar(pci, BAR_LEGACY, LEGACY_SIZE, &legacy_ops, virtio);
    pci_add_mmio_bar(pci, BAR_MODERN, MODERN_SIZE, &modern_ops, virtio);
    add_capability(virtio, CAP_COMMON, 16, PART_COMMON * PART_SIZE, PART_SIZE);
    add_capability(virtio, CAP_ISR, 16, PART_ISR * PART_SIZE, PART_SIZE);
    add_capability(virtio, CAP_DEVICE, 16, PART_DEVICE * PART_SIZE, PART_SIZE);
    unsigned notify = add_capability(virtio, CAP_NOTIFY, 20, PART_NOTIFY * PART_SIZE, PART_SIZE);
    pci_put(pci->config, notify + CAP_MULTIPLIER, NOTIFY_MULTIPLIER, 4);
    virtio->window = add_capability(virtio, CAP_WINDOW, 20, 0, 0);
    pci->config[virtio->window + CAP_BAR] = 0;
    pci->write_mask[virtio->window + CAP_BAR] = 0xff;
    memset(pci->write_mask + virtio->window + CAP_OFFSET, 0xff, 12);
    pci->config_written = config_written;
    pci->config_reading = config_reading;
}
