/*
 * The boards: an i440FX + PIIX3 PC, and a Q35 + ICH9 with PCI Express. This file is the schematic:
 * every device in the order of construction, with all addresses, PCI slots and interrupt numbers.
 */
#include "hw/audio/ac97.h"
#include "hw/audio/hda.h"
#include "hw/audio/sb16.h"
#include "hw/audio/speaker.h"
#include "hw/chipset/debug_port.h"
#include "hw/chipset/hpet.h"
#include "hw/chipset/i440fx.h"
#include "hw/chipset/i6300esb.h"
#include "hw/chipset/i8237.h"
#include "hw/chipset/i8254.h"
#include "hw/chipset/ich9_lpc.h"
#include "hw/chipset/mc146818.h"
#include "hw/chipset/pci_slots.h"
#include "hw/chipset/pflash.h"
#include "hw/chipset/piix3.h"
#include "hw/chipset/piix4_pm.h"
#include "hw/chipset/pvpanic.h"
#include "hw/chipset/q35.h"
#include "hw/chipset/uart16550.h"
#include "hw/display/vga.h"
#include "hw/input/i8042.h"
#include "hw/input/input_routes.h"
#include "hw/input/vmmouse.h"
#include "hw/irq/i8259.h"
#include "hw/irq/ioapic.h"
#include "hw/irq/lapic.h"
#include "hw/machine_internal.h"
#include "hw/network/e1000.h"
#include "hw/network/ne2000.h"
#include "hw/network/rtl8139.h"
#include "hw/pcie_port.h"
#include "hw/storage/ahci.h"
#include "hw/storage/floppy.h"
#include "hw/storage/nvme.h"
#include "hw/storage/piix_ide.h"
#include "hw/usb/uhci.h"
#include "hw/usb/usb_keyboard.h"
#include "hw/usb/usb_storage.h"
#include "hw/usb/usb_tablet.h"
#include "hw/usb/xhci.h"
#include "hw/virtio/virtio_balloon.h"
#include "hw/virtio/virtio_blk.h"
#include "hw/virtio/virtio_console.h"
#include "hw/virtio/virtio_net.h"
#include "hw/virtio/virtio_rng.h"
#include "hw/virtio/virtio_scsi.h"

#include <assert.h>
#include <string.h>

/* PCI slots. (The host bridges at 00:00, the PIIX functions at 00:01 and the ICH9's at 00:1f belong
 * to their devices.) */
#define DEVFN(slot, function) ((slot) << 3 | (function))
static const struct slots {
    uint8_t vga, nic;
    uint8_t first_free; /* cards take the slots from here up, in order */
} slots[] = {
    [MACHINE_PC] = {DEVFN(2, 0), DEVFN(3, 0), 4},
    [MACHINE_Q35] = {DEVFN(1, 0), DEVFN(2, 0), 3},
};
#define DEVFN_PC_IDE         DEVFN(1, 1)
#define DEVFN_PC_UHCI        DEVFN(1, 2)
#define DEVFN_Q35_UHCI       DEVFN(29, 0)
#define DEVFN_Q35_AHCI       DEVFN(31, 2)
#define DEVFN_Q35_PORT(port) DEVFN(28, port)

/* ISA interrupts. */
enum {
    IRQ_TIMER = 0,
    IRQ_KEYBOARD = 1,
    IRQ_CASCADE = 2,
    IRQ_SERIAL2 = 3,
    IRQ_SERIAL1 = 4,
    IRQ_FLOPPY = 6,
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
    return isa_bridge_line(machine->isa, irq);
}

/* The clock chip's interrupt passes the HPET, and may wake a sleeping machine. */
static void rtc_interrupt(void *opaque, int number, bool level)
{
    struct machine *machine = opaque;
    if (level)
        acpi_pm_rtc_interrupt(machine->pm);
    irq_set(hpet_legacy_line(machine->hpet, 1), level);
}

