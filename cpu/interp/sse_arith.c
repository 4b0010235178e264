/* SSE floating-point arithmetic and comparison, packed and scalar. */
#include "cpu/interp/sse_float.h"

/* When lanes raise exceptions known before computing, the others do not happen (SDM 11.5.3). */
_Noreturn void sse_exception(struct cpu *cpu, unsigned flags)
{
    if (flags & ~(cpu->mxcsr >> MXCSR_MASK_SHIFT) & FP_BEFORE)
        flags &= FP_BEFORE;
    cpu->mxcsr |= flags;
    if (!(cpu->cr4 & CR4_OSXMMEXCPT))
        cpu_raise_ud(cpu);
    cpu_raise(cpu, EXC_XM, 0);
}

/* -- Lane by lane: `expression` of env, x (destination's lane) and y (source's) -- */

#define FLOAT_LOOP(lane, lanes, expression)                                                        \
    struct fp_env fp = sse_env(cpu), *env = &fp;                                                   \
    for (unsigned i = 0; i < (lanes); i++) {                                                       \
        __typeof__(a.lane[0]) x = a.lane[i], y = b.lane[i];                                        \
        (void)x;                                                                                   \
        a.lane[i] = (expression);                                                                  \
    }                                                                                              \
    sse_commit(cpu, fp.flags);

#define FLOAT_OPERANDS(lane, lanes)                                                                \
    sse_begin(cpu);                                                                                \
    union xmm a = xmm_get(cpu, insn->operand[0].reg), b;                                           \
    if ((lanes) == 1)                                                                              \
        b = xmm_low(cpu, insn, 1, mem, (unsigned)sizeof a.lane[0]);                                \
    else                                                                                           \
        b = xmm_operand(cpu, insn, 1, mem, true);

