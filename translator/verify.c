/*
 * --verify: every block is run twice from the same state and the results are compared.
 *
 *   1. The interpreter runs the block's instructions one by one, until one leaves the block. Pages
 * that it writes are copied before their first write; what devices answer is recorded.
 *   2. Registers and memory are put back. The translated block runs, with devices answering from
 *      the record.
 *   3. Registers, flags (but those that the last instructions leave undefined), vectors, the faults
 * raised and all written pages are compared. The first difference stops the machine.
 *
 * The engine sees memory through a bus of ours in which all RAM has a dirty log; so the
 * interpreter's first write to a page is announced, and the translated code then writes it at full
 * speed. Blocks run unlinked, and traces end before instructions that only the interpreter executes
 * and that change the mode: these run once, by the interpreter.
 */
#include "translator/engine.h"

#include "cpu/disasm.h"
#include "cpu/interp/interp.h"
#include "cpu/log.h"
#include "cpu/window.h"

#include <stdlib.h>
#include <string.h>

#define PAGES_MAX 4096 /* written by one block: REP MOVS may run far */
/* Every run of a block is verified until it was right so often, then one in RARE. */
#define OFTEN 256
#define RARE  64

enum phase { PHASE_NONE, PHASE_RECORD, PHASE_REPLAY };

enum access_kind {
    ACCESS_MEM_READ,
    ACCESS_MEM_WRITE,
    ACCESS_IO_READ,
    ACCESS_IO_WRITE,
    ACCESS_IRQ_PENDING,
    ACCESS_TPR_READ,
    ACCESS_TPR_WRITE,
    ACCESS_MSR_READ,
    ACCESS_MSR_WRITE,
    ACCESS_CLOCK,
};

struct access_record {
    uint8_t kind, size;
    bool result;
    uint64_t address, value;
    uint32_t events; /* that the device posted meanwhile */
};

struct page_copy {
    gpa_t gpa;
    gva_t gva;
    uint8_t *host;
    struct tlb *mmu[MMU_COUNT];
    uint8_t before[4096], after[4096]; /* after: by the interpreter */
    uint8_t translated[4096];
};

/* What of struct cpu the two runs must agree on. */
struct snapshot {
    uint64_t gpr[16], rip;
    uint32_t eflags, mode, mxcsr;
    uint8_t rest[offsetof(struct cpu, instructions) - offsetof(struct cpu, seg)];
    int vector;
    uint32_t error;
};

struct verify {
    struct engine *engine;
    struct verified *known; /* of the block being compared */
    uint64_t shift;
    struct cpu_bus *real, proxy;
    enum phase phase;
    bool diverged; /* the translated code asked devices something else */
    struct access_record *record;
    unsigned records, capacity, position;
    struct page_copy *page;
    unsigned pages;
    bool overflow;
    uint64_t blocks, skipped, trusted;
    struct snapshot start, reference, result;
};

/* -- The bus -- */

/* Records an access, or finds it in the record: true if `access->value` comes from there. */
static bool replayed(struct verify *v, struct access_record *access)
{
    if (v->phase != PHASE_REPLAY)
        return false;
    if (v->position < v->records) {
        const struct access_record *expected = &v->record[v->position];
        bool write = access->kind == ACCESS_MEM_WRITE || access->kind == ACCESS_IO_WRITE ||
                     access->kind == ACCESS_TPR_WRITE || access->kind == ACCESS_MSR_WRITE;
        if (expected->kind == access->kind && expected->size == access->size &&
            expected->address == access->address && (!write || expected->value == access->value)) {
            *access = *expected;
            v->position++;
            if (access->events)
                cpu_post(v->engine->cpu, access->events);
            return true;
        }
    }
    v->diverged = true;
    return true;
}

static void recorded(struct verify *v, struct access_record access, uint32_t events_before)
{
    if (v->phase != PHASE_RECORD)
        return;
    if (v->records == v->capacity) {
        v->capacity = v->capacity ? v->capacity * 2 : 256;
        v->record = realloc(v->record, v->capacity * sizeof *v->record);
        if (!v->record)
            abort(); /* a debugging aid without memory */
    }
    access.events = atomic_load(&v->engine->cpu->event) & ~events_before;
    v->record[v->records++] = access;
}

