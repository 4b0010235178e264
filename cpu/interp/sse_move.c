/*
 * Moves of MMX, XMM and YMM registers, whole and in parts, with their alignment rules; non-temporal
 * and masked stores; and the availability checks of the register files.
 */
#include "cpu/interp/simd.h"

_Noreturn void sse_unavailable(struct cpu *cpu)
{
    if ((cpu->cr0 & CR0_EM) || !(cpu->cr4 & CR4_OSFXSR))
        cpu_raise_ud(cpu);
    cpu_raise(cpu, EXC_NM, 0);
}

_Noreturn void avx_unavailable(struct cpu *cpu)
{
    if (!(cpu->cr4 & CR4_OSXSAVE) || (cpu->xcr0 & 6) != 6)
        cpu_raise_ud(cpu);
    cpu_raise(cpu, EXC_NM, 0);
}

_Noreturn void mmx_unavailable(struct cpu *cpu)
{
    if (cpu->cr0 & CR0_EM)
        cpu_raise_ud(cpu);
    cpu_raise(cpu, EXC_NM, 0);
}

/* -- Whole vectors -- */

/* One of the operands is memory if `mem`. */
INLINE void move_vector(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                        bool aligned)
{
    vector_begin(cpu, form);
    union vector value;
    if (mem && insn->operand[0].kind == OPERAND_MEM) {
        gva_t gva = vector_address(cpu, insn, ACCESS_WRITE, form, aligned);
        value = vector_get(cpu, insn->operand[1].reg, form);
        mem_write_vector(cpu, gva, &value, form);
    } else {
        value = vector_operand_aligned(cpu, insn, 1, mem, form, aligned);
        vector_set(cpu, insn->operand[0].reg, &value, form);
    }
}

EXEC_VECTOR(MOVAPS, move_vector, true)
EXEC_VECTOR(MOVAPD, move_vector, true)
EXEC_VECTOR(MOVDQA, move_vector, true)
EXEC_VECTOR(MOVUPS, move_vector, false)
EXEC_VECTOR(MOVUPD, move_vector, false)
EXEC_VECTOR(MOVDQU, move_vector, false)
EXEC_VECTOR(LDDQU, move_vector, false)
EXEC_VECTOR(MOVNTPS, move_vector, true)
EXEC_VECTOR(MOVNTPD, move_vector, true)
EXEC_VECTOR(MOVNTDQ, move_vector, true)
EXEC_VECTOR(MOVNTDQA, move_vector, true)

/*
 * -- Scalars --
 *
 * A load from memory clears the rest of the register, a register move keeps it; with VEX it takes
 * it from a third register.
 */
INLINE void move_scalar(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                        unsigned size)
{
    vector_begin(cpu, form);
    if (mem && insn->operand[0].kind == OPERAND_MEM) {
        uint64_t value = cpu->xmm[insn->operand[1].reg].u64[0];
        mem_write(cpu, insn_linear(cpu, insn, size, ACCESS_WRITE), value, size);
    } else if (mem) {
        vector_set_xmm(cpu, insn->operand[0].reg, xmm_low(cpu, insn, 1, true, size), form);
    } else {
        union xmm a = xmm_get(cpu, insn->operand[first_source(form)].reg);
        memcpy(&a, &cpu->xmm[insn->operand[first_source(form) + 1].reg], size);
        vector_set_xmm(cpu, insn->operand[0].reg, a, form);
    }
}

EXEC_VECTOR128(MOVSS, move_scalar, 4)
EXEC_VECTOR128(MOVSD_SSE, move_scalar, 8)

/* MOVQ between XMM registers clears the upper half too. */
INLINE void movq(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    if (mem && insn->operand[0].kind == OPERAND_MEM) {
        uint64_t value = cpu->xmm[insn->operand[1].reg].u64[0];
        mem_write_u64(cpu, insn_linear(cpu, insn, 8, ACCESS_WRITE), value);
    } else {
        uint64_t value = xmm_low(cpu, insn, 1, mem, 8).u64[0];
        vector_set_xmm(cpu, insn->operand[0].reg, (union xmm){.u64 = {value, 0}}, form);
    }
}

EXEC_VECTOR128(MOVQ, movq)

/* -- Halves -- */

/* Memory from or to the lower (half 0) or upper (half 1) quadword. */
INLINE void move_half(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                      unsigned half)
{
    vector_begin(cpu, form);
    if (insn->operand[0].kind == OPERAND_MEM) {
        uint64_t value = cpu->xmm[insn->operand[1].reg].u64[half];
        mem_write_u64(cpu, insn_linear(cpu, insn, 8, ACCESS_WRITE), value);
    } else {
        uint64_t value = mem_read_u64(cpu, insn_linear(cpu, insn, 8, ACCESS_READ));
        union xmm a = xmm_get(cpu, insn->operand[first_source(form)].reg);
        a.u64[half] = value;
        vector_set_xmm(cpu, insn->operand[0].reg, a, form);
    }
}

EXEC_VECTOR128(MOVLPS, move_half, 0)
EXEC_VECTOR128(MOVLPD, move_half, 0)
EXEC_VECTOR128(MOVHPS, move_half, 1)
EXEC_VECTOR128(MOVHPD, move_half, 1)

/* Quadword `to` of the destination from the other one of the second source. */
INLINE void move_across(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                        unsigned to)
{
    vector_begin(cpu, form);
    union xmm a = xmm_get(cpu, insn->operand[first_source(form)].reg);
    a.u64[to] = cpu->xmm[insn->operand[first_source(form) + 1].reg].u64[1 - to];
    vector_set_xmm(cpu, insn->operand[0].reg, a, form);
}

EXEC_VECTOR128(MOVHLPS, move_across, 0)
EXEC_VECTOR128(MOVLHPS, move_across, 1)

/* -- General registers: MOVD, and MOVQ with REX.W -- */

INLINE void movd(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    if (insn->operand[0].kind == OPERAND_XMM) {
        unsigned size = insn->operand[1].size == 8 ? 8 : 4;
        uint64_t value = operand_read(cpu, insn, 1, size, mem);
        vector_set_xmm(cpu, insn->operand[0].reg, (union xmm){.u64 = {value, 0}}, form);
    } else {
        unsigned size = insn->operand[0].size == 8 ? 8 : 4;
        operand_write(cpu, insn, 0, size, mem, cpu->xmm[insn->operand[1].reg].u64[0]);
    }
}

EXEC_VECTOR128(MOVD, movd)

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

INLINE void maskmovdqu(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
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

EXEC_VECTOR128(MASKMOVDQU, maskmovdqu)
EXEC_ONE(MASKMOVQ, maskmovq)
