/*
 * Virtio entropy device (Virtio 1.1, 5.4): buffers filled from the host's random number generator.
 */
#include "hw/virtio/virtio_rng.h"
#include "hw/alloc.h"

#include <sys/random.h>

#define QUEUE_SIZE  8
#define REQUEST_MAX 65536u /* one answer: a driver asks again */

struct virtio_rng {
    struct virtio virtio;
};

static const struct field virtio_rng_fields[] = {
    FIELD_STRUCT(struct virtio_rng, virtio, virtio_fields, 1),
    FIELD_END,
};

/* Fills the writable pieces; returns how many bytes. Without the board lock. */
static uint64_t fill(const struct virtio_chain *chain)
{
    uint64_t done = 0;
    for (unsigned i = chain->out; i < chain->out + chain->in && done < REQUEST_MAX;) {
        size_t left = chain->iov[i].iov_len;
        uint8_t *to = chain->iov[i].iov_base;
        while (left && done < REQUEST_MAX) {
            ssize_t got = getrandom(to, left < 256 ? left : 256, 0);
            if (got <= 0)
                return done;
            to += got;
            left -= (size_t)got;
            done += (uint64_t)got;
        }
        i++;
    }
    return done;
}

static void work(void *opaque)
{
    struct virtio_rng *rng = opaque;
    struct virtqueue *queue = &rng->virtio.queue[0];
    do {
        struct virtio_chain *chain;
        while ((chain = virtqueue_pop(queue)) != NULL) {
            loop_unlock(rng->virtio.loop);
            uint64_t done = fill(chain);
            loop_lock(rng->virtio.loop);
            virtqueue_push(chain, done);
        }
        virtqueue_notify(queue);
    } while (virtqueue_ask(queue));
}

static void virtio_rng_destroy(struct device *device)
{
    virtio_fini((struct virtio *)device);
    free(device);
}

static const struct device_ops virtio_rng_device_ops = {
    .name = "virtio-rng",
    .fields = virtio_rng_fields,
    .version = 1,
    .reset = virtio_device_reset,
    .post_load = virtio_device_post_load,
    .destroy = virtio_rng_destroy,
};

static const struct virtio_ops virtio_rng_ops = {
    .type = VIRTIO_RNG,
    .class_code = 0x00ff,
    .kick = virtio_wake_worker,
};

struct virtio_rng *virtio_rng_new(const struct virtio_place *place, struct memory *memory)
{
    struct virtio_rng *rng = alloc_zeroed(sizeof *rng);
    virtio_init(&rng->virtio, place, memory, &virtio_rng_device_ops, &virtio_rng_ops, 0,
                sizeof(struct virtio_chain), work);
    virtio_add_queue(&rng->virtio, QUEUE_SIZE);
    virtio_set_config(&rng->virtio, NULL, 0);
    return rng;
}
