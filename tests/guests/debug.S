/*
 * Debug registers: data breakpoints of every length against accesses around them, I/O and instruction
 * breakpoints, general detect, RF, single steps and breakpoints held back by MOV SS, REP strings, ICEBP.
 */
#include "tests/guests/guest.inc"

#define CR4_DE    (1 << 3)
#define PLACE     0x200010
#define DR6_FIXED 0xffff0ff0
#define DR7_FIXED 0x400
#define DR7_GD    (1 << 13)
#define DR6_BD    (1 << 13)
#define DR6_BS    (1 << 14)

.macro FORGET
    mov dword ptr [steps], 0
    mov dword ptr [dr6_seen], 0
.endm
/* So many debug exceptions so far, the last with these bits of DR6. */
#define STEPS(count, bits) \
    EQUAL(dword ptr [steps], count); EQUAL(dword ptr [dr6_seen], bits)

/* A breakpoint of DR0: R/W and LEN fields. */
.macro WATCH address, kind, length
    mov eax, \address
    mov dr0, eax
    mov eax, DR7_FIXED + 2 + (\kind << 16) + (\length << 18)
    mov dr7, eax
.endm
.macro WATCH_NONE
    mov eax, DR7_FIXED
    mov dr7, eax
.endm

START
    ENTER_PROTECTED
    CATCH_ALL32
    GATE32 EXC_DB, on_debug
    xor eax, eax
    mov dr6, eax
    mov dr7, eax

    /* Fixed bits */
    mov eax, dr6
    EQUAL(eax, DR6_FIXED)
    mov eax, dr7
    EQUAL(eax, DR7_FIXED)
    mov eax, -1
    mov dr6, eax
    mov eax, dr6
    and eax, ~(0xf | DR6_BD | DR6_BS | 1 << 15 | 1 << 12 | 1 << 11 | 1 << 16)
    EQUAL(eax, DR6_FIXED & ~(1 << 11 | 1 << 16))
    xor eax, eax
    mov dr6, eax

    /* DR4 and DR5 are DR6 and DR7, or undefined */
    mov eax, dr4
    EQUAL(eax, DR6_FIXED)
    mov eax, dr5
    EQUAL(eax, DR7_FIXED)
    mov eax, cr4
    or eax, CR4_DE
    mov cr4, eax
    TRY
    mov eax, dr4
    CAUGHT(EXC_UD, 0)
    TRY
    mov dr5, eax
    CAUGHT(EXC_UD, 0)

    /*
     * EBX: kind (1 write, 3 read and write) and length (0, 1, 3); ESI: log2 of the access's size; EDI: its
     * distance; EBP: 1 if it writes. A hit is expected in ECX.
     */
    mov ebx, offset kinds
next_kind:
    mov eax, PLACE
    mov dr0, eax
    movzx eax, word ptr [ebx]
    shl eax, 16
    or eax, DR7_FIXED + 2
    mov dr7, eax
    xor esi, esi
next_size:
    mov edi, -8
next_distance:
    xor ebp, ebp
next_write:
    FORGET
    /* Overlap: distance < length and distance + size > 0 */
    movzx eax, word ptr [ebx]
    shr eax, 2
    inc eax
    xor edx, edx
    cmp edi, eax
    setl dl
    mov ecx, esi
    mov eax, 1
    shl eax, cl
    add eax, edi
    cmp eax, 0
    setg cl
    and cl, dl
    movzx ecx, cl
    test ebp, ebp
    jnz 1f
    test byte ptr [ebx], 2
    jnz 1f
    xor ecx, ecx
