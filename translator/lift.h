/*
 * What the lifters of the instruction groups share. A lifter turns one instruction into IR, or
 * returns false: then the interpreter's function is called for it.
 */
#ifndef DOPPEL_TRANSLATOR_LIFT_H
#define DOPPEL_TRANSLATOR_LIFT_H

#include "translator/engine.h"

struct lift {
    const struct engine *engine;
    const struct trace *trace;
    struct ir_list *list;
    const struct insn *insn;
    unsigned index;     /* of the instruction in the trace */
    uint64_t rip, next; /* of the instruction, and of the following one in memory */
    uint32_t mode;
};

typedef bool lifter(struct lift *l);

/* One table, by mnemonic; each file below contributes its rows. */
extern lifter *const lifters_integer[OP_COUNT];
extern lifter *const lifters_flow[OP_COUNT];
extern lifter *const lifters_system[OP_COUNT];
lifter lift_vector, lift_x87, lift_bits, lift_gather;
/* Is it an instruction of BMI or ADX that the host has? */
bool lift_has_bits(const struct insn *insn);

/* A new record at the end of the list, for the current instruction. */
struct ir *lift_ir(struct lift *l, enum ir_op op, unsigned size);
struct ir *lift_dab(struct lift *l, enum ir_op op, unsigned size, unsigned d, unsigned a,
                    unsigned b);

/* If the address, of which all else is set but the size, is relative to rip: makes it constant, and
 * to float with its block. */
void lift_relative(const struct lift *l, struct ir *ir);
/* The memory operand: appends the MEM operation `op` of `size` bytes, after which V_M is the
 * operand. NULL: cannot be expressed (the caller returns false before changing anything else). */
struct ir *lift_memory(struct lift *l, enum ir_op op, unsigned size);
/* Access at seg:reg of the instruction's address size (string instructions). NULL as above. */
struct ir *lift_pointer(struct lift *l, enum ir_op op, unsigned size, unsigned reg, unsigned seg);
/* Access relative to the stack pointer or another register, through SS. */
struct ir *lift_stack(struct lift *l, enum ir_op op, unsigned size, unsigned base, int64_t disp);
unsigned lift_stack_width(const struct lift *l);
/* `reg` = `base` + `bytes` with the width of the stack pointer. */
void lift_stack_move(struct lift *l, unsigned reg, unsigned base, int64_t bytes);

/* Value of a register or immediate operand; memory operands are V_M. *imm for V_IMM. */
unsigned lift_operand(const struct insn *insn, unsigned n, int64_t *imm);

/* Sets the flags fields. */
static inline void lift_flags(struct ir *ir, unsigned reads, unsigned writes, unsigned kills)
{
    ir->reads = (uint16_t)reads;
    ir->writes = (uint16_t)writes;
    ir->kills = (uint16_t)kills;
}

static inline void lift_sets_all(struct ir *ir)
{
    lift_flags(ir, 0, FLAG_ARITH, FLAG_ARITH);
}

#endif
