/*
 * Unpacking piece by piece: every format in pieces of every kind, and packed data that is damaged,
 * cut short, longer or shorter than it says, or would take too much memory.
 */
#include "bios/unpack.h"
#include "tests/bios/payload_bench.h"
#include "tests/hw/suite.h"

#include <lzma.h>
#include <string.h>
#include <zstd.h>

#define PLAIN_BYTES 100000u

static uint8_t plain[PLAIN_BYTES], result[PLAIN_BYTES];

static void setup(void)
{
    uint32_t x = 1;

    for (size_t i = 0; i < sizeof plain; i++) {
        x = x * 1103515245 + 12345;
        plain[i] = (uint8_t)(i % 5 == 0 ? 0xe8 : (x >> 16) & 15);
    }
}

static void teardown(void)
{
}

static bool read_bytes(void *opaque, uint64_t offset, void *bytes, size_t count)
{
    const struct bench_payload *payload = opaque;

    ck_assert(offset <= payload->size && count <= payload->size - offset);
    memcpy(bytes, payload->bytes + offset, count);
    return true;
}

static struct unpacker *open_payload(struct bench_payload *payload, uint64_t size,
                                     const char **reason)
{
    const struct unpack_source source = {read_bytes, payload, payload->size};

    return unpack_open(&source, size, reason);
}

/* Unpacks all in pieces of `piece` bytes: NULL, or why it cannot be. */
static const char *unpack_all(struct bench_payload *payload, size_t size, size_t piece)
{
    const char *reason = NULL;
    struct unpacker *unpacker = open_payload(payload, size, &reason);
    bool ok = unpacker != NULL;

    for (size_t done = 0; ok && done < size; done += piece) {
        if (piece > size - done)
            piece = size - done;
        ok = unpack_read(unpacker, result + done, piece, &reason);
    }
    ok = ok && unpack_finish(unpacker, &reason);
    unpack_close(unpacker);
    ck_assert(ok == !reason);
    return reason;
}

START_TEST(every_format_in_pieces)
{
    static const size_t pieces[] = {1, 13, 4096, 65537, PLAIN_BYTES};

    for (unsigned format = 0; format < BENCH_FORMATS; format++) {
        struct bench_payload payload = bench_pack(format, plain, sizeof plain);
        for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
            memset(result, 0, sizeof result);
            ck_assert_ptr_null(unpack_all(&payload, sizeof plain, pieces[i]));
            ck_assert_mem_eq(result, plain, sizeof plain);
        }
        free(payload.bytes);
    }
}
END_TEST

START_TEST(parts_are_passed_over)
{
    for (unsigned format = 0; format < BENCH_FORMATS; format++) {
        const char *reason;
        struct bench_payload payload = bench_pack(format, plain, sizeof plain);
        struct unpacker *unpacker = open_payload(&payload, sizeof plain, &reason);
        ck_assert(unpack_read(unpacker, NULL, 40000, &reason));
        ck_assert(unpack_read(unpacker, result, 100, &reason));
        ck_assert_mem_eq(result, plain + 40000, 100);
        ck_assert(!unpack_read(unpacker, NULL, PLAIN_BYTES, &reason));
        ck_assert(unpack_finish(unpacker, &reason));
        unpack_close(unpacker);
        free(payload.bytes);
    }
}
END_TEST

START_TEST(a_wrong_length_is_an_error)
{
    for (unsigned format = 0; format < BENCH_FORMATS; format++) {
        struct bench_payload payload = bench_pack(format, plain, sizeof plain - 1);
        ck_assert_str_eq(unpack_all(&payload, sizeof plain, 5000), "it is shorter than it says");
        ck_assert_str_eq(unpack_all(&payload, sizeof plain - 2, 5000), "it is longer than it says");
        free(payload.bytes);
    }
}
END_TEST

START_TEST(cut_short_is_an_error)
{
    for (unsigned format = 0; format < BENCH_FORMATS; format++) {
        struct bench_payload payload = bench_pack(format, plain, 3000);
        size_t whole = payload.size - (format == BENCH_GZIP ? 0 : 4);
        for (payload.size = 0; payload.size < whole; payload.size++)
            ck_assert_ptr_nonnull(unpack_all(&payload, 3000, 1000));
        payload.size = whole;
        ck_assert_ptr_null(unpack_all(&payload, 3000, 1000));
        free(payload.bytes);
    }
}
END_TEST

