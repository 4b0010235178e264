/*
 * Every x87, MMX and SSE row of isa.def against the host processor: the interpreter's function and
 * the instruction itself, on the same random registers and memory; then the whole state is
 * compared. x86-64 hosts; elsewhere there is nothing to compare with.
 */
#include "cpu/cpu.h"
#include "cpu/decode.h"
#include "cpu/isa.h"
#include "cpu/mem.h"
#include "tests/cpu/generate.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)

#include <sys/mman.h>

#define DATA_SIZE 512
#define ROUNDS    800

/* FXSAVE64 image. */
struct __attribute__((packed, aligned(16))) fx_image {
    uint16_t control, status;
    uint8_t valid, zero;
    uint16_t opcode;
    uint64_t ip, dp;
    uint32_t mxcsr, mxcsr_mask;
    struct {
        uint64_t mantissa;
        uint16_t exponent, reserved[3];
    } st[8];
    uint8_t xmm[16][16];
    uint8_t reserved[96];
};

struct native {
    struct fx_image fx;
    uint64_t gpr[16];
    uint64_t flags;
    uint64_t code, rsp;
};

struct harness {
    struct cpu *cpu;
    struct cpu_bus bus; /* nothing on it */
    struct native native;
    struct generator generator;
    uint8_t *page; /* data and, apart from it, code; low enough for any addressing form */
    uint8_t *code;
    uint8_t data[DATA_SIZE]; /* what the data was before */
};

static struct harness *harness;

/* Loads the whole state from n, calls n->code, stores the state. */
void native_run(struct native *n);
asm(".text\n"
    "native_run:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "push %rdi\n"
    "fxrstor64 (%rdi)\n"
    "push 0x280(%rdi); popf\n"
    "mov %rsp, 0x290(%rdi)\n"
    "mov 0x200(%rdi), %rax; mov 0x208(%rdi), %rcx; mov 0x210(%rdi), %rdx\n"
    "mov 0x218(%rdi), %rbx; mov 0x228(%rdi), %rbp; mov 0x230(%rdi), %rsi\n"
    "mov 0x240(%rdi), %r8; mov 0x248(%rdi), %r9; mov 0x250(%rdi), %r10\n"
    "mov 0x258(%rdi), %r11; mov 0x260(%rdi), %r12; mov 0x268(%rdi), %r13\n"
    "mov 0x270(%rdi), %r14; mov 0x278(%rdi), %r15\n"
    "push 0x288(%rdi)\n"
    "mov 0x238(%rdi), %rdi\n"
    "call *(%rsp)\n"
    "lea 8(%rsp), %rsp\n"
    "push %rdi\n"
    "mov 8(%rsp), %rdi\n"
    "mov %rax, 0x200(%rdi); mov %rcx, 0x208(%rdi); mov %rdx, 0x210(%rdi)\n"
    "mov %rbx, 0x218(%rdi); mov %rbp, 0x228(%rdi); mov %rsi, 0x230(%rdi)\n"
    "mov %r8, 0x240(%rdi); mov %r9, 0x248(%rdi); mov %r10, 0x250(%rdi)\n"
    "mov %r11, 0x258(%rdi); mov %r12, 0x260(%rdi); mov %r13, 0x268(%rdi)\n"
    "mov %r14, 0x270(%rdi); mov %r15, 0x278(%rdi)\n"
    "pop %rax; mov %rax, 0x238(%rdi)\n"
    "pushf; pop 0x280(%rdi)\n"
    "fxsave64 (%rdi)\n"
    "fninit\n"
    "push $0x1f80; ldmxcsr (%rsp); pop %rax\n"
    "pop %rdi\n"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "ret\n");
_Static_assert(offsetof(struct native, gpr) == 0x200, "asm");
_Static_assert(offsetof(struct native, flags) == 0x280, "asm");
_Static_assert(offsetof(struct native, code) == 0x288, "asm");
_Static_assert(offsetof(struct native, rsp) == 0x290, "asm");

