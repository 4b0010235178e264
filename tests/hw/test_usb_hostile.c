/*
 * Guests that drive USB controllers with garbage: random register accesses, commands, rings and
 * schedules, with devices that have something to say and time that passes. Nothing may crash, hang
 * or reach beyond its bounds (run it with SANITIZE=1).
 *
 *   test_usb_hostile [STEPS [SEED]]     for each controller (default 400000)
 */
#include "hw/usb/uhci.h"
#include "hw/usb/xhci.h"
#include "tests/hw/usb_bench.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

#define RAM           (1u << 20)
#define BAR           0xf0000000u
#define PORT          0xc000u
#define DEVFN         PCI_DEVFN(4, 0)
#define STEP_LIMIT_NS 3000000000ull
#define DISK_BYTES    (256u * 512)

static unsigned steps = 400000;
static uint64_t seed = 1, start_seed = 1, step;
static struct usb_bench bench;
static struct usb_bus *bus;
static struct usb_device *devices[4];
static struct image *disk, *disc;
static const char *current;

/* xorshift64* */
static uint64_t noise(void)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * 2685821657736338717ull >> 8;
}

static bool one_in(unsigned n)
{
    return noise() % n == 0;
}

static uint32_t address(void)
{
    if (one_in(256))
        return (uint32_t)noise();
    return 0x40000 + ((uint32_t)noise() % (RAM - 0x42000) & ~(one_in(8) ? 0u : 15u));
}

