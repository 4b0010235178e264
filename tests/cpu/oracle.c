/*
 * The oracle: random user-level instructions run on the host processor and on doppel's engines, and
 * everything that a program can see is compared: registers, flags, x87, SSE, memory, exceptions.
 *
 * A case is a state seed and some code. State and memory follow from the seed alone. A failing case
 * is shrunk by turning instructions into NOPs; what is left is printed with a row for
 * oracle_regress.def.
 *
 * Flags that an instruction leaves undefined (isa.def) are not compared, and no instruction that
 * reads them follows.
 *
 *     oracle [--engine interpreter|translator|all] [--bits 64|32|16] [--count N] [--seed S]
 *            [--length N] [--only OP|x87|mmx|vex] [--systematic ROUNDS] [--coverage]
 *            [--stats] [--strict RULES] [--plain-host] [--hot N]
 *     oracle --bits B --seed S --code "90 90"   one case, S as in a row of oracle_regress.def
 *     oracle ... --record FILE      only the host: its outcomes, for a host of another kind
 *     oracle ... --replay FILE      the engines against such a file
 *                                   (--window: translations use the window, cpu/window.h)
 *
 * What is overlooked where processors may differ, and how often, is listed at the end
 * (oracle_compare.c); --strict takes a bit set of such rules that are not to apply. With
 * --plain-host doppel makes no use of what the host has beyond x86-64-v2: AVX and its like are then
 * emulated, and still compared with the host's own. The last line sums up: comparisons are
 * instructions times engines.
 */
#include "tests/cpu/engines.h"
#include "tests/cpu/oracle.h"
#include "cpu/decode.h"
#include "cpu/disasm.h"
#include "cpu/host.h"
#include "cpu/system.h"
#include "cpu/window.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <cpuid.h>
#include <sched.h>
#endif

#define MAX_FAILURES 10
#define MAX_ENGINES  2

struct options {
    const char *engine, *only, *record, *replay, *code;
    uint64_t count, rounds, seed;
    int bits;
    unsigned length;
    bool coverage, stats;
    uint64_t strict;
    bool plain_host, window;
};

struct oracle {
    struct native *native; /* NULL when outcomes are replayed */
    struct user_guest *guest[MAX_ENGINES];
    const struct accel *accel[MAX_ENGINES];
    unsigned engines;
    struct case_maker maker;
    struct image start, host;
    struct user_state ours;
    uint64_t faults[32];
    uint64_t sequences, comparisons, failures, endless, unsteady;
    pthread_t watchdog;
    _Atomic unsigned runs; /* begun by either side */
};

static const uint64_t *features_of(const struct oracle *oracle)
{
    return oracle->maker.features;
}

/* -- One case -- */

static void run_native(struct oracle *oracle, const struct test_case *test)
{
    struct native *native = oracle->native;
    atomic_fetch_add(&oracle->runs, 1);
    oracle->host.state = oracle->start.state;
    memcpy(native->data, oracle->start.data, USER_DATA_SIZE);
    native_run(native, test->bits, test->code, test->length, &oracle->host.state);
    memcpy(oracle->host.data, native->data, USER_DATA_SIZE);
}

/* Runs the case on an engine and compares with oracle->host. */
static bool engine_differs(struct oracle *oracle, const struct test_case *test, unsigned engine,
                           FILE *out)
{
    struct user_guest *guest = oracle->guest[engine];
    bool upper_halves = guest->has_avx && (!oracle->native || oracle->native->has_avx);
    atomic_fetch_add(&oracle->runs, 1);
    oracle->ours = oracle->start.state;
    memcpy(guest->data, oracle->start.data, USER_DATA_SIZE);
    if (guest->cpu->window && test->state_seed & 1) /* half of the cases find nothing mapped */
        window_forget(guest->cpu);
    user_guest_run(guest, test->bits, test->code, test->length, &oracle->ours);
    return case_differs(test, features_of(oracle), &oracle->host, &oracle->ours, guest->data,
                        upper_halves, out);
}

