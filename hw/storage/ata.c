/*
 * ATA channel: the registers that two drives on one cable share, their data port, interrupt,
 * resets and DMA handshake.
 *
 * Specification: ATA/ATAPI-7 (T13/1532D) volume 1 (registers, signatures: 9.12; resets: 9.1, 9.2;
 * device 0 and 1 on one cable: 9.16), volume 2 (protocols).
 *
 * Both drives latch what is written to the command block; the selected one answers reads and
 * executes commands. A command moves through these phases, told by `transfer`, the data port
 * window and `dma_request` (so a state saved between two of them can be resumed):
 *
 *     command --> BSY, job on a worker ---> buffer filled --+--> data port window, DRQ, INTRQ
 *                     ^                                     +--> dma_request, host adapter moves
 *                     |                                                 |
 *                     +---- more to read or write <--- data_done -------+---> complete, INTRQ
 *
 * A reset while a job runs leaves the drive BSY until the job is over: the image is never written
 * behind the back of the next command.
 *
 * Not modelled: queued commands, overlapped PACKET commands, the time that a drive takes, CFA's
 * 8-bit transfers (a byte read of the data port takes a whole word, as on a 16-bit bus).
 */
#include "hw/storage/ata.h"

#include <string.h>

/* A cable without drives: pulled up, but for D7, so that nothing looks busy. */
#define FLOATING_BUS               0x7f

#define COMMAND_DEVICE_RESET       0x08
#define COMMAND_EXECUTE_DIAGNOSTIC 0x90

#define DIAGNOSTIC_PASSED          0x01

#define DEFAULT_TRANSFER_MODE      0x22 /* multiword DMA 2 */

static const struct field ata_queue_error_fields[] = {
    FIELD(struct ata_queue_error, valid, 2),
    FIELD(struct ata_queue_error, tag, 2),
    FIELD(struct ata_queue_error, status, 2),
    FIELD(struct ata_queue_error, error, 2),
    FIELD(struct ata_queue_error, lba, 2),
    FIELD(struct ata_queue_error, sectors, 2),
    FIELD_END,
};

static const struct field ata_disk_fields[] = {
    FIELD(struct ata_disk, lba, 1),
    FIELD(struct ata_disk, sectors_left, 1),
    FIELD(struct ata_disk, block_sectors, 1),
    FIELD(struct ata_disk, multiple, 1),
    FIELD(struct ata_disk, heads, 1),
    FIELD(struct ata_disk, track_size, 1),
    FIELD(struct ata_disk, power, 1),
    FIELD(struct ata_disk, asleep, 1),
    FIELD(struct ata_disk, write_cache, 1),
    FIELD(struct ata_disk, look_ahead, 1),
    FIELD(struct ata_disk, smart, 1),
    FIELD(struct ata_disk, force_unit, 1),
    FIELD(struct ata_disk, extended, 1),
    FIELD_STRUCT(struct ata_disk, queue_error, ata_queue_error_fields, 2),
    FIELD_END,
};

static const struct field atapi_fields[] = {
    FIELD_STRUCT(struct atapi, unit, scsi_unit_fields, 1),
    FIELD_ARRAY(struct atapi, packet, 1),
    FIELD(struct atapi, packet_phase, 1),
    FIELD(struct atapi, use_dma, 1),
    FIELD(struct atapi, byte_limit, 1),
    FIELD(struct atapi, block, 1),
    FIELD(struct atapi, blocks_left, 1),
    FIELD_END,
};

static const struct field ata_drive_fields[] = {
    FIELD(struct ata_drive, kind, 1),
    FIELD_ARRAY(struct ata_drive, current, 1),
    FIELD_ARRAY(struct ata_drive, previous, 1),
    FIELD(struct ata_drive, error, 1),
    FIELD(struct ata_drive, device, 1),
    FIELD(struct ata_drive, status, 1),
    FIELD(struct ata_drive, command, 1),
    FIELD(struct ata_drive, transfer_mode, 1),
    FIELD(struct ata_drive, intrq, 1),
    FIELD(struct ata_drive, transfer, 1),
    FIELD(struct ata_drive, dma_request, 1),
    FIELD(struct ata_drive, buffer_length, 1),
    FIELD(struct ata_drive, pio_position, 1),
    FIELD(struct ata_drive, pio_end, 1),
    FIELD(struct ata_drive, dma_position, 1),
    FIELD_ARRAY(struct ata_drive, buffer, 1),
    FIELD_STRUCT(struct ata_drive, disk, ata_disk_fields, 1),
    FIELD_STRUCT(struct ata_drive, atapi, atapi_fields, 1),
    FIELD_END,
};

