/*
 * Rearranging lanes: unpack, pack, shuffle, blend, insert, extract, sign masks, widening, of MMX,
 * SSE and their VEX forms. What came new with AVX is in avx.c.
 */
#include "cpu/interp/simd.h"

#include <stdlib.h>

/* -- Interleave -- */

/* Lanes of a and b by turns, from their lower (first = 0) or upper halves. */
#define UNPACK(name, lane, upper)                                                                  \
    INLINE union xmm name(union xmm a, union xmm b, unsigned bytes)                                \
    {                                                                                              \
        union xmm result = a;                                                                      \
        unsigned half = bytes / sizeof a.lane[0] / 2, first = (upper) ? half : 0;                  \
        for (unsigned i = 0; i < half; i++) {                                                      \
            result.lane[2 * i] = a.lane[first + i];                                                \
            result.lane[2 * i + 1] = b.lane[first + i];                                            \
        }                                                                                          \
        return result;                                                                             \
    }

UNPACK(unpack_low_u8, u8, false)
UNPACK(unpack_low_u16, u16, false)
UNPACK(unpack_low_u32, u32, false)
UNPACK(unpack_low_u64, u64, false)
UNPACK(unpack_high_u8, u8, true)
UNPACK(unpack_high_u16, u16, true)
UNPACK(unpack_high_u32, u32, true)
UNPACK(unpack_high_u64, u64, true)

/* The MMX low forms read only 4 bytes of memory. */
#define UNPACK_LOW_MMX(MNEMONIC, kernel)                                                           \
    EXEC_FORMS(MNEMONIC##_MMX, mmx_binary(cpu, insn, false, 8, kernel),                            \
               mmx_binary(cpu, insn, true, 4, kernel))

PACKED_XMM(PUNPCKLBW, unpack_low_u8)
PACKED_XMM(PUNPCKLWD, unpack_low_u16)
PACKED_XMM(PUNPCKLDQ, unpack_low_u32)
PACKED_XMM(PUNPCKLQDQ, unpack_low_u64)
UNPACK_LOW_MMX(PUNPCKLBW, unpack_low_u8)
UNPACK_LOW_MMX(PUNPCKLWD, unpack_low_u16)
UNPACK_LOW_MMX(PUNPCKLDQ, unpack_low_u32)
PACKED(PUNPCKHBW, unpack_high_u8)
PACKED(PUNPCKHWD, unpack_high_u16)
PACKED(PUNPCKHDQ, unpack_high_u32)
PACKED_XMM(PUNPCKHQDQ, unpack_high_u64)
PACKED_XMM(UNPCKLPS, unpack_low_u32)
PACKED_XMM(UNPCKLPD, unpack_low_u64)
PACKED_XMM(UNPCKHPS, unpack_high_u32)
PACKED_XMM(UNPCKHPD, unpack_high_u64)

/* -- Pack: lanes of a, then of b, saturated to half the width -- */

#define PACK(name, from, to, saturate)                                                             \
    INLINE union xmm name(union xmm a, union xmm b, unsigned bytes)                                \
    {                                                                                              \
        union xmm result = a;                                                                      \
        unsigned half = bytes / sizeof a.from[0];                                                  \
        for (unsigned i = 0; i < half; i++) {                                                      \
            result.to[i] = saturate(a.from[i]);                                                    \
            result.to[half + i] = saturate(b.from[i]);                                             \
        }                                                                                          \
        return result;                                                                             \
    }

PACK(packsswb, s16, s8, saturate_s8)
PACK(packuswb, s16, u8, saturate_u8)
PACK(packssdw, s32, s16, saturate_s16)
PACK(packusdw, s32, u16, saturate_u16)

PACKED(PACKSSWB, packsswb)
PACKED(PACKUSWB, packuswb)
PACKED(PACKSSDW, packssdw)
PACKED_XMM(PACKUSDW, packusdw)

/* -- Shuffle -- */

INLINE union xmm pshufb(union xmm a, union xmm b, unsigned bytes)
{
    union xmm result = a;
    for (unsigned i = 0; i < bytes; i++)
        result.u8[i] = b.u8[i] & 0x80 ? 0 : a.u8[b.u8[i] & (bytes - 1)];
    return result;
}

PACKED(PSHUFB, pshufb)

/* Bytes imm.. of b:a (a above). */
INLINE union xmm palignr(union xmm a, union xmm b, unsigned bytes, unsigned imm)
{
    uint8_t both[48] = {0};
    union xmm result = {{0}};
    memcpy(both, b.u8, bytes);
    memcpy(both + bytes, a.u8, bytes);
    if (imm < 2 * bytes)
        memcpy(result.u8, both + imm, bytes);
    return result;
}

