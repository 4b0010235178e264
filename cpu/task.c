/*
 * Task switching through 32-bit and 16-bit TSSs (Intel SDM 3A 7.2, 7.3, 7.6). Not in long mode.
 *
 * Faults before the switch belong to the old task; once TR, CR3 and the registers are loaded, they
 * belong to the new one.
 */
#include "cpu/system.h"

#include "cpu/isa.h"

/* Where the registers stand in a TSS. */
struct tss_layout {
    uint8_t size; /* of a register */
    uint8_t ip, flags, gpr, es, ldt;
    uint8_t segment_step, segments;
    uint8_t min_limit; /* smallest legal limit */
};

static const struct tss_layout layout16 = {2, 14, 16, 18, 34, 42, 2, 4, 43};
static const struct tss_layout layout32 = {4, 32, 36, 40, 72, 96, 4, 6, 103};

/* Order of the segment registers in a TSS. */
static const uint8_t segment_order[] = {SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS};

struct task_state {
    uint32_t cr3, eip, eflags, gpr[8];
    uint16_t selector[6], ldt;
    bool trap;
};

static uint32_t tss_get(struct cpu *cpu, gva_t tss, unsigned offset, unsigned size)
{
    return (uint32_t)mem_read_as(cpu, cpu_implicit_mmu(cpu), (uint32_t)(tss + offset), size);
}

static void tss_put(struct cpu *cpu, gva_t tss, unsigned offset, uint32_t value, unsigned size)
{
    mem_write_as(cpu, cpu_implicit_mmu(cpu), (uint32_t)(tss + offset), value, size);
}

static void read_state(struct cpu *cpu, gva_t tss, const struct tss_layout *layout,
                       struct task_state *state)
{
    *state = (struct task_state){0};
    bool big = layout == &layout32;
    if (big) {
        state->cr3 = tss_get(cpu, tss, 28, 4);
        state->trap = tss_get(cpu, tss, 100, 2) & 1;
    }
    state->eip = tss_get(cpu, tss, layout->ip, layout->size);
    state->eflags = tss_get(cpu, tss, layout->flags, layout->size);
    for (unsigned i = 0; i < 8; i++) {
        state->gpr[i] = tss_get(cpu, tss, layout->gpr + i * layout->size, layout->size);
        if (!big)
            state->gpr[i] |= 0xffff0000;
    }
    for (unsigned i = 0; i < layout->segments; i++)
        state->selector[i] = (uint16_t)tss_get(cpu, tss, layout->es + i * layout->segment_step, 2);
    state->ldt = (uint16_t)tss_get(cpu, tss, layout->ldt, 2);
}

/* Saves the old task's registers; the last byte was checked to be writable before. */
static void save_state(struct cpu *cpu, uint32_t eip, uint32_t eflags)
{
    const struct segment *tr = &cpu->seg[SEG_TR];
    const struct tss_layout *layout = tr->attr & 8 ? &layout32 : &layout16;
    tss_put(cpu, tr->base, layout->ip, eip, layout->size);
    tss_put(cpu, tr->base, layout->flags, eflags, layout->size);
    for (unsigned i = 0; i < 8; i++)
        tss_put(cpu, tr->base, layout->gpr + i * layout->size, (uint32_t)cpu->gpr[i], layout->size);
    for (unsigned i = 0; i < layout->segments; i++)
        tss_put(cpu, tr->base, layout->es + i * layout->segment_step,
                cpu->seg[segment_order[i]].selector, 2);
}

/* -- Segment registers of the new task: #TS with the selector, in the new task's context -- */

static _Noreturn void raise_ts(struct cpu *cpu, uint16_t selector)
{
    cpu_raise(cpu, EXC_TS, selector_error(cpu, selector));
}

static void load_task_ldt(struct cpu *cpu, uint16_t selector)
{
    struct descriptor d;
    if (!(selector & 0xfffc))
        return;
    if (selector & 4)
        raise_ts(cpu, selector);
    descriptor_fetch(cpu, selector, &d, EXC_TS);
    if (!descriptor_is_system(&d) || descriptor_type(&d) != TYPE_LDT || !descriptor_is_present(&d))
        raise_ts(cpu, selector);
    segment_fill(&cpu->seg[SEG_LDTR], selector, &d);
}

