/*
 * Virtio block device (Virtio 1.1, 5.2).
 *
 * The device's worker reads and writes guest memory in place. A read that the host would have to
 * wait for, flushes and discards go on to the loop's workers, so that requests behind them pass.
 *
 * A request in a ring:  header {type, reserved, sector}, data, status byte (the last writable one).
 *
 * Not modelled: SCSI pass-through of the legacy interface, secure erase, lifetime.
 */
#include "hw/virtio/virtio_blk.h"
#include "hw/alloc.h"
#include "hw/virtio/virtio_image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define QUEUE_SIZE  256
#define SEGMENTS    (QUEUE_SIZE - 2)
#define QUEUES_MAX  8
#define HEADER_SIZE 16
#define ID_SIZE     20
#define RANGES_MAX  64
#define RANGE_SIZE  16
#define RANGE_UNMAP 1
#define MAX_SECTORS 0x3fffffu /* of one discarded or zeroed range: 2 GiB */

/* Features (5.2.3). */
#define F_SEG_MAX      (UINT64_C(1) << 2)
#define F_GEOMETRY     (UINT64_C(1) << 4)
#define F_RO           (UINT64_C(1) << 5)
#define F_BLK_SIZE     (UINT64_C(1) << 6)
#define F_FLUSH        (UINT64_C(1) << 9)
#define F_TOPOLOGY     (UINT64_C(1) << 10)
#define F_CONFIG_WCE   (UINT64_C(1) << 11)
#define F_MQ           (UINT64_C(1) << 12)
#define F_DISCARD      (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)

/* Configuration (5.2.4). */
enum {
    CONFIG_CAPACITY = 0,
    CONFIG_SEG_MAX = 12,
    CONFIG_CYLINDERS = 16,
    CONFIG_HEADS = 18,
    CONFIG_SECTORS = 19,
    CONFIG_BLK_SIZE = 20,
    CONFIG_PHYSICAL_EXPONENT = 24,
    CONFIG_MIN_IO_SIZE = 26,
    CONFIG_OPT_IO_SIZE = 28,
    CONFIG_WRITEBACK = 32,
    CONFIG_NUM_QUEUES = 34,
    CONFIG_DISCARD_SECTORS = 36,
    CONFIG_DISCARD_RANGES = 40,
    CONFIG_DISCARD_ALIGNMENT = 44,
    CONFIG_ZEROES_SECTORS = 48,
    CONFIG_ZEROES_RANGES = 52,
    CONFIG_ZEROES_UNMAP = 56,
    CONFIG_SIZE = 60,
};

enum request_type {
    TYPE_IN = 0,
    TYPE_OUT = 1,
    TYPE_FLUSH = 4,
    TYPE_GET_ID = 8,
    TYPE_DISCARD = 11,
    TYPE_WRITE_ZEROES = 13,
};
enum { STATUS_OK = 0, STATUS_IOERR = 1, STATUS_UNSUPP = 2 };

struct blk_range {
    uint64_t offset, length;
    bool unmap;
};

struct blk_request {
    struct virtio_chain chain;
    struct virtio_blk *blk;
    uint32_t type;
    uint64_t offset, length; /* of the image */
    bool through;            /* the write must be durable before it is answered */
    unsigned ranges;
    struct blk_range range[RANGES_MAX];
    int status; /* 0 or an errno value */
};

struct virtio_blk {
    struct virtio virtio;
    struct image *image;
    char serial[ID_SIZE];
    _Atomic uint64_t *activity;
};

static const struct field virtio_blk_fields[] = {
    FIELD_STRUCT(struct virtio_blk, virtio, virtio_fields, 1),
    FIELD_END,
};

/* -- Work on the image, without the board lock -- */

/* Data in the chain: between the header and the status byte. */
static int move_data(struct blk_request *request, bool wait)
{
    struct image *image = request->blk->image;
    if (request->type == TYPE_IN)
        return virtio_image_read(image, request->offset, &request->chain, 0, request->length, wait);
    int status =
        virtio_image_write(image, request->offset, &request->chain, HEADER_SIZE, request->length);
    return status || !request->through ? status : image_flush(image);
}

static int clear_ranges(struct blk_request *request)
{
    struct image *image = request->blk->image;
    int status = 0;
    for (unsigned i = 0; i < request->ranges && !status; i++) {
        const struct blk_range *range = &request->range[i];
        status = request->type == TYPE_DISCARD
                     ? image_discard(image, range->offset, range->length)
                     : image_write_zeroes(image, range->offset, range->length, range->unmap);
    }
    return status;
}

static void run_job(void *opaque)
{
    struct blk_request *request = opaque;
    if (request->type == TYPE_FLUSH)
        request->status = image_flush(request->blk->image);
    else if (request->type == TYPE_IN || request->type == TYPE_OUT)
        request->status = move_data(request, true);
    else
        request->status = clear_ranges(request);
}

