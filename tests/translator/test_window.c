/*
 * The window (cpu/window.h): user code of a small guest whose memory the host's MMU translates. The
 * guest is the oracle's, its page tables are changed from here. That the oracle's cases give the
 * same with the window is tested by the oracle itself.
 */
#include "cpu/window.h"
#include "cpu/cpu.h"
#include "cpu/system.h"
#include "tests/cpu/board.h"
#include "tests/cpu/engines.h"
#include "tests/cpu/user_guest.h"
#include "translator/translator.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, LARGE = 0x80 };

#define TABLE       0x4000u  /* of the pages from USER_BASE on */
#define DIRECTORY   0x3000u  /* of those from 0 on */
#define DIRECTORIES 0x2000u  /* of the 512 GiB from 0 on */
#define SPARE       0x20000u /* physical pages that nothing uses */
#define FREE        0x2a000000u
#define HUGE_FREE   (100ull << 30)

static struct user_guest *guest;
static struct board *board;
static struct user_state state;

static void start_as(enum window_use use)
{
    engine_set_options(1, 0, false);
    translator_options.window = use;
    guest = user_guest_new(engine_find("translator"), 1);
    board = guest->cpu->bus->opaque;
    memset(&state, 0, sizeof state);
    state.fx[FX_FCW] = 0x7f;
    state.fx[FX_FCW + 1] = 3;
    state.fx[FX_MXCSR] = 0x80;
    state.fx[FX_MXCSR + 1] = 0x1f;
    state.eflags = 2;
    if (!guest->cpu->window)
        exit(0); /* this host has none */
}

static void start(void)
{
    start_as(WINDOW_ALL);
}

static void start_warm(void)
{
    engine_set_hot(1000000);
    start();
}

static void start_floating(void)
{
    start_warm();
    translator_options.float_all = true;
    user_guest_free(guest);
    guest = user_guest_new(engine_find("translator"), 1);
    board = guest->cpu->bus->opaque;
}

static void stop(void)
{
    user_guest_free(guest);
}

static uint64_t *entry_of(uint64_t gva)
{
    return (uint64_t *)(void *)(board->ram + TABLE) + (gva >> 12 & 511);
}

static uint64_t entry(uint64_t gva)
{
    uint64_t value;
    memcpy(&value, entry_of(gva), 8);
    return value;
}

static void set_entry(uint64_t gva, uint64_t value)
{
    memcpy(entry_of(gva), &value, 8);
}

/* 64-bit code. The vector of what ended it. */
static int run(const char *code, size_t length)
{
    user_guest_run(guest, 64, (const uint8_t *)code, length, &state);
    return state.vector;
}
#define RUN(code) run(code, sizeof(code) - 1)

#define LOAD      "\x48\x8b\x07"               /* mov rax, [rdi] */
#define STORE     "\x48\x89\x07"               /* mov [rdi], rax */
#define NEXT      "\x48\x8b\x4f\x08"           /* mov rcx, [rdi + 8] */
#define FAR       "\x48\x8b\x8c\xf7\0\x30\0\0" /* mov rcx, [rdi + rsi * 8 + 0x3000] */

/* What doppel's own memory has at this address: the byte, or -1 if none is mapped. */
static int host_byte(uint64_t address)
{
    uint8_t byte;
    struct iovec here = {&byte, 1}, there = {(void *)(uintptr_t)address, 1};
    return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == 1 ? byte : -1;
}

static bool host_may_write(uint64_t address)
{
    int old = host_byte(address);
    uint8_t byte = (uint8_t)old;
    struct iovec here = {&byte, 1}, there = {(void *)(uintptr_t)address, 1};
    return old >= 0 && process_vm_writev(getpid(), &here, 1, &there, 1, 0) == 1;
}

START_TEST(pages)
{
    state.gpr[RDI] = USER_DATA;
    guest->data[0] = 0x5a;
    ck_assert_int_eq(host_byte(USER_DATA), -1);
    ck_assert_int_eq(RUN(LOAD NEXT), VECTOR_END);
    ck_assert_uint_eq(state.gpr[RAX], 0x5a);
    ck_assert_int_eq(host_byte(USER_DATA), 0x5a);
    ck_assert_int_eq(host_byte(USER_DATA + 0x1000), -1);
    guest->data[0] = 0x5b; /* as a device writes */
    ck_assert_int_eq(host_byte(USER_DATA), 0x5b);
    ck_assert(!host_may_write(USER_DATA));
    ck_assert_uint_eq(entry(USER_DATA) & (A | D), A);
    state.gpr[RAX] = 0x77;
    ck_assert_int_eq(RUN(STORE), VECTOR_END);
    ck_assert_uint_eq(guest->data[0], 0x77);
    ck_assert_uint_eq(entry(USER_DATA) & (A | D), A | D);
    ck_assert(host_may_write(USER_DATA));
}
END_TEST

