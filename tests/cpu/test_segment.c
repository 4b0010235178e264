/* Segment loads, limits and types; LAR, LSL, VERR, VERW, ARPL; unreal mode; ports' permission map.
 */
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

/* -- Loads -- */

struct load_case {
    uint64_t descriptor; /* for selector GUEST_FREE */
    uint16_t selector;
    uint8_t modrm; /* of MOV Sreg, EAX: D8 DS, D0 SS, E0 FS */
    bool ring3;
    int vector; /* 256: loads */
    uint32_t error;
};

#define D(access) ((uint64_t)(access) << 40 | 0x00cf00000000ffffull)

static const struct load_case loads[] = {
    {D(0x93), GUEST_FREE, 0xd8, false, 256, 0},
    {D(0x13), GUEST_FREE, 0xd8, false, EXC_NP, GUEST_FREE},
    {D(0x13), GUEST_FREE, 0xd0, false, EXC_SS, GUEST_FREE},
    {D(0x99), GUEST_FREE, 0xd8, false, EXC_GP, GUEST_FREE}, /* execute-only code */
    {D(0x9b), GUEST_FREE, 0xd8, false, 256, 0},             /* readable code */
    {D(0x9b), GUEST_FREE, 0xd0, false, EXC_GP, GUEST_FREE}, /* code for SS */
    {D(0x91), GUEST_FREE, 0xd0, false, EXC_GP, GUEST_FREE}, /* read-only for SS */
    {D(0x91), GUEST_FREE, 0xd8, false, 256, 0},
    {D(0x93), GUEST_FREE | 3, 0xd8, false, EXC_GP, GUEST_FREE}, /* RPL > DPL */
    {D(0xf3), GUEST_FREE | 3, 0xd8, false, 256, 0},
    {D(0xf3), GUEST_FREE | 3, 0xd0, false, EXC_GP, GUEST_FREE}, /* SS: RPL must be CPL */
    {D(0xf3), GUEST_FREE, 0xd0, false, EXC_GP, GUEST_FREE},     /* SS: DPL must be CPL */
    {D(0x93), GUEST_FREE | 3, 0xd8, true, EXC_GP, GUEST_FREE},
    {D(0x9f), GUEST_FREE | 3, 0xd8, true, 256, 0}, /* conforming: privilege does not matter */
    {D(0xf3), GUEST_FREE | 3, 0xd0, true, 256, 0},
    {D(0x82), GUEST_FREE, 0xd8, false, EXC_GP, GUEST_FREE}, /* LDT descriptor */
    {D(0x93), 0x100, 0xd8, false, EXC_GP, 0x100},           /* beyond the table */
    {D(0x93), 0x3c, 0xd8, false, EXC_GP, 0x3c},             /* LDT, which is null */
    {D(0x93), 0, 0xd8, false, 256, 0},
    {D(0x93), 3, 0xe0, false, 256, 0},
    {D(0x93), 0, 0xd0, false, EXC_GP, 0},          /* null SS */
    {D(0x93), GUEST_FREE, 0xc8, false, EXC_UD, 0}, /* MOV CS */
};

START_TEST(load_checks)
{
    const struct load_case *c = &loads[_i];
    guest_protected(board);
    guest_set_gdt(board, GUEST_FREE, c->descriptor);
    if (c->ring3)
        guest_enter_ring3(board);
    cpu->gpr[RAX] = c->selector;
    int vector = GUEST_RUN(board, 0x8e, c->modrm, 0xf4);
    if (c->vector == 256) {
        ck_assert_int_eq(vector, c->ring3 ? EXC_GP : 256); /* HLT in ring 3 is #GP(0) */
        if (c->ring3)
            ck_assert_uint_eq(guest_frame(board, 1), GUEST_CODE + 2);
        return;
    }
    ck_assert_int_eq(vector, c->vector);
    if (c->vector != EXC_UD)
        ck_assert_uint_eq(guest_frame(board, 0), c->error);
}
END_TEST

