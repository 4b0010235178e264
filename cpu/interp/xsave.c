/*
 * Images of x87, MMX, SSE and AVX state: FXSAVE, FXRSTOR, the XSAVE family, and MXCSR alone; XCR0.
 * Intel SDM volume 1, sections 10.5 and 13.
 *
 *   0 FCW  2 FSW  4 tags (one bit each)  6 FOP  8 FIP, FCS  16 FDP, FDS  24 MXCSR  28 MXCSR_MASK
 *   32 ST(0)-ST(7), 16 bytes each      160 XMM0-XMM15      512 XSAVE header      576 upper YMM
 * halves
 *
 * AVX is the only component beyond the header, so it stands at 576 in the compacted format too:
 * that differs only in the header (XCOMP_BV) and in what belongs to it (MXCSR only with SSE).
 * XSAVEOPT, XSAVEC and XSAVES leave out what is in its initial state; none tracks what was
 * modified. No supervisor components exist: IA32_XSS is 0.
 */
#include "cpu/interp/sse_float.h"

enum component { COMPONENT_X87 = 1 << 0, COMPONENT_SSE = 1 << 1, COMPONENT_AVX = 1 << 2 };

enum image_offset {
    IMAGE_FCW = 0,
    IMAGE_FSW = 2,
    IMAGE_TAGS = 4,
    IMAGE_FOP = 6,
    IMAGE_FIP = 8,
    IMAGE_FCS = 12,
    IMAGE_FDP = 16,
    IMAGE_FDS = 20,
    IMAGE_MXCSR = 24,
    IMAGE_MXCSR_MASK = 28,
    IMAGE_ST = 32,
    IMAGE_XMM = 160,
    IMAGE_LEGACY_END = 512,
    HEADER_XSTATE_BV = 512,
    HEADER_XCOMP_BV = 520,
    IMAGE_AVX = 576,
    IMAGE_END = 832,
};

#define XCOMP_COMPACT (1ull << 63)

static unsigned xmm_count(const struct cpu *cpu)
{
    return cpu->mode & MODE_CODE64 ? 16 : 8;
}

/* -- Components to and from an image in host memory -- */

static void store_x87(const struct cpu *cpu, const struct insn *insn, uint8_t *image)
{
    const struct x87 *x87 = &cpu->x87;
    uint16_t status = x87_status_word(cpu);
    memcpy(image + IMAGE_FCW, &x87->control, 2);
    memcpy(image + IMAGE_FSW, &status, 2);
    image[IMAGE_TAGS] = (uint8_t)~x87->empty;
    image[IMAGE_TAGS + 1] = 0;
    memcpy(image + IMAGE_FOP, &x87->opcode, 2);
    memcpy(image + IMAGE_FIP, &x87->ip, 8);
    memcpy(image + IMAGE_FDP, &x87->dp, 8);
    if (!(insn->prefixes & PREFIX_REX_W)) {
        uint32_t selectors[2] = {x87->ip_selector, x87->dp_selector};
        memcpy(image + IMAGE_FCS, &selectors[0], 4);
        memcpy(image + IMAGE_FDS, &selectors[1], 4);
    }
    for (unsigned i = 0; i < 8; i++) {
        struct float80 value = st_get(cpu, i);
        memset(image + IMAGE_ST + 16 * i, 0, 16);
        memcpy(image + IMAGE_ST + 16 * i, &value.mantissa, 8);
        memcpy(image + IMAGE_ST + 16 * i + 8, &value.exponent, 2);
    }
}

static void load_x87(struct cpu *cpu, const struct insn *insn, const uint8_t *image)
{
    struct x87 *x87 = &cpu->x87;
    uint16_t control, status;
    memcpy(&control, image + IMAGE_FCW, 2);
    memcpy(&status, image + IMAGE_FSW, 2);
    x87_set_status_word(cpu, status);
    x87_set_control(cpu, control);
    x87->empty = (uint8_t)~image[IMAGE_TAGS];
    memcpy(&x87->opcode, image + IMAGE_FOP, 2);
    x87->opcode &= 0x7ff;
    memcpy(&x87->ip, image + IMAGE_FIP, 8);
    memcpy(&x87->dp, image + IMAGE_FDP, 8);
    x87->ip_selector = x87->dp_selector = 0;
    if (!(insn->prefixes & PREFIX_REX_W)) {
        memcpy(&x87->ip_selector, image + IMAGE_FCS, 2);
        memcpy(&x87->dp_selector, image + IMAGE_FDS, 2);
        x87->ip = (uint32_t)x87->ip;
        x87->dp = (uint32_t)x87->dp;
    }
    for (unsigned i = 0; i < 8; i++) {
        struct float80 *reg = &x87->reg[st_index(cpu, i)];
        memcpy(&reg->mantissa, image + IMAGE_ST + 16 * i, 8);
        memcpy(&reg->exponent, image + IMAGE_ST + 16 * i + 8, 2);
    }
}

