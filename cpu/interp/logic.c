/* AND, OR, XOR, TEST, NOT. CF and OF become 0; AF is undefined, and cleared as processors do. */
#include "cpu/interp/operand.h"

INLINE uint64_t logic_result(uint64_t result, unsigned size, uint32_t *eflags)
{
    *eflags = flags_merge(*eflags, FLAG_ARITH, flags_result(result, size));
    return result;
}

INLINE uint64_t op_and(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    return logic_result(a & b, size, eflags);
}

INLINE uint64_t op_or(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    return logic_result(a | b, size, eflags);
}

INLINE uint64_t op_xor(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    return logic_result(a ^ b, size, eflags);
}

INLINE uint64_t op_not(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags)
{
    return ~a;
}

EXEC_WIDTHS(AND, binary, op_and)
EXEC_WIDTHS(OR, binary, op_or)
EXEC_WIDTHS(XOR, binary, op_xor)
EXEC_WIDTHS(TEST, compare, op_and)
EXEC_WIDTHS(NOT, unary, op_not)
