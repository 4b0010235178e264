/* 8237: programming through the flip-flop, transfers, terminal count, auto-initialization, masks.
 */
#include "hw/chipset/i8237.h"

#include <check.h>
#include <stdlib.h>

static struct device_list list;
static struct io_bus *io;
static struct memory *memory;
static struct i8237 *dma;

static void setup(void)
{
    struct error error;
    device_list_init(&list);
    io = io_bus_new();
    memory = memory_new(16u << 20, &error);
    dma = i8237_new(&list, io, memory, "dma");
    device_list_reset(&list);
}

static void teardown(void)
{
    device_list_destroy(&list);
    io_bus_free(io);
    memory_free(memory);
}

static void out(uint16_t port, uint8_t value)
{
    io_bus_write(io, port, value, 1);
}

/* Channel 2 (floppy), as a driver does it: `count` bytes at `address`. */
static void program_channel_2(uint32_t address, uint16_t count, uint8_t mode)
{
    out(0x0a, 0x06);
    out(0x0c, 0);
    out(0x0b, mode | 2);
    out(0x04, (uint8_t)address);
    out(0x04, (uint8_t)(address >> 8));
    out(0x81, (uint8_t)(address >> 16));
    out(0x05, (uint8_t)(count - 1));
    out(0x05, (uint8_t)((count - 1) >> 8));
    out(0x0a, 0x02);
}

START_TEST(moves_to_memory_until_terminal_count)
{
    uint8_t data[600], back[600];
    bool terminal_count;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    program_channel_2(0x12345, 512, 0x44);
    ck_assert_uint_eq(i8237_write_memory(dma, 2, data, 200, &terminal_count), 200);
    ck_assert(!terminal_count);
    ck_assert_uint_eq(i8237_write_memory(dma, 2, data + 200, 400, &terminal_count), 312);
    ck_assert(terminal_count);
    memory_dma_read(memory, 0x12345, back, 512);
    ck_assert_mem_eq(back, data, 512);
    ck_assert_uint_eq(io_bus_read(io, 0x08, 1),
                      0x04); /* terminal count of channel 2, cleared by reading */
    ck_assert_uint_eq(io_bus_read(io, 0x08, 1), 0x00);
    ck_assert_uint_eq(i8237_write_memory(dma, 2, data, 1, &terminal_count), 0); /* masked now */
}
END_TEST

START_TEST(reads_from_memory_and_auto_initializes)
{
    uint8_t data[4] = {1, 2, 3, 4}, back[8];
    bool terminal_count;
    memory_dma_write(memory, 0x8000, data, 4);
    program_channel_2(0x8000, 4, 0x58);
    ck_assert_uint_eq(i8237_read_memory(dma, 2, back, 8, &terminal_count), 4);
    ck_assert(terminal_count);
    ck_assert_uint_eq(i8237_read_memory(dma, 2, back + 4, 4, &terminal_count), 4);
    ck_assert_mem_eq(back, data, 4);
    ck_assert_mem_eq(back + 4, data, 4);
}
END_TEST

START_TEST(address_wraps_within_its_page)
{
    uint8_t data[2] = {0xaa, 0xbb}, byte;
    bool terminal_count;
    program_channel_2(0x3ffff, 2, 0x44);
    ck_assert_uint_eq(i8237_write_memory(dma, 2, data, 2, &terminal_count), 2);
    memory_dma_read(memory, 0x30000, &byte, 1);
    ck_assert_uint_eq(byte, 0xbb);
}
END_TEST

START_TEST(word_channel_shifts_its_address)
{
    uint8_t data[4] = {9, 8, 7, 6}, back[4];
    bool terminal_count;
    out(0xd8, 0);
    out(0xd6, 0x44 | 1); /* channel 5 */
    out(0xc4, 0x00);
    out(0xc4, 0x80); /* word address 0x8000: byte 0x10000 in the page pair */
    out(0x8b, 0x02);
    out(0xc6, 1);
    out(0xc6, 0);
    out(0xd4, 0x01);
    ck_assert_uint_eq(i8237_write_memory(dma, 5, data, 4, &terminal_count), 4);
    ck_assert(terminal_count);
    memory_dma_read(memory, 0x30000, back, 4);
    ck_assert_mem_eq(back, data, 4);
}
END_TEST

START_TEST(direction_mask_and_disable_are_obeyed)
{
    uint8_t data[4] = {0};
    bool terminal_count;
    program_channel_2(0x8000, 4, 0x48);
    ck_assert_uint_eq(i8237_write_memory(dma, 2, data, 4, &terminal_count), 0);
    out(0x08, 0x04);
    ck_assert_uint_eq(i8237_read_memory(dma, 2, data, 4, &terminal_count), 0);
    out(0x08, 0x00);
    out(0x0f, 0x0f);
    ck_assert_uint_eq(i8237_read_memory(dma, 2, data, 4, &terminal_count), 0);
    out(0x0e, 0);
    ck_assert_uint_eq(i8237_read_memory(dma, 2, data, 4, &terminal_count), 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("i8237");
    TCase *tests = tcase_create("registers and transfers");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, moves_to_memory_until_terminal_count);
    tcase_add_test(tests, reads_from_memory_and_auto_initializes);
    tcase_add_test(tests, address_wraps_within_its_page);
    tcase_add_test(tests, word_channel_shifts_its_address);
    tcase_add_test(tests, direction_mask_and_disable_are_obeyed);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
