/*
 * PIIX3 IDE function: legacy ports of two ATA channels and their bus masters.
 *
 * Specification: Intel 82371FB/SB (PIIX, PIIX3) datasheet 290550, section 2.3 (configuration) and
 * 2.7 (bus master registers); Programming Interface for Bus Master IDE Controller 1.0.
 *
 *     channel     command block   control   interrupt   bus master (BAR 4 +)
 *     primary     1F0-1F7         3F6       14          0
 *     secondary   170-177         376       15          8
 *
 * A physical region descriptor, in a table at a 4-byte aligned address within one 64 KiB page:
 *
 *     +0  address (bit 0 is zero)
 *     +4  byte count (bit 0 is zero; 0 means 64 KiB) | end of table (bit 31)
 *
 * Not modelled: timing (the registers keep what is written), native PCI mode (PIIX3 has none).
 */
#include "hw/storage/piix_ide.h"
#include "hw/alloc.h"
#include "hw/storage/ata.h"

#include <string.h>

#define CONFIG_IDETIM      0x40 /* one word per channel */
#define CONFIG_SIDETIM     0x44
#define IDETIM_DECODE_HIGH 0x80 /* bit 15, in the upper byte */

/* Bus master registers of a channel. */
#define BM_COMMAND           0
#define BM_STATUS            2
#define BM_TABLE             4

#define BM_COMMAND_START     0x01
#define BM_COMMAND_TO_MEMORY 0x08

#define BM_STATUS_ACTIVE     0x01
#define BM_STATUS_ERROR      0x02
#define BM_STATUS_INTERRUPT  0x04
#define BM_STATUS_CAPABLE    0x60 /* for software: drives set up for DMA */

#define PRD_END              0x80000000u

struct bus_master {
    uint8_t command, status;
    uint32_t table;   /* as written */
    uint32_t next;    /* address of the descriptor to fetch next */
    uint32_t address; /* of the current descriptor's rest */
    uint32_t left;    /* bytes of the current descriptor */
    bool last;        /* the current descriptor ends the table */
};

struct ide_channel {
    struct ata_channel ata;
    struct bus_master master;
    struct piix_ide *ide;
    struct irq_line irq;
    unsigned index;
};

struct piix_ide {
    struct pci_device pci;
    struct ide_channel channel[2];
    struct loop *loop;
    struct io_bus *io;
    struct io_range *ports[4];
    _Atomic uint64_t activity;
};

static const struct field bus_master_fields[] = {
    FIELD(struct bus_master, command, 1), FIELD(struct bus_master, status, 1),
    FIELD(struct bus_master, table, 1),   FIELD(struct bus_master, next, 1),
    FIELD(struct bus_master, address, 1), FIELD(struct bus_master, left, 1),
    FIELD(struct bus_master, last, 1),    FIELD_END,
};

static const struct field ide_channel_fields[] = {
    FIELD_STRUCT(struct ide_channel, ata, ata_channel_fields, 1),
    FIELD_STRUCT(struct ide_channel, master, bus_master_fields, 1),
    FIELD_END,
};

static const struct field piix_ide_fields[] = {
    FIELD_STRUCT(struct piix_ide, pci, pci_device_fields, 1),
    FIELD_STRUCTS(struct piix_ide, channel, ide_channel_fields, 1),
    FIELD_END,
};

/* -- Legacy ports -- */

/* True if the channel answers at its ports at all. */
static bool decodes(const struct ide_channel *channel)
{
    const uint8_t *config = channel->ide->pci.config;
    return (config[0x04] & 1) &&
           (config[CONFIG_IDETIM + 2 * channel->index + 1] & IDETIM_DECODE_HIGH);
}

static uint64_t command_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ide_channel *channel = opaque;
    uint32_t value = 0;
    if (!decodes(channel))
        return UINT32_MAX;
    if (offset == ATA_DATA)
        return ata_read_data(&channel->ata, size);
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)ata_read(&channel->ata, (enum ata_register)(offset + i)) << (8 * i);
    return value;
}

static void command_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ide_channel *channel = opaque;
    if (!decodes(channel))
        return;
    if (offset == ATA_DATA) {
        ata_write_data(&channel->ata, (uint32_t)value, size);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        ata_write(&channel->ata, (enum ata_register)(offset + i), (uint8_t)(value >> (8 * i)));
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ide_channel *channel = opaque;
    return decodes(channel) ? ata_read_alternate(&channel->ata) : 0xff;
}

static void control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ide_channel *channel = opaque;
    if (decodes(channel))
        ata_write_control(&channel->ata, (uint8_t)value);
}

static const struct access_ops command_ops = {command_read, command_write, 1, 4};
static const struct access_ops control_ops = {control_read, control_write, 1, 1};

/* -- Bus master -- */

static void stop_master(struct bus_master *master, uint8_t status)
{
    master->status = (uint8_t)((master->status & ~BM_STATUS_ACTIVE) | status);
}

