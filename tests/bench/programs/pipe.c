/* Context switches: a byte goes to another process through a pipe and comes back through another.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static int serve(int in, int out)
{
    uint8_t byte;
    while (read(in, &byte, 1) == 1) {
        byte = (uint8_t)(byte * 5 + 1);
        if (write(out, &byte, 1) != 1)
            return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t rounds = bench_rounds(argc, argv, 30000), checksum = 0;
    int there[2], back[2];
    if (pipe(there) < 0 || pipe(back) < 0)
        return 1;
    pid_t pid = fork();
    if (pid < 0)
        return 1;
    if (pid == 0) {
        close(there[1]);
        _exit(serve(there[0], back[1]));
    }
    struct bench_time start = bench_start();
    for (uint64_t round = 0; round < rounds; round++) {
        uint8_t byte = (uint8_t)round;
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            return 1;
        checksum = bench_mix(checksum, byte);
    }
    close(there[1]);
    waitpid(pid, NULL, 0);
    bench_report("pipe", checksum, start);
    return 0;
}
