/*
 * The window: what is reserved, what is mapped, and who has it.
 */
#include "cpu/window.h"

#include "cpu/code.h"
#include "cpu/cpu.h"
#include "cpu/system.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define GRANULE_SIZE (1ull << WINDOW_GRANULE_BITS)
#define PAGES        (1u << (WINDOW_GRANULE_BITS - 12)) /* of a granule */
#define GRANULES     8192                               /* places for them; at most half are used */
#define CLOSE_AT     2048  /* so many are too many for the next owner */
#define MAPPED_MAX   30000 /* pages: the host allows some 65,000 mappings */
#define PENDING_MAX  64
#define CHUNK        16u        /* pages of a large one that are mapped at once */
#define LOWEST       0x10000ull /* addresses below are nobody's */
#define FILTER_BITS  16

/* Who may have it. */
#define SAMPLES   8         /* of user code in a space before it gets the window */
#define IDLE_NS   200000000 /* without a sample: another may have it */
#define DENIED_NS 1000000000
#define DENIED    16
/* What faults may cost: some time, for each page that is mapped, and a part of all time. */
#define ALLOWED_NS    5000000
#define ALLOWED_PAGE  10000
#define ALLOWED_PART  8

#define TABLE_SIZE    ((WINDOW_TABLE_MASK >> WINDOW_TABLE_SHIFT) + 1)

#define PAGE_WRITABLE (1u << 31)

#define NOBODY        ((gpa_t)1) /* no page starts there */

struct granule {
    uint64_t key;   /* its number, + 1; 0: an empty place */
    uint32_t *page; /* numbers of the guest's physical pages, + 1, that are mapped; NULL: none */
    unsigned mapped;
    bool refused;
};

struct window {
    struct granule granule[GRANULES];
    unsigned granules;
    gpa_t owner;       /* page of its CR3, or NOBODY */
    const void *space; /* the TLBs that it follows */
    unsigned mapped;
    unsigned page_shift; /* the largest of the pages that pieces are mapped of */
    uint64_t writable[(1u << FILTER_BITS) / 64]; /* hashes of physical pages mapped for writing */
    struct {
        gva_t first, end;
    } pending[PENDING_MAX];
    unsigned pendings;
    bool pending_all;
    bool movable; /* a page was mapped that is not main RAM at its usual place */
    __typeof__(((struct cpu_bus *)0)->ram) ram; /* and where that was */
    bool bounded;                               /* what the owner may spend is */
    bool refused;                               /* a granule was, since the owner has it */

    gpa_t candidate;
    unsigned samples;
    uint64_t since, seen;  /* ns: when the owner got it, and ran last */
    uint64_t cost, judged; /* ns spent on it for the owner, and when that was last looked at */
    struct {
        gpa_t cr3;
        uint64_t until;
    } denied[DENIED];
    unsigned next_denied;
    uint64_t fills, failed, protects, drops, grants, losses, cost_all;
};

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* -- Granules -- */

/* Where the granule is, or would be. */
static struct granule *granule_place(struct window *w, uint64_t number)
{
    unsigned i = (unsigned)(number * 0x9e3779b97f4a7c15ull >> 51);
    while (w->granule[i].key && w->granule[i].key != number + 1)
        i = (i + 1) & (GRANULES - 1);
    return &w->granule[i];
}

static void *granule_start(uint64_t number)
{
    uint64_t start = number << WINDOW_GRANULE_BITS;
    return (void *)(uintptr_t)(start < LOWEST ? LOWEST : start); /* NOLINT: a guest's address */
}

/* The host has nothing at the last page of user addresses. */
static size_t granule_size(uint64_t number)
{
    size_t size = GRANULE_SIZE;
    if (number == 0)
        size -= LOWEST;
    return number == WINDOW_GRANULES - 1 ? size - 4096 : size;
}

#define NOTHING (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

