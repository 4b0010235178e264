/*
 * Soft floating point against the host's own SSE and x87 (x86 hosts), over random and edge
 * operands, every rounding mode, precision control, mask, DAZ and FTZ; and against a short list of
 * known results everywhere.
 */
#include "cpu/fpu/softfloat.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

static struct fp_env sse_env(uint32_t mxcsr)
{
    return (struct fp_env){.rounding = mxcsr >> 13 & 3,
                           .masked = mxcsr >> 7 & FP_EXCEPTIONS,
                           .daz = mxcsr >> 6 & 1,
                           .ftz = mxcsr >> 15 & 1};
}

static struct fp_env x87_env(uint16_t control)
{
    static const uint8_t precision[4] = {24, 64, 53, 64};
    return (struct fp_env){.rounding = control >> 10 & 3,
                           .precision = precision[control >> 8 & 3],
                           .masked = control & FP_EXCEPTIONS};
}

/* -- Known results, on any host -- */

START_TEST(known_results)
{
    struct fp_env env = sse_env(0x1f80);
    ck_assert_uint_eq(f32_add(&env, 0x3f800000, 0x40000000), 0x40400000);
    ck_assert_uint_eq(env.flags, 0);
    ck_assert_uint_eq(f32_div(&env, 0x3f800000, 0x40400000), 0x3eaaaaab);
    ck_assert_uint_eq(env.flags, FP_INEXACT | FP_ROUNDED_UP);
    ck_assert(f64_sqrt(&env, 0x4000000000000000) == 0x3ff6a09e667f3bcd);
    env = sse_env(0x1f80);
    ck_assert_uint_eq(f32_mul(&env, 0x7f7fffff, 0x40000000), 0x7f800000);
    ck_assert_uint_eq(env.flags & FP_EXCEPTIONS, FP_OVERFLOW | FP_INEXACT);
    env = sse_env(0x1f80);
    ck_assert_uint_eq(f32_sub(&env, 0x7f800000, 0x7f800000), F32_DEFAULT_NAN);
    ck_assert_uint_eq(env.flags, FP_INVALID);
    env = sse_env(0x1f80);
    ck_assert_int_eq(f64_to_int(&env, 0x41e0000000000000, 32, FP_NEAREST), INT32_MIN);
    ck_assert_uint_eq(env.flags, FP_INVALID);
    env = x87_env(0x37f);
    struct float80 third = f80_div(&env, fp_from_int(1), fp_from_int(3));
    ck_assert(third.mantissa == 0xaaaaaaaaaaaaaaab && third.exponent == 0x3ffd);
    uint8_t bcd[10];
    f80_to_bcd(&env, fp_from_int(-1234567890), bcd);
    ck_assert_mem_eq(bcd, "\x90\x78\x56\x34\x12\0\0\0\0\x80", 10);
    struct float80 back = f80_from_bcd(bcd);
    ck_assert(f80_to_int(&env, f80_unpack(back), 64, FP_NEAREST) == -1234567890);
}
END_TEST

#if defined(__x86_64__) || defined(__i386__)

/* -- Random operands that crowd the edges -- */

static uint64_t seed = 0x2545f4914f6cdd1dull;

static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x9e3779b97f4a7c15ull;
}

/* `bits` bits with long runs of zeros or ones often, where carries and ties hide. */
static uint64_t random_bits(unsigned bits)
{
    uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1;
    uint64_t value = random64();
    switch (random64() % 8) {
    case 0:
        value = 0;
        break;
    case 1:
        value = ~0ull;
        break;
    case 2:
        value = 1ull << (random64() % bits);
        break;
    case 3:
        value = ~0ull << (random64() % bits);
        break;
    case 4:
        value = (1ull << (random64() % bits)) + (1ull << (random64() % bits));
        break;
    case 5:
        value = ~0ull << (random64() % bits) ^ 1ull << (random64() % bits);
        break;
    default:
        break;
    }
    return value & mask;
}

