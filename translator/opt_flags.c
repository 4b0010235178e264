/*
 * Liveness of the arithmetic flags, from the end of the block to its start. Two answers for each
 * operation:
 *
 *   live    flags that a later operation of the block reads
 *   strict  the same, when faults, events and exits count as readers of all flags (R3)
 *
 * What is live must be kept in host EFLAGS or stored; what is only strict may be computed again on
 * the slow path, if the host finds a way.
 *
 * What the flags at the start are wanted for is looked at apart: if nothing but faults and events
 * can show them before all are written, a predecessor need not store them (recipe.c).
 */
#include "translator/engine.h"

/* Does the operation pass by flags that it does not write, or show them only by leaving to C? */
static bool is_blind(const struct ir *ir)
{
    if (ir->reads || ir->writes)
        return false;
    switch (ir->op) {
    case IR_EVENT:
    case IR_GUARD:
    case IR_FORWARD:
        return true;
    case IR_CLI:
    case IR_SWAPGS:
    case IR_FENCE:
    case IR_FIELD:
    case IR_FLAGS_READ:
        return false;
    default:
        return ir->op < IR_EVENT;
    }
}

static void look_at_entry(struct ir_list *list)
{
    uint32_t changed = 0;
    list->passes = false;
    list->changed = 0;
    for (unsigned i = 0; i < list->count && !list->passes; i++) {
        const struct ir *ir = &list->at[i];
        if (ir_observable(ir) || ir_is_memory(ir)) /* a more careful block checks all of them */
            list->changed = (uint16_t)changed;
        if (ir->kills == FLAG_ARITH && !ir->reads)
            list->passes = true;
        else if (!is_blind(ir))
            return;
        changed |= ir_written(ir);
    }
}

void opt_flags(struct ir_list *list)
{
    uint16_t live = 0, strict = FLAG_ARITH;
    for (unsigned i = list->count; i-- > 0;) {
        struct ir *ir = &list->at[i];
        ir->live = live;
        ir->strict = strict;
        live = (uint16_t)((live & ~ir->kills) | ir->reads);
        if (ir_observable(ir))
            strict = FLAG_ARITH;
        else
            strict = (uint16_t)((strict & ~ir->kills) | ir->reads);
    }
    list->entry_strict = strict;
    look_at_entry(list);
}
