/*
 * Lifting of integer instructions: moves, arithmetic, shifts, bits, stack.
 */
#include "translator/lift.h"

#define ALL FLAG_ARITH

/* -- Moves -- */

static bool lift_mov(struct lift *l)
{
    const struct insn *insn = l->insn;
    unsigned size = insn->operand[0].size;
    int64_t imm = 0;
    unsigned d = lift_operand(insn, 0, &imm), a = lift_operand(insn, 1, &imm);
    if (d == V_NONE || a == V_NONE)
        return false;
    if (d == V_M && !lift_memory(l, IR_MEM_WRITE, size))
        return false;
    if (a == V_M && !lift_memory(l, IR_MEM_READ, size))
        return false;
    lift_dab(l, IR_MOV, size, d, a, V_NONE)->imm = imm;
    return true;
}

static bool lift_extend(struct lift *l, enum ir_op op)
{
    const struct insn *insn = l->insn;
    int64_t imm;
    unsigned d = lift_operand(insn, 0, &imm), a = lift_operand(insn, 1, &imm);
    unsigned source = insn->operand[1].size, size = insn->operand[0].size;
    if (a == V_M && !lift_memory(l, IR_MEM_READ, source))
        return false;
    struct ir *ir = lift_dab(l, source == size ? IR_MOV : op, size, d, a, V_NONE);
    ir->aux = (uint8_t)source;
    return true;
}

static bool lift_movzx(struct lift *l)
{
    return lift_extend(l, IR_MOVZX);
}

static bool lift_movsx(struct lift *l)
{
    return lift_extend(l, IR_MOVSX);
}

static bool lift_movbe(struct lift *l)
{
    const struct insn *insn = l->insn;
    unsigned size = insn->opsize;
    int64_t imm;
    unsigned d = lift_operand(insn, 0, &imm), a = lift_operand(insn, 1, &imm);
    if (size == 2)
        return false;
    if (!lift_memory(l, d == V_M ? IR_MEM_WRITE : IR_MEM_READ, size))
        return false;
    lift_dab(l, IR_BSWAP, size, d, a, V_NONE);
    return true;
}

static bool lift_bswap(struct lift *l)
{
    unsigned reg = l->insn->operand[0].reg;
    if (l->insn->opsize == 2)
        return false;
    lift_dab(l, IR_BSWAP, l->insn->opsize, reg, reg, V_NONE);
    return true;
}

static bool lift_lea(struct lift *l)
{
    const struct insn *insn = l->insn;
    struct ir *ir =
        lift_dab(l, IR_LEA, insn->opsize, insn->operand[0].reg, insn->base, insn->index);
    ir->imm = insn->disp;
    ir->aux = (uint8_t)(insn->scale | insn->addrsize << 4);
    lift_relative(l, ir);
    return true;
}

static bool lift_xchg(struct lift *l)
{
    const struct insn *insn = l->insn;
    int64_t imm;
    unsigned a = lift_operand(insn, 0, &imm), b = lift_operand(insn, 1, &imm);
    if (b == V_M) {
        b = a;
        a = V_M;
    }
    if (a == V_M && !lift_memory(l, IR_MEM_MODIFY, insn->opsize))
        return false;
    lift_dab(l, IR_XCHG, insn->opsize, V_NONE, a, b);
    return true;
}

static bool lift_cmovcc(struct lift *l)
{
    const struct insn *insn = l->insn;
    int64_t imm;
    unsigned d = lift_operand(insn, 0, &imm), a = lift_operand(insn, 1, &imm);
    if (a == V_M && !lift_memory(l, IR_MEM_READ, insn->opsize))
        return false;
    struct ir *ir = lift_dab(l, IR_CMOV, insn->opsize, d, a, V_NONE);
    ir->cond = insn->cond;
    ir->reads = (uint16_t)isa_cond_flags(insn->cond);
    return true;
}

static bool lift_setcc(struct lift *l)
{
    const struct insn *insn = l->insn;
    int64_t imm;
    unsigned d = lift_operand(insn, 0, &imm);
    if (d == V_M && !lift_memory(l, IR_MEM_WRITE, 1))
        return false;
    struct ir *ir = lift_dab(l, IR_SETCC, 1, d, V_NONE, V_NONE);
    ir->cond = insn->cond;
    ir->reads = (uint16_t)isa_cond_flags(insn->cond);
    return true;
}

