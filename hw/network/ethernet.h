/*
 * Ethernet frames as network cards look at them: addresses, VLAN tags, IPv4 checksums.
 */
#ifndef DOPPEL_HW_NETWORK_ETHERNET_H
#define DOPPEL_HW_NETWORK_ETHERNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ETHERNET_HEADER = 14,
    ETHERNET_MIN = 60, /* without FCS, as all lengths here */
    ETHERNET_MAX = 1514,
    ETHERNET_FCS = 4,
    ETHERNET_TAG = 4,
};
enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_VLAN = 0x8100 };
enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };

enum ethernet_kind { ETHERNET_UNICAST, ETHERNET_MULTICAST, ETHERNET_BROADCAST };

/* By the destination address, which starts the frame. */
enum ethernet_kind ethernet_kind(const uint8_t *frame);

/* The frame check sequence, least significant byte first on the wire. */
uint32_t ethernet_fcs(const uint8_t *frame, size_t length);

/* Which of the 64 bits of a multicast filter an address selects: the upper six bits of its CRC as
 * the DP8390 and its successors count them. */
unsigned ethernet_hash(const uint8_t address[6]);

/* What is found in a frame of `length` bytes. */
struct ipv4_check {
    bool is_ip;       /* a complete IPv4 header, and as much behind it as that says */
    bool header_bad;  /* its checksum is wrong */
    size_t header;    /* its bytes */
    size_t total;     /* with all that belongs to it */
    uint8_t protocol; /* TCP or UDP with a complete header, not a fragment; else 0 */
    bool checked;     /* the payload has a checksum (UDP's may be missing) */
    bool payload_bad; /* it is wrong */
};
struct ipv4_check ipv4_check(const uint8_t *frame, size_t length);

/* Puts the right checksums into a frame for which ipv4_check says `check`. */
void ipv4_fill_header(uint8_t *frame, const struct ipv4_check *check);
void ipv4_fill_payload(uint8_t *frame, const struct ipv4_check *check);

#endif
