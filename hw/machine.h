/*
 * struct machine: a board built from a configuration. Owns memory, devices, processors, their
 * threads, the clock and the event loop. Nothing is global: several can live in one process.
 *
 * Threads: each CPU has its own; the thread that calls machine_turn() is the event loop (timers,
 * I/O completion, network) and should be the process's main thread when there is a window. Devices
 * and ports are touched under the board lock (machine_lock).
 */
#ifndef DOPPEL_HW_MACHINE_H
#define DOPPEL_HW_MACHINE_H

#include "cpu/cpu.h"
#include "hw/fw_cfg.h"
#include "hw/image/image.h"
#include "hw/loop.h"
#include "hw/memory.h"
#include "hw/port.h"

#define MACHINE_DRIVES     16
#define MACHINE_IDE_UNITS  4
#define MACHINE_AHCI_PORTS 6

enum machine_board {
    MACHINE_PC, /* i440FX + PIIX */
    MACHINE_Q35 /* Q35 + ICH9, PCI Express; it has no IDE */
};

/* What happens when a watchdog runs out. */
enum machine_action { MACHINE_DO_RESET, MACHINE_DO_POWER_OFF, MACHINE_DO_PAUSE };

/* What a drive is attached to. */
enum machine_bus {
    MACHINE_IDE,
    MACHINE_AHCI,
    MACHINE_NVME,
    MACHINE_VIRTIO,
    MACHINE_VIRTIO_SCSI,
    MACHINE_USB, /* on the machine's USB controller, which must be there */
    MACHINE_FLOPPY,
    MACHINE_BUSES
};

struct machine_drive {
    struct image *image; /* the machine's once machine_new succeeds; NULL: no medium (cdrom) */
    bool present;
    bool cdrom;
    enum machine_bus bus;
    /* IDE: 0 primary master, 1 primary slave, 2 secondary master, 3 secondary slave. AHCI: the
     * port. Elsewhere the drives of a bus are numbered in their order here. */
    unsigned unit;
};

#define MACHINE_CONSOLES 8 /* virtio console ports */

enum machine_usb { MACHINE_NO_USB, MACHINE_XHCI, MACHINE_UHCI };

enum machine_nic {
    MACHINE_NO_NIC,
    MACHINE_E1000,
    MACHINE_RTL8139,  /* an RTL8139C+ */
    MACHINE_RTL8139C, /* without the C+ mode */
    MACHINE_NE2000,   /* an RTL8029 */
    MACHINE_VIRTIO_NET
};

enum machine_sound { MACHINE_NO_SOUND, MACHINE_HDA, MACHINE_AC97, MACHINE_SB16 };

struct machine_config {
    enum machine_board board;
    uint64_t memory_bytes;
    const struct cpu_model *model;
    const struct accel *accel;
    const void *bios; /* image that ends at 4 GiB; copied */
    size_t bios_size;
    /* Flash memory right below the firmware image, or NULL: a multiple of 4 KiB at a page boundary,
     * the caller's, outlives the machine. */
    uint8_t *flash;
    size_t flash_size;
    const void *vga_rom; /* option ROM of the display adapter; copied */
    size_t vga_rom_size;
    struct machine_drive drive[MACHINE_DRIVES];
    enum machine_nic nic;
    uint8_t mac[6];
    const void *nic_rom; /* option ROM of the network card, for booting from it; copied; or NULL */
    size_t nic_rom_size;
    bool rng;     /* a virtio entropy device */
    bool balloon; /* a virtio balloon, and what the guest shall leave itself (0: all) */
    uint64_t balloon_target;
    unsigned consoles;                          /* ports of a virtio console */
    const char *console_name[MACHINE_CONSOLES]; /* NULL: a console, else a named port; copied */
    enum machine_sound sound;
    enum machine_usb usb;
    bool usb_tablet, usb_keyboard; /* plugged into it */
    bool vmmouse;                  /* absolute positions through VMware's port */
    bool exit_port;                /* isa-debug-exit at 0xf4 */
    bool watchdog;                 /* an i6300ESB */
    enum machine_action watchdog_action;
    uint8_t boot_3d, boot_38; /* CMOS boot order */
};

enum machine_state {
    MACHINE_PAUSED,
    MACHINE_RUNNING,
    MACHINE_OFF,        /* the guest powered off */
    MACHINE_RESET_HELD, /* the guest asked for a reset and resets are to end the run (no-reboot) */
    MACHINE_EXITED,     /* the guest wrote the exit port: machine_exit_status() */
    MACHINE_FAILED,     /* an engine failed; the reason was logged */
};

struct machine;
struct virtio_balloon;

struct machine *machine_new(const struct machine_config *config, struct error *error);
/* Stops the CPU threads and frees everything. */
void machine_free(struct machine *machine);

/* Any thread but a CPU's. */
void machine_start(struct machine *machine); /* PAUSED -> RUNNING; creates the threads at first */
void machine_pause(struct machine *machine); /* returns when every CPU stands still */
void machine_reset(struct machine *machine);
void machine_power_button(struct machine *machine);
void machine_hold_resets(struct machine *machine, bool hold); /* --no-reboot */
enum machine_state machine_state(const struct machine *machine);
int machine_exit_status(const struct machine *machine);

/* One turn of the event loop: sleeps at most max_ns, handles what is due. */
void machine_turn(struct machine *machine, uint64_t max_ns);

void machine_lock(struct machine *machine);
void machine_unlock(struct machine *machine);

/* What firmware tables say about the board and where the firmware placed things. */
struct machine_platform {
    enum machine_board board;
    uint16_t pm_base; /* ACPI registers, 0 if the firmware has not placed them */
    unsigned nic_slot; /* of the network card on PCI bus 0 */
    uint64_t ecam;    /* memory-mapped PCI configuration space, or 0 */
    unsigned ecam_buses;
};
struct machine_platform machine_platform(const struct machine *machine);

/* -- Ports and parts for those outside -- */

struct fw_cfg *machine_fw_cfg(struct machine *machine);
struct loop *machine_loop(struct machine *machine);
struct clock *machine_clock(struct machine *machine);
struct memory *machine_memory(struct machine *machine);
struct device_list *machine_devices(struct machine *machine);
struct cpu *machine_cpu(struct machine *machine, int index);
struct byte_port *machine_serial(struct machine *machine, int index);  /* NULL beyond the last */
struct byte_port *machine_console(struct machine *machine, int index); /* virtio; likewise */
struct byte_port *machine_debug_console(struct machine *machine);
struct packet_port *machine_packet_port(struct machine *machine); /* NULL without NIC */
struct virtio_balloon *machine_balloon(struct machine *machine);  /* NULL without one */
struct audio_port *machine_audio(struct machine *machine);
struct display_port *machine_display(struct machine *machine);
struct input_port *machine_input(struct machine *machine);
/* Counts of disk and network requests since power-on, for status lights. */
uint64_t machine_disk_activity(const struct machine *machine);
/* Guest instructions retired by all CPUs; the translator counts them only for --stats. */
uint64_t machine_instructions(const struct machine *machine);
/* Host CPU time that the processors' threads have used, in ns. */
uint64_t machine_cpu_time_ns(const struct machine *machine);

#endif
