/*
 * ATA disk: the commands of a hard disk that follows ATA/ATAPI-7 (T13/1532D volume 1, section 6),
 * with 28-bit, 48-bit and cylinder-head-sector addresses.
 *
 * The guest's data goes through the drive's buffer, at most ATA_BUFFER_SECTORS at a time. A read
 * error is reported with the address where its part began.
 *
 * Queued commands of SATA disks are the adapter's (ahci_command.c); what they leave behind when
 * they fail is told here, by READ LOG EXT.
 *
 * Not modelled: security, host protected area (SET MAX), SMART self-tests, acoustic and advanced
 * power management.
 */
#include "hw/storage/ata.h"

#include <string.h>

#define LBA28_MAX          0x0fffffffu
#define MULTIPLE_MAX       16
#define DEFAULT_HEADS      16
#define DEFAULT_TRACK_SIZE 63

#define POWER_STANDBY      0x00
#define POWER_IDLE         0x80
#define POWER_ACTIVE       0xff

/* Flags of a command in the table below. */
#define EXT      1 /* 48-bit address and count */
#define MULTIPLE 2 /* DRQ blocks of several sectors */
#define DMA      4
#define FUA      8 /* on the medium before the command ends */

struct disk_command {
    void (*run)(struct ata_drive *drive, unsigned flags);
    unsigned flags;
};

static uint64_t disk_sectors(const struct ata_drive *drive)
{
    return image_bytes(drive->image) / SECTOR_SIZE;
}

static uint16_t cylinders(const struct ata_drive *drive, unsigned heads, unsigned track_size)
{
    uint64_t count = disk_sectors(drive) / (heads * track_size);
    return count < 16383 ? (uint16_t)count : 16383;
}

/* -- Addresses -- */

/* Puts an address into the registers in the form the command used. */
static void report_address(struct ata_drive *drive, uint64_t lba)
{
    struct ata_disk *disk = &drive->disk;
    if (!(drive->device & ATA_DEVICE_LBA)) {
        unsigned track = (unsigned)(lba / disk->track_size);
        *ata_reg(drive, ATA_LBA_LOW) = (uint8_t)(lba % disk->track_size + 1);
        *ata_reg(drive, ATA_LBA_MID) = (uint8_t)(track / disk->heads);
        *ata_reg(drive, ATA_LBA_HIGH) = (uint8_t)(track / disk->heads >> 8);
        drive->device = (uint8_t)((drive->device & 0xf0) | track % disk->heads);
        return;
    }
    *ata_reg(drive, ATA_LBA_LOW) = (uint8_t)lba;
    *ata_reg(drive, ATA_LBA_MID) = (uint8_t)(lba >> 8);
    *ata_reg(drive, ATA_LBA_HIGH) = (uint8_t)(lba >> 16);
    if (disk->extended) {
        drive->previous[ATA_LBA_LOW] = (uint8_t)(lba >> 24);
        drive->previous[ATA_LBA_MID] = (uint8_t)(lba >> 32);
        drive->previous[ATA_LBA_HIGH] = (uint8_t)(lba >> 40);
    } else {
        drive->device = (uint8_t)((drive->device & 0xf0) | (lba >> 24 & 0x0f));
    }
}

/* The address in the registers; false if there is no such cylinder, head or sector. */
static bool requested_address(const struct ata_drive *drive, uint64_t *lba)
{
    const struct ata_disk *disk = &drive->disk;
    const uint8_t *now = drive->current, *before = drive->previous;
    if (drive->device & ATA_DEVICE_LBA) {
        *lba =
            now[ATA_LBA_LOW] | (uint64_t)now[ATA_LBA_MID] << 8 | (uint64_t)now[ATA_LBA_HIGH] << 16;
        if (disk->extended)
            *lba |= (uint64_t)before[ATA_LBA_LOW] << 24 | (uint64_t)before[ATA_LBA_MID] << 32 |
                    (uint64_t)before[ATA_LBA_HIGH] << 40;
        else
            *lba |= (uint64_t)(drive->device & 0x0f) << 24;
        return true;
    }
    unsigned head = drive->device & 0x0f, sector = now[ATA_LBA_LOW];
    unsigned cylinder = now[ATA_LBA_MID] | (unsigned)now[ATA_LBA_HIGH] << 8;
    if (disk->extended || head >= disk->heads || sector == 0 || sector > disk->track_size)
        return false;
    *lba = ((uint64_t)cylinder * disk->heads + head) * disk->track_size + sector - 1;
    return true;
}

