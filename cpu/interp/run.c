/*
 * The interpreter's loop and its cache of decoded blocks.
 *
 * A block is a run of decoded instructions, found by the physical address of its first byte and the
 * part of the mode that decoding depends on. It ends after an instruction with the attribute END or
 * a repeated string instruction, before an instruction that would leave the page, or at BLOCK_MAX.
 * A first instruction that crosses into the next page makes a block of its own, which also
 * remembers where that second page was.
 *
 * Stores into decoded code arrive through code_listen(): blocks that overlap are unlinked. If one
 * of them is being executed, its end moves to the current instruction. Writes by other threads are
 * queued and taken up when the loop starts again (EVENT_FLUSH_CODE).
 *
 * Blocks lie in a ring, one behind the other, and are found by their place: how much had been
 * written when they were. A place that the ring has written over since is dead, which a comparison
 * tells. Lists begin with their newest block, so behind a dead one all are: nothing has to be taken
 * out of lists to make room.
 */
#include "cpu/interp/interp.h"

#include "cpu/decode.h"
#include "cpu/log.h"
#include "cpu/system.h"

#include <endian.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCK_MAX        32
#define TABLE_BITS       16
#define TABLE_SIZE       (1u << TABLE_BITS)
#define RING_SIZE        (16u << 20)
#define RING_SIZE_BESIDE (4u << 20) /* beside an engine that leaves it what runs seldom */
#define QUEUE_SIZE       64

#define NO_PAGE          (~0ull)
/* Mode bits that change how bytes decode. */
#define DECODE_MODE (MODE_CODE32 | MODE_CODE64 | MODE_PROTECTED)

/* Units of UNIT bytes that were written to the ring before; 0: none, as dead as what was
 * overwritten. */
typedef uint32_t place;

struct block {
    gpa_t gpa;         /* of the first byte */
    gpa_t second_page; /* of the page that the only instruction extends to, or NO_PAGE */
    uint32_t mode;     /* & DECODE_MODE */
    uint16_t bytes;
    uint16_t count;     /* 0: dropped */
    place next;         /* in the same slot of the table */
    place page_next[2]; /* in the lists of the pages that its bytes come from */
    struct insn insn[]; /* and behind them the bytes, unless there is a second page */
};

#define UNIT 32
#define BLOCK_UNITS(count, bytes)                                                                  \
    ((sizeof(struct block) + (count) * sizeof(struct insn) + (bytes) + UNIT - 1) / UNIT)
/* Kept free for the block being made. */
#define ROOM BLOCK_UNITS(BLOCK_MAX, (BLOCK_MAX + 1) * INSN_MAX_LENGTH)

struct interp {
    place table[TABLE_SIZE];
    place page[TABLE_SIZE];
    uint8_t *ring;
    uint32_t units;  /* of the ring, a power of two */
    place end_place; /* of the newest block's end */
    uint64_t blocks;

    struct block *current;    /* being executed */
    const struct insn *first; /* its first instruction, until its instructions are counted */
    const struct insn *end;   /* where execution of it stops */
    bool drop_pending;        /* drop_all was asked for while a block was executed */
    struct {
        place block; /* where interp_decode_at() is likely to find the next instruction */
        uint16_t index, offset; /* of it and of its bytes */
        gpa_t inside;           /* no block will begin there */
    } next;

    pthread_t thread;
    pthread_mutex_t lock; /* guards the queue */
    struct {
        gpa_t gpa;
        uint64_t size;
    } queue[QUEUE_SIZE];
    _Atomic unsigned queued; /* > QUEUE_SIZE: overflow, drop everything */
    struct cpu *cpu;
};

/* -- The cache -- */

static unsigned table_slot(gpa_t gpa, uint32_t mode)
{
    return (unsigned)(gpa ^ gpa >> TABLE_BITS ^ mode << 5) & (TABLE_SIZE - 1);
}

