/*
 * The decoder compared with Capstone over random byte strings (length, validity, mnemonic,
 * operands) in 16-bit, 32-bit and 64-bit code, and by hand where Capstone and processors differ.
 */
#include "cpu/decode.h"
#include "cpu/disasm.h"
#include "tests/cpu/generate.h"

#include <capstone/capstone.h>
#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RANDOM_STRINGS 400000
#define MAX_REPORTS    20

static const uint64_t all_features[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};

static struct decode_context context_of(int bits)
{
    struct decode_context context = {
        .code_size = (uint8_t)(bits / 8), .mode = MODE_PROTECTED, .features = all_features};
    return context;
}

/* -- Capstone: where it is wrong or follows another processor -- */

struct pair {
    int bits;
    const uint8_t *bytes;
    const struct insn *ours;
    const cs_insn *theirs; /* NULL: Capstone finds nothing */
};

static bool starts_with_any(const char *text, const char *const *prefixes)
{
    for (; *prefixes; prefixes++)
        if (strncmp(text, *prefixes, strlen(*prefixes)) == 0)
            return true;
    return false;
}

/* Instructions of extensions that doppel does not have (yet). */
static bool other_extension(const struct pair *p)
{
    static const char *const names[] = {
        "femms",   "pf",       "pi2f",    "pavgusb", "pswapd",  "pmulhrw", "vm",       "invept",
        "invvpid", "getsec",   "xabort",  "bl",      "t1mskc",  "kandn",   "vprot",    "vpcmov",
        "xbegin",  "xend",     "xtest",   "movntss", "movntsd", "extrq",   "vfrcz",    "vpcom",
        "insertq", "skinit",   "stgi",    "clgi",    "invlpga", "encl",    "xstore",   "xcrypt",
        "montmul", "xsha",     "rdpkru",  "wrpkru",  "llwpcb",  "slwpcb",  "vphadd",   "vphsub",
        "tzmsk",   "lwp",      "kand",    "kor",     "kxor",    "kmov",    "vpmac",    "vpmadcs",
        "knot",    "kunpck",   "kxnor",   "ktest",   "kshift",  "clzero",  "monitorx", "mwaitx",
        "rdsspd",  "rdsspq",   "pcommit", "data16",  "salc",    "ffreep",  "vpperm",   "vpsha",
        "vpshl",   "vpermil2", NULL};
    bool xop = p->theirs && p->bytes[0] == 0x8f;
    bool fma4 = p->theirs && strncmp(p->theirs->mnemonic, "vf", 2) == 0 && p->theirs->detail &&
                p->theirs->detail->x86.op_count == 4;
    bool evex = p->theirs && p->theirs->bytes[0] == 0x62;
    if (p->ours->op != OP_UD || !p->theirs)
        return false;
    return xop || fma4 || evex || starts_with_any(p->theirs->mnemonic, names);
}

/* UD0 and UD1 have a ModRM byte; Capstone knows only the opcode. UD0 was without in its time. */
static bool ud_has_modrm(const struct pair *p)
{
    return p->ours->op == OP_UD && p->ours->row != 0;
}

/* A prefix that no row of the opcode has is undefined for SSE and MMX; Capstone ignores it. */
static bool stray_mandatory_prefix(const struct pair *p)
{
    bool stray = false, escape = false;
    for (int i = 0; i < p->ours->length && !escape; i++) {
        stray |= p->bytes[i] == 0xf2 || p->bytes[i] == 0xf3 || p->bytes[i] == 0x66;
        escape = p->bytes[i] == 0x0f;
    }
    return p->ours->op == OP_UD && p->theirs && stray && escape;
}

/* No mandatory prefix, LOCK or REX may stand before VEX; Capstone ignores them. */
static bool prefix_before_vex(const struct pair *p)
{
    unsigned at = 0;
    while (at < 14 && memchr("\x26\x2e\x36\x3e\x64\x65\x67", p->bytes[at], 7))
        at++;
    return p->ours->op == OP_UD && p->theirs && p->bytes[at] != 0xc4 && p->bytes[at] != 0xc5 &&
           p->theirs->mnemonic[0] && (p->bytes[p->ours->length - 1] | 1) == 0xc5;
}

/* Rows that ask for a certain VEX.W, or a gather with an index; Capstone overlooks both. */
static bool reserved_vex(const struct pair *p)
{
    uint8_t bytes[16];
    struct insn insn;
    struct decode_context context = context_of(p->bits);
    const uint8_t *vex = memchr(p->bytes, 0xc4, 8);
    if (p->ours->op != OP_UD || !p->theirs || !vex)
        return false;
    memcpy(bytes, p->bytes, 16);
    bytes[vex - p->bytes + 2] ^= 0x80;
    decode(&context, bytes, 15, &insn);
    return insn.op != OP_UD || strstr(p->theirs->mnemonic, "gather");
}

/* LOCK with a register destination or an instruction that cannot lock is #UD. */
static bool lock_not_allowed(const struct pair *p)
{
    return p->ours->op == OP_UD && p->ours->prefixes & PREFIX_LOCK && p->theirs;
}

