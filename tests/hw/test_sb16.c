/*
 * Sound Blaster 16 by its ports, as games and drivers use it: old and new DMA commands through the
 * 8237s, heard sample by sample; interrupts and channels chosen by the mixer chip; garbage.
 */
#include "hw/audio/sb16.h"
#include "tests/hw/audio_bench.h"

#define BASE    0x220
#define DATA    0x20000u
#define LOUDEST 0xf8

enum { MIXER = BASE + 4, RESET = BASE + 6, READ = BASE + 0xa, WRITE = BASE + 0xc };
enum { STATUS = BASE + 0xe, ACK16 = BASE + 0xf };

static struct audio_bench board;
static struct { /* the card's interrupt lines */
    bool level;
    unsigned rises;
} line[SB16_IRQS];

static void set_line(void *opaque, int number, bool level)
{
    line[number].rises += level && !line[number].level;
    line[number].level = level;
}

static void out(uint16_t port, uint8_t value)
{
    io_bus_write(board.bench.io, port, value, 1);
}

static uint8_t in(uint16_t port)
{
    return (uint8_t)io_bus_read(board.bench.io, port, 1);
}

static void mixer(uint8_t index, uint8_t value)
{
    out(MIXER, index);
    out(MIXER + 1, value);
}

static uint8_t mixer_in(uint8_t index)
{
    out(MIXER, index);
    return in(MIXER + 1);
}

#define dsp(...)                                                                                   \
    do {                                                                                           \
        const uint8_t bytes_[] = {__VA_ARGS__};                                                    \
        for (size_t i_ = 0; i_ < sizeof bytes_; i_++)                                              \
            out(WRITE, bytes_[i_]);                                                                \
    } while (0)

static uint8_t dsp_in(void)
{
    ck_assert(in(STATUS)&0x80);
    return in(READ);
}

static void pass(uint64_t us)
{
    audio_bench_pass(&board, us * 1000);
}

static uint8_t *ram(uint32_t at)
{
    return memory_ram_host(board.bench.memory) + at;
}

/* Channel 1 or 5 from memory at DATA, `count` bytes or words. */
static void program_dma(unsigned channel, unsigned count, bool automatic, bool to_memory)
{
    bool words = channel > 3;
    uint16_t base = words ? 0xc0 : 0, step = words ? 2 : 1, page = words ? 0x8b : 0x83;
    uint32_t address = words ? (DATA & 0xffff) >> 1 : DATA & 0xffff;
    out(base + 10 * step, 4 | (channel & 3));
    out(base + 12 * step, 0);
    out(base + 11 * step, 0x40 | (automatic ? 0x10 : 0) | (to_memory ? 4 : 8) | (channel & 3));
    out((uint16_t)(base + 2 * (channel & 3) * step), (uint8_t)address);
    out((uint16_t)(base + 2 * (channel & 3) * step), (uint8_t)(address >> 8));
    out((uint16_t)(base + (2 * (channel & 3) + 1) * step), (uint8_t)(count - 1));
    out((uint16_t)(base + (2 * (channel & 3) + 1) * step), (uint8_t)((count - 1) >> 8));
    out(page, DATA >> 16);
    out(base + 10 * step, channel & 3);
}

static unsigned dma_count(void)
{
    out(12, 0);
    unsigned low = in(3);
    return low | (unsigned)in(3) << 8;
}

static void build(struct audio_bench *b)
{
    struct irq_line irq[SB16_IRQS];
    audio_bench_build(b);
    for (int i = 0; i < SB16_IRQS; i++)
        irq[i] = (struct irq_line){set_line, NULL, i};
    struct i8237 *dma = i8237_new(&b->bench.devices, b->bench.io, b->bench.memory, "dma");
    sb16_new(&b->bench.devices, b->bench.io, dma, irq, b->mixer, "sb16");
    device_list_reset(&b->bench.devices);
}

static void setup(void)
{
    pthread_mutex_lock(&pci_bench_lock);
    memset(line, 0, sizeof line);
    build(&board);
    for (uint8_t reg = 0x30; reg < 0x34; reg++)
        mixer(reg, LOUDEST);
    out(RESET, 1);
    out(RESET, 0);
    ck_assert_uint_eq(dsp_in(), 0xaa);
}

static void teardown(void)
{
    audio_bench_free(&board);
    pthread_mutex_unlock(&pci_bench_lock);
}

