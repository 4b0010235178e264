/*
 * Moves of MMX and XMM registers, whole and in parts, with their alignment rules; non-temporal and
 * masked stores; and the availability checks of both register files.
 */
#include "cpu/interp/simd.h"

_Noreturn void sse_unavailable(struct cpu *cpu)
{
    if ((cpu->cr0 & CR0_EM) || !(cpu->cr4 & CR4_OSFXSR))
        cpu_raise_ud(cpu);
    cpu_raise(cpu, EXC_NM, 0);
}

_Noreturn void mmx_unavailable(struct cpu *cpu)
{
    if (cpu->cr0 & CR0_EM)
        cpu_raise_ud(cpu);
    cpu_raise(cpu, EXC_NM, 0);
}

/* -- 16 bytes -- */

/* One of the operands is memory if `mem`. */
INLINE void move_xmm(struct cpu *cpu, const struct insn *insn, bool mem, bool aligned)
{
    sse_begin(cpu);
    if (mem && insn->operand[0].kind == OPERAND_MEM) {
        gva_t gva = xmm_address(cpu, insn, ACCESS_WRITE, aligned);
        mem_write_xmm(cpu, gva, xmm_get(cpu, insn->operand[1].reg));
    } else {
        xmm_set(cpu, insn->operand[0].reg, xmm_operand(cpu, insn, 1, mem, aligned));
    }
}

#define MOVE_XMM(MNEMONIC, aligned)                                                                \
    EXEC_FORMS(MNEMONIC, move_xmm(cpu, insn, false, aligned), move_xmm(cpu, insn, true, aligned))

MOVE_XMM(MOVAPS, true)
MOVE_XMM(MOVAPD, true)
MOVE_XMM(MOVDQA, true)
MOVE_XMM(MOVUPS, false)
MOVE_XMM(MOVUPD, false)
MOVE_XMM(MOVDQU, false)
MOVE_XMM(LDDQU, false)
MOVE_XMM(MOVNTPS, true)
MOVE_XMM(MOVNTPD, true)
MOVE_XMM(MOVNTDQ, true)
MOVE_XMM(MOVNTDQA, true)

/* -- Scalars: a load from memory clears the rest of the register, a register move keeps it -- */

INLINE void move_scalar(struct cpu *cpu, const struct insn *insn, bool mem, unsigned size)
{
    sse_begin(cpu);
    uint64_t value = cpu->xmm[insn->operand[1].reg].u64[0];
    if (!mem)
        memcpy(&cpu->xmm[insn->operand[0].reg], &value, size);
    else if (insn->operand[0].kind == OPERAND_MEM)
        mem_write(cpu, insn_linear(cpu, insn, size, ACCESS_WRITE), value, size);
    else
        xmm_set(cpu, insn->operand[0].reg, xmm_low(cpu, insn, 1, true, size));
}

EXEC_FORMS(MOVSS, move_scalar(cpu, insn, false, 4), move_scalar(cpu, insn, true, 4))
EXEC_FORMS(MOVSD_SSE, move_scalar(cpu, insn, false, 8), move_scalar(cpu, insn, true, 8))

/* MOVQ between XMM registers clears the upper half too. */
INLINE void movq(struct cpu *cpu, const struct insn *insn, bool mem)
{
    sse_begin(cpu);
    if (mem && insn->operand[0].kind == OPERAND_MEM) {
        uint64_t value = cpu->xmm[insn->operand[1].reg].u64[0];
        mem_write_u64(cpu, insn_linear(cpu, insn, 8, ACCESS_WRITE), value);
    } else {
        uint64_t value = xmm_low(cpu, insn, 1, mem, 8).u64[0];
        xmm_set(cpu, insn->operand[0].reg, (union xmm){.u64 = {value, 0}});
    }
}

EXEC_FORMS(MOVQ, movq(cpu, insn, false), movq(cpu, insn, true))

/* -- Halves -- */

/* Memory from or to the lower (half 0) or upper (half 1) quadword. */
INLINE void move_half(struct cpu *cpu, const struct insn *insn, unsigned half)
{
    sse_begin(cpu);
    if (insn->operand[0].kind == OPERAND_MEM) {
        uint64_t value = cpu->xmm[insn->operand[1].reg].u64[half];
        mem_write_u64(cpu, insn_linear(cpu, insn, 8, ACCESS_WRITE), value);
    } else {
        uint64_t value = mem_read_u64(cpu, insn_linear(cpu, insn, 8, ACCESS_READ));
        cpu->xmm[insn->operand[0].reg].u64[half] = value;
    }
}

static void move_low(struct cpu *cpu, const struct insn *insn)
{
    move_half(cpu, insn, 0);
}

static void move_high(struct cpu *cpu, const struct insn *insn)
{
    move_half(cpu, insn, 1);
}

static void movhlps(struct cpu *cpu, const struct insn *insn)
{
    sse_begin(cpu);
    cpu->xmm[insn->operand[0].reg].u64[0] = cpu->xmm[insn->operand[1].reg].u64[1];
}

static void movlhps(struct cpu *cpu, const struct insn *insn)
{
    sse_begin(cpu);
    cpu->xmm[insn->operand[0].reg].u64[1] = cpu->xmm[insn->operand[1].reg].u64[0];
}

