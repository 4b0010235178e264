/*
 * IEEE 754 arithmetic in integers, as x86 defines it: float32 and float64 with the rules of SSE,
 * float80 with those of the x87. Intel SDM volume 1, chapters 4.8-4.9, 8.4-8.5, 11.5.
 *
 * Values of float32 and float64 are passed as their bits. An operation never faults: it collects
 * the exceptions in env->flags and computes the masked response for exceptions that env->masked
 * has, the unmasked one for the others (for the x87: a result with the exponent wrapped by 24576).
 * The caller decides what to do with flags that are not masked; after IE, DE or ZE unmasked it must
 * not use the result.
 */
#ifndef DOPPEL_CPU_FPU_SOFTFLOAT_H
#define DOPPEL_CPU_FPU_SOFTFLOAT_H

#include "cpu/state.h"

/* Exceptions at their places in MXCSR and the x87 status word. */
enum fp_flag {
    FP_INVALID = 1 << 0,
    FP_DENORMAL = 1 << 1,
    FP_ZERO_DIVIDE = 1 << 2,
    FP_OVERFLOW = 1 << 3,
    FP_UNDERFLOW = 1 << 4,
    FP_INEXACT = 1 << 5,
    FP_ROUNDED_UP = 1 << 9, /* the magnitude grew by rounding: C1 of the status word */
};
#define FP_EXCEPTIONS 0x3f
#define FP_BEFORE     (FP_INVALID | FP_DENORMAL | FP_ZERO_DIVIDE) /* known before computing */

/* As the RC fields of MXCSR and the x87 control word number them. */
enum fp_rounding { FP_NEAREST, FP_DOWN, FP_UP, FP_TOWARD_ZERO };

/* What an operation depends on, and the exceptions that it raised. */
struct fp_env {
    uint8_t rounding;  /* enum fp_rounding */
    uint8_t precision; /* significand bits of float80 add, sub, mul, div, sqrt: 24, 53, 64 */
    uint8_t masked;    /* enum fp_flag: exceptions with a masked response */
    bool daz;          /* denormal float32/64 operands count as zero */
    bool ftz;          /* tiny float32/64 results become zero while FP_UNDERFLOW is masked */
    uint16_t flags;    /* enum fp_flag, only ever added to */
};

/*
 * A value taken apart, the common form of all formats. The x87 computes on these so that a float32
 * memory operand keeps being a denormal or signalling one after it was widened.
 */
enum number_kind { NUMBER_ZERO, NUMBER_FINITE, NUMBER_INFINITE, NUMBER_NAN, NUMBER_UNSUPPORTED };

struct fp_number {
    uint64_t significand; /* finite: bit 63 set, weight 2^exponent; NaN: as float80 holds it */
    uint64_t low;         /* results before rounding: bits below the significand, bit 0 sticky */
    int32_t exponent;
    uint8_t kind; /* enum number_kind */
    bool sign;
    bool denormal;   /* the operand was one (pseudo-denormal float80 too) */
    bool signalling; /* NaN with the quiet bit clear */
};

enum fp_relation { FP_LESS = -1, FP_EQUAL = 0, FP_GREATER = 1, FP_UNORDERED = 2 };

#define F32_DEFAULT_NAN 0xffc00000u
#define F64_DEFAULT_NAN 0xfff8000000000000ull
#define F80_DEFAULT_NAN ((struct float80){0xc000000000000000ull, 0xffff})

/*
 * float32 and float64 by SSE rules: NaN results are the first operand if it is a NaN, else the
 * second, made quiet. min and max return b unless a is strictly less (greater). compare raises
 * FP_INVALID for signalling NaNs, and for quiet ones too unless `quiet`. round_to_int and to_int
 * take the rounding mode as an argument; fma is a * b + c with either of the two negated; to_int
 * gives the integer indefinite value (only the top bit of `width`, sign-extended) for everything
 * that does not fit.
 */
