/*
 * The oracle: random user-level instructions run on the host processor and on doppel, and
 * everything that a program can see is compared: registers, flags, x87, SSE, memory, exceptions.
 *
 * A case is a state seed and some code. State and memory follow from the seed alone. A failing case
 * is shrunk by turning instructions into NOPs; what is left is printed with a row for
 * oracle_regress.def.
 *
 * Flags that an instruction leaves undefined (isa.def) are not compared, and no instruction that
 * reads them follows.
 *
 *     oracle [--engine interpreter|translator] [--bits 64|32|16] [--count N] [--seed S] [--length
 * N]
 *            [--only OP] [--coverage]
 */
#include "cpu/decode.h"
#include "cpu/disasm.h"
#include "tests/cpu/generate.h"
#include "tests/cpu/user_guest.h"
#include "tests/cpu/native.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_LENGTH   16
#define MAX_FAILURES 10

/* -- What is not compared, and why -- */

static const struct {
    uint16_t op;
    const char *why;
} skipped_ops[] = {
    {OP_SYSCALL, "enters the host's kernel"},
    {OP_SYSENTER, "enters the host's kernel"},
    {OP_INT, "enters the host's kernel"},
    {OP_IRET, "loads segment registers"},
    {OP_CALL_FAR, "loads segment registers"},
    {OP_JMP_FAR, "loads segment registers"},
    {OP_RET_FAR, "loads segment registers"},
    {OP_MOV_SREG, "host's selectors differ"},
    {OP_PUSH_SREG, "host's selectors differ"},
    {OP_POP_SREG, "loads segment registers"},
    {OP_LES, "loads segment registers"},
    {OP_LDS, "loads segment registers"},
    {OP_LSS, "loads segment registers"},
    {OP_LFS, "loads segment registers"},
    {OP_LGS, "loads segment registers"},
    {OP_LAR, "host's descriptors differ"},
    {OP_LSL, "host's descriptors differ"},
    {OP_VERR, "host's descriptors differ"},
    {OP_VERW, "host's descriptors differ"},
    {OP_SLDT, "host's value differs"},
    {OP_STR, "host's value differs"},
    {OP_SGDT, "host's value differs"},
    {OP_SIDT, "host's value differs"},
    {OP_SMSW, "host's value differs"},
    {OP_RDFSBASE, "host's value differs"},
    {OP_RDGSBASE, "host's value differs"},
    {OP_WRFSBASE, "the host's C library lives there"},
    {OP_WRGSBASE, "the host's C library lives there"},
    {OP_CPUID, "host's value differs"},
    {OP_RDTSC, "host's value differs"},
    {OP_RDTSCP, "host's value differs"},
    {OP_RDPMC, "host's value differs"},
    {OP_RDPID, "host's value differs"},
    {OP_RDRAND, "random"},
    {OP_RDSEED, "random"},
    {OP_XGETBV, "host's value differs"},
    {OP_POPF, "TF and AC would act on the host"},
    {OP_PUSHF, "IF and ID differ"},
    {OP_JMP, "indirect: see the branch rule"},
    {OP_RET, "to a random address"},
    {OP_INT1, "hypervisors differ about the pushed RIP"},
    {OP_RSM, "system management"},
    {OP_MONITOR, "no CPL 3 form"},
    {OP_MWAIT, "no CPL 3 form"},
    {OP_UD, "UD0 and UD1 decode differently on AMD"},
    {OP_INVPCID, "#UD or #GP by mode"},
    {OP_XSETBV, "#UD or #GP by mode"},
    {OP_LLDT, "privileged, in 64-bit form of its own"},
    {OP_LTR, "privileged, in 64-bit form of its own"},
    /* Approximations whose low bits are the processor's own */
    {OP_RCPPS, "approximation"},
    {OP_RCPSS, "approximation"},
    {OP_RSQRTPS, "approximation"},
    {OP_RSQRTSS, "approximation"},
    {OP_FSIN, "last bit differs between processors"},
    {OP_FCOS, "last bit differs between processors"},
    {OP_FSINCOS, "last bit differs between processors"},
    {OP_FPTAN, "last bit differs between processors"},
    {OP_FPATAN, "last bit differs between processors"},
    {OP_F2XM1, "last bit differs between processors"},
    {OP_FYL2X, "last bit differs between processors"},
    {OP_FYL2XP1, "last bit differs between processors"},
    /* Images with the last x87 instruction's addresses, which processors save differently */
    {OP_FNSTENV, "x87 instruction pointer"},
    {OP_FNSAVE, "x87 instruction pointer"},
    {OP_FXSAVE, "x87 instruction pointer"},
    {OP_XSAVE, "header and components of the host"},
    {OP_XSAVEOPT, "header and components of the host"},
    {OP_XRSTOR, "header and components of the host"},
};

