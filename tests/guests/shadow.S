/*
 * What holds interrupts and debug exceptions back, and for how long: STI, MOV SS, POP SS, their combinations, and
 * what comes of a breakpoint that MOV SS delayed when the next instruction goes elsewhere. Also data operands that
 * cross into a page that is missing or may not be written: nothing of them happens.
 */
#include "tests/guests/guest.inc"

#define PLACE      0x200010
#define DR7_WATCH  0x000f0402 /* DR0: reads and writes of four bytes */
#define PAGE_TABLE (TABLES + 0x1000)
#define EDGE       0x301000 /* the page that changes begins here */
#define ENTRY      PAGE_TABLE + (EDGE / 0x1000) * 4

/* With IF clear: makes vector 50h pending. */
.macro RAISE
    mov dword ptr [interrupts], 0
    mov al, 0x50
    out PORT_RAISE, al
.endm
#define CAME_AT(label) EQUAL(dword ptr [interrupts], 1); EQUAL(dword ptr [return_ip], offset label)
.macro STEP
    mov dword ptr [steps], 0
    pushfd
    or dword ptr [esp], FLAG_TF
    popfd
.endm
/* Three steps: PUSHFD, AND, POPFD */
.macro STEP_END
    pushfd
    and dword ptr [esp], ~FLAG_TF
    popfd
.endm
#define STEPPED(count) EQUAL(dword ptr [steps], count + 3)
.macro WATCH
    mov dword ptr [steps], 0
    mov eax, PLACE
    mov dr0, eax
    mov eax, DR7_WATCH
    mov dr7, eax
.endm
.macro WATCH_END
    xor eax, eax
    mov dr7, eax
.endm

START
    ENTER_PROTECTED
    CATCH_ALL32
    GATE32 EXC_DB, on_debug
    GATE32 0x50, on_interrupt
    GATE32 0x31, on_software
    mov ecx, ss
    mov [PLACE], ecx

    /* -- STI -- */
    RAISE
    sti
    sti /* the second finds IF set: it holds nothing back */
1:  nop
    cli
    CAME_AT(1b)
    RAISE
    sti
    cli /* no window between the two */
    nop
    EQUAL(dword ptr [interrupts], 0)
    sti
    nop
2:  cli
    CAME_AT(2b)
    RAISE
    sti
    jmp 3f /* taken at the target */
    nop
3:  nop
    cli
    CAME_AT(3b)
    RAISE
    sti
    mov dx, [PLACE]
4:  nop
    cli
    CAME_AT(4b)
    /* The interrupt comes behind an instruction that faults once, not before it. */
    RAISE
    mov dword ptr [fault_vector], -1
    mov dword ptr [fault_resume], offset 5f
    sti
    ud2
5:  nop
6:  cli
    EQUAL(dword ptr [fault_vector], EXC_UD)
    EQUAL(dword ptr [interrupts], 1)
    EQUAL(dword ptr [return_ip], offset 5b) /* IRET has no shadow */
    /* NMI does not ask for IF. */
    GATE32 2, on_nmi
    out 0xf6, al
    nop
    EQUAL(dword ptr [nmis], 1)

    /* -- MOV SS and POP SS: interrupts, single steps; LSS and other segments: none of it -- */
    RAISE
    push 2 + FLAG_IF
    mov ecx, ss
    popfd /* IF, without a shadow: the interrupt is here */
7:  mov ss, ecx
    cli
    CAME_AT(7b)
    STEP
    mov ss, ecx
    nop
    STEP_END
    STEPPED(1)
    STEP
    push ss
    pop ss
    nop
    STEP_END
    STEPPED(2) /* PUSH; POP and NOP together */
    STEP
    mov ss, ecx
    mov ss, ecx /* the second holds nothing back, or it does: at least one step of the three */
    nop
    STEP_END
    cmp dword ptr [steps], 4
    CHECK(ae)
    cmp dword ptr [steps], 5
    CHECK(be)
    STEP
    lss esp, [stack_pointer]
    nop
    STEP_END
    STEPPED(2)
    STEP
    mov ds, ecx
    nop
    STEP_END
    STEPPED(2)
    /* A MOV SS that faults holds nothing back. */
    mov dword ptr [fault_vector], -1
    mov dword ptr [fault_resume], offset 8f
    xor eax, eax
    STEP
    mov ss, eax
8:  nop
    STEP_END
    EQUAL(dword ptr [fault_vector], EXC_GP)
    cmp dword ptr [steps], 3
    CHECK(ae)

    /* -- A breakpoint on MOV SS's own operand comes behind the next instruction, wherever that leads -- */
    WATCH
    mov ss, [PLACE]
    nop
1:  nop
    WATCH_END
    EQUAL(dword ptr [steps], 1)
    EQUAL(dword ptr [step_ip], offset 1b)
    WATCH
    mov ss, [PLACE]
    jmp 2f
    nop
