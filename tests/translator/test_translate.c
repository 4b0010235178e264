/*
 * Programs that exercise what a translator can get wrong: each runs on the interpreter and on the
 * translator, in full blocks, with one instruction a block, and verified, and must end in the same
 * state.
 */
#include "cpu/isa.h"
#include "tests/translator/guest.h"
#include "translator/engine.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM(name, bits_) extern const uint8_t program_##name[], program_##name##_end[];
#define PROGRAMS                                                                                   \
    PROGRAM(loops, GUEST_64)                                                                       \
    PROGRAM(ways_out, GUEST_64)                                                                    \
    PROGRAM(first_pointer, GUEST_64)                                                               \
    PROGRAM(calls, GUEST_64)                                                                       \
    PROGRAM(returns, GUEST_64)                                                                     \
    PROGRAM(modes, GUEST_64)                                                                       \
    PROGRAM(memory, GUEST_64)                                                                      \
    PROGRAM(modify, GUEST_64)                                                                      \
    PROGRAM(beside, GUEST_64)                                                                      \
    PROGRAM(strings, GUEST_64)                                                                     \
    PROGRAM(flags, GUEST_64)                                                                       \
    PROGRAM(vectors, GUEST_64)                                                                     \
    PROGRAM(float_loops, GUEST_64)                                                                 \
    PROGRAM(fault, GUEST_64)                                                                       \
    PROGRAM(protected, GUEST_32)                                                                   \
    PROGRAM(real, GUEST_16)
PROGRAMS
#undef PROGRAM

static const struct {
    const char *name;
    const uint8_t *start, *end;
    enum guest_bits bits;
} programs[] = {
#define PROGRAM(name, bits_) {#name, program_##name, program_##name##_end, bits_},
    PROGRAMS
#undef PROGRAM
};

static void run_one(struct guest *guest, unsigned n)
{
    guest_load(guest, GUEST_CODE, programs[n].start, (size_t)(programs[n].end - programs[n].start));
    ck_assert_msg(guest_run(guest), "%s did not halt", programs[n].name);
    ck_assert_msg(!guest->cpu->failed, "%s: verification failed", programs[n].name);
}

static void compare(const struct guest *wanted, const struct guest *found, const char *name,
                    const char *how)
{
    const struct cpu *a = wanted->cpu, *b = found->cpu;
    for (unsigned i = 0; i < 16; i++) {
        ck_assert_msg(a->gpr[i] == b->gpr[i], "%s, %s: register %u is %llx, not %llx", name, how, i,
                      (unsigned long long)b->gpr[i], (unsigned long long)a->gpr[i]);
        ck_assert_msg(memcmp(&a->xmm[i], &b->xmm[i], 32) == 0, "%s, %s: xmm%u", name, how, i);
    }
    ck_assert_msg(a->rip == b->rip, "%s, %s: rip %llx, not %llx", name, how,
                  (unsigned long long)b->rip, (unsigned long long)a->rip);
    ck_assert_msg(a->eflags == b->eflags, "%s, %s: eflags %x, not %x", name, how, b->eflags,
                  a->eflags);
    ck_assert_msg(a->mxcsr == b->mxcsr && a->cr2 == b->cr2, "%s, %s: mxcsr or cr2", name, how);
    for (uint32_t at = 0; at < GUEST_RAM; at += 4096)
        if (memcmp(wanted->ram + at, found->ram + at, 4096) != 0)
            for (uint32_t i = at; i < at + 4096; i++)
                ck_assert_msg(wanted->ram[i] == found->ram[i], "%s, %s: memory %x: %02x, not %02x",
                              name, how, i, found->ram[i], wanted->ram[i]);
}

