/* struct machine as its own files (machine.c, pc.c, cpu_thread.c) see it. */
#ifndef DOPPEL_HW_MACHINE_INTERNAL_H
#define DOPPEL_HW_MACHINE_INTERNAL_H

#include "hw/machine.h"
#include "hw/pci.h"

#include <pthread.h>

#define MACHINE_CPUS       1 /* the interfaces are ready for more; the board starts one */
#define MACHINE_SERIALS    2
#define MACHINE_PCIE_PORTS 4 /* slots of the Q35 for cards */

/* One processor and the thread that runs it. */
struct machine_cpu {
    struct machine *machine;
    struct cpu *cpu;
    struct lapic *lapic;
    struct cpu_bus bus;
    pthread_t thread;
    bool has_thread;
    atomic_bool sleeping; /* waits on machine->run_changed */
    bool standing;        /* outside cpu_run(), by run_lock */
};

struct machine {
    /* -- Threads and life -- */
    pthread_mutex_t board_lock;
    pthread_mutex_t run_lock;   /* taken after the board lock, never before it */
    pthread_cond_t run_changed; /* a CPU may run, must wake, or has come to a stand */
    _Atomic int state;          /* enum machine_state */
    bool quitting;
    bool hold_resets;
    _Atomic bool waking; /* the next reset ends a sleep and leaves RAM as it is */
    int exit_status;
    struct clock *clock;
    struct loop *loop;
    struct machine_cpu cpu[MACHINE_CPUS];
    struct code_map *code;

    /* -- The board (pc.c) -- */
    struct device_list devices;
    struct memory *memory;
    struct io_bus *io;
    struct pci_bus *pci;
    struct apic_bus *apic_bus;
    struct ioapic *ioapic;
    struct i8259 *pic;
    struct mc146818 *rtc;
    struct isa_bridge *isa; /* of the ISA bridge */
    struct acpi_pm *pm;
    struct hpet *hpet;
    enum machine_board board;
    struct piix4_pm *piix4_pm; /* on the PC */
    struct q35 *q35;           /* and on the Q35 */
    struct ich9_lpc *lpc;
    struct pcie_port *port[MACHINE_PCIE_PORTS];
    struct pci_slots *pci_slots; /* of the PC */
    enum machine_action watchdog_action;
    void (*key)(void *keyboard, uint16_t hid_usage, bool down); /* the keyboard's own handler */
    void *keyboard;
    struct piix_ide *ide; /* on the PC */
    struct i8237 *dma;
    struct floppy *floppy; /* or NULL */
    struct ahci *ahci;     /* or NULL */
    struct fw_cfg *fw_cfg;
    struct byte_port *serial[MACHINE_SERIALS];
    struct byte_port debug_console;
    struct packet_port packet;
    bool has_nic;
    struct virtio_scsi *scsi;       /* or NULL */
    struct virtio_console *console; /* or NULL */
    struct virtio_balloon *balloon; /* or NULL */
    struct mixer *mixer;
    struct speaker *speaker;
    struct audio_port audio;
    struct display_port display;
    struct input_port input;
    struct input_routes *routes; /* which device takes the input */
    struct usb_bus *usb;         /* or NULL */
    struct cpu *port_cpu;        /* whose access to a port is under way */
    struct image *image[MACHINE_DRIVES];
    _Atomic uint64_t drive_activity; /* of drives that have no adapter to count it */
};

/* pc.c: makes every device and wires it. */
bool pc_build(struct machine *machine, const struct machine_config *config, struct error *error);
void pc_free(struct machine *machine);
/* Resets every device. A reset that ends a sleep leaves the host bridge as it is: the firmware has
 * its code for it in shadow RAM and uses the memory-mapped configuration space. Board lock. */
void board_reset(struct machine *machine);

/* cpu_thread.c */
bool machine_cpu_new(struct machine *machine, int index, const struct machine_config *config,
                     struct error *error);
void machine_cpu_start_threads(struct machine *machine);
void machine_cpu_join_threads(struct machine *machine);
/* Posts events and wakes a sleeping thread. Any thread; the run lock must not be held. */
void machine_cpu_post(struct machine_cpu *cpu, uint32_t events);
/* Lets address line 20 pass, or not. Board lock. */
void machine_cpu_open_a20(struct machine_cpu *cpu, bool open);

/* machine.c: what devices ask for. Any thread. */
void machine_request_reset(void *machine);
void machine_request_power_off(void *machine);
void machine_request_sleep(void *machine);
void machine_request_wake(void *machine);
void machine_request_a20(void *machine, bool open);
void machine_request_exit(void *machine, int status);
void machine_watchdog_expired(void *machine);
void machine_guest_panicked(void *machine, unsigned events);
void machine_end(struct machine *machine, enum machine_state state);

#endif
