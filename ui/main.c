/*
 * doppel: a PC that exists as a program. This file knows the commands and nothing else.
 */
#include "cpu/version.h"
#include "ui/options.h"
#include "ui/ui.h"

#include <stdarg.h>
#include <string.h>

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* NULL: planned, not built */
    const char *help;
} commands[] = {
    {"run", command_run, "run a machine that lives as long as the command"},
    {"doctor", command_doctor, "what this host offers: engines, firmware, display, network"},
    {"help", command_help, "show help, also for one command: doppel help run"},
    {"new", NULL, NULL},
    {"start", NULL, NULL},
    {"stop", NULL, NULL},
    {"reset", NULL, NULL},
    {"suspend", NULL, NULL},
    {"resume", NULL, NULL},
    {"delete", NULL, NULL},
    {"clone", NULL, NULL},
    {"rename", NULL, NULL},
    {"show", NULL, NULL},
    {"edit", NULL, NULL},
    {"list", NULL, NULL},
    {"snapshot", NULL, NULL},
    {"image", NULL, NULL},
    {"import", NULL, NULL},
    {"export", NULL, NULL},
    {"monitor", NULL, NULL},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

int complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("doppel: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return STATUS_USAGE;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void general_help(FILE *out)
{
    fputs("doppel " DOPPEL_VERSION ": a PC in a window, without hardware virtualization\n\n"
          "Usage: doppel COMMAND [OPTIONS]\n\n",
          out);
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].run)
            fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
    fputs("\nExamples:\n"
          "  doppel run --cdrom debian.iso --memory 2G\n"
          "  doppel run --disk system.img --net user,forward=tcp:2222:22\n"
          "  doppel run --kernel vmlinuz --initrd initrd.img --append console=ttyS0 --headless\n",
          out);
}

int command_help(int argc, char **argv)
{
    if (argc == 0) {
        general_help(stdout);
        return STATUS_DONE;
    }
    const struct command *command = find_command(argv[0]);
    if (!command)
        return complain("'%s' is no command; see 'doppel help'", argv[0]);
    if (!command->run)
        return complain("the command '%s' is not built yet", argv[0]);
    printf("doppel %s: %s\n", command->name, command->help);
    if (command->run == command_run) {
        puts("\nUsage: doppel run [OPTIONS]\n");
        options_help(stdout);
        puts("\nOn the terminal, Ctrl-A X ends the machine and Ctrl-A H lists the keys.\n"
             "Exit status: 0 the guest powered off; 1 usage or start-up error; 2 the machine "
             "failed;\n"
             "with --exit-port, the guest's own status.");
    }
    return STATUS_DONE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        general_help(stderr);
        return STATUS_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("doppel " DOPPEL_VERSION);
        return STATUS_DONE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return command_help(0, NULL);
    const struct command *command = find_command(argv[1]);
    if (!command)
        return complain("'%s' is no command; see 'doppel help'", argv[1]);
    if (!command->run)
        return complain("the command '%s' is not built yet", argv[1]);
    return command->run(argc - 2, argv + 2);
}
