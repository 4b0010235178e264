/*
 * Processor models and their toggles: "default", "pentium3,-sse", "x86-64-v2,+rdrand".
 *
 * A model may have every feature that this processor implements; others are refused, not ignored.
 * Taking one away takes along the instruction sets that are built on it.
 */
#include "cpu/models.h"

#include "cpu/cpu.h"
#include "cpu/host.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define BRAND "doppel Virtual CPU"

/* -- Feature sets -- */

#define F(x) FEATURE_##x

static const uint8_t features_i486[] = {F(FPU)};

static const uint8_t features_pentium[] = {
    F(VME), F(DE), F(PSE), F(TSC), F(MSR), F(MCE), F(CX8), F(APIC),
};

static const uint8_t features_pentium3[] = {
    F(PAE), F(SEP), F(MTRR), F(PGE), F(MCA), F(CMOV), F(PAT), F(PSE36), F(MMX), F(FXSR), F(SSE),
};

static const uint8_t features_v1[] = {
    F(SSE2),       F(CLFSH),
    F(SS),         F(LM),
    F(SYSCALL),    F(NX),
    F(HYPERVISOR), F(LAHF_SAHF),
    F(SSE3),       F(INVARIANT_TSC),
    F(IBRS_IBPB),  F(SSBD),
    F(STIBP),      F(ARCH_CAPABILITIES),
    F(BHI_CTRL),
};

static const uint8_t features_v2[] = {
    F(SSSE3),  F(SSE4_1), F(SSE4_2),       F(POPCNT), F(CX16),
    F(RDTSCP), F(X2APIC), F(TSC_DEADLINE), F(ARAT),
};

static const uint8_t features_v3[] = {
    F(XSAVE), F(XSAVEOPT), F(MOVBE), F(LZCNT), F(BMI1), F(BMI2), F(AVX), F(AVX2), F(FMA), F(F16C),
};

/* What today's processors have beside their vectors. */
static const uint8_t features_modern[] = {
    F(AES),      F(PCLMULQDQ), F(XSAVE), F(XSAVEOPT),   F(RDRAND),  F(RDSEED),    F(MOVBE),
    F(FSGSBASE), F(PCID),      F(SMEP),  F(SMAP),       F(INVPCID), F(PAGE1GB),   F(ERMS),
    F(FSRM),     F(UMIP),      F(RDPID), F(CLFLUSHOPT), F(CLWB),    F(PREFETCHW), F(SERIALIZE),
};

static const uint8_t features_modern_vectors[] = {
    F(ADX), F(SHA), F(VAES), F(VPCLMULQDQ), F(XSAVEC), F(XGETBV_ECX1), F(XSAVES),
};

/* Implemented, but in no model unless asked for. */
static const uint8_t features_optional[] = {F(MONITOR)};

/* Of doppel itself: model "host" has them whatever the host says. */
static const uint8_t features_own[] = {
    F(VME),      F(APIC),          F(SS),        F(HYPERVISOR), F(X2APIC), F(TSC_DEADLINE),
    F(ARAT),     F(INVARIANT_TSC), F(IBRS_IBPB), F(SSBD),       F(STIBP),  F(ARCH_CAPABILITIES),
    F(BHI_CTRL),
};

enum {
    I486 = 1 << 0,
    PENTIUM = 1 << 1,
    PENTIUM3 = 1 << 2,
    V1 = 1 << 3,
    V2 = 1 << 4,
    V3 = 1 << 5,
    MODERN = 1 << 6,
    MODERN_VECTORS = 1 << 7,
    OPTIONAL = 1 << 8,
    ALL_BASIC = I486 | PENTIUM | PENTIUM3 | V1 | V2,
};

