#include "bios/unpack.h"
#include "hw/alloc.h"

#include <lzma.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define INPUT_BYTES 65536

/* Address space for a result that is smaller than UNPACK_MEMORY_MAX as a whole: of a larger window
 * only as much as the result has is ever touched. */
#define XZ_SPACE_MAX      (256u << 20)
#define ZSTD_WINDOW_SMALL 26 /* 64 MiB */
#define ZSTD_WINDOW_MAX   27

enum step { STEP_ON, STEP_END, STEP_FAILED, STEP_TOO_LARGE };

/* What a library is to read and to write; a step moves both on. */
struct step_bytes {
    const uint8_t *in;
    size_t in_left;
    uint8_t *out;
    size_t out_left;
};

struct format {
    uint8_t magic_size, magic[6];
    const char
        *refusal; /* of a format that is known only; NULL for those that have the functions */
    bool (*open)(struct unpacker *unpacker);
    enum step (*step)(struct unpacker *unpacker, struct step_bytes *bytes);
    void (*close)(struct unpacker *unpacker);
};

struct unpacker {
    const struct format *format;
    struct unpack_source source;
    uint64_t source_done; /* read into `input` */
    uint64_t left;        /* of the result */
    bool ended;
    union {
        lzma_stream xz;
        z_stream gzip;
        ZSTD_DStream *zstd;
    };
    const uint8_t *next;
    size_t available;
    uint8_t input[INPUT_BYTES];
};

/* -- Formats -- */

static bool open_xz(struct unpacker *unpacker)
{
    uint64_t limit = unpacker->left <= UNPACK_MEMORY_MAX ? XZ_SPACE_MAX : UNPACK_MEMORY_MAX;

    unpacker->xz = (lzma_stream)LZMA_STREAM_INIT;
    return lzma_stream_decoder(&unpacker->xz, limit, 0) == LZMA_OK;
}

static enum step step_xz(struct unpacker *unpacker, struct step_bytes *bytes)
{
    lzma_stream *xz = &unpacker->xz;

    xz->next_in = bytes->in;
    xz->avail_in = bytes->in_left;
    xz->next_out = bytes->out;
    xz->avail_out = bytes->out_left;
    lzma_ret result = lzma_code(xz, LZMA_RUN);
    *bytes = (struct step_bytes){xz->next_in, xz->avail_in, xz->next_out, xz->avail_out};
    switch (result) {
    case LZMA_OK:
        return STEP_ON;
    case LZMA_STREAM_END:
        return STEP_END;
    case LZMA_MEMLIMIT_ERROR:
    case LZMA_MEM_ERROR:
        return STEP_TOO_LARGE;
    default:
        return STEP_FAILED;
    }
}

static void close_xz(struct unpacker *unpacker)
{
    lzma_end(&unpacker->xz);
}

static bool open_zstd(struct unpacker *unpacker)
{
    int window = unpacker->left <= UNPACK_MEMORY_MAX ? ZSTD_WINDOW_MAX : ZSTD_WINDOW_SMALL;

    unpacker->zstd = ZSTD_createDStream();
    return unpacker->zstd &&
           !ZSTD_isError(ZSTD_DCtx_setParameter(unpacker->zstd, ZSTD_d_windowLogMax, window));
}

static enum step step_zstd(struct unpacker *unpacker, struct step_bytes *bytes)
{
    ZSTD_inBuffer in = {bytes->in, bytes->in_left, 0};
    ZSTD_outBuffer out = {bytes->out, bytes->out_left, 0};
    size_t result = ZSTD_decompressStream(unpacker->zstd, &out, &in);

    bytes->in += in.pos;
    bytes->in_left -= in.pos;
    bytes->out += out.pos;
    bytes->out_left -= out.pos;
    if (!ZSTD_isError(result))
        return result == 0 ? STEP_END : STEP_ON;
    ZSTD_ErrorCode code = ZSTD_getErrorCode(result);
    return code == ZSTD_error_frameParameter_windowTooLarge || code == ZSTD_error_memory_allocation
               ? STEP_TOO_LARGE
               : STEP_FAILED;
}

static void close_zstd(struct unpacker *unpacker)
{
    ZSTD_freeDStream(unpacker->zstd);
}

static bool open_gzip(struct unpacker *unpacker)
{
    unpacker->gzip = (z_stream){0};
    return inflateInit2(&unpacker->gzip, MAX_WBITS + 16) == Z_OK;
}

static enum step step_gzip(struct unpacker *unpacker, struct step_bytes *bytes)
{
    z_stream *gzip = &unpacker->gzip;

    gzip->next_in = (Bytef *)bytes->in; /* only read */
    gzip->avail_in = (uInt)bytes->in_left;
    gzip->next_out = bytes->out;
    gzip->avail_out = (uInt)bytes->out_left;
    int result = inflate(gzip, Z_NO_FLUSH);
    *bytes = (struct step_bytes){gzip->next_in, gzip->avail_in, gzip->next_out, gzip->avail_out};
    if (result == Z_OK || result == Z_BUF_ERROR)
        return STEP_ON;
    return result == Z_STREAM_END ? STEP_END : STEP_FAILED;
}

