/*
 * Parts of the boards: HPET, flash memory, watchdogs, pvpanic, and the Q35 with a slot that takes a
 * card while the machine runs.
 */
#include "hw/chipset/hpet.h"
#include "hw/chipset/i6300esb.h"
#include "hw/chipset/ich9_lpc.h"
#include "hw/chipset/pflash.h"
#include "hw/chipset/pvpanic.h"
#include "hw/chipset/q35.h"
#include "hw/pcie_port.h"
#include "tests/hw/bench.h"

#define RAM_BYTES  (16u << 20)
#define BIOS_BYTES 65536
#define ECAM       0xb0000000u
#define PM_BASE    0x600
#define ROOT_PORT  PCI_DEVFN(28, 0)
#define LPC        PCI_DEVFN(31, 0)

static struct memory *memory;
static struct apic_bus *apics;
static struct pci_bus *pci;
static struct hpet *hpet;
static struct wire irq0, irq8, pins[PCI_PIRQS];
static unsigned resets, panics, a20_changes;
static bool a20;

static void undo(void)
{
    memory_free(memory);
}

static void count_reset(void *opaque)
{
    resets++;
}

static void count_panic(void *opaque, unsigned events)
{
    panics += events;
}

static void note_a20(void *opaque, bool open)
{
    a20 = open;
    a20_changes++;
}

static void setup(void)
{
    struct error error;
    bench_setup();
    bench_undo = undo;
    memory = memory_new(RAM_BYTES, &error);
    apics = apic_bus_new(&bench_devices, "apic-bus");
    pci = pci_bus_new(&bench_devices, bench_io, memory, NULL);
    irq0 = irq8 = (struct wire){0};
    memset(pins, 0, sizeof pins);
    resets = panics = a20_changes = 0;
    hpet = hpet_new(&bench_devices, memory, bench_clock, apics, wire_line(&irq0), wire_line(&irq8),
                    "hpet");
}

static uint64_t load(uint64_t gpa, unsigned size)
{
    return memory_mmio_read(memory, gpa, size);
}

static void store(uint64_t gpa, uint64_t value, unsigned size)
{
    memory_mmio_write(memory, gpa, value, size);
}

/* -- HPET -- */

#define H(reg) (HPET_BASE + (reg))

START_TEST(hpet_counts_at_100_mhz)
{
    ck_assert_uint_eq(load(H(0), 8), UINT64_C(10000000) << 32 | HPET_ID);
    bench_run(MS);
    ck_assert_uint_eq(load(H(0xf0), 8), 0);
    store(H(0x10), 1, 4);
    bench_run(MS);
    ck_assert_uint_eq(load(H(0xf0), 8), 100000);
    ck_assert_uint_eq(load(H(0xf4), 4), 0);
    store(H(0x10), 0, 4);
    bench_run(MS);
    ck_assert_uint_eq(load(H(0xf0), 4), 100000);
    store(H(0xf0), UINT64_C(0x100000000), 8);
    ck_assert_uint_eq(load(H(0xf4), 4), 1);
}
END_TEST

START_TEST(hpet_one_shot_and_legacy_lines)
{
    irq_set(hpet_legacy_line(hpet, 0), true);
    ck_assert(irq0.level);
    store(H(0x10), 3, 4); /* legacy replacement: the timer's own interrupt is cut off */
    ck_assert(!irq0.level);
    store(H(0x100), 0x4, 4);
    store(H(0x108), 5000, 8);
    bench_run(49 * US);
    ck_assert_uint_eq(irq0.rises, 1);
    bench_run(2 * US);
    ck_assert_uint_eq(irq0.rises, 2);
    bench_run(MS);
    ck_assert_uint_eq(irq0.rises, 2);
    store(H(0x10), 1, 4);
    store(H(0x100), 0, 4);
    ck_assert(irq0.level); /* the legacy timer is back */
}
END_TEST

