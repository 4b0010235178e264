/*
 * Stacks of other privilege levels, and the stack switch of the TSS: what interrupts, gates and far
 * returns push to and pop from before they commit anything (Intel SDM 3A 5.8.5, 6.12, 7.2.1).
 */
#include "cpu/system.h"

static enum mmu_index rights_of(const struct cpu *cpu, unsigned cpl)
{
    if (cpl == 3)
        return MMU_USER;
    return cpu->cr4 & CR4_SMAP && !(cpu->eflags & FLAG_AC) ? MMU_KERNEL_SMAP : MMU_KERNEL;
}

static uint32_t external_bit(const struct cpu *cpu)
{
    return cpu->fault.external ? 1 : 0;
}

void frame_current(const struct cpu *cpu, struct frame *frame)
{
    *frame = (struct frame){
        .segment = cpu->seg[SEG_SS],
        .sp = cpu->gpr[RSP],
        .mmu = cpu_mmu(cpu),
        .error = external_bit(cpu),
        .flat64 = is_code64(cpu),
        .current = true,
    };
    frame->mask = is_code64(cpu) ? ~0ull : cpu->mode & MODE_STACK32 ? 0xffffffff : 0xffff;
    frame->sp &= frame->mask;
}

void frame_inner(const struct cpu *cpu, struct frame *frame, const struct descriptor *d,
                 uint16_t ss, uint64_t sp, unsigned cpl)
{
    *frame = (struct frame){
        .sp = sp,
        .mmu = rights_of(cpu, cpl),
        .error = selector_error(cpu, ss),
        .mask = descriptor_is_big(d) ? 0xffffffff : 0xffff,
    };
    segment_fill(&frame->segment, ss, d);
    frame->sp &= frame->mask;
}

void frame_inner64(const struct cpu *cpu, struct frame *frame, uint64_t sp, unsigned cpl)
{
    *frame = (struct frame){
        .sp = sp,
        .mmu = rights_of(cpu, cpl),
        .error = external_bit(cpu),
        .mask = ~0ull,
        .flat64 = true,
    };
}

static gva_t frame_linear(struct cpu *cpu, const struct frame *frame, unsigned size)
{
    const struct segment *s = &frame->segment;
    uint64_t sp = frame->sp, last = sp + size - 1;
    if (frame->flat64) {
        if (!is_canonical(sp) || !is_canonical(last))
            cpu_raise(cpu, EXC_SS, frame->error);
        return sp;
    }
    bool inside = last <= s->limit;
    if (s->attr & SEGMENT_DC && cpu->mode & (MODE_PROTECTED | MODE_VM86))
        inside = sp > s->limit && last <= (s->attr & SEGMENT_DB ? 0xffffffff : 0xffff);
    if (!inside || !(s->attr & SEGMENT_P))
        cpu_raise(cpu, EXC_SS, frame->error);
    return (uint32_t)(s->base + sp);
}

/* Alignment checks and data breakpoints know the accesses of the current privilege level. */
static bool is_watched(const struct cpu *cpu, const struct frame *frame)
{
    return frame->current && cpu->tlb == cpu->watch;
}

void frame_push(struct cpu *cpu, struct frame *frame, uint64_t value, unsigned size)
{
    frame->sp = (frame->sp - size) & frame->mask;
    gva_t gva = frame_linear(cpu, frame, size);
    if (is_watched(cpu, frame))
        mem_write_slow(cpu, gva, value, size);
    else
        mem_write_as(cpu, frame->mmu, gva, value, size);
}

void frame_push_words(struct cpu *cpu, struct frame *frame, const uint64_t *words, unsigned count)
{
    uint64_t sp = frame->sp - count * 8ull;
    void *host = tlb_host_write(cpu, frame->mmu, sp, count * 8);
    if (host) {
        memcpy(host, words, count * 8);
        frame->sp = sp;
    } else {
        while (count--)
            frame_push(cpu, frame, words[count], 8);
    }
}

uint64_t frame_pop(struct cpu *cpu, struct frame *frame, unsigned size)
{
    gva_t gva = frame_linear(cpu, frame, size);
    uint64_t value = is_watched(cpu, frame) ? mem_read_slow(cpu, gva, size)
                                            : mem_read_as(cpu, frame->mmu, gva, size);
    frame->sp = (frame->sp + size) & frame->mask;
    return value;
}

void frame_commit_sp(struct cpu *cpu, const struct frame *frame)
{
    if (frame->mask == 0xffff)
        cpu->gpr[RSP] = (cpu->gpr[RSP] & ~0xffffull) | frame->sp;
    else
        cpu->gpr[RSP] = frame->sp;
}

/* -- TSS -- */

static uint64_t tss_read(struct cpu *cpu, uint32_t offset, unsigned size)
{
    const struct segment *tr = &cpu->seg[SEG_TR];
    if (offset + size - 1 > tr->limit)
        cpu_raise(cpu, EXC_TS, selector_error(cpu, tr->selector));
    gva_t gva = tr->base + offset;
    if (size == 8)
        return mem_read_u64_as(cpu, cpu_implicit_mmu(cpu), gva);
    return mem_read_as(cpu, cpu_implicit_mmu(cpu), is_long(cpu) ? gva : (uint32_t)gva, size);
}

void tss_read_stack(struct cpu *cpu, unsigned cpl, uint16_t *ss, uint32_t *esp)
{
    if (cpu->seg[SEG_TR].attr & 8) { /* 32-bit: ESP0 at 4, SS0 at 8, ... */
        if (8 + cpl * 8 + 3 > cpu->seg[SEG_TR].limit)
            cpu_raise(cpu, EXC_TS, selector_error(cpu, cpu->seg[SEG_TR].selector));
        *esp = (uint32_t)tss_read(cpu, 4 + cpl * 8, 4);
        *ss = (uint16_t)tss_read(cpu, 8 + cpl * 8, 2);
    } else { /* 16-bit: SP0 at 2, SS0 at 4, ... */
        *esp = (uint16_t)tss_read(cpu, 2 + cpl * 4, 2);
        *ss = (uint16_t)tss_read(cpu, 4 + cpl * 4, 2);
    }
}

uint64_t tss_read_stack64(struct cpu *cpu, unsigned index)
{
    return index < 3 ? tss_read(cpu, 4 + index * 8, 8) : tss_read(cpu, 36 + (index - 3) * 8, 8);
}
