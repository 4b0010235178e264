/*
 * SCSI multimedia commands for a CD-ROM drive: one data track of 2048-byte blocks.
 *
 * Specifications: MMC-4 (T10/1545D; commands: section 6, features: 5), SFF-8020i for MODE SENSE
 * page 2Ah.
 *
 * Larger media than a CD holds report themselves as a DVD-ROM.
 *
 * Not modelled: audio, raw 2352-byte sectors and subchannels, changers, writing, MODE SELECT.
 */
#include "hw/storage/scsi_internal.h"

#define BLOCK_SIZE    2048u
#define BUFFER_KIB    128
#define CD_MAX_BLOCKS 449849u /* 99 min 59 s 74 frames less lead-in */
#define PREGAP_FRAMES 150     /* LBA 0 is at 00:02:00 */

static uint32_t medium_blocks(const struct scsi_unit *unit)
{
    uint64_t blocks = scsi_unit_has_medium(unit) ? image_bytes(unit->image) / BLOCK_SIZE : 0;
    return blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
}

static bool is_dvd(const struct scsi_unit *unit)
{
    return medium_blocks(unit) > CD_MAX_BLOCKS;
}

/* -- Data towards the initiator -- */

static void read_blocks(struct scsi_unit *unit, struct scsi_command *command, uint32_t block,
                        uint32_t count)
{
    uint32_t total = medium_blocks(unit);
    if (block > total || count > total - block) {
        scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_OUT_OF_RANGE, 0);
        return;
    }
    scsi_good(unit, command);
    if (!count)
        return;
    command->action = SCSI_READ;
    command->offset = (uint64_t)block * BLOCK_SIZE;
    command->length = (uint64_t)count * BLOCK_SIZE;
    unit->position = block + count;
}

/* -- Commands about the drive -- */

static void run_start_stop(struct scsi_unit *unit, struct scsi_command *command)
{
    enum { START = 1, LOAD_EJECT = 2, POWER_CONDITION = 0xf0 };
    if (!(command->cdb[4] & POWER_CONDITION) && (command->cdb[4] & LOAD_EJECT)) {
        bool open = !(command->cdb[4] & START);
        if (open && unit->locked) {
            scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_REMOVAL_PREVENTED, 2);
            return;
        }
        if (open != unit->tray_open && unit->image) {
            unit->pending_event = open ? EVENT_REMOVAL : EVENT_NEW_MEDIUM;
            unit->attention = !open;
            unit->attention_asc = ASC_MEDIUM_CHANGED;
        }
        unit->tray_open = open;
    }
    scsi_good(unit, command);
}

static void run_mechanism_status(struct scsi_unit *unit, struct scsi_command *command)
{
    memset(command->reply, 0, 8);
    command->reply[1] = unit->tray_open ? 0x10 : 0;
    command->reply[5] = 1; /* slots */
    scsi_reply(unit, command, 8, get16(command->cdb + 8));
}

static void run_event_status(struct scsi_unit *unit, struct scsi_command *command)
{
    enum { POLLED = 1, MEDIA_CLASS = 4 };
    uint8_t *data = command->reply;
    uint32_t length = 4;
    if (!(command->cdb[1] & POLLED)) {
        scsi_invalid_field(unit, command);
        return;
    }
    memset(data, 0, 8);
    data[3] = 1 << MEDIA_CLASS; /* classes we have */
    if (command->cdb[4] & 1 << MEDIA_CLASS) {
        data[2] = MEDIA_CLASS;
        data[4] = unit->pending_event;
        data[5] = (uint8_t)(unit->tray_open | scsi_unit_has_medium(unit) << 1);
        unit->pending_event = EVENT_NONE;
        length = 8;
    } else {
        data[2] = 0x80; /* no event available */
    }
    put16(data, length - 2);
    scsi_reply(unit, command, length, get16(command->cdb + 7));
}

/* -- Mode pages -- */

static uint32_t error_recovery_page(const struct scsi_unit *unit, uint8_t *page, bool changeable)
{
    page[0] = 0x01;
    page[1] = 6;
    page[3] = 5; /* read retries */
    return 8;
}

/* CD/DVD capabilities and mechanical status. */
static uint32_t capabilities_page(const struct scsi_unit *unit, uint8_t *page, bool changeable)
{
    page[0] = 0x2a;
    page[1] = 18;
    page[2] = 0x0b;                                /* reads CD-R, CD-RW, DVD-ROM */
    page[4] = 0x70;                                /* mode 2 forms 1 and 2, multisession */
    page[6] = (uint8_t)(0x29 | unit->locked << 1); /* tray; can lock and eject */
    put16(page + 8, 5632);                         /* 32 times 176 kB/s */
    put16(page + 12, BUFFER_KIB);
    put16(page + 14, 5632);
    return 20;
}

