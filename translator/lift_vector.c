/*
 * Lifting of vector instructions: the operation is the guest's own, named by its row; the memory
 * operand, if any, is checked like every other.
 */
#include "translator/lift.h"

#include "cpu/host.h"

/* Which registers the row uses: enum ir_vector_use. */
static unsigned registers_used(const struct isa_row *row, const struct insn *insn)
{
    unsigned use = insn->op == OP_EMMS ? IR_VECTOR_MMX | IR_VECTOR_NO_XMM : IR_VECTOR_NO_XMM;
    for (unsigned n = 0; n < insn->noperands; n++)
        switch (row->operand[n].letter) {
        case 'P':
        case 'Q':
        case 'N':
            use |= IR_VECTOR_MMX;
            break;
        case 'V':
        case 'W':
        case 'U':
        case 'H':
            use &= ~(unsigned)IR_VECTOR_NO_XMM;
        }
    return row->vex ? IR_VECTOR_YMM : use;
}

/* SSE memory operands must be aligned unless the row says otherwise; with VEX only those of these
 * moves. */
static bool needs_alignment(const struct isa_row *row)
{
    switch (row->op) {
    case OP_VMOVAPS:
    case OP_VMOVAPD:
    case OP_VMOVDQA:
    case OP_VMOVNTPS:
    case OP_VMOVNTPD:
    case OP_VMOVNTDQ:
    case OP_VMOVNTDQA:
        return true;
    default:
        return !row->vex && !(row->attributes & ISA_UNALIGNED);
    }
}

bool lift_vector(struct lift *l)
{
    const struct insn *insn = l->insn;
    const struct isa_row *row = &isa_rows[insn->row];
    unsigned use = registers_used(row, insn);
    if ((row->vex ? l->mode & MODE_NO_AVX : l->mode & MODE_NO_SSE && row->feature != FEATURE_MMX) ||
        (l->mode & MODE_NO_X87 && use & IR_VECTOR_MMX))
        return false;

    if (row->vex && row->noperands == 0 && !(l->mode & MODE_CODE64))
        return false; /* VZEROUPPER and VZEROALL: the other eight registers stay */
    for (unsigned n = 0; n < insn->noperands; n++)
        if (insn->operand[n].kind == OPERAND_MEM) {
            unsigned size = insn->operand[n].size;
            struct ir *mem = lift_memory(l, n == 0 ? IR_MEM_WRITE : IR_MEM_READ, size);
            if (!mem)
                return false;
            mem->aligned = needs_alignment(row) && size >= 16;
        }
    struct ir *ir = lift_ir(l, IR_VECTOR, 16);
    int64_t imm = 0;
    ir->d = insn->noperands > 0 ? (uint8_t)lift_operand(insn, 0, &imm) : V_NONE;
    ir->a = insn->noperands > 1 ? (uint8_t)lift_operand(insn, 1, &imm) : V_NONE;
    ir->imm = (int64_t)insn->imm;
    ir->aux = (uint8_t)use;
    if (row->flags_written)
        lift_sets_all(ir);
    return true;
}

/* -- Gathers -- */

struct gather_shape gather_shape(const struct insn *insn)
{
    bool wide_index = insn->op == OP_VPGATHERQD || insn->op == OP_VPGATHERQQ ||
                      insn->op == OP_VGATHERQPS || insn->op == OP_VGATHERQPD;
    struct gather_shape shape = {.size = insn->operand[1].size, .index_size = wide_index ? 8 : 4};
    shape.count = insn->opsize / (shape.size > shape.index_size ? shape.size : shape.index_size);
    return shape;
}

/* In flat segments; the index of the address is added to each element's. */
bool lift_gather(struct lift *l)
{
    if (l->mode & MODE_NO_AVX || !host_has_feature(FEATURE_AVX2))
        return false;
    struct ir *ir = lift_memory(l, IR_GATHER, l->insn->operand[1].size);
    if (!ir || ir->checked || ir->seg != SEG_COUNT || l->insn->addrsize == 2)
        return false;
    ir->b = V_ZERO;
    ir->aux = (uint8_t)(l->insn->addrsize << 4);
    ir->d = V_NONE;
    return true;
}