static void load_task_cs(struct cpu *cpu, uint16_t selector)
{
    struct descriptor d;
    unsigned rpl = selector & 3;
    if (!(selector & 0xfffc))
        raise_ts(cpu, selector);
    descriptor_fetch(cpu, selector, &d, EXC_TS);
    bool dpl_ok =
        descriptor_is_conforming(&d) ? descriptor_dpl(&d) <= rpl : descriptor_dpl(&d) == rpl;
    if (!descriptor_is_code(&d) || !dpl_ok)
        raise_ts(cpu, selector);
    if (!descriptor_is_present(&d))
        cpu_raise(cpu, EXC_NP, selector_error(cpu, selector));
    descriptor_set_accessed(cpu, &d);
    segment_fill(&cpu->seg[SEG_CS], selector, &d);
}

static void load_task_ss(struct cpu *cpu, uint16_t selector, unsigned cpl)
{
    struct descriptor d;
    if (!(selector & 0xfffc))
        raise_ts(cpu, selector);
    descriptor_fetch(cpu, selector, &d, EXC_TS);
    segment_check_stack(cpu, selector, &d, cpl, EXC_TS);
    descriptor_set_accessed(cpu, &d);
    segment_fill(&cpu->seg[SEG_SS], selector, &d);
}

static void load_task_data(struct cpu *cpu, unsigned seg, uint16_t selector)
{
    struct descriptor d;
    if (!(selector & 0xfffc))
        return;
    descriptor_fetch(cpu, selector, &d, EXC_TS);
    bool code = descriptor_is_code(&d);
    unsigned rpl = selector & 3, cpl = cpu_cpl(cpu);
    if (descriptor_is_system(&d) || (code && !(d.high & 1u << 9)) ||
        (!(code && descriptor_is_conforming(&d)) && (rpl > cpl ? rpl : cpl) > descriptor_dpl(&d)))
        raise_ts(cpu, selector);
    if (!descriptor_is_present(&d))
        cpu_raise(cpu, EXC_NP, selector_error(cpu, selector));
    descriptor_set_accessed(cpu, &d);
    segment_fill(&cpu->seg[seg], selector, &d);
}

/* Hidden parts are invalid until each descriptor is loaded. */
static void load_segments(struct cpu *cpu, const struct task_state *state)
{
    unsigned cpl = state->selector[1] & 3;
    for (unsigned i = 0; i < 6; i++) {
        struct segment *s = &cpu->seg[segment_order[i]];
        if (cpu->eflags & FLAG_VM) {
            segment_set_v86(cpu, segment_order[i], state->selector[i]);
        } else {
            s->selector = state->selector[i];
            s->attr = segment_order[i] == SEG_SS ? (uint16_t)(cpl << SEGMENT_DPL_SHIFT) : 0;
        }
    }
    cpu->seg[SEG_LDTR].selector = state->ldt;
    cpu->seg[SEG_LDTR].attr = 0;
    cpu_update_mode(cpu);
    load_task_ldt(cpu, state->ldt);
    if (cpu->eflags & FLAG_VM)
        return;
    load_task_cs(cpu, state->selector[1]);
    load_task_ss(cpu, state->selector[2], cpl);
    cpu_update_mode(cpu);
    load_task_data(cpu, SEG_ES, state->selector[0]);
    load_task_data(cpu, SEG_DS, state->selector[3]);
    load_task_data(cpu, SEG_FS, state->selector[4]);
    load_task_data(cpu, SEG_GS, state->selector[5]);
    cpu_update_mode(cpu);
}

