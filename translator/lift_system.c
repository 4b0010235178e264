/*
 * Lifting of system instructions that need no more than a few words of struct cpu: flags, CLI and
 * STI, STAC and CLAC, SWAPGS, fences, reads of control and segment registers.
 *
 * Many of them end a trace when the interpreter's function does them, because they may change the
 * mode or let an interrupt in. Lifted they do neither: what would is left to the slow path.
 */
#include "translator/lift.h"

static bool is_ring0(uint32_t mode)
{
    return !(mode & (MODE_CPL | MODE_VM86));
}

static bool is_inline(const struct engine *engine, uint32_t mode, const struct insn *insn)
{
    switch (insn->op) {
    case OP_CLI:
    case OP_STAC:
    case OP_CLAC:
    case OP_SWAPGS:
        return is_ring0(mode);
    case OP_STI: /* --verify compares with an interpreter that stops for the interrupt */
        return is_ring0(mode) && !engine->verify;
    case OP_POPF:
        return (is_ring0(mode) || (mode & (MODE_CPL | MODE_VM86)) == 3) && insn->opsize >= 4 &&
               !engine->verify;
    default:
        return false;
    }
}

bool lift_goes_on(const struct engine *engine, uint32_t mode, const struct insn *insn)
{
    return is_inline(engine, mode, insn);
}

static bool lift_simple(struct lift *l, enum ir_op op)
{
    if (!is_inline(l->engine, l->mode, l->insn))
        return false;
    lift_ir(l, op, 0);
    return true;
}

/* -- Flags -- */

static bool lift_pushf(struct lift *l)
{
    unsigned size = l->insn->opsize;
    if (l->mode & MODE_VM86)
        return false;
    lift_stack(l, IR_MEM_WRITE, size, RSP, -(int64_t)size);
    struct ir *ir = lift_dab(l, IR_FLAGS_READ, size, V_M, V_NONE, V_NONE);
    lift_flags(ir, FLAG_ARITH, 0, 0);
    lift_stack_move(l, RSP, RSP, -(int64_t)size);
    return true;
}

static bool lift_popf(struct lift *l)
{
    unsigned size = l->insn->opsize;
    if (!is_inline(l->engine, l->mode, l->insn))
        return false;
    lift_stack(l, IR_MEM_READ, size, RSP, 0);
    struct ir *ir = lift_dab(l, IR_FLAGS_WRITE, 4, V_NONE, V_M, V_NONE);
    lift_flags(ir, 0, FLAG_ARITH, FLAG_ARITH);
    ir->aux = is_ring0(l->mode);
    lift_stack_move(l, RSP, RSP, size);
    return true;
}

static bool lift_cli(struct lift *l)
{
    return lift_simple(l, IR_CLI);
}

/* No event may be taken between STI and the end of the following instruction: that must stand in
 * the same block, without a check before it that could leave. */
static bool lift_sti(struct lift *l)
{
    unsigned following = l->index + 1;
    if (following >= l->trace->count || l->trace->guard[following])
        return false;
    return lift_simple(l, IR_STI);
}

/* -- Kernel's access to user memory and data -- */

static bool lift_stac(struct lift *l)
{
    return lift_simple(l, IR_STAC);
}

static bool lift_clac(struct lift *l)
{
    return lift_simple(l, IR_CLAC);
}

static bool lift_swapgs(struct lift *l)
{
    return lift_simple(l, IR_SWAPGS);
}

/* -- Time -- */

static bool lift_rdtsc(struct lift *l)
{
    struct ir *ir = lift_ir(l, IR_TSC, 8);
    ir->aux = is_ring0(l->mode);
    return true;
}

static bool lift_cpuid(struct lift *l)
{
    if (!(l->mode & MODE_CODE64)) /* where it is rare, and one result differs */
        return false;
    lift_ir(l, IR_CPUID, 0);
    return true;
}

static bool lift_fence(struct lift *l)
{
    struct ir *ir = lift_ir(l, IR_FENCE, 0);
    ir->imm = l->insn->op == OP_SFENCE ? 7 : 6; /* the others are no less than MFENCE */
    return true;
}

