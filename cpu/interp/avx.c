/*
 * What came new with AVX and AVX2: broadcasts, permutations across the halves, masked moves, and
 * clearing of the upper halves. Shifts by a count for each lane are in packed.c, gathers in
 * gather.c.
 */
#include "cpu/interp/simd.h"

/* -- Broadcasts -- */

INLINE void broadcast(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                      unsigned size)
{
    vector_begin(cpu, form);
    union vector b = vector_low(cpu, insn, 1, mem, form, size);
    for (unsigned at = size; at < form_bytes(form); at += size)
        memcpy(b.u8 + at, b.u8, size);
    vector_set(cpu, insn->operand[0].reg, &b, form);
}

EXEC_VEX(VBROADCASTSS, broadcast, 4)
EXEC_VEX(VBROADCASTSD, broadcast, 8)
EXEC_VEX(VBROADCASTF128, broadcast, 16)
EXEC_VEX(VBROADCASTI128, broadcast, 16)
EXEC_VEX(VPBROADCASTB, broadcast, 1)
EXEC_VEX(VPBROADCASTW, broadcast, 2)
EXEC_VEX(VPBROADCASTD, broadcast, 4)
EXEC_VEX(VPBROADCASTQ, broadcast, 8)

/* -- Halves -- */

INLINE void insert_half(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    union xmm b = xmm_operand(cpu, insn, 2, mem, form);
    union vector a = vector_get(cpu, insn->operand[1].reg, form);
    half_set(&a, insn->imm & 1, b);
    vector_set(cpu, insn->operand[0].reg, &a, form);
}

INLINE void extract_half(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    union vector a = vector_get(cpu, insn->operand[1].reg, form);
    union xmm half = half_get(&a, insn->imm & 1);
    if (!mem)
        vector_set_xmm(cpu, insn->operand[0].reg, half, form);
    else
        mem_write_bytes(cpu, insn_linear(cpu, insn, 16, ACCESS_WRITE), &half, 16);
}

/* Either half is one of the four of both sources (imm 1-0, 5-4) or zero (imm 3, 7). */
INLINE void permute_halves(struct cpu *cpu, const struct insn *insn, bool mem,
                           enum vector_form form)
{
    vector_begin(cpu, form);
    union vector source[2], result;
    source[1] = vector_operand(cpu, insn, 2, mem, form);
    source[0] = vector_get(cpu, insn->operand[1].reg, form);
    for (unsigned i = 0; i < 2; i++) {
        unsigned control = (unsigned)insn->imm >> 4 * i & 15;
        union xmm half = half_get(&source[control >> 1 & 1], control & 1);
        half_set(&result, i, control & 8 ? (union xmm){{0}} : half);
    }
    vector_set(cpu, insn->operand[0].reg, &result, form);
}

EXEC_VEX(VINSERTF128, insert_half)
EXEC_VEX(VINSERTI128, insert_half)
EXEC_VEX(VEXTRACTF128, extract_half)
EXEC_VEX(VEXTRACTI128, extract_half)
EXEC_VEX(VPERM2F128, permute_halves)
EXEC_VEX(VPERM2I128, permute_halves)

/* -- Permutations within halves -- */

INLINE union xmm permute_u32(union xmm a, union xmm control, unsigned bytes)
{
    union xmm result;
    for (unsigned i = 0; i < 4; i++)
        result.u32[i] = a.u32[control.u32[i] & 3];
    return result;
}

INLINE union xmm permute_u64(union xmm a, union xmm control, unsigned bytes)
{
    return (union xmm){.u64 = {a.u64[control.u64[0] >> 1 & 1], a.u64[control.u64[1] >> 1 & 1]}};
}

INLINE union xmm permute_u32_imm(union xmm a, union xmm b, unsigned bytes, unsigned imm)
{
    for (unsigned i = 0; i < 4; i++)
        a.u32[i] = b.u32[imm >> 2 * i & 3];
    return a;
}

INLINE union xmm permute_u64_imm(union xmm a, union xmm b, unsigned bytes, unsigned imm)
{
    return (union xmm){.u64 = {b.u64[imm & 1], b.u64[imm >> 1 & 1]}};
}

/* By a vector or by an immediate. */
INLINE void permute(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                    simd_kernel *kernel, simd_kernel_imm *kernel_imm, unsigned step)
{
    if (insn->operand[2].kind == OPERAND_IMM)
        vector_unary_imm(cpu, insn, mem, form, kernel_imm, step);
    else
        vector_binary(cpu, insn, mem, form, kernel);
}

EXEC_VEX(VPERMILPS, permute, permute_u32, permute_u32_imm, 0)
EXEC_VEX(VPERMILPD, permute, permute_u64, permute_u64_imm, 2)

