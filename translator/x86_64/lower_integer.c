/*
 * Integer operations. The guest's instruction becomes the same one of the host wherever operands
 * allow; guest registers without a host register are memory operands.
 *
 * Within an operation flags come first: lower_want() and lower_clobber() may use RAX, so they stand
 * before anything is loaded into it. Moves and loads keep host EFLAGS.
 */
#include "translator/x86_64/lower.h"

#define ALL FLAG_ARITH

/* Makes host EFLAGS hold what the operation reads, and what it must leave alone. */
static void prepare_flags(struct lower *l)
{
    const struct ir *ir = l->ir;
    uint16_t kept = ir->writes ? (uint16_t)(ir->strict & ~ir->kills) : 0;
    lower_want(l, (uint16_t)(ir->reads | kept));
}

static bool is_low(unsigned value)
{
    return value < 16;
}

static void emit_imm_of(struct emit *e, unsigned size, int64_t value)
{
    for (unsigned i = 0; i < (size < 4 ? size : 4); i++)
        emit_byte(e, (uint8_t)((uint64_t)value >> 8 * i));
}

/* -- Moves -- */

static void lower_mov(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    struct host_mem mem;
    unsigned size = ir->size;

    if (lower_in_memory(l, ir->d, &mem)) {
        bool fits = ir->a == V_IMM && (ir->imm == (int32_t)ir->imm || size < 8);
        if (fits && (ir->d == V_M || size != 4)) {
            emit_store_imm(e, size, mem, (int32_t)ir->imm);
            return;
        }
        bool held = ir->a < 16 && ir->a == l->held;
        if (held && size == 4)
            emit_mov_rr(e, 4, H_RAX, H_RAX); /* clears the upper half */
        lower_put(l, ir->d, size, held ? H_RAX : lower_use(l, ir->a, size, H_RAX));
        return;
    }
    if (size >= 4 && ir->a < 16 && ir->a == l->held && !is_high(ir->d)) {
        emit_mov_rr(e, size, lower_target(l, ir->d, H_RAX), H_RAX);
        return;
    }
    if (size >= 4 && !is_high(ir->d)) {
        unsigned target = lower_target(l, ir->d, H_RAX);
        unsigned source = lower_use(l, ir->a, size, target);
        if (source != target)
            emit_mov_rr(e, size, target, source);
        else if (size == 4 && is_low(ir->a) && is_low(ir->d) && l->home[ir->a] == target)
            emit_mov_rr(e, 4, target, target); /* mov r32, r32 clears the upper half */
        return;
    }
    lower_put(l, ir->d, size, lower_use(l, ir->a, size, H_RAX));
}

static uint32_t extension(const struct ir *ir)
{
    uint32_t wide = emit_wide(ir->size);
    if (ir->op == IR_MOVZX)
        return ir->aux == 1   ? 0xb6 | X_0F | X_BYTE_RM | wide
               : ir->aux == 2 ? 0xb7 | X_0F | wide
                              : 0x8b;
    return ir->aux == 1   ? 0xbe | X_0F | X_BYTE_RM | wide
           : ir->aux == 2 ? 0xbf | X_0F | wide
                          : 0x63 | wide;
}

static void lower_extend(struct lower *l, const struct ir *ir)
{
    struct host_mem mem;
    unsigned target = ir->size >= 4 ? lower_target(l, ir->d, H_RAX) : H_RAX;
    if (is_high(ir->a)) {
        unsigned byte = lower_use(l, ir->a, 1, H_RAX);
        emit_rr(l->e, extension(ir), target, byte);
    } else if (ir->a < 16 && ir->a == l->held) {
        emit_rr(l->e, extension(ir), target, H_RAX);
    } else if (lower_in_memory(l, ir->a, &mem)) {
        emit_rm(l->e, extension(ir) & ~(uint32_t)X_BYTE_RM, target, mem);
    } else {
        emit_rr(l->e, extension(ir), target, l->home[ir->a]);
    }
    lower_put(l, ir->d, ir->size, target);
}

