/*
 * The payload of a kernel as a fw_cfg item: what memory it gives, in any order of reading, what is
 * refused before and what while it is unpacked.
 */
#include "bios/linux_payload.h"
#include "hw/state.h"
#include "tests/bios/payload_bench.h"
#include "tests/hw/suite.h"

#include <endian.h>
#include <string.h>

#define PACKED_OFFSET 100u
#define ITEM_MAX      (BENCH_MEMORY + 4 * BENCH_WORDS + 4)

static struct device_list list;
static struct io_bus *io;
static struct memory *memory;
static struct fw_cfg *fw_cfg;

static struct bench_kernel kernel;
static struct linux_payload payload;

static void setup(void)
{
    device_list_init(&list);
    io = io_bus_new();
    memory = memory_new(1u << 20, NULL);
    fw_cfg = fw_cfg_new(&list, io, memory);
    bench_kernel_init(&kernel);
}

static void teardown(void)
{
    device_list_destroy(&list);
    memory_free(memory);
    io_bus_free(io);
}

static bool read_bytes(void *opaque, uint64_t offset, void *bytes, size_t count)
{
    const struct bench_payload *packed = opaque;

    ck_assert(offset <= packed->size && count <= packed->size - offset);
    memcpy(bytes, packed->bytes + offset, count);
    return true;
}

/* NULL, or why these bytes are no kernel. */
static const char *inspect(struct bench_payload *packed, uint64_t preferred)
{
    const struct unpack_source source = {read_bytes, packed, packed->size};
    const char *reason = NULL;
    bool ok = payload_inspect(&payload, &source, preferred, &reason);

    ck_assert(ok == !reason);
    return reason;
}

static const char *inspect_kernel(void)
{
    struct bench_payload packed = bench_pack_kernel(BENCH_XZ, &kernel);
    const char *reason = inspect(&packed, BENCH_PREFERRED);

    free(packed.bytes);
    return reason;
}

/* Adds it as an item; its size. */
static uint32_t add(const struct bench_payload *packed, bool relocations)
{
    uint8_t *behind = calloc(1, PACKED_OFFSET + packed->size);

    memcpy(behind + PACKED_OFFSET, packed->bytes, packed->size);
    fw_cfg_add_bytes(fw_cfg, FW_CFG_KERNEL_DATA, behind, PACKED_OFFSET + packed->size);
    free(behind);
    return payload_add(fw_cfg, FW_CFG_KERNEL_UNPACKED, &payload, FW_CFG_KERNEL_DATA, PACKED_OFFSET,
                       relocations);
}

static uint32_t add_kernel(enum bench_format format, bool relocations)
{
    struct bench_payload packed = bench_pack_kernel(format, &kernel);

    ck_assert_ptr_null(inspect(&packed, BENCH_PREFERRED));
    uint32_t size = add(&packed, relocations);
    free(packed.bytes);
    return size;
}

static bool read_item(uint32_t offset, uint8_t *bytes, size_t count)
{
    return fw_cfg_read_item(fw_cfg, FW_CFG_KERNEL_UNPACKED, offset, bytes, count);
}

static bool can_be_read(void)
{
    uint8_t bytes[ITEM_MAX];

    return read_item(0, bytes, add_kernel(BENCH_XZ, true));
}

/* -- What it gives -- */

static uint32_t expect(uint8_t *bytes, uint32_t zeros)
{
    uint32_t table = 4 * kernel.words;

    bench_expect_memory(&kernel, bytes);
    memcpy(bytes + BENCH_MEMORY, kernel.table, table);
    memcpy(bytes + BENCH_MEMORY + table, &zeros, 4);
    return BENCH_MEMORY + table + 4;
}

