/*
 * Segments: descriptors, loads of segment registers, LDTR and TR with the checks of each mode, and
 * what far transfers check about code and stack segments (Intel SDM 3A 3.4, 3.5, 5.5-5.8).
 *
 * Descriptor tables are read with supervisor rights (implicit accesses). In real mode a load
 * changes selector and base and makes the segment usable; the limit stays, which is what "unreal
 * mode" lives from.
 */
#include "cpu/system.h"

#include "cpu/isa.h"

/* -- Descriptors -- */

uint32_t descriptor_limit(const struct descriptor *d)
{
    uint32_t limit = (d->low & 0xffff) | (d->high & 0xf0000);
    return d->high & 1u << 23 ? limit << 12 | 0xfff : limit;
}

uint64_t descriptor_base(const struct descriptor *d)
{
    return d->low >> 16 | (d->high & 0xff) << 16 | (d->high & 0xff000000) | d->base_high << 32;
}

uint32_t gate_offset(const struct descriptor *d)
{
    return (d->low & 0xffff) | (d->high & 0xffff0000);
}

void segment_fill(struct segment *segment, uint16_t selector, const struct descriptor *d)
{
    segment->selector = selector;
    segment->base = descriptor_base(d);
    segment->limit = descriptor_limit(d);
    segment->attr = d->high >> 8 & 0xf0ff;
}

uint32_t selector_error(const struct cpu *cpu, uint16_t selector)
{
    return (selector & 0xfffcu) | (cpu->fault.external ? 1 : 0);
}

bool descriptor_read(struct cpu *cpu, uint16_t selector, struct descriptor *d)
{
    uint64_t base;
    uint32_t limit;
    if (selector & 4) {
        if (!(cpu->seg[SEG_LDTR].attr & SEGMENT_P))
            return false;
        base = cpu->seg[SEG_LDTR].base;
        limit = cpu->seg[SEG_LDTR].limit;
    } else {
        base = cpu->gdtr.base;
        limit = cpu->gdtr.limit;
    }
    uint32_t offset = selector & 0xfff8u;
    if (offset + 7 > limit)
        return false;
    gva_t address = base + offset;
    if (!is_long(cpu))
        address = (uint32_t)address;
    uint64_t raw = mem_read_u64_as(cpu, cpu_implicit_mmu(cpu), address);
    *d = (struct descriptor){
        .low = (uint32_t)raw, .high = (uint32_t)(raw >> 32), .address = address};
    return true;
}

void descriptor_fetch(struct cpu *cpu, uint16_t selector, struct descriptor *d, int vector)
{
    if (!descriptor_read(cpu, selector, d))
        cpu_raise(cpu, vector, selector_error(cpu, selector));
}

void descriptor_fetch_high(struct cpu *cpu, uint16_t selector, struct descriptor *d, int vector)
{
    uint32_t limit = selector & 4 ? cpu->seg[SEG_LDTR].limit : cpu->gdtr.limit;
    if ((selector & 0xfff8u) + 15 > limit)
        cpu_raise(cpu, vector, selector_error(cpu, selector));
    uint64_t raw = mem_read_as(cpu, cpu_implicit_mmu(cpu), d->address + 8, 8);
    if (raw >> 40 & 0x1f) /* type of the upper half must be 0 */
        cpu_raise(cpu, vector, selector_error(cpu, selector));
    d->base_high = (uint32_t)raw;
}

/* Changes bits of byte 5 with a locked access. */
static void descriptor_set_bits(struct cpu *cpu, struct descriptor *d, uint8_t set, uint8_t clear)
{
    enum mmu_index mmu = cpu_implicit_mmu(cpu);
    uint8_t byte = (uint8_t)mem_read_as(cpu, mmu, d->address + 5, 1);
    mem_write_as(cpu, mmu, d->address + 5, (byte | set) & ~clear, 1);
    d->high = (d->high | (uint32_t)set << 8) & ~((uint32_t)clear << 8);
}

void descriptor_set_accessed(struct cpu *cpu, struct descriptor *d)
{
    if (!(d->high & 1u << 8))
        descriptor_set_bits(cpu, d, SEGMENT_ACCESSED, 0);
}

