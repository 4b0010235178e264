/* Sorting: quicksort, shell sort and heap sort of 64-bit keys, and the C library's qsort() of
 * records through a comparison function. */
#include <string.h>

#include "bench.h"

#define COUNT 20000

struct record {
    uint64_t key;
    char name[24];
};

static void quick_sort(uint64_t *keys, ptrdiff_t count)
{
    while (count > 1) {
        uint64_t pivot = keys[count / 2];
        ptrdiff_t i = 0, j = count - 1;
        while (i <= j) {
            while (keys[i] < pivot)
                i++;
            while (keys[j] > pivot)
                j--;
            if (i <= j) {
                uint64_t key = keys[i];
                keys[i++] = keys[j];
                keys[j--] = key;
            }
        }
        quick_sort(keys, j + 1);
        keys += i;
        count -= i;
    }
}

static void shell_sort(uint64_t *keys, size_t count)
{
    for (size_t gap = count / 2; gap > 0; gap = gap == 2 ? 1 : gap * 5 / 11)
        for (size_t i = gap; i < count; i++) {
            uint64_t key = keys[i];
            size_t j = i;
            for (; j >= gap && keys[j - gap] > key; j -= gap)
                keys[j] = keys[j - gap];
            keys[j] = key;
        }
}

static void sift_down(uint64_t *keys, size_t root, size_t count)
{
    uint64_t key = keys[root];
    for (size_t child; (child = root * 2 + 1) < count; root = child) {
        if (child + 1 < count && keys[child + 1] > keys[child])
            child++;
        if (keys[child] <= key)
            break;
        keys[root] = keys[child];
    }
    keys[root] = key;
}

static void heap_sort(uint64_t *keys, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(keys, i, count);
    while (count > 1) {
        uint64_t key = keys[--count];
        keys[count] = keys[0];
        keys[0] = key;
        sift_down(keys, 0, count);
    }
}

static int compare_records(const void *left, const void *right)
{
    const struct record *a = left, *b = right;
    return strcmp(a->name, b->name);
}

static uint64_t sum(uint64_t checksum, const uint64_t *keys)
{
    for (size_t i = 0; i < COUNT; i += 97)
        checksum = bench_mix(checksum, keys[i]);
    return checksum;
}

int main(int argc, char **argv)
{
    static uint64_t source[COUNT], keys[COUNT];
    static struct record records[COUNT / 4];
    uint64_t rounds = bench_rounds(argc, argv, 125), random = 271828, checksum = 0;
    struct bench_time start = bench_start();
    for (uint64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < COUNT; i++)
            source[i] = bench_random(&random);
        memcpy(keys, source, sizeof keys);
        quick_sort(keys, COUNT);
        checksum = sum(checksum, keys);
        memcpy(keys, source, sizeof keys);
        shell_sort(keys, COUNT);
        checksum = sum(checksum, keys);
        memcpy(keys, source, sizeof keys);
        heap_sort(keys, COUNT);
        checksum = sum(checksum, keys);
        for (size_t i = 0; i < COUNT / 4; i++) {
            records[i].key = source[i];
            for (size_t c = 0; c < sizeof records[i].name - 1; c++)
                records[i].name[c] = (char)('a' + (source[i] >> c) % 23);
        }
        qsort(records, COUNT / 4, sizeof *records, compare_records);
        for (size_t i = 0; i < COUNT / 4; i += 97)
            checksum = bench_mix(checksum, records[i].key);
    }
    bench_report("sort", checksum, start);
    return 0;
}
