/* Interrupts and debug exceptions: gates, STI shadow, HLT, single step, breakpoints, double faults. */
#include "tests/guests/guest.inc"

START
    ENTER_PROTECTED
    CATCH_ALL32
    GATE32 0x50, count_interrupt
    GATE32 0x51, count_trap, TRAP_GATE

    /* INT through an interrupt gate and a trap gate: only the former clears IF. */
    sti
    int 0x50
    EQUAL(dword ptr [interrupts], 1)
    test dword ptr [flags_inside], FLAG_IF
    CHECK(z)
    int 0x51
    test dword ptr [flags_inside], FLAG_IF
    CHECK(nz)
    cli

    /* External: held while IF is clear, and for one instruction after STI. */
    mov dword ptr [interrupts], 0
    mov al, 0x50
    out PORT_RAISE, al
    nop
    EQUAL(dword ptr [interrupts], 0)
    sti
    mov ebx, [interrupts] /* in the shadow */
behind_shadow:
    mov ecx, [interrupts]
    cli
    EQUAL(ebx, 0)
    EQUAL(ecx, 1)
    EQUAL(dword ptr [return_ip], offset behind_shadow)

    /* STI; HLT does not lose the wake-up; the return address is behind HLT. */
    mov dword ptr [interrupts], 0
    mov al, 0x50
    out PORT_RAISE, al
    sti
    hlt
after_hlt:
    cli
    EQUAL(dword ptr [interrupts], 1)
    EQUAL(dword ptr [return_ip], offset after_hlt)

    /* POPF that leaves IF clear still holds it; one that sets IF has no shadow. */
    mov dword ptr [interrupts], 0
    mov al, 0x50
    out PORT_RAISE, al
    pushfd
    popfd
    EQUAL(dword ptr [interrupts], 0)
    pushfd
    or dword ptr [esp], FLAG_IF
    popfd
behind_popf:
    mov ebx, [interrupts]
    cli
    EQUAL(ebx, 1)
    EQUAL(dword ptr [return_ip], offset behind_popf)

    /* An interrupt in the middle of a long loop that never ends by itself */
    mov dword ptr [interrupts], 0
    mov al, 0x50
    sti
    nop
    out PORT_RAISE, al
1:  cmp dword ptr [interrupts], 0
    je 1b
    cli

    /* Software exceptions */
    TRY
    int3
    CAUGHT(EXC_BP, 0)
    mov al, 0x7f
    add al, 1
    TRY
    into
    CAUGHT(EXC_OF, 0)
    mov eax, 5
    TRY
    bound eax, [limits]
    CAUGHT(EXC_BR, 0)
    xor ecx, ecx
    TRY
    div ecx
    CAUGHT(EXC_DE, 0)
    TRY
    ud2
    CAUGHT(EXC_UD, 0)
    TRY
    .byte 0xf0, 0x90 /* lock nop */
    CAUGHT(EXC_UD, 0)
    mov eax, cr0
    or eax, 8 /* TS */
    mov cr0, eax
    TRY
    fninit
    CAUGHT(EXC_NM, 0)
    clts

    /* An instruction of more than 15 bytes */
    TRY
    .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66
    nop
    CAUGHT(EXC_GP, 0)

    /* Single step: after the instruction that follows POPF, and once per instruction */
    GATE32 EXC_DB, on_debug
    mov dword ptr [steps], 0
    pushfd
    or dword ptr [esp], FLAG_TF
    popfd
    nop
    mov eax, 1
    mov ecx, 3
1:  loop 1b
    rep stosb /* ECX = 0: one step */
    pushfd
    and dword ptr [esp], ~FLAG_TF
    popfd
    /* nop, mov, mov, 3 loops, rep, pushfd, and, popfd: the trap of an instruction looks at the TF before it */
    EQUAL(dword ptr [steps], 10)
    test dword ptr [last_dr6], 1 << 14 /* BS */
    CHECK(nz)

    /* REP under single step: one trap per iteration */
    mov dword ptr [steps], 0
    mov edi, 0x200000
    mov ecx, 4
    pushfd
    or dword ptr [esp], FLAG_TF
    popfd
    rep stosb
    pushfd
    and dword ptr [esp], ~FLAG_TF
    popfd
    EQUAL(dword ptr [steps], 7)

    /* Breakpoints: an instruction (fault, RF resumes), then a data write (trap) */
    mov dword ptr [steps], 0
    mov eax, offset stop_here
    mov dr0, eax
    mov eax, 0x200010
    mov dr1, eax
    mov eax, 0xd0040a /* 0: execute; 1: write, four bytes */
    mov dr7, eax
    xor ebx, ebx
stop_here:
    inc ebx
    EQUAL(ebx, 1)
    EQUAL(dword ptr [steps], 1)
    EQUAL(dword ptr [return_ip], offset stop_here)
    test dword ptr [last_dr6], 1
    CHECK(nz)
    mov dword ptr [0x200014], 1
    mov eax, [0x200010]
    EQUAL(dword ptr [steps], 1)
    mov byte ptr [0x200013], 1
watched:
    EQUAL(dword ptr [steps], 2)
    EQUAL(dword ptr [return_ip], offset watched)
    test dword ptr [last_dr6], 2
    CHECK(nz)
    xor eax, eax
    mov dr7, eax

    /* A fault while delivering one: double fault with error code 0. */
    mov dword ptr [IDT + EXC_NP * 8 + 4], 0
    mov dword ptr [IDT + EXC_GP * 8 + 4], 0
    mov eax, EXTRA
    TRY
    mov es, eax
    CAUGHT(EXC_DF, 0)
    PASS

count_interrupt:
count_trap:
    inc dword ptr [interrupts]
    pushfd
    pop dword ptr [flags_inside]
    push eax
    mov eax, [esp + 4]
    mov [return_ip], eax
    pop eax
    iretd

on_debug:
    inc dword ptr [steps]
    push eax
    mov eax, [esp + 4]
    mov [return_ip], eax
    mov eax, dr6
    mov [last_dr6], eax
    xor eax, eax
    mov dr6, eax
    or dword ptr [esp + 12], FLAG_RF
    pop eax
    iretd

CATCHERS32
    .balign 8
limits: .long 0, 4
interrupts: .long 0
flags_inside: .long 0
return_ip: .long 0
steps: .long 0
last_dr6: .long 0

TABLES_BEGIN
    .quad DESCRIPTOR(0xfff, 0x13, 4) /* not present */
TABLES_END
