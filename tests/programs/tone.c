/* Runs in a guest: opens the volumes of the sound card and plays 600 periods of 400 Hz. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/soundcard.h>
#include <unistd.h>

#define RATE    8000 /* what /dev/dsp begins with: 8 bits, one channel */
#define HZ      400
#define PERIODS 600

int main(void)
{
    static unsigned char wave[PERIODS * RATE / HZ];
    int full = 100 | 100 << 8;
    int mixer = open("/dev/mixer", O_RDWR);
    if (mixer < 0 || ioctl(mixer, SOUND_MIXER_WRITE_VOLUME, &full) < 0 ||
        ioctl(mixer, SOUND_MIXER_WRITE_PCM, &full) < 0) {
        perror("/dev/mixer");
        return 1;
    }
    for (size_t i = 0; i < sizeof wave; i++)
        wave[i] = i / (RATE / HZ / 2) % 2 ? 0xc0 : 0x40;
    int dsp = open("/dev/dsp", O_WRONLY);
    if (dsp < 0 || write(dsp, wave, sizeof wave) != sizeof wave) {
        perror("/dev/dsp");
        return 1;
    }
    close(dsp); /* waits for the end */
    puts("played");
    return 0;
}
