/*
 * The algorithms behind softfloat.h on numbers taken apart, the same for every format: exact or
 * correctly "sticky" results of add, multiply, divide and square root, and the one rounding
 * function.
 *
 * Results are 128 bits (significand:low, normalized). Everything that does not fit is or-ed into
 * bit 0 of low, which is enough to round correctly to 64 bits or fewer.
 */
#ifndef DOPPEL_CPU_FPU_NUMBER_H
#define DOPPEL_CPU_FPU_NUMBER_H

#include "cpu/fpu/softfloat.h"

typedef unsigned __int128 uint128;

struct fp_format {
    int precision;
    int emin, emax; /* exponents of the smallest and largest normal number */
    int wrap;       /* exponent bias of unmasked overflow and underflow; 0: result is discarded */
};

static inline struct fp_number fp_special(enum number_kind kind, bool sign)
{
    return (struct fp_number){.kind = (uint8_t)kind, .sign = sign};
}

static inline uint128 fp_bits(struct fp_number a)
{
    return (uint128)a.significand << 64 | a.low;
}

static inline void fp_set_bits(struct fp_number *a, uint128 bits)
{
    a->significand = (uint64_t)(bits >> 64);
    a->low = (uint64_t)bits;
}

static inline uint128 shift_right_sticky(uint128 value, unsigned count)
{
    if (count == 0)
        return value;
    if (count > 127)
        return value != 0;
    return value >> count | ((value << (128 - count)) != 0);
}

/* Nonzero value. */
static inline unsigned leading_zeros(uint128 value)
{
    uint64_t high = (uint64_t)(value >> 64);
    return high ? (unsigned)__builtin_clzll(high) : 64 + (unsigned)__builtin_clzll((uint64_t)value);
}

/* -- Rounding -- */

/* Rounds the significand to `precision` bits; a carry out of bit 63 increments the exponent.
 * Returns FP_INEXACT and FP_ROUNDED_UP as they apply. */
static inline unsigned fp_round_bits(struct fp_number *a, int precision, enum fp_rounding rounding)
{
    const uint64_t half = 1ull << 63;
    uint64_t rest, unit;
    if (precision == 64) {
        rest = a->low;
        unit = 1;
    } else {
        rest = a->significand << precision | (a->low != 0);
        unit = 1ull << (64 - precision);
        a->significand &= ~(unit - 1);
    }
    a->low = 0;
    if (!rest)
        return 0;
    bool up;
    if (rounding == FP_NEAREST)
        up = rest > half || (rest == half && (a->significand & unit));
    else
        up = rounding == (a->sign ? FP_DOWN : FP_UP);
    if (!up)
        return FP_INEXACT;
    a->significand += unit;
    if (!a->significand) {
        a->significand = half;
        a->exponent++;
    }
    return FP_INEXACT | FP_ROUNDED_UP;
}

/* The masked response to overflow. */
static inline unsigned fp_overflow(struct fp_number *a, int precision, int emax,
                                   enum fp_rounding rounding)
{
    bool infinite = rounding == FP_NEAREST || rounding == (a->sign ? FP_DOWN : FP_UP);
    if (infinite) {
        a->kind = NUMBER_INFINITE;
        return FP_OVERFLOW | FP_INEXACT | FP_ROUNDED_UP;
    }
    a->significand = ~0ull << (64 - precision);
    a->exponent = emax;
    return FP_OVERFLOW | FP_INEXACT;
}

/*
 * Rounds a finite number into `format`, with exceptions and their responses. Tininess is detected
 * after rounding. A denormal result has exponent emin and bit 63 of the significand clear.
 */
static inline struct fp_number fp_round(struct fp_env *env, struct fp_number a,
                                        struct fp_format format, bool ftz)
{
    struct fp_number exact = a;
    unsigned flags = fp_round_bits(&a, format.precision, (enum fp_rounding)env->rounding);