/* -- Permutations of the whole vector: operand 1 has the indices, or the immediate -- */

INLINE void permute_all_u32(struct cpu *cpu, const struct insn *insn, bool mem,
                            enum vector_form form)
{
    vector_begin(cpu, form);
    union vector b = vector_operand(cpu, insn, 2, mem, form);
    union vector a = vector_get(cpu, insn->operand[1].reg, form);
    for (unsigned i = 0; i < 8; i++)
        a.u32[i] = b.u32[a.u32[i] & 7];
    vector_set(cpu, insn->operand[0].reg, &a, form);
}

INLINE void permute_all_u64(struct cpu *cpu, const struct insn *insn, bool mem,
                            enum vector_form form)
{
    vector_begin(cpu, form);
    union vector b = vector_operand(cpu, insn, 1, mem, form), result;
    for (unsigned i = 0; i < 4; i++)
        result.u64[i] = b.u64[insn->imm >> 2 * i & 3];
    vector_set(cpu, insn->operand[0].reg, &result, form);
}

/* Only 256-bit forms exist. */
#define EXEC_VEX256(VNAME, function)                                                               \
    EXEC_FORMS(VNAME, function(cpu, insn, false, VEX256), function(cpu, insn, true, VEX256))

EXEC_VEX256(VPERMD, permute_all_u32)
EXEC_VEX256(VPERMPS, permute_all_u32)
EXEC_VEX256(VPERMQ, permute_all_u64)
EXEC_VEX256(VPERMPD, permute_all_u64)

/*
 * -- Masked moves --
 *
 * Only elements whose mask (operand 1) is negative touch memory, and only they fault. A store
 * writes all of them or, faulting, none.
 */

INLINE bool element_chosen(const union vector *mask, unsigned i, unsigned size)
{
    return (size == 4 ? mask->s32[i] : mask->s64[i]) < 0;
}

INLINE gva_t element_address(struct cpu *cpu, const struct insn *insn, unsigned i, unsigned size,
                             enum access access)
{
    uint64_t offset = insn_offset(cpu, insn) + i * size;
    if (!(cpu->mode & MODE_CODE64)) /* there what lies behind 4 GiB follows */
        offset = zero_extend(offset, insn->addrsize);
    return segment_linear(cpu, insn->seg, offset, size, access);
}

INLINE void mask_move(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                      unsigned size)
{
    vector_begin(cpu, form);
    const unsigned count = form_bytes(form) / size;
    union vector mask = vector_get(cpu, insn->operand[1].reg, form), value = {{0}};
    if (insn->operand[0].kind != OPERAND_MEM) {
        for (unsigned i = 0; i < count; i++) {
            if (!element_chosen(&mask, i, size))
                continue;
            uint64_t element =
                mem_read(cpu, element_address(cpu, insn, i, size, ACCESS_READ), size);
            memcpy(value.u8 + i * size, &element, size);
        }
        vector_set(cpu, insn->operand[0].reg, &value, form);
        return;
    }
    value = vector_get(cpu, insn->operand[2].reg, form);
    for (unsigned i = 0; i < count; i++)
        if (element_chosen(&mask, i, size))
            mem_probe_write(cpu, element_address(cpu, insn, i, size, ACCESS_WRITE), size);
    for (unsigned i = 0; i < count; i++) {
        uint64_t element = size == 4 ? value.u32[i] : value.u64[i];
        if (element_chosen(&mask, i, size))
            mem_write(cpu, element_address(cpu, insn, i, size, ACCESS_WRITE), element, size);
    }
}

EXEC_VEX(VMASKMOVPS, mask_move, 4)
EXEC_VEX(VMASKMOVPD, mask_move, 8)
EXEC_VEX(VPMASKMOVD, mask_move, 4)
EXEC_VEX(VPMASKMOVQ, mask_move, 8)

/* -- Clearing: registers 8-15 exist, and are cleared, in 64-bit mode only -- */

INLINE void clear_registers(struct cpu *cpu, unsigned from)
{
    vector_begin(cpu, VEX128);
    unsigned count = cpu->mode & MODE_CODE64 ? 16 : 8;
    for (unsigned i = 0; i < count; i++)
        memset(cpu->xmm[i].u8 + from, 0, 32 - from);
}

static void vzeroupper(struct cpu *cpu, const struct insn *insn)
{
    clear_registers(cpu, 16);
}

static void vzeroall(struct cpu *cpu, const struct insn *insn)
{
    clear_registers(cpu, 0);
}

EXEC_ONE(VZEROUPPER, vzeroupper)
EXEC_ONE(VZEROALL, vzeroall)