static const struct {
    unsigned bit;
    const uint8_t *feature;
    unsigned count;
} sets[] = {
    {I486, features_i486, sizeof features_i486},
    {PENTIUM, features_pentium, sizeof features_pentium},
    {PENTIUM3, features_pentium3, sizeof features_pentium3},
    {V1, features_v1, sizeof features_v1},
    {V2, features_v2, sizeof features_v2},
    {V3, features_v3, sizeof features_v3},
    {MODERN, features_modern, sizeof features_modern},
    {MODERN_VECTORS, features_modern_vectors, sizeof features_modern_vectors},
    {OPTIONAL, features_optional, sizeof features_optional},
};

/* -- Models -- */

/* Signatures: family, model and stepping of a processor that was sold with these features. */
enum {
    SIGNATURE_486DX4 = 0x00000480,
    SIGNATURE_P54C = 0x0000052c,
    SIGNATURE_COPPERMINE = 0x00000686,
    SIGNATURE_MEROM = 0x000006f6,
    SIGNATURE_NEHALEM = 0x000106a5,
    SIGNATURE_HASWELL = 0x000306c3,
    SIGNATURE_ICELAKE = 0x000606a6,
};

static const struct {
    const char *name, *description;
    unsigned sets;
    uint32_t signature, basic_max, extended_max;
    const char *brand;
} models[] = {
    {"default", "what is fastest on this host: x86-64-v3 and more if the host has AVX2, else v2",
     ALL_BASIC | MODERN, SIGNATURE_ICELAKE, 0x16, 0x80000008, BRAND},
    {"host", "what this host and doppel both have", ALL_BASIC | V3 | MODERN | MODERN_VECTORS,
     SIGNATURE_ICELAKE, 0x16, 0x80000008, BRAND},
    {"max", "everything that doppel implements, however slow",
     ALL_BASIC | V3 | MODERN | MODERN_VECTORS, SIGNATURE_ICELAKE, 0x16, 0x80000008, BRAND},
    {"x86-64-v3", "64-bit with AVX2, FMA and BMI2", ALL_BASIC | V3, SIGNATURE_HASWELL, 0x16,
     0x80000008, BRAND},
    {"x86-64-v2", "64-bit with SSE4.2, POPCNT and CMPXCHG16B", ALL_BASIC, SIGNATURE_NEHALEM, 0x16,
     0x80000008, BRAND},
    {"x86-64-v1", "64-bit with SSE2", I486 | PENTIUM | PENTIUM3 | V1, SIGNATURE_MEROM, 0x16,
     0x80000008, BRAND},
    {"pentium3", "32-bit with SSE, PAE and CMOV", I486 | PENTIUM | PENTIUM3, SIGNATURE_COPPERMINE,
     2, 0, NULL},
    {"pentium", "32-bit with TSC, CMPXCHG8B and 4 MiB pages", I486 | PENTIUM, SIGNATURE_P54C, 1, 0,
     NULL},
    {"i486", "32-bit with an FPU", I486, SIGNATURE_486DX4, 1, 0, NULL},
};

static void add_sets(uint64_t features[4], unsigned which)
{
    for (unsigned i = 0; i < sizeof sets / sizeof *sets; i++)
        for (unsigned j = 0; which & sets[i].bit && j < sets[i].count; j++)
            feature_set(features, sets[i].feature[j], true);
}

/* AVX and what needs it, of model "default", if the host executes all of it itself. */
static void choose_vectors(struct cpu_model *model)
{
    if (!host_has_feature(FEATURE_AVX2) || !host_has_feature(FEATURE_FMA) ||
        !host_has_feature(FEATURE_F16C) || !host_has_feature(FEATURE_BMI2) ||
        !host_has_feature(FEATURE_LZCNT))
        return;
    add_sets(model->features, V3);
    for (unsigned i = 0; i < sizeof features_modern_vectors; i++)
        if (host_has_feature(features_modern_vectors[i]))
            feature_set(model->features, features_modern_vectors[i], true);
}

static void keep_what_the_host_has(struct cpu_model *model)
{
    uint64_t own[4] = {0};
    for (unsigned i = 0; i < sizeof features_own; i++)
        feature_set(own, features_own[i], true);
    for (unsigned i = 0; i < FEATURE_COUNT; i++)
        if (!feature_test(own, i) && !host_has_feature(i))
            feature_set(model->features, i, false);
}

