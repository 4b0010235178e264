/*
 * Precise state in x87, MMX and SSE code: a sequence of them runs in a loop, and in its second turn
 * one instruction after the other gets a pointer to a page that is not there. All of the state must
 * be as in the interpreter: registers, tags, status, the x87's instruction and data pointers. The
 * same with unavailable units, unmasked exceptions, and a register stack that is full or empty.
 */
#include "tests/translator/guest.h"
#include "translator/translator.h"

#include <check.h>
#include <stddef.h>
#include <string.h>

/* Opcode bytes; with `memory`, a ModRM byte with that register field follows for [rsi + disp]. */
struct step {
    uint8_t bytes[5], length;
    bool memory;
    uint8_t field, disp;
};

#define REG(...)                                                                                   \
    {                                                                                              \
        .bytes = {__VA_ARGS__}, .length = sizeof((uint8_t[]){__VA_ARGS__})                         \
    }
#define MEM(field_, disp_, ...)                                                                    \
    {                                                                                              \
        .bytes = {__VA_ARGS__}, .length = sizeof((uint8_t[]){__VA_ARGS__}), .memory = true,        \
        .field = field_, .disp = disp_                                                             \
    }

enum { DOUBLES = 0, WORDS = 32, CONTROL = 48, RESULTS = 64, MXCSR = 52 };

static const struct step x87[] = {
    MEM(0, DOUBLES, 0xdd),       /* fld qword */
    MEM(1, DOUBLES + 8, 0xdc),   /* fmul qword */
    MEM(0, WORDS, 0xdf),         /* fild word */
    REG(0xd8, 0xc1),             /* fadd st, st1 */
    MEM(5, CONTROL, 0xd9),       /* fldcw */
    REG(0xde, 0xf9),             /* fdivp st1, st */
    REG(0x48, 0x83, 0xc6, 0x01), /* add rsi, 1 */
    MEM(6, DOUBLES + 4, 0xdc),   /* fdiv qword */
    REG(0x48, 0x83, 0xee, 0x01), /* sub rsi, 1 */
    MEM(2, RESULTS, 0xdd),       /* fst qword */
    REG(0xd9, 0xc0),             /* fld st0 */
    REG(0xd9, 0xfa),             /* fsqrt */
    REG(0xdb, 0xe9),             /* fucomi st, st1 */
    REG(0xda, 0xc1),             /* fcmovb st, st1 */
    MEM(7, RESULTS + 16, 0xdb),  /* fstp tbyte */
    REG(0xdf, 0xe0),             /* fnstsw ax */
    MEM(3, RESULTS + 8, 0xdb),   /* fistp dword */
    REG(0x9b),                   /* fwait */
    MEM(7, RESULTS + 12, 0xd9),  /* fnstcw */
};

static const struct step mmx[] = {
    MEM(0, DOUBLES, 0x0f, 0x6f),     /* movq mm0 */
    MEM(1, DOUBLES + 8, 0x0f, 0x6f), /* movq mm1 */
    REG(0x0f, 0xfd, 0xc1),           /* paddw mm0, mm1 */
    MEM(2, DOUBLES, 0x0f, 0x2a),     /* cvtpi2ps xmm2 */
    MEM(0, WORDS, 0x0f, 0xd9),       /* psubusw mm0 */
    MEM(3, DOUBLES, 0x0f, 0x2d),     /* cvtps2pi mm3 */
    MEM(0, RESULTS, 0x0f, 0x7f),     /* movq to memory */
    REG(0x0f, 0x77),                 /* emms */
    MEM(0, DOUBLES, 0xdd),           /* fld qword */
    MEM(3, RESULTS + 8, 0xdd),       /* fstp qword */
};

static const struct step sse[] = {
    MEM(0, DOUBLES, 0xf2, 0x0f, 0x10),     /* movsd xmm0 */
    MEM(0, DOUBLES + 8, 0xf2, 0x0f, 0x5e), /* divsd xmm0 */
    MEM(1, DOUBLES, 0x0f, 0x28),           /* movaps xmm1 */
    REG(0x0f, 0x59, 0xc1),                 /* mulps xmm0, xmm1 */
    MEM(2, MXCSR, 0x0f, 0xae),             /* ldmxcsr */
    MEM(1, DOUBLES, 0x0f, 0x5c),           /* subps xmm1 */
    MEM(1, RESULTS, 0x0f, 0x29),           /* movaps to memory */
    MEM(3, RESULTS + 16, 0x0f, 0xae),      /* stmxcsr */
    REG(0x66, 0x0f, 0x2e, 0xc1),           /* ucomisd */
    MEM(0, RESULTS + 24, 0xf2, 0x0f, 0x11) /* movsd to memory */
};