/* CBW, CWDE, CDQE */
static bool lift_cbw(struct lift *l)
{
    struct ir *ir = lift_dab(l, IR_MOVSX, l->insn->opsize, RAX, RAX, V_NONE);
    ir->aux = l->insn->opsize / 2;
    return true;
}

/* CWD, CDQ, CQO */
static bool lift_cwd(struct lift *l)
{
    lift_dab(l, IR_SIGN, l->insn->opsize, RDX, RAX, V_NONE);
    return true;
}

static bool lift_nop(struct lift *l)
{
    return true;
}

/* -- Arithmetic -- */

static bool lift_alu(struct lift *l, enum ir_op op, unsigned reads)
{
    const struct insn *insn = l->insn;
    unsigned size = insn->opsize;
    bool lock = insn->prefixes & PREFIX_LOCK, compares = op == IR_CMP || op == IR_TEST;
    int64_t imm = 0;
    unsigned d = lift_operand(insn, 0, &imm), b = lift_operand(insn, 1, &imm);

    if (d == V_M && !lift_memory(l, compares ? IR_MEM_READ : IR_MEM_MODIFY, size))
        return false;
    if (b == V_M && !lift_memory(l, IR_MEM_READ, size))
        return false;
    struct ir *ir = lift_dab(l, op, size, compares ? V_NONE : d, d, b);
    ir->imm = imm;
    ir->lock = lock;
    lift_flags(ir, reads, ALL, ALL);
    return true;
}

#define LIFT_ALU(name, op, reads)                                                                  \
    static bool name(struct lift *l)                                                               \
    {                                                                                              \
        return lift_alu(l, op, reads);                                                             \
    }
LIFT_ALU(lift_add, IR_ADD, 0)
LIFT_ALU(lift_or, IR_OR, 0)
LIFT_ALU(lift_adc, IR_ADC, FLAG_CF)
LIFT_ALU(lift_sbb, IR_SBB, FLAG_CF)
LIFT_ALU(lift_and, IR_AND, 0)
LIFT_ALU(lift_sub, IR_SUB, 0)
LIFT_ALU(lift_xor, IR_XOR, 0)
LIFT_ALU(lift_cmp, IR_CMP, 0)
LIFT_ALU(lift_test, IR_TEST, 0)

static bool lift_unary(struct lift *l, enum ir_op op, unsigned writes)
{
    const struct insn *insn = l->insn;
    int64_t imm;
    unsigned d = lift_operand(insn, 0, &imm);
    if (d == V_M && !lift_memory(l, IR_MEM_MODIFY, insn->opsize))
        return false;
    struct ir *ir = lift_dab(l, op, insn->opsize, d, d, V_NONE);
    ir->lock = insn->prefixes & PREFIX_LOCK;
    lift_flags(ir, 0, writes, writes);
    return true;
}

static bool lift_inc(struct lift *l)
{
    return lift_unary(l, IR_INC, ALL & ~FLAG_CF);
}

static bool lift_dec(struct lift *l)
{
    return lift_unary(l, IR_DEC, ALL & ~FLAG_CF);
}

static bool lift_neg(struct lift *l)
{
    return lift_unary(l, IR_NEG, ALL);
}

static bool lift_not(struct lift *l)
{
    return lift_unary(l, IR_NOT, 0);
}

/* Shifts and rotates by a constant certainly write their flags if it is not 0; by CL they may. */
static bool lift_shift(struct lift *l, enum ir_op op, unsigned reads, unsigned writes)
{
    const struct insn *insn = l->insn;
    int64_t imm = 0;
    unsigned d = lift_operand(insn, 0, &imm), b = lift_operand(insn, 1, &imm);
    if (d == V_M && !lift_memory(l, IR_MEM_MODIFY, insn->opsize))
        return false;
    struct ir *ir = lift_dab(l, op, insn->opsize, d, d, b);
    bool rotates = op == IR_RCL || op == IR_RCR;
    imm &= insn->opsize == 8 ? 63 : 31;
    ir->imm = imm;
    if (b != V_IMM)
        lift_flags(ir, reads, writes, 0);
    else if (imm == 0)
        lift_flags(ir, rotates ? reads : 0, 0, 0);
    else if (rotates)
        lift_flags(ir, reads, writes, 0); /* by a multiple of 9 or 17 it may change nothing */
    else
        lift_flags(ir, reads, writes, writes);
    return true;
}

