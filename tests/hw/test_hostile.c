/*
 * A guest that programs the board with garbage: random accesses of all sizes at each device's ports
 * and memory, with random contents in the memory that devices read, the virtual clock running on
 * and the outside busy. Nothing may crash, hang, or reach beyond its bounds (run it with
 * SANITIZE=1).
 *
 *   test_hostile [ACCESSES [SEED]]     accesses for each target (default 20000)
 */
#include "hw/irq/lapic.h"
#include "tests/hw/board.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define ACCESS_LIMIT_NS (5 * NS_PER_SECOND) /* processor time that one step may take */

static unsigned accesses = 20000;
static uint64_t start_seed = 1;

/* -- What is attacked -- */

struct span {
    bool memory;
    uint64_t base;
    uint32_t size;
};

#define SPANS_MAX 6

static void i8042_request(void), fw_cfg_request(void), ide_request(void), vga_request(void),
    e1000_request(void), apic_request(void), hda_request(void), sb16_request(void);

#define HDA_DEVFN PCI_DEVFN(31, 7) /* stands for wherever the board has put it */

static const struct target {
    const char *name;
    struct span span[SPANS_MAX];
    int bars_of;           /* its BARs, where programmed, are spans as well; 0: none */
    void (*request)(void); /* something that makes sense, from time to time */
} targets[] = {
    {"i8237", {{0, 0x00, 16}, {0, 0x80, 16}, {0, 0xc0, 32}}, 0, NULL},
    {"i8259", {{0, 0x20, 2}, {0, 0xa0, 2}, {0, 0x4d0, 2}}, 0, NULL},
    {"i8254", {{0, 0x40, 4}, {0, 0x61, 1}}, 0, NULL},
    {"i8042", {{0, 0x60, 1}, {0, 0x64, 1}}, 0, i8042_request},
    {"rtc", {{0, 0x70, 8}}, 0, NULL},
    {"uart", {{0, 0x3f8, 8}, {0, 0x2f8, 8}}, 0, NULL},
    {"chipset", {{0, 0x92, 1}, {0, 0xb2, 2}, {0, 0xcf8, 8}, {0, 0xf0, 6}, {0, 0x402, 1}}, 0, NULL},
    {"fw_cfg", {{0, 0x510, 12}}, 0, fw_cfg_request},
    {"ide",
     {{0, 0x1f0, 8}, {0, 0x3f6, 1}, {0, 0x170, 8}, {0, 0x376, 1}},
     PCI_DEVFN(1, 1),
     ide_request},
    {"pm", {{0, 0xb000, 64}, {0, 0xb100, 16}}, PCI_DEVFN(1, 3), NULL},
    {"vga", {{0, 0x3b0, 48}, {0, 0x1ce, 4}, {1, 0xa0000, 0x20000}}, PCI_DEVFN(2, 0), vga_request},
    {"e1000", {{0, 0, 0}}, PCI_DEVFN(3, 0), e1000_request},
    {"hda", {{0, 0, 0}}, HDA_DEVFN, hda_request},
    {"sb16", {{0, 0x220, 16}, {0, 0x00, 16}, {0, 0xc0, 32}}, 0, sb16_request},
    {"apic", {{1, 0xfec00000, 4096}, {1, 0xfee00000, 4096}}, 0, apic_request},
    {"everything", {{0, 0, 65536}, {1, 0xa0000, 0x60000}, {1, 0xf0000000, 0xfffffff}}, 0, NULL},
};
#define TARGETS (sizeof targets / sizeof targets[0])

/* -- The board under attack -- */

static struct board_parts parts;
static struct machine *machine;
static uint64_t seed;
static const char *current;
static uint64_t step, worst_ns;

static uint64_t noise(void)
{
    return board_random(&seed);
}

static bool one_in(unsigned n)
{
    return (noise() >> 20) % n == 0;
}

static uint64_t cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* Addresses as drivers and their errors have them: in RAM, at its ends, in holes, anywhere. */
static uint64_t address(void)
{
    switch ((noise() >> 16) % 8) {
    case 0:
        return noise();
    case 1:
        return noise() & 0xffffffff;
    case 2:
        return BOARD_MEMORY - (noise() >> 32 & 0xffff);
    case 3:
        return UINT32_MAX - (noise() >> 40 & 0xffff);
    default:
        return (noise() >> 8) % BOARD_MEMORY & ~(uint64_t)(one_in(4) ? 0 : 15);
    }
}

