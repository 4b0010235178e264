/*
 * Short programs for instructions that mean little on random operands: indirect and far control
 * flow, selectors, flags from the stack, images of state whose addresses differ between processors.
 * The instructions before it give the instruction its operands; those behind overwrite what cannot
 * be compared.
 */
#include "tests/cpu/oracle.h"
#include "cpu/decode.h"
#include "cpu/state.h"

#include <string.h>

/* Where an address of the case's own code stands, to be filled in when all of it is there. */
struct fixup {
    unsigned at, size;
    bool to_end; /* code of another size: what follows is not meant for it */
};

struct builder {
    struct generator *g;
    struct test_case *test;
    int bits;
    struct fixup fixup[4];
    unsigned fixups;
    bool foreign; /* the last code selector was not the case's */
};

static unsigned below(struct builder *b, unsigned limit)
{
    return (unsigned)(generate_random(b->g) >> 33) % limit;
}

static void put(struct builder *b, uint64_t value, unsigned size)
{
    memcpy(b->test->code + b->test->length, &value, size);
    b->test->length += size;
}

static void put_bytes(struct builder *b, const char *bytes, unsigned size)
{
    memcpy(b->test->code + b->test->length, bytes, size);
    b->test->length += size;
}

/* An instruction begins, or the code ends. */
static void begin(struct builder *b)
{
    struct test_case *test = b->test;
    if (test->length > test->at[test->count])
        test->count++;
    test->at[test->count] = (uint8_t)test->length;
}

/* -- Pieces -- */

/* An offset in the code, as a value of `size` bytes. */
static void put_target(struct builder *b, unsigned size)
{
    b->fixup[b->fixups++] = (struct fixup){.at = b->test->length, .size = size};
    put(b, 0, size);
}

/* MOV of 32 bits; in 64-bit code the upper half becomes 0. */
static void load_register(struct builder *b, unsigned reg, uint32_t value)
{
    begin(b);
    if (b->bits == 16)
        put(b, 0x66, 1);
    put(b, 0xb8 + reg, 1);
    put(b, value, 4);
}

/* The operand size prefix for 2, 4 or 8 bytes. */
static void put_size(struct builder *b, unsigned size)
{
    if (size == 8)
        put(b, 0x48, 1);
    else if ((size == 2) != (b->bits == 16))
        put(b, 0x66, 1);
}

/* ModRM and displacement of [RBX + disp], or [BX + disp]. */
static void put_modrm(struct builder *b, unsigned reg, int disp)
{
    put(b, 0x80 | reg << 3 | (b->bits == 16 ? 7 : 3), 1);
    put(b, (uint64_t)disp, b->bits == 16 ? 2 : 4);
}

/* MOV [RBX + disp], value; 8 bytes only in 64-bit code. */
static void store_head(struct builder *b, int disp, unsigned size)
{
    begin(b);
    put_size(b, size);
    put(b, 0xc7, 1);
    put_modrm(b, 0, disp);
}

static void store(struct builder *b, int disp, unsigned size, uint64_t value)
{
    store_head(b, disp, size);
    put(b, value, size > 4 ? 4 : size);
}

static void clear(struct builder *b, int disp, unsigned size)
{
    unsigned most = b->bits == 64 ? 8 : 4;
    for (unsigned at = 0, n; at < size; at += n) {
        n = size - at < 4 ? 2 : size - at < most ? 4 : most;
        store(b, disp + (int)at, n, 0);
    }
}

/* Makes room for `size` bytes on the stack. */
static void make_room(struct builder *b, unsigned size)
{
    begin(b);
    if (b->bits == 16)
        put_bytes(b, "\x67\x66", 2);
    if (b->bits == 64)
        put(b, 0x48, 1);
    put_bytes(b, "\x8d\x64\x24", 3); /* lea rsp, [rsp - size] */
    put(b, 0x100 - size, 1);
}

/* MOV [RSP + disp], ... of `size` bytes; the value follows. */
static void stack_head(struct builder *b, unsigned disp, unsigned size)
{
    begin(b);
    if (b->bits == 16)
        put(b, 0x67, 1);
    put_size(b, size);
    put_bytes(b, "\xc7\x44\x24", 3);
    put(b, disp, 1);
}