static uint32_t requested_count(const struct ata_drive *drive)
{
    uint32_t count = drive->current[ATA_SECTOR_COUNT];
    if (drive->disk.extended) {
        count |= (uint32_t)drive->previous[ATA_SECTOR_COUNT] << 8;
        return count ? count : 65536;
    }
    return count ? count : 256;
}

/* Takes address and count from the registers; fails the command if they leave the disk. */
static bool begin_access(struct ata_drive *drive, unsigned flags)
{
    struct ata_disk *disk = &drive->disk;
    disk->extended = flags & EXT;
    disk->force_unit = flags & FUA;
    disk->block_sectors = 1;
    if (flags & MULTIPLE) {
        if (!disk->multiple) {
            ata_fail(drive, ATA_ERROR_ABRT);
            return false;
        }
        disk->block_sectors = disk->multiple;
    }
    uint64_t total = disk_sectors(drive);
    disk->sectors_left = requested_count(drive);
    if (!requested_address(drive, &disk->lba) || disk->lba >= total ||
        disk->sectors_left > total - disk->lba) {
        ata_fail(drive, ATA_ERROR_IDNF);
        return false;
    }
    disk->power = POWER_ACTIVE;
    return true;
}

/* -- Reads and writes -- */

static uint32_t next_chunk(const struct ata_drive *drive)
{
    uint32_t left = drive->disk.sectors_left;
    return left < ATA_BUFFER_SECTORS ? left : ATA_BUFFER_SECTORS;
}

/* Opens the DRQ block that begins at `position`. */
static void open_block(struct ata_drive *drive, uint32_t position)
{
    uint32_t end = position + drive->disk.block_sectors * SECTOR_SIZE;
    ata_open_pio(drive, position, end < drive->buffer_length ? end : drive->buffer_length);
}

static void fetch_chunk(struct ata_drive *drive)
{
    ata_start_job(drive, ATA_JOB_READ, drive->disk.lba * SECTOR_SIZE,
                  (size_t)next_chunk(drive) * SECTOR_SIZE);
}

/* Asks the guest for the data of the next chunk. */
static void request_chunk(struct ata_drive *drive)
{
    drive->buffer_length = next_chunk(drive) * SECTOR_SIZE;
    if (drive->transfer == ATA_DMA_OUT)
        ata_request_dma(drive, drive->buffer_length);
    else
        open_block(drive, 0);
}

static void store_chunk(struct ata_drive *drive)
{
    bool durable = drive->disk.force_unit || !drive->disk.write_cache;
    ata_start_job(drive, durable ? ATA_JOB_WRITE_FLUSH : ATA_JOB_WRITE,
                  drive->disk.lba * SECTOR_SIZE, drive->buffer_length);
}

static void run_read(struct ata_drive *drive, unsigned flags)
{
    if (!begin_access(drive, flags))
        return;
    drive->transfer = flags & DMA ? ATA_DMA_IN : ATA_PIO_IN;
    fetch_chunk(drive);
}

static void run_write(struct ata_drive *drive, unsigned flags)
{
    if (image_read_only(drive->image)) {
        log_guest("ata: the guest writes to the read-only disk %s", drive->serial);
        ata_fail(drive, ATA_ERROR_ABRT);
        return;
    }
    if (!begin_access(drive, flags))
        return;
    drive->transfer = flags & DMA ? ATA_DMA_OUT : ATA_PIO_OUT;
    request_chunk(drive); /* the first block has no interrupt */
}

