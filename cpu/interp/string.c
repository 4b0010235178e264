/*
 * String instructions: MOVS, STOS, LODS, SCAS, CMPS, each alone or repeated.
 *
 * A repeated one works in runs: as many elements as lie in one page of both strings, inside their
 * segments, without wrapping, and in plain RAM are done at once on host memory; what remains (page
 * crossings, devices, pages with code, watched accesses, TLB misses, single steps) goes element by
 * element. After each run rSI, rDI and rCX are current, so that a fault or a pending event resumes
 * the instruction where it was. The flags of SCAS and CMPS change only when the instruction ends or
 * is interrupted, not when it faults (SDM volume 2, "REP", on faults).
 */
#include "cpu/interp/operand.h"

enum string_kind { MOVS, STOS, LODS, SCAS, CMPS };

/* -- Registers by address size -- */

INLINE uint64_t index_read(const struct cpu *cpu, const struct insn *insn, unsigned reg)
{
    return zero_extend(cpu->gpr[reg], insn->addrsize);
}

INLINE void index_write(struct cpu *cpu, const struct insn *insn, unsigned reg, uint64_t value)
{
    if (insn->addrsize == 2)
        gpr_write(cpu, reg, 2, value);
    else
        cpu->gpr[reg] = zero_extend(value, insn->addrsize);
}

/* -- Runs -- */

/*
 * How many elements from seg:offset (linear address gva) on, in the string's direction, lie in one
 * page and segment without wrapping. 0 if this is not easily said; the element itself was checked.
 */
static uint64_t run_length(const struct cpu *cpu, const struct insn *insn, unsigned seg,
                           uint64_t offset, gva_t gva, unsigned size, bool down)
{
    const struct segment *segment = &cpu->seg[seg];
    unsigned in_page = gva & 0xfff;
    uint64_t last = zero_extend(~0ull, insn->addrsize); /* highest offset that may be used */

    if (in_page + size > 4096)
        return 0;
    if (!(cpu->mode & MODE_CODE64)) {
        if ((segment->attr & (SEGMENT_CODE | SEGMENT_DC)) == SEGMENT_DC)
            return 0;
        if (segment->limit < last)
            last = segment->limit;
    }
    if (offset > last)
        return 0;
    if (down) {
        uint64_t below = in_page < offset ? in_page : offset;
        return below / size + 1;
    }
    uint64_t above = last - offset < 4095 - in_page ? last - offset : 4095 - in_page;
    return (above + 1) / size;
}

INLINE uint64_t element(const uint8_t *host, uint64_t i, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, host + i * size, size);
    return value;
}

/* Copies as one element after the other would, also where the strings overlap. */
INLINE void copy_run(uint8_t *to, const uint8_t *from, uint64_t n, unsigned size, bool down)
{
    size_t bytes = n * size;

    if (to >= from + bytes || from >= to + bytes || (to < from) == !down || to == from) {
        memmove(to, from, bytes);
    } else if (down) {
        for (uint64_t i = n; i-- > 0;) {
            uint64_t value = element(from, i, size);
            memcpy(to + i * size, &value, size);
        }
    } else if ((size_t)(to - from) >= size) {
        /* The source repeats itself with the distance as its period. */
        size_t distance = (size_t)(to - from);
        while (bytes) {
            size_t step = distance < bytes ? distance : bytes;
            memcpy(to, from, step);
            to += step;
            bytes -= step;
            distance += step;
        }
    } else {
        for (uint64_t i = 0; i < n; i++) {
            uint64_t value = element(from, i, size);
            memcpy(to + i * size, &value, size);
        }
    }
}

INLINE void fill_run(uint8_t *to, uint64_t value, uint64_t n, unsigned size)
{
    if (size == 1 ||
        zero_extend(value, size) == (uint8_t)value * zero_extend(0x0101010101010101, size)) {
        memset(to, (int)(uint8_t)value, n * size);
        return;
    }
    /* A few elements, then what is there already is copied behind itself. */
    uint64_t bytes = n * size, done = bytes < 64 ? bytes : 64;
    for (uint64_t at = 0; at < done; at += size)
        memcpy(to + at, &value, size);
    while (done < bytes) {
        uint64_t step = done < bytes - done ? done : bytes - done;
        memcpy(to + done, to, step);
        done += step;
    }
}

/* -- Comparisons -- */

/* The operands of the last comparison; its flags are theirs. */
struct comparison {
    uint64_t a, b;
    bool until_equal; /* REPNE: stop at the first equal pair; REPE: at the first unequal one */
};

INLINE bool comparison_ends(const struct comparison *c)
{
    return (c->a == c->b) == c->until_equal;
}

/* Compares up to n elements, stops behind the first that ends the repetition; returns how many. */
INLINE uint64_t compare_run(struct comparison *c, const uint8_t *left, const uint8_t *right,
                            uint64_t n, unsigned size, bool down)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = down ? n - 1 - i : i;
        if (left)
            c->a = element(left, at, size);
        c->b = element(right, at, size);
        if (comparison_ends(c))
            return i + 1;
    }
    return n;
}