const struct field ata_channel_fields[] = {
    FIELD_STRUCTS(struct ata_channel, drive, ata_drive_fields, 1),
    FIELD(struct ata_channel, control, 1),
    FIELD(struct ata_channel, selected, 1),
    FIELD(struct ata_channel, irq_level, 1),
    FIELD_END,
};

static struct ata_drive *selected_drive(struct ata_channel *channel)
{
    return &channel->drive[channel->selected];
}

static bool present(const struct ata_drive *drive)
{
    return drive->ops != NULL;
}

/* -- Interrupt -- */

static void update_irq(struct ata_channel *channel)
{
    bool level = selected_drive(channel)->intrq && !(channel->control & ATA_CONTROL_NIEN);
    if (level != channel->irq_level) {
        channel->irq_level = level;
        irq_set(channel->irq, level);
    }
}

void ata_set_irq(struct ata_drive *drive, bool level)
{
    drive->intrq = level;
    update_irq(drive->channel);
}

/* -- Ends and phases of commands -- */

static void close_transfer(struct ata_drive *drive)
{
    drive->transfer = ATA_IDLE;
    drive->dma_request = false;
    drive->pio_position = drive->pio_end = 0;
    drive->atapi.packet_phase = false;
}

void ata_complete_quietly(struct ata_drive *drive)
{
    close_transfer(drive);
    drive->status = ATA_STATUS_DRDY | ATA_STATUS_DSC;
}

void ata_complete(struct ata_drive *drive)
{
    ata_complete_quietly(drive);
    ata_set_irq(drive, true);
}

void ata_fail(struct ata_drive *drive, uint8_t error)
{
    close_transfer(drive);
    drive->error = error;
    drive->status = ATA_STATUS_DRDY | ATA_STATUS_DSC | ATA_STATUS_ERR;
    ata_set_irq(drive, true);
}

void ata_open_pio(struct ata_drive *drive, uint32_t position, uint32_t end)
{
    drive->pio_position = position;
    drive->pio_end = end;
    drive->status = ATA_STATUS_DRDY | ATA_STATUS_DSC | ATA_STATUS_DRQ;
}

void ata_request_dma(struct ata_drive *drive, uint32_t length)
{
    struct ata_channel *channel = drive->channel;
    drive->buffer_length = length;
    drive->dma_position = 0;
    drive->dma_request = true;
    drive->status = ATA_STATUS_DRDY | ATA_STATUS_DSC | ATA_STATUS_DRQ;
    channel->dma_ready(channel->adapter);
}

/* -- Jobs -- */

static void run_job(void *opaque)
{
    struct ata_drive *drive = opaque;
    struct ata_job *job = &drive->job;
    job->status = 0;
    if (job->kind == ATA_JOB_READ)
        job->status = image_read(drive->image, job->offset, drive->buffer, job->length);
    if (job->kind == ATA_JOB_WRITE || job->kind == ATA_JOB_WRITE_FLUSH)
        job->status = image_write(drive->image, job->offset, drive->buffer, job->length);
    if (job->kind == ATA_JOB_FLUSH || (job->kind == ATA_JOB_WRITE_FLUSH && !job->status))
        job->status = image_flush(drive->image);
}

static void reset_drive(struct ata_drive *drive);

static void finish_job(void *opaque)
{
    struct ata_drive *drive = opaque;
    drive->job.active = false;
    if (drive->job.reset_after)
        reset_drive(drive);
    else
        drive->ops->job_done(drive, drive->job.status);
}

void ata_start_job(struct ata_drive *drive, enum ata_job_kind kind, uint64_t offset, size_t length)
{
    struct ata_channel *channel = drive->channel;
    drive->job = (struct ata_job){.kind = kind, .offset = offset, .length = length, .active = true};
    drive->status = ATA_STATUS_BSY;
    atomic_fetch_add_explicit(channel->activity, length / SECTOR_SIZE + 1, memory_order_relaxed);
    loop_work(channel->loop, run_job, finish_job, drive);
}

bool ata_channel_busy(const struct ata_channel *channel)
{
    return channel->drive[0].job.active || channel->drive[1].job.active;
}

/* -- Resets -- */

