/*
 * What the MMX, SSE and AVX files share: the checks an instruction begins with, operands, and the
 * templates that make exec_ functions from kernels.
 *
 * A kernel computes a value from values: union xmm kernel(union xmm a, union xmm b). For MMX
 * registers it works on the low `bytes` = 8 bytes of the same type. Kernels never see the CPU.
 *
 * A vector instruction exists in up to three forms, and one template makes all of them: SSE, whose
 * destination is also its first source and keeps the bits above 128; VEX with 128 bits, which has
 * the first source in an operand of its own and clears them; VEX with 256 bits, which does the same
 * to two halves. EXEC_VECTOR(PADDB, ...) defines exec_PADDB and exec_VPADDB.
 */
#ifndef DOPPEL_CPU_INTERP_SIMD_H
#define DOPPEL_CPU_INTERP_SIMD_H

#include "cpu/interp/operand.h"
#include "cpu/interp/x87.h"

union xmm {
    uint8_t u8[16];
    uint16_t u16[8];
    uint32_t u32[4];
    uint64_t u64[2];
    int8_t s8[16];
    int16_t s16[8];
    int32_t s32[4];
    int64_t s64[2];
} __attribute__((aligned(16)));

/* A constant wherever it occurs. */
enum vector_form { SSE, VEX128, VEX256 };

INLINE unsigned form_bytes(enum vector_form form)
{
    return form == VEX256 ? 32 : 16;
}

/* 128-bit halves. */
INLINE unsigned form_halves(enum vector_form form)
{
    return form == VEX256 ? 2 : 1;
}

/* Index of the first source operand; the second follows it. */
INLINE unsigned first_source(enum vector_form form)
{
    return form == SSE ? 0 : 1;
}

/* -- Availability -- */

/* Raises #UD or #NM, whichever CR0, CR4 and XCR0 ask for (SDM volume 3, table 14-1; 2A, 2.4). */
_Noreturn void sse_unavailable(struct cpu *cpu);
_Noreturn void avx_unavailable(struct cpu *cpu);
_Noreturn void mmx_unavailable(struct cpu *cpu);

INLINE void sse_begin(struct cpu *cpu)
{
    if (UNLIKELY(cpu->mode & MODE_NO_SSE))
        sse_unavailable(cpu);
}

INLINE void vector_begin(struct cpu *cpu, enum vector_form form)
{
    if (form == SSE)
        sse_begin(cpu);
    else if (UNLIKELY(cpu->mode & MODE_NO_AVX))
        avx_unavailable(cpu);
}

INLINE void mmx_begin(struct cpu *cpu)
{
    if (UNLIKELY(cpu->mode & MODE_NO_X87))
        mmx_unavailable(cpu);
    x87_check_pending(cpu);
}

/* -- Registers -- */

INLINE union xmm xmm_get(const struct cpu *cpu, unsigned reg)
{
    union xmm value;
    memcpy(&value, &cpu->xmm[reg], 16);
    return value;
}

/* Bits 128 and up of the register stay, as for every SSE instruction. */
INLINE void xmm_set(struct cpu *cpu, unsigned reg, union xmm value)
{
    memcpy(&cpu->xmm[reg], &value, 16);
}

INLINE union vector vector_get(const struct cpu *cpu, unsigned reg, enum vector_form form)
{
    union vector value;
    memcpy(&value, &cpu->xmm[reg], form_bytes(form));
    return value;
}

/* The destination: bits 128 and up stay for SSE and are cleared by VEX.128. */
INLINE void vector_set(struct cpu *cpu, unsigned reg, const union vector *value,
                       enum vector_form form)
{
    memcpy(&cpu->xmm[reg], value, form_bytes(form));
    if (form == VEX128)
        memset(&cpu->xmm[reg].u64[2], 0, 16);
}

INLINE void vector_set_xmm(struct cpu *cpu, unsigned reg, union xmm value, enum vector_form form)
{
    memcpy(&cpu->xmm[reg], &value, 16);
    if (form != SSE)
        memset(&cpu->xmm[reg].u64[2], 0, 16);
}

INLINE union xmm half_get(const union vector *value, unsigned half)
{
    union xmm result;
    memcpy(&result, &value->u64[2 * half], 16);
    return result;
}

