/*
 * Hostile guests: random instructions with a bias towards system ones, in every mode, with damaged
 * descriptor tables, page tables, TSS, breakpoints and interrupts. Nothing is compared: the
 * processor must neither crash nor hang (build with SANITIZE=1 to see what a crash hides). An
 * argument sets the seed, a second one the number of guests.
 */
#include "cpu/log.h"
#include "tests/cpu/guest.h"

#include <signal.h>
#include <sys/time.h>

static uint64_t state;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static bool chance(unsigned one_in)
{
    return next_random() % one_in == 0;
}

/* -- What a guest may be like -- */

enum { LONG, PROTECTED, REAL, V86, MODES };

static void set_up_mode(struct board *board, unsigned mode)
{
    struct cpu *cpu = board->cpu;
    if (mode == LONG)
        guest_long(board);
    else
        guest_protected(board);
    if (mode == REAL) {
        cpu_reset(cpu);
        segment_set_real(cpu, SEG_CS, GUEST_CODE >> 4);
        cpu->rip = 0;
        cpu->idtr.limit = 0x3ff;
    } else if (mode == V86) {
        cpu->eflags = FLAG_VM | FLAG_FIXED | (next_random() & FLAG_IOPL);
        for (unsigned seg = 0; seg < 6; seg++)
            segment_set_v86(cpu, seg, GUEST_CODE >> 4);
        cpu->rip = 0;
        cpu->gpr[RSP] = 0x8000;
        cpu->cr4 |= next_random() & (CR4_VME | CR4_PVI);
    } else if (chance(2)) {
        guest_enter_ring3(board);
    }
    cpu->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (mode == LONG)
        cpu->cr4 |=
            next_random() & (CR4_PCIDE | CR4_FSGSBASE | CR4_OSXSAVE | CR4_PGE | CR4_UMIP | CR4_TSD);
}

static void damage_tables(struct board *board)
{
    if (chance(4))
        for (unsigned i = 0; i < 16; i++)
            guest_set_gdt(board, GUEST_FREE + i * 8, next_random());
    if (chance(4))
        for (unsigned i = 0; i < 64; i++)
            guest_put(board, GUEST_TABLES + (next_random() & 0x3ff8),
                      next_random() & 0x8000000000ffffff, 8);
    if (chance(4))
        for (unsigned i = 0; i < 32; i++)
            guest_put(board, GUEST_IDT + (next_random() & 0xff8), next_random(), 8);
    if (chance(4))
        for (unsigned i = 0; i < 32; i++)
            guest_put(board, GUEST_TSS + (next_random() & 0x7c), next_random(), 4);
}

static void set_registers(struct cpu *cpu, unsigned mode)
{
    for (unsigned i = 0; i < 16; i++) {
        const uint64_t values[] = {next_random(), next_random() & 0xffff,
                                   GUEST_STACK0 + (next_random() & 0xffff), next_random() & 0x3f,
                                   GUEST_FREE + (next_random() & 0x7f)};
        uint64_t value = values[next_random() % 5];
        if (i != RSP || chance(4))
            cpu->gpr[i] = mode == LONG ? value : (uint32_t)value;
    }
    if (chance(8))
        cpu->eflags |= FLAG_TF;
    if (chance(8)) {
        cpu->eflags |= FLAG_AC;
        cpu->cr0 |= CR0_AM;
    }
    if (chance(8)) {
        cpu->dr[7] |= next_random() & 0xffff00ff;
        for (unsigned i = 0; i < 4; i++)
            cpu->dr[i] = next_random() & 0x1ffff;
    }
}

static void write_code(struct board *board)
{
    static const uint8_t likely[] = {0x0f, 0x0f, 0x0f, 0xcf, 0xcb, 0xca, 0x9a, 0xea, 0xcd,
                                     0x8e, 0xff, 0xc4, 0xc5, 0xf3, 0x66, 0x67, 0x9c, 0x9d,
                                     0xfa, 0xfb, 0xe4, 0x6c, 0x6e, 0x1f, 0x17, 0x48};
    static const uint8_t second[] = {0x00, 0x01, 0x01, 0x01, 0x02, 0x03, 0x05, 0x06,
                                     0x07, 0x20, 0x21, 0x22, 0x23, 0x30, 0x32, 0x34,
                                     0x35, 0xa2, 0xb2, 0xb4, 0xae, 0xc7, 0xaa, 0x33};
    uint8_t code[256];
    for (unsigned i = 0; i < sizeof code; i++)
        code[i] = (uint8_t)next_random();
    for (unsigned i = 0; i < 200; i += 1 + next_random() % 12) {
        code[i] = likely[next_random() % sizeof likely];
        if (code[i] == 0x0f)
            code[++i] = second[next_random() % sizeof second];
    }
    guest_code_at(board, GUEST_CODE, code, sizeof code);
}

/* -- Running them -- */

static struct cpu *volatile running;

/* Ends loops and endless string instructions. */
static void on_alarm(int signal_number)
{
    if (running)
        cpu_post(running, EVENT_STOP);
}

static void run_guest(struct board *board)
{
    struct cpu *cpu = board->cpu;
    unsigned mode = (unsigned)(next_random() % MODES);
    set_up_mode(board, mode);
    damage_tables(board);
    set_registers(cpu, mode);
    write_code(board);
    board_ram_changed(board);
    cpu_update_mode(cpu);
    board->irq = (int)(next_random() & 0xff);
    if (chance(2))
        cpu_run(cpu);
    for (unsigned i = 0; i < 100 && !cpu->halted && !cpu->shutdown; i++)
        cpu_step(cpu);
    board->irq = -1;
    atomic_store(&cpu->event, 0);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    unsigned guests = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 2000;
    struct itimerval every = {{0, 5000}, {0, 5000}};

    state = seed * 0x9e3779b97f4a7c15ull + 1;
    log_items = 0;
    struct board *board = board_new(4 << 20, "default,+monitor", &accel_interpreter);
    running = board->cpu;
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &every, NULL);
    for (unsigned i = 0; i < guests; i++)
        run_guest(board);
    running = NULL;
    board_free(board);
    printf("%u hostile guests, seed %llu: the processor survived\n", guests,
           (unsigned long long)seed);
    return 0;
}
