/*
 * The assembler for x86-64 hosts: one function per shape of encoding, not per instruction.
 *
 * An opcode is a number that carries its map and mandatory prefix (SDM 2A 2.1, AMD APM 3 1.2):
 *
 *     bits 0-7 opcode byte | X_0F, X_0F38, X_0F3A map | X_66, X_F3, X_F2 prefix | X_W: REX.W
 *     X_BYTE_REG, X_BYTE_RM: the ModRM.reg (rm) register is a byte register: SPL..DIL need a REX
 * prefix
 *
 * Bytes are written through the writable view of the code cache; since jumps are relative and
 * both views have the same layout, the emitter never needs the executable addresses.
 *
 * The emitter keeps a sticky overflow state: past `end` nothing is written, emit_ok() tells at the
 * end.
 */
#ifndef DOPPEL_TRANSLATOR_X86_64_EMIT_H
#define DOPPEL_TRANSLATOR_X86_64_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum host_reg {
    H_RAX,
    H_RCX,
    H_RDX,
    H_RBX,
    H_RSP,
    H_RBP,
    H_RSI,
    H_RDI,
    H_R8,
    H_R9,
    H_R10,
    H_R11,
    H_R12,
    H_R13,
    H_R14,
    H_R15,
    H_NONE = 0xff
};

/* [base + index << scale + disp]; base or index may be H_NONE. */
struct host_mem {
    uint8_t base, index, scale;
    int32_t disp;
};

enum {
    X_0F = 1 << 8,
    X_0F38 = 2 << 8,
    X_0F3A = 3 << 8,
    X_MAP = 3 << 8,
    X_66 = 1 << 10,
    X_F3 = 2 << 10,
    X_F2 = 3 << 10,
    X_PREFIX = 3 << 10,
    X_W = 1 << 12,
    X_BYTE_REG = 1 << 13,
    X_BYTE_RM = 1 << 14,
    X_LOCK = 1 << 15,
    X_L = 1 << 16, /* VEX.L: 256 bits */
};

/* Numbers of the eight classic operations: opcode 8 * n, extension /n of groups 80, 81, 83. */
enum host_alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };
/* Extension of the shift groups C0, C1, D0-D3. */
enum host_shift { SHIFT_ROL, SHIFT_ROR, SHIFT_RCL, SHIFT_RCR, SHIFT_SHL, SHIFT_SHR, SHIFT_SAR = 7 };
enum host_cond {
    CC_O,
    CC_NO,
    CC_C,
    CC_NC,
    CC_Z,
    CC_NZ,
    CC_BE,
    CC_A,
    CC_S,
    CC_NS,
    CC_P,
    CC_NP,
    CC_L,
    CC_GE,
    CC_LE,
    CC_G
};

struct emit {
    uint8_t *at, *end;
    uint32_t named; /* registers that instructions had as operands, since the caller cleared it; not
                     * all of those that they have without naming them */
};

static inline struct emit emit_between(uint8_t *start, uint8_t *end)
{
    return (struct emit){start, end, 0};
}

static inline bool emit_ok(const struct emit *e)
{
    return e->at <= e->end;
}

static inline void emit_byte(struct emit *e, uint8_t byte)
{
    if (e->at < e->end)
        *e->at = byte;
    e->at++;
}

void emit_u32(struct emit *e, uint32_t value);
void emit_u64(struct emit *e, uint64_t value);

/* `opcode` with ModRM.reg and a register as ModRM.rm. */
void emit_rr(struct emit *e, uint32_t opcode, unsigned reg, unsigned rm);
/* `opcode` with ModRM.reg and memory; `imm_bytes` follow (only RIP-relative operands would care).
 */
void emit_rm(struct emit *e, uint32_t opcode, unsigned reg, struct host_mem mem);
/* VEX-encoded: `opcode` with map, prefix, X_W and X_L. */
void emit_vex_rr(struct emit *e, uint32_t opcode, unsigned reg, unsigned vvvv, unsigned rm);
void emit_vex_rm(struct emit *e, uint32_t opcode, unsigned reg, unsigned vvvv, struct host_mem mem);

