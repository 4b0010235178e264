/*
 * Near control flow. A target beyond the limit of CS, or not canonical, is #GP(0) of the branch
 * itself, found before the stack or a counter changes.
 */
#include "cpu/interp/operand.h"
#include "cpu/system.h"

/* Checks a branch target and returns it cut to the operand size. */
INLINE uint64_t branch_target(struct cpu *cpu, uint64_t target, unsigned size)
{
    if (LIKELY(cpu->mode & MODE_CODE64)) {
        if (UNLIKELY(!is_canonical(target)))
            cpu_raise_gp(cpu, 0);
        return target;
    }
    target = zero_extend(target, size == 2 ? 2 : 4);
    if (UNLIKELY(!(cpu->mode & MODE_FLAT_CS) && target > cpu->seg[SEG_CS].limit))
        cpu_raise_gp(cpu, 0);
    return target;
}

INLINE uint64_t relative_target(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    return branch_target(cpu, cpu->next_rip + insn->imm, size);
}

/* -- Jumps -- */

INLINE void jmp(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    if (!mem && insn->operand[0].kind == OPERAND_REL)
        cpu->next_rip = relative_target(cpu, insn, size);
    else
        cpu->next_rip = branch_target(cpu, operand_read(cpu, insn, 0, size, mem), size);
}

INLINE void jcc(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    if (condition_holds(cpu->eflags, insn->cond))
        cpu->next_rip = relative_target(cpu, insn, size);
}

INLINE uint64_t counter(const struct cpu *cpu, const struct insn *insn)
{
    return zero_extend(cpu->gpr[RCX], insn->addrsize);
}

INLINE void write_counter(struct cpu *cpu, const struct insn *insn, uint64_t count)
{
    if (insn->addrsize == 2)
        gpr_write(cpu, RCX, 2, count);
    else
        cpu->gpr[RCX] = zero_extend(count, insn->addrsize);
}

INLINE void loop_if(struct cpu *cpu, const struct insn *insn, unsigned size, bool condition)
{
    uint64_t count = zero_extend(counter(cpu, insn) - 1, insn->addrsize);

    if (count != 0 && condition)
        cpu->next_rip = relative_target(cpu, insn, size);
    write_counter(cpu, insn, count);
}

INLINE void loop(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    loop_if(cpu, insn, size, true);
}

INLINE void loope(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    loop_if(cpu, insn, size, cpu->eflags & FLAG_ZF);
}

INLINE void loopne(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    loop_if(cpu, insn, size, !(cpu->eflags & FLAG_ZF));
}

INLINE void jcxz(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    if (counter(cpu, insn) == 0)
        cpu->next_rip = relative_target(cpu, insn, size);
}

EXEC_WIDTHS(JMP, jmp)
EXEC_SIZES(JCC, jcc)
EXEC_SIZES(LOOP, loop)
EXEC_SIZES(LOOPE, loope)
EXEC_SIZES(LOOPNE, loopne)
EXEC_SIZES(JCXZ, jcxz)

/* -- Calls and returns -- */

INLINE void call(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t target;

    if (!mem && insn->operand[0].kind == OPERAND_REL)
        target = relative_target(cpu, insn, size);
    else
        target = branch_target(cpu, operand_read(cpu, insn, 0, size, mem), size);
    push(cpu, cpu->next_rip, size);
    cpu->next_rip = target;
}

INLINE void ret(struct cpu *cpu, const struct insn *insn, unsigned size)
{
    uint64_t rsp = cpu->gpr[RSP];
    uint64_t target = pop(cpu, size);

    if (cpu->mode & MODE_CODE64
            ? UNLIKELY(!is_canonical(target))
            : UNLIKELY(!(cpu->mode & MODE_FLAT_CS) && target > cpu->seg[SEG_CS].limit)) {
        cpu->gpr[RSP] = rsp;
        cpu_raise_gp(cpu, 0);
    }
    if (insn->noperands > 0)
        stack_adjust(cpu, insn->imm & 0xffff);
    cpu->next_rip = target;
}

EXEC_WIDTHS(CALL, call)
EXEC_SIZES(RET, ret)

/* -- BOUND -- */

INLINE void bound(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    gva_t lower = insn_linear(cpu, insn, size, ACCESS_READ);
    int64_t first = sign_extend(mem_read(cpu, lower, size), size);
    uint64_t offset = insn_offset(cpu, insn) + size;
    gva_t upper =
        segment_linear(cpu, insn->seg, zero_extend(offset, insn->addrsize), size, ACCESS_READ);
    int64_t index = sign_extend(reg_read(cpu, &insn->operand[0], size), size);
    int64_t last = sign_extend(mem_read(cpu, upper, size), size); /* faults before #BR */

    if (index < first || index > last)
        cpu_raise(cpu, EXC_BR, 0);
}

EXEC_WIDTHS(BOUND, bound)
