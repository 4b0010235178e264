/*
 * The system side of the processor, shared by the files of cpu/ and cpu/interp/: segments,
 * events, debug registers, MSRs, CPUID. Not for other rooms.
 */
#ifndef DOPPEL_CPU_SYSTEM_H
#define DOPPEL_CPU_SYSTEM_H

#include "cpu/cpu.h"
#include "cpu/mem.h"

/* -- Small predicates -- */

static inline bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static inline bool is_real(const struct cpu *cpu) /* real-address mode */
{
    return !(cpu->cr0 & CR0_PE);
}

static inline bool is_v86(const struct cpu *cpu)
{
    return cpu->mode & MODE_VM86;
}

static inline bool is_code64(const struct cpu *cpu)
{
    return cpu->mode & MODE_CODE64;
}

static inline bool is_long(const struct cpu *cpu)
{
    return cpu->efer & EFER_LMA;
}

static inline unsigned cpu_iopl(const struct cpu *cpu)
{
    return cpu->eflags >> 12 & 3;
}

/* Rights of implicit supervisor accesses (descriptor tables, TSS): EFLAGS.AC does not lift SMAP. */
static inline enum mmu_index cpu_implicit_mmu(const struct cpu *cpu)
{
    return cpu->cr4 & CR4_SMAP ? MMU_KERNEL_SMAP : MMU_KERNEL;
}

/* -- Control registers (cpu/control.c): all checks, flushes and derived state -- */

void cpu_write_cr0(struct cpu *cpu, uint64_t value);
void cpu_write_cr3(struct cpu *cpu, uint64_t value);
void cpu_write_cr4(struct cpu *cpu, uint64_t value);
/* EFER by WRMSR; raises #GP. */
void cpu_write_efer(struct cpu *cpu, uint64_t value);
/* CR4 bits that this CPU's features allow. */
uint64_t cpu_cr4_mask(const struct cpu *cpu);

/* cpu_update_mode() after only CPL (SS), AC and TF have changed, from 64-bit code to 64-bit code. */
void cpu_update_privilege(struct cpu *cpu);
/* Changes EFLAGS outside the arithmetic bits: derived mode, and IF opening the window. */
void cpu_set_eflags(struct cpu *cpu, uint32_t eflags);
/* Holds events back until the next instruction has run. */
void cpu_set_shadow(struct cpu *cpu, enum cpu_shadow shadow);
/* IF was set or CR8 lowered: looks whether an interrupt is waiting now. */
void cpu_check_interrupt(struct cpu *cpu);

/* -- Paging (cpu/paging.c) -- */

#define PHYSICAL_MASK ((1ull << CPU_PHYSICAL_BITS) - 1)

bool paging_create(struct cpu *cpu, struct error *error);
void paging_destroy(struct cpu *cpu);
/* CR3 was written: selects the TLBs of its PCID; flushes unless `keep`. */
void paging_switch(struct cpu *cpu, bool keep);
/* Loads the PDPTEs that `cr3` points to; false if a reserved bit is set (nothing loaded). */
bool paging_load_pdptes(struct cpu *cpu, uint64_t cr3);
/* INVPCID with PCIDs enabled or not. */
void paging_invalidate_pcid_page(struct cpu *cpu, unsigned pcid, gva_t gva);
void paging_invalidate_pcid(struct cpu *cpu, unsigned pcid);
void paging_invalidate_all_nonglobal(struct cpu *cpu);

/* Lets the TLB slot of gva under rights `mmu` allow `access` to its page, and gives its record;
 * raises #PF. The tag may still be slow (see TLB_SLOW). */
struct tlb_info *paging_resolve(struct cpu *cpu, enum mmu_index mmu, gva_t gva, enum access access);
/* The same without raising: NULL if it would. */
struct tlb_info *paging_try(struct cpu *cpu, enum mmu_index mmu, gva_t gva, enum access access);
/* Is the physical page main RAM at its usual place? */
bool paging_is_plain(const struct cpu *cpu, gpa_t gpa);
/* The current address space's TLBs, as window_flush() names them. */
const void *paging_space(const struct cpu *cpu);
/* Physical address of a linear one for the debugger: no faults, no A/D bits, no TLB. */
bool paging_translate(struct cpu *cpu, gva_t gva, gpa_t *gpa);

/* Host address of `size` bytes in one page, if the TLB lets rights `mmu` read (write) them as plain
 * memory; else NULL: mem_read_as() knows what to do. */
static inline void *tlb_host_read(const struct cpu *cpu, enum mmu_index mmu, gva_t gva, size_t size)
{
    return tlb_find(cpu->mmu[mmu], ACCESS_READ, gva, size);
}
static inline void *tlb_host_write(const struct cpu *cpu, enum mmu_index mmu, gva_t gva,
                                   size_t size)
{
    return tlb_find(cpu->mmu[mmu], ACCESS_WRITE, gva, size);
}
static inline uint64_t mem_read_u64_as(struct cpu *cpu, enum mmu_index mmu, gva_t gva)
{
    uint64_t value;
    const void *host = tlb_host_read(cpu, mmu, gva, 8);
    if (!host)
        return mem_read_as(cpu, mmu, gva, 8);
    memcpy(&value, host, 8);
    return value;
}

