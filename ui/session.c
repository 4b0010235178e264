/*
 * Puts a machine together from the options of `doppel run`, and connects terminal, window and
 * network.
 */
#include "ui/session.h"

#include "bios/bios.h"
#include "hw/storage/floppy.h"
#include "translator/translator.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void quit_key(void *opaque)
{
    ((struct session *)opaque)->quit = true;
}

static bool open_log(struct session *session, struct error *error)
{
    log_items |= session->options.log_items;
    if (session->options.log_path && !(log_file = fopen(session->options.log_path, "w")))
        return error_set(error, "--log: cannot write '%s': %s", session->options.log_path,
                         strerror(errno));
    return true;
}

static bool open_disk(const struct disk_option *disk, struct machine_drive *drive,
                      struct error *error)
{
    drive->image = image_open(&(struct image_options){.path = disk->path,
                                                      .read_only = disk->read_only,
                                                      .temporary = disk->temporary},
                              error);
    drive->present = true;
    drive->bus = disk->bus;
    if (drive->image && disk->bus == MACHINE_FLOPPY &&
        !floppy_size_known(image_bytes(drive->image)))
        return error_set(error,
                         "--floppy: '%s' has %" PRIu64 " bytes, which no floppy disk has; "
                         "1474560 bytes make 1.44M",
                         disk->path, image_bytes(drive->image));
    return drive->image != NULL;
}

/* Firmware that wants system management mode to guard its variables would wait for it for ever. */
static bool refuse_secure_boot(const char *path, struct error *error)
{
    char *real = realpath(path, NULL);
    bool secure = real && strstr(real, ".secboot");
    free(real);
    return !secure ||
           error_set(error,
                     "the firmware '%s' needs system management mode, which is not modelled; use "
                     "--firmware uefi",
                     path);
}

static bool load_firmware(struct session *session, struct error *error)
{
    const struct run_options *options = &session->options;
    session->flash.fd = -1;
    if (!firmware_load(&session->vga, FIRMWARE_VGA, FIRMWARE_PACKAGE, error))
        return false;
    if (options->firmware)
        return refuse_secure_boot(options->firmware, error) &&
               blob_read(&session->bios, options->firmware, "firmware", 16u << 20, error);
    if (!options->uefi)
        return firmware_load(&session->bios, FIRMWARE_BIOS, FIRMWARE_PACKAGE, error);
    struct blob fresh = {0};
    bool ok = firmware_load(&session->bios, FIRMWARE_UEFI, FIRMWARE_UEFI_PACKAGE, error) &&
              firmware_load(&fresh, FIRMWARE_UEFI_VARS, FIRMWARE_UEFI_PACKAGE, error) &&
              flash_open(&session->flash, options->uefi_vars, &fresh, error);
    blob_free(&fresh);
    return ok;
}

/* The cards by enum net_model, and the names of iPXE's drivers for them. */
static const struct {
    enum machine_nic nic;
    const char *rom;
} nics[] = {
    [NET_E1000] = {MACHINE_E1000, "e1000"},         [NET_RTL8139] = {MACHINE_RTL8139, "rtl8139"},
    [NET_RTL8139C] = {MACHINE_RTL8139C, "rtl8139"}, [NET_NE2000] = {MACHINE_NE2000, "ne2k_pci"},
    [NET_VIRTIO] = {MACHINE_VIRTIO_NET, "virtio"},
};

/* Only a machine that may boot from the network has the card's ROM: it takes time to start. */
static bool load_nic_rom(struct session *session, const struct net_options *net,
                         struct error *error)
{
    char name[32];
    if (!bios_boot_names(session->options.boot, "net"))
        return true;
    if (net->kind == NET_NONE)
        return error_set(error, "--boot net needs a network card, which --net none takes away");
    const char *rom = nics[net->model].rom;
    snprintf(name, sizeof name, session->options.uefi ? FIRMWARE_PXE_UEFI : FIRMWARE_PXE, rom);
    return firmware_load(&session->nic_rom, name, FIRMWARE_PXE_PACKAGE, error);
}

static bool open_drives(struct session *session, struct error *error)
{
    enum { CDROM_UNIT = 2 };
    const struct run_options *options = &session->options;
    struct machine_drive *drive = session->config.drive;
    unsigned used[MACHINE_BUSES] = {0};
    bool ide_cdrom = options->cdrom.path && options->cdrom.bus == MACHINE_IDE;
    for (unsigned i = 0; i < options->disks; i++, drive++) {
        if (!open_disk(&options->disk[i], drive, error))
            return false;
        unsigned *unit = &used[drive->bus];
        if (drive->bus == MACHINE_IDE && ide_cdrom && *unit == CDROM_UNIT)
            (*unit)++;
        drive->unit = (*unit)++;
    }
    if (options->cdrom.path) {
        *drive = (struct machine_drive){.present = true,
                                        .cdrom = true,
                                        .bus = options->cdrom.bus,
                                        .unit = ide_cdrom ? CDROM_UNIT : used[options->cdrom.bus]};
        drive->image = image_open(&(struct image_options){.path = options->cdrom.path,
                                                          .read_only = true,
                                                          .optical = true},
                                  error);
        if (!drive->image)
            return false;
    }
    return true;
}

static bool choose_engine(struct session *session, struct error *error)
{
    const struct run_options *options = &session->options;
    bool interpreter = strcmp(options->accel, "interpreter") == 0;
    if (interpreter && options->verify)
        return error_set(error, "--verify compares the translator with the interpreter; it needs "
                                "--accel translator");
    session->config.accel = interpreter ? &accel_interpreter : &accel_translator;
    translator_options.verify = options->verify;
    translator_options.stats = options->stats;
    translator_options.cache_mb = options->code_cache_mb;
    session->config.model = cpu_model_find(options->cpu, error);
    return session->config.model != NULL;
}

