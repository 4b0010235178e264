/*
 * What a chipset can ask of the board that it sits on.
 */
#ifndef DOPPEL_HW_CHIPSET_REQUESTS_H
#define DOPPEL_HW_CHIPSET_REQUESTS_H

#include <stdbool.h>

/* Called under the board lock from within a register write, on a CPU's thread, or from a timer: the
 * board notes the wish, stops the CPUs and acts on it later. Each may be NULL. */
struct board_requests {
    void (*reset)(void *opaque);
    void (*power_off)(void *opaque);
    /* Suspend to RAM (ACPI S3), and its end: the processors start at the reset vector with RAM as
     * it was. */
    void (*sleep)(void *opaque);
    void (*wake)(void *opaque);
    void (*a20)(void *opaque, bool open); /* address line 20 passes */
    void *opaque;
};

#endif
