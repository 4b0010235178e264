/*
 * Virtio devices under a driver that writes garbage: random registers, rings and descriptors with
 * random contents that are often nearly right, notifications, resets, and an outside that sends.
 * Nothing may crash, hang, or reach beyond its bounds (run it with SANITIZE=1).
 *
 *   test_virtio_hostile [STEPS [SEED]]     steps for each device (default 10000)
 */
#include "hw/virtio/virtio_balloon.h"
#include "hw/virtio/virtio_blk.h"
#include "hw/virtio/virtio_console.h"
#include "hw/virtio/virtio_net.h"
#include "hw/virtio/virtio_rng.h"
#include "hw/virtio/virtio_scsi.h"
#include "tests/hw/virtio.h"

#include <signal.h>
#include <stdlib.h>

#define RING_SIZE 32
#define AREA      0x20000u /* where buffers and tables lie, from BUFFERS on */

static unsigned steps = 10000;
static uint64_t start_seed = 1, seed;
static _Atomic uint64_t activity;
static struct image *disk, *disc;
static struct packet_port port;
static struct byte_port *console_port;

static uint64_t noise(void)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * 2685821657736338717ull;
}

static bool one_in(unsigned n)
{
    return (noise() >> 20) % n == 0;
}

/* -- The devices -- */

static void take_frame(void *network, const uint8_t *frame, size_t length)
{
    static volatile uint8_t sink;
    for (size_t i = 0; i < length; i += 64)
        sink = frame[i];
    (void)sink;
}

static void make_blk(const struct virtio_place *place)
{
    virtio_blk_new(place, bench_memory, disk, 1, 2, &activity);
}

static void make_net(const struct virtio_place *place)
{
    static const uint8_t mac[6] = {2};
    port = (struct packet_port){.send = take_frame, .link_up = true};
    virtio_net_new(place, bench_memory, bench_time, mac, &port, 2);
}

static void make_scsi(const struct virtio_place *place)
{
    struct virtio_scsi *scsi = virtio_scsi_new(place, bench_memory, 2, &activity);
    virtio_scsi_attach(scsi, 0, disk, false);
    virtio_scsi_attach(scsi, 1, disc, true);
}

static void make_console(const struct virtio_place *place)
{
    static const char *const names[] = {NULL, "port"};
    struct virtio_console *console = virtio_console_new(place, bench_memory, names, 2);
    console_port = virtio_console_port(console, 1);
    virtio_console_port(console, 0)->send = take_frame;
    console_port->send = take_frame;
}

static void make_balloon(const struct virtio_place *place)
{
    virtio_balloon_new(place, bench_memory, RAM_BYTES / 2);
}

static void make_rng(const struct virtio_place *place)
{
    virtio_rng_new(place, bench_memory);
}

static const struct {
    const char *name;
    void (*make)(const struct virtio_place *place);
} kinds[] = {
    {"blk", make_blk},         {"net", make_net},         {"scsi", make_scsi},
    {"console", make_console}, {"balloon", make_balloon}, {"rng", make_rng},
};

/* -- Contents -- */

static uint64_t address(void)
{
    switch ((noise() >> 16) % 32) {
    case 0:
        return noise();
    case 1:
        return RAM_BYTES - (noise() >> 40) % 4096;
    case 2:
        return noise() & 0xffffffff;
    default:
        return BUFFERS + (noise() >> 16) % AREA;
    }
}

static uint32_t some_length(void)
{
    static const uint32_t telling[] = {0, 1, 2, 8, 10, 12, 16, 20, 24, 51, 108, 512, 1024, 4096};
    switch ((noise() >> 16) % 16) {
    case 0:
        return (uint32_t)noise();
    case 1:
        return (uint32_t)(noise() >> 48);
    default:
        return telling[(noise() >> 16) % (sizeof telling / sizeof *telling)];
    }
}

/* Small numbers, so that commands, sectors and ports often exist. */
static void fill_buffers(void)
{
    uint64_t at = BUFFERS + (noise() >> 16) % (AREA - 256);
    for (unsigned i = 0; i < 128; i++)
        *ram(at + i) = (uint8_t)(one_in(4) ? noise() : one_in(2) ? noise() % 16 : 0);
}