/* -- CMPXCHG8B, CMPXCHG16B: allocators' fast paths -- */

static bool lift_cmpxchg_wide(struct lift *l)
{
    unsigned size = l->insn->op == OP_CMPXCHG16B ? 16 : 8;
    struct ir *ir = lift_memory(l, IR_MEM_MODIFY, size);
    if (!ir)
        return false;
    ir->aligned = size == 16;
    ir = lift_ir(l, IR_CMPXCHG_WIDE, size);
    ir->lock = (l->insn->prefixes & PREFIX_LOCK) != 0;
    lift_flags(ir, 0, FLAG_ZF, FLAG_ZF);
    return true;
}

/* -- Registers -- */

/* d = `size` bytes of struct cpu at `offset`, zero-extended to `width`. */
static void lift_field(struct lift *l, unsigned d, unsigned width, size_t offset, unsigned size)
{
    struct ir *ir = lift_dab(l, IR_FIELD, size, d, V_NONE, V_NONE);
    ir->imm = (int64_t)offset;
    ir->aux = (uint8_t)width;
}

static bool lift_rdtscp(struct lift *l)
{
    lift_rdtsc(l);
    lift_field(l, RCX, 4, offsetof(struct cpu, tsc_aux), 4);
    return true;
}

static bool lift_mov_cr(struct lift *l)
{
    static const uint16_t offset[] = {[0] = offsetof(struct cpu, cr0),
                                      [2] = offsetof(struct cpu, cr2),
                                      [3] = offsetof(struct cpu, cr3),
                                      [4] = offsetof(struct cpu, cr4)};
    const struct operand *to = &l->insn->operand[0], *from = &l->insn->operand[1];
    unsigned size = l->mode & MODE_CODE64 ? 8 : 4;
    if (from->kind != OPERAND_CR || !is_ring0(l->mode) || from->reg > 4 || from->reg == 1)
        return false;
    lift_field(l, to->reg, size, offset[from->reg], size);
    return true;
}

static size_t selector_of(unsigned seg)
{
    return offsetof(struct cpu, seg) + seg * sizeof(struct segment) +
           offsetof(struct segment, selector);
}

static bool lift_mov_sreg(struct lift *l)
{
    const struct operand *to = &l->insn->operand[0], *from = &l->insn->operand[1];
    if (from->kind != OPERAND_SEG || from->reg > SEG_GS)
        return false;
    if (to->kind == OPERAND_GPR) {
        lift_field(l, to->reg, l->insn->opsize, selector_of(from->reg), 2);
        return true;
    }
    if (!lift_memory(l, IR_MEM_WRITE, 2))
        return false;
    lift_field(l, V_M, 2, selector_of(from->reg), 2);
    return true;
}

static bool lift_push_sreg(struct lift *l)
{
    unsigned size = l->insn->opsize;
    lift_stack(l, IR_MEM_WRITE, size, RSP, -(int64_t)size);
    lift_field(l, V_M, size, selector_of(l->insn->operand[0].reg), 2);
    lift_stack_move(l, RSP, RSP, -(int64_t)size);
    return true;
}

lifter *const lifters_system[OP_COUNT] = {
    [OP_PUSHF] = lift_pushf,
    [OP_POPF] = lift_popf,
    [OP_CLI] = lift_cli,
    [OP_STI] = lift_sti,
    [OP_STAC] = lift_stac,
    [OP_CLAC] = lift_clac,
    [OP_SWAPGS] = lift_swapgs,
    [OP_MFENCE] = lift_fence,
    [OP_SFENCE] = lift_fence,
    [OP_SERIALIZE] = lift_fence,
    [OP_MOV_CR] = lift_mov_cr,
    [OP_MOV_SREG] = lift_mov_sreg,
    [OP_CMPXCHG8B] = lift_cmpxchg_wide,
    [OP_CMPXCHG16B] = lift_cmpxchg_wide,
    [OP_PUSH_SREG] = lift_push_sreg,
    [OP_RDTSC] = lift_rdtsc,
    [OP_CPUID] = lift_cpuid,
    [OP_RDTSCP] = lift_rdtscp,
};
