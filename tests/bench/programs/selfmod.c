/*
 * Code that changes: small functions are made at random places, across page boundaries too, run,
 * changed by stores of all kinds, through a second mapping, by themselves, by replacing the page
 * and in a child that shares it, and run again. Every result is compared with what the functions'
 * description gives. Not for its speed.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define PAGE      4096u
#define PAGES     8u
#define REGION    (PAGES * PAGE)
#define FUNCTIONS 40
#define MAX_STEPS 12
#define MAX_SIZE  128u

enum kind { ADD, XOR, SUBTRACT, MULTIPLY, ROTATE, SCALE, SKIP, KINDS };

/* Opcode bytes before the immediate, and the immediate's size; all work on EAX. */
static const struct {
    uint8_t bytes[3], count, size;
} encodings[KINDS] = {
    [ADD] = {{0x05}, 1, 4},
    [XOR] = {{0x35}, 1, 4},
    [SUBTRACT] = {{0x2d}, 1, 4},
    [MULTIPLY] = {{0x69, 0xc0}, 2, 4},
    [ROTATE] = {{0xc1, 0xc0}, 2, 1},
    [SCALE] = {{0x8d, 0x84, 0x40}, 3, 4}, /* LEA EAX, [RAX + 2 * RAX + immediate] */
    [SKIP] = {{0xeb}, 1, 1},              /* JMP over so many bytes */
};

struct step {
    enum kind kind;
    uint32_t immediate;
    unsigned at; /* of the immediate, from the function's start */
};

struct function {
    unsigned offset, size, count;
    struct step steps[MAX_STEPS];
};

static uint8_t *run_view, *write_view; /* the same memory */
static struct function functions[FUNCTIONS];
static uint64_t random_state = 0xc0de5eed, checksum;

static uint32_t pick(uint32_t limit)
{
    return (uint32_t)(bench_random(&random_state) >> 11) % limit;
}

static uint32_t pick_immediate(enum kind kind)
{
    uint32_t value = (uint32_t)bench_random(&random_state);
    return kind == ROTATE ? value & 31 : kind == SKIP ? value % 6 : value;
}

static uint32_t step_result(const struct step *step, uint32_t value)
{
    switch (step->kind) {
    case ADD:
        return value + step->immediate;
    case XOR:
        return value ^ step->immediate;
    case SUBTRACT:
        return value - step->immediate;
    case MULTIPLY:
        return value * step->immediate;
    case ROTATE:
        return step->immediate ? value << step->immediate | value >> (32 - step->immediate) : value;
    case SCALE:
        return value * 3 + step->immediate;
    default:
        return value;
    }
}

static uint32_t expected_of(const struct function *function, uint32_t value)
{
    for (unsigned i = 0; i < function->count; i++)
        value = step_result(&function->steps[i], value);
    return value;
}

static void fail(const char *what, unsigned number)
{
    printf("selfmod: wrong result after %s (%u)\n", what, number);
    fflush(stdout);
    _exit(1);
}

static uint32_t call(const uint8_t *code, uint32_t value)
{
    return ((uint32_t(*)(uint32_t))(uintptr_t)code)(value);
}

static void check(const struct function *function, const char *what, unsigned number)
{
    uint32_t value = (uint32_t)bench_random(&random_state);
    uint32_t result = call(run_view + function->offset, value);
    if (result != expected_of(function, value))
        fail(what, number);
    checksum = bench_mix(checksum, result);
}

/* -- Making and changing functions -- */

static void make_function(unsigned index, unsigned offset)
{
    struct function *function = &functions[index];
    uint8_t code[MAX_SIZE] = {0x89, 0xf8}; /* MOV EAX, EDI */
    unsigned size = 2;
    function->offset = offset;
    function->count = 2 + pick(MAX_STEPS - 2);
    for (unsigned i = 0; i < function->count; i++) {
        struct step *step = &function->steps[i];
        step->kind = (enum kind)pick(KINDS);
        step->immediate = pick_immediate(step->kind);
        memcpy(code + size, encodings[step->kind].bytes, encodings[step->kind].count);
        size += encodings[step->kind].count;
        step->at = size;
        memcpy(code + size, &step->immediate, encodings[step->kind].size);
        size += encodings[step->kind].size;
        for (unsigned k = 0; step->kind == SKIP && k < 6; k++)
            code[size++] = 0x90;
    }
    code[size++] = 0xc3;
    function->size = size;
    memcpy(run_view + offset, code, size);
}

