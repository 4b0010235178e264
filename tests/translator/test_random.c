/*
 * Random programs, on the interpreter and on the translator: both must end in the same state. The
 * rows of isa.def are the source: every user-level integer, vector and x87 encoding with random
 * registers, immediates and memory operands near pointers that are kept valid most of the time;
 * faults must be the same too.
 *
 * Run with a number of programs and a seed: test_random [count [seed]].
 */
#include "cpu/decode.h"
#include "cpu/disasm.h"
#include "cpu/log.h"
#include "tests/translator/guest.h"
#include "translator/engine.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define INSNS       24
#define PROGRAM_MAX 512
#define COUNTER     0x1f000u /* of programs that are loops; below the data and the stack */

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1dull;
}

/* Programs mostly of x87 instructions. */
static bool only_x87;

static unsigned below(unsigned n)
{
    return (unsigned)(next_random() >> 33) % n;
}

/* Numbers that are more often at an edge than chance has it. */
static uint64_t number(void)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     2,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     ~0ull,
                                     0x3ff0000000000000,
                                     0x7ff0000000000000,
                                     0x7ff8000000000001,
                                     0x3f800000};
    switch (below(3)) {
    case 0:
        return edges[below(sizeof edges / sizeof edges[0])];
    case 1:
        return next_random() & 0xff;
    default:
        return next_random();
    }
}

static bool row_usable(const struct isa_row *row)
{
    if (row->attributes & (ISA_PRIV | ISA_IO | ISA_IOPL | ISA_PROT | ISA_UMIP))
        return false;
    if (row->attributes & ISA_END && row->op != OP_JCC)
        return false;
    switch (row->op) {
    case OP_UD:
    case OP_TOO_LONG:
    case OP_RDTSC:
    case OP_RDTSCP:
    case OP_RDRAND:
    case OP_RDSEED:
    case OP_RDPID:
    case OP_CPUID:
    case OP_XSAVE:
    case OP_XRSTOR:
    case OP_XSAVEOPT:
    case OP_FXSAVE:
    case OP_FXRSTOR:
    case OP_LDMXCSR:
    case OP_MOV_SREG:
    case OP_POP_SREG:
    case OP_LDS:
    case OP_LES:
    case OP_LSS:
    case OP_LFS:
    case OP_LGS:
    case OP_ENTER:
    case OP_RDFSBASE:
    case OP_RDGSBASE:
    case OP_WRFSBASE:
    case OP_WRGSBASE:
    case OP_BOUND:
    case OP_XSAVEC:
    case OP_VLDMXCSR:
    case OP_XGETBV:
    case OP_RDPMC:
        return false;
    }
    return true;
}

static bool row_is_x87(const struct isa_row *row)
{
    return row->map == MAP_PRIMARY && (row->opcode & 0xf8) == 0xd8;
}

/* C4 with what the row asks for, and the rest at random. */
static unsigned make_vex(const struct decode_context *context, const struct isa_row *row,
                         uint8_t *bytes)
{
    bool wide = context->code_size == 8;
    unsigned l = row->vex_l <= VEX_1 ? row->vex_l : below(2);
    unsigned w = row->vex_w <= VEX_1 ? row->vex_w : below(2);
    unsigned vvvv = row->has_vvvv ? below(wide ? 16 : 8) : 0;
    bytes[0] = 0xc4;
    bytes[1] = (uint8_t)((wide ? below(8) << 5 : 0xe0) | (row->map - MAP_VEX_0F + 1u));
    bytes[2] =
        (uint8_t)(w << 7 | (~vvvv & 15) << 3 | l << 2 | (unsigned)__builtin_ctz(row->prefixes));
    return 3;
}