static void lower_lea(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    unsigned address_size = ir->aux >> 4;
    struct host_mem mem = {H_NONE, H_NONE, 0, 0};
    if (ir->a < 16 || ir->b < 16 || ir->floats)
        mem = lower_address(l, ir);
    /* The narrower of address and operand size decides; 16 bits are computed in 32. */
    unsigned size = ir->size < address_size ? ir->size : address_size;
    unsigned target = ir->size >= 4 && address_size >= 4 ? lower_target(l, ir->d, H_RAX) : H_RAX;
    if (mem.base == H_NONE && mem.index == H_NONE)
        emit_mov_ri(e, target, size == 8 ? (uint64_t)ir->imm : (uint32_t)ir->imm);
    else
        emit_lea(e, size == 8 ? 8 : 4, target, mem);
    if (address_size == 2)
        emit_rr(e, 0xb7 | X_0F, target, target); /* movzx */
    lower_put(l, ir->d, ir->size, target);
}

static void lower_xchg(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    if (ir->a == V_M) {
        unsigned size = ir->size;
        unsigned reg = is_low(ir->b) && l->home[ir->b] != H_NONE
                           ? l->home[ir->b]
                           : lower_use(l, ir->b, size < 4 ? 4 : size, H_RAX);
        emit_rm(e, 0x86 | emit_size(size), reg, l->m);
        if (reg == H_RAX)
            lower_put(l, ir->b, size, reg);
        return;
    }
    unsigned size = ir->size;
    bool simple =
        is_low(ir->a) && is_low(ir->b) && l->home[ir->a] != H_NONE && l->home[ir->b] != H_NONE;
    if (simple) {
        emit_rr(e, 0x86 | emit_size(size), l->home[ir->a], l->home[ir->b]);
        return;
    }
    /* Through RDX and RAX; high bytes use RCX on the way. */
    unsigned b = lower_use(l, ir->b, size, H_RDX);
    if (b != H_RDX)
        emit_mov_rr(e, size == 8 ? 8 : 4, H_RDX, b);
    unsigned a = lower_use(l, ir->a, size, H_RAX);
    if (a != H_RAX)
        emit_mov_rr(e, size == 8 ? 8 : 4, H_RAX, a);
    lower_put(l, ir->b, size, H_RAX);
    lower_put(l, ir->a, size, H_RDX);
}

static void lower_bswap(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    unsigned size = ir->size;
    unsigned target = lower_target(l, ir->d, H_RAX);
    unsigned a = lower_use(l, ir->a, size, target);
    if (a != target)
        emit_mov_rr(e, size, target, a);
    if (target & 8 || size == 8)
        emit_byte(e, (uint8_t)(0x40 | (size == 8 ? 8 : 0) | target >> 3));
    emit_byte(e, 0x0f);
    emit_byte(e, (uint8_t)(0xc8 | (target & 7)));
    if (target == H_RAX)
        lower_put(l, ir->d, size, target);
}

static void lower_cmov(struct lower *l, const struct ir *ir)
{
    struct host_mem mem;
    enum host_cond cond = lower_condition(l, ir->cond);
    unsigned size = ir->size < 4 ? 2 : ir->size;
    unsigned target = lower_target(l, ir->d, H_RAX);
    if (target == H_RAX)
        lower_use(l, ir->d, size, H_RAX);
    uint32_t opcode = (0x40u | cond) | X_0F | emit_wide(size);
    if (lower_in_memory(l, ir->a, &mem))
        emit_rm(l->e, opcode, target, mem);
    else
        emit_rr(l->e, opcode, target, l->home[ir->a]);
    if (target == H_RAX)
        lower_put(l, ir->d, size, H_RAX);
}

static void lower_setcc(struct lower *l, const struct ir *ir)
{
    struct host_mem mem;
    enum host_cond cond = lower_condition(l, ir->cond);
    uint32_t opcode = (0x90u | cond) | X_0F | X_BYTE_RM;
    if (lower_in_memory(l, ir->d, &mem)) {
        emit_rm(l->e, opcode & ~(uint32_t)X_BYTE_RM, 0, mem);
    } else if (is_high(ir->d)) {
        emit_rr(l->e, opcode, 0, H_RAX);
        lower_put(l, ir->d, 1, H_RAX);
    } else {
        emit_rr(l->e, opcode, 0, l->home[ir->d]);
    }
}

