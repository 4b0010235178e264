/*
 * First process of the benchmark guest: runs the programs named on the kernel's command line after
 * `--` (a percentage of work, then names), one after the other, and switches the machine off.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

static void run(const char *name, char *percent)
{
    char path[64];
    snprintf(path, sizeof path, "/bench/%s", name);
    printf("begin %s\n", name);
    pid_t pid = fork();
    if (pid == 0) {
        execl(path, path, percent, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        printf("failed %s %d\n", name, status);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 2; i < argc; i++)
        run(argv[i], argv[1]);
    printf("end\n");
    if (getpid() == 1)
        reboot(RB_POWER_OFF);
    return 0;
}
