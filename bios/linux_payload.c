#include "bios/linux_payload.h"
#include "cpu/log.h"
#include "hw/alloc.h"

#include <assert.h>
#include <elf.h>
#include <endian.h>
#include <string.h>

#define FILE_MAX (1u << 30)
#define HEAD_MAX 65536u /* where the program headers must begin */

/* How many zeros a table has, without and with fields to subtract from. */
#define TABLE_ZEROS         2u
#define TABLE_ZEROS_INVERSE 3u

static bool fail(const char **reason, const char *why)
{
    *reason = why;
    return false;
}

/* -- Looking at it -- */

static bool add_segment(struct linux_payload *payload, const Elf64_Phdr *header,
                        const char **reason)
{
    const struct payload_segment *last =
        payload->segments ? &payload->segment[payload->segments - 1] : NULL;
    uint64_t start = header->p_paddr - payload->preferred;
    uint64_t most = PAYLOAD_MAPPING - payload->preferred;

    if (payload->segments == PAYLOAD_SEGMENTS)
        return fail(reason, "it has too many segments");
    if (header->p_paddr < payload->preferred || start > most || header->p_memsz > most - start ||
        header->p_filesz > header->p_memsz || header->p_offset > payload->table ||
        header->p_filesz > payload->table - header->p_offset)
        return fail(reason, "one of its segments lies outside");
    if (start < payload->memory_size || (last && header->p_offset < last->offset + last->size))
        return fail(reason, "its segments are not in order");
    payload->segment[payload->segments++] = (struct payload_segment){
        .offset = header->p_offset, .start = (uint32_t)start, .size = (uint32_t)header->p_filesz};
    payload->memory_size = (uint32_t)(start + header->p_memsz);
    return true;
}

/* The table of relocations was appended to the ELF file, which ends with its section headers. */
static bool find_table(struct linux_payload *payload, const Elf64_Ehdr *header, const char **reason)
{
    uint64_t sections = (uint64_t)header->e_shnum * header->e_shentsize;

    if (header->e_shoff < sizeof *header || header->e_shoff > payload->file_size ||
        sections > payload->file_size - header->e_shoff)
        return fail(reason, "its ELF file is cut short");
    payload->table = header->e_shoff + sections;
    return payload_table_size(payload) % 4 == 0 ||
           fail(reason, "there is something unknown behind its ELF file");
}

static bool read_segments(struct linux_payload *payload, const Elf64_Ehdr *header,
                          struct unpacker *unpacker, const char **reason)
{
    Elf64_Phdr segment;

    if (header->e_phentsize != sizeof segment || header->e_phoff < sizeof *header ||
        header->e_phoff > HEAD_MAX ||
        !unpack_read(unpacker, NULL, header->e_phoff - sizeof *header, reason))
        return fail(reason, "its program headers are not at the beginning");
    for (unsigned i = 0; i < header->e_phnum; i++) {
        if (!unpack_read(unpacker, (uint8_t *)&segment, sizeof segment, reason))
            return false;
        if (segment.p_type == PT_LOAD && segment.p_memsz && !add_segment(payload, &segment, reason))
            return false;
    }
    return payload->segments > 0 || fail(reason, "it has no segments");
}

static bool read_headers(struct linux_payload *payload, struct unpacker *unpacker,
                         const char **reason)
{
    Elf64_Ehdr header;

    if (!unpack_read(unpacker, (uint8_t *)&header, sizeof header, reason))
        return false;
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_EXEC ||
        header.e_machine != EM_X86_64)
        return fail(reason, "it is no ELF executable for x86-64");
    if (!find_table(payload, &header, reason) || !read_segments(payload, &header, unpacker, reason))
        return false;
    if (header.e_entry < payload->preferred ||
        header.e_entry - payload->preferred >= payload->memory_size)
        return fail(reason, "its entry lies outside");
    payload->entry = (uint32_t)(header.e_entry - payload->preferred);
    return true;
}

