/*
 * Intel 8042 with the firmware of a PS/2: keyboard and auxiliary device controller.
 *
 * IBM Personal System/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device
 * Controller"; the commands 0xdd and 0xdf are from the HP Vectra's controller.
 *
 * One byte from the devices comes over the wire at a time: BYTE_NS after the output buffer was
 * read, as software exists that reads port 0x60 more than once per interrupt and expects the
 * same byte. Answers of the controller itself are there at once and replace what is in the
 * buffer.
 *
 * After reset the controller is set up as PC firmware hands it over (keyboard enabled, translated,
 * with interrupts). Not modelled: the password lock, the keyboard lock switch, diagnostic dump,
 * polling of the input port into the status register.
 */
#include "hw/input/i8042.h"

#include "hw/alloc.h"
#include "hw/input/ps2_keyboard.h"
#include "hw/input/ps2_mouse.h"

#define PORT_DATA          0x60
#define PORT_STATUS        0x64

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM      0x04
#define STATUS_COMMAND     0x08
#define STATUS_UNLOCKED    0x10
#define STATUS_AUX         0x20

/* The command byte, byte 0 of the controller's memory */
#define MODE_IRQ1                     0x01
#define MODE_IRQ12                    0x02
#define MODE_SYSTEM                   0x04
#define MODE_KEYBOARD_OFF             0x10
#define MODE_AUX_OFF                  0x20
#define MODE_TRANSLATE                0x40
#define MODE_AFTER_RESET              (MODE_TRANSLATE | MODE_AUX_OFF | MODE_IRQ1)

#define COMMAND_READ_MEMORY           0x20 /* to 0x3f */
#define COMMAND_WRITE_MEMORY          0x60
#define COMMAND_PASSWORD_TEST         0xa4
#define COMMAND_PASSWORD_LOAD         0xa5
#define COMMAND_AUX_OFF               0xa7
#define COMMAND_AUX_ON                0xa8
#define COMMAND_AUX_TEST              0xa9
#define COMMAND_SELF_TEST             0xaa
#define COMMAND_KEYBOARD_TEST         0xab
#define COMMAND_KEYBOARD_OFF          0xad
#define COMMAND_KEYBOARD_ON           0xae
#define COMMAND_READ_INPUT_PORT       0xc0
#define COMMAND_READ_OUTPUT_PORT      0xd0
#define COMMAND_WRITE_OUTPUT_PORT     0xd1
#define COMMAND_WRITE_KEYBOARD_BUFFER 0xd2
#define COMMAND_WRITE_AUX_BUFFER      0xd3
#define COMMAND_WRITE_AUX             0xd4
#define COMMAND_A20_OFF               0xdd
#define COMMAND_A20_ON                0xdf
#define COMMAND_READ_TEST_INPUTS      0xe0
#define COMMAND_PULSE                 0xf0 /* to 0xff: the bits that are 0 pulse low */

#define SELF_TEST_OK                  0x55
#define NO_PASSWORD                   0xf1
#define INPUT_PORT                    0xb0 /* unlocked, colour display, no manufacturing jumper */

#define OUTPUT_NO_RESET               0x01
#define OUTPUT_A20                    0x02
#define OUTPUT_IRQ1                   0x10
#define OUTPUT_IRQ12                  0x20
#define OUTPUT_LINES_HIGH             0xcc /* clock and data lines of both devices */

#define MEMORY_SIZE                   32
#define BYTE_NS                       500000ull

struct i8042 {
    struct device device;
    uint8_t memory[MEMORY_SIZE]; /* [0] is the command byte */
    uint8_t output;
    bool output_full;
    bool output_aux; /* the byte came from the mouse */
    bool wrote_command;
    uint8_t data_for; /* command that the next write to port 0x60 belongs to, or 0 */
    bool translate_break;
    bool a20;
    struct timer wire;

    struct clock *clock;
    struct irq_line irq1, irq12, a20_line;
    void (*reset)(void *opaque);
    void *reset_opaque;
    struct ps2_link keyboard, mouse;
};

