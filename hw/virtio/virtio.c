/*
 * What virtio devices of every kind share: the driver's way through status and features (Virtio
 * 1.1, 2.1, 2.2, 3.1), configuration space (2.4), interrupts, reset, saving.
 *
 * Resetting waits for the worker and for jobs under way: afterwards nothing of the device touches
 * guest memory. The board lock is let go meanwhile; `stopping` keeps other CPUs' register writes
 * out.
 */
#include "hw/virtio/virtio.h"
#include "hw/alloc.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define ISR_CONFIG      2
#define RING_FEATURES   (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1)
#define TRANSITIONAL_ID 0x1000 /* in the order of transitional_types */
#define VIRTIO_VENDOR   0x1af4
#define MSIX_BAR        1

static const struct field virtqueue_fields[] = {
    FIELD(struct virtqueue, size, 1),
    FIELD(struct virtqueue, enabled, 1),
    FIELD(struct virtqueue, descriptors, 1),
    FIELD(struct virtqueue, driver_area, 1),
    FIELD(struct virtqueue, device_area, 1),
    FIELD(struct virtqueue, next_avail, 1),
    FIELD(struct virtqueue, next_used, 1),
    FIELD(struct virtqueue, signalled, 1),
    FIELD(struct virtqueue, vector, 1),
    FIELD(struct virtqueue, signalled_valid, 1),
    FIELD_END,
};

const struct field virtio_fields[] = {
    FIELD_STRUCT(struct virtio, pci, pci_device_fields, 1),
    FIELD_STRUCT(struct virtio, msix, pci_msix_fields, 1),
    FIELD(struct virtio, status, 1),
    FIELD(struct virtio, isr, 1),
    FIELD(struct virtio, generation, 1),
    FIELD(struct virtio, device_feature_select, 1),
    FIELD(struct virtio, driver_feature_select, 1),
    FIELD(struct virtio, driver_features, 1),
    FIELD(struct virtio, queue_select, 1),
    FIELD(struct virtio, config_vector, 1),
    FIELD_STRUCTS(struct virtio, queue, virtqueue_fields, 1),
    FIELD_ARRAY(struct virtio, config, 1),
    FIELD_END,
};

/* -- Interrupts -- */

void virtio_interrupt(struct virtio *virtio, uint16_t vector, uint8_t isr)
{
    if (pci_msix_enabled(&virtio->pci)) {
        if (vector != VIRTIO_NO_VECTOR)
            pci_notify(&virtio->pci, vector);
        return;
    }
    virtio->isr |= isr;
    pci_set_irq(&virtio->pci, true);
}

void virtio_config_changed(struct virtio *virtio)
{
    virtio->generation++;
    if (virtio->status & VIRTIO_STATUS_DRIVER_OK)
        virtio_interrupt(virtio, virtio->config_vector, ISR_CONFIG);
}

