/*
 * Small things that translators are known to get wrong, where no other guest has them: the user's stack in far
 * transfers with SMAP, sizes of addresses and operands where a prefix says so or is void, 64-bit far pointers,
 * reserved hints, FST between registers, FPREM over a long way, gathers that wrap at 4 GiB.
 */
#include "tests/guests/guest.inc"

#define USER_PD       (TABLES + 0x6000)
#define USER_VIEW     0x80000000 /* maps 0, for the user */
#define CR4_OSFXSR    (1 << 9)
#define CR4_OSXSAVE   (1 << 18)
#define CR4_SMEP_SMAP (3 << 20)
#define MSR_FS_BASE   0xc0000100
#define GATE          EXTRA /* 16 bytes */
#define WILD          0x0000800000000000

.macro REFUSED_ line, vector, error, instruction:vararg
    TRY
    \instruction
    CAUGHT_ "\vector", "\error", \line
.endm
#define REFUSED(vector, error, ...) REFUSED_ __LINE__, QUOTE(vector), QUOTE(error), __VA_ARGS__

START
    ENTER_PROTECTED
    /* -- ARPL: each pair of levels -- */
    xor ebx, ebx
1:  mov eax, ebx
    shr eax, 2
    or eax, 0x12345670
    mov ecx, ebx
    and ecx, 3
    or ecx, 0xff40
    mov edx, ebx
    shr edx, 2
    mov esi, ebx
    and esi, 3
    cmp edx, esi
    setb dl
    arpl ax, cx
    setz dh
    EQUAL(dl, dh)
    cmp dl, 1
    jne 2f
    or esi, 0x12345670
    EQUAL(eax, esi)
    jmp 3f
2:  mov esi, ebx
    shr esi, 2
    or esi, 0x12345670
    EQUAL(eax, esi)
3:  inc ebx
    cmp ebx, 16
    jb 1b

    ENTER_LONG
    CATCH_ALL64
    mov dword ptr [TSS + 4], STACK0 - 0x800
    mov eax, TASK
    ltr ax
    mov rax, cr4
    or eax, CR4_OSFXSR
    mov cr4, rax
    fninit

    /* -- Sizes -- */
    mov eax, 0x11223344 /* CRC32 of 16 bits is that of its bytes; the prefixes in either order */
    mov edx, eax
    mov ecx, 0x5566
    .byte 0x66, 0xf2, 0x0f, 0x38, 0xf1, 0xc1
    .byte 0xf2, 0x0f, 0x38, 0xf0, 0xd1 /* crc32 edx, cl */
    .byte 0xf2, 0x0f, 0x38, 0xf0, 0xd5 /* crc32 edx, ch */
    EQUAL(eax, edx)
    mov edx, 0x11223344
    .byte 0xf2, 0x66, 0x0f, 0x38, 0xf1, 0xd1
    EQUAL(eax, edx)
    mov rax, -1
    .byte 0x48, 0x66, 0xb8, 0x34, 0x12 /* REX.W before 66 is void: mov ax, 1234h */
    mov rcx, 0xffffffffffff1234
    EQUAL(rax, rcx)
    mov rbx, -1
    mov r8, -1
    .byte 0x41, 0x2e, 0xbb, 1, 0, 0, 0 /* ... and REX.B before CS: mov ebx, 1 */
    EQUAL(rbx, 1)
    EQUAL(r8, -1)
    mov rax, -1
    .byte 0x66, 0x48, 0x89, 0xd8 /* REX.W behind 66 wins: mov rax, rbx */
    EQUAL(rax, 1)
    mov rbx, rsp
    push offset 1f
    .byte 0x66, 0xc3 /* near returns are of 64 bits */
    FAIL
1:  EQUAL(rsp, rbx)
    push 0x77
    push 0x88
    push offset 1f
    .byte 0xc2, 0x10, 0x00
    FAIL
1:  EQUAL(rsp, rbx)
    mov esp, 0x300008
    push offset 1f
    .byte 0xc2, 0xf8, 0xff /* the count has no sign */
