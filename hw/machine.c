/*
 * Life of a machine: running, pausing, resetting, ending, and its event loop. The board itself is
 * in pc.c, the processors' threads in cpu_thread.c.
 *
 * State changes are requested from anywhere (a device on a CPU's thread, the window, a timer) and
 * only noted there. CPUs notice at an instruction boundary; the event loop is woken to look.
 */
#include "hw/chipset/acpi_pm.h"
#include "hw/chipset/mc146818.h"
#include "hw/chipset/pvpanic.h"
#include "hw/machine_internal.h"
#include "hw/storage/piix_ide.h"
#include "hw/virtio/virtio_console.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* -- Requests -- */

static void wake_all(struct machine *machine, uint32_t events)
{
    for (int i = 0; i < MACHINE_CPUS; i++)
        if (machine->cpu[i].cpu)
            machine_cpu_post(&machine->cpu[i], events);
}

static bool has_ended(const struct machine *machine)
{
    int state = atomic_load(&machine->state);
    return state != MACHINE_RUNNING && state != MACHINE_PAUSED;
}

void machine_end(struct machine *machine, enum machine_state state)
{
    /* A CPU that ends the run may be about to notice that it was paused. */
    int now = atomic_load(&machine->state);
    do
        if (has_ended(machine))
            return; /* the first end stands */
    while (!atomic_compare_exchange_weak(&machine->state, &now, state));
    wake_all(machine, EVENT_STOP);
    loop_wake(machine->loop);
}

void machine_request_reset(void *opaque)
{
    struct machine *machine = opaque;
    machine_cpu_post(&machine->cpu[0], EVENT_RESET);
}

void machine_request_power_off(void *opaque)
{
    machine_end(opaque, MACHINE_OFF);
}

/* The byte of CMOS memory that tells firmware after a reset why it happened, and the value by which
 * it resumes a suspended system. */
#define CMOS_RESET_CODE 0x0f
#define RESET_CODE_WAKE 0xfe

void machine_request_sleep(void *opaque)
{
    struct machine *machine = opaque;
    mc146818_set_cmos(machine->rtc, CMOS_RESET_CODE, RESET_CODE_WAKE);
    wake_all(machine, EVENT_STOP); /* they stand still while acpi_pm_asleep() */
}

void machine_request_wake(void *opaque)
{
    struct machine *machine = opaque;
    atomic_store(&machine->waking, true);
    machine_cpu_post(&machine->cpu[0], EVENT_RESET);
}

void machine_request_a20(void *opaque, bool open)
{
    struct machine *machine = opaque;
    for (int i = 0; i < MACHINE_CPUS; i++)
        if (machine->cpu[i].cpu)
            machine_cpu_open_a20(&machine->cpu[i], open);
}

/* Without waiting until the CPUs stand: for those who hold the board lock. */
static void request_pause(struct machine *machine)
{
    int running = MACHINE_RUNNING;
    if (!atomic_compare_exchange_strong(&machine->state, &running, MACHINE_PAUSED))
        return;
    wake_all(machine, EVENT_STOP);
    clock_run(machine->clock, false);
}

void machine_watchdog_expired(void *opaque)
{
    static const char *const done[] = {"is reset", "is switched off", "stands still"};
    struct machine *machine = opaque;
    log_line("the guest's watchdog ran out: the machine %s", done[machine->watchdog_action]);
    switch (machine->watchdog_action) {
    case MACHINE_DO_RESET:
        machine_request_reset(machine);
        break;
    case MACHINE_DO_POWER_OFF:
        machine_request_power_off(machine);
        break;
    case MACHINE_DO_PAUSE:
        request_pause(machine);
        break;
    }
}

void machine_guest_panicked(void *opaque, unsigned events)
{
    log_line(events & PVPANIC_PANICKED
                 ? "the guest's kernel has crashed (pvpanic)"
                 : "the guest's kernel has crashed and starts a crash kernel");
}

void machine_request_exit(void *opaque, int status)
{
    struct machine *machine = opaque;
    if (has_ended(machine))
        return;
    machine->exit_status = status;
    machine_end(machine, MACHINE_EXITED);
}

/* -- What the memory tells the processors -- */

static void layout_changed(void *opaque, uint64_t first, uint64_t end)
{
    struct machine *machine = opaque;
    code_queue_moved(machine->code, first, end);
    wake_all(machine, EVENT_FLUSH_TLB | EVENT_FLUSH_CODE);
}

static void ram_written(void *opaque, uint64_t gpa, uint64_t size)
{
    struct machine *machine = opaque;
    if (code_queue_written(machine->code, gpa, size))
        wake_all(machine, EVENT_FLUSH_CODE);
}

static void dirty_cleared(void *opaque, uint64_t gpa, uint64_t size)
{
    wake_all(opaque, EVENT_FLUSH_TLB);
}

/* -- Life -- */

