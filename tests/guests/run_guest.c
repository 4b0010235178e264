/*
 * Runs bare-metal guests (tests/guests/NAME.S, see guest.inc) on an engine and a minimal board.
 *
 *     run_guest [--accel NAME] [--max-insns N] [--threshold N] [--verify] [--window]
 *               [--quiet] FILE...
 *
 * Exit status 0 if every guest ended with 0 through the exit port.
 */
#include "tests/cpu/board.h"
#include "tests/cpu/engines.h"

#include <pthread.h>
#include <unistd.h>

enum { RAM_SIZE = 16 << 20, LOAD_ADDRESS = 0x8000, LOAD_MAX = 0x8000, SECONDS = 20 };

struct watch {
    struct cpu *cpu;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done, timed_out;
};

static void *watchdog(void *opaque)
{
    struct watch *watch = opaque;
    struct timespec limit;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += SECONDS;
    pthread_mutex_lock(&watch->lock);
    while (!watch->done) {
        if (pthread_cond_timedwait(&watch->ended, &watch->lock, &limit)) {
            watch->timed_out = true;
            cpu_post(watch->cpu, EVENT_STOP);
            break;
        }
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

/* Runs until the guest ends; what went wrong, or NULL. */
static const char *run(struct board *board)
{
    struct watch watch = {
        .cpu = board->cpu, .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    const char *problem = NULL;
    pthread_t thread;

    pthread_create(&thread, NULL, watchdog, &watch);
    while (!board->exited && !problem) {
        switch (cpu_run(board->cpu)) {
        case CPU_EXIT_STOPPED:
            if (!board->exited)
                problem = "did not end in time";
            break;
        case CPU_EXIT_HALTED:
            if (!cpu_has_work(board->cpu))
                problem = "halted for good";
            break;
        case CPU_EXIT_SHUTDOWN:
            if (board->shutdown_expected)
                board->exited = true;
            else
                problem = "triple fault";
            break;
        case CPU_EXIT_RESET:
            problem = "asked for a reset";
            break;
        case CPU_EXIT_FAILED:
            problem = "the engine failed";
            break;
        }
    }
    pthread_mutex_lock(&watch.lock);
    watch.done = true;
    pthread_cond_signal(&watch.ended);
    pthread_mutex_unlock(&watch.lock);
    pthread_join(thread, NULL);
    return problem;
}

static bool load(struct board *board, const char *path)
{
    FILE *file = fopen(path, "rb");
    struct cpu *cpu = board->cpu;

    if (!file) {
        perror(path);
        return false;
    }
    size_t length = fread(board->ram + LOAD_ADDRESS, 1, LOAD_MAX, file);
    fclose(file);
    cpu->seg[SEG_CS].selector = 0;
    cpu->seg[SEG_CS].base = 0;
    cpu->rip = LOAD_ADDRESS;
    cpu_update_mode(cpu);
    return length > 0;
}

int main(int argc, char **argv)
{
    const struct accel *accel = &accel_interpreter;
    unsigned failed = 0, count = 0, max_insns = 0, threshold = 0;
    bool quiet = false, verify = false;

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--accel")) {
            accel = engine_find(value);
            if (!accel) {
                fprintf(stderr, "there is no engine '%s'\n", value);
                return 2;
            }
            i++;
        } else if (!strcmp(argv[i], "--max-insns")) {
            max_insns = (unsigned)atoi(argv[++i]);
        } else if (!strcmp(argv[i], "--hot")) {
            engine_set_hot((unsigned)atoi(argv[++i]));
        } else if (!strcmp(argv[i], "--threshold")) {
            threshold = (unsigned)atoi(argv[++i]);
        } else if (!strcmp(argv[i], "--window")) {
            engine_set_window(true);
        } else if (!strcmp(argv[i], "--verify")) {
            verify = true;
        } else if (!strcmp(argv[i], "--quiet")) {
            quiet = true;
        } else {
            engine_set_options(threshold, max_insns, verify);
            struct board *board = board_new(RAM_SIZE, "default", accel);
            board->debug = stdout;
            const char *problem = load(board, argv[i]) ? run(board) : "cannot be read";
            count++;
            if (problem) {
                printf("%s: %s at %04x:%llx\n", argv[i], problem, board->cpu->seg[SEG_CS].selector,
                       (unsigned long long)board->cpu->rip);
                failed++;
            } else if (board->exit_code) {
                printf("%s: check in line %u failed\n", argv[i], board->exit_code);
                failed++;
            } else if (!quiet) {
                printf("%s: ok (%llu instructions)\n", argv[i],
                       (unsigned long long)board->cpu->instructions);
            }
            board_free(board);
        }
    }
    printf("%u guests on '%s', %u failed\n", count, accel->name, failed);
    return failed || !count;
}
