/*
 * 82371SB PIIX3, function 0: PCI-to-ISA bridge (Intel 290550). PIRQ routing (section 2.2.5),
 * reset control (2.5.4.4), port 92 (2.5.4.2) and the coprocessor error port (2.5.4.3).
 *
 * The edge/level registers live with the 8259 pair, IDE is a device of its own, and power
 * management is that of the PIIX4 (piix4_pm.c). Address line 20 is never masked: bit 1 of port 92
 * reads back what was written and starts as 1, as firmware leaves it.
 *
 * Not modelled: SMI generation, ISA bus timing, DMA aliasing, motherboard interrupt steering,
 * programmable chip select.
 */
#include "hw/chipset/piix3.h"
#include "hw/alloc.h"

#include <string.h>

/* Configuration registers, section 2.2. */
#define IORT          0x4c /* ISA I/O recovery timer */
#define XBCS          0x4e /* X-bus chip select, 2 bytes */
#define PIRQRCA       0x60 /* PIRQ route control A to D */
#define TOM           0x69 /* top of memory */
#define MBIRQ         0x70 /* motherboard IRQ route, 2 bytes */
#define MBDMA         0x76 /* motherboard DMA, 2 bytes */
#define PCSC          0x78 /* programmable chip select, 2 bytes */
#define APICB         0x80 /* APIC base relocation */
#define DLC           0x82 /* deterministic latency */

#define PIRQ_DISABLED 0x80
#define PIRQ_IRQ      0x0f
#define ROUTABLE_IRQS 0xdef8 /* 3-7, 9-12, 14, 15 */

#define FPU_ERROR     0xf0
#define FPU_IRQ       13

#define PORT_92       0x92
#define PORT_92_RESET 0x01
#define PORT_92_A20   0x02
#define RESET_CONTROL 0xcf9
#define RCR_RESET_CPU 0x04
#define RCR_WRITABLE  0x06 /* reset CPU, hard or soft */

struct piix3 {
    struct pci_device pci;
    struct irq_line isa[ISA_IRQS];
    struct board_requests requests;
    uint16_t isa_levels; /* asked for by ISA devices through us */
    uint16_t driven;     /* levels of our outputs */
    uint8_t pirq_levels;
    uint8_t reset_control;
    uint8_t port_92;
};

static const struct field piix3_fields[] = {
    FIELD_STRUCT(struct piix3, pci, pci_device_fields, 1),
    FIELD(struct piix3, isa_levels, 1),
    FIELD(struct piix3, pirq_levels, 1),
    FIELD(struct piix3, reset_control, 1),
    FIELD(struct piix3, port_92, 1),
    FIELD_END,
};

/* -- Interrupts -- */

static uint16_t wanted_levels(const struct piix3 *piix3)
{
    uint16_t levels = piix3->isa_levels;

    for (int i = 0; i < 4; i++) {
        uint8_t route = piix3->pci.config[PIRQRCA + i];
        uint16_t irq = (uint16_t)(1u << (route & PIRQ_IRQ));
        if ((piix3->pirq_levels >> i & 1) && !(route & PIRQ_DISABLED) && (irq & ROUTABLE_IRQS))
            levels |= irq;
    }
    return levels;
}

static void drive(struct piix3 *piix3, uint16_t which)
{
    uint16_t levels = wanted_levels(piix3);
    uint16_t changed = (uint16_t)((piix3->driven ^ levels) | which);

    piix3->driven = levels;
    for (int irq = 0; irq < ISA_IRQS; irq++) {
        if (changed >> irq & 1)
            irq_set(piix3->isa[irq], levels >> irq & 1);
    }
}

static void set_pirq(void *opaque, int number, bool level)
{
    struct piix3 *piix3 = opaque;
    uint8_t bit = (uint8_t)(1u << number);

    piix3->pirq_levels = (uint8_t)((piix3->pirq_levels & ~bit) | (level ? bit : 0));
    drive(piix3, 0);
}

static void set_isa(void *opaque, int number, bool level)
{
    struct piix3 *piix3 = opaque;
    uint16_t bit = (uint16_t)(1u << number);

    piix3->isa_levels = (uint16_t)((piix3->isa_levels & ~bit) | (level ? bit : 0));
    drive(piix3, 0);
}

struct irq_line piix3_isa_line(struct piix3 *piix3, int irq)
{
    return (struct irq_line){set_isa, piix3, irq};
}

static void piix3_config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
    struct piix3 *piix3 = (struct piix3 *)pci;

    if (offset < PIRQRCA + 4 && offset + size > PIRQRCA)
        drive(piix3, 0);
    if (offset >= 0x40 && pci_get(pci->write_mask, offset, size) == 0)
        log_guest("piix3: write to read-only or unknown configuration register %02x", offset);
}

/* -- Reset control and port 92 -- */

static void request_reset(struct piix3 *piix3)
{
    if (piix3->requests.reset)
        piix3->requests.reset(piix3->requests.opaque);
}

static uint64_t reset_control_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((struct piix3 *)opaque)->reset_control;
}