START_TEST(answers)
{
    ck_assert_uint_eq(in(STATUS)&0x80, 0);
    ck_assert_uint_eq(in(WRITE)&0x80, 0);
    dsp(0xe1);
    ck_assert_uint_eq(dsp_in(), 4);
    ck_assert_uint_eq(dsp_in(), 5);
    ck_assert_uint_eq(in(STATUS)&0x80, 0);
    ck_assert_uint_eq(in(READ), 5); /* the last one stays */
    dsp(0xe0, 0x5a);
    ck_assert_uint_eq(dsp_in(), 0xa5);
    dsp(0xe4, 0x77);
    dsp(0xe8);
    ck_assert_uint_eq(dsp_in(), 0x77);
    dsp(0xd1);
    dsp(0xd8);
    ck_assert_uint_eq(dsp_in(), 0xff);
    dsp(0xd3);
    dsp(0xd8);
    ck_assert_uint_eq(dsp_in(), 0);
    dsp(0xe3);
    for (const char *c = "COPYRIGHT"; *c; c++)
        ck_assert_uint_eq(dsp_in(), (uint8_t)*c);
    dsp(0x07, 0xe1); /* unknown ones have no parameters */
    out(RESET, 1);
    dsp(0xe1);
    ck_assert_uint_eq(in(STATUS)&0x80, 0);
    out(RESET, 0);
    ck_assert_uint_eq(dsp_in(), 0xaa);
    ck_assert_uint_eq(in(STATUS)&0x80, 0);
    ck_assert_uint_eq(in(0x388), 0xff);
}
END_TEST

START_TEST(mixer_chip)
{
    ck_assert_uint_eq(mixer_in(0x80) & 0x0f, 2);
    ck_assert_uint_eq(mixer_in(0x81), 0x22);
    mixer(0, 0);
    ck_assert_uint_eq(mixer_in(0x30), 0xc0);
    ck_assert_uint_eq(mixer_in(0x22), 0xcc);
    mixer(0x22, 0xf7);
    ck_assert_uint_eq(mixer_in(0x30), 0xf8);
    ck_assert_uint_eq(mixer_in(0x31), 0x78);
    mixer(0x32, 0xff);
    ck_assert_uint_eq(mixer_in(0x32), 0xf8);
    mixer(0x41, 0xff);
    ck_assert_uint_eq(mixer_in(0x41), 0xc0);
    mixer(0x44, 0x12);
    ck_assert_uint_eq(mixer_in(0x44), 0x10);
    ck_assert_uint_eq(mixer_in(0x46), 0x80);
}
END_TEST

static void ramp_8(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        *ram(DATA + i) = (uint8_t)(0x80 + i % 100);
}

/* What was heard from `first` on, one value per source sample of the ramp at 24000 Hz. */
static void check_ramp(size_t first, unsigned count, unsigned wrap)
{
    for (unsigned i = 0; i < count; i++) {
        int16_t want = (int16_t)(i % wrap % 100 << 8);
        ck_assert_msg(board.played[2 * (first + 2 * i)] == want, "sample %u is %d, not %d", i,
                      board.played[2 * (first + 2 * i)], want);
    }
}

START_TEST(single_block)
{
    ramp_8(240);
    program_dma(1, 240, false, false);
    dsp(0x41, 24000 >> 8, 24000 & 0xff);
    dsp(0xd1, 0x14, 239, 0);
    pass(9000);
    ck_assert_uint_eq(dma_count(), 240 - 9 * 24 - 1);
    ck_assert(!line[SB16_IRQ5].level);
    pass(2000);
    ck_assert(line[SB16_IRQ5].level);
    ck_assert_uint_eq(mixer_in(0x82) & 3, 1);
    in(ACK16);
    ck_assert(line[SB16_IRQ5].level);
    in(STATUS);
    ck_assert(!line[SB16_IRQ5].level);
    pass(100000);
    ck_assert_uint_eq(line[SB16_IRQ5].rises, 1);
    check_ramp(3, 238, 240); /* two frames of the mixer for the interpolation, one to the first */
    /* By time constant: 11 kHz, and with the interrupt elsewhere. */
    mixer(0x80, 1 << SB16_IRQ10);
    program_dma(1, 240, false, false);
    dsp(0x40, 256 - 1000000 / 10000);
    dsp(0x14, 239, 0);
    pass(23500);
    ck_assert(!line[SB16_IRQ10].level);
    pass(1000);
    ck_assert(line[SB16_IRQ10].level);
    ck_assert(!line[SB16_IRQ5].level);
}
END_TEST

START_TEST(automatic_blocks)
{
    ramp_8(480);
    program_dma(1, 480, true, false);
    dsp(0x41, 24000 >> 8, 24000 & 0xff);
    dsp(0x48, 239, 0); /* two blocks in the buffer */
    dsp(0x1c);
    for (unsigned block = 1; block <= 6; block++) {
        pass(block == 1 ? 10500 : 10000);
        ck_assert_uint_eq(line[SB16_IRQ5].rises, block);
        in(STATUS);
    }
    check_ramp(3, 1400, 480);
    dsp(0xd0);
    pass(30000);
    unsigned position = dma_count();
    pass(30000);
    ck_assert_uint_eq(dma_count(), position);
    ck_assert_uint_eq(line[SB16_IRQ5].rises, 6);
    dsp(0xd4);
    pass(10000);
    ck_assert_uint_eq(line[SB16_IRQ5].rises, 7);
    in(STATUS);
    dsp(0xda); /* the end with this block */
    pass(100000);
    ck_assert_uint_eq(line[SB16_IRQ5].rises, 8);
}
END_TEST

