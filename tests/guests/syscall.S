/*
 * SYSCALL, SYSRET, SYSENTER and SYSEXIT in long mode: every way in and out, from 64-bit and compatibility code,
 * the flags that they keep and clear, single steps across them, and where they do not exist.
 */
#include "tests/guests/guest.inc"

#define MSR_STAR         0xc0000081
#define MSR_LSTAR        0xc0000082
#define MSR_CSTAR        0xc0000083
#define MSR_SFMASK       0xc0000084
#define MSR_SYSENTER_CS  0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define FLAG_DF          (1 << 10)
#define FLAG_AC          (1 << 18)
#define FLAG_ID          (1 << 21)
#define SYSENTER_STACK   0x0000300000006000 /* beyond 4 GiB: the same pages */

.macro WRITE_MSR number, low, high=0
    mov ecx, \number
    mov eax, \low
    mov edx, \high
    wrmsr
.endm
.macro REFUSED_ line, vector, instruction:vararg
    TRY
    \instruction
    CAUGHT_ \vector, 0, \line
.endm
#define GP(...) REFUSED_ __LINE__, 13, __VA_ARGS__
#define UD(...) REFUSED_ __LINE__, 6, __VA_ARGS__
/* To level 3 with these flags; the stack is STACK3. */
.macro USER flags, selector, target
    push USERDATA
    push STACK3
    push \flags
    push \selector
    push offset \target
    iretq
.endm

START
    /* -- Real mode has neither. -- */
    mov word ptr [6 * 4], offset real_fault
    mov word ptr [6 * 4 + 2], 0
    mov word ptr [13 * 4], offset real_fault
    mov word ptr [13 * 4 + 2], 0
    mov word ptr [next], offset 1f
    syscall
    FAIL
1:  mov word ptr [next], offset 1f
    sysenter
    FAIL
1:  mov word ptr [next], offset 1f
    .byte 0x0f, 0x35
    FAIL
1:  ENTER_PROTECTED
    ENTER_LONG
    CATCH_ALL64
    mov dword ptr [TSS + 4], STACK0 - 0x800
    mov eax, TASK
    ltr ax
    /* The lower 16 MiB also at 48 TiB */
    mov dword ptr [TABLES + 0x300], TABLES + 0x1007
    WRITE_MSR MSR_STAR, 0, (0x3b << 16) + CODE64
    WRITE_MSR MSR_LSTAR, "offset kernel", 0x3000
    WRITE_MSR MSR_CSTAR, "offset unreached"
    WRITE_MSR MSR_SYSENTER_CS, CODE64
    WRITE_MSR MSR_SYSENTER_ESP, 0x6000, 0x3000
    WRITE_MSR MSR_SYSENTER_EIP, "offset sysenter_kernel", 0x3000

    /* -- SYSCALL: which flags it keeps, which it clears, and what R11 has -- */
    .macro MASKED mask, flags, inside
    WRITE_MSR MSR_SFMASK, \mask
    mov dword ptr [next], offset 77f
    mov r8d, \flags + 2
    mov r9d, \inside + 2
    USER \flags+2, USER64, at_syscall
77: EQUAL(r11d, r8d)
    EQUAL(dword ptr [flags_inside], r9d)
    EQUAL(rcx, r10)
    .endm
    MASKED 0, 0x8d5, 0x8d5
    MASKED -1, 0x8d5, 0
    MASKED 0, (FLAG_DF+FLAG_AC+FLAG_ID+FLAG_NT), (FLAG_DF+FLAG_AC+FLAG_ID+FLAG_NT)
    MASKED (FLAG_DF+FLAG_NT+FLAG_IF), (FLAG_DF+FLAG_AC+FLAG_ID+FLAG_NT+FLAG_IF), (FLAG_AC+FLAG_ID)
    MASKED FLAG_CF, (0x3000+FLAG_CF), 0x3000

    /* A single step: with TF masked none; without, it comes at the kernel's first instruction. */
    GATE64 EXC_DB, on_debug
    WRITE_MSR MSR_SFMASK, FLAG_TF
    mov dword ptr [steps], 0
    mov dword ptr [next], offset 77f
    USER FLAG_TF+2, USER64, at_syscall
77: EQUAL(dword ptr [steps], 1) /* behind the LEA */
    test r11d, FLAG_TF
    CHECK(nz)
    WRITE_MSR MSR_SFMASK, 0
    mov dword ptr [steps], 0
    mov dword ptr [next], offset 77f
    USER FLAG_TF+2, USER64, at_syscall
77: pushfq
    and dword ptr [rsp], ~FLAG_TF
    popfq
    cmp dword ptr [steps], 3
    CHECK(ae)
    mov rax, [kernel_wide]
    EQUAL(qword ptr [second_step], rax)

    /* -- SYSRET: flags from R11 without RF and VM; its selectors; 32 bits of ECX -- */
    WRITE_MSR MSR_SFMASK, FLAG_IF + FLAG_TF
    mov dword ptr [next], offset 77f
    mov ecx, offset user_look
    mov r11d, FLAG_RF + FLAG_VM + FLAG_CF + FLAG_ID + FLAG_NT
    sysretq
77: EQUAL(dword ptr [user_flags], FLAG_CF + FLAG_ID + FLAG_NT + 2)
    EQUAL(dword ptr [user_cs], USER64)
    EQUAL(dword ptr [user_ss], USERDATA)
    push 2
    popfq
    mov dword ptr [next], offset 77f
    mov rcx, [user_look32_wide]
    mov r11d, 2
    sysretd