static const struct field i8042_fields[] = {
    FIELD_ARRAY(struct i8042, memory, 1),     FIELD(struct i8042, output, 1),
    FIELD(struct i8042, output_full, 1),      FIELD(struct i8042, output_aux, 1),
    FIELD(struct i8042, wrote_command, 1),    FIELD(struct i8042, data_for, 1),
    FIELD(struct i8042, translate_break, 1),  FIELD(struct i8042, a20, 1),
    FIELD(struct i8042, wire.deadline_ns, 1), FIELD_END,
};

/* -- Output buffer -- */

static void update_irqs(struct i8042 *kbc)
{
    uint8_t mode = kbc->memory[0];

    irq_set(kbc->irq1, kbc->output_full && !kbc->output_aux && (mode & MODE_IRQ1));
    irq_set(kbc->irq12, kbc->output_full && kbc->output_aux && (mode & MODE_IRQ12));
}

static void fill_output(struct i8042 *kbc, uint8_t byte, bool aux)
{
    /* A byte that replaces another is an edge of its own. */
    kbc->output_full = false;
    update_irqs(kbc);
    kbc->output = byte;
    kbc->output_aux = aux;
    kbc->output_full = true;
    update_irqs(kbc);
}

static bool can_send(const struct i8042 *kbc, const struct ps2_link *link, uint8_t off)
{
    return !(kbc->memory[0] & off) && link->waiting(link->device);
}

/* Starts the transfer of the next byte from a device, if there is one and room for it. */
static void start_wire(struct i8042 *kbc)
{
    if (kbc->output_full || timer_pending(&kbc->wire))
        return;
    if (can_send(kbc, &kbc->keyboard, MODE_KEYBOARD_OFF) ||
        can_send(kbc, &kbc->mouse, MODE_AUX_OFF))
        timer_set(&kbc->wire, clock_now(kbc->clock) + BYTE_NS);
}

/* False if the byte was the break prefix, which says something about the next one. */
static bool translate(struct i8042 *kbc, uint8_t *byte)
{
    if (*byte == PS2_BREAK) {
        kbc->translate_break = true;
        return false;
    }
    *byte = ps2_set1_of_set2[*byte] | (kbc->translate_break ? 0x80 : 0);
    kbc->translate_break = false;
    return true;
}

static void byte_arrived(void *opaque)
{
    struct i8042 *kbc = opaque;

    if (kbc->output_full)
        return;
    while (can_send(kbc, &kbc->keyboard, MODE_KEYBOARD_OFF)) {
        uint8_t byte = kbc->keyboard.next(kbc->keyboard.device);
        if (!(kbc->memory[0] & MODE_TRANSLATE) || translate(kbc, &byte)) {
            fill_output(kbc, byte, false);
            return;
        }
    }
    if (can_send(kbc, &kbc->mouse, MODE_AUX_OFF))
        fill_output(kbc, kbc->mouse.next(kbc->mouse.device), true);
}

static void device_ready(void *controller)
{
    start_wire(controller);
}

/* -- Commands -- */

static void set_mode(struct i8042 *kbc, uint8_t mode)
{
    kbc->memory[0] = mode;
    update_irqs(kbc);
    start_wire(kbc);
}

static void set_a20(struct i8042 *kbc, bool level)
{
    kbc->a20 = level;
    if (!level && !kbc->a20_line.set)
        log_guest("i8042: this board has no A20 gate; address line 20 stays on");
    irq_set(kbc->a20_line, level);
}

static uint8_t output_port(const struct i8042 *kbc)
{
    uint8_t value = OUTPUT_LINES_HIGH | OUTPUT_NO_RESET;

    if (kbc->a20)
        value |= OUTPUT_A20;
    if (kbc->output_full)
        value |= kbc->output_aux ? OUTPUT_IRQ12 : OUTPUT_IRQ1;
    return value;
}

