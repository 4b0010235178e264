/*
 * Loops. A block whose last jump leads to its own start can iterate without leaving: the host emits
 * its operations twice, for the first iteration and for all that follow (x86_64/lower.c).
 *
 *   first   as any block; where an address is checked, its page and host distance are noted in a
 *           slot of the loop (struct loop_slot)
 *   next    addresses that change are compared with the noted page only, so that a loop
 *           that walks over memory looks into the TLB once a page, and host addresses do not
 *           depend on that look; addresses that never change are not checked again, nor are guards
 *
 * What was noted holds until the block is left, since nothing flushes the TLB without leaving it
 * (R7). Each iteration polls for events. Flags that the next iteration's faults would show are not
 * stored at the jump back if they can be computed again.
 */
#include "translator/engine.h"

/* Does the operation leave mode, rights and segments alone? */
static bool is_harmless(const struct ir *ir)
{
    switch (ir->op) {
    case IR_SWAPGS:
    case IR_CLI:
    case IR_FLAGS_WRITE:
    case IR_FLAGS_READ:
        return false;
    default:
        return ir->op < IR_EXEC;
    }
}

void opt_loop(struct ir_list *list, const struct trace *trace)
{
    list->loop = false;
    if (list->count == 0)
        return;
    const struct ir *last = &list->at[list->count - 1];
    if (last->op != IR_JUMP)
        return;
    const struct ir *back = last;
    if (list->count > 1 && last[-1].op == IR_BRANCH && last[-1].insn == last->insn)
        back = last - 1;
    if ((uint64_t)back->imm != trace->rip[0])
        return;
    for (unsigned i = 0; i < list->count; i++)
        if (!is_harmless(&list->at[i]))
            return;
    list->loop = true;
}
