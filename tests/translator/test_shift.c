/*
 * Libraries at other addresses in each process (translator/shift.c). Two copies of one library call
 * each other, read and change data beside them, and add up all that shows where they are; then one
 * faults. Interpreter and translator must end each process alike, and few blocks may be translated
 * again.
 */
#include "cpu/system.h"
#include "tests/translator/guest.h"
#include "translator/engine.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

extern const uint8_t library[], library_end[], library_callback[], library_fault[];

#define PROCESSES    60
#define COPIES       2
#define CODE_PAGES   2
#define LIBRARY(i)   (0x400000u + (i)*0x10000u) /* physical */
#define LIBRARY_DATA (CODE_PAGES * 4096u)
#define SPACE        0x300000u      /* page tables: levels 3, 2, and 1 of each copy */
#define REGION       (127ull << 30) /* virtual, a gigabyte */
#define REGION_SLOT  255u           /* of the first level: 127.5 TiB, less 0.5 */

static uint64_t random_state;

static uint32_t below(uint32_t n)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 40) % n;
}

static void put(struct guest *guest, uint32_t address, uint64_t value)
{
    memcpy(guest->ram + address, &value, 8);
}

/* Maps the copy to a place of the region: gives its address. */
static uint64_t map(struct guest *guest, unsigned copy, uint32_t slot, uint32_t page)
{
    uint32_t table = SPACE + 0x2000 + copy * 0x1000;
    memset(guest->ram + table, 0, 4096);
    put(guest, SPACE + 0x1000 + slot * 8, table | 7);
    for (uint32_t i = 0; i <= CODE_PAGES; i++)
        put(guest, table + (page + i) * 8, (LIBRARY(copy) + i * 4096) | 7);
    return (uint64_t)REGION_SLOT << 39 | REGION | (uint64_t)slot << 21 | (uint64_t)page << 12;
}

/* Every third process has the libraries at another distance from one another. */
static void start_process(struct guest *guest, unsigned number, uint32_t times)
{
    static const uint8_t start[] = {0xdb, 0xe3, 0xff, 0xd5,
                                    0x41, 0xff, 0xe1}; /* fninit; call rbp; jmp r9 */
    struct cpu *cpu = guest->cpu;
    guest_reset(guest, GUEST_64);
    guest_load(guest, GUEST_CODE, start, sizeof start);
    put(guest, GUEST_TABLES + REGION_SLOT * 8, SPACE | 7);
    memset(guest->ram + SPACE, 0, 0x2000);
    put(guest, SPACE + (REGION >> 30) * 8, (SPACE + 0x1000) | 7);
    random_state = number;
    uint32_t slot = below(500), page = below(400), far = number % 3 ? 40 : 60;
    uint64_t a = map(guest, 0, slot, page), b = map(guest, 1, slot + 1, page + far);
    for (unsigned copy = 0; copy < COPIES; copy++)
        for (uint32_t i = 0; i < 256; i += 8)
            put(guest, LIBRARY(copy) + LIBRARY_DATA + i, number * 0x123456789abcdefull + copy + i);
    memset(cpu->gpr, 0, sizeof cpu->gpr);
    cpu->gpr[RSP] = GUEST_STACK;
    cpu->gpr[RBP] = a;
    cpu->gpr[RDI] = times;
    cpu->gpr[RSI] = b + (uint64_t)(library_callback - library);
    cpu->gpr[R9] = (number % 2 ? a : b) + (uint64_t)(library_fault - library);
    cpu->halted = false;
    tlb_flush_all(cpu);
}

/* The library's code is replaced by itself, or changed. */
static void write_library(struct guest *guest, unsigned copy, unsigned number)
{
    guest_load(guest, LIBRARY(copy), library, (size_t)(library_end - library));
    uint8_t constant = (uint8_t)number;
    guest_load(guest, LIBRARY(copy) + 0xffb, &constant, 1); /* of the multiplication */
}

static struct guest *new_guest(const struct accel *accel)
{
    struct guest *guest = guest_new(accel, GUEST_64);
    for (unsigned copy = 0; copy < COPIES; copy++)
        write_library(guest, copy, 77);
    return guest;
}

static void compare(const struct guest *wanted, const struct guest *found, unsigned number,
                    unsigned way)
{
    for (unsigned i = 0; i < 16; i++)
        ck_assert_msg(wanted->cpu->gpr[i] == found->cpu->gpr[i],
                      "process %u, way %u: register %u is %llx, not %llx", number, way, i,
                      (unsigned long long)found->cpu->gpr[i],
                      (unsigned long long)wanted->cpu->gpr[i]);
    ck_assert_uint_eq(wanted->cpu->rip, found->cpu->rip);
    ck_assert_uint_eq(wanted->cpu->cr2, found->cpu->cr2);
    ck_assert_mem_eq(wanted->cpu->xmm, found->cpu->xmm, sizeof wanted->cpu->xmm);
    ck_assert_mem_eq(wanted->ram + LIBRARY(0), found->ram + LIBRARY(0), 0x20000);
    ck_assert_mem_eq(wanted->ram + GUEST_STACK - 256, found->ram + GUEST_STACK - 256, 256);
}

/* Iterations of a process: few in most, many in some. */
static uint32_t times_of(unsigned number)
{
    return number % 10 == 9 ? PROMOTION_RETRY + 5000 : 5 + number % 40;
}