INLINE void half_set(union vector *value, unsigned half, union xmm part)
{
    memcpy(&value->u64[2 * half], &part, 16);
}

INLINE union xmm mmx_get(const struct cpu *cpu, unsigned reg)
{
    return (union xmm){.u64 = {cpu->x87.reg[reg].mantissa, 0}};
}

/* Every MMX instruction but EMMS does this after its last fault. */
INLINE void mmx_enter(struct cpu *cpu)
{
    cpu->x87.top = 0;
    cpu->x87.empty = 0;
}

INLINE void mmx_set(struct cpu *cpu, unsigned reg, uint64_t value)
{
    mmx_enter(cpu);
    cpu->x87.reg[reg].mantissa = value;
    cpu->x87.reg[reg].exponent = 0xffff;
}

/* -- Memory -- */

INLINE union vector mem_read_vector(struct cpu *cpu, gva_t gva, enum vector_form form)
{
    const void *host = tlb_find(cpu->tlb, ACCESS_READ, gva, form_bytes(form));
    union vector value;
    if (LIKELY(host))
        memcpy(&value, host, form_bytes(form));
    else
        mem_read_bytes(cpu, gva, &value, form_bytes(form));
    return value;
}

INLINE void mem_write_vector(struct cpu *cpu, gva_t gva, const union vector *value,
                             enum vector_form form)
{
    void *host = tlb_find(cpu->tlb, ACCESS_WRITE, gva, form_bytes(form));
    if (LIKELY(host))
        memcpy(host, value, form_bytes(form));
    else
        mem_write_bytes(cpu, gva, value, form_bytes(form));
}

/* Address of the whole vector in memory; #GP(0) if it must be aligned and is not. */
INLINE gva_t vector_address(struct cpu *cpu, const struct insn *insn, enum access access,
                            enum vector_form form, bool aligned)
{
    gva_t gva = insn_linear(cpu, insn, form_bytes(form), access);
    if (aligned && UNLIKELY(gva & (form_bytes(form) - 1)))
        cpu_raise_gp(cpu, 0);
    return gva;
}

/* -- Operands: n names a vector or MMX register, or memory if `mem` -- */

INLINE union vector vector_operand_aligned(struct cpu *cpu, const struct insn *insn, unsigned n,
                                           bool mem, enum vector_form form, bool aligned)
{
    if (mem)
        return mem_read_vector(cpu, vector_address(cpu, insn, ACCESS_READ, form, aligned), form);
    return vector_get(cpu, insn->operand[n].reg, form);
}

/* Memory must be aligned for SSE and need not be for VEX, as the rule is. */
INLINE union vector vector_operand(struct cpu *cpu, const struct insn *insn, unsigned n, bool mem,
                                   enum vector_form form)
{
    return vector_operand_aligned(cpu, insn, n, mem, form, form == SSE);
}

/* 16 bytes, aligned in memory for SSE. */
INLINE union xmm xmm_operand(struct cpu *cpu, const struct insn *insn, unsigned n, bool mem,
                             enum vector_form form)
{
    union vector value = vector_operand(cpu, insn, n, mem, form == SSE ? SSE : VEX128);
    return half_get(&value, 0);
}

/* The low `size` bytes (2, 4, 8) of an XMM register or that much memory; the rest is undefined
 * (register) or zero (memory). */
INLINE union xmm xmm_low(struct cpu *cpu, const struct insn *insn, unsigned n, bool mem,
                         unsigned size)
{
    if (mem)
        return (union xmm){
            .u64 = {mem_read(cpu, insn_linear(cpu, insn, size, ACCESS_READ), size), 0}};
    return xmm_get(cpu, insn->operand[n].reg);
}

/* The low `size` bytes (2 to 32) likewise. */
INLINE union vector vector_low(struct cpu *cpu, const struct insn *insn, unsigned n, bool mem,
                               enum vector_form form, unsigned size)
{
    union vector value;
    if (size >= 16)
        return vector_operand(cpu, insn, n, mem, size == 32 ? VEX256 : form == SSE ? SSE : VEX128);
    half_set(&value, 0, xmm_low(cpu, insn, n, mem, size));
    return value;
}

