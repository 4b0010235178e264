#include "tests/translator/guest.h"

#include "cpu/isa.h"
#include "cpu/system.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct bus_page bus_page(void *opaque, struct cpu *cpu, gpa_t gpa)
{
    struct guest *guest = opaque;
    if (gpa >= GUEST_RAM)
        return (struct bus_page){0};
    return (struct bus_page){.host = guest->ram + gpa, .writable = true};
}

static uint64_t bus_read(void *opaque, struct cpu *cpu, gpa_t gpa, unsigned size)
{
    return 0x1122334455667788ull >> (64 - size * 8);
}

static void bus_write(void *opaque, struct cpu *cpu, gpa_t gpa, uint64_t value, unsigned size)
{
    struct guest *guest = opaque;
    guest->io_sum = guest->io_sum * 31 + value + gpa + size;
}

static void note_write(void *opaque, gpa_t gpa, unsigned size)
{
}

static uint32_t io_read(void *opaque, struct cpu *cpu, uint16_t port, unsigned size)
{
    return 0x12345678;
}

static void io_write(void *opaque, struct cpu *cpu, uint16_t port, uint32_t value, unsigned size)
{
    struct guest *guest = opaque;
    guest->io_sum = guest->io_sum * 31 + value + port;
}

static bool irq_pending(void *opaque, struct cpu *cpu)
{
    return false;
}

static int irq_accept(void *opaque, struct cpu *cpu)
{
    return -1;
}

static uint8_t tpr_read(void *opaque, struct cpu *cpu)
{
    return 0;
}

static void tpr_write(void *opaque, struct cpu *cpu, uint8_t class_)
{
}

static bool apic_read(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t *value)
{
    return false;
}

static bool apic_write(void *opaque, struct cpu *cpu, uint32_t msr, uint64_t value)
{
    return false;
}

static uint64_t clock_ns(void *opaque)
{
    return 1000;
}

static void put(struct guest *guest, uint32_t address, uint64_t value, unsigned size)
{
    memcpy(guest->ram + address, &value, size);
}

/* 2 MiB pages to begin with; a second level of 4 KiB pages for the last two megabytes, of which one
 * is absent. */
static void make_tables(struct guest *guest)
{
    memset(guest->ram + GUEST_TABLES, 0, 0x5000);
    put(guest, GUEST_TABLES, (GUEST_TABLES + 0x1000) | 7, 8);
    put(guest, GUEST_TABLES + 0x1000, (GUEST_TABLES + 0x2000) | 7, 8);
    for (unsigned i = 0; i < 3; i++)
        put(guest, GUEST_TABLES + 0x2000 + i * 8, (uint64_t)i << 21 | 0x87, 8);
    /* 4 GiB further the same pages, and a page of devices beyond RAM */
    put(guest, GUEST_TABLES + 0x2000 + 24, (GUEST_TABLES + 0x3000) | 7, 8);
    for (unsigned i = 0; i < 256; i++)
        put(guest, GUEST_TABLES + 0x3000 + i * 8, 0x600000 | i << 12 | 7, 8);
    put(guest, GUEST_TABLES + 0x2000 + 32, 0x800000 | 0x87, 8);
}

/* IDT of the mode, each gate to its own HLT. */
static void make_idt(struct guest *guest, enum guest_bits bits)
{
    for (unsigned v = 0; v < 32; v++) {
        uint32_t handler = GUEST_HANDLERS + v * 16;
        guest->ram[handler] = 0xf4;
        if (bits == GUEST_16) {
            put(guest, v * 4, handler & 0xf, 2);
            put(guest, v * 4 + 2, handler >> 4, 2);
        } else if (bits == GUEST_32) {
            put(guest, GUEST_IDT + v * 8, (uint64_t)0x8e00 << 32 | 8 << 16 | handler, 8);
        } else {
            put(guest, GUEST_IDT + v * 16, (uint64_t)0x8e00 << 32 | 8 << 16 | handler, 8);
            put(guest, GUEST_IDT + v * 16 + 8, 0, 8);
        }
    }
    put(guest, GUEST_GDT, 0, 8);
    put(guest, GUEST_GDT + 8, bits == GUEST_64 ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull, 8);
    put(guest, GUEST_GDT + 16, 0x00cf93000000ffffull, 8);
}

