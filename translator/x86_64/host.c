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

/* The displacement of an exit's jump. */
static uint8_t *exit_jump(const struct engine *engine, const struct exit *exit)
{
    const struct block *from = block_at(engine, exit->from);
    return engine->cache.rw + (!exit->other ? from->code + exit->straight
                               : exit->tail ? from->code + exit->other
                                            : from->stubs - exit->other);
}

/* That of the conditional jump by which the code before the exit's jump is come to; NULL: none. */
static uint8_t *exit_early(const struct engine *engine, const struct exit *exit)
{
    const struct block *from = block_at(engine, exit->from);
    return exit->other && exit->straight ? engine->cache.rw + from->code + exit->straight : NULL;
}

/* What code that stores flags at an exit ends with: LAHF, two stores, a jump. */
#define STORE_END 15

static struct emit store_end(const struct engine *engine, const struct exit *exit)
{
    uint8_t *end = exit_jump(engine, exit) + 4;
    return (struct emit){end - STORE_END, end};
}

/* The flags are not stored, nor is anything done in their place but what `recipe` asks for. */
static void avoid_store(const struct engine *engine, const struct exit *exit, unsigned recipe,
                        const uint8_t *target)
{
    struct emit e = store_end(engine, exit);
    if (recipe)
        emit_store_imm(&e, 4, cpu_mem(HOT_AT(overflow)), (int32_t)(recipe << 16 | FLAGS_PASSED));
    emit_jmp_to(&e, target);
}
_Static_assert(offsetof(struct engine_hot, passed) == offsetof(struct engine_hot, overflow) + 2,
               "one store");
_Static_assert(HOT_AT(overflow) < 128, "8 bytes and a jump fit");

static void restore_store(const struct engine *engine, const struct exit *exit)
{
    struct emit e = store_end(engine, exit);
    uint8_t *early = exit_early(engine, exit);
    lower_save_flags(&e);
    emit_jmp(&e);
    if (early)
        emit_patch(early, e.at - exit->store_size);
}

/* Does the target accept the exit's recipe? */
static bool can_pass(const struct engine *engine, const struct exit *exit, const struct block *to)
{
    return exit->recipe && to->passes &&
           !(recipe_registers(&engine->recipe[exit->recipe - 1].recipe) & to->changed);
}

void host_link(struct engine *engine, const struct exit *exit)
{
    const struct cache *cache = &engine->cache;
    const struct block *from = block_at(engine, exit->from), *to = block_at(engine, exit->to);
    /* In blocks that keep vectors or x87 state loaded nothing unloads them. */
    bool loaded = from->vectors >= to->vectors && from->x87 >= to->x87;
    unsigned entry = !exit->same_page ? 0 : loaded ? to->loaded : to->entry;
    const uint8_t *target = cache->rw + to->code + entry;
    uint8_t *early = exit_early(engine, exit);
    emit_patch(exit_jump(engine, exit), target);
    /* A target that needs no flags can be reached without storing them first (R4). */
    bool needs_flags = loaded ? to->loaded_needs_flags : to->needs_flags;
    if (exit->same_page && !needs_flags) {
        if (early)
            emit_patch(early, target);
        else if (exit->store_size)
            avoid_store(engine, exit, 0, target);
    } else if (can_pass(engine, exit, to)) {
        avoid_store(engine, exit, exit->recipe, target);
    }
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
    struct block *warm = block_at(engine, exit->from);
    const struct block *hot = block_at(engine, exit->to);
    struct cache_region *region = cache_region(&engine->cache);
    struct emit e = {region->part[CODE_SLOW].at, region->part[CODE_SLOW].end};
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
    struct emit e = {code, code + GUARD_CALL_SIZE};
    emit_call_to(&e, stubs_of(engine)->guard_failed);
}

bool host_enable(struct engine *engine, const struct block *block)
{
    if (cache_is_full(&engine->cache))
        return false;
    cache_prepare(&engine->cache, CODE_GUARDS);
    struct cache_region *region = cache_region(&engine->cache);
    struct emit slow = {region->part[CODE_SLOW].at, region->part[CODE_SLOW].end};
    struct trace_page page = {.gva = block->rip & ~0xfffull,
                              .gpa = block_page_gpa(&block->page[0]),
                              .host = block_page_host(&block->page[0])};
    const uint8_t *guard = stubs_guard(engine, &slow, &page, true);
    region->part[CODE_SLOW].at = slow.at;
    uint8_t *code = engine->cache.rw + block->code;
    struct emit e = {code, code + GUARD_CALL_SIZE};
    emit_call_to(&e, guard);
    return true;
}

void host_unlink(struct engine *engine, const struct exit *exit)
{
    const struct block *from = block_at(engine, exit->from);
    if (exit->promotes) {
        if (!engine->verify)
            emit_patch(promotion_jump(engine, from), promotion_stub(engine, from));
        return;
    }
    unsigned number = (unsigned)(exit - exit_at(engine, from->exits));
    if (exit->store_size)
        restore_store(engine, exit);
    emit_patch(exit_jump(engine, exit), engine->cache.rw + from->stubs + exit_stub(number));
}
