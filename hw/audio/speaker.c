/*
 * The PC speaker as a source of the mixer: a square wave at the rate of counter 2 while port 61h
 * lets it through. Waves beyond hearing and sounds made by toggling the port bit itself are silent.
 */
#include "hw/audio/speaker.h"
#include "hw/alloc.h"

#define AMPLITUDE 8000
#define TICKS_MIN 60u /* about 20 kHz */

struct speaker {
    struct i8254 *pit;
    struct mixer *mixer;
    struct mixer_source source;
    uint32_t period; /* of the wave, in timer ticks */
    uint64_t phase;  /* timer ticks since the wave began, 32 bits after the point */
};

static bool render(void *device, int32_t *mix, size_t count)
{
    struct speaker *speaker = device;
    if (speaker->period < TICKS_MIN) {
        speaker->phase = 0;
        return false;
    }
    uint64_t wave = (uint64_t)speaker->period << 32;
    for (size_t i = 0; i < count; i++) {
        int32_t sample = speaker->phase < wave / 2 ? AMPLITUDE : -AMPLITUDE;
        mix[2 * i] += sample;
        mix[2 * i + 1] += sample;
        speaker->phase = (speaker->phase + (PIT_HZ << 32) / MIXER_RATE) % wave;
    }
    return true;
}

static void tone_changed(void *opaque)
{
    struct speaker *speaker = opaque;
    mixer_sync(speaker->mixer); /* the tone before, up to here */
    speaker->period = i8254_tone(speaker->pit);
    if (speaker->period >= TICKS_MIN)
        mixer_wake(speaker->mixer, &speaker->source);
}

struct speaker *speaker_new(struct i8254 *pit, struct mixer *mixer)
{
    struct speaker *speaker = alloc_zeroed(sizeof *speaker);
    speaker->pit = pit;
    speaker->mixer = mixer;
    speaker->source = (struct mixer_source){.render = render, .device = speaker};
    mixer_add(mixer, &speaker->source);
    i8254_on_tone(pit, tone_changed, speaker);
    return speaker;
}

void speaker_free(struct speaker *speaker)
{
    free(speaker);
}
