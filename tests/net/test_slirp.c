/*
 * User-mode NAT as a guest sees it: hand-made frames go in at the packet port, real sockets of the
 * host (on 127.0.0.1 only) are at the other end.
 */
#include "net/net.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_ARP_ = 0x0806 };
enum { TCP = 6, UDP = 17 };
enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static const uint8_t guest_mac[6] = {0x02, 0, 0, 0, 0, 0x15};
static uint8_t host_mac[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t guest_ip[4] = {10, 0, 2, 15}, host_ip[4] = {10, 0, 2, 2};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct clock *test_clock;
static struct loop *loop;
static struct packet_port port;
static struct net *net;

/* A NIC that keeps the frames it was given. */
static uint8_t frames[64][1600];
static size_t lengths[64];
static unsigned received;
static bool refusing;

static bool nic_receive(void *nic, const uint8_t *frame, size_t length)
{
    if (refusing || received == 64)
        return false;
    memcpy(frames[received], frame, length);
    lengths[received++] = length;
    return true;
}

static bool nic_can_receive(void *nic)
{
    return !refusing;
}

static void open_net(const char *text)
{
    struct net_options options;
    struct error error = {""};
    ck_assert_msg(net_options_parse(&options, text, &error), "%s", error.text);
    pthread_mutex_lock(&lock);
    net = net_open(&options, loop, test_clock, &port, &error);
    pthread_mutex_unlock(&lock);
    ck_assert_msg(net != NULL, "%s", error.text);
}

static void setup(void)
{
    test_clock = clock_new();
    loop = loop_new(test_clock, &lock);
    memset(&port, 0, sizeof port);
    port.receive = nic_receive;
    port.can_receive = nic_can_receive;
    received = 0;
    refusing = false;
    clock_run(test_clock, true);
}

static void teardown(void)
{
    net_close(net);
    net = NULL;
    ck_assert_ptr_eq(port.receive, nic_receive);
    loop_free(loop);
    clock_free(test_clock);
}

static void put16(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

static void put32(uint8_t *to, uint32_t value)
{
    put16(to, value >> 16);
    put16(to + 2, value & 0xffff);
}

static unsigned get16(const uint8_t *from)
{
    return (unsigned)from[0] << 8 | from[1];
}

static uint32_t get32(const uint8_t *from)
{
    return get16(from) << 16 | get16(from + 2);
}

static uint32_t sum(const uint8_t *data, size_t length, uint32_t start)
{
    for (size_t i = 0; i < length; i++)
        start += i & 1 ? data[i] : (uint32_t)data[i] << 8;
    return start;
}

static uint16_t fold(uint32_t value)
{
    while (value >> 16)
        value = (value & 0xffff) + (value >> 16);
    return (uint16_t)~value;
}

static void send_frame(const uint8_t *frame, size_t length)
{
    pthread_mutex_lock(&lock);
    port.send(port.network, frame, length);
    pthread_mutex_unlock(&lock);
}

/* Wraps `payload` (TCP or UDP with header) in IP and Ethernet, fills in checksums, sends it. */
static void send_ip(uint8_t protocol, const uint8_t source[4], const uint8_t target[4],
                    uint8_t *payload, size_t length)
{
    uint8_t frame[1514] = {0};
    uint8_t *ip = frame + 14;
    memcpy(frame, host_mac, 6);
    memcpy(frame + 6, guest_mac, 6);
    put16(frame + 12, ETHERTYPE_IPV4);
    ip[0] = 0x45;
    put16(ip + 2, (unsigned)(20 + length));
    ip[8] = 64;
    ip[9] = protocol;
    memcpy(ip + 12, source, 4);
    memcpy(ip + 16, target, 4);
    put16(ip + 10, fold(sum(ip, 20, 0)));
    unsigned field = protocol == TCP ? 16 : 6;
    put16(payload + field, 0);
    put16(payload + field,
          fold(sum(payload, length, sum(ip + 12, 8, protocol + (uint32_t)length))));
    memcpy(ip + 20, payload, length);
    send_frame(frame, 34 + length);
}

/* Turns the loop until `until` frames have come, or two seconds passed. */
static void wait_frames(unsigned until)
{
    for (int i = 0; i < 200 && received < until; i++)
        loop_turn(loop, 10000000);
    ck_assert_uint_ge(received, until);
}

static void send_arp(unsigned operation, const uint8_t *target_mac, const uint8_t *target_ip)
{
    uint8_t frame[42] = {0};
    memset(frame, 0xff, 6);
    memcpy(frame + 6, guest_mac, 6);
    put16(frame + 12, ETHERTYPE_ARP_);
    put16(frame + 14, 1);
    put16(frame + 16, ETHERTYPE_IPV4);
    frame[18] = 6;
    frame[19] = 4;
    put16(frame + 20, operation);
    memcpy(frame + 22, guest_mac, 6);
    memcpy(frame + 28, guest_ip, 4);
    if (target_mac)
        memcpy(frame + 32, target_mac, 6);
    memcpy(frame + 38, target_ip, 4);
    send_frame(frame, sizeof frame);
}

static void learn_host_mac(void)
{
    send_arp(1, NULL, host_ip);
    wait_frames(1);
    ck_assert_uint_eq(get16(frames[0] + 12), ETHERTYPE_ARP_);
    ck_assert_uint_eq(get16(frames[0] + 20), 2);
    ck_assert_mem_eq(frames[0] + 28, host_ip, 4);
    ck_assert_mem_eq(frames[0], guest_mac, 6);
    memcpy(host_mac, frames[0] + 22, 6);
    received = 0;
}

static void send_tcp(unsigned from, unsigned to, uint32_t seq, uint32_t ack, uint8_t flags,
                     const char *data)
{
    uint8_t segment[256] = {0};
    put16(segment, from);
    put16(segment + 2, to);
    put32(segment + 4, seq);
    put32(segment + 8, ack);
    segment[12] = 0x50;
    segment[13] = flags;
    put16(segment + 14, 8192);
    memcpy(segment + 20, data, strlen(data));
    send_ip(TCP, guest_ip, host_ip, segment, 20 + strlen(data));
}

/* The last frame as a TCP segment; its checksum must be right. */
static const uint8_t *last_tcp(void)
{
    const uint8_t *ip = frames[received - 1] + 14;
    unsigned length = get16(ip + 2) - 20;
    ck_assert_uint_eq(ip[9], TCP);
    ck_assert_uint_eq(fold(sum(ip + 20, length, sum(ip + 12, 8, TCP + length))), 0);
    return ip + 20;
}

static int listener(uint16_t *number)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(fd, 4), 0);
    getsockname(fd, (struct sockaddr *)&address, &length);
    *number = ntohs(address.sin_port);
    return fd;
}

