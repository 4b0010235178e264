/* Exceptions, interrupts, gates, task switches, virtual-8086 mode, debug traps. */
#include "tests/cpu/guest.h"

#include <check.h>

static struct board *board;
static struct cpu *cpu;

static void setup(void)
{
    board = board_new(16 << 20, "default", &accel_interpreter);
    cpu = board->cpu;
}

static void teardown(void)
{
    board_free(board);
}

/* -- Protected mode -- */

START_TEST(fault_pushes_its_own_address)
{
    guest_protected(board);
    cpu->eflags |= FLAG_IF | FLAG_CF;
    ck_assert_int_eq(GUEST_RUN(board, 0x90, 0x0f, 0x0b), EXC_UD); /* NOP; UD2 */
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE + 1);
    ck_assert_uint_eq(guest_frame(board, 1), GUEST_CS0);
    ck_assert_uint_eq(guest_frame(board, 2), FLAG_RF | FLAG_IF | FLAG_CF | FLAG_FIXED);
    ck_assert_uint_eq(cpu->gpr[RSP], GUEST_STACK0 - 12);
    ck_assert(!(cpu->eflags & FLAG_IF));
}
END_TEST

START_TEST(software_interrupt_pushes_the_next_address)
{
    guest_protected(board);
    ck_assert_int_eq(GUEST_RUN(board, 0xcd, 0x80), 0x80);
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE + 2);
    ck_assert_uint_eq(guest_frame(board, 2), FLAG_FIXED);
}
END_TEST

START_TEST(interrupt_from_ring3_switches_stacks)
{
    guest_protected(board);
    guest_put(board, GUEST_IDT + 0x80 * 8, guest_gate(GUEST_CS0, GUEST_HANDLERS + 0x800, 0xef), 8);
    guest_enter_ring3(board);
    cpu->eflags |= FLAG_IF;
    ck_assert_int_eq(GUEST_RUN(board, 0xcd, 0x80, 0xf4), 0x80);
    ck_assert_uint_eq(cpu->seg[SEG_SS].selector, GUEST_DS0);
    ck_assert_uint_eq(cpu_cpl(cpu), 0);
    ck_assert_uint_eq(cpu->gpr[RSP], GUEST_STACK0 - 20);
    ck_assert_uint_eq(guest_frame(board, 1), GUEST_CS3);
    ck_assert_uint_eq(guest_frame(board, 3), GUEST_STACK3);
    ck_assert_uint_eq(guest_frame(board, 4), GUEST_DS3);
    ck_assert(cpu->eflags & FLAG_IF); /* trap gate */
    /* And back: IRET. */
    cpu->rip = GUEST_CODE + 0x100;
    ck_assert_int_eq(GUEST_RUN(board, 0xcf), EXC_GP); /* stops at the HLT in ring 3, at +2 */
    ck_assert_uint_eq(guest_frame(board, 1), GUEST_CODE + 2);
    ck_assert_uint_eq(guest_frame(board, 4), GUEST_STACK3);
}
END_TEST

START_TEST(gate_privilege)
{
    guest_protected(board);
    guest_enter_ring3(board);
    ck_assert_int_eq(GUEST_RUN(board, 0xcd, 0x80), EXC_GP); /* DPL 0 gate from ring 3 */
    ck_assert_uint_eq(guest_frame(board, 0), 0x80 * 8 + 2); /* IDT, no EXT */
    guest_protected(board);
    guest_enter_ring3(board);
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x0b), EXC_UD); /* exceptions do not check it */
}
END_TEST

