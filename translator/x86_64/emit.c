/*
 * The assembler: prefixes, REX, opcode, ModRM, SIB, displacement (SDM 2A chapter 2).
 */
#include "translator/x86_64/emit.h"

#include <assert.h>
#include <string.h>

void emit_u32(struct emit *e, uint32_t value)
{
    if (e->at + 4 <= e->end)
        memcpy(e->at, &value, 4);
    e->at += 4;
}

void emit_u64(struct emit *e, uint64_t value)
{
    if (e->at + 8 <= e->end)
        memcpy(e->at, &value, 8);
    e->at += 8;
}

static bool needs_rex(uint32_t opcode, uint32_t byte_flag, unsigned reg)
{
    return opcode & byte_flag && reg >= 4 && reg < 8;
}

/* Everything before the ModRM byte. `x` is the index register or 0, `b` base or rm. */
static void emit_opcode(struct emit *e, uint32_t opcode, unsigned reg, unsigned x, unsigned b,
                        bool byte_rm)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    uint8_t prefix = prefixes[(opcode & X_PREFIX) / X_66];
    uint8_t rex = (uint8_t)((opcode & X_W ? 8 : 0) | (reg & 8) >> 1 | (x & 8) >> 2 | (b & 8) >> 3);

    if (opcode & X_LOCK)
        emit_byte(e, 0xf0);
    if (prefix)
        emit_byte(e, prefix);
    if (rex || needs_rex(opcode, X_BYTE_REG, reg) || byte_rm)
        emit_byte(e, 0x40 | rex);
    switch (opcode & X_MAP) {
    case X_0F:
        emit_byte(e, 0x0f);
        break;
    case X_0F38:
        emit_byte(e, 0x0f);
        emit_byte(e, 0x38);
        break;
    case X_0F3A:
        emit_byte(e, 0x0f);
        emit_byte(e, 0x3a);
        break;
    }
    emit_byte(e, (uint8_t)opcode);
}

