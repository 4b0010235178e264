/*
 * xHCI as a driver sees it: rings, commands, ports, transfers of real devices, interrupts, and what
 * a guest must not be able to do.
 */
#include "hw/usb/xhci.h"
#include "tests/hw/usb_bench.h"

#define BAR          0xf0000000u
#define DEVFN        PCI_DEVFN(4, 0)
#define DISK_SECTORS 2048u

/* Places in RAM. */
enum {
    COMMANDS = 0x10000,
    EVENTS = 0x11000,
    TABLE = 0x12000,
    CONTEXTS = 0x13000, /* device contexts' addresses */
    INPUT = 0x14000,
    DEVICES = 0x15000, /* device contexts, 0x400 each */
    RINGS = 0x20000,   /* transfer rings, 0x1000 each */
    DATA = 0x40000,
};
#define EVENT_ENTRIES 16u

/* Registers. */
enum {
    USBCMD = 0x40,
    USBSTS = 0x44,
    CRCR = 0x58,
    DCBAAP = 0x70,
    CONFIG = 0x78,
    PORTSC = 0x440,
    IMAN = 0x1020,
    ERSTSZ = 0x1028,
    ERSTBA = 0x1030,
    ERDP = 0x1038,
    DOORBELL = 0x2000
};
enum { TABLET_PORT = 1, DISK_PORT = 5 };

struct board {
    struct usb_bench bench;
    struct usb_bus *bus;
    struct usb_device *tablet, *disk;
};

struct ring {
    uint32_t base;
    unsigned index;
};

struct event {
    uint64_t parameter;
    unsigned code, type, slot, endpoint;
    uint32_t length;
    bool event_data;
};

static struct board board, copy;
static struct image *image;
static struct ring commands, transfers[32];
static unsigned event_index;
static bool event_cycle;

static uint32_t get(uint32_t reg)
{
    return (uint32_t)memory_mmio_read(board.bench.pci.memory, BAR + reg, 4);
}

