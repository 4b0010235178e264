/*
 * The SDL2 window of a machine: its picture, its keyboard and mouse, a title with name, state and
 * speed. Belongs to the main thread, which is also the event loop's.
 */
#ifndef DOPPEL_UI_WINDOW_H
#define DOPPEL_UI_WINDOW_H

#include "hw/machine.h"

struct window;

/* Starts SDL's video on a desktop, X11 or Wayland. Others (the bare console, a dummy) are used only
 * if SDL_VIDEODRIVER names them. Undone by SDL_Quit(). */
bool display_start(struct error *error);

struct window_options {
    const char *name;
    bool fullscreen;
    unsigned scale; /* 0: fit the window */
};

/* NULL + a sentence (no display, SDL's reason). */
struct window *window_new(struct machine *machine, const struct window_options *options,
                          struct error *error);
/* Handles input and draws what changed, at most 60 times a second however often it is called.
 * False when the user closed the window for good. */
bool window_turn(struct window *window);
/* Nanoseconds until window_turn has something to do. */
uint64_t window_idle_ns(const struct window *window);
void window_free(struct window *window);

#endif
