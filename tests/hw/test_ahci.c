/*
 * AHCI as a driver sees it: command lists and FISes in memory, queued commands, errors, resets.
 * Board: 1 MiB of RAM, a disk at port 0, a CD-ROM drive at port 1, nothing at port 2.
 */
#include "hw/storage/ahci.h"
#include "tests/hw/pci_bench.h"

#define DISK_SECTORS 4100u
#define CD_BLOCKS    300u
#define ABAR         0xf0000000u
#define DEVFN        PCI_DEVFN(4, 0)

/* Where the driver keeps its things; port n adds n * 0x8000. */
#define LIST     0x10000u
#define RECEIVED 0x10400u
#define TABLES   0x11000u /* 0x100 each */
#define DATA     0x40000u

enum { CAP = 0, GHC = 4, IS = 8, PI = 12 };
enum {
    P_CLB = 0,
    P_FB = 8,
    P_IS = 16,
    P_IE = 20,
    P_CMD = 24,
    P_TFD = 32,
    P_SIG = 36,
    P_SSTS = 40,
    P_SCTL = 44,
    P_SERR = 48,
    P_SACT = 52,
    P_CI = 56
};

struct board {
    struct pci_bench bench;
    _Atomic uint64_t activity;
    struct ahci *ahci;
};

static struct board board;
static struct image *disk, *cd;

static uint32_t get(uint32_t reg)
{
    return (uint32_t)memory_mmio_read(board.bench.memory, ABAR + reg, 4);
}

static void put(uint32_t reg, uint32_t value)
{
    memory_mmio_write(board.bench.memory, ABAR + reg, value, 4);
}

static uint32_t pget(unsigned port, uint32_t reg)
{
    return get(0x100 + 0x80 * port + reg);
}

static void pput(unsigned port, uint32_t reg, uint32_t value)
{
    put(0x100 + 0x80 * port + reg, value);
}

static uint8_t *ram(uint32_t address)
{
    return memory_ram_host(board.bench.memory) + address;
}

static void build(struct board *b, struct image *master, struct image *medium)
{
    pci_bench_build(&b->bench);
    b->ahci = ahci_new(&b->bench.devices, b->bench.pci, DEVFN, b->bench.loop, &b->activity, "ahci");
    ahci_attach_disk(b->ahci, 0, master);
    ahci_attach_cdrom(b->ahci, 1, medium);
    pci_bench_start(&b->bench, DEVFN, 5, ABAR);
}

static void start(unsigned port)
{
    pput(port, P_CLB, LIST + 0x8000 * port);
    pput(port, P_FB, RECEIVED + 0x8000 * port);
    pput(port, P_SERR, 0xffffffff);
    pput(port, P_IS, 0xffffffff);
    pput(port, P_IE, 0x7dc0007f);
    pput(port, P_CMD, 0x17);
}

static void setup(void)
{
    disk = pattern_image(DISK_SECTORS * 512, false);
    cd = pattern_image(CD_BLOCKS * 2048, true);
    pthread_mutex_lock(&pci_bench_lock);
    build(&board, disk, cd);
    put(GHC, 0x80000002);
    start(0);
    start(1);
    put(IS, 0xffffffff);
}

static void teardown(void)
{
    pci_bench_free(&board.bench);
    pthread_mutex_unlock(&pci_bench_lock);
    image_close(disk);
    image_close(cd);
}

static void settle(void)
{
    loop_drain(board.bench.loop);
}

/* -- Commands -- */

struct prd {
    uint32_t address, bytes;
};

/* Fills a slot: a register FIS with `command`, 48-bit `lba`, 16-bit `count` and `features`. */
static void fill_slot(unsigned port, unsigned slot, uint8_t command, uint64_t lba, uint16_t count,
                      uint16_t features, const struct prd *prds, unsigned prd_count)
{
    uint32_t base = 0x8000 * port, table = TABLES + base + 0x100 * slot;
    uint32_t header[8] = {5 | prd_count << 16, 0, table, 0};
    uint8_t fis[20] = {0x27, 0x80, command, (uint8_t)features};
    for (int i = 0; i < 3; i++) {
        fis[4 + i] = (uint8_t)(lba >> (8 * i));
        fis[8 + i] = (uint8_t)(lba >> (24 + 8 * i));
    }
    fis[7] = 0x40;
    fis[11] = (uint8_t)(features >> 8);
    fis[12] = (uint8_t)count;
    fis[13] = (uint8_t)(count >> 8);
    memcpy(ram(LIST + base + 32 * slot), header, sizeof header);
    memcpy(ram(table), fis, sizeof fis);
    for (unsigned i = 0; i < prd_count; i++) {
        uint32_t entry[4] = {prds[i].address, 0, 0, prds[i].bytes - 1};
        memcpy(ram(table + 0x80 + 16 * i), entry, sizeof entry);
    }
}

