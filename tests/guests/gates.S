/*
 * Gates of 16 and 32 bits: interrupt, trap and call gates, to the same level, inwards and to conforming code;
 * each way in which a gate, its code segment or the inner stack can be wrong, with its error code; far jumps,
 * returns and IRET likewise. (Task gates: tasks.S.)
 */
#include "tests/guests/guest.inc"

/* The guest's own descriptors */
#define CONFORMING (EXTRA + 0x00)
#define CODE1      (EXTRA + 0x08) /* level 1 */
#define DATA1      (EXTRA + 0x10)
#define ABSENT     (EXTRA + 0x18) /* code that is not present */
#define SMALL1     (EXTRA + 0x20) /* stack of level 1 with a limit of 0x5f0f */
#define ABSENT1    (EXTRA + 0x28) /* stack of level 1, not present */
#define READ1      (EXTRA + 0x30) /* data of level 1, read only */
#define SHORT      (EXTRA + 0x38) /* code with a limit of 0x8fff */
#define GATE       (EXTRA + 0x40) /* a call gate that changes */
#define ABSENT3    (EXTRA + 0x48) /* stack of level 3, not present */
#define READ3      (EXTRA + 0x50)
#define CONFORMING1 (EXTRA + 0x58) /* conforming code of level 1 */
#define BEYOND     0x1000

#define CALL_GATE16 0x8400
#define CALL_GATE32 0x8c00
#define GATE_DPL3   0x6000
#define ESP1        (TSS + 12)
#define SS1         (TSS + 16)
#define TOP1        0x5ff0

/* The changing call gate */
.macro SET_GATE selector, offset, type
    .att_syntax prefix
    movl $\offset + (\selector << 16), gdt + GATE
    movl $\type, gdt + GATE + 4
    .intel_syntax noprefix
.endm
.macro FAR_CALL selector
    .byte 0x9a
    .long 0x12345678 /* means nothing for a gate */
    .word \selector
.endm
.macro FAR_JUMP selector
    .byte 0xea
    .long 0x12345678
    .word \selector
.endm
.macro INT_FF
    .byte 0xcd, 0xff
.endm
/* The instruction faults. */
.macro REFUSED_ line, vector, error, instruction:vararg
    mov ebp, esp
    TRY
    \instruction
    CAUGHT_ "\vector", "\error", \line
    cmp esp, ebp
    CHECK_ e, \line
.endm
#define REFUSED(vector, error, ...) REFUSED_ __LINE__, QUOTE(vector), QUOTE(error), __VA_ARGS__
/* Likewise, but the stack pointer is where the program put it. */
.macro BAD_RETURN line, vector, error, instruction:vararg
    TRY
    \instruction
    CAUGHT_ "\vector", "\error", \line
    mov esp, ebp
.endm
#define REFUSED_RETURN(vector, error, ...) BAD_RETURN __LINE__, QUOTE(vector), QUOTE(error), __VA_ARGS__

START
    ENTER_PROTECTED
    CATCH_ALL32
    mov dword ptr [TSS + 4], STACK0 - 0x800
    mov dword ptr [TSS + 8], DATA32
    mov dword ptr [ESP1], TOP1
    mov dword ptr [SS1], DATA1 + 1
    mov dword ptr [TSS + 0x64], 0x680000
    mov eax, TASK
    ltr ax

    /* -- 16-bit gates: three words, the upper half of their offset ignored -- */
    GATE32 0x50, "look16 + 0", 0x12348600
    GATE32 0x51, "look16 + 0", 0x12348700
    sti
    mov ebx, esp
    int 0x50
