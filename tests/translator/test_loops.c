/*
 * Loops that iterate inside their block (opt_loop.c): they walk from a good page into one that is
 * absent, read-only, a device, holds code, or is simply another, so that each access of each
 * iteration meets the border at each offset. Interpreter and translator must end alike.
 */
#include "cpu/isa.h"
#include "cpu/system.h"
#include "tests/translator/guest.h"
#include "translator/translator.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOPS                                                                                      \
    LOOP(products)                                                                                 \
    LOOP(search)                                                                                   \
    LOOP(chain)                                                                                    \
    LOOP(copy)                                                                                     \
    LOOP(modify)                                                                                   \
    LOOP(members)                                                                                  \
    LOOP(stack)                                                                                    \
    LOOP(frame)                                                                                    \
    LOOP(alternate)                                                                                \
    LOOP(tables)                                                                                   \
    LOOP(sparse)                                                                                   \
    LOOP(carry)                                                                                    \
    LOOP(indexed)                                                                                  \
    LOOP(homes)                                                                                    \
    LOOP(wide)                                                                                     \
    LOOP(passed)                                                                                   \
    LOOP(shifts)                                                                                   \
    LOOP(sums)                                                                                     \
    LOOP(strings)                                                                                  \
    LOOP(vectors)                                                                                  \
    LOOP(division)                                                                                 \
    LOOP(calls)                                                                                    \
    LOOP(absolute)                                                                                 \
    LOOP(dot)                                                                                      \
    LOOP(nested)                                                                                   \
    LOOP(mmx)
#define LOOP(name) extern const uint8_t loop_##name[], loop_##name##_end[];
LOOPS
#undef LOOP

static const struct {
    const char *name;
    const uint8_t *start, *end;
} loops[] = {
#define LOOP(name) {#name, loop_##name, loop_##name##_end},
    LOOPS
#undef LOOP
};

/* What lies behind the border at virtual address BORDER: a page table entry. */
#define BORDER       GUEST_UNMAPPED
#define BORDER_ENTRY (GUEST_TABLES + 0x3000u + 256 * 8)
#define DATA_BEFORE  0x6ff000u /* physical page before the border */
#define OTHER_PAGE   0x680000u
static const struct {
    const char *name;
    uint64_t entry;
} borders[] = {
    {"another page", OTHER_PAGE | 7}, {"absent", 0},
    {"read-only", OTHER_PAGE | 5},    {"a device", 0x800000 | 7},
    {"code", GUEST_CODE | 7},
};
#define STACK     (GUEST_STACK - 0x100)
#define LOOP_CODE (GUEST_CODE + 0x800) /* what is written behind the border lies before it */

static const uint32_t pages[] = {0x1f000,     GUEST_CODE, GUEST_DATA,         GUEST_DATA + 0x1000,
                                 DATA_BEFORE, OTHER_PAGE, OTHER_PAGE + 0x1000};

struct place {
    unsigned rsi, rdi; /* bytes before the border, 0: elsewhere */
    unsigned rounds;
};

static void set_up(struct guest *guest, unsigned loop, unsigned border, const struct place *place)
{
    static uint8_t pattern[4096];
    for (unsigned at = 0; at < 4096 && !pattern[0]; at++)
        pattern[4095 - at] = (uint8_t)((at + 1) * 29 >> (at & 3)) | 1;
    for (unsigned i = 0; i < sizeof pages / sizeof pages[0]; i++)
        if (pages[i] != GUEST_CODE)
            memcpy(guest->ram + pages[i], pattern, sizeof pattern);
    memset(guest->ram + GUEST_CODE, 0x90, 0x800);
    guest_reset(guest, GUEST_64);
    memcpy(guest->ram + BORDER_ENTRY, &borders[border].entry, 8);
    struct cpu *cpu = guest->cpu;
    cpu->rip = LOOP_CODE;
    for (unsigned i = 0; i < 16; i++) {
        cpu->gpr[i] = i * 0x0101010101010101ull;
        memset(&cpu->xmm[i], (int)i, 16);
    }
    cpu->gpr[RSP] = STACK;
    cpu->gpr[R12] = GUEST_DATA;
    cpu->gpr[RBX] = place->rounds;
    cpu->gpr[RSI] = place->rsi ? BORDER - place->rsi : GUEST_DATA + 0x800;
    cpu->gpr[RDI] = place->rdi ? BORDER - place->rdi : GUEST_DATA + 0xc00;
}

