/* x87 comparison and classification: conditions in C3 C2 C0, or in EFLAGS. */
#include "cpu/interp/x87.h"

enum { QUIET = 1, INTEGER = 2, POP_SHIFT = 2, POP1 = 1 << POP_SHIFT, POP2 = 2 << POP_SHIFT };

static void set_condition(struct cpu *cpu, unsigned condition)
{
    cpu->x87.status = (uint16_t)((cpu->x87.status & ~(FSW_C0 | FSW_C2 | FSW_C3)) | condition);
}

static void set_relation(struct cpu *cpu, enum fp_relation relation)
{
    set_condition(cpu, relation == FP_UNORDERED ? FSW_C3 | FSW_C2 | FSW_C0
                       : relation == FP_LESS    ? FSW_C0
                       : relation == FP_EQUAL   ? FSW_C3
                                                : 0);
}

INLINE void pop_times(struct cpu *cpu, unsigned how)
{
    for (unsigned i = 0; i < how >> POP_SHIFT; i++)
        st_pop(cpu);
}

/* -- ST(0) against ST(i) or memory. An unmasked exception prevents the pop, but not the result -- */

INLINE void compare_st(struct cpu *cpu, const struct insn *insn, bool mem, unsigned i, unsigned how)
{
    x87_begin(cpu);
    struct fp_env env = x87_env(cpu);
    bool empty = st_empty(cpu, 0);
    struct fp_number b;
    if (mem) {
        b = x87_read_number(cpu, insn, how & INTEGER, &env);
    } else {
        empty |= st_empty(cpu, i);
        b = st_number(cpu, i);
    }
    x87_note(cpu, insn, mem);
    enum fp_relation relation = FP_UNORDERED;
    if (empty)
        env.flags = X87_UNDERFLOW;
    else
        relation = f80_compare(&env, st_number(cpu, 0), b, how & QUIET);
    bool complete = x87_commit(cpu, insn, env.flags);
    set_relation(cpu, relation);
    if (complete)
        pop_times(cpu, how);
}

#define COMPARE(MNEMONIC, how)                                                                     \
    EXEC_FORMS(MNEMONIC, compare_st(cpu, insn, false, insn->operand[1].reg, how),                  \
               compare_st(cpu, insn, true, 0, how))

COMPARE(FCOM, 0)
COMPARE(FCOMP, POP1)
COMPARE(FUCOM, QUIET)
COMPARE(FUCOMP, QUIET | POP1)
COMPARE(FICOM, INTEGER)
COMPARE(FICOMP, INTEGER | POP1)

static void fcompp(struct cpu *cpu, const struct insn *insn)
{
    compare_st(cpu, insn, false, 1, POP2);
}

static void fucompp(struct cpu *cpu, const struct insn *insn)
{
    compare_st(cpu, insn, false, 1, QUIET | POP2);
}

EXEC_ONE(FCOMPP, fcompp)
EXEC_ONE(FUCOMPP, fucompp)

static void ftst(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    struct fp_env env = x87_env(cpu);
    enum fp_relation relation = FP_UNORDERED;
    if (st_empty(cpu, 0))
        env.flags = X87_UNDERFLOW;
    else
        relation = f80_compare(&env, st_number(cpu, 0), fp_from_int(0), false);
    x87_commit(cpu, insn, env.flags);
    set_relation(cpu, relation);
}

EXEC_ONE(FTST, ftst)

/* -- With the result in ZF, PF, CF; C1 stays but for a stack fault -- */

INLINE void compare_eflags(struct cpu *cpu, const struct insn *insn, unsigned how)
{
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    struct fp_env env = x87_env(cpu);
    unsigned i = insn->operand[1].reg;
    enum fp_relation relation = FP_UNORDERED;
    if (st_empty(cpu, 0) || st_empty(cpu, i))
        env.flags = X87_UNDERFLOW;
    else
        relation = f80_compare(&env, st_number(cpu, 0), st_number(cpu, i), how & QUIET);
    uint16_t kept = env.flags & FSW_SF ? 0 : cpu->x87.status & FSW_C1;
    bool complete = x87_commit(cpu, insn, env.flags);
    cpu->x87.status |= kept;
    cpu->eflags = flags_merge(cpu->eflags, FLAG_ARITH, fp_relation_eflags(relation));
    if (complete)
        pop_times(cpu, how);
}

static void fcomi(struct cpu *cpu, const struct insn *insn)
{
    compare_eflags(cpu, insn, 0);
}

static void fcomip(struct cpu *cpu, const struct insn *insn)
{
    compare_eflags(cpu, insn, POP1);
}

static void fucomi(struct cpu *cpu, const struct insn *insn)
{
    compare_eflags(cpu, insn, QUIET);
}

static void fucomip(struct cpu *cpu, const struct insn *insn)
{
    compare_eflags(cpu, insn, QUIET | POP1);
}

EXEC_ONE(FCOMI, fcomi)
EXEC_ONE(FCOMIP, fcomip)
EXEC_ONE(FUCOMI, fucomi)
EXEC_ONE(FUCOMIP, fucomip)

/* -- Classification -- */

static void fxam(struct cpu *cpu, const struct insn *insn)
{
    static const uint16_t by_kind[] = {
        [NUMBER_ZERO] = FSW_C3, [NUMBER_FINITE] = FSW_C2, [NUMBER_INFINITE] = FSW_C2 | FSW_C0,
        [NUMBER_NAN] = FSW_C0,  [NUMBER_UNSUPPORTED] = 0,
    };
    x87_begin(cpu);
    x87_note(cpu, insn, false);
    struct fp_number a = st_number(cpu, 0);
    unsigned condition = st_empty(cpu, 0) ? FSW_C3 | FSW_C0
                         : a.denormal     ? FSW_C3 | FSW_C2
                                          : by_kind[a.kind];
    cpu->x87.status &= (uint16_t)~FSW_C1;
    set_condition(cpu, condition | (a.sign ? FSW_C1 : 0));
}

EXEC_ONE(FXAM, fxam)
