/*
 * The window: an address space whose user memory the host's own MMU translates. Pages of guest RAM
 * are mapped, as they are used, at the same address in doppel as in the guest, so that generated
 * code for such a space reaches them without the soft TLB.
 *
 * Safety. A guest address is any number, so generated code must not use one before it has looked
 * whether its granule is open: reserved for the window with both its neighbours, where nothing of
 * doppel's is or will be mapped. It looks by reading the table, which faults where granules are not
 * open. Granules are closed only together with all code of the window, so an address that is known
 * when code is made needs no look. Of other addresses the table knows bit 47 too, and its granules
 * there are never open; with higher bits addresses fault in the host as well. Accesses may lie WINDOW_REACH bytes beside an address whose
 * granule is open. That holds for what instructions do; like all of doppel it is no barrier to what
 * a processor does in advance.
 *
 * What is mapped is to the guest like what is in a TLB: everything that flushes the soft TLB of the
 * space takes it away here (window_flush...), at the latest when the space's user code runs again
 * (window_settle). A page is mapped for writing only where the soft TLB lets writes hit: it is
 * dirty, and no code is in it.
 *
 * A fault costs microseconds, so only one address space at a time has the window, one that has run
 * for a while; and it loses it if it spends too much time on that. In such a space, cpu->mode has
 * MODE_WINDOW for 64-bit code of CPL 3.
 *
 * Threads: the CPU's own.
 */
#ifndef DOPPEL_CPU_WINDOW_H
#define DOPPEL_CPU_WINDOW_H

#include "cpu/state.h"

#include <stdio.h>

#define WINDOW_GRANULE_BITS 24
#define WINDOW_ADDRESS_BITS 47 /* of user memory */
#define WINDOW_GRANULES     (1u << (WINDOW_ADDRESS_BITS - WINDOW_GRANULE_BITS))
#define WINDOW_REACH        (1 << 20)
/* The table has a byte for each value of these bits of an address, and so a page for each granule. It
 * lies above the heaps of programs that are linked for low addresses, within a displacement's reach. */
#define WINDOW_TABLE        0x7ff00000
#define WINDOW_TABLE_SHIFT  12
#define WINDOW_TABLE_MASK   ((2ull << WINDOW_ADDRESS_BITS) - (1ull << WINDOW_TABLE_SHIFT))

/* Makes the processor able to have one, if the host, and the machine's RAM, allow it. */
void window_create(struct cpu *cpu);
void window_destroy(struct cpu *cpu);
/* Opens the granule of an address. False: it cannot be; if it is one of user memory the address
 * space will lose the window. */
bool window_open(struct cpu *cpu, gva_t gva);
/* The host has faulted at this address: maps its page. False: the guest's instruction is to be
 * interpreted. */
bool window_fill(struct cpu *cpu, gva_t gva, bool write);
/* Before user code runs, after anything that may have flushed: takes away what was, and the window
 * itself, MODE_WINDOW with it, from a space that it costs too much. */
void window_settle(struct cpu *cpu);
/* Takes all away. */
void window_forget(struct cpu *cpu);
/* The current address space has it from now on. */
void window_give(struct cpu *cpu);
/* User code was running at a moment chosen by events: who is to have the window? True: granules have
 * been closed, and code made until now must not run again. */
bool window_sample(struct cpu *cpu);
void window_print_stats(const struct cpu *cpu, FILE *out);

/* -- For cpu/paging.c; `space` is its own -- */

/* CR3 was loaded, and, without `keep`, the space flushed. */
void window_switch(struct cpu *cpu, const void *space, bool keep);
void window_flush(struct window *window, const void *space);
void window_flush_page(struct window *window, const void *space, gva_t gva);
/* Memory may have moved, but main RAM at its usual place has not unless the bus says so. */
void window_moved(struct cpu *cpu);
/* The page may no longer be written unseen. */
void window_protect(struct window *window, gpa_t gpa);

#endif
