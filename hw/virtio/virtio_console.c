/*
 * Virtio console device (Virtio 1.1, 5.3): consoles and named ports, each a byte port (hw/port.h).
 *
 *     queues   port 0: receive, transmit;  control: receive, transmit;  port 1: receive, transmit;
 * ...
 *
 * Control messages to the driver are due as bits for each port, so that nothing is lost while the
 * driver has no buffer for them. The host's end of a port counts as open from the beginning.
 *
 * Not modelled: the console's size, unplugging of ports.
 */
#include "hw/virtio/virtio_console.h"
#include "hw/alloc.h"

#include <string.h>

#define QUEUE_SIZE    128
#define CONTROL_SIZE  32
#define SEND_BYTES    16384

#define F_MULTIPORT   (UINT64_C(1) << 1)
#define F_EMERG_WRITE (UINT64_C(1) << 2)

/* Configuration (5.3.4). */
enum { CONFIG_PORTS = 4, CONFIG_EMERG_WRITE = 8, CONFIG_SIZE = 12 };

enum { QUEUE_CONTROL_RECEIVE = 2, QUEUE_CONTROL_TRANSMIT = 3 };

/* Control messages (5.3.6.2): port, event, value, all little-endian. */
#define MESSAGE_SIZE 8
enum event {
    EVENT_DEVICE_READY = 0,
    EVENT_PORT_ADD = 1,
    EVENT_PORT_READY = 3,
    EVENT_CONSOLE_PORT = 4,
    EVENT_PORT_OPEN = 6,
    EVENT_PORT_NAME = 7,
};

struct console_port {
    /* -- State -- */
    uint8_t due; /* 1 << enum event, to the driver */
    bool open;   /* by the guest */
    /* -- Not saved -- */
    struct virtio_console *console;
    unsigned index;
    char name[VIRTIO_CONSOLE_NAME_MAX]; /* empty: a console */
    struct byte_port port;
};

struct virtio_console {
    struct virtio virtio;
    unsigned ports;
    struct console_port port[VIRTIO_CONSOLE_PORTS_MAX];
};

static const struct field console_port_fields[] = {
    FIELD(struct console_port, due, 1),
    FIELD(struct console_port, open, 1),
    FIELD_END,
};

static const struct field virtio_console_fields[] = {
    FIELD_STRUCT(struct virtio_console, virtio, virtio_fields, 1),
    FIELD_STRUCTS(struct virtio_console, port, console_port_fields, 1),
    FIELD_END,
};

static unsigned receive_queue(unsigned port)
{
    return port ? 2 * port + 2 : 0;
}

static unsigned port_of_queue(unsigned queue)
{
    return queue < 2 ? 0 : queue / 2 - 1;
}

static bool is_multiport(const struct virtio_console *console)
{
    return virtio_has(&console->virtio, F_MULTIPORT);
}

/* -- Control messages -- */

static void send_message(struct virtio_chain *chain, const struct console_port *port,
                         enum event event)
{
    uint8_t message[MESSAGE_SIZE];
    virtio_put(message, port->index, 4);
    virtio_put(message + 4, event, 2);
    virtio_put(message + 6, 1, 2);
    size_t length = virtio_write(chain, 0, message, sizeof message);
    if (event == EVENT_PORT_NAME)
        length += virtio_write(chain, length, port->name, strlen(port->name));
    virtqueue_push(chain, length);
}

/* Sends what is due, as far as there are buffers. */
static void send_due(struct virtio_console *console)
{
    struct virtqueue *queue = &console->virtio.queue[QUEUE_CONTROL_RECEIVE];
    for (unsigned i = 0; i < console->ports; i++) {
        struct console_port *port = &console->port[i];
        while (port->due) {
            struct virtio_chain *chain = virtqueue_pop(queue);
            if (!chain && virtqueue_ask(queue))
                continue;
            if (!chain) {
                virtqueue_notify(queue);
                return;
            }
            unsigned event = (unsigned)__builtin_ctz(port->due);
            port->due &= (uint8_t)(port->due - 1);
            send_message(chain, port, (enum event)event);
        }
    }
    virtqueue_notify(queue);
}

