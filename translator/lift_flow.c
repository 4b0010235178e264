/*
 * Lifting of near control flow. A jump that the trace follows leaves no jump behind.
 */
#include "translator/lift.h"

static struct ir *lift_jump(struct lift *l, enum ir_op op, uint64_t rip)
{
    struct ir *ir = lift_ir(l, op, 0);
    ir->imm = (int64_t)rip;
    return ir;
}

/* Does the trace go on at `rip` after this instruction? */
static bool follows(const struct lift *l, uint64_t rip)
{
    return l->index + 1 < l->trace->count && l->trace->rip[l->index + 1] == rip;
}

static bool target_of(const struct lift *l, uint64_t *target)
{
    return trace_target(l->trace, l->insn, l->rip, target);
}

static bool lift_jcc(struct lift *l)
{
    uint64_t target;
    if (!target_of(l, &target))
        return false;
    bool taken = target != l->next && follows(l, target); /* the next iteration of a loop */
    struct ir *ir = lift_jump(l, IR_BRANCH, taken ? l->next : target);
    ir->cond = (uint8_t)(l->insn->cond ^ taken);
    ir->reads = (uint16_t)isa_cond_flags(ir->cond);
    if (!taken && !follows(l, l->next))
        lift_jump(l, IR_JUMP, l->next);
    return true;
}

/* LOOP, JCXZ: the count is in RCX of the address size. */
static bool lift_count(struct lift *l)
{
    const struct insn *insn = l->insn;
    bool loop = insn->op == OP_LOOP;
    uint64_t target;
    if (!target_of(l, &target))
        return false;
    if (loop) {
        struct ir *ir = lift_dab(l, IR_LEA, insn->addrsize, RCX, RCX, V_ZERO);
        ir->imm = -1;
        ir->aux = 8 << 4;
    }
    struct ir *ir = lift_jump(l, IR_BRANCH_COUNT, target);
    ir->size = insn->addrsize;
    ir->cond = loop;
    if (!follows(l, l->next))
        lift_jump(l, IR_JUMP, l->next);
    return true;
}

/* The address in a register or memory operand, into V_T1. */
static bool lift_indirect_target(struct lift *l)
{
    const struct insn *insn = l->insn;
    int64_t imm;
    unsigned a = lift_operand(insn, 0, &imm);
    if (a == V_NONE || a >= V_HIGH)
        return false;
    if (a == V_M && !lift_memory(l, IR_MEM_READ, insn->opsize))
        return false;
    if (insn->opsize < 8)
        lift_dab(l, IR_MOVZX, 8, V_T1, a, V_NONE)->aux = insn->opsize;
    else
        lift_dab(l, IR_MOV, 8, V_T1, a, V_NONE);
    return true;
}

static struct ir *lift_indirect(struct lift *l, enum ir_indirect kind)
{
    struct ir *ir = lift_ir(l, IR_INDIRECT, 0);
    ir->a = V_T1;
    ir->aux = kind;
    return ir;
}

static bool lift_jmp(struct lift *l)
{
    uint64_t target;
    if (l->insn->operand[0].kind == OPERAND_REL) {
        if (!target_of(l, &target))
            return false;
        if (!follows(l, target))
            lift_jump(l, IR_JUMP, target);
        return true;
    }
    if (!lift_indirect_target(l))
        return false;
    lift_indirect(l, IR_INDIRECT_JUMP);
    return true;
}

/* Does the trace go on from this call to its return without a branch? */
static bool returns_within(const struct lift *l)
{
    const struct trace *trace = l->trace;
    unsigned depth = 0;
    for (unsigned i = l->index; i + 1 < trace->count; i++) {
        switch (trace->insn[i].op) {
        case OP_CALL:
            depth++;
            break;
        case OP_RET:
            if (--depth == 0)
                return true;
            break;
        case OP_JCC:
        case OP_LOOP:
        case OP_JCXZ:
            return false;
        }
    }
    return false;
}

/* Is it of use to note where the call returns? */
static bool is_noted(const struct lift *l, uint64_t pushed)
{
    return pushed == l->next && trace_reaches(l->trace, pushed) && !returns_within(l);
}

static bool lift_call(struct lift *l)
{
    const struct insn *insn = l->insn;
    unsigned size = insn->opsize;
    bool direct = insn->operand[0].kind == OPERAND_REL;
    uint64_t target = 0;

    if (l->trace->floats && size != 8) /* what is pushed is not rip + the shift */
        return false;
    if (direct) {
        if (!target_of(l, &target))
            return false;
    } else {
        if (!lift_indirect_target(l))
            return false;
        lift_dab(l, IR_FIND, 8, V_T1, V_T1, V_NONE);
    }
    lift_stack(l, IR_MEM_WRITE, size, RSP, -(int64_t)size);
    uint64_t pushed = size == 8 ? l->next : size == 4 ? (uint32_t)l->next : (uint16_t)l->next;
    enum ir_op op = is_noted(l, pushed) ? IR_CALL : IR_MOV;
    struct ir *ir = lift_dab(l, op, size, V_M, V_IMM, V_NONE);
    ir->imm = (int64_t)pushed;
    ir->floats = l->trace->floats;
    lift_stack_move(l, RSP, RSP, -(int64_t)size);
    if (!direct)
        lift_indirect(l, IR_INDIRECT_FOUND);
    else if (!follows(l, target))
        lift_jump(l, IR_JUMP, target);
    return true;
}

static bool lift_ret(struct lift *l)
{
    const struct insn *insn = l->insn;
    unsigned size = insn->opsize;
    int64_t release = insn->noperands ? (int64_t)(insn->imm & 0xffff) : 0;

    lift_stack(l, IR_MEM_READ, size, RSP, 0);
    if (size < 8)
        lift_dab(l, IR_MOVZX, 8, V_T1, V_M, V_NONE)->aux = (uint8_t)size;
    else
        lift_dab(l, IR_MOV, 8, V_T1, V_M, V_NONE);
    lift_stack_move(l, RSP, RSP, (int64_t)size + release);
    if (l->index + 1 <
        l->trace->count) { /* the trace followed the call: it expects to return there */
        struct ir *ir = lift_jump(l, IR_EXPECT, l->trace->next[l->index]);
        ir->a = V_T1;
    } else {
        lift_indirect(l, IR_INDIRECT_RETURN)->imm = (int64_t)size + release;
    }
    return true;
}

lifter *const lifters_flow[OP_COUNT] = {
    [OP_JCC] = lift_jcc, [OP_LOOP] = lift_count, [OP_JCXZ] = lift_count,
    [OP_JMP] = lift_jmp, [OP_CALL] = lift_call,  [OP_RET] = lift_ret,
};
