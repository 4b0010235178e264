/*
 * Self-modifying code: an instruction in the current block, a called function, code written by REP
 * MOVS and REP STOS, by LOCKed operations, through another mapping, and data beside running code.
 */
#include "tests/guests/guest.inc"

#define COPY 0x200000

START
    ENTER_PROTECTED
    CATCH_ALL32

    /* The immediate of the very next instruction, many times: hot and cold alike */
    xor esi, esi
1:  mov [patched + 1], esi
patched:
    mov eax, 0x12345678
    EQUAL(eax, esi)
    inc esi
    cmp esi, 2000
    jne 1b

    /* An instruction ahead in the same block becomes another one, and back. */
    mov ecx, 500
1:  mov byte ptr [turned], 0x4b /* dec ebx */
    xor ebx, ebx
    xor edx, edx
turned:
    inc ebx
    EQUAL(ebx, -1)
    mov byte ptr [turned], 0x43
    xor ebx, ebx
    cmp byte ptr [turned], 0x43
    jne 2f
2:  dec ecx
    jnz 1b

    /* A function elsewhere: replaced between calls */
    mov ecx, 300
    xor ebp, ebp
1:  mov [function + 1], ecx
    call function
    EQUAL(eax, ecx)
    add ebp, eax
    loop 1b
    EQUAL(ebp, 300 * 301 / 2)

    /* Its first byte turns it into a fault and back. */
    mov byte ptr [function], 0xcc
    TRY
    call function
    CAUGHT(3, 0)
    mov esp, STACK0
    mov byte ptr [function], 0xb8
    call function

    /* Code copied over code by REP MOVS, in each element width, run after each copy */
    mov ebp, 100
copies:
    mov esi, offset one
    mov edi, COPY
    mov ecx, 8
    rep movsb
    mov eax, COPY
    call eax
    EQUAL(eax, 1)
    mov esi, offset two
    mov edi, COPY
    mov ecx, 2
    rep movsd
    mov eax, COPY
    call eax
    EQUAL(eax, 2)
    mov edi, COPY
    mov eax, 0xc340c031 /* xor eax, eax; inc eax; ret */
    mov ecx, 1
    rep stosd
    mov eax, COPY
    call eax
    EQUAL(eax, 1)
    dec ebp
    jnz copies

    /* Writes by LOCKed instructions and XCHG, CMPXCHG, BTS */
    mov byte ptr [COPY], 0xb8
    mov dword ptr [COPY + 1], 5
    mov byte ptr [COPY + 5], 0xc3
    mov ecx, COPY
    call ecx
    EQUAL(eax, 5)
    lock inc dword ptr [COPY + 1]
    call ecx
    EQUAL(eax, 6)
    mov eax, 77
    xchg [COPY + 1], eax
    call ecx
    EQUAL(eax, 77)
    mov edx, 78
    lock cmpxchg [COPY + 1], edx
    call ecx
    EQUAL(eax, 78)
    bts dword ptr [COPY + 1], 31
    call ecx
    EQUAL(eax, 0x8000004e)
    push dword ptr [two + 1]
    pop dword ptr [COPY + 1]
    call ecx
    EQUAL(eax, 2)

    /* A store that overlaps code of two pages */
    mov byte ptr [COPY + 0xffe], 0xb8 /* mov eax, imm across the page */
    mov dword ptr [COPY + 0xfff], 0x01020304
    mov byte ptr [COPY + 0x1003], 0xc3
    mov ecx, COPY + 0xffe
    mov ebp, 50
1:  mov [COPY + 0xfff], ebp
    call ecx
    EQUAL(eax, ebp)
    mov byte ptr [COPY + 0x1000], 1 /* only the second page */
    call ecx
    mov edx, ebp
    mov dh, 1
    EQUAL(eax, edx)
    dec ebp
    jnz 1b

    /* Data on the line of running code: heavy writing does not change what runs. */
    mov ecx, 20000
    xor eax, eax
1:  add [beside], ecx
    inc eax
    loop 1b
    EQUAL(eax, 20000)
    EQUAL(dword ptr [beside], 20000 * 20001 / 2)
    jmp 2f
