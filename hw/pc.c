/*
 * The board: an i440FX + PIIX3 PC. This file is the schematic: every device in the order of
 * construction, with all addresses, PCI slots and interrupt numbers.
 */
#include "hw/chipset/debug_port.h"
#include "hw/chipset/i440fx.h"
#include "hw/chipset/i8237.h"
#include "hw/chipset/i8254.h"
#include "hw/chipset/mc146818.h"
#include "hw/chipset/piix3.h"
#include "hw/chipset/piix4_pm.h"
#include "hw/chipset/uart16550.h"
#include "hw/display/vga.h"
#include "hw/input/i8042.h"
#include "hw/irq/i8259.h"
#include "hw/irq/ioapic.h"
#include "hw/irq/lapic.h"
#include "hw/machine_internal.h"
#include "hw/network/e1000.h"
#include "hw/storage/ahci.h"
#include "hw/storage/nvme.h"
#include "hw/storage/piix_ide.h"
#include "hw/virtio/virtio_balloon.h"
#include "hw/virtio/virtio_blk.h"
#include "hw/virtio/virtio_console.h"
#include "hw/virtio/virtio_net.h"
#include "hw/virtio/virtio_rng.h"
#include "hw/virtio/virtio_scsi.h"

/* PCI slots (00:00 host bridge, 00:01 the PIIX functions belong to their devices). */
#define DEVFN(slot, function) ((slot) << 3 | (function))
enum { DEVFN_IDE = DEVFN(1, 1), DEVFN_VGA = DEVFN(2, 0), DEVFN_NIC = DEVFN(3, 0) };
/* Devices that a configuration adds take the free slots in order. */
#define SLOT_FIRST_FREE 4

/* ISA interrupts. */
enum {
    IRQ_TIMER = 0,
    IRQ_KEYBOARD = 1,
    IRQ_CASCADE = 2,
    IRQ_SERIAL2 = 3,
    IRQ_SERIAL1 = 4,
    IRQ_RTC = 8,
    IRQ_SCI = 9,
    IRQ_MOUSE = 12,
    IRQ_IDE1 = 14,
    IRQ_IDE2 = 15,
};
#define IOAPIC_PIN_TIMER 2 /* ISA interrupt 0 is wired to pin 2 */

/* Ports. */
enum { PORT_SERIAL1 = 0x3f8, PORT_SERIAL2 = 0x2f8 };

/* -- Wires -- */

/* An ISA interrupt reaches both the 8259 pair and the I/O APIC. */
static void isa_interrupt(void *opaque, int irq, bool level)
{
    struct machine *machine = opaque;
    irq_set(i8259_line(machine->pic, irq), level);
    irq_set(ioapic_line(machine->ioapic, irq == IRQ_TIMER ? IOAPIC_PIN_TIMER : irq), level);
}

/* Devices reach it through the ISA bridge, which ors PCI interrupts in. */
static struct irq_line isa_line(struct machine *machine, int irq)
{
    return piix3_isa_line(machine->piix3, irq);
}

/* INTR of the 8259 goes to LINT0 of the bootstrap processor. */
static void pic_interrupt(void *opaque, int number, bool level)
{
    struct machine *machine = opaque;
    if (machine->cpu[0].lapic)
        lapic_extint(machine->cpu[0].lapic, level);
}

/* Interrupt messages of PCI devices. */
static void pci_message(void *opaque, uint64_t address, uint32_t data)
{
    apic_bus_deliver_msi(((struct machine *)opaque)->apic_bus, address, data);
}

/* -- CMOS: what firmware reads from the clock chip's memory -- */

static void fill_cmos(struct machine *machine, const struct machine_config *config)
{
    uint64_t low = memory_ram_low(machine->memory), high = memory_ram_high(machine->memory);
    uint64_t extended_kib = (low >> 10) - 1024;
    uint64_t above_16m = low > (16u << 20) ? (low - (16u << 20)) >> 16 : 0;
    const struct {
        uint8_t reg;
        uint8_t value;
    } bytes[] = {
        {0x15, 640 & 0xff},
        {0x16, 640 >> 8},
        {0x17, (uint8_t)(extended_kib > 0xffff ? 0xff : extended_kib)},
        {0x18, (uint8_t)(extended_kib > 0xffff ? 0xff : extended_kib >> 8)},
        {0x30, (uint8_t)(extended_kib > 0xffff ? 0xff : extended_kib)},
        {0x31, (uint8_t)(extended_kib > 0xffff ? 0xff : extended_kib >> 8)},
        {0x34, (uint8_t)above_16m},
        {0x35, (uint8_t)(above_16m >> 8)},
        {0x5b, (uint8_t)(high >> 16)},
        {0x5c, (uint8_t)(high >> 24)},
        {0x5d, (uint8_t)(high >> 32)},
        {0x14, 0x06}, /* equipment: FPU, PS/2 mouse */
        {0x3d, config->boot_3d},
        {0x38, config->boot_38},
        {0x5f, MACHINE_CPUS - 1},
    };
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++)
        mc146818_set_cmos(machine->rtc, bytes[i].reg, bytes[i].value);
}

