/*
 * Inner interfaces of the translator: the engine of one CPU, its blocks, sites and exits, and what
 * a host (x86_64/) supplies. Not for other rooms.
 */
#ifndef DOPPEL_TRANSLATOR_ENGINE_H
#define DOPPEL_TRANSLATOR_ENGINE_H

#include "cpu/cpu.h"
#include "cpu/decode.h"
#include "cpu/mem.h"
#include "translator/ir.h"
#include "translator/translator.h"

#define TRACE_MAX   64 /* guest instructions in a block */
#define TRACE_PAGES 4  /* pages that a block's bytes come from */
#define JUMP_BITS   16 /* entries of a jump table */
#define RETURN_BITS 9  /* of a return table */
#define SPACES_MAX  64
#define ORIGIN_BITS 13 /* entries of the table of origins */

struct engine;
struct block;

/* -- What generated code keeps in cpu->engine[] -- */

#define SHARES     5
#define LOOP_SLOTS 6

/* A page that an address of a loop was in at its last check. */
struct loop_slot {
    uint64_t page;     /* guest address */
    uint64_t bound;    /* accesses below this offset are good; 0: none is */
    uint64_t distance; /* host minus guest address */
    uint64_t start;    /* host address of the range, if the group wants it (ir.share_start) */
};

/* Which vector registers of the guest are in the host's of the same number. */
enum vectors_kept {
    KEEPS_NONE,
    KEEPS_XMM, /* the upper halves of YMM are in struct cpu */
    KEEPS_YMM,
    KEEPS_COUNT
};

/* Elements of a gather: how many, and bytes of each and of its index. */
struct gather_shape {
    unsigned count, size, index_size;
};
struct gather_shape gather_shape(const struct insn *insn);

/* An operation that computes all arithmetic flags from registers: CMP or TEST of a and b, or ADD or
 * SUB whose result is in a. */
struct recipe {
    uint8_t op; /* enum ir_op; IR_COUNT: none */
    uint8_t size, a, b;
    int32_t imm; /* if b is V_IMM */
};

struct engine_hot {
    uint8_t overflow; /* the slot: OF (0, 1) */
    uint8_t padding;
    uint16_t passed; /* if `overflow` is FLAGS_PASSED: number of the recipe for all of the slot */
    uint8_t
        vectors_loaded; /* enum vectors_kept: guest registers, and MXCSR, that are in the host's */
    uint8_t x87_loaded; /* guest x87 state is in the host's, but for the two pointers */
    uint8_t exit_overflow, exit_flags; /* the same at the exit, if the host had them */
    uint32_t slot_mask; /* the bits of an address by which the TLB's slots are numbered */
    uint8_t flags; /* the slot: SF ZF AF PF CF, as the low byte of EFLAGS; stored apart from OF, so
                    * that loads find each where it was stored */
    struct jump_entry *returns, *jumps; /* tables of the current space */
    uint64_t shift;                     /* of the block that is executed, in a space that floats */
    uint64_t scratch;                   /* V_T1 */
    uint64_t table_mask;                /* the bits of an address that the window's table is for */
    uint64_t high[4];       /* R12 to R15 while generated code runs: short displacements */
    uint64_t share[SHARES]; /* what shared checks have found: ir.share_start */
    uint64_t carry;         /* V_CARRY */
    uint64_t host_sp;       /* of the dispatcher */
    uint32_t exit;          /* arena offset of the exit that was taken, 0: none */
    uint32_t mxcsr_host;    /* what the host register holds while vectors_loaded */
    uint32_t mxcsr_saved;
    uint64_t instructions;             /* retired in translated code, counted with --stats */
    struct loop_slot loop[LOOP_SLOTS]; /* valid within a block that iterates (opt_loop) */
};

_Static_assert(sizeof(struct engine_hot) <= sizeof(((struct cpu *)0)->engine), "cpu->engine");
#define FLAGS_PASSED 2

static inline struct engine_hot *engine_hot(struct cpu *cpu)
{
    return (struct engine_hot *)(void *)cpu->engine;
}

struct jump_entry {
    uint64_t rip; /* if empty, one that does not belong here */
    const void *code;
    uint64_t shift; /* for the code */
    uint64_t padding;
};
#define JUMP_ENTRY_SHIFT 5
_Static_assert(sizeof(struct jump_entry) == 1 << JUMP_ENTRY_SHIFT, "generated code shifts");

/*
 * Where indirect jumps find code: any address by a hash of it, and returns by where the return
 * address lies on the stack: calls note there what is to run behind them. Entries of `returns` that
 * are empty are for rip 0.
 */