static uint32_t events_now(const struct verify *v)
{
    return atomic_load(&v->engine->cpu->event);
}

static struct bus_page proxy_page(void *opaque, struct cpu *cpu, gpa_t gpa)
{
    struct verify *v = opaque;
    struct bus_page page = v->real->page(v->real->opaque, cpu, gpa);
    if (page.host && page.writable)
        page.log_dirty = true;
    return page;
}

/* The next write of these pages is announced again. */
static void rearm_pages(struct verify *v)
{
    for (unsigned i = 0; i < v->pages; i++) {
        struct page_copy *copy = &v->page[i];
        unsigned slot = tlb_index(copy->gva);
        for (unsigned m = 0; m < MMU_COUNT; m++) {
            struct tlb_info *info = &copy->mmu[m]->info[slot];
            uint64_t *tag = &copy->mmu[m]->tag[ACCESS_WRITE][slot];
            if (info->gpa != copy->gpa || info->log)
                continue;
            info->log = true;
            if (*tag == copy->gva)
                *tag ^= TLB_SLOW;
        }
    }
    v->pages = 0;
}

static void proxy_before_write(void *opaque, struct cpu *cpu, gva_t gva, gpa_t gpa)
{
    struct verify *v = opaque;
    gpa_t page = gpa & ~0xfffull;
    for (unsigned i = 0; i < v->pages; i++)
        if (v->page[i].gpa == page && v->page[i].gva == (gva & ~0xfffull) &&
            v->page[i].mmu[0] == cpu->mmu[0]) /* other address spaces have TLBs of their own */
            return;
    if (v->pages == PAGES_MAX) {
        if (v->phase != PHASE_NONE) {
            v->overflow = true;
            return;
        }
        rearm_pages(v);
    }
    struct page_copy *copy = &v->page[v->pages++];
    copy->gpa = page;
    copy->gva = gva & ~0xfffull;
    memcpy(copy->mmu, cpu->mmu, sizeof copy->mmu);
    if (v->phase == PHASE_NONE)
        return; /* only to be armed again */
    copy->host = v->real->page(v->real->opaque, cpu, page).host;
    memcpy(copy->before, copy->host, 4096);
    /* Already written through another address? Then that copy has what was before. */
    for (unsigned i = 0; i + 1 < v->pages; i++)
        if (v->page[i].gpa == page) {
            memcpy(copy->before, v->page[i].before, 4096);
            break;
        }
}

static void proxy_note_write(void *opaque, gpa_t gpa, unsigned size)
{
    struct verify *v = opaque;
    v->real->note_write(v->real->opaque, gpa, size);
}

static uint64_t proxy_mem_read(void *opaque, struct cpu *cpu, gpa_t gpa, unsigned size)
{
    struct verify *v = opaque;
    struct access_record access = {ACCESS_MEM_READ, (uint8_t)size, false, gpa, 0, 0};
    if (!replayed(v, &access)) {
        uint32_t before = events_now(v);
        access.value = v->real->mem_read(v->real->opaque, cpu, gpa, size);
        recorded(v, access, before);
    }
    return access.value;
}

static void proxy_mem_write(void *opaque, struct cpu *cpu, gpa_t gpa, uint64_t value, unsigned size)
{
    struct verify *v = opaque;
    struct access_record access = {ACCESS_MEM_WRITE, (uint8_t)size, false, gpa, value, 0};
    if (!replayed(v, &access)) {
        uint32_t before = events_now(v);
        v->real->mem_write(v->real->opaque, cpu, gpa, value, size);
        recorded(v, access, before);
    }
}

static uint32_t proxy_io_read(void *opaque, struct cpu *cpu, uint16_t port, unsigned size)
{
    struct verify *v = opaque;
    struct access_record access = {ACCESS_IO_READ, (uint8_t)size, false, port, 0, 0};
    if (!replayed(v, &access)) {
        uint32_t before = events_now(v);
        access.value = v->real->io_read(v->real->opaque, cpu, port, size);
        recorded(v, access, before);
    }
    return (uint32_t)access.value;
}

static void proxy_io_write(void *opaque, struct cpu *cpu, uint16_t port, uint32_t value,
                           unsigned size)
{
    struct verify *v = opaque;
    struct access_record access = {ACCESS_IO_WRITE, (uint8_t)size, false, port, value, 0};
    if (!replayed(v, &access)) {
        uint32_t before = events_now(v);
        v->real->io_write(v->real->opaque, cpu, port, value, size);
        recorded(v, access, before);
    }
}