/* Places FUNCTIONS functions so that they do not overlap; every fourth crosses into a new page. */
static void make_functions(void)
{
    const unsigned slot = REGION / FUNCTIONS;
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        unsigned offset = i * slot + pick(slot - MAX_SIZE), page = (offset / PAGE + 1) * PAGE;
        if (i % 4 == 0 && page >= i * slot + 2 && page - 2 + MAX_SIZE < (i + 1) * slot)
            offset = page - 2 - pick(MAX_SIZE / 4 < page - i * slot ? MAX_SIZE / 4 : 1);
        make_function(i, offset < i * slot ? i * slot : offset);
    }
}

static void store(uint8_t *at, uint32_t value, unsigned size, unsigned method)
{
    switch (size == 1 ? method % 3 : method) {
    case 0: /* byte by byte */
        for (unsigned i = 0; i < size; i++)
            ((volatile uint8_t *)at)[i] = (uint8_t)(value >> (8 * i));
        break;
    case 1: { /* REP MOVSB */
        const void *from = &value;
        void *to = at;
        unsigned long count = size;
        __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
        break;
    }
    case 2: /* atomic */
        if (size == 1)
            __asm__ volatile("xchgb %b0, %1" : "+q"(value), "+m"(*at) : : "memory");
        else
            __asm__ volatile("xchgl %0, %1"
                             : "+r"(value), "+m"(*(uint32_t *)(void *)at)
                             :
                             : "memory");
        break;
    case 3: /* two halves, the upper one first */
        __asm__ volatile("movw %w1, 2(%0)" : : "r"(at), "r"(value >> 16) : "memory");
        __asm__ volatile("movw %w1, (%0)" : : "r"(at), "r"(value) : "memory");
        break;
    case 4: { /* eight bytes, of which four stay */
        uint64_t both;
        memcpy(&both, at, sizeof both);
        both = (both & ~UINT64_C(0xffffffff)) | value;
        __asm__ volatile("movq %1, (%0)" : : "r"(at), "r"(both) : "memory");
        break;
    }
    default: /* a vector */
        __asm__ volatile("movd %1, %%xmm0\n\tmovd %%xmm0, (%0)"
                         :
                         : "r"(at), "r"(value)
                         : "xmm0", "memory");
    }
}

static void patch(unsigned index, unsigned number)
{
    struct function *function = &functions[index];
    struct step *step = &function->steps[pick(function->count)];
    uint8_t *view = pick(3) ? run_view : write_view;
    step->immediate = pick_immediate(step->kind);
    store(view + function->offset + step->at, step->immediate, encodings[step->kind].size, pick(6));
    check(function, "a change", number);
}

/* Bytes between functions are data that change all the time. */
static void write_data(unsigned index)
{
    const struct function *function = &functions[index];
    volatile uint8_t *after = run_view + function->offset + function->size;
    (*after)++;
    check(function, "data beside it", index);
}

/* -- Code that changes itself -- */

/* Patches the immediate of its next instruction in a loop and adds it up. */
static void self_patching(uint32_t count, unsigned offset)
{
    /* XOR EAX, EAX; loop: MOV [RIP + 1], EDI; ADD EAX, imm32; DEC EDI; JNZ loop; RET */
    static const uint8_t code[] = {0x31, 0xc0, 0x89, 0x3d, 1,    0,    0,    0,    0x05,
                                   0,    0,    0,    0,    0xff, 0xcf, 0x75, 0xf1, 0xc3};
    memcpy(run_view + offset, code, sizeof code);
    uint32_t sum = call(run_view + offset, count);
    if (sum != count * (count + 1) / 2)
        fail("patching itself", count);
    checksum = bench_mix(checksum, sum);
}

