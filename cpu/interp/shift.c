/*
 * Shifts and rotates. The count is taken modulo 32 (64 for 64-bit operands); a count of 0 after
 * that changes no flag. Flags that the manual leaves undefined for some counts are what current
 * AMD processors give: AF set by shifts, OF by the formula of the one-bit shift.
 */
#include "cpu/interp/operand.h"

INLINE unsigned count_mask(unsigned size)
{
    return size == 8 ? 63 : 31;
}

/* -- Shifts -- */

INLINE uint64_t shift_flags(uint64_t result, unsigned size, bool carry, bool overflow,
                            uint32_t *eflags)
{
    *eflags = flags_merge(*eflags, FLAG_ARITH,
                          flags_result(result, size) | FLAG_AF | (carry ? FLAG_CF : 0) |
                              (overflow ? FLAG_OF : 0));
    return result;
}

INLINE uint64_t op_shl(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    unsigned count = b & count_mask(size);

    if (count == 0)
        return a;
    uint64_t shifted = a << (count - 1);
    bool carry = sign_bit(shifted, size);
    uint64_t result = shifted << 1;
    return shift_flags(result, size, carry, carry ^ sign_bit(result, size), eflags);
}

INLINE uint64_t op_shr(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    unsigned count = b & count_mask(size);

    if (count == 0)
        return a;
    uint64_t shifted = a >> (count - 1);
    uint64_t result = shifted >> 1;
    return shift_flags(result, size, shifted & 1, sign_bit(result ^ result << 1, size), eflags);
}

INLINE uint64_t op_sar(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    unsigned count = b & count_mask(size);

    if (count == 0)
        return a;
    int64_t shifted = sign_extend(a, size) >> (count - 1);
    return shift_flags((uint64_t)(shifted >> 1), size, shifted & 1, false, eflags);
}

EXEC_WIDTHS(SHL, binary, op_shl)
EXEC_WIDTHS(SHR, binary, op_shr)
EXEC_WIDTHS(SAR, binary, op_sar)

/* -- Rotates: only CF and OF -- */

INLINE void rotate_flags(bool carry, bool overflow, uint32_t *eflags)
{
    *eflags =
        flags_merge(*eflags, FLAG_CF | FLAG_OF, (carry ? FLAG_CF : 0) | (overflow ? FLAG_OF : 0));
}

/* A byte or word rotated by a multiple of its width keeps its value, but CF is set from it. */
INLINE uint64_t op_rol(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    unsigned bits = size * 8;
    unsigned count = b & count_mask(size);

    if (count == 0)
        return a;
    count &= bits - 1;
    uint64_t result = a << count | a >> ((bits - count) & (bits - 1));
    rotate_flags(result & 1, (result & 1) ^ sign_bit(result, size), eflags);
    return result;
}

INLINE uint64_t op_ror(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    unsigned bits = size * 8;
    unsigned count = b & count_mask(size);

    if (count == 0)
        return a;
    count &= bits - 1;
    uint64_t result = a >> count | a << ((bits - count) & (bits - 1));
    rotate_flags(sign_bit(result, size), sign_bit(result ^ result << 1, size), eflags);
    return result;
}

/* Rotates through CF turn a number of bits + 1 bits: the count is taken modulo 9 and 17. */
INLINE unsigned carry_rotate_count(uint64_t b, unsigned size)
{
    unsigned count = b & count_mask(size);
    return size <= 2 ? count % (size * 8 + 1) : count;
}

INLINE uint64_t op_rcl(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    unsigned bits = size * 8;
    unsigned count = carry_rotate_count(b, size);

    if (count == 0)
        return a;
    uint64_t carry_in = *eflags & FLAG_CF;
    uint64_t low = count == 1 ? 0 : a >> (bits + 1 - count);
    uint64_t result = a << count | carry_in << (count - 1) | low;
    bool carry = (a >> (bits - count)) & 1;
    rotate_flags(carry, carry ^ sign_bit(result, size), eflags);
    return result;
}

