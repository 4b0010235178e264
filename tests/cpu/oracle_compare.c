/*
 * Comparison of a case's outcomes on the host and on doppel.
 */
#include "tests/cpu/oracle.h"
#include "cpu/state.h"

#include <inttypes.h>
#include <string.h>

static bool differs(const char *what, uint64_t host, uint64_t ours, FILE *out)
{
    if (host == ours)
        return false;
    if (out)
        fprintf(out, "    %-8s host %016" PRIx64 "  doppel %016" PRIx64 "\n", what, host, ours);
    return true;
}

static uint64_t part_of(const uint8_t *image, unsigned at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, image + at, size);
    return value;
}

static bool x87_differs(const uint8_t *host, const uint8_t *ours, FILE *out)
{
    bool different = false;
    different |= differs("fcw", part_of(host, FX_FCW, 2), part_of(ours, FX_FCW, 2), out);
    different |= differs("fsw", part_of(host, FX_FSW, 2), part_of(ours, FX_FSW, 2), out);
    different |= differs("ftw", host[FX_FTW], ours[FX_FTW], out);
    for (unsigned i = 0; i < 8; i++) {
        static const char names[8][2][7] = {{"st0", "st0.se"}, {"st1", "st1.se"}, {"st2", "st2.se"},
                                            {"st3", "st3.se"}, {"st4", "st4.se"}, {"st5", "st5.se"},
                                            {"st6", "st6.se"}, {"st7", "st7.se"}};
        unsigned at = FX_ST + 16 * i;
        different |= differs(names[i][0], part_of(host, at, 8), part_of(ours, at, 8), out);
        different |= differs(names[i][1], part_of(host, at + 8, 2), part_of(ours, at + 8, 2), out);
    }
    return different;
}

static bool halves_differ(const char *format, unsigned at, const uint8_t *host, const uint8_t *ours,
                          FILE *out)
{
    if (memcmp(host + at, ours + at, 256) == 0)
        return false;
    for (unsigned i = 0; i < 32; i++) {
        char name[16];
        snprintf(name, sizeof name, format, i / 2, "lh"[i & 1]);
        differs(name, part_of(host, at + 8 * i, 8), part_of(ours, at + 8 * i, 8), out);
    }
    return true;
}

static bool vectors_differ(const uint8_t *host, const uint8_t *ours, bool upper, FILE *out)
{
    bool different = differs("mxcsr", part_of(host, FX_MXCSR, 4), part_of(ours, FX_MXCSR, 4), out);
    different |= halves_differ("xmm%u.%c", FX_XMM, host, ours, out);
    return different | (upper && halves_differ("ymm%u.%c", FX_YMM, host, ours, out));
}

static bool memory_differs(const uint8_t *host, const uint8_t *ours, FILE *out)
{
    if (memcmp(host, ours, USER_DATA_SIZE) == 0)
        return false;
    for (unsigned i = 0, shown = 0; i < USER_DATA_SIZE && shown < 8; i += 8) {
        char name[16];
        snprintf(name, sizeof name, "%x", USER_DATA + i);
        shown += differs(name, part_of(host, i, 8), part_of(ours, i, 8), out);
    }
    return true;
}

/* -- Where processors differ --
 *
 * doppel's models follow Intel's manual; the host may be of another maker, or do what that manual
 * does not say, and some orders are no processor's business. Each rule says what it overlooks of an
 * outcome that is not the same, and nothing else is overlooked; outcomes without a difference never
 * ask.
 */

enum {
    FAULT = 1 << 0, /* which exception it is, its error code and address */
    CR2 = 1 << 1,
    REGISTERS = 1 << 2,
    STACK_POINTER = 1 << 3,
    X87 = 1 << 4,
    MEMORY = 1 << 5,
    ARITHMETIC = 1 << 6, /* flags */
    EVERYTHING = 1 << 7,
    VECTORS = 1 << 8,
};

static uint64_t strict; /* bit set of rules that are not applied */

