/* MSRs, control registers, CPUID and models. */
#include "cpu/models.h"
#include "tests/cpu/guest.h"

#include <check.h>

static struct board *board;
static struct cpu *cpu;

static void setup(void)
{
    board = board_new(16 << 20, "default", &accel_interpreter);
    cpu = board->cpu;
}

static void teardown(void)
{
    board_free(board);
}

struct msr_case {
    uint32_t number;
    uint64_t good, bad; /* a value that is kept, one that is #GP (0: none) */
};

static const struct msr_case cases[] = {
    {0x174, 0x1234, 1ull << 32},
    {0x175, 0xffff800000000000, 0x800000000000},
    {0x277, 0x0007040600070406, 0x02},
    {0x2ff, 0xc06, 0x07},
    {0x200, 0x12345006, 1ull << 45},
    {0x201, 0xfffff800, 0x1},
    {0x250, 0x0606060606060606, 0x03},
    {0x48, 1, 8},
    {0xc0000081, 0x1234567812345678, 0},
    {0xc0000082, 0xffffffff81000000, 1ull << 50},
    {0xc0000084, 0x47700, 1ull << 32},
    {0xc0000100, 0x7f0000000000, 1ull << 47},
    {0xc0000102, 0xffff888000000000, 1ull << 60},
    {0xc0000103, 5, 1ull << 32},
    {0xc0000080, 0xd01 & ~0x400u, 1 << 15},
};

START_TEST(values_and_reserved_bits)
{
    const struct msr_case *c = &cases[_i];
    guest_protected(board);
    cpu->gpr[RCX] = c->number;
    cpu->gpr[RAX] = (uint32_t)c->good;
    cpu->gpr[RDX] = c->good >> 32;
    /* WRMSR; XOR EAX,EAX; XOR EDX,EDX; RDMSR; HLT */
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x30, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x32, 0xf4), 256);
    ck_assert_uint_eq(cpu->gpr[RAX] | cpu->gpr[RDX] << 32, c->good);
    if (!c->bad)
        return;
    cpu->rip = GUEST_CODE + 0x100;
    cpu->gpr[RAX] = (uint32_t)c->bad;
    cpu->gpr[RDX] = c->bad >> 32;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x30), EXC_GP);
    uint64_t value;
    ck_assert(msr_read(cpu, c->number, &value));
    ck_assert_uint_eq(value, c->good);
}
END_TEST

START_TEST(absent_and_read_only)
{
    static const uint32_t absent[] = {0x480, 0x6e1, 0xc0010015, 0xdeadbeef, 0x251};
    uint64_t value;
    for (unsigned i = 0; i < sizeof absent / sizeof *absent; i++)
        ck_assert(!msr_read(cpu, absent[i], &value));
    static const uint32_t constant[] = {0xfe, 0x10a, 0x179, 0x17};
    for (unsigned i = 0; i < sizeof constant / sizeof *constant; i++) {
        ck_assert(msr_read(cpu, constant[i], &value));
        ck_assert(!msr_write(cpu, constant[i], value));
    }
    ck_assert(!msr_read(cpu, 0x49, &value)); /* write-only */
    ck_assert(msr_write(cpu, 0x49, 1));
    guest_protected(board);
    guest_enter_ring3(board);
    cpu->gpr[RCX] = 0x10;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x32), EXC_GP);
}
END_TEST

START_TEST(time_stamp)
{
    guest_protected(board);
    ck_assert(msr_write(cpu, 0x10, 1000000));
    uint64_t value;
    ck_assert(msr_read(cpu, 0x10, &value));
    ck_assert_uint_eq(value, 1000000);
    uint64_t now = board->bus.clock_ns(board);
    ck_assert_uint_eq(cpu_tsc_to_ns(cpu, 1000500), now + 500);
    ck_assert_uint_eq(cpu_tsc_to_ns(cpu, 5), now); /* past */
    cpu->cr4 |= CR4_TSD;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x31, 0xf4), 256);
    guest_enter_ring3(board);
    cpu->rip = GUEST_CODE;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x31), EXC_GP);
}
END_TEST