#undef F

/* -- Names of features: the manual's, in lower case, with '-' or '_' or '.' -- */

static const char *const feature_names[FEATURE_COUNT] = {
#define FEATURE(name, leaf, subleaf, reg, bit) #name,
#include "cpu/features.def"
#undef FEATURE
};

static bool names_equal(const char *name, const char *text, size_t length)
{
    if (strlen(name) != length)
        return false;
    for (size_t i = 0; i < length; i++) {
        int c = text[i] == '-' || text[i] == '.' ? '_' : toupper((unsigned char)text[i]);
        if (c != name[i])
            return false;
    }
    return true;
}

/* -- Dependencies: the interpreter has no processor without them -- */

static const struct dependency {
    uint8_t feature, needs;
    bool taken_along; /* goes with what it needs */
} dependencies[] = {
#define NEEDS(feature, needs)                                                                      \
    {                                                                                              \
        FEATURE_##feature, FEATURE_##needs, false                                                  \
    }
#define EXTENDS(feature, needs)                                                                    \
    {                                                                                              \
        FEATURE_##feature, FEATURE_##needs, true                                                   \
    }
    NEEDS(LM, PAE),
    NEEDS(LM, MSR),
    NEEDS(LM, SSE2),
    NEEDS(LM, SYSCALL),
    NEEDS(LM, NX),
    NEEDS(LM, CX8),
    NEEDS(PCID, LM),
    NEEDS(NX, PAE),
    NEEDS(SMAP, PAE),
    NEEDS(APIC, MSR),
    NEEDS(FXSR, FPU),
    EXTENDS(X2APIC, APIC),
    EXTENDS(TSC_DEADLINE, APIC),
    EXTENDS(MMX, FPU),
    EXTENDS(SSE, FXSR),
    EXTENDS(SSE2, SSE),
    EXTENDS(SSE3, SSE2),
    EXTENDS(SSSE3, SSE3),
    EXTENDS(SSE4_1, SSSE3),
    EXTENDS(SSE4_2, SSE4_1),
    EXTENDS(AES, SSE2),
    EXTENDS(PCLMULQDQ, SSE2),
    EXTENDS(SHA, SSE2),
    EXTENDS(CX16, LM),
    EXTENDS(XSAVE, FXSR),
    EXTENDS(XSAVEOPT, XSAVE),
    EXTENDS(XSAVEC, XSAVE),
    EXTENDS(XGETBV_ECX1, XSAVE),
    EXTENDS(XSAVES, XSAVEC),
    EXTENDS(AVX, XSAVE),
    EXTENDS(AVX, SSE4_2),
    EXTENDS(AVX2, AVX),
    EXTENDS(FMA, AVX),
    EXTENDS(F16C, AVX),
    EXTENDS(VAES, AVX),
    EXTENDS(VAES, AES),
    EXTENDS(VPCLMULQDQ, AVX),
    EXTENDS(VPCLMULQDQ, PCLMULQDQ),
#undef NEEDS
#undef EXTENDS
};
#define DEPENDENCIES (sizeof dependencies / sizeof *dependencies)

static bool check_dependencies(const struct cpu_model *model, struct error *error)
{
    for (unsigned i = 0; i < DEPENDENCIES; i++)
        if (feature_test(model->features, dependencies[i].feature) &&
            !feature_test(model->features, dependencies[i].needs))
            return error_set(error, "processor feature %s needs %s",
                             feature_names[dependencies[i].feature],
                             feature_names[dependencies[i].needs]);
    return true;
}

static void take_away(struct cpu_model *model, enum cpu_feature feature)
{
    feature_set(model->features, feature, false);
    for (unsigned i = 0; i < DEPENDENCIES; i++)
        if (dependencies[i].taken_along && dependencies[i].needs == feature &&
            feature_test(model->features, dependencies[i].feature))
            take_away(model, (enum cpu_feature)dependencies[i].feature);
}