static void run(struct guest *guest, unsigned loop, unsigned border, const struct place *place)
{
    set_up(guest, loop, border, place);
    ck_assert_msg(guest_run(guest), "%s did not halt", loops[loop].name);
    ck_assert_msg(!guest->cpu->failed, "%s: verification failed", loops[loop].name);
}

/* The flags that shifts leave undefined, and where a fault has pushed them: hosts differ. */
static void forget_undefined(struct guest *guest, unsigned loop)
{
    const uint32_t undefined = FLAG_AF | FLAG_OF;
    if (strcmp(loops[loop].name, "shifts") != 0)
        return;
    guest->cpu->eflags &= ~undefined;
    for (unsigned i = 0; i < 4; i++)
        guest->ram[STACK - 0x18 + i] &= (uint8_t) ~(undefined >> 8 * i);
}

/* Asserts once a run: each assertion of Check costs a system call. */
static void compare(const struct guest *wanted, const struct guest *found, const char *where)
{
    const struct cpu *a = wanted->cpu, *b = found->cpu;
    char what[128] = "";
    for (unsigned i = 0; i < 16; i++) {
        if (a->gpr[i] != b->gpr[i])
            snprintf(what, sizeof what, "register %u is %llx, not %llx", i,
                     (unsigned long long)b->gpr[i], (unsigned long long)a->gpr[i]);
        if (memcmp(&a->xmm[i], &b->xmm[i], 16) != 0)
            snprintf(what, sizeof what, "xmm%u", i);
    }
    if (a->rip != b->rip || a->eflags != b->eflags || a->cr2 != b->cr2)
        snprintf(what, sizeof what, "rip %llx eflags %x cr2 %llx, not %llx %x %llx",
                 (unsigned long long)b->rip, b->eflags, (unsigned long long)b->cr2,
                 (unsigned long long)a->rip, a->eflags, (unsigned long long)a->cr2);
    for (unsigned i = 0; i < 8; i++)
        if (a->x87.reg[i].mantissa != b->x87.reg[i].mantissa ||
            a->x87.reg[i].exponent != b->x87.reg[i].exponent)
            snprintf(what, sizeof what, "x87 register %u", i);
    if (a->x87.status != b->x87.status || a->x87.top != b->x87.top ||
        a->x87.empty != b->x87.empty || a->x87.ip != b->x87.ip || a->x87.dp != b->x87.dp)
        snprintf(what, sizeof what, "x87 status %x top %u ip %llx dp %llx, not %x %u %llx %llx",
                 b->x87.status, b->x87.top, (unsigned long long)b->x87.ip,
                 (unsigned long long)b->x87.dp, a->x87.status, a->x87.top,
                 (unsigned long long)a->x87.ip, (unsigned long long)a->x87.dp);
    if (wanted->io_sum != found->io_sum)
        snprintf(what, sizeof what, "device writes");
    for (unsigned i = 0; i < sizeof pages / sizeof pages[0]; i++)
        if (memcmp(wanted->ram + pages[i], found->ram + pages[i], 4096) != 0)
            for (unsigned at = pages[i]; at < pages[i] + 4096; at++)
                if (wanted->ram[at] != found->ram[at])
                    snprintf(what, sizeof what, "memory %x: %02x, not %02x", at, found->ram[at],
                             wanted->ram[at]);
    ck_assert_msg(!*what, "%s: %s", where, what);
}

static void walk(unsigned loop, const char *way, unsigned step)
{
    struct guest *wanted = guest_new(&accel_interpreter, GUEST_64);
    struct guest *found = guest_new(&accel_translator, GUEST_64);
    size_t size = (size_t)(loops[loop].end - loops[loop].start);
    guest_load(wanted, LOOP_CODE, loops[loop].start, size);
    guest_load(found, LOOP_CODE, loops[loop].start, size);
    for (unsigned border = 0; border < sizeof borders / sizeof borders[0]; border++)
        for (unsigned before = 1; before < 140; before += step)
            for (unsigned both = 1; both < 4; both++) {
                struct place place = {both & 1 ? before : 0, both & 2 ? before : 0,
                                      3 + before % 23};
                if (both == 3)
                    place.rdi = before / 2 + 16;
                char where[128];
                snprintf(where, sizeof where, "%s, %s, %s behind the border, %u and %u before it",
                         loops[loop].name, way, borders[border].name, place.rsi, place.rdi);
                run(wanted, loop, border, &place);
                run(found, loop, border, &place);
                forget_undefined(wanted, loop);
                forget_undefined(found, loop);
                compare(wanted, found, where);
            }
    guest_free(wanted);
    guest_free(found);
}

