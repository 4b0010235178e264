/*
 * AHCI commands: the command list, frame information structures (FIS) in both directions, and data
 * through physical region descriptors.
 *
 * Specifications: Serial ATA AHCI 1.3.1, sections 4 (structures in memory) and 5 (operation);
 * Serial ATA 3.1, 10.5 (FIS layouts) and 13.6 (native command queuing).
 *
 * A command that is not queued runs in the drive's registers, as on a parallel cable (ata.c): the
 * FIS fills the task file, and ahci_serve() plays the host that moves PIO and DMA data and reports
 * every phase by a FIS:
 *
 *     H2D register FIS --> drive->ops->command --+--> PIO window: PIO setup FIS, data --+
 *                                                +--> DMARQ: data                       |
 *                                                +--> done: D2H register FIS <----------+
 *
 * A queued command goes to a worker with its descriptors; the worker moves data between image and
 * guest memory and the loop thread reports the tag by a set device bits FIS.
 *
 * Not modelled: port multipliers, FIS-based switching, command completion coalescing, BIST, the
 * DMA setup FIS (the guest never sees one unless it asks for it by an interrupt: refused in PxIE).
 */
#include "hw/storage/ahci_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum fis_type {
    FIS_H2D = 0x27,
    FIS_D2H = 0x34,
    FIS_PIO_SETUP = 0x5f,
    FIS_SET_DEVICE_BITS = 0xa1,
};
#define FIS_COMMAND   0x80 /* byte 1 of H2D: a command, not device control */
#define FIS_INTERRUPT 0x40
#define FIS_TO_HOST   0x20 /* byte 1 of PIO setup */

/* Received FIS area (4.2.1). */
#define RECEIVED_PIO_SETUP 0x20
#define RECEIVED_D2H       0x40
#define RECEIVED_SDB       0x58

/* Command header (4.2.2) and table (4.2.3). */
#define HEADER_SIZE       32
#define HEADER_CFL        0x001fu
#define HEADER_ATAPI      0x0020u
#define HEADER_CLEAR_BUSY 0x0400u
#define TABLE_ATAPI       0x40
#define TABLE_DESCRIPTORS 0x80
#define DESCRIPTOR_SIZE   16
#define DESCRIPTOR_COUNT  0x003fffffu
#define DESCRIPTOR_IRQ    0x80000000u

#define READ_FPDMA        0x60
#define WRITE_FPDMA       0x61
#define DEVICE_FUA        0x80

#define QUEUED_CHUNK      (128u * 1024)

static uint64_t address_of(uint32_t low, uint32_t high)
{
    return low | (uint64_t)high << 32;
}

static uint64_t header_address(const struct ahci_port *port, unsigned slot)
{
    return address_of(port->clb, port->clbu) + slot * HEADER_SIZE;
}

/* -- Data -- */

static bool next_descriptor(struct ahci *ahci, struct ahci_cursor *cursor)
{
    uint32_t entry[4];
    if (!cursor->entries || !pci_dma_read(&ahci->pci, cursor->next, entry, sizeof entry))
        return false;
    cursor->entries--;
    cursor->next += DESCRIPTOR_SIZE;
    cursor->address = address_of(entry[0] & ~1u, entry[1]);
    cursor->left = (entry[3] & DESCRIPTOR_COUNT) + 1;
    cursor->interrupt = entry[3] & DESCRIPTOR_IRQ;
    return true;
}

enum move_result { MOVED, OVERRUN, NOT_MEMORY };

/* Moves `count` bytes between `data` and the guest along the descriptors. Each descriptor covers at
 * least one byte, so `count` bounds the work. Any thread. */
static enum move_result move_data(struct ahci *ahci, struct ahci_cursor *cursor, uint8_t *data,
                                  size_t count, bool to_memory, bool *interrupt)
{
    while (count) {
        if (!cursor->left && !cursor->entries)
            return OVERRUN;
        if (!cursor->left && !next_descriptor(ahci, cursor))
            return NOT_MEMORY;
        size_t part = count < cursor->left ? count : cursor->left;
        bool ok = to_memory ? pci_dma_write(&ahci->pci, cursor->address, data, part)
                            : pci_dma_read(&ahci->pci, cursor->address, data, part);
        if (!ok)
            return NOT_MEMORY;
        cursor->address += part;
        cursor->left -= (uint32_t)part;
        cursor->moved += (uint32_t)part;
        data += part;
        count -= part;
        if (!cursor->left && cursor->interrupt)
            *interrupt = true;
    }
    return MOVED;
}

