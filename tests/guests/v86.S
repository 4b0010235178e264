/* Virtual-8086 mode under a small monitor: sensitive instructions, interrupts, segment arithmetic. */
#include "tests/guests/guest.inc"

#define V86_STACK 0x6000

START
    ENTER_PROTECTED
    CATCH_ALL32
    GATE32 EXC_GP, monitor
    GATE32 0x60, from_v86_gate, INTERRUPT_GATE3
    mov dword ptr [TSS + 4], STACK0 - 0x800
    mov dword ptr [TSS + 8], DATA32
    mov word ptr [TSS + 0x66], 0x68
    mov eax, TASK
    ltr ax

    /* IOPL 0: CLI, STI, PUSHF, POPF, INT, IRET and I/O trap. */
    push 0x7003   /* GS */
    push 0x7002
    push 0x7001
    push 0x0100   /* ES: base 0x1000 */
    push 0        /* SS */
    push V86_STACK
    push FLAG_VM + 2
    push 0x0800   /* CS: base 0x8000 */
    push offset virtual - 0x8000
    iretd

.code16
virtual:
    mov ax, cs
    EQUAL(ax, 0x0800)
    mov ax, gs
    EQUAL(ax, 0x7003)
    mov ax, 0x2000
    mov ds, ax /* any value goes */
    mov word ptr [0x10], 0xabcd
    mov ax, 0x1fff
    mov fs, ax
    EQUAL(word ptr fs:[0x20], 0xabcd)
    mov bx, 1
    cli         /* 1: emulated by the monitor */
    sti         /* 2 */
    pushf       /* 3 */
    pop ax
    int 0x21    /* 4 */
    EQUAL(bx, 0x2121)
    mov si, 0xffff
    mov cx, 0
v86_limit:
    mov ax, [si] /* 5: beyond 64 KiB */
    EQUAL(cx, 0x5555)
    mov eax, 0x10000
v86_limit32:
    mov al, [eax] /* 6: a 32-bit offset as well */
    int 0x60    /* gate with DPL 3 but CPL 3 -> 0: IOPL < 3 makes it #GP: 7 */
    mov bx, 0x7777
    hlt         /* 8: the end */
    FAIL

.code32
/* #GP: frame EIP CS EFLAGS ESP SS ES DS FS GS above the error code */
monitor:
    test dword ptr [esp + 12], FLAG_VM
    CHECK(nz)
    push eax
    push ebx
    mov eax, ds /* data segments are null here */
    EQUAL(ax, 0)
    mov eax, DATA32
    mov ds, eax
    inc dword ptr [traps]
    movzx ebx, word ptr [esp + 16] /* CS */
    shl ebx, 4
    add ebx, [esp + 12]
    mov al, [ebx]
    cmp al, 0xfa
    je skip_one
    cmp al, 0xfb
    je skip_one
    cmp al, 0x9c
    je emulate_pushf
    cmp al, 0xcd
    je emulate_int
    cmp al, 0xf4
    je emulate_hlt
    EQUAL(dword ptr [esp + 8], 0)
    cmp ebx, offset v86_limit
    je 1f
    EQUAL(ebx, offset v86_limit32)
    add dword ptr [esp + 12], 3
    jmp resume
1:  mov ecx, 0x5555
    add dword ptr [esp + 12], 2
    jmp resume
emulate_pushf:
    sub word ptr [esp + 24], 2
    movzx ebx, word ptr [esp + 24]
    mov word ptr [ebx], 2
skip_one:
    inc dword ptr [esp + 12]
resume:
    pop ebx
    pop eax
    add esp, 4
    iretd
emulate_int:
    add dword ptr [esp + 12], 2
    cmp byte ptr [ebx + 1], 0x21
    pop ebx
    pop eax
    jne 1f
    mov ebx, 0x2121
1:  add esp, 4
    iretd
emulate_hlt:
    EQUAL(dword ptr [traps], 8)
    EQUAL(word ptr [esp + 36], 0x2000) /* DS as the guest left it */
    EQUAL(word ptr [esp + 44], 0x7003)
    EQUAL(word ptr [esp], 0x7777)      /* BX */
    mov esp, STACK0

    /* IOPL 3: the flag instructions run freely, and INT goes through the gate. */
    push 0
    push 0
    push 0
    push 0
    push 0
    push V86_STACK
    push FLAG_VM + 0x3002
    push 0
    push offset virtual3
    iretd
.code16
virtual3:
    cli
    pushf
    pop ax
    test ax, FLAG_IF
    CHECK(z)
    sti
    pushf
    pop ax
    test ax, FLAG_IF
    CHECK(nz)
    cli
    int 0x60
    FAIL
.code32
from_v86_gate:
    mov eax, DATA32
    mov ds, eax
    test dword ptr ss:[esp + 8], FLAG_VM
    CHECK(nz)
    EQUAL(dword ptr ss:[esp + 12], V86_STACK)
    pushfd
    test dword ptr [esp], FLAG_VM
    CHECK(z)
    PASS

CATCHERS32
    .balign 4
traps: .long 0

TABLES_BEGIN
TABLES_END