struct jump_tables {
    struct jump_entry returns[1u << RETURN_BITS];
    struct jump_entry jumps[1u << JUMP_BITS];
};

/* Byte offset of the entry for a return address that lies there, of twice that address. Most stacks
 * are aligned to 16 bytes, half the size of an entry, at calls. */
#define RETURN_MASK (((1 << RETURN_BITS) - 1) << JUMP_ENTRY_SHIFT)

/* Byte offset of the table entry of a target; generated code computes the same. The bits of the
 * product that are the offset depend on the low 21 bits of the target. */
#define JUMP_HASH 0x9e3779b1u
#define JUMP_MASK (((1 << JUMP_BITS) - 1) << JUMP_ENTRY_SHIFT)
static inline uint32_t jump_offset(uint64_t rip)
{
    return (uint32_t)rip * JUMP_HASH & JUMP_MASK;
}

static inline struct jump_entry *jump_at(struct jump_tables *tables, uint64_t rip)
{
    return (struct jump_entry *)(void *)((uint8_t *)tables->jumps + jump_offset(rip));
}

/* An empty entry, which no target finds: 0 and 1 have different places. */
static inline struct jump_entry jump_empty(const struct jump_tables *tables,
                                           const struct jump_entry *entry)
{
    return (struct jump_entry){.rip = entry == tables->jumps};
}

/* The mode word as far as it matters to translations. Kernel accesses with and without SMAP in
 * force are translated alike, so that STAC and CLAC change nothing but cpu->tlb. */
static inline uint32_t space_mode(uint32_t mode)
{
    return (mode >> MODE_MMU_SHIFT & 3) == MMU_KERNEL_SMAP
               ? mode ^ (uint32_t)(MMU_KERNEL_SMAP ^ MMU_KERNEL) << MODE_MMU_SHIFT
               : mode;
}

struct space {
    uint32_t mode;     /* space_mode() of all CPU modes that it serves */
    bool floats;       /* its warm blocks run at any shift (shift.c) */
    uint32_t cs_limit; /* these two only matter without MODE_FLAT_CS */
    uint64_t cs_base;
    const struct space *twin; /* of code for the window: that without; NULL: there is none */
    struct jump_tables *tables;
};

/* Can blocks that keep vectors or x87 state in the host's registers run? Not with unmasked
 * exceptions. */
static inline bool vectors_usable(const struct cpu *cpu)
{
    return (cpu->mxcsr & 0x1f80) == 0x1f80;
}
#define X87_MASKS 0x3f
static inline bool x87_usable(const struct cpu *cpu)
{
    return (cpu->x87.control & X87_MASKS) == X87_MASKS;
}

/* -- Traces: the guest code of one block -- */

struct trace_page {
    gva_t gva;
    gpa_t gpa;
    const uint8_t *host;
};

struct trace {
    struct space *space;
    uint32_t mode;
    bool hot;
    bool floats; /* its block will; then trace_float() */
    uint64_t cs_base, cs_limit;
    unsigned count;
    struct insn insn[TRACE_MAX];
    uint64_t rip[TRACE_MAX];
    uint64_t next[TRACE_MAX]; /* where the trace goes on after it */
    bool poll[TRACE_MAX];     /* a backward jump that the trace follows */
    uint8_t guard[TRACE_MAX]; /* pages that must be checked before it: bit set by trace_page */
    unsigned pages;
    struct trace_page page[TRACE_PAGES];
    uint64_t end; /* where control goes after the last instruction */
    unsigned ranges;
    struct {
        gpa_t gpa;
        uint32_t size;
    } range[TRACE_MAX + TRACE_PAGES];
    unsigned returns; /* calls that were followed and not returned from yet */
    uint64_t return_rip[8];
};

/* Fills `trace` from cpu->rip; raises what fetching the first instruction raises. False: the first
 * instruction cannot be translated (device memory): interpret it. `hot`: calls are entered and
 * loops unrolled. */
bool trace_form(struct engine *engine, struct trace *trace, unsigned max_insns, bool hot);
/* Makes the addresses of a trace those that they are without the shift. */
void trace_float(struct trace *trace, uint64_t shift);
/* Can control go there without a fault (limit, not canonical)? */
bool trace_reaches(const struct trace *trace, uint64_t rip);
/* Target of a direct branch; false if taking it faults. */
bool trace_target(const struct trace *trace, const struct insn *insn, uint64_t rip,
                  uint64_t *target);

/*
 * -- Blocks --
 *
 * Descriptions of blocks are as many as blocks, so they are kept small: they refer to one another
 * by offsets in the arena, and to code by offsets in the code cache, in 32 bits. 0: none.
 */

