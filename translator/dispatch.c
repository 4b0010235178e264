/*
 * The dispatcher: finds or makes the code for cpu->rip, enters it, links exits; and the functions
 * that generated code calls.
 *
 * Cold code is interpreted: a counter by address must reach a threshold before a block is
 * translated.
 */
#include "translator/engine.h"

#include "cpu/interp/flags.h"
#include "cpu/interp/interp.h"
#include "cpu/window.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THRESHOLD_DEFAULT 8
#define HOT_DEFAULT       16000
#define CACHE_MB_DEFAULT  27
#define HOT_AGAIN         16 /* executions until what was hot before is */
#define VERIFIED_WARM     64 /* runs under --verify after which a block is translated again */

struct translator_options translator_options;

/* -- Flags: the slot is apart from cpu->eflags while generated code runs -- */

void engine_join_flags(struct cpu *cpu)
{
    struct engine_hot *hot = engine_hot(cpu);
    if (hot->overflow == FLAGS_PASSED) {
        const struct recipe *recipe = &cpu_engine(cpu)->recipe[hot->passed - 1].recipe;
        cpu->eflags = flags_merge(cpu->eflags, FLAG_ARITH, recipe_flags(cpu, recipe));
        engine_split_flags(cpu);
        return;
    }
    cpu->eflags = (cpu->eflags & ~(FLAG_OF | 0xffu)) | (uint32_t)hot->overflow << 11 | hot->flags;
}

void engine_split_flags(struct cpu *cpu)
{
    struct engine_hot *hot = engine_hot(cpu);
    hot->overflow = cpu->eflags >> 11 & 1;
    hot->flags = (uint8_t)cpu->eflags;
}

/* -- Called by generated code -- */

static bool must_leave(struct engine *engine)
{
    struct cpu *cpu = engine->cpu;
    return atomic_load_explicit(&cpu->event, memory_order_relaxed) || cpu->halted ||
           cpu->shutdown || engine->flush_pending || engine->distrust_pending;
}

static gva_t code_linear(const struct cpu *cpu)
{
    if (cpu->mode & MODE_CODE64)
        return cpu->rip;
    return (uint32_t)(cpu->seg[SEG_CS].base + cpu->rip);
}

static bool is_usable(const struct cpu *cpu, const struct block *block)
{
    return (!block->vectors || vectors_usable(cpu)) && (!block->x87 || x87_usable(cpu));
}

/* The block at cpu->rip, which `exit` led to if it is not NULL, if there is one. Raises what
 * fetching raises. */
static struct block *find_block(struct engine *engine, const struct exit *exit, enum care care)
{
    struct cpu *cpu = engine->cpu;
    gpa_t gpa;
    if (cpu->rip > (cpu->mode & MODE_CODE64 ? ~0ull : cpu->seg[SEG_CS].limit))
        return NULL; /* the interpreter raises the fault */
    gva_t gva = code_linear(cpu);
    if (!mem_fetch(cpu, gva, &gpa))
        return NULL;
    shift_select(engine, gpa, exit);
    return block_find(engine, gva, gpa, care);
}

/* A block at cpu->rip to go on in without leaving, or NULL. */
static struct block *next_block(struct engine *engine, enum care care)
{
    struct cpu *cpu = engine->cpu;
    if (must_leave(engine) || engine->verify || !space_select(engine))
        return NULL;
    cpu->insn = NULL; /* a fault in fetching is not an instruction's */
    struct block *block = find_block(engine, NULL, care);
    engine->stats.lookups++;
    if (block)
        block = block_best(engine, block);
    return block && is_usable(cpu, block) ? block : NULL;
}

const void *engine_continue(struct cpu *cpu)
{
    struct engine *engine = cpu_engine(cpu);
    engine_join_flags(cpu);
    const struct block *block = next_block(engine, CARE_LEAST);
    if (!block)
        return engine->stubs->leave;
    block_enter_table(engine, block);
    engine_split_flags(cpu);
    return block_entry(engine, block);
}

const void *engine_continue_careful(struct cpu *cpu)
{
    struct engine *engine = cpu_engine(cpu);
    engine_join_flags(cpu);
    const struct block *block = next_block(engine, CARE_MOST);
    if (!block) {
        engine->care_next = CARE_MOST;
        return engine->stubs->leave;
    }
    engine_split_flags(cpu);
    return block_entry(engine, block);
}

/* What the jump table has for cpu->rip, which checks by itself that the page is mapped as before
 * (R6). */
