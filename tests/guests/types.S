/*
 * Every access byte of a descriptor, requested with RPL 0 and 3 at privilege level 0: loads of DS and SS, LAR,
 * LSL, VERR, VERW, and the accessed bit. Then CR4.UMIP against what a user may ask for.
 *
 * EBX: the access byte; EBP: the RPL. Expected vectors of the loads are made in EDX, 0 for none.
 */
#include "tests/guests/guest.inc"

#define CR4_UMIP (1 << 11)
#define LAR_TYPES 0x1a3e /* bit set of the system types: 1 to 5, 9, 11, 12 */
#define LSL_TYPES 0x0a0e /* 1 to 3, 9, 11 */

/* Expected: ZF clear or set as CL is 0 or 1. */
#define ZF_IS_CL setz al; EQUAL(al, cl)

/* CL: does the privilege do? Conforming code asks for none. */
.macro PRIVILEGE
    mov ecx, ebx
    and ecx, 0x1c
    cmp ecx, 0x1c
    je 1f
    mov eax, ebx
    shr eax, 5
    and eax, 3
    cmp eax, ebp
1:  setae cl
.endm

START
    ENTER_PROTECTED
    CATCH_ALL32
    xor ebx, ebx
next_type:
    xor ebp, ebp
next_rpl:
    mov [probe + 5], bl
    lea esi, [ebp + EXTRA]

    /* MOV DS */
    mov edx, EXC_GP
    test bl, 0x10
    jz 2f
    mov eax, ebx
    and eax, 0x0a
    cmp eax, 8 /* code that cannot be read */
    je 2f
    PRIVILEGE
    test cl, cl
    jz 2f
    mov edx, EXC_NP
    test bl, 0x80
    jz 2f
    xor edx, edx
2:  TRY
    mov ds, esi
77: mov eax, ss
    mov ds, eax
    cmp edx, 0
    jne 3f
    EQUAL(dword ptr [fault_vector], -1)
    mov al, bl
    or al, 1 /* accessed */
    EQUAL(byte ptr [probe + 5], al)
    jmp 4f
3:  EQUAL(dword ptr [fault_vector], edx)
    EQUAL(dword ptr [fault_error], EXTRA)
    EQUAL(byte ptr [probe + 5], bl)
4:  mov [probe + 5], bl

    /* MOV SS: writable data of level 0, RPL 0 */
    mov edx, EXC_GP
    test ebp, ebp
    jnz 2f
    mov eax, ebx
    and eax, 0x7a
    cmp eax, 0x12
    jne 2f
    mov edx, EXC_SS
    test bl, 0x80
    jz 2f
    xor edx, edx
2:  mov edi, ss
    mov ecx, esp
    TRY
    mov ss, esi
    mov ss, edi
77: mov esp, ecx
    cmp edx, 0
    jne 3f
    EQUAL(dword ptr [fault_vector], -1)
    jmp 4f
3:  EQUAL(dword ptr [fault_vector], edx)
    EQUAL(dword ptr [fault_error], EXTRA)
4:  mov [probe + 5], bl

    /* VERR, VERW: whether present does not matter */
    PRIVILEGE
    mov eax, ebx
    and eax, 0x1a
    cmp eax, 0x10
    je 2f
    cmp eax, 0x12
    je 2f
    cmp eax, 0x1a
    je 2f
    xor ecx, ecx
2:  verr si
    ZF_IS_CL
    PRIVILEGE
    mov eax, ebx
    and eax, 0x1a
    cmp eax, 0x12
    je 2f
    xor ecx, ecx
2:  verw si
    ZF_IS_CL

    /* LAR, LSL */
    PRIVILEGE
    test bl, 0x10
    jnz 2f
    mov eax, ebx
    and eax, 15
    mov edi, LAR_TYPES
    bt edi, eax
    jc 2f
    xor ecx, ecx
2:  mov edi, 0x12345678
    lar edi, esi
    ZF_IS_CL
    mov edx, ebx
    shl edx, 8
    or edx, 0x00d00000 /* G, AVL, D/B; the limit's bits are not its */
    test cl, cl
    jnz 2f
    mov edx, 0x12345678
2:  and edi, 0xfff0ffff
    and edx, 0xfff0ffff
    EQUAL(edi, edx)
    PRIVILEGE
    test bl, 0x10
    jnz 2f
    mov eax, ebx
    and eax, 15
    mov edi, LSL_TYPES
    bt edi, eax
    jc 2f
    xor ecx, ecx
2:  mov edi, 0x12345678
    lsl edi, esi
    ZF_IS_CL
    mov edx, 0x56789fff
    test cl, cl
    jnz 2f
    mov edx, 0x12345678
2:  EQUAL(edi, edx)
    EQUAL(byte ptr [probe + 5], bl) /* none of these touches it */

    xor ebp, 3
    jnz next_rpl
    inc ebx
    cmp ebx, 256
    jb next_type

    /* Null selectors: DS takes them, with any RPL, and faults when used; SS does not. */
    mov eax, 3
    mov es, eax
    TRY
    mov al, es:[0]
    CAUGHT(EXC_GP, 0)
    xor eax, eax
    TRY
    mov ss, eax
    CAUGHT(EXC_GP, 0)
    verr ax
    CHECK(nz)
    lar ecx, eax
    CHECK(nz)
    mov eax, EXTRA + 8 /* the table's end */
    TRY
    mov es, eax
    CAUGHT(EXC_GP, EXTRA + 8)
    lsl ecx, eax
    CHECK(nz)

    /* UMIP: SGDT, SIDT, SLDT, STR, SMSW are the supervisor's. */
    GATE32 0x30, user_done, INTERRUPT_GATE3
    mov dword ptr [TSS + 4], STACK1
    mov dword ptr [TSS + 8], DATA32
    mov eax, TASK
    ltr ax
    mov eax, 7
    xor ecx, ecx
    cpuid
    shr ecx, 2
    and ecx, 1
    mov [has_umip], ecx
    xor esi, esi /* how many may be refused */
run_user:
    mov ebp, esp
    xor edi, edi
    push USERDATA
    push STACK3
    push 2
    push USER32
    push offset user_code
    iretd
user_code:
    mov eax, USERDATA
    mov ds, eax
    .macro ASK instruction:vararg
    mov dword ptr [fault_resume], offset 77f
    mov dword ptr [fault_vector], -1
    \instruction
77: cmp dword ptr [fault_vector], 13
    jne 78f
    inc edi
78:
    .endm
    ASK sgdt [scratch]
    ASK sidt [scratch]
    ASK sldt eax
    ASK str eax
    ASK smsw eax
    int 0x30
user_done:
    mov esp, ebp
    mov eax, DATA32
    mov ds, eax
    EQUAL(edi, esi)
    cmp dword ptr [has_umip], 0
    je 1f
    cmp esi, 5
    je 1f
    mov eax, cr4
    or eax, CR4_UMIP
    mov cr4, eax
    mov esi, 5
    jmp run_user
1:  PASS

CATCHERS32
    .balign 8
scratch: .quad 0, 0
has_umip: .long 0

TABLES_BEGIN
probe: .quad DESCRIPTOR(0x56789, 0, 0xd)
TABLES_END
