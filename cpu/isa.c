/*
 * Reads the text of isa.def into struct isa_row once, before main(). The text is ours, so a row
 * that cannot be read is a programming error.
 */
#include "cpu/isa.h"
#include "cpu/state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct isa_row rows[] = {
#define INSN(encoding_, mnemonic_, operands_, feature_, flags_, attributes_)                       \
    {.encoding = encoding_,                                                                        \
     .operands = operands_,                                                                        \
     .flags = flags_,                                                                              \
     .attributes_text = attributes_,                                                               \
     .op = OP_##mnemonic_,                                                                         \
     .feature = FEATURE_##feature_},
#include "cpu/isa.def"
#undef INSN
};

const struct isa_row *const isa_rows = rows;
const unsigned isa_row_count = sizeof rows / sizeof rows[0];

const char *const isa_op_names[OP_COUNT] = {
#define OP(name) [OP_##name] = #name,
#include "cpu/isa_ops.def"
#undef OP
};

uint32_t isa_cond_flags(unsigned cond)
{
    static const uint32_t flags[8] = {
        FLAG_OF, FLAG_CF, FLAG_ZF,           FLAG_CF | FLAG_ZF,
        FLAG_SF, FLAG_PF, FLAG_SF | FLAG_OF, FLAG_SF | FLAG_OF | FLAG_ZF};
    return flags[cond >> 1 & 7];
}

static _Noreturn void bad_row(const struct isa_row *row, const char *what)
{
    fprintf(stderr, "isa.def row %u, \"%s\" %s \"%s\": bad %s\n", (unsigned)(row - rows),
            row->encoding, isa_op_names[row->op], row->operands, what);
    abort();
}

/* The next word of *text, copied into `word`; false at the end. */
static bool next_word(const char **text, const char *separators, char word[24])
{
    const char *start = *text + strspn(*text, separators);
    size_t length = strcspn(start, separators);
    if (length == 0)
        return false;
    assert(length < 24);
    memcpy(word, start, length);
    word[length] = 0;
    *text = start + length;
    return true;
}

static void read_attributes(struct isa_row *row)
{
    static const char names[][10] = {"LOCK", "PRIV",   "IOPL",      "IO",    "UMIP", "PROT",
                                     "I64",  "O64",    "D64",       "F64",   "END",  "REP",
                                     "REPZ", "ANYMOD", "UNALIGNED", "AVX2Y", "VSIB"};
    const char *text = row->attributes_text;
    char word[24];
    while (next_word(&text, " ", word)) {
        unsigned i = 0;
        while (i < sizeof names / sizeof names[0] && strcmp(word, names[i]) != 0)
            i++;
        if (i == sizeof names / sizeof names[0])
            bad_row(row, "attribute");
        row->attributes |= 1u << i;
    }
}

static void read_flags(struct isa_row *row)
{
    static const char letters[] = "oszapc";
    static const uint32_t bits[] = {FLAG_OF, FLAG_SF, FLAG_ZF, FLAG_AF, FLAG_PF, FLAG_CF};
    uint32_t *sets[] = {&row->flags_read, &row->flags_written, &row->flags_undefined};
    unsigned set = 0;
    for (const char *p = row->flags; *p; p++) {
        if (*p == '/') {
            if (++set == 3)
                bad_row(row, "flags");
            continue;
        }
        const char *found = strchr(letters, *p);
        if (!found)
            bad_row(row, "flags");
        *sets[set] |= bits[found - letters];
    }
}

/* A whole ModRM byte, with `mask` where some of it is free. */
static void read_modrm(struct isa_row *row, unsigned value, unsigned mask)
{
    row->has_modrm = true;
    row->modrm_mask = (uint8_t)mask;
    row->modrm = (uint8_t)value;
}

/* "VEX.256.66.0F38.W0": length, mandatory prefix, map and W, of which L and the prefix may be
 * absent. */
static void read_vex(struct isa_row *row, const char *text)
{
    static const struct {
        char text[5];
        uint8_t l, w, prefixes, map; /* the value + 1; 0: says nothing of it */
    } fields[] = {
        {"128", .l = VEX_0 + 1},
        {"LZ", .l = VEX_0 + 1},
        {"256", .l = VEX_1 + 1},
        {"LIG", .l = VEX_IGNORED + 1},
        {"W0", .w = VEX_0 + 1},
        {"W1", .w = VEX_1 + 1},
        {"WIG", .w = VEX_IGNORED + 1},
        {"NP", .prefixes = ISA_PREFIX_NONE + 1},
        {"66", .prefixes = ISA_PREFIX_66 + 1},
        {"F3", .prefixes = ISA_PREFIX_F3 + 1},
        {"F2", .prefixes = ISA_PREFIX_F2 + 1},
        {"0F", .map = MAP_VEX_0F + 1},
        {"0F38", .map = MAP_VEX_0F38 + 1},
        {"0F3A", .map = MAP_VEX_0F3A + 1},
    };
    char word[24];
    row->vex = true;
    row->vex_l = VEX_BOTH;
    row->vex_w = VEX_IGNORED;
    row->prefixes = 1 << ISA_PREFIX_NONE;
    while (next_word(&text, ".", word)) {
        unsigned i = 0;
        while (i < sizeof fields / sizeof fields[0] && strcmp(word, fields[i].text) != 0)
            i++;
        if (i == sizeof fields / sizeof fields[0])
            bad_row(row, "VEX field");
        if (fields[i].l)
            row->vex_l = fields[i].l - 1;
        if (fields[i].w)
            row->vex_w = fields[i].w - 1;
        if (fields[i].prefixes) {
            row->prefixes = (uint8_t)(1 << (fields[i].prefixes - 1));
            row->mandatory = fields[i].prefixes - 1 != ISA_PREFIX_NONE;
        }
        if (fields[i].map)
            row->map = fields[i].map - 1;
    }
}