static bool proxy_irq_pending(void *opaque, struct cpu *cpu)
{
    struct verify *v = opaque;
    struct access_record access = {ACCESS_IRQ_PENDING, 0, false, 0, 0, 0};
    if (!replayed(v, &access)) {
        access.result = v->real->irq_pending(v->real->opaque, cpu);
        recorded(v, access, events_now(v));
    }
    return access.result;
}

static int proxy_irq_accept(void *opaque, struct cpu *cpu)
{
    struct verify *v = opaque;
    return v->real->irq_accept(v->real->opaque, cpu);
}

static uint8_t proxy_tpr_read(void *opaque, struct cpu *cpu)
{
    struct verify *v = opaque;
    struct access_record access = {ACCESS_TPR_READ, 0, false, 0, 0, 0};
    if (!replayed(v, &access)) {
        access.value = v->real->tpr_read(v->real->opaque, cpu);
        recorded(v, access, events_now(v));
    }
    return (uint8_t)access.value;
}

static void proxy_tpr_write(void *opaque, struct cpu *cpu, uint8_t class_)
{
    struct verify *v = opaque;
    struct access_record access = {ACCESS_TPR_WRITE, 0, false, 0, class_, 0};
    if (!replayed(v, &access)) {
        uint32_t before = events_now(v);
        v->real->tpr_write(v->real->opaque, cpu, class_);
        recorded(v, access, before);
    }
}

static bool proxy_msr_read(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    struct verify *v = opaque;
    struct access_record access = {ACCESS_MSR_READ, 0, false, msr, 0, 0};
    if (!replayed(v, &access)) {
        uint32_t before = events_now(v);
        access.result = v->real->apic_msr_read(v->real->opaque, cpu, msr, &access.value);
        recorded(v, access, before);
    }
    *value = access.value;
    return access.result;
}

static bool proxy_msr_write(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t value)
{
    struct verify *v = opaque;
    struct access_record access = {ACCESS_MSR_WRITE, 0, false, msr, value, 0};
    if (!replayed(v, &access)) {
        uint32_t before = events_now(v);
        access.result = v->real->apic_msr_write(v->real->opaque, cpu, msr, value);
        recorded(v, access, before);
    }
    return access.result;
}

static uint64_t proxy_clock_ns(void *opaque)
{
    struct verify *v = opaque;
    struct access_record access = {ACCESS_CLOCK, 0, false, 0, 0, 0};
    if (!replayed(v, &access)) {
        access.value = v->real->clock_ns(v->real->opaque);
        recorded(v, access, events_now(v));
    }
    return access.value;
}

static void proxy_tsc_changed(void *opaque, struct cpu *cpu)
{
    struct verify *v = opaque;
    if (v->phase != PHASE_REPLAY && v->real->tsc_changed)
        v->real->tsc_changed(v->real->opaque, cpu);
}

static void proxy_fpu_error(void *opaque, struct cpu *cpu)
{
    struct verify *v = opaque;
    if (v->phase != PHASE_REPLAY && v->real->fpu_error)
        v->real->fpu_error(v->real->opaque, cpu);
}

/* -- State -- */

static void take(const struct cpu *cpu, struct snapshot *s)
{
    memcpy(s->gpr, cpu->gpr, sizeof s->gpr);
    s->rip = cpu->rip;
    s->eflags = cpu->eflags;
    s->mode = cpu->mode;
    s->mxcsr = cpu->mxcsr;
    memcpy(s->rest, &cpu->seg, sizeof s->rest);
    s->vector = cpu->raised.vector;
    s->error = cpu->raised.error;
}

static void put_back(struct cpu *cpu, const struct snapshot *s)
{
    memcpy(cpu->gpr, s->gpr, sizeof s->gpr);
    cpu->rip = s->rip;
    cpu->eflags = s->eflags;
    cpu->mode = s->mode;
    cpu->mxcsr = s->mxcsr;
    memcpy(&cpu->seg, s->rest, sizeof s->rest);
    cpu->raised.vector = s->vector;
    cpu->raised.error = s->error;
}

/* -- Running -- */

