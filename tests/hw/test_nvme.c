/*
 * NVMe as a driver sees it: controller states, admin commands, reads and writes through PRP
 * entries, interrupts, and what a guest must not be able to do.
 */
#include "hw/storage/nvme.h"
#include "tests/hw/pci_bench.h"

#define BAR          0xf0000000u
#define DEVFN        PCI_DEVFN(4, 0)
#define DISK_SECTORS 4100u

#define ADMIN_SQ     0x10000u
#define ADMIN_CQ     0x11000u
#define IO_SQ        0x12000u
#define IO_CQ        0x13000u
#define LIST         0x20000u
#define DATA         0x40000u
#define QUEUE        8u /* entries of each queue */

enum {
    CAP = 0x00,
    VS = 0x08,
    INTMS = 0x0c,
    CC = 0x14,
    CSTS = 0x1c,
    AQA = 0x24,
    ASQ = 0x28,
    ACQ = 0x30
};
enum { ENABLE = 0x00460001 };

struct board {
    struct pci_bench bench;
    _Atomic uint64_t activity;
    struct nvme *nvme;
};

struct command {
    uint8_t opcode, flags;
    uint16_t cid;
    uint32_t nsid, dword2, dword3;
    uint64_t metadata, prp1, prp2;
    uint32_t dword10, dword11, dword12, dword13, dword14, dword15;
};

/* The driver's side of a queue pair. */
struct pair {
    uint32_t sq, cq;
    unsigned tail, head, id;
    bool phase;
};

static struct board board;
static struct image *disk;
static struct pair admin, io;

static uint32_t get(uint32_t reg)
{
    return (uint32_t)memory_mmio_read(board.bench.memory, BAR + reg, 4);
}

static void put(uint32_t reg, uint32_t value)
{
    memory_mmio_write(board.bench.memory, BAR + reg, value, 4);
}

static uint8_t *ram(uint32_t address)
{
    return memory_ram_host(board.bench.memory) + address;
}

static uint32_t dword(uint32_t address)
{
    uint32_t value;
    memcpy(&value, ram(address), 4);
    return value;
}

static void settle(void)
{
    loop_drain(board.bench.loop);
}

static void build(struct board *b)
{
    pci_bench_build(&b->bench);
    b->nvme = nvme_new(&b->bench.devices, b->bench.pci, DEVFN, disk, b->bench.loop, &b->activity,
                       "DP-N0001", "nvme0");
    pci_bench_start(&b->bench, DEVFN, 0, BAR);
}

/* Puts a command into the queue and rings; nothing is awaited. */
static void submit(struct pair *pair, const struct command *command)
{
    memcpy(ram(pair->sq + 64 * pair->tail), command, 64);
    pair->tail = (pair->tail + 1) % QUEUE;
    put(0x1000 + 8 * pair->id, pair->tail);
}

/* Takes the next completion: its status, with dword 0 in *result. 0x10000: there is none. */
static uint32_t reap(struct pair *pair, uint16_t *cid, uint32_t *result)
{
    uint32_t at = pair->cq + 16 * pair->head, last = dword(at + 12);
    if ((last >> 16 & 1) != pair->phase)
        return 0x10000;
    if (cid)
        *cid = (uint16_t)last;
    if (result)
        *result = dword(at);
    pair->head = (pair->head + 1) % QUEUE;
    if (!pair->head)
        pair->phase = !pair->phase;
    put(0x1004 + 8 * pair->id, pair->head);
    return last >> 17;
}

static uint32_t run(struct pair *pair, const struct command *command, uint32_t *result)
{
    uint16_t cid;
    submit(pair, command);
    settle();
    uint32_t status = reap(pair, &cid, result);
    ck_assert_uint_ne(status, 0x10000);
    ck_assert_uint_eq(cid, command->cid);
    return status;
}

static void enable_controller(void)
{
    put(AQA, (QUEUE - 1) << 16 | (QUEUE - 1));
    put(ASQ, ADMIN_SQ);
    put(ASQ + 4, 0);
    put(ACQ, ADMIN_CQ);
    put(ACQ + 4, 0);
    memset(ram(ADMIN_SQ), 0, 0x4000);
    put(CC, ENABLE);
    admin = (struct pair){.sq = ADMIN_SQ, .cq = ADMIN_CQ, .phase = true};
    io = (struct pair){.sq = IO_SQ, .cq = IO_CQ, .phase = true, .id = 1};
}

static void create_io_queues(void)
{
    struct command cq = {
        .opcode = 5, .prp1 = IO_CQ, .dword10 = (QUEUE - 1) << 16 | 1, .dword11 = 1 << 16 | 3};
    struct command sq = {
        .opcode = 1, .prp1 = IO_SQ, .dword10 = (QUEUE - 1) << 16 | 1, .dword11 = 1 << 16 | 1};
    ck_assert_uint_eq(run(&admin, &cq, NULL), 0);
    ck_assert_uint_eq(run(&admin, &sq, NULL), 0);
}

