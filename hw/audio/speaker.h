/*
 * The PC speaker: what counter 2 of the interval timer and port 61h do to a small loudspeaker.
 */
#ifndef DOPPEL_HW_AUDIO_SPEAKER_H
#define DOPPEL_HW_AUDIO_SPEAKER_H

#include "hw/audio/mixer.h"
#include "hw/chipset/i8254.h"

struct speaker;

struct speaker *speaker_new(struct i8254 *pit, struct mixer *mixer);
void speaker_free(struct speaker *speaker);

#endif