static void port_ready(struct console_port *port)
{
    port->due |= port->name[0] ? 1 << EVENT_PORT_NAME : 1 << EVENT_CONSOLE_PORT;
    port->due |= 1 << EVENT_PORT_OPEN;
}

static void port_opened(struct console_port *port, bool open)
{
    port->open = open;
    if (open && port->port.writable)
        port->port.writable(port->port.outside);
}

static void take_message(struct virtio_console *console, const uint8_t *message)
{
    uint32_t index = virtio_le32(message);
    uint16_t event = virtio_le16(message + 4), value = virtio_le16(message + 6);
    if (event == EVENT_DEVICE_READY) {
        for (unsigned i = 0; i < console->ports && value; i++)
            console->port[i].due |= 1 << EVENT_PORT_ADD;
        return;
    }
    if (index >= console->ports) {
        log_guest("virtio-console: message %u for port %u", event, index);
        return;
    }
    if (event == EVENT_PORT_READY && value)
        port_ready(&console->port[index]);
    else if (event == EVENT_PORT_OPEN)
        port_opened(&console->port[index], value);
}

static void take_messages(struct virtio_console *console, struct virtqueue *queue)
{
    do {
        struct virtio_chain *chain;
        while ((chain = virtqueue_pop(queue)) != NULL) {
            uint8_t message[MESSAGE_SIZE];
            if (virtio_read(chain, 0, message, sizeof message) == sizeof message)
                take_message(console, message);
            virtqueue_push(chain, 0);
        }
        virtqueue_notify(queue);
    } while (virtqueue_ask(queue));
}

/* -- Bytes -- */

/* A part at a time, so that others get the board lock between. */
static void send_bytes(struct console_port *port, const struct virtio_chain *chain)
{
    struct virtio *virtio = &port->console->virtio;
    uint8_t bytes[SEND_BYTES];
    size_t got;
    for (uint64_t at = 0; virtio_running(virtio) && port->port.send &&
                          (got = virtio_read(chain, at, bytes, sizeof bytes)) > 0;
         at += got) {
        port->port.send(port->port.outside, bytes, got);
        loop_unlock(virtio->loop);
        loop_lock(virtio->loop);
    }
}

static void transmit(struct console_port *port, struct virtqueue *queue)
{
    do {
        struct virtio_chain *chain;
        while ((chain = virtqueue_pop(queue)) != NULL) {
            send_bytes(port, chain);
            virtqueue_push(chain, 0);
        }
        virtqueue_notify(queue);
    } while (virtqueue_ask(queue));
}

/* Outside -> guest. Nothing is taken for a port that nobody has open. */
static size_t receive(void *opaque, const uint8_t *bytes, size_t count)
{
    struct console_port *port = opaque;
    struct virtio_console *console = port->console;
    struct virtqueue *queue = &console->virtio.queue[receive_queue(port->index)];
    size_t done = 0;
    if (is_multiport(console) ? !port->open : port->index > 0)
        return 0;
    while (done < count) {
        struct virtio_chain *chain = virtqueue_pop(queue);
        if (!chain && virtqueue_ask(queue))
            continue;
        if (!chain)
            break;
        size_t put = virtio_write(chain, 0, bytes + done, count - done);
        virtqueue_push(chain, put);
        done += put;
    }
    virtqueue_notify(queue);
    return done;
}

