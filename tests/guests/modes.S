/*
 * Between 64-bit and compatibility mode: registers across the change, interrupts and faults taken from 16 and
 * 32-bit code, 64-bit call gates from level 3, returns of each size, null stack segments, what 64-bit mode does not
 * have, and ways into long mode that are refused.
 */
#include "tests/guests/guest.inc"

#define GATE        (EXTRA + 0x00) /* 16 bytes: a 64-bit call gate */
#define BOTH        (EXTRA + 0x10) /* code with L and D */
#define TSS16       (EXTRA + 0x18)
#define DATA16_HIGH (EXTRA + 0x20) /* base 0x300000 */
#define BEYOND      0x1000
#define MSR_FS_BASE 0xc0000100

.macro REFUSED_ line, vector, error, instruction:vararg
    TRY
    \instruction
    CAUGHT_ "\vector", "\error", \line
.endm
#define REFUSED(vector, error, ...) REFUSED_ __LINE__, QUOTE(vector), QUOTE(error), __VA_ARGS__
#define UD(...) REFUSED_ __LINE__, 6, 0, __VA_ARGS__

.macro JUMP_FAR
    .byte 0xff, 0x2c, 0x25 /* jmp far [far_pointer], 32-bit offset */
    .long far_pointer
.endm
.macro CALL_FAR
    .byte 0xff, 0x1c, 0x25
    .long far_pointer
.endm
.macro BYTES a, b=0, c=0
    .byte \a, \b, \c, 0, 0, 0, 0, 0
.endm
.macro MOVE to, from
    mov \to, \from
.endm
/* From 64-bit code to code of another size that follows, at level 0, and back. */
.macro TO32 selector=CODE32
    push \selector
    push offset 1f
    .byte 0x48, 0xcb
.code32
1:
.endm
.macro TO64
    FAR_JUMP32 CODE64, 1f
.code64
1:
.endm

START
    ENTER_PROTECTED
    GATE32 EXC_GP, refused32
    /* Long mode asks for PAE, and for code that is not 64-bit code already. */
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LME
    wrmsr
    mov eax, TABLES
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG
    REFUSED(EXC_GP, 0, MOVE cr0 eax)
    mov ebx, cr4
    mov eax, ebx
    or eax, CR4_PAE
    mov cr4, eax
    FAR_JUMP32 CODE64, 1f /* in legacy mode L means nothing: 32-bit code, as of D clear 16-bit */
.code16
1:  mov eax, cr0
    or eax, CR0_PG
    mov dword ptr [fault_vector], -1
    mov dword ptr [fault_resume], offset 2f
    mov cr0, eax
2:  FAR_JUMP16 CODE32, 1f
.code32
1:  EQUAL(dword ptr [fault_vector], EXC_GP)
    EQUAL(dword ptr [fault_error], 0)
    mov cr4, ebx
    ENTER_LONG
    CATCH_ALL64
    mov dword ptr [TSS + 4], STACK0 - 0x800
    mov dword ptr [TSS + 36], STACK_IST
    mov eax, TASK
    ltr ax
    mov ecx, MSR_EFER
    rdmsr
    test eax, 1 << 10 /* LMA */
    CHECK(nz)

    /* -- What 64-bit mode does not have -- */
    .irp opcode, 0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x9a, 0xce, 0xd4, 0xd5, 0xd6, 0xea
    UD(BYTES \opcode)
    .endr
    UD(BYTES 0x82 0xc0) /* the alias of 80h */
    UD(BYTES 0x62 0x00) /* BOUND, EVEX on others */
    UD(BYTES 0xc4 0xc0) /* LES, LDS: VEX without the rest */
    mov eax, CODE64
    mov [far_pointer + 4], ax
    lea rax, [rip + 1f]
    mov [far_pointer], eax
    JUMP_FAR
    FAIL
