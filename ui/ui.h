/*
 * People and programs that talk to a machine: the commands of the program.
 *
 * Every command gets its arguments without program and command name and returns the exit status:
 * 0 done (the guest powered off), 1 usage or start-up error, 2 the machine failed while running.
 */
#ifndef DOPPEL_UI_UI_H
#define DOPPEL_UI_UI_H

enum exit_status { STATUS_DONE = 0, STATUS_USAGE = 1, STATUS_FAILED = 2 };

int command_run(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_help(int argc, char **argv);

/* Prints "doppel: ..." on stderr and returns STATUS_USAGE. */
__attribute__((format(printf, 1, 2))) int complain(const char *format, ...);

#endif
