/*
 * The translator: guest x86 code to host code (accel_translator), with the interpreter for
 * everything that is cold, rare, or not lowered yet.
 *
 *                 trace.c           lift*.c          opt_*.c           <host>/lower*.c
 *   guest bytes ----------> insns ----------> IR ------------> IR ---------------------> host code
 *                 decode()         ir.def            flags,            emit.c      |
 *                                                    checks                        v
 *   dispatch.c: cpu_run() -> run() -> find or make a block -> enter --> [ code cache, cache.c ]
 *                  ^                  block.c: lookup, links                       |
 *                  +---- leave: event, unknown target, END instruction ------------+
 *
 * Glossary
 *   block    translation of a superblock: one entry, many exits, following direct jumps; first
 *            warm (small), then, when it has run often, hot (fast)
 *   exit     a jump out of a block to a known guest address; linked: patched to go to that block
 *   shift    how far from its own address a translation is executed; one that floats is for any
 *            (shift.c)
 *   site     a place in host code that calls the interpreter's function for one guest instruction
 *   slow path  the site of an instruction whose memory check missed or that would fault
 *   space    what besides rip decides a translation: mode word, CS base and limit
 *   guard    check that a page is still mapped where it was when its code was translated
 *   jump table  per space: rip -> host code, looked up inline by indirect jumps
 *   return table  the same for returns, by where on the stack the return address lies: calls note
 *            there what runs behind them, and a return whose rip is another looks into the jump
 *            table
 *   home     where a guest register lives: a host register, or its slot in struct cpu
 *   slot     EFLAGS in struct cpu: the arithmetic flags when they are not in host EFLAGS
 *
 * Requirements, referred to by number in the code:
 * - R1: Between guest instructions, every guest register is in its home, for all blocks alike; so
 *   jumps between blocks move nothing. Inside, a hot block may have homes of its own. Host rsp is
 *   the address of struct cpu.
 * - R2: An operation that can fail stands before any change of state by its instruction. Its slow
 *   path stores the homes into struct cpu and runs the instruction's exec(); faults unwind from
 *   there with complete, exact state (rip, flags, registers).
 * - R3: At each observable operation the arithmetic flags are in the slot, in host EFLAGS, or can
 *   be computed again from registers; slow paths make the slot complete.
 * - R4: A block starts with the flags in the slot if it declares to need them (entry_strict !=
 *   0). Exits store them there unless the target is known not to, or only to show them to faults
 *   and events: then they may name a recipe instead (recipe.c).
 * - R5: Code is valid for one space and the physical bytes that it was made from. Stores to those
 *   lines (cpu/code.h) unlink it; it is revived if its bytes turn out the same.
 * - R6: Code of a page runs only while the page is mapped to the same host page, fetchable:
 *   tested where control enters from another page or from an indirect jump (guard).
 * - R7: Every cycle of jumps polls cpu->event: backward jumps, backward calls, indirect jumps.
 *   After an exec() events, a changed mode, or an invalidated block leave to the dispatcher.
 * - R8: No code is freed or moved while a block may be executing; room in the cache is made by
 *   the dispatcher only. The cache is never writable and executable through one mapping.
 * - R9: Guest memory is reached only through a TLB entry that matched, or, by code for the window,
 *   at an address whose granule was found open (cpu/window.h). Guest addresses never become host
 *   addresses otherwise. Guest instructions cannot raise host signals but those of the window.
 * - R10: Memory order: x86 hosts order plain accesses as the guest expects; LOCK stays LOCK.
 * - R11: In a space that floats, hot.shift is the shift of the block that runs: tables give it with
 *   the code, links keep it, the dispatcher sets it. Floating blocks add it to what the guest sees
 *   of their addresses.
 */
#ifndef DOPPEL_TRANSLATOR_TRANSLATOR_H
#define DOPPEL_TRANSLATOR_TRANSLATOR_H

#include "cpu/accel.h"

/* Which address spaces get the window (cpu/window.h). */
enum window_use {
    WINDOW_LONG, /* one that runs long */
    WINDOW_ALL,  /* each whose user code runs: tests */
    WINDOW_NONE,
};

struct translator_options {
    bool verify;        /* --verify: compare each block with the interpreter */
    bool stats;         /* --stats: count instructions, helper calls, slow paths */
    bool perf_map;      /* write /tmp/perf-PID.map for perf(1) */
    unsigned cache_mb;  /* size of the code cache; 0: 27 */
    unsigned threshold; /* which execution of an address translates it (1: the first); 0: default */
    unsigned hot;   /* which execution of a block translates it again (1: the first); 0: default */
    bool float_all; /* code of any privilege and address may float (shift.c): tests */
    enum window_use window;
    unsigned max_insns; /* guest instructions in a block; 0: default, 1: one at a time (tests) */
};

/* Read when a CPU with accel_translator is created. */
extern struct translator_options translator_options;

#endif
