/*
 * AHCI host bus adapter as in the ICH9: registers of the adapter and its ports, interrupts, resets.
 *
 * Specification: Serial ATA AHCI 1.3.1, section 3 (registers), 8 (power), 10 (software). Commands
 * and data are in ahci_command.c, the drives in ata.c, ata_disk.c and atapi.c.
 *
 * Not modelled: enclosure management, staggered spin-up, link power states (refused through
 * PxSCTL.IPM as unsupported), hot plug of drives, the index/data pair in I/O space.
 */
#include "hw/storage/ahci_internal.h"
#include "hw/alloc.h"
#include "hw/pci_msi.h"

#include <string.h>

#define ABAR      5
#define ABAR_SIZE 0x1000

/* Generic host control. */
#define HBA_CAP     0x00
#define HBA_GHC     0x04
#define HBA_IS      0x08
#define HBA_PI      0x0c
#define HBA_VS      0x10
#define HBA_CAP2    0x24
#define HBA_PORTS   0x100
#define PORT_STRIDE 0x80

#define CAP_S64A    0x80000000u
#define CAP_SNCQ    0x40000000u
#define CAP_SCLO    0x01000000u
#define CAP_GEN3    0x00300000u
#define CAP_SAM     0x00040000u
#define CAP_VALUE                                                                                  \
    (CAP_S64A | CAP_SNCQ | CAP_SCLO | CAP_GEN3 | CAP_SAM | (AHCI_SLOTS - 1) << 8 | (AHCI_PORTS - 1))
#define VERSION_1_3 0x00010300u

#define GHC_RESET   0x00000001u
#define GHC_IE      0x00000002u
#define GHC_AE      0x80000000u

/* Port registers. */
enum port_register {
    PORT_CLB = 0x00,
    PORT_CLBU = 0x04,
    PORT_FB = 0x08,
    PORT_FBU = 0x0c,
    PORT_IS = 0x10,
    PORT_IE = 0x14,
    PORT_CMD = 0x18,
    PORT_TFD = 0x20,
    PORT_SIG = 0x24,
    PORT_SSTS = 0x28,
    PORT_SCTL = 0x2c,
    PORT_SERR = 0x30,
    PORT_SACT = 0x34,
    PORT_CI = 0x38,
};

#define SSTS_CONNECTED 0x00000133u /* device and link, generation 3, interface active */
#define SCTL_DET       0x0fu
#define SERR_DIAG_N    0x00010000u
#define SERR_DIAG_X    0x04000000u
#define TFD_NO_DEVICE  0x7fu
#define SIG_NO_DEVICE  0xffffffffu

static const struct field ahci_cursor_fields[] = {
    FIELD(struct ahci_cursor, next, 1),
    FIELD(struct ahci_cursor, entries, 1),
    FIELD(struct ahci_cursor, address, 1),
    FIELD(struct ahci_cursor, left, 1),
    FIELD(struct ahci_cursor, interrupt, 1),
    FIELD(struct ahci_cursor, moved, 1),
    FIELD_END,
};

static const struct field ahci_port_fields[] = {
    FIELD_STRUCT(struct ahci_port, ata, ata_channel_fields, 1),
    FIELD(struct ahci_port, clb, 1),
    FIELD(struct ahci_port, clbu, 1),
    FIELD(struct ahci_port, fb, 1),
    FIELD(struct ahci_port, fbu, 1),
    FIELD(struct ahci_port, is, 1),
    FIELD(struct ahci_port, ie, 1),
    FIELD(struct ahci_port, cmd, 1),
    FIELD(struct ahci_port, tfd, 1),
    FIELD(struct ahci_port, sig, 1),
    FIELD(struct ahci_port, ssts, 1),
    FIELD(struct ahci_port, sctl, 1),
    FIELD(struct ahci_port, serr, 1),
    FIELD(struct ahci_port, sact, 1),
    FIELD(struct ahci_port, ci, 1),
    FIELD(struct ahci_port, halted, 1),
    FIELD(struct ahci_port, executing, 1),
    FIELD(struct ahci_port, slot, 1),
    FIELD(struct ahci_port, irq_wanted, 1),
    FIELD_STRUCT(struct ahci_port, cursor, ahci_cursor_fields, 1),
    FIELD_END,
};

static const struct field ahci_fields[] = {
    FIELD_STRUCT(struct ahci, pci, pci_device_fields, 1),
    FIELD_STRUCTS(struct ahci, port, ahci_port_fields, 1),
    FIELD(struct ahci, ghc, 1),
    FIELD(struct ahci, is, 1),
    FIELD_END,
};

