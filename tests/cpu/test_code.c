/* Code tracking: marks, self-modifying code in all its forms, writes by other threads. */
#include "cpu/interp/interp.h"
#include "cpu/isa.h"
#include "tests/cpu/guest.h"

#include <check.h>
#include <pthread.h>

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

/* -- The map alone -- */

struct record {
    unsigned calls, drops;
    gpa_t gpa;
    uint64_t size;
};

static void on_written(void *opaque, gpa_t gpa, uint64_t size)
{
    struct record *r = opaque;
    r->calls++;
    r->gpa = gpa;
    r->size = size;
}

static void on_drop(void *opaque)
{
    ((struct record *)opaque)->drops++;
}

START_TEST(lines)
{
    struct code_map *map = code_map_new(1 << 20);
    struct record r = {0};
    code_listen(map, &(struct code_listener){on_written, on_drop, &r});
    ck_assert(code_mark(map, 0x1040, 10));
    ck_assert(!code_mark(map, 0x107f, 2)); /* the page had some already; two lines */
    ck_assert(code_page_marked(map, 0x1fff));
    ck_assert(!code_page_marked(map, 0x2000));
    ck_assert(!code_written(map, 0x1000, 0x40));
    ck_assert(!code_written(map, 0x10c0, 0x1000));
    ck_assert_uint_eq(r.calls, 0);
    ck_assert(code_written(map, 0x103c, 8)); /* touches 0x1040 */
    ck_assert_uint_eq(r.calls, 1);
    ck_assert_uint_eq(r.gpa, 0x1040);
    ck_assert_uint_eq(r.size, 0x40);
    ck_assert(!code_written(map, 0x1040, 8)); /* the mark is gone */
    ck_assert(code_page_marked(map, 0x1000)); /* the second line is not */
    ck_assert(code_written(map, 0, 1 << 20)); /* a large DMA */
    ck_assert(!code_page_marked(map, 0x1000));
    /* Outside: not tracked, no effect. */
    ck_assert(!code_mark(map, 1 << 20, 16));
    ck_assert(!code_written(map, 1 << 20, 1 << 20));
    ck_assert(!code_written(map, ~0ull - 8, 4));
    code_mark(map, 0x3000, 1);
    code_drop_all(map);
    ck_assert_uint_eq(r.drops, 1);
    ck_assert(!code_page_marked(map, 0x3000));
    code_unlisten(map, &r);
    code_map_free(map);
}
END_TEST

START_TEST(moved_memory)
{
    struct code_map *map = code_map_new(1 << 20);
    struct record r = {0};
    code_listen(map, &(struct code_listener){on_written, on_drop, &r});
    code_mark(map, 0x3000, 1);
    code_mark(map, 0x5000, 1);
    code_queue_moved(map, 0x4000, 0x4000);
    code_queue_moved(map, 2 << 20, 3 << 20); /* no code there */
    code_run_queue(map);
    ck_assert_uint_eq(r.calls, 0);
    ck_assert_uint_eq(r.drops, 0);
    code_queue_moved(map, 0x4000, 0x6000);
    code_queue_moved(map, 0x8000, 0x9000);
    code_run_queue(map);
    ck_assert_uint_eq(r.calls, 1);
    ck_assert_uint_eq(r.gpa, 0x5000);
    ck_assert(code_page_marked(map, 0x3000));
    ck_assert(!code_page_marked(map, 0x5000));
    code_mark(map, 2 << 20, 1); /* as in ROM: whether it moved is not known */
    code_run_queue(map);
    ck_assert_uint_eq(r.drops, 0);
    code_queue_moved(map, 2 << 20, 3 << 20);
    code_run_queue(map);
    ck_assert_uint_eq(r.drops, 1);
    code_queue_moved(map, 2 << 20, 3 << 20);
    code_run_queue(map);
    ck_assert_uint_eq(r.drops, 1);
    code_unlisten(map, &r);
    code_map_free(map);
}
END_TEST

/* -- With the processor -- */

START_TEST(store_into_the_running_block)
{
    guest_protected(board);
    /* MOV BYTE [next + 1], 42 ; MOV AL, 1 -> MOV AL, 42 ; HLT. Twice: also when it was cached. */
    for (unsigned i = 0; i < 2; i++) {
        cpu->rip = GUEST_CODE;
        ck_assert_int_eq(GUEST_RUN(board, 0xc6, 0x05, 0x08, 0, 1, 0, 42 + i, 0xb0, 1, 0xf4), 256);
        ck_assert_uint_eq(cpu->gpr[RAX] & 0xff, 42 + i);
    }
}
END_TEST