static void read_encoding(struct isa_row *row)
{
    row->prefixes = (1 << ISA_PREFIX_COUNT) - 1;
    row->opcode_span = 1;
    row->reg_form = row->mem_form = true;
    bool have_opcode = false;
    const char *text = row->encoding;
    char word[24];
    while (next_word(&text, " ", word)) {
        char *end;
        unsigned byte = (unsigned)strtoul(word, &end, 16);
        bool is_byte = end == word + 2;
        if (strncmp(word, "VEX.", 4) == 0) {
            read_vex(row, word + 4);
        } else if (strcmp(word, "NP") == 0) {
            row->prefixes = 1 << ISA_PREFIX_NONE;
        } else if (strcmp(word, "NFx") == 0) {
            row->prefixes = 1 << ISA_PREFIX_NONE | 1 << ISA_PREFIX_66;
        } else if (strcmp(word, "REX.W") == 0) {
            row->rex_w = true;
        } else if (strcmp(word, "REX.B0") == 0) {
            row->no_rex_b = true;
        } else if (strcmp(word, "/r") == 0) {
            row->has_modrm = true;
        } else if (word[0] == '/' && word[1] >= '0' && word[1] <= '7') {
            read_modrm(row, (unsigned)(word[1] - '0') << 3, 0x38);
        } else if (!is_byte) {
            bad_row(row, "encoding");
        } else if (!have_opcode && row->map == MAP_PRIMARY &&
                   (byte == 0x66 || byte == 0xf2 || byte == 0xf3)) {
            row->mandatory = true;
            row->prefixes = 1 << (byte == 0x66   ? ISA_PREFIX_66
                                  : byte == 0xf3 ? ISA_PREFIX_F3
                                                 : ISA_PREFIX_F2);
        } else if (!have_opcode && row->map == MAP_PRIMARY && byte == 0x0f) {
            row->map = MAP_0F;
        } else if (!have_opcode && row->map == MAP_0F && (byte == 0x38 || byte == 0x3a)) {
            row->map = byte == 0x38 ? MAP_0F38 : MAP_0F3A;
        } else if (!have_opcode) {
            have_opcode = true;
            row->opcode = (uint8_t)byte;
            row->opcode_span = strcmp(end, "+r") == 0 ? 8 : strcmp(end, "+cc") == 0 ? 16 : 1;
            if (*end && row->opcode_span == 1)
                bad_row(row, "opcode");
        } else {
            read_modrm(row, byte, strcmp(end, "+i") == 0 ? 0xf8 : 0xff);
            row->mem_form = false;
        }
    }
    if (!have_opcode)
        bad_row(row, "encoding");
}

static uint8_t read_width(const struct isa_row *row, const char *text)
{
    static const struct {
        char text[3];
        uint8_t width;
    } widths[] = {{"", W_NONE}, {"b", W_B},   {"w", W_W},   {"d", W_D},  {"q", W_Q},  {"dq", W_DQ},
                  {"t", W_T},   {"v", W_V},   {"z", W_Z},   {"y", W_Y},  {"p", W_P},  {"s", W_S},
                  {"a", W_A},   {"ps", W_DQ}, {"pd", W_DQ}, {"ss", W_D}, {"sd", W_Q}, {"x", W_X},
                  {"x2", W_X2}, {"x4", W_X4}, {"x8", W_X8}, {"qq", W_QQ}};
    for (unsigned i = 0; i < sizeof widths / sizeof widths[0]; i++)
        if (strcmp(text, widths[i].text) == 0)
            return widths[i].width;
    bad_row(row, "operand width");
}

