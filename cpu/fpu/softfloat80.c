/* float80 by x87 rules (see softfloat.h). */
#include "cpu/fpu/number.h"

#include <string.h>

#define BIAS        16383
#define EMIN        (1 - BIAS)
#define EMAX        BIAS
#define INTEGER_BIT (1ull << 63)
#define QUIET_BIT   (1ull << 62)

struct fp_number f80_unpack(struct float80 a)
{
    struct fp_number number = {.sign = a.exponent >> 15, .significand = a.mantissa};
    int exponent = a.exponent & 0x7fff;
    if (!exponent) {
        if (!a.mantissa) {
            number.kind = NUMBER_ZERO;
            return number;
        }
        unsigned shift = (unsigned)__builtin_clzll(a.mantissa);
        number.kind = NUMBER_FINITE;
        number.denormal = true;
        number.significand <<= shift;
        number.exponent = EMIN - (int)shift;
    } else if (!(a.mantissa & INTEGER_BIT)) {
        number.kind = NUMBER_UNSUPPORTED; /* unnormal, pseudo-infinity, pseudo-NaN */
    } else if (exponent != 0x7fff) {
        number.kind = NUMBER_FINITE;
        number.exponent = exponent - BIAS;
    } else if (a.mantissa == INTEGER_BIT) {
        number.kind = NUMBER_INFINITE;
    } else {
        number.kind = NUMBER_NAN;
        number.signalling = !(a.mantissa & QUIET_BIT);
    }
    return number;
}

static struct float80 f80_pack(struct fp_number a)
{
    uint16_t sign = (uint16_t)(a.sign << 15);
    switch (a.kind) {
    case NUMBER_ZERO:
        return (struct float80){0, sign};
    case NUMBER_FINITE: {
        int exponent = a.significand & INTEGER_BIT ? a.exponent + BIAS : 0;
        return (struct float80){a.significand, (uint16_t)(sign | exponent)};
    }
    case NUMBER_INFINITE:
        return (struct float80){INTEGER_BIT, sign | 0x7fff};
    default:
        return F80_DEFAULT_NAN;
    }
}

struct float80 f80_round(struct fp_env *env, struct fp_number a, int precision)
{
    const struct fp_format format = {
        .precision = precision, .emin = EMIN, .emax = EMAX, .wrap = 24576};
    if (a.kind == NUMBER_FINITE)
        a = fp_round(env, a, format, false);
    return f80_pack(a);
}

/* SDM volume 1, table 4-7: a quiet NaN beats a signalling one, else the larger significand wins,
 * else the positive one. */
struct float80 f80_propagate_nan(struct fp_env *env, struct fp_number a, struct fp_number b)
{
    if (a.kind == NUMBER_UNSUPPORTED || b.kind == NUMBER_UNSUPPORTED) {
        env->flags |= FP_INVALID;
        return F80_DEFAULT_NAN;
    }
    if (a.signalling || b.signalling)
        env->flags |= FP_INVALID;
    bool first;
    if (a.kind != b.kind)
        first = a.kind == NUMBER_NAN;
    else if (a.signalling != b.signalling)
        first = b.signalling;
    else if (a.significand != b.significand)
        first = a.significand > b.significand;
    else
        first = !a.sign;
    struct fp_number nan = first ? a : b;
    return (struct float80){nan.significand | QUIET_BIT, (uint16_t)(nan.sign << 15 | 0x7fff)};
}

struct float80 f80_add(struct fp_env *env, struct fp_number a, struct fp_number b)
{
    if (fp_is_nan(a) || fp_is_nan(b))
        return f80_propagate_nan(env, a, b);
    return f80_round(env, fp_add(env, a, b), env->precision);
}

struct float80 f80_sub(struct fp_env *env, struct fp_number a, struct fp_number b)
{
    if (fp_is_nan(a) || fp_is_nan(b))
        return f80_propagate_nan(env, a, b);
    b.sign = !b.sign;
    return f80_round(env, fp_add(env, a, b), env->precision);
}