#define LIFT_SHIFT(name, op, reads, writes)                                                        \
    static bool name(struct lift *l)                                                               \
    {                                                                                              \
        return lift_shift(l, op, reads, writes);                                                   \
    }
LIFT_SHIFT(lift_rol, IR_ROL, 0, FLAG_CF | FLAG_OF)
LIFT_SHIFT(lift_ror, IR_ROR, 0, FLAG_CF | FLAG_OF)
LIFT_SHIFT(lift_rcl, IR_RCL, FLAG_CF, FLAG_CF | FLAG_OF)
LIFT_SHIFT(lift_rcr, IR_RCR, FLAG_CF, FLAG_CF | FLAG_OF)
LIFT_SHIFT(lift_shl, IR_SHL, 0, ALL)
LIFT_SHIFT(lift_shr, IR_SHR, 0, ALL)
LIFT_SHIFT(lift_sar, IR_SAR, 0, ALL)

static bool lift_double_shift(struct lift *l, enum ir_op op)
{
    const struct insn *insn = l->insn;
    int64_t imm = 0;
    unsigned d = lift_operand(insn, 0, &imm), b = lift_operand(insn, 1, &imm);
    bool by_cl = insn->operand[2].kind == OPERAND_GPR;
    if (insn->opsize == 2)
        return false; /* counts above 16 are undefined: as the interpreter does it */
    if (d == V_M && !lift_memory(l, IR_MEM_MODIFY, insn->opsize))
        return false;
    struct ir *ir = lift_dab(l, op, insn->opsize, d, d, b);
    ir->imm = (int64_t)(insn->imm & (insn->opsize == 8 ? 63 : 31));
    ir->aux = by_cl;
    if (by_cl)
        lift_flags(ir, 0, ALL, 0);
    else if (ir->imm)
        lift_flags(ir, 0, ALL, ALL);
    return true;
}

static bool lift_shld(struct lift *l)
{
    return lift_double_shift(l, IR_SHLD);
}

static bool lift_shrd(struct lift *l)
{
    return lift_double_shift(l, IR_SHRD);
}

/* IMUL with two and with three operands */
static bool lift_imul(struct lift *l)
{
    const struct insn *insn = l->insn;
    int64_t imm = 0;
    unsigned d = insn->operand[0].reg, a, b;
    if (insn->op == OP_IMUL_2) {
        a = d;
        b = lift_operand(insn, 1, &imm);
    } else {
        a = lift_operand(insn, 1, &imm);
        b = lift_operand(insn, 2, &imm);
    }
    if ((a == V_M || b == V_M) && !lift_memory(l, IR_MEM_READ, insn->opsize))
        return false;
    struct ir *ir = lift_dab(l, IR_IMUL, insn->opsize, d, a, b);
    ir->imm = imm;
    lift_sets_all(ir);
    return true;
}

static bool lift_rdx_rax(struct lift *l, enum ir_op op)
{
    const struct insn *insn = l->insn;
    int64_t imm;
    unsigned a = lift_operand(insn, 0, &imm);
    if (a == V_M && !lift_memory(l, IR_MEM_READ, insn->opsize))
        return false;
    lift_sets_all(lift_dab(l, op, insn->opsize, V_NONE, a, V_NONE));
    return true;
}

static bool lift_mul(struct lift *l)
{
    return lift_rdx_rax(l, IR_MULTIPLY);
}

static bool lift_imul_1(struct lift *l)
{
    return lift_rdx_rax(l, IR_MULTIPLY_SIGNED);
}

static bool lift_div(struct lift *l)
{
    return l->insn->opsize >= 4 && lift_rdx_rax(l, IR_DIVIDE);
}

static bool lift_idiv(struct lift *l)
{
    return l->insn->opsize >= 4 && lift_rdx_rax(l, IR_DIVIDE_SIGNED);
}

/* -- Bits -- */

