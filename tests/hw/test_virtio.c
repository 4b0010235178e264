/*
 * Virtio: registers of both ages, rings, interrupts, and what a broken ring does, seen on a block
 * device; the block device itself.
 */
#include "hw/state.h"
#include "hw/virtio/virtio_blk.h"
#include "tests/hw/virtio.h"

#define F_BLK_FLUSH (UINT64_C(1) << 9)
#define F_BLK_RO    (UINT64_C(1) << 5)
#define ALL         UINT64_MAX

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
enum { HEADER = BUFFERS, DATA = BUFFERS + 0x1000, STATUS = BUFFERS + 0x800 };

static struct image *image;
static _Atomic uint64_t activity;

static void setup_disk(bool read_only)
{
    struct virtio_place place = bench_new("disk");
    image = bench_disk(false, read_only);
    virtio_blk_new(&place, bench_memory, image, 7, 2, &activity);
    device_list_reset(&bench_list);
    place_bars();
}

static void teardown_disk(void)
{
    bench_free();
    image_close(image);
}

static uint64_t start_disk(uint64_t features)
{
    uint64_t got = start_driver(features);
    start_queue(0, 64);
    start_queue(1, 8);
    driver_ok();
    return got;
}

static void put_header(uint32_t type, uint64_t sector)
{
    poke(HEADER, type, 4);
    poke(HEADER + 4, 0, 4);
    poke(HEADER + 8, sector, 8);
    poke(STATUS, 0xee, 1);
}

/* A request with one data buffer; returns its status, 0xee without an answer. */
static uint8_t request(uint32_t type, uint64_t sector, uint32_t length, bool to_guest)
{
    const struct part parts[] = {{HEADER, 16, false}, {DATA, length, to_guest}, {STATUS, 1, true}};
    const struct part without[] = {{HEADER, 16, false}, {STATUS, 1, true}};
    put_header(type, sector);
    if (length)
        transact(0, parts, 3);
    else
        transact(0, without, 2);
    return *ram(STATUS);
}

/* -- Registers -- */

START_TEST(capabilities_and_identity)
{
    unsigned seen = 0;
    setup_disk(false);
    ck_assert_uint_eq(get_config(PCI_VENDOR_ID, 4), 0x10011af4);
    ck_assert_uint_eq(get_config(PCI_SUBSYSTEM_ID, 2), VIRTIO_BLOCK);
    ck_assert_uint_eq(get_config(PCI_REVISION, 1), 0);
    for (unsigned at = get_config(PCI_CAPABILITIES, 1); at; at = get_config(at + 1, 1))
        if (get_config(at, 1) == PCI_CAPABILITY_VENDOR) {
            unsigned type = get_config(at + 3, 1);
            seen |= 1u << type;
            if (type != 5) {
                ck_assert_uint_eq(get_config(at + 4, 1), 4);
            }
        }
    ck_assert_uint_eq(seen, 0x3e);
    ck_assert_uint_eq(read_modern(COMMON_QUEUES, 2), 2);
    write_modern(COMMON_QUEUE_SELECT, 2, 2); /* beyond the last */
    ck_assert_uint_eq(read_modern(COMMON_QUEUE_SIZE, 2), 0);
    write_modern(COMMON_QUEUE_ENABLE, 1, 2);
    ck_assert_uint_eq(read_modern(COMMON_QUEUE_ENABLE, 2), 0);
    ck_assert_uint_eq(device_status(), 0);
    teardown_disk();
}
END_TEST

