/*
 * The portable transcendental functions against the host's x87 instructions (x86 hosts): special
 * operands exactly, others to two units in the last place. And known values, on any host.
 *
 *     test_transcendental [OPERANDS]      for each function; default 20,000
 */
#include "cpu/fpu/transcendental.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct fp_env nearest_env(void)
{
    return (struct fp_env){.precision = 64, .masked = FP_EXCEPTIONS};
}

static struct float80 compute(enum transcendental function, struct float80 st0, struct float80 st1)
{
    struct fp_env env = nearest_env();
    struct transcendental_result result;
    transcendental_portable(function, &env, st0, st1, &result);
    return result.value[0];
}

static const struct float80 one = {1ull << 63, 0x3fff};

static void expect(struct float80 value, unsigned exponent, uint64_t mantissa)
{
    ck_assert_msg(value.exponent == exponent && value.mantissa == mantissa,
                  "%04x:%016" PRIx64 ", expected %04x:%016" PRIx64, value.exponent, value.mantissa,
                  exponent, mantissa);
}

START_TEST(known_values)
{
    struct float80 two = {1ull << 63, 0x4000}, ten = {0xa000000000000000, 0x4002};
    struct float80 half = {1ull << 63, 0x3ffe};
    expect(compute(TRANSCENDENTAL_ATAN, one, one), 0x3ffe, 0xc90fdaa22168c235); /* pi/4 */
    expect(compute(TRANSCENDENTAL_YL2X, ten, one), 0x4000, 0xd49a784bcd1b8afe); /* log2 10 */
    expect(compute(TRANSCENDENTAL_YL2X, two, ten), 0x4002, 0xa000000000000000);
    expect(compute(TRANSCENDENTAL_2XM1, half, one), 0x3ffd, 0xd413cccfe7799211);   /* sqrt 2 - 1 */
    expect(compute(TRANSCENDENTAL_YL2XP1, half, one), 0x3ffe, 0x95c01a39fbd687a0); /* log2 1.5 */
    expect(compute(TRANSCENDENTAL_SIN, one, one), 0x3ffe, 0xd76aa47848677021);
    expect(compute(TRANSCENDENTAL_COS, one, one), 0x3ffe, 0x8a51407da8345c92);
    expect(compute(TRANSCENDENTAL_TAN, one, one), 0x3fff, 0xc75922e5f71d2dc5);
}
END_TEST

#if defined(__x86_64__) || defined(__i386__)

static uint64_t operands = 20000;
static uint64_t seed = 0x853c49e6748fea9bull;

static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x9e3779b97f4a7c15ull;
}

static struct float80 random_operand(int low, int high)
{
    static const struct float80 edges[] = {
        {0, 0},
        {1ull << 63, 0x3fff},
        {1ull << 63, 0x7fff},
        {0xc000000000000000, 0x7fff},
        {0x9000000000000000, 0x7fff},
        {1, 0},
        {0x7fffffffffffffff, 0},
        {1ull << 63, 1},
        {1ull << 63, 0x3ffe},
        {0x4000000000000000, 0x4000},
        {1ull << 63, 0x403e},
    };
    struct float80 value = edges[random64() % (sizeof edges / sizeof edges[0])];
    if (random64() % 8) {
        value.exponent = (uint16_t)(0x3fff + low + (int)(random64() % (uint64_t)(high - low + 1)));
        value.mantissa = random64() | 1ull << 63;
    }
    value.exponent |= (uint16_t)((random64() & 1) << 15);
    return value;
}

/* Distance in units in the last place; large when the values are not both finite. */
static uint64_t distance(struct float80 a, struct float80 b)
{
    if (a.exponent == b.exponent) {
        uint64_t d = a.mantissa - b.mantissa;
        return d >> 63 ? 0 - d : d;
    }
    struct float80 large = (uint16_t)(a.exponent - b.exponent) == 1 ? a : b;
    struct float80 small = large.exponent == a.exponent && large.mantissa == a.mantissa ? b : a;
    if ((uint16_t)(large.exponent - small.exponent) != 1)
        return ~0ull;
    return (large.mantissa - (1ull << 63)) + (0 - small.mantissa);
}