static void store_mxcsr(const struct cpu *cpu, uint8_t *image)
{
    const uint32_t mask = MXCSR_DEFINED;
    memcpy(image + IMAGE_MXCSR, &cpu->mxcsr, 4);
    memcpy(image + IMAGE_MXCSR_MASK, &mask, 4);
}

static void store_half_vectors(const struct cpu *cpu, uint8_t *image, unsigned half)
{
    for (unsigned i = 0; i < xmm_count(cpu); i++)
        memcpy(image + 16 * i, cpu->xmm[i].u8 + 16 * half, 16);
}

static void load_half_vectors(struct cpu *cpu, const uint8_t *image, unsigned half)
{
    for (unsigned i = 0; i < xmm_count(cpu); i++)
        memcpy(cpu->xmm[i].u8 + 16 * half, image + 16 * i, 16);
}

static void clear_half_vectors(struct cpu *cpu, unsigned half)
{
    for (unsigned i = 0; i < xmm_count(cpu); i++)
        memset(cpu->xmm[i].u8 + 16 * half, 0, 16);
}

/* #GP for reserved bits of the MXCSR in an image. */
static uint32_t checked_mxcsr(struct cpu *cpu, const uint8_t *image)
{
    uint32_t value;
    memcpy(&value, image + IMAGE_MXCSR, 4);
    if (value & ~MXCSR_DEFINED)
        cpu_raise_gp(cpu, 0);
    return value;
}

static gva_t image_address(struct cpu *cpu, const struct insn *insn, unsigned size,
                           enum access access, unsigned alignment)
{
    gva_t gva = insn_linear(cpu, insn, size, access);
    if (gva & (alignment - 1))
        cpu_raise_gp(cpu, 0);
    return gva;
}

/* -- MXCSR -- */

INLINE void ldmxcsr(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    uint32_t value = mem_read_u32(cpu, insn_linear(cpu, insn, 4, ACCESS_READ));
    if (value & ~MXCSR_DEFINED)
        cpu_raise_gp(cpu, 0);
    cpu->mxcsr = value;
}

INLINE void stmxcsr(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form)
{
    vector_begin(cpu, form);
    mem_write_u32(cpu, insn_linear(cpu, insn, 4, ACCESS_WRITE), cpu->mxcsr);
}

EXEC_VECTOR128(LDMXCSR, ldmxcsr)
EXEC_VECTOR128(STMXCSR, stmxcsr)

/* -- FXSAVE, FXRSTOR -- */

/* Bytes from 416 (288 with 8 registers) on are left as they are. */
static void fxsave(struct cpu *cpu, const struct insn *insn)
{
    x87_begin_nowait(cpu);
    uint8_t image[IMAGE_LEGACY_END];
    gva_t gva = image_address(cpu, insn, IMAGE_LEGACY_END, ACCESS_WRITE, 16);
    store_x87(cpu, insn, image);
    store_mxcsr(cpu, image);
    store_half_vectors(cpu, image + IMAGE_XMM, 0);
    mem_write_bytes(cpu, gva, image, IMAGE_XMM + 16 * xmm_count(cpu));
}

static void fxrstor(struct cpu *cpu, const struct insn *insn)
{
    x87_begin_nowait(cpu);
    uint8_t image[IMAGE_LEGACY_END];
    gva_t gva = image_address(cpu, insn, IMAGE_LEGACY_END, ACCESS_READ, 16);
    mem_read_bytes(cpu, gva, image, IMAGE_LEGACY_END);
    cpu->mxcsr = checked_mxcsr(cpu, image);
    load_x87(cpu, insn, image);
    load_half_vectors(cpu, image + IMAGE_XMM, 0);
}

EXEC_ONE(FXSAVE, fxsave)
EXEC_ONE(FXRSTOR, fxrstor)

/* -- XSAVE family -- */

static void xsave_begin(struct cpu *cpu)
{
    if (!(cpu->cr4 & CR4_OSXSAVE))
        cpu_raise_ud(cpu);
    if (cpu->cr0 & CR0_TS)
        cpu_raise(cpu, EXC_NM, 0);
}

static uint64_t requested_components(const struct cpu *cpu)
{
    uint64_t mask = cpu->gpr[RDX] << 32 | (uint32_t)cpu->gpr[RAX];
    return mask & cpu->xcr0 & (COMPONENT_X87 | COMPONENT_SSE | COMPONENT_AVX);
}

