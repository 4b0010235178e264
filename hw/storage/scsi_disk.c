/*
 * SCSI block commands (SBC-3, T10/1799-D, section 5) for disks of 512-byte blocks, thinly
 * provisioned.
 *
 * Not modelled: protection information, WRITE SAME of anything but zeros, defect lists.
 */
#include "hw/storage/scsi_internal.h"

#define RANGE_BLOCKS_MAX 0x3fffffu /* what is unmapped or zeroed at a time: 2 GiB */
#define FORCE_UNIT       0x08

static uint64_t disk_blocks(const struct scsi_unit *unit)
{
    return image_bytes(unit->image) / SECTOR_SIZE;
}

static bool in_disk(const struct scsi_unit *unit, uint64_t block, uint64_t count)
{
    uint64_t blocks = disk_blocks(unit);
    return block <= blocks && count <= blocks - block;
}

/* -- Addresses in CDBs, by the length that the operation code's group implies -- */

struct extent {
    uint64_t block;
    uint32_t count;
};

static struct extent cdb_extent(const uint8_t *cdb)
{
    switch (cdb[0] >> 5) {
    case 0:
        return (struct extent){get24(cdb + 1) & 0x1fffff, cdb[4] ? cdb[4] : 256};
    case 4:
        return (struct extent){get64(cdb + 2), get32(cdb + 10)};
    case 5:
        return (struct extent){get32(cdb + 2), get32(cdb + 6)};
    default:
        return (struct extent){get32(cdb + 2), get16(cdb + 7)};
    }
}

/* False and an answer if the command goes beyond the disk. */
static bool check_extent(struct scsi_unit *unit, struct scsi_command *command,
                         const struct extent *extent)
{
    if (in_disk(unit, extent->block, extent->count))
        return true;
    scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_OUT_OF_RANGE, 0);
    return false;
}

/* -- Data -- */

static void move(struct scsi_unit *unit, struct scsi_command *command, enum scsi_action action)
{
    struct extent extent = cdb_extent(command->cdb);
    bool has_flags = command->cdb[0] >> 5 != 0;
    if (has_flags && command->cdb[1] >> 5) { /* protection information */
        scsi_invalid_field(unit, command);
        return;
    }
    if (!check_extent(unit, command, &extent))
        return;
    scsi_good(unit, command);
    if (!extent.count)
        return;
    command->action = action;
    command->offset = extent.block * SECTOR_SIZE;
    command->length = (uint64_t)extent.count * SECTOR_SIZE;
    command->through = action == SCSI_WRITE &&
                       (unit->write_through || (has_flags && (command->cdb[1] & FORCE_UNIT)));
}

static void run_read(struct scsi_unit *unit, struct scsi_command *command)
{
    move(unit, command, SCSI_READ);
}

static void run_write(struct scsi_unit *unit, struct scsi_command *command)
{
    move(unit, command, SCSI_WRITE);
}

/* VERIFY without data: the medium is there. Comparing is not. */
static void run_verify(struct scsi_unit *unit, struct scsi_command *command)
{
    struct extent extent = cdb_extent(command->cdb);
    if (command->cdb[1] & 6)
        scsi_invalid_field(unit, command);
    else if (check_extent(unit, command, &extent))
        scsi_good(unit, command);
}

static void run_synchronize(struct scsi_unit *unit, struct scsi_command *command)
{
    struct extent extent = cdb_extent(command->cdb);
    if (!check_extent(unit, command, &extent))
        return;
    command->action = SCSI_CLEAR;
    command->clear = SCSI_FLUSH;
}

/* -- Ranges without data -- */

static void add_range(struct scsi_command *command, const struct extent *extent)
{
    command->range[command->ranges].offset = extent->block * SECTOR_SIZE;
    command->range[command->ranges++].length = (uint64_t)extent->count * SECTOR_SIZE;
}