/* A reset is the transition of bit 2 from 0 to 1. Hard or soft makes no difference here. */
static void reset_control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix3 *piix3 = opaque;
    bool rises = !(piix3->reset_control & RCR_RESET_CPU) && (value & RCR_RESET_CPU);

    piix3->reset_control = value & RCR_WRITABLE;
    if (rises)
        request_reset(piix3);
}

static uint64_t port_92_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((struct piix3 *)opaque)->port_92;
}

static void port_92_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix3 *piix3 = opaque;
    bool rises = !(piix3->port_92 & PORT_92_RESET) && (value & PORT_92_RESET);

    piix3->port_92 = value & (PORT_92_RESET | PORT_92_A20);
    if (!(value & PORT_92_A20))
        log_guest("the guest masks address line 20 by port 92; it stays unmasked");
    if (rises)
        request_reset(piix3);
}

/* -- Coprocessor error: IRQ 13 follows FERR# until the handler writes here -- */

void piix3_fpu_error(struct piix3 *piix3)
{
    set_isa(piix3, FPU_IRQ, true);
}

static void fpu_error_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    set_isa(opaque, FPU_IRQ, false);
}

static const struct access_ops fpu_error_ops = {NULL, fpu_error_write, 1, 1};
static const struct access_ops reset_control_ops = {reset_control_read, reset_control_write, 1, 1};
static const struct access_ops port_92_ops = {port_92_read, port_92_write, 1, 1};

/* -- Life -- */

static void piix3_reset(struct device *device)
{
    struct piix3 *piix3 = (struct piix3 *)device;
    uint8_t *config = piix3->pci.config;

    pci_device_reset(&piix3->pci);
    /* A bridge decodes I/O and memory and masters the bus always. */
    pci_put(config, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    pci_put(config, PCI_STATUS, 0x0200, 2);
    config[IORT] = 0x4d;
    pci_put(config, XBCS, 0x0003, 2);
    memset(config + PIRQRCA, PIRQ_DISABLED, 4);
    config[TOM] = 0x02;
    pci_put(config, MBIRQ, 0x8080, 2);
    pci_put(config, MBDMA, 0x0c0c, 2);
    pci_put(config, PCSC, 0x0002, 2);
    config[APICB] = 0;
    config[DLC] = 0;
    piix3->reset_control = 0;
    piix3->port_92 = PORT_92_A20;
    piix3->isa_levels = 0;
    drive(piix3, 0xffff);
}

/* pirq_levels follow from the devices' own lines: pci_bus has driven them anew by now. */
static bool piix3_post_load(struct device *device, struct error *error)
{
    struct piix3 *piix3 = (struct piix3 *)device;

    if (!pci_device_post_load(&piix3->pci, error))
        return false;
    piix3->reset_control &= RCR_WRITABLE;
    piix3->port_92 &= PORT_92_RESET | PORT_92_A20;
    drive(piix3, 0xffff);
    return true;
}

static void piix3_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops piix3_ops = {
    .name = "piix3",
    .fields = piix3_fields,
    .version = 1,
    .reset = piix3_reset,
    .post_load = piix3_post_load,
    .destroy = piix3_destroy,
};

static void set_write_masks(uint8_t *mask)
{
    static const uint8_t plain[] = {IORT,  XBCS, XBCS + 1, TOM, MBIRQ,     MBIRQ + 1,
                                    MBDMA, PCSC, PCSC + 1, DLC, MBDMA + 1, APICB};

    for (size_t i = 0; i < sizeof plain; i++)
        mask[plain[i]] = 0xff;
    memset(mask + PIRQRCA, PIRQ_DISABLED | PIRQ_IRQ, 4);
    pci_put(mask, PCI_COMMAND, 0x0108, 2); /* SERR#, special cycles */
}

struct piix3 *piix3_new(struct device_list *list, struct pci_bus *pci, struct io_bus *io,
                        const struct irq_line isa[ISA_IRQS], const struct board_requests *requests)
{
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x7000,
        .class_code = 0x0601,
        .subsystem_vendor = PCI_SUBSYSTEM_VENDOR_VIRTUAL,
        .subsystem = PCI_SUBSYSTEM_VIRTUAL,
    };
    struct piix3 *piix3 = alloc_zeroed(sizeof *piix3);
    struct irq_line pirq[4];

    memcpy(piix3->isa, isa, sizeof piix3->isa);
    piix3->requests = *requests;
    pci_device_init(&piix3->pci, pci, PCI_DEVFN(1, 0), &identity);
    piix3->pci.config[PCI_HEADER_TYPE] = PCI_HEADER_MULTIFUNCTION;
    set_write_masks(piix3->pci.write_mask);
    piix3->pci.config_written = piix3_config_written;
    for (int i = 0; i < 4; i++)
        pirq[i] = (struct irq_line){set_pirq, piix3, i};
    pci_bus_route(pci, pirq);
    io_bus_add(io, FPU_ERROR, 1, &fpu_error_ops, piix3);
    io_bus_add(io, PORT_92, 1, &port_92_ops, piix3);
    io_bus_add(io, RESET_CONTROL, 1, &reset_control_ops, piix3);
    device_add(list, &piix3->pci.device, &piix3_ops, "piix3");
    piix3_reset(&piix3->pci.device);
    return piix3;
}
