/* The cheapest system call, again and again. */
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char **argv)
{
    uint64_t rounds = bench_rounds(argc, argv, 4000000), parent = (uint64_t)syscall(SYS_getppid);
    uint64_t same = 0;
    struct bench_time start = bench_start();
    for (uint64_t i = 0; i < rounds; i++)
        same += (uint64_t)syscall(SYS_getppid) == parent;
    bench_report("syscall", bench_mix(0, same), start);
    return 0;
}