const struct scsi_mode_page scsi_cd_mode_pages[] = {
    {0x01, error_recovery_page},
    {0x2a, capabilities_page},
    {0, NULL},
};

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

static bool feature_current(const struct scsi_unit *unit, uint8_t when)
{
    return when == ALWAYS || (scsi_unit_has_medium(unit) &&
                              (when == WITH_MEDIUM || (when == WITH_DVD) == is_dvd(unit)));
}

static void run_get_configuration(struct scsi_unit *unit, struct scsi_command *command)
{
    enum { ALL = 0, CURRENT = 1, ONE = 2 };
    uint8_t *data = command->reply;
    uint8_t kind = command->cdb[1] & 3;
    uint16_t start = get16(command->cdb + 2);
    uint16_t profile = !scsi_unit_has_medium(unit) ? 0
                       : is_dvd(unit)              ? PROFILE_DVD_ROM
                                                   : PROFILE_CD_ROM;
    uint32_t length = 8;
    if (kind > ONE) {
        scsi_invalid_field(unit, command);
        return;
    }
    memset(data, 0, 256);
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        bool current = feature_current(unit, features[i].current);
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
    scsi_reply(unit, command, length, get16(command->cdb + 7));
}

/* -- Commands about the medium -- */

static void run_read_capacity(struct scsi_unit *unit, struct scsi_command *command)
{
    put32(command->reply, medium_blocks(unit) - 1);
    put32(command->reply + 4, BLOCK_SIZE);
    scsi_reply(unit, command, 8, 8);
}

static void run_read10(struct scsi_unit *unit, struct scsi_command *command)
{
    read_blocks(unit, command, get32(command->cdb + 2), get16(command->cdb + 7));
}

static void run_read12(struct scsi_unit *unit, struct scsi_command *command)
{
    read_blocks(unit, command, get32(command->cdb + 2), get32(command->cdb + 6));
}

static void run_read_cd(struct scsi_unit *unit, struct scsi_command *command)
{
    enum { USER_DATA = 0x10, MODE_1 = 2 };
    unsigned type = command->cdb[1] >> 2 & 7;
    if (type != 0 && type != MODE_1)
        scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_ILLEGAL_MODE, 0);
    else if ((command->cdb[9] != USER_DATA && command->cdb[9] != 0) || (command->cdb[10] & 7))
        scsi_invalid_field(unit, command);
    else
        read_blocks(unit, command, get32(command->cdb + 2),
                    command->cdb[9] ? get32(command->cdb + 5) & 0xffffff : 0);
}

static void run_seek(struct scsi_unit *unit, struct scsi_command *command)
{
    if (get32(command->cdb + 2) >= medium_blocks(unit))
        scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_OUT_OF_RANGE, 0);
    else
        scsi_good(unit, command);
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

static uint32_t toc_tracks(const struct scsi_unit *unit, uint8_t *data, uint8_t first, bool msf)
{
    uint32_t length = 4;
    data[2] = data[3] = 1; /* first and last track */
    for (int i = first <= 1 ? 0 : 1; i < 2; i++) {
        data[length + 1] = DATA_TRACK;
        data[length + 2] = i ? LEAD_OUT : 1;
        put_address(data + length + 4, i ? medium_blocks(unit) : 0, msf);
        length += 8;
    }
    return length;
}

static uint32_t toc_session(uint8_t *data, bool msf)
{
    data[2] = data[3] = 1; /* first and last session */
    data[5] = DATA_TRACK;
    data[6] = 1; /* first track of the last session */
    put_address(data + 8, 0, msf);
    return 12;
}

/* Full TOC: the Q subchannel of the lead-in; points A0h, A1h, A2h, then the track. */
static uint32_t toc_full(const struct scsi_unit *unit, uint8_t *data)
{
    static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 1};
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
            put_address(entry + 7, points[i] == 0xa2 ? medium_blocks(unit) : 0, true);
        length += 11;
    }
    return length;
}

static void run_read_toc(struct scsi_unit *unit, struct scsi_command *command)
{
    bool msf = command->cdb[1] & 2;
    uint8_t format = command->cdb[2] & 0x0f, first = command->cdb[6];
    uint32_t length = 0;
    if (format == 0)
        format = command->cdb[9] >> 6; /* where SFF-8020i had it */
    memset(command->reply, 0, 64);
    if (format == 0 && (first <= 1 || first == LEAD_OUT))
        length = toc_tracks(unit, command->reply, first, msf);
    if (format == 1)
        length = toc_session(command->reply, msf);
    if (format == 2 && first <= 1)
        length = toc_full(unit, command->reply);
    if (!length) {
        scsi_invalid_field(unit, command);
        return;
    }
    put16(command->reply, length - 2);
    scsi_reply(unit, command, length, get16(command->cdb + 7));
}

