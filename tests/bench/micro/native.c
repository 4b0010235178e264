/* The micro benchmarks that need no privileges, on the host itself. */
#include <stdio.h>
#include <sys/mman.h>

#include "micro.h"

#define RUN_CYCLES UINT64_C(10000000)

int main(void)
{
    micro_data =
        mmap(NULL, MICRO_DATA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    micro_code = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (micro_data == MAP_FAILED || micro_code == MAP_FAILED)
        return 1;
    for (const struct micro_test *test = micro_user_tests; test->name; test++)
        printf("micro %llu %s\n", (unsigned long long)micro_measure(test, RUN_CYCLES), test->name);
    printf("micro end\n");
    return 0;
}
