/*
 * Processors on the board: the thread that runs each, and the bus it sees (cpu/bus.h).
 *
 * A CPU runs without the board lock and takes it for every access that leaves RAM. It sleeps on
 * run_changed while halted or paused. Whoever posts an event looks at `sleeping` afterwards; the
 * CPU sets it, under the run lock, before it looks for work: so no wake-up is lost and a running
 * CPU costs the poster no lock.
 */
#include "hw/chipset/acpi_pm.h"
#include "hw/chipset/isa_bridge.h"
#include "hw/irq/i8259.h"
#include "hw/irq/lapic.h"
#include "hw/machine_internal.h"

#include <string.h>

#define A20 (1u << 20)

/* -- Bus -- */

static bool is_apic_page(const struct machine_cpu *cpu, gpa_t gpa)
{
    uint64_t base;
    return lapic_page(cpu->lapic, &base) && (gpa & ~0xfffull) == base;
}

/* Tells the processor where it may reach RAM without asking. Above 1 MiB and below the VGA's window
 * nothing hides it, unless the guest has moved the APIC page into it or closed the A20 gate. */
static void update_plain_ram(struct machine_cpu *self)
{
    struct memory *memory = self->machine->memory;
    uint8_t *host = memory_ram_host(memory);
    uint64_t low = memory_ram_low(memory), high = memory_ram_high(memory), apic;
    memset(self->bus.ram, 0, sizeof self->bus.ram);
    self->bus.ram_file.host = host;
    self->bus.ram_file.size = memory_ram_bytes(memory);
    self->bus.ram_file.fd = memory_ram_file(memory);
    if (self->bus.blocked_address_bits ||
        (lapic_page(self->lapic, &apic) && (apic < low || apic - MEMORY_HIGH_BASE < high)))
        return;
    self->bus.ram[0].first = 1u << 20;
    self->bus.ram[0].end = low > 1u << 20 ? low : 1u << 20;
    self->bus.ram[0].host = host;
    self->bus.ram[2].end = low < 0xa0000 ? low : 0xa0000;
    self->bus.ram[2].host = host;
    self->bus.ram[1].first = MEMORY_HIGH_BASE;
    self->bus.ram[1].end = MEMORY_HIGH_BASE + high;
    self->bus.ram[1].host = host + low - MEMORY_HIGH_BASE;
}

void machine_cpu_open_a20(struct machine_cpu *self, bool open)
{
    gpa_t blocked = open ? 0 : A20;
    if (self->bus.blocked_address_bits == blocked)
        return;
    self->bus.blocked_address_bits = blocked;
    update_plain_ram(self);
    cpu_post(self->cpu, EVENT_FLUSH_TLB);
}

static struct bus_page bus_page(void *opaque, struct cpu *cpu, gpa_t gpa)
{
    struct machine_cpu *self = opaque;
    gpa &= ~self->bus.blocked_address_bits;
    if (is_apic_page(self, gpa))
        return (struct bus_page){0};
    struct memory_page page = memory_find_page(self->machine->memory, gpa);
    return (struct bus_page){page.host, page.writable, page.log_dirty};
}

static uint64_t bus_mem_read(void *opaque, struct cpu *cpu, gpa_t gpa, unsigned size)
{
    struct machine_cpu *self = opaque;
    uint64_t value;
    gpa &= ~self->bus.blocked_address_bits;
    machine_lock(self->machine);
    if (is_apic_page(self, gpa))
        value = lapic_read(self->lapic, gpa & 0xfff, size);
    else
        value = memory_mmio_read(self->machine->memory, gpa, size);
    machine_unlock(self->machine);
    log_if(LOG_IO, "mmio read  %#llx/%u -> %#llx", (unsigned long long)gpa, size,
           (unsigned long long)value);
    return value;
}

static void bus_mem_write(void *opaque, struct cpu *cpu, gpa_t gpa, uint64_t value, unsigned size)
{
    struct machine_cpu *self = opaque;
    log_if(LOG_IO, "mmio write %#llx/%u <- %#llx", (unsigned long long)gpa, size,
           (unsigned long long)value);
    gpa &= ~self->bus.blocked_address_bits;
    machine_lock(self->machine);
    if (is_apic_page(self, gpa))
        lapic_write(self->lapic, gpa & 0xfff, value, size);
    else
        memory_mmio_write(self->machine->memory, gpa, value, size);
    machine_unlock(self->machine);
}

static void bus_note_write(void *opaque, gpa_t gpa, unsigned size)
{
    memory_note_write(((struct machine_cpu *)opaque)->machine->memory, gpa, size);
}

