/*
 * Lifting of BMI1, BMI2 and ADX on general registers: the operation is the guest's own, named by
 * its row.
 */
#include "translator/lift.h"

#include "cpu/host.h"

bool lift_has_bits(const struct insn *insn)
{
    const struct isa_row *row = &isa_rows[insn->row];
    switch (row->feature) {
    case FEATURE_BMI1:
    case FEATURE_BMI2:
        return row->vex && host_has_feature((enum cpu_feature)row->feature);
    case FEATURE_ADX:
        return host_has_feature(FEATURE_ADX);
    default:
        return false;
    }
}

bool lift_bits(struct lift *l)
{
    const struct insn *insn = l->insn;
    const struct isa_row *row = &isa_rows[insn->row];
    int64_t imm = 0;
    for (unsigned n = 0; n < insn->noperands; n++)
        if (insn->operand[n].kind == OPERAND_MEM &&
            !lift_memory(l, IR_MEM_READ, insn->operand[n].size))
            return false;
    struct ir *ir = lift_ir(l, IR_BITS, insn->opsize);
    ir->d = (uint8_t)lift_operand(insn, 0, &imm);
    ir->a = (uint8_t)lift_operand(insn, insn->noperands - 1u, &imm);
    ir->b = insn->op == OP_MULX ? insn->operand[1].reg : V_NONE;
    ir->imm = (int64_t)insn->imm;
    if (insn->op == OP_ADCX || insn->op == OP_ADOX)
        lift_flags(ir, row->flags_read, row->flags_written, row->flags_written);
    else if (row->flags_written)
        lift_sets_all(ir);
    return true;
}