static unsigned page_slot(gpa_t gpa)
{
    return (unsigned)(gpa >> 12 ^ gpa >> 27) & (TABLE_SIZE - 1);
}

/* The block at a place of a list, NULL where the list ends. */
static inline struct block *block_at(const struct interp *interp, place at)
{
    if (interp->end_place - at > interp->units - ROOM)
        return NULL;
    return (struct block *)(void *)(interp->ring + (size_t)(at & (interp->units - 1)) * UNIT);
}

static void drop_all(struct interp *interp)
{
    memset(interp->table, 0, sizeof interp->table);
    memset(interp->page, 0, sizeof interp->page);
    interp->end_place = interp->units; /* place 0 is dead */
    interp->next.block = 0;
    interp->drop_pending = false;
}

static void drop_block(struct interp *interp, struct block *block)
{
    place *at = &interp->table[table_slot(block->gpa, block->mode)];
    for (struct block *other; (other = block_at(interp, *at)); at = &other->next) {
        if (other == block) {
            *at = block->next;
            break;
        }
    }
    block->count = 0;
    if (block == interp->current)
        interp->end = interp->cpu->insn + 1;
}

/* Does it overlap a range within one page? */
static bool block_overlaps(const struct block *block, gpa_t gpa, uint64_t size)
{
    if (block->second_page == NO_PAGE)
        return block->gpa < gpa + size && block->gpa + block->bytes > gpa;
    if (gpa >> 12 == block->gpa >> 12) /* two pieces: rare, so of the second any byte will do */
        return gpa + size > block->gpa;
    return gpa >> 12 == block->second_page >> 12;
}

/* Where a list of a page goes on. A block stands but once in a list that both its pages share. */
static place *page_next(struct block *block, unsigned slot)
{
    return &block->page_next[page_slot(block->gpa) != slot];
}

/* Drops the blocks that overlap a range within one page. */
static void drop_range(struct interp *interp, gpa_t gpa, uint64_t size)
{
    unsigned slot = page_slot(gpa);
    place *at = &interp->page[slot];
    for (struct block *block; (block = block_at(interp, *at));) {
        place *next = page_next(block, slot);
        if (block->count && block_overlaps(block, gpa, size))
            drop_block(interp, block);
        if (!block->count)
            *at = *next;
        else
            at = next;
    }
}

static void on_written(void *opaque, gpa_t gpa, uint64_t size)
{
    struct interp *interp = opaque;
    if (pthread_equal(pthread_self(), interp->thread)) {
        drop_range(interp, gpa, size);
        return;
    }
    pthread_mutex_lock(&interp->lock);
    if (interp->queued < QUEUE_SIZE) {
        interp->queue[interp->queued].gpa = gpa;
        interp->queue[interp->queued++].size = size;
    } else {
        interp->queued = QUEUE_SIZE + 1;
    }
    pthread_mutex_unlock(&interp->lock);
    cpu_post(interp->cpu, EVENT_FLUSH_CODE);
}

static void on_drop_all(void *opaque)
{
    struct interp *interp = opaque;
    if (pthread_equal(pthread_self(), interp->thread)) {
        interp->drop_pending = true;
        if (interp->current)
            interp->end = interp->cpu->insn + 1;
        return;
    }
    pthread_mutex_lock(&interp->lock);
    interp->queued = QUEUE_SIZE + 1;
    pthread_mutex_unlock(&interp->lock);
    cpu_post(interp->cpu, EVENT_FLUSH_CODE);
}

/* Takes up, between blocks, what other threads wrote and a drop that had to wait. */
__attribute__((noinline)) static void settle(struct interp *interp)
{
    pthread_mutex_lock(&interp->lock);
    if (interp->queued > QUEUE_SIZE)
        interp->drop_pending = true;
    else
        for (unsigned i = 0; i < interp->queued; i++)
            drop_range(interp, interp->queue[i].gpa, interp->queue[i].size);
    interp->queued = 0;
    pthread_mutex_unlock(&interp->lock);
    if (interp->drop_pending)
        drop_all(interp);
}

