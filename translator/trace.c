/*
 * Forming a trace: which guest instructions become one block.
 *
 * A trace follows fall-through, direct jumps, direct calls and the returns that match them, as long
 * as the code lies in at most TRACE_PAGES pages. It ends at an instruction that changes the mode or
 * the flow unpredictably, at a backward conditional jump (the end of a loop), and where a page
 * would have to be fetched that the TLB does not know: fetching ahead of execution must neither
 * fault nor set accessed bits. It contains an address twice only if it is a loop over
 * floating-point or vector operands: of these it has several iterations, so that one check serves
 * neighbouring operands (opt_checks.c).
 *
 * A warm trace is to be small: it does not enter calls, and ends where another block begins.
 */
#include "translator/engine.h"

#include "cpu/interp/interp.h"

#include <string.h>

#define UNROLLED_MAX      48 /* instructions of several iterations of a loop */
#define UNROLLED_TIMES    4
#define FOLLOW_CALL_LIMIT 24 /* instructions in the trace beyond which calls are not entered */
#define DISTANCE_MAX      (1ull << 30) /* of jumps that are followed, from the trace's start */

static gva_t linear(const struct trace *trace, uint64_t rip)
{
    return trace->mode & MODE_CODE64 ? rip : (uint32_t)(trace->cs_base + rip);
}

/* Index of the page of gva in the trace; adds it if the TLB has it. `fetch`: it may be fetched, and
 * fault. -1: not available. */
static int page_of(struct engine *engine, struct trace *trace, gva_t gva, bool fetch, bool *added)
{
    gva_t page = gva & ~0xfffull;
    *added = false;
    for (unsigned i = 0; i < trace->pages; i++)
        if (trace->page[i].gva == page)
            return (int)i;
    if (trace->pages == TRACE_PAGES)
        return -1;

    struct cpu *cpu = engine->cpu;
    struct trace_page found = {.gva = page};
    if (fetch)
        found.host = mem_fetch(cpu, page, &found.gpa);
    else if ((found.host = tlb_find(cpu->tlb, ACCESS_FETCH, page, 1)))
        found.gpa = cpu->tlb->info[tlb_index(page)].gpa;
    if (!found.host)
        return -1;
    *added = true;
    trace->page[trace->pages] = found;
    return (int)trace->pages++;
}

static void note_bytes(struct trace *trace, unsigned page, gva_t gva, unsigned size)
{
    gpa_t gpa = trace->page[page].gpa | (gva & 0xfff);
    if (trace->ranges) {
        unsigned last = trace->ranges - 1;
        if (trace->range[last].gpa + trace->range[last].size == gpa && (gpa & 0xfff) != 0) {
            trace->range[last].size += size;
            return;
        }
    }
    trace->range[trace->ranges].gpa = gpa;
    trace->range[trace->ranges].size = size;
    trace->ranges++;
}

/* Decodes the instruction at rip as number n of the trace. */
static bool add_insn(struct engine *engine, struct trace *trace, uint64_t rip)
{
    struct decode_context context = decode_context(engine->cpu);
    struct insn *insn = &trace->insn[trace->count];
    bool first = trace->count == 0, added;
    gva_t gva = linear(trace, rip);
    uint8_t guard = 0;

    if (rip > trace->cs_limit)
        return false;
    int page = page_of(engine, trace, gva, first, &added);
    if (page < 0)
        return false;
    if (added && !first)
        guard |= (uint8_t)(1 << page);

    uint64_t to_limit = trace->cs_limit - rip; /* bytes after this one */
    unsigned available = 4096 - (unsigned)(gva & 0xfff);
    if (available - 1 > to_limit)
        available = (unsigned)to_limit + 1;
    int length = interp_decode_at(engine->cpu, trace->page[page].gpa | (gva & 0xfff),
                                  trace->page[page].host + (gva & 0xfff), available, insn);
    if (length) {
        note_bytes(trace, (unsigned)page, gva, (unsigned)length);
    } else {
        /* Continues in the next page (or beyond the limit). */
        uint8_t bytes[INSN_MAX_LENGTH];
        gva_t next = linear(trace, rip + available);
        if (available <= to_limit && !(next & 0xfff)) {
            int page2 = page_of(engine, trace, next, first, &added);
            if (page2 < 0)
                return false;
            if (added)
                guard |= (uint8_t)(1 << page2);
            memcpy(bytes, trace->page[page].host + (gva & 0xfff), available);
            memcpy(bytes + available, trace->page[page2].host, INSN_MAX_LENGTH - available);
            length = decode(&context, bytes, INSN_MAX_LENGTH, insn);
            if (!length || (uint64_t)length - 1 > to_limit)
                return false;
            note_bytes(trace, (unsigned)page, gva, available);
            note_bytes(trace, (unsigned)page2, next, (unsigned)length - available);
        } else {
            return false;
        }
    }
    trace->rip[trace->count] = rip;
    trace->guard[trace->count] = guard;
    trace->poll[trace->count] = false;
    trace->count++;
    return true;
}

