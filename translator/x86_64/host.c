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

void host_link(struct engine *engine, const struct exit *exit)
{
    struct cache *cache = &engine->cache;
    const struct block *from = block_at(engine, exit->from), *to = block_at(engine, exit->to);
    /* In blocks that keep vectors or x87 state loaded nothing unloads them. */
    bool loaded = from->vectors >= to->vectors && from->x87 >= to->x87;
    unsigned entry = !exit->same_page ? 0 : loaded ? to->loaded : to->entry;
    const uint8_t *target = cache->rw + to->code + entry;
    emit_patch(cache->rw + exit->jump, target);
    /* A target that needs no flags can be reached without storing them first (R4). */
    bool needs_flags = loaded ? to->loaded_needs_flags : to->needs_flags;
    if (exit->early && exit->same_page && !needs_flags) {
        uint8_t *early = cache->rw + exit->early;
        if (exit->early_kind == EARLY_CODE)
            *early++ = 0xe9; /* jmp rel32 */
        emit_patch(early, target);
    }
}

void host_unlink(struct engine *engine, const struct exit *exit)
{
    struct cache *cache = &engine->cache;
    if (exit->early)
        memcpy(cache->rw + exit->early, exit->saved, early_size(exit));
    emit_patch(cache->rw + exit->jump,
               cache->rw + block_at(engine, exit->from)->stubs + exit->stub);
}
