/*
 * PS/2 keyboard: scan code sets 1 to 3, typematic repeat, LEDs.
 *
 * IBM Personal System/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-key)".
 *
 * Set 2 is the native one; set 1 is set 2 put through the controller's translation. Answers to
 * commands go before scan codes that wait. Sixteen bytes of scan codes are kept; a key that does
 * not fit leaves an overrun code in the seventeenth place, and is lost.
 *
 * Not modelled: the shift codes that the original puts around cursor keys while Shift or Num Lock
 * is on; the delay of the self-test.
 */
#include "hw/input/ps2_keyboard.h"

#include "hw/alloc.h"
#include "hw/input/ps2_keys.h"

#define COMMAND_LEDS      0xed
#define COMMAND_ECHO      0xee
#define COMMAND_SCAN_SET  0xf0
#define COMMAND_IDENTIFY  0xf2
#define COMMAND_TYPEMATIC 0xf3
#define COMMAND_ENABLE    0xf4
#define COMMAND_DISABLE   0xf5
#define COMMAND_DEFAULTS  0xf6
#define COMMAND_ALL_TYPES 0xf7 /* to 0xfa: all keys of set 3 */
#define COMMAND_KEY_TYPE  0xfb /* to 0xfd: the keys that follow */
#define COMMAND_RESEND    0xfe
#define COMMAND_RESET     0xff

#define ID_1              0xab
#define ID_2              0x83
#define EXTENDED          0xe0

#define SCAN_QUEUE_SIZE   16
#define OVERRUN_SET1      0xff
#define OVERRUN           0x00

#define TYPEMATIC_DEFAULT 0x2b /* 500 ms, 10.9 a second */
#define LEDS_MASK         7

/* What a key does in set 3 */
#define TYPE_REPEATS 0x01
#define TYPE_BREAKS  0x02
#define SET3_KEYS    0x90

#define SEQUENCE_MAX 8

struct ps2_keyboard {
    struct device device;
    uint8_t scan_set;
    bool scanning;
    uint8_t argument_of; /* command whose argument comes next, or 0 */
    uint8_t typematic;
    uint8_t last_sent;
    uint8_t leds;
    uint8_t set3_type[SET3_KEYS];
    uint32_t held[PS2_KEYS / 32]; /* one bit a key */
    bool print_as_sysrq;          /* print screen went down with Alt */
    uint16_t repeating;           /* key, or 0 */
    struct ps2_queue replies, scans;
    struct timer repeat;

    struct clock *clock;
    struct ps2_link *link;
    struct input_port *input;
};

static const struct field ps2_keyboard_fields[] = {
    FIELD(struct ps2_keyboard, scan_set, 1),
    FIELD(struct ps2_keyboard, scanning, 1),
    FIELD(struct ps2_keyboard, argument_of, 1),
    FIELD(struct ps2_keyboard, typematic, 1),
    FIELD(struct ps2_keyboard, last_sent, 1),
    FIELD(struct ps2_keyboard, leds, 1),
    FIELD_ARRAY(struct ps2_keyboard, set3_type, 1),
    FIELD_ARRAY(struct ps2_keyboard, held, 1),
    FIELD(struct ps2_keyboard, print_as_sysrq, 1),
    FIELD(struct ps2_keyboard, repeating, 1),
    FIELD_STRUCT(struct ps2_keyboard, replies, ps2_queue_fields, 1),
    FIELD_STRUCT(struct ps2_keyboard, scans, ps2_queue_fields, 1),
    FIELD(struct ps2_keyboard, repeat.deadline_ns, 1),
    FIELD_END,
};

/* -- Scan codes -- */

struct sequence {
    uint8_t bytes[SEQUENCE_MAX];
    size_t count;
};

static void add(struct sequence *sequence, uint8_t byte)
{
    sequence->bytes[sequence->count++] = byte;
}

static bool is_held(const struct ps2_keyboard *keyboard, unsigned key)
{
    return keyboard->held[key / 32] >> (key % 32) & 1;
}

static bool either_held(const struct ps2_keyboard *keyboard, unsigned left, unsigned right)
{
    return is_held(keyboard, left) || is_held(keyboard, right);
}

