/*
 * UHCI as a driver sees it: ports, queues of transfer descriptors, interrupts, the passing of
 * frames, and schedules that are none.
 */
#include "hw/usb/uhci.h"
#include "tests/hw/usb_bench.h"

#include <pthread.h>

#define BASE  0xc000u
#define DEVFN PCI_DEVFN(1, 2)
#define MS    1000000ull

enum { CMD = 0, STS = 2, INTR = 4, FRNUM = 6, FLBASE = 8, SOF = 0xc, PORT1 = 0x10, PORT2 = 0x12 };
enum { LIST = 0x10000, QUEUE = 0x12000, TDS = 0x13000, DATA = 0x14000 };
enum { SETUP = 0x2d, IN = 0x69, OUT = 0xe1 };
#define ACTIVE 0x00800000u
#define IOC    0x01000000u
#define SPD    0x20000000u
#define ERRORS 0x18000000u

struct board {
    struct usb_bench bench;
    struct usb_bus *bus;
    struct usb_device *tablet;
};

static struct board board, copy;
static unsigned tds;

static uint16_t get(uint16_t reg)
{
    return (uint16_t)io_bus_read(board.bench.pci.io, BASE + reg, 2);
}

static void put(uint16_t reg, uint32_t value)
{
    io_bus_write(board.bench.pci.io, BASE + reg, value, reg == FLBASE ? 4 : 2);
}

static uint8_t *ram(uint32_t address)
{
    return memory_ram_host(board.bench.pci.memory) + address;
}

static uint32_t dword(uint32_t address)
{
    uint32_t value;
    memcpy(&value, ram(address), 4);
    return value;
}

static void put_dword(uint32_t address, uint32_t value)
{
    memcpy(ram(address), &value, 4);
}

static void run(uint64_t ns)
{
    struct clock *clock = board.bench.pci.clock;
    uint64_t end = clock_now(clock) + ns;
    while (clock_next_deadline(clock) <= end) {
        clock_set(clock, clock_next_deadline(clock));
        clock_fire_due(clock);
    }
    clock_set(clock, end);
}

