/*
 * Virtio traditional memory balloon (Virtio 1.1, 5.5), with free page reporting (1.2, 5.5.6.7).
 *
 * Pages in the balloon are taken out of the guest's memory file, so that the host has them back at
 * once. A page that the guest uses again, told or not, appears as zeros.
 *
 *     queues   inflate, deflate, [statistics], [reporting]: those that were negotiated
 *
 * Not modelled: free page hints, page poisoning.
 */
#include "hw/virtio/virtio_balloon.h"
#include "hw/alloc.h"

#include <string.h>

#define QUEUE_SIZE    128
#define PAGE          4096u
#define BLOCK_NUMBERS 1024 /* read at a time */

#define F_STATS       (UINT64_C(1) << 1)
#define F_DEFLATE     (UINT64_C(1) << 2) /* the guest may take pages back when it runs out */
#define F_REPORTING   (UINT64_C(1) << 5)

enum { CONFIG_TARGET = 0, CONFIG_ACTUAL = 4, CONFIG_SIZE = 8 };
enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_FIRST_OPTIONAL };
#define STAT_SIZE 10 /* tag, value; packed */

struct virtio_balloon {
    struct virtio virtio;
    /* -- State -- */
    uint64_t stats[BALLOON_STATS];
};

static const struct field virtio_balloon_fields[] = {
    FIELD_STRUCT(struct virtio_balloon, virtio, virtio_fields, 1),
    FIELD_ARRAY(struct virtio_balloon, stats, 1),
    FIELD_END,
};

/* -- Queues -- */

static struct virtqueue *stats_queue(struct virtio_balloon *balloon)
{
    return virtio_has(&balloon->virtio, F_STATS) ? &balloon->virtio.queue[QUEUE_FIRST_OPTIONAL]
                                                 : NULL;
}

static struct virtqueue *reporting_queue(struct virtio_balloon *balloon)
{
    if (!virtio_has(&balloon->virtio, F_REPORTING))
        return NULL;
    return &balloon->virtio.queue[QUEUE_FIRST_OPTIONAL + virtio_has(&balloon->virtio, F_STATS)];
}

/* Page numbers, 32 bits each, of which no driver has more than there are pages: runs of neighbours
 * are given back together. */
static void inflate(struct virtio_balloon *balloon, const struct virtio_chain *chain)
{
    struct memory *memory = balloon->virtio.memory;
    uint64_t most = memory_ram_bytes(memory) / PAGE, first = 0, count = 0, at = 0;
    uint8_t numbers[4 * BLOCK_NUMBERS];
    while (at < 4 * most) {
        size_t got = virtio_read(chain, at, numbers, sizeof numbers);
        for (size_t i = 0; i + 4 <= got; i += 4) {
            uint64_t page = virtio_le32(numbers + i);
            if (count && page == first + count) {
                count++;
                continue;
            }
            memory_discard(memory, first * PAGE, count * PAGE);
            first = page;
            count = 1;
        }
        at += got;
        if (got < sizeof numbers)
            break;
    }
    memory_discard(memory, first * PAGE, count * PAGE);
}

/* The buffers themselves are the free pages. */
static void take_free_pages(struct virtio_balloon *balloon, const struct virtio_chain *chain)
{
    for (unsigned i = chain->out; i < chain->out + chain->in; i++)
        memory_discard(balloon->virtio.memory, chain->gpa[i], chain->iov[i].iov_len);
}

static void take_stats(struct virtio_balloon *balloon, const struct virtio_chain *chain)
{
    uint8_t stat[STAT_SIZE];
    for (uint64_t at = 0; virtio_read(chain, at, stat, STAT_SIZE) == STAT_SIZE; at += STAT_SIZE)
        if (virtio_le16(stat) < BALLOON_STATS)
            balloon->stats[virtio_le16(stat)] = virtio_le64(stat + 2);
}

/* Every chain gets `work`, without the board lock, and goes back. */
static void serve(struct virtio_balloon *balloon, struct virtqueue *queue,
                  void (*work)(struct virtio_balloon *balloon, const struct virtio_chain *chain))
{
    do {
        struct virtio_chain *chain;
        while ((chain = virtqueue_pop(queue)) != NULL) {
            if (work) {
                loop_unlock(balloon->virtio.loop);
                work(balloon, chain);
                loop_lock(balloon->virtio.loop);
            }
            virtqueue_push(chain, 0);
        }
        virtqueue_notify(queue);
    } while (virtqueue_ask(queue));
}