/* -- Tests -- */

/* Asks by DHCP and returns the BOOTP part of the offer. */
static const uint8_t *dhcp_offer(void)
{
    uint8_t packet[8 + 300] = {0};
    static const uint8_t nobody[4] = {0}, everybody[4] = {255, 255, 255, 255};
    static const uint8_t options[] = {99, 130, 83, 99, 53, 1, 1, 55, 3, 1, 3, 6, 255};
    put16(packet, 68);
    put16(packet + 2, 67);
    put16(packet + 4, sizeof packet);
    uint8_t *bootp = packet + 8;
    bootp[0] = 1; /* request */
    bootp[1] = 1;
    bootp[2] = 6;
    put32(bootp + 4, 0x12345678);
    memcpy(bootp + 28, guest_mac, 6);
    memcpy(bootp + 236, options, sizeof options);
    send_ip(UDP, nobody, everybody, packet, sizeof packet);
    wait_frames(1);
    ck_assert_uint_eq(frames[0][14 + 9], UDP);
    ck_assert_uint_eq(get16(frames[0] + 14 + 20), 67);
    return frames[0] + 14 + 20 + 8;
}

START_TEST(arp_and_dhcp)
{
    open_net("user");
    ck_assert(port.link_up);
    learn_host_mac();

    const uint8_t *offer = dhcp_offer();
    ck_assert_uint_eq(offer[0], 2);
    ck_assert_uint_eq(get32(offer + 4), 0x12345678);
    ck_assert_mem_eq(offer + 16, guest_ip, 4);
    ck_assert_str_eq((const char *)offer + 108, ""); /* nothing to boot */
    bool type = false, router = false, dns = false;
    for (const uint8_t *at = offer + 240; *at != 255; at += 2 + at[1]) {
        type |= at[0] == 53 && at[2] == 2; /* offer */
        router |= at[0] == 3 && !memcmp(at + 2, host_ip, 4);
        dns |= at[0] == 6 && !memcmp(at + 2, "\x0a\0\2\3", 4);
    }
    ck_assert(type && router && dns);
}
END_TEST