/* INVLPG, and a page that becomes read-only or absent. */
START_TEST(changes)
{
    state.gpr[RDI] = USER_DATA;
    ck_assert_int_eq(RUN(STORE), VECTOR_END);
    uint64_t old = entry(USER_DATA);
    board->ram[SPARE] = 0x33;
    set_entry(USER_DATA, SPARE | P | U);
    tlb_flush_page(guest->cpu, USER_DATA);
    ck_assert_int_eq(RUN(LOAD), VECTOR_END);
    ck_assert_uint_eq(state.gpr[RAX], 0x33);
    ck_assert_int_eq(host_byte(USER_DATA), 0x33);
    state.gpr[RAX] = 0x44;
    ck_assert_int_eq(RUN(LOAD STORE NEXT), EXC_PF);
    ck_assert_uint_eq(state.error, 7);
    ck_assert_uint_eq(state.cr2, USER_DATA);
    ck_assert_uint_eq(state.rip, USER_CODE + 3);
    ck_assert_uint_eq(board->ram[SPARE], 0x33);
    ck_assert_int_eq(RUN(LOAD), VECTOR_END);
    ck_assert_int_eq(host_byte(USER_DATA), 0x33);
    set_entry(USER_DATA, old & ~(uint64_t)P);
    tlb_flush_nonglobal(guest->cpu);
    ck_assert_int_eq(RUN(LOAD), EXC_PF);
    ck_assert_uint_eq(state.error, 4);
    ck_assert_int_eq(host_byte(USER_DATA), -1);
    set_entry(USER_DATA, old);
    ck_assert_int_eq(RUN(LOAD), VECTOR_END);
}
END_TEST

/* Each of several accesses in a block finds its page gone, with all before done and none behind. */
START_TEST(positions)
{
    /* mov [rdi + n * 4096], rdx; inc rdx; ... over pages of the spare memory */
    char code[64 * 10];
    const unsigned count = 12;
    size_t length = 0;
    for (unsigned i = 0; i < count; i++) {
        const uint32_t disp = i * 4096;
        memcpy(code + length, "\x48\x89\x97", 3);
        memcpy(code + length + 3, &disp, 4);
        memcpy(code + length + 7, "\x48\xff\xc2", 3);
        length += 10;
        set_entry(USER_BASE + 0x20000 + disp, (SPARE + disp) | P | W | U);
    }
    for (unsigned gone = 0; gone <= count; gone++)
        for (unsigned round = 0; round < 3; round++) { /* nothing mapped, all, all but one */
            uint64_t address = USER_BASE + 0x20000 + gone * 4096;
            uint64_t old = entry(address);
            if (round != 1)
                set_entry(address, 0);
            if (round == 0)
                tlb_flush_all(guest->cpu);
            tlb_flush_page(guest->cpu, address);
            memset(board->ram + SPARE, 0, count * 4096);
            state.gpr[RDI] = USER_BASE + 0x20000;
            state.gpr[RDX] = 1;
            int vector = run(code, length);
            unsigned done = round == 1 || gone == count ? count : gone;
            ck_assert_int_eq(vector, done == count ? VECTOR_END : EXC_PF);
            ck_assert_uint_eq(state.gpr[RDX], done + 1);
            if (done < count) {
                ck_assert_uint_eq(state.rip, USER_CODE + done * 10);
                ck_assert_uint_eq(state.cr2, address);
            }
            for (unsigned i = 0; i < count; i++)
                ck_assert_uint_eq(board->ram[SPARE + i * 4096], i < done ? i + 1 : 0);
            set_entry(address, old);
        }
}
END_TEST

/* A call whose push faults shows the flags from before it: making the address that it pushes, which
 * takes an addition where code floats, must not show. */
START_TEST(call_flags)
{
    const uint64_t stack = USER_BASE + 0x22000;
    set_entry(stack - 4096, 0);
    tlb_flush_all(guest->cpu);
    for (unsigned round = 0; round < 2; round++) {
        set_entry(stack, (SPARE + 0x2000) | P | W | U);
        state.gpr[RSP] = stack + 16; /* xor ebp, ebp; push rbx; push rbx; inc eax; call */
        state.gpr[RAX] = round ? 0xffffffff : 0x7fffffff;
        ck_assert_int_eq(RUN("\x31\xed\x53\x53\xff\xc0\xe8\0\0\0\0"), EXC_PF);
        ck_assert_uint_eq(state.rip, USER_CODE + 6);
        ck_assert_uint_eq(state.cr2, stack - 8);
        ck_assert_uint_eq(state.gpr[RSP], stack);
        ck_assert_uint_eq(state.eflags & FLAG_ARITH, round ? FLAG_ZF | FLAG_AF | FLAG_PF
                                                           : FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF);
    }
}
END_TEST