/* -- FISes to the guest -- */

static void post_fis(struct ahci_port *port, unsigned offset, const void *fis, size_t length)
{
    if (port->cmd & PXCMD_FRE)
        pci_dma_write(&port->ahci->pci, address_of(port->fb, port->fbu) + offset, fis, length);
}

/* Bytes 2 to 13 of a register or PIO setup FIS: the task file. */
static void put_task_file(struct ahci_port *port, uint8_t *fis)
{
    const struct ata_drive *drive = ahci_drive(port);
    fis[2] = drive->status;
    fis[3] = drive->error;
    fis[7] = drive->device;
    for (int i = 0; i < 3; i++) {
        fis[4 + i] = drive->current[ATA_LBA_LOW + i];
        fis[8 + i] = drive->previous[ATA_LBA_LOW + i];
    }
    fis[12] = drive->current[ATA_SECTOR_COUNT];
    fis[13] = drive->previous[ATA_SECTOR_COUNT];
}

static void take_status(struct ahci_port *port)
{
    const struct ata_drive *drive = ahci_drive(port);
    port->tfd = drive->status | (uint32_t)drive->error << 8;
}

static void send_register_fis(struct ahci_port *port, bool interrupt)
{
    uint8_t fis[20] = {FIS_D2H, interrupt ? FIS_INTERRUPT : 0};
    put_task_file(port, fis);
    post_fis(port, RECEIVED_D2H, fis, sizeof fis);
    take_status(port);
    if (port->tfd & ATA_STATUS_ERR) {
        port->halted = true;
        ahci_raise(port, PXIS_TFES);
    }
    if (interrupt)
        ahci_raise(port, PXIS_DHRS);
}

/* `end_status`: what the status register holds when the data are through. */
static void send_pio_setup(struct ahci_port *port, bool to_memory, bool interrupt, uint16_t count,
                           uint8_t end_status)
{
    uint8_t fis[20] = {FIS_PIO_SETUP,
                       (uint8_t)((to_memory ? FIS_TO_HOST : 0) | (interrupt ? FIS_INTERRUPT : 0))};
    put_task_file(port, fis);
    fis[15] = end_status;
    fis[16] = (uint8_t)count;
    fis[17] = (uint8_t)(count >> 8);
    post_fis(port, RECEIVED_PIO_SETUP, fis, sizeof fis);
    if (interrupt)
        ahci_raise(port, PXIS_PSS);
}

static void send_set_device_bits(struct ahci_port *port, uint32_t tags, uint8_t status,
                                 uint8_t error)
{
    uint8_t fis[8] = {FIS_SET_DEVICE_BITS, FIS_INTERRUPT, status & 0x77, error};
    for (int i = 0; i < 4; i++)
        fis[4 + i] = (uint8_t)(tags >> (8 * i));
    post_fis(port, RECEIVED_SDB, fis, sizeof fis);
    port->sact &= ~tags;
    port->tfd = (port->tfd & ~0x77u & 0xff) | (status & 0x77u) | (uint32_t)error << 8;
    if (status & ATA_STATUS_ERR) {
        port->halted = true;
        ahci_raise(port, PXIS_TFES);
    }
    ahci_raise(port, PXIS_SDBS);
}

void ahci_send_signature(struct ahci_port *port)
{
    const struct ata_drive *drive = ahci_drive(port);
    port->sig = drive->current[ATA_SECTOR_COUNT] | (uint32_t)drive->current[ATA_LBA_LOW] << 8 |
                (uint32_t)drive->current[ATA_LBA_MID] << 16 |
                (uint32_t)drive->current[ATA_LBA_HIGH] << 24;
    send_register_fis(port, false);
}

/* -- Commands that run in the task file -- */

static void end_command(struct ahci_port *port)
{
    port->executing = false;
    port->ci &= ~(1u << port->slot);
}

/* The adapter itself cannot go on: software must restart the port (6.2.2). */
static void fatal(struct ahci_port *port, uint32_t bits, const char *why)
{
    log_guest("ahci: port %u: %s", port->index, why);
    port->halted = true;
    ahci_raise(port, bits);
}

static void store_byte_count(struct ahci_port *port)
{
    uint32_t moved = port->cursor.moved;
    pci_dma_write(&port->ahci->pci, header_address(port, port->slot) + 4, &moved, sizeof moved);
}

