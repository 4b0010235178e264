/*
 * Guest physical memory and the port space: layout, priorities, partial pages, dirty logs, hostile
 * DMA, access splitting, and lookups while the layout changes.
 */
#include "hw/access.h"
#include "hw/memory.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define RAM_BYTES (16u << 20)

static struct memory *memory;

static void setup(void)
{
    struct error error = {""};

    memory = memory_new(RAM_BYTES, &error);
    ck_assert_msg(memory != NULL, "%s", error.text);
}

static void teardown(void)
{
    memory_free(memory);
}

/* -- A device that writes down what reaches it -- */

struct recorder {
    unsigned reads, writes;
    uint64_t offset, value;
    unsigned size;
    uint8_t bytes[64];
};

static uint64_t recorder_read(void *opaque, uint64_t offset, unsigned size)
{
    struct recorder *recorder = opaque;
    uint64_t value = 0;

    recorder->reads++;
    recorder->offset = offset;
    recorder->size = size;
    memcpy(&value, recorder->bytes + offset % 56, size);
    return value;
}

static void recorder_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct recorder *recorder = opaque;

    recorder->writes++;
    recorder->offset = offset;
    recorder->value = value;
    recorder->size = size;
    memcpy(recorder->bytes + offset % 56, &value, size);
}

static const struct access_ops byte_ops = {recorder_read, recorder_write, 1, 1};
static const struct access_ops any_ops = {recorder_read, recorder_write, 1, 8};
static const struct access_ops dword_ops = {recorder_read, recorder_write, 4, 4};
static const struct access_ops no_ops = {NULL, NULL, 1, 8};

static void fill(struct recorder *recorder)
{
    memset(recorder, 0, sizeof *recorder);
    for (unsigned i = 0; i < sizeof recorder->bytes; i++)
        recorder->bytes[i] = (uint8_t)(0x10 + i);
}

START_TEST(sizes_that_make_no_sense_are_refused)
{
    struct error error = {""};

    ck_assert_ptr_null(memory_new(0, &error));
    ck_assert_str_ne(error.text, "");
    ck_assert_ptr_null(memory_new(4097, &error));
    ck_assert_ptr_null(memory_new(UINT64_C(1) << 60, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "MiB"));
    ck_assert_ptr_null(memory_new(UINT64_MAX & ~UINT64_C(4095), NULL));
}
END_TEST

START_TEST(ram_is_one_mapping)
{
    struct memory_page page = memory_find_page(memory, 0x12345);

    ck_assert_ptr_eq(page.host, memory_ram_host(memory) + 0x12000);
    ck_assert(page.writable);
    ck_assert(!page.log_dirty);
    ck_assert_uint_eq(memory_ram_low(memory), RAM_BYTES);
    ck_assert_uint_eq(memory_ram_high(memory), 0);
    ck_assert_ptr_null(memory_find_page(memory, RAM_BYTES).host);
    ck_assert_ptr_null(memory_find_page(memory, UINT64_MAX).host);
}
END_TEST

START_TEST(ram_above_the_hole)
{
    struct memory *large = memory_new(MEMORY_LOW_MAX + (1u << 20), NULL);

    if (!large)
        return; /* the host is too small */
    ck_assert_uint_eq(memory_ram_high(large), 1u << 20);
    ck_assert_ptr_null(memory_find_page(large, MEMORY_LOW_MAX).host);
    ck_assert_ptr_eq(memory_find_page(large, MEMORY_HIGH_BASE).host,
                     memory_ram_host(large) + MEMORY_LOW_MAX);
    uint8_t bytes[8192];
    ck_assert(!memory_dma_read(large, MEMORY_LOW_MAX - 4096, bytes, sizeof bytes));
    ck_assert_uint_eq(bytes[4095], 0);
    ck_assert_uint_eq(bytes[4096], 0xff);
    memory_free(large);
}
END_TEST

