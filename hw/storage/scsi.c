/*
 * SCSI devices: sense data and the commands that all kinds have.
 *
 * Specification: SPC-3 (T10/1416-D), section 6 (commands), 4.5 (sense data), 7.4 (mode parameters),
 * 7.6 (vital product data).
 *
 * Not modelled: reservations, log pages, third-party copies, task attributes (commands of one
 * device may end in any order).
 */
#include "hw/storage/scsi_internal.h"

#include <errno.h>
#include <stdio.h>

const struct field scsi_unit_fields[] = {
    FIELD(struct scsi_unit, sense_key, 1),
    FIELD(struct scsi_unit, asc, 1),
    FIELD(struct scsi_unit, ascq, 1),
    FIELD(struct scsi_unit, pending_event, 1),
    FIELD(struct scsi_unit, attention, 1),
    FIELD(struct scsi_unit, attention_asc, 1),
    FIELD(struct scsi_unit, tray_open, 1),
    FIELD(struct scsi_unit, locked, 1),
    FIELD(struct scsi_unit, write_through, 1),
    FIELD(struct scsi_unit, position, 1),
    FIELD_END,
};

bool scsi_unit_has_medium(const struct scsi_unit *unit)
{
    return unit->image && !unit->tray_open;
}

/* -- Ends of a command -- */

static void fill_sense(const struct scsi_unit *unit, uint8_t *sense)
{
    memset(sense, 0, SCSI_SENSE_SIZE);
    sense[0] = 0x70; /* current error, fixed format */
    sense[2] = unit->sense_key;
    sense[7] = SCSI_SENSE_SIZE - 8; /* bytes that follow */
    sense[12] = unit->asc;
    sense[13] = unit->ascq;
}

void scsi_good(struct scsi_unit *unit, struct scsi_command *command)
{
    unit->sense_key = unit->asc = unit->ascq = 0;
    command->action = SCSI_DONE;
    command->status = SCSI_GOOD;
}

void scsi_fail(struct scsi_unit *unit, struct scsi_command *command, uint8_t key, uint8_t asc,
               uint8_t ascq)
{
    unit->sense_key = key;
    unit->asc = asc;
    unit->ascq = ascq;
    command->action = SCSI_DONE;
    command->status = SCSI_CHECK_CONDITION;
    command->reply_length = 0;
    fill_sense(unit, command->sense);
}

void scsi_invalid_field(struct scsi_unit *unit, struct scsi_command *command)
{
    scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_INVALID_FIELD, 0);
}

void scsi_reply(struct scsi_unit *unit, struct scsi_command *command, uint32_t length,
                uint32_t allocation)
{
    scsi_good(unit, command);
    command->reply_length = length < allocation ? length : allocation;
}

/* -- Commands -- */

void scsi_test_unit_ready(struct scsi_unit *unit, struct scsi_command *command)
{
    scsi_good(unit, command);
}

void scsi_request_sense(struct scsi_unit *unit, struct scsi_command *command)
{
    if (!unit->sense_key && unit->attention) {
        unit->sense_key = UNIT_ATTENTION;
        unit->asc = unit->attention_asc;
        unit->attention = false;
    }
    fill_sense(unit, command->reply);
    scsi_reply(unit, command, SCSI_SENSE_SIZE, command->cdb[4]);
}

void scsi_report_luns(struct scsi_unit *unit, struct scsi_command *command)
{
    memset(command->reply, 0, 16);
    put32(command->reply, 8); /* one of them: 0 */
    scsi_reply(unit, command, 16, get32(command->cdb + 6));
}

void scsi_prevent_allow(struct scsi_unit *unit, struct scsi_command *command)
{
    unit->locked = command->cdb[4] & 1;
    scsi_good(unit, command);
}

/* -- INQUIRY -- */

enum { TYPE_DISK = 0x00, TYPE_CDROM = 0x05 };

static void standard_inquiry(struct scsi_unit *unit, struct scsi_command *command)
{
    uint8_t *data = command->reply;
    memset(data, 0, 36);
    data[0] = unit->cdrom ? TYPE_CDROM : TYPE_DISK;
    data[1] = unit->cdrom ? 0x80 : 0; /* removable */
    data[2] = unit->atapi ? 0 : 5;    /* SPC-3 */
    data[3] = unit->atapi ? 0x21 : 0x12;
    data[4] = 31;                     /* bytes that follow */
    data[7] = unit->atapi ? 0 : 0x02; /* several commands at a time */
    memcpy(data + 8, unit->cdrom ? "DOPPEL  CD-ROM          1.0 " : "DOPPEL  DISK            1.0 ",
           28);
    scsi_reply(unit, command, 36, get16(command->cdb + 3));
}

