/*
 * 64-bit mode's edges: addresses that are not canonical, reserved bits of control registers and MSRs, the way
 * of SYSCALL, SYSRET, SYSENTER into errors, INVPCID and what must be gone after it.
 */
#include "tests/guests/guest.inc"

#define CR4_OSFXSR   (1 << 9)
#define CR4_PGE      (1 << 7)
#define CR4_FSGSBASE (1 << 16)
#define CR4_PCIDE    (1 << 17)
#define MSR_LSTAR    0xc0000082
#define MSR_FS_BASE  0xc0000100
#define MSR_KERNEL_GS 0xc0000102
#define MSR_SYSENTER_CS 0x174
#define MSR_SYSENTER_EIP 0x176
#define MSR_PAT      0x277
#define PAGES        (TABLES + 0x5000)
#define TEST         0x40000000
#define FRAME        0x300000

.macro WILD register
    mov \register, 0x0000800000000000
.endm

/* The instruction faults, and the frame tells its own address. */
.macro REFUSED vector, line, instruction:vararg
    TRY
666:
    \instruction
    CAUGHT_ \vector, 0, \line
    cmp dword ptr [fault_ip], offset 666b
    CHECK_ e, \line
.endm
#define GP(...) REFUSED 13, __LINE__, __VA_ARGS__
#define SS(...) REFUSED 12, __LINE__, __VA_ARGS__
#define UD(...) REFUSED 6, __LINE__, __VA_ARGS__

.macro WRMSR_64 msr, value
    mov ecx, \msr
    mov rax, \value
    mov rdx, rax
    shr rdx, 32
.endm

START
    ENTER_PROTECTED
    ENTER_LONG
    CATCH_ALL64
    GATE64 0x30, user_done, INTERRUPT_GATE3
    mov dword ptr [TSS + 4], STACK1
    mov word ptr [TSS + 102], 104 /* no ports for the user */
    mov eax, TASK
    ltr ax
    /* Faults of a wild stack need another. */
    mov dword ptr [TSS + 36], STACK_IST
    GATE64 EXC_SS, "catchers + 12 * 16", INTERRUPT_GATE+1
    GATE64 EXC_GP, "catchers + 13 * 16", INTERRUPT_GATE+1
    mov rax, cr4
    or eax, CR4_OSFXSR
    mov cr4, rax

    /* -- Addresses -- */
    WILD rbx
    GP(mov rax, [rbx])
    GP(mov [rbx], al)
    GP(mov rax, [rbx - 4]) /* crosses the end of the lower half */
    GP(lock inc dword ptr [rbx])
    GP(clflush [rbx])
    GP(movups xmm0, [rbx])
    invlpg [rbx] /* no fault */
    lea rax, [rbx + 5]
    prefetcht0 [rbx]
    WILD rbp
    SS(mov rax, [rbp])
    GP(mov rax, ds:[rbx])
    mov r15, rsp
    mov rsp, 0x0000900000000000
    SS(push rax)
    mov rsp, 0x0000900000000000
    SS(pop rax)
    mov rsp, 0x0000900000000000
    SS(ret)
    mov rsp, 0x0000900000000000
    SS(call 1f)
