/*
 * Lowering: where the arithmetic flags are at each operation (R3).
 *
 * They are in the host's, in the slot, or come from a recipe: registers that still hold what they
 * can be computed from. What clobbers the host's saves them only if somebody may still look at them
 * and no recipe survives.
 */
#include "translator/x86_64/lower.h"

/* SF ZF AF PF CF are the low byte of EFLAGS in LAHF's format. */
void lower_save_flags(struct emit *e, int32_t low, int32_t overflow)
{
    emit_byte(e, 0x9f);                            /* lahf */
    emit_rm(e, 0x88, 4, cpu_mem(low));             /* mov [low], ah */
    emit_rm(e, 0x90 | X_0F, 0, cpu_mem(overflow)); /* seto [overflow] */
}

void lower_store_flags(struct emit *e)
{
    lower_save_flags(e, HOT_AT(flags), HOT_AT(overflow));
}

/* 0 or 1 plus 127 overflows in a byte or does not: that makes OF, SAHF the others. */
void lower_restore_flags(struct emit *e)
{
    emit_load(e, 1, H_RAX, cpu_mem(HOT_AT(overflow)));
    emit_rm(e, 0x8a, 4, cpu_mem(HOT_AT(flags))); /* mov ah, [flags] */
    emit_byte(e, 0x04);                          /* add al, 127 */
    emit_byte(e, 0x7f);
    emit_byte(e, 0x9e); /* sahf */
}

/* alu reg, (register or constant of a recipe) */
static void recipe_alu(struct lower *l, enum host_alu alu, const struct recipe *recipe,
                       unsigned reg)
{
    struct host_mem mem;
    if (recipe->b == V_IMM)
        emit_alu_ri(l->e, alu, recipe->size, reg, recipe->imm);
    else if (lower_in_memory(l, recipe->b, &mem))
        emit_alu_rm(l->e, alu, recipe->size, reg, mem);
    else
        emit_alu_rr(l->e, alu, recipe->size, reg, l->home[recipe->b]);
}

static void compute_recipe(struct lower *l, const struct recipe *recipe)
{
    unsigned a = lower_use(l, recipe->a, recipe->size < 4 ? 4 : recipe->size, H_RAX);
    switch (recipe->op) {
    case IR_CMP:
        recipe_alu(l, ALU_CMP, recipe, a);
        break;
    case IR_TEST:
        if (recipe->b == V_IMM) {
            if (recipe->size == 1)
                emit_rr(l->e, 0xf6 | X_BYTE_RM, 0, a);
            else
                emit_rr(l->e, 0xf7 | emit_wide(recipe->size), 0, a);
            for (unsigned i = 0; i < (recipe->size < 4 ? recipe->size : 4); i++)
                emit_byte(l->e, (uint8_t)(recipe->imm >> 8 * i));
        } else {
            struct host_mem mem;
            if (recipe->b == recipe->a)
                emit_rr(l->e, 0x84 | emit_size(recipe->size), a, a);
            else if (lower_in_memory(l, recipe->b, &mem))
                emit_rm(l->e, 0x84 | emit_size(recipe->size), a, mem);
            else
                emit_rr(l->e, 0x84 | emit_size(recipe->size), l->home[recipe->b], a);
        }
        break;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR: /* of an operand that was kept */
        emit_shift_ri(l->e,
                      recipe->op == IR_SHL   ? SHIFT_SHL
                      : recipe->op == IR_SHR ? SHIFT_SHR
                                             : SHIFT_SAR,
                      recipe->size, H_RAX, (unsigned)recipe->imm);
        break;
    default: /* ADD, SUB: undo on a copy, and do again */
        if (a != H_RAX)
            emit_mov_rr(l->e, 8, H_RAX, a);
        recipe_alu(l, recipe->op == IR_ADD ? ALU_SUB : ALU_ADD, recipe, H_RAX);
        recipe_alu(l, recipe->op == IR_ADD ? ALU_ADD : ALU_SUB, recipe, H_RAX);
    }
}

/* The recipe for the flags of an operation that was just emitted, if its operands allow one. */
static struct recipe recipe_of(const struct ir *ir)
{
    struct recipe none = {.op = IR_COUNT};
    struct recipe recipe = {ir->op, ir->size, ir->a, ir->b, (int32_t)ir->imm};
    if (ir->a >= 16 || (ir->b >= 16 && ir->b != V_IMM))
        return none;
    switch (ir->op) {
    case IR_CMP:
    case IR_TEST:
        return recipe;
    case IR_AND:
    case IR_OR:
    case IR_XOR:
        recipe.op = IR_TEST;
        recipe.a = recipe.b = ir->d;
        return recipe;
    case IR_ADD:
    case IR_SUB:
        recipe.a = ir->d;
        if (ir->d == ir->b || ir->d != ir->a)
            return none;
        return recipe;
    default:
        return none;
    }
}

