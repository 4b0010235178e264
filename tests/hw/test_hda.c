/*
 * HD Audio by its registers, as a driver uses it: commands through the rings and at once, streams
 * in several formats heard sample by sample, positions, interrupts, errors, and garbage.
 */
#include "hw/audio/hda.h"
#include "hw/pci_msi.h"
#include "tests/hw/audio_bench.h"

#define DEVFN  PCI_DEVFN(4, 0)
#define BAR    0xe0000000u
#define CORB   0x10000u
#define RIRB   0x11000u
#define DPL    0x12000u
#define LIST   0x13000u
#define DATA   0x20000u
#define OUT    4 /* number of the first output stream */
#define SD(n)  (0x80 + 0x20 * (n))

#define GAIN_0 0x7f /* mute cleared, no attenuation: see set_amplifier */

enum { GCTL = 8, STATESTS = 0xe, INTCTL = 0x20, INTSTS = 0x24, WALCLK = 0x30, SSYNC = 0x38 };
enum { DAC = 2, PIN = 3, ADC = 4, PIN_IN = 5 };

static struct audio_bench board;

static void out(uint32_t reg, uint32_t value, unsigned size)
{
    memory_mmio_write(board.bench.memory, BAR + reg, value, size);
}

static uint32_t in(uint32_t reg, unsigned size)
{
    return (uint32_t)memory_mmio_read(board.bench.memory, BAR + reg, size);
}

static void pass(uint64_t ms)
{
    audio_bench_pass(&board, ms * 1000000);
}

static uint8_t *ram(uint32_t at)
{
    return memory_ram_host(board.bench.memory) + at;
}

static void build(struct audio_bench *b)
{
    audio_bench_build(b);
    hda_new(&b->bench.devices, b->bench.pci, DEVFN, HDA_ICH6, b->bench.clock, b->mixer, "hda");
    pci_bench_start(&b->bench, DEVFN, 0, BAR);
}

/* An immediate command. */
static uint32_t verb(unsigned node, uint32_t verb_and_payload)
{
    out(0x60, node << 20 | verb_and_payload, 4);
    out(0x68, 2, 2);
    out(0x68, 1, 2);
    ck_assert_uint_eq(in(0x68, 2), 2);
    return in(0x64, 4);
}

static void setup(void)
{
    pthread_mutex_lock(&pci_bench_lock);
    build(&board);
    out(GCTL, 1, 4);
    out(STATESTS, 1, 2);
    verb(1, 0x70500);                     /* D0 */
    verb(DAC, 0x3b000 | (GAIN_0 & 0x3f)); /* both sides of the output */
    verb(PIN, 0x70740);
}

static void teardown(void)
{
    audio_bench_free(&board);
    pthread_mutex_unlock(&pci_bench_lock);
}

/* Descriptors of `count` buffers with `bytes` each, the last with an interrupt. */
static void describe(unsigned stream, unsigned count, uint32_t bytes, uint16_t format)
{
    for (unsigned i = 0; i < count; i++) {
        uint32_t entry[4] = {DATA + bytes * i, 0, bytes, i == count - 1};
        memcpy(ram(LIST + 16 * i), entry, sizeof entry);
    }
    out(SD(stream) + 0x18, LIST, 4);
    out(SD(stream) + 0x08, count * bytes, 4);
    out(SD(stream) + 0x0c, count - 1, 2);
    out(SD(stream) + 0x12, format, 2);
}

static void start(unsigned stream, uint32_t control)
{
    out(SD(stream), 1u << 20 | control | 2, 4);
}

