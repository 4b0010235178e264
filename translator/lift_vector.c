/*
 * Lifting of vector instructions: the operation is the guest's own, named by its row; the memory
 * operand, if any, is checked like every other.
 */
#include "translator/lift.h"

bool lift_vector(struct lift *l)
{
    const struct insn *insn = l->insn;
    const struct isa_row *row = &isa_rows[insn->row];
    if (l->mode & MODE_NO_SSE)
        return false;

    bool aligned = !(row->attributes & ISA_UNALIGNED);
    for (unsigned n = 0; n < insn->noperands; n++)
        if (insn->operand[n].kind == OPERAND_MEM) {
            unsigned size = insn->operand[n].size;
            struct ir *mem = lift_memory(l, n == 0 ? IR_MEM_WRITE : IR_MEM_READ, size);
            if (!mem)
                return false;
            mem->aligned = aligned && size == 16;
        }
    struct ir *ir = lift_ir(l, IR_VECTOR, 16);
    int64_t imm = 0;
    ir->d = insn->noperands > 0 ? (uint8_t)lift_operand(insn, 0, &imm) : V_NONE;
    ir->a = insn->noperands > 1 ? (uint8_t)lift_operand(insn, 1, &imm) : V_NONE;
    ir->imm = (int64_t)insn->imm;
    if (row->flags_written)
        lift_sets_all(ir);
    return true;
}
