/* SYSENTER and SYSEXIT in 32-bit protected mode: fixed flat segments, no use of descriptors. */
#include "tests/guests/guest.inc"

#define MSR_SYSENTER_CS 0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176

/* SYSENTER loads CS = 0x28, SS = 0x30; SYSEXIT CS = 0x38 + 3, SS = 0x40 + 3: as guest.inc has them. */
START
    ENTER_PROTECTED
    CATCH_ALL32
    mov dword ptr [TSS + 4], STACK0 - 0x800
    mov dword ptr [TSS + 8], DATA32
    mov eax, TASK
    ltr ax
    xor edx, edx
    mov ecx, MSR_SYSENTER_CS
    mov eax, CODE64
    wrmsr
    mov ecx, MSR_SYSENTER_ESP
    mov eax, STACK1
    wrmsr
    mov ecx, MSR_SYSENTER_EIP
    mov eax, offset kernel
    wrmsr
    mov ecx, STACK3
    mov edx, offset ring3
    sysexit
    FAIL

ring3:
    mov eax, cs
    EQUAL(ax, USER32)
    mov eax, ss
    EQUAL(ax, USERDATA)
    EQUAL(esp, STACK3)
    mov eax, USERDATA
    mov ds, eax
    TRY
    sysexit
    CAUGHT(EXC_GP, 0)
    mov ebx, 1000
1:  mov ecx, esp
    mov edx, offset 2f
    mov eax, ebx
    sysenter
    FAIL
2:  lea ecx, [ebx + 1]
    EQUAL(eax, ecx)
    EQUAL(esp, STACK3)
    dec ebx
    jnz 1b
    mov ebx, -1
    sysenter
    FAIL

kernel:
    cmp ebx, -1
    je done
    EQUAL(esp, STACK1)
    push eax
    mov eax, cs
    EQUAL(ax, CODE64)
    mov eax, ss
    EQUAL(ax, DATA64)
    pop eax
    inc eax
    sysexit

done: /* onto segments that interrupts can return to */
    FAR_JUMP32 CODE32, 1f
1:  LOAD_DATA DATA32
    /* A null SYSENTER_CS refuses both. */
    xor eax, eax
    xor edx, edx
    mov ecx, MSR_SYSENTER_CS
    wrmsr
    TRY
    sysenter
    CAUGHT(EXC_GP, 0)
    PASS

CATCHERS32

TABLES_BEGIN
TABLES_END