/* Moves what the drive offers or wants by DMA. False: stopped for good. */
static bool move_dma(struct ahci_port *port)
{
    uint8_t *data;
    bool to_memory, interrupt = false;
    size_t pending = ata_dma_pending(&port->ata, &data, &to_memory);
    switch (move_data(port->ahci, &port->cursor, data, pending, to_memory, &interrupt)) {
    case OVERRUN:
        fatal(port, PXIS_OFS, "the command moves more data than its descriptors hold");
        return false;
    case NOT_MEMORY:
        fatal(port, PXIS_HBFS, "descriptors or data are not in memory");
        return false;
    case MOVED:
        break;
    }
    if (interrupt)
        ahci_raise(port, PXIS_DPS);
    store_byte_count(port);
    ata_dma_advance(&port->ata, pending);
    return true;
}

/* Moves one DRQ block through the data port. False: stopped for good. */
static bool move_pio(struct ahci_port *port)
{
    struct ata_drive *drive = ahci_drive(port);
    uint32_t position = drive->pio_position, count = drive->pio_end - position;
    bool to_memory = drive->transfer == ATA_PIO_IN, interrupt = false;
    bool announced = port->irq_wanted;
    port->irq_wanted = false;
    ata_set_irq(drive, false);

    if (drive->atapi.packet_phase) { /* the packet comes from the command table */
        uint64_t table = port->cursor.next - TABLE_DESCRIPTORS;
        if (!pci_dma_read(&port->ahci->pci, table + TABLE_ATAPI, drive->buffer, count)) {
            fatal(port, PXIS_HBFS, "the command table is not in memory");
            return false;
        }
    } else {
        uint32_t before = port->cursor.moved;
        enum move_result moved = move_data(port->ahci, &port->cursor, drive->buffer + position,
                                           count, to_memory, &interrupt);
        if (moved == NOT_MEMORY) {
            fatal(port, PXIS_HBFS, "descriptors or data are not in memory");
            return false;
        }
        if (moved == OVERRUN) /* the rest is dropped: software asked for less than a block */
            port->cursor.moved = before + count;
        store_byte_count(port);
    }
    if (interrupt)
        ahci_raise(port, PXIS_DPS);
    send_pio_setup(port, to_memory, announced, (uint16_t)count,
                   to_memory ? ATA_STATUS_DRDY | ATA_STATUS_DSC : ATA_STATUS_BSY);
    drive->pio_position = drive->pio_end;
    drive->ops->data_done(drive);
    return true;
}

/* Moves the command in progress on; it ends, waits for a worker, or stops for good. */
static void run_command(struct ahci_port *port)
{
    struct ata_drive *drive = ahci_drive(port);
    uint8_t *data;
    bool to_memory;
    while (port->executing && !port->halted) {
        if (ata_dma_pending(&port->ata, &data, &to_memory)) {
            if (!move_dma(port))
                return;
        } else if (drive->status & ATA_STATUS_BSY) {
            return;
        } else if (drive->pio_position != drive->pio_end) {
            if (!move_pio(port))
                return;
        } else {
            bool interrupt = port->irq_wanted;
            port->irq_wanted = false;
            ata_set_irq(drive, false);
            end_command(port);
            if (interrupt) /* else the last PIO setup FIS told the end */
                send_register_fis(port, true);
            else
                take_status(port);
        }
    }
}

static void load_task_file(struct ahci_port *port, const uint8_t *fis)
{
    static const struct {
        uint8_t reg, now, before; /* byte of the FIS for the register and its previous content */
    } map[] = {
        {ATA_FEATURES, 3, 11}, {ATA_SECTOR_COUNT, 12, 13}, {ATA_LBA_LOW, 4, 8},
        {ATA_LBA_MID, 5, 9},   {ATA_LBA_HIGH, 6, 10},
    };
    ata_write(&port->ata, ATA_DEVICE, fis[7] & ~ATA_DEVICE_DEV); /* there is no device 1 */
    for (size_t i = 0; i < sizeof map / sizeof *map; i++) {
        ata_write(&port->ata, map[i].reg, fis[map[i].before]);
        ata_write(&port->ata, map[i].reg, fis[map[i].now]);
    }
}

/* -- Queued commands -- */

