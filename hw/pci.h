/*
 * PCI: bus 0 with both ways to configuration space, devices with type 0 headers, BARs, INTx
 * routing. (PCI Local Bus 3.0.) Interrupt messages and capabilities: hw/pci_msi.h; bridges and the
 * buses behind them: hw/pci_bridge.h.
 */
#ifndef DOPPEL_HW_PCI_H
#define DOPPEL_HW_PCI_H

#include "hw/memory.h"

struct pci_bus;
struct pci_bridge;
struct pci_device;

#define PCI_CONFIG_SIZE 256
#define PCI_PIRQS       8 /* interrupt inputs of a chipset, at most */
#define PCI_BARS        6

/* Configuration registers of the type 0 header (section 6.1). */
enum pci_register {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_PROG_IF = 0x09,
    PCI_CLASS = 0x0a,
    PCI_CACHE_LINE_SIZE = 0x0c,
    PCI_LATENCY_TIMER = 0x0d,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_ROM_BAR = 0x30,
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
};
#define PCI_CLASS_BRIDGE          0x0604 /* PCI-to-PCI: a type 1 header */
#define PCI_COMMAND_IO            0x0001
#define PCI_COMMAND_MEMORY        0x0002
#define PCI_COMMAND_MASTER        0x0004
#define PCI_COMMAND_INTX_DISABLE  0x0400
#define PCI_STATUS_INTERRUPT      0x0008
#define PCI_HEADER_MULTIFUNCTION  0x80
#define PCI_DEVFN(slot, function) ((uint8_t)((slot) << 3 | (function)))

/* By this subsystem the firmware knows that it runs on a virtual machine of QEMU's kind and finds
 * its configuration in fw_cfg. */
#define PCI_SUBSYSTEM_VENDOR_VIRTUAL 0x1af4
#define PCI_SUBSYSTEM_VIRTUAL        0x1100

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEMORY, PCI_BAR_MEMORY_PREFETCH };

struct pci_identity {
    uint16_t vendor, device;
    uint8_t revision, prog_if;
    uint16_t class_code; /* class << 8 | subclass */
    uint16_t subsystem_vendor, subsystem;
    uint8_t interrupt_pin; /* 0 none, 1 INTA */
};

/* Placed at the start of a PCI device's struct (it starts with struct device). */
struct pci_device {
    struct device device;
    struct pci_bus *bus;
    uint8_t devfn;  /* device << 3 | function */
    bool express;   /* has extended configuration space */
    bool is_bridge; /* the start of a struct pci_bridge */
    bool hidden;    /* out of its slot: not on the bus (its slot's state says so after loading) */
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t write_mask[PCI_CONFIG_SIZE];       /* bits the guest can write */
    uint8_t write_one_clears[PCI_CONFIG_SIZE]; /* bits it clears by writing 1 (not PCI_STATUS) */
    struct pci_bar {
        enum pci_bar_kind kind;
        uint32_t size; /* a power of two */
        bool wide;     /* the next register is the upper half of a 64-bit address */
        const struct access_ops *ops;
        void *opaque;
        struct region *region; /* memory BARs; the device may make it itself (frame buffers) */
        struct io_range *range;
        uint64_t mapped_base;
    } bar[PCI_BARS];
    bool irq_level;  /* what the device asks for */
    bool irq_driven; /* what reaches the bus: not while INTx is disabled or messages are used */
    unsigned capabilities_end; /* first byte behind the capabilities, 0 without any (pci_msi.c) */
    unsigned msi;              /* offset of the MSI capability, or 0 */
    struct pci_msix *msix;     /* or NULL */
    unsigned power;            /* offset of the power management capability, or 0 (pci_power.c) */
    struct pci_identity identity;
    struct region *rom_region; /* expansion ROM, or NULL */
    uint32_t rom_size;
    /* The guest wrote [offset, offset + size) and the common part was handled. May be NULL. */
    void (*config_written)(struct pci_device *device, unsigned offset, unsigned size);
    /* The guest is about to read [offset, offset + size): bring config[] up to date. May be NULL.
     */
    void (*config_reading)(struct pci_device *device, unsigned offset, unsigned size);
};

/* Fields of the common part; every PCI device's table starts with
 * FIELD_STRUCT(struct x, pci, pci_device_fields, 1). */
