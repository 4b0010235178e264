/*
 * Ethernet frames as network cards look at them (IEEE 802.3; IPv4: RFC 791, 768, 793).
 */
#include "hw/network/ethernet.h"

#include "hw/network/checksum.h"

#include <zlib.h>

enum { MINIMUM_TCP = 20, MINIMUM_UDP = 8, MINIMUM_IP = 20 };

enum ethernet_kind ethernet_kind(const uint8_t *frame)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    if (!(frame[0] & 1))
        return ETHERNET_UNICAST;
    return memcmp(frame, broadcast, 6) ? ETHERNET_MULTICAST : ETHERNET_BROADCAST;
}

uint32_t ethernet_fcs(const uint8_t *frame, size_t length)
{
    return (uint32_t)crc32(0, frame, (uInt)length);
}

/* The register that a card looks at holds the CRC before its final complement, in the other order
 * of bits. */
unsigned ethernet_hash(const uint8_t address[6])
{
    uint32_t crc = ~ethernet_fcs(address, 6);
    unsigned hash = 0;
    for (int i = 0; i < 6; i++)
        hash = hash << 1 | (crc >> i & 1);
    return hash;
}

static uint32_t payload_sum(const uint8_t *ip, const struct ipv4_check *check)
{
    size_t length = check->total - check->header;
    return sum_words(ip + 12, 8) + check->protocol + (uint32_t)length +
           sum_words(ip + check->header, length);
}

static size_t checksum_offset(const struct ipv4_check *check)
{
    return ETHERNET_HEADER + check->header + (check->protocol == PROTOCOL_TCP ? 16 : 6);
}

struct ipv4_check ipv4_check(const uint8_t *frame, size_t length)
{
    struct ipv4_check check = {0};
    const uint8_t *ip = frame + ETHERNET_HEADER;
    if (length < ETHERNET_HEADER + MINIMUM_IP || load16(frame + 12) != ETHERTYPE_IPV4 ||
        ip[0] >> 4 != 4)
        return check;
    check.header = (ip[0] & 0xfu) * 4;
    check.total = load16(ip + 2);
    check.is_ip = check.header >= MINIMUM_IP && check.total >= check.header &&
                  check.total <= length - ETHERNET_HEADER;
    if (!check.is_ip)
        return check;
    check.header_bad = fold_sum(sum_words(ip, check.header)) != 0xffff;
    bool fragment = load16(ip + 6) & 0x3fff;
    size_t payload = check.total - check.header;
    if (fragment || !((ip[9] == PROTOCOL_TCP && payload >= MINIMUM_TCP) ||
                      (ip[9] == PROTOCOL_UDP && payload >= MINIMUM_UDP)))
        return check;
    check.protocol = ip[9];
    check.checked = ip[9] == PROTOCOL_TCP || load16(frame + checksum_offset(&check)) != 0;
    check.payload_bad = check.checked && fold_sum(payload_sum(ip, &check)) != 0xffff;
    return check;
}

void ipv4_fill_header(uint8_t *frame, const struct ipv4_check *check)
{
    uint8_t *ip = frame + ETHERNET_HEADER;
    store16(ip + 10, 0);
    store16(ip + 10, (uint16_t)~fold_sum(sum_words(ip, check->header)));
}

void ipv4_fill_payload(uint8_t *frame, const struct ipv4_check *check)
{
    uint8_t *field = frame + checksum_offset(check);
    store16(field, 0);
    uint16_t sum = (uint16_t)~fold_sum(payload_sum(frame + ETHERNET_HEADER, check));
    /* UDP's zero means none: the equal value 0xffff goes out instead (RFC 768). */
    store16(field, check->protocol == PROTOCOL_UDP && sum == 0 ? 0xffff : sum);
}
