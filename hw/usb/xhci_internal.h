/*
 * xHCI inside: registers and ports (xhci.c), events and interrupts (xhci_event.c), the command ring
 * and contexts (xhci_command.c), transfer rings (xhci_transfer.c). Numbers in parentheses are
 * sections of the eXtensible Host Controller Interface specification 1.1.
 *
 *     guest                           controller                          guest
 *     command ring    -- doorbell 0 -->  xhci_run_commands  --+
 *     transfer rings  -- doorbell n -->  xhci_serve           +--> event ring, interrupt
 *                        usb_ready  -->  ports  --------------+
 *
 * All work is done when a doorbell is rung or a device calls usb_ready, within bounds: what is more
 * waits for the timer. No timer runs otherwise.
 */
#ifndef DOPPEL_HW_USB_XHCI_INTERNAL_H
#define DOPPEL_HW_USB_XHCI_INTERNAL_H

#include "hw/pci_msi.h"
#include "hw/usb/xhci.h"

#define XHCI_PORTS_2      4 /* USB 2 ports come first */
#define XHCI_PORTS_3      4
#define XHCI_PORTS        (XHCI_PORTS_2 + XHCI_PORTS_3)
#define XHCI_SLOTS        16
#define XHCI_ENDPOINTS    32 /* device context indices; 0 is the slot's own context */
#define XHCI_INTERRUPTERS 4
#define XHCI_SEGMENTS     8    /* of an event ring */
#define XHCI_TD_TRBS      1024 /* of one transfer descriptor */
#define XHCI_BOUNCE       65536

/* -- Transfer request blocks (6.4) -- */

struct xhci_trb {
    uint64_t parameter;
    uint32_t status, control;
    uint64_t at; /* its own address; not in memory */
};
#define XHCI_TRB_BYTES     16

#define TRB_CYCLE          0x00000001u
#define TRB_TOGGLE         0x00000002u /* Link */
#define TRB_ISP            0x00000004u
#define TRB_CHAIN          0x00000010u
#define TRB_IOC            0x00000020u
#define TRB_IDT            0x00000040u
#define TRB_BSR            0x00000200u /* Address Device: without SET_ADDRESS */
#define TRB_DECONFIGURE    0x00000200u /* Configure Endpoint */
#define TRB_EVENT_DATA     0x00000004u /* in a transfer event: `parameter` is the guest's own */
#define TRB_DIRECTION_IN   0x00010000u /* Data and Status stage */
#define TRB_TYPE(control)  ((control) >> 10 & 0x3f)
#define TRB_LENGTH(status) ((status)&0x1ffff)

enum xhci_trb_type {
    TRB_NORMAL = 1,
    TRB_SETUP = 2,
    TRB_DATA = 3,
    TRB_STATUS = 4,
    TRB_LINK = 6,
    TRB_EVENT_DATA_TYPE = 7,
    TRB_NOOP = 8,
    TRB_ENABLE_SLOT = 9,
    TRB_DISABLE_SLOT = 10,
    TRB_ADDRESS_DEVICE = 11,
    TRB_CONFIGURE_ENDPOINT = 12,
    TRB_EVALUATE_CONTEXT = 13,
    TRB_RESET_ENDPOINT = 14,
    TRB_STOP_ENDPOINT = 15,
    TRB_SET_DEQUEUE = 16,
    TRB_RESET_DEVICE = 17,
    TRB_NOOP_COMMAND = 23,
    TRB_TRANSFER_EVENT = 32,
    TRB_COMMAND_EVENT = 33,
    TRB_PORT_EVENT = 34,
};

/* Completion codes (6.4.5). */
enum xhci_code {
    CODE_SUCCESS = 1,
    CODE_BABBLE = 3,
    CODE_TRANSACTION_ERROR = 4,
    CODE_TRB_ERROR = 5,
    CODE_STALL = 6,
    CODE_NO_SLOTS = 9,
    CODE_SLOT_NOT_ENABLED = 11,
    CODE_ENDPOINT_NOT_ENABLED = 12,
    CODE_SHORT_PACKET = 13,
    CODE_PARAMETER_ERROR = 17,
    CODE_CONTEXT_STATE_ERROR = 19,
    CODE_RING_STOPPED = 24,
    CODE_STOPPED = 26,
};

/* -- Slots and endpoints -- */