static bool is_reserved(struct window *w, uint64_t number)
{
    struct granule *granule = granule_place(w, number);
    if (!granule->key && w->granules == GRANULES / 2)
        return false;
    if (!granule->key) {
        void *start = granule_start(number);
        size_t size = granule_size(number);
        void *at = mmap(start, size, PROT_NONE, NOTHING | MAP_FIXED_NOREPLACE, -1, 0);
        if (at != MAP_FAILED && at != start)
            munmap(at, size);
        *granule = (struct granule){.key = number + 1, .refused = at != start};
        w->granules++;
    }
    return !granule->refused;
}

bool window_open(struct cpu *cpu, gva_t gva)
{
    struct window *w = cpu->window;
    uint64_t number = gva >> WINDOW_GRANULE_BITS;
    if (number >= WINDOW_GRANULES)
        return false;
    if (is_reserved(w, number) && (number == 0 || is_reserved(w, number - 1)) &&
        (number == WINDOW_GRANULES - 1 || is_reserved(w, number + 1)) &&
        mprotect((void *)(WINDOW_TABLE + (number << (WINDOW_GRANULE_BITS - WINDOW_TABLE_SHIFT))),
                 4096, PROT_READ) == 0)
        return true;
    w->refused = true;
    return false;
}

/* -- Taking away -- */

static void unmap(gva_t first, uint64_t size)
{
    /* If there is no memory for this, the guest's pages would stay where they must not be. */
    if (mmap((void *)first, size, PROT_NONE, NOTHING | MAP_FIXED, -1, 0) == MAP_FAILED) {
        fprintf(stderr, "doppel: cannot take memory away from the guest: out of mappings\n");
        abort();
    }
}

static void drop_all(struct window *w)
{
    for (unsigned i = 0; i < GRANULES && w->granules; i++) {
        struct granule *granule = &w->granule[i];
        if (!granule->page)
            continue;
        unmap((gva_t)granule_start(granule->key - 1), granule_size(granule->key - 1));
        free(granule->page);
        granule->page = NULL;
        granule->mapped = 0;
        w->drops++;
    }
    w->mapped = 0;
    memset(w->writable, 0, sizeof w->writable);
    w->pendings = 0;
    w->pending_all = w->movable = false;
    w->page_shift = 12;
}

/* No granule is open any more; nothing of them is mapped. */
static void close_all(struct window *w)
{
    unmap(WINDOW_TABLE, TABLE_SIZE);
    for (unsigned i = 0; i < GRANULES; i++) {
        const struct granule *granule = &w->granule[i];
        if (granule->key && !granule->refused)
            munmap(granule_start(granule->key - 1), granule_size(granule->key - 1));
    }
    memset(w->granule, 0, sizeof w->granule);
    w->granules = 0;
}

void window_forget(struct cpu *cpu)
{
    drop_all(cpu->window);
}

/* The reserved granule of an address, or NULL. */
static struct granule *granule_of(struct window *w, gva_t gva)
{
    struct granule *granule = granule_place(w, gva >> WINDOW_GRANULE_BITS);
    return granule->key && !granule->refused ? granule : NULL;
}

/* What is mapped at an address, or NULL: nothing around it is. */
static uint32_t *page_of(struct window *w, gva_t gva)
{
    struct granule *granule = granule_of(w, gva);
    return granule && granule->page ? &granule->page[gva >> 12 & (PAGES - 1)] : NULL;
}

/* Drops what is mapped of a range that lies in one granule. */
static void drop(struct window *w, gva_t first, gva_t end)
{
    struct granule *granule = granule_of(w, first);
    gva_t from = 0;
    for (gva_t gva = first; granule && granule->page; gva += 4096) {
        uint32_t *page = &granule->page[gva >> 12 & (PAGES - 1)];
        bool mapped = gva < end && *page;
        if (mapped && !from)
            from = gva;
        if (!mapped && from) {
            unmap(from, gva - from);
            w->drops++;
            from = 0;
        }
        if (gva >= end)
            break;
        granule->mapped -= mapped;
        w->mapped -= mapped;
        *page = 0;
    }
}

void window_flush(struct window *w, const void *space)
{
    w->pending_all |= space == w->space && w->mapped;
}

