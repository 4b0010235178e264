/*
 * float32 or float64 by SSE rules. Included by softfloat.c once per format with
 *   F         prefix of the functions: f32, f64
 *   T         unsigned integer that holds the bits
 *   BITS      32, 64
 *   FRACTION  bits of the fraction field: 23, 52
 *   NAME(x)   F##_##x
 */

#define EXPONENT_MASK ((1 << (BITS - FRACTION - 1)) - 1)
#define BIAS          (EXPONENT_MASK >> 1)
#define SIGN          ((T)1 << (BITS - 1))
#define FORMAT        ((struct fp_format){.precision = FRACTION + 1, .emin = 1 - BIAS, .emax = BIAS})

struct fp_number NAME(unpack)(const struct fp_env *env, T a)
{
    struct fp_number number = {.sign = a >> (BITS - 1)};
    int exponent = (int)(a >> FRACTION) & EXPONENT_MASK;
    uint64_t fraction = (uint64_t)a << (64 - FRACTION) >> 1;
    if (__builtin_expect(exponent && exponent != EXPONENT_MASK, 1)) {
        number.kind = NUMBER_FINITE;
        number.significand = fraction | 1ull << 63;
        number.exponent = exponent - BIAS;
    } else if (exponent) {
        number.kind = fraction ? NUMBER_NAN : NUMBER_INFINITE;
        number.significand = fraction | 1ull << 63;
        number.signalling = fraction && !(fraction >> 62);
    } else if (fraction && !env->daz) {
        unsigned shift = (unsigned)__builtin_clzll(fraction);
        number.kind = NUMBER_FINITE;
        number.denormal = true;
        number.significand = fraction << shift;
        number.exponent = 1 - BIAS - (int)shift;
    } else {
        number.kind = NUMBER_ZERO;
    }
    return number;
}

/* NaNs come out quiet. */
static inline T NAME(pack)(struct fp_number a)
{
    T sign = a.sign ? SIGN : 0;
    switch (a.kind) {
    case NUMBER_ZERO:
        return sign;
    case NUMBER_FINITE: {
        T exponent = a.significand >> 63 ? (T)(a.exponent + BIAS) : 0;
        T fraction = (T)(a.significand << 1 >> (64 - FRACTION));
        return sign | exponent << FRACTION | fraction;
    }
    case NUMBER_INFINITE:
        return sign | (T)EXPONENT_MASK << FRACTION;
    default:
        return sign | (T)EXPONENT_MASK << FRACTION | (T)1 << (FRACTION - 1) |
               (T)(a.significand << 1 >> (64 - FRACTION));
    }
}

static inline T NAME(round)(struct fp_env *env, struct fp_number a)
{
    if (__builtin_expect(a.kind == NUMBER_FINITE, 1))
        a = fp_round(env, a, FORMAT, env->ftz);
    return NAME(pack)(a);
}

static T NAME(propagate_nan)(struct fp_env *env, struct fp_number a, struct fp_number b)
{
    if (a.signalling || b.signalling)
        env->flags |= FP_INVALID;
    return NAME(pack)(a.kind == NUMBER_NAN ? a : b);
}

#define BINARY(operation, function)                                                                \
    T NAME(operation)(struct fp_env * env, T a, T b)                                               \
    {                                                                                              \
        struct fp_number x = NAME(unpack)(env, a), y = NAME(unpack)(env, b);                       \
        if (__builtin_expect(x.kind == NUMBER_NAN || y.kind == NUMBER_NAN, 0))                     \
            return NAME(propagate_nan)(env, x, y);                                                 \
        return NAME(round)(env, function);                                                         \
    }

static inline struct fp_number NAME(negated)(struct fp_number a)
{
    a.sign = !a.sign;
    return a;
}

BINARY(add, fp_add(env, x, y))
BINARY(sub, fp_add(env, x, NAME(negated)(y)))
BINARY(mul, fp_mul(env, x, y))
BINARY(div, fp_div(env, x, y))

#undef BINARY

