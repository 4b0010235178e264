/*
 * Processor models: what CPUID says and which instructions exist (struct cpu_model is made by
 * cpu_model_find(), cpu/cpu.h).
 */
#ifndef DOPPEL_CPU_MODELS_H
#define DOPPEL_CPU_MODELS_H

#include "cpu/isa.h"

#include <stdio.h>

struct cpu_model {
    const char *name, *description;
    const char *vendor;    /* 12 characters */
    uint32_t signature;    /* CPUID.1:EAX, EDX at reset */
    uint32_t basic_max;    /* highest basic leaf */
    uint32_t extended_max; /* highest extended leaf, 0 if none */
    const char *brand;
    uint64_t features[4]; /* enum cpu_feature bit set */
};

/* Lists the models with their descriptions, one a line. */
void cpu_models_print(FILE *out);

#endif
