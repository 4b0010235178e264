/*
 * `doppel run`: puts a machine together from the options, connects terminal, window and network,
 * and turns the event loop until the guest or the user ends it.
 */
#include "bios/bios.h"
#include "hw/machine.h"
#include "net/net.h"
#include "translator/translator.h"
#include "ui/channel.h"
#include "ui/options.h"
#include "ui/ui.h"
#include "ui/window.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_TURN_NS (NS_PER_SECOND / 60)
#define IDLE_TURN_NS   (NS_PER_SECOND / 4)

static volatile sig_atomic_t signalled;

static void note_signal(int number)
{
    signalled = number;
}

/* All that a run holds; what is NULL was not opened. */
struct run {
    struct run_options options;
    struct blob bios, vga;
    struct machine_config config;
    struct machine *machine;
    struct channel *channel[OPTIONS_SERIALS];
    struct net *net;
    struct window *window;
    bool quit;
};

static void quit_key(void *opaque)
{
    ((struct run *)opaque)->quit = true;
}

/* -- Putting the machine together -- */

static bool open_log(struct run *run, struct error *error)
{
    log_items |= run->options.log_items;
    if (run->options.log_path && !(log_file = fopen(run->options.log_path, "w")))
        return error_set(error, "--log: cannot write '%s': %s", run->options.log_path,
                         strerror(errno));
    return true;
}

static bool open_drives(struct run *run, struct error *error)
{
    const struct run_options *options = &run->options;
    static const unsigned order_with_cdrom[] = {0, 1, 3}, order[] = {0, 1, 2, 3};
    for (unsigned i = 0; i < options->disks; i++) {
        const struct disk_option *disk = &options->disk[i];
        struct machine_drive *drive =
            &run->config.drive[options->cdrom ? order_with_cdrom[i] : order[i]];
        drive->image = image_open(&(struct image_options){.path = disk->path,
                                                          .read_only = disk->read_only,
                                                          .temporary = disk->temporary},
                                  error);
        if (!drive->image)
            return false;
        drive->present = true;
    }
    if (options->cdrom) {
        struct machine_drive *drive = &run->config.drive[2];
        *drive = (struct machine_drive){.present = true, .cdrom = true};
        drive->image = image_open(
            &(struct image_options){.path = options->cdrom, .read_only = true, .optical = true},
            error);
        if (!drive->image)
            return false;
    }
    return true;
}

static bool choose_engine(struct run *run, struct error *error)
{
    const struct run_options *options = &run->options;
    bool interpreter = strcmp(options->accel, "interpreter") == 0;
    if (interpreter && options->verify)
        return error_set(error, "--verify compares the translator with the interpreter; it needs "
                                "--accel translator");
    run->config.accel = interpreter ? &accel_interpreter : &accel_translator;
    translator_options.verify = options->verify;
    translator_options.stats = options->stats;
    run->config.model = cpu_model_find(options->cpu, error);
    return run->config.model != NULL;
}

static bool connect_serials(struct run *run, struct error *error)
{
    struct channel_keys keys = {quit_key, run};
    for (unsigned i = 0; i < run->options.serials; i++) {
        run->channel[i] = channel_open(run->options.serial[i], machine_serial(run->machine, (int)i),
                                       machine_loop(run->machine), &keys, error);
        if (!run->channel[i])
            return false;
    }
    return true;
}

