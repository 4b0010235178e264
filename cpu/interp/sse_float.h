/* What the SSE floating-point files share: MXCSR and its exceptions. Intel SDM volume 1,
 * chapter 11.5. */
#ifndef DOPPEL_CPU_INTERP_SSE_FLOAT_H
#define DOPPEL_CPU_INTERP_SSE_FLOAT_H

#include "cpu/interp/simd.h"

#define MXCSR_INITIAL    0x1f80
#define MXCSR_DEFINED    0xffff
#define MXCSR_DAZ        (1u << 6)
#define MXCSR_MASK_SHIFT 7
#define MXCSR_RC_SHIFT   13
#define MXCSR_FTZ        (1u << 15)

INLINE struct fp_env sse_env(const struct cpu *cpu)
{
    return (struct fp_env){.rounding = cpu->mxcsr >> MXCSR_RC_SHIFT & 3,
                           .masked = cpu->mxcsr >> MXCSR_MASK_SHIFT & FP_EXCEPTIONS,
                           .daz = cpu->mxcsr & MXCSR_DAZ,
                           .ftz = cpu->mxcsr & MXCSR_FTZ};
}

/* Sets the flags; raises #XM (#UD without CR4.OSXMMEXCPT) if one is not masked. */
_Noreturn void sse_exception(struct cpu *cpu, unsigned flags);

INLINE void sse_commit(struct cpu *cpu, unsigned flags)
{
    flags &= FP_EXCEPTIONS;
    if (UNLIKELY(flags & ~(cpu->mxcsr >> MXCSR_MASK_SHIFT)))
        sse_exception(cpu, flags);
    cpu->mxcsr |= flags;
}

/*
 * On x86 hosts, arithmetic with all exceptions masked is the host's own. HOST_BINARY defines
 * host_NAME(): a = a op b under *mxcsr, which collects the flags. If the guest's controls are those
 * that the host has anyway and its flags say already what the operation raises, MXCSR is not
 * written.
 */
#if defined(__SSE2__)

#include <emmintrin.h>

#define HOST_BINARY(name, instruction)                                                             \
    INLINE union xmm host_##name(uint32_t *mxcsr, union xmm a, union xmm b)                        \
    {                                                                                              \
        __m128 before, x, y;                                                                       \
        memcpy(&before, &a, 16);                                                                   \
        memcpy(&y, &b, 16);                                                                        \
        uint32_t csr, saved;                                                                       \
        x = before;                                                                                \
        if (LIKELY((*mxcsr & ~FP_EXCEPTIONS) == MXCSR_INITIAL)) {                                  \
            asm volatile(instruction " %[y], %[x]\n\tstmxcsr %[csr]"                               \
                         : [x] "+x"(x), [csr] "=m"(csr)                                            \
                         : [y] "x"(y));                                                            \
            if (LIKELY((csr & ~FP_EXCEPTIONS) == MXCSR_INITIAL && !(csr & ~*mxcsr)))               \
                goto done;                                                                         \
            x = before;                                                                            \
        }                                                                                          \
        asm volatile("stmxcsr %[saved]\n\tldmxcsr %[csr]\n\t" instruction                          \
                     " %[y], %[x]\n\tstmxcsr %[csr]\n\tldmxcsr %[saved]"                           \
                     : [x] "+x"(x), [csr] "+m"(*mxcsr), [saved] "=m"(saved)                        \
                     : [y] "x"(y));                                                                \
    done:                                                                                          \
        memcpy(&a, &x, 16);                                                                        \
        return a;                                                                                  \
    }

INLINE bool can_use_host(const struct cpu *cpu)
{
    return (cpu->mxcsr & MXCSR_INITIAL) == MXCSR_INITIAL;
}

#else

#define HOST_BINARY(name, instruction)                                                             \
    INLINE union xmm host_##name(uint32_t *mxcsr, union xmm a, union xmm b)                        \
    {                                                                                              \
        return a;                                                                                  \
    }

INLINE bool can_use_host(const struct cpu *cpu)
{
    return false;
}

#endif

#endif
