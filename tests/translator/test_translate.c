/*
 * Programs that exercise what a translator can get wrong: each runs on the interpreter and on the
 * translator, in full blocks, with one instruction a block, and verified, and must end in the same
 * state.
 */
#include "cpu/isa.h"
#include "tests/translator/guest.h"
#include "translator/translator.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM(name, bits_) extern const uint8_t program_##name[], program_##name##_end[];
#define PROGRAMS                                                                                   \
    PROGRAM(loops, GUEST_64)                                                                       \
    PROGRAM(ways_out, GUEST_64)                                                                    \
    PROGRAM(calls, GUEST_64)                                                                       \
    PROGRAM(memory, GUEST_64)                                                                      \
    PROGRAM(modify, GUEST_64)                                                                      \
    PROGRAM(beside, GUEST_64)                                                                      \
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

/* The code cache fills up and is emptied, again and again. */
START_TEST(small_cache)
{
    enum { FUNCTIONS = 3000, BYTES = 64 };
    static uint8_t code[FUNCTIONS * BYTES + 64];
    translator_options = (struct translator_options){.threshold = 1, .hot = 4, .cache_mb = 1};
    struct guest *guest = guest_new(&accel_translator, GUEST_64);
    unsigned at = 0;
    memset(code, 0x90, sizeof code);
    for (unsigned i = 0; i < FUNCTIONS; i++, at += BYTES) {
        static const uint8_t body[] = {0x48, 0x83,      0xc0, 0x01, /* add rax, 1 */
                                       0x48, 0x01,      0x04, 0x24, /* add [rsp], rax */
                                       0x48, 0x8b,      0x1c, 0x24, /* mov rbx, [rsp] */
                                       0xeb, BYTES - 14};           /* jmp to the next */
        memcpy(code + at, body, sizeof body);
    }
    static const uint8_t tail[] = {0xff, 0xc9, /* dec ecx */ 0x74, 0x05, 0xe9};
    memcpy(code + at, tail, sizeof tail);
    int32_t back = -(int32_t)(at + sizeof tail + 4);
    memcpy(code + at + sizeof tail, &back, 4);
    code[at + sizeof tail + 4] = 0xf4;
    guest_load(guest, GUEST_CODE, code, sizeof code);
    guest->cpu->gpr[RCX] = 5;
    ck_assert(guest_run(guest));
    ck_assert_uint_eq(guest->cpu->gpr[RAX], 5 * FUNCTIONS);
    guest_free(guest);
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
    };
    for (unsigned i = 0; i < sizeof loops / sizeof loops[0]; i++) {
        translator_options = (struct translator_options){.threshold = 1, .hot = 1};
        struct guest *guest = guest_new(&accel_translator, GUEST_64);
        guest_load(guest, GUEST_CODE, loops[i], sizeof loops[i]);
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
