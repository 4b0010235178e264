/*
 * The x87's transcendental functions in integers, for hosts without them: special operands by the
 * SDM's tables (volume 1, section 8.3.7 and the instructions' pages), finite ones by series in 128
 * bits whose errors stay some twenty bits below the last bit of the result.
 *
 *   sin, cos, tan   x mod pi/2 with the 66-bit pi of the hardware, then Taylor
 *   2^x - 1         exp(x ln 2) - 1, Taylor
 *   atan            nearest eighth from a table, the rest by Taylor
 *   log2            2 atanh((m - 1) / (m + 1)) / ln 2 for m near 1
 *
 * Series are summed as factors near 1 in fixed point with 127 fraction bits (type fixed), which
 * keeps their relative precision for tiny arguments; magnitudes are struct wide.
 */
#include "cpu/fpu/number.h"
#include "cpu/fpu/transcendental.h"

/* -- 128-bit fractions and floating numbers -- */

typedef uint128 fixed; /* value / 2^127 */
#define FIXED_ONE        ((fixed)1 << 127)
#define FIXED(high, low) ((fixed)(high) << 64 | (low))

/* significand / 2^127 * 2^exponent; bit 127 set unless the number is 0. */
struct wide {
    uint128 significand;
    int32_t exponent;
    bool sign;
};

/* Upper half of the product. */
static uint128 multiply_high(uint128 a, uint128 b)
{
    uint64_t a1 = (uint64_t)(a >> 64), a0 = (uint64_t)a, b1 = (uint64_t)(b >> 64), b0 = (uint64_t)b;
    uint128 low = (uint128)a0 * b0, cross1 = (uint128)a1 * b0, cross2 = (uint128)a0 * b1;
    uint128 middle = (low >> 64) + (uint64_t)cross1 + (uint64_t)cross2;
    return (uint128)a1 * b1 + (cross1 >> 64) + (cross2 >> 64) + (middle >> 64);
}

static fixed fixed_multiply(fixed a, fixed b)
{
    return multiply_high(a, b) << 1;
}

static struct wide wide_normalize(struct wide a)
{
    if (a.significand) {
        unsigned shift = leading_zeros(a.significand);
        a.significand <<= shift;
        a.exponent -= (int)shift;
    } else {
        a.exponent = -0x10000; /* below everything, however often it is added to itself */
    }
    return a;
}

static struct wide wide_from_number(struct fp_number a)
{
    if (a.kind != NUMBER_FINITE)
        return (struct wide){0, 0, a.sign};
    return (struct wide){(uint128)a.significand << 64, a.exponent, a.sign};
}

static struct wide wide_from_fixed(fixed value)
{
    return wide_normalize((struct wide){value, 0, false});
}

static struct wide wide_from_int(int value)
{
    return wide_normalize(
        (struct wide){(uint128)(value < 0 ? -value : value) << 96, 31, value < 0});
}

/* A number below 2 as a fraction. */
static fixed wide_to_fixed(struct wide a)
{
    return a.exponent < -127 ? 0 : a.significand >> -a.exponent;
}

static struct wide wide_multiply(struct wide a, struct wide b)
{
    return wide_normalize((struct wide){multiply_high(a.significand, b.significand),
                                        a.exponent + b.exponent + 1, a.sign != b.sign});
}

/* Nonzero b. */
static struct wide wide_divide(struct wide a, struct wide b)
{
    uint128 quotient = 0, rest = a.significand;
    if (!rest)
        return a;
    bool above = rest >= b.significand;
    if (above)
        rest -= b.significand;
    quotient = above;
    for (unsigned i = above ? 1 : 0; i < 128; i++) {
        bool carry = rest >> 127;
        rest <<= 1;
        quotient <<= 1;
        if (carry || rest >= b.significand) {
            rest -= b.significand;
            quotient |= 1;
        }
    }
    return wide_normalize(
        (struct wide){quotient, a.exponent - b.exponent - !above, a.sign != b.sign});
}