/* -- Debug registers (cpu/debug.c) -- */

enum { DR6_BD = 1 << 13, DR6_BS = 1 << 14, DR6_BT = 1 << 15 };
#define DR6_FIXED 0xffff0ff0u
#define DR7_FIXED 0x400u

/* Notes hits of data breakpoints in cpu->debug_hits. */
void debug_check_data(struct cpu *cpu, gva_t gva, unsigned size, bool write);
void debug_check_io(struct cpu *cpu, uint16_t port, unsigned size);
/* DR6 bits of instruction breakpoints at the linear address. */
uint32_t debug_instruction_hits(const struct cpu *cpu, gva_t gva);
/* Enables of DR7 that need watching: instruction, and data accesses. */
bool debug_armed(const struct cpu *cpu);
bool debug_data_armed(const struct cpu *cpu);
/* Raises #DB with these bits of DR6 set. */
_Noreturn void debug_raise(struct cpu *cpu, uint32_t dr6_bits);

/* -- Segments (cpu/segment.c) -- */

struct descriptor {
    uint32_t low, high;
    uint64_t base_high; /* upper half of the base in long mode's 16-byte descriptors */
    gva_t address;      /* linear, for setting accessed and busy bits */
};

enum system_type { /* types of system descriptors, attr bits 0-3 */
                   TYPE_TSS16 = 1,
                   TYPE_LDT = 2,
                   TYPE_TSS16_BUSY = 3,
                   TYPE_CALL16 = 4,
                   TYPE_TASK_GATE = 5,
                   TYPE_INT16 = 6,
                   TYPE_TRAP16 = 7,
                   TYPE_TSS32 = 9,
                   TYPE_TSS32_BUSY = 11,
                   TYPE_CALL32 = 12,
                   TYPE_INT32 = 14,
                   TYPE_TRAP32 = 15,
};

static inline unsigned descriptor_type(const struct descriptor *d) /* bits 0-3 */
{
    return d->high >> 8 & 15;
}
static inline bool descriptor_is_system(const struct descriptor *d)
{
    return !(d->high & 1u << 12);
}
static inline bool descriptor_is_code(const struct descriptor *d)
{
    return (d->high & 0x1800) == 0x1800;
}
static inline bool descriptor_is_conforming(const struct descriptor *d)
{
    return d->high & 1u << 10;
}
static inline bool descriptor_is_present(const struct descriptor *d)
{
    return d->high & 1u << 15;
}
static inline unsigned descriptor_dpl(const struct descriptor *d)
{
    return d->high >> 13 & 3;
}
static inline bool descriptor_is_long(const struct descriptor *d)
{
    return d->high & 1u << 21;
}
static inline bool descriptor_is_big(const struct descriptor *d)
{
    return d->high & 1u << 22;
}
uint32_t descriptor_limit(const struct descriptor *d);
uint64_t descriptor_base(const struct descriptor *d);
uint32_t gate_offset(const struct descriptor *d);
/* Hidden part from a descriptor. */
void segment_fill(struct segment *segment, uint16_t selector, const struct descriptor *d);

/* Reads the descriptor of a selector from GDT or LDT; false when it lies beyond the table. */
bool descriptor_read(struct cpu *cpu, uint16_t selector, struct descriptor *d);
/* The same, with #GP(selector) or the given vector. */
void descriptor_fetch(struct cpu *cpu, uint16_t selector, struct descriptor *d, int vector);
/* Second half of a 16-byte system descriptor in long mode; vector(selector) if malformed. */
void descriptor_fetch_high(struct cpu *cpu, uint16_t selector, struct descriptor *d, int vector);
void descriptor_set_accessed(struct cpu *cpu, struct descriptor *d);
void descriptor_set_busy(struct cpu *cpu, struct descriptor *d, bool busy);

/* Error code of a selector fault, with EXT while an event is delivered. */
uint32_t selector_error(const struct cpu *cpu, uint16_t selector);

/* MOV/POP to ES, SS, DS, FS, GS with all checks of the current mode. */
void segment_load(struct cpu *cpu, unsigned seg, uint16_t selector);
/* Real-mode or V86 style: base = selector << 4. `v86` also sets limit and rights. */
void segment_set_real(struct cpu *cpu, unsigned seg, uint16_t selector);
void segment_set_v86(struct cpu *cpu, unsigned seg, uint16_t selector);
void segment_load_ldt(struct cpu *cpu, uint16_t selector);
void segment_load_tr(struct cpu *cpu, uint16_t selector);
void segment_set_null(struct cpu *cpu, unsigned seg, uint16_t selector);
/* Checks a code descriptor as the target of a direct far JMP or CALL at CPL; raises. */
void segment_check_code(struct cpu *cpu, uint16_t selector, const struct descriptor *d);
/* Checks that `offset` can be executed in code segment `d` (limit or canonical): #GP(0). */
void segment_check_target(struct cpu *cpu, const struct descriptor *d, uint64_t offset);
/* Loads CS with RPL := cpl, and sets the accessed bit. */
void segment_commit_cs(struct cpu *cpu, uint16_t selector, struct descriptor *d, unsigned cpl);
/* Data segments that the new, lower privilege may not use become null (RET, IRET outward). */
void segment_drop_privileged(struct cpu *cpu, unsigned cpl);
/* Checks a stack segment for privilege level `cpl`; raises `vector`(selector), #SS if absent. */
void segment_check_stack(struct cpu *cpu, uint16_t selector, const struct descriptor *d,
                         unsigned cpl, int vector);