/* Any key wakes a sleeping machine, and means nothing else to it. */
static void key_pressed(void *opaque, uint16_t hid_usage, bool down)
{
    struct machine *machine = opaque;
    if (!acpi_pm_asleep(machine->pm))
        machine->key(machine->keyboard, hid_usage, down);
    else if (down)
        acpi_pm_wake(machine->pm);
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

enum { CMOS_FLOPPIES = 0x10, CMOS_EQUIPMENT = 0x14 };
#define EQUIPMENT        0x06 /* FPU, PS/2 mouse */
#define EQUIPMENT_FLOPPY 0x01 /* with the number of drives less one in bits 6 and 7 */

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
        {CMOS_EQUIPMENT, EQUIPMENT},
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

static void add_pc_bridges(struct machine *machine, const struct irq_line isa[ISA_IRQS],
                           const struct board_requests *requests)
{
    struct device_list *list = &machine->devices;
    machine->isa = piix3_isa(piix3_new(list, machine->pci, machine->io, isa, requests));
    machine->piix4_pm = piix4_pm_new(list, machine->pci, machine->io, machine->clock,
                                     isa_line(machine, IRQ_SCI), requests);
    machine->pm = piix4_pm_acpi(machine->piix4_pm);
    machine->pci_slots = pci_slots_new(list, machine->io, machine->pci, machine->pm);
}

static void add_q35_bridges(struct machine *machine, const struct irq_line isa[ISA_IRQS],
                            const struct board_requests *requests)
{
    struct device_list *list = &machine->devices;
    struct irq_line pirq[PCI_PIRQS];
    for (int i = 0; i < PCI_PIRQS; i++)
        pirq[i] = ioapic_line(machine->ioapic, ICH9_PIRQ_PINS + i);
    machine->lpc = ich9_lpc_new(list, machine->pci, machine->io, machine->memory, machine->clock,
                                isa, pirq, requests);
    machine->isa = ich9_lpc_isa(machine->lpc);
    machine->pm = ich9_lpc_acpi(machine->lpc);
    ich9_smbus_new(list, machine->pci);
    for (unsigned i = 0; i < MACHINE_PCIE_PORTS; i++) {
        char id[16];
        snprintf(id, sizeof id, "slot%u", i + 1);
        machine->port[i] = pcie_port_new(list, machine->pci, DEVFN_Q35_PORT(i), i + 1, id);
    }
}

static bool add_chipset(struct machine *machine, const struct machine_config *config,
                        struct error *error)
{
    const struct board_requests requests = {
        .reset = machine_request_reset,
        .power_off = machine_request_power_off,
        .sleep = machine_request_sleep,
        .wake = machine_request_wake,
        .a20 = machine_request_a20,
        .opaque = machine,
    };
    struct device_list *list = &machine->devices;
    struct irq_line isa[ISA_IRQS] = {0};
    for (int irq = 0; irq < ISA_IRQS; irq++)
        if (irq !=
            IRQ_CASCADE) /* exists only between the two 8259s; its I/O APIC pin is the timer's */
            isa[irq] = (struct irq_line){isa_interrupt, machine, irq};
    machine->pci = pci_bus_new(list, machine->io, machine->memory, NULL);
    pci_bus_route_messages(machine->pci, pci_message, machine);
    if (machine->board == MACHINE_Q35) {
        machine->q35 =
            q35_new(list, machine->pci, machine->memory, config->bios, config->bios_size, error);
        if (!machine->q35)
            return false;
        add_q35_bridges(machine, isa, &requests);
    } else {
        if (!i440fx_new(list, machine->pci, machine->memory, config->bios, config->bios_size,
                        error))
            return false;
        add_pc_bridges(machine, isa, &requests);
    }
    if (config->flash)
        pflash_new(list, machine->memory, MEMORY_HIGH_BASE - config->bios_size - config->flash_size,
                   config->flash, config->flash_size, "flash");
    return true;
}

static void add_isa_devices(struct machine *machine, const struct machine_config *config)
{
    struct device_list *list = &machine->devices;
    struct io_bus *io = machine->io;
    machine->hpet = hpet_new(list, machine->memory, machine->clock, machine->apic_bus,
                             isa_line(machine, IRQ_TIMER), isa_line(machine, IRQ_RTC), "hpet");
    struct i8254 *pit =
        i8254_new(list, io, machine->clock, hpet_legacy_line(machine->hpet, 0), "i8254");
    machine->mixer = mixer_new(machine->clock, &machine->audio);
    machine->speaker = speaker_new(pit, machine->mixer);
    const struct irq_line no_nmi_source = {0}; /* nothing on this board could be masked by it */
    machine->rtc = mc146818_new(list, io, machine->clock,
                                (struct irq_line){rtc_interrupt, machine, 0}, no_nmi_source, "rtc");
    machine->dma = i8237_new(list, io, machine->memory, "i8237");
    struct i8042 *kbc = i8042_new(list, io, machine->clock, isa_line(machine, IRQ_KEYBOARD),
                                  isa_line(machine, IRQ_MOUSE), machine_request_reset, machine,
                                  &machine->input, "i8042");
    i8042_connect_a20(kbc, isa_bridge_a20_line(machine->isa));
    machine->routes = input_routes_new(&machine->input);
    if (config->vmmouse)
        vmmouse_new(list, io, &machine->port_cpu, machine->routes, &machine->input, "vmmouse");
    machine->key = machine->input.key;
    machine->keyboard = machine->input.keyboard;
    machine->input.key = key_pressed;
    machine->input.keyboard = machine;
    machine->serial[0] = uart16550_port(uart16550_new(list, io, PORT_SERIAL1, machine->clock,
                                                      isa_line(machine, IRQ_SERIAL1), "serial0"));
    machine->serial[1] = uart16550_port(uart16550_new(list, io, PORT_SERIAL2, machine->clock,
                                                      isa_line(machine, IRQ_SERIAL2), "serial1"));
    debug_console_new(list, io, &machine->debug_console, "debug-console");
    if (config->exit_port)
        exit_port_new(list, io, machine_request_exit, machine, "exit-port");
    pvpanic_new(list, io, machine_guest_panicked, machine);
    machine->fw_cfg = fw_cfg_new(list, io, machine->memory);
    fill_cmos(machine, config);
}

static void add_ide_drive(struct machine *machine, const struct machine_drive *drive)
{
    unsigned channel = drive->unit / 2, unit = drive->unit % 2;
    assert(machine->ide && "the caller has looked at the board");
    if (drive->cdrom)
        piix_ide_attach_cdrom(machine->ide, channel, unit, drive->image);
    else
        piix_ide_attach_disk(machine->ide, channel, unit, drive->image);
}

static uint8_t free_slot(struct machine *machine)
{
    unsigned slot = slots[machine->board].first_free;
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

static void add_floppy_drive(struct machine *machine, const struct machine_drive *drive)
{
    if (!machine->floppy)
        machine->floppy =
            floppy_new(&machine->devices, machine->io, machine->dma, isa_line(machine, IRQ_FLOPPY),
                       machine->loop, &machine->drive_activity, "floppy");
    floppy_attach(machine->floppy, drive->unit, drive->image);
    mc146818_set_cmos(machine->rtc, CMOS_FLOPPIES,
                      (uint8_t)(floppy_cmos_type(machine->floppy, 0) << 4 |
                                floppy_cmos_type(machine->floppy, 1)));
    mc146818_set_cmos(machine->rtc, CMOS_EQUIPMENT,
                      (uint8_t)(EQUIPMENT | EQUIPMENT_FLOPPY | drive->unit << 6));
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

static bool plug_in(struct machine *machine, struct usb_device *device, struct error *error)
{
    return usb_attach(machine->usb, device) ||
           error_set(error, "USB device '%s' finds no free port; the controller has %u",
                     device->device.id, machine->usb->ports);
}

static bool add_usb_drive(struct machine *machine, const struct machine_drive *drive,
                          struct error *error)
{
    char id[24];
    snprintf(id, sizeof id, "usb-disk%u", drive->unit);
    return plug_in(machine,
                   usb_storage_new(&machine->devices, machine->loop, drive->image, drive->cdrom,
                                   drive->unit, &machine->drive_activity, id),
                   error);
}

static bool add_usb(struct machine *machine, const struct machine_config *config,
                    struct error *error)
{
    struct device_list *list = &machine->devices;
    if (config->usb == MACHINE_XHCI)
        machine->usb = xhci_new(list, machine->pci, free_slot(machine), machine->clock, "xhci");
    else if (config->usb == MACHINE_UHCI && machine->board == MACHINE_Q35)
        machine->usb =
            uhci_new(list, machine->pci, DEVFN_Q35_UHCI, UHCI_ICH9, machine->clock, "uhci");
    else if (config->usb == MACHINE_UHCI)
        machine->usb =
            uhci_new(list, machine->pci, DEVFN_PC_UHCI, UHCI_PIIX3, machine->clock, "uhci");
    assert(machine->usb || (!config->usb_tablet && !config->usb_keyboard));
    if (!machine->usb)
        return true;
    if (config->usb_tablet &&
        !plug_in(machine, usb_tablet_new(list, machine->clock, machine->routes, "usb-tablet"),
                 error))
        return false;
    if (config->usb_keyboard && !plug_in(machine,
                                         usb_keyboard_new(list, machine->clock, machine->routes,
                                                          &machine->input.leds, "usb-keyboard"),
                                         error))
        return false;
    for (unsigned i = 0; i < MACHINE_DRIVES; i++)
        if (config->drive[i].present && config->drive[i].bus == MACHINE_USB &&
            !add_usb_drive(machine, &config->drive[i], error))
            return false;
    return true;
}

static void add_drives(struct machine *machine, const struct machine_config *config)
{
    static void (*const add[])(struct machine *, const struct machine_drive *) = {
        [MACHINE_IDE] = add_ide_drive,      [MACHINE_AHCI] = add_ahci_drive,
        [MACHINE_NVME] = add_nvme_drive,    [MACHINE_FLOPPY] = add_floppy_drive,
        [MACHINE_VIRTIO] = add_virtio_disk, [MACHINE_VIRTIO_SCSI] = add_virtio_scsi_drive,
    };
    if (machine->board == MACHINE_Q35)
        machine->ahci = ahci_new(&machine->devices, machine->pci, DEVFN_Q35_AHCI, machine->loop,
                                 &machine->drive_activity, "ahci");
    else
        machine->ide =
            piix_ide_new(&machine->devices, machine->pci, DEVFN_PC_IDE, machine->io,
                         isa_line(machine, IRQ_IDE1), isa_line(machine, IRQ_IDE2), machine->loop);
    for (unsigned i = 0; i < MACHINE_DRIVES; i++) {
        const struct machine_drive *drive = &config->drive[i];
        machine->image[i] = drive->image;
        if (drive->present && add[drive->bus]) /* add_usb does its own */
            add[drive->bus](machine, drive);
    }
}

static void add_nic(struct machine *machine, const struct machine_config *config)
{
    uint8_t devfn = slots[machine->board].nic;
    machine->has_nic = config->nic != MACHINE_NO_NIC;
    if (config->nic == MACHINE_E1000) {
        e1000_new(&machine->devices, machine->pci, devfn, machine->clock, config->mac,
                  &machine->packet, "nic0");
    } else if (config->nic == MACHINE_RTL8139 || config->nic == MACHINE_RTL8139C) {
        rtl8139_new(&machine->devices, machine->pci, devfn, machine->clock, config->mac,
                    &machine->packet, config->nic == MACHINE_RTL8139, "nic0");
    } else if (config->nic == MACHINE_NE2000) {
        ne2000_new(&machine->devices, machine->pci, devfn, machine->clock, config->mac,
                   &machine->packet, "nic0");
    } else if (config->nic == MACHINE_VIRTIO_NET) {
        const struct virtio_place place = {&machine->devices, machine->pci, devfn, machine->loop,
                                           "nic0"};
        virtio_net_new(&place, machine->memory, machine->clock, config->mac, &machine->packet,
                       MACHINE_CPUS);
    }
    if (config->nic_rom && machine->has_nic)
        pci_add_rom(pci_bus_device(machine->pci, devfn), config->nic_rom, config->nic_rom_size);
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

static void add_sound_blaster(struct machine *machine)
{
    const struct irq_line irq[SB16_IRQS] = {
        [SB16_IRQ9] = isa_line(machine, 9),
        [SB16_IRQ5] = isa_line(machine, 5),
        [SB16_IRQ7] = isa_line(machine, 7),
        [SB16_IRQ10] = isa_line(machine, 10),
    };
    sb16_new(&machine->devices, machine->io, machine->dma, irq, machine->mixer, "sb16");
}

static void add_sound(struct machine *machine, enum machine_sound card)
{
    if (card == MACHINE_HDA)
        hda_new(&machine->devices, machine->pci, free_slot(machine),
                machine->board == MACHINE_Q35 ? HDA_ICH9 : HDA_ICH6, machine->clock, machine->mixer,
                "hda");
    else if (card == MACHINE_AC97)
        ac97_new(&machine->devices, machine->pci, free_slot(machine), machine->mixer, "ac97");
    else if (card == MACHINE_SB16)
        add_sound_blaster(machine);
}

bool pc_build(struct machine *machine, const struct machine_config *config, struct error *error)
{
    machine->board = config->board;
    machine->watchdog_action = config->watchdog_action;
    machine->memory = memory_new_split(
        config->memory_bytes,
        config->board == MACHINE_Q35 ? Q35_LOW_MAX(config->memory_bytes) : MEMORY_LOW_MAX, error);
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
    vga_new(&machine->devices, machine->pci, slots[machine->board].vga, machine->io,
            machine->memory, machine->clock, &machine->display, config->vga_rom,
            config->vga_rom_size, "vga");
    add_nic(machine, config);
    add_virtio_extras(machine, config);
    if (!add_usb(machine, config, error))
        return false;
    add_sound(machine, config->sound);
    if (config->watchdog)
        i6300esb_new(&machine->devices, machine->pci, free_slot(machine), machine->clock,
                     machine_watchdog_expired, machine);
    return true;
}

void board_reset(struct machine *machine)
{
    struct pci_device *host = pci_bus_device(machine->pci, PCI_DEVFN(0, 0));
    uint16_t cause = machine->pm->status;
    uint8_t config[PCI_CONFIG_SIZE];
    struct error error;
    memcpy(config, host->config, sizeof config);
    device_list_reset(&machine->devices);
    if (!machine->waking)
        return;
    machine->waking = false;
    memcpy(host->config, config, sizeof config);
    host->device.ops->post_load(&host->device, &error);
    acpi_pm_woken(machine->pm, cause);
}

struct machine_platform machine_platform(const struct machine *machine)
{
    struct machine_platform platform = {.board = machine->board,
                                        .nic_slot = slots[machine->board].nic >> 3};
    if (machine->board == MACHINE_Q35) {
        platform.pm_base = ich9_lpc_pm_base(machine->lpc);
        platform.ecam = q35_ecam(machine->q35, &platform.ecam_buses);
    } else {
        platform.pm_base = piix4_pm_base(machine->piix4_pm);
    }
    return platform;
}

void pc_free(struct machine *machine)
{
    for (int i = 0; i < MACHINE_CPUS; i++)
        cpu_free(machine->cpu[i].cpu);
    speaker_free(machine->speaker);
    device_list_destroy(&machine->devices);
    mixer_free(machine->mixer);
    input_routes_free(machine->routes);
    if (machine->io)
        io_bus_free(machine->io);
    memory_free(machine->memory);
    code_map_free(machine->code);
    for (unsigned i = 0; i < MACHINE_DRIVES; i++)
        if (machine->image[i])
            image_close(machine->image[i]);
}