/* Asks for a file by TFTP (RFC 1350); returns the UDP payload of the answer. */
static const uint8_t *tftp_read(const char *name, unsigned from)
{
    uint8_t packet[8 + 128] = {0};
    size_t length = 8 + 2 + strlen(name) + 1 + sizeof "octet";
    put16(packet, from);
    put16(packet + 2, 69);
    put16(packet + 4, (unsigned)length);
    packet[9] = 1; /* RRQ */
    strcpy((char *)packet + 10, name);
    strcpy((char *)packet + 11 + strlen(name), "octet");
    received = 0;
    send_ip(UDP, guest_ip, host_ip, packet, length);
    wait_frames(1);
    ck_assert_uint_eq(get16(frames[0] + 14 + 20 + 2), from);
    return frames[0] + 14 + 20 + 8;
}

START_TEST(boot_file_by_dhcp_and_tftp)
{
    enum { DATA = 3, ERROR = 5 };
    char folder[] = "/tmp/doppel-test-XXXXXX", path[64], text[128];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/hello", folder);
    FILE *file = fopen(path, "w");
    fputs("from the folder", file);
    fclose(file);
    snprintf(text, sizeof text, "user,restrict,tftp=%s,bootfile=hello", folder);
    open_net(text);
    learn_host_mac();

    const uint8_t *offer = dhcp_offer();
    ck_assert_mem_eq(offer + 20, host_ip, 4); /* next server */
    ck_assert_str_eq((const char *)offer + 108, "hello");

    const uint8_t *answer = tftp_read("hello", 2000);
    ck_assert_uint_eq(get16(answer), DATA);
    ck_assert_uint_eq(get16(answer + 2), 1);
    ck_assert_mem_eq(answer + 4, "from the folder", 15);
    ck_assert_uint_eq(get16(tftp_read("absent", 2001)), ERROR);
    ck_assert_uint_eq(get16(tftp_read("../../etc/passwd", 2002)), ERROR);
    unlink(path);
    rmdir(folder);
}
END_TEST

START_TEST(folder_is_looked_for)
{
    struct net_options options;
    struct error error = {""};
    ck_assert(net_options_parse(&options, "user,tftp=/no/such/folder", &error));
    ck_assert_ptr_null(net_open(&options, loop, test_clock, &port, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "/no/such/folder"));
}
END_TEST

