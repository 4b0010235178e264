/*
 * ATAPI CD-ROM drive: PACKET commands over an ATA channel (ATA/ATAPI-7 volume 2, PACKET protocol).
 * What the packets mean is in scsi.c and scsi_cd.c.
 */
#include "hw/storage/ata.h"
#include "hw/storage/scsi_internal.h"

#define BLOCK_SIZE   2048u
#define CHUNK_BLOCKS (ATA_BUFFER_SIZE / BLOCK_SIZE)

/* Interrupt reason register (in place of SECTOR COUNT). */
#define REASON_COMMAND 1 /* CoD: a command packet, not data */
#define REASON_INPUT   2 /* IO: towards the host */

/* -- Ends of a command -- */

static void good(struct ata_drive *drive)
{
    *ata_reg(drive, ATA_SECTOR_COUNT) = REASON_COMMAND | REASON_INPUT;
    ata_complete(drive);
}

static void check_condition(struct ata_drive *drive, const struct scsi_command *command)
{
    uint8_t key = command->sense[2];
    *ata_reg(drive, ATA_SECTOR_COUNT) = REASON_COMMAND | REASON_INPUT;
    ata_fail(drive, (uint8_t)(key << 4 | ATA_ERROR_ABRT));
}

/* -- Data towards the guest -- */

/* Opens the DRQ block that begins at `position`: the guest's byte count is the most it takes. */
static void open_block(struct ata_drive *drive, uint32_t position)
{
    uint32_t limit = drive->atapi.byte_limit & ~1u;
    uint32_t count = drive->buffer_length - position;
    if (limit < 2)
        limit = 2;
    if (count > limit)
        count = limit;
    *ata_reg(drive, ATA_SECTOR_COUNT) = REASON_INPUT;
    *ata_reg(drive, ATA_LBA_MID) = (uint8_t)count;
    *ata_reg(drive, ATA_LBA_HIGH) = (uint8_t)(count >> 8);
    ata_open_pio(drive, position, position + count + count % 2);
    ata_set_irq(drive, true);
}

static void send_buffer(struct ata_drive *drive, uint32_t length)
{
    if (drive->atapi.use_dma) {
        drive->transfer = ATA_DMA_IN;
        ata_request_dma(drive, length);
        return;
    }
    if (length % 2)
        drive->buffer[length] = 0; /* travels with the last byte */
    drive->transfer = ATA_PIO_IN;
    drive->buffer_length = length;
    open_block(drive, 0);
}

static void fetch_blocks(struct ata_drive *drive)
{
    uint32_t count = drive->atapi.blocks_left;
    if (!scsi_unit_has_medium(&drive->atapi.unit)) { /* taken out between two parts */
        struct scsi_command command = {.action = SCSI_READ};
        scsi_fail(&drive->atapi.unit, &command, NOT_READY, ASC_NO_MEDIUM, 1);
        check_condition(drive, &command);
        return;
    }
    if (count > CHUNK_BLOCKS)
        count = CHUNK_BLOCKS;
    ata_start_job(drive, ATA_JOB_READ, (uint64_t)drive->atapi.block * BLOCK_SIZE,
                  (size_t)count * BLOCK_SIZE);
}

static void atapi_job_done(struct ata_drive *drive, int status)
{
    if (status) {
        struct scsi_command command = {.action = SCSI_READ};
        memcpy(command.cdb, drive->atapi.packet, sizeof drive->atapi.packet);
        scsi_finish(&drive->atapi.unit, &command, status);
        check_condition(drive, &command);
        return;
    }
    uint32_t blocks = (uint32_t)(drive->job.length / BLOCK_SIZE);
    drive->atapi.block += blocks;
    drive->atapi.blocks_left -= blocks;
    send_buffer(drive, (uint32_t)drive->job.length);
}

static void execute_packet(struct ata_drive *drive)
{
    struct atapi *atapi = &drive->atapi;
    struct scsi_command command = {0};
    memcpy(command.cdb, atapi->packet, sizeof atapi->packet);
    scsi_execute(&atapi->unit, &command);
    atapi->blocks_left = 0;
    if (command.status != SCSI_GOOD) {
        check_condition(drive, &command);
    } else if (command.action == SCSI_READ) {
        atapi->block = (uint32_t)(command.offset / BLOCK_SIZE);
        atapi->blocks_left = (uint32_t)(command.length / BLOCK_SIZE);
        fetch_blocks(drive);
    } else if (command.reply_length) {
        memcpy(drive->buffer, command.reply, command.reply_length);
        send_buffer(drive, command.reply_length);
    } else {
        good(drive);
    }
}

/* -- ATA commands of a packet device -- */

static void run_packet(struct ata_drive *drive)
{
    enum { FEATURE_DMA = 1, FEATURE_OVERLAP = 2 };
    struct atapi *atapi = &drive->atapi;
    uint8_t wanted = *ata_reg(drive, ATA_FEATURES);
    atapi->use_dma = wanted & FEATURE_DMA;
    atapi->byte_limit =
        (uint16_t)(*ata_reg(drive, ATA_LBA_MID) | *ata_reg(drive, ATA_LBA_HIGH) << 8);
    if (wanted & FEATURE_OVERLAP) {
        ata_fail(drive, ATA_ERROR_ABRT);
        return;
    }
    atapi->packet_phase = true;
    drive->transfer = ATA_PIO_OUT;
    drive->buffer_length = sizeof atapi->packet;
    *ata_reg(drive, ATA_SECTOR_COUNT) = REASON_COMMAND;
    ata_open_pio(drive, 0, sizeof atapi->packet); /* no interrupt: see IDENTIFY word 0 */
}

