/*
 * The x86-64 host: what it must have, the fixed stubs, and patching of jumps.
 */
#include "translator/x86_64/lower.h"

#include <stdlib.h>
#include <string.h>

bool host_create(struct engine *engine, struct error *error)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("popcnt"))
        return error_set(error,
                         "the translator needs a processor with SSE4.2 and POPCNT (x86-64-v2); "
                         "use --accel interp");
    struct x86_stubs *stubs = calloc(1, sizeof *stubs);
    if (!stubs)
        return error_set(error, "cannot allocate the translator: out of memory");
    stubs->bmi2 = __builtin_cpu_supports("bmi2");
    /* In microcode there: a few hundred cycles. */
    stubs->pext = stubs->bmi2 && !__builtin_cpu_is("znver1") && !__builtin_cpu_is("znver2");
    engine->stubs = &stubs->host;
    if (!stubs_emit(engine, stubs))
        return error_set(error, "the code cache is too small");
    return true;
}

void host_destroy(struct engine *engine)
{
    free(engine->stubs);
    engine->stubs = NULL;
}

void host_reset(struct engine *engine)
{
    struct x86_stubs *stubs = stubs_of(engine);
    memset(stubs->guard, 0, sizeof stubs->guard);
}

/* -- Links -- */

/* The displacement of an exit's jump. */
static uint8_t *exit_jump(const struct engine *engine, const struct exit *exit)
{
    const struct block *from = exit_from(engine, exit);
    return engine->cache.rw + (exit->slow ? from->stubs - exit->jump : from->code + exit->jump);
}

/* Does the target accept the exit's recipe? */
static bool can_pass(const struct engine *engine, const struct exit *exit, const struct block *to)
{
    return exit->recipe && to->passes &&
           !(recipe_registers(&engine->recipe[exit->recipe - 1].recipe) & to->changed);
}

#define STORING_MAX 64 /* bytes */

/* Where to put what goes between the exit's jump and its target: at the jump, or where that for the
 * last target was, or in the newest region of the cache, which is dropped after the exit's. */
static bool find_room(struct engine *engine, const struct exit *exit, struct emit *e)
{
    uint8_t *start = exit->room     ? exit_jump(engine, exit) - 1
                     : exit->stores ? engine->cache.rw + exit->prev
                                    : NULL;
    if (start) {
        *e = emit_between(start, start + STORING_MAX);
        return true;
    }
    if (cache_is_full(&engine->cache))
        return false;
    cache_prepare(&engine->cache, CODE_STORES);
    const struct cache_region *region = cache_region(&engine->cache);
    *e = emit_between(region->part[CODE_STORES].at, region->part[CODE_STORES].end);
    emit_align(e, 16); /* most have 15 bytes */
    return true;
}

/* Code that stores the flags as they are at the exit, or notes their recipe if that will do, and
 * goes on at `target`. NULL: no room. */
static uint8_t *emit_storing(struct engine *engine, struct exit *exit, const uint8_t *target,
                             bool pass)
{
    struct emit e;
    if (!find_room(engine, exit, &e))
        return NULL;
    uint8_t *start = e.at;
    lower_store_left(&stubs_of(engine)->lower, &e, (enum exit_flags)exit->flags, exit->recipe);
    emit_jmp_to(&e, target);
    if (!emit_ok(&e))
        return NULL;
    if (!exit->room && !exit->stores)
        cache_region(&engine->cache)->part[CODE_STORES].at = e.at;
    exit->stores = true;
    if (pass) { /* shorter */
        e.at = start;
        emit_store_imm(&e, 4, cpu_mem(HOT_AT(overflow)),
                       (int32_t)((unsigned)exit->recipe << 16 | FLAGS_PASSED));
        emit_jmp_to(&e, target);
    }
    return start;
}
_Static_assert(offsetof(struct engine_hot, passed) == offsetof(struct engine_hot, overflow) + 2,
               "one store");
_Static_assert(HOT_AT(overflow) < 128, "it is the shorter one");

bool host_link(struct engine *engine, struct exit *exit, const struct block *to)
{
    const struct block *from = exit_from(engine, exit);
    /* In blocks that keep vectors or x87 state loaded nothing unloads them. */
    bool loaded = from->vectors >= to->vectors && from->x87 >= to->x87;
    unsigned entry = !exit->same_page ? 0 : loaded ? to->loaded : to->entry;
    const uint8_t *target = engine->cache.rw + to->code + entry;
    /* A target that needs no flags can be reached without storing them first (R4). */
    bool needs_flags = !exit->same_page || (loaded ? to->loaded_needs_flags : to->needs_flags);
    if (needs_flags && exit->flags != EXIT_STORED) {
        target = emit_storing(engine, exit, target, can_pass(engine, exit, to));
        if (!target || exit->room)
            return target != NULL;
    } else {
        exit->stores = false;
    }
    emit_patch(exit_jump(engine, exit), target);
    return true;
}

