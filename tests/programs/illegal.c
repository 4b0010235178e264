/*
 * Which instructions does the processor have? For 32-bit Linux, without a C library. It executes
 * one instruction of each extension and prints what ran and what was undefined (tests/boot/boot.sh
 * pentium3).
 */
#include <stddef.h>
#include <stdint.h>

#define SYS_EXIT         1
#define SYS_WRITE        4
#define SYS_RT_SIGRETURN "173"
#define SYS_RT_SIGACTION 174
#define SIGILL           4
#define SA_SIGINFO       4
#define SA_RESTORER      0x04000000
#define SA_NODEFER       0x40000000
#define UC_ESP           (20 + 7 * 4) /* in the context of a signal */
#define UC_EIP           (20 + 14 * 4)

static const struct {
    const char *name;
    uint8_t code[8]; /* EAX points to memory; what follows is RET */
} instructions[] = {
    {"cmov", {0x0f, 0x40, 0xca, 0xc3}},
    {"mmx", {0x0f, 0xfc, 0xc1, 0xc3}},
    {"sse", {0x0f, 0x58, 0xc1, 0xc3}},
    {"sfence", {0x0f, 0xae, 0xf8, 0xc3}},
    {"prefetch", {0x0f, 0x18, 0x08, 0xc3}},
    {"pause", {0xf3, 0x90, 0xc3}},
    {"nop", {0x0f, 0x1f, 0x00, 0xc3}},
    {"endbr32", {0xf3, 0x0f, 0x1e, 0xfb, 0xc3}},
    {"lzcnt-as-bsr", {0xf3, 0x0f, 0xbd, 0xc9, 0xc3}},
    {"sse2", {0x66, 0x0f, 0x58, 0xc1, 0xc3}},
    {"sse2-scalar", {0xf2, 0x0f, 0x58, 0xc1, 0xc3}},
    {"sse2-integer", {0x66, 0x0f, 0xfc, 0xc1, 0xc3}},
    {"sse2-move", {0x66, 0x0f, 0x6f, 0xc1, 0xc3}},
    {"sse2-mmx", {0x0f, 0xd4, 0xc1, 0xc3}},
    {"movnti", {0x0f, 0xc3, 0x08, 0xc3}},
    {"clflush", {0x0f, 0xae, 0x38, 0xc3}},
    {"lfence", {0x0f, 0xae, 0xe8, 0xc3}},
    {"mfence", {0x0f, 0xae, 0xf0, 0xc3}},
    {"sse3", {0xf2, 0x0f, 0x7c, 0xc1, 0xc3}},
    {"ssse3", {0x66, 0x0f, 0x38, 0x00, 0xc1, 0xc3}},
    {"ssse3-mmx", {0x0f, 0x38, 0x00, 0xc1, 0xc3}},
    {"sse4.1", {0x66, 0x0f, 0x38, 0x40, 0xc1, 0xc3}},
    {"crc32", {0xf2, 0x0f, 0x38, 0xf0, 0xc9, 0xc3}},
    {"sse4.2", {0x66, 0x0f, 0x3a, 0x63, 0xc1, 0x00, 0xc3}},
    {"popcnt", {0xf3, 0x0f, 0xb8, 0xc9, 0xc3}},
    {"aes", {0x66, 0x0f, 0x38, 0xdc, 0xc1, 0xc3}},
    {"pclmulqdq", {0x66, 0x0f, 0x3a, 0x44, 0xc1, 0x00, 0xc3}},
    {"sha", {0x0f, 0x38, 0xc8, 0xc1, 0xc3}},
    {"movbe", {0x0f, 0x38, 0xf0, 0x08, 0xc3}},
    {"rdrand", {0x0f, 0xc7, 0xf1, 0xc3}},
    {"rdtscp", {0x0f, 0x01, 0xf9, 0xc3}},
    {"adx", {0x66, 0x0f, 0x38, 0xf6, 0xc9, 0xc3}},
    {"avx", {0xc5, 0xf8, 0x58, 0xc1, 0xc3}},
    {"avx2", {0xc5, 0xf5, 0xfc, 0xc1, 0xc3}},
    {"fma", {0xc4, 0xe2, 0x71, 0x98, 0xc1, 0xc3}},
    {"f16c", {0xc4, 0xe2, 0x79, 0x13, 0xc1, 0xc3}},
    {"bmi1", {0xc4, 0xe2, 0x70, 0xf2, 0xc9, 0xc3}},
    {"bmi2", {0xc4, 0xe2, 0x73, 0xf5, 0xc9, 0xc3}},
    {"3dnow", {0x0f, 0x0f, 0xc1, 0x9e, 0xc3}},
    {"ud2", {0x0f, 0x0b, 0xc3}},
};
#define COUNT (sizeof instructions / sizeof *instructions)

static int system_call(int number, const void *a, const void *b, const void *c, size_t d)
{
    int result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d)
                     : "memory");
    return result;
}

static void print(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    system_call(SYS_WRITE, (void *)1, text, (void *)length, 0);
}

static volatile int was_undefined;

/* Goes on as if the instruction's RET had been executed. */
static void on_illegal(int signal, void *info, uint8_t *context)
{
    uint32_t **esp = (uint32_t **)(context + UC_ESP);
    was_undefined = 1;
    *(uint32_t *)(context + UC_EIP) = *(*esp)++;
}

__attribute__((naked)) static void restore(void)
{
    __asm__("mov $" SYS_RT_SIGRETURN ", %eax\n\tint $0x80");
}

static int is_undefined(const uint8_t *code)
{
    static _Alignas(16) uint8_t memory[64];
    void *address = memory;
    was_undefined = 0;
    __asm__ volatile("call *%1" : "+a"(address) : "r"(code) : "ecx", "edx", "cc", "memory");
    return was_undefined;
}

/* The table lies in a page that may be executed (-z noseparate-code). */
static void run(void)
{
    static int undefined[COUNT];
    static const struct {
        void (*handler)(int, void *, uint8_t *);
        uint32_t flags;
        void (*restorer)(void);
        uint32_t mask[2];
    } action = {on_illegal, SA_SIGINFO | SA_RESTORER | SA_NODEFER, restore, {0, 0}};

    system_call(SYS_RT_SIGACTION, (void *)SIGILL, &action, NULL, 8);
    for (unsigned i = 0; i < COUNT; i++)
        undefined[i] = is_undefined(instructions[i].code);
    for (int which = 0; which < 2; which++) {
        print(which ? "undefined:" : "ran:");
        for (unsigned i = 0; i < COUNT; i++) {
            if (undefined[i] != which)
                continue;
            print(" ");
            print(instructions[i].name);
        }
        print(".\n");
    }
    system_call(SYS_EXIT, 0, NULL, NULL, 0);
}

void _start(void);

/* With the stack aligned as the compiler expects it. */
__attribute__((naked, used)) void _start(void)
{
    __asm__("and $-16, %%esp\n\tcall *%0" ::"r"(run));
}
