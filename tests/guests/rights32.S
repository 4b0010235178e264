/*
 * As rights.S, in 32-bit paging and in PAE paging: every combination of rights in a page table entry and its
 * directory entry, of CR0.WP, SMEP, SMAP and EFLAGS.AC, with every kind of access. In 32-bit paging there is no NX,
 * and a fetch is told in the error code only with SMEP. Then 4 MiB pages above 4 GiB, and PAE's reserved bits.
 *
 * [combination]: bit 0 W, 1 U, 2 NX of the page    3 W, 4 U, 5 NX of the directory entry    6 WP  7 SMEP  8 SMAP  9 AC
 * [access]: 0 read, 1 write, 2 fetch by the supervisor, 3 to 5 by the user. [expected]: the error code, 0 if none
 */
#include "tests/guests/guest.inc"

#define POINTERS  TABLES /* PAE; or the directory */
#define DIRECTORY (TABLES + 0x1000)
#define TEST_PD   (TABLES + 0x2000)
#define USER_PD   (TABLES + 0x3000)
#define PAGES     (TABLES + 0x5000)
#define FRAME     0x300000
#define TEST      0x40000000 /* maps FRAME */
#define USER_VIEW 0x80000000 /* maps 0, for the user */
#define CR4_SMEP_SMAP (3 << 20)
#define FLAG_AC   (1 << 18)

START
    ENTER_PROTECTED
    CATCH_ALL32
    GATE32 0x30, user_done, INTERRUPT_GATE3
    mov dword ptr [TSS + 4], STACK1
    mov dword ptr [TSS + 8], DATA32
    mov eax, TASK
    ltr ax
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_NXE /* means nothing without PAE */
    wrmsr
    mov byte ptr [FRAME], 0xc3 /* RET */

    /* 32-bit paging: the supervisor's own pages are not the user's. */
    call clear_tables
    mov dword ptr [TABLES], 0x83
    mov dword ptr [TABLES + 4], 0x400083
    mov dword ptr [TABLES + 8], 0x800083
    mov dword ptr [TABLES + 12], 0xc00083
    mov dword ptr [TABLES + 0x800], 0x87
    mov eax, cr4
    or eax, CR4_PSE
    mov cr4, eax
    mov dword ptr [directory_entry], TABLES + 0x400
    call paging_on
    call all_combinations

    /* 4 MiB pages have bits 32 to 39 of their address in bits 13 to 20; bit 21 is reserved. */
    mov dword ptr [TABLES + 0x400], 0x83 + (1 << 13)
    invlpg [TEST]
    EQUAL(dword ptr [TEST + FRAME], -1) /* above 4 GiB, where nothing is */
    mov dword ptr [TABLES + 0x400], 0x83 + (1 << 21)
    invlpg [TEST]
    TRY
    mov al, [TEST]
    CAUGHT(EXC_PF, 9)

    /* PAE */
    mov eax, cr0
    and eax, ~CR0_PG
    mov cr0, eax
    call clear_tables
    mov dword ptr [POINTERS], DIRECTORY + 1
    mov dword ptr [POINTERS + 8], TEST_PD + 1
    mov dword ptr [POINTERS + 16], USER_PD + 1
    mov dword ptr [USER_PD], 0x87
    mov eax, 0x83
    mov edi, DIRECTORY
1:  mov [edi], eax
    add edi, 8
    add eax, 0x200000
    cmp eax, 0x1000000
    jb 1b
    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov dword ptr [directory_entry], TEST_PD
    mov byte ptr [pae], 1
    call paging_on
    call all_combinations

    /* Reserved bits: of the physical address, in each entry; a 2 MiB page's low ones */
    mov dword ptr [TEST_PD], PAGES + 7
    mov dword ptr [TEST_PD + 4], 0
    mov dword ptr [PAGES], FRAME + 7
    mov dword ptr [PAGES + 4], 1 << 19
    invlpg [TEST]
    TRY
    mov al, [TEST]
    CAUGHT(EXC_PF, 9)
    mov dword ptr [PAGES + 4], 1 << 20 /* bits 52 to 62 too */
    invlpg [TEST]
    TRY
    mov [TEST], al
    CAUGHT(EXC_PF, 11)
    mov dword ptr [PAGES + 4], 0
    mov dword ptr [TEST_PD + 4], 1 << 19
    invlpg [TEST]
    TRY
    mov al, [TEST]
    CAUGHT(EXC_PF, 9)
    mov dword ptr [TEST_PD + 4], 0
    mov dword ptr [TEST_PD], 0x2087
    invlpg [TEST]
    TRY
    mov al, [TEST]
    CAUGHT(EXC_PF, 9)
    /* The four pointers are loaded with CR3: their reserved bits are #GP then, and changes wait for it. */
    mov dword ptr [TEST_PD], PAGES + 7
    mov eax, cr3
    .irp bits, 2, 4, 0x20, 0x80, 0x100
    or dword ptr [POINTERS + 8], \bits
    TRY
    mov cr3, eax
    CAUGHT(EXC_GP, 0)
    and dword ptr [POINTERS + 8], ~\bits
    .endr
    mov dword ptr [POINTERS + 12], 1 << 19
    TRY
    mov cr3, eax
    CAUGHT(EXC_GP, 0)
    mov dword ptr [POINTERS + 12], 0
    mov dword ptr [POINTERS + 8], 0x1fe /* not present: whatever else there is */
    invlpg [TEST]
    mov bl, [TEST] /* INVLPG does not load it */
    mov cr3, eax
    TRY
    mov bl, [TEST]
    CAUGHT(EXC_PF, 0)
    PASS

