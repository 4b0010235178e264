/*
 * Shared memory checks. Accesses at constant distances from one another, a stack frame or the
 * members of a structure, are usually in one page: the first checks the whole range that they span,
 * and the others use the host distance that it found (hot.share), without a check of their own.
 *
 * A trace has one entry, so the first access stands before the others; and a translation that was
 * good once stays good until the block ends, because whatever flushes the TLB leaves the block
 * (R7). If the range is not in one page, or some of it needs a slow path, the block is left for one
 * that starts at that instruction and takes more care (exit.care). In the first such, accesses
 * share a check if they are in one page with what registers hold at that time: a stack frame that
 * lies across the boundary of two pages stays there for a while. In the second nothing is shared;
 * warm blocks go to it at once.
 *
 * Addresses are compared symbolically (symbols.c).
 */
#include "translator/engine.h"

#include <assert.h>
#include <string.h>

#define GROUPS_MAX 64
#define SPAN_MAX   256 /* the range crosses a page with probability span / 4096 */

struct group {
    /* Accesses with the same of these belong together. */
    uint16_t base, index;
    uint8_t scale, seg, address_size;
    bool constant; /* absolute addresses in page `page` */
    bool floats;   /* likewise, and the shift is added */
    uint64_t page; /* of others: where they lie now, for CARE_PAGES */

    int64_t low, high;    /* range relative to the roots */
    unsigned first, last; /* operations */
    unsigned count;
    bool writes_first; /* the first access only reads, but is checked for writing */
    int first_write;   /* -1: none */
    int aligned;       /* offset modulo 16 of aligned members, -1: none */
    bool closed;
    bool start;     /* members find their operand by the range's host address */
    bool invariant; /* the address is the same in all iterations of the loop */
    bool again;     /* uses the slot of a group before it */
};

struct checks {
    struct ir_list *list;
    const struct trace *trace;
    const struct cpu *cpu; /* CARE_PAGES: at the block's start; or NULL */
    unsigned width;        /* bytes of an address register */
    struct symbols symbols;
    struct group group[GROUPS_MAX];
    unsigned groups;
    uint8_t member[512]; /* group of each operation, + 1 */
};

/* -- Groups -- */

/* Can the guest's own code leave the block between these operations? An event or a lost page in
 * between only delays what follows; a dirty bit may be set before it then (docs/conformance.md). */
static bool leaves_between(const struct checks *c, unsigned first, unsigned last)
{
    for (unsigned at = first; at < last; at++) {
        unsigned op = c->list->at[at].op;
        if (op >= IR_BRANCH && op <= IR_INDIRECT)
            return true;
    }
    return false;
}

/* The page of an access at `offset` from its roots, by what registers hold. False if they are not
 * known, or it lies in two pages. */
static bool page_now(const struct checks *c, const struct ir *ir, struct group *key, int64_t offset)
{
    uint64_t address = (uint64_t)offset;
    if ((key->base != NO_ROOT && key->base >= 16) || (key->index != NO_ROOT && key->index >= 16))
        return false;
    if (key->base != NO_ROOT)
        address += c->cpu->gpr[key->base];
    if (key->index != NO_ROOT)
        address += c->cpu->gpr[key->index] << key->scale;
    if (c->width == 4)
        address = (uint32_t)address;
    if (ir->seg != SEG_COUNT)
        address += c->cpu->seg[ir->seg].base;
    key->page = address >> 12;
    return (address & 0xfff) + ir->size <= 4096;
}