START_TEST(absent_gate_and_ext_bit)
{
    guest_protected(board);
    guest_put(board, GUEST_IDT + 0x80 * 8, guest_gate(GUEST_CS0, 0, 0x0e), 8);
    ck_assert_int_eq(GUEST_RUN(board, 0xcd, 0x80), EXC_NP);
    ck_assert_uint_eq(guest_frame(board, 0), 0x80 * 8 + 2);
    guest_protected(board);
    guest_put(board, GUEST_IDT + EXC_UD * 8, guest_gate(GUEST_CS0, 0, 0x0e), 8);
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x0b), EXC_NP);
    ck_assert_uint_eq(guest_frame(board, 0), EXC_UD * 8 + 2 + 1); /* EXT */
    guest_protected(board);
    guest_put(board, GUEST_IDT + 0x80 * 8, guest_gate(0x70, 0, 0x8e), 8); /* no such segment */
    ck_assert_int_eq(GUEST_RUN(board, 0xcd, 0x80), EXC_GP);
    ck_assert_uint_eq(guest_frame(board, 0), 0x70);
    guest_protected(board);
    cpu->idtr.limit = 0x80 * 8 - 1;
    ck_assert_int_eq(GUEST_RUN(board, 0xcd, 0x80), EXC_GP);
    ck_assert_uint_eq(guest_frame(board, 0), 0x80 * 8 + 2);
}
END_TEST

START_TEST(double_and_triple_fault)
{
    guest_protected(board);
    /* #GP whose gate is absent: #NP meanwhile, both contributory. MOV ES, [limit of GDT] */
    guest_put(board, GUEST_IDT + EXC_GP * 8, guest_gate(GUEST_CS0, 0, 0x0e), 8);
    ck_assert_int_eq(GUEST_RUN(board, 0x66, 0xb8, 0x00, 0x10, 0x8e, 0xc0), EXC_DF);
    ck_assert_uint_eq(guest_frame(board, 0), 0);
    ck_assert_uint_eq(guest_frame(board, 1), GUEST_CODE + 4);
    guest_protected(board);
    cpu->idtr.limit = 0;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x0b), -1);
    ck_assert(cpu->shutdown);
}
END_TEST

START_TEST(external_interrupts_and_shadow)
{
    guest_protected(board);
    cpu->gpr[RAX] = 0x44;
    /* CLI; OUT 0xf5 (raise 0x44); STI; INC ECX; INC EDX: taken after INC ECX. */
    ck_assert_int_eq(GUEST_RUN(board, 0xfa, 0xe6, 0xf5, 0xfb, 0x41, 0x42, 0xf4), 0x44);
    ck_assert_uint_eq(cpu->gpr[RCX], 1);
    ck_assert_uint_eq(cpu->gpr[RDX], 0);
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE + 5);

    guest_protected(board);
    cpu->eflags |= FLAG_IF;
    cpu->gpr[RAX] = 0x44;
    cpu->gpr[RBX] = GUEST_DS0;
    /* OUT raises; the interrupt comes at once, with IF set. */
    ck_assert_int_eq(GUEST_RUN(board, 0xe6, 0xf5, 0x41, 0xf4), 0x44);
    ck_assert_uint_eq(cpu->gpr[RCX], 0);

    guest_protected(board);
    cpu->eflags |= FLAG_IF;
    board->irq = 0x55;
    cpu_post(cpu, EVENT_INTERRUPT);
    cpu->shadow = SHADOW_MOV_SS;
    cpu_post(cpu, EVENT_SHADOW);
    ck_assert_int_eq(GUEST_RUN(board, 0x41, 0x42, 0xf4), 0x55);
    ck_assert_uint_eq(cpu->gpr[RCX], 1);
    ck_assert_uint_eq(cpu->gpr[RDX], 0);
}
END_TEST

START_TEST(nmi_is_blocked_until_iret)
{
    guest_protected(board);
    cpu_post(cpu, EVENT_NMI);
    ck_assert_int_eq(GUEST_RUN(board, 0xf4), EXC_NMI);
    cpu->rip = GUEST_CODE + 0x200;
    cpu_post(cpu, EVENT_NMI);
    ck_assert(!cpu_has_work(cpu));
    ck_assert_int_eq(GUEST_RUN(board, 0xf4), 256);
    cpu->rip = GUEST_CODE + 0x100;
    ck_assert_int_eq(GUEST_RUN(board, 0xcf), EXC_NMI); /* IRET: the second one is delivered */
}
END_TEST