1:  lea eax, [esi + esi]
    add eax, ebp
    mov eax, [accesses + eax * 4]
    lea edx, [edi + PLACE]
    call eax
    EQUAL(dword ptr [steps], ecx)
    EQUAL(dword ptr [dr6_seen], ecx)
    inc ebp
    cmp ebp, 2
    jb next_write
    inc edi
    cmp edi, 8
    jl next_distance
    inc esi
    cmp esi, 3
    jb next_size
    add ebx, 2
    cmp ebx, offset kinds_end
    jb next_kind

    /* A trap stands behind the instruction; a fault leaves no data breakpoint behind. */
    WATCH PLACE, 1, 3
    FORGET
    mov dword ptr [PLACE], 5
behind_store:
    STEPS(1, 1)
    EQUAL(dword ptr [return_ip], offset behind_store)
    /* Read-modify-write and PUSH are writes. */
    FORGET
    lock inc dword ptr [PLACE]
    STEPS(1, 1)
    mov ebp, esp
    mov esp, PLACE + 4
    FORGET
    push 7
    mov esp, ebp
    STEPS(1, 1)
    WATCH_NONE
    FORGET
    mov dword ptr [PLACE], 5
    STEPS(0, 0)

    /* In REP STOS the trap comes behind the iteration that hit. */
    WATCH PLACE, 1, 0
    FORGET
    mov edi, PLACE - 3
    mov ecx, 10
rep_string:
    rep stosb
    STEPS(1, 1)
    EQUAL(dword ptr [ecx_inside], 6)
    EQUAL(dword ptr [return_ip], offset rep_string)
    EQUAL(ecx, 0)
    EQUAL(edi, PLACE + 7)
    /* ... and behind the instruction if that was the last. */
    FORGET
    mov edi, PLACE - 3
    mov ecx, 4
    rep stosb
behind_rep:
    STEPS(1, 1)
    EQUAL(dword ptr [return_ip], offset behind_rep)
    /* MOVS reads it. */
    WATCH PLACE, 3, 0
    FORGET
    mov esi, PLACE - 1
    mov edi, PLACE + 0x100
    mov ecx, 8
    rep movsb
    STEPS(1, 1)
    EQUAL(dword ptr [ecx_inside], 6)

    /* I/O */
    WATCH 0x80, 2, 0
    FORGET
    in al, 0x80
behind_in:
    STEPS(1, 1)
    EQUAL(dword ptr [return_ip], offset behind_in)
    FORGET
    mov dx, 0x81
    in al, dx
    STEPS(0, 0)
    out 0x7f, ax /* both bytes count */
    STEPS(1, 1)
    mov eax, cr4
    and eax, ~CR4_DE
    mov cr4, eax

    /* Instruction breakpoints: before its own fault; RF of the frame lets it run */
    WATCH "offset bad_instruction", 0, 0
    FORGET
    TRY
bad_instruction:
    ud2
    CAUGHT(EXC_UD, 0)
    STEPS(1, 1)
    EQUAL(dword ptr [return_ip], offset bad_instruction)
    test dword ptr [flags_inside], FLAG_RF
    CHECK(z) /* the debug exception of a breakpoint: RF as it was */
    test dword ptr [fault_flags], FLAG_RF
    CHECK(nz) /* other faults: RF set */
    TRY
    int3
    CAUGHT(EXC_BP, 0)
    test dword ptr [fault_flags], FLAG_RF
    CHECK(z) /* traps: clear */

    /* On the first byte only; not on a prefix's successor */
    WATCH "offset second_byte + 1", 0, 0
    FORGET
second_byte:
    mov eax, 1
    STEPS(0, 0)

    /* POPF does not load RF; IRET does. */
    WATCH "offset behind_popf", 0, 0
    FORGET
    pushfd
    or dword ptr [esp], FLAG_RF
    popfd
behind_popf:
    nop
    STEPS(1, 1)
    WATCH "offset behind_iret", 0, 0
    FORGET
    pushfd
    or dword ptr [esp], FLAG_RF
    push cs
    push offset behind_iret
    iretd
behind_iret:
    nop
    STEPS(0, 0)
    jmp behind_iret_again