bool payload_inspect(struct linux_payload *payload, const struct unpack_source *source,
                     uint64_t preferred, const char **reason)
{
    uint32_t size; /* of the result: the last thing in the payload, whatever packed it */

    if (preferred > PAYLOAD_MAPPING)
        return fail(reason, "it wants to lie above 1 GiB");
    *payload =
        (struct linux_payload){.preferred = (uint32_t)preferred, .packed_size = source->size};
    if (source->size < sizeof size ||
        !source->read(source->opaque, source->size - sizeof size, &size, sizeof size))
        return fail(reason, "its packed data is cut short");
    payload->file_size = le32toh(size);
    if (payload->file_size > FILE_MAX)
        return fail(reason, "its packed data is damaged");
    struct unpacker *unpacker = unpack_open(source, payload->file_size, reason);
    bool ok = unpacker && read_headers(payload, unpacker, reason);
    unpack_close(unpacker);
    return ok;
}

/* -- The item: runs of bytes, one after the other -- */

enum run_kind { RUN_ZEROS, RUN_FILE, RUN_TABLE, RUN_NUMBER, RUN_KINDS };

struct run {
    enum run_kind kind;
    uint32_t size;
    uint64_t offset; /* in the file */
};

#define RUNS (2 * PAYLOAD_SEGMENTS + 2)

/* How far the guest has come. */
struct reading {
    struct unpacker *unpacker; /* NULL: it does not read */
    uint64_t file_offset;      /* what the unpacker gives next */
    uint32_t item_offset;
    unsigned run;
    uint32_t run_done;
    uint32_t word, zeros; /* of the table: the bytes of an address so far; zeros so far */
};

struct payload_item {
    struct fw_cfg *fw_cfg;
    uint16_t packed_key; /* the item that it is made of */
    uint64_t packed_offset;
    struct linux_payload payload;
    uint32_t size;
    unsigned runs;
    struct run run[RUNS];
    struct reading reading;
};

static void add_run(struct payload_item *item, enum run_kind kind, uint64_t offset, uint32_t size)
{
    if (!size)
        return;
    assert(item->runs < RUNS);
    item->run[item->runs++] = (struct run){.kind = kind, .size = size, .offset = offset};
    item->size += size;
}

/* The next byte of the table. Every address must be that of a field in the kernel: the ROM does not
 * check them again. */
static bool check_table_byte(struct payload_item *item, uint32_t place, uint8_t byte)
{
    struct reading *reading = &item->reading;
    uint32_t width = reading->zeros == 1 ? 8 : 4;

    reading->word = (place % 4 ? reading->word : 0) | (uint32_t)byte << 8 * (place % 4);
    if (place % 4 != 3)
        return true;
    if (reading->word == 0) {
        reading->zeros++;
        return true;
    }
    uint32_t offset = reading->word - payload_link_base(&item->payload);
    return reading->zeros > 0 && item->payload.memory_size >= width &&
           offset <= item->payload.memory_size - width;
}

static bool read_zeros(struct payload_item *item, const struct run *run, uint8_t *bytes,
                       uint32_t count, const char **reason)
{
    memset(bytes, 0, count);
    return true;
}

static bool read_file(struct payload_item *item, const struct run *run, uint8_t *bytes,
                      uint32_t count, const char **reason)
{
    struct reading *reading = &item->reading;
    uint64_t wanted = run->offset + reading->run_done;

    assert(wanted >= reading->file_offset);
    if (!unpack_read(reading->unpacker, NULL, wanted - reading->file_offset, reason) ||
        !unpack_read(reading->unpacker, bytes, count, reason))
        return false;
    reading->file_offset = wanted + count;
    return true;
}

static bool read_table(struct payload_item *item, const struct run *run, uint8_t *bytes,
                       uint32_t count, const char **reason)
{
    if (!read_file(item, run, bytes, count, reason))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!check_table_byte(item, item->reading.run_done + i, bytes[i]))
            return fail(reason, "one of its relocations lies outside");
    return true;
}

static bool read_number(struct payload_item *item, const struct run *run, uint8_t *bytes,
                        uint32_t count, const char **reason)
{
    uint32_t zeros = item->reading.zeros, number = htole32(zeros);

    memcpy(bytes, (const uint8_t *)&number + item->reading.run_done, count);
    return zeros == TABLE_ZEROS || zeros == TABLE_ZEROS_INVERSE ||
           fail(reason, "there is something unknown behind its ELF file");
}