START_TEST(priorities_decide)
{
    struct recorder low, high;
    uint8_t *rom = memory_alloc_host(0x4000);

    fill(&low);
    fill(&high);
    memset(rom, 0x5a, 0x4000);
    memory_add_mmio(memory, 0x100000, 0x4000, PRIORITY_PCI, &any_ops, &low, "hidden by RAM");
    ck_assert_ptr_nonnull(memory_find_page(memory, 0x100000).host);
    struct region *region =
        memory_add_host(memory, REGION_ROM, 0x100000, 0x4000, PRIORITY_BOARD, rom, false, "rom");
    struct memory_page page = memory_find_page(memory, 0x101000);
    ck_assert_ptr_eq(page.host, rom + 0x1000);
    ck_assert(!page.writable);
    /* Later over earlier at the same priority, in the middle of it. */
    struct region *window =
        memory_add_mmio(memory, 0x101000, 0x1000, PRIORITY_BOARD, &any_ops, &high, "window");
    ck_assert_ptr_null(memory_find_page(memory, 0x101000).host);
    ck_assert_ptr_eq(memory_find_page(memory, 0x102000).host, rom + 0x2000);
    ck_assert_uint_eq(memory_mmio_read(memory, 0x101008, 4), 0x1b1a1918);
    region_place(window, 0x101000, false);
    ck_assert_ptr_eq(memory_find_page(memory, 0x101000).host, rom + 0x1000);
    region_set_kind(region, REGION_RAM);
    ck_assert(memory_find_page(memory, 0x101000).writable);
    region_place(region, 0x200000, true);
    ck_assert_ptr_eq(memory_find_page(memory, 0x101000).host, memory_ram_host(memory) + 0x101000);
    ck_assert_ptr_eq(memory_find_page(memory, 0x203000).host, rom + 0x3000);
    region_remove(region);
    region_remove(window);
    ck_assert_ptr_eq(memory_find_page(memory, 0x203000).host, memory_ram_host(memory) + 0x203000);
    memory_free_host(rom, 0x4000);
}
END_TEST

START_TEST(regions_that_wrap_are_not_seen)
{
    struct recorder recorder;

    fill(&recorder);
    struct region *region =
        memory_add_mmio(memory, 0xe0000000, 0x2000, PRIORITY_BOARD, &any_ops, &recorder, "moving");
    region_place(region, UINT64_MAX - 0xfff, true);
    ck_assert_uint_eq(memory_mmio_read(memory, UINT64_MAX - 7, 8), UINT64_MAX);
    ck_assert_uint_eq(memory_mmio_read(memory, 0, 1), 0);
    ck_assert_uint_eq(recorder.reads, 0);
    region_place(region, UINT64_MAX - 0x2000, true);
    memory_mmio_read(memory, UINT64_MAX - 0x1fff, 1);
    ck_assert_uint_eq(recorder.reads, 1);
}
END_TEST

START_TEST(partial_pages_have_no_host_page)
{
    struct recorder recorder;

    fill(&recorder);
    memory_add_mmio(memory, 0x300800, 0x10, PRIORITY_BOARD, &byte_ops, &recorder, "small");
    ck_assert_ptr_null(memory_find_page(memory, 0x300000).host);
    ck_assert_ptr_nonnull(memory_find_page(memory, 0x301000).host);
    /* RAM around it is still reached, also across the edge. */
    memory_mmio_write(memory, 0x300000, 0x1122334455667788, 8);
    ck_assert_uint_eq(memory_mmio_read(memory, 0x300004, 4), 0x11223344);
    memory_mmio_write(memory, 0x3007fc, 0xaabbccdd, 4);
    ck_assert_uint_eq(memory_mmio_read(memory, 0x3007fe, 4), 0x1110aabb);
    ck_assert_uint_eq(recorder.reads, 2);
}
END_TEST

