/*
 * Mixing by the virtual clock: while any source is awake, a timer asks for as many frames as have
 * become due. What a device plays depends on virtual time only, and whoever looks at a device's
 * position brings it up to date first (mixer_sync), so positions move frame by frame.
 */
#include "hw/audio/mixer.h"
#include "hw/alloc.h"

#include <string.h>

#define PERIOD_NS  (NS_PER_SECOND * MIXER_FRAMES / MIXER_RATE)
#define BEHIND_MAX (MIXER_RATE / 2) /* frames caught up at once; what is older is left out */

struct mixer {
    struct clock *clock;
    struct audio_port *port;
    struct mixer_source *sources;
    struct timer timer; /* pending while a source is awake */
    uint64_t start_ns;  /* when the first of them woke */
    uint64_t frames;    /* played since */
    bool mixing;
};

static int16_t clip(int32_t sample)
{
    return (int16_t)(sample > INT16_MAX ? INT16_MAX : sample < INT16_MIN ? INT16_MIN : sample);
}

/* True while somebody plays. */
static bool mix_piece(struct mixer *mixer, size_t count)
{
    int32_t mix[2 * MIXER_FRAMES] = {0};
    int16_t frames[2 * MIXER_FRAMES];
    bool any = false;
    for (struct mixer_source *source = mixer->sources; source; source = source->next) {
        if (source->awake)
            source->awake = source->render(source->device, mix, count);
        any |= source->awake;
    }
    for (size_t i = 0; i < 2 * count; i++)
        frames[i] = clip(mix[i]);
    if (mixer->port->play)
        mixer->port->play(mixer->port->outside, frames, count);
    return any;
}

void mixer_sync(struct mixer *mixer)
{
    if (!timer_pending(&mixer->timer) || mixer->mixing)
        return;
    uint64_t due =
        clock_scale(clock_now(mixer->clock) - mixer->start_ns, MIXER_RATE, NS_PER_SECOND);
    if (due - mixer->frames > BEHIND_MAX)
        mixer->frames = due - BEHIND_MAX;
    mixer->mixing = true;
    for (bool any = true; any && mixer->frames < due;) {
        size_t count = due - mixer->frames < MIXER_FRAMES ? due - mixer->frames : MIXER_FRAMES;
        any = mix_piece(mixer, count);
        mixer->frames += count;
        if (!any)
            timer_cancel(&mixer->timer);
    }
    mixer->mixing = false;
}

static void mix_due(void *opaque)
{
    struct mixer *mixer = opaque;
    timer_set(&mixer->timer, mixer->timer.deadline_ns + PERIOD_NS);
    mixer_sync(mixer);
}

void mixer_wake(struct mixer *mixer, struct mixer_source *source)
{
    mixer_sync(mixer); /* the others, up to here */
    source->awake = true;
    if (timer_pending(&mixer->timer))
        return;
    mixer->start_ns = clock_now(mixer->clock);
    mixer->frames = 0;
    timer_set(&mixer->timer, mixer->start_ns + PERIOD_NS);
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