START_TEST(halt_wakes_only_for_what_is_due)
{
    guest_protected(board);
    ck_assert_int_eq(GUEST_RUN(board, 0xf4), 256);
    ck_assert(!cpu_has_work(cpu));
    board->irq = 0x40;
    cpu_post(cpu, EVENT_INTERRUPT);
    ck_assert(!cpu_has_work(cpu)); /* IF is clear */
    ck_assert_int_eq(cpu_run(cpu), CPU_EXIT_HALTED);
    cpu->eflags |= FLAG_IF;
    cpu_post(cpu, EVENT_INTERRUPT);
    ck_assert(cpu_has_work(cpu));
}
END_TEST

/* -- Call gates and far returns -- */

START_TEST(call_gate_copies_parameters)
{
    guest_protected(board);
    uint64_t gate = guest_gate(GUEST_CS0, GUEST_CODE + 0x200, 0xec) | 2ull << 32; /* 2 words */
    guest_set_gdt(board, GUEST_FREE, gate);
    guest_enter_ring3(board);
    board->ram[GUEST_CODE + 0x200] = 0xf4;
    /* PUSH 1; PUSH 2; CALL FAR GUEST_FREE:0 */
    ck_assert_int_eq(GUEST_RUN(board, 0x6a, 1, 0x6a, 2, 0x9a, 0, 0, 0, 0, GUEST_FREE | 3, 0, 0xf4),
                     256);
    ck_assert_uint_eq(cpu_cpl(cpu), 0);
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE + 11);
    ck_assert_uint_eq(guest_frame(board, 1), GUEST_CS3);
    ck_assert_uint_eq(guest_frame(board, 2), 2);
    ck_assert_uint_eq(guest_frame(board, 3), 1);
    ck_assert_uint_eq(guest_frame(board, 4), GUEST_STACK3 - 8);
    ck_assert_uint_eq(guest_frame(board, 5), GUEST_DS3);
    /* RETF 8 returns to ring 3 and releases the parameters on both stacks. */
    cpu->rip = GUEST_CODE + 0x300;
    ck_assert_int_eq(GUEST_RUN(board, 0xca, 8, 0), EXC_GP);
    ck_assert_uint_eq(guest_frame(board, 1), GUEST_CODE + 11);
    ck_assert_uint_eq(guest_frame(board, 4), GUEST_STACK3);
}
END_TEST

START_TEST(far_return_uses_the_users_rights)
{
    /* LRET within ring 3 with SMAP on: the stack is the user's and must be read as such. */
    guest_long(board);
    guest_put(board, GUEST_TABLES + 0x2000, 0x83, 8); /* low 2 MiB: ring 0 */
    cpu->cr4 |= CR4_SMAP | CR4_SMEP;
    tlb_flush_all(cpu);
    guest_enter_ring3(board);
    cpu->gpr[RSP] = 0x500000;
    guest_put(board, 0x500000, 0x600100, 8);
    guest_put(board, 0x500008, GUEST_CS3, 8);
    cpu->rip = 0x600000;
    board->ram[0x600100] = 0xf4;
    ck_assert_int_eq(GUEST_RUN(board, 0x48, 0xcb), EXC_GP); /* the HLT there */
    ck_assert_uint_eq(guest_frame(board, 1), 0x600100);
    ck_assert_uint_eq(guest_frame(board, 4), 0x500010);
}
END_TEST

START_TEST(iret_to_outer_drops_privileged_segments)
{
    guest_protected(board);
    uint32_t sp = GUEST_STACK0 - 20;
    const uint32_t frame[] = {GUEST_CODE + 0x100, GUEST_CS3, FLAG_FIXED, GUEST_STACK3, GUEST_DS3};
    memcpy(board->ram + sp, frame, sizeof frame);
    cpu->gpr[RSP] = sp;
    board->ram[GUEST_CODE + 0x100] = 0xf4;
    ck_assert_int_eq(GUEST_RUN(board, 0xcf), EXC_GP);
    ck_assert_uint_eq(cpu->seg[SEG_DS].selector, 0);
    ck_assert_uint_eq(cpu->seg[SEG_DS].attr & SEGMENT_P, 0);
}
END_TEST

