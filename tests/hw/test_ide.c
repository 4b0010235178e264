/*
 * PIIX3 IDE through its ports: what a driver sees of disks, CD-ROM drives, absent drives and
 * the bus master. Board: 1 MiB of RAM, a disk as primary master, a CD-ROM as secondary master.
 */
#include "hw/image/image.h"
#include "hw/state.h"
#include "hw/storage/piix_ide.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DISK_SECTORS 2100u
#define CD_BLOCKS    300u
#define BM_BASE      0xc000
#define DEVFN        0x09 /* 00:01.1 */

enum { PRIMARY = 0x1f0, SECONDARY = 0x170 };
enum { DATA, ERROR, COUNT, LOW, MID, HIGH, DEVICE, STATUS };
enum { ERR = 0x01, DRQ = 0x08, DRDY = 0x40, BSY = 0x80 };

struct board {
    struct device_list devices;
    struct io_bus *io;
    struct memory *memory;
    struct clock *clock;
    struct loop *loop;
    struct pci_bus *pci;
    struct piix_ide *ide;
    bool irq[2];
    unsigned irqs[2]; /* rising edges */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct board board;
static struct image *disk, *cd;
static char disk_path[64], cd_path[64];

static void count_irq(void *opaque, int number, bool level)
{
    struct board *b = opaque;
    b->irqs[number] += level && !b->irq[number];
    b->irq[number] = level;
}

static uint32_t in(unsigned port, unsigned size)
{
    return io_bus_read(board.io, (uint16_t)port, size);
}

static void out(unsigned port, uint32_t value, unsigned size)
{
    io_bus_write(board.io, (uint16_t)port, value, size);
}

static void config_write(unsigned offset, uint32_t value)
{
    out(0xcf8, 0x80000000u | DEVFN << 8 | offset, 4);
    out(0xcfc, value, 4);
}

static void enable_ide(void)
{
    config_write(0x20, BM_BASE);
    config_write(0x04, 0x0005);
    config_write(0x40, 0x80008000);
}

static void build(struct board *b, struct image *master, struct image *medium)
{
    static const struct irq_line none[4];
    memset(b, 0, sizeof *b);
    struct irq_line irq14 = {count_irq, b, 0}, irq15 = {count_irq, b, 1};
    device_list_init(&b->devices);
    b->io = io_bus_new();
    b->memory = memory_new(1 << 20, NULL);
    b->clock = clock_new();
    b->loop = loop_new(b->clock, &lock);
    b->pci = pci_bus_new(&b->devices, b->io, b->memory, none);
    b->ide = piix_ide_new(&b->devices, b->pci, DEVFN, b->io, irq14, irq15, b->loop);
    if (master)
        piix_ide_attach_disk(b->ide, 0, 0, master);
    piix_ide_attach_cdrom(b->ide, 1, 0, medium);
    device_list_reset(&b->devices);
}

static void tear_down(struct board *b)
{
    device_list_destroy(&b->devices);
    loop_free(b->loop);
    clock_free(b->clock);
    memory_free(b->memory);
    io_bus_free(b->io);
}

/* Every 32-bit word of a medium differs from all others. */
static uint32_t pattern(uint32_t word)
{
    return word * 2654435761u ^ 0x5bd1e995;
}

static struct image *make_image(char *path, const char *name, size_t bytes, bool optical)
{
    struct error error = {""};
    snprintf(path, 64, "/tmp/doppel-test-%s-XXXXXX", name);
    int fd = mkstemp(path);
    uint32_t *data = malloc(bytes);
    for (uint32_t i = 0; i < bytes / 4; i++)
        data[i] = pattern(i);
    ck_assert_int_eq(write(fd, data, bytes), (ssize_t)bytes);
    free(data);
    close(fd);
    struct image *image =
        image_open(&(struct image_options){.path = path, .optical = optical}, &error);
    ck_assert_msg(image != NULL, "%s", error.text);
    return image;
}

static void setup(void)
{
    disk = make_image(disk_path, "disk", DISK_SECTORS * 512, false);
    cd = make_image(cd_path, "cd", CD_BLOCKS * 2048, true);
    pthread_mutex_lock(&lock);
    build(&board, disk, cd);
    enable_ide();
}

static void teardown(void)
{
    tear_down(&board);
    pthread_mutex_unlock(&lock);
    image_close(disk);
    image_close(cd);
    unlink(disk_path);
    unlink(cd_path);
}

static void settle(void)
{
    loop_drain(board.loop);
}

static void set_lba28(unsigned base, uint32_t lba, uint8_t count)
{
    out(base + COUNT, count, 1);
    out(base + LOW, lba & 0xff, 1);
    out(base + MID, lba >> 8 & 0xff, 1);
    out(base + HIGH, lba >> 16 & 0xff, 1);
    out(base + DEVICE, 0xe0 | (lba >> 24 & 0xf), 1);
}

static void set_lba48(unsigned base, uint64_t lba, uint16_t count)
{
    out(base + COUNT, count >> 8, 1);
    out(base + LOW, lba >> 24 & 0xff, 1);
    out(base + MID, lba >> 32 & 0xff, 1);
    out(base + HIGH, lba >> 40 & 0xff, 1);
    out(base + COUNT, count & 0xff, 1);
    out(base + LOW, lba & 0xff, 1);
    out(base + MID, lba >> 8 & 0xff, 1);
    out(base + HIGH, lba >> 16 & 0xff, 1);
    out(base + DEVICE, 0xe0, 1);
}

static void command(unsigned base, uint8_t code)
{
    out(base + STATUS, code, 1);
    settle();
}

static uint8_t status(unsigned base)
{
    return (uint8_t)in(base + STATUS, 1);
}

static void read_words(unsigned base, void *to, unsigned words)
{
    uint16_t *word = to;
    while (words--)
        *word++ = (uint16_t)in(base + DATA, 2);
    settle();
}

static void check_pattern(const void *data, uint32_t first_word, unsigned words)
{
    const uint32_t *word = data;
    for (unsigned i = 0; i < words; i++)
        ck_assert_uint_eq(word[i], pattern(first_word + i));
}

/* -- Presence -- */

START_TEST(ports_need_decode_enable)
{
    config_write(0x40, 0);
    ck_assert_uint_eq(status(PRIMARY), 0xff);
    config_write(0x40, 0x80008000);
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    config_write(0x04, 0);
    ck_assert_uint_eq(status(PRIMARY), 0xff);
}
END_TEST

START_TEST(absent_drives)
{
    out(PRIMARY + DEVICE, 0xb0, 1); /* no device 1, device 0 answers for it */
    ck_assert_uint_eq(status(PRIMARY), 0);
    command(PRIMARY, 0xec);
    ck_assert_uint_eq(status(PRIMARY), 0);
    ck_assert_uint_eq(board.irqs[0], 0);
    out(PRIMARY + COUNT, 0x55, 1);
    ck_assert_uint_ne(in(PRIMARY + COUNT, 1), 0x55);
    ck_assert_uint_eq(in(PRIMARY + DATA, 4), 0xffffffff);

    tear_down(&board); /* a cable without drives floats, D7 pulled down */
    build(&board, NULL, cd);
    enable_ide();
    out(PRIMARY + DEVICE, 0xa0, 1);
    ck_assert_uint_eq(status(PRIMARY), 0x7f);
    command(PRIMARY, 0x90);
    out(0x3f6, 4, 1);
    out(0x3f6, 0, 1);
    ck_assert_uint_eq(status(PRIMARY), 0x7f);
    ck_assert_uint_eq(board.irqs[0], 0);
}
END_TEST

START_TEST(signatures_after_soft_reset)
{
    set_lba28(PRIMARY, 5, 5);
    out(0x3f6, 0x04, 1);
    ck_assert_uint_eq(in(0x3f6, 1), BSY);
    out(0x3f6, 0x00, 1);
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    ck_assert_uint_eq(in(PRIMARY + ERROR, 1), 0x01);
    ck_assert_uint_eq(in(PRIMARY + COUNT, 4), 0x00000101);
    out(0x376, 0x04, 1);
    out(0x376, 0x00, 1);
    ck_assert_uint_eq(status(SECONDARY), 0x00);
    ck_assert_uint_eq(in(SECONDARY + COUNT, 4), 0xeb140101);

    command(PRIMARY, 0x90);
    ck_assert_uint_eq(in(PRIMARY + ERROR, 1), 0x01);
    ck_assert_uint_eq(board.irqs[0], 1);

    command(SECONDARY, 0xec); /* IDENTIFY DEVICE tells a packet device by abort and signature */
    ck_assert_uint_eq(status(SECONDARY), 0x51);
    ck_assert_uint_eq(in(SECONDARY + ERROR, 1), 0x04);
    ck_assert_uint_eq(in(SECONDARY + MID, 2), 0xeb14);
}
END_TEST

START_TEST(identify)
{
    uint16_t id[256];
    command(PRIMARY, 0xec);
    ck_assert(board.irq[0]);
    ck_assert_uint_eq(status(PRIMARY), 0x58);
    ck_assert(!board.irq[0]);
    read_words(PRIMARY, id, 256);
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    ck_assert_uint_eq(id[1], DISK_SECTORS / (16 * 63));
    ck_assert_uint_eq(id[60] | id[61] << 16, DISK_SECTORS);
    ck_assert_uint_eq(id[100], DISK_SECTORS);
    ck_assert_uint_eq(id[83] & 0x0400, 0x0400);
    ck_assert_uint_eq(id[27], 'D' << 8 | 'O');
    uint8_t sum = 0;
    for (int i = 0; i < 512; i++)
        sum = (uint8_t)(sum + ((uint8_t *)id)[i]);
    ck_assert_uint_eq(sum, 0);

    out(PRIMARY + ERROR, 0x03, 1);
    out(PRIMARY + COUNT, 0x42, 1);
    command(PRIMARY, 0xef);
    command(PRIMARY, 0xec);
    read_words(PRIMARY, id, 256);
    ck_assert_uint_eq(id[88], 0x043f);
    ck_assert_uint_eq(id[63], 0x0007);

    command(SECONDARY, 0xa1);
    read_words(SECONDARY, id, 256);
    ck_assert_uint_eq(id[0], 0x85c0);
}
END_TEST

/* -- PIO -- */

START_TEST(pio_read_has_an_interrupt_per_block)
{
    uint32_t data[128 * 3];
    set_lba28(PRIMARY, 7, 3);
    command(PRIMARY, 0x20);
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(board.irqs[0], i + 1u);
        ck_assert_uint_eq(status(PRIMARY), 0x58);
        for (int w = 0; w < 128; w++)
            data[128 * i + w] = in(PRIMARY + DATA, 4);
        settle();
    }
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    ck_assert_uint_eq(board.irqs[0], 3);
    check_pattern(data, 7 * 128, 128 * 3);
    ck_assert_uint_eq(in(PRIMARY + DATA, 4), 0xffffffff); /* nothing left */
}
END_TEST