static void write_command(struct i8042 *kbc, uint8_t command)
{
    uint8_t mode = kbc->memory[0];

    kbc->data_for = 0;
    switch (command) {
    case COMMAND_READ_MEMORY ... COMMAND_READ_MEMORY + MEMORY_SIZE - 1:
        fill_output(kbc, kbc->memory[command - COMMAND_READ_MEMORY], false);
        break;
    case COMMAND_WRITE_MEMORY ... COMMAND_WRITE_MEMORY + MEMORY_SIZE - 1:
    case COMMAND_PASSWORD_LOAD:
    case COMMAND_WRITE_OUTPUT_PORT:
    case COMMAND_WRITE_KEYBOARD_BUFFER:
    case COMMAND_WRITE_AUX_BUFFER:
    case COMMAND_WRITE_AUX:
        kbc->data_for = command;
        break;
    case COMMAND_PASSWORD_TEST:
        fill_output(kbc, NO_PASSWORD, false);
        break;
    case COMMAND_AUX_OFF:
        set_mode(kbc, mode | MODE_AUX_OFF);
        break;
    case COMMAND_AUX_ON:
        set_mode(kbc, mode & (uint8_t)~MODE_AUX_OFF);
        break;
    case COMMAND_SELF_TEST:
        kbc->translate_break = false;
        set_mode(kbc, mode | MODE_SYSTEM);
        fill_output(kbc, SELF_TEST_OK, false);
        break;
    case COMMAND_AUX_TEST:
    case COMMAND_KEYBOARD_TEST:
        fill_output(kbc, 0, false); /* no error */
        break;
    case COMMAND_KEYBOARD_OFF:
        set_mode(kbc, mode | MODE_KEYBOARD_OFF);
        break;
    case COMMAND_KEYBOARD_ON:
        set_mode(kbc, mode & (uint8_t)~MODE_KEYBOARD_OFF);
        break;
    case COMMAND_READ_INPUT_PORT:
        fill_output(kbc, INPUT_PORT, false);
        break;
    case COMMAND_READ_OUTPUT_PORT:
        fill_output(kbc, output_port(kbc), false);
        break;
    case COMMAND_A20_OFF:
    case COMMAND_A20_ON:
        set_a20(kbc, command == COMMAND_A20_ON);
        break;
    case COMMAND_READ_TEST_INPUTS: /* the clock lines */
        fill_output(kbc, (mode & MODE_KEYBOARD_OFF ? 0 : 1) | (mode & MODE_AUX_OFF ? 0 : 2), false);
        break;
    case COMMAND_PULSE ... 0xff:
        if (!(command & OUTPUT_NO_RESET))
            kbc->reset(kbc->reset_opaque);
        break;
    default:
        log_guest("i8042: command %#x is not modelled", command);
    }
}

static void send_to_keyboard(struct i8042 *kbc, uint8_t byte)
{
    kbc->memory[0] &= (uint8_t)~MODE_KEYBOARD_OFF; /* sending needs the clock */
    kbc->keyboard.command(kbc->keyboard.device, byte);
    start_wire(kbc);
}

static void send_to_mouse(struct i8042 *kbc, uint8_t byte)
{
    kbc->memory[0] &= (uint8_t)~MODE_AUX_OFF;
    kbc->mouse.command(kbc->mouse.device, byte);
    start_wire(kbc);
}

static void write_data(struct i8042 *kbc, uint8_t byte)
{
    uint8_t command = kbc->data_for;

    kbc->data_for = 0;
    switch (command) {
    case 0:
        send_to_keyboard(kbc, byte);
        break;
    case COMMAND_WRITE_MEMORY:
        set_mode(kbc, byte);
        break;
    case COMMAND_PASSWORD_LOAD:
        log_guest("i8042: the password lock is not modelled");
        if (byte)
            kbc->data_for = command; /* up to a zero */
        break;
    case COMMAND_WRITE_OUTPUT_PORT:
        set_a20(kbc, byte & OUTPUT_A20);
        if (!(byte & OUTPUT_NO_RESET))
            kbc->reset(kbc->reset_opaque);
        break;
    case COMMAND_WRITE_KEYBOARD_BUFFER:
        fill_output(kbc, byte, false);
        break;
    case COMMAND_WRITE_AUX_BUFFER:
        fill_output(kbc, byte, true);
        break;
    case COMMAND_WRITE_AUX:
        send_to_mouse(kbc, byte);
        break;
    default: /* the rest of the memory */
        kbc->memory[command - COMMAND_WRITE_MEMORY] = byte;
    }
}

