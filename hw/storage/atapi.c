/*
 * ATAPI CD-ROM drive: PACKET commands over an ATA channel, one data track of 2048-byte blocks.
 *
 * Specifications: ATA/ATAPI-7 volume 2 (PACKET protocol), MMC-4 (T10/1545D; commands: section 6,
 * features: 5), SPC-3 for INQUIRY and sense data, SFF-8020i for MODE SENSE page 2Ah.
 *
 * Larger media than a CD holds report themselves as a DVD-ROM.
 *
 * Not modelled: audio, raw 2352-byte sectors and subchannels, changers, writing, MODE SELECT.
 */
#include "hw/storage/ata.h"

#include <string.h>

#define BLOCK_SIZE    2048u
#define CHUNK_BLOCKS  (ATA_BUFFER_SIZE / BLOCK_SIZE)
#define CD_MAX_BLOCKS 449849u /* 99 min 59 s 74 frames less lead-in */
#define PREGAP_FRAMES 150     /* LBA 0 is at 00:02:00 */

/* Interrupt reason register (in place of SECTOR COUNT). */
#define REASON_COMMAND 1 /* CoD: a command packet, not data */
#define REASON_INPUT   2 /* IO: towards the host */

/* Sense keys and additional sense codes (SPC-3, 4.5.6 and annex D). */
enum { NOT_READY = 2, MEDIUM_ERROR = 3, ILLEGAL_REQUEST = 5, UNIT_ATTENTION = 6 };
enum {
    ASC_READ_ERROR = 0x11,
    ASC_INVALID_OPCODE = 0x20,
    ASC_OUT_OF_RANGE = 0x21,
    ASC_INVALID_FIELD = 0x24,
    ASC_MEDIUM_CHANGED = 0x28,
    ASC_POWER_ON = 0x29,
    ASC_NOT_SAVED = 0x39,
    ASC_NO_MEDIUM = 0x3a,
    ASC_REMOVAL_PREVENTED = 0x53,
    ASC_ILLEGAL_MODE = 0x64,
};

enum { EVENT_NONE = 0, EVENT_EJECT_REQUEST = 1, EVENT_NEW_MEDIUM = 2, EVENT_REMOVAL = 3 };

/* Flags of a command in the table below. */
#define NEEDS_MEDIUM     1
#define BEFORE_ATTENTION 2 /* runs although a unit attention waits */

struct packet_command {
    void (*run)(struct ata_drive *drive, const uint8_t *packet);
    unsigned flags;
};

static uint16_t get16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint32_t get32(const uint8_t *bytes)
{
    return (uint32_t)get16(bytes) << 16 | get16(bytes + 2);
}

static void put16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static void put32(uint8_t *bytes, uint32_t value)
{
    put16(bytes, value >> 16);
    put16(bytes + 2, value);
}

static bool has_medium(const struct ata_drive *drive)
{
    return drive->image && !drive->atapi.tray_open;
}

static uint32_t medium_blocks(const struct ata_drive *drive)
{
    uint64_t blocks = has_medium(drive) ? image_bytes(drive->image) / BLOCK_SIZE : 0;
    return blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
}

static bool is_dvd(const struct ata_drive *drive)
{
    return medium_blocks(drive) > CD_MAX_BLOCKS;
}

/* -- Ends of a command -- */

static void good(struct ata_drive *drive)
{
    drive->atapi.sense_key = drive->atapi.asc = drive->atapi.ascq = 0;
    *ata_reg(drive, ATA_SECTOR_COUNT) = REASON_COMMAND | REASON_INPUT;
    ata_complete(drive);
}

static void check_condition(struct ata_drive *drive, uint8_t key, uint8_t asc, uint8_t ascq)
{
    drive->atapi.sense_key = key;
    drive->atapi.asc = asc;
    drive->atapi.ascq = ascq;
    *ata_reg(drive, ATA_SECTOR_COUNT) = REASON_COMMAND | REASON_INPUT;
    ata_fail(drive, (uint8_t)(key << 4 | ATA_ERROR_ABRT));
}