void ata_set_signature(struct ata_drive *drive)
{
    *ata_reg(drive, ATA_SECTOR_COUNT) = 1;
    *ata_reg(drive, ATA_LBA_LOW) = 1;
    *ata_reg(drive, ATA_LBA_MID) = drive->ops->signature_mid;
    *ata_reg(drive, ATA_LBA_HIGH) = drive->ops->signature_high;
    memset(drive->previous, 0, sizeof drive->previous);
    drive->device &= ATA_DEVICE_DEV;
}

/* Brings a drive to its state after any reset, now or when its job is over. */
static void reset_drive(struct ata_drive *drive)
{
    if (!present(drive))
        return;
    close_transfer(drive);
    ata_set_irq(drive, false);
    drive->error = DIAGNOSTIC_PASSED;
    drive->disk.asleep = false;
    drive->job.reset_after = drive->job.active;
    if (drive->job.active || (drive->channel->control & ATA_CONTROL_SRST)) {
        drive->status = ATA_STATUS_BSY;
        return;
    }
    ata_set_signature(drive);
    drive->status = drive->ops->reset_status;
}

static void select_drive(struct ata_channel *channel, uint8_t unit)
{
    channel->selected = unit;
    update_irq(channel);
}

static void soft_reset(struct ata_channel *channel)
{
    for (int i = 0; i < 2; i++) {
        channel->drive[i].device = 0;
        reset_drive(&channel->drive[i]);
    }
    select_drive(channel, 0);
}

/* Both drives test themselves; device 0 reports for both. */
static void execute_diagnostic(struct ata_channel *channel)
{
    soft_reset(channel);
    struct ata_drive *reporter = &channel->drive[present(&channel->drive[0]) ? 0 : 1];
    ata_set_irq(reporter, true);
}

void ata_channel_reset(struct ata_channel *channel)
{
    channel->control = 0;
    for (int i = 0; i < 2; i++) {
        struct ata_drive *drive = &channel->drive[i];
        if (!present(drive))
            continue;
        drive->transfer_mode = DEFAULT_TRANSFER_MODE;
        drive->command = 0;
        memset(drive->current, 0, sizeof drive->current);
        drive->buffer_length = drive->dma_position = 0;
        drive->ops->power_on(drive);
    }
    soft_reset(channel);
}

/* -- Registers -- */

/* What answers when no drive does: device 0 stands in for an absent device 1 and says so with
 * zeros (9.16.1); an empty cable, or one with device 1 alone, floats. */
static uint8_t absent_value(const struct ata_channel *channel)
{
    return channel->selected && present(&channel->drive[0]) ? 0 : FLOATING_BUS;
}

uint8_t ata_read(struct ata_channel *channel, enum ata_register reg)
{
    struct ata_drive *drive = selected_drive(channel);
    if (!present(drive))
        return absent_value(channel);
    switch (reg) {
    case ATA_ERROR:
        return channel->control & ATA_CONTROL_HOB ? drive->previous[reg] : drive->error;
    case ATA_DEVICE:
        return drive->device;
    case ATA_STATUS:
        ata_set_irq(drive, false);
        return drive->status;
    case ATA_DATA:
        return (uint8_t)ata_read_data(channel, 1);
    default:
        return channel->control & ATA_CONTROL_HOB ? drive->previous[reg] : drive->current[reg];
    }
}

uint8_t ata_read_alternate(struct ata_channel *channel)
{
    struct ata_drive *drive = selected_drive(channel);
    return present(drive) ? drive->status : absent_value(channel);
}

static void write_command(struct ata_channel *channel, uint8_t command)
{
    struct ata_drive *drive = selected_drive(channel);
    if (command == COMMAND_EXECUTE_DIAGNOSTIC && !(drive->status & ATA_STATUS_BSY)) {
        if (present(&channel->drive[0]) || present(&channel->drive[1]))
            execute_diagnostic(channel);
        return;
    }
    if (!present(drive))
        return;
    if (command == COMMAND_DEVICE_RESET && drive->ops->kind == ATA_CDROM) {
        reset_drive(drive);
        return;
    }
    if (drive->status & ATA_STATUS_BSY) {
        log_guest("ata: command %02x while the drive is busy, ignored", command);
        return;
    }
    if (drive->disk.asleep)
        return; /* only a reset wakes it (SLEEP, 6.47) */
    if (drive->transfer != ATA_IDLE)
        log_guest("ata: command %02x abandons the data of command %02x", command, drive->command);
    close_transfer(drive);
    ata_set_irq(drive, false);
    drive->error = 0;
    drive->command = command;
    drive->ops->command(drive);
}