static bool lift_bt(struct lift *l, enum ir_op op)
{
    const struct insn *insn = l->insn;
    int64_t imm = 0;
    unsigned a = lift_operand(insn, 0, &imm), b = lift_operand(insn, 1, &imm);
    if (a == V_M) {
        struct ir *mem = lift_memory(l, op == IR_BT ? IR_MEM_READ : IR_MEM_MODIFY, insn->opsize);
        if (!mem)
            return false;
        if (b != V_IMM) {
            if (insn->addrsize == 2)
                return false;
            mem->bit_offset = true;
            mem->d = (uint8_t)b;
        }
    }
    struct ir *ir = lift_dab(l, op, insn->opsize, op == IR_BT ? V_NONE : a, a, b);
    ir->imm = imm & (insn->opsize * 8 - 1);
    ir->lock = insn->prefixes & PREFIX_LOCK;
    lift_flags(ir, 0, FLAG_CF, FLAG_CF);
    return true;
}

#define LIFT_WITH(name, fn, op)                                                                    \
    static bool name(struct lift *l)                                                               \
    {                                                                                              \
        return fn(l, op);                                                                          \
    }
LIFT_WITH(lift_bt_, lift_bt, IR_BT)
LIFT_WITH(lift_bts, lift_bt, IR_BTS)
LIFT_WITH(lift_btr, lift_bt, IR_BTR)
LIFT_WITH(lift_btc, lift_bt, IR_BTC)

static bool lift_scan(struct lift *l, enum ir_op op)
{
    const struct insn *insn = l->insn;
    int64_t imm;
    unsigned d = lift_operand(insn, 0, &imm), a = lift_operand(insn, 1, &imm);
    if (a == V_M && !lift_memory(l, IR_MEM_READ, insn->opsize))
        return false;
    lift_sets_all(lift_dab(l, op, insn->opsize, d, a, V_NONE));
    return true;
}

LIFT_WITH(lift_bsf, lift_scan, IR_BSF)
LIFT_WITH(lift_bsr, lift_scan, IR_BSR)
LIFT_WITH(lift_tzcnt, lift_scan, IR_TZCNT)
LIFT_WITH(lift_lzcnt, lift_scan, IR_LZCNT)
LIFT_WITH(lift_popcnt, lift_scan, IR_POPCNT)

static bool lift_crc32(struct lift *l)
{
    const struct insn *insn = l->insn;
    int64_t imm;
    unsigned d = lift_operand(insn, 0, &imm), a = lift_operand(insn, 1, &imm);
    unsigned source = insn->operand[1].size;
    if (a == V_M && !lift_memory(l, IR_MEM_READ, source))
        return false;
    struct ir *ir = lift_dab(l, IR_CRC32, insn->operand[0].size, d, a, V_NONE);
    ir->aux = (uint8_t)source;
    return true;
}

static bool lift_exchange(struct lift *l, enum ir_op op)
{
    const struct insn *insn = l->insn;
    int64_t imm;
    unsigned a = lift_operand(insn, 0, &imm), b = lift_operand(insn, 1, &imm);
    if (a >= V_HIGH || b >= V_HIGH)
        return false;
    if (a == V_M && !lift_memory(l, IR_MEM_MODIFY, insn->opsize))
        return false;
    struct ir *ir = lift_dab(l, op, insn->opsize, V_NONE, a, b);
    ir->lock = insn->prefixes & PREFIX_LOCK;
    lift_sets_all(ir);
    return true;
}

LIFT_WITH(lift_xadd, lift_exchange, IR_XADD)
LIFT_WITH(lift_cmpxchg, lift_exchange, IR_CMPXCHG)

/* -- Flags -- */

static bool lift_flag(struct lift *l, enum ir_op op, unsigned reads, unsigned writes)
{
    lift_flags(lift_ir(l, op, 1), reads, writes, writes);
    return true;
}

#define LIFT_FLAG(name, op, reads, writes)                                                         \
    static bool name(struct lift *l)                                                               \
    {                                                                                              \
        return lift_flag(l, op, reads, writes);                                                    \
    }
