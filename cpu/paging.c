/*
 * Paging: page-table walks (Intel SDM 3A chapter 4) and the soft TLB.
 *
 * Address spaces. With PCIDs each of the last SPACES tagged address spaces keeps TLBs of its own: a
 * CR3 load that changes the PCID changes three pointers. Without PCIDs everything is PCID 0. Each
 * space has one TLB for each kind of right (enum mmu_index), so that a tag compare decides.
 *
 * Flushing costs what was filled: every TLB lists the slots that it filled since the last flush,
 * global and other pages apart; when a list overflows, the flush walks the whole table.
 *
 * Large pages are entered in 4 KiB pieces. INVLPG must drop all pieces: a set of the large pages
 * seen since the last flush tells whether a TLB needs to be searched at all.
 *
 * Not modelled: paging-structure caches (walks always read the tables), 5-level paging, protection
 * keys, memory types.
 */
#include "cpu/isa.h"
#include "cpu/log.h"
#include "cpu/system.h"
#include "cpu/window.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    PTE_P = 1 << 0,
    PTE_W = 1 << 1,
    PTE_U = 1 << 2,
    PTE_A = 1 << 5,
    PTE_D = 1 << 6,
    PTE_PS = 1 << 7,
    PTE_G = 1 << 8,
};
#define PTE_NX (1ull << 63)

enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

/* -- Data structures -- */

#define SPACES     8
#define LIST_SIZE  2048
#define WALK_CACHE 64
#define LARGE_SET  1024

/* Slots filled since the last flush. A slot may stand here twice; length > LIST_SIZE: overflow. */
struct slot_list {
    unsigned length;
    uint16_t slot[LIST_SIZE];
};

struct mmu_tlb {
    struct tlb tlb; /* first: struct cpu points here */
    struct slot_list plain, global;
    /* Large pages of which pieces were filled: 2 MiB numbers + 1 (a 4 MiB page stands twice), open
     * addressing, and a hash of 1 GiB numbers. More than half full: `large_many`. */
    uint64_t large[LARGE_SET];
    unsigned large_count;
    bool large_many;
    uint64_t huge;
};

struct space {
    unsigned pcid;
    uint64_t used;       /* time stamp of the last switch to it */
    struct mmu_tlb *mmu; /* MMU_COUNT of them; NULL until first used */
};

struct paging {
    struct space space[SPACES];
    struct space *current;
    uint64_t time;
    struct {
        gpa_t gpa;     /* page, or 1 when empty */
        uint8_t *host; /* page tables that were walked lately */
        bool log;      /* see struct bus_page */
    } walk_cache[WALK_CACHE];
    struct tlb watch;
};

static struct mmu_tlb *mmu_of(struct tlb *tlb)
{
    return (struct mmu_tlb *)tlb;
}

static void invalidate_slot(struct tlb *tlb, unsigned slot)
{
    if (tlb->tag[ACCESS_FETCH][slot] != TLB_INVALID(slot))
        tlb->code[slot] = 0;
    for (unsigned access = 0; access < ACCESS_COUNT; access++)
        tlb->tag[access][slot] = TLB_INVALID(slot);
}

/* Makes an empty TLB of zeros. */
static void clear_zeros(struct tlb *tlb)
{
    for (unsigned slot = 0; TLB_INVALID(slot); slot++)
        invalidate_slot(tlb, slot);
}

static bool slot_used(const struct tlb *tlb, unsigned slot)
{
    uint64_t invalid = TLB_INVALID(slot);
    return tlb->tag[ACCESS_READ][slot] != invalid || tlb->tag[ACCESS_WRITE][slot] != invalid ||
           tlb->tag[ACCESS_FETCH][slot] != invalid;
}

/* Page address of a used slot. */
static gva_t slot_page(const struct tlb *tlb, unsigned slot)
{
    unsigned access = ACCESS_READ;
    while (tlb->tag[access][slot] == TLB_INVALID(slot) && access < ACCESS_FETCH)
        access++;
    uint64_t tag = tlb->tag[access][slot];
    return (tag & ~((uint64_t)(TLB_ENTRIES - 1) << 12)) | (uint64_t)slot << 12;
}

/* -- Large pages -- */

static uint64_t huge_bit(gva_t gva)
{
    return 1ull << ((gva >> 30) * 0x9e3779b97f4a7c15ull >> 58);
}