static const void *table_code(struct engine *engine)
{
    struct cpu *cpu = engine->cpu;
    const struct jump_entry *entry = jump_at(engine->current_space->tables, cpu->rip);
    if (entry->rip != cpu->rip)
        return NULL;
    cpu->insn = NULL; /* a fault in fetching is not an instruction's */
    engine_hot(cpu)->shift = entry->shift;
    return entry->code;
}

/* The same after an instruction that left its block: the jump table is asked first. */
const void *engine_go_on(struct cpu *cpu)
{
    struct engine *engine = cpu_engine(cpu);
    if (must_leave(engine) || engine->verify || !space_select(engine)) {
        engine_join_flags(cpu);
        return engine->stubs->leave;
    }
    const void *code = table_code(engine);
    return __builtin_expect(code != NULL, 1) ? code : engine_continue(cpu);
}

/* The block's code is left when its bytes are written, and its notes are not used again before code
 * is dropped: what was decoded for a note stays true. */
static const struct insn *decoded_insn(struct engine *engine, uint32_t note)
{
    struct cpu *cpu = engine->cpu;
    struct decoded *decoded = &engine->decoded[note / 8 % DECODED];
    if (decoded->note != note) {
        decoded->note = 0;
        cpu->insn = NULL; /* a fault in fetching is not the last instruction's */
        interp_decode(cpu, &decoded->insn);
        decoded->note = note;
    }
    return &decoded->insn;
}

static uint64_t site_shift(struct cpu *cpu, const struct site *site)
{
    return __builtin_expect(site->floats, 0) ? engine_hot(cpu)->shift : 0;
}

const void *engine_indirect(struct cpu *cpu, uint32_t offset)
{
    struct engine *engine = cpu_engine(cpu);
    const struct site *site = cache_at(&engine->cache, offset);
    uint64_t target = cpu->rip;
    bool valid = cpu->mode & MODE_CODE64
                     ? (uint64_t)((int64_t)(target << 16) >> 16) == target
                     : cpu->mode & MODE_FLAT_CS || target <= cpu->seg[SEG_CS].limit;
    if (__builtin_expect(!valid, 0)) { /* the instruction faults: as before it */
        cpu->rip = site->rip + site_shift(cpu, site);
        const struct insn *insn = decoded_insn(engine, offset);
        if (insn->op == OP_RET) {
            int64_t back = -(int64_t)insn->opsize;
            if (insn->noperands)
                back -= (int64_t)(insn->imm & 0xffff);
            stack_adjust(cpu, back);
        } else if (insn->op == OP_CALL) {
            stack_adjust(cpu, insn->opsize);
        }
        if (engine->count) /* it was counted, and will be as one that faults */
            engine_hot(cpu)->instructions -= site->index + 1u;
        return engine_exec(cpu, offset);
    }
    return engine_continue(cpu);
}

static void execute(struct cpu *cpu, const struct insn *insn)
{
    cpu->next_rip = cpu->rip + insn->length;
    cpu->insn = insn;
    insn->exec(cpu, insn);
    cpu->rip = cpu->next_rip;
}

void engine_interpret(struct engine *engine, uint32_t note)
{
    struct cpu *cpu = engine->cpu;
    const struct insn *insn = decoded_insn(engine, note);
    if (__builtin_expect(engine->count, 0))
        engine->stats.slow[insn->op]++;
    execute(cpu, insn);
}

const void *engine_exec(struct cpu *cpu, uint32_t offset)
{
    struct engine *engine = cpu_engine(cpu);
    const struct site *site = cache_at(&engine->cache, offset);
    uint64_t shift = site_shift(cpu, site);
    uint32_t mode = space_mode(cpu->mode);

    engine_join_flags(cpu);
    if (__builtin_expect(engine->count, 0))
        engine_hot(cpu)->instructions += site->index;
    cpu->rip = site->rip + shift;
    if (site->slow) {
        engine_interpret(engine, offset);
    } else {
        if (__builtin_expect(engine->count, 0))
            engine->stats.exec[site->insn->op]++;
        execute(cpu, site->insn);
    }
    engine_split_flags(cpu);

    if (site->end || cpu->rip != site->next + shift || space_mode(cpu->mode) != mode ||
        block_at(engine, site->block)->stale || must_leave(engine)) {
        if (__builtin_expect(engine->count, 0))
            engine_hot(cpu)->instructions++;
        return engine_go_on(cpu);
    }
    if (__builtin_expect(engine->count, 0))
        engine_hot(cpu)->instructions -= site->index;
    return NULL;
}

/* -- Translation -- */

bool engine_is_full(const struct engine *engine)
{
    return cache_is_full(&engine->cache) || block_table_is_full(&engine->table);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static size_t trace_bytes(const struct trace *trace)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < trace->ranges; i++)
        bytes += trace->range[i].size;
    return bytes;
}