behind16:
    EQUAL(esp, ebx)
    lea ecx, [ebx - 6]
    EQUAL(dword ptr [seen_esp], ecx)
    EQUAL(word ptr [seen_frame], offset behind16)
    EQUAL(word ptr [seen_frame + 2], CODE32)
    test dword ptr [seen_frame + 4], FLAG_IF
    CHECK(nz)
    test dword ptr [seen_flags], FLAG_IF
    CHECK(z)
    int 0x51
    test dword ptr [seen_flags], FLAG_IF /* a trap gate leaves it */
    CHECK(nz)
    cli
    /* An error code is a word too. */
    GATE32 EXC_GP, error16, 0x8600
    mov ebx, esp
    mov eax, BEYOND
    mov es, eax
behind_error:
    EQUAL(esp, ebx)
    lea ecx, [ebx - 8]
    EQUAL(dword ptr [seen_esp], ecx)
    EQUAL(word ptr [seen_frame], BEYOND)
    CATCH32 EXC_GP
    mov eax, DATA32
    mov es, eax

    /* -- What can be wrong with a gate and its code segment, by INT: the error code has no EXT -- */
    GATE32 0x60, unreached, 0x0e00
    REFUSED(EXC_NP, 0x60 * 8 + 2, int 0x60)
    .irp type, 0x8000, 0x8100, 0x8200, 0x8300, 0x8400, 0x8800, 0x8900, 0x8a00, 0x8b00, 0x8c00, 0x8d00, 0x9e00
    GATE32 0x60, unreached, \type
    REFUSED(EXC_GP, 0x60 * 8 + 2, int 0x60)
    .endr
    GATE32 0x60, unreached, INTERRUPT_GATE, 0
    REFUSED(EXC_GP, 0, int 0x60)
    GATE32 0x60, unreached, INTERRUPT_GATE, BEYOND
    REFUSED(EXC_GP, BEYOND, int 0x60)
    GATE32 0x60, unreached, INTERRUPT_GATE, (BEYOND+3)
    REFUSED(EXC_GP, BEYOND, int 0x60) /* without the RPL */
    GATE32 0x60, unreached, INTERRUPT_GATE, (BEYOND+4)
    REFUSED(EXC_GP, BEYOND + 4, int 0x60) /* no LDT, but TI is told */
    GATE32 0x60, unreached, INTERRUPT_GATE, DATA32
    REFUSED(EXC_GP, DATA32, int 0x60)
    GATE32 0x60, unreached, INTERRUPT_GATE, TASK
    REFUSED(EXC_GP, TASK, int 0x60)
    GATE32 0x60, unreached, INTERRUPT_GATE, ABSENT
    REFUSED(EXC_NP, ABSENT, int 0x60)
    GATE32 0x60, unreached, INTERRUPT_GATE, CODE1
    REFUSED(EXC_GP, CODE1, int 0x60) /* never outwards */
    GATE32 0x60, unreached, 0x7fff8e00, SHORT
    REFUSED(EXC_GP, 0, int 0x60)
    REFUSED(EXC_GP, 0xff * 8 + 2, INT_FF) /* an empty entry */
    lidt [short_idt]
    REFUSED(EXC_GP, 0x60 * 8 + 2, int 0x60)
    lidt [idt_pointer]
    /* By an exception: EXT. INT3 is an instruction and has none. */
    GATE32 EXC_UD, unreached, 0x0e00
    TRY
    ud2
    CAUGHT(EXC_NP, EXC_UD * 8 + 3)
    GATE32 EXC_UD, unreached, INTERRUPT_GATE, BEYOND
    TRY
    ud2
    CAUGHT(EXC_GP, BEYOND + 1)
    GATE32 EXC_UD, unreached, INTERRUPT_GATE, 0
    TRY
    ud2
    CAUGHT(EXC_GP, 1)
    CATCH32 EXC_UD
    GATE32 EXC_BP, unreached, INTERRUPT_GATE, BEYOND
    TRY
    int3
    CAUGHT(EXC_GP, BEYOND)
    CATCH32 EXC_BP

    /* -- Call gates at one level -- */
    SET_GATE CODE32, look32, CALL_GATE32
    mov ebx, esp
    FAR_CALL GATE