INLINE union xmm pshufd(union xmm a, union xmm b, unsigned bytes, unsigned imm)
{
    for (unsigned i = 0; i < 4; i++)
        a.u32[i] = b.u32[imm >> 2 * i & 3];
    return a;
}

/* Four words from word `first` of b; the others as in b. */
INLINE union xmm shuffle_words(union xmm b, unsigned first, unsigned imm)
{
    union xmm result = b;
    for (unsigned i = 0; i < 4; i++)
        result.u16[first + i] = b.u16[first + (imm >> 2 * i & 3)];
    return result;
}

INLINE union xmm pshuflw(union xmm a, union xmm b, unsigned bytes, unsigned imm)
{
    return shuffle_words(b, 0, imm);
}

INLINE union xmm pshufhw(union xmm a, union xmm b, unsigned bytes, unsigned imm)
{
    return shuffle_words(b, 4, imm);
}

INLINE union xmm shufps(union xmm a, union xmm b, unsigned bytes, unsigned imm)
{
    return (union xmm){
        .u32 = {a.u32[imm & 3], a.u32[imm >> 2 & 3], b.u32[imm >> 4 & 3], b.u32[imm >> 6 & 3]}};
}

INLINE union xmm shufpd(union xmm a, union xmm b, unsigned bytes, unsigned imm)
{
    return (union xmm){.u64 = {a.u64[imm & 1], b.u64[imm >> 1 & 1]}};
}

PACKED_XMM_IMM(PALIGNR, palignr, 0)
PACKED_XMM_UNARY_IMM(PSHUFD, pshufd, 0)
PACKED_XMM_UNARY_IMM(PSHUFLW, pshuflw, 0)
PACKED_XMM_UNARY_IMM(PSHUFHW, pshufhw, 0)
PACKED_XMM_IMM(SHUFPS, shufps, 0)
PACKED_XMM_IMM(SHUFPD, shufpd, 2)
EXEC_FORMS(PALIGNR_MMX, mmx_binary_imm(cpu, insn, false, palignr),
           mmx_binary_imm(cpu, insn, true, palignr))
EXEC_FORMS(PSHUFW, mmx_binary_imm(cpu, insn, false, pshuflw),
           mmx_binary_imm(cpu, insn, true, pshuflw))

/* -- Duplicate -- */

INLINE union xmm movsldup(union xmm a, union xmm b, unsigned bytes)
{
    return (union xmm){.u32 = {b.u32[0], b.u32[0], b.u32[2], b.u32[2]}};
}

INLINE union xmm movshdup(union xmm a, union xmm b, unsigned bytes)
{
    return (union xmm){.u32 = {b.u32[1], b.u32[1], b.u32[3], b.u32[3]}};
}

/* 128 bits read one quadword, 256 bits all four. */
INLINE void movddup(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    union vector b = vector_low(cpu, insn, 1, mem, form, form == VEX256 ? 32 : 8);
    for (unsigned i = 0; i < form_halves(form); i++)
        b.u64[2 * i + 1] = b.u64[2 * i];
    vector_set(cpu, insn->operand[0].reg, &b, form);
}

PACKED_XMM_UNARY(MOVSLDUP, movsldup)
PACKED_XMM_UNARY(MOVSHDUP, movshdup)
EXEC_VECTOR(MOVDDUP, movddup)

/* -- Blend: b's lane where the mask is set -- */

#define BLEND(name, lane)                                                                          \
    INLINE union xmm name(union xmm a, union xmm b, unsigned bytes, unsigned imm)                  \
    {                                                                                              \
        for (unsigned i = 0; i < bytes / sizeof a.lane[0]; i++)                                    \
            a.lane[i] = imm >> i & 1 ? b.lane[i] : a.lane[i];                                      \
        return a;                                                                                  \
    }

BLEND(blendps, u32)
BLEND(blendpd, u64)
BLEND(pblendw, u16)
PACKED_XMM_IMM(BLENDPS, blendps, 4)
PACKED_XMM_IMM(BLENDPD, blendpd, 2)
PACKED_XMM_IMM(PBLENDW, pblendw, 0)
EXEC_VEX(VPBLENDD, vector_binary_imm, blendps, 4)

