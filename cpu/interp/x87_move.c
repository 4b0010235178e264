/* x87 data movement: loads, stores, constants, exchanges, conditional moves and the stack pointer.
 */
#include "cpu/interp/x87.h"

/* -- Operands in memory -- */

static struct float80 read_f80(struct cpu *cpu, gva_t gva)
{
    const void *host = tlb_find(cpu->tlb, ACCESS_READ, gva, 10);
    uint8_t bytes[10];
    struct float80 value;
    if (LIKELY(host))
        memcpy(bytes, host, 10);
    else
        mem_read_bytes(cpu, gva, bytes, 10);
    memcpy(&value.mantissa, bytes, 8);
    memcpy(&value.exponent, bytes + 8, 2);
    return value;
}

static void write_f80(struct cpu *cpu, gva_t gva, struct float80 value)
{
    void *host = tlb_find(cpu->tlb, ACCESS_WRITE, gva, 10);
    uint8_t bytes[10];
    memcpy(bytes, &value.mantissa, 8);
    memcpy(bytes + 8, &value.exponent, 2);
    if (LIKELY(host))
        memcpy(host, bytes, 10);
    else
        mem_write_bytes(cpu, gva, bytes, 10);
}

static int64_t read_integer(struct cpu *cpu, const struct insn *insn)
{
    unsigned size = insn->operand[0].size;
    return sign_extend(mem_read(cpu, insn_linear(cpu, insn, size, ACCESS_READ), size), size);
}

struct fp_number x87_read_number(struct cpu *cpu, const struct insn *insn, bool integer,
                                 const struct fp_env *env)
{
    if (integer)
        return fp_from_int(read_integer(cpu, insn));
    if (insn->operand[0].size == 4)
        return f32_unpack(env, mem_read_u32(cpu, insn_linear(cpu, insn, 4, ACCESS_READ)));
    return f64_unpack(env, mem_read_u64(cpu, insn_linear(cpu, insn, 8, ACCESS_READ)));
}

/* -- Loads -- */

/* Pushes the value of a load that raised `flags`. A denormal is pushed even if DE is unmasked. */
static void push_loaded(struct cpu *cpu, const struct insn *insn, bool mem, struct float80 value,
                        unsigned flags)
{
    x87_note(cpu, insn, mem);
    if (!(flags & FSW_SF) && !st_empty(cpu, 7)) {
        flags = X87_OVERFLOW;
        value = F80_DEFAULT_NAN;
    }
    bool invalid = flags & ~cpu->x87.control & FP_INVALID;
    x87_commit(cpu, insn, flags);
    if (!invalid)
        st_push(cpu, value);
}

static void fld_mem(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    struct fp_env env = x87_env(cpu);
    struct float80 value;
    unsigned size = insn->operand[0].size;
    gva_t gva = insn_linear(cpu, insn, size, ACCESS_READ);
    if (size == 4)
        value = f32_to_f80(&env, mem_read_u32(cpu, gva));
    else if (size == 8)
        value = f64_to_f80(&env, mem_read_u64(cpu, gva));
    else
        value = read_f80(cpu, gva);
    push_loaded(cpu, insn, true, value, env.flags);
}

static void fld_st(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    unsigned i = insn->operand[0].reg;
    bool empty = st_empty(cpu, i);
    push_loaded(cpu, insn, false, empty ? F80_DEFAULT_NAN : st_get(cpu, i),
                empty ? X87_UNDERFLOW : 0);
}

static void fild(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    push_loaded(cpu, insn, true, f80_from_int(read_integer(cpu, insn)), 0);
}

static void fbld(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    uint8_t bcd[10];
    mem_read_bytes(cpu, insn_linear(cpu, insn, 10, ACCESS_READ), bcd, 10);
    push_loaded(cpu, insn, true, f80_from_bcd(bcd), 0);
}

EXEC_FORMS(FLD, fld_st(cpu, insn), fld_mem(cpu, insn))
EXEC_ONE(FILD, fild)
EXEC_ONE(FBLD, fbld)

/* -- Constants: rounded by RC from more bits than a register holds; no exception -- */

INLINE void load_constant(struct cpu *cpu, const struct insn *insn, unsigned exponent,
                          uint64_t significand, bool above_half)
{
    x87_begin(cpu);
    unsigned rounding = cpu->x87.control >> 10 & 3;
    if (rounding == FP_UP || (rounding == FP_NEAREST && above_half))
        significand++;
    push_loaded(cpu, insn, false, (struct float80){significand, (uint16_t)exponent}, 0);
}

