/*
 * Far control flow and interrupts: instruction forms of cpu/far.c and cpu/event.c, and the fast
 * system calls SYSCALL, SYSRET, SYSENTER, SYSEXIT (Intel SDM 2B, 3A 5.8.7, 5.8.8).
 */
#include "cpu/interp/operand.h"
#include "cpu/system.h"

/* -- Far CALL, JMP, RET -- */

struct far_pointer {
    uint16_t selector;
    uint64_t offset;
};

static struct far_pointer far_operand(struct cpu *cpu, const struct insn *insn)
{
    if (insn->operand[0].kind != OPERAND_MEM)
        return (struct far_pointer){insn->imm2, zero_extend(insn->imm, insn->opsize)};
    unsigned size = insn->opsize;
    gva_t gva = insn_linear(cpu, insn, size + 2, ACCESS_READ);
    struct far_pointer pointer = {.offset = mem_read(cpu, gva, size)};
    gva += size;
    pointer.selector = mem_read_u16(cpu, is_code64(cpu) ? gva : (uint32_t)gva);
    return pointer;
}

static void call_far(struct cpu *cpu, const struct insn *insn)
{
    struct far_pointer pointer = far_operand(cpu, insn);
    far_call(cpu, pointer.selector, pointer.offset, insn->opsize);
}
EXEC_ONE(CALL_FAR, call_far)

static void jmp_far(struct cpu *cpu, const struct insn *insn)
{
    struct far_pointer pointer = far_operand(cpu, insn);
    far_jump(cpu, pointer.selector, pointer.offset, insn->opsize);
}
EXEC_ONE(JMP_FAR, jmp_far)

static void ret_far(struct cpu *cpu, const struct insn *insn)
{
    far_return(cpu, insn->opsize, insn->noperands ? (uint16_t)insn->imm : 0);
}
EXEC_ONE(RET_FAR, ret_far)

static void iret(struct cpu *cpu, const struct insn *insn)
{
    far_iret(cpu, insn->opsize);
}
EXEC_ONE(IRET, iret)

/* -- Software interrupts -- */

static void int3(struct cpu *cpu, const struct insn *insn)
{
    event_deliver(cpu, EXC_BP, KIND_SOFTWARE_EXCEPTION, 0, cpu->next_rip);
}
EXEC_ONE(INT3, int3)

static void int_n(struct cpu *cpu, const struct insn *insn)
{
    event_deliver(cpu, (uint8_t)insn->imm, KIND_SOFTWARE, 0, cpu->next_rip);
}
EXEC_ONE(INT, int_n)

static void into(struct cpu *cpu, const struct insn *insn)
{
    if (cpu->eflags & FLAG_OF)
        event_deliver(cpu, EXC_OF, KIND_SOFTWARE_EXCEPTION, 0, cpu->next_rip);
}
EXEC_ONE(INTO, into)

static void int1(struct cpu *cpu, const struct insn *insn)
{
    event_deliver(cpu, EXC_DB, KIND_ICEBP, 0, cpu->next_rip);
}
EXEC_ONE(INT1, int1)

/* System management mode does not exist here, so nothing can resume from it. */
static void rsm(struct cpu *cpu, const struct insn *insn)
{
    cpu_raise_ud(cpu);
}
EXEC_ONE(RSM, rsm)

/* -- Fast system calls: flat segments with fixed rights, no descriptor is read -- */

enum code_kind { FLAT_CODE32, FLAT_CODE64 };

static void load_flat(struct cpu *cpu, uint16_t cs, uint16_t ss, enum code_kind kind, unsigned cpl)
{
    const uint16_t common = (uint16_t)(SEGMENT_P | SEGMENT_S | SEGMENT_RW | SEGMENT_ACCESSED |
                                       SEGMENT_G | cpl << SEGMENT_DPL_SHIFT);
    cpu->seg[SEG_CS] = (struct segment){
        .selector = (uint16_t)((cs & ~3u) | cpl),
        .limit = 0xffffffff,
        .attr = common | SEGMENT_CODE | (kind == FLAT_CODE64 ? SEGMENT_L : SEGMENT_DB),
    };
    cpu->seg[SEG_SS] = (struct segment){
        .selector = (uint16_t)((ss & ~3u) | cpl),
        .limit = 0xffffffff,
        .attr = common | SEGMENT_DB,
    };
}