/* Takes the next descriptor; false if the table ended or cannot be read. */
static bool fetch_descriptor(struct ide_channel *channel)
{
    struct bus_master *master = &channel->master;
    uint32_t entry[2];
    if (master->last) {
        stop_master(master, 0); /* the drive wants more than the table holds */
        return false;
    }
    if (!pci_dma_read(&channel->ide->pci, master->next, entry, sizeof entry)) {
        log_guest("piix-ide: descriptor table at %#x is not in RAM", master->next);
        stop_master(master, BM_STATUS_ERROR);
        return false;
    }
    master->next = (master->next & 0xffff0000) | ((master->next + 8) & 0xffff);
    master->address = entry[0] & ~1u;
    master->left = entry[1] & 0xfffe ? entry[1] & 0xfffe : 0x10000;
    master->last = entry[1] & PRD_END;
    return true;
}

/* Moves what the drive offers, as far as the table goes. Each descriptor moves at least two bytes,
 * so the length of the drive's buffer bounds the work. */
static void run_master(void *opaque)
{
    struct ide_channel *channel = opaque;
    struct bus_master *master = &channel->master;
    uint8_t *data;
    size_t pending;
    bool to_memory;

    while ((master->status & BM_STATUS_ACTIVE) &&
           (pending = ata_dma_pending(&channel->ata, &data, &to_memory)) != 0) {
        if (to_memory != !!(master->command & BM_COMMAND_TO_MEMORY)) {
            log_guest("piix-ide: bus master runs against the direction of the command");
            stop_master(master, BM_STATUS_ERROR);
            return;
        }
        if (!master->left && !fetch_descriptor(channel))
            return;
        size_t count = pending < master->left ? pending : master->left;
        bool ok = to_memory ? pci_dma_write(&channel->ide->pci, master->address, data, count)
                            : pci_dma_read(&channel->ide->pci, master->address, data, count);
        if (!ok) {
            log_guest("piix-ide: DMA to %#x, which is not RAM", master->address);
            stop_master(master, BM_STATUS_ERROR);
            return;
        }
        master->address += (uint32_t)count;
        master->left -= (uint32_t)count;
        ata_dma_advance(&channel->ata, count);
    }
}

/* The channel's INTRQ: latched for the bus master's status, then on to the board. */
static void channel_irq(void *opaque, int number, bool level)
{
    struct ide_channel *channel = opaque;
    struct bus_master *master = &channel->master;
    if (level) {
        master->status |= BM_STATUS_INTERRUPT;
        if ((master->status & BM_STATUS_ACTIVE) && master->last && !master->left)
            stop_master(master, 0); /* table and transfer ended together */
    }
    irq_set(channel->irq, level);
}

static uint8_t master_read_byte(const struct bus_master *master, unsigned reg)
{
    switch (reg) {
    case BM_COMMAND:
        return master->command;
    case BM_STATUS:
        return master->status;
    case BM_TABLE ... BM_TABLE + 3:
        return (uint8_t)(master->table >> (8 * (reg - BM_TABLE)));
    default:
        return 0;
    }
}

static void write_master_command(struct ide_channel *channel, uint8_t value)
{
    struct bus_master *master = &channel->master;
    uint8_t before = master->command;
    master->command = value & (BM_COMMAND_START | BM_COMMAND_TO_MEMORY);
    if (!(value & BM_COMMAND_START)) {
        stop_master(master, 0);
    } else if (!(before & BM_COMMAND_START)) {
        master->status |= BM_STATUS_ACTIVE;
        master->next = master->table;
        master->left = 0;
        master->last = false;
        run_master(channel);
    }
}

static void master_write_byte(struct ide_channel *channel, unsigned reg, uint8_t value)
{
    struct bus_master *master = &channel->master;
    switch (reg) {
    case BM_COMMAND:
        write_master_command(channel, value);
        break;
    case BM_STATUS: /* error and interrupt are cleared by ones */
        master->status &= (uint8_t) ~(value & (BM_STATUS_ERROR | BM_STATUS_INTERRUPT));
        master->status =
            (uint8_t)((master->status & ~BM_STATUS_CAPABLE) | (value & BM_STATUS_CAPABLE));
        break;
    case BM_TABLE ... BM_TABLE + 3: {
        unsigned shift = 8 * (reg - BM_TABLE);
        master->table = ((master->table & ~(0xffu << shift)) | (uint32_t)value << shift) & ~3u;
        break;
    }
    }
}

static uint64_t master_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix_ide *ide = opaque;
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)offset + i;
        value |= (uint32_t)master_read_byte(&ide->channel[at >> 3].master, at & 7) << (8 * i);
    }
    return value;
}

static void master_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix_ide *ide = opaque;
    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)offset + i;
        master_write_byte(&ide->channel[at >> 3], at & 7, (uint8_t)(value >> (8 * i)));
    }
}

static const struct access_ops master_ops = {master_read, master_write, 1, 4};

/* -- Drives and media -- */

static const char *const serials[2][2] = {{"DP-00001", "DP-00002"}, {"DP-00003", "DP-00004"}};

void piix_ide_attach_disk(struct piix_ide *ide, unsigned channel, unsigned unit,
                          struct image *image)
{
    ata_attach(&ide->channel[channel].ata, unit, &ata_disk_ops, image, serials[channel][unit]);
}

