/*
 * Control and debug registers, TLB and cache control, halting, MSRs, time, CPUID, XCR0, random
 * numbers; and what is undefined (Intel SDM 2A-2D, 3A 2.5-2.8).
 */
#include "cpu/interp/operand.h"
#include "cpu/log.h"
#include "cpu/system.h"

#include <errno.h>
#include <sys/random.h>

/* -- Undefined -- */

static void ud(struct cpu *cpu, const struct insn *insn)
{
    cpu_raise_ud(cpu);
}
EXEC_ONE(UD, ud)

static void too_long(struct cpu *cpu, const struct insn *insn)
{
    cpu_raise_gp(cpu, 0);
}
EXEC_ONE(TOO_LONG, too_long)

/* -- Control registers -- */

static void smsw(struct cpu *cpu, const struct insn *insn)
{
    if (cpu->cr4 & CR4_UMIP && cpu_cpl(cpu))
        cpu_raise_gp(cpu, 0);
    if (insn->operand[0].kind == OPERAND_MEM)
        mem_write_u16(cpu, insn_linear(cpu, insn, 2, ACCESS_WRITE), (uint16_t)cpu->cr0);
    else
        gpr_write(cpu, insn->operand[0].reg, insn->opsize, cpu->cr0);
}
EXEC_ONE(SMSW, smsw)

static void lmsw(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
    uint64_t value = operand_read(cpu, insn, 0, 2, insn->operand[0].kind == OPERAND_MEM);
    const uint64_t mask = CR0_PE | CR0_MP | CR0_EM | CR0_TS;
    value |= cpu->cr0 & CR0_PE; /* cannot be cleared this way */
    cpu_write_cr0(cpu, (cpu->cr0 & ~mask) | (value & mask));
}
EXEC_ONE(LMSW, lmsw)

static void clts(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
    cpu->cr0 &= ~(uint64_t)CR0_TS;
    cpu_update_mode(cpu);
}
EXEC_ONE(CLTS, clts)

static uint64_t read_cr(struct cpu *cpu, unsigned number)
{
    switch (number) {
    case 0:
        return cpu->cr0;
    case 2:
        return cpu->cr2;
    case 3:
        return cpu->cr3;
    case 4:
        return cpu->cr4;
    default:
        return cpu->bus->tpr_read(cpu->bus->opaque, cpu);
    }
}

static void write_cr(struct cpu *cpu, unsigned number, uint64_t value)
{
    switch (number) {
    case 0:
        cpu_write_cr0(cpu, value);
        break;
    case 2:
        cpu->cr2 = value;
        break;
    case 3:
        cpu_write_cr3(cpu, value);
        break;
    case 4:
        cpu_write_cr4(cpu, value);
        break;
    default:
        if (value & ~15ull)
            cpu_raise_gp(cpu, 0);
        cpu->bus->tpr_write(cpu->bus->opaque, cpu, (uint8_t)value);
        cpu_check_interrupt(cpu);
    }
}

static void mov_cr(struct cpu *cpu, const struct insn *insn)
{
    bool to_cr = insn->operand[0].kind == OPERAND_CR;
    unsigned number = insn->operand[to_cr ? 0 : 1].reg, reg = insn->operand[to_cr ? 1 : 0].reg;
    unsigned size = is_code64(cpu) ? 8 : 4;
    const unsigned existing = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | (size == 8 ? 1 << 8 : 0);
    if (!(existing >> number & 1))
        cpu_raise_ud(cpu);
    require_ring0(cpu);
    if (to_cr)
        write_cr(cpu, number, gpr_read(cpu, reg, size));
    else
        gpr_write(cpu, reg, size, read_cr(cpu, number));
}
EXEC_ONE(MOV_CR, mov_cr)

static void mov_dr(struct cpu *cpu, const struct insn *insn)
{
    bool to_dr = insn->operand[0].kind == OPERAND_DR;
    unsigned number = insn->operand[to_dr ? 0 : 1].reg, reg = insn->operand[to_dr ? 1 : 0].reg;
    unsigned size = is_code64(cpu) ? 8 : 4;
    if (number > 7 || ((number == 4 || number == 5) && cpu->cr4 & CR4_DE))
        cpu_raise_ud(cpu);
    require_ring0(cpu);
    if (cpu->dr[7] >> 13 & 1)
        debug_raise(cpu, DR6_BD);
    if (number == 4 || number == 5)
        number += 2;
    if (!to_dr) {
        gpr_write(cpu, reg, size, cpu->dr[number]);
        return;
    }
    uint64_t value = gpr_read(cpu, reg, size);
    if (number >= 6 && value >> 32)
        cpu_raise_gp(cpu, 0);
    if (number == 6)
        value = (value & 0xe00f) | DR6_FIXED;
    else if (number == 7)
        value = (value & 0xffff23ff) | DR7_FIXED;
    cpu->dr[number] = value;
    cpu_update_mode(cpu);
}
EXEC_ONE(MOV_DR, mov_dr)

