/*
 * What the PCI-to-ISA bridges of both chipsets have in common: interrupts of ISA devices and routed
 * PCI interrupts on one set of lines, the coprocessor error port, port 92 and reset control.
 *
 * Locking: board lock.
 */
#ifndef DOPPEL_HW_CHIPSET_ISA_BRIDGE_H
#define DOPPEL_HW_CHIPSET_ISA_BRIDGE_H

#include "hw/chipset/requests.h"
#include "hw/pci.h"

#define ISA_IRQS 16

/* Part of a bridge's struct. */
struct isa_bridge {
    struct irq_line isa[ISA_IRQS];
    struct board_requests requests;
    const uint8_t *route[PCI_PIRQS]; /* route control registers; NULL: no such PIRQ */
    uint8_t reset_writable;          /* bits of reset control that keep what is written */

    uint16_t isa_levels; /* asked for by ISA devices through us */
    uint16_t driven;     /* levels of our outputs */
    uint8_t pirq_levels;
    uint8_t reset_control;
    uint8_t port_92;
    bool a20_open;
};

extern const struct field isa_bridge_fields[];

#define PIRQ_DISABLED 0x80
#define PIRQ_IRQ      0x0f

/* isa[n]: input n of the interrupt controllers. Claims ports 0xF0, 0x92 and 0xCF9. The caller fills
 * `route`. */
void isa_bridge_init(struct isa_bridge *bridge, struct io_bus *io,
                     const struct irq_line isa[ISA_IRQS], const struct board_requests *requests,
                     uint8_t reset_writable);
/* The input for a device with ISA interrupt `irq`: ored with the PIRQs that the guest routes there.
 * One device for each number. */
struct irq_line isa_bridge_line(struct isa_bridge *bridge, int irq);
void isa_bridge_set_pirq(struct isa_bridge *bridge, int pirq, bool level);
/* A route control register was written. */
void isa_bridge_rerouted(struct isa_bridge *bridge);
/* The processor asserts FERR#: IRQ 13, until the guest writes port 0xf0. */
void isa_bridge_fpu_error(struct isa_bridge *bridge);

/* The keyboard controller's key to the A20 gate. */
struct irq_line isa_bridge_a20_line(struct isa_bridge *bridge);

void isa_bridge_reset(struct isa_bridge *bridge);
/* PIRQ levels follow from the devices' own lines: the PCI bus must have driven them anew by now. */
void isa_bridge_post_load(struct isa_bridge *bridge);

#endif
