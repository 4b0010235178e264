/*
 * What must be gone after each way to invalidate translations: a page, a table, a directory or a whole quarter of
 * the tables is replaced, for an ordinary, a global and a large page; INVLPG, loads of CR3, INVPCID of every type,
 * CR4.PGE, CR4.PCIDE and CR0.PG. And that PCIDs do not see each other's translations.
 */
#include "tests/guests/guest.inc"

#define CR4_PGE   (1 << 7)
#define CR4_PCIDE (1 << 17)
#define PML4      TABLES
#define A(level)  (TABLES + 0x10000 + (level) * 0x1000) /* 0 page table, 1 directory, 2 directory pointers */
#define B(level)  (TABLES + 0x20000 + (level) * 0x1000)
#define FRAME_A   0x400000
#define FRAME_B   0x600000
#define VALUE_A   0xaaaa
#define VALUE_B   0xbbbb
#define LARGE     (1 << 7)

START
    ENTER_PROTECTED
    ENTER_LONG
    CATCH_ALL64
    mov dword ptr [FRAME_A], VALUE_A
    mov dword ptr [FRAME_B], VALUE_B
    mov dword ptr [FRAME_A + 0x1ff000], VALUE_A
    mov dword ptr [FRAME_B + 0x1ff000], VALUE_B
    mov rbx, 1 << 39
    mov rax, cr4
    or eax, CR4_PGE | CR4_PCIDE
    mov cr4, rax

    /* R12: level of the change, 4 is a large page; R13: the way; R14: global or not */
    xor r12d, r12d
next_level:
    xor r13d, r13d
next_way:
    xor r14d, r14d
next_global:
    /* Global translations survive loads of CR3 and INVPCID but of type 2. */
    test r14d, r14d
    jz 1f
    mov eax, 0x1d1 /* ways that promise it: INVLPG, type 2, PGE, PCIDE, PG */
    bt eax, r13d
    jnc skip
1:  call build
    mov dword ptr [rounds], 3
again:
    EQUAL(dword ptr [rbx], VALUE_A)
    call change
    call invalidate
    EQUAL(dword ptr [rbx], VALUE_B)
    call change /* and back */
    call invalidate
    EQUAL(dword ptr [rbx], VALUE_A)
    dec dword ptr [rounds]
    jnz again
skip:
    xor r14d, 1
    jnz next_global
    inc r13d
    cmp r13d, 9
    jb next_way
    inc r12d
    cmp r12d, 5
    jb next_level

    /* INVLPG of any address in a large page */
    mov r12d, 4
    xor r14d, r14d
    call build
    lea rsi, [rbx + 0x1ff000]
    EQUAL(dword ptr [rbx], VALUE_A)
    EQUAL(dword ptr [rsi], VALUE_A)
    call change
    lea rax, [rbx + 0x123456]
    invlpg [rax]
    EQUAL(dword ptr [rbx], VALUE_B)
    EQUAL(dword ptr [rsi], VALUE_B)
    /* A large page becomes small ones, and large again. */
    mov dword ptr [A(1)], A(0) + 7
    mov dword ptr [A(0)], FRAME_A + 7
    mov dword ptr [A(0) + 0xff8], FRAME_A + 0x1ff007
    invlpg [rbx]
    EQUAL(dword ptr [rbx], VALUE_A)
    invlpg [rsi]
    EQUAL(dword ptr [rsi], VALUE_A)
    mov dword ptr [A(1)], FRAME_B + 7 + LARGE
    invlpg [rbx]
    invlpg [rsi]
    EQUAL(dword ptr [rbx], VALUE_B)
    EQUAL(dword ptr [rsi], VALUE_B)

    /* Two address spaces with different pages at one address, back and forth without a flush; a global page
     * is both's. */
    mov r12d, 0
    call build
    mov esi, PML4
    mov edi, TABLES + 0x30000
    mov ecx, 0x1000 / 8
    rep movsq
    mov dword ptr [TABLES + 0x30000 + 8], B(2) + 7
    mov rsi, (1 << 63) + PML4 + 1
    mov rdi, (1 << 63) + TABLES + 0x30000 + 2
    mov eax, 2
    invpcid rax, [descriptor]
    mov ecx, 50
