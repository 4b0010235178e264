/*
 * User code on the host processor, in this process.
 *
 * Everything is at fixed low addresses, so that the entry and exit code can save registers without
 * needing one, and so that 16-bit and 32-bit code reaches it:
 *
 *     SWITCH   the exit code, copied there (read, execute)
 *     CONTROL  struct control: state to load, state saved, how to get back
 *     USER_*   the program's code and data; nothing is mapped around them
 *
 * The program's code is followed by a jump to the exit code. Anything else that ends it raises a
 * signal, whose handler takes the state from the signal frame and goes on in the same place. 32-bit
 * code runs in the kernel's user code segment 0x23, 16-bit code in segments of a local descriptor
 * table. The upper halves of the registers do not survive that and are not looked at.
 */
#include "tests/cpu/native.h"

#ifdef __x86_64__

#include <asm/ldt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define CONTROL         0x2a5b6000
#define SWITCH          USER_EXIT

#define SELECTOR_CODE64 0x33
#define SELECTOR_CODE32 0x23
#define SELECTOR_DATA   0x2b
#define SELECTOR_CODE16 (1 << 3 | 7)
#define SELECTOR_DATA16 (2 << 3 | 7)

/* Offsets are repeated in the assembly below. */
struct control {
    uint64_t gpr[16];                /* 0 */
    uint64_t eflags;                 /* 128 */
    uint64_t host_rsp;               /* 136 */
    uint64_t target_offset;          /* 144: far pointer of the program's first instruction */
    uint64_t exit;                   /* 152: address of the exit code */
    uint16_t target_selector;        /* 160 */
    uint16_t data_selector;          /* 162 */
    uint16_t stack_selector;         /* 164 */
    uint32_t host_mxcsr;             /* 168 */
    bool running;                    /* 172 */
    _Alignas(64) uint8_t fx[512];    /* 192: loaded */
    _Alignas(64) uint8_t saved[512]; /* 704 */
};
_Static_assert(CONTROL + offsetof(struct control, exit) == USER_EXIT_POINTER, "as promised");
_Static_assert(offsetof(struct control, host_mxcsr) == 168, "used by the assembly");
_Static_assert(offsetof(struct control, fx) == 192, "used by the assembly");
_Static_assert(offsetof(struct control, saved) == 704, "used by the assembly");

void native_enter(void);
extern const uint8_t native_exit[], native_resume[], native_switch_end[];

__asm__(".pushsection .text\n"
        ".set control, 0x2a5b6000\n"
        "native_enter:\n"
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, control+136\n"
        "    fxrstor64 control+192\n"
        "    movw control+162, %ds\n"
        "    movw control+162, %es\n"
        "    mov control+8, %rcx\n"
        "    mov control+16, %rdx\n"
        "    mov control+24, %rbx\n"
        "    mov control+40, %rbp\n"
        "    mov control+48, %rsi\n"
        "    mov control+56, %rdi\n"
        "    mov control+64, %r8\n"
        "    mov control+72, %r9\n"
        "    mov control+80, %r10\n"
        "    mov control+88, %r11\n"
        "    mov control+96, %r12\n"
        "    mov control+104, %r13\n"
        "    mov control+112, %r14\n"
        "    mov control+120, %r15\n"
        "    cmpw $0x33, control+160\n"
        "    jne 1f\n"
        "    pushq control+128\n"
        "    popfq\n"
        "    mov control+0, %rax\n"
        "    mov control+32, %rsp\n"
        "    jmp *control+144\n"
        /* Another segment: selector and offset as m16:32. */
        "1:  movzwl control+160, %eax\n"
        "    mov %eax, control+148\n"
        "    pushq control+128\n"
        "    popfq\n"
        "    mov control+0, %rax\n"
        "    movw control+164, %ss\n"
        "    mov control+32, %rsp\n"
        "    ljmp *control+144\n"
        /* The rest is copied to SWITCH. */
        "native_exit:\n"
        "    mov %rax, control+0\n"
        "    mov %rcx, control+8\n"
        "    mov %rdx, control+16\n"
        "    mov %rbx, control+24\n"
        "    mov %rsp, control+32\n"
        "    mov %rbp, control+40\n"
        "    mov %rsi, control+48\n"
        "    mov %rdi, control+56\n"
        "    mov %r8, control+64\n"
        "    mov %r9, control+72\n"
        "    mov %r10, control+80\n"
        "    mov %r11, control+88\n"
        "    mov %r12, control+96\n"
        "    mov %r13, control+104\n"
        "    mov %r14, control+112\n"
        "    mov %r15, control+120\n"
        "    mov control+136, %rsp\n"
        "    pushfq\n"
        "    popq control+128\n"
        "    fxsave64 control+704\n"
        "native_resume:\n"
        "    mov control+136, %rsp\n"
        "    mov $0x2b, %eax\n"
        "    mov %eax, %ss\n"
        "    mov %eax, %ds\n"
        "    mov %eax, %es\n"
        "    pushq $0x202\n"
        "    popfq\n"
        "    fninit\n"
        "    ldmxcsr control+168\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    ret\n"
        "native_switch_end:\n"
        ".popsection\n");

struct native_host {
    struct native native;
    struct control *control;
    uint8_t *code; /* writable view of the code page */
    bool has_ldt;
    struct sigaction old[5];
    uint8_t *stack;
};

static const int signals[5] = {SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS};