struct float80 f80_mul(struct fp_env *env, struct fp_number a, struct fp_number b)
{
    if (fp_is_nan(a) || fp_is_nan(b))
        return f80_propagate_nan(env, a, b);
    return f80_round(env, fp_mul(env, a, b), env->precision);
}

struct float80 f80_div(struct fp_env *env, struct fp_number a, struct fp_number b)
{
    if (fp_is_nan(a) || fp_is_nan(b))
        return f80_propagate_nan(env, a, b);
    return f80_round(env, fp_div(env, a, b), env->precision);
}

struct float80 f80_sqrt(struct fp_env *env, struct fp_number a)
{
    if (fp_is_nan(a))
        return f80_propagate_nan(env, a, a);
    return f80_round(env, fp_sqrt(env, a), env->precision);
}

enum fp_relation f80_compare(struct fp_env *env, struct fp_number a, struct fp_number b, bool quiet)
{
    if (fp_is_nan(a) || fp_is_nan(b)) {
        bool unsupported = a.kind == NUMBER_UNSUPPORTED || b.kind == NUMBER_UNSUPPORTED;
        if (!quiet || unsupported || a.signalling || b.signalling)
            env->flags |= FP_INVALID;
        return FP_UNORDERED;
    }
    fp_note_denormals(env, a, b);
    return fp_compare(a, b);
}

struct float80 f80_round_to_int(struct fp_env *env, struct fp_number a)
{
    if (fp_is_nan(a))
        return f80_propagate_nan(env, a, a);
    fp_note_denormals(env, a, a);
    return f80_pack(fp_round_to_int(env, a, (enum fp_rounding)env->rounding));
}

struct float80 f80_from_int(int64_t value)
{
    return f80_pack(fp_from_int(value));
}

int64_t f80_to_int(struct fp_env *env, struct fp_number a, unsigned width,
                   enum fp_rounding rounding)
{
    return fp_to_int(env, a, width, rounding);
}

/* -- Scale, extract, remainder -- */

struct float80 f80_scale(struct fp_env *env, struct fp_number a, struct fp_number b)
{
    if (fp_is_nan(a) || fp_is_nan(b))
        return f80_propagate_nan(env, a, b);
    if (b.kind == NUMBER_INFINITE) {
        if (a.kind == (b.sign ? NUMBER_INFINITE : NUMBER_ZERO))
            return f80_pack(fp_invalid(env));
        fp_note_denormals(env, a, b);
        return f80_pack(fp_special(b.sign ? NUMBER_ZERO : NUMBER_INFINITE, a.sign));
    }
    fp_note_denormals(env, a, b);
    if (a.kind != NUMBER_FINITE)
        return f80_pack(a);
    if (b.kind == NUMBER_FINITE && b.exponent >= 0) {
        /* More than 2^17 overflows or underflows whatever a is. */
        int32_t power = b.exponent > 16 ? 1 << 17 : (int32_t)(b.significand >> (63 - b.exponent));
        a.exponent += b.sign ? -power : power;
    }
    return f80_round(env, a, 64);
}

struct float80 f80_extract(struct fp_env *env, struct fp_number a, struct float80 *significand)
{
    switch (a.kind) {
    case NUMBER_ZERO:
        env->flags |= FP_ZERO_DIVIDE;
        *significand = f80_pack(a);
        return f80_pack(fp_special(NUMBER_INFINITE, true));
    case NUMBER_FINITE: {
        int exponent = a.exponent;
        fp_note_denormals(env, a, a);
        a.exponent = 0;
        *significand = f80_pack(a);
        return f80_from_int(exponent);
    }
    case NUMBER_INFINITE:
        *significand = f80_pack(a);
        return f80_pack(fp_special(NUMBER_INFINITE, false));
    default:
        return *significand = f80_propagate_nan(env, a, a);
    }
}