static void stack_value(struct builder *b, unsigned disp, unsigned size, uint32_t value)
{
    stack_head(b, disp, size);
    put(b, value, size > 4 ? 4 : size);
}

static void stack_target(struct builder *b, unsigned disp, unsigned size)
{
    stack_head(b, disp, size);
    put_target(b, size > 4 ? 4 : size);
}

/* Within the data from RBX's position, mostly aligned. */
static int place(struct builder *b)
{
    int disp = (int)below(b, 0xe00) - 0x700;
    return below(b, 6) ? disp & ~15 : disp;
}

static uint16_t any_selector(struct builder *b)
{
    static const uint16_t selectors[] = {
        0,
        1,
        3,
        USER_SELECTOR_CODE32,
        USER_SELECTOR_DATA,
        USER_SELECTOR_CODE64,
        USER_SELECTOR_CPU,
        0x08 | 3,
        0x10 | 3,
        0x18,
        0x40 | 3,
        0x50 | 3,
        0x60 | 3,
        0x80 | 3,
        0xfffc,
        USER_SELECTOR_DATA & ~3,
        USER_SELECTOR_CODE32 & ~2,
        7,
        USER_LOCAL(USER_SEGMENTS + 1),
    };
    if (below(b, 2))
        return (uint16_t)USER_LOCAL(1 + below(b, USER_SEGMENTS));
    return selectors[below(b, sizeof selectors / sizeof *selectors)];
}

/* Mostly the one that the code runs in. */
static uint16_t code_selector(struct builder *b)
{
    if (below(b, 3))
        return b->bits == 64   ? USER_SELECTOR_CODE64
               : b->bits == 32 ? USER_SELECTOR_CODE32
                               : USER_SELECTOR_CODE16;
    b->foreign = true;
    return any_selector(b);
}

static uint16_t stack_selector(struct builder *b)
{
    if (below(b, 3))
        return b->bits == 16 ? USER_SELECTOR_DATA16 : USER_SELECTOR_DATA;
    return any_selector(b);
}

/* 2 or 4 bytes, in 64-bit code 8 too. */
static unsigned any_size(struct builder *b)
{
    return 2u << below(b, b->bits == 64 ? 3 : 2);
}

/* AMD processors have no far pointers with 64-bit offsets: compared where both sides do. */
static unsigned far_pointer_size(struct builder *b)
{
    return b->g->no_far64 ? 2u << below(b, 2) : any_size(b);
}

/* -- Control flow -- */

static void near_indirect(struct builder *b)
{
    unsigned form = below(b, 2) ? 4 : 2; /* JMP or CALL */
    unsigned size = b->bits == 64 ? 8 : below(b, 8) ? (unsigned)b->bits / 8 : any_size(b);
    if (below(b, 2)) {
        begin(b);
        put_size(b, b->bits == 64 ? 4 : size);
        put(b, 0xb8 + RDX, 1);
        put_target(b, b->bits == 64 ? 4 : size);
        begin(b);
        put_size(b, b->bits == 64 ? 4 : size);
        put(b, 0xff, 1);
        put(b, 0xc0 | form << 3 | RDX, 1);
        return;
    }
    int disp = place(b);
    store_head(b, disp, size);
    put_target(b, size > 4 ? 4 : size);
    begin(b);
    put_size(b, b->bits == 64 ? 4 : size);
    put(b, 0xff, 1);
    put_modrm(b, form, disp);
}

static void far_indirect(struct builder *b)
{
    unsigned form = below(b, 2) ? 5 : 3, size = far_pointer_size(b);
    int disp = place(b);
    store_head(b, disp, size);
    put_target(b, size > 4 ? 4 : size);
    store(b, disp + (int)size, 2, code_selector(b));
    begin(b);
    put_size(b, size);
    put(b, 0xff, 1);
    put_modrm(b, form, disp);
}

static void far_direct(struct builder *b)
{
    unsigned size = 2u << below(b, 2);
    begin(b);
    put_size(b, size);
    put(b, below(b, 2) ? 0x9a : 0xea, 1);
    put_target(b, size);
    put(b, code_selector(b), 2);
}

