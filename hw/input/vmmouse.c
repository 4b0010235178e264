/*
 * VMware's backdoor port, as far as the absolute mouse needs it. There is no published
 * specification; this is what the drivers of X.org and Linux expect
 * (drivers/input/mouse/vmmouse.c).
 *
 *     IN EAX, DX   with DX = 0x5658, EAX = "hXMV", CX = command, EBX = argument
 *
 *     10  version          EAX = 6, EBX = the magic, ECX = kind of product
 *     39  read data        EAX, EBX, ECX, EDX = the next one to four words of the queue
 *     40  status           EAX = words in the queue; 0xffff0000: not enabled
 *     41  command          EBX = read identifier (and enable), disable, relative, absolute
 *     86  restrict access  who may use the port: the processor's I/O permissions decide that here
 *
 * An event is four words: buttons, X, Y (0 to 65535), wheel (towards the user). The guest is told
 * of it by a packet of the PS/2 mouse, whose contents do not count.
 *
 * Not modelled: relative events; a driver that asks for them gets those of the PS/2 mouse.
 */
#include "hw/input/vmmouse.h"
#include "hw/alloc.h"

#include <string.h>

#define PORT       0x5658
#define MAGIC      0x564d5868u
#define VERSION    6
#define PRODUCT    2 /* as servers answer */
#define IDENTIFIER 0x3442554au
#define NOT_THERE  0xffff0000u
#define QUEUE_SIZE 64 /* words */
#define WORDS      4  /* of an event */

enum command {
    GET_VERSION = 10,
    READ_DATA = 39,
    READ_STATUS = 40,
    MOUSE_COMMAND = 41,
    RESTRICT = 86,
};
#define READ_IDENTIFIER  0x45414552u
#define DISABLE          0x000000f5u
#define REQUEST_RELATIVE 0x4c455252u
#define REQUEST_ABSOLUTE 0x53424152u

enum { LEFT = 0x20, RIGHT = 0x10, MIDDLE = 0x08 };

struct vmmouse {
    struct device device;
    bool enabled, absolute;
    uint32_t queue[QUEUE_SIZE]; /* oldest first */
    uint8_t count;
    struct cpu *const *cpu;
    struct input_routes *routes;
    struct input_port *input;
    struct pointer_route route;
};

static const struct field vmmouse_fields[] = {
    FIELD(struct vmmouse, enabled, 1),
    FIELD(struct vmmouse, absolute, 1),
    FIELD_ARRAY(struct vmmouse, queue, 1),
    FIELD(struct vmmouse, count, 1),
    FIELD_END,
};

/* -- Events -- */

static void position_event(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons)
{
    struct vmmouse *mouse = opaque;
    uint32_t flags =
        (buttons & 1 ? LEFT : 0) | (buttons & 2 ? RIGHT : 0) | (buttons & 4 ? MIDDLE : 0);
    uint32_t *last = mouse->queue + mouse->count - WORDS;

    if (mouse->count >= WORDS && last[0] == flags && !wheel)
        mouse->count -= WORDS; /* only the newest place matters */
    if (mouse->count + WORDS > QUEUE_SIZE)
        return;
    mouse->queue[mouse->count++] = flags;
    mouse->queue[mouse->count++] = x * 65535u / INPUT_POSITION_MAX;
    mouse->queue[mouse->count++] = y * 65535u / INPUT_POSITION_MAX;
    mouse->queue[mouse->count++] = (uint32_t)-wheel;
    mouse->input->nudge(mouse->input->mouse);
}

static void route(struct vmmouse *mouse)
{
    input_routes_use_pointer(mouse->routes, &mouse->route, mouse->enabled && mouse->absolute);
}

/* -- Commands -- */

static void mouse_command(struct vmmouse *mouse, uint32_t command)
{
    switch (command) {
    case READ_IDENTIFIER:
        mouse->enabled = true;
        mouse->queue[0] = IDENTIFIER;
        mouse->count = 1;
        break;
    case DISABLE:
        mouse->enabled = mouse->absolute = false;
        mouse->count = 0;
        break;
    case REQUEST_RELATIVE:
    case REQUEST_ABSOLUTE:
        mouse->absolute = command == REQUEST_ABSOLUTE;
        break;
    default:
        log_guest("vmmouse: command %#x, which is not built", command);
        return;
    }
    route(mouse);
}

static uint32_t read_data(struct vmmouse *mouse, struct cpu *cpu, uint32_t words)
{
    uint32_t data[WORDS] = {0};

    if (words == 0 || words > WORDS || words > mouse->count) {
        log_guest("vmmouse: %u words wanted of %u", words, mouse->count);
        mouse_command(mouse, DISABLE);
        return NOT_THERE;
    }
    memcpy(data, mouse->queue, words * sizeof *data);
    mouse->count = (uint8_t)(mouse->count - words);
    memmove(mouse->queue, mouse->queue + words, mouse->count * sizeof *data);
    cpu->gpr[RBX] = data[1];
    cpu->gpr[RCX] = data[2];
    cpu->gpr[RDX] = data[3];
    return data[0];
}

static uint32_t execute(struct vmmouse *mouse, struct cpu *cpu)
{
    uint32_t argument = (uint32_t)cpu->gpr[RBX], command = cpu->gpr[RCX] & 0xffff;

    switch (command) {
    case GET_VERSION:
        cpu->gpr[RBX] = MAGIC;
        cpu->gpr[RCX] = PRODUCT;
        return VERSION;
    case READ_DATA:
        return read_data(mouse, cpu, argument);
    case READ_STATUS:
        return mouse->enabled ? mouse->count : NOT_THERE;
    case MOUSE_COMMAND:
        mouse_command(mouse, argument);
        return 0;
    case RESTRICT:
        return 0;
    }
    log_guest("VMware backdoor: command %u, which is not built", command);
    return UINT32_MAX;
}

/* Only an IN by a processor with the magic in EAX is a call; the port is empty otherwise. */
static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vmmouse *mouse = opaque;
    struct cpu *cpu = *mouse->cpu;

    if (offset != 0 || size != 4 || !cpu || (uint32_t)cpu->gpr[RAX] != MAGIC)
        return UINT64_MAX;
    return execute(mouse, cpu);
}

static const struct access_ops port_ops = {port_read, NULL, 1, 4};

/* -- Life -- */

static void vmmouse_reset(struct device *device)
{
    mouse_command((struct vmmouse *)device, DISABLE);
}

static bool vmmouse_post_load(struct device *device, struct error *error)
{
    struct vmmouse *mouse = (struct vmmouse *)device;

    if (mouse->count > QUEUE_SIZE)
        return error_set(error, "%s: the saved mouse state is impossible", device->id);
    route(mouse);
    return true;
}

static void vmmouse_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops vmmouse_ops = {
    .name = "vmmouse",
    .fields = vmmouse_fields,
    .version = 1,
    .reset = vmmouse_reset,
    .post_load = vmmouse_post_load,
    .destroy = vmmouse_destroy,
};

void vmmouse_new(struct device_list *list, struct io_bus *io, struct cpu *const *cpu,
                 struct input_routes *routes, struct input_port *input, const char *id)
{
    struct vmmouse *mouse = alloc_zeroed(sizeof *mouse);

    mouse->cpu = cpu;
    mouse->routes = routes;
    mouse->input = input;
    mouse->route = (struct pointer_route){.position = position_event, .device = mouse};
    device_add(list, &mouse->device, &vmmouse_ops, id);
    io_bus_add(io, PORT, 4, &port_ops, mouse);
}