START_TEST(accesses_are_split_and_widened)
{
    struct recorder recorder;

    fill(&recorder);
    ck_assert_uint_eq(access_read(&byte_ops, &recorder, 2, 4), 0x15141312);
    ck_assert_uint_eq(recorder.reads, 4);
    ck_assert_uint_eq(access_read(&any_ops, &recorder, 3, 4), 0x16151413);
    ck_assert_uint_eq(recorder.reads, 5);
    ck_assert_uint_eq(access_read(&dword_ops, &recorder, 5, 1), 0x15);
    ck_assert_uint_eq(recorder.offset, 4);
    ck_assert_uint_eq(access_read(&dword_ops, &recorder, 6, 4), 0x19181716);
    ck_assert_uint_eq(access_read(&dword_ops, &recorder, 0, 8), 0x1716151413121110);
    ck_assert_uint_eq(access_read(&dword_ops, &recorder, 2, 8), 0x1918171615141312);
    access_write(&byte_ops, &recorder, 0, 0xcafe, 2);
    ck_assert_uint_eq(recorder.bytes[0], 0xfe);
    ck_assert_uint_eq(recorder.bytes[1], 0xca);
    access_write(&dword_ops, &recorder, 1, 0x77, 1);
    ck_assert_uint_eq(recorder.offset, 0);
    ck_assert_uint_eq(recorder.size, 4);
    ck_assert_uint_eq(recorder.value, 0x7700);
    access_write(&dword_ops, &recorder, 6, 0xaabbccdd, 4);
    ck_assert_uint_eq(recorder.offset, 8);
    ck_assert_uint_eq(recorder.value, 0xaabb);
    ck_assert_uint_eq(access_read(&no_ops, NULL, 0, 2), 0xffff);
    access_write(&no_ops, NULL, 0, 1, 2);
}
END_TEST

/* -- Dirty logs -- */

static uint64_t cleared_gpa, cleared_size, written_gpa, written_size;
static uint64_t moved_first, moved_end;
static unsigned layouts;

static void on_layout(void *opaque, uint64_t first, uint64_t end)
{
    layouts++;
    moved_first = first;
    moved_end = end;
}

static void on_written(void *opaque, uint64_t gpa, uint64_t size)
{
    written_gpa = gpa;
    written_size = size;
}

static void on_cleared(void *opaque, uint64_t gpa, uint64_t size)
{
    cleared_gpa = gpa;
    cleared_size = size;
}

static const struct memory_observer observer = {on_layout, on_written, on_cleared, NULL};

START_TEST(dirty_pages_are_told_once)
{
    enum { PAGES = 200 };
    uint8_t *host = memory_alloc_host(PAGES * GUEST_PAGE_SIZE);
    uint64_t bits[4];

    memory_observe(memory, &observer);
    struct region *region = memory_add_host(memory, REGION_RAM, 0xe0000000, PAGES * GUEST_PAGE_SIZE,
                                            PRIORITY_PCI, host, true, "frame buffer");
    ck_assert(memory_find_page(memory, 0xe0000000).log_dirty);
    ck_assert(!region_fetch_dirty(region, 0, PAGES, bits));
    memory_note_write(memory, 0xe0003fff, 2); /* pages 3 and 4 */
    memory_note_write(memory, 0xe0000000 + 130 * GUEST_PAGE_SIZE, 1);
    ck_assert(region_fetch_dirty(region, 2, 190, bits));
    ck_assert_uint_eq(bits[0], 6);
    ck_assert_uint_eq(bits[1], 0);
    ck_assert_uint_eq(bits[2], 1);
    ck_assert_uint_eq(cleared_gpa, 0xe0003000);
    ck_assert_uint_eq(cleared_size, 128 * GUEST_PAGE_SIZE);
    ck_assert(!region_fetch_dirty(region, 0, PAGES, bits));

    /* DMA and the device's own writes count; ranges beyond the end do no harm. */
    ck_assert(memory_dma_write(memory, 0xe0005000, "x", 1));
    region_note_write(region, 199 * GUEST_PAGE_SIZE, UINT64_MAX);
    region_note_write(region, UINT64_MAX, 1);
    ck_assert(region_fetch_dirty(region, 0, 1000, (uint64_t[16]){0}));
    region_mark_dirty(region);
    ck_assert(region_fetch_dirty(region, 64, 64, bits));
    ck_assert_uint_eq(bits[0], UINT64_MAX);
    ck_assert(!region_fetch_dirty(region, PAGES, 64, bits));
    region_remove(region);
    memory_free_host(host, PAGES * GUEST_PAGE_SIZE);
}
END_TEST

/* -- DMA -- */