START_TEST(control_register_checks)
{
    static const struct {
        uint8_t modrm; /* of MOV CRn, EAX */
        uint32_t value;
        int vector;
    } table[] = {
        {0xc0, CR0_PG, EXC_GP},          /* paging without protection */
        {0xc0, CR0_PE | CR0_NW, EXC_GP}, /* NW without CD */
        {0xc0, CR0_PE | CR0_CD, 256},
        {0xe0, 1u << 31, EXC_GP},  /* reserved in CR4 */
        {0xe0, CR4_LA57, EXC_GP},  /* no such feature */
        {0xe0, CR4_PCIDE, EXC_GP}, /* outside long mode */
        {0xe0, CR4_PAE | CR4_PSE, 256},
        {0xc8, 0, EXC_UD}, /* CR1 */
        {0xe8, 0, EXC_UD}, /* CR5 */
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        guest_protected(board);
        cpu->gpr[RAX] = table[i].value;
        ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x22, table[i].modrm, 0xf4), table[i].vector);
    }
    /* In long mode paging and PAE cannot be turned off from 64-bit code. */
    guest_long(board);
    cpu->gpr[RAX] = cpu->cr4 & ~(uint64_t)CR4_PAE;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x22, 0xe0), EXC_GP);
    guest_long(board);
    cpu->gpr[RAX] = cpu->cr0 & ~(uint64_t)CR0_PG;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x22, 0xc0), EXC_GP);
    guest_long(board);
    cpu->gpr[RAX] = cpu->cr0 | 1ull << 32;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x22, 0xc0), EXC_GP);
}
END_TEST

START_TEST(entering_long_mode)
{
    guest_protected(board);
    guest_put(board, GUEST_TABLES, (GUEST_TABLES + 0x1000) | 3, 8);
    guest_put(board, GUEST_TABLES + 0x1000, 0x83, 8); /* 1 GiB page */
    guest_set_gdt(board, GUEST_FREE, guest_descriptor(0, 0xfffff, 0x9b, 0xa));
    cpu->cr3 = GUEST_TABLES;
    static const uint8_t code[] = {
        0x0f, 0x20, 0xe0,                               /* MOV EAX, CR4 */
        0x0c, 0x20,                                     /* OR AL, 20 (PAE) */
        0x0f, 0x22, 0xe0,                               /* MOV CR4, EAX */
        0xb9, 0x80, 0,    0,    0xc0,                   /* MOV ECX, EFER */
        0x0f, 0x32, 0x80, 0xcc, 0x01, 0x0f,       0x30, /* RDMSR; OR AH, 1 (LME); WRMSR */
        0x0f, 0x20, 0xc0,                               /* MOV EAX, CR0 */
        0x0d, 0,    0,    0,    0x80,                   /* OR EAX, PG */
        0x0f, 0x22, 0xc0,                               /* MOV CR0, EAX */
        0xea, 0x26, 0,    1,    0,    GUEST_FREE, 0,    /* JMP FAR to the next one, 64-bit */
        0x48, 0xb8, 1,    2,    3,    4,          5,    6, 7, 8, /* MOV RAX, imm64 */
        0xf4,
    };
    ck_assert_int_eq(guest_run_at(board, GUEST_CODE, code, sizeof code), 256);
    ck_assert_uint_eq(cpu->gpr[RAX], 0x0807060504030201);
    ck_assert(cpu->efer & EFER_LMA);
    ck_assert(cpu->mode & MODE_CODE64);
}
END_TEST