/* What x87 instructions before it left is there when an access faults. */
START_TEST(x87_pointers)
{
    state.gpr[RDI] = 0;
    ck_assert_int_eq(RUN("\xd9\xe8" LOAD), EXC_PF); /* fld1 */
    ck_assert_uint_eq(guest->cpu->x87.ip, USER_CODE);
}
END_TEST

/* Pieces of a large page go with it, wherever in it INVLPG points. */
static void drop_large_page(uint64_t address, uint64_t entry_at, uint64_t other)
{
    uint64_t value = 0 | P | W | U | LARGE;
    memcpy(board->ram + entry_at, &value, 8);
    board->ram[SPARE + 0x3000] = 0x21;
    state.gpr[RDI] = address + SPARE + 0x3000;
    ck_assert_int_eq(RUN(LOAD), VECTOR_END);
    ck_assert_uint_eq(state.gpr[RAX], 0x21);
    ck_assert_int_eq(host_byte(address + SPARE + 0x3000), 0x21);
    memset(board->ram + entry_at, 0, 8);
    tlb_flush_page(guest->cpu, address + other);
    ck_assert_int_eq(RUN(LOAD), EXC_PF);
    ck_assert_int_eq(host_byte(address + SPARE + 0x3000), -1);
}

START_TEST(large_page)
{
    const uint64_t address = USER_BASE + (2u << 20);
    drop_large_page(address, DIRECTORY + 8 * (address >> 21), 0x1ff000);
    drop_large_page(HUGE_FREE, DIRECTORIES + 8 * (HUGE_FREE >> 30), 0x3ffff000);
}
END_TEST

/* A store to code that has run, in a page that was mapped for writing before. */
START_TEST(code)
{
    set_entry(USER_CODE, entry(USER_CODE) | W);
    state.gpr[RDI] = USER_CODE;
    /* mov byte [rdi + 24], 1; L: mov al, 0 (becomes 1, at 23); ... */
    static const char program[] = "\xc6\x87\x00\x08\0\0\x05" /* mov byte [rdi + 0x800], 5 */
                                  "\xb9\x02\0\0\0"           /* mov ecx, 2 */
                                  "\xb0\x07"                 /* 12: mov al, 7 */
                                  "\x04\x01"                 /* add al, 1 */
                                  "\xc6\x47\x0d\x20"         /* mov byte [rdi + 13], 0x20 */
                                  "\xff\xc9\x75\xf4";        /* dec ecx; jnz 12 */
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_int_eq(run(program, sizeof program - 1), VECTOR_END);
        ck_assert_uint_eq(state.gpr[RAX] & 0xff, 0x21);
    }
    /* Data beside it: mapped for writing, then there is code in the page. */
    set_entry(USER_DATA, (entry(USER_DATA) & ~(1ull << 63)) | P | W | U);
    tlb_flush_page(guest->cpu, USER_DATA);
    state.gpr[RDI] = USER_DATA;
    ck_assert_int_eq(RUN(STORE), VECTOR_END);
    ck_assert(host_may_write(USER_DATA));
    memcpy(guest->data + 0x100, "\xb0\x11\xc3", 3); /* mov al, 0x11; ret */
    state.gpr[RSP] = USER_DATA + 0x1800;
    state.gpr[RDX] = USER_DATA + 0x100;
    ck_assert_int_eq(RUN("\xff\xd2"), VECTOR_END); /* call rdx */
    ck_assert_uint_eq(state.gpr[RAX] & 0xff, 0x11);
    ck_assert(!host_may_write(USER_DATA));
    /* mov byte [rdx + 1], 0x12; call rdx */
    ck_assert_int_eq(RUN("\xc6\x42\x01\x12\xff\xd2"), VECTOR_END);
    ck_assert_uint_eq(state.gpr[RAX] & 0xff, 0x12);
}
END_TEST

static uint8_t treasure[3 * 4096] __attribute__((aligned(4096)));