START_TEST(dma_crosses_everything)
{
    struct recorder recorder;
    static uint8_t out[0x4000], in[0x4000];

    fill(&recorder);
    memory_observe(memory, &observer);
    memory_add_mmio(memory, 0x400000, 0x1000, PRIORITY_BOARD, &any_ops, &recorder, "registers");
    memset(out, 0xa5, sizeof out);
    ck_assert(!memory_dma_write(memory, 0x3ff000, out, 0x3000));
    ck_assert_uint_eq(written_gpa, 0x401000);
    ck_assert_uint_eq(written_size, 0x1000);
    ck_assert_uint_eq(recorder.writes, 0);
    ck_assert(!memory_dma_read(memory, 0x3ff000, in, 0x3000));
    ck_assert_uint_eq(in[0xfff], 0xa5);
    ck_assert_uint_eq(in[0x1000], 0xff);
    ck_assert_uint_eq(in[0x2000], 0xa5);
    ck_assert_uint_eq(recorder.reads, 0);
    ck_assert(memory_dma_write(memory, 0x500000, out, 0));
    ck_assert(memory_dma_read(memory, UINT64_MAX, in, 0));
}
END_TEST

START_TEST(hostile_dma_stays_outside)
{
    static uint8_t bytes[0x3000];

    memset(bytes, 1, sizeof bytes);
    /* A transfer over the end of the address space does not come out at 0. */
    ck_assert(!memory_dma_write(memory, UINT64_MAX - 0xfff, bytes, sizeof bytes));
    ck_assert_uint_eq(memory_ram_host(memory)[0], 0);
    ck_assert(!memory_dma_read(memory, UINT64_MAX, bytes, sizeof bytes));
    ck_assert_uint_eq(bytes[sizeof bytes - 1], 0xff);
    ck_assert(!memory_dma_write(memory, RAM_BYTES - 0x1000, bytes, sizeof bytes));
    ck_assert(!memory_dma_write(memory, 0xffffffff00000000, bytes, 16));
}
END_TEST

START_TEST(rom_takes_no_dma)
{
    uint8_t *rom = memory_alloc_host(0x1000);
    uint8_t byte = 0;

    rom[0] = 0x77;
    memory_add_host(memory, REGION_ROM, 0xfffff000, 0x1000, PRIORITY_BOARD, rom, false, "rom");
    ck_assert(!memory_dma_write(memory, 0xfffff000, "x", 1));
    ck_assert(memory_dma_read(memory, 0xfffff000, &byte, 1));
    ck_assert_uint_eq(byte, 0x77);
    memory_mmio_write(memory, 0xfffff000, 0, 1);
    ck_assert_uint_eq(memory_mmio_read(memory, 0xfffff000, 1), 0x77);
    memory_free_host(rom, 0x1000);
}
END_TEST

START_TEST(observers_hear_of_changes_only)
{
    struct recorder recorder;

    fill(&recorder);
    memory_observe(memory, &observer);
    struct region *region =
        memory_add_mmio(memory, 0xe0000000, 0x1000, PRIORITY_PCI, &any_ops, &recorder, "bar");
    unsigned before = layouts;
    region_place(region, 0xe0000000, true);
    ck_assert_uint_eq(layouts, before);
    region_place(region, 0xe0001000, true);
    ck_assert_uint_eq(layouts, before + 1);
    region_place(region, 0xe0002000, false);
    ck_assert_uint_eq(layouts, before + 2);
    region_place(region, 0xe0003000, false);
    ck_assert_uint_eq(layouts, before + 2);
    ck_assert_uint_eq(moved_first, moved_end); /* RAM and ROM were where they were all the time */
}
END_TEST

static void assert_moved(uint64_t first, uint64_t end)
{
    ck_assert_uint_eq(moved_first, first);
    ck_assert_uint_eq(moved_end, end);
}

START_TEST(observers_hear_where_memory_changes)
{
    uint8_t *host = memory_alloc_host(0x4000);
    struct recorder recorder;

    fill(&recorder);
    memory_observe(memory, &observer);
    struct region *video =
        memory_add_host(memory, REGION_RAM, 0xe0000000, 0x4000, PRIORITY_PCI, host, false, "video");
    assert_moved(0xe0000000, 0xe0004000);
    region_place(video, 0xf0000000, true);
    assert_moved(0xe0000000, 0xf0004000);
    region_set_kind(video, REGION_ROM);
    assert_moved(0xf0000000, 0xf0004000);
    struct region *hole =
        memory_add_mmio(memory, 0xf0001000, 0x1000, PRIORITY_PCI + 1, &any_ops, &recorder, "bar");
    assert_moved(0xf0001000, 0xf0002000); /* the rest is in other segments, but the same */
    region_place(hole, 0xf0002000, true);
    assert_moved(0xf0001000, 0xf0003000);
    region_remove(hole);
    assert_moved(0xf0002000, 0xf0003000);
    region_remove(video);
    memory_free_host(host, 0x4000);
}
END_TEST

