/*
 * Pace of sound between two clocks: the machine's, by which frames come, and the sound device's, by
 * which they go. The queue between them is kept near a target, which covers what either is late,
 * by playing up to half a percent faster or slower: nobody hears that, and nothing is cut.
 */
#ifndef DOPPEL_UI_PACE_H
#define DOPPEL_UI_PACE_H

#include "hw/audio/voice.h"

#define PACE_TARGET (MIXER_RATE * 60 / 1000) /* frames in the queue */
#define PACE_MAX    (MIXER_RATE / 5)         /* more is left out: sound must not lag the picture */
#define PACE_PIECE  MIXER_FRAMES             /* frames taken at once, at most */
#define PACE_OUT    (PACE_TARGET + PACE_PIECE * 51 / 50)

struct pace {
    struct voice voice;
    int64_t level; /* of the queue, smoothed: frames, 16 bits after the point */
};

/* What to put into the queue, in which `queued` frames wait, for `count` (to PACE_PIECE) new ones:
 * fills `out` (room for PACE_OUT frames) and returns how many. Into an empty queue silence goes
 * first, until the target. */
size_t pace_frames(struct pace *pace, size_t queued, const int16_t *frames, size_t count,
                   int16_t *out);

#endif
