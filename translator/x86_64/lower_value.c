/*
 * Values: homes of guest registers, temporaries, byte registers, addresses.
 */
#include "translator/x86_64/lower.h"

bool host_keeps_register(unsigned reg)
{
    return home_of[reg] != H_NONE;
}

bool lower_in_memory(const struct lower *l, unsigned value, struct host_mem *mem)
{
    if (value == V_M)
        *mem = l->m;
    else if (value == V_T1)
        *mem = cpu_mem(HOT_AT(scratch));
    else if (value == V_CARRY)
        *mem = cpu_mem(HOT_AT(carry));
    else if (value < 16 && l->home[value] == H_NONE)
        *mem = cpu_mem(GPR_AT(value));
    else
        return false;
    return true;
}

/* Flags stay as they are. */
unsigned lower_use(struct lower *l, unsigned value, unsigned size, unsigned temp)
{
    struct host_mem mem;
    if (value < 16 && l->home[value] != H_NONE)
        return l->home[value];
    if (value == V_T0)
        return H_RAX;
    if (value == V_IMM) {
        uint64_t imm = (uint64_t)l->ir->imm;
        emit_mov_ri(l->e, temp, size == 8 ? imm : (uint32_t)imm);
        return temp;
    }
    if (is_high(value)) { /* AH is reachable only in the first four registers */
        unsigned home = l->home[value - V_HIGH];
        if (home == H_RBX) {
            emit_rr(l->e, 0xb6 | X_0F, temp, 7); /* movzx temp, bh */
        } else {
            emit_mov_rr(l->e, 4, temp, home);
            if (temp <= H_RBX) {
                emit_rr(l->e, 0xb6 | X_0F, temp, temp + 4);
            }
        }
        return temp;
    }
    if (lower_in_memory(l, value, &mem))
        emit_load(l->e, size, temp, mem);
    return temp;
}

unsigned lower_target(const struct lower *l, unsigned value, unsigned temp)
{
    return value < 16 && l->home[value] != H_NONE ? l->home[value] : temp;
}

/* Stores a result of `size` bytes: 4 clears the upper half, 1 and 2 keep the rest. */
void lower_put(struct lower *l, unsigned value, unsigned size, unsigned reg)
{
    struct host_mem mem;
    if (value < 16 && l->home[value] != H_NONE) {
        if (reg == l->home[value])
            return;
        if (size >= 4)
            emit_mov_rr(l->e, size, l->home[value], reg);
        else
            emit_rr(l->e, 0x88 | emit_size(size), reg, l->home[value]);
        return;
    }
    if (value == V_T0) {
        if (reg != H_RAX)
            emit_mov_rr(l->e, size >= 4 ? size : 4, H_RAX, reg);
        return;
    }
    if (is_high(value)) {
        unsigned home = l->home[value - V_HIGH];
        if (reg > H_RDX) { /* beside a high byte register no REX prefix is possible */
            emit_mov_rr(l->e, 4, H_RCX, reg);
            reg = H_RCX;
        }
        if (home == H_RBX) {
            emit_rr(l->e, 0x88, reg, 7); /* mov bh, reg8 */
        } else {
            unsigned other = reg == H_RAX ? H_RCX : H_RAX;
            emit_mov_rr(l->e, 4, other, home);
            emit_rr(l->e, 0x88, reg, other + 4); /* mov ch, reg8 */
            emit_rr(l->e, 0x89 | X_66, other, home);
        }
        return;
    }
    if (!lower_in_memory(l, value, &mem))
        return;
    if (value != V_M && size == 4) {
        if (reg != H_RAX && reg != H_RCX && reg != H_RDX) { /* temporaries hold it zero-extended */
            emit_mov_rr(l->e, 4, H_RAX, reg);
            reg = H_RAX;
        }
        size = 8;
    }
    emit_store(l->e, size, mem, reg);
}

void lower_load_rax(struct lower *l, unsigned value, unsigned size)
{
    if (l->held != value)
        emit_load(l->e, size, H_RAX, cpu_mem(GPR_AT(value)));
}

/* base + index << scale + disp of homes; registers without a home come into RCX and RAX. */
struct host_mem lower_address(struct lower *l, const struct ir *ir)
{
    struct host_mem mem = {H_NONE, H_NONE, ir->aux & 15, 0};
    if (ir->a < 16 && ir->a == l->held) {
        emit_mov_rr(l->e, 8, H_RCX, H_RAX);
        mem.base = H_RCX;
    } else if (ir->a < 16) {
        mem.base = (uint8_t)lower_use(l, ir->a, 8, H_RCX);
    }
    if (ir->b < 16 && ir->b == l->held)
        mem.index = H_RAX;
    else if (ir->b < 16)
        mem.index = (uint8_t)lower_use(l, ir->b, 8, H_RAX);
    if (ir->floats) { /* neither base nor index */
        emit_load(l->e, 8, H_RCX, cpu_mem(HOT_AT(shift)));
        mem.base = H_RCX;
        if ((int32_t)ir->imm != ir->imm) {
            emit_mov_ri(l->e, H_RDX, (uint64_t)ir->imm);
            return (struct host_mem){H_RDX, H_RCX, 0, 0};
        }
    }
    if ((int32_t)ir->imm == ir->imm) {
        mem.disp = (int32_t)ir->imm;
    } else { /* an absolute or RIP-relative address; alone but for 16-bit and moffs forms */
        emit_mov_ri(l->e, H_RDX, (uint64_t)ir->imm);
        if (mem.base == H_NONE) {
            mem.base = H_RDX;
        } else {
            emit_lea(l->e, 8, H_RDX, (struct host_mem){H_RDX, mem.base, 0, 0});
            mem.base = H_RDX;
        }
    }
    if (mem.index == H_RAX && l->held == HELD_TLB)
        l->held = V_NONE;
    if (mem.base == H_NONE && mem.index != H_NONE && mem.scale == 0) {
        mem.base = mem.index;
        mem.index = H_NONE;
    }
    return mem;
}

void lower_free_rcx(struct lower *l)
{
    if (l->m.base != H_RCX && l->m.index != H_RCX)
        return;
    emit_lea(l->e, 8, H_RDX, l->m);
    l->m = host_at(H_RDX, 0);
}
