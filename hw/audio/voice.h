/*
 * A voice: frames that come at a device's rate, heard at the mixer's. At the mixer's rate they pass
 * as they are; up to twice that they are joined by straight lines, which takes one of them longer;
 * above, those that fall into one frame of the mixer are averaged. No frame is lost or heard twice
 * at any rate: the remainder is kept exactly.
 */
#ifndef DOPPEL_HW_AUDIO_VOICE_H
#define DOPPEL_HW_AUDIO_VOICE_H

#include "cpu/field.h"
#include "hw/audio/mixer.h"

#define VOICE_RATE_MAX 192000u

struct voice {
    uint32_t phase;            /* since the newest frame, in 1/MIXER_RATE of a device frame */
    int16_t before[2], now[2]; /* the two newest frames: left, right */
};

extern const struct field voice_fields[];

/* Takes the device's next frame; false: there is none, and `frame` stays as it is. */
typedef bool voice_next(void *device, int16_t frame[2]);

/* One frame of the mixer at `rate` (1 to VOICE_RATE_MAX), taking what becomes due of the device's.
 * False if that ended the sound; what `out` holds then is still to be heard. */
bool voice_step(struct voice *voice, unsigned rate, voice_next *next, void *device, int32_t out[2]);
/* How many steps it takes until `frames` (from 1) more frames have been taken. */
size_t voice_steps(const struct voice *voice, unsigned rate, uint64_t frames);
/* False if a saved voice is damaged. */
bool voice_valid(const struct voice *voice);

#endif