/* Replaces instructions by NOPs as long as the difference remains. */
static void shrink(struct oracle *oracle, struct test_case *test, unsigned engine)
{
    bool again = true;
    while (again) {
        again = false;
        for (unsigned i = 0; i < test->count; i++) {
            struct test_case smaller = *test;
            unsigned last = i;
            while (last + 1 < test->count && test->group[i] &&
                   test->group[last + 1] == test->group[i])
                last++;
            if (test->code[test->at[i]] == 0x90)
                continue;
            memset(smaller.code + test->at[i], 0x90, test->at[last + 1] - test->at[i]);
            i = last;
            if (!case_follow_undefined(&smaller, features_of(oracle)))
                continue;
            run_native(oracle, &smaller);
            if (oracle->host.state.vector != VECTOR_ENDLESS &&
                engine_differs(oracle, &smaller, engine, NULL)) {
                *test = smaller;
                again = true;
            }
        }
    }
    run_native(oracle, test);
}

static void print_case(struct oracle *oracle, const struct test_case *test, unsigned engine)
{
    const struct user_state *start = &oracle->start.state;
    uint16_t fcw, fsw;
    uint32_t mxcsr;
    memcpy(&fcw, start->fx + FX_FCW, sizeof fcw);
    memcpy(&fsw, start->fx + FX_FSW, sizeof fsw);
    memcpy(&mxcsr, start->fx + FX_MXCSR, sizeof mxcsr);
    printf("%d-bit code differs on '%s':\n", test->bits, oracle->accel[engine]->name);
    for (unsigned i = 0; i < test->count; i++) {
        char text[DISASM_MAX];
        const uint8_t *code = test->code + test->at[i];
        unsigned length = test->at[i + 1] - test->at[i];
        struct insn insn = case_insn(test, i, features_of(oracle));
        if (*code == 0x90)
            continue;
        disasm(&insn, USER_CODE + test->at[i], text, sizeof text);
        printf("  %x: ", USER_CODE + test->at[i]);
        for (unsigned j = 0; j < 12; j++) {
            if (j < length)
                printf("%02x ", code[j]);
            else
                printf("   ");
        }
        printf("%s\n", text);
    }
    printf("  at first: rax %" PRIx64 " rcx %" PRIx64 " rdx %" PRIx64 " rbx %" PRIx64
           " eflags %" PRIx64 " fcw %x fsw %x mxcsr %x\n",
           start->gpr[RAX], start->gpr[RCX], start->gpr[RDX], start->gpr[RBX], start->eflags, fcw,
           fsw, mxcsr);
    engine_differs(oracle, test, engine, stdout);
    printf("REGRESS(%d, 0x%" PRIx64 ", \"", test->bits, test->state_seed);
    for (unsigned i = 0; i < test->length; i++)
        printf("%02x%s", test->code[i], i + 1 < test->length ? " " : "");
    printf("\")\n\n");
    fflush(stdout);
}

/* Instructions that have certainly run: up to a fault, and not behind a branch. */
static unsigned instructions_run(const struct oracle *oracle, const struct test_case *test)
{
    uint64_t rip = oracle->host.state.rip - case_rip(test);
    bool faulted = oracle->host.state.vector != VECTOR_END;
    for (unsigned i = 0; i < test->count; i++) {
        struct insn insn = case_insn(test, i, features_of(oracle));
        if ((faulted && rip == test->at[i]) || insn.operand[0].kind == OPERAND_REL)
            return i + 1;
    }
    return test->count;
}

/* Has the host the same outcome again? Its interrupts cut the stack pointer of code with 32-bit and
 * 16-bit stacks off, if they come just there. */
static bool is_steady(struct oracle *oracle, const struct test_case *test)
{
    static struct image first;
    memcpy(&first, &oracle->host, sizeof first);
    run_native(oracle, test);
    return memcmp(&first, &oracle->host, sizeof first) == 0;
}

/* Compares all engines with oracle->host. */
static void check_outcome(struct oracle *oracle, const struct test_case *test)
{
    int vector = oracle->host.state.vector;
    if (vector == VECTOR_ENDLESS) {
        oracle->endless++;
        return;
    }
    oracle->sequences++;
    oracle->comparisons += (uint64_t)instructions_run(oracle, test) * oracle->engines;
    if (vector >= 0 && vector < 32)
        oracle->faults[vector]++;
    for (unsigned engine = 0; engine < oracle->engines; engine++) {
        if (!engine_differs(oracle, test, engine, NULL))
            continue;
        if (oracle->native && !is_steady(oracle, test)) {
            oracle->unsteady++;
            return;
        }
        struct test_case smaller = *test;
        oracle->failures++;
        if (oracle->native)
            shrink(oracle, &smaller, engine);
        print_case(oracle, &smaller, engine);
        break; /* the host's outcome is now the smaller case's */
    }
}

