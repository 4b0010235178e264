/*
 * The command line of `doppel run` (and later `new`, `start`): one table of options, one struct of
 * results. An option that the product plan names but that is not built is in the table too, so that
 * it is refused by name instead of being unknown.
 */
#ifndef DOPPEL_UI_OPTIONS_H
#define DOPPEL_UI_OPTIONS_H

#include "bios/bios.h"
#include "cpu/error.h"
#include "hw/machine.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define OPTIONS_DISKS   (MACHINE_DRIVES - 1) /* the CD-ROM drive is one more */
#define OPTIONS_SERIALS 2
#define OPTIONS_MODULES BIOS_MODULES

struct disk_option {
    char *path;
    bool read_only, temporary;
    enum machine_bus bus;
};

/* A port of the virtio console. */
struct console_option {
    char *where; /* as --serial */
    char *name;  /* NULL: a console */
};

enum display_kind { DISPLAY_DEFAULT, DISPLAY_WINDOW, DISPLAY_NONE };

struct run_options {
    uint64_t memory_bytes;
    enum machine_board board;
    const char *firmware; /* a file, or NULL */
    bool uefi;
    char *uefi_vars; /* file that keeps the variables, or NULL */
    enum audio_kind { AUDIO_AUTO, AUDIO_NONE, AUDIO_WAV } audio;
    enum machine_sound sound_card; /* MACHINE_NO_SOUND: the usual one */
    char *wav;
    bool watchdog;
    enum machine_action watchdog_action;
    const char *module[OPTIONS_MODULES];
    unsigned modules;
    const char *cpu;   /* model text */
    const char *accel; /* auto, translator, interpreter */
    struct disk_option disk[OPTIONS_DISKS];
    unsigned disks;
    struct disk_option cdrom; /* path NULL: none */
    const char *kernel, *initrd, *append;
    const char *kernel_unpack; /* host, guest, or NULL: host */
    const char *boot;
    const char *net; /* text for net/, NULL: the default (user) */
    enum display_kind display;
    bool fullscreen;
    unsigned scale; /* 0: fit */
    const char *serial[OPTIONS_SERIALS];
    unsigned serials;
    struct console_option console[MACHINE_CONSOLES];
    unsigned consoles;
    bool rng, balloon;
    bool usb_chosen; /* --usb was given */
    enum machine_usb usb;
    bool usb_tablet, usb_keyboard;
    uint64_t balloon_bytes;
    const char *name;
    bool headless, no_reboot, exit_port, verify, stats, paused;
    unsigned code_cache_mb; /* 0: default */
    unsigned log_items;
    const char *log_path;
};

/* Parses argv (without program and command name). The struct borrows argv's strings, except disk
 * paths, which options_free frees. */
bool options_parse(struct run_options *options, int argc, char **argv, struct error *error);
void options_free(struct run_options *options);
void options_help(FILE *out);

#endif
