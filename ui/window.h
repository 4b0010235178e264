/*
 * The SDL2 window of a machine: its picture, its keyboard and mouse, a title with name, state and
 * speed. Belongs to the main thread, which is also the event loop's.
 */
#ifndef DOPPEL_UI_WINDOW_H
#define DOPPEL_UI_WINDOW_H

#include "hw/machine.h"

struct window;

struct window_options {
    const char *name;
    bool fullscreen;
    unsigned scale; /* 0: fit the window */
};

/* NULL + a sentence (no display, SDL's reason). */
struct window *window_new(struct machine *machine, const struct window_options *options,
                          struct error *error);
/* Handles input and draws what changed. False when the user closed the window for good. */
bool window_turn(struct window *window);
void window_free(struct window *window);

#endif