static void close_gzip(struct unpacker *unpacker)
{
    inflateEnd(&unpacker->gzip);
}

static const struct format formats[] = {
    {6, {0xfd, '7', 'z', 'X', 'Z', 0}, NULL, open_xz, step_xz, close_xz},
    {4, {0x28, 0xb5, 0x2f, 0xfd}, NULL, open_zstd, step_zstd, close_zstd},
    {3, {0x1f, 0x8b, 8}, NULL, open_gzip, step_gzip, close_gzip},
    {4, {0x02, 0x21, 0x4c, 0x18}, "it is packed with lz4", NULL, NULL, NULL},
    {3, {0x89, 'L', 'Z'}, "it is packed with lzo", NULL, NULL, NULL},
    {3, {0x5d, 0, 0}, "it is packed with lzma", NULL, NULL, NULL},
    {3, {'B', 'Z', 'h'}, "it is packed with bzip2", NULL, NULL, NULL},
};

/* -- Reading -- */

static bool fail(const char **reason, const char *why)
{
    *reason = why;
    return false;
}

static bool fill_input(struct unpacker *unpacker)
{
    uint64_t left = unpacker->source.size - unpacker->source_done;
    size_t count = left < sizeof unpacker->input ? (size_t)left : sizeof unpacker->input;

    if (!unpacker->source.read(unpacker->source.opaque, unpacker->source_done, unpacker->input,
                               count))
        return false;
    unpacker->source_done += count;
    unpacker->next = unpacker->input;
    unpacker->available = count;
    return true;
}

/* One call of the library, with something to read if there is anything. False: nothing moves on. */
static bool run_step(struct unpacker *unpacker, uint8_t **out, size_t *out_left,
                     const char **reason)
{
    if (!unpacker->available && !fill_input(unpacker))
        return fail(reason, "its file cannot be read");
    struct step_bytes bytes = {unpacker->next, unpacker->available, *out, *out_left};
    enum step step = unpacker->format->step(unpacker, &bytes);
    bool moved = bytes.in_left != unpacker->available || bytes.out_left != *out_left;

    unpacker->next = bytes.in;
    unpacker->available = bytes.in_left;
    *out = bytes.out;
    *out_left = bytes.out_left;
    unpacker->ended = step == STEP_END;
    if (step == STEP_TOO_LARGE)
        return fail(reason, "unpacking it takes too much memory");
    if (step == STEP_FAILED || (step == STEP_ON && !moved))
        return fail(reason, "its packed data is damaged");
    return true;
}

static bool read_some(struct unpacker *unpacker, uint8_t *bytes, size_t count, const char **reason)
{
    while (count) {
        if (unpacker->ended)
            return fail(reason, "it is shorter than it says");
        if (!run_step(unpacker, &bytes, &count, reason))
            return false;
    }
    return true;
}

bool unpack_read(struct unpacker *unpacker, uint8_t *bytes, size_t count, const char **reason)
{
    uint8_t passed[16384];

    if (count > unpacker->left)
        return fail(reason, "it is shorter than it says");
    unpacker->left -= count;
    if (bytes)
        return read_some(unpacker, bytes, count, reason);
    for (size_t step; count; count -= step) {
        step = count < sizeof passed ? count : sizeof passed;
        if (!read_some(unpacker, passed, step, reason))
            return false;
    }
    return true;
}

bool unpack_finish(struct unpacker *unpacker, const char **reason)
{
    uint8_t more;

    if (!unpack_read(unpacker, NULL, unpacker->left, reason))
        return false;
    while (!unpacker->ended) {
        uint8_t *out = &more;
        size_t out_left = sizeof more;
        if (!run_step(unpacker, &out, &out_left, reason))
            return false;
        if (!out_left)
            return fail(reason, "it is longer than it says");
    }
    return true;
}

/* -- Life -- */

static const struct format *find_format(const struct unpack_source *source)
{
    uint8_t head[6] = {0};

    if (source->size < sizeof head || !source->read(source->opaque, 0, head, sizeof head))
        return NULL;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (memcmp(head, formats[i].magic, formats[i].magic_size) == 0)
            return &formats[i];
    return NULL;
}

struct unpacker *unpack_open(const struct unpack_source *source, uint64_t unpacked_size,
                             const char **reason)
{
    const struct format *format = find_format(source);

    if (!format || format->refusal) {
        *reason = format ? format->refusal : "it is packed in an unknown way";
        return NULL;
    }
    struct unpacker *unpacker = alloc_zeroed(sizeof *unpacker);
    unpacker->format = format;
    unpacker->source = *source;
    unpacker->left = unpacked_size;
    if (!format->open(unpacker)) {
        unpack_close(unpacker);
        *reason = "unpacking it takes too much memory";
        return NULL;
    }
    return unpacker;
}

void unpack_close(struct unpacker *unpacker)
{
    if (unpacker)
        unpacker->format->close(unpacker);
    free(unpacker);
}
