/*
 * Packed integer arithmetic, comparison, logic and shifts of MMX, SSE2, SSSE3 and SSE4: one kernel
 * for each operation, used for both register files.
 */
#include "cpu/interp/simd.h"

/* -- Addition and subtraction -- */

LANES(paddb, u8, x + y)
LANES(paddw, u16, x + y)
LANES(paddd, u32, x + y)
LANES(paddq, u64, x + y)
LANES(psubb, u8, x - y)
LANES(psubw, u16, x - y)
LANES(psubd, u32, x - y)
LANES(psubq, u64, x - y)
LANES(paddsb, s8, saturate_s8(x + y))
LANES(paddsw, s16, saturate_s16(x + y))
LANES(paddusb, u8, saturate_u8(x + y))
LANES(paddusw, u16, saturate_u16(x + y))
LANES(psubsb, s8, saturate_s8(x - y))
LANES(psubsw, s16, saturate_s16(x - y))
LANES(psubusb, u8, saturate_u8(x - y))
LANES(psubusw, u16, saturate_u16(x - y))
LANES(pavgb, u8, (x + y + 1) >> 1)
LANES(pavgw, u16, (x + y + 1) >> 1)
LANES(pabsb, s8, y < 0 ? -y : y)
LANES(pabsw, s16, y < 0 ? -y : y)
LANES(pabsd, u32, y >> 31 ? 0 - y : y)
LANES(psignb, s8, y<0 ? -x : y> 0 ? x : 0)
LANES(psignw, s16, y<0 ? -x : y> 0 ? x : 0)
LANES(psignd, u32, (int32_t)y < 0 ? 0 - x : y ? x : 0)

PACKED(PADDB, paddb)
PACKED(PADDW, paddw)
PACKED(PADDD, paddd)
PACKED(PADDQ, paddq)
PACKED(PSUBB, psubb)
PACKED(PSUBW, psubw)
PACKED(PSUBD, psubd)
PACKED(PSUBQ, psubq)
PACKED(PADDSB, paddsb)
PACKED(PADDSW, paddsw)
PACKED(PADDUSB, paddusb)
PACKED(PADDUSW, paddusw)
PACKED(PSUBSB, psubsb)
PACKED(PSUBSW, psubsw)
PACKED(PSUBUSB, psubusb)
PACKED(PSUBUSW, psubusw)
PACKED(PAVGB, pavgb)
PACKED(PAVGW, pavgw)
PACKED_UNARY(PABSB, pabsb)
PACKED_UNARY(PABSW, pabsw)
PACKED_UNARY(PABSD, pabsd)
PACKED(PSIGNB, psignb)
PACKED(PSIGNW, psignw)
PACKED(PSIGND, psignd)

/* Neighbours: the pairs of a give the lower half of the result, those of b the upper. */
#define HORIZONTAL(name, lane, expression)                                                         \
    INLINE union xmm name(union xmm a, union xmm b, unsigned bytes)                                \
    {                                                                                              \
        union xmm result = a;                                                                      \
        unsigned half = bytes / sizeof a.lane[0] / 2;                                              \
        for (unsigned i = 0; i < half; i++) {                                                      \
            __typeof__(a.lane[0]) x = a.lane[2 * i], y = a.lane[2 * i + 1];                        \
            result.lane[i] = (__typeof__(x))(expression);                                          \
            x = b.lane[2 * i];                                                                     \
            y = b.lane[2 * i + 1];                                                                 \
            result.lane[half + i] = (__typeof__(x))(expression);                                   \
        }                                                                                          \
        return result;                                                                             \
    }

HORIZONTAL(phaddw, u16, x + y)
HORIZONTAL(phaddd, u32, x + y)
HORIZONTAL(phaddsw, s16, saturate_s16(x + y))
HORIZONTAL(phsubw, u16, x - y)
HORIZONTAL(phsubd, u32, x - y)
HORIZONTAL(phsubsw, s16, saturate_s16(x - y))