/* -- Lookups from another thread while a guest remaps in a loop -- */

static _Atomic bool stop_looking;

static void *look(void *opaque)
{
    uintptr_t wrong = 0;

    while (!atomic_load(&stop_looking)) {
        struct memory_page page = memory_find_page(memory, 0x5000);
        wrong += page.host != memory_ram_host(memory) + 0x5000;
        memory_note_write(memory, 0xe0000000, 1);
    }
    return (void *)wrong;
}

START_TEST(lookups_survive_remapping)
{
    uint8_t *host = memory_alloc_host(0x2000);
    pthread_t thread;
    void *wrong;

    pthread_create(&thread, NULL, look, NULL);
    for (int i = 0; i < 5000; i++) {
        struct region *region = memory_add_host(memory, REGION_RAM, 0xe0000000, 0x2000,
                                                PRIORITY_PCI, host, true, "bar");
        region_place(region, 0xe0001000, true);
        region_remove(region);
    }
    atomic_store(&stop_looking, true);
    pthread_join(thread, &wrong);
    ck_assert_ptr_null(wrong);
    memory_free_host(host, 0x2000);
}
END_TEST

/* -- Ports -- */

START_TEST(ports_shadow_and_come_back)
{
    struct io_bus *bus = io_bus_new();
    struct recorder below, above;

    fill(&below);
    fill(&above);
    ck_assert_uint_eq(io_bus_read(bus, 0x60, 4), 0xffffffff);
    io_bus_write(bus, 0x60, 1, 4);
    io_bus_add(bus, 0x100, 16, &any_ops, &below);
    struct io_range *range = io_bus_add(bus, 0x104, 1, &byte_ops, &above);
    /* The owner of the first byte takes what its extent covers. */
    ck_assert_uint_eq(io_bus_read(bus, 0x100, 4), 0x13121110);
    ck_assert_uint_eq(io_bus_read(bus, 0x102, 4), 0x15141312);
    ck_assert_uint_eq(io_bus_read(bus, 0x104, 1), 0x10);
    ck_assert_uint_eq(io_bus_read(bus, 0x104, 2), 0x1510);
    ck_assert_uint_eq(io_bus_read(bus, 0x10e, 4), 0xffff1f1e);
    io_bus_remove(bus, range);
    ck_assert_uint_eq(io_bus_read(bus, 0x104, 1), 0x14);
    /* The last port. */
    io_bus_add(bus, 0xffff, 1, &byte_ops, &above);
    ck_assert_uint_eq(io_bus_read(bus, 0xffff, 4), 0xffffff10);
    io_bus_write(bus, 0xffff, 0x12345678, 4);
    ck_assert_uint_eq(above.bytes[0], 0x78);
    io_bus_free(bus);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *tcase = tcase_create("memory");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, sizes_that_make_no_sense_are_refused);
    tcase_add_test(tcase, ram_is_one_mapping);
    tcase_add_test(tcase, ram_above_the_hole);
    tcase_add_test(tcase, priorities_decide);
    tcase_add_test(tcase, regions_that_wrap_are_not_seen);
    tcase_add_test(tcase, partial_pages_have_no_host_page);
    tcase_add_test(tcase, accesses_are_split_and_widened);
    tcase_add_test(tcase, dirty_pages_are_told_once);
    tcase_add_test(tcase, dma_crosses_everything);
    tcase_add_test(tcase, hostile_dma_stays_outside);
    tcase_add_test(tcase, rom_takes_no_dma);
    tcase_add_test(tcase, observers_hear_of_changes_only);
    tcase_add_test(tcase, observers_hear_where_memory_changes);
    tcase_add_test(tcase, lookups_survive_remapping);
    tcase_add_test(tcase, ports_shadow_and_come_back);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