static void setup(void)
{
    disk = pattern_image(DISK_SECTORS * 512, false);
    pthread_mutex_lock(&pci_bench_lock);
    build(&board);
    enable_controller();
}

static void teardown(void)
{
    pci_bench_free(&board.bench);
    pthread_mutex_unlock(&pci_bench_lock);
    image_close(disk);
}

static struct command transfer(uint8_t opcode, uint64_t lba, uint32_t blocks, uint64_t prp1,
                               uint64_t prp2)
{
    return (struct command){.opcode = opcode,
                            .cid = 0x1234,
                            .nsid = 1,
                            .prp1 = prp1,
                            .prp2 = prp2,
                            .dword10 = (uint32_t)lba,
                            .dword11 = (uint32_t)(lba >> 32),
                            .dword12 = blocks - 1};
}

static uint32_t run_transfer(uint8_t opcode, uint64_t lba, uint32_t blocks, uint64_t prp1,
                             uint64_t prp2)
{
    struct command command = transfer(opcode, lba, blocks, prp1, prp2);
    return run(&io, &command, NULL);
}

/* -- Tests -- */

START_TEST(controller_states)
{
    ck_assert_uint_eq(get(VS), 0x00010400);
    ck_assert_uint_eq(get(CAP) & 0xffff, 1023);
    ck_assert_uint_eq(get(CSTS), 1);
    put(CC, 0x00464001); /* normal shutdown */
    settle();
    ck_assert_uint_eq(get(CSTS), 0x09);
    put(CC, 0);
    ck_assert_uint_eq(get(CSTS), 0);
    put(AQA, 0);
    put(CC, ENABLE); /* queues of one entry cannot be */
    ck_assert_uint_eq(get(CSTS), 2);
    put(CC, 0);
    ck_assert_uint_eq(get(CSTS), 0);
}
END_TEST

START_TEST(identification)
{
    struct command identify = {.opcode = 6, .nsid = 1, .prp1 = DATA};
    ck_assert_uint_eq(run(&admin, &identify, NULL), 0);
    ck_assert_uint_eq(dword(DATA), DISK_SECTORS);
    ck_assert_uint_eq(ram(DATA)[130], 9);
    identify.dword10 = 1;
    identify.prp1 = DATA + 0x800; /* across a page */
    identify.prp2 = DATA + 0x5000;
    ck_assert_uint_eq(run(&admin, &identify, NULL), 0);
    ck_assert_int_eq(memcmp(ram(DATA + 0x804), "DP-N0001            ", 20), 0);
    ck_assert_uint_eq(dword(DATA + 0x800 + 516), 1);
    ck_assert_uint_eq(ram(DATA + 0x5000)[2048 - 0x800] | ram(DATA + 0x5000)[1] << 8, 2500);
    identify.dword10 = 2;
    identify.nsid = 0;
    identify.prp1 = DATA;
    ck_assert_uint_eq(run(&admin, &identify, NULL), 0);
    ck_assert_uint_eq(dword(DATA), 1);
    ck_assert_uint_eq(dword(DATA + 4), 0);
    identify.dword10 = 0;
    identify.nsid = 2;
    ck_assert_uint_eq(run(&admin, &identify, NULL), 0x400b);
    identify.nsid = 1;
    identify.prp1 = 0xff000000;
    ck_assert_uint_eq(run(&admin, &identify, NULL), 0x0004);
    struct command unknown = {.opcode = 0x7f};
    ck_assert_uint_eq(run(&admin, &unknown, NULL), 0x4001);
}
END_TEST

START_TEST(features_and_logs)
{
    uint32_t result;
    struct command set = {.opcode = 9, .dword10 = 7, .dword11 = 0x00030003};
    ck_assert_uint_eq(run(&admin, &set, &result), 0);
    ck_assert_uint_eq(result, 15 << 16 | 15);
    set.dword10 = 6;
    set.dword11 = 0;
    ck_assert_uint_eq(run(&admin, &set, NULL), 0);
    struct command get_feature = {.opcode = 10, .dword10 = 6};
    ck_assert_uint_eq(run(&admin, &get_feature, &result), 0);
    ck_assert_uint_eq(result, 0);
    get_feature.dword10 = 0x106; /* default */
    ck_assert_uint_eq(run(&admin, &get_feature, &result), 0);
    ck_assert_uint_eq(result, 1);
    set.dword10 = 0x80000006;
    ck_assert_uint_eq(run(&admin, &set, NULL), 0x410d);

    create_io_queues();
    ck_assert_uint_eq(run_transfer(2, 0, 8, DATA, 0), 0);
    struct command health = {.opcode = 2, .nsid = ~0u, .prp1 = DATA, .dword10 = 127 << 16 | 2};
    ck_assert_uint_eq(run(&admin, &health, NULL), 0);
    ck_assert_uint_eq(dword(DATA + 64), 1); /* read commands */
    health.dword10 = 127 << 16 | 0xc0;
    ck_assert_uint_eq(run(&admin, &health, NULL), 0x4109);
}
END_TEST