START_TEST(registers)
{
    ck_assert_uint_eq(in(0, 2), 0x4401);
    ck_assert_uint_eq(in(2, 2), 0x0100);
    ck_assert_uint_eq(in(STATESTS, 2), 0); /* answered in setup */
    out(GCTL, 0, 4);
    out(INTCTL, ~0u, 4); /* held in reset: nothing takes it */
    ck_assert_uint_eq(in(INTCTL, 4), 0);
    ck_assert_uint_eq(in(WALCLK, 4), 0);
    out(GCTL, 1, 4);
    ck_assert_uint_eq(in(STATESTS, 2), 1);
    pass(1);
    ck_assert_uint_eq(in(WALCLK, 4), 24000);
    ck_assert_uint_eq(in(0x2030, 4), 24000);
    out(INTCTL, ~0u, 4);
    ck_assert_uint_eq(in(INTCTL, 4), 0xc00000ff);
    out(0x41, 0x55, 1); /* one byte of the ring's address */
    ck_assert_uint_eq(in(0x40, 4), 0x5500);
    out(0x48, 0x8000ffff, 4); /* two registers at once */
    ck_assert_uint_eq(in(0x48, 2), 0xff);
    ck_assert_uint_eq(in(0x4a, 2), 0x8000);
    ck_assert_uint_eq(verb(0, 0xf0000) & 0xffff0000, 0x1af40000);
    ck_assert_uint_eq(verb(0, 0xf0004), 0x10001);
    ck_assert_uint_eq(verb(PIN, 0xf1c00), 0x01014110);
    ck_assert_uint_eq(verb(PIN, 0xf0200), DAC);
    ck_assert_uint_eq(verb(ADC, 0xf0200), PIN_IN);
    ck_assert_uint_eq(verb(200, 0xf0000), 0);
}
END_TEST

START_TEST(commands_by_rings)
{
    out(INTCTL, 0xc0000000, 4);
    out(0x40, CORB, 4);
    out(0x50, RIRB, 4);
    out(0x58, 0x8000, 2);
    out(0x5a, 2, 2);
    out(0x5c, 3, 1);
    out(0x4c, 2, 1);
    uint32_t commands[] = {0xf0000, 1 << 20 | 0xf0005, 1u << 28 | 0xf0000, 1 << 20 | 0xf0500};
    for (unsigned i = 0; i < 4; i++)
        memcpy(ram(CORB + 4 * (i + 1)), &commands[i], 4);
    out(0x48, 4, 2);
    ck_assert_uint_eq(in(0x4a, 2), 4);
    ck_assert_uint_eq(in(0x58, 2), 3); /* nobody answered for codec 1 */
    uint32_t answers[8];
    memcpy(answers, ram(RIRB), sizeof answers);
    ck_assert_uint_eq(answers[2] >> 16, 0x1af4);
    ck_assert_uint_eq(answers[4], 1);
    ck_assert_uint_eq(answers[6], 0);
    ck_assert_uint_eq(in(0x5d, 1), 1);
    ck_assert_uint_eq(in(INTSTS, 4), 0xc0000000);
    ck_assert(board.bench.irq);
    out(0x5d, 1, 1);
    ck_assert(!board.bench.irq);
    /* Around the end of the ring. */
    for (unsigned i = 0; i < 3; i++) {
        out(0x48, (in(0x48, 2) + 100) & 0xff, 2);
        ck_assert_uint_eq(in(0x4a, 2), in(0x48, 2));
    }
    /* A ring that is not memory stops the engine. */
    out(0x44, 0x80, 4);
    out(0x48, 0, 2);
    ck_assert_uint_eq(in(0x4d, 1), 1);
    ck_assert_uint_eq(in(0x4c, 1), 0);
}
END_TEST