START_TEST(pio_multiple_over_several_chunks)
{
    enum { SECTORS = 600 };
    static uint32_t data[128 * SECTORS];
    out(PRIMARY + COUNT, 16, 1);
    command(PRIMARY, 0xc6);
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    unsigned before = board.irqs[0];
    set_lba48(PRIMARY, 100, SECTORS);
    command(PRIMARY, 0x29);
    for (int i = 0; i < SECTORS; i += 16) {
        unsigned words = (SECTORS - i < 16 ? SECTORS - i : 16) * 256u;
        ck_assert_uint_eq(status(PRIMARY), 0x58);
        read_words(PRIMARY, data + 128 * i, words);
    }
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    ck_assert_uint_eq(board.irqs[0] - before, (SECTORS + 15) / 16);
    check_pattern(data, 100 * 128, 128 * SECTORS);
}
END_TEST

START_TEST(pio_write)
{
    uint8_t back[1024];
    set_lba28(PRIMARY, 20, 2);
    command(PRIMARY, 0x30);
    ck_assert_uint_eq(board.irqs[0], 0); /* none for the first block */
    for (int block = 0; block < 2; block++) {
        ck_assert_uint_eq(status(PRIMARY), 0x58);
        for (uint32_t w = 0; w < 256; w++)
            out(PRIMARY + DATA, w + 1000, 2);
        settle();
        ck_assert_uint_eq(board.irqs[0], block + 1u);
    }
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    ck_assert_int_eq(image_read(disk, 20 * 512, back, sizeof back), 0);
    for (uint32_t w = 0; w < 512; w++)
        ck_assert_uint_eq(((uint16_t *)back)[w], w % 256 + 1000);
    command(PRIMARY, 0xe7);
    ck_assert_uint_eq(status(PRIMARY), 0x50);
}
END_TEST

