/*
 * The driver's side of virtio for tests: a small machine without processor, one device of any kind
 * on it, its registers, and rings in guest memory.
 */
#ifndef DOPPEL_TESTS_HW_VIRTIO_H
#define DOPPEL_TESTS_HW_VIRTIO_H

#include "hw/alloc.h"
#include "hw/image/image.h"
#include "hw/virtio/virtio.h"

#include <check.h>
#include <string.h>
#include <unistd.h>

#define RAM_BYTES   (16u << 20)
#define DEVFN       PCI_DEVFN(4, 0)
#define IO_BASE     0xc000
#define MSIX_BASE   0xf0000000u
#define MODERN_BASE 0xf0010000u
#define RINGS       0x100000u /* 64 KiB for each queue */
#define BUFFERS     0x400000u
#define DISK_BYTES  (4u << 20)

/* Common configuration. */
enum {
    COMMON_DEVICE_SELECT = 0x00,
    COMMON_DEVICE_FEATURE = 0x04,
    COMMON_DRIVER_SELECT = 0x08,
    COMMON_DRIVER_FEATURE = 0x0c,
    COMMON_CONFIG_VECTOR = 0x10,
    COMMON_QUEUES = 0x12,
    COMMON_STATUS = 0x14,
    COMMON_QUEUE_SELECT = 0x16,
    COMMON_QUEUE_SIZE = 0x18,
    COMMON_QUEUE_VECTOR = 0x1a,
    COMMON_QUEUE_ENABLE = 0x1c,
    COMMON_DESCRIPTORS = 0x20,
    COMMON_DRIVER_AREA = 0x28,
    COMMON_DEVICE_AREA = 0x30,
};
enum { PART_ISR_BASE = 0x1000, PART_CONFIG_BASE = 0x2000, PART_NOTIFY_BASE = 0x3000 };

#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4

static pthread_mutex_t bench_lock = PTHREAD_MUTEX_INITIALIZER;
static struct device_list bench_list;
static struct io_bus *bench_ports;
static struct memory *bench_memory;
static struct pci_bus *bench_bus;
static struct clock *bench_time;
static struct loop *bench_loop;
static bool bench_intx;
static unsigned bench_messages[64]; /* by the message's data */

static inline void bench_set_intx(void *opaque, int number, bool level)
{
    bench_intx = level;
}

static inline void bench_take_message(void *opaque, uint64_t address, uint32_t data)
{
    if (data < 64)
        bench_messages[data]++;
}

/* A machine; the board lock stays held by the test, and is let go where it waits. */
static inline struct virtio_place bench_new(const char *id)
{
    struct irq_line lines[4];
    device_list_init(&bench_list);
    bench_ports = io_bus_new();
    bench_memory = memory_new(RAM_BYTES, NULL);
    bench_time = clock_new();
    bench_loop = loop_new(bench_time, &bench_lock);
    for (int i = 0; i < 4; i++)
        lines[i] = (struct irq_line){bench_set_intx, NULL, i};
    bench_bus = pci_bus_new(&bench_list, bench_ports, bench_memory, lines);
    pci_bus_route_messages(bench_bus, bench_take_message, NULL);
    bench_intx = false;
    memset(bench_messages, 0, sizeof bench_messages);
    pthread_mutex_lock(&bench_lock);
    return (struct virtio_place){&bench_list, bench_bus, DEVFN, bench_loop, id};
}

static inline void bench_free(void)
{
    loop_drain(bench_loop);
    device_list_destroy(&bench_list);
    pthread_mutex_unlock(&bench_lock);
    loop_free(bench_loop);
    memory_free(bench_memory);
    io_bus_free(bench_ports);
    clock_free(bench_time);
}

/* -- Registers -- */

static inline void set_config(unsigned offset, uint32_t value, unsigned size)
{
    pci_config_write(bench_bus, DEVFN, (uint8_t)offset, value, size);
}

static inline uint32_t get_config(unsigned offset, unsigned size)
{
    return pci_config_read(bench_bus, DEVFN, (uint8_t)offset, size);
}

static inline void write_modern(uint32_t offset, uint32_t value, unsigned size)
{
    memory_mmio_write(bench_memory, MODERN_BASE + offset, value, size);
}

static inline uint32_t read_modern(uint32_t offset, unsigned size)
{
    return (uint32_t)memory_mmio_read(bench_memory, MODERN_BASE + offset, size);
}

static inline void write_legacy(uint16_t offset, uint32_t value, unsigned size)
{
    io_bus_write(bench_ports, (uint16_t)(IO_BASE + offset), value, size);
}

static inline uint32_t read_legacy(uint16_t offset, unsigned size)
{
    return io_bus_read(bench_ports, (uint16_t)(IO_BASE + offset), size);
}