START_TEST(store_into_another_block)
{
    guest_protected(board);
    guest_code_at(board, GUEST_CODE + 0x100, (const uint8_t[]){0xb0, 1, 0xc3}, 3);
    /* CALL f; MOV BYTE [f + 1], 9; CALL f; HLT */
    ck_assert_int_eq(GUEST_RUN(board, 0xe8, 0xfb, 0, 0, 0, 0x88, 0xc4, /* MOV AH, AL */
                               0xc6, 0x05, 0x01, 0x01, 1, 0, 9, 0xe8, 0xed, 0, 0, 0, 0xf4),
                     256);
    ck_assert_uint_eq(cpu->gpr[RAX] & 0xffff, 0x0109);
}
END_TEST

START_TEST(instruction_across_pages)
{
    guest_protected(board);
    /* MOV EAX, imm32 with its bytes in two pages; the second part is overwritten. */
    static const uint8_t code[] = {0xb8, 1, 2, 3, 4, 0xc3};
    guest_code_at(board, 0x40ffe, code, sizeof code);
    cpu->gpr[RBX] = 0x40ffe;
    /* CALL EBX; MOV BYTE [0x41001], 9; CALL EBX; HLT */
    ck_assert_int_eq(
        GUEST_RUN(board, 0xff, 0xd3, 0xc6, 0x05, 0x01, 0x10, 4, 0, 9, 0xff, 0xd3, 0xf4), 256);
    ck_assert_uint_eq(cpu->gpr[RAX], 0x04090201);
    board->ram[0x41000] = 7;
    code_written(board->code, 0x41000, 1);
    cpu->rip = GUEST_CODE;
    ck_assert_int_eq(GUEST_RUN(board, 0xff, 0xd3, 0xf4), 256);
    ck_assert_uint_eq(cpu->gpr[RAX], 0x04090701);
}
END_TEST

START_TEST(second_page_is_remapped)
{
    guest_long(board);
    /* Linear 0x400000 and 0x401000 by 4 KiB pages; an instruction across them. */
    guest_put(board, GUEST_TABLES + 0x2000 + 16, (GUEST_TABLES + 0x3000) | 7, 8);
    guest_put(board, GUEST_TABLES + 0x3000, 0x500003, 8);
    guest_put(board, GUEST_TABLES + 0x3008, 0x600003, 8);
    guest_code_at(board, 0x500ffe, (const uint8_t[]){0xb8, 1}, 2);
    guest_code_at(board, 0x600000, (const uint8_t[]){2, 3, 4, 0xf4}, 4);
    guest_code_at(board, 0x700000, (const uint8_t[]){5, 6, 7, 0xf4}, 4);
    for (unsigned i = 0; i < 2; i++) {
        cpu->rip = 0x400ffe;
        cpu->halted = false;
        ck_assert_int_eq(cpu_run(cpu), CPU_EXIT_HALTED);
        ck_assert_uint_eq(cpu->gpr[RAX], i ? 0x07060501 : 0x04030201);
        guest_put(board, GUEST_TABLES + 0x3008, 0x700003, 8);
        tlb_flush_page(cpu, 0x401000);
    }
}
END_TEST

START_TEST(data_beside_code_is_cheap)
{
    guest_protected(board);
    /* Stores into the same page, another line: the code stays, the store arrives. */
    ck_assert_int_eq(GUEST_RUN(board, 0xc6, 0x05, 0x00, 0x02, 1, 0, 7, 0xf4), 256);
    ck_assert_uint_eq(board->ram[GUEST_CODE + 0x200], 7);
    ck_assert(code_page_marked(board->code, GUEST_CODE));
}
END_TEST

START_TEST(same_bytes_in_another_mode)
{
    /* 16-bit and 32-bit code at the same address are different blocks. */
    guest_protected(board);
    guest_code_at(board, GUEST_CODE, (const uint8_t[]){0xb8, 1, 0, 0xf4, 0xf4, 0xf4}, 6);
    ck_assert_int_eq(cpu_run(cpu), CPU_EXIT_HALTED);
    ck_assert_uint_eq(cpu->gpr[RAX], 0xf4f40001);
    cpu->seg[SEG_CS].attr &= ~SEGMENT_DB;
    cpu_update_mode(cpu);
    cpu->rip = GUEST_CODE;
    cpu->halted = false;
    ck_assert_int_eq(cpu_run(cpu), CPU_EXIT_HALTED);
    ck_assert_uint_eq(cpu->gpr[RAX] & 0xffff, 1);
    ck_assert_uint_eq(cpu->rip, GUEST_CODE + 4);
}
END_TEST

