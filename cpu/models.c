/*
 * Processor models and their toggles: "default", "pentium3,-sse", "x86-64-v2,+rdrand".
 *
 * A model may have every feature that this processor implements (the default model's and a few that
 * no model shows by itself); others are refused, not ignored.
 */
#include "cpu/models.h"

#include "cpu/cpu.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define BRAND "doppel Virtual CPU"

/* -- Feature sets; each builds on the one before -- */

#define F(x) FEATURE_##x

static const uint8_t features_i486[] = {F(FPU)};

static const uint8_t features_pentium3[] = {
    F(VME),  F(DE),  F(PSE), F(TSC),  F(MSR), F(PAE),   F(MCE), F(CX8),  F(APIC), F(SEP),
    F(MTRR), F(PGE), F(MCA), F(CMOV), F(PAT), F(PSE36), F(MMX), F(FXSR), F(SSE),
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

static const uint8_t features_default[] = {
    F(AES),      F(PCLMULQDQ), F(XSAVE), F(XSAVEOPT),   F(RDRAND),  F(RDSEED),    F(MOVBE),
    F(FSGSBASE), F(PCID),      F(SMEP),  F(SMAP),       F(INVPCID), F(PAGE1GB),   F(ERMS),
    F(FSRM),     F(UMIP),      F(RDPID), F(CLFLUSHOPT), F(CLWB),    F(PREFETCHW),
};

/* Implemented, but in no model unless asked for. */
static const uint8_t features_optional[] = {F(MONITOR)};

#undef F

struct feature_set {
    const uint8_t *feature;
    unsigned count;
};
#define SET(name)                                                                                  \
    {                                                                                              \
        features_##name, sizeof features_##name                                                    \
    }

static const struct feature_set sets[] = {
    SET(i486), SET(pentium3), SET(v1), SET(v2), SET(default), SET(optional),
};

static const struct {
    const char *name, *description;
    unsigned sets; /* how many of them it has */
    uint32_t signature, basic_max, extended_max;
    const char *brand;
} models[] = {
    {"default", "everything that this processor implements", 5, 0x000606a6, 0x16, 0x80000008,
     BRAND},
    {"x86-64-v2", "64-bit with SSE4.2, POPCNT and CMPXCHG16B", 4, 0x000106a5, 0x16, 0x80000008,
     BRAND},
    {"x86-64-v1", "64-bit with SSE2", 3, 0x000006f6, 0x16, 0x80000008, BRAND},
    {"pentium3", "32-bit with SSE", 2, 0x00000686, 2, 0, NULL},
    {"i486", "32-bit with an FPU", 1, 0x00000435, 1, 0, NULL},
};

static void add_set(uint64_t features[4], const struct feature_set *set)
{
    for (unsigned i = 0; i < set->count; i++)
        feature_set(features, set->feature[i], true);
}

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

static bool toggle(struct cpu_model *model, const char *text, size_t length, struct error *error)
{
    uint64_t implemented[4] = {0};
    for (unsigned i = 0; i < sizeof sets / sizeof *sets; i++)
        add_set(implemented, &sets[i]);
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        if (!names_equal(feature_names[i], text + 1, length - 1))
            continue;
        if (text[0] == '+' && !feature_test(implemented, i))
            return error_set(error, "processor feature '%.*s' is not built yet; leave it out",
                             (int)length - 1, text + 1);
        feature_set(model->features, i, text[0] == '+');
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

/* Without these nothing else makes sense; the interpreter has no such processor. */
static bool check_dependencies(const struct cpu_model *model, struct error *error)
{
    static const struct {
        uint8_t feature, needs;
    } table[] = {
        {FEATURE_LM, FEATURE_PAE},
        {FEATURE_LM, FEATURE_MSR},
        {FEATURE_LM, FEATURE_SSE2},
        {FEATURE_LM, FEATURE_SYSCALL},
        {FEATURE_SSE, FEATURE_FXSR},
        {FEATURE_SSE2, FEATURE_SSE},
        {FEATURE_PCID, FEATURE_LM},
        {FEATURE_NX, FEATURE_PAE},
        {FEATURE_X2APIC, FEATURE_APIC},
        {FEATURE_XSAVE, FEATURE_FXSR},
        {FEATURE_SMAP, FEATURE_PAE},
        {FEATURE_SSE3, FEATURE_SSE2},
        {FEATURE_TSC_DEADLINE, FEATURE_APIC},
        {FEATURE_MMX, FEATURE_FPU},
        {FEATURE_LM, FEATURE_NX},
        {FEATURE_APIC, FEATURE_MSR},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        if (feature_test(model->features, table[i].feature) &&
            !feature_test(model->features, table[i].needs))
            return error_set(error, "processor feature %s needs %s",
                             feature_names[table[i].feature], feature_names[table[i].needs]);
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
        model->brand = models[i].brand;
        for (unsigned set = 0; set < models[i].sets; set++)
            add_set(model->features, &sets[set]);
        if (apply_toggles(model, text + length, error) && check_dependencies(model, error))
            return model;
        free(model);
        return NULL;
    }
    error_set(error,
              "unknown processor model '%.*s' (there are: default, x86-64-v2, x86-64-v1, "
              "pentium3, i486)",
              (int)length, text);
    return NULL;
}

void cpu_model_free(const struct cpu_model *model)
{
    free((void *)(uintptr_t)model);
}

void cpu_models_print(FILE *out)
{
    for (unsigned i = 0; i < sizeof models / sizeof *models; i++)
        fprintf(out, "  %-12s %s\n", models[i].name, models[i].description);
}
