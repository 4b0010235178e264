/*
 * A bench for storage controllers on PCI: 1 MiB of RAM, a bus whose interrupts are counted,
 * workers, and images in which every 32-bit word differs from all others.
 */
#ifndef DOPPEL_TESTS_HW_PCI_BENCH_H
#define DOPPEL_TESTS_HW_PCI_BENCH_H

#include "hw/image/image.h"
#include "hw/loop.h"
#include "hw/pci.h"
#include "hw/state.h"
#include "tests/hw/suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pci_bench {
    struct device_list devices;
    struct io_bus *io;
    struct memory *memory;
    struct clock *clock;
    struct loop *loop;
    struct pci_bus *pci;
    bool irq;
    unsigned irqs;     /* rising edges of the interrupt pins */
    unsigned messages; /* MSI and MSI-X */
    uint32_t message;  /* data of the last one */
};

static pthread_mutex_t pci_bench_lock = PTHREAD_MUTEX_INITIALIZER;

static inline void pci_bench_irq(void *opaque, int number, bool level)
{
    struct pci_bench *bench = opaque;
    bench->irqs += level && !bench->irq;
    bench->irq = level;
}

static inline void pci_bench_message(void *opaque, uint64_t address, uint32_t data)
{
    struct pci_bench *bench = opaque;
    bench->messages++;
    bench->message = data;
}

static inline void pci_bench_build(struct pci_bench *bench)
{
    struct irq_line pirq[4];
    memset(bench, 0, sizeof *bench);
    for (int i = 0; i < 4; i++)
        pirq[i] = (struct irq_line){pci_bench_irq, bench, 0};
    device_list_init(&bench->devices);
    bench->io = io_bus_new();
    bench->memory = memory_new(1 << 20, NULL);
    bench->clock = clock_new();
    bench->loop = loop_new(bench->clock, &pci_bench_lock);
    bench->pci = pci_bus_new(&bench->devices, bench->io, bench->memory, pirq);
    pci_bus_route_messages(bench->pci, pci_bench_message, bench);
}

/* Resets all devices and shows one at `base` (BAR `bar`), with DMA allowed. */
static inline void pci_bench_start(struct pci_bench *bench, uint8_t devfn, int bar, uint32_t base)
{
    device_list_reset(&bench->devices);
    pci_config_write(bench->pci, devfn, (uint8_t)(PCI_BAR0 + 4 * bar), base, 4);
    pci_config_write(bench->pci, devfn, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static inline void pci_bench_free(struct pci_bench *bench)
{
    device_list_destroy(&bench->devices);
    loop_free(bench->loop);
    clock_free(bench->clock);
    memory_free(bench->memory);
    io_bus_free(bench->io);
}

static inline uint32_t pattern(uint32_t word)
{
    return word * 2654435761u ^ 0x5bd1e995;
}

/* An image without a name in any folder, of `bytes` bytes of pattern. */
static inline struct image *pattern_image(size_t bytes, bool optical)
{
    char path[] = "/tmp/doppel-test-XXXXXX";
    struct error error = {""};
    int fd = mkstemp(path);
    uint32_t *data = malloc(bytes);
    for (uint32_t i = 0; i < bytes / 4; i++)
        data[i] = pattern(i);
    ck_assert_int_eq(write(fd, data, bytes), (ssize_t)bytes);
    free(data);
    close(fd);
    struct image *image =
        image_open(&(struct image_options){.path = path, .optical = optical}, &error);
    ck_assert_msg(image != NULL, "%s", error.text);
    unlink(path);
    return image;
}

static inline void check_pattern(const void *data, uint32_t first_word, uint32_t words)
{
    for (uint32_t i = 0; i < words; i++) {
        uint32_t value;
        memcpy(&value, (const uint8_t *)data + 4 * i, 4);
        ck_assert_uint_eq(value, pattern(first_word + i));
    }
}

/* Loads what `from` saves into `to`, a board of the same devices, and compares them. */
static inline void pci_bench_copy_state(struct pci_bench *to, struct pci_bench *from)
{
    struct state_buffer saved = {0};
    struct error error = {""};
    state_save_devices(&saved, &from->devices);
    ck_assert_msg(state_load_devices(saved.bytes, saved.length, &to->devices, &error), "%s",
                  error.text);
    ck_assert_msg(state_compare_devices(&from->devices, &to->devices, &error), "%s", error.text);
    state_buffer_free(&saved);
}

#endif
