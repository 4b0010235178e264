/*
 * Intel 8237A DMA controllers (datasheet 231466) as wired on the AT, with page registers.
 *
 * Transfers happen when a device asks (i8237_write_memory and i8237_read_memory); the guest sees
 * the address and count registers move. Not modelled: memory-to-memory transfers, compressed timing
 * and bus priorities (logged when asked for), and hold/acknowledge cycles.
 */
#include "hw/chipset/i8237.h"

#include "hw/alloc.h"

#include <stdlib.h>
#include <string.h>

#define CONTROLLERS 2
#define CHANNELS    4

/* Registers 8-15 of a controller. */
enum {
    REG_STATUS_COMMAND = 8,
    REG_REQUEST,
    REG_SINGLE_MASK,
    REG_MODE,
    REG_CLEAR_FLIP_FLOP,
    REG_TEMPORARY_MASTER_CLEAR,
    REG_CLEAR_MASK,
    REG_ALL_MASK,
};

#define COMMAND_MEMORY_TO_MEMORY 0x01
#define COMMAND_DISABLE          0x04
#define MODE_TRANSFER            0x0c
#define MODE_VERIFY              0x00
#define MODE_WRITE               0x04 /* device to memory */
#define MODE_READ                0x08 /* memory to device */
#define MODE_AUTO                0x10
#define MODE_DECREMENT           0x20

/* Page register (port 0x80 + index) of each channel 0-7; the others are plain storage. */
static const uint8_t page_index[CONTROLLERS * CHANNELS] = {0x7, 0x3, 0x1, 0x2, 0xf, 0xb, 0x9, 0xa};

struct channel {
    uint16_t base_address, base_count, address, count;
    uint8_t mode;
};

struct controller {
    struct channel channel[CHANNELS];
    uint8_t command, mask, request, status; /* status: terminal counts in bits 0-3 */
    bool high_byte;                         /* the flip-flop */
};

struct i8237 {
    struct device device;
    struct memory *memory;
    struct controller controller[CONTROLLERS];
    uint8_t page[16];
    void (*accessed)(void *opaque); /* or NULL */
    void *accessed_opaque;
};

static const struct field channel_fields[] = {
    FIELD(struct channel, base_address, 1), FIELD(struct channel, base_count, 1),
    FIELD(struct channel, address, 1),      FIELD(struct channel, count, 1),
    FIELD(struct channel, mode, 1),         FIELD_END,
};

static const struct field controller_fields[] = {
    FIELD_STRUCTS(struct controller, channel, channel_fields, 1),
    FIELD(struct controller, command, 1),
    FIELD(struct controller, mask, 1),
    FIELD(struct controller, request, 1),
    FIELD(struct controller, status, 1),
    FIELD(struct controller, high_byte, 1),
    FIELD_END,
};

static const struct field i8237_fields[] = {
    FIELD_STRUCTS(struct i8237, controller, controller_fields, 1),
    FIELD_ARRAY(struct i8237, page, 1),
    FIELD_END,
};

/* -- Registers -- */

static uint8_t take_byte(struct controller *c, uint16_t value)
{
    uint8_t byte = (uint8_t)(c->high_byte ? value >> 8 : value);
    c->high_byte = !c->high_byte;
    return byte;
}

static uint8_t controller_read(struct controller *c, unsigned reg)
{
    if (reg < REG_STATUS_COMMAND) {
        struct channel *channel = &c->channel[reg / 2];
        return take_byte(c, reg & 1 ? channel->count : channel->address);
    }
    switch (reg) {
    case REG_STATUS_COMMAND: {
        uint8_t status = (uint8_t)(c->status | c->request << 4);
        c->status = 0; /* reading clears the terminal counts */
        return status;
    }
    case REG_TEMPORARY_MASTER_CLEAR:
        return 0;
    case REG_ALL_MASK:
        return c->mask | 0xf0;
    }
    return 0xff;
}

static void master_clear(struct controller *c)
{
    c->command = c->status = c->request = 0;
    c->mask = 0x0f;
    c->high_byte = false;
}

static void put_byte(uint16_t *base, uint16_t *current, uint8_t value, bool high)
{
    *base = high ? (uint16_t)((*base & 0x00ff) | value << 8) : (uint16_t)((*base & 0xff00) | value);
    *current = *base;
}

static void set_bit(uint8_t *bits, uint8_t value)
{
    uint8_t bit = (uint8_t)(1u << (value & 3));
    *bits = value & 4 ? *bits | bit : *bits & (uint8_t)~bit;
}

static void controller_write(struct controller *c, unsigned reg, uint8_t value)
{
    if (reg < REG_STATUS_COMMAND) {
        struct channel *channel = &c->channel[reg / 2];
        if (reg & 1)
            put_byte(&channel->base_count, &channel->count, value, c->high_byte);
        else
            put_byte(&channel->base_address, &channel->address, value, c->high_byte);
        c->high_byte = !c->high_byte;
        return;
    }
    switch (reg) {
    case REG_STATUS_COMMAND:
        c->command = value;
        if (value & COMMAND_MEMORY_TO_MEMORY)
            log_guest("i8237: memory-to-memory transfers are not modelled");
        break;
    case REG_REQUEST:
        set_bit(&c->request, value);
        break;
    case REG_SINGLE_MASK:
        set_bit(&c->mask, value);
        break;
    case REG_MODE:
        c->channel[value & 3].mode = value;
        break;
    case REG_CLEAR_FLIP_FLOP:
        c->high_byte = false;
        break;
    case REG_TEMPORARY_MASTER_CLEAR:
        master_clear(c);
        break;
    case REG_CLEAR_MASK:
        c->mask = 0;
        break;
    case REG_ALL_MASK:
        c->mask = value & 0x0f;
        break;
    }
}