1:  mov cr3, rsi
    EQUAL(dword ptr [rbx], VALUE_A)
    mov cr3, rdi
    EQUAL(dword ptr [rbx], VALUE_B)
    loop 1b
    /* Rights: what one may write the other may only read. */
    and dword ptr [B(0)], ~2
    mov rax, TABLES + 0x30000 + 2
    mov cr3, rax
    mov ecx, 20
2:  mov cr3, rsi
    mov dword ptr [rbx], VALUE_A
    mov cr3, rdi
    mov dword ptr [fault_vector], -1
    mov dword ptr [fault_resume], offset 77f
    mov dword ptr [rbx], VALUE_A
77: EQUAL(dword ptr [fault_vector], EXC_PF)
    EQUAL(dword ptr [fault_error], 3)
    dec ecx
    jnz 2b
    mov eax, PML4
    mov cr3, rax
    PASS

/* -- The tables -- */

build:
    mov edi, A(0)
    xor eax, eax
    mov ecx, 0x3000 / 8
    rep stosq
    mov edi, B(0)
    mov ecx, 0x3000 / 8
    rep stosq
    mov eax, r14d
    shl eax, 8 /* G */
    add eax, FRAME_A + 7
    mov [A(0)], eax
    add eax, FRAME_B - FRAME_A
    mov [B(0)], eax
    mov dword ptr [A(1)], A(0) + 7
    mov dword ptr [B(1)], B(0) + 7
    mov dword ptr [A(2)], A(1) + 7
    mov dword ptr [B(2)], B(1) + 7
    mov dword ptr [PML4 + 8], A(2) + 7
    cmp r12d, 4
    jne 1f
    mov eax, r14d
    shl eax, 8
    add eax, FRAME_A + 7 + LARGE
    mov [A(1)], eax
1:  mov eax, 2
    invpcid rax, [descriptor]
    ret

/* Switches the entry of level R12 between A and B. */
change:
    cmp r12d, 1
    jb 1f
    je 2f
    cmp r12d, 3
    jb 3f
    je 4f
    xor dword ptr [A(1)], FRAME_A ^ FRAME_B
    ret
1:  xor dword ptr [A(0)], FRAME_A ^ FRAME_B
    ret
2:  xor dword ptr [A(1)], (TABLES + 0x10000) ^ (TABLES + 0x20000)
    ret
3:  xor dword ptr [A(2)], (TABLES + 0x10000) ^ (TABLES + 0x20000)
    ret
4:  xor dword ptr [PML4 + 8], (TABLES + 0x10000) ^ (TABLES + 0x20000)
    ret

/* Way R13 */
invalidate:
    mov qword ptr [descriptor], 0
    mov [descriptor + 8], rbx
    mov rdx, cr4
    mov ecx, [ways + r13 * 4]
    jmp rcx
by_invlpg:
    invlpg [rbx]
    ret
by_cr3:
    mov rax, cr3
    mov cr3, rax
    ret
by_invpcid0:
    xor eax, eax
    invpcid rax, [descriptor]
    ret
by_invpcid1:
    mov eax, 1
    mov qword ptr [descriptor + 8], 0
    invpcid rax, [descriptor]
    ret
by_invpcid2:
    mov eax, 2
    invpcid rax, [descriptor]
    ret
by_invpcid3:
    mov eax, 3
    invpcid rax, [descriptor]
    ret
by_pge: /* either way */
    mov rax, rdx
    xor eax, CR4_PGE
    mov cr4, rax
    cmp dword ptr [rbx], 0 /* a translation made meanwhile is no global one */
    mov cr4, rdx
    ret
by_pcide:
    mov rax, rdx
    and eax, ~CR4_PCIDE
    mov cr4, rax
    mov cr4, rdx
    ret
by_paging: /* off and on, in compatibility code */
    push rdx
    push CODE32
    push offset 1f
    .byte 0x48, 0xcb
.code32
1:  and edx, ~CR4_PCIDE
    mov cr4, edx
    mov eax, cr0
    and eax, ~CR0_PG
    mov cr0, eax
    or eax, CR0_PG
    mov cr0, eax
    FAR_JUMP32 CODE64, 1f
.code64
1:  pop rdx
    mov cr4, rdx
    ret

CATCHERS64
    .balign 16
descriptor: .quad 0, 0
ways: .long by_invlpg, by_cr3, by_invpcid0, by_invpcid1, by_invpcid2, by_invpcid3, by_pge, by_pcide, by_paging
rounds: .long 0

TABLES_BEGIN
TABLES_END