START_TEST(chs_equals_lba)
{
    uint32_t data[128];
    out(PRIMARY + COUNT, 1, 1);
    out(PRIMARY + LOW, 6, 1);
    out(PRIMARY + MID, 1, 1);
    out(PRIMARY + HIGH, 0, 1);
    out(PRIMARY + DEVICE, 0xa2, 1);
    command(PRIMARY, 0x20);
    read_words(PRIMARY, data, 256);
    check_pattern(data, ((1 * 16 + 2) * 63 + 5) * 128, 128);
    out(PRIMARY + LOW, 0, 1); /* there is no sector 0 */
    command(PRIMARY, 0x20);
    ck_assert_uint_eq(status(PRIMARY), 0x51);
    ck_assert_uint_eq(in(PRIMARY + ERROR, 1), 0x10);
}
END_TEST

START_TEST(refusals)
{
    static const struct {
        uint32_t lba;
        uint8_t count, code, error;
    } cases[] = {
        {DISK_SECTORS, 1, 0x20, 0x10},
        {DISK_SECTORS - 1, 2, 0x20, 0x10},
        {DISK_SECTORS - 1, 2, 0x30, 0x10},
        {0x0fffffff, 0, 0xc8, 0x10},
        {0, 1, 0x00, 0x04},
        {0, 1, 0x66, 0x04},
        {0, 1, 0xa0, 0x04},
        {0, 1, 0x08, 0x04},
        {0, 3, 0xc6, 0x04},
        {DISK_SECTORS, 1, 0x40, 0x10},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_lba28(PRIMARY, cases[i].lba, cases[i].count);
        command(PRIMARY, cases[i].code);
        ck_assert_uint_eq(status(PRIMARY), 0x51);
        ck_assert_uint_eq(in(PRIMARY + ERROR, 1), cases[i].error);
    }
    set_lba28(PRIMARY, DISK_SECTORS - 1, 1);
    command(PRIMARY, 0x40);
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    command(PRIMARY, 0xf8);
    ck_assert_uint_eq(in(PRIMARY + LOW, 2), DISK_SECTORS - 1);
}
END_TEST

