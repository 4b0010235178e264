/*
 * Task switches beyond those of task.S: by task gates in the GDT and for INT, exceptions and external
 * interrupts, through nested tasks, to 16-bit TSSs, with page tables and a local descriptor table of their own,
 * with the debug trap; which tasks are busy afterwards, and each way in which a switch can be refused, before or
 * after it has happened.
 */
#include "tests/guests/guest.inc"

/* 32-bit TSS: offsets */
#define LINK   0
#define CR3_   28
#define EIP    32
#define EFLAGS 36
#define EAX_   40
#define ECX_   44
#define ESP_   56
#define ES_    72
#define CS_    76
#define SS_    80
#define DS_    84
#define FS_    88
#define GS_    92
#define LDT_   96
#define TRAP   100

#define A_TSS  0x2100
#define B_TSS  0x2200
#define C_TSS  0x2300 /* 16 bits */
#define LDT_AT 0x2400
#define A      (EXTRA + 0x00)
#define B      (EXTRA + 0x08)
#define C16    (EXTRA + 0x10)
#define GATE_A (EXTRA + 0x18) /* task gate */
#define LDT_SELECTOR (EXTRA + 0x20)
#define GATE_X (EXTRA + 0x28) /* a task gate that changes */
#define ABSENT (EXTRA + 0x30)
#define ABSENT_DATA (EXTRA + 0x38)
#define BEYOND 0x1000
#define BUSY   2

.macro MAKE_TSS address, entry, stack
    mov edi, \address
    xor eax, eax
    mov ecx, 104 / 4
    rep stosd
    mov eax, cr3
    mov [\address + CR3_], eax
    mov dword ptr [\address + EIP], offset \entry
    mov dword ptr [\address + EFLAGS], 2
    mov dword ptr [\address + ESP_], \stack
    mov eax, DATA32
    mov [\address + ES_], eax
    mov dword ptr [\address + CS_], CODE32
    mov [\address + SS_], eax
    mov [\address + DS_], eax
    mov [\address + FS_], eax
    mov [\address + GS_], eax
    mov word ptr [\address + 102], 104
.endm
.macro FAR_CALL selector
    .byte 0x9a
    .long 0x12345678
    .word \selector
.endm
.macro FAR_JUMP selector
    .byte 0xea
    .long 0x12345678
    .word \selector
.endm
/* Bits of which of the tasks TASK, A, B, C16 are busy. */
.macro BUSY_IS_ line, tasks
    call which_busy
    cmp eax, \tasks
    CHECK_ e, \line
.endm
#define BUSY_IS(tasks) BUSY_IS_ __LINE__, tasks
.macro TASK_IS_ line, selector
    str eax
    cmp ax, \selector
    CHECK_ e, \line
.endm
#define TASK_IS(selector) TASK_IS_ __LINE__, selector
.macro REFUSED_ line, vector, error, instruction:vararg
    mov ebp, esp
    TRY
    \instruction
    CAUGHT_ "\vector", "\error", \line
    cmp esp, ebp
    CHECK_ e, \line
.endm
#define REFUSED(vector, error, ...) REFUSED_ __LINE__, QUOTE(vector), QUOTE(error), __VA_ARGS__