/* One instruction of the case, and both outcomes. */
struct outcome {
    const struct test_case *test;
    const struct user_state *host, *ours;
    const uint8_t *our_data;
    const struct insn *insn;
    unsigned index;
    bool host_here, ours_here; /* the run ended by an exception of this instruction */
    bool zeroed;               /* behind VZEROALL */
};

/* Both sides refuse the instruction. */
static bool both_here(const struct outcome *o)
{
    return o->host_here && o->ours_here;
}

static bool is_segment_fault(int vector)
{
    return vector == EXC_SS || vector == EXC_GP;
}

/* The two exceptions are the pair, in any order. */
static bool are(const struct outcome *o, int a, int b)
{
    int host = o->host->vector, ours = o->ours->vector;
    return both_here(o) && ((host == a && ours == b) || (host == b && ours == a));
}

/* One of them is #SS or #GP, the other not. */
static bool one_is_segment_fault(const struct outcome *o)
{
    return both_here(o) && is_segment_fault(o->host->vector) != is_segment_fault(o->ours->vector);
}

static bool differ_in_vector(const struct outcome *o)
{
    return both_here(o) && o->host->vector != o->ours->vector;
}

static bool is_image(const struct insn *insn)
{
    switch (insn->op) {
    case OP_FXRSTOR:
    case OP_FXSAVE:
    case OP_FRSTOR:
    case OP_FNSAVE:
    case OP_FLDENV:
    case OP_FNSTENV:
    case OP_XSAVE:
    case OP_XSAVEOPT:
    case OP_XRSTOR:
        return true;
    }
    return false;
}

static bool is_masked_store(const struct insn *insn)
{
    return insn->op == OP_MASKMOVQ || insn->op == OP_MASKMOVDQU || insn->op == OP_VMASKMOVDQU;
}

static bool is_string(const struct insn *insn)
{
    return insn->op == OP_LODS || insn->op == OP_STOS || insn->op == OP_SCAS ||
           insn->op == OP_MOVS || insn->op == OP_CMPS;
}

static bool is_wide(const struct insn *insn)
{
    return insn_has_mem(insn) && (insn->operand[0].size >= 16 || insn->operand[1].size >= 16);
}

static bool is_64(const struct outcome *o)
{
    return o->test->bits == 64;
}

/* -- Both refuse the instruction, for another reason: the order of the checks is not architectural
 * -- */

/* CMPS and MOVS: which of the two operands comes first. */
static bool two_strings(const struct outcome *o)
{
    return (o->insn->op == OP_CMPS || o->insn->op == OP_MOVS) &&
           (differ_in_vector(o) || are(o, EXC_PF, EXC_PF));
}

/* Which byte of a masked operand was found missing. */
static bool masked_address(const struct outcome *o)
{
    bool masked = o->insn->op >= OP_VMASKMOVPS && o->insn->op <= OP_VPMASKMOVQ;
    return (masked || is_masked_store(o->insn)) && are(o, EXC_PF, EXC_PF) &&
           o->host->cr2 - o->ours->cr2 + 32 < 2 * 32;
}

/* An operand that is misaligned and not canonical or outside its segment: #GP for the one, #SS for
 * the other. */
static bool aligned_or_inside(const struct outcome *o)
{
    return (is_wide(o->insn) || is_image(o->insn)) && are(o, EXC_SS, EXC_GP);
}

static bool is_far_pointer(const struct insn *insn)
{
    switch (insn->op) {
    case OP_LDS:
    case OP_LES:
    case OP_LSS:
    case OP_LFS:
    case OP_LGS:
    case OP_JMP_FAR:
    case OP_CALL_FAR:
        return true;
    }
    return false;
}

/* Partly outside its segment (in 32-bit code by wrapping round 4 GiB), and partly on a missing
 * page. */
static bool outside_or_missing(const struct outcome *o)
{
    bool parts = is_image(o->insn) || is_far_pointer(o->insn) || o->test->bits == 32 ||
                 o->insn->operand[0].size > 8;
    bool operand =
        (parts && (insn_has_mem(o->insn) || is_string(o->insn))) || is_masked_store(o->insn);
    return operand && one_is_segment_fault(o) && o->host->vector == EXC_PF;
}

