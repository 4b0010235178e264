/*
 * 82371SB PIIX3, function 0: PCI-to-ISA bridge (Intel 290550), section 2.2. Interrupt routing and
 * the system ports are in isa_bridge.c.
 *
 * The edge/level registers live with the 8259 pair, IDE is a device of its own, and power
 * management is that of the PIIX4 (piix4_pm.c).
 *
 * Not modelled: SMI generation, ISA bus timing, DMA aliasing, motherboard interrupt steering,
 * programmable chip select.
 */
#include "hw/chipset/piix3.h"
#include "hw/alloc.h"

#include <string.h>

/* Configuration registers, section 2.2. */
#define IORT         0x4c /* ISA I/O recovery timer */
#define XBCS         0x4e /* X-bus chip select, 2 bytes */
#define PIRQRCA      0x60 /* PIRQ route control A to D */
#define TOM          0x69 /* top of memory */
#define MBIRQ        0x70 /* motherboard IRQ route, 2 bytes */
#define MBDMA        0x76 /* motherboard DMA, 2 bytes */
#define PCSC         0x78 /* programmable chip select, 2 bytes */
#define APICB        0x80 /* APIC base relocation */
#define DLC          0x82 /* deterministic latency */

#define PIRQS        4
#define RCR_WRITABLE 0x06 /* reset CPU, hard or soft */

struct piix3 {
    struct pci_device pci;
    struct isa_bridge isa;
};

static const struct field piix3_fields[] = {
    FIELD_STRUCT(struct piix3, pci, pci_device_fields, 1),
    FIELD_STRUCT(struct piix3, isa, isa_bridge_fields, 1),
    FIELD_END,
};

static void set_pirq(void *opaque, int number, bool level)
{
    isa_bridge_set_pirq(&((struct piix3 *)opaque)->isa, number, level);
}

static void piix3_config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
    if (offset < PIRQRCA + PIRQS && offset + size > PIRQRCA)
        isa_bridge_rerouted(&((struct piix3 *)pci)->isa);
    if (offset >= 0x40 && pci_get(pci->write_mask, offset, size) == 0)
        log_guest("piix3: write to read-only or unknown configuration register %02x", offset);
}

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
    memset(config + PIRQRCA, PIRQ_DISABLED, PIRQS);
    config[TOM] = 0x02;
    pci_put(config, MBIRQ, 0x8080, 2);
    pci_put(config, MBDMA, 0x0c0c, 2);
    pci_put(config, PCSC, 0x0002, 2);
    config[APICB] = 0;
    config[DLC] = 0;
    isa_bridge_reset(&piix3->isa);
}

static bool piix3_post_load(struct device *device, struct error *error)
{
    struct piix3 *piix3 = (struct piix3 *)device;

    if (!pci_device_post_load(&piix3->pci, error))
        return false;
    isa_bridge_post_load(&piix3->isa);
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
    memset(mask + PIRQRCA, PIRQ_DISABLED | PIRQ_IRQ, PIRQS);
    pci_put(mask, PCI_COMMAND, 0x0108, 2); /* SERR#, special cycles */
}

struct isa_bridge *piix3_isa(struct piix3 *piix3)
{
    return &piix3->isa;
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
    struct irq_line pirq[PIRQS];

    pci_device_init(&piix3->pci, pci, PCI_DEVFN(1, 0), &identity);
    piix3->pci.config[PCI_HEADER_TYPE] = PCI_HEADER_MULTIFUNCTION;
    set_write_masks(piix3->pci.write_mask);
    piix3->pci.config_written = piix3_config_written;
    isa_bridge_init(&piix3->isa, io, isa, requests, RCR_WRITABLE);
    for (int i = 0; i < PIRQS; i++) {
        piix3->isa.route[i] = &piix3->pci.config[PIRQRCA + i];
        pirq[i] = (struct irq_line){set_pirq, piix3, i};
    }
    pci_bus_route(pci, pirq);
    device_add(list, &piix3->pci.device, &piix3_ops, "piix3");
    piix3_reset(&piix3->pci.device);
    return piix3;
}