START_TEST(borders_of_pages)
{
    translator_options = (struct translator_options){.threshold = 1, .hot = 1};
    walk((unsigned)_i, "whole blocks", 1);
}
END_TEST

START_TEST(counted)
{
    translator_options = (struct translator_options){.threshold = 1, .hot = 1, .stats = true};
    walk((unsigned)_i, "counting", 7);
}
END_TEST

START_TEST(verified)
{
    translator_options = (struct translator_options){.threshold = 1, .hot = 1, .verify = true};
    walk((unsigned)_i, "verified", 7);
}
END_TEST

static void *run_thread(void *guest)
{
    guest_run(guest);
    return NULL;
}

/* While a loop runs, the page that it writes is mapped elsewhere: it must go on there. */
START_TEST(page_moves)
{
    static const uint8_t code[] = {0x48, 0xff, 0x06,                   /* inc qword [rsi] */
                                   0xc6, 0x04, 0x0e, 0x01,             /* mov byte [rsi + rcx], 1 */
                                   0x83, 0xc1, 0x01,                   /* add ecx, 1 */
                                   0x81, 0xe1, 0xff, 0x0f, 0x00, 0x00, /* and ecx, 0xfff */
                                   0x83, 0xc9, 0x08,                   /* or ecx, 8 */
                                   0x80, 0x3f, 0x00,                   /* cmp byte [rdi], 0 */
                                   0x74, 0xe8,                         /* je */
                                   0xf4};
    translator_options = (struct translator_options){.threshold = 1, .hot = 1};
    struct guest *guest = guest_new(&accel_translator, GUEST_64);
    volatile uint64_t *before = (void *)(guest->ram + OTHER_PAGE);
    volatile uint64_t *after = (void *)(guest->ram + OTHER_PAGE + 0x1000);
    guest_load(guest, GUEST_CODE, code, sizeof code);
    uint64_t entry = OTHER_PAGE | 7;
    memcpy(guest->ram + BORDER_ENTRY, &entry, 8);
    guest->cpu->gpr[RSI] = BORDER;
    guest->cpu->gpr[RDI] = GUEST_DATA;
    pthread_t thread;
    pthread_create(&thread, NULL, run_thread, guest);
    while (*before < 1000)
        usleep(1000);
    entry += 0x1000;
    memcpy(guest->ram + BORDER_ENTRY, &entry, 8);
    cpu_post(guest->cpu, EVENT_FLUSH_TLB);
    while (*after < 1000)
        usleep(1000);
    uint64_t last = *before;
    usleep(2000);
    ck_assert_uint_eq(*before, last);
    guest->ram[GUEST_DATA] = 1;
    pthread_join(thread, NULL);
    ck_assert_uint_eq(guest->cpu->rip, GUEST_CODE + sizeof code);
    guest_free(guest);
}
END_TEST

static uint32_t flags_of_compare(uint8_t a, uint8_t b)
{
    uint8_t d = (uint8_t)(a - b);
    return (a < b ? FLAG_CF : 0) | (d == 0 ? FLAG_ZF : 0) | (d & 0x80 ? FLAG_SF : 0) |
           ((a ^ b ^ d) & 0x10 ? FLAG_AF : 0) | (__builtin_popcount(d) & 1 ? 0 : FLAG_PF) |
           ((a ^ b) & (a ^ d) & 0x80 ? FLAG_OF : 0);
}

/* A loop that is stopped shows the flags of its last comparison, though it overwrites them before
 * anything can fault, or compares with memory, or both. */
