/*
 * Prints a decoded instruction. Mnemonics come from isa.def with the suffix after `_` removed; the
 * few whose spelling depends on operand size or condition are in tables here.
 */
#include "cpu/disasm.h"
#include "cpu/isa.h"
#include "cpu/state.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct text {
    char *next;
    size_t left;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(out->next, out->left, format, args);
    va_end(args);
    size_t used = length < 0 ? 0 : (size_t)length;
    if (used >= out->left)
        used = out->left - 1;
    out->next += used;
    out->left -= used;
}

/* -- Names -- */

static const char *const conditions[16] = {"o", "no", "b", "ae", "e", "ne", "be", "a",
                                           "s", "ns", "p", "np", "l", "ge", "le", "g"};

static const char *const segment_names[6] = {"es", "cs", "ss", "ds", "fs", "gs"};

static void put_gpr(struct text *out, unsigned reg, unsigned size, bool high)
{
    static const char names[8][3] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    if (high)
        put(out, "%ch", "acdb"[reg & 3]);
    else if (reg >= 8)
        put(out, "r%u%s", reg, size == 8 ? "" : size == 4 ? "d" : size == 2 ? "w" : "b");
    else if (size == 1)
        put(out, reg < 4 ? "%cl" : "%c%cl", names[reg][0], names[reg][1]);
    else
        put(out, "%s%s", size == 8 ? "r" : size == 4 ? "e" : "", names[reg]);
}

/* Mnemonics spelled by operand size: 2, 4, 8 bytes. */
static const struct {
    uint16_t op;
    const char *name[3];
} sized[] = {
    {OP_CBW, {"cbw", "cwde", "cdqe"}},
    {OP_CWD, {"cwd", "cdq", "cqo"}},
    {OP_IRET, {"iret", "iretd", "iretq"}},
    {OP_PUSHF, {"pushf", "pushfd", "pushfq"}},
    {OP_POPF, {"popf", "popfd", "popfq"}},
    {OP_PUSHA, {"pusha", "pushad", "pushad"}},
    {OP_POPA, {"popa", "popad", "popad"}},
    {OP_MOVD, {"movd", "movd", "movq"}},
    {OP_MOVD_MMX, {"movd", "movd", "movq"}},
    {OP_PEXTRD, {"pextrd", "pextrd", "pextrq"}},
    {OP_FXSAVE, {"fxsave", "fxsave", "fxsave64"}},
    {OP_FXRSTOR, {"fxrstor", "fxrstor", "fxrstor64"}},
    {OP_XSAVE, {"xsave", "xsave", "xsave64"}},
    {OP_XRSTOR, {"xrstor", "xrstor", "xrstor64"}},
    {OP_XSAVEOPT, {"xsaveopt", "xsaveopt", "xsaveopt64"}},
    {OP_SYSRET, {"sysret", "sysret", "sysretq"}},
    {OP_SYSEXIT, {"sysexit", "sysexit", "sysexitq"}},
    {OP_PINSRD, {"pinsrd", "pinsrd", "pinsrq"}},
    {OP_VMOVD, {"vmovd", "vmovd", "vmovq"}},
    {OP_VPEXTRD, {"vpextrd", "vpextrd", "vpextrq"}},
    {OP_VPINSRD, {"vpinsrd", "vpinsrd", "vpinsrq"}},
    {OP_XSAVEC, {"xsavec", "xsavec", "xsavec64"}},
    {OP_XSAVES, {"xsaves", "xsaves", "xsaves64"}},
    {OP_XRSTORS, {"xrstors", "xrstors", "xrstors64"}},
};

static void put_mnemonic(struct text *out, const struct insn *insn)
{
    const struct isa_row *row = &isa_rows[insn->row];
    bool quad = row->vex ? insn->prefixes & PREFIX_REX_W : insn->opsize == 8;
    unsigned width = quad ? 2 : insn->opsize == 4 ? 1 : 0;
    for (unsigned i = 0; i < sizeof sized / sizeof sized[0]; i++) {
        if (sized[i].op == insn->op) {
            put(out, "%s", sized[i].name[width]);
            return;
        }
    }
    switch (insn->op) {
    case OP_UD:
        put(out, "%s",
            insn->row == 0        ? "(undefined)"
            : row->opcode == 0x0b ? "ud2"
            : row->opcode == 0xb9 ? "ud1"
                                  : "ud0");
        return;
    case OP_TOO_LONG:
        put(out, "(more than 15 bytes)");
        return;
    case OP_JCC:
        put(out, "j%s", conditions[insn->cond]);
        return;
    case OP_SETCC:
        put(out, "set%s", conditions[insn->cond]);
        return;
    case OP_CMOVCC:
        put(out, "cmov%s", conditions[insn->cond]);
        return;
    case OP_JCXZ:
        put(out, "%s", insn->addrsize == 8 ? "jrcxz" : insn->addrsize == 4 ? "jecxz" : "jcxz");
        return;
    }
    const char *name = isa_op_names[insn->op];
    const char *suffix = strchr(name, '_');
    for (const char *p = name; *p && p != suffix; p++)
        put(out, "%c", tolower((unsigned char)*p));
    if (suffix && strcmp(suffix, "_FAR") == 0)
        put(out, insn->op == OP_RET_FAR ? "f" : " far");
    if (row->noperands && (row->operand[0].letter == 'X' || row->operand[0].letter == 'Y'))
        put(out, "%c", insn->opsize == 8 ? 'q' : "bwd"[insn->opsize >> 1]);
}