/* So is a stack, of what a push or a call stores in code that is not 64-bit; or misaligned. */
static bool stack_or_missing(const struct outcome *o)
{
    return !is_64(o) && both_here(o) && o->ours->vector == EXC_SS &&
           (o->host->vector == EXC_PF || o->host->vector == EXC_AC);
}

/* Partly on a missing page, and misaligned. */
static bool aligned_or_missing(const struct outcome *o)
{
    return are(o, EXC_AC, EXC_PF) || (is_masked_store(o->insn) && are(o, EXC_AC, EXC_GP));
}

/* FXSAVE and FXRSTOR: misaligned is #AC or #GP (SDM 2A "FXSAVE"); other images are aligned or
 * outside. */
static bool image_aligned(const struct outcome *o)
{
    return is_image(o->insn) && differ_in_vector(o) && o->host->vector == EXC_AC;
}

/* Both find a page missing, of the many that an image may touch. */
static bool image_pages(const struct outcome *o)
{
    return is_image(o->insn) && are(o, EXC_PF, EXC_PF);
}

/* IRET to level 3: the code segment, or the stack segment. */
static bool iret_selectors(const struct outcome *o)
{
    int host = o->host->vector, ours = o->ours->vector;
    return o->insn->op == OP_IRET && is_64(o) && both_here(o) &&
           (is_segment_fault(host) || host == EXC_NP) && (is_segment_fault(ours) || ours == EXC_NP);
}

/* Which word of the frame is looked at first: within its segment, there, aligned. */
static bool frame_words(const struct outcome *o)
{
    switch (o->insn->op) {
    case OP_IRET:
    case OP_RET_FAR:
        return are(o, EXC_PF, EXC_PF) || are(o, EXC_PF, EXC_SS) || are(o, EXC_AC, EXC_SS) ||
               are(o, EXC_AC, EXC_PF);
    case OP_CALL_FAR:
        return are(o, EXC_PF, EXC_PF);
    }
    return false;
}

/* -- AMD processors -- */

/* They push before they compare the target with the limit, and look early at the stack that RET
 * releases. */
static bool pushes_first(const struct outcome *o)
{
    bool stack =
        o->host->vector == EXC_SS || o->host->vector == EXC_PF || o->host->vector == EXC_AC;
    switch (o->insn->op) {
    case OP_CALL:
    case OP_CALL_FAR:
    case OP_RET_FAR:
        return differ_in_vector(o) && stack && o->ours->vector == EXC_GP;
    }
    return false;
}

/* ... and what they pushed stays. */
static bool pushed(const struct outcome *o)
{
    return o->insn->op == OP_CALL_FAR && o->host_here && is_segment_fault(o->host->vector);
}

/* A far call between 64-bit and other code pushes to the stack as the code that is called sees it.
 */
static bool pushes_as_target(const struct outcome *o)
{
    if (o->insn->op != OP_CALL_FAR)
        return false;
    if (is_64(o))
        return o->host_here && (o->host->vector == EXC_PF || o->host->vector == EXC_SS);
    return o->host_here != o->ours_here;
}

/* RET releases parameters from a stack as wide as the old one. */
static bool releases_other_width(const struct outcome *o)
{
    return o->insn->op == OP_RET_FAR && o->insn->noperands &&
           (o->host->selector[SEG_CS] == USER_SELECTOR_CODE64) != is_64(o);
}

/* POPA changes registers until it faults. */
static bool pops_until_fault(const struct outcome *o)
{
    return o->insn->op == OP_POPA && both_here(o);
}

/* CMPS and SCAS that fault leave the flags of the elements before; Intel's those before the
 * instruction. */
static bool flags_of_elements(const struct outcome *o)
{
    return (o->insn->op == OP_CMPS || o->insn->op == OP_SCAS) && both_here(o);
}

/* Conversions from MMX registers and MASKMOVQ enter MMX state before they fault; on Intel's
 * processors other stores do. */
static bool enters_mmx(const struct outcome *o)
{
    bool converts =
        (o->insn->op >= OP_CVTPI2PS && o->insn->op <= OP_CVTPD2PI) || o->insn->op == OP_CVTTPD2PI;
    bool stores = o->insn->op == OP_MASKMOVQ || o->insn->op == OP_MOVNTQ ||
                  o->insn->op == OP_MOVD_MMX || o->insn->op == OP_MOVQ_MMX;
    return (converts || stores) && both_here(o);
}