/* The driver's one buffer stays in the ring until new statistics are wanted. */
static void look_at_stats(struct virtio_balloon *balloon, struct virtqueue *queue)
{
    struct virtio_chain *chain = virtqueue_pop(queue);
    if (!chain)
        return;
    take_stats(balloon, chain);
    virtqueue_unpop(chain);
}

static void work(void *opaque)
{
    struct virtio_balloon *balloon = opaque;
    for (unsigned i = 0; i < balloon->virtio.queues; i++) {
        struct virtqueue *queue = &balloon->virtio.queue[i];
        if (!queue->kicked)
            continue;
        queue->kicked = false;
        if (i == QUEUE_INFLATE)
            serve(balloon, queue, inflate);
        else if (i == QUEUE_DEFLATE)
            serve(balloon, queue, NULL);
        else if (queue == stats_queue(balloon))
            look_at_stats(balloon, queue);
        else if (queue == reporting_queue(balloon))
            serve(balloon, queue, take_free_pages);
    }
}

/* -- For those outside -- */

static void put_target(struct virtio_balloon *balloon, uint64_t bytes)
{
    uint64_t ram = memory_ram_bytes(balloon->virtio.memory);
    uint64_t pages = bytes && bytes < ram ? (ram - bytes) / PAGE : 0;
    virtio_put(balloon->virtio.config + CONFIG_TARGET, pages, 4);
    virtio_put(balloon->virtio.config_reset + CONFIG_TARGET, pages, 4);
}

void virtio_balloon_set_target(struct virtio_balloon *balloon, uint64_t bytes)
{
    put_target(balloon, bytes);
    virtio_config_changed(&balloon->virtio);
}

uint64_t virtio_balloon_size(const struct virtio_balloon *balloon)
{
    return (uint64_t)virtio_le32(balloon->virtio.config + CONFIG_ACTUAL) * PAGE;
}

void virtio_balloon_ask_stats(struct virtio_balloon *balloon)
{
    struct virtqueue *queue = stats_queue(balloon);
    struct virtio_chain *chain = queue ? virtqueue_pop(queue) : NULL;
    if (!chain)
        return;
    take_stats(balloon, chain);
    virtqueue_push(chain, 0);
    virtqueue_notify(queue);
    virtqueue_ask(queue);
}

const uint64_t *virtio_balloon_stats(const struct virtio_balloon *balloon)
{
    return balloon->stats;
}

/* -- Life -- */

static void balloon_reset(struct virtio *virtio)
{
    struct virtio_balloon *balloon = (struct virtio_balloon *)virtio;
    memset(balloon->stats, 0xff, sizeof balloon->stats);
}

/* The target is the user's, not the saved machine's. */
static bool balloon_post_load(struct virtio *virtio, struct error *error)
{
    memcpy(virtio->config + CONFIG_TARGET, virtio->config_reset + CONFIG_TARGET, 4);
    return true;
}

static void virtio_balloon_destroy(struct device *device)
{
    virtio_fini((struct virtio *)device);
    free(device);
}

static const struct device_ops virtio_balloon_device_ops = {
    .name = "virtio-balloon",
    .fields = virtio_balloon_fields,
    .version = 1,
    .reset = virtio_device_reset,
    .post_load = virtio_device_post_load,
    .destroy = virtio_balloon_destroy,
};

static const struct virtio_ops virtio_balloon_ops = {
    .type = VIRTIO_BALLOON,
    .class_code = 0x00ff,
    .kick = virtio_wake_worker,
    .reset = balloon_reset,
    .post_load = balloon_post_load,
};

struct virtio_balloon *virtio_balloon_new(const struct virtio_place *place, struct memory *memory,
                                          uint64_t target)
{
    static const uint8_t config[CONFIG_SIZE];
    struct virtio_balloon *balloon = alloc_zeroed(sizeof *balloon);
    virtio_init(&balloon->virtio, place, memory, &virtio_balloon_device_ops, &virtio_balloon_ops,
                F_STATS | F_DEFLATE | F_REPORTING, sizeof(struct virtio_chain), work);
    for (unsigned i = 0; i < 4; i++)
        virtio_add_queue(&balloon->virtio, QUEUE_SIZE);
    virtio_set_config(&balloon->virtio, config, sizeof config);
    memset(balloon->virtio.config_mask + CONFIG_ACTUAL, 0xff, 4);
    put_target(balloon, target);
    balloon_reset(&balloon->virtio);
    return balloon;
}