static uint64_t value(void)
{
    static const uint32_t telling[] = {0,       1,          2,          0x7f,      0x80,
                                       0xff,    0x100,      0x7fff,     0x8000,    0xffff,
                                       0x10000, 0x7fffffff, 0x80000000, 0xffffffff};

    switch ((noise() >> 24) % 4) {
    case 0:
        return telling[(noise() >> 8) % (sizeof telling / sizeof telling[0])];
    case 1:
        return address();
    case 2:
        return noise() & 0xff;
    default:
        return noise();
    }
}

/* Fills part of RAM with what might be descriptors: small numbers, addresses, noise. */
static void scribble(void)
{
    uint8_t *ram = memory_ram_host(machine->memory);
    uint64_t at = (noise() >> 8) % (BOARD_MEMORY - 65536) & ~(uint64_t)15;

    for (unsigned i = 0; i < 256; i++) {
        uint64_t word = one_in(2) ? address() : value();
        memcpy(ram + at + 8 * i, &word, sizeof word);
    }
}

static struct pci_device *hda_device(void)
{
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        struct pci_device *device = pci_bus_device(machine->pci, (uint8_t)devfn);
        if (device && device->identity.class_code == 0x0403)
            return device;
    }
    return NULL;
}

static struct pci_device *target_device(int devfn)
{
    return devfn == HDA_DEVFN ? hda_device() : pci_bus_device(machine->pci, (uint8_t)devfn);
}

