/*
 * Operands as semantic functions see them, and the templates from which one function per operand
 * width and form is made.
 *
 * A semantic function is written once as an INLINE kernel that takes the operand size in bytes and
 * whether one operand is in memory, both constants:
 *
 *     INLINE void add(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
 *     EXEC_WIDTHS(ADD, add)
 *
 * EXEC_WIDTHS defines exec_ADD with eight instances of the kernel. Kernels of two-operand
 * arithmetic share modify() and compute(), which take the operation itself as an inlined function.
 */
#ifndef DOPPEL_CPU_INTERP_OPERAND_H
#define DOPPEL_CPU_INTERP_OPERAND_H

#include "cpu/interp/flags.h"
#include "cpu/isa.h"
#include "cpu/mem.h"

#define LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* -- Templates -- */

#define EXEC_INSTANCE_(name, kernel, size, mem, ...)                                               \
    static void name(struct cpu *cpu, const struct insn *insn)                                     \
    {                                                                                              \
        kernel(cpu, insn, size, mem, ##__VA_ARGS__);                                               \
    }

/* exec_MNEMONIC with an instance of kernel(cpu, insn, size, mem, extra...) per width and form. */
#define EXEC_WIDTHS(MNEMONIC, kernel, ...)                                                         \
    EXEC_INSTANCE_(MNEMONIC##_r8, kernel, 1, false, ##__VA_ARGS__)                                 \
    EXEC_INSTANCE_(MNEMONIC##_r16, kernel, 2, false, ##__VA_ARGS__)                                \
    EXEC_INSTANCE_(MNEMONIC##_r32, kernel, 4, false, ##__VA_ARGS__)                                \
    EXEC_INSTANCE_(MNEMONIC##_r64, kernel, 8, false, ##__VA_ARGS__)                                \
    EXEC_INSTANCE_(MNEMONIC##_m8, kernel, 1, true, ##__VA_ARGS__)                                  \
    EXEC_INSTANCE_(MNEMONIC##_m16, kernel, 2, true, ##__VA_ARGS__)                                 \
    EXEC_INSTANCE_(MNEMONIC##_m32, kernel, 4, true, ##__VA_ARGS__)                                 \
    EXEC_INSTANCE_(MNEMONIC##_m64, kernel, 8, true, ##__VA_ARGS__)                                 \
    const struct exec exec_##MNEMONIC = {                                                          \
        {MNEMONIC##_r8, MNEMONIC##_r16, MNEMONIC##_r32, MNEMONIC##_r64},                           \
        {MNEMONIC##_m8, MNEMONIC##_m16, MNEMONIC##_m32, MNEMONIC##_m64}};

/* The same for mnemonics without an explicit memory operand: kernel(cpu, insn, size, extra...). */
#define EXEC_SIZE_INSTANCE_(name, kernel, size, ...)                                               \
    static void name(struct cpu *cpu, const struct insn *insn)                                     \
    {                                                                                              \
        kernel(cpu, insn, size, ##__VA_ARGS__);                                                    \
    }
#define EXEC_SIZES(MNEMONIC, kernel, ...)                                                          \
    EXEC_SIZE_INSTANCE_(MNEMONIC##_8, kernel, 1, ##__VA_ARGS__)                                    \
    EXEC_SIZE_INSTANCE_(MNEMONIC##_16, kernel, 2, ##__VA_ARGS__)                                   \
    EXEC_SIZE_INSTANCE_(MNEMONIC##_32, kernel, 4, ##__VA_ARGS__)                                   \
    EXEC_SIZE_INSTANCE_(MNEMONIC##_64, kernel, 8, ##__VA_ARGS__)                                   \
    const struct exec exec_##MNEMONIC = {                                                          \
        {MNEMONIC##_8, MNEMONIC##_16, MNEMONIC##_32, MNEMONIC##_64}, {NULL, NULL, NULL, NULL}};

/* A mnemonic whose one function serves every width and form. */
#define EXEC_ONE(MNEMONIC, fn) const struct exec exec_##MNEMONIC = EXEC_ANY(fn);

/* -- Privilege -- */

INLINE void require_ring0(struct cpu *cpu)
{
    if (cpu_cpl(cpu) != 0)
        cpu_raise_gp(cpu, 0);
}

/* -- Registers -- */

INLINE uint64_t gpr_read(const struct cpu *cpu, unsigned reg, unsigned size)
{
    return zero_extend(cpu->gpr[reg], size);
}

/* Byte and word writes keep the rest of the register, doubleword writes clear bits 32-63. */
INLINE void gpr_write(struct cpu *cpu, unsigned reg, unsigned size, uint64_t value)
{
    if (size >= 4) {
        cpu->gpr[reg] = zero_extend(value, size);
    } else {
        uint64_t mask = size == 2 ? 0xffff : 0xff;
        cpu->gpr[reg] = (cpu->gpr[reg] & ~mask) | (value & mask);
    }
}

/* A register operand; only byte operands can name AH CH DH BH. */
INLINE unsigned high_byte_shift(const struct operand *operand)
{
    return (operand->kind == OPERAND_GPR_HIGH) * 8;
}

INLINE uint64_t reg_read(const struct cpu *cpu, const struct operand *operand, unsigned size)
{
    if (size == 1)
        return (uint8_t)(cpu->gpr[operand->reg] >> high_byte_shift(operand));
    return gpr_read(cpu, operand->reg, size);
}

INLINE void reg_write(struct cpu *cpu, const struct operand *operand, unsigned size, uint64_t value)
{
    if (size == 1) {
        unsigned shift = high_byte_shift(operand);
        uint64_t *reg = &cpu->gpr[operand->reg];
        *reg = (*reg & ~(0xffull << shift)) | (uint64_t)(uint8_t)value << shift;
    } else {
        gpr_write(cpu, operand->reg, size, value);
    }
}

/* A register or immediate operand, zero-extended. */
INLINE uint64_t source_read(const struct cpu *cpu, const struct insn *insn, unsigned n,
                            unsigned size)
{
    const struct operand *operand = &insn->operand[n];
    if (operand->kind == OPERAND_IMM)
        return zero_extend(insn->imm, size);
    return reg_read(cpu, operand, size);
}

/* -- Memory -- */

INLINE uint64_t mem_read(struct cpu *cpu, gva_t gva, unsigned size)
{
    return size == 8   ? mem_read_u64(cpu, gva)
           : size == 4 ? mem_read_u32(cpu, gva)
           : size == 2 ? mem_read_u16(cpu, gva)
                       : mem_read_u8(cpu, gva);
}

INLINE uint64_t mem_rmw(struct cpu *cpu, gva_t gva, unsigned size)
{
    return size == 8   ? mem_rmw_u64(cpu, gva)
           : size == 4 ? mem_rmw_u32(cpu, gva)
           : size == 2 ? mem_rmw_u16(cpu, gva)
                       : mem_rmw_u8(cpu, gva);
}

INLINE void mem_write(struct cpu *cpu, gva_t gva, uint64_t value, unsigned size)
{
    if (size == 8)
        mem_write_u64(cpu, gva, value);
    else if (size == 4)
        mem_write_u32(cpu, gva, (uint32_t)value);
    else if (size == 2)
        mem_write_u16(cpu, gva, (uint16_t)value);
    else
        mem_write_u8(cpu, gva, (uint8_t)value);
}

/*
 * Atomic compare and exchange of guest memory, as C11's: stores `desired` if memory holds
 * *expected, else loads *expected. The right to write was checked by mem_rmw() on the same address
 * before.
 */
bool mem_compare_exchange(struct cpu *cpu, gva_t gva, uint64_t *expected, uint64_t desired,
                          unsigned size);
bool mem_compare_exchange_128(struct cpu *cpu, gva_t gva, uint64_t expected[2],
                              const uint64_t desired[2]);

/* The ModRM operand n: a register, or memory if the form says so. */
INLINE uint64_t operand_read(struct cpu *cpu, const struct insn *insn, unsigned n, unsigned size,
                             bool mem)
{
    if (mem)
        return mem_read(cpu, insn_linear(cpu, insn, size, ACCESS_READ), size);
    return reg_read(cpu, &insn->operand[n], size);
}

INLINE void operand_write(struct cpu *cpu, const struct insn *insn, unsigned n, unsigned size,
                          bool mem, uint64_t value)
{
    if (mem)
        mem_write(cpu, insn_linear(cpu, insn, size, ACCESS_WRITE), value, size);
    else
        reg_write(cpu, &insn->operand[n], size, value);
}

/* -- Arithmetic on operand 0 -- */

/* One operation: the new value of `a`, and EFLAGS changed in place. */
typedef uint64_t alu_op(uint64_t a, uint64_t b, unsigned size, uint32_t *eflags);

/* Memory at `gva` = op(memory, b), atomically with a LOCK prefix. */
INLINE void modify_memory(struct cpu *cpu, const struct insn *insn, gva_t gva, unsigned size,
                          alu_op *op, uint64_t b)
{
    uint32_t eflags = cpu->eflags;
    uint64_t value = mem_rmw(cpu, gva, size);

    if (LIKELY(!(insn->prefixes & PREFIX_LOCK))) {
        mem_write(cpu, gva, op(value, b, size, &eflags), size);
    } else {
        while (!mem_compare_exchange(cpu, gva, &value, op(value, b, size, &eflags), size))
            eflags = cpu->eflags;
    }
    cpu->eflags = eflags;
}

/* Operand 0 = op(operand 0, b), where operand 0 is in memory if `mem`. */
INLINE void modify(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem, alu_op *op,
                   uint64_t b)
{
    if (mem) {
        modify_memory(cpu, insn, insn_linear(cpu, insn, size, ACCESS_WRITE), size, op, b);
    } else {
        uint64_t a = reg_read(cpu, &insn->operand[0], size);
        reg_write(cpu, &insn->operand[0], size, op(a, b, size, &cpu->eflags));
    }
}

/* Operand 0 = op(operand 0, operand 1), with either of them in memory if `mem`. */
INLINE void binary(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem, alu_op *op)
{
    if (mem && insn->operand[0].kind != OPERAND_MEM) {
        uint64_t b = operand_read(cpu, insn, 1, size, true);
        modify(cpu, insn, size, false, op, b);
    } else {
        modify(cpu, insn, size, mem, op, source_read(cpu, insn, 1, size));
    }
}

/* Operand 0 = op(operand 0). */
INLINE void unary(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem, alu_op *op)
{
    modify(cpu, insn, size, mem, op, 0);
}

/* op(operand 0, operand 1) only for its flags. */
INLINE void compare(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem, alu_op *op)
{
    uint64_t a, b;

    if (mem && insn->operand[0].kind != OPERAND_MEM) {
        b = operand_read(cpu, insn, 1, size, true);
        a = reg_read(cpu, &insn->operand[0], size);
    } else {
        a = operand_read(cpu, insn, 0, size, mem);
        b = source_read(cpu, insn, 1, size);
    }
    op(a, b, size, &cpu->eflags);
}

/* -- Stack -- */

/* Width of the stack pointer in bytes. */
INLINE unsigned stack_width(const struct cpu *cpu)
{
    return cpu->mode & MODE_CODE64 ? 8 : cpu->mode & MODE_STACK32 ? 4 : 2;
}

/* stack_push() with the common case inline: flat stack, TLB hit. */
INLINE void push(struct cpu *cpu, uint64_t value, unsigned size)
{
    uint64_t rsp = cpu->gpr[RSP] - size;

    if (!(cpu->mode & MODE_CODE64))
        rsp = (uint32_t)rsp;
    if (LIKELY((cpu->mode & MODE_CODE64) ||
               (cpu->mode & (MODE_STACK32 | MODE_FLAT_SS)) == (MODE_STACK32 | MODE_FLAT_SS))) {
        void *host = tlb_find(cpu->tlb, ACCESS_WRITE, rsp, size);
        if (LIKELY(host)) {
            memcpy(host, &value, size);
            cpu->gpr[RSP] = rsp;
            return;
        }
    }
    stack_push(cpu, value, size);
}

/* stack_pop() likewise. */
INLINE uint64_t pop(struct cpu *cpu, unsigned size)
{
    uint64_t rsp = cpu->gpr[RSP];

    if (LIKELY((cpu->mode & MODE_CODE64) ||
               (cpu->mode & (MODE_STACK32 | MODE_FLAT_SS)) == (MODE_STACK32 | MODE_FLAT_SS))) {
        if (!(cpu->mode & MODE_CODE64))
            rsp = (uint32_t)rsp;
        const void *host = tlb_find(cpu->tlb, ACCESS_READ, rsp, size);
        if (LIKELY(host)) {
            uint64_t value = 0;
            memcpy(&value, host, size);
            rsp += size;
            cpu->gpr[RSP] = cpu->mode & MODE_CODE64 ? rsp : (uint32_t)rsp;
            return value;
        }
    }
    return stack_pop(cpu, size);
}

#endif
