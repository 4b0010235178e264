/* SSE conversions between integers, float32 and float64, in vector, MMX and general registers;
 * F16C. */
#include "cpu/interp/sse_float.h"

/* -- Packed: lane i of `to` from lane i of `from`, `lanes` for each 128 bits; the rest of the
 * result is zero -- */

#define CONVERT_FUNCTION(MNEMONIC, from, to, lanes, expression)                                    \
    INLINE void MNEMONIC##_convert(struct cpu *cpu, const struct insn *insn, bool mem,             \
                                   enum vector_form form)                                          \
    {                                                                                              \
        union vector b, result = {{0}};                                                            \
        const unsigned count = (lanes)*form_halves(form);                                          \
        vector_begin(cpu, form);                                                                   \
        b = vector_low(cpu, insn, 1, mem, form, count * (unsigned)sizeof b.from[0]);               \
        struct fp_env fp = sse_env(cpu), *env = &fp;                                               \
        for (unsigned i = 0; i < count; i++) {                                                     \
            __typeof__(b.from[0]) x = b.from[i];                                                   \
            result.to[i] = (__typeof__(b.to[0]))(expression);                                      \
        }                                                                                          \
        sse_commit(cpu, fp.flags);                                                                 \
        vector_set(cpu, insn->operand[0].reg, &result, form);                                      \
    }