/* Moves the cursor over the chunk that was read or written. */
static void pass_chunk(struct ata_drive *drive, size_t bytes)
{
    drive->disk.lba += bytes / SECTOR_SIZE;
    drive->disk.sectors_left -= (uint32_t)(bytes / SECTOR_SIZE);
}

static void disk_job_done(struct ata_drive *drive, int status)
{
    if (status) {
        log_guest("ata: disk %s: %s", drive->serial, strerror(status));
        if (drive->transfer != ATA_IDLE)
            report_address(drive, drive->disk.lba);
        ata_fail(drive, drive->job.kind == ATA_JOB_READ ? ATA_ERROR_UNC : ATA_ERROR_ABRT);
        return;
    }
    switch (drive->transfer) {
    case ATA_PIO_IN:
    case ATA_DMA_IN:
        pass_chunk(drive, drive->job.length);
        drive->buffer_length = (uint32_t)drive->job.length;
        if (drive->transfer == ATA_DMA_IN) {
            ata_request_dma(drive, drive->buffer_length);
        } else {
            open_block(drive, 0);
            ata_set_irq(drive, true);
        }
        break;
    case ATA_PIO_OUT:
    case ATA_DMA_OUT:
        pass_chunk(drive, drive->job.length);
        if (drive->disk.sectors_left == 0) {
            report_address(drive, drive->disk.lba - 1);
            ata_complete(drive);
        } else {
            bool pio = drive->transfer == ATA_PIO_OUT;
            request_chunk(drive);
            if (pio)
                ata_set_irq(drive, true);
        }
        break;
    default: /* a flush */
        ata_complete(drive);
    }
}

static void disk_data_done(struct ata_drive *drive)
{
    switch (drive->transfer) {
    case ATA_PIO_IN:
        if (drive->pio_end < drive->buffer_length) {
            open_block(drive, drive->pio_end);
            ata_set_irq(drive, true);
        } else if (drive->disk.sectors_left) {
            fetch_chunk(drive);
        } else {
            ata_complete_quietly(drive); /* the last block's interrupt was its own */
        }
        break;
    case ATA_DMA_IN:
        if (drive->disk.sectors_left) {
            fetch_chunk(drive);
        } else {
            report_address(drive, drive->disk.lba - 1);
            ata_complete(drive);
        }
        break;
    case ATA_PIO_OUT:
        if (drive->pio_end < drive->buffer_length) {
            open_block(drive, drive->pio_end);
            ata_set_irq(drive, true);
        } else {
            store_chunk(drive);
        }
        break;
    case ATA_DMA_OUT:
        store_chunk(drive);
        break;
    }
}

/* The range is checked, the medium is not read: an image that cannot be read says so when it is. */
static void run_verify(struct ata_drive *drive, unsigned flags)
{
    if (!begin_access(drive, flags))
        return;
    report_address(drive, drive->disk.lba + drive->disk.sectors_left - 1);
    ata_complete(drive);
}

static void run_seek(struct ata_drive *drive, unsigned flags)
{
    uint64_t lba;
    drive->disk.extended = false;
    if (requested_address(drive, &lba) && lba < disk_sectors(drive))
        ata_complete(drive);
    else
        ata_fail(drive, ATA_ERROR_IDNF);
}

static void run_flush(struct ata_drive *drive, unsigned flags)
{
    ata_start_job(drive, ATA_JOB_FLUSH, 0, 0);
}

/* -- What the drive says about itself -- */

/* Sends 512 bytes that were put into the buffer. */
static void send_sector(struct ata_drive *drive)
{
    drive->transfer = ATA_PIO_IN;
    drive->buffer_length = SECTOR_SIZE;
    drive->disk.sectors_left = 0;
    drive->disk.block_sectors = 1;
    open_block(drive, 0);
    ata_set_irq(drive, true);
}

/* The byte that makes all 512 add up to zero. */
static void add_checksum(uint8_t *sector)
{
    uint8_t sum = 0;
    for (int i = 0; i < 511; i++)
        sum = (uint8_t)(sum + sector[i]);
    sector[511] = (uint8_t)-sum;
}