START_TEST(plays_every_sample)
{
    verb(DAC, 0x70610);
    for (int i = 0; i < 1920; i++) {
        int16_t frame[2] = {(int16_t)(i + 1), (int16_t)(-i - 1)};
        memcpy(ram(DATA + 4 * i), frame, 4);
    }
    describe(OUT, 4, 480 * 4, 0x0011);
    out(INTCTL, 0x80000000 | 1u << OUT, 4);
    out(0x74, 0, 4);
    out(0x70, DPL | 1, 4);
    start(OUT, 4);
    for (int turn = 0; turn < 10; turn++) {
        pass(39);
        ck_assert_uint_eq(board.bench.irqs, turn);
        ck_assert_uint_eq(in(SD(OUT) + 4, 4) / 4, 39 * 48);
        ck_assert_uint_eq(in(0x2000 + SD(OUT) + 4, 4) / 4, 39 * 48);
        pass(1);
        ck_assert_uint_eq(board.bench.irqs, turn + 1);
        ck_assert_uint_eq(in(INTSTS, 4), 0x80000000 | 1u << OUT);
        uint32_t position;
        memcpy(&position, ram(DPL + 8 * OUT), 4);
        ck_assert_uint_eq(position, 0); /* at the start again */
        ck_assert_uint_eq(in(SD(OUT) + 3, 1), 0x24);
        out(SD(OUT) + 3, 4, 1);
        ck_assert(!board.bench.irq);
    }
    for (int i = 0; i < 19200; i++) {
        ck_assert_int_eq(board.played[2 * i], i % 1920 + 1);
        ck_assert_int_eq(board.played[2 * i + 1], -(i % 1920 + 1));
    }
    /* A pause goes on where it stood; a reset begins anew. */
    pass(5);
    out(SD(OUT), 1u << 20 | 4, 4);
    pass(50);
    size_t heard = board.frames;
    pass(50);
    ck_assert_uint_eq(board.frames, heard); /* nobody is asked for silence */
    start(OUT, 4);
    pass(5);
    ck_assert_int_eq(board.played[2 * heard], 241);
    out(SD(OUT), 1, 1);
    ck_assert_uint_eq(in(SD(OUT), 4), 1);
    ck_assert_uint_eq(in(SD(OUT) + 4, 4), 0);
    ck_assert_uint_eq(in(SD(OUT) + 0x18, 4), 0);
    out(SD(OUT), 0, 1);
    ck_assert_uint_eq(in(SD(OUT), 4), 0);
}
END_TEST

/* A guest that is slow to answer is waited for; one that never does is not. */
START_TEST(waits_for_answers)
{
    verb(DAC, 0x70610);
    for (int i = 0; i < 960; i++) {
        int16_t frame[2] = {(int16_t)(i + 1), 0};
        memcpy(ram(DATA + 4 * i), frame, 4);
    }
    describe(OUT, 1, 480 * 4, 0x0011);
    out(INTCTL, 0x80000000 | 1u << OUT, 4);
    start(OUT, 4);
    pass(100);
    ck_assert_uint_eq(board.frames, 959); /* up to where the second interrupt would come */
    out(SD(OUT) + 3, 4, 1);
    pass(2);
    ck_assert_uint_ge(board.frames, 960);
    pass(2000);
    ck_assert_uint_ge(board.frames, 48000 * 3 / 2);
}
END_TEST

/* The guest's side of no_gaps_on_a_busy_host: a ring of four buffers that its driver keeps full. */
static uint32_t written;

static void write_ring(uint32_t up_to)
{
    for (; written < up_to; written++) {
        int16_t frame[2] = {(int16_t)(written % 30000 + 1), 0};
        memcpy(ram(DATA + 4 * (written % 1920)), frame, 4);
    }
}

/* The event loop and the guest are both late, by up to 50 ms with buffers of 10 ms: what was lost
 * comes back, in order, nothing twice. */