/* Stops a run that takes more than two ticks. */
static void *watch(void *opaque)
{
    struct oracle *oracle = opaque;
    unsigned before = 0, ticks = 0;
    for (;;) {
        unsigned now = atomic_load(&oracle->runs);
        ticks = now == before ? ticks + 1 : 0;
        before = now;
        if (ticks > 2) {
            if (oracle->native)
                native_stop(oracle->native);
            for (unsigned i = 0; i < oracle->engines; i++)
                cpu_post(oracle->guest[i]->cpu, EVENT_STOP);
            ticks = 0;
        }
        usleep(50000);
    }
    return NULL;
}

/* -- Runs -- */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void report(const struct oracle *oracle, const char *what, uint64_t sequences,
                   uint64_t comparisons, double time)
{
    sequences = oracle->sequences - sequences;
    printf("%s: %" PRIu64 " sequences, %" PRIu64 " comparisons, %.0f sequences/s; faults:", what,
           sequences, oracle->comparisons - comparisons, (double)sequences / time);
    for (unsigned i = 0; i < 32; i++)
        if (oracle->faults[i])
            printf(" #%u %" PRIu64, i, oracle->faults[i]);
    printf("\n");
}

static void record_case(struct oracle *oracle, struct record *record, const struct test_case *test)
{
    if (oracle->host.state.vector != VECTOR_ENDLESS)
        record_write(record, test, &oracle->start, &oracle->host);
}

static void run_one(struct oracle *oracle, struct record *record, struct test_case *test)
{
    case_start(test, &oracle->start);
    run_native(oracle, test);
    if (record)
        record_case(oracle, record, test);
    check_outcome(oracle, test);
}

/* Every form of every row once. */
static void run_systematic(struct oracle *oracle, struct record *record)
{
    for (unsigned row = 0; row < oracle->maker.row_count; row++) {
        int made = 0;
        for (unsigned form = 0; made >= 0 && oracle->failures < MAX_FAILURES; form++) {
            struct test_case test;
            made = case_make_systematic(&oracle->maker, &test, row, form);
            if (made > 0)
                run_one(oracle, record, &test);
        }
    }
}

static void run_bits(struct oracle *oracle, int bits, const struct options *o,
                     struct record *record)
{
    char what[80];
    if (!native_supports(oracle->native, bits)) {
        printf("%d-bit: the host cannot run it, skipped\n", bits);
        return;
    }
    case_maker_set(&oracle->maker, bits, o->seed, o->only);
    if (oracle->maker.row_count == 0)
        return;
    memset(oracle->faults, 0, sizeof oracle->faults);
    uint64_t sequences = oracle->sequences, comparisons = oracle->comparisons;
    double start = seconds();
    for (uint64_t round = 0; round < o->rounds; round++)
        run_systematic(oracle, record);
    for (uint64_t i = 0; i < o->count && oracle->failures < MAX_FAILURES; i++) {
        struct test_case test;
        if (case_make(&oracle->maker, &test))
            run_one(oracle, record, &test);
    }
    snprintf(what, sizeof what, "%d-bit, %u encodings", bits, oracle->maker.row_count);
    report(oracle, what, sequences, comparisons, seconds() - start);
}

static const struct {
    int bits;
    uint64_t state_seed;
    const char *code;
} regressions[] = {
#define REGRESS(bits_, seed_, code_) {bits_, seed_, code_},
#include "tests/cpu/oracle_regress.def"
#undef REGRESS
    {0, 0, NULL},
};

static void run_regressions(struct oracle *oracle, struct record *record)
{
    unsigned count = 0;
    for (unsigned i = 0; regressions[i].code; i++) {
        struct test_case test;
        if (!native_supports(oracle->native, regressions[i].bits) ||
            !case_parse(&test, regressions[i].bits, regressions[i].state_seed, regressions[i].code,
                        features_of(oracle)))
            continue;
        run_one(oracle, record, &test);
        count++;
    }
    printf("%u regressions\n", count);
}

/* One case, as text. */
static void run_text(struct oracle *oracle, int bits, uint64_t state_seed, const char *code)
{
    struct test_case test;
    if (!case_parse(&test, bits, state_seed, code, features_of(oracle)))
        return;
    case_start(&test, &oracle->start);
    run_native(oracle, &test);
    for (unsigned engine = 0; engine < oracle->engines; engine++)
        print_case(oracle, &test, engine);
}

