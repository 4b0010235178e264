/* The x87's transcendental functions by the host's instructions, where it has them. */
#include "cpu/fpu/transcendental.h"

#if defined(__x86_64__) || defined(__i386__)

/* FNSAVE image, 32-bit protected format. */
struct __attribute__((packed)) fsave_image {
    uint32_t control, status, tags, pointers[4];
    struct __attribute__((packed)) {
        uint64_t mantissa;
        uint16_t exponent;
    } st[8];
};

/* FNSAVE does not wait: it shows results and flags though an exception is pending unmasked, and
 * initialises the x87. */
#define RUN(instruction)                                                                           \
    asm volatile("fnstcw %[before]\n\tfninit\n\tfldt %[st1]\n\tfldt %[st0]\n\tfldcw "              \
                 "%[control]\n\t" instruction "\n\tfnsave %[image]\n\tfldcw %[before]"             \
                 : [image] "=m"(image), [before] "=m"(before)                                      \
                 : [st0] "m"(st0), [st1] "m"(st1), [control] "m"(control)                          \
                 : "memory", "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)",     \
                   "st(7)")

void transcendental(enum transcendental function, struct fp_env *env, struct float80 st0,
                    struct float80 st1, struct transcendental_result *result)
{
    const uint16_t control = (uint16_t)(env->rounding << 10 | 0x340 | env->masked);
    struct fsave_image image;
    uint16_t before;
    bool pair = false;

    switch (function) {
    case TRANSCENDENTAL_2XM1:
        RUN("f2xm1");
        break;
    case TRANSCENDENTAL_YL2X:
        RUN("fyl2x");
        break;
    case TRANSCENDENTAL_YL2XP1:
        RUN("fyl2xp1");
        break;
    case TRANSCENDENTAL_TAN:
        RUN("fptan");
        pair = true;
        break;
    case TRANSCENDENTAL_ATAN:
        RUN("fpatan");
        break;
    case TRANSCENDENTAL_SIN:
        RUN("fsin");
        break;
    case TRANSCENDENTAL_COS:
        RUN("fcos");
        break;
    case TRANSCENDENTAL_SINCOS:
        RUN("fsincos");
        pair = true;
        break;
    }
    env->flags |= image.status & (FP_EXCEPTIONS | FP_ROUNDED_UP);
    result->out_of_range = image.status & 0x400;
    for (int i = 0; i < 2; i++)
        result->value[i] = (struct float80){image.st[i ^ pair].mantissa,
                                            image.st[i ^ pair].exponent};
}

#else

void transcendental(enum transcendental function, struct fp_env *env, struct float80 st0,
                    struct float80 st1, struct transcendental_result *result)
{
    transcendental_portable(function, env, st0, st1, result);
}

#endif