2:  nop
    WATCH_END
    EQUAL(dword ptr [steps], 1)
    EQUAL(dword ptr [step_ip], offset 2b)
    /* Into the handler of a software interrupt: before its first instruction, with its privileges */
    WATCH
    mov ss, [PLACE]
    int 0x31
3:  WATCH_END
    EQUAL(dword ptr [steps], 1)
    EQUAL(dword ptr [step_ip], offset on_software)
    EQUAL(dword ptr [software], 1)

    /* -- Data across pages: the first 4 MiB to themselves, the page at EDGE as each check has it -- */
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
    mov eax, cr4
    or eax, 1 << 9 /* OSFXSR */
    mov cr4, eax
    fninit

    /* The instruction at EDX, its operand EBX bytes before EDGE: it faults there, and memory is as it was.
     * EDI: bit 0 of the error code expected. */
    mov ebp, offset stores
next_store:
    xor edi, edi
next_kind: /* missing, then read-only */
    mov eax, EDGE + 6 /* not present */
    test edi, edi
    jz 1f
    mov eax, EDGE + 5 /* not writable */
1:  mov [ENTRY], eax
    invlpg [EDGE]
    movzx ebx, byte ptr [ebp + 4]
    dec ebx
next_offset:
    mov eax, 0x5a5a5a5a
    mov [EDGE - 16], eax
    mov [EDGE - 12], eax
    mov [EDGE - 8], eax
    mov [EDGE - 4], eax
    mov edx, EDGE
    sub edx, ebx
    mov [saved_esp], esp
    mov dword ptr [fault_vector], -1
    mov dword ptr [fault_resume], offset stored
    mov esi, offset source
    push edi
    mov edi, edx
    mov eax, 0x11223344
    mov ecx, 4
    call dword ptr [ebp]
    mov dword ptr [fault_vector], 0xff
stored:
    mov esp, [saved_esp]
    mov edi, [esp - 4]
    EQUAL(dword ptr [fault_vector], EXC_PF)
    EQUAL(dword ptr [fault_cr2], EDGE)
    mov eax, [fault_error]
    lea ecx, [edi + 2]
    EQUAL(eax, ecx)
    mov eax, 0x5a5a5a5a
    EQUAL([EDGE - 16], eax)
    EQUAL([EDGE - 12], eax)
    EQUAL([EDGE - 8], eax)
    EQUAL([EDGE - 4], eax)
    dec ebx
    jnz next_offset
    xor edi, 1
    jnz next_kind
    add ebp, 8
    cmp ebp, offset stores_end
    jb next_store
    /* Loads: the register keeps its value. */
    mov dword ptr [ENTRY], EDGE + 6
    invlpg [EDGE]
    mov eax, 0x12345678
    TRY
    mov eax, [EDGE - 1]
    CAUGHT(EXC_PF, 0)
    EQUAL(eax, 0x12345678)
    TRY
    pop dword ptr [EDGE - 2]
    CAUGHT(EXC_PF, 2)
    EQUAL(esp, STACK0)
    PASS

/* -- Instructions that store to [EDX], EDI being the same; each with its operand's size -- */
store2:
    mov [edx], ax
    ret
store4:
    mov [edx], eax
    ret
add4:
    add [edx], eax
    ret
lock4:
    lock xadd [edx], eax
    ret
xchg4:
    xchg [edx], eax
    ret
bts4:
    bts dword ptr [edx], 3
    ret
shld4:
    shld [edx], eax, 5
    ret
movs4:
    movsd
    ret
stos4:
    rep stosd
    ret
fst4:
    fldz
    fst dword ptr [edx]
    ret
fst8:
    fldz
    fst qword ptr [edx]
    ret
fstp10:
    fldz
    fstp tbyte ptr [edx]
    ret
movups16:
    movups [edx], xmm0
    ret
movq8:
    movq [edx], xmm0
    ret
sgdt6:
    sgdt [edx]
    ret

on_interrupt:
    push eax
    inc dword ptr [interrupts]
    mov eax, [esp + 4]
    mov [return_ip], eax
    pop eax
    iretd
on_software:
    inc dword ptr [software]
    iretd
on_nmi:
    inc dword ptr [nmis]
    iretd
on_debug:
    inc dword ptr [steps]
    push eax
    mov eax, [esp + 4]
    mov [step_ip], eax
    xor eax, eax
    mov dr6, eax
    pop eax
    iretd

CATCHERS32
    .balign 8
source: .long 0x99, 0x99, 0x99, 0x99
stores:
    .long store2, 2, store4, 4, add4, 4, lock4, 4, xchg4, 4, bts4, 4, shld4, 4, movs4, 4, stos4, 4
    .long fst4, 4, fst8, 8, fstp10, 10, movups16, 16, movq8, 8, sgdt6, 6
stores_end:
stack_pointer:
    .long STACK0
    .word DATA32
    .word 0
saved_esp: .long 0
interrupts: .long 0
software: .long 0
return_ip: .long 0
step_ip: .long 0
steps: .long 0
nmis: .long 0

TABLES_BEGIN
TABLES_END