/* -- Groups of devices -- */

static bool add_interrupt_controllers(struct machine *machine, const struct machine_config *config,
                                      struct error *error)
{
    machine->apic_bus = apic_bus_new(&machine->devices, "apic-bus");
    machine->pic = i8259_new(&machine->devices, machine->io,
                             (struct irq_line){pic_interrupt, machine, 0}, "i8259");
    machine->ioapic = ioapic_new(&machine->devices, machine->memory, machine->apic_bus, "ioapic");
    for (int i = 0; i < MACHINE_CPUS; i++)
        if (!machine_cpu_new(machine, i, config, error))
            return false;
    return true;
}

static bool add_chipset(struct machine *machine, const struct machine_config *config,
                        struct error *error)
{
    const struct board_requests requests = {machine_request_reset, machine_request_power_off,
                                            machine};
    static const struct irq_line unconnected[4];
    struct irq_line isa[ISA_IRQS] = {0};
    for (int irq = 0; irq < ISA_IRQS; irq++)
        if (irq !=
            IRQ_CASCADE) /* exists only between the two 8259s; its I/O APIC pin is the timer's */
            isa[irq] = (struct irq_line){isa_interrupt, machine, irq};
    machine->pci = pci_bus_new(&machine->devices, machine->io, machine->memory, unconnected);
    pci_bus_route_messages(machine->pci, pci_message, machine);
    if (!i440fx_new(&machine->devices, machine->pci, machine->memory, config->bios,
                    config->bios_size, error))
        return false;
    machine->piix3 = piix3_new(&machine->devices, machine->pci, machine->io, isa, &requests);
    machine->pm = piix4_pm_new(&machine->devices, machine->pci, machine->io, machine->clock,
                               isa_line(machine, IRQ_SCI), &requests);
    return true;
}

static void add_isa_devices(struct machine *machine, const struct machine_config *config)
{
    struct device_list *list = &machine->devices;
    struct io_bus *io = machine->io;
    i8254_new(list, io, machine->clock, isa_line(machine, IRQ_TIMER), "i8254");
    const struct irq_line no_nmi_source = {0}; /* nothing on this board could be masked by it */
    machine->rtc =
        mc146818_new(list, io, machine->clock, isa_line(machine, IRQ_RTC), no_nmi_source, "rtc");
    i8237_new(list, io, machine->memory, "i8237");
    i8042_new(list, io, machine->clock, isa_line(machine, IRQ_KEYBOARD),
              isa_line(machine, IRQ_MOUSE), machine_request_reset, machine, &machine->input,
              "i8042");
    machine->serial[0] = uart16550_port(uart16550_new(list, io, PORT_SERIAL1, machine->clock,
                                                      isa_line(machine, IRQ_SERIAL1), "serial0"));
    machine->serial[1] = uart16550_port(uart16550_new(list, io, PORT_SERIAL2, machine->clock,
                                                      isa_line(machine, IRQ_SERIAL2), "serial1"));
    debug_console_new(list, io, &machine->debug_console, "debug-console");
    if (config->exit_port)
        exit_port_new(list, io, machine_request_exit, machine, "exit-port");
    machine->fw_cfg = fw_cfg_new(list, io, machine->memory);
    fill_cmos(machine, config);
}

static void add_ide_drive(struct machine *machine, const struct machine_drive *drive)
{
    unsigned channel = drive->unit / 2, unit = drive->unit % 2;
    if (drive->cdrom)
        piix_ide_attach_cdrom(machine->ide, channel, unit, drive->image);
    else
        piix_ide_attach_disk(machine->ide, channel, unit, drive->image);
}

static uint8_t free_slot(struct machine *machine)
{
    unsigned slot = SLOT_FIRST_FREE;
    while (pci_bus_device(machine->pci, PCI_DEVFN(slot, 0)))
        slot++;
    return PCI_DEVFN(slot, 0);
}

static struct virtio_place virtio_place(struct machine *machine, const char *id)
{
    return (struct virtio_place){&machine->devices, machine->pci, free_slot(machine), machine->loop,
                                 id};
}

static void add_ahci_drive(struct machine *machine, const struct machine_drive *drive)
{
    if (!machine->ahci)
        machine->ahci = ahci_new(&machine->devices, machine->pci, free_slot(machine), machine->loop,
                                 &machine->drive_activity, "ahci");
    if (drive->cdrom)
        ahci_attach_cdrom(machine->ahci, drive->unit, drive->image);
    else
        ahci_attach_disk(machine->ahci, drive->unit, drive->image);
}

