/*
 * The guest of the oracle. Physical memory:
 *
 *     0x1000 PML4   0x2000 PDPT   0x3000 page directory   0x4000 page table of USER_BASE
 *     0x5000 GDT    0x6000 IDT    0x7000 TSS    0x8000 handlers: vector * 16 is a HLT
 *     0xa000 top of the supervisor's stack      0xb000 PDPT   0xc000 page directory
 *     0x10000 USER_BASE and on
 *
 * The supervisor sees it from SUPERVISOR on, out of the way of the program's wild pointers.
 * Each exception arrives at the HLT of its vector; cpu_run() then returns, and the frame on the
 * supervisor's stack tells the rest.
 */
#include "tests/cpu/user_guest.h"
#include "tests/cpu/board.h"

#include "cpu/system.h"

#define USER_RAM      (1u << 20)
#define GDT           0x5000u
#define IDT           0x6000u
#define TSS           0x7000u
#define HANDLERS      0x8000u
#define STACK_TOP     0xa000u
#define SUPERVISOR    0xffff800000000000ull
#define USER_PHYSICAL 0x10000u

struct user_machine {
    struct user_guest guest;
    struct board *board;
};

static void put64(struct board *board, uint64_t gpa, uint64_t value)
{
    memcpy(board->ram + gpa, &value, 8);
}

static void make_tables(struct board *board)
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
    put64(board, GDT + 8, 0x00af9b000000ffff); /* supervisor's code */
    put64(board, GDT + 16, 0x00cf93000000ffff);
    for (unsigned vector = 0; vector < 256; vector++) {
        uint64_t handler = SUPERVISOR + HANDLERS + vector * 16;
        put64(board, IDT + vector * 16,
              (handler & 0xffff) | 8ull << 16 | 0xeeull << 40 | (handler >> 16) << 48);
        put64(board, IDT + vector * 16 + 8, handler >> 32);
        board->ram[HANDLERS + vector * 16] = 0xf4;
    }
    put64(board, TSS + 4, SUPERVISOR + STACK_TOP);
    put64(board, TSS + 96, 104ull << 48); /* no I/O permission bitmap */
}

struct user_guest *user_guest_new(const struct accel *accel)
{
    struct user_machine *machine = calloc(1, sizeof *machine);
    struct board *board = board_new(USER_RAM, "default", accel);
    struct cpu *cpu = board->cpu;
    machine->board = board;
    machine->guest.cpu = cpu;
    machine->guest.data = board->ram + USER_PHYSICAL + (USER_DATA - USER_BASE);
    make_tables(board);
    cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
    cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    cpu->cr3 = 0x1000;
    cpu->xcr0 = 3;
    cpu->gdtr.base = SUPERVISOR + GDT;
    cpu->gdtr.limit = 0xff;
    cpu->idtr.base = SUPERVISOR + IDT;
    cpu->idtr.limit = 0xfff;
    cpu->seg[SEG_TR] = (struct segment){
        .base = SUPERVISOR + TSS, .limit = 103, .attr = SEGMENT_P | TYPE_TSS32_BUSY};
    cpu->seg[SEG_LDTR] = (struct segment){.attr = 0};
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

static void set_segments(struct cpu *cpu, int bits)
{
    const uint16_t common =
        SEGMENT_P | SEGMENT_S | SEGMENT_RW | SEGMENT_ACCESSED | 3 << SEGMENT_DPL_SHIFT;
    const uint16_t size = bits == 16 ? 0 : SEGMENT_DB | SEGMENT_G;
    struct segment data = {.base = bits == 16 ? USER_BASE : 0,
                           .limit = bits == 16 ? 0xffff : 0xffffffff,
                           .selector = bits == 16 ? 0x17 : 0x2b,
                           .attr = common | size};
    struct segment code = data;
    code.selector = bits == 16 ? 0xf : bits == 32 ? 0x23 : 0x33;
    code.attr = common | SEGMENT_CODE | (bits == 64 ? SEGMENT_L | SEGMENT_G : size);
    cpu->seg[SEG_CS] = code;
    cpu->seg[SEG_DS] = cpu->seg[SEG_ES] = cpu->seg[SEG_SS] = data;
    cpu->seg[SEG_FS] = cpu->seg[SEG_GS] = (struct segment){.attr = 0};
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
    set_segments(cpu, bits);
    cpu_update_mode(cpu);

    enum cpu_exit exit = cpu_run(cpu);
    memcpy(state->gpr, cpu->gpr, sizeof state->gpr);
    save_fx(cpu, state->fx);
    if (exit != CPU_EXIT_HALTED) {
        state->vector = EXC_DF;
        cpu_reset(cpu);
        return;
    }
    read_frame(board, state);
    if (state->rip == start + length && state->vector == (bits == 64 ? EXC_PF : EXC_GP))
        state->vector = VECTOR_END; /* the jump to the exit faulted */
}