struct function_case {
    const char *name;
    enum transcendental function;
    int low, high, low1, high1; /* exponents of ST(0) and ST(1) */
    bool pair;
};

static const struct function_case function_cases[] = {
    {"f2xm1", TRANSCENDENTAL_2XM1, -70, -1, 0, 0, false},
    {"fyl2x", TRANSCENDENTAL_YL2X, -3, 3, -40, 40, false},
    {"fyl2x wide", TRANSCENDENTAL_YL2X, -16000, 16000, -100, 100, false},
    {"fyl2xp1", TRANSCENDENTAL_YL2XP1, -70, -3, -40, 40, false},
    {"fpatan", TRANSCENDENTAL_ATAN, -10, 10, -10, 10, false},
    {"fpatan wide", TRANSCENDENTAL_ATAN, -16000, 16000, -16000, 16000, false},
    {"fsin", TRANSCENDENTAL_SIN, -70, 63, 0, 0, false},
    {"fcos", TRANSCENDENTAL_COS, -70, 63, 0, 0, false},
    {"fsincos", TRANSCENDENTAL_SINCOS, -40, 10, 0, 0, true},
    {"fptan", TRANSCENDENTAL_TAN, -70, 63, 0, 0, true},
};

START_TEST(against_host)
{
    const struct function_case *c = &function_cases[_i];
    uint64_t worst = 0, apart = 0;
    for (uint64_t i = 0; i < operands; i++) {
        struct float80 st0 = random_operand(c->low, c->high);
        struct float80 st1 = random_operand(c->low1, c->high1);
        unsigned exponent = st0.exponent & 0x7fff;
        unsigned limit = c->function == TRANSCENDENTAL_YL2XP1 ? 0x3ffd
                         : c->function == TRANSCENDENTAL_2XM1 ? 0x4000
                                                              : 0x7fff;
        if (exponent >= limit && exponent < 0x7fff) /* undefined */
            continue;
        struct fp_env env_host = nearest_env(), env_soft = nearest_env();
        struct transcendental_result host, soft;
        transcendental(c->function, &env_host, st0, st1, &host);
        transcendental_portable(c->function, &env_soft, st0, st1, &soft);
        uint64_t d = 0, d1 = 0;
        if (!host.out_of_range) {
            d = distance(host.value[0], soft.value[0]);
            d1 = c->pair ? distance(host.value[1], soft.value[1]) : 0;
        }
        unsigned flags = (env_host.flags ^ env_soft.flags) & FP_EXCEPTIONS;
        ck_assert_msg(host.out_of_range == soft.out_of_range && d <= 2 && d1 <= 2 && !flags,
                      "%s st0 %04x:%016" PRIx64 " st1 %04x:%016" PRIx64 "\n host %04x:%016" PRIx64
                      " %04x:%016" PRIx64 " flags %03x\n soft %04x:%016" PRIx64 " %04x:%016" PRIx64
                      " flags %03x",
                      c->name, st0.exponent, st0.mantissa, st1.exponent, st1.mantissa,
                      host.value[0].exponent, host.value[0].mantissa, host.value[1].exponent,
                      host.value[1].mantissa, env_host.flags, soft.value[0].exponent,
                      soft.value[0].mantissa, soft.value[1].exponent, soft.value[1].mantissa,
                      env_soft.flags);
        worst = d > worst ? d : worst;
        apart += d || d1;
    }
    printf("%-11s %" PRIu64 " operands, %" PRIu64 " not the host's result, worst %" PRIu64
           " units in the last place\n",
           c->name, operands, apart, worst);
}
END_TEST

#endif

int main(int argc, char **argv)
{
#if defined(__x86_64__) || defined(__i386__)
    if (argc > 1)
        operands = strtoull(argv[1], NULL, 0);
#endif
    Suite *suite = suite_create("transcendental");
    TCase *tests = tcase_create("transcendental");
    tcase_set_timeout(tests, 0);
    tcase_add_test(tests, known_values);
#if defined(__x86_64__) || defined(__i386__)
    tcase_add_loop_test(tests, against_host, 0,
                        (int)(sizeof function_cases / sizeof function_cases[0]));
#endif
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