/* -- Answers -- */

/* The status byte is the last one, so all of the buffers counts as written. */
static void answer(struct blk_request *request, uint8_t status)
{
    struct virtio_chain *chain = &request->chain;
    virtio_write(chain, chain->in_bytes - 1, &status, 1);
    virtqueue_push(chain, chain->in_bytes);
}

static void finish(struct blk_request *request)
{
    struct virtio_blk *blk = request->blk;
    if (request->status)
        log_guest("%s: request %u at %llu: %s", blk->virtio.pci.device.id, request->type,
                  (unsigned long long)request->offset, strerror(request->status));
    atomic_fetch_add_explicit(blk->activity, request->length / SECTOR_SIZE + 1,
                              memory_order_relaxed);
    answer(request, request->status ? STATUS_IOERR : STATUS_OK);
}

static void job_done(void *opaque)
{
    struct blk_request *request = opaque;
    struct virtqueue *queue = request->chain.queue;
    finish(request);
    virtqueue_notify(queue);
}

/* -- Requests -- */

static bool in_image(const struct virtio_blk *blk, uint64_t sector, uint64_t bytes)
{
    uint64_t sectors = image_bytes(blk->image) / SECTOR_SIZE;
    return sector <= sectors && bytes % SECTOR_SIZE == 0 && bytes / SECTOR_SIZE <= sectors - sector;
}

static uint8_t parse_ranges(struct blk_request *request)
{
    struct virtio_chain *chain = &request->chain;
    uint64_t bytes = chain->out_bytes - HEADER_SIZE;
    if (!bytes || bytes % RANGE_SIZE || bytes / RANGE_SIZE > RANGES_MAX)
        return STATUS_IOERR;
    request->ranges = (unsigned)(bytes / RANGE_SIZE);
    for (unsigned i = 0; i < request->ranges; i++) {
        uint8_t raw[RANGE_SIZE];
        virtio_read(chain, HEADER_SIZE + i * RANGE_SIZE, raw, sizeof raw);
        uint64_t sector = virtio_le64(raw);
        uint32_t count = virtio_le32(raw + 8), flags = virtio_le32(raw + 12);
        if ((flags & ~RANGE_UNMAP) || (flags && request->type == TYPE_DISCARD))
            return STATUS_UNSUPP;
        if (count > MAX_SECTORS || !in_image(request->blk, sector, (uint64_t)count * SECTOR_SIZE))
            return STATUS_IOERR;
        request->range[i] = (struct blk_range){sector * SECTOR_SIZE, (uint64_t)count * SECTOR_SIZE,
                                               flags & RANGE_UNMAP};
    }
    return STATUS_OK;
}

/* What the header says; STATUS_OK if it can be done. */
static uint8_t parse(struct blk_request *request)
{
    struct virtio_blk *blk = request->blk;
    struct virtio_chain *chain = &request->chain;
    uint8_t header[HEADER_SIZE];
    virtio_read(chain, 0, header, sizeof header);
    uint64_t sector = virtio_le64(header + 8);
    request->type = virtio_le32(header);
    request->offset = sector * SECTOR_SIZE;
    request->length = 0;
    request->status = 0;
    request->through = false;
    bool writes = request->type == TYPE_OUT || request->type == TYPE_DISCARD ||
                  request->type == TYPE_WRITE_ZEROES;
    if (writes && image_read_only(blk->image))
        return STATUS_IOERR;
    switch (request->type) {
    case TYPE_IN:
        request->length = chain->in_bytes - 1;
        return in_image(blk, sector, request->length) ? STATUS_OK : STATUS_IOERR;
    case TYPE_OUT:
        request->length = chain->out_bytes - HEADER_SIZE;
        request->through =
            !virtio_has(&blk->virtio, F_FLUSH) || !blk->virtio.config[CONFIG_WRITEBACK];
        return in_image(blk, sector, request->length) ? STATUS_OK : STATUS_IOERR;
    case TYPE_FLUSH:
        return STATUS_OK;
    case TYPE_DISCARD:
    case TYPE_WRITE_ZEROES:
        return parse_ranges(request);
    default:
        return STATUS_UNSUPP;
    }
}

static void send_id(struct blk_request *request)
{
    struct virtio_chain *chain = &request->chain;
    uint64_t room = chain->in_bytes - 1;
    size_t length = room < ID_SIZE ? (size_t)room : ID_SIZE;
    virtio_write(chain, 0, request->blk->serial, length);
    answer(request, STATUS_OK);
}