/* The run ended with an exception. What the program wrote to `running` and so on is ours alone. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                      REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                      REG_R12, REG_R13, REG_R14, REG_R15};
    struct control *control = (struct control *)(uintptr_t)CONTROL;
    const mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    (void)info;
    if (!control->running) {
        signal(number, SIG_DFL); /* a bug of the test itself */
        return;
    }
    for (unsigned i = 0; i < 16; i++)
        control->gpr[i] = (uint64_t)machine->gregs[order[i]];
    control->eflags = (uint64_t)machine->gregs[REG_EFL];
    memcpy(control->saved, machine->fpregs, sizeof control->saved);
    /* Slots that the program's start no longer needs carry the exception. */
    control->target_offset = (uint64_t)machine->gregs[REG_RIP];
    control->target_selector = (uint16_t)machine->gregs[REG_TRAPNO];
    control->exit = (uint64_t)machine->gregs[REG_ERR];
    memcpy(control->fx, &machine->gregs[REG_CR2], 8);
    control->running = false;
    __asm__ volatile("jmp *%0" ::"r"((uintptr_t)SWITCH + (uintptr_t)(native_resume - native_exit)));
    __builtin_unreachable();
}

static void *map_at(uintptr_t address, size_t size, int protection)
{
    void *page = mmap((void *)address, size, protection,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    return page == MAP_FAILED ? NULL : page;
}

static bool make_segment(unsigned index, unsigned contents)
{
    struct user_desc segment = {.entry_number = index,
                                .base_addr = USER_BASE,
                                .limit = 0xffff,
                                .contents = contents,
                                .useable = 1};
    return syscall(SYS_modify_ldt, 1, &segment, sizeof segment) == 0;
}

static bool map_everything(struct native_host *host)
{
    int memory = memfd_create("oracle-code", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, USER_PAGE) != 0)
        return false;
    void *seen = mmap((void *)(uintptr_t)USER_CODE, USER_PAGE, PROT_READ | PROT_EXEC,
                      MAP_SHARED | MAP_FIXED_NOREPLACE, memory, 0);
    host->code = mmap(NULL, USER_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    close(memory);
    if (seen == MAP_FAILED || host->code == MAP_FAILED)
        return false;
    host->control = map_at(CONTROL, sizeof *host->control, PROT_READ | PROT_WRITE);
    uint8_t *exit_code = map_at(SWITCH, USER_PAGE, PROT_READ | PROT_WRITE);
    host->native.data = map_at(USER_DATA, USER_DATA_SIZE, PROT_READ | PROT_WRITE);
    if (!host->control || !exit_code || !host->native.data)
        return false;
    memcpy(exit_code, native_exit, (size_t)(native_switch_end - native_exit));
    return mprotect(exit_code, USER_PAGE, PROT_READ | PROT_EXEC) == 0;
}

struct native *native_new(const char **why)
{
    static struct native_host host; /* the addresses and handlers exist only once */
    if (!map_everything(&host)) {
        *why = "the low addresses it needs are in use";
        return NULL;
    }
    memset(host.code, 0xcc, USER_PAGE);
    host.has_ldt = make_segment(1, 2) && make_segment(2, 0);
    host.stack = malloc(1 << 16);
    stack_t stack = {.ss_sp = host.stack, .ss_size = 1 << 16};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_sigaction = on_signal,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, &host.old[i]);
    return &host.native;
}

void native_free(struct native *native)
{
    struct native_host *host = (struct native_host *)native;
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &host->old[i], NULL);
    munmap(host->code, USER_PAGE);
    munmap((void *)(uintptr_t)USER_CODE, USER_PAGE);
    munmap((void *)(uintptr_t)SWITCH, USER_PAGE);
    munmap(host->control, sizeof *host->control);
    munmap(native->data, USER_DATA_SIZE);
    free(host->stack);
}

bool native_supports(const struct native *native, int bits)
{
    return bits != 16 || ((const struct native_host *)native)->has_ldt;
}

void native_run(struct native *native, int bits, const uint8_t *code, size_t length,
                struct user_state *state)
{
    struct native_host *host = (struct native_host *)native;
    struct control *control = host->control;
    user_place_code(host->code, bits, code, length);
    memcpy(control->gpr, state->gpr, sizeof control->gpr);
    memcpy(control->fx, state->fx, sizeof control->fx);
    control->eflags = state->eflags;
    control->target_offset = bits == 16 ? USER_CODE - USER_BASE : USER_CODE;
    control->target_selector = bits == 16   ? SELECTOR_CODE16
                               : bits == 32 ? SELECTOR_CODE32
                                            : SELECTOR_CODE64;
    control->data_selector = bits == 16 ? SELECTOR_DATA16 : SELECTOR_DATA;
    control->stack_selector = bits == 16 ? SELECTOR_DATA16 : SELECTOR_DATA;
    control->exit = SWITCH;
    control->host_mxcsr = 0x1f80;
    control->running = true;
    __asm__ volatile("" ::: "memory");
    native_enter();
    __asm__ volatile("" ::: "memory");
    bool faulted = !control->running;
    control->running = false;
    memcpy(state->gpr, control->gpr, sizeof state->gpr);
    memcpy(state->fx, control->saved, sizeof state->fx);
    state->eflags = control->eflags;
    state->vector = faulted ? control->target_selector : VECTOR_END;
    state->rip = faulted ? control->target_offset
                         : (bits == 16 ? USER_CODE - USER_BASE : USER_CODE) + length;
    state->error = faulted ? control->exit : 0;
    state->cr2 = 0;
    if (faulted && state->vector == 14)
        memcpy(&state->cr2, control->fx, 8);
}

#else /* other hosts have nothing to compare with */

struct native *native_new(const char **why)
{
    *why = "the host is no x86-64 processor";
    return NULL;
}

void native_free(struct native *native)
{
    (void)native;
}

bool native_supports(const struct native *native, int bits)
{
    (void)native;
    (void)bits;
    return false;
}

void native_run(struct native *native, int bits, const uint8_t *code, size_t length,
                struct user_state *state)
{
    (void)native;
    (void)bits;
    (void)code;
    (void)length;
    (void)state;
}

#endif