behind32:
    EQUAL(esp, ebx)
    lea ecx, [ebx - 8]
    EQUAL(dword ptr [seen_esp], ecx)
    EQUAL(dword ptr [seen_frame], offset behind32)
    EQUAL(word ptr [seen_frame + 4], CODE32)
    SET_GATE CODE32, look_call16, 0x12348400
    FAR_CALL GATE
behind_call16:
    EQUAL(esp, ebx)
    lea ecx, [ebx - 4]
    EQUAL(dword ptr [seen_esp], ecx)
    EQUAL(word ptr [seen_frame], offset behind_call16)
    EQUAL(word ptr [seen_frame + 2], CODE32)
    SET_GATE CODE32, 1f, CALL_GATE32
    FAR_JUMP GATE
    FAIL
1:  EQUAL(esp, ebx)
    SET_GATE CODE32, unreached, 0x0c00
    REFUSED(EXC_NP, GATE, FAR_CALL GATE)
    REFUSED(EXC_NP, GATE, FAR_JUMP GATE)
    SET_GATE 0, unreached, CALL_GATE32
    REFUSED(EXC_GP, 0, FAR_CALL GATE)
    SET_GATE BEYOND, unreached, CALL_GATE32
    REFUSED(EXC_GP, BEYOND, FAR_CALL GATE)
    SET_GATE DATA32, unreached, CALL_GATE32
    REFUSED(EXC_GP, DATA32, FAR_CALL GATE)
    SET_GATE ABSENT, unreached, CALL_GATE32
    REFUSED(EXC_NP, ABSENT, FAR_CALL GATE)
    SET_GATE CODE1, unreached, CALL_GATE32
    REFUSED(EXC_GP, CODE1, FAR_CALL GATE)
    SET_GATE SHORT, unreached, 0x7fff8c00
    REFUSED(EXC_GP, 0, FAR_CALL GATE)
    SET_GATE CODE32, unreached, CALL_GATE32
    REFUSED(EXC_GP, GATE, FAR_CALL GATE+1) /* RPL above the gate's DPL */
    /* Interrupt gates are not for CALL. */
    SET_GATE CODE32, unreached, INTERRUPT_GATE
    REFUSED(EXC_GP, GATE, FAR_CALL GATE)

    /* -- Far jumps and calls to code segments -- */
    REFUSED(EXC_GP, 0, FAR_JUMP 0)
    REFUSED(EXC_GP, 0, FAR_JUMP 3)
    REFUSED(EXC_GP, BEYOND, FAR_CALL BEYOND)
    REFUSED(EXC_GP, DATA32, FAR_CALL DATA32)
    REFUSED(EXC_NP, ABSENT, FAR_JUMP ABSENT)
    REFUSED(EXC_GP, CODE32, FAR_JUMP CODE32+1)
    REFUSED(EXC_GP, CODE1, FAR_JUMP CODE1)
    REFUSED(EXC_GP, CONFORMING1, FAR_JUMP CONFORMING1) /* conforming, but outwards */
    REFUSED(EXC_GP, 0, FAR_JUMP SHORT)
    FAR_JUMP32 CONFORMING+3, 1f /* its RPL does not matter */
1:  mov eax, cs
    EQUAL(ax, CONFORMING)
    FAR_JUMP32 CODE32, 1f
