/*
 * Looks at a guest's VGA text screen and presses its keys: a machine in this process, driven by
 * steps.
 *
 *   screen [STEP...] -- OPTIONS of `doppel run`
 *
 *   expect:TEXT    wait until the screen shows TEXT
 *   absent:TEXT    wait until it does not
 *   type:TEXT      press the keys of lower-case text; \n Enter, \u \d \l \r cursor keys, \e Escape
 *   differs        wait until the screen differs from when the last step ended
 *   timeout:N      seconds that each wait may take (default 60)
 *   pause:N        let N seconds pass
 *   power          press the power button
 *   ended          wait until the machine is off
 *   print          print the screen
 */
#include "ui/session.h"
#include "ui/ui.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define SCREEN_SIZE 65536
#define KEY_NS      (30 * 1000000ull)

static struct session session;
static char screen[SCREEN_SIZE], before[SCREEN_SIZE];
static int timeout_seconds = 60;

int complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    return 1;
}

static uint64_t now(void)
{
    return clock_now(machine_clock(session.machine));
}

static void read_screen(void)
{
    struct display_port *display = machine_display(session.machine);
    machine_lock(session.machine);
    screen[0] = 0;
    display->text(display->adapter, screen, sizeof screen);
    machine_unlock(session.machine);
}

static void turn(uint64_t ns)
{
    uint64_t end = now() + ns;
    while (now() < end && machine_state(session.machine) == MACHINE_RUNNING)
        machine_turn(session.machine, ns);
}

enum condition { SHOWS, LACKS, DIFFERS };

static bool wait_for(enum condition condition, const char *text)
{
    uint64_t end = now() + (uint64_t)timeout_seconds * NS_PER_SECOND;
    while (now() < end && machine_state(session.machine) == MACHINE_RUNNING) {
        turn(100 * 1000000ull);
        read_screen();
        bool shows =
            condition == DIFFERS ? strcmp(screen, before) == 0 : strstr(screen, text) != NULL;
        if (shows == (condition == SHOWS))
            return true;
    }
    printf("screen: waited in vain for '%s'; the screen shows:\n%s\n", text, screen);
    return false;
}

static void press(uint16_t usage)
{
    struct input_port *input = machine_input(session.machine);
    for (int down = 1; down >= 0; down--) {
        machine_lock(session.machine);
        input->key(input->keyboard, usage, down);
        machine_unlock(session.machine);
        turn(KEY_NS);
    }
}

/* HID usages of page 7 for what `type` knows. */
static uint16_t key_usage(char c, bool escaped)
{
    static const struct {
        char c;
        bool escaped;
        uint16_t usage;
    } keys[] = {{'n', true, 0x28},  {'e', true, 0x29},  {'u', true, 0x52},  {'d', true, 0x51},
                {'l', true, 0x50},  {'r', true, 0x4f},  {' ', false, 0x2c}, {'-', false, 0x2d},
                {'=', false, 0x2e}, {'/', false, 0x38}, {'.', false, 0x37}, {'0', false, 0x27}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (keys[i].c == c && keys[i].escaped == escaped)
            return keys[i].usage;
    if (isdigit((unsigned char)c))
        return (uint16_t)(0x1e + c - '1');
    return islower((unsigned char)c) ? (uint16_t)(0x04 + c - 'a') : 0;
}

static bool type(const char *text)
{
    for (; *text; text++) {
        bool escaped = *text == '\\' && text[1];
        uint16_t usage = key_usage(escaped ? *++text : *text, escaped);
        if (!usage)
            return complain("screen: no key for '%c'", *text) == 0;
        press(usage);
    }
    return true;
}

/* The machine has powered itself off. */
static bool ended(void)
{
    for (uint64_t end = now() + (uint64_t)timeout_seconds * NS_PER_SECOND; now() < end;) {
        if (machine_state(session.machine) == MACHINE_OFF)
            return true;
        turn(100 * 1000000ull);
    }
    return complain("screen: the machine does not power off") == 0;
}

static bool perform(const char *step)
{
    const char *colon = strchr(step, ':');
    size_t length = colon ? (size_t)(colon - step) : strlen(step);
    const char *argument = colon ? colon + 1 : "";
    if (length == 6 && memcmp(step, "expect", 6) == 0)
        return wait_for(SHOWS, argument);
    if (length == 6 && memcmp(step, "absent", 6) == 0)
        return wait_for(LACKS, argument);
    if (length == 7 && memcmp(step, "differs", 7) == 0)
        return wait_for(DIFFERS, "a change");
    if (length == 4 && memcmp(step, "type", 4) == 0)
        return type(argument);
    if (length == 5 && memcmp(step, "pause", 5) == 0) {
        turn((uint64_t)atoi(argument) * NS_PER_SECOND);
        return true;
    }
    if (length == 5 && memcmp(step, "power", 5) == 0) {
        machine_power_button(session.machine);
        return true;
    }
    if (length == 5 && memcmp(step, "ended", 5) == 0)
        return ended();
    if (length == 7 && memcmp(step, "timeout", 7) == 0)
        return (timeout_seconds = atoi(argument)) > 0;
    if (length == 5 && memcmp(step, "print", 5) == 0)
        return printf("%s\n", screen) > 0;
    return complain("screen: unknown step '%s'", step) == 0;
}

int main(int argc, char **argv)
{
    struct error error;
    int split = 1;
    while (split < argc && strcmp(argv[split], "--") != 0)
        split++;
    if (!options_parse(&session.options, argc - split - 1, argv + split + 1, &error))
        return complain("screen: %s", error.text);
    session.options.display = DISPLAY_NONE;
    if (!session_open(&session, &error))
        return complain("screen: %s", error.text);
    machine_start(session.machine);
    bool good = true;
    for (int i = 1; i < split && good; i++) {
        good = perform(argv[i]);
        read_screen();
        memcpy(before, screen, sizeof before);
    }
    session_close(&session);
    return good ? 0 : 1;
}