START_TEST(hpet_periodic_and_level)
{
    store(H(0x10), 3, 4);
    store(H(0x120), 0x4c, 4); /* enabled, periodic, the next write is the first value */
    store(H(0x128), 100000, 8);
    store(H(0x128), 50000, 8);
    bench_run(1010 * US);
    ck_assert_uint_eq(irq8.rises, 1);
    bench_run(2000 * US);
    ck_assert_uint_eq(irq8.rises, 5);
    bench_jump(5000 * US); /* late: periods are merged */
    ck_assert_uint_eq(irq8.rises, 6);
    /* Timer 2, level, to pin 2 without legacy replacement. */
    store(H(0x120), 0, 4);
    store(H(0x10), 1, 4);
    store(H(0x140), 0x6 | 2 << 9, 4);
    unsigned before = irq0.rises;
    store(H(0x148), load(H(0xf0), 8) + 1000, 8);
    bench_run(11 * US);
    ck_assert_uint_eq(irq0.rises, before + 1);
    ck_assert_uint_eq(load(H(0x20), 4), 4);
    store(H(0x20), 4, 4);
    ck_assert(!irq0.level);
}
END_TEST

START_TEST(hpet_takes_noise)
{
    uint32_t seed = 7;
    for (int i = 0; i < 50000; i++) {
        uint32_t noise = bench_random(&seed);
        unsigned size = 1u << (noise & 3), at = noise >> 8 & 0x3f8;
        if (noise & 4)
            load(H(at), size);
        else
            store(H(at), (uint64_t)bench_random(&seed) << (noise >> 3 & 31), size);
        if ((noise & 0xf0) == 0)
            bench_jump(noise >> 12 & 0xffff);
    }
}
END_TEST

/* -- Flash -- */

START_TEST(flash_programs_and_erases)
{
    enum { SIZE = 4 * PFLASH_BLOCK };
    uint8_t *host = memory_alloc_host(SIZE);
    uint64_t base = 0xff000000;

    memset(host, 0xff, SIZE);
    pflash_new(&bench_devices, memory, base, host, SIZE, "flash");
    /* As firmware tells it from RAM and ROM. */
    store(base, 0x50, 1);
    ck_assert_uint_eq(load(base, 1), 0xff);
    store(base, 0x70, 1);
    ck_assert_uint_eq(load(base, 1), 0);
    store(base, 0xff, 1);
    store(base + 5, 0x10, 1);
    store(base + 5, 0x5a, 1);
    ck_assert_uint_eq(load(base, 1), 0x80);
    store(base + 5, 0x40, 1);
    store(base + 5, 0xf0, 1);
    store(base, 0xff, 1);
    ck_assert_uint_eq(load(base + 5, 1), 0x50); /* bits only become 0 */
    ck_assert_uint_eq(host[5], 0x50);
    store(base + PFLASH_BLOCK, 0x20, 1);
    store(base + PFLASH_BLOCK, 0xd0, 1);
    ck_assert_uint_eq(host[5], 0x50);
    store(base + 9, 0x20, 1);
    store(base + 9, 0x00, 1); /* not confirmed */
    ck_assert_uint_eq(load(base, 1) & 0x30, 0x30);
    store(base + 9, 0x20, 1);
    store(base + 9, 0xd0, 1);
    ck_assert_uint_eq(host[5], 0xff);
    store(base, 0x98, 1);
    ck_assert_uint_eq(load(base + 0x10, 1), 'Q');
    ck_assert_uint_eq(load(base + 0x27, 1), 14);
    ck_assert_uint_eq(load(base + 0x2d, 1), 3); /* blocks - 1 */
    uint32_t seed = 3;
    for (int i = 0; i < 20000; i++)
        store(base + bench_random(&seed) % (SIZE - 8), bench_random(&seed), 1u << (i & 3));
    device_list_destroy(&bench_devices);
    memory_free_host(host, SIZE);
}
END_TEST

/* -- Watchdogs and pvpanic -- */

#define WATCHDOG 0xfe000000u

static void unlock(void)
{
    store(WATCHDOG + 0xc, 0x80, 1);
    store(WATCHDOG + 0xc, 0x86, 1);
}