/* A random encoding of a random row; its length, or 0 if it is not wanted here. */
static unsigned make_insn(const struct decode_context *context, bool first, uint8_t *bytes,
                          struct insn *insn, uint32_t *undefined)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    const struct isa_row *row = &isa_rows[2 + below(isa_row_count - 2)];
    unsigned n = 0;
    if (!row_usable(row) || (only_x87 && !row_is_x87(row) && below(12)))
        return 0;
    if (row->mandatory && !row->vex) {
        for (unsigned p = 1; p < 4; p++)
            if (row->prefixes >> p & 1) {
                bytes[n++] = prefixes[p];
                break;
            }
    } else if (!row->vex && row->prefixes >> ISA_PREFIX_66 & 1 && below(4) == 0) {
        bytes[n++] = 0x66;
    }
    if (row->attributes & ISA_LOCK && below(6) == 0)
        bytes[n++] = 0xf0;
    /* Only while RCX is known to be small. */
    if (first && row->attributes & (ISA_REP | ISA_REPZ) && below(2))
        bytes[n++] = 0xf3;
    if (row->vex)
        n += make_vex(context, row, bytes);
    else if (context->code_size == 8 && (row->rex_w || below(2)))
        bytes[n++] = (uint8_t)(0x40 | (row->rex_w ? 8 : 0) | below(16));
    if (row->map != MAP_PRIMARY && !row->vex)
        bytes[n++] = 0x0f;
    if (row->map == MAP_0F38)
        bytes[n++] = 0x38;
    if (row->map == MAP_0F3A)
        bytes[n++] = 0x3a;
    bytes[n++] = (uint8_t)(row->opcode + below(row->opcode_span));
    if (row->has_modrm) {
        uint8_t modrm = (uint8_t)next_random();
        if (row->mem_form && (!row->reg_form || below(2))) {
            static const uint8_t pointers[] = {6, 7, 5};
            modrm = (uint8_t)(0x40 | (modrm & 0x38) | pointers[below(3)]);
        } else {
            modrm |= 0xc0;
        }
        modrm = (uint8_t)((modrm & ~row->modrm_mask) | (row->modrm & row->modrm_mask));
        if ((modrm & 0xc0) != 0xc0)
            modrm = (uint8_t)((modrm & 0x3f) | 0x40);
        bytes[n++] = modrm;
    }
    for (unsigned i = 0; i < 9; i++)
        bytes[n + i] = (uint8_t)number();
    int length = decode(context, bytes, 15, insn);
    if (!length || insn->op != row->op)
        return 0;
    if (insn->op == OP_JCC) { /* skip nothing, or leave through the end: only forward, short */
        if (length != 2)
            return 0;
        bytes[1] = 0;
        decode(context, bytes, 15, insn);
    }
    for (unsigned i = 0; i < insn->noperands; i++) {
        const struct operand *operand = &insn->operand[i];
        if (operand->kind == OPERAND_MEM && (insn->base == REG_IP || insn->base == REG_ZERO))
            return 0;
        if (operand->kind == OPERAND_MEM && operand->size == 16 && insn->disp & 15 && below(64))
            return 0;
        if (operand->kind == OPERAND_GPR && i == 0 && below(64) &&
            (operand->reg == RSP || operand->reg == RBP || operand->reg == RSI ||
             operand->reg == RDI))
            return 0; /* mostly keep the pointers */
    }
    if (insn->addrsize != context->code_size)
        return 0;
    if ((insn->op == OP_DIV || insn->op == OP_IDIV) && below(8))
        return 0;
    uint32_t reads = row->flags_read;
    if (insn->op == OP_JCC || insn->op == OP_SETCC || insn->op == OP_CMOVCC)
        reads = isa_cond_flags(insn->cond);
    if (reads & *undefined || (insn->op == OP_PUSHF && *undefined) ||
        (insn->op == OP_LAHF && *undefined))
        return 0;
    *undefined = (*undefined & ~insn_flags_certainly_written(insn)) | row->flags_undefined;
    return (unsigned)length;
}