void window_flush_page(struct window *w, const void *space, gva_t gva)
{
    if (space != w->space || w->pending_all || !w->mapped)
        return;
    unsigned shift = w->page_shift;
    const uint32_t *page = page_of(w, gva);
    if (shift <= WINDOW_GRANULE_BITS && (!page || (shift == 12 && !*page)))
        return;
    gva_t first = gva >> shift << shift, end = first + (1ull << shift);
    if (w->pendings && w->pending[w->pendings - 1].end == first &&
        first >> WINDOW_GRANULE_BITS == (first - 1) >> WINDOW_GRANULE_BITS)
        w->pending[w->pendings - 1].end = end;
    else if (w->pendings == PENDING_MAX || shift > WINDOW_GRANULE_BITS)
        w->pending_all = true;
    else
        w->pending[w->pendings++] = (typeof(w->pending[0])){first, end};
}

void window_moved(struct cpu *cpu)
{
    struct window *w = cpu->window;
    w->pending_all |= w->movable || memcmp(w->ram, cpu->bus->ram, sizeof w->ram) != 0;
    memcpy(w->ram, cpu->bus->ram, sizeof w->ram);
}

static uint64_t *filter_word(struct window *w, uint32_t page, uint64_t *bit)
{
    uint32_t hash = page * 0x9e3779b1u >> (32 - FILTER_BITS);
    *bit = 1ull << (hash & 63);
    return &w->writable[hash >> 6];
}

void window_protect(struct window *w, gpa_t gpa)
{
    uint64_t bit;
    uint32_t number = (uint32_t)(gpa >> 12) + 1;
    if (!(*filter_word(w, number, &bit) & bit))
        return;
    uint64_t start = now_ns();
    for (unsigned i = 0; i < GRANULES; i++) {
        const struct granule *granule = &w->granule[i];
        for (unsigned page = 0; granule->mapped && page < PAGES; page++)
            if (granule->page[page] == (number | PAGE_WRITABLE)) {
                gva_t gva = (granule->key - 1) << WINDOW_GRANULE_BITS | (gva_t)page << 12;
                drop(w, gva, gva + 4096);
            }
    }
    w->protects++;
    w->cost += now_ns() - start;
}

/* -- Mapping -- */

/* Would the soft TLB let the access hit? Only then may the page be mapped for it. */
static bool tlb_allows(const struct cpu *cpu, gva_t gva, bool write)
{
    return cpu->mmu[MMU_USER]->tag[write ? ACCESS_WRITE : ACCESS_READ][tlb_index(gva)] == gva;
}

/* Can this page of RAM, in the same large page as one that is being mapped, be mapped alike? */
static bool is_alike(const struct cpu *cpu, struct window *w, gva_t gva, gpa_t gpa, bool writable)
{
    return !*page_of(w, gva) && paging_is_plain(cpu, gpa) &&
           (!writable || !code_page_marked(cpu->code, gpa));
}

/* Counts pages that can be mapped with the one at gva, at most `limit`, each `step` bytes on. */
static unsigned count_alike(const struct cpu *cpu, gva_t gva, gpa_t gpa, bool writable,
                            int64_t step, unsigned limit)
{
    unsigned count = 0;
    while (count < limit && is_alike(cpu, cpu->window, gva + (uint64_t)step * (count + 1),
                                     gpa + (uint64_t)step * (count + 1), writable))
        count++;
    return count;
}

static void note_mapped(struct window *w, struct granule *granule, gva_t gva, gpa_t gpa,
                        bool writable)
{
    uint64_t bit;
    uint32_t number = (uint32_t)(gpa >> 12) + 1, *page = page_of(w, gva);
    uint64_t *word = filter_word(w, number, &bit);
    granule->mapped += !*page;
    w->mapped += !*page;
    *page = number | (writable ? PAGE_WRITABLE : 0);
    if (writable)
        *word |= bit;
}

