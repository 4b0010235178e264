/*
 * Far transfers: JMP, CALL, RET and IRET to another code segment, through call gates and task
 * gates, between privilege levels and in and out of virtual-8086 mode (Intel SDM 3A 5.8, 7.3, 20.2;
 * 2A CALL, IRET, JMP, RET).
 *
 * Users' stacks are read and written with the user's rights: only the inner stack of a call gate is
 * accessed with those of the new privilege level.
 */
#include "cpu/system.h"

/* Finishes a transfer: CS is loaded, the mode may have changed. */
static void arrive(struct cpu *cpu, uint64_t rip)
{
    cpu->next_rip = rip;
    cpu_update_mode(cpu);
}

/* -- Real and virtual-8086 mode -- */

static bool is_unprotected(const struct cpu *cpu)
{
    return !(cpu->mode & MODE_PROTECTED);
}

static void load_cs_unprotected(struct cpu *cpu, uint16_t selector, uint64_t offset)
{
    if (is_v86(cpu)) {
        if (offset > 0xffff)
            cpu_raise_gp(cpu, 0);
        segment_set_v86(cpu, SEG_CS, selector);
    } else {
        if (offset > cpu->seg[SEG_CS].limit)
            cpu_raise_gp(cpu, 0);
        segment_set_real(cpu, SEG_CS, selector);
    }
    arrive(cpu, offset);
}

/* -- JMP and CALL -- */

static void push_return(struct cpu *cpu, struct frame *stack, unsigned size)
{
    frame_push(cpu, stack, cpu->seg[SEG_CS].selector, size);
    frame_push(cpu, stack, cpu->next_rip, size);
}

/* The code segment behind a call gate. */
static void fetch_gate_code(struct cpu *cpu, uint16_t selector, struct descriptor *cs)
{
    if (!(selector & 0xfffc))
        cpu_raise_gp(cpu, 0);
    descriptor_fetch(cpu, selector, cs, EXC_GP);
    bool code64_ok = !is_long(cpu) || (descriptor_is_long(cs) && !descriptor_is_big(cs));
    if (!descriptor_is_code(cs) || descriptor_dpl(cs) > cpu_cpl(cpu) || !code64_ok)
        cpu_raise_gp(cpu, selector & 0xfffc);
    if (!descriptor_is_present(cs))
        cpu_raise(cpu, EXC_NP, selector & 0xfffc);
}

static void call_inward64(struct cpu *cpu, uint16_t selector, struct descriptor *cs,
                          uint64_t offset)
{
    unsigned cpl = descriptor_dpl(cs);
    struct frame stack;
    frame_inner64(cpu, &stack, tss_read_stack64(cpu, cpl), cpl);
    segment_check_target(cpu, cs, offset);
    frame_push(cpu, &stack, cpu->seg[SEG_SS].selector, 8);
    frame_push(cpu, &stack, cpu->gpr[RSP], 8);
    push_return(cpu, &stack, 8);
    descriptor_set_accessed(cpu, cs);
    cpu->gpr[RSP] = stack.sp;
    cpu->seg[SEG_SS].selector = (uint16_t)cpl;
    cpu->seg[SEG_SS].attr = (uint16_t)(cpl << SEGMENT_DPL_SHIFT | SEGMENT_DB);
    segment_commit_cs(cpu, selector, cs, cpl);
    arrive(cpu, offset);
}

