/*
 * Virtio network, SCSI, console, balloon and entropy devices, by their rings.
 */
#include "hw/network/checksum.h"
#include "hw/state.h"
#include "hw/virtio/virtio_balloon.h"
#include "hw/virtio/virtio_console.h"
#include "hw/virtio/virtio_net.h"
#include "hw/virtio/virtio_rng.h"
#include "hw/virtio/virtio_scsi.h"
#include "tests/hw/virtio.h"

#include <sys/mman.h>

#define ALL UINT64_MAX

static _Atomic uint64_t activity;

/* -- Network -- */

enum { RX = 0, TX = 1 };
#define F_GUEST_TSO4 (UINT64_C(1) << 7)
#define F_MRG        (UINT64_C(1) << 15)
#define PAYLOAD_MAX  1460

static struct packet_port port;
static struct virtio_net *net;
static uint8_t sent[64][70000];
static size_t sent_length[64];
static unsigned sent_count, made_writable;

static void take_frame(void *network, const uint8_t *frame, size_t length)
{
    ck_assert_uint_lt(sent_count, 64);
    memcpy(sent[sent_count], frame, length);
    sent_length[sent_count++] = length;
}

static void note_writable(void *network)
{
    made_writable++;
}

static void setup_net(uint64_t features, unsigned pairs)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    struct virtio_place place = bench_new("nic");
    port = (struct packet_port){.send = take_frame, .writable = note_writable, .link_up = true};
    net = virtio_net_new(&place, bench_memory, bench_time, mac, &port, pairs);
    device_list_reset(&bench_list);
    place_bars();
    sent_count = made_writable = 0;
    start_driver(features);
    for (unsigned i = 0; i <= 2 * pairs; i++)
        start_queue(i, 64);
    driver_ok();
    settle();
    made_writable = 0;
}

static size_t make_tcp(uint8_t *frame, size_t payload, uint32_t sequence, uint8_t flags)
{
    memset(frame, 0, 54);
    memcpy(frame, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0", 14);
    frame[14] = 0x45;
    store16(frame + 16, (uint32_t)(40 + payload));
    frame[22] = 64;
    frame[23] = 6;
    memcpy(frame + 26, "\x0a\0\x02\x02\x0a\0\x02\x0f", 8);
    store16(frame + 24, (uint16_t)~fold_sum(sum_words(frame + 14, 20)));
    store16(frame + 34, 80);
    store16(frame + 36, 4000);
    store32(frame + 38, sequence);
    frame[46] = 0x50;
    frame[47] = flags;
    store16(frame + 48, 8192);
    for (size_t i = 0; i < payload; i++)
        frame[54 + i] = (uint8_t)(sequence + i);
    uint32_t sum = sum_words(frame + 26, 8) + 6 + (uint32_t)(20 + payload);
    store16(frame + 50, (uint16_t)~fold_sum(sum + sum_words(frame + 34, 20 + payload)));
    return 54 + payload;
}

static bool tcp_is_good(const uint8_t *frame, size_t length)
{
    uint32_t sum = sum_words(frame + 26, 8) + 6 + (uint32_t)(length - 34);
    return fold_sum(sum + sum_words(frame + 34, length - 34)) == 0xffff &&
           fold_sum(sum_words(frame + 14, 20)) == 0xffff && load16(frame + 16) == length - 14;
}

/* Sends what stands at BUFFERS (12 bytes of header, then the frame). */
static void transmit(size_t length)
{
    const struct part parts[] = {{BUFFERS, 12, false}, {BUFFERS + 12, (uint32_t)length, false}};
    ck_assert_uint_eq(transact(TX, parts, 2), 0);
}

static void give_buffers(unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++) {
        const struct part part = {BUFFERS + 0x20000 + bench_queue[RX].avail * 0x1000u, size, true};
        offer(RX, &part, 1);
    }
    notify(RX);
    settle();
}