START_TEST(sixteen_bits_in_stereo)
{
    for (int i = 0; i < 4800; i++) {
        int16_t frame[2] = {(int16_t)(i + 1), (int16_t)(-2 * i)};
        memcpy(ram(DATA + 4 * i), frame, 4);
    }
    program_dma(5, 9600, false, false);
    dsp(0x41, 48000 >> 8, 48000 & 0xff);
    dsp(0xb0, 0x30, (9600 - 1) & 0xff, (9600 - 1) >> 8);
    pass(101000);
    ck_assert_uint_eq(mixer_in(0x82) & 3, 2);
    ck_assert(line[SB16_IRQ5].level);
    in(STATUS);
    ck_assert(line[SB16_IRQ5].level);
    in(ACK16);
    ck_assert(!line[SB16_IRQ5].level);
    for (int i = 0; i < 4800; i++) {
        ck_assert_int_eq(board.played[2 * i], i + 1);
        ck_assert_int_eq(board.played[2 * i + 1], -2 * i);
    }
    /* Half as loud on the right, silent on the left. */
    mixer(0x30, 0);
    mixer(0x33, (31 - 3) << 3);
    program_dma(5, 9600, false, false);
    dsp(0xb0, 0x30, (9600 - 1) & 0xff, (9600 - 1) >> 8);
    size_t first = board.frames;
    pass(50000);
    ck_assert_int_eq(board.played[2 * (first + 2000)], 0);
    ck_assert_int_le(abs(board.played[2 * (first + 2000) + 1] + 2005), 20);
}
END_TEST

START_TEST(recording_is_silent)
{
    memset(ram(DATA), 0x55, 256);
    program_dma(1, 100, false, true);
    dsp(0x42, 24000 >> 8, 24000 & 0xff);
    dsp(0x24, 99, 0);
    pass(6000);
    ck_assert(line[SB16_IRQ5].level);
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(*ram(DATA + i), 0x80);
    ck_assert_uint_eq(*ram(DATA + 100), 0x55);
    dsp(0x20);
    ck_assert_uint_eq(dsp_in(), 0x80);
}
END_TEST

START_TEST(no_dma_and_direct_levels)
{
    dsp(0x41, 24000 >> 8, 24000 & 0xff);
    dsp(0x14, 239, 0); /* the 8237 is masked: nothing moves */
    pass(50000);
    ck_assert_uint_eq(line[SB16_IRQ5].rises, 0);
    ramp_8(240);
    program_dma(1, 240, false, false);
    pass(11000);
    ck_assert_uint_eq(line[SB16_IRQ5].rises, 1);
    in(STATUS);
    dsp(0x80, 239, 0); /* silence of 10 ms */
    pass(9000);
    ck_assert_uint_eq(line[SB16_IRQ5].rises, 1);
    pass(2000);
    ck_assert_uint_eq(line[SB16_IRQ5].rises, 2);
    in(STATUS);
    pass(50000);
    size_t first = board.frames;
    for (int i = 0; i < 10; i++) {
        dsp(0x10, i & 1 ? 0xc0 : 0x40);
        pass(1000);
    }
    pass(20000);
    int changes = 0;
    for (size_t i = first + 1; i < board.frames; i++)
        changes += board.played[2 * i] != board.played[2 * i - 2];
    ck_assert_int_ge(changes, 9);
    ck_assert_int_eq(abs(board.played[2 * (first + 100)]), 0x4000);
    dsp(0xf2);
    ck_assert_uint_eq(mixer_in(0x82) & 3, 1);
    dsp(0xf3);
    ck_assert_uint_eq(mixer_in(0x82) & 3, 3);
}
END_TEST

START_TEST(garbage)
{
    uint64_t seed = 4711;
    for (int i = 0; i < 40000; i++) {
        uint64_t r = audio_bench_random(&seed);
        uint16_t port = (uint16_t)(BASE + (r >> 8 & 15));
        if (r & 0x30)
            port = WRITE;
        else if (r & 0x40)
            port = (uint16_t)((r & 0x80 ? 0xc0 : 0) + (r >> 12 & 31));
        if (r & 7)
            out(port, (uint8_t)(r >> 32));
        else
            in(port);
        if (i % 300 == 0)
            pass(15000);
    }
}
END_TEST

START_TEST(state)
{
    static struct audio_bench other;
    ramp_8(480);
    program_dma(1, 480, true, false);
    dsp(0x48, 239, 0, 0x1c);
    pass(5000);
    dsp(0x41, 0x20);
    build(&other);
    pci_bench_copy_state(&other.bench, &board.bench);
    audio_bench_free(&other);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {answers,
                                  mixer_chip,
                                  single_block,
                                  automatic_blocks,
                                  sixteen_bits_in_stereo,
                                  recording_is_silent,
                                  no_dma_and_direct_levels,
                                  garbage,
                                  state};
    return suite_main("sb16", setup, teardown, tests, sizeof tests / sizeof *tests);
}
