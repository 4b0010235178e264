/*
 * PCI: configuration mechanism 1, BAR sizing and mapping, command gating, INTx sharing, ROM BAR,
 * DMA.
 */
#include "hw/pci_power.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct device_list list;
static struct io_bus *io;
static struct memory *memory;
static struct pci_bus *bus;
static bool pirq[4];
static unsigned pirq_changes;

static void set_pirq(void *opaque, int number, bool level)
{
    pirq[number] = level;
    pirq_changes++;
}

struct card {
    struct pci_device pci;
    uint8_t registers[16];
    uint8_t *video;
    unsigned written_offset, written_size;
};

static const struct field card_fields[] = {
    FIELD_STRUCT(struct card, pci, pci_device_fields, 1),
    FIELD_ARRAY(struct card, registers, 1),
    FIELD_END,
};

static void card_reset(struct device *device)
{
    pci_device_reset(&((struct card *)device)->pci);
}

static bool card_post_load(struct device *device, struct error *error)
{
    return pci_device_post_load(&((struct card *)device)->pci, error);
}

static void card_destroy(struct device *device)
{
    struct card *card = (struct card *)device;

    memory_free_host(card->video, 0x10000);
    free(card);
}

static const struct device_ops card_ops = {
    "card", card_fields, 1, card_reset, card_post_load, card_destroy,
};

static uint64_t register_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((struct card *)opaque)->registers[offset & 15];
}

static void register_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ((struct card *)opaque)->registers[offset & 15] = (uint8_t)value;
}

static const struct access_ops register_ops = {register_read, register_write, 1, 1};

static void card_config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
    ((struct card *)pci)->written_offset = offset;
    ((struct card *)pci)->written_size = size;
}

static struct card *new_card(uint8_t devfn, const char *id)
{
    static const struct pci_identity identity = {
        .vendor = 0x1234,
        .device = 0x5678,
        .revision = 9,
        .prog_if = 1,
        .class_code = 0x0300,
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
        .interrupt_pin = 1,
    };
    /* Of another device: 10ec:8139. */
    static const uint8_t rom[3000] = {0x55, 0xaa, 5,    [0x18] = 0x1c, [0x1c] = 'P', 'C',
                                      'I',  'R',  0xec, 0x10,          0x39,         0x81};
    struct card *card = calloc(1, sizeof *card);

    device_add(&list, &card->pci.device, &card_ops, id);
    pci_device_init(&card->pci, bus, devfn, &identity);
    card->video = memory_alloc_host(0x10000);
    pci_add_memory_bar(&card->pci, 0, 0x10000, card->video, true);
    pci_add_io_bar(&card->pci, 1, 16, &register_ops, card);
    pci_add_mmio_bar(&card->pci, 2, 0x1000, &register_ops, card);
    pci_add_rom(&card->pci, rom, sizeof rom);
    card->pci.config_written = card_config_written;
    return card;
}

static void setup(void)
{
    struct irq_line lines[4];

    device_list_init(&list);
    io = io_bus_new();
    memory = memory_new(16u << 20, NULL);
    for (int i = 0; i < 4; i++)
        lines[i] = (struct irq_line){set_pirq, NULL, i};
    bus = pci_bus_new(&list, io, memory, lines);
    memset(pirq, 0, sizeof pirq);
    pirq_changes = 0;
}

static void teardown(void)
{
    device_list_destroy(&list);
    memory_free(memory);
    io_bus_free(io);
}

static uint32_t config_read(uint8_t devfn, unsigned offset, unsigned size)
{
    io_bus_write(io, 0xcf8, 0x80000000 | (uint32_t)devfn << 8 | (offset & 0xfc), 4);
    return io_bus_read(io, (uint16_t)(0xcfc + (offset & 3)), size);
}

static void config_write(uint8_t devfn, unsigned offset, uint32_t value, unsigned size)
{
    io_bus_write(io, 0xcf8, 0x80000000 | (uint32_t)devfn << 8 | (offset & 0xfc), 4);
    io_bus_write(io, (uint16_t)(0xcfc + (offset & 3)), value, size);
}