START_TEST(i6300esb_two_stages)
{
    i6300esb_new(&bench_devices, pci, PCI_DEVFN(5, 0), bench_clock, count_reset, NULL);
    pci_config_write(pci, PCI_DEVFN(5, 0), PCI_BAR0, WATCHDOG, 4);
    pci_config_write(pci, PCI_DEVFN(5, 0), PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    pci_config_write(pci, PCI_DEVFN(5, 0), 0x60, 3, 2); /* no interrupt after the first stage */
    store(WATCHDOG, 1000, 4);                           /* locked: no effect */
    for (unsigned stage = 0; stage < 2; stage++) {
        unlock();
        store(WATCHDOG + 4 * stage, 1000, 4);
    }
    pci_config_write(pci, PCI_DEVFN(5, 0), 0x68, 2, 1);
    for (int i = 0; i < 5; i++) {
        bench_run(1500 * MS);
        unlock();
        store(WATCHDOG + 0xc, 0x100, 2); /* reload */
    }
    ck_assert_uint_eq(resets, 0);
    bench_run(1900 * MS);
    ck_assert_uint_eq(resets, 0);
    bench_run(200 * MS);
    ck_assert_uint_eq(resets, 1);
    ck_assert_uint_eq(load(WATCHDOG + 0xc, 2), 0x200);
}
END_TEST

START_TEST(pvpanic_tells)
{
    pvpanic_new(&bench_devices, bench_io, count_panic, NULL);
    ck_assert_uint_eq(inb(0x505), 3);
    outb(0x505, 1);
    outb(0x505, 0x80);
    ck_assert_uint_eq(panics, 1);
}
END_TEST

/* -- Q35 -- */

static struct pci_device card;

static void card_destroy(struct device *device)
{
}

static void card_reset(struct device *device)
{
    pci_device_reset((struct pci_device *)device);
}

static const struct device_ops card_ops = {
    .name = "card", .version = 1, .reset = card_reset, .destroy = card_destroy};
static struct device_ops card_with_fields;

static uint64_t card_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0x12345678;
}
static const struct access_ops card_registers = {card_read, NULL, 1, 4};

static struct pcie_port *port;

static void add_q35(void)
{
    static uint8_t bios[BIOS_BYTES];
    static const struct board_requests requests = {.reset = count_reset, .a20 = note_a20};
    static const struct pci_identity identity = {
        .vendor = 0x1234, .device = 0x5678, .interrupt_pin = 1};
    struct irq_line isa[ISA_IRQS] = {0}, pirq[PCI_PIRQS];
    struct error error;

    for (int i = 0; i < PCI_PIRQS; i++)
        pirq[i] = wire_line(&pins[i]);
    ck_assert_ptr_nonnull(q35_new(&bench_devices, pci, memory, bios, sizeof bios, &error));
    ich9_lpc_new(&bench_devices, pci, bench_io, memory, bench_clock, isa, pirq, &requests);
    port = pcie_port_new(&bench_devices, pci, ROOT_PORT, 1, "slot1");
    card = (struct pci_device){0};
    card_with_fields = card_ops;
    card_with_fields.fields = pci_device_fields;
    device_add(&bench_devices, &card.device, &card_with_fields, "card");
    pci_device_init(&card, pcie_port_bus(port), 0, &identity);
    pci_add_mmio_bar(&card, 0, 4096, &card_registers, NULL);
    pci_config_write(pci, PCI_DEVFN(0, 0), 0x60, ECAM | 1, 4);
    pci_config_write(pci, LPC, 0x40, PM_BASE | 1, 4);
    pci_config_write(pci, LPC, 0x44, 0x80, 1);
}

static void set_up_bridge(void)
{
    store(ECAM + (ROOT_PORT << 12) + 0x18, 0x010100, 4); /* buses 0, 1, 1 */
    store(ECAM + (ROOT_PORT << 12) + 0x20, 0xfe10fe10, 4);
    store(ECAM + (ROOT_PORT << 12) + 4, 6, 2);
}

static void set_up_card(void)
{
    store(ECAM + 0x100000 + 0x10, 0xfe100000, 4);
    store(ECAM + 0x100000 + 4, 6, 2);
}

