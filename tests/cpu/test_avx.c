/*
 * AVX beyond what the oracle sees: availability, upper halves, faults within one instruction, state
 * images. Each test runs on the interpreter and, where there is one, on the translator.
 */
#include "cpu/fpu/softfloat.h"
#include "tests/cpu/engines.h"
#include "tests/cpu/guest.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

enum { DATA = 0x40000, HOLE = 0x200000, RUNS = 256 };

static struct board *board;
static struct cpu *cpu;

static void set_up(unsigned engine)
{
    const struct accel *accel = engine ? engine_find("translator") : &accel_interpreter;
    engine_set_options(1, 0, false);
    board = board_new(4 << 20, "max", accel ? accel : &accel_interpreter);
    cpu = board->cpu;
}

/* 64-bit mode with AVX enabled; the 2 MiB from HOLE on are absent. */
static void start(void)
{
    guest_long(board);
    guest_put(board, GUEST_TABLES + 0x2000 + (HOLE >> 21) * 8, 0, 8);
    cpu->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    cpu->xcr0 = 7;
    cpu->mxcsr = 0x1f80;
    cpu->gpr[RBX] = DATA;
    cpu_update_mode(cpu);
    tlb_flush_all(cpu);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned j = 0; j < 8; j++)
            cpu->xmm[i].u32[j] = 0x3f800000 + i * 0x100 + j;
}

/* The instruction and a HLT; RUNS, or the vector that it raised. */
#define RUN(code) guest_run_at(board, GUEST_CODE, code "\xf4", sizeof(code))

/* -- Availability -- */

#define VADDPS "\xc5\xf0\x58\xc2"     /* vaddps xmm0, xmm1, xmm2 */
#define ANDN   "\xc4\xe2\x70\xf2\xc2" /* andn eax, ecx, edx */

START_TEST(availability)
{
    static const struct {
        uint64_t cr0, cr4, xcr0; /* cleared from CR4, set in CR0 */
        int vector;
    } cases[] = {
        {0, 0, 7, RUNS},          {0, CR4_OSXSAVE, 7, EXC_UD}, {0, 0, 3, EXC_UD},
        {CR0_TS, 0, 7, EXC_NM},   {CR0_TS, 0, 3, EXC_UD},      {CR0_EM, 0, 7, RUNS},
        {0, CR4_OSFXSR, 7, RUNS},
    };
    set_up((unsigned)_i);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        start();
        cpu->cr0 |= cases[i].cr0;
        cpu->cr4 &= ~cases[i].cr4;
        cpu->xcr0 = cases[i].xcr0;
        cpu_update_mode(cpu);
        ck_assert_msg(RUN(VADDPS) == cases[i].vector, "case %u", i);
    }
    start();
    cpu->cr4 &= ~(uint64_t)CR4_OSXSAVE; /* general registers need no state enabled */
    cpu_update_mode(cpu);
    ck_assert_int_eq(RUN(ANDN), RUNS);
    board_free(board);
}
END_TEST

/* -- Upper halves -- */

START_TEST(upper_halves)
{
    set_up((unsigned)_i);
    start();
    ck_assert_int_eq(RUN("\x0f\x28\xd1"), RUNS); /* movaps xmm2, xmm1 */
    ck_assert_uint_eq(cpu->xmm[2].u32[0], 0x3f800100);
    ck_assert_uint_eq(cpu->xmm[2].u32[7], 0x3f800207);
    start();
    ck_assert_int_eq(RUN("\xc5\xfc\x28\xd1\x0f\x28\xd3"),
                     RUNS); /* vmovaps ymm2, ymm1; movaps xmm2, xmm3 */
    ck_assert_uint_eq(cpu->xmm[2].u32[3], 0x3f800303);
    ck_assert_uint_eq(cpu->xmm[2].u32[4], 0x3f800104);
    start();
    ck_assert_int_eq(RUN("\xc5\xf8\x28\xd1"), RUNS); /* vmovaps xmm2, xmm1 */
    ck_assert_uint_eq(cpu->xmm[2].u32[3], 0x3f800103);
    ck_assert_uint_eq(cpu->xmm[2].u64[2] | cpu->xmm[2].u64[3], 0);
    start();
    ck_assert_int_eq(RUN("\xc5\xf8\x77"), RUNS); /* vzeroupper */
    for (unsigned i = 0; i < 16; i++) {
        ck_assert_uint_eq(cpu->xmm[i].u64[2] | cpu->xmm[i].u64[3], 0);
        ck_assert_uint_eq(cpu->xmm[i].u32[0], 0x3f800000 + i * 0x100);
    }
    start();
    ck_assert_int_eq(RUN("\xc5\xfc\x77"), RUNS); /* vzeroall */
    for (unsigned i = 0; i < 16; i++)
        ck_assert_uint_eq(cpu->xmm[i].u64[0] | cpu->xmm[i].u64[3], 0);
    board_free(board);
}
END_TEST

