/*
 * The decoder: bytes to struct insn, by the table isa.def.
 */
#ifndef DOPPEL_CPU_DECODE_H
#define DOPPEL_CPU_DECODE_H

#include "cpu/isa.h"
#include "cpu/state.h"

/* What besides the bytes decides how they decode. */
struct decode_context {
    uint8_t code_size;        /* 2, 4 or 8: 16-bit, 32-bit or 64-bit code segment */
    uint32_t mode;            /* enum cpu_mode_bit; MODE_PROTECTED matters */
    const uint64_t *features; /* bit set by enum cpu_feature, as cpu->features */
};

/*
 * Decodes one instruction and returns its length, 1 to 15. Returns 0 when it continues beyond the
 * `available` bytes (fewer than 15): come back with more. Undefined encodings and disallowed LOCK
 * prefixes succeed as OP_UD, more than 15 bytes as OP_TOO_LONG: their semantic functions raise the
 * fault. Any thread; allocates nothing.
 */
int decode(const struct decode_context *context, const uint8_t *bytes, size_t available,
           struct insn *insn);

static inline struct decode_context decode_context(const struct cpu *cpu)
{
    struct decode_context context = {
        .code_size = cpu->mode & MODE_CODE64   ? 8
                     : cpu->mode & MODE_CODE32 ? 4
                                               : 2,
        .mode = cpu->mode,
        .features = cpu->features,
    };
    return context;
}

#endif
