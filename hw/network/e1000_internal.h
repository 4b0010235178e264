/*
 * Inside of the 82540EM: the device's struct, shared by registers (e1000.c), transmitter
 * (e1000_tx.c) and receiver (e1000_rx.c).
 */
#ifndef DOPPEL_HW_NETWORK_E1000_INTERNAL_H
#define DOPPEL_HW_NETWORK_E1000_INTERNAL_H

#include "hw/network/checksum.h"
#include "hw/network/e1000.h"
#include "hw/network/e1000_regs.h"
#include "hw/network/eeprom93.h"
#include "hw/network/ethernet.h"

#define E1000_FRAME_MAX  16384u /* what the packet buffer takes of one frame */
#define E1000_DESCRIPTOR 16u
#define VLAN_TAG         4u

/* The last context descriptor (section 3.3.6). */
struct tx_context {
    uint8_t ip_start, ip_offset, tu_start, tu_offset; /* IPCSS, IPCSO, TUCSS, TUCSO */
    uint16_t ip_end, tu_end;                          /* IPCSE, TUCSE: last byte, 0 = frame's end */
    uint16_t mss;
    uint8_t header_length;
    uint8_t command; /* TUCMD */
};

struct e1000_tx {
    struct tx_context context;
    bool started;      /* between a frame's first descriptor and the one with EOP */
    bool dropping;     /* the frame is malformed or too long: swallowed up to EOP */
    bool segmenting;   /* TSE of the first descriptor */
    uint8_t options;   /* POPTS of the first descriptor */
    uint32_t consumed; /* bytes of the current descriptor, when the work was cut in pieces */
    uint32_t segment;  /* segments of this frame sent so far */
    uint32_t length;
    uint8_t frame[E1000_FRAME_MAX];
};

/* A delayed interrupt: RDTR with RADV, TIDV with TADV. */
struct e1000_delay {
    struct timer timer;
    uint64_t limit_ns; /* latest time, from the first event on */
};

struct e1000 {
    struct pci_device pci;
    struct clock *clock;
    struct packet_port *port;
    _Atomic uint64_t activity;

    uint32_t reg[E1000_REGISTERS];
    uint16_t phy[32];
    uint32_t io_address; /* IOADDR of the I/O BAR */
    struct eeprom93 eeprom;
    struct e1000_tx tx;
    uint64_t irq_allowed_ns; /* ITR: no interrupt before */
    struct timer irq_timer;
    struct timer tx_timer; /* goes on with work that was cut */
    struct e1000_delay rx_delay, tx_delay;

    uint8_t lookup[E1000_REGISTERS]; /* row of the register table, not saved */
};

/* Sets interrupt causes. */
void e1000_raise(struct e1000 *nic, uint32_t causes);
/* Sets `cause` when `delay_units` of 1.024 us passed without another call, at the latest
 * `limit_units` after the first one (0: no limit). */
void e1000_raise_later(struct e1000 *nic, struct e1000_delay *delay, uint32_t delay_units,
                       uint32_t limit_units);
/* Counts into a statistics register, or a pair of them; they stick at their maximum. */
void e1000_count(struct e1000 *nic, enum e1000_reg reg, uint32_t amount);
void e1000_count_pair(struct e1000 *nic, enum e1000_reg low, uint32_t amount);
/* Counts a frame (with FCS) by size and destination. */
void e1000_count_frame(struct e1000 *nic, const uint8_t *frame, size_t length, bool received);

/* Transmits what the ring holds, up to a budget; goes on later if there is more. */
void e1000_transmit(struct e1000 *nic);
/* True if segmentation with this context stays within header and buffer. */
bool e1000_context_usable(const struct tx_context *context);
/* struct packet_port's receive and can_receive. */
bool e1000_receive(void *opaque, const uint8_t *frame, size_t length);
bool e1000_can_receive(void *opaque);

/* Ring of descriptors: base address, length in descriptors. */
static inline uint64_t ring_base(const struct e1000 *nic, enum e1000_reg low)
{
    return (uint64_t)nic->reg[low + 1] << 32 | nic->reg[low];
}

#endif