/* One call of an instruction's exec() from generated code. */
struct site {
    uint64_t rip;
    uint64_t next; /* rip after it if the block goes on there */
    uint32_t block;
    uint8_t index;      /* of the instruction in the block */
    bool end;           /* leaves the block in any case */
    bool slow;          /* reached only by a slow path: decoded when that is taken */
    bool floats;        /* its block does: the shift is added to these rips */
    struct insn insn[]; /* one, unless slow */
};

/* Where the arithmetic flags are when an exit is taken. */
enum exit_flags {
    EXIT_STORED, /* in the slot */
    EXIT_IN_HOST,
    EXIT_BY_RECIPE /* nowhere, but they can be computed (recipe.c) */
};

/* An exit's jump is linked by its displacement. Code that stores flags, or notes their recipe, for
 * a target that asks for it is made then, apart. The exit of a call to where it returns has no
 * jump, but an address for the return table, which is linked in the same way. */
struct exit {
    uint32_t to;           /* block that it is linked to; 0: none */
    uint32_t next, prev;   /* list of exits linked to a block; prev of one that is not linked: the
                            * code made for it, in the code cache, if `stores` */
    uint32_t distance;     /* target, from the block's rip: low bits; of a promotion the block */
    int8_t distance_high;  /* and those above */
    uint8_t same_page : 1; /* target lies in a page that the block has already checked */
    uint8_t promotes : 1;  /* no exit: a warm block's jump to the hot one made of it */
    uint8_t care : 2;      /* enum care of the block that it leads to */
    uint8_t returns : 1;   /* the return table may name the code that it is linked to */
    uint8_t room : 1;      /* there is room for code that stores flags where its jump is */
    uint16_t back;         /* to its block, in units of EXIT_UNIT bytes */
    uint16_t jump;         /* displacement field of its jump, behind the block's start, or
                            * before block.stubs if `slow` */
    uint16_t recipe : 12;  /* computes the flags; 0: none */
    uint16_t flags : 2;    /* enum exit_flags */
    uint16_t slow : 1;     /* its jump is in a slow path */
    uint16_t stores : 1;   /* it is linked, or was, by code that stores flags or notes a recipe */
};
#define EXIT_UNIT 4
_Static_assert(sizeof(struct exit) == 24 && _Alignof(struct exit) == EXIT_UNIT, "there are many");

/* A memory check, or guard of a further page, of a warm block, which calls shared code, or an access
 * to the window: what is to be known when it fails (warm.c). Behind the block's checks stand their
 * recipes. */
struct warm_check {
    int32_t rip;        /* distance from the block's */
    uint16_t code;      /* in the block's straight code: the call's last byte, the access's first */
    uint8_t index : 6;  /* of the instruction in the block */
    uint8_t shared : 1; /* it stands for others: go on in a block of CARE_MOST */
    uint8_t window : 1;
    uint8_t recipe; /* its number, + 1; 0: the flags are stored; RECIPE_HOST: they are in EFLAGS */
};
#define RECIPE_HOST UINT8_MAX
_Static_assert(TRACE_MAX <= 64, "warm_check.index");

/* Guest code in one of the block's pages. */
struct range {
    uint16_t page : 4, offset : 12;
    uint16_t size;
};
_Static_assert(TRACE_PAGES <= 16, "range.page");

#define HOST_PAGE_BITS 36 /* 48 bits of user addresses at most */

/* A page with code of the block, in a list of those that share a slot of engine.page. Lists refer
 * to it by the block's offset plus its index. */
struct block_page {
    uint64_t gpa : CPU_PHYSICAL_BITS - 12; /* numbers of the page, and of where it is */
    uint64_t host : HOST_PAGE_BITS;
    uint32_t next, prev;
};
_Static_assert(sizeof(struct block_page) == 16, "no padding");

static inline gpa_t block_page_gpa(const struct block_page *page)
{
    return (gpa_t)page->gpa << 12;
}
static inline const uint8_t *block_page_host(const struct block_page *page)
{
    return (const uint8_t *)((uintptr_t)page->host << 12);
}

/* How careful a block is about the pages that its accesses are in (opt_checks.c). */
enum care {
    CARE_LEAST, /* those at constant distances share a check */
    CARE_PAGES, /* ... if they were in one page when it was translated */
    CARE_MOST,  /* each is checked by itself */
};

/* Where a hot block's code for the window may fault, and its slow path: offsets in the code cache. */
struct window_access {
    uint32_t code, slow;
};