/* a mod b in units of the lowest bit of b: a's significand shifted by up to 63 bits. */
static uint64_t modulo_shifted(uint64_t a, unsigned shift, uint64_t b, uint64_t *quotient)
{
    uint128 dividend = (uint128)a << shift;
    *quotient = (uint64_t)(dividend / b);
    return (uint64_t)(dividend % b);
}

struct float80 f80_remainder(struct fp_env *env, struct fp_number a, struct fp_number b,
                             bool nearest, uint64_t *quotient, bool *partial)
{
    *quotient = 0;
    *partial = false;
    if (fp_is_nan(a) || fp_is_nan(b))
        return f80_propagate_nan(env, a, b);
    if (a.kind == NUMBER_INFINITE || b.kind == NUMBER_ZERO)
        return f80_pack(fp_invalid(env));
    fp_note_denormals(env, a, b);
    if (a.kind == NUMBER_ZERO || b.kind == NUMBER_INFINITE)
        return f80_round(env, a, 64);

    int distance = a.exponent - b.exponent;
    struct fp_number result = {.kind = NUMBER_FINITE, .sign = a.sign, .exponent = b.exponent};
    uint64_t rest;
    if (distance >= 64) {
        /* Reduce the distance by 32 to 63 bits, as many as leave a multiple of 32. */
        unsigned step = 32 + (unsigned)distance % 32;
        rest = modulo_shifted(a.significand, step, b.significand, quotient);
        *quotient = 0;
        *partial = true;
        result.exponent = a.exponent - (int)step;
    } else if (distance >= 0) {
        rest = modulo_shifted(a.significand, (unsigned)distance, b.significand, quotient);
    } else if (distance < -1 || !nearest) {
        return f80_round(env, a, 64); /* |a| < |b| / 2, or truncating: a is the remainder */
    } else {
        /* |a| < |b| < 4|a|: work in units of a's lowest bit, b has one bit more than fits. */
        uint128 divisor = (uint128)b.significand << 1;
        if ((uint128)a.significand << 1 <= divisor)
            return f80_round(env, a, 64);
        *quotient = 1;
        result.sign = !a.sign;
        result.exponent = a.exponent;
        rest = (uint64_t)(divisor - a.significand);
        unsigned shift = (unsigned)__builtin_clzll(rest);
        result.significand = rest << shift;
        result.exponent -= (int)shift;
        return f80_round(env, result, 64);
    }
    if (nearest && !*partial && rest) {
        uint64_t other = b.significand - rest;
        if (rest > other || (rest == other && (*quotient & 1))) {
            rest = other;
            result.sign = !a.sign;
            ++*quotient;
        }
    }
    if (!rest)
        return f80_pack(fp_special(NUMBER_ZERO, a.sign));
    unsigned shift = (unsigned)__builtin_clzll(rest);
    result.significand = rest << shift;
    result.exponent -= (int)shift;
    return f80_round(env, result, 64);
}

/* -- Packed decimal -- */

struct float80 f80_from_bcd(const uint8_t bcd[10])
{
    int64_t value = 0;
    for (int i = 8; i >= 0; i--)
        value = value * 100 + (bcd[i] >> 4) * 10 + (bcd[i] & 15);
    struct float80 result = f80_from_int(value);
    result.exponent |= (uint16_t)((bcd[9] & 0x80) << 8);
    return result;
}

void f80_to_bcd(struct fp_env *env, struct fp_number a, uint8_t bcd[10])
{
    uint16_t before = env->flags;
    int64_t value = fp_to_int(env, a, 64, (enum fp_rounding)env->rounding);
    const int64_t limit = 1000000000000000000;
    if (value <= -limit || value >= limit) {
        static const uint8_t indefinite[10] = {0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff};
        env->flags = before | FP_INVALID;
        memcpy(bcd, indefinite, 10);
        return;
    }
    bcd[9] = a.sign ? 0x80 : 0;
    uint64_t rest = (uint64_t)(value < 0 ? -value : value);
    for (int i = 0; i < 9; i++, rest /= 100)
        bcd[i] = (uint8_t)(rest % 100 / 10 << 4 | rest % 10);
}