LIFT_FLAG(lift_clc, IR_CLC, 0, FLAG_CF)
LIFT_FLAG(lift_stc, IR_STC, 0, FLAG_CF)
LIFT_FLAG(lift_cmc, IR_CMC, FLAG_CF, FLAG_CF)
LIFT_FLAG(lift_lahf, IR_LAHF, ALL & ~FLAG_OF, 0)
LIFT_FLAG(lift_sahf, IR_SAHF, 0, ALL & ~FLAG_OF)
LIFT_FLAG(lift_cld, IR_CLD, 0, 0)
LIFT_FLAG(lift_std, IR_STD, 0, 0)

/* -- Stack -- */

static bool lift_push(struct lift *l)
{
    const struct insn *insn = l->insn;
    unsigned size = insn->opsize;
    int64_t imm = 0;
    unsigned a = lift_operand(insn, 0, &imm);
    if (a == V_NONE)
        return false;
    if (a == V_M) {
        if (!lift_memory(l, IR_MEM_READ, size))
            return false;
        lift_dab(l, IR_MOV, size, V_T1, V_M, V_NONE);
        a = V_T1;
    }
    lift_stack(l, IR_MEM_WRITE, size, RSP, -(int64_t)size);
    lift_dab(l, IR_MOV, size, V_M, a, V_NONE)->imm = imm;
    lift_stack_move(l, RSP, RSP, -(int64_t)size);
    return true;
}

static bool lift_pop(struct lift *l)
{
    const struct insn *insn = l->insn;
    unsigned size = insn->opsize;
    if (insn->operand[0].kind != OPERAND_GPR)
        return false;
    unsigned d = insn->operand[0].reg;
    lift_stack(l, IR_MEM_READ, size, RSP, 0);
    if (d == RSP) {
        lift_dab(l, IR_MOV, size, V_T1, V_M, V_NONE); /* a 16-bit stack_move uses T0 */
        lift_stack_move(l, RSP, RSP, size);
        lift_dab(l, IR_MOV, size, d, V_T1, V_NONE);
    } else {
        lift_dab(l, IR_MOV, size, d, V_M, V_NONE);
        lift_stack_move(l, RSP, RSP, size);
    }
    return true;
}

static bool lift_leave(struct lift *l)
{
    unsigned size = l->insn->opsize;
    lift_stack(l, IR_MEM_READ, size, RBP, 0);
    lift_dab(l, IR_MOV, size, V_T1, V_M, V_NONE);
    lift_stack_move(l, RSP, RBP, size);
    lift_dab(l, IR_MOV, size, RBP, V_T1, V_NONE);
    return true;
}

/* -- Single string instructions, upwards; repeated ones are done in bulk by the interpreter -- */

static bool begin_string(struct lift *l)
{
    if (l->insn->prefixes & (PREFIX_REP | PREFIX_REPNE))
        return false;
    lift_ir(l, IR_FORWARD, 0);
    return true;
}

static void advance(struct lift *l, unsigned reg)
{
    struct ir *ir = lift_dab(l, IR_LEA, l->insn->addrsize, reg, reg, V_ZERO);
    ir->imm = l->insn->opsize;
    ir->aux = 8 << 4;
}

static bool lift_lods(struct lift *l)
{
    unsigned size = l->insn->opsize;
    if (!begin_string(l) || !lift_pointer(l, IR_MEM_READ, size, RSI, l->insn->seg))
        return false;
    lift_dab(l, IR_MOV, size, RAX, V_M, V_NONE);
    advance(l, RSI);
    return true;
}

static bool lift_stos(struct lift *l)
{
    unsigned size = l->insn->opsize;
    if (!begin_string(l) || !lift_pointer(l, IR_MEM_WRITE, size, RDI, SEG_ES))
        return false;
    lift_dab(l, IR_MOV, size, V_M, RAX, V_NONE);
    advance(l, RDI);
    return true;
}

static bool lift_movs(struct lift *l)
{
    unsigned size = l->insn->opsize;
    if (!begin_string(l) || !lift_pointer(l, IR_MEM_READ, size, RSI, l->insn->seg))
        return false;
    lift_dab(l, IR_MOV, size, V_T1, V_M, V_NONE);
    if (!lift_pointer(l, IR_MEM_WRITE, size, RDI, SEG_ES))
        return false;
    lift_dab(l, IR_MOV, size, V_M, V_T1, V_NONE);
    advance(l, RSI);
    advance(l, RDI);
    return true;
}

