/*
 * Recipes: flags that can be computed again from registers.
 *
 * An exit passes one on instead of storing flags if its target shows them to faults and events
 * only: hot.overflow and hot.passed then name it, and whatever leaves generated code computes the
 * flags (engine_join_flags()). The target writes all flags before it changes a register of the
 * recipe, reads a flag, or leaves to another block otherwise than by what may fail or by an event;
 * so the recipe holds as long as the slot would be looked at.
 */
#include "translator/engine.h"

#include "cpu/interp/flags.h"

#include <string.h>

#define PROBES 8

uint32_t recipe_registers(const struct recipe *recipe)
{
    uint32_t set = 1u << recipe->a;
    return recipe->b < 16 ? set | 1u << recipe->b : set;
}

unsigned recipe_number(struct engine *engine, const struct recipe *recipe)
{
    if (recipe->a >= 16 || (recipe->b >= 16 && recipe->b != V_IMM))
        return 0;
    uint64_t bits;
    _Static_assert(sizeof bits == sizeof *recipe, "compared as a number");
    memcpy(&bits, recipe, sizeof bits);
    unsigned slot = (unsigned)(bits * 0x9e3779b97f4a7c15ull >> 53);
    _Static_assert(RECIPES == 1 << (64 - 53), "index is the upper bits");
    const struct cache *cache = &engine->cache;
    for (unsigned i = 0; i < PROBES; i++) {
        unsigned number = (slot + i) % RECIPES;
        struct recipe *known = &engine->recipe[number].recipe;
        uint32_t *used = &engine->recipe[number].used;
        if (*used == 0 || cache->period + 1 - *used >= cache->regions) /* dropped with its users */
            *known = *recipe;
        if (memcmp(known, recipe, sizeof *recipe) != 0)
            continue;
        *used = cache->period + 1;
        return number + 1;
    }
    return 0;
}

uint32_t recipe_flags(const struct cpu *cpu, const struct recipe *recipe)
{
    unsigned size = recipe->size;
    uint64_t a = zero_extend(cpu->gpr[recipe->a], size), result;
    uint64_t b = recipe->b == V_IMM ? (uint64_t)(int64_t)recipe->imm : cpu->gpr[recipe->b];
    b = zero_extend(b, size);
    switch (recipe->op) {
    case IR_ADD: /* a holds the result */
        result = a;
        a = zero_extend(result - b, size);
        return flags_add(a, b, result, size);
    case IR_SUB:
        result = a;
        a = zero_extend(result + b, size);
        return flags_sub(a, b, result, size);
    case IR_CMP:
        return flags_sub(a, b, zero_extend(a - b, size), size);
    default: /* IR_TEST */
        return flags_result(a & b, size);
    }
}