/* Where the number of gva's 2 MiB page is in the set, or would be. */
static uint64_t *large_find(struct mmu_tlb *mmu, gva_t gva)
{
    uint64_t key = (gva >> 21) + 1;
    unsigned i = (unsigned)(key * 0x9e3779b97f4a7c15ull >> 54);
    while (mmu->large[i] && mmu->large[i] != key)
        i = (i + 1) & (LARGE_SET - 1);
    return &mmu->large[i];
}

static void large_note_half(struct mmu_tlb *mmu, gva_t gva)
{
    uint64_t *place = large_find(mmu, gva);
    if (*place || mmu->large_many)
        return;
    *place = (gva >> 21) + 1;
    mmu->large_many = ++mmu->large_count > LARGE_SET / 2;
}

static void large_note(struct mmu_tlb *mmu, gva_t gva, unsigned shift)
{
    if (shift == 30) {
        mmu->huge |= huge_bit(gva);
    } else if (shift > 12) {
        large_note_half(mmu, gva);
        if (shift == 22)
            large_note_half(mmu, gva ^ 1u << 21);
    }
}

static void large_clear(struct mmu_tlb *mmu)
{
    if (mmu->large_count)
        memset(mmu->large, 0, sizeof mmu->large);
    mmu->large_count = 0;
    mmu->large_many = false;
    mmu->huge = 0;
}

/* -- Flushing -- */

static void flush_list(struct mmu_tlb *mmu, struct slot_list *list, bool global)
{
    if (list->length > LIST_SIZE) {
        for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
            if (global == (bool)mmu->tlb.info[slot].global && slot_used(&mmu->tlb, slot))
                invalidate_slot(&mmu->tlb, slot);
    } else {
        for (unsigned i = 0; i < list->length; i++) {
            unsigned slot = list->slot[i];
            if (global == (bool)mmu->tlb.info[slot].global)
                invalidate_slot(&mmu->tlb, slot);
        }
    }
    list->length = 0;
}

static void flush_tlbs(struct space *space, bool globals_too)
{
    for (unsigned i = 0; space->mmu && i < MMU_COUNT; i++) {
        struct mmu_tlb *mmu = &space->mmu[i];
        flush_list(mmu, &mmu->plain, false);
        if (globals_too) {
            flush_list(mmu, &mmu->global, true);
            large_clear(mmu);
        }
    }
}

static void flush_space(struct cpu *cpu, struct space *space, bool globals_too)
{
    flush_tlbs(space, globals_too);
    if (cpu->window)
        window_flush(cpu->window, space);
}

static void clear_walk_cache(struct paging *paging)
{
    for (unsigned i = 0; i < WALK_CACHE; i++)
        paging->walk_cache[i].gpa = 1;
}

void tlb_flush_all(struct cpu *cpu)
{
    for (unsigned i = 0; i < SPACES; i++)
        flush_space(cpu, &cpu->paging->space[i], true);
    clear_walk_cache(cpu->paging);
}

void tlb_flush_moved(struct cpu *cpu)
{
    for (unsigned i = 0; i < SPACES; i++)
        flush_tlbs(&cpu->paging->space[i], true);
    clear_walk_cache(cpu->paging);
    if (cpu->window)
        window_moved(cpu);
}

void tlb_flush_nonglobal(struct cpu *cpu)
{
    flush_space(cpu, cpu->paging->current, false);
}

/* Drops every piece of a large page that holds gva, among `count` slots around its own. */
static void flush_large(struct mmu_tlb *mmu, gva_t gva, unsigned count)
{
    unsigned first = tlb_index(gva) & ~(count - 1);
    for (unsigned slot = first; slot < first + count; slot++) {
        unsigned shift = mmu->tlb.info[slot].page_shift;
        if (shift > 12 && slot_used(&mmu->tlb, slot) &&
            slot_page(&mmu->tlb, slot) >> shift == gva >> shift)
            invalidate_slot(&mmu->tlb, slot);
    }
}