/* No address reaches memory that is not the guest's. */
START_TEST(wild)
{
    static const char *const codes[] = {LOAD,
                                        STORE,
                                        NEXT,
                                        FAR,
                                        "\x48\x89\x87\0\x10\0\0", /* mov [rdi + 0x1000], rax */
                                        "\x48\x89\x04\xf7",       /* mov [rdi + rsi * 8], rax */
                                        "\xf0\x48\x0f\xc1\x07",   /* lock xadd [rdi], rax */
                                        "\x0f\x29\x47\x10",       /* movaps [rdi + 16], xmm0 */
                                        "\xff\x37",
                                        "\x8f\x07",
                                        "\x57" /* push, pop, push rdi */};
    static const size_t lengths[] = {3, 3, 4, 8, 7, 4, 5, 4, 2, 2, 1};
    int local = 0;
    const uint64_t addresses[] = {(uintptr_t)treasure + 4096,
                                  (uintptr_t)&local,
                                  (uintptr_t)board->ram,
                                  (uintptr_t)guest->cpu,
                                  (uintptr_t)&host_byte,
                                  WINDOW_TABLE,
                                  0x7ffffffff000,
                                  0x800000000000,
                                  0x800010008000,
                                  0xffff800000004000,
                                  0xfffffffffffff000,
                                  0,
                                  8,
                                  (uintptr_t)malloc(16),
                                  0x123456789abcdef0,
                                  USER_DATA | 1ull << 47,
                                  USER_DATA | 1ull << 63,
                                  USER_DATA | 1ull << 55};
    memset(treasure, 0x99, sizeof treasure);
    for (unsigned i = 0; i < sizeof addresses / sizeof addresses[0]; i++)
        for (unsigned j = 0; j < sizeof lengths / sizeof lengths[0]; j++) {
            state.gpr[RDI] = addresses[i];
            state.gpr[RSP] = lengths[j] == 1 ? addresses[i] : USER_DATA + 0x800;
            state.gpr[RSI] = 0;
            int vector = run(codes[j], lengths[j]);
            bool refused = vector == EXC_PF || vector == EXC_GP || vector == EXC_SS;
            ck_assert_msg(refused, "address %llx, code %u: %d", (unsigned long long)addresses[i], j,
                          vector);
            for (unsigned k = 0; k < sizeof treasure; k++)
                ck_assert_uint_eq(treasure[k], 0x99);
        }
    /* mov rax, [address]; mov [address], rax */
    for (unsigned i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        char absolute[12] = "\x48\xa1";
        memcpy(absolute + 2, &addresses[i], 8);
        for (unsigned store = 0; store < 2; store++) {
            absolute[1] = (char)(store ? 0xa3 : 0xa1);
            int vector = run(absolute, 10);
            ck_assert_msg(vector == EXC_PF || vector == EXC_GP, "address %llx: %d",
                          (unsigned long long)addresses[i], vector);
        }
    }
    for (unsigned k = 0; k < sizeof treasure; k++)
        ck_assert_uint_eq(treasure[k], 0x99);
    /* Beside an address that is the guest's: a block that has found that open. */
    for (unsigned i = 0; i < 4; i++) {
        state.gpr[RDI] = USER_DATA;
        state.gpr[RSI] = (addresses[i] - 0x3000 - USER_DATA) / 8;
        ck_assert_int_eq(RUN(LOAD FAR), EXC_PF);
    }
}
END_TEST