static uint32_t fill_serial(const struct scsi_unit *unit, uint8_t *page)
{
    size_t length = strlen(unit->serial);
    memcpy(page, unit->serial, length);
    return (uint32_t)length;
}

/* One designator: vendor and serial number (T10 vendor ID based, ASCII). */
static uint32_t fill_identification(const struct scsi_unit *unit, uint8_t *page)
{
    char name[40];
    int length = snprintf(name, sizeof name, "DOPPEL  %s", unit->serial);
    page[0] = 0x02;
    page[1] = 0x01;
    page[2] = 0;
    page[3] = (uint8_t)length;
    memcpy(page + 4, name, (size_t)length);
    return 4 + (uint32_t)length;
}

static const struct scsi_vital_page vital_pages[] = {
    {0x80, fill_serial},
    {0x83, fill_identification},
    {0, NULL},
};

static const struct scsi_vital_page *find_vital(const struct scsi_vital_page *pages, uint8_t code)
{
    while (pages->fill && pages->code != code)
        pages++;
    return pages->fill ? pages : NULL;
}

static uint32_t list_vital(const struct scsi_unit *unit, uint8_t *page)
{
    uint32_t length = 1;
    page[0] = 0;
    for (const struct scsi_vital_page *p = vital_pages; p->fill; p++)
        page[length++] = p->code;
    for (const struct scsi_vital_page *p = scsi_disk_vital_pages; p->fill && !unit->cdrom; p++)
        page[length++] = p->code;
    return length;
}

static void vital_inquiry(struct scsi_unit *unit, struct scsi_command *command)
{
    static const struct scsi_vital_page list = {0x00, list_vital};
    uint8_t code = command->cdb[2];
    const struct scsi_vital_page *page = code ? find_vital(vital_pages, code) : &list;
    if (!page && !unit->cdrom)
        page = find_vital(scsi_disk_vital_pages, code);
    if (!page || unit->atapi) {
        scsi_invalid_field(unit, command);
        return;
    }
    uint8_t *data = command->reply;
    memset(data, 0, 128);
    data[0] = unit->cdrom ? TYPE_CDROM : TYPE_DISK;
    data[1] = code;
    uint32_t length = page->fill(unit, data + 4);
    put16(data + 2, length);
    scsi_reply(unit, command, 4 + length, get16(command->cdb + 3));
}

void scsi_inquiry(struct scsi_unit *unit, struct scsi_command *command)
{
    if (command->cdb[1] & 1)
        vital_inquiry(unit, command);
    else if (command->cdb[2])
        scsi_invalid_field(unit, command);
    else
        standard_inquiry(unit, command);
}

/* -- MODE SENSE -- */

static uint32_t block_descriptor(const struct scsi_unit *unit, uint8_t *data)
{
    uint64_t blocks = image_bytes(unit->image) / SECTOR_SIZE;
    put32(data, blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX);
    put32(data + 4, SECTOR_SIZE);
    return 8;
}

static uint8_t medium_type(const struct scsi_unit *unit)
{
    if (!unit->cdrom)
        return 0;
    return unit->tray_open ? 0x71 : scsi_unit_has_medium(unit) ? 0x01 : 0x70;
}

static uint8_t device_parameter(const struct scsi_unit *unit)
{
    return unit->cdrom ? 0 : (uint8_t)(0x10 | (image_read_only(unit->image) ? 0x80 : 0));
}