static void run_unmap(struct scsi_unit *unit, struct scsi_command *command)
{
    enum { HEADER = 8, DESCRIPTOR = 16 };
    const uint8_t *list = command->parameters;
    uint32_t length = get16(command->cdb + 7);
    scsi_good(unit, command);
    if (!length)
        return;
    if (length < HEADER || command->parameter_length < length || length > SCSI_PARAMETER_MAX) {
        scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_PARAMETER_LENGTH, 0);
        return;
    }
    uint32_t bytes = get16(list + 2);
    if (bytes > length - HEADER)
        bytes = length - HEADER;
    for (uint32_t at = 0; at + DESCRIPTOR <= bytes; at += DESCRIPTOR) {
        const uint8_t *descriptor = list + HEADER + at;
        const struct extent extent = {get64(descriptor), get32(descriptor + 8)};
        if (!check_extent(unit, command, &extent))
            return;
        add_range(command, &extent);
    }
    command->action = SCSI_CLEAR;
    command->clear = SCSI_UNMAP;
}

static bool all_zeros(const uint8_t *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && !memcmp(bytes, bytes + 1, length - 1));
}

static void run_write_same(struct scsi_unit *unit, struct scsi_command *command)
{
    enum { ANCHOR = 0x10, NO_DATA = 0x01 };
    struct extent extent = cdb_extent(command->cdb);
    bool no_data = command->cdb[0] == 0x93 && (command->cdb[1] & NO_DATA);
    if (!extent.count) {
        scsi_invalid_field(unit, command); /* "to the end" is more than we do at a time */
        return;
    }
    if (!check_extent(unit, command, &extent))
        return;
    if ((command->cdb[1] >> 5) || (command->cdb[1] & ANCHOR) || extent.count > RANGE_BLOCKS_MAX) {
        scsi_invalid_field(unit, command);
        return;
    }
    if (!no_data &&
        (command->parameter_length < SECTOR_SIZE || !all_zeros(command->parameters, SECTOR_SIZE))) {
        scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_INVALID_PARAMETER, 0);
        return;
    }
    add_range(command, &extent);
    command->action = SCSI_CLEAR;
    command->clear = SCSI_ZERO;
}

/* -- Capacity -- */

static void run_read_capacity10(struct scsi_unit *unit, struct scsi_command *command)
{
    uint64_t last = disk_blocks(unit) - 1;
    put32(command->reply, last < UINT32_MAX ? (uint32_t)last : UINT32_MAX);
    put32(command->reply + 4, SECTOR_SIZE);
    scsi_reply(unit, command, 8, 8);
}

static void run_service_action_in(struct scsi_unit *unit, struct scsi_command *command)
{
    enum { READ_CAPACITY_16 = 0x10 };
    uint8_t *data = command->reply;
    if ((command->cdb[1] & 0x1f) != READ_CAPACITY_16) {
        scsi_invalid_field(unit, command);
        return;
    }
    memset(data, 0, 32);
    put64(data, disk_blocks(unit) - 1);
    put32(data + 8, SECTOR_SIZE);
    data[13] = 3;    /* 8 logical blocks in a physical one */
    data[14] = 0xc0; /* unmapped blocks exist, and read as zeros */
    scsi_reply(unit, command, 32, get32(command->cdb + 10));
}

/* -- Power: nothing turns -- */

static void run_start_stop(struct scsi_unit *unit, struct scsi_command *command)
{
    scsi_good(unit, command);
}

/* -- Mode pages -- */

enum { WRITE_CACHE = 0x04 };

static uint32_t caching_page(const struct scsi_unit *unit, uint8_t *page, bool changeable)
{
    page[0] = 0x08;
    page[1] = 18;
    page[2] = changeable || !unit->write_through ? WRITE_CACHE : 0;
    return 20;
}

static uint32_t control_page(const struct scsi_unit *unit, uint8_t *page, bool changeable)
{
    page[0] = 0x0a;
    page[1] = 10;
    if (!changeable)
        page[3] = 0x10; /* commands may be reordered */
    return 12;
}

const struct scsi_mode_page scsi_disk_mode_pages[] = {
    {0x08, caching_page},
    {0x0a, control_page},
    {0, NULL},
};

