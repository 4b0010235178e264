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