START
    ENTER_PROTECTED
    CATCH_ALL32
    MAKE_TSS TSS, unreached, STACK0
    mov eax, TASK
    ltr ax
    BUSY_IS(1)

    /* -- Nested by CALL: main, A, B, and back by IRET -- */
    MAKE_TSS A_TSS, task_a, STACK1
    MAKE_TSS B_TSS, task_b, STACK_IST
    FAR_CALL A
    EQUAL(dword ptr [count], 2)
    BUSY_IS(1)
    TASK_IS(TASK)
    /* A went on behind its IRET the second time; it is still nested by its flag in memory only. */
    test dword ptr [A_TSS + EFLAGS], FLAG_NT
    CHECK(z) /* IRET saved it without */
    EQUAL(word ptr [A_TSS + LINK], TASK)
    EQUAL(word ptr [B_TSS + LINK], A)

    /* -- By a task gate in the GDT: CALL and JMP; its offset and parameters mean nothing -- */
    MAKE_TSS A_TSS, come_back, STACK1
    mov eax, esp
    FAR_CALL GATE_A
    EQUAL(eax, esp) /* EAX came from our own TSS */
    EQUAL(dword ptr [seen_task], A)
    EQUAL(dword ptr [seen_busy], 3)
    BUSY_IS(1)
    MAKE_TSS A_TSS, jump_back, STACK1
    FAR_JUMP GATE_A
    EQUAL(dword ptr [seen_task], A)
    EQUAL(dword ptr [seen_busy], 2)
    test dword ptr [seen_flags], FLAG_NT
    CHECK(z)
    BUSY_IS(1)

    /* -- By INT, an exception with error code, and an external interrupt -- */
    mov dword ptr [IDT + 0x60 * 8], A << 16
    mov dword ptr [IDT + 0x60 * 8 + 4], TASK_GATE
    MAKE_TSS A_TSS, come_back, STACK1
    int 0x60
    EQUAL(dword ptr [seen_busy], 3)
    EQUAL(dword ptr [seen_esp], STACK1) /* nothing pushed */
    test dword ptr [TSS + EFLAGS], FLAG_RF
    CHECK(z)
    mov dword ptr [IDT + EXC_GP * 8], A << 16
    mov dword ptr [IDT + EXC_GP * 8 + 4], TASK_GATE
    MAKE_TSS A_TSS, skip_load, STACK1
    mov eax, BEYOND
