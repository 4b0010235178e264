/*
 * Processor models: what CPUID says, and that instructions outside a model are undefined.
 */
#include "cpu/decode.h"
#include "cpu/host.h"
#include "cpu/models.h"
#include "cpu/system.h"
#include "tests/cpu/guest.h"

#include <check.h>

static const struct cpu_model *find(const char *text)
{
    struct error error = {.text = ""};
    const struct cpu_model *model = cpu_model_find(text, &error);
    ck_assert_msg(model, "%s: %s", text, error.text);
    return model;
}

/* -- Instructions -- */

enum { I486 = 1, PENTIUM = 2, PENTIUM3 = 4, V1 = 8, V2 = 16, V3 = 32, MAX = 64 };
static const char *const names[] = {"i486",      "pentium",   "pentium3", "x86-64-v1",
                                    "x86-64-v2", "x86-64-v3", "max"};

/* The first model of that order that has it; all after it do, too. */
static const struct {
    const char *code;
    unsigned length, first;
    const char *name;
} instructions[] = {
#define CODE(bytes) bytes, sizeof(bytes) - 1
    {CODE("\x0f\xc8"), I486, "bswap"},
    {CODE("\x0f\xb1\x0b"), I486, "cmpxchg"},
    {CODE("\x0f\xa2"), I486, "cpuid"},
    {CODE("\xd9\xe8"), I486, "fld1"},
    {CODE("\x0f\x31"), PENTIUM, "rdtsc"},
    {CODE("\x0f\x32"), PENTIUM, "rdmsr"},
    {CODE("\x0f\xc7\x0b"), PENTIUM, "cmpxchg8b"},
    {CODE("\x0f\x44\xc1"), PENTIUM3, "cmove"},
    {CODE("\xda\xc1"), PENTIUM3, "fcmovb"},
    {CODE("\xdb\xf1"), PENTIUM3, "fcomi"},
    {CODE("\x0f\x34"), PENTIUM3, "sysenter"},
    {CODE("\x0f\xfc\xc1"), PENTIUM3, "paddb mm"},
    {CODE("\x0f\x58\xc1"), PENTIUM3, "addps"},
    {CODE("\x0f\xae\x03"), PENTIUM3, "fxsave"},
    {CODE("\x0f\xae\xf8"), PENTIUM3, "sfence"},
    {CODE("\x66\x0f\x58\xc1"), V1, "addpd"},
    {CODE("\x66\x0f\xfc\xc1"), V1, "paddb xmm"},
    {CODE("\x0f\xae\xe8"), V1, "lfence"},
    {CODE("\x0f\xae\x3b"), V1, "clflush"},
    {CODE("\xf2\x0f\xf0\x03"), V1, "lddqu"},
    {CODE("\xdb\x0b"), V1, "fisttp"},
    {CODE("\x66\x0f\x38\x00\xc1"), V2, "pshufb"},
    {CODE("\x66\x0f\x38\x37\xc1"), V2, "pcmpgtq"},
    {CODE("\xf3\x0f\xb8\xc1"), V2, "popcnt"},
    {CODE("\xf2\x0f\x38\xf1\xc1"), V2, "crc32"},
    {CODE("\x0f\x01\xf9"), V2, "rdtscp"},
    {CODE("\xc5\xf0\x58\xc2"), V3, "vaddps"},
    {CODE("\xc5\xf5\xfe\xc2"), V3, "vpaddd ymm"},
    {CODE("\xc4\xe2\x71\xa8\xc2"), V3, "vfmadd213ps"},
    {CODE("\xc4\xe2\x7d\x13\xc1"), V3, "vcvtph2ps"},
    {CODE("\xc4\xe2\x70\xf2\xc2"), V3, "andn"},
    {CODE("\xc4\xe3\x7b\xf0\xc1\x03"), V3, "rorx"},
    {CODE("\x0f\x38\xf0\x03"), V3, "movbe"},
    {CODE("\x0f\x01\xd0"), V3, "xgetbv"},
    {CODE("\x66\x0f\x38\xdc\xc1"), MAX, "aesenc"},
    {CODE("\xc4\xe2\x75\xdc\xc2"), MAX, "vaesenc ymm"},
    {CODE("\x66\x0f\x38\xf6\xc1"), MAX, "adcx"},
    {CODE("\x0f\x38\xc9\xc1"), MAX, "sha1msg1"},
    {CODE("\x0f\xc7\x23"), MAX, "xsavec"},
    {CODE("\x0f\xc7\xf0"), MAX, "rdrand"},
#undef CODE
};

START_TEST(instructions_of_models)
{
    bool exists = false;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        const struct cpu_model *model = find(names[i]);
        struct decode_context context = {
            .code_size = 4, .mode = MODE_PROTECTED | MODE_CODE32, .features = model->features};
        uint8_t bytes[INSN_MAX_LENGTH] = {0};
        struct insn insn;
        exists |= instructions[_i].first == 1u << i;
        memcpy(bytes, instructions[_i].code, instructions[_i].length);
        decode(&context, bytes, sizeof bytes, &insn);
        ck_assert_msg((insn.op != OP_UD) == exists, "%s on %s", instructions[_i].name, names[i]);
        cpu_model_free(model);
    }
}
END_TEST

/* -- CPUID -- */

static const struct {
    const char *model;
    uint32_t signature, basic_max, extended_max, edx; /* leaf 1, but for the hypervisor's own */
} leaves[] = {
    {"i486", 0x480, 1, 0, 0x00000001},
    {"pentium", 0x52c, 1, 0, 0x000001bf},
    {"pentium3", 0x686, 2, 0, 0x0383f9ff},
    {"x86-64-v1", 0x6f6, 0x16, 0x80000008, 0x0f8bf9ff},
    {"x86-64-v3", 0x306c3, 0x16, 0x80000008, 0x0f8bf9ff},
};

