/*
 * Guest memory as instructions see it: linear addresses, rights of the current privilege level.
 * All raise #PF (#GP/#SS for non-canonical addresses) through cpu_raise and then do not return.
 * Inline: soft TLB hit. Out of line (cpu/mem.c): refill, page crossing, MMIO, code pages.
 *
 * Order of a read-modify-write: mem_rmw_*() reads after checking the right to write, so that a
 * faulting instruction changes nothing.
 */
#ifndef DOPPEL_CPU_MEM_H
#define DOPPEL_CPU_MEM_H

#include "cpu/cpu.h"

#include <string.h>

uint64_t mem_read_slow(struct cpu *cpu, gva_t gva, unsigned size);
void mem_write_slow(struct cpu *cpu, gva_t gva, uint64_t value, unsigned size);
uint64_t mem_rmw_slow(struct cpu *cpu, gva_t gva, unsigned size);

/* The same with given rights instead of the current ones: descriptor tables, TSS and other implicit
 * supervisor accesses use MMU_KERNEL. */
uint64_t mem_read_as(struct cpu *cpu, enum mmu_index mmu, gva_t gva, unsigned size);
void mem_write_as(struct cpu *cpu, enum mmu_index mmu, gva_t gva, uint64_t value, unsigned size);

/* Any length, e.g. FXSAVE images and vectors; never partially written if it faults. */
void mem_read_bytes(struct cpu *cpu, gva_t gva, void *data, size_t length);
void mem_write_bytes(struct cpu *cpu, gva_t gva, const void *data, size_t length);
/* Faults exactly as a write of `size` bytes would, without writing. */
void mem_probe_write(struct cpu *cpu, gva_t gva, size_t size);
void mem_probe_read(struct cpu *cpu, gva_t gva, size_t size);

/* Host address of `size` bytes if they lie in one page that a plain host access may read (write),
 * else NULL without a fault: bulk string operations and host atomics. mem_host_write refuses pages
 * that hold code or log writes unless mem_write_slow has done what that needs. */
void *mem_host_read(struct cpu *cpu, gva_t gva, size_t size);
void *mem_host_write(struct cpu *cpu, gva_t gva, size_t size);
/* Host address for one host atomic on RAM that was checked for writing, after telling the code map
 * and the dirty log of it. NULL for devices, ROM and page crossings. */
void *mem_host_modify(struct cpu *cpu, gva_t gva, size_t size);

/* Host address of the instruction byte at gva (its page may be read to the end), its physical
 * address in *gpa. NULL if the page is a device: then bytes come over the bus. Raises #PF, #GP. */
const uint8_t *mem_fetch(struct cpu *cpu, gva_t gva, gpa_t *gpa);

#define MEM_ACCESSORS(bits, bytes)                                                                 \
    static inline uint##bits##_t mem_read_u##bits(struct cpu *cpu, gva_t gva)                      \
    {                                                                                              \
        uint##bits##_t value;                                                                      \
        const void *host = tlb_find(cpu->tlb, ACCESS_READ, gva, bytes);                            \
        if (!host)                                                                                 \
            return (uint##bits##_t)mem_read_slow(cpu, gva, bytes);                                 \
        memcpy(&value, host, bytes);                                                               \
        return value;                                                                              \
    }                                                                                              \
    static inline void mem_write_u##bits(struct cpu *cpu, gva_t gva, uint##bits##_t value)         \
    {                                                                                              \
        void *host = tlb_find(cpu->tlb, ACCESS_WRITE, gva, bytes);                                 \
        if (host)                                                                                  \
            memcpy(host, &value, bytes);                                                           \
        else                                                                                       \
            mem_write_slow(cpu, gva, value, bytes);                                                \
    }                                                                                              \
    static inline uint##bits##_t mem_rmw_u##bits(struct cpu *cpu, gva_t gva)                       \
    {                                                                                              \
        uint##bits##_t value;                                                                      \
        const void *host = tlb_find(cpu->tlb, ACCESS_WRITE, gva, bytes);                           \
        if (!host)                                                                                 \
            return (uint##bits##_t)mem_rmw_slow(cpu, gva, bytes);                                  \
        memcpy(&value, host, bytes);                                                               \
        return value;                                                                              \
    }

MEM_ACCESSORS(8, 1)
MEM_ACCESSORS(16, 2)
MEM_ACCESSORS(32, 4)
MEM_ACCESSORS(64, 8)

/* Fills the TLB entry of an access with the current rights if that needs no fault, no A or D bit
 * and no device: true if the access will now hit (unless it crosses into the next page). Touches
 * only general registers of the host, so that generated code may keep vectors in the others. */
bool paging_refill(struct cpu *cpu, gva_t gva, enum access access);

/* -- Segmented addresses -- */

/* Linear address of seg:offset after limit, type and canonical checks (#GP, #SS). */
gva_t segment_check(struct cpu *cpu, unsigned seg, uint64_t offset, unsigned size,
                    enum access access);

/* Offset of the memory operand within its segment: base + index * scale + disp, wrapped to
 * addrsize. */
static inline uint64_t insn_offset(const struct cpu *cpu, const struct insn *insn)
{
    uint64_t base = insn->base == REG_IP ? cpu->rip + insn->length : cpu->gpr[insn->base];
    uint64_t offset = base + (cpu->gpr[insn->index] << insn->scale) + (uint64_t)insn->disp;
    if (insn->addrsize == 8)
        return offset;
    return insn->addrsize == 4 ? (uint32_t)offset : (uint16_t)offset;
}

/* Linear address of seg:offset for an access of `size` bytes. Flat segments cost one test. */
static inline gva_t segment_linear(struct cpu *cpu, unsigned seg, uint64_t offset, unsigned size,
                                   enum access access)
{
    /* MODE_FLAT_* bits by segment register */
    static const uint16_t flat[6] = {MODE_FLAT_ES, MODE_FLAT_CS, MODE_FLAT_SS,
                                     MODE_FLAT_DS, MODE_FLAT_FS, MODE_FLAT_GS};
    if (__builtin_expect((cpu->mode & flat[seg]) && seg != SEG_CS, 1) &&
        ((cpu->mode & MODE_CODE64) || offset + size <= 0x100000000ull))
        return offset; /* non-canonical ones miss the TLB and fault there */
    return segment_check(cpu, seg, offset, size, access);
}

/* Linear address of the memory operand for an access of `size` bytes. */
static inline gva_t insn_linear(struct cpu *cpu, const struct insn *insn, unsigned size,
                                enum access access)
{
    return segment_linear(cpu, insn->seg, insn_offset(cpu, insn), size, access);
}

/* -- Stack, with SS and its size attribute; rsp changes only after the access succeeded -- */

void stack_push(struct cpu *cpu, uint64_t value, unsigned size);
uint64_t stack_pop(struct cpu *cpu, unsigned size);
/* Pop in two steps for instructions that can still fault after the read. */
uint64_t stack_peek(struct cpu *cpu, unsigned offset, unsigned size);
void stack_adjust(struct cpu *cpu, int64_t bytes);

#endif