1:  mov rsp, r15

    /* -- Targets: the branch itself faults -- */
    GP(jmp rbx)
    GP(call rbx)
    EQUAL(rsp, r15)
    push rbx
    GP(ret)
    lea rax, [r15 - 8]
    EQUAL(rsp, rax)
    mov rsp, r15
    push DATA64
    push r15
    push 2
    push CODE64
    push rbx
    GP(iretq)
    mov rsp, r15
    push CODE64
    push rbx
    GP(lretq)
    mov rsp, r15

    /* -- MSRs that hold addresses -- */
    WRMSR_64 MSR_LSTAR, rbx
    GP(wrmsr)
    WRMSR_64 MSR_FS_BASE, rbx
    GP(wrmsr)
    WRMSR_64 MSR_KERNEL_GS, rbx
    GP(wrmsr)
    WRMSR_64 MSR_SYSENTER_EIP, rbx
    GP(wrmsr)
    WRMSR_64 MSR_PAT, 0x0002
    GP(wrmsr) /* memory type 2 is reserved */
    mov ecx, 0x12345678
    GP(rdmsr)
    UD(wrfsbase rbx) /* CR4.FSGSBASE is clear */
    mov rax, cr4
    or eax, CR4_FSGSBASE
    mov cr4, rax
    GP(wrfsbase rbx)
    GP(wrgsbase rbx)
    mov eax, 0x1234
    wrgsbase rax
    rdgsbase rcx
    EQUAL(ecx, 0x1234)
    mov [wild_pointer + 2], rbx
    GP(lgdt [wild_pointer])
    GP(lidt [wild_pointer])

    /* -- Control registers -- */
    mov rax, cr0
    btr eax, 31
    GP(mov cr0, rax) /* not from 64-bit code */
    mov rax, cr0
    btr eax, 0
    GP(mov cr0, rax) /* PG without PE */
    mov rax, cr0
    bts rax, 29
    btr rax, 30
    GP(mov cr0, rax) /* NW without CD */
    mov rax, cr0
    bts rax, 32
    GP(mov cr0, rax)
    mov rax, cr4
    btr eax, 5
    GP(mov cr4, rax) /* PAE stays */
    mov rax, cr4
    bts eax, 15
    GP(mov cr4, rax)
    mov rax, cr4
    bts rax, 40
    GP(mov cr4, rax)
    mov rax, cr3
    bts rax, 60
    GP(mov cr3, rax)
    mov eax, 16
    GP(mov cr8, rax)
    mov eax, 15
    mov cr8, rax
    mov rcx, cr8
    EQUAL(ecx, 15)
    xor eax, eax
    mov cr8, rax
    UD(.byte 0x0f, 0x22, 0xc8) /* CR1 */
    mov ecx, MSR_EFER
    rdmsr
    btr eax, 8
    GP(wrmsr) /* LME while paging */
    rdmsr
    bts eax, 9
    GP(wrmsr) /* reserved */
    mov rax, 1 << 32
    GP(mov dr6, rax)
    GP(mov dr7, rax)

    /* -- SYSCALL and its kin -- */
    mov ecx, MSR_EFER
    rdmsr
    btr eax, 0
    wrmsr
    UD(syscall)
    UD(.byte 0x0f, 0x07)
    bts eax, 0
    wrmsr
    mov rcx, rbx
    mov r11d, 2
    GP(.byte 0x48, 0x0f, 0x07) /* at privilege level 0, on its stack */
    EQUAL(dword ptr [fault_cs], CODE64)
    EQUAL(rsp, r15)
    WRMSR_64 MSR_SYSENTER_CS, 0
    wrmsr
    GP(sysenter)
    GP(.byte 0x0f, 0x35)
    WRMSR_64 MSR_SYSENTER_CS, 3 /* null all the same */
    wrmsr
    GP(sysenter)

    /* At level 3 */
    mov eax, offset user_code
    mov dword ptr [fault_vector], -1
    mov dword ptr [fault_resume], offset user_next
    mov r15, rsp
    push USERDATA
    push STACK3
    push 2
    push USER64
    push rax
    iretq
user_code:
    xor r8d, r8d /* how many were refused */
    .macro USER_REFUSED instruction:vararg
    mov dword ptr [fault_resume], offset 77f
    mov dword ptr [fault_vector], -1
    \instruction
77: cmp dword ptr [fault_vector], 13
    jne user_end
    cmp dword ptr [fault_error], 0
    jne user_end
    inc r8d
    .endm
    USER_REFUSED .byte 0x0f, 0x07
    USER_REFUSED .byte 0x0f, 0x35
    USER_REFUSED swapgs
    USER_REFUSED hlt
    USER_REFUSED invlpg [rax]
    USER_REFUSED invpcid rax, [rax]
    USER_REFUSED mov rax, cr0
    USER_REFUSED mov rax, dr0
    USER_REFUSED rdmsr
    USER_REFUSED wbinvd
    USER_REFUSED cli
    USER_REFUSED in al, 0x80
    USER_REFUSED clts
    USER_REFUSED lgdt [rax]
    USER_REFUSED ltr ax
    USER_REFUSED xsetbv