struct block {
    /* What lookups need, in one cache line. */
    uint64_t rip; /* of floating blocks without the shift */
    gpa_t gpa;
    uint32_t code;         /* entry that checks the guard of its first page */
    uint8_t entry, loaded; /* further entries, behind that: for jumps from the same page; for such
                            * from blocks that keep vectors as this one does */
    uint8_t space;         /* index in engine.space */
    uint8_t vectors : 2;   /* enum vectors_kept: what it keeps in the host's registers */
    bool x87 : 1;          /* keeps the guest's x87 state in the host's */
    bool stale : 1;        /* bytes were overwritten */
    bool straddles : 1;    /* the first instruction continues in page[1] */
    uint8_t care : 2;      /* enum care */
    bool hot : 1;          /* translated with all care, not first and small */
    bool floats : 1;       /* runs at any shift: see shift.c */
    bool loops : 1;        /* iterates inside (opt_loop.c) */
    bool needs_flags : 1;  /* see R4 */
    bool loaded_needs_flags : 1; /* the same for jumps to `loaded` */
    bool registered : 1;         /* lookups and writes find it */
    bool passes : 1;             /* until the flags are written only faults and events show them; */
    uint16_t changed;            /* and what registers it changes before the last of these */
    uint8_t count;               /* guest instructions */
    uint8_t pages, ranges;
    uint8_t waits; /* warm: how often it was to become hot, and was not */
    uint16_t exit_count, check_count;

    uint32_t incoming;  /* exits linked to it */
    uint32_t exits;     /* its own; behind them its checks: struct warm_check, by ascending code */
    uint32_t stubs;     /* code: where its first exit leads while it is not linked */
    union {
        uint32_t countdown; /* warm: number of the count of its executions (cache.countdown) */
        uint32_t accesses;  /* hot, for the window: its struct window_access, check_count of them */
    };
    uint32_t older;     /* block that was made before it in its region of the cache */
    uint64_t hash;      /* of its guest bytes, to revalidate it */
    union {
        uint64_t shift;     /* hot: the only one for which it is, in a space that floats */
        uint32_t promotion; /* warm: exit that leads to the hot block made of it; 0: none */
    };
    struct block_page page[];
    /* Behind the pages: struct range of each range; with --verify struct verified. */
};
_Static_assert(offsetof(struct block, shift) == 64, "a cache line");
#define BLOCK_ALIGNMENT 32
#define PROMOTION_RETRY 8192 /* executions of a promoted block at other shifts: then for theirs */

static inline struct range *block_ranges(struct block *block)
{
    return (struct range *)(void *)&block->page[block->pages];
}

/* What --verify knows of a block besides. */
struct verified {
    uint32_t runs;
    struct {
        uint64_t rip;
        struct insn insn;
    } at[]; /* its instructions */
};

static inline size_t verified_offset(unsigned pages, unsigned ranges)
{
    size_t offset =
        sizeof(struct block) + pages * sizeof(struct block_page) + ranges * sizeof(struct range);
    return (offset + _Alignof(struct verified) - 1) & ~(_Alignof(struct verified) - 1);
}
static inline struct verified *block_verified(struct block *block)
{
    return (struct verified *)(void *)((uint8_t *)block +
                                       verified_offset(block->pages, block->ranges));
}

/* Guest instructions after which --verify stops a block: a loop has several iterations. */
static inline unsigned block_verified_insns(const struct block *block)
{
    return block->loops ? block->count * 8u : block->count;
}

#define PAGE_HASH_BITS 14
#define COUNTER_BITS   18

/* -- Code cache and the arena of descriptions (cache.c) -- */

struct code_end {
    uint32_t offset, block; /* in the cache, in the arena */
};

/* Code that runs much lies together, and apart from what runs little: it takes fewer pages. */
enum code_part {
    CODE_WARM,   /* straight code of warm blocks: grows from the start */
    CODE_HOT,    /* of hot ones: piece by piece from the end */
    CODE_GUARDS, /* tests of pages that warm blocks share: likewise */
    CODE_STORES, /* what stores flags between an exit and its target: likewise */
    CODE_SLOW,   /* slow paths of both */
    CODE_PARTS
};

#define GUARD_CODE_MAX 104 /* bytes of such a test, aligned */

#define REGIONS_MAX    8

/* What was translated in one period: a slice of each part and of the arena. */
struct cache_region {
    struct {
        uint8_t *at, *end;
    } part[CODE_PARTS];           /* what is free of each, in the writable view */
    size_t arena_used, arena_end; /* offsets in the arena */
    size_t ends;                  /* entries of `end` */
    uint32_t newest;              /* the block made last; they are chained by struct block.older */
};