INLINE union xmm mmx_operand(struct cpu *cpu, const struct insn *insn, unsigned n, bool mem,
                             unsigned size)
{
    if (mem)
        return (union xmm){
            .u64 = {mem_read(cpu, insn_linear(cpu, insn, size, ACCESS_READ), size), 0}};
    return mmx_get(cpu, insn->operand[n].reg);
}

/* -- Templates -- */

typedef union xmm simd_kernel(union xmm a, union xmm b, unsigned bytes);
typedef union xmm simd_kernel_imm(union xmm a, union xmm b, unsigned bytes, unsigned imm);

/* exec_VNAME from instances of function(cpu, insn, mem, form, extra...). */
#define EXEC_VEX_INSTANCE_(name, function, mem, form, ...)                                         \
    static void name(struct cpu *cpu, const struct insn *insn)                                     \
    {                                                                                              \
        function(cpu, insn, mem, form, ##__VA_ARGS__);                                             \
    }
#define EXEC_VEX(VNAME, function, ...)                                                             \
    EXEC_VEX_INSTANCE_(VNAME##_r128, function, false, VEX128, ##__VA_ARGS__)                       \
    EXEC_VEX_INSTANCE_(VNAME##_r256, function, false, VEX256, ##__VA_ARGS__)                       \
    EXEC_VEX_INSTANCE_(VNAME##_m128, function, true, VEX128, ##__VA_ARGS__)                        \
    EXEC_VEX_INSTANCE_(VNAME##_m256, function, true, VEX256, ##__VA_ARGS__)                        \
    const struct exec exec_##VNAME = {{VNAME##_r128, VNAME##_r256, VNAME##_r128, VNAME##_r128},    \
                                      {VNAME##_m128, VNAME##_m256, VNAME##_m128, VNAME##_m128}};
/* ... of which only 128 bits exist, or VEX.L is ignored. */
#define EXEC_VEX128(VNAME, function, ...)                                                          \
    EXEC_FORMS(VNAME, function(cpu, insn, false, VEX128, ##__VA_ARGS__),                           \
               function(cpu, insn, true, VEX128, ##__VA_ARGS__))
#define EXEC_SSE(NAME, function, ...)                                                              \
    EXEC_FORMS(NAME, function(cpu, insn, false, SSE, ##__VA_ARGS__),                               \
               function(cpu, insn, true, SSE, ##__VA_ARGS__))

/* exec_NAME and exec_VNAME. */
#define EXEC_VECTOR(NAME, function, ...)                                                           \
    EXEC_SSE(NAME, function, ##__VA_ARGS__)                                                        \
    EXEC_VEX(V##NAME, function, ##__VA_ARGS__)
#define EXEC_VECTOR128(NAME, function, ...)                                                        \
    EXEC_SSE(NAME, function, ##__VA_ARGS__)                                                        \
    EXEC_VEX128(V##NAME, function, ##__VA_ARGS__)

/* Destination = kernel(first source, second source), 128 bits at a time. */
INLINE void vector_binary(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                          simd_kernel *kernel)
{
    vector_begin(cpu, form);
    const unsigned first = first_source(form);
    union vector b = vector_operand(cpu, insn, first + 1, mem, form);
    union vector a = vector_get(cpu, insn->operand[first].reg, form);
    for (unsigned i = 0; i < form_halves(form); i++)
        half_set(&a, i, kernel(half_get(&a, i), half_get(&b, i), 16));
    vector_set(cpu, insn->operand[0].reg, &a, form);
}

/* Destination = kernel(., source). */
INLINE void vector_unary(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                         simd_kernel *kernel)
{
    vector_begin(cpu, form);
    union vector b = vector_operand(cpu, insn, 1, mem, form);
    for (unsigned i = 0; i < form_halves(form); i++)
        half_set(&b, i, kernel(half_get(&b, i), half_get(&b, i), 16));
    vector_set(cpu, insn->operand[0].reg, &b, form);
}

/* With an immediate, of which the upper half uses the bits from `step` on. */
INLINE void vector_binary_imm(struct cpu *cpu, const struct insn *insn, bool mem,
                              enum vector_form form, simd_kernel_imm *kernel, unsigned step)
{
    vector_begin(cpu, form);
    const unsigned first = first_source(form);
    union vector b = vector_operand(cpu, insn, first + 1, mem, form);
    union vector a = vector_get(cpu, insn->operand[first].reg, form);
    unsigned imm = (uint8_t)insn->imm;
    for (unsigned i = 0; i < form_halves(form); i++, imm >>= step)
        half_set(&a, i, kernel(half_get(&a, i), half_get(&b, i), 16, imm));
    vector_set(cpu, insn->operand[0].reg, &a, form);
}

INLINE void vector_unary_imm(struct cpu *cpu, const struct insn *insn, bool mem,
                             enum vector_form form, simd_kernel_imm *kernel, unsigned step)
{
    vector_begin(cpu, form);
    union vector b = vector_operand(cpu, insn, 1, mem, form);
    unsigned imm = (uint8_t)insn->imm;
    for (unsigned i = 0; i < form_halves(form); i++, imm >>= step)
        half_set(&b, i, kernel(half_get(&b, i), half_get(&b, i), 16, imm));
    vector_set(cpu, insn->operand[0].reg, &b, form);
}

INLINE void mmx_binary(struct cpu *cpu, const struct insn *insn, bool mem, unsigned size,
                       simd_kernel *kernel)
{
    mmx_begin(cpu);
    union xmm b = mmx_operand(cpu, insn, 1, mem, size);
    union xmm a = mmx_get(cpu, insn->operand[0].reg);
    mmx_set(cpu, insn->operand[0].reg, kernel(a, b, 8).u64[0]);
}

INLINE void mmx_binary_imm(struct cpu *cpu, const struct insn *insn, bool mem,
                           simd_kernel_imm *kernel)
{
    mmx_begin(cpu);
    union xmm b = mmx_operand(cpu, insn, 1, mem, 8);
    union xmm a = mmx_get(cpu, insn->operand[0].reg);
    mmx_set(cpu, insn->operand[0].reg, kernel(a, b, 8, (uint8_t)insn->imm).u64[0]);
}

/* The vector forms of a mnemonic, the MMX form, or all. */
#define PACKED_XMM(NAME, kernel)       EXEC_VECTOR(NAME, vector_binary, kernel)
#define PACKED_XMM_UNARY(NAME, kernel) EXEC_VECTOR(NAME, vector_unary, kernel)
#define PACKED_MMX(NAME, kernel)                                                                   \
    EXEC_FORMS(NAME##_MMX, mmx_binary(cpu, insn, false, 8, kernel),                                \
               mmx_binary(cpu, insn, true, 8, kernel))
#define PACKED(NAME, kernel)                     PACKED_XMM(NAME, kernel) PACKED_MMX(NAME, kernel)
#define PACKED_UNARY(NAME, kernel)               PACKED_XMM_UNARY(NAME, kernel) PACKED_MMX(NAME, kernel)
#define PACKED_XMM_IMM(NAME, kernel, step)       EXEC_VECTOR(NAME, vector_binary_imm, kernel, step)
#define PACKED_XMM_UNARY_IMM(NAME, kernel, step) EXEC_VECTOR(NAME, vector_unary_imm, kernel, step)

/* A kernel that computes lane by lane: x and y are the operands' lanes, `expression` the result's.
 */
#define LANES(name, lane, expression)                                                              \
    INLINE union xmm name(union xmm a, union xmm b, unsigned bytes)                                \
    {                                                                                              \
        union xmm result = a;                                                                      \
        for (unsigned i = 0; i < bytes / sizeof a.lane[0]; i++) {                                  \
            __typeof__(a.lane[0]) x = a.lane[i], y = b.lane[i];                                    \
            (void)x, (void)y;                                                                      \
            result.lane[i] = (__typeof__(a.lane[0]))(expression);                                  \
        }                                                                                          \
        return result;                                                                             \
    }

/* -- Saturation -- */

INLINE int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

INLINE int8_t saturate_s8(int32_t value)
{
    return (int8_t)clamp(value, INT8_MIN, INT8_MAX);
}

INLINE uint8_t saturate_u8(int32_t value)
{
    return (uint8_t)clamp(value, 0, UINT8_MAX);
}

INLINE int16_t saturate_s16(int32_t value)
{
    return (int16_t)clamp(value, INT16_MIN, INT16_MAX);
}

INLINE uint16_t saturate_u16(int32_t value)
{
    return (uint16_t)clamp(value, 0, UINT16_MAX);
}

#endif