user_end:
user_next:
    int 0x30
user_done:
    mov rsp, r15
    EQUAL(r8d, 15) /* XSETBV: #UD, for CR4.OSXSAVE is clear */
    EQUAL(dword ptr [fault_vector], EXC_UD)

    /* -- INVPCID -- */
    mov edi, TABLES + 0x4000
    xor eax, eax
    mov ecx, 0x2000 / 4
    rep stosd
    mov dword ptr [TABLES + 0x1008], TABLES + 0x4000 + 7
    mov dword ptr [TABLES + 0x4000], PAGES + 7
    mov dword ptr [FRAME], 1
    mov dword ptr [FRAME + 0x1000], 2
    mov eax, 4
    GP(invpcid rax, [descriptor])
    mov rax, 1 << 32
    GP(invpcid rax, [descriptor])
    xor eax, eax
    mov qword ptr [descriptor], 0x1000
    GP(invpcid rax, [descriptor]) /* reserved */
    mov qword ptr [descriptor], 1
    GP(invpcid rax, [descriptor]) /* a PCID without PCIDs */
    mov eax, 1
    GP(invpcid rax, [descriptor])
    mov eax, 2
    invpcid rax, [descriptor] /* the descriptor's PCID does not matter */
    mov qword ptr [descriptor], 0
    mov [descriptor + 8], rbx
    xor eax, eax
    GP(invpcid rax, [descriptor]) /* not canonical */
    mov eax, 1
    invpcid rax, [descriptor] /* which only type 0 looks at */

    mov rax, cr3
    or eax, 1
    mov cr3, rax
    mov rax, cr4
    or eax, CR4_PCIDE
    GP(mov cr4, rax) /* CR3 has a PCID already */
    mov eax, TABLES
    mov cr3, rax
    mov rax, cr4
    or eax, CR4_PCIDE | CR4_PGE
    mov cr4, rax
    mov rax, cr0
    btr eax, 31
    GP(mov cr0, rax)

    /* For each type: address space 1 reads the page, space 2 maps it elsewhere and invalidates, space 1
     * comes back without a flush. R12: type; a global page for type 2. */
    mov ebx, TEST
    mov qword ptr [descriptor + 8], TEST
    mov qword ptr [descriptor], 1
    xor r12d, r12d
next_type:
    mov dword ptr [PAGES], FRAME + 3
    cmp r12d, 2
    jne 1f
    or dword ptr [PAGES], 1 << 8
1:  invlpg [rbx] /* global or not */
    mov eax, TABLES + 1
    mov cr3, rax
    EQUAL(dword ptr [rbx], 1)
    mov eax, TABLES + 2
    mov cr3, rax
    xor dword ptr [PAGES], 0x1000
    mov eax, r12d
    invpcid rax, [descriptor]
    mov rax, (1 << 63) + TABLES + 1
    mov cr3, rax
    EQUAL(dword ptr [rbx], 2)
    mov rax, cr3
    EQUAL(eax, TABLES + 1) /* bit 63 does not stay */
    inc r12d
    cmp r12d, 4
    jb next_type

    /* INVLPG in this space; a load of CR3 without bit 63; CR4.PGE for global pages */
    mov dword ptr [PAGES], FRAME + 3
    invlpg [rbx]
    EQUAL(dword ptr [rbx], 1)
    mov dword ptr [PAGES], FRAME + 0x1003
    mov eax, TABLES + 1
    mov cr3, rax
    EQUAL(dword ptr [rbx], 2)
    mov dword ptr [PAGES], FRAME + 0x103
    invlpg [rbx]
    EQUAL(dword ptr [rbx], 1)
    mov dword ptr [PAGES], FRAME + 0x1103
    mov rax, cr4
    xor eax, CR4_PGE
    mov cr4, rax
    EQUAL(dword ptr [rbx], 2)

    PASS

CATCHERS64
    .balign 16
descriptor: .quad 0, 0
wild_pointer: .word 0xffff
    .quad 0

TABLES_BEGIN
TABLES_END
