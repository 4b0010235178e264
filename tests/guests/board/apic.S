/*
 * The local APIC as a program sees it: interrupts that it sends itself by every way there is, priorities,
 * the timer in its three modes, x2APIC registers, and the changes between the modes that are allowed.
 */
#define ON_BOARD
#include "tests/guests/guest.inc"

#define APIC           0xfee00000
#define ID             0x20
#define VERSION        0x30
#define TPR            0x80
#define PPR            0xa0
#define EOI            0xb0
#define LDR            0xd0
#define DFR            0xe0
#define SVR            0xf0
#define ISR(vector)    (0x100 + (vector) / 32 * 16)
#define IRR(vector)    (0x200 + (vector) / 32 * 16)
#define BIT(vector)    (1 << ((vector) % 32))
#define ESR            0x280
#define ICR            0x300
#define ICR_HIGH       0x310
#define LVT_TIMER      0x320
#define LVT_LINT0      0x350
#define LVT_ERROR      0x370
#define INITIAL_COUNT  0x380
#define CURRENT_COUNT  0x390
#define DIVIDE         0x3e0
#define MASKED         (1 << 16)
#define PERIODIC       (1 << 17)
#define DEADLINE       (1 << 18)
#define TO_SELF        (1 << 18)
#define TO_ALL         (2 << 18)
#define TO_OTHERS      (3 << 18)
#define LOGICAL        (1 << 11)
#define NMI            (4 << 8)
#define LOWEST         (1 << 8)

#define MSR_BASE       0x1b
#define MSR_DEADLINE   0x6e0
#define X2(offset)     (0x800 + (offset) / 16)
#define BASE_BSP       (1 << 8)
#define BASE_EXTD      (1 << 10)
#define BASE_EN        (1 << 11)

#define REG(offset) dword ptr [APIC + (offset)]
#define TICKS 200000 /* 0.2 ms: long enough to look at it, short enough to wait for */

.macro FORGET
    mov dword ptr [interrupts], 0
    mov dword ptr [nmis], 0
.endm
/* Lets in what is pending. */
.macro LET_IN
    sti
    nop
    cli
.endm
/* Waits for the next interrupt. */
.macro WAIT
    sti
    hlt
    cli
.endm
/* So many interrupts came since FORGET, the last with this vector. */
#define CAME(count, vector) EQUAL(dword ptr [interrupts], count); EQUAL(dword ptr [last_vector], vector)
#define NONE_CAME EQUAL(dword ptr [interrupts], 0)

.macro WRITE_MSR number, low, high=0
    mov ecx, \number
    mov eax, \low
    mov edx, \high
    wrmsr
.endm
.macro REFUSED_MSR line, number, low, high=0
    TRY
    WRITE_MSR \number, \low, \high
    CAUGHT_ EXC_GP, 0, \line
.endm
#define REFUSED_WRITE(...) REFUSED_MSR __LINE__, __VA_ARGS__
.macro REFUSED_READ_ line, number
    mov ecx, \number
    TRY
    rdmsr
    CAUGHT_ EXC_GP, 0, \line
.endm
#define REFUSED_READ(number) REFUSED_READ_ __LINE__, number

.macro VECTOR number
    GATE32 \number, "vectors + (\number - 0x50) * 16"
.endm

