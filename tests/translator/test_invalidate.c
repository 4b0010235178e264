/*
 * Programs that change their own code, page tables and modes all the time, on the interpreter and
 * on the translator: both must end in the same state.
 *
 * A program calls little functions that mix the accumulator with constants in their code, through
 * virtual pages of two windows. Between the calls, and in routines that some of those functions
 * call, it does what invalidates translations: stores
 * into that code (through the same and another mapping, whole, in part, by copying, by the function
 * itself), stores beside it, exchanges of page-table entries with INVLPG or a CR3 load, changes of
 * the address space with and without a flush, of the mode, and through ports: writes by a device
 * and moves of memory.
 *
 * Run with a number of programs and a seed: test_invalidate [count [seed]].
 */
#include "cpu/system.h"
#include "tests/translator/guest.h"
#include "translator/translator.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define STEPS      40
#define ITERATIONS 120
#define PAGES      6 /* in each window */

/* Window 0 lies in RAM that the processor reaches by itself, window 1 in RAM behind the bus. */
#define WINDOW(w)     (0x400000u + (w)*0x200000u) /* physical and virtual */
#define ALIAS(w)      (0xa00000u + (w)*0x200000u) /* the same memory, never remapped */
#define ROOT(s)       (0x300000u + (s)*0x10000u)  /* page tables of address space s */
#define TABLE(s, w)   (ROOT(s) + 0x3000u + (w)*0x1000u)
#define MOVABLE       0x600000u /* RAM that a layout change exchanges */
#define SPACES        2
#define ROUTINE(s, i) (0x180000u + (s)*0x10000u + (i)*0x200u) /* for address space s */
#define ROUTINES      8
#define PORT_DMA      0x10
#define PORT_LAYOUT   0x11

/* Where functions begin in a page. One that would cross the page is short. */
static const uint16_t starts[] = {0x040, 0x0b8, 0x0f3, 0x7c0, 0xfe0};
#define FUNCTIONS (sizeof starts / sizeof starts[0])
#define CALLER    2 /* the one that calls a routine, which returns to another line */

static uint64_t random_state;

static unsigned below(unsigned n)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(random_state >> 40) % n;
}

/* -- The machine -- */

struct board {
    struct guest *guest;
    unsigned place[PAGES]; /* which page of MOVABLE is at which place */
};

static struct bus_page board_page(void *opaque, struct cpu *cpu, gpa_t gpa)
{
    struct board *board = opaque;
    if (gpa >= GUEST_RAM)
        return (struct bus_page){0};
    if (gpa >= MOVABLE && gpa < MOVABLE + PAGES * 4096)
        gpa = MOVABLE + board->place[(gpa - MOVABLE) >> 12] * 4096;
    return (struct bus_page){.host = board->guest->ram + gpa, .writable = true};
}

static void board_out(void *opaque, struct cpu *cpu, uint16_t port, uint32_t value, unsigned size)
{
    struct board *board = opaque;
    unsigned a = value % PAGES, b = value / PAGES % PAGES;
    if (port == PORT_DMA) {
        gpa_t gpa = WINDOW(value >> 31) + a * 4096u + starts[b % FUNCTIONS] + 7;
        memcpy(board_page(board, cpu, gpa & ~0xfffull).host + (gpa & 0xfff), &value, 4);
        if (code_queue_written(cpu->code, gpa, 4))
            cpu_post(cpu, EVENT_FLUSH_CODE);
    } else {
        unsigned place = board->place[a];
        board->place[a] = board->place[b];
        board->place[b] = place;
        gpa_t first = MOVABLE + (a < b ? a : b) * 4096,
              end = MOVABLE + ((a > b ? a : b) + 1) * 4096;
        code_queue_moved(cpu->code, first, end);
        cpu_post(cpu, EVENT_FLUSH_CODE | EVENT_FLUSH_TLB);
    }
}

static void put(struct board *board, uint32_t address, uint64_t value)
{
    memcpy(board->guest->ram + address, &value, 8);
}

static void make_space(struct board *board, unsigned space)
{
    uint32_t root = ROOT(space);
    memset(board->guest->ram + root, 0, 0x5000);
    put(board, root, (root + 0x1000) | 7);
    put(board, root + 0x1000, (root + 0x2000) | 7);
    for (unsigned i = 0; i < 2; i++) {
        put(board, root + 0x2000 + i * 8, i << 21 | 0x87);
        put(board, root + 0x2000 + (2 + i) * 8, TABLE(space, i) | 7);
        put(board, root + 0x2000 + (5 + i) * 8, WINDOW(i) | 0x87);
        for (unsigned page = 0; page < PAGES; page++) /* each space has an order of its own */
            put(board, TABLE(space, i) + page * 8,
                (WINDOW(i) + (space ? PAGES - 1 - page : page) * 4096) | 7);
    }
}