/* -- Interrupts (5.6.4) -- */

/* A port with an enabled bit in PxIS holds its bit in IS, which software can only clear after
 * PxIS. A message goes out when a bit of IS appears, and again when software cleared some of
 * several (10.6.2.1). */
static void update_irq(struct ahci *ahci, bool remind)
{
    uint32_t before = ahci->is;
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        if (ahci->port[i].is & ahci->port[i].ie)
            ahci->is |= 1u << i;
    bool level = ahci->is && (ahci->ghc & GHC_IE);
    pci_set_irq(&ahci->pci, level);
    if (level && (remind || (ahci->is & ~before)))
        pci_notify(&ahci->pci, 0);
}

void ahci_raise(struct ahci_port *port, uint32_t bits)
{
    port->is |= bits;
    update_irq(port->ahci, false);
}

/* PxIS.PCS and PRCS follow bits of PxSERR and are cleared there. */
static void set_serr(struct ahci_port *port, uint32_t value)
{
    port->serr = value;
    port->is &= ~(PXIS_PCS | PXIS_PRCS);
    ahci_raise(port, (value & SERR_DIAG_X ? PXIS_PCS : 0) | (value & SERR_DIAG_N ? PXIS_PRCS : 0));
}

/* -- Port resets and starts -- */

/* The link has come up anew (COMRESET): the drive resets itself and sends its signature. */
static void bring_up_link(struct ahci_port *port)
{
    if (!ahci_present(port)) {
        port->ssts = 0;
        port->tfd = TFD_NO_DEVICE;
        port->sig = SIG_NO_DEVICE;
        return;
    }
    port->ssts = SSTS_CONNECTED;
    ata_channel_reset(&port->ata);
    ahci_drive(port)->disk.queue_error.valid = false;
    ahci_send_signature(port);
    set_serr(port, port->serr | SERR_DIAG_X | SERR_DIAG_N);
}

static void stop_commands(struct ahci_port *port)
{
    port->halted = true; /* what ends meanwhile starts nothing new */
    ahci_quiesce(port);
    port->cmd &= ~(PXCMD_ST | PXCMD_CR | PXCMD_CCS);
    port->ci = port->sact = 0;
    port->executing = port->halted = false;
}

static void write_sctl(struct ahci_port *port, uint32_t value)
{
    uint32_t before = port->sctl & SCTL_DET;
    port->sctl = value & 0xfff;
    switch (value & SCTL_DET) {
    case 1: /* COMRESET as long as it stands here */
        port->ssts = 0;
        port->tfd = TFD_NO_DEVICE;
        break;
    case 4: /* interface off */
        port->ssts = ahci_present(port) ? 4 : 0;
        port->tfd = TFD_NO_DEVICE;
        break;
    case 0:
        if (before) {
            port->halted = true;
            ahci_quiesce(port);
            port->executing = port->halted = false;
            bring_up_link(port);
        }
        break;
    default:
        log_guest("ahci: port %u: reserved PxSCTL.DET %u", port->index, value & SCTL_DET);
    }
}

static void write_cmd(struct ahci_port *port, uint32_t value)
{
    const uint32_t writable =
        PXCMD_ST | PXCMD_SUD | PXCMD_POD | PXCMD_FRE | PXCMD_ATAPI | PXCMD_DLAE;
    uint32_t before = port->cmd;
    if ((before & PXCMD_ST) && !(value & PXCMD_ST)) {
        stop_commands(port);
        before = port->cmd;
    }
    port->cmd = (before & ~(writable | PXCMD_FR)) | (value & writable);
    if (port->cmd & PXCMD_FRE)
        port->cmd |= PXCMD_FR;
    if ((value & PXCMD_CLO) && !(before & PXCMD_ST))
        port->tfd &= ~(uint32_t)(ATA_STATUS_BSY | ATA_STATUS_DRQ);
    if (!(before & PXCMD_ST) && (value & PXCMD_ST)) {
        if (ahci_present(port) && (port->tfd & (ATA_STATUS_BSY | ATA_STATUS_DRQ)))
            log_guest("ahci: port %u started while its device is busy", port->index);
        port->cmd |= PXCMD_CR;
        ahci_serve(port);
    }
}