enum xhci_endpoint_state { EP_DISABLED, EP_RUNNING, EP_HALTED, EP_STOPPED, EP_ERROR };
enum xhci_endpoint_type {
    EP_ISOCH_OUT = 1,
    EP_BULK_OUT = 2,
    EP_INTERRUPT_OUT = 3,
    EP_CONTROL = 4,
    EP_ISOCH_IN = 5,
    EP_BULK_IN = 6,
    EP_INTERRUPT_IN = 7,
};

struct xhci_endpoint {
    uint8_t state, type;
    bool cycle;       /* the consumer's */
    uint64_t dequeue; /* first TRB of the TD that is to be done */
    uint32_t done;    /* bytes of it that have passed already */
};

enum xhci_slot_state {
    SLOT_ENABLED = 0,
    SLOT_DEFAULT = 1,
    SLOT_ADDRESSED = 2,
    SLOT_CONFIGURED = 3
};

struct xhci_slot {
    bool enabled;
    uint8_t state;
    uint8_t port; /* from 1 on; 0: none */
    uint16_t interrupter;
    struct xhci_endpoint endpoint[XHCI_ENDPOINTS];
    uint32_t pending; /* endpoints with something to do, perhaps */
    uint32_t blocked; /* those that wait for room in an event ring */
};

/* -- Event rings -- */

struct xhci_interrupter {
    uint32_t management, moderation, table_size;
    uint64_t table, dequeue;
    bool started; /* the segments have been read since `table` was written */
    bool cycle;
    uint8_t segments, segment; /* how many, and in which to write next */
    uint32_t index;
    uint64_t base[XHCI_SEGMENTS];
    uint32_t size[XHCI_SEGMENTS];
};

struct xhci {
    struct pci_device pci;
    struct pci_msix msix;
    uint32_t command, status, notifications, config;
    uint64_t command_ring, contexts; /* contexts: DCBAAP */
    bool command_cycle, command_running;
    uint32_t portsc[XHCI_PORTS], portpmsc[XHCI_PORTS];
    bool port_event[XHCI_PORTS]; /* an event that did not find room */
    struct xhci_interrupter interrupter[XHCI_INTERRUPTERS];
    struct xhci_slot slot[XHCI_SLOTS + 1]; /* from 1 on */
    struct timer again;                    /* continues what was too much for one time */
    /* -- Not saved -- */
    struct clock *clock;
    struct usb_bus bus;
    struct usb_port port[XHCI_PORTS];
    bool serving;
    struct xhci_trb td[XHCI_TD_TRBS];
    uint8_t bounce[XHCI_BOUNCE];
};

/* -- xhci.c -- */

bool xhci_running(const struct xhci *xhci);
/* The guest made a mistake after which hardware would stop. */
void xhci_host_error(struct xhci *xhci, const char *what);
/* The device at a root port, if the port is enabled; or NULL. */
struct usb_device *xhci_device(struct xhci *xhci, unsigned port);

/* -- xhci_event.c -- */

extern const struct field xhci_interrupter_fields[];

uint32_t xhci_interrupter_read(struct xhci *xhci, unsigned number, unsigned reg);
void xhci_interrupter_write(struct xhci *xhci, unsigned number, unsigned reg, uint32_t value);
/* Room for `count` events, or as many as the ring can hold at all. */
bool xhci_event_room(struct xhci *xhci, unsigned interrupter, unsigned count);
/* `event.control` has all but the cycle bit. */
void xhci_post_event(struct xhci *xhci, unsigned interrupter, const struct xhci_trb *event);
void xhci_port_event(struct xhci *xhci, unsigned port);
void xhci_update_irq(struct xhci *xhci);
void xhci_interrupters_reset(struct xhci *xhci);

/* -- xhci_command.c -- */

/* Reads a TRB. False: DMA failed. */
bool xhci_read_trb(struct xhci *xhci, uint64_t at, struct xhci_trb *trb);
void xhci_run_commands(struct xhci *xhci);
/* Brings an endpoint's state into its device context. */
void xhci_write_endpoint(struct xhci *xhci, unsigned slot, unsigned endpoint);

/* -- xhci_transfer.c -- */

/* The endpoint may have something to do; xhci_serve does it. */
void xhci_mark(struct xhci *xhci, unsigned slot, unsigned endpoint);
void xhci_serve(struct xhci *xhci);
/* The guest has taken events. */
void xhci_serve_blocked(struct xhci *xhci);
/* Ends what is under way on a ring that is stopped. */
void xhci_report_stopped(struct xhci *xhci, unsigned slot, unsigned endpoint);

#endif