beside: .long 0
2:

    /* Stores that walk through a page towards its code, over it, and behind it: in a loop of bytes,
     * in one of words that cross lines, by a range of several stores at once. */
    mov ebp, 60
walk:
    mov edi, COPY + 0x2000
    mov eax, 0xc340c031 /* xor eax, eax; inc eax; ret */
    mov [edi + 0x800], eax
    lea ebx, [edi + 0x800]
    call ebx
    EQUAL(eax, 1)
    mov eax, 2
    mov ecx, 0x802
1:  mov byte ptr [edi], 0x90
    inc edi
    dec ecx
    jnz 1b
    mov byte ptr [COPY + 0x2800], 0xff /* inc eax ... */
    mov byte ptr [COPY + 0x2801], 0xc0
    call ebx
    EQUAL(eax, 4)
    mov edi, COPY + 0x27d2
    mov eax, 5
    mov ecx, 16
1:  mov dword ptr [edi], 0x90909090
    add edi, 3
    dec ecx
    jnz 1b
    mov dword ptr [COPY + 0x2802], 0x00c3c0ff
    call ebx
    EQUAL(eax, 6)
    mov edx, ebp
    shl edx, 8
    or edx, 0xb8 /* mov eax, ebp; ret */
    mov edi, COPY + 0x27a0
    mov [edi + 0x10], edx
    mov [edi + 0x5e], edx
    mov [edi + 0x60], edx
    mov byte ptr [edi + 0x65], 0xc3
    mov byte ptr [edi + 0x64], 0
    call ebx
    EQUAL(eax, ebp)
    mov ecx, 40 /* the same stores as a loop that ends on the code */
    mov edi, COPY + 0x2800 - 4 * 39
1:  mov [edi], edx
    mov [edi + 0x40], edx
    add edi, 4
    dec ecx
    jnz 1b
    mov byte ptr [COPY + 0x2801], 0x5a
    mov dword ptr [COPY + 0x2804], 0x0000c300
    mov byte ptr [COPY + 0x2803], 0
    mov byte ptr [COPY + 0x2802], 0
    call ebx
    EQUAL(eax, 0x5a)
    dec ebp
    jnz walk

    /* The same page under two addresses: written by one, run by the other */
    mov edi, TABLES
    xor eax, eax
    mov ecx, 0x400
    rep stosd
    mov dword ptr [TABLES], 0x83
    mov dword ptr [TABLES + 4 * 4], 0x83 /* 16 MiB and up: physical 0 again */
    mov eax, cr4
    or eax, CR4_PSE
    mov cr4, eax
    mov eax, TABLES
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    mov byte ptr [COPY], 0xb8
    mov byte ptr [COPY + 5], 0xc3
    mov ebp, 200
1:  mov [COPY + 1], ebp
    mov ecx, COPY + 0x1000000
    call ecx
    EQUAL(eax, ebp)
    lea edx, [ebp + 0x1000]
    mov [COPY + 0x1000000 + 1], edx
    mov ecx, COPY
    call ecx
    EQUAL(eax, edx)
    dec ebp
    jnz 1b

    /* The same address over two pages: the mapping changes, the code with it. */
    mov dword ptr [COPY + 1], 1
    mov dword ptr [TABLES + 4], 0x400083
    mov eax, cr3
    mov cr3, eax
    mov dword ptr [COPY + 0x400001], 2
    mov byte ptr [COPY + 0x400000], 0xb8
    mov byte ptr [COPY + 0x400005], 0xc3
    mov ebp, 100
1:  mov dword ptr [TABLES + 16], 0x83
    invlpg [COPY + 0x1000000]
    mov ecx, COPY + 0x1000000
    call ecx
    EQUAL(eax, 1)
    mov dword ptr [TABLES + 16], 0x400083
    invlpg [COPY + 0x1000000]
    call ecx
    EQUAL(eax, 2)
    dec ebp
    jnz 1b
    PASS

    .balign 64
function:
    mov eax, 0
    ret
    .balign 64
one:
    mov eax, 1
    ret
    nop
    nop
two:
    mov eax, 2
    ret
    nop
    nop

CATCHERS32

TABLES_BEGIN
TABLES_END