struct cache {
    uint8_t *rw, *rx; /* two views of the same memory */
    size_t size;
    uint8_t *start, *slow; /* straight code begins behind the host's fixed stubs, ends at `slow` */
    uint8_t *arena;        /* blocks, sites, exits: addressed by 32-bit offsets */
    size_t arena_size;
    struct code_end *end; /* of the warm blocks' straight code, ascending in each region */
    int32_t *countdown;   /* of these blocks, in the same order */
    size_t ends_max;      /* of a region */
    unsigned regions;
    uint32_t period; /* numbers the regions that were ever begun */
    struct cache_region region[REGIONS_MAX];
};

bool cache_create(struct cache *cache, size_t size, struct error *error);
void cache_destroy(struct cache *cache);
/* Forgets all code but the stubs. */
void cache_reset(struct cache *cache);
/* Where translations go now: behind those of `regions` - 1 periods that are kept. */
static inline struct cache_region *cache_region(struct cache *cache)
{
    return &cache->region[cache->period % cache->regions];
}
/* Has the current region no room for another block? */
bool cache_is_full(const struct cache *cache);
/* Bytes that straight code of hot blocks takes, with what is shared among blocks. */
size_t cache_hot_size(const struct cache *cache);
/* The region that would be overwritten next; NULL: there is only one. */
struct cache_region *cache_oldest(struct cache *cache);
/* Makes the oldest region the current one, and empty. */
void cache_advance(struct cache *cache);
/* Is this arena offset in the region? */
bool cache_region_has(const struct cache *cache, const struct cache_region *region,
                      uint32_t offset);
/* Is this straight code of a block of the region? */
bool cache_region_has_code(const struct cache *cache, const struct cache_region *region,
                           const uint8_t *code);
/* Makes room for a block's code in a part that grows by pieces, where the region is not full. */
void cache_prepare(struct cache *cache, enum code_part part);
/* Is this offset one of warm blocks' straight code, or of stubs? */
bool cache_is_warm(const struct cache *cache, size_t offset);
/* The warm block whose straight code has this place (an address in the executable view, low 32
 * bits). */
struct block *cache_block_at(const struct cache *cache, uint32_t rx);
/* The number that the next warm block has in `end` and `countdown`. */
uint32_t cache_next_end(struct cache *cache);
/* The block's straight code is next behind that of all others. False: no room for the note. */
bool cache_note_block(struct cache *cache, struct block *block, const uint8_t *end);
/* Zeroed memory of the arena. */
void *cache_allocate(struct cache *cache, size_t size, size_t alignment);
static inline const uint8_t *cache_rx(const struct cache *cache, const uint8_t *rw)
{
    return rw - cache->rw + cache->rx;
}
static inline uint32_t cache_offset(const struct cache *cache, const void *description)
{
    return (uint32_t)((const uint8_t *)description - cache->arena);
}
/* What stands at an offset in the arena. */
static inline void *cache_at(const struct cache *cache, uint32_t offset)
{
    return cache->arena + offset;
}

/* Offsets of blocks by a hash of what a lookup knows (block.c). */
struct block_table {
    uint32_t *entry;
    unsigned bits;
    size_t used; /* entries that are not empty */
};

/* Recipes by their number, for exits to pass on. */
#define RECIPES 2048

/* Where code of a page that floats has its origin: what a shift is counted from (shift.c). */
struct origin {
    gpa_t gpa;
    uint64_t page; /* 0: none is known */
};

/* Shifts of late, and where there was code with them. */
#define RECENT_SHIFTS 8
struct recent_shift {
    uint64_t shift, page;
};

/* Executions of cold code. */
struct counter {
    uint16_t key, count;
};

/* Instructions that slow paths decoded lately. */
#define DECODED 64
struct decoded {
    uint32_t note; /* arena offset of their struct site or struct warm_check; 0: none */
    struct insn insn;
};

struct engine_stats {
    uint64_t blocks, insns, host_bytes, translate_ns, interpreted, entries, flushes, evictions;
    uint64_t links, invalidated, revived, events, lookups, hot_blocks, hot_insns, hot_bytes;
    uint64_t guest_bytes, hot_guest_bytes;
    uint64_t exec[OP_COUNT], slow[OP_COUNT];
};

