/* Between scsi.c, scsi_disk.c and scsi_cd.c. */
#ifndef DOPPEL_HW_STORAGE_SCSI_INTERNAL_H
#define DOPPEL_HW_STORAGE_SCSI_INTERNAL_H

#include "hw/storage/scsi.h"

#include <string.h>

/* Sense keys and additional sense codes (SPC-3, 4.5.6 and annex D). */
enum {
    NO_SENSE = 0,
    NOT_READY = 2,
    MEDIUM_ERROR = 3,
    ILLEGAL_REQUEST = 5,
    UNIT_ATTENTION = 6,
    DATA_PROTECT = 7,
};
enum {
    ASC_WRITE_ERROR = 0x0c,
    ASC_READ_ERROR = 0x11,
    ASC_PARAMETER_LENGTH = 0x1a,
    ASC_INVALID_OPCODE = 0x20,
    ASC_OUT_OF_RANGE = 0x21,
    ASC_INVALID_FIELD = 0x24,
    ASC_INVALID_PARAMETER = 0x26,
    ASC_WRITE_PROTECTED = 0x27,
    ASC_MEDIUM_CHANGED = 0x28,
    ASC_POWER_ON = 0x29,
    ASC_NOT_SAVED = 0x39,
    ASC_NO_MEDIUM = 0x3a,
    ASC_REMOVAL_PREVENTED = 0x53,
    ASC_ILLEGAL_MODE = 0x64,
};

enum { EVENT_NONE = 0, EVENT_EJECT_REQUEST = 1, EVENT_NEW_MEDIUM = 2, EVENT_REMOVAL = 3 };

/* Flags of a command in the tables. */
#define NEEDS_MEDIUM     1
#define BEFORE_ATTENTION 2 /* runs although a unit attention waits */
#define NEEDS_WRITING    4

struct scsi_row {
    void (*run)(struct scsi_unit *unit, struct scsi_command *command);
    unsigned flags;
};

extern const struct scsi_row scsi_disk_commands[256], scsi_cd_commands[256];

/* -- Numbers in CDBs and data: big-endian -- */

static inline uint16_t get16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint32_t get24(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 16 | get16(bytes + 1);
}

static inline uint32_t get32(const uint8_t *bytes)
{
    return (uint32_t)get16(bytes) << 16 | get16(bytes + 2);
}

static inline uint64_t get64(const uint8_t *bytes)
{
    return (uint64_t)get32(bytes) << 32 | get32(bytes + 4);
}

static inline void put16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static inline void put32(uint8_t *bytes, uint32_t value)
{
    put16(bytes, value >> 16);
    put16(bytes + 2, value);
}

static inline void put64(uint8_t *bytes, uint64_t value)
{
    put32(bytes, (uint32_t)(value >> 32));
    put32(bytes + 4, (uint32_t)value);
}

/* -- Ends of a command -- */

void scsi_good(struct scsi_unit *unit, struct scsi_command *command);
void scsi_fail(struct scsi_unit *unit, struct scsi_command *command, uint8_t key, uint8_t asc,
               uint8_t ascq);
void scsi_invalid_field(struct scsi_unit *unit, struct scsi_command *command);
/* Answers with what stands in command->reply, cut to what the initiator has room for. */
void scsi_reply(struct scsi_unit *unit, struct scsi_command *command, uint32_t length,
                uint32_t allocation);

/* -- Commands of all devices -- */

void scsi_test_unit_ready(struct scsi_unit *unit, struct scsi_command *command);
void scsi_request_sense(struct scsi_unit *unit, struct scsi_command *command);
void scsi_inquiry(struct scsi_unit *unit, struct scsi_command *command);
void scsi_report_luns(struct scsi_unit *unit, struct scsi_command *command);
void scsi_prevent_allow(struct scsi_unit *unit, struct scsi_command *command);
void scsi_mode_sense6(struct scsi_unit *unit, struct scsi_command *command);
void scsi_mode_sense10(struct scsi_unit *unit, struct scsi_command *command);

/* -- Pages -- */

struct scsi_mode_page {
    uint8_t code;
    /* Writes the page, returns its length. `changeable`: a mask of what MODE SELECT can change. */
    uint32_t (*fill)(const struct scsi_unit *unit, uint8_t *page, bool changeable);
};
struct scsi_vital_page {
    uint8_t code;
    /* Writes what follows the page's header of 4 bytes, returns its length. */
    uint32_t (*fill)(const struct scsi_unit *unit, uint8_t *page);
};
extern const struct scsi_mode_page scsi_disk_mode_pages[],
    scsi_cd_mode_pages[]; /* end: fill NULL */
extern const struct scsi_vital_page scsi_disk_vital_pages[];

#endif
