/*
 * PCI conventional bus 0: configuration mechanism 1, devices with type 0 headers, BARs, INTx
 * routing. (PCI Local Bus 3.0.)
 */
#ifndef DOPPEL_HW_PCI_H
#define DOPPEL_HW_PCI_H

#include "hw/memory.h"

struct pci_bus;
struct pci_device;

#define PCI_CONFIG_SIZE 256
#define PCI_BARS 6

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEMORY, PCI_BAR_MEMORY_PREFETCH };

/* Placed at the start of a PCI device's struct (it starts with struct device). */
struct pci_device {
    struct device device;
    struct pci_bus *bus;
    uint8_t devfn; /* device << 3 | function */
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t write_mask[PCI_CONFIG_SIZE]; /* bits the guest can write */
    struct pci_bar {
        enum pci_bar_kind kind;
        uint32_t size; /* a power of two */
        const struct access_ops *ops;
        void *opaque;
        struct region *region; /* memory BARs; the device may make it itself (frame buffers) */
        struct io_range *range;
        uint64_t mapped_base;
    } bar[PCI_BARS];
    bool irq_level;
    /* After the guest wrote [offset, offset + size) and the common part was handled. May be NULL. */
    void (*config_written)(struct pci_device *device, unsigned offset, unsigned size);
};

/* Fields of the common part; every PCI device's table starts with
 * FIELD_STRUCT(struct x, pci, pci_device_fields, 1). */
extern const struct field pci_device_fields[];

/* irq[4]: the four PIRQ inputs of the chipset; slot s pin p drives irq[(s + p - 1) & 3] as PIIX3
 * boards wire it (pin 0 = INTA). */
struct pci_bus *pci_bus_new(struct device_list *list, struct io_bus *io, struct memory *memory,
                            const struct irq_line irq[4]);

struct pci_identity {
    uint16_t vendor, device;
    uint8_t revision, prog_if;
    uint16_t class_code; /* class << 8 | subclass */
    uint16_t subsystem_vendor, subsystem;
    uint8_t interrupt_pin; /* 0 none, 1 INTA */
};

/* Fills the header and puts the device on the bus. devfn must be free. */
void pci_device_init(struct pci_device *device, struct pci_bus *bus, uint8_t devfn,
                     const struct pci_identity *identity);
void pci_add_io_bar(struct pci_device *device, int index, uint32_t size,
                    const struct access_ops *ops, void *opaque);
void pci_add_mmio_bar(struct pci_device *device, int index, uint32_t size,
                      const struct access_ops *ops, void *opaque);
/* Host memory shown through a BAR (video RAM). */
void pci_add_memory_bar(struct pci_device *device, int index, uint32_t size, void *host,
                        bool log_dirty);
/* An expansion ROM image, shown by the ROM BAR; the memory is copied. */
void pci_add_rom(struct pci_device *device, const void *image, size_t size);

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