/* Ports, MMIO and MSRs of the board: more than the record can repeat may have happened. */
static bool touched_devices(const struct verify *v)
{
    for (unsigned i = 0; i < v->records; i++)
        if (v->record[i].kind != ACCESS_CLOCK && v->record[i].kind != ACCESS_IRQ_PENDING)
            return true;
    return false;
}

/* Where the instruction of the block being compared is. */
static uint64_t rip_of(const struct verify *v, unsigned at)
{
    return v->known->at[at].rip + v->shift;
}

/* Executes the block's instructions until one leaves it, or a loop has gone round often enough;
 * counts those that were completed, for when one faults. */
static unsigned interpret(struct verify *v, const struct block *block, unsigned max,
                          volatile unsigned *completed)
{
    struct cpu *cpu = v->engine->cpu;
    uint32_t mode = space_mode(cpu->mode);
    uint8_t shadow = cpu->shadow;
    unsigned n = 0;
    while (n < max) {
        unsigned at = n % block->count;
        const struct insn *insn = &v->known->at[at].insn;
        if (cpu->rip != rip_of(v, at))
            break;
        cpu->insn = insn;
        cpu->next_rip = cpu->rip + insn->length;
        insn->exec(cpu, insn);
        cpu->rip = cpu->next_rip;
        *completed = ++n;
        /* What its own instructions cause ends a block; other threads' events can wait. */
        if (cpu->halted || space_mode(cpu->mode) != mode || block->stale || cpu->shadow != shadow ||
            (v->phase == PHASE_RECORD && touched_devices(v) && events_now(v)))
            break;
    }
    return n;
}

/* -- Comparison -- */

/* Does the instruction make all flags visible in a register or in memory? */
static bool exposes_flags(const struct insn *insn)
{
    return insn->op == OP_PUSHF || insn->op == OP_LAHF;
}

/* Flags that may differ after these instructions; *exposed: and have spread already. */
static uint32_t undefined_flags(const struct verify *v, const struct block *block,
                                unsigned executed, bool *exposed)
{
    uint32_t undefined = 0;
    *exposed = false;
    for (unsigned i = 0; i < executed; i++) {
        const struct insn *insn = &v->known->at[i % block->count].insn;
        const struct isa_row *row = &isa_rows[insn->row];
        *exposed |= undefined && exposes_flags(insn);
        undefined &= ~insn_flags_certainly_written(insn);
        undefined |= row->flags_undefined;
    }
    return undefined;
}

static void report_state(const char *title, const struct snapshot *s)
{
    log_line("%s: rip %llx eflags %x mxcsr %x vector %d error %x", title,
             (unsigned long long)s->rip, s->eflags, s->mxcsr, s->vector, s->error);
    for (unsigned i = 0; i < 16; i += 4)
        log_line("   r%-2u %016llx %016llx %016llx %016llx", i, (unsigned long long)s->gpr[i],
                 (unsigned long long)s->gpr[i + 1], (unsigned long long)s->gpr[i + 2],
                 (unsigned long long)s->gpr[i + 3]);
}

static void report_rest(const struct verify *v)
{
    size_t base = offsetof(struct cpu, seg);
    size_t xmm = offsetof(struct cpu, xmm) - base, x87 = offsetof(struct cpu, x87) - base;
    for (size_t i = 0; i < sizeof v->result.rest; i++) {
        if (v->result.rest[i] == v->reference.rest[i])
            continue;
        if (i >= xmm && i < x87) {
            unsigned reg = (unsigned)((i - xmm) / sizeof(union vector));
            uint64_t a[4], b[4];
            memcpy(a, v->reference.rest + xmm + reg * sizeof(union vector), sizeof a);
            memcpy(b, v->result.rest + xmm + reg * sizeof(union vector), sizeof b);
            for (unsigned half = 2; half-- > 0;)
                log_line("%s of ymm%u: interpreter %016llx%016llx, translated %016llx%016llx",
                         half ? "upper half" : "lower half", reg,
                         (unsigned long long)a[2 * half + 1], (unsigned long long)a[2 * half],
                         (unsigned long long)b[2 * half + 1], (unsigned long long)b[2 * half]);
            i = xmm + (reg + 1) * sizeof(union vector) - 1;
        } else {
            log_line("struct cpu byte %zu: interpreter %02x, translated %02x", i + base,
                     v->reference.rest[i], v->result.rest[i]);
        }
    }
}