static void put_word_pair(uint8_t *words, unsigned index, uint32_t value)
{
    ata_identify_word(words, index, (uint16_t)value);
    ata_identify_word(words, index + 1, (uint16_t)(value >> 16));
}

static void run_identify(struct ata_drive *drive, unsigned flags)
{
    const struct ata_disk *disk = &drive->disk;
    uint64_t sectors = disk_sectors(drive);
    uint16_t now_cylinders = cylinders(drive, disk->heads, disk->track_size);
    uint8_t *id = drive->buffer;
    /* Words 85 and 82: NOP, look-ahead, write cache, power management, SMART. */
    uint16_t enabled =
        (uint16_t)(0x4008 | disk->look_ahead << 6 | disk->write_cache << 5 | disk->smart);
    const struct {
        uint8_t index;
        uint16_t value;
    } words[] = {
        {0, 0x0040}, /* not removable */
        {1, cylinders(drive, DEFAULT_HEADS, DEFAULT_TRACK_SIZE)},
        {3, DEFAULT_HEADS},
        {6, DEFAULT_TRACK_SIZE},
        {20, 3}, /* dual-ported cache with look-ahead */
        {21, ATA_BUFFER_SECTORS},
        {47, 0x8000 | MULTIPLE_MAX},
        {48, 1},      /* the data port takes doublewords */
        {49, 0x0f00}, /* IORDY, LBA, DMA */
        {50, 0x4000},
        {51, 0x0200}, /* PIO 2 before IORDY is known */
        {53, 0x0007}, /* words 54-58, 64-70 and 88 are valid */
        {54, now_cylinders},
        {55, disk->heads},
        {56, disk->track_size},
        {59, disk->multiple ? 0x0100 | disk->multiple : 0},
        {63, ata_identify_mwdma(drive)},
        {64, 0x0003}, /* PIO 3 and 4 */
        {65, 120},    /* cycle times, ns */
        {66, 120},
        {67, 120},
        {68, 120},
        {80, 0x00fe}, /* ATA-1 to ATA/ATAPI-7 */
        {82, 0x4069},
        {83, 0x7400}, /* FLUSH CACHE (EXT), 48-bit addresses */
        {84, 0x4061}, /* WRITE FUA EXT, general purpose logs, SMART error log */
        {85, enabled},
        {86, 0x3400},
        {87, 0x4061},
        {88, ata_identify_udma(drive)},
    };

    memset(id, 0, SECTOR_SIZE);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        ata_identify_word(id, words[i].index, words[i].value);
    ata_identify_interface(drive, id);
    ata_identify_text(id, 10, 10, drive->serial);
    ata_identify_text(id, 23, 4, "1.0");
    ata_identify_text(id, 27, 20, "DOPPEL HARDDISK");
    put_word_pair(id, 57, (uint32_t)now_cylinders * disk->heads * disk->track_size);
    put_word_pair(id, 60, sectors < LBA28_MAX ? (uint32_t)sectors : LBA28_MAX);
    put_word_pair(id, 100, (uint32_t)sectors);
    put_word_pair(id, 102, (uint32_t)(sectors >> 32));
    id[510] = 0xa5;
    add_checksum(id);
    send_sector(drive);
}

static void run_native_max(struct ata_drive *drive, unsigned flags)
{
    uint64_t last = disk_sectors(drive) - 1;
    drive->disk.extended = flags & EXT;
    if (!(drive->device & ATA_DEVICE_LBA)) {
        ata_fail(drive, ATA_ERROR_ABRT);
        return;
    }
    report_address(drive, !(flags & EXT) && last > LBA28_MAX ? LBA28_MAX : last);
    ata_complete(drive);
}

/* -- SMART (6.55) and logs -- */