START_TEST(net_completes_checksums)
{
    setup_net(ALL, 1);
    size_t length = make_tcp(ram(BUFFERS + 12), 100, 5, 0x10);
    memset(ram(BUFFERS), 0, 12);
    *ram(BUFFERS) = 1; /* needs a checksum; the field holds that of the pseudo header */
    poke(BUFFERS + 6, 34, 2);
    poke(BUFFERS + 8, 16, 2);
    store16(ram(BUFFERS + 12 + 50), fold_sum(sum_words(ram(BUFFERS + 12 + 26), 8) + 6 + 120));
    transmit(length);
    ck_assert_uint_eq(sent_count, 1);
    ck_assert_uint_eq(sent_length[0], length);
    ck_assert(tcp_is_good(sent[0], length));
    poke(BUFFERS + 6, 0xfff0, 2); /* a field outside */
    transmit(length);
    ck_assert_uint_eq(sent_count, 1);
    bench_free();
}
END_TEST

START_TEST(net_cuts_segments)
{
    setup_net(ALL, 1);
    size_t length = make_tcp(ram(BUFFERS + 12), 5000, 1000, 0x19); /* FIN, PSH, ACK */
    memset(ram(BUFFERS), 0, 12);
    *ram(BUFFERS) = 1;
    *ram(BUFFERS + 1) = 1; /* TCPv4 */
    poke(BUFFERS + 2, 54, 2);
    poke(BUFFERS + 4, PAYLOAD_MAX, 2);
    poke(BUFFERS + 6, 34, 2);
    poke(BUFFERS + 8, 16, 2);
    transmit(length);
    ck_assert_uint_eq(sent_count, 4);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(sent_length[i], 54 + (i < 3 ? PAYLOAD_MAX : 5000 - 3 * PAYLOAD_MAX));
        ck_assert(tcp_is_good(sent[i], sent_length[i]));
        ck_assert_uint_eq(load32(sent[i] + 38), 1000 + i * PAYLOAD_MAX);
        ck_assert_uint_eq(sent[i][47], i < 3 ? 0x10 : 0x19);
        ck_assert_uint_eq(load16(sent[i] + 18), i);
    }
    port.send_max = 70000; /* a network that takes it whole */
    store16(ram(BUFFERS + 12 + 50), fold_sum(sum_words(ram(BUFFERS + 12 + 26), 8) + 6 + 5020));
    transmit(length);
    ck_assert_uint_eq(sent_count, 5);
    ck_assert(tcp_is_good(sent[4], length));
    port.send_max = 0;
    poke(BUFFERS + 4, 0, 2); /* segments of nothing */
    transmit(length);
    *ram(BUFFERS + 1) = 4; /* no IPv6 */
    poke(BUFFERS + 4, 100, 2);
    transmit(length);
    ck_assert_uint_eq(sent_count, 5);
    bench_free();
}
END_TEST

START_TEST(net_merges_buffers)
{
    uint8_t frame[3000];
    uint32_t head, length;
    setup_net(ALL & ~F_GUEST_TSO4, 1);
    memset(frame, 0xab, sizeof frame);
    ck_assert(port.can_receive(port.nic));
    ck_assert(!port.receive(port.nic, frame, sizeof frame)); /* no buffers yet */
    give_buffers(2, 1024);
    ck_assert_uint_eq(made_writable, 1);
    ck_assert(!port.receive(port.nic, frame, sizeof frame)); /* too few */
    ck_assert_uint_eq(used_index(RX), 0);
    give_buffers(2, 1024);
    ck_assert_uint_eq(made_writable, 2);
    ck_assert(port.receive(port.nic, frame, sizeof frame));
    ck_assert_uint_eq(used_index(RX), 3);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(take_used(RX, &head, &length));
        ck_assert_uint_eq(head, i);
        ck_assert_uint_eq(length, i < 2 ? 1024 : 3012 - 2048);
    }
    ck_assert_uint_eq(virtio_le16(ram(BUFFERS + 0x20000 + 10)), 3);
    bench_free();
}
END_TEST

static void end_turn(void)
{
    pthread_mutex_unlock(&bench_lock);
    loop_turn(bench_loop, 0);
    pthread_mutex_lock(&bench_lock);
}

