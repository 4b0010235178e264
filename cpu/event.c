/*
 * Delivery of exceptions and interrupts: real mode, protected mode (interrupt, trap and task
 * gates), virtual-8086 mode (with VME redirection), long mode (IST); double and triple faults
 * (Intel SDM 3A chapter 6, 20.3, 20.4).
 *
 * Nothing of the processor's state changes before the last access that can fault: a failed delivery
 * leaves the interrupted context as it was, for the next exception to push.
 */
#include "cpu/log.h"
#include "cpu/system.h"

/* -- Classes of exceptions (SDM 3A table 6-4) -- */

static bool is_contributory(int vector)
{
    return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

static bool has_error_code(int vector)
{
    return vector == EXC_DF || (vector >= EXC_TS && vector <= EXC_PF) || vector == EXC_AC;
}

/* -- One delivery -- */

struct delivery {
    int vector;
    enum event_kind kind;
    bool software; /* by an INT instruction: the gate's DPL counts */
    bool push_error;
    uint32_t error;
    uint64_t return_rip;
    uint32_t eflags; /* image to push */
};

static uint32_t idt_error(const struct cpu *cpu, const struct delivery *event)
{
    return (uint32_t)event->vector * 8 + 2 + (cpu->fault.external ? 1 : 0);
}

/* New CS:rIP and the flags that every handler starts with. */
static void enter_handler(struct cpu *cpu, uint64_t rip, uint32_t clear)
{
    cpu->rip = cpu->next_rip = rip;
    cpu->eflags &= ~(clear | FLAG_TF | FLAG_RF);
    cpu_update_mode(cpu);
}

/* Through an interrupt vector table: real mode at IDTR, VME redirection at linear 0. */
static void deliver_by_table(struct cpu *cpu, const struct delivery *event, gva_t table,
                             uint32_t clear)
{
    struct frame stack;
    uint32_t entry = (uint32_t)mem_read_as(cpu, cpu_implicit_mmu(cpu),
                                           (uint32_t)(table + (unsigned)event->vector * 4), 4);
    frame_current(cpu, &stack);
    frame_push(cpu, &stack, event->eflags & 0xffff, 2);
    frame_push(cpu, &stack, cpu->seg[SEG_CS].selector, 2);
    frame_push(cpu, &stack, event->return_rip & 0xffff, 2);
    frame_commit_sp(cpu, &stack);
    if (is_v86(cpu))
        segment_set_v86(cpu, SEG_CS, (uint16_t)(entry >> 16));
    else
        segment_set_real(cpu, SEG_CS, (uint16_t)(entry >> 16));
    enter_handler(cpu, entry & 0xffff, clear);
}

static void deliver_real(struct cpu *cpu, struct delivery *event)
{
    if ((unsigned)event->vector * 4 + 3 > cpu->idtr.limit)
        cpu_raise_gp(cpu, idt_error(cpu, event));
    deliver_by_table(cpu, event, cpu->idtr.base, FLAG_IF | FLAG_AC);
}

/* Is INT n redirected to the virtual-8086 program? The TSS holds a bit map below its I/O map. */
static bool v86_redirected(struct cpu *cpu, int vector)
{
    const struct segment *tr = &cpu->seg[SEG_TR];
    enum mmu_index mmu = cpu_implicit_mmu(cpu);
    if (!(tr->attr & 8) || tr->limit < 103)
        cpu_raise_gp(cpu, 0);
    uint32_t map = (uint32_t)mem_read_as(cpu, mmu, (uint32_t)(tr->base + 102), 2);
    uint32_t byte = map - 32 + (uint32_t)vector / 8;
    if (map < 32 || byte > tr->limit)
        cpu_raise_gp(cpu, 0);
    return !(mem_read_as(cpu, mmu, (uint32_t)(tr->base + byte), 1) >> (vector & 7) & 1);
}

/* INT n in virtual-8086 mode: true if it was served here (SDM 3A table 20-2). */
static bool deliver_v86_software(struct cpu *cpu, struct delivery *event)
{
    if (cpu->cr4 & CR4_VME && v86_redirected(cpu, event->vector)) {
        uint32_t clear = FLAG_IF;
        if (cpu_iopl(cpu) < 3) { /* IF is virtualized: VIF stands for it, IOPL reads as 3 */
            clear = FLAG_VIF;
            event->eflags |= FLAG_IOPL;
            event->eflags &= ~(uint32_t)FLAG_IF;
            event->eflags |= cpu->eflags & FLAG_VIF ? FLAG_IF : 0;
        }
        deliver_by_table(cpu, event, 0, clear);
        return true;
    }
    if (cpu_iopl(cpu) < 3)
        cpu_raise_gp(cpu, 0);
    return false;
}

/* Checks of the code segment that a gate names; all modes with descriptors. */
static void fetch_gate_target(struct cpu *cpu, uint16_t selector, struct descriptor *cs)
{
    if (!(selector & 0xfffc))
        cpu_raise_gp(cpu, selector_error(cpu, 0));
    descriptor_fetch(cpu, selector, cs, EXC_GP);
    bool code64_ok = !is_long(cpu) || (descriptor_is_long(cs) && !descriptor_is_big(cs));
    if (!descriptor_is_code(cs) || descriptor_dpl(cs) > cpu_cpl(cpu) || !code64_ok)
        cpu_raise_gp(cpu, selector_error(cpu, selector));
    if (!descriptor_is_present(cs))
        cpu_raise(cpu, EXC_NP, selector_error(cpu, selector));
}

static void deliver_by_task_gate(struct cpu *cpu, const struct delivery *event, uint16_t selector)
{
    struct descriptor tss;
    if (selector & 4)
        cpu_raise_gp(cpu, selector_error(cpu, selector));
    descriptor_fetch(cpu, selector, &tss, EXC_GP);
    cpu->eflags = event->eflags; /* the old task's image has RF as one on the stack would */
    task_switch(cpu, selector, &tss, TASK_CALL, event->return_rip, event->push_error, event->error);
}

/* The stack of the inner privilege level, from the TSS, checked. */
static void inner_stack(struct cpu *cpu, unsigned cpl, struct descriptor *ss_descriptor,
                        uint16_t *ss, struct frame *stack)
{
    uint32_t esp;
    tss_read_stack(cpu, cpl, ss, &esp);
    if (!(*ss & 0xfffc))
        cpu_raise(cpu, EXC_TS, selector_error(cpu, *ss));
    descriptor_fetch(cpu, *ss, ss_descriptor, EXC_TS);
    segment_check_stack(cpu, *ss, ss_descriptor, cpl, EXC_TS);
    descriptor_set_accessed(cpu, ss_descriptor);
    frame_inner(cpu, stack, ss_descriptor, *ss, esp, cpl);
}

static void deliver_protected(struct cpu *cpu, struct delivery *event)
{
    unsigned offset = (unsigned)event->vector * 8;
    if (offset + 7 > cpu->idtr.limit)
        cpu_raise_gp(cpu, idt_error(cpu, event));
    uint64_t raw = mem_read_as(cpu, cpu_implicit_mmu(cpu), (uint32_t)(cpu->idtr.base + offset), 8);
    struct descriptor gate = {.low = (uint32_t)raw, .high = (uint32_t)(raw >> 32)};
    unsigned type = descriptor_type(&gate);
    bool big = type == TYPE_INT32 || type == TYPE_TRAP32;
    bool known = big || type == TYPE_INT16 || type == TYPE_TRAP16 || type == TYPE_TASK_GATE;
    if (!descriptor_is_system(&gate) || !known ||
        (event->software && descriptor_dpl(&gate) < cpu_cpl(cpu)))
        cpu_raise_gp(cpu, idt_error(cpu, event));
    if (!descriptor_is_present(&gate))
        cpu_raise(cpu, EXC_NP, idt_error(cpu, event));

    uint16_t selector = (uint16_t)(gate.low >> 16);
    if (type == TYPE_TASK_GATE) {
        deliver_by_task_gate(cpu, event, selector);
        return;
    }

    struct descriptor cs, ss_descriptor;
    struct frame stack;
    uint16_t ss = 0;
    unsigned size = big ? 4 : 2, cpl = cpu_cpl(cpu);
    uint32_t handler = big ? gate_offset(&gate) : gate.low & 0xffff;
    fetch_gate_target(cpu, selector, &cs);
    bool inner = !descriptor_is_conforming(&cs) && descriptor_dpl(&cs) < cpl;
    if (is_v86(cpu) && (!inner || descriptor_dpl(&cs) != 0))
        cpu_raise_gp(cpu, selector_error(cpu, selector));

    if (inner) {
        cpl = descriptor_dpl(&cs);
        inner_stack(cpu, cpl, &ss_descriptor, &ss, &stack);
        segment_check_target(cpu, &cs, handler);
        if (is_v86(cpu)) {
            static const uint8_t order[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};
            for (unsigned i = 0; i < sizeof order; i++)
                frame_push(cpu, &stack, cpu->seg[order[i]].selector, size);
        }
        frame_push(cpu, &stack, cpu->seg[SEG_SS].selector, size);
        frame_push(cpu, &stack, cpu->gpr[RSP], size);
    } else {
        segment_check_target(cpu, &cs, handler);
        frame_current(cpu, &stack);
    }
    frame_push(cpu, &stack, event->eflags, size);
    frame_push(cpu, &stack, cpu->seg[SEG_CS].selector, size);
    frame_push(cpu, &stack, event->return_rip, size);
    if (event->push_error)
        frame_push(cpu, &stack, event->error, size);
    descriptor_set_accessed(cpu, &cs);

    if (is_v86(cpu)) {
        static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
        cpu->eflags &= ~(uint32_t)FLAG_VM;
        for (unsigned i = 0; i < sizeof data; i++)
            segment_set_null(cpu, data[i], 0);
    }
    if (inner) {
        segment_fill(&cpu->seg[SEG_SS], ss, &ss_descriptor);
        cpu->gpr[RSP] = stack.mask == 0xffff ? (cpu->gpr[RSP] & ~0xffffull) | stack.sp : stack.sp;
    } else {
        frame_commit_sp(cpu, &stack);
    }
    segment_commit_cs(cpu, selector, &cs, cpl);
    enter_handler(cpu, handler, FLAG_NT | FLAG_VM | (type & 1 ? 0 : FLAG_IF));
}

static void deliver_long(struct cpu *cpu, struct delivery *event)
{
    unsigned offset = (unsigned)event->vector * 16;
    if (offset + 15 > cpu->idtr.limit)
        cpu_raise_gp(cpu, idt_error(cpu, event));
    uint64_t raw = mem_read_u64_as(cpu, cpu_implicit_mmu(cpu), cpu->idtr.base + offset);
    uint64_t high = mem_read_u64_as(cpu, cpu_implicit_mmu(cpu), cpu->idtr.base + offset + 8);
    struct descriptor gate = {.low = (uint32_t)raw, .high = (uint32_t)(raw >> 32)};
    unsigned type = descriptor_type(&gate);
    if (!descriptor_is_system(&gate) || (type != TYPE_INT32 && type != TYPE_TRAP32) ||
        (event->software && descriptor_dpl(&gate) < cpu_cpl(cpu)))
        cpu_raise_gp(cpu, idt_error(cpu, event));
    if (!descriptor_is_present(&gate))
        cpu_raise(cpu, EXC_NP, idt_error(cpu, event));

    struct descriptor cs;
    struct frame stack;
    uint16_t selector = (uint16_t)(gate.low >> 16);
    uint64_t handler = gate_offset(&gate) | high << 32;
    unsigned cpl = cpu_cpl(cpu), ist = gate.high & 7;
    fetch_gate_target(cpu, selector, &cs);
    bool inner = !descriptor_is_conforming(&cs) && descriptor_dpl(&cs) < cpl;
    if (inner)
        cpl = descriptor_dpl(&cs);
    uint64_t sp = ist     ? tss_read_stack64(cpu, ist + 2)
                  : inner ? tss_read_stack64(cpu, cpl)
                          : cpu->gpr[RSP];
    segment_check_target(cpu, &cs, handler);
    frame_inner64(cpu, &stack, sp & ~15ull, cpl);
    const uint64_t pushed[6] = {event->error,  event->return_rip, cpu->seg[SEG_CS].selector,
                                event->eflags, cpu->gpr[RSP],     cpu->seg[SEG_SS].selector};
    frame_push_words(cpu, &stack, &pushed[!event->push_error], event->push_error ? 6 : 5);
    descriptor_set_accessed(cpu, &cs);

    cpu->gpr[RSP] = stack.sp;
    if (inner) {
        cpu->seg[SEG_SS].selector = (uint16_t)cpl;
        cpu->seg[SEG_SS].attr = (uint16_t)(cpl << SEGMENT_DPL_SHIFT | SEGMENT_DB);
    }
    segment_commit_cs(cpu, selector, &cs, cpl);
    cpu->rip = cpu->next_rip = handler;
    cpu->eflags &= ~(uint32_t)(FLAG_NT | FLAG_TF | FLAG_RF | (type & 1 ? 0 : FLAG_IF));
    cpu_update_privilege(cpu);
}

static void log_event(const struct cpu *cpu, const struct delivery *event)
{
    log_if(LOG_INT,
           "int %02x kind %d error %x at %04x:%016llx sp %016llx cr2 %016llx -> %04x:%016llx",
           (unsigned)event->vector, event->kind, event->error, cpu->seg[SEG_CS].selector,
           (unsigned long long)event->return_rip, (unsigned long long)cpu->gpr[RSP],
           (unsigned long long)cpu->cr2, cpu->seg[SEG_CS].selector, (unsigned long long)cpu->rip);
}

void event_deliver(struct cpu *cpu, int vector, enum event_kind kind, uint32_t error,
                   uint64_t return_rip)
{
    bool exception = kind == KIND_FAULT || kind == KIND_TRAP;
    struct delivery event = {
        .vector = vector,
        .kind = kind,
        .software = kind == KIND_SOFTWARE || kind == KIND_SOFTWARE_EXCEPTION,
        .push_error = kind == KIND_FAULT && has_error_code(vector),
        .error = error,
        .return_rip = return_rip,
        .eflags = cpu->eflags,
    };
    if (kind == KIND_FAULT && vector != EXC_DB)
        event.eflags |= FLAG_RF;
    cpu->fault.vector = exception ? vector : -1;
    cpu->fault.external = !event.software;
    cpu->step_inhibit = true;

    if (is_real(cpu)) {
        deliver_real(cpu, &event);
    } else if (is_long(cpu)) {
        deliver_long(cpu, &event);
    } else if (!(is_v86(cpu) && kind == KIND_SOFTWARE && deliver_v86_software(cpu, &event))) {
        deliver_protected(cpu, &event);
    }
    if (exception && vector == EXC_DB)
        cpu->dr[7] &= ~(1ull << 13); /* GD */
    cpu->fault.vector = -1;
    cpu->fault.external = false;
    log_event(cpu, &event);
}

void event_deliver_raised(struct cpu *cpu)
{
    int vector = cpu->raised.vector, first = cpu->fault.vector;
    uint32_t error = cpu->raised.error;
    bool severe = is_contributory(vector) || vector == EXC_PF;

    cpu->raised.vector = -1;
    cpu->insn = NULL;
    if (first == EXC_DF && severe) {
        log_guest("triple fault at %04x:%llx (last exception %d, cr2 %llx)",
                  cpu->seg[SEG_CS].selector, (unsigned long long)cpu->rip, vector,
                  (unsigned long long)cpu->cr2);
        cpu->shutdown = true;
        return;
    }
    if ((is_contributory(first) && is_contributory(vector)) || (first == EXC_PF && severe)) {
        vector = EXC_DF;
        error = 0;
    }
    event_deliver(cpu, vector, KIND_FAULT, error, cpu->rip);
}
