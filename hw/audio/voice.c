/*
 * Conversion of rates for devices' voices (voice.h).
 */
#include "hw/audio/voice.h"

#include <string.h>

const struct field voice_fields[] = {
    FIELD(struct voice, phase, 1),
    FIELD_ARRAY(struct voice, before, 1),
    FIELD_ARRAY(struct voice, now, 1),
    FIELD_END,
};

bool voice_step(struct voice *voice, unsigned rate, voice_next *next, void *device, int32_t out[2])
{
    int32_t sum[2] = {0}, taken = 0;
    bool more = true;
    for (voice->phase += rate; voice->phase >= MIXER_RATE; voice->phase -= MIXER_RATE) {
        memcpy(voice->before, voice->now, sizeof voice->now);
        if (!more || !next(device, voice->now)) {
            more = false;
            continue;
        }
        sum[0] += voice->now[0];
        sum[1] += voice->now[1];
        taken++;
    }
    for (int side = 0; side < 2; side++) {
        if (rate == MIXER_RATE || rate >= 2 * MIXER_RATE)
            out[side] = taken ? sum[side] / taken : 0;
        else
            out[side] = voice->before[side] + (voice->now[side] - voice->before[side]) *
                                                  (int64_t)voice->phase / MIXER_RATE;
    }
    return more;
}

size_t voice_steps(const struct voice *voice, unsigned rate, uint64_t frames)
{
    return (size_t)((frames * MIXER_RATE - voice->phase + rate - 1) / rate);
}

bool voice_valid(const struct voice *voice)
{
    return voice->phase < MIXER_RATE;
}
