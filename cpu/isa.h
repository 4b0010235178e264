/*
 * The instruction set as data: isa.def made accessible. Mnemonics (enum op), features (enum
 * cpu_feature), rows, and the declarations of all semantic functions.
 */
#ifndef DOPPEL_CPU_ISA_H
#define DOPPEL_CPU_ISA_H

#include "cpu/insn.h"

enum op {
#define OP(name) OP_##name,
#include "cpu/isa_ops.def"
#undef OP
    OP_COUNT
};

/* exec_ADD and so on, each defined in the file that its section of isa.def names. */
#define OP(name) extern const struct exec exec_##name;
#include "cpu/isa_ops.def"
#undef OP

/* Bit numbers in cpu->features[]. */
enum cpu_feature {
#define FEATURE(name, leaf, subleaf, reg, bit) FEATURE_##name,
#include "cpu/features.def"
#undef FEATURE
    FEATURE_COUNT,
    FEATURE_BASE = 255, /* in every processor; never tested */
};

static inline bool feature_test(const uint64_t features[4], enum cpu_feature feature)
{
    return features[feature / 64] >> (feature % 64) & 1;
}

static inline void feature_set(uint64_t features[4], enum cpu_feature feature, bool value)
{
    uint64_t bit = 1ull << (feature % 64);
    if (value)
        features[feature / 64] |= bit;
    else
        features[feature / 64] &= ~bit;
}

enum isa_attribute {
    ISA_LOCK = 1 << 0,
    ISA_PRIV = 1 << 1,
    ISA_IOPL = 1 << 2,
    ISA_IO = 1 << 3,
    ISA_UMIP = 1 << 4,
    ISA_PROT = 1 << 5,
    ISA_I64 = 1 << 6,
    ISA_O64 = 1 << 7,
    ISA_D64 = 1 << 8,
    ISA_F64 = 1 << 9,
    ISA_END = 1 << 10,
    ISA_REP = 1 << 11,
    ISA_REPZ = 1 << 12,
    ISA_ANYMOD = 1 << 13,
    ISA_UNALIGNED = 1 << 14,
    ISA_AVX2Y = 1 << 15,
    ISA_VSIB = 1 << 16,
};

/* Opcode maps. */
enum isa_map {
    MAP_PRIMARY,
    MAP_0F,
    MAP_0F38,
    MAP_0F3A,
    MAP_VEX_0F,
    MAP_VEX_0F38,
    MAP_VEX_0F3A,
    MAP_COUNT
};

/* Which mandatory prefixes a row accepts: one bit for each prefix state. */
enum isa_prefix { ISA_PREFIX_NONE, ISA_PREFIX_66, ISA_PREFIX_F3, ISA_PREFIX_F2, ISA_PREFIX_COUNT };

/* One operand letter pair, e.g. "Ev": where it comes from and how wide it is. */
struct isa_operand {
    uint8_t letter;    /* 'E', 'G', ...; 'r' fixed register, '1' the constant, 0 none */
    uint8_t width;     /* enum isa_width of the register form (or of both) */
    uint8_t mem_width; /* of the memory form */
    uint8_t reg;       /* of a fixed register; its enum operand_kind in `fixed` */
    uint8_t fixed;
    bool sign_extended; /* Ibs */
};

enum isa_width {
    W_NONE,
    W_B,
    W_W,
    W_D,
    W_Q,
    W_DQ,
    W_QQ,
    W_T,
    W_V,
    W_Z,
    W_Y,
    W_P,
    W_S,
    W_A,
    W_X, /* 16 or 32 by VEX.L, and half, a quarter, an eighth of that */
    W_X2,
    W_X4,
    W_X8,
};

/* What a row asks of VEX.L and VEX.W. */
enum isa_vex_bit { VEX_0, VEX_1, VEX_IGNORED, VEX_BOTH };

/* One row of isa.def: its text, and what start-up made of it. */
struct isa_row {
    const char *encoding, *operands, *flags, *attributes_text;
    uint16_t op;
    uint8_t feature;                                     /* enum cpu_feature */
    uint32_t attributes;                                 /* enum isa_attribute */
    uint32_t flags_read, flags_written, flags_undefined; /* enum eflags_bit */
    uint8_t map, opcode;
    uint8_t opcode_span;  /* 8 for +r, 16 for +cc, else 1 */
    uint8_t prefixes;     /* bit set by enum isa_prefix */
    bool mandatory;       /* 66, F3 or F2 is part of the opcode */
    bool rex_w, no_rex_b; /* REX.W must be set; REX.B must be clear */
    bool vex, has_vvvv;   /* VEX-encoded; VEX.vvvv names an operand */
    uint8_t vex_l, vex_w; /* enum isa_vex_bit; L both: 128 and 256 bits */
    bool has_modrm;
    uint8_t modrm_mask, modrm; /* bits of ModRM that are given; memory forms: mod is not compared */
    bool reg_form, mem_form;   /* mod == 3 allowed, mod != 3 allowed */
    uint8_t noperands;
    struct isa_operand operand[INSN_MAX_OPERANDS];
    uint8_t width; /* enum isa_width that makes insn->opsize */
};

extern const struct isa_row *const isa_rows; /* row 0 is #UD, row 1 "too long" */
extern const unsigned isa_row_count;
extern const char *const isa_op_names[OP_COUNT]; /* "ADD" */

/* Flags that condition code `cond` (0-15) reads. */
uint32_t isa_cond_flags(unsigned cond);

/* Flags (enum eflags_bit) that an instruction writes whatever its operands are: shifts by 0 and
 * repeated strings of length 0 write none. For comparisons of engines. */
uint32_t insn_flags_certainly_written(const struct insn *insn);

#endif