static unsigned image_size(uint64_t components)
{
    return components & COMPONENT_AVX ? IMAGE_END : IMAGE_AVX;
}

static bool x87_in_use(const struct cpu *cpu)
{
    const struct x87 *x87 = &cpu->x87;
    uint64_t any = x87->status | x87->top | x87->opcode | x87->ip_selector | x87->dp_selector |
                   x87->ip | x87->dp;
    for (unsigned i = 0; i < 8; i++)
        any |= x87->reg[i].mantissa | x87->reg[i].exponent;
    return any || x87->control != FCW_INITIAL || x87->empty != 0xff;
}

static bool half_vectors_in_use(const struct cpu *cpu, unsigned half)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < 16; i++)
        any |= cpu->xmm[i].u64[2 * half] | cpu->xmm[i].u64[2 * half + 1];
    return any;
}

static uint64_t components_in_use(const struct cpu *cpu)
{
    return (x87_in_use(cpu) ? COMPONENT_X87 : 0) |
           (half_vectors_in_use(cpu, 0) ? COMPONENT_SSE : 0) |
           (half_vectors_in_use(cpu, 1) ? COMPONENT_AVX : 0);
}

/* The bytes of the components in `write`; MXCSR if `mxcsr`. */
static void write_components(struct cpu *cpu, const struct insn *insn, gva_t gva, uint64_t write,
                             bool mxcsr)
{
    uint8_t image[IMAGE_LEGACY_END], upper[256];
    store_x87(cpu, insn, image);
    store_mxcsr(cpu, image);
    store_half_vectors(cpu, image + IMAGE_XMM, 0);
    store_half_vectors(cpu, upper, 1);
    if (write & COMPONENT_X87) {
        mem_write_bytes(cpu, gva, image, IMAGE_MXCSR);
        mem_write_bytes(cpu, gva + IMAGE_ST, image + IMAGE_ST, IMAGE_XMM - IMAGE_ST);
    }
    if (mxcsr)
        mem_write_bytes(cpu, gva + IMAGE_MXCSR, image + IMAGE_MXCSR, 8);
    if (write & COMPONENT_SSE)
        mem_write_bytes(cpu, gva + IMAGE_XMM, image + IMAGE_XMM, 16 * xmm_count(cpu));
    if (write & COMPONENT_AVX)
        mem_write_bytes(cpu, gva + IMAGE_AVX, upper, 16 * xmm_count(cpu));
}

/* How the instructions that save differ. */
enum save_option {
    SKIP_INITIAL = 1 << 0, /* leave out what is in its initial state */
    COMPACT = 1 << 1,
};

INLINE void save_common(struct cpu *cpu, const struct insn *insn, unsigned options)
{
    xsave_begin(cpu);
    uint64_t requested = requested_components(cpu), used = components_in_use(cpu);
    unsigned size = image_size(requested);
    gva_t gva = image_address(cpu, insn, size, ACCESS_WRITE, 64);
    mem_probe_write(cpu, gva, size);
    if (options & COMPACT) {
        if (cpu->mxcsr != MXCSR_INITIAL)
            used |= COMPONENT_SSE;
        write_components(cpu, insn, gva, requested & used, requested & used & COMPONENT_SSE);
        mem_write_u64(cpu, gva + HEADER_XSTATE_BV, requested & used);
        mem_write_u64(cpu, gva + HEADER_XCOMP_BV, requested | XCOMP_COMPACT);
        return;
    }
    uint64_t xstate_bv = mem_read_u64(cpu, gva + HEADER_XSTATE_BV);
    xstate_bv = (xstate_bv & ~requested) | (requested & used);
    write_components(cpu, insn, gva, options & SKIP_INITIAL ? requested & used : requested,
                     requested & (COMPONENT_SSE | COMPONENT_AVX));
    mem_write_u64(cpu, gva + HEADER_XSTATE_BV, xstate_bv);
}

static void xsave(struct cpu *cpu, const struct insn *insn)
{
    save_common(cpu, insn, 0);
}

static void xsaveopt(struct cpu *cpu, const struct insn *insn)
{
    save_common(cpu, insn, SKIP_INITIAL);
}

static void xsavec(struct cpu *cpu, const struct insn *insn)
{
    save_common(cpu, insn, SKIP_INITIAL | COMPACT);
}

static void xsaves(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
    save_common(cpu, insn, SKIP_INITIAL | COMPACT);
}

/* #GP for a header that is not of a format that may be loaded; tells whether it is the compacted
 * one. */
