/*
 * Scan codes of a PC keyboard by HID usage (page 7), and beyond 0xff by the numbers with which
 * SDL continues them for consumer keys.
 */
#ifndef DOPPEL_HW_INPUT_PS2_KEYS_H
#define DOPPEL_HW_INPUT_PS2_KEYS_H

#include <stdint.h>

#define HID_PRINT_SCREEN 0x46
#define HID_PAUSE        0x48
#define HID_LEFT_CTRL    0xe0
#define HID_LEFT_SHIFT   0xe1
#define HID_LEFT_ALT     0xe2
#define HID_RIGHT_CTRL   0xe4
#define HID_RIGHT_SHIFT  0xe5
#define HID_RIGHT_ALT    0xe6

#define KEY_EXTENDED     0x01 /* 0xe0 before the code in sets 1 and 2 */
#define KEY_MAKE_ONLY    0x02 /* says nothing when released */

struct ps2_key {
    uint8_t set2; /* 0: no such key (print screen and pause are special) */
    uint8_t flags;
    uint8_t set3; /* 0: not in that set */
};

#define PS2_KEYS 0x120

extern const struct ps2_key ps2_keys[PS2_KEYS];

#endif