START_TEST(nien_holds_the_line)
{
    out(0x3f6, 0x02, 1);
    command(PRIMARY, 0xe5);
    ck_assert_uint_eq(in(PRIMARY + COUNT, 1), 0xff);
    ck_assert(!board.irq[0]);
    out(0x3f6, 0x00, 1);
    ck_assert(board.irq[0]);
    in(0x3f6, 1);
    ck_assert(board.irq[0]); /* alternate status does not acknowledge */
    status(PRIMARY);
    ck_assert(!board.irq[0]);
}
END_TEST

/* -- Bus master -- */

static void put_prds(uint32_t table, const uint32_t (*prds)[2], unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        ck_assert(memory_dma_write(board.memory, table + 8 * i, prds[i], 8));
    out(BM_BASE + 4, table, 4);
    out(BM_BASE + 2, 0x06, 1);
}

START_TEST(dma_read_scatters)
{
    static uint32_t data[128 * 300];
    const uint32_t prds[][2] = {{0x20000, 0}, /* 0 means 64 KiB */
                                {0x60002, 0x202},
                                {0x70000, 0},
                                {0x90000, 0x80000000u | (300 * 512 - 0x20202)}};
    put_prds(0x1000, prds, 4);
    out(BM_BASE, 0x08, 1);
    set_lba48(PRIMARY, 50, 300);
    command(PRIMARY, 0x25);
    ck_assert_uint_eq(board.irqs[0], 0);
    out(BM_BASE, 0x09, 1);
    settle();
    ck_assert_uint_eq(board.irqs[0], 1);
    ck_assert_uint_eq(in(BM_BASE + 2, 1) & 7, 0x04);
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    out(BM_BASE, 0, 1);
    memory_dma_read(board.memory, 0x20000, data, 0x10000);
    memory_dma_read(board.memory, 0x60002, (uint8_t *)data + 0x10000, 0x202);
    memory_dma_read(board.memory, 0x70000, (uint8_t *)data + 0x10202, 0x10000);
    memory_dma_read(board.memory, 0x90000, (uint8_t *)data + 0x20202, 300 * 512 - 0x20202);
    check_pattern(data, 50 * 128, 128 * 300);
}
END_TEST

