/*
 * The chipset: 82441FX shadowing, PIIX3 interrupt routing and reset, PIIX4 power management.
 */
#include "hw/chipset/i440fx.h"
#include "hw/chipset/piix3.h"
#include "hw/chipset/piix4_pm.h"
#include "hw/state.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define BIOS_BYTES (256u << 10)
#define HOST       PCI_DEVFN(0, 0)
#define ISA        PCI_DEVFN(1, 0)
#define PM         PCI_DEVFN(1, 3)
#define PM_BASE    0xb000
#define SMB_BASE   0xb100

struct board {
    struct device_list list;
    struct io_bus *io;
    struct memory *memory;
    struct clock *clock;
    struct pci_bus *pci;
    struct i440fx *host;
    struct piix3 *piix3;
    struct piix4_pm *pm;
    bool irq[ISA_IRQS];
    unsigned resets, power_offs;
};

static struct board *board;
static uint8_t *bios;

static void set_irq(void *opaque, int number, bool level)
{
    ((struct board *)opaque)->irq[number] = level;
}

static void on_reset(void *opaque)
{
    ((struct board *)opaque)->resets++;
}

static void on_power_off(void *opaque)
{
    ((struct board *)opaque)->power_offs++;
}

static struct board *new_board(void)
{
    struct board *made = calloc(1, sizeof *made);
    struct board_requests requests = {
        .reset = on_reset, .power_off = on_power_off, .opaque = made};
    struct irq_line isa[ISA_IRQS];
    struct error error = {""};

    device_list_init(&made->list);
    made->io = io_bus_new();
    made->memory = memory_new(16u << 20, &error);
    made->clock = clock_new();
    for (int i = 0; i < ISA_IRQS; i++)
        isa[i] = (struct irq_line){set_irq, made, i};
    made->pci = pci_bus_new(&made->list, made->io, made->memory, NULL);
    made->host = i440fx_new(&made->list, made->pci, made->memory, bios, BIOS_BYTES, &error);
    ck_assert_msg(made->host != NULL, "%s", error.text);
    made->piix3 = piix3_new(&made->list, made->pci, made->io, isa, &requests);
    made->pm = piix4_pm_new(&made->list, made->pci, made->io, made->clock,
                            isa_bridge_line(piix3_isa(made->piix3), 9), &requests);
    device_list_reset(&made->list);
    return made;
}

static void free_board(struct board *made)
{
    device_list_destroy(&made->list);
    memory_free(made->memory);
    io_bus_free(made->io);
    clock_free(made->clock);
    free(made);
}

static void setup(void)
{
    bios = malloc(BIOS_BYTES);
    for (size_t i = 0; i < BIOS_BYTES; i++)
        bios[i] = (uint8_t)(i >> 12 | 0x80);
    board = new_board();
}

static void teardown(void)
{
    free_board(board);
    free(bios);
}

static uint32_t in(uint16_t port, unsigned size)
{
    return io_bus_read(board->io, port, size);
}

static void out(uint16_t port, uint32_t value, unsigned size)
{
    io_bus_write(board->io, port, value, size);
}

static uint32_t config_in(uint8_t devfn, uint8_t offset, unsigned size)
{
    return pci_config_read(board->pci, devfn, offset, size);
}

static void config_out(uint8_t devfn, uint8_t offset, uint32_t value, unsigned size)
{
    pci_config_write(board->pci, devfn, offset, value, size);
}

/* What firmware does to the power management function. */
static void set_up_pm(void)
{
    config_out(PM, 0x40, PM_BASE | 1, 4);
    config_out(PM, 0x80, 1, 1);
    config_out(PM, 0x90, SMB_BASE | 1, 4);
    config_out(PM, 0xd2, 9, 1);
}

/* -- 82441FX -- */

START_TEST(identities)
{
    ck_assert_uint_eq(config_in(HOST, 0, 4), 0x12378086);
    ck_assert_uint_eq(config_in(HOST, 0x2c, 4), 0x11001af4);
    ck_assert_uint_eq(config_in(HOST, 0x0a, 2), 0x0600);
    ck_assert_uint_eq(config_in(ISA, 0, 4), 0x70008086);
    ck_assert_uint_eq(config_in(ISA, 0x0e, 1), 0x80);
    ck_assert_uint_eq(config_in(PM, 0, 4), 0x71138086);
    ck_assert_uint_eq(config_in(HOST, PCI_COMMAND, 2), 6);
    config_out(HOST, PCI_COMMAND, 0, 2);
    ck_assert_uint_eq(config_in(HOST, PCI_COMMAND, 2), 6);
}
END_TEST

