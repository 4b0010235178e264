/*
 * 93C46 in its 64 x 16 organization. A command is a start bit, two bits of opcode, six of address
 * and, for writes, sixteen of data, each taken at a rising clock edge while the chip is selected:
 *
 *     1 10 aaaaaa          READ: a zero, then words from there on
 *     1 01 aaaaaa d...     WRITE          1 00 01xxxx d...  WRAL (all words)
 *     1 11 aaaaaa          ERASE          1 00 10xxxx       ERAL
 *     1 00 11xxxx          EWEN: writes and erasures work from now on
 *     1 00 00xxxx          EWDS: they do not
 *
 * They take no time: the pin says "ready" at once.
 */
#include "hw/network/eeprom93.h"

enum { SPECIAL, WRITE, READ, ERASE };                 /* opcodes */
enum { EWDS, WRAL, ERAL, EWEN };                      /* upper address bits of SPECIAL */
enum { COMMAND_BITS = 9, DATA_BITS = 16, LAST = 63 }; /* the start bit counts */

const struct field eeprom93_fields[] = {
    FIELD_ARRAY(struct eeprom93, word, 1), FIELD(struct eeprom93, shift, 1),
    FIELD(struct eeprom93, count, 1),      FIELD(struct eeprom93, output, 1),
    FIELD(struct eeprom93, sent, 1),       FIELD(struct eeprom93, address, 1),
    FIELD(struct eeprom93, reading, 1),    FIELD(struct eeprom93, writable, 1),
    FIELD(struct eeprom93, selected, 1),   FIELD(struct eeprom93, clock, 1),
    FIELD(struct eeprom93, data_out, 1),   FIELD_END,
};

static void start_word(struct eeprom93 *eeprom, unsigned address)
{
    eeprom->reading = true;
    eeprom->sent = 0;
    eeprom->address = address % EEPROM93_WORDS;
    eeprom->output = eeprom->word[eeprom->address];
}

static void send_bit(struct eeprom93 *eeprom)
{
    if (eeprom->sent == DATA_BITS) /* goes on with the next word */
        start_word(eeprom, eeprom->address + 1u);
    eeprom->data_out = eeprom->output >> (DATA_BITS - 1 - eeprom->sent) & 1;
    eeprom->sent++;
}

static void fill(struct eeprom93 *eeprom, unsigned first, unsigned last, uint16_t value)
{
    for (unsigned i = first; eeprom->writable && i <= last; i++)
        eeprom->word[i] = value;
}

/* A command without data was taken in. False: it is one that needs data. */
static bool execute(struct eeprom93 *eeprom, unsigned opcode, unsigned address)
{
    unsigned special = address >> 4;
    if (opcode == WRITE || (opcode == SPECIAL && special == WRAL))
        return false;
    if (opcode == READ)
        start_word(eeprom, address);
    else if (opcode == ERASE)
        fill(eeprom, address, address, 0xffff);
    else if (special == ERAL)
        fill(eeprom, 0, LAST, 0xffff);
    else
        eeprom->writable = special == EWEN;
    return true;
}

static void take_bit(struct eeprom93 *eeprom, bool bit)
{
    if (eeprom->count == 0 && !bit)
        return; /* waits for the start bit */
    eeprom->shift = eeprom->shift << 1 | bit;
    eeprom->count++;
    if (eeprom->count < COMMAND_BITS)
        return;
    if (eeprom->count == COMMAND_BITS) {
        if (!execute(eeprom, eeprom->shift >> 6 & 3, eeprom->shift & LAST))
            return;
    } else if (eeprom->count < COMMAND_BITS + DATA_BITS) {
        return;
    } else {
        unsigned opcode = eeprom->shift >> 22 & 3, address = eeprom->shift >> 16 & LAST;
        bool all = opcode == SPECIAL;
        fill(eeprom, all ? 0 : address, all ? LAST : address, (uint16_t)eeprom->shift);
    }
    eeprom->shift = 0;
    eeprom->count = 0;
    eeprom->data_out = !eeprom->reading; /* ready, or the zero before data */
}

void eeprom93_release(struct eeprom93 *eeprom)
{
    eeprom->shift = 0;
    eeprom->count = eeprom->sent = 0;
    eeprom->reading = eeprom->selected = eeprom->clock = false;
    eeprom->data_out = true;
}

void eeprom93_set_pins(struct eeprom93 *eeprom, bool select, bool clock, bool data_in)
{
    bool rises = clock && !eeprom->clock;
    if (!select) {
        eeprom93_release(eeprom);
    } else if (rises && eeprom->reading) {
        send_bit(eeprom);
    } else if (rises) {
        take_bit(eeprom, data_in);
    }
    eeprom->selected = select;
    eeprom->clock = clock;
}

bool eeprom93_valid(const struct eeprom93 *eeprom)
{
    return eeprom->sent <= DATA_BITS && eeprom->address < EEPROM93_WORDS &&
           eeprom->count < COMMAND_BITS + DATA_BITS;
}