static void run_queued(void *opaque)
{
    struct ahci_queued *queued = opaque;
    struct image *image = ahci_drive(queued->port)->image;
    uint64_t offset = queued->lba * SECTOR_SIZE;
    size_t left = (size_t)queued->sectors * SECTOR_SIZE;
    uint8_t *buffer = malloc(QUEUED_CHUNK);

    queued->status = buffer ? 0 : ENOMEM;
    while (left && !queued->status) {
        size_t part = left < QUEUED_CHUNK ? left : QUEUED_CHUNK;
        if (!queued->write)
            queued->status = image_read(image, offset, buffer, part);
        if (queued->status)
            break;
        enum move_result moved = move_data(queued->port->ahci, &queued->cursor, buffer, part,
                                           !queued->write, &queued->interrupt);
        queued->overrun = moved == OVERRUN;
        queued->bad_address = moved == NOT_MEMORY;
        if (moved != MOVED)
            break;
        if (queued->write)
            queued->status = image_write(image, offset, buffer, part);
        offset += part;
        left -= part;
    }
    if (queued->write && queued->force_unit && !queued->status)
        queued->status = image_flush(image);
    free(buffer);
}

/* Ends a queued command with an error and keeps what READ LOG EXT tells about it (13.6.4). */
static void fail_queued(struct ahci_port *port, const struct ahci_queued *queued, uint8_t error)
{
    struct ata_drive *drive = ahci_drive(port);
    drive->disk.queue_error = (struct ata_queue_error){
        .valid = true,
        .tag = queued->tag,
        .status = ATA_STATUS_DRDY | ATA_STATUS_DSC | ATA_STATUS_ERR,
        .error = error,
        .lba = queued->lba,
        .sectors = (uint16_t)queued->sectors,
    };
    drive->status = ATA_STATUS_DRDY | ATA_STATUS_DSC | ATA_STATUS_ERR;
    drive->error = error;
    send_set_device_bits(port, 0, drive->status, error);
}

static void finish_queued(void *opaque)
{
    struct ahci_queued *queued = opaque;
    struct ahci_port *port = queued->port;
    queued->active = false;
    if (port->halted)
        return; /* after another command's error; software issues it again */
    if (queued->overrun) {
        fatal(port, PXIS_OFS, "a queued command moves more data than its descriptors hold");
    } else if (queued->bad_address) {
        fatal(port, PXIS_HBFS, "descriptors or data of a queued command are not in memory");
    } else if (queued->status) {
        log_guest("ahci: port %u: %s", port->index, strerror(queued->status));
        fail_queued(port, queued, queued->write ? ATA_ERROR_ABRT : ATA_ERROR_UNC);
    } else {
        if (queued->interrupt)
            ahci_raise(port, PXIS_DPS);
        send_set_device_bits(port, 1u << queued->tag, ATA_STATUS_DRDY | ATA_STATUS_DSC, 0);
    }
    ahci_serve(port);
}

static void start_queued(struct ahci_port *port, const uint8_t *fis,
                         const struct ahci_cursor *cursor)
{
    struct ata_drive *drive = ahci_drive(port);
    unsigned tag = fis[12] >> 3;
    uint32_t sectors = fis[3] | (uint32_t)fis[11] << 8;
    struct ahci_queued *queued = &port->queued[tag];
    uint64_t total = image_bytes(drive->image) / SECTOR_SIZE;
    struct ahci_queued wanted = {
        .port = port,
        .tag = (uint8_t)tag,
        .write = fis[2] == WRITE_FPDMA,
        .force_unit = fis[7] & DEVICE_FUA || !drive->disk.write_cache,
        .lba = fis[4] | (uint64_t)fis[5] << 8 | (uint64_t)fis[6] << 16 | (uint64_t)fis[8] << 24 |
               (uint64_t)fis[9] << 32 | (uint64_t)fis[10] << 40,
        .sectors = sectors ? sectors : 65536,
        .cursor = *cursor,
    };

    if (queued->active) {
        fatal(port, PXIS_HBFS, "a queued command reuses the tag of one in progress");
        return;
    }
    /* The device takes the command and releases the bus: a register FIS without interrupt. */
    port->ci &= ~(1u << tag);
    drive->status = ATA_STATUS_DRDY | ATA_STATUS_DSC;
    drive->error = 0;
    send_register_fis(port, false);
    if (wanted.lba >= total || wanted.sectors > total - wanted.lba) {
        fail_queued(port, &wanted, ATA_ERROR_IDNF);
        return;
    }
    if (wanted.write && image_read_only(drive->image)) {
        log_guest("ahci: the guest writes to the read-only disk %s", drive->serial);
        fail_queued(port, &wanted, ATA_ERROR_ABRT);
        return;
    }
    *queued = wanted;
    queued->active = true;
    atomic_fetch_add_explicit(port->ahci->activity, wanted.sectors, memory_order_relaxed);
    loop_work(port->ahci->loop, run_queued, finish_queued, queued);
}