static struct wide wide_add(struct wide a, struct wide b)
{
    if (!a.significand)
        return b;
    if (!b.significand)
        return a;
    if (a.exponent < b.exponent || (a.exponent == b.exponent && a.significand < b.significand)) {
        struct wide swap = a;
        a = b;
        b = swap;
    }
    unsigned distance = (unsigned)(a.exponent - b.exponent);
    uint128 x = a.significand >> 1, y = distance > 126 ? 0 : b.significand >> 1 >> distance;
    a.significand = a.sign == b.sign ? x + y : x - y;
    a.exponent++;
    return wide_normalize(a);
}

static struct wide wide_negate(struct wide a)
{
    a.sign = !a.sign;
    return a;
}

static const struct wide wide_one = {FIXED_ONE, 0, false};

/* -- Series -- */

/* 1 - z/first + z^2/(first * second) - ..., where term k divides by d(k) = (2k + a)(2k + b):
 * sin(x)/x with a = 0, b = 1 and cos(x) with a = -1, b = 0, z = x^2 < 1. */
static fixed circular_series(fixed z, int a, int b)
{
    fixed sum = FIXED_ONE;
    for (int k = 14; k >= 1; k--)
        sum = FIXED_ONE - fixed_multiply(z, sum) / (uint64_t)((2 * k + a) * (2 * k + b));
    return sum;
}

/* (e^t - 1)/t for |t| < 0.7: 1 + t/2 (1 + t/3 (1 + ...)). */
static fixed exponential_series(fixed t, bool negative)
{
    fixed sum = FIXED_ONE;
    for (unsigned k = 28; k >= 2; k--) {
        fixed term = fixed_multiply(t, sum) / k;
        sum = negative ? FIXED_ONE - term : FIXED_ONE + term;
    }
    return sum;
}

/* 1 +- z/3 + z^2/5 +- ...: atanh(s)/s, or with `alternating` atan(s)/s; z = s^2 < 1/16. */
static fixed arc_series(fixed z, bool alternating)
{
    fixed sum = FIXED_ONE / 63;
    for (int k = 61; k >= 1; k -= 2) {
        fixed term = fixed_multiply(z, sum);
        sum = alternating ? FIXED_ONE / (unsigned)k - term : FIXED_ONE / (unsigned)k + term;
    }
    return sum;
}

/* -- sin, cos -- */

/* pi/2 of the hardware: 0xc90fdaa22168c234c / 2^67. */
#define HALF_PI      FIXED(0xc, 0x90fdaa22168c234c)
#define HALF_PI_BITS 67

/* x = quadrant * pi/2 + rest with 0 <= rest < pi/2, for positive x < 2^63; both exact but for the
 * quadrant's upper bits. */
static struct wide reduce(struct fp_number x, unsigned *quadrant)
{
    *quadrant = 0;
    if (x.exponent < -1)
        return wide_from_number(x);
    /* x = significand * 2^(exponent - 63); in units of 2^-67 that is shifted left by exponent + 4.
     */
    uint128 rest = x.significand;
    for (int i = 0; i < x.exponent + 4; i++) {
        rest <<= 1;
        *quadrant <<= 1;
        if (rest >= HALF_PI) {
            rest -= HALF_PI;
            *quadrant |= 1;
        }
    }
    return wide_normalize((struct wide){rest, 127 - HALF_PI_BITS, false});
}

/* Sine and cosine of 0 <= x < pi/2. */
static void sine_cosine(struct wide x, struct wide *sine, struct wide *cosine)
{
    const struct wide half_pi = wide_normalize((struct wide){HALF_PI, 127 - HALF_PI_BITS, false});
    const struct wide quarter_pi = {half_pi.significand, half_pi.exponent - 1, false};
    struct wide above = wide_add(x, wide_negate(quarter_pi));
    bool swap = above.significand && !above.sign;
    if (swap)
        x = wide_add(half_pi, wide_negate(x));
    fixed z = wide_to_fixed(wide_multiply(x, x));
    struct wide s = wide_multiply(x, wide_from_fixed(circular_series(z, 0, 1)));
    struct wide c = wide_from_fixed(circular_series(z, -1, 0));
    *sine = swap ? c : s;
    *cosine = swap ? s : c;
}