/* Takes the write cache switch; all else must be as it is. */
static void mode_select(struct scsi_unit *unit, struct scsi_command *command, uint32_t header,
                        uint32_t length)
{
    const uint8_t *list = command->parameters;
    scsi_good(unit, command);
    if (!length)
        return;
    if (length > command->parameter_length || length < header) {
        scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_PARAMETER_LENGTH, 0);
        return;
    }
    uint32_t at = header + (header == 4 ? list[3] : get16(list + 6));
    while (at + 2 <= length) {
        uint32_t size = 2u + list[at + 1];
        uint8_t code = list[at] & 0x3f;
        if (at + size > length || (code == 0x08 && size < 20) || (code != 0x08 && code != 0x0a)) {
            scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_INVALID_PARAMETER, 0);
            return;
        }
        if (code == 0x08)
            unit->write_through = !(list[at + 2] & WRITE_CACHE);
        at += size;
    }
}

static void run_mode_select6(struct scsi_unit *unit, struct scsi_command *command)
{
    mode_select(unit, command, 4, command->cdb[4]);
}

static void run_mode_select10(struct scsi_unit *unit, struct scsi_command *command)
{
    mode_select(unit, command, 8, get16(command->cdb + 7));
}

/* -- Vital product data -- */

static uint32_t fill_block_limits(const struct scsi_unit *unit, uint8_t *page)
{
    put16(page + 2, 8);                 /* optimal granularity */
    put32(page + 16, RANGE_BLOCKS_MAX); /* blocks in an UNMAP */
    put32(page + 20, SCSI_RANGES_MAX);  /* its descriptors */
    put32(page + 24, 8);                /* its optimal granularity */
    put64(page + 32, RANGE_BLOCKS_MAX); /* blocks in a WRITE SAME */
    return 0x3c;
}

static uint32_t fill_characteristics(const struct scsi_unit *unit, uint8_t *page)
{
    put16(page, 1); /* no rotation */
    return 0x3c;
}

static uint32_t fill_provisioning(const struct scsi_unit *unit, uint8_t *page)
{
    page[1] = 0xe4; /* UNMAP and both WRITE SAME; unmapped blocks read as zeros */
    page[2] = 0x02; /* thin */
    return 4;
}

const struct scsi_vital_page scsi_disk_vital_pages[] = {
    {0xb0, fill_block_limits},
    {0xb1, fill_characteristics},
    {0xb2, fill_provisioning},
    {0, NULL},
};

const struct scsi_row scsi_disk_commands[256] = {
    [0x00] = {scsi_test_unit_ready, NEEDS_MEDIUM},
    [0x03] = {scsi_request_sense, BEFORE_ATTENTION},
    [0x08] = {run_read, NEEDS_MEDIUM},
    [0x0a] = {run_write, NEEDS_MEDIUM | NEEDS_WRITING},
    [0x12] = {scsi_inquiry, BEFORE_ATTENTION},
    [0x15] = {run_mode_select6, 0},
    [0x1a] = {scsi_mode_sense6, 0},
    [0x1b] = {run_start_stop, 0},
    [0x1e] = {scsi_prevent_allow, 0},
    [0x25] = {run_read_capacity10, NEEDS_MEDIUM},
    [0x28] = {run_read, NEEDS_MEDIUM},
    [0x2a] = {run_write, NEEDS_MEDIUM | NEEDS_WRITING},
    [0x2f] = {run_verify, NEEDS_MEDIUM},
    [0x35] = {run_synchronize, NEEDS_MEDIUM},
    [0x41] = {run_write_same, NEEDS_MEDIUM | NEEDS_WRITING},
    [0x42] = {run_unmap, NEEDS_MEDIUM | NEEDS_WRITING},
    [0x55] = {run_mode_select10, 0},
    [0x5a] = {scsi_mode_sense10, 0},
    [0x88] = {run_read, NEEDS_MEDIUM},
    [0x8a] = {run_write, NEEDS_MEDIUM | NEEDS_WRITING},
    [0x8f] = {run_verify, NEEDS_MEDIUM},
    [0x91] = {run_synchronize, NEEDS_MEDIUM},
    [0x93] = {run_write_same, NEEDS_MEDIUM | NEEDS_WRITING},
    [0x9e] = {run_service_action_in, NEEDS_MEDIUM},
    [0xa0] = {scsi_report_luns, BEFORE_ATTENTION},
    [0xa8] = {run_read, NEEDS_MEDIUM},
    [0xaa] = {run_write, NEEDS_MEDIUM | NEEDS_WRITING},
    [0xaf] = {run_verify, NEEDS_MEDIUM},
};