struct program {
    uint8_t bytes[PROGRAM_MAX];
    unsigned length, count;
    unsigned at[INSNS + 1];
    uint32_t undefined[INSNS + 1]; /* flags before instruction i */
    uint64_t gpr[16], xmm[16][4];
    uint32_t eflags;
    struct x87 x87;
    uint8_t rounds; /* 0: runs through once */
};

static void make_x87(struct x87 *x87)
{
    static const uint16_t exponents[] = {0,      1,      0x3c01, 0x3fbf, 0x3ffe, 0x3fff, 0x4000,
                                         0x400e, 0x403e, 0x43fe, 0x43ff, 0x7ffe, 0x7fff, 0xffff};
    *x87 = (struct x87){.control = (uint16_t)(0x37f | (next_random() & 0xf00)),
                        .status = (uint16_t)(next_random() & 0x4740),
                        .top = (uint8_t)below(8),
                        .empty = (uint8_t)(next_random() & next_random())};
    if (below(8) == 0)
        x87->control &= (uint16_t) ~(next_random() & 0x3f);
    else
        x87->status |= (uint16_t)(next_random() & next_random() & 0x3f);
    for (unsigned i = 0; i < 8; i++) {
        x87->reg[i].exponent = (uint16_t)(exponents[below(14)] ^ below(2) << 15);
        x87->reg[i].mantissa = number();
        if (x87->reg[i].exponent & 0x7fff && below(16))
            x87->reg[i].mantissa |= 1ull << 63;
    }
}

/* sub dword [COUNTER], 1; jnz to the start */
static void append_counter(struct program *p, enum guest_bits bits)
{
    static const uint8_t sub[3][8] = {{0x66, 0x83, 0x2e, 0x00, 0xf0, 0x01},
                                      {0x83, 0x2d, 0x00, 0xf0, 0x01, 0x00, 0x01},
                                      {0x83, 0x2c, 0x25, 0x00, 0xf0, 0x01, 0x00, 0x01}};
    unsigned n = 6 + (unsigned)bits, jump = bits == GUEST_16 ? 4 : 6;
    memcpy(p->bytes + p->length, sub[bits], n);
    p->length += n;
    int32_t back = -(int32_t)(p->length + jump);
    p->bytes[p->length] = 0x0f;
    p->bytes[p->length + 1] = 0x85;
    memcpy(p->bytes + p->length + 2, &back, jump - 2);
    p->length += jump;
}

static void make_program(struct program *p, const struct decode_context *context,
                         enum guest_bits bits)
{
    struct insn insn;
    uint32_t undefined = 0;
    p->length = p->count = 0;
    p->rounds = below(2) ? 0 : (uint8_t)(1 + below(12));
    unsigned count = p->rounds ? 2 + below(INSNS - 2) : INSNS;
    while (p->count < count) {
        uint8_t bytes[32] = {0};
        uint32_t before = undefined;
        unsigned n = make_insn(context, p->count == 0 && !p->rounds, bytes, &insn, &undefined);
        if (!n) {
            undefined = before;
            continue;
        }
        p->undefined[p->count] = before;
        p->at[p->count++] = p->length;
        memcpy(p->bytes + p->length, bytes, n);
        p->length += n;
    }
    if (p->rounds) {
        append_counter(p, bits);
        undefined = 0;
    }
    p->undefined[p->count] = undefined;
    p->at[p->count] = p->length;
    p->bytes[p->length++] = 0xf4;
    for (unsigned i = 0; i < 16; i++) {
        p->gpr[i] = number();
        if (bits != GUEST_64)
            p->gpr[i] = (uint32_t)p->gpr[i];
        p->xmm[i][0] = number();
        p->xmm[i][1] = number();
        p->xmm[i][2] = number();
        p->xmm[i][3] = number();
    }
    uint64_t data = bits == GUEST_16 ? 0x4000 : GUEST_DATA;
    uint64_t edge = below(4) ? 0x800 : below(2) ? 0xff8 : 0xff0;
    p->gpr[RSI] = data + edge;
    p->gpr[RDI] = data + 0x2000 + edge - below(2) * 8;
    p->gpr[RBP] = data + 0x4800;
    p->gpr[RSP] = bits == GUEST_16 ? 0xe000 : GUEST_STACK;
    p->gpr[RCX] = below(3) ? p->gpr[RCX] & 0x1f : p->gpr[RCX] & 0xfff;
    if (bits == GUEST_64 && below(16) == 0)
        p->gpr[RBP] = number(); /* faults of all kinds */
    make_x87(&p->x87);
    p->eflags = FLAG_FIXED | (uint32_t)(next_random() & FLAG_ARITH) | (below(8) ? 0 : FLAG_DF);
}

