/*
 * Inside of the RTL8139: the device's struct, shared by registers (rtl8139.c), transmitter
 * (rtl8139_tx.c) and receiver (rtl8139_rx.c).
 */
#ifndef DOPPEL_HW_NETWORK_RTL8139_INTERNAL_H
#define DOPPEL_HW_NETWORK_RTL8139_INTERNAL_H

#include "hw/network/checksum.h"
#include "hw/network/eeprom93.h"
#include "hw/network/ethernet.h"
#include "hw/network/rtl8139.h"
#include "hw/network/rtl8139_regs.h"

#define TX_FRAME_MAX 65536u /* with large send */
#define RX_FRAME_MAX 4096u

/* The tally counters, in the order in which they are dumped (RTL8139C+, DTCCR). */
struct rtl8139_tally {
    uint64_t tx_ok, rx_ok, tx_errors;
    uint32_t rx_errors;
    uint16_t rx_missed;
    uint64_t rx_unicast, rx_broadcast;
    uint32_t rx_multicast;
};

/* A frame that is gathered from C+ descriptors. */
struct rtl8139_tx {
    bool started;
    bool complete;    /* all of it is here; its last descriptor is the current one */
    bool dropping;    /* too long: swallowed up to its last descriptor */
    uint32_t queue;   /* whose frame it is */
    uint32_t current; /* first word of the current descriptor */
    uint32_t first;   /* first and second word of its first descriptor */
    uint32_t vlan;
    uint32_t length;
    uint32_t segment; /* payload bytes sent, where the work of a large send was cut */
    uint8_t frame[TX_FRAME_MAX];
};

struct rtl8139 {
    struct pci_device pci;
    struct clock *clock;
    struct packet_port *port;
    bool plus;

    uint8_t reg[RTL8139_REGISTERS];
    struct eeprom93 eeprom;
    uint32_t tx_turn;     /* which of the four descriptors is next */
    uint32_t tx_index[2]; /* in the rings of normal and high priority */
    uint32_t rx_index;
    struct rtl8139_tx tx;
    struct rtl8139_tally tally;
    uint64_t timer_start_ns; /* TCTR was 0 */
    struct timer timer;      /* TIMERINT */
    struct timer tx_timer;   /* goes on with work that was cut */
    struct timer rx_timer;   /* a refused frame is tried again */

    uint8_t lookup[RTL8139_REGISTERS]; /* row of the register table, not saved */
};

static inline uint32_t rtl8139_get(const struct rtl8139 *nic, enum rtl8139_reg reg, unsigned bytes)
{
    return pci_get(nic->reg, reg, bytes);
}

static inline void rtl8139_put(struct rtl8139 *nic, enum rtl8139_reg reg, uint32_t value,
                               unsigned bytes)
{
    pci_put(nic->reg, reg, value, bytes);
}

/* Sets interrupt causes. */
void rtl8139_raise(struct rtl8139 *nic, uint32_t causes);

/* Sends what the four descriptors or, on a C+ in that mode, the rings hold, up to a budget. */
void rtl8139_transmit(struct rtl8139 *nic);
/* TPPOLL was written. */
void rtl8139_poll(struct rtl8139 *nic, uint32_t queues);

/* The driver may have made room: the network may have frames that wait for it. */
void rtl8139_offer_room(struct rtl8139 *nic);
/* A frame has waited for some time. */
void rtl8139_retry(struct rtl8139 *nic);
/* struct packet_port's receive and can_receive. */
bool rtl8139_receive(void *opaque, const uint8_t *frame, size_t length);
bool rtl8139_can_receive(void *opaque);
/* Bytes of the receive ring, and where the driver reads it. */
uint32_t rtl8139_ring_size(const struct rtl8139 *nic);
uint32_t rtl8139_read_offset(const struct rtl8139 *nic);

#endif