static uint32_t bus_io_read(void *opaque, struct cpu *cpu, uint16_t port, unsigned size)
{
    struct machine *machine = ((struct machine_cpu *)opaque)->machine;
    machine_lock(machine);
    machine->port_cpu = cpu;
    uint32_t value = io_bus_read(machine->io, port, size);
    machine->port_cpu = NULL;
    machine_unlock(machine);
    log_if(LOG_IO, "in  %#06x/%u -> %#x", port, size, value);
    return value;
}

static void bus_io_write(void *opaque, struct cpu *cpu, uint16_t port, uint32_t value,
                         unsigned size)
{
    struct machine *machine = ((struct machine_cpu *)opaque)->machine;
    log_if(LOG_IO, "out %#06x/%u <- %#x", port, size, value);
    machine_lock(machine);
    io_bus_write(machine->io, port, value, size);
    machine_unlock(machine);
}

static bool bus_irq_pending(void *opaque, struct cpu *cpu)
{
    return lapic_pending(((struct machine_cpu *)opaque)->lapic);
}

static int bus_irq_accept(void *opaque, struct cpu *cpu)
{
    struct machine_cpu *self = opaque;
    machine_lock(self->machine);
    int vector = lapic_accept(self->lapic);
    if (vector == LAPIC_EXTINT)
        vector = i8259_acknowledge(self->machine->pic);
    machine_unlock(self->machine);
    return vector;
}

static uint8_t bus_tpr_read(void *opaque, struct cpu *cpu)
{
    struct machine_cpu *self = opaque;
    machine_lock(self->machine);
    uint8_t priority_class = lapic_get_tpr(self->lapic);
    machine_unlock(self->machine);
    return priority_class;
}

static void bus_tpr_write(void *opaque, struct cpu *cpu, uint8_t priority_class)
{
    struct machine_cpu *self = opaque;
    machine_lock(self->machine);
    lapic_set_tpr(self->lapic, priority_class);
    machine_unlock(self->machine);
}

static bool bus_apic_msr_read(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    struct machine_cpu *self = opaque;
    machine_lock(self->machine);
    bool ok = lapic_msr_read(self->lapic, msr, value);
    machine_unlock(self->machine);
    return ok;
}

static bool bus_apic_msr_write(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t value)
{
    struct machine_cpu *self = opaque;
    machine_lock(self->machine);
    uint64_t before = 0, after = 0;
    lapic_page(self->lapic, &before);
    bool ok = lapic_msr_write(self->lapic, msr, value);
    lapic_page(self->lapic, &after);
    machine_unlock(self->machine);
    if (before != after) { /* another page is MMIO now */
        update_plain_ram(self);
        cpu_post(cpu, EVENT_FLUSH_TLB);
    }
    return ok;
}

static uint64_t bus_clock_ns(void *opaque)
{
    return clock_now(((struct machine_cpu *)opaque)->machine->clock);
}

static void bus_tsc_changed(void *opaque, struct cpu *cpu)
{
    struct machine_cpu *self = opaque;
    machine_lock(self->machine);
    lapic_tsc_changed(self->lapic);
    machine_unlock(self->machine);
}

static void bus_fpu_error(void *opaque, struct cpu *cpu)
{
    struct machine *machine = ((struct machine_cpu *)opaque)->machine;
    machine_lock(machine);
    isa_bridge_fpu_error(machine->isa);
    machine_unlock(machine);
}

/* -- What the local APIC tells its processor -- */

void machine_cpu_post(struct machine_cpu *self, uint32_t events)
{
    cpu_post(self->cpu, events);
    if (atomic_load(&self->sleeping)) {
        pthread_mutex_lock(&self->machine->run_lock);
        pthread_cond_broadcast(&self->machine->run_changed);
        pthread_mutex_unlock(&self->machine->run_lock);
    }
}

static void apic_interrupt(void *opaque)
{
    machine_cpu_post(opaque, EVENT_INTERRUPT);
}

static void apic_nmi(void *opaque)
{
    machine_cpu_post(opaque, EVENT_NMI);
}

static void apic_init(void *opaque)
{
    machine_cpu_post(opaque, EVENT_INIT);
}

static void apic_startup(void *opaque, uint8_t vector)
{
    struct machine_cpu *self = opaque;
    atomic_store(&self->cpu->sipi_vector, vector);
    machine_cpu_post(self, EVENT_SIPI);
}

static uint64_t apic_tsc_to_ns(void *opaque, uint64_t tsc)
{
    return cpu_tsc_to_ns(((struct machine_cpu *)opaque)->cpu, tsc);
}

/* -- The thread -- */

