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

void host_link(struct engine *engine, struct exit *exit, struct block *to)
{
    if (!exit->jump)
        return;
    if (!to) {
        if (exit->early)
            memcpy(exit->early, exit->saved, early_size(exit));
        emit_patch(exit->jump, exit->stub);
        return;
    }
    /* In blocks that keep vectors or x87 state loaded nothing unloads them. */
    bool loaded = exit->from->vectors >= to->vectors && exit->from->x87 >= to->x87;
    const uint8_t *target = !exit->same_page ? to->checked_rw
                            : loaded         ? to->loaded_rw
                                             : to->entry_rw;
    emit_patch(exit->jump, target);
    /* A target that needs no flags can be reached without storing them first (R4). */
    bool needs_flags = loaded ? to->loaded_needs_flags : to->needs_flags;
    if (exit->early && exit->same_page && !needs_flags) {
        if (exit->early_kind == EARLY_JCC) {
            emit_patch(exit->early, target);
        } else {
            exit->early[0] = 0xe9;
            emit_patch(exit->early + 1, target);
        }
    }
}