START_TEST(memory_table_and_number)
{
    uint8_t expected[ITEM_MAX], bytes[ITEM_MAX];

    for (unsigned format = 0; format < BENCH_FORMATS; format++) {
        uint32_t size = expect(expected, 3);
        ck_assert_uint_eq(add_kernel(format, true), size);
        ck_assert_uint_eq(payload.entry, BENCH_ENTRY);
        ck_assert_uint_eq(payload.memory_size, BENCH_MEMORY);
        ck_assert_uint_eq(payload_table_size(&payload), 4 * kernel.words);
        for (int twice = 0; twice < 2; twice++) {
            memset(bytes, 0xee, sizeof bytes);
            ck_assert(read_item(0, bytes, size));
            ck_assert_mem_eq(bytes, expected, size);
        }
    }
}
END_TEST

START_TEST(without_inverse_fields_or_any)
{
    static const uint32_t table[] = {0, BENCH_LINK_BASE + 8, 0, BENCH_LINK_BASE + 4};
    uint8_t expected[ITEM_MAX], bytes[ITEM_MAX];

    memcpy(kernel.table, table, sizeof table);
    for (kernel.words = 4; kernel.words >= 3; kernel.words--) {
        uint32_t size = expect(expected, 2);
        ck_assert_uint_eq(add_kernel(BENCH_GZIP, true), size);
        ck_assert(read_item(0, bytes, size));
        ck_assert_mem_eq(bytes, expected, size);
    }
    kernel.words = 0;
    ck_assert_uint_eq(add_kernel(BENCH_GZIP, false), BENCH_MEMORY);
    ck_assert_uint_eq(payload_table_size(&payload), 0);
    ck_assert(read_item(0, bytes, BENCH_MEMORY));
    bench_expect_memory(&kernel, expected);
    ck_assert_mem_eq(bytes, expected, BENCH_MEMORY);
}
END_TEST

START_TEST(in_any_order)
{
    uint8_t expected[ITEM_MAX], bytes[ITEM_MAX];
    uint32_t size = expect(expected, 3), x = 1;

    add_kernel(BENCH_XZ_BCJ, true);
    for (int i = 0; i < 500; i++) {
        x = x * 1103515245 + 12345;
        uint32_t offset = (x >> 8) % size;
        x = x * 1103515245 + 12345;
        uint32_t count = (x >> 8) % (i % 3 ? 40 : size) % (size - offset + 1);
        ck_assert(read_item(offset, bytes, count));
        ck_assert_mem_eq(bytes, expected + offset, count);
        if (i % 7 == 0)
            io_bus_write(io, 0x510, i & 8 ? FW_CFG_KERNEL_UNPACKED : FW_CFG_ID, 2);
        else if (i % 11 == 0)
            device_list_reset(&list);
    }
    /* One byte after the other. */
    io_bus_write(io, 0x510, FW_CFG_KERNEL_UNPACKED, 2);
    for (uint32_t i = 0; i < size + 3; i++)
        ck_assert_uint_eq(io_bus_read(io, 0x511, 1), i < size ? expected[i] : 0);
}
END_TEST

START_TEST(half_read_and_saved)
{
    uint8_t expected[ITEM_MAX];
    struct state_buffer buffer = {0};
    struct error error;

    expect(expected, 3);
    add_kernel(BENCH_XZ, true);
    io_bus_write(io, 0x510, FW_CFG_KERNEL_UNPACKED, 2);
    for (unsigned i = 0; i < 0x5000; i++)
        io_bus_read(io, 0x511, 1);
    state_save_devices(&buffer, &list);
    teardown();
    setup();
    add_kernel(BENCH_XZ, true);
    ck_assert_msg(state_load_devices(buffer.bytes, buffer.length, &list, &error), "%s", error.text);
    for (unsigned i = 0x5000; i < 0x7000; i++)
        ck_assert_uint_eq(io_bus_read(io, 0x511, 1), expected[i]);
    state_buffer_free(&buffer);
}
END_TEST

/* -- What is refused at once -- */