static void issue(unsigned port, unsigned slot)
{
    pput(port, P_CI, 1u << slot);
    settle();
}

static void run(unsigned port, uint8_t command, uint64_t lba, uint16_t count, uint32_t bytes)
{
    struct prd prd = {DATA, bytes};
    fill_slot(port, 3, command, lba, count, 0, &prd, bytes ? 1 : 0);
    issue(port, 3);
}

static void packet(const uint8_t *bytes, bool dma, uint32_t length)
{
    struct prd prd = {DATA, length};
    fill_slot(1, 0, 0xa0, 0xfffe00, 0, dma, &prd, 1);
    ram(LIST + 0x8000)[0] |= 0x20;
    memcpy(ram(TABLES + 0x8000 + 0x40), bytes, 12);
    issue(1, 0);
}

static uint32_t byte_count(unsigned port, unsigned slot)
{
    uint32_t value;
    memcpy(&value, ram(LIST + 0x8000 * port + 32 * slot + 4), 4);
    return value;
}

static uint16_t word(uint32_t index)
{
    return (uint16_t)(ram(DATA)[2 * index] | ram(DATA)[2 * index + 1] << 8);
}

/* -- Tests -- */

START_TEST(adapter_and_signatures)
{
    ck_assert_uint_eq(get(CAP) & 0x1f, 5);
    ck_assert_uint_eq(get(CAP) >> 8 & 0x1f, 31);
    ck_assert_uint_eq(get(PI), 0x3f);
    ck_assert_uint_eq(pget(0, P_SIG), 0x00000101);
    ck_assert_uint_eq(pget(1, P_SIG), 0xeb140101);
    ck_assert_uint_eq(pget(2, P_SIG), 0xffffffff);
    ck_assert_uint_eq(pget(0, P_SSTS) & 15, 3);
    ck_assert_uint_eq(pget(2, P_SSTS), 0);
    ck_assert_uint_eq(pget(0, P_TFD) & 0xff, 0x50);
    ck_assert_uint_eq(pget(2, P_TFD), 0x7f);
    put(CAP, 0);
    ck_assert_uint_eq(get(CAP) & 0x1f, 5);
}
END_TEST

START_TEST(identify_comes_by_pio)
{
    run(0, 0xec, 0, 0, 512);
    ck_assert_uint_eq(pget(0, P_CI), 0);
    ck_assert_uint_eq(pget(0, P_TFD), 0x50);
    ck_assert_uint_eq(pget(0, P_IS) & 0x02, 0x02);
    ck_assert(board.bench.irq);
    ck_assert_uint_eq(byte_count(0, 3), 512);
    ck_assert_uint_eq(ram(RECEIVED + 0x20)[0], 0x5f);
    ck_assert_uint_eq(ram(RECEIVED + 0x20)[1], 0x60);
    ck_assert_uint_eq(word(76), 0x010e);
    ck_assert_uint_eq(word(75), 31);
    ck_assert_uint_eq(word(93), 0);
    ck_assert_uint_eq(word(100), DISK_SECTORS);
    uint8_t sum = 0;
    for (int i = 0; i < 512; i++)
        sum = (uint8_t)(sum + ram(DATA)[i]);
    ck_assert_uint_eq(sum, 0);
    pput(0, P_IS, pget(0, P_IS));
    put(IS, 1);
    ck_assert(!board.bench.irq);
}
END_TEST

