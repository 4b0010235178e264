/*
 * Mixing by the virtual clock: while any source is awake, a timer asks for as many frames as have
 * become due, at the latest when a device's interrupt is. What a device plays depends on virtual
 * time and on the guest's answers only, and whoever looks at a device's position brings it up to
 * date first (mixer_sync), so positions move frame by frame and interrupts come when they should.
 *
 *     virtual time   ------------------------------|--- now
 *     frames due     ==============================
 *     frames played  ====================                   behind: the rest comes at twice the
 *                                                           pace, what is older than BEHIND_MAX
 *                                                           not at all
 */
#include "hw/audio/mixer.h"
#include "hw/alloc.h"

#include <string.h>

#define BEHIND_MAX  (MIXER_RATE / 2)
#define CATCH_UP    2 /* times the usual pace */
#define CATCH_UP_NS (NS_PER_SECOND * MIXER_FRAMES / MIXER_RATE / CATCH_UP)
#define WAIT_NS     (NS_PER_SECOND / 1000) /* until the next look whether the guest has answered */
/* How long this goes on altogether: patience grows with what is played meanwhile, so that sound
 * takes about five times its length at most; drivers give up on cards that are slower. */
#define PATIENCE_NS     (NS_PER_SECOND / 2)
#define PATIENCE_GROWTH 4

struct mixer {
    struct clock *clock;
    struct audio_port *port;
    struct mixer_source *sources;
    struct timer timer;  /* pending while a source is awake */
    uint64_t start_ns;   /* when the first of them woke */
    uint64_t frames;     /* played since */
    uint64_t last_ns;    /* when it went on last */
    uint64_t waiting_ns; /* when it was looked last whether the guest has answered, or 0 */
    uint64_t patience_ns;
    bool impatient; /* waited long enough: not again before an answer */
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
    mixer->frames += count;
    mixer->patience_ns += clock_scale(count, PATIENCE_GROWTH * NS_PER_SECOND, MIXER_RATE);
    if (mixer->patience_ns > PATIENCE_NS)
        mixer->patience_ns = PATIENCE_NS;
    return any;
}

/* Up to `most` frames, ending with the next interrupt, or before it if the last is unanswered. */
static size_t piece_length(struct mixer *mixer, size_t most)
{
    bool answered = true;
    size_t length = most, patient_length = most;
    for (struct mixer_source *source = mixer->sources; source; source = source->next) {
        if (!source->awake || !source->next_interrupt)
            continue;
        bool unanswered = false;
        size_t next = source->next_interrupt(source->device, &unanswered);
        answered &= !unanswered;
        if (next < length)
            length = next;
        if (next - unanswered < patient_length)
            patient_length = next - unanswered;
    }
    if (answered)
        mixer->impatient = false;
    return mixer->impatient ? length : patient_length;
}

static void wait_for_answer(struct mixer *mixer, uint64_t now)
{
    uint64_t waited = mixer->waiting_ns ? now - mixer->waiting_ns : 0;
    mixer->waiting_ns = now;
    mixer->impatient = waited >= mixer->patience_ns;
    mixer->patience_ns -= mixer->impatient ? mixer->patience_ns : waited;
}

static uint64_t frames_due(const struct mixer *mixer, uint64_t now)
{
    return clock_scale(now - mixer->start_ns, MIXER_RATE, NS_PER_SECOND);
}

static void plan(struct mixer *mixer, uint64_t now)
{
    uint64_t next;
    if (mixer->waiting_ns) {
        next = now + WAIT_NS;
    } else if (frames_due(mixer, now) > mixer->frames) {
        next = now + CATCH_UP_NS;
    } else {
        size_t length = piece_length(mixer, MIXER_FRAMES);
        if (length == 0) /* an answer is wanted with the very next frame */
            length = 1;
        next = mixer->start_ns + clock_scale(mixer->frames + length, NS_PER_SECOND, MIXER_RATE);
        next += frames_due(mixer, next) < mixer->frames + length; /* rounded up */
    }
    timer_set(&mixer->timer, next);
}

static void restart(struct mixer *mixer, uint64_t now)
{
    mixer->start_ns = mixer->last_ns = now;
    mixer->frames = 0;
    mixer->waiting_ns = 0;
    mixer->patience_ns = PATIENCE_NS;
    mixer->impatient = false;
}

/* Plays what is due; false if everybody is silent then. */
static bool advance(struct mixer *mixer, uint64_t now)
{
    if (now < mixer->last_ns) /* the clock of a saved machine */
        restart(mixer, now);
    uint64_t behind = frames_due(mixer, now) - mixer->frames;
    uint64_t pace = clock_scale(now - mixer->last_ns, CATCH_UP * MIXER_RATE, NS_PER_SECOND);
    if (behind > BEHIND_MAX) {
        mixer->frames += behind - BEHIND_MAX;
        behind = BEHIND_MAX;
    }
    size_t most = (size_t)(behind < pace ? behind : pace);
    if (most == 0)
        return true;
    if (most > MIXER_FRAMES)
        most = MIXER_FRAMES;
    mixer->last_ns = now;
    bool any = true;
    while (any && most) {
        size_t count = piece_length(mixer, most);
        if (count == 0) {
            wait_for_answer(mixer, now);
            break;
        }
        mixer->waiting_ns = 0;
        any = mix_piece(mixer, count);
        most -= count;
    }
    return any;
}

void mixer_sync(struct mixer *mixer)
{
    if (!timer_pending(&mixer->timer) || mixer->mixing)
        return;
    uint64_t now = clock_now(mixer->clock);
    mixer->mixing = true;
    if (advance(mixer, now))
        plan(mixer, now);
    else
        timer_cancel(&mixer->timer);
    mixer->mixing = false;
}

static void mix_due(void *opaque)
{
    struct mixer *mixer = opaque;
    timer_set(&mixer->timer, mixer->timer.deadline_ns); /* somebody is awake */
    mixer_sync(mixer);
}

void mixer_wake(struct mixer *mixer, struct mixer_source *source)
{
    mixer_sync(mixer); /* the others, up to here */
    source->awake = true;
    uint64_t now = clock_now(mixer->clock);
    if (!timer_pending(&mixer->timer))
        restart(mixer, now);
    plan(mixer, now);
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
