/*
 * Debug console and exit port, as firmware and test programs for virtual machines expect them: a
 * read of the console gives 0xe9, which tells them that it is there. Both are without state.
 */
#include "hw/chipset/debug_port.h"

#include "hw/alloc.h"

#include <stdlib.h>

#define CONSOLE_PRESENT 0xe9

static const struct field no_fields[] = {FIELD_END};

static void nothing_to_reset(struct device *device)
{
}

/* -- Debug console -- */

struct debug_console {
    struct device device;
    struct byte_port *port;
};

static uint64_t console_read(void *opaque, uint64_t offset, unsigned size)
{
    return CONSOLE_PRESENT;
}

static void console_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct byte_port *port = ((struct debug_console *)opaque)->port;
    uint8_t byte = (uint8_t)value;
    if (port->send)
        port->send(port->outside, &byte, 1);
}

static const struct access_ops console_access = {console_read, console_write, 1, 1};

static void debug_console_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops debug_console_ops = {
    .name = "debug-console",
    .fields = no_fields,
    .version = 1,
    .reset = nothing_to_reset,
    .destroy = debug_console_destroy,
};

void debug_console_new(struct device_list *list, struct io_bus *io, struct byte_port *port,
                       const char *id)
{
    struct debug_console *console = alloc_zeroed(sizeof *console);
    console->port = port;
    device_add(list, &console->device, &debug_console_ops, id);
    io_bus_add(io, DEBUG_CONSOLE_PORT, 1, &console_access, console);
}

/* -- Exit port -- */

struct exit_port {
    struct device device;
    void (*exited)(void *opaque, int status);
    void *opaque;
};

static uint64_t exit_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct exit_port *port = opaque;
    port->exited(port->opaque, (int)((value << 1 | 1) & 0xff));
}

static const struct access_ops exit_access = {exit_read, exit_write, 1, 4};

static void exit_port_destroy(struct device *device)
{
    free(device);
}

static const struct device_ops exit_port_ops = {
    .name = "exit-port",
    .fields = no_fields,
    .version = 1,
    .reset = nothing_to_reset,
    .destroy = exit_port_destroy,
};

void exit_port_new(struct device_list *list, struct io_bus *io,
                   void (*exited)(void *opaque, int status), void *opaque, const char *id)
{
    struct exit_port *port = alloc_zeroed(sizeof *port);
    port->exited = exited;
    port->opaque = opaque;
    device_add(list, &port->device, &exit_port_ops, id);
    io_bus_add(io, EXIT_PORT, 4, &exit_access, port);
}