static bool same_memory(struct verify *v, bool report)
{
    bool same = true;
    for (unsigned i = 0; i < v->pages; i++) {
        const struct page_copy *copy = &v->page[i];
        if (memcmp(copy->host, copy->after, 4096) == 0)
            continue;
        for (unsigned at = 0; at < 4096; at += 8) {
            uint64_t a, b;
            memcpy(&a, copy->after + at, 8);
            memcpy(&b, copy->host + at, 8);
            /* A and D bits that only the first walk had to set; of one entry, or of two */
            if ((a ^ b) == (a & ~b & 0x0000006000000060))
                continue;
            same = false;
            if (report)
                log_line("memory %llx: interpreter %016llx, translated %016llx",
                         (unsigned long long)(copy->gpa + at), (unsigned long long)a,
                         (unsigned long long)b);
        }
    }
    return same;
}

static bool same_state(const struct verify *v, uint32_t undefined)
{
    const struct snapshot *a = &v->reference, *b = &v->result;
    return memcmp(a->gpr, b->gpr, sizeof a->gpr) == 0 && a->rip == b->rip && a->mode == b->mode &&
           !((a->eflags ^ b->eflags) & ~undefined) && a->mxcsr == b->mxcsr &&
           memcmp(a->rest, b->rest, sizeof a->rest) == 0 && a->vector == b->vector &&
           a->error == b->error;
}

/* Everything about the block whose results differ. */
static void report(struct verify *v, struct block *block, unsigned expected, unsigned executed)
{
    struct engine *engine = v->engine;
    log_line("verify: translated code differs from the interpreter in block %llx (mode %x), "
             "instruction %u of %u (%llu blocks were right)",
             (unsigned long long)block->rip, v->engine->space[block->space].mode, executed,
             expected, (unsigned long long)v->blocks);
    if (v->diverged)
        log_line("verify: devices were accessed differently (access %u of %u)", v->position,
                 v->records);
    report_state("before", &v->start);
    report_state("interpreter", &v->reference);
    report_state("translated", &v->result);
    report_rest(v);
    same_memory(v, true);

    /* Once more, to show how it was translated. */
    put_back(engine->cpu, &v->start);
    v->phase = PHASE_NONE;
    unsigned items = log_items;
    log_items |= LOG_IN | LOG_IR | LOG_OUT;
    translate(engine, (enum care)block->care, block->hot);
    log_items = items;
}

static void fail(struct verify *v)
{
    v->engine->cpu->failed = true;
    cpu_post(v->engine->cpu, EVENT_STOP);
}

static bool is_random(const struct verify *v, const struct block *block)
{
    for (unsigned i = 0; i < block->count; i++)
        if (v->known->at[i].insn.op == OP_RDRAND || v->known->at[i].insn.op == OP_RDSEED)
            return true;
    return false;
}

static bool is_system(const struct verify *v, const struct block *block)
{
    const struct insn *insn = &v->known->at[0].insn;
    return block->count == 1 && isa_rows[insn->row].attributes & ISA_END && !lift_is_flow(insn->op);
}

/* Puts back the bytes that changed: others may be a device's, written meanwhile. */
static void undo(struct verify *v)
{
    for (unsigned i = 0; i < v->pages; i++) {
        struct page_copy *copy = &v->page[i];
        for (unsigned at = 0; at < 4096; at++)
            if (copy->after[at] != copy->before[at])
                copy->host[at] = copy->before[at];
    }
}

/* The translated code left early: lets the interpreter go only as far. */
static unsigned shorten(struct verify *v, const struct block *block, unsigned executed)
{
    struct cpu *cpu = v->engine->cpu;
    for (unsigned i = 0; i < v->pages; i++) {
        struct page_copy *copy = &v->page[i];
        memcpy(copy->translated, copy->host, 4096);
        for (unsigned at = 0; at < 4096; at++)
            if (copy->translated[at] != copy->before[at])
                copy->host[at] = copy->before[at];
    }
    put_back(cpu, &v->start);
    cpu_update_mode(cpu);
    v->position = 0;
    volatile unsigned done = 0;
    interpret(v, block, executed, &done);
    take(cpu, &v->reference);
    for (unsigned i = 0; i < v->pages; i++) {
        struct page_copy *copy = &v->page[i];
        memcpy(copy->after, copy->host, 4096);
        memcpy(copy->host, copy->translated, 4096);
    }
    put_back(cpu, &v->result);
    return done;
}

