/*
 * Cases of the oracle: random instructions, and the state that they start from.
 */
#include "tests/cpu/oracle.h"
#include "cpu/decode.h"

#include <stdlib.h>
#include <string.h>

/* -- What is not compared, and why -- */

static const struct {
    uint16_t op;
    const char *why;
} skipped_ops[] = {
    {OP_SYSCALL, "enters the host's kernel"},
    {OP_SYSENTER, "enters the host's kernel"},
    {OP_INT1, "hypervisors differ about the pushed RIP"},
    {OP_SGDT, "the host's kernel answers it (UMIP)"},
    {OP_SIDT, "the host's kernel answers it (UMIP)"},
    {OP_SLDT, "the host's kernel answers it (UMIP)"},
    {OP_STR, "the host's kernel answers it (UMIP)"},
    {OP_SMSW, "the host's kernel answers it (UMIP)"},
};

/* On x86 hosts doppel uses the host's instruction, or its choice of a NaN; elsewhere the last bits
 * may differ. */
static const uint16_t host_computed[] = {
    OP_RCPPS,    OP_RCPSS,    OP_RSQRTPS, OP_RSQRTSS, OP_FSIN,    OP_FCOS,   OP_FSINCOS,
    OP_FPTAN,    OP_FPATAN,   OP_F2XM1,   OP_FYL2X,   OP_FYL2XP1, OP_VRCPPS, OP_VRCPSS,
    OP_VRSQRTPS, OP_VRSQRTSS, OP_DPPS,    OP_DPPD,    OP_VDPPS,   OP_VDPPD,
};

const char *oracle_skipped(unsigned op, bool portable)
{
    for (unsigned i = 0; i < sizeof skipped_ops / sizeof *skipped_ops; i++)
        if (skipped_ops[i].op == op)
            return skipped_ops[i].why;
    for (unsigned i = 0; portable && i < sizeof host_computed / sizeof *host_computed; i++)
        if (host_computed[i] == op)
            return "the last bits differ between hosts";
    return NULL;
}

/* Mnemonics that only templates generate: their results on random operands cannot be compared. */
static bool needs_template(unsigned op)
{
    switch (op) {
    case OP_FNSTENV:
    case OP_FNSAVE:
    case OP_FXSAVE:
    case OP_XSAVE:
    case OP_XSAVEOPT:
    case OP_XSAVEC:
    case OP_XRSTOR:
    case OP_XGETBV:
    case OP_RDTSC:
    case OP_RDTSCP:
    case OP_RDRAND:
    case OP_RDSEED:
    case OP_CPUID:
        return true;
    }
    return false;
}

/* Rows left out although others of the mnemonic are compared. */
static bool row_is_skipped(const struct isa_row *row, bool portable)
{
    bool reg_hint = row->op == OP_NOP && row->map == MAP_0F && row->opcode == 0x0d;
    return reg_hint || needs_template(row->op) || oracle_skipped(row->op, portable);
}

/* Results that are undefined for certain operands. */
static bool undefined_result(const struct insn *insn)
{
    switch (insn->op) {
    case OP_BSWAP:
        return insn->opsize == 2;
    case OP_ARPL: /* AMD processors write memory only if RPL changes */
        return insn->operand[0].kind == OPERAND_MEM;
    case OP_SHLD: /* 16 bits shifted by more than 16 */
    case OP_SHRD:
        return insn->opsize == 2 && (insn->operand[2].kind == OPERAND_GPR || (insn->imm & 31) > 16);
    default:
        return false;
    }
}

/* 64-bit code uses all of these as pointers, other code the lower eight. */
static uint16_t pointer_set(int bits)
{
    uint16_t set = 1 << RBX | 1 << RSI | 1 << RDI | 1 << RBP;
    return bits == 64 ? set | 1 << R12 | 1 << R13 : set;
}

static uint16_t index_set(int bits)
{
    return bits == 64 ? 1 << RCX | 1 << R9 : 1 << RCX;
}