START_TEST(net_puts_segments_together)
{
    uint8_t frame[2000];
    uint32_t head, length;
    setup_net(ALL, 1);
    give_buffers(16, 4096);
    for (uint32_t i = 0; i < 5; i++) { /* five in a row, the last is short */
        size_t size = make_tcp(frame, i < 4 ? PAYLOAD_MAX : 300, 100 + i * PAYLOAD_MAX, 0x10);
        ck_assert(port.receive(port.nic, frame, size));
    }
    ck_assert_uint_eq(used_index(RX), 0);
    clock_run(bench_time, true);
    end_turn();
    end_turn();
    ck_assert_uint_eq(used_index(RX), 2);
    ck_assert(take_used(RX, &head, &length));
    const uint8_t *header = ram(BUFFERS + 0x20000), *large = header + 12;
    ck_assert_uint_eq(header[0], 1);
    ck_assert_uint_eq(header[1], 1);
    ck_assert_uint_eq(virtio_le16(header + 4), PAYLOAD_MAX);
    ck_assert_uint_eq(virtio_le16(header + 6), 34);
    ck_assert_uint_eq(load16(large + 16), 40 + 4 * PAYLOAD_MAX + 300);
    ck_assert_uint_eq(fold_sum(sum_words(large + 14, 20)), 0xffff);
    ck_assert_uint_eq(large[54 + 2000], (uint8_t)(100 + 2000));
    ck_assert(take_used(RX, &head, &length));

    /* Another flow, a gap, a bad checksum: each goes alone, in order. */
    size_t size = make_tcp(frame, 1000, 50000, 0x10);
    ck_assert(port.receive(port.nic, frame, size));
    size = make_tcp(frame, 1000, 52000, 0x10);
    ck_assert(port.receive(port.nic, frame, size));
    ck_assert_uint_eq(used_index(RX), 3);
    size = make_tcp(frame, 1000, 53000, 0x10);
    frame[60] ^= 1;
    ck_assert(port.receive(port.nic, frame, size));
    ck_assert_uint_eq(used_index(RX), 5);
    ck_assert_uint_eq(*ram(BUFFERS + 0x20000 + 4 * 0x1000), 0); /* not valid */
    ck_assert_uint_eq(*ram(BUFFERS + 0x20000 + 3 * 0x1000), 2); /* valid */
    bench_free();
}
END_TEST

static uint8_t control(unsigned queue, uint8_t class, uint8_t code, const void *data, uint32_t size)
{
    const struct part parts[] = {
        {BUFFERS, 2, false}, {BUFFERS + 16, size, false}, {BUFFERS + 8, 1, true}};
    poke(BUFFERS, class, 1);
    poke(BUFFERS + 1, code, 1);
    memcpy(ram(BUFFERS + 16), data, size);
    *ram(BUFFERS + 8) = 0xee;
    transact(queue, parts, 3);
    return *ram(BUFFERS + 8);
}

static bool arrives(const char *destination, uint16_t vlan)
{
    uint8_t frame[64] = {0};
    uint16_t before = used_index(RX);
    memcpy(frame, destination, 6);
    store16(frame + 12, vlan ? 0x8100 : 0x0800);
    store16(frame + 14, vlan);
    ck_assert(port.receive(port.nic, frame, sizeof frame));
    return used_index(RX) != before;
}