START_TEST(firmware_is_where_it_belongs)
{
    struct memory *memory = board->memory;

    ck_assert_uint_eq(memory_find_page(memory, 0xfffff000).host[0], 0x80 | 63);
    ck_assert_uint_eq(memory_find_page(memory, 0xfffc0000).host[0], 0x80);
    ck_assert_uint_eq(memory_find_page(memory, 0xff000).host[0], 0x80 | 63);
    ck_assert_uint_eq(memory_find_page(memory, 0xe0000).host[0], 0x80 | 32);
    ck_assert(!memory_find_page(memory, 0xff000).writable);
    memory_mmio_write(memory, 0xff000, 0x12, 1);
    ck_assert_uint_eq(memory_mmio_read(memory, 0xff000, 1), 0x80 | 63);
    /* Between: nothing, and RAM stays hidden. */
    ck_assert_uint_eq(memory_mmio_read(memory, 0xc8000, 4), 0xffffffff);
    ck_assert_ptr_nonnull(memory_find_page(memory, 0x9f000).host);
}
END_TEST

START_TEST(pam_modes)
{
    struct memory *memory = board->memory;
    uint8_t *ram = memory_ram_host(memory);

    /* 10: reads from ROM, writes to RAM, and the other way round. */
    config_out(HOST, 0x59, 0x20, 1);
    memory_mmio_write(memory, 0xf0123, 0x5a, 1);
    ck_assert_uint_eq(memory_mmio_read(memory, 0xf0123, 1), 0x80 | 48);
    ck_assert_uint_eq(ram[0xf0123], 0x5a);
    config_out(HOST, 0x59, 0x10, 1);
    ck_assert_ptr_eq(memory_find_page(memory, 0xf0000).host, ram + 0xf0000);
    ck_assert(!memory_find_page(memory, 0xf0000).writable);
    memory_mmio_write(memory, 0xf0123, 0x77, 1);
    ck_assert_uint_eq(ram[0xf0123], 0x5a);
    config_out(HOST, 0x59, 0x30, 1);
    ck_assert(memory_find_page(memory, 0xf0000).writable);

    /* Low nibble: the lower 16 KiB. */
    config_out(HOST, 0x5a, 0x03, 1);
    ck_assert_ptr_eq(memory_find_page(memory, 0xc3000).host, ram + 0xc3000);
    ck_assert_ptr_null(memory_find_page(memory, 0xc4000).host);
    config_out(HOST, 0x5f, 0x33, 1);
    ck_assert(memory_find_page(memory, 0xec000).writable);
    ck_assert(!memory_find_page(memory, 0xe4000).writable);
    config_out(HOST, 0x5c, 0x22, 1);
    memory_mmio_write(memory, 0xd0000, 0xaabbccdd, 4);
    ck_assert_uint_eq(ram[0xd0000], 0xdd);
    ck_assert_uint_eq(memory_mmio_read(memory, 0xd0000, 4), 0xffffffff);
    config_out(HOST, 0x5a, 0xffffffff, 4);
    ck_assert_uint_eq(config_in(HOST, 0x5a, 4), 0x33333333);
    device_list_reset(&board->list);
    ck_assert_ptr_eq(memory_find_page(memory, 0xf0000).host[0] == (0x80 | 48) ? ram : NULL, ram);
    ck_assert_ptr_null(memory_find_page(memory, 0xc3000).host);
}
END_TEST

START_TEST(smram_lock_holds_until_reset)
{
    ck_assert_uint_eq(config_in(HOST, 0x72, 1), 0x02);
    config_out(HOST, 0x72, 0x4a, 1);
    ck_assert_uint_eq(config_in(HOST, 0x72, 1), 0x4a);
    config_out(HOST, 0x72, 0x5a, 1);
    ck_assert_uint_eq(config_in(HOST, 0x72, 1), 0x1a);
    config_out(HOST, 0x72, 0x4a, 1);
    ck_assert_uint_eq(config_in(HOST, 0x72, 1), 0x1a);
    device_list_reset(&board->list);
    config_out(HOST, 0x72, 0x4a, 1);
    ck_assert_uint_eq(config_in(HOST, 0x72, 1), 0x4a);
}
END_TEST