/* CWD: RAX and RDX are free here. */
static void lower_sign(struct lower *l, const struct ir *ir)
{
    unsigned size = ir->size;
    emit_mov_rr(l->e, 8, H_RAX, l->home[RAX]);
    if (size == 2)
        emit_byte(l->e, 0x66);
    if (size == 8)
        emit_byte(l->e, 0x48);
    emit_byte(l->e, 0x99);
    lower_put(l, RDX, size, H_RDX);
}

/* -- Arithmetic -- */

static const struct {
    uint8_t alu;
    bool is_alu;
} alu_of[IR_COUNT] = {
    [IR_ADD] = {ALU_ADD, true}, [IR_OR] = {ALU_OR, true},   [IR_ADC] = {ALU_ADC, true},
    [IR_SBB] = {ALU_SBB, true}, [IR_AND] = {ALU_AND, true}, [IR_SUB] = {ALU_SUB, true},
    [IR_XOR] = {ALU_XOR, true}, [IR_CMP] = {ALU_CMP, true},
};

/* A high-byte destination: the operation is done on AH of a copy. */
static void lower_alu_high(struct lower *l, const struct ir *ir, enum host_alu alu)
{
    struct emit *e = l->e;
    bool store = ir->d != V_NONE, test = ir->op == IR_TEST;
    unsigned home = l->home[ir->a - V_HIGH];
    if (ir->b != V_IMM) {
        unsigned b = lower_use(l, ir->b, 1, H_RCX);
        if (b != H_RCX)
            emit_mov_rr(e, 4, H_RCX, b);
    }
    unsigned high = 7; /* BH: the guest's AH itself */
    if (home != H_RBX) {
        emit_mov_rr(e, 4, H_RAX, home);
        high = 4; /* AH */
    }
    if (ir->b == V_IMM) {
        if (test)
            emit_rr(e, 0xf6, 0, high);
        else
            emit_rr(e, 0x80, alu, high);
        emit_byte(e, (uint8_t)ir->imm);
    } else {
        emit_rr(e, test ? 0x84 : (uint32_t)alu << 3, H_RCX, high);
    }
    if (store && home != H_RBX)
        emit_rr(e, 0x89 | X_66, H_RAX, home);
}

static void lower_alu(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    struct host_mem d, b;
    enum host_alu alu = (enum host_alu)alu_of[ir->op].alu;
    unsigned size = ir->size;

    prepare_flags(l);
    if (ir->op == IR_CMP && lower_carries(l)) {
        emit_load(e, size, H_RAX, l->m);
        emit_store(e, 8, cpu_mem(HOT_AT(carry)), H_RAX);
        if (ir->b == V_M)
            emit_alu_rr(e, alu, size, lower_use(l, ir->a, size, H_RCX), H_RAX);
        else if (ir->b == V_IMM)
            emit_alu_ri(e, alu, size, H_RAX, (int32_t)ir->imm);
        else
            emit_alu_rr(e, alu, size, H_RAX, lower_use(l, ir->b, size, H_RCX));
        lower_wrote_flags(l);
        lower_carried(l);
        return;
    }
    if (is_high(ir->a)) {
        lower_alu_high(l, ir, alu);
    } else if (lower_in_memory(l, ir->a, &d)) {
        /* 32-bit results must clear the upper half of a register in memory. */
        bool widen = ir->a < 16 && size == 4 && ir->d != V_NONE;
        if (widen) {
            lower_load_rax(l, ir->a, 4);
            if (ir->b == V_IMM)
                emit_alu_ri(e, alu, 4, H_RAX, (int32_t)ir->imm);
            else if (lower_in_memory(l, ir->b, &b))
                emit_alu_rm(e, alu, 4, H_RAX, b);
            else
                emit_alu_rr(e, alu, 4, H_RAX, l->home[ir->b]);
            emit_store(e, 8, d, H_RAX);
        } else if (ir->b == V_IMM) {
            emit_alu_mi(e, alu, size, d, (int32_t)ir->imm, ir->lock);
        } else {
            unsigned reg = lower_use(l, ir->b, size, H_RAX);
            emit_alu_mr(e, alu, size, d, reg, ir->lock);
        }
    } else {
        unsigned a = l->home[ir->a];
        if (ir->b == V_IMM)
            emit_alu_ri(e, alu, size, a, (int32_t)ir->imm);
        else if (ir->b < 16 && ir->b == l->held)
            emit_alu_rr(e, alu, size, a, H_RAX);
        else if (lower_in_memory(l, ir->b, &b))
            emit_alu_rm(e, alu, size, a, b);
        else
            emit_alu_rr(e, alu, size, a, lower_use(l, ir->b, size, H_RAX));
    }
    lower_wrote_flags(l);
}