/* The significand cut to 64 bits, and whether the rest is above half a unit. */
#define CONSTANT(MNEMONIC, name, exponent, significand, above_half)                                \
    static void name(struct cpu *cpu, const struct insn *insn)                                     \
    {                                                                                              \
        load_constant(cpu, insn, exponent, significand, above_half);                               \
    }                                                                                              \
    EXEC_ONE(MNEMONIC, name)

CONSTANT(FLDL2T, fldl2t, 0x4000, 0xd49a784bcd1b8afe, false)
CONSTANT(FLDL2E, fldl2e, 0x3fff, 0xb8aa3b295c17f0bb, true)
CONSTANT(FLDPI, fldpi, 0x4000, 0xc90fdaa22168c234, true)
CONSTANT(FLDLG2, fldlg2, 0x3ffd, 0x9a209a84fbcff798, true)
CONSTANT(FLDLN2, fldln2, 0x3ffe, 0xb17217f7d1cf79ab, true)

static void fld1(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    push_loaded(cpu, insn, false, (struct float80){1ull << 63, 0x3fff}, 0);
}

static void fldz(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    push_loaded(cpu, insn, false, (struct float80){0, 0}, 0);
}

EXEC_ONE(FLD1, fld1)
EXEC_ONE(FLDZ, fldz)

/* -- Stores -- */

/* After the value is known: may the store happen? An unmasked exception other than PE forbids it,
 * and the pop. */
static bool store_allowed(const struct cpu *cpu, unsigned flags)
{
    return !(flags & ~cpu->x87.control & (FP_EXCEPTIONS & ~FP_INEXACT));
}

static void store_done(struct cpu *cpu, const struct insn *insn, unsigned flags, bool pop)
{
    bool allowed = store_allowed(cpu, flags);
    x87_note(cpu, insn, true);
    x87_commit(cpu, insn, flags);
    if (allowed && pop)
        st_pop(cpu);
}

INLINE void fst_mem(struct cpu *cpu, const struct insn *insn, bool pop)
{
    x87_begin(cpu);
    struct fp_env env = x87_env(cpu);
    bool empty = st_empty(cpu, 0);
    struct float80 value = empty ? F80_DEFAULT_NAN : st_get(cpu, 0);
    unsigned size = insn->operand[0].size;
    gva_t gva = insn_linear(cpu, insn, size, ACCESS_WRITE);
    uint64_t bits = 0;
    if (size == 4)
        bits = f80_to_f32(&env, value);
    else if (size == 8)
        bits = f80_to_f64(&env, value);
    if (empty)
        env.flags = X87_UNDERFLOW;
    if (store_allowed(cpu, env.flags)) {
        if (size == 10)
            write_f80(cpu, gva, value);
        else
            mem_write(cpu, gva, bits, size);
    } else {
        mem_probe_write(cpu, gva, size); /* a page fault comes first */
    }
    store_done(cpu, insn, env.flags, pop);
}

/* Any bit pattern moves between registers unchanged. */
INLINE void fst_st(struct cpu *cpu, const struct insn *insn, bool pop)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    bool empty = st_empty(cpu, 0);
    if (x87_commit(cpu, insn, empty ? X87_UNDERFLOW : 0)) {
        st_set(cpu, insn->operand[0].reg, empty ? F80_DEFAULT_NAN : st_get(cpu, 0));
        if (pop)
            st_pop(cpu);
    }
}

/* FSTPNCE only pops an empty register, and raises nothing. */
static void fstpnce(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    x87_commit(cpu, insn, 0);
    if (!st_empty(cpu, 0))
        st_set(cpu, insn->operand[0].reg, st_get(cpu, 0));
    st_pop(cpu);
}

EXEC_ONE(FSTPNCE, fstpnce)
EXEC_FORMS(FST, fst_st(cpu, insn, false), fst_mem(cpu, insn, false))
EXEC_FORMS(FSTP, fst_st(cpu, insn, true), fst_mem(cpu, insn, true))

INLINE void store_integer(struct cpu *cpu, const struct insn *insn, bool truncate, bool pop)
{
    x87_begin(cpu);
    struct fp_env env = x87_env(cpu);
    unsigned size = insn->operand[0].size;
    gva_t gva = insn_linear(cpu, insn, size, ACCESS_WRITE);
    int64_t value = (int64_t)(0 - (1ull << (size * 8 - 1)));
    if (st_empty(cpu, 0))
        env.flags = X87_UNDERFLOW;
    else
        value = f80_to_int(&env, st_number(cpu, 0), size * 8,
                           truncate ? FP_TOWARD_ZERO : (enum fp_rounding)env.rounding);
    if (store_allowed(cpu, env.flags))
        mem_write(cpu, gva, (uint64_t)value, size);
    else
        mem_probe_write(cpu, gva, size);
    store_done(cpu, insn, env.flags, pop);
}

