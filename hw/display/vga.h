/*
 * VGA with Bochs VBE extensions on PCI: what SeaBIOS's stdvga BIOS and Linux's bochs-drm expect.
 */
#ifndef DOPPEL_HW_VGA_H
#define DOPPEL_HW_VGA_H

#include "hw/clock.h"
#include "hw/pci.h"
#include "hw/port.h"

struct vga;

/* `display` is filled in (refresh, invalidate, text) and must outlive the device. The option ROM
 * (may be NULL) is copied. */
struct vga *vga_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn, struct io_bus *io,
                    struct memory *memory, struct clock *clock, struct display_port *display,
                    const void *rom, size_t rom_size, const char *id);

#endif
