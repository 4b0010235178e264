/*
 * NVM Express controller with one namespace.
 */
#ifndef DOPPEL_HW_STORAGE_NVME_H
#define DOPPEL_HW_STORAGE_NVME_H

#include "hw/image/image.h"
#include "hw/loop.h"
#include "hw/pci.h"

struct nvme;

/* `image` stays the caller's and outlives the device; `serial` has at most 20 characters, `id`
 * names the device on the board. */
struct nvme *nvme_new(struct device_list *list, struct pci_bus *bus, uint8_t devfn,
                      struct image *image, struct loop *loop, _Atomic uint64_t *activity,
                      const char *serial, const char *id);

#endif
