/*
 * Talks to a guest on a serial console: runs a command with pipes for its input and output and
 * follows a list of steps. Everything that the guest prints goes to stdout, for the log.
 *
 *   console [STEP...] -- COMMAND...
 *
 *   expect:TEXT     wait until TEXT has been printed (after the last match)
 *   send:TEXT       type TEXT; \n is Enter, \e Escape, \\ a backslash
 *   timeout:N       seconds that each following expect may take (default 120)
 *   pause:N         wait N milliseconds
 *   status:N        wait for the command to end; its exit status must be N
 *   run:COMMAND     a shell command on the host that must succeed
 *
 * Without `status` the command is ended after the last step. Exit status 0 if every step went well.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (1u << 20)

static struct {
    pid_t pid;
    int in, out;
    char text[BUFFER_SIZE]; /* printed since the last match */
    size_t length;
    bool ended;
} guest;

static int timeout_seconds = 120;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void start(char **argv)
{
    int in[2], out[2];
    if (pipe(in) < 0 || pipe(out) < 0 || (guest.pid = fork()) < 0) {
        perror("console");
        exit(2);
    }
    if (guest.pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[0]), close(in[1]), close(out[0]), close(out[1]);
        execvp(argv[0], argv);
        perror(argv[0]);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    guest.in = in[1];
    guest.out = out[0];
}

/* Waits up to `seconds` for more output; keeps the newest half when the buffer is full. */
static void read_more(double seconds)
{
    struct pollfd ready = {guest.out, POLLIN, 0};
    if (seconds < 0 || poll(&ready, 1, (int)(seconds * 1000) + 1) <= 0)
        return;
    if (guest.length > BUFFER_SIZE / 2) {
        memmove(guest.text, guest.text + guest.length - BUFFER_SIZE / 4, BUFFER_SIZE / 4);
        guest.length = BUFFER_SIZE / 4;
    }
    ssize_t got = read(guest.out, guest.text + guest.length, BUFFER_SIZE / 4);
    if (got <= 0) {
        guest.ended = true;
        return;
    }
    fwrite(guest.text + guest.length, 1, (size_t)got, stdout);
    fflush(stdout);
    guest.length += (size_t)got;
}

static bool expect(const char *text)
{
    double end = now() + timeout_seconds;
    for (;;) {
        char *found = memmem(guest.text, guest.length, text, strlen(text));
        if (found) {
            size_t after = (size_t)(found - guest.text) + strlen(text);
            memmove(guest.text, guest.text + after, guest.length - after);
            guest.length -= after;
            return true;
        }
        if (guest.ended || now() > end) {
            printf("\nconsole: '%s' did not appear %s\n", text,
                   guest.ended ? "before the output ended" : "in time");
            return false;
        }
        read_more(end - now());
    }
}

static bool send_text(const char *text)
{
    for (; *text; text++) {
        char c = *text;
        if (c == '\\' && text[1]) {
            c = *++text;
            c = c == 'n' ? '\r' : c == 'e' ? 27 : c;
        }
        if (write(guest.in, &c, 1) != 1)
            return false;
        usleep(2000); /* about the pace of a serial line */
    }
    return true;
}

static bool pause_ms(int milliseconds)
{
    for (double end = now() + milliseconds / 1000.0; now() < end && !guest.ended;)
        read_more(end - now());
    return true;
}

static bool check_status(int wanted)
{
    double end = now() + timeout_seconds;
    while (!guest.ended && now() < end)
        read_more(end - now());
    if (!guest.ended) {
        printf("\nconsole: the command did not end in time\n");
        return false;
    }
    int status;
    waitpid(guest.pid, &status, 0);
    guest.pid = 0;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (code != wanted)
        printf("\nconsole: exit status %d, not %d\n", code, wanted);
    return code == wanted;
}

static bool perform(const char *step)
{
    const char *argument = strchr(step, ':');
    size_t length = argument ? (size_t)(argument++ - step) : 0;
    if (length == 6 && memcmp(step, "expect", 6) == 0)
        return expect(argument);
    if (length == 4 && memcmp(step, "send", 4) == 0)
        return send_text(argument);
    if (length == 5 && memcmp(step, "pause", 5) == 0)
        return pause_ms(atoi(argument));
    if (length == 6 && memcmp(step, "status", 6) == 0)
        return check_status(atoi(argument));
    if (length == 3 && memcmp(step, "run", 3) == 0)
        return system(argument) == 0;
    if (length == 7 && memcmp(step, "timeout", 7) == 0) {
        timeout_seconds = atoi(argument);
        return true;
    }
    printf("console: unknown step '%s'\n", step);
    return false;
}

int main(int argc, char **argv)
{
    int split = 1;
    while (split < argc && strcmp(argv[split], "--") != 0)
        split++;
    if (split + 1 >= argc) {
        fprintf(stderr, "usage: console [STEP...] -- COMMAND...\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    start(argv + split + 1);
    double began = now();
    bool good = true;
    for (int i = 1; i < split && good; i++) {
        good = perform(argv[i]);
        if (!good)
            printf("console: step %d failed: %s\n", i, argv[i]);
    }
    if (guest.pid) {
        kill(guest.pid, SIGTERM);
        for (int i = 0; i < 50 && waitpid(guest.pid, NULL, WNOHANG) == 0; i++)
            usleep(100000);
        kill(guest.pid, SIGKILL);
    }
    printf("\nconsole: %s after %.1f s\n", good ? "done" : "FAILED", now() - began);
    return good ? 0 : 1;
}
