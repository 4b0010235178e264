/* Long mode: entry, 64-bit faults and stacks, compatibility mode, ring 3, SYSCALL, SWAPGS, and the way out. */
#include "tests/guests/guest.inc"

#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102

.macro WRITE_MSR number, low, high=0
    mov ecx, \number
    mov eax, \low
    mov edx, \high
    wrmsr
.endm

START
    ENTER_PROTECTED
    ENTER_LONG
    CATCH_ALL64

    /* Registers are 64 bits wide, REX registers exist. */
    mov rax, 0x1122334455667788
    mov r15, rax
    shr r15, 32
    EQUAL(r15d, 0x11223344)
    mov r8, -1
    mov r8d, r8d
    mov rax, 0xffffffff
    EQUAL(r8, rax)
    lea rax, [rip + here]
    mov ecx, offset here
    EQUAL(rax, rcx)
    jmp here
    FAIL
here:

    /* Indirect calls, and returns, to addresses that no other code has: 0 and 1 too are no more
     * than that. */
    mov word ptr [0], 0xc3c3 /* ret, ret */
    mov r14d, 100
1:  xor eax, eax
    call rax
    inc eax
    call rax
    lea rcx, [rip + 2f]
    push rcx
    push 0
    ret
2:  lea rcx, [rip + 2f]
    push rcx
    push 1
    ret
2:
    dec r14d
    jnz 1b

    /* CPUID, hot: leaves apart, and what CR4 shows in it follows CR4. */
    mov r14d, 100
    mov r13, cr4
1:  xor r13, 1 << 18
    mov cr4, r13
    mov eax, 1
    xor ecx, ecx
    cpuid
    shr ecx, 27
    and ecx, 1
    mov rax, r13
    shr eax, 18
    and eax, 1
    EQUAL(ecx, eax)
    mov eax, 0x80000000
    cpuid
    mov r12d, eax
    mov eax, 0x40000000
    cpuid
    EQUAL(ebx, 0x4b4d564b)
    mov eax, 0x80000000
    cpuid
    EQUAL(eax, r12d)
    dec r14d
    jnz 1b

    /* Canonical addresses: #GP; through the stack: #SS */
    mov rax, 0x900000000000
    TRY
    mov bl, [rax]
    CAUGHT(EXC_GP, 0)
    mov rbp, rax
    TRY
    mov bl, [rbp]
    CAUGHT(EXC_SS, 0)
    TRY
    jmp rax
    CAUGHT(EXC_GP, 0)
    mov rbx, rsp
    mov rsp, rax
    CATCH64 EXC_SS
    mov byte ptr [IDT + EXC_SS * 16 + 4], 1 /* on IST1 */
    mov dword ptr [TSS + 0x24], STACK_IST
    mov dword ptr [TSS + 4], STACK0 - 0x800
    mov word ptr [TSS + 0x66], 0x68
    mov ecx, TASK
    ltr cx
    TRY
    push rax
    CAUGHT(EXC_SS, 0)
    mov rsp, rbx

    /* The stack is aligned to 16 in interrupts. */
    GATE64 0x41, look_at_stack
    lea rsp, [rbx - 5]
    int 0x41
    mov rax, rsp
    mov rsp, rbx
    lea rcx, [rbx - 5]
    EQUAL(rax, rcx)
    lea rcx, [rbx - 5]
    and rcx, -16
    sub rcx, 40
    EQUAL(rdx, rcx)
    and edx, 15
    EQUAL(edx, 8)

    /* Page faults: not present, NX, reserved */
    TRY
    mov eax, [0x1000000]
    CAUGHT(EXC_PF, 0)
    mov eax, 0x1000000
    EQUAL(qword ptr [fault_cr2], rax)
    or dword ptr [TABLES + 0x2000 + 7 * 8 + 4], 0x80000000 /* 14 MiB: NX */
    invlpg [0xe00000]
    mov byte ptr [0xe00000], 0xc3
    mov eax, 0xe00000
    mov rbp, rsp
    TRY
    call rax
    CAUGHT(EXC_PF, 0x11)
    mov rsp, rbp
    or dword ptr [TABLES + 0x2000 + 7 * 8 + 4], 0x80000 /* physical address bit 51 */
    invlpg [0xe00000]
    TRY
    mov al, [0xe00000]
    CAUGHT(EXC_PF, 9)

    /* FS, GS bases and SWAPGS */
    WRITE_MSR MSR_FS_BASE, 0x9000
    WRITE_MSR MSR_GS_BASE, 0x300000
    WRITE_MSR MSR_KERNEL_GS_BASE, 0x400000
    mov dword ptr [0x300010], 0x1111
    mov dword ptr [0x400010], 0x2222
    EQUAL(dword ptr gs:[0x10], 0x1111)
    swapgs
    EQUAL(dword ptr gs:[0x10], 0x2222)
    mov rax, cr4
    or eax, 1 << 16 /* FSGSBASE */
    mov cr4, rax
    rdgsbase rax
    EQUAL(rax, 0x400000)
    swapgs
    mov ecx, MSR_GS_BASE
    mov eax, 0
    mov edx, 0x8000
    TRY
    wrmsr /* not canonical */
    CAUGHT(EXC_GP, 0)

    /* Compatibility mode and back */
    mov qword ptr [counter], 0
    push CODE32
    push offset compatibility
    .byte 0x48, 0xcb /* retfq */