/* -- Events (cpu/event.c) -- */

enum event_kind {
    KIND_FAULT,              /* exception: return to the instruction */
    KIND_TRAP,               /* exception after the instruction */
    KIND_INTERRUPT,          /* external, NMI */
    KIND_SOFTWARE,           /* INT n: gate DPL checked, V86 redirection */
    KIND_SOFTWARE_EXCEPTION, /* INT3, INTO: DPL checked */
    KIND_ICEBP,              /* INT1: no DPL check */
};

/* Delivers an event through the IDT; `return_rip` is pushed. Raises if that faults. */
void event_deliver(struct cpu *cpu, int vector, enum event_kind kind, uint32_t error,
                   uint64_t return_rip);
/* Flags that IRET, POPF and task switches at privilege level `cpl` may change, of 32. */
uint32_t eflags_writable(const struct cpu *cpu, unsigned cpl);
/* Delivers cpu->raised, turning it into a double or triple fault if one was being delivered. */
void event_deliver_raised(struct cpu *cpu);
/* Ring `cpl` stack pointer and selector from the TSS (protected mode). */
void tss_read_stack(struct cpu *cpu, unsigned cpl, uint16_t *ss, uint32_t *esp);
/* RSP0-2 (index 0-2) or IST1-7 (index 3-9) from the 64-bit TSS. */
uint64_t tss_read_stack64(struct cpu *cpu, unsigned index);

/* A stack that is not, or not yet, SS:RSP: pushes and pops move only `sp`. */
struct frame {
    struct segment segment;
    uint64_t sp;
    uint64_t mask;      /* of the stack pointer: 16, 32 or 64 bits */
    enum mmu_index mmu; /* rights of its privilege level */
    bool flat64;        /* 64-bit mode: no base, no limit, canonical addresses */
    uint32_t error;     /* error code of #SS when it does not fit */
    bool current; /* the stack in use, at the privilege level in force */
};
void frame_push(struct cpu *cpu, struct frame *frame, uint64_t value, unsigned size);
/* Pushes 64-bit words, the last one first, onto a 64-bit stack. */
void frame_push_words(struct cpu *cpu, struct frame *frame, const uint64_t *words, unsigned count);
uint64_t frame_pop(struct cpu *cpu, struct frame *frame, unsigned size);
/* The current stack with the current rights. */
void frame_current(const struct cpu *cpu, struct frame *frame);
/* The stack `ss`:`sp` of privilege level `cpl`; outside 64-bit mode. */
void frame_inner(const struct cpu *cpu, struct frame *frame, const struct descriptor *d,
                 uint16_t ss, uint64_t sp, unsigned cpl);
/* The 64-bit stack at `sp` of privilege level `cpl`. */
void frame_inner64(const struct cpu *cpu, struct frame *frame, uint64_t sp, unsigned cpl);
/* RSP := frame->sp, as wide as the stack is. */
void frame_commit_sp(struct cpu *cpu, const struct frame *frame);

/* -- Far transfers (cpu/far.c). `size` is the operand size; they assign next_rip. -- */

void far_jump(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned size);
void far_call(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned size);
void far_return(struct cpu *cpu, unsigned size, unsigned release);
void far_iret(struct cpu *cpu, unsigned size);
/* IRETQ in the common case (cpu/fast.c); false: nothing was changed, the general way must do it. */
bool fast_iret(struct cpu *cpu);

/* -- Task switch (cpu/task.c) -- */

enum task_source { TASK_JUMP, TASK_CALL, TASK_IRET };
/* `d` describes the new TSS and is checked here. `push_error`: an exception's error code goes on
 * the new task's stack. Afterwards rip, and everything else, is the new task's. */
void task_switch(struct cpu *cpu, uint16_t selector, struct descriptor *d, enum task_source source,
                 uint64_t return_rip, bool push_error, uint32_t error);

/* -- Ports -- */

/* #GP(0) unless the current task may use these ports. */
void io_check(struct cpu *cpu, uint16_t port, unsigned size);

/* -- CPUID, MSRs, time -- */

struct cpuid_result {
    uint32_t eax, ebx, ecx, edx;
};
struct cpuid_result cpuid_read(struct cpu *cpu, uint32_t leaf, uint32_t subleaf);
/* Time stamp counter: IA32_TSC as the guest sees it. */
uint64_t cpu_tsc(struct cpu *cpu);
/* False: #GP. */
bool msr_read(struct cpu *cpu, uint32_t number, uint64_t *value);
bool msr_write(struct cpu *cpu, uint32_t number, uint64_t value);
void msr_reset(struct cpu *cpu);

#endif
