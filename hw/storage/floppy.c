/*
 * Floppy disk controller Intel 82077AA in AT mode.
 *
 * Specification: 82077AA data sheet (290166), 2.1 (registers), 4 (controller phases), 5 (commands),
 * 6 (status). Disks are images of whole tracks with 512-byte sectors, cylinder by cylinder, head by
 * head.
 *
 *     command bytes --> execute() --+--> seek(): interrupt
 *                                   +--> read: worker --> DMA or FIFO --+--> result bytes,
 * interrupt
 *                                   +--> write: DMA or FIFO --> worker -+
 *
 * Not modelled: time that heads and motors take, PS/2 and Model 30 modes (SRA, SRB), tape drives,
 * sector sizes other than 512, deleted data marks on the medium, scan commands (refused as
 * invalid), reading across a formatted gap.
 */
#include "hw/storage/floppy.h"
#include "hw/alloc.h"

#include <errno.h>
#include <string.h>

#define BASE_PORT     0x3f0
#define DMA_CHANNEL   2
#define BUFFER_SIZE   (2 * 36 * SECTOR_SIZE) /* a cylinder of the densest format */
#define CYLINDERS_MAX 83

enum floppy_register { REG_DOR = 2, REG_TDR = 3, REG_MSR = 4, REG_FIFO = 5, REG_DIR = 7 };

#define DOR_SELECT     0x03
#define DOR_NOT_RESET  0x04
#define DOR_DMA_GATE   0x08
#define DOR_MOTOR(d)   (0x10 << (d))
#define DSR_RESET      0x80
#define MSR_BUSY       0x10
#define MSR_NON_DMA    0x20
#define MSR_TO_HOST    0x40
#define MSR_READY      0x80
#define DIR_CHANGED    0x80

#define ST0_SEEK_END   0x20
#define ST0_ABNORMAL   0x40
#define ST0_INVALID    0x80
#define ST0_NOT_READY  0xc0 /* after a reset: ready changed by polling */
#define ST1_NO_MARK    0x01
#define ST1_PROTECTED  0x02
#define ST1_NO_DATA    0x04
#define ST1_OVERRUN    0x10
#define ST1_DATA_ERROR 0x20
#define ST1_END        0x80
#define ST2_CYLINDER   0x10
#define ST3_TRACK0     0x10
#define ST3_PROTECTED  0x40
#define ST3_BASE       0x28 /* ready, two sides */

#define COMMAND_MT     0x80 /* go on on the other side */

/* What disks there are. Rates are those of DSR and CCR that read them. */
static const struct floppy_format {
    uint32_t bytes;
    uint8_t cylinders, heads, sectors;
    uint8_t rates; /* one bit for each rate code: 0 500, 1 300, 2 250, 3 1000 kbit/s */
    uint8_t cmos;
} formats[] = {
    {163840, 40, 1, 8, 6, 1},   {184320, 40, 1, 9, 6, 1},   {327680, 40, 2, 8, 6, 1},
    {368640, 40, 2, 9, 6, 1},   {737280, 80, 2, 9, 6, 3},   {1228800, 80, 2, 15, 1, 2},
    {1474560, 80, 2, 18, 1, 4}, {1720320, 80, 2, 21, 1, 4}, {2949120, 80, 2, 36, 8, 5},
};
#define FORMATS      (sizeof formats / sizeof *formats)
#define COMMON_BYTES 1474560u

enum phase { PHASE_COMMAND, PHASE_READ, PHASE_WRITE, PHASE_WORK, PHASE_RESULT };

struct floppy_drive {
    uint8_t cylinder; /* where the heads are */
    bool changed;     /* the disk change line */
};

struct floppy {
    struct device device;
    uint8_t dor, tdr, dsr, rate;
    uint8_t phase; /* enum phase */
    uint8_t command[9], command_length;
    uint8_t result[10], result_length, result_position;
    uint8_t sense[FLOPPY_DRIVES + 2]; /* ST0 that SENSE INTERRUPT STATUS will tell, by drive */
    uint8_t sense_pending;            /* one bit for each drive */
    uint8_t specify[2], configure[3], perpendicular;
    bool lock, irq_level;
    struct floppy_drive drive[FLOPPY_DRIVES];
    /* The transfer: sectors from `record` on, moved as one piece. */
    uint8_t head, record, sectors;
    uint32_t position, length;
    uint8_t buffer[BUFFER_SIZE];

