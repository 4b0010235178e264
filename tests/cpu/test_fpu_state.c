/* Faults, pending exceptions and memory images of the x87, MMX and SSE. */
#include "tests/cpu/modes.h"

#include "cpu/decode.h"
#include "cpu/interp/sse_float.h"

#include <check.h>

enum { DATA = 0x20000, RAM = 4 << 20 };

static struct board *board;
static struct cpu *cpu;
static unsigned fpu_errors;

static void count_fpu_error(void *opaque, struct cpu *unused)
{
    (void)unused;
    fpu_errors += opaque == board;
}

static void setup(void)
{
    board = board_new(RAM, "default", &accel_interpreter);
    cpu = board->cpu;
    board->bus.fpu_error = count_fpu_error;
    fpu_errors = 0;
    board_set_mode(board, 32);
    cpu->cr0 |= CR0_NE;
    cpu->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
    cpu_update_mode(cpu);
    x87_reset(cpu);
    cpu->mxcsr = MXCSR_INITIAL;
}

static void teardown(void)
{
    board_free(board);
}

static void set_cr0(uint64_t set, uint64_t clear)
{
    cpu->cr0 = (cpu->cr0 | set) & ~clear;
    cpu_update_mode(cpu);
}

static void set_cr4(uint64_t set, uint64_t clear)
{
    cpu->cr4 = (cpu->cr4 | set) & ~clear;
    cpu_update_mode(cpu);
}

/* Executes one instruction; -1, or the vector that it raised. EBX points to the data. */
static int execute(const void *code, unsigned length)
{
    struct decode_context context = decode_context(cpu);
    static struct insn insn;
    uint8_t bytes[INSN_MAX_LENGTH] = {0};

    memcpy(bytes, code, length);
    ck_assert_int_eq(decode(&context, bytes, sizeof bytes, &insn), (int)length);
    cpu->insn = &insn;
    cpu->next_rip = cpu->rip + insn.length;
    if (sigsetjmp(cpu->unwind, 0)) {
        int vector = cpu->raised.vector;
        cpu->raised.vector = -1;
        return vector;
    }
    insn.exec(cpu, &insn);
    cpu->rip = cpu->next_rip;
    return -1;
}
#define RUN(bytes)            ck_assert_int_eq(execute(bytes, sizeof(bytes) - 1), -1)
#define FAULTS(vector, bytes) ck_assert_int_eq(execute(bytes, sizeof(bytes) - 1), vector)

static void store(unsigned offset, uint64_t value, unsigned size)
{
    memcpy(board->ram + DATA + offset, &value, size);
}

static uint64_t load(unsigned offset, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, board->ram + DATA + offset, size);
    return value;
}

static void point(unsigned offset)
{
    cpu->gpr[RBX] = DATA + offset;
}

/* -- Availability -- */

START_TEST(availability)
{
    point(0);
    set_cr0(CR0_TS, 0);
    FAULTS(EXC_NM, "\xd9\xe8");     /* fld1 */
    FAULTS(EXC_NM, "\xdb\xe3");     /* fninit */
    FAULTS(EXC_NM, "\x0f\xfc\xc1"); /* paddb mm0, mm1 */
    FAULTS(EXC_NM, "\x0f\x58\xc1"); /* addps xmm0, xmm1 */
    FAULTS(EXC_NM, "\x0f\xae\x03"); /* fxsave [ebx] */
    RUN("\x9b");                    /* fwait: only with MP */
    set_cr0(CR0_MP, 0);
    FAULTS(EXC_NM, "\x9b");
    set_cr0(CR0_EM, CR0_TS | CR0_MP);
    FAULTS(EXC_NM, "\xd9\xe8");
    FAULTS(EXC_UD, "\x0f\xfc\xc1");
    FAULTS(EXC_UD, "\x0f\x58\xc1");
    FAULTS(EXC_NM, "\x0f\xae\x03");
    RUN("\x9b");
    set_cr0(CR0_TS, 0); /* #UD before #NM */
    FAULTS(EXC_UD, "\x0f\xfc\xc1");
    set_cr0(0, CR0_EM | CR0_TS);
    set_cr4(0, CR4_OSFXSR);
    FAULTS(EXC_UD, "\x0f\x58\xc1");
    RUN("\x0f\xfc\xc1");
    RUN("\x0f\xd7\xc1");                /* pmovmskb eax, mm1 */
    FAULTS(EXC_UD, "\xf3\x0f\xd6\xc1"); /* movq2dq */
    RUN("\x0f\xae\x03");
}
END_TEST