START_TEST(processes)
{
    static const struct translator_options ways[] = {
        {.threshold = 1},
        {.hot = 20},
        {.threshold = 1, .hot = 3, .stats = true},
        {.threshold = 3, .hot = 50, .max_insns = 2},
        {.threshold = 1, .verify = true},
        {.hot = 1},
        {.hot = 20, .float_all = true},
    };
    enum { WAYS = sizeof ways / sizeof ways[0] };
    struct guest *wanted = new_guest(&accel_interpreter), *found[WAYS];
    for (unsigned way = 0; way < WAYS; way++) {
        translator_options = ways[way];
        translator_options.float_all = true;
        found[way] = new_guest(&accel_translator);
    }
    for (unsigned number = 0; number < PROCESSES; number++) {
        uint32_t times = times_of(number);
        start_process(wanted, number, times);
        ck_assert(guest_run(wanted));
        for (unsigned way = 0; way < WAYS; way++) {
            start_process(found[way], number, times);
            ck_assert(guest_run(found[way]));
            compare(wanted, found[way], number, way);
        }
        if (number % 8 != 7)
            continue;
        write_library(wanted, number % 2, number / 16 * 2 + 1);
        for (unsigned way = 0; way < WAYS; way++)
            write_library(found[way], number % 2, number / 16 * 2 + 1);
    }
    for (unsigned way = 0; way < WAYS; way++)
        guest_free(found[way]);
    guest_free(wanted);
}
END_TEST

/* Translations of the first processes serve those that follow: warm ones, and no other are made. */
START_TEST(sharing)
{
    translator_options =
        (struct translator_options){.threshold = 2, .hot = 100000, .float_all = true};
    struct guest *guest = new_guest(&accel_translator);
    const struct engine_stats *stats = &cpu_engine(guest->cpu)->stats;
    uint64_t blocks = 0, interpreted = 0;
    for (unsigned number = 0; number < 40; number++) {
        if (number == 6) {
            blocks = stats->blocks;
            interpreted = stats->interpreted;
        }
        start_process(guest, number, 20);
        ck_assert(guest_run(guest));
    }
    ck_assert_uint_gt(blocks, 10);
    ck_assert_uint_eq(stats->blocks, blocks);
    ck_assert_uint_lt(stats->interpreted - interpreted, 40 * 10);
    guest_free(guest);
}
END_TEST

/* A long-running process gets hot code of its own, though another has it. */
START_TEST(hot_code)
{
    translator_options = (struct translator_options){.hot = 100, .float_all = true};
    struct guest *guest = new_guest(&accel_translator);
    const struct engine_stats *stats = &cpu_engine(guest->cpu)->stats;
    start_process(guest, 1, 500);
    ck_assert(guest_run(guest));
    uint64_t first = stats->hot_blocks;
    ck_assert_uint_gt(first, 3);
    start_process(guest, 2, 500);
    ck_assert(guest_run(guest));
    ck_assert_uint_lt(stats->hot_blocks - first, first);
    start_process(guest, 4, 10 * PROMOTION_RETRY);
    ck_assert(guest_run(guest));
    ck_assert_uint_gt(stats->hot_blocks - first, 3);
    guest_free(guest);
}
END_TEST

/* A walk through many pages: each block has guards of as many as a block may have. */
#define WALK_PAGES 480u
#define WALK       0x500000u /* physical */

START_TEST(many_pages)
{
    static const uint8_t start[] = {0xff, 0xd5, 0xf4}; /* call rbp; hlt */
    /* lea rax, [rax + rax * 2 + 1]; jmp to the next page */
    static const uint8_t step[] = {0x48, 0x8d, 0x44, 0x40, 0x01, 0xe9, 0xf6, 0x0f, 0, 0};
    translator_options = (struct translator_options){.threshold = 2, .float_all = true};
    struct guest *guest = new_guest(&accel_translator);
    start_process(guest, 1, 1);
    guest_load(guest, GUEST_CODE, start, sizeof start);
    uint32_t table = SPACE + 0x2000;
    put(guest, SPACE + 0x1000, table | 7);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WALK_PAGES; i++) {
        bool last = i + 1 == WALK_PAGES;
        put(guest, table + i * 8, (WALK + i * 4096) | 7);
        guest_load(guest, WALK + i * 4096, last ? (const uint8_t[]){0xc3} : step,
                   last ? 1 : sizeof step);
        sum = last ? sum : sum * 3 + 1;
    }
    for (unsigned turn = 0; turn < 4; turn++) {
        struct cpu *cpu = guest->cpu;
        cpu->rip = GUEST_CODE;
        cpu->gpr[RAX] = 0;
        cpu->gpr[RSP] = GUEST_STACK;
        cpu->gpr[RBP] = (uint64_t)REGION_SLOT << 39 | REGION;
        cpu->halted = false;
        ck_assert(guest_run(guest));
        ck_assert_uint_eq(cpu->gpr[RAX], sum);
    }
    ck_assert_uint_le(cpu_engine(guest->cpu)->stats.blocks, WALK_PAGES / TRACE_PAGES + 3);
    guest_free(guest);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("translator: shifts");
    TCase *tc = tcase_create("shifts");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, processes);
    tcase_add_test(tc, sharing);
    tcase_add_test(tc, hot_code);
    tcase_add_test(tc, many_pages);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