    struct image *image[FLOPPY_DRIVES];
    const struct floppy_format *format[FLOPPY_DRIVES]; /* of the disk, or NULL */
    const struct floppy_format *type[FLOPPY_DRIVES];   /* of the drive, or NULL */
    struct i8237 *dma;
    struct irq_line irq;
    struct loop *loop;
    _Atomic uint64_t *activity;
    struct floppy_job {
        struct image *image;
        uint64_t offset;
        size_t length;
        bool write, active, abandoned;
        int status;
        uint8_t data[BUFFER_SIZE];
    } job;
};

static const struct field floppy_drive_fields[] = {
    FIELD(struct floppy_drive, cylinder, 1),
    FIELD(struct floppy_drive, changed, 1),
    FIELD_END,
};

static const struct field floppy_fields[] = {
    FIELD(struct floppy, dor, 1),
    FIELD(struct floppy, tdr, 1),
    FIELD(struct floppy, dsr, 1),
    FIELD(struct floppy, rate, 1),
    FIELD(struct floppy, phase, 1),
    FIELD_ARRAY(struct floppy, command, 1),
    FIELD(struct floppy, command_length, 1),
    FIELD_ARRAY(struct floppy, result, 1),
    FIELD(struct floppy, result_length, 1),
    FIELD(struct floppy, result_position, 1),
    FIELD_ARRAY(struct floppy, sense, 1),
    FIELD(struct floppy, sense_pending, 1),
    FIELD_ARRAY(struct floppy, specify, 1),
    FIELD_ARRAY(struct floppy, configure, 1),
    FIELD(struct floppy, perpendicular, 1),
    FIELD(struct floppy, lock, 1),
    FIELD(struct floppy, irq_level, 1),
    FIELD_STRUCTS(struct floppy, drive, floppy_drive_fields, 1),
    FIELD(struct floppy, head, 1),
    FIELD(struct floppy, record, 1),
    FIELD(struct floppy, sectors, 1),
    FIELD(struct floppy, position, 1),
    FIELD(struct floppy, length, 1),
    FIELD_ARRAY(struct floppy, buffer, 1),
    FIELD_END,
};

/* Images that leave out the end of a disk pass for 1.44M ones, as rescue disks come. */
static const struct floppy_format *find_format(uint64_t bytes)
{
    for (size_t i = 0; i < FORMATS; i++)
        if (formats[i].bytes == bytes)
            return &formats[i];
    return bytes < COMMON_BYTES ? find_format(COMMON_BYTES) : NULL;
}

bool floppy_size_known(uint64_t bytes)
{
    return find_format(bytes) != NULL;
}

/* -- Interrupt and phases -- */

static void update_irq(struct floppy *floppy)
{
    irq_set(floppy->irq, floppy->irq_level && (floppy->dor & DOR_DMA_GATE));
}

static void set_irq(struct floppy *floppy, bool level)
{
    floppy->irq_level = level;
    update_irq(floppy);
}

static unsigned command_drive(const struct floppy *floppy)
{
    return floppy->command[1] & 3;
}

/* The drive's number if it is connected and holds a disk that spins, or -1. */
static int ready_drive(const struct floppy *floppy, unsigned drive)
{
    bool ready = drive < FLOPPY_DRIVES && floppy->format[drive] && (floppy->dor & DOR_MOTOR(drive));
    return ready ? (int)drive : -1;
}

static void await_command(struct floppy *floppy)
{
    floppy->phase = PHASE_COMMAND;
    floppy->command_length = 0;
}

static void give_result(struct floppy *floppy, const uint8_t *bytes, size_t count, bool interrupt)
{
    memcpy(floppy->result, bytes, count);
    floppy->result_length = (uint8_t)count;
    floppy->result_position = 0;
    floppy->phase = PHASE_RESULT;
    if (interrupt)
        set_irq(floppy, true);
}