START_TEST(impossible_firmware_is_refused)
{
    struct error error = {""};

    ck_assert_ptr_null(i440fx_new(&board->list, board->pci, board->memory, bios, 1000, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "1000 bytes"));
    ck_assert_ptr_null(i440fx_new(&board->list, board->pci, board->memory, bios, 0, &error));
}
END_TEST

/* -- PIIX3 -- */

struct probe {
    struct pci_device pci;
};

START_TEST(pirqs_follow_their_routes)
{
    static const struct pci_identity identity = {.vendor = 1, .device = 2, .interrupt_pin = 1};
    static const struct field no_fields[] = {FIELD_END};
    static const struct device_ops ops = {.name = "probe", .fields = no_fields};
    struct probe probe = {0};

    device_add(&board->list, &probe.pci.device, &ops, "probe");
    pci_device_init(&probe.pci, board->pci, PCI_DEVFN(3, 0), &identity); /* PIRQC */
    pci_set_irq(&probe.pci, true);
    for (int i = 0; i < ISA_IRQS; i++)
        ck_assert(!board->irq[i]);
    config_out(ISA, 0x60, 0x0b0b0a0a, 4);
    ck_assert(board->irq[11] && !board->irq[10]);
    config_out(ISA, 0x62, 0x05, 1);
    ck_assert(board->irq[5] && !board->irq[11]);
    /* Timer and reserved interrupts cannot be routed to. */
    config_out(ISA, 0x62, 0x00, 1);
    ck_assert(!board->irq[5] && !board->irq[0]);
    config_out(ISA, 0x62, 0x0d, 1);
    ck_assert(!board->irq[13]);
    /* Shared with an ISA device. */
    config_out(ISA, 0x62, 0x09, 1);
    irq_set(isa_bridge_line(piix3_isa(board->piix3), 9), true);
    pci_set_irq(&probe.pci, false);
    ck_assert(board->irq[9]);
    irq_set(isa_bridge_line(piix3_isa(board->piix3), 9), false);
    ck_assert(!board->irq[9]);
    pci_set_irq(&probe.pci, true);
    config_out(ISA, 0x62, 0x89, 1);
    ck_assert(!board->irq[9]);
}
END_TEST

START_TEST(resets_are_edges)
{
    out(0xcf9, 0x02, 1);
    ck_assert_uint_eq(board->resets, 0);
    ck_assert_uint_eq(in(0xcf9, 1), 0x02);
    out(0xcf9, 0x06, 1);
    out(0xcf9, 0x06, 1);
    ck_assert_uint_eq(board->resets, 1);
    /* The dword at 0xCF8 is still the PCI address register. */
    out(0xcf8, 0x80000600, 4);
    ck_assert_uint_eq(board->resets, 1);
    ck_assert_uint_eq(in(0xcf8, 4), 0x80000600);
    ck_assert_uint_eq(in(0x92, 1), 0x02);
    out(0x92, 0x00, 1);
    ck_assert_uint_eq(in(0x92, 1), 0x00);
    out(0x92, 0x03, 1);
    ck_assert_uint_eq(board->resets, 2);
}
END_TEST

/* -- PIIX4 power management -- */

START_TEST(blocks_appear_where_firmware_puts_them)
{
    ck_assert_uint_eq(config_in(PM, 0x5b, 1) & 2, 2); /* SMI setup looks done */
    ck_assert_uint_eq(config_in(PM, 0x40, 4), 1);
    config_out(PM, 0x40, PM_BASE | 1, 4);
    ck_assert_uint_eq(in(PM_BASE + 4, 2), 0xffff);
    config_out(PM, 0x80, 1, 1);
    ck_assert_uint_eq(in(PM_BASE + 4, 2), 0);
    config_out(PM, 0x40, 0x601, 4);
    ck_assert_uint_eq(in(PM_BASE + 4, 2), 0xffff);
    ck_assert_uint_eq(in(0x604, 2), 0);
    config_out(PM, 0x80, 0, 1);
    ck_assert_uint_eq(in(0x604, 2), 0xffff);
    config_out(PM, 0x80, 1, 1);
    config_out(PM, 0x40, 0xffffffff, 4);
    ck_assert_uint_eq(config_in(PM, 0x40, 4), 0xffc1);
    ck_assert_uint_eq(in(0xffc4, 2), 0);
}
END_TEST