static void finish(struct verify *v, unsigned executed)
{
    struct cpu *cpu = v->engine->cpu;
    rearm_pages(v);
    cpu->instructions += executed;
    if (cpu->raised.vector >= 0)
        siglongjmp(cpu->unwind, 1);
}

static bool is_repeated(const struct verify *v, unsigned at)
{
    const struct insn *insn = &v->known->at[at].insn;
    return insn->prefixes & (PREFIX_REP | PREFIX_REPNE) &&
           isa_rows[insn->row].attributes & (ISA_REP | ISA_REPZ);
}

/* Did an event stop the repeated string instruction that a run executed last half-way? Where, the
 * engines need not agree. */
static bool stopped_half_way(const struct verify *v, const struct block *block,
                             const struct snapshot *s, unsigned executed)
{
    return executed && executed <= block->count && s->vector < 0 &&
           s->rip == rip_of(v, executed - 1) && is_repeated(v, executed - 1);
}

/* Likewise, but the instruction was not counted. */
static bool left_half_way(const struct verify *v, const struct block *block,
                          const struct snapshot *s, unsigned executed)
{
    return executed < block->count && s->vector < 0 && s->rip == rip_of(v, executed) &&
           is_repeated(v, executed);
}

void verify_run(struct engine *engine, struct block *block)
{
    struct verify *v = engine->verify;
    struct cpu *cpu = engine->cpu;
    struct engine_hot *hot = engine_hot(cpu);
    sigjmp_buf outer;
    volatile unsigned expected = 0;
    unsigned executed;

    v->known = block_verified(block);
    v->shift = block_shift(engine, block);
    if (is_system(v, block) || is_random(v, block)) {
        v->skipped++;
        interp_block(cpu);
        return;
    }
    if (v->known->runs++ > OFTEN && v->known->runs % RARE) {
        v->trusted++;
        hot->exit = 0;
        hot->vectors_loaded = false;
        engine_enter(engine, block);
        const struct exit *left = hot->exit ? exit_at(engine, hot->exit) : NULL;
        if (left)
            cpu->rip = exit_rip(engine, left);
        if (left && !left->care)
            hot->exit = 0;
        cpu->instructions += hot->instructions;
        hot->instructions = 0;
        return;
    }
    uint32_t events = atomic_load(&cpu->event);
    rearm_pages(v);
    if (cpu->window)
        window_forget(cpu); /* what is written is announced again */
    v->records = v->position = 0;
    v->diverged = v->overflow = false;
    take(cpu, &v->start);
    memcpy(&outer, &cpu->unwind, sizeof outer);

    v->phase = PHASE_RECORD;
    hot->instructions = 0; /* counts instructions before a fault */
    if (sigsetjmp(cpu->unwind, 0) == 0)
        interpret(v, block, block_verified_insns(block), &expected);
    take(cpu, &v->reference);
    uint32_t posted = atomic_fetch_and(&cpu->event, events) & ~events;
    for (unsigned i = 0; i < v->pages; i++)
        memcpy(v->page[i].after, v->page[i].host, 4096);
    /* Devices may have written memory; the block has overwritten itself, which the TLB now knows;
     * or a repeated string instruction stopped half-way for an event, which the engines need not
     * notice at the same element: nothing to repeat. */
    if (touched_devices(v) || block->stale ||
        (expected && cpu->rip == rip_of(v, (expected - 1) % block->count) && !block->loops)) {
        v->phase = PHASE_NONE;
        memcpy(&cpu->unwind, &outer, sizeof outer);
        cpu_post(cpu, posted);
        v->skipped++;
        finish(v, expected);
        return;
    }
    undo(v);
    put_back(cpu, &v->start);
    cpu_update_mode(cpu);

    volatile unsigned pages = v->pages;
    v->phase = PHASE_REPLAY;
    hot->instructions = 0;
    hot->exit = 0;
    hot->vectors_loaded = false;
    if (sigsetjmp(cpu->unwind, 0) == 0) {
        engine_enter(engine, block);
        if (hot->exit)
            cpu->rip = exit_rip(engine, exit_at(engine, hot->exit));
    }
    executed = (unsigned)hot->instructions;
    const struct exit *exit = hot->exit ? exit_at(engine, hot->exit) : NULL;
    uint32_t next = exit && exit->care ? hot->exit : 0;
    hot->instructions = hot->exit = 0;
    take(cpu, &v->result);
    bool half_way = stopped_half_way(v, block, &v->result, executed) ||
                    (executed < expected && left_half_way(v, block, &v->result, executed));
    bool before_fault = v->reference.vector >= 0 && v->result.vector < 0 && executed == expected;
    /* An event, a page guard, to share fewer checks. */
    if (!half_way && (executed < expected || before_fault)) {
        expected = shorten(v, block, executed);
        pages = v->pages;
        half_way = stopped_half_way(v, block, &v->reference, expected);
    }
    if (half_way) { /* nothing to compare: what was translated goes on */
        v->phase = PHASE_NONE;
        memcpy(&cpu->unwind, &outer, sizeof outer);
        cpu_post(cpu, posted);
        cpu_update_mode(cpu);
        v->skipped++;
        hot->exit = next;
        finish(v, executed);
        return;
    }
    v->phase = PHASE_NONE;
    for (unsigned i = pages; i < v->pages; i++) /* written by the translated code only */
        memcpy(v->page[i].after, v->page[i].before, 4096);
    memcpy(&cpu->unwind, &outer, sizeof outer);
    cpu_post(cpu, posted);

    bool exposed;
    uint32_t undefined = undefined_flags(v, block, expected, &exposed);
    if (v->overflow || exposed) {
        /* Too much to keep, or undefined flags in memory: the interpreter's result. */
        for (unsigned i = 0; i < v->pages; i++)
            memcpy(v->page[i].host, v->page[i].after, 4096);
        put_back(cpu, &v->reference);
        v->skipped++;
    } else if (v->diverged || executed != expected || !same_state(v, undefined) ||
               !same_memory(v, false)) {
        report(v, block, expected, executed);
        fail(v);
    }
    cpu_update_mode(cpu);
    v->blocks++;
    if (!cpu->failed)
        hot->exit = next; /* the dispatcher goes on with more care */
    finish(v, expected);
}

