/*
 * Checks between the links of a chain of carries. A memory check destroys host EFLAGS, which must
 * be saved before it and restored behind it if something still reads them: in code that adds long
 * numbers that is most of the time. Shared checks there are done at the start of the block, or of
 * each iteration, where flags are in the slot, or dead, if the address is known then and all that
 * is before the access is executed in any case.
 *
 * A check that fails leaves for the block that shares none, at the same start.
 */
#include "translator/engine.h"

#include <string.h>

#define CHECKS_MAX (SHARES + 2 * LOOP_SLOTS) /* in a loop for reading and for writing */

/* What registers hold: what they held at the start, and a constant. */
struct moved {
    bool unknown[16];
    int64_t by[16];
};

static void follow(struct moved *moved, const struct ir *ir)
{
    uint32_t written = ir_written(ir);
    int64_t by = 0;
    bool adds = ir->size == 8 && ir->d < 16 && ir->d == ir->a;
    if (ir->op == IR_LEA && ir->b == V_ZERO && ir->aux >> 4 == 8)
        by = ir->imm;
    else if ((ir->op == IR_ADD || ir->op == IR_SUB) && ir->b == V_IMM)
        by = ir->op == IR_ADD ? ir->imm : -ir->imm;
    else
        adds = false;
    for (unsigned i = 0; i < 16; i++)
        if (written >> i & 1) {
            moved->unknown[i] |= !(adds && ir->d == i);
            moved->by[i] += by;
        }
}

/* The address of an access, in terms of registers at the start of the block. */
static bool address_at_start(const struct moved *moved, struct ir *ir)
{
    if (ir->aux >> 4 != 8)
        return false;
    if (ir->a < 16) {
        if (moved->unknown[ir->a])
            return false;
        ir->imm += moved->by[ir->a];
    }
    if (ir->b < 16) {
        if (moved->unknown[ir->b])
            return false;
        ir->imm += (int64_t)((uint64_t)moved->by[ir->b] << (ir->aux & 15));
    }
    return ir->imm == (int32_t)ir->imm;
}

/* Are the flags that live here read by an addition with carry, and not by a branch, which can have
 * them computed again? */
static bool is_in_chain(const struct ir_list *list, unsigned at)
{
    if (!list->at[at].live)
        return false;
    while (!list->at[++at].reads)
        ;
    unsigned op = list->at[at].op;
    return op == IR_ADC || op == IR_SBB || op == IR_BITS;
}

/* Slots may serve one group after the other: is the slot this group's from the start on? In a loop
 * it must be so at the end, too. */
static bool has_slot(const struct ir_list *list, unsigned at)
{
    unsigned share = list->at[at].share;
    for (unsigned i = 0; i < list->count; i++)
        if (list->at[i].share == share && (share <= SHARES ? i < at : list->at[i].share_again))
            return false;
    return true;
}

void opt_hoist(struct ir_list *list)
{
    struct ir checks[CHECKS_MAX];
    struct moved moved = {0};
    unsigned count = 0;
    for (unsigned i = 0; i < list->count && list->at[i].op < IR_EVENT; i++) {
        struct ir *ir = &list->at[i];
        struct ir check = *ir;
        bool checks_window = ir->window && ir->window_check;
        bool checks_share = ir->share && ir->share_check && has_slot(list, i);
        if (ir_is_memory(ir) && (checks_window || checks_share) && is_in_chain(list, i) &&
            ir->seg == SEG_COUNT && count < CHECKS_MAX && address_at_start(&moved, &check)) {
            check.insn = 0;
            check.share_alone = false;
            checks[count++] = check;
            ir->share_check = ir->share_alone = ir->window_check = false;
        }
        follow(&moved, ir);
    }
    if (!count)
        return;
    ir_reserve(list, count);
    memmove(&list->at[count], list->at, list->count * sizeof *list->at);
    memcpy(list->at, checks, count * sizeof *checks);
    list->count += count;
}
