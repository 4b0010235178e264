/*
 * Recorded outcomes: gzip of a line with the version, the number of the host's processor (limit of
 * its segment) u32, then per case
 *
 *     bits u8, count u8, per instruction length u8 and group u8, code, seed u64,
 *     how the host's image after the case differs from the one before: offset u16, length u16,
 *     bytes; offset FFFF ends it
 *
 * in the byte order of x86. Images before and masks of undefined flags are computed again.
 */
#include "tests/cpu/oracle.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define HEADING "doppel oracle 1\n"
#define END     0xffffu
_Static_assert(sizeof(struct image) < END, "offsets have 16 bits");

struct record {
    gzFile file;
    bool failed;
};

static struct record *open_record(const char *path, const char *mode)
{
    struct record *record = calloc(1, sizeof *record);
    if (record)
        record->file = gzopen(path, mode);
    if (record && record->file)
        return record;
    perror(path);
    free(record);
    return NULL;
}

struct record *record_open(const char *path, uint32_t *cpu_number_limit)
{
    struct record *record = open_record(path, "rb");
    char heading[sizeof HEADING - 1] = "";
    if (record && (gzread(record->file, heading, sizeof heading) != sizeof heading ||
                   memcmp(heading, HEADING, sizeof heading) != 0 ||
                   gzread(record->file, cpu_number_limit, 4) != 4)) {
        fprintf(stderr, "%s: no recorded outcomes of this version\n", path);
        record_close(record);
        return NULL;
    }
    return record;
}

bool record_close(struct record *record)
{
    bool closed = gzclose(record->file) == Z_OK;
    bool good = closed && !record->failed;
    free(record);
    return good;
}

static void put(struct record *record, const void *from, size_t size)
{
    if (size && gzwrite(record->file, from, (unsigned)size) != (int)size)
        record->failed = true;
}

struct record *record_create(const char *path, uint32_t cpu_number_limit)
{
    struct record *record = open_record(path, "wb1");
    if (record) {
        put(record, HEADING, sizeof HEADING - 1);
        put(record, &cpu_number_limit, sizeof cpu_number_limit);
    }
    return record;
}

static void put16(struct record *record, size_t value)
{
    const uint16_t word = (uint16_t)value;
    put(record, &word, sizeof word);
}

/* The runs of bytes that differ; gaps that cost less than a new run belong to them. */
static void put_changes(struct record *record, const uint8_t *before, const uint8_t *after,
                        size_t size)
{
    for (size_t at = 0; at < size;) {
        if (before[at] == after[at]) {
            at++;
            continue;
        }
        size_t end = at + 1;
        for (size_t i = end; i < size && i < end + 4; i++)
            if (before[i] != after[i])
                end = i + 1;
        put16(record, at);
        put16(record, end - at);
        put(record, after + at, end - at);
        at = end;
    }
    put16(record, END);
}

void record_write(struct record *record, const struct test_case *test, const struct image *start,
                  const struct image *host)
{
    const uint8_t head[2] = {(uint8_t)test->bits, (uint8_t)test->count};
    put(record, head, sizeof head);
    for (unsigned i = 0; i < test->count; i++) {
        const uint8_t entry[2] = {(uint8_t)(test->at[i + 1] - test->at[i]), test->group[i]};
        put(record, entry, sizeof entry);
    }
    put(record, test->code, test->length);
    put(record, &test->state_seed, 8);
    put_changes(record, (const uint8_t *)start, (const uint8_t *)host, sizeof *host);
}

static void get(struct record *record, void *to, size_t size)
{
    if (size && gzread(record->file, to, (unsigned)size) != (int)size) {
        fprintf(stderr, "the recorded outcomes end in the middle\n");
        exit(2);
    }
}

bool record_read(struct record *record, struct test_case *test, const uint64_t *features,
                 struct image *start, struct image *host)
{
    uint8_t head[2];
    int got = gzread(record->file, head, sizeof head);
    if (got == 0)
        return false;
    memset(test, 0, sizeof *test);
    test->bits = head[0];
    test->count = head[1];
    if (got != sizeof head || test->count > ORACLE_MAX_LENGTH) {
        fprintf(stderr, "the recorded outcomes are damaged\n");
        exit(2);
    }
    for (unsigned i = 0; i < test->count; i++) {
        uint8_t entry[2];
        get(record, entry, sizeof entry);
        test->at[i] = (uint8_t)test->length;
        test->length += entry[0];
        test->group[i] = entry[1];
    }
    test->at[test->count] = (uint8_t)test->length;
    if (test->length > sizeof test->code)
        exit(2);
    get(record, test->code, test->length);
    get(record, &test->state_seed, 8);
    case_follow_undefined(test, features);
    case_start(test, start);
    *host = *start;
    for (;;) {
        uint16_t at, size;
        get(record, &at, 2);
        if (at == END)
            return true;
        get(record, &size, 2);
        if ((size_t)at + size > sizeof *host)
            exit(2);
        get(record, (uint8_t *)host + at, size);
    }
}
