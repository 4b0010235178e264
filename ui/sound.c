/*
 * Sound outside: frames arrive at the pace of virtual time, under the board lock. A file takes them
 * all; for the loudspeakers they are queued at the pace of these (ui/pace.h).
 */
#include "ui/sound.h"

#include "cpu/log.h"
#include "ui/pace.h"

#include <SDL.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE        48000u
#define FRAME_BYTES 4u
#define WAV_HEADER  44u

struct sound {
    struct audio_port *port;
    FILE *wav;
    uint32_t bytes;
    SDL_AudioDeviceID device;
    struct pace pace;
};

static void put32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

/* RIFF WAVE, one fmt and one data chunk: PCM, two channels of 16 bits. */
static bool write_header(struct sound *sound)
{
    uint8_t header[WAV_HEADER] = "RIFF....WAVEfmt ";
    put32(header + 4, WAV_HEADER - 8 + sound->bytes);
    put32(header + 16, 16);
    put32(header + 20, 1 | 2 << 16);
    put32(header + 24, RATE);
    put32(header + 28, RATE * FRAME_BYTES);
    put32(header + 32, FRAME_BYTES | 16 << 16);
    memcpy(header + 36, "data", 4);
    put32(header + 40, sound->bytes);
    return fseek(sound->wav, 0, SEEK_SET) == 0 && fwrite(header, sizeof header, 1, sound->wav) == 1;
}

static void play_file(void *outside, const int16_t *frames, size_t count)
{
    struct sound *sound = outside;
    if (sound->bytes > UINT32_MAX - WAV_HEADER - count * FRAME_BYTES)
        return; /* the format holds no more */
    sound->bytes += (uint32_t)fwrite(frames, FRAME_BYTES, count, sound->wav) * FRAME_BYTES;
}

static void play_device(void *outside, const int16_t *frames, size_t count)
{
    struct sound *sound = outside;
    int16_t out[2 * PACE_OUT];
    for (size_t piece; count; count -= piece, frames += 2 * piece) {
        piece = count < PACE_PIECE ? count : PACE_PIECE;
        size_t queued = SDL_GetQueuedAudioSize(sound->device) / FRAME_BYTES;
        size_t made = pace_frames(&sound->pace, queued, frames, piece, out);
        SDL_QueueAudio(sound->device, out, (Uint32)(made * FRAME_BYTES));
    }
}

static void open_device(struct sound *sound)
{
    SDL_AudioSpec wanted = {.freq = RATE, .format = AUDIO_S16LSB, .channels = 2, .samples = 1024};
    if (SDL_InitSubSystem(SDL_INIT_AUDIO) == 0)
        sound->device = SDL_OpenAudioDevice(NULL, 0, &wanted, NULL, 0);
    if (!sound->device) {
        log_guest("sound: %s; the machine plays unheard", SDL_GetError());
        return;
    }
    SDL_PauseAudioDevice(sound->device, 0);
    sound->port->play = play_device;
}

struct sound *sound_open(struct audio_port *port, const char *wav, struct error *error)
{
    struct sound *sound = calloc(1, sizeof *sound);
    if (!sound) {
        error_set(error, "out of memory");
        return NULL;
    }
    sound->port = port;
    port->outside = sound;
    if (!wav) {
        open_device(sound);
        return sound;
    }
    sound->wav = fopen(wav, "wb");
    if (!sound->wav || !write_header(sound)) {
        error_set(error, "--audio: cannot write '%s': %s", wav, strerror(errno));
        sound_close(sound);
        return NULL;
    }
    port->play = play_file;
    return sound;
}

void sound_close(struct sound *sound)
{
    if (!sound)
        return;
    sound->port->play = NULL;
    if (sound->wav) {
        bool ok = write_header(sound);
        if (fclose(sound->wav) != 0 || !ok)
            fprintf(stderr, "doppel: the sound file is not complete: %s\n", strerror(errno));
    }
    if (sound->device)
        SDL_CloseAudioDevice(sound->device);
    free(sound);
}
