/*
 * Guest physical address space: RAM (one memfd, mapped once), ROM, MMIO regions with priorities,
 * dirty logs, and DMA.
 *
 * Layout is a list of regions; a higher priority region hides a lower one, a later one hides an
 * earlier one of the same priority. Changing it (BARs, PAM) makes the flat view anew and tells CPUs
 * to drop their TLBs.
 *
 * Locking: region calls under the board lock. RAM bytes are reached without locks.
 */
#ifndef DOPPEL_HW_MEMORY_H
#define DOPPEL_HW_MEMORY_H

#include "hw/device.h"

#include <stddef.h>

struct memory;

#define GUEST_PAGE_SIZE  4096u
#define GUEST_PAGE_SHIFT 12

/* Guest RAM: below 3 GiB (or what the board says) at 0, the rest from 4 GiB up: the PCI hole lies
 * between. */
#define MEMORY_LOW_MAX   0xc0000000ull
#define MEMORY_HIGH_BASE 0x100000000ull

/* NULL + error if the host cannot give that much. `ram_bytes` is a multiple of the page size. */
struct memory *memory_new(uint64_t ram_bytes, struct error *error);
/* The same with at most `low_max` bytes below the hole; a multiple of 1 MiB, up to MEMORY_LOW_MAX.
 */
struct memory *memory_new_split(uint64_t ram_bytes, uint64_t low_max, struct error *error);
void memory_free(struct memory *memory);
uint64_t memory_ram_bytes(const struct memory *memory);
/* All of RAM as one host mapping, in the order of RAM offsets (saving RAM, shadowing). */
uint8_t *memory_ram_host(const struct memory *memory);
/* Its file, which belongs to the memory. */
int memory_ram_file(const struct memory *memory);
/* Bytes of RAM below the PCI hole and above 4 GiB. */
uint64_t memory_ram_low(const struct memory *memory);
uint64_t memory_ram_high(const struct memory *memory);

enum region_kind {
    REGION_RAM,  /* host memory, read and write */
    REGION_ROM,  /* host memory, writes ignored */
    REGION_MMIO, /* handlers */
};

/* What hides what. A PCI BAR never hides RAM: the host bridge claims those addresses first. */
enum region_priority {
    PRIORITY_PCI = -1,
    PRIORITY_RAM = 0,
    PRIORITY_BOARD = 1, /* ROM, PAM windows, VGA window, APICs */
};

struct region; /* one placed region */

/* Maps handlers at [base, base + size). */
struct region *memory_add_mmio(struct memory *memory, uint64_t base, uint64_t size, int priority,
                               const struct access_ops *ops, void *opaque, const char *name);
/* Maps `host` (page aligned, owned by the caller, lives until removal) as RAM or ROM. `log_dirty`
 * keeps a dirty bit per page (frame buffers). */
struct region *memory_add_host(struct memory *memory, enum region_kind kind, uint64_t base,
                               uint64_t size, int priority, void *host, bool log_dirty,
                               const char *name);
/* Part of main RAM shown at another place, e.g. shadow RAM under the BIOS area: priority over ROM.
 */
struct region *memory_add_ram_alias(struct memory *memory, enum region_kind kind, uint64_t base,
                                    uint64_t size, int priority, uint64_t ram_offset,
                                    const char *name);
/* Moves, shows or hides a region (BAR writes, PAM). Cheap if nothing changes. */
void region_place(struct region *region, uint64_t base, bool enabled);
void region_set_kind(struct region *region, enum region_kind kind); /* RAM <-> ROM (PAM) */
void region_remove(struct region *region);

/* Host-allocated, page-aligned, zeroed memory for memory_add_host. */
void *memory_alloc_host(size_t size);
void memory_free_host(void *host, size_t size);

/* -- Dirty log of a log_dirty region -- */

/* Copies the bits of pages [first, first + count) written since the last call (one bit a page,
 * LSB first) to `bits` and clears them. True if any was set. */
bool region_fetch_dirty(struct region *region, size_t first_page, size_t pages, uint64_t *bits);
/* Marks all dirty, e.g. after a mode change or load. */
void region_mark_dirty(struct region *region);
/* For host memory changed by a device itself rather than by a CPU. */
void region_note_write(struct region *region, uint64_t offset, uint64_t length);

/* -- Access by physical address -- */

/* What backs the page that holds `gpa`: the CPU's TLB fill asks this. */
struct memory_page {
    uint8_t *host;  /* start of the page in host memory; NULL for MMIO and nothing */
    bool writable;  /* false for ROM */
    bool log_dirty; /* first write must call memory_note_write */
};
struct memory_page memory_find_page(struct memory *memory, uint64_t gpa);

/* Marks a page of a log_dirty region as written (any thread, no lock needed). */
void memory_note_write(struct memory *memory, uint64_t gpa, unsigned size);

/* A CPU's access to a page without host memory (or to ROM, for writes): size 1, 2, 4, 8. */
uint64_t memory_mmio_read(struct memory *memory, uint64_t gpa, unsigned size);
void memory_mmio_write(struct memory *memory, uint64_t gpa, uint64_t value, unsigned size);

/*
 * DMA by devices: any address and length, crosses regions; reads of nothing are all ones, writes to
 * nothing and to ROM are dropped; MMIO is not reached by DMA (logged). Returns false if any byte
 * did not hit RAM (or ROM, for reads). memory_dma_write keeps translated code and dirty logs
 * coherent. Any thread.
 */
bool memory_dma_read(struct memory *memory, uint64_t gpa, void *data, size_t length);
bool memory_dma_write(struct memory *memory, uint64_t gpa, const void *data, size_t length);

/*
 * DMA without a copy: the host memory behind `gpa`, and in *length how much of the wanted length
 * lies there in one piece. NULL if it is not RAM (nor ROM, when it is only read). The memory stays
 * what it is as long as the board's devices live, whatever the guest maps over it meanwhile. Who
 * wrote into it tells so afterwards, for translated code and dirty logs. Any thread.
 */
void *memory_dma_map(struct memory *memory, uint64_t gpa, size_t *length, bool write);
void memory_dma_written(struct memory *memory, uint64_t gpa, size_t length);

/* Gives pages of main RAM back to the host; they read as zeros afterwards. Bytes outside of whole
 * pages of RAM stay as they are. */
void memory_discard(struct memory *memory, uint64_t gpa, uint64_t length);

/* Writes RAM by its offset, even where something hides it (shadowing under a ROM), and keeps
 * translated code coherent. The range must lie within RAM. */
void memory_write_ram(struct memory *memory, uint64_t ram_offset, const void *data, size_t length);

/* -- Hooks for the CPUs -- */

struct memory_observer {
    /* Drop TLBs. What is RAM or ROM has changed in [first, end) only, which may be empty. */
    void (*layout_changed)(void *opaque, uint64_t first, uint64_t end);
    void (*ram_written)(void *opaque, uint64_t gpa, uint64_t size); /* DMA wrote: drop stale code */
    void (*dirty_cleared)(void *opaque, uint64_t gpa, uint64_t size); /* write-protect again */
    void *opaque;
};
void memory_observe(struct memory *memory, const struct memory_observer *observer);

#endif
