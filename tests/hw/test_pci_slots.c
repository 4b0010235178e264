/*
 * Hot-plug slots of the PC board: the registers that the DSDT's methods use, and what the guest
 * sees of a card meanwhile.
 */
#include "hw/chipset/pci_slots.h"
#include "hw/network/rtl8139.h"
#include "tests/hw/pci_bench.h"

#define SLOT  2
#define DEVFN PCI_DEVFN(PCI_SLOTS_FIRST + SLOT, 0)
#define MMIO  0xf0000000u
#define GPE   0x02 /* number 1 */

enum { INSERTED = PCI_SLOTS_PORT, WANTED = PCI_SLOTS_PORT + 4, EJECT = PCI_SLOTS_PORT + 8 };

static struct pci_bench bench;
static struct acpi_pm pm;
static struct pci_slots *slots;
static struct packet_port wire;
static unsigned removals;

static void setup(void)
{
    static const struct board_requests requests;
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    pci_bench_build(&bench);
    memset(&pm, 0, sizeof pm);
    acpi_pm_init(&pm, "test", bench.io, bench.clock, (struct irq_line){0}, &requests,
                 (struct acpi_sleep_types){1, 0});
    slots = pci_slots_new(&bench.devices, bench.io, bench.pci, &pm);
    rtl8139_new(&bench.devices, bench.pci, DEVFN, bench.clock, mac, &wire, true, "card");
    removals = 0;
}

static void teardown(void)
{
    acpi_pm_destroy(&pm);
    pci_bench_free(&bench);
}

static void count_removal(void *opaque)
{
    removals++;
}

/* Takes the event, as the guest's interpreter does before it runs the method. */
static bool event(void)
{
    bool raised = pm.gpe_status & GPE;
    acpi_pm_gpe_write(&pm, 0, 4, GPE);
    return raised;
}

static void show_registers(void)
{
    pci_config_write(bench.pci, DEVFN, PCI_BAR0 + 4, MMIO, 4);
    pci_config_write(bench.pci, DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static bool visible(void)
{
    return pci_config_read(bench.pci, DEVFN, 0, 4) == 0x813910ec;
}

START_TEST(a_card_comes_and_goes)
{
    pci_slots_insert(slots, SLOT);
    ck_assert(event() && visible());
    ck_assert_uint_eq(io_bus_read(bench.io, INSERTED, 4), 1u << SLOT);
    ck_assert_uint_eq(io_bus_read(bench.io, INSERTED, 4), 0);
    show_registers();
    ck_assert_uint_eq(memory_mmio_read(bench.memory, MMIO, 1), 2);

    ck_assert(pci_slots_request_removal(slots, SLOT, count_removal, NULL));
    ck_assert(event() && visible());
    ck_assert_uint_eq(io_bus_read(bench.io, WANTED, 4), 1u << SLOT);
    ck_assert_uint_eq(io_bus_read(bench.io, WANTED, 4), 0);
    pci_set_irq(pci_bus_device(bench.pci, DEVFN), true);
    ck_assert(bench.irq);
    io_bus_write(bench.io, EJECT, 1u << SLOT, 4);
    ck_assert_uint_eq(removals, 1);
    ck_assert(!visible() && !bench.irq && !event());
    ck_assert_uint_eq(pci_config_read(bench.pci, DEVFN, 0, 4), UINT32_MAX);
    ck_assert_uint_ne(memory_mmio_read(bench.memory, MMIO, 1), 2);
    show_registers(); /* nobody is there */
    ck_assert_uint_ne(memory_mmio_read(bench.memory, MMIO, 1), 2);
    ck_assert(!pci_slots_request_removal(slots, SLOT, count_removal, NULL));

    pci_slots_insert(slots, SLOT); /* again, reset */
    ck_assert(event() && visible());
    ck_assert_uint_eq(pci_config_read(bench.pci, DEVFN, PCI_COMMAND, 2), 0);
    io_bus_write(bench.io, EJECT, UINT32_MAX, 4); /* given back without being asked for */
    ck_assert(!visible());
    ck_assert_uint_eq(removals, 1);
    ck_assert(!pci_slots_request_removal(slots, 0, count_removal, NULL)); /* never had one */
}
END_TEST

START_TEST(an_empty_slot_is_saved)
{
    struct state_buffer saved = {0};
    struct error error = {""};
    pci_slots_insert(slots, SLOT);
    io_bus_write(bench.io, EJECT, 1u << SLOT, 4);
    ck_assert(!visible());
    state_save_devices(&saved, &bench.devices);
    pci_slots_insert(slots, SLOT);
    ck_assert(visible());
    ck_assert_msg(state_load_devices(saved.bytes, saved.length, &bench.devices, &error), "%s",
                  error.text);
    ck_assert(!visible());
    state_buffer_free(&saved);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {a_card_comes_and_goes, an_empty_slot_is_saved};
    return suite_main("pci_slots", setup, teardown, tests, sizeof tests / sizeof *tests);
}