/* X_W, X_66 and byte flags for an operand of `size` bytes; the opcode's low bit selects 8 or more.
 */
static inline uint32_t emit_size(unsigned size)
{
    return size == 8 ? X_W | 1 : size == 4 ? 1 : size == 2 ? X_66 | 1 : X_BYTE_REG | X_BYTE_RM;
}
/* The same for opcodes without a byte form. */
static inline uint32_t emit_wide(unsigned size)
{
    return size == 8 ? X_W : size == 2 ? X_66 : 0;
}

/* -- Moves -- */

void emit_mov_rr(struct emit *e, unsigned size, unsigned dst, unsigned src); /* 4, 8 */
void emit_mov_ri(struct emit *e, unsigned dst, uint64_t value); /* shortest; keeps flags */
void emit_load(struct emit *e, unsigned size, unsigned dst, struct host_mem mem); /* zero-extends */
void emit_store(struct emit *e, unsigned size, struct host_mem mem, unsigned src);
void emit_store_imm(struct emit *e, unsigned size, struct host_mem mem, int32_t value);
void emit_lea(struct emit *e, unsigned size, unsigned dst, struct host_mem mem);
/* LEA of a place in the code: the position of the displacement for emit_patch(). */
uint8_t *emit_lea_code(struct emit *e, unsigned dst);

/* -- Arithmetic -- */

void emit_alu_rr(struct emit *e, enum host_alu alu, unsigned size, unsigned dst, unsigned src);
void emit_alu_ri(struct emit *e, enum host_alu alu, unsigned size, unsigned dst, int32_t value);
void emit_alu_rm(struct emit *e, enum host_alu alu, unsigned size, unsigned dst,
                 struct host_mem mem);
void emit_alu_mr(struct emit *e, enum host_alu alu, unsigned size, struct host_mem mem,
                 unsigned src, bool lock);
void emit_alu_mi(struct emit *e, enum host_alu alu, unsigned size, struct host_mem mem,
                 int32_t value, bool lock);
void emit_shift_ri(struct emit *e, enum host_shift shift, unsigned size, unsigned dst,
                   unsigned count);
/* RORX dst, src, count (BMI2): keeps flags. */
void emit_rorx(struct emit *e, unsigned size, unsigned dst, unsigned src, unsigned count);

/* -- Jumps: return the position of the 32-bit displacement for emit_patch() -- */

uint8_t *emit_jcc(struct emit *e, enum host_cond cond);
uint8_t *emit_jmp(struct emit *e);
uint8_t *emit_call(struct emit *e);
/* Short forms for jumps inside one lowering; emit_patch8() checks the reach. */
uint8_t *emit_jcc8(struct emit *e, enum host_cond cond);
uint8_t *emit_jmp8(struct emit *e);
uint8_t *emit_jrcxz8(struct emit *e);

/* Lets the displacement at `field` lead to `target` (both in the writable view). */
void emit_patch(uint8_t *field, const uint8_t *target);
/* Where it leads. */
uint8_t *emit_patched(uint8_t *field);
void emit_patch8(struct emit *e, uint8_t *field);
static inline void emit_jmp_to(struct emit *e, const uint8_t *target)
{
    uint8_t *field = emit_jmp(e);
    if (emit_ok(e))
        emit_patch(field, target);
}
static inline void emit_call_to(struct emit *e, const uint8_t *target)
{
    uint8_t *field = emit_call(e);
    if (emit_ok(e))
        emit_patch(field, target);
}
void emit_jmp_mem(struct emit *e, struct host_mem mem);
void emit_jmp_reg(struct emit *e, unsigned reg);
void emit_call_reg(struct emit *e, unsigned reg);

/* Pads with NOPs so that the next byte is aligned. */
void emit_align(struct emit *e, unsigned alignment);

static inline struct host_mem host_at(unsigned base, int32_t disp)
{
    return (struct host_mem){(uint8_t)base, H_NONE, 0, disp};
}

#endif
