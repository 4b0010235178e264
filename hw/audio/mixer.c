/*
 * Mixing by the virtual clock: while any source is awake, a timer asks for as many frames as have
 * become due. A loop that was held up catches up at once, so devices never run behind; what a
 * device plays depends on virtual time only.
 */
#include "hw/audio/mixer.h"
#include "hw/alloc.h"

#include <string.h>

#define PERIOD_NS  (NS_PER_SECOND * MIXER_FRAMES / MIXER_RATE)
#define PIECES_MAX 50 /* caught up at once: half a second; what is older is left out */

struct mixer {
    struct clock *clock;
    struct audio_port *port;
    struct mixer_source *sources;
    struct timer timer;
};

static int16_t clip(int32_t sample)
{
    return (int16_t)(sample > INT16_MAX ? INT16_MAX : sample < INT16_MIN ? INT16_MIN : sample);
}

/* True while somebody plays. */
static bool mix_piece(struct mixer *mixer)
{
    int32_t mix[2 * MIXER_FRAMES] = {0};
    int16_t frames[2 * MIXER_FRAMES];
    bool any = false;
    for (struct mixer_source *source = mixer->sources; source; source = source->next) {
        if (source->awake)
            source->awake = source->render(source->device, mix, MIXER_FRAMES);
        any |= source->awake;
    }
    for (size_t i = 0; i < 2 * MIXER_FRAMES; i++)
        frames[i] = clip(mix[i]);
    if (mixer->port->play)
        mixer->port->play(mixer->port->outside, frames, MIXER_FRAMES);
    return any;
}

static void mix_due(void *opaque)
{
    struct mixer *mixer = opaque;
    uint64_t due = mixer->timer.deadline_ns, now = clock_now(mixer->clock);
    if (now - due > PIECES_MAX * PERIOD_NS)
        due = now - PIECES_MAX * PERIOD_NS;
    for (bool any = true; any && due <= now; due += PERIOD_NS) {
        any = mix_piece(mixer);
        if (!any)
            return;
    }
    timer_set(&mixer->timer, due);
}

void mixer_wake(struct mixer *mixer, struct mixer_source *source)
{
    source->awake = true;
    if (!timer_pending(&mixer->timer))
        timer_set(&mixer->timer, clock_now(mixer->clock) + PERIOD_NS);
}

void mixer_add(struct mixer *mixer, struct mixer_source *source)
{
    source->next = mixer->sources;
    mixer->sources = source;
}

struct mixer *mixer_new(struct clock *clock, struct audio_port *port)
{
    struct mixer *mixer = alloc_zeroed(sizeof *mixer);
    mixer->clock = clock;
    mixer->port = port;
    timer_init(&mixer->timer, clock, mix_due, mixer);
    return mixer;
}

void mixer_free(struct mixer *mixer)
{
    if (!mixer)
        return;
    timer_cancel(&mixer->timer);
    free(mixer);
}
