/*
 * Extended display identification data. Specification: VESA E-EDID A.2 (EDID 1.4), 3; timings by
 * the reduced blanking formulas of VESA CVT 1.2.
 */
#include "hw/display/edid.h"

#include <string.h>

#define MANUFACTURER   ('D' - '@') << 10 | ('P' - '@') << 5 | ('L' - '@')
#define PRODUCT        1
#define YEAR           2024
#define DIGITAL_8_BITS 0xa0
#define GAMMA_2_2      120
#define FEATURES       0x06 /* sRGB; the first detailed timing is the native one */
#define DIGITAL_SYNC_P 0x1a /* separate, horizontal positive */
#define WIDTH_CM       34   /* about 96 dots an inch in the preferred mode */
#define HEIGHT_CM      21

enum offset {
    O_MANUFACTURER = 8,
    O_PRODUCT = 10,
    O_YEAR = 17,
    O_VERSION = 18,
    O_INPUT = 20,
    O_WIDTH_CM = 21,
    O_HEIGHT_CM = 22,
    O_GAMMA = 23,
    O_FEATURES = 24,
    O_CHROMATICITY = 25,
    O_ESTABLISHED = 35,
    O_STANDARD = 38,
    O_DESCRIPTORS = 54,
    O_CHECKSUM = 127,
};
#define DESCRIPTOR 18

/* A detailed timing (3.10.2): CVT with reduced blanking, 60 Hz. */
static void put_timing(uint8_t *to, unsigned width, unsigned height)
{
    enum { H_BLANK = 160, H_FRONT = 48, H_SYNC = 32, V_FRONT = 3, V_SYNC = 6, V_BLANK_US = 460 };
    /* Lines of blanking that last at least 460 us: x / (height + x) of a 60th of a second. */
    unsigned blank = height * V_BLANK_US / (1000000 / 60 - V_BLANK_US) + 1;
    unsigned clock = (width + H_BLANK) * (height + blank) * 6 / 1000; /* 10 kHz */
    const unsigned wide = 10 * WIDTH_CM, high = 10 * HEIGHT_CM;
    const uint8_t timing[DESCRIPTOR] = {
        (uint8_t)clock,
        (uint8_t)(clock >> 8),
        (uint8_t)width,
        H_BLANK,
        (uint8_t)(width >> 8 << 4),
        (uint8_t)height,
        (uint8_t)blank,
        (uint8_t)(height >> 8 << 4 | blank >> 8),
        H_FRONT,
        H_SYNC,
        V_FRONT << 4 | V_SYNC,
        0,
        (uint8_t)wide,
        (uint8_t)high,
        (uint8_t)(wide >> 8 << 4 | high >> 8),
        0,
        0,
        DIGITAL_SYNC_P,
    };
    memcpy(to, timing, sizeof timing);
}

/* A display descriptor (3.10.3). */
static void put_descriptor(uint8_t *to, uint8_t tag, const void *data, size_t length)
{
    memset(to, 0, DESCRIPTOR);
    to[3] = tag;
    memcpy(to + 5, data, length);
}

static void put_standard_timings(uint8_t *to)
{
    enum { ASPECT_16_10, ASPECT_4_3, ASPECT_5_4, ASPECT_16_9 };
    static const struct {
        uint16_t width;
        uint8_t aspect;
    } mode[8] = {
        {1920, ASPECT_16_10}, {1920, ASPECT_16_9}, {1680, ASPECT_16_10}, {1600, ASPECT_4_3},
        {1440, ASPECT_16_10}, {1280, ASPECT_5_4},  {1280, ASPECT_4_3},   {1280, ASPECT_16_9},
    };
    for (unsigned i = 0; i < 8; i++) {
        to[2 * i] = (uint8_t)(mode[i].width / 8 - 31);
        to[2 * i + 1] = (uint8_t)(mode[i].aspect << 6); /* and 60 Hz */
    }
}

void edid_build(uint8_t edid[EDID_SIZE])
{
    static const uint8_t header[8] = {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0};
    /* Red, green, blue and white of sRGB: low bits, then 8 bits each. */
    static const uint8_t srgb[10] = {0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54};
    /* 640x480, 800x600 and 1024x768 at 60 Hz. */
    static const uint8_t established[3] = {0x21, 0x08, 0x00};
    /* 50 to 75 Hz, 30 to 110 kHz, up to 280 MHz, nothing beyond these limits said. */
    static const uint8_t range[13] = {50, 75, 30, 110, 28, 1, '\n', ' ', ' ', ' ', ' ', ' ', ' '};
    uint8_t sum = 0;

    memset(edid, 0, EDID_SIZE);
    memcpy(edid, header, sizeof header);
    edid[O_MANUFACTURER] = (uint8_t)((MANUFACTURER) >> 8);
    edid[O_MANUFACTURER + 1] = (uint8_t)(MANUFACTURER);
    edid[O_PRODUCT] = PRODUCT;
    edid[O_YEAR] = YEAR - 1990;
    edid[O_VERSION] = 1;
    edid[O_VERSION + 1] = 4;
    edid[O_INPUT] = DIGITAL_8_BITS;
    edid[O_WIDTH_CM] = WIDTH_CM;
    edid[O_HEIGHT_CM] = HEIGHT_CM;
    edid[O_GAMMA] = GAMMA_2_2;
    edid[O_FEATURES] = FEATURES;
    memcpy(edid + O_CHROMATICITY, srgb, sizeof srgb);
    memcpy(edid + O_ESTABLISHED, established, sizeof established);
    put_standard_timings(edid + O_STANDARD);
    put_timing(edid + O_DESCRIPTORS, 1280, 800);
    put_timing(edid + O_DESCRIPTORS + DESCRIPTOR, 2560, 1600);
    put_descriptor(edid + O_DESCRIPTORS + 2 * DESCRIPTOR, 0xfd, range, sizeof range);
    put_descriptor(edid + O_DESCRIPTORS + 3 * DESCRIPTOR, 0xfc, "doppel\n      ", 13);
    for (unsigned i = 0; i < O_CHECKSUM; i++)
        sum += edid[i];
    edid[O_CHECKSUM] = (uint8_t)-sum;
}