/* -- Fetch and decode -- */

/* Bytes of the code segment from rip on, at most 4096; raises #GP beyond its limit. */
static uint64_t bytes_to_limit(struct cpu *cpu)
{
    if (cpu->mode & MODE_CODE64)
        return 4096;
    uint32_t limit = cpu->seg[SEG_CS].limit;
    if (limit == 0xffffffff) {
        cpu->rip = (uint32_t)cpu->rip;
        return 4096; /* wraps at 4 GiB */
    }
    if (cpu->rip > limit)
        cpu_raise_gp(cpu, 0);
    uint64_t left = (uint64_t)limit - cpu->rip + 1;
    return left < 4096 ? left : 4096;
}

static gva_t code_linear(const struct cpu *cpu)
{
    if (cpu->mode & MODE_CODE64)
        return cpu->rip;
    return (uint32_t)(cpu->seg[SEG_CS].base + cpu->rip);
}

/* An instruction whose bytes are not all in one page of RAM: byte by byte, each page checked when
 * the first byte of it is needed. `second_page` gets the physical address of the other page. */
static void decode_slowly(struct cpu *cpu, struct insn *insn, gpa_t *second_page)
{
    struct decode_context context = decode_context(cpu);
    gva_t gva = code_linear(cpu);
    uint64_t limit = bytes_to_limit(cpu);
    uint8_t bytes[INSN_MAX_LENGTH];

    *second_page = NO_PAGE;
    for (unsigned n = 0;;) {
        if (n == limit)
            cpu_raise_gp(cpu, 0);
        gva_t at = cpu->mode & MODE_CODE64 ? gva + n : (uint32_t)(gva + n);
        gpa_t gpa;
        const uint8_t *host = mem_fetch(cpu, at, &gpa);
        bytes[n++] = host ? *host : (uint8_t)cpu->bus->mem_read(cpu->bus->opaque, cpu, gpa, 1);
        if (at >> 12 != gva >> 12)
            *second_page = gpa & ~0xfffull;
        if (decode(&context, bytes, n, insn))
            return;
    }
}

void interp_decode(struct cpu *cpu, struct insn *insn)
{
    struct decode_context context = decode_context(cpu);
    gva_t gva = code_linear(cpu);
    gpa_t gpa;
    uint64_t available = bytes_to_limit(cpu);
    const uint8_t *host = mem_fetch(cpu, gva, &gpa);
    if (available > 4096 - (gva & 0xfff))
        available = 4096 - (gva & 0xfff);
    if (!host || !decode(&context, host, available, insn)) {
        gpa_t second_page;
        decode_slowly(cpu, insn, &second_page);
    }
}

static bool ends_block(const struct insn *insn)
{
    const struct isa_row *row = &isa_rows[insn->row];
    if (row->attributes & (ISA_END | ISA_IO)) /* a device may want an interrupt taken at once */
        return true;
    /* Repeated strings may stop half-way, to be resumed. */
    return insn->prefixes & (PREFIX_REP | PREFIX_REPNE) && row->attributes & (ISA_REP | ISA_REPZ);
}

/* Takes a new block into the list of a page. */
static void note_page(struct cpu *cpu, struct block *block, place at, gpa_t gpa, unsigned size)
{
    struct interp *interp = cpu->interp;
    unsigned slot = page_slot(gpa);
    if (interp->page[slot] != at) {
        *page_next(block, slot) = interp->page[slot];
        interp->page[slot] = at;
    }
    if (code_mark(cpu->code, gpa, size))
        tlb_protect_page(cpu, gpa);
}

/* The place of the next block, with room for any. */
static place make_room(struct interp *interp)
{
    if (interp->end_place > UINT32_MAX - 2 * interp->units)
        drop_all(interp);
    if (interp->units - (interp->end_place & (interp->units - 1)) < ROOM)
        interp->end_place = (interp->end_place | (interp->units - 1)) + 1;
    return interp->end_place;
}