#define CONVERT(MNEMONIC, from, to, lanes, expression)                                             \
    CONVERT_FUNCTION(MNEMONIC, from, to, lanes, expression)                                        \
    EXEC_VECTOR(MNEMONIC, MNEMONIC##_convert)
#define CONVERT_VEX(MNEMONIC, from, to, lanes, expression)                                         \
    CONVERT_FUNCTION(MNEMONIC, from, to, lanes, expression)                                        \
    EXEC_VEX(MNEMONIC, MNEMONIC##_convert)

CONVERT(CVTDQ2PS, s32, u32, 4, f32_from_int(env, x))
CONVERT(CVTDQ2PD, s32, u64, 2, f64_from_int(env, x))
CONVERT(CVTPS2DQ, u32, s32, 4, f32_to_int(env, x, 32, env->rounding))
CONVERT(CVTTPS2DQ, u32, s32, 4, f32_to_int(env, x, 32, FP_TOWARD_ZERO))
CONVERT(CVTPD2DQ, u64, s32, 2, f64_to_int(env, x, 32, env->rounding))
CONVERT(CVTTPD2DQ, u64, s32, 2, f64_to_int(env, x, 32, FP_TOWARD_ZERO))
CONVERT(CVTPS2PD, u32, u64, 2, f32_to_f64(env, x))
CONVERT(CVTPD2PS, u64, u32, 2, f64_to_f32(env, x))

/* -- Scalar XMM to XMM: the rest of the first source stays -- */

INLINE void cvtss2sd(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    union xmm a = xmm_get(cpu, insn->operand[first_source(form)].reg);
    union xmm b = xmm_low(cpu, insn, first_source(form) + 1, mem, 4);
    struct fp_env env = sse_env(cpu);
    a.u64[0] = f32_to_f64(&env, b.u32[0]);
    sse_commit(cpu, env.flags);
    vector_set_xmm(cpu, insn->operand[0].reg, a, form);
}

INLINE void cvtsd2ss(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    union xmm a = xmm_get(cpu, insn->operand[first_source(form)].reg);
    union xmm b = xmm_low(cpu, insn, first_source(form) + 1, mem, 8);
    struct fp_env env = sse_env(cpu);
    a.u32[0] = f64_to_f32(&env, b.u64[0]);
    sse_commit(cpu, env.flags);
    vector_set_xmm(cpu, insn->operand[0].reg, a, form);
}

EXEC_VECTOR128(CVTSS2SD, cvtss2sd)
EXEC_VECTOR128(CVTSD2SS, cvtsd2ss)

/* -- General registers -- */

#define FROM_GPR(MNEMONIC, F, lane)                                                                \
    INLINE void MNEMONIC##_convert(struct cpu *cpu, const struct insn *insn, bool mem,             \
                                   enum vector_form form)                                          \
    {                                                                                              \
        vector_begin(cpu, form);                                                                   \
        const unsigned first = first_source(form);                                                 \
        unsigned size = insn->operand[first + 1].size == 8 ? 8 : 4;                                \
        int64_t value = sign_extend(operand_read(cpu, insn, first + 1, size, mem), size);          \
        union xmm a = xmm_get(cpu, insn->operand[first].reg);                                      \
        struct fp_env env = sse_env(cpu);                                                          \
        a.lane[0] = F##_from_int(&env, value);                                                     \
        sse_commit(cpu, env.flags);                                                                \
        vector_set_xmm(cpu, insn->operand[0].reg, a, form);                                        \
    }                                                                                              \
    EXEC_VECTOR128(MNEMONIC, MNEMONIC##_convert)

FROM_GPR(CVTSI2SS, f32, u32)
FROM_GPR(CVTSI2SD, f64, u64)

#define TO_GPR(MNEMONIC, F, lane, rounding_mode)                                                   \
    INLINE void MNEMONIC##_convert(struct cpu *cpu, const struct insn *insn, bool mem,             \
                                   enum vector_form form)                                          \
    {                                                                                              \
        union xmm b;                                                                               \
        vector_begin(cpu, form);                                                                   \
        b = xmm_low(cpu, insn, 1, mem, (unsigned)sizeof b.lane[0]);                                \
        unsigned size = insn->operand[0].size == 8 ? 8 : 4;                                        \
        struct fp_env env = sse_env(cpu);                                                          \
        int64_t result = F##_to_int(&env, b.lane[0], size * 8, (enum fp_rounding)(rounding_mode)); \
        sse_commit(cpu, env.flags);                                                                \
        gpr_write(cpu, insn->operand[0].reg, size, (uint64_t)result);                              \
    }                                                                                              \
    EXEC_VECTOR128(MNEMONIC, MNEMONIC##_convert)

TO_GPR(CVTSS2SI, f32, u32, env.rounding)
TO_GPR(CVTSD2SI, f64, u64, env.rounding)
TO_GPR(CVTTSS2SI, f32, u32, FP_TOWARD_ZERO)
TO_GPR(CVTTSD2SI, f64, u64, FP_TOWARD_ZERO)

/*
 * -- float16 (F16C) --
 *
 * Denormal float16 are ordinary values whatever MXCSR.DAZ says, and never flagged. Conversion to
 * float16 obeys DAZ and ignores FTZ. Its imm 1-0 is the rounding mode, 2 takes MXCSR.RC.
 */
CONVERT_VEX(VCVTPH2PS, u16, u32, 4, f16_to_f32(env, x))

INLINE void vcvtps2ph(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    const unsigned size = form_bytes(form) / 2;
    gva_t gva = mem ? insn_linear(cpu, insn, size, ACCESS_WRITE) : 0;
    union vector b = vector_get(cpu, insn->operand[1].reg, form), result = {{0}};
    struct fp_env env = sse_env(cpu);
    if (!(insn->imm & 4))
        env.rounding = insn->imm & 3;
    for (unsigned i = 0; i < size / 2; i++)
        result.u16[i] = f32_to_f16(&env, b.u32[i]);
    if (mem)
        mem_probe_write(cpu, gva, size); /* a page fault comes first */
    sse_commit(cpu, env.flags);
    if (!mem)
        vector_set_xmm(cpu, insn->operand[0].reg, half_get(&result, 0), form);
    else
        mem_write_bytes(cpu, gva, &result, size);
}

EXEC_VEX(VCVTPS2PH, vcvtps2ph)

/* -- MMX registers. A memory operand in place of one leaves the x87 alone -- */

INLINE void cvtpi2ps(struct cpu *cpu, const struct insn *insn, bool mem)
{
    sse_begin(cpu);
    if (!mem)
        mmx_begin(cpu);
    union xmm b = mmx_operand(cpu, insn, 1, mem, 8);
    union xmm result = xmm_get(cpu, insn->operand[0].reg);
    struct fp_env env = sse_env(cpu);
    for (unsigned i = 0; i < 2; i++)
        result.u32[i] = f32_from_int(&env, b.s32[i]);
    sse_commit(cpu, env.flags);
    xmm_set(cpu, insn->operand[0].reg, result);
    if (!mem)
        mmx_enter(cpu);
}

INLINE void cvtpi2pd(struct cpu *cpu, const struct insn *insn, bool mem)
{
    sse_begin(cpu);
    if (!mem)
        mmx_begin(cpu);
    union xmm b = mmx_operand(cpu, insn, 1, mem, 8), result;
    struct fp_env env = sse_env(cpu);
    for (unsigned i = 0; i < 2; i++)
        result.u64[i] = f64_from_int(&env, b.s32[i]);
    xmm_set(cpu, insn->operand[0].reg, result);
    if (!mem)
        mmx_enter(cpu);
}

EXEC_FORMS(CVTPI2PS, cvtpi2ps(cpu, insn, false), cvtpi2ps(cpu, insn, true))
EXEC_FORMS(CVTPI2PD, cvtpi2pd(cpu, insn, false), cvtpi2pd(cpu, insn, true))

INLINE void float32_to_mmx(struct cpu *cpu, const struct insn *insn, bool mem, bool truncate)
{
    sse_begin(cpu);
    mmx_begin(cpu);
    union xmm b = xmm_low(cpu, insn, 1, mem, 8), result;
    struct fp_env env = sse_env(cpu);
    enum fp_rounding rounding = truncate ? FP_TOWARD_ZERO : (enum fp_rounding)env.rounding;
    for (unsigned i = 0; i < 2; i++)
        result.s32[i] = (int32_t)f32_to_int(&env, b.u32[i], 32, rounding);
    sse_commit(cpu, env.flags);
    mmx_set(cpu, insn->operand[0].reg, result.u64[0]);
}

INLINE void float64_to_mmx(struct cpu *cpu, const struct insn *insn, bool mem, bool truncate)
{
    sse_begin(cpu);
    mmx_begin(cpu);
    union xmm b = xmm_operand(cpu, insn, 1, mem, SSE), result;
    struct fp_env env = sse_env(cpu);
    enum fp_rounding rounding = truncate ? FP_TOWARD_ZERO : (enum fp_rounding)env.rounding;
    for (unsigned i = 0; i < 2; i++)
        result.s32[i] = (int32_t)f64_to_int(&env, b.u64[i], 32, rounding);
    sse_commit(cpu, env.flags);
    mmx_set(cpu, insn->operand[0].reg, result.u64[0]);
}

EXEC_FORMS(CVTPS2PI, float32_to_mmx(cpu, insn, false, false),
           float32_to_mmx(cpu, insn, true, false))
EXEC_FORMS(CVTTPS2PI, float32_to_mmx(cpu, insn, false, true), float32_to_mmx(cpu, insn, true, true))
EXEC_FORMS(CVTPD2PI, float64_to_mmx(cpu, insn, false, false),
           float64_to_mmx(cpu, insn, true, false))
EXEC_FORMS(CVTTPD2PI, float64_to_mmx(cpu, insn, false, true), float64_to_mmx(cpu, insn, true, true))