static void build(struct board *b)
{
    usb_bench_build(&b->bench);
    struct pci_bench *pci = &b->bench.pci;
    b->bus = uhci_new(&pci->devices, pci->pci, DEVFN, UHCI_PIIX3, pci->clock, "uhci");
    b->tablet = usb_bench_tablet(&b->bench);
    ck_assert(usb_attach(b->bus, b->tablet));
    device_list_reset(&pci->devices);
    pci_config_write(pci->pci, DEVFN, 0x20, BASE, 4);
    pci_config_write(pci->pci, DEVFN, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
}

/* All frames lead to one queue. */
static void start(void)
{
    for (unsigned i = 0; i < 1024; i++)
        put_dword(LIST + 4 * i, QUEUE | 2);
    put_dword(QUEUE, 1);
    put_dword(QUEUE + 4, 1);
    put(PORT1, 0x200);
    put(PORT1, 0);
    put(PORT1, 4);
    put(INTR, 0xf);
    put(FLBASE, LIST);
    put(CMD, 1);
    tds = 0;
}

/* Appends a descriptor to those that wait to be queued. */
static uint32_t add_td(uint32_t control, unsigned pid, unsigned address, unsigned endpoint,
                       unsigned length, uint32_t buffer)
{
    uint32_t at = TDS + 32 * tds++;
    put_dword(at, (at + 32) | 4);
    put_dword(at + 4, control | ACTIVE | ERRORS);
    put_dword(at + 8, (length - 1) << 21 | endpoint << 15 | address << 8 | pid);
    put_dword(at + 12, buffer);
    return at;
}

static void queue(uint32_t first)
{
    put_dword(TDS + 32 * (tds - 1), 1);
    put_dword(QUEUE + 4, first);
}

static uint32_t td_length(uint32_t td)
{
    return (dword(td + 4) + 1) & 0x7ff;
}

static void set_up(unsigned address, const char *setup)
{
    tds = 0;
    memcpy(ram(DATA), setup, 8);
    uint32_t first = add_td(0, SETUP, address, 0, 8, DATA);
    uint32_t last = add_td(IOC, IN, address, 0, 0, 0);
    queue(first);
    run(2 * MS);
    ck_assert_uint_eq(dword(last + 4) & 0x00ff0000, 0);
    put(STS, 0x1f);
}

static void configure(void)
{
    set_up(0, "\0\5\5\0\0\0\0\0");
    set_up(5, "\0\11\1\0\0\0\0\0");
    ck_assert(board.bench.input.absolute);
}

START_TEST(ports_are_reset_and_enabled)
{
    ck_assert_uint_eq(get(PORT1), 0x93);
    ck_assert_uint_eq(get(PORT2), 0x80);
    ck_assert_uint_eq(get(0x14), 0);
    put(PORT1, 0x202);
    ck_assert_uint_eq(get(PORT1), 0x291);
    put(PORT1, 0x200 | 4); /* not while the reset lasts */
    ck_assert_uint_eq(get(PORT1) & 4, 0);
    put(PORT1, 0);
    put(PORT1, 4);
    ck_assert_uint_eq(get(PORT1), 0x95);
    usb_detach(board.tablet);
    ck_assert_uint_eq(get(PORT1), 0x8a);
    put(PORT1, 0xa);
    ck_assert_uint_eq(get(PORT1), 0x80);
    ck_assert_uint_eq(get(STS), 0x20);
    ck_assert_uint_eq(get(SOF), 64);
    io_bus_write(board.bench.pci.io, BASE + SOF, 60, 1);
    ck_assert_uint_eq(get(SOF), 60);
}
END_TEST

START_TEST(a_control_transfer_runs_down_a_queue)
{
    start();
    memcpy(ram(DATA), "\200\6\0\1\0\0\22\0", 8);
    uint32_t setup = add_td(0, SETUP, 0, 0, 8, DATA);
    uint32_t first = add_td(SPD, IN, 0, 0, 8, DATA + 16),
             second = add_td(SPD, IN, 0, 0, 8, DATA + 24);
    uint32_t third = add_td(0, IN, 0, 0, 8, DATA + 32), last = add_td(IOC, OUT, 0, 0, 0, 0);
    queue(setup);
    run(2 * MS);
    ck_assert_uint_eq(td_length(first), 8);
    ck_assert_uint_eq(td_length(second), 8);
    ck_assert_uint_eq(td_length(third), 2);
    ck_assert_uint_eq(dword(last + 4) & 0x00ff07ff, 0x7ff);
    ck_assert_uint_eq(dword(QUEUE + 4), 1);
    ck_assert_uint_eq(dword(DATA + 16), 0x02000112);
    ck_assert_uint_eq(get(STS), 1);
    ck_assert(board.bench.pci.irq);
    put(STS, 1);
    ck_assert(!board.bench.pci.irq);
}
END_TEST

START_TEST(a_short_packet_stops_its_queue)
{
    start();
    memcpy(ram(DATA), "\200\6\0\1\0\0\377\0", 8);
    uint32_t setup = add_td(0, SETUP, 0, 0, 8, DATA);
    for (unsigned i = 0; i < 3; i++)
        add_td(SPD, IN, 0, 0, 8, DATA + 16 + 8 * i);
    uint32_t after = add_td(0, IN, 0, 0, 8, DATA);
    queue(setup);
    run(4 * MS);
    ck_assert_uint_eq(dword(QUEUE + 4) & ~15u, TDS + 32 * 3);
    ck_assert_uint_eq(dword(after + 4) & ACTIVE, ACTIVE);
    ck_assert_uint_eq(get(STS), 1);
}
END_TEST

/* A driver on another processor that gives the queue a new element as soon as it sees the last
 * descriptor done. */
static void *drive(void *wrong)
{
    const volatile uint32_t *control = (void *)ram(TDS + 32 + 4);
    const volatile uint32_t *element = (void *)ram(QUEUE + 4);
    for (unsigned turn = 0; turn < 20000; turn++) {
        put_dword(QUEUE + 4, 1);
        tds = 0;
        uint32_t first = add_td(0, SETUP, 5, 0, 8, DATA);
        add_td(0, IN, 5, 0, 0, 0);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        queue(first);
        unsigned spins = 1u << 30;
        while (*control & ACTIVE && spins)
            spins--;
        *(unsigned *)wrong += *element != 1 || !spins;
        if (!spins)
            break;
    }
    put_dword(DATA + 64, 1);
    return NULL;
}

START_TEST(elements_move_before_descriptors_are_done)
{
    pthread_t driver;
    unsigned wrong = 0;
    start();
    configure();
    put_dword(DATA + 64, 0);
    memcpy(ram(DATA), "\0\11\1\0\0\0\0\0", 8);
    ck_assert_int_eq(pthread_create(&driver, NULL, drive, &wrong), 0);
    while (!__atomic_load_n((uint32_t *)(void *)ram(DATA + 64), __ATOMIC_RELAXED))
        run(MS);
    pthread_join(driver, NULL);
    ck_assert_uint_eq(wrong, 0);
}
END_TEST

START_TEST(a_report_waits_in_its_descriptor)
{
    start();
    configure();
    tds = 0;
    uint32_t td = add_td(IOC | SPD, IN, 5, 1, 8, DATA);
    queue(td);
    run(50 * MS);
    ck_assert_uint_eq(dword(td + 4) & 0x00ff0000, ACTIVE | 0x00080000);
    ck_assert_uint_eq(get(STS), 0);
    usb_bench_point(&board.bench, 0x1234, 0x4321, 0, 1);
    run(2 * MS);
    ck_assert_uint_eq(dword(td + 4) & 0x00ff0000, 0);
    ck_assert_uint_eq(td_length(td), 6);
    ck_assert_mem_eq(ram(DATA), "\1\x34\x12\x21\x43\0", 6);
    ck_assert_uint_eq(get(STS), 1);
}
END_TEST

START_TEST(errors_end_a_descriptor)
{
    start();
    queue(add_td(0, IN, 99, 1, 8, DATA)); /* nobody has that address */
    run(10 * MS);
    ck_assert_uint_eq(dword(TDS + 4) & 0x00ff0000, 0x00440000);
    ck_assert_uint_eq(get(STS), 2);
    ck_assert(board.bench.pci.irq);
    put(STS, 2);
    tds = 0;
    memcpy(ram(DATA), "\200\6\0\7\0\0\22\0", 8); /* no such descriptor: stall */
    uint32_t setup = add_td(0, SETUP, 0, 0, 8, DATA), in = add_td(0, IN, 0, 0, 8, DATA);
    queue(setup);
    run(2 * MS);
    ck_assert_uint_eq(dword(in + 4) & 0x00ff0000, 0x00400000);
    ck_assert_uint_eq(dword(QUEUE + 4) & ~15u, in);
    ck_assert_uint_eq(get(STS), 2);
    /* a report that does not fit */
    put(STS, 2);
    configure();
    tds = 0;
    usb_bench_point(&board.bench, 1, 1, 0, 0);
    queue(add_td(0, IN, 5, 1, 4, DATA));
    run(10 * MS);
    ck_assert_uint_eq(dword(TDS + 4) & 0x00ff0000, 0x00500000);
}
END_TEST

START_TEST(frames_pass_with_the_clock)
{
    struct clock *clock = board.bench.pci.clock;
    ck_assert_uint_eq(clock_next_deadline(clock), TIMER_NEVER);
    put(FRNUM, 2040);
    start();
    run(5 * MS);
    ck_assert_uint_eq(get(FRNUM), 2045);
    run(5 * MS);
    ck_assert_uint_eq(get(FRNUM), 2);
    run(3000 * MS);
    ck_assert_uint_eq(get(FRNUM), (2 + 3000) & 2047);
    uint64_t wake = clock_next_deadline(clock) - clock_now(clock);
    ck_assert(wake > 6 * MS && wake <= 8 * MS); /* nothing moves */
    usb_detach(board.tablet);
    run(100 * MS);
    uint64_t later = clock_next_deadline(clock);
    run(later - clock_now(clock));
    ck_assert_uint_eq(clock_next_deadline(clock) - clock_now(clock), 32 * MS); /* nobody is there */
    put(CMD, 0);
    ck_assert_uint_eq(get(STS) & 0x20, 0x20);
    ck_assert_uint_eq(clock_next_deadline(clock), TIMER_NEVER);
    uint16_t stands = get(FRNUM);
    run(10 * MS);
    ck_assert_uint_eq(get(FRNUM), stands);
}
END_TEST

START_TEST(an_inactive_descriptor_interrupts_too)
{
    start();
    uint32_t td = add_td(IOC, IN, 0, 0, 8, DATA);
    put_dword(td + 4, IOC);
    queue(td);
    run(20 * MS);
    ck_assert_uint_eq(get(STS), 1);
    pci_config_write(board.bench.pci.pci, DEVFN, 0xc0, 0, 2); /* not led to the chipset */
    ck_assert(!board.bench.pci.irq);
    pci_config_write(board.bench.pci.pci, DEVFN, 0xc0, 0x2000, 2);
    ck_assert(board.bench.pci.irq);
}
END_TEST

START_TEST(schedules_that_never_end_are_bounded)
{
    start();
    put_dword(QUEUE, QUEUE | 2); /* the ring of one */
    run(100 * MS);
    ck_assert_uint_eq(get(STS), 0);
    for (unsigned i = 0; i < 64; i++) { /* a long one, with a tail before it */
        put_dword(0x20000 + 16 * i, (0x20000 + 16 * (i + 1)) | 2);
        put_dword(0x20004 + 16 * i, 1);
    }
    put_dword(0x20000 + 16 * 63, (0x20000 + 16 * 5) | 2);
    put_dword(QUEUE, 0x20002);
    run(100 * MS);
    tds = 0; /* descriptors in a ring, each done as soon as it is seen */
    uint32_t td = add_td(0, OUT, 0, 3, 8, DATA);
    put_dword(td, td | 4);
    put_dword(QUEUE + 4, td);
    run(10 * MS);
    ck_assert_uint_eq(get(STS) & 0x20, 0);
}
END_TEST

START_TEST(garbage_halts_the_controller)
{
    start();
    queue(add_td(0, 0x55, 0, 0, 8, DATA));
    run(20 * MS);
    ck_assert_uint_eq(get(STS) & 0x30, 0x30);
    ck_assert_uint_eq(get(CMD) & 1, 0);
    put(STS, 0x1f);
    start();
    put_dword(QUEUE, 0x80000002);
    run(20 * MS);
    ck_assert_uint_eq(get(STS) & 0x28, 0x28);
    put(CMD, 2);
    ck_assert_uint_eq(get(STS), 0x20);
    start();
    queue(add_td(0, OUT, 0, 0, 8, 0xf0000000));
    run(20 * MS);
    ck_assert_uint_eq(get(STS) & 0x28, 0x28);
}
END_TEST

START_TEST(a_suspended_port_wakes)
{
    start();
    configure();
    set_up(5, "\0\3\1\0\0\0\0\0");
    put(PORT1, 0x1006);
    ck_assert_uint_eq(get(PORT1), 0x1095);
    usb_bench_point(&board.bench, 2, 2, 0, 0);
    ck_assert_uint_eq(get(PORT1), 0x10d5);
    ck_assert_uint_eq(get(STS) & 4, 4);
    put(PORT1, 4);
    tds = 0;
    uint32_t td = add_td(0, IN, 5, 1, 8, DATA);
    queue(td);
    run(10 * MS);
    ck_assert_uint_eq(td_length(td), 6);
}
END_TEST

START_TEST(state_is_kept)
{
    start();
    configure();
    tds = 0;
    queue(add_td(IOC, IN, 5, 1, 8, DATA));
    run(3 * MS);
    build(&copy);
    clock_set(copy.bench.pci.clock, clock_now(board.bench.pci.clock));
    memcpy(memory_ram_host(copy.bench.pci.memory), ram(0), 1 << 20);
    pci_bench_copy_state(&copy.bench.pci, &board.bench.pci);
    struct board first = board;
    board = copy;
    usb_bench_point(&board.bench, 3, 3, 0, 0);
    run(10 * MS);
    ck_assert_uint_eq(td_length(TDS), 6);
    ck_assert_uint_eq(get(STS), 1);
    board = first;
    usb_bench_free(&copy.bench);
}
END_TEST

static void setup(void)
{
    log_items = 0;
    build(&board);
}

static void teardown(void)
{
    usb_bench_free(&board.bench);
}

int main(void)
{
    const TTest *const tests[] = {
        ports_are_reset_and_enabled,
        a_control_transfer_runs_down_a_queue,
        a_short_packet_stops_its_queue,
        a_report_waits_in_its_descriptor,
        elements_move_before_descriptors_are_done,
        errors_end_a_descriptor,
        frames_pass_with_the_clock,
        an_inactive_descriptor_interrupts_too,
        schedules_that_never_end_are_bounded,
        garbage_halts_the_controller,
        a_suspended_port_wakes,
        state_is_kept,
    };
    return suite_main("usb-uhci", setup, teardown, tests, sizeof tests / sizeof *tests);
}
