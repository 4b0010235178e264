/*
 * A processor in protected or long mode for tests of the system core: descriptor tables, handlers
 * that halt, and pieces of machine code to run.
 *
 *     0x0000 IDT (4 KiB)   0x1000 GDT   0x1800 TSS   0x2000 page tables (as the test likes)
 *     0x9000 handlers: vector v halts at 0x9000 + v * 16
 *     0x10000 code         0x20000 stack of ring 0 (top)   0x30000 stack of ring 3 (top)
 */
#ifndef DOPPEL_TESTS_CPU_GUEST_H
#define DOPPEL_TESTS_CPU_GUEST_H

#include "cpu/system.h"
#include "tests/cpu/board.h"

enum {
    GUEST_IDT = 0x0000,
    GUEST_GDT = 0x1000,
    GUEST_TSS = 0x1800,
    GUEST_TABLES = 0x2000,
    GUEST_HANDLERS = 0x9000,
    GUEST_CODE = 0x10000,
    GUEST_STACK0 = 0x20000,
    GUEST_STACK3 = 0x30000,
};

/* Selectors. Ring 3's are used with RPL 3. */
enum {
    GUEST_CS0 = 0x08,
    GUEST_DS0 = 0x10,
    GUEST_CS3 = 0x1b,
    GUEST_DS3 = 0x23,
    GUEST_TR = 0x28,   /* two slots */
    GUEST_FREE = 0x38, /* from here on for the test */
    GUEST_GDT_SIZE = 0x100,
};

static inline void guest_put(struct board *board, uint32_t address, uint64_t value, unsigned size)
{
    memcpy(board->ram + address, &value, size);
}

static inline uint64_t guest_get(struct board *board, uint32_t address, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, board->ram + address, size);
    return value;
}

/* A segment descriptor: access byte, flags nibble (G, D/B, L, AVL). */
static inline uint64_t guest_descriptor(uint32_t base, uint32_t limit, unsigned access,
                                        unsigned flags)
{
    return (limit & 0xffffull) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 |
           (uint64_t)(base >> 24) << 56;
}

static inline uint64_t guest_gate(unsigned selector, uint32_t offset, unsigned access)
{
    return (offset & 0xffffull) | (uint64_t)selector << 16 | (uint64_t)access << 40 |
           (uint64_t)(offset >> 16) << 48;
}

static inline void guest_set_gdt(struct board *board, unsigned selector, uint64_t descriptor)
{
    guest_put(board, GUEST_GDT + (selector & ~7u), descriptor, 8);
}

static inline void guest_load_segments(struct cpu *cpu, unsigned cs, unsigned ss, bool code64)
{
    for (unsigned seg = 0; seg < 6; seg++) {
        struct descriptor d;
        unsigned selector = seg == SEG_CS ? cs : ss;
        memcpy(&d.low, ((struct board *)cpu->bus->opaque)->ram + GUEST_GDT + (selector & ~7u), 4);
        memcpy(&d.high, ((struct board *)cpu->bus->opaque)->ram + GUEST_GDT + (selector & ~7u) + 4,
               4);
        d.base_high = 0;
        segment_fill(&cpu->seg[seg], (uint16_t)selector, &d);
    }
}

static inline void guest_common(struct board *board, bool long_mode)
{
    struct cpu *cpu = board->cpu;
    unsigned code_flags = long_mode ? 0xa : 0xc; /* G with L, or D */

    cpu_reset(cpu);
    memset(board->ram, 0, board->ram_size);
    board_ram_changed(board);
    board->exited = false;
    guest_set_gdt(board, GUEST_CS0, guest_descriptor(0, 0xfffff, 0x9b, code_flags));
    guest_set_gdt(board, GUEST_DS0, guest_descriptor(0, 0xfffff, 0x93, 0xc));
    guest_set_gdt(board, GUEST_CS3, guest_descriptor(0, 0xfffff, 0xfb, code_flags));
    guest_set_gdt(board, GUEST_DS3, guest_descriptor(0, 0xfffff, 0xf3, 0xc));
    guest_set_gdt(board, GUEST_TR, guest_descriptor(GUEST_TSS, 0x7ff, 0x8b, 0));
    for (unsigned v = 0; v < 256; v++) {
        uint32_t handler = GUEST_HANDLERS + v * 16;
        guest_put(board, GUEST_IDT + v * (long_mode ? 16 : 8), guest_gate(GUEST_CS0, handler, 0x8e),
                  8);
        board->ram[handler] = 0xf4; /* HLT */
    }
    cpu->gdtr.base = GUEST_GDT;
    cpu->gdtr.limit = GUEST_GDT_SIZE - 1;
    cpu->idtr.base = GUEST_IDT;
    cpu->idtr.limit = 0xfff;
    cpu->seg[SEG_TR] = (struct segment){GUEST_TSS, 0x7ff, GUEST_TR, 0x8b};
    cpu->seg[SEG_LDTR].attr = 0;
    cpu->cr0 = CR0_PE | CR0_ET | CR0_NE;
    cpu->rip = GUEST_CODE;
    cpu->gpr[RDX] = 0;
    cpu->gpr[RSP] = GUEST_STACK0;
}