static void replay(struct oracle *oracle, struct record *record)
{
    struct test_case test;
    double start = seconds();
    while (oracle->failures < MAX_FAILURES &&
           record_read(record, &test, features_of(oracle), &oracle->start, &oracle->host))
        check_outcome(oracle, &test);
    report(oracle, "recorded", 0, 0, seconds() - start);
}

/* -- The host -- */

/* Features that the host lacks are not compared. */
static void drop_missing_features(uint64_t features[4])
{
#ifdef __x86_64__
    static const struct {
        uint32_t leaf, subleaf;
        unsigned reg, bit;
    } where[] = {
#define EAX                                    0
#define EBX                                    1
#define ECX                                    2
#define EDX                                    3
#define FEATURE(name, leaf, subleaf, reg, bit) {leaf, subleaf, reg, bit},
#include "cpu/features.def"
#undef FEATURE
#undef EAX
#undef EBX
#undef ECX
#undef EDX
    };
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        uint32_t r[4] = {0};
        if (!__get_cpuid_count(where[i].leaf, where[i].subleaf, &r[0], &r[1], &r[2], &r[3]) ||
            !(r[where[i].reg] >> where[i].bit & 1))
            feature_set(features, (enum cpu_feature)i, false);
    }
#endif
}

/* Leaves doppel a host of x86-64-v2, the least that the translator asks for. */
static void hide_extensions(void)
{
    static const uint8_t plain[] = {
        FEATURE_FPU,    FEATURE_CMOV,   FEATURE_CX8,    FEATURE_FXSR, FEATURE_MMX,
        FEATURE_SSE,    FEATURE_SSE2,   FEATURE_LM,     FEATURE_SSE3, FEATURE_SSSE3,
        FEATURE_SSE4_1, FEATURE_SSE4_2, FEATURE_POPCNT, FEATURE_CX16, FEATURE_LAHF_SAHF,
    };
    for (unsigned i = 0; i < FEATURE_COUNT; i++)
        if (!memchr(plain, (int)i, sizeof plain))
            host_hide_feature((enum cpu_feature)i);
}

/* Has the host the vendor string that doppel's processors have? */
static bool same_vendor(struct cpu *cpu)
{
#ifdef __x86_64__
    struct cpuid_result ours = cpuid_read(cpu, 0, 0);
    uint32_t eax, ebx = 0, ecx, edx;
    __get_cpuid(0, &eax, &ebx, &ecx, &edx);
    return ebx == ours.ebx;
#else
    return false;
#endif
}

/* The number of the host's processor that this runs on, and stays on. */
static uint32_t pin_processor(void)
{
    uint32_t limit = 0;
#ifdef __x86_64__
    int here = sched_getcpu();
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(here < 0 ? 0 : here, &set);
    sched_setaffinity(0, sizeof set, &set);
    __asm__("lsl %1, %0" : "+r"(limit) : "r"((uint32_t)USER_SELECTOR_CPU) : "cc");
#endif
    return limit;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: oracle [--engine interpreter|translator|all] [--bits 64|32|16] "
            "[--count N]\n"
            "              [--seed S] [--length N] [--only OP|x87|mmx|vex] [--systematic ROUNDS]\n"
            "              [--coverage] [--stats] [--strict RULES] [--plain-host]\n"
            "              [--hot N] [--code BYTES] [--record FILE] [--replay FILE] [--window]\n");
    return 2;
}

static bool parse_options(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(option, "--coverage") == 0) {
            o->coverage = true;
            continue;
        }
        if (strcmp(option, "--plain-host") == 0) {
            o->plain_host = true;
            continue;
        }
        if (strcmp(option, "--window") == 0) {
            engine_set_window(o->window = true);
            continue;
        }
        if (strcmp(option, "--stats") == 0) {
            o->stats = true;
            continue;
        }
        if (i + 1 == argc)
            return false;
        i++;
        if (strcmp(option, "--engine") == 0)
            o->engine = value;
        else if (strcmp(option, "--hot") == 0)
            engine_set_hot((unsigned)atoi(value));
        else if (strcmp(option, "--bits") == 0)
            o->bits = atoi(value);
        else if (strcmp(option, "--count") == 0)
            o->count = strtoull(value, NULL, 0);
        else if (strcmp(option, "--systematic") == 0)
            o->rounds = strtoull(value, NULL, 0);
        else if (strcmp(option, "--seed") == 0)
            o->seed = strtoull(value, NULL, 0);
        else if (strcmp(option, "--length") == 0)
            o->length = (unsigned)atoi(value);
        else if (strcmp(option, "--only") == 0)
            o->only = value;
        else if (strcmp(option, "--strict") == 0)
            o->strict = strtoull(value, NULL, 0);
        else if (strcmp(option, "--code") == 0)
            o->code = value;
        else if (strcmp(option, "--record") == 0)
            o->record = value;
        else if (strcmp(option, "--replay") == 0)
            o->replay = value;
        else
            return false;
    }
    return o->length >= 1 && o->length < ORACLE_MAX_LENGTH &&
           (!o->bits || o->bits == 16 || o->bits == 32 || o->bits == 64);
}