/* -- Life -- */

bool verify_create(struct engine *engine, struct error *error)
{
    struct verify *v = calloc(1, sizeof *v);
    if (v)
        v->page = calloc(PAGES_MAX, sizeof *v->page);
    if (!v || !v->page) {
        free(v);
        return error_set(error, "cannot allocate memory for --verify");
    }
    v->engine = engine;
    v->real = engine->cpu->bus;
    v->proxy = (struct cpu_bus){
        .opaque = v,
        .page = proxy_page,
        .mem_read = proxy_mem_read,
        .mem_write = proxy_mem_write,
        .note_write = proxy_note_write,
        .before_write = proxy_before_write,
        .io_read = proxy_io_read,
        .io_write = proxy_io_write,
        .irq_pending = proxy_irq_pending,
        .irq_accept = proxy_irq_accept,
        .tpr_read = proxy_tpr_read,
        .tpr_write = proxy_tpr_write,
        .apic_msr_read = proxy_msr_read,
        .apic_msr_write = proxy_msr_write,
        .clock_ns = proxy_clock_ns,
        .tsc_changed = proxy_tsc_changed,
        .fpu_error = proxy_fpu_error,
        .ram_file = v->real->ram_file,
    };
    engine->cpu->bus = &v->proxy;
    engine->verify = v;
    tlb_flush_all(engine->cpu);
    return true;
}

void verify_destroy(struct engine *engine)
{
    struct verify *v = engine->verify;
    if (!v)
        return;
    engine->cpu->bus = v->real;
    free(v->record);
    free(v->page);
    free(v);
    engine->verify = NULL;
}

void verify_stats(const struct engine *engine, FILE *out)
{
    if (engine->verify)
        fprintf(out,
                "  verified %llu runs of blocks, %llu more were trusted, %llu left to the "
                "interpreter\n",
                (unsigned long long)engine->verify->blocks,
                (unsigned long long)engine->verify->trusted,
                (unsigned long long)engine->verify->skipped);
}
