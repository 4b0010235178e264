/*
 * Puts a board's processor directly into 16-bit real, 32-bit flat protected or 64-bit mode, without
 * guest code, for tests of single instructions. In 64-bit mode RAM is identity-mapped by 2 MiB
 * pages from page tables at its end.
 */
#ifndef DOPPEL_TESTS_CPU_MODES_H
#define DOPPEL_TESTS_CPU_MODES_H

#include "tests/cpu/board.h"

#include "cpu/system.h"

enum { PAGE_TABLE_BYTES = 0x3000 };

static inline void put_u64(struct board *board, gpa_t gpa, uint64_t value)
{
    memcpy(board->ram + gpa, &value, 8);
}

/* bits: 16, 32 or 64. Resets the processor; CPL 0, interrupts off, stack at 0x8000. */
static inline void board_set_mode(struct board *board, unsigned bits)
{
    struct cpu *cpu = board->cpu;
    const uint16_t data = SEGMENT_P | SEGMENT_S | SEGMENT_RW | SEGMENT_ACCESSED;
    gpa_t tables = board->ram_size - PAGE_TABLE_BYTES;

    cpu_reset(cpu);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        struct segment *s = &cpu->seg[i];
        *s = (struct segment){.limit = 0xffff, .attr = data};
        if (i == SEG_CS)
            s->attr |= SEGMENT_CODE;
        if (bits != 16) {
            s->limit = 0xffffffff;
            s->selector = i == SEG_CS ? 8 : 16;
            s->attr |= SEGMENT_G | (bits == 64 && i == SEG_CS ? SEGMENT_L : SEGMENT_DB);
        }
    }
    if (bits != 16)
        cpu->cr0 |= CR0_PE;
    if (bits == 64) {
        put_u64(board, tables, (tables + 0x1000) | 7);
        put_u64(board, tables + 0x1000, (tables + 0x2000) | 7);
        for (unsigned i = 0; i < 512; i++)
            put_u64(board, tables + 0x2000 + 8 * i, (uint64_t)i << 21 | 0x87);
        cpu->cr3 = tables;
        cpu->cr4 |= CR4_PAE | CR4_OSFXSR;
        cpu->efer = EFER_LME | EFER_LMA;
        cpu->cr0 |= CR0_PG | CR0_WP;
    }
    cpu->cr0 &= ~(uint64_t)(CR0_CD | CR0_NW);
    cpu->gpr[RSP] = 0x8000;
    cpu->rip = 0x1000;
    cpu_update_mode(cpu);
    paging_switch(cpu, false);
    board_ram_changed(board);
}

#endif