static void reset_port(struct ahci_port *port)
{
    stop_commands(port);
    port->clb = port->clbu = port->fb = port->fbu = port->ie = port->is = 0;
    port->serr = port->sctl = 0;
    port->cmd = PXCMD_SUD | PXCMD_POD;
    port->irq_wanted = false;
    port->cursor = (struct ahci_cursor){0};
    bring_up_link(port);
}

/* HBA reset (10.4.3): everything but what firmware set up. */
static void reset_hba(struct ahci *ahci)
{
    for (int i = 0; i < AHCI_PORTS; i++)
        reset_port(&ahci->port[i]);
    ahci->ghc = GHC_AE;
    ahci->is = 0;
    update_irq(ahci, false);
}

/* -- Registers -- */

static uint32_t read_port(const struct ahci_port *port, unsigned reg)
{
    switch (reg) {
    case PORT_CLB:
        return port->clb;
    case PORT_CLBU:
        return port->clbu;
    case PORT_FB:
        return port->fb;
    case PORT_FBU:
        return port->fbu;
    case PORT_IS:
        return port->is;
    case PORT_IE:
        return port->ie;
    case PORT_CMD:
        return port->cmd;
    case PORT_TFD:
        return port->executing && ahci_drive((struct ahci_port *)port)->status & ATA_STATUS_BSY
                   ? port->tfd | ATA_STATUS_BSY
                   : port->tfd;
    case PORT_SIG:
        return port->sig;
    case PORT_SSTS:
        return port->ssts;
    case PORT_SCTL:
        return port->sctl;
    case PORT_SERR:
        return port->serr;
    case PORT_SACT:
        return port->sact;
    case PORT_CI:
        return port->ci;
    default:
        return 0;
    }
}

static void write_port(struct ahci_port *port, unsigned reg, uint32_t value)
{
    switch (reg) {
    case PORT_CLB:
        port->clb = value & ~0x3ffu;
        break;
    case PORT_CLBU:
        port->clbu = value;
        break;
    case PORT_FB:
        port->fb = value & ~0xffu;
        break;
    case PORT_FBU:
        port->fbu = value;
        break;
    case PORT_IS:
        port->is &= ~(value & ~(PXIS_PCS | PXIS_PRCS));
        break;
    case PORT_IE:
        port->ie = value & PXIS_ALL;
        update_irq(port->ahci, false);
        break;
    case PORT_CMD:
        write_cmd(port, value);
        break;
    case PORT_SCTL:
        write_sctl(port, value);
        break;
    case PORT_SERR:
        set_serr(port, port->serr & ~value);
        break;
    case PORT_SACT: /* set by ones, and only while commands may be issued */
        if (port->cmd & PXCMD_ST)
            port->sact |= value;
        break;
    case PORT_CI:
        if (port->cmd & PXCMD_ST) {
            port->ci |= value;
            ahci_serve(port);
        }
        break;
    case PORT_TFD:
    case PORT_SIG:
    case PORT_SSTS:
        break;
    default:
        log_guest("ahci: write of %#x to port register %#x, which is not built", value, reg);
    }
}

static uint64_t ahci_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ahci *ahci = opaque;
    if (offset >= HBA_PORTS) {
        unsigned port = (unsigned)(offset - HBA_PORTS) / PORT_STRIDE;
        return port < AHCI_PORTS ? read_port(&ahci->port[port], offset % PORT_STRIDE) : 0;
    }
    switch (offset) {
    case HBA_CAP:
        return CAP_VALUE;
    case HBA_GHC:
        return ahci->ghc;
    case HBA_IS:
        return ahci->is;
    case HBA_PI:
        return (1u << AHCI_PORTS) - 1;
    case HBA_VS:
        return VERSION_1_3;
    default: /* among them CAP2: no hand-off from firmware, no DEVSLP */
        return 0;
    }
}

static void ahci_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ahci *ahci = opaque;
    if (offset >= HBA_PORTS) {
        unsigned port = (unsigned)(offset - HBA_PORTS) / PORT_STRIDE;
        if (port < AHCI_PORTS)
            write_port(&ahci->port[port], offset % PORT_STRIDE, (uint32_t)value);
        return;
    }
    switch (offset) {
    case HBA_GHC:
        if (value & GHC_RESET) {
            reset_hba(ahci);
        } else {
            ahci->ghc = GHC_AE | (value & GHC_IE); /* AHCI mode only (CAP.SAM) */
            update_irq(ahci, true);
        }
        break;
    case HBA_IS:
        ahci->is &= ~(uint32_t)value;
        update_irq(ahci, true);
        break;
    case HBA_CAP:
    case HBA_PI:
    case HBA_VS:
        break;
    default:
        log_guest("ahci: write of %#x to register %#x, which is not built", (unsigned)value,
                  (unsigned)offset);
    }
}

