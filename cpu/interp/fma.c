/*
 * Fused multiplication and addition: one rounding for both. Intel SDM volume 1, section 14.5.
 *
 * The digits of a name number the operands: 132 is first * third + second, and so on. Of NaN
 * operands the multiplicand's survives before the multiplier's before the addend's.
 */
#include "cpu/interp/sse_float.h"

/* Odd lanes of MADDSUB and even lanes of MSUBADD add, the others subtract. */
enum addend_sign { ADD, SUBTRACT, SUBTRACT_EVEN, SUBTRACT_ODD };

#define FMA_FUNCTION(NAME, F, lane, lanes, x, y, z, negate_product, sign)                          \
    INLINE void NAME##_fma(struct cpu *cpu, const struct insn *insn, bool mem,                     \
                           enum vector_form form)                                                  \
    {                                                                                              \
        vector_begin(cpu, form);                                                                   \
        const unsigned count = (lanes) == 1 ? 1 : (lanes)*form_halves(form);                       \
        union vector o[3];                                                                         \
        o[2] = vector_low(cpu, insn, 2, mem, form, count * (unsigned)sizeof o[0].lane[0]);         \
        o[0] = vector_get(cpu, insn->operand[0].reg, form);                                        \
        o[1] = vector_get(cpu, insn->operand[1].reg, form);                                        \
        union vector result = o[0];                                                                \
        struct fp_env env = sse_env(cpu);                                                          \
        for (unsigned i = 0; i < count; i++) {                                                     \
            bool subtract = (sign) == SUBTRACT || ((sign) == SUBTRACT_EVEN && !(i & 1)) ||         \
                            ((sign) == SUBTRACT_ODD && i & 1);                                     \
            result.lane[i] = F##_fma(&env, o[(x)-1].lane[i], o[(y)-1].lane[i], o[(z)-1].lane[i],   \
                                     negate_product, subtract);                                    \
        }                                                                                          \
        sse_commit(cpu, env.flags);                                                                \
        vector_set(cpu, insn->operand[0].reg, &result, form);                                      \
    }

#define FMA_PACKED(NAME, ...)                                                                      \
    FMA_FUNCTION(NAME##PS, f32, u32, 4, __VA_ARGS__)                                               \
    FMA_FUNCTION(NAME##PD, f64, u64, 2, __VA_ARGS__)                                               \
    EXEC_VEX(NAME##PS, NAME##PS_fma)                                                               \
    EXEC_VEX(NAME##PD, NAME##PD_fma)
#define FMA_SCALAR(NAME, ...)                                                                      \
    FMA_FUNCTION(NAME##SS, f32, u32, 1, __VA_ARGS__)                                               \
    FMA_FUNCTION(NAME##SD, f64, u64, 1, __VA_ARGS__)                                               \
    EXEC_VEX128(NAME##SS, NAME##SS_fma)                                                            \
    EXEC_VEX128(NAME##SD, NAME##SD_fma)

/* The three orders of operands; in 213 the second operand is the multiplicand, in 231 too. */
#define FMA_ORDERS(FMA, NAME, negate_product, sign)                                                \
    FMA(NAME##132, 1, 3, 2, negate_product, sign)                                                  \
    FMA(NAME##213, 2, 1, 3, negate_product, sign)                                                  \
    FMA(NAME##231, 2, 3, 1, negate_product, sign)

FMA_ORDERS(FMA_PACKED, VFMADD, false, ADD)
FMA_ORDERS(FMA_PACKED, VFMSUB, false, SUBTRACT)
FMA_ORDERS(FMA_PACKED, VFNMADD, true, ADD)
FMA_ORDERS(FMA_PACKED, VFNMSUB, true, SUBTRACT)
FMA_ORDERS(FMA_PACKED, VFMADDSUB, false, SUBTRACT_EVEN)
FMA_ORDERS(FMA_PACKED, VFMSUBADD, false, SUBTRACT_ODD)
FMA_ORDERS(FMA_SCALAR, VFMADD, false, ADD)
FMA_ORDERS(FMA_SCALAR, VFMSUB, false, SUBTRACT)
FMA_ORDERS(FMA_SCALAR, VFNMADD, true, ADD)
FMA_ORDERS(FMA_SCALAR, VFNMSUB, true, SUBTRACT)
