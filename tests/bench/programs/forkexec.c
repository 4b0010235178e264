/* Processes: fork, exec of this program, exit, wait. */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "child") == 0)
        return atoi(argv[2]);
    uint64_t rounds = bench_rounds(argc, argv, 750), checksum = 0;
    struct bench_time start = bench_start();
    for (uint64_t round = 0; round < rounds; round++) {
        char number[8];
        snprintf(number, sizeof number, "%u", (unsigned)(round % 100));
        pid_t pid = fork();
        if (pid < 0)
            return 1;
        if (pid == 0) {
            execl(argv[0], argv[0], "child", number, (char *)NULL);
            _exit(127);
        }
        int status;
        waitpid(pid, &status, 0);
        checksum = bench_mix(checksum, WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status) : 999);
    }
    bench_report("forkexec", checksum, start);
    return 0;
}
