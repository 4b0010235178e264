/*
 * Memory operands in the window (cpu/window.h): the guest's own address is the host's. Where its
 * granule is not known to be open a byte of the window's table is read, which faults if it is not:
 *
 *     pext  rdx, address, [table_mask]
 *     movzx edx, byte [rdx + table]
 *
 * Host EFLAGS stay as they are.
 */
#include "translator/x86_64/lower.h"

#include "cpu/window.h"

#define NEAR (WINDOW_REACH / 4) /* what displacements a check may leave out */

/* An address known now. False: its granule cannot be open. */
static bool load_constant(struct lower *l, uint64_t gva)
{
    if (!window_open(l->engine->cpu, gva))
        return false;
    if (gva == (uint64_t)(int64_t)(int32_t)gva) {
        l->m = host_at(H_NONE, (int32_t)gva);
        return true;
    }
    emit_mov_ri(l->e, H_RCX, gva);
    l->m = host_at(H_RCX, 0);
    return true;
}

/* The operand, made of homes and RCX. */
static void load_address(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    struct host_mem mem;
    if (ir->a == V_ZERO && ir->b == V_ZERO && !ir->floats && ir->imm != (int32_t)ir->imm) {
        emit_mov_ri(e, H_RCX, (uint64_t)ir->imm);
        mem = host_at(H_RCX, 0);
    } else {
        mem = lower_address(l, ir);
    }
    bool segment = ir->seg != SEG_COUNT;
    if (segment || mem.base == H_RAX || mem.base == H_RDX || mem.index == H_RAX) {
        if (mem.base == H_NONE && mem.index == H_NONE)
            emit_mov_ri(e, H_RCX, (uint64_t)(int64_t)mem.disp);
        else
            emit_lea(e, 8, H_RCX, mem);
        mem = host_at(H_RCX, 0);
    }
    if (segment) {
        emit_load(e, 8, H_RDX,
                  cpu_mem(CPU_AT(seg) + (int32_t)(ir->seg * sizeof(struct segment)) +
                          (int32_t)offsetof(struct segment, base)));
        emit_lea(e, 8, H_RCX, (struct host_mem){H_RCX, H_RDX, 0, 0});
    }
    l->m = mem;
}

static void check(struct lower *l)
{
    struct emit *e = l->e;
    int32_t table = WINDOW_TABLE;
    unsigned gva = l->m.base;
    if (l->m.index != H_NONE || l->m.base == H_NONE || l->m.disp > NEAR || l->m.disp < -NEAR) {
        emit_lea(e, 8, H_RCX, l->m);
        l->m = host_at(H_RCX, 0);
        gva = H_RCX;
    }
    emit_vex_rm(e, 0xf5 | X_0F38 | X_F3 | X_W, H_RDX, gva, cpu_mem(HOT_AT(table_mask))); /* pext */
    emit_rm(e, 0xb6 | X_0F, H_RDX, host_at(H_RDX, table));
}

bool lower_window(struct lower *l, const struct ir *ir)
{
    const struct ir *use = ir + 1;
    lower_forget_shares(l);
    l->held = V_NONE;
    if (!l->block->hot)
        lower_store_pointers(l, &l->note);
    if (ir->a != V_ZERO || ir->b != V_ZERO || ir->seg != SEG_COUNT || ir->floats)
        load_address(l, ir);
    else if (!load_constant(l, (uint64_t)ir->imm))
        return false;
    bool conditional = use->op == IR_CMOV || use->op == IR_SETCC;
    bool adds =
        use->op == IR_CALL && l->block->floats; /* the shift to the address that it pushes */
    if (adds || (conditional && isa_cond_flags(use->cond) & ~l->flags.host))
        lower_clobber(l); /* the flags would be lost before the access */
    lower_fault(l);
    if (ir->window_check && !(l->next && ir->invariant))
        check(l);
    return true;
}