/* -- Toggles -- */

static bool toggle(struct cpu_model *model, const char *text, size_t length, struct error *error)
{
    uint64_t implemented[4] = {0};
    add_sets(implemented, ~0u);
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        if (!names_equal(feature_names[i], text + 1, length - 1))
            continue;
        if (text[0] == '-') {
            take_away(model, (enum cpu_feature)i);
            return true;
        }
        if (!feature_test(implemented, i))
            return error_set(error, "processor feature '%.*s' is not built yet; leave it out",
                             (int)length - 1, text + 1);
        feature_set(model->features, i, true);
        return true;
    }
    return error_set(error, "unknown processor feature '%.*s'", (int)length - 1, text + 1);
}

static bool apply_toggles(struct cpu_model *model, const char *text, struct error *error)
{
    while (*text) {
        text++; /* comma */
        size_t length = strcspn(text, ",");
        if (length < 2 || (*text != '+' && *text != '-'))
            return error_set(error, "processor feature '%.*s': write +name or -name", (int)length,
                             text);
        if (!toggle(model, text, length, error))
            return false;
        text += length;
    }
    return true;
}

const struct cpu_model *cpu_model_find(const char *text, struct error *error)
{
    size_t length = strcspn(text, ",");
    for (unsigned i = 0; i < sizeof models / sizeof *models; i++) {
        if (strlen(models[i].name) != length || memcmp(models[i].name, text, length) != 0)
            continue;
        struct cpu_model *model = calloc(1, sizeof *model);
        if (!model) {
            error_set(error, "out of memory");
            return NULL;
        }
        model->name = models[i].name;
        model->description = models[i].description;
        model->vendor = "GenuineIntel";
        model->signature = models[i].signature;
        model->basic_max = models[i].basic_max;
        model->extended_max = models[i].extended_max;
        model->brand = models[i].brand ? models[i].brand : "";
        add_sets(model->features, models[i].sets);
        if (strcmp(model->name, "default") == 0)
            choose_vectors(model);
        if (strcmp(model->name, "host") == 0) {
            if (!host_has_feature(FEATURE_FPU)) {
                error_set(error, "processor model 'host' needs an x86 host");
                free(model);
                return NULL;
            }
            keep_what_the_host_has(model);
            if (*host_brand())
                model->brand = host_brand();
        }
        if (apply_toggles(model, text + length, error) && check_dependencies(model, error))
            return model;
        free(model);
        return NULL;
    }
    error_set(
        error,
        "unknown processor model '%.*s' (there are: default, host, max, x86-64-v3, x86-64-v2, "
        "x86-64-v1, pentium3, pentium, i486)",
        (int)length, text);
    return NULL;
}

void cpu_model_free(const struct cpu_model *model)
{
    free((void *)(uintptr_t)model);
}

/* Features of all sets, or of those that a model adds to the one below, in lines of a terminal's
 * width. */
static void print_features(FILE *out)
{
    uint64_t implemented[4] = {0};
    unsigned column = 0;
    add_sets(implemented, ~0u);
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        if (!feature_test(implemented, i))
            continue;
        unsigned width = (unsigned)strlen(feature_names[i]) + 1;
        if (column + width > 76)
            column = 0;
        fprintf(out, "%s", column ? " " : i ? "\n  " : "  ");
        for (const char *p = feature_names[i]; *p; p++)
            fputc(*p == '_' ? '-' : tolower((unsigned char)*p), out);
        column += width;
    }
    fprintf(out, "\n");
}

void cpu_models_print(FILE *out)
{
    for (unsigned i = 0; i < sizeof models / sizeof *models; i++)
        fprintf(out, "  %-12s %s\n", models[i].name, models[i].description);
    fprintf(out, "Features, to add (+name) or take away (-name):\n");
    print_features(out);
}