void descriptor_set_busy(struct cpu *cpu, struct descriptor *d, bool busy)
{
    descriptor_set_bits(cpu, d, busy ? 2 : 0, busy ? 0 : 2);
}

/* -- Loads -- */

static bool is_null(uint16_t selector)
{
    return (selector & 0xfffc) == 0;
}

void segment_set_real(struct cpu *cpu, unsigned seg, uint16_t selector)
{
    struct segment *s = &cpu->seg[seg];
    s->selector = selector;
    s->base = (uint32_t)selector << 4;
    s->attr = (s->attr & ~0xffu) | SEGMENT_P | SEGMENT_S | SEGMENT_RW | SEGMENT_ACCESSED;
    if (seg == SEG_CS)
        s->attr |= SEGMENT_CODE;
}

void segment_set_v86(struct cpu *cpu, unsigned seg, uint16_t selector)
{
    cpu->seg[seg] = (struct segment){
        .base = (uint32_t)selector << 4,
        .limit = 0xffff,
        .selector = selector,
        .attr = SEGMENT_P | SEGMENT_S | SEGMENT_RW | SEGMENT_ACCESSED | 3 << SEGMENT_DPL_SHIFT,
    };
}

void segment_set_null(struct cpu *cpu, unsigned seg, uint16_t selector)
{
    struct segment *s = &cpu->seg[seg];
    s->selector = selector;
    s->attr = 0;
    if (is_long(cpu))
        s->base = 0;
    if (seg == SEG_SS) /* the privilege level is kept in SS.DPL */
        s->attr = (uint16_t)(cpu_cpl(cpu) << SEGMENT_DPL_SHIFT | SEGMENT_DB);
}

void segment_check_stack(struct cpu *cpu, uint16_t selector, const struct descriptor *d,
                         unsigned cpl, int vector)
{
    bool writable_data = (d->high & 0x1a00) == 0x1200;
    if ((selector & 3) != cpl || descriptor_dpl(d) != cpl || !writable_data)
        cpu_raise(cpu, vector, selector_error(cpu, selector));
    if (!descriptor_is_present(d))
        cpu_raise(cpu, EXC_SS, selector_error(cpu, selector));
}

static void load_stack_segment(struct cpu *cpu, uint16_t selector)
{
    unsigned cpl = cpu_cpl(cpu);
    if (is_null(selector)) {
        /* 64-bit mode below ring 3 allows a null SS. */
        if (!is_code64(cpu) || cpl == 3 || (selector & 3) != cpl)
            cpu_raise_gp(cpu, selector_error(cpu, 0));
        segment_set_null(cpu, SEG_SS, selector);
        return;
    }
    struct descriptor d;
    descriptor_fetch(cpu, selector, &d, EXC_GP);
    segment_check_stack(cpu, selector, &d, cpl, EXC_GP);
    descriptor_set_accessed(cpu, &d);
    segment_fill(&cpu->seg[SEG_SS], selector, &d);
}

static void load_data_segment(struct cpu *cpu, unsigned seg, uint16_t selector)
{
    if (is_null(selector)) {
        segment_set_null(cpu, seg, selector);
        return;
    }
    struct descriptor d;
    descriptor_fetch(cpu, selector, &d, EXC_GP);
    bool readable = !descriptor_is_code(&d) || d.high & 1u << 9;
    bool conforming = descriptor_is_code(&d) && descriptor_is_conforming(&d);
    unsigned privilege = (selector & 3) > cpu_cpl(cpu) ? selector & 3 : cpu_cpl(cpu);
    if (descriptor_is_system(&d) || !readable || (!conforming && privilege > descriptor_dpl(&d)))
        cpu_raise_gp(cpu, selector_error(cpu, selector));
    if (!descriptor_is_present(&d))
        cpu_raise(cpu, EXC_NP, selector_error(cpu, selector));
    descriptor_set_accessed(cpu, &d);
    segment_fill(&cpu->seg[seg], selector, &d);
}

void segment_load(struct cpu *cpu, unsigned seg, uint16_t selector)
{
    if (is_real(cpu))
        segment_set_real(cpu, seg, selector);
    else if (is_v86(cpu))
        segment_set_v86(cpu, seg, selector);
    else if (seg == SEG_SS)
        load_stack_segment(cpu, selector);
    else
        load_data_segment(cpu, seg, selector);
    cpu_update_mode(cpu);
}