/* A biased exponent in [0, maximum], the ends and the middle often. */
static unsigned random_exponent(unsigned maximum)
{
    unsigned bias = maximum / 2;
    switch (random64() % 8) {
    case 0:
        return 0;
    case 1:
        return maximum;
    case 2:
        return 1 + random64() % 3;
    case 3:
        return maximum - 1 - random64() % 3;
    case 4:
    case 5:
        return bias - 35 + random64() % 70;
    default:
        return random64() % (maximum + 1);
    }
}

/* Sometimes close to the exponent of the other operand. */
static unsigned nearby_exponent(unsigned other, unsigned maximum)
{
    if (random64() % 2)
        return random_exponent(maximum);
    int exponent = (int)other + (int)(random64() % 140) - 70;
    return exponent < 0 ? 0 : exponent > (int)maximum ? maximum : (unsigned)exponent;
}

static uint32_t random_f32(uint32_t other)
{
    unsigned exponent = nearby_exponent(other >> 23 & 255, 255);
    return (uint32_t)(random64() & 1) << 31 | exponent << 23 | (uint32_t)random_bits(23);
}

static uint64_t random_f64(uint64_t other)
{
    uint64_t exponent = nearby_exponent(other >> 52 & 2047, 2047);
    return random64() << 63 | exponent << 52 | random_bits(52);
}

static struct float80 random_f80(struct float80 other)
{
    struct float80 value;
    unsigned exponent = nearby_exponent(other.exponent & 0x7fff, 0x7fff);
    value.exponent = (uint16_t)(exponent | (random64() & 1) << 15);
    value.mantissa = random_bits(63);
    /* One in sixteen has an integer bit that does not match. */
    if ((exponent != 0) == (random64() % 16 != 0))
        value.mantissa |= 1ull << 63;
    return value;
}

/* -- SSE -- */

/* Flags that an unmasked exception left, taken by the signal handler; the operation then runs
 * masked. */
static volatile uint32_t trapped_mxcsr;

static void on_sigfpe(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *user = context;
    trapped_mxcsr = user->uc_mcontext.fpregs->mxcsr | 1u << 31;
    user->uc_mcontext.fpregs->mxcsr |= 0x1f80;
}

/* Operands and result of any width; int results in the low bits. */
struct sse_operation {
    const char *name;
    char operands; /* 's' two float32, 'd' two float64, 'i' an int64 as first operand */
    char result;   /* 's', 'd', 'i' int32, 'l' int64, 'c' comparison */
    uint64_t (*host)(uint64_t a, uint64_t b, uint32_t *mxcsr);
    uint64_t (*soft)(struct fp_env *env, uint64_t a, uint64_t b);
};

#define SSE_HOST(name, instruction)                                                                \
    static uint64_t host_##name(uint64_t a, uint64_t b, uint32_t *mxcsr)                           \
    {                                                                                              \
        uint64_t result = a;                                                                       \
        uint32_t standard = 0x1f80;                                                                \
        asm volatile("movq %[a], %%xmm0\n\tmovq %[b], %%xmm1\n\tldmxcsr %[csr]\n\t" instruction    \
                     "\n\tstmxcsr %[csr]\n\tldmxcsr %[standard]"                                   \
                     : [result] "+r"(result), [csr] "+m"(*mxcsr)                                   \
                     : [a] "r"(a), [b] "r"(b), [standard] "m"(standard)                            \
                     : "xmm0", "xmm1", "rax", "cc", "memory");                                     \
        return result;                                                                             \
    }