START_TEST(net_filters)
{
    setup_net(ALL, 1);
    give_buffers(40, 1600);
    ck_assert(arrives("\x02\0\0\0\0\x09", 0)); /* promiscuous at first */
    ck_assert_uint_eq(control(2, 0, 0, "\0", 1), 0);
    ck_assert(!arrives("\x02\0\0\0\0\x09", 0));
    ck_assert(arrives("\x02\0\0\0\0\x01", 0));
    ck_assert(arrives("\xff\xff\xff\xff\xff\xff", 0));
    ck_assert(!arrives("\x01\0\x5e\0\0\x01", 0));
    ck_assert_uint_eq(
        control(2, 1, 0, "\x01\0\0\0\x02\0\0\0\0\x09\x01\0\0\0\x01\0\x5e\0\0\x01", 20), 0);
    ck_assert(arrives("\x02\0\0\0\0\x09", 0));
    ck_assert(arrives("\x01\0\x5e\0\0\x01", 0));
    ck_assert_uint_eq(control(2, 1, 0, "\xff\xff\xff\xff", 4), 1); /* says more than it has */
    ck_assert_uint_eq(control(2, 0, 5, "\x01", 1), 0);             /* no broadcasts */
    ck_assert(!arrives("\xff\xff\xff\xff\xff\xff", 0));
    ck_assert(!arrives("\x02\0\0\0\0\x01", 7));
    ck_assert_uint_eq(control(2, 2, 0, "\x07\0", 2), 0);
    ck_assert(arrives("\x02\0\0\0\0\x01", 7));
    ck_assert_uint_eq(control(2, 2, 1, "\x07\0", 2), 0);
    ck_assert(!arrives("\x02\0\0\0\0\x01", 7));
    ck_assert_uint_eq(control(2, 2, 0, "\xff\xff", 2), 1);
    ck_assert_uint_eq(control(2, 1, 1, "\x02\0\0\0\0\x08", 6), 0);
    ck_assert(arrives("\x02\0\0\0\0\x08", 0));
    ck_assert_uint_eq(read_modern(PART_CONFIG_BASE + 5, 1), 8);
    ck_assert_uint_eq(control(2, 9, 9, "\0", 1), 1);
    bench_free();
}
END_TEST

START_TEST(net_pairs_and_link)
{
    uint8_t frame[1000];
    setup_net(ALL & ~F_GUEST_TSO4, 4);
    ck_assert_uint_eq(read_modern(PART_CONFIG_BASE + 8, 2), 4);
    ck_assert_uint_eq(control(8, 4, 0, "\x05\0", 2), 1);
    ck_assert_uint_eq(control(8, 4, 0, "\x04\0", 2), 0);
    unsigned used = 0;
    for (unsigned i = 0; i < 4; i++)
        for (unsigned j = 0; j < 32; j++) {
            const struct part part = {BUFFERS + 0x20000 + (32 * i + j) * 0x800u, 0x800, true};
            offer(2 * i, &part, 1);
        }
    for (unsigned i = 0; i < 16; i++) {
        size_t size = make_tcp(frame, 100, 0, 0x10);
        store16(frame + 36, 1000 + i * 77);
        ck_assert(port.receive(port.nic, frame, size));
    }
    for (unsigned i = 0; i < 4; i++)
        used += used_index(2 * i) > 0;
    ck_assert_uint_ge(used, 3);
    ck_assert_uint_eq(read_modern(PART_CONFIG_BASE + 6, 2), 1);
    read_modern(PART_ISR_BASE, 1);
    port.link_up = false;
    virtio_net_link_changed(net);
    ck_assert_uint_eq(read_modern(PART_CONFIG_BASE + 6, 2), 0);
    ck_assert_uint_eq(read_modern(PART_ISR_BASE, 1), 2);
    bench_free();
}
END_TEST

/* -- Entropy -- */

START_TEST(rng_fills)
{
    struct virtio_place place = bench_new("rng");
    unsigned zeros = 0;
    virtio_rng_new(&place, bench_memory);
    device_list_reset(&bench_list);
    place_bars();
    start_driver(ALL);
    start_queue(0, 8);
    driver_ok();
    const struct part parts[] = {{BUFFERS, 1000, true}, {BUFFERS + 2000, 500, true}};
    ck_assert_uint_eq(transact(0, parts, 2), 1500);
    for (unsigned i = 0; i < 500; i++)
        zeros += *ram(BUFFERS + 2000 + i) == 0;
    ck_assert_uint_lt(zeros, 30);
    bench_free();
}
END_TEST

/* -- Balloon -- */

/* A chain whose buffers hold a thousand times more page numbers than there are pages. */
START_TEST(balloon_with_endless_numbers)
{
    const uint64_t table = BUFFERS + 0x20000;
    struct virtio_place place = bench_new("balloon");
    uint32_t head, length;
    virtio_balloon_new(&place, bench_memory, 0);
    device_list_reset(&bench_list);
    place_bars();
    start_driver(ALL);
    start_queue(0, 8);
    driver_ok();
    for (unsigned i = 0; i < 1024; i++)
        put_descriptor(table + 16 * i, 0, 0x300000, i < 1023 ? DESC_NEXT : 0, (uint16_t)(i + 1));
    put_descriptor(bench_queue[0].descriptors, table, 16 * 1024, DESC_INDIRECT, 0);
    offer_head(0, 0);
    notify(0);
    settle();
    ck_assert(take_used(0, &head, &length));
    bench_free();
}
END_TEST