clear_tables:
    mov edi, TABLES
    xor eax, eax
    mov ecx, 0x6000 / 4
    rep stosd
    ret

paging_on:
    mov eax, TABLES
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    ret

/* -- The combinations -- */

all_combinations:
    pop dword ptr [return_to]
    mov ebx, TEST
    mov dword ptr [combination], 0
next_combination:
    mov eax, cr0
    and eax, ~CR0_WP
    mov ecx, [combination]
    mov edx, ecx
    and ecx, 1 << 6
    shl ecx, 10
    or eax, ecx
    mov cr0, eax
    shr edx, 7
    and edx, 3
    shl edx, 20
    mov eax, cr4
    and eax, ~CR4_SMEP_SMAP
    or eax, edx
    mov cr4, eax
    mov dword ptr [access], 0

next_access:
    mov edi, PAGES
    mov esi, FRAME + 1
    mov eax, [combination]
    call write_entry
    mov edi, [directory_entry]
    mov esi, PAGES + 1
    mov eax, [combination]
    shr eax, 3
    call write_entry
    invlpg [ebx]

    /* What must come of it. ESI: bits 0 and 1 W and U of both; EDX: bit 2 NX of either; EDI: the combination */
    mov edi, [combination]
    mov esi, edi
    mov edx, edi
    shr edx, 3
    and esi, edx
    or edx, edi
    cmp byte ptr [pae], 0
    jne 1f
    and edx, ~4
1:  xor ecx, ecx
    cmp dword ptr [access], 3
    jae of_user
    cmp dword ptr [access], 2
    je of_fetch
    test esi, 2
    jz 1f
    bt edi, 8
    jnc 1f
    bt edi, 9
    jc 1f
    mov ecx, 1
1:  cmp dword ptr [access], 1
    jne try_it
    test ecx, ecx
    jnz 2f
    test esi, 1
    jnz try_it
    bt edi, 6
    jnc try_it
2:  mov ecx, 3
    jmp try_it
of_fetch:
    test edx, 4
    jnz 1f
    test esi, 2
    jz try_it
    bt edi, 7
    jnc try_it
1:  mov ecx, 0x11
    jmp try_it
of_user:
    test esi, 2
    jz 2f
    cmp dword ptr [access], 4
    jb try_it
    ja 1f
    test esi, 1
    jnz try_it
    jmp 2f
1:  test edx, 4
    jz try_it
2:  mov ecx, 5
    cmp dword ptr [access], 4
    jb try_it
    mov ecx, 7
    je try_it
    mov ecx, 0x15
    cmp byte ptr [pae], 0
    jne try_it
    bt edi, 7
    jc try_it
    mov ecx, 5

try_it:
    mov [expected], ecx
    mov dword ptr [fault_vector], -1
    mov dword ptr [saved_esp], esp
    cmp dword ptr [access], 3
    jae try_user
    mov dword ptr [fault_resume], offset tried
    clac
    bt edi, 9
    jnc 1f
    stac
1:  cmp dword ptr [access], 1
    jb 2f
    je 3f
    call ebx
    jmp tried
2:  mov al, [ebx]
    jmp tried
3:  mov byte ptr [ebx], 0xc3
    jmp tried
try_user:
    mov dword ptr [fault_resume], offset user_end + USER_VIEW
    mov eax, [access]
    shl eax, 4
    add eax, offset user_read + USER_VIEW - 3 * 16
    push USERDATA
    push USER_VIEW + STACK3
    push 2
    push USER32
    push eax
    mov ecx, USERDATA
    mov ds, ecx
    iretd
    .balign 16
user_read:
    mov al, [ebx]
    jmp user_end
    .balign 16
    mov byte ptr [ebx], 0xc3
    jmp user_end
    .balign 16
    call ebx
user_end:
    int 0x30
user_done:
    mov eax, DATA32
    mov ds, eax
    mov es, eax
tried:
    clac
    mov esp, [saved_esp]
    mov ecx, [expected]
    test ecx, ecx
    jz no_fault
    EQUAL(dword ptr [fault_vector], EXC_PF)
    EQUAL(dword ptr [fault_error], ecx)
    EQUAL(dword ptr [fault_cr2], ebx)
    jmp done
no_fault:
    EQUAL(dword ptr [fault_vector], -1)
    mov eax, [PAGES]
    test eax, 0x20
    CHECK(nz)
    and eax, 0x40
    cmp dword ptr [access], 1
    je 1f
    cmp dword ptr [access], 4
    jne 2f
1:  xor eax, 0x40
2:  EQUAL(eax, 0)
    mov eax, [directory_entry]
    test dword ptr [eax], 0x20
    CHECK(nz)
    test dword ptr [eax], 0x40
    CHECK(z)
done:
    inc dword ptr [access]
    cmp dword ptr [access], 6
    jb next_access
    inc dword ptr [combination]
    cmp dword ptr [combination], 1 << 10
    jb next_combination
    mov eax, cr4
    and eax, ~CR4_SMEP_SMAP
    mov cr4, eax
    jmp dword ptr [return_to]

/* The entry at EDI: ESI with the rights in EAX's lower bits */
write_entry:
    mov ecx, eax
    and eax, 3
    add eax, eax
    or eax, esi
    mov [edi], eax
    cmp byte ptr [pae], 0
    je 1f
    shl ecx, 29
    and ecx, 0x80000000
    mov [edi + 4], ecx
1:  ret

CATCHERS32
    .balign 4
combination: .long 0
access: .long 0
expected: .long 0
directory_entry: .long 0
return_to: .long 0
saved_esp: .long 0
pae: .long 0

TABLES_BEGIN
TABLES_END
