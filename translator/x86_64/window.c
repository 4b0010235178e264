/*
 * Faults of the host in code for the window: the page is mapped and the access is done again, or
 * its slow path is taken: in hot blocks one of its own, in warm ones that of a failed check.
 */
#include "translator/x86_64/lower.h"

#include "cpu/window.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define TRAP_PAGE_FAULT 14
#define ERROR_WRITE     2

static _Thread_local struct engine *engine_here; /* that runs on this thread */
static struct sigaction others_action;

/* -- Which code it was -- */

/* The place of the first block that starts behind the code, in the list. */
static size_t next_block(const struct engine *engine, uint32_t code)
{
    size_t low = 0, high = engine->window_blocks.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (engine->window_blocks.at[middle].offset > code)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void host_forget_windows(struct engine *engine, const struct cache_region *region)
{
    size_t kept = 0;
    for (size_t i = 0; region && i < engine->window_blocks.count; i++) {
        struct code_end *at = &engine->window_blocks.at[i];
        if (!cache_region_has_code(&engine->cache, region, engine->cache.rx + at->offset))
            engine->window_blocks.at[kept++] = *at;
    }
    engine->window_blocks.count = kept;
}

/* The slow path of the access at this place in the code cache; NULL: none is there. */
static const uint8_t *slow_path(const struct engine *engine, uint32_t code)
{
    size_t number = next_block(engine, code);
    if (number == 0)
        return NULL;
    const struct block *block = block_at(engine, engine->window_blocks.at[number - 1].block);
    const struct window_access *access = cache_at(&engine->cache, block->accesses);
    unsigned count = block->check_count;
    while (count && access[count - 1].code > code)
        count--;
    return count ? engine->cache.rx + access[count - 1].slow : NULL;
}

/* -- The signal -- */

/* True: what has faulted will not, if it is done again. Else the slow path leaves the block, whose
 * code may rely on the look that has faulted. */
static bool resolve(struct engine *engine, uint64_t address, bool write)
{
    uint64_t entry = address - WINDOW_TABLE;
    if (entry > WINDOW_TABLE_MASK >> WINDOW_TABLE_SHIFT)
        return window_fill(engine->cpu, address, write);
    return window_open(engine->cpu, entry << WINDOW_TABLE_SHIFT);
}

/* Goes on as if a call of a check had failed. */
static bool fail_warm(struct engine *engine, greg_t *registers)
{
    struct engine_hot *hot = engine_hot(engine->cpu);
    uint32_t rip = (uint32_t)registers[REG_RIP], code = rip;
    bool flags;
    if (!engine_faults_warm(engine, &code, &flags))
        return false;
    if (flags) {
        hot->flags = (uint8_t)registers[REG_EFL];
        hot->overflow = (registers[REG_EFL] & FLAG_OF) != 0;
    }
    registers[REG_RSP] -= 8;
    *(uint64_t *)registers[REG_RSP] = (uint64_t)registers[REG_RIP] + code - rip; /* NOLINT */
    size_t failed = (size_t)(stubs_of(engine)->check_failed - engine->cache.rw);
    registers[REG_RIP] = (greg_t)(uintptr_t)(engine->cache.rx + failed);
    return true;
}

static bool fail_hot(const struct engine *engine, greg_t *registers)
{
    const uint8_t *slow =
        slow_path(engine, (uint32_t)(registers[REG_RIP] - (greg_t)(uintptr_t)engine->cache.rx));
    if (slow)
        registers[REG_RIP] = (greg_t)(uintptr_t)slow;
    return slow;
}

static bool handle(struct engine *engine, const siginfo_t *info, greg_t *registers)
{
    const uint8_t *rip = (const uint8_t *)(uintptr_t)registers[REG_RIP];
    size_t offset = (size_t)(rip - engine->cache.rx);
    bool by_code = info->si_code > 0; /* not by another process */
    if (!by_code || offset >= engine->cache.size)
        return false;
    if (registers[REG_TRAPNO] == TRAP_PAGE_FAULT &&
        resolve(engine, (uintptr_t)info->si_addr, registers[REG_ERR] & ERROR_WRITE))
        return true;
    return cache_is_warm(&engine->cache, offset) ? fail_warm(engine, registers)
                                                 : fail_hot(engine, registers);
}

static void on_fault(int number, siginfo_t *info, void *opaque)
{
    if (engine_here && handle(engine_here, info, ((ucontext_t *)opaque)->uc_mcontext.gregs))
        return;
    if (others_action.sa_flags & SA_SIGINFO)
        others_action.sa_sigaction(number, info, opaque);
    else
        signal(number, SIG_DFL); /* it comes again */
}

/* Faults come here from now on. */
static bool handle_faults(void)
{
    static bool handled;
    const struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (!handled)
        handled = sigaction(SIGSEGV, &action, &others_action) == 0;
    return handled;
}

bool host_has_window(const struct engine *engine)
{
    return stubs_of(engine)->pext && handle_faults();
}

void host_run_window(struct engine *engine)
{
    engine_here = engine;
}

bool host_note_window(struct engine *engine, const struct block *block)
{
    size_t count = engine->window_blocks.count;
    if (count == engine->window_blocks.capacity) {
        size_t capacity = count ? count * 2 : 1024;
        struct code_end *at = realloc(engine->window_blocks.at, capacity * sizeof *at);
        if (!at)
            return false;
        engine->window_blocks.at = at;
        engine->window_blocks.capacity = capacity;
    }
    struct code_end *at = engine->window_blocks.at + next_block(engine, block->code);
    memmove(at + 1, at, (size_t)(engine->window_blocks.at + count - at) * sizeof *at);
    *at = (struct code_end){block->code, cache_offset(&engine->cache, block)};
    engine->window_blocks.count++;
    return true;
}
