/*
 * Inside of net/: the networks, and the tap for captures.
 */
#ifndef DOPPEL_NET_INTERNAL_H
#define DOPPEL_NET_INTERNAL_H

#include "net/net.h"

/* -- User-mode NAT (slirp.c) -- */

struct net_user;

struct net_user *net_user_new(struct loop *loop, struct clock *clock, struct packet_port *port,
                              const struct net_user_options *options, struct error *error);
void net_user_free(struct net_user *user);

/* -- IPv4 reassembly (reassemble.c) -- */

struct reassembler;

struct reassembler *reassembler_new(struct clock *clock); /* NULL without memory */
void reassembler_free(struct reassembler *reassembler);
/* Passes a frame through: itself if it is no fragment, the whole datagram's frame if it was the
 * last one missing (valid until the next call), NULL if there is nothing to go on with. */
const uint8_t *reassemble(struct reassembler *reassembler, const uint8_t *frame, size_t *length);

/* -- Packet capture (capture.c) -- */

struct net_capture;

/* Puts itself between the two sides of `port`, both of which are connected already, and writes what
 * passes to a pcap file. */
struct net_capture *net_capture_new(struct packet_port *port, struct clock *clock, const char *path,
                                    struct error *error);
/* Takes itself out again. */
void net_capture_free(struct net_capture *capture);

#endif