START_TEST(balloon_gives_back)
{
    struct virtio_place place = bench_new("balloon");
    unsigned char resident[3];
    struct virtio_balloon *balloon = virtio_balloon_new(&place, bench_memory, RAM_BYTES / 2);
    device_list_reset(&bench_list);
    place_bars();
    start_driver(ALL);
    for (unsigned i = 0; i < 4; i++)
        start_queue(i, 8);
    driver_ok();
    ck_assert_uint_eq(read_modern(PART_CONFIG_BASE, 4), RAM_BYTES / 2 / 4096);
    memset(ram(0x800000), 0x11, 3 * 4096);
    poke(BUFFERS, 0x800, 4);
    poke(BUFFERS + 4, 0x801, 4);
    poke(BUFFERS + 8, 0xffffffff, 4); /* no such page */
    const struct part pages = {BUFFERS, 12, false};
    ck_assert_uint_eq(transact(0, &pages, 1), 0);
    ck_assert_uint_eq(*ram(0x802000), 0x11);
    ck_assert_int_eq(mincore(ram(0x800000), 3 * 4096, resident), 0);
    ck_assert_uint_eq(resident[0] & 1, 0); /* the host has it back */
    ck_assert_uint_eq(resident[2] & 1, 1);
    ck_assert_uint_eq(*ram(0x800000), 0);
    ck_assert_uint_eq(transact(1, &pages, 1), 0);

    /* Statistics: the driver's buffer waits until they are wanted. */
    poke(BUFFERS + 64, 4, 2);
    poke(BUFFERS + 66, 123456789, 8);
    poke(BUFFERS + 74, 99, 2); /* one that nobody knows */
    const struct part stats = {BUFFERS + 64, 20, false};
    offer(2, &stats, 1);
    notify(2);
    settle();
    ck_assert_uint_eq(used_index(2), 0);
    ck_assert_uint_eq(virtio_balloon_stats(balloon)[BALLOON_FREE], 123456789);
    ck_assert_uint_eq(virtio_balloon_stats(balloon)[BALLOON_TOTAL], UINT64_MAX);
    virtio_balloon_ask_stats(balloon);
    ck_assert_uint_eq(used_index(2), 1);

    /* Reported pages. */
    memset(ram(0x900000), 0x22, 8192);
    const struct part reported = {0x900000, 8192, true};
    ck_assert_uint_eq(transact(3, &reported, 1), 0);
    ck_assert_uint_eq(*ram(0x901000), 0);

    write_modern(PART_CONFIG_BASE + 4, 77, 4);
    ck_assert_uint_eq(virtio_balloon_size(balloon), 77 * 4096);
    read_modern(PART_ISR_BASE, 1);
    virtio_balloon_set_target(balloon, 0);
    ck_assert_uint_eq(read_modern(PART_CONFIG_BASE, 4), 0);
    ck_assert_uint_eq(read_modern(PART_ISR_BASE, 1), 2);
    bench_free();
}
END_TEST

/* -- Console -- */

static char console_text[256];
static size_t console_length;

static void take_text(void *outside, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count && console_length < sizeof console_text; i++)
        console_text[console_length++] = (char)bytes[i];
}

enum { CONTROL_RX = 2, CONTROL_TX = 3 };

static void say(uint32_t id, uint16_t event, uint16_t value)
{
    const struct part part = {BUFFERS, 8, false};
    poke(BUFFERS, id, 4);
    poke(BUFFERS + 4, event, 2);
    poke(BUFFERS + 6, value, 2);
    ck_assert_uint_eq(transact(CONTROL_TX, &part, 1), 0);
}