static void lower_test(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    struct host_mem a;
    unsigned size = ir->size;
    prepare_flags(l);
    if (is_high(ir->a)) {
        lower_alu_high(l, ir, ALU_AND);
    } else if (lower_in_memory(l, ir->a, &a)) {
        if (ir->b == V_IMM) {
            emit_rm(e, 0xf6 | emit_size(size), 0, a);
            emit_imm_of(e, size, ir->imm);
        } else {
            emit_rm(e, 0x84 | emit_size(size), lower_use(l, ir->b, size, H_RAX), a);
        }
    } else if (ir->b == V_IMM) {
        emit_rr(e, 0xf6 | emit_size(size), 0, l->home[ir->a]);
        emit_imm_of(e, size, ir->imm);
    } else {
        emit_rr(e, 0x84 | emit_size(size), lower_use(l, ir->b, size, H_RAX), l->home[ir->a]);
    }
    lower_wrote_flags(l);
}

/* One-operand groups: INC DEC (FE, FF), NOT NEG (F6, F7), shifts. */
struct group {
    uint32_t opcode; /* of the byte form */
    unsigned extension;
    int imm; /* byte to follow, -1: none */
};

static void lower_group(struct lower *l, unsigned value, unsigned size, struct group group,
                        bool lock)
{
    struct emit *e = l->e;
    struct host_mem mem;
    uint32_t opcode = group.opcode | emit_size(size);
    if (is_high(value)) {
        unsigned home = l->home[value - V_HIGH];
        if (home == H_RBX) {
            emit_rr(e, group.opcode, group.extension, 7);
        } else {
            emit_mov_rr(e, 4, H_RAX, home);
            emit_rr(e, group.opcode, group.extension, 4);
        }
        if (group.imm >= 0)
            emit_byte(e, (uint8_t)group.imm);
        if (home != H_RBX)
            emit_rr(e, 0x89 | X_66, H_RAX, home);
        return;
    }
    if (lower_in_memory(l, value, &mem)) {
        if (value != V_M && size == 4) {
            lower_load_rax(l, value, 4);
            emit_rr(e, opcode, group.extension, H_RAX);
            if (group.imm >= 0)
                emit_byte(e, (uint8_t)group.imm);
            emit_store(e, 8, mem, H_RAX);
            return;
        }
        emit_rm(e, opcode | (lock ? X_LOCK : 0), group.extension, mem);
    } else {
        emit_rr(e, opcode, group.extension, l->home[value]);
    }
    if (group.imm >= 0)
        emit_byte(e, (uint8_t)group.imm);
}

static void lower_unary(struct lower *l, const struct ir *ir)
{
    static const struct group groups[IR_COUNT] = {
        [IR_INC] = {0xfe, 0, -1},
        [IR_DEC] = {0xfe, 1, -1},
        [IR_NOT] = {0xf6, 2, -1},
        [IR_NEG] = {0xf6, 3, -1},
    };
    prepare_flags(l);
    lower_group(l, ir->a, ir->size, groups[ir->op], ir->lock);
    lower_wrote_flags(l);
}

static void load_cl(struct lower *l)
{
    lower_free_rcx(l);
    emit_mov_rr(l->e, 4, H_RCX, l->home[RCX]);
}