static bool op_is_skipped(unsigned op)
{
    for (unsigned i = 0; i < sizeof skipped_ops / sizeof *skipped_ops; i++)
        if (skipped_ops[i].op == op)
            return true;
    return false;
}

/* Rows left out although others of the mnemonic are compared. */
static bool row_is_skipped(const struct isa_row *row)
{
    bool reg_hint = row->op == OP_NOP && row->map == MAP_0F && row->opcode == 0x0d;
    return reg_hint ||
           (op_is_skipped(row->op) && !(row->op == OP_JMP && row->operand[0].letter == 'J')) ||
           (row->op == OP_CALL && row->operand[0].letter != 'J');
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

/* -- Cases -- */

struct oracle {
    int bits;
    unsigned length;
    struct native *native;
    struct user_guest *guest;
    struct generator generator;
    uint16_t rows[2048]; /* that may be generated */
    unsigned row_count;
    uint64_t covered[OP_COUNT];
    uint64_t faults[32];
    uint64_t sequences, instructions, failures;
};

struct test_case {
    uint64_t state_seed;
    uint32_t undefined[MAX_LENGTH + 1]; /* flags before each instruction, and at the end */
    unsigned length, count;
    uint8_t code[MAX_LENGTH * GENERATE_MAX];
    uint8_t at[MAX_LENGTH + 1]; /* where each instruction starts; the last: the end */
};

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
    memset(fx, 0, 512);
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

static uint64_t pool[16384];

static void fill_pool(void)
{
    struct generator g = {.seed = 1};
    for (unsigned i = 0; i < sizeof pool / sizeof *pool; i++)
        pool[i] = random_data(&g);
}

/* State of the processor and the data pages for a seed. */
static void make_state(int bits, uint64_t seed, struct user_state *state, uint8_t *data)
{
    struct generator g = {.bits = bits, .seed = seed};
    uint64_t random = generate_random(&g);
    uint64_t base = bits == 16 ? USER_DATA - USER_BASE : USER_DATA;
    uint16_t pointers = pointer_set(bits) | 1 << RSP, indices = index_set(bits);
    unsigned registers = bits == 64 ? 16 : 8;

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
    memcpy(data,
           (const uint8_t *)pool + generate_random(&g) % (sizeof pool - USER_DATA_SIZE) / 8 * 8,
           USER_DATA_SIZE);
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

/* Directs a relative branch to the start of a later instruction. Its displacement comes last. */
static void aim_branch(struct test_case *test, unsigned index, const struct insn *insn,
                       uint64_t random)
{
    unsigned target = index + 1 + (unsigned)(random % (test->count - index));
    unsigned next = test->at[index + 1], size = insn->operand[0].size;
    uint32_t distance = (uint32_t)test->at[target] - next;
    memcpy(test->code + next - size, &distance, size);
}

static struct decode_context user_context(const struct oracle *oracle)
{
    struct decode_context context = {.code_size = (uint8_t)(oracle->bits / 8),
                                     .mode = MODE_PROTECTED,
                                     .features = oracle->guest->cpu->features};
    return context;
}

/* Decodes instruction `index` of the case. */
static struct insn insn_at(const struct oracle *oracle, const struct test_case *test,
                           unsigned index)
{
    struct decode_context context = user_context(oracle);
    struct insn insn;
    decode(&context, test->code + test->at[index], INSN_MAX_LENGTH, &insn);
    return insn;
}

static bool is_branch(const struct insn *insn)
{
    return insn->noperands && insn->operand[0].kind == OPERAND_REL;
}

/* Fills test->undefined; false if an undefined flag would be read. With a branch in the code
 * nothing that it may jump over defines a flag. */
static bool follow_undefined(const struct oracle *oracle, struct test_case *test)
{
    bool branches = false;
    for (unsigned i = 0; i < test->count; i++) {
        struct insn insn = insn_at(oracle, test, i);
        branches |= is_branch(&insn);
    }
    test->undefined[0] = 0;
    for (unsigned i = 0; i < test->count; i++) {
        struct insn insn = insn_at(oracle, test, i);
        uint32_t before = test->undefined[i];
        if (flags_read(&insn) & before)
            return false;
        test->undefined[i + 1] = undefined_after(&insn, before) | (branches ? before : 0);
    }
    return true;
}

static bool make_case(struct oracle *oracle, struct test_case *test)
{
    struct generator *g = &oracle->generator;
    struct decode_context context = user_context(oracle);
    unsigned wanted = 1 + (unsigned)(generate_random(g) % oracle->length);
    memset(test, 0, sizeof *test);
    test->state_seed = generate_random(g);
    while (test->count < wanted) {
        unsigned row = oracle->rows[generate_random(g) % oracle->row_count];
        uint8_t *at = test->code + test->length;
        struct insn insn;
        if (isa_rows[row].attributes & (ISA_PRIV | ISA_IO) && generate_random(g) >> 59)
            continue; /* faults all the time */
        g->rip = USER_CODE + test->length;
        int length = isa_encode_row(g, row, at);
        if (length == 0 || decode(&context, at, (size_t)length, &insn) != length)
            continue;
        if (undefined_result(&insn) || row_is_skipped(&isa_rows[insn.row]))
            continue;
        test->at[test->count++] = (uint8_t)test->length;
        test->length += (unsigned)length;
        test->at[test->count] = (uint8_t)test->length;
        oracle->covered[insn.op]++;
    }
    for (unsigned i = 0; i < test->count; i++) {
        struct insn insn = insn_at(oracle, test, i);
        if (is_branch(&insn))
            aim_branch(test, i, &insn, generate_random(g));
    }
    return follow_undefined(oracle, test);
}

/* -- Comparison -- */

struct outcome {
    struct user_state host, ours;
    uint8_t host_data[USER_DATA_SIZE];
};

static void run_case(struct oracle *oracle, const struct test_case *test, struct outcome *outcome)
{
    make_state(oracle->bits, test->state_seed, &outcome->host, oracle->native->data);
    outcome->ours = outcome->host;
    memcpy(oracle->guest->data, oracle->native->data, USER_DATA_SIZE);
    native_run(oracle->native, oracle->bits, test->code, test->length, &outcome->host);
    user_guest_run(oracle->guest, oracle->bits, test->code, test->length, &outcome->ours);
}

static bool differs(const char *what, uint64_t host, uint64_t ours, FILE *out)
{
    if (host == ours)
        return false;
    if (out)
        fprintf(out, "    %-8s host %016" PRIx64 "  doppel %016" PRIx64 "\n", what, host, ours);
    return true;
}

static uint64_t part_of(const uint8_t *image, unsigned at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, image + at, size);
    return value;
}

static bool x87_differs(const uint8_t *host, const uint8_t *ours, FILE *out)
{
    bool different = false;
    different |= differs("fcw", part_of(host, FX_FCW, 2), part_of(ours, FX_FCW, 2), out);
    different |= differs("fsw", part_of(host, FX_FSW, 2), part_of(ours, FX_FSW, 2), out);
    different |= differs("ftw", host[FX_FTW], ours[FX_FTW], out);
    for (unsigned i = 0; i < 8; i++) {
        static const char names[8][2][7] = {{"st0", "st0.se"}, {"st1", "st1.se"}, {"st2", "st2.se"},
                                            {"st3", "st3.se"}, {"st4", "st4.se"}, {"st5", "st5.se"},
                                            {"st6", "st6.se"}, {"st7", "st7.se"}};
        unsigned at = FX_ST + 16 * i;
        different |= differs(names[i][0], part_of(host, at, 8), part_of(ours, at, 8), out);
        different |= differs(names[i][1], part_of(host, at + 8, 2), part_of(ours, at + 8, 2), out);
    }
    return different;
}

static bool sse_differs(const uint8_t *host, const uint8_t *ours, FILE *out)
{
    bool different = differs("mxcsr", part_of(host, FX_MXCSR, 4), part_of(ours, FX_MXCSR, 4), out);
    if (memcmp(host + FX_XMM, ours + FX_XMM, 256) == 0)
        return different;
    for (unsigned i = 0; i < 32; i++) {
        char name[16];
        snprintf(name, sizeof name, "xmm%u.%c", i / 2, "lh"[i & 1]);
        differs(name, part_of(host, FX_XMM + 8 * i, 8), part_of(ours, FX_XMM + 8 * i, 8), out);
    }
    return true;
}

static bool memory_differs(const struct oracle *oracle, FILE *out)
{
    const uint8_t *host = oracle->native->data, *ours = oracle->guest->data;
    if (memcmp(host, ours, USER_DATA_SIZE) == 0)
        return false;
    for (unsigned i = 0, shown = 0; i < USER_DATA_SIZE && shown < 8; i += 8) {
        char name[16];
        snprintf(name, sizeof name, "%x", USER_DATA + i);
        shown += differs(name, part_of(host, i, 8), part_of(ours, i, 8), out);
    }
    return true;
}

/* -- Where processors differ: the host may be of another maker than doppel's models -- */

struct lenience {
    uint32_t flags; /* of EFLAGS not compared */
    bool x87, cr2, all;
};

/* FXRSTOR and its kin: many bytes, read in an order of the processor's own. */
static bool is_image(const struct insn *insn)
{
    return insn->op == OP_FXRSTOR || insn->op == OP_FRSTOR || insn->op == OP_FLDENV;
}

/* Two reasons for a fault, whose order is not architectural: partly outside the segment (which,
 * with 4 GiB, may also wrap around), not aligned, not canonical, not present. */
static bool either_may_come_first(const struct oracle *oracle, const struct insn *insn,
                                  const struct outcome *o)
{
    bool segment = o->ours.vector == EXC_SS || o->ours.vector == EXC_GP;
    bool host_segment = o->host.vector == EXC_SS || o->host.vector == EXC_GP;
    bool wide = insn_has_mem(insn) &&
                (is_image(insn) || insn->operand[1].size == 16 || insn->operand[0].size == 16);
    if (o->host.rip != o->ours.rip || o->host.vector == o->ours.vector || !segment)
        return false;
    if (insn->op == OP_CMPS || insn->op == OP_MOVS) /* two operands */
        return true;
    bool mask_move = insn->op == OP_MASKMOVQ || insn->op == OP_MASKMOVDQU;
    return (wide && host_segment) ||
           ((is_image(insn) || mask_move || oracle->bits == 32) && o->host.vector == EXC_PF);
}

static struct lenience lenience(const struct oracle *oracle, const struct test_case *test,
                                const struct outcome *o)
{
    struct lenience l = {0};
    uint32_t host_mxcsr;
    memcpy(&host_mxcsr, o->host.fx + FX_MXCSR, 4);
    uint64_t start = oracle->bits == 16 ? USER_CODE - USER_BASE : USER_CODE;
    l.flags = test->undefined[test->count];
    for (unsigned i = 0; i < test->count; i++) {
        struct insn insn = insn_at(oracle, test, i);
        if (o->host.vector >= 0 && o->host.rip == start + test->at[i]) {
            /* The one that faulted may have changed its undefined flags before. */
            l.flags = test->undefined[i] | isa_rows[insn.row].flags_undefined;
            /* AMD processors enter MMX state before the fault. */
            l.x87 |= (insn.op >= OP_CVTPI2PS && insn.op <= OP_CVTPD2PI) || insn.op == OP_MASKMOVQ ||
                     insn.op == OP_CVTTPD2PI;
            /* Which byte of an image is touched first is nobody's business. */
            /* A mask of zeros: whether the address is looked at is up to the processor. */
            l.all |=
                (insn.op == OP_MASKMOVQ || insn.op == OP_MASKMOVDQU) && o->ours.rip != o->host.rip;
            l.all |= either_may_come_first(oracle, &insn, o);
            if (insn.op == OP_CMPS || insn.op == OP_SCAS)
                l.flags = FLAG_ARITH; /* of the elements before, or as at first */
            l.cr2 |= is_image(&insn);
        }
        /* AMD processors have another MXCSR bit. */
        l.all |= host_mxcsr & 1 << 17;
    }
    return l;
}

/* Writes what differs to `out`, if not NULL. */
static bool case_differs(const struct oracle *oracle, const struct test_case *test,
                         const struct outcome *o, FILE *out)
{
    static const char names[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    struct lenience l = lenience(oracle, test, o);
    uint64_t width = oracle->bits == 64 ? UINT64_MAX : UINT32_MAX;
    uint64_t flags = (FLAG_ARITH & ~l.flags) | FLAG_DF;
    bool different = false;
    if (l.all)
        return false;
    different |= differs("vector", (uint64_t)o->host.vector, (uint64_t)o->ours.vector, out);
    different |= differs("rip", o->host.rip & width, o->ours.rip & width, out);
    if (o->host.vector == o->ours.vector && o->host.vector >= 0) {
        /* The host's kernel hides what it knows of its own half of the address space. */
        bool wild = o->host.vector == EXC_PF && o->host.cr2 - USER_BASE >= 0x10000;
        uint64_t error_mask = wild ? ~1ull : ~0ull; /* the host has more pages than the guest */
        if (!(o->host.vector == EXC_PF && o->host.cr2 >> 63))
            different |=
                differs("error", o->host.error & error_mask, o->ours.error & error_mask, out);
        if (!l.cr2)
            different |= differs("cr2", o->host.cr2, o->ours.cr2, out);
    }
    for (unsigned i = 0; i < (oracle->bits == 64 ? 16 : 8); i++)
        different |= differs(names[i], o->host.gpr[i] & width, o->ours.gpr[i] & width, out);
    different |= differs("eflags", o->host.eflags & flags, o->ours.eflags & flags, out);
    if (!l.x87)
        different |= x87_differs(o->host.fx, o->ours.fx, out);
    different |= sse_differs(o->host.fx, o->ours.fx, out);
    return different | memory_differs(oracle, out);
}

/* Replaces instructions by NOPs as long as the difference remains. */
static void shrink(struct oracle *oracle, struct test_case *test)
{
    struct outcome outcome;
    bool again = true;
    while (again) {
        again = false;
        for (unsigned i = 0; i < test->count; i++) {
            struct test_case smaller = *test;
            unsigned length = test->at[i + 1] - test->at[i];
            if (test->code[test->at[i]] == 0x90)
                continue;
            memset(smaller.code + test->at[i], 0x90, length);
            if (!follow_undefined(oracle, &smaller))
                continue;
            run_case(oracle, &smaller, &outcome);
            if (case_differs(oracle, &smaller, &outcome, NULL)) {
                *test = smaller;
                again = true;
            }
        }
    }
}

static void print_case(struct oracle *oracle, const struct test_case *test)
{
    struct outcome outcome;
    struct user_state start;
    make_state(oracle->bits, test->state_seed, &start, oracle->native->data);
    printf("%d-bit code differs:\n", oracle->bits);
    for (unsigned i = 0; i < test->count; i++) {
        char text[DISASM_MAX];
        const uint8_t *code = test->code + test->at[i];
        unsigned length = test->at[i + 1] - test->at[i];
        struct insn insn = insn_at(oracle, test, i);
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
           " eflags %" PRIx64 " fcw %" PRIx64 " fsw %" PRIx64 " mxcsr %" PRIx64 "\n",
           start.gpr[RAX], start.gpr[RCX], start.gpr[RDX], start.gpr[RBX], start.eflags,
           part_of(start.fx, FX_FCW, 2), part_of(start.fx, FX_FSW, 2),
           part_of(start.fx, FX_MXCSR, 4));
    run_case(oracle, test, &outcome);
    case_differs(oracle, test, &outcome, stdout);
    printf("REGRESS(%d, 0x%" PRIx64 ", \"", oracle->bits, test->state_seed);
    for (unsigned i = 0; i < test->length; i++)
        printf("%02x%s", test->code[i], i + 1 < test->length ? " " : "");
    printf("\")\n\n");
}

static void check_case(struct oracle *oracle, struct test_case *test)
{
    struct outcome outcome;
    run_case(oracle, test, &outcome);
    oracle->sequences++;
    oracle->instructions += test->count;
    if (outcome.host.vector >= 0 && outcome.host.vector < 32)
        oracle->faults[outcome.host.vector]++;
    if (!case_differs(oracle, test, &outcome, NULL))
        return;
    oracle->failures++;
    shrink(oracle, test);
    print_case(oracle, test);
    fflush(stdout);
}

/* -- Runs -- */

static void choose_rows(struct oracle *oracle, const char *only)
{
    oracle->row_count = 0;
    for (unsigned row = 2; row < isa_row_count; row++) {
        const struct isa_row *r = &isa_rows[row];
        if (row_is_skipped(r) || (only && strcmp(isa_op_names[r->op], only) != 0))
            continue;
        uint8_t bytes[GENERATE_MAX];
        if (isa_encode_row(&oracle->generator, row, bytes) > 0)
            oracle->rows[oracle->row_count++] = (uint16_t)row;
    }
}

static void set_bits(struct oracle *oracle, int bits, uint64_t seed, const char *only)
{
    oracle->bits = bits;
    oracle->generator = (struct generator){
        .bits = bits,
        .features = oracle->guest->cpu->features,
        .seed = seed * 0xd1342543de82ef95 + (unsigned)bits,
        .aimed = true,
        .pointers = pointer_set(bits),
        .indices = index_set(bits),
        .data = bits == 16 ? USER_DATA - USER_BASE : USER_DATA,
        .data_size = USER_DATA_SIZE,
        .segments = 1 << SEG_ES | 1 << SEG_CS | 1 << SEG_SS | 1 << SEG_DS,
        .branch_max = 1,
    };
    choose_rows(oracle, only);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void run_bits(struct oracle *oracle, int bits, uint64_t count, uint64_t seed,
                     const char *only)
{
    if (!native_supports(oracle->native, bits)) {
        printf("%d-bit: the host cannot run it, skipped\n", bits);
        return;
    }
    set_bits(oracle, bits, seed, only);
    if (oracle->row_count == 0)
        return;
    memset(oracle->faults, 0, sizeof oracle->faults);
    uint64_t sequences = oracle->sequences, instructions = oracle->instructions;
    double start = seconds();
    for (uint64_t i = 0; i < count && oracle->failures < MAX_FAILURES; i++) {
        struct test_case test;
        if (make_case(oracle, &test))
            check_case(oracle, &test);
    }
    double time = seconds() - start;
    sequences = oracle->sequences - sequences;
    printf("%d-bit: %" PRIu64 " sequences, %" PRIu64
           " instructions of %u encodings, %.0f sequences/s; faults:",
           bits, sequences, oracle->instructions - instructions, oracle->row_count,
           (double)sequences / time);
    for (unsigned i = 0; i < 32; i++)
        if (oracle->faults[i])
            printf(" #%u %" PRIu64, i, oracle->faults[i]);
    printf("\n");
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

static void run_regressions(struct oracle *oracle)
{
    unsigned count = 0;
    for (unsigned i = 0; regressions[i].code; i++) {
        struct test_case test = {.state_seed = regressions[i].state_seed};
        if (!native_supports(oracle->native, regressions[i].bits))
            continue;
        set_bits(oracle, regressions[i].bits, 1, NULL);
        char *end;
        for (const char *p = regressions[i].code; *p; p = end)
            test.code[test.length++] = (uint8_t)strtoul(p, &end, 16);
        for (unsigned at = 0, length; at < test.length && test.count < MAX_LENGTH; at += length) {
            test.at[test.count++] = (uint8_t)at;
            length = insn_at(oracle, &test, test.count - 1).length;
        }
        test.at[test.count] = (uint8_t)test.length;
        follow_undefined(oracle, &test);
        check_case(oracle, &test);
        count++;
    }
    printf("%u regressions\n", count);
}

static void print_coverage(const struct oracle *oracle)
{
    unsigned covered = 0;
    bool possible[OP_COUNT] = {false};
    for (unsigned i = 0; i < oracle->row_count; i++)
        possible[isa_rows[oracle->rows[i]].op] = true;
    for (unsigned op = 0; op < OP_COUNT; op++) {
        covered += oracle->covered[op] != 0;
        if (possible[op] && !oracle->covered[op])
            printf("not covered: %s\n", isa_op_names[op]);
    }
    printf("%u mnemonics covered, %zu left out\n", covered,
           sizeof skipped_ops / sizeof *skipped_ops);
}

static int usage(void)
{
    fprintf(
        stderr,
        "usage: oracle [--engine interpreter|translator] [--bits 64|32|16] [--count N] [--seed S]\n"
        "              [--length N] [--only OP] [--coverage]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const int all_bits[] = {64, 32, 16};
    static struct oracle oracle = {.length = 4};
    const struct accel *accel = &accel_interpreter;
    uint64_t count = 200000, seed = 1;
    int bits = 0;
    const char *only = NULL, *why = NULL;
    bool coverage = false;

    for (int i = 1; i < argc; i++) {
        const char *option = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(option, "--coverage") == 0) {
            coverage = true;
            continue;
        }
        if (i + 1 == argc)
            return usage();
        i++;
        if (strcmp(option, "--engine") == 0 && strcmp(value, "interpreter") == 0)
            accel = &accel_interpreter;
        else if (strcmp(option, "--engine") == 0 && strcmp(value, "translator") == 0)
            accel = &accel_translator;
        else if (strcmp(option, "--bits") == 0)
            bits = atoi(value);
        else if (strcmp(option, "--count") == 0)
            count = strtoull(value, NULL, 0);
        else if (strcmp(option, "--seed") == 0)
            seed = strtoull(value, NULL, 0);
        else if (strcmp(option, "--length") == 0)
            oracle.length = (unsigned)atoi(value);
        else if (strcmp(option, "--only") == 0)
            only = value;
        else
            return usage();
    }
    if (oracle.length < 1 || oracle.length > MAX_LENGTH - 1 ||
        (bits && bits != 16 && bits != 32 && bits != 64))
        return usage();

    oracle.native = native_new(&why);
    if (!oracle.native) {
        printf("%s\n", why);
        return 77;
    }
    oracle.guest = user_guest_new(accel);
    fill_pool();
    printf("engine %s, seed %" PRIu64 "\n", accel->name, seed);
    if (!bits && !only)
        run_regressions(&oracle);
    for (unsigned i = 0; i < 3; i++)
        if (bits == 0 || bits == all_bits[i])
            run_bits(&oracle, all_bits[i], count, seed, only);
    if (coverage)
        print_coverage(&oracle);
    user_guest_free(oracle.guest);
    native_free(oracle.native);
    printf("%" PRIu64 " differences\n", oracle.failures);
    return oracle.failures ? 1 : 0;
}