static void syscall_(struct cpu *cpu, const struct insn *insn)
{
    if (!(cpu->efer & EFER_SCE))
        cpu_raise_ud(cpu);
    uint16_t cs = (uint16_t)(cpu->star >> 32);
    cpu->gpr[RCX] = cpu->next_rip;
    cpu->gpr[R11] = cpu->eflags & ~(uint32_t)FLAG_RF;
    cpu->next_rip = cpu->lstar;
    cpu->eflags &= ~((uint32_t)cpu->sfmask | FLAG_RF);
    cpu->eflags |= FLAG_FIXED;
    cpu->step_inhibit = !(cpu->eflags & FLAG_TF);
    load_flat(cpu, cs, (uint16_t)((cs & 0xfffc) + 8), FLAT_CODE64, 0);
    cpu_update_privilege(cpu);
}
EXEC_ONE(SYSCALL, syscall_)

static void sysret(struct cpu *cpu, const struct insn *insn)
{
    if (!(cpu->efer & EFER_SCE))
        cpu_raise_ud(cpu);
    if (cpu_cpl(cpu))
        cpu_raise_gp(cpu, 0);
    uint16_t base = (uint16_t)(cpu->star >> 48);
    bool to64 = insn->opsize == 8;
    if (to64 && !is_canonical(cpu->gpr[RCX]))
        cpu_raise_gp(cpu, 0); /* in ring 0, as Intel's processors do */
    const uint32_t flags = FLAG_ARITH | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT |
                           FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID;
    cpu->next_rip = to64 ? cpu->gpr[RCX] : (uint32_t)cpu->gpr[RCX];
    load_flat(cpu, (uint16_t)(base + (to64 ? 16 : 0)), (uint16_t)(base + 8),
              to64 ? FLAT_CODE64 : FLAT_CODE32, 3);
    cpu->eflags = ((uint32_t)cpu->gpr[R11] & flags) | FLAG_FIXED;
    if (to64)
        cpu_update_privilege(cpu);
    else
        cpu_update_mode(cpu);
    cpu_check_interrupt(cpu);
}
EXEC_ONE(SYSRET, sysret)

static void sysenter(struct cpu *cpu, const struct insn *insn)
{
    uint16_t cs = (uint16_t)(cpu->sysenter_cs & 0xfffc);
    if (is_real(cpu) || !cs)
        cpu_raise_gp(cpu, 0);
    bool long_mode = is_long(cpu);
    cpu->eflags &= ~(uint32_t)(FLAG_VM | FLAG_IF | FLAG_RF);
    load_flat(cpu, cs, (uint16_t)(cs + 8), long_mode ? FLAT_CODE64 : FLAT_CODE32, 0);
    cpu->gpr[RSP] = long_mode ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
    cpu->next_rip = long_mode ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
    cpu_update_mode(cpu);
}
EXEC_ONE(SYSENTER, sysenter)

static void sysexit(struct cpu *cpu, const struct insn *insn)
{
    uint16_t cs = (uint16_t)(cpu->sysenter_cs & 0xfffc);
    bool to64 = insn->opsize == 8;
    if (is_real(cpu) || !cs || cpu_cpl(cpu))
        cpu_raise_gp(cpu, 0);
    if (to64 && (!is_canonical(cpu->gpr[RCX]) || !is_canonical(cpu->gpr[RDX])))
        cpu_raise_gp(cpu, 0);
    cpu->next_rip = to64 ? cpu->gpr[RDX] : (uint32_t)cpu->gpr[RDX];
    cpu->gpr[RSP] = to64 ? cpu->gpr[RCX] : (uint32_t)cpu->gpr[RCX];
    cs = (uint16_t)(cs + (to64 ? 32 : 16));
    load_flat(cpu, cs, (uint16_t)(cs + 8), to64 ? FLAT_CODE64 : FLAT_CODE32, 3);
    cpu_update_mode(cpu);
}
EXEC_ONE(SYSEXIT, sysexit)