START_TEST(dma_write_gathers)
{
    static uint8_t data[512 * 260], back[512 * 260];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 512);
    memory_dma_write(board.memory, 0x30000, data, sizeof data);
    const uint32_t prds[][2] = {
        {0x30000, 0}, {0x40000, 0}, {0x50000, 0x80000000u | (sizeof data - 0x20000)}};
    put_prds(0x1000, prds, 3);
    out(BM_BASE, 0x01, 1); /* started before the command */
    set_lba48(PRIMARY, 900, 260);
    command(PRIMARY, 0x35);
    ck_assert_uint_eq(in(BM_BASE + 2, 1) & 7, 0x04);
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    ck_assert_int_eq(image_read(disk, 900 * 512, back, sizeof back), 0);
    ck_assert_mem_eq(data, back, sizeof data);
}
END_TEST

START_TEST(dma_hostile_tables)
{
    /* Too short: the master stops, the drive goes on waiting, a reset gets it back. */
    put_prds(0x1000, (const uint32_t[][2]){{0x20000, 0x80000200u}}, 1);
    set_lba28(PRIMARY, 0, 2);
    command(PRIMARY, 0xc8);
    out(BM_BASE, 0x09, 1);
    settle();
    ck_assert_uint_eq(in(BM_BASE + 2, 1) & 7, 0);
    ck_assert_uint_eq(status(PRIMARY) & DRQ, DRQ);
    out(BM_BASE, 0, 1);
    out(0x3f6, 4, 1);
    out(0x3f6, 0, 1);
    ck_assert_uint_eq(status(PRIMARY), 0x50);

    /* Table outside RAM, data outside RAM, wrong direction. */
    set_lba28(PRIMARY, 0, 2);
    command(PRIMARY, 0xc8);
    out(BM_BASE + 4, 0xfffffff8, 4);
    out(BM_BASE, 0x09, 1);
    ck_assert_uint_eq(in(BM_BASE + 2, 1) & 7, 0x02);
    out(BM_BASE, 0, 1);
    put_prds(0x1000, (const uint32_t[][2]){{0xfffffffe, 0x80000000u}}, 1);
    out(BM_BASE, 0x09, 1);
    ck_assert_uint_eq(in(BM_BASE + 2, 1) & 7, 0x02);
    out(BM_BASE, 0, 1);
    put_prds(0x1000, (const uint32_t[][2]){{0x20000, 0x80000400u}}, 1);
    out(BM_BASE, 0x01, 1);
    ck_assert_uint_eq(in(BM_BASE + 2, 1) & 7, 0x02);
    out(BM_BASE, 0, 1);
    out(BM_BASE + 2, 6, 1);
    out(BM_BASE, 0x09, 1); /* the drive still has the data */
    ck_assert_uint_eq(in(BM_BASE + 2, 1) & 7, 0x04);
}
END_TEST

START_TEST(reset_while_a_job_runs)
{
    set_lba28(PRIMARY, 0, 0);
    out(PRIMARY + STATUS, 0xc8, 1);
    ck_assert_uint_eq(status(PRIMARY), BSY);
    out(PRIMARY + STATUS, 0xec, 1); /* ignored */
    out(0x3f6, 4, 1);
    out(0x3f6, 0, 1);
    settle();
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    ck_assert_uint_eq(in(PRIMARY + COUNT, 4), 0x00000101);
    set_lba28(PRIMARY, 0, 1);
    out(PRIMARY + STATUS, 0x20, 1);
    device_list_reset(&board.devices);
    settle();
    enable_ide();
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    ck_assert(!board.irq[0]);
}
END_TEST

/* -- ATAPI -- */

static void packet(const uint8_t *bytes, size_t length, uint8_t features, uint16_t limit)
{
    uint8_t cdb[12] = {0};
    memcpy(cdb, bytes, length);
    out(SECONDARY + ERROR, features, 1);
    out(SECONDARY + MID, limit & 0xff, 1);
    out(SECONDARY + HIGH, limit >> 8, 1);
    out(SECONDARY + DEVICE, 0xa0, 1);
    command(SECONDARY, 0xa0);
    ck_assert_uint_eq(status(SECONDARY), 0x58);
    ck_assert_uint_eq(in(SECONDARY + COUNT, 1) & 3, 1);
    for (int i = 0; i < 12; i += 2)
        out(SECONDARY + DATA, (uint32_t)(cdb[i] | cdb[i + 1] << 8), 2);
    settle();
}
#define PACKET(...)                                                                                \
    packet((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), 0, 0xfffe)