/* Maps the page of RAM that the soft TLB has for gva, and of a large one what lies beside it. */
static bool map(struct cpu *cpu, gva_t gva, bool writable)
{
    struct window *w = cpu->window;
    const struct tlb *tlb = cpu->mmu[MMU_USER];
    const struct tlb_info *info = &tlb->info[tlb_index(gva)];
    size_t offset = tlb->host[tlb_index(gva)] - (uintptr_t)cpu->bus->ram_file.host;
    bool plain = paging_is_plain(cpu, info->gpa);
    unsigned before = 0, behind = 0;
    if (info->page_shift > 12 && plain) {
        unsigned place = (unsigned)(gva >> 12) & (CHUNK - 1);
        before = count_alike(cpu, gva, info->gpa, writable, -4096, place);
        behind = count_alike(cpu, gva, info->gpa, writable, 4096, CHUNK - 1 - place);
    }
    if (offset < before * 4096ull || offset >= cpu->bus->ram_file.size ||
        cpu->bus->ram_file.size - offset < (behind + 1) * 4096ull)
        return false;
    w->movable |= !plain;
    if (info->page_shift > w->page_shift)
        w->page_shift = info->page_shift;
    uint64_t back = before * 4096ull, size = back + (behind + 1) * 4096ull;
    struct granule *granule = granule_of(w, gva);
    if (mmap((void *)(gva - back), size, writable ? PROT_READ | PROT_WRITE : PROT_READ,
             MAP_SHARED | MAP_FIXED | MAP_POPULATE, cpu->bus->ram_file.fd,
             (off_t)(offset - back)) == MAP_FAILED) {
        drop_all(w); /* the host's limit is lower than ours */
        return false;
    }
    for (uint64_t at = 0; at < size; at += 4096)
        note_mapped(w, granule, gva - back + at, info->gpa - back + at, writable);
    return true;
}

static bool fill(struct cpu *cpu, gva_t gva, bool write)
{
    struct window *w = cpu->window;
    struct granule *granule = granule_of(w, gva);
    if (!granule || !(cpu->mode & MODE_WINDOW) || gva < LOWEST)
        return false;
    gva &= ~0xfffull;
    if (!paging_try(cpu, MMU_USER, gva, write ? ACCESS_WRITE : ACCESS_READ) ||
        !tlb_allows(cpu, gva, write))
        return false;
    if (w->mapped >= MAPPED_MAX)
        drop_all(w);
    if (!granule->page)
        granule->page = calloc(PAGES, sizeof *granule->page);
    return granule->page && map(cpu, gva, tlb_allows(cpu, gva, true));
}

bool window_fill(struct cpu *cpu, gva_t gva, bool write)
{
    struct window *w = cpu->window;
    uint64_t start = now_ns();
    bool filled = fill(cpu, gva, write);
    w->fills += filled;
    w->failed += !filled;
    w->cost += now_ns() - start + 2000; /* a signal's own */
    return filled;
}

/* -- Who has it -- */

static gpa_t cr3_page(const struct cpu *cpu)
{
    return cpu->cr3 & PHYSICAL_MASK & ~0xfffull;
}

void window_switch(struct cpu *cpu, const void *space, bool keep)
{
    struct window *w = cpu->window;
    if (!keep && w->candidate == cr3_page(cpu))
        w->samples = 0; /* it may be a new one */
    cpu->windowed = w->owner == cr3_page(cpu);
    if (cpu->windowed && w->space != space) {
        w->space = space;
        w->pending_all = true;
    }
}

static void give_to(struct cpu *cpu, gpa_t owner, const void *space)
{
    struct window *w = cpu->window;
    w->cost_all += w->cost;
    w->cost = w->judged = 0;
    w->refused = w->bounded = false;
    w->owner = owner;
    w->space = space;
    w->pending_all = true;
    w->since = now_ns();
    cpu->windowed = owner == cr3_page(cpu);
    cpu_update_mode(cpu);
}

static void deny(struct window *w, gpa_t cr3, uint64_t until)
{
    w->denied[w->next_denied].cr3 = cr3;
    w->denied[w->next_denied].until = until;
    w->next_denied = (w->next_denied + 1) % DENIED;
}

/* The current address space loses it, and does not get it before that time. */
static void take_from(struct cpu *cpu, uint64_t until)
{
    struct window *w = cpu->window;
    deny(w, cr3_page(cpu), until);
    w->losses++;
    give_to(cpu, NOBODY, NULL);
}