/* Operands that name a register themselves. */
static const struct {
    char text[4];
    uint8_t kind, reg, width;
} fixed_operands[] = {
    {"AL", OPERAND_GPR, RAX, W_B},    {"AX", OPERAND_GPR, RAX, W_W},
    {"eAX", OPERAND_GPR, RAX, W_Z},   {"rAX", OPERAND_GPR, RAX, W_V},
    {"CL", OPERAND_GPR, RCX, W_B},    {"DX", OPERAND_GPR, RDX, W_W},
    {"ES", OPERAND_SEG, SEG_ES, W_W}, {"CS", OPERAND_SEG, SEG_CS, W_W},
    {"SS", OPERAND_SEG, SEG_SS, W_W}, {"DS", OPERAND_SEG, SEG_DS, W_W},
    {"FS", OPERAND_SEG, SEG_FS, W_W}, {"GS", OPERAND_SEG, SEG_GS, W_W},
    {"ST", OPERAND_ST, 0, W_T},       {"1", OPERAND_IMM, 0, W_B},
};

static void read_operand(struct isa_row *row, struct isa_operand *operand, char *word)
{
    for (unsigned i = 0; i < sizeof fixed_operands / sizeof fixed_operands[0]; i++) {
        if (strcmp(word, fixed_operands[i].text) == 0) {
            operand->letter = fixed_operands[i].kind == OPERAND_IMM ? '1' : 'r';
            operand->fixed = fixed_operands[i].kind;
            operand->reg = fixed_operands[i].reg;
            operand->width = operand->mem_width = fixed_operands[i].width;
            return;
        }
    }
    if (strcmp(word, "STi") == 0) {
        operand->letter = 'T';
        operand->width = operand->mem_width = W_T;
        return;
    }
    operand->letter = (uint8_t)word[0];
    if (!strchr("ABCDEGHIJLMNOPQRSUVWXYZ", word[0]))
        bad_row(row, "operand letter");
    size_t length = strlen(word);
    if (word[0] == 'I' && word[length - 1] == 's') {
        operand->sign_extended = true;
        word[length - 1] = 0;
    }
    char *slash = strchr(word, '/'); /* "Rv/Mw" */
    if (slash) {
        *slash = 0;
        if (slash[1] != 'M')
            bad_row(row, "operand");
        operand->mem_width = read_width(row, slash + 2);
        operand->letter = word[0] == 'U' ? 'W' : word[0] == 'N' ? 'Q' : 'E';
    }
    operand->width = read_width(row, word + 1);
    if (!slash)
        operand->mem_width = operand->width;
    row->has_vvvv |= word[0] == 'H' || word[0] == 'B';
    if (strchr("MNRU", operand->letter) && row->has_modrm && !(row->attributes & ISA_ANYMOD)) {
        if (operand->letter == 'M')
            row->reg_form = false;
        else
            row->mem_form = false;
    }
}

/* The width that makes insn->opsize: v before b before z before y, immediates apart; the vector's
 * of VEX. */
static uint8_t row_width(const struct isa_row *row)
{
    if (row->vex && row->noperands == 0)
        return W_X;
    for (unsigned j = 0; row->vex && j < row->noperands; j++)
        if (strchr("HUVW", row->operand[j].letter))
            return W_X;

    static const uint8_t order[] = {W_V, W_B, W_Z, W_Y};
    for (unsigned i = 0; i < sizeof order; i++)
        for (unsigned j = 0; j < row->noperands; j++) {
            const struct isa_operand *operand = &row->operand[j];
            uint8_t width = operand->width == W_P || operand->width == W_A ? W_V : operand->width;
            if (!strchr("IJ1A", operand->letter) && width == order[i])
                return width;
        }
    return W_V;
}

static void read_operands(struct isa_row *row)
{
    const char *text = row->operands;
    char word[24];
    while (next_word(&text, ",", word)) {
        if (row->noperands == INSN_MAX_OPERANDS)
            bad_row(row, "operands");
        read_operand(row, &row->operand[row->noperands++], word);
    }
    row->width = row_width(row);
}

/* Before the decoder's own constructor, which builds its tables from the rows. */
__attribute__((constructor(200))) static void read_rows(void)
{
    for (unsigned i = 0; i < isa_row_count; i++) {
        struct isa_row *row = &rows[i];
        read_attributes(row);
        read_flags(row);
        if (row->op == OP_TOO_LONG || i == 0)
            continue;
        read_encoding(row);
        read_operands(row);
    }
}

uint32_t insn_flags_certainly_written(const struct insn *insn)
{
    const struct isa_row *row = &isa_rows[insn->row];
    switch (insn->op) {
    case OP_ROL:
    case OP_ROR:
    case OP_RCL:
    case OP_RCR:
    case OP_SHL:
    case OP_SHR:
    case OP_SAR:
    case OP_SHLD:
    case OP_SHRD:
        if (insn->operand[insn->noperands - 1].kind != OPERAND_IMM ||
            !(insn->imm & (insn->opsize == 8 ? 63 : 31)))
            return 0;
        return row->flags_written;
    default:
        return insn->prefixes & (PREFIX_REP | PREFIX_REPNE) ? 0 : row->flags_written;
    }
}
