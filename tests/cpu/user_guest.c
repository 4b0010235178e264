/*
 * The guest of the oracle. Physical memory:
 *
 *     0x1000 PML4   0x2000 PDPT   0x3000 page directory   0x4000 page table of USER_BASE
 *     0x5000 GDT    0x5800 LDT    0x6000 IDT    0x7000 TSS
 *     0x8000 handlers: vector * 16 is a HLT
 *     0xa000 top of the supervisor's stack      0xb000 PDPT   0xc000 page directory
 *     0x10000 USER_BASE and on
 *
 * The supervisor sees it from SUPERVISOR on, out of the way of the program's wild pointers.
 * Each exception arrives at the HLT of its vector; cpu_run() then returns, and the frame on the
 * supervisor's stack tells the rest.
 */
#include "tests/cpu/user_guest.h"
#include "tests/cpu/board.h"

#include "cpu/isa.h"
#include "cpu/system.h"

#define USER_RAM            (1u << 20)
#define GDT                 0x5000u
#define LDT                 0x5800u
#define IDT                 0x6000u
#define TSS                 0x7000u
#define HANDLERS            0x8000u
#define STACK_TOP           0xa000u
#define SELECTOR_SUPERVISOR 0x10
#define SUPERVISOR          0xffff800000000000ull
#define AVL                 1u /* Linux: "useable" */
#define USER_PHYSICAL       0x10000u

struct user_machine {
    struct user_guest guest;
    struct board *board;
};

static void put64(struct board *board, uint64_t gpa, uint64_t value)
{
    memcpy(board->ram + gpa, &value, 8);
}

static uint64_t descriptor(uint64_t base, uint64_t limit, unsigned access, unsigned flags)
{
    return (limit & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)access << 40 |
           (limit >> 16 & 15) << 48 | (uint64_t)flags << 52 | (base >> 24) << 56;
}

/* The same as Linux's, as far as a program can find out, and the local ones of user_segments. */
static void make_descriptors(struct board *board, uint32_t cpu_number_limit)
{
    put64(board, GDT + 0x08, descriptor(0, 0xfffff, 0x9b, 0xc));
    put64(board, GDT + 0x10, descriptor(0, 0xfffff, 0x9b, 0xa));
    put64(board, GDT + 0x18, descriptor(0, 0xfffff, 0x93, 0xc));
    put64(board, GDT + 0x20, descriptor(0, 0xfffff, 0xfb, 0xc));
    put64(board, GDT + 0x28, descriptor(0, 0xfffff, 0xf3, 0xc));
    put64(board, GDT + 0x30, descriptor(0, 0xfffff, 0xfb, 0xa));
    put64(board, GDT + 0x40, descriptor(TSS, 103, 0x8b, 0));
    put64(board, GDT + 0x48, SUPERVISOR >> 32);
    put64(board, GDT + 0x50, descriptor(LDT, 8 * USER_SEGMENTS + 7, 0x82, 0));
    put64(board, GDT + 0x58, SUPERVISOR >> 32);
    put64(board, GDT + 0x78, descriptor(0, cpu_number_limit, 0xf5, 4));
    for (unsigned i = 0; i < USER_SEGMENTS; i++) {
        const struct user_segment *s = &user_segments[i];
        unsigned access = (s->not_present ? 0x71 : 0xf1) | (unsigned)s->contents << 2 |
                          (s->read_exec_only ? 0 : 2);
        put64(board, LDT + 8 * (i + 1),
              descriptor(s->base, s->limit, access, (s->pages ? 8u : 0) | (s->big ? 4u : 0) | AVL));
    }
}

static void make_tables(struct board *board, uint32_t cpu_number_limit)
{
    enum { P = 1, W = 2, U = 4, LARGE = 0x80 };
    const uint64_t no_execute = 1ull << 63;
    put64(board, 0x1000, 0x2000 | P | W | U);
    put64(board, 0x2000, 0x3000 | P | W | U);
    put64(board, 0x1000 + 8 * 256, 0xb000 | P | W);
    put64(board, 0xb000, 0xc000 | P | W);
    put64(board, 0xc000, 0 | P | W | LARGE);
    put64(board, 0x3000 + 8 * (USER_BASE >> 21), 0x4000 | P | W | U);
    unsigned page = USER_CODE >> 12 & 511;
    put64(board, 0x4000 + 8 * page, (USER_PHYSICAL + (USER_CODE - USER_BASE)) | P | U);
    for (unsigned at = 0; at < USER_DATA_SIZE; at += USER_PAGE) {
        page = (USER_DATA + at) >> 12 & 511;
        put64(board, 0x4000 + 8 * page,
              (USER_PHYSICAL + (USER_DATA - USER_BASE) + at) | P | W | U | no_execute);
    }
    make_descriptors(board, cpu_number_limit);
    for (unsigned vector = 0; vector < 256; vector++) {
        uint64_t handler = SUPERVISOR + HANDLERS + vector * 16;
        uint64_t access = vector == EXC_BP || vector == EXC_OF ? 0xee : 0x8e;
        put64(board, IDT + vector * 16,
              (handler & 0xffff) | (uint64_t)SELECTOR_SUPERVISOR << 16 | access << 40 |
                  (handler >> 16) << 48);
        put64(board, IDT + vector * 16 + 8, handler >> 32);
        board->ram[HANDLERS + vector * 16] = 0xf4;
    }
    put64(board, TSS + 4, SUPERVISOR + STACK_TOP);
    put64(board, TSS + 96, 104ull << 48); /* no I/O permission bitmap */
}