void ata_write(struct ata_channel *channel, enum ata_register reg, uint8_t value)
{
    channel->control &= (uint8_t)~ATA_CONTROL_HOB;
    if (reg == ATA_DATA) {
        ata_write_data(channel, value, 1);
        return;
    }
    if (reg == ATA_COMMAND) {
        write_command(channel, value);
        return;
    }
    for (int i = 0; i < 2; i++) {
        struct ata_drive *drive = &channel->drive[i];
        if (drive->status & ATA_STATUS_BSY)
            continue;
        if (reg == ATA_DEVICE) {
            drive->device = value;
        } else {
            drive->previous[reg] = drive->current[reg];
            drive->current[reg] = value;
        }
    }
    if (reg == ATA_DEVICE)
        select_drive(channel, value & ATA_DEVICE_DEV ? 1 : 0);
}

void ata_write_control(struct ata_channel *channel, uint8_t value)
{
    uint8_t changed = channel->control ^ value;
    channel->control = value & (ATA_CONTROL_NIEN | ATA_CONTROL_SRST | ATA_CONTROL_HOB);
    if (changed & ATA_CONTROL_SRST)
        soft_reset(channel); /* BSY while the bit is set, then the signature */
    update_irq(channel);
}

/* -- Data port -- */

uint32_t ata_read_data(struct ata_channel *channel, unsigned size)
{
    struct ata_drive *drive = selected_drive(channel);
    uint32_t value = UINT32_MAX;
    if (!present(drive) || drive->transfer != ATA_PIO_IN || drive->pio_position == drive->pio_end)
        return value;
    if (size == 4 && drive->pio_end - drive->pio_position >= 4) {
        memcpy(&value, drive->buffer + drive->pio_position, 4);
        drive->pio_position += 4;
    } else { /* windows are of whole words */
        value = drive->buffer[drive->pio_position] |
                (uint32_t)drive->buffer[drive->pio_position + 1] << 8 | 0xffff0000;
        drive->pio_position += 2;
    }
    if (drive->pio_position == drive->pio_end)
        drive->ops->data_done(drive);
    return value;
}

void ata_write_data(struct ata_channel *channel, uint32_t value, unsigned size)
{
    struct ata_drive *drive = selected_drive(channel);
    if (!present(drive) || drive->transfer != ATA_PIO_OUT || drive->pio_position == drive->pio_end)
        return;
    unsigned count = size == 4 && drive->pio_end - drive->pio_position >= 4 ? 4 : 2;
    memcpy(drive->buffer + drive->pio_position, &value, count);
    drive->pio_position += count;
    if (drive->pio_position == drive->pio_end)
        drive->ops->data_done(drive);
}

/* -- DMA handshake -- */

size_t ata_dma_pending(struct ata_channel *channel, uint8_t **data, bool *to_memory)
{
    struct ata_drive *drive = selected_drive(channel);
    if (!present(drive) || !drive->dma_request)
        return 0;
    *data = drive->buffer + drive->dma_position;
    *to_memory = drive->transfer == ATA_DMA_IN;
    return drive->buffer_length - drive->dma_position;
}

void ata_dma_advance(struct ata_channel *channel, size_t bytes)
{
    struct ata_drive *drive = selected_drive(channel);
    drive->dma_position += (uint32_t)bytes;
    if (drive->dma_position == drive->buffer_length) {
        drive->dma_request = false;
        drive->ops->data_done(drive);
    }
}

/* -- What disks and CD-ROM drives share of IDENTIFY and SET FEATURES -- */

bool ata_set_transfer_mode(struct ata_drive *drive, uint8_t mode)
{
    bool pio = mode <= 0x01 || (mode >= 0x08 && mode <= 0x0c);
    bool dma = (mode >= 0x20 && mode <= 0x22) || (mode >= 0x40 && mode <= 0x45);
    if (dma)
        drive->transfer_mode = mode;
    return pio || dma;
}

uint16_t ata_identify_mwdma(const struct ata_drive *drive)
{
    bool in_force = (drive->transfer_mode & 0xf8) == 0x20;
    return (uint16_t)(0x0007 | (in_force ? 0x100u << (drive->transfer_mode & 7) : 0));
}

uint16_t ata_identify_udma(const struct ata_drive *drive)
{
    bool in_force = (drive->transfer_mode & 0xf8) == 0x40;
    return (uint16_t)(0x003f | (in_force ? 0x100u << (drive->transfer_mode & 7) : 0));
}

