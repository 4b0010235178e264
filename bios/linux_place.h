/*
 * Inside bios/: where a Linux kernel goes that doppel unpacks. As its own decompressor does, it is
 * put at a random place in physical memory and moved by a random distance in virtual memory
 * (KASLR), anew each time the machine starts.
 */
#ifndef DOPPEL_BIOS_LINUX_PLACE_H
#define DOPPEL_BIOS_LINUX_PLACE_H

#include "hw/fw_cfg.h"

struct place_range {
    uint64_t start, end;
};

/* What a kernel may choose from. */
struct linux_room {
    struct place_range memory; /* free memory below 4 GiB, but for ... */
    struct place_range taken;  /* ... this; empty or within */
    uint64_t size;             /* that it needs there */
    uint64_t mapped_size;      /* that it needs of its mapping */
    uint64_t alignment;        /* of both its addresses */
    uint32_t preferred;        /* physical address for which it is linked */
    uint32_t link_base;        /* low half of the virtual address of its first byte there */
};

struct linux_place {
    uint32_t address;
    uint32_t delta; /* added to virtual addresses */
};

/* The place that these two numbers choose, each as likely as any other. False: there is none. */
bool place_choose(const struct linux_room *room, const uint64_t random[2],
                  struct linux_place *place);

/* Adds the fw_cfg item that the ROM (bios/kernelboot.S) asks: place, what to add to an address in
 * the table of relocations to get the physical address, delta; 32 bits each. With a NULL room the
 * kernel goes where it prefers. */
void place_add(struct fw_cfg *fw_cfg, uint16_t key, uint32_t preferred,
               const struct linux_room *room);

#endif