/* -- Random state -- */

static uint64_t random64(void)
{
    return generate_random(&harness->generator);
}

static bool one_in(unsigned n)
{
    return random64() % n == 0;
}

static uint32_t random_f32(void)
{
    static const uint32_t edges[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
                                     0xff800000, 0x7fc00000, 0x7fa00000, 0xffc12345, 1,
                                     0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0x4f000000,
                                     0xcf000000, 0x5f000000, 0x3f000000, 0xbf000000, 0x40490fdb};
    if (one_in(3))
        return edges[random64() % (sizeof edges / sizeof edges[0])];
    uint32_t exponent = one_in(2) ? 110 + random64() % 40 : random64() & 255;
    return ((uint32_t)random64() & 0x807fffff & (one_in(2) ? ~0u : 0xfffff000)) | exponent << 23;
}

static uint64_t random_f64(void)
{
    static const uint64_t edges[] = {0,
                                     1ull << 63,
                                     0x3ff0000000000000,
                                     0x7ff0000000000000,
                                     0xfff0000000000000,
                                     0x7ff8000000000000,
                                     0x7ff4000000000000,
                                     1,
                                     0x000fffffffffffff,
                                     0x0010000000000000,
                                     0x7fefffffffffffff,
                                     0x41e0000000000000,
                                     0xc1e0000000200000,
                                     0x43e0000000000000,
                                     0x47efffffe0000000,
                                     0x3810000000000000};
    if (one_in(3))
        return edges[random64() % (sizeof edges / sizeof edges[0])];
    uint64_t exponent = one_in(2) ? 1000 + random64() % 60 : random64() & 2047;
    return (random64() & 0x800fffffffffffff) | exponent << 52;
}

/* Sixteen bytes as floats, doubles, bytes, or edges of integers. */
static void random_lanes(uint8_t bytes[16])
{
    unsigned kind = random64() % 6;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t single = kind == 0 ? random_f32() : (uint32_t)generate_value(&harness->generator);
        memcpy(bytes + 4 * i, &single, 4);
    }
    for (unsigned i = 0; i < 2 && kind >= 1 && kind <= 2; i++) {
        uint64_t value = kind == 1 ? random_f64() : random64();
        memcpy(bytes + 8 * i, &value, 8);
    }
    for (unsigned i = 0; i < 16 && kind == 3; i++) /* short strings */
        bytes[i] = one_in(6) ? 0 : 'a' + random64() % 4;
}

static void random_st(struct fx_image *fx, unsigned i)
{
    unsigned exponent = one_in(3) ? random64() & 0x7fff : 0x3fff - 40 + random64() % 80;
    uint64_t mantissa = random64() & (one_in(2) ? ~0ull : ~0ull << (random64() % 64));
    mantissa |= 1ull << 63;
    switch (random64() % 10) {
    case 0:
        exponent = 0;
        mantissa = one_in(2) ? 0 : mantissa >> (random64() % 3);
        break;
    case 1:
        exponent = 0x7fff;
        mantissa = one_in(2) ? 1ull << 63 : mantissa;
        break;
    case 2:
        mantissa <<= one_in(4); /* unsupported */
        break;
    default:
        break;
    }
    fx->st[i].mantissa = mantissa;
    fx->st[i].exponent = (uint16_t)(exponent | (random64() & 1) << 15);
}

