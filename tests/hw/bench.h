/*
 * A bench for one device: a port space, a stopped clock that the test moves by hand, wires that
 * remember what happened on them, and a copy of a device's state through its table.
 */
#ifndef DOPPEL_TESTS_HW_BENCH_H
#define DOPPEL_TESTS_HW_BENCH_H

#include "hw/alloc.h"
#include "hw/clock.h"
#include "hw/device.h"
#include "tests/hw/suite.h"

#include <check.h>
#include <string.h>

#define US 1000ull
#define MS 1000000ull

static struct device_list bench_devices;
static struct io_bus *bench_io;
static struct clock *bench_clock;
static void (*bench_undo)(void);       /* what the test's own setup needs at the end, or NULL */
static struct io_bus *bench_second_io; /* for a second device of the kind, or NULL */

static inline void bench_setup(void)
{
    device_list_init(&bench_devices);
    bench_io = io_bus_new();
    bench_clock = clock_new();
}

static inline void bench_teardown(void)
{
    device_list_destroy(&bench_devices);
    io_bus_free(bench_io);
    if (bench_second_io)
        io_bus_free(bench_second_io);
    bench_second_io = NULL;
    clock_free(bench_clock);
    if (bench_undo)
        bench_undo();
}

static inline struct io_bus *bench_other_io(void)
{
    if (!bench_second_io)
        bench_second_io = io_bus_new();
    return bench_second_io;
}

/* -- Ports -- */

static inline void outb(uint16_t port, uint8_t value)
{
    io_bus_write(bench_io, port, value, 1);
}

static inline uint8_t inb(uint16_t port)
{
    return (uint8_t)io_bus_read(bench_io, port, 1);
}

/* -- Time -- */

/* Moves to `when` through every timer that is due before. */
static inline void bench_run_to(uint64_t when_ns)
{
    while (clock_next_deadline(bench_clock) <= when_ns) {
        uint64_t due = clock_next_deadline(bench_clock);
        if (due > clock_now(bench_clock))
            clock_set(bench_clock, due);
        clock_fire_due(bench_clock);
    }
    clock_set(bench_clock, when_ns);
}

static inline void bench_run(uint64_t ns)
{
    bench_run_to(clock_now(bench_clock) + ns);
}

/* Moves without firing, then fires once: a loop that was held up. */
static inline void bench_jump(uint64_t ns)
{
    clock_set(bench_clock, clock_now(bench_clock) + ns);
    clock_fire_due(bench_clock);
}

/* -- Wires -- */

struct wire {
    bool level;
    unsigned rises, falls;
};

static inline void wire_set(void *opaque, int number, bool level)
{
    struct wire *wire = opaque;

    (void)number;
    if (level && !wire->level)
        wire->rises++;
    if (!level && wire->level)
        wire->falls++;
    wire->level = level;
}

static inline struct irq_line wire_line(struct wire *wire)
{
    return (struct irq_line){wire_set, wire, 0};
}

/* -- State -- */

static inline void copy_fields(void *to, const void *from, const struct field *fields)
{
    for (const struct field *f = fields; f->name; f++) {
        for (uint32_t i = 0; i < f->count; i++) {
            char *target = (char *)to + f->offset + (size_t)i * f->size;
            const char *source = (const char *)from + f->offset + (size_t)i * f->size;
            if (f->nested)
                copy_fields(target, source, f->nested);
            else
                memcpy(target, source, f->size);
        }
    }
}

static inline bool same_fields(const void *a, const void *b, const struct field *fields)
{
    for (const struct field *f = fields; f->name; f++) {
        for (uint32_t i = 0; i < f->count; i++) {
            const char *x = (const char *)a + f->offset + (size_t)i * f->size;
            const char *y = (const char *)b + f->offset + (size_t)i * f->size;
            if (f->nested ? !same_fields(x, y, f->nested) : memcmp(x, y, f->size) != 0)
                return false;
        }
    }
    return true;
}

/* Saves `from` and loads it into `to`, a device of the same type. */
static inline bool copy_state(struct device *to, const struct device *from)
{
    struct error error = {{0}};

    copy_fields(to, from, from->ops->fields);
    return !to->ops->post_load || to->ops->post_load(to, &error);
}

static inline bool same_state(const struct device *a, const struct device *b)
{
    return same_fields(a, b, a->ops->fields);
}

/* Deterministic noise for hostile sequences. */
static inline uint32_t bench_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Runs all tests of one subject, each between `setup` and bench_teardown. */
static inline int bench_main(const char *subject, void (*setup)(void), const TTest *const *tests,
                             size_t count)
{
    return suite_main(subject, setup, bench_teardown, tests, count);
}

#endif