static void work(void *opaque)
{
    struct virtio_console *console = opaque;
    for (unsigned i = 0; i < console->virtio.queues; i++) {
        struct virtqueue *queue = &console->virtio.queue[i];
        struct console_port *port = &console->port[port_of_queue(i)];
        if (!queue->kicked)
            continue;
        queue->kicked = false;
        if (i == QUEUE_CONTROL_TRANSMIT)
            take_messages(console, queue);
        else if (i % 2)
            transmit(port, queue);
        else if (i != QUEUE_CONTROL_RECEIVE && port->port.writable)
            port->port.writable(port->port.outside);
    }
    if (is_multiport(console))
        send_due(console);
}

/* -- Life -- */

/* A character for the first port, before any queue works (5.3.4). */
static void config_written(struct virtio *virtio, unsigned offset, unsigned size)
{
    struct virtio_console *console = (struct virtio_console *)virtio;
    struct byte_port *port = &console->port[0].port;
    if (offset <= CONFIG_EMERG_WRITE && offset + size > CONFIG_EMERG_WRITE && port->send)
        port->send(port->outside, virtio->config + CONFIG_EMERG_WRITE, 1);
}

static void console_reset(struct virtio *virtio)
{
    struct virtio_console *console = (struct virtio_console *)virtio;
    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS_MAX; i++) {
        console->port[i].due = 0;
        console->port[i].open = false;
    }
}

static bool console_post_load(struct virtio *virtio, struct error *error)
{
    const uint8_t events =
        1 << EVENT_PORT_ADD | 1 << EVENT_CONSOLE_PORT | 1 << EVENT_PORT_OPEN | 1 << EVENT_PORT_NAME;
    struct virtio_console *console = (struct virtio_console *)virtio;
    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS_MAX; i++)
        if (console->port[i].due & ~events)
            return error_set(error, "The saved state of '%s' is damaged", virtio->pci.device.id);
    return true;
}

static void virtio_console_destroy(struct device *device)
{
    virtio_fini((struct virtio *)device);
    free(device);
}

static const struct device_ops virtio_console_device_ops = {
    .name = "virtio-console",
    .fields = virtio_console_fields,
    .version = 1,
    .reset = virtio_device_reset,
    .post_load = virtio_device_post_load,
    .destroy = virtio_console_destroy,
};

static const struct virtio_ops virtio_console_ops = {
    .type = VIRTIO_CONSOLE,
    .class_code = 0x0780,
    .kick = virtio_wake_worker,
    .reset = console_reset,
    .config_written = config_written,
    .post_load = console_post_load,
};

struct byte_port *virtio_console_port(struct virtio_console *console, unsigned index)
{
    return index < console->ports ? &console->port[index].port : NULL;
}

static void init_port(struct virtio_console *console, unsigned index, const char *name)
{
    struct console_port *port = &console->port[index];
    port->console = console;
    port->index = index;
    if (name)
        snprintf(port->name, sizeof port->name, "%s", name);
    port->port.receive = receive;
    port->port.device = port;
}

struct virtio_console *virtio_console_new(const struct virtio_place *place, struct memory *memory,
                                          const char *const *names, unsigned ports)
{
    struct virtio_console *console = alloc_zeroed(sizeof *console);
    uint8_t config[CONFIG_SIZE] = {0};
    virtio_init(&console->virtio, place, memory, &virtio_console_device_ops, &virtio_console_ops,
                F_MULTIPORT | F_EMERG_WRITE, sizeof(struct virtio_chain), work);
    console->ports = ports < VIRTIO_CONSOLE_PORTS_MAX ? ports : VIRTIO_CONSOLE_PORTS_MAX;
    for (unsigned i = 0; i < console->ports; i++)
        init_port(console, i, names[i]);
    for (unsigned i = 0; i < 2 * (console->ports + 1); i++)
        virtio_add_queue(&console->virtio, i / 2 == 1 ? CONTROL_SIZE : QUEUE_SIZE);
    virtio_put(config + CONFIG_PORTS, console->ports, 4);
    virtio_set_config(&console->virtio, config, sizeof config);
    memset(console->virtio.config_mask + CONFIG_EMERG_WRITE, 0xff, 4);
    return console;
}