START_TEST(features_are_checked)
{
    setup_disk(false);
    write_modern(COMMON_STATUS, 3, 1);
    write_modern(COMMON_DRIVER_SELECT, 1, 4);
    write_modern(COMMON_DRIVER_FEATURE, 0x80000001, 4); /* one that was not offered */
    write_modern(COMMON_STATUS, 3 | VIRTIO_STATUS_FEATURES_OK, 1);
    ck_assert_uint_eq(device_status(), 3);
    write_modern(COMMON_DRIVER_FEATURE, 0, 4); /* no VERSION_1 */
    write_modern(COMMON_STATUS, 3 | VIRTIO_STATUS_FEATURES_OK, 1);
    ck_assert_uint_eq(device_status(), 3);
    write_modern(COMMON_DRIVER_FEATURE, 1, 4);
    write_modern(COMMON_STATUS, 3 | VIRTIO_STATUS_FEATURES_OK, 1);
    ck_assert_uint_eq(device_status(), 3 | VIRTIO_STATUS_FEATURES_OK);
    write_modern(COMMON_DRIVER_FEATURE, 0, 4); /* too late */
    ck_assert_uint_eq(read_modern(COMMON_DRIVER_FEATURE, 4), 1);
    write_modern(COMMON_DEVICE_SELECT, 2, 4);
    ck_assert_uint_eq(read_modern(COMMON_DEVICE_FEATURE, 4), 0);
    teardown_disk();
}
END_TEST

START_TEST(configuration_window)
{
    unsigned at;
    setup_disk(false);
    for (at = get_config(PCI_CAPABILITIES, 1); get_config(at + 3, 1) != 5;)
        at = get_config(at + 1, 1);
    set_config(at + 4, 4, 1); /* BAR 4, the capacity */
    set_config(at + 8, PART_CONFIG_BASE, 4);
    set_config(at + 12, 4, 4);
    ck_assert_uint_eq(get_config(at + 16, 4), DISK_BYTES / 512);
    set_config(at + 8, COMMON_STATUS, 4);
    set_config(at + 12, 1, 4);
    set_config(at + 16, 1, 1);
    ck_assert_uint_eq(device_status(), 1);
    set_config(at + 4, 0, 1); /* BAR 0: legacy status */
    set_config(at + 8, 0x12, 4);
    ck_assert_uint_eq(get_config(at + 16, 1), 1);
    set_config(at + 12, 3, 4); /* no such access, nor one beyond the BAR */
    (void)get_config(at + 16, 4);
    set_config(at + 12, 4, 4);
    set_config(at + 8, 0xfffffffc, 4);
    set_config(at + 16, 0xffffffff, 4);
    (void)get_config(at + 16, 4);
    teardown_disk();
}
END_TEST

START_TEST(legacy_driver_reads)
{
    enum { PAGE = 0x200 };
    setup_disk(false);
    write_legacy(0x12, 3, 1);
    ck_assert_uint_ne(read_legacy(0, 4) & (1u << 28), 0);
    write_legacy(4, read_legacy(0, 4) & ~(1u << 29), 4); /* indirect, but no event index */
    ck_assert_uint_eq(read_legacy(0x14, 4), DISK_BYTES / 512);
    write_legacy(0x0e, 0, 2);
    uint16_t size = (uint16_t)read_legacy(0x0c, 2);
    ck_assert_uint_eq(size, 256);
    write_legacy(0x08, PAGE, 4);
    ck_assert_uint_eq(read_legacy(0x08, 4), PAGE);
    bench_queue[0] = (struct bench_queue){.size = size,
                                          .descriptors = PAGE * 4096,
                                          .driver_area = PAGE * 4096 + 16u * size,
                                          .device_area = (PAGE + 2) * 4096};
    write_legacy(0x12, 7, 1);

    put_header(IN, 5);
    const struct part parts[] = {{HEADER, 16, false}, {DATA, 512, true}, {STATUS, 1, true}};
    offer(0, parts, 3);
    write_legacy(0x10, 0, 2);
    settle();
    ck_assert_uint_eq(*ram(STATUS), 0);
    ck_assert_uint_eq(virtio_le32(ram(DATA)), 5 * 128);
    ck_assert(bench_intx);
    ck_assert_uint_eq(read_legacy(0x13, 1), 1);
    ck_assert(!bench_intx);
    ck_assert_uint_eq(read_legacy(0x13, 1), 0);

    struct virtio *virtio = (struct virtio *)pci_bus_device(bench_bus, DEVFN);
    set_config(virtio->msix.capability + 2, 0x8000, 2); /* the vectors push the configuration up */
    ck_assert_uint_eq(read_legacy(0x18, 4), DISK_BYTES / 512);
    write_legacy(0x14, 1, 2);
    ck_assert_uint_eq(read_legacy(0x14, 2), 1);
    write_legacy(0x14, 99, 2);
    ck_assert_uint_eq(read_legacy(0x14, 2), VIRTIO_NO_VECTOR);
    write_legacy(0x08, 0, 4);
    ck_assert_uint_eq(read_legacy(0x08, 4), 0);
    write_legacy(0x12, 0, 1);
    ck_assert_uint_eq(read_legacy(0x12, 1), 0);
    teardown_disk();
}
END_TEST