#define SSE_ARITHMETIC(name, operation, s, d)                                                      \
    SSE_HOST(operation##_##s, name "ss %%xmm1, %%xmm0\n\tmovd %%xmm0, %k[result]")                 \
    SSE_HOST(operation##_##d, name "sd %%xmm1, %%xmm0\n\tmovq %%xmm0, %[result]")                  \
    static uint64_t soft_##operation##_##s(struct fp_env *env, uint64_t a, uint64_t b)             \
    {                                                                                              \
        return f32_##operation(env, (uint32_t)a, (uint32_t)b);                                     \
    }                                                                                              \
    static uint64_t soft_##operation##_##d(struct fp_env *env, uint64_t a, uint64_t b)             \
    {                                                                                              \
        return f64_##operation(env, a, b);                                                         \
    }

SSE_ARITHMETIC("add", add, s, d)
SSE_ARITHMETIC("sub", sub, s, d)
SSE_ARITHMETIC("mul", mul, s, d)
SSE_ARITHMETIC("div", div, s, d)
SSE_ARITHMETIC("min", min, s, d)
SSE_ARITHMETIC("max", max, s, d)
SSE_HOST(sqrt_s, "sqrtss %%xmm0, %%xmm0\n\tmovd %%xmm0, %k[result]")
SSE_HOST(sqrt_d, "sqrtsd %%xmm0, %%xmm0\n\tmovq %%xmm0, %[result]")
SSE_HOST(round_s, "roundss $4, %%xmm0, %%xmm0\n\tmovd %%xmm0, %k[result]")
SSE_HOST(round_d, "roundsd $4, %%xmm0, %%xmm0\n\tmovq %%xmm0, %[result]")
SSE_HOST(to_i32_s, "cvtss2si %%xmm0, %k[result]")
SSE_HOST(to_i32_d, "cvtsd2si %%xmm0, %k[result]")
SSE_HOST(cut_i32_s, "cvttss2si %%xmm0, %k[result]")
SSE_HOST(cut_i32_d, "cvttsd2si %%xmm0, %k[result]")
SSE_HOST(to_i64_s, "cvtss2si %%xmm0, %q[result]")
SSE_HOST(to_i64_d, "cvtsd2si %%xmm0, %q[result]")
SSE_HOST(cut_i64_d, "cvttsd2si %%xmm0, %q[result]")
SSE_HOST(from_i64_s, "cvtsi2ss %q[result], %%xmm0\n\tmovd %%xmm0, %k[result]")
SSE_HOST(from_i64_d, "cvtsi2sd %q[result], %%xmm0\n\tmovq %%xmm0, %q[result]")
SSE_HOST(widen, "cvtss2sd %%xmm0, %%xmm0\n\tmovq %%xmm0, %[result]")
SSE_HOST(narrow, "cvtsd2ss %%xmm0, %%xmm0\n\tmovd %%xmm0, %k[result]")
SSE_HOST(com_s, "comiss %%xmm1, %%xmm0\n\tlahf\n\tmovl %%eax, %k[result]\n\tshrl $8, "
                "%k[result]\n\tandl $0x45, %k[result]")
SSE_HOST(com_d, "comisd %%xmm1, %%xmm0\n\tlahf\n\tmovl %%eax, %k[result]\n\tshrl $8, "
                "%k[result]\n\tandl $0x45, %k[result]")
SSE_HOST(ucom_s, "ucomiss %%xmm1, %%xmm0\n\tlahf\n\tmovl %%eax, %k[result]\n\tshrl $8, "
                 "%k[result]\n\tandl $0x45, %k[result]")
SSE_HOST(ucom_d, "ucomisd %%xmm1, %%xmm0\n\tlahf\n\tmovl %%eax, %k[result]\n\tshrl $8, "
                 "%k[result]\n\tandl $0x45, %k[result]")

#define SSE_SOFT(name, expression)                                                                 \
    static uint64_t soft_##name(struct fp_env *env, uint64_t a, uint64_t b)                        \
    {                                                                                              \
        (void)b;                                                                                   \
        return (uint64_t)(expression);                                                             \
    }

static uint64_t relation_flags(enum fp_relation relation)
{
    return relation == FP_UNORDERED ? 0x45 : relation == FP_LESS ? 1 : relation ? 0 : 0x40;
}

SSE_SOFT(sqrt_s, f32_sqrt(env, (uint32_t)a))
SSE_SOFT(sqrt_d, f64_sqrt(env, a))
SSE_SOFT(round_s, f32_round_to_int(env, (uint32_t)a, env->rounding))
SSE_SOFT(round_d, f64_round_to_int(env, a, env->rounding))
SSE_SOFT(to_i32_s, f32_to_int(env, (uint32_t)a, 32, env->rounding))
SSE_SOFT(to_i32_d, f64_to_int(env, a, 32, env->rounding))
SSE_SOFT(cut_i32_s, f32_to_int(env, (uint32_t)a, 32, FP_TOWARD_ZERO))
SSE_SOFT(cut_i32_d, f64_to_int(env, a, 32, FP_TOWARD_ZERO))
SSE_SOFT(to_i64_s, f32_to_int(env, (uint32_t)a, 64, env->rounding))
SSE_SOFT(to_i64_d, f64_to_int(env, a, 64, env->rounding))
SSE_SOFT(cut_i64_d, f64_to_int(env, a, 64, FP_TOWARD_ZERO))
SSE_SOFT(from_i64_s, f32_from_int(env, (int64_t)a))
SSE_SOFT(from_i64_d, f64_from_int(env, (int64_t)a))
SSE_SOFT(widen, f32_to_f64(env, (uint32_t)a))
SSE_SOFT(narrow, f64_to_f32(env, a))
SSE_SOFT(com_s, relation_flags(f32_compare(env, (uint32_t)a, (uint32_t)b, false)))
SSE_SOFT(com_d, relation_flags(f64_compare(env, a, b, false)))
SSE_SOFT(ucom_s, relation_flags(f32_compare(env, (uint32_t)a, (uint32_t)b, true)))
SSE_SOFT(ucom_d, relation_flags(f64_compare(env, a, b, true)))

#define SSE_ROW(name, operands, result)                                                            \
    {                                                                                              \
#name, operands, result, host_##name, soft_##name                                          \
    }
static const struct sse_operation sse_operations[] = {
    SSE_ROW(add_s, 's', 's'),      SSE_ROW(add_d, 'd', 'd'),     SSE_ROW(sub_s, 's', 's'),
    SSE_ROW(sub_d, 'd', 'd'),      SSE_ROW(mul_s, 's', 's'),     SSE_ROW(mul_d, 'd', 'd'),
    SSE_ROW(div_s, 's', 's'),      SSE_ROW(div_d, 'd', 'd'),     SSE_ROW(min_s, 's', 's'),
    SSE_ROW(min_d, 'd', 'd'),      SSE_ROW(max_s, 's', 's'),     SSE_ROW(max_d, 'd', 'd'),
    SSE_ROW(sqrt_s, 's', 's'),     SSE_ROW(sqrt_d, 'd', 'd'),    SSE_ROW(round_s, 's', 's'),
    SSE_ROW(round_d, 'd', 'd'),    SSE_ROW(to_i32_s, 's', 'i'),  SSE_ROW(to_i32_d, 'd', 'i'),
    SSE_ROW(cut_i32_s, 's', 'i'),  SSE_ROW(cut_i32_d, 'd', 'i'), SSE_ROW(to_i64_s, 's', 'l'),
    SSE_ROW(to_i64_d, 'd', 'l'),   SSE_ROW(cut_i64_d, 'd', 'l'), SSE_ROW(from_i64_s, 'i', 's'),
    SSE_ROW(from_i64_d, 'i', 'd'), SSE_ROW(widen, 's', 'd'),     SSE_ROW(narrow, 'd', 's'),
    SSE_ROW(com_s, 's', 'c'),      SSE_ROW(com_d, 'd', 'c'),     SSE_ROW(ucom_s, 's', 'c'),
    SSE_ROW(ucom_d, 'd', 'c'),
};
#define SSE_OPERATIONS ((int)(sizeof sse_operations / sizeof sse_operations[0]))

static void sse_operands(char kind, uint64_t *a, uint64_t *b)
{
    if (kind == 's') {
        *a = random_f32((uint32_t)*b);
        *b = random_f32((uint32_t)*a);
    } else if (kind == 'd') {
        *a = random_f64(*b);
        *b = random_f64(*a);
    } else {
        *a = random_bits(1 + random64() % 64) ^ (0 - (random64() & 1));
        *b = 0;
    }
}

static void sse_compare(const struct sse_operation *operation, uint32_t mxcsr, uint64_t a,
                        uint64_t b)
{
    uint32_t host_mxcsr = mxcsr;
    trapped_mxcsr = 0;
    uint64_t host = operation->host(a, b, &host_mxcsr);
    bool trapped = trapped_mxcsr;
    if (trapped)
        host_mxcsr = trapped_mxcsr;

    struct fp_env env = sse_env(mxcsr);
    uint64_t soft = operation->soft(&env, a, b);
    unsigned flags = env.flags & FP_EXCEPTIONS;
    if (flags & FP_BEFORE & ~env.masked)
        flags &= FP_BEFORE;
    if (operation->result == 's' || operation->result == 'i') {
        host = (uint32_t)host;
        soft = (uint32_t)soft;
    }
    bool same = (host_mxcsr & FP_EXCEPTIONS) == flags && trapped == ((flags & ~env.masked) != 0) &&
                (trapped || host == soft);
    ck_assert_msg(same,
                  "%s mxcsr %04x a %016" PRIx64 " b %016" PRIx64 ": host %016" PRIx64
                  " flags %02x trap %d, soft %016" PRIx64 " flags %02x",
                  operation->name, mxcsr, a, b, host, host_mxcsr & FP_EXCEPTIONS, trapped, soft,
                  flags);
}

/* The exceptions masked: all combinations of rounding, DAZ and FTZ. */
START_TEST(sse_masked)
{
    const struct sse_operation *operation = &sse_operations[_i];
    uint64_t a = 0, b = 0;
    for (int i = 0; i < 60000; i++) {
        uint32_t mxcsr = 0x1f80 | (i & 3) << 13 | (i & 4) << 4 | (uint32_t)(i & 8) << 12;
        sse_operands(operation->operands, &a, &b);
        sse_compare(operation, mxcsr, a, b);
    }
}
END_TEST

/* Random masks: which exceptions trap and which flags they leave. */
START_TEST(sse_unmasked)
{
    struct sigaction action = {.sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO}, before;
    sigaction(SIGFPE, &action, &before);
    const struct sse_operation *operation = &sse_operations[_i];
    uint64_t a = 0, b = 0;
    for (int i = 0; i < 8000; i++) {
        uint32_t mxcsr = (uint32_t)random64() & 0xffc0;
        sse_operands(operation->operands, &a, &b);
        sse_compare(operation, mxcsr, a, b);
    }
    sigaction(SIGFPE, &before, NULL);
}
END_TEST

/* -- x87 -- */

struct x87_result {
    struct float80 st[2];
    uint64_t memory; /* what a store wrote */
    uint16_t high;   /* and its last two bytes */
    uint16_t status;
};

struct x87_operation {
    const char *name;
    char operands;   /* 't' ST(0), ST(1); 'p' the same, through a copy that the instruction pops;
                        's', 'd', 'l' ST(0) and memory float32, float64, integer */
    uint16_t status; /* bits compared besides the exceptions */
    void (*host)(struct float80 a, struct float80 b, uint64_t memory, uint16_t control,
                 struct x87_result *result);
    void (*soft)(struct fp_env *env, struct float80 a, struct float80 b, uint64_t memory,
                 struct x87_result *result);
};

struct __attribute__((packed)) fsave_image {
    uint32_t control, status, tag, ip, cs, dp, ds;
    struct __attribute__((packed)) {
        uint64_t mantissa;
        uint16_t exponent;
    } st[8];
};

/* FNSAVE does not wait: it shows what an unmasked exception left in the registers. */
#define X87_HOST(name, instruction)                                                                \
    static void host_##name(struct float80 a, struct float80 b, uint64_t memory, uint16_t control, \
                            struct x87_result *result)                                             \
    {                                                                                              \
        struct fsave_image image;                                                                  \
        uint8_t m[16] = {0};                                                                       \
        uint16_t standard;                                                                         \
        memcpy(m, &memory, 8);                                                                     \
        asm volatile("fnstcw %[standard]\n\tfninit\n\tfldt %[b]\n\tfldt %[a]\n\tfldcw "            \
                     "%[control]\n\t" instruction "\n\tfnsave %[image]\n\tfldcw %[standard]"       \
                     : [image] "=m"(image), [m] "+m"(m), [standard] "=m"(standard)                 \
                     : [a] "m"(a), [b] "m"(b), [control] "m"(control)                              \
                     : "memory", "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", \
                       "st(7)");                                                                   \
        for (int i = 0; i < 2; i++)                                                                \
            result->st[i] = (struct float80){image.st[i].mantissa, image.st[i].exponent};          \
        result->status = (uint16_t)image.status;                                                   \
        memcpy(&result->memory, m, 8);                                                             \
        memcpy(&result->high, m + 8, 2);                                                           \
    }

#define X87_SOFT(name, body)                                                                       \
    static void soft_##name(struct fp_env *env, struct float80 a, struct float80 b,                \
                            uint64_t memory, struct x87_result *result)                            \
    {                                                                                              \
        struct fp_number x = f80_unpack(a), y = f80_unpack(b);                                     \
        result->st[0] = a;                                                                         \
        result->st[1] = b;                                                                         \
        result->memory = memory;                                                                   \
        result->high = 0;                                                                          \
        result->status = 0;                                                                        \
        (void)x, (void)y;                                                                          \
        body;                                                                                      \
    }