/* The seven bytes that end reads, writes and formats (5.1.12): where the next sector would be. */
static void end_transfer(struct floppy *floppy, uint8_t st0, uint8_t st1, uint8_t st2)
{
    const uint8_t result[7] = {
        (uint8_t)(st0 | floppy->head << 2 | command_drive(floppy)),
        st1,
        st2,
        floppy->command[2],
        floppy->head,
        floppy->record,
        floppy->command[5],
    };
    give_result(floppy, result, sizeof result, true);
}

static void invalid_command(struct floppy *floppy)
{
    give_result(floppy, &(uint8_t){ST0_INVALID}, 1, false);
}

/* -- Seeks -- */

static void end_seek(struct floppy *floppy, unsigned drive, uint8_t st0)
{
    floppy->sense[drive] = (uint8_t)(st0 | drive);
    floppy->sense_pending |= (uint8_t)(1 << drive);
    await_command(floppy);
    set_irq(floppy, true);
}

static void seek(struct floppy *floppy, unsigned number, unsigned cylinder)
{
    if (number >= FLOPPY_DRIVES || !floppy->type[number]) {
        end_seek(floppy, number, ST0_SEEK_END | ST0_ABNORMAL | 0x10); /* track 0 was not found */
        return;
    }
    struct floppy_drive *drive = &floppy->drive[number];
    drive->cylinder = (uint8_t)(cylinder < CYLINDERS_MAX ? cylinder : CYLINDERS_MAX);
    if (floppy->image[number])
        drive->changed = false; /* a step pulse resets the line */
    end_seek(floppy, number, ST0_SEEK_END);
}

static void run_recalibrate(struct floppy *floppy)
{
    seek(floppy, command_drive(floppy), 0);
}

static void run_seek(struct floppy *floppy)
{
    seek(floppy, command_drive(floppy), floppy->command[2]);
}

static void run_relative_seek(struct floppy *floppy)
{
    unsigned drive = command_drive(floppy), steps = floppy->command[2];
    unsigned now = drive < FLOPPY_DRIVES ? floppy->drive[drive].cylinder : 0;
    bool inwards = floppy->command[0] & 0x40;
    seek(floppy, drive, inwards ? now + steps : now > steps ? now - steps : 0);
}

static void run_sense_interrupt(struct floppy *floppy)
{
    for (unsigned i = 0; i < sizeof floppy->sense; i++) {
        if (!(floppy->sense_pending >> i & 1))
            continue;
        floppy->sense_pending &= (uint8_t) ~(1 << i);
        set_irq(floppy, false);
        const uint8_t result[2] = {floppy->sense[i],
                                   i < FLOPPY_DRIVES ? floppy->drive[i].cylinder : 0};
        give_result(floppy, result, sizeof result, false);
        return;
    }
    invalid_command(floppy);
}

static void run_sense_drive(struct floppy *floppy)
{
    unsigned number = command_drive(floppy);
    uint8_t st3 = (uint8_t)(ST3_BASE | (floppy->command[1] & 7));
    if (number < FLOPPY_DRIVES && floppy->type[number]) {
        if (floppy->drive[number].cylinder == 0)
            st3 |= ST3_TRACK0;
        if (floppy->image[number] && image_read_only(floppy->image[number]))
            st3 |= ST3_PROTECTED;
    }
    give_result(floppy, &st3, 1, false);
}

/* -- Data -- */

/* Moves the place of the next sector behind what was transferred. */
static void advance(struct floppy *floppy, uint32_t bytes)
{
    unsigned last = floppy->command[6];
    for (uint32_t done = 0; done + SECTOR_SIZE <= bytes; done += SECTOR_SIZE) {
        if (floppy->record < last) {
            floppy->record++;
        } else {
            floppy->record = 1;
            if (floppy->command[0] & COMMAND_MT && floppy->head == 0)
                floppy->head = 1;
            else
                floppy->command[2]++;
        }
    }
}

static uint64_t image_offset(const struct floppy *floppy, unsigned drive)
{
    const struct floppy_format *format = floppy->format[drive];
    return (((uint64_t)floppy->drive[drive].cylinder * format->heads + floppy->head) *
                format->sectors +
            floppy->record - 1) *
           SECTOR_SIZE;
}