    if (__builtin_expect(a.exponent < format.emin, 0)) {
        if (!(env->masked & FP_UNDERFLOW)) {
            flags |= FP_UNDERFLOW;
            a.exponent += format.wrap;
            if (format.wrap && a.exponent < format.emin) { /* only FSCALE gets this far */
                flags |= FP_INEXACT;
                a = fp_special(NUMBER_ZERO, a.sign);
            }
        } else if (ftz) {
            flags = FP_UNDERFLOW | FP_INEXACT;
            a = fp_special(NUMBER_ZERO, a.sign);
        } else {
            int64_t distance = (int64_t)format.emin - exact.exponent;
            fp_set_bits(&exact, shift_right_sticky(fp_bits(exact),
                                                   distance > 128 ? 128 : (unsigned)distance));
            exact.exponent = format.emin;
            flags = fp_round_bits(&exact, format.precision, (enum fp_rounding)env->rounding);
            if (flags & FP_INEXACT)
                flags |= FP_UNDERFLOW;
            a = exact;
        }
    } else if (__builtin_expect(a.exponent > format.emax, 0)) {
        if (env->masked & FP_OVERFLOW) {
            flags = fp_overflow(&a, format.precision, format.emax, (enum fp_rounding)env->rounding);
        } else {
            flags |= FP_OVERFLOW;
            a.exponent -= format.wrap;
            if (format.wrap && a.exponent > format.emax) {
                flags |= FP_INEXACT | FP_ROUNDED_UP;
                a.kind = NUMBER_INFINITE;
            }
        }
    }
    env->flags |= (uint16_t)flags;
    return a;
}

/* -- Arithmetic on finite and zero operands: the result is not rounded yet -- */

/* a + b for nonzero a, b, which may be exact products. An exact zero has the sign that the rounding
 * mode gives. */
static inline struct fp_number fp_add_finite(struct fp_number a, struct fp_number b,
                                             enum fp_rounding rounding)
{
    if (a.exponent < b.exponent || (a.exponent == b.exponent && fp_bits(a) < fp_bits(b))) {
        struct fp_number swap = a;
        a = b;
        b = swap;
    }
    unsigned distance = (unsigned)(a.exponent - b.exponent);
    uint128 x = fp_bits(a);
    uint128 y = shift_right_sticky(fp_bits(b), distance > 128 ? 128 : distance);
    struct fp_number result = {.kind = NUMBER_FINITE, .sign = a.sign, .exponent = a.exponent};
    if (a.sign == b.sign) {
        uint128 sum = x + y;
        if (sum < x) { /* carry */
            sum = sum >> 1 | (sum & 1) | (uint128)1 << 127;
            result.exponent++;
        }
        fp_set_bits(&result, sum);
        return result;
    }
    uint128 difference = x - y;
    if (!difference)
        return fp_special(NUMBER_ZERO, rounding == FP_DOWN);
    unsigned shift = leading_zeros(difference);
    fp_set_bits(&result, difference << shift);
    result.exponent -= (int)shift;
    return result;
}

static inline struct fp_number fp_mul_finite(struct fp_number a, struct fp_number b)
{
    struct fp_number result = {
        .kind = NUMBER_FINITE, .sign = a.sign != b.sign, .exponent = a.exponent + b.exponent + 1};
    uint128 product = (uint128)a.significand * b.significand;
    if (!(product >> 127)) {
        product <<= 1;
        result.exponent--;
    }
    fp_set_bits(&result, product);
    return result;
}

static inline struct fp_number fp_div_finite(struct fp_number a, struct fp_number b)
{
    struct fp_number result = {
        .kind = NUMBER_FINITE, .sign = a.sign != b.sign, .exponent = a.exponent - b.exponent};
    uint128 dividend;
    if (a.significand >= b.significand) {
        dividend = (uint128)a.significand << 63;
    } else {
        dividend = (uint128)a.significand << 64;
        result.exponent--;
    }
    uint64_t remainder;
    result.significand = (uint64_t)(dividend / b.significand);
    remainder = (uint64_t)(dividend % b.significand);
    /* What is left, compared with half a unit: round bit and sticky bit. */
    uint128 twice = (uint128)remainder << 1;
    result.low =
        (uint64_t)(twice >= b.significand) << 63 | (remainder != 0 && twice != b.significand);
    return result;
}

/* Floor of the square root, bit by bit. */
static inline uint64_t integer_sqrt(uint64_t value)
{
    uint64_t root = 0;
    for (uint64_t bit = 1ull << 31; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= value)
            root |= bit;
    return root;
}