/* Print screen and pause send what the keys they were on the first PC's keyboard would. */
static bool special_sequence(struct ps2_keyboard *keyboard, unsigned key, bool down,
                             struct sequence *out)
{
    static const struct sequence sysrq[2] = {{{0xf0, 0x84}, 2}, {{0x84}, 1}};
    static const struct sequence print[2] = {{{0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12}, 6},
                                             {{0xe0, 0x12, 0xe0, 0x7c}, 4}};
    static const struct sequence print_shifted[2] = {{{0xe0, 0xf0, 0x7c}, 3}, {{0xe0, 0x7c}, 2}};
    static const struct sequence pause = {{0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77}, 8};
    static const struct sequence stop = {{0xe0, 0x7e, 0xe0, 0xf0, 0x7e}, 5};
    bool ctrl = either_held(keyboard, HID_LEFT_CTRL, HID_RIGHT_CTRL);

    if (key == HID_PRINT_SCREEN) {
        if (down)
            keyboard->print_as_sysrq = either_held(keyboard, HID_LEFT_ALT, HID_RIGHT_ALT);
        if (keyboard->print_as_sysrq)
            *out = sysrq[down];
        else if (ctrl || either_held(keyboard, HID_LEFT_SHIFT, HID_RIGHT_SHIFT))
            *out = print_shifted[down];
        else
            *out = print[down];
        return true;
    }
    if (key == HID_PAUSE) {
        if (down)
            *out = ctrl ? stop : pause;
        return true;
    }
    return false;
}

static void set2_sequence(struct ps2_keyboard *keyboard, unsigned key, bool down,
                          struct sequence *out)
{
    const struct ps2_key *codes = &ps2_keys[key];

    if (special_sequence(keyboard, key, down, out) || (!down && (codes->flags & KEY_MAKE_ONLY)))
        return;
    if (codes->flags & KEY_EXTENDED)
        add(out, EXTENDED);
    if (!down)
        add(out, PS2_BREAK);
    add(out, codes->set2);
}

static void set2_to_set1(struct sequence *sequence)
{
    size_t count = 0;
    uint8_t release = 0;

    for (size_t i = 0; i < sequence->count; i++) {
        uint8_t byte = sequence->bytes[i];
        if (byte == PS2_BREAK) {
            release = 0x80;
            continue;
        }
        sequence->bytes[count++] = ps2_set1_of_set2[byte] | release;
        release = 0;
    }
    sequence->count = count;
}

static void set3_sequence(const struct ps2_keyboard *keyboard, unsigned key, bool down,
                          struct sequence *out)
{
    uint8_t code = ps2_keys[key].set3;

    if (!code || (!down && !(keyboard->set3_type[code] & TYPE_BREAKS)))
        return;
    if (!down)
        add(out, PS2_BREAK);
    add(out, code);
}

static void send_key(struct ps2_keyboard *keyboard, unsigned key, bool down)
{
    struct sequence sequence = {.count = 0};

    if (keyboard->scan_set == 3)
        set3_sequence(keyboard, key, down, &sequence);
    else
        set2_sequence(keyboard, key, down, &sequence);
    if (keyboard->scan_set == 1)
        set2_to_set1(&sequence);

    struct ps2_queue *scans = &keyboard->scans;
    if (scans->count + sequence.count <= SCAN_QUEUE_SIZE) {
        for (size_t i = 0; i < sequence.count; i++)
            ps2_queue_put(scans, sequence.bytes[i]);
    } else {
        while (scans->count <= SCAN_QUEUE_SIZE) /* the rest up to the seventeenth */
            ps2_queue_put(scans, keyboard->scan_set == 1 ? OVERRUN_SET1 : OVERRUN);
    }
    if (scans->count)
        keyboard->link->ready(keyboard->link->controller);
}

/* -- Typematic -- */

static void stop_repeat(struct ps2_keyboard *keyboard)
{
    keyboard->repeating = 0;
    timer_cancel(&keyboard->repeat);
}

static uint64_t repeat_delay_ns(const struct ps2_keyboard *keyboard)
{
    return ((keyboard->typematic >> 5 & 3) + 1) * 250000000ull;
}

/* (8 + A) * 2^B * 4.17 ms */
static uint64_t repeat_period_ns(const struct ps2_keyboard *keyboard)
{
    return ((8 + (keyboard->typematic & 7u)) << (keyboard->typematic >> 3 & 3)) * 4170000ull;
}

static void repeat_due(void *opaque)
{
    struct ps2_keyboard *keyboard = opaque;

    if (!keyboard->repeating)
        return;
    /* A full queue means that nobody listens: no overruns from a key held down. */
    if (keyboard->scans.count + SEQUENCE_MAX <= SCAN_QUEUE_SIZE)
        send_key(keyboard, keyboard->repeating, true);
    timer_set(&keyboard->repeat, clock_now(keyboard->clock) + repeat_period_ns(keyboard));
}