/* -- Ports -- */

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i8042 *kbc = opaque;

    kbc->output_full = false;
    update_irqs(kbc);
    start_wire(kbc);
    return kbc->output;
}

static void data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i8042 *kbc = opaque;

    kbc->wrote_command = false;
    write_data(kbc, (uint8_t)value);
}

static uint64_t status_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i8042 *kbc = opaque;

    return STATUS_UNLOCKED | (kbc->output_full ? STATUS_OUTPUT_FULL : 0) |
           (kbc->output_full && kbc->output_aux ? STATUS_AUX : 0) |
           (kbc->memory[0] & MODE_SYSTEM ? STATUS_SYSTEM : 0) |
           (kbc->wrote_command ? STATUS_COMMAND : 0);
}

static void command_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i8042 *kbc = opaque;

    kbc->wrote_command = true;
    write_command(kbc, (uint8_t)value);
}

static const struct access_ops data_ops = {data_read, data_write, 1, 1};
static const struct access_ops status_ops = {status_read, command_write, 1, 1};

/* -- Device -- */

static void i8042_reset(struct device *device)
{
    struct i8042 *kbc = (struct i8042 *)device;

    memset(kbc->memory, 0, sizeof kbc->memory);
    kbc->memory[0] = MODE_AFTER_RESET;
    kbc->output = 0;
    kbc->output_full = kbc->output_aux = false;
    kbc->wrote_command = false;
    kbc->data_for = 0;
    kbc->translate_break = false;
    timer_cancel(&kbc->wire);
    update_irqs(kbc);
    set_a20(kbc, true);
}

static bool i8042_post_load(struct device *device, struct error *error)
{
    struct i8042 *kbc = (struct i8042 *)device;
    uint8_t command = kbc->data_for;
    bool in_memory =
        command >= COMMAND_WRITE_MEMORY && command < COMMAND_WRITE_MEMORY + MEMORY_SIZE;

    if (command && !in_memory && command != COMMAND_PASSWORD_LOAD &&
        (command < COMMAND_WRITE_OUTPUT_PORT || command > COMMAND_WRITE_AUX))
        return error_set(error, "%s: the saved keyboard controller state is impossible",
                         device->id);
    update_irqs(kbc); /* the A20 gate has a state of its own */
    timer_rearm(&kbc->wire);
    return true;
}

static void i8042_destroy(struct device *device)
{
    struct i8042 *kbc = (struct i8042 *)device;

    timer_cancel(&kbc->wire);
    free(kbc);
}

static const struct device_ops i8042_device_ops = {
    .name = "i8042",
    .fields = i8042_fields,
    .version = 1,
    .reset = i8042_reset,
    .post_load = i8042_post_load,
    .destroy = i8042_destroy,
};

void i8042_connect_a20(struct i8042 *kbc, struct irq_line a20)
{
    kbc->a20_line = a20;
    irq_set(a20, kbc->a20);
}

struct i8042 *i8042_new(struct device_list *list, struct io_bus *io, struct clock *clock,
                        struct irq_line irq1, struct irq_line irq12, void (*reset)(void *opaque),
                        void *opaque, struct input_port *input, const char *id)
{
    struct i8042 *kbc = alloc_zeroed(sizeof *kbc);
    char part[sizeof kbc->device.id];

    kbc->clock = clock;
    kbc->irq1 = irq1;
    kbc->irq12 = irq12;
    kbc->reset = reset;
    kbc->reset_opaque = opaque;
    kbc->keyboard.ready = kbc->mouse.ready = device_ready;
    kbc->keyboard.controller = kbc->mouse.controller = kbc;
    timer_init(&kbc->wire, clock, byte_arrived, kbc);
    device_add(list, &kbc->device, &i8042_device_ops, id);
    io_bus_add(io, PORT_DATA, 1, &data_ops, kbc);
    io_bus_add(io, PORT_STATUS, 1, &status_ops, kbc);

    snprintf(part, sizeof part, "%s-keyboard", id);
    ps2_keyboard_new(list, clock, &kbc->keyboard, input, part);
    snprintf(part, sizeof part, "%s-mouse", id);
    ps2_mouse_new(list, clock, &kbc->mouse, input, part);
    i8042_reset(&kbc->device);
    return kbc;
}
