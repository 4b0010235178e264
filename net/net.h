/*
 * net/: where a guest's packets go. A network plugs into the packet port of a NIC (hw/port.h).
 *
 * Locking: all of it under the board lock; host sockets are polled by the board's event loop.
 */
#ifndef DOPPEL_NET_NET_H
#define DOPPEL_NET_NET_H

#include "cpu/error.h"
#include "hw/clock.h"
#include "hw/loop.h"
#include "hw/port.h"

#include <netinet/in.h>

#define NET_FORWARDS 32

enum net_kind {
    NET_NONE, /* no NIC at all */
    NET_USER, /* NAT in user space */
};

/* Network cards that can be had. */
enum net_model { NET_E1000, NET_RTL8139, NET_RTL8139C, NET_NE2000, NET_VIRTIO };

/* A port of the host that leads to a port of the guest. */
struct net_forward {
    bool udp;
    struct in_addr host_address; /* 127.0.0.1 unless the user said otherwise */
    uint16_t host_port, guest_port;
};

struct net_user_options {
    struct net_forward forward[NET_FORWARDS];
    unsigned forwards;
    bool restricted;     /* the guest reaches nothing but forwarded ports */
    char tftp[1024];     /* folder whose files the guest can read by TFTP, or empty */
    char boot_file[128]; /* what DHCP tells a guest to boot, or empty */
};

/* The --net option. */
struct net_options {
    enum net_kind kind;
    struct net_user_options user;
    enum net_model model;
    uint8_t mac[6];
    char capture[1024]; /* file for a packet capture, or empty */
};

/* Parses --net text: "none" or "user[,forward=...][,model=...][,mac=...][,restrict]
 * [,tftp=FOLDER][,bootfile=NAME][,capture=FILE]". false + error names the part that is wrong. */
bool net_options_parse(struct net_options *options, const char *text, struct error *error);

struct net;

/* Connects `port` to the network of `options` (kind is not NET_NONE). NULL + error, e.g. a
 * forwarded port that is in use. `loop`, `clock` and `port` outlive it. */
struct net *net_open(const struct net_options *options, struct loop *loop, struct clock *clock,
                     struct packet_port *port, struct error *error);
/* Disconnects. Board lock held, or nothing of the machine running; the loop must not turn again. */
void net_close(struct net *net);

#endif