static bool repeats(const struct ps2_keyboard *keyboard, unsigned key)
{
    if (key == HID_PAUSE)
        return false;
    return keyboard->scan_set != 3 || (keyboard->set3_type[ps2_keys[key].set3] & TYPE_REPEATS);
}

static void key_event(void *device, uint16_t hid_usage, bool down)
{
    struct ps2_keyboard *keyboard = device;

    if (hid_usage >= PS2_KEYS || !ps2_keys[hid_usage].set2 || is_held(keyboard, hid_usage) == down)
        return;
    keyboard->held[hid_usage / 32] ^= 1u << (hid_usage % 32);
    if (keyboard->repeating == hid_usage)
        stop_repeat(keyboard);
    if (!keyboard->scanning)
        return;
    send_key(keyboard, hid_usage, down);
    if (down && repeats(keyboard, hid_usage)) {
        keyboard->repeating = hid_usage;
        timer_set(&keyboard->repeat, clock_now(keyboard->clock) + repeat_delay_ns(keyboard));
    }
}

/* -- Commands -- */

static void reply(struct ps2_keyboard *keyboard, uint8_t byte)
{
    ps2_queue_put(&keyboard->replies, byte);
    keyboard->link->ready(keyboard->link->controller);
}

static void clear_output(struct ps2_keyboard *keyboard)
{
    keyboard->scans.count = 0;
    stop_repeat(keyboard);
}

static void set_leds(struct ps2_keyboard *keyboard, uint8_t leds)
{
    keyboard->leds = leds & LEDS_MASK;
    keyboard->input->leds = keyboard->leds;
}

static void set_defaults(struct ps2_keyboard *keyboard)
{
    static const uint8_t no_repeat[] = {0x14, 0x12, 0x59, 0x11, 0x19, 0x39, 0x58};

    clear_output(keyboard);
    keyboard->scan_set = 2;
    keyboard->typematic = TYPEMATIC_DEFAULT;
    set_leds(keyboard, 0);
    /* Set 3: letters repeat without break codes, modifiers have them. */
    memset(keyboard->set3_type, TYPE_REPEATS, sizeof keyboard->set3_type);
    for (size_t i = 0; i < sizeof no_repeat; i++)
        keyboard->set3_type[no_repeat[i]] = TYPE_BREAKS;
}

static void execute(struct ps2_keyboard *keyboard, uint8_t command)
{
    static const uint8_t all_types[] = {TYPE_REPEATS, TYPE_BREAKS, 0, TYPE_REPEATS | TYPE_BREAKS};

    switch (command) {
    case COMMAND_ECHO:
        reply(keyboard, COMMAND_ECHO);
        return;
    case COMMAND_RESEND:
        reply(keyboard, keyboard->last_sent);
        return;
    case COMMAND_LEDS:
    case COMMAND_TYPEMATIC:
        keyboard->argument_of = command;
        break;
    case COMMAND_SCAN_SET:
    case COMMAND_KEY_TYPE ... COMMAND_KEY_TYPE + 2:
        clear_output(keyboard);
        keyboard->argument_of = command;
        break;
    case COMMAND_ENABLE:
        clear_output(keyboard);
        keyboard->scanning = true;
        break;
    case COMMAND_DISABLE:
        set_defaults(keyboard);
        keyboard->scanning = false;
        break;
    case COMMAND_DEFAULTS:
        set_defaults(keyboard);
        break;
    case COMMAND_ALL_TYPES ... COMMAND_ALL_TYPES + 3:
        clear_output(keyboard);
        memset(keyboard->set3_type, all_types[command - COMMAND_ALL_TYPES],
               sizeof keyboard->set3_type);
        break;
    case COMMAND_IDENTIFY:
        reply(keyboard, PS2_ACK);
        reply(keyboard, ID_1);
        reply(keyboard, ID_2);
        return;
    case COMMAND_RESET:
        set_defaults(keyboard);
        keyboard->scanning = true;
        keyboard->replies.count = 0;
        reply(keyboard, PS2_ACK);
        reply(keyboard, PS2_SELF_TEST_PASSED);
        return;
    default:
        reply(keyboard, PS2_RESEND);
        return;
    }
    reply(keyboard, PS2_ACK);
}