static uint16_t relation_status(enum fp_relation relation)
{
    return relation == FP_UNORDERED ? 0x4500 : relation == FP_LESS ? 0x100 : relation ? 0 : 0x4000;
}

/* What a store leaves in memory unless an unmasked exception prevents it. */
static void soft_store(struct fp_env *env, struct x87_result *result, uint64_t value, int size)
{
    unsigned unmasked = env->flags & ~env->masked & (FP_EXCEPTIONS & ~FP_INEXACT);
    if (!unmasked)
        memcpy(&result->memory, &value, (size_t)size);
}

static void soft_remainder(struct fp_env *env, struct fp_number x, struct fp_number y, bool nearest,
                           struct x87_result *result)
{
    uint64_t quotient;
    bool partial;
    result->st[0] = f80_remainder(env, x, y, nearest, &quotient, &partial);
    result->status = (uint16_t)((quotient & 4) << 6 | (quotient & 1) << 9 | (quotient & 2) << 13 |
                                partial << 10);
}

static void soft_bcd(struct fp_env *env, struct fp_number x, struct x87_result *result)
{
    uint8_t bcd[10];
    f80_to_bcd(env, x, bcd);
    if (env->flags & ~env->masked & FP_INVALID)
        return;
    memcpy(&result->memory, bcd, 8);
    memcpy(&result->high, bcd + 8, 2);
}

