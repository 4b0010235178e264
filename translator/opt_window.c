/*
 * Code for the window (cpu/window.h): accesses that the host's MMU translates.
 *
 * An access is by the guest's own address, so a page that is missing shows as a fault of the host,
 * whose handler maps it, or leads to the access's slow path, which interprets the instruction as
 * any does. For that the operand must be the first that the instruction touches, with nothing
 * changed before; other accesses look into the TLB as elsewhere.
 *
 * Before an address is used its granule must be known to be open. It is for all that are near one
 * that was checked, known symbolically, and granules stay open as long as there is code that was
 * made before. A check that fails opens the granule, or leaves the block.
 */
#include "translator/engine.h"

#include "cpu/window.h"

#include <string.h>

#define CHECKED_MAX 64
#define NEAR        (WINDOW_REACH / 4) /* hosts may check a register instead of the address */
#define SHIFT       (NO_ROOT - 1)      /* the base of addresses that float */

struct checked {
    uint16_t base, index;
    uint8_t scale, seg;
    int64_t offset;
};

struct windows {
    struct ir_list *list;
    struct symbols symbols;
    unsigned count;
    struct checked checked[CHECKED_MAX];
    struct ir *by[CHECKED_MAX]; /* the operation with the check */
};

/* Is the operand that this memory operation gives used once, by the next operation, which touches
 * it before it changes anything? */
static bool is_simple(const struct ir_list *list, unsigned at)
{
    const struct ir *use = &list->at[at + 1];
    if (at + 1 == list->count || use->insn != list->at[at].insn)
        return false;
    for (unsigned i = at + 2; i < list->count && list->at[i].insn == use->insn; i++) {
        const struct ir *ir = &list->at[i];
        if (ir_is_memory(ir))
            break;
        if (ir->d == V_M || ir->a == V_M || ir->b == V_M)
            return false;
    }
    switch (use->op) {
    case IR_CALL:
    case IR_VECTOR:
    case IR_BITS:
        return true;
    case IR_BT:
    case IR_BTS:
    case IR_BTR:
    case IR_BTC:
        return use->b == V_IMM;
    default:
        return use->op < IR_CMPXCHG_WIDE && (use->d == V_M || use->a == V_M || use->b == V_M);
    }
}

static bool can_use_window(const struct ir_list *list, unsigned at)
{
    const struct ir *ir = &list->at[at];
    return ir_is_memory(ir) && ir->aux >> 4 == 8 && !ir->checked && !ir->bit_offset &&
           is_simple(list, at);
}

static struct checked describe(const struct windows *w, const struct ir *ir)
{
    struct checked c = {.base = NO_ROOT, .index = NO_ROOT, .seg = ir->seg, .offset = ir->imm};
    if (ir->floats)
        c.base = SHIFT;
    if (ir->a < 16) {
        c.base = w->symbols.at[ir->a].root;
        c.offset += w->symbols.at[ir->a].offset;
    }
    if (ir->b < 16) {
        c.index = w->symbols.at[ir->b].root;
        c.scale = ir->aux & 15;
        c.offset += (int64_t)((uint64_t)w->symbols.at[ir->b].offset << c.scale);
    }
    return c;
}

static bool is_near(const struct checked *a, const struct checked *b)
{
    uint64_t distance = (uint64_t)a->offset - (uint64_t)b->offset + NEAR;
    return a->base == b->base && a->index == b->index && a->scale == b->scale && a->seg == b->seg &&
           distance <= 2 * NEAR;
}

static void place(struct windows *w, unsigned at)
{
    struct ir *ir = &w->list->at[at];
    struct checked c = describe(w, ir);
    ir->window = true;
    if (c.base == NO_ROOT && c.index == NO_ROOT && c.seg == SEG_COUNT)
        return; /* known now */
    for (unsigned i = 0; i < w->count; i++)
        if (is_near(&w->checked[i], &c))
            return;
    ir->window = w->count < CHECKED_MAX && opt_may_check(w->list, at);
    if (!ir->window)
        return;
    ir->window_check = true;
    w->by[w->count] = ir;
    w->checked[w->count++] = c;
}

/* Does the register hold at the end of a loop what it held at its start? */
static bool is_kept(const struct windows *w, uint16_t root)
{
    return root == NO_ROOT ||
           (root < 16 && w->symbols.at[root].root == root && w->symbols.at[root].offset == 0);
}

void opt_window(struct ir_list *list, const struct trace *trace)
{
    static _Thread_local struct windows windows;
    struct windows *w = &windows;
    w->list = list;
    w->count = 0;
    symbols_start(&w->symbols, 8);
    bool fixed = true; /* the segments' bases */
    for (unsigned at = 0; at < list->count; at++) {
        const struct ir *ir = &list->at[at];
        if (can_use_window(list, at) && (fixed || ir->seg == SEG_COUNT))
            place(w, at);
        fixed &= ir->op < IR_EXEC;
        symbols_follow(&w->symbols, ir);
    }
    for (unsigned i = 0; list->loop && i < w->count; i++)
        w->by[i]->invariant = is_kept(w, w->checked[i].base) && is_kept(w, w->checked[i].index);
}
