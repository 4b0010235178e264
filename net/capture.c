/*
 * Packet capture: writes each frame that passes a packet port, in either direction, to a file in
 * libpcap format (version 2.4, little-endian, nanosecond time stamps, link type Ethernet).
 *
 * Time stamps are wall time at the start of the capture plus virtual time since. The file is
 * flushed after each frame, so that it can be watched while it grows and survives a crash.
 */
#include "net/internal.h"

#include "cpu/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PCAP_MAGIC_NS    0xa1b23c4du
#define PCAP_SNAP_LENGTH 262144u
#define PCAP_ETHERNET    1

struct net_capture {
    struct packet_port *port;
    struct packet_port inner; /* the port's callbacks before */
    struct clock *clock;
    uint64_t wall_ns; /* wall time at virtual 0 */
    FILE *file;       /* NULL after a failed write */
};

static void put32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static void write_all(struct net_capture *capture, const void *data, size_t length)
{
    if (capture->file && fwrite(data, 1, length, capture->file) != length) {
        log_line("Packet capture stopped: %s", strerror(errno));
        fclose(capture->file);
        capture->file = NULL;
    }
}

static void write_frame(struct net_capture *capture, const uint8_t *frame, size_t length)
{
    uint64_t now = capture->wall_ns + clock_now(capture->clock);
    uint8_t header[16];
    put32(header, (uint32_t)(now / NS_PER_SECOND));
    put32(header + 4, (uint32_t)(now % NS_PER_SECOND));
    put32(header + 8, (uint32_t)length);
    put32(header + 12, (uint32_t)length);
    write_all(capture, header, sizeof header);
    write_all(capture, frame, length);
    if (capture->file)
        fflush(capture->file);
}

static void capture_send(void *opaque, const uint8_t *frame, size_t length)
{
    struct net_capture *capture = opaque;
    write_frame(capture, frame, length);
    capture->inner.send(capture->inner.network, frame, length);
}

static void capture_writable(void *opaque)
{
    struct net_capture *capture = opaque;
    if (capture->inner.writable)
        capture->inner.writable(capture->inner.network);
}

/* A frame that the NIC does not take now comes again: only those that it takes are written. */
static bool capture_receive(void *opaque, const uint8_t *frame, size_t length)
{
    struct net_capture *capture = opaque;
    if (!capture->inner.receive(capture->inner.nic, frame, length))
        return false;
    write_frame(capture, frame, length);
    return true;
}

static bool capture_can_receive(void *opaque)
{
    struct net_capture *capture = opaque;
    return capture->inner.can_receive(capture->inner.nic);
}

struct net_capture *net_capture_new(struct packet_port *port, struct clock *clock, const char *path,
                                    struct error *error)
{
    FILE *file = fopen(path, "wbe");
    if (!file) {
        error_set(error, "Capture file '%s' cannot be written: %s", path, strerror(errno));
        return NULL;
    }
    struct net_capture *capture = calloc(1, sizeof *capture);
    if (!capture) {
        fclose(file);
        error_set(error, "Out of memory");
        return NULL;
    }
    capture->file = file;
    capture->clock = clock;
    capture->wall_ns = (uint64_t)clock_wall_seconds(clock) * NS_PER_SECOND - clock_now(clock);
    capture->port = port;
    capture->inner = *port;
    port->send = capture_send;
    port->network = capture;
    port->writable = capture_writable;
    port->receive = capture_receive;
    port->can_receive = capture_can_receive;
    port->nic = capture;

    uint8_t header[24] = {0};
    put32(header, PCAP_MAGIC_NS);
    header[4] = 2; /* version 2.4 */
    header[6] = 4;
    put32(header + 16, PCAP_SNAP_LENGTH);
    put32(header + 20, PCAP_ETHERNET);
    write_all(capture, header, sizeof header);
    return capture;
}

void net_capture_free(struct net_capture *capture)
{
    if (!capture)
        return;
    bool link_up = capture->port->link_up;
    *capture->port = capture->inner;
    capture->port->link_up = link_up;
    if (capture->file)
        fclose(capture->file);
    free(capture);
}