static inline void place_bars(void)
{
    set_config(PCI_BAR0, IO_BASE, 4);
    set_config(PCI_BAR0 + 4, MSIX_BASE, 4);
    set_config(PCI_BAR0 + 16, MODERN_BASE, 4);
    set_config(PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static inline uint8_t device_status(void)
{
    return (uint8_t)read_modern(COMMON_STATUS, 1);
}

/* -- Guest memory -- */

static inline uint8_t *ram(uint64_t gpa)
{
    return memory_ram_host(bench_memory) + gpa;
}

static inline void poke(uint64_t gpa, uint64_t value, unsigned size)
{
    virtio_put(ram(gpa), value, size);
}

/* -- Rings -- */

static struct bench_queue {
    uint16_t size, avail, used;
    uint64_t descriptors, driver_area, device_area;
    uint16_t next_descriptor;
} bench_queue[VIRTIO_QUEUES_MAX];

/* Status and features; returns those negotiated. */
static inline uint64_t start_driver(uint64_t wanted)
{
    uint64_t offered = 0;
    write_modern(COMMON_STATUS, 0, 1);
    write_modern(COMMON_STATUS, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER, 1);
    for (unsigned half = 0; half < 2; half++) {
        write_modern(COMMON_DEVICE_SELECT, half, 4);
        offered |= (uint64_t)read_modern(COMMON_DEVICE_FEATURE, 4) << (32 * half);
    }
    wanted &= offered;
    for (unsigned half = 0; half < 2; half++) {
        write_modern(COMMON_DRIVER_SELECT, half, 4);
        write_modern(COMMON_DRIVER_FEATURE, (uint32_t)(wanted >> (32 * half)), 4);
    }
    write_modern(COMMON_STATUS,
                 VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK, 1);
    ck_assert(device_status() & VIRTIO_STATUS_FEATURES_OK);
    return wanted;
}

static inline void start_queue(unsigned index, uint16_t size)
{
    struct bench_queue *queue = &bench_queue[index];
    uint64_t base = RINGS + index * 0x10000u;
    *queue = (struct bench_queue){.size = size,
                                  .descriptors = base,
                                  .driver_area = base + 0x8000,
                                  .device_area = base + 0xa000};
    memset(ram(base), 0, 0x10000);
    write_modern(COMMON_QUEUE_SELECT, index, 2);
    write_modern(COMMON_QUEUE_SIZE, size, 2);
    const uint64_t areas[] = {queue->descriptors, queue->driver_area, queue->device_area};
    for (unsigned i = 0; i < 3; i++) {
        write_modern(COMMON_DESCRIPTORS + 8 * i, (uint32_t)areas[i], 4);
        write_modern(COMMON_DESCRIPTORS + 8 * i + 4, (uint32_t)(areas[i] >> 32), 4);
    }
    write_modern(COMMON_QUEUE_ENABLE, 1, 2);
    ck_assert_uint_eq(read_modern(COMMON_QUEUE_ENABLE, 2), 1);
}

static inline void driver_ok(void)
{
    write_modern(COMMON_STATUS, device_status() | VIRTIO_STATUS_DRIVER_OK, 1);
}

struct part {
    uint64_t gpa;
    uint32_t length;
    bool write;
};

static inline void put_descriptor(uint64_t at, uint64_t address, uint32_t length, uint16_t flags,
                                  uint16_t next)
{
    poke(at, address, 8);
    poke(at + 8, length, 4);
    poke(at + 12, flags, 2);
    poke(at + 14, next, 2);
}

static inline void offer_head(unsigned index, uint16_t head)
{
    struct bench_queue *queue = &bench_queue[index];
    poke(queue->driver_area + 4 + 2u * (queue->avail % queue->size), head, 2);
    poke(queue->driver_area + 2, ++queue->avail, 2);
}

/* Makes a chain and offers it, without notification. Returns its head. */
static inline uint16_t offer(unsigned index, const struct part *parts, unsigned count)
{
    struct bench_queue *queue = &bench_queue[index];
    uint16_t head = queue->next_descriptor;
    for (unsigned i = 0; i < count; i++) {
        uint16_t here = queue->next_descriptor;
        queue->next_descriptor = (uint16_t)((here + 1) % queue->size);
        put_descriptor(
            queue->descriptors + 16u * here, parts[i].gpa, parts[i].length,
            (uint16_t)((parts[i].write ? DESC_WRITE : 0) | (i + 1 < count ? DESC_NEXT : 0)),
            queue->next_descriptor);
    }
    offer_head(index, head);
    return head;
}

static inline void notify(unsigned index)
{
    write_modern(PART_NOTIFY_BASE + 4 * index, index, 2);
}

/* Lets the device work until nothing is left to do. */
static inline void settle(void)
{
    loop_drain(bench_loop);
}

static inline uint16_t used_index(unsigned index)
{
    return virtio_le16(ram(bench_queue[index].device_area + 2));
}

/* Takes the next used element: true, and the length in *length. */
static inline bool take_used(unsigned index, uint32_t *head, uint32_t *length)
{
    struct bench_queue *queue = &bench_queue[index];
    if (used_index(index) == queue->used)
        return false;
    uint64_t at = queue->device_area + 4 + 8u * (queue->used++ % queue->size);
    *head = virtio_le32(ram(at));
    *length = virtio_le32(ram(at + 4));
    return true;
}

/* One request from notification to answer; returns the used length, UINT32_MAX without an answer.
 */
static inline uint32_t transact(unsigned index, const struct part *parts, unsigned count)
{
    uint32_t head, length;
    uint16_t offered = offer(index, parts, count);
    notify(index);
    settle();
    if (!take_used(index, &head, &length))
        return UINT32_MAX;
    ck_assert_uint_eq(head, offered);
    return length;
}

/* -- Disks -- */

static inline struct image *bench_disk(bool optical, bool read_only)
{
    char path[] = "/tmp/doppel-virtio-XXXXXX";
    struct error error = {""};
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    for (unsigned i = 0; i < DISK_BYTES / 512; i++) {
        uint32_t sector[128];
        for (unsigned j = 0; j < 128; j++)
            sector[j] = i * 128 + j;
        ck_assert_int_eq(write(fd, sector, 512), 512);
    }
    close(fd);
    struct image *image = image_open(&(struct image_options){.path = path,
                                                             .optical = optical,
                                                             .read_only = read_only || optical},
                                     &error);
    ck_assert_msg(image != NULL, "%s", error.text);
    unlink(path);
    return image;
}

static inline int run_suite(const char *subject, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(subject);
    TCase *cases = tcase_create(subject);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(cases, tests[i]);
    tcase_set_timeout(cases, 60);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