.code32
compatibility:
    mov eax, -1
    inc eax /* 40: INC, no REX */
    EQUAL(eax, 0)
    mov dword ptr [counter], 1
    FAR_JUMP32 CODE64, back_in_64
.code64
back_in_64:
    EQUAL(dword ptr [counter], 1)

    /* Ring 3 */
    GATE64 0x40, leave_ring3, INTERRUPT_GATE3
    WRITE_MSR MSR_STAR, 0, (0x3b << 16) + CODE64
    WRITE_MSR MSR_LSTAR, "offset kernel"
    WRITE_MSR MSR_SFMASK, FLAG_CF
    push USERDATA
    push STACK3
    push 0x202
    push USER64
    push offset ring3
    iretq
ring3:
    mov eax, cs
    EQUAL(ax, USER64)
    TRY
    mov rax, cr3
    CAUGHT(EXC_GP, 0)
    EQUAL(dword ptr [fault_cs], USER64)
    TRY
    swapgs
    CAUGHT(EXC_GP, 0)
    mov rbx, rsp
    xor ebp, ebp
    stc
    syscall
after_syscall:
    CHECK(c) /* flags come back from R11 */
    EQUAL(rax, 0x4242)
    EQUAL(rsp, rbx)
    mov eax, cs
    EQUAL(ax, USER64)
    mov eax, ss
    EQUAL(ax, USERDATA)
    mov ebp, 1 /* to 32-bit code */
    stc
    syscall
after_second:
    FAIL
.code32
user32:
    mov eax, cs
    EQUAL(ax, USER32)
    mov eax, 0x80000000
    add eax, eax
    CHECK(c)
    int 0x40
.code64

kernel:
    CHECK(nc) /* masked by SFMASK */
    EQUAL(rcx, [expected_return])
    test r11d, FLAG_CF
    CHECK_ nz, __LINE__
    mov eax, cs
    EQUAL(ax, CODE64)
    mov eax, ss
    EQUAL(ax, DATA64)
    swapgs
    EQUAL(dword ptr gs:[0x10], 0x2222)
    swapgs
    mov eax, 0x4242
    cmp ebp, 1
    je 1f
    xor ebp, ebp
    mov qword ptr [expected_return], offset after_second
    sysretq
1:  mov ecx, offset user32
    sysretd

leave_ring3:
    mov eax, [rsp + 8]
    EQUAL(eax, USER32)
    mov rsp, STACK0

    /* Out of long mode: compatibility code clears PG, then LME. */
    push CODE32
    push offset leave_long
    .byte 0x48, 0xcb
.code32
leave_long:
    LOAD_DATA DATA32
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    mov ecx, MSR_EFER
    rdmsr
    test eax, 1 << 10 /* LMA */
    CHECK(z)
    and eax, ~EFER_LME
    wrmsr
    PASS

.code64
look_at_stack:
    mov rdx, rsp
    iretq

CATCHERS64
    .balign 8
counter: .quad 0
expected_return: .quad after_syscall

TABLES_BEGIN
TABLES_END