START_TEST(timer_counts_and_overflows)
{
    set_up_pm();
    out(0xb2, 0xf1, 1);
    ck_assert_uint_eq(in(PM_BASE + 4, 2), 1);
    clock_set(board->clock, NS_PER_SECOND);
    ck_assert_uint_eq(in(PM_BASE + 8, 4), 3579545);
    ck_assert_uint_eq(in(PM_BASE + 8, 2), 3579545 & 0xffff);
    ck_assert_uint_eq(in(PM_BASE + 10, 1), 3579545 >> 16 & 0xff);
    ck_assert_uint_eq(in(PM_BASE, 2), 0);

    out(PM_BASE + 2, 1, 2); /* TMROF_EN */
    ck_assert(!board->irq[9]);
    uint64_t due = clock_next_deadline(board->clock);
    ck_assert_uint_eq(clock_scale(due, 3579545, NS_PER_SECOND), 1u << 23);
    clock_set(board->clock, due);
    clock_fire_due(board->clock);
    ck_assert(board->irq[9]);
    ck_assert_uint_eq(in(PM_BASE, 2), 1);
    ck_assert_uint_eq(clock_next_deadline(board->clock), TIMER_NEVER);
    out(PM_BASE, 1, 2);
    ck_assert(!board->irq[9]);
    ck_assert_uint_eq(in(PM_BASE, 2), 0);
    /* Next when the bit falls; without the enable bit it is still seen in the status. */
    ck_assert_uint_eq(clock_scale(clock_next_deadline(board->clock), 3579545, NS_PER_SECOND),
                      1u << 24);
    out(PM_BASE + 2, 0, 2);
    ck_assert_uint_eq(clock_next_deadline(board->clock), TIMER_NEVER);
    clock_set(board->clock, 5 * NS_PER_SECOND);
    ck_assert_uint_eq(in(PM_BASE, 2), 1);
    ck_assert_uint_eq(in(PM_BASE + 8, 4), 5 * 3579545 & 0xffffff);
}
END_TEST

START_TEST(power_button_and_power_off)
{
    set_up_pm();
    ck_assert(!acpi_pm_power_button(piix4_pm_acpi(board->pm)));
    out(PM_BASE, 0x100, 2);
    out(0xb2, 0xf1, 1);
    out(PM_BASE + 2, 0x100, 2);
    ck_assert(acpi_pm_power_button(piix4_pm_acpi(board->pm)));
    ck_assert(board->irq[9]);
    ck_assert_uint_eq(in(PM_BASE, 2), 0x100);
    out(0xb2, 0xf0, 1);
    ck_assert(!board->irq[9]);
    out(0xb2, 0xf1, 1);
    ck_assert(board->irq[9]);
    out(PM_BASE + 1, 0x01, 1);
    ck_assert(!board->irq[9]);

    out(PM_BASE + 4, 0x0001 | 1 << 10, 2);
    ck_assert_uint_eq(board->power_offs, 0);
    out(PM_BASE + 4, 0x2001 | 1 << 10, 2); /* S3: woken at once */
    ck_assert_uint_eq(board->power_offs, 0);
    ck_assert_uint_eq(in(PM_BASE, 2), 0x8000);
    out(PM_BASE + 4, 0x2001, 2);
    ck_assert_uint_eq(board->power_offs, 1);
    ck_assert_uint_eq(in(PM_BASE + 4, 2), 1); /* SLP_EN reads as 0 */
}
END_TEST

START_TEST(smbus_finds_no_device)
{
    set_up_pm();
    ck_assert_uint_eq(in(SMB_BASE, 1), 0);
    out(SMB_BASE + 4, 0xa1, 1);
    out(SMB_BASE + 2, 0x48, 1);
    ck_assert_uint_eq(in(SMB_BASE, 1), 0x04);
    ck_assert_uint_eq(in(SMB_BASE + 2, 1), 0x08);
    ck_assert_uint_eq(in(SMB_BASE + 4, 1), 0xa1);
    ck_assert(!board->irq[9]);
    out(SMB_BASE + 2, 0x49, 1);
    ck_assert(board->irq[9]);
    out(SMB_BASE, 0x1e, 1);
    ck_assert_uint_eq(in(SMB_BASE, 1), 0);
    ck_assert(!board->irq[9]);
    for (int i = 0; i < 100; i++)
        out(SMB_BASE + 7, (uint32_t)i, 1);
    in(SMB_BASE + 2, 1);
    ck_assert_uint_eq(in(SMB_BASE + 7, 1), 96);
}
END_TEST