START_TEST(accessed_bit_is_set)
{
    guest_protected(board);
    guest_set_gdt(board, GUEST_FREE, D(0x92));
    cpu->gpr[RAX] = GUEST_FREE;
    ck_assert_int_eq(GUEST_RUN(board, 0x8e, 0xd8, 0xf4), 256);
    ck_assert_uint_eq(board->ram[GUEST_GDT + GUEST_FREE + 5], 0x93);
}
END_TEST

/* -- Limits and types at access -- */

struct access_case {
    uint64_t descriptor;
    uint32_t offset;
    uint8_t opcode; /* 8A reads, 88 writes a byte; 8B reads, 89 writes 4 */
    int vector;
};

#define LIMITED(limit, access, flags)                                                              \
    (((limit)&0xffffull) | (uint64_t)(access) << 40 | (uint64_t)((limit) >> 16) << 48 |            \
     (uint64_t)(flags) << 52 | 0x0000000400000000ull)

static const struct access_case accesses[] = {
    {LIMITED(0xfff, 0x93, 4), 0xfff, 0x8a, 256},
    {LIMITED(0xfff, 0x93, 4), 0xfff, 0x8b, EXC_GP},
    {LIMITED(0xfff, 0x93, 4), 0xffc, 0x89, 256},
    {LIMITED(0xfff, 0x93, 4), 0x1000, 0x88, EXC_GP},
    {LIMITED(0xfff, 0x93, 4), 0xffffffff, 0x8b, EXC_GP},
    {LIMITED(0xfff, 0x91, 4), 0x10, 0x88, EXC_GP}, /* read-only */
    {LIMITED(0xfff, 0x91, 4), 0x10, 0x8a, 256},
    {LIMITED(0xfff, 0x9b, 4), 0x10, 0x88, EXC_GP}, /* code */
    {LIMITED(0xfff, 0x9b, 4), 0x10, 0x8a, 256},
    {LIMITED(0xfff, 0x97, 4), 0xfff, 0x8a, EXC_GP}, /* expand-down */
    {LIMITED(0xfff, 0x97, 4), 0x1000, 0x8a, 256},
    {LIMITED(0xfff, 0x97, 4), 0x20000, 0x8a, 256},
    {LIMITED(0xfff, 0x97, 0), 0xffff, 0x8a, 256},
    {LIMITED(0xfff, 0x97, 0), 0x10000, 0x8a, EXC_GP}, /* 16-bit expand-down ends at 64 KiB */
    {LIMITED(0xfff, 0x97, 0), 0xfffe, 0x8b, EXC_GP},
    {LIMITED(0, 0x93, 0xc), 0xfff, 0x8a, 256}, /* granularity: limit 0 is 4 KiB */
    {LIMITED(0, 0x93, 0xc), 0x1000, 0x8a, EXC_GP},
};

START_TEST(access_checks)
{
    const struct access_case *c = &accesses[_i];
    guest_protected(board);
    guest_set_gdt(board, GUEST_FREE, c->descriptor);
    cpu->gpr[RAX] = GUEST_FREE;
    cpu->gpr[RBX] = c->offset;
    int vector = GUEST_RUN(board, 0x8e, 0xd8, c->opcode, 0x03, 0xf4);
    ck_assert_int_eq(vector, c->vector);
    if (vector == EXC_GP)
        ck_assert_uint_eq(guest_frame(board, 0), 0);
}
END_TEST

START_TEST(null_segment_and_ss)
{
    guest_protected(board);
    /* XOR EAX,EAX; MOV DS,AX; MOV EAX,[0] */
    ck_assert_int_eq(GUEST_RUN(board, 0x31, 0xc0, 0x8e, 0xd8, 0xa1, 0, 0, 0, 0), EXC_GP);
    ck_assert_uint_eq(guest_frame(board, 1), GUEST_CODE + 4);

    guest_protected(board);
    guest_set_gdt(board, GUEST_FREE, LIMITED(0xfff, 0x93, 4));
    cpu->gpr[RAX] = GUEST_FREE;
    cpu->gpr[RSP] = 0x1000;
    cpu->gpr[RBP] = 0x1000;
    /* MOV SS,AX; MOV EAX,[EBP]: #SS; its frame goes to the same small stack. */
    ck_assert_int_eq(GUEST_RUN(board, 0x8e, 0xd0, 0x8b, 0x45, 0x00), EXC_SS);
    ck_assert_uint_eq(guest_get(board, 0x40000 + (uint32_t)cpu->gpr[RSP], 4), 0);
}
END_TEST