START
    in al, 0x92 /* A20 */
    or al, 2
    out 0x92, al
    ENTER_PROTECTED
    CATCH_ALL32
    GATE32 2, on_nmi
    .set number, 0x50
    .rept 0x40
    VECTOR number
    .set number, number + 1
    .endr

    /* -- As it comes out of reset -- */
    mov ecx, MSR_BASE
    rdmsr
    EQUAL(eax, APIC + BASE_EN + BASE_BSP)
    EQUAL(edx, 0)
    mov eax, 1
    cpuid
    test ecx, 1 << 21 /* x2APIC */
    CHECK(nz)
    test ecx, 1 << 24 /* TSC deadline */
    CHECK(nz)
    test edx, 1 << 9
    CHECK(nz)
    EQUAL(REG(ID), 0)
    mov eax, REG(VERSION)
    movzx ecx, al
    cmp ecx, 0x10
    CHECK(ae)
    shr eax, 16
    cmp al, 3 /* index of the last LVT entry */
    CHECK(ae)
    EQUAL(REG(SVR), 0xff)
    EQUAL(REG(DFR), 0xffffffff)
    EQUAL(REG(TPR), 0)
    EQUAL(REG(LVT_TIMER), MASKED)
    EQUAL(REG(LVT_LINT0), MASKED)
    /* Disabled by software, its entries stay masked. */
    mov REG(LVT_TIMER), 0x55
    EQUAL(REG(LVT_TIMER), MASKED + 0x55)
    mov REG(SVR), 0x1ff
    mov REG(LVT_TIMER), 0x55
    EQUAL(REG(LVT_TIMER), 0x55)
    mov REG(SVR), 0xff
    EQUAL(REG(LVT_TIMER), MASKED + 0x55)
    mov REG(SVR), 0x1ff

    /* -- Interrupts to itself: each way -- */
    FORGET
    mov REG(ICR), TO_SELF + 0x50
    test REG(IRR(0x50)), BIT(0x50)
    CHECK(nz)
    test REG(ISR(0x50)), BIT(0x50)
    CHECK(z)
    NONE_CAME
    LET_IN
    CAME(1, 0x50)
    test dword ptr [isr_inside], BIT(0x50) /* in service while it is handled */
    CHECK(nz)
    EQUAL(dword ptr [ppr_inside], 0x50)
    EQUAL(REG(PPR), 0)
    test REG(IRR(0x50)), BIT(0x50)
    CHECK(z)
    test REG(ISR(0x50)), BIT(0x50)
    CHECK(z)
    /* Two of the same are one. */
    FORGET
    mov REG(ICR), TO_SELF + 0x50
    mov REG(ICR), TO_SELF + 0x50
    LET_IN
    LET_IN
    CAME(1, 0x50)
    FORGET
    mov REG(ICR), TO_ALL + 0x51
    LET_IN
    CAME(1, 0x51)
    FORGET
    mov REG(ICR), TO_OTHERS + 0x52
    LET_IN
    NONE_CAME
    mov REG(ICR_HIGH), 0 /* by its number */
    mov REG(ICR), 0x53
    LET_IN
    CAME(1, 0x53)
    FORGET
    mov REG(ICR_HIGH), 7 << 24 /* nobody */
    mov REG(ICR), 0x54
    LET_IN
    NONE_CAME
    mov REG(ICR_HIGH), 0xff << 24
    mov REG(ICR), 0x54
    LET_IN
    CAME(1, 0x54)
    /* Logical, flat: a set of bits */
    FORGET
    mov REG(LDR), 0x04 << 24
    mov REG(ICR_HIGH), 0x0c << 24
    mov REG(ICR), LOGICAL + 0x55
    LET_IN
    CAME(1, 0x55)
    FORGET
    mov REG(ICR_HIGH), 0x0b << 24
    mov REG(ICR), LOGICAL + 0x55
    LET_IN
    NONE_CAME
    mov REG(ICR_HIGH), 0x04 << 24
    mov REG(ICR), LOGICAL + LOWEST + 0x56
    LET_IN
    CAME(1, 0x56)
    /* Clusters: the upper half is a number, the lower a set */
    FORGET
    mov REG(DFR), 0x0fffffff
    mov REG(LDR), 0x24 << 24
    mov REG(ICR_HIGH), 0x26 << 24
    mov REG(ICR), LOGICAL + 0x57
    LET_IN
    CAME(1, 0x57)
    FORGET
    mov REG(ICR_HIGH), 0x34 << 24
    mov REG(ICR), LOGICAL + 0x57
    mov REG(ICR_HIGH), 0x23 << 24
    mov REG(ICR), LOGICAL + 0x57
    LET_IN
    NONE_CAME
    mov REG(DFR), 0xffffffff
    /* An NMI does not ask for IF. */
    FORGET
    mov REG(ICR_HIGH), 0
    mov REG(ICR), NMI
    mov ecx, 100 /* it is on its way for a moment */