static void hear(unsigned number, uint32_t id, uint16_t event, const char *text)
{
    uint32_t head, length;
    const uint8_t *message = ram(BUFFERS + 0x1000 + number * 128);
    ck_assert(take_used(CONTROL_RX, &head, &length));
    ck_assert_uint_eq(virtio_le32(message), id);
    ck_assert_uint_eq(virtio_le16(message + 4), event);
    ck_assert_uint_eq(virtio_le16(message + 6), 1);
    ck_assert_uint_eq(length, 8 + strlen(text));
    ck_assert(!memcmp(message + 8, text, strlen(text)));
}

START_TEST(console_ports)
{
    static const char *const names[] = {NULL, "org.example"};
    struct virtio_place place = bench_new("console");
    struct virtio_console *console = virtio_console_new(&place, bench_memory, names, 2);
    struct byte_port *first = virtio_console_port(console, 0);
    struct byte_port *second = virtio_console_port(console, 1);
    ck_assert_ptr_null(virtio_console_port(console, 2));
    first->send = second->send = take_text;
    console_length = 0;
    device_list_reset(&bench_list);
    place_bars();
    write_modern(PART_CONFIG_BASE + 8, 'E', 4); /* emergency */
    ck_assert_uint_eq(console_length, 1);
    start_driver(ALL);
    for (unsigned i = 0; i < 6; i++)
        start_queue(i, 16);
    driver_ok();
    ck_assert_uint_eq(read_modern(PART_CONFIG_BASE + 4, 4), 2);
    for (unsigned i = 0; i < 3; i++) {
        const struct part part = {BUFFERS + 0x1000 + i * 128, 128, true};
        offer(CONTROL_RX, &part, 1);
    }
    say(0, 0, 1); /* the driver is there */
    hear(0, 0, 1, "");
    hear(1, 1, 1, "");
    say(1, 3, 1); /* port 1 is ready: a name, and that it is open; only one buffer is left */
    hear(2, 1, 6, "");
    for (unsigned i = 3; i < 6; i++) {
        const struct part part = {BUFFERS + 0x1000 + i * 128, 128, true};
        offer(CONTROL_RX, &part, 1);
    }
    notify(CONTROL_RX);
    settle();
    hear(3, 1, 7, "org.example");
    say(0, 3, 1);
    hear(4, 0, 4, "");
    hear(5, 0, 6, "");
    say(77, 3, 1); /* no such port */

    const struct part out[] = {{BUFFERS + 0x100, 3, false}, {BUFFERS + 0x200, 2, false}};
    memcpy(ram(BUFFERS + 0x100), "abc", 3);
    memcpy(ram(BUFFERS + 0x200), "de", 2);
    ck_assert_uint_eq(transact(5, out, 2), 0);
    ck_assert(!memcmp(console_text, "Eabcde", 6));

    ck_assert_uint_eq(second->receive(second->device, (const uint8_t *)"x", 1), 0); /* closed */
    say(1, 6, 1);
    ck_assert_uint_eq(second->receive(second->device, (const uint8_t *)"x", 1), 0); /* no buffer */
    for (unsigned i = 0; i < 2; i++) {
        const struct part part = {BUFFERS + 0x3000 + i * 16, 4, true};
        offer(4, &part, 1);
    }
    ck_assert_uint_eq(second->receive(second->device, (const uint8_t *)"0123456789", 10), 8);
    ck_assert(!memcmp(ram(BUFFERS + 0x3000), "0123", 4));
    ck_assert(!memcmp(ram(BUFFERS + 0x3010), "4567", 4));
    bench_free();
}
END_TEST

/* -- SCSI -- */

static struct image *disk, *disc;

static void setup_scsi(void)
{
    struct virtio_place place = bench_new("scsi");
    struct virtio_scsi *scsi = virtio_scsi_new(&place, bench_memory, 1, &activity);
    disk = bench_disk(false, false);
    disc = bench_disk(true, true);
    virtio_scsi_attach(scsi, 0, disk, false);
    virtio_scsi_attach(scsi, 1, disc, true);
    device_list_reset(&bench_list);
    place_bars();
    start_driver(ALL);
    for (unsigned i = 0; i < 3; i++)
        start_queue(i, 64);
    driver_ok();
}

static void teardown_scsi(void)
{
    bench_free();
    image_close(disk);
    image_close(disc);
}

#define RESPONSE (BUFFERS + 0x400)
#define DATA     (BUFFERS + 0x1000)

