/*
 * Virtual-8086 mode extensions and protected-mode virtual interrupts: VIF and VIP in place of IF, the map that
 * sends INT n to the program's own vectors (SDM 3A table 20-2, each method), what is refused; and the I/O map.
 */
#include "tests/guests/guest.inc"

#define CR4_VME   (1 << 0)
#define CR4_PVI   (1 << 1)
#define FLAG_VIF  (1 << 19)
#define FLAG_VIP  (1 << 20)
#define IOPL3     0x3000
#define V86_STACK STACK1
#define REDIRECT  0x68 /* the maps, behind the TSS */
#define IO_MAP    0x88
#define CODE1     EXTRA
#define CONFORMING (EXTRA + 8)

/* Into virtual-8086 code that follows, with these flags; the segments are at 0. */
.macro V86 eflags
    push 0
    push 0
    push 0
    push 0
    push 0
    push V86_STACK
    push \eflags + FLAG_VM + 2
    push 0
    push offset 1f
    iretd
.code16
1:
.endm
/* Out of it again; [v86_flags] are its flags. */
.macro LEAVE_V86
    mov dword ptr [next], offset 1f
    ud2
.code32
1:
.endm
/* The instruction is refused with error code 0. */
.macro REFUSED_ line, instruction:vararg
    TRY
    \instruction
    CAUGHT_ EXC_GP, 0, \line
.endm
#define REFUSED(...) REFUSED_ __LINE__, __VA_ARGS__
/* FLAGS as PUSHF tells them: these bits of IF, IOPL */
.macro PUSHED_ line, bits
    pushf
    pop ax
    and ax, FLAG_IF + IOPL3
    cmp ax, \bits
    CHECK_ e, \line
.endm
#define PUSHED(bits) PUSHED_ __LINE__, bits
/* ... and as they are, when the program is left */
.macro WERE_ line, bits
    mov eax, [v86_flags]
    and eax, FLAG_IF + IOPL3 + FLAG_VIF + FLAG_VIP
    cmp eax, \bits
    CHECK_ e, \line
.endm
#define WERE(bits) WERE_ __LINE__, bits
.macro CR4 set, clear=0
    mov eax, cr4
    and eax, ~(\clear)
    or eax, \set
    mov cr4, eax
.endm

START
    ENTER_PROTECTED
    CATCH_ALL32
    GATE32 EXC_UD, left
    GATE32 EXC_BP, "catchers + 3 * 16", INTERRUPT_GATE3
    GATE32 EXC_OF, "catchers + 4 * 16", INTERRUPT_GATE3
    GATE32 0x22, by_gate, INTERRUPT_GATE3
    GATE32 0x23, by_gate, INTERRUPT_GATE3, CODE1
    GATE32 0x24, by_gate, INTERRUPT_GATE3, CONFORMING
    mov dword ptr [0x21 * 4], offset handler16
    mov dword ptr [0x22 * 4], offset handler16
    /* Maps: every INT but 21h by its gate; no ports but those that a check needs */
    mov dword ptr [TSS + 4], STACK0 - 0x800
    mov dword ptr [TSS + 8], DATA32
    mov word ptr [TSS + 102], IO_MAP
    mov edi, TSS + REDIRECT
    mov ecx, 32 + 0x81
    mov al, 0xff
    rep stosb
    and byte ptr [TSS + REDIRECT + 0x21 / 8], ~(1 << 1)
    mov byte ptr [TSS + IO_MAP + PORT_EXIT / 8], 0
    mov word ptr [gdt + TASK], IO_MAP + 0x80
    mov eax, TASK
    ltr ax

    /* -- Without VME, methods 1 and 2 -- */
    V86 0
    REFUSED(int 0x21)
    REFUSED(int 0x22)
    REFUSED(cli)
    REFUSED(sti)
    REFUSED(pushf)
    LEAVE_V86
    WERE(0)
    V86 IOPL3
    mov word ptr [counter], 0
    int 0x22
    EQUAL(word ptr [counter], 0x100)
    TRY
    int 0x21 /* there is no such gate */
    CAUGHT(EXC_GP, 0x21 * 8 + 2)
    LEAVE_V86
    WERE(IOPL3)

    /* -- VME below IOPL 3: VIF is the program's IF -- */
    CR4 CR4_VME
    V86 0
    PUSHED(IOPL3) /* it looks like level 3 */
    sti
    PUSHED(IOPL3 + FLAG_IF)
    LEAVE_V86
    WERE(FLAG_VIF)
    V86 FLAG_VIF
    PUSHED(IOPL3 + FLAG_IF)
    cli
    PUSHED(IOPL3)
    push FLAG_IF + FLAG_CF + 2
    popf
    CHECK(c)
    PUSHED(IOPL3 + FLAG_IF)
    push 2
    popf
    CHECK(nc)
    PUSHED(IOPL3)
    mov bx, sp
    push FLAG_TF + 2
    REFUSED(popf)
    mov sp, bx
    REFUSED(pushfd)
    push dword ptr 2
    REFUSED(popfd)
    mov sp, bx
    /* IRET */
    push FLAG_IF + 2
    push 0
    push offset 1f
    iret