START_TEST(queues)
{
    struct command cq = {.opcode = 5, .prp1 = IO_CQ, .dword10 = 7 << 16 | 0, .dword11 = 3};
    ck_assert_uint_eq(run(&admin, &cq, NULL), 0x4101);
    cq.dword10 = 7 << 16 | 17;
    ck_assert_uint_eq(run(&admin, &cq, NULL), 0x4101);
    cq.dword10 = 1024 << 16 | 1;
    ck_assert_uint_eq(run(&admin, &cq, NULL), 0x4102);
    cq.dword10 = 7 << 16 | 1;
    cq.dword11 = 40 << 16 | 3;
    ck_assert_uint_eq(run(&admin, &cq, NULL), 0x4108);
    struct command sq = {
        .opcode = 1, .prp1 = IO_SQ, .dword10 = 7 << 16 | 1, .dword11 = 1 << 16 | 1};
    ck_assert_uint_eq(run(&admin, &sq, NULL), 0x4100);
    create_io_queues();
    ck_assert_uint_eq(run(&admin, &sq, NULL), 0x4101);
    struct command delete_cq = {.opcode = 4, .dword10 = 1}, delete_sq = {.opcode = 0, .dword10 = 1};
    ck_assert_uint_eq(run(&admin, &delete_cq, NULL), 0x410c);
    ck_assert_uint_eq(run(&admin, &delete_sq, NULL), 0);
    ck_assert_uint_eq(run(&admin, &delete_cq, NULL), 0);
    ck_assert_uint_eq(run(&admin, &delete_cq, NULL), 0x4101);
}
END_TEST

START_TEST(reads_and_writes)
{
    create_io_queues();
    ck_assert_uint_eq(run_transfer(2, 7, 1, DATA + 0x104, 0), 0);
    check_pattern(ram(DATA + 0x104), 7 * 128, 128);
    ck_assert_uint_eq(run_transfer(2, 20, 16, DATA, DATA + 0x8000), 0); /* two pages */
    check_pattern(ram(DATA), 20 * 128, 1024);
    check_pattern(ram(DATA + 0x8000), 20 * 128 + 1024, 1024);

    /* A list, backwards, beginning in the middle of a page and going on in another. */
    uint64_t entry[100];
    for (unsigned i = 0; i < 100; i++)
        entry[i] = DATA + 0x1000ull * (99 - i);
    memcpy(ram(LIST + 0x1000 - 24), entry, 16);
    uint64_t next = LIST + 0x3000;
    memcpy(ram(LIST + 0x1000 - 8), &next, 8);
    memcpy(ram(LIST + 0x3000), entry + 2, 98 * 8);
    ck_assert_uint_eq(run_transfer(2, 100, 101 * 8, 0xb0000, LIST + 0x1000 - 24), 0);
    check_pattern(ram(0xb0000), 100 * 128, 1024);
    for (unsigned i = 0; i < 100; i++)
        check_pattern(ram((uint32_t)entry[i]), 100 * 128 + 1024 * (i + 1), 1024);

    uint8_t sector[512];
    memset(ram(DATA), 0x77, 4096);
    ck_assert_uint_eq(run_transfer(1, 4092, 8, DATA, 0), 0);
    ck_assert_int_eq(image_read(disk, 4099 * 512, sector, 512), 0);
    ck_assert_uint_eq(sector[511], 0x77);
    ck_assert_uint_eq(run_transfer(5, 4092, 8, DATA, 0), 0);
    ram(DATA)[4095] = 0;
    ck_assert_uint_eq(run_transfer(5, 4092, 8, DATA, 0), 0x285);
    ck_assert_uint_eq(run_transfer(8, 4092, 8, 0, 0), 0);
    ck_assert_int_eq(image_read(disk, 4095 * 512, sector, 512), 0);
    ck_assert_uint_eq(sector[0], 0);
    ck_assert_uint_eq(run_transfer(0, 0, 1, 0, 0), 0);
}
END_TEST

