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

void host_unlink(struct engine *engine, const struct exit *exit)
{
    const struct block *from = block_at(engine, exit->from);
    unsigned number = (unsigned)(exit - exit_at(engine, from->exits));
    if (exit->store_size)
        restore_store(engine, exit);
    emit_patch(exit_jump(engine, exit), engine->cache.rw + from->stubs + exit_stub(number));
}
