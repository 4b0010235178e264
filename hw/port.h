/*
 * The ports that net/ and ui/ plug into. A device holds the board's side of a port; whoever is
 * outside fills the struct of callbacks. Everything runs under the board lock unless said.
 */
#ifndef DOPPEL_HW_PORT_H
#define DOPPEL_HW_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* -- Packets: a NIC model <-> a network -- */

struct packet_port {
    /* NIC -> network; set by the network. An Ethernet frame without FCS. */
    void (*send)(void *network, const uint8_t *frame, size_t length);
    void *network;
    /* Longest frame that `send` takes, 0: a standard one. A network that ends the guest's TCP
     * itself takes segments of up to 64 KiB as they are. */
    size_t send_max;
    /* Network -> NIC; set by the NIC. False: no receive buffer now, the network may keep the frame
     * and try again when `writable` is called. */
    bool (*receive)(void *nic, const uint8_t *frame, size_t length);
    bool (*can_receive)(void *nic);
    void *nic;
    /* NIC -> network: receive buffers have appeared. May be NULL. */
    void (*writable)(void *network);
    bool link_up;
};

/* -- Bytes: a serial line, debug console or monitor <-> something outside -- */

struct byte_port {
    /* Device -> outside; set by the outside. Never blocks; drops or buffers what does not fit. */
    void (*send)(void *outside, const uint8_t *bytes, size_t count);
    void *outside;
    /* Outside -> device; set by the device. Takes at most `count`, returns how many it took. */
    size_t (*receive)(void *device, const uint8_t *bytes, size_t count);
    void *device;
    /* Device -> outside: room for more input has appeared. May be NULL. */
    void (*writable)(void *outside);
};

/* -- Picture: a display adapter <-> a window, VNC, screenshots -- */

struct frame {
    uint32_t *pixels; /* 0x00RRGGBB, owned by the adapter, valid until the next refresh */
    int width, height;
    int stride; /* pixels per row */
};

struct display_rows {
    int first, count;
};

struct display_port {
    /* Adapter's side, set by the adapter. Composes what changed since the last call into the frame
     * and returns true if anything did; *rows bounds the changed rows; a change of size marks all.
     */
    bool (*refresh)(void *adapter, struct frame *frame, struct display_rows *rows);
    /* Forces the next refresh to compose everything. */
    void (*invalidate)(void *adapter);
    /* Text of a text mode as UTF-8 rows separated by newlines, for tests and copy: returns length,
     * or 0 in graphics modes. */
    size_t (*text)(void *adapter, char *buffer, size_t size);
    void *adapter;
};

/* -- Sound: the machine -> loudspeakers or a file -- */

struct audio_port {
    /* 16-bit stereo frames at 48 kHz, in order; set by the outside. Never blocks. May be NULL. */
    void (*play)(void *outside, const int16_t *frames, size_t count);
    void *outside;
};

/* -- Input: keys and pointer -> the machine -- */

/* Keys are USB HID usage codes (page 7): SDL scancodes are the same numbers; the keyboard model
 * maps them to PS/2 sets. */
#define INPUT_POSITION_MAX 32767u

struct input_port {
    void (*key)(void *device, uint16_t hid_usage, bool down);
    void *keyboard;
    /* Relative motion in guest pixels, wheel in notches; buttons: bit 0 left, 1 right, 2 middle. */
    void (*pointer)(void *device, int dx, int dy, int wheel, unsigned buttons);
    /* The mouse says something although nothing happened to it; set by the mouse. */
    void (*nudge)(void *device);
    void *mouse;
    /* Where the pointer is on the picture, from 0 to INPUT_POSITION_MAX in both directions, for
     * guests that use such a device: `absolute` says so. Others get pointer() instead. */
    void (*position)(void *device, unsigned x, unsigned y, int wheel, unsigned buttons);
    void *tablet;
    bool absolute;
    uint8_t leds; /* bit 0 scroll, 1 num, 2 caps: kept by the keyboard model */
};

#endif