static const struct access_ops ahci_access = {ahci_read, ahci_write, 4, 4};

/* -- Drives and media -- */

static void attach(struct ahci *ahci, unsigned port, const struct ata_drive_ops *ops,
                   struct image *image)
{
    char serial[12];
    snprintf(serial, sizeof serial, "DP-1%04u", port);
    ata_attach(&ahci->port[port].ata, 0, ops, image, serial);
    reset_port(&ahci->port[port]);
}

void ahci_attach_disk(struct ahci *ahci, unsigned port, struct image *image)
{
    attach(ahci, port, &ata_disk_ops, image);
}

void ahci_attach_cdrom(struct ahci *ahci, unsigned port, struct image *image)
{
    attach(ahci, port, &atapi_ops, image);
}

static struct ata_drive *find_cdrom(struct ahci *ahci, unsigned port, struct error *error)
{
    struct ata_drive *drive = port < AHCI_PORTS ? ahci_drive(&ahci->port[port]) : NULL;
    if (drive && drive->ops == &atapi_ops)
        return drive;
    error_set(error, "SATA port %u has no CD-ROM drive", port);
    return NULL;
}

bool ahci_insert(struct ahci *ahci, unsigned port, struct image *image, struct error *error)
{
    struct ata_drive *drive = find_cdrom(ahci, port, error);
    return drive && atapi_insert(drive, image, error);
}

bool ahci_eject(struct ahci *ahci, unsigned port, bool force, struct image **old,
                struct error *error)
{
    struct ata_drive *drive = find_cdrom(ahci, port, error);
    *old = NULL;
    return drive && atapi_eject(drive, force, old, error);
}

/* -- Life -- */

static void ahci_reset(struct device *device)
{
    struct ahci *ahci = (struct ahci *)device;
    pci_device_reset(&ahci->pci);
    reset_hba(ahci);
}

static bool ahci_post_load(struct device *device, struct error *error)
{
    struct ahci *ahci = (struct ahci *)device;
    if (!pci_device_post_load(&ahci->pci, error))
        return false;
    for (int i = 0; i < AHCI_PORTS; i++) {
        struct ahci_port *port = &ahci->port[i];
        port->serving = true; /* raising its line again is no phase of a command */
        bool ok = ata_channel_post_load(&port->ata, error);
        port->serving = false;
        if (!ok)
            return false;
        if (port->slot >= AHCI_SLOTS || port->clb & 0x3ff || port->fb & 0xff ||
            (port->cursor.entries > 0xffff) || port->cursor.left > DESCRIPTOR_MAX)
            return error_set(error, "The saved state of SATA port %d is damaged", i);
    }
    update_irq(ahci, false);
    return true;
}

static void ahci_destroy(struct device *device)
{
    struct ahci *ahci = (struct ahci *)device;
    for (int i = 0; i < AHCI_PORTS; i++)
        ahci_quiesce(&ahci->port[i]);
    free(ahci);
}

static const struct device_ops ahci_ops = {
    .name = "ich9-ahci",
    .fields = ahci_fields,
    .version = 1,
    .reset = ahci_reset,
    .post_load = ahci_post_load,
    .destroy = ahci_destroy,
};

struct ahci *ahci_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                      struct loop *loop, _Atomic uint64_t *activity, const char *id)
{
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x2922,
        .revision = 2,
        .prog_if = 0x01, /* AHCI 1.0 */
        .class_code = 0x0106,
        .interrupt_pin = 1,
    };
    struct ahci *ahci = alloc_zeroed(sizeof *ahci);

    device_add(list, &ahci->pci.device, &ahci_ops, id);
    pci_device_init(&ahci->pci, bus, devfn, &identity);
    pci_add_mmio_bar(&ahci->pci, ABAR, ABAR_SIZE, &ahci_access, ahci);
    pci_add_msi(&ahci->pci, 0x80, 1, PCI_MSI_64BIT);
    ahci->loop = loop;
    ahci->activity = activity;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        struct ahci_port *port = &ahci->port[i];
        struct irq_line line = {ahci_drive_irq, port, 0};
        port->ahci = ahci;
        port->index = (uint8_t)i;
        ata_channel_init(&port->ata, line, loop, activity, ahci_drive_dma, port);
        port->ata.serial_ata = true;
    }
    reset_hba(ahci);
    return ahci;
}
