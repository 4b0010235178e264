/*
 * PS/2 mouse: the standard one, and after a knock (a sequence of sample rates) IntelliMouse with
 * a wheel (ID 3) or IntelliMouse Explorer with five buttons (ID 4).
 *
 * IBM Personal System/2 Hardware Interface Technical Reference, "Mouse"; Microsoft, "Windows and
 * the 5-Button Wheel Mouse".
 *
 *     byte 0  | Y overflow | X overflow | Y sign | X sign | 1 | middle | right | left |
 *     byte 1  | X movement, low 8 of 9 bits                                           |
 *     byte 2  | Y movement, upwards                                                   |
 *     byte 3  | ID 3: wheel, towards the user    ID 4: 0 | 0 | 5th | 4th | wheel (4)  |
 *
 * Movement comes in pixels, so the resolution setting is kept and changes nothing. Movement that
 * does not fit a packet is sent with the next ones rather than flagged as overflow.
 */
#include "hw/input/ps2_mouse.h"

#include "hw/alloc.h"

#define COMMAND_SCALING_1   0xe6
#define COMMAND_SCALING_2   0xe7
#define COMMAND_RESOLUTION  0xe8
#define COMMAND_STATUS      0xe9
#define COMMAND_STREAM      0xea
#define COMMAND_READ_DATA   0xeb
#define COMMAND_END_WRAP    0xec
#define COMMAND_WRAP        0xee
#define COMMAND_REMOTE      0xf0
#define COMMAND_IDENTIFY    0xf2
#define COMMAND_SAMPLE_RATE 0xf3
#define COMMAND_ENABLE      0xf4
#define COMMAND_DISABLE     0xf5
#define COMMAND_DEFAULTS    0xf6
#define COMMAND_RESEND      0xfe
#define COMMAND_RESET       0xff

#define ID_STANDARD         0
#define ID_WHEEL            3
#define ID_EXPLORER         4

#define PACKET_ALWAYS       0x08
#define PACKET_X_NEGATIVE   0x10
#define PACKET_Y_NEGATIVE   0x20

#define STATUS_SCALING_2    0x10
#define STATUS_ENABLED      0x20
#define STATUS_REMOTE       0x40

#define BUTTONS             5
#define PACKET_QUEUE_SIZE   16
#define MOVEMENT_MAX        255    /* of a packet */
#define BACKLOG_MAX         0x4000 /* of what is still to be sent */

struct ps2_mouse {
    struct device device;
    uint8_t id;
    bool enabled, remote, wrap, scaling_2;
    uint8_t resolution, sample_rate;
    uint8_t rates[3];    /* the last ones set, newest last: the knock */
    uint8_t argument_of; /* command whose argument comes next, or 0 */
    uint8_t last_sent;
    int32_t dx, dy, dz; /* not yet sent; dy upwards, dz towards the user */
    uint8_t buttons, reported_buttons;
    bool nudged; /* a packet is wanted that tells nothing */
    uint64_t sampled_ns;
    struct ps2_queue replies, packets;
    struct timer sample;

    struct clock *clock;
    struct ps2_link *link;
};

static const struct field ps2_mouse_fields[] = {
    FIELD(struct ps2_mouse, id, 1),
    FIELD(struct ps2_mouse, enabled, 1),
    FIELD(struct ps2_mouse, remote, 1),
    FIELD(struct ps2_mouse, wrap, 1),
    FIELD(struct ps2_mouse, scaling_2, 1),
    FIELD(struct ps2_mouse, resolution, 1),
    FIELD(struct ps2_mouse, sample_rate, 1),
    FIELD_ARRAY(struct ps2_mouse, rates, 1),
    FIELD(struct ps2_mouse, argument_of, 1),
    FIELD(struct ps2_mouse, last_sent, 1),
    FIELD(struct ps2_mouse, dx, 1),
    FIELD(struct ps2_mouse, dy, 1),
    FIELD(struct ps2_mouse, dz, 1),
    FIELD(struct ps2_mouse, buttons, 1),
    FIELD(struct ps2_mouse, reported_buttons, 1),
    FIELD(struct ps2_mouse, nudged, 1),
    FIELD(struct ps2_mouse, sampled_ns, 1),
    FIELD_STRUCT(struct ps2_mouse, replies, ps2_queue_fields, 1),
    FIELD_STRUCT(struct ps2_mouse, packets, ps2_queue_fields, 1),
    FIELD(struct ps2_mouse, sample.deadline_ns, 1),
    FIELD_END,
};