START_TEST(iret_faults_change_nothing)
{
    guest_protected(board);
    uint32_t sp = GUEST_STACK0 - 20;
    const uint32_t frame[] = {GUEST_CODE + 0x100, GUEST_CS3, FLAG_FIXED, GUEST_STACK3, GUEST_DS0};
    memcpy(board->ram + sp, frame, sizeof frame);
    cpu->gpr[RSP] = sp;
    ck_assert_int_eq(GUEST_RUN(board, 0xcf), EXC_GP); /* SS of ring 0 for ring 3 */
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_DS0);
    ck_assert_uint_eq(guest_frame(board, 1), GUEST_CODE);
    ck_assert_uint_eq(cpu->gpr[RSP], sp - 16);
}
END_TEST

/* -- Tasks -- */

enum { TSS2 = 0x5000, TSS2_SELECTOR = GUEST_FREE };

static void make_second_task(uint32_t eip)
{
    guest_set_gdt(board, TSS2_SELECTOR, guest_descriptor(TSS2, 0x67, 0x89, 0));
    guest_put(board, TSS2 + 32, eip, 4);
    guest_put(board, TSS2 + 36, FLAG_FIXED, 4);
    guest_put(board, TSS2 + 40, 0x1111, 4);                /* EAX */
    guest_put(board, TSS2 + 56, GUEST_STACK0 - 0x1000, 4); /* ESP */
    static const uint16_t selectors[] = {GUEST_DS0, GUEST_CS0, GUEST_DS0, GUEST_DS0, 0, 0};
    for (unsigned i = 0; i < 6; i++)
        guest_put(board, TSS2 + 72 + i * 4, selectors[i], 4);
}

START_TEST(task_call_and_return)
{
    guest_protected(board);
    make_second_task(GUEST_CODE + 0x200);
    cpu->gpr[RAX] = 0x2222;
    board->ram[GUEST_CODE + 0x200] = 0xcf; /* IRET: back */
    ck_assert_int_eq(GUEST_RUN(board, 0x9a, 0, 0, 0, 0, TSS2_SELECTOR, 0, 0xf4), 256);
    ck_assert_uint_eq(cpu->rip, GUEST_CODE + 8);
    ck_assert_uint_eq(cpu->gpr[RAX], 0x2222);
    ck_assert_uint_eq(cpu->seg[SEG_TR].selector, GUEST_TR);
    ck_assert_uint_eq(guest_get(board, TSS2, 2), GUEST_TR);             /* link */
    ck_assert_uint_eq(guest_get(board, TSS2 + 40, 4), 0x1111);          /* saved EAX */
    ck_assert_uint_eq(board->ram[GUEST_GDT + TSS2_SELECTOR + 5], 0x89); /* not busy any more */
    ck_assert_uint_eq(board->ram[GUEST_GDT + GUEST_TR + 5], 0x8b);
    ck_assert(cpu->cr0 & CR0_TS);
    ck_assert(!(cpu->eflags & FLAG_NT));
}
END_TEST

START_TEST(task_gate_for_an_exception)
{
    guest_protected(board);
    make_second_task(GUEST_CODE + 0x200);
    guest_put(board, GUEST_IDT + EXC_GP * 8, guest_gate(TSS2_SELECTOR, 0, 0x85), 8);
    board->ram[GUEST_CODE + 0x200] = 0xf4;
    ck_assert_int_eq(GUEST_RUN(board, 0x66, 0xb8, 0x00, 0x10, 0x8e, 0xc0), 256);
    ck_assert_uint_eq(cpu->gpr[RAX], 0x1111);
    ck_assert_uint_eq(guest_frame(board, 0), 0x1000); /* error code on the new stack */
    ck_assert_uint_eq(cpu->gpr[RSP], GUEST_STACK0 - 0x1000 - 4);
    ck_assert_uint_eq(guest_get(board, GUEST_TSS + 32, 4), GUEST_CODE + 4);
    ck_assert(cpu->eflags & FLAG_NT);
}
END_TEST