bool lower_recipe_survives(const struct lower *l)
{
    const struct recipe *recipe = &l->flags.recipe;
    if (recipe->op == IR_COUNT)
        return false;
    uint32_t registers = recipe_registers(recipe);
    for (unsigned i = l->at; i < l->list->count; i++) {
        const struct ir *ir = &l->list->at[i];
        if (ir->kills == ALL)
            return true;
        if (ir->writes) /* the rest is computed before it */
            return true;
        if (!ir->strict)
            return true;
        if (ir_written(ir) & registers)
            return false;
        if (i - l->at > 64)
            return false;
    }
    return true;
}

void lower_clobber(struct lower *l)
{
    struct flags *flags = &l->flags;
    uint16_t needed = ir_observable(l->ir) ? ALL : l->ir->strict;
    if (flags->host && needed & ~flags->slot && !lower_recipe_survives(l)) {
        l->held = V_NONE;
        lower_store_flags(l->e);
        flags->slot = flags->host;
    }
    flags->host = 0;
}

void lower_store_left(struct lower *l, struct emit *e, enum exit_flags flags, unsigned recipe)
{
    if (flags == EXIT_STORED)
        return;
    l->e = e;
    l->held = V_NONE;
    lower_assume_homes(l, false);
    if (flags == EXIT_BY_RECIPE)
        compute_recipe(l, &l->engine->recipe[recipe - 1].recipe);
    lower_store_flags(e);
}

static void compute_host_flags(struct lower *l, struct flags *flags)
{
    l->held = V_NONE;
    if (flags->recipe.op != IR_COUNT) {
        compute_recipe(l, &flags->recipe);
        flags->host = ALL;
    } else {
        lower_restore_flags(l->e);
        flags->host = flags->slot;
    }
}

void lower_want(struct lower *l, uint16_t mask)
{
    if (mask & ~l->flags.host)
        compute_host_flags(l, &l->flags);
}

void lower_fill_slot(struct lower *l, struct flags *flags)
{
    if (!(ALL & ~flags->slot))
        return;
    if (ALL & ~flags->host && flags->recipe.op != IR_COUNT)
        compute_host_flags(l, flags);
    l->held = V_NONE;
    lower_store_flags(l->e);
    flags->slot = ALL;
}

enum host_cond lower_condition(struct lower *l, unsigned cond)
{
    static const uint8_t bits[6] = {0, FLAG_CF, FLAG_ZF, FLAG_CF | FLAG_ZF, FLAG_SF, FLAG_PF};
    uint16_t wanted = (uint16_t)isa_cond_flags(cond);
    struct flags *flags = &l->flags;
    if (wanted & ~flags->host) {
        if (flags->recipe.op != IR_COUNT || cond >= 12) {
            compute_host_flags(l, flags);
        } else { /* one test of the slot */
            unsigned kind = cond >> 1;
            if (kind == 0)
                emit_alu_mi(l->e, ALU_CMP, 1, cpu_mem(HOT_AT(overflow)), 0, false);
            else {
                emit_rm(l->e, 0xf6, 0, cpu_mem(HOT_AT(flags)));
                emit_byte(l->e, bits[kind]);
            }
            flags->host = 0;
            return cond & 1 ? CC_Z : CC_NZ;
        }
    }
    return (enum host_cond)cond;
}

bool lower_carries(const struct lower *l)
{
    const struct ir *ir = l->ir;
    return l->list->loop && l->at + 3 == l->list->count && ir[1].op == IR_BRANCH &&
           (ir->a == V_M) + (ir->b == V_M) == 1 && (ir->a < 16 || ir->a == V_M) &&
           (ir->b < 16 || ir->b == V_M || ir->b == V_IMM);
}

bool lower_keeps_operand(const struct lower *l)
{
    if (!l->block->hot || l->ir->kills != ALL)
        return false;
    for (unsigned i = l->at + 1; i < l->list->count; i++) {
        const struct ir *ir = &l->list->at[i];
        if (ir_is_memory(ir) && ir_observable(ir))
            return true;
        if (ir->reads || ir->writes || ir_observable(ir))
            return false;
    }
    return false;
}

void lower_wrote_flags(struct lower *l)
{
    const struct ir *ir = l->ir;
    struct flags *flags = &l->flags;
    if (!ir->writes)
        return;
    flags->host |= ir->writes;
    flags->slot &= (uint16_t)~ir->writes;
    flags->recipe = ir->kills == ALL ? recipe_of(ir) : (struct recipe){.op = IR_COUNT};
}
