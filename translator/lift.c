/*
 * Lifting: guest instructions to IR.
 */
#include "translator/lift.h"

#include <string.h>

struct ir *lift_ir(struct lift *l, enum ir_op op, unsigned size)
{
    struct ir_list *list = l->list;
    ir_reserve(list, 1);
    struct ir *ir = &list->at[list->count++];
    *ir = (struct ir){.op = (uint8_t)op,
                      .size = (uint8_t)size,
                      .d = V_NONE,
                      .a = V_NONE,
                      .b = V_NONE,
                      .seg = SEG_COUNT,
                      .insn = (uint16_t)l->index};
    return ir;
}

struct ir *lift_dab(struct lift *l, enum ir_op op, unsigned size, unsigned d, unsigned a,
                    unsigned b)
{
    struct ir *ir = lift_ir(l, op, size);
    ir->d = (uint8_t)d;
    ir->a = (uint8_t)a;
    ir->b = (uint8_t)b;
    return ir;
}

unsigned lift_operand(const struct insn *insn, unsigned n, int64_t *imm)
{
    const struct operand *operand = &insn->operand[n];
    switch (operand->kind) {
    case OPERAND_GPR:
        return operand->reg;
    case OPERAND_GPR_HIGH:
        return V_HIGH + operand->reg;
    case OPERAND_XMM:
        return V_XMM + operand->reg;
    case OPERAND_MEM:
        return V_M;
    case OPERAND_IMM:
        *imm = (int64_t)insn->imm;
        return V_IMM;
    default:
        return V_NONE;
    }
}

/* -- Memory operands -- */

/* Segment base and checks of an access. */
static bool set_segment(const struct lift *l, struct ir *ir, unsigned seg)
{
    static const uint16_t flat[6] = {MODE_FLAT_ES, MODE_FLAT_CS, MODE_FLAT_SS,
                                     MODE_FLAT_DS, MODE_FLAT_FS, MODE_FLAT_GS};
    if (l->mode & MODE_CODE64) {
        if ((seg == SEG_FS || seg == SEG_GS) && !(l->mode & flat[seg]))
            ir->seg = (uint8_t)seg;
        return true;
    }
    if (seg == SEG_CS && ir->op != IR_MEM_READ)
        return false;
    if (seg != SEG_CS && l->mode & flat[seg])
        return true;
    ir->seg = (uint8_t)seg;
    ir->checked = true;
    return true;
}

void lift_relative(const struct lift *l, struct ir *ir)
{
    if (l->insn->base != REG_IP)
        return;
    ir->a = V_ZERO;
    ir->imm += (int64_t)l->next;
    if (l->insn->addrsize == 4)
        ir->imm = (uint32_t)ir->imm;
    ir->floats = l->trace->floats;
}

struct ir *lift_memory(struct lift *l, enum ir_op op, unsigned size)
{
    const struct insn *insn = l->insn;
    struct ir *ir = lift_ir(l, op, size);

    ir->a = insn->base;
    ir->b = insn->index;
    ir->imm = insn->addrsize == 2 ? (uint16_t)insn->disp : insn->disp;
    lift_relative(l, ir);
    ir->aux = (uint8_t)(insn->scale | insn->addrsize << 4);
    if (!set_segment(l, ir, insn->seg)) {
        l->list->count--;
        return NULL;
    }
    return ir;
}

struct ir *lift_pointer(struct lift *l, enum ir_op op, unsigned size, unsigned reg, unsigned seg)
{
    struct ir *ir = lift_ir(l, op, size);
    ir->a = (uint8_t)reg;
    ir->b = V_ZERO;
    ir->aux = (uint8_t)(l->insn->addrsize << 4);
    if (!set_segment(l, ir, seg)) {
        l->list->count--;
        return NULL;
    }
    return ir;
}

unsigned lift_stack_width(const struct lift *l)
{
    return l->mode & MODE_CODE64 ? 8 : l->mode & MODE_STACK32 ? 4 : 2;
}

struct ir *lift_stack(struct lift *l, enum ir_op op, unsigned size, unsigned base, int64_t disp)
{
    struct ir *ir = lift_ir(l, op, size);
    ir->a = (uint8_t)base;
    ir->b = V_ZERO;
    ir->imm = disp;
    ir->aux = (uint8_t)(lift_stack_width(l) << 4);
    set_segment(l, ir, SEG_SS);
    return ir;
}

void lift_stack_move(struct lift *l, unsigned reg, unsigned base, int64_t bytes)
{
    struct ir *ir = lift_dab(l, IR_LEA, lift_stack_width(l), reg, base, V_ZERO);
    ir->imm = bytes;
    ir->aux = 8 << 4;
}

/* -- The block -- */

static void lift_exec(struct lift *l, bool end)
{
    struct ir *ir = lift_ir(l, end ? IR_EXEC_END : IR_EXEC, 0);
    lift_flags(ir, 0, FLAG_ARITH, FLAG_ARITH);
}

static void lift_exit(struct lift *l, uint64_t rip)
{
    struct ir *ir = lift_ir(l, IR_JUMP, 0);
    ir->imm = (int64_t)rip;
}

bool lift_is_flow(unsigned op)
{
    return lifters_flow[op] != NULL;
}

static bool lift_one(struct lift *l)
{
    lifter *fn = lifters_integer[l->insn->op];
    if (!fn)
        fn = lifters_flow[l->insn->op];
    if (!fn)
        fn = lifters_system[l->insn->op];
    if (!fn && host_has_vector(l->insn))
        fn = lift_vector;
    if (!fn && isa_rows[l->insn->row].attributes & ISA_VSIB)
        fn = lift_gather;
    if (!fn && lift_has_bits(l->insn))
        fn = lift_bits;
    if (!fn && host_has_x87(l->insn))
        fn = lift_x87;
    unsigned count = l->list->count;
    if (fn && fn(l))
        return true;
    l->list->count = count;
    return false;
}

void lift(struct engine *engine, const struct trace *trace, struct ir_list *list)
{
    struct lift l = {.engine = engine, .trace = trace, .list = list, .mode = trace->mode};
    bool open = true;

    list->count = 0;
    for (l.index = 0; l.index < trace->count; l.index++) {
        l.insn = &trace->insn[l.index];
        l.rip = trace->rip[l.index];
        l.next = l.rip + l.insn->length;
        if (trace->mode & MODE_PAGING)
            for (unsigned page = 0; page < trace->pages; page++)
                if (trace->guard[l.index] >> page & 1) {
                    struct ir *ir = lift_ir(&l, IR_GUARD, 0);
                    ir->imm = (int64_t)l.rip;
                    ir->aux = (uint8_t)page;
                }
        /* Accesses that are watched never hit the TLB: leave them to the interpreter (R2). */
        if (!lift_one(&l)) {
            bool last = l.index + 1 == trace->count;
            bool end = last && isa_rows[l.insn->row].attributes & ISA_END;
            lift_exec(&l, end);
            open = !end;
        } else {
            const struct ir *last = &list->at[list->count - 1];
            open = list->count == 0 || (last->op != IR_JUMP && last->op != IR_INDIRECT);
        }
        if (trace->poll[l.index] && open) {
            struct ir *ir = lift_ir(&l, IR_EVENT, 0);
            ir->imm = (int64_t)trace->next[l.index];
        }
    }
    l.index--;
    if (open)
        lift_exit(&l, trace->end);
}
