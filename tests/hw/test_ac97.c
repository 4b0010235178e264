/*
 * Sound: what a driver programs into the AC'97 comes out of the mixer, at its rate, without gaps;
 * and the PC speaker's tone.
 */
#include "hw/audio/ac97.h"
#include "hw/audio/speaker.h"
#include "tests/hw/audio_bench.h"

#define DEVFN  PCI_DEVFN(4, 0)
#define CODEC  0xd000
#define MASTER 0xd100
#define LIST   0x10000u
#define DATA   0x20000u

enum { PO_BDBAR = 0x10, PO_CIV = 0x14, PO_LVI = 0x15, PO_SR = 0x16, PO_PICB = 0x18, PO_CR = 0x1b };

struct board {
    struct audio_bench audio;
    struct speaker *speaker;
};

static struct board board;
static int16_t *const played = board.audio.played;

static void out(uint16_t port, uint32_t value, unsigned size)
{
    io_bus_write(board.audio.bench.io, port, value, size);
}

static uint32_t in(uint16_t port, unsigned size)
{
    return io_bus_read(board.audio.bench.io, port, size);
}

static void build(struct board *b)
{
    struct pci_bench *bench = &b->audio.bench;
    const struct irq_line none = {0};
    audio_bench_build(&b->audio);
    struct i8254 *pit = i8254_new(&bench->devices, bench->io, bench->clock, none, "pit");
    b->speaker = speaker_new(pit, b->audio.mixer);
    ac97_new(&bench->devices, bench->pci, DEVFN, b->audio.mixer, "ac97");
    pci_bench_start(bench, DEVFN, 0, CODEC);
    pci_config_write(bench->pci, DEVFN, PCI_BAR0 + 4, MASTER, 4);
    pci_config_write(bench->pci, DEVFN, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
}

static void discard(struct board *b)
{
    speaker_free(b->speaker);
    audio_bench_free(&b->audio);
}

static void setup(void)
{
    pthread_mutex_lock(&pci_bench_lock);
    build(&board);
    out(MASTER + 0x2c, 2, 4); /* the link leaves its reset */
    out(CODEC + 0x02, 0, 2);  /* no attenuation */
    out(CODEC + 0x18, 0x0808, 2);
}

static void teardown(void)
{
    discard(&board);
    pthread_mutex_unlock(&pci_bench_lock);
}

static void pass(uint64_t ms)
{
    audio_bench_pass(&board.audio, ms * 1000000);
}

/* A ramp in `buffers` buffers of `frames` frames each, the last with an interrupt. */
static void fill(unsigned buffers, unsigned frames)
{
    uint8_t *ram = memory_ram_host(board.audio.bench.memory);
    for (unsigned i = 0; i < buffers; i++) {
        uint32_t entry[2] = {DATA + 4 * frames * i, 2 * frames | 0x80000000u};
        memcpy(ram + LIST + 8 * i, entry, sizeof entry);
        for (unsigned f = 0; f < frames; f++) {
            int16_t frame[2] = {(int16_t)(i * frames + f + 1),
                                (int16_t) - (int)(i * frames + f + 1)};
            memcpy(ram + entry[0] + 4 * f, frame, 4);
        }
    }
    out(MASTER + PO_BDBAR, LIST, 4);
    out(MASTER + PO_LVI, buffers - 1, 1);
}

START_TEST(plays_without_gaps)
{
    fill(4, 480);
    out(MASTER + PO_CR, 0x05, 1);
    pass(100);
    ck_assert_uint_ge(board.audio.frames, 1920);
    for (int i = 0; i < 1919; i++) {
        ck_assert_int_eq(played[2 * i], i + 1);
        ck_assert_int_eq(played[2 * i + 1], -(i + 1));
    }
    ck_assert_uint_eq(in(MASTER + PO_SR, 2) & 0x0f, 0x0f);
    ck_assert(board.audio.bench.irq);
    ck_assert_uint_eq(in(MASTER + 0x30, 4) & 0x40, 0x40);
    out(MASTER + PO_SR, 0x1c, 2);
    ck_assert(!board.audio.bench.irq);
    ck_assert_uint_eq(in(MASTER + PO_CIV, 1), 3);
    size_t silent = board.audio.frames;
    pass(100);
    ck_assert_uint_eq(board.audio.frames, silent); /* nobody is asked for silence */
    out(MASTER + PO_LVI, 0, 1);                    /* more */
    pass(50);
    ck_assert_uint_gt(board.audio.frames, silent);
}
END_TEST

START_TEST(variable_rate_and_volume)
{
    out(CODEC + 0x2c, 24000, 2); /* not without VRA */
    ck_assert_uint_eq(in(CODEC + 0x2c, 2), 48000);
    out(CODEC + 0x2a, 1, 2);
    out(CODEC + 0x2c, 24000, 2);
    ck_assert_uint_eq(in(CODEC + 0x2c, 2), 24000);
    out(CODEC + 0x02, 0x0004, 2); /* right 6 dB down */
    fill(2, 480);
    out(MASTER + PO_CR, 1, 1);
    pass(100);
    ck_assert_int_le(abs(played[2 * 1000] - 500), 1);
    ck_assert_int_le(abs(played[2 * 1000 + 1] + 250), 2);
    out(CODEC + 0x02, 0x8000, 2);
    fill(2, 480);
    size_t before = board.audio.frames;
    pass(50);
    ck_assert_uint_gt(board.audio.frames, before);
    ck_assert_int_eq(played[2 * (board.audio.frames - 300)], 0);
}
END_TEST

START_TEST(hostile_lists)
{
    uint8_t *ram = memory_ram_host(board.audio.bench.memory);
    memset(ram + LIST, 0, 256); /* buffers of no samples, for ever */
    out(MASTER + PO_BDBAR, LIST, 4);
    out(MASTER + PO_LVI, 31, 1);
    out(MASTER + PO_CR, 0x1d, 1);
    pass(100);
    memset(ram + LIST, 0xff, 256); /* outside of memory */
    out(MASTER + PO_CR, 0, 1);
    out(MASTER + PO_CR, 0x1d, 1);
    pass(100);
    out(MASTER + PO_CR, 2, 1);
    uint64_t seed = 12345;
    for (int i = 0; i < 20000; i++) {
        audio_bench_random(&seed);
        uint16_t port = (uint16_t)((seed & 1 ? MASTER : CODEC) + (seed >> 8 & 63));
        unsigned size = 1u << (seed >> 20 & 1) << (seed >> 21 & 1);
        if (seed & 2)
            out(port, (uint32_t)(seed >> 32), size);
        else
            in(port, size);
        if (i % 500 == 0)
            pass(15);
    }
}
END_TEST

START_TEST(speaker_tone)
{
    out(0x43, 0xb6, 1);
    out(0x42, 1193182 / 1000 & 0xff, 1); /* 1 kHz */
    out(0x42, 1193182 / 1000 >> 8, 1);
    pass(50);
    ck_assert_uint_eq(board.audio.frames, 0);
    out(0x61, 3, 1);
    pass(500);
    out(0x61, 0, 1);
    pass(100);
    unsigned rises = 0;
    for (size_t i = 1; i < board.audio.frames; i++)
        rises += played[2 * i] > 0 && played[2 * i - 2] <= 0;
    ck_assert_uint_ge(rises, 495);
    ck_assert_uint_le(rises, 505);
    ck_assert_uint_le(board.audio.frames, 48000 * 52 / 100);
    size_t before = board.audio.frames;
    out(0x61, 3, 1);
    pass(7); /* not a multiple of the mixer's pieces */
    out(0x61, 0, 1);
    pass(100);
    unsigned sounding = 0;
    for (size_t i = before; i < board.audio.frames; i++)
        sounding += played[2 * i] != 0;
    ck_assert_uint_eq(sounding, 48 * 7);
}
END_TEST

START_TEST(state)
{
    static struct board other;
    fill(4, 480);
    out(MASTER + PO_CR, 1, 1);
    pass(15);
    build(&other);
    pci_bench_copy_state(&other.audio.bench, &board.audio.bench);
    discard(&other);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {plays_without_gaps, variable_rate_and_volume, hostile_lists,
                                  speaker_tone, state};
    return suite_main("ac97", setup, teardown, tests, sizeof tests / sizeof *tests);
}
