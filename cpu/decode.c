/*
 * Decoding: prefixes, opcode, a look-up of the row, then its operands by letter.
 *
 *     [legacy prefixes] [REX] opcode [ModRM [SIB] [disp]] [immediate]
 *     [segment, 67] VEX opcode ModRM [SIB] [disp] [immediate]        VEX: C5 or C4 (SDM 2A 2.3.5)
 *
 * The look-up structure is built from isa.def before main(). Each opcode byte of each map has
 * cells, and a cell starts a chain of candidate rows, the most specific first:
 *
 *     opcodes[map][byte] -> cells[prefix]                       no ModRM bits in the opcode
 *                        -> cells[prefix][mod == 3][reg]        opcode extension, memory or
 * register only
 *                        -> cells[prefix][mod == 3 ? 8 + rm.. ] whole ModRM bytes
 *
 * Almost always the first candidate is the row; the others are there for features and modes, e.g.
 * F3 0F BC is TZCNT where that exists and BSF with a meaningless prefix elsewhere.
 *
 * Choices where processors differ are Intel's: 66 does not shorten near branches in 64-bit mode.
 */
#include "cpu/decode.h"

#include <assert.h>
#include <string.h>

/* -- Look-up tables, constant after start-up -- */

enum cell_layout {
    LAYOUT_PLAIN, /* one cell a prefix */
    LAYOUT_GROUP, /* 16: memory /0-/7, register /0-/7 */
    LAYOUT_WHOLE, /* 72: memory /0-/7, then C0-FF */
};
static const uint8_t layout_cells[] = {1, 16, 72};

struct opcode_entry {
    uint16_t cell; /* first of ISA_PREFIX_COUNT * layout_cells[layout] */
    uint8_t layout;
    bool has_modrm;
};

#define MAX_CELLS      20480
#define MAX_CANDIDATES 6144

static struct opcode_entry opcodes[MAP_COUNT][256];
static uint16_t cells[MAX_CELLS];           /* index of a chain in candidates[] */
static uint16_t candidates[MAX_CANDIDATES]; /* rows, each chain ended by 0 (chain 0 is empty) */

static const struct exec *const exec_of[OP_COUNT] = {
#define OP(name) [OP_##name] = &exec_##name,
#include "cpu/isa_ops.def"
#undef OP
};

static bool row_has_opcode(const struct isa_row *row, unsigned map, unsigned opcode)
{
    return row->map == map && opcode >= row->opcode &&
           opcode < (unsigned)row->opcode + row->opcode_span;
}

/* More specific rows are tried first. */
static unsigned row_specificity(const struct isa_row *row)
{
    return (unsigned)__builtin_popcount(row->modrm_mask) * 8 + row->mandatory * 4 + row->rex_w * 2 +
           row->no_rex_b + (row->opcode_span == 1);
}

/* Does the row serve this cell? */
static bool row_in_cell(const struct isa_row *row, enum cell_layout layout, unsigned prefix,
                        unsigned slot)
{
    if (!(row->prefixes >> prefix & 1))
        return false;
    if (layout == LAYOUT_PLAIN)
        return true;
    bool reg = slot >= 8;
    if (!(reg ? row->reg_form : row->mem_form))
        return false;
    if (layout == LAYOUT_GROUP || !reg)
        return ((slot << 3 ^ row->modrm) & row->modrm_mask & 0x38) == 0;
    return ((0xc0 + slot - 8) & row->modrm_mask) == (row->modrm & row->modrm_mask);
}