START_TEST(task_switch_refusals)
{
    guest_protected(board);
    make_second_task(GUEST_CODE);
    board->ram[GUEST_GDT + TSS2_SELECTOR + 5] = 0x8b; /* busy */
    ck_assert_int_eq(GUEST_RUN(board, 0xea, 0, 0, 0, 0, TSS2_SELECTOR, 0), EXC_GP);
    ck_assert_uint_eq(guest_frame(board, 0), TSS2_SELECTOR);
    guest_protected(board);
    make_second_task(GUEST_CODE);
    board->ram[GUEST_GDT + TSS2_SELECTOR] = 0x66; /* limit too small */
    ck_assert_int_eq(GUEST_RUN(board, 0xea, 0, 0, 0, 0, TSS2_SELECTOR, 0), EXC_TS);
    ck_assert_uint_eq(guest_frame(board, 0), TSS2_SELECTOR);
}
END_TEST

/* -- Virtual-8086 mode -- */

static void enter_v86(uint32_t eflags)
{
    guest_protected(board);
    cpu->eflags = eflags | FLAG_VM | FLAG_FIXED;
    for (unsigned seg = 0; seg < 6; seg++)
        segment_set_v86(cpu, seg, 0x1000);
    cpu->rip = 0;
    cpu->gpr[RSP] = 0x8000;
    cpu_update_mode(cpu);
}

/* Code at 1000:0000. */
#define V86_RUN(...)                                                                               \
    guest_run_at(board, 0x10000, (const uint8_t[]){__VA_ARGS__},                                   \
                 sizeof((const uint8_t[]){__VA_ARGS__}))

START_TEST(v86_exception_frame)
{
    enter_v86(FLAG_IOPL);
    ck_assert_int_eq(V86_RUN(0x0f, 0x0b), EXC_UD);
    ck_assert(!(cpu->eflags & FLAG_VM));
    ck_assert_uint_eq(guest_frame(board, 0), 0);
    ck_assert_uint_eq(guest_frame(board, 1), 0x1000);
    ck_assert(guest_frame(board, 2) & FLAG_VM);
    ck_assert_uint_eq(guest_frame(board, 3), 0x8000);
    for (unsigned i = 4; i < 9; i++)
        ck_assert_uint_eq(guest_frame(board, i), 0x1000); /* SS ES DS FS GS */
    ck_assert_uint_eq(cpu->seg[SEG_DS].selector, 0);
    /* IRET brings it all back; the UD2 faults again. */
    cpu->rip = GUEST_CODE + 0x100;
    ck_assert_int_eq(GUEST_RUN(board, 0xcf), EXC_UD);
    ck_assert_uint_eq(guest_frame(board, 8), 0x1000);
}
END_TEST

START_TEST(v86_sensitive_instructions)
{
    static const uint8_t sensitive[] = {0xfa, 0xfb, 0x9c, 0x9d, 0xcf};
    for (unsigned i = 0; i < sizeof sensitive; i++) {
        enter_v86(0);
        ck_assert_int_eq(V86_RUN(sensitive[i]), EXC_GP);
        ck_assert_uint_eq(guest_frame(board, 0), 0);
    }
    enter_v86(0);
    ck_assert_int_eq(V86_RUN(0xcd, 0x21), EXC_GP); /* INT n */
    enter_v86(0);
    guest_put(board, GUEST_IDT + 3 * 8, guest_gate(GUEST_CS0, GUEST_HANDLERS + 3 * 16, 0xee), 8);
    ck_assert_int_eq(V86_RUN(0xcc), EXC_BP); /* INT3 is not */
    enter_v86(FLAG_IOPL);
    ck_assert_int_eq(V86_RUN(0xfb, 0xfa, 0x9c, 0x9d, 0xf4), EXC_GP); /* HLT needs ring 0 */
    ck_assert_uint_eq(guest_frame(board, 1), 4);
}
END_TEST