#define FLOAT_LANES(MNEMONIC, lane, lanes, expression)                                             \
    INLINE void MNEMONIC##_float(struct cpu *cpu, const struct insn *insn, bool mem)               \
    {                                                                                              \
        FLOAT_OPERANDS(lane, lanes)                                                                \
        FLOAT_LOOP(lane, lanes, expression)                                                        \
        xmm_set(cpu, insn->operand[0].reg, a);                                                     \
    }                                                                                              \
    EXEC_FORMS(MNEMONIC, MNEMONIC##_float(cpu, insn, false), MNEMONIC##_float(cpu, insn, true))

/* The same, with an instruction of x86 hosts that does it too. */
#define FLOAT_HOST_LANES(MNEMONIC, instruction, lane, lanes, expression)                           \
    HOST_BINARY(MNEMONIC, instruction)                                                             \
    INLINE void MNEMONIC##_float(struct cpu *cpu, const struct insn *insn, bool mem)               \
    {                                                                                              \
        FLOAT_OPERANDS(lane, lanes)                                                                \
        if (can_use_host(cpu)) {                                                                   \
            a = host_##MNEMONIC(&cpu->mxcsr, a, b);                                                \
        } else {                                                                                   \
            FLOAT_LOOP(lane, lanes, expression)                                                    \
        }                                                                                          \
        xmm_set(cpu, insn->operand[0].reg, a);                                                     \
    }                                                                                              \
    EXEC_FORMS(MNEMONIC, MNEMONIC##_float(cpu, insn, false), MNEMONIC##_float(cpu, insn, true))

#define FLOAT_BINARY(OP, op)                                                                       \
    FLOAT_HOST_LANES(OP##PS, #op "ps", u32, 4, f32_##op(env, x, y))                                \
    FLOAT_HOST_LANES(OP##PD, #op "pd", u64, 2, f64_##op(env, x, y))                                \
    FLOAT_HOST_LANES(OP##SS, #op "ss", u32, 1, f32_##op(env, x, y))                                \
    FLOAT_HOST_LANES(OP##SD, #op "sd", u64, 1, f64_##op(env, x, y))

FLOAT_BINARY(ADD, add)
FLOAT_BINARY(SUB, sub)
FLOAT_BINARY(MUL, mul)
FLOAT_BINARY(DIV, div)
FLOAT_BINARY(MIN, min)
FLOAT_BINARY(MAX, max)
FLOAT_HOST_LANES(SQRTPS, "sqrtps", u32, 4, f32_sqrt(env, y))
FLOAT_HOST_LANES(SQRTPD, "sqrtpd", u64, 2, f64_sqrt(env, y))
FLOAT_HOST_LANES(SQRTSS, "sqrtss", u32, 1, f32_sqrt(env, y))
FLOAT_HOST_LANES(SQRTSD, "sqrtsd", u64, 1, f64_sqrt(env, y))
FLOAT_LANES(ADDSUBPS, u32, 4, i & 1 ? f32_add(env, x, y) : f32_sub(env, x, y))
FLOAT_LANES(ADDSUBPD, u64, 2, i & 1 ? f64_add(env, x, y) : f64_sub(env, x, y))

/* -- Comparison with a predicate -- */

INLINE bool predicate_holds(enum fp_relation relation, unsigned predicate)
{
    bool unordered = relation == FP_UNORDERED;
    switch (predicate & 3) {
    case 0: /* EQ, NEQ */
        return (relation == FP_EQUAL) != (predicate >> 2);
    case 1: /* LT, NLT */
        return (relation == FP_LESS) != (predicate >> 2);
    case 2: /* LE, NLE */
        return (relation == FP_LESS || relation == FP_EQUAL) != (predicate >> 2);
    default: /* UNORD, ORD */
        return unordered != (predicate >> 2);
    }
}

/* EQ, UNORD, NEQ and ORD accept quiet NaNs, the others signal. */
#define PREDICATE(F)                                                                               \
    predicate_holds(F##_compare(env, x, y, (insn->imm & 3) == 0 || (insn->imm & 3) == 3),          \
                    insn->imm & 7)

FLOAT_LANES(CMPPS, u32, 4, PREDICATE(f32) ? ~0u : 0)
FLOAT_LANES(CMPPD, u64, 2, PREDICATE(f64) ? ~0ull : 0)
FLOAT_LANES(CMPSS, u32, 1, PREDICATE(f32) ? ~0u : 0)
FLOAT_LANES(CMPSD_SSE, u64, 1, PREDICATE(f64) ? ~0ull : 0)

/* -- Comparison into EFLAGS -- */

#define COMI(MNEMONIC, F, lane, quiet)                                                             \
    INLINE void MNEMONIC##_comi(struct cpu *cpu, const struct insn *insn, bool mem)                \
    {                                                                                              \
        sse_begin(cpu);                                                                            \
        union xmm a = xmm_get(cpu, insn->operand[0].reg);                                          \
        union xmm b = xmm_low(cpu, insn, 1, mem, (unsigned)sizeof a.lane[0]);                      \
        struct fp_env env = sse_env(cpu);                                                          \
        enum fp_relation relation = F##_compare(&env, a.lane[0], b.lane[0], quiet);                \
        sse_commit(cpu, env.flags);                                                                \
        cpu->eflags = flags_merge(cpu->eflags, FLAG_ARITH, fp_relation_eflags(relation));          \
    }                                                                                              \
    EXEC_FORMS(MNEMONIC, MNEMONIC##_comi(cpu, insn, false), MNEMONIC##_comi(cpu, insn, true))

COMI(COMISS, f32, u32, false)
COMI(COMISD, f64, u64, false)
COMI(UCOMISS, f32, u32, true)
COMI(UCOMISD, f64, u64, true)

/* -- Horizontal -- */

#define FLOAT_HORIZONTAL(MNEMONIC, lane, half, function)                                           \
    INLINE void MNEMONIC##_horizontal(struct cpu *cpu, const struct insn *insn, bool mem)          \
    {                                                                                              \
        sse_begin(cpu);                                                                            \
        union xmm a = xmm_get(cpu, insn->operand[0].reg), result = a;                              \
        union xmm b = xmm_operand(cpu, insn, 1, mem, true);                                        \
        struct fp_env env = sse_env(cpu);                                                          \
        for (unsigned i = 0; i < (half); i++) {                                                    \
            result.lane[i] = function(&env, a.lane[2 * i], a.lane[2 * i + 1]);                     \
            result.lane[(half) + i] = function(&env, b.lane[2 * i], b.lane[2 * i + 1]);            \
        }                                                                                          \
        sse_commit(cpu, env.flags);                                                                \
        xmm_set(cpu, insn->operand[0].reg, result);                                                \
    }                                                                                              \
    EXEC_FORMS(MNEMONIC, MNEMONIC##_horizontal(cpu, insn, false),                                  \
               MNEMONIC##_horizontal(cpu, insn, true))

FLOAT_HORIZONTAL(HADDPS, u32, 2, f32_add)
FLOAT_HORIZONTAL(HADDPD, u64, 1, f64_add)
FLOAT_HORIZONTAL(HSUBPS, u32, 2, f32_sub)
FLOAT_HORIZONTAL(HSUBPD, u64, 1, f64_sub)

/* -- Dot products: imm 7-4 select the products, imm 3-0 where the sum goes -- */

INLINE void dpps(struct cpu *cpu, const struct insn *insn, bool mem)
{
    sse_begin(cpu);
    union xmm a = xmm_get(cpu, insn->operand[0].reg), product = {{0}};
    union xmm b = xmm_operand(cpu, insn, 1, mem, true);
    struct fp_env env = sse_env(cpu);
    for (unsigned i = 0; i < 4; i++)
        if (insn->imm >> (4 + i) & 1)
            product.u32[i] = f32_mul(&env, a.u32[i], b.u32[i]);
    sse_commit(cpu, env.flags);
    uint32_t low = f32_add(&env, product.u32[0], product.u32[1]);
    uint32_t high = f32_add(&env, product.u32[2], product.u32[3]);
    sse_commit(cpu, env.flags);
    uint32_t sum = f32_add(&env, low, high);
    sse_commit(cpu, env.flags);
    for (unsigned i = 0; i < 4; i++)
        a.u32[i] = insn->imm >> i & 1 ? sum : 0;
    xmm_set(cpu, insn->operand[0].reg, a);
}

INLINE void dppd(struct cpu *cpu, const struct insn *insn, bool mem)
{
    sse_begin(cpu);
    union xmm a = xmm_get(cpu, insn->operand[0].reg), product = {{0}};
    union xmm b = xmm_operand(cpu, insn, 1, mem, true);
    struct fp_env env = sse_env(cpu);
    for (unsigned i = 0; i < 2; i++)
        if (insn->imm >> (4 + i) & 1)
            product.u64[i] = f64_mul(&env, a.u64[i], b.u64[i]);
    sse_commit(cpu, env.flags);
    uint64_t sum = f64_add(&env, product.u64[0], product.u64[1]);
    sse_commit(cpu, env.flags);
    for (unsigned i = 0; i < 2; i++)
        a.u64[i] = insn->imm >> i & 1 ? sum : 0;
    xmm_set(cpu, insn->operand[0].reg, a);
}

EXEC_FORMS(DPPS, dpps(cpu, insn, false), dpps(cpu, insn, true))
EXEC_FORMS(DPPD, dppd(cpu, insn, false), dppd(cpu, insn, true))

/*
 * -- Approximations --
 *
 * RCP and RSQRT promise a relative error of at most 1.5 * 2^-12 and every processor family differs
 * within that. On x86 hosts the host decides, as it does for translated code; elsewhere the exact
 * result, rounded to 12 bits. Denormals count as zero, MXCSR is neither obeyed nor changed.
 */

#if defined(__SSE__)
#include <xmmintrin.h>

INLINE uint32_t approximate_rcp(uint32_t a)
{
    __m128 x;
    memcpy(&x, (uint32_t[4]){a}, 16);
    x = _mm_rcp_ss(x);
    memcpy(&a, &x, 4);
    return a;
}

INLINE uint32_t approximate_rsqrt(uint32_t a)
{
    __m128 x;
    memcpy(&x, (uint32_t[4]){a}, 16);
    x = _mm_rsqrt_ss(x);
    memcpy(&a, &x, 4);
    return a;
}

#else

static uint32_t approximate(uint32_t a, bool root)
{
    struct fp_env env = {.masked = FP_EXCEPTIONS, .daz = true, .ftz = true};
    uint32_t divisor = root ? f32_sqrt(&env, a) : a;
    uint32_t result = f32_div(&env, 0x3f800000, divisor);
    if ((result >> 23 & 255) == 255)
        return result;
    return (result + (1u << 11)) & ~0xfffu;
}

static uint32_t approximate_rcp(uint32_t a)
{
    return approximate(a, false);
}

static uint32_t approximate_rsqrt(uint32_t a)
{
    return approximate(a, true);
}

#endif

#define APPROXIMATION(MNEMONIC, lanes, function)                                                   \
    INLINE void MNEMONIC##_approximation(struct cpu *cpu, const struct insn *insn, bool mem)       \
    {                                                                                              \
        sse_begin(cpu);                                                                            \
        union xmm a = xmm_get(cpu, insn->operand[0].reg);                                          \
        union xmm b =                                                                              \
            (lanes) == 1 ? xmm_low(cpu, insn, 1, mem, 4) : xmm_operand(cpu, insn, 1, mem, true);   \
        for (unsigned i = 0; i < (lanes); i++)                                                     \
            a.u32[i] = function(b.u32[i]);                                                         \
        xmm_set(cpu, insn->operand[0].reg, a);                                                     \
    }                                                                                              \
    EXEC_FORMS(MNEMONIC, MNEMONIC##_approximation(cpu, insn, false),                               \
               MNEMONIC##_approximation(cpu, insn, true))

APPROXIMATION(RCPPS, 4, approximate_rcp)
APPROXIMATION(RCPSS, 1, approximate_rcp)
APPROXIMATION(RSQRTPS, 4, approximate_rsqrt)
APPROXIMATION(RSQRTSS, 1, approximate_rsqrt)

/* -- Rounding to integral values: imm 1-0 rounding mode, 2 take MXCSR.RC, 3 no PE -- */

INLINE enum fp_rounding immediate_rounding(const struct fp_env *env, const struct insn *insn)
{
    return (enum fp_rounding)(insn->imm & 4 ? env->rounding : insn->imm & 3);
}

#define ROUND_IMMEDIATE(F, T)                                                                      \
    static T F##_round_immediate(struct fp_env *env, T value, const struct insn *insn)             \
    {                                                                                              \
        T result = F##_round_to_int(env, value, immediate_rounding(env, insn));                    \
        if (insn->imm & 8)                                                                         \
            env->flags &= (uint16_t)~FP_INEXACT;                                                   \
        return result;                                                                             \
    }

ROUND_IMMEDIATE(f32, uint32_t)
ROUND_IMMEDIATE(f64, uint64_t)
FLOAT_LANES(ROUNDPS, u32, 4, f32_round_immediate(env, y, insn))
FLOAT_LANES(ROUNDPD, u64, 2, f64_round_immediate(env, y, insn))
FLOAT_LANES(ROUNDSS, u32, 1, f32_round_immediate(env, y, insn))
FLOAT_LANES(ROUNDSD, u64, 1, f64_round_immediate(env, y, insn))