/* The chain of a cell. Chains from `first` on belong to the same opcode and are shared. */
static uint16_t make_chain(const uint16_t *rows, unsigned count, enum cell_layout layout,
                           unsigned prefix, unsigned slot, unsigned first, unsigned *used)
{
    uint16_t chain[24] = {0};
    unsigned length = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!row_in_cell(&isa_rows[rows[i]], layout, prefix, slot))
            continue;
        unsigned at = length++;
        assert(length < sizeof chain / sizeof chain[0]);
        for (; at > 0 &&
               row_specificity(&isa_rows[chain[at - 1]]) < row_specificity(&isa_rows[rows[i]]);
             at--)
            chain[at] = chain[at - 1];
        chain[at] = rows[i];
    }
    if (length == 0)
        return 0;
    for (unsigned i = first; i < *used; i++) {
        unsigned start = i;
        while (candidates[i])
            i++;
        if (i - start == length && memcmp(&candidates[start], chain, length * sizeof *chain) == 0)
            return (uint16_t)start;
    }
    assert(*used + length < MAX_CANDIDATES);
    unsigned start = *used;
    memcpy(&candidates[start], chain, length * sizeof *chain);
    *used += length + 1; /* its end is a zero */
    return (uint16_t)start;
}

__attribute__((constructor(201))) static void build_tables(void)
{
    /* Rows sorted by opcode, so that the work is linear in them. */
    static uint16_t by_opcode[MAP_COUNT][256][64];
    static uint8_t counts[MAP_COUNT][256];
    unsigned used_cells = 0, used_candidates = 1;

    for (unsigned i = 2; i < isa_row_count; i++) {
        const struct isa_row *row = &isa_rows[i];
        for (unsigned j = 0; j < row->opcode_span; j++) {
            unsigned opcode = row->opcode + j;
            assert(row_has_opcode(row, row->map, opcode) && counts[row->map][opcode] < 64);
            by_opcode[row->map][opcode][counts[row->map][opcode]++] = (uint16_t)i;
        }
    }
    for (unsigned map = 0; map < MAP_COUNT; map++) {
        for (unsigned opcode = 0; opcode < 256; opcode++) {
            struct opcode_entry *entry = &opcodes[map][opcode];
            const uint16_t *rows = by_opcode[map][opcode];
            unsigned count = counts[map][opcode];
            for (unsigned i = 0; i < count; i++) {
                const struct isa_row *row = &isa_rows[rows[i]];
                unsigned layout = row->modrm_mask & 0xc7                             ? LAYOUT_WHOLE
                                  : row->modrm_mask                                  ? LAYOUT_GROUP
                                  : row->has_modrm && row->reg_form != row->mem_form ? LAYOUT_GROUP
                                                                                     : LAYOUT_PLAIN;
                if (layout > entry->layout)
                    entry->layout = (uint8_t)layout;
                entry->has_modrm |= row->has_modrm;
            }
            entry->cell = (uint16_t)used_cells;
            unsigned slots = layout_cells[entry->layout];
            unsigned first = used_candidates;
            assert(used_cells + slots * ISA_PREFIX_COUNT <= MAX_CELLS);
            for (unsigned i = 0; i < slots * ISA_PREFIX_COUNT; i++)
                cells[used_cells++] = make_chain(rows, count, entry->layout, i / slots, i % slots,
                                                 first, &used_candidates);
        }
    }
}

/* -- One instruction -- */

/* Byte classes of the prefix scan. */
enum prefix_class { NO_PREFIX, SEGMENT, LEGACY_SEGMENT, OPSIZE, ADDRSIZE, LOCK, REPNE, REP, REX };
static const uint8_t prefix_class[256] = {
    [0x26] = LEGACY_SEGMENT,
    [0x2e] = LEGACY_SEGMENT,
    [0x36] = LEGACY_SEGMENT,
    [0x3e] = LEGACY_SEGMENT,
    [0x64] = SEGMENT,
    [0x65] = SEGMENT,
    [0x66] = OPSIZE,
    [0x67] = ADDRSIZE,
    [0xf0] = LOCK,
    [0xf2] = REPNE,
    [0xf3] = REP,
    [0x40 ... 0x4f] = REX,
};

#define BYTES_PADDING 48