EXEC_ONE(MOVLPS, move_low)
EXEC_ONE(MOVLPD, move_low)
EXEC_ONE(MOVHPS, move_high)
EXEC_ONE(MOVHPD, move_high)
EXEC_ONE(MOVHLPS, movhlps)
EXEC_ONE(MOVLHPS, movlhps)

/* -- General registers: MOVD, and MOVQ with REX.W -- */

INLINE void movd(struct cpu *cpu, const struct insn *insn, bool mem)
{
    sse_begin(cpu);
    if (insn->operand[0].kind == OPERAND_XMM) {
        unsigned size = insn->operand[1].size == 8 ? 8 : 4;
        uint64_t value = operand_read(cpu, insn, 1, size, mem);
        xmm_set(cpu, insn->operand[0].reg, (union xmm){.u64 = {value, 0}});
    } else {
        unsigned size = insn->operand[0].size == 8 ? 8 : 4;
        operand_write(cpu, insn, 0, size, mem, cpu->xmm[insn->operand[1].reg].u64[0]);
    }
}

EXEC_FORMS(MOVD, movd(cpu, insn, false), movd(cpu, insn, true))

/* -- MMX -- */

INLINE void movd_mmx(struct cpu *cpu, const struct insn *insn, bool mem)
{
    mmx_begin(cpu);
    if (insn->operand[0].kind == OPERAND_MMX) {
        unsigned size = insn->operand[1].size == 8 ? 8 : 4;
        mmx_set(cpu, insn->operand[0].reg, operand_read(cpu, insn, 1, size, mem));
    } else {
        unsigned size = insn->operand[0].size == 8 ? 8 : 4;
        operand_write(cpu, insn, 0, size, mem, mmx_get(cpu, insn->operand[1].reg).u64[0]);
        mmx_enter(cpu);
    }
}

INLINE void movq_mmx(struct cpu *cpu, const struct insn *insn, bool mem)
{
    mmx_begin(cpu);
    if (mem && insn->operand[0].kind == OPERAND_MEM) {
        uint64_t value = mmx_get(cpu, insn->operand[1].reg).u64[0];
        mem_write_u64(cpu, insn_linear(cpu, insn, 8, ACCESS_WRITE), value);
        mmx_enter(cpu);
    } else {
        mmx_set(cpu, insn->operand[0].reg, mmx_operand(cpu, insn, 1, mem, 8).u64[0]);
    }
}

static void movq2dq(struct cpu *cpu, const struct insn *insn)
{
    sse_begin(cpu);
    mmx_begin(cpu);
    xmm_set(cpu, insn->operand[0].reg, mmx_get(cpu, insn->operand[1].reg));
    mmx_enter(cpu);
}

static void movdq2q(struct cpu *cpu, const struct insn *insn)
{
    sse_begin(cpu);
    mmx_begin(cpu);
    mmx_set(cpu, insn->operand[0].reg, cpu->xmm[insn->operand[1].reg].u64[0]);
}

static void emms(struct cpu *cpu, const struct insn *insn)
{
    mmx_begin(cpu);
    cpu->x87.top = 0;
    cpu->x87.empty = 0xff;
}

EXEC_FORMS(MOVD_MMX, movd_mmx(cpu, insn, false), movd_mmx(cpu, insn, true))
EXEC_FORMS(MOVQ_MMX, movq_mmx(cpu, insn, false), movq_mmx(cpu, insn, true))
EXEC_FORMS(MOVNTQ, cpu_raise_ud(cpu), movq_mmx(cpu, insn, true))
EXEC_ONE(MOVQ2DQ, movq2dq)
EXEC_ONE(MOVDQ2Q, movdq2q)
EXEC_ONE(EMMS, emms)

/* -- Masked stores to DS:rDI: only bytes whose mask byte is negative -- */

static void store_masked(struct cpu *cpu, const struct insn *insn, union xmm value, union xmm mask,
                         unsigned bytes)
{
    unsigned seg = insn->prefixes & PREFIX_SEG ? insn->seg : SEG_DS;
    uint64_t offset = zero_extend(cpu->gpr[RDI], insn->addrsize);
    gva_t gva = segment_check(cpu, seg, offset, bytes, ACCESS_WRITE);
    bool any = false;
    for (unsigned i = 0; i < bytes; i++)
        any |= mask.s8[i] < 0;
    if (!any)
        return;
    mem_probe_write(cpu, gva, bytes);
    for (unsigned i = 0; i < bytes; i++)
        if (mask.s8[i] < 0)
            mem_write_u8(cpu, gva + i, value.u8[i]);
}

static void maskmovdqu(struct cpu *cpu, const struct insn *insn)
{
    sse_begin(cpu);
    store_masked(cpu, insn, xmm_get(cpu, insn->operand[0].reg), xmm_get(cpu, insn->operand[1].reg),
                 16);
}

static void maskmovq(struct cpu *cpu, const struct insn *insn)
{
    mmx_begin(cpu);
    store_masked(cpu, insn, mmx_get(cpu, insn->operand[0].reg), mmx_get(cpu, insn->operand[1].reg),
                 8);
    mmx_enter(cpu);
}

EXEC_ONE(MASKMOVDQU, maskmovdqu)
EXEC_ONE(MASKMOVQ, maskmovq)