static void invalid_field(struct ata_drive *drive)
{
    check_condition(drive, ILLEGAL_REQUEST, ASC_INVALID_FIELD, 0);
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

/* Answers with what stands in the buffer, cut to what the guest has room for. */
static void reply(struct ata_drive *drive, uint32_t length, uint32_t allocation)
{
    if (length > allocation)
        length = allocation;
    drive->atapi.blocks_left = 0;
    if (length)
        send_buffer(drive, length);
    else
        good(drive);
}

static void fetch_blocks(struct ata_drive *drive)
{
    uint32_t count = drive->atapi.blocks_left;
    if (!has_medium(drive)) { /* taken out between two parts */
        check_condition(drive, NOT_READY, ASC_NO_MEDIUM, 1);
        return;
    }
    if (count > CHUNK_BLOCKS)
        count = CHUNK_BLOCKS;
    ata_start_job(drive, ATA_JOB_READ, (uint64_t)drive->atapi.block * BLOCK_SIZE,
                  (size_t)count * BLOCK_SIZE);
}

static void read_blocks(struct ata_drive *drive, uint32_t block, uint32_t count)
{
    uint32_t total = medium_blocks(drive);
    if (block > total || count > total - block) {
        check_condition(drive, ILLEGAL_REQUEST, ASC_OUT_OF_RANGE, 0);
        return;
    }
    drive->atapi.block = block;
    drive->atapi.blocks_left = count;
    if (count)
        fetch_blocks(drive);
    else
        good(drive);
}

static void atapi_job_done(struct ata_drive *drive, int status)
{
    if (status) {
        log_guest("atapi: %s: %s", drive->serial, strerror(status));
        check_condition(drive, MEDIUM_ERROR, ASC_READ_ERROR, 0);
        return;
    }
    uint32_t blocks = (uint32_t)(drive->job.length / BLOCK_SIZE);
    drive->atapi.block += blocks;
    drive->atapi.blocks_left -= blocks;
    send_buffer(drive, (uint32_t)drive->job.length);
}

/* -- Commands about the drive -- */

static void run_test_unit_ready(struct ata_drive *drive, const uint8_t *packet)
{
    good(drive);
}

static void run_request_sense(struct ata_drive *drive, const uint8_t *packet)
{
    struct atapi *atapi = &drive->atapi;
    uint8_t *data = drive->buffer;
    if (!atapi->sense_key && atapi->attention) {
        atapi->sense_key = UNIT_ATTENTION;
        atapi->asc = atapi->attention_asc;
        atapi->attention = false;
    }
    memset(data, 0, 18);
    data[0] = 0x70; /* current error, fixed format */
    data[2] = atapi->sense_key;
    data[7] = 10; /* bytes that follow */
    data[12] = atapi->asc;
    data[13] = atapi->ascq;
    reply(drive, 18, packet[4]);
}

static void run_inquiry(struct ata_drive *drive, const uint8_t *packet)
{
    static const uint8_t answer[36] = "\x05\x80\x00\x21\x1f\x00\x00\x00"
                                      "DOPPEL  CD-ROM          1.0 ";
    if (packet[1] & 1) { /* vital product data: none */
        invalid_field(drive);
        return;
    }
    memcpy(drive->buffer, answer, sizeof answer);
    reply(drive, sizeof answer, get16(packet + 3));
}

static void run_start_stop(struct ata_drive *drive, const uint8_t *packet)
{
    enum { START = 1, LOAD_EJECT = 2, POWER_CONDITION = 0xf0 };
    struct atapi *atapi = &drive->atapi;
    if (!(packet[4] & POWER_CONDITION) && (packet[4] & LOAD_EJECT)) {
        bool open = !(packet[4] & START);
        if (open && atapi->locked) {
            check_condition(drive, ILLEGAL_REQUEST, ASC_REMOVAL_PREVENTED, 2);
            return;
        }
        if (open != atapi->tray_open && drive->image) {
            atapi->pending_event = open ? EVENT_REMOVAL : EVENT_NEW_MEDIUM;
            atapi->attention = !open;
            atapi->attention_asc = ASC_MEDIUM_CHANGED;
        }
        atapi->tray_open = open;
    }
    good(drive);
}

static void run_prevent_allow(struct ata_drive *drive, const uint8_t *packet)
{
    drive->atapi.locked = packet[4] & 1;
    good(drive);
}

static void run_mechanism_status(struct ata_drive *drive, const uint8_t *packet)
{
    memset(drive->buffer, 0, 8);
    drive->buffer[1] = drive->atapi.tray_open ? 0x10 : 0;
    drive->buffer[5] = 1; /* slots */
    reply(drive, 8, get16(packet + 8));
}

static void run_event_status(struct ata_drive *drive, const uint8_t *packet)
{
    enum { POLLED = 1, MEDIA_CLASS = 4 };
    uint8_t *data = drive->buffer;
    uint32_t length = 4;
    if (!(packet[1] & POLLED)) {
        invalid_field(drive);
        return;
    }
    memset(data, 0, 8);
    data[3] = 1 << MEDIA_CLASS; /* classes we have */
    if (packet[4] & 1 << MEDIA_CLASS) {
        data[2] = MEDIA_CLASS;
        data[4] = drive->atapi.pending_event;
        data[5] = (uint8_t)(drive->atapi.tray_open | has_medium(drive) << 1);
        drive->atapi.pending_event = EVENT_NONE;
        length = 8;
    } else {
        data[2] = 0x80; /* no event available */
    }
    put16(data, length - 2);
    reply(drive, length, get16(packet + 7));
}

/* -- Mode pages -- */

static uint32_t error_recovery_page(const struct ata_drive *drive, uint8_t *page)
{
    page[0] = 0x01;
    page[1] = 6;
    page[3] = 5; /* read retries */
    return 8;
}

/* CD/DVD capabilities and mechanical status. */
static uint32_t capabilities_page(const struct ata_drive *drive, uint8_t *page)
{
    page[0] = 0x2a;
    page[1] = 18;
    page[2] = 0x0b;                                       /* reads CD-R, CD-RW, DVD-ROM */
    page[4] = 0x70;                                       /* mode 2 forms 1 and 2, multisession */
    page[6] = (uint8_t)(0x29 | drive->atapi.locked << 1); /* tray; can lock and eject */
    put16(page + 8, 5632);                                /* 32 times 176 kB/s */
    put16(page + 12, ATA_BUFFER_SIZE / 1024);
    put16(page + 14, 5632);
    return 20;
}

static const struct {
    uint8_t code;
    uint32_t (*fill)(const struct ata_drive *drive, uint8_t *page);
} mode_pages[] = {
    {0x01, error_recovery_page},
    {0x2a, capabilities_page},
};

static void mode_sense(struct ata_drive *drive, const uint8_t *packet, uint32_t header,
                       uint32_t allocation)
{
    enum { ALL_PAGES = 0x3f, SAVED_VALUES = 3 };
    uint8_t *data = drive->buffer;
    uint8_t code = packet[2] & 0x3f;
    uint32_t length = header;
    if (packet[2] >> 6 == SAVED_VALUES) {
        check_condition(drive, ILLEGAL_REQUEST, ASC_NOT_SAVED, 0);
        return;
    }
    memset(data, 0, 256);
    for (size_t i = 0; i < sizeof mode_pages / sizeof *mode_pages; i++)
        if (code == mode_pages[i].code || code == ALL_PAGES)
            length += mode_pages[i].fill(drive, data + length);
    if (length == header) {
        invalid_field(drive);
        return;
    }
    uint8_t medium = drive->atapi.tray_open ? 0x71 : has_medium(drive) ? 0x01 : 0x70;
    if (header == 4) {
        data[0] = (uint8_t)(length - 1);
        data[1] = medium;
    } else {
        put16(data, length - 2);
        data[2] = medium;
    }
    reply(drive, length, allocation);
}

static void run_mode_sense6(struct ata_drive *drive, const uint8_t *packet)
{
    mode_sense(drive, packet, 4, packet[4]);
}

static void run_mode_sense10(struct ata_drive *drive, const uint8_t *packet)
{
    mode_sense(drive, packet, 8, get16(packet + 7));
}

/* -- Features and profiles (MMC-4, 5.2 and 5.3) -- */

enum { PROFILE_CD_ROM = 0x0008, PROFILE_DVD_ROM = 0x0010 };
enum { ALWAYS, WITH_MEDIUM, WITH_CD, WITH_DVD };

static const struct {
    uint16_t code;
    uint8_t version, persistent, current;
    uint8_t length;
    uint8_t data[8];
} features[] = {
    {0x0000, 0, 1, ALWAYS, 8, {0, PROFILE_DVD_ROM, 0, 0, 0, PROFILE_CD_ROM, 0, 0}},
    {0x0001, 1, 1, ALWAYS, 8, {0, 0, 0, 2, 0, 0, 0, 0}},         /* core: ATAPI */
    {0x0002, 1, 1, ALWAYS, 4, {0x02, 0, 0, 0}},                  /* morphing: events are polled */
    {0x0003, 0, 1, ALWAYS, 4, {0x29, 0, 0, 0}},                  /* removable: tray, eject, lock */
    {0x0010, 0, 0, WITH_MEDIUM, 8, {0, 0, 0x08, 0, 0, 1, 1, 0}}, /* random readable */
    {0x001e, 2, 0, WITH_CD, 4, {0, 0, 0, 0}},
    {0x001f, 0, 0, WITH_DVD, 0, {0}},
    {0x0100, 0, 1, ALWAYS, 0, {0}}, /* power management */
};

static bool feature_current(const struct ata_drive *drive, uint8_t when)
{
    return when == ALWAYS ||
           (has_medium(drive) && (when == WITH_MEDIUM || (when == WITH_DVD) == is_dvd(drive)));
}

static void run_get_configuration(struct ata_drive *drive, const uint8_t *packet)
{
    enum { ALL = 0, CURRENT = 1, ONE = 2 };
    uint8_t *data = drive->buffer;
    uint8_t kind = packet[1] & 3;
    uint16_t start = get16(packet + 2);
    uint16_t profile = !has_medium(drive) ? 0 : is_dvd(drive) ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
    uint32_t length = 8;
    if (kind > ONE) {
        invalid_field(drive);
        return;
    }
    memset(data, 0, 256);
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        bool current = feature_current(drive, features[i].current);
        if (kind == ONE ? features[i].code != start : features[i].code < start)
            continue;
        if (kind == CURRENT && !current)
            continue;
        uint8_t *entry = data + length;
        put16(entry, features[i].code);
        entry[2] = (uint8_t)(features[i].version << 2 | features[i].persistent << 1 | current);
        entry[3] = features[i].length;
        memcpy(entry + 4, features[i].data, features[i].length);
        if (features[i].code == 0) { /* which of the profiles is current */
            entry[4 + 2] = profile == PROFILE_DVD_ROM;
            entry[8 + 2] = profile == PROFILE_CD_ROM;
        }
        length += 4u + features[i].length;
    }
    put32(data, length - 4);
    put16(data + 6, profile);
    reply(drive, length, get16(packet + 7));
}

