/*
 * Virtio 1.1 devices on PCI (OASIS "Virtual I/O Device Version 1.1"): what all kinds share.
 *
 *     virtio.c       status, features, configuration space, reset, interrupts
 *     virtqueue.c    split rings: descriptor chains in, used elements out, notifications
 *     virtio_pci.c   the registers, legacy (I/O BAR 0) and modern (memory BAR 4), MSI-X (BAR 1)
 *     blk, net, scsi, console, balloon, rng: the devices
 *
 * A device is a struct that starts with struct virtio; its state table starts with
 * FIELD_STRUCT(struct x, virtio, virtio_fields, 1) and its device_ops use virtio_device_reset,
 * virtio_device_post_load. All devices are transitional: a driver of either age finds them.
 *
 * Data path: a notification of the guest ends in ops->kick(), under the board lock on a CPU's
 * thread, which does no more than wake a worker (loop_worker). The worker takes chains with
 * virtqueue_pop(), works on guest memory in place while the board lock is let go, and gives them
 * back with virtqueue_push(). Everything declared here needs the board lock.
 *
 * A ring that no driver would make (loops, indices that jump, addresses outside RAM) stops the
 * device until it is reset (2.1.2: DEVICE_NEEDS_RESET).
 */
#ifndef DOPPEL_HW_VIRTIO_VIRTIO_H
#define DOPPEL_HW_VIRTIO_VIRTIO_H

#include "hw/loop.h"
#include "hw/pci_msi.h"

#include <sys/uio.h>

#define VIRTIO_QUEUES_MAX     19
#define VIRTIO_QUEUE_SIZE_MAX 1024
#define VIRTIO_CONFIG_MAX     128
#define VIRTIO_NO_VECTOR      0xffff

/* Device types (5). */
enum virtio_type {
    VIRTIO_NET = 1,
    VIRTIO_BLOCK = 2,
    VIRTIO_CONSOLE = 3,
    VIRTIO_RNG = 4,
    VIRTIO_BALLOON = 5,
    VIRTIO_SCSI = 8,
};

/* Feature bits of all devices (6). */
#define VIRTIO_F_ANY_LAYOUT    (UINT64_C(1) << 27)
#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX     (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1     (UINT64_C(1) << 32)

/* Device status (2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01
#define VIRTIO_STATUS_DRIVER      0x02
#define VIRTIO_STATUS_DRIVER_OK   0x04
#define VIRTIO_STATUS_FEATURES_OK 0x08
#define VIRTIO_STATUS_NEEDS_RESET 0x40
#define VIRTIO_STATUS_FAILED      0x80

struct virtio;

struct virtqueue {
    /* -- State -- */
    uint16_t size; /* of the ring, as the driver chose it */
    bool enabled;
    uint64_t descriptors, driver_area, device_area; /* guest physical */
    uint16_t next_avail;                            /* index of the next chain to take */
    uint16_t next_used;
    uint16_t signalled; /* next_used at the last interrupt */
    bool signalled_valid;
    uint16_t vector;
    /* -- Not saved -- */
    struct virtio *virtio;
    unsigned index;
    uint16_t size_max; /* 0: the device has no such queue */
    unsigned in_flight;
    bool kicked; /* for the device's worker */
};

/* A descriptor chain taken from a ring, its buffers mapped: first those the device reads, then
 * those it writes. Devices embed it at the start of their request. */
struct virtio_chain {
    struct virtqueue *queue;
    struct virtio_chain *next_free;
    uint16_t head;
    unsigned out, in;             /* pieces in iov[] */
    uint64_t out_bytes, in_bytes; /* of all pieces */
    struct iovec *iov;
    uint64_t *gpa; /* guest addresses of the pieces */
};

struct virtio_ops {
    enum virtio_type type;
    uint16_t class_code;
    /* The driver notified the queue, which runs. */
    void (*kick)(struct virtio *virtio, struct virtqueue *queue);
    /* Back to power-on state; no worker is inside the device. May be NULL. */
    void (*reset)(struct virtio *virtio);
    /* Configuration bytes changed by the driver; write_mask says which can. May be NULL. */
    void (*config_written)(struct virtio *virtio, unsigned offset, unsigned size);
    /* The driver is about to read the configuration: bring it up to date. May be NULL. */
    void (*config_reading)(struct virtio *virtio);
    /* The driver has announced DRIVER_OK, or a running state was loaded. May be NULL. */
    void (*started)(struct virtio *virtio);
    /* Checks the device's own loaded fields. May be NULL. */
    bool (*post_load)(struct virtio *virtio, struct error *error);
};

struct virtio {
    struct pci_device pci;
    struct pci_msix msix;
    /* -- State -- */
    uint8_t status, isr, generation;
    uint32_t device_feature_select, driver_feature_select;
    uint64_t driver_features;
    uint16_t queue_select, config_vector;
    struct virtqueue queue[VIRTIO_QUEUES_MAX + 1]; /* the last never exists */
    uint8_t config[VIRTIO_CONFIG_MAX];
    /* -- Not saved -- */
    const struct virtio_ops *ops;
    struct memory *memory;
    struct loop *loop;
    struct loop_worker *worker;
    uint64_t device_features;
    unsigned config_size;
    uint8_t config_mask[VIRTIO_CONFIG_MAX]; /* bits that the driver can write */
    uint8_t config_reset[VIRTIO_CONFIG_MAX];
    unsigned queues;
    size_t request_size; /* of the device's requests, which start with struct virtio_chain */
    struct virtio_chain *free_chains;
    unsigned window; /* offset of the PCI_CFG capability */
    bool stopping;
};

