/*
 * Random valid encodings of the rows of isa.def, for tests of the decoder, the interpreter against
 * the host, and the translator against the interpreter.
 */
#ifndef DOPPEL_TESTS_CPU_GENERATE_H
#define DOPPEL_TESTS_CPU_GENERATE_H

#include "cpu/isa.h"

#define GENERATE_MAX 16

struct generator {
    int bits;                 /* 16, 32, 64: code segment */
    const uint64_t *features; /* rows without their feature are refused */
    uint64_t seed;            /* state of the random numbers; not 0 */

    /* With `aimed`, memory operands point into [data, data + data_size), whose middle the registers
     * of `pointers` hold; those of `indices` hold small values. */
    bool aimed;
    uint16_t pointers, indices; /* bit sets of GPRs */
    uint16_t vector_indices;    /* vector registers with small values, for gathers */
    uint64_t data;
    uint32_t data_size;
    uint64_t rip;        /* address at which the instruction will stand */
    uint16_t segments;   /* bit set of segment overrides that may be used */
    bool systematic;     /* prefixes and forms are not chosen at random but as `form` says: */
    unsigned form;       /* a bit for each choice, the lowest first; shifted out as they are made */
    bool no_far64;       /* no REX.W on instructions with a far pointer in memory */
    unsigned branch_max; /* relative branches go 0 to this many bytes forward; 0: anywhere */
};

/* One random encoding of the row; returns its length, 0 if the row does not exist in this mode. */
int isa_encode_row(struct generator *generator, unsigned row, uint8_t bytes[GENERATE_MAX]);

uint64_t generate_random(struct generator *generator);
/* A value that is likely to be interesting: edges of widths, small numbers, bit patterns. */
uint64_t generate_value(struct generator *generator);

#endif
