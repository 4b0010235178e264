/*
 * Where the machine's sound goes: the host's loudspeakers through SDL, or a WAV file.
 */
#ifndef DOPPEL_UI_SOUND_H
#define DOPPEL_UI_SOUND_H

#include "cpu/error.h"
#include "hw/port.h"

struct sound;

/* Connects to `port`. `wav` NULL: the loudspeakers; a host without them is told once and the
 * machine plays on unheard. NULL + error if the file cannot be written. */
struct sound *sound_open(struct audio_port *port, const char *wav, struct error *error);
/* The port must not be used any more: the machine is gone or paused. Completes the file. */
void sound_close(struct sound *sound);

#endif
