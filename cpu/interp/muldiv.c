/*
 * Multiplication and division. MUL and IMUL set CF and OF if the upper half of the product is
 * significant and leave the other flags, which are undefined; DIV and IDIV leave all of them.
 */
#include "cpu/interp/operand.h"

/* -- The double-width accumulator: AX, DX:AX, EDX:EAX, RDX:RAX -- */

INLINE void write_product(struct cpu *cpu, unsigned size, uint64_t low, uint64_t high)
{
    if (size == 1) {
        gpr_write(cpu, RAX, 2, (low & 0xff) | high << 8);
    } else {
        gpr_write(cpu, RAX, size, low);
        gpr_write(cpu, RDX, size, high);
    }
}

INLINE void set_cf_of(struct cpu *cpu, bool significant)
{
    cpu->eflags = flags_merge(cpu->eflags, FLAG_CF | FLAG_OF, significant ? FLAG_CF | FLAG_OF : 0);
}

INLINE void mul(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t a = gpr_read(cpu, RAX, size);
    uint64_t b = operand_read(cpu, insn, 0, size, mem);
    uint64_t low, high;

    if (size == 8) {
        unsigned __int128 product = (unsigned __int128)a * b;
        low = (uint64_t)product;
        high = (uint64_t)(product >> 64);
    } else {
        low = a * b;
        high = low >> (size * 8);
    }
    write_product(cpu, size, low, high);
    set_cf_of(cpu, high != 0);
}

/* Signed product; true if it does not fit into one width. */
INLINE bool signed_product(uint64_t a, uint64_t b, unsigned size, uint64_t *low, uint64_t *high)
{
    if (size == 8) {
        __int128 product = (__int128)(int64_t)a * (int64_t)b;
        *low = (uint64_t)product;
        *high = (uint64_t)(product >> 64);
        return product != (int64_t)product;
    }
    int64_t product = sign_extend(a, size) * sign_extend(b, size);
    *low = (uint64_t)product;
    *high = (uint64_t)product >> (size * 8);
    return product != sign_extend((uint64_t)product, size);
}

INLINE void imul_1(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t b = operand_read(cpu, insn, 0, size, mem);
    uint64_t low, high;
    bool significant = signed_product(gpr_read(cpu, RAX, size), b, size, &low, &high);

    write_product(cpu, size, low, high);
    set_cf_of(cpu, significant);
}

INLINE void imul_2(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t b = operand_read(cpu, insn, 1, size, mem);
    uint64_t low, high;
    bool significant = signed_product(reg_read(cpu, &insn->operand[0], size), b, size, &low, &high);

    reg_write(cpu, &insn->operand[0], size, low);
    set_cf_of(cpu, significant);
}

INLINE void imul_3(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t a = operand_read(cpu, insn, 1, size, mem);
    uint64_t low, high;
    bool significant = signed_product(a, insn->imm, size, &low, &high);

    reg_write(cpu, &insn->operand[0], size, low);
    set_cf_of(cpu, significant);
}

EXEC_WIDTHS(MUL, mul)
EXEC_WIDTHS(IMUL_1, imul_1)
EXEC_WIDTHS(IMUL_2, imul_2)
EXEC_WIDTHS(IMUL_3, imul_3)

/* -- Division: #DE for a divisor of 0 and for quotients that do not fit -- */

INLINE void write_quotient(struct cpu *cpu, unsigned size, uint64_t quotient, uint64_t remainder)
{
    if (size == 1)
        gpr_write(cpu, RAX, 2, (quotient & 0xff) | remainder << 8);
    else
        write_product(cpu, size, quotient, remainder);
}

INLINE void unsigned_divide(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t divisor = operand_read(cpu, insn, 0, size, mem);
    uint64_t low = gpr_read(cpu, RAX, size == 1 ? 2 : size);
    uint64_t high = size == 1 ? low >> 8 : gpr_read(cpu, RDX, size);

    /* The quotient fits exactly if the upper half is below the divisor. */
    if (high >= divisor)
        cpu_raise(cpu, EXC_DE, 0);
    if (size == 8) {
        unsigned __int128 dividend = (unsigned __int128)high << 64 | low;
        write_quotient(cpu, size, (uint64_t)(dividend / divisor), (uint64_t)(dividend % divisor));
    } else {
        uint64_t dividend = size == 1 ? low : high << (size * 8) | low;
        write_quotient(cpu, size, dividend / divisor, dividend % divisor);
    }
}

INLINE void signed_divide(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t operand = operand_read(cpu, insn, 0, size, mem);
    uint64_t low = gpr_read(cpu, RAX, size == 1 ? 2 : size);
    uint64_t high = size == 1 ? low >> 8 : gpr_read(cpu, RDX, size);
    int64_t divisor = sign_extend(operand, size);

    if (divisor == 0)
        cpu_raise(cpu, EXC_DE, 0);
    if (size == 8) {
        __int128 dividend = (__int128)((unsigned __int128)high << 64 | low);
        /* -2^127 / -1 overflows even here. */
        if (divisor == -1 && high == 1ull << 63 && low == 0)
            cpu_raise(cpu, EXC_DE, 0);
        __int128 quotient = dividend / divisor;
        if (quotient != (int64_t)quotient)
            cpu_raise(cpu, EXC_DE, 0);
        write_quotient(cpu, size, (uint64_t)quotient, (uint64_t)(dividend % divisor));
    } else {
        int64_t dividend =
            size == 1 ? (int16_t)low : sign_extend(high << (size * 8) | low, size * 2);
        if (divisor == -1 && dividend == INT64_MIN)
            cpu_raise(cpu, EXC_DE, 0);
        int64_t quotient = dividend / divisor;
        if (quotient != sign_extend((uint64_t)quotient, size))
            cpu_raise(cpu, EXC_DE, 0);
        write_quotient(cpu, size, (uint64_t)quotient, (uint64_t)(dividend % divisor));
    }
}

EXEC_WIDTHS(DIV, unsigned_divide)
EXEC_WIDTHS(IDIV, signed_divide)