START_TEST(other_elf_files)
{
    static const char no_elf[] = "it is no ELF executable for x86-64";

    kernel.header.e_ident[0] = 'X';
    ck_assert_str_eq(inspect_kernel(), no_elf);
    bench_kernel_init(&kernel);
    kernel.header.e_ident[EI_CLASS] = ELFCLASS32;
    ck_assert_str_eq(inspect_kernel(), no_elf);
    bench_kernel_init(&kernel);
    kernel.header.e_ident[EI_DATA] = ELFDATA2MSB;
    ck_assert_str_eq(inspect_kernel(), no_elf);
    bench_kernel_init(&kernel);
    kernel.header.e_machine = EM_AARCH64;
    ck_assert_str_eq(inspect_kernel(), no_elf);
    bench_kernel_init(&kernel);
    kernel.header.e_type = ET_REL;
    ck_assert_str_eq(inspect_kernel(), no_elf);
    bench_kernel_init(&kernel);
    kernel.header.e_phnum = 0;
    ck_assert_str_eq(inspect_kernel(), "it has no segments");
}
END_TEST

/* Changes one number of a sound kernel to each of these. */
#define REFUSED(field, reason, ...)                                                                \
    do {                                                                                           \
        const uint64_t values_[] = {__VA_ARGS__};                                                  \
        for (size_t i_ = 0; i_ < sizeof values_ / sizeof values_[0]; i_++) {                       \
            bench_kernel_init(&kernel);                                                            \
            ck_assert_ptr_null(inspect_kernel());                                                  \
            field = (__typeof__(field))values_[i_];                                                \
            ck_assert_pstr_eq(inspect_kernel(), reason);                                           \
        }                                                                                          \
    } while (0)

START_TEST(hostile_headers)
{
    REFUSED(kernel.header.e_entry, "its entry lies outside", 0, BENCH_PREFERRED - 1,
            BENCH_PREFERRED + BENCH_MEMORY, UINT64_MAX);
    REFUSED(kernel.header.e_phoff, "its program headers are not at the beginning", 0, 63, 65536,
            65537, UINT64_MAX);
    REFUSED(kernel.header.e_phoff, "it is shorter than it says", BENCH_ELF);
    REFUSED(kernel.header.e_phentsize, "its program headers are not at the beginning", 0, 32, 57);
    REFUSED(kernel.header.e_phnum, "it is shorter than it says", 0xffff);
    REFUSED(kernel.header.e_shoff, "its ELF file is cut short", 0, 63, BENCH_ELF, UINT64_MAX,
            UINT64_MAX - 100);
    REFUSED(kernel.header.e_shnum, "its ELF file is cut short", 0xffff, 4);
    REFUSED(kernel.header.e_shentsize, "there is something unknown behind its ELF file", 63);
}
END_TEST

START_TEST(hostile_segments)
{
    static const char outside[] = "one of its segments lies outside";
    static const char order[] = "its segments are not in order";

    REFUSED(kernel.segment[0].p_paddr, outside, 0, BENCH_PREFERRED - 1, 1ull << 30, 1ull << 32,
            UINT64_MAX, UINT64_MAX - 0xfff);
    REFUSED(kernel.segment[2].p_memsz, outside, 1ull << 30, UINT64_MAX, UINT64_MAX - 0x6000,
            0x1233);
    REFUSED(kernel.segment[2].p_filesz, outside, UINT64_MAX, 0x3001);
    REFUSED(kernel.segment[1].p_offset, outside, UINT64_MAX, UINT64_MAX - 0x800, BENCH_ELF - 0xfff,
            BENCH_ELF + 1);
    REFUSED(kernel.segment[1].p_offset, order, 0, 0x1000, 0x3344);
    REFUSED(kernel.segment[1].p_paddr, order, BENCH_PREFERRED, BENCH_PREFERRED + 0x2344,
            BENCH_PREFERRED + 0x6000);
}
END_TEST

START_TEST(hostile_sizes)
{
    struct bench_payload packed = bench_pack_kernel(BENCH_XZ, &kernel);
    uint32_t sizes[] = {0, 1, 63, 64, 200, BENCH_ELF - 1, (1u << 30) + 1, UINT32_MAX};
    size_t whole = packed.size;

    ck_assert_str_eq(inspect(&packed, (1ull << 30) + 1), "it wants to lie above 1 GiB");
    ck_assert_str_eq(inspect(&packed, UINT64_MAX), "it wants to lie above 1 GiB");
    ck_assert_ptr_nonnull(inspect(&packed, BENCH_PREFERRED + 0x1000));
    for (packed.size = 0; packed.size < 120; packed.size++)
        ck_assert_ptr_nonnull(inspect(&packed, BENCH_PREFERRED));
    packed.size = whole;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        memcpy(packed.bytes + whole - 4, &sizes[i], 4);
        ck_assert_ptr_nonnull(inspect(&packed, BENCH_PREFERRED));
    }
    free(packed.bytes);
}
END_TEST

