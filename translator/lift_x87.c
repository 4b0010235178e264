/*
 * Lifting of x87 instructions: as with vectors, the operation is the guest's own; its memory
 * operand is checked like every other. What handles the state as a whole (FNSAVE, FLDENV, FNINIT
 * and their kin) is left to the interpreter.
 */
#include "translator/lift.h"

#include "cpu/isa.h"

bool lift_x87(struct lift *l)
{
    const struct insn *insn = l->insn;
    const struct isa_row *row = &isa_rows[insn->row];
    enum ir_op op = insn->op == OP_FLDCW ? IR_X87_CONTROL : IR_X87;
    if (l->mode & MODE_NO_X87)
        return false;

    for (unsigned n = 0; n < insn->noperands; n++)
        if (insn->operand[n].kind == OPERAND_MEM) {
            bool stores = false;
            switch (insn->op) {
            case OP_FST:
            case OP_FSTP:
            case OP_FIST:
            case OP_FISTP:
            case OP_FISTTP:
            case OP_FBSTP:
            case OP_FNSTCW:
            case OP_FNSTSW:
                stores = true;
            }
            if (!lift_memory(l, stores ? IR_MEM_WRITE : IR_MEM_READ, insn->operand[n].size))
                return false;
        }
    struct ir *ir = lift_ir(l, op, 2);
    if (insn->op == OP_FNSTSW && insn->operand[0].kind == OPERAND_GPR)
        ir->d = RAX;
    if (row->flags_written)
        lift_sets_all(ir);
    ir->reads = (uint16_t)row->flags_read;
    return true;
}
