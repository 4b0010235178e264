/*
 * Life and run loop of one processor: creation, reset, the order of events at an instruction
 * boundary (Intel SDM 3A 6.9, "Priority among concurrent events"), halting, raising of faults.
 *
 * Memory layout. Generated code uses the host's stack pointer as its pointer to struct cpu, so that
 * no register is spent on it; calls and pushes of helpers then go right below the structure:
 *
 *     [ guard page ][ helper stack, CPU_STACK_SIZE ][ struct cpu ... ]
 *                                                   ^ page-aligned: also a legal stack pointer
 *
 * Overflow of the helper stack hits the guard page. The interpreter runs on the thread's own stack.
 */
#include "cpu/cpu.h"
#include "cpu/interp/interp.h"
#include "cpu/models.h"
#include "cpu/system.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CPU_STACK_SIZE (256u << 10)

static size_t round_to_page(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

/* Guard page and stack in front of the structure. */
static size_t bytes_before(void)
{
    return round_to_page(1) + round_to_page(CPU_STACK_SIZE);
}

struct cpu *cpu_new(int index, struct cpu_bus *bus, struct code_map *code,
                    const struct cpu_model *model, const struct accel *accel, struct error *error)
{
    size_t before = bytes_before();
    uint8_t *base = mmap(NULL, before + round_to_page(sizeof(struct cpu)), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        error_set(error, "cannot allocate a processor: out of memory");
        return NULL;
    }
    mprotect(base, round_to_page(1), PROT_NONE);

    struct cpu *cpu = (struct cpu *)(base + before);
    cpu->index = index;
    cpu->bus = bus;
    cpu->code = code;
    cpu->model = model;
    cpu->accel = accel;
    memcpy(cpu->features, model->features, sizeof cpu->features);
    if (!paging_create(cpu, error)) {
        munmap(base, before + round_to_page(sizeof(struct cpu)));
        return NULL;
    }
    cpu_reset(cpu);
    if (!interp_create(cpu, error) || !accel->create(cpu, error)) {
        cpu->accel = NULL;
        cpu_free(cpu);
        return NULL;
    }
    return cpu;
}

void cpu_free(struct cpu *cpu)
{
    if (!cpu)
        return;
    if (cpu->accel)
        cpu->accel->destroy(cpu);
    interp_destroy(cpu);
    paging_destroy(cpu);
    size_t before = bytes_before();
    munmap((uint8_t *)cpu - before, before + round_to_page(sizeof(struct cpu)));
}

/* -- Reset and INIT (SDM 3A table 9-1) -- */

static void reset_segments(struct cpu *cpu)
{
    static const uint16_t code_data = SEGMENT_P | SEGMENT_S | SEGMENT_RW | SEGMENT_ACCESSED;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        cpu->seg[i] = (struct segment){.limit = 0xffff, .attr = code_data};
    cpu->seg[SEG_CS].selector = 0xf000;
    cpu->seg[SEG_CS].base = 0xffff0000;
    cpu->seg[SEG_CS].attr = code_data | SEGMENT_CODE;
    cpu->seg[SEG_LDTR].attr = SEGMENT_P | TYPE_LDT;
    cpu->seg[SEG_TR].attr = SEGMENT_P | TYPE_TSS32_BUSY;
    cpu->gdtr.base = cpu->idtr.base = 0;
    cpu->gdtr.limit = cpu->idtr.limit = 0xffff;
}

/* What INIT and power-on have in common. */
static void reset_common(struct cpu *cpu)
{
    memset(cpu->gpr, 0, sizeof cpu->gpr);
    cpu->gpr[RDX] = cpu->model->signature;
    cpu->rip = cpu->next_rip = 0xfff0;
    cpu->eflags = FLAG_FIXED;
    cpu->cr0 = CR0_CD | CR0_NW | CR0_ET;
    cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->cr8 = 0;
    cpu->efer = 0;
    memset(cpu->dr, 0, sizeof cpu->dr);
    cpu->dr[6] = DR6_FIXED;
    cpu->dr[7] = DR7_FIXED;
    reset_segments(cpu);
    cpu->halted = cpu->wait_sipi = cpu->index != 0;
    cpu->nmi_blocked = cpu->shutdown = cpu->mwait_break = false;
    cpu->shadow = SHADOW_NONE;
    cpu->debug_hits = 0;
    cpu->held_interrupt = FLAG_IF >> 8;
    cpu->fault.vector = cpu->raised.vector = -1;
    cpu->insn = NULL;
    cpu_update_mode(cpu);
    paging_switch(cpu, false);
    tlb_flush_all(cpu);
}

void cpu_reset(struct cpu *cpu)
{
    atomic_store(&cpu->event, 0);
    memset(cpu->xmm, 0, sizeof cpu->xmm);
    memset(&cpu->x87, 0, sizeof cpu->x87);
    cpu->x87.control = 0x40; /* all registers +0.0 and in use */
    cpu->mxcsr = 0x1f80;
    cpu->xcr0 = 1;
    cpu->instructions = 0;
    msr_reset(cpu);
    reset_common(cpu);
}

static void start_at_sipi_vector(struct cpu *cpu)
{
    uint8_t vector = atomic_load(&cpu->sipi_vector);
    cpu->halted = cpu->wait_sipi = false;
    segment_set_real(cpu, SEG_CS, (uint16_t)(vector << 8));
    cpu->rip = 0;
    cpu_update_mode(cpu);
}

/* -- Derived state -- */

/* Data segment through which any offset up to 4 GiB may be read and written unchecked. */
static bool is_flat_data(const struct segment *s)
{
    const unsigned mask = SEGMENT_P | SEGMENT_S | SEGMENT_CODE | SEGMENT_DC | SEGMENT_RW;
    return s->base == 0 && s->limit == 0xffffffff &&
           (s->attr & mask) == (SEGMENT_P | SEGMENT_S | SEGMENT_RW);
}

static uint32_t flat_bits(const struct cpu *cpu)
{
    static const struct {
        uint8_t seg;
        uint32_t bit;
    } data[] = {{SEG_SS, MODE_FLAT_SS},
                {SEG_DS, MODE_FLAT_DS},
                {SEG_ES, MODE_FLAT_ES},
                {SEG_FS, MODE_FLAT_FS},
                {SEG_GS, MODE_FLAT_GS}};
    uint32_t bits = 0;
    for (unsigned i = 0; i < sizeof data / sizeof *data; i++)
        if (is_flat_data(&cpu->seg[data[i].seg]))
            bits |= data[i].bit;
    if (cpu->seg[SEG_CS].base == 0 && cpu->seg[SEG_CS].limit == 0xffffffff)
        bits |= MODE_FLAT_CS;
    return bits;
}

void cpu_update_mode(struct cpu *cpu)
{
    uint32_t mode = 0;
    unsigned cpl = 0;
    bool long_mode = cpu->efer & EFER_LMA;
    const struct segment *cs = &cpu->seg[SEG_CS];
    cpu->cpuid_epoch++;

    if (cpu->cr0 & CR0_PE) {
        if (cpu->eflags & FLAG_VM && !long_mode) {
            mode |= MODE_VM86;
            cpl = 3;
        } else {
            mode |= MODE_PROTECTED;
            cpl = cpu->seg[SEG_SS].attr >> SEGMENT_DPL_SHIFT & 3;
        }
    }
    mode |= cpl;
    if (long_mode)
        mode |= MODE_LONG;
    if (long_mode && cs->attr & SEGMENT_L) {
        mode |= MODE_CODE64 | MODE_FLAT_CS | MODE_FLAT_SS | MODE_FLAT_DS | MODE_FLAT_ES;
    } else {
        mode |= flat_bits(cpu);
        if (cs->attr & SEGMENT_DB)
            mode |= MODE_CODE32;
    }
    if (cpu->seg[SEG_SS].attr & SEGMENT_DB)
        mode |= MODE_STACK32;
    if (cpu->cr0 & CR0_PG)
        mode |= MODE_PAGING;
    if (cpu->cr0 & (CR0_EM | CR0_TS))
        mode |= MODE_NO_X87 | MODE_NO_SSE;
    if (!(cpu->cr4 & CR4_OSFXSR))
        mode |= MODE_NO_SSE;
    if (!(cpu->cr4 & CR4_OSXSAVE) || (cpu->xcr0 & 6) != 6 || cpu->cr0 & CR0_TS)
        mode |= MODE_NO_AVX;
    if (cpu->cr0 & CR0_AM && cpu->eflags & FLAG_AC && cpl == 3)
        mode |= MODE_ALIGN;
    if (cpu->eflags & FLAG_TF)
        mode |= MODE_STEP;
    if (debug_armed(cpu))
        mode |= MODE_BREAK;

    enum mmu_index mmu = cpl == 3 ? MMU_USER : MMU_KERNEL;
    if (mmu == MMU_KERNEL && cpu->cr4 & CR4_SMAP && !(cpu->eflags & FLAG_AC))
        mmu = MMU_KERNEL_SMAP;
    mode |= (uint32_t)mmu << MODE_MMU_SHIFT;
    if (cpu->windowed && cpl == 3 && mode & MODE_CODE64 &&
        !(mode & (MODE_ALIGN | MODE_STEP | MODE_BREAK)))
        mode |= MODE_WINDOW;

    cpu->mode = mode;
    bool watched = mode & MODE_ALIGN || (mode & MODE_BREAK && debug_data_armed(cpu));
    cpu->tlb = watched ? cpu->watch : cpu->mmu[mmu];
    if (mode & (MODE_STEP | MODE_BREAK))
        cpu_post(cpu, EVENT_STEP);
    else if (atomic_load_explicit(&cpu->event, memory_order_relaxed) & EVENT_STEP)
        atomic_fetch_and(&cpu->event, ~(uint32_t)EVENT_STEP);
}

/* CLAC and STAC stand around each of a kernel's accesses to user memory. */
static void change_ac_in_kernel(struct cpu *cpu)
{
    enum mmu_index mmu =
        cpu->cr4 & CR4_SMAP && !(cpu->eflags & FLAG_AC) ? MMU_KERNEL_SMAP : MMU_KERNEL;
    cpu->mode = (cpu->mode & ~(3u << MODE_MMU_SHIFT)) | (uint32_t)mmu << MODE_MMU_SHIFT;
    if (cpu->tlb != cpu->watch)
        cpu->tlb = cpu->mmu[mmu];
}

void cpu_set_eflags(struct cpu *cpu, uint32_t eflags)
{
    uint32_t changed = cpu->eflags ^ eflags;
    cpu->eflags = eflags | FLAG_FIXED;
    if ((changed & (FLAG_TF | FLAG_VM | FLAG_AC | FLAG_RF)) == FLAG_AC && cpu_cpl(cpu) != 3)
        change_ac_in_kernel(cpu);
    else if (changed & (FLAG_TF | FLAG_VM | FLAG_AC | FLAG_RF))
        cpu_update_mode(cpu);
    if (changed & eflags & FLAG_IF)
        cpu_check_interrupt(cpu);
}

void cpu_set_shadow(struct cpu *cpu, enum cpu_shadow shadow)
{
    cpu->shadow = (uint8_t)shadow;
    cpu_post(cpu, EVENT_SHADOW);
}

/* -- Raising -- */

_Noreturn void cpu_raise(struct cpu *cpu, int vector, uint32_t error)
{
    cpu->raised.vector = vector;
    cpu->raised.error = error;
    siglongjmp(cpu->unwind, 1);
}

_Noreturn void cpu_raise_ud(struct cpu *cpu)
{
    cpu_raise(cpu, EXC_UD, 0);
}

_Noreturn void cpu_raise_gp(struct cpu *cpu, uint32_t error)
{
    cpu_raise(cpu, EXC_GP, error);
}

_Noreturn void cpu_raise_page_fault(struct cpu *cpu, gva_t gva, uint32_t error)
{
    cpu->cr2 = gva;
    cpu_raise(cpu, EXC_PF, error);
}

_Noreturn void cpu_unwind(struct cpu *cpu)
{
    siglongjmp(cpu->unwind, 1);
}

/* -- Events -- */

void cpu_post(struct cpu *cpu, uint32_t events)
{
    atomic_fetch_or(&cpu->event, events);
}

void cpu_check_interrupt(struct cpu *cpu)
{
    bool open = cpu->eflags & FLAG_IF, pending = cpu->bus->irq_pending(cpu->bus->opaque, cpu);
    cpu->held_interrupt = pending && !open ? FLAG_IF >> 8 : 0;
    if (pending && open)
        cpu_post(cpu, EVENT_INTERRUPT);
}

bool cpu_has_work(struct cpu *cpu)
{
    uint32_t events = atomic_load(&cpu->event);
    if (events & (EVENT_RESET | EVENT_STOP | EVENT_INIT | EVENT_FLUSH_TLB | EVENT_FLUSH_CODE))
        return true;
    if (cpu->wait_sipi)
        return events & EVENT_SIPI;
    if (!cpu->halted || (events & EVENT_NMI && !cpu->nmi_blocked))
        return true;
    return events & EVENT_INTERRUPT && (cpu->eflags & FLAG_IF || cpu->mwait_break) &&
           cpu->bus->irq_pending(cpu->bus->opaque, cpu);
}

static bool take_event(struct cpu *cpu, uint32_t event)
{
    if (!(atomic_load_explicit(&cpu->event, memory_order_relaxed) & event))
        return false;
    atomic_fetch_and(&cpu->event, ~event);
    return true;
}

static void wake(struct cpu *cpu)
{
    cpu->halted = cpu->mwait_break = false;
}

/* Delivers an NMI or an interrupt if one is due. True if the boundary has moved. */
static bool deliver_interrupts(struct cpu *cpu)
{
    if (cpu->shadow)
        return false;
    if (!cpu->nmi_blocked && take_event(cpu, EVENT_NMI)) {
        wake(cpu);
        cpu->nmi_blocked = true;
        event_deliver(cpu, EXC_NMI, KIND_INTERRUPT, 0, cpu->rip);
        return true;
    }
    /* With IF clear the bit is dropped: whoever sets IF asks the controller again. */
    if (!take_event(cpu, EVENT_INTERRUPT))
        return false;
    if (!(cpu->eflags & FLAG_IF)) {
        cpu->held_interrupt = FLAG_IF >> 8;
        if (cpu->halted && cpu->mwait_break && cpu->bus->irq_pending(cpu->bus->opaque, cpu))
            wake(cpu);
    } else {
        int vector = cpu->bus->irq_accept(cpu->bus->opaque, cpu);
        if (vector >= 0) {
            wake(cpu);
            event_deliver(cpu, vector, KIND_INTERRUPT, 0, cpu->rip);
            cpu_check_interrupt(cpu);
            return true;
        }
    }
    return false;
}

enum boundary { BOUNDARY_RUN, BOUNDARY_MOVED, BOUNDARY_EXIT };

/* Everything that can be due between two instructions, in order of priority. */
static enum boundary handle_events(struct cpu *cpu, enum cpu_exit *exit)
{
    if (take_event(cpu, EVENT_RESET)) {
        *exit = CPU_EXIT_RESET;
        return BOUNDARY_EXIT;
    }
    if (take_event(cpu, EVENT_STOP)) {
        *exit = CPU_EXIT_STOPPED;
        return BOUNDARY_EXIT;
    }
    if (take_event(cpu, EVENT_FLUSH_TLB))
        tlb_flush_moved(cpu);
    if (take_event(cpu, EVENT_FLUSH_CODE))
        code_run_queue(cpu->code);
    if (take_event(cpu, EVENT_INIT)) {
        reset_common(cpu);
        return BOUNDARY_MOVED;
    }
    if (take_event(cpu, EVENT_SIPI) && cpu->wait_sipi)
        start_at_sipi_vector(cpu);
    if (cpu->shutdown) {
        *exit = CPU_EXIT_SHUTDOWN;
        return BOUNDARY_EXIT;
    }
    if (cpu->wait_sipi) {
        *exit = CPU_EXIT_HALTED;
        return BOUNDARY_EXIT;
    }
    if (!cpu->shadow)
        take_event(cpu, EVENT_SHADOW);
    if (deliver_interrupts(cpu))
        return BOUNDARY_MOVED;
    if (cpu->halted) {
        *exit = CPU_EXIT_HALTED;
        return BOUNDARY_EXIT;
    }
    return BOUNDARY_RUN;
}

enum cpu_exit cpu_run(struct cpu *cpu)
{
    enum cpu_exit exit;

    interp_enter(cpu);
    cpu->insn = NULL;
    sigsetjmp(cpu->unwind, 0); /* faults and cpu_unwind() come back to here */
    interp_leave(cpu);
    for (;;) {
        if (cpu->raised.vector >= 0)
            event_deliver_raised(cpu);
        if (atomic_load(&cpu->event) || cpu->halted || cpu->shutdown) {
            enum boundary boundary = handle_events(cpu, &exit);
            if (boundary == BOUNDARY_EXIT)
                return exit;
            if (boundary == BOUNDARY_MOVED)
                continue;
            /* Engines run only while nothing is due: an NMI that waits for IRET stays due. */
            bool held_nmi = cpu->nmi_blocked && atomic_load(&cpu->event) & EVENT_NMI;
            if (cpu->shadow || held_nmi || cpu->mode & (MODE_STEP | MODE_BREAK)) {
                interp_step(cpu);
                continue;
            }
        }
        cpu->accel->run(cpu);
        if (cpu->failed)
            return CPU_EXIT_FAILED;
    }
}

void cpu_step(struct cpu *cpu)
{
    enum cpu_exit exit;
    sigjmp_buf outer; /* the caller may be an engine inside cpu_run() */
    volatile bool stepped = false;

    interp_enter(cpu);
    memcpy(&outer, &cpu->unwind, sizeof outer);
    sigsetjmp(cpu->unwind, 0);
    interp_leave(cpu);
    if (cpu->raised.vector >= 0) {
        event_deliver_raised(cpu);
    } else if (!stepped) {
        stepped = true;
        if (handle_events(cpu, &exit) == BOUNDARY_RUN)
            interp_step(cpu);
    }
    memcpy(&cpu->unwind, &outer, sizeof outer);
}

/* -- State -- */

const unsigned cpu_fields_version = 1;

static const struct field segment_fields[] = {
    FIELD(struct segment, base, 1),
    FIELD(struct segment, limit, 1),
    FIELD(struct segment, selector, 1),
    FIELD(struct segment, attr, 1),
    FIELD_END,
};

static const struct field vector_fields[] = {
    FIELD_ARRAY(union vector, u64, 1),
    FIELD_END,
};

static const struct field float80_fields[] = {
    FIELD(struct float80, mantissa, 1),
    FIELD(struct float80, exponent, 1),
    FIELD_END,
};

static const struct field x87_fields[] = {
    FIELD_STRUCTS(struct x87, reg, float80_fields, 1),
    FIELD(struct x87, control, 1),
    FIELD(struct x87, status, 1),
    FIELD(struct x87, top, 1),
    FIELD(struct x87, empty, 1),
    FIELD(struct x87, opcode, 1),
    FIELD(struct x87, ip_selector, 1),
    FIELD(struct x87, dp_selector, 1),
    FIELD(struct x87, ip, 1),
    FIELD(struct x87, dp, 1),
    FIELD_END,
};

const struct field cpu_fields[] = {
    FIELD_ARRAY(struct cpu, gpr, 1),
    FIELD(struct cpu, rip, 1),
    FIELD(struct cpu, eflags, 1),
    FIELD(struct cpu, event, 1),
    FIELD(struct cpu, mxcsr, 1),
    FIELD_STRUCTS(struct cpu, seg, segment_fields, 1),
    FIELD_STRUCTS(struct cpu, xmm, vector_fields, 1),
    FIELD_STRUCT(struct cpu, x87, x87_fields, 1),
    FIELD(struct cpu, cr0, 1),
    FIELD(struct cpu, cr2, 1),
    FIELD(struct cpu, cr3, 1),
    FIELD(struct cpu, cr4, 1),
    FIELD(struct cpu, cr8, 1),
    FIELD(struct cpu, xcr0, 1),
    FIELD(struct cpu, efer, 1),
    FIELD_ARRAY(struct cpu, dr, 1),
    FIELD(struct cpu, gdtr.base, 1),
    FIELD(struct cpu, gdtr.limit, 1),
    FIELD(struct cpu, idtr.base, 1),
    FIELD(struct cpu, idtr.limit, 1),
    FIELD(struct cpu, star, 1),
    FIELD(struct cpu, lstar, 1),
    FIELD(struct cpu, cstar, 1),
    FIELD(struct cpu, sfmask, 1),
    FIELD(struct cpu, kernel_gs_base, 1),
    FIELD(struct cpu, sysenter_cs, 1),
    FIELD(struct cpu, sysenter_esp, 1),
    FIELD(struct cpu, sysenter_eip, 1),
    FIELD(struct cpu, pat, 1),
    FIELD(struct cpu, tsc_offset, 1),
    FIELD(struct cpu, tsc_aux, 1),
    FIELD(struct cpu, misc_enable, 1),
    FIELD(struct cpu, mtrr_def_type, 1),
    FIELD_ARRAY(struct cpu, mtrr_fixed, 1),
    FIELD_ARRAY(struct cpu, mtrr_base, 1),
    FIELD_ARRAY(struct cpu, mtrr_mask, 1),
    FIELD(struct cpu, halted, 1),
    FIELD(struct cpu, wait_sipi, 1),
    FIELD(struct cpu, nmi_blocked, 1),
    FIELD(struct cpu, shadow, 1),
    FIELD(struct cpu, shutdown, 1),
    FIELD(struct cpu, mwait_break, 1),
    FIELD(struct cpu, sipi_vector, 1),
    FIELD_ARRAY(struct cpu, pdpte, 1),
    FIELD(struct cpu, debug_ctl, 1),
    FIELD(struct cpu, spec_ctrl, 1),
    FIELD(struct cpu, mcg_status, 1),
    FIELD(struct cpu, instructions, 1),
    FIELD(struct cpu, debug_hits, 1),
    FIELD_END,
};

bool cpu_post_load(struct cpu *cpu, struct error *error)
{
    if (cpu->x87.top > 7 || cpu->shadow > SHADOW_MOV_SS)
        return error_set(error, "the saved processor state is damaged");
    cpu->gpr[REG_ZERO] = 0;
    cpu->eflags |= FLAG_FIXED;
    cpu->next_rip = cpu->rip;
    cpu->held_interrupt = FLAG_IF >> 8;
    cpu->fault.vector = cpu->raised.vector = -1;
    cpu->insn = NULL;
    if (cpu->shadow)
        cpu_post(cpu, EVENT_SHADOW);
    paging_switch(cpu, false);
    tlb_flush_all(cpu);
    cpu_update_mode(cpu);
    code_drop_all(cpu->code);
    return true;
}