/* A command to LUN 0 of a target; returns status | response << 8. */
static unsigned command(unsigned target, const void *cdb, size_t size, uint32_t out, uint32_t in)
{
    const struct part parts[] = {{BUFFERS, 51, false},
                                 {out ? DATA : RESPONSE, out ? out : 108, !out},
                                 {out ? RESPONSE : DATA, out ? 108 : in, true}};
    memset(ram(BUFFERS), 0, 64);
    memset(ram(RESPONSE), 0xee, 108);
    *ram(BUFFERS) = 1;
    *ram(BUFFERS + 1) = (uint8_t)target;
    *ram(BUFFERS + 2) = 0x40;
    memcpy(ram(BUFFERS + 19), cdb, size);
    transact(2, parts, out || in ? 3 : 2);
    return *ram(RESPONSE + 10) | (unsigned)*ram(RESPONSE + 11) << 8;
}

static unsigned sense(void)
{
    return (unsigned)*ram(RESPONSE + 12 + 2) << 8 | *ram(RESPONSE + 12 + 12);
}

START_TEST(scsi_identifies)
{
    setup_scsi();
    ck_assert_uint_eq(command(0, "\x12\0\0\0\x24\0", 6, 0, 36), 0);
    ck_assert_uint_eq(*ram(DATA), 0);
    ck_assert(!memcmp(ram(DATA + 8), "DOPPEL  DISK", 12));
    ck_assert_uint_eq(command(0, "\0\0\0\0\0\0", 6, 0, 0), 2); /* power on */
    ck_assert_uint_eq(sense(), 0x0629);
    ck_assert_uint_eq(command(0, "\0\0\0\0\0\0", 6, 0, 0), 0);
    ck_assert_uint_eq(command(0, "\x12\x01\x83\0\xff\0", 6, 0, 255), 0);
    ck_assert(!memcmp(ram(DATA + 8), "DOPPEL  DS-00000", 16));
    ck_assert_uint_eq(virtio_le32(ram(RESPONSE + 4)), 255 - 8 - 16); /* residual */
    ck_assert_uint_eq(command(0, "\x25\0\0\0\0\0\0\0\0\0", 10, 0, 8), 0);
    ck_assert_uint_eq(load32(ram(DATA)), DISK_BYTES / 512 - 1);
    ck_assert_uint_eq(command(0, "\x9e\x10\0\0\0\0\0\0\0\0\0\0\0\x20\0\0", 16, 0, 32), 0);
    ck_assert_uint_eq(load32(ram(DATA + 4)), DISK_BYTES / 512 - 1);
    ck_assert_uint_eq(command(0, "\xa0\0\0\0\0\0\0\0\0\x10\0\0", 12, 0, 16), 0);
    ck_assert_uint_eq(load32(ram(DATA)), 8);
    ck_assert_uint_eq(command(0, "\x1a\0\x3f\0\xff\0", 6, 0, 255), 0);
    ck_assert_uint_eq(*ram(DATA + 12), 0x08);
    ck_assert_uint_eq(*ram(DATA + 14), 0x04); /* write cache */
    ck_assert_uint_eq(command(0, "\xff\0\0\0\0\0", 6, 0, 0), 2);
    ck_assert_uint_eq(sense(), 0x0520);
    ck_assert_uint_eq(command(5, "\0\0\0\0\0\0", 6, 0, 0), 3 << 8); /* bad target */
    teardown_scsi();
}
END_TEST