/* -- What is found while it is read -- */

START_TEST(hostile_relocations)
{
    static const struct {
        unsigned word;
        uint32_t value;
        bool good;
    } changes[] = {
        {1, BENCH_LINK_BASE + BENCH_MEMORY - 8, true},
        {1, BENCH_LINK_BASE + BENCH_MEMORY - 7, false},
        {1, BENCH_LINK_BASE - 1, false},
        {1, UINT32_MAX, false},
        {1, 1, false},
        {4, BENCH_LINK_BASE + BENCH_MEMORY - 4, true},
        {4, BENCH_LINK_BASE + BENCH_MEMORY - 3, false},
        {7, BENCH_LINK_BASE + BENCH_MEMORY, false},
        {7, BENCH_LINK_BASE - 4, false},
        {0, BENCH_LINK_BASE + 16, false}, /* no zero at the beginning */
        {6, 0, false},                    /* a fourth */
    };

    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        bench_kernel_init(&kernel);
        kernel.table[changes[i].word] = changes[i].value;
        ck_assert_msg(can_be_read() == changes[i].good, "change %zu", i);
    }
    bench_kernel_init(&kernel);
    kernel.words = 3; /* one zero only */
    ck_assert(!can_be_read());
}
END_TEST

START_TEST(damage_is_an_error_at_the_end_at_the_latest)
{
    for (unsigned format = 0; format < BENCH_FORMATS; format++) {
        struct bench_payload packed = bench_pack_kernel(format, &kernel);
        uint8_t expected[ITEM_MAX], bytes[ITEM_MAX];
        unsigned missed = 0;
        expect(expected, 3);
        ck_assert_ptr_null(inspect(&packed, BENCH_PREFERRED));
        for (size_t i = 0; i < packed.size; i++) {
            packed.bytes[i] ^= 0x10;
            uint32_t size = add(&packed, i % 2);
            if (read_item(0, bytes, size)) {
                ck_assert_mem_eq(bytes, expected, size);
                missed++;
            }
            packed.bytes[i] ^= 0x10;
        }
        ck_assert_uint_lt(missed, 16);
        /* Cut short; after that it is as it was, and can be read again. */
        for (size_t cut = 5; cut < packed.size; cut += 7) {
            struct bench_payload part = {packed.bytes, packed.size - cut};
            ck_assert(!read_item(0, bytes, add(&part, true)));
        }
        ck_assert(read_item(0, bytes, add(&packed, true)));
        free(packed.bytes);
    }
}
END_TEST

START_TEST(an_error_leaves_the_rest_readable)
{
    uint8_t expected[ITEM_MAX], bytes[ITEM_MAX];

    kernel.table[7] = 1;
    uint32_t size = add_kernel(BENCH_ZSTD, true);
    bench_expect_memory(&kernel, expected);
    for (int twice = 0; twice < 2; twice++) {
        ck_assert(!read_item(size - 1, bytes, 1));
        ck_assert(read_item(0x3000, bytes, 0x2000));
        ck_assert_mem_eq(bytes, expected + 0x3000, 0x2000);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {memory_table_and_number,
                                  without_inverse_fields_or_any,
                                  in_any_order,
                                  half_read_and_saved,
                                  other_elf_files,
                                  hostile_headers,
                                  hostile_segments,
                                  hostile_sizes,
                                  hostile_relocations,
                                  damage_is_an_error_at_the_end_at_the_latest,
                                  an_error_leaves_the_rest_readable};

    return suite_main("linux_payload", setup, teardown, tests, sizeof tests / sizeof tests[0]);
}