static uint64_t random_float(struct generator *g, unsigned fraction_bits, unsigned exponent_bits)
{
    uint64_t fraction_mask = (1ull << fraction_bits) - 1, random = generate_random(g);
    uint64_t exponent_max = (1u << exponent_bits) - 1, bias = exponent_max >> 1;
    uint64_t sign = random >> 63, fraction = random & fraction_mask, exponent;
    switch (random >> 56 & 15) {
    case 0:
        exponent = fraction = 0; /* zero */
        break;
    case 1:
        exponent = exponent_max; /* infinity */
        fraction = 0;
        break;
    case 2:
        exponent = exponent_max; /* not a number, quiet or signalling */
        break;
    case 3:
        exponent = 0; /* denormal */
        break;
    case 4:
        exponent = (random >> 40) & exponent_max;
        break;
    case 5:
        exponent = exponent_max - 1;
        break;
    case 6:
        exponent = 1;
        break;
    case 7: /* integers and halves */
        exponent = bias + (random >> 40 & 15);
        fraction &= fraction_mask << (fraction_bits - 5);
        break;
    default:
        exponent = bias - 32 + (random >> 40 & 63);
    }
    return sign << (fraction_bits + exponent_bits) | exponent << fraction_bits |
           (fraction & fraction_mask);
}

/* Eight bytes of one kind of data or another. */
static uint64_t random_data(struct generator *g)
{
    switch (generate_random(g) >> 40 & 3) {
    case 0:
        return random_float(g, 52, 11);
    case 1:
        return random_float(g, 23, 8) | random_float(g, 23, 8) << 32;
    default:
        return generate_value(g);
    }
}

static void random_fx(struct generator *g, uint8_t *fx)
{
    uint64_t random = generate_random(g);
    bool trapping = (random & 7) == 0;
    uint16_t control = (uint16_t)(0x037f | (random >> 8 & 0xf00));
    uint32_t mxcsr = 0x1f80 | (random >> 20 & 0xe040); /* rounding, FTZ, DAZ */
    if (!(random >> 40 & 3))
        mxcsr &= ~0x8040u;
    if (trapping) {
        control &= (uint16_t) ~(random >> 32 & 0x3f);
        mxcsr &= ~(uint32_t)(random >> 31 & 0x1f80);
    }
    uint16_t status = (uint16_t)(random >> 44 & 0x7f00); /* TOP and condition codes */
    memset(fx, 0, FX_SIZE);
    memcpy(fx + FX_FCW, &control, 2);
    memcpy(fx + FX_FSW, &status, 2);
    fx[FX_FTW] = (uint8_t)((random >> 60 & 3) ? 0xff : generate_random(g));
    memcpy(fx + FX_MXCSR, &mxcsr, 4);
    for (unsigned i = 0; i < 8; i++) {
        uint64_t wide = random_float(g, 48, 15); /* sign and exponent in the upper 16 bits */
        uint16_t exponent = (uint16_t)(wide >> 48);
        uint64_t mantissa = wide << 15 | generate_random(g) >> 49;
        if (exponent & 0x7fff && generate_random(g) & 31)
            mantissa |= 1ull << 63;
        else if (!(exponent & 0x7fff) || generate_random(g) & 1)
            mantissa &= ~(1ull << 63);
        if ((random >> 16 & 3) == 0) { /* an MMX program */
            exponent = 0xffff;
            mantissa = random_data(g);
        } else if (!(wide << 16)) {
            mantissa = (exponent & 0x7fff) ? 1ull << 63 : 0;
        }
        memcpy(fx + FX_ST + 16 * i, &mantissa, 8);
        memcpy(fx + FX_ST + 16 * i + 8, &exponent, 2);
    }
    for (unsigned i = 0; i < 32; i++) {
        uint64_t value = random_data(g);
        memcpy(fx + FX_XMM + 8 * i, &value, 8);
    }
}