START_TEST(no_gaps_on_a_busy_host)
{
    uint64_t seed = 7;
    uint32_t played = 0, last = 0;
    verb(DAC, 0x70610);
    describe(OUT, 4, 480 * 4, 0x0011);
    for (unsigned i = 0; i < 4; i++)
        *ram(LIST + 16 * i + 12) = 1;
    written = 0;
    write_ring(1920);
    out(INTCTL, 0x80000000 | 1u << OUT, 4);
    start(OUT, 4);
    for (int i = 0; i < 500 && board.frames < AUDIO_PLAYED - 1920; i++) {
        struct clock *clock = board.bench.clock;
        uint64_t late = audio_bench_random(&seed) % (i % 3 ? 5 : 50) * 1000000;
        clock_set(clock, clock_now(clock) + late);
        clock_fire_due(clock);
        if (board.bench.irq && audio_bench_random(&seed) % 2) {
            out(SD(OUT) + 3, 4, 1);
            uint32_t position = in(SD(OUT) + 4, 4) / 4;
            played += (position - last + 1920) % 1920;
            last = position;
            write_ring(played + 1920);
        }
    }
    ck_assert_uint_ge(board.frames, 48000);
    for (size_t i = 0; i < board.frames; i++)
        ck_assert_int_eq(board.played[2 * i], i % 30000 + 1);
}
END_TEST

/* A guest that takes 30 ms for each 10 ms: sound is as slow as it, without a gap. One that takes
 * 100 ms: sound goes on at about a fifth of its pace, for no driver waits longer. */
START_TEST(slow_guests)
{
    static const unsigned answer_ms[] = {30, 100};
    verb(DAC, 0x70610);
    for (int i = 0; i < 480; i++)
        memset(ram(DATA + 4 * i), 1, 4);
    describe(OUT, 1, 480 * 4, 0x0011);
    out(INTCTL, 0x80000000 | 1u << OUT, 4);
    start(OUT, 4);
    for (int speed = 0; speed < 2; speed++) {
        board.frames = 0;
        for (unsigned ms = 0; ms < 5000; ms += answer_ms[speed]) {
            pass(answer_ms[speed]);
            out(SD(OUT) + 3, 4, 1);
        }
        size_t played = board.frames / 48;
        ck_assert_uint_ge(played, speed ? 700 : 1600);
        ck_assert_uint_le(played, speed ? 1500 : 1700);
    }
}
END_TEST

START_TEST(message_interrupts)
{
    uint32_t msi = 0x60;
    pci_config_write(board.bench.pci, DEVFN, (uint8_t)(msi + 4), 0xfee00000, 4);
    pci_config_write(board.bench.pci, DEVFN, (uint8_t)(msi + 12), 0x41, 2);
    pci_config_write(board.bench.pci, DEVFN, (uint8_t)(msi + 2), 1, 2);
    describe(OUT, 1, 480 * 4, 0x0011);
    describe(OUT + 1, 1, 480 * 4, 0x0011);
    out(INTCTL, 0x80000000 | 3u << OUT, 4);
    start(OUT, 4);
    start(OUT + 1, 4);
    pass(10);
    ck_assert_uint_eq(board.bench.messages, 1); /* both in one turn of the mixer */
    ck_assert_uint_eq(board.bench.message, 0x41);
    ck_assert_uint_eq(board.bench.irqs, 0);
    out(SD(OUT) + 3, 4, 1); /* one is left: again */
    ck_assert_uint_eq(board.bench.messages, 2);
    out(SD(OUT + 1) + 3, 4, 1);
    ck_assert_uint_eq(board.bench.messages, 2);
}
END_TEST

static const struct {
    uint16_t format;
    unsigned bytes, channels;
    int rise_per_1000; /* of the ramp that counts frames, in 1000 frames of the mixer */
} formats[] = {
    {0x0011, 2, 2, 1000}, {0x0010, 2, 1, 1000}, {0x4011, 2, 2, 918},
    {0x0041, 4, 2, 1000}, {0x0031, 4, 2, 1000}, {0x0811, 2, 2, 2000},
    {0x1815, 2, 6, 4000}, {0x0511, 2, 2, 166},  {0x4111, 2, 2, 459},
};