START_TEST(equal_ends)
{
    static const struct {
        const char *name;
        struct translator_options options;
    } ways[] = {
        {"hot blocks", {.threshold = 1, .hot = 1}},
        {"warm blocks", {.threshold = 1, .hot = 1000000}},
        {"blocks that become hot", {.threshold = 1, .hot = 3}},
        {"no cold code", {.threshold = 20}},
        {"single instructions", {.threshold = 1, .hot = 2, .max_insns = 1}},
        {"pairs of instructions that become hot", {.threshold = 1, .hot = 3, .max_insns = 2}},
        {"counting", {.threshold = 1, .hot = 2, .stats = true}},
        {"verified", {.threshold = 1, .verify = true}},
        {"floating blocks", {.threshold = 1, .float_all = true}},
        {"floating blocks that become hot", {.threshold = 1, .hot = 3, .float_all = true}},
        {"floating single instructions", {.threshold = 1, .max_insns = 1, .float_all = true}},
        {"floating blocks, verified", {.threshold = 1, .float_all = true, .verify = true}},
    };
    struct guest *wanted = guest_new(&accel_interpreter, programs[_i].bits);
    run_one(wanted, (unsigned)_i);
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        translator_options = ways[i].options;
        struct guest *found = guest_new(&accel_translator, programs[_i].bits);
        run_one(found, (unsigned)_i);
        compare(wanted, found, programs[_i].name, ways[i].name);
        guest_free(found);
    }
    guest_free(wanted);
}
END_TEST

/*
 * A small code cache, of which what was translated first is dropped again and again. Functions go
 * to one another at random, by indirect jumps and by direct ones; numbers in some of them change
 * now and then. Nothing may be left that leads to what is dropped, nor may the return at the end,
 * whose call was long ago.
 */
enum { WALK_BITS = 13, WALK_FUNCTIONS = 1 << WALK_BITS, WALK_BYTES = 64, WALK_STEPS = 20000 };
enum { WALK_NUMBER = 6, WALK_JUMP = 44 }; /* offsets in a function */
#define WALK_TABLE 0x400000u
#define WALK_START 0x410000u

static void make_walk(struct guest *guest)
{
    static const uint8_t body[] = {
        0xff, 0xcb, /* dec ebx */
        0x74, 0x2c, /* jz to the ret */
        0x81, 0xc0, 0,    0,
        0,    0, /* add eax, number */
        0x48, 0x69, 0xf6, 0x2d,
        0xf4, 0x51, 0x58,                 /* imul rsi, rsi, 0x5851f42d */
        0x48, 0xff, 0xc6,                 /* inc rsi */
        0x48, 0x89, 0xf1,                 /* mov rcx, rsi */
        0x48, 0xc1, 0xe9, 64 - WALK_BITS, /* shr rcx, 51 */
        0x40, 0xf6, 0xc6, 0x01,           /* test sil, 1 */
        0x74, 0x03,                       /* jz over the jump */
        0xff, 0x24, 0xcf,                 /* jmp [rdi + rcx * 8] */
        0x0f, 0xb6, 0xd0,                 /* movzx edx, al */
        0x01, 0x54, 0x24, 0x08,           /* add [rsp + 8], edx */
        0xe9, 0,    0,    0,
        0,    /* jmp to another function */
        0xc3, /* ret */
    };
    static const uint8_t start[] = {0xff, 0xd1, 0xf4}; /* call rcx; hlt */
    static uint8_t code[WALK_FUNCTIONS * WALK_BYTES];
    static uint64_t table[WALK_FUNCTIONS];
    for (uint32_t i = 0; i < WALK_FUNCTIONS; i++) {
        uint8_t *at = code + (size_t)i * WALK_BYTES;
        uint32_t to = (i * 5 + 1) % WALK_FUNCTIONS;
        int32_t jump = ((int32_t)to - (int32_t)i) * WALK_BYTES - (WALK_JUMP + 4);
        memcpy(at, body, sizeof body);
        memcpy(at + WALK_NUMBER, &i, 4);
        memcpy(at + WALK_JUMP, &jump, 4);
        table[i] = GUEST_CODE + i * WALK_BYTES;
    }
    guest_load(guest, GUEST_CODE, code, sizeof code);
    guest_load(guest, WALK_START, start, sizeof start);
    memcpy(guest->ram + WALK_TABLE, table, sizeof table);
}

