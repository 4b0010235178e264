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

/* -- Where processors differ: the host may be of another maker than doppel's models -- */

struct lenience {
    uint32_t flags; /* of EFLAGS not compared */
    bool x87, cr2, memory, rsp, all;
};

/* FXRSTOR and its kin: many bytes, read in an order of the processor's own. */
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

/* Two reasons for a fault, whose order is not architectural: partly outside the segment (which,
 * with 4 GiB, may also wrap around), not aligned, not canonical, not present. */
static bool either_may_come_first(const struct test_case *test, const struct insn *insn,
                                  const struct user_state *host, const struct user_state *ours)
{
    bool segment = ours->vector == EXC_SS || ours->vector == EXC_GP;
    bool host_segment = host->vector == EXC_SS || host->vector == EXC_GP;
    bool wide = insn_has_mem(insn) &&
                (is_image(insn) || insn->operand[1].size >= 16 || insn->operand[0].size >= 16);
    if (host->rip != ours->rip || host->vector == ours->vector || !segment)
        return false;
    if (insn->op == OP_CMPS || insn->op == OP_MOVS) /* two operands */
        return true;
    /* AMD processors push before they look at the target, and look early at the stack behind the
     * immediate of a far return. */
    if (insn->op == OP_CALL || insn->op == OP_RET_FAR)
        return host->vector == EXC_PF || host->vector == EXC_AC || host->vector == EXC_SS;
    bool mask_move =
        insn->op == OP_MASKMOVQ || insn->op == OP_MASKMOVDQU || insn->op == OP_VMASKMOVDQU;
    return (wide && host_segment) ||
           ((is_image(insn) || mask_move || test->bits == 32) && host->vector == EXC_PF);
}

static bool is_selector_fault(int vector)
{
    return vector == EXC_GP || vector == EXC_SS || vector == EXC_NP;
}

/* #AC and #PF have no order; nor need unaligned moves of 16 bytes be checked. */
static bool alignment_may_differ(const struct insn *insn, const struct user_state *host,
                                 const struct user_state *ours)
{
    if (host->vector != EXC_AC)
        return false;
    bool wide = insn->operand[0].size >= 16 || insn->operand[1].size >= 16;
    return wide || (ours->rip == host->rip && (ours->vector == EXC_PF || is_image(insn)));
}

static uint16_t case_selector(const struct test_case *test)
{
    return test->bits == 64   ? USER_SELECTOR_CODE64
           : test->bits == 32 ? USER_SELECTOR_CODE32
                              : USER_SELECTOR_CODE16;
}