static void call_inward(struct cpu *cpu, uint16_t selector, struct descriptor *cs, uint32_t offset,
                        unsigned size, unsigned parameters)
{
    unsigned cpl = descriptor_dpl(cs);
    struct descriptor d;
    struct frame outer, stack;
    uint64_t copied[31];
    uint16_t ss;
    uint32_t esp;

    tss_read_stack(cpu, cpl, &ss, &esp);
    if (!(ss & 0xfffc))
        cpu_raise(cpu, EXC_TS, 0);
    descriptor_fetch(cpu, ss, &d, EXC_TS);
    segment_check_stack(cpu, ss, &d, cpl, EXC_TS);
    frame_current(cpu, &outer);
    for (unsigned i = 0; i < parameters; i++)
        copied[i] = frame_pop(cpu, &outer, size);
    descriptor_set_accessed(cpu, &d);
    frame_inner(cpu, &stack, &d, ss, esp, cpl);
    segment_check_target(cpu, cs, offset);
    frame_push(cpu, &stack, cpu->seg[SEG_SS].selector, size);
    frame_push(cpu, &stack, cpu->gpr[RSP], size);
    for (unsigned i = parameters; i-- > 0;)
        frame_push(cpu, &stack, copied[i], size);
    push_return(cpu, &stack, size);
    descriptor_set_accessed(cpu, cs);
    segment_fill(&cpu->seg[SEG_SS], ss, &d);
    frame_commit_sp(cpu, &stack);
    segment_commit_cs(cpu, selector, cs, cpl);
    arrive(cpu, offset);
}

static void through_call_gate(struct cpu *cpu, uint16_t gate_selector, struct descriptor *gate,
                              bool call)
{
    uint16_t selector = (uint16_t)(gate->low >> 16);
    unsigned type = descriptor_type(gate);
    uint64_t offset = type == TYPE_CALL32 ? gate_offset(gate) : gate->low & 0xffff;
    unsigned size = type == TYPE_CALL32 ? 4 : 2;
    struct descriptor cs;
    struct frame stack;

    if (is_long(cpu)) {
        descriptor_fetch_high(cpu, gate_selector, gate, EXC_GP);
        offset |= gate->base_high << 32;
        size = 8;
    }
    fetch_gate_code(cpu, selector, &cs);
    unsigned cpl = cpu_cpl(cpu);
    bool inward = !descriptor_is_conforming(&cs) && descriptor_dpl(&cs) < cpl;
    if (call && inward) {
        if (size == 8)
            call_inward64(cpu, selector, &cs, offset);
        else
            call_inward(cpu, selector, &cs, (uint32_t)offset, size, gate->high & 31);
        return;
    }
    if (inward) /* JMP does not change the privilege level */
        cpu_raise_gp(cpu, selector & 0xfffc);
    frame_current(cpu, &stack);
    if (size == 8) {
        stack.flat64 = true;
        stack.mask = ~0ull;
    }
    segment_check_target(cpu, &cs, offset);
    if (call)
        push_return(cpu, &stack, size);
    descriptor_set_accessed(cpu, &cs);
    frame_commit_sp(cpu, &stack);
    segment_commit_cs(cpu, selector, &cs, cpl);
    arrive(cpu, offset);
}

static void to_task(struct cpu *cpu, uint16_t selector, struct descriptor *d, bool call)
{
    task_switch(cpu, selector, d, call ? TASK_CALL : TASK_JUMP, cpu->next_rip, false, 0);
}

/* The destination is no code segment: a gate or a TSS. */
static void through_system(struct cpu *cpu, uint16_t selector, struct descriptor *d, bool call)
{
    unsigned type = descriptor_type(d), dpl = descriptor_dpl(d);
    bool call_gate = type == TYPE_CALL32 || (type == TYPE_CALL16 && !is_long(cpu));
    bool task =
        !is_long(cpu) && (type == TYPE_TASK_GATE || type == TYPE_TSS16 || type == TYPE_TSS32);
    if ((!call_gate && !task) || dpl < cpu_cpl(cpu) || dpl < (selector & 3u))
        cpu_raise_gp(cpu, selector & 0xfffc);
    if (!descriptor_is_present(d))
        cpu_raise(cpu, EXC_NP, selector & 0xfffc);
    if (call_gate) {
        through_call_gate(cpu, selector, d, call);
    } else if (type == TYPE_TASK_GATE) {
        uint16_t tss = (uint16_t)(d->low >> 16);
        if (tss & 4)
            cpu_raise_gp(cpu, tss & 0xfffc);
        descriptor_fetch(cpu, tss, d, EXC_GP);
        to_task(cpu, tss, d, call);
    } else {
        if (selector & 4)
            cpu_raise_gp(cpu, selector & 0xfffc);
        to_task(cpu, selector, d, call);
    }
}