static void near_return(struct builder *b)
{
    unsigned size = b->bits == 64 ? 8 : below(b, 8) ? (unsigned)b->bits / 8 : any_size(b);
    make_room(b, size);
    stack_target(b, 0, size);
    begin(b);
    put_size(b, b->bits == 64 ? 4 : size);
    if (below(b, 2)) {
        put(b, 0xc3, 1);
    } else {
        put(b, 0xc2, 1);
        put(b, below(b, 64) * 2, 2);
    }
}

static void far_return(struct builder *b)
{
    unsigned size = any_size(b);
    make_room(b, 2 * size);
    stack_target(b, 0, size);
    stack_value(b, size, size, code_selector(b));
    begin(b);
    put_size(b, size);
    if (below(b, 2)) {
        put(b, 0xcb, 1);
    } else {
        put(b, 0xca, 1);
        put(b, below(b, 64) * 2, 2);
    }
}

static uint32_t any_flags(struct builder *b)
{
    uint32_t flags = (uint32_t)generate_random(b->g);
    if (below(b, 4))
        flags &= ~(uint32_t)FLAG_TF;
    if (below(b, 4))
        flags &= ~(uint32_t)FLAG_AC;
    return flags & ~(uint32_t)FLAG_DF;
}

static void interrupt_return(struct builder *b)
{
    unsigned size = any_size(b), items = b->bits == 64 ? 5 : 3;
    make_room(b, items * size);
    stack_target(b, 0, size);
    stack_value(b, size, size, code_selector(b));
    stack_value(b, 2 * size, size, any_flags(b));
    if (items == 5) {
        stack_value(b, 3 * size, size, USER_DATA + USER_DATA_SIZE / 2 + below(b, 64) * 8);
        stack_value(b, 4 * size, size, stack_selector(b));
    }
    begin(b);
    put_size(b, size);
    put(b, 0xcf, 1);
}

/* -- Flags and segments -- */

static void pop_flags(struct builder *b)
{
    unsigned size = b->bits == 64 ? 8 : any_size(b);
    make_room(b, size);
    stack_value(b, 0, size, any_flags(b));
    begin(b);
    put_size(b, size == 8 ? 4 : size);
    put(b, 0x9d, 1);
}

static void move_segment(struct builder *b)
{
    static const uint8_t registers[] = {SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS};
    uint16_t selector = any_selector(b);
    load_register(b, RDX, selector);
    begin(b);
    put(b, 0x8e, 1);
    put(b, 0xc0 | registers[below(b, 5)] << 3 | RDX, 1);
}

static void pop_segment(struct builder *b)
{
    static const char *const codes[] = {"\x0f\xa1", "\x0f\xa9", "\x07", "\x17", "\x1f"};
    const char *code = codes[below(b, b->bits == 64 ? 2 : 5)];
    unsigned size = b->bits == 64 ? 8 : any_size(b);
    make_room(b, size);
    stack_value(b, 0, size, any_selector(b));
    begin(b);
    put_size(b, size == 8 ? 4 : size);
    put_bytes(b, code, (unsigned)strlen(code));
}

static void load_far_pointer(struct builder *b)
{
    static const char *const codes[] = {"\x0f\xb2", "\x0f\xb4", "\x0f\xb5", "\xc4", "\xc5"};
    const char *code = codes[below(b, b->bits == 64 ? 3 : 5)];
    unsigned size = far_pointer_size(b);
    int disp = place(b);
    store(b, disp + (int)size, 2, any_selector(b));
    begin(b);
    put_size(b, size);
    put_bytes(b, code, (unsigned)strlen(code));
    put_modrm(b, RDX, disp);
}

/* LAR, LSL, VERR, VERW. */
static void examine_selector(struct builder *b)
{
    static const char *const codes[] = {"\x0f\x02\xca", "\x0f\x03\xca", "\x0f\x00\xe2",
                                        "\x0f\x00\xea"};
    load_register(b, RDX, any_selector(b) | (below(b, 4) ? 0 : 0xabcd0000));
    begin(b);
    put_size(b, any_size(b));
    put_bytes(b, codes[below(b, 4)], 3);
}

/* -- Images -- */

