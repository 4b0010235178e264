/* The host's CPUID, by the places that features.def gives. */
#include "cpu/host.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <string.h>

static const struct {
    uint32_t leaf;
    uint8_t subleaf, reg, bit;
} places[FEATURE_COUNT] = {
#define EAX                                    0
#define EBX                                    1
#define ECX                                    2
#define EDX                                    3
#define FEATURE(name, leaf, subleaf, reg, bit) {leaf, subleaf, reg, bit},
#include "cpu/features.def"
#undef FEATURE
};

/* Does the system keep YMM registers? */
static bool ymm_enabled(void)
{
    uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
        return false;
    __asm__("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (eax & 6) == 6;
}

static bool needs_ymm(enum cpu_feature feature)
{
    switch (feature) {
    case FEATURE_AVX:
    case FEATURE_AVX2:
    case FEATURE_FMA:
    case FEATURE_F16C:
    case FEATURE_VAES:
    case FEATURE_VPCLMULQDQ:
        return true;
    default:
        return false;
    }
}

static bool read_feature(enum cpu_feature feature)
{
    uint32_t r[4];
    if (!__get_cpuid_count(places[feature].leaf, places[feature].subleaf, &r[0], &r[1], &r[2],
                           &r[3]))
        return false;
    return (r[places[feature].reg] >> places[feature].bit & 1) &&
           (!needs_ymm(feature) || ymm_enabled());
}

static uint64_t features[4]; /* constant after start-up: CPUID is slow where it is virtual */

__attribute__((constructor)) static void read_features(void)
{
    for (unsigned i = 0; i < FEATURE_COUNT; i++)
        feature_set(features, (enum cpu_feature)i, read_feature((enum cpu_feature)i));
}

bool host_has_feature(enum cpu_feature feature)
{
    return feature_test(features, feature);
}

void host_hide_feature(enum cpu_feature feature)
{
    feature_set(features, feature, false);
}

static bool crosswise = true;

__attribute__((constructor)) static void read_crosswise(void)
{
    float a[4] __attribute__((aligned(16))) = {1, 1, 1, 1};
    uint32_t b[4] __attribute__((aligned(16))) = {0x7fc00001, 0x7fc00002, 0, 0};
    if (!read_feature(FEATURE_SSE4_1))
        return;
    __asm__("movaps %0, %%xmm0\n dpps $0xff, %1, %%xmm0\n movaps %%xmm0, %0"
            : "+m"(a)
            : "m"(b)
            : "xmm0");
    crosswise = memcmp(&a[0], &a[1], sizeof a[0]) != 0;
}

bool host_adds_crosswise(void)
{
    return crosswise;
}

const char *host_brand(void)
{
    static char brand[49];
    uint32_t r[12];
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]))
            return "";
    memcpy(brand, r, 48);
    return brand;
}

#else

bool host_has_feature(enum cpu_feature feature)
{
    (void)feature;
    return false;
}

void host_hide_feature(enum cpu_feature feature)
{
    (void)feature;
}

bool host_adds_crosswise(void)
{
    return true;
}

const char *host_brand(void)
{
    return "";
}

#endif