struct block *translate(struct engine *engine, enum care care, bool hot)
{
    struct trace *trace = &engine->trace;
    unsigned max = engine->options.max_insns;
    if (!trace_form(engine, trace, max, hot))
        return NULL;

    uint64_t start = engine->count ? now_ns() : 0;
    uint64_t shift = engine_hot(engine->cpu)->shift;
    if (trace->floats)
        trace_float(trace, shift);
    struct block *block = block_new(engine, trace);
    size_t size = 0;
    if (block) {
        block->care = care;
        block->hot = hot;
        if (hot && shift_is_possible(engine, block->rip))
            block->shift = shift;
        block->countdown = cache_next_end(&engine->cache);
        *block_countdown(engine, block) = (int32_t)engine->options.hot - 1;
        lift(engine, trace, &engine->list);
        engine->list.loop = false;
        if (care != CARE_MOST) {
            if (hot)
                opt_loop(&engine->list, trace);
            bool window = care == CARE_LEAST && trace->mode & MODE_WINDOW;
            if (window)
                opt_window(&engine->list, trace);
            else
                opt_checks(&engine->list, trace, care == CARE_PAGES ? engine->cpu : NULL);
            if (hot) {
                opt_flags(&engine->list);
                opt_hoist(&engine->list);
            }
            opt_stack(&engine->list);
        }
        opt_flags(&engine->list);
        log_trace(trace);
        log_ir(&engine->list, trace);
        size = host_lower(engine, block, trace, &engine->list);
    }
    if (!size) {
        engine->flush_pending = true; /* full: the dispatcher makes room and comes again */
        return NULL;
    }
    block_register(engine, block);
    engine->stats.blocks++;
    engine->stats.insns += trace->count;
    engine->stats.host_bytes += size;
    engine->stats.guest_bytes += trace_bytes(trace);
    if (hot) {
        engine->stats.hot_blocks++;
        engine->stats.hot_insns += trace->count;
        engine->stats.hot_bytes += size;
        engine->stats.hot_guest_bytes += trace_bytes(trace);
    }
    if (engine->count)
        engine->stats.translate_ns += now_ns() - start;
    return block;
}

struct block *translate_again(struct engine *engine, struct block *block)
{
    struct block *hot = block->floats ? block_find_hot(engine, block) : NULL;
    if (!hot)
        hot = translate(engine, (enum care)block->care, true);
    if (!hot)
        *block_countdown(engine, block) = INT32_MAX; /* it does as it is */
    else if (block->floats)
        block_promote(engine, block, hot);
    else
        block_replace(engine, block, hot);
    return hot;
}

/* -- The dispatcher -- */

#define COUNT_HOT UINT16_MAX /* it was translated hot before, and dropped to make room */

/* Where executions of the code at `rip` are counted, if `key` is its own. Neighbours share a cache
 * line. */
static struct counter *counter_of(struct engine *engine, const struct space *space, uint64_t rip,
                                  uint16_t *key)
{
    uint64_t place = rip / 16 ^ (uint64_t)(uintptr_t)space << 20;
    uint64_t hash = place * 0x9e3779b97f4a7c15ull;
    *key = (uint16_t)(hash >> 16);
    return &engine->counter[(hash >> (64 - COUNTER_BITS) & ~15ull) | (rip & 15)];
}

/* cpu->rip, without the shift if the code can float. */
static uint64_t origin_rip(const struct engine *engine)
{
    uint64_t rip = engine->cpu->rip;
    return shift_is_possible(engine, rip) ? rip - engine_hot(engine->cpu)->shift : rip;
}

/* Selects the shift for cpu->rip, if its page is known, and fetches what looking for its code and
 * interpreting it will read, each a cache miss. */
static bool prepare(struct engine *engine, const struct exit *exit)
{
    const struct cpu *cpu = engine->cpu;
    uint16_t key;
    gpa_t gpa;
    if (!interp_cached_gpa(cpu, &gpa))
        return false;
    shift_select(engine, gpa, exit);
    uint64_t rip = origin_rip(engine);
    __builtin_prefetch(counter_of(engine, engine->current_space, rip, &key));
    block_prefetch(engine, rip, gpa);
    interp_prefetch(cpu, gpa);
    return true;
}

/* Counts executions of code that has no block; true when it has become warm, or is `hot` again. */
static bool is_warm(struct engine *engine, bool *hot)
{
    uint16_t key;
    struct counter *counter = counter_of(engine, engine->current_space, origin_rip(engine), &key);
    if (counter->key != key)
        *counter = (struct counter){key, 0};
    *hot |= counter->count == COUNT_HOT;
    if (counter->count < COUNT_HOT - 1)
        counter->count++;
    return counter->count >= engine->options.threshold;
}