PACKED(PHADDW, phaddw)
PACKED(PHADDD, phaddd)
PACKED(PHADDSW, phaddsw)
PACKED(PHSUBW, phsubw)
PACKED(PHSUBD, phsubd)
PACKED(PHSUBSW, phsubsw)

/* -- Multiplication -- */

LANES(pmullw, s16, x *y)
LANES(pmulhw, s16, x *y >> 16)
LANES(pmulhuw, u16, (uint32_t)x *y >> 16)
LANES(pmulhrsw, s16, ((x * y >> 14) + 1) >> 1)
LANES(pmuludq, u64, (x & 0xffffffff) * (y & 0xffffffff))
LANES(pmuldq, s64, (int64_t)(int32_t)x *(int32_t)y)
LANES(pmulld, u32, x *y)

INLINE union xmm pmaddwd(union xmm a, union xmm b, unsigned bytes)
{
    union xmm result = a;
    for (unsigned i = 0; i < bytes / 4; i++)
        result.u32[i] = (uint32_t)(a.s16[2 * i] * b.s16[2 * i]) +
                        (uint32_t)(a.s16[2 * i + 1] * b.s16[2 * i + 1]);
    return result;
}

INLINE union xmm pmaddubsw(union xmm a, union xmm b, unsigned bytes)
{
    union xmm result = a;
    for (unsigned i = 0; i < bytes / 2; i++)
        result.s16[i] = saturate_s16(a.u8[2 * i] * b.s8[2 * i] + a.u8[2 * i + 1] * b.s8[2 * i + 1]);
    return result;
}

INLINE union xmm psadbw(union xmm a, union xmm b, unsigned bytes)
{
    union xmm result = a;
    for (unsigned i = 0; i < bytes / 8; i++) {
        unsigned sum = 0;
        for (unsigned j = 8 * i; j < 8 * i + 8; j++)
            sum += (unsigned)(a.u8[j] > b.u8[j] ? a.u8[j] - b.u8[j] : b.u8[j] - a.u8[j]);
        result.u64[i] = sum;
    }
    return result;
}

PACKED(PMULLW, pmullw)
PACKED(PMULHW, pmulhw)
PACKED(PMULHUW, pmulhuw)
PACKED(PMULHRSW, pmulhrsw)
PACKED(PMULUDQ, pmuludq)
PACKED(PMADDWD, pmaddwd)
PACKED(PMADDUBSW, pmaddubsw)
PACKED(PSADBW, psadbw)
PACKED_XMM(PMULDQ, pmuldq)
PACKED_XMM(PMULLD, pmulld)

/* -- Comparison, minimum, maximum -- */

LANES(pcmpeqb, u8, x == y ? -1 : 0)
LANES(pcmpeqw, u16, x == y ? -1 : 0)
LANES(pcmpeqd, u32, x == y ? -1 : 0)
LANES(pcmpeqq, u64, x == y ? -1 : 0)
LANES(pcmpgtb, s8, x > y ? -1 : 0)
LANES(pcmpgtw, s16, x > y ? -1 : 0)
LANES(pcmpgtd, s32, x > y ? -1 : 0)
LANES(pcmpgtq, s64, x > y ? -1 : 0)
LANES(pminub, u8, x < y ? x : y)
LANES(pmaxub, u8, x > y ? x : y)
LANES(pminsw, s16, x < y ? x : y)
LANES(pmaxsw, s16, x > y ? x : y)
LANES(pminsb, s8, x < y ? x : y)
LANES(pmaxsb, s8, x > y ? x : y)
LANES(pminuw, u16, x < y ? x : y)
LANES(pmaxuw, u16, x > y ? x : y)
LANES(pminsd, s32, x < y ? x : y)
LANES(pmaxsd, s32, x > y ? x : y)
LANES(pminud, u32, x < y ? x : y)
LANES(pmaxud, u32, x > y ? x : y)