static void put(uint32_t reg, uint32_t value)
{
    memory_mmio_write(board.bench.pci.memory, BAR + reg, value, 4);
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

static void put_dwords(uint32_t address, const uint32_t *values, unsigned count)
{
    memcpy(ram(address), values, 4 * count);
}

static void settle(void)
{
    pthread_mutex_lock(&pci_bench_lock);
    loop_drain(board.bench.pci.loop);
    pthread_mutex_unlock(&pci_bench_lock);
}

/* -- Rings -- */

static uint32_t add_trb(struct ring *ring, uint64_t parameter, uint32_t status, uint32_t control)
{
    uint32_t at = ring->base + 16 * ring->index++;
    put_dwords(
        at, (uint32_t[]){(uint32_t)parameter, (uint32_t)(parameter >> 32), status, control | 1}, 4);
    return at;
}

/* Takes the next event without telling the controller; false: none. */
static bool peek_event(struct event *event)
{
    uint32_t at = EVENTS + 16 * event_index, control = dword(at + 12);
    if ((control & 1) != event_cycle)
        return false;
    *event = (struct event){.parameter = dword(at) | (uint64_t)dword(at + 4) << 32,
                            .code = dword(at + 8) >> 24,
                            .length = dword(at + 8) & 0xffffff,
                            .type = control >> 10 & 63,
                            .slot = control >> 24,
                            .endpoint = control >> 16 & 31,
                            .event_data = control & 4};
    if (++event_index == EVENT_ENTRIES) {
        event_index = 0;
        event_cycle = !event_cycle;
    }
    return true;
}

static void acknowledge(void)
{
    put(ERDP, (EVENTS + 16 * event_index) | 8);
    put(ERDP + 4, 0);
}

static struct event expect_event(unsigned type)
{
    struct event event = {0};
    ck_assert_msg(peek_event(&event), "no event where one of type %u should be", type);
    ck_assert_uint_eq(event.type, type);
    acknowledge();
    return event;
}

static void expect_no_event(void)
{
    struct event event;
    ck_assert_msg(!peek_event(&event), "event of type %u, code %u", event.type, event.code);
}

static struct event command(uint64_t parameter, uint32_t control)
{
    uint32_t at = add_trb(&commands, parameter, 0, control);
    put(DOORBELL, 0);
    struct event event = expect_event(33);
    ck_assert_uint_eq(event.parameter, at);
    return event;
}

/* -- Starting up -- */

static void build(struct board *b)
{
    usb_bench_build(&b->bench);
    struct pci_bench *pci = &b->bench.pci;
    b->bus = xhci_new(&pci->devices, pci->pci, DEVFN, pci->clock, "xhci");
    b->tablet = usb_bench_tablet(&b->bench);
    b->disk = usb_bench_storage(&b->bench, image, false);
    ck_assert(usb_attach(b->bus, b->tablet));
    ck_assert(usb_attach(b->bus, b->disk));
    pci_bench_start(pci, DEVFN, 0, BAR);
}

static void start(void)
{
    memset(ram(COMMANDS), 0, DATA - COMMANDS);
    put_dwords(TABLE, (uint32_t[]){EVENTS, 0, EVENT_ENTRIES, 0}, 4);
    commands = (struct ring){COMMANDS, 0};
    for (unsigned i = 0; i < 32; i++)
        transfers[i] = (struct ring){RINGS + 0x1000 * (i % 16), 0};
    event_index = 0;
    event_cycle = true;
    put(CONFIG, 8);
    put(CRCR, COMMANDS | 1);
    put(CRCR + 4, 0);
    put(DCBAAP, CONTEXTS);
    put(DCBAAP + 4, 0);
    put(ERSTSZ, 1);
    put(ERDP, EVENTS);
    put(ERSTBA, TABLE);
    put(ERSTBA + 4, 0);
    put(IMAN, 2);
    put(USBCMD, 5);
    struct event event; /* what is plugged in */
    while (peek_event(&event))
        ck_assert_uint_eq(event.type, 34);
    acknowledge();
    put(PORTSC + 16 * (TABLET_PORT - 1), 0x20200);
    put(PORTSC + 16 * (DISK_PORT - 1), 0x20200);
}

static void reset_port(unsigned port)
{
    put(PORTSC + 16 * (port - 1), 0x210);
    ck_assert_uint_eq(expect_event(34).parameter, (uint64_t)port << 24);
    ck_assert_uint_eq(get(PORTSC + 16 * (port - 1)) & 0x200013, 0x200003);
    put(PORTSC + 16 * (port - 1), 0x200200);
}

static void endpoint_context(unsigned index, unsigned type, unsigned packet, uint32_t ring)
{
    put_dwords(INPUT + 32 * (index + 1),
               (uint32_t[]){0, packet << 16 | type << 3 | 3 << 1, ring | 1, 0, packet}, 5);
}

/* Enables a slot and addresses the device at a port; the slot's number. */
static unsigned address_device(unsigned port)
{
    struct event event = command(0, 9 << 10);
    ck_assert_uint_eq(event.code, 1);
    unsigned slot = event.slot;
    put_dwords(CONTEXTS + 8 * slot, (uint32_t[]){DEVICES + 0x400 * slot, 0}, 2);
    memset(ram(INPUT), 0, 0x420);
    put_dwords(INPUT, (uint32_t[]){0, 3}, 2);
    put_dwords(INPUT + 32, (uint32_t[]){1u << 27 | 3 << 20, port << 16}, 2);
    endpoint_context(1, 4, 64, transfers[1].base);
    event = command(INPUT, slot << 24 | 11 << 10);
    ck_assert_uint_eq(event.code, 1);
    ck_assert_uint_eq(dword(DEVICES + 0x400 * slot + 12), 2u << 27 | slot);
    ck_assert_uint_eq(dword(DEVICES + 0x400 * slot + 32) & 7, 1);
    return slot;
}

static void configure_endpoints(unsigned slot, uint32_t flags)
{
    put_dwords(INPUT, (uint32_t[]){0, flags | 1}, 2);
    ck_assert_uint_eq(command(INPUT, slot << 24 | 12 << 10).code, 1);
    ck_assert_uint_eq(dword(DEVICES + 0x400 * slot + 12) >> 27, 3);
}

/* A control transfer of up to one TRB of data to DATA; the code of its last event. */
static unsigned control(unsigned slot, uint64_t setup, unsigned length)
{
    struct ring *ring = &transfers[1];
    add_trb(ring, setup, 8, 2 << 10 | 0x40 | (length ? 3 << 16 : 0));
    if (length)
        add_trb(ring, DATA, length, 3 << 10 | 1 << 16);
    add_trb(ring, 0, 0, 4 << 10 | 0x20 | (length ? 0 : 1 << 16));
    put(DOORBELL + 4 * slot, 1);
    struct event event = expect_event(32);
    ck_assert_uint_eq(event.slot, slot);
    ck_assert_uint_eq(event.endpoint, 1);
    return event.code;
}

#define SET_CONFIGURATION 0x0000000000010900ull
#define GET_DEVICE        0x0012000001000680ull

static unsigned start_tablet(void)
{
    reset_port(TABLET_PORT);
    unsigned slot = address_device(TABLET_PORT);
    endpoint_context(3, 7, 8, transfers[3].base);
    configure_endpoints(slot, 1 << 3);
    ck_assert_uint_eq(control(slot, SET_CONFIGURATION, 0), 1);
    return slot;
}

static unsigned start_disk(void)
{
    unsigned slot = address_device(DISK_PORT);
    endpoint_context(3, 6, 1024, transfers[3].base);
    endpoint_context(4, 2, 1024, transfers[4].base);
    configure_endpoints(slot, 1 << 3 | 1 << 4);
    ck_assert_uint_eq(control(slot, SET_CONFIGURATION, 0), 1);
    return slot;
}

static void point(unsigned x, unsigned y)
{
    usb_bench_point(&board.bench, x, y, 0, 0);
}

/* -- The tests -- */

START_TEST(registers_say_what_there_is)
{
    ck_assert_uint_eq(get(0), 0x01000040);
    ck_assert_uint_eq(memory_mmio_read(board.bench.pci.memory, BAR, 1), 0x40);
    ck_assert_uint_eq(get(4) >> 24, 8);
    uint32_t caps = (get(0x10) >> 16) * 4;
    ck_assert_uint_eq(get(caps), 0x02000402);
    ck_assert_uint_eq(get(caps + 8), 0x0401);
    ck_assert_uint_eq(get(caps + 16), 0x03000002);
    ck_assert_uint_eq(get(caps + 24), 0x0405);
    ck_assert_uint_eq(get(USBSTS) & 0x801, 1); /* halted, ready */
    ck_assert_uint_eq(get(0x48), 1);
    ck_assert_uint_eq(get(PORTSC) >> 10 & 15, 3);                           /* high speed */
    ck_assert_uint_eq(get(PORTSC) & 3, 1);                                  /* not enabled */
    ck_assert_uint_eq(get(PORTSC + 16 * (DISK_PORT - 1)) & 0x3fff, 0x1203); /* U0, super */
    ck_assert_uint_eq(get(PORTSC + 16), 0x2a0);
    put(USBCMD, 0x200);
    ck_assert_uint_eq(get(USBSTS) & 0x400, 0x400); /* nothing can be restored */
}
END_TEST

START_TEST(commands_are_answered)
{
    start();
    ck_assert_uint_eq(command(0, 23 << 10).code, 1);
    ck_assert_uint_eq(command(0, 20 << 10).code, 5);
    ck_assert_uint_eq(command(0, 3u << 24 | 10 << 10).code, 11);
    ck_assert_uint_eq(command(0, 9 << 10).slot, 1);
    for (unsigned i = 2; i <= 8; i++)
        ck_assert_uint_eq(command(0, 9 << 10).slot, i);
    ck_assert_uint_eq(command(0, 9 << 10).code, 9);
    ck_assert_uint_eq(command(0, 4u << 24 | 10 << 10).code, 1);
    ck_assert_uint_eq(command(0, 9 << 10).slot, 4);
    ck_assert_uint_eq(command(0, 1u << 24 | 3 << 16 | 15 << 10).code, 12);
    /* contexts that are nowhere */
    ck_assert_uint_eq(command(0xdead0000, 1u << 24 | 11 << 10).code, 17);
    ck_assert_uint_eq(get(CRCR) & 8, 8);
    put(CRCR, 2);
    ck_assert_uint_eq(expect_event(33).code, 24);
    ck_assert_uint_eq(get(CRCR), 0);
}
END_TEST

START_TEST(a_link_closes_the_command_ring)
{
    start();
    for (unsigned i = 0; i < 3; i++)
        command(0, 23 << 10);
    add_trb(&commands, COMMANDS, 0, 6 << 10 | 2);
    commands.index = 0;
    put_dwords(COMMANDS, (uint32_t[]){0, 0, 0, 23 << 10}, 4); /* cycle 0: its turn */
    put(DOORBELL, 0);
    ck_assert_uint_eq(expect_event(33).parameter, COMMANDS);
    expect_no_event();
}
END_TEST

START_TEST(interrupts_wait_for_the_guest)
{
    struct pci_bench *pci = &board.bench.pci;
    start();
    unsigned before = pci->irqs;
    put(IMAN, 3);
    ck_assert(!pci->irq);
    add_trb(&commands, 0, 0, 23 << 10);
    put(DOORBELL, 0);
    ck_assert(pci->irq);
    ck_assert_uint_eq(get(USBSTS) & 8, 8);
    ck_assert_uint_eq(get(IMAN), 3);
    put(IMAN, 3);
    add_trb(&commands, 0, 0, 23 << 10); /* the guest is busy: no second one */
    put(DOORBELL, 0);
    ck_assert(!pci->irq);
    put(ERDP, (EVENTS + 16 * (event_index + 1)) | 8); /* it took one of the two */
    ck_assert(pci->irq);
    put(IMAN, 3);
    ck_assert_uint_ge(pci->irqs, before + 2);
    put(ERDP, (EVENTS + 16 * (event_index + 2)) | 8);
    ck_assert(!pci->irq);
    /* by message */
    event_index += 2;
    pci_config_write(pci->pci, DEVFN, 0x74, 0xfee00000, 4);
    pci_config_write(pci->pci, DEVFN, 0x7c, 0x41, 2);
    pci_config_write(pci->pci, DEVFN, 0x72, 1, 2);
    command(0, 23 << 10);
    ck_assert_uint_eq(pci->messages, 1);
    ck_assert_uint_eq(get(IMAN), 2);
}
END_TEST

START_TEST(a_device_is_addressed_and_described)
{
    start();
    reset_port(TABLET_PORT);
    unsigned slot = address_device(TABLET_PORT);
    ck_assert_uint_eq(board.tablet->address, slot);
    ck_assert_uint_eq(control(slot, GET_DEVICE, 18), 1);
    ck_assert_uint_eq(dword(DATA), 0x02000112);
    /* more than there is: the short packet is told once, with what is missing */
    struct ring *ring = &transfers[1];
    add_trb(ring, 0x00ff000001000680ull, 8, 2 << 10 | 0x40 | 3 << 16);
    uint32_t data = add_trb(ring, DATA, 255, 3 << 10 | 1 << 16 | 4);
    add_trb(ring, 0, 0, 4 << 10 | 0x20);
    put(DOORBELL + 4 * slot, 1);
    struct event event = expect_event(32);
    ck_assert_uint_eq(event.code, 13);
    ck_assert_uint_eq(event.length, 255 - 18);
    ck_assert_uint_eq(event.parameter, data);
    ck_assert_uint_eq(expect_event(32).code, 1);
    /* two slots for one port are refused */
    ck_assert_uint_eq(command(0, 9 << 10).slot, slot + 1);
    ck_assert_uint_eq(command(INPUT, (slot + 1) << 24 | 11 << 10).code, 17);
}
END_TEST

START_TEST(a_stall_halts_the_endpoint_until_it_is_reset)
{
    start();
    reset_port(TABLET_PORT);
    unsigned slot = address_device(TABLET_PORT);
    ck_assert_uint_eq(control(slot, 0x0012000007000680ull, 18), 6);
    ck_assert_uint_eq(dword(DEVICES + 0x400 * slot + 32) & 7, 2);
    put(DOORBELL + 4 * slot, 1);
    expect_no_event();
    uint32_t next = transfers[1].base + 16 * transfers[1].index;
    ck_assert_uint_eq(command(next | 1, slot << 24 | 1 << 16 | 16 << 10).code, 19); /* halted */
    ck_assert_uint_eq(command(0, slot << 24 | 1 << 16 | 14 << 10).code, 1);
    ck_assert_uint_eq(command(next | 1, slot << 24 | 1 << 16 | 16 << 10).code, 1);
    ck_assert_uint_eq(dword(DEVICES + 0x400 * slot + 40), next | 1);
    ck_assert_uint_eq(control(slot, GET_DEVICE, 18), 1);
}
END_TEST

START_TEST(an_interrupt_endpoint_waits_without_a_timer)
{
    start();
    unsigned slot = start_tablet();
    uint32_t first = add_trb(&transfers[3], DATA, 8, 1 << 10 | 0x24);
    add_trb(&transfers[3], DATA + 16, 8, 1 << 10 | 0x24);
    put(DOORBELL + 4 * slot, 3);
    expect_no_event();
    ck_assert_uint_eq(clock_next_deadline(board.bench.pci.clock), TIMER_NEVER);
    point(0x1234, 0x5678);
    struct event event = expect_event(32);
    ck_assert_uint_eq(event.parameter, first);
    ck_assert_uint_eq(event.code, 13); /* 6 bytes of 8 */
    ck_assert_uint_eq(event.length, 2);
    ck_assert_mem_eq(ram(DATA), "\0\x34\x12\x78\x56\0", 6);
    point(1, 2);
    expect_event(32);
    point(3, 4); /* no buffer: it waits in the device */
    expect_no_event();
    add_trb(&transfers[3], DATA, 8, 1 << 10 | 0x24);
    put(DOORBELL + 4 * slot, 3);
    expect_event(32);
    ck_assert_uint_eq(*ram(DATA + 1), 3);
}
END_TEST

START_TEST(a_stopped_endpoint_goes_on_where_it_was)
{
    start();
    unsigned slot = start_tablet();
    uint32_t at = add_trb(&transfers[3], DATA, 8, 1 << 10 | 0x24);
    put(DOORBELL + 4 * slot, 3);
    add_trb(&commands, 0, 0, slot << 24 | 3 << 16 | 15 << 10);
    put(DOORBELL, 0);
    struct event event = expect_event(32);
    ck_assert_uint_eq(event.code, 26);
    ck_assert_uint_eq(event.parameter, at);
    ck_assert_uint_eq(event.length, 8);
    ck_assert_uint_eq(expect_event(33).code, 1);
    ck_assert_uint_eq(dword(DEVICES + 0x400 * slot + 96) & 7, 3);
    ck_assert_uint_eq(dword(DEVICES + 0x400 * slot + 104), at | 1);
    point(5, 5);
    expect_no_event();
    put(DOORBELL + 4 * slot, 3);
    ck_assert_uint_eq(expect_event(32).code, 13);
}
END_TEST

START_TEST(no_event_is_lost_when_the_ring_is_full)
{
    start();
    unsigned slot = start_tablet(), got = 0;
    struct event event;
    for (unsigned i = 0; i < 40; i++)
        add_trb(&commands, 0, 0, 23 << 10);
    put(DOORBELL, 0);
    while (peek_event(&event))
        got++;
    ck_assert_uint_lt(got, EVENT_ENTRIES);
    add_trb(&transfers[3], DATA, 8, 1 << 10 | 0x24);
    put(DOORBELL + 4 * slot, 3);
    point(7, 7);
    for (unsigned rounds = 0; rounds < 10; rounds++) {
        acknowledge();
        while (peek_event(&event))
            got++;
    }
    ck_assert_uint_eq(got, 41);
}
END_TEST

/* Command wrapper, data in three TRBs with odd places, status; an event of the guest's own. */
START_TEST(a_disk_is_read_through_scattered_buffers)
{
    static const uint8_t cbw[31] = "USBC\1\0\0\0\0\x10\0\0\x80\0\x0a\x28\0\0\0\0\3\0\0\x08";
    start();
    unsigned slot = start_disk();
    memcpy(ram(DATA), cbw, 31);
    add_trb(&transfers[4], DATA, 31, 1 << 10 | 0x20);
    put(DOORBELL + 4 * slot, 4);
    settle();
    ck_assert_uint_eq(expect_event(32).code, 1);
    /* the unit attention comes first: the host sees the endpoint halted */
    add_trb(&transfers[3], DATA + 0x1000, 4096, 1 << 10 | 0x20);
    put(DOORBELL + 4 * slot, 3);
    ck_assert_uint_eq(expect_event(32).code, 6);
    ck_assert_uint_eq(command(0, slot << 24 | 3 << 16 | 14 << 10).code, 1);
    uint32_t next = transfers[3].base + 16 * transfers[3].index;
    ck_assert_uint_eq(command(next | 1, slot << 24 | 3 << 16 | 16 << 10).code, 1);
    ck_assert_uint_eq(control(slot, 0x0000008100000102ull, 0), 1);
    add_trb(&transfers[3], DATA + 0x100, 13, 1 << 10 | 0x20);
    put(DOORBELL + 4 * slot, 3);
    expect_event(32);
    ck_assert_uint_eq(*ram(DATA + 0x100 + 12), 1);

    add_trb(&transfers[3], DATA + 0x1003, 1001, 1 << 10 | 0x10);
    add_trb(&transfers[3], DATA + 0x2000, 95, 1 << 10 | 0x10);
    add_trb(&transfers[3], DATA + 0x3001, 3000, 1 << 10 | 0x10);
    add_trb(&transfers[3], 0x1122334455667788, 0, 7 << 10 | 0x20);
    put(DOORBELL + 4 * slot, 3);
    expect_no_event();
    add_trb(&transfers[4], DATA, 31, 1 << 10);
    put(DOORBELL + 4 * slot, 4);
    settle();
    struct event event = expect_event(32);
    ck_assert(event.event_data);
    ck_assert_uint_eq(event.parameter, 0x1122334455667788);
    ck_assert_uint_eq(event.length, 4096);
    uint8_t whole[4096];
    memcpy(whole, ram(DATA + 0x1003), 1001);
    memcpy(whole + 1001, ram(DATA + 0x2000), 95);
    memcpy(whole + 1096, ram(DATA + 0x3001), 3000);
    check_pattern(whole, 3 * 128, 1024);
    add_trb(&transfers[3], DATA + 0x100, 13, 1 << 10 | 0x20);
    put(DOORBELL + 4 * slot, 3);
    expect_event(32);
    ck_assert_uint_eq(*ram(DATA + 0x100 + 12), 0);
}
END_TEST

START_TEST(unplugging_is_noticed)
{
    start();
    unsigned slot = start_tablet();
    add_trb(&transfers[3], DATA, 8, 1 << 10 | 0x24);
    put(DOORBELL + 4 * slot, 3);
    usb_detach(board.tablet);
    ck_assert_uint_eq(expect_event(34).parameter, (uint64_t)TABLET_PORT << 24);
    ck_assert_uint_eq(get(PORTSC) & 0x20003, 0x20000);
    ck_assert_uint_eq(expect_event(32).code, 4);
    put(PORTSC, 0x20200);
    ck_assert(usb_attach(board.bus, board.tablet));
    expect_event(34);
    ck_assert_uint_eq(get(PORTSC) & 0x20003, 0x20001);
}
END_TEST

START_TEST(a_suspended_port_is_woken)
{
    start();
    unsigned slot = start_tablet();
    ck_assert_uint_eq(control(slot, 0x0000000000010300ull, 0), 1); /* may wake */
    put(PORTSC, 0x10260);
    ck_assert_uint_eq(get(PORTSC) >> 5 & 15, 3);
    point(9, 9);
    expect_event(34);
    ck_assert_uint_eq(get(PORTSC) & 0x4001e0, 0x4001e0); /* resume, link changed */
    put(PORTSC, 0x400200);
    put(PORTSC, 0x10200);
    expect_event(34);
    ck_assert_uint_eq(get(PORTSC) & 0x4001e0, 0x400000);
    add_trb(&transfers[3], DATA, 8, 1 << 10 | 0x24);
    put(DOORBELL + 4 * slot, 3);
    expect_event(32);
    ck_assert_uint_eq(*ram(DATA + 1), 9);
}
END_TEST

START_TEST(state_is_kept)
{
    start();
    unsigned slot = start_tablet();
    add_trb(&transfers[3], DATA, 8, 1 << 10 | 0x24);
    put(DOORBELL + 4 * slot, 3);
    build(&copy);
    memcpy(memory_ram_host(copy.bench.pci.memory), ram(0), 1 << 20);
    pci_bench_copy_state(&copy.bench.pci, &board.bench.pci);
    usb_bench_point(&copy.bench, 11, 12, 0, 0);
    expect_no_event();
    memcpy(ram(0), memory_ram_host(copy.bench.pci.memory), 1 << 20);
    ck_assert_uint_eq(expect_event(32).code, 13);
    ck_assert_uint_eq(*ram(DATA + 1), 11);
    usb_bench_free(&copy.bench);
}
END_TEST

/* -- What must not hurt -- */

START_TEST(rings_that_never_end_are_bounded)
{
    start();
    unsigned slot = start_tablet();
    /* a ring of one no-op and a link back, without events */
    uint32_t ring = transfers[3].base;
    put_dwords(ring, (uint32_t[]){0, 0, 0, 8 << 10 | 1}, 4);
    put_dwords(ring + 16, (uint32_t[]){ring, 0, 0, 6 << 10 | 1}, 4);
    put(DOORBELL + 4 * slot, 3);
    struct clock *clock = board.bench.pci.clock; /* goes on later, again and again */
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_le(clock_next_deadline(clock), clock_now(clock) + 1);
        clock_set(clock, clock_now(clock) + 1);
        clock_fire_due(clock);
    }
    ck_assert_uint_eq(get(USBSTS) & 1, 0);
    /* a link to itself; a descriptor without end */
    put_dwords(ring, (uint32_t[]){ring, 0, 0, 6 << 10 | 1}, 4);
    clock_set(clock, clock_now(clock) + 1);
    clock_fire_due(clock);
    ck_assert_uint_eq(get(USBSTS) & 0x1001, 0x1001);
}
END_TEST