/* -- Promotions -- */

/* The jump behind the countdown of a warm block's executions: its displacement. */
static uint8_t *promotion_jump(const struct engine *engine, const struct block *warm)
{
    return engine->cache.rw + warm->code + warm->loaded + COUNTDOWN_SIZE - 4;
}

/* Where it leads until the block is promoted. */
static uint8_t *promotion_stub(const struct engine *engine, const struct block *warm)
{
    return engine->cache.rw + warm->stubs - (warm->exit_count ? PROMOTE_SIZE : PROMOTE_ALONE_SIZE);
}

/* Emits a test for the shift, and for flags that are known by a recipe, which the hot block need
 * not accept. It goes on in the warm block if that fails. Code of the newest region is dropped
 * after either block. */
bool host_promote(struct engine *engine, const struct exit *exit)
{
    struct block *warm = exit_from(engine, exit);
    const struct block *hot = block_at(engine, exit->to);
    struct cache_region *region = cache_region(&engine->cache);
    struct emit e = emit_between(region->part[CODE_SLOW].at, region->part[CODE_SLOW].end);
    uint8_t *start = e.at;
    int32_t *countdown = block_countdown(engine, warm);
    if (engine->verify) /* counts otherwise */
        return true;
    emit_mov_ri(&e, H_RAX, hot->shift);
    emit_alu_mr(&e, ALU_CMP, 8, cpu_mem(HOT_AT(shift)), H_RAX, false);
    uint8_t *other = emit_jcc8(&e, CC_NZ);
    emit_alu_mi(&e, ALU_CMP, 1, cpu_mem(HOT_AT(overflow)), FLAGS_PASSED, false);
    emit_patch(emit_jcc(&e, CC_NZ), engine->cache.rw + hot->code + hot->entry);
    emit_patch8(&e, other);
    emit_byte(&e, 0xf7); /* test dword [rip + disp32], imm32 */
    emit_byte(&e, 0x05);
    emit_u32(&e, (uint32_t)((uint8_t *)countdown - cache_rx(&engine->cache, e.at + 8)));
    emit_u32(&e, PROMOTION_RETRY - 1);
    emit_patch(emit_jcc(&e, CC_Z), promotion_stub(engine, warm));
    emit_jmp_to(&e, engine->cache.rw + warm->code + warm->loaded + COUNTDOWN_SIZE);
    if (!emit_ok(&e))
        return false;
    region->part[CODE_SLOW].at = e.at;
    *countdown = 0;
    emit_patch(promotion_jump(engine, warm), start);
    return true;
}

/* -- Floating blocks that are stale -- */

void host_disable(struct engine *engine, const struct block *block)
{
    uint8_t *code = engine->cache.rw + block->code;
    struct emit e = emit_between(code, code + GUARD_CALL_SIZE);
    emit_call_to(&e, stubs_of(engine)->guard_failed);
}

bool host_enable(struct engine *engine, const struct block *block)
{
    if (cache_is_full(&engine->cache))
        return false;
    cache_prepare(&engine->cache, CODE_GUARDS);
    struct cache_region *region = cache_region(&engine->cache);
    struct emit slow = emit_between(region->part[CODE_SLOW].at, region->part[CODE_SLOW].end);
    struct trace_page page = {.gva = block->rip & ~0xfffull,
                              .gpa = block_page_gpa(&block->page[0]),
                              .host = block_page_host(&block->page[0])};
    const uint8_t *guard = stubs_guard(engine, &slow, &page, true);
    if (!guard)
        return false;
    region->part[CODE_SLOW].at = slow.at;
    uint8_t *code = engine->cache.rw + block->code;
    struct emit e = emit_between(code, code + GUARD_CALL_SIZE);
    emit_call_to(&e, guard);
    return true;
}

void host_unlink(struct engine *engine, struct exit *exit)
{
    const struct block *from = exit_from(engine, exit);
    if (exit->promotes) {
        if (!engine->verify)
            emit_patch(promotion_jump(engine, from), promotion_stub(engine, from));
        return;
    }
    unsigned number = (unsigned)(exit - exit_at(engine, from->exits));
    uint8_t *jump = exit_jump(engine, exit), *stub = engine->cache.rw + from->stubs;
    if (exit->room)
        emit_jmp(&(struct emit){jump - 1, jump + 4, 0});
    else if (exit->stores)
        exit->prev = (uint32_t)(emit_patched(jump) - engine->cache.rw);
    emit_patch(jump, stub + exit_stub(number));
}