static void program_bars(int devfn)
{
    struct pci_device *device = target_device(devfn);

    ck_assert_ptr_nonnull(device);
    devfn = device->devfn;
    for (unsigned i = 0; i < PCI_BARS; i++) {
        const struct pci_bar *bar = &device->bar[i];
        uint32_t base = bar->kind == PCI_BAR_IO ? 0xc000 + 0x400 * i : 0xe0000000u + 0x2000000 * i;
        if (bar->kind != PCI_BAR_NONE)
            pci_config_write(machine->pci, (uint8_t)devfn, (uint8_t)(PCI_BAR0 + 4 * i), base, 4);
    }
    pci_config_write(machine->pci, (uint8_t)devfn, PCI_COMMAND,
                     PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    if (devfn == PCI_DEVFN(1, 1)) /* both channels decode their ports */
        pci_config_write(machine->pci, (uint8_t)devfn, 0x40, 0x80008000, 4);
    if (devfn == PCI_DEVFN(1, 3)) { /* PM and SMBus have base registers of their own */
        pci_config_write(machine->pci, (uint8_t)devfn, 0x40, 0xb001, 4);
        pci_config_write(machine->pci, (uint8_t)devfn, 0x80, 0x01, 1);
        pci_config_write(machine->pci, (uint8_t)devfn, 0x90, 0xb101, 4);
        pci_config_write(machine->pci, (uint8_t)devfn, 0xd2, 0x01, 1);
    }
}

/* One of the target's spans or, as often, of its BARs. */
static struct span choose_span(const struct target *target)
{
    unsigned spans = 0;

    while (spans < SPANS_MAX && target->span[spans].size)
        spans++;
    if (target->bars_of && (spans == 0 || one_in(2))) {
        const struct pci_device *device = target_device(target->bars_of);
        const struct pci_bar *bar = &device->bar[(noise() >> 12) % PCI_BARS];
        if (bar->kind == PCI_BAR_IO && bar->range)
            return (struct span){false, bar->mapped_base, bar->size};
        if (bar->region)
            return (struct span){true, bar->mapped_base, bar->size};
    }
    return spans ? target->span[(noise() >> 12) % spans] : (struct span){false, 0x80, 1};
}

/* As a processor's access: it takes the board lock by itself. */
static void access_once(const struct target *target)
{
    const struct cpu_bus *bus = &machine->cpu[0].bus;
    struct cpu *cpu = machine->cpu[0].cpu;
    struct span span = choose_span(target);
    uint64_t offset = (noise() >> 8) % span.size;
    bool write = one_in(3) == 0;

    if (one_in(2))
        offset &= ~(uint64_t)3;
    if (span.memory) {
        unsigned size = 1u << (noise() >> 30) % 4;
        if (write)
            bus->mem_write(bus->opaque, cpu, span.base + offset, value(), size);
        else
            bus->mem_read(bus->opaque, cpu, span.base + offset, size);
        return;
    }
    unsigned size = 1u << (noise() >> 30) % 3;
    uint16_t port = (uint16_t)(span.base + offset);
    if (write)
        bus->io_write(bus->opaque, cpu, port, (uint32_t)value(), size);
    else
        bus->io_read(bus->opaque, cpu, port, size);
}

/* Complete requests: noise alone seldom gets one together. */
static void ide_request(void)
{
    unsigned channel = (unsigned)(noise() >> 9) & 1;
    uint16_t base = channel ? 0x170 : 0x1f0;
    static const uint8_t commands[] = {0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39,
                                       0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xa0, 0xa1, 0xec,
                                       0xef, 0x40, 0x08, 0x90, 0xe0, 0xe7, 0xea, 0xf8};
    static const uint8_t packets[] = {0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0xa8, 0xbe, 0x42,
                                      0x43, 0x46, 0x4a, 0x51, 0x52, 0x5a, 0xad, 0xbd, 0x23};

    io_bus_write(machine->io, base + 6, one_in(2) ? 0xe0 : (uint32_t)value(), 1);
    for (uint16_t reg = 1; reg < 6; reg++)
        io_bus_write(machine->io, base + reg, one_in(2) ? 0 : (uint32_t)value(), 1);
    const struct pci_bar *dma = &pci_bus_device(machine->pci, PCI_DEVFN(1, 1))->bar[4];
    if (dma->range && one_in(2)) {
        uint16_t master = (uint16_t)(dma->mapped_base + 8 * channel);
        io_bus_write(machine->io, master + 4, (uint32_t)address(), 4);
        io_bus_write(machine->io, master, one_in(2) ? 9 : 1, 1);
    }
    uint8_t command = channel && one_in(2) ? 0xa0
                      : one_in(4)          ? (uint8_t)noise()
                                           : commands[(noise() >> 8) % sizeof commands];
    io_bus_write(machine->io, base + 7, command, 1);
    if (command != 0xa0)
        return;
    uint8_t packet[12];
    for (unsigned i = 0; i < sizeof packet; i++)
        packet[i] = one_in(2) ? 0 : (uint8_t)value();
    packet[0] = packets[(noise() >> 8) % sizeof packets];
    for (unsigned i = 0; i < sizeof packet; i += 2)
        io_bus_write(machine->io, base, packet[i] | (uint32_t)packet[i + 1] << 8, 2);
    for (unsigned i = (noise() >> 8) % 256; i > 0; i--) /* what it answers at once */
        (void)io_bus_read(machine->io, base, 2);
}

static void fw_cfg_request(void)
{
    uint64_t at = address();
    struct {
        uint32_t control, length;
        uint64_t address;
    } descriptor = {
        __builtin_bswap32((uint32_t)(noise() & 0x1f) | (uint32_t)(noise() & 0x3f) << 16),
        __builtin_bswap32((uint32_t)value()),
        __builtin_bswap64(address()),
    };

    memory_dma_write(machine->memory, at, &descriptor, sizeof descriptor);
    io_bus_write(machine->io, 0x514, __builtin_bswap32((uint32_t)(at >> 32)), 4);
    io_bus_write(machine->io, 0x518, __builtin_bswap32((uint32_t)at), 4);
}

/* Rings that start somewhere in noise, of any length, and tails that run. */
static void e1000_request(void)
{
    static const uint16_t rings[] = {0x2800, 0x3800};
    const struct pci_bar *bar = &pci_bus_device(machine->pci, PCI_DEVFN(3, 0))->bar[0];
    uint64_t ring = bar->mapped_base + rings[noise() >> 17 & 1];

    memory_mmio_write(machine->memory, bar->mapped_base + 0x100, one_in(8) ? value() : 0x8002, 4);
    memory_mmio_write(machine->memory, bar->mapped_base + 0x400, one_in(8) ? value() : 0x2, 4);
    memory_mmio_write(machine->memory, ring, address(), 4);
    memory_mmio_write(machine->memory, ring + 4, one_in(8) ? value() : 0, 4);
    memory_mmio_write(machine->memory, ring + 8, value(), 4);
    memory_mmio_write(machine->memory, ring + 0x10, value(), 4);
    memory_mmio_write(machine->memory, ring + 0x18, value(), 4);
}

/* A stream that runs, and a ring of commands. */
static void hda_request(void)
{
    uint64_t base = hda_device()->bar[0].mapped_base;
    uint64_t stream = base + 0x80 + 0x20 * ((noise() >> 9) % 8);
    const struct {
        uint64_t at, value;
    } writes[] = {
        {base + 0x08, 1},
        {base + 0x20, 0xc00000ff},
        {base + 0x40, address()},
        {base + 0x50, address()},
        {base + 0x5c, 3},
        {base + 0x4c, 2},
        {base + 0x48, value() & 0xff},
        {base + 0x70, address() | 1},
        {stream + 0x00, 0},
        {stream + 0x18, address()},
        {stream + 0x08, value()},
        {stream + 0x0c, one_in(8) ? value() : 3},
        {stream + 0x10, (one_in(4) ? value() : 0x4011) << 16},
        {stream + 0x00, 0x1c | (noise() & 0xf) << 20 | 2},
    };
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++)
        memory_mmio_write(machine->memory, writes[i].at, writes[i].value, 4);
}