/* Decodes a block at cpu->rip. NULL if its bytes must not be cached (device memory). */
static struct block *make_block(struct cpu *cpu)
{
    struct interp *interp = cpu->interp;
    gva_t gva = code_linear(cpu);
    uint64_t limit = bytes_to_limit(cpu);
    gpa_t gpa;
    const uint8_t *host = mem_fetch(cpu, gva, &gpa);
    if (!host)
        return NULL;
    uint64_t available = 4096 - (gva & 0xfff);
    if (available > limit)
        available = limit;

    struct decode_context context = decode_context(cpu);
    place at = make_room(interp);
    struct block *block = block_at(interp, at);
    struct insn *insn = block->insn;
    unsigned count = 0, bytes = 0;
    gpa_t second_page = NO_PAGE;
    while (count < BLOCK_MAX && bytes < available) {
        int length = decode(&context, host + bytes, available - bytes, &insn[count]);
        if (!length)
            break;
        bytes += (unsigned)length;
        count++;
        if (ends_block(&insn[count - 1]))
            break;
    }
    if (!count) {
        decode_slowly(cpu, insn, &second_page);
        bytes = insn->length;
        count = 1;
    }
    if (second_page == NO_PAGE)
        memcpy(&insn[count], host, bytes);

    place *slot = &interp->table[table_slot(gpa, cpu->mode & DECODE_MODE)];
    interp->end_place += BLOCK_UNITS(count, bytes);
    interp->blocks++;
    block->gpa = gpa;
    block->second_page = second_page;
    block->mode = cpu->mode & DECODE_MODE;
    block->bytes = (uint16_t)bytes;
    block->count = (uint16_t)count;
    block->next = *slot;
    *slot = at;
    unsigned first_bytes = second_page == NO_PAGE ? bytes : 4096 - (unsigned)(gva & 0xfff);
    note_page(cpu, block, at, gpa, first_bytes);
    if (second_page != NO_PAGE)
        note_page(cpu, block, at, second_page, bytes - first_bytes);
    return block;
}

/* May a cached block run at the current rip? Physical address and mode match already. */
static bool block_applies(struct cpu *cpu, const struct block *block)
{
    if (!(cpu->mode & MODE_FLAT_CS)) {
        uint64_t limit = cpu->seg[SEG_CS].limit;
        if (cpu->rip + block->bytes - 1 > limit)
            return false;
    }
    if (block->second_page != NO_PAGE) {
        gva_t next = (code_linear(cpu) | 0xfff) + 1;
        gpa_t gpa;
        mem_fetch(cpu, cpu->mode & MODE_CODE64 ? next : (uint32_t)next, &gpa);
        return gpa == block->second_page;
    }
    return true;
}

bool interp_cached_gpa(const struct cpu *cpu, gpa_t *gpa)
{
    gva_t gva = code_linear(cpu);
    const struct tlb *tlb = cpu->mmu[cpu_mmu(cpu)];
    unsigned slot = tlb_index(gva);
    *gpa = tlb->info[slot].gpa | (gva & 0xfff);
    return (gva ^ tlb->tag[ACCESS_FETCH][slot]) <= 4095;
}

void interp_prefetch(const struct cpu *cpu, gpa_t gpa)
{
    __builtin_prefetch(&cpu->interp->table[table_slot(gpa, cpu->mode & DECODE_MODE)]);
}

/* The block that begins there, NULL: none. */
static inline struct block *look_up(const struct interp *interp, gpa_t gpa, uint32_t mode,
                                    place *at)
{
    struct block *block;
    *at = interp->table[table_slot(gpa, mode)];
    while ((block = block_at(interp, *at)) && !(block->gpa == gpa && block->mode == mode))
        *at = block->next;
    return block;
}