static void take_argument(struct ps2_keyboard *keyboard, uint8_t argument)
{
    static const uint8_t key_types[] = {TYPE_REPEATS, TYPE_BREAKS, 0};
    uint8_t command = keyboard->argument_of;

    keyboard->argument_of = 0;
    switch (command) {
    case COMMAND_LEDS:
        set_leds(keyboard, argument);
        break;
    case COMMAND_TYPEMATIC:
        keyboard->typematic = argument;
        break;
    case COMMAND_SCAN_SET:
        if (argument > 3) {
            reply(keyboard, PS2_RESEND);
            return;
        }
        reply(keyboard, PS2_ACK);
        if (argument == 0)
            reply(keyboard, keyboard->scan_set);
        else
            keyboard->scan_set = argument;
        return;
    default: /* key types: any number of set 3 codes, up to the next command */
        keyboard->set3_type[argument] = key_types[command - COMMAND_KEY_TYPE];
        keyboard->argument_of = command;
    }
    reply(keyboard, PS2_ACK);
}

static void command_byte(void *device, uint8_t byte)
{
    struct ps2_keyboard *keyboard = device;

    /* An argument has bit 7 clear, except that key types know a few codes above; a command instead
     * of an argument is obeyed. */
    if (keyboard->argument_of &&
        (byte < 0x80 || (keyboard->argument_of >= COMMAND_KEY_TYPE && byte < SET3_KEYS))) {
        take_argument(keyboard, byte);
        return;
    }
    keyboard->argument_of = 0;
    execute(keyboard, byte);
}

/* -- Link -- */

static bool waiting(void *device)
{
    const struct ps2_keyboard *keyboard = device;

    return keyboard->replies.count || keyboard->scans.count;
}

static uint8_t next(void *device)
{
    struct ps2_keyboard *keyboard = device;

    keyboard->last_sent =
        ps2_queue_take(keyboard->replies.count ? &keyboard->replies : &keyboard->scans);
    return keyboard->last_sent;
}

/* -- Device -- */

static void ps2_keyboard_reset(struct device *device)
{
    struct ps2_keyboard *keyboard = (struct ps2_keyboard *)device;

    set_defaults(keyboard);
    keyboard->scanning = true;
    keyboard->argument_of = 0;
    keyboard->last_sent = 0;
    keyboard->print_as_sysrq = false;
    keyboard->replies = keyboard->scans = (struct ps2_queue){.count = 0};
}

static bool ps2_keyboard_post_load(struct device *device, struct error *error)
{
    struct ps2_keyboard *keyboard = (struct ps2_keyboard *)device;
    uint8_t command = keyboard->argument_of;
    bool takes_argument = command == 0 || command == COMMAND_LEDS || command == COMMAND_SCAN_SET ||
                          command == COMMAND_TYPEMATIC ||
                          (command >= COMMAND_KEY_TYPE && command <= COMMAND_KEY_TYPE + 2);

    if (keyboard->scan_set < 1 || keyboard->scan_set > 3 || !takes_argument ||
        keyboard->repeating >= PS2_KEYS || keyboard->replies.count > PS2_QUEUE_SIZE ||
        keyboard->scans.count > SCAN_QUEUE_SIZE + 1)
        return error_set(error, "%s: the saved keyboard state is impossible", device->id);
    set_leds(keyboard, keyboard->leds);
    timer_rearm(&keyboard->repeat);
    return true;
}

static void ps2_keyboard_destroy(struct device *device)
{
    struct ps2_keyboard *keyboard = (struct ps2_keyboard *)device;

    timer_cancel(&keyboard->repeat);
    free(keyboard);
}

static const struct device_ops ps2_keyboard_ops = {
    .name = "ps2-keyboard",
    .fields = ps2_keyboard_fields,
    .version = 1,
    .reset = ps2_keyboard_reset,
    .post_load = ps2_keyboard_post_load,
    .destroy = ps2_keyboard_destroy,
};

struct ps2_keyboard *ps2_keyboard_new(struct device_list *list, struct clock *clock,
                                      struct ps2_link *link, struct input_port *input,
                                      const char *id)
{
    struct ps2_keyboard *keyboard = alloc_zeroed(sizeof *keyboard);

    keyboard->clock = clock;
    keyboard->link = link;
    keyboard->input = input;
    timer_init(&keyboard->repeat, clock, repeat_due, keyboard);
    device_add(list, &keyboard->device, &ps2_keyboard_ops, id);

    link->command = command_byte;
    link->waiting = waiting;
    link->next = next;
    link->device = keyboard;
    input->key = key_event;
    input->keyboard = keyboard;
    ps2_keyboard_reset(&keyboard->device);
    return keyboard;
}