/* Just beyond user addresses, with a displacement back to the last of them. */
START_TEST(boundary)
{
    uint8_t *last = mmap((void *)(uintptr_t)0x7fffffffd000, 4096, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ck_assert_ptr_ne(last, MAP_FAILED);
    ck_assert(window_open(guest->cpu, 0)); /* what its bits below 47 are */
    state.gpr[RDI] = 0x800000000000;
    state.gpr[RAX] = 0x55;
    ck_assert_int_eq(RUN("\x48\x89\x87\0\xd0\xff\xff"), EXC_PF); /* mov [rdi - 0x3000], rax */
    ck_assert_uint_eq(last[0], 0);
    munmap(last, 4096);
}
END_TEST

/* Where the host has something of its own, code does without. */
START_TEST(refused)
{
    uint8_t *own = mmap((void *)(uintptr_t)FREE, 4096, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ck_assert_ptr_eq(own, (void *)(uintptr_t)FREE);
    own[0] = 0x66;
    const uint64_t at = DIRECTORY + 8 * (FREE >> 21);
    uint64_t value = 0 | P | W | U | LARGE;
    memcpy(board->ram + at, &value, 8);
    for (unsigned beside = 0; beside < 3; beside++) {
        uint64_t address =
            FREE + beside * (1u << WINDOW_GRANULE_BITS) - (1u << WINDOW_GRANULE_BITS);
        const uint64_t entry_at = DIRECTORY + 8 * (address >> 21);
        memcpy(board->ram + entry_at, &value, 8);
        tlb_flush_all(guest->cpu);
        board->ram[SPARE] = 0x42;
        state.gpr[RDI] = address + SPARE;
        state.gpr[RAX] = 0;
        ck_assert_int_eq(RUN(LOAD LOAD), VECTOR_END);
        ck_assert_uint_eq(state.gpr[RAX], 0x42);
        state.gpr[RAX] = 0x43;
        ck_assert_int_eq(RUN(STORE NEXT LOAD), VECTOR_END);
        ck_assert_uint_eq(board->ram[SPARE], 0x43);
        state.gpr[RDI] = address;
        ck_assert_int_eq(RUN(STORE), VECTOR_END);
    }
    ck_assert_uint_eq(own[0], 0x66);
    munmap(own, 4096);
}
END_TEST

static void *stop_often(void *opaque)
{
    for (unsigned i = 0; i < 1000; i++) {
        usleep(5000);
        cpu_post(guest->cpu, EVENT_STOP);
    }
    return NULL;
}

/* A program that runs long gets it; then granules of those before are closed, if they were many,
 * and what is open for it is open again. */
START_TEST(long_running)
{
    stop();
    start_as(WINDOW_LONG);
    unsigned opened = 0;
    for (uint64_t i = 0; i < 2200; i++)
        opened += window_open(guest->cpu, 0x200000000000 + (i << (WINDOW_GRANULE_BITS + 2)));
    ck_assert_uint_gt(opened, 600);
    ck_assert(!window_open(guest->cpu, 0x300000000000)); /* there are so many */
    pthread_t thread;
    pthread_create(&thread, NULL, stop_often, NULL);
    state.gpr[RDI] = USER_DATA;
    for (unsigned i = 0; i < 50 && !guest->cpu->windowed; i++)
        ck_assert_int_eq(RUN(LOAD "\xeb\xfb"), VECTOR_ENDLESS); /* L: ...; jmp L */
    ck_assert(guest->cpu->windowed);
    guest->data[0] = 0x17;
    ck_assert_int_eq(RUN(LOAD "\xeb\xfb"), VECTOR_ENDLESS);
    ck_assert_uint_eq(state.gpr[RAX] & 0xff, 0x17);
    ck_assert_int_eq(host_byte(USER_DATA), 0x17);
    ck_assert(window_open(guest->cpu, 0x300000000000));
    pthread_cancel(thread);
    pthread_join(thread, NULL);
}
END_TEST

/* Another address space, without it, and back. */
START_TEST(spaces)
{
    struct cpu *cpu = guest->cpu;
    state.gpr[RDI] = USER_DATA;
    guest->data[0] = 1;
    ck_assert_int_eq(RUN(LOAD), VECTOR_END);
    ck_assert(cpu->windowed);
    memcpy(board->ram + 0x40000, board->ram + 0x1000, 4096); /* the PML4 */
    cpu->cr3 = 0x40000;
    paging_switch(cpu, false);
    ck_assert(!cpu->windowed);
    set_entry(USER_DATA, SPARE | P | U);
    board->ram[SPARE] = 2;
    ck_assert_int_eq(RUN(LOAD), VECTOR_END);
    ck_assert_uint_eq(state.gpr[RAX] & 0xff, 2);
    cpu->cr3 = 0x1000;
    paging_switch(cpu, false);
    ck_assert_int_eq(RUN(LOAD), VECTOR_END);
    ck_assert_uint_eq(state.gpr[RAX] & 0xff, 2);
}
END_TEST

static TCase *new_case(const char *name, SFun start_guest)
{
    TCase *tests = tcase_create(name);
    tcase_add_checked_fixture(tests, start_guest, stop);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, pages);
    tcase_add_test(tests, changes);
    tcase_add_test(tests, positions);
    tcase_add_test(tests, call_flags);
    tcase_add_test(tests, x87_pointers);
    tcase_add_test(tests, large_page);
    tcase_add_test(tests, code);
    tcase_add_test(tests, wild);
    tcase_add_test(tests, boundary);
    tcase_add_test(tests, refused);
    tcase_add_test(tests, spaces);
    tcase_add_test(tests, long_running);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("window");
    suite_add_tcase(suite, new_case("hot code", start));
    suite_add_tcase(suite, new_case("warm code", start_warm));
    suite_add_tcase(suite, new_case("floating warm code", start_floating));
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
