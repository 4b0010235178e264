/*
 * ATA: one channel (a cable) with up to two drives, seen through its registers. The channel
 * (ata.c) keeps the task file, the data port, interrupts and resets; what commands mean is the
 * drive's: ata_disk.c for disks, atapi.c for CD-ROM drives. A host adapter (piix_ide.c) maps the
 * registers to ports and moves DMA data.
 *
 * Locking: all under the board lock; only the image is reached from worker threads, by one job per
 * drive at a time, during which the drive is BSY and its buffer belongs to the job.
 */
#ifndef DOPPEL_HW_STORAGE_ATA_H
#define DOPPEL_HW_STORAGE_ATA_H

#include "hw/device.h"
#include "hw/image/image.h"
#include "hw/loop.h"
#include "hw/storage/scsi.h"

/* Registers of the command block, by offset (ATA/ATAPI-7 volume 1, 5.1). */
enum ata_register {
    ATA_DATA = 0,
    ATA_ERROR = 1, /* FEATURES when written */
    ATA_FEATURES = 1,
    ATA_SECTOR_COUNT = 2, /* interrupt reason of PACKET commands */
    ATA_LBA_LOW = 3,
    ATA_LBA_MID = 4, /* byte count low of PACKET commands */
    ATA_LBA_HIGH = 5,
    ATA_DEVICE = 6,
    ATA_STATUS = 7, /* COMMAND when written */
    ATA_COMMAND = 7,
};

#define ATA_STATUS_ERR   0x01 /* CHK for PACKET commands */
#define ATA_STATUS_DRQ   0x08
#define ATA_STATUS_DSC   0x10 /* seek complete */
#define ATA_STATUS_DF    0x20 /* device fault */
#define ATA_STATUS_DRDY  0x40
#define ATA_STATUS_BSY   0x80

#define ATA_ERROR_ABRT   0x04
#define ATA_ERROR_IDNF   0x10 /* no such address */
#define ATA_ERROR_UNC    0x40 /* data cannot be read */

#define ATA_DEVICE_DEV   0x10
#define ATA_DEVICE_LBA   0x40

#define ATA_CONTROL_NIEN 0x02
#define ATA_CONTROL_SRST 0x04
#define ATA_CONTROL_HOB  0x80

/* What a drive moves at a time between image and guest. */
#define ATA_BUFFER_SECTORS 256
#define ATA_BUFFER_SIZE    (ATA_BUFFER_SECTORS * SECTOR_SIZE)

struct ata_drive;
struct ata_channel;

enum ata_kind { ATA_NONE, ATA_DISK, ATA_CDROM };

/* What makes a drive a disk or a CD-ROM. */
struct ata_drive_ops {
    enum ata_kind kind;
    uint8_t signature_mid, signature_high; /* in LBA mid and high after a reset */
    uint8_t reset_status;
    /* The guest wrote drive->command; the drive is not busy. */
    void (*command)(struct ata_drive *drive);
    /* The guest took or supplied all data that ata_open_pio or ata_request_dma offered. */
    void (*data_done)(struct ata_drive *drive);
    /* The job of ata_start_job ended; `status` is 0 or an errno value. */
    void (*job_done)(struct ata_drive *drive, int status);
    /* Power-on state of the kind's own fields. Soft resets do not call it. */
    void (*power_on)(struct ata_drive *drive);
};

enum ata_transfer { ATA_IDLE, ATA_PIO_IN, ATA_PIO_OUT, ATA_DMA_IN, ATA_DMA_OUT };

enum ata_job_kind { ATA_JOB_READ, ATA_JOB_WRITE, ATA_JOB_WRITE_FLUSH, ATA_JOB_FLUSH };

/* What READ LOG EXT tells about the queued command that failed last (page 10h). */
struct ata_queue_error {
    bool valid;
    uint8_t tag, status, error;
    uint64_t lba;
    uint16_t sectors;
};

/* A disk's own state. */
struct ata_disk {
    uint64_t lba;              /* next sector to move between image and buffer */
    uint32_t sectors_left;     /* of the command, not yet moved between image and buffer */
    uint16_t block_sectors;    /* of one DRQ block of this command */
    uint8_t multiple;          /* READ/WRITE MULTIPLE block, 0 when disabled */
    uint8_t heads, track_size; /* current translation */
    uint8_t power;             /* as CHECK POWER MODE tells it */
    bool asleep, write_cache, look_ahead, smart;
    bool force_unit; /* the command is a FUA write */
    bool extended;   /* the command takes and reports 48-bit addresses */
    struct ata_queue_error queue_error;
};

/* A CD-ROM drive's own state. */
struct atapi {
    struct scsi_unit unit;
    uint8_t packet[12];
    bool packet_phase;   /* the data port takes a command packet */
    bool use_dma;        /* the FEATURES bit of this PACKET command */
    uint16_t byte_limit; /* most bytes of one DRQ block */
    uint32_t block;      /* next block to read from the image */
    uint32_t blocks_left;
};

struct ata_drive {
    const struct ata_drive_ops *ops; /* NULL: nothing is attached */
    struct ata_channel *channel;
    uint8_t unit;
    char serial[21];
    struct image *image; /* NULL in a CD-ROM drive without a medium */

    uint8_t kind;                    /* enum ata_kind, to check loaded state */
    uint8_t current[6], previous[6]; /* task file offsets 1 to 5, last value and the one before */
    uint8_t error, device, status, command;
    uint8_t transfer_mode; /* SET FEATURES 03h code of the DMA mode in force, 0 none */
    bool intrq;