static void lower_shift(struct lower *l, const struct ir *ir)
{
    static const uint8_t extensions[IR_COUNT] = {
        [IR_ROL] = SHIFT_ROL, [IR_ROR] = SHIFT_ROR, [IR_RCL] = SHIFT_RCL, [IR_RCR] = SHIFT_RCR,
        [IR_SHL] = SHIFT_SHL, [IR_SHR] = SHIFT_SHR, [IR_SAR] = SHIFT_SAR,
    };
    struct emit *e = l->e;
    bool by_cl = ir->b != V_IMM;
    unsigned home = ir->a < 16 ? l->home[ir->a] : H_NONE;

    if (by_cl && !ir->strict && l->bmi2 && ir->size >= 4 && home != H_NONE &&
        (ir->op == IR_SHL || ir->op == IR_SHR || ir->op == IR_SAR)) {
        uint32_t prefix = ir->op == IR_SHL ? X_66 : ir->op == IR_SHR ? X_F2 : X_F3;
        emit_vex_rr(e, 0xf7 | X_0F38 | prefix | (ir->size == 8 ? X_W : 0), home, l->home[RCX],
                    home);
        return; /* the flags are dead, whatever they are */
    }
    prepare_flags(l);
    struct group group = {by_cl          ? 0xd2
                          : ir->imm == 1 ? 0xd0
                                         : 0xc0,
                          extensions[ir->op], by_cl || ir->imm == 1 ? -1 : (int)ir->imm};
    bool keeps = !by_cl && home != H_NONE && ir->size >= 4 && lower_keeps_operand(l);
    if (by_cl)
        load_cl(l);
    if (keeps)
        emit_store(e, 8, cpu_mem(HOT_AT(carry)), home);
    lower_group(l, ir->a, ir->size, group, false);
    lower_wrote_flags(l);
    if (keeps)
        l->flags.recipe = (struct recipe){ir->op, ir->size, V_CARRY, V_IMM, (int32_t)ir->imm};
    else if (ir->kills != ir->writes) /* by CL: host EFLAGS hold everything, old or new */
        l->flags.recipe.op = IR_COUNT;
}

static void lower_double_shift(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    struct host_mem mem;
    unsigned size = ir->size;
    bool by_cl = ir->aux;
    prepare_flags(l);
    if (by_cl)
        load_cl(l);
    uint32_t opcode = (ir->op == IR_SHLD ? 0xa4 : 0xac) | (by_cl ? 1 : 0) | X_0F | emit_wide(size);
    bool in_memory = lower_in_memory(l, ir->a, &mem);
    if (in_memory && ir->a == V_M) {
        emit_rm(e, opcode, lower_use(l, ir->b, size, H_RAX), mem);
    } else {
        unsigned a = in_memory ? H_RDX : l->home[ir->a];
        if (in_memory)
            emit_load(e, size, H_RDX, mem);
        emit_rr(e, opcode, lower_use(l, ir->b, size, H_RAX), a);
        if (!by_cl)
            emit_byte(e, (uint8_t)ir->imm);
        if (in_memory)
            emit_store(e, 8, mem, H_RDX);
        lower_wrote_flags(l);
        return;
    }
    if (!by_cl)
        emit_byte(e, (uint8_t)ir->imm);
    lower_wrote_flags(l);
}

static void lower_imul(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    struct host_mem mem;
    unsigned size = ir->size;
    unsigned target = lower_target(l, ir->d, H_RAX);
    prepare_flags(l);
    if (ir->b == V_IMM) { /* imul r, r/m, imm */
        bool byte = ir->imm >= -128 && ir->imm <= 127;
        uint32_t opcode = (byte ? 0x6b : 0x69) | emit_wide(size);
        if (lower_in_memory(l, ir->a, &mem))
            emit_rm(e, opcode, target, mem);
        else
            emit_rr(e, opcode, target, l->home[ir->a]);
        emit_imm_of(e, byte ? 1 : size, ir->imm);
    } else {
        if (target == H_RAX)
            lower_use(l, ir->d, size, H_RAX);
        uint32_t opcode = 0xaf | X_0F | emit_wide(size);
        if (lower_in_memory(l, ir->b, &mem))
            emit_rm(e, opcode, target, mem);
        else
            emit_rr(e, opcode, target, l->home[ir->b]);
    }
    if (target == H_RAX)
        lower_put(l, ir->d, size, H_RAX);
    lower_wrote_flags(l);
}