START_TEST(push_wraps_and_faults)
{
    /* 16-bit stack: SP wraps within 64 KiB, ESP's upper half stays. */
    guest_protected(board);
    guest_set_gdt(board, GUEST_FREE, LIMITED(0xffff, 0x93, 0));
    cpu->gpr[RAX] = GUEST_FREE;
    cpu->gpr[RSP] = 0x12340000;
    ck_assert_int_eq(GUEST_RUN(board, 0x8e, 0xd0, 0x50, 0xf4), 256);
    ck_assert_uint_eq(cpu->gpr[RSP], 0x1234fffc);
    ck_assert_uint_eq(guest_get(board, 0x4fffc, 4), GUEST_FREE);
}
END_TEST

/* -- Looking at descriptors -- */

START_TEST(lar_lsl_by_type)
{
    static const uint16_t lar_known = 0x1a3e; /* system types 1 2 3 4 5 9 B C */
    static const uint16_t lsl_known = 0x0a0e; /* 1 2 3 9 B */
    for (unsigned type = 0; type < 16; type++) {
        for (unsigned lsl = 0; lsl < 2; lsl++) {
            guest_protected(board);
            guest_set_gdt(board, GUEST_FREE, D(0x80 | type));
            cpu->gpr[RBX] = GUEST_FREE;
            cpu->gpr[RAX] = 0x5555;
            ck_assert_int_eq(GUEST_RUN(board, 0x0f, lsl ? 0x03 : 0x02, 0xc3, 0xf4), 256);
            bool known = (lsl ? lsl_known : lar_known) >> type & 1;
            ck_assert_msg(known == !!(cpu->eflags & FLAG_ZF), "type %x lsl %u", type, lsl);
            uint64_t value = lsl ? 0xffffffff : 0xcf8000u | type << 8;
            ck_assert_uint_eq(cpu->gpr[RAX], known ? value : 0x5555);
        }
    }
}
END_TEST

START_TEST(verr_verw_arpl)
{
    static const struct {
        uint8_t access;
        bool readable, writable;
    } cases[] = {{0x91, 1, 0}, {0x93, 1, 1}, {0x99, 0, 0}, {0x9b, 1, 0}, {0x82, 0, 0}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned w = 0; w < 2; w++) {
            guest_protected(board);
            guest_set_gdt(board, GUEST_FREE, D(cases[i].access));
            cpu->gpr[RBX] = GUEST_FREE;
            ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x00, w ? 0xeb : 0xe3, 0xf4), 256);
            ck_assert_int_eq(!!(cpu->eflags & FLAG_ZF), w ? cases[i].writable : cases[i].readable);
        }
    }
    guest_protected(board);
    cpu->gpr[RAX] = 0x11110010;
    cpu->gpr[RBX] = 0x0003;
    ck_assert_int_eq(GUEST_RUN(board, 0x63, 0xd8, 0xf4), 256); /* ARPL AX, BX */
    ck_assert_uint_eq(cpu->gpr[RAX], 0x11110013);
    ck_assert(cpu->eflags & FLAG_ZF);
}
END_TEST

START_TEST(ldt)
{
    guest_protected(board);
    guest_set_gdt(board, GUEST_FREE, guest_descriptor(0x6000, 0x0f, 0x82, 0));
    guest_put(board, 0x6008, D(0x93), 8);
    cpu->gpr[RBX] = GUEST_FREE;
    cpu->gpr[RAX] = 0x0c; /* entry 1 of the LDT */
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x00, 0xd3, 0x8e, 0xd8, 0xf4), 256);
    ck_assert_uint_eq(cpu->seg[SEG_DS].selector, 0x0c);
    guest_protected(board);
    cpu->gpr[RBX] = GUEST_DS0;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x00, 0xd3), EXC_GP); /* no LDT descriptor */
    ck_assert_uint_eq(guest_frame(board, 0), GUEST_DS0);
}
END_TEST

/* -- Real and unreal mode -- */

