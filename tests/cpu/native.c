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
 * table. The upper halves of the registers do not survive that and are not looked at. FS is the
 * program's while it runs: the first thing after it is to give the C library its own back.
 */
#include "tests/cpu/native.h"

#ifdef __x86_64__

#include <asm/ldt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define CONTROL 0x2a5b6000
#define SWITCH  USER_EXIT

/* Offsets are repeated in the assembly below. */
struct control {
    uint64_t gpr[16];                     /* 0 */
    uint64_t eflags;                      /* 128 */
    uint64_t host_rsp;                    /* 136 */
    uint64_t target_offset;               /* 144: far pointer of the program's first instruction */
    uint32_t exit;                        /* 152: far pointer of the exit code */
    uint16_t exit_selector;               /* 156 */
    _Alignas(4) uint16_t target_selector; /* 160 */
    uint16_t selector[6];                 /* 162: as in struct user_state */
    bool has_avx;                         /* 174 */
    bool running;                         /* 175 */
    uint64_t fs_base;                     /* 176 */
    uint64_t gs_base;                     /* 184 */
    uint64_t host_fs_base;                /* 192 */
    uint32_t host_mxcsr;                  /* 200 */
    /* What a signal tells */
    uint64_t rip, vector, error, cr2;
    _Alignas(64) uint8_t fx[FX_SIZE];    /* 256: loaded */
    _Alignas(64) uint8_t saved[FX_SIZE]; /* 1088 */
};
_Static_assert(CONTROL + offsetof(struct control, exit) == USER_EXIT_POINTER, "as promised");
_Static_assert(offsetof(struct control, target_selector) == 160, "used by the assembly");
_Static_assert(offsetof(struct control, selector) == 162, "used by the assembly");
_Static_assert(offsetof(struct control, has_avx) == 174, "used by the assembly");
_Static_assert(offsetof(struct control, fs_base) == 176, "used by the assembly");
_Static_assert(offsetof(struct control, host_mxcsr) == 200, "used by the assembly");
_Static_assert(offsetof(struct control, fx) == 256, "used by the assembly");
_Static_assert(offsetof(struct control, saved) == 1088, "used by the assembly");

void native_enter(void);
void native_signal(int number, siginfo_t *info, void *context);
extern const uint8_t native_exit[], native_resume[], native_switch_end[];

