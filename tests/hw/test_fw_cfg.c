/*
 * fw_cfg as a guest's firmware uses it: selector and data port, directory, DMA, and misuse.
 */
#include "hw/fw_cfg.h"
#include "hw/state.h"

#include <check.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RAM_BYTES  (16u << 20)
#define DESCRIPTOR 0x1000
#define BUFFER     0x2000

static struct device_list list;
static struct io_bus *io;
static struct memory *memory;
static struct fw_cfg *fw_cfg;
static uint8_t *ram;

static void setup(void)
{
    device_list_init(&list);
    io = io_bus_new();
    memory = memory_new(RAM_BYTES, NULL);
    ram = memory_ram_host(memory);
    fw_cfg = fw_cfg_new(&list, io, memory);
}

static void teardown(void)
{
    device_list_destroy(&list);
    memory_free(memory);
    io_bus_free(io);
}

static void select_key(uint16_t key)
{
    io_bus_write(io, 0x510, key, 2);
}

static uint8_t next(void)
{
    return (uint8_t)io_bus_read(io, 0x511, 1);
}

static void next_bytes(void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((uint8_t *)bytes)[i] = next();
}

static uint32_t dma(uint32_t control, uint32_t length, uint64_t address)
{
    uint32_t answer;
    struct {
        uint32_t control, length;
        uint64_t address;
    } descriptor = {htobe32(control), htobe32(length), htobe64(address)};

    memcpy(ram + DESCRIPTOR, &descriptor, sizeof descriptor);
    io_bus_write(io, 0x518, htobe32(DESCRIPTOR), 4);
    memcpy(&answer, ram + DESCRIPTOR, sizeof answer);
    return be32toh(answer);
}

START_TEST(signature_and_identification)
{
    char signature[5] = "";
    uint8_t id[4];

    select_key(FW_CFG_SIGNATURE);
    next_bytes(signature, 4);
    ck_assert_str_eq(signature, "QEMU");
    ck_assert_uint_eq(next(), 0);
    select_key(FW_CFG_ID);
    next_bytes(id, 4);
    ck_assert_uint_eq(id[0], 3);
    ck_assert_uint_eq(be32toh(io_bus_read(io, 0x514, 4)), 0x51454d55);
    ck_assert_uint_eq(be32toh(io_bus_read(io, 0x518, 4)), 0x20434647);
    ck_assert_uint_eq(io_bus_read(io, 0x51b, 1), 'G');
}
END_TEST