static bool contains(const struct trace *trace, uint64_t rip)
{
    for (unsigned i = 0; i < trace->count; i++)
        if (trace->rip[i] == rip)
            return true;
    return false;
}

/* Can the trace go on at a jump's target? Descriptions of blocks have distances in 32 bits. */
static bool can_follow(struct engine *engine, const struct trace *trace, uint64_t rip)
{
    if (contains(trace, rip) || (rip - trace->rip[0] + DISTANCE_MAX) >= 2 * DISTANCE_MAX)
        return false;
    gva_t page = linear(trace, rip) & ~0xfffull;
    for (unsigned i = 0; i < trace->pages; i++)
        if (trace->page[i].gva == page)
            return true;
    return trace->pages < TRACE_PAGES && tlb_find(engine->cpu->tlb, ACCESS_FETCH, page, 1);
}

/* Is there a block that begins there? */
static bool is_translated(struct engine *engine, const struct trace *trace, uint64_t rip)
{
    gva_t gva = linear(trace, rip);
    if (trace->floats)
        rip -= engine_hot(engine->cpu)->shift;
    for (unsigned i = 0; i < trace->pages; i++)
        if (trace->page[i].gva == (gva & ~0xfffull))
            return block_in_space(engine, engine->current_space, rip,
                                  trace->page[i].gpa | (gva & 0xfff), trace->floats) != NULL;
    return false;
}

static bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

bool trace_reaches(const struct trace *trace, uint64_t rip)
{
    return trace->mode & MODE_CODE64 ? is_canonical(rip) : rip <= trace->cs_limit;
}

bool trace_target(const struct trace *trace, const struct insn *insn, uint64_t rip,
                  uint64_t *target)
{
    *target = rip + insn->length + insn->imm;
    if (!(trace->mode & MODE_CODE64))
        *target = insn->opsize == 2 ? (uint16_t)*target : (uint32_t)*target;
    return trace_reaches(trace, *target);
}

/* Where the trace goes on after its last instruction; false: it ends here. */
static bool next_rip(struct engine *engine, struct trace *trace, uint64_t *next)
{
    unsigned n = trace->count - 1;
    const struct insn *insn = &trace->insn[n];
    uint64_t rip = trace->rip[n], target;
    *next = rip + insn->length;

    bool direct = insn->operand[0].kind == OPERAND_REL;
    switch (insn->op) {
    case OP_JCC:
        return trace_target(trace, insn, rip, &target) && target > rip;
    case OP_LOOP:
    case OP_JCXZ:
        return trace_target(trace, insn, rip, &target) && target > rip;
    case OP_JMP:
    case OP_CALL:
        if (!direct || !trace_target(trace, insn, rip, &target) ||
            !can_follow(engine, trace, target))
            return false;
        if (insn->op == OP_CALL) {
            if (!trace->hot || n >= FOLLOW_CALL_LIMIT || trace->returns == 8)
                return false;
            trace->return_rip[trace->returns++] = *next;
        }
        trace->poll[n] = target <= rip;
        *next = target;
        return true;
    case OP_RET:
        if (!trace->returns || !can_follow(engine, trace, trace->return_rip[trace->returns - 1]))
            return false;
        *next = trace->return_rip[--trace->returns];
        trace->poll[n] = true;
        return true;
    default:
        return !(isa_rows[insn->row].attributes & ISA_END) ||
               lift_goes_on(engine, trace->mode, insn);
    }
}