static struct board *board_new(const struct accel *accel)
{
    struct board *board = calloc(1, sizeof *board);
    board->guest = guest_new(accel, GUEST_64);
    struct cpu_bus *bus = &board->guest->bus;
    bus->opaque = board;
    bus->page = board_page;
    bus->io_write = board_out;
    bus->ram[0].end = MOVABLE;
    bus->ram[0].host = board->guest->ram;
    return board;
}

/* Everything as it was, but for what the engines remember. */
static void board_reset(struct board *board)
{
    struct cpu *cpu = board->guest->cpu;
    memset(board->guest->ram, 0, GUEST_RAM);
    code_drop_all(board->guest->code);
    guest_reset(board->guest, GUEST_64);
    for (unsigned i = 0; i < PAGES; i++)
        board->place[i] = i;
    for (unsigned i = 0; i < SPACES; i++)
        make_space(board, i);
    cpu->cr4 |= CR4_PCIDE | CR4_PGE;
    cpu->cr3 = ROOT(0) | 1;
    cpu_update_mode(cpu);
    paging_switch(cpu, false);
    tlb_flush_all(cpu);
}

static void board_free(struct board *board)
{
    guest_free(board->guest);
    free(board);
}

/* -- Programs -- */

struct text {
    uint8_t bytes[8192];
    unsigned length;
};

static void add(struct text *text, const char *hex)
{
    for (; *hex; hex++)
        if (*hex != ' ') {
            char digits[3] = {hex[0], hex[1], 0};
            text->bytes[text->length++] = (uint8_t)strtoul(digits, NULL, 16);
            hex++;
        }
}

static void add_u32(struct text *text, const char *hex, uint32_t value)
{
    add(text, hex);
    memcpy(text->bytes + text->length, &value, 4);
    text->length += 4;
}

enum function { PLAIN, ITSELF, CALLS };

/* imul eax, eax, odd; add eax, constant; ret: the constants at bytes 2 and 7. Or one that first
 * stores the accumulator into its own second constant. Or one that calls a routine, with a third
 * constant behind that. */
static void make_function(struct board *board, uint32_t address, uint32_t value,
                          enum function function)
{
    struct text text = {.length = 0};
    if (function == ITSELF) {
        add_u32(&text, "89 05", 1); /* mov [rip + 1], eax */
        add_u32(&text, "05", value);
    } else {
        add_u32(&text, "69 c0", value | 1);
        add_u32(&text, "05", value * 77);
    }
    if (function == CALLS) {
        add(&text, "ff d6"); /* call rsi */
        add_u32(&text, "05", value * 55);
    }
    add(&text, "c3");
    memcpy(board->guest->ram + address, text.bytes, text.length);
}

static uint32_t any_page(void)
{
    return WINDOW(below(2)) + below(PAGES) * 4096;
}

static uint32_t any_function(void)
{
    return any_page() + starts[below(FUNCTIONS)];
}

/* The same memory elsewhere, as often as not. */
static uint32_t seen(uint32_t address)
{
    return below(2) ? address : address + (ALIAS(0) - WINDOW(0));
}

static void load_cr3(struct text *text, unsigned space, bool keep)
{
    uint64_t value = ROOT(space) | (space + 1) | (uint64_t)keep << 63;
    add(text, "48 b9");
    memcpy(text->bytes + text->length, &value, 8);
    text->length += 8;
    add(text, "0f 22 d9");
}

static void exchange_entries(struct text *text, unsigned space)
{
    unsigned window = below(2), a = below(PAGES), b = below(PAGES);
    add_u32(text, "48 8b 0c 25", TABLE(space, window) + a * 8);
    add_u32(text, "48 8b 14 25", TABLE(space, window) + b * 8);
    add_u32(text, "48 89 14 25", TABLE(space, window) + a * 8);
    add_u32(text, "48 89 0c 25", TABLE(space, window) + b * 8);
    if (below(3)) {
        add_u32(text, "0f 01 3c 25", WINDOW(window) + a * 4096 + below(4096));
        add_u32(text, "0f 01 3c 25", WINDOW(window) + b * 4096);
    } else {
        add(text, "0f 20 d9 0f 22 d9"); /* mov rcx, cr3; mov cr3, rcx */
    }
}