static bool lift_scas(struct lift *l)
{
    unsigned size = l->insn->opsize;
    if (!begin_string(l) || !lift_pointer(l, IR_MEM_READ, size, RDI, SEG_ES))
        return false;
    lift_sets_all(lift_dab(l, IR_CMP, size, V_NONE, RAX, V_M));
    advance(l, RDI);
    return true;
}

static bool lift_cmps(struct lift *l)
{
    unsigned size = l->insn->opsize;
    if (!begin_string(l) || !lift_pointer(l, IR_MEM_READ, size, RSI, l->insn->seg))
        return false;
    lift_dab(l, IR_MOV, size, V_T1, V_M, V_NONE);
    if (!lift_pointer(l, IR_MEM_READ, size, RDI, SEG_ES))
        return false;
    lift_sets_all(lift_dab(l, IR_CMP, size, V_NONE, V_T1, V_M));
    advance(l, RSI);
    advance(l, RDI);
    return true;
}

lifter *const lifters_integer[OP_COUNT] = {
    [OP_LODS] = lift_lods,    [OP_STOS] = lift_stos,       [OP_MOVS] = lift_movs,
    [OP_SCAS] = lift_scas,    [OP_CMPS] = lift_cmps,       [OP_MOV] = lift_mov,
    [OP_MOVNTI] = lift_mov,   [OP_MOVZX] = lift_movzx,     [OP_MOVSX] = lift_movsx,
    [OP_MOVSXD] = lift_movsx, [OP_MOVBE] = lift_movbe,     [OP_BSWAP] = lift_bswap,
    [OP_LEA] = lift_lea,      [OP_XCHG] = lift_xchg,       [OP_CMOVCC] = lift_cmovcc,
    [OP_SETCC] = lift_setcc,  [OP_CBW] = lift_cbw,         [OP_CWD] = lift_cwd,
    [OP_NOP] = lift_nop,      [OP_PAUSE] = lift_nop,       [OP_PREFETCH] = lift_nop,
    [OP_LFENCE] = lift_nop,   [OP_ADD] = lift_add,         [OP_OR] = lift_or,
    [OP_ADC] = lift_adc,      [OP_SBB] = lift_sbb,         [OP_AND] = lift_and,
    [OP_SUB] = lift_sub,      [OP_XOR] = lift_xor,         [OP_CMP] = lift_cmp,
    [OP_TEST] = lift_test,    [OP_INC] = lift_inc,         [OP_DEC] = lift_dec,
    [OP_NEG] = lift_neg,      [OP_NOT] = lift_not,         [OP_ROL] = lift_rol,
    [OP_ROR] = lift_ror,      [OP_RCL] = lift_rcl,         [OP_RCR] = lift_rcr,
    [OP_SHL] = lift_shl,      [OP_SHR] = lift_shr,         [OP_SAR] = lift_sar,
    [OP_SHLD] = lift_shld,    [OP_SHRD] = lift_shrd,       [OP_IMUL_1] = lift_imul_1,
    [OP_IMUL_2] = lift_imul,  [OP_IMUL_3] = lift_imul,     [OP_MUL] = lift_mul,
    [OP_DIV] = lift_div,      [OP_IDIV] = lift_idiv,       [OP_BT] = lift_bt_,
    [OP_BTS] = lift_bts,      [OP_BTR] = lift_btr,         [OP_BTC] = lift_btc,
    [OP_BSF] = lift_bsf,      [OP_BSR] = lift_bsr,         [OP_TZCNT] = lift_tzcnt,
    [OP_LZCNT] = lift_lzcnt,  [OP_POPCNT] = lift_popcnt,   [OP_CRC32] = lift_crc32,
    [OP_XADD] = lift_xadd,    [OP_CMPXCHG] = lift_cmpxchg, [OP_CLC] = lift_clc,
    [OP_STC] = lift_stc,      [OP_CMC] = lift_cmc,         [OP_LAHF] = lift_lahf,
    [OP_SAHF] = lift_sahf,    [OP_CLD] = lift_cld,         [OP_STD] = lift_std,
    [OP_PUSH] = lift_push,    [OP_POP] = lift_pop,         [OP_LEAVE] = lift_leave,
};
