/*
 * Two ports that no PC has, with the conventions that firmware and test kernels know from other
 * emulators: a console at 0x402 that reads as 0xe9 ("there is one") and prints each byte written,
 * and an exit at 0xf4, four ports wide, that ends the machine with the status of the value written.
 */
#include "hw/chipset/debug_port.h"

#include "hw/alloc.h"

#define CONSOLE_PRESENT 0xe9
#define EXIT_PORTS      4

struct debug_console {
    struct device device;
    struct byte_port port;
};

struct exit_port {
    struct device device;
    void (*exit)(void *opaque, int status);
    void *opaque;
};

/* Nothing that a saved machine would miss. */
static const struct field no_fields[] = {FIELD_END};

static void debug_port_destroy(struct device *device)
{
    free(device);
}

/* -- Console -- */

static uint64_t console_read(void *opaque, uint64_t offset, unsigned size)
{
    return CONSOLE_PRESENT;
}

static void console_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct debug_console *console = opaque;
    uint8_t byte = (uint8_t)value;

    if (console->port.send)
        console->port.send(console->port.outside, &byte, 1);
}

static const struct access_ops console_ops = {console_read, console_write, 1, 1};

static size_t console_receive(void *device, const uint8_t *bytes, size_t count)
{
    return count; /* the port has no input: what is typed is dropped */
}

static const struct device_ops debug_console_ops = {
    .name = "debug-console",
    .fields = no_fields,
    .version = 1,
    .destroy = debug_port_destroy,
};

struct byte_port *debug_console_port(struct debug_console *console)
{
    return &console->port;
}

struct debug_console *debug_console_new(struct device_list *list, struct io_bus *io, uint16_t port,
                                        const char *id)
{
    struct debug_console *console = alloc_zeroed(sizeof *console);

    console->port.receive = console_receive;
    console->port.device = console;
    device_add(list, &console->device, &debug_console_ops, id);
    io_bus_add(io, port, 1, &console_ops, console);
    return console;
}

/* -- Exit -- */

static uint64_t exit_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct exit_port *port = opaque;

    port->exit(port->opaque, (int)(uint32_t)(value << 1 | 1));
}

static const struct access_ops exit_ops = {exit_read, exit_write, 1, 4};

static const struct device_ops exit_port_ops = {
    .name = "exit-port",
    .fields = no_fields,
    .version = 1,
    .destroy = debug_port_destroy,
};

struct exit_port *exit_port_new(struct device_list *list, struct io_bus *io, uint16_t port,
                                void (*exit)(void *opaque, int status), void *opaque,
                                const char *id)
{
    struct exit_port *exit_port = alloc_zeroed(sizeof *exit_port);

    exit_port->exit = exit;
    exit_port->opaque = opaque;
    device_add(list, &exit_port->device, &exit_port_ops, id);
    io_bus_add(io, port, EXIT_PORTS, &exit_ops, exit_port);
    return exit_port;
}