static const struct {
    const char *name;
    const struct step *step;
    unsigned count;
} sequences[] = {
    {"x87", x87, sizeof x87 / sizeof *x87},
    {"mmx", mmx, sizeof mmx / sizeof *mmx},
    {"sse", sse, sizeof sse / sizeof *sse},
};

/* Circumstances of a run. */
static const struct {
    const char *name;
    uint64_t cr0, cr0_clear;
    uint16_t control, loaded_control; /* FCW at first, and what FLDCW finds */
    uint32_t mxcsr, loaded_mxcsr;
    uint8_t top, empty;
} cases[] = {
    {"masked", CR0_NE, 0, 0x37f, 0x37f, 0x1f80, 0x1f80, 0, 0xff},
    {"other rounding", CR0_NE, 0, 0x27f, 0xf7f, 0x1f80, 0x7f80, 3, 0xff},
    {"full stack", CR0_NE, 0, 0x37f, 0x37f, 0x9fc0, 0x1f80, 5, 0},
    {"one free register", CR0_NE, 0, 0x37f, 0x37f, 0x1f80, 0x1f80, 5, 1 << 4},
    {"divisions trap", CR0_NE, 0, 0x37b, 0x37b, 0x1d80, 0x1d80, 0, 0xff},
    {"unmasked in the middle", CR0_NE, 0, 0x37f, 0x340, 0x1f80, 0x0000, 0, 0xff},
    {"masked in the middle", CR0_NE, 0, 0x37e, 0x37f, 0x1f00, 0x1f80, 0, 0xff},
    {"overflow traps", CR0_NE, 0, 0x37e, 0x37e, 0x1f80, 0x1f80, 2, 0},
    {"exceptions to a board without", 0, CR0_NE, 0x340, 0x340, 0x1f80, 0x1f80, 0, 0},
    {"task switched", CR0_NE | CR0_TS | CR0_MP, 0, 0x37f, 0x37f, 0x1f80, 0x1f80, 0, 0xff},
    {"emulated", CR0_NE | CR0_EM, 0, 0x37f, 0x37f, 0x1f80, 0x1f80, 0, 0xff},
};
#define CASES (sizeof cases / sizeof *cases)

/*
 * loop: steps, all [rsi + disp], but step `bad` [rdi + disp]
 *       mov rdi, rbx; dec ecx; jnz loop; hlt
 */
static unsigned assemble(const struct step *step, unsigned count, unsigned bad, uint8_t *code)
{
    unsigned n = 0;
    for (unsigned i = 0; i < count; i++) {
        memcpy(code + n, step[i].bytes, step[i].length);
        n += step[i].length;
        if (step[i].memory) {
            code[n++] = (uint8_t)(0x40 | step[i].field << 3 | (i == bad ? 7 : 6));
            code[n++] = step[i].disp;
        }
    }
    static const uint8_t tail[] = {0x48, 0x89, 0xdf, 0xff, 0xc9, 0x75};
    memcpy(code + n, tail, sizeof tail);
    n += sizeof tail;
    code[n] = (uint8_t) - (int)(n + 1);
    code[n + 1] = 0xf4;
    return n + 2;
}

