/*
 * Every combination of rights in a page table entry and its directory entry, of CR0.WP, SMEP, SMAP and
 * EFLAGS.AC, with every kind of access by supervisor and user: the fault or none, its error code, accessed
 * and dirty bits. Then reserved bits.
 *
 * A combination is the number in R12:
 *     bit 0 W, 1 U, 2 NX of the page    3 W, 4 U, 5 NX of the directory entry    6 WP  7 SMEP  8 SMAP  9 AC
 * The access is in R14: 0 read, 1 write, 2 fetch by the supervisor, 3 to 5 by the user; the error code that
 * must come of it in R13, 0 if none.
 */
#include "tests/guests/guest.inc"

#define DIRECTORY (TABLES + 0x4000)
#define PAGES     (TABLES + 0x5000)
#define USER_PD   (TABLES + 0x6000)
#define FRAME     0x300000
#define TEST      0x40000000 /* maps FRAME */
#define USER_VIEW 0x80000000 /* maps 0, for the user */
#define CR4_SMEP_SMAP (3 << 20)

/* Writes the entry: rights from R12 at `shift`. */
.macro ENTRY address, base, shift
    mov eax, r12d
    shr eax, \shift
    mov ecx, eax
    and eax, 3
    add eax, eax
    or eax, \base + 1
    shl ecx, 29
    and ecx, 0x80000000
    mov [\address], eax
    mov [\address + 4], ecx
.endm

START
    ENTER_PROTECTED
    ENTER_LONG
    CATCH_ALL64
    GATE64 0x30, user_done, INTERRUPT_GATE3
    mov dword ptr [TSS + 4], STACK1
    mov eax, TASK
    ltr ax

    /* The supervisor's own pages are not the user's. */
    mov edi, DIRECTORY
    xor eax, eax
    mov ecx, 0x3000 / 4
    rep stosd
    mov dword ptr [TABLES + 0x1008], DIRECTORY + 7
    mov dword ptr [TABLES + 0x1010], USER_PD + 7
    mov dword ptr [USER_PD], 0x87
    mov ecx, 8
    mov edi, TABLES + 0x2000
1:  and dword ptr [rdi], ~4
    add edi, 8
    loop 1b
    mov rax, cr3
    mov cr3, rax
    mov byte ptr [FRAME], 0xc3 /* RET */
    mov ebx, TEST
    xor r12d, r12d

next_combination:
    mov rax, cr0
    and eax, ~CR0_WP
    mov ecx, r12d
    and ecx, 1 << 6
    shl ecx, 10
    or eax, ecx
    mov cr0, rax
    mov ecx, r12d
    shr ecx, 7
    and ecx, 3
    shl ecx, 20
    mov rax, cr4
    and eax, ~CR4_SMEP_SMAP
    or eax, ecx
    mov cr4, rax
    xor r14d, r14d

next_access:
    ENTRY PAGES, FRAME, 0
    ENTRY DIRECTORY, PAGES, 3
    invlpg [rbx]

    /* What must come of it. ESI: bits 0 and 1 W and U of both; EDX: bit 2 NX of either */
    mov eax, r12d
    mov edx, r12d
    shr edx, 3
    mov esi, eax
    and esi, edx
    or edx, eax
    xor r13d, r13d
    cmp r14d, 3
    jae of_user
    cmp r14d, 2
    je of_fetch
    test esi, 2
    jz 1f
    bt r12d, 8
    jnc 1f
    bt r12d, 9
    jc 1f
    mov r13d, 1
1:  cmp r14d, 1
    jne try_it
    test r13d, r13d
    jnz 2f
    test esi, 1
    jnz try_it
    bt r12d, 6
    jnc try_it
2:  mov r13d, 3
    jmp try_it
of_fetch:
    test edx, 4
    jnz 1f
    test esi, 2
    jz try_it
    bt r12d, 7
    jnc try_it
1:  mov r13d, 0x11
    jmp try_it
of_user:
    test esi, 2
    jz 2f
    cmp r14d, 4
    jb try_it
    ja 1f
    test esi, 1
    jnz try_it
    jmp 2f
1:  test edx, 4
    jz try_it
2:  mov r13d, 5
    cmp r14d, 4
    jb try_it
    mov r13d, 7
    je try_it
    mov r13d, 0x15

try_it:
    mov dword ptr [fault_vector], -1
    mov rbp, rsp
    cmp r14d, 3
    jae try_user
    mov dword ptr [fault_resume], offset tried
    clac
    bt r12d, 9
    jnc 1f
    stac