/* A device overwrites a loop that the processor is in. */
static void *overwrite(void *opaque)
{
    struct timespec pause = {.tv_nsec = 20000000};
    nanosleep(&pause, NULL);
    board->ram[GUEST_CODE] = 0xf4;
    if (code_queue_written(board->code, GUEST_CODE, 1))
        cpu_post(cpu, EVENT_FLUSH_CODE);
    return NULL;
}

START_TEST(write_by_another_thread)
{
    guest_protected(board);
    guest_code_at(board, GUEST_CODE, (const uint8_t[]){0xeb, 0xfe}, 2); /* JMP $ */
    pthread_t thread;
    pthread_create(&thread, NULL, overwrite, NULL);
    ck_assert_int_eq(cpu_run(cpu), CPU_EXIT_HALTED);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(cpu->rip, GUEST_CODE + 1);
}
END_TEST

/* A straight run of INC EAX that makes more blocks than the interpreter keeps, some of which are
 * replaced by NOP afterwards: in blocks that are still there, and in others. */
START_TEST(more_code_than_is_kept)
{
    const unsigned start = 0x100000, size = 512 << 10;
    guest_protected(board);
    memset(board->ram + start, 0x40, size);
    board->ram[start + size] = 0xf4;
    for (unsigned written = 0; written < 40; written++) {
        gpa_t gpa = start + (gpa_t)size / 40 * written + 7 * written;
        cpu->rip = start;
        cpu->gpr[RAX] = 0;
        cpu->halted = false;
        ck_assert_int_eq(cpu_run(cpu), CPU_EXIT_HALTED);
        ck_assert_uint_eq(cpu->gpr[RAX], size - written);
        board->ram[gpa] = 0x90;
        code_written(board->code, gpa, 1);
    }
}
END_TEST

START_TEST(decoded_instructions_are_those_of_the_bytes)
{
    static const uint8_t other[16] = {0xb8, 5, 0, 0xb0, 6, 0xf4};
    const uint8_t *host = board->ram + GUEST_CODE;
    struct insn insn;
    guest_protected(board);
    ck_assert_int_eq(GUEST_RUN(board, 0xb8, 1, 2, 3, 4, 0xf4), 256);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(interp_decode_at(cpu, GUEST_CODE, host, 4096, &insn), 5);
        ck_assert_uint_eq(insn.imm, 0x04030201);
        ck_assert_int_eq(interp_decode_at(cpu, GUEST_CODE + 5, host + 5, 4091, &insn), 1);
        ck_assert_uint_eq(isa_rows[insn.row].opcode, 0xf4);
        /* Not those that were there when they were executed. */
        ck_assert_int_eq(interp_decode_at(cpu, GUEST_CODE, other, sizeof other, &insn), 5);
        ck_assert_uint_eq(insn.imm, 0x06b00005);
        ck_assert_int_eq(interp_decode_at(cpu, GUEST_CODE + 5, other + 3, 13, &insn), 2);
    }
    ck_assert_int_eq(interp_decode_at(cpu, GUEST_CODE, host, 4, &insn), 0);
    cpu->seg[SEG_CS].attr &= ~SEGMENT_DB;
    cpu_update_mode(cpu);
    ck_assert_int_eq(interp_decode_at(cpu, GUEST_CODE, host, 4096, &insn), 3);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("code");
    TCase *t = tcase_create("code");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, lines);
    tcase_add_test(t, moved_memory);
    tcase_add_test(t, store_into_the_running_block);
    tcase_add_test(t, store_into_another_block);
    tcase_add_test(t, instruction_across_pages);
    tcase_add_test(t, second_page_is_remapped);
    tcase_add_test(t, data_beside_code_is_cheap);
    tcase_add_test(t, same_bytes_in_another_mode);
    tcase_add_test(t, write_by_another_thread);
    tcase_add_test(t, more_code_than_is_kept);
    tcase_add_test(t, decoded_instructions_are_those_of_the_bytes);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_set_fork_status(sr, CK_NOFORK);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
