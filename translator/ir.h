/*
 * The intermediate representation: a flat array of fixed-size records for one superblock.
 *
 * It is close to the guest: values are the guest's registers, one memory operand, constants and two
 * temporaries, so that a host of the same kind gets one instruction for one. What it makes explicit
 * is what a translator decides about: memory checks, flags, exits.
 *
 * Slow paths are not in the IR. An operation that can fail (a memory check that misses, a division
 * that would fault) comes before any change of state by its instruction, so its slow path is always
 * the same: let the interpreter's function execute the whole instruction, then go on after it
 * (requirement R2 in translator.h).
 */
#ifndef DOPPEL_TRANSLATOR_IR_H
#define DOPPEL_TRANSLATOR_IR_H

#include "cpu/isa.h"
#include "cpu/state.h"

enum ir_op {
#define IR(name, arguments) IR_##name,
#include "translator/ir.def"
#undef IR
    IR_COUNT
};

/* Values. 0-15 are the guest's general registers. */
enum ir_value {
    V_ZERO = REG_ZERO, /* no base, no index */
    V_T0 = 18,         /* temporary that lives until the next MEM, EXEC or exit */
    V_T1,              /* temporary that lives until the end of its guest instruction */
    V_M,               /* the memory operand that the last MEM operation checked */
    V_IMM,             /* the constant `imm` */
    V_HIGH = 24,       /* 24-27: AH CH DH BH */
    V_CARRY = 28, /* hosts: kept for flags: what a shift changed, the memory operand of a loop's
                   * last comparison */
    V_XMM = 32,   /* 32-47 */
    V_NONE = 63,
};

/* VECTOR: registers used (aux). MMX registers are part of the x87 state. */
enum ir_vector_use { IR_VECTOR_MMX = 1, IR_VECTOR_NO_XMM = 2, IR_VECTOR_YMM = 4 };

/* INDIRECT (aux) */
enum ir_indirect {
    IR_INDIRECT_JUMP,
    IR_INDIRECT_RETURN, /* the stack pointer has moved by imm */
    IR_INDIRECT_FOUND   /* what FIND has found */
};

struct ir {
    uint8_t op;   /* enum ir_op */
    uint8_t size; /* bytes */
    uint8_t d, a, b;
    uint8_t cond;           /* condition code */
    uint8_t aux;            /* see ir.def */
    uint8_t seg;            /* MEM: segment whose base is added; SEG_COUNT: none */
    bool lock : 1;          /* atomic */
    bool checked : 1;       /* MEM: segment limit and rights must be checked at run time */
    bool aligned : 1;       /* MEM: misalignment takes the slow path */
    bool bit_offset : 1;    /* MEM: value d selects a bit relative to the address (BT m, r) */
    bool share_check : 1;   /* MEM: checks the range of its group and fills the slot */
    bool share_write : 1;   /* ... for writing, though it reads */
    bool share_aligned : 1; /* the range must start aligned to 16 bytes */
    bool share_alone : 1;   /* nothing else relies on the check: its slow path may go on */
    bool share_start : 1;   /* the slot has the host address of the range, else the distance */
    bool share_again : 1;   /* the loop's slot has been filled before in the same iteration */
    bool window : 1;        /* MEM: the host's MMU translates it (opt_window.c)... */
    bool window_check : 1;  /* ... after a check that its granule is open */
    bool invariant : 1;     /* all iterations of the loop access the same address */
    bool floats : 1;        /* MEM, LEA, CALL: `imm` moves with the code: the shift is added */
    uint8_t share;          /* MEM: slot of the shared check that covers it, +1; 0 none; behind the
                             * SHARES ordinary ones come those of loops */
    int16_t share_low;      /* start of the range relative to this access */
    uint16_t share_span;    /* bytes of the range */
    uint16_t insn;          /* index of the guest instruction */
    /* Flags (enum eflags_bit): what the operation reads, may write, certainly writes. */
    uint16_t reads, writes, kills;
    /* Filled by opt_flags(): flags that are read later before being written; and the same when
     * every point where the guest can observe a fault or an event counts as a reader. */
    uint16_t live, strict;
    int64_t imm;
};

struct ir_list {
    struct ir *at;
    unsigned count, capacity;
    uint16_t entry_strict; /* flags that the block wants from its predecessors */
    bool passes;           /* they may come as a recipe, unless it needs a register of... */
    uint16_t changed; /* ... those changed before something shows the flags for the last time */
    bool loop;        /* the last branch or jump leads to the start (opt_loop) */
};

/* Can the guest observe the complete state at this operation (fault, event, exit)? */
static inline bool ir_observable(const struct ir *ir)
{
    switch (ir->op) {
    case IR_MEM_READ:
    case IR_MEM_WRITE:
    case IR_MEM_MODIFY:
        return !ir->share || ir->share_check; /* what a shared check has passed cannot fail */
    case IR_DIVIDE:
    case IR_DIVIDE_SIGNED:
    case IR_GATHER:
        return true;
    default:
        return ir->op >= IR_EVENT;
    }
}

static inline bool ir_is_memory(const struct ir *ir)
{
    return ir->op == IR_MEM_READ || ir->op == IR_MEM_WRITE || ir->op == IR_MEM_MODIFY;
}

/* Room for `more` operations behind the others. */
void ir_reserve(struct ir_list *list, unsigned more);

/* Guest general registers that the operation writes, as a bit set. */
uint32_t ir_written(const struct ir *ir);

/* One line of text for --log ir. */
void ir_print(const struct ir *ir, char *text, size_t size);

#endif