/* Outside 64-bit mode only the first eight registers are cleared. */
START_TEST(upper_halves_32)
{
    set_up((unsigned)_i);
    start();
    union vector before = cpu->xmm[8];
    guest_protected(board);
    cpu->cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
    cpu->xcr0 = 7;
    cpu_update_mode(cpu);
    cpu->xmm[8] = cpu->xmm[7] = before;
    ck_assert_int_eq(RUN("\xc5\xfc\x77"), RUNS); /* vzeroall */
    ck_assert_mem_eq(&cpu->xmm[8], &before, 32);
    ck_assert_uint_eq(cpu->xmm[7].u64[0] | cpu->xmm[7].u64[3], 0);
    board_free(board);
}
END_TEST

/* -- Alignment and faults -- */

START_TEST(alignment)
{
    set_up((unsigned)_i);
    start();
    cpu->gpr[RBX] = DATA + 16;
    ck_assert_int_eq(RUN("\xc5\xfc\x28\x03"), EXC_GP); /* vmovaps ymm0, [rbx] */
    start();
    cpu->gpr[RBX] = DATA + 16;
    ck_assert_int_eq(RUN("\xc5\xf8\x28\x03"), RUNS); /* xmm0 */
    start();
    cpu->gpr[RBX] = DATA + 32;
    ck_assert_int_eq(RUN("\xc5\xfc\x28\x03"), RUNS);
    start();
    cpu->gpr[RBX] = DATA + 1;
    ck_assert_int_eq(RUN("\xc5\xf5\x58\x03"), RUNS); /* vaddpd ymm0, ymm1, [rbx] */
    board_free(board);
}
END_TEST

/* The second page is absent: nothing changes. */
START_TEST(page_crossing)
{
    static const char *const names[] = {"load", "store", "arithmetic"};
    set_up((unsigned)_i);
    for (unsigned kind = 0; kind < 3; kind++) {
        start();
        cpu->gpr[RBX] = HOLE - 8;
        memset(board->ram + HOLE - 32, 0x77, 32);
        union vector before = cpu->xmm[0];
        int vector = kind == 0   ? RUN("\xc5\xfc\x10\x03")  /* vmovups ymm0, [rbx] */
                     : kind == 1 ? RUN("\xc5\xfc\x11\x03")  /* vmovups [rbx], ymm0 */
                                 : RUN("\xc5\xf5\x58\x03"); /* vaddpd ymm0, ymm1, [rbx] */
        ck_assert_msg(vector == EXC_PF, "%s", names[kind]);
        ck_assert_uint_eq(cpu->cr2, HOLE);
        ck_assert_mem_eq(&cpu->xmm[0], &before, 32);
        ck_assert_uint_eq(guest_get(board, HOLE - 8, 8), 0x7777777777777777);
    }
    board_free(board);
}
END_TEST

/* Only elements whose mask is negative touch memory. */
START_TEST(masked_moves)
{
    set_up((unsigned)_i);
    for (unsigned fault = 0; fault < 2; fault++) {
        start();
        cpu->gpr[RBX] = HOLE - 16; /* elements 4-7 lie in the hole */
        for (unsigned i = 0; i < 4; i++)
            guest_put(board, HOLE - 16 + 4 * i, 100 + i, 4);
        memset(&cpu->xmm[1], 0, 32);
        cpu->xmm[1].u32[0] = cpu->xmm[1].u32[2] = 0x80000000;
        cpu->xmm[1].u32[5] = fault << 31;
        union vector before = cpu->xmm[0];
        int vector = RUN("\xc4\xe2\x75\x2c\x03"); /* vmaskmovps ymm0, ymm1, [rbx] */
        if (fault) {
            ck_assert_int_eq(vector, EXC_PF);
            ck_assert_uint_eq(cpu->cr2, HOLE + 4);
            ck_assert_mem_eq(&cpu->xmm[0], &before, 32);
        } else {
            const uint32_t loaded[8] = {100, 0, 102};
            ck_assert_int_eq(vector, RUNS);
            ck_assert_mem_eq(&cpu->xmm[0], loaded, 32);
        }
        cpu->xmm[0] = before;
        union vector mask = cpu->xmm[1];
        start();
        cpu->xmm[1] = mask;
        cpu->gpr[RBX] = HOLE - 16;
        for (unsigned i = 0; i < 4; i++)
            guest_put(board, HOLE - 16 + 4 * i, 100 + i, 4);
        vector = RUN("\xc4\xe2\x75\x2e\x03"); /* vmaskmovps [rbx], ymm1, ymm0 */
        ck_assert_int_eq(vector, fault ? EXC_PF : RUNS);
        ck_assert_uint_eq(guest_get(board, HOLE - 16, 4), fault ? 100 : before.u32[0]);
        ck_assert_uint_eq(guest_get(board, HOLE - 12, 4), 101);
        ck_assert_uint_eq(guest_get(board, HOLE - 8, 4), fault ? 102 : before.u32[2]);
    }
    board_free(board);
}
END_TEST