/* CR1, CR5-7, CR9-15, DR8-15 and loads of CS are #UD. */
static bool register_does_not_exist(const struct pair *p)
{
    return p->ours->op == OP_UD && p->theirs && strcmp(p->theirs->mnemonic, "mov") == 0;
}

/* GenuineIntel ignores 66 on near branches in 64-bit mode; Capstone decodes as AMD. */
static bool near_branch_66(const struct pair *p)
{
    return p->bits == 64 && p->ours->prefixes & PREFIX_OPSIZE &&
           isa_rows[p->ours->row].attributes & ISA_F64;
}

/* Segment register numbers ignore REX.R. */
static bool segment_rex(const struct pair *p)
{
    return p->ours->op == OP_MOV_SREG && p->ours->prefixes & PREFIX_REX && !p->theirs;
}

/* Reserved NOPs 0F 18-1F and 0F 0D exist in every form. */
static bool reserved_nop(const struct pair *p)
{
    return p->ours->op == OP_NOP || p->ours->op == OP_PREFETCH;
}

/* 66 F2 or 66 F3 before PUSH imm, CALL far and others with a z immediate: Capstone 4 forgets 66. */
static bool forgets_66(const struct pair *p)
{
    return p->ours->prefixes & PREFIX_OPSIZE &&
           (memchr(p->bytes, 0xf2, p->ours->length) || memchr(p->bytes, 0xf3, p->ours->length));
}

/* In 16-bit code Capstone misses or confuses rows with a mandatory prefix. */
static bool mandatory_prefix_16(const struct pair *p)
{
    const struct isa_row *row = &isa_rows[p->ours->row];
    return p->bits == 16 && row->map != MAP_PRIMARY && (!p->theirs || row->mandatory);
}

/* A mandatory prefix counts anywhere among the prefixes, F2 and F3 before 66. */
static bool prefix_not_adjacent(const struct pair *p)
{
    const struct isa_row *row = &isa_rows[p->ours->row];
    unsigned at = 0;
    while (p->bytes[at] != 0x0f && at < p->ours->length)
        at++;
    return row->mandatory && at > 1;
}

/* Capstone has the widths of 98 and 99 and, in 16-bit code, of 66-prefixed branches wrong. */
static bool width_forgotten(const struct pair *p)
{
    unsigned op = p->ours->op;
    return (p->ours->prefixes && (op == OP_CBW || op == OP_CWD)) ||
           (p->bits == 16 &&
            (op == OP_CBW || op == OP_CWD || isa_rows[p->ours->row].operand[0].letter == 'J'));
}

/* SWAPGS and, on Intel, SYSCALL and SYSRET exist in 64-bit mode only. */
static bool syscall_elsewhere(const struct pair *p)
{
    return p->bits != 64 && p->ours->op == OP_UD && p->theirs &&
           (strncmp(p->theirs->mnemonic, "sys", 3) == 0 ||
            strcmp(p->theirs->mnemonic, "swapgs") == 0);
}

/* In 16-bit and 32-bit code 67 changes no branch target; with REX.W it changes no mandatory prefix.
 */
static bool address_size_prefix(const struct pair *p)
{
    const struct isa_row *row = &isa_rows[p->ours->row];
    return p->ours->prefixes & PREFIX_ADDRSIZE &&
           (row->operand[0].letter == 'J' || p->ours->prefixes & PREFIX_REX_W);
}

/* With 66 and REX.W the operand size is 64 bits, for IN and OUT then 32. */
static bool port_rex_w(const struct pair *p)
{
    return isa_rows[p->ours->row].attributes & ISA_IO && p->ours->prefixes & PREFIX_REX_W;
}

/* REX.W wins over 66. */
static bool rex_w_and_66(const struct pair *p)
{
    return p->ours->prefixes & PREFIX_REX_W && memchr(p->bytes, 0x66, p->ours->length) &&
           isa_rows[p->ours->row].attributes & ISA_D64;
}

/* Capstone 4 knows RDSEED in its place, or nothing. */
static bool too_new(const struct pair *p)
{
    return p->ours->op == OP_RDPID || p->ours->op == OP_SERIALIZE;
}

/* 90 with REX.B exchanges R8, whatever prefixes there are. */
static bool xchg_r8(const struct pair *p)
{
    return p->ours->op == OP_XCHG && isa_rows[p->ours->row].opcode == 0x90;
}

/* A REX before a legacy prefix or another REX is void. */
static bool void_rex(const struct pair *p)
{
    unsigned at = 0;
    bool rex = false;
    for (; at < p->ours->length; at++) {
        bool now = (p->bytes[at] & 0xf0) == 0x40;
        bool legacy = memchr("\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3", p->bytes[at], 11);
        if (rex && (now || legacy))
            return p->bits == 64;
        if (!now && !legacy)
            break;
        rex |= now;
    }
    return false;
}

/* The fences ignore ModRM.rm. */
static bool fence_rm(const struct pair *p)
{
    return p->ours->op == OP_LFENCE || p->ours->op == OP_MFENCE || p->ours->op == OP_SFENCE;
}