/* A gather that faults leaves what is still to be done in its mask as it was, and the upper half of
 * its result; Intel's processors have copied each element's sign to all of its bits, and cleared
 * that half. Only these differ then, and no sign. */
static bool gather_mask(const struct outcome *o)
{
    if (!(isa_rows[o->insn->row].attributes & ISA_VSIB) || !both_here(o))
        return false;
    unsigned to = o->insn->operand[0].reg, mask = o->insn->operand[2].reg;
    for (unsigned i = 0; i < 16; i++) {
        const uint8_t *host = o->host->fx + 16 * i, *ours = o->ours->fx + 16 * i;
        if (i == mask && (host[FX_XMM + 15] ^ ours[FX_XMM + 15]) & 0x80)
            return false;
        if (i != mask && memcmp(host + FX_XMM, ours + FX_XMM, 16) != 0)
            return false;
        if (i != mask && i != to && memcmp(host + FX_YMM, ours + FX_YMM, 16) != 0)
            return false;
    }
    return part_of(o->host->fx, FX_MXCSR, 4) == part_of(o->ours->fx, FX_MXCSR, 4);
}

/* SHA takes operands from any address. */
static bool sha_misaligned(const struct outcome *o)
{
    return isa_rows[o->insn->row].feature == FEATURE_SHA && o->ours_here &&
           o->ours->vector == EXC_GP && (!o->host_here || o->host->vector == EXC_PF);
}

/* MOVSXD to 16 bits reads 32. */
static bool reads_32(const struct outcome *o)
{
    return o->insn->op == OP_MOVSXD && o->insn->operand[0].size == 2 && insn_has_mem(o->insn) &&
           o->host_here &&
           (o->host->vector == EXC_AC || o->host->vector == EXC_PF ||
            is_segment_fault(o->host->vector));
}

/* Base of the segment of the instruction's memory operand, as doppel has it. */
static uint64_t operand_base(const struct outcome *o)
{
    unsigned seg = o->insn->seg;
    if (seg == SEG_FS || seg == SEG_GS)
        return seg == SEG_FS ? o->ours->fs_base : o->ours->gs_base;
    unsigned selector = o->ours->selector[seg], local = selector >> 3;
    bool in_table = selector & 4 && local >= 1 && local <= USER_SEGMENTS;
    return in_table && !is_64(o) ? user_segments[local - 1].base : 0;
}

/* The linear address `offset` bytes into the operand of the instruction that doppel stopped at. */
static uint64_t operand_address(const struct outcome *o, unsigned offset)
{
    const struct insn *insn = o->insn;
    uint64_t address = (uint64_t)insn->disp + offset;
    if (insn->base == REG_IP)
        address += o->ours->rip + insn->length;
    else if (insn->base < 16)
        address += o->ours->gpr[insn->base];
    if (insn->index < 16)
        address += o->ours->gpr[insn->index] << insn->scale;
    if (insn->addrsize < 8)
        address &= (1ull << 8 * insn->addrsize) - 1;
    address += operand_base(o);
    return is_64(o) ? address : (uint32_t)address;
}

/* Partly beyond the end of a segment that ends at 4 GiB, and misaligned. */
static bool aligned_or_wrapping(const struct outcome *o)
{
    return o->test->bits == 32 && insn_has_mem(o->insn) && both_here(o) &&
           o->host->vector == EXC_AC && is_segment_fault(o->ours->vector) &&
           operand_address(o, 16) < 16;
}

/* 32 bits of memory there; 0 if they are neither code nor data. */
static uint32_t operand_word(const struct outcome *o, unsigned offset)
{
    uint64_t address = operand_address(o, offset);
    if (address - USER_DATA <= USER_DATA_SIZE - 4)
        return (uint32_t)part_of(o->our_data, (unsigned)(address - USER_DATA), 4);
    if (address - USER_CODE > USER_PAGE - 4)
        return 0;
    uint8_t code[USER_PAGE];
    user_place_code(code, o->test->bits, o->test->code, o->test->length);
    return (uint32_t)part_of(code, (unsigned)(address - USER_CODE), 4);
}