/* Takes data until the drive ends the command; returns bytes, checks the end. */
static unsigned take(uint8_t *to)
{
    unsigned total = 0;
    while (status(SECONDARY) & DRQ) {
        unsigned count = in(SECONDARY + MID, 2);
        ck_assert_uint_eq(in(SECONDARY + COUNT, 1) & 3, 2);
        for (unsigned i = 0; i < count; i += 2) {
            uint16_t word = (uint16_t)in(SECONDARY + DATA, 2);
            memcpy(to + total + i, &word, count - i < 2 ? 1 : 2);
        }
        total += count;
        settle();
    }
    ck_assert_uint_eq(in(SECONDARY + COUNT, 1) & 3, 3);
    return total;
}

static void expect_sense(uint8_t key, uint8_t asc)
{
    uint8_t data[32];
    ck_assert_uint_eq(status(SECONDARY), 0x51);
    ck_assert_uint_eq(in(SECONDARY + ERROR, 1) >> 4, key);
    PACKET(0x03, 0, 0, 0, 18);
    ck_assert_uint_eq(take(data), 18);
    ck_assert_uint_eq(data[2], key);
    ck_assert_uint_eq(data[12], asc);
}

static void pass_power_on(void)
{
    PACKET(0x00);
    expect_sense(6, 0x29);
    PACKET(0x00);
    ck_assert_uint_eq(status(SECONDARY), 0x50);
}

START_TEST(atapi_inquiry_and_capacity)
{
    uint8_t data[256];
    PACKET(0x12, 0, 0, 0, 36); /* allowed before the unit attention is taken */
    ck_assert_uint_eq(take(data), 36);
    ck_assert_uint_eq(data[0], 5);
    ck_assert_mem_eq(data + 8, "DOPPEL  CD-ROM  ", 16);
    pass_power_on();
    PACKET(0x12, 0, 0, 0, 5);
    ck_assert_uint_eq(take(data), 5);
    PACKET(0x25);
    ck_assert_uint_eq(take(data), 8);
    ck_assert_uint_eq(data[2] << 8 | data[3], CD_BLOCKS - 1);
    ck_assert_uint_eq(data[6] << 8 | data[7], 2048);
    PACKET(0x43, 0, 0, 0, 0, 0, 0, 0, 100);
    ck_assert_uint_eq(take(data), 20);
    ck_assert_uint_eq(data[4 + 8 + 2], 0xaa);
    ck_assert_uint_eq(data[4 + 8 + 6] << 8 | data[4 + 8 + 7], CD_BLOCKS);
    PACKET(0x43, 2, 0, 0, 0, 0, 0, 0, 100); /* minutes, seconds, frames */
    take(data);
    ck_assert_mem_eq(data + 4 + 8 + 4, "\0\0\6\0", 4);
    PACKET(0x43, 0, 1, 0, 0, 0, 0, 0, 100);
    ck_assert_uint_eq(take(data), 12);
    PACKET(0x43, 0, 2, 0, 0, 0, 0, 0, 100);
    ck_assert_uint_eq(take(data), 48);
    PACKET(0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128);
    ck_assert_uint_eq(take(data), 28);
    ck_assert_uint_eq(data[8], 0x2a);
    PACKET(0x46, 0, 0, 0, 0, 0, 0, 1, 0);
    unsigned length = take(data);
    ck_assert_uint_eq(data[2] << 8 | data[3], length - 4);
    ck_assert_uint_eq(data[7], 0x08);
    PACKET(0xff);
    expect_sense(5, 0x20);
    PACKET(0x5a, 0, 0x0f, 0, 0, 0, 0, 0, 128);
    expect_sense(5, 0x24);
}
END_TEST