__asm__(".pushsection .text\n"
        ".set control, 0x2a5b6000\n"
        "native_enter:\n"
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, control+136\n"
        "    rdfsbase %rax\n"
        "    mov %rax, control+192\n"
        "    cmpb $0, control+174\n"
        "    je 1f\n"
        "    mov $7, %eax\n"
        "    xor %edx, %edx\n"
        "    xrstor64 control+256\n"
        "    jmp 2f\n"
        "1:  fxrstor64 control+256\n"
        "2:  movw control+162, %es\n"
        "    movw control+168, %ds\n"
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
        "    movw control+170, %fs\n"
        "    movw control+172, %gs\n"
        "    cmpw $0x33, control+160\n"
        "    jne 1f\n"
        "    mov control+176, %rax\n"
        "    wrfsbase %rax\n"
        "    mov control+184, %rax\n"
        "    wrgsbase %rax\n"
        "    pushq control+128\n"
        "    mov control+0, %rax\n"
        "    popfq\n"
        "    mov control+32, %rsp\n"
        "    jmp *control+144\n"
        /* Another segment: selector and offset as m16:32. */
        "1:  movzwl control+160, %eax\n"
        "    mov %eax, control+148\n"
        "    pushq control+128\n"
        "    popfq\n"
        "    mov control+0, %rax\n"
        "    movw control+166, %ss\n"
        "    mov control+32, %rsp\n"
        "    ljmp *control+144\n"
        /* The handler of all signals: the C library's FS first. Aligned as at a call. */
        "native_signal:\n"
        "    cmpb $0, control+175\n"
        "    je 1f\n"
        "    movw %es, control+162\n"
        "    movw %ds, control+168\n"
        "    movw %fs, control+170\n"
        "    movw %gs, control+172\n"
        "    rdfsbase %rax\n"
        "    mov %rax, control+176\n"
        "    rdgsbase %rax\n"
        "    mov %rax, control+184\n"
        "    xor %eax, %eax\n"
        "    mov %eax, %fs\n"
        "    mov control+192, %rax\n"
        "    wrfsbase %rax\n"
        "    pushq $0x202\n" /* without AC */
        "    popfq\n"
        "1:  jmp native_caught\n"
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
        "    movw %ss, control+166\n"
        "    mov $0x2b, %eax\n"
        "    mov %eax, %ss\n"
        "    mov control+136, %rsp\n"
        "    pushfq\n"
        "    popq control+128\n"
        "    pushq $0x202\n"
        "    popfq\n"
        "    movw %es, control+162\n"
        "    movw %ds, control+168\n"
        "    movw %fs, control+170\n"
        "    movw %gs, control+172\n"
        "    rdfsbase %rax\n"
        "    mov %rax, control+176\n"
        "    rdgsbase %rax\n"
        "    mov %rax, control+184\n"
        "    xor %eax, %eax\n"
        "    mov %eax, %fs\n"
        "    mov control+192, %rax\n"
        "    wrfsbase %rax\n"
        "    cmpb $0, control+174\n"
        "    je 1f\n"
        "    mov $7, %eax\n"
        "    xor %edx, %edx\n"
        "    xsave64 control+1088\n"
        "    jmp 2f\n"
        "1:  fxsave64 control+1088\n"
        "2:\n"
        "native_resume:\n"
        "    mov control+136, %rsp\n"
        "    mov $0x2b, %eax\n"
        "    mov %eax, %ss\n"
        "    mov %eax, %ds\n"
        "    mov %eax, %es\n"
        "    xor %eax, %eax\n"
        "    mov %eax, %gs\n"
        "    pushq $0x202\n"
        "    popfq\n"
        "    fninit\n"
        "    ldmxcsr control+200\n"
        "    cmpb $0, control+174\n"
        "    je 1f\n"
        "    vzeroupper\n"
        "1:  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    ret\n"
        "native_switch_end:\n"
        ".popsection\n");

enum { STACK_SIZE = 1 << 16, SIGNALS = 6 };

static const int signals[SIGNALS] = {SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS, SIGALRM};

struct native_host {
    struct native native;
    struct control *control;
    uint8_t *code; /* writable view of the code page */
    bool has_ldt;
    struct sigaction old[SIGNALS];
    pthread_t thread;
    uint8_t *stack;
};

/* The run ended with an exception. What the program wrote to `running` and so on is ours alone. */
__attribute__((used)) void native_caught(int number, siginfo_t *info, void *context);
void native_caught(int number, siginfo_t *info, void *context)
{
    static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                      REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                      REG_R12, REG_R13, REG_R14, REG_R15};
    struct control *control = (struct control *)(uintptr_t)CONTROL;
    const mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    (void)info;
    if (!control->running && number == SIGALRM)
        return;
    if (!control->running) {
        signal(number, SIG_DFL); /* a bug of the test itself */
        return;
    }
    for (unsigned i = 0; i < 16; i++)
        control->gpr[i] = (uint64_t)machine->gregs[order[i]];
    control->eflags = (uint64_t)machine->gregs[REG_EFL];
    memcpy(control->saved, machine->fpregs, control->has_avx ? FX_SIZE : 512);
    control->rip = (uint64_t)machine->gregs[REG_RIP];
    control->vector =
        number == SIGALRM ? (uint64_t)VECTOR_ENDLESS : (uint64_t)machine->gregs[REG_TRAPNO];
    control->error = (uint64_t)machine->gregs[REG_ERR];
    control->cr2 = (uint64_t)machine->gregs[REG_CR2];
    control->selector[1] = (uint16_t)machine->gregs[REG_CSGSFS];
    control->selector[2] = (uint16_t)(machine->gregs[REG_CSGSFS] >> 48);
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