/* -- Commands about the medium -- */

static void run_read_capacity(struct ata_drive *drive, const uint8_t *packet)
{
    put32(drive->buffer, medium_blocks(drive) - 1);
    put32(drive->buffer + 4, BLOCK_SIZE);
    reply(drive, 8, 8);
}

static void run_read10(struct ata_drive *drive, const uint8_t *packet)
{
    read_blocks(drive, get32(packet + 2), get16(packet + 7));
}

static void run_read12(struct ata_drive *drive, const uint8_t *packet)
{
    read_blocks(drive, get32(packet + 2), get32(packet + 6));
}

static void run_read_cd(struct ata_drive *drive, const uint8_t *packet)
{
    enum { USER_DATA = 0x10, MODE_1 = 2 };
    unsigned type = packet[1] >> 2 & 7;
    if (type != 0 && type != MODE_1)
        check_condition(drive, ILLEGAL_REQUEST, ASC_ILLEGAL_MODE, 0);
    else if ((packet[9] != USER_DATA && packet[9] != 0) || (packet[10] & 7))
        invalid_field(drive);
    else
        read_blocks(drive, get32(packet + 2), packet[9] ? get32(packet + 5) & 0xffffff : 0);
}

static void run_seek(struct ata_drive *drive, const uint8_t *packet)
{
    if (get32(packet + 2) >= medium_blocks(drive))
        check_condition(drive, ILLEGAL_REQUEST, ASC_OUT_OF_RANGE, 0);
    else
        good(drive);
}

