/* A virtio SCSI host adapter (virtio_scsi.c). */
#ifndef DOPPEL_HW_VIRTIO_VIRTIO_SCSI_H
#define DOPPEL_HW_VIRTIO_VIRTIO_SCSI_H

#include "hw/image/image.h"
#include "hw/virtio/virtio.h"

#include <stdatomic.h>

#define VIRTIO_SCSI_TARGETS 16

/* `queues` request queues; `activity` counts sectors moved. */
struct virtio_scsi *virtio_scsi_new(const struct virtio_place *place, struct memory *memory,
                                    unsigned queues, _Atomic uint64_t *activity);
/* Attaches LUN 0 of a target, which must be free; before the machine runs. `image` stays the
 * caller's; NULL: a CD-ROM drive without a medium. */
void virtio_scsi_attach(struct virtio_scsi *scsi, unsigned target, struct image *image, bool cdrom);
/* Media of a CD-ROM drive; false + error if there is no such drive, or it is full, or locked. */
bool virtio_scsi_insert(struct virtio_scsi *scsi, unsigned target, struct image *image,
                        struct error *error);
bool virtio_scsi_eject(struct virtio_scsi *scsi, unsigned target, bool force, struct image **old,
                       struct error *error);

#endif
