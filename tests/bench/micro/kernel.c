/*
 * The bare-metal side: tests that need privileges, the serial port for results, and the exit port
 * 0xf4. Results are lines `micro HUNDREDTHS-OF-CYCLES NAME`; `micro tsc_khz N` tells the cycles'
 * length, measured against the interval timer.
 */
#include "micro.h"

#define SERIAL      0x3f8
#define EXIT_PORT   0xf4
#define NO_PORT     0x2e1 /* nothing answers here */

#define TEST_PAGES  ((volatile uint8_t *)0x40000000) /* 511 pages of 4 KiB, see start.S */
#define ABSENT      (TEST_PAGES + 511 * PAGE_SIZE)

#define MSR_STAR    0xc0000081
#define MSR_LSTAR   0xc0000082
#define MSR_SFMASK  0xc0000084
#define CR4_PCIDE   (1u << 17)

#define GATE_KERNEL 0x8e00 /* interrupt gate */
#define GATE_USER   0xee00

#define RUN_MS      4

extern char exception_entries[], page_fault_entry[], interrupt_entry[], user_end_entry[];
extern char syscall_entry[], page_root[];
extern uint64_t page_fault_resume;
extern uint64_t idt[256][2];

void kernel_main(void);
void kernel_unexpected(uint64_t vector, uint64_t rip) __attribute__((noreturn));
void run_in_user_mode(micro_fn *function, uint64_t count);