static void prepare(struct guest *guest, unsigned which, const uint8_t *code, unsigned length)
{
    static const double doubles[4] = {1.5, -0.0, 3.25e100, 7.0};
    guest_reset(guest, GUEST_64);
    memset(guest->ram + GUEST_DATA, 0, 256);
    memset(guest->ram + GUEST_STACK - 256, 0, 256);
    guest_load(guest, GUEST_CODE, code, length);
    memcpy(guest->ram + GUEST_DATA + DOUBLES, doubles, sizeof doubles);
    guest->ram[GUEST_DATA + WORDS] = 0x80;
    memcpy(guest->ram + GUEST_DATA + CONTROL, &cases[which].loaded_control, 2);
    memcpy(guest->ram + GUEST_DATA + MXCSR, &cases[which].loaded_mxcsr, 4);
    struct cpu *cpu = guest->cpu;
    memset(cpu->gpr, 0, 16 * sizeof cpu->gpr[0]);
    cpu->gpr[RSP] = GUEST_STACK;
    cpu->gpr[RSI] = cpu->gpr[RDI] = GUEST_DATA;
    cpu->gpr[RBX] = GUEST_UNMAPPED;
    cpu->gpr[RCX] = 2;
    cpu->eflags = FLAG_FIXED;
    cpu->cr2 = 0;
    memset(cpu->xmm, 0x35, sizeof cpu->xmm);
    cpu->cr0 = (cpu->cr0 & ~cases[which].cr0_clear) | cases[which].cr0;
    cpu->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
    cpu->mxcsr = cases[which].mxcsr;
    cpu->x87 = (struct x87){
        .control = cases[which].control, .top = cases[which].top, .empty = cases[which].empty};
    for (unsigned i = 0; i < 8; i++)
        cpu->x87.reg[i] = (struct float80){1ull << 63 | i << 20, (uint16_t)(0x3ff8 + i)};
    cpu_update_mode(cpu);
}

static bool same(const struct guest *a, const struct guest *b)
{
    const struct cpu *x = a->cpu, *y = b->cpu;
    bool equal = true;
    for (unsigned i = 0; i < 8; i++)
        equal &= x->x87.reg[i].mantissa == y->x87.reg[i].mantissa &&
                 x->x87.reg[i].exponent == y->x87.reg[i].exponent;
    return equal && x->x87.control == y->x87.control && x->x87.status == y->x87.status &&
           x->x87.top == y->x87.top && x->x87.empty == y->x87.empty &&
           x->x87.opcode == y->x87.opcode && x->x87.ip == y->x87.ip && x->x87.dp == y->x87.dp &&
           x->x87.ip_selector == y->x87.ip_selector && x->x87.dp_selector == y->x87.dp_selector &&
           memcmp(x->gpr, y->gpr, 16 * sizeof x->gpr[0]) == 0 && x->rip == y->rip &&
           x->eflags == y->eflags && x->mxcsr == y->mxcsr && x->cr2 == y->cr2 &&
           memcmp(x->xmm, y->xmm, sizeof x->xmm) == 0 &&
           memcmp(a->ram + GUEST_DATA, b->ram + GUEST_DATA, 256) == 0 &&
           memcmp(a->ram + GUEST_STACK - 256, b->ram + GUEST_STACK - 256, 256) == 0;
}

static void run_sequence(unsigned which, unsigned max_insns)
{
    translator_options =
        (struct translator_options){.threshold = 1, .hot = 1, .max_insns = max_insns};
    struct guest *wanted = guest_new(&accel_interpreter, GUEST_64);
    struct guest *found = guest_new(&accel_translator, GUEST_64);
    unsigned count = sequences[which].count, faults = 0;
    for (unsigned c = 0; c < CASES; c++)
        for (unsigned bad = 0; bad <= count; bad++) {
            uint8_t code[256];
            unsigned length = assemble(sequences[which].step, count, bad, code);
            prepare(wanted, c, code, length);
            prepare(found, c, code, length);
            ck_assert(guest_run(wanted));
            ck_assert(guest_run(found));
            faults += wanted->cpu->cr2 != 0;
            ck_assert_msg(same(wanted, found), "%s, %s, fault at step %u: rip %llx, not %llx",
                          sequences[which].name, cases[c].name, bad,
                          (unsigned long long)found->cpu->rip,
                          (unsigned long long)wanted->cpu->rip);
        }
    ck_assert_uint_gt(faults, count); /* the pointers did what they are for */
    guest_free(wanted);
    guest_free(found);
}

START_TEST(precise)
{
    run_sequence((unsigned)_i, 0);
}
END_TEST

START_TEST(precise_single)
{
    run_sequence((unsigned)_i, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("translator: floating point");
    TCase *tc = tcase_create("precise");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, precise, 0, 3);
    tcase_add_loop_test(tc, precise_single, 0, 3);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