behind_iret_again:
    pushfd
    test dword ptr [esp], FLAG_RF /* gone with the instruction, and never seen by PUSHF */
    CHECK(z)
    popfd

    /* MOV SS holds back: the breakpoint of the next instruction for good, its own until behind the next */
    WATCH "offset behind_mov_ss", 0, 0
    FORGET
    mov eax, ss
    mov ss, eax
behind_mov_ss:
    nop
    STEPS(0, 0)
    mov [PLACE], ss
    WATCH PLACE, 3, 1
    FORGET
    mov ss, [PLACE]
    nop
behind_both:
    STEPS(1, 1)
    EQUAL(dword ptr [return_ip], offset behind_both)
    WATCH_NONE

    /* ... and single steps */
    FORGET
    mov ecx, ss
    pushfd
    or dword ptr [esp], FLAG_TF
    popfd
    mov ss, ecx
    nop
    pushfd
    and dword ptr [esp], ~FLAG_TF
    popfd
    STEPS(4, DR6_BS) /* mov and nop, pushfd, and, popfd */

    /* A step and a breakpoint at once */
    WATCH PLACE, 1, 0
    FORGET
    pushfd
    or dword ptr [esp], FLAG_TF
    popfd
    mov byte ptr [PLACE], 1
    mov eax, [dr6_seen]
    pushfd
    and dword ptr [esp], ~FLAG_TF
    popfd
    EQUAL(eax, DR6_BS + 1)
    WATCH_NONE

    /* INT clears TF for its handler, and the step comes behind its return. */
    GATE32 0x31, on_interrupt
    FORGET
    pushfd
    or dword ptr [esp], FLAG_TF
    popfd
    int 0x31
    nop
    pushfd
    and dword ptr [esp], ~FLAG_TF
    popfd
    test dword ptr [flags_inside_interrupt], FLAG_TF
    CHECK(z)
    STEPS(4, DR6_BS) /* nop, pushfd, and, popfd: IRET restored TF, which counts from the next on */

    /* ICEBP: a trap, DR6 says nothing */
    FORGET
    .byte 0xf1
behind_icebp:
    STEPS(1, 0)
    EQUAL(dword ptr [return_ip], offset behind_icebp)

    /* General detect: a fault before any access to a debug register; entry clears GD */
    FORGET
    mov eax, DR7_FIXED + DR7_GD
    mov dr7, eax
    mov ecx, 1
detected:
    mov ecx, dr0
    STEPS(1, DR6_BD)
    EQUAL(dword ptr [return_ip], offset detected)
    mov eax, dr7
    EQUAL(eax, DR7_FIXED)

    PASS

access_read1:
    mov al, [edx]
    ret
access_write1:
    mov [edx], al
    ret
access_read2:
    mov ax, [edx]
    ret
access_write2:
    mov [edx], ax
    ret
access_read4:
    mov eax, [edx]
    ret
access_write4:
    mov [edx], eax
    ret

on_interrupt:
    push eax
    pushfd
    pop dword ptr [flags_inside_interrupt]
    pop eax
    iretd

on_debug:
    inc dword ptr [steps]
    push eax
    mov [ecx_inside], ecx
    mov eax, [esp + 4]
    mov [return_ip], eax
    mov eax, [esp + 12]
    mov [flags_inside], eax
    mov eax, dr6
    xor eax, DR6_FIXED
    or [dr6_seen], eax
    xor eax, eax
    mov dr6, eax
    or dword ptr [esp + 12], FLAG_RF
    pop eax
    iretd

CATCHERS32
    .balign 4
accesses: .long access_read1, access_write1, access_read2, access_write2, access_read4, access_write4
kinds: .word 1, 3, 5, 7, 13, 15
kinds_end:
    .balign 4
return_ip: .long 0
ecx_inside: .long 0
flags_inside: .long 0
flags_inside_interrupt: .long 0
steps: .long 0
dr6_seen: .long 0

TABLES_BEGIN
TABLES_END