static void flush_page_of(struct cpu *cpu, struct space *space, gva_t gva)
{
    unsigned slot = tlb_index(gva);
    if (cpu->window)
        window_flush_page(cpu->window, space, gva);
    for (unsigned i = 0; space->mmu && i < MMU_COUNT; i++) {
        struct mmu_tlb *mmu = &space->mmu[i];
        if (slot_used(&mmu->tlb, slot) && slot_page(&mmu->tlb, slot) >> 12 == gva >> 12)
            invalidate_slot(&mmu->tlb, slot);
        if (mmu->huge & huge_bit(gva))
            flush_large(mmu, gva, TLB_ENTRIES);
        else if (mmu->large_many || *large_find(mmu, gva))
            flush_large(mmu, gva, 1024); /* the slots of 4 MiB */
    }
}

void tlb_flush_page(struct cpu *cpu, gva_t gva)
{
    /* In every space: the page may be global, and dropping more than needed is allowed. */
    for (unsigned i = 0; i < SPACES; i++)
        flush_page_of(cpu, &cpu->paging->space[i], gva);
}

void paging_invalidate_pcid_page(struct cpu *cpu, unsigned pcid, gva_t gva)
{
    for (unsigned i = 0; i < SPACES; i++)
        if (cpu->paging->space[i].pcid == pcid)
            flush_page_of(cpu, &cpu->paging->space[i], gva);
}

void paging_invalidate_pcid(struct cpu *cpu, unsigned pcid)
{
    for (unsigned i = 0; i < SPACES; i++)
        if (cpu->paging->space[i].pcid == pcid)
            flush_space(cpu, &cpu->paging->space[i], false);
}

void paging_invalidate_all_nonglobal(struct cpu *cpu)
{
    for (unsigned i = 0; i < SPACES; i++)
        flush_space(cpu, &cpu->paging->space[i], false);
}

static void protect_slot(struct tlb *tlb, unsigned slot, gpa_t page)
{
    uint64_t *tag = &tlb->tag[ACCESS_WRITE][slot];
    if (tlb->info[slot].gpa == page && *tag != TLB_INVALID(slot) && tlb_index(*tag) == slot)
        *tag ^= TLB_SLOW;
}

static void protect_list(struct tlb *tlb, const struct slot_list *list, gpa_t page)
{
    if (list->length > LIST_SIZE)
        for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
            protect_slot(tlb, slot, page);
    else
        for (unsigned i = 0; i < list->length; i++)
            protect_slot(tlb, list->slot[i], page);
}

void tlb_protect_page(struct cpu *cpu, gpa_t gpa)
{
    gpa_t page = gpa & ~0xfffull;
    if (cpu->window)
        window_protect(cpu->window, page);
    for (unsigned i = 0; i < SPACES; i++) {
        struct mmu_tlb *mmu = cpu->paging->space[i].mmu;
        for (unsigned j = 0; mmu && j < MMU_COUNT; j++) {
            protect_list(&mmu[j].tlb, &mmu[j].plain, page);
            protect_list(&mmu[j].tlb, &mmu[j].global, page);
        }
    }
}

/* -- Address spaces -- */