START_TEST(vme_redirects_interrupts)
{
    enter_v86(FLAG_VIF);
    cpu->cr4 |= CR4_VME;
    guest_put(board, GUEST_TSS + 102, 0x100, 2); /* redirection map at 0xe0: all zero */
    /* The table at linear 0 is also our IDT: vector 0x90 as a real-mode vector. */
    guest_put(board, 0x90 * 4, 0x10000100, 4); /* 1000:0100 */
    board->ram[0x10100] = 0xf4;                /* HLT: #GP, to look at the state */
    ck_assert_int_eq(V86_RUN(0xcd, 0x90), EXC_GP);
    ck_assert_uint_eq(guest_frame(board, 1), 0x100);
    ck_assert_uint_eq(guest_frame(board, 4), 0x8000 - 6);
    ck_assert(!(guest_frame(board, 3) & FLAG_VIF));
    ck_assert_uint_eq(guest_get(board, 0x10000 + 0x8000 - 6, 2), 2);
    ck_assert_uint_eq(guest_get(board, 0x10000 + 0x8000 - 2, 2),
                      FLAG_IOPL | FLAG_IF | FLAG_FIXED); /* VIF shown as IF, IOPL as 3 */
}
END_TEST

/* -- Long mode -- */

START_TEST(long_mode_frame_and_ist)
{
    guest_long(board);
    cpu->gpr[RSP] = GUEST_STACK0 - 4; /* not aligned */
    ck_assert_int_eq(GUEST_RUN(board, 0xcd, 0x80), 0x80);
    ck_assert_uint_eq(cpu->gpr[RSP], GUEST_STACK0 - 16 - 40);
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE + 2);
    ck_assert_uint_eq(guest_frame(board, 3), GUEST_STACK0 - 4);
    ck_assert_uint_eq(guest_frame(board, 4), GUEST_DS0);

    guest_long(board);
    guest_put(board, GUEST_TSS + 36, 0x28000, 8); /* IST1 */
    board->ram[GUEST_IDT + 0x80 * 16 + 4] = 1;
    ck_assert_int_eq(GUEST_RUN(board, 0xcd, 0x80), 0x80);
    ck_assert_uint_eq(cpu->gpr[RSP], 0x28000 - 40);

    guest_long(board);
    guest_enter_ring3(board);
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x0b), EXC_UD);
    ck_assert_uint_eq(cpu->seg[SEG_SS].selector, 0);
    ck_assert_uint_eq(cpu_cpl(cpu), 0);
    ck_assert_uint_eq(guest_frame(board, 4), GUEST_DS3);
    cpu->rip = GUEST_CODE + 0x100;
    ck_assert_int_eq(GUEST_RUN(board, 0x48, 0xcf), EXC_UD); /* IRETQ: to the UD2 again */
    ck_assert_uint_eq(guest_frame(board, 3), GUEST_STACK3);
}
END_TEST

START_TEST(syscall_and_sysret)
{
    guest_long(board);
    cpu->star = (uint64_t)GUEST_CS0 << 32 | (uint64_t)GUEST_DS0 << 48;
    cpu->lstar = GUEST_CODE + 0x200;
    cpu->sfmask = FLAG_IF | FLAG_TF;
    guest_enter_ring3(board);
    cpu->eflags |= FLAG_IF;
    guest_code_at(board, GUEST_CODE + 0x200, (const uint8_t[]){0xf4, 0x48, 0x0f, 0x07}, 4);
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x05), 256);
    ck_assert_uint_eq(cpu->rip, GUEST_CODE + 0x201);
    ck_assert_uint_eq(cpu->gpr[RCX], GUEST_CODE + 2);
    ck_assert_uint_eq(cpu->gpr[R11], FLAG_IF | FLAG_FIXED);
    ck_assert_uint_eq(cpu_cpl(cpu), 0);
    ck_assert(!(cpu->eflags & FLAG_IF));
    cpu->halted = false;
    cpu_step(cpu);
    ck_assert_uint_eq(cpu->rip, GUEST_CODE + 2);
    ck_assert_uint_eq(cpu_cpl(cpu), 3);
    ck_assert_uint_eq(cpu->seg[SEG_CS].selector, GUEST_DS0 + 16 + 3);
    ck_assert_uint_eq(cpu->seg[SEG_SS].selector, GUEST_DS0 + 8 + 3);
    ck_assert(cpu->eflags & FLAG_IF);
}
END_TEST

/* -- Debug traps -- */