/* -- Interrupts -- */

static void enable_msix(unsigned vectors)
{
    struct virtio *virtio = (struct virtio *)pci_bus_device(bench_bus, DEVFN);
    for (unsigned i = 0; i < vectors; i++) {
        memory_mmio_write(bench_memory, MSIX_BASE + 16 * i, 0xfee00000, 4);
        memory_mmio_write(bench_memory, MSIX_BASE + 16 * i + 8, 10 + i, 4);
        memory_mmio_write(bench_memory, MSIX_BASE + 16 * i + 12, 0, 4);
    }
    set_config(virtio->msix.capability + 2, 0x8000, 2);
}

START_TEST(interrupts_by_message)
{
    setup_disk(false);
    start_driver(ALL & ~VIRTIO_F_EVENT_IDX);
    enable_msix(3);
    write_modern(COMMON_CONFIG_VECTOR, 0, 2);
    start_queue(0, 64);
    write_modern(COMMON_QUEUE_VECTOR, 2, 2);
    ck_assert_uint_eq(read_modern(COMMON_QUEUE_VECTOR, 2), 2);
    write_modern(COMMON_QUEUE_VECTOR, 3, 2); /* there are three */
    ck_assert_uint_eq(read_modern(COMMON_QUEUE_VECTOR, 2), VIRTIO_NO_VECTOR);
    write_modern(COMMON_QUEUE_VECTOR, 1, 2);
    driver_ok();
    ck_assert_uint_eq(request(IN, 0, 512, true), 0);
    ck_assert_uint_eq(bench_messages[11], 1);
    poke(bench_queue[0].driver_area, 1, 2); /* no interrupts, please */
    ck_assert_uint_eq(request(IN, 0, 512, true), 0);
    ck_assert_uint_eq(bench_messages[11], 1);
    ck_assert(!bench_intx);
    /* A broken ring is a change of configuration. */
    offer_head(0, 64);
    notify(0);
    settle();
    ck_assert_uint_eq(bench_messages[10], 1);
    ck_assert(device_status() & VIRTIO_STATUS_NEEDS_RESET);
    teardown_disk();
}
END_TEST

START_TEST(interrupts_by_event_index)
{
    setup_disk(false);
    ck_assert(start_disk(ALL) & VIRTIO_F_EVENT_IDX);
    uint64_t used_event = bench_queue[0].driver_area + 4 + 2 * 64;
    uint64_t avail_event = bench_queue[0].device_area + 4 + 8 * 64;
    poke(used_event, 1, 2); /* when two are done */
    request(IN, 0, 512, true);
    ck_assert_uint_eq(read_modern(PART_ISR_BASE, 1), 1); /* the first time, nobody can know */
    ck_assert_uint_eq(virtio_le16(ram(avail_event)), 1);
    poke(used_event, 3, 2);
    request(IN, 0, 512, true);
    request(IN, 0, 512, true);
    ck_assert_uint_eq(read_modern(PART_ISR_BASE, 1), 0);
    request(IN, 0, 512, true);
    ck_assert_uint_eq(read_modern(PART_ISR_BASE, 1), 1);
    ck_assert_uint_eq(virtio_le16(ram(avail_event)), 4);
    teardown_disk();
}
END_TEST

