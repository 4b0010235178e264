/*
 * BMI1, BMI2 and ADX: the guest's instruction with homes in place of its registers. Registers
 * without a home come into RAX (first source, first destination) and RCX (memory operand, second
 * destination of MULX).
 */
#include "translator/x86_64/lower.h"

static uint32_t opcode_of(const struct insn *insn)
{
    static const uint32_t maps[MAP_COUNT] = {
        [MAP_0F38] = X_0F38, [MAP_VEX_0F38] = X_0F38, [MAP_VEX_0F3A] = X_0F3A};
    static const uint32_t prefixes[ISA_PREFIX_COUNT] = {0, X_66, X_F3, X_F2};
    const struct isa_row *row = &isa_rows[insn->row];
    uint32_t opcode = row->opcode | maps[row->map] | (insn->opsize == 8 ? X_W : 0);
    return row->mandatory ? opcode | prefixes[__builtin_ctz(row->prefixes)] : opcode;
}

/* Index of the operand that the row writes with this letter, or -1. */
static int operand_with(const struct insn *insn, char letter)
{
    const struct isa_row *row = &isa_rows[insn->row];
    for (unsigned n = 0; n < insn->noperands; n++)
        if (row->operand[n].letter == letter)
            return (int)n;
    return -1;
}

/* Makes host EFLAGS hold what the operation reads, and what it must leave alone. */
static void prepare_flags(struct lower *l, const struct ir *ir)
{
    uint16_t kept = ir->writes ? (uint16_t)(ir->strict & ~ir->kills) : 0;
    lower_want(l, (uint16_t)(ir->reads | kept));
}

/* MULX multiplies by rDX, which is no home but can be part of the memory operand. */
static void load_multiplier(struct lower *l, const struct insn *insn)
{
    if (insn->operand[2].kind == OPERAND_MEM && l->m.base == H_RDX) {
        emit_lea(l->e, 8, H_RCX, l->m);
        l->m = host_at(H_RCX, 0);
        l->share[1] = 0;
    }
    if (l->home[insn->operand[1].reg] == H_NONE) /* its result comes into RCX */
        l->share[1] = 0;
    l->share[0] = 0;
    emit_mov_rr(l->e, 8, H_RDX, l->home[RDX]);
}

void lower_bits(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    const struct insn *insn = &l->trace->insn[ir->insn];
    const struct isa_row *row = &isa_rows[insn->row];
    int g = operand_with(insn, 'G'), b = operand_with(insn, 'B'), rm = operand_with(insn, 'E');
    unsigned reg = row->modrm >> 3 & 7; /* opcode extension, if no operand is there */
    unsigned vvvv = 0, size = insn->opsize;
    uint32_t opcode = opcode_of(insn);
    struct host_mem mem;

    prepare_flags(l, ir);
    if (insn->op == OP_MULX)
        load_multiplier(l, insn);
    if (g == 0)
        reg = lower_target(l, insn->operand[0].reg, H_RAX);
    if (insn->op == OP_MULX)
        vvvv = lower_target(l, insn->operand[1].reg, H_RCX);
    else if (b == 0)
        vvvv = lower_target(l, insn->operand[0].reg, H_RAX);
    else if (b > 0)
        vvvv = lower_use(l, insn->operand[b].reg, size, H_RAX);
    if (!row->vex) /* the destination is a source, too */
        lower_use(l, insn->operand[0].reg, size, H_RAX);

    bool in_memory = insn->operand[rm].kind == OPERAND_MEM;
    if (in_memory)
        mem = l->m;
    else
        in_memory = lower_in_memory(l, insn->operand[rm].reg, &mem);
    if (in_memory && row->vex)
        emit_vex_rm(e, opcode, reg, vvvv, mem);
    else if (in_memory)
        emit_rm(e, opcode, reg, mem);
    else if (row->vex)
        emit_vex_rr(e, opcode, reg, vvvv, l->home[insn->operand[rm].reg]);
    else
        emit_rr(e, opcode, reg, l->home[insn->operand[rm].reg]);
    if (insn->op == OP_RORX)
        emit_byte(e, (uint8_t)insn->imm);

    if (insn->op == OP_MULX && vvvv == H_RCX && insn->operand[0].reg != insn->operand[1].reg)
        lower_put(l, insn->operand[1].reg, 8, H_RCX);
    if ((g == 0 ? reg : vvvv) == H_RAX)
        lower_put(l, insn->operand[0].reg, 8, H_RAX);
    lower_wrote_flags(l);
}