INLINE uint64_t op_rcr(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    unsigned bits = size * 8;
    unsigned count = carry_rotate_count(b, size);

    if (count == 0)
        return a;
    uint64_t carry_in = *eflags & FLAG_CF;
    uint64_t high = count == 1 ? 0 : a << (bits + 1 - count);
    uint64_t result = high | carry_in << (bits - count) | a >> count;
    rotate_flags((a >> (count - 1)) & 1, sign_bit(result ^ result << 1, size), eflags);
    return result;
}

EXEC_WIDTHS(ROL, binary, op_rol)
EXEC_WIDTHS(ROR, binary, op_ror)
EXEC_WIDTHS(RCL, binary, op_rcl)
EXEC_WIDTHS(RCR, binary, op_rcr)

/* -- Double shifts -- */

/*
 * The operand pair as one number of twice the width, shifted. A word shifted by more than 16 is
 * undefined; the register then follows itself, as in current processors, and CF is 0.
 */
INLINE uint64_t shld_value(uint64_t a, uint64_t filler, unsigned count, unsigned size, bool *carry)
{
    unsigned bits = size * 8;

    if (bits == 16) {
        uint64_t wide = a << 32 | filler << 16 | filler;
        *carry = count <= 16 && (wide >> (48 - count) & 1);
        return wide << count >> 32;
    }
    *carry = a >> (bits - count) & 1;
    return a << count | filler >> (bits - count);
}

INLINE uint64_t shrd_value(uint64_t a, uint64_t filler, unsigned count, unsigned size, bool *carry)
{
    unsigned bits = size * 8;

    if (bits == 16) {
        uint64_t wide = a | filler << 16 | filler << 32;
        *carry = count <= 16 && (wide >> (count - 1) & 1);
        return wide >> count;
    }
    *carry = a >> (count - 1) & 1;
    return a >> count | filler << (bits - count);
}

INLINE void double_shift(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem,
                         bool left)
{
    unsigned count = source_read(cpu, insn, 2, 1) & count_mask(size);
    uint64_t filler = reg_read(cpu, &insn->operand[1], size);
    gva_t gva = mem ? insn_linear(cpu, insn, size, ACCESS_WRITE) : 0;
    uint64_t a = mem ? mem_rmw(cpu, gva, size) : reg_read(cpu, &insn->operand[0], size);
    uint64_t result = a;

    if (count != 0) {
        bool carry, overflow;
        if (left) {
            result = shld_value(a, filler, count, size, &carry);
            overflow = carry ^ sign_bit(result, size);
        } else {
            result = shrd_value(a, filler, count, size, &carry);
            overflow = sign_bit(result ^ result << 1, size);
        }
        shift_flags(result, size, carry, overflow, &cpu->eflags);
    }
    if (mem)
        mem_write(cpu, gva, result, size);
    else
        reg_write(cpu, &insn->operand[0], size, result);
}

/* There is no byte form; its slot holds the word's. */
#define EXEC_DOUBLE_SHIFT(MNEMONIC, left)                                                          \
    EXEC_INSTANCE_(MNEMONIC##_r16, double_shift, 2, false, left)                                   \
    EXEC_INSTANCE_(MNEMONIC##_r32, double_shift, 4, false, left)                                   \
    EXEC_INSTANCE_(MNEMONIC##_r64, double_shift, 8, false, left)                                   \
    EXEC_INSTANCE_(MNEMONIC##_m16, double_shift, 2, true, left)                                    \
    EXEC_INSTANCE_(MNEMONIC##_m32, double_shift, 4, true, left)                                    \
    EXEC_INSTANCE_(MNEMONIC##_m64, double_shift, 8, true, left)                                    \
    const struct exec exec_##MNEMONIC = {                                                          \
        {MNEMONIC##_r16, MNEMONIC##_r16, MNEMONIC##_r32, MNEMONIC##_r64},                          \
        {MNEMONIC##_m16, MNEMONIC##_m16, MNEMONIC##_m32, MNEMONIC##_m64}};

EXEC_DOUBLE_SHIFT(SHLD, true)
EXEC_DOUBLE_SHIFT(SHRD, false)