static bool (*const read_run[RUN_KINDS])(struct payload_item *item, const struct run *run,
                                         uint8_t *bytes, uint32_t count, const char **reason) = {
    [RUN_ZEROS] = read_zeros,
    [RUN_FILE] = read_file,
    [RUN_TABLE] = read_table,
    [RUN_NUMBER] = read_number,
};

static void stop_reading(void *opaque)
{
    struct payload_item *item = opaque;

    unpack_close(item->reading.unpacker);
    item->reading = (struct reading){0};
}

static bool read_packed(void *opaque, uint64_t offset, void *bytes, size_t count)
{
    struct payload_item *item = opaque;

    return fw_cfg_read_item(item->fw_cfg, item->packed_key, item->packed_offset + offset, bytes,
                            count);
}

static bool start_reading(struct payload_item *item, const char **reason)
{
    const struct unpack_source source = {read_packed, item, item->payload.packed_size};

    stop_reading(item);
    item->reading.unpacker = unpack_open(&source, item->payload.file_size, reason);
    return item->reading.unpacker != NULL;
}

static bool read_on(struct payload_item *item, uint8_t *bytes, uint32_t count, const char **reason)
{
    struct reading *reading = &item->reading;

    for (uint32_t step; count; count -= step, bytes += step) {
        const struct run *run = &item->run[reading->run];
        step = run->size - reading->run_done < count ? run->size - reading->run_done : count;
        if (!read_run[run->kind](item, run, bytes, step, reason))
            return false;
        reading->item_offset += step;
        reading->run_done += step;
        if (reading->run_done == run->size) {
            reading->run++;
            reading->run_done = 0;
        }
    }
    return true;
}

/* Reads from an offset on, for which all before it has to be unpacked, again if need be. */
static bool read_at(struct payload_item *item, uint32_t offset, uint8_t *bytes, size_t count,
                    const char **reason)
{
    struct reading *reading = &item->reading;
    uint8_t passed[16384];

    if ((!reading->unpacker || offset < reading->item_offset) && !start_reading(item, reason))
        return false;
    while (reading->item_offset < offset) {
        uint32_t left = offset - reading->item_offset;
        if (!read_on(item, passed, left < sizeof passed ? left : sizeof passed, reason))
            return false;
    }
    if (!read_on(item, bytes, (uint32_t)count, reason))
        return false;
    if (reading->item_offset < item->size)
        return true;
    bool ok = unpack_finish(reading->unpacker, reason);
    stop_reading(item);
    return ok;
}

static bool payload_read(void *opaque, uint32_t offset, uint8_t *bytes, size_t count)
{
    const char *reason;

    if (read_at(opaque, offset, bytes, count, &reason))
        return true;
    stop_reading(opaque);
    log_guest("the kernel has to unpack itself: %s", reason);
    return false;
}

static void payload_destroy(void *opaque)
{
    stop_reading(opaque);
    free(opaque);
}

static const struct fw_cfg_maker payload_maker = {payload_read, stop_reading, payload_destroy};

uint32_t payload_add(struct fw_cfg *fw_cfg, uint16_t key, const struct linux_payload *payload,
                     uint16_t packed_key, uint64_t offset, bool relocations)
{
    struct payload_item *item = alloc_zeroed(sizeof *item);

    item->fw_cfg = fw_cfg;
    item->packed_key = packed_key;
    item->packed_offset = offset;
    item->payload = *payload;
    for (unsigned i = 0; i < payload->segments; i++) {
        const struct payload_segment *segment = &payload->segment[i];
        add_run(item, RUN_ZEROS, 0, segment->start - item->size);
        add_run(item, RUN_FILE, segment->offset, segment->size);
    }
    add_run(item, RUN_ZEROS, 0, payload->memory_size - item->size);
    if (relocations) {
        add_run(item, RUN_TABLE, payload->table, payload_table_size(payload));
        add_run(item, RUN_NUMBER, 0, sizeof(uint32_t));
    }
    fw_cfg_add_made(fw_cfg, key, item->size, &payload_maker, item);
    return item->size;
}