static const struct {
    const char *name;
    bool (*applies)(const struct pair *p);
} capstone_differences[] = {
    {"other_extension", other_extension},
    {"ud_has_modrm", ud_has_modrm},
    {"stray_mandatory_prefix", stray_mandatory_prefix},
    {"prefix_before_vex", prefix_before_vex},
    {"reserved_vex", reserved_vex},
    {"lock_not_allowed", lock_not_allowed},
    {"register_does_not_exist", register_does_not_exist},
    {"near_branch_66", near_branch_66},
    {"segment_rex", segment_rex},
    {"reserved_nop", reserved_nop},
    {"forgets_66", forgets_66},
    {"mandatory_prefix_16", mandatory_prefix_16},
    {"fence_rm", fence_rm},
    {"prefix_not_adjacent", prefix_not_adjacent},
    {"width_forgotten", width_forgotten},
    {"syscall_elsewhere", syscall_elsewhere},
    {"void_rex", void_rex},
    {"xchg_r8", xchg_r8},
    {"too_new", too_new},
    {"rex_w_and_66", rex_w_and_66},
    {"address_size_prefix", address_size_prefix},
    {"port_rex_w", port_rex_w},
};

/* -- Comparison -- */

static const char *normal_mnemonic(const char *name)
{
    static const char *const aliases[][2] = {
        {"movq", "movd"},          {"ud2b", "ud1"},          {"fstpnce", "fstp"},
        {"fdisi8087_nop", "fnop"}, {"feni8087_nop", "fnop"}, {"fsetpm", "fnop"},
        {"retfq", "retf"},         {"sysretq", "sysret"},    {"sysexitq", "sysexit"},
        {"pushaw", "pusha"},       {"pushal", "pushad"},     {"popaw", "popa"},
        {"popal", "popad"},        {"sal", "shl"},           {"xlatb", "xlat"},
        {"movabs", "mov"},         {"fwait", "wait"},
    };
    for (unsigned i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (strcmp(name, aliases[i][0]) == 0)
            return aliases[i][1];
    return name;
}

static void report(const struct pair *p, const char *what)
{
    char text[DISASM_MAX];
    disasm(p->ours, 0x1000, text, sizeof text);
    printf("%d-bit ", p->bits);
    for (int i = 0; i < 15; i++)
        printf("%02x ", p->bytes[i]);
    printf("%s: ours %u \"%s\", Capstone %u \"%s %s\"\n", what, p->ours->length, text,
           p->theirs ? p->theirs->size : 0, p->theirs ? p->theirs->mnemonic : "",
           p->theirs ? p->theirs->op_str : "");
}

static bool excused(const struct pair *p)
{
    for (unsigned i = 0; i < sizeof capstone_differences / sizeof capstone_differences[0]; i++)
        if (capstone_differences[i].applies(p))
            return true;
    return false;
}

static const char *compare_memory(csh handle, const struct pair *p, const cs_x86_op *theirs)
{
    const struct insn *ours = p->ours;
    const char *names[2];
    static const char registers[3][17][5] = {
        {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8w", "r9w", "r10w", "r11w", "r12w",
         "r13w", "r14w", "r15w", ""},
        {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d",
         "r12d", "r13d", "r14d", "r15d", ""},
        {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
         "r13", "r14", "r15", ""},
    };
    unsigned size = ours->addrsize == 8 ? 2 : ours->addrsize == 4 ? 1 : 0;
    names[0] = ours->base == REG_IP ? size == 2 ? "rip" : "eip" : registers[size][ours->base];
    names[1] = registers[size][ours->index];
    char vector[8];
    if (isa_rows[ours->row].attributes & ISA_VSIB) {
        bool half = ours->op == OP_VPGATHERDQ || ours->op == OP_VGATHERDPD || ours->opsize == 16;
        snprintf(vector, sizeof vector, "%cmm%u", half ? 'x' : 'y', ours->index);
        names[1] = vector;
    }
    const char *base = theirs->mem.base ? cs_reg_name(handle, theirs->mem.base) : "";
    const char *index = theirs->mem.index ? cs_reg_name(handle, theirs->mem.index) : "";
    if (strcmp(index, "eiz") == 0 || strcmp(index, "riz") == 0)
        index = "";
    if (strcmp(base, names[0]) != 0)
        return "base";
    if (strcmp(index, names[1]) != 0)
        return "index";
    if (*index && theirs->mem.scale != 1 << ours->scale)
        return "scale";
    uint64_t mask = ours->addrsize == 8 ? UINT64_MAX : (1ull << ours->addrsize * 8) - 1;
    if (((uint64_t)theirs->mem.disp ^ (uint64_t)ours->disp) & mask)
        return "displacement";
    if (theirs->mem.segment) {
        static const x86_reg segments[] = {X86_REG_ES, X86_REG_CS, X86_REG_SS,
                                           X86_REG_DS, X86_REG_FS, X86_REG_GS};
        bool ignored =
            p->bits == 64 && theirs->mem.segment != X86_REG_FS && theirs->mem.segment != X86_REG_GS;
        if (theirs->mem.segment != segments[ours->seg] && !ignored)
            return "segment";
    }
    return NULL;
}

/* What differs in one operand, or NULL. */
static const char *compare_operand(csh handle, const struct pair *p, const struct operand *operand,
                                   const cs_x86_op *theirs)
{
    const struct insn *ours = p->ours;
    char text[DISASM_MAX];
    struct insn lone = *ours;
    switch (operand->kind) {
    case OPERAND_MEM:
        return theirs->type == X86_OP_MEM ? compare_memory(handle, p, theirs) : "operand kind";
    case OPERAND_IMM: {
        unsigned bytes = operand->size < ours->opsize ? ours->opsize : operand->size;
        if (ours->op == OP_RET || ours->op == OP_RET_FAR || ours->op == OP_ENTER ||
            operand->size == 1)
            bytes = operand->size;
        uint64_t mask = bytes == 8 ? UINT64_MAX : (1ull << bytes * 8) - 1;
        if (theirs->type != X86_OP_IMM)
            return "operand kind";
        return ((uint64_t)theirs->imm ^ ours->imm) & mask ? "immediate" : NULL;
    }
    case OPERAND_REL: {
        uint64_t target = 0x1000 + ours->length + ours->imm;
        uint64_t mask = ours->opsize == 8 ? UINT64_MAX : ours->opsize == 4 ? UINT32_MAX : 0xffff;
        if (theirs->type != X86_OP_IMM)
            return "operand kind";
        return ((uint64_t)theirs->imm ^ target) & mask ? "branch target" : NULL;
    }
    case OPERAND_FAR:
        return NULL; /* compared by the caller as two immediates */
    default:
        if (theirs->type != X86_OP_REG)
            return "operand kind";
        /* Print the operand alone, as the operand of a NOP. */
        lone.op = OP_NOP;
        lone.prefixes &= PREFIX_REX;
        lone.noperands = 1;
        lone.operand[0] = *operand;
        disasm(&lone, 0, text, sizeof text);
        const char *name = strchr(text, ' ') + 1;
        return strcmp(name, cs_reg_name(handle, theirs->reg)) == 0 ? NULL : "register";
    }
}

/* Operands of one kind of row that Capstone counts otherwise: implied registers, ST(0), widths. */
static bool operands_differ_by_convention(const struct insn *ours)
{
    const struct isa_row *row = &isa_rows[ours->row];
    switch (ours->op) {
    case OP_NOP:
    case OP_PREFETCH:
    case OP_XLAT:
    case OP_MOV_SREG: /* 16-bit memory named by operand size */
    case OP_SLDT:
    case OP_STR:
    case OP_SMSW:
    case OP_LAR:
    case OP_LSL:
    case OP_MOVSXD:
    case OP_FNSTSW:
    case OP_PBLENDVB: /* XMM0 is listed */
    case OP_BLENDVPS:
    case OP_BLENDVPD:
    case OP_ENTER:
    case OP_XCHG: /* order */
    case OP_TEST:
    case OP_PEXTRB:
    case OP_PEXTRW:
    case OP_EXTRACTPS:
    case OP_PINSRB:
    case OP_PINSRW:
    case OP_PINSRW_MMX:
    case OP_PEXTRW_MMX:
    case OP_CRC32:
    case OP_INVPCID:
    case OP_BOUND:
    case OP_AAM: /* not listed if 10 */
    case OP_AAD:
    case OP_CMPPS: /* predicate in the mnemonic */
    case OP_CMPPD:
    case OP_CMPSS:
    case OP_CMPSD_SSE:
    case OP_PMOVMSKB:
    case OP_MOVMSKPS:
    case OP_MOVMSKPD:
    case OP_PMOVMSKB_MMX:
    case OP_VPEXTRB:
    case OP_VPEXTRW:
    case OP_VEXTRACTPS:
    case OP_VPINSRB:
    case OP_VPINSRW:
    case OP_VPMOVMSKB:
    case OP_VMOVMSKPS:
    case OP_VMOVMSKPD:
        return true;
    }
    /* Strings: implied memory operands; x87: ST(0) is sometimes listed; moffs: no base. */
    return row->opcode >= 0xd8 && row->opcode <= 0xdf && row->map == MAP_PRIMARY
               ? true
               : row->noperands != ours->noperands;
}

static const char *compare_operands(csh handle, const struct pair *p)
{
    const struct insn *ours = p->ours;
    const cs_x86 *x86 = &p->theirs->detail->x86;
    if (operands_differ_by_convention(ours)) {
        /* The memory operand at least must be the same. */
        for (unsigned i = 0; i < ours->noperands; i++)
            for (unsigned j = 0; j < x86->op_count; j++)
                if (ours->operand[i].kind == OPERAND_MEM && x86->operands[j].type == X86_OP_MEM)
                    return compare_memory(handle, p, &x86->operands[j]);
        return NULL;
    }
    if (ours->noperands == 1 && ours->operand[0].kind == OPERAND_FAR)
        return x86->op_count == 2 && x86->operands[0].imm == ours->imm2 &&
                       (uint64_t)x86->operands[1].imm == ours->imm
                   ? NULL
                   : "far pointer";
    bool predicate =
        ours->op >= OP_VCMPPS && ours->op <= OP_VCMPSD_SSE; /* part of the mnemonic there */
    if (x86->op_count != ours->noperands - (predicate && ours->imm < 32))
        return "number of operands";
    for (unsigned i = 0; i < x86->op_count; i++) {
        const char *what = compare_operand(handle, p, &ours->operand[i], &x86->operands[i]);
        if (what)
            return what;
    }
    return NULL;
}

static const char *compare_mnemonics(const struct insn *ours, const cs_insn *theirs)
{
    char text[DISASM_MAX];
    struct insn lone = *ours;
    lone.prefixes &= PREFIX_REX | PREFIX_REX_W;
    lone.noperands = 0;
    disasm(&lone, 0, text, sizeof text);
    text[strcspn(text, " ,")] = 0;
    if (ours->op == OP_JMP_FAR || ours->op == OP_CALL_FAR)
        snprintf(text, sizeof text, "%s", ours->op == OP_JMP_FAR ? "ljmp" : "lcall");
    if (text[0] == 'c' && strncmp(text, "cmp", 3) == 0 && ours->opsize && ours->noperands == 3)
        return strncmp(theirs->mnemonic, "cmp", 3) == 0 ? NULL
                                                        : "mnemonic"; /* CMPNEQPS and so on */
    if (strncmp(text, "vcmp", 4) == 0)
        return strncmp(theirs->mnemonic, "vcmp", 4) == 0 ? NULL : "mnemonic";
    const char *name = strrchr(theirs->mnemonic, ' ');
    name = name ? name + 1 : theirs->mnemonic;
    return strcmp(normal_mnemonic(text), normal_mnemonic(name)) == 0 ? NULL : "mnemonic";
}

/* What differs, or NULL. */
static const char *compare(csh handle, const struct pair *p)
{
    bool valid = p->ours->op != OP_TOO_LONG && !(p->ours->op == OP_UD && p->ours->row == 0);
    if (valid != (p->theirs != NULL))
        return "validity";
    if (!valid)
        return NULL;
    if (p->ours->length != p->theirs->size)
        return "length";
    const char *what = compare_mnemonics(p->ours, p->theirs);
    return what ? what : compare_operands(handle, p);
}

static uint64_t random_state;

static uint64_t random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Random bytes, biased to prefixes and escapes. */
static void random_bytes(uint8_t bytes[16])
{
    static const uint8_t starts[16] = {0x66, 0xf2, 0xf3, 0x67, 0x48, 0x41, 0x0f, 0x0f,
                                       0x0f, 0xc4, 0x2e, 0x65, 0xf0, 0x4c, 0xc5, 0x66};
    uint64_t random[2] = {random64(), random64()};
    memcpy(bytes, random, 16);
    uint64_t choice = random64();
    unsigned at = 0;
    while (at < 4 && choice & 1) {
        bytes[at++] = starts[choice >> 1 & 15];
        choice >>= 5;
    }
    if (at && bytes[at - 1] == 0x0f && choice & 2)
        bytes[at] = choice & 4 ? 0x38 : 0x3a;
}

static unsigned compare_one(csh handle, cs_insn *theirs, int bits, const uint8_t bytes[16])
{
    struct decode_context context = context_of(bits);
    struct insn ours;
    const uint8_t *code = bytes;
    size_t size = 15;
    uint64_t address = 0x1000;
    int length = decode(&context, bytes, 15, &ours);
    ck_assert_int_gt(length, 0);
    ck_assert_int_le(length, 15);
    ck_assert_ptr_nonnull((void *)ours.exec);
    /* With fewer bytes it must ask for more and not guess. */
    struct insn shorter;
    ck_assert_int_eq(decode(&context, bytes, (size_t)length - 1, &shorter), 0);
    bool found = cs_disasm_iter(handle, &code, &size, &address, theirs);
    struct pair pair = {bits, bytes, &ours, found ? theirs : NULL};
    const char *what = compare(handle, &pair);
    if (!what || excused(&pair))
        return 0;
    report(&pair, what);
    return 1;
}

static void compare_bits(int bits)
{
    csh handle;
    cs_mode mode = bits == 64 ? CS_MODE_64 : bits == 32 ? CS_MODE_32 : CS_MODE_16;
    ck_assert_int_eq(cs_open(CS_ARCH_X86, mode, &handle), CS_ERR_OK);
    cs_option(handle, CS_OPT_DETAIL, CS_OPT_ON);
    cs_insn *theirs = cs_malloc(handle);
    const char *count_text = getenv("DECODE_COUNT"), *seed_text = getenv("DECODE_SEED");
    long count = count_text ? atol(count_text) : RANDOM_STRINGS;
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 1;
    random_state = (seed + (uint64_t)bits) * 0x9e3779b97f4a7c15;
    unsigned differences = 0;
    uint8_t bytes[16];
    for (long i = 0; i < count && differences < MAX_REPORTS; i++) {
        random_bytes(bytes);
        differences += compare_one(handle, theirs, bits, bytes);
    }
    /* Every row of the table in many forms. */
    struct generator generator = {.bits = bits, .features = all_features, .seed = seed};
    struct decode_context context = context_of(bits);
    for (unsigned row = 2; row < isa_row_count && differences < MAX_REPORTS; row++) {
        for (unsigned i = 0; i < 100 && differences < MAX_REPORTS; i++) {
            memset(bytes, 0x90, sizeof bytes);
            int length = isa_encode_row(&generator, row, bytes);
            if (length == 0)
                break;
            struct insn insn;
            ck_assert_int_eq(decode(&context, bytes, (size_t)length, &insn), length);
            if (insn.row != row) {
                struct pair pair = {bits, bytes, &insn, NULL};
                report(&pair, isa_rows[row].encoding);
            }
            ck_assert_uint_eq(insn.row, row);
            differences += compare_one(handle, theirs, bits, bytes);
        }
    }
    cs_free(theirs, 1);
    cs_close(&handle);
    ck_assert_msg(differences == 0, "%u differences from Capstone (seed %llu)", differences,
                  (unsigned long long)seed);
}

START_TEST(test_capstone_16)
{
    compare_bits(16);
}
END_TEST

START_TEST(test_capstone_32)
{
    compare_bits(32);
}
END_TEST

START_TEST(test_capstone_64)
{
    compare_bits(64);
}
END_TEST

/* -- By hand: checked on processors -- */

static const struct {
    int bits;
    const char *bytes;
    const char *text;
    int length;
} cases[] = {
    {64, "48 66 01 c8", "add ax, cx", 4},                  /* REX before a legacy prefix is void */
    {64, "66 48 01 c8", "add rax, rcx", 4},                /* REX.W before 66 */
    {64, "48 41 01 c8", "add r8d, ecx", 4},                /* the last REX counts */
    {64, "2e 8b 45 00", "mov eax, dword ptr [rbp]", 4},    /* CS: ignored */
    {64, "64 3e 8b 00", "mov eax, dword ptr fs:[rax]", 4}, /* DS: does not undo FS: */
    {64, "64 65 8b 00", "mov eax, dword ptr gs:[rax]", 4}, /* the last one counts */
    {32, "64 3e 8b 00", "mov eax, dword ptr ds:[eax]", 4},
    {64, "67 8b 05 10 00 00 00", "mov eax, dword ptr [0x1017]", 7},
    {64, "8b 05 f0 ff ff ff", "mov eax, dword ptr [0xff6]", 6},
    {64, "8b 04 25 00 00 00 80", "mov eax, dword ptr [0xffffffff80000000]", 7},
    {64, "8b 04 e5 10 00 00 00", "mov eax, dword ptr [0x10]", 7}, /* scale without index */
    {64, "42 8b 04 e5 10 00 00 00", "mov eax, dword ptr [r12*8 + 0x10]", 8},
    {64, "41 8b 45 00", "mov eax, dword ptr [r13]", 4},
    {64, "41 8b 04 24", "mov eax, dword ptr [r12]", 4},
    {64, "40 88 e0", "mov al, spl", 3},
    {64, "88 e0", "mov al, ah", 2},
    {64, "a1 88 77 66 55 44 33 22 11", "mov eax, dword ptr [0x1122334455667788]", 9},
    {64, "67 a1 44 33 22 11", "mov eax, dword ptr [0x11223344]", 6},
    {64, "48 b8 88 77 66 55 44 33 22 11", "mov rax, 0x1122334455667788", 10},
    {64, "66 e9 00 00 00 00", "jmp 0x1006", 6}, /* Intel: 66 does not count on near branches */
    {64, "66 c3", "ret", 2},
    {64, "66 68 34 12", "push 0x1234", 4},
    {64, "68 00 00 00 80", "push 0xffffffff80000000", 5},
    {64, "66 50", "push ax", 2},
    {64, "50", "push rax", 1},
    {64, "90", "nop", 1},
    {64, "41 90", "xchg r8d, eax", 2},
    {64, "48 90", "nop", 2},
    {64, "f3 90", "pause", 2},
    {64, "f3 41 90", "xchg r8d, eax", 3},
    {64, "f3 0f 1e fa", "nop edx", 4},
    {64, "63 c1", "movsxd eax, ecx", 2},
    {64, "66 63 c1", "movsxd ax, cx", 3},
    {64, "48 63 c1", "movsxd rax, ecx", 3},
    {64, "48 0f c7 08", "cmpxchg16b xmmword ptr [rax]", 4},
    {64, "0f c7 08", "cmpxchg8b qword ptr [rax]", 3},
    {64, "66 f2 0f 38 f1 c1", "crc32 eax, cx", 6},
    {64, "f2 48 0f 38 f0 c1", "crc32 rax, cl", 6},
    {64, "66 f3 0f b8 c1", "popcnt ax, cx", 5},
    {64, "66 f2 0f 58 c1", "addsd xmm0, xmm1", 5}, /* F2 wins over 66 */
    {64, "f2 f3 0f 58 c1", "addss xmm0, xmm1", 5}, /* the last of F2 and F3 */
    {64, "f2 0f fc c1", "(undefined)", 4},
    {64, "66 0f 38 f0 00", "movbe ax, word ptr [rax]", 5},
    {64, "f3 0f 38 f0 00", "(undefined)", 5},
    {64, "0f 22 00", "mov cr0, rax", 3}, /* mod is ignored */
    {64, "44 0f 20 c0", "mov rax, cr8", 4},
    {64, "0f 20 c8", "(undefined)", 3},
    {64, "44 8c c0", "mov eax, es", 3},
    {64, "8e c8", "(undefined)", 2},
    {64, "8c f0", "(undefined)", 2},
    {64, "82 c0 01", "(undefined)", 2},
    {32, "82 c0 01", "add al, 0x1", 3},
    {64, "d6", "(undefined)", 1},
    {32, "d6", "salc", 1},
    {32, "c4 00", "les eax, fword ptr [eax]", 2},
    {64, "c5 fd fe ca", "vpaddd ymm1, ymm0, ymm2", 4},
    {64, "c5 f9 fe ca", "vpaddd xmm1, xmm0, xmm2", 4},
    {64, "c4 41 05 58 0c 24", "vaddpd ymm9, ymm15, ymmword ptr [r12]", 6},
    {64, "c4 e3 7d 39 c1 01", "vextracti128 xmm1, ymm0, 0x1", 6},
    {64, "c4 e3 69 4a cb 4f", "vblendvps xmm1, xmm2, xmm3, xmm4", 6},
    {64, "c4 e2 f5 90 04 08", "(undefined)", 6}, /* a register twice */
    {64, "c4 e2 ed 90 00", "(undefined)", 5},    /* no index */
    {64, "c4 e2 ed 90 04 88", "vpgatherdq ymm0, qword ptr [rax + xmm1*4], ymm2", 6},
    {64, "c4 e2 ed 91 04 20", "vpgatherqq ymm0, qword ptr [rax + ymm4], ymm2", 6},
    {64, "c4 e2 fb f6 c8", "mulx rcx, rax, rax", 5},
    {64, "c4 e2 f8 f3 c8", "blsr rax, rax", 5},
    {32, "c4 e2 f8 f3 c8", "blsr eax, eax", 5}, /* W is ignored */
    {64, "c4 e2 fc f3 c8", "(undefined)", 5},   /* L must be 0 */
    {64, "c5 f8 77", "vzeroupper", 3},
    {64, "c5 fc 77", "vzeroall", 3},
    {64, "c5 f0 77", "(undefined)", 3},       /* vvvv must be all ones */
    {64, "c5 f1 6f c1", "(undefined)", 4},    /* likewise */
    {64, "c4 e2 75 18 c0", "(undefined)", 5}, /* likewise */
    {64, "66 c5 f8 77", "(undefined)", 2},
    {64, "f3 c5 f8 77", "(undefined)", 2},
    {64, "f0 c5 f8 77", "lock (undefined)", 2},
    {64, "40 c5 f8 77", "(undefined)", 2},
    {64, "c4 e0 78 77 00", "(undefined)", 3}, /* no such map */
    {64, "c5 fd 50 c1", "vmovmskpd eax, ymm1", 4},
    {64, "c5 fd 2e c1", "vucomisd xmm0, xmm1", 4}, /* L is ignored */
    {32, "c5 07", "lds eax, fword ptr [edi]", 2},
    {32, "c5 f9 fe ca", "vpaddd xmm1, xmm0, xmm2", 4},
    {16, "c5 f9 fe ca", "vpaddd xmm1, xmm0, xmm2", 4},
    {64, "66 0f 38 f6 c1", "adcx eax, ecx", 5},
    {64, "f3 48 0f 38 f6 c1", "adox rax, rcx", 6},
    {32, "62 c0", "(undefined)", 2},
    {64, "d0 f0", "shl al, 0x1", 2},
    {64, "f6 c8 01", "test al, 0x1", 3},
    {64, "df c0", "ffreep st(0)", 2},
    {64, "d9 d1", "(undefined)", 2},
    {64, "0f ae e9", "lfence", 3},
    {64, "66 0f ae e8", "(undefined)", 4},
    {64, "f0 01 00", "lock add dword ptr [rax], eax", 3},
    {64, "f0 01 c0", "lock (undefined)", 3},
    {64, "f0 03 00", "lock (undefined)", 3},
    {64, "f0 87 00", "lock xchg dword ptr [rax], eax", 3},
    {64, "c8 34 12 05", "enter 0x1234, 0x5", 4},
    {32, "9a 44 33 22 11 66 55", "call far 0x5566:0x11223344", 7},
    {16, "9a 22 11 66 55", "call far 0x5566:0x1122", 5},
    {16, "8b 42 10", "mov ax, word ptr [bp + si + 0x10]", 3},
    {16, "8b 06 34 12", "mov ax, word ptr [0x1234]", 4},
    {16, "8b 46 00", "mov ax, word ptr [bp]", 3},
    {16, "67 66 8b 44 24 04", "mov eax, dword ptr [esp + 0x4]", 6},
    {16, "66 0f 6f c1", "movdqa xmm0, xmm1", 4},
    {32, "67 e3 00", "jcxz 0x1003", 3},
    {64, "67 e3 00", "jecxz 0x1003", 3},
    {64, "f2 a4", "rep movsb", 2},
    {64, "f2 a6", "repne cmpsb", 2},
    {64, "48 a5", "movsq", 2},
    {64, "48 ed", "in eax, dx", 2},
    {64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", "nop", 15},
    {64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", "(more than 15 bytes)", 15},
    {64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 01 c0", "(more than 15 bytes)", 15},
};

static size_t read_bytes(const char *text, uint8_t bytes[32])
{
    size_t count = 0;
    char *end;
    for (const char *p = text; *p; p = end)
        bytes[count++] = (uint8_t)strtoul(p, &end, 16);
    return count;
}

START_TEST(test_cases)
{
    uint8_t bytes[32];
    size_t count = read_bytes(cases[_i].bytes, bytes);
    struct decode_context context = context_of(cases[_i].bits);
    struct insn insn;
    char text[DISASM_MAX];
    int length = decode(&context, bytes, count, &insn);
    ck_assert_int_eq(length, cases[_i].length);
    disasm(&insn, 0x1000, text, sizeof text);
    ck_assert_str_eq(text, cases[_i].text);
}
END_TEST

/* Default segments and the override. */
START_TEST(test_segments)
{
    static const struct {
        int bits;
        const char *bytes;
        unsigned seg;
    } forms[] = {
        {32, "8b 00", SEG_DS},
        {32, "8b 45 00", SEG_SS},
        {32, "8b 04 24", SEG_SS},
        {32, "8b 04 05 00 00 00 00", SEG_DS},
        {32, "8b 04 28", SEG_DS},
        {32, "8b 44 05 00", SEG_SS},
        {16, "8b 02", SEG_SS},
        {16, "8b 06 00 00", SEG_DS},
        {16, "26 8b 02", SEG_ES},
        {64, "65 8b 45 00", SEG_GS},
        {64, "26 8b 00", SEG_DS},
        {64, "41 8b 45 00", SEG_DS},
        {32, "a4", SEG_DS},
        {32, "2e a4", SEG_CS},
        {32, "a1 00 00 00 00", SEG_DS},
    };
    for (unsigned i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        uint8_t bytes[32];
        size_t count = read_bytes(forms[i].bytes, bytes);
        struct decode_context context = context_of(forms[i].bits);
        struct insn insn;
        ck_assert_int_eq(decode(&context, bytes, count, &insn), (int)count);
        ck_assert_uint_eq(insn.seg, forms[i].seg);
    }
}
END_TEST

/* Without a feature its instructions are undefined, or what the older processor made of them. */
START_TEST(test_features)
{
    static const uint8_t tzcnt[] = {0xf3, 0x0f, 0xbc, 0xc1}, addps[] = {0x0f, 0x58, 0xc1};
    uint64_t features[4];
    memcpy(features, all_features, sizeof features);
    struct decode_context context = {.code_size = 8, .mode = MODE_PROTECTED, .features = features};
    struct insn insn;
    decode(&context, tzcnt, sizeof tzcnt, &insn);
    ck_assert_uint_eq(insn.op, OP_TZCNT);
    feature_set(features, FEATURE_BMI1, false);
    decode(&context, tzcnt, sizeof tzcnt, &insn);
    ck_assert_uint_eq(insn.op, OP_BSF);
    feature_set(features, FEATURE_SSE, false);
    ck_assert_int_eq(decode(&context, addps, sizeof addps, &insn), 3);
    ck_assert_uint_eq(insn.op, OP_UD);
}
END_TEST

/* Real and virtual-8086 mode do not have the instructions of protection. */
START_TEST(test_real_mode)
{
    static const uint8_t sldt[] = {0x0f, 0x00, 0xc0}, arpl[] = {0x63, 0xc0},
                         sgdt[] = {0x0f, 0x01, 0x00}, vzeroupper[] = {0xc5, 0xf8, 0x77};
    struct decode_context context = {.code_size = 2, .mode = 0, .features = all_features};
    struct insn insn;
    decode(&context, sldt, sizeof sldt, &insn);
    ck_assert_uint_eq(insn.op, OP_UD);
    decode(&context, arpl, sizeof arpl, &insn);
    ck_assert_uint_eq(insn.op, OP_UD);
    decode(&context, sgdt, sizeof sgdt, &insn);
    ck_assert_uint_eq(insn.op, OP_SGDT);
    decode(&context, vzeroupper, sizeof vzeroupper, &insn); /* LDS of a register */
    ck_assert_uint_eq(insn.op, OP_UD);
}
END_TEST

START_TEST(test_every_op_has_a_row)
{
    bool seen[OP_COUNT] = {false};
    for (unsigned i = 0; i < isa_row_count; i++)
        seen[isa_rows[i].op] = true;
    for (unsigned op = 0; op < OP_COUNT; op++)
        ck_assert_msg(seen[op], "%s has no row in isa.def", isa_op_names[op]);
}
END_TEST

static Suite *decode_suite(void)
{
    Suite *suite = suite_create("decode");
    TCase *hand = tcase_create("by hand");
    tcase_add_loop_test(hand, test_cases, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(hand, test_segments);
    tcase_add_test(hand, test_features);
    tcase_add_test(hand, test_real_mode);
    tcase_add_test(hand, test_every_op_has_a_row);
    suite_add_tcase(suite, hand);
    TCase *capstone = tcase_create("Capstone");
    tcase_set_timeout(capstone, 120);
    tcase_add_test(capstone, test_capstone_16);
    tcase_add_test(capstone, test_capstone_32);
    tcase_add_test(capstone, test_capstone_64);
    suite_add_tcase(suite, capstone);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(decode_suite());
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