/* Has the code been counted before, and will be cold this time, too? Then there is no block to look
 * for. Counts it if so. */
static bool stays_cold(struct engine *engine)
{
    uint16_t key;
    struct counter *counter = counter_of(engine, engine->current_space, origin_rip(engine), &key);
    if (counter->key != key || counter->count == 0 ||
        counter->count + 1u >= engine->options.threshold)
        return false;
    counter->count++;
    return true;
}

static struct counter *counter_of_block(struct engine *engine, const struct block *block,
                                        uint16_t *key)
{
    return counter_of(engine, &engine->space[block->space], block_origin(block), key);
}

void engine_cool(struct engine *engine, const struct block *block)
{
    uint16_t key;
    *counter_of_block(engine, block, &key) = (struct counter){0};
}

void engine_keep_hot(struct engine *engine, const struct block *block)
{
    uint16_t key;
    struct counter *counter = counter_of_block(engine, block, &key);
    if (block->care == CARE_LEAST)
        *counter = (struct counter){key, COUNT_HOT};
}

/* The exit that was taken last, NULL: none. */
static struct exit *taken_exit(const struct engine *engine)
{
    uint32_t exit = engine_hot(engine->cpu)->exit;
    return exit ? exit_at(engine, exit) : NULL;
}

/* Puts the flags, as they are at an exit, into the slot. */
static void take_flags(struct engine_hot *hot, const struct exit *exit)
{
    switch ((enum exit_flags)exit->flags) {
    case EXIT_STORED:
        break;
    case EXIT_IN_HOST:
        hot->overflow = hot->exit_overflow;
        hot->flags = hot->exit_flags;
        break;
    case EXIT_BY_RECIPE:
        hot->overflow = FLAGS_PASSED;
        hot->passed = exit->recipe;
    }
}

static void enter(struct engine *engine, const void *code)
{
    struct cpu *cpu = engine->cpu;
    engine_split_flags(cpu);
    engine->stubs->enter(cpu, code);
    const struct exit *exit = taken_exit(engine);
    if (exit)
        take_flags(engine_hot(cpu), exit);
    engine_join_flags(cpu);
}

void engine_enter(struct engine *engine, struct block *block)
{
    enter(engine, block_entry(engine, block));
}

/* Under --verify nothing counts executions but the runs that were compared. */
static struct block *verify_again(struct engine *engine, struct block *block)
{
    block_verified(block)->runs = 0; /* for another shift */
    return translate_again(engine, block);
}

/* The first translation of what is at cpu->rip; NULL as above. */
static struct block *first_block(struct engine *engine, enum care care, bool hot)
{
    bool floats = shift_is_possible(engine, engine->cpu->rip);
    struct block *block = translate(engine, care, hot && !floats);
    if (block && hot && floats) /* the hot one needs it to be found */
        *block_countdown(engine, block) = HOT_AGAIN;
    return block;
}

/* Has the code at cpu->rip been translated for when the address space had no window? Then what is
 * known of it holds: is it hot? */
static bool has_twin(struct engine *engine, bool *hot)
{
    const struct space *twin = engine->current_space->twin;
    struct cpu *cpu = engine->cpu;
    gpa_t gpa;
    if (!twin || !mem_fetch(cpu, code_linear(cpu), &gpa))
        return false;
    const struct block *block =
        block_in_space(engine, twin, origin_rip(engine), gpa, shift_is_possible(engine, cpu->rip));
    *hot |= block && (block->hot || (block->floats && block->promotion));
    return block;
}

/* Code for cpu->rip, which `exit` led to if it is not NULL. NULL: it is cold, and was interpreted.
 */
static const void *find_code(struct engine *engine, struct exit *exit, enum care care)
{
    struct cpu *cpu = engine->cpu;
    if (prepare(engine, exit) && care == CARE_LEAST && stays_cold(engine)) {
        engine->stats.interpreted++;
        interp_block(cpu);
        return NULL;
    }
    struct block *found = find_block(engine, exit, care);
    bool hot_at_once = engine->options.hot == 1;
    if (!found && (care || has_twin(engine, &hot_at_once) || is_warm(engine, &hot_at_once)))
        found = first_block(engine, care, hot_at_once);
    struct block *block = found ? block_best(engine, found) : NULL;
    if (block && engine->verify && !block->hot && block_verified(block)->runs == VERIFIED_WARM)
        block = verify_again(engine, block);
    if (!block || !is_usable(cpu, block)) {
        engine->stats.interpreted++;
        interp_block(cpu);
        return NULL;
    }
    if (engine->verify) {
        verify_run(engine, block);
        return NULL;
    }
    if (exit)
        block_link(engine, exit, exit_from(engine, exit)->floats ? found : block);
    else if (care == CARE_LEAST)
        block_enter_table(engine, block);
    return block_entry(engine, block);
}