/* A gather that faults keeps the elements that it has, clears their masks, and can go on with what
 * it has made of the others. */
START_TEST(gather)
{
    set_up((unsigned)_i);
    start();
    for (unsigned i = 0; i < 8; i++) {
        guest_put(board, DATA + 4 * i, 100 + i, 4);
        cpu->xmm[0].u32[i] = 200 + i;
        cpu->xmm[1].u32[i] = i == 2 ? 0 : 0x80000000;
        cpu->xmm[2].u32[i] = i == 5 ? (HOLE - DATA) / 4 : 7 - i;
    }
    ck_assert_int_eq(RUN("\xc4\xe2\x75\x90\x04\x93"),
                     EXC_PF); /* vpgatherdd ymm0, [rbx+ymm2*4], ymm1 */
    ck_assert_uint_eq(cpu->cr2, HOLE);
    const uint32_t half_done[8] = {107, 106, 202, 104, 103, 205, 206, 207};
    const uint32_t mask_left[8] = {0, 0, 0, 0, 0, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    ck_assert_mem_eq(&cpu->xmm[0], half_done, 32);
    ck_assert_mem_eq(&cpu->xmm[1], mask_left, 32);
    /* The page comes, and the instruction goes on. */
    guest_put(board, GUEST_TABLES + 0x2000 + (HOLE >> 21) * 8, HOLE | 0x87, 8);
    guest_put(board, HOLE, 999, 4);
    memset(board->ram + DATA, 0, 32); /* what is loaded already is not loaded again */
    guest_put(board, DATA + 4 * 1, 55, 4);
    guest_put(board, DATA + 4 * 0, 66, 4);
    tlb_flush_all(cpu);
    cpu->rip = GUEST_CODE;
    cpu->gpr[RSP] = GUEST_STACK0;
    ck_assert_int_eq(RUN("\xc4\xe2\x75\x90\x04\x93"), RUNS);
    const uint32_t done[8] = {107, 106, 202, 104, 103, 999, 55, 66};
    ck_assert_mem_eq(&cpu->xmm[0], done, 32);
    ck_assert_uint_eq(
        cpu->xmm[1].u64[0] | cpu->xmm[1].u64[1] | cpu->xmm[1].u64[2] | cpu->xmm[1].u64[3], 0);
    board_free(board);
}
END_TEST

/* An unmasked exception in any of eight lanes leaves the destination alone. */
START_TEST(float_exception)
{
    set_up((unsigned)_i);
    start();
    cpu->mxcsr = 0x1f80 & ~(FP_ZERO_DIVIDE << 7);
    cpu->xmm[2].u32[6] = 0;
    union vector before = cpu->xmm[0];
    ck_assert_int_eq(RUN("\xc5\xf4\x5e\xc2"), EXC_XM); /* vdivps ymm0, ymm1, ymm2 */
    ck_assert_mem_eq(&cpu->xmm[0], &before, 32);
    ck_assert_uint_eq(cpu->mxcsr & FP_EXCEPTIONS, FP_ZERO_DIVIDE);
    board_free(board);
}
END_TEST

/* -- State images -- */

#define XSAVEC  "\x0f\xc7\x23"
#define XSAVES  "\x0f\xc7\x2b"
#define XRSTOR  "\x0f\xae\x2b"
#define XRSTORS "\x0f\xc7\x1b"
#define XGETBV  "\x0f\x01\xd0"

static void start_image(void)
{
    start();
    memset(board->ram + DATA, 0xee, 1024);
    memset(board->ram + DATA + 512, 0, 64);
    memset(&cpu->x87, 0, sizeof cpu->x87);
    cpu->x87.control = 0x37f;
    cpu->x87.empty = 0xff;
    cpu->gpr[RAX] = 7;
    cpu->gpr[RDX] = 0;
}

START_TEST(compacted_image)
{
    set_up((unsigned)_i);
    start_image();
    memset(cpu->xmm, 0, sizeof cpu->xmm);
    cpu->xmm[3].u64[3] = 0x1234;
    ck_assert_int_eq(RUN(XSAVEC), RUNS);
    ck_assert_uint_eq(guest_get(board, DATA + 512, 8), 4);
    ck_assert_uint_eq(guest_get(board, DATA + 520, 8), 1ull << 63 | 7);
    ck_assert_uint_eq(guest_get(board, DATA + 576 + 3 * 16 + 8, 8), 0x1234);
    ck_assert_uint_eq(guest_get(board, DATA + 0, 8), 0xeeeeeeeeeeeeeeee); /* x87: left out */
    ck_assert_uint_eq(guest_get(board, DATA + 24, 4), 0xeeeeeeee);        /* MXCSR too */

    /* MXCSR makes SSE count as in use. */
    start_image();
    memset(cpu->xmm, 0, sizeof cpu->xmm);
    cpu->mxcsr = 0x1fa0;
    ck_assert_int_eq(RUN(XSAVES), RUNS);
    ck_assert_uint_eq(guest_get(board, DATA + 512, 8), 2);
    ck_assert_uint_eq(guest_get(board, DATA + 24, 4), 0x1fa0);

    /* Back: SSE from the image, the others to their initial state. */
    union vector garbage = {.u64 = {1, 2, 3, 4}};
    cpu->xmm[5] = garbage;
    cpu->mxcsr = 0x1f80;
    cpu->halted = false;
    cpu->gpr[RAX] = 7;
    cpu->rip = GUEST_CODE;
    ck_assert_int_eq(RUN(XRSTORS), RUNS);
    ck_assert_uint_eq(cpu->xmm[5].u64[0] | cpu->xmm[5].u64[2], 0);
    ck_assert_uint_eq(cpu->mxcsr, 0x1fa0);
    board_free(board);
}
END_TEST

START_TEST(bad_images)
{
    static const struct {
        unsigned at; /* offset in the header */
        uint64_t value, xcomp_bv;
        bool standard; /* refused by XRSTORS only */
    } cases[] = {
        {0, 7, 0, true},                /* standard format */
        {0, 8, 1ull << 63 | 7, false},  /* a component that does not exist */
        {0, 4, 1ull << 63 | 3, false},  /* one that the format does not have */
        {8, 1ull << 63 | 15, 0, false}, /* a format with one that XCR0 does not have */
        {16, 1, 1ull << 63 | 7, false}, /* reserved */
        {56, 1, 1ull << 63 | 7, false}, /* reserved in the compacted format */
    };
    set_up((unsigned)_i);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned supervisor = 0; supervisor < 2; supervisor++) {
            start_image();
            memset(board->ram + DATA, 0, 512);
            guest_put(board, DATA + 24, 0x1f80, 4);
            guest_put(board, DATA + 520, cases[i].xcomp_bv, 8);
            guest_put(board, DATA + 512 + cases[i].at, cases[i].value, 8);
            int expected = cases[i].standard && !supervisor ? RUNS : EXC_GP;
            int vector = supervisor ? RUN(XRSTORS) : RUN(XRSTOR);
            ck_assert_msg(vector == expected, "case %u %s: %d", i,
                          supervisor ? "xrstors" : "xrstor", vector);
        }
    start_image();
    guest_enter_ring3(board);
    ck_assert_int_eq(RUN(XSAVES), EXC_GP);
    board_free(board);
}
END_TEST