/* What group an access would belong to, and its place there. */
static bool describe(const struct checks *c, const struct ir *ir, struct group *key,
                     int64_t *offset)
{
    *key = (struct group){.base = NO_ROOT, .index = NO_ROOT, .seg = ir->seg};
    key->address_size = ir->aux >> 4;
    if (ir->checked || ir->bit_offset || (ir->floats && ir->seg != SEG_COUNT) ||
        key->address_size != c->width || ir->size > (ir->aligned ? 16 : 32))
        return false;
    *offset = ir->imm;
    if (ir->a < 16) {
        key->base = c->symbols.at[ir->a].root;
        *offset += c->symbols.at[ir->a].offset;
    }
    if (ir->b < 16) {
        key->index = c->symbols.at[ir->b].root;
        key->scale = ir->aux & 15;
        *offset += c->symbols.at[ir->b].offset << key->scale;
    }
    if (ir->a >= 16 && ir->b >= 16) {
        if (ir->seg != SEG_COUNT)
            return *offset == (int32_t)*offset;
        uint64_t address = c->width == 4 ? (uint32_t)*offset : (uint64_t)*offset;
        key->constant = true;
        key->floats = ir->floats;
        key->page = address >> 12;
        *offset = (int64_t)address;
        return (address & 0xfff) + ir->size <= 4096;
    }
    return !c->cpu || page_now(c, ir, key, *offset);
}

static bool same_key(const struct group *a, const struct group *b)
{
    return a->base == b->base && a->index == b->index && a->scale == b->scale && a->seg == b->seg &&
           a->constant == b->constant && a->floats == b->floats && a->page == b->page;
}

static bool fits(const struct group *g, const struct ir *ir, int64_t offset)
{
    int64_t low = offset < g->low ? offset : g->low;
    int64_t high = offset + ir->size > g->high ? offset + ir->size : g->high;
    if (!g->constant && high - low > SPAN_MAX)
        return false;
    return !ir->aligned || g->aligned < 0 || g->aligned == (offset & 15);
}

static void join(struct group *g, unsigned at, const struct ir *ir, int64_t offset)
{
    if (offset < g->low)
        g->low = offset;
    if (offset + ir->size > g->high)
        g->high = offset + ir->size;
    if (ir->aligned)
        g->aligned = (int)(offset & 15);
    if (ir->op != IR_MEM_READ && g->first_write < 0)
        g->first_write = (int)at;
    g->last = at;
    g->count++;
}

bool opt_may_check(const struct ir_list *list, unsigned at)
{
    for (unsigned i = at; i-- > 0 && list->at[i].insn == list->at[at].insn;)
        if (ir_observable(&list->at[i]) && list->at[i].op != IR_GUARD)
            return false;
    return true;
}

static void place(struct checks *c, unsigned at, const struct ir *ir)
{
    struct group key;
    int64_t offset;
    if (!describe(c, ir, &key, &offset))
        return;
    bool checks = opt_may_check(c->list, at);
    if (key.constant && ir->aligned && offset & 15) /* always a fault: never a member */
        return;
    for (unsigned i = c->groups; i-- > 0;) {
        struct group *g = &c->group[i];
        if (g->closed || !same_key(g, &key))
            continue;
        if (!fits(g, ir, offset))
            break;
        if (!checks && ir->op != IR_MEM_READ && g->first_write < 0)
            return; /* by itself */
        if (c->list->loop && ir->op != IR_MEM_READ && g->first_write < 0 &&
            leaves_between(c, g->first, at))
            break; /* a loop checks once for each group: another one */
        join(g, at, ir, offset);
        c->member[at] = (uint8_t)(i + 1);
        return;
    }
    if (c->groups == GROUPS_MAX || !checks)
        return;
    struct group *g = &c->group[c->groups++];
    *g = key;
    g->low = offset;
    g->high = offset + ir->size;
    g->first = at;
    g->first_write = g->aligned = -1;
    join(g, at, ir, offset);
    c->member[at] = (uint8_t)c->groups;
}

static void close_all(struct checks *c)
{
    for (unsigned i = 0; i < c->groups; i++)
        c->group[i].closed = true;
}

/* A group that is read first and written soon is checked for writing at once, if nothing can leave
 * the block between the two: if the write cannot be done now, it would take a slow path anyway. */