/* Of several NaNs the first in the order x, y, z survives. */
T NAME(fma)(struct fp_env *env, T a, T b, T c, bool negate_product, bool negate_addend)
{
    struct fp_number x = NAME(unpack)(env, a), y = NAME(unpack)(env, b), z = NAME(unpack)(env, c);
    if (__builtin_expect(x.kind == NUMBER_NAN || y.kind == NUMBER_NAN || z.kind == NUMBER_NAN, 0)) {
        if (z.signalling)
            env->flags |= FP_INVALID;
        if (x.kind == NUMBER_NAN || y.kind == NUMBER_NAN)
            return NAME(propagate_nan)(env, x, y);
        return NAME(pack)(z); /* even if x * y is invalid */
    }
    x.sign ^= negate_product;
    z.sign ^= negate_addend;
    return NAME(round)(env, fp_fma(env, x, y, z));
}

T NAME(sqrt)(struct fp_env *env, T a)
{
    struct fp_number x = NAME(unpack)(env, a);
    if (x.kind == NUMBER_NAN)
        return NAME(propagate_nan)(env, x, x);
    return NAME(round)(env, fp_sqrt(env, x));
}

/* Order of the operands; NaNs by the rules of softfloat.h. */
enum fp_relation NAME(compare)(struct fp_env *env, T a, T b, bool quiet)
{
    struct fp_number x = NAME(unpack)(env, a), y = NAME(unpack)(env, b);
    if (x.kind == NUMBER_NAN || y.kind == NUMBER_NAN) {
        if (!quiet || x.signalling || y.signalling)
            env->flags |= FP_INVALID;
        return FP_UNORDERED;
    }
    fp_note_denormals(env, x, y);
    return fp_compare(x, y);
}

/* What DAZ leaves of an operand that is passed through. */
static inline T NAME(squash)(const struct fp_env *env, T a)
{
    bool denormal = !((a >> FRACTION) & EXPONENT_MASK);
    return denormal && env->daz ? a & SIGN : a;
}

T NAME(min)(struct fp_env *env, T a, T b)
{
    T result = NAME(compare)(env, a, b, false) == FP_LESS ? a : b;
    return NAME(squash)(env, result);
}

T NAME(max)(struct fp_env *env, T a, T b)
{
    T result = NAME(compare)(env, a, b, false) == FP_GREATER ? a : b;
    return NAME(squash)(env, result);
}

T NAME(round_to_int)(struct fp_env *env, T a, enum fp_rounding rounding)
{
    struct fp_number x = NAME(unpack)(env, a);
    if (x.kind == NUMBER_NAN)
        return NAME(propagate_nan)(env, x, x);
    return NAME(pack)(fp_round_to_int(env, x, rounding));
}

T NAME(from_int)(struct fp_env *env, int64_t value)
{
    return NAME(round)(env, fp_from_int(value));
}

int64_t NAME(to_int)(struct fp_env *env, T a, unsigned width, enum fp_rounding rounding)
{
    return fp_to_int(env, NAME(unpack)(env, a), width, rounding);
}

/* -- To and from float80 -- */

struct float80 NAME(to_f80)(struct fp_env *env, T a)
{
    struct fp_number x = NAME(unpack)(env, a);
    if (x.kind == NUMBER_NAN)
        return f80_propagate_nan(env, x, x);
    fp_note_denormals(env, x, x);
    struct float80 result = {.exponent = (uint16_t)(x.sign << 15)};
    if (x.kind == NUMBER_INFINITE) {
        result.exponent |= 0x7fff;
        result.mantissa = 1ull << 63;
    } else if (x.kind == NUMBER_FINITE) {
        result.exponent |= (uint16_t)(x.exponent + 16383);
        result.mantissa = x.significand;
    }
    return result;
}

T FROM_F80(struct fp_env *env, struct float80 a)
{
    struct fp_number x = f80_unpack(a);
    if (x.kind == NUMBER_UNSUPPORTED) {
        env->flags |= FP_INVALID;
        return NAME(pack)(fp_special(NUMBER_NAN, true));
    }
    if (x.kind == NUMBER_NAN)
        return NAME(propagate_nan)(env, x, x);
    T result = NAME(round)(env, x);
    /* A store that does not happen says nothing of rounding. */
    if (env->flags & ~env->masked & (FP_OVERFLOW | FP_UNDERFLOW))
        env->flags &= ~(FP_INEXACT | FP_ROUNDED_UP);
    return result;
}

#undef EXPONENT_MASK
#undef BIAS
#undef SIGN
#undef FORMAT