/* A virtual medium neither wears out nor loses bits: counts of trouble are zero and stay so. */
static const struct smart_attribute {
    uint8_t id;
    uint16_t flags; /* bit 0: its failing tells of failure soon; 1: kept up to date online */
    uint8_t value, threshold;
} smart_attributes[] = {
    {5, 0x0033, 100, 36},  /* reallocated sectors */
    {197, 0x0032, 100, 0}, /* sectors that wait for reallocation */
    {198, 0x0030, 100, 0}, /* uncorrectable sectors */
    {199, 0x003e, 200, 0}, /* transfer errors */
};
#define SMART_ATTRIBUTES (sizeof smart_attributes / sizeof *smart_attributes)

static void send_smart_data(struct ata_drive *drive)
{
    uint8_t *data = drive->buffer;
    memset(data, 0, SECTOR_SIZE);
    data[0] = 0x10; /* revision of the structure */
    for (size_t i = 0; i < SMART_ATTRIBUTES; i++) {
        uint8_t *entry = data + 2 + 12 * i;
        entry[0] = smart_attributes[i].id;
        entry[1] = (uint8_t)smart_attributes[i].flags;
        entry[2] = (uint8_t)(smart_attributes[i].flags >> 8);
        entry[3] = entry[4] = smart_attributes[i].value; /* now and worst */
    }
    data[368] = 0x02; /* attributes are saved when power management says so */
    data[370] = 0x01; /* error logging, no self-tests */
    add_checksum(data);
    send_sector(drive);
}

static void send_smart_thresholds(struct ata_drive *drive)
{
    uint8_t *data = drive->buffer;
    memset(data, 0, SECTOR_SIZE);
    data[0] = 0x10;
    for (size_t i = 0; i < SMART_ATTRIBUTES; i++) {
        data[2 + 12 * i] = smart_attributes[i].id;
        data[3 + 12 * i] = smart_attributes[i].threshold;
    }
    add_checksum(data);
    send_sector(drive);
}

/* Logs: their address, and how READ LOG EXT and SMART READ LOG fill a sector of them. */
enum { LOG_DIRECTORY = 0x00, LOG_SMART_ERRORS = 0x01, LOG_QUEUE_ERROR = 0x10 };

static bool fill_log(struct ata_drive *drive, uint8_t log, bool general_purpose)
{
    uint8_t *data = drive->buffer;
    const struct ata_queue_error *failed = &drive->disk.queue_error;
    bool queues = drive->channel->serial_ata;
    memset(data, 0, SECTOR_SIZE);
    switch (log) {
    case LOG_DIRECTORY: /* word n: sectors of log n */
        data[0] = 1;    /* version */
        data[2 * LOG_SMART_ERRORS] = !general_purpose;
        data[2 * LOG_QUEUE_ERROR] = general_purpose && queues;
        return true;
    case LOG_SMART_ERRORS: /* no entries */
        data[0] = 1;
        add_checksum(data);
        return !general_purpose;
    case LOG_QUEUE_ERROR: /* SATA 3.1, 13.6.4.1; reading it ends the drive's error state */
        if (!general_purpose || !queues)
            return false;
        data[0] = failed->valid ? failed->tag : 0x80;
        data[2] = failed->status;
        data[3] = failed->error;
        for (int i = 0; i < 3; i++) {
            data[4 + i] = (uint8_t)(failed->lba >> (8 * i));
            data[8 + i] = (uint8_t)(failed->lba >> (24 + 8 * i));
        }
        data[7] = ATA_DEVICE_LBA;
        data[12] = (uint8_t)failed->sectors;
        data[13] = (uint8_t)(failed->sectors >> 8);
        add_checksum(data);
        drive->disk.queue_error.valid = false;
        return true;
    default:
        return false;
    }
}

static void run_read_log(struct ata_drive *drive, unsigned flags)
{
    uint32_t page = *ata_reg(drive, ATA_LBA_MID) | (uint32_t)drive->previous[ATA_LBA_MID] << 8;
    uint32_t count = *ata_reg(drive, ATA_SECTOR_COUNT) | (uint32_t)drive->previous[ATA_SECTOR_COUNT]
                                                             << 8;
    if (page == 0 && count == 1 && fill_log(drive, *ata_reg(drive, ATA_LBA_LOW), true))
        send_sector(drive);
    else
        ata_fail(drive, ATA_ERROR_ABRT);
}