static void put_prefixes(struct text *out, const struct insn *insn)
{
    if (insn->prefixes & PREFIX_LOCK)
        put(out, "lock ");
    if (insn->prefixes & PREFIX_REPNE)
        put(out, "repne ");
    if (insn->prefixes & PREFIX_REP)
        put(out, isa_rows[insn->row].attributes & ISA_REPZ ? "repe " : "rep ");
}

/* -- Operands -- */

/* The vector of indices of a gather: as long as the longer one of the other two, but half of it if
 * the indices have half the size of the elements. */
static bool index_is_ymm(const struct insn *insn)
{
    return insn->opsize == 32 && insn->op != OP_VPGATHERDQ && insn->op != OP_VGATHERDPD;
}

static void put_address(struct text *out, const struct insn *insn, uint64_t rip)
{
    if (insn->prefixes & PREFIX_SEG)
        put(out, "%s:", segment_names[insn->seg]);
    put(out, "[");
    uint64_t mask = insn->addrsize == 8 ? UINT64_MAX : (1ull << insn->addrsize * 8) - 1;
    if (insn->base == REG_IP || (insn->base == REG_ZERO && insn->index == REG_ZERO)) {
        uint64_t base = insn->base == REG_IP ? rip + insn->length : 0;
        put(out, "0x%" PRIx64 "]", (base + (uint64_t)insn->disp) & mask);
        return;
    }
    if (insn->base != REG_ZERO)
        put_gpr(out, insn->base, insn->addrsize, false);
    if (insn->index != REG_ZERO) {
        put(out, "%s", insn->base != REG_ZERO ? " + " : "");
        if (isa_rows[insn->row].attributes & ISA_VSIB)
            put(out, "%cmm%u", "xy"[index_is_ymm(insn)], insn -> index);
        else
            put_gpr(out, insn->index, insn->addrsize, false);
        if (insn->scale)
            put(out, "*%u", 1u << insn->scale);
    }
    if (insn->disp < 0)
        put(out, " - 0x%" PRIx64, -(uint64_t)insn->disp);
    else if (insn->disp > 0)
        put(out, " + 0x%" PRIx64, (uint64_t)insn->disp);
    put(out, "]");
}

static void put_operand(struct text *out, const struct insn *insn, const struct operand *operand,
                        uint64_t rip)
{
    static const char *const pointers[] = {
        [1] = "byte",  [2] = "word",   [4] = "dword",    [6] = "fword",
        [8] = "qword", [10] = "tbyte", [16] = "xmmword", [32] = "ymmword"};
    unsigned size = operand->size;
    switch (operand->kind) {
    case OPERAND_GPR:
    case OPERAND_GPR_HIGH:
        put_gpr(out, operand->reg, size, operand->kind == OPERAND_GPR_HIGH);
        break;
    case OPERAND_MEM:
        if (size < sizeof pointers / sizeof pointers[0] && pointers[size])
            put(out, "%s ptr ", pointers[size]);
        put_address(out, insn, rip);
        break;
    case OPERAND_IMM: {
        unsigned bytes = size < insn->opsize ? insn->opsize : size;
        uint64_t mask = bytes >= 8 ? UINT64_MAX : (1ull << bytes * 8) - 1;
        put(out, "0x%" PRIx64, insn->imm & mask);
        break;
    }
    case OPERAND_REL: {
        uint64_t target = rip + insn->length + insn->imm;
        put(out, "0x%" PRIx64,
            insn->opsize == 8   ? target
            : insn->opsize == 4 ? (uint32_t)target
                                : (uint16_t)target);
        break;
    }
    case OPERAND_FAR:
        put(out, "0x%x:0x%" PRIx64, insn->imm2, insn->imm);
        break;
    case OPERAND_SEG:
        put(out, "%s", segment_names[operand->reg]);
        break;
    case OPERAND_CR:
        put(out, "cr%u", operand->reg);
        break;
    case OPERAND_DR:
        put(out, "dr%u", operand->reg);
        break;
    case OPERAND_MMX:
        put(out, "mm%u", operand->reg);
        break;
    case OPERAND_XMM:
        put(out, "%cmm%u", "xy"[size == 32], operand -> reg);
        break;
    case OPERAND_ST:
        put(out, "st(%u)", operand->reg);
        break;
    }
}

void disasm(const struct insn *insn, uint64_t rip, char *text, size_t size)
{
    struct text out = {text, size};
    if (size == 0)
        return;
    text[0] = 0;
    put_prefixes(&out, insn);
    put_mnemonic(&out, insn);
    for (unsigned i = 0; i < insn->noperands; i++) {
        put(&out, i ? ", " : " ");
        put_operand(&out, insn, &insn->operand[i], rip);
    }
    if (insn->op == OP_ENTER)
        put(&out, ", 0x%x", insn->imm2);
}