START_TEST(mechanism_one)
{
    uint8_t devfn = PCI_DEVFN(3, 0);

    new_card(devfn, "card0");
    ck_assert_uint_eq(config_read(devfn, 0, 4), 0x56781234);
    ck_assert_uint_eq(config_read(devfn, 2, 2), 0x5678);
    ck_assert_uint_eq(config_read(devfn, 0x0b, 1), 0x03);
    ck_assert_uint_eq(config_read(devfn, 8, 4), 0x03000109);
    ck_assert_uint_eq(config_read(devfn, 0x2c, 4), 0x11001af4);
    ck_assert_uint_eq(config_read(devfn, 0x3d, 1), 1);
    ck_assert_uint_eq(config_read(PCI_DEVFN(4, 0), 0, 4), 0xffffffff);
    ck_assert_uint_eq(config_read(PCI_DEVFN(4, 0), 0, 2), 0xffff);
    config_write(PCI_DEVFN(4, 0), 4, 7, 2);

    /* Another bus, and the enable bit off. */
    io_bus_write(io, 0xcf8, 0x80010000 | (uint32_t)devfn << 8, 4);
    ck_assert_uint_eq(io_bus_read(io, 0xcfc, 4), 0xffffffff);
    io_bus_write(io, 0xcf8, (uint32_t)devfn << 8, 4);
    ck_assert_uint_eq(io_bus_read(io, 0xcfc, 4), 0xffffffff);

    /* Only dwords reach the address register; reserved bits read as 0. */
    io_bus_write(io, 0xcf8, 0xffffffff, 4);
    ck_assert_uint_eq(io_bus_read(io, 0xcf8, 4), 0x80fffffc);
    io_bus_write(io, 0xcf8, 0, 1);
    io_bus_write(io, 0xcfa, 0, 2);
    ck_assert_uint_eq(io_bus_read(io, 0xcf8, 4), 0x80fffffc);
    ck_assert_uint_eq(io_bus_read(io, 0xcf8, 2), 0xffff);
}
END_TEST

START_TEST(read_only_bits_stay)
{
    uint8_t devfn = PCI_DEVFN(3, 0);
    struct card *card = new_card(devfn, "card0");

    for (unsigned offset = 0; offset < 256; offset += 4)
        config_write(devfn, offset, 0xffffffff, 4);
    ck_assert_uint_eq(config_read(devfn, 0, 4), 0x56781234);
    ck_assert_uint_eq(config_read(devfn, 8, 4), 0x03000109);
    ck_assert_uint_eq(config_read(devfn, 0x0c, 4), 0x0000ffff);
    ck_assert_uint_eq(config_read(devfn, 0x3c, 4), 0x000001ff);
    ck_assert_uint_eq(config_read(devfn, 4, 2), 0x0557);
    ck_assert_uint_eq(config_read(devfn, 0xf0, 4), 0);
    /* Status: error bits are cleared by ones, the rest is not written. */
    pci_put(card->pci.config, PCI_STATUS, 0xfa90, 2);
    config_write(devfn, PCI_STATUS, 0x2fff, 2);
    ck_assert_uint_eq(config_read(devfn, PCI_STATUS, 2), 0xd290);
    config_write(devfn, 0x40, 1, 2);
    ck_assert_uint_eq(card->written_offset, 0x40);
    ck_assert_uint_eq(card->written_size, 2);
}
END_TEST

