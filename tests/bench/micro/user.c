/* The tests that run with or without privileges, and how all are timed. */
#include "micro.h"

#define RUNS 7

uint8_t *micro_data, *micro_code;

/* -- Computing -- */

static void adds_independent(uint64_t count)
{
    __asm__ volatile("1: add $1, %%rax\n add $1, %%rcx\n add $1, %%rdx\n add $1, %%rsi\n"
                     "add $1, %%rax\n add $1, %%rcx\n add $1, %%rdx\n add $1, %%rsi\n"
                     "dec %0\n jnz 1b"
                     : "+r"(count)
                     :
                     : "rax", "rcx", "rdx", "rsi", "cc");
}

static void adds_dependent(uint64_t count)
{
    __asm__ volatile("1: add $1, %%rax\n add $1, %%rax\n add $1, %%rax\n add $1, %%rax\n"
                     "add $1, %%rax\n add $1, %%rax\n add $1, %%rax\n add $1, %%rax\n"
                     "dec %0\n jnz 1b"
                     : "+r"(count)
                     :
                     : "rax", "cc");
}

static void flags_mix(uint64_t count)
{
    __asm__ volatile("1: add %%rcx, %%rax\n adc %%rdx, %%rsi\n sbb %%rax, %%rcx\n setc %%dl\n"
                     "shl $3, %%rsi\n rcl $1, %%rax\n cmp %%rax, %%rcx\n cmovb %%rsi, %%rdx\n"
                     "dec %0\n jnz 1b"
                     : "+r"(count)
                     :
                     : "rax", "rcx", "rdx", "rsi", "cc");
}

static void time_stamp(uint64_t count)
{
    while (count--)
        read_tsc();
}

/* -- Memory -- */

static void load_stream(uint64_t count)
{
    uint64_t sum = 0;
    while (count--) {
        const uint8_t *p = micro_data, *end = micro_data + 16384;
        __asm__ volatile("1: add (%0), %1\n add 8(%0), %1\n add 16(%0), %1\n add 24(%0), %1\n"
                         "add $32, %0\n cmp %2, %0\n jb 1b"
                         : "+r"(p), "+r"(sum)
                         : "r"(end)
                         : "memory", "cc");
    }
}

static void store_stream(uint64_t count)
{
    while (count--) {
        uint8_t *p = micro_data, *end = micro_data + 16384;
        __asm__ volatile("1: mov %1, (%0)\n mov %1, 8(%0)\n mov %1, 16(%0)\n mov %1, 24(%0)\n"
                         "add $32, %0\n cmp %2, %0\n jb 1b"
                         : "+r"(p)
                         : "r"(count), "r"(end)
                         : "memory", "cc");
    }
}

/* A cycle of 64 pointers in one page. */
static void load_chain(uint64_t count)
{
    void **cells = (void **)(void *)(micro_data + PAGE_SIZE), *p = cells;
    for (size_t i = 0; i < 64; i++)
        cells[i * 8] = &cells[(i + 29) % 64 * 8];
    __asm__ volatile("1: mov (%1), %1\n mov (%1), %1\n mov (%1), %1\n mov (%1), %1\n"
                     "dec %0\n jnz 1b"
                     : "+r"(count), "+r"(p)
                     :
                     : "memory", "cc");
}

static void push_pop(uint64_t count)
{
    __asm__ volatile("1: push %%rax\n push %%rcx\n pop %%rcx\n pop %%rax\n"
                     "push %%rax\n push %%rcx\n pop %%rcx\n pop %%rax\n"
                     "dec %0\n jnz 1b"
                     : "+r"(count)
                     :
                     : "memory", "cc");
}

static void locked_increment(uint64_t count)
{
    __asm__ volatile("1: lock incq (%1)\n dec %0\n jnz 1b"
                     : "+r"(count)
                     : "r"(micro_data)
                     : "memory", "cc");
}

static void rep_movsb(uint64_t count)
{
    while (count--) {
        const uint8_t *source = micro_data;
        uint8_t *target = micro_data + 2 * PAGE_SIZE;
        size_t size = PAGE_SIZE;
        __asm__ volatile("rep movsb" : "+S"(source), "+D"(target), "+c"(size)::"memory");
    }
}

static void rep_stosq(uint64_t count)
{
    while (count--) {
        uint8_t *target = micro_data;
        size_t size = PAGE_SIZE / 8;
        __asm__ volatile("rep stosq" : "+D"(target), "+c"(size) : "a"(count) : "memory");
    }
}

/* -- Control flow -- */