/* What a short image leaves out reads as zeros and takes no writes. */
static void run_job(void *opaque)
{
    struct floppy_job *job = &((struct floppy *)opaque)->job;
    uint64_t end = image_bytes(job->image);
    size_t there = job->offset >= end                ? 0
                   : job->length < end - job->offset ? job->length
                                                     : (size_t)(end - job->offset);
    job->status = job->write && there < job->length ? ENOSPC : 0;
    if (job->status)
        return;
    if (!job->write)
        memset(job->data + there, 0, job->length - there);
    if (!there)
        return;
    job->status = job->write ? image_write(job->image, job->offset, job->data, there)
                             : image_read(job->image, job->offset, job->data, there);
    if (job->write && !job->status)
        job->status = image_flush(job->image); /* a floppy has no cache */
}

/* All that was wanted has been moved, or the DMA controller has had enough. */
static void end_read(struct floppy *floppy, uint32_t bytes, bool terminal_count)
{
    advance(floppy, bytes);
    /* Without a terminal count the controller looks for a sector beyond the last. */
    if (terminal_count)
        end_transfer(floppy, 0, 0, 0);
    else
        end_transfer(floppy, ST0_ABNORMAL, ST1_END, 0);
}

static bool uses_dma(const struct floppy *floppy)
{
    return !(floppy->specify[1] & 1);
}

static void deliver(struct floppy *floppy)
{
    if (!uses_dma(floppy)) {
        floppy->phase = PHASE_READ;
        floppy->position = 0;
        set_irq(floppy, true);
        return;
    }
    bool terminal_count = false;
    size_t moved = i8237_write_memory(floppy->dma, DMA_CHANNEL, floppy->buffer, floppy->length,
                                      &terminal_count);
    if (moved < floppy->length && !terminal_count) {
        advance(floppy, (uint32_t)moved);
        end_transfer(floppy, ST0_ABNORMAL, ST1_OVERRUN, 0);
        return;
    }
    end_read(floppy, (uint32_t)moved, terminal_count);
}

static void finish_job(void *opaque)
{
    struct floppy *floppy = opaque;
    struct floppy_job *job = &floppy->job;
    job->active = false;
    if (job->abandoned)
        return;
    if (job->status) {
        log_guest("floppy: %s", strerror(job->status));
        end_transfer(floppy, ST0_ABNORMAL, ST1_DATA_ERROR, 0);
    } else if (job->write) {
        end_read(floppy, floppy->length, floppy->position);
    } else {
        memcpy(floppy->buffer, job->data, floppy->length);
        deliver(floppy);
    }
}

static void start_job(struct floppy *floppy, bool write)
{
    struct floppy_job *job = &floppy->job;
    unsigned drive = command_drive(floppy);
    while (job->active) /* of a command that a reset cut off */
        loop_drain(floppy->loop);
    job->image = floppy->image[drive];
    job->offset = image_offset(floppy, drive);
    job->length = floppy->length;
    job->write = write;
    job->active = true;
    job->abandoned = false;
    if (write)
        memcpy(job->data, floppy->buffer, job->length);
    floppy->phase = PHASE_WORK;
    atomic_fetch_add_explicit(floppy->activity, job->length / SECTOR_SIZE, memory_order_relaxed);
    loop_work(floppy->loop, run_job, finish_job, floppy);
}

/* Checks address and medium of a read or write and sets length; ends the command if impossible. */
static bool begin_transfer(struct floppy *floppy)
{
    int drive = ready_drive(floppy, command_drive(floppy));
    const uint8_t *command = floppy->command;
    floppy->head = command[1] >> 2 & 1;
    floppy->record = command[4];
    if (drive < 0) {
        end_transfer(floppy, ST0_ABNORMAL, ST1_NO_MARK, 0);
        return false;
    }
    const struct floppy_format *format = floppy->format[drive];
    if (!(format->rates >> floppy->rate & 1) || !(command[0] & 0x40) ||
        floppy->head >= format->heads || floppy->drive[drive].cylinder >= format->cylinders) {
        end_transfer(floppy, ST0_ABNORMAL, ST1_NO_MARK, 0);
        return false;
    }
    if (command[2] != floppy->drive[drive].cylinder) {
        end_transfer(floppy, ST0_ABNORMAL, ST1_NO_DATA, ST2_CYLINDER);
        return false;
    }
    if (command[3] != floppy->head || command[5] != 2 || floppy->record == 0 ||
        floppy->record > format->sectors) {
        end_transfer(floppy, ST0_ABNORMAL, ST1_NO_DATA, 0);
        return false;
    }
    unsigned last = command[6] < format->sectors ? command[6] : format->sectors;
    unsigned count = last >= floppy->record ? last - floppy->record + 1u : 1;
    if ((command[0] & COMMAND_MT) && floppy->head == 0 && format->heads == 2 &&
        last == format->sectors)
        count += format->sectors;
    floppy->length = count * SECTOR_SIZE;
    return true;
}

