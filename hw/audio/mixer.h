/*
 * The mixer: adds up what the machine's sound devices play and hands it outside (hw/port.h) in
 * pieces of at most 10 ms of virtual time.
 *
 * Sound has a clock of its own, which follows virtual time and differs from it in two ways, both
 * for guests that are held up (a busy host): it goes on by at most a piece each time it is looked
 * at, so that time lost comes back in steps that a guest can answer; and it waits for a guest that
 * has not yet answered a device's last interrupt when the next is due. A real card would play its
 * ring of buffers again meanwhile, which is heard as a gap or an echo.
 *
 * Locking: everything under the board lock.
 */
#ifndef DOPPEL_HW_AUDIO_MIXER_H
#define DOPPEL_HW_AUDIO_MIXER_H

#include "hw/clock.h"
#include "hw/port.h"

#define MIXER_RATE   48000u
#define MIXER_FRAMES 480u /* of a piece, at most */

struct mixer;

/* A device that makes sound. */
struct mixer_source {
    /* Adds `count` frames (left, right; full scale is 32767) to `mix`. False: it is silent from now
     * on, and is not asked again before it calls mixer_wake. */
    bool (*render)(void *device, int32_t *mix, size_t count);
    /* After how many frames the device's next interrupt comes (1: with the next frame); *unanswered
     * says whether the guest has yet to answer the one before. NULL: it has no interrupts. */
    size_t (*next_interrupt)(void *device, bool *unanswered);
    void *device;
    bool awake;
    struct mixer_source *next;
};

struct mixer *mixer_new(struct clock *clock, struct audio_port *port);
void mixer_free(struct mixer *mixer);
/* The source is its device's and outlives the mixer's last turn. */
void mixer_add(struct mixer *mixer, struct mixer_source *source);
/* Plays what is due by now: a device calls this before it shows a position or takes a change. */
void mixer_sync(struct mixer *mixer);
/* The source has something to play. */
void mixer_wake(struct mixer *mixer, struct mixer_source *source);

#endif