START_TEST(formats_and_rates)
{
    unsigned frame = formats[_i].bytes * formats[_i].channels, count = 0x40000 / frame;
    for (unsigned i = 0; i < count; i++)
        for (unsigned c = 0; c < formats[_i].channels; c++) {
            int32_t value = (int32_t)(uint32_t)(i * (c + 1) << 16);
            memcpy(ram(DATA + i * frame + c * formats[_i].bytes),
                   (uint8_t *)&value + 4 - formats[_i].bytes, formats[_i].bytes);
        }
    verb(DAC, 0x70610);
    describe(OUT, 1, count * frame, formats[_i].format);
    start(OUT, 0);
    pass(50);
    int rise = board.played[2 * 1500] - board.played[2 * 500];
    ck_assert_int_le(abs(rise - formats[_i].rise_per_1000), 1);
    int right = board.played[2 * 1500 + 1];
    right /= formats[_i].channels == 1 ? 1 : 2;
    ck_assert_int_le(abs((int16_t)right - board.played[2 * 1500]), 4);
    for (int i = 600; i < 1400; i++) /* no step is too long or back */
        ck_assert_int_le(
            abs((board.played[2 * i] - board.played[2 * i - 2]) * 1000 - formats[_i].rise_per_1000),
            1000);
}
END_TEST

START_TEST(volume_and_routes)
{
    for (int i = 0; i < 0x8000; i++) {
        int16_t sample = 10000;
        memcpy(ram(DATA + 2 * i), &sample, 2);
    }
    describe(OUT, 1, 0x10000, 0x0011);
    start(OUT, 0);
    pass(20);
    ck_assert_int_eq(board.played[2 * 500], 0); /* nobody listens to stream 1 */
    verb(DAC, 0x70610);
    pass(20);
    ck_assert_int_eq(board.played[2 * 1900], 10000);
    verb(DAC, 0x3a000 | (0x3f - 8)); /* left 6 dB down */
    ck_assert_uint_eq(verb(DAC, 0xba000), 0x3f - 8);
    ck_assert_uint_eq(verb(DAC, 0xb8000), 0x3f);
    pass(20);
    ck_assert_int_le(abs(board.played[2 * 2800] - 5012), 5);
    ck_assert_int_eq(board.played[2 * 2800 + 1], 10000);
    verb(DAC, 0x39000 | 0x80 | 0x3f);
    pass(20);
    ck_assert_int_eq(board.played[2 * 3700 + 1], 0);
    verb(PIN, 0x70700);
    pass(20);
    ck_assert_int_eq(board.played[2 * 4700], 0);
}
END_TEST

START_TEST(records_silence)
{
    memset(ram(DATA), 0x55, 4096);
    verb(ADC, 0x70610);
    describe(0, 1, 1920, 0x0011);
    start(0, 4);
    pass(8);
    ck_assert_uint_eq(in(SD(0) + 4, 4), 8 * 48 * 4);
    pass(2);
    ck_assert_uint_eq(in(SD(0) + 3, 1) & 4, 4);
    for (int i = 0; i < 1920; i++)
        ck_assert_uint_eq(*ram(DATA + i), 0);
    ck_assert_uint_eq(*ram(DATA + 1920), 0x55);
}
END_TEST

START_TEST(synchronized_start)
{
    describe(OUT, 1, 0x8000, 0x0011);
    describe(OUT + 1, 1, 0x8000, 0x0011);
    out(SSYNC, 3u << OUT, 4);
    start(OUT, 0);
    pass(5);
    start(OUT + 1, 0);
    pass(5);
    ck_assert_uint_eq(in(SD(OUT) + 4, 4), 0);
    out(SSYNC, 0, 4);
    pass(5);
    ck_assert_uint_eq(in(SD(OUT) + 4, 4), 5 * 48 * 4);
    ck_assert_uint_eq(in(SD(OUT + 1) + 4, 4), 5 * 48 * 4);
}
END_TEST

