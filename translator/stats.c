/*
 * --stats: what the translator did.
 */
#include "translator/engine.h"

#include "cpu/window.h"

#include <stdlib.h>

#define SHOWN 16

struct ranked {
    unsigned op;
    uint64_t count;
};

static int by_count(const void *a, const void *b)
{
    uint64_t x = ((const struct ranked *)a)->count, y = ((const struct ranked *)b)->count;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void print_by_mnemonic(FILE *out, const char *title, const uint64_t counts[OP_COUNT])
{
    struct ranked ranked[OP_COUNT];
    uint64_t total = 0;
    for (unsigned op = 0; op < OP_COUNT; op++) {
        ranked[op] = (struct ranked){op, counts[op]};
        total += counts[op];
    }
    qsort(ranked, OP_COUNT, sizeof ranked[0], by_count);
    fprintf(out, "  %s: %llu\n", title, (unsigned long long)total);
    for (unsigned i = 0; i < SHOWN && ranked[i].count; i++)
        fprintf(out, "    %-12s %12llu\n", isa_op_names[ranked[i].op],
                (unsigned long long)ranked[i].count);
}

static void print_size(FILE *out, const char *title, uint64_t blocks, uint64_t insns,
                       uint64_t guest_bytes, uint64_t host_bytes)
{
    fprintf(out, "%s %llu blocks of %llu instructions, %llu bytes of host code", title,
            (unsigned long long)blocks, (unsigned long long)insns, (unsigned long long)host_bytes);
    if (guest_bytes)
        fprintf(out, ", %.1f a byte of guest code", (double)host_bytes / (double)guest_bytes);
    fprintf(out, "\n");
}

static void print_use(FILE *out, const struct cache *cache)
{
    size_t warm = 0, slow = 0, descriptions = 0;
    struct cache empty = *cache;
    cache_reset(&empty);
    for (unsigned i = 0; i < cache->regions; i++) {
        const struct cache_region *used = &cache->region[i], *start = &empty.region[i];
        warm += (size_t)(used->part[CODE_WARM].at - start->part[CODE_WARM].at);
        slow += (size_t)(used->part[CODE_SLOW].at - start->part[CODE_SLOW].at);
        descriptions += used->arena_used - start->arena_used;
    }
    fprintf(out,
            "  in use: straight code %zu KiB warm, %zu KiB hot, slow paths %zu KiB, "
            "descriptions %zu KiB\n",
            warm >> 10, cache_hot_size(cache) >> 10, slow >> 10, descriptions >> 10);
}

void engine_print_stats(struct cpu *cpu, FILE *out)
{
    const struct engine *engine = cpu_engine(cpu);
    const struct engine_stats *s = &engine->stats;
    print_size(out, "translator:", s->blocks, s->insns, s->guest_bytes, s->host_bytes);
    print_size(out, "  of these hot:", s->hot_blocks, s->hot_insns, s->hot_guest_bytes,
               s->hot_bytes);
    fprintf(out, "  entries from the dispatcher %llu, lookups %llu, links %llu\n",
            (unsigned long long)s->entries, (unsigned long long)s->lookups,
            (unsigned long long)s->links);
    fprintf(out,
            "  blocks invalidated %llu, revived %llu; cache emptied %llu times, "
            "regions of it dropped %llu times\n",
            (unsigned long long)s->invalidated, (unsigned long long)s->revived,
            (unsigned long long)s->flushes, (unsigned long long)s->evictions);
    print_use(out, &engine->cache);
    fprintf(out, "  basic blocks interpreted %llu\n", (unsigned long long)s->interpreted);
    window_print_stats(cpu, out);
    verify_stats(engine, out);
    if (!engine->count)
        return;
    fprintf(out, "  instructions %llu, %.1f us of translation\n",
            (unsigned long long)cpu->instructions, (double)s->translate_ns / 1000);
    print_by_mnemonic(out, "interpreter functions called for", s->exec);
    print_by_mnemonic(out, "slow paths taken by", s->slow);
}