/* MXCSR.MM (bit 17), "misaligned exception mask", can be set. */
static bool mxcsr_mm(const struct outcome *o)
{
    const uint32_t mm = 1 << 17;
    if (part_of(o->host->fx, FX_MXCSR, 4) & mm)
        return true;
    bool image = o->insn->op == OP_FXRSTOR;
    bool load = o->insn->op == OP_LDMXCSR || o->insn->op == OP_VLDMXCSR || image;
    return load && o->ours_here && o->ours->vector == EXC_GP &&
           operand_word(o, image ? FX_MXCSR : 0) >> 16 == mm >> 16;
}

/* -- Intel's processors -- */

/* A near call to an address that is not canonical has pushed when it is refused. */
static bool near_call_pushed(const struct outcome *o)
{
    return o->insn->op == OP_CALL && both_here(o) && o->host->vector == EXC_GP;
}

/* BOUND looks at the upper bound only if the index is not below the lower one. */
static bool second_bound(const struct outcome *o)
{
    return o->insn->op == OP_BOUND && both_here(o) && o->host->vector == EXC_BR;
}

/* An x87 store that an unmasked exception prevents does not look at its operand; one that is not
 * prevented may have stored a part in front of a missing page. */
static bool nothing_to_store(const struct outcome *o)
{
    switch (o->insn->op) {
    case OP_FST:
    case OP_FSTP:
    case OP_FIST:
    case OP_FISTP:
    case OP_FISTTP:
    case OP_FBSTP:
        return insn_has_mem(o->insn) && o->ours_here && !o->host_here &&
               (part_of(o->ours->fx, FX_FCW, 2) & 0x3f) != 0x3f;
    }
    return false;
}

static bool part_stored(const struct outcome *o)
{
    return (o->insn->op == OP_FSTP || o->insn->op == OP_FBSTP) && o->insn->operand[0].size == 10 &&
           are(o, EXC_PF, EXC_PF);
}

/* FSCALE and FPREM of denormals with a denormal result, with underflow unmasked. */
static bool denormal_result(const struct outcome *o)
{
    bool scales = o->insn->op == OP_FSCALE || o->insn->op == OP_FPREM || o->insn->op == OP_FPREM1;
    return scales && (part_of(o->ours->fx, FX_FSW, 2) & 0x92) == 0x92; /* ES, UE, DE */
}

/* POP of a segment register reads 16 bits, which are not checked for the alignment of more. */
static bool pops_half(const struct outcome *o)
{
    return o->insn->op == OP_POP_SREG && o->ours_here && o->ours->vector == EXC_AC;
}

/* A repeated string instruction with 32-bit addresses clears the upper halves of its registers,
 * with a count of 0 too. */
static bool repeats_nothing(const struct outcome *o)
{
    if (!is_64(o) || o->insn->addrsize != 4 || !(o->insn->prefixes & (PREFIX_REP | PREFIX_REPNE)))
        return false;
    for (unsigned i = 0; i < 16; i++)
        if ((uint32_t)o->host->gpr[i] != (uint32_t)o->ours->gpr[i])
            return false;
    return true;
}

/* VCVTPS2PH computes all, sets the flags in MXCSR and raises #XM before it looks at its operand. */
static bool converts_first(const struct outcome *o)
{
    return o->insn->op == OP_VCVTPS2PH && both_here(o);
}

/* A far jump from 64-bit to other code takes the lower half of the offset. */
static bool short_offset(const struct outcome *o)
{
    bool far = o->insn->op == OP_JMP_FAR || o->insn->op == OP_CALL_FAR ||
               o->insn->op == OP_RET_FAR || o->insn->op == OP_IRET;
    return far && is_64(o) && o->ours_here && o->ours->vector == EXC_GP && !o->host_here &&
           o->host->selector[SEG_CS] != USER_SELECTOR_CODE64;
}

/* -- What manuals leave open -- */