extern const struct field virtio_fields[];

/* -- Construction -- */

struct virtio_place {
    struct device_list *list;
    struct pci_bus *bus;
    uint8_t devfn;
    struct loop *loop;
    const char *id;
};

/* Fills the common part of `virtio`, puts it on the bus, makes its worker. `features` are the
 * device's own; the rings' are added. Queues are added afterwards, then the configuration. */
void virtio_init(struct virtio *virtio, const struct virtio_place *place, struct memory *memory,
                 const struct device_ops *device_ops, const struct virtio_ops *ops,
                 uint64_t features, size_t request_size, void (*work)(void *device));
struct virtqueue *virtio_add_queue(struct virtio *virtio, uint16_t size_max);
/* Configuration space with its power-on contents. */
void virtio_set_config(struct virtio *virtio, const void *bytes, unsigned size);

void virtio_device_reset(struct device *device);
bool virtio_device_post_load(struct device *device, struct error *error);
/* For `destroy`: ends the worker, frees the common part's memory (not the struct). */
void virtio_fini(struct virtio *virtio);

/* -- For the devices -- */

static inline bool virtio_has(const struct virtio *virtio, uint64_t feature)
{
    return virtio->driver_features & feature;
}

/* False before DRIVER_OK, after something that needs a reset, and without bus mastering. */
bool virtio_running(const struct virtio *virtio);
/* Configuration changed: tells the driver. */
void virtio_config_changed(struct virtio *virtio);
/* The driver broke the rules; logged, and the device stands until it is reset. */
__attribute__((format(printf, 2, 3))) void virtio_broken(struct virtio *virtio, const char *format,
                                                         ...);
/* For ops->kick: the worker's turn. */
void virtio_wake_worker(struct virtio *virtio, struct virtqueue *queue);

/* -- Rings -- */

/* The next chain, or NULL: the ring is empty, or broken. Whoever takes it must push or drop it. */
struct virtio_chain *virtqueue_pop(struct virtqueue *queue);
/* True if a chain waits. */
bool virtqueue_ready(struct virtqueue *queue);
/* Asks to be notified of the next chain; true if one has come meanwhile. Called when pop said NULL.
 */
bool virtqueue_ask(struct virtqueue *queue);
/* The driver need not notify: the worker is looking. */
void virtqueue_hush(struct virtqueue *queue);
/* Gives a chain back, of whose writable bytes the first `written` were written. */
void virtqueue_push(struct virtio_chain *chain, uint64_t written);
/* Gives back several chains at once, visible to the driver together (mergeable receive buffers). */
void virtqueue_fill(struct virtio_chain *chain, uint64_t written, unsigned ahead);
void virtqueue_publish(struct virtqueue *queue, unsigned count);
/* Puts the chain taken last back into the ring, as if it had not been taken. */
void virtqueue_unpop(struct virtio_chain *chain);
/* Forgets a chain without an answer (reset, or a device that needs one). */
void virtqueue_drop(struct virtio_chain *chain);
/* Gives every waiting chain to `handle` until the ring stays empty; the driver hears of what was
 * pushed after a bounded batch at the latest. For queues of requests; on the worker. */
void virtqueue_serve(struct virtqueue *queue,
                     void (*handle)(void *device, struct virtio_chain *chain), void *device);
/* Interrupts if the driver wants to know of what was pushed. */
void virtqueue_notify(struct virtqueue *queue);

/* Copies from the readable, or to the writable bytes of a chain, from `offset` on; returns how many
 * there were. */
size_t virtio_read(const struct virtio_chain *chain, uint64_t offset, void *data, size_t length);
size_t virtio_write(const struct virtio_chain *chain, uint64_t offset, const void *data,
                    size_t length);
/* The pieces of [offset, offset + length) of the readable or writable bytes: as many as `max`
 * allows, returns how many; *length is cut to what they hold. */
unsigned virtio_slice(const struct virtio_chain *chain, bool writable, uint64_t offset,
                      uint64_t *length, struct iovec *iov, unsigned max);

/* -- Between virtio.c and virtio_pci.c -- */

void virtio_pci_init(struct virtio *virtio);
void virtio_set_status(struct virtio *virtio, uint8_t status);
void virtio_set_driver_features(struct virtio *virtio, unsigned half, uint32_t value);
void virtio_kick(struct virtio *virtio, unsigned index);
void virtio_write_config(struct virtio *virtio, unsigned offset, uint32_t value, unsigned size);
/* Starts a queue whose addresses are set (false: they are impossible), or stops it. */
bool virtio_enable_queue(struct virtqueue *queue);
void virtio_stop_queue(struct virtqueue *queue);
/* Interrupt of a queue (isr bit 0) or of configuration (bit 1). */
void virtio_interrupt(struct virtio *virtio, uint16_t vector, uint8_t isr);

/* -- Little-endian fields of the structs in memory (2.6) -- */

static inline uint16_t virtio_le16(const void *bytes)
{
    const uint8_t *b = bytes;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t virtio_le32(const void *bytes)
{
    const uint8_t *b = bytes;
    return virtio_le16(b) | (uint32_t)virtio_le16(b + 2) << 16;
}

static inline uint64_t virtio_le64(const void *bytes)
{
    const uint8_t *b = bytes;
    return virtio_le32(b) | (uint64_t)virtio_le32(b + 4) << 32;
}

static inline void virtio_put(void *bytes, uint64_t value, unsigned size)
{
    uint8_t *b = bytes;
    for (unsigned i = 0; i < size; i++)
        b[i] = (uint8_t)(value >> (8 * i));
}

#endif