static void circular(struct fp_number x, struct wide *sine, struct wide *cosine)
{
    unsigned quadrant;
    bool negative = x.sign;
    x.sign = false;
    struct wide s, c, rest = reduce(x, &quadrant);
    sine_cosine(rest, &s, &c);
    *sine = quadrant & 1 ? c : s;
    *cosine = quadrant & 1 ? s : c;
    sine->sign = ((quadrant & 2) != 0) != negative;
    cosine->sign = ((quadrant + 1) & 2) != 0;
}

/* -- atan2 -- */

static const uint64_t arctangent_of_eighths[9][2] = {
    {0x0000000000000000, 0x0000000000000000}, {0x0feadd4d5617b6e3, 0x2c897989f3e888ef},
    {0x1f5b75f92c80dd62, 0xadb8f3debef442fd}, {0x2dec3283c9bde11c, 0xe2a8c848b73f9121},
    {0x3b58ce0ac3769ed1, 0x5bf9117b2f0ea341}, {0x47802eaf7bfacfcd, 0xae41af0b32e21ba4},
    {0x525e3e8c9a7b8492, 0x0cd43f9522bed64f}, {0x5c029f15e118cf39, 0xe596d2a90852221f},
    {0x6487ed5110b4611a, 0x62633145c06e0e69},
};

/* quarters * pi/4 */
static struct wide pi_quarters(int quarters)
{
    const uint64_t *quarter = arctangent_of_eighths[8];
    return wide_multiply(wide_from_int(quarters), wide_from_fixed(FIXED(quarter[0], quarter[1])));
}

/* atan(t) for 0 <= t <= 1. */
static struct wide arctangent(struct wide t)
{
    fixed value = wide_to_fixed(t);
    unsigned eighth = (unsigned)((value + ((fixed)1 << 123)) >> 124);
    if (eighth) { /* atan t = atan c + atan((t - c)/(1 + t c)) */
        struct wide c = wide_from_fixed((fixed)eighth << 124);
        t = wide_divide(wide_add(t, wide_negate(c)), wide_add(wide_one, wide_multiply(t, c)));
    }
    fixed z = wide_to_fixed(wide_multiply(t, t));
    const uint64_t *base = arctangent_of_eighths[eighth];
    return wide_add(wide_from_fixed(FIXED(base[0], base[1])),
                    wide_multiply(t, wide_from_fixed(arc_series(z, true))));
}

/* Finite nonzero y, x. */
static struct wide arctangent2(struct fp_number y, struct fp_number x)
{
    struct wide a = wide_from_number(y), b = wide_from_number(x), result;
    a.sign = b.sign = false;
    bool steep =
        a.exponent > b.exponent || (a.exponent == b.exponent && a.significand > b.significand);
    result = arctangent(steep ? wide_divide(b, a) : wide_divide(a, b));
    if (steep)
        result = wide_add(pi_quarters(2), wide_negate(result));
    if (x.sign)
        result = wide_add(pi_quarters(4), wide_negate(result));
    result.sign = y.sign;
    return result;
}

/* -- Logarithm and exponential -- */

/* 2 atanh(s) / ln 2 */
static struct wide log2_of_ratio(struct wide s)
{
    const struct wide two_log2_e = {FIXED(0xb8aa3b295c17f0bb, 0xbe87fed0691d3e88), 1, false};
    fixed z = wide_to_fixed(wide_multiply(s, s));
    return wide_multiply(wide_multiply(s, wide_from_fixed(arc_series(z, false))), two_log2_e);
}

/* Positive a. */
static struct wide logarithm2(struct wide a)
{
    const uint128 root2 = FIXED(0xb504f333f9de6484, 0x597d89b3754abe9f);
    int exponent = a.exponent;
    a.exponent = 0;
    if (a.significand > root2) { /* in (sqrt(1/2), sqrt(2)] */
        a.exponent = -1;
        exponent++;
    }
    struct wide ratio = wide_divide(wide_add(a, wide_negate(wide_one)), wide_add(a, wide_one));
    return wide_add(wide_from_int(exponent), log2_of_ratio(ratio));
}