START_TEST(components_in_use)
{
    set_up((unsigned)_i);
    start_image();
    cpu->gpr[RCX] = 1;
    ck_assert_int_eq(RUN(XGETBV), RUNS);
    ck_assert_uint_eq(cpu->gpr[RAX], 6);
    start_image();
    for (unsigned i = 0; i < 16; i++)
        memset(cpu->xmm[i].u8 + 16, 0, 16);
    cpu->gpr[RCX] = 1;
    ck_assert_int_eq(RUN(XGETBV), RUNS);
    ck_assert_uint_eq(cpu->gpr[RAX], 2);
    start_image();
    cpu->gpr[RCX] = 2;
    ck_assert_int_eq(RUN(XGETBV), EXC_GP);
    start();
    cpu->gpr[RCX] = 0xda0; /* IA32_XSS: only 0 */
    cpu->gpr[RAX] = 0;
    ck_assert_int_eq(RUN("\x0f\x30"), RUNS);
    start();
    cpu->gpr[RCX] = 0xda0;
    cpu->gpr[RAX] = 1 << 8;
    ck_assert_int_eq(RUN("\x0f\x30"), EXC_GP);
    board_free(board);
}
END_TEST

/* -- float16 and FMA against plain arithmetic -- */

START_TEST(all_halves)
{
    for (unsigned half = 0; half < 0x10000; half++) {
        struct fp_env env = {.masked = FP_EXCEPTIONS};
        unsigned exponent = half >> 10 & 31, fraction = half & 0x3ff;
        uint32_t bits = f16_to_f32(&env, (uint16_t)half);
        float value;
        memcpy(&value, &bits, 4);
        if (exponent == 31 && fraction) {
            ck_assert(isnan(value));
            ck_assert_int_eq(env.flags, fraction & 0x200 ? 0 : FP_INVALID);
            continue;
        }
        float expected = exponent == 31 ? INFINITY
                         : exponent     ? ldexpf((float)(fraction | 0x400), (int)exponent - 25)
                                        : ldexpf((float)fraction, -24);
        expected = half >> 15 ? -expected : expected;
        ck_assert_mem_eq(&value, &expected, 4);
        ck_assert_int_eq(env.flags, 0);
        for (unsigned rounding = 0; rounding < 4; rounding++) { /* exact: there and back */
            struct fp_env back = {.masked = FP_EXCEPTIONS, .rounding = (uint8_t)rounding};
            ck_assert_uint_eq(f32_to_f16(&back, bits), half);
            ck_assert_int_eq(back.flags, 0);
        }
    }
}
END_TEST