static void random_state(bool x87_unmasked)
{
    struct native *n = &harness->native;
    struct generator *g = &harness->generator;
    memset(&n->fx, 0, sizeof n->fx);
    n->fx.control = (uint16_t)((random64() & 0xf00) | 0x7f);
    n->fx.status = (uint16_t)(random64() & 0x7f3f);
    if (x87_unmasked) {
        n->fx.control &= (uint16_t)(random64() | ~0x3d); /* processors differ about DE */
        n->fx.status &= 0x7f00;
    }
    n->fx.valid = one_in(2) ? 0xff : (uint8_t)(random64() | random64() | random64());
    if (one_in(3)) /* room to push */
        n->fx.valid &= (uint8_t) ~(1 << (((n->fx.status >> 11) - 1) & 7));
    n->fx.mxcsr = (uint32_t)((random64() & 0xe07f) | 0x1f80);
    for (unsigned i = 0; i < 8; i++)
        random_st(&n->fx, i);
    for (unsigned i = 0; i < 16; i++)
        random_lanes(n->fx.xmm[i]);
    for (unsigned i = 0; i < 16; i++)
        n->gpr[i] = generate_value(g);
    for (unsigned i = 0; i < 16; i++)
        if (g->pointers >> i & 1)
            n->gpr[i] = g->data + DATA_SIZE / 2;
        else if (g->indices >> i & 1)
            n->gpr[i] = random64() % 4;
    n->flags = (random64() & FLAG_ARITH) | FLAG_FIXED | FLAG_IF;
    for (unsigned i = 0; i < DATA_SIZE; i += 16)
        random_lanes(harness->page + i);
}

/* -- Between the two forms of state -- */

static void to_cpu(const struct native *n, struct cpu *cpu)
{
    memcpy(cpu->gpr, n->gpr, sizeof n->gpr);
    cpu->eflags = (uint32_t)n->flags;
    cpu->mxcsr = n->fx.mxcsr;
    memcpy(&cpu->x87.ip, &n->fx.ip, 8);
    cpu->x87.control = n->fx.control;
    cpu->x87.top = n->fx.status >> 11 & 7;
    cpu->x87.status = n->fx.status & 0x477f;
    cpu->x87.empty = (uint8_t)~n->fx.valid;
    for (unsigned i = 0; i < 8; i++)
        cpu->x87.reg[(cpu->x87.top + i) & 7] =
            (struct float80){n->fx.st[i].mantissa, n->fx.st[i].exponent};
    for (unsigned i = 0; i < 16; i++)
        memcpy(&cpu->xmm[i], n->fx.xmm[i], 16);
}

/* The CPU's state laid out like the host's. */
static void from_cpu(const struct cpu *cpu, struct native *n)
{
    memcpy(n->gpr, cpu->gpr, sizeof n->gpr);
    n->flags = cpu->eflags;
    n->fx.mxcsr = cpu->mxcsr;
    n->fx.control = cpu->x87.control;
    n->fx.status = (uint16_t)(cpu->x87.status | cpu->x87.top << 11);
    n->fx.valid = (uint8_t)~cpu->x87.empty;
    for (unsigned i = 0; i < 8; i++) {
        n->fx.st[i].mantissa = cpu->x87.reg[(cpu->x87.top + i) & 7].mantissa;
        n->fx.st[i].exponent = cpu->x87.reg[(cpu->x87.top + i) & 7].exponent;
    }
    for (unsigned i = 0; i < 16; i++)
        memcpy(n->fx.xmm[i], &cpu->xmm[i], 16);
}

/* -- One comparison -- */