1:  EQUAL(rsp, 0x310000)
    mov rsp, rbx
    /* BSF and BSR of zero leave the register, of 32 bits too; BLSI tells zero by CF. */
    mov rax, -1
    xor ecx, ecx
    bsf eax, ecx
    CHECK(z)
    EQUAL(rax, -1)
    bsr rax, rcx
    CHECK(z)
    EQUAL(rax, -1)

    /* -- Addresses of 32 bits -- */
    mov dword ptr [0x10], 0x1111
    mov dword ptr [0x300010], 0x2222
    mov dword ptr [0x200000], 0x3333
    mov rbx, 0xfffffffffffffff0
    EQUAL(dword ptr [ebx + 0x20], 0x1111)
    lea rax, [ebx + 0x20]
    EQUAL(rax, 0x10)
    mov ecx, MSR_FS_BASE
    mov eax, 0x300000
    xor edx, edx
    wrmsr
    EQUAL(dword ptr fs:[ebx + 0x20], 0x2222) /* the base is added afterwards */
    mov eax, -0x10
    mov edx, -1
    wrmsr
    EQUAL(dword ptr fs:[0x200010], 0x3333) /* and wraps at 64 bits */
    mov rsi, 0x100200000
    mov eax, 0
    lods eax, dword ptr [esi]
    EQUAL(eax, 0x3333)
    EQUAL(rsi, 0x200004) /* the upper half is gone */
    mov rcx, 0x500000000
    mov rsi, 0x100200000
    .byte 0x67
    rep lodsb /* ECX is 0: nothing happens */
    mov rax, 0x100200000
    EQUAL(rsi, rax)
    mov rcx, 0x100000000
    jecxz 1f
    FAIL
1:  mov rcx, 0x100000002
    .byte 0x67, 0xe2, 0x00 /* loop */
    EQUAL(rcx, 1)

    /* -- Hints that are reserved do nothing, whatever they point to. -- */
    mov rbx, WILD
    .irp modrm, 0x23, 0x2b, 0x33, 0x3b
    .byte 0x0f, 0x18, \modrm
    .byte 0x0f, 0x0d, \modrm
    .byte 0x0f, 0x1c, \modrm
    .byte 0x0f, 0x1f, \modrm
    .endr

    /* -- Far pointers with REX.W have 64 bits here, as Intel's. -- */
    mov [far_pointer], rbx
    mov word ptr [far_pointer + 8], CODE64
    TRY
    .byte 0x48, 0xff, 0x2c, 0x25 /* jmp far [far_pointer] */
    .long far_pointer
    CAUGHT(EXC_GP, 0)
    mov word ptr [far_pointer + 8], DATA64
    .byte 0x48, 0x0f, 0xb4, 0x04, 0x25 /* lfs rax, [far_pointer] */
    .long far_pointer
    EQUAL(rax, rbx)
    mov eax, offset 1f
    mov [far_pointer], rax
    mov word ptr [far_pointer + 8], CODE64
    mov rbx, rsp
    .byte 0x48, 0xff, 0x1c, 0x25 /* call far: pushes 8 bytes each */
    .long far_pointer
1:  lea rax, [rbx - 16]
    EQUAL(rsp, rax)
    mov rsp, rbx

    /* -- x87 -- */
    fld1
    fldpi
    fldz
    fst st(2)
    fstp st(0)
    fstp st(0)
    fistp dword ptr [result] /* what was 1 */
    EQUAL(dword ptr [result], 0)
    fld1
    fst st(7) /* an empty register becomes a valid one */
    fstp st(0)
    fnstenv [environment]
    mov ax, [environment + 8]
    rol ax, 2
    and eax, 3
    EQUAL(eax, 3) /* TOP is 0 again; what was ST(7) was register 6 */
    fninit
    /* 2^16383 modulo 3 is 2: in a bounded number of steps, each with C2 until the last */
    fild word ptr [three]
    fld tbyte ptr [huge]
    mov ecx, 600
