/*
 * The floppy controller through its ports, with the DMA controller of the board: transfers, seeks,
 * results, the change line, resets.
 */
#include "hw/storage/floppy.h"
#include "tests/hw/pci_bench.h"

#define SECTORS 2880u
#define TARGET  0x40000u

enum { DOR = 0x3f2, MSR = 0x3f4, FIFO = 0x3f5, DIR = 0x3f7 };

struct board {
    struct pci_bench bench;
    _Atomic uint64_t activity;
    struct floppy *floppy;
};

static struct board board;
static struct image *disk;

static uint8_t in(uint16_t port)
{
    return (uint8_t)io_bus_read(board.bench.io, port, 1);
}

static void out(uint16_t port, uint8_t value)
{
    io_bus_write(board.bench.io, port, value, 1);
}

static void build(struct board *b)
{
    pci_bench_build(&b->bench);
    struct i8237 *dma = i8237_new(&b->bench.devices, b->bench.io, b->bench.memory, "i8237");
    struct irq_line irq = {pci_bench_irq, &b->bench, 6};
    b->floppy =
        floppy_new(&b->bench.devices, b->bench.io, dma, irq, b->bench.loop, &b->activity, "floppy");
    floppy_attach(b->floppy, 0, disk);
    device_list_reset(&b->bench.devices);
}

static void send(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(in(MSR)&0xc0, 0x80);
        out(FIFO, bytes[i]);
    }
    loop_drain(board.bench.loop);
}
#define SEND(...)                                                                                  \
    do {                                                                                           \
        const uint8_t bytes_[] = {__VA_ARGS__};                                                    \
        send(bytes_, sizeof bytes_);                                                               \
    } while (0)

static unsigned receive(uint8_t *bytes)
{
    unsigned count = 0;
    while ((in(MSR)&0xd0) == 0xd0 && count < 16)
        bytes[count++] = in(FIFO);
    return count;
}

/* Channel 2: `mode` 0x46 to memory, 0x4a from memory. */
static void program_dma(uint8_t mode, uint32_t address, uint16_t bytes)
{
    out(0x0a, 6);
    out(0x0c, 0);
    out(0x0b, mode);
    out(0x04, (uint8_t)address);
    out(0x04, (uint8_t)(address >> 8));
    out(0x81, (uint8_t)(address >> 16));
    out(0x05, (uint8_t)(bytes - 1));
    out(0x05, (uint8_t)((bytes - 1) >> 8));
    out(0x0a, 2);
}

static void start_controller(void)
{
    uint8_t result[16];
    out(DOR, 0);
    out(DOR, 0x1c); /* motor 0 */
    ck_assert(board.bench.irq);
    for (unsigned i = 0; i < 4; i++) {
        SEND(0x08);
        ck_assert_uint_eq(receive(result), 2);
        ck_assert_uint_eq(result[0], 0xc0 | i);
    }
    ck_assert(!board.bench.irq);
    out(DIR, 0); /* 500 kbit/s */
    SEND(0x03, 0xdf, 0x02);
}

static void seek(uint8_t cylinder)
{
    uint8_t result[16];
    SEND(0x0f, 0, cylinder);
    ck_assert(board.bench.irq);
    SEND(0x08);
    ck_assert_uint_eq(receive(result), 2);
    ck_assert_uint_eq(result[0], 0x20);
    ck_assert_uint_eq(result[1], cylinder);
}

static void setup(void)
{
    disk = pattern_image(SECTORS * 512, false);
    pthread_mutex_lock(&pci_bench_lock);
    build(&board);
    start_controller();
}

static void teardown(void)
{
    pci_bench_free(&board.bench);
    pthread_mutex_unlock(&pci_bench_lock);
    image_close(disk);
}

static const uint8_t *ram(void)
{
    return memory_ram_host(board.bench.memory) + TARGET;
}