1:

    /* -- Returns at level 0 that go wrong -- */
    mov ebp, esp
    push 0
    push offset unreached
    REFUSED_RETURN(EXC_GP, 0, retf)
    push DATA32
    push offset unreached
    REFUSED_RETURN(EXC_GP, DATA32, retf)
    push ABSENT
    push offset unreached
    REFUSED_RETURN(EXC_NP, ABSENT, retf)
    push CODE1 /* RPL 0 to level 1 */
    push offset unreached
    REFUSED_RETURN(EXC_GP, CODE1, retf)
    /* Outwards: the stack segment is checked last. */
    .macro OUTWARD_RETURN ss
    push \ss
    push STACK3
    push USER32
    push offset unreached
    .endm
    OUTWARD_RETURN 0
    REFUSED_RETURN(EXC_GP, 0, retf)
    OUTWARD_RETURN DATA32
    REFUSED_RETURN(EXC_GP, DATA32, retf)
    OUTWARD_RETURN (USERDATA-3)
    REFUSED_RETURN(EXC_GP, USERDATA - 3, retf)
    OUTWARD_RETURN READ3+3
    REFUSED_RETURN(EXC_GP, READ3, retf)
    OUTWARD_RETURN ABSENT3+3
    REFUSED_RETURN(EXC_SS, ABSENT3, retf)
    OUTWARD_RETURN BEYOND+3
    REFUSED_RETURN(EXC_GP, BEYOND, retf)
    .macro OUTWARD_IRET ss
    push \ss
    push STACK3
    push 2
    push USER32
    push offset unreached
    .endm
    OUTWARD_IRET 0
    REFUSED_RETURN(EXC_GP, 0, iretd)
    OUTWARD_IRET DATA32
    REFUSED_RETURN(EXC_GP, DATA32, iretd)
    OUTWARD_IRET ABSENT3+3
    REFUSED_RETURN(EXC_SS, ABSENT3, iretd)
    push 2
    push ABSENT
    push offset unreached
    REFUSED_RETURN(EXC_NP, ABSENT, iretd)
    push 2
    push SHORT
    push 0x9000
    REFUSED_RETURN(EXC_GP, 0, iretd)

    /* -- At level 3 -- */
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
    /* Conforming code keeps the level and the stack. */
    GATE32 0x61, conforming_handler, INTERRUPT_GATE3, CONFORMING
    mov ebx, esp
    int 0x61
    EQUAL(esp, ebx)
    lea ecx, [ebx - 12]
    EQUAL(dword ptr [seen_esp], ecx)
    EQUAL(dword ptr [seen_cs], CONFORMING + 3)
    SET_GATE CONFORMING, conforming_target, CALL_GATE32+GATE_DPL3
    FAR_CALL GATE+3
    EQUAL(dword ptr [seen_cs], CONFORMING + 3)
    /* The gate's privilege level */
    GATE32 0x60, unreached, 0xce00 /* 2 */
    REFUSED(EXC_GP, 0x60 * 8 + 2, int 0x60)
    SET_GATE CODE32, unreached, CALL_GATE32+0x4000
    REFUSED(EXC_GP, GATE, FAR_CALL GATE)
    REFUSED(EXC_GP, GATE, FAR_CALL GATE+3)
    SET_GATE CODE32, unreached, CALL_GATE32+GATE_DPL3
    REFUSED(EXC_GP, CODE32, FAR_JUMP GATE) /* a jump does not change the level */
    SET_GATE CONFORMING, 1f, CALL_GATE32+GATE_DPL3
    FAR_JUMP GATE+3 /* but to conforming code it goes */
    FAIL
1:  mov eax, cs
    EQUAL(ax, CONFORMING + 3)
    FAR_JUMP32 USER32, 1f
1:
    /* Returns inwards */
    mov ebp, esp
    push CODE32
    push offset unreached
    REFUSED_RETURN(EXC_GP, CODE32, retf)
    push 2
    push CODE32
    push offset unreached
    REFUSED_RETURN(EXC_GP, CODE32, iretd)
    /* IRET at level 3 leaves IF, IOPL and VM alone. */
    push FLAG_IF + 0x3000 + FLAG_VM + FLAG_CF + 2
    push USER32
    push offset 1f
    iretd
