/*
 * `doppel run`: turns the event loop until the guest or the user ends the machine.
 */
#include <signal.h>

#include "ui/session.h"
#include "ui/ui.h"

#define IDLE_TURN_NS (NS_PER_SECOND / 4)

static volatile sig_atomic_t signalled;

static void note_signal(int number)
{
    signalled = number;
}

static void catch_signals(void)
{
    const int ending[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++)
        sigaction(ending[i], &(struct sigaction){.sa_handler = note_signal}, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void turn_until_end(struct session *session)
{
    while (!session->quit && !signalled) {
        machine_turn(session->machine,
                     session->window ? window_idle_ns(session->window) : IDLE_TURN_NS);
        enum machine_state state = machine_state(session->machine);
        if (state != MACHINE_RUNNING && state != MACHINE_PAUSED)
            return;
        if (session->window && !window_turn(session->window))
            return;
    }
}

static int end_status(const struct session *session)
{
    switch (machine_state(session->machine)) {
    case MACHINE_EXITED:
        return machine_exit_status(session->machine);
    case MACHINE_FAILED:
        return STATUS_FAILED;
    default:
        return STATUS_DONE;
    }
}

static void print_stats(struct session *session)
{
    struct cpu *cpu = machine_cpu(session->machine, 0);
    if (cpu->accel->stats)
        cpu->accel->stats(cpu, stderr);
}

int command_run(int argc, char **argv)
{
    struct session session = {0};
    struct error error;
    catch_signals(); /* from here on an end by a signal restores the terminal */
    if (!options_parse(&session.options, argc, argv, &error) || !session_open(&session, &error)) {
        session_close(&session); /* restores the terminal before the message */
        return complain("%s", error.text);
    }
    if (!session.options.paused)
        machine_start(session.machine);
    turn_until_end(&session);
    int status = end_status(&session);
    machine_pause(session.machine);
    if (session.options.stats)
        print_stats(&session);
    session_close(&session);
    return status;
}
