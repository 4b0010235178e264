/*
 * Flags with system bits (PUSHF, POPF, CLI, STI with IOPL, VME and PVI) and port I/O with the I/O
 * permission bit map (Intel SDM 1 18.5, 3A 20.3, 20.4).
 */
#include "cpu/interp/operand.h"
#include "cpu/system.h"

/* -- Flags -- */

/* Virtual-8086 mode below IOPL 3: 16-bit PUSHF, POPF, CLI and STI work on VIF if VME is on. */
static bool v86_virtual_flags(struct cpu *cpu, unsigned size)
{
    if (!is_v86(cpu) || cpu_iopl(cpu) == 3)
        return false;
    if (!(cpu->cr4 & CR4_VME) || size != 2)
        cpu_raise_gp(cpu, 0);
    return true;
}

static void pushf(struct cpu *cpu, const struct insn *insn)
{
    uint32_t image = cpu->eflags & ~(uint32_t)(FLAG_VM | FLAG_RF);
    if (v86_virtual_flags(cpu, insn->opsize)) {
        image = (image & ~(uint32_t)FLAG_IF) | FLAG_IOPL;
        image |= cpu->eflags & FLAG_VIF ? FLAG_IF : 0;
    }
    stack_push(cpu, image, insn->opsize);
}
EXEC_ONE(PUSHF, pushf)

static void popf(struct cpu *cpu, const struct insn *insn)
{
    uint32_t mask = eflags_writable(cpu, is_v86(cpu) ? 3 : cpu_cpl(cpu));
    bool virtual = v86_virtual_flags(cpu, insn->opsize);
    uint32_t image = (uint32_t)stack_peek(cpu, 0, insn->opsize);
    if (insn->opsize == 2)
        mask &= 0xffff;
    uint32_t eflags = cpu->eflags & ~(uint32_t)FLAG_RF;
    if (virtual) {
        if (image & FLAG_TF || (image & FLAG_IF && eflags & FLAG_VIP))
            cpu_raise_gp(cpu, 0);
        mask &= ~(uint32_t)FLAG_IF;
        eflags = (eflags & ~(uint32_t)FLAG_VIF) | (image & FLAG_IF ? FLAG_VIF : 0);
    }
    stack_adjust(cpu, insn->opsize);
    cpu_set_eflags(cpu, (eflags & ~mask) | (image & mask));
}
EXEC_ONE(POPF, popf)

/* The flag that CLI and STI change at this privilege: IF, VIF, or 0 for #GP. */
static uint32_t interrupt_flag(const struct cpu *cpu)
{
    if (is_real(cpu) || cpu_cpl(cpu) <= cpu_iopl(cpu))
        return FLAG_IF;
    if (is_v86(cpu) ? cpu->cr4 & CR4_VME : cpu->cr4 & CR4_PVI && cpu_cpl(cpu) == 3)
        return FLAG_VIF;
    return 0;
}

static void cli(struct cpu *cpu, const struct insn *insn)
{
    uint32_t flag = interrupt_flag(cpu);
    if (!flag)
        cpu_raise_gp(cpu, 0);
    cpu->eflags &= ~flag;
}
EXEC_ONE(CLI, cli)

static void sti(struct cpu *cpu, const struct insn *insn)
{
    uint32_t flag = interrupt_flag(cpu);
    if (!flag || (flag == FLAG_VIF && cpu->eflags & FLAG_VIP))
        cpu_raise_gp(cpu, 0);
    if (flag == FLAG_IF && !(cpu->eflags & FLAG_IF))
        cpu_set_shadow(cpu, SHADOW_STI);
    cpu_set_eflags(cpu, cpu->eflags | flag);
}
EXEC_ONE(STI, sti)

/* -- Ports -- */

void io_check(struct cpu *cpu, uint16_t port, unsigned size)
{
    if (cpu->mode & MODE_BREAK)
        debug_check_io(cpu, port, size);
    if (is_real(cpu) || (!is_v86(cpu) && cpu_cpl(cpu) <= cpu_iopl(cpu)))
        return;
    const struct segment *tr = &cpu->seg[SEG_TR];
    enum mmu_index mmu = cpu_implicit_mmu(cpu);
    if (!(tr->attr & SEGMENT_P) || !(tr->attr & 8) || tr->limit < 103)
        cpu_raise_gp(cpu, 0);
    uint64_t base = tr->base + 102;
    uint32_t map = (uint32_t)mem_read_as(cpu, mmu, is_long(cpu) ? base : (uint32_t)base, 2);
    uint32_t byte = map + port / 8;
    if (byte + 1 > tr->limit)
        cpu_raise_gp(cpu, 0);
    base = tr->base + byte;
    uint32_t bits = (uint32_t)mem_read_as(cpu, mmu, is_long(cpu) ? base : (uint32_t)base, 2);
    if (bits >> (port & 7) & ((1u << size) - 1))
        cpu_raise_gp(cpu, 0);
}