1:
    /* Descriptors that are nothing in long mode */
    mov word ptr [far_pointer + 4], TSS16
    REFUSED(EXC_GP, TSS16, JUMP_FAR)
    mov word ptr [far_pointer + 4], TASK
    REFUSED(EXC_GP, TASK, JUMP_FAR)
    mov word ptr [far_pointer + 4], BOTH
    REFUSED(EXC_GP, BOTH, JUMP_FAR)
    mov eax, TSS16
    REFUSED(EXC_GP, TSS16, ltr ax)
    mov dword ptr [IDT + 0x60 * 16], TASK << 16
    mov dword ptr [IDT + 0x60 * 16 + 4], TASK_GATE
    REFUSED(EXC_GP, 0x60 * 8 + 2, int 0x60)
    GATE64 0x60, unreached, 0x8600
    REFUSED(EXC_GP, 0x60 * 8 + 2, int 0x60)
    GATE64 0x60, unreached, INTERRUPT_GATE, CODE32
    REFUSED(EXC_GP, CODE32, int 0x60)
    GATE64 0x60, unreached
    mov dword ptr [IDT + 0x60 * 16 + 8], 0x8000 /* not canonical */
    REFUSED(EXC_GP, 0, int 0x60)
    /* IRET with NT, there are no tasks; the flag stays */
    pushfq
    or dword ptr [rsp], FLAG_NT
    popfq
    mov rbx, rsp
    REFUSED(EXC_GP, 0, iretq)
    pushfq
    and dword ptr [rsp], ~FLAG_NT
    popfq

    /* -- Segments: bases and limits mean nothing but for FS and GS -- */
    mov eax, DATA16_HIGH
    mov ds, eax
    mov dword ptr [0x300000], 0x11
    mov dword ptr [0x200], 0x22
    EQUAL(dword ptr ds:[0x200], 0x22)
    mov fs, eax
    EQUAL(dword ptr fs:[0], 0x11)
    mov rcx, 0x300000 /* the limit of 64 KiB neither */
    EQUAL(dword ptr fs:[rcx - 0x300000], 0x11)
    mov ecx, MSR_FS_BASE
    rdmsr
    EQUAL(eax, 0x300000)
    EQUAL(edx, 0)
    mov eax, 0x1234
    mov edx, 0x7000
    wrmsr
    mov eax, DATA64
    mov ds, eax
    mov fs, eax /* a load clears its upper half */
    rdmsr
    or eax, edx
    EQUAL(eax, 0)
    /* A null stack segment, which interrupts of level 0 leave alone */
    xor eax, eax
    mov ss, eax
    push rax
    pop rax
    GATE64 0x61, look
    int 0x61
    EQUAL(dword ptr [seen_ss], 0)
    mov eax, DATA64
    mov ss, eax

    /* -- Registers across compatibility mode -- */
    mov r8, 0x1122334455667788
    mov r15, -2
    mov ebp, 0x89abcdef
    TO32
    mov eax, -1
    inc eax
    dec ebp
    TO64
    mov rax, 0x1122334455667788
    EQUAL(r8, rax)
    EQUAL(r15, -2)
    mov eax, 0x89abcdee
    EQUAL(rbp, rax)

    /* -- Interrupts and faults from 32-bit code: 64-bit frames, on an aligned stack -- */
    mov rbx, rsp
    TO32
    lea esp, [esp - 7]
    int 0x61
2:  lea esp, [esp + 7]
    TO64
    EQUAL(rsp, rbx)
    lea rcx, [rbx - 7]
    EQUAL(qword ptr [seen_rsp], rcx)
    and rcx, -16
    sub rcx, 40
    EQUAL(qword ptr [frame_at], rcx)
    EQUAL(dword ptr [seen_ip], offset 2b)
    EQUAL(dword ptr [seen_cs], CODE32)
    TO32
    mov eax, BEYOND
    REFUSED(EXC_GP, BEYOND, MOVE ds eax)
    EQUAL(dword ptr [fault_cs], CODE32)
    mov eax, DATA16
    mov es, eax
    REFUSED(EXC_GP, 0, MOVE al es:[0x10000]) /* limits count again */
    mov eax, DATA64
    mov es, eax
    UD(ud2)
    TO64
    /* 16-bit code */
    TO32 CODE16
.code16
    mov ax, 0x1234
    push ax
    pop cx
    mov bx, sp
    int 0x61
    EQUAL(cx, 0x1234)
    EQUAL(bx, sp)
    FAR_JUMP16 CODE64, 1f
.code64
1:  EQUAL(dword ptr [seen_cs], CODE16)
    /* On a stack of its own */
    GATE64 0x62, look, INTERRUPT_GATE+1
    TO32
    int 0x62
    TO64
    EQUAL(qword ptr [frame_at], STACK_IST - 40)

    /* -- From level 3 of either size through a 64-bit call gate -- */
    mov dword ptr [gdt + GATE], offset from_gate + (CODE64 << 16)
    mov dword ptr [gdt + GATE + 4], 0xec00
    mov qword ptr [gdt + GATE + 8], 0
    mov dword ptr [next], offset 77f
    push USERDATA
    push STACK3
    push 2
    push USER32
    push offset user32
    iretq
77: EQUAL(qword ptr [frame_at], STACK0 - 0x800 - 32)
    EQUAL(dword ptr [seen_cs], USER32)
    EQUAL(qword ptr [seen_rsp], STACK3)
    EQUAL(dword ptr [seen_ss], USERDATA)
    EQUAL(dword ptr [new_ss], 0) /* null, with the new level as RPL */
    mov dword ptr [next], offset 77f
    push USERDATA
    push STACK3
    push 2
    push USER64
    push offset user64
    iretq
