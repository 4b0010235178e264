/* 32-bit paging, PSE, PAE with NX: translations, rights, error codes, accessed and dirty bits, repair. */
#include "tests/guests/guest.inc"

#define PAGE_TABLE (TABLES + 0x1000)
#define MARK 0x300000 /* a page of its own */
#define HANDLER 0x310000

START
    ENTER_PROTECTED
    CATCH_ALL32

    /* 4 KiB pages: the first 4 MiB to themselves, supervisor, writable. */
    mov edi, TABLES
    xor eax, eax
    mov ecx, 0x1000 / 4
    rep stosd
    mov dword ptr [TABLES], PAGE_TABLE + 7
    mov eax, 3
    mov edi, PAGE_TABLE
    mov ecx, 1024
1:  stosd
    add eax, 0x1000
    loop 1b
    mov eax, TABLES
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG | CR0_WP
    mov cr0, eax
    jmp 1f
1:

    /* Accessed and dirty */
    mov ebx, PAGE_TABLE + (MARK / 0x1000) * 4
    EQUAL(dword ptr [ebx], MARK + 3)
    mov eax, [MARK]
    EQUAL(dword ptr [ebx], MARK + 0x23)
    mov dword ptr [MARK], 0x1234
    EQUAL(dword ptr [ebx], MARK + 0x63)

    /* Not present: read, write; beyond the directory's entries */
    and dword ptr [ebx], ~1
    invlpg [MARK]
    TRY
    mov eax, [MARK + 8]
    CAUGHT(EXC_PF, 0)
    EQUAL(dword ptr [fault_cr2], MARK + 8)
    TRY
    mov [MARK + 12], eax
    CAUGHT(EXC_PF, 2)
    TRY
    mov eax, [0x40000000]
    CAUGHT(EXC_PF, 0)
    EQUAL(dword ptr [fault_cr2], 0x40000000)
    TRY
    mov eax, [MARK - 2] /* crosses into it */
    CAUGHT(EXC_PF, 0)
    EQUAL(dword ptr [fault_cr2], MARK)
    or dword ptr [ebx], 1 /* present again: no flush needed */
    EQUAL(dword ptr [MARK], 0x1234)

    /* A handler in a page that becomes another one between two interrupts */
    mov dword ptr [HANDLER], 0xcf01b0 /* mov al, 1; iretd */
    mov dword ptr [HANDLER + 0x1000], 0xcf02b0
    mov dword ptr [IDT + 0x20 * 8], CODE32 << 16
    mov dword ptr [IDT + 0x20 * 8 + 4], HANDLER + INTERRUPT_GATE
    mov ecx, 50
1:  xor dword ptr [PAGE_TABLE + (HANDLER / 0x1000) * 4], 0x1000
    invlpg [HANDLER]
    mov eax, [PAGE_TABLE + (HANDLER / 0x1000) * 4]
    shr eax, 12
    and eax, 1
    lea edx, [eax + 1]
    int 0x20
    EQUAL(al, dl)
    int 0x20
    EQUAL(al, dl)
    loop 1b

    /* Read-only, with WP and without */
    and dword ptr [ebx], ~2
    invlpg [MARK]
    mov eax, [MARK]
    TRY
    mov [MARK], eax
    CAUGHT(EXC_PF, 3)
    TRY
    inc dword ptr [MARK] /* read-modify-write reports a write */
    CAUGHT(EXC_PF, 3)
    TRY
    lock add dword ptr [MARK], 1
    CAUGHT(EXC_PF, 3)
    EQUAL(dword ptr [MARK], 0x1234)
    mov eax, cr0
    and eax, ~CR0_WP
    mov cr0, eax
    inc dword ptr [MARK]
    EQUAL(dword ptr [MARK], 0x1235)
    or eax, CR0_WP
    mov cr0, eax
    TRY
    inc dword ptr [MARK]
    CAUGHT(EXC_PF, 3)
    or dword ptr [ebx], 2
    invlpg [MARK]
    inc dword ptr [MARK]

    /* A stale translation may be used until INVLPG; after it, not: remap MARK to MARK + 0x1000. */
    mov dword ptr [MARK + 0x1000], 0x5678
    mov dword ptr [ebx], MARK + 0x1003
    invlpg [MARK]
    EQUAL(dword ptr [MARK], 0x5678)
    mov dword ptr [ebx], MARK + 3
    mov eax, cr3
    mov cr3, eax
    EQUAL(dword ptr [MARK], 0x1236)

    /* A handler that maps the page, and the instruction goes on: in the middle of REP MOVS. */
    GATE32 EXC_PF, map_page
    mov esi, MARK
    mov edi, MARK
    mov eax, 0x01010101
    mov ecx, 0x2000 / 4
    rep stosd
    and dword ptr [PAGE_TABLE + ((MARK + 0x11000) / 0x1000) * 4], ~1
    invlpg [MARK + 0x11000]
    mov esi, MARK
    mov edi, MARK + 0x10003
    mov ecx, 0x2000
    rep movsb
    EQUAL(ecx, 0)
    EQUAL(esi, MARK + 0x2000)
    EQUAL(dword ptr [mapped], 1)
    mov esi, MARK
    mov edi, MARK + 0x10003
    mov ecx, 0x2000
    repe cmpsb
    CHECK(e)
    CATCH32 EXC_PF

    /* Ring 3: supervisor pages; user pages read-only and writable */
    mov dword ptr [TSS + 4], STACK0 - 0x800
    mov dword ptr [TSS + 8], DATA32
    mov eax, TASK
    ltr ax
    GATE32 0x40, leave_ring3, INTERRUPT_GATE3
    or dword ptr [PAGE_TABLE + 8 * 4], 4  /* code: 0x8000, 0x9000 */
    or dword ptr [PAGE_TABLE + 9 * 4], 4
    or dword ptr [PAGE_TABLE + 3 * 4], 4  /* stack */
    or dword ptr [ebx], 4
    and dword ptr [ebx + 4], ~2
    or dword ptr [ebx + 4], 4
    mov eax, cr3
    mov cr3, eax
    push USERDATA
    push STACK3
    push 2
    push USER32
    push offset ring3
    iretd