struct engine {
    struct cpu *cpu;
    struct cache cache;
    struct space space[SPACES_MAX];
    unsigned spaces;
    struct space *current_space;
    struct space *recent_space[16]; /* found last, by recent_slot() */
    struct block_table table;
    uint32_t page[1u << PAGE_HASH_BITS]; /* lists of struct block_page, by address */
    uint64_t hash_key;                   /* of struct block.hash */
    struct origin origin[1u << ORIGIN_BITS];
    struct recent_shift recent_shift[RECENT_SHIFTS];
    unsigned next_shift; /* the one of them to be replaced */
    struct counter counter[1u << COUNTER_BITS];
    bool distrust_pending; /* memory may have moved: block_distrust_all() before more code runs */
    bool flush_pending;    /* block_make_room() before more code runs */
    enum care care_next;   /* how careful what runs next must be */
    bool count;            /* instructions and helper calls are counted */
    struct translator_options options;
    struct trace trace; /* being translated */
    struct decoded decoded[DECODED];
    struct ir_list list;
    struct {
        struct recipe recipe;
        uint32_t used; /* the last cache.period that did, + 1 */
    } recipe[RECIPES];
    struct host_stubs *stubs;
    struct {
        struct code_end *at; /* where their code starts, ascending */
        size_t count, capacity;
    } window_blocks;         /* hot blocks of the address space that has the window */
    struct verify *verify;
    FILE *perf_map;
    struct engine_stats stats;
};

static inline struct engine *cpu_engine(struct cpu *cpu)
{
    return cpu->accel_state;
}

static inline struct block *block_at(const struct engine *engine, uint32_t offset)
{
    return cache_at(&engine->cache, offset);
}
static inline struct exit *exit_at(const struct engine *engine, uint32_t offset)
{
    return cache_at(&engine->cache, offset);
}
/* How far the block, which is executed, is from its address. */
static inline uint64_t block_shift(const struct engine *engine, const struct block *block)
{
    return block->floats ? engine_hot(engine->cpu)->shift : 0;
}
/* The rip, without the shift, of what the block was translated from. */
static inline uint64_t block_origin(const struct block *block)
{
    return block->hot ? block->rip - block->shift : block->rip;
}
static inline struct block *exit_from(const struct engine *engine, const struct exit *exit)
{
    uint32_t at = cache_offset(&engine->cache, exit);
    return block_at(engine, exit->promotes ? exit->distance : at - exit->back * EXIT_UNIT);
}
/* Where an exit leads, without the shift if its block floats. */
static inline uint64_t exit_target(const struct engine *engine, const struct exit *exit)
{
    uint64_t distance = (uint64_t)(int64_t)exit->distance_high << 32 | exit->distance;
    return exit_from(engine, exit)->rip + distance;
}
/* Where the exit that has just been taken leads. */
static inline uint64_t exit_rip(const struct engine *engine, const struct exit *exit)
{
    return exit_target(engine, exit) + block_shift(engine, exit_from(engine, exit));
}
static inline const struct warm_check *block_checks(const struct engine *engine,
                                                    const struct block *block)
{
    return (const void *)(exit_at(engine, block->exits) + block->exit_count);
}
static inline int32_t *block_countdown(const struct engine *engine, const struct block *block)
{
    return &engine->cache.countdown[block->countdown];
}
/* Where the block is entered: with the guard of its first page, and without. */
static inline const uint8_t *block_checked(const struct engine *engine, const struct block *block)
{
    return engine->cache.rx + block->code;
}
static inline const uint8_t *block_entry(const struct engine *engine, const struct block *block)
{
    return block_checked(engine, block) + block->entry;
}

/* -- shift.c -- */

/* Can translations for the CPU's mode float? */
bool shift_is_useful(const struct engine *engine);
/* Does warm code there float, in the current space? */
bool shift_is_possible(const struct engine *engine, uint64_t rip);
/* The shift for cpu->rip, which is at `gpa`, becomes the current one if the space floats: that of
 * the block that `exit` left, if it is not NULL. */
void shift_select(struct engine *engine, gpa_t gpa, const struct exit *exit);

/* -- block.c -- */

/* Makes the space of the CPU's mode current; false if there are too many (then drop all). */
bool space_select(struct engine *engine);
void space_free(struct space *space);
bool block_table_create(struct block_table *table, size_t cache_size, struct error *error);
void block_table_destroy(struct block_table *table);
/* Chooses the key of hashes. */
bool block_hash_create(struct engine *engine, struct error *error);
bool block_table_is_full(const struct block_table *table);
/* A valid block at cpu->rip, which is at these addresses, for the current shift; revives one whose
 * bytes are unchanged. In spaces that float it is a warm one. May raise #PF for a second page. */
struct block *block_find(struct engine *engine, gva_t gva, gpa_t gpa, enum care care);
/* What is executed in place of a block just found: the hot one made of it for the current shift, or
 * itself. */