/* Resets devices and processors; on the CPU's thread, at an instruction boundary. */
static void perform_reset(struct machine_cpu *self)
{
    struct machine *machine = self->machine;
    machine_lock(machine);
    if (machine->hold_resets && !machine->waking) {
        machine_unlock(machine);
        machine_end(machine, MACHINE_RESET_HELD);
        return;
    }
    board_reset(machine);
    cpu_reset(self->cpu);
    cpu_post(self->cpu, EVENT_FLUSH_TLB | EVENT_FLUSH_CODE); /* the devices moved memory about */
    machine_unlock(machine);
}

/* Suspended to RAM: the processors stand still, the clock runs. */
static bool is_asleep(struct machine *machine)
{
    return acpi_pm_asleep(machine->pm) && !atomic_load(&machine->waking);
}

/* Sleeps until the machine runs and the CPU has something to do. False: the thread ends. */
static bool wait_for_work(struct machine_cpu *self, bool halted)
{
    struct machine *machine = self->machine;
    pthread_mutex_lock(&machine->run_lock);
    self->standing = true;
    pthread_cond_broadcast(&machine->run_changed);
    atomic_store(&self->sleeping, true);
    while (!machine->quitting && (atomic_load(&machine->state) != MACHINE_RUNNING ||
                                  is_asleep(machine) || (halted && !cpu_has_work(self->cpu))))
        pthread_cond_wait(&machine->run_changed, &machine->run_lock);
    atomic_store(&self->sleeping, false);
    bool go_on = !machine->quitting;
    self->standing = !go_on;
    pthread_mutex_unlock(&machine->run_lock);
    return go_on;
}

static void *cpu_thread(void *opaque)
{
    struct machine_cpu *self = opaque;
    bool halted = false;
    while (wait_for_work(self, halted)) {
        enum cpu_exit exit = cpu_run(self->cpu);
        halted = exit == CPU_EXIT_HALTED;
        if (exit == CPU_EXIT_SHUTDOWN || exit == CPU_EXIT_RESET)
            perform_reset(self);
        else if (exit == CPU_EXIT_FAILED)
            machine_end(self->machine, MACHINE_FAILED);
    }
    return NULL;
}

/* -- Life -- */

bool machine_cpu_new(struct machine *machine, int index, const struct machine_config *config,
                     struct error *error)
{
    struct machine_cpu *self = &machine->cpu[index];
    self->machine = machine;
    self->standing = true;
    self->bus = (struct cpu_bus){
        .opaque = self,
        .page = bus_page,
        .mem_read = bus_mem_read,
        .mem_write = bus_mem_write,
        .note_write = bus_note_write,
        .io_read = bus_io_read,
        .io_write = bus_io_write,
        .irq_pending = bus_irq_pending,
        .irq_accept = bus_irq_accept,
        .tpr_read = bus_tpr_read,
        .tpr_write = bus_tpr_write,
        .apic_msr_read = bus_apic_msr_read,
        .apic_msr_write = bus_apic_msr_write,
        .clock_ns = bus_clock_ns,
        .tsc_changed = bus_tsc_changed,
        .fpu_error = bus_fpu_error,
    };
    const struct lapic_cpu lapic_cpu = {
        .opaque = self,
        .interrupt = apic_interrupt,
        .nmi = apic_nmi,
        .init = apic_init,
        .startup = apic_startup,
        .tsc_to_ns = apic_tsc_to_ns,
        .physical_bits = CPU_PHYSICAL_BITS,
    };
    char id[16];
    snprintf(id, sizeof id, "lapic%d", index);
    self->lapic =
        lapic_new(&machine->devices, index, machine->clock, &lapic_cpu, machine->apic_bus, id);
    update_plain_ram(self);
    self->cpu = cpu_new(index, &self->bus, machine->code, config->model, config->accel, error);
    return self->cpu != NULL;
}

void machine_cpu_start_threads(struct machine *machine)
{
    for (int i = 0; i < MACHINE_CPUS; i++) {
        struct machine_cpu *self = &machine->cpu[i];
        if (self->has_thread)
            continue;
        self->has_thread = pthread_create(&self->thread, NULL, cpu_thread, self) == 0;
        if (!self->has_thread) {
            log_line("the host gives no thread for CPU %d", i);
            machine_end(machine, MACHINE_FAILED);
        }
    }
}

void machine_cpu_join_threads(struct machine *machine)
{
    for (int i = 0; i < MACHINE_CPUS; i++) {
        struct machine_cpu *self = &machine->cpu[i];
        if (self->has_thread)
            pthread_join(self->thread, NULL);
        self->has_thread = false;
    }
}
