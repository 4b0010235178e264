/* x87 arithmetic: add, subtract, multiply, divide in all operand forms, square root, rounding,
 * sign, remainder, scaling, extraction, transcendental functions. */
#include "cpu/interp/x87.h"

#include "cpu/fpu/transcendental.h"

typedef struct float80 f80_binary(struct fp_env *env, struct fp_number a, struct fp_number b);
typedef struct float80 f80_unary(struct fp_env *env, struct fp_number a);

/* -- Two operands: destination = destination op source -- */

enum { FORWARD, REVERSE = 1, POP = 2, INTEGER = 4 };

INLINE void binary_x87(struct cpu *cpu, const struct insn *insn, bool mem, f80_binary *operation,
                       unsigned how)
{
    x87_begin(cpu);
    struct fp_env env = x87_env(cpu);
    unsigned destination = mem ? 0 : insn->operand[0].reg;
    bool empty = st_empty(cpu, destination);
    struct fp_number b;
    if (mem) {
        b = x87_read_number(cpu, insn, how & INTEGER, &env);
    } else {
        empty |= st_empty(cpu, insn->operand[1].reg);
        b = st_number(cpu, insn->operand[1].reg);
    }
    x87_note(cpu, insn, mem);

    struct float80 result = F80_DEFAULT_NAN;
    if (empty) {
        env.flags = X87_UNDERFLOW;
    } else {
        struct fp_number a = st_number(cpu, destination);
        result = how & REVERSE ? operation(&env, b, a) : operation(&env, a, b);
    }
    if (x87_commit(cpu, insn, env.flags)) {
        st_set(cpu, destination, result);
        if (how & POP)
            st_pop(cpu);
    }
}

#define ARITHMETIC(MNEMONIC, operation, how)                                                       \
    EXEC_FORMS(MNEMONIC, binary_x87(cpu, insn, false, operation, how),                             \
               binary_x87(cpu, insn, true, operation, how))

ARITHMETIC(FADD, f80_add, FORWARD)
ARITHMETIC(FMUL, f80_mul, FORWARD)
ARITHMETIC(FSUB, f80_sub, FORWARD)
ARITHMETIC(FSUBR, f80_sub, REVERSE)
ARITHMETIC(FDIV, f80_div, FORWARD)
ARITHMETIC(FDIVR, f80_div, REVERSE)
ARITHMETIC(FADDP, f80_add, POP)
ARITHMETIC(FMULP, f80_mul, POP)
ARITHMETIC(FSUBP, f80_sub, POP)
ARITHMETIC(FSUBRP, f80_sub, POP | REVERSE)
ARITHMETIC(FDIVP, f80_div, POP)
ARITHMETIC(FDIVRP, f80_div, POP | REVERSE)
ARITHMETIC(FIADD, f80_add, INTEGER)
ARITHMETIC(FIMUL, f80_mul, INTEGER)
ARITHMETIC(FISUB, f80_sub, INTEGER)
ARITHMETIC(FISUBR, f80_sub, INTEGER | REVERSE)
ARITHMETIC(FIDIV, f80_div, INTEGER)
ARITHMETIC(FIDIVR, f80_div, INTEGER | REVERSE)

/* -- ST(0) alone -- */

INLINE void unary_x87(struct cpu *cpu, const struct insn *insn, f80_unary *operation)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    struct fp_env env = x87_env(cpu);
    struct float80 result = F80_DEFAULT_NAN;
    if (st_empty(cpu, 0))
        env.flags = X87_UNDERFLOW;
    else
        result = operation(&env, st_number(cpu, 0));
    if (x87_commit(cpu, insn, env.flags))
        st_set(cpu, 0, result);
}

static void fsqrt(struct cpu *cpu, const struct insn *insn)
{
    unary_x87(cpu, insn, f80_sqrt);
}

static void frndint(struct cpu *cpu, const struct insn *insn)
{
    unary_x87(cpu, insn, f80_round_to_int);
}