/* Address of a block: itself, or minute, second, frame. */
static void put_address(uint8_t *bytes, uint32_t block, bool msf)
{
    if (!msf) {
        put32(bytes, block);
        return;
    }
    uint32_t frame = block + PREGAP_FRAMES;
    bytes[0] = 0;
    bytes[1] = (uint8_t)(frame / (75 * 60));
    bytes[2] = (uint8_t)(frame / 75 % 60);
    bytes[3] = (uint8_t)(frame % 75);
}

enum { LEAD_OUT = 0xaa, DATA_TRACK = 0x14 /* ADR 1, control: data */ };

static uint32_t toc_tracks(struct ata_drive *drive, uint8_t first, bool msf)
{
    uint8_t *data = drive->buffer;
    uint32_t length = 4;
    data[2] = data[3] = 1; /* first and last track */
    for (int i = first <= 1 ? 0 : 1; i < 2; i++) {
        data[length + 1] = DATA_TRACK;
        data[length + 2] = i ? LEAD_OUT : 1;
        put_address(data + length + 4, i ? medium_blocks(drive) : 0, msf);
        length += 8;
    }
    return length;
}

static uint32_t toc_session(struct ata_drive *drive, bool msf)
{
    uint8_t *data = drive->buffer;
    data[2] = data[3] = 1; /* first and last session */
    data[5] = DATA_TRACK;
    data[6] = 1; /* first track of the last session */
    put_address(data + 8, 0, msf);
    return 12;
}

