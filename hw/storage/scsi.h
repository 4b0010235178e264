/*
 * What SCSI disks and CD-ROM drives do with commands, whatever brings these: virtio-scsi, ATAPI.
 *
 *     scsi.c        sense data, commands that all devices have (SPC-3)
 *     scsi_disk.c   block commands (SBC-3)
 *     scsi_cd.c     multimedia commands (MMC-4)
 *
 * A transport fills command->cdb (and the parameters that the initiator sent with it), calls
 * scsi_execute() under the board lock, and looks at command->action: either all is done and
 * command->reply goes to the initiator, or data is to be moved between it and the image, or the
 * image has to do something without data (scsi_clear). Neither needs the board lock. Then it calls
 * scsi_finish() with the outcome. command->status and sense say how it ended.
 */
#ifndef DOPPEL_HW_STORAGE_SCSI_H
#define DOPPEL_HW_STORAGE_SCSI_H

#include "hw/device.h"
#include "hw/image/image.h"

#define SCSI_CDB_MAX       16
#define SCSI_REPLY_MAX     512
#define SCSI_SENSE_SIZE    18
#define SCSI_RANGES_MAX    64
#define SCSI_PARAMETER_MAX (8 + 16 * SCSI_RANGES_MAX)

enum { SCSI_GOOD = 0x00, SCSI_CHECK_CONDITION = 0x02 };

struct scsi_unit {
    /* -- State -- */
    uint8_t sense_key, asc, ascq; /* of the last command, for REQUEST SENSE */
    uint8_t pending_event;        /* for GET EVENT STATUS NOTIFICATION */
    bool attention;               /* unit attention waits, its code below */
    uint8_t attention_asc;
    bool tray_open, locked;
    bool write_through; /* the write cache was switched off by MODE SELECT */
    uint32_t position;  /* block behind the last one read, for READ SUBCHANNEL */
    /* -- Not saved -- */
    struct image *image; /* NULL in a CD-ROM drive without a medium */
    bool cdrom;
    bool atapi; /* INQUIRY data of a packet device, no vital product data */
    char serial[21];
};

extern const struct field scsi_unit_fields[];

enum scsi_action {
    SCSI_DONE,
    SCSI_READ,  /* `length` bytes of the image at `offset`, to the initiator */
    SCSI_WRITE, /* from it; durable before it is answered if `through` */
    SCSI_CLEAR, /* scsi_clear() */
};

struct scsi_command {
    /* -- From the transport -- */
    uint8_t cdb[SCSI_CDB_MAX]; /* shorter ones filled with zeros */
    const uint8_t *parameters; /* data that came with the command, at most SCSI_PARAMETER_MAX */
    size_t parameter_length;
    uint64_t data_length; /* of all data that the initiator sends with the command */
    /* -- To the transport -- */
    enum scsi_action action;
    uint64_t offset, length;
    bool through;
    uint8_t status;
    uint8_t sense[SCSI_SENSE_SIZE]; /* valid with SCSI_CHECK_CONDITION */
    uint32_t reply_length;
    uint8_t reply[SCSI_REPLY_MAX];
    /* -- For scsi_clear -- */
    enum { SCSI_FLUSH, SCSI_UNMAP, SCSI_ZERO } clear;
    unsigned ranges;
    struct {
        uint64_t offset, length;
    } range[SCSI_RANGES_MAX];
};

/* Power on, or a reset by the transport. */
void scsi_unit_reset(struct scsi_unit *unit);
bool scsi_unit_has_medium(const struct scsi_unit *unit);
void scsi_execute(struct scsi_unit *unit, struct scsi_command *command);
/* Flushes, unmaps or zeroes the image: 0 or an errno value. Blocks; no lock needed. */
int scsi_clear(struct scsi_unit *unit, const struct scsi_command *command);
/* The outcome (0 or an errno value) of a command that was not done at once. */
void scsi_finish(struct scsi_unit *unit, struct scsi_command *command, int status);
/* Media of a CD-ROM drive: another one, or none. */
void scsi_change_medium(struct scsi_unit *unit, struct image *image);
/* The user asks a drive that the guest has locked to open. */
void scsi_request_eject(struct scsi_unit *unit);

#endif