START_TEST(atapi_reads)
{
    static uint8_t data[2048 * 200];
    pass_power_on();
    unsigned before = board.irqs[1];
    PACKET(0x28, 0, 0, 0, 0, 16, 0, 0, 200);
    ck_assert_uint_eq(take(data), 2048 * 200);
    check_pattern(data, 16 * 512, 512 * 200);
    ck_assert_uint_gt(board.irqs[1], before + 4);

    const uint8_t read12[12] = {0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 2};
    packet(read12, 12, 0, 2048);
    ck_assert_uint_eq(in(SECONDARY + MID, 2), 2048);
    ck_assert_uint_eq(take(data), 4096);
    check_pattern(data, 3 * 512, 1024);

    packet(read12, 12, 0, 1); /* absurd limits must not hang the drive */
    ck_assert_uint_eq(take(data), 4096);
    check_pattern(data, 3 * 512, 1024);

    const uint8_t read_cd[12] = {0xbe, 0, 0, 0, 0, 9, 0, 0, 1, 0x10};
    packet(read_cd, 12, 0, 0xffff);
    ck_assert_uint_eq(take(data), 2048);
    check_pattern(data, 9 * 512, 512);

    PACKET(0x28, 0, 0, 0, CD_BLOCKS >> 8, CD_BLOCKS & 0xff, 0, 0, 1);
    expect_sense(5, 0x21);
    PACKET(0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff);
    expect_sense(5, 0x21);
}
END_TEST

START_TEST(atapi_dma)
{
    static uint8_t data[2048 * 3];
    const uint32_t prds[][2] = {{0x20000, 2048}, {0x28000, 0x80000000u | 4096}};
    pass_power_on();
    for (unsigned i = 0; i < 2; i++)
        memory_dma_write(board.memory, 0x1000 + 8 * i, prds[i], 8);
    out(BM_BASE + 12, 0x1000, 4);
    out(BM_BASE + 10, 0x06, 1);
    const uint8_t read10[12] = {0x28, 0, 0, 0, 0, 42, 0, 0, 3};
    packet(read10, 12, 1, 0);
    out(BM_BASE + 8, 0x09, 1);
    settle();
    ck_assert_uint_eq(in(BM_BASE + 10, 1) & 7, 0x04);
    ck_assert_uint_eq(status(SECONDARY), 0x50);
    ck_assert_uint_eq(in(SECONDARY + COUNT, 1) & 3, 3);
    memory_dma_read(board.memory, 0x20000, data, 2048);
    memory_dma_read(board.memory, 0x28000, data + 2048, 4096);
    check_pattern(data, 42 * 512, 512 * 3);
}
END_TEST

START_TEST(atapi_media)
{
    uint8_t data[64];
    struct image *old;
    struct error error;
    pass_power_on();

    PACKET(0x1e, 0, 0, 0, 1); /* the guest locks the drive */
    ck_assert(!piix_ide_eject(board.ide, 1, 0, false, &old, &error));
    PACKET(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8);
    ck_assert_uint_eq(take(data), 8);
    ck_assert_uint_eq(data[4], 1); /* eject request */
    ck_assert_uint_eq(data[5], 2); /* medium present */
    PACKET(0x1b, 0, 0, 0, 2);
    expect_sense(5, 0x53);
    PACKET(0x1e, 0, 0, 0, 0);
    ck_assert(piix_ide_eject(board.ide, 1, 0, false, &old, &error));
    ck_assert_ptr_eq(old, cd);
    ck_assert(!piix_ide_eject(board.ide, 0, 0, false, &old, &error));

    PACKET(0x00);
    expect_sense(6, 0x28);
    PACKET(0x00);
    expect_sense(2, 0x3a);
    PACKET(0x28, 0, 0, 0, 0, 0, 0, 0, 1);
    expect_sense(2, 0x3a);
    ck_assert(piix_ide_insert(board.ide, 1, 0, cd, &error));
    ck_assert(!piix_ide_insert(board.ide, 1, 0, cd, &error));
    PACKET(0x00);
    expect_sense(6, 0x28);
    PACKET(0x00);
    ck_assert_uint_eq(status(SECONDARY), 0x50);

    PACKET(0x1b, 0, 0, 0, 2); /* the guest opens and closes the tray itself */
    PACKET(0x00);
    expect_sense(2, 0x3a);
    PACKET(0x1b, 0, 0, 0, 3);
    PACKET(0x00);
    expect_sense(6, 0x28);

    /* Taken out in the middle of a read */
    PACKET(0x28, 0, 0, 0, 0, 0, 0, 0, 100);
    ck_assert(piix_ide_eject(board.ide, 1, 0, true, &old, &error));
    while (status(SECONDARY) & DRQ) {
        in(SECONDARY + DATA, 2);
        settle();
    }
    expect_sense(2, 0x3a);
    piix_ide_insert(board.ide, 1, 0, cd, &error);
}
END_TEST

/* -- State -- */