START_TEST(guest_connects_to_host)
{
    uint16_t number;
    int server = listener(&number);
    open_net("user");
    learn_host_mac();
    send_tcp(40000, number, 1000, 0, SYN, "");
    wait_frames(1);
    const uint8_t *segment = last_tcp();
    ck_assert_uint_eq(segment[13], SYN | ACK);
    ck_assert_uint_eq(get32(segment + 8), 1001);
    uint32_t ack = get32(segment + 4) + 1;

    send_tcp(40000, number, 1001, ack, ACK, "");
    int fd = accept(server, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    send_tcp(40000, number, 1001, ack, ACK | PSH, "hello host");
    char text[64] = "";
    ck_assert_int_eq(read(fd, text, sizeof text), 10);
    ck_assert_str_eq(text, "hello host");

    received = 0;
    ck_assert_int_eq(write(fd, "hello guest", 11), 11);
    bool seen = false;
    for (int i = 0; i < 100 && !seen; i++) {
        unsigned before = received;
        loop_turn(loop, 10000000);
        if (received > before) {
            segment = last_tcp();
            seen = !memcmp(segment + (segment[12] >> 4) * 4, "hello guest", 11);
        }
    }
    ck_assert(seen);
    close(fd);
    close(server);
}
END_TEST

START_TEST(host_connects_to_guest)
{
    uint16_t number;
    char text[64];
    int fd = listener(&number); /* a number that is free: let it go and forward it */
    close(fd);
    snprintf(text, sizeof text, "user,forward=tcp:%u:22", number);
    open_net(text);
    learn_host_mac();

    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(number),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    wait_frames(1);
    if (get16(frames[received - 1] + 12) == ETHERTYPE_ARP_) {
        send_arp(2, host_mac, host_ip);
        wait_frames(received + 1);
    }
    const uint8_t *segment = last_tcp();
    ck_assert_uint_eq(segment[13], SYN);
    ck_assert_uint_eq(get16(segment + 2), 22);
    close(client);
}
END_TEST

START_TEST(port_in_use_is_named)
{
    uint16_t number;
    int server = listener(&number);
    char text[64], words[64];
    struct net_options options;
    struct error error = {""};
    snprintf(text, sizeof text, "user,forward=tcp:%u:22", number);
    snprintf(words, sizeof words, "TCP port %u of 127.0.0.1 is in use", number);
    ck_assert(net_options_parse(&options, text, &error));
    ck_assert_ptr_null(net_open(&options, loop, test_clock, &port, &error));
    ck_assert_msg(strstr(error.text, words), "%s", error.text);
    close(server);
    open_net("user");
}
END_TEST

START_TEST(frames_wait_for_buffers)
{
    open_net("user");
    refusing = true;
    for (int i = 0; i < 1000; i++)
        send_arp(1, NULL, host_ip); /* far more than the queue holds */
    ck_assert_uint_eq(received, 0);
    refusing = false;
    pthread_mutex_lock(&lock);
    port.writable(port.network);
    pthread_mutex_unlock(&lock);
    ck_assert_uint_eq(received, 64); /* as many as this NIC took */
}
END_TEST

START_TEST(stands_with_the_machine)
{
    uint16_t number;
    int server = listener(&number);
    open_net("user");
    learn_host_mac();
    clock_run(test_clock, false);
    send_tcp(40000, number, 1000, 0, SYN, "");
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 1000000);
    ck_assert_uint_eq(received, 0);
    clock_run(test_clock, true);
    wait_frames(1);
    ck_assert_uint_eq(last_tcp()[13], SYN | ACK);
    close(server);
}
END_TEST

START_TEST(capture_holds_both_directions)
{
    char path[] = "/tmp/doppel-test-capture-XXXXXX", text[128];
    close(mkstemp(path));
    snprintf(text, sizeof text, "user,capture=%s", path);
    open_net(text);
    learn_host_mac();
    size_t answer = lengths[0];
    net_close(net);
    net = NULL;

    uint8_t file[1024];
    int fd = open(path, O_RDONLY);
    ssize_t length = read(fd, file, sizeof file);
    close(fd);
    unlink(path);
    ck_assert_int_eq(length, (ssize_t)(24 + 16 + 42 + 16 + answer));
    ck_assert_mem_eq(file, "\x4d\x3c\xb2\xa1\2\0\4\0", 8);
    ck_assert_uint_eq(file[20], 1);
    /* slirp answers while the request is still being sent; each is whole */
    unsigned first = file[24 + 8], second = file[24 + 16 + first + 8];
    ck_assert_uint_eq(first + second, 42 + answer);

    struct net_options options;
    struct error error = {""};
    ck_assert(net_options_parse(&options, "user,capture=/nonexistent/x", &error));
    ck_assert_ptr_null(net_open(&options, loop, test_clock, &port, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "/nonexistent/x"));
}
END_TEST