START_TEST(descriptor_errors)
{
    describe(OUT, 1, 1920, 0x0011);
    out(SD(OUT) + 0x1c, 0x80, 4); /* a list outside of memory */
    out(INTCTL, 0x80000000 | 1u << OUT, 4);
    start(OUT, 0x10);
    ck_assert_uint_eq(in(SD(OUT) + 3, 1), 0x10);
    ck_assert_uint_eq(in(SD(OUT), 1) & 2, 0);
    ck_assert(board.bench.irq);
    out(SD(OUT) + 3, 0x10, 1);
    out(SD(OUT) + 0x1c, 0, 4);
    uint32_t entry[4] = {0, 1, 1920, 0}; /* a buffer outside of memory */
    memcpy(ram(LIST), entry, sizeof entry);
    start(OUT, 0x10);
    pass(10);
    ck_assert_uint_eq(in(SD(OUT) + 3, 1), 0x10);
    out(SD(OUT) + 3, 0x10, 1);
    for (unsigned i = 0; i < 256; i++) { /* frames in two pieces, and in four */
        uint32_t scattered[4] = {DATA + 7 * i, 0, i < 40 ? 2 : 1, 0};
        memcpy(ram(LIST + 16 * i), scattered, sizeof scattered);
    }
    out(SD(OUT), 1, 1);
    out(SD(OUT), 0, 1);
    out(SD(OUT) + 0x18, LIST, 4);
    out(SD(OUT) + 0x0c, 0xff, 2);
    out(SD(OUT) + 0x12, 0x0011, 2);
    start(OUT, 0x10);
    pass(5);
    ck_assert_uint_eq(in(SD(OUT) + 4, 4), 5 * 48 * 4);
    ck_assert_uint_eq(in(SD(OUT) + 3, 1), 0x20);
    out(SD(OUT) + 0x12, 0x0041, 2); /* eight pieces: too scattered */
    pass(5);
    ck_assert_uint_eq(in(SD(OUT) + 3, 1), 0x10);
    out(SD(OUT) + 3, 0x10, 1);
    memset(ram(LIST), 0, 4096); /* 256 buffers of no length */
    out(SD(OUT) + 0x0c, 0xff, 2);
    start(OUT, 0x10);
    ck_assert_uint_eq(in(SD(OUT) + 3, 1), 0x10);
}
END_TEST

START_TEST(garbage)
{
    uint64_t seed = 99;
    for (uint32_t i = 0; i < 0x4000; i += 8) {
        uint64_t word = audio_bench_random(&seed);
        word &= i & 8 ? 0x10000003f : 0xfffff;
        memcpy(ram(CORB + i), &word, 8);
    }
    for (int i = 0; i < 30000; i++) {
        uint64_t r = audio_bench_random(&seed);
        uint32_t reg = (r >> 8) % (r & 4 ? 0x190 : 0x4000);
        uint32_t value = (uint32_t)(r >> 32) >> (r >> 3 & 31);
        if (r & 16)
            value = CORB + (value & 0x3f80);
        unsigned size = 1u << (r >> 24) % 3;
        if (reg == GCTL && r & 0xf00000)
            value |= 1;
        if (reg + size <= 0x4000 && r & 1)
            out(reg, value, size);
        else if (reg + size <= 0x4000)
            in(reg, size);
        if (i % 300 == 0)
            pass(15);
    }
}
END_TEST

START_TEST(state)
{
    static struct audio_bench other;
    verb(DAC, 0x70610);
    describe(OUT, 4, 480 * 4, 0x4011);
    start(OUT, 4);
    pass(15);
    build(&other);
    pci_bench_copy_state(&other.bench, &board.bench);
    audio_bench_free(&other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hda");
    TCase *cases = tcase_create("hda");
    const TTest *const tests[] = {registers,
                                  commands_by_rings,
                                  plays_every_sample,
                                  waits_for_answers,
                                  no_gaps_on_a_busy_host,
                                  slow_guests,
                                  message_interrupts,
                                  volume_and_routes,
                                  records_silence,
                                  synchronized_start,
                                  descriptor_errors,
                                  garbage,
                                  state};
    tcase_add_checked_fixture(cases, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(cases, tests[i]);
    tcase_add_loop_test(cases, formats_and_rates, 0, sizeof formats / sizeof *formats);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