/* Each of a run of increments turns the one after next into a decrement and back. */
static void alternating(uint32_t count)
{
    /* MOV EAX, EDI; XOR byte [RIP + 4], 8; INC EAX; two bytes: INC or DEC EAX; RET */
    static const uint8_t code[] = {0x89, 0xf8, 0x80, 0x35, 3,    0,    0,
                                   0,    8,    0xff, 0xc0, 0xff, 0xc0, 0xc3};
    uint8_t *at = run_view + PAGE - 11;
    memcpy(at, code, sizeof code);
    for (uint32_t i = 0; i < count; i++)
        if (call(at, i) != (i % 2 ? i + 2 : i))
            fail("turning an instruction", i);
}

/* -- Mappings -- */

/* Other memory at the same address, and the old one again. */
static void replace_page(int file, unsigned page, unsigned number)
{
    uint8_t *at = run_view + page * PAGE;
    const uint8_t code[] = {0x8d, 0x47, (uint8_t)number, 0xc3}; /* LEA EAX, [RDI + number] */
    if (mmap(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
             -1, 0) != at)
        fail("mmap", page);
    memcpy(at + 100, code, sizeof code);
    if (call(at + 100, 1000) != 1000 + (uint32_t)(int8_t)number)
        fail("replacing a page", page);
    if (mmap(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_FIXED, file,
             page * PAGE) != at)
        fail("mmap", page);
    for (unsigned i = 0; i < FUNCTIONS; i++)
        if (functions[i].offset / PAGE == page)
            check(&functions[i], "the page came back", i);
}

/* A child changes its own copy; the parent's stays. */
static void change_in_child(uint8_t *own, unsigned number)
{
    const uint8_t code[] = {0x8d, 0x47, 5, 0xc3};
    memcpy(own, code, sizeof code);
    if (call(own, number) != number + 5)
        fail("before fork", number);
    pid_t pid = fork();
    if (pid == 0) {
        own[2] = 77;
        _exit(call(own, number) == number + 77 ? 0 : 1);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0 ||
        call(own, number) != number + 5)
        fail("fork", number);
}

/* Writable or executable, never both. */
static void protect_by_turns(uint8_t *own, unsigned number)
{
    uint8_t code[] = {0xb8, 0, 0, 0, 0, 0xc3}; /* MOV EAX, number */
    memcpy(code + 1, &number, sizeof number);
    mprotect(own, PAGE, PROT_READ | PROT_WRITE);
    memcpy(own + 200, code, sizeof code);
    mprotect(own, PAGE, PROT_READ | PROT_EXEC);
    if (call(own + 200, 0) != number)
        fail("mprotect", number);
    mprotect(own, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
}

int main(int argc, char **argv)
{
    uint64_t rounds = bench_rounds(argc, argv, 250);
    const int all = PROT_READ | PROT_WRITE | PROT_EXEC;
    int file = memfd_create("code", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, REGION) < 0)
        return 1;
    run_view = mmap(NULL, REGION, all, MAP_SHARED, file, 0);
    write_view = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    uint8_t *own = mmap(NULL, PAGE, all, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (run_view == MAP_FAILED || write_view == MAP_FAILED || own == MAP_FAILED)
        return 1;
    struct bench_time start = bench_start();
    for (uint64_t round = 0; round < rounds; round++) {
        const unsigned number = (unsigned)round;
        make_functions();
        for (unsigned i = 0; i < FUNCTIONS; i++)
            for (unsigned times = 0; times < 1 + round % 7 * 10; times++)
                check(&functions[i], "it was made", i);
        for (unsigned i = 0; i < 200; i++) {
            patch(pick(FUNCTIONS), i);
            write_data(pick(FUNCTIONS));
        }
        replace_page(file, pick(PAGES), number % 128);
        protect_by_turns(own, number);
        if (round % 8 == 0)
            change_in_child(own, number);
        self_patching(20 + number % 50, PAGE * 2 - pick(20));
        alternating(50);
    }
    bench_report("selfmod", checksum, start);
    return 0;
}