/* Memory of a space's TLBs is taken when the space is first used. */
static bool space_allocate(struct space *space)
{
    void *memory = mmap(NULL, MMU_COUNT * sizeof(struct mmu_tlb), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    space->mmu = memory;
    for (unsigned i = 0; i < MMU_COUNT; i++)
        clear_zeros(&space->mmu[i].tlb);
    return true;
}

/* The space of a PCID, or the one that was not used for longest, emptied. */
static struct space *space_find(struct cpu *cpu, unsigned pcid)
{
    struct paging *paging = cpu->paging;
    struct space *oldest = &paging->space[0];
    for (unsigned i = 0; i < SPACES; i++) {
        struct space *space = &paging->space[i];
        if (space->mmu && space->pcid == pcid)
            return space;
        if (space->used < oldest->used)
            oldest = space;
    }
    if (!oldest->mmu && !space_allocate(oldest))
        oldest = paging->current; /* no memory: share, flushed below */
    flush_space(cpu, oldest, true);
    oldest->pcid = pcid;
    return oldest;
}

void paging_switch(struct cpu *cpu, bool keep)
{
    struct paging *paging = cpu->paging;
    unsigned pcid = cpu->cr4 & CR4_PCIDE ? cpu->cr3 & 0xfff : 0;
    if (paging->current->pcid != pcid) {
        paging->current = space_find(cpu, pcid);
        for (unsigned i = 0; i < MMU_COUNT; i++)
            cpu->mmu[i] = &paging->current->mmu[i].tlb;
        if (cpu->tlb != cpu->watch)
            cpu->tlb = cpu->mmu[cpu_mmu(cpu)];
    }
    paging->current->used = ++paging->time;
    if (!keep)
        flush_space(cpu, paging->current, false);
    if (cpu->window)
        window_switch(cpu, paging->current, keep);
}

bool paging_create(struct cpu *cpu, struct error *error)
{
    struct paging *paging = calloc(1, sizeof *paging);
    if (!paging || !space_allocate(&paging->space[0])) {
        free(paging);
        return error_set(error, "cannot allocate a processor's TLB: out of memory");
    }
    paging->current = &paging->space[0];
    clear_zeros(&paging->watch);
    clear_walk_cache(paging);
    cpu->paging = paging;
    cpu->watch = &paging->watch;
    for (unsigned i = 0; i < MMU_COUNT; i++)
        cpu->mmu[i] = &paging->space[0].mmu[i].tlb;
    cpu->tlb = cpu->mmu[MMU_KERNEL];
    return true;
}

void paging_destroy(struct cpu *cpu)
{
    struct paging *paging = cpu->paging;
    if (!paging)
        return;
    for (unsigned i = 0; i < SPACES; i++)
        if (paging->space[i].mmu)
            munmap(paging->space[i].mmu, MMU_COUNT * sizeof(struct mmu_tlb));
    free(paging);
    cpu->paging = NULL;
}

/* -- Page-table entries -- */

/* Host address in main RAM at its usual place, or NULL. */
static inline uint8_t *plain_ram(const struct cpu *cpu, gpa_t gpa)
{
    for (unsigned i = 0; i < CPU_BUS_RAM; i++)
        if (gpa - cpu->bus->ram[i].first < cpu->bus->ram[i].end - cpu->bus->ram[i].first)
            return cpu->bus->ram[i].host + gpa;
    return NULL;
}

/* The same, for one after the other: `range` says which had the last. */
static inline uint8_t *plain_ram_near(const struct cpu *cpu, gpa_t gpa, unsigned *range)
{
    const struct cpu_bus *bus = cpu->bus;
    if (gpa - bus->ram[*range].first >= bus->ram[*range].end - bus->ram[*range].first) {
        *range = 0;
        while (gpa - bus->ram[*range].first >= bus->ram[*range].end - bus->ram[*range].first)
            if (++*range == CPU_BUS_RAM)
                return NULL;
    }
    return bus->ram[*range].host + gpa;
}

static struct bus_page page_behind(struct cpu *cpu, gpa_t page)
{
    uint8_t *plain = plain_ram(cpu, page);
    if (plain)
        return (struct bus_page){plain, true, false};
    return cpu->bus->page(cpu->bus->opaque, cpu, page);
}

/* Host address of a page-table entry; NULL if it is not in RAM. */
static uint8_t *table_host(struct cpu *cpu, gpa_t gpa, bool *log)
{
    struct paging *paging = cpu->paging;
    gpa_t page = gpa & ~0xfffull;
    unsigned slot = (page >> 12 ^ page >> 18) & (WALK_CACHE - 1);
    if (paging->walk_cache[slot].gpa != page) {
        struct bus_page found = page_behind(cpu, page);
        if (!found.host || !found.writable)
            return NULL;
        paging->walk_cache[slot].gpa = page;
        paging->walk_cache[slot].host = found.host;
        paging->walk_cache[slot].log = found.log_dirty;
    }
    *log = paging->walk_cache[slot].log;
    return paging->walk_cache[slot].host + (gpa & 0xfff);
}

static uint64_t entry_read(struct cpu *cpu, gpa_t gpa, unsigned size)
{
    bool log;
    uint8_t *host = table_host(cpu, gpa, &log);
    if (!host) {
        struct bus_page rom = cpu->bus->page(cpu->bus->opaque, cpu, gpa & ~0xfffull);
        if (!rom.host)
            return cpu->bus->mem_read(cpu->bus->opaque, cpu, gpa, size);
        host = rom.host + (gpa & 0xfff);
    }
    if (size == 8)
        return __atomic_load_n((uint64_t *)(void *)host, __ATOMIC_RELAXED);
    return __atomic_load_n((uint32_t *)(void *)host, __ATOMIC_RELAXED);
}

/* Sets A/D bits if the entry is still what the walk read; false: walk again. */
static bool entry_set_bits(struct cpu *cpu, gpa_t gpa, unsigned size, uint64_t old, uint32_t bits)
{
    bool log;
    uint8_t *host = table_host(cpu, gpa, &log);
    if (!host) { /* in ROM or a device: nobody else writes it concurrently */
        cpu->bus->mem_write(cpu->bus->opaque, cpu, gpa, old | bits, size);
        return true;
    }
    bool done;
    if (size == 8) {
        done = __atomic_compare_exchange_n((uint64_t *)(void *)host, &old, old | bits, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    } else {
        uint32_t old32 = (uint32_t)old;
        done = __atomic_compare_exchange_n((uint32_t *)(void *)host, &old32, old32 | bits, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    }
    if (done) {
        code_written(cpu->code, gpa, size);
        if (log)
            cpu->bus->note_write(cpu->bus->opaque, gpa, size);
    }
    return done;
}

/* -- The walk -- */

struct walk {
    gpa_t gpa; /* of the 4 KiB piece */
    unsigned page_shift;
    bool user, writable, executable, global, dirty;
    /* Entries used, leaf last, for setting A and D. */
    unsigned count;
    struct {
        gpa_t gpa;
        uint64_t value;
    } step[4];
};

enum walk_result { WALK_OK, WALK_ABSENT, WALK_RESERVED };

static void use_entry(struct walk *walk, gpa_t gpa, uint64_t entry)
{
    walk->step[walk->count].gpa = gpa;
    walk->step[walk->count].value = entry;
    walk->count++;
    walk->user &= (entry & PTE_U) != 0;
    walk->writable &= (entry & PTE_W) != 0;
}

static void use_leaf(struct cpu *cpu, struct walk *walk, uint64_t entry, unsigned shift,
                     uint64_t frame, gva_t gva)
{
    walk->page_shift = shift;
    walk->gpa = frame | (gva & ((1ull << shift) - 1) & ~0xfffull);
    walk->gpa &= ~cpu->bus->blocked_address_bits;
    walk->dirty = entry & PTE_D;
    walk->global = entry & PTE_G && cpu->cr4 & CR4_PGE;
}

/* Two levels of 4-byte entries. */
static enum walk_result walk_32(struct cpu *cpu, gva_t gva, struct walk *walk)
{
    gpa_t gpa = (cpu->cr3 & 0xfffff000) + (gva >> 22 & 0x3ff) * 4;
    uint64_t entry = entry_read(cpu, gpa, 4);
    if (!(entry & PTE_P))
        return WALK_ABSENT;
    use_entry(walk, gpa, entry);
    if (entry & PTE_PS && cpu->cr4 & CR4_PSE) {
        /* PSE-36: bits 13-20 are address bits 32-39. */
        bool pse36 = feature_test(cpu->features, FEATURE_PSE36);
        if (entry & (pse36 ? 0x200000 : 0x3fe000))
            return WALK_RESERVED;
        uint64_t frame = (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32;
        use_leaf(cpu, walk, entry, 22, frame, gva);
        return WALK_OK;
    }
    gpa = (entry & 0xfffff000) + (gva >> 12 & 0x3ff) * 4;
    entry = entry_read(cpu, gpa, 4);
    if (!(entry & PTE_P))
        return WALK_ABSENT;
    use_entry(walk, gpa, entry);
    use_leaf(cpu, walk, entry, 12, entry & 0xfffff000, gva);
    return WALK_OK;
}

/* The levels of 8-byte entries below `table`, from the one that bit `shift` of gva selects. */
static enum walk_result walk_64(struct cpu *cpu, gva_t gva, struct walk *walk, gpa_t table,
                                unsigned shift)
{
    uint64_t reserved = 0x000fffffffffffffull & ~PHYSICAL_MASK;
    if (!is_long(cpu))
        reserved |= 0x7ff0000000000000ull;
    if (!(cpu->efer & EFER_NXE))
        reserved |= PTE_NX;

    for (;; shift -= 9) {
        gpa_t gpa = table + (gva >> shift & 0x1ff) * 8;
        uint64_t entry = entry_read(cpu, gpa, 8);
        if (!(entry & PTE_P))
            return WALK_ABSENT;
        uint64_t frame = entry & PHYSICAL_MASK & ~0xfffull;
        bool leaf = shift == 12;
        if (shift > 12 && entry & PTE_PS) {
            if (shift == 39 || (shift == 30 && !feature_test(cpu->features, FEATURE_PAGE1GB)))
                return WALK_RESERVED;
            /* Bit 12 is PAT; the rest below the frame is reserved. */
            uint64_t low = (1ull << shift) - 1;
            if (frame & low & ~0x1000ull)
                return WALK_RESERVED;
            frame &= ~low;
            leaf = true;
        }
        if (entry & reserved)
            return WALK_RESERVED;
        use_entry(walk, gpa, entry);
        if (entry & PTE_NX)
            walk->executable = false;
        if (leaf) {
            use_leaf(cpu, walk, entry, shift, frame, gva);
            return WALK_OK;
        }
        table = frame;
    }
}

static enum walk_result walk_tables(struct cpu *cpu, gva_t gva, struct walk *walk)
{
    *walk = (struct walk){.user = true, .writable = true, .executable = true};
    if (!(cpu->cr0 & CR0_PG)) {
        walk->gpa = gva & ~0xfffull & ~cpu->bus->blocked_address_bits;
        walk->page_shift = 12;
        walk->dirty = true;
        return WALK_OK;
    }
    if (!(cpu->cr4 & CR4_PAE))
        return walk_32(cpu, gva, walk);
    if (is_long(cpu))
        return walk_64(cpu, gva, walk, cpu->cr3 & PHYSICAL_MASK & ~0xfffull, 39);
    uint64_t pdpte = cpu->pdpte[gva >> 30 & 3];
    if (!(pdpte & PTE_P))
        return WALK_ABSENT;
    return walk_64(cpu, gva, walk, pdpte & PHYSICAL_MASK & ~0xfffull, 21);
}

bool paging_load_pdptes(struct cpu *cpu, uint64_t cr3)
{
    uint64_t pdpte[4];
    for (unsigned i = 0; i < 4; i++) {
        pdpte[i] = entry_read(cpu, (cr3 & 0xffffffe0) + i * 8, 8);
        if (pdpte[i] & PTE_P && pdpte[i] & (~PHYSICAL_MASK | 0x1e6))
            return false;
    }
    memcpy(cpu->pdpte, pdpte, sizeof pdpte);
    return true;
}

/* -- Rights and TLB fill -- */

static bool allows(const struct cpu *cpu, const struct walk *walk, enum mmu_index mmu,
                   enum access access)
{
    if (!(cpu->cr0 & CR0_PG))
        return true;
    if (mmu == MMU_USER) {
        if (!walk->user)
            return false;
    } else if (walk->user) {
        if (access == ACCESS_FETCH ? cpu->cr4 & CR4_SMEP : mmu == MMU_KERNEL_SMAP)
            return false;
    }
    if (access == ACCESS_WRITE)
        return walk->writable || (mmu != MMU_USER && !(cpu->cr0 & CR0_WP));
    return access == ACCESS_READ || walk->executable;
}

static _Noreturn void raise_page_fault(struct cpu *cpu, enum mmu_index mmu, gva_t gva,
                                       enum access access, enum walk_result result)
{
    uint32_t error = result == WALK_ABSENT ? 0 : result == WALK_RESERVED ? PF_P | PF_RSVD : PF_P;
    if (access == ACCESS_WRITE)
        error |= PF_W;
    if (mmu == MMU_USER)
        error |= PF_U;
    bool nx = cpu->cr4 & CR4_PAE && cpu->efer & EFER_NXE;
    if (access == ACCESS_FETCH && (nx || cpu->cr4 & CR4_SMEP))
        error |= PF_I;
    cpu_raise_page_fault(cpu, gva, error);
}

/* Sets the A bits on the way and, for a write, D of the leaf. False: the tables changed meanwhile.
 */
static bool set_accessed(struct cpu *cpu, struct walk *walk, enum access access)
{
    unsigned size = cpu->cr4 & CR4_PAE ? 8 : 4;
    for (unsigned i = 0; i < walk->count; i++) {
        uint32_t bits = PTE_A;
        if (i == walk->count - 1 && access == ACCESS_WRITE)
            bits |= PTE_D;
        uint64_t old = walk->step[i].value;
        if ((old & bits) != bits && !entry_set_bits(cpu, walk->step[i].gpa, size, old, bits))
            return false;
    }
    if (access == ACCESS_WRITE)
        walk->dirty = true;
    return true;
}

static void note_slot(struct mmu_tlb *mmu, unsigned slot, bool global)
{
    struct slot_list *list = global ? &mmu->global : &mmu->plain;
    if (slot_used(&mmu->tlb, slot) && (bool)mmu->tlb.info[slot].global == global)
        return; /* stands in the list already */
    if (list->length < LIST_SIZE)
        list->slot[list->length++] = (uint16_t)slot;
    else
        list->length = LIST_SIZE + 1;
}

static void fill(struct cpu *cpu, enum mmu_index index, gva_t gva, const struct walk *walk,
                 struct bus_page backing)
{
    struct mmu_tlb *mmu = mmu_of(cpu->mmu[index]);
    struct tlb *tlb = &mmu->tlb;
    unsigned slot = tlb_index(gva);
    gva_t page = gva & ~0xfffull;

    note_slot(mmu, slot, walk->global);
    large_note(mmu, gva, walk->page_shift);
    tlb->info[slot] = (struct tlb_info){
        .gpa = walk->gpa,
        .host = backing.host != NULL,
        .rom = !backing.writable,
        .global = walk->global,
        .page_shift = (uint8_t)walk->page_shift,
        .dirty = walk->dirty,
        .log = backing.log_dirty,
    };
    bool slow_write = !backing.writable || !walk->dirty || backing.log_dirty ||
                      code_page_marked(cpu->code, walk->gpa);
    uint64_t invalid = TLB_INVALID(slot), device = backing.host ? 0 : TLB_SLOW;
    uint64_t fetch = allows(cpu, walk, index, ACCESS_FETCH) ? page ^ device : invalid;
    if (fetch != invalid || tlb->tag[ACCESS_FETCH][slot] != invalid)
        tlb->code[slot] = fetch == page ? tlb_code(page, backing.host) : 0;
    tlb->tag[ACCESS_READ][slot] = allows(cpu, walk, index, ACCESS_READ) ? page ^ device : invalid;
    tlb->tag[ACCESS_FETCH][slot] = fetch;
    tlb->tag[ACCESS_WRITE][slot] = !allows(cpu, walk, index, ACCESS_WRITE) ? invalid
                                   : !backing.host || slow_write           ? page ^ TLB_SLOW
                                                                           : page;
    tlb->host[slot] = (uintptr_t)backing.host;
}

/* Lets the slot of gva allow the access, if it is `allowed`; else the result says why it is not. */
static enum walk_result resolve(struct cpu *cpu, enum mmu_index mmu, gva_t gva, enum access access,
                                bool *allowed)
{
    unsigned slot = tlb_index(gva);
    uint64_t tag = cpu->mmu[mmu]->tag[access][slot];
    struct tlb_info *info = &cpu->mmu[mmu]->info[slot];
    gva_t page = gva & ~0xfffull;

    *allowed = true;
    if (tag == page || (tag == (page ^ TLB_SLOW) && (access != ACCESS_WRITE || info->dirty)))
        return WALK_OK;

    struct walk walk;
    do {
        enum walk_result result = walk_tables(cpu, gva, &walk);
        *allowed = result == WALK_OK && allows(cpu, &walk, mmu, access);
        if (!*allowed) {
            /* A stale entry with other rights must not outlive the fault. */
            if (slot_used(cpu->mmu[mmu], slot) && slot_page(cpu->mmu[mmu], slot) == page)
                flush_page_of(cpu, cpu->paging->current, gva);
            return result;
        }
    } while (!set_accessed(cpu, &walk, access));
    fill(cpu, mmu, gva, &walk, page_behind(cpu, walk.gpa));
    return WALK_OK;
}

struct tlb_info *paging_resolve(struct cpu *cpu, enum mmu_index mmu, gva_t gva, enum access access)
{
    bool allowed;
    enum walk_result result = resolve(cpu, mmu, gva, access, &allowed);
    if (!allowed)
        raise_page_fault(cpu, mmu, gva, access, result);
    return &cpu->mmu[mmu]->info[tlb_index(gva)];
}

struct tlb_info *paging_try(struct cpu *cpu, enum mmu_index mmu, gva_t gva, enum access access)
{
    bool allowed;
    resolve(cpu, mmu, gva, access, &allowed);
    return allowed ? &cpu->mmu[mmu]->info[tlb_index(gva)] : NULL;
}

bool paging_is_plain(const struct cpu *cpu, gpa_t gpa)
{
    return plain_ram(cpu, gpa) != NULL;
}

const void *paging_space(const struct cpu *cpu)
{
    return cpu->paging->current;
}

/* -- Refill without faults -- */

/*
 * The walk that nearly every TLB miss needs: tables in main RAM, present, accessed (and dirty, for
 * a write) already, no reserved bits. Anything else returns false and is for paging_resolve().
 */
static inline bool quick_levels(const struct cpu *cpu, gva_t gva, enum access access,
                                struct walk *walk, bool four_level)
{
    unsigned entry_size = four_level ? 8 : 4, bits = four_level ? 9 : 10;
    uint64_t frames = four_level ? PHYSICAL_MASK & ~0xfffull : 0xfffff000;
    uint64_t reserved = four_level ? ~PHYSICAL_MASK & ~PTE_NX : 0;
    if (!(cpu->efer & EFER_NXE))
        reserved |= PTE_NX;

    gpa_t table = cpu->cr3 & frames;
    unsigned range = 0;
    uint64_t rights = ~0ull; /* those of all levels, PTE_NX the other way round */
    for (unsigned shift = four_level ? 39 : 22;; shift -= bits) {
        const uint8_t *host =
            plain_ram_near(cpu, table + (gva >> shift & ((1u << bits) - 1)) * entry_size, &range);
        if (!host)
            return false;
        uint64_t entry =
            four_level ? __atomic_load_n((const uint64_t *)(const void *)host, __ATOMIC_RELAXED)
                       : __atomic_load_n((const uint32_t *)(const void *)host, __ATOMIC_RELAXED);
        if ((entry & (PTE_P | PTE_A | reserved)) != (PTE_P | PTE_A))
            return false;
        rights &= entry ^ PTE_NX;
        gpa_t frame = entry & frames;
        bool large = shift > 12 && entry & PTE_PS && (four_level || cpu->cr4 & CR4_PSE);
        if (large && frame & ((1ull << shift) - 1)) /* PAT, PSE-36, reserved */
            return false;
        if (large &&
            (shift == 39 || (shift == 30 && !feature_test(cpu->features, FEATURE_PAGE1GB))))
            return false;
        if (shift == 12 || large) {
            walk->page_shift = shift;
            walk->gpa = frame | (gva & ((1ull << shift) - 1) & ~0xfffull);
            walk->user = rights & PTE_U;
            walk->writable = rights & PTE_W;
            walk->executable = rights & PTE_NX;
            walk->dirty = entry & PTE_D;
            walk->global = entry & PTE_G && cpu->cr4 & CR4_PGE;
            return walk->dirty || access != ACCESS_WRITE;
        }
        table = frame;
    }
}

static bool quick_walk(const struct cpu *cpu, gva_t gva, enum access access, struct walk *walk)
{
    if (!(cpu->mode & MODE_PAGING) || !is_canonical(gva))
        return false;
    if (cpu->mode & MODE_LONG)
        return quick_levels(cpu, gva, access, walk, true);
    return !(cpu->cr4 & CR4_PAE) && quick_levels(cpu, gva, access, walk, false);
}

bool paging_refill(struct cpu *cpu, gva_t gva, enum access access)
{
    enum mmu_index mmu = cpu_mmu(cpu);
    gva_t page = gva & ~0xfffull;
    const uint64_t *place = &cpu->tlb->tag[access][tlb_index(gva)];
    struct walk walk;
    uint64_t tag = *place;

    if (tag == page || tag == (page ^ TLB_SLOW) || cpu->tlb != cpu->mmu[mmu] ||
        !quick_walk(cpu, gva, access, &walk) || !allows(cpu, &walk, mmu, access))
        return false;
    uint8_t *host = plain_ram(cpu, walk.gpa);
    if (!host)
        return false;
    fill(cpu, mmu, gva, &walk, (struct bus_page){host, true, false});
    return *place == page;
}

bool paging_translate(struct cpu *cpu, gva_t gva, gpa_t *gpa)
{
    struct walk walk;
    if (walk_tables(cpu, gva, &walk) != WALK_OK)
        return false;
    *gpa = walk.gpa | (gva & 0xfff);
    return true;
}