/* Host MUL and IMUL use the host's RAX and RDX. */
static void lower_multiply(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    struct host_mem mem;
    unsigned size = ir->size;
    unsigned extension = ir->op == IR_MULTIPLY ? 4 : 5;
    prepare_flags(l);
    uint32_t opcode = 0xf6 | emit_size(size);
    if (is_high(ir->a)) {
        unsigned reg = lower_use(l, ir->a, 1, H_RCX);
        emit_mov_rr(e, 8, H_RAX, l->home[RAX]);
        emit_rr(e, opcode, extension, reg);
    } else {
        emit_mov_rr(e, 8, H_RAX, l->home[RAX]);
        if (lower_in_memory(l, ir->a, &mem))
            emit_rm(e, opcode, extension, mem);
        else
            emit_rr(e, opcode, extension, l->home[ir->a]);
    }
    if (size == 1) {
        lower_put(l, RAX, 2, H_RAX);
    } else {
        lower_put(l, RAX, size, H_RAX);
        lower_put(l, RDX, size, H_RDX);
    }
    lower_wrote_flags(l);
}

/* Quotients that would not fit, and divisors 0 and (signed) -1, go to the slow path, so that the
 * host never faults (R9). */
static void lower_divide(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    unsigned size = ir->size;
    lower_clobber(l);
    unsigned divisor = lower_use(l, ir->a, size, H_RCX);
    if (divisor != H_RCX)
        emit_mov_rr(e, size, H_RCX, divisor);
    emit_mov_rr(e, size, H_RAX, l->home[RAX]);
    if (ir->op == IR_DIVIDE) {
        emit_mov_rr(e, size, H_RDX, l->home[RDX]);
        emit_alu_rr(e, ALU_CMP, size, H_RDX, H_RCX);
        lower_slow_if(l, CC_NC);
        emit_rr(e, 0xf6 | emit_size(size), 6, H_RCX);
    } else {
        emit_lea(e, size, H_RDX, host_at(H_RCX, 1));
        emit_alu_ri(e, ALU_CMP, size, H_RDX, 1);
        lower_slow_if(l, CC_BE);
        if (size == 8)
            emit_byte(e, 0x48);
        emit_byte(e, 0x99); /* cdq, cqo: the dividend must be a sign-extended RAX */
        emit_alu_rr(e, ALU_CMP, size, H_RDX, l->home[RDX]);
        lower_slow_if(l, CC_NZ);
        emit_rr(e, 0xf6 | emit_size(size), 7, H_RCX);
    }
    lower_put(l, RAX, size, H_RAX);
    lower_put(l, RDX, size, H_RDX);
    lower_wrote_flags(l);
}

/* -- Bits -- */

static void lower_bit(struct lower *l, const struct ir *ir)
{
    static const uint8_t extensions[IR_COUNT] = {
        [IR_BT] = 4, [IR_BTS] = 5, [IR_BTR] = 6, [IR_BTC] = 7};
    struct emit *e = l->e;
    struct host_mem mem;
    unsigned size = ir->size, extension = extensions[ir->op];
    uint32_t lock = ir->lock ? X_LOCK : 0;
    bool in_memory = lower_in_memory(l, ir->a, &mem);

    prepare_flags(l);
    if (in_memory && ir->a != V_M) { /* a register in memory: on a copy */
        emit_load(e, size < 4 ? 4 : size, H_RAX, mem);
        if (ir->b == V_IMM) {
            emit_rr(e, 0xba | X_0F | emit_wide(size), extension, H_RAX);
            emit_byte(e, (uint8_t)ir->imm);
        } else {
            emit_rr(e, (0x83 | extension << 3) | X_0F | emit_wide(size),
                    lower_use(l, ir->b, size, H_RCX), H_RAX);
        }
        if (ir->op != IR_BT)
            lower_put(l, ir->a, size, H_RAX);
    } else if (ir->b == V_IMM) {
        uint32_t opcode = 0xba | X_0F | emit_wide(size);
        if (in_memory)
            emit_rm(e, opcode | lock, extension, mem);
        else
            emit_rr(e, opcode, extension, l->home[ir->a]);
        emit_byte(e, (uint8_t)ir->imm);
    } else {
        uint32_t opcode = (0x83 | extension << 3) | X_0F | emit_wide(size);
        if (in_memory) {
            /* lower_memory() has put the unit's address into V_M, the bit within it into V_T1. */
            emit_load(e, 4, H_RAX, cpu_mem(HOT_AT(scratch)));
            emit_rm(e, opcode | lock, H_RAX, mem);
        } else {
            emit_rr(e, opcode, lower_use(l, ir->b, size, H_RAX), l->home[ir->a]);
        }
    }
    lower_wrote_flags(l);
}