/* Positive a. */
static inline struct fp_number fp_sqrt_finite(struct fp_number a)
{
    bool odd = a.exponent & 1;
    uint128 radicand = (uint128)a.significand << (odd ? 64 : 63);
    /* 32 bits of the root, one step of Newton's doubles them; then correct to the floor. */
    uint64_t root = integer_sqrt((uint64_t)(radicand >> 64)) << 32 | 1u << 31;
    uint128 next = ((uint128)root + radicand / root) >> 1;
    root = next >> 64 ? ~0ull : (uint64_t)next;
    while ((uint128)root * root > radicand)
        root--;
    uint128 remainder = radicand - (uint128)root * root;
    while (remainder > (uint128)root << 1) {
        remainder -= ((uint128)root << 1) + 1;
        root++;
    }
    struct fp_number result = {.kind = NUMBER_FINITE, .significand = root};
    result.exponent = (a.exponent - odd) / 2;
    /* (root + 1/2)^2 = root^2 + root + 1/4 */
    result.low = (uint64_t)(remainder > root) << 63 | (remainder != 0);
    return result;
}

static inline void fp_note_denormals(struct fp_env *env, struct fp_number a, struct fp_number b)
{
    if (a.denormal | b.denormal)
        env->flags |= FP_DENORMAL;
}

/*
 * The operations with zeros and infinities, for operands that are no NaN. An invalid operation
 * raises its flag and returns kind NUMBER_NAN, which each format turns into its default NaN.
 */
static inline struct fp_number fp_invalid(struct fp_env *env)
{
    env->flags |= FP_INVALID;
    return fp_special(NUMBER_NAN, true);
}

static inline struct fp_number fp_add(struct fp_env *env, struct fp_number a, struct fp_number b)
{
    if (a.kind == NUMBER_INFINITE || b.kind == NUMBER_INFINITE) {
        if (a.kind == b.kind && a.sign != b.sign)
            return fp_invalid(env);
        fp_note_denormals(env, a, b);
        return a.kind == NUMBER_INFINITE ? a : b;
    }
    fp_note_denormals(env, a, b);
    if (a.kind == NUMBER_ZERO && b.kind == NUMBER_ZERO)
        return fp_special(NUMBER_ZERO, a.sign == b.sign ? a.sign : env->rounding == FP_DOWN);
    if (a.kind == NUMBER_ZERO)
        return b;
    if (b.kind == NUMBER_ZERO)
        return a;
    return fp_add_finite(a, b, (enum fp_rounding)env->rounding);
}

static inline struct fp_number fp_mul(struct fp_env *env, struct fp_number a, struct fp_number b)
{
    bool sign = a.sign != b.sign;
    if (a.kind == NUMBER_INFINITE || b.kind == NUMBER_INFINITE) {
        if (a.kind == NUMBER_ZERO || b.kind == NUMBER_ZERO)
            return fp_invalid(env);
        fp_note_denormals(env, a, b);
        return fp_special(NUMBER_INFINITE, sign);
    }
    fp_note_denormals(env, a, b);
    if (a.kind == NUMBER_ZERO || b.kind == NUMBER_ZERO)
        return fp_special(NUMBER_ZERO, sign);
    return fp_mul_finite(a, b);
}

/* x * y + z, rounded only once by the caller. */
static inline struct fp_number fp_fma(struct fp_env *env, struct fp_number x, struct fp_number y,
                                      struct fp_number z)
{
    bool infinite = x.kind == NUMBER_INFINITE || y.kind == NUMBER_INFINITE;
    bool zero = x.kind == NUMBER_ZERO || y.kind == NUMBER_ZERO;
    bool sign = x.sign != y.sign;
    if (infinite && (zero || (z.kind == NUMBER_INFINITE && z.sign != sign)))
        return fp_invalid(env);
    fp_note_denormals(env, x, y);
    fp_note_denormals(env, z, z);
    if (infinite)
        return fp_special(NUMBER_INFINITE, sign);
    if (zero && z.kind == NUMBER_ZERO)
        return fp_special(NUMBER_ZERO, sign == z.sign ? sign : env->rounding == FP_DOWN);
    if (zero || z.kind == NUMBER_INFINITE)
        return z;
    struct fp_number product = fp_mul_finite(x, y);
    if (z.kind == NUMBER_ZERO)
        return product;
    return fp_add_finite(product, z, (enum fp_rounding)env->rounding);
}