static void run_identify_packet(struct ata_drive *drive)
{
    static const struct {
        uint8_t index;
        uint16_t value;
    } words[] = {
        {0, 0x85c0},  /* CD-ROM, removable, DRQ within 50 us without interrupt, 12-byte packets */
        {49, 0x0f00}, /* DMA, LBA, IORDY */
        {53, 0x0006}, /* words 64-70 and 88 are valid */
        {64, 0x0003}, /* PIO 3 and 4 */
        {65, 120},    /* cycle times, ns */
        {66, 120},    {67, 120},    {68, 120},    {80, 0x00f0}, /* ATA/ATAPI-4 to -7 */
        {82, 0x4214}, /* NOP, DEVICE RESET, PACKET, removable medium */
        {83, 0x4000}, {84, 0x4000}, {85, 0x4214}, {87, 0x4000},
    };
    uint8_t *id = drive->buffer;
    memset(id, 0, SECTOR_SIZE);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        ata_identify_word(id, words[i].index, words[i].value);
    ata_identify_text(id, 10, 10, drive->serial);
    ata_identify_text(id, 23, 4, "1.0");
    ata_identify_text(id, 27, 20, "DOPPEL CD-ROM");
    ata_identify_word(id, 63, ata_identify_mwdma(drive));
    ata_identify_word(id, 88, ata_identify_udma(drive));
    ata_identify_interface(drive, id);
    drive->transfer = ATA_PIO_IN;
    drive->buffer_length = SECTOR_SIZE;
    ata_open_pio(drive, 0, SECTOR_SIZE);
    ata_set_irq(drive, true);
}

enum {
    NOP = 0x00,
    READ_SECTORS = 0x20,
    PACKET = 0xa0,
    IDENTIFY_PACKET_DEVICE = 0xa1,
    STANDBY_IMMEDIATE = 0xe0,
    IDLE_IMMEDIATE = 0xe1,
    CHECK_POWER_MODE = 0xe5,
    IDENTIFY_DEVICE = 0xec,
    SET_FEATURES = 0xef,
};

static void atapi_command(struct ata_drive *drive)
{
    switch (drive->command) {
    case PACKET:
        run_packet(drive);
        return;
    case IDENTIFY_PACKET_DEVICE:
        run_identify_packet(drive);
        return;
    case STANDBY_IMMEDIATE:
    case IDLE_IMMEDIATE:
        ata_complete(drive);
        return;
    case CHECK_POWER_MODE:
        *ata_reg(drive, ATA_SECTOR_COUNT) = 0xff; /* active */
        ata_complete(drive);
        return;
    case SET_FEATURES:
        if (*ata_reg(drive, ATA_FEATURES) == 0x03 &&
            ata_set_transfer_mode(drive, *ata_reg(drive, ATA_SECTOR_COUNT))) {
            ata_complete(drive);
            return;
        }
        break;
    case READ_SECTORS:
    case IDENTIFY_DEVICE:
        ata_set_signature(drive); /* so that the host learns what it talks to */
        break;
    }
    ata_fail(drive, ATA_ERROR_ABRT);
}

static void atapi_data_done(struct ata_drive *drive)
{
    struct atapi *atapi = &drive->atapi;
    if (atapi->packet_phase) {
        atapi->packet_phase = false;
        drive->transfer = ATA_IDLE;
        memcpy(atapi->packet, drive->buffer, sizeof atapi->packet);
        if (!atapi->use_dma && atapi->byte_limit == 0)
            atapi->byte_limit = 0xfffe; /* as drives took it before ATA/ATAPI-5 forbade it */
        execute_packet(drive);
    } else if (drive->command == IDENTIFY_PACKET_DEVICE) {
        ata_complete_quietly(drive);
    } else if (drive->transfer == ATA_PIO_IN && drive->pio_end < drive->buffer_length) {
        open_block(drive, drive->pio_end);
    } else if (atapi->blocks_left) {
        fetch_blocks(drive);
    } else {
        good(drive);
    }
}

static void atapi_power_on(struct ata_drive *drive)
{
    struct scsi_unit unit = drive->atapi.unit;
    unit.image = drive->image;
    unit.cdrom = unit.atapi = true;
    memcpy(unit.serial, drive->serial, sizeof unit.serial);
    scsi_unit_reset(&unit);
    drive->atapi = (struct atapi){.unit = unit};
}

void atapi_change_medium(struct ata_drive *drive, struct image *image)
{
    drive->image = image;
    scsi_change_medium(&drive->atapi.unit, image);
}

bool atapi_insert(struct ata_drive *drive, struct image *image, struct error *error)
{
    if (drive->image)
        return error_set(error, "A medium lies in the CD-ROM drive; eject '%s' first",
                         image_path(drive->image));
    atapi_change_medium(drive, image);
    return true;
}

bool atapi_eject(struct ata_drive *drive, bool force, struct image **old, struct error *error)
{
    if (drive->atapi.unit.locked && !force) {
        scsi_request_eject(&drive->atapi.unit); /* the guest hears of the button */
        return error_set(error, "The guest has locked its CD-ROM drive and was asked to release "
                                "it; eject the medium in the guest, or try again with force");
    }
    while (drive->job.active)
        loop_drain(drive->channel->loop);
    *old = drive->image;
    atapi_change_medium(drive, NULL);
    return true;
}

const struct ata_drive_ops atapi_ops = {
    .kind = ATA_CDROM,
    .signature_mid = 0x14,
    .signature_high = 0xeb,
    .command = atapi_command,
    .data_done = atapi_data_done,
    .job_done = atapi_job_done,
    .power_on = atapi_power_on,
};
