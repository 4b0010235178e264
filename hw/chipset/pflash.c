/*
 * NOR flash of Intel's command set (JEDEC JESD68.01, "Common Flash Interface", with command set
 * 0001): an 8-bit chip with blocks of 4 KiB.
 *
 *     first write       then              reads show
 *     FF                                  the array
 *     10, 40            address, byte     status; bits become 0 only
 *     20                address, D0       status; the block becomes FF
 *     50                                  (clears the status)
 *     60                address, 01/D0    status; blocks have no locks
 *     70                                  status
 *     90, 98                              identification, CFI query table
 *
 * Operations take no time. The ready bit is 0 after a "clear status" until the next operation, by
 * which firmware for virtual machines tells this chip from RAM and ROM; a real one is ready always.
 *
 * Every access is a device's: a guest that writes a command and reads in the next instruction must
 * not find the page that it has read before in its TLB.
 *
 * The contents are no part of the saved state, as those of a disk are not. Not modelled: write
 * buffers (the query table says so), suspending an erase, protection registers.
 */
#include "hw/chipset/pflash.h"

#include "hw/alloc.h"

#include <assert.h>
#include <string.h>

enum flash_command {
    READ_ARRAY = 0xff,
    PROGRAM = 0x10,
    PROGRAM_ALTERNATE = 0x40,
    ERASE = 0x20,
    CLEAR_STATUS = 0x50,
    LOCK = 0x60,
    READ_STATUS = 0x70,
    READ_ID = 0x90,
    QUERY = 0x98,
    CONFIRM = 0xd0,
};

#define STATUS_READY         0x80
#define STATUS_ERASE_ERROR   0x20
#define STATUS_PROGRAM_ERROR 0x10

#define MANUFACTURER         0x89
#define DEVICE               0x18

struct pflash {
    struct device device;
    uint8_t command; /* what reads show, and what the next write is for */
    bool second;     /* the next write belongs to `command` */
    uint8_t status;

    uint8_t *host;
    size_t size;
};

static const struct field pflash_fields[] = {
    FIELD(struct pflash, command, 1),
    FIELD(struct pflash, second, 1),
    FIELD(struct pflash, status, 1),
    FIELD_END,
};

/* -- Reads -- */

/* CFI query table from 0x10 on: command set 1, geometry of one region. */
static uint8_t query_byte(const struct pflash *flash, unsigned at)
{
    unsigned blocks = (unsigned)(flash->size / PFLASH_BLOCK) - 1;
    const uint8_t table[] = {
        'Q',
        'R',
        'Y',
        0x01,
        0x00,
        0x31,
        0x00,
        0x00,
        0x00,
        0x00,
        0x00, /* 0x10 */
        0x45,
        0x55,
        0x00,
        0x00,
        0x07,
        0x00,
        0x0a,
        0x00,
        0x04,
        0x00,
        0x04,                                             /* 0x1b: voltages, times */
        0x00,                                             /* 0x26 */
        (uint8_t)(64 - __builtin_clzll(flash->size - 1)), /* 0x27: log2 of the size */
        0x00,
        0x00,
        0x00,
        0x00,
        0x01, /* 8 bits, no buffer, 1 region */
        (uint8_t)blocks,
        (uint8_t)(blocks >> 8),
        PFLASH_BLOCK >> 8 & 0xff,
        PFLASH_BLOCK >> 16,
    };

    return at >= 0x10 && at - 0x10 < sizeof table ? table[at - 0x10] : 0;
}

static uint8_t read_byte(const struct pflash *flash, uint64_t offset)
{
    switch (flash->command) {
    case READ_ARRAY:
        return flash->host[offset];
    case READ_ID:
        return offset == 0 ? MANUFACTURER : offset == 1 ? DEVICE : 0;
    case QUERY:
        return query_byte(flash, offset & 0xff);
    default:
        return flash->status;
    }
}

static uint64_t pflash_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_byte(opaque, offset + i) << (8 * i);
    return value;
}

/* -- Commands -- */

static void first_write(struct pflash *flash, uint8_t command)
{
    flash->second = false;
    switch (command) {
    case PROGRAM:
    case PROGRAM_ALTERNATE:
    case ERASE:
    case LOCK:
        flash->second = true;
        flash->command = command;
        break;
    case CLEAR_STATUS:
        flash->status = 0;
        break;
    case READ_ARRAY:
    case READ_STATUS:
    case READ_ID:
    case QUERY:
        flash->command = command;
        break;
    default:
        log_guest("flash: command %02x is not modelled", command);
        flash->command = READ_ARRAY;
    }
}

static void second_write(struct pflash *flash, uint64_t offset, const uint8_t *bytes, unsigned size)
{
    uint8_t operation = flash->command;

    flash->second = false;
    flash->command = READ_STATUS;
    flash->status |= STATUS_READY;
    if (operation == PROGRAM || operation == PROGRAM_ALTERNATE) {
        for (unsigned i = 0; i < size; i++)
            flash->host[offset + i] &= bytes[i];
    } else if (operation == ERASE && bytes[0] == CONFIRM) {
        memset(flash->host + offset / PFLASH_BLOCK * PFLASH_BLOCK, 0xff, PFLASH_BLOCK);
    } else if (operation == ERASE) {
        flash->status |= STATUS_ERASE_ERROR | STATUS_PROGRAM_ERROR;
    }
}

static void pflash_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pflash *flash = opaque;
    uint8_t bytes[8];

    memcpy(bytes, &value, sizeof bytes);
    if (flash->second)
        second_write(flash, offset, bytes, size);
    else
        first_write(flash, bytes[0]);
}

static const struct access_ops pflash_ops = {pflash_read, pflash_write, 1, 8};

/* -- Device -- */

static void pflash_reset(struct device *device)
{
    struct pflash *flash = (struct pflash *)device;

    flash->command = READ_ARRAY;
    flash->second = false;
    flash->status = STATUS_READY;
}

static void pflash_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops pflash_device_ops = {
    .name = "pflash",
    .fields = pflash_fields,
    .version = 1,
    .reset = pflash_reset,
    .destroy = pflash_destroy,
};

struct pflash *pflash_new(struct device_list *list, struct memory *memory, uint64_t base,
                          uint8_t *host, size_t size, const char *id)
{
    struct pflash *flash = alloc_zeroed(sizeof *flash);

    assert(size > 0 && size % PFLASH_BLOCK == 0);
    flash->host = host;
    flash->size = size;
    memory_add_mmio(memory, base, size, PRIORITY_BOARD, &pflash_ops, flash, id);
    device_add(list, &flash->device, &pflash_device_ops, id);
    pflash_reset(&flash->device);
    return flash;
}