static void put_chain(unsigned index)
{
    struct bench_queue *queue = &bench_queue[index];
    unsigned readable = (unsigned)(noise() >> 16) % 3, count = readable + (noise() >> 24) % 3;
    uint64_t table = queue->descriptors;
    uint32_t entries = RING_SIZE, at = (uint32_t)(noise() >> 16) % RING_SIZE;
    uint16_t head = (uint16_t)at;
    if (one_in(4)) { /* through a table */
        table = (BUFFERS + (noise() >> 16) % (AREA - 4096)) & ~(uint64_t)15;
        put_descriptor(queue->descriptors + 16u * head, table,
                       one_in(16) ? some_length() : 16 * (count ? count : 1),
                       (uint16_t)(one_in(16) ? noise() : DESC_INDIRECT), 0);
        at = 0;
        entries = 64;
    }
    for (unsigned i = 0; i < (count ? count : 1); i++) {
        uint16_t next = (uint16_t)((at + 1) % entries);
        uint16_t flags =
            (uint16_t)((i >= readable ? DESC_WRITE : 0) | (i + 1 < count ? DESC_NEXT : 0));
        if (one_in(64))
            flags = (uint16_t)noise();
        put_descriptor(table + 16u * at, address(), some_length(), flags,
                       one_in(64) ? (uint16_t)noise() : next);
        at = next;
    }
    offer_head(index, one_in(64) ? (uint16_t)noise() : head);
    if (one_in(256))
        queue->avail = (uint16_t)noise();
}

/* -- Steps -- */

static void start_device(unsigned queues)
{
    uint64_t features = one_in(2) ? UINT64_MAX : noise() | VIRTIO_F_VERSION_1;
    write_modern(COMMON_STATUS, 0, 1);
    place_bars();
    start_driver(features);
    for (unsigned i = 0; i < queues; i++)
        start_queue(i, RING_SIZE < 8 ? 8 : i == 0 && queues == 1 ? 8 : RING_SIZE);
    driver_ok();
}

static void touch_register(void)
{
    unsigned size = 1u << (noise() >> 30) % 3;
    uint32_t offset = (uint32_t)((noise() >> 16) % (one_in(2) ? 0x40 : 0x4000));
    if (one_in(4))
        (void)read_modern(offset, size);
    else if (one_in(4))
        write_legacy((uint16_t)((noise() >> 16) % 127), (uint32_t)noise(), 1);
    else if (one_in(4))
        set_config((noise() >> 16) & 0xfc, (uint32_t)noise(), 4);
    else
        write_modern(offset, one_in(2) ? (uint32_t)noise() % 64 : (uint32_t)noise(), size);
}

static void from_outside(unsigned kind)
{
    uint8_t bytes[2000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)noise();
    if (one_in(2))
        memcpy(bytes, "\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\x08\0\x45", 15);
    if (kinds[kind].make == make_net)
        port.receive(port.nic, bytes, (noise() >> 16) % sizeof bytes);
    if (kinds[kind].make == make_console)
        console_port->receive(console_port->device, bytes, (noise() >> 16) % 64);
}

static void give_up(int signal)
{
    fprintf(stderr, "hostile virtio: stuck, seed %llu\n", (unsigned long long)start_seed);
    _exit(1);
}

START_TEST(survives)
{
    seed = (start_seed + (uint64_t)_i) * 0x9e3779b97f4a7c15ull | 1;
    struct virtio_place place = bench_new(kinds[_i].name);
    disk = bench_disk(false, false);
    disc = bench_disk(true, true);
    kinds[_i].make(&place);
    device_list_reset(&bench_list);
    place_bars();
    const struct virtio *virtio = (struct virtio *)pci_bus_device(bench_bus, DEVFN);
    unsigned queues = virtio->queues;
    start_device(queues);
    for (unsigned step = 0; step < steps; step++) {
        unsigned index = (unsigned)(noise() >> 16) % queues;
        if (device_status() & VIRTIO_STATUS_NEEDS_RESET ||
            !(device_status() & VIRTIO_STATUS_DRIVER_OK) || one_in(500))
            start_device(queues);
        fill_buffers();
        for (unsigned i = 0; i < 3; i++)
            put_chain(index);
        notify(one_in(64) ? (unsigned)noise() % 32 : index);
        if (one_in(32))
            touch_register();
        if (one_in(8))
            from_outside((unsigned)_i);
        if (one_in(4))
            settle();
        if (one_in(64)) {
            pthread_mutex_unlock(&bench_lock);
            loop_turn(bench_loop, 0);
            pthread_mutex_lock(&bench_lock);
        }
        if (one_in(2000))
            device_list_reset(&bench_list);
    }
    printf("%-8s %u steps\n", kinds[_i].name, steps);
    bench_free();
    image_close(disk);
    image_close(disc);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1)
        steps = (unsigned)strtoul(argv[1], NULL, 0);
    if (argc > 2)
        start_seed = strtoull(argv[2], NULL, 0);
    signal(SIGALRM, give_up);
    alarm(120 + steps / 500);
    log_items = 0;

    Suite *suite = suite_create("hostile virtio");
    TCase *cases = tcase_create("hostile virtio");
    tcase_add_loop_test(cases, survives, 0, (int)(sizeof kinds / sizeof *kinds));
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