1:  CHECK(c)
    EQUAL(esp, ebp)
    pushfd
    test dword ptr [esp], FLAG_IF + 0x3000 + FLAG_VM
    CHECK(z)
    add esp, 4

    /* -- Inwards to level 1: what can be wrong with its stack; the faults are level 0's. Both ways -- */
    GATE32 0x62, look_inner, INTERRUPT_GATE3, CODE1
    SET_GATE CODE1, look_inner_call, CALL_GATE32+GATE_DPL3+2
    mov ebx, esp
    int 0x62
behind_inner:
    EQUAL(esp, ebx)
    EQUAL(dword ptr [seen_esp], TOP1 - 20)
    EQUAL(dword ptr [seen_frame], offset behind_inner)
    EQUAL(dword ptr [seen_frame + 4], USER32)
    EQUAL(dword ptr [seen_frame + 12], ebx)
    EQUAL(dword ptr [seen_frame + 16], USERDATA)
    EQUAL(dword ptr [seen_cs], CODE1 + 1)
    push 0x1111
    push 0x2222
    FAR_CALL GATE+3
behind_inner_call:
    EQUAL(esp, ebx) /* RETF 8 */
    EQUAL(dword ptr [seen_esp], TOP1 - 24)
    EQUAL(dword ptr [seen_frame], offset behind_inner_call)
    EQUAL(dword ptr [seen_frame + 8], 0x2222)
    EQUAL(dword ptr [seen_frame + 12], 0x1111)
    lea ecx, [ebx - 8]
    EQUAL(dword ptr [seen_frame + 16], ecx)
    /* A 16-bit call gate: words */
    SET_GATE CODE1, look_inner_call16, CALL_GATE16+GATE_DPL3+1
    push ax
    mov word ptr [esp], 0x3333
    FAR_CALL GATE+3
    EQUAL(esp, ebx)
    EQUAL(dword ptr [seen_esp], TOP1 - 10)
    EQUAL(word ptr [seen_frame + 4], 0x3333)
    EQUAL(word ptr [seen_frame + 8], USERDATA)
    /* The most parameters that there are */
    SET_GATE CODE1, look_many, CALL_GATE32+GATE_DPL3+31
    mov ecx, 31
1:  push ecx
    loop 1b
    FAR_CALL GATE+3
    EQUAL(esp, ebx)
    EQUAL(dword ptr [seen_esp], TOP1 - 16 - 31 * 4)
    EQUAL(dword ptr [seen_frame], 31 * 32 / 2)

    SET_GATE CODE1, look_inner_call, CALL_GATE32+GATE_DPL3
    .macro BAD_STACK line, ss, vector, error
    mov dword ptr [SS1], \ss
    REFUSED_ \line, \vector, \error, int 0x62
    REFUSED_ \line, \vector, \error, FAR_CALL GATE+3
    .endm
    BAD_STACK __LINE__, 0, EXC_TS, 0
    BAD_STACK __LINE__, 3, EXC_TS, 0
    BAD_STACK __LINE__, BEYOND+1, EXC_TS, BEYOND
    BAD_STACK __LINE__, DATA1, EXC_TS, DATA1 /* RPL 0 */
    BAD_STACK __LINE__, DATA1+3, EXC_TS, DATA1
    BAD_STACK __LINE__, DATA32+1, EXC_TS, DATA32 /* DPL 0 */
    BAD_STACK __LINE__, (USERDATA-2), EXC_TS, (USERDATA-3)
    BAD_STACK __LINE__, READ1+1, EXC_TS, READ1
    BAD_STACK __LINE__, CODE1+1, EXC_TS, CODE1
    BAD_STACK __LINE__, ABSENT1+1, EXC_SS, ABSENT1
    mov dword ptr [ESP1], 0x5f20 /* beyond the limit */
    BAD_STACK __LINE__, SMALL1+1, EXC_SS, SMALL1
    mov dword ptr [SS1], DATA1 + 1
    mov dword ptr [ESP1], TOP1
    int 0x62
    EQUAL(dword ptr [seen_esp], TOP1 - 20)
    /* The code segment behind the gate is checked before the stack. */
    mov dword ptr [SS1], 0
    GATE32 0x62, unreached, INTERRUPT_GATE3, ABSENT
    REFUSED(EXC_NP, ABSENT, int 0x62)
    mov dword ptr [SS1], DATA1 + 1
    /* The target's limit: after the stack's selector */
    GATE32 0x62, look_inner, INTERRUPT_GATE3, CODE1

    /* A TSS that ends before level 1's stack: back to level 0 to load it */
    GATE32 0x63, shorten, INTERRUPT_GATE3
    int 0x63
    REFUSED(EXC_TS, TASK, int 0x62)
    SET_GATE CODE1, look_inner_call, CALL_GATE32+GATE_DPL3
    REFUSED(EXC_TS, TASK, FAR_CALL GATE+3)
    GATE32 0x64, finish, INTERRUPT_GATE3
    int 0x64