static void transfer(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned size, bool call)
{
    struct frame stack;
    frame_current(cpu, &stack);
    if (is_unprotected(cpu)) {
        if (offset > (is_v86(cpu) ? 0xffff : cpu->seg[SEG_CS].limit))
            cpu_raise_gp(cpu, 0);
        if (call)
            push_return(cpu, &stack, size);
        frame_commit_sp(cpu, &stack);
        load_cs_unprotected(cpu, selector, offset);
        return;
    }
    struct descriptor d;
    if (!(selector & 0xfffc))
        cpu_raise_gp(cpu, 0);
    descriptor_fetch(cpu, selector, &d, EXC_GP);
    if (descriptor_is_system(&d)) {
        through_system(cpu, selector, &d, call);
        return;
    }
    segment_check_code(cpu, selector, &d);
    segment_check_target(cpu, &d, offset);
    if (call)
        push_return(cpu, &stack, size);
    descriptor_set_accessed(cpu, &d);
    frame_commit_sp(cpu, &stack);
    segment_commit_cs(cpu, selector, &d, cpu_cpl(cpu));
    arrive(cpu, offset);
}

void far_jump(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned size)
{
    transfer(cpu, selector, offset, size, false);
}

void far_call(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned size)
{
    transfer(cpu, selector, offset, size, true);
}

/* -- Returns: what RET and IRET share in protected mode -- */

static void fetch_return_code(struct cpu *cpu, uint16_t selector, struct descriptor *cs)
{
    unsigned rpl = selector & 3;
    if (!(selector & 0xfffc))
        cpu_raise_gp(cpu, 0);
    descriptor_fetch(cpu, selector, cs, EXC_GP);
    bool dpl_ok =
        descriptor_is_conforming(cs) ? descriptor_dpl(cs) <= rpl : descriptor_dpl(cs) == rpl;
    if (!descriptor_is_code(cs) || rpl < cpu_cpl(cpu) || !dpl_ok)
        cpu_raise_gp(cpu, selector & 0xfffc);
    if (is_long(cpu) && descriptor_is_long(cs) && descriptor_is_big(cs))
        cpu_raise_gp(cpu, selector & 0xfffc);
    if (!descriptor_is_present(cs))
        cpu_raise(cpu, EXC_NP, selector & 0xfffc);
}

/* SS that a return pops. False: a null selector that is allowed here. */
static bool fetch_return_stack(struct cpu *cpu, uint16_t ss, unsigned cpl, bool to_code64,
                               struct descriptor *d)
{
    if (!(ss & 0xfffc)) {
        if (!to_code64 || cpl == 3 || (ss & 3) != cpl)
            cpu_raise_gp(cpu, 0);
        return false;
    }
    descriptor_fetch(cpu, ss, d, EXC_GP);
    segment_check_stack(cpu, ss, d, cpl, EXC_GP);
    return true;
}

static void commit_stack(struct cpu *cpu, uint16_t ss, const struct descriptor *d, uint64_t sp,
                         unsigned cpl, bool to_code64)
{
    if (d) {
        segment_fill(&cpu->seg[SEG_SS], ss, d);
    } else {
        cpu->seg[SEG_SS].selector = ss;
        cpu->seg[SEG_SS].attr = (uint16_t)(cpl << SEGMENT_DPL_SHIFT | SEGMENT_DB);
    }
    if (to_code64)
        cpu->gpr[RSP] = sp;
    else if (cpu->seg[SEG_SS].attr & SEGMENT_DB)
        cpu->gpr[RSP] = (uint32_t)sp;
    else
        cpu->gpr[RSP] = (cpu->gpr[RSP] & ~0xffffull) | (sp & 0xffff);
}