static inline struct fp_number fp_div(struct fp_env *env, struct fp_number a, struct fp_number b)
{
    bool sign = a.sign != b.sign;
    if (a.kind == b.kind && a.kind != NUMBER_FINITE)
        return fp_invalid(env);
    if (b.kind == NUMBER_ZERO && a.kind == NUMBER_FINITE) {
        env->flags |= FP_ZERO_DIVIDE;
        return fp_special(NUMBER_INFINITE, sign);
    }
    fp_note_denormals(env, a, b);
    if (a.kind == NUMBER_INFINITE || b.kind == NUMBER_ZERO)
        return fp_special(NUMBER_INFINITE, sign);
    if (a.kind == NUMBER_ZERO || b.kind == NUMBER_INFINITE)
        return fp_special(NUMBER_ZERO, sign);
    return fp_div_finite(a, b);
}

static inline struct fp_number fp_sqrt(struct fp_env *env, struct fp_number a)
{
    if (a.kind == NUMBER_ZERO)
        return a;
    if (a.sign)
        return fp_invalid(env);
    fp_note_denormals(env, a, a);
    return a.kind == NUMBER_INFINITE ? a : fp_sqrt_finite(a);
}

/* Operands that are no NaN. */
static inline enum fp_relation fp_compare(struct fp_number a, struct fp_number b)
{
    if (a.kind == NUMBER_ZERO && b.kind == NUMBER_ZERO)
        return FP_EQUAL;
    if (a.kind == NUMBER_ZERO)
        return b.sign ? FP_GREATER : FP_LESS;
    if (b.kind == NUMBER_ZERO || a.sign != b.sign)
        return a.sign ? FP_LESS : FP_GREATER;
    bool less, equal;
    if (a.kind != b.kind) {
        less = a.kind < b.kind; /* finite against infinite */
        equal = false;
    } else if (a.kind == NUMBER_INFINITE) {
        less = false;
        equal = true;
    } else {
        less =
            a.exponent < b.exponent || (a.exponent == b.exponent && a.significand < b.significand);
        equal = a.exponent == b.exponent && a.significand == b.significand;
    }
    if (equal)
        return FP_EQUAL;
    return less != a.sign ? FP_LESS : FP_GREATER;
}

/* A finite number rounded to an integer: magnitude below 2^63 * 2, or ~0 and *overflow. */
static inline uint64_t fp_integer(struct fp_number a, enum fp_rounding rounding, unsigned *flags,
                                  bool *overflow)
{
    *overflow = a.exponent > 63;
    if (*overflow)
        return ~0ull;
    int shift = 63 - a.exponent;
    uint128 bits =
        shift_right_sticky((uint128)a.significand << 64, shift > 128 ? 128 : (unsigned)shift);
    struct fp_number integer = {.kind = NUMBER_FINITE, .sign = a.sign, .exponent = 0};
    fp_set_bits(&integer, bits);
    *flags = fp_round_bits(&integer, 64, rounding);
    if (integer.exponent) { /* carry out of bit 63: 2^64 */
        *overflow = true;
        return ~0ull;
    }
    return integer.significand;
}

/* No NaN needed apart: NaNs and unsupported encodings do not fit either. */
static inline int64_t fp_to_int(struct fp_env *env, struct fp_number a, unsigned width,
                                enum fp_rounding rounding)
{
    uint64_t limit = 1ull << (width - 1);
    if (a.kind == NUMBER_ZERO)
        return 0;
    unsigned flags = 0;
    bool overflow = true;
    uint64_t magnitude = 0;
    if (a.kind == NUMBER_FINITE)
        magnitude = fp_integer(a, rounding, &flags, &overflow);
    if (overflow || magnitude > limit - !a.sign) {
        env->flags |= FP_INVALID;
        return (int64_t)-limit;
    }
    env->flags |= (uint16_t)flags;
    return a.sign ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
}

/* Finite a rounded to an integral value of the same kind of number. */
static inline struct fp_number fp_round_to_int(struct fp_env *env, struct fp_number a,
                                               enum fp_rounding rounding)
{
    if (a.kind != NUMBER_FINITE || a.exponent >= 63)
        return a;
    unsigned flags = 0;
    bool overflow;
    uint64_t magnitude = fp_integer(a, rounding, &flags, &overflow);
    env->flags |= (uint16_t)flags;
    if (!magnitude)
        return fp_special(NUMBER_ZERO, a.sign);
    unsigned shift = (unsigned)__builtin_clzll(magnitude);
    a.significand = magnitude << shift;
    a.exponent = 63 - (int)shift;
    return a;
}

/* Packs a result, rounding finite ones to `precision` bits (cpu/fpu/softfloat80.c). */
struct float80 f80_round(struct fp_env *env, struct fp_number a, int precision);

#endif