/* Takes the window from its owner, which runs, if that has cost too much or cannot be. */
static void judge(struct cpu *cpu, uint64_t now)
{
    struct window *w = cpu->window;
    uint64_t allowed =
        ALLOWED_NS + w->mapped * (uint64_t)ALLOWED_PAGE + (now - w->since) / ALLOWED_PART;
    w->judged = w->cost;
    if (w->refused || w->cost > allowed)
        take_from(cpu, now + (w->refused ? 10 : 1) * DENIED_NS);
}

void window_settle(struct cpu *cpu)
{
    struct window *w = cpu->window;
    if (!w->pendings && !w->pending_all && w->cost == w->judged)
        return;
    uint64_t start = now_ns();
    if (w->pending_all)
        drop_all(w);
    for (unsigned i = 0; i < w->pendings; i++)
        drop(w, w->pending[i].first, w->pending[i].end);
    w->pendings = 0;
    uint64_t now = now_ns();
    w->cost += now - start;
    if (cpu->windowed && w->bounded)
        judge(cpu, now);
}

static bool is_denied(const struct window *w, gpa_t cr3, uint64_t now)
{
    for (unsigned i = 0; i < DENIED; i++)
        if (w->denied[i].cr3 == cr3 && w->denied[i].until > now)
            return true;
    return false;
}

void window_give(struct cpu *cpu)
{
    if (!cpu->windowed)
        give_to(cpu, cr3_page(cpu), paging_space(cpu));
}

bool window_sample(struct cpu *cpu)
{
    struct window *w = cpu->window;
    gpa_t cr3 = cr3_page(cpu);
    uint64_t now = now_ns();
    if (cr3 == w->owner) {
        w->seen = now;
        judge(cpu, now);
        return false;
    }
    if (cr3 != w->candidate) {
        w->candidate = cr3;
        w->samples = 0;
    }
    if (++w->samples < SAMPLES || (w->owner != NOBODY && now - w->seen < IDLE_NS) ||
        !(cpu->mode & MODE_CODE64) || is_denied(w, cr3, now))
        return false;
    w->samples = 0;
    w->seen = now;
    w->grants++;
    window_give(cpu);
    w->bounded = true;
    if (w->granules <= CLOSE_AT)
        return false;
    drop_all(w);
    close_all(w);
    return true;
}

void window_print_stats(const struct cpu *cpu, FILE *out)
{
    const struct window *w = cpu->window;
    if (w)
        fprintf(out,
                "  memory window: given %llu times, taken %llu, %llu fills, %llu failed, "
                "%llu protected, %llu dropped, %llu us, %u granules\n",
                (unsigned long long)w->grants, (unsigned long long)w->losses,
                (unsigned long long)w->fills, (unsigned long long)w->failed,
                (unsigned long long)w->protects, (unsigned long long)w->drops,
                (unsigned long long)(w->cost + w->cost_all) / 1000, w->granules);
}

/* -- Life -- */

void window_create(struct cpu *cpu)
{
    void *table = (void *)(uintptr_t)WINDOW_TABLE; /* NOLINT: where a displacement reaches it */
    if (!cpu->bus->ram_file.size ||
        mmap(table, TABLE_SIZE, PROT_NONE, NOTHING | MAP_FIXED_NOREPLACE, -1, 0) != table)
        return;
    struct window *w = calloc(1, sizeof *w);
    if (!w) {
        munmap(table, TABLE_SIZE);
        return;
    }
    w->owner = NOBODY;
    w->page_shift = 12;
    memcpy(w->ram, cpu->bus->ram, sizeof w->ram);
    cpu->window = w;
}

void window_destroy(struct cpu *cpu)
{
    struct window *w = cpu->window;
    if (!w)
        return;
    drop_all(w);
    close_all(w);
    munmap((void *)(uintptr_t)WINDOW_TABLE, TABLE_SIZE);
    free(w);
    cpu->window = NULL;
    cpu->windowed = false;
}
