/*
 * A bench for USB devices and controllers: what pci_bench.h has, input routes with a PS/2 side that
 * counts, and control transfers as a host makes them.
 */
#ifndef DOPPEL_TESTS_HW_USB_BENCH_H
#define DOPPEL_TESTS_HW_USB_BENCH_H

#include "hw/input/input_routes.h"
#include "hw/usb/usb_keyboard.h"
#include "hw/usb/usb_storage.h"
#include "hw/usb/usb_tablet.h"
#include "tests/hw/pci_bench.h"

struct usb_bench {
    struct pci_bench pci;
    struct input_port input;
    struct input_routes *routes;
    unsigned ps2_keys;
    _Atomic uint64_t activity;
};

static inline void usb_bench_ps2_key(void *opaque, uint16_t usage, bool down)
{
    ((struct usb_bench *)opaque)->ps2_keys++;
}

static inline void usb_bench_build(struct usb_bench *bench)
{
    memset(bench, 0, sizeof *bench);
    pci_bench_build(&bench->pci);
    bench->input.key = usb_bench_ps2_key;
    bench->input.keyboard = bench;
    bench->routes = input_routes_new(&bench->input);
}

static inline void usb_bench_free(struct usb_bench *bench)
{
    pci_bench_free(&bench->pci);
    input_routes_free(bench->routes);
}

static inline void usb_bench_key(struct usb_bench *bench, uint16_t usage, bool down)
{
    bench->input.key(bench->input.keyboard, usage, down);
}

static inline void usb_bench_point(struct usb_bench *bench, unsigned x, unsigned y, int wheel,
                                   unsigned buttons)
{
    bench->input.position(bench->input.tablet, x, y, wheel, buttons);
}

static inline struct usb_device *usb_bench_tablet(struct usb_bench *bench)
{
    return usb_tablet_new(&bench->pci.devices, bench->pci.clock, bench->routes, "tablet");
}

static inline struct usb_device *usb_bench_keyboard(struct usb_bench *bench)
{
    return usb_keyboard_new(&bench->pci.devices, bench->pci.clock, bench->routes,
                            &bench->input.leds, "keyboard");
}

static inline struct usb_device *usb_bench_storage(struct usb_bench *bench, struct image *image,
                                                   bool cdrom)
{
    return usb_storage_new(&bench->pci.devices, bench->pci.loop, image, cdrom, 0, &bench->activity,
                           "storage");
}

#endif