    uint8_t transfer;       /* enum ata_transfer of the command in progress */
    bool dma_request;       /* DMARQ: dma_position..buffer_length wait for the host adapter */
    uint32_t buffer_length; /* valid bytes */
    uint32_t pio_position;  /* data port window: pio_position to pio_end */
    uint32_t pio_end;
    uint32_t dma_position;
    uint8_t buffer[ATA_BUFFER_SIZE];

    struct ata_disk disk;
    struct atapi atapi;

    /* Below: not saved; no job runs while a state is saved. */
    struct ata_job {
        enum ata_job_kind kind;
        uint64_t offset;
        size_t length;
        int status;
        bool active;
        bool reset_after; /* a reset came while it ran */
    } job;
};

struct ata_channel {
    struct ata_drive drive[2];
    uint8_t control;  /* device control register, shared by both drives */
    uint8_t selected; /* DEV bit */
    bool irq_level;
    bool serial_ata; /* a SATA port: one drive, native command queuing */
    struct irq_line irq;
    struct loop *loop;
    _Atomic uint64_t *activity; /* counts sectors moved, for whoever shows a light */
    /* A drive has raised DMARQ. */
    void (*dma_ready)(void *adapter);
    void *adapter;
};

extern const struct field ata_channel_fields[];
extern const struct ata_drive_ops ata_disk_ops, atapi_ops;

/* -- For the host adapter -- */

void ata_channel_init(struct ata_channel *channel, struct irq_line irq, struct loop *loop,
                      _Atomic uint64_t *activity, void (*dma_ready)(void *adapter), void *adapter);
/* Attaches a drive; `image` stays the caller's. */
void ata_attach(struct ata_channel *channel, unsigned unit, const struct ata_drive_ops *ops,
                struct image *image, const char *serial);
/* Power-on reset. */
void ata_channel_reset(struct ata_channel *channel);
/* Checks a loaded state, drives the interrupt line. */
bool ata_channel_post_load(struct ata_channel *channel, struct error *error);

/* Registers 1 to 7, the data port (1, 2 or 4 bytes), device control / alternate status. */
uint8_t ata_read(struct ata_channel *channel, enum ata_register reg);
void ata_write(struct ata_channel *channel, enum ata_register reg, uint8_t value);
uint32_t ata_read_data(struct ata_channel *channel, unsigned size);
void ata_write_data(struct ata_channel *channel, uint32_t value, unsigned size);
uint8_t ata_read_alternate(struct ata_channel *channel);
void ata_write_control(struct ata_channel *channel, uint8_t value);

/* What the selected drive has to move by DMA now: bytes at *data (0: DMARQ is low), towards guest
 * memory or from it. The adapter reports progress with ata_dma_advance, which may raise INTRQ. */
size_t ata_dma_pending(struct ata_channel *channel, uint8_t **data, bool *to_memory);
void ata_dma_advance(struct ata_channel *channel, size_t bytes);

/* True while a worker has a job of a drive. */
bool ata_channel_busy(const struct ata_channel *channel);

/* -- For the drives -- */

/* A register of the task file, offsets 1 to 5. */
static inline uint8_t *ata_reg(struct ata_drive *drive, enum ata_register reg)
{
    return &drive->current[reg];
}

/* Reset values of the registers, which tell what a drive is. */
void ata_set_signature(struct ata_drive *drive);
void ata_set_irq(struct ata_drive *drive, bool level);
/* Ends the command: status without BSY and DRQ, INTRQ. */
void ata_complete(struct ata_drive *drive);
void ata_complete_quietly(struct ata_drive *drive);
/* Ends the command with ERR and `error`. */
void ata_fail(struct ata_drive *drive, uint8_t error);
/* Lets the guest move buffer bytes [position, end) through the data port. */
void ata_open_pio(struct ata_drive *drive, uint32_t position, uint32_t end);
/* Raises DMARQ for `length` bytes of the buffer; drive->transfer tells the direction. */
void ata_request_dma(struct ata_drive *drive, uint32_t length);
/* BSY, and image I/O between `length` bytes at `offset` and the start of the buffer. */
void ata_start_job(struct ata_drive *drive, enum ata_job_kind kind, uint64_t offset, size_t length);
/* SET FEATURES 03h: takes the transfer mode in SECTOR COUNT; false if there is no such mode. */
bool ata_set_transfer_mode(struct ata_drive *drive, uint8_t mode);
/* Words 63 and 88 of IDENTIFY: DMA modes with the one in force marked. */
uint16_t ata_identify_mwdma(const struct ata_drive *drive);
uint16_t ata_identify_udma(const struct ata_drive *drive);
/* What IDENTIFY (PACKET) DEVICE tells about cable and link: word 93 or words 76 to 79. */
void ata_identify_interface(const struct ata_drive *drive, uint8_t *words);
/* IDENTIFY strings: two characters a word, high byte first, padded with blanks. */
void ata_identify_text(uint8_t *words, unsigned first_word, unsigned word_count, const char *text);
void ata_identify_word(uint8_t *words, unsigned index, uint16_t value);

/* CD-ROM media (atapi.c). `image` NULL: no medium. */
void atapi_change_medium(struct ata_drive *drive, struct image *image);
/* What users do to a running drive; the rules stand at piix_ide_insert. */
bool atapi_insert(struct ata_drive *drive, struct image *image, struct error *error);
bool atapi_eject(struct ata_drive *drive, bool force, struct image **old, struct error *error);

#endif