void virtio_broken(struct virtio *virtio, const char *format, ...)
{
    char text[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_guest("%s stands until it is reset: %s", virtio->pci.device.id, text);
    if (virtio->status & VIRTIO_STATUS_NEEDS_RESET)
        return;
    bool tell = virtio->status & VIRTIO_STATUS_DRIVER_OK;
    virtio->status |= VIRTIO_STATUS_NEEDS_RESET;
    if (tell)
        virtio_interrupt(virtio, virtio->config_vector, ISR_CONFIG);
}

/* -- Queues -- */

/* Legacy drivers may use queues before they announce DRIVER_OK (3.1.2). */
bool virtio_running(const struct virtio *virtio)
{
    bool ready =
        (virtio->status & VIRTIO_STATUS_DRIVER_OK) || !virtio_has(virtio, VIRTIO_F_VERSION_1);
    return ready && !virtio->stopping && !(virtio->status & VIRTIO_STATUS_NEEDS_RESET) &&
           pci_bus_master(&virtio->pci);
}

void virtio_kick(struct virtio *virtio, unsigned index)
{
    if (index < virtio->queues && virtio->queue[index].enabled && virtio_running(virtio))
        virtio->ops->kick(virtio, &virtio->queue[index]);
}

void virtio_wake_worker(struct virtio *virtio, struct virtqueue *queue)
{
    queue->kicked = true;
    loop_worker_kick(virtio->worker);
}

bool virtio_enable_queue(struct virtqueue *queue)
{
    uint16_t size = queue->size;
    if (!size || size > queue->size_max || (size & (size - 1)) || queue->descriptors % 16 ||
        queue->driver_area % 2 || queue->device_area % 4) {
        virtio_broken(queue->virtio, "queue %u of %u entries at %" PRIx64 ", %" PRIx64 ", %" PRIx64,
                      queue->index, size, queue->descriptors, queue->driver_area,
                      queue->device_area);
        return false;
    }
    queue->enabled = true;
    return true;
}

/* Nothing of the device works on guest memory any more when this returns. */
static void quiesce(struct virtio *virtio)
{
    virtio->stopping = true;
    loop_worker_wait(virtio->worker);
    for (unsigned i = 0; i < virtio->queues; i++)
        while (virtio->queue[i].in_flight)
            loop_drain(virtio->loop);
    virtio->stopping = false;
}

static void clear_queue(struct virtqueue *queue)
{
    queue->enabled = queue->signalled_valid = queue->kicked = false;
    queue->size = queue->size_max;
    queue->descriptors = queue->driver_area = queue->device_area = 0;
    queue->next_avail = queue->next_used = queue->signalled = 0;
    queue->vector = VIRTIO_NO_VECTOR;
}

/* -- The driver's steps -- */

static void reset(struct virtio *virtio)
{
    virtio->stopping = true;
    if (virtio->ops->reset)
        virtio->ops->reset(virtio); /* lets go of chains that it keeps */
    quiesce(virtio);
    virtio->status = virtio->isr = 0;
    virtio->driver_features = 0;
    virtio->device_feature_select = virtio->driver_feature_select = 0;
    virtio->queue_select = 0;
    virtio->config_vector = VIRTIO_NO_VECTOR;
    for (unsigned i = 0; i <= VIRTIO_QUEUES_MAX; i++)
        clear_queue(&virtio->queue[i]);
    memcpy(virtio->config, virtio->config_reset, sizeof virtio->config);
    pci_set_irq(&virtio->pci, false);
}

void virtio_stop_queue(struct virtqueue *queue)
{
    uint16_t vector = queue->vector;
    quiesce(queue->virtio);
    clear_queue(queue);
    queue->vector = vector;
}

static void start(struct virtio *virtio)
{
    if (virtio->ops->started)
        virtio->ops->started(virtio);
    for (unsigned i = 0; i < virtio->queues; i++)
        virtio_kick(virtio, i);
}

void virtio_set_status(struct virtio *virtio, uint8_t status)
{
    uint8_t before = virtio->status, fresh = status & (uint8_t)~before;
    if (status == 0) {
        reset(virtio);
        return;
    }
    if ((fresh & VIRTIO_STATUS_FEATURES_OK) &&
        ((virtio->driver_features & ~virtio->device_features) ||
         !virtio_has(virtio, VIRTIO_F_VERSION_1)))
        status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    virtio->status = status | (before & VIRTIO_STATUS_NEEDS_RESET);
    if (fresh & VIRTIO_STATUS_DRIVER_OK)
        start(virtio);
}

void virtio_set_driver_features(struct virtio *virtio, unsigned half, uint32_t value)
{
    if (half > 1 || (virtio->status & (VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK)))
        return;
    unsigned shift = 32 * half;
    virtio->driver_features &= ~((uint64_t)UINT32_MAX << shift);
    virtio->driver_features |= (uint64_t)value << shift;
}

void virtio_write_config(struct virtio *virtio, unsigned offset, uint32_t value, unsigned size)
{
    bool changed = false;
    if (virtio->stopping)
        return;
    for (unsigned i = 0; i < size && offset + i < virtio->config_size; i++) {
        uint8_t *byte = &virtio->config[offset + i], mask = virtio->config_mask[offset + i];
        *byte = (uint8_t)((*byte & ~mask) | ((value >> (8 * i)) & mask));
        changed |= mask != 0;
    }
    if (changed && virtio->ops->config_written)
        virtio->ops->config_written(virtio, offset, size);
}

/* -- Life -- */

void virtio_device_reset(struct device *device)
{
    struct virtio *virtio = (struct virtio *)device;
    reset(virtio);
    pci_device_reset(&virtio->pci);
    virtio->generation = 0;
}

bool virtio_device_post_load(struct device *device, struct error *error)
{
    struct virtio *virtio = (struct virtio *)device;
    bool good = true;
    for (unsigned i = 0; i <= VIRTIO_QUEUES_MAX; i++) {
        const struct virtqueue *queue = &virtio->queue[i];
        if (queue->enabled)
            good &= queue->size && queue->size <= queue->size_max &&
                    !(queue->size & (queue->size - 1)) && queue->descriptors % 16 == 0 &&
                    queue->driver_area % 2 == 0 && queue->device_area % 4 == 0;
        else
            good &= queue->size <= queue->size_max;
    }
    if (!good)
        return error_set(error, "The saved state of '%s' is damaged", device->id);
    if (virtio->driver_features & ~virtio->device_features & ~VIRTIO_F_ANY_LAYOUT)
        return error_set(error, "The saved state of '%s' uses features that it has not here",
                         device->id);
    if (!pci_device_post_load(&virtio->pci, error) ||
        (virtio->ops->post_load && !virtio->ops->post_load(virtio, error)))
        return false;
    if (virtio->status & VIRTIO_STATUS_DRIVER_OK)
        start(virtio);
    return true;
}

void virtio_fini(struct virtio *virtio)
{
    virtio->stopping = true;
    loop_worker_wait(virtio->worker);
    quiesce(virtio);
    virtio->stopping = true;
    loop_worker_free(virtio->worker);
    for (struct virtio_chain *chain = virtio->free_chains, *next; chain; chain = next) {
        next = chain->next_free;
        free(chain);
    }
}

/* -- Construction -- */

static uint16_t transitional_id(enum virtio_type type)
{
    static const uint8_t types[] = {VIRTIO_NET,     VIRTIO_BLOCK, VIRTIO_BALLOON,
                                    VIRTIO_CONSOLE, VIRTIO_SCSI,  VIRTIO_RNG};
    uint16_t index = 0;
    while (types[index] != type)
        index++;
    return (uint16_t)(TRANSITIONAL_ID + index);
}

void virtio_init(struct virtio *virtio, const struct virtio_place *place, struct memory *memory,
                 const struct device_ops *device_ops, const struct virtio_ops *ops,
                 uint64_t features, size_t request_size, void (*work)(void *device))
{
    const struct pci_identity identity = {
        .vendor = VIRTIO_VENDOR,
        .device = transitional_id(ops->type),
        .class_code = ops->class_code,
        .subsystem_vendor = VIRTIO_VENDOR,
        .subsystem = (uint16_t)ops->type,
        .interrupt_pin = 1,
    };
    assert(request_size >= sizeof(struct virtio_chain));
    virtio->ops = ops;
    virtio->memory = memory;
    virtio->loop = place->loop;
    virtio->worker = loop_worker_new(place->loop, work, virtio);
    virtio->request_size = request_size;
    virtio->queue[VIRTIO_QUEUES_MAX].virtio = virtio;
    virtio->device_features = features | RING_FEATURES | VIRTIO_F_ANY_LAYOUT;
    device_add(place->list, &virtio->pci.device, device_ops, place->id);
    pci_device_init(&virtio->pci, place->bus, place->devfn, &identity);
    virtio_pci_init(virtio);
}

struct virtqueue *virtio_add_queue(struct virtio *virtio, uint16_t size_max)
{
    assert(virtio->queues < VIRTIO_QUEUES_MAX && size_max <= VIRTIO_QUEUE_SIZE_MAX);
    struct virtqueue *queue = &virtio->queue[virtio->queues];
    queue->virtio = virtio;
    queue->index = virtio->queues++;
    queue->size_max = size_max;
    clear_queue(queue);
    return queue;
}

void virtio_set_config(struct virtio *virtio, const void *bytes, unsigned size)
{
    assert(size <= VIRTIO_CONFIG_MAX);
    if (size) {
        memcpy(virtio->config_reset, bytes, size);
        memcpy(virtio->config, bytes, size);
    }
    virtio->config_size = size;
    pci_add_msix(&virtio->pci, &virtio->msix, 0, virtio->queues + 1, MSIX_BAR);
    virtio->config_vector = VIRTIO_NO_VECTOR;
}