START_TEST(bars_tell_their_size_and_map)
{
    uint8_t devfn = PCI_DEVFN(3, 0);
    struct card *card = new_card(devfn, "card0");

    config_write(devfn, 4, 3, 2);
    for (unsigned bar = 0; bar < 6; bar++)
        config_write(devfn, PCI_BAR0 + 4 * bar, 0xffffffff, 4);
    ck_assert_uint_eq(config_read(devfn, PCI_BAR0, 4), 0xffff0008);
    ck_assert_uint_eq(config_read(devfn, PCI_BAR0 + 4, 4), 0xfffffff1);
    ck_assert_uint_eq(config_read(devfn, PCI_BAR0 + 8, 4), 0xfffff000);
    ck_assert_uint_eq(config_read(devfn, PCI_BAR0 + 12, 4), 0);
    /* Asking for sizes with decoding on maps nothing over the firmware's place. */
    ck_assert_ptr_null(memory_find_page(memory, 0xffff0000).host);

    config_write(devfn, PCI_BAR0, 0xe0000000, 4);
    config_write(devfn, PCI_BAR0 + 4, 0xc000, 4);
    config_write(devfn, PCI_BAR0 + 8, 0xe0100000, 4);
    ck_assert_ptr_eq(memory_find_page(memory, 0xe0003000).host, card->video + 0x3000);
    ck_assert(memory_find_page(memory, 0xe0003000).log_dirty);
    io_bus_write(io, 0xc005, 0x42, 1);
    ck_assert_uint_eq(card->registers[5], 0x42);
    ck_assert_uint_eq(memory_mmio_read(memory, 0xe0100005, 1), 0x42);

    /* Moving one, switching each kind off. */
    config_write(devfn, PCI_BAR0 + 4, 0xd000, 4);
    ck_assert_uint_eq(io_bus_read(io, 0xc005, 1), 0xff);
    ck_assert_uint_eq(io_bus_read(io, 0xd005, 1), 0x42);
    config_write(devfn, 4, 2, 2);
    ck_assert_uint_eq(io_bus_read(io, 0xd005, 1), 0xff);
    config_write(devfn, 4, 1, 2);
    ck_assert_uint_eq(io_bus_read(io, 0xd005, 1), 0x42);
    ck_assert_ptr_null(memory_find_page(memory, 0xe0003000).host);
    ck_assert_uint_eq(memory_mmio_read(memory, 0xe0100005, 1), 0xff);

    /* The last possible ports; beyond them; and 0, which is no address. */
    config_write(devfn, PCI_BAR0 + 4, 0xfff0, 4);
    ck_assert_uint_eq(io_bus_read(io, 0xfff5, 1), 0x42);
    config_write(devfn, PCI_BAR0 + 4, 0x1fff0, 4);
    ck_assert_uint_eq(io_bus_read(io, 0xfff5, 1), 0xff);
    config_write(devfn, PCI_BAR0 + 4, 0, 4);
    ck_assert_uint_eq(io_bus_read(io, 5, 1), 0xff);
}
END_TEST

START_TEST(a_bar_never_hides_ram)
{
    uint8_t devfn = PCI_DEVFN(3, 0);

    new_card(devfn, "card0");
    config_write(devfn, 4, 2, 2);
    config_write(devfn, PCI_BAR0, 0x100000, 4);
    ck_assert_ptr_eq(memory_find_page(memory, 0x100000).host, memory_ram_host(memory) + 0x100000);
}
END_TEST