/* Are the `length` bytes the same? Eight can be read of both at least. */
static inline bool same_bytes(const uint8_t *a, const uint8_t *b, unsigned length)
{
    uint64_t x, y;
    if (length > 8)
        return memcmp(a, b, length) == 0;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return le64toh(x ^ y) << (64 - 8 * length) == 0;
}

/* The instruction that was decoded before from the bytes at `gpa`, which are at `host` now. NULL:
 * none is known. */
static const struct insn *decoded_before(struct interp *interp, gpa_t gpa, uint32_t mode,
                                         const uint8_t *host, size_t available)
{
    if (gpa == interp->next.inside || available < INSN_MAX_LENGTH)
        return NULL;
    const struct block *block = block_at(interp, interp->next.block);
    if (!block || interp->next.index >= block->count || block->gpa + interp->next.offset != gpa ||
        block->mode != mode) {
        block = look_up(interp, gpa, mode, &interp->next.block);
        if (!block || block->second_page != NO_PAGE)
            return NULL;
        interp->next.index = interp->next.offset = 0;
    }
    const struct insn *insn = &block->insn[interp->next.index];
    const uint8_t *bytes = (const uint8_t *)&block->insn[block->count];
    if (!same_bytes(bytes + interp->next.offset, host, insn->length))
        return NULL;
    interp->next.index++;
    interp->next.offset += insn->length;
    return insn;
}

int interp_decode_at(struct cpu *cpu, gpa_t gpa, const uint8_t *host, size_t available,
                     struct insn *insn)
{
    struct interp *interp = cpu->interp;
    const struct insn *before =
        decoded_before(interp, gpa, cpu->mode & DECODE_MODE, host, available);
    if (before) {
        *insn = *before;
        return insn->length;
    }
    struct decode_context context = decode_context(cpu);
    int length = decode(&context, host, available, insn);
    interp->next.inside = length && !ends_block(insn) ? gpa + (unsigned)length : NO_PAGE;
    return length;
}

static inline struct block *find_block(struct cpu *cpu)
{
    gpa_t gpa;
    if (__builtin_expect(!(cpu->mode & MODE_CODE64) && cpu->rip >> 32, 0))
        bytes_to_limit(cpu); /* wraps, or raises */
    if (__builtin_expect(interp_cached_gpa(cpu, &gpa), 1)) {
        place at;
        struct block *block = look_up(cpu->interp, gpa, cpu->mode & DECODE_MODE, &at);
        if (block) {
            if (__builtin_expect((cpu->mode & MODE_FLAT_CS) && block->second_page == NO_PAGE, 1) ||
                block_applies(cpu, block))
                return block;
            drop_block(cpu->interp, block); /* its second page is another one now */
        }
    }
    return make_block(cpu);
}

/* -- Execution -- */

static inline void execute(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    cpu->next_rip = cpu->rip + insn->length;
    insn->exec(cpu, insn);
    cpu->rip = cpu->next_rip;
}

void interp_enter(struct cpu *cpu)
{
    cpu->interp->thread = pthread_self();
}

void interp_leave(struct cpu *cpu)
{
    struct interp *interp = cpu->interp;
    if (interp->current) {
        cpu->instructions += (uint64_t)(cpu->insn - interp->first);
        interp->current = NULL;
    }
}

/* What other threads, and listeners during the last block, have left to do. */
static inline void at_boundary(struct cpu *cpu)
{
    struct interp *interp = cpu->interp;
    if (__builtin_expect(interp->drop_pending || interp->queued, 0))
        settle(interp);
}

void interp_one(struct cpu *cpu)
{
    struct insn insn;
    at_boundary(cpu);
    interp_decode(cpu, &insn);
    execute(cpu, &insn);
    cpu->insn = NULL;
    cpu->instructions++;
}