1:  loop 1b
    EQUAL(dword ptr [nmis], 1)
    NONE_CAME

    /* -- Priorities -- */
    FORGET
    mov REG(ICR), TO_SELF + 0x61
    mov REG(ICR), TO_SELF + 0x82
    mov REG(ICR), TO_SELF + 0x70
    LET_IN
    LET_IN
    LET_IN
    CAME(3, 0x61)
    EQUAL(dword ptr [history], 0x827061)
    /* The task's priority holds back its class and those below it. */
    FORGET
    mov REG(TPR), 0x70
    EQUAL(REG(PPR), 0x70)
    mov REG(ICR), TO_SELF + 0x7f
    LET_IN
    NONE_CAME
    mov REG(ICR), TO_SELF + 0x80
    LET_IN
    CAME(1, 0x80)
    mov REG(TPR), 0x6f
    LET_IN
    CAME(2, 0x7f)
    mov REG(TPR), 0
    /* So does one in service: 0x75 sends itself 0x7e, which waits, and 0x85, which does not. */
    FORGET
    mov dword ptr [nest], 1
    mov REG(ICR), TO_SELF + 0x75
    LET_IN
    LET_IN
    EQUAL(dword ptr [interrupts], 3)
    EQUAL(dword ptr [history], 0x75857e)

    /* -- Errors -- */
    FORGET
    mov REG(LVT_ERROR), 0x58
    mov REG(ICR), TO_SELF + 0x05 /* vectors below 16 are not to be sent */
    LET_IN
    CAME(1, 0x58)
    EQUAL(REG(ESR), 0) /* until it is written */
    mov REG(ESR), 0
    EQUAL(REG(ESR), 0x20)
    mov REG(ESR), 0
    EQUAL(REG(ESR), 0)
    mov REG(LVT_ERROR), MASKED

    /* -- The timer: one shot -- */
    FORGET
    mov REG(DIVIDE), 0xb /* by one */
    mov REG(LVT_TIMER), 0x59
    mov REG(INITIAL_COUNT), TICKS
    mov eax, REG(CURRENT_COUNT)
    mov ecx, REG(CURRENT_COUNT)
    cmp eax, TICKS
    CHECK(be)
    cmp ecx, eax
    CHECK(be)
    EQUAL(REG(INITIAL_COUNT), TICKS)
    WAIT
    CAME(1, 0x59)
    EQUAL(REG(CURRENT_COUNT), 0)
    /* Written again, it begins again; a zero stops it. */
    mov REG(INITIAL_COUNT), TICKS
    WAIT
    CAME(2, 0x59)
    mov REG(INITIAL_COUNT), 0x10000000
    mov eax, REG(CURRENT_COUNT)
    test eax, eax
    CHECK(nz)
    mov REG(INITIAL_COUNT), 0
    EQUAL(REG(CURRENT_COUNT), 0)
    /* Masked, it counts and says nothing. */
    FORGET
    mov REG(LVT_TIMER), MASKED + 0x59
    mov REG(INITIAL_COUNT), TICKS
1:  cmp REG(CURRENT_COUNT), 0
    jne 1b
    LET_IN
    NONE_CAME
    /* Divided by 128, it takes so long by the time stamp counter, which runs at its clock's rate. */
    mov REG(DIVIDE), 0xa
    mov REG(LVT_TIMER), 0x5a
    rdtsc
    mov esi, eax
    mov edi, edx
    mov REG(INITIAL_COUNT), 5000
    WAIT
    rdtsc
    sub eax, esi
    sbb edx, edi
    CAME(1, 0x5a)
    EQUAL(edx, 0)
    cmp eax, 5000 * 128
    CHECK(ae)

    /* Periodic */
    FORGET
    mov REG(DIVIDE), 0xb
    mov REG(LVT_TIMER), PERIODIC + 0x5b
    mov REG(INITIAL_COUNT), TICKS
    mov ebx, 1
1:  WAIT
    cmp dword ptr [interrupts], ebx
    CHECK(ae)
    EQUAL(dword ptr [last_vector], 0x5b)
    mov eax, REG(CURRENT_COUNT)
    cmp eax, TICKS
    CHECK(be)
    inc ebx
    cmp ebx, 6
    jb 1b
    mov REG(INITIAL_COUNT), 0
    LET_IN
    FORGET
    mov ecx, 1000000
    sti