static bool make_segments(void)
{
    for (unsigned i = 0; i < USER_SEGMENTS; i++) {
        const struct user_segment *from = &user_segments[i];
        struct user_desc segment = {.entry_number = i + 1,
                                    .base_addr = from->base,
                                    .limit = from->limit,
                                    .seg_32bit = from->big,
                                    .contents = from->contents,
                                    .read_exec_only = from->read_exec_only,
                                    .limit_in_pages = from->pages,
                                    .seg_not_present = from->not_present,
                                    .useable = 1};
        if (syscall(SYS_modify_ldt, 0x11, &segment, sizeof segment) != 0)
            return false;
    }
    return true;
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
    if (!(getauxval(AT_HWCAP2) & 2)) {
        *why = "the host's kernel does not let programs use FSGSBASE";
        return NULL;
    }
    if (!map_everything(&host)) {
        *why = "the low addresses it needs are in use";
        return NULL;
    }
    memset(host.code, 0xcc, USER_PAGE);
    host.has_ldt = make_segments();
    host.control->has_avx = host.native.has_avx = __builtin_cpu_supports("avx");
    host.thread = pthread_self();
    host.stack = malloc(STACK_SIZE);
    stack_t stack = {.ss_sp = host.stack, .ss_size = STACK_SIZE};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_sigaction = native_signal,
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

void native_stop(struct native *native)
{
    pthread_kill(((struct native_host *)native)->thread, SIGALRM);
}

bool native_supports(const struct native *native, int bits)
{
    return bits != 16 || ((const struct native_host *)native)->has_ldt;
}

void native_run(struct native *native, int bits, const uint8_t *code, size_t length,
                struct user_state *state)
{
    static const uint16_t code_selectors[] = {USER_SELECTOR_CODE16, USER_SELECTOR_CODE32,
                                              USER_SELECTOR_CODE64};
    struct native_host *host = (struct native_host *)native;
    struct control *control = host->control;
    user_place_code(host->code, bits, code, length);
    memcpy(control->gpr, state->gpr, sizeof control->gpr);
    memcpy(control->fx, state->fx, sizeof control->fx);
    memcpy(control->selector, state->selector, sizeof control->selector);
    control->fs_base = state->fs_base;
    control->gs_base = state->gs_base;
    control->eflags = state->eflags;
    control->target_offset = bits == 16 ? USER_CODE - USER_BASE : USER_CODE;
    control->target_selector = code_selectors[bits / 32];
    control->selector[2] = bits == 16 ? USER_SELECTOR_DATA16 : USER_SELECTOR_DATA;
    control->exit = SWITCH;
    control->exit_selector = USER_EXIT_SELECTOR;
    control->host_mxcsr = 0x1f80;
    control->running = true;
    __asm__ volatile("" ::: "memory");
    native_enter();
    __asm__ volatile("" ::: "memory");
    bool faulted = !control->running;
    control->running = false;
    if (faulted && control->vector == 1 && control->rip == SWITCH) /* a trap after the last jump */
        faulted = false;
    if (!faulted)
        control->selector[1] = control->target_selector;
    memcpy(state->gpr, control->gpr, sizeof state->gpr);
    memcpy(state->fx, control->saved, sizeof state->fx);
    memcpy(state->selector, control->selector, sizeof state->selector);
    state->fs_base = control->fs_base;
    state->gs_base = control->gs_base;
    state->eflags = control->eflags;
    state->vector = faulted ? (int)control->vector : VECTOR_END;
    state->rip = faulted ? control->rip : (bits == 16 ? USER_CODE - USER_BASE : USER_CODE) + length;
    state->error = faulted ? control->error : 0;
    state->cr2 = faulted && state->vector == 14 ? control->cr2 : 0;
    uint64_t components;
    memcpy(&components, state->fx + FX_COMPONENTS, 8);
    if (!control->has_avx || !(components & 4)) /* in their initial state */
        memset(state->fx + FX_YMM, 0, FX_SIZE - FX_YMM);
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

void native_stop(struct native *native)
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
