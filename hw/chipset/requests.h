/*
 * What a chipset can ask of the board that it sits on.
 */
#ifndef DOPPEL_HW_CHIPSET_REQUESTS_H
#define DOPPEL_HW_CHIPSET_REQUESTS_H

/* Called under the board lock from within a register write, on a CPU's thread: the board notes the
 * wish, stops the CPUs and acts on it later. */
struct board_requests {
    void (*reset)(void *opaque);
    void (*power_off)(void *opaque);
    void *opaque;
};

#endif