/* Stores the accumulator by opcode `hex` (ModRM for an absolute address or [rdi] follows). */
static void add_store(struct text *text, const char *hex, uint32_t address)
{
    if (below(2)) {
        add(text, hex);
        add_u32(text, "04 25", address);
    } else {
        uint32_t distance = below(3) * 0x40; /* so that stores off RDI share checks, or not */
        add_u32(text, "bf", address - distance);
        add(text, hex);
        add_u32(text, "87", distance);
    }
}

enum { STEP_EXCHANGE = 6, STEP_CR3, STEP_CALLS = 12, STEP_KINDS = 17 };

/* *space: the current one at this place of the program. */
static void add_step(struct text *text, unsigned kind, unsigned *space)
{
    uint32_t target = any_function();
    switch (kind) {
    case 0: /* the constants of a function, one of their bytes, across a line */
        add_store(text, "89", seen(target) + 7);
        break;
    case 1:
        add_store(text, "88", seen(target) + 7 + below(4));
        break;
    case 2:
        add_store(text, "f0 01", seen(target) + 7); /* lock add */
        break;
    case 3: /* a copy of a function of the same kind */
        add_u32(text, "be", seen(any_page() + starts[0]));
        add_u32(text, "bf", seen(any_page() + starts[1]));
        add_u32(text, "b9", 12);
        add(text, "f3 a4");
        break;
    case 4: /* stores beside code */
        target = seen(any_page());
        add_store(text, "01", target + 0x200 + below(0x80) * 8);
        add_store(text, "48 89", target + 0x138 + below(16));
        if (below(2)) { /* near each other and one of them into code */
            add_u32(text, "bf", target + 0x50);
            add(text, "89 47 6f 89 47 7f 89 47 20");
        } else {
            add_u32(text, "89 04 25", target + 0x700);
            add_u32(text, "89 04 25", target + 0xbf);
        }
        break;
    case 5: /* ... in a loop: mov [rdi], eax; add rdi, 8; dec ecx; jnz */
        add_u32(text, "bf", seen(any_page() + 0x400));
        add_u32(text, "b9", 1 + below(100));
        add(text, "89 07 48 83 c7 08 ff c9 75 f6");
        break;
    case STEP_EXCHANGE:
        exchange_entries(text, *space);
        break;
    case STEP_CR3:
        *space = below(SPACES);
        load_cr3(text, *space, below(4) != 0);
        break;
    case 8: /* CR0.TS: another mode */
        add(text, "0f 20 c1 83 f1 08 0f 22 c1");
        break;
    case 9: /* CR4.PGE */
        add_u32(text, "0f 20 e1 81 f1", CR4_PGE);
        add(text, "0f 22 e1");
        break;
    case 10:
        add_u32(text, "ba", below(2) ? PORT_DMA : PORT_LAYOUT);
        add(text, "ef");
        break;
    case 11: /* behind the call of a function that waits for its routine, perhaps */
        add_store(text, "89", seen(any_page()) + starts[CALLER] + 14);
        break;
    default:
        for (unsigned i = 1 + below(3); i-- > 0;) {
            target = below(2) ? any_function() : any_page() + starts[CALLER];
            add_u32(text, "b9", below(4) ? target : seen(target));
            add_u32(text, "be", ROUTINE(*space, below(ROUTINES)));
            add(text, "ff d1"); /* call rcx */
        }
    }
}

/* mov ebx, iterations; the steps; dec ebx; jnz back; hlt */
static void make_program(struct text *text)
{
    unsigned space = 0;
    text->length = 0;
    add_u32(text, "bb", ITERATIONS);
    unsigned start = text->length;
    for (unsigned i = 0; i < STEPS; i++)
        add_step(text, below(STEP_KINDS), &space);
    load_cr3(text, 0, true);
    add(text, "ff cb");
    add_u32(text, "0f 85", start - (text->length + 6));
    add(text, "f4");
}

/* A step or two; ret. */
static void make_routine(struct text *text, unsigned space)
{
    text->length = 0;
    for (unsigned i = 1 + below(2); i-- > 0;) {
        unsigned kind = below(3) ? below(STEP_CALLS) : STEP_EXCHANGE;
        if (kind != STEP_CR3)
            add_step(text, kind, &space);
    }
    add(text, "c3");
}

static struct text routine[SPACES][ROUTINES];