static uint16_t port_of(const struct cpu *cpu, const struct insn *insn, unsigned n)
{
    return insn->operand[n].kind == OPERAND_IMM ? (uint8_t)insn->imm : (uint16_t)cpu->gpr[RDX];
}

static unsigned io_size(const struct insn *insn)
{
    return insn->opsize > 4 ? 4 : insn->opsize;
}

static void in(struct cpu *cpu, const struct insn *insn)
{
    unsigned size = io_size(insn);
    uint16_t port = port_of(cpu, insn, 1);
    io_check(cpu, port, size);
    gpr_write(cpu, RAX, size, cpu->bus->io_read(cpu->bus->opaque, cpu, port, size));
}
EXEC_ONE(IN, in)

static void out(struct cpu *cpu, const struct insn *insn)
{
    unsigned size = io_size(insn);
    uint16_t port = port_of(cpu, insn, 0);
    io_check(cpu, port, size);
    cpu->bus->io_write(cpu->bus->opaque, cpu, port, (uint32_t)gpr_read(cpu, RAX, size), size);
}
EXEC_ONE(OUT, out)

static void write_index(struct cpu *cpu, const struct insn *insn, unsigned reg, uint64_t value)
{
    if (insn->addrsize == 2)
        gpr_write(cpu, reg, 2, value);
    else
        cpu->gpr[reg] = zero_extend(value, insn->addrsize);
}

static void input_element(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size)
{
    uint64_t offset = zero_extend(cpu->gpr[RDI], insn->addrsize);
    gva_t gva = segment_linear(cpu, SEG_ES, offset, size, ACCESS_WRITE);
    if (!mem_host_write(cpu, gva, size))
        mem_probe_write(cpu, gva, size); /* the port is read only if the value can be stored */
    uint32_t value = cpu->bus->io_read(cpu->bus->opaque, cpu, port, size);
    mem_write(cpu, gva, value, size);
    write_index(cpu, insn, RDI, cpu->eflags & FLAG_DF ? offset - size : offset + size);
}

static void output_element(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size)
{
    uint64_t offset = zero_extend(cpu->gpr[RSI], insn->addrsize);
    unsigned seg = insn->prefixes & PREFIX_SEG ? insn->seg : SEG_DS;
    gva_t gva = segment_linear(cpu, seg, offset, size, ACCESS_READ);
    uint32_t value = (uint32_t)mem_read(cpu, gva, size);
    cpu->bus->io_write(cpu->bus->opaque, cpu, port, value, size);
    write_index(cpu, insn, RSI, cpu->eflags & FLAG_DF ? offset - size : offset + size);
}

typedef void io_element(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size);

/* Permission is checked once: nothing that could change it happens in between. */
static void string_io(struct cpu *cpu, const struct insn *insn, io_element *element)
{
    unsigned size = io_size(insn);
    uint16_t port = (uint16_t)cpu->gpr[RDX];
    bool repeat = insn->prefixes & (PREFIX_REP | PREFIX_REPNE);
    uint64_t count = repeat ? zero_extend(cpu->gpr[RCX], insn->addrsize) : 1;
    io_check(cpu, port, size); /* even if there is nothing to repeat */
    if (!count)
        return;
    for (;;) {
        element(cpu, insn, port, size);
        if (repeat)
            write_index(cpu, insn, RCX, --count);
        if (!repeat || !count)
            return;
        if (atomic_load_explicit(&cpu->event, memory_order_relaxed)) {
            cpu->next_rip = cpu->rip; /* resumed after the event */
            return;
        }
    }
}

static void ins(struct cpu *cpu, const struct insn *insn)
{
    string_io(cpu, insn, input_element);
}
EXEC_ONE(INS, ins)

static void outs(struct cpu *cpu, const struct insn *insn)
{
    string_io(cpu, insn, output_element);
}
EXEC_ONE(OUTS, outs)
