/*
 * Prints docs/isa.md from the instruction table, the translator's tables and the oracle's: `make
 * docs` writes it, and the test docs-isa finds it out of date.
 *
 * How an instruction runs is asked of the translator for this host, so a host without all the
 * instruction sets cannot print the document: exit status 77.
 */
#include "cpu/decode.h"
#include "cpu/host.h"
#include "tests/cpu/oracle.h"
#include "translator/lift.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t all_features[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};

static const char *const feature_names[FEATURE_COUNT] = {
#define FEATURE(name, leaf, subleaf, reg, bit) #name,
#include "cpu/features.def"
#undef FEATURE
};

/* Some instruction that the row decodes to. */
static bool example_of(unsigned row, struct insn *insn)
{
    for (int bits = 64; bits >= 16; bits /= 2) {
        struct generator generator = {.bits = bits, .features = all_features, .seed = 1};
        struct decode_context context = {
            .code_size = (uint8_t)(bits / 8), .mode = MODE_PROTECTED, .features = all_features};
        uint8_t bytes[GENERATE_MAX] = {0};
        int length = isa_encode_row(&generator, row, bytes);
        if (length > 0 && decode(&context, bytes, (size_t)length, insn) == length)
            return true;
    }
    return false;
}

/* As lift_one() in translator/lift.c decides. */
static const char *runs_as(unsigned row)
{
    struct insn insn;
    unsigned op = isa_rows[row].op;
    if (lifters_integer[op] || lifters_flow[op] || lifters_system[op])
        return "IR";
    if (!example_of(row, &insn))
        return "call";
    if (isa_rows[row].attributes & ISA_VSIB)
        return "IR";
    if (host_has_vector(&insn) || host_has_x87(&insn) || lift_has_bits(&insn))
        return "native";
    return "call";
}

static void print_name(const char *name)
{
    for (const char *p = name; *p && *p != '_'; p++)
        putchar(*p);
}

static void print_row(unsigned index)
{
    const struct isa_row *row = &isa_rows[index];
    const char *why = oracle_skipped(row->op, false);
    if (!why && row->attributes & ISA_PRIV)
        why = "only its fault";
    printf("| ");
    print_name(isa_op_names[row->op]);
    printf(" | `%s` | %s | %s%s | %s | %s | %s |\n", row->encoding, row->operands,
           row->feature == FEATURE_BASE ? "" : feature_names[row->feature],
           row->attributes & ISA_AVX2Y ? ", 256 bits AVX2" : "", row->flags, runs_as(index),
           why ? why : "yes");
}

static int by_name(const void *a, const void *b)
{
    const uint16_t *x = a, *y = b;
    int order = strcmp(isa_op_names[isa_rows[*x].op], isa_op_names[isa_rows[*y].op]);
    return order ? order : *x - *y;
}

static const char head[] =
    "# The instructions\n"
    "\n"
    "Made from `cpu/isa.def` by `make docs`; the letters of operands and flags are explained "
    "there.\n"
    "\n"
    "* **Flags**: read / written / left undefined, of `oszapc`.\n"
    "* **Runs as**: how the translator for x86-64 hosts executes it. *IR*: lifted to operations "
    "of\n"
    "  `translator/ir.def`. *native*: the same instruction of the host, with the guest's operands. "
    "*call*: the\n"
    "  interpreter's function. Without the extension on the host, *native* becomes *call*.\n"
    "* **Oracle**: compared with the host processor by `tests/cpu/oracle` on both engines; "
    "otherwise the reason\n"
    "  why not. Every row is also compared with Capstone (`tests/cpu/test_decode`), x87, MMX and "
    "SSE rows with\n"
    "  the host by `tests/cpu/test_sse`.\n";

int main(void)
{
    static uint16_t order[UINT16_MAX];
    unsigned count = 0;
    char letter = 0;
    for (unsigned row = 2; row < isa_row_count; row++) {
        const struct isa_row *r = &isa_rows[row];
        if (r->feature != FEATURE_BASE && r->vex && !host_has_feature(r->feature)) {
            printf("the host has no %s\n", feature_names[r->feature]);
            return 77;
        }
        order[count++] = (uint16_t)row;
    }
    qsort(order, count, sizeof *order, by_name);
    fputs(head, stdout);
    printf("\n%u encodings.\n", count);
    for (unsigned i = 0; i < count; i++) {
        const char *name = isa_op_names[isa_rows[order[i]].op];
        if (*name != letter) {
            letter = *name;
            printf("\n## %c\n\n", letter);
            printf("| Instruction | Encoding | Operands | Feature | Flags | Runs as | Oracle |\n");
            printf("| --- | --- | --- | --- | --- | --- | --- |\n");
        }
        print_row(order[i]);
    }
    return 0;
}