/* A block by any of the DMA commands, at any rate. */
static void sb16_request(void)
{
    static const uint8_t commands[] = {0x14, 0x1c, 0x24, 0x2c, 0x80, 0xb0, 0xb6, 0xbe, 0xc0, 0xc6};
    const uint8_t bytes[] = {0x48,
                             (uint8_t)noise(),
                             0,
                             0x41,
                             (uint8_t)value(),
                             (uint8_t)value(),
                             commands[(noise() >> 7) % sizeof commands],
                             (uint8_t)value(),
                             (uint8_t)value(),
                             one_in(4) ? (uint8_t)value() : 0};
    for (unsigned channel = 0; channel < 4; channel++) {
        io_bus_write(machine->io, 0x0b, (uint32_t)(0x40 | (noise() & 0x3c) | channel), 1);
        io_bus_write(machine->io, 0xd6, (uint32_t)(0x40 | (noise() & 0x3c) | channel), 1);
    }
    io_bus_write(machine->io, 0x0f, 0, 1);
    io_bus_write(machine->io, 0xde, 0, 1);
    for (size_t i = 0; i < sizeof bytes; i++)
        io_bus_write(machine->io, 0x22c, bytes[i], 1);
}

/* A picture that may be shown: a linear mode of any size, or VGA registers with the screen on. */
static void vga_request(void)
{
    static const uint8_t depths[] = {4, 8, 15, 16, 24, 32};

    io_bus_write(machine->io, 0x1ce, 4, 2);
    io_bus_write(machine->io, 0x1cf, 0, 2);
    if (one_in(2)) {
        io_bus_write(machine->io, 0x3c2, 0x67, 1);
        (void)io_bus_read(machine->io, 0x3da, 1);
        io_bus_write(machine->io, 0x3c0, 0x20, 1);
        io_bus_write(machine->io, 0x3c4, one_in(2) ? 0x0101 : 0x0001, 2);
        io_bus_write(machine->io, 0x3ce, (noise() & 0x6f00) | 5, 2);
        io_bus_write(machine->io, 0x3ce, (noise() & 0x0f00) | 6, 2);
        io_bus_write(machine->io, 0x3d4, 0x0011, 2);
        io_bus_write(machine->io, 0x3d4, (noise() & 0x7f00) | 1, 2);
        io_bus_write(machine->io, 0x3d4, (noise() & 0xff00) | 9, 2);
        io_bus_write(machine->io, 0x3d4, (noise() & 0xff00) | 18, 2);
        return;
    }
    const uint16_t mode[] = {[1] = (uint16_t)(noise() >> 8) % 2561 & 0xfff8,
                             [2] = (uint16_t)(noise() >> 8) % 1601,
                             [3] = depths[(noise() >> 8) % sizeof depths],
                             [4] = (noise() & 0xa0) | 0x41,
                             [5] = (uint16_t)noise(),
                             [6] = one_in(2) ? (uint16_t)value() : 0,
                             [7] = 0,
                             [8] = one_in(2) ? (uint16_t)value() : 0,
                             [9] = one_in(2) ? (uint16_t)value() : 0};
    for (uint16_t reg = 1; reg < sizeof mode / sizeof mode[0]; reg++) {
        io_bus_write(machine->io, 0x1ce, reg, 2);
        io_bus_write(machine->io, 0x1cf, mode[reg], 2);
    }
}

/* A byte for keyboard or mouse, after the controller's own commands let both speak. */
static void i8042_request(void)
{
    io_bus_write(machine->io, 0x64, 0x60, 1);
    io_bus_write(machine->io, 0x60, one_in(4) ? (uint32_t)value() : 0x47, 1);
    io_bus_write(machine->io, 0x64, one_in(2) ? 0xd4 : 0xae, 1);
    io_bus_write(machine->io, 0x60, 0xe6 + (uint32_t)(noise() >> 8) % 26, 1);
}

/* A local APIC that takes part, and a timer that runs. */
static void apic_request(void)
{
    lapic_write(machine->cpu[0].lapic, 0xf0, 0x1ff, 4);
    lapic_write(machine->cpu[0].lapic, 0x320, value() & 0x7ffff, 4);
    lapic_write(machine->cpu[0].lapic, 0x380, value(), 4);
    lapic_accept(machine->cpu[0].lapic);
}

/* -- The outside -- */