START_TEST(events_and_apm_ports)
{
    out(0xafe0, 0xffffffff, 4);
    ck_assert_uint_eq(in(0xafe0, 4), 0xffff0000);
    out(0xb3, 0x42, 1);
    ck_assert_uint_eq(in(0xb3, 1), 0x42);
    out(0xb2, 0x99, 1);
    ck_assert_uint_eq(in(0xb2, 1), 0x99);
}
END_TEST

/* -- All of it: save, load into a new board, compare -- */

START_TEST(state_moves_to_another_board)
{
    struct state_buffer buffer = {0};
    struct error error = {""};
    struct board *first = board, *second = new_board();

    set_up_pm();
    config_out(HOST, 0x59, 0x30, 1);
    config_out(HOST, 0x72, 0x12, 1);
    config_out(ISA, 0x60, 0x0b0b0a0a, 4);
    out(0xb2, 0xf1, 1);
    out(PM_BASE + 2, 0x101, 2);
    acpi_pm_power_button(piix4_pm_acpi(first->pm));
    clock_set(second->clock, clock_now(first->clock));
    state_save_devices(&buffer, &first->list);
    ck_assert(!state_compare_devices(&first->list, &second->list, &error));
    ck_assert_msg(state_load_devices(buffer.bytes, buffer.length, &second->list, &error), "%s",
                  error.text);
    ck_assert_msg(state_compare_devices(&first->list, &second->list, &error), "%s", error.text);

    board = second;
    ck_assert(second->irq[9]);
    ck_assert_uint_eq(in(PM_BASE, 2), 0x100);
    ck_assert(memory_find_page(second->memory, 0xf0000).writable);
    ck_assert_uint_eq(clock_next_deadline(second->clock), clock_next_deadline(first->clock));
    config_out(HOST, 0x72, 0x4a, 1);
    ck_assert_uint_eq(config_in(HOST, 0x72, 1), 0x12);
    board = first;
    free_board(second);
    state_buffer_free(&buffer);
}
END_TEST

START_TEST(garbage_is_survived)
{
    static const uint16_t ports[] = {0xcf8, 0xcf9, 0xcfc, 0xcfe, 0x92, 0xb2, 0xafe0, PM_BASE};
    static const uint8_t functions[] = {HOST, ISA, PM};

    srand(11);
    for (int i = 0; i < 30000; i++) {
        unsigned size = 1u << rand() % 3;
        uint32_t value = (uint32_t)rand() << 1 ^ (uint32_t)rand();
        if (rand() % 2) {
            unsigned offset = (unsigned)rand() % 256 & ~(size - 1);
            config_out(functions[rand() % 3], (uint8_t)offset, value, size);
        } else {
            uint16_t port = (uint16_t)(ports[rand() % 8] + rand() % 16);
            out(port, value, size);
            in(port, size);
        }
        if (rand() % 100 == 0) {
            clock_set(board->clock, clock_now(board->clock) + (uint64_t)rand() * 4);
            clock_fire_due(board->clock);
        }
        if (i % 1000 == 0)
            set_up_pm();
    }
    device_list_reset(&board->list);
    ck_assert(!board->irq[9]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("piix");
    TCase *tcase = tcase_create("piix");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, identities);
    tcase_add_test(tcase, firmware_is_where_it_belongs);
    tcase_add_test(tcase, pam_modes);
    tcase_add_test(tcase, smram_lock_holds_until_reset);
    tcase_add_test(tcase, impossible_firmware_is_refused);
    tcase_add_test(tcase, pirqs_follow_their_routes);
    tcase_add_test(tcase, resets_are_edges);
    tcase_add_test(tcase, blocks_appear_where_firmware_puts_them);
    tcase_add_test(tcase, timer_counts_and_overflows);
    tcase_add_test(tcase, power_button_and_power_off);
    tcase_add_test(tcase, smbus_finds_no_device);
    tcase_add_test(tcase, events_and_apm_ports);
    tcase_add_test(tcase, state_moves_to_another_board);
    tcase_add_test(tcase, garbage_is_survived);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
