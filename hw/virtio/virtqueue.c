/*
 * Split virtqueues (Virtio 1.1, 2.6).
 *
 *     descriptors   16 bytes each: address, length, flags, next
 *     driver area   flags, index, ring of chain heads, used_event     ("available ring")
 *     device area   flags, index, ring of {head, length}, avail_event ("used ring")
 *
 * Indices run freely modulo 65536; the ring's place is index % size. The areas are looked up in
 * guest memory anew each time: that is cheap, and nothing becomes stale when the memory map
 * changes.
 */
#include "hw/alloc.h"
#include "hw/virtio/virtio.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#define DESCRIPTOR_SIZE    16
#define DESCRIPTOR_NEXT    1
#define DESCRIPTOR_WRITE   2
#define DESCRIPTOR_TABLE   4 /* indirect */

#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY     1
#define RING_HEADER        4
#define USED_ELEMENT       8

/* Pieces of one chain: as many descriptors as the longest ring has, and some more for buffers that
 * lie in several regions of memory. */
#define CHAIN_DESCRIPTORS VIRTIO_QUEUE_SIZE_MAX
#define CHAIN_PIECES      (CHAIN_DESCRIPTORS + 64)

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

/* -- Areas -- */

/* `length` bytes at `gpa` in one piece, or NULL and the device is broken. */
static uint8_t *map_area(struct virtio *virtio, uint64_t gpa, size_t length, bool write)
{
    size_t got = length;
    uint8_t *host = memory_dma_map(virtio->memory, gpa, &got, write);
    if (host && got == length)
        return host;
    virtio_broken(virtio, "a ring at %" PRIx64 " is not in RAM", gpa);
    return NULL;
}

static uint8_t *map_avail(struct virtqueue *queue)
{
    return map_area(queue->virtio, queue->driver_area, RING_HEADER + 2u * queue->size + 2, false);
}

static uint8_t *map_used(struct virtqueue *queue)
{
    return map_area(queue->virtio, queue->device_area,
                    RING_HEADER + (size_t)USED_ELEMENT * queue->size + 2, true);
}

/* 16-bit words that driver and device share; the areas are aligned (virtio_enable_queue). */
static uint16_t load_shared(const uint8_t *word)
{
    return atomic_load_explicit((const _Atomic uint16_t *)word, memory_order_acquire);
}

static void store_shared(uint8_t *word, uint16_t value)
{
    atomic_store_explicit((_Atomic uint16_t *)word, value, memory_order_release);
}

static void wrote_used(struct virtqueue *queue, size_t offset, size_t length)
{
    memory_dma_written(queue->virtio->memory, queue->device_area + offset, length);
}

/* -- Chains -- */

static struct virtio_chain *new_chain(struct virtqueue *queue)
{
    struct virtio *virtio = queue->virtio;
    struct virtio_chain *chain = virtio->free_chains;
    if (chain) {
        virtio->free_chains = chain->next_free;
    } else {
        size_t head = (virtio->request_size + 15) & ~(size_t)15;
        chain = alloc_zeroed(head + CHAIN_PIECES * (sizeof *chain->iov + sizeof *chain->gpa));
        chain->iov = (struct iovec *)((char *)chain + head);
        chain->gpa = (uint64_t *)(chain->iov + CHAIN_PIECES);
    }
    chain->queue = queue;
    chain->out = chain->in = 0;
    chain->out_bytes = chain->in_bytes = 0;
    queue->in_flight++;
    return chain;
}

void virtqueue_drop(struct virtio_chain *chain)
{
    struct virtio *virtio = chain->queue->virtio;
    chain->queue->in_flight--;
    chain->next_free = virtio->free_chains;
    virtio->free_chains = chain;
}

/* Appends a buffer; false if it is not memory, or comes in too many pieces. */
static bool add_buffer(struct virtio_chain *chain, const struct descriptor *descriptor)
{
    struct virtio *virtio = chain->queue->virtio;
    bool write = descriptor->flags & DESCRIPTOR_WRITE;
    uint64_t gpa = descriptor->address;
    if (!write && chain->in) {
        virtio_broken(virtio, "a buffer to read follows one to write");
        return false;
    }
    for (size_t left = descriptor->length; left;) {
        size_t step = left;
        uint8_t *host = memory_dma_map(virtio->memory, gpa, &step, write);
        unsigned piece = chain->out + chain->in;
        if (!host || piece == CHAIN_PIECES) {
            virtio_broken(virtio, "a buffer of %" PRIu32 " bytes at %" PRIx64 " is not in RAM",
                          descriptor->length, descriptor->address);
            return false;
        }
        chain->iov[piece] = (struct iovec){host, step};
        chain->gpa[piece] = gpa;
        *(write ? &chain->in : &chain->out) += 1;
        *(write ? &chain->in_bytes : &chain->out_bytes) += step;
        gpa += step;
        left -= step;
    }
    return true;
}

