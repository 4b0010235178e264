/*
 * Which bzImages are unpacked, and where they go: a file made of a setup header and a small payload
 * is added to a machine's fw_cfg; the option ROM's parameters and the place that it would ask for
 * tell.
 */
#include "bios/kernel.h"
#include "bios/linux_place.h"
#include "tests/bios/payload_bench.h"
#include "tests/hw/suite.h"

#include <string.h>
#include <unistd.h>

#define SETUP_BYTES    1024u
#define CODE_BYTES     2000u /* before the payload */
#define INIT_BYTES     0x20000u
#define ALIGNMENT      0x200000u
#define RAM_BYTES      (64ull << 20)
#define ROM_PARAMETERS 0x40 /* of kernelboot.S */

/* What a test changes of the file and its start. */
static struct {
    struct bench_kernel kernel;
    enum bench_format format;
    uint16_t version, xloadflags;
    uint8_t relocatable;
    uint32_t alignment, payload_offset, init_size;
    uint64_t preferred;
    int32_t payload_longer; /* than it is */
    const char *append;
    uint64_t ram;
    size_t initrd;
    bool in_guest;
} start;

static struct device_list list;
static struct io_bus *io;
static struct memory *memory;
static struct fw_cfg *fw_cfg;

static void sound_start(void)
{
    memset(&start, 0, sizeof start);
    bench_kernel_init(&start.kernel);
    start.version = 0x20f;
    start.xloadflags = 1;
    start.relocatable = 1;
    start.alignment = ALIGNMENT;
    start.payload_offset = CODE_BYTES;
    start.init_size = INIT_BYTES;
    start.preferred = BENCH_PREFERRED;
    start.ram = RAM_BYTES;
}

static void setup(void)
{
    device_list_init(&list);
    io = io_bus_new();
    memory = memory_new(1u << 20, NULL);
    fw_cfg = fw_cfg_new(&list, io, memory);
    sound_start();
}

static void teardown(void)
{
    device_list_destroy(&list);
    memory_free(memory);
    io_bus_free(io);
}

static void put(uint8_t *file, size_t offset, uint64_t value, unsigned size)
{
    memcpy(file + offset, &value, size);
}

/* Writes a file of these bytes; its name, good until the next call with the same. */
static const char *write_file(char *path, const uint8_t *bytes, size_t size)
{
    strcpy(path, "/tmp/linux_start.XXXXXX");
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
    close(fd);
    return path;
}

struct started {
    struct kernel_unpacked unpacked;
    struct {
        uint32_t address, bias, delta;
    } place;
};

static struct started begin(void)
{
    char kernel_path[32], initrd_path[32];
    struct bench_payload packed = bench_pack_kernel(start.format, &start.kernel);
    size_t size = SETUP_BYTES + CODE_BYTES + packed.size, rom_size;
    uint8_t *file = calloc(1, size), *initrd = calloc(1, start.initrd + 1);
    struct error error;

    put(file, 0x1f1, SETUP_BYTES / 512 - 1, 1);
    put(file, 0x1fe, 0xaa55, 2);
    put(file, 0x200, 0x6aeb, 2);
    memcpy(file + 0x202, "HdrS", 4);
    put(file, 0x206, start.version, 2);
    put(file, 0x211, 1, 1);
    put(file, 0x22c, 0x7fffffff, 4);
    put(file, 0x230, start.alignment, 4);
    put(file, 0x234, start.relocatable, 1);
    put(file, 0x236, start.xloadflags, 2);
    put(file, 0x238, 2047, 4);
    put(file, 0x248, start.payload_offset, 4);
    put(file, 0x24c, packed.size + (uint64_t)start.payload_longer, 4);
    put(file, 0x258, start.preferred, 8);
    put(file, 0x260, start.init_size, 4);
    memcpy(file + SETUP_BYTES + CODE_BYTES, packed.bytes, packed.size);