START_TEST(reads_by_dma)
{
    uint8_t result[16];
    seek(3);
    program_dma(0x46, TARGET, 4 * 512);
    SEND(0xe6, 4, 3, 1, 16, 2, 18, 0x1b, 0xff); /* head 1, sectors 16 to 18 and on */
    ck_assert(board.bench.irq);
    ck_assert_uint_eq(receive(result), 7);
    ck_assert(!board.bench.irq);
    /* Head 1 ends the cylinder: three sectors and no terminal count. */
    ck_assert_uint_eq(result[0], 0x44);
    ck_assert_uint_eq(result[1], 0x80);
    check_pattern(ram(), ((3 * 2 + 1) * 18 + 15) * 128, 3 * 128);

    program_dma(0x46, TARGET, 20 * 512);
    SEND(0xe6, 0, 3, 0, 1, 2, 18, 0x1b, 0xff); /* on to the other side */
    ck_assert_uint_eq(receive(result), 7);
    ck_assert_uint_eq(result[0], 0x04);
    ck_assert_uint_eq(result[1], 0);
    ck_assert_uint_eq(result[3], 3);
    ck_assert_uint_eq(result[4], 1);
    ck_assert_uint_eq(result[5], 3);
    check_pattern(ram(), 3 * 2 * 18 * 128, 20 * 128);
}
END_TEST

START_TEST(writes)
{
    uint8_t result[16], sector[512];
    memset(memory_ram_host(board.bench.memory) + TARGET, 0x6b, 1024);
    seek(79);
    program_dma(0x4a, TARGET, 1024);
    SEND(0xc5, 4, 79, 1, 17, 2, 18, 0x1b, 0xff);
    ck_assert_uint_eq(receive(result), 7);
    ck_assert_uint_eq(result[0], 0x04);
    ck_assert_uint_eq(result[1], 0);
    ck_assert_int_eq(image_read(disk, (SECTORS - 1) * 512, sector, 512), 0);
    ck_assert_uint_eq(sector[0], 0x6b);
    ck_assert_uint_eq(sector[511], 0x6b);
    ck_assert_int_eq(image_read(disk, (SECTORS - 3) * 512, sector, 512), 0);
    check_pattern(sector, (SECTORS - 3) * 128, 128);
}
END_TEST

START_TEST(without_dma)
{
    uint8_t result[16], data[1024];
    SEND(0x03, 0xdf, 0x03);
    seek(0);
    SEND(0x46, 0, 0, 0, 5, 2, 6, 0x1b, 0xff);
    for (unsigned i = 0; i < 1024; i++) {
        ck_assert_uint_eq(in(MSR), 0xf0);
        data[i] = in(FIFO);
    }
    check_pattern(data, 4 * 128, 256);
    ck_assert_uint_eq(receive(result), 7);
    ck_assert_uint_eq(result[1], 0x80);
    SEND(0x45, 0, 0, 0, 9, 2, 9, 0x1b, 0xff);
    for (unsigned i = 0; i < 512; i++)
        out(FIFO, (uint8_t)i);
    loop_drain(board.bench.loop);
    ck_assert_uint_eq(receive(result), 7);
    ck_assert_int_eq(image_read(disk, 8 * 512, data, 512), 0);
    ck_assert_uint_eq(data[200], 200);
}
END_TEST

START_TEST(what_cannot_be_found)
{
    uint8_t result[16];
    seek(5);
    program_dma(0x46, TARGET, 512);
    SEND(0x46, 0, 6, 0, 1, 2, 18, 0x1b, 0xff); /* heads are elsewhere */
    ck_assert_uint_eq(receive(result), 7);
    ck_assert_uint_eq(result[0], 0x40);
    ck_assert_uint_eq(result[1], 0x04);
    ck_assert_uint_eq(result[2], 0x10);
    SEND(0x46, 0, 5, 0, 19, 2, 18, 0x1b, 0xff);
    ck_assert_uint_eq(receive(result), 7);
    ck_assert_uint_eq(result[1], 0x04);
    out(DIR, 2); /* 250 kbit/s does not read this disk */
    SEND(0x4a, 0);
    ck_assert_uint_eq(receive(result), 7);
    ck_assert_uint_eq(result[1], 0x01);
    out(DIR, 0);
    SEND(0x4a, 4);
    ck_assert_uint_eq(receive(result), 7);
    ck_assert_uint_eq(result[0], 0x04);
    ck_assert_uint_eq(result[3], 5);
    SEND(0x1f);
    ck_assert_uint_eq(receive(result), 1);
    ck_assert_uint_eq(result[0], 0x80);
}
END_TEST