static void run_read(struct floppy *floppy)
{
    if (begin_transfer(floppy))
        start_job(floppy, false);
}

/* Data of a write are complete, up to `length`. `position` keeps whether a terminal count ended it.
 */
static void store(struct floppy *floppy, uint32_t length, bool terminal_count)
{
    uint32_t whole = (length + SECTOR_SIZE - 1) / SECTOR_SIZE * SECTOR_SIZE;
    if (!whole) {
        end_transfer(floppy, ST0_ABNORMAL, ST1_OVERRUN, 0);
        return;
    }
    memset(floppy->buffer + length, 0, whole - length); /* the rest of the sector is zeros */
    floppy->length = whole;
    floppy->position = terminal_count;
    start_job(floppy, true);
}

static void run_write(struct floppy *floppy)
{
    if (!begin_transfer(floppy))
        return;
    if (image_read_only(floppy->image[command_drive(floppy)])) {
        end_transfer(floppy, ST0_ABNORMAL, ST1_PROTECTED, 0);
        return;
    }
    if (!uses_dma(floppy)) {
        floppy->phase = PHASE_WRITE;
        floppy->position = 0;
        set_irq(floppy, true);
        return;
    }
    bool terminal_count = false;
    size_t moved = i8237_read_memory(floppy->dma, DMA_CHANNEL, floppy->buffer, floppy->length,
                                     &terminal_count);
    store(floppy, (uint32_t)moved, terminal_count);
}

/* The data of a verify go nowhere (5.1.7); with EC the count is in DTL, else the track's end ends.
 */
static void run_verify(struct floppy *floppy)
{
    if (!begin_transfer(floppy))
        return;
    uint32_t wanted = floppy->command[1] & 0x80 ? floppy->command[8] * SECTOR_SIZE : floppy->length;
    advance(floppy, wanted < floppy->length ? wanted : floppy->length);
    end_transfer(floppy, 0, 0, 0);
}

/* Reads the next address mark that passes: always that of sector 1. */
static void run_read_id(struct floppy *floppy)
{
    int drive = ready_drive(floppy, command_drive(floppy));
    floppy->head = floppy->command[1] >> 2 & 1;
    floppy->record = 1;
    if (drive < 0 || !(floppy->format[drive]->rates >> floppy->rate & 1) ||
        !(floppy->command[0] & 0x40) || floppy->head >= floppy->format[drive]->heads ||
        floppy->drive[drive].cylinder >= floppy->format[drive]->cylinders) {
        end_transfer(floppy, ST0_ABNORMAL, ST1_NO_MARK, 0);
        return;
    }
    floppy->command[2] = floppy->drive[drive].cylinder;
    floppy->command[5] = 2;
    end_transfer(floppy, 0, 0, 0);
}

/* A formatted track holds the filler byte; a layout other than the image's cannot be kept. */
static void run_format(struct floppy *floppy)
{
    int drive = ready_drive(floppy, command_drive(floppy));
    uint8_t sectors = floppy->command[3], filler = floppy->command[5], size = floppy->command[2];
    floppy->head = floppy->command[1] >> 2 & 1;
    floppy->record = 1;
    floppy->command[6] = sectors;
    floppy->command[5] = size;
    if (drive < 0 || floppy->drive[drive].cylinder >= floppy->format[drive]->cylinders ||
        floppy->head >= floppy->format[drive]->heads) {
        end_transfer(floppy, ST0_ABNORMAL, ST1_NO_MARK, 0);
        return;
    }
    if (image_read_only(floppy->image[drive])) {
        end_transfer(floppy, ST0_ABNORMAL, ST1_PROTECTED, 0);
        return;
    }
    if (size != 2 || sectors != floppy->format[drive]->sectors) {
        log_guest("floppy: formatting with another layout than the image's");
        end_transfer(floppy, ST0_ABNORMAL, ST1_NO_MARK, 0);
        return;
    }
    uint8_t marks[4 * 36];
    bool terminal_count = false;
    if (uses_dma(floppy)) /* where the sectors' numbers stand; images keep the usual order */
        i8237_read_memory(floppy->dma, DMA_CHANNEL, marks, 4u * sectors, &terminal_count);
    memset(floppy->buffer, filler, (size_t)sectors * SECTOR_SIZE);
    floppy->command[2] = floppy->drive[drive].cylinder;
    floppy->length = sectors * SECTOR_SIZE;
    floppy->position = true;
    start_job(floppy, true);
}