START_TEST(numbers_are_little_endian)
{
    uint8_t bytes[8];

    fw_cfg_add_u16(fw_cfg, FW_CFG_NB_CPUS, 0x0102);
    fw_cfg_add_u32(fw_cfg, FW_CFG_KERNEL_SIZE, 0x01020304);
    fw_cfg_add_u64(fw_cfg, FW_CFG_RAM_SIZE, 0x0102030405060708);
    select_key(FW_CFG_NB_CPUS);
    next_bytes(bytes, 3);
    ck_assert_mem_eq(bytes, "\x02\x01\x00", 3);
    select_key(FW_CFG_RAM_SIZE);
    next_bytes(bytes, 8);
    ck_assert_mem_eq(bytes, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    fw_cfg_add_u16(fw_cfg, FW_CFG_NB_CPUS, 9);
    select_key(FW_CFG_NB_CPUS);
    ck_assert_uint_eq(next(), 9);
    select_key(0x3fff);
    ck_assert_uint_eq(next(), 0);
}
END_TEST

START_TEST(files_are_in_the_directory)
{
    uint32_t count;
    struct {
        uint32_t size;
        uint16_t key, reserved;
        char name[56];
    } entry;
    size_t size;
    char text[6] = "";

    fw_cfg_add_file(fw_cfg, "etc/one", "first", 5);
    fw_cfg_add_file(fw_cfg, "etc/two", NULL, 0);
    fw_cfg_add_file(fw_cfg, "etc/one", "again!", 6);
    select_key(FW_CFG_FILE_DIR);
    next_bytes(&count, 4);
    ck_assert_uint_eq(be32toh(count), 2);
    next_bytes(&entry, sizeof entry);
    ck_assert_str_eq(entry.name, "etc/one");
    ck_assert_uint_eq(be32toh(entry.size), 6);
    ck_assert_uint_eq(be16toh(entry.key), fw_cfg_file_key(fw_cfg, "etc/one"));
    select_key(be16toh(entry.key));
    next_bytes(text, 5);
    ck_assert_str_eq(text, "again");
    ck_assert_mem_eq(fw_cfg_file(fw_cfg, "etc/one", &size), "again!", 6);
    ck_assert_uint_eq(size, 6);
    ck_assert_ptr_null(fw_cfg_file(fw_cfg, "etc/three", &size));
    ck_assert_uint_eq(fw_cfg_file_key(fw_cfg, "etc/three"), 0);
}
END_TEST

START_TEST(dma_reads_skips_and_selects)
{
    fw_cfg_add_bytes(fw_cfg, FW_CFG_CMDLINE_DATA, "0123456789", 10);
    memset(ram + BUFFER, 0xee, 32);
    ck_assert_uint_eq(dma(FW_CFG_CMDLINE_DATA << 16 | 8 | 2, 4, BUFFER), 0);
    ck_assert_mem_eq(ram + BUFFER, "0123\xee", 5);
    ck_assert_uint_eq(dma(4, 2, 0), 0);
    /* Behind the end come zeros. */
    ck_assert_uint_eq(dma(2, 8, BUFFER), 0);
    ck_assert_mem_eq(ram + BUFFER, "6789\0\0\0\0\xee", 9);
    ck_assert_uint_eq(next(), 0);
    select_key(FW_CFG_CMDLINE_DATA);
    ck_assert_uint_eq(dma(4, 0xffffffff, 0), 0);
    ck_assert_uint_eq(dma(4, 0xffffffff, 0), 0);
    ck_assert_uint_eq(next(), 0);
}
END_TEST

START_TEST(dma_above_4_gib_uses_both_halves)
{
    io_bus_write(io, 0x514, htobe32(1), 4);
    memset(ram + DESCRIPTOR, 0x11, 16);
    io_bus_write(io, 0x518, htobe32(DESCRIPTOR), 4);
    ck_assert_uint_eq(ram[DESCRIPTOR], 0x11); /* the descriptor was not the one below */
    /* The upper half counts once. */
    fw_cfg_add_bytes(fw_cfg, FW_CFG_CMDLINE_DATA, "x", 1);
    ck_assert_uint_eq(dma(FW_CFG_CMDLINE_DATA << 16 | 8 | 2, 1, BUFFER), 0);
    ck_assert_uint_eq(ram[BUFFER], 'x');
}
END_TEST

START_TEST(dma_misuse_ends_with_the_error_bit)
{
    fw_cfg_add_bytes(fw_cfg, FW_CFG_CMDLINE_DATA, "0123456789", 10);
    select_key(FW_CFG_CMDLINE_DATA);
    ck_assert_uint_eq(dma(2, 4, 0xfff00000000), 1);
    ck_assert_uint_eq(dma(2, 0xffffffff, RAM_BYTES - 0x100000), 1);
    ck_assert_uint_eq(dma(2, 0xffffffff, UINT64_MAX - 2), 1);
    ck_assert_uint_eq(dma(0x10, 4, BUFFER), 1);
    io_bus_write(io, 0x518, 0xffffffff, 4); /* no memory there */
    ck_assert_uint_eq(dma(0, 0, 0), 0);
    /* Odd accesses at every port. */
    for (uint16_t port = 0x50e; port < 0x51e; port++) {
        for (unsigned size = 1; size <= 4; size *= 2) {
            io_bus_read(io, port, size);
            io_bus_write(io, port, 0x5a5a5a5a, size);
        }
    }
}
END_TEST

/* A file of 40,000 bytes, each its offset's low byte but for the first two. */
static int make_file(char *path)
{
    uint8_t bytes[40000];
    strcpy(path, "/tmp/fw_cfg.XXXXXX");
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    ck_assert_int_eq(write(fd, bytes, sizeof bytes), (ssize_t)sizeof bytes);
    return fd;
}

START_TEST(stored_contents_are_read_from_their_file)
{
    char path[32];
    struct error error;
    int fd = make_file(path);

    ck_assert(fw_cfg_add_stored(fw_cfg, FW_CFG_KERNEL_DATA, path, 10, 39900, &error));
    unlink(path); /* an update that puts a new file in its place does not matter */
    select_key(FW_CFG_KERNEL_DATA);
    ck_assert_uint_eq(next(), 10);
    ck_assert_uint_eq(next(), 11);
    memset(ram + BUFFER, 0xee, 50000);
    for (int twice = 0; twice < 2; twice++) { /* once more after a reset */
        ck_assert_uint_eq(dma(FW_CFG_KERNEL_DATA << 16 | 8 | 2, 45000, BUFFER), 0);
        for (size_t i = 0; i < 45000; i++)
            ck_assert_uint_eq(ram[BUFFER + i], i < 39900 ? (uint8_t)(i + 10) : 0);
        ck_assert_uint_eq(ram[BUFFER + 45000], 0xee);
        device_list_reset(&list);
    }
    fw_cfg_add_bytes(fw_cfg, FW_CFG_KERNEL_DATA, "plain", 5);
    select_key(FW_CFG_KERNEL_DATA);
    ck_assert_uint_eq(next(), 'p');
    close(fd);
}
END_TEST

START_TEST(stored_contents_that_changed_are_an_error)
{
    char path[32];
    struct error error;
    int fd = make_file(path);

    ck_assert(fw_cfg_add_stored(fw_cfg, FW_CFG_KERNEL_DATA, path, 0, 40000, &error));
    ck_assert(!fw_cfg_add_stored(fw_cfg, FW_CFG_INITRD_DATA, path, 1, 40000, &error));
    ck_assert(!fw_cfg_add_stored(fw_cfg, FW_CFG_INITRD_DATA, "/nowhere/at/all", 0, 1, &error));
    ck_assert(!fw_cfg_add_stored(fw_cfg, FW_CFG_INITRD_DATA, "/dev/zero", 0, 1, &error));
    ck_assert_int_eq(ftruncate(fd, 20000), 0);
    ck_assert_uint_eq(dma(FW_CFG_KERNEL_DATA << 16 | 8 | 2, 40000, BUFFER), 1);
    select_key(FW_CFG_KERNEL_DATA);
    ck_assert_uint_eq(next(), 0);
    unlink(path);
    close(fd);
}
END_TEST

static uint16_t selected_key;

static void selected(void *opaque, uint16_t key)
{
    selected_key = key;
    if (key == FW_CFG_UUID)
        fw_cfg_add_bytes(fw_cfg, key, "fresh", 5);
}

START_TEST(select_callback_may_replace_contents)
{
    fw_cfg_add_bytes(fw_cfg, FW_CFG_UUID, "stale", 5);
    fw_cfg_on_select(fw_cfg, selected, NULL);
    select_key(FW_CFG_UUID);
    ck_assert_uint_eq(selected_key, FW_CFG_UUID);
    ck_assert_uint_eq(next(), 'f');
    ck_assert_uint_eq(dma(FW_CFG_UUID << 16 | 8 | 2, 5, BUFFER), 0);
    ck_assert_mem_eq(ram + BUFFER, "fresh", 5);
}
END_TEST

START_TEST(place_in_an_item_is_saved)
{
    struct state_buffer buffer = {0};
    struct error error;

    fw_cfg_add_bytes(fw_cfg, FW_CFG_UUID, "0123456789", 10);
    select_key(FW_CFG_UUID);
    next();
    next();
    state_save_devices(&buffer, &list);
    device_list_reset(&list);
    ck_assert_uint_eq(next(), 'Q');
    ck_assert_msg(state_load_devices(buffer.bytes, buffer.length, &list, &error), "%s", error.text);
    ck_assert_uint_eq(next(), '2');
    state_buffer_free(&buffer);
}
END_TEST

/* Contents that are made: each byte its offset, but none from `maker_end` on. */
static uint32_t maker_end;
static unsigned maker_rests, maker_destroyed;

static bool maker_read(void *opaque, uint32_t offset, uint8_t *bytes, size_t count)
{
    ck_assert_ptr_eq(opaque, &maker_end);
    if (offset + count > maker_end)
        return false;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(offset + i);
    return true;
}

static void maker_rest(void *opaque)
{
    maker_rests++;
}

static void maker_destroy(void *opaque)
{
    maker_destroyed++;
}

START_TEST(made_contents_are_asked_for)
{
    static const struct fw_cfg_maker maker = {maker_read, maker_rest, maker_destroy};
    uint8_t bytes[4];

    maker_end = 50000;
    fw_cfg_add_made(fw_cfg, FW_CFG_KERNEL_UNPACKED, 50000, &maker, &maker_end);
    select_key(FW_CFG_KERNEL_UNPACKED);
    ck_assert_uint_eq(next(), 0);
    ck_assert_uint_eq(dma(4, 1000, 0), 0);
    memset(ram + BUFFER, 0xee, 60000);
    ck_assert_uint_eq(dma(2, 55000, BUFFER), 0);
    for (size_t i = 0; i < 55000; i++)
        ck_assert_uint_eq(ram[BUFFER + i], i < 48999 ? (uint8_t)(i + 1001) : 0);
    ck_assert(fw_cfg_read_item(fw_cfg, FW_CFG_KERNEL_UNPACKED, 49996, bytes, 4));
    ck_assert_mem_eq(bytes, "\x4c\x4d\x4e\x4f", 4);
    ck_assert(!fw_cfg_read_item(fw_cfg, FW_CFG_KERNEL_UNPACKED, 49997, bytes, 4));
    ck_assert(!fw_cfg_read_item(fw_cfg, FW_CFG_KERNEL_UNPACKED, UINT64_MAX - 1, bytes, 4));
    ck_assert(!fw_cfg_read_item(fw_cfg, FW_CFG_INITRD_DATA, 0, bytes, 1));
    /* What cannot be made is an error, and rests when the guest turns away or is reset. */
    maker_end = 20000;
    ck_assert_uint_eq(dma((uint32_t)FW_CFG_KERNEL_UNPACKED << 16 | 8 | 2, 50000, BUFFER), 1);
    ck_assert_uint_eq(dma(4, 20000, 0), 0);
    ck_assert_uint_eq(next(), 0);
    maker_rests = 0;
    select_key(FW_CFG_ID);
    ck_assert_uint_eq(maker_rests, 1);
    device_list_reset(&list);
    ck_assert_uint_eq(maker_rests, 2);
    maker_destroyed = 0;
    fw_cfg_add_bytes(fw_cfg, FW_CFG_KERNEL_UNPACKED, "plain", 5);
    ck_assert_uint_eq(maker_destroyed, 1);
    select_key(FW_CFG_KERNEL_UNPACKED);
    ck_assert_uint_eq(next(), 'p');
    ck_assert_uint_eq(maker_rests, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fw_cfg");
    TCase *tcase = tcase_create("fw_cfg");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, signature_and_identification);
    tcase_add_test(tcase, numbers_are_little_endian);
    tcase_add_test(tcase, files_are_in_the_directory);
    tcase_add_test(tcase, dma_reads_skips_and_selects);
    tcase_add_test(tcase, dma_above_4_gib_uses_both_halves);
    tcase_add_test(tcase, dma_misuse_ends_with_the_error_bit);
    tcase_add_test(tcase, stored_contents_are_read_from_their_file);
    tcase_add_test(tcase, stored_contents_that_changed_are_an_error);
    tcase_add_test(tcase, select_callback_may_replace_contents);
    tcase_add_test(tcase, place_in_an_item_is_saved);
    tcase_add_test(tcase, made_contents_are_asked_for);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
