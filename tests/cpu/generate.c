/*
 * Encodes rows: the decoder's work the other way round, with random choices for all that is free.
 */
#include "tests/cpu/generate.h"
#include "cpu/decode.h"

#include <string.h>

uint64_t generate_random(struct generator *generator)
{
    /* splitmix64 */
    uint64_t z = generator->seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static unsigned below(struct generator *g, unsigned limit)
{
    return (unsigned)(generate_random(g) >> 33) % limit;
}

static bool one_in(struct generator *g, unsigned n)
{
    return below(g, n) == 0;
}

/* A choice of structure: made one time in `n`, or as the form says. */
static bool choose(struct generator *g, unsigned n)
{
    if (!g->systematic)
        return one_in(g, n);
    bool chosen = g->form & 1;
    g->form >>= 1;
    return chosen;
}

uint64_t generate_value(struct generator *g)
{
    uint64_t random = generate_random(g);
    unsigned width = 8u << below(g, 4);
    uint64_t mask = width == 64 ? UINT64_MAX : (1ull << width) - 1;
    switch (below(g, 8)) {
    case 0:
        return random & 0xff; /* small */
    case 1:
        return (uint64_t) - (int64_t)(random & 0xff);
    case 2: /* around the sign bit of a width */
        return ((mask >> 1) + (random & 3) - 1) & mask;
    case 3: /* around the end of a width */
        return mask + (random & 3) - 1;
    case 4: /* one bit */
        return 1ull << (random & 63);
    case 5: /* repeated bytes */
        return (random & 0xff) * 0x0101010101010101ull;
    default:
        return random;
    }
}

/* -- The instruction under construction -- */

struct encoder {
    struct generator *g;
    const struct isa_row *row;
    uint8_t *bytes;
    unsigned length;
    bool opsize, addrsize, rex_w;
    uint8_t rex; /* bits WRXB */
    uint8_t vvvv, vex_l;
    unsigned relative_at; /* where a RIP-relative displacement stands; 0 none */
    uint64_t target;
};

static void put(struct encoder *e, unsigned byte)
{
    if (e->length < GENERATE_MAX)
        e->bytes[e->length] = (uint8_t)byte;
    e->length++;
}

static void put_value(struct encoder *e, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        put(e, value >> 8 * i & 0xff);
}

static unsigned address_size(const struct encoder *e)
{
    switch (e->g->bits) {
    case 16:
        return e->addrsize ? 4 : 2;
    case 32:
        return e->addrsize ? 2 : 4;
    default:
        return e->addrsize ? 4 : 8;
    }
}

/* The operand size attribute; wide enough for immediates. */
static unsigned operand_size(const struct encoder *e)
{
    if (e->row->width == W_B)
        return 1;
    if (e->g->bits == 64) {
        if (e->row->attributes & ISA_F64)
            return 8;
        return e->rex_w ? 8 : e->opsize ? 2 : e->row->attributes & ISA_D64 ? 8 : 4;
    }
    return (e->g->bits == 16) != e->opsize ? 2 : 4;
}

static bool row_has_width(const struct isa_row *row, unsigned width)
{
    for (unsigned i = 0; i < row->noperands; i++)
        if (row->operand[i].width == width || row->operand[i].mem_width == width)
            return true;
    return row->noperands == 0 && width == W_V;
}

/* -- Registers -- */

/* ModRM.reg: aimed generators seldom overwrite their pointers. */
static unsigned choose_reg(struct encoder *e)
{
    struct generator *g = e->g;
    unsigned reg;
    do
        reg = below(g, g->bits == 64 ? 16 : 8);
    while (g->aimed && (g->pointers | g->indices | 1 << RSP) >> reg & 1 && !one_in(g, 16));
    return reg;
}

/* -- Prefixes -- */

static void choose_prefixes(struct encoder *e)
{
    struct generator *g = e->g;
    const struct isa_row *row = e->row;
    bool free_66 = !row->mandatory && row->prefixes >> ISA_PREFIX_66 & 1;
    bool crc32 = row->op == OP_CRC32 || row->op == OP_POPCNT; /* 66 before a mandatory F2, F3 */
    e->opsize = row->mandatory && row->prefixes >> ISA_PREFIX_66 & 1;
    if (row->attributes & ISA_F64 && g->bits == 64 && g->aimed)
        free_66 = false; /* on near branches AMD processors obey it, Intel ones do not */
    if ((free_66 || crc32) && choose(g, 4))
        e->opsize = true;
    e->addrsize = choose(g, g->aimed && g->bits == 32 ? 40 : 10);
    if (g->aimed && g->bits == 16)
        e->addrsize = choose(g, 6);
    if (row->vex) {
        /* Now and then what the row does not allow, for the #UD rules. */
        bool wrong = g->aimed && one_in(g, 64);
        e->opsize = wrong && one_in(g, 8);
        e->vex_l = row->vex_l <= VEX_1 ? row->vex_l : choose(g, 2);
        e->rex_w = row->vex_w <= VEX_1 ? row->vex_w : choose(g, 2);
        if (row_has_width(row, W_Y) && g->bits != 64 && g->aimed)
            e->rex_w = false; /* where Intel processors ignore it, AMD's raise #UD */
        e->vvvv = row->has_vvvv ? choose_reg(e) : 0;
        if (wrong && one_in(g, 2))
            e->vvvv = below(g, 16);
        if (wrong && one_in(g, 2))
            e->vex_l ^= 1;
        if (wrong && g->bits == 64 && one_in(g, 2))
            e->rex_w ^= true;
    } else if (g->bits == 64) {
        e->rex_w = row->rex_w;
        if (row_has_width(row, W_V) || row_has_width(row, W_Y) || choose(g, 20))
            e->rex_w |= choose(g, 2);
        if (row->op == OP_CMPXCHG8B || (g->no_far64 && row_has_width(row, W_P)))
            e->rex_w = false;
    }
}

static void put_prefixes(struct encoder *e, bool memory)
{
    static const uint8_t overrides[6] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    struct generator *g = e->g;
    const struct isa_row *row = e->row;
    if (e->addrsize)
        put(e, 0x67);
    if (g->segments && choose(g, 16)) {
        unsigned seg = below(g, 6);
        if (g->segments >> seg & 1)
            put(e, overrides[seg]);
    }
    if (row->attributes & ISA_LOCK && memory && choose(g, 8))
        put(e, 0xf0);
    if (e->opsize)
        put(e, 0x66);
    if (row->vex)
        return;
    if (row->mandatory && row->prefixes >> ISA_PREFIX_F2 & 1)
        put(e, 0xf2);
    if (row->mandatory && row->prefixes >> ISA_PREFIX_F3 & 1)
        put(e, 0xf3);
    if (row->attributes & (ISA_REP | ISA_REPZ) && choose(g, 2))
        put(e, row->attributes & ISA_REPZ && choose(g, 2) ? 0xf2 : 0xf3);
}

/* -- ModRM, SIB, displacement -- */

static unsigned choose_bit(struct generator *g, uint16_t set)
{
    unsigned skip = below(g, (unsigned)__builtin_popcount(set));
    for (unsigned i = 0;; i++)
        if (set >> i & 1 && skip-- == 0)
            return i;
}

/* Displacement from a pointer that stays within the data, mostly aligned. */
static int64_t aimed_displacement(struct generator *g, unsigned size)
{
    int limit = size == 1 ? 128 : (int)g->data_size / 2 - 64;
    int value = (int)below(g, (unsigned)limit * 2) - limit;
    if (!one_in(g, 6))
        value &= ~15;
    return value;
}

static uint64_t aimed_address(struct generator *g)
{
    uint64_t offset = below(g, g->data_size - 64);
    return g->data + (one_in(g, 6) ? offset : offset & ~15ull);
}

/* A memory operand's fields. */
struct memory {
    unsigned mod, rm;
    bool sib, absolute, relative;
    unsigned scale, index, base;
    unsigned disp_size;
    int64_t disp;
};

static struct memory choose_memory16(struct encoder *e)
{
    /* BX+SI BX+DI BP+SI BP+DI SI DI BP BX */
    static const uint8_t bases[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    struct generator *g = e->g;
    struct memory m = {.mod = below(g, 3), .rm = below(g, 8)};
    if (g->aimed) {
        do
            m.rm = 4 + below(g, 4); /* base alone */
        while (!(g->pointers >> bases[m.rm] & 1));
    }
    if (m.mod == 0 && m.rm == 6) {
        m.disp_size = 2;
        m.disp = g->aimed ? (int64_t)aimed_address(g) : (int64_t)generate_random(g);
    } else if (m.mod != 0) {
        m.disp_size = m.mod;
        m.disp = g->aimed ? aimed_displacement(g, m.disp_size) : (int64_t)generate_random(g);
    }
    return m;
}

static struct memory choose_memory(struct encoder *e)
{
    struct generator *g = e->g;
    if (address_size(e) == 2)
        return choose_memory16(e);
    struct memory m = {.mod = below(g, 3)};
    unsigned registers = g->bits == 64 ? 16 : 8;
    bool gather = e->row->attributes & ISA_VSIB;
    m.base = g->aimed ? choose_bit(g, g->pointers) : below(g, registers);
    m.sib = gather || (m.base & 7) == RSP || one_in(g, 3);
    m.index = RSP; /* none */
    if (m.sib) {
        m.scale = below(g, 4);
        if (gather)
            m.index =
                g->aimed && !one_in(g, 8) ? choose_bit(g, g->vector_indices) : below(g, registers);
        else if (g->aimed && g->indices && one_in(g, 2))
            m.index = choose_bit(g, g->indices);
        else if (!g->aimed)
            m.index = below(g, registers);
    }
    if (m.mod == 0 && (m.base & 7) == RBP) {
        /* No base: absolute, or relative to RIP. */
        m.absolute = true;
        m.base = RBP;
        m.relative = !m.sib && g->bits == 64;
        m.index = g->aimed && !gather ? RSP : m.index;
        m.disp_size = 4;
        m.disp = g->aimed ? (int64_t)aimed_address(g) : (int64_t)generate_random(g);
    } else if (m.mod != 0) {
        m.disp_size = m.mod == 1 ? 1 : 4;
        m.disp = g->aimed ? aimed_displacement(g, m.disp_size) : (int64_t)generate_random(g);
    }
    m.rm = m.sib ? 4 : m.base & 7;
    return m;
}

static void put_memory(struct encoder *e, const struct memory *m, unsigned reg)
{
    put(e, m->mod << 6 | reg << 3 | m->rm);
    if (m->sib)
        put(e, m->scale << 6 | (m->index & 7) << 3 | (m->base & 7));
    if (m->relative && e->g->aimed) {
        e->relative_at = e->length;
        e->target = (uint64_t)m->disp;
    }
    put_value(e, (uint64_t)m->disp, m->disp_size);
}

/* -- Immediates -- */

static unsigned width_bytes(const struct encoder *e, unsigned width)
{
    unsigned opsize = operand_size(e);
    switch (width) {
    case W_B:
        return 1;
    case W_W:
        return 2;
    case W_Z:
        return opsize < 4 ? opsize : 4;
    case W_V:
        return opsize;
    default:
        return 4;
    }
}

static void put_immediates(struct encoder *e)
{
    struct generator *g = e->g;
    for (unsigned i = 0; i < e->row->noperands; i++) {
        const struct isa_operand *operand = &e->row->operand[i];
        unsigned size = width_bytes(e, operand->width);
        switch (operand->letter) {
        case 'I':
            put_value(e, generate_value(g), size);
            break;
        case 'J':
            put_value(e, g->branch_max ? below(g, g->branch_max + 1) : generate_random(g), size);
            break;
        case 'A':
            put_value(e, generate_random(g), operand_size(e));
            put_value(e, generate_random(g), 2);
            break;
        case 'L':
            put(e, below(g, 256));
            break;
        case 'O':
            put_value(e, g->aimed ? aimed_address(g) : generate_random(g), address_size(e));
            break;
        }
    }
}

/* Registers of ModRM as they may stand there: segment, control and debug registers have holes. */
static unsigned special_reg(struct encoder *e, unsigned reg)
{
    static const uint8_t segments[] = {SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS},
                         controls[] = {0, 2, 3, 4};
    for (unsigned i = 0; i < e->row->noperands; i++) {
        switch (e->row->operand[i].letter) {
        case 'S':
            return segments[below(e->g, 5)];
        case 'C':
            return controls[below(e->g, 4)];
        case 'D':
            return below(e->g, 8);
        }
    }
    return reg;
}

/* REX.WRXB, vvvv, L, the mandatory prefix and the map, in two or three bytes. */
static void put_vex(struct encoder *e)
{
    const struct isa_row *row = e->row;
    unsigned last = (~e->vvvv & 15u) << 3 | e->vex_l << 2 | (unsigned)__builtin_ctz(row->prefixes);
    unsigned select = row->map - MAP_VEX_0F + 1u;
    if (select == 1 && !(e->rex & 0xb) && !one_in(e->g, 4)) {
        put(e, 0xc5);
        put(e, (e->rex & 4 ? 0 : 0x80) | last);
        return;
    }
    put(e, 0xc4);
    put(e, (~e->rex & 7u) << 5 | select);
    put(e, (e->rex & 8u) << 4 | last);
}

static void encode(struct encoder *e)
{
    struct generator *g = e->g;
    const struct isa_row *row = e->row;
    bool reg_form = row->reg_form, memory = false;
    struct memory m = {0};
    unsigned reg = choose_reg(e), rm = choose_reg(e), opcode = row->opcode;

    choose_prefixes(e);
    if (row->has_modrm) {
        memory = row->mem_form && !(row->attributes & ISA_ANYMOD) && (!reg_form || choose(g, 2));
        if (memory)
            m = choose_memory(e);
        reg = special_reg(e, reg);
        e->rex |= (reg & 8) >> 1;
        if (memory)
            e->rex |= (m.index & 8) >> 2 | (m.absolute ? 0 : (m.base & 8) >> 3);
        else
            e->rex |= (rm & 8) >> 3;
    } else if (row->opcode_span == 8) {
        opcode += rm & 7;
        e->rex |= (rm & 8) >> 3;
    } else if (row->opcode_span == 16) {
        opcode += below(g, 16);
    }
    if (row->opcode_span == 16 && row->has_modrm)
        opcode = row->opcode + below(g, 16);
    if (row->no_rex_b)
        e->rex &= ~1;
    if (row->modrm_mask == 0xff || row->modrm_mask == 0xf8)
        e->rex &= ~5; /* fixed ModRM: no extension */
    e->rex |= e->rex_w ? 8 : 0;

    put_prefixes(e, memory);
    if (row->vex) {
        put_vex(e);
    } else {
        if (g->bits == 64 && (e->rex || choose(g, 16)))
            put(e, 0x40 | e->rex);
        if (row->map != MAP_PRIMARY)
            put(e, 0x0f);
        if (row->map == MAP_0F38 || row->map == MAP_0F3A)
            put(e, row->map == MAP_0F38 ? 0x38 : 0x3a);
    }
    put(e, opcode);
    if (row->has_modrm) {
        unsigned byte = (reg & 7) << 3 | (rm & 7) | 0xc0;
        byte = (byte & ~row->modrm_mask) | (row->modrm & row->modrm_mask);
        if (row->modrm_mask == 0x38)
            byte |= 0xc0;
        if (memory)
            put_memory(e, &m, byte >> 3 & 7);
        else
            put(e, byte);
    }
    put_immediates(e);
    if (e->relative_at && e->length <= GENERATE_MAX) {
        uint32_t disp = (uint32_t)(e->target - (g->rip + e->length));
        memcpy(&e->bytes[e->relative_at], &disp, 4);
    }
}

static bool row_exists(const struct generator *g, const struct isa_row *row)
{
    if (row < &isa_rows[2])
        return false;
    if (row->feature != FEATURE_BASE && !feature_test(g->features, row->feature))
        return false;
    return !(row->attributes & (g->bits == 64 ? ISA_I64 : ISA_O64)) &&
           !(row->rex_w && g->bits != 64);
}

int isa_encode_row(struct generator *g, unsigned row, uint8_t bytes[GENERATE_MAX])
{
    struct decode_context context = {
        .code_size = (uint8_t)(g->bits / 8), .mode = MODE_PROTECTED, .features = g->features};
    if (!row_exists(g, &isa_rows[row]))
        return 0;
    unsigned form = g->form;
    for (unsigned attempt = 0; attempt < 200; attempt++) {
        g->form = form;
        struct encoder e = {.g = g, .row = &isa_rows[row], .bytes = bytes};
        encode(&e);
        if (e.length > INSN_MAX_LENGTH)
            continue;
        /* Some encodings of a general row belong to a more special one, e.g. 90 of XCHG to NOP. */
        struct insn insn;
        int length = decode(&context, bytes, e.length, &insn);
        if (length && insn.op == OP_UD && e.row->attributes & ISA_VSIB && !g->aimed)
            continue; /* 16-bit address, or a register twice */
        if (length == 0 || insn.row == row || insn.op == OP_UD)
            return (int)e.length;
        if (row_exists(g, &isa_rows[insn.row]) &&
            isa_rows[insn.row].opcode != bytes[e.length - 1] &&
            isa_rows[insn.row].map != isa_rows[row].map)
            return (int)e.length; /* nonsense: let the test see it */
    }
    return 0;
}