static void load(struct board *board, const struct text *text, uint64_t values)
{
    board_reset(board);
    for (unsigned space = 0; space < SPACES; space++)
        for (unsigned i = 0; i < ROUTINES; i++)
            guest_load(board->guest, ROUTINE(space, i), routine[space][i].bytes,
                       routine[space][i].length);
    for (unsigned window = 0; window < 2; window++)
        for (unsigned page = 0; page < PAGES; page++)
            for (unsigned i = 0; i < FUNCTIONS; i++) {
                uint32_t value = (uint32_t)(values >> (page + i));
                bool itself = i == 3 || (i == 4 && page & 1);
                make_function(board, WINDOW(window) + page * 4096 + starts[i], value,
                              i == CALLER ? CALLS
                              : itself    ? ITSELF
                                          : PLAIN);
            }
    guest_load(board->guest, GUEST_CODE, text->bytes, text->length);
    board->guest->cpu->gpr[RAX] = values & 0xffffffff;
}

/* -- Comparison -- */

static void compare(struct board *a, struct board *b, uint64_t seed, const char *how)
{
    const struct cpu *x = a->guest->cpu, *y = b->guest->cpu;
    ck_assert_msg(x->rip == y->rip, "seed %llu, %s: rip %llx, not %llx", (unsigned long long)seed,
                  how, (unsigned long long)y->rip, (unsigned long long)x->rip);
    for (unsigned i = 0; i < 16; i++)
        ck_assert_msg(x->gpr[i] == y->gpr[i], "seed %llu, %s: r%u %llx, not %llx",
                      (unsigned long long)seed, how, i, (unsigned long long)y->gpr[i],
                      (unsigned long long)x->gpr[i]);
    for (unsigned page = 0; page < GUEST_RAM; page += 4096) {
        bool table = page >= ROOT(0) && page < ROOT(SPACES); /* A and D bits */
        if (memcmp(a->guest->ram + page, b->guest->ram + page, 4096) == 0)
            continue;
        for (unsigned at = page; at < page + 4096; at++)
            ck_assert_msg(!((a->guest->ram[at] ^ b->guest->ram[at]) & (table ? ~0x60 : 0xff)),
                          "seed %llu, %s: memory %x: %02x, not %02x", (unsigned long long)seed, how,
                          at, b->guest->ram[at], a->guest->ram[at]);
    }
}

static unsigned programs = 60;
static uint64_t first_seed = 1;

START_TEST(programs_that_invalidate)
{
    static const struct translator_options options[] = {
        {.threshold = 1, .hot = 1},
        {.threshold = 1},
        {.threshold = 2, .hot = 5},
        {.threshold = 1, .hot = 20, .max_insns = 1},
        {.threshold = 0},
        {.threshold = 1, .float_all = true},
        {.hot = 5, .float_all = true},
        {.hot = 20, .max_insns = 1, .float_all = true}};
    enum { WAYS = sizeof options / sizeof options[0] };
    static struct text text;
    struct board *reference = board_new(&accel_interpreter), *translated[WAYS];
    for (unsigned i = 0; i < WAYS; i++) {
        translator_options = options[i];
        translator_options.cache_mb = 1;
        translated[i] = board_new(&accel_translator);
    }
    for (unsigned i = 0; i < programs; i++) {
        uint64_t seed = first_seed + i;
        random_state = seed * 0x9e3779b97f4a7c15ull;
        make_program(&text);
        for (unsigned space = 0; space < SPACES; space++)
            for (unsigned j = 0; j < ROUTINES; j++)
                make_routine(&routine[space][j], space);
        uint64_t values = (uint64_t)below(1 << 24) << 40 | (uint64_t)below(1 << 24) << 20 | 1;
        load(reference, &text, values);
        ck_assert(guest_run(reference->guest));
        ck_assert_uint_eq(reference->guest->cpu->rip, GUEST_CODE + text.length);
        for (unsigned way = 0; way < WAYS; way++) {
            if (programs > WAYS && way != seed % WAYS)
                continue;
            char how[64];
            snprintf(how, sizeof how, "threshold %u, instructions %u%s", options[way].threshold,
                     options[way].max_insns, options[way].float_all ? ", floating" : "");
            load(translated[way], &text, values);
            ck_assert(guest_run(translated[way]->guest));
            compare(reference, translated[way], seed, how);
        }
    }
    for (unsigned i = 0; i < WAYS; i++)
        board_free(translated[i]);
    board_free(reference);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1)
        programs = (unsigned)strtoul(argv[1], NULL, 0);
    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 0);
    TCase *tcase = tcase_create("invalidate");
    tcase_add_test(tcase, programs_that_invalidate);
    tcase_set_timeout(tcase, 0);
    Suite *suite = suite_create("translator: invalidation");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