static uint64_t sum; /* so that reading what comes out is not optimized away */

static void take_bytes(void *opaque, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sum += bytes[i];
}

static void feed_devices(void)
{
    uint8_t bytes[2048];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)noise();
    for (int i = 0; i < MACHINE_SERIALS; i++)
        machine->serial[i]->receive(machine->serial[i]->device, bytes, noise() & 31);
    if (machine->packet.can_receive(machine->packet.nic))
        machine->packet.receive(machine->packet.nic, bytes, noise() % 1600);
    machine->input.key(machine->input.keyboard, (uint16_t)noise() & 0x1ff, one_in(2));
    machine->input.pointer(machine->input.mouse, (int)noise(), (int)noise(), (int)noise() % 9,
                           (unsigned)noise());
}

static void look_at_picture(void)
{
    static char text[8192];
    struct frame frame;
    struct display_rows rows;

    if (machine->display.refresh(machine->display.adapter, &frame, &rows)) {
        ck_assert_int_ge(rows.first, 0);
        ck_assert_int_ge(rows.count, 0);
        ck_assert_int_le(rows.first + rows.count, frame.height);
        for (int y = rows.first; y < rows.first + rows.count; y += 1 + frame.height / 64)
            for (int x = 0; x < frame.width; x++)
                sum += frame.pixels[(size_t)y * (size_t)frame.stride + (size_t)x];
    }
    sum += machine->display.text(machine->display.adapter, text, sizeof text);
}

/* Time passes: timers fire, disk work completes. */
static void pass_time(void)
{
    struct clock *clock = machine_clock(machine);

    clock_set(clock, clock_now(clock) + (noise() >> 32) % (one_in(16) ? NS_PER_SECOND : 1000000));
    machine_turn(machine, 0);
}

/* -- The tests -- */

static void give_up(int signal)
{
    fprintf(stderr, "hostile: stuck in '%s' at step %llu, seed %llu\n", current,
            (unsigned long long)step, (unsigned long long)start_seed);
    _exit(1);
}

static void attack_once(const struct target *target)
{
    machine_lock(machine);
    if (one_in(512)) {
        device_list_reset(&machine->devices);
        if (target->bars_of)
            program_bars(target->bars_of);
    } else if (one_in(64)) {
        scribble();
        if (target->bars_of)
            program_bars(target->bars_of);
    }
    if (one_in(8)) {
        if (target->request)
            target->request();
    }
    machine_unlock(machine);
    access_once(target);
    machine_lock(machine);
    if (one_in(32))
        feed_devices();
    if (one_in(strcmp(target->name, "vga") == 0 ? 256 : 4096))
        look_at_picture();
    machine_unlock(machine);
    if (one_in(16))
        pass_time();
}

START_TEST(survives_noise)
{
    const struct target *target = &targets[_i];

    current = target->name;
    seed = (start_seed + (uint64_t)_i) * 0x9e3779b97f4a7c15ull | 1;
    parts.sound = strcmp(target->name, "sb16") == 0 ? MACHINE_SB16 : MACHINE_HDA;
    machine = board_new(&parts);
    machine->debug_console.send = take_bytes;
    machine->serial[0]->send = machine->serial[1]->send = take_bytes;
    machine->packet.send = take_bytes;
    machine->packet.link_up = true;
    if (target->bars_of)
        program_bars(target->bars_of);
    for (int i = 0; i < 64; i++)
        scribble();
    worst_ns = 0;
    for (step = 0; step < accesses; step++) {
        uint64_t began = cpu_ns();
        attack_once(target);
        uint64_t took = cpu_ns() - began;
        worst_ns = took > worst_ns ? took : worst_ns;
    }
    machine_free(machine);
    printf("%-10s %u accesses, the slowest %.1f ms\n", target->name, accesses,
           (double)worst_ns / 1e6);
    ck_assert_msg(worst_ns < ACCESS_LIMIT_NS, "one access took %.1f s", (double)worst_ns / 1e9);
}
END_TEST

static void setup(void)
{
    board_parts_load(&parts);
}

static void teardown(void)
{
    board_parts_free(&parts);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        accesses = (unsigned)strtoul(argv[1], NULL, 0);
    if (argc > 2)
        start_seed = strtoull(argv[2], NULL, 0);
    signal(SIGALRM, give_up);
    alarm(120 + accesses / 500);
    log_items = 0;

    Suite *suite = suite_create("hostile");
    TCase *cases = tcase_create("hostile");
    tcase_add_unchecked_fixture(cases, setup, teardown);
    tcase_add_loop_test(cases, survives_noise, 0, (int)TARGETS);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