/* Full TOC: the Q subchannel of the lead-in; points A0h, A1h, A2h, then the track. */
static uint32_t toc_full(struct ata_drive *drive)
{
    static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 1};
    uint8_t *data = drive->buffer;
    uint32_t length = 4;
    data[2] = data[3] = 1; /* first and last session */
    for (size_t i = 0; i < sizeof points; i++) {
        uint8_t *entry = data + length;
        entry[0] = 1; /* session */
        entry[1] = DATA_TRACK;
        entry[3] = points[i];
        if (points[i] == 0xa0 || points[i] == 0xa1)
            entry[8] = 1; /* first, last track */
        else
            put_address(entry + 7, points[i] == 0xa2 ? medium_blocks(drive) : 0, true);
        length += 11;
    }
    return length;
}

static void run_read_toc(struct ata_drive *drive, const uint8_t *packet)
{
    bool msf = packet[1] & 2;
    uint8_t format = packet[2] & 0x0f, first = packet[6];
    uint32_t length = 0;
    if (format == 0)
        format = packet[9] >> 6; /* where SFF-8020i had it */
    memset(drive->buffer, 0, 64);
    if (format == 0 && (first <= 1 || first == LEAD_OUT))
        length = toc_tracks(drive, first, msf);
    if (format == 1)
        length = toc_session(drive, msf);
    if (format == 2 && first <= 1)
        length = toc_full(drive);
    if (!length) {
        invalid_field(drive);
        return;
    }
    put16(drive->buffer, length - 2);
    reply(drive, length, get16(packet + 7));
}

static void run_disc_information(struct ata_drive *drive, const uint8_t *packet)
{
    uint8_t *data = drive->buffer;
    if (packet[1] & 7) { /* other than standard information */
        invalid_field(drive);
        return;
    }
    memset(data, 0, 34);
    put16(data, 32);
    data[2] = 0x0e; /* last session and disc complete */
    data[3] = data[4] = data[5] = data[6] = 1;
    data[7] = 0x20;             /* unrestricted use */
    memset(data + 16, 0xff, 8); /* no further lead-in or lead-out can start */
    reply(drive, 34, get16(packet + 7));
}

static void run_subchannel(struct ata_drive *drive, const uint8_t *packet)
{
    enum { SUB_Q = 0x40, CURRENT_POSITION = 1, NO_AUDIO_STATUS = 0x15 };
    uint8_t *data = drive->buffer;
    uint32_t length = 4;
    memset(data, 0, 16);
    data[1] = NO_AUDIO_STATUS;
    if (packet[2] & SUB_Q) {
        if (packet[3] != CURRENT_POSITION) {
            invalid_field(drive);
            return;
        }
        length = 16;
        data[4] = CURRENT_POSITION;
        data[5] = DATA_TRACK;
        data[6] = data[7] = 1; /* track, index */
        put_address(data + 8, drive->atapi.block, packet[1] & 2);
        put_address(data + 12, drive->atapi.block, packet[1] & 2);
    }
    put16(data + 2, length - 4);
    reply(drive, length, get16(packet + 7));
}