static void check_new_tss(struct cpu *cpu, uint16_t selector, const struct descriptor *d,
                          enum task_source source)
{
    unsigned type = descriptor_type(d);
    bool busy = type & 2;
    bool tss =
        descriptor_is_system(d) && ((type & ~2u) == TYPE_TSS16 || (type & ~2u) == TYPE_TSS32);
    int vector = source == TASK_IRET ? EXC_TS : EXC_GP;
    if (!tss || busy != (source == TASK_IRET))
        cpu_raise(cpu, vector, selector_error(cpu, selector));
    if (!descriptor_is_present(d))
        cpu_raise(cpu, EXC_NP, selector_error(cpu, selector));
    if (descriptor_limit(d) < (type & 8 ? layout32.min_limit : layout16.min_limit))
        raise_ts(cpu, selector);
}

/* Marks the current TSS not busy. */
static void release_old_task(struct cpu *cpu)
{
    struct descriptor old;
    uint16_t selector = cpu->seg[SEG_TR].selector;
    if (descriptor_read(cpu, selector, &old))
        descriptor_set_busy(cpu, &old, false);
}

void task_switch(struct cpu *cpu, uint16_t selector, struct descriptor *d, enum task_source source,
                 uint64_t return_rip, bool push_error, uint32_t error)
{
    enum mmu_index mmu = cpu_implicit_mmu(cpu);
    const struct segment *tr = &cpu->seg[SEG_TR];
    const struct tss_layout *old_layout = tr->attr & 8 ? &layout32 : &layout16;
    struct task_state state;

    check_new_tss(cpu, selector, d, source);
    const struct tss_layout *layout = d->high >> 8 & 8 ? &layout32 : &layout16;
    uint64_t new_tss = descriptor_base(d);
    uint16_t old_selector = tr->selector;

    /* Every page that will be touched is checked before anything changes. */
    if (tr->limit < old_layout->min_limit)
        raise_ts(cpu, old_selector);
    read_state(cpu, new_tss, layout, &state);
    paging_resolve(cpu, mmu, (uint32_t)tr->base, ACCESS_WRITE);
    paging_resolve(cpu, mmu, (uint32_t)(tr->base + old_layout->min_limit), ACCESS_WRITE);
    paging_resolve(cpu, mmu, (uint32_t)new_tss, ACCESS_WRITE);

    uint32_t old_flags = cpu->eflags;
    if (source != TASK_CALL)
        release_old_task(cpu);
    if (source == TASK_IRET)
        old_flags &= ~(uint32_t)FLAG_NT;
    save_state(cpu, (uint32_t)return_rip, old_flags);
    if (source == TASK_CALL) {
        tss_put(cpu, new_tss, 0, old_selector, 2);
        state.eflags |= FLAG_NT;
    }
    if (source != TASK_IRET)
        descriptor_set_busy(cpu, d, true);

    /* From here on: the new task. */
    segment_fill(&cpu->seg[SEG_TR], selector, d);
    cpu->seg[SEG_TR].attr |= 2;
    cpu->cr0 |= CR0_TS;
    cpu->dr[7] &= ~0x155ull; /* local breakpoints */
    if (layout == &layout32 && cpu->cr0 & CR0_PG) {
        if (cpu->cr4 & CR4_PAE && !paging_load_pdptes(cpu, state.cr3))
            cpu_raise_gp(cpu, 0);
        cpu->cr3 = state.cr3;
        paging_switch(cpu, false);
    }
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = state.gpr[i];
    cpu->rip = cpu->next_rip = state.eip;
    const uint32_t flags = FLAG_ARITH | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT |
                           FLAG_RF | FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID;
    uint32_t image = layout == &layout32 ? state.eflags & flags : state.eflags & flags & 0xffff;
    cpu->eflags = (image & ~(uint32_t)(debug_armed(cpu) ? 0 : FLAG_RF)) | FLAG_FIXED;
    load_segments(cpu, &state);

    if (push_error) {
        struct frame stack;
        frame_current(cpu, &stack);
        frame_push(cpu, &stack, error, layout->size);
        frame_commit_sp(cpu, &stack);
    }
    if (state.eip > cpu->seg[SEG_CS].limit)
        cpu_raise_gp(cpu, 0);
    cpu_check_interrupt(cpu);
    if (state.trap)
        debug_raise(cpu, DR6_BT);
}
