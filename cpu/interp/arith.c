/*
 * Addition, subtraction and comparison, the atomic exchanges among them: SDM volume 2, each
 * instruction's "Operation" and "Flags Affected".
 */
#include "cpu/interp/operand.h"

/* -- Operations -- */

INLINE uint64_t op_add(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    uint64_t result = a + b;
    *eflags = flags_merge(*eflags, FLAG_ARITH, flags_add(a, b, result, size));
    return result;
}

INLINE uint64_t op_adc(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    uint64_t result = a + b + (*eflags & FLAG_CF);
    *eflags = flags_merge(*eflags, FLAG_ARITH, flags_add(a, b, result, size));
    return result;
}

INLINE uint64_t op_sub(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    uint64_t result = a - b;
    *eflags = flags_merge(*eflags, FLAG_ARITH, flags_sub(a, b, result, size));
    return result;
}

INLINE uint64_t op_sbb(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    uint64_t result = a - b - (*eflags & FLAG_CF);
    *eflags = flags_merge(*eflags, FLAG_ARITH, flags_sub(a, b, result, size));
    return result;
}

/* INC and DEC leave CF. */
INLINE uint64_t op_inc(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    uint64_t result = a + 1;
    *eflags = flags_merge(*eflags, FLAG_ARITH & ~FLAG_CF,
                          flags_add(a, 1, result, size) & ~(uint32_t)FLAG_CF);
    return result;
}

INLINE uint64_t op_dec(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    uint64_t result = a - 1;
    *eflags = flags_merge(*eflags, FLAG_ARITH & ~FLAG_CF,
                          flags_sub(a, 1, result, size) & ~(uint32_t)FLAG_CF);
    return result;
}

INLINE uint64_t op_neg(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    return op_sub(0, a, size, eflags);
}

EXEC_WIDTHS(ADD, binary, op_add)
EXEC_WIDTHS(ADC, binary, op_adc)
EXEC_WIDTHS(SUB, binary, op_sub)
EXEC_WIDTHS(SBB, binary, op_sbb)
EXEC_WIDTHS(CMP, compare, op_sub)
EXEC_WIDTHS(INC, unary, op_inc)
EXEC_WIDTHS(DEC, unary, op_dec)
EXEC_WIDTHS(NEG, unary, op_neg)

/* -- Exchanges -- */

INLINE void xadd(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    const struct operand *source = &insn->operand[1];
    uint64_t b = reg_read(cpu, source, size);
    uint32_t eflags = cpu->eflags;
    uint64_t old;

    if (mem) {
        gva_t gva = insn_linear(cpu, insn, size, ACCESS_WRITE);
        old = mem_rmw(cpu, gva, size);
        if (!(insn->prefixes & PREFIX_LOCK)) {
            mem_write(cpu, gva, op_add(old, b, size, &eflags), size);
        } else {
            while (!mem_compare_exchange(cpu, gva, &old, op_add(old, b, size, &eflags), size))
                eflags = cpu->eflags;
        }
        reg_write(cpu, source, size, old);
    } else {
        old = reg_read(cpu, &insn->operand[0], size);
        reg_write(cpu, source, size, old);
        /* Last, so that XADD of a register with itself leaves the sum. */
        reg_write(cpu, &insn->operand[0], size, op_add(old, b, size, &eflags));
    }
    cpu->eflags = eflags;
}

/*
 * The destination in memory is written in either case. A register that is not equal is left alone:
 * not even its upper half is cleared (nor that of EAX if equal).
 */
INLINE void cmpxchg(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t accumulator = gpr_read(cpu, RAX, size);
    uint64_t source = reg_read(cpu, &insn->operand[1], size);
    uint64_t old;

    if (mem) {
        gva_t gva = insn_linear(cpu, insn, size, ACCESS_WRITE);
        old = mem_rmw(cpu, gva, size);
        if (!(insn->prefixes & PREFIX_LOCK)) {
            mem_write(cpu, gva, old == accumulator ? source : old, size);
        } else {
            uint64_t value;
            do
                value = old == accumulator ? source : old;
            while (!mem_compare_exchange(cpu, gva, &old, value, size));
        }
    } else {
        old = reg_read(cpu, &insn->operand[0], size);
        if (old == accumulator)
            reg_write(cpu, &insn->operand[0], size, source);
    }
    if (old != accumulator)
        gpr_write(cpu, RAX, size, old);
    op_sub(accumulator, old, size, &cpu->eflags);
}

EXEC_WIDTHS(XADD, xadd)
EXEC_WIDTHS(CMPXCHG, cmpxchg)

static void set_zf(struct cpu *cpu, bool equal)
{
    cpu->eflags = flags_merge(cpu->eflags, FLAG_ZF, equal ? FLAG_ZF : 0);
}

static void cmpxchg8b(struct cpu *cpu, const struct insn *insn)
{
    gva_t gva = insn_linear(cpu, insn, 8, ACCESS_WRITE);
    uint64_t compare_with = cpu->gpr[RDX] << 32 | (uint32_t)cpu->gpr[RAX];
    uint64_t source = cpu->gpr[RCX] << 32 | (uint32_t)cpu->gpr[RBX];
    uint64_t old = mem_rmw(cpu, gva, 8);

    if (!(insn->prefixes & PREFIX_LOCK)) {
        mem_write(cpu, gva, old == compare_with ? source : old, 8);
    } else {
        uint64_t value;
        do
            value = old == compare_with ? source : old;
        while (!mem_compare_exchange(cpu, gva, &old, value, 8));
    }
    if (old != compare_with) {
        cpu->gpr[RAX] = (uint32_t)old;
        cpu->gpr[RDX] = old >> 32;
    }
    set_zf(cpu, old == compare_with);
}

static void cmpxchg16b(struct cpu *cpu, const struct insn *insn)
{
    gva_t gva = insn_linear(cpu, insn, 16, ACCESS_WRITE);
    const uint64_t source[2] = {cpu->gpr[RBX], cpu->gpr[RCX]};
    uint64_t old[2], value[2];
    bool equal;

    if (gva & 15)
        cpu_raise_gp(cpu, 0);
    /* Aligned, so both halves lie in one page and have the same rights. */
    old[0] = mem_rmw(cpu, gva, 8);
    old[1] = mem_rmw(cpu, gva + 8, 8);
    do {
        equal = old[0] == cpu->gpr[RAX] && old[1] == cpu->gpr[RDX];
        value[0] = equal ? source[0] : old[0];
        value[1] = equal ? source[1] : old[1];
    } while (!mem_compare_exchange_128(cpu, gva, old, value));
    if (!equal) {
        cpu->gpr[RAX] = old[0];
        cpu->gpr[RDX] = old[1];
    }
    set_zf(cpu, equal);
}

EXEC_ONE(CMPXCHG8B, cmpxchg8b)
EXEC_ONE(CMPXCHG16B, cmpxchg16b)