__asm__(".pushsection .text\n.align 64\n leaf_0: ret\n .align 64\n leaf_1: ret\n .align 64\n "
        "leaf_2: ret\n"
        ".align 64\n leaf_3: ret\n .popsection\n");
extern void leaf_0(void), leaf_1(void), leaf_2(void), leaf_3(void);

static void call_return(uint64_t count)
{
    __asm__ volatile("1: call leaf_0\n call leaf_1\n call leaf_2\n call leaf_3\n"
                     "dec %0\n jnz 1b"
                     : "+r"(count)
                     :
                     : "memory", "cc");
}

static void call_indirect(uint64_t count, void (*const targets[4])(void))
{
    __asm__ volatile("1: mov %0, %%rax\n and $3, %%eax\n call *(%1,%%rax,8)\n dec %0\n jnz 1b"
                     : "+r"(count)
                     : "r"(targets)
                     : "rax", "memory", "cc");
}

static void call_indirect_1(uint64_t count)
{
    void (*const targets[4])(void) = {leaf_0, leaf_0, leaf_0, leaf_0};
    call_indirect(count, targets);
}

static void call_indirect_4(uint64_t count)
{
    void (*const targets[4])(void) = {leaf_0, leaf_1, leaf_2, leaf_3};
    call_indirect(count, targets);
}

/* -- Code that is written -- */

/* mov $value, %eax; ret */
static uint32_t (*write_function(uint32_t value))(void)
{
    micro_code[0] = 0xb8;
    for (int i = 0; i < 4; i++)
        micro_code[1 + i] = (uint8_t)(value >> (8 * i));
    micro_code[5] = 0xc3;
    return (uint32_t(*)(void))(uintptr_t)micro_code;
}

/* Data in the second half of a page whose first half has run. */
static void store_beside_code(uint64_t count)
{
    write_function(1)();
    __asm__ volatile("1: mov %0, (%1)\n dec %0\n jnz 1b"
                     : "+r"(count)
                     : "r"(micro_code + PAGE_SIZE / 2)
                     : "memory", "cc");
}

/* The same with a call of that code between the stores. */
static void store_beside_and_call(uint64_t count)
{
    uint32_t (*function)(void) = write_function(1);
    volatile uint64_t *data = (volatile uint64_t *)(void *)(micro_code + PAGE_SIZE / 2);
    while (count--) {
        *data = count;
        function();
    }
}

static void overwrite_and_call(uint64_t count)
{
    uint32_t (*function)(void) = write_function(1);
    volatile uint32_t *operand = (volatile uint32_t *)(void *)(micro_code + 1);
    while (count--) {
        *operand = (uint32_t)count;
        if (function() != (uint32_t)count)
            __builtin_trap();
    }
}

const struct micro_test micro_user_tests[] = {
    {"add, independent", adds_independent, 8},
    {"add, dependent", adds_dependent, 8},
    {"adc/sbb/setc/rcl mix", flags_mix, 8},
    {"lfence + rdtsc", time_stamp, 1},
    {"load, stream 16 KiB", load_stream, 2048},
    {"store, stream 16 KiB", store_stream, 2048},
    {"load, dependent", load_chain, 4},
    {"push or pop", push_pop, 8},
    {"lock inc", locked_increment, 1},
    {"rep movsb 4 KiB", rep_movsb, 1},
    {"rep stosq 4 KiB", rep_stosq, 1},
    {"call + ret", call_return, 4},
    {"indirect call, 1 target", call_indirect_1, 1},
    {"indirect call, 4 targets", call_indirect_4, 1},
    {"store beside code", store_beside_code, 1},
    {"store beside code + call", store_beside_and_call, 1},
    {"overwrite code + call", overwrite_and_call, 1},
    {NULL, NULL, 0},
};

/* -- Timing -- */

static uint64_t time_turns(const struct micro_test *test, uint64_t count)
{
    uint64_t start = read_tsc();
    test->turn(count);
    return read_tsc() - start;
}

uint64_t micro_measure(const struct micro_test *test, uint64_t cycles)
{
    uint64_t count = 1, best = UINT64_MAX;
    while (time_turns(test, count) < cycles && count < UINT64_C(1) << 40)
        count *= 2;
    for (int run = 0; run < RUNS; run++) {
        uint64_t taken = time_turns(test, count);
        best = taken < best ? taken : best;
    }
    return best * 100 / (count * test->operations);
}

char *micro_decimal(char text[24], uint64_t value)
{
    char *digit = text + 23;
    *digit = 0;
    do {
        *--digit = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return digit;
}