static void check_for_writing(const struct checks *c, struct group *g)
{
    if (g->first_write <= (int)g->first)
        return;
    if (leaves_between(c, g->first, (unsigned)g->first_write))
        return;
    g->writes_first = true;
    g->first_write = (int)g->first;
}

/* -- Slots, and marks in the IR -- */

static unsigned checks_needed(const struct group *g)
{
    return g->first_write > (int)g->first ? 2 : 1;
}

static int assign_slot(unsigned busy_until[SHARES], const struct group *g)
{
    if (g->count <= checks_needed(g))
        return -1;
    for (unsigned slot = 0; slot < SHARES; slot++)
        if (busy_until[slot] <= g->first) {
            busy_until[slot] = g->last + 1;
            return (int)slot;
        }
    return -1;
}

static bool writes(const struct checks *c, const struct group *g)
{
    return c->list->at[g->first].op != IR_MEM_READ || g->writes_first;
}

/* Number of memory accesses of the instruction before this one. */
static unsigned place_in_insn(const struct checks *c, unsigned at)
{
    unsigned place = 0;
    for (unsigned i = at; i-- > 0 && c->list->at[i].insn == c->list->at[at].insn;)
        place += ir_is_memory(&c->list->at[i]);
    return place;
}

/* Do the groups check alike for the same instruction, in two copies of a loop's body? */
static bool same_check(const struct checks *c, const struct group *f, const struct group *g)
{
    const struct ir *first = &c->list->at[f->first], *second = &c->list->at[g->first];
    return c->trace->rip[first->insn] == c->trace->rip[second->insn] &&
           place_in_insn(c, f->first) == place_in_insn(c, g->first) &&
           writes(c, f) == writes(c, g) && f->high - f->low == g->high - g->low &&
           (f->aligned < 0) == (g->aligned < 0);
}

/* The slot of the same access in the copy before, -1: none that is free again. Accesses of one
 * instruction are often near one another, so what that copy has found is worth comparing with. */
static int slot_of_copy(const struct checks *c, const struct group *g, const int *slot)
{
    for (const struct group *f = g; f-- > c->group;)
        if (slot[f - c->group] >= SHARES && !f->invariant && same_check(c, f, g))
            return f->last < g->first ? slot[f - c->group] : -1;
    return -1;
}

/* Registers at the end of a loop: do those of the address hold what they held at its start? */
static bool is_invariant(const struct checks *c, const struct group *g)
{
    const uint16_t roots[2] = {g->base, g->index};
    for (unsigned i = 0; i < 2; i++) {
        uint16_t root = roots[i];
        if (root != NO_ROOT &&
            (root >= 16 || c->symbols.at[root].root != root || c->symbols.at[root].offset != 0))
            return false;
    }
    return true;
}

/* Is the address more than one register, and so worth knowing in full? */
static bool is_compound(const struct checks *c, const struct ir *ir)
{
    if (ir->a >= 16 && ir->b >= 16 && ir->seg == SEG_COUNT) {
        uint64_t address = c->width == 4 ? (uint32_t)ir->imm : (uint64_t)ir->imm;
        return ir->floats || address != (uint64_t)(int32_t)address;
    }
    return ir->b < 16 || ir->seg != SEG_COUNT || c->width == 4 || !host_keeps_register(ir->a);
}

/* Groups whose members find their operand by the host address of the range, for which they need
 * neither registers nor segment bases. In a loop whose address moves it must be computed each time,
 * instead of the distance once a page: then at least two members are to gain by it. */