void ata_identify_word(uint8_t *words, unsigned index, uint16_t value)
{
    words[2 * index] = (uint8_t)value;
    words[2 * index + 1] = (uint8_t)(value >> 8);
}

void ata_identify_interface(const struct ata_drive *drive, uint8_t *words)
{
    bool queues = drive->ops->kind == ATA_DISK;
    if (!drive->channel->serial_ata) {
        /* 80-conductor cable, drive number by jumper */
        ata_identify_word(words, 93, drive->unit ? 0x6b00 : 0x600b);
        return;
    }
    ata_identify_word(words, 76, (uint16_t)(0x000e | queues << 8)); /* generations 1 to 3, NCQ */
    ata_identify_word(words, 222, 0x107f); /* serial transport, SATA 3.1 and before */
    if (queues)
        ata_identify_word(words, 75, 31); /* queue depth less one */
}

void ata_identify_text(uint8_t *words, unsigned first_word, unsigned word_count, const char *text)
{
    size_t length = strlen(text);
    for (unsigned i = 0; i < 2 * word_count; i++)
        words[2 * first_word + (i ^ 1)] = (uint8_t)(i < length ? text[i] : ' ');
}

/* -- Making -- */

void ata_channel_init(struct ata_channel *channel, struct irq_line irq, struct loop *loop,
                      _Atomic uint64_t *activity, void (*dma_ready)(void *adapter), void *adapter)
{
    channel->irq = irq;
    channel->loop = loop;
    channel->activity = activity;
    channel->dma_ready = dma_ready;
    channel->adapter = adapter;
    for (int i = 0; i < 2; i++) {
        channel->drive[i].channel = channel;
        channel->drive[i].unit = (uint8_t)i;
    }
}

void ata_attach(struct ata_channel *channel, unsigned unit, const struct ata_drive_ops *ops,
                struct image *image, const char *serial)
{
    struct ata_drive *drive = &channel->drive[unit];
    drive->ops = ops;
    drive->kind = (uint8_t)ops->kind;
    drive->image = image;
    snprintf(drive->serial, sizeof drive->serial, "%s", serial);
    ata_channel_reset(channel);
}

static bool possible_state(const struct ata_drive *drive)
{
    bool pio = drive->transfer == ATA_PIO_IN || drive->transfer == ATA_PIO_OUT;
    bool dma = drive->transfer == ATA_DMA_IN || drive->transfer == ATA_DMA_OUT;
    if ((drive->status & ATA_STATUS_BSY) && !(drive->channel->control & ATA_CONTROL_SRST))
        return false; /* I/O was in flight: nobody would ever end it */
    if (drive->transfer > ATA_DMA_OUT || drive->buffer_length > ATA_BUFFER_SIZE ||
        drive->dma_position > drive->buffer_length)
        return false;
    if (drive->pio_end > ATA_BUFFER_SIZE || drive->pio_position > drive->pio_end ||
        (drive->pio_end - drive->pio_position) % 2)
        return false;
    if ((drive->dma_request && (!dma || drive->dma_position == drive->buffer_length)) ||
        (drive->pio_position != drive->pio_end && !pio))
        return false;
    if (drive->kind == ATA_DISK)
        return drive->disk.heads >= 1 && drive->disk.heads <= 16 && drive->disk.track_size >= 1 &&
               drive->disk.block_sectors <= 16 && drive->disk.multiple <= 16 &&
               (!pio || drive->disk.block_sectors) && drive->disk.lba >> 48 == 0 &&
               drive->buffer_length % SECTOR_SIZE == 0 && drive->disk.sectors_left <= 65536 &&
               drive->pio_end <= drive->buffer_length;
    return true;
}

bool ata_channel_post_load(struct ata_channel *channel, struct error *error)
{
    if (channel->selected > 1)
        return error_set(error, "The saved IDE channel has a drive %u selected", channel->selected);
    for (int i = 0; i < 2; i++) {
        struct ata_drive *drive = &channel->drive[i];
        if (drive->kind != (present(drive) ? drive->ops->kind : ATA_NONE))
            return error_set(error, "The saved machine has another drive as IDE unit %d", i);
        if (present(drive) && !possible_state(drive))
            return error_set(error, "The saved state of IDE drive '%s' is damaged", drive->serial);
    }
    irq_set(channel->irq, channel->irq_level);
    return true;
}