/* FNSTENV, FNSAVE: the addresses are cleared. */
static void store_environment(struct builder *b)
{
    unsigned size = 2u << below(b, 2);
    int disp = place(b);
    bool save = below(b, 2);
    begin(b);
    put_size(b, size);
    put(b, save ? 0xdd : 0xd9, 1);
    put_modrm(b, 6, disp);
    clear(b, disp + 3 * (int)size, 4 * size);
}

/* FXSAVE: addresses, opcode and MXCSR_MASK are cleared. The pointer becomes aligned. */
static void fxsave(struct builder *b)
{
    uint32_t data = b->bits == 16 ? USER_DATA - USER_BASE : USER_DATA;
    load_register(b, RBX, data + 0x400 + below(b, 64) * 16);
    begin(b);
    if (b->bits == 64 && below(b, 2))
        put(b, 0x48, 1);
    put_bytes(b, "\x0f\xae", 2);
    put_modrm(b, 0, 0);
    clear(b, 6, 2);
    clear(b, 8, 16);
    clear(b, 28, 4);
}

static void load_xsave_operands(struct builder *b)
{
    uint32_t data = b->bits == 16 ? USER_DATA - USER_BASE : USER_DATA;
    uint32_t mask = feature_test(b->g->features, FEATURE_AVX) ? 7 : 3;
    load_register(b, RBX, data + 0x400 + below(b, 32) * 64);
    load_register(b, RAX, below(b, 4) ? mask : below(b, mask + 1));
    load_register(b, RDX, 0);
}

static void xsave(struct builder *b)
{
    load_xsave_operands(b);
    begin(b);
    if (b->bits == 64 && below(b, 2))
        put(b, 0x48, 1);
    put_bytes(b, "\x0f\xae", 2);
    put_modrm(b, 4, 0);
    clear(b, 6, 2);
    clear(b, 8, 16);
    clear(b, 28, 4);
    clear(b, 512, 4); /* whether a component in its initial state is in use */
}

static void xrstor(struct builder *b)
{
    load_xsave_operands(b);
    if (below(b, 8))
        store(b, 24, 4, 0x1f80 | (below(b, 4) << 13));
    store(b, 512, 4, below(b, feature_test(b->g->features, FEATURE_AVX) ? 8 : 4));
    store(b, 516, 4, 0);
    if (below(b, 16))
        clear(b, 520, 16);
    begin(b);
    if (b->bits == 64 && below(b, 2))
        put(b, 0x48, 1);
    put_bytes(b, "\x0f\xae", 2);
    put_modrm(b, 5, 0);
}

/* XGETBV of XCR0: the components that both sides have. */
static void read_xcr0(struct builder *b)
{
    load_register(b, RCX, 0);
    begin(b);
    put_bytes(b, "\x0f\x01\xd0", 3);
    begin(b);
    put_bytes(b, "\x83\xe0\x03", 3); /* and eax, 3 */
}

/* RDTSC, RDTSCP: only that they are allowed, and TSC_AUX. RDRAND: its flags. */
static void read_unrepeatable(struct builder *b)
{
    static const struct {
        const char *code;
        enum cpu_feature feature;
    } reads[] = {{"\x0f\x31", FEATURE_TSC},
                 {"\x0f\x01\xf9", FEATURE_RDTSCP},
                 {"\x0f\xc7\xf0", FEATURE_RDRAND},
                 {"\x0f\xc7\xf8", FEATURE_RDSEED},
                 {"\x0f\xa2", FEATURE_BASE}};
    unsigned i = below(b, sizeof reads / sizeof *reads);
    if (reads[i].feature != FEATURE_BASE && !feature_test(b->g->features, reads[i].feature))
        return;
    begin(b);
    put_bytes(b, reads[i].code, (unsigned)strlen(reads[i].code));
    load_register(b, RAX, 0);
    load_register(b, RDX, 0);
    if (reads[i].feature == FEATURE_BASE) {
        load_register(b, RCX, 0);
        load_register(b, RBX, USER_DATA);
    }
}