/* -- Settings -- */

static void run_specify(struct floppy *floppy)
{
    memcpy(floppy->specify, floppy->command + 1, 2);
    await_command(floppy);
}

static void run_configure(struct floppy *floppy)
{
    memcpy(floppy->configure, floppy->command + 1, 3);
    await_command(floppy);
}

static void run_perpendicular(struct floppy *floppy)
{
    floppy->perpendicular = floppy->command[1];
    await_command(floppy);
}

static void run_lock(struct floppy *floppy)
{
    floppy->lock = floppy->command[0] & 0x80;
    give_result(floppy, &(uint8_t){(uint8_t)(floppy->lock << 4)}, 1, false);
}

static void run_version(struct floppy *floppy)
{
    give_result(floppy, &(uint8_t){0x90}, 1, false); /* enhanced controller */
}

static void run_part_id(struct floppy *floppy)
{
    give_result(floppy, &(uint8_t){0x01}, 1, false);
}

static void run_dump(struct floppy *floppy)
{
    const uint8_t result[10] = {
        floppy->drive[0].cylinder,
        floppy->drive[1].cylinder,
        0,
        0,
        floppy->specify[0],
        floppy->specify[1],
        floppy->command[6], /* EOT of the last transfer */
        (uint8_t)(floppy->lock << 7 | (floppy->perpendicular & 0x7f)),
        floppy->configure[1],
        floppy->configure[2],
    };
    give_result(floppy, result, sizeof result, false);
}

/* Commands by the bits that name them; `mask` takes out MT, MFM, SK and the like. */
static const struct command {
    uint8_t code, mask, length;
    void (*run)(struct floppy *floppy);
} commands[] = {
    {0x03, 0xff, 3, run_specify},       {0x04, 0xff, 2, run_sense_drive},
    {0x05, 0x3f, 9, run_write},         {0x06, 0x1f, 9, run_read},
    {0x07, 0xff, 2, run_recalibrate},   {0x08, 0xff, 1, run_sense_interrupt},
    {0x09, 0x3f, 9, run_write},         {0x0a, 0xbf, 2, run_read_id},
    {0x0c, 0x1f, 9, run_read},          {0x0d, 0xbf, 6, run_format},
    {0x0e, 0xff, 1, run_dump},          {0x0f, 0xff, 3, run_seek},
    {0x02, 0x9f, 9, run_read},          {0x10, 0xff, 1, run_version},
    {0x12, 0xff, 2, run_perpendicular}, {0x13, 0xff, 4, run_configure},
    {0x14, 0x7f, 1, run_lock},          {0x16, 0x1f, 9, run_verify},
    {0x18, 0xff, 1, run_part_id},       {0x8f, 0xbf, 3, run_relative_seek},
};

static const struct command *find_command(uint8_t byte)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if ((byte & commands[i].mask) == commands[i].code)
            return &commands[i];
    return NULL;
}

/* -- Registers -- */

static void reset_controller(struct floppy *floppy)
{
    floppy->job.abandoned = true;
    floppy->sense_pending = 0;
    if (!floppy->lock) {
        floppy->configure[1] = floppy->configure[2] = 0;
        floppy->perpendicular = 0;
    }
    await_command(floppy);
    set_irq(floppy, false);
}

/* After a reset the controller polls its drives and finds that all have changed their state. */
static void leave_reset(struct floppy *floppy)
{
    for (unsigned i = 0; i < sizeof floppy->sense; i++)
        floppy->sense[i] = (uint8_t)(ST0_NOT_READY | i);
    floppy->sense_pending = 0x0f;
    set_irq(floppy, true);
}