/* Is it worth several iterations? One check then serves neighbouring operands, and flags that only
 * the next iteration's faults would show are stored less often. A loop with branches in it is
 * worth it only for vectors and floating-point numbers. */
static bool gains(const struct trace *trace, unsigned from)
{
    bool memory = false, branches = false;
    for (unsigned i = from; i < trace->count; i++) {
        const struct insn *insn = &trace->insn[i];
        bool wide = host_has_vector(insn) || host_has_x87(insn);
        branches |= i + 1u < trace->count && lift_is_flow(insn->op);
        for (unsigned n = 0; n < insn->noperands; n++) {
            if (insn->operand[n].kind != OPERAND_MEM)
                continue;
            if (wide)
                return true;
            memory = true;
        }
    }
    return memory && !branches;
}

/* A loop that the trace has come through once: its jump back is followed a few times. */
static void unroll(struct trace *trace, unsigned max_insns)
{
    const struct insn *last = &trace->insn[trace->count - 1];
    unsigned head = 0, max = max_insns < UNROLLED_MAX ? max_insns : UNROLLED_MAX;
    uint64_t target;
    if (last->op != OP_JCC || !trace_target(trace, last, trace->rip[trace->count - 1], &target))
        return;
    while (head < trace->count && trace->rip[head] != target)
        head++;
    unsigned body = trace->count - head;
    if (body == 0 || !gains(trace, head))
        return;
    for (unsigned times = 1; times < UNROLLED_TIMES && trace->count + body <= max; times++) {
        trace->next[trace->count - 1] = target;
        for (unsigned i = head; i < head + body; i++) {
            unsigned n = trace->count++;
            trace->insn[n] = trace->insn[i];
            trace->rip[n] = trace->rip[i];
            trace->next[n] = trace->next[i];
            trace->poll[n] = trace->poll[i];
            trace->guard[n] = 0; /* passed in the first iteration */
        }
        trace->next[trace->count - 1] = trace->end;
    }
}

bool trace_form(struct engine *engine, struct trace *trace, unsigned max_insns, bool hot)
{
    struct cpu *cpu = engine->cpu;
    trace->space = engine->current_space;
    trace->mode = cpu->mode;
    trace->hot = hot;
    trace->floats = !hot && shift_is_possible(engine, cpu->rip);
    trace->cs_base = cpu->seg[SEG_CS].base;
    trace->cs_limit = cpu->mode & MODE_CODE64 ? ~0ull : cpu->seg[SEG_CS].limit;
    trace->count = trace->pages = trace->ranges = trace->returns = 0;

    uint64_t rip = cpu->rip;
    while (trace->count < max_insns) {
        if (contains(trace, rip) || (!hot && trace->count && is_translated(engine, trace, rip)) ||
            !add_insn(engine, trace, rip))
            break;
        const struct insn *insn = &trace->insn[trace->count - 1];
        if (engine->verify && trace->count > 1 && isa_rows[insn->row].attributes & ISA_END &&
            !lift_is_flow(insn->op) && !lift_goes_on(engine, trace->mode, insn)) {
            trace->count--; /* runs by itself, once (verify.c) */
            break;
        }
        bool more = next_rip(engine, trace, &rip);
        trace->next[trace->count - 1] = rip;
        if (!more)
            break;
    }
    if (trace->count) {
        trace->end = trace->next[trace->count - 1];
        if (hot)
            unroll(trace, max_insns);
    }
    return trace->count != 0;
}

void trace_float(struct trace *trace, uint64_t shift)
{
    for (unsigned i = 0; i < trace->count; i++) {
        trace->rip[i] -= shift;
        trace->next[i] -= shift;
    }
    for (unsigned i = 0; i < trace->pages; i++)
        trace->page[i].gva -= shift;
    trace->end -= shift;
}