static void run_smart(struct ata_drive *drive, unsigned flags)
{
    enum {
        READ_DATA = 0xd0,
        READ_THRESHOLDS = 0xd1,
        AUTOSAVE = 0xd2,
        SAVE_ATTRIBUTES = 0xd3,
        READ_LOG = 0xd5,
        ENABLE = 0xd8,
        DISABLE = 0xd9,
        RETURN_STATUS = 0xda,
    };
    uint8_t action = *ata_reg(drive, ATA_FEATURES);
    if (*ata_reg(drive, ATA_LBA_MID) != 0x4f || *ata_reg(drive, ATA_LBA_HIGH) != 0xc2 ||
        (!drive->disk.smart && action != ENABLE)) {
        ata_fail(drive, ATA_ERROR_ABRT);
        return;
    }
    switch (action) {
    case READ_DATA:
        send_smart_data(drive);
        return;
    case READ_THRESHOLDS:
        send_smart_thresholds(drive);
        return;
    case READ_LOG:
        if (*ata_reg(drive, ATA_SECTOR_COUNT) != 1 ||
            !fill_log(drive, *ata_reg(drive, ATA_LBA_LOW), false))
            break;
        send_sector(drive);
        return;
    case ENABLE:
    case DISABLE:
        drive->disk.smart = action == ENABLE;
        ata_complete(drive);
        return;
    case AUTOSAVE: /* the attributes are constants: always saved */
    case SAVE_ATTRIBUTES:
    case RETURN_STATUS: /* 4Fh and C2h stay in the registers: no threshold passed */
        ata_complete(drive);
        return;
    }
    ata_fail(drive, ATA_ERROR_ABRT);
}

/* -- Settings -- */

static void run_set_features(struct ata_drive *drive, unsigned flags)
{
    struct ata_disk *disk = &drive->disk;
    bool ok = true;
    switch (*ata_reg(drive, ATA_FEATURES)) {
    case 0x02:
        disk->write_cache = true;
        break;
    case 0x82:
        disk->write_cache = false;
        ata_start_job(drive, ATA_JOB_FLUSH, 0, 0); /* what was cached must be safe from now on */
        return;
    case 0x03:
        ok = ata_set_transfer_mode(drive, *ata_reg(drive, ATA_SECTOR_COUNT));
        break;
    case 0x55:
        disk->look_ahead = false;
        break;
    case 0xaa:
        disk->look_ahead = true;
        break;
    case 0x66: /* keep settings over a soft reset: they always are */
        break;
    default:
        ok = false;
    }
    if (ok)
        ata_complete(drive);
    else
        ata_fail(drive, ATA_ERROR_ABRT);
}

static void run_set_multiple(struct ata_drive *drive, unsigned flags)
{
    uint8_t count = *ata_reg(drive, ATA_SECTOR_COUNT);
    if (count > MULTIPLE_MAX || (count & (count - 1))) {
        drive->disk.multiple = 0;
        ata_fail(drive, ATA_ERROR_ABRT);
        return;
    }
    drive->disk.multiple = count;
    ata_complete(drive);
}

static void run_initialize_parameters(struct ata_drive *drive, unsigned flags)
{
    uint8_t track_size = *ata_reg(drive, ATA_SECTOR_COUNT);
    if (track_size == 0) {
        ata_fail(drive, ATA_ERROR_ABRT);
        return;
    }
    drive->disk.track_size = track_size;
    drive->disk.heads = (drive->device & 0x0f) + 1;
    ata_complete(drive);
}

static void run_recalibrate(struct ata_drive *drive, unsigned flags)
{
    *ata_reg(drive, ATA_LBA_MID) = *ata_reg(drive, ATA_LBA_HIGH) = 0;
    ata_complete(drive);
}

static void run_standby(struct ata_drive *drive, unsigned flags)
{
    drive->disk.power = POWER_STANDBY;
    ata_start_job(drive, ATA_JOB_FLUSH, 0, 0);
}