/* -- The block device -- */

START_TEST(disk_reads_and_writes)
{
    setup_disk(false);
    uint64_t features = start_disk(ALL);
    ck_assert(features & F_BLK_FLUSH);
    ck_assert(!(features & F_BLK_RO));
    ck_assert_uint_eq(request(IN, 100, 1024, true), 0);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 512)), 101 * 128);
    memset(ram(DATA), 0x5a, 4096);
    ck_assert_uint_eq(request(OUT, 200, 4096, false), 0);
    memset(ram(DATA), 0, 8192);
    ck_assert_uint_eq(request(IN, 199, 8192, true), 0);
    ck_assert_uint_eq(virtio_le32(ram(DATA)), 199 * 128);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 512)), 0x5a5a5a5a);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 512 + 4092)), 0x5a5a5a5a);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 512 + 4096)), 208 * 128);
    ck_assert_uint_eq(request(FLUSH, 0, 0, false), 0);
    memset(ram(DATA), 0, 20);
    ck_assert_uint_eq(request(GET_ID, 0, 20, true), 0);
    ck_assert_str_eq((char *)ram(DATA), "DV-00007");
    ck_assert_uint_eq(request(99, 0, 0, false), 2);
    teardown_disk();
}
END_TEST

START_TEST(disk_refuses)
{
    setup_disk(false);
    start_disk(ALL);
    ck_assert_uint_eq(request(IN, DISK_BYTES / 512, 512, true), 1);
    ck_assert_uint_eq(request(IN, DISK_BYTES / 512 - 1, 1024, true), 1);
    ck_assert_uint_eq(request(IN, UINT64_MAX, 512, true), 1);
    ck_assert_uint_eq(request(IN, UINT64_MAX / 512, 512, true), 1);
    ck_assert_uint_eq(request(IN, 0, 511, true), 1);
    ck_assert_uint_eq(request(OUT, DISK_BYTES / 512, 512, false), 1);
    ck_assert_uint_eq(request(IN, DISK_BYTES / 512 - 1, 512, true), 0);
    teardown_disk();
    setup_disk(true);
    ck_assert(start_disk(ALL) & F_BLK_RO);
    ck_assert_uint_eq(request(OUT, 0, 512, false), 1);
    ck_assert_uint_eq(request(IN, 0, 512, true), 0);
    teardown_disk();
}
END_TEST

static void put_range(unsigned index, uint64_t sector, uint32_t count, uint32_t flags)
{
    poke(DATA + 16 * index, sector, 8);
    poke(DATA + 16 * index + 8, count, 4);
    poke(DATA + 16 * index + 12, flags, 4);
}

START_TEST(disk_ranges)
{
    setup_disk(false);
    start_disk(ALL);
    put_range(0, 8, 16, 0);
    put_range(1, 40, 8, 1);
    ck_assert_uint_eq(request(WRITE_ZEROES, 0, 32, false), 0);
    ck_assert_uint_eq(request(IN, 7, 512 * 50, true), 0);
    ck_assert_uint_eq(virtio_le32(ram(DATA)), 7 * 128);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 512 + 4)), 0);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 512 * 17)), 24 * 128);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 512 * 33 + 4)), 0);
    put_range(0, 64, 8, 0);
    ck_assert_uint_eq(request(DISCARD, 0, 16, false), 0);
    put_range(0, 64, 8, 1); /* a flag that means nothing here */
    ck_assert_uint_eq(request(DISCARD, 0, 16, false), 2);
    put_range(0, DISK_BYTES / 512 - 1, 2, 0);
    ck_assert_uint_eq(request(DISCARD, 0, 16, false), 1);
    put_range(0, 0, UINT32_MAX, 0);
    ck_assert_uint_eq(request(WRITE_ZEROES, 0, 16, false), 1);
    ck_assert_uint_eq(request(DISCARD, 0, 15, false), 1);
    ck_assert_uint_eq(request(DISCARD, 0, 16 * 65, false), 1);
    teardown_disk();
}
END_TEST