START_TEST(dma_reads_through_scattered_descriptors)
{
    const struct prd prds[] = {{DATA, 100}, {DATA + 0x1002, 412 + 512}, {DATA + 0x4000, 4096}};
    fill_slot(0, 7, 0x25, 300, 10, 0, prds, 3);
    issue(0, 7);
    ck_assert_uint_eq(pget(0, P_IS), 0x01);
    ck_assert_uint_eq(byte_count(0, 7), 5120);
    uint8_t data[5120];
    memcpy(data, ram(DATA), 100);
    memcpy(data + 100, ram(DATA + 0x1002), 924);
    memcpy(data + 1024, ram(DATA + 0x4000), 4096);
    check_pattern(data, 300 * 128, 1280);
    ck_assert_uint_eq(ram(RECEIVED + 0x40)[0], 0x34);
    ck_assert_uint_eq(ram(RECEIVED + 0x40)[2], 0x50);
}
END_TEST

START_TEST(long_transfers_pass_the_buffer)
{
    run(0, 0x25, 5, 1024, 1024 * 512);
    ck_assert_uint_eq(byte_count(0, 3), 1024 * 512);
    check_pattern(ram(DATA), 5 * 128, 1024 * 128);
    for (uint32_t i = 0; i < 600 * 512; i++)
        ram(DATA)[i] = (uint8_t)(i * 7 + i / 512);
    run(0, 0x35, 77, 600, 600 * 512);
    ck_assert_uint_eq(pget(0, P_TFD), 0x50);
    memset(ram(DATA), 0, 600 * 512);
    run(0, 0x24, 77, 600, 600 * 512); /* by PIO */
    for (uint32_t i = 0; i < 600 * 512; i++)
        ck_assert_uint_eq(ram(DATA)[i], (uint8_t)(i * 7 + i / 512));
}
END_TEST

START_TEST(queued_commands_end_by_tag)
{
    for (unsigned tag = 0; tag < 32; tag++) {
        struct prd prd = {DATA + 0x1000 * tag, 4096};
        fill_slot(0, tag, 0x60, 100 + 8 * tag, (uint16_t)(tag << 3), 8, &prd, 1);
    }
    pput(0, P_SACT, 0xffffffff);
    pput(0, P_CI, 0xffffffff);
    ck_assert_uint_eq(pget(0, P_CI), 0);
    settle();
    ck_assert_uint_eq(pget(0, P_SACT), 0);
    ck_assert_uint_eq(pget(0, P_IS), 0x08);
    check_pattern(ram(DATA), 100 * 128, 32 * 1024);
    ck_assert_uint_eq(ram(RECEIVED + 0x58)[0], 0xa1);

    struct prd prd = {DATA, 512};
    memset(ram(DATA), 0x5a, 512);
    fill_slot(0, 9, 0x61, 4000, 9 << 3, 1, &prd, 1);
    pput(0, P_SACT, 1 << 9);
    issue(0, 9);
    uint8_t sector[512];
    ck_assert_int_eq(image_read(disk, 4000 * 512, sector, 512), 0);
    ck_assert_uint_eq(sector[0], 0x5a);
    ck_assert_uint_eq(sector[511], 0x5a);
}
END_TEST

START_TEST(a_failed_queued_command_is_in_the_log)
{
    struct prd prd = {DATA, 512};
    fill_slot(0, 4, 0x60, DISK_SECTORS, 4 << 3, 1, &prd, 1);
    pput(0, P_SACT, 1 << 4);
    issue(0, 4);
    ck_assert_uint_eq(pget(0, P_SACT), 1 << 4);
    ck_assert_uint_eq(pget(0, P_TFD), 0x1051);
    ck_assert_uint_eq(pget(0, P_IS) & 0x40000008, 0x40000008);

    /* Halted until the port is started again. */
    fill_slot(0, 3, 0xec, 0, 0, 0, &prd, 1);
    issue(0, 3);
    ck_assert_uint_eq(pget(0, P_CI), 1 << 3);
    pput(0, P_CMD, 0x16);
    ck_assert_uint_eq(pget(0, P_CI), 0);
    ck_assert_uint_eq(pget(0, P_SACT), 0);
    pput(0, P_IS, 0xffffffff);
    pput(0, P_CMD, 0x17);
    run(0, 0x2f, 0x10, 1, 512);
    ck_assert_uint_eq(pget(0, P_TFD), 0x50);
    ck_assert_uint_eq(ram(DATA)[0], 4);
    ck_assert_uint_eq(ram(DATA)[3], 0x10);
    ck_assert_uint_eq(ram(DATA)[4] | ram(DATA)[5] << 8, DISK_SECTORS);
    run(0, 0x2f, 0x10, 1, 512);
    ck_assert_uint_eq(ram(DATA)[0], 0x80);
}
END_TEST