static bool any_queued(const struct ahci_port *port)
{
    for (int i = 0; i < AHCI_SLOTS; i++)
        if (port->queued[i].active)
            return true;
    return false;
}

/* -- The command list -- */

/* Device control by FIS: a software reset takes two commands, SRST set and cleared (10.4.1). */
static void device_control(struct ahci_port *port, unsigned slot, uint16_t flags, uint8_t control)
{
    bool was_in_reset = port->ata.control & ATA_CONTROL_SRST;
    port->ci &= ~(1u << slot);
    ata_write_control(&port->ata, control & ATA_CONTROL_SRST);
    take_status(port);
    if (was_in_reset && !(control & ATA_CONTROL_SRST))
        ahci_send_signature(port);
    else if (flags & HEADER_CLEAR_BUSY)
        port->tfd &= ~(uint32_t)(ATA_STATUS_BSY | ATA_STATUS_DRQ);
}

static void start_slot(struct ahci_port *port, unsigned slot)
{
    uint32_t header[4];
    uint8_t fis[20];
    port->cmd = (port->cmd & ~PXCMD_CCS) | slot << 8;
    if (!pci_dma_read(&port->ahci->pci, header_address(port, slot), header, sizeof header)) {
        fatal(port, PXIS_HBFS, "the command list is not in memory");
        return;
    }
    uint64_t table = address_of(header[2] & ~0x7fu, header[3]);
    if ((header[0] & HEADER_CFL) < 2 || !pci_dma_read(&port->ahci->pci, table, fis, sizeof fis) ||
        fis[0] != FIS_H2D) {
        fatal(port, PXIS_HBFS, "a command table without a register FIS");
        return;
    }
    const struct ahci_cursor cursor = {
        .next = table + TABLE_DESCRIPTORS,
        .entries = header[0] >> 16,
    };
    if (!(fis[1] & FIS_COMMAND)) {
        device_control(port, slot, (uint16_t)header[0], fis[15]);
        return;
    }
    struct ata_drive *drive = ahci_drive(port);
    bool queued = drive->ops->kind == ATA_DISK && (fis[2] == READ_FPDMA || fis[2] == WRITE_FPDMA);
    if (queued && fis[12] >> 3 == slot) {
        start_queued(port, fis, &cursor);
        return;
    }
    port->cursor = cursor;
    port->slot = (uint8_t)slot;
    port->executing = true;
    port->irq_wanted = false;
    load_task_file(port, fis);
    if (drive->ops->kind == ATA_CDROM && fis[2] == 0xa0 && !(header[0] & HEADER_ATAPI))
        log_guest("ahci: PACKET command without the ATAPI bit in its header");
    ata_write(&port->ata, ATA_COMMAND, fis[2]);
}

/* The slot to start: round robin after the last one, so that none starves. */
static int next_slot(const struct ahci_port *port)
{
    unsigned last = (port->cmd & PXCMD_CCS) >> 8;
    for (unsigned i = 1; i <= AHCI_SLOTS; i++) {
        unsigned slot = (last + i) % AHCI_SLOTS;
        if (port->ci >> slot & 1)
            return (int)slot;
    }
    return -1;
}

/* True if the next command may start now: a command that is not queued waits for those that are. */
static bool may_start(struct ahci_port *port, int slot)
{
    if (slot < 0 || port->halted || port->executing || !(port->cmd & PXCMD_CR))
        return false;
    if (ahci_drive(port)->status & ATA_STATUS_BSY && !(port->ata.control & ATA_CONTROL_SRST))
        return false;
    return (port->sact >> slot & 1) || !any_queued(port);
}

void ahci_serve(struct ahci_port *port)
{
    if (port->serving || !ahci_present(port))
        return;
    port->serving = true;
    run_command(port);
    for (int slot; may_start(port, slot = next_slot(port));) {
        start_slot(port, (unsigned)slot);
        run_command(port);
    }
    port->serving = false;
}

void ahci_drive_irq(void *opaque, int number, bool level)
{
    struct ahci_port *port = opaque;
    if (!level)
        return;
    port->irq_wanted = true;
    ahci_serve(port);
}

void ahci_drive_dma(void *opaque)
{
    ahci_serve(opaque);
}

void ahci_quiesce(struct ahci_port *port)
{
    while (any_queued(port) || ata_channel_busy(&port->ata))
        loop_drain(port->ahci->loop);
}