static void run_idle(struct ata_drive *drive, unsigned flags)
{
    drive->disk.power = POWER_IDLE;
    ata_complete(drive);
}

static void run_sleep(struct ata_drive *drive, unsigned flags)
{
    drive->disk.power = POWER_STANDBY;
    ata_complete(drive);
    drive->disk.asleep = true;
}

static void run_check_power(struct ata_drive *drive, unsigned flags)
{
    *ata_reg(drive, ATA_SECTOR_COUNT) = drive->disk.power;
    ata_complete(drive);
}

static void run_nop(struct ata_drive *drive, unsigned flags)
{
    ata_fail(drive, ATA_ERROR_ABRT); /* always, by definition (6.27) */
}

static const struct disk_command disk_commands[256] = {
    [0x00] = {run_nop, 0},
    [0x10 ... 0x1f] = {run_recalibrate, 0},
    [0x20] = {run_read, 0},
    [0x21] = {run_read, 0},
    [0x24] = {run_read, EXT},
    [0x25] = {run_read, EXT | DMA},
    [0x27] = {run_native_max, EXT},
    [0x29] = {run_read, EXT | MULTIPLE},
    [0x2f] = {run_read_log, EXT},
    [0x30] = {run_write, 0},
    [0x31] = {run_write, 0},
    [0x34] = {run_write, EXT},
    [0x35] = {run_write, EXT | DMA},
    [0x39] = {run_write, EXT | MULTIPLE},
    [0x3d] = {run_write, EXT | DMA | FUA},
    [0x40] = {run_verify, 0},
    [0x41] = {run_verify, 0},
    [0x42] = {run_verify, EXT},
    [0x70 ... 0x7f] = {run_seek, 0},
    [0x91] = {run_initialize_parameters, 0},
    [0x94] = {run_standby, 0},
    [0x95] = {run_idle, 0},
    [0x96] = {run_standby, 0},
    [0x97] = {run_idle, 0},
    [0x98] = {run_check_power, 0},
    [0x99] = {run_sleep, 0},
    [0xb0] = {run_smart, 0},
    [0xc4] = {run_read, MULTIPLE},
    [0xc5] = {run_write, MULTIPLE},
    [0xc6] = {run_set_multiple, 0},
    [0xc8] = {run_read, DMA},
    [0xc9] = {run_read, DMA},
    [0xca] = {run_write, DMA},
    [0xcb] = {run_write, DMA},
    [0xce] = {run_write, EXT | MULTIPLE | FUA},
    [0xe0] = {run_standby, 0},
    [0xe1] = {run_idle, 0},
    [0xe2] = {run_standby, 0},
    [0xe3] = {run_idle, 0},
    [0xe5] = {run_check_power, 0},
    [0xe6] = {run_sleep, 0},
    [0xe7] = {run_flush, 0},
    [0xea] = {run_flush, EXT},
    [0xec] = {run_identify, 0},
    [0xef] = {run_set_features, 0},
    [0xf8] = {run_native_max, 0},
};

static void disk_command(struct ata_drive *drive)
{
    const struct disk_command *command = &disk_commands[drive->command];
    if (command->run)
        command->run(drive, command->flags);
    else
        ata_fail(drive, ATA_ERROR_ABRT);
}

static void disk_power_on(struct ata_drive *drive)
{
    drive->disk = (struct ata_disk){
        .heads = DEFAULT_HEADS,
        .track_size = DEFAULT_TRACK_SIZE,
        .multiple = MULTIPLE_MAX,
        .block_sectors = 1,
        .power = POWER_ACTIVE,
        .write_cache = true,
        .look_ahead = true,
        .smart = true,
    };
}

const struct ata_drive_ops ata_disk_ops = {
    .kind = ATA_DISK,
    .reset_status = ATA_STATUS_DRDY | ATA_STATUS_DSC,
    .command = disk_command,
    .data_done = disk_data_done,
    .job_done = disk_job_done,
    .power_on = disk_power_on,
};