START_TEST(a_descriptor_without_end_stops_the_controller)
{
    start();
    unsigned slot = start_tablet();
    uint32_t ring = transfers[3].base;
    put_dwords(ring, (uint32_t[]){DATA, 0, 8, 1 << 10 | 0x10 | 1}, 4);
    put_dwords(ring + 16, (uint32_t[]){ring, 0, 0, 6 << 10 | 0x10 | 1}, 4);
    put(DOORBELL + 4 * slot, 3);
    ck_assert_uint_eq(get(USBSTS) & 0x1001, 0x1001);
    put(USBCMD, 2);
    start();
    start_tablet();
}
END_TEST

START_TEST(memory_that_is_none_stops_the_controller)
{
    start();
    unsigned slot = start_tablet();
    add_trb(&transfers[3], 0xfffffff0, 8, 1 << 10 | 0x24);
    put(DOORBELL + 4 * slot, 3);
    point(1, 1);
    ck_assert_uint_eq(get(USBSTS) & 0x1001, 0x1001);
    put(USBCMD, 2);
    start();
    put(CRCR, 0);
    put(USBCMD, 0);
    put(CRCR, 0xdead0001);
    put(CRCR + 4, 0xffffffff);
    put(USBCMD, 5);
    put(DOORBELL, 0);
    ck_assert_uint_eq(get(USBSTS) & 0x1001, 0x1001);
}
END_TEST

/* -- Running them -- */

static void setup(void)
{
    log_items = 0;
    image = pattern_image(DISK_SECTORS * 512, false);
    build(&board);
}

static void teardown(void)
{
    usb_bench_free(&board.bench);
    image_close(image);
}

int main(void)
{
    const TTest *const tests[] = {
        registers_say_what_there_is,
        commands_are_answered,
        a_link_closes_the_command_ring,
        interrupts_wait_for_the_guest,
        a_device_is_addressed_and_described,
        a_stall_halts_the_endpoint_until_it_is_reset,
        an_interrupt_endpoint_waits_without_a_timer,
        a_stopped_endpoint_goes_on_where_it_was,
        no_event_is_lost_when_the_ring_is_full,
        a_disk_is_read_through_scattered_buffers,
        unplugging_is_noticed,
        a_suspended_port_is_woken,
        state_is_kept,
        rings_that_never_end_are_bounded,
        a_descriptor_without_end_stops_the_controller,
        memory_that_is_none_stops_the_controller,
    };
    return suite_main("usb-xhci", setup, teardown, tests, sizeof tests / sizeof *tests);
}
