/*
 * One running machine with everything connected to it, as the options of `doppel run` describe it.
 */
#ifndef DOPPEL_UI_SESSION_H
#define DOPPEL_UI_SESSION_H

#include "bios/bios.h"
#include "hw/machine.h"
#include "net/net.h"
#include "ui/channel.h"
#include "ui/options.h"
#include "ui/sound.h"
#include "ui/window.h"

/* What is NULL was not opened. */
struct session {
    struct run_options options; /* parsed by the caller, freed by session_close */
    struct blob bios, vga, nic_rom;
    struct flash flash;
    struct machine_config config;
    struct machine *machine;
    struct channel *channel[OPTIONS_SERIALS];
    struct channel *console[MACHINE_CONSOLES];
    struct net *net;
    struct sound *sound;
    struct window *window;
    bool quit; /* the user asked for the end on the terminal */
};

/* Opens all that the options name; the machine is paused. On false, session_close cleans up. */
bool session_open(struct session *session, struct error *error);
void session_close(struct session *session);

#endif
