/* SSE and AVX floating-point arithmetic and comparison, packed and scalar. */
#include "cpu/host.h"
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

/*
 * -- Lane by lane: `expression` of env, x (first source's lane) and y (second source's) --
 *
 * `lanes` is the number in 128 bits; 1 is a scalar, whose instruction passes on the rest of its
 * first source. UNARY instructions have one source only (scalars have two, always).
 */
enum { UNARY = 1, BINARY = 2 };

#define FLOAT_LOOP(lane, count, expression)                                                        \
    struct fp_env fp = sse_env(cpu), *env = &fp;                                                   \
    for (unsigned i = 0; i < (count); i++) {                                                       \
        __typeof__(a.lane[0]) x = a.lane[i], y = b.lane[i];                                        \
        (void)x;                                                                                   \
        a.lane[i] = (expression);                                                                  \
    }                                                                                              \
    sse_commit(cpu, fp.flags);

#define FLOAT_OPERANDS(lane, lanes, sources)                                                       \
    vector_begin(cpu, form);                                                                       \
    const unsigned first = (sources) == BINARY ? first_source(form) : 0;                           \
    const unsigned count = (lanes) == 1 ? 1 : (lanes)*form_halves(form);                           \
    union vector a = vector_get(cpu, insn->operand[first].reg, form), b;                           \
    if ((lanes) == 1)                                                                              \
        b = vector_low(cpu, insn, first + 1, mem, form, (unsigned)sizeof a.lane[0]);               \
    else                                                                                           \
        b = vector_operand(cpu, insn, first + 1, mem, form);

#define FLOAT_FUNCTION(MNEMONIC, lane, lanes, sources, expression)                                 \
    INLINE void MNEMONIC##_float(struct cpu *cpu, const struct insn *insn, bool mem,               \
                                 enum vector_form form)                                            \
    {                                                                                              \
        FLOAT_OPERANDS(lane, lanes, sources)                                                       \
        FLOAT_LOOP(lane, count, expression)                                                        \
        vector_set(cpu, insn->operand[0].reg, &a, form);                                           \
    }