1:  mov es, eax
behind_load:
    EQUAL(dword ptr [seen_esp], STACK1 - 4)
    EQUAL(dword ptr [seen_error], BEYOND)
    EQUAL(dword ptr [seen_ip], offset 1b)
    test dword ptr [seen_flags], FLAG_RF /* in the image of the task that faulted */
    CHECK(nz)
    CATCH32 EXC_GP
    MAKE_TSS A_TSS, come_back, STACK1
    mov dword ptr [seen_busy], 0
    mov al, 0x60
    out PORT_RAISE, al
    sti
    nop
    nop
    cli
    EQUAL(dword ptr [seen_busy], 3)
    BUSY_IS(1)

    /* -- A 16-bit TSS: by CALL and back; its selectors are four, the upper halves of registers are ones -- */
    mov edi, C_TSS
    xor eax, eax
    mov ecx, 44 / 4
    rep stosd
    mov word ptr [C_TSS + 14], offset task_c
    mov word ptr [C_TSS + 16], 2
    mov word ptr [C_TSS + 18], 0x5678
    mov word ptr [C_TSS + 26], STACK1
    mov word ptr [C_TSS + 34], DATA32
    mov word ptr [C_TSS + 36], CODE32
    mov word ptr [C_TSS + 38], DATA16 /* so that SP is all that counts */
    mov word ptr [C_TSS + 40], DATA32
    mov ebx, 0x12345678
    mov eax, FLAG_CF
    FAR_CALL C16
    EQUAL(dword ptr [seen_busy], 9)
    EQUAL(dword ptr [seen_eax], 0xffff5678)
    EQUAL(dword ptr [seen_fs], 0)
    EQUAL(ebx, 0x12345678)
    BUSY_IS(1)
    mov eax, DATA32
    mov fs, eax
    mov gs, eax
    EQUAL(word ptr [C_TSS], TASK)
    EQUAL(word ptr [C_TSS + 30], 0x4321) /* SI was saved */

    /* -- The debug trap of a TSS: behind the switch, before its first instruction -- */
    MAKE_TSS A_TSS, come_back, STACK1
    mov word ptr [A_TSS + TRAP], 1
    GATE32 EXC_DB, on_debug
    FAR_CALL A
    EQUAL(dword ptr [seen_ip], offset come_back)
    mov eax, dr6
    test eax, 1 << 15 /* BT */
    CHECK(nz)
    xor eax, eax
    mov dr6, eax
    CATCH32 EXC_DB

    /* -- A local descriptor table of the task's own -- */
    MAKE_TSS A_TSS, with_ldt, STACK1
    mov word ptr [A_TSS + LDT_], LDT_SELECTOR
    mov dword ptr [A_TSS + ES_], 4 /* its first segment */
    mov dword ptr [LDT_AT], 0x0000ffff
    mov dword ptr [LDT_AT + 4], 0x00409230 /* base 0x300000 */
    mov dword ptr [0x300000], 0xabcd
    FAR_CALL A
    EQUAL(dword ptr [seen_eax], 0xabcd)
    sldt eax
    EQUAL(ax, 0) /* ours again */

    /* -- Refused before the switch: nothing has changed -- */
    REFUSED(EXC_GP, TASK, FAR_CALL TASK) /* busy */
    REFUSED(EXC_GP, TASK, FAR_JUMP TASK)
    REFUSED(EXC_GP, A, FAR_CALL A+1) /* RPL above DPL */
    mov byte ptr [gdt + A + 5], 0x09
    REFUSED(EXC_NP, A, FAR_CALL A)
    mov byte ptr [gdt + A + 5], 0x89
    mov word ptr [gdt + A], 0x66
    REFUSED(EXC_TS, A, FAR_CALL A) /* too small */
    mov word ptr [gdt + A], 0x67
    mov word ptr [gdt + C16], 0x2a
    REFUSED(EXC_TS, C16, FAR_JUMP C16)
    mov word ptr [gdt + C16], 0x2b
    mov dword ptr [gdt + GATE_X], BEYOND << 16
    mov dword ptr [gdt + GATE_X + 4], TASK_GATE
    REFUSED(EXC_GP, BEYOND, FAR_CALL GATE_X)
    mov dword ptr [gdt + GATE_X], DATA32 << 16
    REFUSED(EXC_GP, DATA32, FAR_CALL GATE_X)
    mov dword ptr [gdt + GATE_X], (A + 4) << 16 /* in the LDT */
    REFUSED(EXC_GP, A + 4, FAR_CALL GATE_X)
    mov dword ptr [gdt + GATE_X], TASK << 16
    REFUSED(EXC_GP, TASK, FAR_JUMP GATE_X)
    mov dword ptr [gdt + GATE_X], A << 16
    mov dword ptr [gdt + GATE_X + 4], 0x0500
    REFUSED(EXC_NP, GATE_X, FAR_JUMP GATE_X)
    mov dword ptr [IDT + 0x60 * 8], BEYOND << 16
    REFUSED(EXC_GP, BEYOND, int 0x60)
    mov dword ptr [IDT + 0x60 * 8], TASK << 16
    REFUSED(EXC_GP, TASK, int 0x60)
    mov dword ptr [IDT + 0x60 * 8], A << 16
    mov byte ptr [gdt + A + 5], 0x09
    REFUSED(EXC_NP, A, int 0x60)
    mov byte ptr [gdt + A + 5], 0x89
    mov dword ptr [IDT + EXC_UD * 8], BEYOND << 16
    mov dword ptr [IDT + EXC_UD * 8 + 4], TASK_GATE
    REFUSED(EXC_GP, BEYOND + 1, ud2) /* EXT */
    CATCH32 EXC_UD
    BUSY_IS(1)
    TASK_IS(TASK)
    /* IRET with NT: to something that is no busy TSS is #TS */
    .macro BAD_LINK line, link, error
    mov word ptr [TSS + LINK], \link
    pushfd
    or dword ptr [esp], FLAG_NT
    popfd
    REFUSED_ \line, EXC_TS, \error, iretd
    pushfd
    and dword ptr [esp], ~FLAG_NT
    popfd
    .endm
    BAD_LINK __LINE__, A, A /* not busy */
    BAD_LINK __LINE__, 0, 0
    BAD_LINK __LINE__, BEYOND, BEYOND
    BAD_LINK __LINE__, DATA32, DATA32
    BAD_LINK __LINE__, (A+4), (A+4)
    BUSY_IS(1)

    /* -- Refused after the switch: the exception is the new task's, before its first instruction -- */
    .macro BAD_TASK line, field, value, vector, error
    MAKE_TSS A_TSS, unreached, STACK1
    mov dword ptr [A_TSS + \field], \value
    mov dword ptr [fault_vector], -1
    mov dword ptr [fault_resume], offset 77f
    FAR_CALL A
    jmp 78f