static void add_nvme_drive(struct machine *machine, const struct machine_drive *drive)
{
    char serial[16], id[16];
    snprintf(serial, sizeof serial, "DP-2%04u", drive->unit);
    snprintf(id, sizeof id, "nvme%u", drive->unit);
    nvme_new(&machine->devices, machine->pci, free_slot(machine), drive->image, machine->loop,
             &machine->drive_activity, serial, id);
}

static void add_virtio_disk(struct machine *machine, const struct machine_drive *drive)
{
    char id[24];
    snprintf(id, sizeof id, "virtio-disk%u", drive->unit);
    struct virtio_place place = virtio_place(machine, id);
    virtio_blk_new(&place, machine->memory, drive->image, drive->unit, MACHINE_CPUS,
                   &machine->drive_activity);
}

static void add_virtio_scsi_drive(struct machine *machine, const struct machine_drive *drive)
{
    if (!machine->scsi) {
        struct virtio_place place = virtio_place(machine, "virtio-scsi");
        machine->scsi =
            virtio_scsi_new(&place, machine->memory, MACHINE_CPUS, &machine->drive_activity);
    }
    virtio_scsi_attach(machine->scsi, drive->unit, drive->image, drive->cdrom);
}

static void add_drives(struct machine *machine, const struct machine_config *config)
{
    static void (*const add[])(struct machine *, const struct machine_drive *) = {
        [MACHINE_IDE] = add_ide_drive,
        [MACHINE_AHCI] = add_ahci_drive,
        [MACHINE_NVME] = add_nvme_drive,
        [MACHINE_VIRTIO] = add_virtio_disk,
        [MACHINE_VIRTIO_SCSI] = add_virtio_scsi_drive,
    };
    machine->ide =
        piix_ide_new(&machine->devices, machine->pci, DEVFN_IDE, machine->io,
                     isa_line(machine, IRQ_IDE1), isa_line(machine, IRQ_IDE2), machine->loop);
    for (unsigned i = 0; i < MACHINE_DRIVES; i++) {
        const struct machine_drive *drive = &config->drive[i];
        machine->image[i] = drive->image;
        if (drive->present)
            add[drive->bus](machine, drive);
    }
}

static void add_nic(struct machine *machine, const struct machine_config *config)
{
    machine->has_nic = config->nic != MACHINE_NO_NIC;
    if (config->nic == MACHINE_E1000) {
        e1000_new(&machine->devices, machine->pci, DEVFN_NIC, machine->clock, config->mac,
                  &machine->packet, "nic0");
    } else if (config->nic == MACHINE_VIRTIO_NET) {
        const struct virtio_place place = {&machine->devices, machine->pci, DEVFN_NIC,
                                           machine->loop, "nic0"};
        virtio_net_new(&place, machine->memory, machine->clock, config->mac, &machine->packet,
                       MACHINE_CPUS);
    }
}

static void add_virtio_extras(struct machine *machine, const struct machine_config *config)
{
    struct virtio_place place;
    if (config->consoles) {
        place = virtio_place(machine, "virtio-console");
        machine->console =
            virtio_console_new(&place, machine->memory, config->console_name, config->consoles);
    }
    if (config->balloon) {
        place = virtio_place(machine, "virtio-balloon");
        machine->balloon = virtio_balloon_new(&place, machine->memory, config->balloon_target);
    }
    if (config->rng) {
        place = virtio_place(machine, "virtio-rng");
        virtio_rng_new(&place, machine->memory);
    }
}

bool pc_build(struct machine *machine, const struct machine_config *config, struct error *error)
{
    machine->memory = memory_new(config->memory_bytes, error);
    if (!machine->memory)
        return false;
    uint64_t high = memory_ram_high(machine->memory);
    machine->code = code_map_new(high ? MEMORY_HIGH_BASE + high : memory_ram_low(machine->memory));
    if (!machine->code)
        return error_set(error, "out of memory");
    machine->io = io_bus_new();
    if (!add_interrupt_controllers(machine, config, error) || !add_chipset(machine, config, error))
        return false;
    add_isa_devices(machine, config);
    add_drives(machine, config);
    vga_new(&machine->devices, machine->pci, DEVFN_VGA, machine->io, machine->memory,
            machine->clock, &machine->display, config->vga_rom, config->vga_rom_size, "vga");
    add_nic(machine, config);
    add_virtio_extras(machine, config);
    return true;
}

void pc_free(struct machine *machine)
{
    for (int i = 0; i < MACHINE_CPUS; i++)
        cpu_free(machine->cpu[i].cpu);
    device_list_destroy(&machine->devices);
    if (machine->io)
        io_bus_free(machine->io);
    memory_free(machine->memory);
    code_map_free(machine->code);
    for (unsigned i = 0; i < MACHINE_DRIVES; i++)
        if (machine->image[i])
            image_close(machine->image[i]);
}
