/*
 * Blocks: spaces and their jump tables, lookup, links between blocks, invalidation when guest code
 * is written (R5), reviving of blocks whose bytes turn out unchanged.
 */
#include "translator/engine.h"

#include "cpu/system.h"
#include "cpu/window.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

/* -- Spaces -- */

/* An empty entry of a return table: a return to 0 is looked up. */
static struct jump_entry return_empty(const struct engine *engine)
{
    return (struct jump_entry){.code = engine->stubs->lookup};
}

/* No return is led to the code any more that calls have noted. */
static void forget_returns(const struct engine *engine, struct space *space)
{
    for (unsigned i = 0; i >> RETURN_BITS == 0; i++)
        space->tables->returns[i] = return_empty(engine);
}

/* An empty table is all zeros, of which pages that are not used take no memory. But a jump to 0
 * would find its slot so. */
static bool clear_tables(struct engine *engine, struct space *space)
{
    if (space->tables) {
        madvise(space->tables, sizeof *space->tables, MADV_DONTNEED);
    } else {
        void *memory = mmap(NULL, sizeof *space->tables, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return false;
        space->tables = memory;
    }
    space->tables->jumps[0] = jump_empty(space->tables, &space->tables->jumps[0]);
    forget_returns(engine, space);
    return true;
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
    if (!clear_tables(engine, space))
        return NULL;
    space->mode = mode;
    space->floats = shift_is_useful(engine);
    space->cs_base = base;
    space->cs_limit = limit;
    space->twin = NULL;
    for (unsigned i = 0; mode & MODE_WINDOW && i < engine->spaces; i++)
        if (engine->space[i].mode == (mode & ~(uint32_t)MODE_WINDOW))
            space->twin = &engine->space[i];
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
    if (cpu->mode & MODE_WINDOW)
        window_settle(cpu);
    struct space **recent = &engine->recent_space[recent_slot(cpu->mode)];
    space = *recent;
    if (!space || space->mode != space_mode(cpu->mode) || !(cpu->mode & MODE_FLAT_CS)) {
        space = space_of(engine);
        if (!space)
            return false;
        *recent = space;
    }
    engine->current_space = space;
    engine_hot(cpu)->returns = space->tables->returns;
    engine_hot(cpu)->jumps = space->tables->jumps;
    return true;
}

void space_free(struct space *space)
{
    if (space->tables)
        munmap(space->tables, sizeof *space->tables);
}

/* -- The table of blocks -- */

/*
 * Open addressing. An entry is the offset of a block with a few more bits of its hash in place of
 * the zeros, so that most lookups touch one cache line if there is no such block, two if there is.
 */
#define LINE           16u   /* entries of a cache line */
#define NEIGHBOURS     64ull /* bytes of guest code whose blocks begin in the same cache line */
#define ENTRY_TAG      (BLOCK_ALIGNMENT - 1u)
#define ENTRY_REMOVED  1u
#define CODE_PER_ENTRY 128 /* bytes of code cache: a block has more */

/* A hash of what identifies a block; of all that begin in the same NEIGHBOURS bytes alike but for
 * the low bits. */
static uint64_t block_key(uint64_t rip, gpa_t gpa, unsigned space, enum care care)
{
    uint64_t place =
        rip / NEIGHBOURS ^ gpa / NEIGHBOURS << 20 ^ (uint64_t)(space << 2 | care) << 56;
    return (place * 0x9e3779b97f4a7c15ull & ~(NEIGHBOURS - 1)) | rip % NEIGHBOURS;
}

static uint64_t key_of(const struct block *block)
{
    return block_key(block->rip, block->gpa, block->space, (enum care)block->care);
}

/* Neighbours begin in the same LINE entries. */
static size_t first_entry(const struct block_table *table, uint64_t key)
{
    size_t line = key >> (64 - table->bits) & ~(size_t)(LINE - 1);
    return line | key % NEIGHBOURS / (NEIGHBOURS / LINE);
}

static size_t next_entry(const struct block_table *table, size_t at)
{
    return (at + 1) & (((size_t)1 << table->bits) - 1);
}

static uint32_t entry_tag(uint64_t key)
{
    return (uint32_t)((key >> 20) + key) & ENTRY_TAG;
}

static size_t table_size(const struct block_table *table)
{
    return sizeof *table->entry << table->bits;
}

bool block_table_create(struct block_table *table, size_t cache_size, struct error *error)
{
    *table = (struct block_table){.bits = 4};
    while ((size_t)CODE_PER_ENTRY << table->bits < cache_size)
        table->bits++;
    void *memory =
        mmap(NULL, table_size(table), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return error_set(error, "cannot allocate the translator: out of memory");
    table->entry = memory;
    return true;
}

void block_table_destroy(struct block_table *table)
{
    if (table->entry)
        munmap(table->entry, table_size(table));
}

bool block_table_is_full(const struct block_table *table)
{
    return table->used > ((size_t)3 << table->bits) / 4;
}

static void table_clear(struct block_table *table)
{
    memset(table->entry, 0, table_size(table));
    table->used = 0;
}

static void table_add(struct engine *engine, const struct block *block)
{
    struct block_table *table = &engine->table;
    uint64_t key = key_of(block);
    size_t at = first_entry(table, key);
    while (table->entry[at] > ENTRY_REMOVED)
        at = next_entry(table, at);
    table->used += table->entry[at] == 0;
    table->entry[at] = cache_offset(&engine->cache, block) | entry_tag(key);
}

static void table_remove(struct engine *engine, const struct block *block)
{
    struct block_table *table = &engine->table;
    uint64_t key = key_of(block);
    uint32_t entry = cache_offset(&engine->cache, block) | entry_tag(key);
    size_t at = first_entry(table, key);
    while (table->entry[at] != entry)
        at = next_entry(table, at);
    table->entry[at] = ENTRY_REMOVED;
}

/* Removes all of a region. Entries that lookups need not pass over any more become empty. */
static void table_remove_region(struct engine *engine, const struct cache_region *region)
{
    struct block_table *table = &engine->table;
    bool empty = table->entry[0] == 0; /* is the next entry? */
    for (size_t at = (size_t)1 << table->bits; at-- > 0;) {
        uint32_t *entry = &table->entry[at];
        if (*entry > ENTRY_REMOVED && cache_region_has(&engine->cache, region, *entry))
            *entry = ENTRY_REMOVED;
        if (*entry == ENTRY_REMOVED && empty) {
            *entry = 0;
            table->used--;
        }
        empty = *entry == 0;
    }
}

/* -- Lists by page -- */

static uint32_t *page_list(struct engine *engine, gpa_t gpa)
{
    return &engine->page[gpa >> 12 & ((1u << PAGE_HASH_BITS) - 1)];
}

/* The block of an entry of such a list, and which of its pages it is. */
static struct block *block_of_page(const struct engine *engine, uint32_t link, unsigned *index)
{
    *index = link % BLOCK_ALIGNMENT;
    return block_at(engine, link - *index);
}
_Static_assert(TRACE_PAGES <= BLOCK_ALIGNMENT, "index in a link");

static struct block_page *page_at(const struct engine *engine, uint32_t link)
{
    unsigned index;
    struct block *block = block_of_page(engine, link, &index);
    return &block->page[index];
}

static void page_add(struct engine *engine, struct block *block, unsigned index)
{
    struct block_page *page = &block->page[index];
    uint32_t *first = page_list(engine, block_page_gpa(page));
    page->next = *first;
    page->prev = 0;
    *first = cache_offset(&engine->cache, block) + index;
    if (page->next)
        page_at(engine, page->next)->prev = *first;
}

static void page_remove(struct engine *engine, const struct block_page *page)
{
    if (page->prev)
        page_at(engine, page->prev)->next = page->next;
    else
        *page_list(engine, block_page_gpa(page)) = page->next;
    if (page->next)
        page_at(engine, page->next)->prev = page->prev;
}

/* -- Hashes of guest bytes -- */

/*
 * A polynomial of the bytes, four at a time, modulo the prime 2^61 - 1 at a point that the guest
 * does not know: whatever it does, other bytes of n times four have the same value with a
 * probability of n / 2^61 only. Ranges differ in number and length only if blocks do.
 */
#define HASH_PRIME ((1ull << 61) - 1)

static uint64_t hash_step(uint64_t hash, uint64_t key, uint32_t bytes)
{
    unsigned __int128 product = (unsigned __int128)hash * key + bytes;
    uint64_t sum = (uint64_t)(product & HASH_PRIME) + (uint64_t)(product >> 61);
    return sum >= HASH_PRIME ? sum - HASH_PRIME : sum;
}

static uint64_t hash_bytes(uint64_t hash, uint64_t key, const uint8_t *bytes, size_t size)
{
    for (; size >= 4; bytes += 4, size -= 4) {
        uint32_t word;
        memcpy(&word, bytes, 4);
        hash = hash_step(hash, key, word);
    }
    uint32_t rest = 0;
    memcpy(&rest, bytes, size);
    return size ? hash_step(hash, key, rest) : hash;
}

bool block_hash_create(struct engine *engine, struct error *error)
{
    if (getrandom(&engine->hash_key, sizeof engine->hash_key, 0) != sizeof engine->hash_key)
        return error_set(error, "the host gives no random numbers");
    engine->hash_key %= HASH_PRIME;
    return true;
}

/* -- Descriptions -- */

static unsigned page_of_range(const struct trace *trace, gpa_t gpa)
{
    unsigned page = 0;
    while (trace->page[page].gpa != (gpa & ~0xfffull))
        page++;
    return page;
}

/* The hash of the guest's bytes as they are now, where they were. */
static uint64_t hash_of(const struct engine *engine, struct block *block)
{
    const struct range *range = block_ranges(block);
    uint64_t hash = 0;
    for (unsigned i = 0; i < block->ranges; i++)
        hash = hash_bytes(hash, engine->hash_key,
                          block_page_host(&block->page[range[i].page]) + range[i].offset,
                          range[i].size);
    return hash;
}

static void describe_insns(struct verified *verified, const struct trace *trace)
{
    for (unsigned i = 0; i < trace->count; i++) {
        verified->at[i].rip = trace->rip[i];
        verified->at[i].insn = trace->insn[i];
    }
}

struct block *block_new(struct engine *engine, const struct trace *trace)
{
    size_t size = verified_offset(trace->pages, trace->ranges);
    if (engine->verify)
        size += sizeof(struct verified) + trace->count * sizeof((struct verified *)0)->at[0];
    struct block *block = cache_allocate(&engine->cache, size, BLOCK_ALIGNMENT);
    if (!block)
        return NULL;
    block->rip = trace->rip[0];
    block->gpa = trace->range[0].gpa;
    block->space = (uint8_t)(trace->space - engine->space);
    block->count = (uint8_t)trace->count;
    block->floats = trace->floats;
    block->straddles = trace->guard[0] != 0 || trace->range[0].size < trace->insn[0].length;
    block->pages = (uint8_t)trace->pages;
    block->ranges = (uint8_t)trace->ranges;
    for (unsigned i = 0; i < trace->pages; i++)
        block->page[i] =
            (struct block_page){.gpa = trace->page[i].gpa >> 12 & (PHYSICAL_MASK >> 12),
                                .host = (uintptr_t)trace->page[i].host >> 12};
    for (unsigned i = 0; i < trace->ranges; i++) {
        gpa_t gpa = trace->range[i].gpa;
        unsigned page = page_of_range(trace, gpa), range_size = trace->range[i].size;
        block_ranges(block)[i] =
            (struct range){page & 15, (uint16_t)(gpa & 0xfff), (uint16_t)range_size};
    }
    block->hash = hash_of(engine, block);
    struct cache_region *region = cache_region(&engine->cache);
    block->older = region->newest;
    region->newest = cache_offset(&engine->cache, block);
    if (engine->verify)
        describe_insns(block_verified(block), trace);
    return block;
}

static gpa_t range_gpa(const struct block *block, const struct range *range)
{
    return block_page_gpa(&block->page[range->page]) + range->offset;
}

/* Is the block's memory where it was, with the bytes that it was made from? */
static bool bytes_unchanged(struct engine *engine, struct block *block)
{
    struct cpu *cpu = engine->cpu;
    for (unsigned i = 0; i < block->pages; i++) {
        const struct block_page *page = &block->page[i];
        if (cpu->bus->page(cpu->bus->opaque, cpu, block_page_gpa(page)).host !=
            block_page_host(page))
            return false;
    }
    return hash_of(engine, block) == block->hash;
}

static void mark_code(struct engine *engine, struct block *block)
{
    struct cpu *cpu = engine->cpu;
    const struct range *range = block_ranges(block);
    for (unsigned i = 0; i < block->ranges; i++)
        if (code_mark(cpu->code, range_gpa(block, &range[i]), range[i].size))
            tlb_protect_page(cpu, range_gpa(block, &range[i]));
}

void block_register(struct engine *engine, struct block *block)
{
    table_add(engine, block);
    for (unsigned i = 0; i < block->pages; i++)
        page_add(engine, block, i);
    block->registered = true;
    mark_code(engine, block);
}

static void forget_pages(struct engine *engine, struct block *block)
{
    for (unsigned i = 0; i < block->pages; i++)
        page_remove(engine, &block->page[i]);
    block->registered = false;
}

static void unregister(struct engine *engine, struct block *block)
{
    table_remove(engine, block);
    forget_pages(engine, block);
}

/* -- Lookup -- */

/* Is what an instruction at the start needs of a second page still the same? May raise #PF. */
static bool second_page_matches(struct engine *engine, const struct block *block, gva_t gva)
{
    struct cpu *cpu = engine->cpu;
    if (!block->straddles)
        return true;
    gva_t second = (gva & ~0xfffull) + 4096;
    if (!(cpu->mode & MODE_CODE64))
        second = (uint32_t)second;
    gpa_t gpa;
    return mem_fetch(cpu, second, &gpa) == block_page_host(&block->page[1]);
}

/* The block of an entry if that may be what is looked for. */
static struct block *candidate(const struct engine *engine, uint32_t entry, uint64_t key)
{
    if ((entry & ENTRY_TAG) != entry_tag(key) || entry == ENTRY_REMOVED)
        return NULL;
    return block_at(engine, entry & ~ENTRY_TAG);
}

void block_prefetch(const struct engine *engine, uint64_t rip, gpa_t gpa)
{
    unsigned space = (unsigned)(engine->current_space - engine->space);
    uint64_t key = block_key(rip, gpa, space, CARE_LEAST);
    __builtin_prefetch(&engine->table.entry[first_entry(&engine->table, key)]);
}

/* Makes a stale block valid again if its bytes are what they were. */
static bool revive(struct engine *engine, struct block *block)
{
    if (!bytes_unchanged(engine, block) || (block->floats && !host_enable(engine, block)))
        return false;
    block->stale = false;
    engine->stats.revived++;
    mark_code(engine, block);
    return true;
}

/* What is looked for: rip and shift as struct block has them. */
struct wanted {
    uint64_t rip, shift;
    gpa_t gpa;
    enum care care;
    bool floats;
};

static bool is_for(const struct block *block, const struct wanted *wanted, unsigned space)
{
    return block->rip == wanted->rip && block->gpa == wanted->gpa && block->space == space &&
           block->care == wanted->care && block->floats == wanted->floats &&
           (block->floats || block->shift == wanted->shift);
}

/* A valid block of the current space. */
static struct block *find(struct engine *engine, const struct wanted *wanted, gva_t gva)
{
    const struct block_table *table = &engine->table;
    unsigned space = (unsigned)(engine->current_space - engine->space);
    uint64_t key = block_key(wanted->rip, wanted->gpa, space, wanted->care);
    uint32_t entry;
    for (size_t at = first_entry(table, key); (entry = table->entry[at]);
         at = next_entry(table, at)) {
        struct block *block = candidate(engine, entry, key);
        if (!block || !is_for(block, wanted, space) || !second_page_matches(engine, block, gva))
            continue;
        if (!block->stale || revive(engine, block))
            return block;
        unregister(engine, block);
        engine_cool(engine, block); /* code that keeps changing is better interpreted */
    }
    return NULL;
}

struct block *block_find(struct engine *engine, gva_t gva, gpa_t gpa, enum care care)
{
    uint64_t rip = engine->cpu->rip;
    struct wanted wanted = {.rip = rip, .gpa = gpa, .care = care};
    if (shift_is_possible(engine, rip)) {
        wanted.floats = true;
        wanted.rip -= engine_hot(engine->cpu)->shift;
    }
    return find(engine, &wanted, gva);
}

struct block *block_find_hot(struct engine *engine, const struct block *warm)
{
    uint64_t rip = engine->cpu->rip;
    struct wanted wanted = {.rip = rip,
                            .shift = engine_hot(engine->cpu)->shift,
                            .gpa = warm->gpa,
                            .care = (enum care)warm->care};
    return find(engine, &wanted, rip);
}

struct block *block_best(const struct engine *engine, struct block *block)
{
    uint32_t to = block->floats && block->promotion ? exit_at(engine, block->promotion)->to : 0;
    if (!to || block_at(engine, to)->shift != engine_hot(engine->cpu)->shift)
        return block;
    return block_at(engine, to);
}

const struct block *block_in_space(const struct engine *engine, const struct space *in,
                                   uint64_t rip, gpa_t gpa, bool floats)
{
    const struct wanted wanted = {.rip = rip, .gpa = gpa, .floats = floats};
    const struct block_table *table = &engine->table;
    unsigned space = (unsigned)(in - engine->space);
    uint64_t key = block_key(rip, gpa, space, CARE_LEAST);
    uint32_t entry;
    for (size_t at = first_entry(table, key); (entry = table->entry[at]);
         at = next_entry(table, at)) {
        const struct block *block = candidate(engine, entry, key);
        if (block && is_for(block, &wanted, space) && !block->stale)
            return block;
    }
    return NULL;
}

void block_enter_table(struct engine *engine, const struct block *block)
{
    uint64_t rip = engine->cpu->rip;
    *jump_at(engine->current_space->tables, rip) = (struct jump_entry){
        .rip = rip, .code = block_checked(engine, block), .shift = engine_hot(engine->cpu)->shift};
}

/* No jump table leads to the block any more; one that floats may be in many places of them. */
static void forget_jumps_to(struct engine *engine, const struct block *block)
{
    struct jump_tables *tables = engine->space[block->space].tables;
    struct jump_entry *entry = jump_at(tables, block->rip);
    if (block->floats)
        host_disable(engine, block);
    else if (entry->rip == block->rip)
        *entry = jump_empty(tables, entry);
}

/* Nor to code of the region that is dropped. */
static void forget_jumps_into(struct engine *engine, const struct cache_region *region)
{
    for (unsigned i = 0; i < engine->spaces; i++) {
        struct jump_tables *tables = engine->space[i].tables;
        for (struct jump_entry *entry = tables->jumps;
             engine->space[i].floats && entry < tables->jumps + (1u << JUMP_BITS); entry++)
            if (entry->code && cache_region_has_code(&engine->cache, region, entry->code))
                *entry = jump_empty(tables, entry);
    }
}

/* -- Links -- */

/* No return is led any more to the block that an exit of a call was linked to. */
static void forget_returns_to(struct engine *engine, const struct block *block)
{
    struct jump_entry *entry = engine->space[block->space].tables->returns;
    for (unsigned i = 0; i >> RETURN_BITS == 0; i++)
        if (entry[i].code == block_checked(engine, block))
            entry[i] = return_empty(engine);
}

static void unlink_exit(struct engine *engine, struct exit *exit)
{
    if (!exit->to)
        return;
    if (exit->prev)
        exit_at(engine, exit->prev)->next = exit->next;
    else
        block_at(engine, exit->to)->incoming = exit->next;
    if (exit->next)
        exit_at(engine, exit->next)->prev = exit->prev;
    if (exit->returns)
        forget_returns_to(engine, block_at(engine, exit->to));
    exit->to = 0;
    host_unlink(engine, exit);
}

/* Nothing leads into the block any more, nor out of it without the dispatcher. */
static void unlink_all(struct engine *engine, struct block *block)
{
    block->stale = true;
    while (block->incoming)
        unlink_exit(engine, exit_at(engine, block->incoming));
    for (unsigned i = 0; i < block->exit_count; i++)
        unlink_exit(engine, exit_at(engine, block->exits) + i);
    if (block->floats && block->promotion)
        unlink_exit(engine, exit_at(engine, block->promotion));
    forget_jumps_to(engine, block);
}

static void add_incoming(struct engine *engine, struct exit *exit, struct block *to)
{
    exit->to = cache_offset(&engine->cache, to);
    exit->next = to->incoming;
    exit->prev = 0;
    to->incoming = cache_offset(&engine->cache, exit);
    if (exit->next)
        exit_at(engine, exit->next)->prev = to->incoming;
    engine->stats.links++;
}

/* Does the exit, whenever it is taken, lead to where the block begins, with the shift that it is
 * for? */
static bool fits(const struct engine *engine, const struct exit *exit, const struct block *to)
{
    const struct block *from = exit_from(engine, exit);
    uint64_t target = exit_target(engine, exit);
    if (from->space != to->space)
        return false;
    if (from->floats)
        return to->floats && target == to->rip;
    return to->floats ? target - from->shift == to->rip
                      : target == to->rip && from->shift == to->shift;
}

void block_link(struct engine *engine, struct exit *exit, struct block *to)
{
    if (exit->to || exit_from(engine, exit)->stale || !fits(engine, exit, to))
        return;
    if (host_link(engine, exit, to))
        add_incoming(engine, exit, to);
}

void block_replace(struct engine *engine, struct block *old, struct block *block)
{
    while (old->incoming) {
        struct exit *exit = exit_at(engine, old->incoming);
        unlink_exit(engine, exit);
        if (exit_from(engine, exit) != old)
            block_link(engine, exit, block);
    }
    unlink_all(engine, old);
    unregister(engine, old);
}

/* Links the exits that lead to `from`, and would fit `to`, to that instead; or again, if it is the
 * same. */
static void lead_on(struct engine *engine, struct block *from, struct block *to)
{
    for (uint32_t next = from->incoming; next;) {
        struct exit *exit = exit_at(engine, next);
        next = exit->next;
        if (!exit->promotes && fits(engine, exit, to)) {
            unlink_exit(engine, exit);
            block_link(engine, exit, to);
        }
    }
}

void block_promote(struct engine *engine, struct block *warm, struct block *hot)
{
    struct exit *exit;
    if (!warm->promotion) {
        exit = cache_allocate(&engine->cache, sizeof *exit, _Alignof(struct exit));
        if (!exit)
            return;
        *exit = (struct exit){.distance = cache_offset(&engine->cache, warm), .promotes = true};
        warm->promotion = cache_offset(&engine->cache, exit);
    }
    exit = exit_at(engine, warm->promotion);
    unlink_exit(engine, exit);
    add_incoming(engine, exit, hot);
    if (!host_promote(engine, exit))
        unlink_exit(engine, exit);
    lead_on(engine, warm, hot);
    if (hot->needs_flags && !warm->loaded_needs_flags) {
        warm->loaded_needs_flags = warm->needs_flags = true;
        lead_on(engine, warm, warm);
    }
}

/* -- Invalidation -- */

/* Nothing leads into the block any more. If it is being executed, engine_exec() leaves it (R7). */
static void make_stale(struct engine *engine, struct block *block)
{
    engine->stats.invalidated++;
    unlink_all(engine, block);
}

static bool has_bytes_in(struct block *block, gpa_t gpa, uint64_t size)
{
    const struct range *range = block_ranges(block);
    for (unsigned i = 0; i < block->ranges; i++) {
        gpa_t start = range_gpa(block, &range[i]);
        if (start < gpa + size && start + range[i].size > gpa)
            return true;
    }
    return false;
}

void block_written(void *opaque, gpa_t gpa, uint64_t size)
{
    struct engine *engine = opaque;
    for (uint32_t next = *page_list(engine, gpa); next;) {
        unsigned index;
        struct block *block = block_of_page(engine, next, &index);
        if (!block->stale && has_bytes_in(block, gpa, size))
            make_stale(engine, block);
        next = block->page[index].next;
    }
}

void block_distrust_all(struct engine *engine)
{
    for (size_t i = 0; i >> engine->table.bits == 0; i++) {
        uint32_t entry = engine->table.entry[i];
        struct block *block = block_at(engine, entry & ~ENTRY_TAG);
        if (entry > ENTRY_REMOVED && !block->stale)
            make_stale(engine, block);
    }
    engine->distrust_pending = false;
}

void block_drop_all(struct engine *engine)
{
    table_clear(&engine->table);
    memset(engine->page, 0, sizeof engine->page);
    cache_reset(&engine->cache);
    host_reset(engine);
    host_forget_windows(engine, NULL);
    engine->spaces = 0; /* their tables are cleared when they are used again */
    engine->current_space = NULL;
    memset(engine->recent_space, 0, sizeof engine->recent_space);
    engine_hot(engine->cpu)->exit = 0;
    memset(engine->decoded, 0, sizeof engine->decoded);
    engine->flush_pending = engine->distrust_pending = false;
    engine->stats.flushes++;
}

static void evict(struct engine *engine, struct block *block)
{
    if (block->hot && !block->stale)
        engine_keep_hot(engine, block);
    if (!block->registered)
        return;
    unlink_all(engine, block);
    forget_pages(engine, block);
}

void block_make_room(struct engine *engine)
{
    struct cache *cache = &engine->cache;
    struct cache_region *region = cache_oldest(cache);
    if (!region) {
        block_drop_all(engine);
        return;
    }
    engine->stats.evictions += region->newest != 0;
    for (uint32_t at = region->newest; at; at = block_at(engine, at)->older)
        evict(engine, block_at(engine, at));
    for (unsigned i = 0; i < engine->spaces; i++)
        forget_returns(engine, &engine->space[i]); /* they may name stubs of the region */
    forget_jumps_into(engine, region);
    table_remove_region(engine, region);
    host_forget_windows(engine, region);
    cache_advance(cache);
    host_reset(engine);
    memset(engine->decoded, 0, sizeof engine->decoded);
    engine_hot(engine->cpu)->exit = 0;
    engine->flush_pending = false;
}