PACKED(PCMPEQB, pcmpeqb)
PACKED(PCMPEQW, pcmpeqw)
PACKED(PCMPEQD, pcmpeqd)
PACKED_XMM(PCMPEQQ, pcmpeqq)
PACKED(PCMPGTB, pcmpgtb)
PACKED(PCMPGTW, pcmpgtw)
PACKED(PCMPGTD, pcmpgtd)
PACKED_XMM(PCMPGTQ, pcmpgtq)
PACKED(PMINUB, pminub)
PACKED(PMAXUB, pmaxub)
PACKED(PMINSW, pminsw)
PACKED(PMAXSW, pmaxsw)
PACKED_XMM(PMINSB, pminsb)
PACKED_XMM(PMAXSB, pmaxsb)
PACKED_XMM(PMINUW, pminuw)
PACKED_XMM(PMAXUW, pmaxuw)
PACKED_XMM(PMINSD, pminsd)
PACKED_XMM(PMAXSD, pmaxsd)
PACKED_XMM(PMINUD, pminud)
PACKED_XMM(PMAXUD, pmaxud)

/* -- Logic; the floating-point mnemonics differ only in name -- */

LANES(pand, u64, x &y)
LANES(pandn, u64, ~x &y)
LANES(por, u64, x | y)
LANES(pxor, u64, x ^ y)

PACKED(PAND, pand)
PACKED(PANDN, pandn)
PACKED(POR, por)
PACKED(PXOR, pxor)
PACKED_XMM(ANDPS, pand)
PACKED_XMM(ANDPD, pand)
PACKED_XMM(ANDNPS, pandn)
PACKED_XMM(ANDNPD, pandn)
PACKED_XMM(ORPS, por)
PACKED_XMM(ORPD, por)
PACKED_XMM(XORPS, pxor)
PACKED_XMM(XORPD, pxor)

/* CF: nothing of b outside a. ZF: nothing of b inside a. Only bits of `mask` count. */
INLINE void ptest(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                  uint64_t mask)
{
    vector_begin(cpu, form);
    union vector b = vector_operand(cpu, insn, 1, mem, form);
    union vector a = vector_get(cpu, insn->operand[0].reg, form);
    uint64_t inside = 0, outside = 0;
    for (unsigned i = 0; i < form_bytes(form) / 8; i++) {
        inside |= a.u64[i] & b.u64[i] & mask;
        outside |= ~a.u64[i] & b.u64[i] & mask;
    }
    cpu->eflags =
        flags_merge(cpu->eflags, FLAG_ARITH, (inside ? 0 : FLAG_ZF) | (outside ? 0 : FLAG_CF));
}

EXEC_VECTOR(PTEST, ptest, UINT64_MAX)
EXEC_VEX(VTESTPS, ptest, 0x8000000080000000)
EXEC_VEX(VTESTPD, ptest, 0x8000000000000000)

/* -- Shifts: the count is an immediate or the low quadword of operand 1 -- */

#define SHIFT(name, lane, overlong, expression)                                                    \
    INLINE union xmm name(union xmm a, uint64_t count, unsigned bytes)                             \
    {                                                                                              \
        union xmm result = a;                                                                      \
        const unsigned width = sizeof a.lane[0] * 8;                                               \
        unsigned n = count < width ? (unsigned)count : width - 1;                                  \
        for (unsigned i = 0; i < bytes / sizeof a.lane[0]; i++) {                                  \
            __typeof__(a.lane[0]) x = a.lane[i];                                                   \
            result.lane[i] = (__typeof__(x))(count < width ? (expression) : (overlong));           \
        }                                                                                          \
        return result;                                                                             \
    }

SHIFT(psllw, u16, 0, x << n)
SHIFT(pslld, u32, 0, x << n)
SHIFT(psllq, u64, 0, x << n)
SHIFT(psrlw, u16, 0, x >> n)
SHIFT(psrld, u32, 0, x >> n)
SHIFT(psrlq, u64, 0, x >> n)
SHIFT(psraw, s16, x >> n, x >> n)
SHIFT(psrad, s32, x >> n, x >> n)

typedef union xmm shift_kernel(union xmm a, uint64_t count, unsigned bytes);