1:  fprem
    fnstsw ax
    dec ecx
    test ah, 4
    jnz 1b
    cmp ecx, 0
    CHECK(g)
    fistp dword ptr [result]
    EQUAL(dword ptr [result], 2)
    fninit

    /* -- A gather with 32-bit addresses that wraps -- */
    mov eax, 7
    xor ecx, ecx
    cpuid
    test ebx, 1 << 5 /* AVX2 */
    jz no_gather
    mov rax, cr4
    or eax, CR4_OSXSAVE
    mov cr4, rax
    xor ecx, ecx
    mov eax, 7
    xor edx, edx
    xsetbv
    mov dword ptr [0x0], 0x44
    mov dword ptr [0x4], 0x55
    mov eax, -16
    vpcmpeqd xmm1, xmm1, xmm1
    vmovdqu xmm2, [indices]
    .byte 0x67, 0xc4, 0xe2, 0x71, 0x90, 0x04, 0x90 /* vpgatherdd xmm0, [eax + xmm2 * 4], xmm1 */
    vmovd eax, xmm0
    EQUAL(eax, 0x44)
    vpextrd eax, xmm0, 1
    EQUAL(eax, 0x55)
    vpextrd eax, xmm0, 2
    EQUAL(eax, 0x1111) /* at 10h */
    vptest xmm1, xmm1
    CHECK(z)
    mov eax, 8
    .byte 0xc4, 0xe2, 0x70, 0xf3, 0xd8 /* blsi ecx, eax */
    CHECK(c)
    CHECK(nz)
    EQUAL(ecx, 8)
    xor eax, eax
    .byte 0xc4, 0xe2, 0x70, 0xf3, 0xd8
    CHECK(nc)
    CHECK(z)
no_gather:

    /* -- SMAP: the supervisor's pages are not the user's, whose far transfers read and write its own stack -- */
    mov dword ptr [TABLES + 0x1010], USER_PD + 7
    mov edi, USER_PD
    xor eax, eax
    mov ecx, 0x1000 / 8
    rep stosq
    mov dword ptr [USER_PD], 0x87
    mov ecx, 8
    mov edi, TABLES + 0x2000
1:  and dword ptr [rdi], ~4
    add edi, 8
    loop 1b
    mov rax, cr3
    mov cr3, rax
    mov rax, cr4
    or eax, CR4_SMEP_SMAP
    mov cr4, rax
    clac
    GATE64 0x30, user_done, INTERRUPT_GATE3
    mov dword ptr [gdt + GATE], offset from_gate + (CODE64 << 16)
    mov dword ptr [gdt + GATE + 4], 0xec00
    mov qword ptr [gdt + GATE + 8], 0
    mov dword ptr [fault_vector], -1
    mov dword ptr [fault_resume], offset failed
    push USERDATA
    mov eax, USER_VIEW + STACK3
    push rax
    push 2
    push USER64
    mov eax, [user_address]
    push rax
    iretq
user: /* at USER_VIEW */
    mov rbx, rsp
    push USER64
    lea rax, [rip + 1f]
    push rax
    .byte 0x48, 0xcb /* lretq */
1:  mov r8d, 1
    cmp rsp, rbx
    jne user_end
    mov r8d, 2
    push USERDATA
    push rbx
    push 2
    push USER64
    lea rax, [rip + 1f]
    push rax
    iretq
1:  cmp rsp, rbx
    jne user_end
    mov r8d, 3
    push USER64
    push rax
    lea rax, [rip + 1f]
    mov [rsp], rax
    .byte 0x48, 0xff, 0x1c, 0x24 /* call far [rsp] */
1:  lea rax, [rbx - 32]
    cmp rsp, rax
    jne user_end
    mov rsp, rbx
    mov r8d, 4
    push USER32
    lea rax, [rip + 1f]
    push rax
    .byte 0x48, 0xcb
.code32
1:  mov eax, USERDATA
    mov ds, eax
    push USER64
    call 2f
2:  pop eax
    add eax, offset 1f - 2b
    push eax
    retf
.code64
1:  cmp rsp, rbx
    jne user_end
    mov r8d, 5
    push GATE + 3
    push 0
    .byte 0xff, 0x5c, 0x24, 0x04 /* call far [rsp + 4]: through a gate to level 0, and back */
    lea rax, [rbx - 16]
    cmp rsp, rax
    jne user_end
    mov r8d, 6
user_end:
    int 0x30
user_done:
    EQUAL(r8d, 6)
    PASS

from_gate: /* its own stack, below the supervisor's pages */
    .byte 0x48, 0xcb

failed:
    mov eax, [fault_vector]
    FAIL

CATCHERS64
    .balign 16
indices: .long 4, 5, 8, 4
huge: .quad 0x8000000000000000
    .word 0x7ffe
three: .word 3
    .balign 8
far_pointer: .quad 0, 0
environment: .fill 28
result: .long 0
user_address: .long user + USER_VIEW

TABLES_BEGIN
    .quad 0, 0
TABLES_END