START_TEST(cpuid_of_models)
{
    struct board *board = board_new(4 << 20, leaves[_i].model, &accel_interpreter);
    guest_protected(board);
    struct cpuid_result first = cpuid_read(board->cpu, 0, 0), r = cpuid_read(board->cpu, 1, 0);
    ck_assert_uint_eq(first.eax, leaves[_i].basic_max);
    ck_assert_uint_eq(r.eax, leaves[_i].signature);
    uint32_t apic = 1u << 9; /* as IA32_APIC_BASE says */
    ck_assert_uint_eq(r.edx & ~apic, leaves[_i].edx & ~apic);
    r = cpuid_read(board->cpu, 0x80000000, 0);
    if (leaves[_i].extended_max)
        ck_assert_uint_eq(r.eax, leaves[_i].extended_max);
    else
        ck_assert_uint_lt(r.eax, 0x80000000);
    board_free(board);
}
END_TEST

/* The sizes of the XSAVE area follow XCR0. */
START_TEST(xsave_leaf)
{
    struct board *board = board_new(4 << 20, "max", &accel_interpreter);
    struct cpu *cpu = board->cpu;
    cpu->xcr0 = 1;
    struct cpuid_result r = cpuid_read(cpu, 0xd, 0);
    ck_assert_uint_eq(r.eax, 7);
    ck_assert_uint_eq(r.ebx, 576);
    ck_assert_uint_eq(r.ecx, 832);
    cpu->xcr0 = 7;
    ck_assert_uint_eq(cpuid_read(cpu, 0xd, 0).ebx, 832);
    r = cpuid_read(cpu, 0xd, 1);
    ck_assert_uint_eq(r.eax, 0xf); /* XSAVEOPT, XSAVEC, XGETBV with ECX 1, XSAVES */
    ck_assert_uint_eq(r.ebx, 832);
    ck_assert_uint_eq(r.ecx | r.edx, 0);
    r = cpuid_read(cpu, 0xd, 2);
    ck_assert_uint_eq(r.eax, 256);
    ck_assert_uint_eq(r.ebx, 576);
    ck_assert_uint_eq(r.ecx | r.edx, 0);
    r = cpuid_read(cpu, 0xd, 3);
    ck_assert_uint_eq(r.eax | r.ebx | r.ecx | r.edx, 0);
    board_free(board);
}
END_TEST

/* -- default and host -- */

START_TEST(host_decides)
{
    bool x86 = host_has_feature(FEATURE_FPU);
    const struct cpu_model *model = find("default"), *max = find("max");
    const struct cpu_model *host = find(x86 ? "host" : "x86-64-v1");
    static const uint8_t vectors[] = {FEATURE_AVX,  FEATURE_AVX2, FEATURE_FMA,
                                      FEATURE_F16C, FEATURE_SHA,  FEATURE_VAES};
    for (unsigned i = 0; i < sizeof vectors; i++) {
        enum cpu_feature feature = (enum cpu_feature)vectors[i];
        if (feature_test(model->features, feature))
            ck_assert(host_has_feature(feature));
        ck_assert_int_eq(feature_test(host->features, feature), host_has_feature(feature));
        ck_assert(feature_test(max->features, feature));
    }
    cpu_model_free(model);
    cpu_model_free(host);
    cpu_model_free(max);
}
END_TEST

/* -- Toggles -- */

START_TEST(toggles)
{
    static const struct {
        const char *text, *message; /* NULL: accepted */
    } cases[] = {
        {"default,-avx", NULL},
        {"default,-sse4.2", NULL},
        {"x86-64-v2,+avx,+xsave", NULL},
        {"x86-64-v1,+aes,-x2apic", NULL},
        {"pentium,+cmov,+mmx", NULL},
        {"x86-64-v2,+avx", "processor feature AVX needs XSAVE"},
        {"pentium3,+lm", "processor feature LM needs SSE2"},
        {"default,-sse2", "processor feature LM needs SSE2"},
        {"max,+pdcm", "processor feature 'pdcm' is not built yet; leave it out"},
        {"max,+avx512f", "unknown processor feature 'avx512f'"},
        {"max,avx", "processor feature 'avx': write +name or -name"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error = {.text = ""};
        const struct cpu_model *model = cpu_model_find(cases[i].text, &error);
        ck_assert_msg(!model == (cases[i].message != NULL), "%s: %s", cases[i].text, error.text);
        if (cases[i].message)
            ck_assert_str_eq(error.text, cases[i].message);
        if (model)
            cpu_model_free(model);
    }
    const struct cpu_model *model = find("max,-avx");
    ck_assert(!feature_test(model->features, FEATURE_AVX2));
    ck_assert(!feature_test(model->features, FEATURE_FMA));
    ck_assert(!feature_test(model->features, FEATURE_VAES));
    ck_assert(feature_test(model->features, FEATURE_BMI2));
    ck_assert(feature_test(model->features, FEATURE_AES));
    cpu_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("models");
    TCase *t = tcase_create("models");
    tcase_add_loop_test(t, instructions_of_models, 0, sizeof instructions / sizeof *instructions);
    tcase_add_loop_test(t, cpuid_of_models, 0, sizeof leaves / sizeof *leaves);
    tcase_add_test(t, xsave_leaf);
    tcase_add_test(t, host_decides);
    tcase_add_test(t, toggles);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