/* -- TLB and caches -- */

static void invlpg(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
    gva_t gva = insn_offset(cpu, insn);
    if (!is_code64(cpu))
        gva = (uint32_t)(gva + cpu->seg[insn->seg].base);
    else if (insn->seg >= SEG_FS)
        gva += cpu->seg[insn->seg].base;
    if (is_canonical(gva))
        tlb_flush_page(cpu, gva);
}
EXEC_ONE(INVLPG, invlpg)

enum { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL, INVPCID_ALL_NONGLOBAL };

static void invpcid(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
    uint64_t type = gpr_read(cpu, insn->operand[0].reg, is_code64(cpu) ? 8 : 4);
    gva_t gva = insn_linear(cpu, insn, 16, ACCESS_READ);
    uint64_t descriptor[2];
    mem_read_bytes(cpu, gva, descriptor, sizeof descriptor);
    uint64_t pcid = descriptor[0], address = descriptor[1];
    if (type > INVPCID_ALL_NONGLOBAL || pcid > 0xfff)
        cpu_raise_gp(cpu, 0);
    if (type <= INVPCID_CONTEXT && pcid && !(cpu->cr4 & CR4_PCIDE))
        cpu_raise_gp(cpu, 0);
    switch (type) {
    case INVPCID_ADDRESS:
        if (!is_canonical(address))
            cpu_raise_gp(cpu, 0);
        paging_invalidate_pcid_page(cpu, (unsigned)pcid, address);
        break;
    case INVPCID_CONTEXT:
        paging_invalidate_pcid(cpu, (unsigned)pcid);
        break;
    case INVPCID_ALL:
        tlb_flush_all(cpu);
        break;
    default:
        paging_invalidate_all_nonglobal(cpu);
    }
}
EXEC_ONE(INVPCID, invpcid)

/* Caches are not modelled: nothing to write back, nothing to lose. */
static void invd(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
}
EXEC_ONE(INVD, invd)
EXEC_ONE(WBINVD, invd)

/* Faults like a load of the byte. */
static void clflush(struct cpu *cpu, const struct insn *insn)
{
    mem_probe_read(cpu, insn_linear(cpu, insn, 1, ACCESS_READ), 1);
}
EXEC_ONE(CLFLUSH, clflush)
EXEC_ONE(CLFLUSHOPT, clflush)
EXEC_ONE(CLWB, clflush)

static void fence(struct cpu *cpu, const struct insn *insn)
{
    atomic_thread_fence(memory_order_seq_cst);
}
EXEC_ONE(LFENCE, fence)
EXEC_ONE(MFENCE, fence)
EXEC_ONE(SFENCE, fence)
EXEC_ONE(SERIALIZE, fence) /* code that was written is always seen */

static void set_ac(struct cpu *cpu, bool ac)
{
    if (cpu_cpl(cpu))
        cpu_raise_ud(cpu);
    cpu_set_eflags(cpu, (cpu->eflags & ~(uint32_t)FLAG_AC) | (ac ? FLAG_AC : 0));
}

static void clac(struct cpu *cpu, const struct insn *insn)
{
    set_ac(cpu, false);
}
EXEC_ONE(CLAC, clac)

static void stac(struct cpu *cpu, const struct insn *insn)
{
    set_ac(cpu, true);
}
EXEC_ONE(STAC, stac)

/* -- Halting -- */

/* Retires the instruction, stops the processor and leaves the engine. */
static _Noreturn void halt(struct cpu *cpu)
{
    cpu->rip = cpu->next_rip;
    cpu->halted = true;
    cpu_unwind(cpu);
}

static void hlt(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
    cpu->mwait_break = false;
    halt(cpu);
}
EXEC_ONE(HLT, hlt)

/* The monitored line is not watched: MWAIT waits for the next interrupt, which the manual allows
 * software to expect, but a store of another processor alone does not wake it. */
static void monitor(struct cpu *cpu, const struct insn *insn)
{
    if (cpu_cpl(cpu))
        cpu_raise_ud(cpu);
    if ((uint32_t)cpu->gpr[RCX])
        cpu_raise_gp(cpu, 0);
    uint64_t offset = zero_extend(cpu->gpr[RAX], insn->addrsize);
    unsigned seg = insn->prefixes & PREFIX_SEG ? insn->seg : SEG_DS;
    mem_probe_read(cpu, segment_linear(cpu, seg, offset, 1, ACCESS_READ), 1);
}
EXEC_ONE(MONITOR, monitor)