/* log2(1 + x), x > -1, without cancellation near 0. */
static struct wide logarithm2_plus1(struct wide x)
{
    if (x.exponent >= -2)
        return logarithm2(wide_add(wide_one, x));
    return log2_of_ratio(wide_divide(x, wide_add(wide_from_int(2), x)));
}

/* 2^x - 1 for |x| <= 1. */
static struct wide exponential2_minus1(struct wide x)
{
    const struct wide ln2 = {FIXED(0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af), -1, false};
    struct wide t = wide_multiply(x, ln2);
    return wide_multiply(t, wide_from_fixed(exponential_series(wide_to_fixed(t), t.sign)));
}

/* -- Results -- */

static struct float80 round_wide(struct fp_env *env, struct wide a)
{
    if (!a.significand)
        return f80_round(env, fp_special(NUMBER_ZERO, a.sign), 64);
    struct fp_number number = {.kind = NUMBER_FINITE, .sign = a.sign, .exponent = a.exponent};
    fp_set_bits(&number, a.significand);
    return f80_round(env, number, 64);
}

/* The value happens to be exact; processors raise PE, and with it UE, all the same. */
static struct float80 round_exact(struct fp_env *env, struct wide a)
{
    struct float80 result = round_wide(env, a);
    bool tiny = !(result.exponent & 0x7fff);
    env->flags |= tiny ? FP_INEXACT | FP_UNDERFLOW : FP_INEXACT;
    return result;
}

/* The function's value is irrational: inexact even when the bits computed end in zeros. */
static struct float80 round_inexact(struct fp_env *env, struct wide a)
{
    a.significand |= 1;
    return round_wide(env, a);
}

static struct float80 special(struct fp_env *env, enum number_kind kind, bool sign)
{
    return f80_round(env, fp_special(kind, sign), 64);
}

static struct float80 invalid(struct fp_env *env)
{
    return f80_round(env, fp_invalid(env), 64);
}

/* -- Special operands -- */

static struct float80 compute_2xm1(struct fp_env *env, struct fp_number x)
{
    fp_note_denormals(env, x, x);
    if (x.kind == NUMBER_ZERO)
        return special(env, NUMBER_ZERO, x.sign);
    if (x.kind == NUMBER_INFINITE)
        return x.sign ? f80_from_int(-1) : special(env, NUMBER_INFINITE, false);
    bool one = x.exponent == 0 && x.significand == 1ull << 63;
    if (x.exponent >= 0 && !one) /* undefined: the operand stays */
        return f80_round(env, x, 64);
    if (one)
        return round_exact(env, (struct wide){FIXED_ONE, x.sign ? -1 : 0, x.sign});
    return round_inexact(env, exponential2_minus1(wide_from_number(x)));
}

static struct float80 compute_yl2x(struct fp_env *env, struct fp_number x, struct fp_number y)
{
    if (x.kind != NUMBER_ZERO && x.sign)
        return invalid(env);
    bool one = x.kind == NUMBER_FINITE && x.exponent == 0 && x.significand == 1ull << 63;
    bool below = x.kind == NUMBER_ZERO || (x.kind == NUMBER_FINITE && x.exponent < 0);
    if (x.kind == NUMBER_ZERO || x.kind == NUMBER_INFINITE) {
        if (y.kind == NUMBER_ZERO)
            return invalid(env);
        if (x.kind == NUMBER_ZERO && y.kind == NUMBER_FINITE)
            env->flags |= FP_ZERO_DIVIDE;
        else
            fp_note_denormals(env, x, y);
        return special(env, NUMBER_INFINITE, y.sign != below);
    }
    if (y.kind == NUMBER_INFINITE && one)
        return invalid(env);
    fp_note_denormals(env, x, y);
    if (y.kind == NUMBER_INFINITE)
        return special(env, NUMBER_INFINITE, y.sign != below);
    if (y.kind == NUMBER_ZERO || one)
        return special(env, NUMBER_ZERO, y.sign != below);
    struct wide result = wide_multiply(logarithm2(wide_from_number(x)), wide_from_number(y));
    bool power = x.significand == 1ull << 63;
    return power ? round_exact(env, result) : round_inexact(env, result);
}