static void lower_scan(struct lower *l, const struct ir *ir)
{
    static const uint32_t opcodes[IR_COUNT] = {
        [IR_BSF] = 0xbc | X_0F,           [IR_BSR] = 0xbd | X_0F,
        [IR_TZCNT] = 0xbc | X_0F | X_F3,  [IR_LZCNT] = 0xbd | X_0F | X_F3,
        [IR_POPCNT] = 0xb8 | X_0F | X_F3,
    };
    struct emit *e = l->e;
    struct host_mem mem;
    unsigned size = ir->size;
    unsigned target = lower_target(l, ir->d, H_RAX);
    prepare_flags(l);
    if (target == H_RAX)
        lower_use(l, ir->d, 8, H_RAX); /* BSF of 0 keeps it */
    uint32_t opcode = opcodes[ir->op] | (size == 8 ? X_W : 0);
    if (size == 2)
        emit_byte(e, 0x66); /* stands before F3 */
    if (lower_in_memory(l, ir->a, &mem))
        emit_rm(e, opcode, target, mem);
    else
        emit_rr(e, opcode, target, l->home[ir->a]);
    if (target == H_RAX)
        lower_put(l, ir->d, size == 4 ? 8 : size, H_RAX);
    lower_wrote_flags(l);
}

static void lower_crc32(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    struct host_mem mem;
    unsigned target = lower_target(l, ir->d, H_RAX);
    if (target == H_RAX)
        lower_use(l, ir->d, 8, H_RAX);
    uint32_t opcode = (ir->aux == 1 ? 0xf0 : 0xf1) | X_0F38 | X_F2 | (ir->size == 8 ? X_W : 0);
    if (ir->aux == 2)
        emit_byte(e, 0x66);
    if (lower_in_memory(l, ir->a, &mem))
        emit_rm(e, opcode, target, mem);
    else
        emit_rr(e, opcode | (ir->aux == 1 ? X_BYTE_RM : 0), target,
                lower_use(l, ir->a, ir->aux, H_RCX));
    if (target == H_RAX)
        lower_put(l, ir->d, 8, H_RAX);
}

/* -- Exchange and compare -- */

static void lower_xadd(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    unsigned size = ir->size;
    uint32_t opcode = 0xc0 | X_0F | emit_size(size);
    prepare_flags(l);
    unsigned b = l->home[ir->b];
    if (b == H_NONE) {
        b = H_RAX;
        lower_use(l, ir->b, 8, H_RAX);
    }
    if (ir->a == V_M) {
        emit_rm(e, opcode | (ir->lock ? X_LOCK : 0), b, l->m);
    } else {
        unsigned a = lower_use(l, ir->a, 8, H_RCX);
        emit_rr(e, opcode, b, a);
        if (b == H_RAX)
            lower_put(l, ir->b, size, H_RAX); /* before the sum: XADD r, r keeps the sum */
        if (a == H_RCX)
            lower_put(l, ir->a, size, H_RCX);
        lower_wrote_flags(l);
        return;
    }
    if (b == H_RAX)
        lower_put(l, ir->b, size, H_RAX);
    lower_wrote_flags(l);
}

static void lower_cmpxchg(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    unsigned size = ir->size;
    uint32_t opcode = 0xb0 | X_0F | emit_size(size);
    prepare_flags(l);
    unsigned b = l->home[ir->b];
    if (ir->a == V_M) {
        if (b == H_NONE) {
            lower_free_rcx(l);
            b = lower_use(l, ir->b, 8, H_RCX);
        }
        emit_mov_rr(e, 8, H_RAX, l->home[RAX]);
        emit_rm(e, opcode | (ir->lock ? X_LOCK : 0), b, l->m);
    } else {
        if (b == H_NONE)
            b = lower_use(l, ir->b, 8, H_RCX);
        emit_mov_rr(e, 8, H_RAX, l->home[RAX]);
        unsigned a = lower_use(l, ir->a, 8, H_RDX);
        if (ir->a == RAX) { /* compares with itself */
            a = H_RDX;
            emit_mov_rr(e, 8, H_RDX, H_RAX);
        }
        emit_rr(e, opcode, b, a);
        if (ir->a == RAX) {
            emit_mov_rr(e, 8, l->home[RAX], H_RDX);
            lower_wrote_flags(l);
            return;
        }
        if (a == H_RDX)
            lower_put(l, ir->a, 8, H_RDX);
    }
    emit_mov_rr(e, 8, l->home[RAX], H_RAX);
    lower_wrote_flags(l);
}