/* Half-precision operands of 8 bytes need not be checked for alignment. */
static bool halves_unchecked(const struct outcome *o)
{
    return (o->insn->op == OP_VCVTPH2PS || o->insn->op == OP_VCVTPS2PH) && o->ours_here &&
           o->ours->vector == EXC_AC && !o->host_here;
}

/* Moves of 16 bytes and more need not be checked for alignment by EFLAGS.AC. */
static bool wide_unchecked(const struct outcome *o)
{
    return is_wide(o->insn) && o->host_here && o->host->vector == EXC_AC;
}

/* Whether an address matters of which the mask stores nothing. */
static bool nothing_stored(const struct outcome *o)
{
    return is_masked_store(o->insn) && o->host_here && !o->ours_here;
}

/* Elements behind the end of the segment that the mask leaves out. */
static bool masked_elements(const struct outcome *o)
{
    return o->insn->op >= OP_VMASKMOVPS && o->insn->op <= OP_VPMASKMOVQ && !is_64(o) &&
           both_here(o);
}

/* A gather may be interrupted behind any element, by the trap flag too. */
static bool gather_traced(const struct outcome *o)
{
    return isa_rows[o->insn->row].attributes & ISA_VSIB && o->host_here &&
           o->host->vector == EXC_DB;
}

/* A component that was set to its initial state may count as in use. */
static bool initial_in_use(const struct outcome *o)
{
    return o->zeroed && (o->insn->op == OP_XSAVE || o->insn->op == OP_XSAVEOPT);
}

/* Upper halves of registers behind a way through compatibility mode (SDM 1 3.4.1.1); seen of RSP.
 */
static bool upper_half_of_rsp(const struct outcome *o)
{
    bool far = o->insn->op == OP_JMP_FAR || o->insn->op == OP_CALL_FAR ||
               o->insn->op == OP_RET_FAR || o->insn->op == OP_IRET;
    return far && is_64(o) && (uint32_t)o->host->gpr[RSP] == (uint32_t)o->ours->gpr[RSP];
}

/* -- What the cases themselves are not made for -- */

/* A run that ends before the template has overwritten what cannot be compared. */
static bool in_template(const struct outcome *o)
{
    return o->index && o->host_here && o->test->group[o->index] &&
           o->test->group[o->index] == o->test->group[o->index - 1];
}

/* Code of another size that got there by chance. */
static bool other_code_size(const struct outcome *o)
{
    uint16_t selector = o->test->bits == 64   ? USER_SELECTOR_CODE64
                        : o->test->bits == 32 ? USER_SELECTOR_CODE32
                                              : USER_SELECTOR_CODE16;
    uint64_t distance = (o->host->rip - case_rip(o->test)) & (USER_PAGE - 1);
    return o->host->vector >= 0 && o->host->selector[SEG_CS] != selector &&
           distance < o->test->length;
}

/* ICEBP that a jump into the middle of an instruction found: cases do not have it (oracle_skipped).
 */
static bool found_icebp(const struct outcome *o)
{
    uint64_t at = o->host->rip - case_rip(o->test);
    return o->host->vector == EXC_DB && o->ours->vector == EXC_DB && at < o->test->length &&
           o->test->code[at] == 0xf1 && o->ours->rip == o->host->rip + 1;
}

