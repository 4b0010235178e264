#include "tests/bios/payload_bench.h"

#include <check.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

void bench_kernel_init(struct bench_kernel *kernel)
{
    static const Elf64_Phdr segments[BENCH_SEGMENTS + 1] = {
        {.p_type = PT_LOAD,
         .p_offset = 0x1000,
         .p_paddr = BENCH_PREFERRED,
         .p_filesz = 0x2345,
         .p_memsz = 0x2345},
        {.p_type = PT_LOAD,
         .p_offset = 0x4000,
         .p_paddr = BENCH_PREFERRED + 0x4000,
         .p_filesz = 0x1000,
         .p_memsz = 0x1800},
        {.p_type = PT_LOAD,
         .p_offset = 0x6000,
         .p_paddr = BENCH_PREFERRED + 0x6000,
         .p_filesz = 0x1234,
         .p_memsz = BENCH_MEMORY - 0x6000},
        {.p_type = PT_NOTE,
         .p_offset = UINT64_MAX,
         .p_paddr = UINT64_MAX,
         .p_filesz = UINT64_MAX,
         .p_memsz = UINT64_MAX},
    };
    static const uint32_t table[] = {
        0, BENCH_LINK_BASE,          BENCH_LINK_BASE + 0x4010,          0, BENCH_LINK_BASE + 0x4020,
        0, BENCH_LINK_BASE + 0x4030, BENCH_LINK_BASE + BENCH_MEMORY - 4};

    *kernel = (struct bench_kernel){
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_X86_64,
                   .e_entry = BENCH_PREFERRED + BENCH_ENTRY,
                   .e_phoff = sizeof(Elf64_Ehdr),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = BENCH_SEGMENTS + 1,
                   .e_shoff = BENCH_ELF - 3 * sizeof(Elf64_Shdr),
                   .e_shentsize = sizeof(Elf64_Shdr),
                   .e_shnum = 3},
        .words = sizeof table / sizeof table[0],
    };
    memcpy(kernel->segment, segments, sizeof segments);
    memcpy(kernel->table, table, sizeof table);
}

/* Bytes that can be packed, and that have something for the filter of jumps. */
static void fill_file(const struct bench_kernel *kernel, uint8_t *file)
{
    for (size_t i = 0; i < BENCH_ELF; i++)
        file[i] = (uint8_t)(i % 7 == 0 ? 0xe8 : i % 7 == 4 ? 0 : i >> 5);
    memcpy(file, &kernel->header, sizeof kernel->header);
    memcpy(file + sizeof kernel->header, kernel->segment, sizeof kernel->segment);
    memcpy(file + BENCH_ELF, kernel->table, 4 * kernel->words);
}

void bench_expect_memory(const struct bench_kernel *kernel, uint8_t *memory)
{
    uint8_t file[BENCH_ELF + 4 * BENCH_WORDS];

    fill_file(kernel, file);
    memset(memory, 0, BENCH_MEMORY);
    for (unsigned i = 0; i < BENCH_SEGMENTS; i++)
        memcpy(memory + kernel->segment[i].p_paddr - BENCH_PREFERRED,
               file + kernel->segment[i].p_offset, kernel->segment[i].p_filesz);
}

/* -- Packing -- */

static size_t pack_xz(const void *bytes, size_t size, uint8_t *out, size_t space, bool bcj)
{
    lzma_options_lzma options;
    lzma_filter filters[] = {
        {LZMA_FILTER_X86, NULL}, {LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, NULL}};
    size_t used = 0;

    ck_assert(!lzma_lzma_preset(&options, 1));
    ck_assert_int_eq(lzma_stream_buffer_encode(filters + !bcj, LZMA_CHECK_CRC32, NULL, bytes, size,
                                               out, &used, space),
                     LZMA_OK);
    return used;
}

static size_t pack_gzip(const void *bytes, size_t size, uint8_t *out, size_t space)
{
    z_stream stream = {0};

    ck_assert_int_eq(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)bytes;
    stream.avail_in = (uInt)size;
    stream.next_out = out;
    stream.avail_out = (uInt)space;
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return stream.total_out;
}

static size_t pack_zstd(const void *bytes, size_t size, uint8_t *out, size_t space)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    size_t used = ZSTD_compress2(context, out, space, bytes, size);

    ck_assert(!ZSTD_isError(used));
    ZSTD_freeCCtx(context);
    return used;
}

struct bench_payload bench_pack(enum bench_format format, const void *bytes, size_t size)
{
    size_t space = 2 * size + 4096, used = 0;
    uint8_t *out = malloc(space);

    ck_assert_ptr_nonnull(out);
    switch (format) {
    case BENCH_ZSTD:
        used = pack_zstd(bytes, size, out, space);
        break;
    case BENCH_GZIP:
        used = pack_gzip(bytes, size, out, space);
        break;
    default:
        used = pack_xz(bytes, size, out, space, format == BENCH_XZ_BCJ);
    }
    if (format != BENCH_GZIP) { /* which has it anyway */
        uint32_t length = (uint32_t)size;
        memcpy(out + used, &length, sizeof length);
        used += sizeof length;
    }
    return (struct bench_payload){out, used};
}

struct bench_payload bench_pack_kernel(enum bench_format format, const struct bench_kernel *kernel)
{
    uint8_t file[BENCH_ELF + 4 * BENCH_WORDS];

    fill_file(kernel, file);
    return bench_pack(format, file, BENCH_ELF + 4 * kernel->words);
}