1:  loop 1b
    cli
    NONE_CAME

    /* TSC deadline: counts are ignored, and the MSR is only there in this mode. */
    WRITE_MSR MSR_DEADLINE, 0x1000, 0x7fffffff
    rdmsr
    EQUAL(eax, 0)
    EQUAL(edx, 0)
    mov REG(LVT_TIMER), DEADLINE + 0x5c
    mov REG(INITIAL_COUNT), TICKS
    EQUAL(REG(CURRENT_COUNT), 0)
    FORGET
    rdtsc
    add eax, TICKS
    adc edx, 0
    mov esi, eax
    mov edi, edx
    mov ecx, MSR_DEADLINE
    wrmsr
    rdmsr
    cmp eax, esi
    jne 1f /* it has come already: the host was slow */
    EQUAL(edx, edi)
1:  WAIT
    CAME(1, 0x5c)
    rdtsc
    sub eax, esi
    sbb edx, edi
    CHECK(nc) /* not before its time */
    mov ecx, MSR_DEADLINE
    rdmsr
    or eax, edx
    EQUAL(eax, 0)
    /* A moment that has passed is now; zero disarms; so does another mode. */
    FORGET
    WRITE_MSR MSR_DEADLINE, 1
    LET_IN
    CAME(1, 0x5c)
    FORGET
    rdtsc
    add eax, TICKS * 5
    adc edx, 0
    mov ecx, MSR_DEADLINE
    wrmsr
    WRITE_MSR MSR_DEADLINE, 0
    rdtsc
    add eax, TICKS * 5
    adc edx, 0
    mov ecx, MSR_DEADLINE
    wrmsr
    mov REG(LVT_TIMER), 0x5c
    rdmsr
    or eax, edx
    EQUAL(eax, 0)
    rdtsc
    mov esi, eax
    sti
