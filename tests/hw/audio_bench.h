/*
 * A bench for sound devices: the one for PCI devices with a mixer, what it played, and time that
 * passes with everything that is due in it.
 */
#ifndef DOPPEL_TESTS_HW_AUDIO_BENCH_H
#define DOPPEL_TESTS_HW_AUDIO_BENCH_H

#include "hw/audio/mixer.h"
#include "tests/hw/pci_bench.h"

#define AUDIO_PLAYED (48000 * 2)

struct audio_bench {
    struct pci_bench bench;
    struct audio_port port;
    struct mixer *mixer;
    int16_t played[2 * AUDIO_PLAYED];
    size_t frames;
};

static inline void audio_bench_play(void *outside, const int16_t *frames, size_t count)
{
    struct audio_bench *b = outside;
    for (size_t i = 0; i < count && b->frames < AUDIO_PLAYED; i++, b->frames++)
        memcpy(b->played + 2 * b->frames, frames + 2 * i, 4);
}

static inline void audio_bench_build(struct audio_bench *b)
{
    memset(b, 0, sizeof *b);
    pci_bench_build(&b->bench);
    b->port = (struct audio_port){audio_bench_play, b};
    b->mixer = mixer_new(b->bench.clock, &b->port);
}

static inline void audio_bench_free(struct audio_bench *b)
{
    device_list_destroy(&b->bench.devices);
    mixer_free(b->mixer);
    b->bench.devices = (struct device_list){0};
    pci_bench_free(&b->bench);
}

static inline void audio_bench_pass(struct audio_bench *b, uint64_t ns)
{
    struct clock *clock = b->bench.clock;
    uint64_t end = clock_now(clock) + ns;
    while (clock_next_deadline(clock) <= end) {
        if (clock_next_deadline(clock) > clock_now(clock))
            clock_set(clock, clock_next_deadline(clock));
        clock_fire_due(clock);
    }
    clock_set(clock, end);
}

static inline uint64_t audio_bench_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

#endif
