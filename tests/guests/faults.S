/*
 * Non-maskable interrupts and what blocks them; exceptions while exceptions are delivered: which pairs become
 * double faults, which are handled one after the other; instructions whose second page is missing; and in the
 * end a triple fault.
 */
#include "tests/guests/guest.inc"

#define PORT_NMI      0xf6
#define PORT_SHUTDOWN 0xf7
#define PAGE_TABLE    (TABLES + 0x1000)
#define ENTRY(address) PAGE_TABLE + ((address) / 0x1000) * 4
/* An interrupt table whose vectors 0 to 7 lie in one page, the others in the next. */
#define SPLIT_IDT     0x200fc0
#define CODE_PAGE     0x210000 /* two pages for code, the second one missing */

START
    ENTER_PROTECTED
    CATCH_ALL32
    GATE32 2, on_nmi

    /* -- NMI: IF does not matter; blocked until the next IRET, whatever it returns from -- */
    out PORT_NMI, al
    nop
    EQUAL(dword ptr [nmis], 1)
    EQUAL(dword ptr [nested], 0)
    mov dword ptr [again], 1 /* the handler raises another */
    out PORT_NMI, al
    nop
    EQUAL(dword ptr [nmis], 3)
    EQUAL(dword ptr [nested], 0)
    mov dword ptr [again], 2 /* ... and has a fault, whose IRET lets it in */
    out PORT_NMI, al
    nop
    EQUAL(dword ptr [nmis], 5)
    EQUAL(dword ptr [nested], 1)
    EQUAL(dword ptr [depth], 0)

    /* Right behind MOV SS the OUT's own NMI is let in again. */
    mov eax, ss
    mov ss, eax
    out PORT_NMI, al
    nop
    EQUAL(dword ptr [nmis], 6)
    /* INT 2 is no NMI: it blocks nothing. */
    mov dword ptr [again], 1
    int 2
    EQUAL(dword ptr [nmis], 8)
    EQUAL(dword ptr [nested], 2)

    /* -- Paging: the first 4 MiB to themselves -- */
    mov dword ptr [TABLES], PAGE_TABLE + 7
    mov eax, 7
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
    mov esi, IDT
    mov edi, SPLIT_IDT
    mov ecx, 0x100 / 4
    rep movsd

    /* -- Instructions that cross into a missing page: nothing of them happens -- */
    and dword ptr [ENTRY(CODE_PAGE + 0x1000)], ~1
    invlpg [CODE_PAGE + 0x1000]
    /* ADD dword ptr [count], 1 (83 05 ...), cut off after each of its bytes */
    mov ebx, 1
next_cut:
    mov esi, offset sample
    mov edi, CODE_PAGE + 0x1000
    sub edi, ebx
    mov edx, edi
    mov ecx, ebx
    rep movsb
    mov ebp, esp
    TRY
    call edx
    CAUGHT(EXC_PF, 0)
    mov esp, ebp
    EQUAL(dword ptr [fault_cr2], CODE_PAGE + 0x1000)
    EQUAL(dword ptr [fault_ip], edx)
    EQUAL(dword ptr [count], 0)
    inc ebx
    cmp ebx, 7
    jb next_cut
    /* All seven bytes: it runs, and what follows faults at its own address. */
    mov esi, offset sample
    mov edi, CODE_PAGE + 0x1000 - 7
    mov ecx, 7
    rep movsb
    TRY
    mov eax, CODE_PAGE + 0x1000 - 7
    call eax
    CAUGHT(EXC_PF, 0)
    mov esp, ebp
    EQUAL(dword ptr [fault_ip], CODE_PAGE + 0x1000)
    EQUAL(dword ptr [count], 1)
    /* With the page there, the instruction that crosses is whole, and changes with its second half. */
    or dword ptr [ENTRY(CODE_PAGE + 0x1000)], 1
    mov ebx, 1