static bool in_reset(const struct floppy *floppy)
{
    return !(floppy->dor & DOR_NOT_RESET);
}

static void write_dor(struct floppy *floppy, uint8_t value)
{
    bool was_in_reset = in_reset(floppy);
    floppy->dor = value;
    if (!was_in_reset && in_reset(floppy))
        reset_controller(floppy);
    else if (was_in_reset && !in_reset(floppy))
        leave_reset(floppy);
    update_irq(floppy);
}

static uint8_t read_msr(const struct floppy *floppy)
{
    if (in_reset(floppy))
        return 0;
    switch (floppy->phase) {
    case PHASE_COMMAND:
        return (uint8_t)(MSR_READY | (floppy->command_length ? MSR_BUSY : 0));
    case PHASE_READ:
        return MSR_READY | MSR_TO_HOST | MSR_NON_DMA | MSR_BUSY;
    case PHASE_WRITE:
        return MSR_READY | MSR_NON_DMA | MSR_BUSY;
    case PHASE_RESULT:
        return MSR_READY | MSR_TO_HOST | MSR_BUSY;
    default:
        return MSR_BUSY;
    }
}

static uint8_t read_fifo(struct floppy *floppy)
{
    uint8_t value = 0xff;
    if (floppy->phase == PHASE_READ) {
        value = floppy->buffer[floppy->position++];
        if (floppy->position == floppy->length)
            end_read(floppy, floppy->length, false);
    } else if (floppy->phase == PHASE_RESULT) {
        set_irq(floppy, false);
        value = floppy->result[floppy->result_position++];
        if (floppy->result_position == floppy->result_length)
            await_command(floppy);
    }
    return value;
}

static void write_command_byte(struct floppy *floppy, uint8_t value)
{
    const struct command *command;
    floppy->command[floppy->command_length++] = value;
    command = find_command(floppy->command[0]);
    if (!command) {
        log_guest("floppy: command %02x is not built", value);
        invalid_command(floppy);
    } else if (floppy->command_length == command->length) {
        command->run(floppy);
    }
}

static void write_fifo(struct floppy *floppy, uint8_t value)
{
    if (in_reset(floppy))
        return;
    if (floppy->phase == PHASE_COMMAND) {
        write_command_byte(floppy, value);
    } else if (floppy->phase == PHASE_WRITE) {
        floppy->buffer[floppy->position++] = value;
        if (floppy->position == floppy->length) {
            set_irq(floppy, false);
            store(floppy, floppy->length, false);
        }
    }
}

/* The disk change line of the selected drive, if its motor runs. */
static uint8_t read_dir(const struct floppy *floppy)
{
    unsigned drive = floppy->dor & DOR_SELECT;
    bool changed = drive < FLOPPY_DRIVES && floppy->type[drive] &&
                   (floppy->dor & DOR_MOTOR(drive)) &&
                   (floppy->drive[drive].changed || !floppy->image[drive]);
    return changed ? DIR_CHANGED : 0;
}

static uint64_t floppy_read(void *opaque, uint64_t offset, unsigned size)
{
    struct floppy *floppy = opaque;
    switch (offset) {
    case REG_DOR:
        return floppy->dor;
    case REG_TDR:
        return floppy->tdr;
    case REG_MSR:
        return read_msr(floppy);
    case REG_FIFO:
        return read_fifo(floppy);
    default:
        return 0xff;
    }
}

static void floppy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct floppy *floppy = opaque;
    switch (offset) {
    case REG_DOR:
        write_dor(floppy, (uint8_t)value);
        break;
    case REG_TDR:
        floppy->tdr = value & 3;
        break;
    case REG_MSR: /* written: data rate select */
        floppy->dsr = (uint8_t)value & (uint8_t)~DSR_RESET;
        floppy->rate = value & 3;
        if (value & DSR_RESET) { /* clears itself */
            reset_controller(floppy);
            leave_reset(floppy);
        }
        break;
    case REG_FIFO:
        write_fifo(floppy, (uint8_t)value);
        break;
    }
}