static void tell_access(const struct i8237 *dma)
{
    if (dma->accessed)
        dma->accessed(dma->accessed_opaque);
}

static uint64_t first_read(void *opaque, uint64_t offset, unsigned size)
{
    tell_access(opaque);
    return controller_read(&((struct i8237 *)opaque)->controller[0], (unsigned)offset);
}

static void first_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    tell_access(opaque);
    controller_write(&((struct i8237 *)opaque)->controller[0], (unsigned)offset, (uint8_t)value);
}

/* The second controller's address lines are shifted by one: only even ports. */
static uint64_t second_read(void *opaque, uint64_t offset, unsigned size)
{
    tell_access(opaque);
    return controller_read(&((struct i8237 *)opaque)->controller[1], (unsigned)offset >> 1);
}

static void second_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    tell_access(opaque);
    controller_write(&((struct i8237 *)opaque)->controller[1], (unsigned)offset >> 1,
                     (uint8_t)value);
}

static uint64_t page_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((struct i8237 *)opaque)->page[offset];
}

static void page_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ((struct i8237 *)opaque)->page[offset] = (uint8_t)value;
}

static const struct access_ops first_access = {first_read, first_write, 1, 1};
static const struct access_ops second_access = {second_read, second_write, 1, 1};
static const struct access_ops page_access = {page_read, page_write, 1, 1};

/* -- Transfers -- */

/* The channel if it may move data in this direction now, else NULL. */
static struct channel *ready_channel(struct i8237 *dma, int number, uint8_t transfer)
{
    struct controller *c = &dma->controller[number >> 2 & 1];
    struct channel *channel = &c->channel[number & 3];
    uint8_t mode = channel->mode & MODE_TRANSFER;
    if ((c->command & COMMAND_DISABLE) || (c->mask >> (number & 3) & 1) ||
        (mode != transfer && mode != MODE_VERIFY))
        return NULL;
    return channel;
}

/* Moves the registers over one unit; true at terminal count. */
static bool advance(struct controller *c, struct channel *channel, int number)
{
    channel->address = (uint16_t)(channel->address + (channel->mode & MODE_DECREMENT ? -1 : 1));
    if (channel->count-- != 0)
        return false;
    uint8_t bit = (uint8_t)(1u << (number & 3));
    c->status |= bit;
    c->request &= (uint8_t)~bit;
    if (channel->mode & MODE_AUTO) {
        channel->address = channel->base_address;
        channel->count = channel->base_count;
    } else {
        c->mask |= bit;
    }
    return true;
}

/* Physical address of the next unit: word channels drive A1-A16 and 128 KiB pages. */
static uint64_t unit_address(const struct i8237 *dma, const struct channel *channel, int number)
{
    uint64_t page = dma->page[page_index[number]];
    if (number >= CHANNELS)
        return (page & 0xfe) << 16 | (uint64_t)channel->address << 1;
    return page << 16 | channel->address;
}

static size_t transfer(struct i8237 *dma, int number, uint8_t *to_device, const uint8_t *to_memory,
                       size_t length, bool *terminal_count)
{
    struct channel *channel = ready_channel(dma, number, to_memory ? MODE_WRITE : MODE_READ);
    size_t unit = number >= CHANNELS ? 2 : 1, moved = 0;
    *terminal_count = false;
    if (!channel)
        return 0;
    while (moved + unit <= length && !*terminal_count) {
        uint64_t address = unit_address(dma, channel, number);
        if ((channel->mode & MODE_TRANSFER) != MODE_VERIFY) {
            if (to_memory)
                memory_dma_write(dma->memory, address, to_memory + moved, unit);
            else
                memory_dma_read(dma->memory, address, to_device + moved, unit);
        }
        moved += unit;
        *terminal_count = advance(&dma->controller[number >> 2], channel, number);
    }
    return moved;
}

size_t i8237_write_memory(struct i8237 *dma, int channel, const void *data, size_t length,
                          bool *terminal_count)
{
    return transfer(dma, channel, NULL, data, length, terminal_count);
}

size_t i8237_read_memory(struct i8237 *dma, int channel, void *data, size_t length,
                         bool *terminal_count)
{
    return transfer(dma, channel, data, NULL, length, terminal_count);
}

void i8237_on_access(struct i8237 *dma, void (*accessed)(void *opaque), void *opaque)
{
    dma->accessed = accessed;
    dma->accessed_opaque = opaque;
}

/* -- Life -- */

static void i8237_reset(struct device *device)
{
    struct i8237 *dma = (struct i8237 *)device;
    /* The chip leaves addresses and counts as they are; a defined start is worth more. */
    memset(dma->controller, 0, sizeof dma->controller);
    memset(dma->page, 0, sizeof dma->page);
    for (int i = 0; i < CONTROLLERS; i++)
        master_clear(&dma->controller[i]);
}

static void i8237_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops i8237_ops = {
    .name = "i8237",
    .fields = i8237_fields,
    .version = 1,
    .reset = i8237_reset,
    .destroy = i8237_destroy,
};

struct i8237 *i8237_new(struct device_list *list, struct io_bus *io, struct memory *memory,
                        const char *id)
{
    struct i8237 *dma = alloc_zeroed(sizeof *dma);
    dma->memory = memory;
    device_add(list, &dma->device, &i8237_ops, id);
    io_bus_add(io, 0x00, 16, &first_access, dma);
    io_bus_add(io, 0xc0, 32, &second_access, dma);
    io_bus_add(io, 0x80, 16, &page_access, dma);
    return dma;
}
