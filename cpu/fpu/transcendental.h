/*
 * The transcendental functions of the x87. On x86 hosts the host's own instruction computes them,
 * so that the guest sees what the hardware gives; elsewhere the portable functions do, good to
 * about one unit in the last place. Tests call both.
 */
#ifndef DOPPEL_CPU_FPU_TRANSCENDENTAL_H
#define DOPPEL_CPU_FPU_TRANSCENDENTAL_H

#include "cpu/fpu/softfloat.h"

enum transcendental {
    TRANSCENDENTAL_2XM1,
    TRANSCENDENTAL_YL2X,
    TRANSCENDENTAL_YL2XP1,
    TRANSCENDENTAL_TAN,
    TRANSCENDENTAL_ATAN,
    TRANSCENDENTAL_SIN,
    TRANSCENDENTAL_COS,
    TRANSCENDENTAL_SINCOS,
};

struct transcendental_result {
    struct float80
        value[2];      /* what ST(0) (ST(1) before a pop) becomes; what is pushed after that */
    bool out_of_range; /* C2: |ST(0)| is 2^63 or more; nothing changes */
};

/* Exceptions go to env->flags. A result is to be used unless one of FP_BEFORE is unmasked. */
void transcendental(enum transcendental function, struct fp_env *env, struct float80 st0,
                    struct float80 st1, struct transcendental_result *result);
void transcendental_portable(enum transcendental function, struct fp_env *env, struct float80 st0,
                             struct float80 st1, struct transcendental_result *result);

#endif
