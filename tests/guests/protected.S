/* Protected mode: the switch, segment checks, call gates, privilege levels, and the way back. */
#include "tests/guests/guest.inc"

START
    /* Unreal mode on the way: a 4 GiB limit survives in real mode. */
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, CR0_PE
    mov cr0, eax
    mov bx, DATA32
    mov fs, bx
    and al, 0xfe
    mov cr0, eax
    mov edi, 0x200000
    mov dword ptr fs:[edi], 0x12345678
    EQUAL(dword ptr fs:[edi], 0x12345678)

    ENTER_PROTECTED
    CATCH_ALL32
    EQUAL(dword ptr [0x200000], 0x12345678)

    /* Segment loads */
    mov eax, EXTRA /* not present */
    TRY
    mov es, eax
    CAUGHT(EXC_NP, EXTRA)
    TRY
    mov ss, eax
    CAUGHT(EXC_SS, EXTRA)
    mov eax, CODE32
    TRY
    mov ss, eax
    CAUGHT(EXC_GP, CODE32)
    mov eax, 0x1000 /* beyond the table */
    TRY
    mov fs, eax
    CAUGHT(EXC_GP, 0x1000)
    xor eax, eax
    TRY
    mov ss, eax
    CAUGHT(EXC_GP, 0)
    mov gs, eax /* null is fine, using it is not */
    TRY
    mov al, gs:[0]
    CAUGHT(EXC_GP, 0)

    /* Limits: 0x0fff, expand-down from 0x0fff, read-only, execute-only code */
    mov eax, EXTRA + 8
    mov es, eax
    mov al, es:[0xfff]
    TRY
    mov ax, es:[0xfff]
    CAUGHT(EXC_GP, 0)
    TRY
    mov al, es:[-1]
    CAUGHT(EXC_GP, 0)
    mov eax, EXTRA + 16
    mov es, eax
    mov al, es:[0x1000]
    TRY
    mov al, es:[0xfff]
    CAUGHT(EXC_GP, 0)
    mov eax, EXTRA + 24
    mov es, eax
    mov al, es:[0]
    TRY
    mov es:[0], al
    CAUGHT(EXC_GP, 0)
    mov eax, EXTRA + 32
    TRY
    mov es, eax
    CAUGHT(EXC_GP, EXTRA + 32)

    /* Accessed bit */
    mov eax, EXTRA + 40
    test byte ptr [gdt + EXTRA + 40 + 5], 1
    CHECK(z)
    mov es, eax
    test byte ptr [gdt + EXTRA + 40 + 5], 1
    CHECK(nz)

    /* LAR, LSL, VERR, VERW, ARPL */
    mov eax, EXTRA + 8
    lsl ebx, eax
    CHECK(z)
    EQUAL(ebx, 0xfff)
    lar ebx, eax
    CHECK(z)
    EQUAL(bh, 0x93)
    mov eax, EXTRA + 24
    verr ax
    CHECK(z)
    verw ax
    CHECK(nz)
    mov eax, 0x1000
    lar ebx, eax
    CHECK(nz)
    mov ax, 0x10
    mov bx, 3
    arpl ax, bx
    CHECK(z)
    EQUAL(ax, 0x13)

    /* A 16-bit code segment and back */
    .byte 0x9a /* far call to 16-bit code through a far pointer */
    .long sixteen
    .word CODE16
    EQUAL(ecx, 0x5a5a)

    /* Ring 3 and back by an interrupt, a call gate with two parameters, and a privileged fault */
    mov dword ptr [TSS + 4], STACK0 - 0x800
    mov dword ptr [TSS + 8], DATA32
    mov word ptr [TSS + 0x66], 0x68 /* no I/O permissions */
    mov eax, TASK
    ltr ax
    test byte ptr [gdt + TASK + 5], 2 /* busy */
    CHECK(nz)
    GATE32 0x40, from_ring3, INTERRUPT_GATE3
    mov dword ptr [gdt + EXTRA + 48], offset gate_target
    mov word ptr [gdt + EXTRA + 50], CODE32
    mov dword ptr [gdt + EXTRA + 52], 0xec02 /* DPL 3, 32-bit call gate, two parameters */
    push USERDATA
    push STACK3
    push 2
    push USER32
    push offset ring3
    iretd

ring3:
    mov eax, cs
    EQUAL(ax, USER32)
    mov eax, ds /* DPL 0 segments became null */
    EQUAL(ax, 0)
    mov eax, USERDATA
    mov ds, eax
    mov es, eax
    TRY
    cli
    CAUGHT(EXC_GP, 0)
    EQUAL(dword ptr [fault_cs], USER32)
    TRY
    in al, 0x80
    CAUGHT(EXC_GP, 0)
    TRY
    hlt
    CAUGHT(EXC_GP, 0)
    TRY
    mov eax, cr0
    CAUGHT(EXC_GP, 0)
    mov eax, DATA32
    TRY
    mov fs, eax
    CAUGHT(EXC_GP, DATA32)
    TRY
    int 0x41 /* absent vector: beyond nothing, gate is zero */
    CAUGHT(EXC_GP, 0x41 * 8 + 2)
    TRY
    int 13 /* DPL 0 gate */
    CAUGHT(EXC_GP, 13 * 8 + 2)
    mov ecx, esp
    push 0x1111
    push 0x2222
    .byte 0x9a
    .long 0
    .word EXTRA + 48 + 3
    EQUAL(esp, ecx)
    EQUAL(eax, 0x3333)
    int 0x40
    FAIL

/* In ring 0 on the TSS's stack: parameters were copied, RET 8 drops them on both stacks. */
gate_target:
    mov eax, cs
    EQUAL(ax, CODE32)
    EQUAL(dword ptr ss:[esp + 4], USER32)
    EQUAL(dword ptr ss:[esp + 8], 0x2222)
    EQUAL(dword ptr ss:[esp + 12], 0x1111)
    mov eax, ss:[esp + 8]
    add eax, ss:[esp + 12]
    retf 8

from_ring3:
    EQUAL(dword ptr ss:[esp + 4], USER32)
    EQUAL(dword ptr ss:[esp + 12], STACK3)
    EQUAL(dword ptr ss:[esp + 16], USERDATA)
    LOAD_DATA DATA32
    mov esp, STACK0

    /* Back to real mode. */
    FAR_JUMP32 CODE16, to_real
.code16
to_real:
    mov ax, DATA16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    .byte 0xea
    .word real, 0
real:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    lidt [real_idt_pointer]
    mov word ptr [0x60 * 4], offset real_handler
    mov word ptr [0x60 * 4 + 2], 0
    xor bx, bx
    int 0x60
    EQUAL(bx, 0x7777)
    PASS

real_handler:
    mov bx, 0x7777
    iret

sixteen:
    mov ecx, 0x5a5a
    .byte 0x66
    retf

.code32
CATCHERS32

TABLES_BEGIN
    .quad DESCRIPTOR(0xfff, 0x13, 4)        /* not present */
    .quad DESCRIPTOR(0xfff, 0x93, 4)        /* limit 0xfff */
    .quad DESCRIPTOR(0xfff, 0x97, 4)        /* expand-down */
    .quad DESCRIPTOR(0xfffff, 0x91, 0xc)    /* read-only */
    .quad DESCRIPTOR(0xfffff, 0x99, 0xc)    /* execute-only */
    .quad DESCRIPTOR(0xfffff, 0x92, 0xc)    /* not accessed yet */
    .quad 0                                 /* call gate */
TABLES_END
