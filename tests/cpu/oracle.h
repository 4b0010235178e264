/*
 * The oracle's parts: cases (oracle_case.c), their comparison (oracle_compare.c), their recorded
 * outcomes (oracle_record.c).
 */
#ifndef DOPPEL_TESTS_CPU_ORACLE_H
#define DOPPEL_TESTS_CPU_ORACLE_H

#include "tests/cpu/generate.h"
#include "tests/cpu/native.h"
#include "tests/cpu/user_guest.h"

#include <stdio.h>

#define ORACLE_MAX_LENGTH 16

/* State and memory of a program, before or after it ran. */
struct image {
    struct user_state state;
    uint8_t data[USER_DATA_SIZE];
};

/* State and memory at first follow from the seed alone. */
struct test_case {
    int bits;
    uint64_t state_seed;
    unsigned length, count;
    uint8_t code[ORACLE_MAX_LENGTH * GENERATE_MAX];
    uint8_t at[ORACLE_MAX_LENGTH + 1]; /* where each instruction starts; the last: the end */
    uint8_t group[ORACLE_MAX_LENGTH];  /* instructions that only make sense together; 0: alone */
    uint32_t undefined[ORACLE_MAX_LENGTH + 1]; /* flags before each instruction, and at the end */
};

/* What cases are made for and from. */
struct case_maker {
    int bits;
    unsigned length;  /* most instructions in a case */
    bool portable;    /* only what doppel computes the same on every host */
    bool same_vendor; /* the host is of the maker that doppel's CPUID names */
    const char *only; /* a mnemonic, or NULL for all */
    const uint64_t *features;
    struct generator generator;
    uint16_t rows[2048]; /* that may be generated */
    unsigned row_count;
    uint64_t covered[OP_COUNT];
};

/* -- oracle_case.c -- */

/* Makes a maker of `bits` code from its features; `only` is a mnemonic, or NULL. */
void case_maker_set(struct case_maker *maker, int bits, uint64_t seed, const char *only);
/* False if it came to nothing: then simply the next. */
bool case_make(struct case_maker *maker, struct test_case *test);
/* One instruction: form `form` (operand and address size, prefixes, memory or register) of the row
 * with index `row` in maker->rows. 1; 0 if it came to nothing; -1 if there are no more forms. */
int case_make_systematic(struct case_maker *maker, struct test_case *test, unsigned row,
                         unsigned form);
/* A case from code as text ("90 90"); false if it is too long. */
bool case_parse(struct test_case *test, int bits, uint64_t state_seed, const char *code,
                const uint64_t *features);
/* State of the processor and the data for a seed. */
void case_start(const struct test_case *test, struct image *image);
/* Decodes instruction `index` of the case. */
struct insn case_insn(const struct test_case *test, unsigned index, const uint64_t *features);
/* Where the case's code begins, as offset in its segment. */
uint64_t case_rip(const struct test_case *test);
/* Fills test->undefined; false if an undefined flag would be read. */
bool case_follow_undefined(struct test_case *test, const uint64_t *features);
/* Mnemonics that are left out, and why; NULL when it is not. */
const char *oracle_skipped(unsigned op, bool portable);
void oracle_print_coverage(const struct case_maker *maker);

/* -- oracle_template.c -- */

/* Places in a case's code that hold addresses of code, and the first instruction meant. */
struct template_targets {
    unsigned count;
    struct {
        unsigned at, size, first;
        bool to_end;
    } target[8];
};

/* Is the mnemonic one of those that templates are for? */
bool template_has(unsigned op);
/* Appends a random template to the case if there is room. */
void template_make(struct case_maker *maker, struct test_case *test,
                   struct template_targets *targets);
/* The case is complete: fills the targets in. */
void template_aim(struct test_case *test, const struct template_targets *targets,
                  struct generator *generator);

/* Instruction `index`, or the next that control may jump to: not within a group. */
unsigned case_enterable(const struct test_case *test, unsigned index);

/* -- oracle_compare.c -- */

/* Is doppel's outcome (state, data) another than the host's? Writes what differs to `out`, if not
 * NULL. */
bool case_differs(const struct test_case *test, const uint64_t *features, const struct image *host,
                  const struct user_state *ours, const uint8_t *our_data, bool vectors, FILE *out);

/* Switches rules of what is overlooked off, by number; prints how often each was needed. */
void case_rules_strict(uint64_t rules_off);
void case_rules_print(void);

/* -- oracle_record.c: cases with the host's outcomes in a file, for other hosts -- */

struct record;

/* NULL with a message if the file cannot be opened. The file knows the host's USER_SELECTOR_CPU. */
struct record *record_create(const char *path, uint32_t cpu_number_limit);
struct record *record_open(const char *path, uint32_t *cpu_number_limit);
void record_write(struct record *record, const struct test_case *test, const struct image *start,
                  const struct image *host);
/* False at the end; exits with a message if the file is damaged. */
bool record_read(struct record *record, struct test_case *test, const uint64_t *features,
                 struct image *start, struct image *host);
/* False if something could not be written. */
bool record_close(struct record *record);

#endif