START_TEST(unreal_mode_keeps_limits)
{
    guest_protected(board);
    board->ram[0x234567] = 0x77;
    /* Back to real mode with a 4 GiB limit in DS; then load DS in real mode: the limit stays. */
    static const uint8_t code[] = {
        0x0f, 0x20, 0xc0,             /* MOV EAX, CR0 */
        0x24, 0xfe,                   /* AND AL, ~1 */
        0x0f, 0x22, 0xc0,             /* MOV CR0, EAX */
        0x31, 0xc0,                   /* XOR EAX, EAX */
        0x8e, 0xd8,                   /* MOV DS, AX */
        0xa0, 0x67, 0x45, 0x23, 0x00, /* MOV AL, [0x234567] (CS is still 32-bit) */
        0xf4,
    };
    ck_assert_int_eq(guest_run_at(board, GUEST_CODE, code, sizeof code), 256);
    ck_assert_uint_eq(cpu->gpr[RAX] & 0xff, 0x77);
    ck_assert_uint_eq(cpu->mode & MODE_PROTECTED, 0);
}
END_TEST

START_TEST(real_mode_limit)
{
    memset(board->ram, 0, board->ram_size);
    cpu_reset(cpu);
    segment_set_real(cpu, SEG_CS, 0x1000);
    segment_set_real(cpu, SEG_SS, 0x2000);
    cpu->rip = 0;
    cpu->gpr[RSP] = 0x100;
    cpu->gpr[RBX] = 0xffff;
    cpu->idtr.limit = 0x3ff;
    cpu_update_mode(cpu);
    guest_put(board, EXC_GP * 4, 0x30000000, 4);
    guest_code_at(board, 0x10000, (const uint8_t[]){0x8b, 0x07}, 2); /* MOV AX, [BX] */
    cpu_step(cpu);
    ck_assert_uint_eq(cpu->seg[SEG_CS].selector, 0x3000);
    ck_assert_uint_eq(guest_get(board, 0x200fa, 2), 0); /* IP of the instruction, no error code */
}
END_TEST

/* -- I/O permission bit map -- */

START_TEST(io_permissions)
{
    static const struct {
        uint8_t code[4];
        bool allowed;
    } cases[] = {
        {{0xe4, 0x80, 0xf4}, true},        /* IN AL, 80 */
        {{0xe4, 0x81, 0xf4}, false},       /* the port after it is forbidden */
        {{0x66, 0xe5, 0x80, 0xf4}, false}, /* IN AX covers both */
        {{0x66, 0xe5, 0x7f, 0xf4}, true},  /* across a byte of the map */
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        guest_protected(board);
        guest_put(board, GUEST_TSS + 102, 104, 2);
        board->ram[GUEST_TSS + 104 + 0x10] = 0x02;
        guest_enter_ring3(board);
        int vector = guest_run_at(board, GUEST_CODE, cases[i].code, 4);
        ck_assert_int_eq(vector, EXC_GP); /* of the instruction, or of what follows */
        bool passed = guest_frame(board, 1) != GUEST_CODE;
        ck_assert_msg(passed == cases[i].allowed, "case %u", i);
    }
    guest_protected(board);
    guest_enter_ring3(board);
    cpu->eflags |= FLAG_IOPL;
    ck_assert_int_eq(GUEST_RUN(board, 0xe4, 0x81, 0xf4), EXC_GP);
    ck_assert_uint_eq(guest_frame(board, 1), GUEST_CODE + 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("segment");
    TCase *t = tcase_create("segment");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, load_checks, 0, sizeof loads / sizeof *loads);
    tcase_add_test(t, accessed_bit_is_set);
    tcase_add_loop_test(t, access_checks, 0, sizeof accesses / sizeof *accesses);
    tcase_add_test(t, null_segment_and_ss);
    tcase_add_test(t, push_wraps_and_faults);
    tcase_add_test(t, lar_lsl_by_type);
    tcase_add_test(t, verr_verw_arpl);
    tcase_add_test(t, ldt);
    tcase_add_test(t, unreal_mode_keeps_limits);
    tcase_add_test(t, real_mode_limit);
    tcase_add_test(t, io_permissions);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_set_fork_status(sr, CK_NOFORK);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