static bool check_header(struct cpu *cpu, const uint8_t *image, bool must_be_compact)
{
    uint64_t header[8];
    memcpy(header, image + HEADER_XSTATE_BV, sizeof header);
    bool compact = header[1] & XCOMP_COMPACT;
    uint64_t format = compact ? header[1] & ~XCOMP_COMPACT : cpu->xcr0;
    bool bad = header[0] & ~format || format & ~cpu->xcr0 || header[2];
    if (compact) {
        bad |= !feature_test(cpu->features, FEATURE_XSAVEC);
        for (unsigned i = 3; i < 8; i++)
            bad |= header[i] != 0;
    } else {
        bad |= header[1] || must_be_compact;
    }
    if (bad)
        cpu_raise_gp(cpu, 0);
    return compact;
}

INLINE void restore_common(struct cpu *cpu, const struct insn *insn, bool must_be_compact)
{
    xsave_begin(cpu);
    uint64_t requested = requested_components(cpu), xstate_bv;
    unsigned size = image_size(requested);
    uint8_t image[IMAGE_END];
    gva_t gva = image_address(cpu, insn, size, ACCESS_READ, 64);
    mem_read_bytes(cpu, gva, image, size);
    bool compact = check_header(cpu, image, must_be_compact);
    memcpy(&xstate_bv, image + HEADER_XSTATE_BV, 8);
    uint64_t load = requested & xstate_bv;

    if (!compact && requested & (COMPONENT_SSE | COMPONENT_AVX))
        cpu->mxcsr = checked_mxcsr(cpu, image);
    else if (requested & COMPONENT_SSE)
        cpu->mxcsr = load & COMPONENT_SSE ? checked_mxcsr(cpu, image) : MXCSR_INITIAL;
    if (load & COMPONENT_X87) {
        load_x87(cpu, insn, image);
    } else if (requested & COMPONENT_X87) {
        x87_reset(cpu);
        memset(cpu->x87.reg, 0, sizeof cpu->x87.reg);
    }
    if (load & COMPONENT_SSE)
        load_half_vectors(cpu, image + IMAGE_XMM, 0);
    else if (requested & COMPONENT_SSE)
        clear_half_vectors(cpu, 0);
    if (load & COMPONENT_AVX)
        load_half_vectors(cpu, image + IMAGE_AVX, 1);
    else if (requested & COMPONENT_AVX)
        clear_half_vectors(cpu, 1);
}

static void xrstor(struct cpu *cpu, const struct insn *insn)
{
    restore_common(cpu, insn, false);
}

static void xrstors(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
    restore_common(cpu, insn, true);
}

EXEC_ONE(XSAVE, xsave)
EXEC_ONE(XSAVEOPT, xsaveopt)
EXEC_ONE(XSAVEC, xsavec)
EXEC_ONE(XSAVES, xsaves)
EXEC_ONE(XRSTOR, xrstor)
EXEC_ONE(XRSTORS, xrstors)

/* -- XCR0 -- */

/* With ECX 1: which of its components are not in their initial state. */
static void xgetbv(struct cpu *cpu, const struct insn *insn)
{
    uint32_t number = (uint32_t)cpu->gpr[RCX];
    if (!(cpu->cr4 & CR4_OSXSAVE))
        cpu_raise_ud(cpu);
    if (number > 1 || (number == 1 && !feature_test(cpu->features, FEATURE_XGETBV_ECX1)))
        cpu_raise_gp(cpu, 0);
    uint64_t value = number ? cpu->xcr0 & components_in_use(cpu) : cpu->xcr0;
    cpu->gpr[RAX] = (uint32_t)value;
    cpu->gpr[RDX] = value >> 32;
}

static void xsetbv(struct cpu *cpu, const struct insn *insn)
{
    uint64_t value = cpu->gpr[RDX] << 32 | (uint32_t)cpu->gpr[RAX];
    uint64_t allowed = COMPONENT_X87 | COMPONENT_SSE;
    if (feature_test(cpu->features, FEATURE_AVX))
        allowed |= COMPONENT_AVX;
    if (!(cpu->cr4 & CR4_OSXSAVE))
        cpu_raise_ud(cpu);
    require_ring0(cpu);
    if ((uint32_t)cpu->gpr[RCX] || value & ~allowed || !(value & COMPONENT_X87) ||
        (value & COMPONENT_AVX && !(value & COMPONENT_SSE)))
        cpu_raise_gp(cpu, 0);
    cpu->xcr0 = value;
    cpu_update_mode(cpu);
}

EXEC_ONE(XGETBV, xgetbv)
EXEC_ONE(XSETBV, xsetbv)
