/*
 * The six arithmetic flags, computed eagerly and without branches from operands and result.
 *
 * `size` is the operand width in bytes and always a compile-time constant where these are inlined.
 * Values are zero-extended to 64 bits; the functions look only at the bits of their width.
 */
#ifndef DOPPEL_CPU_INTERP_FLAGS_H
#define DOPPEL_CPU_INTERP_FLAGS_H

#include "cpu/state.h"

#define INLINE static inline __attribute__((always_inline))

/* FLAG_PF or 0 by the low byte of a result. */
extern const uint8_t flags_parity[256];
/* Bit c: condition c (SDM appendix "EFLAGS condition codes") holds, by condition_index(). */
extern const uint16_t flags_condition[256];

INLINE uint64_t zero_extend(uint64_t value, unsigned size)
{
    return size == 8   ? value
           : size == 4 ? (uint32_t)value
           : size == 2 ? (uint16_t)value
                       : (uint8_t)value;
}

INLINE int64_t sign_extend(uint64_t value, unsigned size)
{
    return size == 8   ? (int64_t)value
           : size == 4 ? (int32_t)value
           : size == 2 ? (int16_t)value
                       : (int8_t)value;
}

INLINE unsigned sign_bit(uint64_t value, unsigned size)
{
    return (value >> (size * 8 - 1)) & 1;
}

/* SF, ZF and PF of a result. */
INLINE uint32_t flags_result(uint64_t result, unsigned size)
{
    return (sign_bit(result, size) ? FLAG_SF : 0) | (zero_extend(result, size) == 0 ? FLAG_ZF : 0) |
           flags_parity[(uint8_t)result];
}

/* Carries and overflow out of a vector of carries: bit i is the carry out of bit i. */
INLINE uint32_t flags_carries(uint64_t carries, unsigned size)
{
    unsigned top = size * 8 - 1;
    return ((carries >> top) & 1) * FLAG_CF | ((carries << 1) & FLAG_AF) |
           (((carries >> top) ^ (carries >> (top - 1))) & 1) * FLAG_OF;
}

/* Flags of result = a + b (+ carry). */
INLINE uint32_t flags_add(uint64_t a, uint64_t b, uint64_t result, unsigned size)
{
    return flags_result(result, size) | flags_carries((a & b) | ((a | b) & ~result), size);
}

/* Flags of result = a - b (- borrow). */
INLINE uint32_t flags_sub(uint64_t a, uint64_t b, uint64_t result, unsigned size)
{
    return flags_result(result, size) | flags_carries((~a & b) | ((~a | b) & result), size);
}

/* EFLAGS with the arithmetic flags of `mask` replaced. */
INLINE uint32_t flags_merge(uint32_t eflags, uint32_t mask, uint32_t flags)
{
    return (eflags & ~mask) | flags;
}

/* Gathers CF OF PF ZF SF into bits 0 1 2 6 7. */
INLINE unsigned condition_index(uint32_t eflags)
{
    return (eflags & (FLAG_CF | FLAG_PF | FLAG_ZF | FLAG_SF)) | ((eflags >> 10) & 2);
}

/* Does condition `cond` (low nibble of Jcc, SETcc, CMOVcc opcodes) hold? */
INLINE bool condition_holds(uint32_t eflags, unsigned cond)
{
    return (flags_condition[condition_index(eflags)] >> cond) & 1;
}

#endif