/* A large ping in three fragments, in each order: the echo comes back, itself in fragments. */
START_TEST(fragments_in_any_order)
{
    static const uint8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                         {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    enum { PART = 1480, SIZE = 2 * PART + 100 };
    static uint8_t icmp[SIZE];
    open_net("user");
    learn_host_mac();
    memset(icmp, 0, sizeof icmp);
    icmp[0] = 8; /* echo request */
    for (int i = 8; i < SIZE; i++)
        icmp[i] = (uint8_t)(i * 3);
    put16(icmp + 2, fold(sum(icmp, SIZE, 0)));
    for (int round = 0; round < 6; round++) {
        received = 0;
        for (int i = 0; i < 3; i++) {
            unsigned part = orders[round][i], count = part == 2 ? SIZE - 2 * PART : PART;
            uint8_t frame[34 + PART] = {0}, *ip = frame + 14;
            memcpy(frame, host_mac, 6);
            memcpy(frame + 6, guest_mac, 6);
            put16(frame + 12, ETHERTYPE_IPV4);
            ip[0] = 0x45;
            put16(ip + 2, 20 + count);
            put16(ip + 4, 100 + (unsigned)round);
            put16(ip + 6, part * PART / 8 | (part < 2 ? 0x2000u : 0));
            ip[8] = 64;
            ip[9] = 1;
            memcpy(ip + 12, guest_ip, 4);
            memcpy(ip + 16, host_ip, 4);
            put16(ip + 10, fold(sum(ip, 20, 0)));
            memcpy(ip + 20, icmp + part * PART, count);
            ck_assert_uint_eq(received, 0);
            send_frame(frame, 34 + count);
        }
        wait_frames(3);
        ck_assert_uint_eq(frames[0][34], 0); /* echo reply */
        ck_assert_mem_eq(frames[0] + 34 + 8, icmp + 8, 1000);
    }
}
END_TEST

/* Garbage from the guest, mostly with valid headers. */
START_TEST(random_frames)
{
    static const uint8_t protocols[] = {TCP, UDP, 1, 58};
    open_net("user,restrict");
    srand(3);
    for (int i = 0; i < 30000; i++) {
        uint8_t frame[1514];
        size_t length = (size_t)rand() % sizeof frame;
        for (size_t k = 0; k < length; k++)
            frame[k] = (uint8_t)rand();
        if (length > 34 && i % 2) {
            put16(frame + 12, rand() % 4 ? ETHERTYPE_IPV4 : ETHERTYPE_ARP_);
            frame[14] = rand() % 8 ? 0x45 : (uint8_t)(0x40 | rand() % 16);
            frame[23] = protocols[rand() % 4];
            put16(frame + 16, (unsigned)length - 14);
            put16(frame + 18, (unsigned)rand() % 4);
            if (rand() % 4)
                put16(frame + 20, (unsigned)(rand() % 200) | (rand() % 2 ? 0x2000u : 0));
            else
                put16(frame + 20, 0);
            memcpy(frame + 26, guest_ip, 4);
            memcpy(frame + 30, host_ip, 4);
            put16(frame + 24, 0);
            put16(frame + 24, fold(sum(frame + 14, 20, 0)));
        }
        send_frame(frame, length);
        received = 0;
    }
    loop_turn(loop, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slirp");
    TCase *tcase = tcase_create("slirp");
    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, arp_and_dhcp);
    tcase_add_test(tcase, boot_file_by_dhcp_and_tftp);
    tcase_add_test(tcase, folder_is_looked_for);
    tcase_add_test(tcase, guest_connects_to_host);
    tcase_add_test(tcase, host_connects_to_guest);
    tcase_add_test(tcase, port_in_use_is_named);
    tcase_add_test(tcase, frames_wait_for_buffers);
    tcase_add_test(tcase, stands_with_the_machine);
    tcase_add_test(tcase, capture_holds_both_directions);
    tcase_add_test(tcase, fragments_in_any_order);
    tcase_add_test(tcase, random_frames);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