START_TEST(single_step)
{
    guest_protected(board);
    cpu->eflags |= FLAG_TF;
    cpu_update_mode(cpu);
    ck_assert_int_eq(GUEST_RUN(board, 0x41, 0x42), EXC_DB);
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE + 1);
    ck_assert(guest_frame(board, 2) & FLAG_TF);
    ck_assert(!(cpu->eflags & FLAG_TF));
    ck_assert_uint_eq(cpu->dr[6], DR6_FIXED | DR6_BS);

    /* POPF that sets TF: the trap follows the next instruction. PUSH 0x102; POPF; INC; INC */
    guest_protected(board);
    ck_assert_int_eq(GUEST_RUN(board, 0x68, 0x02, 0x01, 0, 0, 0x9d, 0x41, 0x42), EXC_DB);
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE + 7);
    ck_assert_uint_eq(cpu->gpr[RCX], 1);

    /* MOV SS holds the trap back by one instruction. */
    guest_protected(board);
    cpu->eflags |= FLAG_TF;
    cpu->gpr[RAX] = GUEST_DS0;
    cpu_update_mode(cpu);
    ck_assert_int_eq(GUEST_RUN(board, 0x8e, 0xd0, 0x41, 0x42), EXC_DB);
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE + 3);

    /* INT n clears TF: no trap at its handler. */
    guest_protected(board);
    cpu->eflags |= FLAG_TF;
    cpu_update_mode(cpu);
    ck_assert_int_eq(GUEST_RUN(board, 0xcd, 0x80), 0x80);
    ck_assert(guest_frame(board, 2) & FLAG_TF);

    /* REP traps after each element. */
    guest_protected(board);
    cpu->eflags |= FLAG_TF;
    cpu_update_mode(cpu);
    cpu->gpr[RCX] = 5;
    cpu->gpr[RDI] = 0x40000;
    ck_assert_int_eq(GUEST_RUN(board, 0xf3, 0xaa), EXC_DB);
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE);
    ck_assert_uint_eq(cpu->gpr[RCX], 4);
}
END_TEST

START_TEST(breakpoints)
{
    /* Instruction breakpoint: a fault before it; RF in the frame lets it pass. */
    guest_protected(board);
    cpu->dr[0] = GUEST_CODE + 1;
    cpu->dr[7] |= 2;
    cpu_update_mode(cpu);
    ck_assert_int_eq(GUEST_RUN(board, 0x41, 0x42, 0xf4), EXC_DB);
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE + 1);
    ck_assert_uint_eq(cpu->dr[6] & 15, 1);
    ck_assert_uint_eq(cpu->gpr[RDX], 0);
    guest_put(board, (uint32_t)cpu->gpr[RSP] + 8, FLAG_RF | FLAG_FIXED, 4);
    cpu->rip = GUEST_CODE + 0x100;
    ck_assert_int_eq(GUEST_RUN(board, 0xcf), 256);
    ck_assert_uint_eq(cpu->gpr[RDX], 1);
    ck_assert(!(cpu->eflags & FLAG_RF));

    /* Data write breakpoint: a trap after the store; reads pass. */
    guest_protected(board);
    cpu->dr[1] = 0x40004;
    cpu->dr[7] |= 2 << 2 | 0xdu << 20; /* DR1: 4 bytes, write */
    cpu->gpr[RBX] = 0x40006;
    cpu_update_mode(cpu);
    ck_assert_int_eq(GUEST_RUN(board, 0x8a, 0x03, 0x88, 0x03, 0x41, 0xf4), EXC_DB);
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE + 4);
    ck_assert_uint_eq(cpu->dr[6] & 15, 2);
    ck_assert_uint_eq(cpu->gpr[RCX], 0);

    /* I/O breakpoint needs CR4.DE. */
    guest_protected(board);
    cpu->dr[2] = 0x80;
    cpu->dr[7] |= 2 << 4 | 2u << 24;
    cpu->cr4 |= CR4_DE;
    cpu_update_mode(cpu);
    ck_assert_int_eq(GUEST_RUN(board, 0xe6, 0x80, 0x41, 0xf4), EXC_DB);
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_CODE + 2);

    /* DR7.GD: access to a debug register is a fault. */
    guest_protected(board);
    cpu->dr[7] |= 1 << 13;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x21, 0xc0), EXC_DB);
    ck_assert(cpu->dr[6] & DR6_BD);
    ck_assert(!(cpu->dr[7] & 1 << 13));
}
END_TEST