77: LOAD_DATA DATA32
    cmp dword ptr [fault_vector], \vector
    CHECK_ e, \line
    cmp dword ptr [fault_error], \error
    CHECK_ e, \line
    cmp dword ptr [fault_ip], offset unreached
    CHECK_ e, \line
    TASK_IS_ \line, A
    BUSY_IS_ \line, 3
    iretd /* nested: back to the task that called */
78:
    .endm
    BAD_TASK __LINE__, ES_, DATA32+3, EXC_TS, DATA32
    BAD_TASK __LINE__, DS_, BEYOND, EXC_TS, BEYOND
    BAD_TASK __LINE__, FS_, TASK, EXC_TS, TASK
    BAD_TASK __LINE__, GS_, ABSENT, EXC_NP, ABSENT
    /* The LDT, the code and the stack segment: the handler needs both, so a task gate takes the exception. */
    mov dword ptr [IDT + EXC_TS * 8], B << 16
    mov dword ptr [IDT + EXC_TS * 8 + 4], TASK_GATE
    mov dword ptr [IDT + EXC_NP * 8], B << 16
    mov dword ptr [IDT + EXC_NP * 8 + 4], TASK_GATE
    mov dword ptr [IDT + EXC_SS * 8], B << 16
    mov dword ptr [IDT + EXC_SS * 8 + 4], TASK_GATE
    .macro BAD_BASE line, field, value, error
    MAKE_TSS A_TSS, unreached, STACK1
    MAKE_TSS B_TSS, rescue, STACK_IST
    mov dword ptr [A_TSS + \field], \value
    mov dword ptr [fault_resume], offset 77f
    FAR_CALL A
77: TASK_IS_ \line, TASK
    BUSY_IS_ \line, 1
    cmp dword ptr [seen_error], \error
    CHECK_ e, \line
    cmp dword ptr [seen_busy], 7
    CHECK_ e, \line
    cmp word ptr [B_TSS + LINK], A
    CHECK_ e, \line
    .endm
    BAD_BASE __LINE__, LDT_, CODE32, CODE32
    BAD_BASE __LINE__, LDT_, BEYOND, BEYOND
    BAD_BASE __LINE__, CS_, 0, 0
    BAD_BASE __LINE__, CS_, DATA32, DATA32
    BAD_BASE __LINE__, CS_, BEYOND, BEYOND
    BAD_BASE __LINE__, CS_, ABSENT, ABSENT
    BAD_BASE __LINE__, CS_, (CODE32+3), CODE32 /* RPL is the new level */
    BAD_BASE __LINE__, SS_, 0, 0
    BAD_BASE __LINE__, SS_, CODE32, CODE32
    BAD_BASE __LINE__, SS_, USERDATA, (USERDATA-3)
    BAD_BASE __LINE__, SS_, ABSENT_DATA, ABSENT_DATA

    /* -- Paging: each task with its own tables; a page of the new TSS that is missing is the old task's fault -- */
    CATCH_ALL32
    mov eax, cr4
    or eax, CR4_PSE
    mov cr4, eax
    mov edi, TABLES
    xor eax, eax
    mov ecx, 0x2000 / 4
    rep stosd
    mov dword ptr [TABLES], 0x83
    mov dword ptr [TABLES + 4], 0x83
    mov dword ptr [TABLES + 0x1000], 0x83
    mov dword ptr [TABLES + 0x1004], 0x400083
    mov dword ptr [0x300010], 1
    mov dword ptr [0x700010], 2
    mov eax, TABLES
    mov cr3, eax
    mov [TSS + CR3_], eax /* no switch saves it */
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    EQUAL(dword ptr [0x700010], 1)
    MAKE_TSS A_TSS, with_tables, STACK1
    mov dword ptr [A_TSS + CR3_], TABLES + 0x1000
    FAR_CALL A
    EQUAL(dword ptr [seen_eax], 2)
    EQUAL(dword ptr [0x700010], 1)
    mov eax, cr3
    EQUAL(eax, TABLES)
    mov byte ptr [gdt + A + 4], 0x80 /* base 0x802100 */
    mov ebp, esp
    TRY
    FAR_CALL A
    CAUGHT(EXC_PF, 0)
    EQUAL(esp, ebp)
    mov eax, [fault_cr2]
    and eax, ~0xfff
    EQUAL(eax, 0x802000)
    TASK_IS(TASK)
    BUSY_IS(1)
    PASS