static struct lenience lenience(const struct test_case *test, const uint64_t *features,
                                const struct user_state *host, const struct user_state *ours)
{
    struct lenience l = {0};
    uint32_t host_mxcsr;
    memcpy(&host_mxcsr, host->fx + FX_MXCSR, 4);
    uint64_t start = case_rip(test);
    bool zeroed = false;
    l.flags = test->undefined[test->count];
    for (unsigned i = 0; i < test->count; i++) {
        struct insn insn = case_insn(test, i, features);
        /* The width in which RET releases parameters, when it changes between 64-bit code and
         * other. */
        l.rsp |= insn.op == OP_RET_FAR && insn.noperands &&
                 (host->selector[SEG_CS] == USER_SELECTOR_CODE64) != (test->bits == 64);
        /* Registers that became zero may count as in use. */
        zeroed |= insn.op == OP_VZEROALL;
        l.memory |= zeroed && (insn.op == OP_XSAVE || insn.op == OP_XSAVEOPT);
        if (host->vector >= 0 && host->rip == start + test->at[i]) {
            /* The one that faulted may have changed its undefined flags before. */
            l.flags = test->undefined[i] | isa_rows[insn.row].flags_undefined;
            /* AMD processors enter MMX state before the fault. */
            l.x87 |= (insn.op >= OP_CVTPI2PS && insn.op <= OP_CVTPD2PI) || insn.op == OP_MASKMOVQ ||
                     insn.op == OP_CVTTPD2PI;
            /* Which byte of an image is touched first is nobody's business. */
            /* A mask of zeros: whether the address is looked at is up to the processor. */
            l.all |=
                (insn.op == OP_MASKMOVQ || insn.op == OP_MASKMOVDQU || insn.op == OP_VMASKMOVDQU) &&
                ours->rip != host->rip;
            l.all |= either_may_come_first(test, &insn, host, ours);
            l.all |= alignment_may_differ(&insn, host, ours);
            /* Elements behind the end of the segment that the mask leaves out. */
            l.all |= insn.op >= OP_VMASKMOVPS && insn.op <= OP_VPMASKMOVQ && test->bits != 64 &&
                     host->rip == ours->rip;
            /* A gather that is traced or faults may do so after any element. */
            l.all |= isa_rows[insn.row].attributes & ISA_VSIB && host->vector == EXC_DB;
            /* What cannot be compared was not overwritten yet. */
            l.all |= i && test->group[i] && test->group[i] == test->group[i - 1];
            /* AMD processors push before they compare the target with the limit. */
            l.memory |= insn.op == OP_CALL_FAR;
            /* Whether the target or SS is looked at first, and which item of the frame. */
            l.all |= insn.op == OP_IRET && test->bits == 64 && host->rip == ours->rip &&
                     is_selector_fault(host->vector) && is_selector_fault(ours->vector);
            /* Whether both words are within SS, before the first is looked for. */
            l.all |= insn.op == OP_RET_FAR && host->rip == ours->rip && host->vector == EXC_SS &&
                     ours->vector == EXC_PF;
            l.all |= insn.op == OP_CALL_FAR && test->bits == 64 && host->vector == EXC_PF;
            l.cr2 |= insn.op == OP_IRET || insn.op == OP_RET_FAR ||
                     (insn.op == OP_CALL_FAR && test->bits != 64);
            if (insn.op == OP_CMPS || insn.op == OP_SCAS)
                l.flags = FLAG_ARITH; /* of the elements before, or as at first */
            l.cr2 |= is_image(&insn);
            /* AMD processors pop registers until the fault. */
            l.all |= insn.op == OP_POPA && ours->rip == host->rip;
        }
        /* AMD processors load the operands of SHA from any address. */
        l.all |= isa_rows[insn.row].feature == FEATURE_SHA && ours->vector == EXC_GP &&
                 ours->rip == start + test->at[i];
        /* From compatibility mode to 64-bit mode AMD processors push as in 64-bit mode. */
        l.all |= insn.op == OP_CALL_FAR && test->bits != 64 && host->rip != ours->rip &&
                 (host->rip == start + test->at[i] || ours->rip == start + test->at[i]);
        /* AMD processors have another MXCSR bit. */
        l.all |=
            host_mxcsr & 1 << 17 || ((insn.op == OP_LDMXCSR || insn.op == OP_VLDMXCSR) &&
                                     ours->vector == EXC_GP && ours->rip == start + test->at[i]);
    }
    /* Code of another size that got there by chance: the case was not made for it. */
    bool elsewhere = host->vector >= 0 && host->selector[SEG_CS] != case_selector(test) &&
                     ((host->rip - start) & (USER_PAGE - 1)) < test->length;
    l.all |= elsewhere;
    return l;
}

bool case_differs(const struct test_case *test, const uint64_t *features,
                  const struct image *host_image, const struct user_state *ours,
                  const uint8_t *our_data, bool vectors, FILE *out)
{
    const struct user_state *host = &host_image->state;
    static const char names[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char segments[6][3] = {"es", "cs", "ss", "ds", "fs", "gs"};
    struct lenience l = lenience(test, features, host, ours);
    uint64_t width = test->bits == 64 ? UINT64_MAX : UINT32_MAX;
    uint64_t flags = (FLAG_ARITH & ~l.flags) | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;
    bool different = false;
    if (l.all)
        return false;
    different |= differs("vector", (uint64_t)host->vector, (uint64_t)ours->vector, out);
    different |= differs("rip", host->rip & width, ours->rip & width, out);
    if (host->vector == ours->vector && host->vector >= 0) {
        /* The host's kernel hides what it knows of its own half of the address space. */
        bool wild = host->vector == EXC_PF && host->cr2 - USER_BASE >= 0x10000;
        uint64_t error_mask = wild ? ~1ull : ~0ull; /* the host has more pages than the guest */
        if (!(host->vector == EXC_PF && host->cr2 >> 63))
            different |= differs("error", host->error & error_mask, ours->error & error_mask, out);
        if (!l.cr2)
            different |= differs("cr2", host->cr2, ours->cr2, out);
    }
    for (unsigned i = 0; i < (test->bits == 64 ? 16 : 8); i++)
        if (i != RSP || !l.rsp)
            different |= differs(names[i], host->gpr[i] & width, ours->gpr[i] & width, out);
    different |= differs("eflags", host->eflags & flags, ours->eflags & flags, out);
    if (!l.x87)
        different |= x87_differs(host->fx, ours->fx, out);
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
    return different | (!l.memory && memory_differs(host_image->data, our_data, out));
}