/* Between two neighbours of float16 the rounding mode decides. */
START_TEST(halves_rounded)
{
    for (unsigned half = 0; half < 0x7bff; half++) {
        struct fp_env env = {.masked = FP_EXCEPTIONS};
        float low, high, middle;
        uint32_t bits = f16_to_f32(&env, (uint16_t)half),
                 above = f16_to_f32(&env, (uint16_t)(half + 1));
        memcpy(&low, &bits, 4);
        memcpy(&high, &above, 4);
        middle = (low + high) / 2;
        uint32_t middle_bits;
        memcpy(&middle_bits, &middle, 4);
        const unsigned expected[4] = {half + (half & 1), half, half + 1, half};
        for (unsigned rounding = 0; rounding < 4; rounding++) {
            struct fp_env round = {.masked = FP_EXCEPTIONS, .rounding = (uint8_t)rounding};
            ck_assert_uint_eq(f32_to_f16(&round, middle_bits), expected[rounding]);
            ck_assert(round.flags & FP_INEXACT);
        }
    }
}
END_TEST

static uint64_t random64(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* The C library's fma() is exact. */
START_TEST(fma_random)
{
    for (unsigned i = 0; i < 300000; i++) {
        uint64_t bits[3], expected_bits;
        double value[3];
        for (unsigned j = 0; j < 3; j++) { /* exponents near each other, so that sums cancel */
            bits[j] = random64() & 0x800fffffffffffff;
            bits[j] |= (uint64_t)(1023 - 40 + random64() % 80) << 52;
        }
        if (i & 1) { /* nearly -a * b */
            memcpy(value, bits, sizeof value);
            value[2] = -(value[0] * value[1]);
            memcpy(bits, value, sizeof value);
            bits[2] ^= random64() & 3;
        }
        memcpy(value, bits, sizeof value);
        double expected = fma(value[0], value[1], value[2]);
        memcpy(&expected_bits, &expected, 8);
        struct fp_env env = {.masked = FP_EXCEPTIONS};
        ck_assert_uint_eq(f64_fma(&env, bits[0], bits[1], bits[2], false, false), expected_bits);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("AVX");
    TCase *t = tcase_create("both engines");
    tcase_add_loop_test(t, availability, 0, 2);
    tcase_add_loop_test(t, upper_halves, 0, 2);
    tcase_add_loop_test(t, upper_halves_32, 0, 2);
    tcase_add_loop_test(t, alignment, 0, 2);
    tcase_add_loop_test(t, page_crossing, 0, 2);
    tcase_add_loop_test(t, masked_moves, 0, 2);
    tcase_add_loop_test(t, gather, 0, 2);
    tcase_add_loop_test(t, float_exception, 0, 2);
    tcase_add_loop_test(t, compacted_image, 0, 2);
    tcase_add_loop_test(t, bad_images, 0, 2);
    tcase_add_loop_test(t, components_in_use, 0, 2);
    suite_add_tcase(suite, t);
    TCase *numbers = tcase_create("numbers");
    tcase_set_timeout(numbers, 60);
    tcase_add_test(numbers, all_halves);
    tcase_add_test(numbers, halves_rounded);
    tcase_add_test(numbers, fma_random);
    suite_add_tcase(suite, numbers);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
