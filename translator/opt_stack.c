/*
 * Steps of the stack pointer. Where a function saves or restores registers, each PUSH and POP moves
 * it by 8. Behind a shared check nothing can fail or be interrupted until the next operation that
 * shows the guest's state, so one step serves for all of them, and the accesses in between have it
 * in their displacements.
 */
#include "translator/engine.h"

static bool is_step(const struct ir *ir)
{
    return ir->op == IR_LEA && ir->size == 8 && ir->aux >> 4 == 8 && ir->d == RSP && ir->a == RSP &&
           ir->b == V_ZERO && !ir->floats;
}

static bool is_on_stack(const struct ir *ir)
{
    return ir_is_memory(ir) && ir->a == RSP && ir->b != RSP && ir->aux >> 4 == 8;
}

/* A slow path executes the whole instruction and goes on behind it: the step has to be there. A
 * shared check that fails leaves the block before the instruction. */
static bool has_slow_path(const struct ir_list *list, unsigned step)
{
    for (unsigned at = step; at-- > 0 && list->at[at].insn == list->at[step].insn;) {
        const struct ir *ir = &list->at[at];
        bool leaves = ir_is_memory(ir) && ir->share_check && !ir->share_alone;
        if (ir_observable(ir) && !leaves)
            return true;
    }
    return false;
}

/* May a step come behind the operation instead of before it? Not all that IR_BITS and IR_VECTOR
 * read is in a and b. */
static bool can_pass(const struct ir *ir)
{
    if (ir_observable(ir))
        return false;
    bool known = ir->op < IR_CLC || ir_is_memory(ir);
    return known && (is_on_stack(ir) || (ir->d != RSP && ir->a != RSP && ir->b != RSP));
}

/* The step at `at` becomes part of the next one, if it can. */
static bool join_next(struct ir_list *list, unsigned at)
{
    int64_t by = list->at[at].imm;
    unsigned end = at + 1;
    if (has_slow_path(list, at))
        return false;
    for (; end < list->count && !is_step(&list->at[end]); end++) {
        const struct ir *ir = &list->at[end];
        int64_t imm = ir->imm + by;
        if (!can_pass(ir) || (is_on_stack(ir) && imm != (int32_t)imm))
            return false;
    }
    if (end == list->count || list->at[end].imm + by != (int32_t)(list->at[end].imm + by))
        return false;
    for (unsigned i = at + 1; i < end; i++)
        if (is_on_stack(&list->at[i]))
            list->at[i].imm += by;
    list->at[end].imm += by;
    return true;
}

void opt_stack(struct ir_list *list)
{
    unsigned count = 0;
    for (unsigned at = 0; at < list->count; at++) {
        bool gone = is_step(&list->at[at]) && (join_next(list, at) || list->at[at].imm == 0);
        if (!gone)
            list->at[count++] = list->at[at];
    }
    list->count = count;
}