static bool connect_serials(struct session *session, struct error *error)
{
    struct channel_keys keys = {quit_key, session};
    for (unsigned i = 0; i < session->options.serials; i++) {
        session->channel[i] =
            channel_open(session->options.serial[i], machine_serial(session->machine, (int)i),
                         machine_loop(session->machine), &keys, error);
        if (!session->channel[i])
            return false;
    }
    for (unsigned i = 0; i < session->options.consoles; i++) {
        session->console[i] = channel_open(session->options.console[i].where,
                                           machine_console(session->machine, (int)i),
                                           machine_loop(session->machine), &keys, error);
        if (!session->console[i])
            return false;
    }
    return true;
}

static bool build_machine(struct session *session, struct net_options *net, struct error *error)
{
    struct run_options *options = &session->options;
    struct machine_config *config = &session->config;
    config->memory_bytes = options->memory_bytes;
    config->exit_port = options->exit_port;
    config->board = options->board;
    config->watchdog = options->watchdog;
    config->watchdog_action = options->watchdog_action;
    config->flash = session->flash.bytes;
    config->flash_size = session->flash.size;
    config->bios = session->bios.bytes;
    config->bios_size = session->bios.size;
    config->vga_rom = session->vga.bytes;
    config->vga_rom_size = session->vga.size;
    config->nic = net->kind == NET_NONE ? MACHINE_NO_NIC : nics[net->model].nic;
    config->nic_rom = session->nic_rom.bytes;
    config->nic_rom_size = session->nic_rom.size;
    bool heard = options->audio == AUDIO_WAV ||
                 (options->audio == AUDIO_AUTO && options->display != DISPLAY_NONE);
    if (heard)
        config->sound = options->sound_card ? options->sound_card : MACHINE_HDA;
    config->rng = options->rng;
    config->usb = options->usb;
    config->vmmouse = !options->verify; /* its answers in registers are not replayed */
    config->usb_tablet = options->usb_tablet;
    config->usb_keyboard = options->usb_keyboard;
    config->balloon = options->balloon;
    config->balloon_target = options->balloon_bytes;
    config->consoles = options->consoles;
    for (unsigned i = 0; i < options->consoles; i++)
        config->console_name[i] = options->console[i].name;
    memcpy(config->mac, net->mac, sizeof config->mac);
    bios_cmos_boot(options->boot, &config->boot_3d, &config->boot_38);
    session->machine = machine_new(config, error);
    if (!session->machine)
        return false;
    memset(config->drive, 0, sizeof config->drive); /* the machine owns the images now */
    machine_hold_resets(session->machine, options->no_reboot);
    struct bios_config bios = {
        .machine = session->machine,
        .ram_low = memory_ram_low(machine_memory(session->machine)),
        .ram_high = memory_ram_high(machine_memory(session->machine)),
        .cpus = 1,
        .name = options->name,
        .boot = options->boot,
        .direct_kernel = options->kernel != NULL,
    };
    bios_add_tables(machine_fw_cfg(session->machine), &bios);
    struct bios_kernel files = {
        .kernel = options->kernel,
        .initrd = options->initrd,
        .append = options->append,
        .modules = options->modules,
        .unpack_in_guest = options->kernel_unpack && strcmp(options->kernel_unpack, "guest") == 0,
    };
    memcpy(files.module, options->module, sizeof files.module);
    return !options->kernel ||
           bios_add_kernel(machine_fw_cfg(session->machine), &bios, &files, error);
}

bool session_open(struct session *session, struct error *error)
{
    struct net_options net;
    if (!net_options_parse(&net, session->options.net ? session->options.net : "user", error))
        return false;
    if (!open_log(session, error) || !choose_engine(session, error) ||
        !load_firmware(session, error) || !load_nic_rom(session, &net, error) ||
        !open_drives(session, error) || !build_machine(session, &net, error))
        return false;
    if (net.kind != NET_NONE) {
        session->net =
            net_open(&net, machine_loop(session->machine), machine_clock(session->machine),
                     machine_packet_port(session->machine), error);
        if (!session->net)
            return false;
    }
    if (session->options.display != DISPLAY_NONE) {
        struct window_options window = {.name = session->options.name,
                                        .fullscreen = session->options.fullscreen,
                                        .scale = session->options.scale};
        session->window = window_new(session->machine, &window, error);
        if (!session->window)
            return false;
    }
    if (session->config.sound != MACHINE_NO_SOUND) {
        session->sound = sound_open(machine_audio(session->machine), session->options.wav, error);
        if (!session->sound)
            return false;
    }
    return connect_serials(session, error);
}

void session_close(struct session *session)
{
    window_free(session->window);
    for (unsigned i = 0; i < OPTIONS_SERIALS; i++)
        channel_close(session->channel[i]);
    for (unsigned i = 0; i < MACHINE_CONSOLES; i++)
        channel_close(session->console[i]);
    if (session->net) { /* CPUs may still run, and send */
        machine_lock(session->machine);
        net_close(session->net);
        machine_unlock(session->machine);
    }
    if (session->machine) {
        machine_pause(session->machine);
        sound_close(session->sound);
        machine_free(session->machine);
    }
    for (unsigned i = 0; i < MACHINE_DRIVES; i++)
        if (session->config.drive[i].image)
            image_close(session->config.drive[i].image);
    blob_free(&session->bios);
    blob_free(&session->vga);
    blob_free(&session->nic_rom);
    flash_close(&session->flash);
    options_free(&session->options);
}
