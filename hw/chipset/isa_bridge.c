/*
 * Common part of PIIX3 and ICH9: PIRQ routing (Intel 290550, section 2.2.5), reset control
 * (2.5.4.4), port 92 (2.5.4.2) and the coprocessor error port (2.5.4.3).
 *
 * The A20 gate has two keys, bit 1 of port 92 and the keyboard controller; whichever was turned
 * last decides. (The chips or the two, which no software can rely on, as firmware leaves the one or
 * the other open.)
 */
#include "hw/chipset/isa_bridge.h"

#include <string.h>

#define ROUTABLE_IRQS 0xdef8 /* 3-7, 9-12, 14, 15 */

#define FPU_ERROR     0xf0
#define FPU_IRQ       13

#define PORT_92       0x92
#define PORT_92_RESET 0x01
#define PORT_92_A20   0x02
#define RESET_CONTROL 0xcf9
#define RCR_RESET_CPU 0x04

const struct field isa_bridge_fields[] = {
    FIELD(struct isa_bridge, isa_levels, 1),    FIELD(struct isa_bridge, pirq_levels, 1),
    FIELD(struct isa_bridge, reset_control, 1), FIELD(struct isa_bridge, port_92, 1),
    FIELD(struct isa_bridge, a20_open, 1),      FIELD_END,
};

/* -- Interrupts -- */

static uint16_t wanted_levels(const struct isa_bridge *bridge)
{
    uint16_t levels = bridge->isa_levels;

    for (int i = 0; i < PCI_PIRQS; i++) {
        if (!bridge->route[i] || !(bridge->pirq_levels >> i & 1))
            continue;
        uint8_t route = *bridge->route[i];
        uint16_t irq = (uint16_t)(1u << (route & PIRQ_IRQ));
        if (!(route & PIRQ_DISABLED) && (irq & ROUTABLE_IRQS))
            levels |= irq;
    }
    return levels;
}

static void drive(struct isa_bridge *bridge, uint16_t which)
{
    uint16_t levels = wanted_levels(bridge);
    uint16_t changed = (uint16_t)((bridge->driven ^ levels) | which);

    bridge->driven = levels;
    for (int irq = 0; irq < ISA_IRQS; irq++) {
        if (changed >> irq & 1)
            irq_set(bridge->isa[irq], levels >> irq & 1);
    }
}

void isa_bridge_set_pirq(struct isa_bridge *bridge, int pirq, bool level)
{
    uint8_t bit = (uint8_t)(1u << pirq);

    bridge->pirq_levels = (uint8_t)((bridge->pirq_levels & ~bit) | (level ? bit : 0));
    drive(bridge, 0);
}

void isa_bridge_rerouted(struct isa_bridge *bridge)
{
    drive(bridge, 0);
}

static void set_isa(void *opaque, int number, bool level)
{
    struct isa_bridge *bridge = opaque;
    uint16_t bit = (uint16_t)(1u << number);

    bridge->isa_levels = (uint16_t)((bridge->isa_levels & ~bit) | (level ? bit : 0));
    drive(bridge, 0);
}

struct irq_line isa_bridge_line(struct isa_bridge *bridge, int irq)
{
    return (struct irq_line){set_isa, bridge, irq};
}

/* -- Reset control and port 92 -- */

static void request_reset(struct isa_bridge *bridge)
{
    if (bridge->requests.reset)
        bridge->requests.reset(bridge->requests.opaque);
}

static uint64_t reset_control_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((struct isa_bridge *)opaque)->reset_control;
}

/* A reset is the transition of bit 2 from 0 to 1. Hard or soft makes no difference here. */
static void reset_control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct isa_bridge *bridge = opaque;
    bool rises = !(bridge->reset_control & RCR_RESET_CPU) && (value & RCR_RESET_CPU);

    bridge->reset_control = value & bridge->reset_writable;
    if (rises)
        request_reset(bridge);
}

static void set_a20(void *opaque, int number, bool open)
{
    struct isa_bridge *bridge = opaque;

    bridge->a20_open = open;
    if (bridge->requests.a20)
        bridge->requests.a20(bridge->requests.opaque, open);
}

struct irq_line isa_bridge_a20_line(struct isa_bridge *bridge)
{
    return (struct irq_line){set_a20, bridge, 0};
}

static uint64_t port_92_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((struct isa_bridge *)opaque)->port_92;
}

static void port_92_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct isa_bridge *bridge = opaque;
    bool rises = !(bridge->port_92 & PORT_92_RESET) && (value & PORT_92_RESET);

    bridge->port_92 = value & (PORT_92_RESET | PORT_92_A20);
    set_a20(bridge, 0, value & PORT_92_A20);
    if (rises)
        request_reset(bridge);
}

/* -- Coprocessor error: IRQ 13 follows FERR# until the handler writes here -- */

void isa_bridge_fpu_error(struct isa_bridge *bridge)
{
    set_isa(bridge, FPU_IRQ, true);
}

static void fpu_error_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    set_isa(opaque, FPU_IRQ, false);
}

static const struct access_ops fpu_error_ops = {NULL, fpu_error_write, 1, 1};
static const struct access_ops reset_control_ops = {reset_control_read, reset_control_write, 1, 1};
static const struct access_ops port_92_ops = {port_92_read, port_92_write, 1, 1};

/* -- Life -- */

void isa_bridge_reset(struct isa_bridge *bridge)
{
    bridge->reset_control = 0;
    bridge->port_92 = PORT_92_A20;
    bridge->isa_levels = 0;
    set_a20(bridge, 0, true);
    drive(bridge, 0xffff);
}

void isa_bridge_post_load(struct isa_bridge *bridge)
{
    bridge->reset_control &= bridge->reset_writable;
    bridge->port_92 &= PORT_92_RESET | PORT_92_A20;
    set_a20(bridge, 0, bridge->a20_open);
    drive(bridge, 0xffff);
}

void isa_bridge_init(struct isa_bridge *bridge, struct io_bus *io,
                     const struct irq_line isa[ISA_IRQS], const struct board_requests *requests,
                     uint8_t reset_writable)
{
    memcpy(bridge->isa, isa, sizeof bridge->isa);
    bridge->requests = *requests;
    bridge->reset_writable = reset_writable;
    io_bus_add(io, FPU_ERROR, 1, &fpu_error_ops, bridge);
    io_bus_add(io, PORT_92, 1, &port_92_ops, bridge);
    io_bus_add(io, RESET_CONTROL, 1, &reset_control_ops, bridge);
}