static void put_dword(uint32_t at, uint32_t value)
{
    memory_dma_write(bench.pci.memory, at, &value, 4);
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* Bytes of a setup stage, or of a command to a disk: seldom quite wrong. */
static void scribble_payload(uint32_t at, bool setup)
{
    static const uint8_t requests[] = {0, 1, 3, 5, 6, 8, 9, 10, 11, 0xfe, 0xff};
    uint8_t bytes[32] = "USBC\1\2\3\4";
    if (setup) {
        bytes[0] = (uint8_t)(noise() & 0xa3);
        bytes[1] = requests[noise() % sizeof requests];
        bytes[2] = (uint8_t)(noise() % 3);
        bytes[3] = (uint8_t)(noise() % 4);
        bytes[4] = (uint8_t)(one_in(2) ? 0 : noise());
        bytes[5] = 0;
        bytes[6] = (uint8_t)noise();
        bytes[7] = (uint8_t)(noise() & 3);
    } else {
        bytes[0] = one_in(16) ? (uint8_t)noise() : 'U';
        static const uint8_t commands[] = {0,    3,    0x12, 0x1a, 0x25, 0x28,
                                           0x2a, 0x35, 0x42, 0x5a, 0xa8};
        uint32_t length = one_in(4) ? (uint32_t)noise() : (uint32_t)noise() % 12 * 512;
        memcpy(bytes + 8, &length, 4);
        bytes[12] = one_in(2) ? 0x80 : 0;
        bytes[14] = one_in(16) ? (uint8_t)noise() : 10;
        bytes[15] = commands[noise() % sizeof commands];
        bytes[15 + 5] = (uint8_t)noise();
        bytes[15 + 8] = (uint8_t)(noise() % 12);
    }
    memory_dma_write(bench.pci.memory, at, bytes, sizeof bytes);
}

/* Noise alone seldom gets a device configured. */
static void configure(struct usb_device *device)
{
    uint8_t setup[8] = {0, 9, 1};
    struct usb_transfer transfer = {.token = USB_SETUP, .data = setup, .length = 8};
    usb_submit(device, &transfer);
    usb_set_address(device, (uint8_t)(noise() % 4));
}

/* -- xHCI -- */

enum { COMMANDS = 0x1000, EVENTS = 0x2000, TABLE = 0x3000, CONTEXTS = 0x3800, INPUT = 0x4000 };

static void reg(uint32_t offset, uint32_t value)
{
    memory_mmio_write(bench.pci.memory, BAR + offset, value, 4);
}

static void scribble_ring(uint32_t at, bool commands)
{
    unsigned count = 1 + noise() % 24;
    for (unsigned i = 0; i < count; i++, at += 16) {
        unsigned type = commands ? 9 + noise() % 16 : one_in(8) ? 1 + noise() % 8 : 1;
        uint32_t control = type << 10 | (uint32_t)(noise() & (one_in(8) ? 0x303f7 : 0x24)) | 1;
        if (commands)
            control = type << 10 | 1 | (uint32_t)(1 + noise() % 4) << 24 |
                      (uint32_t)(noise() % 6) << 16 | (one_in(4) ? 0x200 : 0);
        put_dword(at, commands && one_in(2) ? INPUT : address());
        put_dword(at + 4, one_in(16) ? (uint32_t)noise() : 0);
        put_dword(at + 8, (uint32_t)(one_in(4) ? noise() & 0x1ffff : noise() % 8 * 31));
        put_dword(at + 12, one_in(16) ? (uint32_t)noise() : control);
        if (type == 2 && !commands) { /* a setup stage as it should be */
            scribble_payload(at, true);
            put_dword(at + 8, 8);
            put_dword(at + 12, 2 << 10 | 0x41);
        } else if (!commands && !one_in(4)) {
            uint32_t buffer = address();
            scribble_payload(buffer, false);
            put_dword(at, buffer);
            put_dword(at + 8, 31);
        }
    }
    if (one_in(2)) { /* a link somewhere */
        put_dword(at, one_in(2) ? at - 16 * count : address());
        put_dword(at + 4, 0);
        put_dword(at + 12, 6 << 10 | (uint32_t)(noise() & 2) | 1);
    }
}

static void scribble_contexts(void)
{
    for (unsigned i = 0; i < 5; i++) {
        put_dword(CONTEXTS + 8 * i, one_in(32) ? (uint32_t)noise() : 0x8000 + 0x400 * i);
        put_dword(CONTEXTS + 8 * i + 4, 0);
    }
    put_dword(INPUT, one_in(4) ? (uint32_t)noise() & 0x1c : 0);
    put_dword(INPUT + 4, one_in(2) ? 3 : (uint32_t)(noise() & 0x1c) | 1);
    put_dword(INPUT + 32, 1u << 27 | (one_in(16) ? 1 : 0));
    put_dword(INPUT + 36, (uint32_t)(one_in(16) ? noise() : 1 + noise() % 8) << 16);
    put_dword(INPUT + 40, one_in(16) ? (uint32_t)noise() : 0);
    for (unsigned i = 1; i < 6; i++) {
        static const uint8_t types[] = {0, 4, 2, 6, 2, 6};
        uint32_t at = INPUT + 32 * (i + 1);
        put_dword(at, one_in(32) ? (uint32_t)noise() : 0);
        put_dword(at + 4, 64u << 16 | (uint32_t)(one_in(8) ? noise() & 7 : types[i]) << 3);
        put_dword(at + 8, (one_in(32) ? (uint32_t)noise() : 0x20000 + 0x1000 * i) | 1);
        put_dword(at + 12, 0);
    }
}

static void xhci_restart(void)
{
    reg(0x40, 2);
    put_dword(TABLE, EVENTS);
    put_dword(TABLE + 4, 0);
    put_dword(TABLE + 8, one_in(16) ? (uint32_t)noise() : 16 + (uint32_t)noise() % 4);
    scribble_contexts();
    reg(0x78, 8);
    reg(0x58, COMMANDS | 1);
    reg(0x5c, 0);
    reg(0x70, CONTEXTS);
    reg(0x74, 0);
    reg(0x1028, one_in(16) ? (uint32_t)noise() : 1);
    reg(0x1038, EVENTS);
    reg(0x1030, TABLE);
    reg(0x1034, 0);
    reg(0x1020, 2);
    reg(0x40, 5);
    for (unsigned port = 0; port < 8; port++)
        reg(0x440 + 16 * port, 0x210);
}

/* As a driver would begin, up to a device with endpoints whose rings begin where noise will be. */
static void xhci_bring_up(void)
{
    struct usb_device *device = devices[noise() % 4];
    if (!device->port)
        return;
    xhci_restart();
    const uint32_t commands[] = {9 << 10, 1u << 24 | 11 << 10, 1u << 24 | 12 << 10};
    for (unsigned i = 0; i < 3; i++) {
        put_dword(INPUT, 0);
        put_dword(INPUT + 4, i == 1 ? 3 : 1 | 1u << 3 | 1u << 4);
        put_dword(INPUT + 36, (device->port->number + 1) << 16);
        put_dword(COMMANDS + 16 * i, INPUT);
        put_dword(COMMANDS + 16 * i + 4, 0);
        put_dword(COMMANDS + 16 * i + 8, 0);
        put_dword(COMMANDS + 16 * i + 12, commands[i] | 1);
        put_dword(COMMANDS + 16 * i + 28, 0);
        reg(0x2000, 0);
        reg(0x1038, (EVENTS + 16 * i) | 8);
    }
    configure(device);
    for (uint32_t endpoint = 4; endpoint >= 3; endpoint--) {
        scribble_ring(0x20000 + 0x1000 * endpoint, false);
        reg(0x2000 + 4, endpoint);
    }
}

static void xhci_step(void)
{
    switch (noise() % 12) {
    case 0:
        if (one_in((memory_mmio_read(bench.pci.memory, BAR + 0x44, 4) & 1) ? 2 : 40))
            xhci_restart();
        break;
    case 1:
    case 2:
        scribble_contexts();
        scribble_ring(COMMANDS + 16 * (uint32_t)(noise() % 4), true);
        reg(0x2000, 0);
        break;
    case 3:
    case 4:
    case 5: {
        uint32_t endpoint = 1 + (uint32_t)noise() % 5;
        scribble_ring(0x20000 + 0x1000 * endpoint + 16 * (uint32_t)(noise() % 4), false);
        reg(0x2000 + 4 * (one_in(4) ? 1 + (uint32_t)noise() % 4 : 1), endpoint);
        break;
    }
    case 6: /* events are taken */
        reg(0x1038, (one_in(32) ? (uint32_t)noise() : EVENTS + 16 * ((uint32_t)noise() % 16)) | 8);
        reg(0x103c, 0);
        break;
    case 7: /* ports */
        reg(0x440 + 16 * (uint32_t)(noise() % 8), (uint32_t)noise());
        break;
    case 8:
        (void)memory_mmio_read(bench.pci.memory, BAR + 8 * (noise() % 0x800), 8);
        break;
    case 9:
        if (one_in(4))
            xhci_bring_up();
        break;
    default:
        if (one_in(8))
            reg((uint32_t)(noise() % 0x2100) & ~3u, (uint32_t)noise());
    }
}

/* -- UHCI -- */

enum { FRAMES = 0x1000, QUEUES = 0x4000, TDS = 0x8000 };

static void io(uint16_t offset, uint32_t value, unsigned size)
{
    io_bus_write(bench.pci.io, PORT + offset, value, size);
}

static uint32_t uhci_link(void)
{
    if (one_in(1024))
        return (uint32_t)noise();
    return one_in(2) ? (QUEUES + 16 * ((uint32_t)noise() % 32)) | 2
                     : (TDS + 16 * ((uint32_t)noise() % 64)) | (uint32_t)(noise() & 4);
}

static void scribble_schedule(void)
{
    static const uint8_t pids[] = {0x2d, 0x69, 0xe1};
    for (unsigned i = 0; i < 8; i++)
        put_dword(FRAMES + 4 * ((uint32_t)noise() % 1024), one_in(8) ? 1 : uhci_link());
    for (unsigned i = 0; i < 4; i++) {
        uint32_t at = QUEUES + 16 * ((uint32_t)noise() % 32);
        put_dword(at, one_in(4) ? 1 : uhci_link());
        put_dword(at + 4, one_in(4) ? 1 : uhci_link());
    }
    for (unsigned i = 0; i < 8; i++) {
        uint32_t at = TDS + 16 * ((uint32_t)noise() % 64), buffer = address();
        unsigned pid = one_in(1024) ? (uint8_t)noise() : pids[noise() % 3];
        uint32_t length = pid == 0x2d ? 7 : one_in(2) ? 30 : (uint32_t)noise() & 0x3f;
        scribble_payload(buffer, pid == 0x2d);
        put_dword(at, one_in(4) ? 1 : uhci_link());
        put_dword(at + 4, (uint32_t)(noise() & 0x3f000000) | 0x00800000);
        put_dword(at + 8, (one_in(1024) ? 0x4ff : length) << 21 | (uint32_t)(noise() % 3) << 15 |
                              (uint32_t)(noise() % 4) << 8 | pid);
        put_dword(at + 12, buffer);
    }
}

static void uhci_step(void)
{
    switch (noise() % 8) {
    case 0:
        if (one_in((io_bus_read(bench.pci.io, PORT + 2, 2) & 0x20) ? 2 : 100)) {
            io(0, one_in(8) ? 2 : 0, 2);
            io(8, FRAMES, 4);
            io(4, 0xf, 2);
            for (unsigned i = 0; i < 1024; i++)
                put_dword(FRAMES + 4 * i, uhci_link());
            io(0, 1, 2);
        }
        break;
    case 1:
    case 2:
        scribble_schedule();
        break;
    case 3:
        io(0x10 + 2 * (uint16_t)(noise() & 1), one_in(16) ? (uint32_t)noise() : 4, 2);
        if (one_in(4))
            configure(devices[noise() % 4]);
        break;
    case 4:
        io(2, 0x1f, 2);
        if (one_in(4)) {
            io(8, FRAMES, 4);
            io(0, 1, 2);
        }
        break;
    case 5:
        (void)io_bus_read(bench.pci.io, (uint16_t)(PORT + noise() % 31), 1 + (noise() & 1));
        break;
    default:
        if (one_in(16))
            io((uint16_t)(noise() % 31), (uint32_t)noise(), 1 + (noise() & 1));
    }
}

/* -- The outside -- */

static void user(void)
{
    if (one_in(4))
        configure(devices[noise() % 4]);
    bench.input.key(bench.input.keyboard, (uint16_t)(noise() % 260), one_in(2));
    usb_bench_point(&bench, (unsigned)noise(), (unsigned)noise(), (int)noise() % 9,
                    (unsigned)noise());
    if (one_in(64)) {
        struct usb_device *device = devices[noise() % 4];
        if (device->port)
            usb_detach(device);
        else
            usb_attach(bus, device);
    }
}

static void pass_time(void)
{
    struct clock *clock = bench.pci.clock;
    clock_set(clock, clock_now(clock) + noise() % (one_in(16) ? NS_PER_SECOND : 3000000));
    pthread_mutex_unlock(&pci_bench_lock);
    loop_turn(bench.pci.loop, 0);
    pthread_mutex_lock(&pci_bench_lock);
}

/* What is saved must be loadable at any moment. */
static void save_and_load(void)
{
    struct state_buffer saved = {0};
    struct error error = {""};
    loop_drain(bench.pci.loop);
    state_save_devices(&saved, &bench.pci.devices);
    ck_assert_msg(state_load_devices(saved.bytes, saved.length, &bench.pci.devices, &error), "%s",
                  error.text);
    state_buffer_free(&saved);
}

static void attack(const char *name, void (*act)(void))
{
    uint64_t worst = 0;
    current = name;
    seed = start_seed * 0x9e3779b97f4a7c15ull | 1;
    pthread_mutex_lock(&pci_bench_lock);
    for (step = 0; step < steps; step++) {
        uint64_t began = cpu_ns();
        act();
        if (one_in(16))
            user();
        if (one_in(8))
            pass_time();
        if (one_in(2000))
            save_and_load();
        if (one_in(4000))
            device_list_reset(&bench.pci.devices);
        if (one_in(50)) {
            pci_config_write(bench.pci.pci, DEVFN, PCI_BAR0, BAR, 4);
            pci_config_write(bench.pci.pci, DEVFN, PCI_BAR0 + 16, PORT, 4);
            pci_config_write(bench.pci.pci, DEVFN, PCI_COMMAND, 7, 2);
        }
        uint64_t took = cpu_ns() - began;
        worst = took > worst ? took : worst;
    }
    loop_drain(bench.pci.loop);
    pthread_mutex_unlock(&pci_bench_lock);
    printf("%s: %u steps, the slowest %.1f ms, %llu sectors\n", name, steps, (double)worst / 1e6,
           (unsigned long long)bench.activity);
    ck_assert_uint_lt(worst, STEP_LIMIT_NS);
    ck_assert_uint_gt(bench.activity, 0); /* it came as far as the disk */
}

static void plug_in(void)
{
    devices[0] = usb_bench_tablet(&bench);
    devices[1] = usb_bench_storage(&bench, disk, false);
    devices[2] = usb_bench_keyboard(&bench);
    devices[3] = usb_storage_new(&bench.pci.devices, bench.pci.loop, disc, true, 1, &bench.activity,
                                 "cdrom");
    for (unsigned i = 0; i < 4; i++)
        usb_attach(bus, devices[i]);
    pci_bench_start(&bench.pci, DEVFN, 0, BAR);
    pci_config_write(bench.pci.pci, DEVFN, PCI_BAR0 + 16, PORT, 4);
    pci_config_write(bench.pci.pci, DEVFN, PCI_COMMAND, 7, 2);
}

START_TEST(xhci_survives)
{
    bus = xhci_new(&bench.pci.devices, bench.pci.pci, DEVFN, bench.pci.clock, "xhci");
    plug_in();
    xhci_restart();
    attack("xhci", xhci_step);
}
END_TEST

START_TEST(uhci_survives)
{
    bus = uhci_new(&bench.pci.devices, bench.pci.pci, DEVFN, UHCI_ICH9, bench.pci.clock, "uhci");
    plug_in();
    attack("uhci", uhci_step);
}
END_TEST

static void setup(void)
{
    usb_bench_build(&bench);
    disk = pattern_image(DISK_BYTES, false);
    disc = pattern_image(DISK_BYTES, true);
}

static void teardown(void)
{
    usb_bench_free(&bench);
    image_close(disk);
    image_close(disc);
}

static void give_up(int signal)
{
    fprintf(stderr, "stuck in %s at step %llu, seed %llu\n", current, (unsigned long long)step,
            (unsigned long long)start_seed);
    _exit(1);
}

int main(int argc, char **argv)
{
    const TTest *const tests[] = {xhci_survives, uhci_survives};
    if (argc > 1)
        steps = (unsigned)strtoul(argv[1], NULL, 0);
    if (argc > 2)
        start_seed = strtoull(argv[2], NULL, 0);
    signal(SIGALRM, give_up);
    alarm(120 + steps / 500);
    log_items = 0;
    return suite_main("usb-hostile", setup, teardown, tests, sizeof tests / sizeof *tests);
}