START_TEST(cpuid_leaves)
{
    guest_protected(board);
    struct cpuid_result r = cpuid_read(cpu, 0, 0);
    ck_assert_uint_eq(r.ebx, 0x756e6547); /* "Genu" */
    r = cpuid_read(cpu, 1, 0);
    ck_assert_uint_eq(r.eax, cpu->model->signature);
    ck_assert(!(r.ecx & 1u << 27)); /* OSXSAVE follows CR4 */
    cpu->cr4 |= CR4_OSXSAVE;
    r = cpuid_read(cpu, 1, 0);
    ck_assert(r.ecx & 1u << 27);
    bool avx = feature_test(cpu->features, FEATURE_AVX); /* as the host has it */
    ck_assert_int_eq(r.ecx >> 28 & 1, avx);
    r = cpuid_read(cpu, 0xd, 0);
    ck_assert_uint_eq(r.eax, avx ? 7 : 3);
    ck_assert_uint_eq(r.ebx, 576);
    ck_assert_uint_eq(r.ecx, avx ? 832 : 576);
    r = cpuid_read(cpu, 0x80000008, 0);
    ck_assert_uint_eq(r.eax, 0x3028);
    r = cpuid_read(cpu, 0x15, 0);
    ck_assert_uint_eq((uint64_t)r.ecx * r.ebx / r.eax, 1000000000);
    char brand[49] = {0};
    for (unsigned i = 0; i < 3; i++) {
        r = cpuid_read(cpu, 0x80000002 + i, 0);
        memcpy(brand + i * 16, &r, 16);
    }
    ck_assert_str_eq(brand, "doppel Virtual CPU");
    /* Beyond the last basic leaf: as the last one. */
    struct cpuid_result last = cpuid_read(cpu, 0x16, 0);
    r = cpuid_read(cpu, 0x20000000, 0);
    ck_assert_mem_eq(&r, &last, sizeof r);
}
END_TEST

START_TEST(models)
{
    struct error error;
    const struct cpu_model *model = cpu_model_find("pentium3,-sse", &error);
    ck_assert_ptr_nonnull(model);
    ck_assert(!feature_test(model->features, FEATURE_SSE));
    ck_assert(feature_test(model->features, FEATURE_MMX));
    ck_assert(!feature_test(model->features, FEATURE_LM));
    cpu_model_free(model);
    model = cpu_model_find("x86-64-v2,+aes,-x2apic", &error);
    ck_assert_ptr_nonnull(model);
    ck_assert(feature_test(model->features, FEATURE_AES));
    ck_assert(!feature_test(model->features, FEATURE_X2APIC));
    cpu_model_free(model);
    /* What is built on a feature goes with it. */
    model = cpu_model_find("x86-64-v3,-avx", &error);
    ck_assert_ptr_nonnull(model);
    ck_assert(!feature_test(model->features, FEATURE_AVX2));
    ck_assert(!feature_test(model->features, FEATURE_FMA));
    ck_assert(feature_test(model->features, FEATURE_BMI2));
    cpu_model_free(model);
    static const char *const bad[] = {"z80",
                                      "x86-64-v2,+avx2",
                                      "default,+ss2",
                                      "default,sse",
                                      "default,+nosuch",
                                      "default,-sse",
                                      "default,",
                                      ""};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        error.text[0] = 0;
        ck_assert_ptr_null(cpu_model_find(bad[i], &error));
        ck_assert_msg(error.text[0], "no message for '%s'", bad[i]);
    }
}
END_TEST

START_TEST(small_models_lack_instructions)
{
    board_free(board);
    board = board_new(1 << 20, "i486", &accel_interpreter);
    cpu = board->cpu;
    guest_protected(board);
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x31), EXC_UD); /* RDTSC */
    guest_protected(board);
    cpu->gpr[RAX] = CR4_PAE;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x22, 0xe0), EXC_GP);
    ck_assert_uint_eq(cpuid_read(cpu, 0x80000000, 0).eax, cpuid_read(cpu, 1, 0).eax);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("msr");
    TCase *t = tcase_create("msr");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, values_and_reserved_bits, 0, sizeof cases / sizeof *cases);
    tcase_add_test(t, absent_and_read_only);
    tcase_add_test(t, time_stamp);
    tcase_add_test(t, control_register_checks);
    tcase_add_test(t, entering_long_mode);
    tcase_add_test(t, cpuid_leaves);
    tcase_add_test(t, models);
    tcase_add_test(t, small_models_lack_instructions);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_set_fork_status(sr, CK_NOFORK);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