/* -- Packets -- */

static int32_t limit(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* Takes as much of `rest` as fits between `low` and `high`. */
static int32_t take(int32_t *rest, int32_t low, int32_t high)
{
    int32_t part = limit(*rest, low, high);

    *rest -= part;
    return part;
}

/* The 2:1 scaling of stream mode. */
static int32_t scale(int32_t value)
{
    static const uint8_t small[6] = {0, 1, 1, 3, 6, 9};
    int32_t size = value < 0 ? -value : value;

    size = size < 6 ? small[size] : 2 * size;
    return limit(value < 0 ? -size : size, -MOVEMENT_MAX, MOVEMENT_MAX);
}

static void put_packet(struct ps2_mouse *mouse, struct ps2_queue *queue, bool scaled)
{
    int32_t x = take(&mouse->dx, -MOVEMENT_MAX, MOVEMENT_MAX);
    int32_t y = take(&mouse->dy, -MOVEMENT_MAX, MOVEMENT_MAX);

    if (scaled) {
        x = scale(x);
        y = scale(y);
    }
    mouse->reported_buttons = mouse->buttons;
    mouse->nudged = false;
    ps2_queue_put(queue,
                  (uint8_t)(PACKET_ALWAYS | (mouse->buttons & 7) | (x < 0 ? PACKET_X_NEGATIVE : 0) |
                            (y < 0 ? PACKET_Y_NEGATIVE : 0)));
    ps2_queue_put(queue, (uint8_t)x);
    ps2_queue_put(queue, (uint8_t)y);
    if (mouse->id == ID_WHEEL)
        ps2_queue_put(queue, (uint8_t)take(&mouse->dz, -128, 127));
    else if (mouse->id == ID_EXPLORER)
        ps2_queue_put(queue,
                      (uint8_t)((take(&mouse->dz, -8, 7) & 0x0f) | (mouse->buttons & 0x18) << 1));
    else
        mouse->dz = 0;
}

static bool has_news(const struct ps2_mouse *mouse)
{
    return mouse->dx || mouse->dy || (mouse->dz && mouse->id != ID_STANDARD) ||
           mouse->buttons != mouse->reported_buttons || mouse->nudged;
}

static bool is_streaming(const struct ps2_mouse *mouse)
{
    return mouse->enabled && !mouse->remote && !mouse->wrap;
}

static uint64_t sample_period_ns(const struct ps2_mouse *mouse)
{
    return NS_PER_SECOND / mouse->sample_rate;
}

static bool room_for_packet(const struct ps2_mouse *mouse)
{
    return mouse->packets.count + 4 <= PACKET_QUEUE_SIZE;
}

/* Sends a packet if the sample period is over (a click does not wait for it), or arranges for it.
 */
static void stream(struct ps2_mouse *mouse)
{
    uint64_t now = clock_now(mouse->clock);
    uint64_t due = mouse->sampled_ns + sample_period_ns(mouse);
    bool click = mouse->buttons != mouse->reported_buttons;

    if (!is_streaming(mouse) || !has_news(mouse))
        return;
    if ((click || now >= due) && room_for_packet(mouse)) {
        put_packet(mouse, &mouse->packets, mouse->scaling_2);
        mouse->sampled_ns = now;
        mouse->link->ready(mouse->link->controller);
        due = now + sample_period_ns(mouse);
    }
    if (has_news(mouse) && !timer_pending(&mouse->sample))
        timer_set(&mouse->sample, due > now ? due : now + sample_period_ns(mouse));
}

static void sample_due(void *opaque)
{
    stream(opaque);
}

static int32_t accumulate(int32_t sum, int change)
{
    return limit(sum + limit(change, -BACKLOG_MAX, BACKLOG_MAX), -BACKLOG_MAX, BACKLOG_MAX);
}

static void pointer_event(void *device, int dx, int dy, int wheel, unsigned buttons)
{
    struct ps2_mouse *mouse = device;

    mouse->dx = accumulate(mouse->dx, dx);
    mouse->dy = accumulate(mouse->dy, -limit(dy, -BACKLOG_MAX, BACKLOG_MAX));
    mouse->dz = accumulate(mouse->dz, -limit(wheel, -BACKLOG_MAX, BACKLOG_MAX));
    mouse->buttons = buttons & ((1u << BUTTONS) - 1);
    stream(mouse);
}

static void pointer_nudge(void *device)
{
    struct ps2_mouse *mouse = device;

    mouse->nudged = is_streaming(mouse);
    stream(mouse);
}

/* -- Commands -- */

static void reply(struct ps2_mouse *mouse, uint8_t byte)
{
    ps2_queue_put(&mouse->replies, byte);
    mouse->link->ready(mouse->link->controller);
}

static void forget_movement(struct ps2_mouse *mouse)
{
    mouse->dx = mouse->dy = mouse->dz = 0;
    mouse->nudged = false;
    mouse->packets.count = 0;
}

static void set_defaults(struct ps2_mouse *mouse)
{
    mouse->enabled = mouse->remote = mouse->wrap = mouse->scaling_2 = false;
    mouse->resolution = 2; /* 4 counts a millimetre */
    mouse->sample_rate = 100;
    forget_movement(mouse);
}

static void reply_status(struct ps2_mouse *mouse)
{
    uint8_t left = mouse->buttons & 1, right = mouse->buttons >> 1 & 1,
            middle = mouse->buttons >> 2 & 1;

    reply(mouse,
          (uint8_t)((mouse->remote ? STATUS_REMOTE : 0) | (mouse->enabled ? STATUS_ENABLED : 0) |
                    (mouse->scaling_2 ? STATUS_SCALING_2 : 0) | left << 2 | middle << 1 | right));
    reply(mouse, mouse->resolution);
    reply(mouse, mouse->sample_rate);
}

static void set_sample_rate(struct ps2_mouse *mouse, uint8_t rate)
{
    uint8_t *rates = mouse->rates;

    mouse->sample_rate = rate;
    rates[0] = rates[1];
    rates[1] = rates[2];
    rates[2] = rate;
    if (rates[0] == 200 && rates[1] == 100 && rates[2] == 80 && mouse->id == ID_STANDARD)
        mouse->id = ID_WHEEL;
    else if (rates[0] == 200 && rates[1] == 200 && rates[2] == 80)
        mouse->id = ID_EXPLORER;
}

static void execute(struct ps2_mouse *mouse, uint8_t command)
{
    if (command == COMMAND_RESEND) {
        reply(mouse, mouse->last_sent);
        return;
    }
    mouse->packets.count = 0; /* what was under way is given up */
    switch (command) {
    case COMMAND_SCALING_1:
    case COMMAND_SCALING_2:
        mouse->scaling_2 = command == COMMAND_SCALING_2;
        break;
    case COMMAND_RESOLUTION:
    case COMMAND_SAMPLE_RATE:
        mouse->argument_of = command;
        break;
    case COMMAND_STATUS:
        reply(mouse, PS2_ACK);
        reply_status(mouse);
        return;
    case COMMAND_STREAM:
    case COMMAND_REMOTE:
        mouse->remote = command == COMMAND_REMOTE;
        forget_movement(mouse);
        break;
    case COMMAND_READ_DATA:
        reply(mouse, PS2_ACK);
        put_packet(mouse, &mouse->replies, false);
        return;
    case COMMAND_WRAP:
    case COMMAND_END_WRAP:
        mouse->wrap = command == COMMAND_WRAP;
        forget_movement(mouse);
        break;
    case COMMAND_IDENTIFY:
        reply(mouse, PS2_ACK);
        reply(mouse, mouse->id);
        return;
    case COMMAND_ENABLE:
    case COMMAND_DISABLE:
        mouse->enabled = command == COMMAND_ENABLE;
        forget_movement(mouse);
        break;
    case COMMAND_DEFAULTS:
        set_defaults(mouse);
        break;
    case COMMAND_RESET:
        set_defaults(mouse);
        mouse->id = ID_STANDARD;
        mouse->replies.count = 0;
        reply(mouse, PS2_ACK);
        reply(mouse, PS2_SELF_TEST_PASSED);
        reply(mouse, mouse->id);
        return;
    default:
        reply(mouse, PS2_RESEND);
        return;
    }
    reply(mouse, PS2_ACK);
}

static void take_argument(struct ps2_mouse *mouse, uint8_t argument)
{
    uint8_t command = mouse->argument_of;

    mouse->argument_of = 0;
    if (command == COMMAND_RESOLUTION && argument <= 3) {
        mouse->resolution = argument;
    } else if (command == COMMAND_SAMPLE_RATE && argument >= 10 && argument <= 200) {
        set_sample_rate(mouse, argument);
    } else {
        reply(mouse, PS2_RESEND);
        return;
    }
    reply(mouse, PS2_ACK);
}

static void command_byte(void *device, uint8_t byte)
{
    struct ps2_mouse *mouse = device;

    if (mouse->wrap && byte != COMMAND_END_WRAP && byte != COMMAND_RESET)
        reply(mouse, byte);
    else if (mouse->argument_of && byte <= 200) /* no command is that low */
        take_argument(mouse, byte);
    else {
        mouse->argument_of = 0;
        execute(mouse, byte);
    }
}

/* -- Link -- */

static bool waiting(void *device)
{
    const struct ps2_mouse *mouse = device;

    return mouse->replies.count || mouse->packets.count;
}

static uint8_t next(void *device)
{
    struct ps2_mouse *mouse = device;

    mouse->last_sent = ps2_queue_take(mouse->replies.count ? &mouse->replies : &mouse->packets);
    return mouse->last_sent;
}

/* -- Device -- */

static void ps2_mouse_reset(struct device *device)
{
    struct ps2_mouse *mouse = (struct ps2_mouse *)device;

    set_defaults(mouse);
    mouse->id = ID_STANDARD;
    memset(mouse->rates, 0, sizeof mouse->rates);
    mouse->argument_of = 0;
    mouse->last_sent = 0;
    mouse->reported_buttons = mouse->buttons;
    mouse->replies = mouse->packets = (struct ps2_queue){.count = 0};
    timer_cancel(&mouse->sample);
}

static bool ps2_mouse_post_load(struct device *device, struct error *error)
{
    struct ps2_mouse *mouse = (struct ps2_mouse *)device;
    bool movement_fits = mouse->dx == limit(mouse->dx, -BACKLOG_MAX, BACKLOG_MAX) &&
                         mouse->dy == limit(mouse->dy, -BACKLOG_MAX, BACKLOG_MAX) &&
                         mouse->dz == limit(mouse->dz, -BACKLOG_MAX, BACKLOG_MAX);

    if (mouse->sample_rate < 10 || mouse->resolution > 3 || !movement_fits ||
        mouse->replies.count > PS2_QUEUE_SIZE || mouse->packets.count > PACKET_QUEUE_SIZE)
        return error_set(error, "%s: the saved mouse state is impossible", device->id);
    timer_rearm(&mouse->sample);
    return true;
}

static void ps2_mouse_destroy(struct device *device)
{
    struct ps2_mouse *mouse = (struct ps2_mouse *)device;

    timer_cancel(&mouse->sample);
    free(mouse);
}

static const struct device_ops ps2_mouse_ops = {
    .name = "ps2-mouse",
    .fields = ps2_mouse_fields,
    .version = 1,
    .reset = ps2_mouse_reset,
    .post_load = ps2_mouse_post_load,
    .destroy = ps2_mouse_destroy,
};

struct ps2_mouse *ps2_mouse_new(struct device_list *list, struct clock *clock,
                                struct ps2_link *link, struct input_port *input, const char *id)
{
    struct ps2_mouse *mouse = alloc_zeroed(sizeof *mouse);

    mouse->clock = clock;
    mouse->link = link;
    timer_init(&mouse->sample, clock, sample_due, mouse);
    device_add(list, &mouse->device, &ps2_mouse_ops, id);

    link->command = command_byte;
    link->waiting = waiting;
    link->next = next;
    link->device = mouse;
    input->pointer = pointer_event;
    input->nudge = pointer_nudge;
    input->mouse = mouse;
    ps2_mouse_reset(&mouse->device);
    return mouse;
}