static void run_disc_information(struct scsi_unit *unit, struct scsi_command *command)
{
    uint8_t *data = command->reply;
    if (command->cdb[1] & 7) { /* other than standard information */
        scsi_invalid_field(unit, command);
        return;
    }
    memset(data, 0, 34);
    put16(data, 32);
    data[2] = 0x0e; /* last session and disc complete */
    data[3] = data[4] = data[5] = data[6] = 1;
    data[7] = 0x20;             /* unrestricted use */
    memset(data + 16, 0xff, 8); /* no further lead-in or lead-out can start */
    scsi_reply(unit, command, 34, get16(command->cdb + 7));
}

static void run_subchannel(struct scsi_unit *unit, struct scsi_command *command)
{
    enum { SUB_Q = 0x40, CURRENT_POSITION = 1, NO_AUDIO_STATUS = 0x15 };
    uint8_t *data = command->reply;
    uint32_t length = 4;
    memset(data, 0, 16);
    data[1] = NO_AUDIO_STATUS;
    if (command->cdb[2] & SUB_Q) {
        if (command->cdb[3] != CURRENT_POSITION) {
            scsi_invalid_field(unit, command);
            return;
        }
        length = 16;
        data[4] = CURRENT_POSITION;
        data[5] = DATA_TRACK;
        data[6] = data[7] = 1; /* track, index */
        put_address(data + 8, unit->position, command->cdb[1] & 2);
        put_address(data + 12, unit->position, command->cdb[1] & 2);
    }
    put16(data + 2, length - 4);
    scsi_reply(unit, command, length, get16(command->cdb + 7));
}

static void run_dvd_structure(struct scsi_unit *unit, struct scsi_command *command)
{
    enum { PHYSICAL = 0, COPYRIGHT = 1, FIRST_SECTOR = 0x30000 };
    uint8_t *data = command->reply;
    uint32_t length;
    memset(data, 0, 32);
    if (!is_dvd(unit) || command->cdb[6] || command->cdb[7] > COPYRIGHT) {
        scsi_invalid_field(unit, command);
        return;
    }
    if (command->cdb[7] == PHYSICAL) {
        data[4] = 0x01; /* DVD-ROM, part version 1 */
        data[5] = 0x0f; /* 120 mm, no maximum rate */
        data[6] = 0x01; /* one layer, read only */
        put32(data + 8, FIRST_SECTOR);
        put32(data + 12, FIRST_SECTOR + medium_blocks(unit) - 1);
        length = 4 + 17;
    } else {
        length = 4 + 4; /* no copyright protection, all regions */
    }
    put16(data, length - 2);
    scsi_reply(unit, command, length, get16(command->cdb + 8));
}

/* One speed only: any wish is granted. */
static void run_set_speed(struct scsi_unit *unit, struct scsi_command *command)
{
    scsi_good(unit, command);
}

const struct scsi_row scsi_cd_commands[256] = {
    [0x00] = {scsi_test_unit_ready, NEEDS_MEDIUM},
    [0x03] = {scsi_request_sense, BEFORE_ATTENTION},
    [0x12] = {scsi_inquiry, BEFORE_ATTENTION},
    [0x1a] = {scsi_mode_sense6, 0},
    [0x1b] = {run_start_stop, 0},
    [0x1e] = {scsi_prevent_allow, 0},
    [0x25] = {run_read_capacity, NEEDS_MEDIUM},
    [0x28] = {run_read10, NEEDS_MEDIUM},
    [0x2b] = {run_seek, NEEDS_MEDIUM},
    [0x2f] = {run_seek, NEEDS_MEDIUM}, /* VERIFY without data */
    [0x42] = {run_subchannel, NEEDS_MEDIUM},
    [0x43] = {run_read_toc, NEEDS_MEDIUM},
    [0x46] = {run_get_configuration, BEFORE_ATTENTION},
    [0x4a] = {run_event_status, BEFORE_ATTENTION},
    [0x51] = {run_disc_information, NEEDS_MEDIUM},
    [0x5a] = {scsi_mode_sense10, 0},
    [0xa0] = {scsi_report_luns, BEFORE_ATTENTION},
    [0xa8] = {run_read12, NEEDS_MEDIUM},
    [0xad] = {run_dvd_structure, NEEDS_MEDIUM},
    [0xbb] = {run_set_speed, 0},
    [0xbd] = {run_mechanism_status, 0},
    [0xbe] = {run_read_cd, NEEDS_MEDIUM},
};