/* The same by the sign bits of the implied XMM0, with VEX of a fourth register. */
#define BLEND_VARIABLE(name, lane, signed_lane)                                                    \
    INLINE void name(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)    \
    {                                                                                              \
        vector_begin(cpu, form);                                                                   \
        const unsigned first = first_source(form);                                                 \
        union vector b = vector_operand(cpu, insn, first + 1, mem, form);                          \
        union vector mask = vector_get(cpu, form == SSE ? 0 : insn->operand[3].reg, form);         \
        union vector a = vector_get(cpu, insn->operand[first].reg, form);                          \
        for (unsigned i = 0; i < form_bytes(form) / sizeof a.lane[0]; i++)                         \
            a.lane[i] = mask.signed_lane[i] < 0 ? b.lane[i] : a.lane[i];                           \
        vector_set(cpu, insn->operand[0].reg, &a, form);                                           \
    }

BLEND_VARIABLE(pblendvb, u8, s8)
BLEND_VARIABLE(blendvps, u32, s32)
BLEND_VARIABLE(blendvpd, u64, s64)
EXEC_VECTOR(PBLENDVB, pblendvb)
EXEC_VECTOR(BLENDVPS, blendvps)
EXEC_VECTOR(BLENDVPD, blendvpd)

/* -- Widen: PMOVSX, PMOVZX -- */