static struct rule {
    const char *reason;
    unsigned overlooks;
    bool (*applies)(const struct outcome *o);
    uint64_t uses;
} rules[] = {
    {"order: the operands of CMPS, MOVS", FAULT | CR2, two_strings, 0},
    {"order: #GP and #SS of a wide operand", FAULT, aligned_or_inside, 0},
    {"order: outside the segment, missing page", FAULT, outside_or_missing, 0},
    {"order: alignment, missing page", FAULT, aligned_or_missing, 0},
    {"open: #AC or another fault of an image", FAULT, image_aligned, 0},
    {"order: missing pages of an image", CR2, image_pages, 0},
    {"order: IRET's selectors", FAULT, iret_selectors, 0},
    {"order: the words of a far frame", FAULT, frame_words, 0},
    {"AMD: pushes before it looks at the target", FAULT | MEMORY, pushes_first, 0},
    {"AMD: a refused far call has pushed", MEMORY, pushed, 0},
    {"AMD: far calls push as the target's mode does", EVERYTHING, pushes_as_target, 0},
    {"AMD: RET n between stacks of two widths", STACK_POINTER, releases_other_width, 0},
    {"AMD: POPA changes registers until it faults", REGISTERS, pops_until_fault, 0},
    {"AMD: flags of CMPS, SCAS at a fault", ARITHMETIC, flags_of_elements, 0},
    {"MMX state is entered before the fault", X87, enters_mmx, 0},
    {"AMD: SHA with misaligned operands", EVERYTHING, sha_misaligned, 0},
    {"AMD: MOVSXD to 16 bits reads 32", EVERYTHING, reads_32, 0},
    {"AMD: MXCSR.MM", EVERYTHING, mxcsr_mm, 0},
    {"open: alignment checks of 16 bytes and more", EVERYTHING, wide_unchecked, 0},
    {"open: an address that nothing is stored to", EVERYTHING, nothing_stored, 0},
    {"open: elements that the mask leaves out", FAULT, masked_elements, 0},
    {"open: a traced gather stops anywhere", EVERYTHING, gather_traced, 0},
    {"open: components in their initial state", MEMORY, initial_in_use, 0},
    {"open: RSP's upper half behind compatibility mode", STACK_POINTER, upper_half_of_rsp, 0},
    {"case: ended within a template", MEMORY | REGISTERS, in_template, 0},
    {"case: ICEBP by chance", EVERYTHING, found_icebp, 0},
    {"case: ran as code of another size", EVERYTHING, other_code_size, 0},
    {"AMD: the mask of a gather that faults", VECTORS, gather_mask, 0},
    {"Intel: a refused near call has pushed", MEMORY, near_call_pushed, 0},
    {"Intel: BOUND may not look at the second bound", FAULT, second_bound, 0},
    {"Intel: x87 stores that an exception prevents", EVERYTHING, nothing_to_store, 0},
    {"Intel: VCVTPS2PH that faults has set flags", FAULT | VECTORS, converts_first, 0},
    {"Intel: far jumps to other code take half of the offset", EVERYTHING, short_offset, 0},
    {"Intel: an x87 store has stored a part", MEMORY, part_stored, 0},
    {"Intel: FSCALE, FPREM of denormals", EVERYTHING, denormal_result, 0},
    {"Intel: POP of a segment register reads 16 bits", EVERYTHING, pops_half, 0},
    {"Intel: string instructions with 32-bit addresses", REGISTERS, repeats_nothing, 0},
    {"order: a stack outside its segment, missing page", FAULT, stack_or_missing, 0},
    {"open: alignment checks of half-precision operands", EVERYTHING, halves_unchecked, 0},
    {"open: the address of a masked operand's fault", CR2, masked_address, 0},
    {"Intel: alignment, the end of a segment at 4 GiB", FAULT, aligned_or_wrapping, 0},
};
#define RULES (sizeof rules / sizeof *rules)

/* What the rules overlook, all that apply together. */
static unsigned overlooked(const struct test_case *test, const uint64_t *features,
                           const struct user_state *host, const struct user_state *ours,
                           const uint8_t *our_data)
{
    struct outcome o = {.test = test, .host = host, .ours = ours, .our_data = our_data};
    bool used[RULES] = {false};
    unsigned what = 0;
    for (unsigned i = 0; i < test->count; i++) {
        struct insn insn = case_insn(test, i, features);
        uint64_t rip = case_rip(test) + test->at[i];
        o.insn = &insn;
        o.index = i;
        o.host_here = host->vector >= 0 && host->rip == rip;
        o.ours_here = ours->vector >= 0 && ours->rip == rip;
        o.zeroed |= insn.op == OP_VZEROALL;
        for (unsigned r = 0; r < RULES; r++) {
            if (strict & 1ull << r || !rules[r].applies(&o))
                continue;
            what |= rules[r].overlooks;
            rules[r].uses += !used[r];
            used[r] = true;
        }
    }
    return what;
}

