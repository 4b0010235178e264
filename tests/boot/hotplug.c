/*
 * Hot-plug as a guest sees it: a machine in this process boots Linux; a network card comes into a
 * slot (of PCI Express on a Q35, told by ACPI on a PC), the guest's driver takes it; the guest is
 * asked to give it back, and does; then it comes once more.
 *
 *   hotplug OPTIONS of `doppel run`: a guest with a shell on its first serial line
 */
#include "hw/chipset/pci_slots.h"
#include "hw/machine_internal.h"
#include "hw/network/rtl8139.h"
#include "hw/pcie_port.h"
#include "ui/session.h"
#include "ui/ui.h"

#include <stdlib.h>
#include <string.h>

#define TIMEOUT_NS (60 * NS_PER_SECOND)

static struct session session;
static char output[1 << 20];
static size_t output_length;
static bool removed;

int complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    return 1;
}

static void take_output(void *outside, const uint8_t *bytes, size_t count)
{
    fwrite(bytes, 1, count, stdout);
    if (count > sizeof output - 1 - output_length)
        count = sizeof output - 1 - output_length;
    memcpy(output + output_length, bytes, count);
    output_length += count;
    output[output_length] = 0;
}

static void card_removed(void *opaque)
{
    removed = true;
}

/* Turns the machine until the guest has said `text`; what it said up to there is forgotten. */
static bool expect(const char *text)
{
    uint64_t end = clock_now(machine_clock(session.machine)) + TIMEOUT_NS;
    while (clock_now(machine_clock(session.machine)) < end &&
           machine_state(session.machine) == MACHINE_RUNNING) {
        machine_lock(session.machine);
        const char *seen = strstr(output, text);
        if (seen) {
            seen += strlen(text);
            output_length -= (size_t)(seen - output);
            memmove(output, seen, output_length + 1);
        }
        machine_unlock(session.machine);
        if (seen)
            return true;
        machine_turn(session.machine, NS_PER_SECOND / 50);
    }
    printf("\nhotplug: waited in vain for '%s'\n", text);
    return false;
}

static bool type(const char *text)
{
    struct byte_port *serial = machine_serial(session.machine, 0);
    while (*text) {
        machine_lock(session.machine);
        text += serial->receive(serial->device, (const uint8_t *)text, 1);
        machine_unlock(session.machine);
        machine_turn(session.machine, NS_PER_SECOND / 200);
    }
    return true;
}

/* -- The first slot of either board -- */

static void make_card(struct machine *machine, struct packet_port *wire)
{
    static const uint8_t mac[6] = {0x02, 0x64, 0x6f, 0x70, 0x00, 0x07};
    struct pcie_port *port = machine->port[0];
    machine_lock(machine);
    rtl8139_new(&machine->devices, port ? pcie_port_bus(port) : machine->pci,
                port ? 0 : PCI_DEVFN(PCI_SLOTS_FIRST, 0), machine->clock, mac, wire, true,
                "hot-plugged");
    machine_unlock(machine);
}

static void insert(struct machine *machine)
{
    machine_lock(machine);
    if (machine->port[0])
        pcie_port_insert(machine->port[0]);
    else
        pci_slots_insert(machine->pci_slots, 0);
    machine_unlock(machine);
}

static void request_removal(struct machine *machine)
{
    machine_lock(machine);
    if (machine->port[0])
        pcie_port_request_removal(machine->port[0], card_removed, NULL);
    else
        pci_slots_request_removal(machine->pci_slots, 0, card_removed, NULL);
    machine_unlock(machine);
}

/* The card goes in and is asked for again, twice. */
static bool plug_and_unplug(struct machine *machine)
{
    for (int i = 0; i < 2; i++) {
        insert(machine);
        if (!type("until [ -e /sys/class/net/eth0 ]; do sleep 0.2; done; ip link set eth0 up; "
                  "sleep 0.5; cat /sys/class/net/eth0/address; echo he\"\"re\n") ||
            !expect("02:64:6f:70:00:07") || !expect("here"))
            return false;
        removed = false;
        request_removal(machine);
        if (!type("while [ -e /sys/class/net/eth0 ]; do sleep 0.2; done; echo go\"\"ne\n") ||
            !expect("gone"))
            return false;
        for (int turns = 0; turns < 1000 && !removed; turns++)
            machine_turn(session.machine, NS_PER_SECOND / 100);
        if (!removed) {
            printf("\nhotplug: the guest keeps the slot on\n");
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct packet_port wire; /* leads nowhere */
    struct error error;
    if (!options_parse(&session.options, argc - 1, argv + 1, &error))
        return complain("hotplug: %s", error.text);
    session.options.display = DISPLAY_NONE;
    if (!session_open(&session, &error))
        return complain("hotplug: %s", error.text);
    struct machine *machine = session.machine;
    wire.link_up = true;
    machine_serial(machine, 0)->send = take_output;
    machine_start(machine);
    bool good = expect("guest:");
    make_card(machine, &wire);
    good = good && plug_and_unplug(machine);
    good = good && type("dmesg | tail -n 25; echo e\"\"nd\n") && expect("end");
    session_close(&session);
    printf("\nhotplug: %s\n", good ? "done" : "FAILED");
    return !good;
}