static uint64_t walk(struct guest *guest)
{
    struct cpu *cpu = guest->cpu;
    make_walk(guest);
    cpu->gpr[RAX] = 0;
    for (uint32_t part = 0; part < 8; part++) {
        uint32_t number = part * 1000;
        guest_load(guest, GUEST_CODE + part * 7 * WALK_BYTES + WALK_NUMBER, &number, 4);
        cpu->halted = false;
        cpu->rip = WALK_START;
        cpu->gpr[RBX] = WALK_STEPS;
        cpu->gpr[RCX] = GUEST_CODE;
        cpu->gpr[RSI] = part + 1;
        cpu->gpr[RDI] = WALK_TABLE;
        ck_assert(guest_run(guest) && !cpu->failed);
        ck_assert_uint_eq(cpu->gpr[RBX], 0);
    }
    uint32_t sum;
    memcpy(&sum, guest->ram + cpu->gpr[RSP] + 8, 4);
    return cpu->gpr[RAX] ^ cpu->gpr[RSI] ^ (uint64_t)sum << 32;
}

START_TEST(small_cache)
{
    static const struct translator_options ways[] = {
        {.threshold = 1},
        {.threshold = 1, .hot = 3},
        {.threshold = 2, .hot = 1},
        {.threshold = 1, .hot = 10, .max_insns = 3},
        {.threshold = 1, .hot = 3, .stats = true},
        {.threshold = 1, .verify = true},
        {.threshold = 1, .float_all = true},
        {.threshold = 1, .hot = 3, .float_all = true},
        {.threshold = 1, .hot = 10, .max_insns = 3, .float_all = true},
        {.threshold = 1, .hot = 3, .float_all = true, .verify = true},
    };
    struct guest *reference = guest_new(&accel_interpreter, GUEST_64);
    uint64_t wanted = walk(reference);
    guest_free(reference);
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        translator_options = ways[i];
        translator_options.cache_mb = 1;
        struct guest *guest = guest_new(&accel_translator, GUEST_64);
        uint64_t found = walk(guest);
        ck_assert_msg(found == wanted, "way %u: %llx, not %llx", i, (unsigned long long)found,
                      (unsigned long long)wanted);
        ck_assert_uint_gt(cpu_engine(guest->cpu)->stats.evictions, 4);
        guest_free(guest);
    }
}
END_TEST

/* An event posted from outside ends an endless loop. */
START_TEST(events_end_loops)
{
    static const uint8_t loops[][11] = {
        {0xeb, 0xfe},                                           /* jmp . */
        {0x48, 0xff, 0xc0, 0x75, 0xfb, 0xf4},                   /* inc rax; jnz */
        {0x48, 0x8d, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xff, 0xe0}, /* lea rax; jmp rax */
        {0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 0x08, 0xeb, 0xf5}, /* call; add rsp, 8; jmp */
        {0xe8, 0x02, 0, 0, 0, 0xeb, 0xf9, 0xc3},                /* call f; jmp; f: ret */
        {0xe8, 0x04, 0, 0, 0, 0x48, 0x83, 0xec, 0x08, 0xc3},    /* call f; sub rsp, 8; f: ret */
    };
    for (unsigned i = 0; i < 2 * sizeof loops / sizeof loops[0]; i++) {
        const uint8_t *loop = loops[i / 2];
        translator_options = (struct translator_options){.threshold = 1, .hot = i % 2 ? 1 : 1000};
        struct guest *guest = guest_new(&accel_translator, GUEST_64);
        guest_load(guest, GUEST_CODE, loop, sizeof loops[0]);
        guest->stop_after = 100;
        ck_assert_int_eq(guest_run_timed(guest), CPU_EXIT_STOPPED);
        guest_free(guest);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("translator");
    TCase *tc = tcase_create("programs");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, equal_ends, 0, sizeof programs / sizeof programs[0]);
    tcase_add_test(tc, small_cache);
    tcase_add_test(tc, events_end_loops);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
