/*
 * String comparison of SSE4.2: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM.
 * Intel SDM volume 2B, section 4.1 "IMM8 control byte operation".
 */
#include "cpu/interp/simd.h"

enum control {
    WORDS = 1 << 0,
    SIGNED = 1 << 1,
    AGGREGATION_SHIFT = 2, /* two bits: enum aggregation */
    NEGATE = 1 << 4,
    MASKED = 1 << 5,      /* negation only of valid elements */
    OUTPUT_HIGH = 1 << 6, /* index: most significant; mask: whole elements */
};

enum aggregation { EQUAL_ANY, RANGES, EQUAL_EACH, EQUAL_ORDERED };

static int32_t element(const union xmm *value, unsigned i, unsigned control)
{
    switch (control & (WORDS | SIGNED)) {
    case 0:
        return value->u8[i];
    case WORDS:
        return value->u16[i];
    case SIGNED:
        return value->s8[i];
    default:
        return value->s16[i];
    }
}

/* Elements before the first zero. */
static unsigned implicit_length(const union xmm *value, unsigned control)
{
    unsigned elements = control & WORDS ? 8 : 16, n = 0;
    while (n < elements && element(value, n, control))
        n++;
    return n;
}

/* Magnitude of a register, at most the number of elements. */
static unsigned explicit_length(const struct cpu *cpu, const struct insn *insn, unsigned reg)
{
    unsigned elements = insn->imm & WORDS ? 8 : 16;
    bool wide = insn->prefixes & PREFIX_REX_W;
    int64_t value = wide ? (int64_t)cpu->gpr[reg] : (int32_t)cpu->gpr[reg];
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    return magnitude < elements ? (unsigned)magnitude : elements;
}

static bool matches_any(const union xmm *a, unsigned length, int32_t value, unsigned control)
{
    for (unsigned i = 0; i < length; i++)
        if (element(a, i, control) == value)
            return true;
    return false;
}

static bool matches_range(const union xmm *a, unsigned length, int32_t value, unsigned control)
{
    for (unsigned i = 0; i + 1 < length; i += 2)
        if (element(a, i, control) <= value && value <= element(a, i + 1, control))
            return true;
    return false;
}

/* Does the string a begin at element `at` of b? What would lie beyond the register matches. */
static bool matches_at(const union xmm *a, unsigned length_a, const union xmm *b, unsigned length_b,
                       unsigned at, unsigned control)
{
    unsigned elements = control & WORDS ? 8 : 16;
    for (unsigned i = 0; i < length_a && at + i < elements; i++)
        if (at + i >= length_b || element(a, i, control) != element(b, at + i, control))
            return false;
    return true;
}

/* One bit for each element of b, polarity applied. */
static unsigned compare_strings(const union xmm *a, unsigned length_a, const union xmm *b,
                                unsigned length_b, unsigned control)
{
    unsigned elements = control & WORDS ? 8 : 16, result = 0;
    for (unsigned j = 0; j < elements; j++) {
        bool valid_a = j < length_a, valid_b = j < length_b, match = false;
        switch (control >> AGGREGATION_SHIFT & 3) {
        case EQUAL_ANY:
            match = valid_b && matches_any(a, length_a, element(b, j, control), control);
            break;
        case RANGES:
            match = valid_b && matches_range(a, length_a, element(b, j, control), control);
            break;
        case EQUAL_EACH:
            match = valid_a && valid_b ? element(a, j, control) == element(b, j, control)
                                       : valid_a == valid_b;
            break;
        case EQUAL_ORDERED:
            match = matches_at(a, length_a, b, length_b, j, control);
            break;
        }
        if ((control & NEGATE) && (valid_b || !(control & MASKED)))
            match = !match;
        result |= (unsigned)match << j;
    }
    return result;
}

static void write_index(struct cpu *cpu, const struct insn *insn, unsigned result)
{
    unsigned index = insn->imm & WORDS ? 8 : 16;
    if (result)
        index = insn->imm & OUTPUT_HIGH ? 31 - (unsigned)__builtin_clz(result)
                                        : (unsigned)__builtin_ctz(result);
    cpu->gpr[RCX] = index;
}

INLINE void write_mask(struct cpu *cpu, const struct insn *insn, unsigned result,
                       enum vector_form form)
{
    union xmm mask = {.u64 = {result, 0}};
    if (insn->imm & OUTPUT_HIGH) {
        unsigned shift = insn->imm & WORDS ? 1 : 0;
        for (unsigned i = 0; i < 16; i++)
            mask.u8[i] = result >> (i >> shift) & 1 ? 0xff : 0;
    }
    vector_set_xmm(cpu, 0, mask, form);
}

INLINE void pcmpstr(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                    bool explicit_lengths, bool index)
{
    vector_begin(cpu, form);
    unsigned control = (unsigned)insn->imm, elements = control & WORDS ? 8 : 16;
    union xmm b = xmm_operand(cpu, insn, 1, mem, VEX128); /* SSE's need not be aligned either */
    union xmm a = xmm_get(cpu, insn->operand[0].reg);
    unsigned length_a, length_b;
    if (explicit_lengths) {
        length_a = explicit_length(cpu, insn, RAX);
        length_b = explicit_length(cpu, insn, RDX);
    } else {
        length_a = implicit_length(&a, control);
        length_b = implicit_length(&b, control);
    }
    unsigned result = compare_strings(&a, length_a, &b, length_b, control);
    if (index)
        write_index(cpu, insn, result);
    else
        write_mask(cpu, insn, result, form);
    cpu->eflags = flags_merge(cpu->eflags, FLAG_ARITH,
                              (result ? FLAG_CF : 0) | (length_b < elements ? FLAG_ZF : 0) |
                                  (length_a < elements ? FLAG_SF : 0) | (result & 1 ? FLAG_OF : 0));
}

EXEC_VECTOR128(PCMPESTRI, pcmpstr, true, true)
EXEC_VECTOR128(PCMPESTRM, pcmpstr, true, false)
EXEC_VECTOR128(PCMPISTRI, pcmpstr, false, true)
EXEC_VECTOR128(PCMPISTRM, pcmpstr, false, false)