START_TEST(refusals)
{
    create_io_queues();
    ck_assert_uint_eq(run_transfer(2, DISK_SECTORS, 1, DATA, 0), 0x4080);
    ck_assert_uint_eq(run_transfer(2, ~0ull, 1, DATA, 0), 0x4080);
    ck_assert_uint_eq(run_transfer(2, DISK_SECTORS - 1, 2, DATA, 0), 0x4080);
    ck_assert_uint_eq(run_transfer(2, 0, 1025, DATA, LIST), 0x4002);
    ck_assert_uint_eq(run_transfer(2, 0, 1, DATA + 1, 0), 0x4013);
    ck_assert_uint_eq(run_transfer(2, 0, 16, DATA, DATA + 8), 0x4013);
    ck_assert_uint_eq(run_transfer(2, 0, 1, 0xfff00000, 0), 0x0004);
    ck_assert_uint_eq(run_transfer(0x99, 0, 1, DATA, 0), 0x4001);
    struct command other = transfer(2, 0, 1, DATA, 0);
    other.nsid = 2;
    ck_assert_uint_eq(run(&io, &other, NULL), 0x400b);
    other.nsid = 1;
    other.flags = 0x40; /* SGL */
    ck_assert_uint_eq(run(&io, &other, NULL), 0x4002);
}
END_TEST

START_TEST(a_full_completion_queue_waits)
{
    create_io_queues();
    struct command command = transfer(2, 0, 1, DATA, 0);
    for (unsigned i = 0; i < 7; i++)
        submit(&io, &command);
    settle();
    io.tail = 3; /* four more commands although nothing was taken yet */
    put(0x1008, io.tail);
    settle();
    unsigned count = 0;
    for (unsigned turn = 0; turn < 20; turn++) {
        while (reap(&io, NULL, NULL) != 0x10000)
            count++;
        settle();
    }
    ck_assert_uint_eq(count, 11);
}
END_TEST

START_TEST(interrupts)
{
    ck_assert(!board.bench.irq);
    struct command get_feature = {.opcode = 10, .dword10 = 6};
    submit(&admin, &get_feature);
    ck_assert(board.bench.irq);
    put(INTMS, 1);
    ck_assert(!board.bench.irq);
    put(INTMS + 4, 1);
    ck_assert(board.bench.irq);
    reap(&admin, NULL, NULL);
    ck_assert(!board.bench.irq);
}
END_TEST

START_TEST(events)
{
    struct command event = {.opcode = 12, .cid = 77};
    for (unsigned i = 0; i < 4; i++)
        submit(&admin, &event);
    ck_assert_uint_eq(reap(&admin, NULL, NULL), 0x10000);
    event.cid = 78;
    submit(&admin, &event);
    ck_assert_uint_eq(reap(&admin, NULL, NULL), 0x4105);
    uint32_t result;
    uint16_t cid;
    put(0x1008, 1); /* a queue that is not there */
    ck_assert_uint_eq(reap(&admin, &cid, &result), 0);
    ck_assert_uint_eq(cid, 77);
    ck_assert_uint_eq(result, 0x00010000);
    put(0x1000, 1000);
    ck_assert_uint_eq(reap(&admin, &cid, &result), 0);
    ck_assert_uint_eq(result, 0x00010100);
}
END_TEST

START_TEST(state)
{
    struct board other;
    create_io_queues();
    ck_assert_uint_eq(run_transfer(2, 7, 1, DATA, 0), 0);
    build(&other);
    pci_bench_copy_state(&other.bench, &board.bench);
    pci_bench_free(&other.bench);
}
END_TEST

START_TEST(garbage)
{
    uint64_t seed = 88172645463325252ull;
    for (int i = 0; i < 30000; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        uint32_t value = (uint32_t)(seed >> 32) & (seed & 2 ? 0xfffff : ~0u);
        if (i % 256 == 0) {
            put(CC, 0);
            enable_controller();
            create_io_queues();
        }
        if (i % 8 == 0) { /* noise in a queue entry */
            uint32_t at = (seed & 1 ? ADMIN_SQ : IO_SQ) + (uint32_t)(seed >> 12 & 0x1f8);
            memcpy(ram(at), &seed, 8);
            ram(at & ~63u)[0] = (uint8_t)(seed >> 20 & 15);
        }
        if (seed & 4)
            put(0x1000 + (uint32_t)(seed >> 8 & 0x1c), value & 15);
        else if (i % 64 == 1)
            put((uint32_t)(seed >> 8) & 0x1ffc, value);
        else
            get((uint32_t)(seed >> 8) & 0x3ffc);
    }
    settle();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        controller_states,
        identification,
        features_and_logs,
        queues,
        reads_and_writes,
        refusals,
        a_full_completion_queue_waits,
        interrupts,
        events,
        state,
        garbage,
    };
    return suite_main("nvme", setup, teardown, tests, sizeof tests / sizeof *tests);
}
