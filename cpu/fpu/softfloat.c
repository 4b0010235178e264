/* float32 and float64 (see softfloat.h), both from softfloat_template.h, and conversions between
 * them. */
#include "cpu/fpu/number.h"

struct fp_number fp_from_int(int64_t value)
{
    if (!value)
        return fp_special(NUMBER_ZERO, false);
    struct fp_number number = {.kind = NUMBER_FINITE, .sign = value < 0};
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    unsigned shift = (unsigned)__builtin_clzll(magnitude);
    number.significand = magnitude << shift;
    number.exponent = 63 - (int)shift;
    return number;
}

#define NAME(x)  f32_##x
#define FROM_F80 f80_to_f32
#define T        uint32_t
#define BITS     32
#define FRACTION 23
#include "cpu/fpu/softfloat_template.h"
#undef NAME
#undef FROM_F80
#undef T
#undef BITS
#undef FRACTION

#define NAME(x)  f64_##x
#define FROM_F80 f80_to_f64
#define T        uint64_t
#define BITS     64
#define FRACTION 52
#include "cpu/fpu/softfloat_template.h"

uint64_t f32_to_f64(struct fp_env *env, uint32_t a)
{
    struct fp_number x = f32_unpack(env, a);
    if (x.kind == NUMBER_NAN)
        return f64_propagate_nan(env, x, x);
    fp_note_denormals(env, x, x);
    return f64_pack(x);
}

uint32_t f64_to_f32(struct fp_env *env, uint64_t a)
{
    struct fp_number x = f64_unpack(env, a);
    if (x.kind == NUMBER_NAN)
        return f32_propagate_nan(env, x, x);
    fp_note_denormals(env, x, x);
    return f32_round(env, x);
}

/* -- float16: 1 sign, 5 exponent, 10 fraction bits -- */

static const struct fp_format format16 = {.precision = 11, .emin = -14, .emax = 15};

uint32_t f16_to_f32(struct fp_env *env, uint16_t a)
{
    uint32_t sign = (uint32_t)(a & 0x8000) << 16, fraction = a & 0x3ff;
    unsigned exponent = a >> 10 & 31;
    if (exponent == 31) {
        if (fraction && !(fraction & 0x200))
            env->flags |= FP_INVALID;
        return sign | 0x7f800000 | (fraction ? 0x400000 | fraction << 13 : 0);
    }
    if (exponent)
        return sign | (exponent + 127 - 15) << 23 | fraction << 13;
    if (!fraction)
        return sign;
    unsigned shift = (unsigned)__builtin_clz(fraction) - 21; /* makes bit 10 the first one */
    return sign | (113 - shift) << 23 | (fraction << shift & 0x3ff) << 13;
}

uint16_t f32_to_f16(struct fp_env *env, uint32_t a)
{
    struct fp_number x = f32_unpack(env, a);
    uint16_t sign = (uint16_t)(x.sign << 15);
    if (x.kind == NUMBER_NAN) {
        if (x.signalling)
            env->flags |= FP_INVALID;
        return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    }
    fp_note_denormals(env, x, x);
    if (x.kind == NUMBER_FINITE)
        x = fp_round(env, x, format16, false);
    if (x.kind == NUMBER_INFINITE)
        return sign | 0x7c00;
    if (x.kind != NUMBER_FINITE)
        return sign;
    unsigned exponent = x.significand >> 63 ? (unsigned)(x.exponent + 15) : 0;
    return (uint16_t)(sign | exponent << 10 | (x.significand << 1 >> 54));
}
