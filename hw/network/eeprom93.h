/*
 * 93C46: a serial EEPROM of 64 words of 16 bits on four Microwire pins, as network cards keep their
 * address in.
 */
#ifndef DOPPEL_HW_NETWORK_EEPROM93_H
#define DOPPEL_HW_NETWORK_EEPROM93_H

#include "cpu/field.h"

#define EEPROM93_WORDS 64

struct eeprom93 {
    uint16_t word[EEPROM93_WORDS];
    uint32_t shift;  /* bits of the command so far */
    uint8_t count;   /* how many, from the start bit on */
    uint16_t output; /* word on its way out */
    uint8_t sent;    /* its bits that were seen */
    uint8_t address;
    bool reading;
    bool writable; /* EWEN was given */
    bool selected, clock, data_out;
};

extern const struct field eeprom93_fields[];

/* Power on, or the pins let go: no command under way. */
void eeprom93_release(struct eeprom93 *eeprom);
/* Sets the input pins; `data_out` is the output pin afterwards. */
void eeprom93_set_pins(struct eeprom93 *eeprom, bool select, bool clock, bool data_in);
/* After loading: false if the state is none that commands lead to. */
bool eeprom93_valid(const struct eeprom93 *eeprom);

#endif
