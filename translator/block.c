/*
 * Blocks: spaces and their jump tables, lookup, links between blocks, invalidation when guest code
 * is written (R5), reviving of blocks whose bytes turn out unchanged.
 */
#include "translator/engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* -- Spaces -- */

static void clear_jumps(struct engine *engine, struct space *space)
{
    for (unsigned i = 0; i < 1u << JUMP_BITS; i++)
        space->jumps[i] = (struct jump_entry){1, engine->stubs->lookup};
}

static struct space *space_of(struct engine *engine)
{
    struct cpu *cpu = engine->cpu;
    uint32_t mode = space_mode(cpu->mode);
    bool flat = mode & MODE_FLAT_CS;
    uint64_t base = flat ? 0 : cpu->seg[SEG_CS].base;
    uint32_t limit = flat ? UINT32_MAX : cpu->seg[SEG_CS].limit;

    for (unsigned i = 0; i < engine->spaces; i++) {
        struct space *space = &engine->space[i];
        if (space->mode == mode && space->cs_base == base && space->cs_limit == limit)
            return space;
    }
    if (engine->spaces == SPACES_MAX)
        return NULL;
    struct space *space = &engine->space[engine->spaces];
    if (!space->jumps) {
        void *memory = mmap(NULL, sizeof(struct jump_entry) << JUMP_BITS, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return NULL;
        space->jumps = memory;
    }
    clear_jumps(engine, space);
    space->mode = mode;
    space->cs_base = base;
    space->cs_limit = limit;
    engine->spaces++;
    return space;
}

/* The modes that a system changes between differ in privilege, width and rights to FPU state. */
static unsigned recent_slot(uint32_t mode)
{
    return (mode ^ mode >> 12) & 15;
}

bool space_select(struct engine *engine)
{
    struct cpu *cpu = engine->cpu;
    struct space *space = engine->current_space;
    if (__builtin_expect(space && space->mode == space_mode(cpu->mode), 1)) {
        if (cpu->mode & MODE_FLAT_CS ||
            (space->cs_base == cpu->seg[SEG_CS].base && space->cs_limit == cpu->seg[SEG_CS].limit))
            return true;
    }
    struct space **recent = &engine->recent_space[recent_slot(cpu->mode)];
    space = *recent;
    if (!space || space->mode != space_mode(cpu->mode) || !(cpu->mode & MODE_FLAT_CS)) {
        space = space_of(engine);
        if (!space)
            return false;
        *recent = space;
    }
    engine->current_space = space;
    engine_hot(cpu)->jump_table = space->jumps;
    return true;
}

void space_free(struct space *space)
{
    if (space->jumps)
        munmap(space->jumps, sizeof(struct jump_entry) << JUMP_BITS);
}

/* -- Lookup -- */

static unsigned block_slot(uint64_t rip, gpa_t gpa, const struct space *space)
{
    uint64_t key = (rip ^ gpa << 20 ^ (uintptr_t)space << 3) * 0x9e3779b97f4a7c15ull;
    return (unsigned)(key >> (64 - BLOCK_HASH_BITS));
}

static unsigned page_slot(gpa_t gpa)
{
    return (unsigned)(gpa >> 12) & ((1u << PAGE_HASH_BITS) - 1);
}

/* Is the block's memory where it was, with the bytes that it was made from? */
static bool bytes_unchanged(struct engine *engine, const struct block *block)
{
    struct cpu *cpu = engine->cpu;
    const uint8_t *bytes = block->bytes;
    for (unsigned p = 0; p < block->pages; p++)
        if (cpu->bus->page(cpu->bus->opaque, cpu, block->page[p].gpa).host != block->page[p].host)
            return false;
    for (unsigned i = 0; i < block->ranges; i++) {
        const struct range *range = &block->range[i];
        for (unsigned p = 0; p < block->pages; p++)
            if (block->page[p].gpa == (range->gpa & ~0xfffull)) {
                if (memcmp(block->page[p].host + (range->gpa & 0xfff), bytes, range->size) != 0)
                    return false;
                break;
            }
        bytes += range->size;
    }
    return true;
}

static void mark_code(struct engine *engine, const struct block *block)
{
    struct cpu *cpu = engine->cpu;
    for (unsigned i = 0; i < block->ranges; i++)
        if (code_mark(cpu->code, block->range[i].gpa, block->range[i].size))
            tlb_protect_page(cpu, block->range[i].gpa);
}

static void remove_from_lists(struct engine *engine, struct block *block)
{
    struct block **at = &engine->table[block_slot(block->rip, block->gpa, block->space)];
    while (*at != block)
        at = &(*at)->next;
    *at = block->next;
    for (unsigned i = 0; i < block->pages; i++) {
        struct page_link *link = &block->link[i];
        *link->at = link->next;
        if (link->next)
            link->next->at = link->at;
    }
}

/* Is what an instruction at the start needs of a second page still the same? May raise #PF. */
static bool second_page_matches(struct engine *engine, const struct block *block)
{
    if (!block->straddles)
        return true;
    gpa_t gpa;
    const uint8_t *host = mem_fetch(engine->cpu, block->page[1].gva, &gpa);
    return host == block->page[1].host;
}

struct block *block_find(struct engine *engine, uint64_t rip, gpa_t gpa, bool unshared)
{
    struct space *space = engine->current_space;
    struct block *next, *block = engine->table[block_slot(rip, gpa, space)];
    for (; block; block = next) {
        next = block->next;
        if (block->rip != rip || block->gpa != gpa || block->space != space ||
            block->unshared != unshared || !second_page_matches(engine, block))
            continue;
        if (!block->stale)
            return block;
        if (bytes_unchanged(engine, block)) {
            block->stale = false;
            engine->stats.revived++;
            mark_code(engine, block);
            return block;
        }
        remove_from_lists(engine, block);
        engine_cool(engine, rip); /* code that keeps changing is better interpreted */
    }
    return NULL;
}

bool block_exists(const struct engine *engine, uint64_t rip, gpa_t gpa)
{
    const struct space *space = engine->current_space;
    const struct block *block = engine->table[block_slot(rip, gpa, space)];
    for (; block; block = block->next)
        if (block->rip == rip && block->gpa == gpa && block->space == space && !block->unshared &&
            !block->stale)
            return true;
    return false;
}

void block_enter_table(struct engine *engine, struct block *block)
{
    struct jump_entry *entry = (void *)((uint8_t *)block->space->jumps + jump_offset(block->rip));
    entry->rip = block->rip;
    entry->code = block->checked;
}

void block_register(struct engine *engine, struct block *block)
{
    unsigned slot = block_slot(block->rip, block->gpa, block->space);
    block->next = engine->table[slot];
    engine->table[slot] = block;
    for (unsigned i = 0; i < block->pages; i++) {
        unsigned page = page_slot(block->page[i].gpa);
        struct page_link **first = &engine->page[page], *link = &block->link[i];
        *link = (struct page_link){*first, first, block};
        if (*first)
            (*first)->at = &link->next;
        *first = link;
    }
    mark_code(engine, block);
}

/* -- Links -- */

static void unlink_exit(struct engine *engine, struct exit *exit)
{
    if (!exit->to)
        return;
    *exit->link = exit->next;
    if (exit->next)
        exit->next->link = exit->link;
    exit->to = NULL;
    host_link(engine, exit, NULL);
}

/* Nothing leads into the block any more, nor out of it without the dispatcher. */
static void unlink_all(struct engine *engine, struct block *block)
{
    block->stale = true;
    while (block->incoming)
        unlink_exit(engine, block->incoming);
    for (unsigned i = 0; i < block->exit_count; i++)
        unlink_exit(engine, &block->exits[i]);
    struct jump_entry *entry = (void *)((uint8_t *)block->space->jumps + jump_offset(block->rip));
    if (entry->rip == block->rip)
        *entry = (struct jump_entry){1, engine->stubs->lookup};
}

void block_link(struct engine *engine, struct exit *exit, struct block *to)
{
    if (exit->to || exit->from->stale || exit->from->space != to->space)
        return;
    exit->to = to;
    exit->next = to->incoming;
    if (exit->next)
        exit->next->link = &exit->next;
    exit->link = &to->incoming;
    to->incoming = exit;
    host_link(engine, exit, to);
    engine->stats.links++;
}

void block_replace(struct engine *engine, struct block *old, struct block *block)
{
    while (old->incoming) {
        struct exit *exit = old->incoming;
        unlink_exit(engine, exit);
        if (exit->from != old)
            block_link(engine, exit, block);
    }
    unlink_all(engine, old);
    remove_from_lists(engine, old);
}

/* -- Invalidation -- */

/* Nothing leads into the block any more. If it is being executed, engine_exec() leaves it (R7). */
static void make_stale(struct engine *engine, struct block *block)
{
    engine->stats.invalidated++;
    unlink_all(engine, block);
}

void block_written(void *opaque, gpa_t gpa, uint64_t size)
{
    struct engine *engine = opaque;
    for (struct page_link *link = engine->page[page_slot(gpa)]; link; link = link->next) {
        struct block *block = link->block;
        if (block->stale)
            continue;
        for (unsigned i = 0; i < block->ranges; i++)
            if (block->range[i].gpa < gpa + size &&
                block->range[i].gpa + block->range[i].size > gpa) {
                make_stale(engine, block);
                break;
            }
    }
}

void block_distrust_all(struct engine *engine)
{
    for (unsigned i = 0; i < sizeof engine->table / sizeof engine->table[0]; i++)
        for (struct block *block = engine->table[i]; block; block = block->next)
            if (!block->stale)
                make_stale(engine, block);
    engine->distrust_pending = false;
}

void block_drop_all(struct engine *engine)
{
    memset(engine->table, 0, sizeof engine->table);
    memset(engine->page, 0, sizeof engine->page);
    cache_reset(&engine->cache);
    host_reset(engine);
    engine->spaces = 0; /* their tables are cleared when they are used again */
    engine->current_space = NULL;
    memset(engine->recent_space, 0, sizeof engine->recent_space);
    engine_hot(engine->cpu)->exit = 0;
    engine->flush_pending = engine->distrust_pending = false;
    engine->stats.flushes++;
}