START_TEST(alignment_check)
{
    guest_protected(board);
    guest_enter_ring3(board);
    cpu->cr0 |= CR0_AM;
    cpu->eflags |= FLAG_AC;
    cpu->gpr[RBX] = 0x40002;
    cpu_update_mode(cpu);
    /* word at +2 is aligned, doubleword is not */
    ck_assert_int_eq(GUEST_RUN(board, 0x66, 0x8b, 0x03, 0x8b, 0x03), EXC_AC);
    ck_assert_uint_eq(guest_frame(board, 0), 0);
    ck_assert_uint_eq(guest_frame(board, 1), GUEST_CODE + 3);
}
END_TEST

/* -- Real mode -- */

START_TEST(real_mode_interrupt)
{
    memset(board->ram, 0, board->ram_size);
    cpu_reset(cpu);
    segment_set_real(cpu, SEG_CS, 0x1000);
    segment_set_real(cpu, SEG_SS, 0x2000);
    cpu->rip = 0;
    cpu->gpr[RSP] = 0x100;
    cpu->idtr.limit = 0x3ff;
    cpu->eflags |= FLAG_IF;
    cpu_update_mode(cpu);
    guest_put(board, 0x21 * 4, 0x30000010, 4);
    guest_code_at(board, 0x30010, (const uint8_t[]){0xcf}, 1); /* IRET */
    guest_code_at(board, 0x10000, (const uint8_t[]){0xcd, 0x21, 0xf4}, 3);
    cpu_step(cpu);
    ck_assert_uint_eq(cpu->seg[SEG_CS].base, 0x30000);
    ck_assert_uint_eq(cpu->rip, 0x10);
    ck_assert(!(cpu->eflags & FLAG_IF));
    ck_assert_uint_eq(guest_get(board, 0x200fa, 2), 2);
    ck_assert_uint_eq(guest_get(board, 0x200fc, 2), 0x1000);
    ck_assert_uint_eq(guest_get(board, 0x200fe, 2), FLAG_IF | FLAG_FIXED);
    ck_assert_int_eq(cpu_run(cpu), CPU_EXIT_HALTED);
    ck_assert_uint_eq(cpu->rip, 3);
    ck_assert(cpu->eflags & FLAG_IF);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("event");
    TCase *t = tcase_create("event");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, fault_pushes_its_own_address);
    tcase_add_test(t, software_interrupt_pushes_the_next_address);
    tcase_add_test(t, interrupt_from_ring3_switches_stacks);
    tcase_add_test(t, gate_privilege);
    tcase_add_test(t, absent_gate_and_ext_bit);
    tcase_add_test(t, double_and_triple_fault);
    tcase_add_test(t, external_interrupts_and_shadow);
    tcase_add_test(t, nmi_is_blocked_until_iret);
    tcase_add_test(t, halt_wakes_only_for_what_is_due);
    tcase_add_test(t, call_gate_copies_parameters);
    tcase_add_test(t, far_return_uses_the_users_rights);
    tcase_add_test(t, iret_to_outer_drops_privileged_segments);
    tcase_add_test(t, iret_faults_change_nothing);
    tcase_add_test(t, task_call_and_return);
    tcase_add_test(t, task_gate_for_an_exception);
    tcase_add_test(t, task_switch_refusals);
    tcase_add_test(t, v86_exception_frame);
    tcase_add_test(t, v86_sensitive_instructions);
    tcase_add_test(t, vme_redirects_interrupts);
    tcase_add_test(t, long_mode_frame_and_ist);
    tcase_add_test(t, syscall_and_sysret);
    tcase_add_test(t, single_step);
    tcase_add_test(t, breakpoints);
    tcase_add_test(t, alignment_check);
    tcase_add_test(t, real_mode_interrupt);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_set_fork_status(sr, CK_NOFORK);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