static void mwait(struct cpu *cpu, const struct insn *insn)
{
    if (cpu_cpl(cpu))
        cpu_raise_ud(cpu);
    if ((uint32_t)cpu->gpr[RCX] > 1)
        cpu_raise_gp(cpu, 0);
    cpu->mwait_break = cpu->gpr[RCX] & 1;
    halt(cpu);
}
EXEC_ONE(MWAIT, mwait)

/* -- MSRs, time, identification -- */

static void write_edx_eax(struct cpu *cpu, uint64_t value)
{
    cpu->gpr[RAX] = (uint32_t)value;
    cpu->gpr[RDX] = value >> 32;
}

static uint64_t read_edx_eax(const struct cpu *cpu)
{
    return (uint32_t)cpu->gpr[RAX] | cpu->gpr[RDX] << 32;
}

static void rdmsr(struct cpu *cpu, const struct insn *insn)
{
    uint64_t value;
    require_ring0(cpu);
    if (!msr_read(cpu, (uint32_t)cpu->gpr[RCX], &value))
        cpu_raise_gp(cpu, 0);
    write_edx_eax(cpu, value);
}
EXEC_ONE(RDMSR, rdmsr)

static void wrmsr(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
    if (!msr_write(cpu, (uint32_t)cpu->gpr[RCX], read_edx_eax(cpu)))
        cpu_raise_gp(cpu, 0);
}
EXEC_ONE(WRMSR, wrmsr)

static void check_tsd(struct cpu *cpu)
{
    if (cpu->cr4 & CR4_TSD && cpu_cpl(cpu))
        cpu_raise_gp(cpu, 0);
}

static void rdtsc(struct cpu *cpu, const struct insn *insn)
{
    check_tsd(cpu);
    write_edx_eax(cpu, cpu_tsc(cpu));
}
EXEC_ONE(RDTSC, rdtsc)

static void rdtscp(struct cpu *cpu, const struct insn *insn)
{
    check_tsd(cpu);
    write_edx_eax(cpu, cpu_tsc(cpu));
    cpu->gpr[RCX] = (uint32_t)cpu->tsc_aux;
}
EXEC_ONE(RDTSCP, rdtscp)

static void rdpid(struct cpu *cpu, const struct insn *insn)
{
    gpr_write(cpu, insn->operand[0].reg, is_code64(cpu) ? 8 : 4, (uint32_t)cpu->tsc_aux);
}
EXEC_ONE(RDPID, rdpid)

/* CPUID reports no performance counters. */
static void rdpmc(struct cpu *cpu, const struct insn *insn)
{
    log_guest("RDPMC of counter %x, which does not exist", (uint32_t)cpu->gpr[RCX]);
    cpu_raise_gp(cpu, 0);
}
EXEC_ONE(RDPMC, rdpmc)

static void cpuid(struct cpu *cpu, const struct insn *insn)
{
    struct cpuid_result result = cpuid_read(cpu, (uint32_t)cpu->gpr[RAX], (uint32_t)cpu->gpr[RCX]);
    cpu->gpr[RAX] = result.eax;
    cpu->gpr[RBX] = result.ebx;
    cpu->gpr[RCX] = result.ecx;
    cpu->gpr[RDX] = result.edx;
}
EXEC_ONE(CPUID, cpuid)

/* -- Random numbers -- */

/* True if the host gave entropy; it is taken in larger portions. */
static bool random_bytes(struct cpu *cpu, void *data, unsigned size)
{
    if (cpu->random.left < size) {
        ssize_t got = getrandom(cpu->random.bytes, sizeof cpu->random.bytes, GRND_NONBLOCK);
        if (got != sizeof cpu->random.bytes)
            return false;
        cpu->random.left = sizeof cpu->random.bytes;
    }
    cpu->random.left -= size;
    memcpy(data, cpu->random.bytes + cpu->random.left, size);
    return true;
}

static void rdrand(struct cpu *cpu, const struct insn *insn)
{
    uint64_t value = 0;
    bool ok = random_bytes(cpu, &value, insn->opsize);
    gpr_write(cpu, insn->operand[0].reg, insn->opsize, value);
    cpu->eflags = (cpu->eflags & ~(uint32_t)FLAG_ARITH) | (ok ? FLAG_CF : 0);
}
EXEC_ONE(RDRAND, rdrand)
EXEC_ONE(RDSEED, rdrand)