unreached:
    FAIL

/* The bits for TASK, A, B, C16 in EAX */
which_busy:
    xor eax, eax
    .irp task, C16, B, A, TASK
    add eax, eax
    test byte ptr [gdt + \task + 5], BUSY
    jz 1f
    inc eax
1:
    .endr
    ret

.macro SEE
    call which_busy
    mov [seen_busy], eax
    str eax
    movzx eax, ax
    mov [seen_task], eax
    pushfd
    pop dword ptr [seen_flags]
    mov [seen_esp], esp
.endm

task_a:
    inc dword ptr [count]
    BUSY_IS(3)
    TASK_IS(A)
    FAR_CALL B
    BUSY_IS(3)
    TASK_IS(A)
    pushfd
    test dword ptr [esp], FLAG_NT /* still nested */
    CHECK(nz)
    add esp, 4
    iretd
task_b:
    inc dword ptr [count]
    BUSY_IS(7)
    TASK_IS(B)
    REFUSED(EXC_GP, A, FAR_CALL A) /* what is nested cannot be called */
    REFUSED(EXC_GP, TASK, FAR_JUMP TASK)
    iretd

come_back:
    SEE
    clts
    iretd
jump_back:
    SEE
    clts
    FAR_JUMP TASK

/* #GP by a task gate: on behind the load that faulted */
skip_load:
    mov [seen_esp], esp
    pop dword ptr [seen_error]
    mov eax, [TSS + EIP]
    mov [seen_ip], eax
    mov eax, [TSS + EFLAGS]
    mov [seen_flags], eax
    mov dword ptr [TSS + EIP], offset behind_load
    iretd

rescue:
    SEE
    pop dword ptr [seen_error]
    /* A never ran: end it, and return to the task that called it. */
    and byte ptr [gdt + A + 5], ~BUSY
    mov word ptr [B_TSS + LINK], A
    mov eax, [fault_resume]
    mov [TSS + EIP], eax
    FAR_JUMP32 CODE32, 1f
1:  mov byte ptr [gdt + TASK + 5], 0x89
    FAR_JUMP TASK

task_c:
    mov [seen_eax], eax
    call which_busy
    mov [seen_busy], eax
    mov eax, fs
    mov [seen_fs], eax
    mov esi, 0x4321
    iretd

with_ldt:
    mov eax, es:[0]
    mov [seen_eax], eax
    iretd

with_tables:
    mov eax, [0x700010]
    mov [seen_eax], eax
    iretd

on_debug:
    push eax
    mov eax, [esp + 4]
    mov [seen_ip], eax
    pop eax
    iretd

CATCHERS32
    .balign 4
count: .long 0
seen_busy: .long 0
seen_task: .long 0
seen_flags: .long 0
seen_esp: .long 0
seen_eax: .long 0
seen_fs: .long 0
seen_ip: .long 0
seen_error: .long 0

TABLES_BEGIN
    .quad DESCRIPTOR(0x67, 0x89, 0) + (A_TSS << 16)
    .quad DESCRIPTOR(0x67, 0x89, 0) + (B_TSS << 16)
    .quad DESCRIPTOR(0x2b, 0x81, 0) + (C_TSS << 16)
    .quad (A << 16) + (0x8500 << 32)
    .quad DESCRIPTOR(0x17, 0x82, 0) + (LDT_AT << 16)
    .quad 0
    .quad DESCRIPTOR(0xfffff, 0x1b, 0xc) /* not present: code, data */
    .quad DESCRIPTOR(0xfffff, 0x13, 0xc)
TABLES_END