START_TEST(saved_in_the_middle_goes_on)
{
    static uint32_t data[128 * 3];
    struct state_buffer saved = {0};
    struct error error = {""};
    struct board other;
    char path[64];
    struct image *copy = make_image(path, "copy", DISK_SECTORS * 512, false);
    build(&other, copy, cd);

    set_lba28(PRIMARY, 30, 3);
    command(PRIMARY, 0x20);
    read_words(PRIMARY, data, 256 + 10); /* in the second block */
    state_save_devices(&saved, &board.devices);
    ck_assert_msg(state_load_devices(saved.bytes, saved.length, &other.devices, &error), "%s",
                  error.text);
    ck_assert_msg(state_compare_devices(&board.devices, &other.devices, &error), "%s", error.text);

    struct board first = board;
    board = other;
    read_words(PRIMARY, (uint16_t *)data + 256 + 10, 2 * 256 - 10);
    ck_assert_uint_eq(status(PRIMARY), 0x50);
    check_pattern(data, 30 * 128, 128 * 3);
    tear_down(&board);
    board = first;

    /* A machine with other drives does not take the state. */
    struct board wrong;
    build(&wrong, copy, cd);
    piix_ide_attach_disk(wrong.ide, 0, 1, copy);
    ck_assert(!state_load_devices(saved.bytes, saved.length, &wrong.devices, &error));
    tear_down(&wrong);
    state_buffer_free(&saved);
    image_close(copy);
    unlink(path);
}
END_TEST

/* Random register traffic: whatever the guest does, nothing breaks and a reset recovers. */
START_TEST(random_traffic)
{
    srand(11);
    for (int i = 0; i < 60000; i++) {
        unsigned base = rand() & 1 ? PRIMARY : SECONDARY;
        unsigned size = 1u << rand() % 3;
        uint32_t value = (uint32_t)rand() * 2654435761u >> rand() % 24;
        switch (rand() % 8) {
        case 0:
            in(base + (unsigned)rand() % 8, size);
            break;
        case 1:
            out(BM_BASE + (unsigned)rand() % 16, value, size);
            break;
        case 2:
            out(base + 0x206, value & (rand() % 8 ? 0x82 : 0x86), 1);
            break;
        case 3:
            if (rand() % 4 == 0)
                settle();
            break;
        case 4:
            for (int k = rand() % 300; k > 0; k--) {
                out(base, value, 2);
                in(base, 2);
            }
            break;
        default: {
            static const uint8_t codes[] = {0x20, 0x24, 0x30, 0x34, 0xa0, 0xa0, 0xc8, 0xca,
                                            0x25, 0x35, 0xc4, 0xc5, 0xc6, 0x91, 0xec, 0xa1};
            unsigned reg = 1 + (unsigned)rand() % 7;
            out(base + reg, reg == 7 && rand() % 4 ? codes[rand() % 16] : value, 1);
        }
        }
    }
    settle();
    device_list_reset(&board.devices);
    settle();
    enable_ide();
    uint32_t data[128];
    set_lba28(PRIMARY, 0, 1);
    command(PRIMARY, 0x20);
    ck_assert_uint_eq(status(PRIMARY), 0x58);
    read_words(PRIMARY, data, 256);
    ck_assert_uint_eq(status(PRIMARY), 0x50);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ide");
    TCase *tcase = tcase_create("ide");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, ports_need_decode_enable);
    tcase_add_test(tcase, absent_drives);
    tcase_add_test(tcase, signatures_after_soft_reset);
    tcase_add_test(tcase, identify);
    tcase_add_test(tcase, pio_read_has_an_interrupt_per_block);
    tcase_add_test(tcase, pio_multiple_over_several_chunks);
    tcase_add_test(tcase, pio_write);
    tcase_add_test(tcase, chs_equals_lba);
    tcase_add_test(tcase, refusals);
    tcase_add_test(tcase, nien_holds_the_line);
    tcase_add_test(tcase, dma_read_scatters);
    tcase_add_test(tcase, dma_write_gathers);
    tcase_add_test(tcase, dma_hostile_tables);
    tcase_add_test(tcase, reset_while_a_job_runs);
    tcase_add_test(tcase, atapi_inquiry_and_capacity);
    tcase_add_test(tcase, atapi_reads);
    tcase_add_test(tcase, atapi_dma);
    tcase_add_test(tcase, atapi_media);
    tcase_add_test(tcase, saved_in_the_middle_goes_on);
    tcase_add_test(tcase, random_traffic);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