static void handle(void *device, struct virtio_chain *chain)
{
    struct virtio_blk *blk = device;
    struct blk_request *request = (struct blk_request *)chain;
    request->blk = blk;
    if (chain->out_bytes < HEADER_SIZE || !chain->in_bytes) {
        virtio_broken(&blk->virtio, "a request of %llu and %llu bytes",
                      (unsigned long long)chain->out_bytes, (unsigned long long)chain->in_bytes);
        virtqueue_drop(chain);
        return;
    }
    uint8_t status = parse(request);
    if (request->type == TYPE_GET_ID) {
        send_id(request);
        return;
    }
    if (status != STATUS_OK) {
        answer(request, status);
        return;
    }
    bool data = request->type == TYPE_IN || (request->type == TYPE_OUT && !request->through);
    request->status = EAGAIN;
    if (data) {
        loop_unlock(blk->virtio.loop);
        request->status = move_data(request, false);
        loop_lock(blk->virtio.loop);
    }
    if (request->status == EAGAIN)
        loop_work(blk->virtio.loop, run_job, job_done, request);
    else
        finish(request);
}

/* -- The worker -- */

static void work(void *opaque)
{
    struct virtio_blk *blk = opaque;
    for (unsigned i = 0; i < blk->virtio.queues; i++)
        if (blk->virtio.queue[i].kicked) {
            blk->virtio.queue[i].kicked = false;
            virtqueue_serve(&blk->virtio.queue[i], handle, blk);
        }
}

/* -- Life -- */

static void virtio_blk_destroy(struct device *device)
{
    virtio_fini((struct virtio *)device);
    free(device);
}

static const struct device_ops virtio_blk_device_ops = {
    .name = "virtio-blk",
    .fields = virtio_blk_fields,
    .version = 1,
    .reset = virtio_device_reset,
    .post_load = virtio_device_post_load,
    .destroy = virtio_blk_destroy,
};

static const struct virtio_ops virtio_blk_ops = {
    .type = VIRTIO_BLOCK,
    .class_code = 0x0100,
    .kick = virtio_wake_worker,
};

static void fill_config(struct virtio_blk *blk, unsigned queues)
{
    enum { HEADS = 16, SECTORS = 63 };
    uint8_t config[CONFIG_SIZE] = {0};
    uint64_t sectors = image_bytes(blk->image) / SECTOR_SIZE;
    uint64_t cylinders = sectors / (HEADS * SECTORS);
    virtio_put(config + CONFIG_CAPACITY, sectors, 8);
    virtio_put(config + CONFIG_SEG_MAX, SEGMENTS, 4);
    virtio_put(config + CONFIG_CYLINDERS, cylinders < 0xffff ? cylinders : 0xffff, 2);
    config[CONFIG_HEADS] = HEADS;
    config[CONFIG_SECTORS] = SECTORS;
    virtio_put(config + CONFIG_BLK_SIZE, SECTOR_SIZE, 4);
    config[CONFIG_PHYSICAL_EXPONENT] = 3; /* the host's page cache works in 4096 bytes */
    virtio_put(config + CONFIG_MIN_IO_SIZE, 8, 2);
    config[CONFIG_WRITEBACK] = 1;
    virtio_put(config + CONFIG_NUM_QUEUES, queues, 2);
    virtio_put(config + CONFIG_DISCARD_SECTORS, MAX_SECTORS, 4);
    virtio_put(config + CONFIG_DISCARD_RANGES, RANGES_MAX, 4);
    virtio_put(config + CONFIG_DISCARD_ALIGNMENT, 8, 4);
    virtio_put(config + CONFIG_ZEROES_SECTORS, MAX_SECTORS, 4);
    virtio_put(config + CONFIG_ZEROES_RANGES, RANGES_MAX, 4);
    config[CONFIG_ZEROES_UNMAP] = 1;
    blk->virtio.config_mask[CONFIG_WRITEBACK] = 1;
    virtio_set_config(&blk->virtio, config, sizeof config);
}

struct virtio_blk *virtio_blk_new(const struct virtio_place *place, struct memory *memory,
                                  struct image *image, unsigned number, unsigned queues,
                                  _Atomic uint64_t *activity)
{
    struct virtio_blk *blk = alloc_zeroed(sizeof *blk);
    uint64_t features =
        F_SEG_MAX | F_GEOMETRY | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_CONFIG_WCE | F_MQ;
    features |= image_read_only(image) ? F_RO : F_DISCARD | F_WRITE_ZEROES;
    blk->image = image;
    blk->activity = activity;
    snprintf(blk->serial, sizeof blk->serial, "DV-%05u", number % 100000);
    virtio_init(&blk->virtio, place, memory, &virtio_blk_device_ops, &virtio_blk_ops, features,
                sizeof(struct blk_request), work);
    if (queues > QUEUES_MAX)
        queues = QUEUES_MAX;
    for (unsigned i = 0; i < queues; i++)
        virtio_add_queue(&blk->virtio, QUEUE_SIZE);
    fill_config(blk, queues);
    return blk;
}