INLINE void vector_shift(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                         shift_kernel *kernel)
{
    vector_begin(cpu, form);
    const unsigned first = first_source(form);
    uint64_t count = insn->operand[first + 1].kind == OPERAND_IMM
                         ? (uint8_t)insn->imm
                         : xmm_operand(cpu, insn, first + 1, mem, form).u64[0];
    union vector a = vector_get(cpu, insn->operand[first].reg, form);
    for (unsigned i = 0; i < form_halves(form); i++)
        half_set(&a, i, kernel(half_get(&a, i), count, 16));
    vector_set(cpu, insn->operand[0].reg, &a, form);
}

INLINE void mmx_shift(struct cpu *cpu, const struct insn *insn, bool mem, shift_kernel *kernel)
{
    mmx_begin(cpu);
    uint64_t count = insn->operand[1].kind == OPERAND_IMM
                         ? (uint8_t)insn->imm
                         : mmx_operand(cpu, insn, 1, mem, 8).u64[0];
    unsigned reg = insn->operand[0].reg;
    mmx_set(cpu, reg, kernel(mmx_get(cpu, reg), count, 8).u64[0]);
}

#define PACKED_SHIFT(MNEMONIC, kernel)                                                             \
    EXEC_VECTOR(MNEMONIC, vector_shift, kernel)                                                    \
    EXEC_FORMS(MNEMONIC##_MMX, mmx_shift(cpu, insn, false, kernel),                                \
               mmx_shift(cpu, insn, true, kernel))

PACKED_SHIFT(PSLLW, psllw)
PACKED_SHIFT(PSLLD, pslld)
PACKED_SHIFT(PSLLQ, psllq)
PACKED_SHIFT(PSRLW, psrlw)
PACKED_SHIFT(PSRLD, psrld)
PACKED_SHIFT(PSRLQ, psrlq)
PACKED_SHIFT(PSRAW, psraw)
PACKED_SHIFT(PSRAD, psrad)

/* Whole register, by bytes. */
INLINE union xmm pslldq(union xmm a, uint64_t count, unsigned bytes)
{
    union xmm result = {{0}};
    unsigned n = count < bytes ? (unsigned)count : bytes;
    memcpy(result.u8 + n, a.u8, bytes - n);
    return result;
}

INLINE union xmm psrldq(union xmm a, uint64_t count, unsigned bytes)
{
    union xmm result = {{0}};
    unsigned n = count < bytes ? (unsigned)count : bytes;
    memcpy(result.u8, a.u8 + n, bytes - n);
    return result;
}

EXEC_VECTOR(PSLLDQ, vector_shift, pslldq)
EXEC_VECTOR(PSRLDQ, vector_shift, psrldq)

/* -- AVX2: each lane by a count of its own; overlong ones as above -- */

#define SHIFT_VARIABLE(name, lane, overlong, expression)                                           \
    INLINE union xmm name(union xmm a, union xmm b, unsigned bytes)                                \
    {                                                                                              \
        const unsigned width = sizeof a.lane[0] * 8;                                               \
        for (unsigned i = 0; i < bytes / sizeof a.lane[0]; i++) {                                  \
            __typeof__(a.lane[0]) x = a.lane[i];                                                   \
            __typeof__(b.lane[0]) count = b.lane[i];                                               \
            bool fits = (uint64_t)count < width;                                                   \
            unsigned n = fits ? (unsigned)count : width - 1;                                       \
            a.lane[i] = (__typeof__(x))(fits ? (expression) : (overlong));                         \
        }                                                                                          \
        return a;                                                                                  \
    }

SHIFT_VARIABLE(psllvd, u32, 0, x << n)
SHIFT_VARIABLE(psllvq, u64, 0, x << n)
SHIFT_VARIABLE(psrlvd, u32, 0, x >> n)
SHIFT_VARIABLE(psrlvq, u64, 0, x >> n)
SHIFT_VARIABLE(psravd, s32, x >> n, x >> n)
EXEC_VEX(VPSLLVD, vector_binary, psllvd)
EXEC_VEX(VPSLLVQ, vector_binary, psllvq)
EXEC_VEX(VPSRLVD, vector_binary, psrlvd)
EXEC_VEX(VPSRLVQ, vector_binary, psrlvq)
EXEC_VEX(VPSRAVD, vector_binary, psravd)
