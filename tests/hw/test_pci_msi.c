/*
 * MSI and MSI-X: the capability list, sending, masks and pending bits, INTx while messages are on,
 * bus mastering, reset.
 */
#include "hw/alloc.h"
#include "hw/pci_msi.h"

#include <check.h>
#include <string.h>

#define DEVFN    PCI_DEVFN(5, 0)
#define BAR_BASE 0xf0000000u
#define VECTORS  5
#define MESSAGES 16

struct card {
    struct pci_device pci;
    struct pci_msix msix;
};

static const struct field card_fields[] = {
    FIELD_STRUCT(struct card, pci, pci_device_fields, 1),
    FIELD_STRUCT(struct card, msix, pci_msix_fields, 1),
    FIELD_END,
};

static struct device_list list;
static struct io_bus *io;
static struct memory *memory;
static struct pci_bus *bus;
static struct card *card;
static bool intx;
static struct {
    uint64_t address;
    uint32_t data;
} sent[MESSAGES];
static unsigned sent_count;

static void set_intx(void *opaque, int number, bool level)
{
    intx = level;
}

static void take_message(void *opaque, uint64_t address, uint32_t data)
{
    ck_assert_uint_lt(sent_count, MESSAGES);
    sent[sent_count].address = address;
    sent[sent_count++].data = data;
}

static void card_reset(struct device *device)
{
    pci_device_reset(&((struct card *)device)->pci);
}

static void card_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops card_ops = {
    .name = "card",
    .fields = card_fields,
    .version = 1,
    .reset = card_reset,
    .destroy = card_destroy,
};

static uint32_t config(unsigned offset, unsigned size)
{
    return pci_config_read(bus, DEVFN, (uint8_t)offset, size);
}

static void set_config(unsigned offset, uint32_t value, unsigned size)
{
    pci_config_write(bus, DEVFN, (uint8_t)offset, value, size);
}