void piix_ide_attach_cdrom(struct piix_ide *ide, unsigned channel, unsigned unit,
                           struct image *image)
{
    ata_attach(&ide->channel[channel].ata, unit, &atapi_ops, image, serials[channel][unit]);
}

static struct ata_drive *find_cdrom(struct piix_ide *ide, unsigned channel, unsigned unit,
                                    struct error *error)
{
    struct ata_drive *drive =
        channel < 2 && unit < 2 ? &ide->channel[channel].ata.drive[unit] : NULL;
    if (drive && drive->ops == &atapi_ops)
        return drive;
    error_set(error, "IDE channel %u, unit %u is no CD-ROM drive", channel, unit);
    return NULL;
}

bool piix_ide_insert(struct piix_ide *ide, unsigned channel, unsigned unit, struct image *image,
                     struct error *error)
{
    struct ata_drive *drive = find_cdrom(ide, channel, unit, error);
    return drive && atapi_insert(drive, image, error);
}

bool piix_ide_eject(struct piix_ide *ide, unsigned channel, unsigned unit, bool force,
                    struct image **old, struct error *error)
{
    struct ata_drive *drive = find_cdrom(ide, channel, unit, error);
    *old = NULL;
    return drive && atapi_eject(drive, force, old, error);
}

uint64_t piix_ide_activity(const struct piix_ide *ide)
{
    return atomic_load_explicit(&ide->activity, memory_order_relaxed);
}

/* -- Life -- */

static void piix_ide_reset(struct device *device)
{
    struct piix_ide *ide = (struct piix_ide *)device;
    pci_device_reset(&ide->pci);
    memset(ide->pci.config + CONFIG_IDETIM, 0, 5); /* IDETIM of both channels, SIDETIM */
    /* Both channels decode their ports, which a chip leaves to firmware: OVMF does not enable them.
     */
    ide->pci.config[CONFIG_IDETIM + 1] = IDETIM_DECODE_HIGH;
    ide->pci.config[CONFIG_IDETIM + 3] = IDETIM_DECODE_HIGH;
    for (int i = 0; i < 2; i++) {
        ide->channel[i].master = (struct bus_master){0};
        ata_channel_reset(&ide->channel[i].ata);
        irq_set(ide->channel[i].irq, false);
    }
}

static bool piix_ide_post_load(struct device *device, struct error *error)
{
    struct piix_ide *ide = (struct piix_ide *)device;
    if (!pci_device_post_load(&ide->pci, error))
        return false;
    for (int i = 0; i < 2; i++) {
        struct bus_master *master = &ide->channel[i].master;
        uint8_t status = master->status; /* driving the line again is no new interrupt */
        if (!ata_channel_post_load(&ide->channel[i].ata, error))
            return false;
        master->status = status;
        if (master->left > 0x10000)
            return error_set(error, "The saved state of an IDE bus master is damaged");
    }
    return true;
}

static void piix_ide_destroy(struct device *device)
{
    struct piix_ide *ide = (struct piix_ide *)device;
    while (ata_channel_busy(&ide->channel[0].ata) || ata_channel_busy(&ide->channel[1].ata))
        loop_drain(ide->loop);
    for (int i = 0; i < 4; i++)
        io_bus_remove(ide->io, ide->ports[i]);
    free(ide);
}

static const struct device_ops piix_ide_ops = {
    .name = "piix3-ide",
    .fields = piix_ide_fields,
    .version = 2,
    .reset = piix_ide_reset,
    .post_load = piix_ide_post_load,
    .destroy = piix_ide_destroy,
};

struct piix_ide *piix_ide_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                              struct io_bus *io, struct irq_line irq14, struct irq_line irq15,
                              struct loop *loop)
{
    static const struct pci_identity identity = {
        .vendor = 0x8086,
        .device = 0x7010,
        .prog_if = 0x80, /* bus master, legacy ports only */
        .class_code = 0x0101,
    };
    static const uint16_t command_ports[2] = {0x1f0, 0x170};
    static const uint16_t control_ports[2] = {0x3f6, 0x376};
    struct piix_ide *ide = alloc_zeroed(sizeof *ide);

    device_add(list, &ide->pci.device, &piix_ide_ops, "ide");
    pci_device_init(&ide->pci, bus, devfn, &identity);
    memset(ide->pci.write_mask + CONFIG_IDETIM, 0xff, 5);
    pci_add_io_bar(&ide->pci, 4, 16, &master_ops, ide);
    ide->loop = loop;
    ide->io = io;
    for (unsigned i = 0; i < 2; i++) {
        struct ide_channel *channel = &ide->channel[i];
        struct irq_line line = {channel_irq, channel, 0};
        channel->ide = ide;
        channel->index = i;
        channel->irq = i ? irq15 : irq14;
        ata_channel_init(&channel->ata, line, loop, &ide->activity, run_master, channel);
        ide->ports[2 * i] = io_bus_add(io, command_ports[i], 8, &command_ops, channel);
        ide->ports[2 * i + 1] = io_bus_add(io, control_ports[i], 1, &control_ops, channel);
    }
    return ide;
}