struct block *block_best(const struct engine *engine, struct block *block);
/* A hot block at cpu->rip, in a space that floats, made of a warm one. */
struct block *block_find_hot(struct engine *engine, const struct block *warm);
/* Fetches into the host's cache where block_find() will look for a block by this rip. */
void block_prefetch(const struct engine *engine, uint64_t rip, gpa_t gpa);
/* A valid block, of CARE_LEAST, in the space, without looking at the page behind it; NULL: there is
 * none. If it `floats` rip is without the shift. */
const struct block *block_in_space(const struct engine *engine, const struct space *in,
                                   uint64_t rip, gpa_t gpa, bool floats);
/* The description of a block, filled from the trace; NULL: no room. */
struct block *block_new(struct engine *engine, const struct trace *trace);
/* Registers a finished block: hash, pages, code marks. */
void block_register(struct engine *engine, struct block *block);
void block_link(struct engine *engine, struct exit *exit, struct block *to);
void block_enter_table(struct engine *engine, const struct block *block);
/* What leads to `old`, which is dropped, leads to `block` from now on. */
void block_replace(struct engine *engine, struct block *old, struct block *block);
/* A floating block leads to the hot one made of it, while the shift is for that. */
void block_promote(struct engine *engine, struct block *warm, struct block *hot);
/* Every block must be compared with memory again before it runs. */
void block_distrust_all(struct engine *engine);
void block_drop_all(struct engine *engine);
/* Drops what was translated longest ago. */
void block_make_room(struct engine *engine);
void block_written(void *opaque, gpa_t gpa, uint64_t size);

/* -- recipe.c -- */

/* Registers that a recipe needs, as a bit set. */
uint32_t recipe_registers(const struct recipe *recipe);
/* A number for the recipe, which is known from now on; 0: there is none. */
unsigned recipe_number(struct engine *engine, const struct recipe *recipe);
/* The arithmetic flags that it says, by the registers in struct cpu. */
uint32_t recipe_flags(const struct cpu *cpu, const struct recipe *recipe);

/* -- dispatch.c -- */

/* What the block was translated from counts as cold again. */
void engine_cool(struct engine *engine, const struct block *block);
/* What the block was translated from is to be translated hot at once, if it is executed again. */
void engine_keep_hot(struct engine *engine, const struct block *block);

/* Is there no room for another block? */
bool engine_is_full(const struct engine *engine);
/* Translates what is at cpu->rip; NULL: interpret it. Raises fetch faults. */
struct block *translate(struct engine *engine, enum care care, bool hot);
/* The hot block of a warm one, with cpu->rip at its start: it is translated again. NULL as above.
 */
struct block *translate_again(struct engine *engine, struct block *block);

/* -- lift.c -- */

/* Is the mnemonic a jump that is lifted, not left to the interpreter? */
bool lift_is_flow(unsigned op);
/* Is it lifted so that a trace goes on behind it, though the mnemonic ends one (ISA_END)? */
bool lift_goes_on(const struct engine *engine, uint32_t mode, const struct insn *insn);
void lift(struct engine *engine, const struct trace *trace, struct ir_list *list);

/* -- symbols.c -- */

#define NO_ROOT 0xffff

struct symbol {
    uint16_t root;
    int64_t offset;
};

struct symbols {
    struct symbol at[16];
    uint16_t roots;
    unsigned string; /* string instruction: its slow path may move the pointers downwards */
    unsigned width;  /* bytes of an address register */
};

/* At the start of a block. */
void symbols_start(struct symbols *symbols, unsigned width);
/* Behind the operation. */
void symbols_follow(struct symbols *symbols, const struct ir *ir);

/* -- opt_*.c -- */

void opt_flags(struct ir_list *list);
/* May the memory operation check for others? Its instruction's slow path would skip the check, so
 * nothing before it in the instruction may take one. */
bool opt_may_check(const struct ir_list *list, unsigned at);
/* Finds out whether the block is a loop that may iterate inside: list->loop. */
void opt_loop(struct ir_list *list, const struct trace *trace);
/* `cpu`: for CARE_PAGES, its state at the block's start; else NULL. */
void opt_checks(struct ir_list *list, const struct trace *trace, const struct cpu *cpu);
/* The same for code that uses the window (opt_window.c): accesses that the host's MMU translates,
 * which share checks that their granule is open. */
void opt_window(struct ir_list *list, const struct trace *trace);
/* After opt_flags(), and before it is done again. */
void opt_hoist(struct ir_list *list);
/* After opt_checks(). */
void opt_stack(struct ir_list *list);

/* -- dispatch.c: called by generated code on the stack below struct cpu -- */

/* Enters a block from C; afterwards the CPU's state is complete but for rip, if hot.exit is set. */
void engine_enter(struct engine *engine, struct block *block);
/* Runs the instruction at cpu->rip, which a slow path has come to: the one of the struct site or
 * struct warm_check at this arena offset. */
