/* Decimal adjustments, outside 64-bit mode only: SDM volume 2, each "Operation". */
#include "cpu/interp/operand.h"

INLINE uint8_t al(const struct cpu *cpu)
{
    return (uint8_t)cpu->gpr[RAX];
}

/* SZP by AL, with the given CF and AF; OF (undefined) becomes 0. */
static void set_al(struct cpu *cpu, uint8_t value, uint32_t cf_af)
{
    gpr_write(cpu, RAX, 1, value);
    cpu->eflags = flags_merge(cpu->eflags, FLAG_ARITH, flags_result(value, 1) | cf_af);
}

static void daa(struct cpu *cpu, const struct insn *insn)
{
    uint8_t old = al(cpu), value = old;
    uint32_t flags = 0;

    if ((old & 15) > 9 || (cpu->eflags & FLAG_AF)) {
        value += 6;
        flags |= FLAG_AF;
    }
    if (old > 0x99 || (cpu->eflags & FLAG_CF)) {
        value += 0x60;
        flags |= FLAG_CF;
    }
    set_al(cpu, value, flags);
}

static void das(struct cpu *cpu, const struct insn *insn)
{
    uint8_t old = al(cpu), value = old;
    uint32_t flags = 0;

    if ((old & 15) > 9 || (cpu->eflags & FLAG_AF)) {
        value -= 6;
        flags |= FLAG_AF;
        if (old < 6)
            flags |= FLAG_CF;
    }
    if (old > 0x99 || (cpu->eflags & FLAG_CF)) {
        value -= 0x60;
        flags |= FLAG_CF;
    }
    set_al(cpu, value, flags);
}

/* AAA and AAS add or subtract 0x106 to AX and keep the low nibble of AL. */
static void ascii_adjust(struct cpu *cpu, int adjustment)
{
    bool adjust = (al(cpu) & 15) > 9 || (cpu->eflags & FLAG_AF);
    uint16_t ax = (uint16_t)cpu->gpr[RAX];

    if (adjust)
        ax = (uint16_t)(ax + adjustment);
    gpr_write(cpu, RAX, 2, ax & 0xff0f);
    cpu->eflags = flags_merge(cpu->eflags, FLAG_ARITH,
                              flags_result(ax & 15, 1) | (adjust ? FLAG_AF | FLAG_CF : 0));
}

static void aaa(struct cpu *cpu, const struct insn *insn)
{
    ascii_adjust(cpu, 0x106);
}

static void aas(struct cpu *cpu, const struct insn *insn)
{
    ascii_adjust(cpu, -0x106);
}

static void aam(struct cpu *cpu, const struct insn *insn)
{
    uint8_t base = (uint8_t)insn->imm;

    if (base == 0)
        cpu_raise(cpu, EXC_DE, 0);
    uint8_t tens = al(cpu) / base;
    uint8_t units = al(cpu) % base;
    gpr_write(cpu, RAX, 2, (uint64_t)tens << 8);
    set_al(cpu, units, 0);
}

static void aad(struct cpu *cpu, const struct insn *insn)
{
    uint8_t ah = (uint8_t)(cpu->gpr[RAX] >> 8);
    uint8_t value = (uint8_t)(al(cpu) + ah * (uint8_t)insn->imm);

    gpr_write(cpu, RAX, 2, 0);
    set_al(cpu, value, 0);
}

/* AL = CF ? 0xff : 0; undocumented, but in every processor. */
static void salc(struct cpu *cpu, const struct insn *insn)
{
    gpr_write(cpu, RAX, 1, cpu->eflags & FLAG_CF ? 0xff : 0);
}

EXEC_ONE(DAA, daa)
EXEC_ONE(DAS, das)
EXEC_ONE(AAA, aaa)
EXEC_ONE(AAS, aas)
EXEC_ONE(AAM, aam)
EXEC_ONE(AAD, aad)
EXEC_ONE(SALC, salc)