/* FABS and FCHS look at nothing but the sign. */
INLINE void change_sign(struct cpu *cpu, const struct insn *insn, bool absolute)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    bool empty = st_empty(cpu, 0);
    struct float80 value = empty ? F80_DEFAULT_NAN : st_get(cpu, 0);
    if (!empty)
        value.exponent = absolute ? value.exponent & 0x7fff : value.exponent ^ 0x8000;
    if (x87_commit(cpu, insn, empty ? X87_UNDERFLOW : 0))
        st_set(cpu, 0, value);
}

static void fabs_x87(struct cpu *cpu, const struct insn *insn)
{
    change_sign(cpu, insn, true);
}

static void fchs(struct cpu *cpu, const struct insn *insn)
{
    change_sign(cpu, insn, false);
}

EXEC_ONE(FSQRT, fsqrt)
EXEC_ONE(FRNDINT, frndint)
EXEC_ONE(FABS, fabs_x87)
EXEC_ONE(FCHS, fchs)

/* -- ST(0) and ST(1) -- */

static void fscale(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    struct fp_env env = x87_env(cpu);
    struct float80 result = F80_DEFAULT_NAN;
    if (st_empty(cpu, 0) || st_empty(cpu, 1))
        env.flags = X87_UNDERFLOW;
    else
        result = f80_scale(&env, st_number(cpu, 0), st_number(cpu, 1));
    if (x87_commit(cpu, insn, env.flags))
        st_set(cpu, 0, result);
}

static void set_c2(struct cpu *cpu, bool value)
{
    cpu->x87.status = (uint16_t)((cpu->x87.status & ~FSW_C2) | (value ? FSW_C2 : 0));
}

/* C2: not finished; otherwise C0, C3, C1 are bits 2, 1, 0 of the quotient, if there is one. */
INLINE void remainder_x87(struct cpu *cpu, const struct insn *insn, bool nearest)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    struct fp_env env = x87_env(cpu);
    struct float80 result = F80_DEFAULT_NAN;
    uint64_t quotient = 0;
    bool partial = false;
    if (st_empty(cpu, 0) || st_empty(cpu, 1))
        env.flags = X87_UNDERFLOW;
    else
        result =
            f80_remainder(&env, st_number(cpu, 0), st_number(cpu, 1), nearest, &quotient, &partial);
    set_c2(cpu, false);
    if (x87_commit(cpu, insn, env.flags)) {
        set_c2(cpu, partial);
        st_set(cpu, 0, result);
        if ((result.exponent & 0x7fff) == 0x7fff)
            return;
        unsigned condition = (quotient & 4 ? FSW_C0 : 0) | (quotient & 2 ? FSW_C3 : 0) |
                             (quotient & 1 ? FSW_C1 : 0) | (partial ? FSW_C2 : 0);
        cpu->x87.status = (uint16_t)((cpu->x87.status & ~FSW_CONDITION) | condition);
    }
}

static void fprem(struct cpu *cpu, const struct insn *insn)
{
    remainder_x87(cpu, insn, false);
}

static void fprem1(struct cpu *cpu, const struct insn *insn)
{
    remainder_x87(cpu, insn, true);
}

/* ST(0) becomes `first`, then `second` is pushed, unless the stack has no room for that. */
static void replace_and_push(struct cpu *cpu, const struct insn *insn, unsigned flags,
                             struct float80 first, struct float80 second)
{
    if (x87_commit(cpu, insn, flags)) {
        st_set(cpu, 0, first);
        st_push(cpu, second);
    }
}

/* Stack faults of an instruction that replaces ST(0) and pushes. */
static unsigned push_faults(const struct cpu *cpu)
{
    return st_empty(cpu, 0) ? X87_UNDERFLOW : !st_empty(cpu, 7) ? X87_OVERFLOW : 0;
}

static void fxtract(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    struct fp_env env = x87_env(cpu);
    struct float80 exponent = F80_DEFAULT_NAN, significand = F80_DEFAULT_NAN;
    env.flags = (uint16_t)push_faults(cpu);
    if (!env.flags)
        exponent = f80_extract(&env, st_number(cpu, 0), &significand);
    replace_and_push(cpu, insn, env.flags, exponent, significand);
}