static inline void out_byte(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in_byte(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void write_msr(uint32_t number, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static inline uint64_t read_cr3(void)
{
    uint64_t value;
    __asm__ volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}

static inline void write_cr3(uint64_t value)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

static inline uint64_t read_cr4(void)
{
    uint64_t value;
    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}

static inline void write_cr4(uint64_t value)
{
    __asm__ volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

/* -- Serial port and end -- */

static void print(const char *text)
{
    for (; *text; text++) {
        while (!(in_byte(SERIAL + 5) & 0x20))
            ;
        out_byte(SERIAL, (uint8_t)*text);
    }
}

static void print_number(uint64_t value)
{
    char text[24];
    print(micro_decimal(text, value));
}

static void print_result(const char *name, uint64_t hundredths)
{
    print("micro ");
    print_number(hundredths);
    print(" ");
    print(name);
    print("\n");
}

static void __attribute__((noreturn)) end(uint8_t code)
{
    while (!(in_byte(SERIAL + 5) & 0x40))
        ;
    for (;;) {
        out_byte(EXIT_PORT, code);
        __asm__ volatile("hlt");
    }
}

void kernel_unexpected(uint64_t vector, uint64_t rip)
{
    print("micro failed: exception ");
    print_number(vector);
    print(" at ");
    print_number(rip);
    print("\n");
    end(1);
}

/* -- Address spaces -- */

static void cr3_reload(uint64_t count)
{
    uint64_t root = read_cr3();
    while (count--)
        write_cr3(root);
}

static void touch_pages(unsigned pages)
{
    for (unsigned i = 0; i < pages; i++)
        (void)TEST_PAGES[i * PAGE_SIZE];
}

static void cr3_reload_touch(uint64_t count)
{
    uint64_t root = read_cr3();
    while (count--) {
        write_cr3(root);
        touch_pages(1);
    }
}

static void cr3_reload_touch_many(uint64_t count)
{
    uint64_t root = read_cr3();
    while (count--) {
        write_cr3(root);
        touch_pages(33);
    }
}

/* Two address spaces by turns, nothing flushed. */
static void pcid_switch(uint64_t count)
{
    uint64_t root = read_cr3() & ~UINT64_C(0xfff), keep = UINT64_C(1) << 63;
    while (count--) {
        write_cr3(root | 1 | keep);
        write_cr3(root | 2 | keep);
    }
    write_cr3(root);
}

static void pcid_switch_touch(uint64_t count)
{
    uint64_t root = read_cr3() & ~UINT64_C(0xfff), keep = UINT64_C(1) << 63;
    while (count--) {
        write_cr3(root | 1 | keep);
        touch_pages(1);
        write_cr3(root | 2 | keep);
        touch_pages(1);
    }
    write_cr3(root);
}

static void invlpg_touch(uint64_t count)
{
    while (count--) {
        __asm__ volatile("invlpg (%0)" : : "r"(TEST_PAGES) : "memory");
        touch_pages(1);
    }
}

/* -- Events -- */

static void page_fault(uint64_t count)
{
    __asm__ volatile("movq $2f, page_fault_resume\n"
                     "1: mov (%1), %%al\n"
                     "2: dec %0\n"
                     "jnz 1b\n"
                     "movq $0, page_fault_resume"
                     : "+r"(count)
                     : "r"(ABSENT)
                     : "rax", "memory", "cc");
}

static void interrupts(uint64_t count)
{
    __asm__ volatile("1: int $0x40\n dec %0\n jnz 1b" : "+r"(count) : : "memory", "cc");
}

static void user_interrupts(uint64_t count)
{
    run_in_user_mode(interrupts, count);
}

static void system_calls(uint64_t count)
{
    __asm__ volatile("1: syscall\n dec %0\n jnz 1b" : "+r"(count) : : "rcx", "r11", "memory", "cc");
}

static void user_system_calls(uint64_t count)
{
    run_in_user_mode(system_calls, count);
}

static void cli_sti(uint64_t count)
{
    /* Every device is still silent: the PIC's inputs are masked. */
    __asm__ volatile("1: cli\n sti\n dec %0\n jnz 1b\n cli" : "+r"(count) : : "memory", "cc");
}

static void push_pop_flags(uint64_t count)
{
    __asm__ volatile("1: pushfq\n popfq\n dec %0\n jnz 1b" : "+r"(count) : : "memory", "cc");
}

/* -- Ports and queries -- */

static void port_in(uint64_t count)
{
    while (count--)
        in_byte(NO_PORT);
}

static void port_out(uint64_t count)
{
    while (count--)
        out_byte(NO_PORT, 0);
}

static void cpuid(uint64_t count)
{
    while (count--) {
        uint32_t a = 0, b, c = 0, d;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    }
}

static const struct micro_test system_tests[] = {
    {"invlpg + touch", invlpg_touch, 1},        {"#PF + iret", page_fault, 1},
    {"int + iret, ring 0", interrupts, 1},      {"int + iret, ring 3", user_interrupts, 1},
    {"syscall + sysret", user_system_calls, 1}, {"cli + sti", cli_sti, 1},
    {"pushf + popf", push_pop_flags, 1},        {"in, unclaimed port", port_in, 1},
    {"out, unclaimed port", port_out, 1},       {"cpuid", cpuid, 1},
};

static const struct micro_test reload_test = {"CR3 reload", cr3_reload, 1};
static const struct micro_test reload_touch_test = {"CR3 reload + 1 page", cr3_reload_touch, 1};
static const struct micro_test reload_many_test = {"CR3 reload + 33 pages", cr3_reload_touch_many,
                                                   1};
static const struct micro_test pcid_tests[] = {
    {"CR3 switch, PCID, no flush", pcid_switch, 2},
    {"CR3 switch, PCID + 1 page", pcid_switch_touch, 2},
};

/* -- Start -- */

static void set_gate(unsigned vector, const void *entry, unsigned type)
{
    uint64_t address = (uint64_t)entry;
    idt[vector][0] =
        (address & 0xffff) | 0x08u << 16 | (uint64_t)type << 32 | (address >> 16 & 0xffff) << 48;
    idt[vector][1] = address >> 32;
}

/* Channel 2 of the interval timer counts 50 ms down once (mode 0); port 61h shows its output. The
 * shortest of three runs is the one that the host disturbed least. */
static uint64_t measure_tsc_khz(void)
{
    const unsigned ticks = 59659; /* of 1193182 Hz */
    uint64_t shortest = UINT64_MAX;
    out_byte(0x61, (in_byte(0x61) & ~2u) | 1);
    for (int run = 0; run < 3; run++) {
        out_byte(0x43, 0xb0);
        out_byte(0x42, ticks & 0xff);
        out_byte(0x42, ticks >> 8);
        uint64_t start = read_tsc();
        while (!(in_byte(0x61) & 0x20))
            ;
        uint64_t taken = read_tsc() - start;
        shortest = taken < shortest ? taken : shortest;
    }
    return shortest / 50;
}

static int has_pcid(void)
{
    uint32_t a = 1, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return c >> 17 & 1;
}

void kernel_main(void)
{
    out_byte(0x21, 0xff);
    out_byte(0xa1, 0xff);
    for (unsigned vector = 0; vector < 32; vector++)
        set_gate(vector, exception_entries + vector * 16, GATE_KERNEL);
    set_gate(14, page_fault_entry, GATE_KERNEL);
    set_gate(0x40, interrupt_entry, GATE_USER);
    set_gate(0x41, user_end_entry, GATE_USER);
    write_msr(MSR_STAR, UINT64_C(0x0013000800000000));
    write_msr(MSR_LSTAR, (uint64_t)syscall_entry);
    write_msr(MSR_SFMASK, 0x47700);
    out_byte(SERIAL + 3, 0x83); /* 115200 baud, 8 bits, no parity */
    out_byte(SERIAL, 1);
    out_byte(SERIAL + 1, 0);
    out_byte(SERIAL + 3, 3);

    uint64_t khz = measure_tsc_khz(), run = khz * RUN_MS;
    print("micro tsc_khz ");
    print_number(khz);
    print("\n");

    micro_data = (uint8_t *)TEST_PAGES + 64 * PAGE_SIZE;
    micro_code = (uint8_t *)TEST_PAGES + 128 * PAGE_SIZE;
    for (const struct micro_test *test = micro_user_tests; test->name; test++)
        print_result(test->name, micro_measure(test, run));

    uint64_t touch = micro_measure(&reload_touch_test, run);
    uint64_t many = micro_measure(&reload_many_test, run);
    print_result(reload_test.name, micro_measure(&reload_test, run));
    print_result(reload_touch_test.name, touch);
    print_result("refill of a page", many > touch ? (many - touch) / 32 : 0);
    if (has_pcid()) {
        write_cr4(read_cr4() | CR4_PCIDE);
        for (size_t i = 0; i < sizeof pcid_tests / sizeof *pcid_tests; i++)
            print_result(pcid_tests[i].name, micro_measure(&pcid_tests[i], run));
        write_cr4(read_cr4() & ~(uint64_t)CR4_PCIDE);
    }
    for (size_t i = 0; i < sizeof system_tests / sizeof *system_tests; i++)
        print_result(system_tests[i].name, micro_measure(&system_tests[i], run));
    print("micro end\n");
    end(0);
}
