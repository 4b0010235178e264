/* Demand paging: map 256 pages, touch each, unmap. */
#include <sys/mman.h>

#include "bench.h"

#define PAGES     256
#define PAGE_SIZE 4096

int main(int argc, char **argv)
{
    uint64_t rounds = bench_rounds(argc, argv, 480), checksum = 0;
    struct bench_time start = bench_start();
    for (uint64_t round = 0; round < rounds; round++) {
        uint8_t *area = mmap(NULL, PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        /* Pages one by one, also where the kernel prefers large ones. */
        if (area == MAP_FAILED || madvise(area, PAGES * PAGE_SIZE, MADV_NOHUGEPAGE) < 0)
            return 1;
        for (size_t i = 0; i < PAGES; i++) {
            area[i * PAGE_SIZE] += (uint8_t)(i + round);
            checksum = bench_mix(checksum, area[i * PAGE_SIZE] + area[i * PAGE_SIZE + 100]);
        }
        munmap(area, PAGES * PAGE_SIZE);
    }
    bench_report("pagefault", checksum, start);
    return 0;
}