START_TEST(errors_of_commands)
{
    run(0, 0x25, DISK_SECTORS - 1, 2, 1024);
    ck_assert_uint_eq(pget(0, P_TFD), 0x1051);
    ck_assert_uint_eq(pget(0, P_IS) & 0x40000000, 0x40000000);
    ck_assert_uint_eq(pget(0, P_CI), 0);
    pput(0, P_CMD, 0x16);
    pput(0, P_CMD, 0x17);
    run(0, 0xff, 0, 0, 0);
    ck_assert_uint_eq(pget(0, P_TFD), 0x0451);
}
END_TEST

START_TEST(descriptors_that_cannot_be)
{
    struct prd outside = {0xfff00000, 512}, little = {DATA, 512};
    fill_slot(0, 1, 0x25, 0, 1, 0, &outside, 1);
    issue(0, 1);
    ck_assert_uint_eq(pget(0, P_IS) & 0x20000000, 0x20000000);
    pput(0, P_CMD, 0x16);
    pput(0, P_IS, 0xffffffff);
    pput(0, P_CMD, 0x17);
    fill_slot(0, 1, 0x25, 0, 4, 0, &little, 1);
    issue(0, 1);
    ck_assert_uint_eq(pget(0, P_IS) & 0x01000000, 0x01000000);
    pput(0, P_CMD, 0x16);
    pput(0, P_IS, 0xffffffff);
    pput(0, P_CMD, 0x17);
    fill_slot(0, 2, 0x60, 0, 2 << 3, 4, &outside, 1);
    pput(0, P_SACT, 4);
    issue(0, 2);
    ck_assert_uint_eq(pget(0, P_IS) & 0x20000000, 0x20000000);
    pput(0, P_CMD, 0x16);
    pput(0, P_CLB, 0xfffffc00); /* the list itself */
    pput(0, P_IS, 0xffffffff);
    pput(0, P_CMD, 0x17);
    issue(0, 0);
    ck_assert_uint_eq(pget(0, P_IS) & 0x20000000, 0x20000000);
    start(0);
    pput(0, P_CMD, 0x16);
    pput(0, P_CMD, 0x17);
    run(0, 0xec, 0, 0, 512);
    ck_assert_uint_eq(pget(0, P_TFD), 0x50);
}
END_TEST

START_TEST(cdrom_by_pio_and_dma)
{
    const uint8_t ready[12] = {0}, inquiry[12] = {0x12, 0, 0, 0, 36},
                  read10[12] = {0x28, 0, 0, 0, 0, 17, 0, 0, 4};
    packet(ready, false, 16); /* power-on attention */
    ck_assert_uint_eq(pget(1, P_TFD), 0x6451);
    pput(1, P_CMD, 0x16);
    pput(1, P_CMD, 0x17);
    packet(inquiry, false, 36);
    ck_assert_uint_eq(pget(1, P_TFD), 0x50);
    ck_assert_uint_eq(ram(DATA)[0], 5);
    packet(read10, true, 8192);
    ck_assert_uint_eq(pget(1, P_TFD), 0x50);
    check_pattern(ram(DATA), 17 * 512, 2048);
    memset(ram(DATA), 0, 8192);
    packet(read10, false, 8192);
    check_pattern(ram(DATA), 17 * 512, 2048);
}
END_TEST