static bool build_machine(struct run *run, struct net_options *net, struct error *error)
{
    struct run_options *options = &run->options;
    struct machine_config *config = &run->config;
    config->memory_bytes = options->memory_bytes;
    config->exit_port = options->exit_port;
    config->bios = run->bios.bytes;
    config->bios_size = run->bios.size;
    config->vga_rom = run->vga.bytes;
    config->vga_rom_size = run->vga.size;
    config->nic = net->kind != NET_NONE;
    memcpy(config->mac, net->mac, sizeof config->mac);
    bios_cmos_boot(options->boot, &config->boot_3d, &config->boot_38);
    run->machine = machine_new(config, error);
    if (!run->machine)
        return false;
    memset(config->drive, 0, sizeof config->drive); /* the machine owns the images now */
    machine_hold_resets(run->machine, options->no_reboot);
    struct bios_config bios = {
        .ram_low = memory_ram_low(machine_memory(run->machine)),
        .ram_high = memory_ram_high(machine_memory(run->machine)),
        .cpus = 1,
        .name = options->name,
        .boot = options->boot,
        .direct_kernel = options->kernel != NULL,
    };
    bios_add_tables(machine_fw_cfg(run->machine), &bios);
    return !options->kernel || bios_add_linux(machine_fw_cfg(run->machine), &bios, options->kernel,
                                              options->initrd, options->append, error);
}

static bool prepare(struct run *run, struct error *error)
{
    struct net_options net;
    if (!net_options_parse(&net, run->options.net ? run->options.net : "user", error))
        return false;
    if (!open_log(run, error) || !choose_engine(run, error) ||
        !firmware_load(&run->bios, FIRMWARE_BIOS, FIRMWARE_PACKAGE, error) ||
        !firmware_load(&run->vga, FIRMWARE_VGA, FIRMWARE_PACKAGE, error) ||
        !open_drives(run, error) || !build_machine(run, &net, error))
        return false;
    if (net.kind != NET_NONE) {
        run->net = net_open(&net, machine_loop(run->machine), machine_clock(run->machine),
                            machine_packet_port(run->machine), error);
        if (!run->net)
            return false;
    }
    if (run->options.display != DISPLAY_NONE) {
        struct window_options window = {.name = run->options.name,
                                        .fullscreen = run->options.fullscreen,
                                        .scale = run->options.scale};
        run->window = window_new(run->machine, &window, error);
        if (!run->window)
            return false;
    }
    return connect_serials(run, error);
}

/* -- Running -- */

static void turn_until_end(struct run *run)
{
    while (!run->quit && !signalled) {
        machine_turn(run->machine, run->window ? WINDOW_TURN_NS : IDLE_TURN_NS);
        enum machine_state state = machine_state(run->machine);
        if (state != MACHINE_RUNNING && state != MACHINE_PAUSED)
            return;
        if (run->window && !window_turn(run->window))
            return;
    }
}

static int end_status(struct run *run)
{
    switch (machine_state(run->machine)) {
    case MACHINE_EXITED:
        return machine_exit_status(run->machine);
    case MACHINE_FAILED:
        return STATUS_FAILED;
    default:
        return STATUS_DONE;
    }
}

static void clean_up(struct run *run)
{
    window_free(run->window);
    for (unsigned i = 0; i < OPTIONS_SERIALS; i++)
        channel_close(run->channel[i]);
    if (run->net)
        net_close(run->net);
    if (run->machine)
        machine_free(run->machine);
    for (unsigned i = 0; i < MACHINE_DRIVES; i++)
        if (run->config.drive[i].image)
            image_close(run->config.drive[i].image);
    blob_free(&run->bios);
    blob_free(&run->vga);
    options_free(&run->options);
}

static void print_stats(struct run *run)
{
    struct cpu *cpu = machine_cpu(run->machine, 0);
    if (cpu->accel->stats)
        cpu->accel->stats(cpu, stderr);
}

int command_run(int argc, char **argv)
{
    struct run run = {0};
    struct error error;
    if (!options_parse(&run.options, argc, argv, &error) || !prepare(&run, &error)) {
        clean_up(&run); /* restores the terminal before the message */
        return complain("%s", error.text);
    }
    const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof ending_signals / sizeof ending_signals[0]; i++)
        sigaction(ending_signals[i], &(struct sigaction){.sa_handler = note_signal}, NULL);
    signal(SIGPIPE, SIG_IGN);

    if (!run.options.paused)
        machine_start(run.machine);
    turn_until_end(&run);
    machine_pause(run.machine);
    int status = end_status(&run);
    if (run.options.stats)
        print_stats(&run);
    clean_up(&run);
    return status;
}