    const struct bios_kernel files = {
        .kernel = write_file(kernel_path, file, size),
        .initrd = start.initrd ? write_file(initrd_path, initrd, start.initrd) : NULL,
        .append = start.append,
        .unpack_in_guest = start.in_guest,
    };
    const struct bios_config config = {.ram_low = start.ram, .cpus = 1, .direct_kernel = true};
    ck_assert_msg(bios_add_kernel(fw_cfg, &config, &files, &error), "%s", error.text);
    unlink(kernel_path);
    if (start.initrd)
        unlink(initrd_path);
    free(packed.bytes);
    free(file);
    free(initrd);

    struct started started = {0};
    const uint8_t *rom = fw_cfg_file(fw_cfg, "genroms/kernelboot.bin", &rom_size);
    memcpy(&started.unpacked, rom + ROM_PARAMETERS + 4 * 14, sizeof started.unpacked);
    if (started.unpacked.size)
        ck_assert(
            fw_cfg_read_item(fw_cfg, FW_CFG_KERNEL_PLACE, 0, &started.place, sizeof started.place));
    return started;
}

static bool is_unpacked(void)
{
    return begin().unpacked.size != 0;
}

START_TEST(sound_kernels_are_unpacked)
{
    for (unsigned format = 0; format < BENCH_FORMATS; format++) {
        start.format = format;
        struct started started = begin();
        ck_assert_uint_eq(started.unpacked.size, BENCH_MEMORY + 4 * start.kernel.words + 4);
        ck_assert_uint_eq(started.unpacked.entry, BENCH_ENTRY);
        ck_assert_uint_eq(started.unpacked.table, BENCH_MEMORY);
        ck_assert_uint_eq(started.place.bias, started.place.address - BENCH_LINK_BASE);
        uint8_t bytes[BENCH_MEMORY], expected[BENCH_MEMORY];
        ck_assert(fw_cfg_read_item(fw_cfg, FW_CFG_KERNEL_UNPACKED, 0, bytes, sizeof bytes));
        bench_expect_memory(&start.kernel, expected);
        ck_assert_mem_eq(bytes, expected, sizeof bytes);
    }
}
END_TEST

