/* Data movement: MOV and its relatives, exchanges, the stack, and instructions that do nothing. */
#include "cpu/interp/operand.h"

/* -- MOV -- */

INLINE void mov(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    if (mem && insn->operand[0].kind != OPERAND_MEM)
        reg_write(cpu, &insn->operand[0], size, operand_read(cpu, insn, 1, size, true));
    else
        operand_write(cpu, insn, 0, size, mem, source_read(cpu, insn, 1, size));
}

INLINE void movnti(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    operand_write(cpu, insn, 0, size, mem, reg_read(cpu, &insn->operand[1], size));
}

EXEC_WIDTHS(MOV, mov)
EXEC_WIDTHS(MOVNTI, movnti)

/* -- Conversions -- */

/* The source is a byte or a word. */
INLINE uint64_t narrow_read(struct cpu *cpu, const struct insn *insn, bool mem, bool sign)
{
    if (insn->operand[1].size == 1) {
        uint64_t byte = operand_read(cpu, insn, 1, 1, mem);
        return sign ? (uint64_t)(int8_t)byte : byte;
    }
    uint64_t word = operand_read(cpu, insn, 1, 2, mem);
    return sign ? (uint64_t)(int16_t)word : word;
}

INLINE void move_extended(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem,
                          bool sign)
{
    uint64_t value = narrow_read(cpu, insn, mem, sign);
    gpr_write(cpu, insn->operand[0].reg, size, value);
}

/* The source is a doubleword, or a word with a 16-bit operand size. */
INLINE void movsxd(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    unsigned source_size = size == 2 ? 2 : 4;
    uint64_t value = operand_read(cpu, insn, 1, source_size, mem);
    gpr_write(cpu, insn->operand[0].reg, size, (uint64_t)sign_extend(value, source_size));
}

INLINE uint64_t byte_swap(uint64_t value, unsigned size)
{
    return __builtin_bswap64(value) >> (64 - size * 8);
}

INLINE void movbe(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    if (insn->operand[0].kind == OPERAND_MEM)
        operand_write(cpu, insn, 0, size, mem,
                      byte_swap(gpr_read(cpu, insn->operand[1].reg, size), size));
    else
        gpr_write(cpu, insn->operand[0].reg, size,
                  byte_swap(operand_read(cpu, insn, 1, size, mem), size));
}

/* BSWAP of a word is undefined; processors clear it. */
INLINE void bswap(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    unsigned reg = insn->operand[0].reg;
    gpr_write(cpu, reg, size, size == 2 ? 0 : byte_swap(cpu->gpr[reg], size));
}

/* CBW CWDE CDQE: the lower half of the accumulator extended. */
INLINE void cbw(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    unsigned half = size == 1 ? 1 : size / 2;
    gpr_write(cpu, RAX, size, (uint64_t)sign_extend(cpu->gpr[RAX], half));
}

/* CWD CDQ CQO: the accumulator's sign in all bits of rDX. */
INLINE void cwd(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    gpr_write(cpu, RDX, size, sign_bit(cpu->gpr[RAX], size) ? ~0ull : 0);
}

EXEC_WIDTHS(MOVZX, move_extended, false)
EXEC_WIDTHS(MOVSX, move_extended, true)
EXEC_WIDTHS(MOVSXD, movsxd)
EXEC_WIDTHS(MOVBE, movbe)
EXEC_SIZES(BSWAP, bswap)
EXEC_SIZES(CBW, cbw)
EXEC_SIZES(CWD, cwd)

/* -- CMOVcc, LEA, XCHG, XLAT -- */

/* The source is read, and a 32-bit destination zero-extended, whether the condition holds or not.
 */
INLINE void cmovcc(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);
    uint64_t old = gpr_read(cpu, insn->operand[0].reg, size);
    gpr_write(cpu, insn->operand[0].reg, size,
              condition_holds(cpu->eflags, insn->cond) ? source : old);
}

INLINE void lea(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    gpr_write(cpu, insn->operand[0].reg, size, insn_offset(cpu, insn));
}

/* With memory always locked, prefix or not. */
INLINE void xchg(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    const struct operand *source = &insn->operand[1];
    uint64_t value = reg_read(cpu, source, size);
    uint64_t old;

    if (mem) {
        gva_t gva = insn_linear(cpu, insn, size, ACCESS_WRITE);
        old = mem_rmw(cpu, gva, size);
        while (!mem_compare_exchange(cpu, gva, &old, value, size))
            ;
    } else {
        old = reg_read(cpu, &insn->operand[0], size);
        reg_write(cpu, &insn->operand[0], size, value);
    }
    reg_write(cpu, source, size, old);
}

