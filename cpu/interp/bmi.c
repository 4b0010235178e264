/*
 * Bit manipulation on general registers: BMI1, BMI2 and ADX. Intel SDM volume 1, section 5.1.16.
 *
 * Those of BMI2 that are named X, PDEP and PEXT leave the flags alone.
 */
#include "cpu/interp/operand.h"

/* SF and ZF of a result, CF as given, OF 0; AF and PF, undefined, become 0. */
INLINE void set_flags(struct cpu *cpu, uint64_t result, unsigned size, bool carry)
{
    uint32_t sign = result >> (size * 8 - 1) & 1 ? FLAG_SF : 0;
    cpu->eflags =
        flags_merge(cpu->eflags, FLAG_ARITH, sign | (result ? 0 : FLAG_ZF) | (carry ? FLAG_CF : 0));
}

/* -- Logic on the lowest bit -- */

INLINE void andn(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t b = operand_read(cpu, insn, 2, size, mem);
    uint64_t result = ~gpr_read(cpu, insn->operand[1].reg, size) & b;
    gpr_write(cpu, insn->operand[0].reg, size, result);
    set_flags(cpu, result, size, false);
}

INLINE void blsr(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);
    uint64_t result = source & (source - 1);
    gpr_write(cpu, insn->operand[0].reg, size, result);
    set_flags(cpu, result, size, source == 0);
}

INLINE void blsmsk(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);
    uint64_t result = zero_extend(source ^ (source - 1), size);
    gpr_write(cpu, insn->operand[0].reg, size, result);
    set_flags(cpu, result, size, source == 0);
}

INLINE void blsi(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);
    uint64_t result = source & (0 - source);
    gpr_write(cpu, insn->operand[0].reg, size, result);
    set_flags(cpu, result, size, source != 0);
}

EXEC_WIDTHS(ANDN, andn)
EXEC_WIDTHS(BLSR, blsr)
EXEC_WIDTHS(BLSMSK, blsmsk)
EXEC_WIDTHS(BLSI, blsi)

/* -- Fields -- */

INLINE uint64_t low_bits(unsigned count)
{
    return count < 64 ? (1ull << count) - 1 : UINT64_MAX;
}

/* Control: first bit in 7-0, number of bits in 15-8. */
INLINE void bextr(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);
    uint64_t control = cpu->gpr[insn->operand[2].reg];
    unsigned start = control & 0xff, count = control >> 8 & 0xff;
    uint64_t result = start < 64 ? source >> start & low_bits(count) : 0;
    gpr_write(cpu, insn->operand[0].reg, size, result);
    cpu->eflags = flags_merge(cpu->eflags, FLAG_ARITH, result ? 0 : FLAG_ZF);
}

INLINE void bzhi(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);
    unsigned count = (uint8_t)cpu->gpr[insn->operand[2].reg];
    uint64_t result = source & low_bits(count);
    gpr_write(cpu, insn->operand[0].reg, size, result);
    set_flags(cpu, result, size, count >= size * 8);
}

/* The low bits of operand 1 to where operand 2 has ones. */
INLINE void pdep(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t mask = operand_read(cpu, insn, 2, size, mem);
    uint64_t source = gpr_read(cpu, insn->operand[1].reg, size), result = 0;
    for (; mask; mask &= mask - 1, source >>= 1)
        result |= source & 1 ? mask & (0 - mask) : 0;
    gpr_write(cpu, insn->operand[0].reg, size, result);
}

/* The other way round. */
INLINE void pext(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t mask = operand_read(cpu, insn, 2, size, mem);
    uint64_t source = gpr_read(cpu, insn->operand[1].reg, size), result = 0;
    for (uint64_t bit = 1; mask; mask &= mask - 1, bit <<= 1)
        result |= source & mask & (0 - mask) ? bit : 0;
    gpr_write(cpu, insn->operand[0].reg, size, result);
}

EXEC_WIDTHS(BEXTR, bextr)
EXEC_WIDTHS(BZHI, bzhi)
EXEC_WIDTHS(PDEP, pdep)
EXEC_WIDTHS(PEXT, pext)

/* -- Multiplication, shifts and rotation without flags -- */

/* Operand 0 gets the upper half of rDX times operand 2, operand 1 the lower; the upper wins. */
INLINE void mulx(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t b = operand_read(cpu, insn, 2, size, mem);
    unsigned __int128 product = (unsigned __int128)gpr_read(cpu, RDX, size) * b;
    gpr_write(cpu, insn->operand[1].reg, size, (uint64_t)product);
    gpr_write(cpu, insn->operand[0].reg, size, (uint64_t)(product >> size * 8));
}

INLINE void shlx(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);
    unsigned count = cpu->gpr[insn->operand[2].reg] & (size * 8 - 1);
    gpr_write(cpu, insn->operand[0].reg, size, source << count);
}

INLINE void shrx(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);
    unsigned count = cpu->gpr[insn->operand[2].reg] & (size * 8 - 1);
    gpr_write(cpu, insn->operand[0].reg, size, source >> count);
}

INLINE void sarx(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    int64_t source = sign_extend(operand_read(cpu, insn, 1, size, mem), size);
    unsigned count = cpu->gpr[insn->operand[2].reg] & (size * 8 - 1);
    gpr_write(cpu, insn->operand[0].reg, size, (uint64_t)(source >> count));
}

INLINE void rorx(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);
    unsigned count = insn->imm & (size * 8 - 1);
    uint64_t result = count ? source >> count | source << (size * 8 - count) : source;
    gpr_write(cpu, insn->operand[0].reg, size, result);
}

EXEC_WIDTHS(MULX, mulx)
EXEC_WIDTHS(SHLX, shlx)
EXEC_WIDTHS(SHRX, shrx)
EXEC_WIDTHS(SARX, sarx)
EXEC_WIDTHS(RORX, rorx)

/* -- Additions with a carry chain each: CF and OF -- */

INLINE void add_chain(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem,
                      uint32_t flag)
{
    uint64_t b = operand_read(cpu, insn, 1, size, mem);
    unsigned __int128 sum = gpr_read(cpu, insn->operand[0].reg, size);
    sum += b;
    sum += (cpu->eflags & flag) != 0;
    gpr_write(cpu, insn->operand[0].reg, size, (uint64_t)sum);
    cpu->eflags = flags_merge(cpu->eflags, flag, sum >> size * 8 & 1 ? flag : 0);
}

EXEC_WIDTHS(ADCX, add_chain, FLAG_CF)
EXEC_WIDTHS(ADOX, add_chain, FLAG_OF)
