/*
 * A workload of programs from Debian: commands/NAME.sh, called with `prepare` (makes data, brings
 * the programs into memory) and then, measured, with `run`. The checksum is that of what `run`
 * prints, which should be little.
 *
 *   command PERCENT NAME
 */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define WORK   "/tmp/work"
#define OUTPUT WORK "/output"

/* Runs the script in the work folder; `output` is a file for what it prints. */
static bool run_script(const char *script, const char *step, const char *percent,
                       const char *output)
{
    pid_t pid = fork();
    if (pid == 0) {
        int file = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (file < 0 || dup2(file, STDOUT_FILENO) < 0 || chdir(WORK) < 0)
            _exit(126);
        execl("/bin/sh", "sh", script, step, percent, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool sum_file(const char *path, uint64_t *checksum)
{
    FILE *file = fopen(path, "rb");
    uint64_t buffer[512] = {0};
    size_t got;
    if (!file)
        return false;
    while ((got = fread(buffer, 1, sizeof buffer, file)) > 0) {
        for (size_t i = 0; i < (got + 7) / 8; i++)
            *checksum = bench_mix(*checksum, buffer[i] + got);
        memset(buffer, 0, sizeof buffer);
    }
    bool good = !ferror(file);
    fclose(file);
    return good;
}

int main(int argc, char **argv)
{
    char script[PATH_MAX];
    uint64_t checksum = 0;
    if (argc != 3)
        return 2;
    const char *percent = argv[1], *name = argv[2], *folder = dirname(strdupa(argv[0]));
    snprintf(script, sizeof script, "%s/commands/%s.sh", folder, name);
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    setenv("BENCH", folder, 1);
    setenv("HOME", "/tmp", 1);
    setenv("LC_ALL", "C", 1);
    setenv("PYTHONHASHSEED", "0", 1);
    setenv("PERL_HASH_SEED", "0", 1);
    if (mkdir(WORK, 0755) < 0 || !run_script(script, "prepare", percent, "/dev/null"))
        return 1;
    struct bench_time start = bench_start();
    if (!run_script(script, "run", percent, OUTPUT) || !sum_file(OUTPUT, &checksum))
        return 1;
    bench_report(name, checksum, start);
    return system("rm -rf " WORK) == 0 ? 0 : 1;
}
