/*
 * What the MMX and SSE files share: the checks an instruction begins with, operands, and the
 * templates that make exec_ functions from kernels.
 *
 * A kernel computes a value from values: union xmm kernel(union xmm a, union xmm b). For MMX
 * registers it works on the low `bytes` = 8 bytes of the same type. Kernels never see the CPU, so
 * the same one will serve the three-operand VEX forms.
 */
#ifndef DOPPEL_CPU_INTERP_SIMD_H
#define DOPPEL_CPU_INTERP_SIMD_H

#include "cpu/interp/operand.h"
#include "cpu/interp/x87.h"

union xmm {
    uint8_t u8[16];
    uint16_t u16[8];
    uint32_t u32[4];
    uint64_t u64[2];
    int8_t s8[16];
    int16_t s16[8];
    int32_t s32[4];
    int64_t s64[2];
} __attribute__((aligned(16)));

/* -- Availability -- */

/* Raises #UD or #NM, whichever CR0 and CR4 ask for (SDM volume 3, table 14-1). */
_Noreturn void sse_unavailable(struct cpu *cpu);
_Noreturn void mmx_unavailable(struct cpu *cpu);

INLINE void sse_begin(struct cpu *cpu)
{
    if (UNLIKELY(cpu->mode & MODE_NO_SSE))
        sse_unavailable(cpu);
}

INLINE void mmx_begin(struct cpu *cpu)
{
    if (UNLIKELY(cpu->mode & MODE_NO_X87))
        mmx_unavailable(cpu);
    x87_check_pending(cpu);
}

/* -- Registers -- */

INLINE union xmm xmm_get(const struct cpu *cpu, unsigned reg)
{
    union xmm value;
    memcpy(&value, &cpu->xmm[reg], 16);
    return value;
}

/* Bits 128 and up of the register stay, as for every SSE instruction. */
INLINE void xmm_set(struct cpu *cpu, unsigned reg, union xmm value)
{
    memcpy(&cpu->xmm[reg], &value, 16);
}

INLINE union xmm mmx_get(const struct cpu *cpu, unsigned reg)
{
    return (union xmm){.u64 = {cpu->x87.reg[reg].mantissa, 0}};
}

/* Every MMX instruction but EMMS does this after its last fault. */
INLINE void mmx_enter(struct cpu *cpu)
{
    cpu->x87.top = 0;
    cpu->x87.empty = 0;
}

INLINE void mmx_set(struct cpu *cpu, unsigned reg, uint64_t value)
{
    mmx_enter(cpu);
    cpu->x87.reg[reg].mantissa = value;
    cpu->x87.reg[reg].exponent = 0xffff;
}

/* -- Memory -- */

INLINE union xmm mem_read_xmm(struct cpu *cpu, gva_t gva)
{
    const struct tlb_entry *entry = &cpu->tlb->entry[tlb_index(gva)];
    union xmm value;
    if (LIKELY((gva ^ entry->read) <= 4096 - 16))
        memcpy(&value, (const void *)(gva + entry->addend), 16);
    else
        mem_read_bytes(cpu, gva, &value, 16);
    return value;
}

INLINE void mem_write_xmm(struct cpu *cpu, gva_t gva, union xmm value)
{
    const struct tlb_entry *entry = &cpu->tlb->entry[tlb_index(gva)];
    if (LIKELY((gva ^ entry->write) <= 4096 - 16))
        memcpy((void *)(gva + entry->addend), &value, 16);
    else
        mem_write_bytes(cpu, gva, &value, 16);
}

/* Address of the 16-byte memory operand; #GP(0) if it must be aligned and is not. */
INLINE gva_t xmm_address(struct cpu *cpu, const struct insn *insn, enum access access, bool aligned)
{
    gva_t gva = insn_linear(cpu, insn, 16, access);
    if (aligned && UNLIKELY(gva & 15))
        cpu_raise_gp(cpu, 0);
    return gva;
}

/* -- Operands: n names an XMM or MMX register, or memory if `mem` -- */

INLINE union xmm xmm_operand(struct cpu *cpu, const struct insn *insn, unsigned n, bool mem,
                             bool aligned)
{
    if (mem)
        return mem_read_xmm(cpu, xmm_address(cpu, insn, ACCESS_READ, aligned));
    return xmm_get(cpu, insn->operand[n].reg);
}

/* The low `size` bytes (2, 4, 8) of an XMM register or that much memory; the rest is undefined
 * (register) or zero (memory). */
INLINE union xmm xmm_low(struct cpu *cpu, const struct insn *insn, unsigned n, bool mem,
                         unsigned size)
{
    if (mem)
        return (union xmm){
            .u64 = {mem_read(cpu, insn_linear(cpu, insn, size, ACCESS_READ), size), 0}};
    return xmm_get(cpu, insn->operand[n].reg);
}

