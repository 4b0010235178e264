/*
 * A kernel's payload as Linux's build makes it, in small: an ELF file with a table of relocations
 * behind it, packed, with its size at the end.
 */
#ifndef DOPPEL_TESTS_BIOS_PAYLOAD_BENCH_H
#define DOPPEL_TESTS_BIOS_PAYLOAD_BENCH_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_PREFERRED 0x1000000u
#define BENCH_LINK_BASE (0x80000000u + BENCH_PREFERRED)
#define BENCH_SEGMENTS  3
#define BENCH_MEMORY    0x9000u
#define BENCH_ENTRY     0x40u
#define BENCH_ELF       0x8000u /* where the table begins */
#define BENCH_WORDS     64

/* What a test changes before it packs it. */
struct bench_kernel {
    Elf64_Ehdr header;
    Elf64_Phdr segment[BENCH_SEGMENTS + 1]; /* the last is no PT_LOAD */
    uint32_t table[BENCH_WORDS];
    unsigned words;
};

/* A sound one, with the table of a Linux before 6.15. */
void bench_kernel_init(struct bench_kernel *kernel);

enum bench_format { BENCH_XZ, BENCH_XZ_BCJ, BENCH_ZSTD, BENCH_GZIP, BENCH_FORMATS };

struct bench_payload {
    uint8_t *bytes; /* from malloc */
    size_t size;
};

struct bench_payload bench_pack(enum bench_format format, const void *bytes, size_t size);
struct bench_payload bench_pack_kernel(enum bench_format format, const struct bench_kernel *kernel);

/* The memory that a kernel fills: BENCH_MEMORY bytes. */
void bench_expect_memory(const struct bench_kernel *kernel, uint8_t *memory);

#endif