static const struct pattern {
    void (*make)(struct builder *b);
    unsigned room; /* instructions at most */
    enum cpu_feature feature;
    bool not64;
    uint16_t op[5]; /* for --only and coverage */
    bool whole;     /* what stands behind the instruction must not be taken away */
} patterns[] = {
    {near_indirect, 2, FEATURE_BASE, false, {OP_JMP, OP_CALL}, false},
    {far_indirect, 3, FEATURE_BASE, false, {OP_JMP_FAR, OP_CALL_FAR}, false},
    {far_direct, 1, FEATURE_BASE, true, {OP_JMP_FAR, OP_CALL_FAR}, false},
    {near_return, 3, FEATURE_BASE, false, {OP_RET}, false},
    {far_return, 4, FEATURE_BASE, false, {OP_RET_FAR}, false},
    {interrupt_return, 7, FEATURE_BASE, false, {OP_IRET}, false},
    {pop_flags, 3, FEATURE_BASE, false, {OP_POPF}, false},
    {move_segment, 2, FEATURE_BASE, false, {OP_MOV_SREG}, false},
    {pop_segment, 3, FEATURE_BASE, false, {OP_POP_SREG}, false},
    {load_far_pointer, 2, FEATURE_BASE, false, {OP_LES, OP_LDS, OP_LSS, OP_LFS, OP_LGS}, false},
    {examine_selector, 2, FEATURE_BASE, false, {OP_LAR, OP_LSL, OP_VERR, OP_VERW}, false},
    {store_environment, 5, FEATURE_FPU, false, {OP_FNSTENV, OP_FNSAVE}, true},
    {fxsave, 8, FEATURE_FXSR, false, {OP_FXSAVE}, true},
    {xsave, 11, FEATURE_XSAVE, false, {OP_XSAVE}, true},
    {xrstor, 12, FEATURE_XSAVE, false, {OP_XRSTOR}, true},
    {read_xcr0, 3, FEATURE_XSAVE, false, {OP_XGETBV}, true},
    {read_unrepeatable, 5, FEATURE_BASE, false, {OP_RDTSC, OP_RDTSCP, OP_RDRAND, OP_CPUID}, true},
};

bool template_has(unsigned op)
{
    for (unsigned i = 0; i < sizeof patterns / sizeof *patterns; i++)
        for (unsigned j = 0; j < sizeof patterns[i].op / sizeof *patterns[i].op; j++)
            if (patterns[i].op[j] == op && op)
                return true;
    return false;
}

static bool pattern_is(const struct pattern *pattern, const char *only)
{
    for (unsigned j = 0; only && j < sizeof pattern->op / sizeof *pattern->op; j++)
        if (pattern->op[j] && strcmp(isa_op_names[pattern->op[j]], only) == 0)
            return true;
    return !only;
}

void template_make(struct case_maker *maker, struct test_case *test,
                   struct template_targets *targets)
{
    struct builder b = {.g = &maker->generator, .test = test, .bits = maker->bits};
    const struct pattern *pattern = &patterns[below(&b, sizeof patterns / sizeof *patterns)];
    bool exists =
        pattern->feature == FEATURE_BASE || feature_test(maker->features, pattern->feature);
    if (!exists || (pattern->not64 && b.bits == 64) || !pattern_is(pattern, maker->only) ||
        test->count + pattern->room > ORACLE_MAX_LENGTH - 1)
        return;
    unsigned first = test->count;
    pattern->make(&b);
    begin(&b);
    for (unsigned i = first; i < test->count && pattern->whole; i++)
        test->group[i] = (uint8_t)(first + 1);
    for (unsigned i = first; i < test->count; i++)
        maker->covered[case_insn(test, i, maker->features).op]++;
    for (unsigned i = 0; i < b.fixups; i++) {
        if (targets->count == sizeof targets->target / sizeof *targets->target)
            return;
        struct fixup *f = &b.fixup[i];
        targets->target[targets->count].at = f->at;
        targets->target[targets->count].size = f->size;
        targets->target[targets->count].to_end = b.foreign;
        targets->target[targets->count++].first = test->count;
    }
}

void template_aim(struct test_case *test, const struct template_targets *targets,
                  struct generator *g)
{
    for (unsigned i = 0; i < targets->count; i++) {
        unsigned first = targets->target[i].first;
        unsigned index = first + (unsigned)(generate_random(g) % (test->count - first + 1));
        if (targets->target[i].to_end)
            index = test->count;
        uint64_t target = case_rip(test) + test->at[case_enterable(test, index)];
        memcpy(test->code + targets->target[i].at, &target, targets->target[i].size);
    }
}