static void mode_sense(struct scsi_unit *unit, struct scsi_command *command, uint32_t header,
                       uint32_t allocation)
{
    enum { ALL_PAGES = 0x3f, CHANGEABLE = 1, SAVED_VALUES = 3, NO_DESCRIPTORS = 8 };
    uint8_t *data = command->reply;
    uint8_t code = command->cdb[2] & 0x3f, control = command->cdb[2] >> 6;
    uint32_t length = header;
    if (control == SAVED_VALUES) {
        scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_NOT_SAVED, 0);
        return;
    }
    memset(data, 0, SCSI_REPLY_MAX);
    if (!unit->cdrom && !(command->cdb[1] & NO_DESCRIPTORS))
        length += block_descriptor(unit, data + length);
    uint32_t descriptors = length - header;
    for (const struct scsi_mode_page *page = unit->cdrom ? scsi_cd_mode_pages
                                                         : scsi_disk_mode_pages;
         page->fill; page++)
        if (code == page->code || code == ALL_PAGES)
            length += page->fill(unit, data + length, control == CHANGEABLE);
    if (length == header + descriptors) {
        scsi_invalid_field(unit, command);
        return;
    }
    if (header == 4) {
        data[0] = (uint8_t)(length - 1);
        data[1] = medium_type(unit);
        data[2] = device_parameter(unit);
        data[3] = (uint8_t)descriptors;
    } else {
        put16(data, length - 2);
        data[2] = medium_type(unit);
        data[3] = device_parameter(unit);
        put16(data + 6, descriptors);
    }
    scsi_reply(unit, command, length, allocation);
}

void scsi_mode_sense6(struct scsi_unit *unit, struct scsi_command *command)
{
    mode_sense(unit, command, 4, command->cdb[4]);
}

void scsi_mode_sense10(struct scsi_unit *unit, struct scsi_command *command)
{
    mode_sense(unit, command, 8, get16(command->cdb + 7));
}

/* -- Execution -- */

void scsi_execute(struct scsi_unit *unit, struct scsi_command *command)
{
    const struct scsi_row *row =
        &(unit->cdrom ? scsi_cd_commands : scsi_disk_commands)[command->cdb[0]];
    command->reply_length = 0;
    command->through = false;
    command->ranges = 0;
    command->offset = command->length = 0;
    if (unit->attention && !(row->run && (row->flags & BEFORE_ATTENTION))) {
        unit->attention = false;
        scsi_fail(unit, command, UNIT_ATTENTION, unit->attention_asc, 0);
    } else if (!row->run) {
        scsi_fail(unit, command, ILLEGAL_REQUEST, ASC_INVALID_OPCODE, 0);
    } else if ((row->flags & NEEDS_MEDIUM) && !scsi_unit_has_medium(unit)) {
        scsi_fail(unit, command, NOT_READY, ASC_NO_MEDIUM, unit->tray_open ? 2 : 1);
    } else if ((row->flags & NEEDS_WRITING) && image_read_only(unit->image)) {
        scsi_fail(unit, command, DATA_PROTECT, ASC_WRITE_PROTECTED, 0);
    } else {
        row->run(unit, command);
    }
}

int scsi_clear(struct scsi_unit *unit, const struct scsi_command *command)
{
    int status = 0;
    if (command->clear == SCSI_FLUSH)
        return image_flush(unit->image);
    for (unsigned i = 0; i < command->ranges && !status; i++) {
        uint64_t offset = command->range[i].offset, length = command->range[i].length;
        status = command->clear == SCSI_UNMAP
                     ? image_discard(unit->image, offset, length)
                     : image_write_zeroes(unit->image, offset, length, true);
    }
    return status;
}

void scsi_finish(struct scsi_unit *unit, struct scsi_command *command, int status)
{
    if (!status) {
        scsi_good(unit, command);
        return;
    }
    bool reading = command->action == SCSI_READ;
    log_guest("SCSI device %s: command %02x: %s", unit->serial, command->cdb[0], strerror(status));
    scsi_fail(unit, command, MEDIUM_ERROR, reading ? ASC_READ_ERROR : ASC_WRITE_ERROR, 0);
}

/* -- Resets and media -- */

void scsi_unit_reset(struct scsi_unit *unit)
{
    unit->sense_key = unit->asc = unit->ascq = 0;
    unit->pending_event = EVENT_NONE;
    unit->attention = true;
    unit->attention_asc = ASC_POWER_ON;
    unit->locked = unit->write_through = false; /* the tray stays where it is */
    unit->position = 0;
}

void scsi_change_medium(struct scsi_unit *unit, struct image *image)
{
    unit->image = image;
    unit->tray_open = !image;
    unit->locked = unit->locked && image;
    unit->pending_event = image ? EVENT_NEW_MEDIUM : EVENT_REMOVAL;
    unit->attention = true;
    unit->attention_asc = ASC_MEDIUM_CHANGED;
}

void scsi_request_eject(struct scsi_unit *unit)
{
    unit->pending_event = EVENT_EJECT_REQUEST;
}