/* Vector registers whose elements are small where gathers are generated. */
#define VECTOR_INDICES (1 << 6 | 1 << 7)

/* Indices of quadwords in register 6, of doublewords in 7, in both halves. */
static void make_indices(uint64_t seed, struct user_state *state)
{
    struct generator g = {.seed = seed ^ 0x1d1c35};
    for (unsigned reg = 6; reg <= 7; reg++) {
        for (unsigned i = 0; i < 4; i++) {
            uint64_t random = generate_random(&g);
            uint64_t value = reg == 6 ? random & 63 : random & 0x3f0000003f;
            memcpy(state->fx + (i < 2 ? FX_XMM : FX_YMM) + 16 * reg + 8 * (i & 1), &value, 8);
        }
    }
}

static bool has_gather(const struct test_case *test)
{
    static const uint64_t all_features[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    bool found = false;
    for (unsigned i = 0; i < test->count; i++)
        found |= isa_rows[case_insn(test, i, all_features).row].attributes & ISA_VSIB;
    return found;
}

static uint64_t pool[16384];

static void fill_pool(void)
{
    struct generator g = {.seed = 1};
    for (unsigned i = 0; i < sizeof pool / sizeof *pool; i++)
        pool[i] = random_data(&g);
}

/* A selector that can be loaded; ES and DS mostly that of all the data. */
static uint16_t random_selector(struct generator *g, int bits, unsigned seg)
{
    static const uint16_t others[] = {0,
                                      USER_LOCAL(3),
                                      USER_LOCAL(4),
                                      USER_LOCAL(5),
                                      USER_LOCAL(6),
                                      USER_LOCAL(8),
                                      USER_LOCAL(11),
                                      USER_SELECTOR_DATA,
                                      USER_SELECTOR_CODE32,
                                      USER_SELECTOR_CODE64,
                                      USER_SELECTOR_DATA16};
    uint64_t random = generate_random(g);
    uint16_t usual = bits == 16 ? USER_SELECTOR_DATA16 : USER_SELECTOR_DATA;
    if (seg == SEG_FS || seg == SEG_GS)
        return bits == 64 ? 0 : others[(random >> 32) % (sizeof others / sizeof *others)];
    if (bits == 64 || random >> 59)
        return usual;
    return others[(random >> 32) % (sizeof others / sizeof *others)];
}

/* What came later, from random numbers of its own: the seeds of old cases keep their meaning. */
static void more_state(const struct test_case *test, struct image *image)
{
    struct user_state *state = &image->state;
    struct generator g = {.bits = test->bits, .seed = ~test->state_seed};
    state->eflags |= generate_random(&g) >> 59 ? 0 : FLAG_AC;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        state->selector[i] = random_selector(&g, test->bits, i);
    state->fs_base = USER_DATA;
    state->gs_base = USER_DATA + USER_DATA_SIZE / 2;
    uint64_t upper = generate_random(&g) % (sizeof pool - 256) / 8 * 8;
    memcpy(state->fx + FX_YMM, (const uint8_t *)pool + upper, 256);
    state->fx[FX_COMPONENTS] = 7;
    if (has_gather(test))
        make_indices(test->state_seed, state);
    for (unsigned i = 0; i < 8; i++) { /* selectors where far pointers may have theirs */
        uint64_t random = generate_random(&g);
        uint16_t selector = random & 1 ? USER_SELECTOR_CODE32 + (random >> 1 & 2) * 8
                                       : USER_LOCAL(random >> 1 & 15);
        memcpy(image->data + (random >> 32) % (USER_DATA_SIZE - 2), &selector, 2);
    }
}

void case_start(const struct test_case *test, struct image *image)
{
    int bits = test->bits;
    struct user_state *state = &image->state;
    struct generator g = {.bits = bits, .seed = test->state_seed};
    uint64_t random = generate_random(&g);
    uint64_t base = bits == 16 ? USER_DATA - USER_BASE : USER_DATA;
    uint16_t pointers = pointer_set(bits) | 1 << RSP, indices = index_set(bits);
    unsigned registers = bits == 64 ? 16 : 8;

    if (!pool[0])
        fill_pool();
    memset(state, 0, sizeof *state);
    for (unsigned i = 0; i < registers; i++) {
        if (pointers >> i & 1)
            state->gpr[i] = base + USER_DATA_SIZE / 2 + (generate_random(&g) & 15) * 16;
        else if (indices >> i & 1)
            state->gpr[i] = generate_random(&g) & 15;
        else
            state->gpr[i] = generate_value(&g);
        if (bits != 64)
            state->gpr[i] = (uint32_t)state->gpr[i];
    }
    state->eflags = FLAG_FIXED | FLAG_IF | (random & FLAG_ARITH) | (random >> 32 & 7 ? 0 : FLAG_DF);
    random_fx(&g, state->fx);
    /* Fresh random numbers are dear: memory is a window into a pool of them. */
    memcpy(image->data,
           (const uint8_t *)pool + generate_random(&g) % (sizeof pool - USER_DATA_SIZE) / 8 * 8,
           USER_DATA_SIZE);
    more_state(test, image);
}

/* -- Generation -- */

static uint32_t flags_read(const struct insn *insn)
{
    bool by_condition = insn->op == OP_JCC || insn->op == OP_SETCC || insn->op == OP_CMOVCC;
    return by_condition ? isa_cond_flags(insn->cond) : isa_rows[insn->row].flags_read;
}

/* The undefined flags after an instruction, given those before it. */
static uint32_t undefined_after(const struct insn *insn, uint32_t before)
{
    const struct isa_row *row = &isa_rows[insn->row];
    bool rotate = insn->op >= OP_ROL && insn->op <= OP_SHRD;
    if (insn->prefixes & (PREFIX_REP | PREFIX_REPNE))
        return before;
    if (rotate && !(row->opcode == 0xd0 || row->opcode == 0xd1)) {
        /* By a count that may be zero and then changes nothing, or be larger than the operand. */
        uint32_t undefined = row->flags_undefined;
        bool shift =
            insn->op == OP_SHL || insn->op == OP_SHR || insn->op == OP_SHLD || insn->op == OP_SHRD;
        if (shift && insn->opsize < 4)
            undefined |= FLAG_CF;
        return before | undefined;
    }
    return (before & ~row->flags_written) | row->flags_undefined;
}

unsigned case_enterable(const struct test_case *test, unsigned index)
{
    while (index && index < test->count && test->group[index] &&
           test->group[index] == test->group[index - 1])
        index++;
    return index;
}

/* Directs a relative branch to the start of a later instruction. Its displacement comes last. */
static void aim_branch(struct test_case *test, unsigned index, const struct insn *insn,
                       uint64_t random)
{
    unsigned target = index + 1 + (unsigned)(random % (test->count - index));
    target = case_enterable(test, target);
    unsigned next = test->at[index + 1], size = insn->operand[0].size;
    uint32_t distance = (uint32_t)test->at[target] - next;
    memcpy(test->code + next - size, &distance, size);
}

uint64_t case_rip(const struct test_case *test)
{
    return test->bits == 16 ? USER_CODE - USER_BASE : USER_CODE;
}

struct insn case_insn(const struct test_case *test, unsigned index, const uint64_t *features)
{
    struct decode_context context = {
        .code_size = (uint8_t)(test->bits / 8), .mode = MODE_PROTECTED, .features = features};
    struct insn insn;
    decode(&context, test->code + test->at[index], INSN_MAX_LENGTH, &insn);
    return insn;
}

static bool is_branch(const struct insn *insn)
{
    return insn->noperands && insn->operand[0].kind == OPERAND_REL;
}

/* Does control go elsewhere, if only to a later instruction? */
static bool is_jump(const struct insn *insn)
{
    switch (insn->op) {
    case OP_JMP:
    case OP_CALL:
    case OP_RET:
    case OP_JMP_FAR:
    case OP_CALL_FAR:
    case OP_RET_FAR:
    case OP_IRET:
        return true;
    }
    return is_branch(insn);
}

/* With a branch in the code nothing that it may jump over defines a flag; and what other jumps may
 * lead back from leaves its flags everywhere. */
bool case_follow_undefined(struct test_case *test, const uint64_t *features)
{
    bool branches = false;
    uint32_t everywhere = 0, all = 0;
    for (unsigned i = 0; i < test->count; i++) {
        struct insn insn = case_insn(test, i, features);
        branches |= is_jump(&insn);
        all |= undefined_after(&insn, 0);
        if (is_jump(&insn) && !is_branch(&insn))
            everywhere = UINT32_MAX;
    }
    everywhere &= all;
    test->undefined[0] = everywhere;
    for (unsigned i = 0; i < test->count; i++) {
        struct insn insn = case_insn(test, i, features);
        uint32_t before = test->undefined[i];
        if (flags_read(&insn) & before)
            return false;
        test->undefined[i + 1] =
            undefined_after(&insn, before) | (branches ? before : 0) | everywhere;
    }
    return true;
}

/* PUSH of a segment register stores 32 bits, or only the lower 16 (SDM 2B PUSH), as doppel does
 * not.
 */
static bool stores_half(const struct case_maker *maker, const struct insn *insn)
{
    return maker->same_vendor && insn->op == OP_PUSH_SREG && insn->opsize == 4;
}

static bool is_comparable(const struct case_maker *maker, const struct insn *insn)
{
    bool system_call = insn->op == OP_INT && insn->imm == 0x80;
    return !system_call && !undefined_result(insn) && !stores_half(maker, insn) &&
           !row_is_skipped(&isa_rows[insn->row], maker->portable);
}

bool case_make(struct case_maker *maker, struct test_case *test)
{
    struct generator *g = &maker->generator;
    const uint64_t *features = maker->features;
    struct decode_context context = {
        .code_size = (uint8_t)(maker->bits / 8), .mode = MODE_PROTECTED, .features = features};
    unsigned wanted = 1 + (unsigned)(generate_random(g) % maker->length);
    struct template_targets targets = {0};
    memset(test, 0, sizeof *test);
    test->bits = maker->bits;
    test->state_seed = generate_random(g);
    while (test->count < wanted) {
        if (maker->row_count == 0 || !(generate_random(g) >> 32 & 15)) {
            template_make(maker, test, &targets);
            continue;
        }
        unsigned row = maker->rows[generate_random(g) % maker->row_count];
        uint8_t *at = test->code + test->length;
        struct insn insn;
        if (isa_rows[row].attributes & (ISA_PRIV | ISA_IO) && generate_random(g) >> 59)
            continue; /* faults all the time */
        g->rip = USER_CODE + test->length;
        int length = isa_encode_row(g, row, at);
        if (length == 0 || decode(&context, at, (size_t)length, &insn) != length)
            continue;
        if (!is_comparable(maker, &insn))
            continue;
        test->at[test->count++] = (uint8_t)test->length;
        test->length += (unsigned)length;
        test->at[test->count] = (uint8_t)test->length;
        maker->covered[insn.op]++;
    }
    for (unsigned i = 0; i < test->count; i++) {
        struct insn insn = case_insn(test, i, features);
        if (is_branch(&insn))
            aim_branch(test, i, &insn, generate_random(g));
    }
    template_aim(test, &targets, g);
    return case_follow_undefined(test, features);
}

int case_make_systematic(struct case_maker *maker, struct test_case *test, unsigned row,
                         unsigned form)
{
    struct generator *g = &maker->generator;
    struct insn insn;
    memset(test, 0, sizeof *test);
    test->bits = maker->bits;
    test->state_seed = generate_random(g);
    g->rip = USER_CODE;
    g->systematic = true;
    g->form = form;
    int length = isa_encode_row(g, maker->rows[row], test->code);
    g->systematic = false;
    if (g->form) /* all choices are made, and something is left: no such form */
        return -1;
    if (length == 0)
        return 0;
    test->count = 1;
    test->length = test->at[1] = (uint8_t)length;
    insn = case_insn(test, 0, maker->features);
    if (insn.length != length || !is_comparable(maker, &insn))
        return 0;
    maker->covered[insn.op]++;
    if (is_branch(&insn))
        aim_branch(test, 0, &insn, 0);
    return case_follow_undefined(test, maker->features);
}

/* `only` is a mnemonic, or x87, mmx or vex for all rows of that kind. */
static bool row_is_wanted(const struct isa_row *row, const char *only)
{
    if (!only || strcmp(isa_op_names[row->op], only) == 0)
        return true;
    if (strcmp(only, "x87") == 0)
        return row->map == MAP_PRIMARY && (row->opcode & 0xf8) == 0xd8;
    if (strcmp(only, "vex") == 0)
        return row->vex;
    if (strcmp(only, "mmx") == 0)
        return strpbrk(row->operands, "PQN") || row->op == OP_EMMS;
    return false;
}

void case_maker_set(struct case_maker *maker, int bits, uint64_t seed, const char *only)
{
    maker->bits = bits;
    maker->only = only;
    maker->generator = (struct generator){
        .bits = bits,
        .features = maker->features,
        .seed = seed * 0xd1342543de82ef95 + (unsigned)bits,
        .aimed = true,
        .pointers = pointer_set(bits),
        .indices = index_set(bits),
        .vector_indices = VECTOR_INDICES,
        .data = bits == 16 ? USER_DATA - USER_BASE : USER_DATA,
        .data_size = USER_DATA_SIZE,
        .segments = 0x3f,
        .no_far64 = !maker->same_vendor,
        .branch_max = 1,
    };
    maker->row_count = 0;
    for (unsigned row = 2; row < isa_row_count; row++) {
        const struct isa_row *r = &isa_rows[row];
        uint8_t bytes[GENERATE_MAX];
        if (row_is_skipped(r, maker->portable) || !row_is_wanted(r, only))
            continue;
        if (r->feature != FEATURE_BASE && !feature_test(maker->features, r->feature))
            continue;
        if (isa_encode_row(&maker->generator, row, bytes) > 0)
            maker->rows[maker->row_count++] = (uint16_t)row;
    }
}

bool case_parse(struct test_case *test, int bits, uint64_t state_seed, const char *code,
                const uint64_t *features)
{
    char *end;
    memset(test, 0, sizeof *test);
    test->bits = bits;
    test->state_seed = state_seed;
    for (const char *p = code; *p; p = end) {
        if (test->length == sizeof test->code)
            return false;
        test->code[test->length++] = (uint8_t)strtoul(p, &end, 16);
    }
    for (unsigned at = 0; at < test->length && test->count < ORACLE_MAX_LENGTH;) {
        test->at[test->count++] = (uint8_t)at;
        at += case_insn(test, test->count - 1, features).length;
    }
    test->at[test->count] = (uint8_t)test->length;
    case_follow_undefined(test, features);
    return true;
}

void oracle_print_coverage(const struct case_maker *maker)
{
    unsigned covered = 0, skipped = 0;
    bool possible[OP_COUNT] = {false};
    for (unsigned i = 0; i < maker->row_count; i++)
        possible[isa_rows[maker->rows[i]].op] = true;
    for (unsigned op = 0; op < OP_COUNT; op++) {
        const char *why = oracle_skipped(op, maker->portable);
        covered += maker->covered[op] != 0;
        if (why) {
            printf("left out: %s: %s\n", isa_op_names[op], why);
            skipped++;
        } else if (possible[op] && !maker->covered[op]) {
            printf("not covered: %s\n", isa_op_names[op]);
        }
    }
    printf("%u mnemonics covered, %u left out\n", covered, skipped);
}