START_TEST(slot_takes_and_gives_a_card)
{
    uint64_t slot = ECAM + (ROOT_PORT << 12) + 0x58; /* control, then status */

    add_q35();
    ck_assert_uint_eq(load(ECAM, 4), 0x29c08086);
    ck_assert_uint_eq(load(ECAM + 0x100, 4), 0); /* extended space without capabilities */
    set_up_bridge();
    ck_assert_uint_eq(load(ECAM + 0x100000, 4), 0xffffffff);
    store(slot, 0x1029, 2); /* interrupts by button, presence and link */
    pcie_port_insert(port);
    ck_assert_uint_eq(load(slot + 2, 2), 0x0149);
    ck_assert(pins[0].level); /* device 28, INTA */
    store(slot + 2, 0x109, 2);
    ck_assert(!pins[0].level);
    ck_assert_uint_eq(load(ECAM + 0x100000, 4), 0x56781234);
    set_up_card();
    ck_assert_uint_eq(load(0xfe100000, 4), 0x12345678);
    pci_set_irq(&card, true); /* INTA behind the port turns to the port's pins */
    ck_assert(pins[0].level);
    /* The window moves away: the card is out of reach. */
    store(ECAM + (ROOT_PORT << 12) + 0x20, 0xfe20fe20, 4);
    ck_assert_uint_eq(load(0xfe100000, 4), 0xffffffff);
    set_up_bridge();
    ck_assert_uint_eq(load(0xfe100000, 4), 0x12345678);
    /* Removal: the button, then the guest switches the slot off. */
    ck_assert(pcie_port_request_removal(port, count_reset, NULL));
    ck_assert_uint_eq(load(slot + 2, 2), 0x0041);
    ck_assert_uint_eq(resets, 0);
    store(slot, 0x1429, 2);
    ck_assert_uint_eq(resets, 1);
    ck_assert(!pcie_port_occupied(port));
    ck_assert_uint_eq(load(ECAM + 0x100000, 4), 0xffffffff);
    ck_assert_uint_eq(load(0xfe100000, 4), 0xffffffff);
    ck_assert(!pcie_port_request_removal(port, count_reset, NULL));
}
END_TEST

START_TEST(tco_resets_at_the_second_end)
{
    add_q35();
    io_bus_write(bench_io, PM_BASE + 0x72, 5, 2);
    io_bus_write(bench_io, PM_BASE + 0x68, 0, 2); /* not halted */
    io_bus_write(bench_io, PM_BASE + 0x60, 1, 2);
    bench_run(2900 * MS);
    io_bus_write(bench_io, PM_BASE + 0x60, 1, 2);
    bench_run(3100 * MS);
    ck_assert_uint_eq(io_bus_read(bench_io, PM_BASE + 0x64, 2) & 8, 8);
    ck_assert_uint_eq(resets, 0);
    bench_run(3000 * MS);
    ck_assert_uint_eq(resets, 1);
}
END_TEST

START_TEST(reset_and_a20_ports)
{
    add_q35();
    outb(0xcf9, 2);
    ck_assert_uint_eq(resets, 0);
    outb(0xcf9, 6);
    outb(0xcf9, 6); /* no edge */
    ck_assert_uint_eq(resets, 1);
    outb(0x92, 3);
    ck_assert_uint_eq(resets, 2);
    outb(0x92, 0);
    ck_assert(!a20);
    outb(0x92, 2);
    ck_assert(a20);
}
END_TEST

START_TEST(q35_takes_noise)
{
    uint32_t seed = 11;
    add_q35();
    pcie_port_populate(port);
    for (int i = 0; i < 20000; i++) {
        uint32_t noise = bench_random(&seed);
        static const uint8_t devices[] = {0, ROOT_PORT, LPC, ROOT_PORT};
        unsigned size = 1u << noise % 3;
        pci_config_write(pci, devices[noise >> 4 & 3], (noise >> 8 & 0xff) & ~(size - 1),
                         bench_random(&seed), size);
        io_bus_write(bench_io, (uint16_t)(PM_BASE + (noise >> 16 & 0x7f)), bench_random(&seed),
                     size);
        load(ECAM + (bench_random(&seed) & 0x1ffffff), 4);
    }
}
END_TEST

int main(void)
{
    log_items = 0;
    const TTest *const tests[] = {
        hpet_counts_at_100_mhz,
        hpet_one_shot_and_legacy_lines,
        hpet_periodic_and_level,
        hpet_takes_noise,
        flash_programs_and_erases,
        i6300esb_two_stages,
        pvpanic_tells,
        slot_takes_and_gives_a_card,
        tco_resets_at_the_second_end,
        reset_and_a20_ports,
        q35_takes_noise,
    };
    return bench_main("platform", setup, tests, sizeof tests / sizeof tests[0]);
}