static void run(struct cpu *cpu)
{
    struct engine *engine = cpu_engine(cpu);
    struct engine_hot *hot = engine_hot(cpu);

    hot->exit = 0;
    hot->vectors_loaded = false;
    engine->care_next = CARE_LEAST;
    if (cpu->window) {
        host_run_window(engine);
        if (engine->options.window == WINDOW_ALL && cpu_cpl(cpu) == 3)
            window_give(cpu);
        window_settle(cpu);
    }
    /* At first only: later, the guard of what the table has may just have failed. */
    bool ask_table = true;
    while (!must_leave(engine) || engine->flush_pending || engine->distrust_pending) {
        if (engine->flush_pending || engine_is_full(engine)) {
            block_make_room(engine);
            continue;
        }
        if (!space_select(engine)) {
            block_drop_all(engine);
            continue;
        }
        if (engine->distrust_pending)
            block_distrust_all(engine);
        struct exit *exit = taken_exit(engine);
        enum care care = exit ? (enum care)exit->care : engine->care_next;
        engine->care_next = CARE_LEAST;
        hot->exit = 0;
        if (cpu->mode & MODE_ALIGN) { /* no access would hit the TLB */
            interp_block(cpu);
            continue;
        }
        const void *code = ask_table ? table_code(engine) : NULL;
        ask_table = false;
        if (!code)
            code = find_code(engine, exit, care);
        if (!code)
            continue;
        engine->stats.entries++;
        enter(engine, code);
        exit = taken_exit(engine);
        if (exit)
            cpu->rip = exit_rip(engine, exit);
        if (engine->count) {
            cpu->instructions += hot->instructions;
            hot->instructions = 0;
        }
    }
    if (cpu->window && cpu_cpl(cpu) == 3 && engine->options.window == WINDOW_LONG &&
        window_sample(cpu))
        block_drop_all(engine);
}

/* -- Life -- */

static void on_drop_all(void *opaque)
{
    struct engine *engine = opaque;
    engine->distrust_pending = true; /* done by the dispatcher (R8) */
}

static void destroy(struct cpu *cpu)
{
    struct engine *engine = cpu_engine(cpu);
    if (!engine)
        return;
    code_unlisten(cpu->code, engine);
    window_destroy(cpu);
    free(engine->window_blocks.at);
    verify_destroy(engine);
    host_destroy(engine);
    for (unsigned i = 0; i < SPACES_MAX; i++)
        space_free(&engine->space[i]);
    block_table_destroy(&engine->table);
    cache_destroy(&engine->cache);
    if (engine->perf_map)
        fclose(engine->perf_map);
    free(engine->list.at);
    free(engine);
    cpu->accel_state = NULL;
}

static bool create(struct cpu *cpu, struct error *error)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return error_set(error, "cannot allocate the translator: out of memory");
    struct translator_options *options = &engine->options;
    *options = translator_options;
    if (!options->cache_mb)
        options->cache_mb = CACHE_MB_DEFAULT;
    if (!options->threshold)
        options->threshold = THRESHOLD_DEFAULT;
    if (!options->hot)
        options->hot = HOT_DEFAULT;
    if (!options->max_insns || options->max_insns > TRACE_MAX)
        options->max_insns = TRACE_MAX;
    engine->count = options->stats || options->verify;
    engine->cpu = cpu;
    cpu->accel_state = engine;
    memset(cpu->engine, 0, sizeof cpu->engine);
    size_t size = (size_t)options->cache_mb << 20;
    if (!cache_create(&engine->cache, size, error) ||
        !block_table_create(&engine->table, size, error) || !block_hash_create(engine, error) ||
        !host_create(engine, error) || (options->verify && !verify_create(engine, error))) {
        destroy(cpu);
        return false;
    }
    perf_map_open(engine);
    if (options->window != WINDOW_NONE && host_has_window(engine))
        window_create(cpu);
    code_listen(cpu->code, &(struct code_listener){block_written, on_drop_all, engine});
    return true;
}

const struct accel accel_translator = {
    .name = "jit",
    .create = create,
    .run = run,
    .destroy = destroy,
    .stats = engine_print_stats,
};