static uint64_t dir_read(void *opaque, uint64_t offset, unsigned size)
{
    return read_dir(opaque);
}

static void ccr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ((struct floppy *)opaque)->rate = value & 3;
}

static const struct access_ops floppy_access = {floppy_read, floppy_write, 1, 1};
static const struct access_ops dir_access = {dir_read, ccr_write, 1, 1};

/* -- Drives and disks -- */

void floppy_attach(struct floppy *floppy, unsigned drive, struct image *image)
{
    floppy->image[drive] = image;
    floppy->format[drive] = image ? find_format(image_bytes(image)) : NULL;
    floppy->type[drive] = image ? floppy->format[drive] : find_format(COMMON_BYTES);
    floppy->drive[drive].changed = true;
}

uint8_t floppy_cmos_type(const struct floppy *floppy, unsigned drive)
{
    return floppy->type[drive] ? floppy->type[drive]->cmos : 0;
}

struct image *floppy_change(struct floppy *floppy, unsigned drive, struct image *image)
{
    struct image *old = floppy->image[drive];
    while (floppy->job.active)
        loop_drain(floppy->loop);
    floppy->image[drive] = image;
    floppy->format[drive] = image ? find_format(image_bytes(image)) : NULL;
    floppy->drive[drive].changed = true;
    return old;
}

/* -- Life -- */

static void floppy_reset(struct device *device)
{
    struct floppy *floppy = (struct floppy *)device;
    while (floppy->job.active)
        loop_drain(floppy->loop);
    floppy->dor = DOR_DMA_GATE | DOR_NOT_RESET;
    floppy->tdr = 0;
    floppy->dsr = floppy->rate = 2;
    floppy->lock = false;
    memset(floppy->specify, 0, sizeof floppy->specify);
    memset(floppy->configure, 0, sizeof floppy->configure);
    for (int i = 0; i < FLOPPY_DRIVES; i++)
        floppy->drive[i] = (struct floppy_drive){.changed = floppy->type[i] != NULL};
    floppy->result_length = floppy->result_position = 0;
    floppy->length = floppy->position = 0;
    reset_controller(floppy);
}

static bool floppy_post_load(struct device *device, struct error *error)
{
    struct floppy *floppy = (struct floppy *)device;
    bool moving = floppy->phase == PHASE_READ || floppy->phase == PHASE_WRITE;
    if (floppy->phase > PHASE_RESULT || floppy->phase == PHASE_WORK ||
        floppy->command_length > sizeof floppy->command ||
        (floppy->phase == PHASE_COMMAND && floppy->command_length == sizeof floppy->command) ||
        (floppy->phase == PHASE_RESULT && (floppy->result_length > sizeof floppy->result ||
                                           floppy->result_position >= floppy->result_length)) ||
        (moving && (floppy->length > BUFFER_SIZE || floppy->position >= floppy->length ||
                    ready_drive(floppy, command_drive(floppy)) < 0)) ||
        floppy->drive[0].cylinder > CYLINDERS_MAX || floppy->drive[1].cylinder > CYLINDERS_MAX)
        return error_set(error, "The saved state of the floppy disk controller is damaged");
    update_irq(floppy);
    return true;
}

static void floppy_destroy(struct device *device)
{
    struct floppy *floppy = (struct floppy *)device;
    while (floppy->job.active)
        loop_drain(floppy->loop);
    free(floppy);
}

static const struct device_ops floppy_ops = {
    .name = "82077aa",
    .fields = floppy_fields,
    .version = 1,
    .reset = floppy_reset,
    .post_load = floppy_post_load,
    .destroy = floppy_destroy,
};

struct floppy *floppy_new(struct device_list *list, struct io_bus *io, struct i8237 *dma,
                          struct irq_line irq, struct loop *loop, _Atomic uint64_t *activity,
                          const char *id)
{
    struct floppy *floppy = alloc_zeroed(sizeof *floppy);
    device_add(list, &floppy->device, &floppy_ops, id);
    floppy->dma = dma;
    floppy->irq = irq;
    floppy->loop = loop;
    floppy->activity = activity;
    io_bus_add(io, BASE_PORT, 6, &floppy_access, floppy);
    io_bus_add(io, BASE_PORT + REG_DIR, 1, &dir_access, floppy);
    return floppy;
}
