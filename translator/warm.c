/*
 * Warm blocks: what they leave to C.
 *
 * The first translation of code is made to be small and quick to make, since most code runs a few
 * times only: its memory checks are calls of shared code, without slow paths of their own, and its
 * loops are not looked at. It counts its executions; at the last the block is translated again,
 * hot, as the rest of the translator describes.
 *
 * When a check fails for good, the return address of its call tells which it was (struct
 * warm_check). The instruction is interpreted, and execution goes on with the next one, in whatever
 * block begins there. So it is with guards of pages; then execution goes on with the instruction
 * behind the guard. An access to the window that faults for good is made to look like the call of a
 * check that fails.
 */
#include "translator/engine.h"

#include "cpu/interp/flags.h"

/* Executions that a shared check's failure counts as: in hot blocks it is only a jump. */
#define FAILURE 32

/* The block's last check, guard or access that begins before this place of its straight code. */
static const struct warm_check *check_before(const struct engine *engine, const struct block *block,
                                             uint32_t code)
{
    const struct warm_check *checks = block_checks(engine, block);
    unsigned low = 0, high = block->check_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (checks[middle].code < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &checks[low - 1] : NULL;
}

static const struct recipe *recipe_of(const struct engine *engine, const struct block *block,
                                      const struct warm_check *check)
{
    const struct warm_check *checks = block_checks(engine, block);
    const struct recipe *recipes = (const void *)&checks[block->check_count];
    return check->recipe && check->recipe != RECIPE_HOST ? &recipes[check->recipe - 1] : NULL;
}

/* Completes the state before the instruction whose check or guard failed. */
static const struct warm_check *go_back(struct engine *engine, const struct block *block,
                                        uint32_t code)
{
    struct cpu *cpu = engine->cpu;
    const struct warm_check *check = check_before(engine, block, code);
    const struct recipe *recipe = recipe_of(engine, block, check);

    engine_join_flags(cpu);
    if (recipe)
        cpu->eflags = flags_merge(cpu->eflags, FLAG_ARITH, recipe_flags(cpu, recipe));
    cpu->rip = block->rip + block_shift(engine, block) + (uint64_t)(int64_t)check->rip;
    if (engine->count)
        engine_hot(cpu)->instructions += check->index;
    return check;
}

/* The warm block whose code has this place (low 32 bits), which becomes relative to its start. */
static const struct block *block_around(const struct engine *engine, uint32_t *code)
{
    const struct block *block = cache_block_at(&engine->cache, *code);
    *code -= (uint32_t)(uintptr_t)block_checked(engine, block);
    return block;
}

const void *engine_guard_failed(struct cpu *cpu, uint32_t code)
{
    struct engine *engine = cpu_engine(cpu);
    const struct block *block = block_around(engine, &code);
    if (code == block->entry) {
        engine_join_flags(cpu);
        cpu->rip = block->rip + block_shift(engine, block);
    } else {
        go_back(engine, block, code);
    }
    engine_split_flags(cpu);
    return engine_continue(cpu);
}

bool engine_faults_warm(struct engine *engine, uint32_t *code, bool *flags)
{
    uint32_t place = *code;
    const struct block *block = block_around(engine, &place);
    const struct warm_check *check = check_before(engine, block, place + 1);
    if (place > UINT16_MAX || !check || !check->window)
        return false;
    *code += check->code + 1u - place;
    *flags = check->recipe == RECIPE_HOST;
    return true;
}

const void *engine_check_failed(struct cpu *cpu, uint32_t code)
{
    struct engine *engine = cpu_engine(cpu);
    const struct block *block = block_around(engine, &code);
    const struct warm_check *check = go_back(engine, block, code);
    if (check->shared) {
        if (!engine->verify) /* then only runs that were compared count */
            *block_countdown(engine, block) -= FAILURE;
        engine_split_flags(cpu);
        return engine_continue_careful(cpu);
    }
    engine_interpret(engine, cache_offset(&engine->cache, check));
    if (engine->count)
        engine_hot(cpu)->instructions++;
    engine_split_flags(cpu);
    return engine_go_on(cpu);
}

/* The more hot code there is, the less the host's caches have room for more of it: a block must
 * have run as many times again for each of these bytes. */
#define HOT_EASY (2u << 20)

static bool waits(struct engine *engine, struct block *block)
{
    if (block->waits == UINT8_MAX || block->waits >= cache_hot_size(&engine->cache) / HOT_EASY)
        return false;
    block->waits++;
    *block_countdown(engine, block) = (int32_t)engine->options.hot - 1;
    return true;
}

const void *engine_promote(struct cpu *cpu, uint32_t offset)
{
    struct engine *engine = cpu_engine(cpu);
    struct block *block = block_at(engine, offset);
    engine_join_flags(cpu);
    cpu->rip = block->rip + block_shift(engine, block);
    cpu->insn = NULL; /* a fault in fetching is not an instruction's */
    if (block->stale || engine_is_full(engine))
        return engine->stubs->leave;
    struct block *hot = block_best(engine, block);
    if (hot == block && !waits(engine, block))
        hot = translate_again(engine, block);
    if (!hot)
        return engine->stubs->leave;
    block_enter_table(engine, hot);
    engine_split_flags(cpu);
    return block_entry(engine, hot);
}