START_TEST(damage_is_found)
{
    for (unsigned format = 0; format < BENCH_FORMATS; format++) {
        struct bench_payload payload = bench_pack(format, plain, 3000);
        size_t missed = 0;
        for (size_t i = 0; i < 8 * payload.size; i++) {
            payload.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
            if (!unpack_all(&payload, 3000, 1000)) {
                ck_assert_mem_eq(result, plain, 3000);
                missed++;
            }
            payload.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        }
        ck_assert_uint_lt(missed, 100); /* the length at the end, a time stamp and the like */
        free(payload.bytes);
    }
}
END_TEST

START_TEST(other_formats_are_named)
{
    static const struct {
        const char *bytes, *reason;
    } others[] = {
        {"\x02\x21\x4c\x18xxxx", "it is packed with lz4"},
        {"\x89LZO\0\r\n\x1a", "it is packed with lzo"},
        {"BZh91AY&", "it is packed with bzip2"},
        {"\x7f"
         "ELFxxxx",
         "it is packed in an unknown way"},
    };
    struct bench_payload lzma = {(uint8_t *)"\x5d\0\0\0\x01\xff\xff\xff", 8};

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct bench_payload payload = {(uint8_t *)others[i].bytes, 8};
        ck_assert_str_eq(unpack_all(&payload, 1000, 1000), others[i].reason);
    }
    ck_assert_str_eq(unpack_all(&lzma, 1000, 1000), "it is packed with lzma");
}
END_TEST

static bool read_nothing(void *opaque, uint64_t offset, void *bytes, size_t count)
{
    return offset == 0 && count == 6 && read_bytes(opaque, offset, bytes, count);
}

START_TEST(a_source_that_fails_is_an_error)
{
    const char *reason = NULL;
    struct bench_payload payload = bench_pack(BENCH_XZ, plain, sizeof plain);
    const struct unpack_source source = {read_nothing, &payload, payload.size};
    struct unpacker *unpacker = unpack_open(&source, sizeof plain, &reason);

    ck_assert(!unpack_read(unpacker, result, 10, &reason));
    ck_assert_str_eq(reason, "its file cannot be read");
    unpack_close(unpacker);
    free(payload.bytes);
}
END_TEST

/* A dictionary or window of 128 MiB: taken where the result is small, else refused. */
START_TEST(memory_is_bounded)
{
    uint64_t large = UNPACK_MEMORY_MAX + 1ull;
    uint8_t *packed = malloc(PLAIN_BYTES);
    size_t used = 0;
    lzma_options_lzma options;
    const lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, NULL}};
    ZSTD_CCtx *context = ZSTD_createCCtx();

    ck_assert(!lzma_lzma_preset(&options, 1));
    options.dict_size = 128u << 20;
    lzma_stream stream = LZMA_STREAM_INIT;
    ck_assert_int_eq(lzma_stream_encoder(&stream, filters, LZMA_CHECK_CRC32), LZMA_OK);
    stream.next_in = plain;
    stream.avail_in = 1000;
    stream.next_out = packed;
    stream.avail_out = PLAIN_BYTES;
    ck_assert_int_eq(lzma_code(&stream, LZMA_FINISH), LZMA_STREAM_END);
    struct bench_payload payload = {packed, stream.total_out};
    lzma_end(&stream);
    ck_assert_ptr_null(unpack_all(&payload, 1000, 1000));
    ck_assert_str_eq(unpack_all(&payload, large, 1000), "unpacking it takes too much memory");

    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 27);
    ZSTD_inBuffer in = {plain, 1000, 0};
    ZSTD_outBuffer out = {packed, PLAIN_BYTES, 0};
    ck_assert(!ZSTD_isError(ZSTD_compressStream2(context, &out, &in, ZSTD_e_continue)));
    used = ZSTD_compressStream2(context, &out, &in, ZSTD_e_end);
    ck_assert_uint_eq(used, 0);
    payload.size = out.pos;
    ck_assert_ptr_null(unpack_all(&payload, 1000, 1000));
    ck_assert_str_eq(unpack_all(&payload, large, 1000), "unpacking it takes too much memory");
    ZSTD_freeCCtx(context);
    free(packed);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        every_format_in_pieces,          parts_are_passed_over, a_wrong_length_is_an_error,
        cut_short_is_an_error,           damage_is_found,       other_formats_are_named,
        a_source_that_fails_is_an_error, memory_is_bounded};

    return suite_main("unpack", setup, teardown, tests, sizeof tests / sizeof tests[0]);
}