extern const struct field pci_device_fields[];

/* irq[4]: the four PIRQ inputs of the chipset; slot s pin p drives irq[(s + p - 1) & 3] as PIIX3
 * boards wire it (pin 0 = INTA). */
struct pci_bus *pci_bus_new(struct device_list *list, struct io_bus *io, struct memory *memory,
                            const struct irq_line irq[4]);
/* Connects the PIRQ inputs afterwards: the chipset that owns them sits on this bus itself (irq may
 * be NULL in pci_bus_new then). */
void pci_bus_route(struct pci_bus *bus, const struct irq_line irq[4]);
/* The same for a chipset with up to PCI_PIRQS inputs and wiring of its own: `map` says to which of
 * them pin (0: INTA) of a slot on bus 0 leads. */
void pci_bus_route_mapped(struct pci_bus *bus, const struct irq_line irq[PCI_PIRQS],
                          unsigned (*map)(void *opaque, unsigned slot, unsigned pin), void *opaque);
/* What `map` answers has changed. */
void pci_bus_irqs_changed(struct pci_bus *bus);
/* Places the memory-mapped configuration space, 1 MiB a bus (or hides it). Bus 0 only. */
enum pci_ecam_size { PCI_ECAM_256M, PCI_ECAM_128M, PCI_ECAM_64M, PCI_ECAM_SIZES };
void pci_bus_place_ecam(struct pci_bus *bus, enum pci_ecam_size size, uint64_t base, bool enabled);
/* Connects whatever takes interrupt messages: writes of `data` to `address`. */
void pci_bus_route_messages(struct pci_bus *bus,
                            void (*take)(void *opaque, uint64_t address, uint32_t data),
                            void *opaque);
void pci_bus_send_message(struct pci_bus *bus, uint64_t address, uint32_t data);
/* The device at devfn, or NULL. */
struct pci_device *pci_bus_device(struct pci_bus *bus, uint8_t devfn);
/* Configuration cycles; size 1, 2 or 4 within one dword. Nothing at devfn reads as all ones. */
uint32_t pci_config_read(struct pci_bus *bus, uint8_t devfn, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *bus, uint8_t devfn, unsigned offset, uint32_t value,
                      unsigned size);
/* Little-endian numbers in config[] and write_mask[], for constructors and config_written. */
uint32_t pci_get(const uint8_t *config, unsigned offset, unsigned size);
void pci_put(uint8_t *config, unsigned offset, uint32_t value, unsigned size);

/* Fills the header and puts the device on the bus. devfn must be free. */
void pci_device_init(struct pci_device *device, struct pci_bus *bus, uint8_t devfn,
                     const struct pci_identity *identity);
void pci_add_io_bar(struct pci_device *device, int index, uint32_t size,
                    const struct access_ops *ops, void *opaque);
void pci_add_mmio_bar(struct pci_device *device, int index, uint32_t size,
                      const struct access_ops *ops, void *opaque);
/* One that may lie above 4 GiB; it takes BAR index + 1 as well. */
void pci_add_mmio_bar_64(struct pci_device *device, int index, uint32_t size,
                         const struct access_ops *ops, void *opaque);
/* Host memory shown through a BAR (video RAM). */
void pci_add_memory_bar(struct pci_device *device, int index, uint32_t size, void *host,
                        bool log_dirty);
/* An expansion ROM image, shown by the ROM BAR; the memory is copied, and PC firmware in it is made
 * to name this device. */
void pci_add_rom(struct pci_device *device, const void *image, size_t size);

/* Takes a device off its bus, or puts it back, reset. */
void pci_device_hide(struct pci_device *device, bool hidden);

void pci_set_irq(struct pci_device *device, bool level);
/* Common part of a device's reset and post_load: command register, BAR mappings, INTx level. */
void pci_device_reset(struct pci_device *device);
bool pci_device_post_load(struct pci_device *device, struct error *error);
/* True when the guest allowed bus mastering (DMA must be refused otherwise). */
bool pci_bus_master(const struct pci_device *device);
/* DMA on behalf of a device: checks bus mastering, then memory_dma_*. */
bool pci_dma_read(struct pci_device *device, uint64_t gpa, void *data, size_t length);
bool pci_dma_write(struct pci_device *device, uint64_t gpa, const void *data, size_t length);

#endif