EXEC_ONE(FSCALE, fscale)
EXEC_ONE(FPREM, fprem)
EXEC_ONE(FPREM1, fprem1)
EXEC_ONE(FXTRACT, fxtract)

/* -- Transcendental functions -- */

/* FSIN, FCOS, F2XM1: ST(0) = f(ST(0)). `reduces`: C2 says that the operand is too large. */
INLINE void function_unary(struct cpu *cpu, const struct insn *insn, enum transcendental function,
                           bool reduces)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    struct fp_env env = x87_env(cpu);
    struct transcendental_result result = {.value = {F80_DEFAULT_NAN}};
    if (st_empty(cpu, 0))
        env.flags = X87_UNDERFLOW;
    else
        transcendental(function, &env, st_get(cpu, 0), (struct float80){0, 0}, &result);
    if (reduces)
        set_c2(cpu, result.out_of_range);
    if (x87_commit(cpu, insn, env.flags) && !result.out_of_range)
        st_set(cpu, 0, result.value[0]);
}

/* FPATAN, FYL2X, FYL2XP1: ST(1) = f(ST(1), ST(0)), pop. */
INLINE void function_binary(struct cpu *cpu, const struct insn *insn, enum transcendental function)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    struct fp_env env = x87_env(cpu);
    struct transcendental_result result = {.value = {F80_DEFAULT_NAN}};
    if (st_empty(cpu, 0) || st_empty(cpu, 1))
        env.flags = X87_UNDERFLOW;
    else
        transcendental(function, &env, st_get(cpu, 0), st_get(cpu, 1), &result);
    if (x87_commit(cpu, insn, env.flags)) {
        st_set(cpu, 1, result.value[0]);
        st_pop(cpu);
    }
}

/* FPTAN, FSINCOS: ST(0) is replaced by one value and another pushed. */
INLINE void function_pair(struct cpu *cpu, const struct insn *insn, enum transcendental function)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    struct fp_env env = x87_env(cpu);
    struct transcendental_result result = {.value = {F80_DEFAULT_NAN, F80_DEFAULT_NAN}};
    env.flags = (uint16_t)push_faults(cpu);
    if (!env.flags)
        transcendental(function, &env, st_get(cpu, 0), (struct float80){0, 0}, &result);
    set_c2(cpu, result.out_of_range);
    if (x87_commit(cpu, insn, env.flags) && !result.out_of_range) {
        st_set(cpu, 0, result.value[0]);
        st_push(cpu, result.value[1]);
    }
}

static void f2xm1(struct cpu *cpu, const struct insn *insn)
{
    function_unary(cpu, insn, TRANSCENDENTAL_2XM1, false);
}

static void fsin(struct cpu *cpu, const struct insn *insn)
{
    function_unary(cpu, insn, TRANSCENDENTAL_SIN, true);
}

static void fcos(struct cpu *cpu, const struct insn *insn)
{
    function_unary(cpu, insn, TRANSCENDENTAL_COS, true);
}

static void fsincos(struct cpu *cpu, const struct insn *insn)
{
    function_pair(cpu, insn, TRANSCENDENTAL_SINCOS);
}

static void fptan(struct cpu *cpu, const struct insn *insn)
{
    function_pair(cpu, insn, TRANSCENDENTAL_TAN);
}

static void fpatan(struct cpu *cpu, const struct insn *insn)
{
    function_binary(cpu, insn, TRANSCENDENTAL_ATAN);
}

static void fyl2x(struct cpu *cpu, const struct insn *insn)
{
    function_binary(cpu, insn, TRANSCENDENTAL_YL2X);
}

static void fyl2xp1(struct cpu *cpu, const struct insn *insn)
{
    function_binary(cpu, insn, TRANSCENDENTAL_YL2XP1);
}

EXEC_ONE(F2XM1, f2xm1)
EXEC_ONE(FSIN, fsin)
EXEC_ONE(FCOS, fcos)
EXEC_ONE(FSINCOS, fsincos)
EXEC_ONE(FPTAN, fptan)
EXEC_ONE(FPATAN, fpatan)
EXEC_ONE(FYL2X, fyl2x)
EXEC_ONE(FYL2XP1, fyl2xp1)