void emit_rr(struct emit *e, uint32_t opcode, unsigned reg, unsigned rm)
{
    e->named |= 1u << reg | 1u << rm;
    emit_opcode(e, opcode, reg, 0, rm, needs_rex(opcode, X_BYTE_RM, rm));
    emit_byte(e, (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

/* ModRM, SIB and displacement of a memory operand. */
static void emit_address(struct emit *e, unsigned reg, struct host_mem mem)
{
    uint8_t modrm = (uint8_t)((reg & 7) << 3);
    bool has_base = mem.base != H_NONE, has_index = mem.index != H_NONE;

    if (!has_base) { /* absolute, or index without base: SIB with base 101, mod 00 */
        emit_byte(e, modrm | 4);
        emit_byte(e, (uint8_t)(mem.scale << 6 | (has_index ? mem.index & 7 : 4) << 3 | 5));
        emit_u32(e, (uint32_t)mem.disp);
        return;
    }
    unsigned mod = mem.disp == 0 && (mem.base & 7) != 5  ? 0
                   : mem.disp >= -128 && mem.disp <= 127 ? 1
                                                         : 2;
    if (has_index || (mem.base & 7) == 4) {
        assert(mem.index != H_RSP);
        emit_byte(e, (uint8_t)(mod << 6) | modrm | 4);
        emit_byte(
            e, (uint8_t)(mem.scale << 6 | (has_index ? mem.index & 7 : 4) << 3 | (mem.base & 7)));
    } else {
        emit_byte(e, (uint8_t)(mod << 6 | modrm | (mem.base & 7)));
    }
    if (mod == 1)
        emit_byte(e, (uint8_t)mem.disp);
    else if (mod == 2)
        emit_u32(e, (uint32_t)mem.disp);
}

void emit_rm(struct emit *e, uint32_t opcode, unsigned reg, struct host_mem mem)
{
    e->named |= 1u << reg;
    emit_opcode(e, opcode, reg, mem.index == H_NONE ? 0 : mem.index,
                mem.base == H_NONE ? 0 : mem.base, false);
    emit_address(e, reg, mem);
}

/* The same with an opcode's extension instead of a register. */
static void emit_group_r(struct emit *e, uint32_t opcode, unsigned extension, unsigned rm)
{
    uint32_t named = e->named | 1u << rm;
    emit_rr(e, opcode, extension, rm);
    e->named = named;
}

static void emit_group_m(struct emit *e, uint32_t opcode, unsigned extension, struct host_mem mem)
{
    uint32_t named = e->named;
    emit_rm(e, opcode, extension, mem);
    e->named = named;
}

static void emit_vex(struct emit *e, uint32_t opcode, unsigned reg, unsigned vvvv, unsigned x,
                     unsigned b)
{
    e->named |= 1u << reg | 1u << vvvv;
    if ((opcode & X_MAP) == X_0F && !(opcode & X_W) && !((x | b) & 8)) {
        emit_byte(e, 0xc5);
        emit_byte(e, (uint8_t)((~reg & 8) << 4 | (~vvvv & 15) << 3 | (opcode & X_L ? 4 : 0) |
                               (opcode & X_PREFIX) / X_66));
        emit_byte(e, (uint8_t)opcode);
        return;
    }
    emit_byte(e, 0xc4);
    emit_byte(e,
              (uint8_t)((~reg & 8) << 4 | (~x & 8) << 3 | (~b & 8) << 2 | (opcode & X_MAP) / X_0F));
    emit_byte(e, (uint8_t)((opcode & X_W ? 0x80 : 0) | (~vvvv & 15) << 3 | (opcode & X_L ? 4 : 0) |
                           (opcode & X_PREFIX) / X_66));
    emit_byte(e, (uint8_t)opcode);
}

void emit_vex_rr(struct emit *e, uint32_t opcode, unsigned reg, unsigned vvvv, unsigned rm)
{
    e->named |= 1u << rm;
    emit_vex(e, opcode, reg, vvvv, 0, rm);
    emit_byte(e, (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

void emit_vex_rm(struct emit *e, uint32_t opcode, unsigned reg, unsigned vvvv, struct host_mem mem)
{
    emit_vex(e, opcode, reg, vvvv, mem.index == H_NONE ? 0 : mem.index,
             mem.base == H_NONE ? 0 : mem.base);
    emit_address(e, reg, mem);
}

/* -- Moves -- */

void emit_mov_rr(struct emit *e, unsigned size, unsigned dst, unsigned src)
{
    emit_rr(e, 0x8b | (size == 8 ? X_W : 0), dst, src);
}

void emit_mov_ri(struct emit *e, unsigned dst, uint64_t value)
{
    e->named |= 1u << dst;
    if (value <= UINT32_MAX) {
        if (dst & 8)
            emit_byte(e, 0x41);
        emit_byte(e, (uint8_t)(0xb8 | (dst & 7)));
        emit_u32(e, (uint32_t)value);
    } else if ((uint64_t)(int64_t)(int32_t)value == value) {
        emit_group_r(e, 0xc7 | X_W, 0, dst);
        emit_u32(e, (uint32_t)value);
    } else {
        emit_byte(e, dst & 8 ? 0x49 : 0x48);
        emit_byte(e, (uint8_t)(0xb8 | (dst & 7)));
        emit_u64(e, value);
    }
}

void emit_load(struct emit *e, unsigned size, unsigned dst, struct host_mem mem)
{
    switch (size) {
    case 8:
        emit_rm(e, 0x8b | X_W, dst, mem);
        break;
    case 4:
        emit_rm(e, 0x8b, dst, mem);
        break;
    case 2:
        emit_rm(e, 0xb7 | X_0F, dst, mem);
        break;
    default:
        emit_rm(e, 0xb6 | X_0F, dst, mem);
    }
}

void emit_store(struct emit *e, unsigned size, struct host_mem mem, unsigned src)
{
    emit_rm(e, 0x88 | emit_size(size), src, mem);
}

static void emit_imm(struct emit *e, unsigned size, int32_t value)
{
    if (size == 1) {
        emit_byte(e, (uint8_t)value);
    } else if (size == 2) {
        emit_byte(e, (uint8_t)value);
        emit_byte(e, (uint8_t)(value >> 8));
    } else {
        emit_u32(e, (uint32_t)value);
    }
}

void emit_store_imm(struct emit *e, unsigned size, struct host_mem mem, int32_t value)
{
    emit_group_m(e, 0xc6 | emit_size(size), 0, mem);
    emit_imm(e, size, value);
}

void emit_lea(struct emit *e, unsigned size, unsigned dst, struct host_mem mem)
{
    if (mem.index == H_NONE && mem.disp == 0 && mem.base != H_NONE)
        emit_mov_rr(e, size, dst, mem.base);
    else
        emit_rm(e, 0x8d | (size == 8 ? X_W : 0), dst, mem);
}

static uint8_t *emit_displacement(struct emit *e)
{
    uint8_t *field = e->at;
    emit_u32(e, 0);
    return field;
}

uint8_t *emit_lea_code(struct emit *e, unsigned dst)
{
    e->named |= 1u << dst;
    emit_byte(e, (uint8_t)(0x48 | dst >> 3 << 2));
    emit_byte(e, 0x8d);
    emit_byte(e, (uint8_t)(5 | (dst & 7) << 3)); /* rip + disp32 */
    return emit_displacement(e);
}

/* -- Arithmetic -- */

void emit_alu_rr(struct emit *e, enum host_alu alu, unsigned size, unsigned dst, unsigned src)
{
    emit_rr(e, (uint32_t)alu << 3 | emit_size(size), src, dst);
}

static bool is_byte_imm(unsigned size, int32_t value)
{
    return size != 1 && value >= -128 && value <= 127;
}

void emit_alu_ri(struct emit *e, enum host_alu alu, unsigned size, unsigned dst, int32_t value)
{
    uint32_t form = emit_size(size) & ~(uint32_t)X_BYTE_REG; /* ModRM.reg is no register */
    if (is_byte_imm(size, value)) {
        emit_group_r(e, 0x82 | form, alu, dst);
        emit_byte(e, (uint8_t)value);
    } else {
        emit_group_r(e, 0x80 | form, alu, dst);
        emit_imm(e, size, value);
    }
}

void emit_alu_rm(struct emit *e, enum host_alu alu, unsigned size, unsigned dst,
                 struct host_mem mem)
{
    emit_rm(e, (uint32_t)alu << 3 | 2 | emit_size(size), dst, mem);
}

void emit_alu_mr(struct emit *e, enum host_alu alu, unsigned size, struct host_mem mem,
                 unsigned src, bool lock)
{
    emit_rm(e, (uint32_t)alu << 3 | emit_size(size) | (lock ? X_LOCK : 0), src, mem);
}

void emit_alu_mi(struct emit *e, enum host_alu alu, unsigned size, struct host_mem mem,
                 int32_t value, bool lock)
{
    uint32_t form = (emit_size(size) & ~(uint32_t)X_BYTE_REG) | (lock ? X_LOCK : 0);
    if (is_byte_imm(size, value)) {
        emit_group_m(e, 0x82 | form, alu, mem);
        emit_byte(e, (uint8_t)value);
    } else {
        emit_group_m(e, 0x80 | form, alu, mem);
        emit_imm(e, size, value);
    }
}

void emit_shift_ri(struct emit *e, enum host_shift shift, unsigned size, unsigned dst,
                   unsigned count)
{
    uint32_t form = emit_size(size) & ~(uint32_t)X_BYTE_REG;
    if (count == 1) {
        emit_group_r(e, 0xd0 | form, shift, dst);
    } else {
        emit_group_r(e, 0xc0 | form, shift, dst);
        emit_byte(e, (uint8_t)count);
    }
}

void emit_rorx(struct emit *e, unsigned size, unsigned dst, unsigned src, unsigned count)
{
    emit_vex_rr(e, 0xf0 | X_0F3A | X_F2 | (size == 8 ? X_W : 0), dst, 0, src);
    emit_byte(e, (uint8_t)count);
}

/* -- Jumps -- */

uint8_t *emit_jcc(struct emit *e, enum host_cond cond)
{
    emit_byte(e, 0x0f);
    emit_byte(e, (uint8_t)(0x80 | cond));
    return emit_displacement(e);
}

uint8_t *emit_jmp(struct emit *e)
{
    emit_byte(e, 0xe9);
    return emit_displacement(e);
}

uint8_t *emit_call(struct emit *e)
{
    emit_byte(e, 0xe8);
    return emit_displacement(e);
}

uint8_t *emit_jcc8(struct emit *e, enum host_cond cond)
{
    emit_byte(e, (uint8_t)(0x70 | cond));
    emit_byte(e, 0);
    return e->at - 1;
}

uint8_t *emit_jrcxz8(struct emit *e)
{
    emit_byte(e, 0xe3);
    emit_byte(e, 0);
    return e->at - 1;
}

uint8_t *emit_jmp8(struct emit *e)
{
    emit_byte(e, 0xeb);
    emit_byte(e, 0);
    return e->at - 1;
}

void emit_patch(uint8_t *field, const uint8_t *target)
{
    int64_t distance = target - (field + 4);
    assert(distance == (int32_t)distance);
    int32_t displacement = (int32_t)distance;
    memcpy(field, &displacement, 4);
}

uint8_t *emit_patched(uint8_t *field)
{
    int32_t displacement;
    memcpy(&displacement, field, 4);
    return field + 4 + displacement;
}

void emit_patch8(struct emit *e, uint8_t *field)
{
    int64_t distance = e->at - (field + 1);
    assert(distance >= 0 && distance <= 127);
    if (field < e->end)
        *field = (uint8_t)distance;
}

void emit_jmp_mem(struct emit *e, struct host_mem mem)
{
    emit_rm(e, 0xff, 4, mem);
}

void emit_jmp_reg(struct emit *e, unsigned reg)
{
    emit_rr(e, 0xff, 4, reg);
}

void emit_call_reg(struct emit *e, unsigned reg)
{
    emit_rr(e, 0xff, 2, reg);
}

void emit_align(struct emit *e, unsigned alignment)
{
    /* SDM 2B, NOP: recommended multi-byte forms */
    static const uint8_t nops[][8] = {
        {0x90},
        {0x66, 0x90},
        {0x0f, 0x1f, 0x00},
        {0x0f, 0x1f, 0x40, 0},
        {0x0f, 0x1f, 0x44, 0, 0},
        {0x66, 0x0f, 0x1f, 0x44, 0, 0},
        {0x0f, 0x1f, 0x80, 0, 0, 0, 0},
        {0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0},
    };
    size_t gap = -(uintptr_t)e->at & (alignment - 1);
    while (gap) {
        size_t length = gap < 8 ? gap : 8;
        for (size_t i = 0; i < length; i++)
            emit_byte(e, nops[length - 1][i]);
        gap -= length;
    }
}