/* Walks the table from `index` on. Each table is walked once, `entries` steps at most. */
static bool walk(struct virtio_chain *chain, uint64_t table, uint32_t entries, uint32_t index,
                 bool indirect)
{
    struct virtio *virtio = chain->queue->virtio;
    const uint8_t *host = map_area(virtio, table, (size_t)entries * DESCRIPTOR_SIZE, false);
    if (!host)
        return false;
    for (uint32_t steps = 0; steps < entries; steps++) {
        const uint8_t *at = host + (size_t)index * DESCRIPTOR_SIZE;
        const struct descriptor descriptor = {virtio_le64(at), virtio_le32(at + 8),
                                              virtio_le16(at + 12), virtio_le16(at + 14)};
        bool more = descriptor.flags & DESCRIPTOR_NEXT;
        if (descriptor.flags & DESCRIPTOR_TABLE) {
            uint32_t count = descriptor.length / DESCRIPTOR_SIZE;
            if (indirect || more || !virtio_has(virtio, VIRTIO_F_INDIRECT_DESC) || !count ||
                descriptor.length % DESCRIPTOR_SIZE || count > CHAIN_DESCRIPTORS) {
                virtio_broken(virtio, "an indirect table of %" PRIu32 " bytes, flags %x",
                              descriptor.length, descriptor.flags);
                return false;
            }
            return walk(chain, descriptor.address, count, 0, true);
        }
        if (!add_buffer(chain, &descriptor))
            return false;
        if (!more)
            return true;
        index = descriptor.next;
        if (index >= entries) {
            virtio_broken(virtio, "descriptor %" PRIu32 " of %" PRIu32, index, entries);
            return false;
        }
    }
    virtio_broken(virtio, "a descriptor chain without an end");
    return false;
}

/* -- Taking -- */

/* How many chains wait; 0 also if the ring cannot be used. */
static uint16_t waiting(struct virtqueue *queue, const uint8_t **avail)
{
    if (!queue->enabled || !virtio_running(queue->virtio) || !(*avail = map_avail(queue)))
        return 0;
    uint16_t count = (uint16_t)(load_shared(*avail + 2) - queue->next_avail);
    if (count <= queue->size)
        return count;
    virtio_broken(queue->virtio, "an available index %u ahead in a ring of %u", count, queue->size);
    return 0;
}

bool virtqueue_ready(struct virtqueue *queue)
{
    const uint8_t *avail;
    return waiting(queue, &avail) > 0;
}

struct virtio_chain *virtqueue_pop(struct virtqueue *queue)
{
    const uint8_t *avail;
    if (!waiting(queue, &avail))
        return NULL;
    uint16_t place = queue->next_avail % queue->size;
    uint16_t head = load_shared(avail + RING_HEADER + 2u * place);
    if (head >= queue->size) {
        virtio_broken(queue->virtio, "chain %u in a ring of %u", head, queue->size);
        return NULL;
    }
    struct virtio_chain *chain = new_chain(queue);
    chain->head = head;
    if (!walk(chain, queue->descriptors, queue->size, head, false)) {
        virtqueue_drop(chain);
        return NULL;
    }
    queue->next_avail++;
    return chain;
}

void virtqueue_unpop(struct virtio_chain *chain)
{
    chain->queue->next_avail--;
    virtqueue_drop(chain);
}

bool virtqueue_ask(struct virtqueue *queue)
{
    uint8_t *used;
    if (!queue->enabled || !virtio_running(queue->virtio) || !(used = map_used(queue)))
        return false;
    if (virtio_has(queue->virtio, VIRTIO_F_EVENT_IDX))
        store_shared(used + RING_HEADER + (size_t)USED_ELEMENT * queue->size, queue->next_avail);
    else
        store_shared(used, 0);
    atomic_thread_fence(memory_order_seq_cst); /* before the look: the driver does the reverse */
    return virtqueue_ready(queue);
}

void virtqueue_hush(struct virtqueue *queue)
{
    uint8_t *used;
    if (virtio_has(queue->virtio, VIRTIO_F_EVENT_IDX) || !queue->enabled ||
        !virtio_running(queue->virtio) || !(used = map_used(queue)))
        return;
    store_shared(used, USED_NO_NOTIFY);
}

/* -- Giving back -- */

static void note_written(struct virtio_chain *chain, uint64_t written)
{
    for (unsigned i = chain->out; i < chain->out + chain->in && written; i++) {
        size_t part = chain->iov[i].iov_len < written ? chain->iov[i].iov_len : (size_t)written;
        memory_dma_written(chain->queue->virtio->memory, chain->gpa[i], part);
        written -= part;
    }
}

