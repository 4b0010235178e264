/*
 * struct insn: one decoded instruction. The decoder makes it from rows of isa.def; the interpreter
 * executes it, the translator lifts it, the log prints it.
 *
 * Operands are in manual order (destination first). Implicit operands (AX of MUL, RSI/RDI of MOVS)
 * are not listed; the semantic function knows them.
 */
#ifndef DOPPEL_CPU_INSN_H
#define DOPPEL_CPU_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu;
struct insn;

typedef void insn_fn(struct cpu *cpu, const struct insn *insn);

enum operand_kind {
    OPERAND_NONE,
    OPERAND_GPR,      /* reg 0-15; size 1, 2, 4, 8 */
    OPERAND_GPR_HIGH, /* AH CH DH BH: reg is 0-3, the register whose bits 8-15 it is */
    OPERAND_MEM,      /* insn->seg/base/index/scale/disp; size is the access width (0 for LEA etc.) */
    OPERAND_IMM,      /* insn->imm, sign- or zero-extended as the instruction does, to 64 bits */
    OPERAND_REL,      /* insn->imm: signed distance from the next instruction */
    OPERAND_FAR,      /* ptr16:16/32: selector insn->imm2, offset insn->imm */
    OPERAND_SEG,      /* reg: enum segment_register */
    OPERAND_CR,
    OPERAND_DR,
    OPERAND_MMX,
    OPERAND_XMM, /* size 2, 4, 8, 16; 32 for YMM */
    OPERAND_ST,  /* reg: i of ST(i) */
};

struct operand {
    uint8_t kind; /* enum operand_kind */
    uint8_t reg;
    uint8_t size; /* bytes accessed; for wide memory images (FXSAVE, far pointers) see the row */
};

/* Slots of cpu->gpr[] that are no guest register. */
#define REG_ZERO 16 /* always 0: "no base", "no index" */
#define REG_IP 17  /* as base: address of the next instruction (64-bit mode) */

enum insn_prefix {
    PREFIX_LOCK = 1 << 0,
    PREFIX_REP = 1 << 1,   /* F3 that acts as REP/REPE (not a mandatory prefix) */
    PREFIX_REPNE = 1 << 2, /* F2 likewise */
    PREFIX_SEG = 1 << 3,   /* segment override present and honoured; insn->seg has it */
    PREFIX_OPSIZE = 1 << 4,
    PREFIX_ADDRSIZE = 1 << 5,
    PREFIX_REX = 1 << 6,
    PREFIX_REX_W = 1 << 7,
};

#define INSN_MAX_OPERANDS 4
#define INSN_MAX_LENGTH 15

struct insn {
    insn_fn *exec; /* semantic function for this width and form; never NULL after decode() */
    uint64_t imm;
    int64_t disp;
    uint16_t row;      /* index of the isa.def row */
    uint16_t op;       /* enum op: the row's mnemonic */
    uint16_t imm2;     /* second immediate: ENTER level, selector of a far pointer */
    uint8_t length;    /* bytes, 1-15 */
    uint8_t opsize;    /* operand size attribute in bytes: 1 for byte forms, else 2, 4, 8;
                          16 or 32, the vector's length, for vectors encoded with VEX */
    uint8_t addrsize;  /* 2, 4, 8 */
    uint8_t prefixes;  /* enum insn_prefix */
    uint8_t seg;       /* segment of the memory operand after defaults and override */
    uint8_t base, index; /* gpr slots; REG_ZERO when absent, REG_IP as base; of gathers (ISA_VSIB)
                            index is the number of a vector register */
    uint8_t scale;     /* shift count 0-3 */
    uint8_t cond;      /* condition code 0-15 of Jcc, SETcc, CMOVcc */
    uint8_t modrm;     /* the ModRM byte if there is one (FP logging, mod==3 tests) */
    uint8_t noperands;
    struct operand operand[INSN_MAX_OPERANDS];
};

/*
 * The semantic functions of one mnemonic, `exec_ADD` and so on: one per operand width (index log2 of
 * insn->opsize: 0 byte ... 3 quadword; VEX-encoded vectors: 0 128 bits, 1 256 bits) and per form (memory
 * operand or none). NULL in `mem` means that `reg` serves both. Mnemonics without width fill all four with
 * EXEC_ANY(fn).
 */
struct exec {
    insn_fn *reg[4];
    insn_fn *mem[4];
};
#define EXEC_ANY(fn) {{fn, fn, fn, fn}, {fn, fn, fn, fn}}

static inline bool insn_has_mem(const struct insn *insn)
{
    for (unsigned i = 0; i < insn->noperands; i++)
        if (insn->operand[i].kind == OPERAND_MEM)
            return true;
    return false;
}

#endif
