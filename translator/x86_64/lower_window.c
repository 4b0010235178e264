/*
 * Memory operands in the window (cpu/window.h): the guest's own address is the host's.
 *
 *     rorx rdx, address, 24
 *     and  edx, granule mask
 *     cmp  byte [rdx + table], 0
 *     je   open the granule, or leave
 *
 * Others near it, and those known now, need nothing.
 */
#include "translator/x86_64/lower.h"

#include "cpu/window.h"

#define NEAR (WINDOW_REACH / 4) /* what displacements a check may leave out */

static void load_constant(struct lower *l, uint64_t gva)
{
    if (gva == (uint64_t)(int64_t)(int32_t)gva) {
        l->m = host_at(H_NONE, (int32_t)gva);
        return;
    }
    emit_mov_ri(l->e, H_RCX, gva);
    l->m = host_at(H_RCX, 0);
}

/* The operand, made of homes and RCX. */
static void load_address(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    struct host_mem mem;
    if (ir->a == V_ZERO && ir->b == V_ZERO && ir->imm != (int32_t)ir->imm) {
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
    uintptr_t table = (uintptr_t)window_table(l->engine->cpu);
    unsigned gva = l->m.base;
    if (l->m.index != H_NONE || l->m.base == H_NONE || l->m.disp > NEAR || l->m.disp < -NEAR) {
        emit_lea(e, 8, H_RCX, l->m);
        l->m = host_at(H_RCX, 0);
        gva = H_RCX;
    }
    lower_clobber(l); /* nothing so far has touched flags */
    uint8_t *back = e->at;
    emit_vex_rr(e, 0xf0 | X_0F3A | X_F2 | X_W, H_RDX, 0, gva); /* rorx */
    emit_byte(e, WINDOW_GRANULE_BITS);
    emit_alu_ri(e, ALU_AND, 4, H_RDX, (int32_t)WINDOW_GRANULE_MASK);
    emit_alu_mi(e, ALU_CMP, 1, host_at(H_RDX, (int32_t)table), 0, false);
    struct cold *cold = lower_cold(l, COLD_WINDOW, emit_jcc(e, CC_Z));
    cold->back = back;
    cold->gva = (uint8_t)gva;
    cold->exit = lower_careful_exit(l);
}

void lower_window_miss(struct lower *l, struct cold *cold)
{
    struct emit *e = l->e;
    if (cold->gva == H_RCX) {
        emit_call_to(e, stubs_of(l->engine)->open_window);
    } else { /* RCX may be part of the operand */
        emit_mov_rr(e, 8, H_RDX, H_RCX);
        emit_mov_rr(e, 8, H_RCX, cold->gva);
        emit_call_to(e, stubs_of(l->engine)->open_window);
        emit_mov_rr(e, 8, H_RCX, H_RDX);
    }
    emit_patch(emit_jcc(e, CC_NZ), cold->back);
}

void lower_window(struct lower *l, const struct ir *ir)
{
    const struct ir *use = ir + 1;
    lower_forget_shares(l);
    l->held = V_NONE;
    if (ir->a == V_ZERO && ir->b == V_ZERO && ir->seg == SEG_COUNT)
        load_constant(l, (uint64_t)ir->imm);
    else
        load_address(l, ir);
    if (ir->window_check && !(l->next && ir->invariant))
        check(l);
    else if (use->op == IR_CMOV || use->op == IR_SETCC) /* may lose flags before the access */
        lower_clobber(l);
    struct cold *cold = lower_cold(l, COLD_SLOW, NULL);
    cold->faults = l->e->at;
}
