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

#endif