next_whole:
    mov esi, offset sample
    mov edi, CODE_PAGE + 0x1000
    sub edi, ebx
    mov edx, edi
    mov ecx, 8
    rep movsb
    mov dword ptr [count], 0
    call edx
    EQUAL(dword ptr [count], 1)
    mov byte ptr [edx + 6], 5 /* the immediate */
    call edx
    EQUAL(dword ptr [count], 6)
    inc ebx
    cmp ebx, 8
    jb next_whole

    /* -- Exceptions in pairs -- */
    lidt [split_idt_pointer]
    and dword ptr [ENTRY(SPLIT_IDT)], ~1 /* vectors 0 to 7 are gone */
    invlpg [SPLIT_IDT]
    xor ecx, ecx
    /* #DE (contributory), then #PF: one after the other; the page fault returns to the division. */
    TRY
divide:
    div ecx
    CAUGHT(EXC_PF, 0)
    EQUAL(dword ptr [fault_cr2], SPLIT_IDT)
    EQUAL(dword ptr [fault_ip], offset divide)
    /* #UD (benign), then #PF: likewise */
    TRY
    ud2
    CAUGHT(EXC_PF, 0)
    EQUAL(dword ptr [fault_cr2], SPLIT_IDT + 6 * 8)
    /* INT 3, then #PF: the frame tells the INT3, which would be executed again. */
    TRY
breakpoint:
    int3
    CAUGHT(EXC_PF, 0)
    EQUAL(dword ptr [fault_ip], offset breakpoint)
    mov eax, dword ptr [SPLIT_IDT + EXC_PF * 8 + 4]
    mov dword ptr [SPLIT_IDT + EXC_PF * 8 + 4], 0
    /* #PF, then #GP or #NP (contributory): double fault */
    TRY
    mov dl, [0x800000]
    CAUGHT(EXC_DF, 0)
    EQUAL(dword ptr [fault_cr2], 0x800000)
    /* #DE, then #PF, then #NP of delivering that: double fault */
    TRY
    div ecx
    CAUGHT(EXC_DF, 0)
    mov dword ptr [SPLIT_IDT + EXC_PF * 8 + 4], eax
    /* #GP, then #NP: double fault; #UD, then #NP: the latter, its error code the gate, as of hardware */
    mov eax, dword ptr [SPLIT_IDT + EXC_GP * 8 + 4]
    mov dword ptr [SPLIT_IDT + EXC_GP * 8 + 4], 0x0e00
    TRY
    mov ds, [bad_selector]
    CAUGHT(EXC_DF, 0)
    mov dword ptr [SPLIT_IDT + EXC_GP * 8 + 4], eax
    or dword ptr [ENTRY(SPLIT_IDT)], 1
    mov dword ptr [SPLIT_IDT + EXC_UD * 8 + 4], 0x0e00
    TRY
    ud2
    CAUGHT(EXC_NP, EXC_UD * 8 + 3)
    TRY
    int 6
    CAUGHT(EXC_NP, EXC_UD * 8 + 2)
    TRY
    int 0x70 /* beyond the table's limit */
    CAUGHT(EXC_GP, 0x70 * 8 + 2)

    /* -- Triple fault: a page fault that cannot be delivered, nor can the double fault -- */
    mov dword ptr [SPLIT_IDT + EXC_PF * 8 + 4], 0
    mov dword ptr [SPLIT_IDT + EXC_DF * 8 + 4], 0
    out PORT_SHUTDOWN, al
    mov al, [0x800000]
    FAIL

sample: /* add dword ptr [count], 1; ret */
    .byte 0x83, 0x05
    .long count
    .byte 1
    ret

on_nmi:
    push eax
    inc dword ptr [nmis]
    cmp dword ptr [depth], 0
    je 1f
    inc dword ptr [nested]
1:  inc dword ptr [depth]
    mov eax, [again]
    mov dword ptr [again], 0
    cmp eax, 1
    jb 4f
    je 2f
    out PORT_NMI, al
    nop
    mov dword ptr [fault_vector], -1
    mov dword ptr [fault_resume], offset 4f
    ud2 /* its handler's IRET unblocks */
2:  out PORT_NMI, al
    nop
    jmp 4f
4:  dec dword ptr [depth]
    pop eax
    iretd

CATCHERS32
    .balign 8
nmis: .long 0
nested: .long 0
depth: .long 0
again: .long 0
count: .long 0
bad_selector: .long 0xfff8
split_idt_pointer:
    .word 0xff
    .long SPLIT_IDT

TABLES_BEGIN
TABLES_END