static struct float80 compute_yl2xp1(struct fp_env *env, struct fp_number x, struct fp_number y)
{
    bool sign = x.sign != y.sign;
    if (x.kind == NUMBER_FINITE && x.sign && x.exponent >= 0)
        return invalid(env);
    if (x.kind == NUMBER_INFINITE && (x.sign || y.kind == NUMBER_ZERO))
        return invalid(env);
    if (x.kind == NUMBER_ZERO && y.kind == NUMBER_INFINITE)
        return invalid(env);
    fp_note_denormals(env, x, y);
    if (x.kind == NUMBER_INFINITE || y.kind == NUMBER_INFINITE)
        return special(env, NUMBER_INFINITE, sign);
    if (x.kind == NUMBER_ZERO || y.kind == NUMBER_ZERO)
        return special(env, NUMBER_ZERO, sign);
    struct wide result = wide_multiply(logarithm2_plus1(wide_from_number(x)), wide_from_number(y));
    return round_inexact(env, result);
}

static struct float80 compute_atan(struct fp_env *env, struct fp_number x, struct fp_number y)
{
    struct wide angle;
    fp_note_denormals(env, x, y);
    if (y.kind == NUMBER_ZERO || (x.kind == NUMBER_INFINITE && y.kind == NUMBER_FINITE)) {
        if (!x.sign)
            return special(env, NUMBER_ZERO, y.sign);
        angle = pi_quarters(4);
    } else if (x.kind == NUMBER_INFINITE) { /* y too */
        angle = pi_quarters(x.sign ? 3 : 1);
    } else if (x.kind == NUMBER_ZERO || y.kind == NUMBER_INFINITE) {
        angle = pi_quarters(2);
    } else {
        angle = arctangent2(y, x);
    }
    angle.sign = y.sign;
    return round_inexact(env, angle);
}

/* FSIN, FCOS, FSINCOS, FPTAN. */
static void compute_circular(enum transcendental function, struct fp_env *env, struct fp_number x,
                             struct transcendental_result *result)
{
    const struct float80 one = f80_from_int(1);
    struct float80 *value = result->value;
    if (x.kind == NUMBER_INFINITE) {
        value[0] = value[1] = invalid(env);
        return;
    }
    if (x.kind == NUMBER_FINITE && x.exponent >= 63) {
        result->out_of_range = true;
        return;
    }
    fp_note_denormals(env, x, x);
    if (x.kind == NUMBER_ZERO) {
        value[0] = function == TRANSCENDENTAL_COS ? one : special(env, NUMBER_ZERO, x.sign);
        value[1] = one;
        return;
    }
    struct wide sine, cosine;
    circular(x, &sine, &cosine);
    switch (function) {
    case TRANSCENDENTAL_COS:
        value[0] = round_inexact(env, cosine);
        break;
    case TRANSCENDENTAL_TAN:
        value[0] = round_inexact(env, wide_divide(sine, cosine));
        value[1] = one;
        break;
    default:
        value[0] = round_inexact(env, sine);
        value[1] = round_inexact(env, cosine);
        break;
    }
}

void transcendental_portable(enum transcendental function, struct fp_env *env, struct float80 st0,
                             struct float80 st1, struct transcendental_result *result)
{
    bool binary = function == TRANSCENDENTAL_YL2X || function == TRANSCENDENTAL_YL2XP1 ||
                  function == TRANSCENDENTAL_ATAN;
    struct fp_number x = f80_unpack(st0), y = binary ? f80_unpack(st1) : x;
    result->out_of_range = false;
    if (fp_is_nan(x) || fp_is_nan(y)) {
        result->value[0] = result->value[1] = f80_propagate_nan(env, x, y);
        return;
    }
    switch (function) {
    case TRANSCENDENTAL_2XM1:
        result->value[0] = compute_2xm1(env, x);
        break;
    case TRANSCENDENTAL_YL2X:
        result->value[0] = compute_yl2x(env, x, y);
        break;
    case TRANSCENDENTAL_YL2XP1:
        result->value[0] = compute_yl2xp1(env, x, y);
        break;
    case TRANSCENDENTAL_ATAN:
        result->value[0] = compute_atan(env, x, y);
        break;
    default:
        compute_circular(function, env, x, result);
        break;
    }
}