void interp_block(struct cpu *cpu)
{
    struct interp *interp = cpu->interp;
    at_boundary(cpu);
    struct block *block = find_block(cpu);
    if (!block) {
        interp_one(cpu);
        return;
    }
    const struct insn *insn = block->insn;
    interp->current = block;
    interp->first = insn;
    interp->end = insn + block->count;
    log_if(LOG_EXEC, "%04x:%016llx mode %x", cpu->seg[SEG_CS].selector,
           (unsigned long long)cpu->rip, cpu->mode);
    do
        execute(cpu, insn);
    while (++insn < interp->end);
    interp->current = NULL;
    cpu->instructions += (uint64_t)(insn - block->insn);
}

static void run(struct cpu *cpu)
{
    do
        interp_block(cpu);
    while (!atomic_load_explicit(&cpu->event, memory_order_relaxed));
}

void interp_step(struct cpu *cpu)
{
    enum cpu_shadow shadow = cpu->shadow;
    bool step = cpu->eflags & FLAG_TF;

    if (cpu->mode & MODE_BREAK && !(cpu->eflags & FLAG_RF) && shadow != SHADOW_MOV_SS) {
        uint32_t hits = debug_instruction_hits(cpu, code_linear(cpu));
        if (hits)
            debug_raise(cpu, hits);
    }
    cpu->shadow = SHADOW_NONE;
    cpu->step_inhibit = false;
    if (shadow != SHADOW_MOV_SS)
        cpu->debug_hits = 0; /* else what MOV SS hit is due after this instruction */

    struct insn insn;
    at_boundary(cpu);
    interp_decode(cpu, &insn);
    uint32_t resume = cpu->eflags & FLAG_RF;
    cpu->insn = &insn;
    cpu->next_rip = cpu->rip + insn.length;
    insn.exec(cpu, &insn);
    cpu->insn = NULL;
    bool repeats =
        cpu->next_rip == cpu->rip && isa_rows[insn.row].attributes & (ISA_REP | ISA_REPZ);
    cpu->rip = cpu->next_rip;
    cpu->instructions++;
    if (resume && !repeats && insn.op != OP_IRET)
        cpu->eflags &= ~(uint32_t)FLAG_RF;

    if (cpu->shadow == SHADOW_MOV_SS)
        return;
    uint32_t hits = cpu->debug_hits;
    cpu->debug_hits = 0;
    if (step && !cpu->step_inhibit)
        hits |= DR6_BS;
    if (hits)
        debug_raise(cpu, hits);
}

/* -- Engine -- */

bool interp_create(struct cpu *cpu, struct error *error)
{
    struct interp *interp = calloc(1, sizeof *interp);
    size_t size = cpu->accel == &accel_interpreter ? RING_SIZE : RING_SIZE_BESIDE;
    uint8_t *memory = MAP_FAILED;
    if (interp)
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        free(interp);
        return error_set(error, "cannot allocate the interpreter's cache: out of memory");
    }
    interp->ring = memory;
    interp->units = interp->end_place = (uint32_t)(size / UNIT);
    interp->cpu = cpu;
    interp->thread = pthread_self();
    pthread_mutex_init(&interp->lock, NULL);
    cpu->interp = interp;
    code_listen(cpu->code, &(struct code_listener){on_written, on_drop_all, interp});
    return true;
}

void interp_destroy(struct cpu *cpu)
{
    struct interp *interp = cpu->interp;
    if (!interp)
        return;
    code_unlisten(cpu->code, interp);
    munmap(interp->ring, (size_t)interp->units * UNIT);
    pthread_mutex_destroy(&interp->lock);
    free(interp);
    cpu->interp = NULL;
}

static bool create(struct cpu *cpu, struct error *error)
{
    return true;
}

static void destroy(struct cpu *cpu)
{
}

static void stats(struct cpu *cpu, FILE *out)
{
    fprintf(out, "interpreter: %llu instructions, %llu blocks decoded\n",
            (unsigned long long)cpu->instructions, (unsigned long long)cpu->interp->blocks);
}

const struct accel accel_interpreter = {
    .name = "interp",
    .create = create,
    .run = run,
    .destroy = destroy,
    .stats = stats,
};
