/*
 * Vector operations: the guest's instruction is encoded again from its row of isa.def, with the
 * same vector registers, and homes or V_M in place of general registers and memory. MMX registers
 * are the host's, too: they are part of the x87 state that it holds (lower_x87.c).
 *
 * The guest's MXCSR is in the host's while this code runs, with all exceptions masked (blocks with
 * unmasked ones are interpreted), so rounding, denormals and sticky flags are the processor's own.
 */
#include "translator/x86_64/lower.h"

#include "cpu/host.h"

#include <string.h>

/* Operands that the encoding puts into ModRM.reg, ModRM.rm, VEX.vvvv and an immediate's upper half:
 * indices, or -1. */
struct places {
    int reg, rm, vvvv, is4;
    bool imm;
};

static bool find_places(const struct insn *insn, struct places *places)
{
    const struct isa_row *row = &isa_rows[insn->row];
    *places = (struct places){-1, -1, -1, -1, false};
    for (unsigned n = 0; n < insn->noperands; n++) {
        switch (row->operand[n].letter) {
        case 'V':
        case 'G':
        case 'P':
            places->reg = (int)n;
            break;
        case 'W':
        case 'U':
        case 'Q':
        case 'N':
        case 'E':
        case 'M':
        case 'R':
            places->rm = (int)n;
            break;
        case 'H':
            places->vvvv = (int)n;
            break;
        case 'L':
            places->is4 = (int)n;
            break;
        case 'I':
            places->imm = true;
            break;
        default:
            return false;
        }
    }
    return places->rm >= 0;
}

static bool is_vector_feature(unsigned feature)
{
    switch (feature) {
    case FEATURE_MMX:
    case FEATURE_SSE:
    case FEATURE_SSE2:
    case FEATURE_SSE3:
    case FEATURE_SSSE3:
    case FEATURE_SSE4_1:
    case FEATURE_SSE4_2:
        return true;
    case FEATURE_AES:
    case FEATURE_PCLMULQDQ:
    case FEATURE_SHA:
    case FEATURE_AVX:
    case FEATURE_AVX2:
    case FEATURE_FMA:
    case FEATURE_F16C:
    case FEATURE_VAES:
    case FEATURE_VPCLMULQDQ:
        return host_has_feature((enum cpu_feature)feature);
    default:
        return false;
    }
}

bool host_has_vector(const struct insn *insn)
{
    const struct isa_row *row = &isa_rows[insn->row];
    struct places places;
    bool has_vector = false;
    if (!is_vector_feature(row->feature) || row->attributes & ISA_VSIB ||
        (row->attributes & ISA_AVX2Y && insn->opsize == 32 && !host_has_feature(FEATURE_AVX2)) ||
        (row->vex && !host_has_feature(FEATURE_AVX)))
        return false;
    switch (insn->op) {
    case OP_EMMS:
    case OP_VZEROUPPER:
    case OP_VZEROALL:
        return true;
    case OP_MASKMOVDQU: /* store to DS:RDI */
    case OP_VMASKMOVDQU:
    case OP_MASKMOVQ:
        return false;
    }
    for (unsigned n = 0; n < insn->noperands; n++)
        has_vector |= strchr("VWUHPQN", row->operand[n].letter) != NULL;
    return has_vector && find_places(insn, &places);
}

/* PCMPESTRI and PCMPESTRM find the lengths of their operands in RAX and RDX. */
static bool has_lengths(const struct insn *insn)
{
    return insn->op == OP_PCMPESTRI || insn->op == OP_PCMPESTRM || insn->op == OP_VPCMPESTRI ||
           insn->op == OP_VPCMPESTRM;
}

/* PCMPxSTRI put their result into guest RCX. */
static bool gives_index(const struct insn *insn)
{
    return insn->op == OP_PCMPESTRI || insn->op == OP_PCMPISTRI || insn->op == OP_VPCMPESTRI ||
           insn->op == OP_VPCMPISTRI;
}

bool lower_vector_uses_rcx(const struct lower *l, const struct ir *ir)
{
    const struct insn *insn = &l->trace->insn[ir->insn];
    return has_lengths(insn) || gives_index(insn);
}

static void load_lengths(struct lower *l, const struct insn *insn)
{
    if (insn->operand[1].kind == OPERAND_MEM) { /* RDX is needed for a length */
        emit_lea(l->e, 8, H_RCX, l->m);
        l->m = host_at(H_RCX, 0);
    }
    emit_mov_rr(l->e, 8, H_RAX, l->home[RAX]);
    emit_mov_rr(l->e, 8, H_RDX, l->home[RDX]);
}