/* -- The instructions -- */

/* One element through the ordinary accessors. */
INLINE void string_element(struct cpu *cpu, unsigned size, enum string_kind kind, gva_t source,
                           gva_t destination, struct comparison *c)
{
    switch (kind) {
    case MOVS:
        mem_write(cpu, destination, mem_read(cpu, source, size), size);
        break;
    case STOS:
        mem_write(cpu, destination, cpu->gpr[RAX], size);
        break;
    case LODS:
        gpr_write(cpu, RAX, size, mem_read(cpu, source, size));
        break;
    case CMPS:
        c->a = mem_read(cpu, source, size);
        c->b = mem_read(cpu, destination, size);
        break;
    case SCAS:
        c->b = mem_read(cpu, destination, size);
        break;
    }
}

/* Up to n elements on host memory if both strings allow it; returns how many were done, or 0. */
INLINE uint64_t string_run(struct cpu *cpu, unsigned size, enum string_kind kind, uint64_t n,
                           gva_t source, gva_t destination, bool down, struct comparison *c)
{
    const uint8_t *from = NULL;
    uint8_t *to = NULL;
    uint64_t back = down ? (n - 1) * size : 0;

    if (kind == MOVS || kind == LODS || kind == CMPS) {
        from = mem_host_read(cpu, source - back, n * size);
        if (!from)
            return 0;
    }
    if (kind != LODS) {
        to = kind == MOVS || kind == STOS ? mem_host_write(cpu, destination - back, n * size)
                                          : mem_host_read(cpu, destination - back, n * size);
        if (!to)
            return 0;
    }
    switch (kind) {
    case MOVS:
        copy_run(to, from, n, size, down);
        break;
    case STOS:
        fill_run(to, cpu->gpr[RAX], n, size);
        break;
    case LODS:
        gpr_write(cpu, RAX, size, element(from, down ? 0 : n - 1, size));
        break;
    case CMPS:
    case SCAS:
        return compare_run(c, from, to, n, size, down);
    }
    return n;
}

INLINE void string(struct cpu *cpu, const struct insn *insn, unsigned size, enum string_kind kind)
{
    const bool has_source = kind == MOVS || kind == LODS || kind == CMPS;
    const bool has_destination = kind != LODS;
    const bool compares = kind == SCAS || kind == CMPS;
    const enum access access = compares ? ACCESS_READ : ACCESS_WRITE;
    unsigned seg = insn->prefixes & PREFIX_SEG ? insn->seg : SEG_DS;
    bool repeat = insn->prefixes & (PREFIX_REP | PREFIX_REPNE);
    bool down = cpu->eflags & FLAG_DF;
    uint64_t count = repeat ? index_read(cpu, insn, RCX) : 1;
    struct comparison c = {.a = gpr_read(cpu, RAX, size),
                           .until_equal = insn->prefixes & PREFIX_REPNE};

    if (count == 0)
        return;
    for (;;) {
        uint64_t si = index_read(cpu, insn, RSI), di = index_read(cpu, insn, RDI);
        gva_t source = 0, destination = 0;
        uint64_t n = cpu->mode & MODE_STEP ? 1 : count, done = 0;

        if (has_source)
            source = segment_linear(cpu, seg, si, size, ACCESS_READ);
        if (has_destination)
            destination = segment_linear(cpu, SEG_ES, di, size, access);
        if (n > 1 && has_source) {
            uint64_t run = run_length(cpu, insn, seg, si, source, size, down);
            n = run < n ? run : n;
        }
        if (n > 1 && has_destination) {
            uint64_t run = run_length(cpu, insn, SEG_ES, di, destination, size, down);
            n = run < n ? run : n;
        }
        if (n > 1)
            done = string_run(cpu, size, kind, n, source, destination, down, &c);
        if (done == 0) {
            string_element(cpu, size, kind, source, destination, &c);
            done = 1;
        }

        uint64_t distance = down ? -(done * size) : done * size;
        if (has_source)
            index_write(cpu, insn, RSI, si + distance);
        if (has_destination)
            index_write(cpu, insn, RDI, di + distance);
        if (!repeat)
            break;
        count -= done;
        index_write(cpu, insn, RCX, count);
        if (count == 0 || (compares && comparison_ends(&c)))
            break;
        if (atomic_load_explicit(&cpu->event, memory_order_relaxed)) {
            cpu->next_rip = cpu->rip; /* to be resumed */
            break;
        }
    }
    if (compares)
        cpu->eflags = flags_merge(cpu->eflags, FLAG_ARITH, flags_sub(c.a, c.b, c.a - c.b, size));
}

EXEC_SIZES(MOVS, string, MOVS)
EXEC_SIZES(STOS, string, STOS)
EXEC_SIZES(LODS, string, LODS)
EXEC_SIZES(SCAS, string, SCAS)
EXEC_SIZES(CMPS, string, CMPS)
