/*
 * First process of the benchmark guests: makes the root file system on the first disk the root if
 * the initial RAM disk has drivers for it, runs the programs named on the kernel's command line
 * after `--` (a percentage of work, then names), one after the other, and switches the machine off.
 * As an ordinary program it only runs them.
 */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DISK         "/dev/sda"
#define DISK_SECONDS 60

static void load_modules(FILE *order)
{
    char name[64], path[96];
    while (fscanf(order, "%63s", name) == 1) {
        snprintf(path, sizeof path, "/modules/%s.ko", name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || syscall(SYS_finit_module, file, "", 0) < 0)
            perror(path);
        close(file);
    }
}

/* The disk read-only, with folders in memory over it where programs write. */
static void enter_disk(void)
{
    for (int i = 0; i < DISK_SECONDS * 100 && access(DISK, F_OK) < 0; i++)
        usleep(10000);
    if (mount(DISK, "/root", "ext4", MS_RDONLY, NULL) < 0)
        perror(DISK);
    mount("tmpfs", "/root/tmp", "tmpfs", 0, NULL);
    mount("proc", "/root/proc", "proc", 0, NULL);
    mount("sysfs", "/root/sys", "sysfs", 0, NULL);
    mount("/bench", "/root/bench", NULL, MS_BIND, NULL);
    mount("/dev", "/root/dev", NULL, MS_MOVE, NULL);
    if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
        perror("root");
}

static void prepare_machine(void)
{
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    FILE *order = fopen("/modules/order", "re");
    if (!order)
        return;
    load_modules(order);
    fclose(order);
    enter_disk();
}

/* NAME is a program of ours or commands/NAME.sh. */
static void run(const char *folder, const char *name, const char *percent)
{
    char path[PATH_MAX], runner[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(runner, sizeof runner, "%s/command", folder);
    printf("begin %s\n", name);
    pid_t pid = fork();
    if (pid == 0) {
        if (access(path, X_OK) == 0)
            execl(path, path, percent, (char *)NULL);
        else
            execl(runner, runner, percent, name, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        printf("failed %s %d\n", name, status);
}

int main(int argc, char **argv)
{
    char folder[PATH_MAX];
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getpid() == 1)
        prepare_machine();
    snprintf(folder, sizeof folder, "%s", argv[0]);
    for (int i = 2; i < argc; i++)
        run(dirname(strdupa(folder)), argv[i], argv[1]);
    printf("end\n");
    if (getpid() == 1)
        reboot(RB_POWER_OFF);
    return 0;
}