void segment_load_ldt(struct cpu *cpu, uint16_t selector)
{
    struct segment *ldtr = &cpu->seg[SEG_LDTR];
    if (is_null(selector)) {
        ldtr->selector = selector;
        ldtr->attr = 0;
        return;
    }
    struct descriptor d;
    if (selector & 4)
        cpu_raise_gp(cpu, selector_error(cpu, selector));
    descriptor_fetch(cpu, selector, &d, EXC_GP);
    if (!descriptor_is_system(&d) || descriptor_type(&d) != TYPE_LDT)
        cpu_raise_gp(cpu, selector_error(cpu, selector));
    if (!descriptor_is_present(&d))
        cpu_raise(cpu, EXC_NP, selector_error(cpu, selector));
    if (is_long(cpu)) {
        descriptor_fetch_high(cpu, selector, &d, EXC_GP);
        if (!is_canonical(descriptor_base(&d)))
            cpu_raise_gp(cpu, selector_error(cpu, selector));
    }
    segment_fill(ldtr, selector, &d);
}

void segment_load_tr(struct cpu *cpu, uint16_t selector)
{
    struct descriptor d;
    if (is_null(selector) || selector & 4)
        cpu_raise_gp(cpu, selector_error(cpu, selector));
    descriptor_fetch(cpu, selector, &d, EXC_GP);
    unsigned type = descriptor_type(&d);
    bool tss = type == TYPE_TSS32 || (type == TYPE_TSS16 && !is_long(cpu));
    if (!descriptor_is_system(&d) || !tss)
        cpu_raise_gp(cpu, selector_error(cpu, selector));
    if (!descriptor_is_present(&d))
        cpu_raise(cpu, EXC_NP, selector_error(cpu, selector));
    if (is_long(cpu)) {
        descriptor_fetch_high(cpu, selector, &d, EXC_GP);
        if (!is_canonical(descriptor_base(&d)))
            cpu_raise_gp(cpu, selector_error(cpu, selector));
    }
    descriptor_set_busy(cpu, &d, true);
    segment_fill(&cpu->seg[SEG_TR], selector, &d);
}

/* -- Far transfers -- */

void segment_check_code(struct cpu *cpu, uint16_t selector, const struct descriptor *d)
{
    unsigned cpl = cpu_cpl(cpu), dpl = descriptor_dpl(d);
    bool privileged = descriptor_is_conforming(d) ? dpl > cpl : (selector & 3) > cpl || dpl != cpl;
    if (!descriptor_is_code(d) || privileged)
        cpu_raise_gp(cpu, selector_error(cpu, selector));
    if (is_long(cpu) && descriptor_is_long(d) && descriptor_is_big(d))
        cpu_raise_gp(cpu, selector_error(cpu, selector));
    if (!descriptor_is_present(d))
        cpu_raise(cpu, EXC_NP, selector_error(cpu, selector));
}

void segment_check_target(struct cpu *cpu, const struct descriptor *d, uint64_t offset)
{
    bool code64 = is_long(cpu) && descriptor_is_long(d);
    if (code64 ? !is_canonical(offset) : offset > descriptor_limit(d))
        cpu_raise_gp(cpu, cpu->fault.external ? 1 : 0);
}

void segment_commit_cs(struct cpu *cpu, uint16_t selector, struct descriptor *d, unsigned cpl)
{
    segment_fill(&cpu->seg[SEG_CS], (uint16_t)((selector & 0xfffc) | cpl), d);
}

void segment_drop_privileged(struct cpu *cpu, unsigned cpl)
{
    static const uint8_t segs[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned i = 0; i < sizeof segs; i++) {
        struct segment *s = &cpu->seg[segs[i]];
        bool conforming = (s->attr & (SEGMENT_CODE | SEGMENT_DC)) == (SEGMENT_CODE | SEGMENT_DC);
        unsigned dpl = s->attr >> SEGMENT_DPL_SHIFT & 3;
        if (is_null(s->selector))
            s->attr = 0; /* the base stays: in 64-bit mode it may come from an MSR */
        else if (s->attr & SEGMENT_P && dpl < cpl && !conforming)
            segment_set_null(cpu, segs[i], 0);
    }
}