struct decoder {
    const struct decode_context *context;
    struct insn *insn;
    const uint8_t *next; /* within bytes[] */
    uint8_t rex;
    uint8_t segment; /* override, SEG_COUNT if none */
    uint8_t modrm;
    uint8_t sib;
    uint8_t opcode;
    bool vex, vex_l, vex_w;
    uint8_t vvvv;                 /* not inverted: the register */
    uint8_t bytes[BYTES_PADDING]; /* 15 of the guest, the rest zero: reads need no check */
};

static uint64_t fetch(struct decoder *d, unsigned size)
{
    uint64_t value = 0;
    switch (size) {
    case 1:
        value = d->next[0];
        break;
    case 2:
        value = (uint64_t)d->next[0] | (uint64_t)d->next[1] << 8;
        break;
    case 4:
        value = (uint64_t)d->next[0] | (uint64_t)d->next[1] << 8 | (uint64_t)d->next[2] << 16 |
                (uint64_t)d->next[3] << 24;
        break;
    case 8:
        value = fetch(d, 4);
        return value | fetch(d, 4) << 32;
    }
    d->next += size;
    return value;
}

static int64_t fetch_signed(struct decoder *d, unsigned size)
{
    unsigned shift = 64 - 8 * size;
    return (int64_t)(fetch(d, size) << shift) >> shift;
}