static void xlat(struct cpu *cpu, const struct insn *insn)
{
    unsigned seg = insn->prefixes & PREFIX_SEG ? insn->seg : SEG_DS;
    uint64_t offset = zero_extend(cpu->gpr[RBX] + (uint8_t)cpu->gpr[RAX], insn->addrsize);

    gpr_write(cpu, RAX, 1, mem_read_u8(cpu, segment_linear(cpu, seg, offset, 1, ACCESS_READ)));
}

EXEC_WIDTHS(CMOVCC, cmovcc)
EXEC_WIDTHS(LEA, lea)
EXEC_WIDTHS(XCHG, xchg)
EXEC_ONE(XLAT, xlat)

/* -- Stack -- */

INLINE void push_operand(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    if (mem)
        push(cpu, operand_read(cpu, insn, 0, size, true), size);
    else
        push(cpu, source_read(cpu, insn, 0, size), size);
}

/* The address of a memory destination counts with the stack pointer already raised. */
INLINE void pop_operand(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    if (!mem) {
        uint64_t value = pop(cpu, size);
        gpr_write(cpu, insn->operand[0].reg, size, value);
        return;
    }
    uint64_t value = stack_peek(cpu, 0, size);
    uint64_t offset = insn_offset(cpu, insn);
    if (insn->base == RSP)
        offset = zero_extend(offset + size, insn->addrsize);
    gva_t gva = segment_linear(cpu, insn->seg, offset, size, ACCESS_WRITE);
    mem_write(cpu, gva, value, size);
    stack_adjust(cpu, size);
}

EXEC_WIDTHS(PUSH, push_operand)
EXEC_WIDTHS(POP, pop_operand)

/* Linear address of a stack offset, wrapped to the stack pointer's width. */
INLINE gva_t stack_linear(struct cpu *cpu, uint64_t offset, unsigned size, enum access access)
{
    if (cpu->mode & MODE_CODE64) /* non-canonical: #SS, which the memory functions cannot know */
        return segment_check(cpu, SEG_SS, offset, size, access);
    return segment_linear(cpu, SEG_SS, zero_extend(offset, stack_width(cpu)), size, access);
}

/* The registers in memory from DI up, in the order of their numbers reversed. */
INLINE void pusha(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    for (unsigned i = 0; i < 8; i++) {
        gva_t gva = stack_linear(cpu, cpu->gpr[RSP] - (i + 1) * size, size, ACCESS_WRITE);
        mem_write(cpu, gva, cpu->gpr[i], size);
    }
    stack_adjust(cpu, -8 * (int64_t)size);
}

INLINE void popa(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    uint64_t value[8];

    for (unsigned i = 0; i < 8; i++)
        value[7 - i] = stack_peek(cpu, i * size, size);
    stack_adjust(cpu, 8 * (int64_t)size);
    for (unsigned i = 0; i < 8; i++)
        if (i != RSP)
            gpr_write(cpu, i, size, value[i]);
}

/*
 * Pushes the frame pointer and, for nesting levels above 1, copies the outer frames' pointers. The
 * place the stack pointer ends at must be writable although nothing is written there.
 */
INLINE void enter(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    unsigned width = stack_width(cpu);
    unsigned level = insn->imm2 & 31;
    uint64_t sp = cpu->gpr[RSP] - size;
    uint64_t bp = cpu->gpr[RBP];
    uint64_t frame = sp;

    mem_write(cpu, stack_linear(cpu, sp, size, ACCESS_WRITE), bp, size);
    for (unsigned i = 1; i < level; i++) {
        bp -= size;
        sp -= size;
        uint64_t outer = mem_read(cpu, stack_linear(cpu, bp, size, ACCESS_READ), size);
        mem_write(cpu, stack_linear(cpu, sp, size, ACCESS_WRITE), outer, size);
    }
    if (level > 0) {
        sp -= size;
        mem_write(cpu, stack_linear(cpu, sp, size, ACCESS_WRITE), frame, size);
    }
    sp -= insn->imm & 0xffff;
    mem_probe_write(cpu, stack_linear(cpu, sp, size, ACCESS_WRITE), size);
    gpr_write(cpu, RBP, size, frame);
    gpr_write(cpu, RSP, width, sp);
}

INLINE void leave(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    unsigned width = stack_width(cpu);
    uint64_t bp = gpr_read(cpu, RBP, width);
    uint64_t value = mem_read(cpu, stack_linear(cpu, bp, size, ACCESS_READ), size);

    gpr_write(cpu, RSP, width, bp + size);
    gpr_write(cpu, RBP, size, value);
}

EXEC_SIZES(PUSHA, pusha)
EXEC_SIZES(POPA, popa)
EXEC_SIZES(ENTER, enter)
EXEC_SIZES(LEAVE, leave)

/* -- Instructions without effect: NOP in all forms, PAUSE, prefetches (which never fault) -- */

static void nop(struct cpu *cpu, const struct insn *insn)
{
}

EXEC_ONE(NOP, nop)
EXEC_ONE(PAUSE, nop)
EXEC_ONE(PREFETCH, nop)