/* The same, with an instruction of x86 hosts that does it too. */
#define FLOAT_HOST_FUNCTION(MNEMONIC, instruction, lane, lanes, sources, expression)               \
    HOST_BINARY(MNEMONIC, instruction)                                                             \
    INLINE void MNEMONIC##_float(struct cpu *cpu, const struct insn *insn, bool mem,               \
                                 enum vector_form form)                                            \
    {                                                                                              \
        FLOAT_OPERANDS(lane, lanes, sources)                                                       \
        if (can_use_host(cpu)) {                                                                   \
            for (unsigned i = 0; i < form_halves(form); i++)                                       \
                half_set(&a, i, host_##MNEMONIC(&cpu->mxcsr, half_get(&a, i), half_get(&b, i)));   \
        } else {                                                                                   \
            FLOAT_LOOP(lane, count, expression)                                                    \
        }                                                                                          \
        vector_set(cpu, insn->operand[0].reg, &a, form);                                           \
    }

#define FLOAT_PACKED(MNEMONIC, lane, lanes, sources, expression)                                   \
    FLOAT_FUNCTION(MNEMONIC, lane, lanes, sources, expression)                                     \
    EXEC_VECTOR(MNEMONIC, MNEMONIC##_float)
#define FLOAT_SCALAR(MNEMONIC, lane, expression)                                                   \
    FLOAT_FUNCTION(MNEMONIC, lane, 1, BINARY, expression)                                          \
    EXEC_VECTOR128(MNEMONIC, MNEMONIC##_float)
#define FLOAT_HOST_PACKED(MNEMONIC, instruction, lane, lanes, sources, expression)                 \
    FLOAT_HOST_FUNCTION(MNEMONIC, instruction, lane, lanes, sources, expression)                   \
    EXEC_VECTOR(MNEMONIC, MNEMONIC##_float)
#define FLOAT_HOST_SCALAR(MNEMONIC, instruction, lane, expression)                                 \
    FLOAT_HOST_FUNCTION(MNEMONIC, instruction, lane, 1, BINARY, expression)                        \
    EXEC_VECTOR128(MNEMONIC, MNEMONIC##_float)

#define FLOAT_BINARY(OP, op)                                                                       \
    FLOAT_HOST_PACKED(OP##PS, #op "ps", u32, 4, BINARY, f32_##op(env, x, y))                       \
    FLOAT_HOST_PACKED(OP##PD, #op "pd", u64, 2, BINARY, f64_##op(env, x, y))                       \
    FLOAT_HOST_SCALAR(OP##SS, #op "ss", u32, f32_##op(env, x, y))                                  \
    FLOAT_HOST_SCALAR(OP##SD, #op "sd", u64, f64_##op(env, x, y))

FLOAT_BINARY(ADD, add)
FLOAT_BINARY(SUB, sub)
FLOAT_BINARY(MUL, mul)
FLOAT_BINARY(DIV, div)
FLOAT_BINARY(MIN, min)
FLOAT_BINARY(MAX, max)
FLOAT_HOST_PACKED(SQRTPS, "sqrtps", u32, 4, UNARY, f32_sqrt(env, y))
FLOAT_HOST_PACKED(SQRTPD, "sqrtpd", u64, 2, UNARY, f64_sqrt(env, y))
FLOAT_HOST_SCALAR(SQRTSS, "sqrtss", u32, f32_sqrt(env, y))
FLOAT_HOST_SCALAR(SQRTSD, "sqrtsd", u64, f64_sqrt(env, y))
FLOAT_PACKED(ADDSUBPS, u32, 4, BINARY, i & 1 ? f32_add(env, x, y) : f32_sub(env, x, y))
FLOAT_PACKED(ADDSUBPD, u64, 2, BINARY, i & 1 ? f64_add(env, x, y) : f64_sub(env, x, y))

/*
 * -- Comparison with a predicate (SDM 2A, table 3-1) --
 *
 * SSE has the first 8, VEX 32: 16 relations and these again with the other view of quiet NaNs.
 */

INLINE unsigned predicate_of(const struct insn *insn, enum vector_form form)
{
    return (unsigned)insn->imm & (form == SSE ? 7 : 31);
}

INLINE bool predicate_holds(enum fp_relation relation, unsigned predicate)
{
    enum { L = 1, E = 2, G = 4, U = 8 };
    static const uint8_t relations[16] = {
        E,         L,         L | E,     U,
        L | G | U, E | G | U, G | U,     L | E | G, /* EQ LT LE UNORD and their opposites */
        E | U,     L | U,     L | E | U, 0,
        L | G,     E | G,     G,         L | E | G | U, /* EQ_U NGE NGT FALSE and theirs */
    };
    static const uint8_t bits[4] = {L, E, G, U};
    return relations[predicate & 15] & bits[relation + 1];
}

/* EQ, UNORD, FALSE and their opposites accept quiet NaNs, the others signal; from 16 on vice versa.
 */
INLINE bool predicate_is_quiet(unsigned predicate)
{
    bool ordering = (predicate & 3) == 1 || (predicate & 3) == 2;
    return ordering == (predicate >> 4 & 1);
}

#define PREDICATE(F)                                                                               \
    predicate_holds(F##_compare(env, x, y, predicate_is_quiet(predicate_of(insn, form))),          \
                    predicate_of(insn, form))

FLOAT_PACKED(CMPPS, u32, 4, BINARY, PREDICATE(f32) ? ~0u : 0)
FLOAT_PACKED(CMPPD, u64, 2, BINARY, PREDICATE(f64) ? ~0ull : 0)
FLOAT_SCALAR(CMPSS, u32, PREDICATE(f32) ? ~0u : 0)
FLOAT_SCALAR(CMPSD_SSE, u64, PREDICATE(f64) ? ~0ull : 0)

/* -- Comparison into EFLAGS -- */

#define COMI(MNEMONIC, F, lane, quiet)                                                             \
    INLINE void MNEMONIC##_comi(struct cpu *cpu, const struct insn *insn, bool mem,                \
                                enum vector_form form)                                             \
    {                                                                                              \
        vector_begin(cpu, form);                                                                   \
        union xmm a = xmm_get(cpu, insn->operand[0].reg);                                          \
        union xmm b = xmm_low(cpu, insn, 1, mem, (unsigned)sizeof a.lane[0]);                      \
        struct fp_env env = sse_env(cpu);                                                          \
        enum fp_relation relation = F##_compare(&env, a.lane[0], b.lane[0], quiet);                \
        sse_commit(cpu, env.flags);                                                                \
        cpu->eflags = flags_merge(cpu->eflags, FLAG_ARITH, fp_relation_eflags(relation));          \
    }                                                                                              \
    EXEC_VECTOR128(MNEMONIC, MNEMONIC##_comi)

COMI(COMISS, f32, u32, false)
COMI(COMISD, f64, u64, false)
COMI(UCOMISS, f32, u32, true)
COMI(UCOMISD, f64, u64, true)

/* -- Horizontal -- */

#define FLOAT_HORIZONTAL(MNEMONIC, lane, half, function)                                           \
    INLINE void MNEMONIC##_horizontal(struct cpu *cpu, const struct insn *insn, bool mem,          \
                                      enum vector_form form)                                       \
    {                                                                                              \
        FLOAT_OPERANDS(lane, 2 * (half), BINARY)                                                   \
        union vector result = a;                                                                   \
        struct fp_env env = sse_env(cpu);                                                          \
        for (unsigned at = 0; at < count; at += 2 * (half)) {                                      \
            for (unsigned i = 0; i < (half); i++) {                                                \
                unsigned pair = at + 2 * i;                                                        \
                result.lane[at + i] = function(&env, a.lane[pair], a.lane[pair + 1]);              \
                result.lane[at + (half) + i] = function(&env, b.lane[pair], b.lane[pair + 1]);     \
            }                                                                                      \
        }                                                                                          \
        sse_commit(cpu, env.flags);                                                                \
        vector_set(cpu, insn->operand[0].reg, &result, form);                                      \
    }                                                                                              \
    EXEC_VECTOR(MNEMONIC, MNEMONIC##_horizontal)

FLOAT_HORIZONTAL(HADDPS, u32, 2, f32_add)
FLOAT_HORIZONTAL(HADDPD, u64, 1, f64_add)
FLOAT_HORIZONTAL(HSUBPS, u32, 2, f32_sub)
FLOAT_HORIZONTAL(HSUBPD, u64, 1, f64_sub)

/*
 * -- Dot products: imm 7-4 select the products, imm 3-0 where the sum goes --
 *
 * Which of several NaNs the sum has depends on the order of additions, which is the host's.
 */

INLINE void dpps(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    FLOAT_OPERANDS(u32, 4, BINARY)
    struct fp_env env = sse_env(cpu);
    for (unsigned i = 0; i < count; i++)
        a.u32[i] = insn->imm >> (4 + (i & 3)) & 1 ? f32_mul(&env, a.u32[i], b.u32[i]) : 0;
    sse_commit(cpu, env.flags);
    union vector sum = a;
    const unsigned crosswise = host_adds_crosswise();
    for (unsigned i = 0; i < count; i++)
        sum.u32[i] = f32_add(&env, a.u32[i ^ crosswise], a.u32[i ^ crosswise ^ 1]);
    sse_commit(cpu, env.flags);
    for (unsigned i = 0; i < count; i++)
        a.u32[i] = f32_add(&env, sum.u32[i], sum.u32[i ^ 2]);
    sse_commit(cpu, env.flags);
    for (unsigned i = count; i-- > 0;)
        a.u32[i] = insn->imm >> (i & 3) & 1 ? a.u32[crosswise ? i : i & ~3u] : 0;
    vector_set(cpu, insn->operand[0].reg, &a, form);
}

INLINE void dppd(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    FLOAT_OPERANDS(u64, 2, BINARY)
    struct fp_env env = sse_env(cpu);
    for (unsigned i = 0; i < count; i++)
        a.u64[i] = insn->imm >> (4 + i) & 1 ? f64_mul(&env, a.u64[i], b.u64[i]) : 0;
    sse_commit(cpu, env.flags);
    const uint64_t sum[2] = {f64_add(&env, a.u64[0], a.u64[1]), f64_add(&env, a.u64[1], a.u64[0])};
    sse_commit(cpu, env.flags);
    for (unsigned i = 0; i < count; i++)
        a.u64[i] = insn->imm >> i & 1 ? sum[host_adds_crosswise() ? i : 0] : 0;
    vector_set(cpu, insn->operand[0].reg, &a, form);
}

EXEC_VECTOR(DPPS, dpps)
EXEC_VECTOR128(DPPD, dppd)

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

#define APPROXIMATION(NAME, function)                                                              \
    INLINE void NAME##PS_approximate(struct cpu *cpu, const struct insn *insn, bool mem,           \
                                     enum vector_form form)                                        \
    {                                                                                              \
        FLOAT_OPERANDS(u32, 4, UNARY)                                                              \
        for (unsigned i = 0; i < count; i++)                                                       \
            a.u32[i] = function(b.u32[i]);                                                         \
        vector_set(cpu, insn->operand[0].reg, &a, form);                                           \
    }                                                                                              \
    INLINE void NAME##SS_approximate(struct cpu *cpu, const struct insn *insn, bool mem,           \
                                     enum vector_form form)                                        \
    {                                                                                              \
        FLOAT_OPERANDS(u32, 1, BINARY)                                                             \
        for (unsigned i = 0; i < count; i++)                                                       \
            a.u32[i] = function(b.u32[i]);                                                         \
        vector_set(cpu, insn->operand[0].reg, &a, form);                                           \
    }                                                                                              \
    EXEC_VECTOR(NAME##PS, NAME##PS_approximate)                                                    \
    EXEC_VECTOR128(NAME##SS, NAME##SS_approximate)

APPROXIMATION(RCP, approximate_rcp)
APPROXIMATION(RSQRT, approximate_rsqrt)

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
FLOAT_PACKED(ROUNDPS, u32, 4, UNARY, f32_round_immediate(env, y, insn))
FLOAT_PACKED(ROUNDPD, u64, 2, UNARY, f64_round_immediate(env, y, insn))
FLOAT_SCALAR(ROUNDSS, u32, f32_round_immediate(env, y, insn))
FLOAT_SCALAR(ROUNDSD, u64, f64_round_immediate(env, y, insn))