unreached:
    FAIL

finish:
    PASS

shorten:
    mov eax, DATA32
    mov ds, eax
    mov word ptr [gdt + TASK], 15
    and byte ptr [gdt + TASK + 5], ~2
    mov eax, TASK
    ltr ax
    mov eax, USERDATA
    mov ds, eax
    iretd

/* Handlers: where the stack was, and what was on it */
.macro LOOK count
    mov ss:[seen_esp], esp
    push eax
    .set i, 0
    .rept \count
    mov eax, ss:[esp + 4 + i * 4]
    mov ss:[seen_frame + i * 4], eax
    .set i, i + 1
    .endr
    mov eax, cs
    mov ss:[seen_cs], eax
    pop eax
.endm
look16:
    LOOK 2
    pushfd
    pop dword ptr [seen_flags]
    .byte 0x66
    iretd
error16:
    LOOK 2
    mov word ptr [esp + 2], offset behind_error
    add esp, 2
    .byte 0x66
    iretd
look32:
    LOOK 2
    retf
look_call16:
    LOOK 1
    .byte 0x66
    retf
conforming_handler:
    LOOK 3
    iretd
conforming_target:
    LOOK 2
    retf
look_inner:
    LOOK 5
    iretd
look_inner_call:
    LOOK 5
    retf 8
look_inner_call16:
    LOOK 3
    .byte 0x66, 0xca, 2, 0
look_many:
    mov ss:[seen_esp], esp
    xor eax, eax
    mov ecx, 31
1:  add eax, ss:[esp + 4 + ecx * 4]
    loop 1b
    mov ss:[seen_frame], eax
    retf 31 * 4

CATCHERS32
    .balign 4
seen_esp: .long 0
seen_cs: .long 0
seen_flags: .long 0
seen_frame: .long 0, 0, 0, 0, 0
short_idt:
    .word 0x60 * 8 + 6 /* the last byte is missing */
    .long IDT

TABLES_BEGIN
    .quad DESCRIPTOR(0xfffff, 0x9f, 0xc) /* conforming */
    .quad DESCRIPTOR(0xfffff, 0xbb, 0xc) /* level 1: code, data */
    .quad DESCRIPTOR(0xfffff, 0xb3, 0xc)
    .quad DESCRIPTOR(0xfffff, 0x1b, 0xc) /* not present */
    .quad DESCRIPTOR(0x5f0f, 0xb3, 4)
    .quad DESCRIPTOR(0xfffff, 0x33, 0xc)
    .quad DESCRIPTOR(0xfffff, 0xb1, 0xc)
    .quad DESCRIPTOR(0x8fff, 0x9b, 4)
    .quad 0 /* the call gate */
    .quad DESCRIPTOR(0xfffff, 0x73, 0xc)
    .quad DESCRIPTOR(0xfffff, 0xf1, 0xc)
    .quad DESCRIPTOR(0xfffff, 0xbf, 0xc)
TABLES_END