void far_return(struct cpu *cpu, unsigned size, unsigned release)
{
    struct frame stack;
    struct descriptor cs, ss_descriptor;

    frame_current(cpu, &stack);
    uint64_t rip = frame_pop(cpu, &stack, size);
    uint16_t selector = (uint16_t)frame_pop(cpu, &stack, size);
    stack.sp = (stack.sp + release) & stack.mask;
    if (is_unprotected(cpu)) {
        if (rip > (is_v86(cpu) ? 0xffff : cpu->seg[SEG_CS].limit))
            cpu_raise_gp(cpu, 0);
        frame_commit_sp(cpu, &stack);
        load_cs_unprotected(cpu, selector, rip);
        return;
    }
    fetch_return_code(cpu, selector, &cs);
    unsigned cpl = selector & 3;
    if (cpl == cpu_cpl(cpu)) {
        segment_check_target(cpu, &cs, rip);
        descriptor_set_accessed(cpu, &cs);
        frame_commit_sp(cpu, &stack);
        segment_commit_cs(cpu, selector, &cs, cpl);
        arrive(cpu, rip);
        return;
    }
    bool to_code64 = is_long(cpu) && descriptor_is_long(&cs);
    uint64_t sp = frame_pop(cpu, &stack, size);
    uint16_t ss = (uint16_t)frame_pop(cpu, &stack, size);
    bool has_stack = fetch_return_stack(cpu, ss, cpl, to_code64, &ss_descriptor);
    segment_check_target(cpu, &cs, rip);
    descriptor_set_accessed(cpu, &cs);
    if (has_stack)
        descriptor_set_accessed(cpu, &ss_descriptor);
    commit_stack(cpu, ss, has_stack ? &ss_descriptor : NULL, sp, cpl, to_code64);
    segment_commit_cs(cpu, selector, &cs, cpl);
    segment_drop_privileged(cpu, cpl);
    arrive(cpu, rip);
    stack_adjust(cpu, release); /* as wide as the new stack is */
}

/* -- IRET -- */

uint32_t eflags_writable(const struct cpu *cpu, unsigned cpl)
{
    uint32_t mask = FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;
    if (cpl <= cpu_iopl(cpu))
        mask |= FLAG_IF;
    if (cpl == 0)
        mask |= FLAG_IOPL;
    return mask;
}

/* RF is kept only while a breakpoint could hit: else its one effect cannot be seen. */
static void set_returned_flags(struct cpu *cpu, uint32_t image, uint32_t mask, unsigned size)
{
    if (size == 2)
        mask &= 0xffff;
    else if (debug_armed(cpu))
        mask |= FLAG_RF;
    cpu_set_eflags(cpu, (cpu->eflags & ~(mask | FLAG_RF)) | (image & mask));
}

static void iret_unprotected(struct cpu *cpu, unsigned size)
{
    struct frame stack;
    uint32_t mask = FLAG_ARITH | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;

    if (is_v86(cpu) && cpu_iopl(cpu) < 3 && !(cpu->cr4 & CR4_VME && size == 2))
        cpu_raise_gp(cpu, 0);
    frame_current(cpu, &stack);
    uint64_t rip = frame_pop(cpu, &stack, size);
    uint16_t selector = (uint16_t)frame_pop(cpu, &stack, size);
    uint32_t image = (uint32_t)frame_pop(cpu, &stack, size);
    if (is_v86(cpu) && cpu_iopl(cpu) < 3) {
        /* VME: VIF stands for IF. */
        if (image & FLAG_TF || (image & FLAG_IF && cpu->eflags & FLAG_VIP))
            cpu_raise_gp(cpu, 0);
        mask &= ~(uint32_t)FLAG_IF;
    } else if (is_real(cpu)) {
        mask |= FLAG_IOPL;
    }
    if (rip > (is_v86(cpu) ? 0xffff : cpu->seg[SEG_CS].limit))
        cpu_raise_gp(cpu, 0);
    frame_commit_sp(cpu, &stack);
    if (is_v86(cpu) && cpu_iopl(cpu) < 3)
        cpu->eflags = (cpu->eflags & ~(uint32_t)FLAG_VIF) | (image & FLAG_IF ? FLAG_VIF : 0);
    load_cs_unprotected(cpu, selector, rip);
    set_returned_flags(cpu, image, mask, size);
}