#define UNPACKS_ITSELF(change)                                                                     \
    do {                                                                                           \
        sound_start();                                                                             \
        ck_assert(is_unpacked());                                                                  \
        change;                                                                                    \
        ck_assert_msg(!is_unpacked(), "%s", #change);                                              \
    } while (0)

START_TEST(others_unpack_themselves)
{
    UNPACKS_ITSELF(start.in_guest = true);
    UNPACKS_ITSELF(start.xloadflags = 0);
    UNPACKS_ITSELF(start.version = 0x20b);
    UNPACKS_ITSELF(start.payload_offset = 0);
    UNPACKS_ITSELF(start.payload_offset = UINT32_MAX);
    UNPACKS_ITSELF(start.payload_longer = 1);
    UNPACKS_ITSELF(start.payload_longer = -1);
    UNPACKS_ITSELF(start.payload_longer = -100000);
    UNPACKS_ITSELF(start.alignment = 0);
    UNPACKS_ITSELF(start.alignment = 0x1000);
    UNPACKS_ITSELF(start.alignment = 0x300000);
    UNPACKS_ITSELF(start.alignment = 0x2000000);
    UNPACKS_ITSELF(start.alignment = 0x80000000);
    UNPACKS_ITSELF(start.preferred = UINT64_MAX);
    UNPACKS_ITSELF(start.preferred = 0x100001000000);
    UNPACKS_ITSELF(start.init_size = BENCH_MEMORY - 1);
    UNPACKS_ITSELF(start.kernel.header.e_machine = EM_386);
    UNPACKS_ITSELF(start.append = "quiet mem=100M");
    UNPACKS_ITSELF(start.append = "memmap=4M$32M");
    UNPACKS_ITSELF(start.append = "hugepagesz=1G hugepages=1");
    UNPACKS_ITSELF(start.ram = 18ull << 20);
    UNPACKS_ITSELF(start.append = "nokaslr"; start.ram = 18ull << 20);
}
END_TEST

START_TEST(some_stay_where_they_prefer_to_be)
{
    static const char *const appends[] = {"nokaslr", "quiet nokaslr mem=60M", " nokaslr "};

    for (size_t i = 0; i < 5; i++) {
        sound_start();
        if (i < 3)
            start.append = appends[i];
        start.relocatable = i != 3;
        start.kernel.words = i == 4 ? 0 : start.kernel.words;
        for (int times = 0; times < 10; times++) {
            struct started started = begin();
            ck_assert_uint_eq(started.unpacked.size, BENCH_MEMORY);
            ck_assert_uint_eq(started.unpacked.table, 0);
            ck_assert_uint_eq(started.place.address, BENCH_PREFERRED);
            ck_assert_uint_eq(started.place.delta, 0);
        }
    }
    start.append = "nokaslrx xnokaslr=1";
    bench_kernel_init(&start.kernel);
    ck_assert_uint_eq(begin().unpacked.table, BENCH_MEMORY);
}
END_TEST

START_TEST(places_are_random_and_free)
{
    unsigned seen[32] = {0}, used = 0;
    uint32_t distances[3];

    start.initrd = 5u << 20;
    struct started started = begin();
    for (unsigned i = 0; i < 1000; i++) {
        ck_assert(fw_cfg_read_item(fw_cfg, FW_CFG_KERNEL_PLACE, 0, &started.place, 12));
        uint32_t address = started.place.address, delta = started.place.delta;
        ck_assert_uint_eq(started.place.bias, address - BENCH_LINK_BASE);
        ck_assert_uint_eq(address % ALIGNMENT, 0);
        ck_assert_uint_ge(address, BENCH_PREFERRED);
        ck_assert_uint_le(address + INIT_BYTES, (RAM_BYTES - FIRMWARE_RESERVE - start.initrd));
        ck_assert_uint_eq(delta % ALIGNMENT, 0);
        ck_assert_uint_le(BENCH_PREFERRED + delta + BENCH_MEMORY, 1u << 30);
        seen[address / ALIGNMENT]++;
        distances[i % 3] = delta;
        ck_assert(i < 2 || distances[0] != distances[1] || distances[1] != distances[2]);
    }
    for (unsigned i = 0; i < 32; i++)
        used += seen[i] != 0;
    ck_assert_uint_eq(used, 21); /* from 16 to 56 MiB */
}
END_TEST

START_TEST(every_place_can_be_chosen)
{
    const struct linux_room room = {.memory = {0x1100000, 0x2700000},
                                    .taken = {0x1a00001, 0x1dfffff},
                                    .size = 0x400000,
                                    .mapped_size = 0x800000,
                                    .alignment = 0x200000,
                                    .preferred = 0x3f000000};
    /* From 18 MiB: 18, 20, 22; from 30 MiB: 30, 32, 34; up to 39 MiB: nothing more. */
    static const uint32_t places[] = {0x1200000, 0x1400000, 0x1600000,
                                      0x1e00000, 0x2000000, 0x2200000};
    struct linux_place place;

    for (uint64_t i = 0; i < 20; i++) {
        const uint64_t random[] = {i, i};
        ck_assert(place_choose(&room, random, &place));
        ck_assert_uint_eq(place.address, places[i % 6]);
        ck_assert_uint_eq(place.delta, i % 5 * 0x200000);
    }
    struct linux_room none = room;
    none.size = 0x1000000;
    ck_assert(!place_choose(&none, (const uint64_t[]){0, 0}, &place));
    none = room;
    none.mapped_size = 0x1000001;
    ck_assert(!place_choose(&none, (const uint64_t[]){0, 0}, &place));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {sound_kernels_are_unpacked, others_unpack_themselves,
                                  some_stay_where_they_prefer_to_be, places_are_random_and_free,
                                  every_place_can_be_chosen};

    return suite_main("linux_start", setup, teardown, tests, sizeof tests / sizeof tests[0]);
}