static void choose_starts(struct checks *c, const int slot[GROUPS_MAX])
{
    unsigned gains[GROUPS_MAX] = {0};
    for (unsigned at = 0; at < c->list->count; at++) {
        unsigned number = c->member[at];
        if (number && at != c->group[number - 1].first &&
            (int)at != c->group[number - 1].first_write)
            gains[number - 1] += is_compound(c, &c->list->at[at]);
    }
    for (unsigned i = 0; i < c->groups; i++) {
        struct group *g = &c->group[i];
        bool moves = slot[i] >= SHARES && !g->invariant;
        g->start = slot[i] >= 0 && (!moves || gains[i] > 1);
        if (g->start && g->constant) { /* its page, since its checks look at different places */
            g->low = (int64_t)(g->page << 12);
            g->high = g->low + 4096;
        }
    }
}

/* Where an access lies in its group's range: again in order, as registers are then. */
static void mark(struct checks *c, const int slot[GROUPS_MAX])
{
    symbols_start(&c->symbols, c->width);
    for (unsigned at = 0; at < c->list->count; at++) {
        struct ir *ir = &c->list->at[at];
        unsigned number = c->member[at];
        if (number && slot[number - 1] >= 0) {
            const struct group *g = &c->group[number - 1];
            struct group key;
            int64_t offset;
            describe(c, ir, &key, &offset);
            ir->share = (uint8_t)(slot[number - 1] + 1);
            ir->share_check = at == g->first || (int)at == g->first_write;
            ir->share_write = at == g->first && g->writes_first;
            ir->invariant = g->invariant;
            ir->share_alone = g->count == 1 && !g->invariant;
            ir->share_again = g->again;
            ir->share_start = g->start;
            int64_t low = g->low;
            if (g->aligned >= 0 && !g->constant) /* the check looks at the range's start */
                low -= (low - g->aligned) & 15;
            if (g->start || !g->constant) {
                assert(low <= offset && offset + ir->size <= g->high);
                ir->share_low = (int16_t)(low - offset);
            }
            if (ir->share_check) {
                ir->share_span = g->constant ? ir->size : (uint16_t)(g->high - low);
                ir->share_aligned = g->aligned >= 0 && !g->constant;
            }
        }
        symbols_follow(&c->symbols, ir);
    }
}

void opt_checks(struct ir_list *list, const struct trace *trace, const struct cpu *cpu)
{
    static _Thread_local struct checks checks;
    struct checks *c = &checks;
    if (list->count > sizeof c->member)
        return;
    memset(c->member, 0, sizeof c->member);
    c->list = list;
    c->trace = trace;
    c->cpu = cpu;
    c->width = trace->mode & MODE_CODE64 ? 8 : 4;
    c->groups = 0;
    symbols_start(&c->symbols, c->width);
    unsigned shadowed = ~0u; /* the instruction behind STI */
    for (unsigned at = 0; at < list->count; at++) {
        const struct ir *ir = &list->at[at];
        if (ir->op == IR_STI)
            shadowed = ir->insn + 1u;
        if (ir_is_memory(ir) && ir->insn != shadowed) /* no exit may come before it */
            place(c, at, ir);
        else if (ir->op >= IR_EXEC || ir->op == IR_SWAPGS) /* other rights, another GS base */
            close_all(c);
        symbols_follow(&c->symbols, ir);
    }

    int slot[GROUPS_MAX];
    unsigned busy_until[SHARES] = {0}, loop_slots = 0;
    bool any = false;
    for (unsigned i = 0; i < c->groups; i++) { /* in the order of their first accesses */
        struct group *g = &c->group[i];
        check_for_writing(c, g);
        g->invariant = list->loop && is_invariant(c, g);
        slot[i] = list->loop && !g->invariant ? slot_of_copy(c, g, slot) : -1;
        g->again = slot[i] >= 0;
        if (list->loop && slot[i] < 0 && loop_slots < LOOP_SLOTS)
            slot[i] = (int)(SHARES + loop_slots++);
        if (slot[i] < 0) {
            slot[i] = assign_slot(busy_until, g);
            g->invariant = false;
        }
        any |= slot[i] >= 0;
    }
    if (any) {
        choose_starts(c, slot);
        mark(c, slot);
    }
}