void virtqueue_fill(struct virtio_chain *chain, uint64_t written, unsigned ahead)
{
    struct virtqueue *queue = chain->queue;
    uint8_t *used;
    note_written(chain, written);
    if (queue->enabled && virtio_running(queue->virtio) && (used = map_used(queue))) {
        uint16_t place = (uint16_t)(queue->next_used + ahead) % queue->size;
        size_t offset = RING_HEADER + (size_t)USED_ELEMENT * place;
        virtio_put(used + offset, chain->head, 4);
        virtio_put(used + offset + 4, written, 4);
        wrote_used(queue, offset, USED_ELEMENT);
    }
    virtqueue_drop(chain);
}

void virtqueue_publish(struct virtqueue *queue, unsigned count)
{
    uint8_t *used;
    if (!queue->enabled || !virtio_running(queue->virtio) || !(used = map_used(queue)))
        return;
    queue->next_used = (uint16_t)(queue->next_used + count);
    store_shared(used + 2, queue->next_used);
    wrote_used(queue, 0, RING_HEADER);
}

void virtqueue_push(struct virtio_chain *chain, uint64_t written)
{
    struct virtqueue *queue = chain->queue;
    virtqueue_fill(chain, written, 0);
    virtqueue_publish(queue, 1);
}

/* True if `event` lies among the indices that were passed since `old`. */
static bool passed(uint16_t event, uint16_t now, uint16_t old)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

void virtqueue_notify(struct virtqueue *queue)
{
    const uint8_t *avail;
    if (!queue->enabled || !virtio_running(queue->virtio))
        return;
    if (queue->signalled_valid && queue->signalled == queue->next_used)
        return;                                /* nothing was pushed since */
    atomic_thread_fence(memory_order_seq_cst); /* after the used index, before the wish */
    if (!(avail = map_avail(queue)))
        return;
    bool wanted;
    if (virtio_has(queue->virtio, VIRTIO_F_EVENT_IDX)) {
        uint16_t event = load_shared(avail + RING_HEADER + 2u * queue->size);
        wanted = !queue->signalled_valid || passed(event, queue->next_used, queue->signalled);
    } else {
        wanted = !(load_shared(avail) & AVAIL_NO_INTERRUPT);
    }
    queue->signalled = queue->next_used;
    queue->signalled_valid = true;
    if (wanted)
        virtio_interrupt(queue->virtio, queue->vector, 1);
}

/* -- Bytes of a chain -- */

unsigned virtio_slice(const struct virtio_chain *chain, bool writable, uint64_t offset,
                      uint64_t *length, struct iovec *iov, unsigned max)
{
    unsigned first = writable ? chain->out : 0, count = 0;
    unsigned end = writable ? chain->out + chain->in : chain->out;
    uint64_t left = *length;
    for (unsigned i = first; i < end && left && count < max; i++) {
        const struct iovec *piece = &chain->iov[i];
        if (offset >= piece->iov_len) {
            offset -= piece->iov_len;
            continue;
        }
        size_t part = piece->iov_len - (size_t)offset;
        if (part > left)
            part = (size_t)left;
        iov[count++] = (struct iovec){(uint8_t *)piece->iov_base + offset, part};
        left -= part;
        offset = 0;
    }
    *length -= left;
    return count;
}

/* One piece after the other, through the caller's hands. */
static size_t copy(const struct virtio_chain *chain, bool writable, uint64_t offset, uint8_t *data,
                   size_t length)
{
    unsigned first = writable ? chain->out : 0;
    unsigned end = writable ? chain->out + chain->in : chain->out;
    size_t done = 0;
    for (unsigned i = first; i < end && done < length; i++) {
        const struct iovec *piece = &chain->iov[i];
        if (offset >= piece->iov_len) {
            offset -= piece->iov_len;
            continue;
        }
        size_t part = piece->iov_len - (size_t)offset;
        if (part > length - done)
            part = length - done;
        uint8_t *there = (uint8_t *)piece->iov_base + offset;
        memcpy(writable ? there : data + done, writable ? data + done : there, part);
        done += part;
        offset = 0;
    }
    return done;
}

size_t virtio_read(const struct virtio_chain *chain, uint64_t offset, void *data, size_t length)
{
    return copy(chain, false, offset, data, length);
}

size_t virtio_write(const struct virtio_chain *chain, uint64_t offset, const void *data,
                    size_t length)
{
    return copy(chain, true, offset, (uint8_t *)data, length);
}

void virtqueue_serve(struct virtqueue *queue,
                     void (*handle)(void *device, struct virtio_chain *chain), void *device)
{
    enum { BATCH = 16, BATCH_BYTES = 128 << 10 }; /* the driver hears of these at the latest */
    do {
        struct virtio_chain *chain;
        unsigned chains = 0;
        uint64_t bytes = 0;
        virtqueue_hush(queue);
        while ((chain = virtqueue_pop(queue)) != NULL) {
            bytes += chain->in_bytes + chain->out_bytes;
            handle(device, chain);
            if (++chains % BATCH == 0 || bytes > BATCH_BYTES) {
                virtqueue_notify(queue);
                bytes = 0;
            }
        }
        virtqueue_notify(queue);
    } while (virtqueue_ask(queue));
}