77: EQUAL(qword ptr [frame_at], STACK0 - 0x800 - 32)
    EQUAL(dword ptr [seen_cs], USER64)
    EQUAL(dword ptr [back_cs], USER64)
    /* Gates that are wrong: their upper half must be no segment; code must be 64-bit code. */
    mov word ptr [far_pointer + 4], GATE
    mov dword ptr [gdt + GATE + 12], 0x0100
    REFUSED(EXC_GP, GATE, CALL_FAR)
    mov dword ptr [gdt + GATE + 12], 0
    mov word ptr [gdt + GATE + 2], CODE32
    REFUSED(EXC_GP, CODE32, CALL_FAR)
    mov word ptr [gdt + GATE + 2], CODE64
    mov dword ptr [gdt + GATE + 8], 0x8000
    REFUSED(EXC_GP, 0, CALL_FAR)
    mov dword ptr [gdt + GATE + 8], 0
    mov byte ptr [gdt + GATE + 5], 0xe4 /* a 16-bit one */
    REFUSED(EXC_GP, GATE, CALL_FAR)

    /* -- Returns: IRETD of 64-bit code takes five items too; null SS to level 0 only -- */
    mov rbx, rsp
    sub rsp, 20
    mov dword ptr [rsp], offset 1f
    mov dword ptr [rsp + 4], CODE64
    mov dword ptr [rsp + 8], 2 + FLAG_CF
    mov dword ptr [rsp + 12], STACK1
    mov dword ptr [rsp + 16], DATA64
    iretd
1:  CHECK(c)
    EQUAL(rsp, STACK1)
    mov rsp, rbx
    push 0
    push rbx
    push 2
    push CODE64
    push offset 1f
    iretq
1:  mov eax, ss
    EQUAL(eax, 0)
    EQUAL(rsp, rbx)
    mov eax, DATA64
    mov ss, eax
    push 0 /* to compatibility code */
    push rbx
    push 2
    push CODE32
    push offset unreached
    REFUSED(EXC_GP, 0, iretq)
    mov rsp, rbx
    push 3
    push rbx
    push 2
    push USER64
    push offset unreached
    REFUSED(EXC_GP, 0, iretq)
    mov rsp, rbx
    PASS
unreached:
    FAIL

look:
    mov [frame_at], rsp
    push rax
    mov rax, [rsp + 8]
    mov [seen_ip], rax
    mov rax, [rsp + 16]
    mov [seen_cs], eax
    mov rax, [rsp + 32]
    mov [seen_rsp], rax
    mov rax, [rsp + 40]
    mov [seen_ss], eax
    pop rax
    iretq

from_gate:
    mov [frame_at], rsp
    mov rax, [rsp + 8]
    mov [seen_cs], eax
    mov rax, [rsp + 16]
    mov [seen_rsp], rax
    mov rax, [rsp + 24]
    mov [seen_ss], eax
    mov eax, ss
    mov [new_ss], eax
    cmp dword ptr [seen_cs], USER32
    je leave_gate
    cmp dword ptr [back_cs], 0
    jne leave_gate
    .byte 0x48, 0xcb /* back to level 3 */
leave_gate:
    mov rsp, STACK0
    mov eax, DATA64
    mov ss, eax
    mov ds, eax
    mov eax, [next]
    jmp rax

user64:
    .byte 0xff, 0x1c, 0x25
    .long gate_pointer
    mov eax, cs
    mov [back_cs], eax
    EQUAL(rsp, STACK3)
    .byte 0xff, 0x1c, 0x25
    .long gate_pointer
.code32
user32:
    .byte 0x9a
    .long 0
    .word GATE + 3
.code64

.code32
refused32:
    mov dword ptr ss:[fault_vector], EXC_GP
    pop dword ptr ss:[fault_error]
    push eax
    mov eax, ss:[fault_resume]
    mov [esp + 4], eax
    pop eax
    iretd
.code64

CATCHERS64
    .balign 8
far_pointer: .long 0, 0
gate_pointer: .long 0
    .word GATE + 3, 0
seen_ip: .quad 0
seen_rsp: .quad 0
frame_at: .quad 0
seen_cs: .long 0
seen_ss: .long 0
new_ss: .long 0
back_cs: .long 0
next: .long 0

TABLES_BEGIN
    .quad 0, 0
    .quad DESCRIPTOR(0xfffff, 0x9b, 0xe)
    .quad DESCRIPTOR(0x2b, 0x81, 0) + (TSS << 16)
    .quad DESCRIPTOR(0xffff, 0x93, 0) + (0x30 << 32)
TABLES_END