START_TEST(alignment)
{
    point(8);
    FAULTS(EXC_GP, "\x0f\x28\x03");     /* movaps xmm0, [ebx] */
    FAULTS(EXC_GP, "\x0f\x29\x03");     /* movaps [ebx], xmm0 */
    FAULTS(EXC_GP, "\x66\x0f\xfc\x03"); /* paddb xmm0, [ebx] */
    FAULTS(EXC_GP, "\x66\x0f\xe7\x03"); /* movntdq [ebx], xmm0 */
    FAULTS(EXC_GP, "\x0f\xae\x03");     /* fxsave */
    RUN("\x0f\x10\x03");                /* movups */
    RUN("\xf2\x0f\xf0\x03");            /* lddqu */
    RUN("\x66\x0f\x3a\x63\x03\x00");    /* pcmpistri */
    RUN("\x66\x0f\x38\x20\x03");        /* pmovsxbw */
    RUN("\xf2\x0f\x10\x03");            /* movsd */
    set_cr4(CR4_OSXSAVE, 0);
    cpu->xcr0 = 3;
    point(16);
    FAULTS(EXC_GP, "\x0f\xae\x23"); /* xsave: 64 */
}
END_TEST

/* -- Pending x87 exceptions -- */

START_TEST(pending_exception)
{
    store(0, 0x37b, 2); /* ZE unmasked */
    point(0);
    RUN("\xd9\x2b"); /* fldcw [ebx] */
    RUN("\xd9\xee"); /* fldz */
    RUN("\xd9\xe8"); /* fld1 */
    cpu->rip = 0x4321;
    RUN("\xd8\xf1"); /* fdiv st, st(1): 1 / 0 is pending now */
    ck_assert_uint_eq(cpu->x87.status & (FSW_ES | FSW_B | FP_ZERO_DIVIDE),
                      FSW_ES | FSW_B | FP_ZERO_DIVIDE);
    ck_assert_uint_eq(cpu->x87.ip, 0x4321);
    ck_assert_uint_eq(cpu->x87.opcode, 0xf1);
    FAULTS(EXC_MF, "\xd9\xe8");
    FAULTS(EXC_MF, "\x9b");
    FAULTS(EXC_MF, "\x0f\xfc\xc1");
    RUN("\xdf\xe0"); /* fnstsw ax does not wait */
    ck_assert_uint_eq(cpu->gpr[RAX] & 0x84, 0x84);
    set_cr0(0, CR0_NE);
    RUN("\xd9\xd0"); /* fnop: IRQ 13 */
    ck_assert_uint_eq(fpu_errors, 1);
    set_cr0(CR0_NE, 0);
    RUN("\xdb\xe2"); /* fnclex */
    RUN("\xd9\xd0");
    ck_assert_uint_eq(fpu_errors, 1);
}
END_TEST

START_TEST(stack_faults)
{
    RUN("\xd9\xc0"); /* fld st(0), empty */
    ck_assert_uint_eq(cpu->x87.status, FP_INVALID | FSW_SF);
    ck_assert(st_get(cpu, 0).exponent == 0xffff && st_get(cpu, 0).mantissa == 3ull << 62);
    for (int i = 0; i < 7; i++)
        RUN("\xd9\xe8");
    RUN("\xdb\xe2");
    RUN("\xd9\xe8"); /* the ninth */
    ck_assert_uint_eq(cpu->x87.status, FP_INVALID | FSW_SF | FSW_C1);
}
END_TEST

/* -- SSE exceptions -- */