ring3:
    mov eax, USERDATA
    mov ds, eax
    mov es, eax
    mov eax, [MARK]
    mov [MARK], eax
    mov eax, [MARK + 0x1000]
    TRY
    mov [MARK + 0x1000], eax
    CAUGHT(EXC_PF, 7)
    TRY
    mov eax, [MARK + 0x2000]
    CAUGHT(EXC_PF, 5)
    TRY
    mov dword ptr [MARK + 0x2000], 0
    CAUGHT(EXC_PF, 7)
    mov eax, MARK + 0x2000
    TRY
    jmp eax
    CAUGHT(EXC_PF, 5)
    EQUAL(dword ptr [fault_ip], MARK + 0x2000)
    int 0x40
    FAIL
leave_ring3:
    LOAD_DATA DATA32
    mov esp, STACK0

    /* 4 MiB pages */
    mov eax, cr4
    or eax, CR4_PSE
    mov cr4, eax
    mov dword ptr [TABLES + 4], 0x00000083 /* 4 MiB and up: physical 0 */
    EQUAL(dword ptr [MARK + 0x400000], 0x01010101)
    mov dword ptr [MARK + 0x400000], 77
    EQUAL(dword ptr [MARK], 77)
    EQUAL(dword ptr [TABLES + 4], 0x000000e3)

    /* Code in one page at two addresses 64 MiB apart, which may share what a TLB keeps of them:
     * the one is there still when the other is not. */
    mov dword ptr [TABLES + 16 * 4], 0x00000083
    mov byte ptr [MARK], 0xc3 /* ret */
    mov ebp, esp
    mov ecx, 100
1:  mov eax, MARK
    call eax
    mov eax, MARK + 0x4000000
    call eax
    loop 1b
    and dword ptr [ebx], ~1
    invlpg [MARK]
    call eax
    mov eax, MARK
    TRY
    call eax
    CAUGHT(EXC_PF, 0)
    EQUAL(dword ptr [fault_cr2], MARK)
    mov esp, ebp
    or dword ptr [ebx], 1

    mov dword ptr [TABLES + 4], 0x00200083 /* reserved bit 21 */
    mov eax, cr3
    mov cr3, eax
    TRY
    mov eax, [0x400000]
    CAUGHT(EXC_PF, 9)

    /* PAE: PDPT at TABLES, directory behind it, one page table with NX in it. */
    mov eax, cr0
    and eax, ~CR0_PG
    mov cr0, eax
    mov edi, TABLES
    xor eax, eax
    mov ecx, 0x3000 / 4
    rep stosd
    mov dword ptr [TABLES], TABLES + 0x1001
    mov dword ptr [TABLES + 0x1000], 0x83
    mov dword ptr [TABLES + 0x1008], TABLES + 0x2003 /* 2 to 4 MiB */
    mov eax, 0x200003
    mov edi, TABLES + 0x2000
1:  mov [edi], eax
    add edi, 8
    add eax, 0x1000
    cmp eax, 0x400000
    jb 1b
    or dword ptr [TABLES + 0x2000 + ((MARK - 0x200000) / 0x1000) * 8 + 4], 0x80000000
    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_NXE
    wrmsr
    mov eax, TABLES
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    jmp 1f
1:
    mov byte ptr [MARK], 0xc3
    mov byte ptr [MARK + 0x1000], 0xc3
    mov eax, MARK + 0x1000
    call eax
    mov eax, MARK
    mov ebp, esp
    TRY
    call eax
    CAUGHT(EXC_PF, 0x11)
    EQUAL(dword ptr [fault_cr2], MARK)
    mov esp, ebp
    TRY
    mov eax, [0x80000000]
    CAUGHT(EXC_PF, 0)
    or dword ptr [TABLES + 8], 2 | 1 /* a reserved bit in a PDPTE: #GP at the load of CR3 */
    mov eax, cr3
    TRY
    mov cr3, eax
    CAUGHT(EXC_GP, 0)
    PASS

map_page:
    push eax
    inc dword ptr [mapped]
    mov eax, cr2
    EQUAL(eax, MARK + 0x11000)
    shr eax, 12
    or dword ptr [PAGE_TABLE + eax * 4], 1
    pop eax
    add esp, 4
    iretd

CATCHERS32
    .balign 4
mapped: .long 0

TABLES_BEGIN
TABLES_END