/* The memory that programs write, but for wild pointers, which no result depends on. */
static const struct {
    uint32_t start, end;
} regions[] = {{0, 0x40000}, {GUEST_DATA - 0x10000, GUEST_DATA + 0x20000}};

static void start(struct guest *guest, const struct program *p, enum guest_bits bits,
                  const uint8_t *ram)
{
    for (unsigned i = 0; i < 2; i++)
        memcpy(guest->ram + regions[i].start, ram + regions[i].start,
               regions[i].end - regions[i].start);
    guest_reset(guest, bits);
    guest_load(guest, GUEST_CODE, p->bytes, p->length);
    struct cpu *cpu = guest->cpu;
    memcpy(cpu->gpr, p->gpr, sizeof p->gpr);
    if (bits != GUEST_64)
        memset(&cpu->gpr[8], 0, 8 * sizeof cpu->gpr[0]);
    for (unsigned i = 0; i < 16; i++)
        memcpy(cpu->xmm[i].u64, p->xmm[i], 32);
    cpu->eflags = p->eflags;
    cpu->x87 = p->x87;
    uint32_t counter = bits == GUEST_16 ? 0x20000 + (COUNTER & 0xffff) : COUNTER;
    guest->ram[counter] = p->rounds;
}

static void print_program(const struct program *p, const struct decode_context *context)
{
    struct insn insn;
    for (unsigned i = 0; i < p->count; i++) {
        char text[DISASM_MAX];
        decode(context, p->bytes + p->at[i], 15, &insn);
        disasm(&insn, GUEST_CODE + p->at[i], text, sizeof text);
        fprintf(stderr, "  %2u %6x  %s\n", i, GUEST_CODE + p->at[i], text);
    }
}

/* Flags that may differ where the program stopped. */
static uint32_t undefined_at(const struct program *p, enum guest_bits bits, const struct guest *g)
{
    uint64_t rip = g->cpu->rip;
    if (rip == (bits == GUEST_16 ? 0 : GUEST_CODE) + (uint64_t)p->length)
        return p->undefined[p->count];
    /* In an exception handler: the union of all, since the frame tells where only indirectly. */
    uint32_t all = 0;
    for (unsigned i = 0; i <= p->count; i++)
        all |= p->undefined[i];
    return all;
}

static bool same_x87(const struct x87 *a, const struct x87 *b, bool print)
{
    bool equal = a->control == b->control && a->status == b->status && a->top == b->top &&
                 a->empty == b->empty && a->opcode == b->opcode && a->ip == b->ip &&
                 a->dp == b->dp && a->ip_selector == b->ip_selector &&
                 a->dp_selector == b->dp_selector;
    for (unsigned i = 0; i < 8; i++)
        equal &=
            a->reg[i].mantissa == b->reg[i].mantissa && a->reg[i].exponent == b->reg[i].exponent;
    for (unsigned i = 0; i < 2 && print && !equal; i++) {
        const struct x87 *x = i ? b : a;
        fprintf(stderr, "%s: control %x status %x top %u empty %x opcode %x ip %x:%llx dp %x:%llx",
                i ? "translator" : "interpreter", x->control, x->status, x->top, x->empty,
                x->opcode, x->ip_selector, (unsigned long long)x->ip, x->dp_selector,
                (unsigned long long)x->dp);
        for (unsigned r = 0; r < 8; r++)
            fprintf(stderr, " %04x:%016llx", x->reg[r].exponent,
                    (unsigned long long)x->reg[r].mantissa);
        fprintf(stderr, "\n");
    }
    return equal;
}