static void setup(void)
{
    static const struct pci_identity identity = {
        .vendor = 0x1234, .device = 1, .class_code = 0x0100, .interrupt_pin = 1};
    struct irq_line lines[4];

    device_list_init(&list);
    io = io_bus_new();
    memory = memory_new(16u << 20, NULL);
    for (int i = 0; i < 4; i++)
        lines[i] = (struct irq_line){set_intx, NULL, i};
    bus = pci_bus_new(&list, io, memory, lines);
    pci_bus_route_messages(bus, take_message, NULL);
    card = alloc_zeroed(sizeof *card);
    device_add(&list, &card->pci.device, &card_ops, "card");
    pci_device_init(&card->pci, bus, DEVFN, &identity);
    pci_add_msix(&card->pci, &card->msix, 0, VECTORS, 1);
    pci_add_msi(&card->pci, 0x80, 4, PCI_MSI_64BIT | PCI_MSI_MASKING);
    device_list_reset(&list);
    set_config(PCI_BAR0 + 4, BAR_BASE, 4);
    set_config(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    intx = false;
    sent_count = 0;
}

static void teardown(void)
{
    device_list_destroy(&list);
    memory_free(memory);
    io_bus_free(io);
}

static unsigned find_capability(uint8_t id)
{
    unsigned at = config(PCI_CAPABILITIES, 1);
    for (int i = 0; at && i < 8; i++, at = config(at + 1, 1))
        if (config(at, 1) == id)
            return at;
    return 0;
}

static uint32_t table(unsigned offset)
{
    return (uint32_t)memory_mmio_read(memory, BAR_BASE + offset, 4);
}

static void set_table(unsigned offset, uint32_t value)
{
    memory_mmio_write(memory, BAR_BASE + offset, value, 4);
}

static void expect_sent(unsigned index, uint64_t address, uint32_t data)
{
    ck_assert_uint_gt(sent_count, index);
    ck_assert_uint_eq(sent[index].address, address);
    ck_assert_uint_eq(sent[index].data, data);
}

START_TEST(capabilities_are_listed)
{
    unsigned msix = find_capability(PCI_CAPABILITY_MSIX), msi = find_capability(PCI_CAPABILITY_MSI);
    ck_assert_uint_eq(config(PCI_STATUS, 2) & 0x10, 0x10);
    ck_assert_uint_eq(msix, 0x40);
    ck_assert_uint_eq(msi, 0x80);
    ck_assert_uint_eq(config(msix + 2, 2), VECTORS - 1);
    ck_assert_uint_eq(config(msix + 4, 4), 1);
    ck_assert_uint_eq(config(msix + 8, 4), 0x801);
    ck_assert_uint_eq(config(msi + 2, 2), 0x0184); /* masking, 64 bits, 4 vectors */
    set_config(msix, 0xffffffff, 4);
    ck_assert_uint_eq(config(msix, 4), 0xc0008011 | (VECTORS - 1) << 16);
    set_config(msi + 4, 0xffffffff, 4);
    ck_assert_uint_eq(config(msi + 4, 4), 0xfffffffc);
    set_config(msi + 0x10, 0xffffffff, 4);
    ck_assert_uint_eq(config(msi + 0x10, 4), 0xf);
}
END_TEST

START_TEST(msix_sends_and_masks)
{
    unsigned at = find_capability(PCI_CAPABILITY_MSIX);
    ck_assert(!pci_notify(&card->pci, 0)); /* off: INTx is the device's business */
    ck_assert_uint_eq(table(2 * 16 + 12), 1);
    set_config(at + 2, 0x8000, 2);
    set_table(2 * 16, 0xfee01003); /* the two low bits do not exist */
    set_table(2 * 16 + 4, 7);
    set_table(2 * 16 + 8, 0x4141);
    ck_assert_uint_eq(table(2 * 16), 0xfee01000);

    ck_assert(pci_notify(&card->pci, 2));
    ck_assert_uint_eq(sent_count, 0); /* masked */
    ck_assert_uint_eq(table(0x800), 1 << 2);
    set_table(2 * 16 + 12, 0xfffffffe);
    ck_assert_uint_eq(table(2 * 16 + 12), 0);
    expect_sent(0, 0x7fee01000, 0x4141);
    ck_assert_uint_eq(table(0x800), 0);

    set_config(at + 2, 0xc000, 2); /* the whole function masked */
    ck_assert(pci_notify(&card->pci, 2));
    ck_assert(pci_notify(&card->pci, 2));
    ck_assert_uint_eq(sent_count, 1);
    set_config(at + 2, 0x8000, 2);
    ck_assert_uint_eq(sent_count, 2);           /* two causes, one message */
    ck_assert(pci_notify(&card->pci, VECTORS)); /* there is no such vector */
    ck_assert(pci_notify(&card->pci, 0xffff));
    ck_assert_uint_eq(sent_count, 2);
    set_table(0x800, 0xff); /* pending bits are not written */
    set_table(VECTORS * 16, 0xff);
    ck_assert_uint_eq(table(0x800), 0);
    ck_assert_uint_eq(table(VECTORS * 16), 0);
}
END_TEST

START_TEST(msi_sends_and_masks)
{
    unsigned at = find_capability(PCI_CAPABILITY_MSI);
    set_config(at + 4, 0xfee02000, 4);
    set_config(at + 8, 1, 4);
    set_config(at + 12, 0x4043, 2);
    ck_assert_uint_eq(pci_msi_allowed(&card->pci), 0);
    set_config(at + 2, 0x0011, 2); /* two vectors of four */
    ck_assert_uint_eq(pci_msi_allowed(&card->pci), 2);
    ck_assert(pci_notify(&card->pci, 0));
    expect_sent(0, 0x1fee02000, 0x4042);
    ck_assert(pci_notify(&card->pci, 3)); /* wraps around to 1 */
    expect_sent(1, 0x1fee02000, 0x4043);
    ck_assert(pci_notify(&card->pci, 4));
    ck_assert_uint_eq(sent_count, 2);

    set_config(at + 16, 2, 4);
    ck_assert(pci_notify(&card->pci, 1));
    ck_assert_uint_eq(sent_count, 2);
    ck_assert_uint_eq(config(at + 20, 4), 2);
    set_config(at + 16, 0, 4);
    expect_sent(2, 0x1fee02000, 0x4043);
    ck_assert_uint_eq(config(at + 20, 4), 0);
    set_config(at + 2, 0x0071, 2); /* a reserved count: all we have */
    ck_assert_uint_eq(pci_msi_allowed(&card->pci), 4);
}
END_TEST

START_TEST(intx_is_silent_while_messages_are_on)
{
    unsigned msix = find_capability(PCI_CAPABILITY_MSIX), msi = find_capability(PCI_CAPABILITY_MSI);
    pci_set_irq(&card->pci, true);
    ck_assert(intx);
    set_config(msix + 2, 0x8000, 2);
    ck_assert(!intx);
    set_config(msix + 2, 0, 2);
    ck_assert(intx);
    set_config(msi + 2, 1, 2);
    ck_assert(!intx);
    set_config(msi + 2, 0, 2);
    ck_assert(intx);
}
END_TEST

START_TEST(messages_need_bus_mastering)
{
    set_config(find_capability(PCI_CAPABILITY_MSI) + 2, 1, 2);
    set_config(PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    ck_assert(pci_notify(&card->pci, 0));
    ck_assert_uint_eq(sent_count, 0);
}
END_TEST

START_TEST(reset_turns_messages_off)
{
    unsigned msix = find_capability(PCI_CAPABILITY_MSIX), msi = find_capability(PCI_CAPABILITY_MSI);
    set_config(msix + 2, 0xc000, 2);
    pci_notify(&card->pci, 1);
    set_table(16 + 8, 5);
    set_table(16 + 12, 0);
    set_config(msi + 2, 0x21, 2);
    set_config(msi + 12, 0x55, 2);
    device_list_reset(&list);
    ck_assert_uint_eq(config(msix + 2, 2), VECTORS - 1);
    ck_assert_uint_eq(config(msi + 2, 2), 0x0184);
    ck_assert_uint_eq(config(msi + 12, 2), 0);
    ck_assert_uint_eq(card->msix.pending, 0);
    ck_assert_uint_eq(card->msix.table[1].control, 1);
    ck_assert_uint_eq(card->msix.table[1].data, 0);
    ck_assert_uint_eq(config(PCI_STATUS, 2) & 0x10, 0x10);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        capabilities_are_listed,     msix_sends_and_masks,
        msi_sends_and_masks,         intx_is_silent_while_messages_are_on,
        messages_need_bus_mastering, reset_turns_messages_off,
    };
    Suite *suite = suite_create("pci messages");
    TCase *cases = tcase_create("pci messages");

    tcase_add_checked_fixture(cases, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(cases, tests[i]);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
