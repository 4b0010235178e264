/*
 * The codec on a High Definition Audio link: one stereo output, one stereo input (hda_codec.c).
 */
#ifndef DOPPEL_HW_AUDIO_HDA_CODEC_H
#define DOPPEL_HW_AUDIO_HDA_CODEC_H

#include "cpu/field.h"

#include <stdbool.h>
#include <stdint.h>

#define HDA_NODES 6

struct hda_codec {
    uint8_t power; /* of the audio function: 0 (D0) to 3 */
    uint32_t subsystem;
    /* By node; what a node does not have stays 0. */
    uint16_t format[HDA_NODES];
    uint8_t stream[HDA_NODES]; /* stream number << 4 | channel */
    uint8_t amplifier[HDA_NODES][2];
    uint8_t pin_control[HDA_NODES];
    uint32_t pin_default[HDA_NODES];
};

extern const struct field hda_codec_fields[];

/* Power-on: everything; the link's reset leaves what a BIOS may have written about the jacks. */
void hda_codec_power_on(struct hda_codec *codec);
void hda_codec_reset(struct hda_codec *codec);
/* The answer to a command: node << 20 | verb and payload. */
uint32_t hda_codec_command(struct hda_codec *codec, uint32_t command);

/* The output's first channel of the stream with this number (from 1), or -1: it plays another. */
int hda_codec_output_channel(const struct hda_codec *codec, unsigned stream);
/* How loud the output is, as factors of 65536: left, right. */
void hda_codec_gain(const struct hda_codec *codec, int32_t gain[2]);

#endif