static bool same(const struct guest *a, const struct guest *b, const struct program *p,
                 enum guest_bits bits, bool print)
{
    bool equal = true;
    const struct cpu *x = a->cpu, *y = b->cpu;
    for (unsigned i = 0; i < 16; i++)
        if (x->gpr[i] != y->gpr[i]) {
            equal = false;
            if (print)
                fprintf(stderr, "r%u: interpreter %llx translator %llx\n", i,
                        (unsigned long long)x->gpr[i], (unsigned long long)y->gpr[i]);
        }
    for (unsigned i = 0; i < 16; i++)
        if (memcmp(&x->xmm[i], &y->xmm[i], 32) != 0) {
            equal = false;
            if (print)
                for (unsigned half = 2; half-- > 0;)
                    fprintf(stderr, "xmm%u.%u: %016llx%016llx %016llx%016llx\n", i, half,
                            (unsigned long long)x->xmm[i].u64[2 * half + 1],
                            (unsigned long long)x->xmm[i].u64[2 * half],
                            (unsigned long long)y->xmm[i].u64[2 * half + 1],
                            (unsigned long long)y->xmm[i].u64[2 * half]);
        }
    equal &= same_x87(&x->x87, &y->x87, print);
    uint32_t undefined = undefined_at(p, bits, a);
    if (x->rip != y->rip || (x->eflags ^ y->eflags) & ~undefined || x->mxcsr != y->mxcsr ||
        x->cr2 != y->cr2) {
        equal = false;
        if (print)
            fprintf(stderr, "rip %llx %llx eflags %x %x (undefined %x) mxcsr %x %x\n",
                    (unsigned long long)x->rip, (unsigned long long)y->rip, x->eflags, y->eflags,
                    undefined, x->mxcsr, y->mxcsr);
    }
    for (unsigned region = 0; region < 2; region++)
        for (unsigned at = regions[region].start; at < regions[region].end; at += 4096) {
            if (memcmp(a->ram + at, b->ram + at, 4096) == 0)
                continue;
            for (unsigned i = at; i < at + 4096; i++) {
                uint8_t difference = a->ram[i] ^ b->ram[i];
                if (!difference)
                    continue;
                /* EFLAGS in an exception frame, or A and D bits */
                bool frame = (uint16_t)(i - x->gpr[RSP]) < 64 && undefined && !(difference & ~0xd5);
                bool overflow = (uint16_t)(i - x->gpr[RSP]) < 64 && !(difference & ~8);
                /* An instruction that faults may or may not have probed for writing. */
                bool dirty =
                    i >= GUEST_TABLES && i < GUEST_TABLES + 0x5000 && !(difference & ~0x60);
                if (frame || overflow || dirty)
                    continue;
                equal = false;
                if (print)
                    fprintf(stderr, "memory %x: %02x %02x\n", i, a->ram[i], b->ram[i]);
            }
        }
    return equal;
}

/* A program that overwrites the exception handlers may run for ever: then it is given up. */
static struct guest *running;

static void on_alarm(int number)
{
    cpu_post(running->cpu, EVENT_STOP);
}

static bool run_bounded(struct guest *guest, bool *gave_up)
{
    running = guest;
    setitimer(ITIMER_VIRTUAL, &(struct itimerval){.it_value.tv_sec = 2}, NULL);
    enum cpu_exit end = cpu_run(guest->cpu);
    setitimer(ITIMER_VIRTUAL, &(struct itimerval){0}, NULL);
    *gave_up = end == CPU_EXIT_STOPPED;
    return end == CPU_EXIT_HALTED;
}

