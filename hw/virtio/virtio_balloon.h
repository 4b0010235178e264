/* A virtio memory balloon (virtio_balloon.c). Everything under the board lock. */
#ifndef DOPPEL_HW_VIRTIO_VIRTIO_BALLOON_H
#define DOPPEL_HW_VIRTIO_VIRTIO_BALLOON_H

#include "hw/virtio/virtio.h"

/* What the guest's driver tells about its memory; a value it never told is UINT64_MAX. */
enum balloon_stat {
    BALLOON_SWAPPED_IN, /* bytes */
    BALLOON_SWAPPED_OUT,
    BALLOON_MAJOR_FAULTS,
    BALLOON_MINOR_FAULTS,
    BALLOON_FREE, /* bytes */
    BALLOON_TOTAL,
    BALLOON_AVAILABLE,
    BALLOON_CACHES,
    BALLOON_HUGE_PAGES,
    BALLOON_HUGE_PAGE_FAILURES,
    BALLOON_STATS,
};

/* The guest is asked to leave itself `target` bytes; 0: all. */
struct virtio_balloon *virtio_balloon_new(const struct virtio_place *place, struct memory *memory,
                                          uint64_t target);
void virtio_balloon_set_target(struct virtio_balloon *balloon, uint64_t bytes);
/* Bytes that the guest has given back, as its driver says. */
uint64_t virtio_balloon_size(const struct virtio_balloon *balloon);
/* Asks the driver for new statistics; they come soon. */
void virtio_balloon_ask_stats(struct virtio_balloon *balloon);
const uint64_t *virtio_balloon_stats(const struct virtio_balloon *balloon);

#endif
