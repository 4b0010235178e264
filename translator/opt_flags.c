/*
 * Liveness of the arithmetic flags, from the end of the block to its start. Two answers for each
 * operation:
 *
 *   live    flags that a later operation of the block reads
 *   strict  the same, when faults, events and exits count as readers of all flags (R3)
 *
 * What is live must be kept in host EFLAGS or stored; what is only strict may be computed again on
 * the slow path, if the host finds a way.
 */
#include "translator/engine.h"

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
}