START_TEST(scsi_moves_data)
{
    setup_scsi();
    command(0, "\0\0\0\0\0\0", 6, 0, 0);
    ck_assert_uint_eq(command(0, "\x28\0\0\0\0\x40\0\0\x02\0", 10, 0, 1024), 0);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 512)), 65 * 128);
    ck_assert_uint_eq(virtio_le32(ram(RESPONSE + 4)), 0);
    memset(ram(DATA), 0x3c, 1024);
    ck_assert_uint_eq(command(0, "\x2a\x08\0\0\0\x50\0\0\x02\0", 10, 1024, 0), 0); /* FUA */
    ck_assert_uint_eq(command(0, "\x88\0\0\0\0\0\0\0\0\x4f\0\0\0\x04\0\0", 16, 0, 2048), 0);
    ck_assert_uint_eq(virtio_le32(ram(DATA)), 0x4f * 128);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 512)), 0x3c3c3c3c);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 1536)), 0x52 * 128);
    ck_assert_uint_eq(command(0, "\x28\0\0\0\0\0\0\0\x04\0", 10, 0, 1024), 1 << 8); /* overrun */
    ck_assert_uint_eq(command(0, "\x28\0\xff\0\0\0\0\0\x01\0", 10, 0, 512), 2);
    ck_assert_uint_eq(sense(), 0x0521);
    ck_assert_uint_eq(command(0, "\x35\0\0\0\0\0\0\0\0\0", 10, 0, 0), 0);
    memset(ram(DATA), 0, 24);
    store16(ram(DATA), 22);
    store16(ram(DATA + 2), 16);
    store32(ram(DATA + 12), 0x60);
    store32(ram(DATA + 16), 8);
    ck_assert_uint_eq(command(0, "\x42\0\0\0\0\0\0\0\x18\0", 10, 24, 0), 0); /* unmap */
    store32(ram(DATA + 8), 0xffffffff);
    ck_assert_uint_eq(command(0, "\x42\0\0\0\0\0\0\0\x18\0", 10, 24, 0), 2);
    memset(ram(DATA), 0, 512);
    ck_assert_uint_eq(command(0, "\x41\0\0\0\0\x70\0\0\x03\0", 10, 512, 0), 0); /* write same */
    ck_assert_uint_eq(command(0, "\x28\0\0\0\0\x72\0\0\x02\0", 10, 0, 1024), 0);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 4)), 0);
    ck_assert_uint_eq(virtio_le32(ram(DATA + 512)), 0x73 * 128);
    teardown_scsi();
}
END_TEST

START_TEST(scsi_cdrom_and_tasks)
{
    setup_scsi();
    ck_assert_uint_eq(command(1, "\x12\0\0\0\x24\0", 6, 0, 36), 0);
    ck_assert_uint_eq(*ram(DATA), 5);
    command(1, "\0\0\0\0\0\0", 6, 0, 0);
    ck_assert_uint_eq(command(1, "\x28\0\0\0\0\x02\0\0\x01\0", 10, 0, 2048), 0);
    ck_assert_uint_eq(virtio_le32(ram(DATA)), 8 * 128);
    ck_assert_uint_eq(command(1, "\x2a\0\0\0\0\x02\0\0\x01\0", 10, 2048, 0), 2);
    ck_assert_uint_eq(command(1, "\x43\0\0\0\0\0\0\0\x0c\0", 10, 0, 12), 0);

    /* A reset of the unit brings its unit attention back. */
    const struct part task[] = {{BUFFERS, 24, false}, {BUFFERS + 64, 1, true}};
    memset(ram(BUFFERS), 0, 24);
    poke(BUFFERS + 4, 5, 4);
    *ram(BUFFERS + 8) = 1;
    *ram(BUFFERS + 9) = 1;
    *ram(BUFFERS + 64) = 0xee;
    ck_assert_uint_eq(transact(0, task, 2), 1);
    ck_assert_uint_eq(*ram(BUFFERS + 64), 0);
    ck_assert_uint_eq(command(1, "\0\0\0\0\0\0", 6, 0, 0), 2);
    ck_assert_uint_eq(sense(), 0x0629);
    poke(BUFFERS, 7, 4); /* no such control request */
    ck_assert_uint_eq(transact(0, task, 2), UINT32_MAX);
    ck_assert(device_status() & VIRTIO_STATUS_NEEDS_RESET);
    teardown_scsi();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        net_completes_checksums,
        net_cuts_segments,
        net_merges_buffers,
        net_puts_segments_together,
        net_filters,
        net_pairs_and_link,
        rng_fills,
        balloon_gives_back,
        balloon_with_endless_numbers,
        console_ports,
        scsi_identifies,
        scsi_moves_data,
        scsi_cdrom_and_tasks,
    };
    log_items = 0;
    return run_suite("virtio devices", tests, sizeof tests / sizeof *tests);
}
