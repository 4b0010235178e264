/*
 * The smallest board a processor can live on: RAM from address 0, an exit port, two debug ports,
 * and a port that raises an interrupt. For tests of cpu/ and translator/.
 */
#ifndef DOPPEL_TESTS_CPU_BOARD_H
#define DOPPEL_TESTS_CPU_BOARD_H

#include "cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum board_port {
    PORT_DEBUG = 0xe9,    /* write: a character of output */
    PORT_DEBUG2 = 0x402,  /* the same */
    PORT_EXIT = 0xf4,     /* write: the program ends with this value */
    PORT_RAISE = 0xf5,    /* write: this vector becomes a pending interrupt */
    PORT_NMI = 0xf6,      /* write: a non-maskable interrupt */
    PORT_SHUTDOWN = 0xf7, /* write: from now on a triple fault is a good end */
};

struct board {
    struct cpu_bus bus;
    struct code_map *code;
    struct cpu *cpu;
    uint8_t *ram;
    uint64_t ram_size;
    bool exited;
    uint32_t exit_code;
    int irq;                /* pending vector, or -1 */
    uint8_t task_priority;  /* CR8; holds nothing back */
    bool shutdown_expected; /* PORT_SHUTDOWN: a triple fault is how the program ends well */
    FILE *debug;            /* debug port output, or NULL */
    bool log_dirty;
    void (*written)(struct board *board, gpa_t gpa); /* first write to a page, if log_dirty */
    void *opaque;                                    /* the test's own */
};

static inline struct bus_page board_page(void *opaque, struct cpu *cpu, gpa_t gpa)
{
    struct board *board = opaque;
    if (gpa >= board->ram_size)
        return (struct bus_page){NULL, false, false};
    return (struct bus_page){board->ram + (gpa & ~0xfffull), true, board->log_dirty};
}

static inline uint64_t board_mem_read(void *opaque, struct cpu *cpu, gpa_t gpa, unsigned size)
{
    return ~0ull;
}

static inline void board_mem_write(void *opaque, struct cpu *cpu, gpa_t gpa, uint64_t value,
                                   unsigned size)
{
}

static inline void board_note_write(void *opaque, gpa_t gpa, unsigned size)
{
    struct board *board = opaque;
    if (board->written)
        board->written(board, gpa);
}

static inline uint32_t board_io_read(void *opaque, struct cpu *cpu, uint16_t port, unsigned size)
{
    return port == PORT_DEBUG ? 0xe9 : ~0u;
}

static inline void board_io_write(void *opaque, struct cpu *cpu, uint16_t port, uint32_t value,
                                  unsigned size)
{
    struct board *board = opaque;
    switch (port) {
    case PORT_DEBUG:
    case PORT_DEBUG2:
        if (board->debug)
            fputc((int)(value & 0xff), board->debug);
        break;
    case PORT_EXIT:
        board->exited = true;
        board->exit_code = value;
        cpu_post(cpu, EVENT_STOP);
        break;
    case PORT_RAISE:
        board->irq = (int)(value & 0xff);
        cpu_post(cpu, EVENT_INTERRUPT);
        break;
    case PORT_NMI:
        cpu_post(cpu, EVENT_NMI);
        break;
    case PORT_SHUTDOWN:
        board->shutdown_expected = true;
        break;
    }
}

static inline bool board_irq_pending(void *opaque, struct cpu *cpu)
{
    struct board *board = opaque;
    return board->irq >= 0;
}

static inline int board_irq_accept(void *opaque, struct cpu *cpu)
{
    struct board *board = opaque;
    int vector = board->irq;
    board->irq = -1;
    return vector;
}

static inline uint8_t board_tpr_read(void *opaque, struct cpu *cpu)
{
    return ((struct board *)opaque)->task_priority;
}

static inline void board_tpr_write(void *opaque, struct cpu *cpu, uint8_t class_)
{
    ((struct board *)opaque)->task_priority = class_;
}

static inline bool board_apic_msr_read(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    return false;
}

static inline bool board_apic_msr_write(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t value)
{
    return false;
}

static inline uint64_t board_clock_ns(void *opaque)
{
    struct board *board = opaque;
    return board->cpu ? board->cpu->instructions : 0;
}

/* Exits with a message on failure. */
static inline struct board *board_new(uint64_t ram_size, const char *model_name,
                                      const struct accel *accel)
{
    struct board *board = calloc(1, sizeof *board);
    struct error error = {.text = "out of memory"};
    const struct cpu_model *model = cpu_model_find(model_name, &error);

    if (board && model) {
        int file = memfd_create("board RAM", MFD_CLOEXEC);
        if (file >= 0 && ftruncate(file, (off_t)ram_size) == 0)
            board->ram = mmap(NULL, ram_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (board->ram == MAP_FAILED)
            board->ram = NULL;
        board->ram_size = ram_size;
        board->irq = -1;
        board->bus = (struct cpu_bus){
            .opaque = board,
            .page = board_page,
            .mem_read = board_mem_read,
            .mem_write = board_mem_write,
            .note_write = board_note_write,
            .io_read = board_io_read,
            .io_write = board_io_write,
            .irq_pending = board_irq_pending,
            .irq_accept = board_irq_accept,
            .tpr_read = board_tpr_read,
            .tpr_write = board_tpr_write,
            .apic_msr_read = board_apic_msr_read,
            .apic_msr_write = board_apic_msr_write,
            .clock_ns = board_clock_ns,
            .ram_file = {board->ram, ram_size, file},
        };
        board->code = code_map_new(ram_size);
        if (board->ram && board->code)
            board->cpu = cpu_new(0, &board->bus, board->code, model, accel, &error);
    }
    if (!board || !board->cpu) {
        fprintf(stderr, "cannot set up the test board: %s\n", error.text);
        exit(2);
    }
    return board;
}

static inline void board_free(struct board *board)
{
    const struct cpu_model *model = board->cpu->model;
    cpu_free(board->cpu);
    cpu_model_free(model);
    code_map_free(board->code);
    munmap(board->ram, board->ram_size);
    close(board->bus.ram_file.fd);
    free(board);
}

/* The test that owns memory behind the CPU's back tells it so. */
static inline void board_ram_changed(struct board *board)
{
    code_drop_all(board->code);
    tlb_flush_all(board->cpu);
}

#endif