static bool make_engines(struct oracle *oracle, const char *which, uint32_t cpu_number_limit)
{
    static const char *const names[MAX_ENGINES] = {"interpreter", "translator"};
    bool all = strcmp(which, "all") == 0;
    engine_set_options(1, 0, false); /* each case runs once only */
    for (unsigned i = 0; i < MAX_ENGINES; i++) {
        const struct accel *accel = engine_find(names[i]);
        if (!accel || (!all && engine_find(which) != accel))
            continue;
        oracle->accel[oracle->engines] = accel;
        oracle->guest[oracle->engines++] = user_guest_new(accel, cpu_number_limit);
    }
    return oracle->engines > 0;
}

int main(int argc, char **argv)
{
    static const int all_bits[] = {64, 32, 16};
    static struct oracle oracle;
    static uint64_t features[4];
    struct options o = {.engine = "all", .count = 200000, .seed = 1, .length = 4};
    struct record *record = NULL;
    const char *why = NULL;
    uint32_t cpu_number_limit = 0;

    if (!parse_options(argc, argv, &o))
        return usage();
    if (o.window && !o.replay) {
        printf("--window needs --replay: the host's own programs have the same addresses\n");
        return 2;
    }
    if (o.replay) {
        if (access(o.replay, R_OK) != 0) {
            printf("there are no outcomes of an x86 host in %s\n", o.replay);
            return 77;
        }
        if (!(record = record_open(o.replay, &cpu_number_limit)))
            return 2;
    } else if (!(oracle.native = native_new(&why))) {
        printf("%s\n", why);
        return 77;
    }
    if (!o.replay)
        cpu_number_limit = pin_processor();
    if (o.record && !(record = record_create(o.record, cpu_number_limit)))
        return 2;
    if (o.plain_host)
        hide_extensions();
    if (!make_engines(&oracle, o.engine, cpu_number_limit))
        return usage();
    memcpy(features, oracle.guest[0]->cpu->features, sizeof features);
    oracle.maker.features = features;
    oracle.maker.length = o.length;
    oracle.maker.portable = o.record != NULL;
    oracle.maker.same_vendor = same_vendor(oracle.guest[0]->cpu);
    pthread_create(&oracle.watchdog, NULL, watch, &oracle);
    case_rules_strict(o.strict);
    printf("engine %s, seed %" PRIu64 "\n", o.engine, o.seed);
    if (o.replay) {
        replay(&oracle, record);
    } else if (o.code) {
        run_text(&oracle, o.bits ? o.bits : 64, o.seed, o.code);
    } else {
        drop_missing_features(features);
        if (!o.bits && !o.only)
            run_regressions(&oracle, record);
        for (unsigned i = 0; i < 3; i++)
            if (o.bits == 0 || o.bits == all_bits[i])
                run_bits(&oracle, all_bits[i], &o, record);
    }
    if (o.coverage)
        oracle_print_coverage(&oracle.maker);
    case_rules_print();
    if (oracle.unsteady)
        printf("left out: %" PRIu64 " outcomes that the host did not repeat\n", oracle.unsteady);
    pthread_cancel(oracle.watchdog);
    pthread_join(oracle.watchdog, NULL);
    for (unsigned i = 0; i < oracle.engines; i++) {
        if (o.stats && oracle.accel[i]->stats)
            oracle.accel[i]->stats(oracle.guest[i]->cpu, stdout);
        user_guest_free(oracle.guest[i]);
    }
    if (oracle.native)
        native_free(oracle.native);
    if (record && !record_close(record))
        oracle.failures++;
    printf("%" PRIu64 " comparisons, %" PRIu64 " differences\n", oracle.comparisons,
           oracle.failures);
    return oracle.failures ? 1 : 0;
}