1:  PUSHED(IOPL3 + FLAG_IF)
    push FLAG_TF + 2
    push 0
    push offset 1f
    REFUSED(iret)
    mov sp, bx
    push dword ptr 2
    push dword ptr 0
    push dword ptr offset 1f
    REFUSED(iretd)
    mov sp, bx
1:
    /* Method 6: INT 21h to the program's vector; VIF is clear there, and comes back. */
    mov word ptr [counter], 0
    int 0x21
    EQUAL(word ptr [counter], 1)
    EQUAL(word ptr [seen_flags], IOPL3 + FLAG_IF)
    EQUAL(word ptr [inside_flags], IOPL3)
    PUSHED(IOPL3 + FLAG_IF)
    /* Method 3 */
    REFUSED(int 0x22)
    /* INT3 and INTO do not ask the map, nor IOPL. */
    TRY
    int3
    CAUGHT(EXC_BP, 0)
    mov al, 0x7f
    inc al
    TRY
    into
    CAUGHT(EXC_OF, 0)
    LEAVE_V86
    WERE(FLAG_VIF)

    /* With an interrupt pending (VIP), VIF cannot become 1. */
    V86 FLAG_VIP
    REFUSED(sti)
    cli
    mov bx, sp
    push FLAG_IF + 2
    REFUSED(popf)
    mov sp, bx
    push FLAG_IF + 2
    push 0
    push offset 1f
    REFUSED(iret)
    mov sp, bx
    push 2
    push 0
    push offset 1f
    iret
1:  push 2
    popf
    PUSHED(IOPL3)
    mov word ptr [counter], 0
    int 0x21
    EQUAL(word ptr [counter], 1)
    LEAVE_V86
    WERE(FLAG_VIP)

    /* -- VME at IOPL 3: IF itself; methods 4 and 5 -- */
    V86 IOPL3+FLAG_VIP
    PUSHED(IOPL3)
    sti
    PUSHED(IOPL3 + FLAG_IF)
    mov word ptr [counter], 0
    int 0x21
    EQUAL(word ptr [counter], 1)
    EQUAL(word ptr [seen_flags], IOPL3 + FLAG_IF)
    EQUAL(word ptr [inside_flags], IOPL3)
    PUSHED(IOPL3 + FLAG_IF)
    cli
    mov word ptr [counter], 0
    int 0x22
    EQUAL(word ptr [counter], 0x100) /* by its gate */
    pushfd
    popfd
    /* A gate must lead to level 0. */
    TRY
    int 0x23
    CAUGHT(EXC_GP, CODE1)
    TRY
    int 0x24
    CAUGHT(EXC_GP, CONFORMING)
    LEAVE_V86
    WERE(IOPL3 + FLAG_VIP)

    /* -- Ports: the map counts in virtual-8086 mode whatever IOPL is -- */
    mov byte ptr [TSS + IO_MAP + 0x70 / 8], 0    /* 70h to 77h */
    mov byte ptr [TSS + IO_MAP + 0x78 / 8], 0x7f /* 7fh */
    mov byte ptr [TSS + IO_MAP + 0x3f8 / 8], 0x7f /* 3ffh */
    V86 IOPL3
    REFUSED(in al, 0x80)
    REFUSED(out 0x80, al)
    in al, 0x70
    in ax, 0x76
    in eax, 0x74
    out 0x77, al
    REFUSED(in ax, 0x77)
    REFUSED(in eax, 0x75)
    in al, 0x7f
    REFUSED(in ax, 0x7e)
    REFUSED(in ax, 0x7f) /* its second byte is 80h's */
    mov dx, 0x3ff
    in al, dx
    REFUSED(in ax, dx)
    inc dx
    REFUSED(in al, dx) /* behind the map */
    mov dx, 0x70
    mov di, 0x6800
    insb
    mov cx, 0
    rep insb
    mov dx, 0x80
    REFUSED(insb)
    REFUSED(outsb)
    LEAVE_V86

    /* -- Protected mode: PVI at level 3 below IOPL 3 -- */
    CR4 CR4_PVI, CR4_VME
    .macro RING3 eflags
    push USERDATA
    push STACK3
    push \eflags + 2
    push USER32
    push offset 1f
    iretd