static void fist(struct cpu *cpu, const struct insn *insn)
{
    store_integer(cpu, insn, false, false);
}

static void fistp(struct cpu *cpu, const struct insn *insn)
{
    store_integer(cpu, insn, false, true);
}

static void fisttp(struct cpu *cpu, const struct insn *insn)
{
    store_integer(cpu, insn, true, true);
}

static void fbstp(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    struct fp_env env = x87_env(cpu);
    uint8_t bcd[10];
    gva_t gva = insn_linear(cpu, insn, 10, ACCESS_WRITE);
    bool empty = st_empty(cpu, 0);
    f80_to_bcd(&env, empty ? f80_unpack(F80_DEFAULT_NAN) : st_number(cpu, 0), bcd);
    if (empty)
        env.flags = X87_UNDERFLOW;
    if (store_allowed(cpu, env.flags))
        mem_write_bytes(cpu, gva, bcd, 10);
    else
        mem_probe_write(cpu, gva, 10);
    store_done(cpu, insn, env.flags, true);
}

EXEC_ONE(FIST, fist)
EXEC_ONE(FISTP, fistp)
EXEC_ONE(FISTTP, fisttp)
EXEC_ONE(FBSTP, fbstp)

/* -- Between registers -- */

static void fxch(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    unsigned i = insn->operand[1].reg;
    bool empty0 = st_empty(cpu, 0), empty_i = st_empty(cpu, i);
    struct float80 a = empty0 ? F80_DEFAULT_NAN : st_get(cpu, 0);
    struct float80 b = empty_i ? F80_DEFAULT_NAN : st_get(cpu, i);
    if (x87_commit(cpu, insn, empty0 || empty_i ? X87_UNDERFLOW : 0)) {
        st_set(cpu, 0, b);
        st_set(cpu, i, a);
    }
}

EXEC_ONE(FXCH, fxch)

/* An empty register is a stack fault whether the condition holds or not. */
INLINE void fcmov(struct cpu *cpu, const struct insn *insn, uint32_t flags, bool set)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    unsigned i = insn->operand[1].reg;
    bool empty = st_empty(cpu, 0) || st_empty(cpu, i);
    if (empty) {
        if (x87_commit(cpu, insn, X87_UNDERFLOW))
            st_set(cpu, 0, F80_DEFAULT_NAN);
    } else if (!!(cpu->eflags & flags) == set) {
        st_set(cpu, 0, st_get(cpu, i));
    }
}

#define FCMOV(MNEMONIC, name, flags, set)                                                          \
    static void name(struct cpu *cpu, const struct insn *insn)                                     \
    {                                                                                              \
        fcmov(cpu, insn, flags, set);                                                              \
    }                                                                                              \
    EXEC_ONE(MNEMONIC, name)

FCMOV(FCMOVB, fcmovb, FLAG_CF, true)
FCMOV(FCMOVNB, fcmovnb, FLAG_CF, false)
FCMOV(FCMOVE, fcmove, FLAG_ZF, true)
FCMOV(FCMOVNE, fcmovne, FLAG_ZF, false)
FCMOV(FCMOVBE, fcmovbe, FLAG_CF | FLAG_ZF, true)
FCMOV(FCMOVNBE, fcmovnbe, FLAG_CF | FLAG_ZF, false)
FCMOV(FCMOVU, fcmovu, FLAG_PF, true)
FCMOV(FCMOVNU, fcmovnu, FLAG_PF, false)

/* -- The stack itself -- */

static void turn_stack(struct cpu *cpu, const struct insn *insn, unsigned by)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    cpu->x87.status &= (uint16_t)~FSW_C1;
    cpu->x87.top = (cpu->x87.top + by) & 7;
}

static void fincstp(struct cpu *cpu, const struct insn *insn)
{
    turn_stack(cpu, insn, 1);
}

static void fdecstp(struct cpu *cpu, const struct insn *insn)
{
    turn_stack(cpu, insn, 7);
}

static void ffree(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    cpu->x87.status &= (uint16_t)~FSW_C1;
    st_free(cpu, insn->operand[0].reg);
}

static void ffreep(struct cpu *cpu, const struct insn *insn)
{
    ffree(cpu, insn);
    st_pop(cpu);
}

EXEC_ONE(FINCSTP, fincstp)
EXEC_ONE(FDECSTP, fdecstp)
EXEC_ONE(FFREE, ffree)
EXEC_ONE(FFREEP, ffreep)