/* 16-bit forms: base and index by rm (SDM 2A table 2-1). */
static void decode_memory16(struct decoder *d)
{
    static const uint8_t bases[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    static const uint8_t indices[8] = {RSI, RDI, RSI, RDI, REG_ZERO, REG_ZERO, REG_ZERO, REG_ZERO};
    struct insn *insn = d->insn;
    unsigned mod = d->modrm >> 6, rm = d->modrm & 7;
    insn->base = bases[rm];
    insn->index = indices[rm];
    if (insn->base == RBP)
        insn->seg = SEG_SS;
    if (mod == 0 && rm == 6) {
        insn->base = REG_ZERO;
        insn->seg = SEG_DS;
        insn->disp = fetch_signed(d, 2);
    } else if (mod != 0) {
        insn->disp = fetch_signed(d, mod);
    }
}

static void decode_memory32(struct decoder *d)
{
    struct insn *insn = d->insn;
    unsigned mod = d->modrm >> 6, rm = d->modrm & 7;
    unsigned base = rm;
    bool sib = rm == 4;
    if (sib) {
        unsigned byte = d->sib = *d->next++;
        unsigned index = (byte >> 3 & 7) | (d->rex & 2) << 2;
        if (index != 4)
            insn->index = (uint8_t)index;
        insn->scale = (uint8_t)(byte >> 6);
        if (index == 4)
            insn->scale = 0;
        base = byte & 7;
    }
    if (mod == 0 && base == 5) {
        if (!sib && d->context->code_size == 8)
            insn->base = REG_IP;
        insn->disp = fetch_signed(d, 4);
        return;
    }
    insn->base = (uint8_t)(base | (d->rex & 1) << 3);
    if (insn->base == RSP || insn->base == RBP)
        insn->seg = SEG_SS;
    if (mod != 0)
        insn->disp = fetch_signed(d, mod == 1 ? 1 : 4);
}

/* VSIB: the index is a vector register, and there always is one (SDM 2A 2.3.12). */
static bool decode_vector_index(struct decoder *d)
{
    struct insn *insn = d->insn;
    if ((d->modrm & 7) != 4 || insn->addrsize == 2)
        return false;
    insn->index = (uint8_t)((d->sib >> 3 & 7) | (d->rex & 2) << 2);
    insn->scale = d->sib >> 6;
    return true;
}

static unsigned width_bytes(const struct decoder *d, unsigned width)
{
    static const uint8_t bytes[] = {
        [W_B] = 1, [W_W] = 2, [W_D] = 4, [W_Q] = 8, [W_DQ] = 16, [W_QQ] = 32, [W_T] = 10};
    unsigned opsize = d->insn->opsize;
    switch (width) {
    case W_V:
        return opsize;
    case W_Z:
        return opsize < 4 ? opsize : 4;
    case W_Y:
        return opsize == 8 || d->rex & 8 ? 8 : 4;
    case W_P:
        return opsize + 2;
    case W_A:
        return opsize * 2;
    case W_S:
        return d->context->code_size == 8 ? 10 : 6;
    case W_X:
    case W_X2:
    case W_X4:
    case W_X8:
        return (d->vex_l ? 32 : 16) >> (width - W_X);
    default:
        return bytes[width];
    }
}

static void set_gpr(const struct decoder *d, struct operand *operand, unsigned reg)
{
    operand->kind = OPERAND_GPR;
    if (operand->size == 1 && reg >= 4 && reg < 8 && !(d->insn->prefixes & PREFIX_REX)) {
        operand->kind = OPERAND_GPR_HIGH;
        reg &= 3;
    }
    operand->reg = (uint8_t)reg;
}

/* Fills one operand; false if the register does not exist. */
static bool decode_operand(struct decoder *d, const struct isa_operand *from,
                           struct operand *operand)
{
    struct insn *insn = d->insn;
    bool memory = d->modrm < 0xc0;
    unsigned reg = (d->modrm >> 3 & 7) | (d->rex & 4) << 1;
    unsigned rm = (d->modrm & 7) | (d->rex & 1) << 3;
    operand->size = (uint8_t)width_bytes(d, from->width);
    operand->reg = 0;
    switch (from->letter) {
    case 'E':
    case 'Q':
    case 'W':
    case 'M':
        if (memory) {
            operand->kind = OPERAND_MEM;
            operand->size = (uint8_t)width_bytes(d, from->mem_width);
        } else if (from->letter == 'E') {
            set_gpr(d, operand, rm);
        } else {
            operand->kind = from->letter == 'Q' ? OPERAND_MMX : OPERAND_XMM;
            operand->reg = (uint8_t)(from->letter == 'Q' ? rm & 7 : rm);
        }
        break;
    case 'G':
        set_gpr(d, operand, reg);
        break;
    case 'R':
        set_gpr(d, operand, rm);
        break;
    case 'Z':
        set_gpr(d, operand, (d->opcode & 7) | (d->rex & 1) << 3);
        break;
    case 'V':
        operand->kind = OPERAND_XMM;
        operand->reg = (uint8_t)reg;
        break;
    case 'U':
        operand->kind = OPERAND_XMM;
        operand->reg = (uint8_t)rm;
        break;
    case 'H':
        operand->kind = OPERAND_XMM;
        operand->reg = d->vvvv;
        break;
    case 'B':
        set_gpr(d, operand, d->vvvv);
        break;
    case 'L':
        operand->kind = OPERAND_XMM;
        operand->reg = *d->next++ >> 4;
        if (d->context->code_size != 8)
            operand->reg &= 7;
        break;
    case 'P':
        operand->kind = OPERAND_MMX;
        operand->reg = reg & 7;
        break;
    case 'N':
        operand->kind = OPERAND_MMX;
        operand->reg = rm & 7;
        break;
    case 'T':
        operand->kind = OPERAND_ST;
        operand->reg = d->modrm & 7;
        break;
    case 'S':
        operand->kind = OPERAND_SEG;
        operand->reg = reg & 7;
        if (operand->reg > SEG_GS || (operand->reg == SEG_CS && operand == insn->operand))
            return false; /* CS cannot be loaded */
        break;
    case 'C':
        operand->kind = OPERAND_CR;
        operand->reg = (uint8_t)reg;
        return reg <= 8 && (0x11d >> reg & 1); /* CR0, 2, 3, 4, 8 */
    case 'D':
        operand->kind = OPERAND_DR;
        operand->reg = (uint8_t)reg;
        return reg < 8;
    case 'I':
        operand->kind = OPERAND_IMM;
        if (from->width == W_B && d->insn->op == OP_ENTER) {
            insn->imm2 = *d->next++;
            insn->noperands--; /* ENTER's level is in imm2 */
            break;
        }
        insn->imm = from->width == W_Z || from->sign_extended
                        ? (uint64_t)fetch_signed(d, operand->size)
                        : fetch(d, operand->size);
        break;
    case 'J':
        operand->kind = OPERAND_REL;
        insn->imm = (uint64_t)fetch_signed(d, operand->size);
        break;
    case 'A':
        operand->kind = OPERAND_FAR;
        insn->imm = fetch(d, insn->opsize);
        insn->imm2 = (uint16_t)fetch(d, 2);
        break;
    case 'O':
        operand->kind = OPERAND_MEM;
        insn->disp = (int64_t)fetch(d, insn->addrsize);
        break;
    case '1':
        operand->kind = OPERAND_IMM;
        insn->imm = 1;
        break;
    case 'r':
        operand->kind = from->fixed;
        operand->reg = from->reg;
        break;
    default: /* X and Y are implied */
        insn->noperands--;
        break;
    }
    return true;
}

static unsigned operand_size(const struct decoder *d, const struct isa_row *row)
{
    unsigned code_size = d->context->code_size;
    bool opsize = d->insn->prefixes & PREFIX_OPSIZE;
    bool quad = d->insn->prefixes & PREFIX_REX_W;
    unsigned effective;
    if (row->width == W_B)
        return 1;
    if (row->width == W_X)
        return d->vex_l && row->vex_l != VEX_IGNORED ? 32 : 16;
    if (code_size == 8) {
        if (row->attributes & ISA_F64)
            return 8;
        effective = quad ? 8 : opsize ? 2 : row->attributes & ISA_D64 ? 8 : 4;
    } else {
        effective = (code_size == 2) != opsize ? 2 : 4;
    }
    if (row->width == W_Y)
        return code_size == 8 && quad ? 8 : 4;
    if (row->width == W_Z && effective == 8)
        return 4;
    return effective;
}

static bool row_applies(const struct decoder *d, const struct isa_row *row)
{
    const struct decode_context *context = d->context;
    if (row->feature != FEATURE_BASE && !feature_test(context->features, row->feature))
        return false;
    if (row->attributes & (ISA_I64 | ISA_O64 | ISA_PROT)) {
        if (row->attributes & ISA_I64 && context->code_size == 8)
            return false;
        if (row->attributes & ISA_O64 && context->code_size != 8)
            return false;
        if (row->attributes & ISA_PROT && !(context->mode & MODE_PROTECTED))
            return false;
    }
    return !(row->rex_w && !(d->rex & 8)) && !(row->no_rex_b && d->rex & 1);
}

/* The same for what VEX adds. */
static bool vex_row_applies(const struct decoder *d, const struct isa_row *row)
{
    if (!row_applies(d, row) || (row->vex_l <= VEX_1 && row->vex_l != d->vex_l) ||
        (row->vex_w <= VEX_1 && row->vex_w != d->vex_w))
        return false;
    return !(row->attributes & ISA_AVX2Y && d->vex_l) ||
           feature_test(d->context->features, FEATURE_AVX2);
}

/* Do C4 or C5 begin a VEX prefix? Outside 64-bit mode LES and LDS have a memory operand where it
 * has ones. */
static bool is_vex(const struct decoder *d, unsigned byte)
{
    return (byte == 0xc4 || byte == 0xc5) && d->context->mode & MODE_PROTECTED &&
           (d->context->code_size == 8 || *d->next >= 0xc0);
}

/* The rest of the VEX prefix. Returns the map and changes *prefix; false if there is no such map.
 */
static bool decode_vex(struct decoder *d, unsigned byte, unsigned *map, unsigned *prefix)
{
    unsigned last = *d->next++, select = 1;
    d->vex = true;
    d->rex = (uint8_t)(~last >> 5 & 4);
    if (byte == 0xc4) {
        d->rex = (uint8_t)(~last >> 5 & 7);
        select = last & 31;
        last = *d->next++;
        d->vex_w = last >> 7;
    }
    d->vvvv = ~last >> 3 & 15;
    d->vex_l = last >> 2 & 1;
    *prefix = last & 3; /* as enum isa_prefix */
    if (d->context->code_size != 8)
        d->rex = 0;
    else if (d->vex_w)
        d->rex |= 8;
    *map = MAP_VEX_0F + select - 1;
    return select >= 1 && select <= 3;
}

/* Makes the instruction one that raises a fault when executed. */
static int finish_invalid(struct insn *insn, unsigned op, int length)
{
    insn->row = op == OP_UD ? 0 : 1;
    insn->op = (uint16_t)op;
    insn->opsize = 4;
    insn->noperands = 0;
    insn->length = (uint8_t)length;
    insn->exec = exec_of[op]->reg[2];
    return length;
}

static int finish(struct decoder *d, size_t available, bool valid)
{
    struct insn *insn = d->insn;
    size_t length = (size_t)(d->next - d->bytes);
    if (length > available && available < INSN_MAX_LENGTH)
        return 0;
    if (length > INSN_MAX_LENGTH)
        return finish_invalid(insn, OP_TOO_LONG, INSN_MAX_LENGTH);
    if (!valid)
        return finish_invalid(insn, OP_UD, (int)length);
    insn->length = (uint8_t)length;
    return (int)length;
}

int decode(const struct decode_context *context, const uint8_t *bytes, size_t available,
           struct insn *insn)
{
    struct decoder d;
    d.context = context;
    d.insn = insn;
    d.next = d.bytes;
    d.rex = 0;
    d.segment = SEG_COUNT;
    d.modrm = 0xff;
    d.vex = d.vex_l = d.vex_w = false;
    memset(d.bytes, 0, sizeof d.bytes);
    memcpy(d.bytes, bytes, available < INSN_MAX_LENGTH ? available : INSN_MAX_LENGTH);

    unsigned prefixes = 0;
    unsigned rep = 0; /* the last of F2 and F3 */
    unsigned byte;
    for (;;) {
        byte = *d.next++;
        unsigned class = prefix_class[byte];
        if (class == NO_PREFIX)
            break;
        if (class == REX) {
            if (context->code_size != 8)
                break;
            d.rex = (uint8_t)byte;
            if (d.next - d.bytes > INSN_MAX_LENGTH)
                break;
            continue;
        }
        d.rex = 0; /* counts only directly before the opcode */
        switch (class) {
        case SEGMENT:
            d.segment = byte == 0x64 ? SEG_FS : SEG_GS;
            break;
        case LEGACY_SEGMENT:
            if (context->code_size != 8)
                d.segment = byte >> 3 & 3; /* ES, CS, SS, DS */
            break;
        case OPSIZE:
            prefixes |= PREFIX_OPSIZE;
            break;
        case ADDRSIZE:
            prefixes |= PREFIX_ADDRSIZE;
            break;
        case LOCK:
            prefixes |= PREFIX_LOCK;
            break;
        default:
            rep = byte;
            break;
        }
        if (d.next - d.bytes > INSN_MAX_LENGTH)
            break;
    }
    bool valid = true;
    unsigned map = MAP_PRIMARY;
    unsigned prefix = rep == 0xf3                ? ISA_PREFIX_F3
                      : rep == 0xf2              ? ISA_PREFIX_F2
                      : prefixes & PREFIX_OPSIZE ? ISA_PREFIX_66
                                                 : ISA_PREFIX_NONE;
    if (is_vex(&d, byte)) {
        valid = !(d.rex || rep || prefixes & (PREFIX_OPSIZE | PREFIX_LOCK)) &&
                decode_vex(&d, byte, &map, &prefix);
    }
    if (d.rex)
        prefixes |= d.rex & 8 ? PREFIX_REX | PREFIX_REX_W : PREFIX_REX;

    insn->imm = 0;
    insn->disp = 0;
    insn->imm2 = 0;
    insn->seg = SEG_DS;
    insn->base = insn->index = REG_ZERO;
    insn->scale = 0;
    insn->cond = 0;
    insn->modrm = 0;
    insn->noperands = 0;
    insn->prefixes = (uint8_t)prefixes;
    insn->addrsize =
        prefixes & PREFIX_ADDRSIZE ? (context->code_size == 4 ? 2 : 4) : context->code_size;
    if (d.next - d.bytes > INSN_MAX_LENGTH || !valid)
        return finish(&d, available, false);

    if (d.vex) {
        byte = *d.next++;
    } else if (byte == 0x0f) {
        byte = *d.next++;
        map = MAP_0F;
        if (byte == 0x38 || byte == 0x3a) {
            map = byte == 0x38 ? MAP_0F38 : MAP_0F3A;
            byte = *d.next++;
        }
    }
    d.opcode = (uint8_t)byte;
    const struct opcode_entry *entry = &opcodes[map][byte];
    unsigned cell = entry->cell;
    if (entry->has_modrm)
        insn->modrm = d.modrm = *d.next++;
    if (entry->layout == LAYOUT_PLAIN)
        cell += prefix;
    else if (d.modrm < 0xc0)
        cell += prefix * layout_cells[entry->layout] + (d.modrm >> 3 & 7);
    else if (entry->layout == LAYOUT_GROUP)
        cell += prefix * 16 + 8 + (d.modrm >> 3 & 7);
    else
        cell += prefix * 72 + 8 + (d.modrm - 0xc0);

    unsigned candidate = cells[cell];
    while (candidates[candidate] &&
           !(d.vex ? vex_row_applies : row_applies)(&d, &isa_rows[candidates[candidate]]))
        candidate++;
    unsigned index = candidates[candidate];
    if (index == 0)
        return finish(&d, available, false);

    const struct isa_row *row = &isa_rows[index];
    insn->row = (uint16_t)index;
    insn->op = row->op;
    insn->opsize = (uint8_t)operand_size(&d, row);
    if (row->opcode_span == 16)
        insn->cond = byte & 15;
    if (row->mandatory && prefix == ISA_PREFIX_66)
        insn->prefixes &= (uint8_t)~PREFIX_OPSIZE;
    if (rep && row->attributes & (ISA_REP | ISA_REPZ))
        insn->prefixes |= rep == 0xf2 && row->attributes & ISA_REPZ ? PREFIX_REPNE : PREFIX_REP;

    if (row->attributes & ISA_ANYMOD)
        d.modrm |= 0xc0;
    if (d.modrm < 0xc0) {
        if (insn->addrsize == 2)
            decode_memory16(&d);
        else
            decode_memory32(&d);
    }
    if (d.vex) {
        valid = row->has_vvvv || d.vvvv == 0;
        if (context->code_size != 8)
            d.vvvv &= 7;
        if (row->attributes & ISA_VSIB)
            valid &= decode_vector_index(&d);
    }
    if (d.segment != SEG_COUNT) {
        insn->prefixes |= PREFIX_SEG;
        insn->seg = d.segment;
    }

    bool memory = false;
    insn->noperands = row->noperands;
    for (unsigned i = 0, at = 0; i < row->noperands; i++) {
        unsigned before = insn->noperands;
        struct operand *operand = &insn->operand[at];
        valid &= decode_operand(&d, &row->operand[i], operand);
        if (insn->noperands == before) {
            at++;
            memory |= operand->kind == OPERAND_MEM;
        }
    }
    if (prefixes & PREFIX_LOCK &&
        !(row->attributes & ISA_LOCK && insn->operand[0].kind == OPERAND_MEM))
        valid = false;

    if (row->attributes & ISA_VSIB) { /* destination, index and mask must differ */
        unsigned to = insn->operand[0].reg, mask = insn->operand[2].reg;
        valid &= to != mask && to != insn->index && mask != insn->index;
    }

    unsigned width = (unsigned)__builtin_ctz(insn->opsize) & 3;
    const struct exec *exec = exec_of[row->op];
    insn->exec = exec->reg[width];
    if (memory && exec->mem[width])
        insn->exec = exec->mem[width];
    return finish(&d, available, valid);
}