static void run_dvd_structure(struct ata_drive *drive, const uint8_t *packet)
{
    enum { PHYSICAL = 0, COPYRIGHT = 1, FIRST_SECTOR = 0x30000 };
    uint8_t *data = drive->buffer;
    uint32_t length;
    memset(data, 0, 32);
    if (!is_dvd(drive) || packet[6] || packet[7] > COPYRIGHT) {
        invalid_field(drive);
        return;
    }
    if (packet[7] == PHYSICAL) {
        data[4] = 0x01; /* DVD-ROM, part version 1 */
        data[5] = 0x0f; /* 120 mm, no maximum rate */
        data[6] = 0x01; /* one layer, read only */
        put32(data + 8, FIRST_SECTOR);
        put32(data + 12, FIRST_SECTOR + medium_blocks(drive) - 1);
        length = 4 + 17;
    } else {
        length = 4 + 4; /* no copyright protection, all regions */
    }
    put16(data, length - 2);
    reply(drive, length, get16(packet + 8));
}

/* One speed only: any wish is granted. */
static void run_set_speed(struct ata_drive *drive, const uint8_t *packet)
{
    good(drive);
}

static const struct packet_command packet_commands[256] = {
    [0x00] = {run_test_unit_ready, NEEDS_MEDIUM},
    [0x03] = {run_request_sense, BEFORE_ATTENTION},
    [0x12] = {run_inquiry, BEFORE_ATTENTION},
    [0x1a] = {run_mode_sense6, 0},
    [0x1b] = {run_start_stop, 0},
    [0x1e] = {run_prevent_allow, 0},
    [0x25] = {run_read_capacity, NEEDS_MEDIUM},
    [0x28] = {run_read10, NEEDS_MEDIUM},
    [0x2b] = {run_seek, NEEDS_MEDIUM},
    [0x2f] = {run_seek, NEEDS_MEDIUM}, /* VERIFY without data */
    [0x42] = {run_subchannel, NEEDS_MEDIUM},
    [0x43] = {run_read_toc, NEEDS_MEDIUM},
    [0x46] = {run_get_configuration, BEFORE_ATTENTION},
    [0x4a] = {run_event_status, BEFORE_ATTENTION},
    [0x51] = {run_disc_information, NEEDS_MEDIUM},
    [0x5a] = {run_mode_sense10, 0},
    [0xa8] = {run_read12, NEEDS_MEDIUM},
    [0xad] = {run_dvd_structure, NEEDS_MEDIUM},
    [0xbb] = {run_set_speed, 0},
    [0xbd] = {run_mechanism_status, 0},
    [0xbe] = {run_read_cd, NEEDS_MEDIUM},
};

static void execute_packet(struct ata_drive *drive)
{
    struct atapi *atapi = &drive->atapi;
    const struct packet_command *command = &packet_commands[atapi->packet[0]];
    if (atapi->attention && !(command->run && (command->flags & BEFORE_ATTENTION))) {
        atapi->attention = false;
        check_condition(drive, UNIT_ATTENTION, atapi->attention_asc, 0);
    } else if (!command->run) {
        check_condition(drive, ILLEGAL_REQUEST, ASC_INVALID_OPCODE, 0);
    } else if ((command->flags & NEEDS_MEDIUM) && !has_medium(drive)) {
        check_condition(drive, NOT_READY, ASC_NO_MEDIUM, atapi->tray_open ? 2 : 1);
    } else {
        command->run(drive, atapi->packet);
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
    bool open = drive->atapi.tray_open; /* a reset does not move the tray */
    drive->atapi = (struct atapi){
        .tray_open = open,
        .attention = true,
        .attention_asc = ASC_POWER_ON,
    };
}

void atapi_change_medium(struct ata_drive *drive, struct image *image)
{
    struct atapi *atapi = &drive->atapi;
    drive->image = image;
    atapi->tray_open = !image;
    atapi->locked = atapi->locked && image;
    atapi->pending_event = image ? EVENT_NEW_MEDIUM : EVENT_REMOVAL;
    atapi->attention = true;
    atapi->attention_asc = ASC_MEDIUM_CHANGED;
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
    if (drive->atapi.locked && !force) {
        drive->atapi.pending_event = EVENT_EJECT_REQUEST; /* the guest hears of the button */
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