START_TEST(indirect_tables_and_many_pieces)
{
    setup_disk(false);
    start_disk(ALL);
    const uint64_t table = BUFFERS + 0x20000;
    put_header(IN, 64);
    put_descriptor(table, HEADER, 7, DESC_NEXT, 1); /* the header in two pieces */
    put_descriptor(table + 16, HEADER + 7, 9, DESC_NEXT, 2);
    for (unsigned i = 0; i < 128; i++)
        put_descriptor(table + 16 * (2 + i), DATA + 1024 * i, 512, DESC_NEXT | DESC_WRITE,
                       (uint16_t)(3 + i));
    put_descriptor(table + 16 * 130, STATUS, 1, DESC_WRITE, 0);
    put_descriptor(bench_queue[0].descriptors, table, 131 * 16, DESC_INDIRECT, 0);
    offer_head(0, 0);
    notify(0);
    settle();
    ck_assert_uint_eq(*ram(STATUS), 0);
    for (unsigned i = 0; i < 128; i++)
        ck_assert_uint_eq(virtio_le32(ram(DATA + 1024 * i)), (64 + i) * 128);
    teardown_disk();
}
END_TEST

START_TEST(both_queues_many_requests)
{
    setup_disk(false);
    start_disk(ALL);
    for (unsigned round = 0; round < 300; round++) {
        unsigned queue = round % 2;
        const uint64_t data = DATA + 0x10000 * queue;
        const struct part parts[] = {{HEADER, 16, false}, {data, 512, true}, {STATUS, 1, true}};
        put_header(IN, round);
        ck_assert_uint_eq(transact(queue, parts, 3), 513);
        ck_assert_uint_eq(virtio_le32(ram(data)), round * 128);
    }
    teardown_disk();
}
END_TEST

/* -- Saving -- */

START_TEST(saved_in_the_middle)
{
    struct state_buffer saved = {0};
    struct error error = {""};
    setup_disk(false);
    start_disk(ALL);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(request(IN, 1, 512, true), 0);
    /* One that is offered, but of which the device does not know yet. */
    const struct part parts[] = {{HEADER, 16, false}, {DATA, 512, true}, {STATUS, 1, true}};
    put_header(IN, 9);
    offer(0, parts, 3);
    state_save_devices(&saved, &bench_list);
    device_list_reset(&bench_list);
    ck_assert(state_load_devices(saved.bytes, saved.length, &bench_list, &error));
    settle();
    ck_assert_uint_eq(*ram(STATUS), 0);
    ck_assert_uint_eq(virtio_le32(ram(DATA)), 9 * 128);
    ck_assert_uint_eq(used_index(0), 4);
    state_buffer_free(&saved);
    teardown_disk();
}
END_TEST

/* -- Rings that no driver makes -- */

enum {
    LOOP,
    LOOP_IN_TABLE,
    NESTED_TABLE,
    TABLE_WITH_NEXT,
    EMPTY_TABLE,
    ODD_TABLE,
    HUGE_TABLE,
    TABLE_OUTSIDE,
    NEXT_OUTSIDE,
    HEAD_OUTSIDE,
    INDEX_JUMP,
    BUFFER_OUTSIDE,
    BUFFER_AT_TOP,
    BUFFER_WRAPS,
    BUFFER_HUGE,
    BUFFER_IS_MMIO,
    WRITE_THEN_READ,
    NO_STATUS,
    SHORT_HEADER,
    HOSTILE_RINGS,
};