/* Flat 32-bit protected mode, paging off. */
static inline void guest_protected(struct board *board)
{
    struct cpu *cpu = board->cpu;
    guest_common(board, false);
    guest_put(board, GUEST_TSS + 4, GUEST_STACK0, 4);
    guest_put(board, GUEST_TSS + 8, GUEST_DS0, 4);
    guest_put(board, GUEST_TSS + 102, 0x800, 2); /* no I/O map */
    guest_load_segments(cpu, GUEST_CS0, GUEST_DS0, false);
    cpu_update_mode(cpu);
}

/* 64-bit mode; the first GiB is mapped to itself by 2 MiB pages for all rings. */
static inline void guest_long(struct board *board)
{
    struct cpu *cpu = board->cpu;
    guest_common(board, true);
    guest_put(board, GUEST_TABLES, (GUEST_TABLES + 0x1000) | 7, 8);
    guest_put(board, GUEST_TABLES + 0x1000, (GUEST_TABLES + 0x2000) | 7, 8);
    for (unsigned i = 0; i < 512; i++)
        guest_put(board, GUEST_TABLES + 0x2000 + i * 8, (uint64_t)i << 21 | 0x87, 8);
    guest_put(board, GUEST_TSS + 4, GUEST_STACK0, 8);
    guest_put(board, GUEST_TSS + 102, 0x800, 2);
    cpu->cr3 = GUEST_TABLES;
    cpu->cr4 = CR4_PAE;
    cpu->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
    cpu->cr0 |= CR0_PG | CR0_WP;
    guest_load_segments(cpu, GUEST_CS0, GUEST_DS0, true);
    cpu_update_mode(cpu);
    tlb_flush_all(cpu);
}

/* From ring 0 as set up above to ring 3, without executing anything. */
static inline void guest_enter_ring3(struct board *board)
{
    struct cpu *cpu = board->cpu;
    guest_load_segments(cpu, GUEST_CS3, GUEST_DS3, is_long(cpu));
    cpu->gpr[RSP] = GUEST_STACK3;
    cpu_update_mode(cpu);
}

static inline void guest_code_at(struct board *board, uint32_t address, const void *code,
                                 size_t size)
{
    memcpy(board->ram + address, code, size);
    code_written(board->code, address, size);
}

/* Machine code, given as bytes, at rip; runs until it halts. The vector of the handler that it
 * halted in, 256 for a HLT elsewhere, -1 for anything else (shutdown). */
static inline int guest_run_at(struct board *board, uint32_t address, const void *code, size_t size)
{
    guest_code_at(board, address, code, size);
    struct cpu *cpu = board->cpu;
    cpu->halted = false;
    if (cpu_run(cpu) != CPU_EXIT_HALTED)
        return -1;
    uint64_t at = cpu->rip - 1;
    if (at >= GUEST_HANDLERS && at < GUEST_HANDLERS + 256 * 16)
        return (int)((at - GUEST_HANDLERS) / 16);
    return 256;
}

#define GUEST_RUN(board, ...)                                                                      \
    guest_run_at(board, (uint32_t)(board)->cpu->rip, (const uint8_t[]){__VA_ARGS__},               \
                 sizeof((const uint8_t[]){__VA_ARGS__}))

/* Word n of the frame on top of the current stack (0: error code if the event has one). */
static inline uint64_t guest_frame(struct board *board, unsigned n)
{
    unsigned size = is_long(board->cpu) ? 8 : 4;
    return guest_get(board, (uint32_t)board->cpu->gpr[RSP] + n * size, size);
}

#endif
