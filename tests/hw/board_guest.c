/*
 * Runs bare-metal guests (tests/guests/board/NAME.S) on whole boards: those that need a local APIC,
 * or a device that writes memory. The firmware is a jump to them.
 *
 *     board_guest [--accel NAME] [--threshold N] FILE...
 *
 * Exit status 0 if every guest ended with 0.
 */
#include "tests/cpu/engines.h"
#include "tests/hw/board.h"

enum { LOAD_ADDRESS = 0x8000, LOAD_MAX = 0x8000, BIOS_SIZE = 0x10000, SECONDS = 60 };

/* The line of the check that failed, as EXIT of guest.inc writes it: low byte, high byte. */
static unsigned failed_line(const struct board_text *text)
{
    if (text->length < 2)
        return 0;
    return (uint8_t)text->bytes[text->length - 2] | (uint8_t)text->bytes[text->length - 1] << 8;
}

static struct machine *make_machine(enum machine_board board, const struct cpu_model *model,
                                    const struct accel *accel)
{
    static uint8_t bios[BIOS_SIZE];
    struct error error = {""};
    const struct machine_config config = {
        .board = board,
        .memory_bytes = BOARD_MEMORY,
        .model = model,
        .accel = accel,
        .bios = bios,
        .bios_size = sizeof bios,
        .exit_port = true,
    };
    const uint8_t jump[] = {0xea, LOAD_ADDRESS & 0xff, LOAD_ADDRESS >> 8, 0, 0};
    memcpy(bios + BIOS_SIZE - 16, jump, sizeof jump);
    struct machine *machine = machine_new(&config, &error);
    if (!machine)
        fprintf(stderr, "board_guest: %s\n", error.text);
    return machine;
}

static bool load(struct machine *machine, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return false;
    }
    size_t length =
        fread(memory_ram_host(machine_memory(machine)) + LOAD_ADDRESS, 1, LOAD_MAX, file);
    fclose(file);
    return length > 0;
}

/* What went wrong, or NULL. */
static const char *run(struct machine *machine, const char *path)
{
    if (!load(machine, path))
        return "cannot be read";
    machine_hold_resets(machine, true);
    machine_start(machine);
    for (time_t end = time(NULL) + SECONDS; machine_state(machine) == MACHINE_RUNNING;) {
        machine_turn(machine, NS_PER_SECOND / 10);
        if (time(NULL) > end)
            return "did not end in time";
    }
    return machine_state(machine) == MACHINE_EXITED ? NULL : "stopped without an answer";
}

static bool run_guest(const char *path, enum machine_board board, const struct cpu_model *model,
                      const struct accel *accel)
{
    static struct board_text text;
    struct machine *machine = make_machine(board, model, accel);
    if (!machine)
        return false;
    board_listen(machine, &text);
    const char *problem = run(machine, path);
    const char *name = board == MACHINE_Q35 ? "q35" : "pc";
    bool good = !problem && machine_exit_status(machine) == 1 && failed_line(&text) == 0;
    if (problem)
        printf("%s (%s): %s\n", path, name, problem);
    else if (!good)
        printf("%s (%s): check in line %u failed\n", path, name, failed_line(&text));
    else
        printf("%s (%s): ok\n", path, name);
    machine_free(machine);
    return good;
}

int main(int argc, char **argv)
{
    const struct accel *accel = &accel_interpreter;
    struct error error = {""};
    const struct cpu_model *model = cpu_model_find("default", &error);
    unsigned failed = 0, count = 0, threshold = 0;

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--accel")) {
            accel = engine_find(value);
            i++;
        } else if (!strcmp(argv[i], "--threshold")) {
            threshold = (unsigned)atoi(value);
            i++;
        } else {
            engine_set_options(threshold, 0, false);
            failed += accel ? !run_guest(argv[i], MACHINE_PC, model, accel) : 1;
            failed += accel ? !run_guest(argv[i], MACHINE_Q35, model, accel) : 1;
            count++;
        }
    }
    cpu_model_free(model);
    printf("%u guests, %u failures\n", count, failed);
    return failed || !count;
}