/* Flags that are not compared: undefined, those of the instruction that faulted too. */
static uint32_t undefined_flags(const struct test_case *test, const uint64_t *features,
                                const struct user_state *host)
{
    for (unsigned i = 0; host->vector >= 0 && i < test->count; i++) {
        if (host->rip == case_rip(test) + test->at[i]) {
            struct insn insn = case_insn(test, i, features);
            return test->undefined[i] | isa_rows[insn.row].flags_undefined;
        }
    }
    return test->undefined[test->count];
}

static bool differ(const struct test_case *test, const struct image *host_image,
                   const struct user_state *ours, const uint8_t *our_data, bool vectors,
                   uint32_t undefined, unsigned overlook, FILE *out)
{
    const struct user_state *host = &host_image->state;
    static const char names[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char segments[6][3] = {"es", "cs", "ss", "ds", "fs", "gs"};
    uint64_t width = test->bits == 64 ? UINT64_MAX : UINT32_MAX;
    uint64_t arithmetic = overlook & ARITHMETIC ? 0 : FLAG_ARITH & ~undefined;
    uint64_t flags = arithmetic | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;
    bool different = false;
    if (!(overlook & FAULT))
        different |= differs("vector", (uint64_t)host->vector, (uint64_t)ours->vector, out);
    different |= differs("rip", host->rip & width, ours->rip & width, out);
    if (!(overlook & FAULT) && host->vector == ours->vector && host->vector >= 0) {
        /* The host's kernel hides what it knows of its own half of the address space. */
        bool wild = host->vector == EXC_PF && host->cr2 - USER_BASE >= 0x10000;
        uint64_t error_mask = wild ? ~1ull : ~0ull; /* the host has more pages than the guest */
        if (!(host->vector == EXC_PF && host->cr2 >> 63))
            different |= differs("error", host->error & error_mask, ours->error & error_mask, out);
        if (!(overlook & CR2))
            different |= differs("cr2", host->cr2, ours->cr2, out);
    }
    for (unsigned i = 0; i < (test->bits == 64 ? 16 : 8); i++)
        if (!(overlook & (i == RSP ? STACK_POINTER : REGISTERS)))
            different |= differs(names[i], host->gpr[i] & width, ours->gpr[i] & width, out);
    different |= differs("eflags", host->eflags & flags, ours->eflags & flags, out);
    if (!(overlook & X87))
        different |= x87_differs(host->fx, ours->fx, out);
    if (!(overlook & VECTORS))
        different |= vectors_differ(host->fx, ours->fx, vectors, out);
    if (host->vector != VECTOR_END)
        different |= differs("cs", host->selector[SEG_CS], ours->selector[SEG_CS], out);
    for (unsigned i = 0; i < 6; i++) /* IRET of the host's kernel clears null selectors */
        if (i != SEG_CS && (host->selector[i] > 3 || ours->selector[i] > 3))
            different |= differs(segments[i], host->selector[i], ours->selector[i], out);
    if (test->bits == 64) {
        different |= differs("fs_base", host->fs_base, ours->fs_base, out);
        different |= differs("gs_base", host->gs_base, ours->gs_base, out);
    }
    return different | (!(overlook & MEMORY) && memory_differs(host_image->data, our_data, out));
}

bool case_differs(const struct test_case *test, const uint64_t *features, const struct image *host,
                  const struct user_state *ours, const uint8_t *our_data, bool vectors, FILE *out)
{
    uint32_t undefined = undefined_flags(test, features, &host->state);
    if (!differ(test, host, ours, our_data, vectors, undefined, 0, NULL))
        return false;
    unsigned overlook = overlooked(test, features, &host->state, ours, our_data);
    return !(overlook & EVERYTHING) &&
           differ(test, host, ours, our_data, vectors, undefined, overlook, out);
}

void case_rules_strict(uint64_t rules_off)
{
    strict = rules_off;
}

void case_rules_print(void)
{
    for (unsigned r = 0; r < RULES; r++)
        if (rules[r].uses)
            printf("overlooked: %2u %s: %" PRIu64 "\n", r, rules[r].reason, rules[r].uses);
}