START_TEST(resets)
{
    /* COMRESET */
    pput(0, P_CMD, 0x16);
    pput(0, P_SCTL, 0x301);
    ck_assert_uint_eq(pget(0, P_SSTS), 0);
    pput(0, P_SCTL, 0x300);
    ck_assert_uint_eq(pget(0, P_SSTS), 0x133);
    ck_assert_uint_eq(pget(0, P_IS) & 0x40, 0x40);
    ck_assert_uint_eq(pget(0, P_SERR) & 0x04000000, 0x04000000);
    pput(0, P_SERR, 0xffffffff);
    ck_assert_uint_eq(pget(0, P_IS) & 0x40, 0);

    /* Software reset by two FISes */
    pput(0, P_CMD, 0x17);
    fill_slot(0, 0, 0, 0, 0, 0, NULL, 0);
    ram(LIST)[1] |= 0x05; /* reset, clear busy */
    ram(TABLES)[1] = 0;
    ram(TABLES)[15] = 0x04;
    issue(0, 0);
    ck_assert_uint_eq(pget(0, P_CI), 0);
    ram(LIST)[1] = 0;
    ram(TABLES)[15] = 0;
    issue(0, 0);
    ck_assert_uint_eq(pget(0, P_CI), 0);
    ck_assert_uint_eq(pget(0, P_TFD), 0x0150);
    ck_assert_uint_eq(pget(0, P_SIG), 0x0101);

    /* The whole adapter, with commands in flight */
    struct prd prd = {DATA, 65536};
    fill_slot(0, 1, 0x60, 0, 1 << 3, 128, &prd, 1);
    pput(0, P_SACT, 2);
    pput(0, P_CI, 2);
    put(GHC, 0x80000001);
    ck_assert_uint_eq(get(GHC), 0x80000000);
    ck_assert_uint_eq(pget(0, P_SACT), 0);
    ck_assert_uint_eq(pget(0, P_CLB), 0);
    ck_assert(!board.bench.irq);
}
END_TEST

START_TEST(messages)
{
    struct pci_bus *pci = board.bench.pci;
    pci_config_write(pci, DEVFN, 0x84, 0xfee00000, 4);
    pci_config_write(pci, DEVFN, 0x8c, 0x41, 2);
    pci_config_write(pci, DEVFN, 0x82, 1, 2);
    run(0, 0xec, 0, 0, 512);
    ck_assert_uint_eq(board.bench.messages, 1);
    ck_assert_uint_eq(board.bench.message, 0x41);
    ck_assert(!board.bench.irq);
    put(IS, 1); /* the cause still stands: told again */
    ck_assert_uint_eq(board.bench.messages, 2);
    pput(0, P_IS, ~0u);
    put(IS, 1);
    ck_assert_uint_eq(board.bench.messages, 2);
    ck_assert_uint_eq(get(IS), 0);
}
END_TEST

START_TEST(state)
{
    struct board other;
    run(0, 0x25, 40, 3, 1536);
    build(&other, disk, cd);
    pci_bench_copy_state(&other.bench, &board.bench);
    ck_assert(other.bench.irq);
    pci_bench_free(&other.bench);
}
END_TEST

START_TEST(garbage)
{
    uint64_t seed = 88172645463325252ull;
    for (int i = 0; i < 20000; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        uint32_t reg = (uint32_t)(seed >> 8) & (seed & 1 ? 0x1fc : 0xffc);
        uint32_t value = (uint32_t)(seed >> 32) & (seed & 2 ? 0xfffff : ~0u);
        if (seed & 4)
            put(reg, value);
        else
            get(reg);
        if (i % 16 == 0)
            memcpy(ram((uint32_t)(seed >> 20) & 0xffff8), &seed, 8);
        if (i % 64 == 0) {
            start(0);
            fill_slot(0, 5, (uint8_t)(seed >> 40), seed >> 24 & 0xfff, (uint16_t)(seed >> 16),
                      (uint16_t)(seed >> 5), &(struct prd){value & 0xfffff, value >> 8}, 1);
            pput(0, P_SACT, (uint32_t)seed & 0x20);
            issue(0, 5);
        }
    }
    settle();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        adapter_and_signatures,
        identify_comes_by_pio,
        dma_reads_through_scattered_descriptors,
        long_transfers_pass_the_buffer,
        queued_commands_end_by_tag,
        a_failed_queued_command_is_in_the_log,
        errors_of_commands,
        descriptors_that_cannot_be,
        cdrom_by_pio_and_dma,
        resets,
        state,
        garbage,
        messages,
    };
    return suite_main("ahci", setup, teardown, tests, sizeof tests / sizeof *tests);
}