struct machine *machine_new(const struct machine_config *config, struct error *error)
{
    struct machine *machine = calloc(1, sizeof *machine);
    if (!machine) {
        error_set(error, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&machine->board_lock, NULL);
    pthread_mutex_init(&machine->run_lock, NULL);
    pthread_cond_init(&machine->run_changed, NULL);
    atomic_store(&machine->state, MACHINE_PAUSED);
    device_list_init(&machine->devices);
    machine->clock = clock_new();
    machine->loop = loop_new(machine->clock, &machine->board_lock);

    machine_lock(machine);
    bool ok = pc_build(machine, config, error);
    if (ok) {
        memory_observe(machine->memory, &(struct memory_observer){.layout_changed = layout_changed,
                                                                  .ram_written = ram_written,
                                                                  .dirty_cleared = dirty_cleared,
                                                                  .opaque = machine});
        device_list_reset(&machine->devices);
    }
    machine_unlock(machine);
    if (ok)
        return machine;
    memset(machine->image, 0, sizeof machine->image); /* they stay the caller's */
    machine_free(machine);
    return NULL;
}

void machine_free(struct machine *machine)
{
    pthread_mutex_lock(&machine->run_lock);
    machine->quitting = true;
    atomic_store(&machine->state, MACHINE_PAUSED);
    pthread_cond_broadcast(&machine->run_changed);
    pthread_mutex_unlock(&machine->run_lock);
    wake_all(machine, EVENT_STOP);
    machine_cpu_join_threads(machine);
    machine_lock(machine);
    loop_drain(machine->loop);
    pc_free(machine);
    machine_unlock(machine);
    loop_free(machine->loop);
    clock_free(machine->clock);
    pthread_cond_destroy(&machine->run_changed);
    pthread_mutex_destroy(&machine->run_lock);
    pthread_mutex_destroy(&machine->board_lock);
    free(machine);
}

void machine_start(struct machine *machine)
{
    int paused = MACHINE_PAUSED;
    if (!atomic_compare_exchange_strong(&machine->state, &paused, MACHINE_RUNNING))
        return;
    clock_run(machine->clock, true);
    machine_cpu_start_threads(machine);
    pthread_mutex_lock(&machine->run_lock);
    pthread_cond_broadcast(&machine->run_changed);
    pthread_mutex_unlock(&machine->run_lock);
    loop_wake(machine->loop);
}

static bool all_standing(const struct machine *machine)
{
    for (int i = 0; i < MACHINE_CPUS; i++)
        if (machine->cpu[i].has_thread && !machine->cpu[i].standing)
            return false;
    return true;
}

void machine_pause(struct machine *machine)
{
    int running = MACHINE_RUNNING;
    atomic_compare_exchange_strong(&machine->state, &running, MACHINE_PAUSED);
    wake_all(machine, EVENT_STOP);
    pthread_mutex_lock(&machine->run_lock);
    while (!all_standing(machine))
        pthread_cond_wait(&machine->run_changed, &machine->run_lock);
    pthread_mutex_unlock(&machine->run_lock);
    clock_run(machine->clock, false);
}

void machine_reset(struct machine *machine)
{
    machine_request_reset(machine);
}

void machine_power_button(struct machine *machine)
{
    machine_lock(machine);
    acpi_pm_power_button(machine->pm);
    machine_unlock(machine);
}

void machine_hold_resets(struct machine *machine, bool hold)
{
    machine->hold_resets = hold;
}

enum machine_state machine_state(const struct machine *machine)
{
    return (enum machine_state)atomic_load(&machine->state);
}

int machine_exit_status(const struct machine *machine)
{
    return machine->exit_status;
}

void machine_turn(struct machine *machine, uint64_t max_ns)
{
    loop_turn(machine->loop, max_ns);
}

void machine_lock(struct machine *machine)
{
    pthread_mutex_lock(&machine->board_lock);
}

void machine_unlock(struct machine *machine)
{
    pthread_mutex_unlock(&machine->board_lock);
}

/* -- Ports and parts -- */

struct fw_cfg *machine_fw_cfg(struct machine *machine)
{
    return machine->fw_cfg;
}

struct loop *machine_loop(struct machine *machine)
{
    return machine->loop;
}

struct clock *machine_clock(struct machine *machine)
{
    return machine->clock;
}

struct memory *machine_memory(struct machine *machine)
{
    return machine->memory;
}

struct device_list *machine_devices(struct machine *machine)
{
    return &machine->devices;
}

struct cpu *machine_cpu(struct machine *machine, int index)
{
    return index >= 0 && index < MACHINE_CPUS ? machine->cpu[index].cpu : NULL;
}

struct byte_port *machine_serial(struct machine *machine, int index)
{
    return index >= 0 && index < MACHINE_SERIALS ? machine->serial[index] : NULL;
}

struct byte_port *machine_console(struct machine *machine, int index)
{
    return machine->console && index >= 0 ? virtio_console_port(machine->console, (unsigned)index)
                                          : NULL;
}

struct virtio_balloon *machine_balloon(struct machine *machine)
{
    return machine->balloon;
}

struct byte_port *machine_debug_console(struct machine *machine)
{
    return &machine->debug_console;
}

struct packet_port *machine_packet_port(struct machine *machine)
{
    return machine->has_nic ? &machine->packet : NULL;
}

struct audio_port *machine_audio(struct machine *machine)
{
    return &machine->audio;
}

struct display_port *machine_display(struct machine *machine)
{
    return &machine->display;
}

struct input_port *machine_input(struct machine *machine)
{
    return &machine->input;
}

uint64_t machine_disk_activity(const struct machine *machine)
{
    return (machine->ide ? piix_ide_activity(machine->ide) : 0) +
           atomic_load(&machine->drive_activity);
}

uint64_t machine_instructions(const struct machine *machine)
{
    uint64_t sum = 0;
    for (int i = 0; i < MACHINE_CPUS; i++)
        sum += machine->cpu[i].cpu->instructions;
    return sum;
}

uint64_t machine_cpu_time_ns(const struct machine *machine)
{
    uint64_t sum = 0;
    for (int i = 0; i < MACHINE_CPUS; i++) {
        clockid_t id;
        struct timespec time;
        if (machine->cpu[i].has_thread && pthread_getcpuclockid(machine->cpu[i].thread, &id) == 0 &&
            clock_gettime(id, &time) == 0)
            sum += (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
    }
    return sum;
}
