/*
 * Runs in a guest: opens the volumes of the sound card and plays 600 periods of 400 Hz. It needs no
 * libraries, so that it can be built for guests of 32 bits as well.
 */
#define RATE            8000 /* what /dev/dsp begins with: 8 bits, one channel */
#define HZ              400
#define PERIODS         600
#define MIXER_WRITE(nr) (0xc0044d00u | (nr)) /* of linux/soundcard.h: _IOWR('M', nr, int) */
#define VOLUME_MASTER   0
#define VOLUME_PCM      4
#define FULL            (100 | 100 << 8)
#define O_RDWR          2
#define O_WRONLY        1

#ifdef __x86_64__
enum { SYS_WRITE = 1, SYS_OPEN = 2, SYS_CLOSE = 3, SYS_IOCTL = 16, SYS_EXIT = 60 };

static long call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}
#else
enum { SYS_EXIT = 1, SYS_WRITE = 4, SYS_OPEN = 5, SYS_CLOSE = 6, SYS_IOCTL = 54 };

static long call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}
#endif

static void finish(const char *text, long length, int status)
{
    call(SYS_WRITE, 1, (long)text, length);
    call(SYS_EXIT, status, 0, 0);
}

void _start(void);
void _start(void)
{
    static unsigned char wave[PERIODS * RATE / HZ];
    static int full = FULL;
    long mixer = call(SYS_OPEN, (long)"/dev/mixer", O_RDWR, 0);
    /* Not every card has both. */
    long master = call(SYS_IOCTL, mixer, (long)MIXER_WRITE(VOLUME_MASTER), (long)&full);
    long pcm = call(SYS_IOCTL, mixer, (long)MIXER_WRITE(VOLUME_PCM), (long)&full);
    if (mixer < 0 || (master < 0 && pcm < 0))
        finish("no volume\n", 10, 1);
    for (unsigned long i = 0; i < sizeof wave; i++)
        wave[i] = i / (RATE / HZ / 2) % 2 ? 0xc0 : 0x40;
    long dsp = call(SYS_OPEN, (long)"/dev/dsp", O_WRONLY, 0);
    if (dsp < 0 || call(SYS_WRITE, dsp, (long)wave, sizeof wave) != sizeof wave)
        finish("no sound\n", 9, 1);
    call(SYS_CLOSE, dsp, 0, 0); /* waits for the end */
    finish("played\n", 7, 0);
}