static uint32_t opcode_of(const struct insn *insn)
{
    static const uint32_t maps[MAP_COUNT] = {0, X_0F, X_0F38, X_0F3A, X_0F, X_0F38, X_0F3A};
    const struct isa_row *row = &isa_rows[insn->row];
    uint32_t opcode = row->opcode | maps[row->map];
    if (row->mandatory) {
        if (row->prefixes & 1 << ISA_PREFIX_66)
            opcode |= X_66;
        else if (row->prefixes & 1 << ISA_PREFIX_F3)
            opcode |= X_F3;
        else if (row->prefixes & 1 << ISA_PREFIX_F2)
            opcode |= X_F2;
    }
    if (row->vex && insn->opsize == 32)
        opcode |= X_L;
    if (row->vex && row->vex_w == VEX_1)
        opcode |= X_W;
    /* Only general register operands have a width by REX.W; elsewhere it is ignored. */
    for (unsigned n = 0; n < insn->noperands; n++)
        if ((insn->operand[n].kind == OPERAND_GPR || insn->operand[n].kind == OPERAND_MEM) &&
            row->operand[n].width == W_Y && insn->operand[n].size == 8)
            opcode |= X_W;
    if (insn->prefixes & PREFIX_REX_W &&
        (insn->op == OP_PEXTRD || insn->op == OP_PINSRD || insn->op == OP_MOVD ||
         insn->op == OP_CVTSI2SD || insn->op == OP_CVTSI2SS || insn->op == OP_CVTSD2SI ||
         insn->op == OP_CVTSS2SI || insn->op == OP_CVTTSD2SI || insn->op == OP_CVTTSS2SI ||
         has_lengths(insn)))
        opcode |= X_W;
    return opcode;
}

/* The instruction itself, encoded with VEX if the guest's is; vvvv is 0 where it is not used. */
static void put_rr(struct lower *l, const struct insn *insn, uint32_t opcode, unsigned reg,
                   unsigned vvvv, unsigned rm)
{
    if (isa_rows[insn->row].vex)
        emit_vex_rr(l->e, opcode, reg, vvvv, rm);
    else
        emit_rr(l->e, opcode, reg, rm);
}

static void put_rm(struct lower *l, const struct insn *insn, uint32_t opcode, unsigned reg,
                   unsigned vvvv, struct host_mem mem)
{
    if (isa_rows[insn->row].vex)
        emit_vex_rm(l->e, opcode, reg, vvvv, mem);
    else
        emit_rm(l->e, opcode, reg, mem);
}

void lower_vector(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    const struct insn *insn = &l->trace->insn[ir->insn];
    const struct isa_row *row = &isa_rows[insn->row];
    struct places places;
    struct host_mem mem;
    uint32_t opcode = opcode_of(insn);
    unsigned reg = row->modrm >> 3 & 7; /* opcode extension, if no operand is there */
    unsigned result = V_NONE, size = 8; /* general register that is written */

    if (insn->op == OP_VZEROUPPER || insn->op == OP_VZEROALL) {
        emit_byte(e, 0xc5);
        emit_byte(e, insn->op == OP_VZEROALL ? 0xfc : 0xf8);
        emit_byte(e, 0x77);
        return;
    }
    if (insn->op == OP_EMMS) {
        emit_byte(e, 0x0f);
        emit_byte(e, 0x77);
        return;
    }
    if (has_lengths(insn))
        load_lengths(l, insn);
    find_places(insn, &places);
    const struct operand *rm = &insn->operand[places.rm];
    unsigned vvvv = places.vvvv >= 0 ? insn->operand[places.vvvv].reg : 0;
    if (places.reg >= 0) {
        const struct operand *operand = &insn->operand[places.reg];
        reg = operand->reg;
        if (operand->kind == OPERAND_GPR) { /* always a destination, all of it */
            reg = lower_target(l, operand->reg, H_RAX);
            if (reg == H_RAX)
                result = operand->reg;
        }
    }
    if (rm->kind == OPERAND_MEM) {
        put_rm(l, insn, opcode, reg, vvvv, l->m);
    } else if (rm->kind == OPERAND_GPR) {
        if (places.rm == 0) { /* destination: the whole register, zero-extended */
            unsigned target = lower_target(l, rm->reg, H_RAX);
            put_rr(l, insn, opcode, reg, vvvv, target);
            if (target == H_RAX)
                result = rm->reg;
        } else if (lower_in_memory(l, rm->reg, &mem)) {
            put_rm(l, insn, opcode, reg, vvvv, mem);
        } else {
            put_rr(l, insn, opcode, reg, vvvv, l->home[rm->reg]);
        }
    } else {
        put_rr(l, insn, opcode, reg, vvvv, rm->reg);
    }
    if (places.imm)
        emit_byte(e, (uint8_t)insn->imm);
    if (places.is4 >= 0)
        emit_byte(e, (uint8_t)(insn->operand[places.is4].reg << 4));
    if (result != V_NONE)
        lower_put(l, result, size, H_RAX);
    if (gives_index(insn))
        lower_put(l, RCX, 4, H_RCX);
    lower_wrote_flags(l);
}