/* A 64-bit register takes two places and maps above 4 GiB as well. */
START_TEST(wide_bars)
{
    uint8_t devfn = PCI_DEVFN(3, 0);
    struct card *card = new_card(devfn, "card0");
    const unsigned low = PCI_BAR0 + 16, high = PCI_BAR0 + 20;

    pci_add_mmio_bar_64(&card->pci, 4, 0x1000, &register_ops, card);
    ck_assert_uint_eq(config_read(devfn, low, 4), 4);
    config_write(devfn, low, 0xffffffff, 4);
    config_write(devfn, high, 0xffffffff, 4);
    ck_assert_uint_eq(config_read(devfn, low, 4), 0xfffff004);
    ck_assert_uint_eq(config_read(devfn, high, 4), 0xffffffff);
    config_write(devfn, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    card->registers[5] = 0x5a;
    ck_assert_uint_ne(memory_mmio_read(memory, 0xfffffffffffff005, 1), 0x5a);
    config_write(devfn, low, 0xe0300000, 4);
    config_write(devfn, high, 0, 4);
    ck_assert_uint_eq(memory_mmio_read(memory, 0xe0300005, 1), 0x5a);
    config_write(devfn, high, 0x8, 4);
    ck_assert_uint_eq(memory_mmio_read(memory, 0x8e0300005, 1), 0x5a);
    ck_assert_uint_ne(memory_mmio_read(memory, 0xe0300005, 1), 0x5a);
    config_write(devfn, high, 0x100, 4); /* beyond the processor's addresses */
    ck_assert_uint_ne(memory_mmio_read(memory, 0x100e0300005, 1), 0x5a);
    config_write(devfn, high, 0x8, 4);
    pci_device_reset(&card->pci);
    ck_assert_uint_eq(config_read(devfn, low, 4), 4);
    ck_assert_uint_eq(config_read(devfn, high, 4), 0);
    ck_assert_uint_ne(memory_mmio_read(memory, 0x8e0300005, 1), 0x5a);
}
END_TEST

static bool sees_register(struct card *card)
{
    card->registers[0] = 0x77;
    return memory_mmio_read(memory, 0xe0100000, 1) == 0x77;
}

/* Asleep, only configuration space answers; a function wakes from reset. */
START_TEST(power_states)
{
    uint8_t devfn = PCI_DEVFN(3, 0);
    struct card *card = new_card(devfn, "card0");
    uint8_t byte = 0;

    pci_add_power_management(&card->pci, 0);
    unsigned capability = config_read(devfn, PCI_CAPABILITIES, 1);
    ck_assert_uint_eq(config_read(devfn, capability, 1), 1);
    config_write(devfn, PCI_BAR0 + 8, 0xe0100000, 4);
    config_write(devfn, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    ck_assert(sees_register(card));
    config_write(devfn, capability + 4, 1, 2); /* D1: there is none */
    ck_assert_uint_eq(config_read(devfn, capability + 4, 2), 0);
    pci_set_irq(&card->pci, true);
    ck_assert(pirq[2]);
    config_write(devfn, capability + 4, 3, 2);
    ck_assert_uint_eq(config_read(devfn, capability + 4, 2), 3);
    ck_assert(!sees_register(card) && !pirq[2]);
    ck_assert(!pci_dma_read(&card->pci, 0x1000, &byte, 1));
    ck_assert_uint_eq(config_read(devfn, PCI_BAR0 + 8, 4), 0xe0100000);
    config_write(devfn, capability + 4, 2, 2); /* D2: nor that */
    ck_assert_uint_eq(config_read(devfn, capability + 4, 2), 3);
    config_write(devfn, capability + 4, 0, 2);
    ck_assert_uint_eq(config_read(devfn, capability + 4, 2), 0);
    ck_assert_uint_eq(config_read(devfn, PCI_BAR0 + 8, 4), 0);
    ck_assert_uint_eq(config_read(devfn, PCI_COMMAND, 2), 0);
    ck_assert(!card->pci.irq_level);
}
END_TEST

START_TEST(rom_bar)
{
    uint8_t devfn = PCI_DEVFN(3, 0);

    new_card(devfn, "card0");
    config_write(devfn, PCI_ROM_BAR, 0xfffffffe, 4);
    ck_assert_uint_eq(config_read(devfn, PCI_ROM_BAR, 4), 0xfffff000);
    config_write(devfn, PCI_ROM_BAR, 0xe0200001, 4);
    ck_assert_ptr_null(memory_find_page(memory, 0xe0200000).host);
    config_write(devfn, 4, 2, 2);
    struct memory_page page = memory_find_page(memory, 0xe0200000);
    ck_assert_ptr_nonnull(page.host);
    ck_assert(!page.writable);
    ck_assert_uint_eq(page.host[1], 0xaa);
    ck_assert_uint_eq(page.host[3000], 0);
    /* The image names this device now, and its sum is right. */
    uint8_t sum = 0;
    ck_assert_uint_eq(pci_get(page.host, 0x1c + 4, 4), 0x56781234);
    for (unsigned i = 0; i < 5 * 512; i++)
        sum = (uint8_t)(sum + page.host[i]);
    ck_assert_uint_eq(sum, 0);
    config_write(devfn, PCI_ROM_BAR, 0xe0200000, 4);
    ck_assert_ptr_null(memory_find_page(memory, 0xe0200000).host);
}
END_TEST

/* Slot s, INTA drives PIRQ (s - 1) & 3 on a PIIX3 board; lines are shared. */
START_TEST(intx_is_wired_or)
{
    struct card *three = new_card(PCI_DEVFN(3, 0), "card3");
    struct card *seven = new_card(PCI_DEVFN(7, 0), "card7");
    struct card *four = new_card(PCI_DEVFN(4, 0), "card4");

    pci_set_irq(&three->pci, true);
    ck_assert(pirq[2] && !pirq[3]);
    ck_assert_uint_eq(config_read(PCI_DEVFN(3, 0), PCI_STATUS, 2) & PCI_STATUS_INTERRUPT,
                      PCI_STATUS_INTERRUPT);
    pci_set_irq(&three->pci, true);
    pci_set_irq(&seven->pci, true);
    pci_set_irq(&four->pci, true);
    ck_assert(pirq[2] && pirq[3]);
    pci_set_irq(&three->pci, false);
    ck_assert(pirq[2]);
    config_write(PCI_DEVFN(7, 0), 4, PCI_COMMAND_INTX_DISABLE, 2);
    ck_assert(!pirq[2]);
    ck_assert(config_read(PCI_DEVFN(7, 0), PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    config_write(PCI_DEVFN(7, 0), 4, 0, 2);
    ck_assert(pirq[2]);
    device_list_reset(&list);
    ck_assert(!pirq[2] && !pirq[3]);
}
END_TEST

START_TEST(reset_and_load)
{
    uint8_t devfn = PCI_DEVFN(3, 0);
    struct card *card = new_card(devfn, "card0");
    struct error error = {""};

    config_write(devfn, 4, 3, 2);
    config_write(devfn, PCI_BAR0, 0xe0000000, 4);
    config_write(devfn, PCI_BAR0 + 4, 0xc000, 4);
    pci_set_irq(&card->pci, true);
    uint8_t saved[PCI_CONFIG_SIZE];
    memcpy(saved, card->pci.config, sizeof saved);
    device_list_reset(&list);
    ck_assert_uint_eq(config_read(devfn, PCI_BAR0, 4), 8);
    ck_assert_uint_eq(config_read(devfn, PCI_BAR0 + 4, 4), 1);
    ck_assert_ptr_null(memory_find_page(memory, 0xe0000000).host);
    ck_assert_uint_eq(io_bus_read(io, 0xc000, 1), 0xff);

    memcpy(card->pci.config, saved, sizeof saved);
    card->pci.irq_level = true;
    ck_assert(card_post_load(&card->pci.device, &error));
    ck_assert_ptr_eq(memory_find_page(memory, 0xe0000000).host, card->video);
    ck_assert_uint_eq(io_bus_read(io, 0xc000, 1), 0);
    ck_assert(pirq[2]);
    pci_set_irq(&card->pci, false);
    ck_assert(!pirq[2]);

    card->pci.config[0] ^= 1;
    ck_assert(!card_post_load(&card->pci.device, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "card0"));
}
END_TEST

START_TEST(dma_needs_bus_mastering)
{
    uint8_t devfn = PCI_DEVFN(3, 0);
    struct card *card = new_card(devfn, "card0");
    uint32_t word = 0x12345678;

    ck_assert(!pci_bus_master(&card->pci));
    ck_assert(!pci_dma_write(&card->pci, 0x1000, &word, 4));
    ck_assert_uint_eq(memory_ram_host(memory)[0x1000], 0);
    ck_assert(!pci_dma_read(&card->pci, 0x1000, &word, 4));
    ck_assert_uint_eq(word, 0xffffffff);
    config_write(devfn, 4, PCI_COMMAND_MASTER, 2);
    word = 0x12345678;
    ck_assert(pci_dma_write(&card->pci, 0x1000, &word, 4));
    ck_assert_uint_eq(memory_ram_host(memory)[0x1000], 0x78);
    ck_assert(pci_dma_read(&card->pci, 0x1000, &word, 4));
    ck_assert_uint_eq(word, 0x12345678);
}
END_TEST

/* Random configuration writes: nothing to assert but that it survives. */
START_TEST(garbage_is_survived)
{
    struct card *card = new_card(PCI_DEVFN(3, 0), "card0");

    srand(7);
    for (int i = 0; i < 20000; i++) {
        unsigned size = 1u << rand() % 3, offset = (unsigned)rand() % 64 & ~(size - 1);
        config_write(PCI_DEVFN(3, 0), offset, (uint32_t)rand() << 1, size);
        if (rand() % 8 == 0)
            pci_set_irq(&card->pci, rand() % 2);
    }
    device_list_reset(&list);
    for (int i = 0; i < 4; i++)
        ck_assert(!pirq[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pci");
    TCase *tcase = tcase_create("pci");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, mechanism_one);
    tcase_add_test(tcase, read_only_bits_stay);
    tcase_add_test(tcase, bars_tell_their_size_and_map);
    tcase_add_test(tcase, a_bar_never_hides_ram);
    tcase_add_test(tcase, wide_bars);
    tcase_add_test(tcase, power_states);
    tcase_add_test(tcase, rom_bar);
    tcase_add_test(tcase, intx_is_wired_or);
    tcase_add_test(tcase, reset_and_load);
    tcase_add_test(tcase, dma_needs_bus_mastering);
    tcase_add_test(tcase, garbage_is_survived);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