#define FP_DECLARE(F, T)                                                                           \
    T F##_add(struct fp_env *env, T a, T b);                                                       \
    T F##_sub(struct fp_env *env, T a, T b);                                                       \
    T F##_mul(struct fp_env *env, T a, T b);                                                       \
    T F##_div(struct fp_env *env, T a, T b);                                                       \
    T F##_fma(struct fp_env *env, T a, T b, T c, bool negate_product, bool negate_addend);         \
    T F##_sqrt(struct fp_env *env, T a);                                                           \
    T F##_min(struct fp_env *env, T a, T b);                                                       \
    T F##_max(struct fp_env *env, T a, T b);                                                       \
    enum fp_relation F##_compare(struct fp_env *env, T a, T b, bool quiet);                        \
    T F##_round_to_int(struct fp_env *env, T a, enum fp_rounding rounding);                        \
    T F##_from_int(struct fp_env *env, int64_t value);                                             \
    int64_t F##_to_int(struct fp_env *env, T a, unsigned width, enum fp_rounding rounding);        \
    struct fp_number F##_unpack(const struct fp_env *env, T a);                                    \
    struct float80 F##_to_f80(struct fp_env *env, T a);                                            \
    T f80_to_##F(struct fp_env *env, struct float80 a);

FP_DECLARE(f32, uint32_t)
FP_DECLARE(f64, uint64_t)

uint64_t f32_to_f64(struct fp_env *env, uint32_t a);
uint32_t f64_to_f32(struct fp_env *env, uint64_t a);

/* float16 is only a storage format: its denormals are never flagged, and FTZ does not concern it.
 */
uint32_t f16_to_f32(struct fp_env *env, uint16_t a);
uint16_t f32_to_f16(struct fp_env *env, uint32_t a);

/* float80 by x87 rules: of two NaNs the one with the larger significand survives; encodings that
 * the x87 does not support are invalid operands. */
struct fp_number f80_unpack(struct float80 a);
struct fp_number fp_from_int(int64_t value);

struct float80 f80_add(struct fp_env *env, struct fp_number a, struct fp_number b);
struct float80 f80_sub(struct fp_env *env, struct fp_number a, struct fp_number b);
struct float80 f80_mul(struct fp_env *env, struct fp_number a, struct fp_number b);
struct float80 f80_div(struct fp_env *env, struct fp_number a, struct fp_number b);
struct float80 f80_sqrt(struct fp_env *env, struct fp_number a);
enum fp_relation f80_compare(struct fp_env *env, struct fp_number a, struct fp_number b,
                             bool quiet);
struct float80 f80_round_to_int(struct fp_env *env, struct fp_number a);
struct float80 f80_from_int(int64_t value);
int64_t f80_to_int(struct fp_env *env, struct fp_number a, unsigned width,
                   enum fp_rounding rounding);
/* a times two to the power of b cut to an integer. */
struct float80 f80_scale(struct fp_env *env, struct fp_number a, struct fp_number b);
/* Splits a into its exponent (returned) and its significand with exponent 0. */
struct float80 f80_extract(struct fp_env *env, struct fp_number a, struct float80 *significand);
/* One step of FPREM (nearest false) or FPREM1 (nearest true). *partial: more steps are needed, else
 * *quotient has the quotient's low bits. */
struct float80 f80_remainder(struct fp_env *env, struct fp_number a, struct fp_number b,
                             bool nearest, uint64_t *quotient, bool *partial);

/* Packed decimal of 18 digits: FBLD reads any ten bytes, FBSTP writes the indefinite value for what
 * does not fit. */
struct float80 f80_from_bcd(const uint8_t bcd[10]);
void f80_to_bcd(struct fp_env *env, struct fp_number a, uint8_t bcd[10]);

/* The NaN that a one- or two-operand x87 instruction returns; call when a or b is a NaN or
 * unsupported. For one operand pass it twice. */
struct float80 f80_propagate_nan(struct fp_env *env, struct fp_number a, struct fp_number b);

static inline bool fp_is_nan(struct fp_number a)
{
    return a.kind >= NUMBER_NAN; /* unsupported encodings included */
}

#endif