START_TEST(change_line_and_states)
{
    uint8_t result[16];
    ck_assert_uint_eq(in(DIR)&0x80, 0x80);
    seek(1);
    ck_assert_uint_eq(in(DIR)&0x80, 0);
    ck_assert_ptr_eq(floppy_change(board.floppy, 0, NULL), disk);
    seek(2);
    ck_assert_uint_eq(in(DIR)&0x80, 0x80);
    floppy_change(board.floppy, 0, disk);
    ck_assert_uint_eq(in(DIR)&0x80, 0x80);
    SEND(0x07, 0);
    SEND(0x08);
    receive(result);
    ck_assert_uint_eq(result[1], 0);
    ck_assert_uint_eq(in(DIR)&0x80, 0);
    SEND(0x04, 0);
    ck_assert_uint_eq(receive(result), 1);
    ck_assert_uint_eq(result[0], 0x38);
    SEND(0x10);
    ck_assert_uint_eq(receive(result), 1);
    ck_assert_uint_eq(result[0], 0x90);
    ck_assert_uint_eq(floppy_cmos_type(board.floppy, 0), 4);
    ck_assert_uint_eq(floppy_cmos_type(board.floppy, 1), 0);
}
END_TEST

START_TEST(formats_a_track)
{
    uint8_t result[16], sector[512];
    seek(10);
    program_dma(0x4a, TARGET, 72);
    SEND(0x4d, 0, 2, 18, 0x54, 0xf6);
    ck_assert_uint_eq(receive(result), 7);
    ck_assert_uint_eq(result[0], 0);
    ck_assert_int_eq(image_read(disk, (10 * 36 + 17) * 512, sector, 512), 0);
    ck_assert_uint_eq(sector[511], 0xf6);
    ck_assert_int_eq(image_read(disk, (10 * 36 + 18) * 512, sector, 512), 0);
    check_pattern(sector, (10 * 36 + 18) * 128, 128);
}
END_TEST

START_TEST(state)
{
    struct board other;
    build(&other);
    out(FIFO, 0xe6); /* in the middle of a command */
    out(FIFO, 4);
    pci_bench_copy_state(&other.bench, &board.bench);
    pci_bench_free(&other.bench);
}
END_TEST

START_TEST(garbage)
{
    uint64_t seed = 88172645463325252ull;
    for (int i = 0; i < 200000; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        static const uint8_t likely[] = {0xe6, 0x45, 0x4a, 0x0f, 0x08, 0x4d, 0x16, 0xc5};
        uint16_t port = (uint16_t)(0x3f0 + (seed >> 8 & 7));
        uint8_t value = (uint8_t)(seed >> 16);
        if (port == 0x3f6)
            continue;
        if (port == DOR && seed >> 40 & 7)
            value = 0x1c;
        if (seed >> 50 & 1)
            value = likely[value & 7];
        if (seed & 16)
            out(port, value);
        else
            in(port);
        if (i % 64 == 0)
            loop_drain(board.bench.loop);
    }
    loop_drain(board.bench.loop);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        reads_by_dma,           writes,          without_dma, what_cannot_be_found,
        change_line_and_states, formats_a_track, state,       garbage,
    };
    return suite_main("floppy", setup, teardown, tests, sizeof tests / sizeof *tests);
}