INLINE union xmm mmx_operand(struct cpu *cpu, const struct insn *insn, unsigned n, bool mem,
                             unsigned size)
{
    if (mem)
        return (union xmm){
            .u64 = {mem_read(cpu, insn_linear(cpu, insn, size, ACCESS_READ), size), 0}};
    return mmx_get(cpu, insn->operand[n].reg);
}

/* -- Templates -- */

typedef union xmm simd_kernel(union xmm a, union xmm b, unsigned bytes);
typedef union xmm simd_kernel_imm(union xmm a, union xmm b, unsigned bytes, unsigned imm);

INLINE void xmm_binary(struct cpu *cpu, const struct insn *insn, bool mem, simd_kernel *kernel)
{
    sse_begin(cpu);
    union xmm b = xmm_operand(cpu, insn, 1, mem, true);
    union xmm a = xmm_get(cpu, insn->operand[0].reg);
    xmm_set(cpu, insn->operand[0].reg, kernel(a, b, 16));
}

INLINE void mmx_binary(struct cpu *cpu, const struct insn *insn, bool mem, unsigned size,
                       simd_kernel *kernel)
{
    mmx_begin(cpu);
    union xmm b = mmx_operand(cpu, insn, 1, mem, size);
    union xmm a = mmx_get(cpu, insn->operand[0].reg);
    mmx_set(cpu, insn->operand[0].reg, kernel(a, b, 8).u64[0]);
}

INLINE void xmm_binary_imm(struct cpu *cpu, const struct insn *insn, bool mem,
                           simd_kernel_imm *kernel)
{
    sse_begin(cpu);
    union xmm b = xmm_operand(cpu, insn, 1, mem, true);
    union xmm a = xmm_get(cpu, insn->operand[0].reg);
    xmm_set(cpu, insn->operand[0].reg, kernel(a, b, 16, (uint8_t)insn->imm));
}

INLINE void mmx_binary_imm(struct cpu *cpu, const struct insn *insn, bool mem,
                           simd_kernel_imm *kernel)
{
    mmx_begin(cpu);
    union xmm b = mmx_operand(cpu, insn, 1, mem, 8);
    union xmm a = mmx_get(cpu, insn->operand[0].reg);
    mmx_set(cpu, insn->operand[0].reg, kernel(a, b, 8, (uint8_t)insn->imm).u64[0]);
}

/* The XMM form of a mnemonic, the MMX form, or both. */
#define PACKED_XMM(MNEMONIC, kernel)                                                               \
    EXEC_FORMS(MNEMONIC, xmm_binary(cpu, insn, false, kernel), xmm_binary(cpu, insn, true, kernel))
#define PACKED_MMX(MNEMONIC, kernel)                                                               \
    EXEC_FORMS(MNEMONIC##_MMX, mmx_binary(cpu, insn, false, 8, kernel),                            \
               mmx_binary(cpu, insn, true, 8, kernel))
#define PACKED(MNEMONIC, kernel) PACKED_XMM(MNEMONIC, kernel) PACKED_MMX(MNEMONIC, kernel)

#define PACKED_XMM_IMM(MNEMONIC, kernel)                                                           \
    EXEC_FORMS(MNEMONIC, xmm_binary_imm(cpu, insn, false, kernel),                                 \
               xmm_binary_imm(cpu, insn, true, kernel))

/* A kernel that computes lane by lane: x and y are the operands' lanes, `expression` the result's.
 */
#define LANES(name, lane, expression)                                                              \
    INLINE union xmm name(union xmm a, union xmm b, unsigned bytes)                                \
    {                                                                                              \
        union xmm result = a;                                                                      \
        for (unsigned i = 0; i < bytes / sizeof a.lane[0]; i++) {                                  \
            __typeof__(a.lane[0]) x = a.lane[i], y = b.lane[i];                                    \
            (void)x, (void)y;                                                                      \
            result.lane[i] = (__typeof__(a.lane[0]))(expression);                                  \
        }                                                                                          \
        return result;                                                                             \
    }

/* -- Saturation -- */

INLINE int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

INLINE int8_t saturate_s8(int32_t value)
{
    return (int8_t)clamp(value, INT8_MIN, INT8_MAX);
}

INLINE uint8_t saturate_u8(int32_t value)
{
    return (uint8_t)clamp(value, 0, UINT8_MAX);
}

INLINE int16_t saturate_s16(int32_t value)
{
    return (int16_t)clamp(value, INT16_MIN, INT16_MAX);
}

INLINE uint16_t saturate_u16(int32_t value)
{
    return (uint16_t)clamp(value, 0, UINT16_MAX);
}

#endif
