/* Hardware task switching: JMP, CALL and IRET, a task gate for an exception, and an invalid TSS. */
#include "tests/guests/guest.inc"

/* 32-bit TSS: offsets */
#define TSS_LINK 0
#define TSS_CR3 28
#define TSS_EIP 32
#define TSS_EFLAGS 36
#define TSS_EAX 40
#define TSS_ESP 56
#define TSS_ES 72
#define TSS_LDT 96
#define TSS_IOMAP 102

#define MAIN_TSS 0x2000
#define OTHER_TSS 0x2100
#define FAULT_TSS 0x2200
#define OTHER EXTRA
#define FAULT EXTRA + 8

.macro MAKE_TSS address, entry, stack
    mov edi, \address
    xor eax, eax
    mov ecx, 104 / 4
    rep stosd
    mov dword ptr [\address + TSS_EIP], offset \entry
    mov dword ptr [\address + TSS_EFLAGS], 2
    mov dword ptr [\address + TSS_ESP], \stack
    mov dword ptr [\address + TSS_EAX], 0x1234
    mov dword ptr [\address + TSS_ES], DATA32
    mov dword ptr [\address + TSS_ES + 4], CODE32
    mov dword ptr [\address + TSS_ES + 8], DATA32
    mov dword ptr [\address + TSS_ES + 12], DATA32
    mov dword ptr [\address + TSS_ES + 16], DATA32
    mov dword ptr [\address + TSS_ES + 20], DATA32
    mov word ptr [\address + TSS_IOMAP], 104
.endm

START
    ENTER_PROTECTED
    CATCH_ALL32
    MAKE_TSS OTHER_TSS, other, STACK1
    MAKE_TSS FAULT_TSS, fault_task, STACK_IST
    mov eax, TASK
    ltr ax

    /* CALL: the new task is nested, both are busy; IRET comes back. */
    mov ebx, 0x5555
    mov ecx, 1
    .byte 0x9a
    .long 0
    .word OTHER
    EQUAL(ebx, 0x5555)
    EQUAL(dword ptr [calls], 1)
    test byte ptr [gdt + OTHER + 5], 2
    CHECK(z)
    test byte ptr [gdt + TASK + 5], 2
    CHECK(nz)
    str ax
    EQUAL(ax, TASK)
    pushfd
    test dword ptr [esp], FLAG_NT
    CHECK(z)
    mov eax, cr0
    test eax, 8 /* TS is set by every switch */
    CHECK(nz)
    clts

    /* JMP: not nested; it goes on behind its IRET and jumps back. */
    FAR_JUMP32 OTHER, 0
    EQUAL(dword ptr [calls], 2)
    test byte ptr [gdt + OTHER + 5], 2
    CHECK(z)

    /* A busy task cannot be called. */
    TRY
    .byte 0x9a
    .long 0
    .word TASK
    CAUGHT(EXC_GP, TASK)

    /* An exception through a task gate: error code on the new stack, return by IRET */
    mov dword ptr [IDT + EXC_GP * 8], (FAULT) << 16
    mov dword ptr [IDT + EXC_GP * 8 + 4], TASK_GATE
    mov eax, DATA32
    mov ecx, 0x1000
    mov es, ecx /* beyond the table */
    EQUAL(dword ptr [calls], 3)
    EQUAL(ecx, DATA32) /* the handler changed it in our TSS */
    CATCH32 EXC_GP

    /* A segment register of the incoming task that cannot be loaded: #TS in that task. */
    CATCH_ALL32
    mov dword ptr [OTHER_TSS + TSS_ES], 0x1000
    mov dword ptr [OTHER_TSS + TSS_EIP], offset unreached
    mov dword ptr [fault_resume], offset in_other
    .byte 0x9a
    .long 0
    .word OTHER
    FAIL
in_other: /* with segment registers that may not be loaded (SDM 3A 7.3) */
    LOAD_DATA DATA32
    EQUAL(dword ptr [fault_vector], EXC_TS)
    EQUAL(dword ptr [fault_error], 0x1000)
    str ax
    EQUAL(ax, OTHER)
    pushfd
    test dword ptr [esp], FLAG_NT
    CHECK(nz)
    PASS
unreached:
    FAIL

other:
    inc dword ptr [calls]
    EQUAL(eax, 0x1234)
    str bx
    EQUAL(bx, OTHER)
    EQUAL(word ptr [OTHER_TSS + TSS_LINK], TASK)
    pushfd
    test dword ptr [esp], FLAG_NT
    CHECK(nz)
    add esp, 4
    test byte ptr [gdt + TASK + 5], 2
    CHECK(nz)
    mov ebx, 0x6666
    iretd
    /* entered again, by JMP */
    inc dword ptr [calls]
    EQUAL(ebx, 0x6666)
    pushfd
    test dword ptr [esp], FLAG_NT
    CHECK(z)
    add esp, 4
    FAR_JUMP32 TASK, 0
    FAIL

fault_task:
    inc dword ptr [calls]
    EQUAL(dword ptr [esp], 0x1000)
    add esp, 4
    EQUAL(word ptr [FAULT_TSS + TSS_LINK], TASK)
    mov dword ptr [MAIN_TSS + TSS_EAX + 4], DATA32 /* ECX */
    iretd
    FAIL

CATCHERS32
    .balign 4
calls: .long 0

TABLES_BEGIN
    .quad DESCRIPTOR(0x67, 0x89, 0) + (OTHER_TSS << 16)
    .quad DESCRIPTOR(0x67, 0x89, 0) + (FAULT_TSS << 16)
TABLES_END