static unsigned programs = 3000;
static uint64_t seed = 1;

static bool floating; /* code is executed away from where its translations are for */

static void run_random(enum guest_bits bits, unsigned hot, unsigned max_insns)
{
    static const uint8_t code_sizes[] = {2, 4, 8};
    static uint8_t ram[GUEST_RAM];
    translator_options =
        (struct translator_options){.threshold = 1, .hot = hot, .max_insns = max_insns};
    translator_options.float_all = floating;
    struct guest *a = guest_new(&accel_interpreter, bits);
    struct guest *b = guest_new(&accel_translator, bits);
    if (floating)
        cpu_engine(b->cpu)->recent_shift[0] = (struct recent_shift){-0x765432101000ull, GUEST_CODE};
    random_state = seed * 0x9e3779b97f4a7c15ull + bits;
    for (unsigned i = GUEST_DATA; i < GUEST_DATA + 0x10000; i += 8) {
        uint64_t value = number();
        memcpy(ram + i, &value, 8);
    }
    for (unsigned i = 0; i < programs; i++) {
        struct program p;
        struct decode_context context = {code_sizes[bits], a->cpu->mode, a->cpu->features};
        uint64_t state = random_state;
        make_program(&p, &context, bits);
        start(a, &p, bits, ram);
        start(b, &p, bits, ram);
        bool gave_up;
        bool halted_a = run_bounded(a, &gave_up);
        if (gave_up)
            continue;
        bool halted_b = run_bounded(b, &gave_up);
        if (halted_a != halted_b || !same(a, b, &p, bits, false)) {
            fprintf(stderr, "program %u, state %llx\n", i, (unsigned long long)state);
            print_program(&p, &context);
            same(a, b, &p, bits, true);
            code_drop_all(b->code);
            start(b, &p, bits, ram);
            log_items |= LOG_IN | LOG_IR | LOG_OUT;
            guest_run(b);
            exit(1);
        }
    }
    guest_free(a);
    guest_free(b);
}

START_TEST(random_64)
{
    run_random(GUEST_64, 1, 0);
}
END_TEST

/* Blocks that stay warm, and blocks that become hot on the way. */
START_TEST(random_warm)
{
    run_random(GUEST_64, 1000000, 0);
    run_random(GUEST_64, 3, 0);
    run_random(GUEST_32, 1000000, 0);
    run_random(GUEST_16, 2, 0);
}
END_TEST

START_TEST(random_floating)
{
    floating = true;
    run_random(GUEST_64, 1000000, 0);
    run_random(GUEST_64, 3, 0);
    run_random(GUEST_64, 4, 1);
    only_x87 = true;
    run_random(GUEST_64, 4, 0);
    only_x87 = false;
    floating = false;
}
END_TEST

START_TEST(random_64_single)
{
    run_random(GUEST_64, 3, 1);
}
END_TEST

START_TEST(random_32)
{
    run_random(GUEST_32, 1, 0);
}
END_TEST

START_TEST(random_16)
{
    run_random(GUEST_16, 1, 0);
}
END_TEST

START_TEST(random_x87)
{
    only_x87 = true;
    run_random(GUEST_64, 1, 0);
    run_random(GUEST_64, 4, 0);
    run_random(GUEST_32, 1, 0);
    run_random(GUEST_16, 1, 0);
    only_x87 = false;
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1)
        programs = (unsigned)strtoul(argv[1], NULL, 0);
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 0);
    signal(SIGVTALRM, on_alarm); /* Check has a use of its own for SIGALRM */
    Suite *suite = suite_create("translator: random programs");
    TCase *tc = tcase_create("random");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, random_64);
    tcase_add_test(tc, random_warm);
    tcase_add_test(tc, random_floating);
    tcase_add_test(tc, random_64_single);
    tcase_add_test(tc, random_32);
    tcase_add_test(tc, random_16);
    tcase_add_test(tc, random_x87);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