1:  cmp r14d, 1
    jb 2f
    je 3f
    call rbx
    jmp tried
2:  mov al, [rbx]
    jmp tried
3:  mov byte ptr [rbx], 0xc3
    jmp tried
try_user:
    mov dword ptr [fault_resume], offset user_end + USER_VIEW
    mov eax, r14d
    shl eax, 4
    add eax, offset user_read + USER_VIEW - 3 * 16
    push USERDATA
    mov ecx, USER_VIEW + STACK3
    push rcx
    push 2
    push USER64
    push rax
    iretq
    .balign 16
user_read:
    mov al, [rbx]
    jmp user_end
    .balign 16
    mov byte ptr [rbx], 0xc3
    jmp user_end
    .balign 16
    call rbx
user_end:
    int 0x30
user_done:
tried:
    clac
    mov rsp, rbp

    test r13d, r13d
    jz no_fault
    EQUAL(dword ptr [fault_vector], EXC_PF)
    EQUAL(dword ptr [fault_error], r13d)
    EQUAL(dword ptr [fault_cr2], ebx)
    jmp done
no_fault:
    EQUAL(dword ptr [fault_vector], -1)
    mov eax, [PAGES]
    test eax, 0x20
    CHECK(nz)
    and eax, 0x40
    cmp r14d, 1
    je 1f
    cmp r14d, 4
    jne 2f
1:  xor eax, 0x40
2:  EQUAL(eax, 0)
    test dword ptr [DIRECTORY], 0x20
    CHECK(nz)
    test dword ptr [DIRECTORY], 0x40 /* no dirty bit of tables */
    CHECK(z)
done:
    inc r14d
    cmp r14d, 6
    jb next_access
    inc r12d
    cmp r12d, 1 << 10
    jb next_combination

    mov rax, cr4
    and eax, ~CR4_SMEP_SMAP
    mov cr4, rax

    /* Not present: only W, U and I/D tell, whatever else the entry says. */
    mov dword ptr [DIRECTORY], PAGES + 7
    mov dword ptr [DIRECTORY + 4], 0
    mov dword ptr [PAGES], 0xfffffffe
    mov dword ptr [PAGES + 4], -1
    invlpg [rbx]
    TRY
    mov al, [rbx]
    CAUGHT(EXC_PF, 0)
    TRY
    mov [rbx], al
    CAUGHT(EXC_PF, 2)
    mov rbp, rsp
    TRY
    call rbx
    CAUGHT(EXC_PF, 0x10)
    mov rsp, rbp

    /* Reserved bits: of the physical address in a page, a table, a directory's large page */
    mov dword ptr [PAGES], FRAME + 7
    mov dword ptr [PAGES + 4], 1 << 19
    invlpg [rbx]
    TRY
    mov al, [rbx]
    CAUGHT(EXC_PF, 9)
    TRY
    mov [rbx], al
    CAUGHT(EXC_PF, 0xb)
    mov dword ptr [PAGES + 4], 0
    mov dword ptr [DIRECTORY + 4], 1 << 19
    invlpg [rbx]
    TRY
    mov al, [rbx]
    CAUGHT(EXC_PF, 9)
    mov dword ptr [DIRECTORY], 0x200000 + 0x2087 /* 2 MiB page: bits 13 to 20 */
    mov dword ptr [DIRECTORY + 4], 0
    invlpg [rbx]
    TRY
    mov al, [rbx]
    CAUGHT(EXC_PF, 9)
    mov dword ptr [DIRECTORY], 0x200000 + 0x1087 /* bit 12 is PAT */
    invlpg [rbx]
    mov al, [rbx + FRAME - 0x200000]
    EQUAL(al, 0xc3)
    mov dword ptr [DIRECTORY], PAGES + 7
    invlpg [rbx]
    mov al, [rbx]

    /* NX is reserved without EFER.NXE, and fetches are not told apart. */
    mov ecx, MSR_EFER
    rdmsr
    and eax, ~EFER_NXE
    wrmsr
    mov dword ptr [PAGES + 4], 1 << 31
    invlpg [rbx]
    TRY
    mov al, [rbx]
    CAUGHT(EXC_PF, 9)
    mov rbp, rsp
    TRY
    call rbx
    CAUGHT(EXC_PF, 9)
    mov rsp, rbp
    mov dword ptr [PAGES], 0
    mov dword ptr [PAGES + 4], 0
    invlpg [rbx]
    TRY
    call rbx
    CAUGHT(EXC_PF, 0)
    mov rsp, rbp

    PASS

CATCHERS64

TABLES_BEGIN
TABLES_END
