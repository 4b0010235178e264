/*
 * Homes of a block's own. Guest registers that live in struct cpu between blocks, but that the
 * block uses much, take host registers of those that it uses little. Each costs a store and a load
 * at the entry and at every exit, so loops and long blocks gain.
 *
 * Slow paths that leave generated code, exits and jumps through tables see the homes as they are
 * between blocks; refilling the TLB does not look at homes.
 */
#include "translator/x86_64/lower.h"

#include <string.h>

#define WEIGHT      64           /* of a use at the start */
#define LOOP_WEIGHT (3 * WEIGHT) /* of one in a loop */
#define GAIN_MIN    (6 * WEIGHT) /* to pay for moving a register */

/* Registers that operations use without naming them stay where they are. */
static const uint32_t movable_out = 1u << RBX | 1u << RSP | 1u << RBP | 1u << RSI | 1u << RDI |
                                    1u << R8 | 1u << R9 | 1u << R10 | 1u << R11;

/* Is it an operation whose lowering asks l->home, or names no register at all? */
static bool is_simple(const struct ir *ir)
{
    switch (ir->op) {
    case IR_X87:
    case IR_X87_CONTROL:
    case IR_GATHER:
    case IR_CMPXCHG_WIDE:
        return false;
    default:
        return ir->op < IR_EXEC && ir->a != V_HIGH + RBX && ir->b != V_HIGH + RBX &&
               ir->d != V_HIGH + RBX;
    }
}

static void count(unsigned uses[16], unsigned value, unsigned weight)
{
    if (value < 16)
        uses[value] += weight;
}

/* Uses of registers by their operations, less behind each branch that may leave before them.
 * Reading and writing count each. False: the homes must stay. */
static bool count_uses(const struct lower *l, unsigned uses[16])
{
    unsigned weight = l->list->loop ? LOOP_WEIGHT : WEIGHT;
    for (unsigned i = 0; i < l->list->count; i++) {
        const struct ir *ir = &l->list->at[i];
        if (!is_simple(ir))
            return false;
        if (ir->op == IR_BRANCH)
            weight -= weight / 4;
        if (ir->share_start && !ir->share_check) /* found without its registers */
            continue;
        count(uses, ir->a, weight);
        count(uses, ir->b, weight);
        if (!ir_is_memory(ir))
            count(uses, ir->d, weight);
    }
    return true;
}

static unsigned extreme(const unsigned uses[16], uint32_t set, bool most)
{
    unsigned best = 16;
    for (unsigned i = 0; i < 16; i++)
        if (set >> i & 1 && (best == 16 || (most ? uses[i] > uses[best] : uses[i] < uses[best])))
            best = i;
    return best;
}

void lower_choose_homes(struct lower *l)
{
    unsigned uses[16] = {0};
    uint32_t in = 0, out = movable_out;
    if (!l->block->hot || !count_uses(l, uses))
        return;
    for (unsigned i = 0; i < 16; i++)
        if (home_of[i] == H_NONE)
            in |= 1u << i;
    while (l->moves < MOVES_MAX) {
        struct home_move move = {(uint8_t)extreme(uses, in, true),
                                 (uint8_t)extreme(uses, out, false)};
        if (uses[move.in] < uses[move.out] + GAIN_MIN)
            break;
        l->move[l->moves++] = move;
        in &= ~(1u << move.in);
        out &= ~(1u << move.out);
    }
}

void lower_take_homes(struct lower *l)
{
    for (unsigned i = 0; i < l->moves; i++) {
        unsigned home = home_of[l->move[i].out];
        emit_store(l->e, 8, cpu_mem(GPR_AT(l->move[i].out)), home);
        emit_load(l->e, 8, home, cpu_mem(GPR_AT(l->move[i].in)));
    }
    lower_assume_homes(l, true);
}

void lower_give_homes(struct lower *l)
{
    if (!l->moved)
        return;
    for (unsigned i = 0; i < l->moves; i++) {
        unsigned home = home_of[l->move[i].out];
        emit_store(l->e, 8, cpu_mem(GPR_AT(l->move[i].in)), home);
        emit_load(l->e, 8, home, cpu_mem(GPR_AT(l->move[i].out)));
    }
    lower_assume_homes(l, false);
}

void lower_assume_homes(struct lower *l, bool moved)
{
    memcpy(l->home, home_of, sizeof l->home);
    l->moved = moved && l->moves;
    if (!l->moved)
        return;
    for (unsigned i = 0; i < l->moves; i++) {
        l->home[l->move[i].in] = home_of[l->move[i].out];
        l->home[l->move[i].out] = H_NONE;
    }
}