/* -- Flags -- */

static void lower_flag_op(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    switch (ir->op) {
    case IR_CLC:
    case IR_STC:
    case IR_CMC:
        prepare_flags(l);
        emit_byte(e, ir->op == IR_CLC ? 0xf8 : ir->op == IR_STC ? 0xf9 : 0xf5);
        lower_wrote_flags(l);
        break;
    case IR_LAHF:
        lower_want(l, ir->reads);
        emit_byte(e, 0x9f);
        emit_rr(e, 0x88, 4, 7); /* mov bh, ah */
        break;
    case IR_SAHF:
        prepare_flags(l);
        emit_mov_rr(e, 4, H_RAX, l->home[RAX]);
        emit_byte(e, 0x9e);
        lower_wrote_flags(l);
        break;
    default: /* DF is kept in struct cpu only */
        lower_clobber(l);
        emit_alu_mi(e, ir->op == IR_CLD ? ALU_AND : ALU_OR, 1, cpu_mem(CPU_AT(eflags) + 1),
                    ir->op == IR_CLD ? (int8_t) ~(FLAG_DF >> 8) : FLAG_DF >> 8, false);
    }
}

void lower_integer(struct lower *l, const struct ir *ir)
{
    static void (*const operations[IR_COUNT])(struct lower *, const struct ir *) = {
        [IR_MOV] = lower_mov,
        [IR_MOVZX] = lower_extend,
        [IR_MOVSX] = lower_extend,
        [IR_LEA] = lower_lea,
        [IR_XCHG] = lower_xchg,
        [IR_BSWAP] = lower_bswap,
        [IR_CMOV] = lower_cmov,
        [IR_SETCC] = lower_setcc,
        [IR_SIGN] = lower_sign,
        [IR_ADD] = lower_alu,
        [IR_OR] = lower_alu,
        [IR_ADC] = lower_alu,
        [IR_SBB] = lower_alu,
        [IR_AND] = lower_alu,
        [IR_SUB] = lower_alu,
        [IR_XOR] = lower_alu,
        [IR_CMP] = lower_alu,
        [IR_TEST] = lower_test,
        [IR_INC] = lower_unary,
        [IR_DEC] = lower_unary,
        [IR_NEG] = lower_unary,
        [IR_NOT] = lower_unary,
        [IR_ROL] = lower_shift,
        [IR_ROR] = lower_shift,
        [IR_RCL] = lower_shift,
        [IR_RCR] = lower_shift,
        [IR_SHL] = lower_shift,
        [IR_SHR] = lower_shift,
        [IR_SAR] = lower_shift,
        [IR_SHLD] = lower_double_shift,
        [IR_SHRD] = lower_double_shift,
        [IR_IMUL] = lower_imul,
        [IR_MULTIPLY] = lower_multiply,
        [IR_MULTIPLY_SIGNED] = lower_multiply,
        [IR_DIVIDE] = lower_divide,
        [IR_DIVIDE_SIGNED] = lower_divide,
        [IR_BT] = lower_bit,
        [IR_BTS] = lower_bit,
        [IR_BTR] = lower_bit,
        [IR_BTC] = lower_bit,
        [IR_BSF] = lower_scan,
        [IR_BSR] = lower_scan,
        [IR_TZCNT] = lower_scan,
        [IR_LZCNT] = lower_scan,
        [IR_POPCNT] = lower_scan,
        [IR_CRC32] = lower_crc32,
        [IR_XADD] = lower_xadd,
        [IR_CMPXCHG] = lower_cmpxchg,
        [IR_CLC] = lower_flag_op,
        [IR_STC] = lower_flag_op,
        [IR_CMC] = lower_flag_op,
        [IR_LAHF] = lower_flag_op,
        [IR_SAHF] = lower_flag_op,
        [IR_CLD] = lower_flag_op,
        [IR_STD] = lower_flag_op,
    };
    operations[ir->op](l, ir);
}