void guest_reset(struct guest *guest, enum guest_bits bits)
{
    struct cpu *cpu = guest->cpu;
    make_tables(guest);
    make_idt(guest, bits);
    cpu_reset(cpu);
    cpu->gdtr.base = GUEST_GDT;
    cpu->gdtr.limit = 23;
    cpu->cr0 = CR0_ET | CR0_NE;
    cpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (feature_test(cpu->features, FEATURE_AVX)) {
        cpu->cr4 |= CR4_OSXSAVE;
        cpu->xcr0 = 7;
    }
    uint16_t code = SEGMENT_P | SEGMENT_S | SEGMENT_CODE | SEGMENT_RW | SEGMENT_ACCESSED;
    uint16_t data = SEGMENT_P | SEGMENT_S | SEGMENT_RW | SEGMENT_ACCESSED;
    if (bits == GUEST_16) {
        for (unsigned i = 0; i < 6; i++)
            cpu->seg[i] = (struct segment){.limit = 0xffff, .attr = data};
        cpu->seg[SEG_CS] =
            (struct segment){.base = GUEST_CODE, .limit = 0xffff, .selector = 0xf000, .attr = code};
        cpu->seg[SEG_DS] = cpu->seg[SEG_ES] =
            (struct segment){.base = 0x20000, .limit = 0xffff, .selector = 0x2000, .attr = data};
        cpu->idtr.base = 0;
        cpu->idtr.limit = 0x3ff;
        cpu->rip = 0;
        cpu->gpr[RSP] = 0xf000;
    } else {
        cpu->cr0 |= CR0_PE;
        for (unsigned i = 0; i < 6; i++)
            cpu->seg[i] = (struct segment){
                .limit = 0xffffffff, .selector = 16, .attr = data | SEGMENT_DB | SEGMENT_G};
        cpu->seg[SEG_CS].selector = 8;
        cpu->seg[SEG_CS].attr = code | SEGMENT_G | (bits == GUEST_64 ? SEGMENT_L : SEGMENT_DB);
        cpu->idtr.base = GUEST_IDT;
        cpu->idtr.limit = 32 * 16 - 1;
        if (bits == GUEST_64) {
            cpu->cr4 |= CR4_PAE;
            cpu->cr3 = GUEST_TABLES;
            cpu->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
            cpu->cr0 |= CR0_PG | CR0_WP;
        }
        cpu->rip = GUEST_CODE;
        cpu->gpr[RSP] = GUEST_STACK;
    }
    cpu->seg[SEG_TR].attr = SEGMENT_P | TYPE_TSS32_BUSY;
    cpu_update_mode(cpu);
    paging_switch(cpu, false);
    tlb_flush_all(cpu);
    guest->io_sum = 0;
}

struct guest *guest_new(const struct accel *accel, enum guest_bits bits)
{
    struct error error = {""};
    struct guest *guest = calloc(1, sizeof *guest);
    int file = memfd_create("guest RAM", MFD_CLOEXEC);
    if (ftruncate(file, GUEST_RAM) == 0)
        guest->ram = mmap(NULL, GUEST_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    guest->code = code_map_new(GUEST_RAM);
    guest->bus = (struct cpu_bus){
        .opaque = guest,
        .page = bus_page,
        .mem_read = bus_read,
        .mem_write = bus_write,
        .note_write = note_write,
        .io_read = io_read,
        .io_write = io_write,
        .irq_pending = irq_pending,
        .irq_accept = irq_accept,
        .tpr_read = tpr_read,
        .tpr_write = tpr_write,
        .apic_msr_read = apic_read,
        .apic_msr_write = apic_write,
        .clock_ns = clock_ns,
        .ram_file = {guest->ram, GUEST_RAM, file},
    };
    const struct cpu_model *model = cpu_model_find("default", &error);
    guest->cpu = model ? cpu_new(0, &guest->bus, guest->code, model, accel, &error) : NULL;
    if (!guest->cpu) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    guest_reset(guest, bits);
    return guest;
}

void guest_free(struct guest *guest)
{
    cpu_free(guest->cpu);
    code_map_free(guest->code);
    munmap(guest->ram, GUEST_RAM);
    close(guest->bus.ram_file.fd);
    free(guest);
}

void guest_load(struct guest *guest, uint32_t address, const void *bytes, size_t size)
{
    memcpy(guest->ram + address, bytes, size);
    code_written(guest->code, address, size);
}

bool guest_run(struct guest *guest)
{
    enum cpu_exit exit = cpu_run(guest->cpu);
    return exit == CPU_EXIT_HALTED;
}

static void *stop_later(void *opaque)
{
    struct guest *guest = opaque;
    usleep(guest->stop_after * 1000);
    cpu_post(guest->cpu, EVENT_STOP);
    return NULL;
}

enum cpu_exit guest_run_timed(struct guest *guest)
{
    pthread_t thread;
    pthread_create(&thread, NULL, stop_later, guest);
    enum cpu_exit exit = cpu_run(guest->cpu);
    pthread_join(thread, NULL);
    return exit;
}