START_TEST(simd_exception)
{
    /* Lanes: 1/0 (ZE), max * 2 (OE): the division by zero comes before computing. */
    const uint32_t a[4] = {0x3f800000, 0x7f7fffff, 0x3f800000, 0x3f800000};
    const uint32_t b[4] = {0x00000000, 0x00800000, 0x40400000, 0x3f800000};
    memcpy(&cpu->xmm[0], a, 16);
    memcpy(&cpu->xmm[1], b, 16);
    cpu->mxcsr = MXCSR_INITIAL & ~(FP_ZERO_DIVIDE << 7);
    FAULTS(EXC_XM, "\x0f\x5e\xc1"); /* divps xmm0, xmm1 */
    ck_assert_uint_eq(cpu->mxcsr & FP_EXCEPTIONS, FP_ZERO_DIVIDE);
    ck_assert_mem_eq(&cpu->xmm[0], a, 16);
    cpu->mxcsr = MXCSR_INITIAL & ~(FP_OVERFLOW << 7);
    FAULTS(EXC_XM, "\x0f\x5e\xc1");
    ck_assert_uint_eq(cpu->mxcsr & FP_EXCEPTIONS, FP_ZERO_DIVIDE | FP_OVERFLOW | FP_INEXACT);
    set_cr4(0, CR4_OSXMMEXCPT);
    FAULTS(EXC_UD, "\x0f\x5e\xc1");
    cpu->mxcsr = MXCSR_INITIAL;
    RUN("\x0f\x5e\xc1");
    ck_assert_uint_eq(cpu->xmm[0].u32[0], 0x7f800000);
    store(0, 0x1ffff, 4);
    point(0);
    FAULTS(EXC_GP, "\x0f\xae\x13"); /* ldmxcsr */
}
END_TEST

/* -- MMX and x87 share registers -- */

START_TEST(mmx_state)
{
    RUN("\xd9\xe8"); /* fld1: TOP 7 */
    cpu->gpr[RAX] = 0x12345678;
    RUN("\x0f\x6e\xd8"); /* movd mm3, eax */
    ck_assert_uint_eq(cpu->x87.top, 0);
    ck_assert_uint_eq(cpu->x87.empty, 0);
    ck_assert_uint_eq(cpu->x87.reg[3].mantissa, 0x12345678);
    ck_assert_uint_eq(cpu->x87.reg[3].exponent, 0xffff);
    ck_assert_uint_eq(cpu->x87.reg[7].exponent, 0x3fff);
    RUN("\x0f\x77"); /* emms */
    ck_assert_uint_eq(cpu->x87.empty, 0xff);
}
END_TEST

/* -- Images -- */

START_TEST(environment_images)
{
    point(0);
    RUN("\xd9\xeb"); /* fldpi */
    RUN("\xd9\xee"); /* fldz */
    cpu->x87.ip = 0x12345678;
    cpu->x87.dp = 0x9abcdef0;
    cpu->x87.ip_selector = 0x23;
    cpu->x87.dp_selector = 0x2b;
    cpu->x87.opcode = 0x5a5;
    RUN("\xd9\x33"); /* fnstenv */
    ck_assert_uint_eq(load(0, 4), 0xffff037f);
    ck_assert_uint_eq(load(4, 4), 0xffff3000);
    ck_assert_uint_eq(load(8, 4), 0xffff1fff);
    ck_assert_uint_eq(load(12, 4), 0x12345678);
    ck_assert_uint_eq(load(16, 4), 0x05a50023);
    ck_assert_uint_eq(load(20, 4), 0x9abcdef0);
    ck_assert_uint_eq(load(24, 4), 0xffff002b);
    RUN("\x66\xd9\x33"); /* 16-bit */
    ck_assert_uint_eq(load(0, 8), 0x56781fff3000037f);
    ck_assert_uint_eq(load(8, 6), 0x002bdef00023);
    RUN("\xdd\x33"); /* fnsave */
    ck_assert_uint_eq(cpu->x87.empty, 0xff);
    ck_assert_uint_eq(load(28 + 10, 8), 0xc90fdaa22168c235);
    RUN("\xdd\x23"); /* frstor */
    ck_assert_uint_eq(cpu->x87.top, 6);
    ck_assert_uint_eq(cpu->x87.empty, 0x3f);
    ck_assert_uint_eq(st_get(cpu, 1).mantissa, 0xc90fdaa22168c235);
    ck_assert_uint_eq(cpu->x87.opcode, 0x5a5);
}
END_TEST