struct user_guest *user_guest_new(const struct accel *accel, uint32_t cpu_number_limit)
{
    struct user_machine *machine = calloc(1, sizeof *machine);
    struct board *board = board_new(USER_RAM, "max", accel);
    struct cpu *cpu = board->cpu;
    machine->board = board;
    machine->guest.cpu = cpu;
    machine->guest.data = board->ram + USER_PHYSICAL + (USER_DATA - USER_BASE);
    make_tables(board, cpu_number_limit);
    cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    cpu->cr4 =
        (CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE) & cpu_cr4_mask(cpu);
    cpu->tsc_aux = cpu_number_limit & 0xfff; /* as Linux numbers processors */
    cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    cpu->cr3 = 0x1000;
    machine->guest.has_avx = feature_test(cpu->features, FEATURE_AVX);
    cpu->xcr0 = machine->guest.has_avx ? 7 : 3;
    cpu->gdtr.base = SUPERVISOR + GDT;
    cpu->gdtr.limit = 0x7f;
    cpu->idtr.base = SUPERVISOR + IDT;
    cpu->idtr.limit = 0xfff;
    cpu->seg[SEG_TR] = (struct segment){.base = SUPERVISOR + TSS,
                                        .limit = 103,
                                        .selector = 0x40,
                                        .attr = SEGMENT_P | TYPE_TSS32_BUSY};
    cpu->seg[SEG_LDTR] = (struct segment){.base = SUPERVISOR + LDT,
                                          .limit = 8 * USER_SEGMENTS + 7,
                                          .selector = 0x50,
                                          .attr = SEGMENT_P | TYPE_LDT};
    cpu_update_mode(cpu);
    paging_switch(cpu, false);
    tlb_flush_all(cpu);
    return &machine->guest;
}

void user_guest_free(struct user_guest *guest)
{
    struct user_machine *machine = (struct user_machine *)guest;
    board_free(machine->board);
    free(machine);
}

/* Loads the program's segments as the instructions that come before it on the host do. */
static void set_segments(struct board *board, int bits, const struct user_state *state)
{
    static const uint16_t code[] = {USER_SELECTOR_CODE16, USER_SELECTOR_CODE32,
                                    USER_SELECTOR_CODE64};
    struct cpu *cpu = board->cpu;
    for (unsigned i = 0; i < 6; i++) {
        uint16_t selector = state->selector[i];
        if (i == SEG_CS)
            selector = code[bits / 32];
        else if (i == SEG_SS)
            selector = bits == 16 ? USER_SELECTOR_DATA16 : USER_SELECTOR_DATA;
        struct descriptor d = {0};
        memcpy(&d, board->ram + (selector & 4 ? LDT : GDT) + (selector & ~7u), 8);
        cpu->seg[i] = (struct segment){.selector = selector};
        if (selector > 3)
            segment_fill(&cpu->seg[i], selector, &d);
    }
    if (bits == 64) {
        cpu->seg[SEG_FS].base = state->fs_base;
        cpu->seg[SEG_GS].base = state->gs_base;
    }
}

static uint64_t get(const uint8_t *from, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, from, size);
    return value;
}

