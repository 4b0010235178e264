/*
 * IPv4 reassembly in front of libslirp (RFC 791, 3.2).
 *
 * libslirp puts fragments together itself, but version 4.7 follows a wild pointer when a datagram's
 * first fragment to arrive is not its start, which any guest can bring about. It is therefore
 * given whole datagrams only.
 *
 * A datagram under way is a buffer of the largest possible size with a bit for each 8 bytes that
 * came. A few of them at a time are enough; the oldest gives way, and all are given up after the
 * customary 30 seconds.
 */
#include "net/internal.h"

#include "cpu/log.h"

#include <stdlib.h>
#include <string.h>

#define ETHERNET_HEADER 14
#define IP_HEADER_MIN   20
#define IP_HEADER_MAX   60
#define DATAGRAM_MAX    65535u
#define DATAGRAMS       4
#define LIFETIME_NS     (30 * NS_PER_SECOND)

#define FLAG_RESERVED   0x8000
#define FLAG_MORE       0x2000
#define OFFSET_MASK     0x1fff

struct datagram {
    bool used;
    uint64_t expires_ns;
    uint8_t key[11];   /* source, destination, identification, protocol */
    uint32_t total;    /* payload bytes, 0 until the last fragment came */
    uint32_t received; /* 8-byte units */
    uint8_t header_length;
    uint64_t present[(DATAGRAM_MAX / 8 + 64) / 64];
    uint8_t
        frame[ETHERNET_HEADER + IP_HEADER_MAX + DATAGRAM_MAX + 1]; /* payload at a fixed place */
};

struct reassembler {
    struct clock *clock;
    struct datagram datagram[DATAGRAMS];
};

#define PAYLOAD (ETHERNET_HEADER + IP_HEADER_MAX)

static unsigned get16(const uint8_t *bytes)
{
    return (unsigned)bytes[0] << 8 | bytes[1];
}

static void put16(uint8_t *bytes, unsigned value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static uint16_t header_checksum(const uint8_t *header, unsigned length)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < length; i += 2)
        sum += get16(header + i);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t) ~(sum + (sum >> 16));
}

/* The datagram with this key, or a place for it. */
static struct datagram *find_datagram(struct reassembler *reassembler, const uint8_t *key)
{
    uint64_t now = clock_now(reassembler->clock);
    struct datagram *place = &reassembler->datagram[0];
    for (int i = 0; i < DATAGRAMS; i++) {
        struct datagram *datagram = &reassembler->datagram[i];
        if (datagram->used && datagram->expires_ns <= now)
            datagram->used = false;
        if (datagram->used && !memcmp(datagram->key, key, sizeof datagram->key))
            return datagram;
        if (!datagram->used || (place->used && datagram->expires_ns < place->expires_ns))
            place = datagram;
    }
    place->used = true;
    place->expires_ns = now + LIFETIME_NS;
    place->total = place->received = place->header_length = 0;
    memcpy(place->key, key, sizeof place->key);
    memset(place->present, 0, sizeof place->present);
    return place;
}

static void mark_present(struct datagram *datagram, unsigned first, unsigned count)
{
    for (unsigned unit = first; unit < first + count; unit++) {
        uint64_t bit = 1ull << (unit % 64);
        datagram->received += !(datagram->present[unit / 64] & bit);
        datagram->present[unit / 64] |= bit;
    }
}

/* Puts the header in front of the payload. */
static const uint8_t *finish(struct datagram *datagram, size_t *length)
{
    unsigned header = datagram->header_length;
    uint8_t *start = datagram->frame + PAYLOAD - header - ETHERNET_HEADER;
    memmove(start, datagram->frame, ETHERNET_HEADER + header);
    uint8_t *ip = start + ETHERNET_HEADER;
    put16(ip + 2, header + datagram->total);
    put16(ip + 6, 0);
    put16(ip + 10, 0);
    put16(ip + 10, header_checksum(ip, header));
    datagram->used = false;
    *length = ETHERNET_HEADER + header + datagram->total;
    return start;
}

static const uint8_t *add_fragment(struct reassembler *reassembler, const uint8_t *frame,
                                   size_t *length)
{
    const uint8_t *ip = frame + ETHERNET_HEADER;
    unsigned header = (ip[0] & 0x0fu) * 4;
    unsigned flags = get16(ip + 6);
    if (header < IP_HEADER_MIN || get16(ip + 2) <= header ||
        get16(ip + 2) > *length - ETHERNET_HEADER || header_checksum(ip, header) != 0)
        return NULL;

    unsigned offset = (flags & OFFSET_MASK) * 8, count = get16(ip + 2) - header;
    bool last = !(flags & FLAG_MORE);
    if (offset + count > DATAGRAM_MAX - header || (!last && count % 8))
        return NULL;

    uint8_t key[11];
    memcpy(key, ip + 12, 8);
    memcpy(key + 8, ip + 4, 2);
    key[10] = ip[9];
    struct datagram *datagram = find_datagram(reassembler, key);
    if (offset == 0) {
        datagram->header_length = (uint8_t)header;
        memcpy(datagram->frame, frame, ETHERNET_HEADER + header);
    }
    if (last)
        datagram->total = offset + count;
    memcpy(datagram->frame + PAYLOAD + offset, ip + header, count);
    mark_present(datagram, offset / 8, (count + 7) / 8);

    if (!datagram->total || !datagram->header_length)
        return NULL;
    if (datagram->received > (datagram->total + 7) / 8 ||
        datagram->header_length + datagram->total > DATAGRAM_MAX) {
        datagram->used = false; /* fragments beyond the end: malformed */
        return NULL;
    }
    if (datagram->received < (datagram->total + 7) / 8)
        return NULL;
    return finish(datagram, length);
}

const uint8_t *reassemble(struct reassembler *reassembler, const uint8_t *frame, size_t *length)
{
    const uint8_t *ip = frame + ETHERNET_HEADER;
    if (*length < ETHERNET_HEADER + IP_HEADER_MIN || get16(frame + 12) != 0x0800 || ip[0] >> 4 != 4)
        return frame;
    unsigned flags = get16(ip + 6);
    if (flags & FLAG_RESERVED)
        return NULL;
    if (!(flags & (FLAG_MORE | OFFSET_MASK)))
        return frame;
    return add_fragment(reassembler, frame, length);
}

struct reassembler *reassembler_new(struct clock *clock)
{
    struct reassembler *reassembler = calloc(1, sizeof *reassembler);
    if (reassembler)
        reassembler->clock = clock;
    return reassembler;
}

void reassembler_free(struct reassembler *reassembler)
{
    free(reassembler);
}