1:  rdtsc
    sub eax, esi
    cmp eax, TICKS * 8
    jb 1b
    cli
    NONE_CAME

    /* -- x2APIC -- */
    REFUSED_READ(X2(ID)) /* not yet */
    REFUSED_WRITE(MSR_BASE, APIC + BASE_BSP + BASE_EXTD) /* EXTD without EN */
    REFUSED_WRITE(MSR_BASE, APIC + BASE_BSP + BASE_EN + 1)
    REFUSED_WRITE(MSR_BASE, APIC + BASE_BSP + BASE_EN, 0x80000000)
    WRITE_MSR MSR_BASE, APIC + BASE_BSP + BASE_EN + BASE_EXTD
    mov ecx, X2(ID)
    rdmsr
    EQUAL(eax, 0)
    mov ecx, X2(LDR)
    rdmsr
    EQUAL(eax, 1) /* cluster 0, member 0 */
    mov ecx, X2(SVR)
    rdmsr
    EQUAL(eax, 0x1ff) /* as it was */
    EQUAL(REG(VERSION), -1) /* the page is gone */
    /* Registers that are read only, write only, or not there, and their reserved bits */
    REFUSED_WRITE(X2(ID), 0)
    REFUSED_WRITE(X2(VERSION), 0)
    REFUSED_WRITE(X2(LDR), 1)
    REFUSED_WRITE(X2(PPR), 0)
    REFUSED_WRITE(X2(ISR(0x50)), 0)
    REFUSED_WRITE(X2(CURRENT_COUNT), 0)
    REFUSED_READ(X2(EOI))
    REFUSED_READ(X2(DFR))
    REFUSED_WRITE(X2(DFR), -1)
    REFUSED_READ(X2(ICR_HIGH))
    REFUSED_WRITE(X2(ICR_HIGH), 0)
    REFUSED_READ(0x83f) /* self IPI */
    REFUSED_READ(0x840)
    REFUSED_READ(0x8ff)
    REFUSED_WRITE(X2(EOI), 1)
    REFUSED_WRITE(X2(ESR), 1)
    REFUSED_WRITE(X2(TPR), 0x100)
    REFUSED_WRITE(X2(TPR), 0, 1)
    REFUSED_WRITE(X2(SVR), 0x80001ff)
    REFUSED_WRITE(X2(LVT_TIMER), 0x80000)
    REFUSED_WRITE(X2(DIVIDE), 4)
    REFUSED_WRITE(X2(ICR), 1 << 13)
    REFUSED_WRITE(0x83f, 0x150)
    /* Interrupts to itself */
    mov dword ptr [x2apic], 1
    FORGET
    WRITE_MSR 0x83f, 0x60
    mov ecx, X2(IRR(0x60))
    rdmsr
    test eax, BIT(0x60)
    CHECK(nz)
    LET_IN
    CAME(1, 0x60)
    WRITE_MSR X2(ICR), TO_SELF + 0x61
    LET_IN
    CAME(2, 0x61)
    WRITE_MSR X2(ICR), 0x62, 0
    LET_IN
    CAME(3, 0x62)
    WRITE_MSR X2(ICR), LOGICAL + 0x63, 1 /* cluster 0, member 0 */
    LET_IN
    CAME(4, 0x63)
    WRITE_MSR X2(ICR), 0x64, -1
    LET_IN
    CAME(5, 0x64)
    rdmsr
    EQUAL(edx, -1)
    FORGET
    WRITE_MSR X2(ICR), LOGICAL + 0x65, 0x10001 /* another cluster */
    WRITE_MSR X2(ICR), LOGICAL + 0x65, 2
    WRITE_MSR X2(ICR), 0x65, 9
    WRITE_MSR X2(ICR), TO_OTHERS + 0x65
    LET_IN
    NONE_CAME
    /* Its timer */
    WRITE_MSR X2(DIVIDE), 0xb
    WRITE_MSR X2(LVT_TIMER), 0x66
    WRITE_MSR X2(INITIAL_COUNT), TICKS
    WAIT
    CAME(1, 0x66)

    /* -- Ways between the modes -- */
    REFUSED_WRITE(MSR_BASE, APIC + BASE_BSP + BASE_EN) /* not back without being off between */
    WRITE_MSR MSR_BASE, APIC + BASE_BSP
    mov eax, 1
    cpuid
    test edx, 1 << 9 /* off: it shows in CPUID */
    CHECK(z)
    REFUSED_READ(X2(ID))
    EQUAL(REG(VERSION), -1)
    REFUSED_WRITE(MSR_BASE, APIC + BASE_BSP + BASE_EN + BASE_EXTD) /* not from off to x2APIC at once */
    WRITE_MSR MSR_BASE, APIC + BASE_BSP + BASE_EN
    EQUAL(REG(SVR), 0xff) /* as out of reset */
    EQUAL(REG(LVT_TIMER), MASKED)
    mov eax, 1
    cpuid
    test edx, 1 << 9
    CHECK(nz)
    /* Its page may lie elsewhere. */
    WRITE_MSR MSR_BASE, 0xfe100000 + BASE_BSP + BASE_EN
    EQUAL(dword ptr [0xfe100000 + SVR], 0xff)
    EQUAL(REG(SVR), -1)
    WRITE_MSR MSR_BASE, APIC + BASE_BSP + BASE_EN
    EQUAL(REG(SVR), 0xff)
    PASS

on_nmi:
    inc dword ptr [nmis]
    iretd

    .balign 16
vectors:
    .set number, 0x50
    .rept 0x40
    push number
    jmp on_interrupt
    .balign 16
    .set number, number + 1
    .endr

on_interrupt:
    push eax
    push ecx
    push edx
    mov eax, [esp + 12]
    mov [last_vector], eax
    inc dword ptr [interrupts]
    shl dword ptr [history], 8
    or [history], eax
    and dword ptr [history], 0xffffff
    cmp dword ptr [x2apic], 0
    jne 1f
    mov ecx, REG(PPR)
    mov [ppr_inside], ecx
    mov ecx, REG(ISR(0x50))
    mov [isr_inside], ecx
    cmp dword ptr [nest], 0
    je 2f
    mov dword ptr [nest], 0
    mov REG(ICR), TO_SELF + 0x7e
    mov REG(ICR), TO_SELF + 0x85
    LET_IN
2:  mov REG(EOI), 0
    jmp 3f
1:  WRITE_MSR X2(EOI), 0
3:  pop edx
    pop ecx
    pop eax
    add esp, 4
    iretd

CATCHERS32
    .balign 4
interrupts: .long 0
last_vector: .long 0
history: .long 0
nmis: .long 0
nest: .long 0
x2apic: .long 0
isr_inside: .long 0
ppr_inside: .long 0

TABLES_BEGIN
TABLES_END