static void load_fx(struct cpu *cpu, const uint8_t *fx)
{
    struct x87 *x87 = &cpu->x87;
    memset(x87, 0, sizeof *x87);
    x87->control = (uint16_t)get(fx + FX_FCW, 2);
    x87->status = (uint16_t)get(fx + FX_FSW, 2) & 0xc7ff;
    x87->top = get(fx + FX_FSW, 2) >> 11 & 7;
    x87->empty = (uint8_t)~fx[FX_FTW];
    for (unsigned i = 0; i < 8; i++) {
        x87->reg[(x87->top + i) & 7].mantissa = get(fx + FX_ST + 16 * i, 8);
        x87->reg[(x87->top + i) & 7].exponent = (uint16_t)get(fx + FX_ST + 16 * i + 8, 2);
    }
    cpu->mxcsr = (uint32_t)get(fx + FX_MXCSR, 4);
    for (unsigned i = 0; i < 16; i++)
        memcpy(&cpu->xmm[i], fx + FX_XMM + 16 * i, 16);
    for (unsigned i = 0; i < 16; i++)
        memcpy(&cpu->xmm[i].u64[2], fx + FX_YMM + 16 * i, 16);
}

static void save_fx(const struct cpu *cpu, uint8_t *fx)
{
    const struct x87 *x87 = &cpu->x87;
    uint16_t status = (uint16_t)(x87->status | x87->top << 11);
    memcpy(fx + FX_FCW, &x87->control, 2);
    memcpy(fx + FX_FSW, &status, 2);
    fx[FX_FTW] = (uint8_t)~x87->empty;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(fx + FX_ST + 16 * i, &x87->reg[(x87->top + i) & 7].mantissa, 8);
        memcpy(fx + FX_ST + 16 * i + 8, &x87->reg[(x87->top + i) & 7].exponent, 2);
    }
    memcpy(fx + FX_MXCSR, &cpu->mxcsr, 4);
    for (unsigned i = 0; i < 16; i++)
        memcpy(fx + FX_XMM + 16 * i, &cpu->xmm[i], 16);
    for (unsigned i = 0; i < 16; i++)
        memcpy(fx + FX_YMM + 16 * i, &cpu->xmm[i].u64[2], 16);
}

/* The frame that delivery of an exception left: [error] RIP CS RFLAGS RSP SS. */
static void read_frame(const struct board *board, struct user_state *state)
{
    const struct cpu *cpu = board->cpu;
    const uint8_t *frame = board->ram + (cpu->gpr[RSP] - SUPERVISOR);
    state->vector = (int)(cpu->rip - SUPERVISOR - HANDLERS) / 16;
    state->error = 0;
    if (cpu->gpr[RSP] == SUPERVISOR + STACK_TOP - 48) {
        state->error = get(frame, 8);
        frame += 8;
    }
    state->cr2 = state->vector == EXC_PF ? cpu->cr2 : 0;
    state->rip = get(frame, 8);
    state->selector[SEG_CS] = (uint16_t)get(frame + 8, 8);
    state->selector[SEG_SS] = (uint16_t)get(frame + 32, 8);
    state->eflags = get(frame + 16, 8);
    state->gpr[RSP] = get(frame + 24, 8);
}

void user_guest_run(struct user_guest *guest, int bits, const uint8_t *code, size_t length,
                    struct user_state *state)
{
    struct board *board = ((struct user_machine *)guest)->board;
    struct cpu *cpu = board->cpu;
    const uint64_t code_gpa = USER_PHYSICAL + (USER_CODE - USER_BASE);
    const uint64_t start = bits == 16 ? USER_CODE - USER_BASE : USER_CODE;

    user_place_code(board->ram + code_gpa, bits, code, length);
    code_written(board->code, code_gpa, USER_PAGE);
    memcpy(cpu->gpr, state->gpr, sizeof state->gpr);
    load_fx(cpu, state->fx);
    cpu->eflags = (uint32_t)state->eflags;
    cpu->rip = start;
    cpu->halted = false;
    set_segments(board, bits, state);
    cpu_update_mode(cpu);

    enum cpu_exit exit = cpu_run(cpu);
    if (exit == CPU_EXIT_STOPPED)
        exit = cpu_run(cpu);
    memcpy(state->gpr, cpu->gpr, sizeof state->gpr);
    save_fx(cpu, state->fx);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        state->selector[i] = cpu->seg[i].selector;
    state->fs_base = cpu->seg[SEG_FS].base;
    state->gs_base = cpu->seg[SEG_GS].base;
    if (exit != CPU_EXIT_HALTED) {
        state->vector = exit == CPU_EXIT_STOPPED ? VECTOR_ENDLESS : EXC_DF;
        return;
    }
    read_frame(board, state);
    /* The jump to the exit faults, or its target does, or it is traced. */
    bool jumped = state->rip == USER_EXIT && state->selector[SEG_CS] == USER_EXIT_SELECTOR;
    bool jumps = state->cr2 == USER_EXIT_POINTER; /* in a segment of whatever base */
    if ((jumped && state->vector == EXC_DB) || ((jumped || jumps) && state->vector == EXC_PF)) {
        state->vector = VECTOR_END;
        state->rip = start + length;
    }
}
