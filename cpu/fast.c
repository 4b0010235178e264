/*
 * The common case of a 64-bit kernel's entries and returns: from 64-bit code to 64-bit code, flat
 * segments, everything in the TLB. What these functions do is what the general ones of far.c and
 * cpu.c would do; when anything is unusual they change nothing and leave it to them.
 */
#include "cpu/system.h"

void cpu_update_privilege(struct cpu *cpu)
{
    const uint32_t changing = MODE_CPL | MODE_STACK32 | MODE_ALIGN | MODE_WINDOW | 3u << MODE_MMU_SHIFT;
    if (!(cpu->mode & MODE_CODE64) || cpu->mode & (MODE_STEP | MODE_BREAK | MODE_ALIGN) ||
        cpu->eflags & FLAG_TF || (cpu->eflags & FLAG_AC && cpu->cr0 & CR0_AM)) {
        cpu_update_mode(cpu);
        return;
    }
    unsigned cpl = cpu->seg[SEG_SS].attr >> SEGMENT_DPL_SHIFT & 3;
    enum mmu_index mmu = cpl == 3 ? MMU_USER : MMU_KERNEL;
    if (mmu == MMU_KERNEL && cpu->cr4 & CR4_SMAP && !(cpu->eflags & FLAG_AC))
        mmu = MMU_KERNEL_SMAP;
    uint32_t mode = (cpu->mode & ~changing) | cpl | (uint32_t)mmu << MODE_MMU_SHIFT;
    if (cpu->seg[SEG_SS].attr & SEGMENT_DB)
        mode |= MODE_STACK32;
    if (cpu->windowed && cpl == 3)
        mode |= MODE_WINDOW;
    cpu->mode = mode;
    cpu->tlb = cpu->mmu[mmu];
}

/* High half of a GDT descriptor of which the bits in `mask` must be `wanted`. */
static bool quick_descriptor(struct cpu *cpu, uint16_t selector, uint32_t mask, uint32_t wanted,
                             struct descriptor *d)
{
    uint32_t offset = selector & 0xfff8u;
    uint64_t raw;
    if (selector & 4 || !offset || offset + 7 > cpu->gdtr.limit)
        return false;
    const void *host = tlb_host_read(cpu, cpu_implicit_mmu(cpu), cpu->gdtr.base + offset, 8);
    if (!host)
        return false;
    memcpy(&raw, host, 8);
    *d = (struct descriptor){.low = (uint32_t)raw, .high = (uint32_t)(raw >> 32)};
    return (d->high & mask) == wanted;
}

/* Would segment_drop_privileged() take a segment away? */
static bool drops_segment(const struct cpu *cpu, unsigned cpl)
{
    static const uint8_t segs[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned i = 0; i < sizeof segs; i++) {
        const struct segment *s = &cpu->seg[segs[i]];
        if (s->selector & 0xfffc && s->attr & SEGMENT_P &&
            (unsigned)(s->attr >> SEGMENT_DPL_SHIFT & 3) < cpl)
            return true;
    }
    return false;
}

bool fast_iret(struct cpu *cpu)
{
    enum {
        PRESENT = 1 << 15,
        DPL_SHIFT = 13,
        S = 1 << 12,
        CODE = 1 << 11,
        DC = 1 << 10,
        RW = 1 << 9,
        ACCESSED = 1 << 8,
        LONG = 1 << 21,
        DB = 1 << 22
    };
    struct descriptor cs, ss;
    uint64_t frame[5]; /* RIP, CS, RFLAGS, RSP, SS */

    if (!(cpu->mode & MODE_CODE64) || cpu->mode & (MODE_STEP | MODE_BREAK | MODE_ALIGN) ||
        cpu->eflags & FLAG_NT)
        return false;
    const void *host = tlb_host_read(cpu, cpu_mmu(cpu), cpu->gpr[RSP], sizeof frame);
    if (!host)
        return false;
    memcpy(frame, host, sizeof frame);
    uint16_t code = (uint16_t)frame[1], stack = (uint16_t)frame[4];
    uint32_t image = (uint32_t)frame[2];
    unsigned old_cpl = cpu_cpl(cpu), cpl = code & 3;
    if (cpl < old_cpl || image & FLAG_TF || !is_canonical(frame[0]))
        return false;
    const uint32_t dpl = cpl << DPL_SHIFT, dpl_mask = 3 << DPL_SHIFT;
    if (!quick_descriptor(cpu, code, PRESENT | dpl_mask | S | CODE | DC | ACCESSED | LONG | DB,
                          PRESENT | dpl | S | CODE | ACCESSED | LONG, &cs))
        return false;
    bool null_stack = !(stack & 0xfffc);
    if ((stack & 3) != cpl ||
        (null_stack ? cpl == 3
                    : !quick_descriptor(cpu, stack, PRESENT | dpl_mask | S | CODE | RW | ACCESSED,
                                        PRESENT | dpl | S | RW | ACCESSED, &ss)))
        return false;
    if (cpl != old_cpl && drops_segment(cpu, cpl))
        return false;

    uint32_t mask = eflags_writable(cpu, old_cpl) | (old_cpl == 0 ? FLAG_VIF | FLAG_VIP : 0);
    uint32_t old = cpu->eflags;
    cpu->eflags = (old & ~(mask | FLAG_RF)) | (image & mask) | FLAG_FIXED;
    cpu->gpr[RSP] = frame[3];
    segment_fill(&cpu->seg[SEG_CS], code, &cs);
    if (null_stack) {
        cpu->seg[SEG_SS].selector = stack;
        cpu->seg[SEG_SS].attr = (uint16_t)(cpl << SEGMENT_DPL_SHIFT | SEGMENT_DB);
    } else {
        segment_fill(&cpu->seg[SEG_SS], stack, &ss);
    }
    if (cpl != old_cpl)
        segment_drop_privileged(cpu, cpl);
    cpu->next_rip = frame[0];
    cpu_update_privilege(cpu);
    if (cpu->eflags & ~old & FLAG_IF)
        cpu_check_interrupt(cpu);
    return true;
}