static void make_hostile(int kind)
{
    const uint64_t d = bench_queue[0].descriptors, table = BUFFERS + 0x20000;
    put_header(IN, 0);
    put_descriptor(d, HEADER, 16, DESC_NEXT, 1);
    put_descriptor(d + 16, DATA, 512, DESC_NEXT | DESC_WRITE, 2);
    put_descriptor(d + 32, STATUS, 1, DESC_WRITE, 0);
    uint16_t head = 0;
    switch (kind) {
    case LOOP:
        put_descriptor(d + 32, STATUS, 1, DESC_WRITE | DESC_NEXT, 1);
        break;
    case LOOP_IN_TABLE:
        put_descriptor(d, table, 32, DESC_INDIRECT, 0);
        put_descriptor(table, HEADER, 16, DESC_NEXT, 1);
        put_descriptor(table + 16, HEADER, 16, DESC_NEXT, 0);
        break;
    case NESTED_TABLE:
        put_descriptor(d, table, 16, DESC_INDIRECT, 0);
        put_descriptor(table, table, 16, DESC_INDIRECT, 0);
        break;
    case TABLE_WITH_NEXT:
        put_descriptor(d, table, 16, DESC_INDIRECT | DESC_NEXT, 1);
        put_descriptor(table, HEADER, 16, 0, 0);
        break;
    case EMPTY_TABLE:
        put_descriptor(d, table, 0, DESC_INDIRECT, 0);
        break;
    case ODD_TABLE:
        put_descriptor(d, table, 40, DESC_INDIRECT, 0);
        break;
    case HUGE_TABLE:
        put_descriptor(d, table, 0xfffffff0, DESC_INDIRECT, 0);
        break;
    case TABLE_OUTSIDE:
        put_descriptor(d, RAM_BYTES - 16, 32, DESC_INDIRECT, 0);
        break;
    case NEXT_OUTSIDE:
        put_descriptor(d, HEADER, 16, DESC_NEXT, 64);
        break;
    case HEAD_OUTSIDE:
        head = 0xffff;
        break;
    case INDEX_JUMP:
        bench_queue[0].avail = (uint16_t)(bench_queue[0].avail + 64);
        break;
    case BUFFER_OUTSIDE:
        put_descriptor(d + 16, RAM_BYTES - 256, 512, DESC_NEXT | DESC_WRITE, 2);
        break;
    case BUFFER_AT_TOP:
        put_descriptor(d + 16, UINT64_MAX - 255, 512, DESC_NEXT | DESC_WRITE, 2);
        break;
    case BUFFER_WRAPS:
        put_descriptor(d + 16, UINT64_MAX - 3, 0xffffffff, DESC_NEXT | DESC_WRITE, 2);
        break;
    case BUFFER_HUGE:
        put_descriptor(d + 16, DATA, 0xffffffff, DESC_NEXT | DESC_WRITE, 2);
        break;
    case BUFFER_IS_MMIO:
        put_descriptor(d + 16, MODERN_BASE, 512, DESC_NEXT | DESC_WRITE, 2);
        break;
    case WRITE_THEN_READ:
        put_descriptor(d, STATUS, 1, DESC_NEXT | DESC_WRITE, 1);
        put_descriptor(d + 16, HEADER, 16, 0, 0);
        break;
    case NO_STATUS:
        put_descriptor(d, HEADER, 16, 0, 0);
        break;
    case SHORT_HEADER:
        put_descriptor(d, HEADER, 15, DESC_NEXT, 1);
        break;
    }
    offer_head(0, head);
}

START_TEST(hostile_rings)
{
    setup_disk(false);
    start_disk(ALL);
    ck_assert_uint_eq(request(IN, 3, 512, true), 0);
    make_hostile(_i);
    notify(0);
    settle();
    ck_assert_msg(device_status() & VIRTIO_STATUS_NEEDS_RESET, "ring %d was taken", _i);
    ck_assert_uint_eq(used_index(0), 1);
    ck_assert_uint_eq(request(IN, 3, 512, true), 0xee); /* it stands */
    start_disk(ALL);
    ck_assert_uint_eq(request(IN, 3, 512, true), 0); /* and goes on after a reset */
    teardown_disk();
}
END_TEST