START_TEST(fxsave_image)
{
    point(0);
    memset(board->ram + DATA, 0xee, 512);
    RUN("\xd9\xeb");
    cpu->xmm[7].u64[1] = 0x1122334455667788;
    cpu->xmm[8].u64[0] = 1;
    RUN("\x0f\xae\x03");
    ck_assert_uint_eq(load(0, 4), 0x3800037f);
    ck_assert_uint_eq(load(4, 2), 0x0080);
    ck_assert_uint_eq(load(24, 8), 0x0000ffff00001f80);
    ck_assert_uint_eq(load(32, 8), 0xc90fdaa22168c235);
    ck_assert_uint_eq(load(40, 8), 0x4000);
    ck_assert_uint_eq(load(160 + 7 * 16 + 8, 8), 0x1122334455667788);
    ck_assert_uint_eq(load(288, 8), 0xeeeeeeeeeeeeeeee); /* XMM8 only in 64-bit mode */
    cpu->xmm[7].u64[1] = 0;
    store(24, 0x10000, 4);
    FAULTS(EXC_GP, "\x0f\xae\x0b"); /* fxrstor, reserved MXCSR bit */
    store(24, 0x1f81, 4);
    store(2, 0x0001, 2); /* an exception flag that is unmasked by the control word */
    store(0, 0x037e, 2);
    RUN("\x0f\xae\x0b");
    ck_assert_uint_eq(cpu->xmm[7].u64[1], 0x1122334455667788);
    ck_assert_uint_eq(cpu->mxcsr, 0x1f81);
    FAULTS(EXC_MF, "\x9b");
}
END_TEST

START_TEST(xsave_image)
{
    point(0);
    cpu->gpr[RAX] = 7;
    cpu->gpr[RDX] = 0;
    FAULTS(EXC_UD, "\x0f\xae\x23"); /* xsave without OSXSAVE */
    set_cr4(CR4_OSXSAVE, 0);
    cpu->xcr0 = 3;
    memset(board->ram + DATA, 0, 576);
    memset(&cpu->xmm[0], 0, sizeof cpu->xmm);
    memset(cpu->x87.reg, 0, sizeof cpu->x87.reg);
    cpu->xmm[2].u32[1] = 0xabcd;
    RUN("\x0f\xae\x23");
    ck_assert_uint_eq(load(512, 8), 2); /* the x87 is in its initial state */
    ck_assert_uint_eq(load(160 + 2 * 16 + 4, 4), 0xabcd);
    store(160 + 2 * 16, 0, 8);
    cpu->xmm[2].u32[1] = 0;
    RUN("\xd9\xe8");
    store(32, 0x5555, 8);
    RUN("\x0f\xae\x33"); /* xsaveopt: XMM in its initial state, x87 not */
    ck_assert_uint_eq(load(512, 8), 1);
    ck_assert_uint_eq(load(32, 8), 1ull << 63);
    cpu->xmm[2].u32[1] = 0x77;
    cpu->mxcsr = 0x3f80;
    store(24, 0x5f80, 4);
    RUN("\x0f\xae\x2b"); /* xrstor: XMM to its initial state, MXCSR from memory */
    ck_assert_uint_eq(cpu->xmm[2].u32[1], 0);
    ck_assert_uint_eq(cpu->mxcsr, 0x5f80);
    ck_assert_uint_eq(st_get(cpu, 0).mantissa, 1ull << 63);
    store(512, 4, 8); /* a component that XCR0 does not have */
    FAULTS(EXC_GP, "\x0f\xae\x2b");
    store(512, 0, 8);
    store(520, 1, 8);
    FAULTS(EXC_GP, "\x0f\xae\x2b");
}
END_TEST

START_TEST(masked_store)
{
    memset(board->ram + DATA, 0x11, 16);
    cpu->gpr[RDI] = DATA;
    memset(&cpu->xmm[0], 0x22, 16);
    memset(&cpu->xmm[1], 0, 16);
    cpu->xmm[1].u8[3] = 0x80;
    cpu->xmm[1].u8[4] = 0x7f;
    RUN("\x66\x0f\xf7\xc1"); /* maskmovdqu xmm0, xmm1 */
    ck_assert_uint_eq(load(0, 8), 0x1111111122111111);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fpu_state");
    TCase *tests = tcase_create("fpu_state");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, availability);
    tcase_add_test(tests, alignment);
    tcase_add_test(tests, pending_exception);
    tcase_add_test(tests, stack_faults);
    tcase_add_test(tests, simd_exception);
    tcase_add_test(tests, mmx_state);
    tcase_add_test(tests, environment_images);
    tcase_add_test(tests, fxsave_image);
    tcase_add_test(tests, xsave_image);
    tcase_add_test(tests, masked_store);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
