/*
 * Pace of sound between two clocks (pace.h).
 */
#include "ui/pace.h"

#include <string.h>

#define BEND_MAX  240              /* Hz: half a percent */
#define SMOOTHING (MIXER_RATE / 4) /* frames in which the measured level follows */

struct piece {
    const int16_t *next;
};

static bool next_frame(void *device, int16_t frame[2])
{
    struct piece *piece = device;
    memcpy(frame, piece->next, 2 * sizeof *frame);
    piece->next += 2;
    return true;
}

/* The further from the target, the faster or slower; never the plain rate, which a voice plays
 * without the delay of the others. */
static unsigned bent_rate(const struct pace *pace)
{
    int64_t bend = ((pace->level >> 16) - (int64_t)PACE_TARGET) * BEND_MAX / (int64_t)PACE_TARGET;
    bend = bend > BEND_MAX ? BEND_MAX : bend < -BEND_MAX ? -BEND_MAX : bend;
    return (unsigned)((int64_t)MIXER_RATE + (bend ? bend : 1));
}

size_t pace_frames(struct pace *pace, size_t queued, const int16_t *frames, size_t count,
                   int16_t *out)
{
    struct piece piece = {frames};
    size_t made = 0;
    if (queued >= PACE_MAX)
        return 0;
    if (queued == 0) {
        memset(out, 0, PACE_TARGET * 2 * sizeof *out);
        made = PACE_TARGET;
        *pace = (struct pace){.level = (int64_t)PACE_TARGET << 16};
    } else {
        pace->level += (((int64_t)queued << 16) - pace->level) * (int64_t)count / SMOOTHING;
    }
    unsigned rate = bent_rate(pace);
    for (size_t steps = voice_steps(&pace->voice, rate, count + 1) - 1; steps; steps--, made++) {
        int32_t frame[2];
        voice_step(&pace->voice, rate, next_frame, &piece, frame);
        out[2 * made] = (int16_t)frame[0];
        out[2 * made + 1] = (int16_t)frame[1];
    }
    return made;
}