static void fail_with_difference(const struct isa_row *row, const uint8_t *bytes, int length,
                                 const struct native *before, const struct native *host,
                                 const struct native *soft, unsigned data_at)
{
    char text[4096];
    int at = 0;
#define SAY(...) at += snprintf(text + at, sizeof text - (size_t)at, __VA_ARGS__)
    SAY("%s (%s):", isa_op_names[row->op], row->encoding);
    for (int i = 0; i < length; i++)
        SAY(" %02x", bytes[i]);
    SAY("\n  mxcsr %04x control %04x status %04x valid %02x\n", before->fx.mxcsr,
        before->fx.control, before->fx.status, before->fx.valid);
    for (unsigned i = 0; i < 16; i++)
        if (host->gpr[i] != soft->gpr[i])
            SAY("  gpr%u host %016" PRIx64 " soft %016" PRIx64 "\n", i, host->gpr[i], soft->gpr[i]);
    if (host->flags != soft->flags)
        SAY("  eflags host %05" PRIx64 " soft %05" PRIx64 "\n", host->flags, soft->flags);
    if (host->fx.mxcsr != soft->fx.mxcsr)
        SAY("  mxcsr host %04x soft %04x\n", host->fx.mxcsr, soft->fx.mxcsr);
    if (host->fx.status != soft->fx.status || host->fx.valid != soft->fx.valid ||
        host->fx.control != soft->fx.control)
        SAY("  status/valid/control host %04x %02x %04x soft %04x %02x %04x\n", host->fx.status,
            host->fx.valid, host->fx.control, soft->fx.status, soft->fx.valid, soft->fx.control);
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(&host->fx.st[i], &soft->fx.st[i], 10) != 0 || row->map == MAP_PRIMARY)
            SAY("  st%u before %04x:%016" PRIx64 " host %04x:%016" PRIx64 " soft %04x:%016" PRIx64
                "\n",
                i, before->fx.st[i].exponent, before->fx.st[i].mantissa, host->fx.st[i].exponent,
                host->fx.st[i].mantissa, soft->fx.st[i].exponent, soft->fx.st[i].mantissa);
    for (unsigned i = 0; i < 16; i++) {
        uint64_t b[2], h[2], s[2];
        memcpy(b, before->fx.xmm[i], 16);
        memcpy(h, host->fx.xmm[i], 16);
        memcpy(s, soft->fx.xmm[i], 16);
        if (memcmp(h, s, 16) != 0)
            SAY("  xmm%u before %016" PRIx64 "%016" PRIx64 "\n     host %016" PRIx64 "%016" PRIx64
                "\n     soft %016" PRIx64 "%016" PRIx64 "\n",
                i, b[1], b[0], h[1], h[0], s[1], s[0]);
    }
    if (data_at < DATA_SIZE)
        SAY("  memory differs at offset %u\n", data_at);
#undef SAY
    ck_abort_msg("%s", text);
}

/* Forms whose images hold host-dependent pointers, or that want prepared memory. */
static bool is_excluded(unsigned op)
{
    static const uint16_t excluded[] = {OP_FNSTENV, OP_FLDENV,   OP_FNSAVE,  OP_FRSTOR,
                                        OP_FXSAVE,  OP_FXRSTOR,  OP_LDMXCSR, OP_XSAVE,
                                        OP_XRSTOR,  OP_XSAVEOPT, OP_XSAVEC,  OP_XSAVES,
                                        OP_XRSTORS, OP_XGETBV,   OP_XSETBV,  OP_FWAIT};
    for (unsigned i = 0; i < sizeof excluded / sizeof excluded[0]; i++)
        if (op == excluded[i])
            return true;
    return false;
}

static bool is_row_tested(const struct isa_row *row)
{
    if (row->op < OP_FADD || row->op > OP_CVTPD2DQ || is_excluded(row->op))
        return false;
    return strcmp(row->encoding, "D9 D8+i") != 0; /* an alias that ignores empty registers */
}

/* With IE unmasked Intel's manual keeps the condition codes; AMD processors set them. */
static bool is_condition_unsure(unsigned op, uint16_t status)
{
    return (status & 0x81) == 0x81 && (strncmp(isa_op_names[op], "FCOM", 4) == 0 ||
                                       strncmp(isa_op_names[op], "FUCOM", 5) == 0 ||
                                       strncmp(isa_op_names[op], "FICOM", 5) == 0 || op == OP_FTST);
}

/* #GP on an unaligned operand is not what is compared here. */
static bool is_misaligned(const struct cpu *cpu, const struct insn *insn, const struct isa_row *row)
{
    if (!insn_has_mem(insn) || row->attributes & ISA_UNALIGNED)
        return false;
    for (unsigned i = 0; i < insn->noperands; i++)
        if (insn->operand[i].kind == OPERAND_MEM && insn->operand[i].size == 16)
            return insn_offset(cpu, insn) & 15;
    return false;
}