static void iret_to_v86(struct cpu *cpu, struct frame *stack, uint32_t rip, uint16_t cs,
                        uint32_t image)
{
    static const uint8_t order[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint16_t selector[4];
    uint32_t esp = (uint32_t)frame_pop(cpu, stack, 4);
    uint16_t ss = (uint16_t)frame_pop(cpu, stack, 4);
    for (unsigned i = 0; i < 4; i++)
        selector[i] = (uint16_t)frame_pop(cpu, stack, 4);
    if (rip > 0xffff)
        cpu_raise_gp(cpu, 0);

    const uint32_t mask = FLAG_ARITH | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID |
                          FLAG_IOPL | FLAG_VM | FLAG_VIF | FLAG_VIP;
    segment_set_v86(cpu, SEG_CS, cs);
    segment_set_v86(cpu, SEG_SS, ss);
    for (unsigned i = 0; i < 4; i++)
        segment_set_v86(cpu, order[i], selector[i]);
    cpu->gpr[RSP] = esp;
    cpu->eflags |= FLAG_VM;
    arrive(cpu, rip);
    set_returned_flags(cpu, image, mask, 4);
}

static void iret_from_task(struct cpu *cpu)
{
    if (is_long(cpu))
        cpu_raise_gp(cpu, 0);
    struct descriptor d;
    uint16_t link =
        (uint16_t)mem_read_as(cpu, cpu_implicit_mmu(cpu), (uint32_t)cpu->seg[SEG_TR].base, 2);
    if (link & 4)
        cpu_raise(cpu, EXC_TS, link & 0xfffc);
    descriptor_fetch(cpu, link, &d, EXC_TS);
    task_switch(cpu, link, &d, TASK_IRET, cpu->next_rip, false, 0);
}

void far_iret(struct cpu *cpu, unsigned size)
{
    struct frame stack;
    struct descriptor cs, ss_descriptor;

    cpu->nmi_blocked = false; /* even if it faults */
    if (size == 8 && fast_iret(cpu))
        return;
    if (is_unprotected(cpu)) {
        iret_unprotected(cpu, size);
        return;
    }
    if (cpu->eflags & FLAG_NT) {
        iret_from_task(cpu);
        return;
    }
    frame_current(cpu, &stack);
    uint64_t rip = frame_pop(cpu, &stack, size);
    uint16_t selector = (uint16_t)frame_pop(cpu, &stack, size);
    uint32_t image = (uint32_t)frame_pop(cpu, &stack, size);
    unsigned old_cpl = cpu_cpl(cpu), cpl = selector & 3;
    if (image & FLAG_VM && size == 4 && old_cpl == 0 && !is_long(cpu)) {
        iret_to_v86(cpu, &stack, (uint32_t)rip, selector, image);
        return;
    }
    fetch_return_code(cpu, selector, &cs);
    bool to_code64 = is_long(cpu) && descriptor_is_long(&cs);
    uint32_t mask = eflags_writable(cpu, old_cpl);
    if (old_cpl == 0)
        mask |= FLAG_VIF | FLAG_VIP;
    if (cpl != old_cpl || is_code64(cpu)) {
        uint64_t sp = frame_pop(cpu, &stack, size);
        uint16_t ss = (uint16_t)frame_pop(cpu, &stack, size);
        bool has_stack = fetch_return_stack(cpu, ss, cpl, to_code64, &ss_descriptor);
        segment_check_target(cpu, &cs, rip);
        descriptor_set_accessed(cpu, &cs);
        if (has_stack)
            descriptor_set_accessed(cpu, &ss_descriptor);
        commit_stack(cpu, ss, has_stack ? &ss_descriptor : NULL, sp, cpl, to_code64);
        segment_commit_cs(cpu, selector, &cs, cpl);
        if (cpl != old_cpl)
            segment_drop_privileged(cpu, cpl);
    } else {
        segment_check_target(cpu, &cs, rip);
        descriptor_set_accessed(cpu, &cs);
        frame_commit_sp(cpu, &stack);
        segment_commit_cs(cpu, selector, &cs, cpl);
    }
    arrive(cpu, rip);
    set_returned_flags(cpu, image, mask, size);
}
