/*
 * Inside bios/: compressed data unpacked piece by piece, in the formats that kernels are packed
 * with and that libraries of the host can unpack: xz, zstd, gzip.
 *
 * Neither the whole packed data nor the whole result is ever in memory. What a library keeps of the
 * result, to copy from it, is bounded by UNPACK_MEMORY_MAX; data that needs more is refused.
 */
#ifndef DOPPEL_BIOS_UNPACK_H
#define DOPPEL_BIOS_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNPACK_MEMORY_MAX (72u << 20)

/* Where packed data is. */
struct unpack_source {
    bool (*read)(void *opaque, uint64_t offset, void *bytes, size_t count); /* false: cannot be */
    void *opaque;
    uint64_t size;
};

struct unpacker;

/* The length of the result must be known; another one is an error. All functions that fail leave a
 * few words why in *reason. */
struct unpacker *unpack_open(const struct unpack_source *source, uint64_t unpacked_size,
                             const char **reason);
/* The next `count` bytes of the result; with NULL they are passed over. */
bool unpack_read(struct unpacker *unpacker, uint8_t *bytes, size_t count, const char **reason);
/* Passes over the rest of the result: it must have its length, and its checksum if it has one. */
bool unpack_finish(struct unpacker *unpacker, const char **reason);
void unpack_close(struct unpacker *unpacker); /* or NULL */

#endif