77: EQUAL(dword ptr [user_cs], USER32)
    EQUAL(dword ptr [user_ss], USERDATA)

    /* -- SYSCALL in compatibility mode is AMD's; SYSENTER there is everybody's. -- */
    mov dword ptr [next], offset 77f
    USER 2, USER32, user32
77: EQUAL(dword ptr [flags_inside], 2) /* IF and VM are cleared */
    mov rax, SYSENTER_STACK
    EQUAL(qword ptr [rsp_inside], rax)
    EQUAL(dword ptr [cs_inside], CODE64)
    EQUAL(dword ptr [ss_inside], DATA64)

    /* -- SYSEXIT to both kinds of code, and wild targets -- */
    WRITE_MSR MSR_SYSENTER_ESP, STACK1
    mov rdx, 0x0000800000000000
    mov ecx, STACK3
    GP(.byte 0x48, 0x0f, 0x35)
    EQUAL(dword ptr [fault_cs], CODE64)
    mov rcx, 0x0000800000000000
    mov edx, offset unreached
    GP(.byte 0x48, 0x0f, 0x35)
    mov dword ptr [next], offset 77f
    mov rcx, 0x300000000000 + STACK3
    mov rdx, [user_sysenter_wide]
    .byte 0x48, 0x0f, 0x35
77: EQUAL(dword ptr [user_cs], CODE64 + 32 + 3)
    EQUAL(dword ptr [user_ss], CODE64 + 40 + 3)
    mov rax, 0x300000000000 + STACK3
    EQUAL(qword ptr [user_rsp], rax)
    mov dword ptr [next], offset 77f
    mov rcx, 0x1234567800000000 + STACK3 /* 32 bits count, canonical or not */
    mov rdx, [user_sysenter32_wide]
    .byte 0x0f, 0x35
77: EQUAL(dword ptr [user_cs], CODE64 + 16 + 3)
    EQUAL(dword ptr [user_ss], CODE64 + 24 + 3)

    /* Compatibility code at level 0 has no SYSCALL and no SYSRET. */
    push CODE32
    push offset 1f
    .byte 0x48, 0xcb
.code32
1:  mov dword ptr [next], offset 2f
    jmp refuse32
2:  PASS
.code64
unreached:
    FAIL

at_syscall:
    lea r10, [rip + 1f]
    syscall
1:  FAIL

kernel: /* as it comes: no stack of its own */
    mov [rsp_inside], rsp
    mov rsp, STACK0
    pushfq
    pop qword ptr [flags_inside]
    mov eax, cs
    EQUAL(ax, CODE64)
    mov eax, ss
    EQUAL(ax, DATA64)
    mov rax, 0x300000000000
    lea rdx, [rip]
    sub rdx, rax /* it runs at LSTAR's address */
    CHECK(ae)
    jmp back

sysenter_kernel:
    mov [rsp_inside], rsp
    mov rsp, STACK0
    pushfq
    pop qword ptr [flags_inside]
    mov eax, cs
    mov [cs_inside], eax
    mov eax, ss
    mov [ss_inside], eax
back: /* down to the addresses that the tests use, with flags that do no harm */
    push 2
    popfq
    mov eax, [next]
    jmp rax

user_look:
    pushfq
    pop qword ptr [user_flags]
    mov eax, cs
    mov [user_cs], eax
    mov eax, ss
    mov [user_ss], eax
    syscall
user_sysenter:
    mov [user_rsp], rsp
    mov eax, cs
    mov [user_cs], eax
    mov eax, ss
    mov [user_ss], eax
    sysenter
.code32
user_look32:
    mov eax, USERDATA
    mov ds, eax
    mov eax, cs
    mov [user_cs], eax
    mov eax, ss
    mov [user_ss], eax
    sysenter
user_sysenter32:
    mov eax, USERDATA
    mov ds, eax
    mov eax, cs
    mov [user_cs], eax
    mov eax, ss
    mov [user_ss], eax
    sysenter
user32:
    mov eax, USERDATA
    mov ds, eax
    UD(syscall)
    UD(.byte 0x0f, 0x07)
    push FLAG_CF + 2
    popfd
    clc
    pushfd
    and dword ptr [esp], ~0x8d5
    popfd
    sysenter
refuse32:
    TRY
    .byte 0x0f, 0x07
    CAUGHT(EXC_UD, 0)
    TRY
    syscall
    CAUGHT(EXC_UD, 0)
    jmp dword ptr [next]
.code64

on_debug:
    push rax
    inc dword ptr [steps]
    cmp dword ptr [steps], 2
    jne 1f
    mov rax, [rsp + 8]
    mov [second_step], rax
1:  pop rax
    iretq

CATCHERS64

.code16
real_fault:
    mov bp, sp
    mov ax, [next]
    mov [bp], ax
    iret

    .balign 8
kernel_wide: .quad 0x300000000000 + kernel
user_look32_wide: .quad 0x7777777700000000 + user_look32
user_sysenter_wide: .quad 0x300000000000 + user_sysenter
user_sysenter32_wide: .quad 0x1234567800000000 + user_sysenter32
next: .long 0
steps: .long 0
flags_inside: .quad 0
rsp_inside: .quad 0
second_step: .quad 0
user_flags: .quad 0
user_rsp: .quad 0
user_cs: .long 0
user_ss: .long 0
cs_inside: .long 0
ss_inside: .long 0

TABLES_BEGIN
TABLES_END