#define X87_ARITHMETIC(operation, reverse)                                                         \
    X87_HOST(operation, "f" #operation " %%st(1), %%st")                                           \
    X87_SOFT(operation, result->st[0] = f80_##operation(env, x, y))                                \
    X87_HOST(operation##_m32, "f" #operation "s %[m]")                                             \
    X87_SOFT(operation##_m32,                                                                      \
             result->st[0] = f80_##operation(env, x, f32_unpack(env, (uint32_t)memory)))           \
    X87_HOST(operation##_m64, "f" #operation "l %[m]")                                             \
    X87_SOFT(operation##_m64, result->st[0] = f80_##operation(env, x, f64_unpack(env, memory)))    \
    X87_HOST(operation##_i32, "fi" #operation "l %[m]")                                            \
    X87_SOFT(operation##_i32, result->st[0] = f80_##operation(env, x, fp_from_int((int32_t)memory)))

X87_ARITHMETIC(add, )
X87_ARITHMETIC(sub, )
X87_ARITHMETIC(mul, )
X87_ARITHMETIC(div, )
X87_HOST(sqrt, "fsqrt")
X87_SOFT(sqrt, result->st[0] = f80_sqrt(env, x))
X87_HOST(rndint, "frndint")
X87_SOFT(rndint, result->st[0] = f80_round_to_int(env, x))
X87_HOST(scale, "fscale")
X87_SOFT(scale, result->st[0] = f80_scale(env, x, y))
X87_HOST(prem, "fprem")
X87_SOFT(prem, soft_remainder(env, x, y, false, result))
X87_HOST(prem1, "fprem1")
X87_SOFT(prem1, soft_remainder(env, x, y, true, result))
X87_HOST(xtract, "fxtract")
X87_SOFT(xtract, result->st[1] = f80_extract(env, x, &result->st[0]))
X87_HOST(com, "fcom %%st(1)")
X87_SOFT(com, result->status = relation_status(f80_compare(env, x, y, false)))
X87_HOST(ucom, "fucom %%st(1)")
X87_SOFT(ucom, result->status = relation_status(f80_compare(env, x, y, true)))
X87_HOST(st_m32, "fsts %[m]")
X87_SOFT(st_m32, soft_store(env, result, f80_to_f32(env, a), 4))
X87_HOST(st_m64, "fstl %[m]")
X87_SOFT(st_m64, soft_store(env, result, f80_to_f64(env, a), 8))
X87_HOST(ld_m32, "flds %[m]")
X87_SOFT(ld_m32, result->st[0] = f32_to_f80(env, (uint32_t)memory); result->st[1] = a)
X87_HOST(ld_m64, "fldl %[m]")
X87_SOFT(ld_m64, result->st[0] = f64_to_f80(env, memory); result->st[1] = a)
X87_HOST(ild, "fildll %[m]")
X87_SOFT(ild, result->st[0] = f80_from_int((int64_t)memory); result->st[1] = a)
X87_HOST(ist16, "fists %[m]")
X87_SOFT(ist16, soft_store(env, result, (uint64_t)f80_to_int(env, x, 16, env->rounding), 2))
X87_HOST(ist32, "fistl %[m]")
X87_SOFT(ist32, soft_store(env, result, (uint64_t)f80_to_int(env, x, 32, env->rounding), 4))
X87_HOST(ist64, "fld %%st\n\tfistpll %[m]\n\t")
X87_SOFT(ist64, soft_store(env, result, (uint64_t)f80_to_int(env, x, 64, env->rounding), 8))
X87_HOST(isttp32, "fld %%st\n\tfisttpl %[m]\n\t")
X87_SOFT(isttp32, soft_store(env, result, (uint64_t)f80_to_int(env, x, 32, FP_TOWARD_ZERO), 4))
X87_HOST(bstp, "fld %%st\n\tfbstp %[m]\n\t")
X87_SOFT(bstp, soft_bcd(env, x, result))

#define X87_ROW(name, operands, status)                                                            \
    {                                                                                              \
#name, operands, status, host_##name, soft_##name                                          \
    }
#define X87_ROWS(operation)                                                                        \
    X87_ROW(operation, 't', 0x200), X87_ROW(operation##_m32, 's', 0x200),                          \
        X87_ROW(operation##_m64, 'd', 0x200), X87_ROW(operation##_i32, 'l', 0x200)
static const struct x87_operation x87_operations[] = {
    X87_ROWS(add),
    X87_ROWS(sub),
    X87_ROWS(mul),
    X87_ROWS(div),
    X87_ROW(sqrt, 't', 0x200),
    X87_ROW(rndint, 't', 0x200),
    X87_ROW(scale, 't', 0x200),
    X87_ROW(prem, 't', 0x4700),
    X87_ROW(prem1, 't', 0x4700),
    X87_ROW(xtract, 't', 0x200),
    X87_ROW(com, 't', 0x4700),
    X87_ROW(ucom, 't', 0x4700),
    X87_ROW(st_m32, 't', 0x200),
    X87_ROW(st_m64, 't', 0x200),
    X87_ROW(ld_m32, 's', 0x200),
    X87_ROW(ld_m64, 'd', 0x200),
    X87_ROW(ild, 'l', 0x200),
    X87_ROW(ist16, 't', 0x200),
    X87_ROW(ist32, 't', 0x200),
    X87_ROW(ist64, 'p', 0x200),
    X87_ROW(isttp32, 'p', 0x200),
    X87_ROW(bstp, 'p', 0x200),
};
#define X87_OPERATIONS ((int)(sizeof x87_operations / sizeof x87_operations[0]))

static bool same_f80(struct float80 a, struct float80 b)
{
    return a.mantissa == b.mantissa && a.exponent == b.exponent;
}

/* FSCALE and FPREM give a denormal of a denormal: Intel's processors do not raise an unmasked
 * underflow for it, and so give it as if that were masked. */
static bool raises_no_underflow(const struct x87_operation *operation, uint16_t control,
                                const struct x87_result *host)
{
    bool scales = strcmp(operation->name, "scale") == 0 || strncmp(operation->name, "prem", 4) == 0;
    return scales && !(control & FP_UNDERFLOW) && !(host->status & FP_UNDERFLOW) &&
           !(host->st[0].exponent & 0x7fff) && host->st[0].mantissa;
}

static void x87_compare(const struct x87_operation *operation, uint16_t control, struct float80 a,
                        struct float80 b, uint64_t memory)
{
    struct x87_result host, soft;
    operation->host(a, b, memory, control, &host);
    if (raises_no_underflow(operation, control, &host))
        control |= FP_UNDERFLOW;

    struct fp_env env = x87_env(control);
    operation->soft(&env, a, b, memory, &soft);
    unsigned flags = env.flags;
    if (flags & FP_BEFORE & ~env.masked) {
        flags &= FP_BEFORE;
        soft.st[0] = a;
        soft.st[1] = b;
        soft.status = 0;
    }
    soft.status |= (uint16_t)flags;
    uint16_t mask = FP_EXCEPTIONS | operation->status;
    if (flags & FP_BEFORE & ~env.masked)
        mask = FP_EXCEPTIONS;
    /* The host sequence "FLD ST; store and pop": without the pop the copy of a is still there. */
    if (operation->operands == 'p' && same_f80(host.st[1], a))
        host.st[1] = b;
    /* With DE unmasked an Intel processor does not push, the manual says; an AMD one does. */
    if (strncmp(operation->name, "ld", 2) == 0 && env.flags & ~env.masked & FP_DENORMAL)
        host.st[0] = a, host.st[1] = b;

    bool same = (host.status & mask) == (soft.status & mask) && same_f80(host.st[0], soft.st[0]) &&
                same_f80(host.st[1], soft.st[1]) && host.memory == soft.memory &&
                host.high == soft.high;
    ck_assert_msg(
        same,
        "f%s cw %04x\n a %04x:%016" PRIx64 " b %04x:%016" PRIx64 " m %016" PRIx64
        "\n host %04x:%016" PRIx64 " %04x:%016" PRIx64 " m %04x:%016" PRIx64
        " sw %04x\n soft %04x:%016" PRIx64 " %04x:%016" PRIx64 " m %04x:%016" PRIx64 " sw %04x",
        operation->name, control, a.exponent, a.mantissa, b.exponent, b.mantissa, memory,
        host.st[0].exponent, host.st[0].mantissa, host.st[1].exponent, host.st[1].mantissa,
        host.high, host.memory, host.status & mask, soft.st[0].exponent, soft.st[0].mantissa,
        soft.st[1].exponent, soft.st[1].mantissa, soft.high, soft.memory, soft.status & mask);
}

static void x87_run(const struct x87_operation *operation, int count, bool masked)
{
    struct float80 a = {0}, b = {0};
    for (int i = 0; i < count; i++) {
        uint64_t memory = 0;
        uint16_t control = (uint16_t)(0x40 | (i & 15) << 8);
        control |= masked ? FP_EXCEPTIONS : random64() & FP_EXCEPTIONS;
        a = random_f80(b);
        b = random_f80(a);
        if (operation->operands == 's')
            memory = random_f32(0);
        else if (operation->operands == 'd')
            memory = random_f64(0);
        else if (operation->operands == 'l')
            memory = random_bits(1 + random64() % 64) ^ (0 - (random64() & 1));
        x87_compare(operation, control, a, b, memory);
    }
}

START_TEST(x87_masked)
{
    x87_run(&x87_operations[_i], 60000, true);
}
END_TEST

START_TEST(x87_unmasked)
{
    x87_run(&x87_operations[_i], 60000, false);
}
END_TEST

#endif

int main(void)
{
    Suite *suite = suite_create("softfloat");
    TCase *tests = tcase_create("softfloat");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, known_results);
#if defined(__x86_64__) || defined(__i386__)
    tcase_add_loop_test(tests, sse_masked, 0, SSE_OPERATIONS);
    tcase_add_loop_test(tests, sse_unmasked, 0, SSE_OPERATIONS);
    tcase_add_loop_test(tests, x87_masked, 0, X87_OPERATIONS);
    tcase_add_loop_test(tests, x87_unmasked, 0, X87_OPERATIONS);
#endif
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