/* The interpreter's turn: from `before`, with the data of h->data. */
static void run_interpreter(const struct isa_row *row, const struct insn *insn,
                            const struct native *before, struct native *after,
                            uint8_t written[DATA_SIZE])
{
    struct harness *h = harness;
    struct cpu *cpu = h->cpu;
    memcpy(h->page, h->data, DATA_SIZE);
    to_cpu(before, cpu);
    cpu->rip = h->generator.rip;
    cpu->next_rip = cpu->rip + insn->length;
    if (sigsetjmp(cpu->unwind, 0))
        ck_abort_msg("%s (%s) raised vector %d", isa_op_names[row->op], row->encoding,
                     cpu->raised.vector);
    insn->exec(cpu, insn);
    *after = *before;
    from_cpu(cpu, after);
    memcpy(written, h->page, DATA_SIZE);
}

static void compare_states(const struct isa_row *row, const uint8_t *bytes, int length,
                           const struct native *before, struct native host, struct native soft,
                           const uint8_t *host_data, const uint8_t *soft_data)
{
    host.gpr[RSP] = soft.gpr[RSP];
    host.flags &= ~(uint64_t)row->flags_undefined;
    soft.flags &= ~(uint64_t)row->flags_undefined;
    /* Where the x87 was last, as this processor keeps it. */
    soft.fx.ip = host.fx.ip, soft.fx.dp = host.fx.dp, soft.fx.opcode = host.fx.opcode;
    soft.fx.mxcsr_mask = host.fx.mxcsr_mask;
    if (row->op == OP_FNCLEX || row->op == OP_FNINIT) /* C0-C3 undefined */
        soft.fx.status = host.fx.status = 0;
    if (is_condition_unsure(row->op, host.fx.status)) {
        host.fx.status &= 0xbaff, soft.fx.status &= 0xbaff;
        host.flags = soft.flags;
    }

    unsigned data_at = 0;
    while (data_at < DATA_SIZE && soft_data[data_at] == host_data[data_at])
        data_at++;
    if (memcmp(&host.fx, &soft.fx, sizeof host.fx) != 0 ||
        memcmp(host.gpr, soft.gpr, sizeof host.gpr) != 0 || host.flags != soft.flags ||
        data_at < DATA_SIZE)
        fail_with_difference(row, bytes, length, before, &host, &soft, data_at);
}

/* True if something was compared. */
static bool compare_once(unsigned row_index, bool x87_unmasked)
{
    struct harness *h = harness;
    struct cpu *cpu = h->cpu;
    const struct isa_row *row = &isa_rows[row_index];
    uint8_t bytes[GENERATE_MAX];
    h->generator.rip = (uint64_t)(uintptr_t)h->code;
    int length = isa_encode_row(&h->generator, row_index, bytes);
    if (!length)
        return false;
    memcpy(h->code, bytes, (size_t)length);
    h->code[length] = 0xc3; /* RET */

    struct insn insn;
    struct decode_context context = decode_context(cpu);
    ck_assert_int_eq(decode(&context, bytes, (size_t)length, &insn), length);
    for (unsigned i = 0; i < insn.noperands; i++) /* the host's stack pointer is in use */
        if (insn.operand[i].kind == OPERAND_GPR && insn.operand[i].reg == RSP)
            return false;

    random_state(x87_unmasked);
    if (row->op == OP_MASKMOVDQU || row->op == OP_MASKMOVQ)
        h->native.gpr[RDI] = h->generator.data + 64;
    memcpy(h->data, h->page, DATA_SIZE);
    to_cpu(&h->native, cpu);
    cpu->rip = h->generator.rip;
    if (is_misaligned(cpu, &insn, row))
        return false;

    struct native before = h->native, soft;
    uint8_t soft_data[DATA_SIZE], host_data[DATA_SIZE];
    run_interpreter(row, &insn, &before, &soft, soft_data);
    memcpy(h->page, h->data, DATA_SIZE);
    h->native.code = h->generator.rip;
    native_run(&h->native);
    memcpy(host_data, h->page, DATA_SIZE);
    struct native host = h->native;
    compare_states(row, bytes, length, &before, host, soft, host_data, soft_data);

    /* With an exception unmasked that does not happen: no use of the host's SSE, same results. */
    for (unsigned bit = 0; bit <= 3; bit++)
        if (bit != 1 && row->op >= OP_SQRTPS && !(host.fx.mxcsr >> bit & 1)) {
            before.fx.mxcsr &= ~(1u << (7 + bit));
            host.fx.mxcsr &= ~(1u << (7 + bit));
            run_interpreter(row, &insn, &before, &soft, soft_data);
            compare_states(row, bytes, length, &before, host, soft, host_data, soft_data);
            break;
        }
    return true;
}