#define WIDEN(MNEMONIC, from, to)                                                                  \
    INLINE void MNEMONIC##_widen(struct cpu *cpu, const struct insn *insn, bool mem,               \
                                 enum vector_form form)                                            \
    {                                                                                              \
        union vector a, result;                                                                    \
        const unsigned lanes = form_bytes(form) / sizeof a.to[0];                                  \
        vector_begin(cpu, form);                                                                   \
        a = vector_low(cpu, insn, 1, mem, form, lanes * (unsigned)sizeof a.from[0]);               \
        for (unsigned i = 0; i < lanes; i++)                                                       \
            result.to[i] = a.from[i];                                                              \
        vector_set(cpu, insn->operand[0].reg, &result, form);                                      \
    }                                                                                              \
    EXEC_VECTOR(MNEMONIC, MNEMONIC##_widen)

WIDEN(PMOVSXBW, s8, s16)
WIDEN(PMOVSXBD, s8, s32)
WIDEN(PMOVSXBQ, s8, s64)
WIDEN(PMOVSXWD, s16, s32)
WIDEN(PMOVSXWQ, s16, s64)
WIDEN(PMOVSXDQ, s32, s64)
WIDEN(PMOVZXBW, u8, u16)
WIDEN(PMOVZXBD, u8, u32)
WIDEN(PMOVZXBQ, u8, u64)
WIDEN(PMOVZXWD, u16, u32)
WIDEN(PMOVZXWQ, u16, u64)
WIDEN(PMOVZXDQ, u32, u64)

/* -- Insert and extract -- */

/* General register n or `size` bytes of memory. */
INLINE uint64_t element_read(struct cpu *cpu, const struct insn *insn, unsigned n, bool mem,
                             unsigned size)
{
    if (mem)
        return mem_read(cpu, insn_linear(cpu, insn, size, ACCESS_READ), size);
    return cpu->gpr[insn->operand[n].reg];
}

/* A general register gets the element zero-extended. */
INLINE void element_write(struct cpu *cpu, const struct insn *insn, bool mem, unsigned size,
                          uint64_t value)
{
    if (mem)
        mem_write(cpu, insn_linear(cpu, insn, size, ACCESS_WRITE), value, size);
    else
        cpu->gpr[insn->operand[0].reg] = value;
}

INLINE void pinsr(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                  unsigned size)
{
    vector_begin(cpu, form);
    const unsigned first = first_source(form);
    uint64_t element = element_read(cpu, insn, first + 1, mem, size);
    union xmm a = xmm_get(cpu, insn->operand[first].reg);
    memcpy(a.u8 + (insn->imm & (16 / size - 1)) * size, &element, size);
    vector_set_xmm(cpu, insn->operand[0].reg, a, form);
}

INLINE void pextr(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                  unsigned size)
{
    vector_begin(cpu, form);
    union xmm a = xmm_get(cpu, insn->operand[1].reg);
    uint64_t element = 0;
    memcpy(&element, a.u8 + (insn->imm & (16 / size - 1)) * size, size);
    element_write(cpu, insn, mem, size, element);
}

/* Doubleword, or quadword with REX.W or VEX.W. */
INLINE void pinsrd(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    pinsr(cpu, insn, mem, form, insn->operand[first_source(form) + 1].size == 8 ? 8 : 4);
}

INLINE void pextrd(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    pextr(cpu, insn, mem, form, insn->operand[0].size == 8 ? 8 : 4);
}

EXEC_VECTOR128(PINSRB, pinsr, 1)
EXEC_VECTOR128(PINSRW, pinsr, 2)
EXEC_VECTOR128(PINSRD, pinsrd)
EXEC_VECTOR128(PEXTRB, pextr, 1)
EXEC_VECTOR128(PEXTRW, pextr, 2)
EXEC_VECTOR128(PEXTRD, pextrd)
EXEC_VECTOR128(EXTRACTPS, pextr, 4)

INLINE void insertps(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    const unsigned first = first_source(form);
    unsigned imm = (unsigned)insn->imm;
    uint32_t element = mem ? (uint32_t)element_read(cpu, insn, first + 1, true, 4)
                           : xmm_get(cpu, insn->operand[first + 1].reg).u32[imm >> 6 & 3];
    union xmm a = xmm_get(cpu, insn->operand[first].reg);
    a.u32[imm >> 4 & 3] = element;
    for (unsigned i = 0; i < 4; i++)
        a.u32[i] = imm >> i & 1 ? 0 : a.u32[i];
    vector_set_xmm(cpu, insn->operand[0].reg, a, form);
}

EXEC_VECTOR128(INSERTPS, insertps)

INLINE void pinsrw_mmx(struct cpu *cpu, const struct insn *insn, bool mem)
{
    mmx_begin(cpu);
    uint16_t element = (uint16_t)element_read(cpu, insn, 1, mem, 2);
    union xmm a = mmx_get(cpu, insn->operand[0].reg);
    a.u16[insn->imm & 3] = element;
    mmx_set(cpu, insn->operand[0].reg, a.u64[0]);
}

static void pextrw_mmx(struct cpu *cpu, const struct insn *insn)
{
    mmx_begin(cpu);
    union xmm a = mmx_get(cpu, insn->operand[1].reg);
    cpu->gpr[insn->operand[0].reg] = a.u16[insn->imm & 3];
    mmx_enter(cpu);
}

EXEC_FORMS(PINSRW_MMX, pinsrw_mmx(cpu, insn, false), pinsrw_mmx(cpu, insn, true))
EXEC_ONE(PEXTRW_MMX, pextrw_mmx)

/* -- Sign masks into a general register -- */

#define MOVMSK(MNEMONIC, lane)                                                                     \
    INLINE void MNEMONIC##_signs(struct cpu *cpu, const struct insn *insn, bool mem,               \
                                 enum vector_form form)                                            \
    {                                                                                              \
        vector_begin(cpu, form);                                                                   \
        union vector a = vector_get(cpu, insn->operand[1].reg, form);                              \
        uint32_t mask = 0;                                                                         \
        for (unsigned i = 0; i < form_bytes(form) / sizeof a.lane[0]; i++)                         \
            mask |= (uint32_t)(a.lane[i] < 0) << i;                                                \
        cpu->gpr[insn->operand[0].reg] = mask;                                                     \
    }                                                                                              \
    EXEC_VECTOR(MNEMONIC, MNEMONIC##_signs)

MOVMSK(PMOVMSKB, s8)
MOVMSK(MOVMSKPS, s32)
MOVMSK(MOVMSKPD, s64)

static void pmovmskb_mmx(struct cpu *cpu, const struct insn *insn)
{
    mmx_begin(cpu);
    union xmm a = mmx_get(cpu, insn->operand[1].reg);
    unsigned mask = 0;
    for (unsigned i = 0; i < 8; i++)
        mask |= (unsigned)(a.s8[i] < 0) << i;
    cpu->gpr[insn->operand[0].reg] = mask;
    mmx_enter(cpu);
}

EXEC_ONE(PMOVMSKB_MMX, pmovmskb_mmx)

/* -- Sums of differences, and the smallest word -- */

INLINE union xmm mpsadbw(union xmm a, union xmm b, unsigned bytes, unsigned imm)
{
    union xmm result;
    const uint8_t *window = a.u8 + (imm & 4), *block = b.u8 + (imm & 3) * 4;
    for (unsigned i = 0; i < 8; i++) {
        int sum = 0;
        for (unsigned j = 0; j < 4; j++)
            sum += abs(window[i + j] - block[j]);
        result.u16[i] = (uint16_t)sum;
    }
    return result;
}

INLINE union xmm phminposuw(union xmm a, union xmm b, unsigned bytes)
{
    unsigned position = 0;
    for (unsigned i = 1; i < 8; i++)
        position = b.u16[i] < b.u16[position] ? i : position;
    return (union xmm){.u16 = {b.u16[position], (uint16_t)position}};
}

PACKED_XMM_IMM(MPSADBW, mpsadbw, 3)
EXEC_VECTOR128(PHMINPOSUW, vector_unary, phminposuw)