1:  mov eax, USERDATA
    mov ds, eax
    .endm
    .macro LEAVE_RING3
    mov dword ptr [next], offset 1f
    ud2
1:
    .endm
    RING3 0
    sti
    pushfd
    pop eax
    test eax, FLAG_IF /* IF is shown as it is */
    CHECK(z)
    LEAVE_RING3
    WERE(FLAG_VIF)
    RING3 FLAG_VIF
    cli
    push FLAG_IF + FLAG_VIF + 2
    popfd /* no POPF changes VIF */
    LEAVE_RING3
    WERE(0)
    RING3 FLAG_VIP
    REFUSED(sti)
    cli
    LEAVE_RING3
    WERE(FLAG_VIP)
    RING3 IOPL3+FLAG_VIP
    sti /* IF itself */
    nop
    cli
    sti
    LEAVE_RING3
    WERE(IOPL3 + FLAG_VIP + FLAG_IF)
    /* Ports there: by the map below IOPL 3, all at IOPL 3 */
    RING3 0
    REFUSED(in al, 0x80)
    in al, 0x70
    REFUSED(in ax, 0x77)
    LEAVE_RING3
    RING3 IOPL3
    in al, 0x80
    in ax, 0x77
    LEAVE_RING3
    CR4 0, CR4_PVI
    RING3 0
    REFUSED(sti)
    REFUSED(cli)
    LEAVE_RING3
    /* VIF and VIP from level 3: IRET and POPF leave them. */
    RING3 0
    push FLAG_VIF + FLAG_VIP + 2
    push USER32
    push offset 1f
    iretd
1:  LEAVE_RING3
    WERE(0)
    PASS

.code16
/* The program's own handler: FLAGS on the stack, and inside */
handler16:
    push bp
    mov bp, sp
    push ax
    mov ax, [bp + 6]
    and ax, FLAG_IF + IOPL3
    mov [seen_flags], ax
    pushf
    pop ax
    and ax, FLAG_IF + IOPL3
    mov [inside_flags], ax
    inc word ptr [counter]
    pop ax
    pop bp
    iret
.code32

by_gate:
    mov word ptr ss:[counter], 0x100
    iretd

left:
    LOAD_DATA DATA32
    mov eax, [esp + 8]
    mov [v86_flags], eax
    mov esp, STACK0
    jmp dword ptr [next]

CATCHERS32
    .balign 4
next: .long 0
v86_flags: .long 0
counter: .word 0
seen_flags: .word 0
inside_flags: .word 0

TABLES_BEGIN
    .quad DESCRIPTOR(0xfffff, 0xbb, 0xc) /* level 1 */
    .quad DESCRIPTOR(0xfffff, 0x9f, 0xc)
TABLES_END