START_TEST(impossible_queues)
{
    static const struct {
        uint64_t descriptors, driver_area, device_area;
    } areas[] = {
        {RINGS + 8, RINGS + 0x8000, RINGS + 0xa000},
        {RINGS, RINGS + 0x8001, RINGS + 0xa000},
        {RINGS, RINGS + 0x8000, RINGS + 0xa002},
        {RAM_BYTES - 64, RINGS + 0x8000, RINGS + 0xa000},
        {RINGS, RAM_BYTES - 4, RINGS + 0xa000},
        {RINGS, RINGS + 0x8000, RAM_BYTES - 8},
        {UINT64_MAX - 15, UINT64_MAX - 15, UINT64_MAX - 15},
    };
    setup_disk(false);
    for (size_t i = 0; i < sizeof areas / sizeof *areas; i++) {
        const uint64_t *area = &areas[i].descriptors;
        start_driver(ALL);
        memset(ram(RINGS), 0, 0x10000);
        poke(RINGS + 0x8002, 1, 2); /* one chain is offered, where the ring is readable */
        write_modern(COMMON_QUEUE_SELECT, 0, 2);
        write_modern(COMMON_QUEUE_SIZE, 48, 2); /* no power of two: stays what it was */
        ck_assert_uint_eq(read_modern(COMMON_QUEUE_SIZE, 2), 256);
        write_modern(COMMON_QUEUE_SIZE, 512, 2);
        ck_assert_uint_eq(read_modern(COMMON_QUEUE_SIZE, 2), 256);
        write_modern(COMMON_QUEUE_SIZE, 64, 2);
        for (unsigned j = 0; j < 3; j++) {
            write_modern(COMMON_DESCRIPTORS + 8 * j, (uint32_t)area[j], 4);
            write_modern(COMMON_DESCRIPTORS + 8 * j + 4, (uint32_t)(area[j] >> 32), 4);
        }
        write_modern(COMMON_QUEUE_ENABLE, 1, 2);
        driver_ok();
        notify(0);
        settle();
        ck_assert_msg(device_status() & VIRTIO_STATUS_NEEDS_RESET, "areas %zu were taken", i);
    }
    teardown_disk();
}
END_TEST

/* A reset while requests are under way ends them first, and nothing is written afterwards. */
START_TEST(reset_with_requests_under_way)
{
    setup_disk(false);
    for (unsigned round = 0; round < 50; round++) {
        const struct part parts[] = {{HEADER, 16, false}, {DATA, 65536, true}, {STATUS, 1, true}};
        const struct part flush[] = {{HEADER + 16, 16, false}, {STATUS + 16, 1, true}};
        start_disk(ALL);
        put_header(IN, 0);
        poke(HEADER + 16, FLUSH, 4);
        for (unsigned i = 0; i < 8; i++)
            offer(0, i % 3 ? parts : flush, i % 3 ? 3 : 2);
        notify(0);
        if (round % 2) { /* let the worker begin */
            pthread_mutex_unlock(&bench_lock);
            usleep(50);
            pthread_mutex_lock(&bench_lock);
        }
        write_modern(COMMON_STATUS, 0, 1);
        ck_assert_uint_eq(device_status(), 0);
        memset(ram(DATA), 0x77, 65536);
        uint16_t used = used_index(0);
        settle();
        ck_assert_uint_eq(used_index(0), used);
        for (unsigned i = 0; i < 65536; i += 512)
            ck_assert_uint_eq(*ram(DATA + i), 0x77);
    }
    teardown_disk();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        capabilities_and_identity,
        features_are_checked,
        configuration_window,
        legacy_driver_reads,
        interrupts_by_message,
        interrupts_by_event_index,
        disk_reads_and_writes,
        disk_refuses,
        disk_ranges,
        indirect_tables_and_many_pieces,
        both_queues_many_requests,
        saved_in_the_middle,
        impossible_queues,
        reset_with_requests_under_way,
    };
    Suite *suite = suite_create("virtio");
    TCase *cases = tcase_create("virtio");
    log_items = 0;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(cases, tests[i]);
    tcase_add_loop_test(cases, hostile_rings, 0, HOSTILE_RINGS);
    tcase_set_timeout(cases, 60);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