void engine_interpret(struct engine *engine, uint32_t note);
/* Runs the site's instruction. NULL: go on; else the host code to go on at. */
const void *engine_exec(struct cpu *cpu, uint32_t site);
/* An indirect jump of the site to cpu->rip found nothing in the jump table. */
const void *engine_indirect(struct cpu *cpu, uint32_t site);
/* Host code for cpu->rip, to continue there without leaving; the leaving stub if there is none. */
const void *engine_continue(struct cpu *cpu);
/* The same in a block of CARE_MOST. */
const void *engine_continue_careful(struct cpu *cpu);
/* The same as engine_continue() after an instruction that left its block. Takes the flags as
 * generated code keeps them.
 */
const void *engine_go_on(struct cpu *cpu);
void engine_join_flags(struct cpu *cpu);
void engine_split_flags(struct cpu *cpu);

/* -- warm.c: the same -- */

/* The check whose call returns to `code` (low 32 bits) failed: where to go on. */
const void *engine_check_failed(struct cpu *cpu, uint32_t code);
/* A warm block's code at `code` has faulted: is it an access to the window? Then it is as if a call
 * had failed that returns to where `code` is set, with the flags still in the host's if `flags`. */
bool engine_faults_warm(struct engine *engine, uint32_t *code, bool *flags);
/* The same for a guard: its page is mapped elsewhere now. */
const void *engine_guard_failed(struct cpu *cpu, uint32_t code);
/* The block at this arena offset, about to be executed, has become hot: where to go on. */
const void *engine_promote(struct cpu *cpu, uint32_t block);

/* -- verify.c -- */

bool verify_create(struct engine *engine, struct error *error);
void verify_destroy(struct engine *engine);
void verify_run(struct engine *engine, struct block *block);
void verify_stats(const struct engine *engine, FILE *out);

/* -- stats.c -- */

void engine_print_stats(struct cpu *cpu, FILE *out);

/* -- log.c -- */

void log_trace(const struct trace *trace);
void log_ir(const struct ir_list *list, const struct trace *trace);
void log_host(const struct engine *engine, const struct block *block, const uint8_t *hot,
              size_t hot_size, const uint8_t *cold, size_t cold_size);
void perf_map_open(struct engine *engine);
void perf_map_note(struct engine *engine, const uint8_t *code, size_t size,
                   const struct block *block);

/* -- The host (x86_64/host.c) -- */

struct host_stubs {
    void (*enter)(struct cpu *cpu, const void *code); /* switches stacks, runs until a leave */
    const uint8_t *leave;  /* executable address: back to the dispatcher */
    const uint8_t *lookup; /* what empty return table entries lead to */
};

/* Is this host able? Fills engine->stubs and emits the fixed stubs into the cache. */
bool host_create(struct engine *engine, struct error *error);
void host_destroy(struct engine *engine);
/* All code but the fixed stubs was dropped. */
void host_reset(struct engine *engine);
/* IR to code: fills the block's entry points, sites and exits. Gives the size of the code; 0: the
 * cache is full. */
size_t host_lower(struct engine *engine, struct block *block, const struct trace *trace,
                  const struct ir_list *list);
/* Points the jump of an exit that is not linked at a target. False: no room for what it needs. */
bool host_link(struct engine *engine, struct exit *exit, const struct block *to);
/* Points it back at its stub. */
void host_unlink(struct engine *engine, struct exit *exit);
/* Leads a warm block, whose promotion the exit is, to the hot one while the current shift is that
 * block's. False: no room. host_unlink() undoes it. */
bool host_promote(struct engine *engine, const struct exit *exit);
/* Where a floating block is entered its page's check fails from now on, or is made again. False: no
 * room. */
void host_disable(struct engine *engine, const struct block *block);
bool host_enable(struct engine *engine, const struct block *block);
/* Has the host a native form of this vector instruction? */
bool host_has_vector(const struct insn *insn);
/* The same for x87 instructions. */
bool host_has_x87(const struct insn *insn);
/* Can it run code for the window? Then what that code faults at comes here from now on. */
bool host_has_window(const struct engine *engine);
/* Faults in such code are the engine's, on this thread. */
void host_run_window(struct engine *engine);
/* The hot block is found when its code faults from now on. False: no memory for that. */
bool host_note_window(struct engine *engine, const struct block *block);
/* Blocks of the region, or all (NULL), are gone. */
void host_forget_windows(struct engine *engine, const struct cache_region *region);
/* Is the guest register at hand as part of an address? */
bool host_keeps_register(unsigned reg);

#endif