START_TEST(instructions)
{
    const struct isa_row *row = &isa_rows[_i];
    if (!is_row_tested(row))
        return;
    int compared = 0;
    for (int i = 0; i < ROUNDS; i++)
        compared += compare_once((unsigned)_i, false);
    ck_assert_msg(compared > ROUNDS / 4, "%s: only %d comparisons", row->encoding, compared);
    for (int i = 0; i < ROUNDS / 2 && row->feature == FEATURE_FPU; i++)
        compare_once((unsigned)_i, true);
}
END_TEST

/* -- Setting up -- */

static void setup(void)
{
    struct harness *h = harness = aligned_alloc(64, (sizeof *h + 63) & ~63ull);
    memset(h, 0, sizeof *h);
    h->page = mmap((void *)0x10000000, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    ck_assert(h->page != MAP_FAILED);
    h->code = h->page + 4096;

    struct cpu *cpu = h->cpu = aligned_alloc(64, (sizeof *cpu + 63) & ~63ull);
    memset(cpu, 0, sizeof *cpu);
    cpu->bus = &h->bus;
    memset(cpu->features, 0xff, sizeof cpu->features);
    cpu->mode = MODE_CODE64 | MODE_PROTECTED | MODE_LONG | MODE_PAGING | MODE_FLAT_CS |
                MODE_FLAT_SS | MODE_FLAT_DS | MODE_FLAT_ES | MODE_FLAT_FS | MODE_FLAT_GS;
    cpu->cr0 = CR0_PE | CR0_NE | CR0_PG;
    cpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    /* One page of memory, at the same address in guest and host. */
    cpu->tlb = calloc(1, sizeof *cpu->tlb);
    for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
        for (unsigned access = 0; access < ACCESS_COUNT; access++)
            cpu->tlb->tag[access][slot] = TLB_INVALID(slot);
    uint64_t page = (uint64_t)(uintptr_t)h->page;
    for (unsigned access = 0; access < ACCESS_COUNT; access++)
        cpu->tlb->tag[access][tlb_index(page)] = page;
    cpu->tlb->host[tlb_index(page)] = page;
    cpu->tlb->info[tlb_index(page)] = (struct tlb_info){.host = true, .dirty = true};
    for (unsigned i = 0; i < MMU_COUNT; i++)
        cpu->mmu[i] = cpu->tlb;

    h->generator = (struct generator){.bits = 64,
                                      .features = cpu->features,
                                      .seed = 0x9e3779b97f4a7c15,
                                      .aimed = true,
                                      .pointers = 1 << RSI | 1 << RBP | 1 << R8,
                                      .indices = 1 << RBX | 1 << R9,
                                      .data = page,
                                      .data_size = DATA_SIZE};
}

static void teardown(void)
{
    munmap(harness->page, 8192);
    free(harness->cpu->tlb);
    free(harness->cpu);
    free(harness);
}

#endif

int main(void)
{
    Suite *suite = suite_create("sse");
    TCase *tests = tcase_create("against the host");
    tcase_set_timeout(tests, 120);
#if defined(__x86_64__)
    tcase_add_unchecked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, instructions, 2, (int)isa_row_count);
#endif
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