START_TEST(flags_at_events)
{
    static const uint8_t code[][16] = {
        {0x83, 0xc0, 0x02, 0x38, 0xd8, 0x75, 0xf9, 0xf4}, /* add eax, 2; cmp al, bl; jne */
        {0x83, 0xc0, 0x02, 0x3a, 0x06, 0x75, 0xf9, 0xf4}, /* add eax, 2; cmp al, [rsi]; jne */
        {0x8d, 0x40, 0x02, 0x3a, 0x06, 0x75, 0xf9, 0xf4}, /* lea eax, [rax + 2]; cmp al, [rsi] */
        {0x83, 0xc0, 0x02, 0x3a, 0x06, 0x74, 0x02, 0xeb, 0xf7, 0xf4}, /* ... je out; jmp */
    };
    const uint8_t other = 0x31; /* odd: never equal */
    for (unsigned i = 0; i < sizeof code / sizeof code[0]; i++) {
        translator_options = (struct translator_options){.threshold = 1, .hot = 1};
        struct guest *guest = guest_new(&accel_translator, GUEST_64);
        guest_load(guest, GUEST_CODE, code[i], sizeof code[i]);
        guest->stop_after = 2;
        guest->cpu->gpr[RBX] = other;
        guest->ram[GUEST_DATA] = other;
        guest->cpu->gpr[RSI] = GUEST_DATA;
        guest->cpu->gpr[RAX] = 0;
        unsigned seen = 0;
        for (unsigned stops = 0; stops < 20; stops++) {
            ck_assert_int_eq(guest_run_timed(guest), CPU_EXIT_STOPPED);
            if (guest->cpu->rip != GUEST_CODE || guest->cpu->gpr[RAX] == 0)
                continue; /* within an iteration, or before the first */
            seen++;
            uint32_t flags = flags_of_compare((uint8_t)guest->cpu->gpr[RAX], other);
            ck_assert_msg((guest->cpu->eflags & FLAG_ARITH) == flags, "loop %u: flags %x, not %x",
                          i, guest->cpu->eflags, flags);
        }
        ck_assert_uint_gt(seen, 0);
        guest_free(guest);
    }
}
END_TEST

/* A loop reads the carry of the iteration before, which stays in the host's flags: AL and CF rotate
 * by 9 bits. One that is stopped shows both, and the other flags of DEC. */
START_TEST(carry_at_events)
{
    static const uint8_t code[] = {0x10, 0xc0, 0xff, 0xc9, 0x75, 0xfa, 0xf4};
    const uint32_t rounds = 0xffffffffu; /* adc al, al; dec ecx; jne */
    translator_options = (struct translator_options){.threshold = 1, .hot = 1};
    struct guest *guest = guest_new(&accel_translator, GUEST_64);
    struct cpu *cpu = guest->cpu;
    guest_load(guest, GUEST_CODE, code, sizeof code);
    guest->stop_after = 2;
    cpu->gpr[RCX] = rounds;
    cpu->gpr[RAX] = 0x31;
    unsigned seen = 0;
    for (unsigned stops = 0; stops < 20; stops++) {
        ck_assert_int_eq(guest_run_timed(guest), CPU_EXIT_STOPPED);
        uint32_t left = (uint32_t)cpu->gpr[RCX];
        if (cpu->rip != GUEST_CODE || left == rounds)
            continue;
        seen++;
        unsigned turned = 0x31; /* AL, and CF above it */
        for (unsigned i = (rounds - left) % 9; i; i--)
            turned = (turned << 1 | turned >> 8) & 0x1ff;
        uint32_t flags = (turned >> 8 ? FLAG_CF : 0) | (left >> 31 ? FLAG_SF : 0) |
                         ((left & 15) == 15 ? FLAG_AF : 0) | (left == INT32_MAX ? FLAG_OF : 0) |
                         (__builtin_popcount(left & 0xff) & 1 ? 0 : FLAG_PF);
        ck_assert_uint_eq(cpu->gpr[RAX], turned & 0xff);
        ck_assert_uint_eq(cpu->eflags & FLAG_ARITH, flags);
    }
    ck_assert_uint_gt(seen, 0);
    guest_free(guest);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("translator: loops");
    TCase *tc = tcase_create("loops");
    const int count = sizeof loops / sizeof loops[0];
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, borders_of_pages, 0, count);
    tcase_add_loop_test(tc, counted, 0, count);
    tcase_add_loop_test(tc, verified, 0, count);
    tcase_add_test(tc, page_moves);
    tcase_add_test(tc, flags_at_events);
    tcase_add_test(tc, carry_at_events);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
