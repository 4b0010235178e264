# Guest programs of test_translate.c. Each ends by HLT; addresses are those of guest.h.

.macro program name, bits
    .code\bits
    .balign 64 # as at GUEST_CODE
    .global program_\name, program_\name\()_end
program_\name:
.endm
.macro end_program name
program_\name\()_end:
.endm

.section .rodata

# Nested loops, both flag-dead and flag-live back edges
program loops, 64
    mov $100, %ecx
    xor %eax, %eax
1:  mov $37, %edx
2:  lea (%rax, %rdx, 2), %rax
    dec %edx
    jnz 2b
    adc $3, %eax
    rcl $1, %eax
    sub $1, %ecx
    ja 1b
    hlt
end_program loops

# Both ways out of a block lead to blocks that need no flags, and the two jumps stand side by side
program ways_out, 64
    mov $60, %esi
1:  test $1, %esi
    jz 2f
    xor %ecx, %ecx
    add $3, %rdx
    jmp 3f
2:  xor %ecx, %ecx
    add $5, %rdi
3:  dec %esi
    jnz 1b
    hlt
end_program ways_out

# The data pointer of a block's first instruction, before which checks of a chain of carries are done
program first_pointer, 64
    mov $0x200000, %edi
    mov $0x201000, %ebx
    mov $0x202000, %esi
    mov $5, %ecx
    fninit
1:  fldl 0x28(%rdi)
    cmp %rdi, 8(%rbx)
    adcq $3, 0x38(%rsi)
    adcq $5, 0x48(%rsi)
    adc %rax, %rax
    fnstenv 0x100(%rbx)
    add 0x114(%rbx), %rax # the pointer
    fstp %st(0)
    fldcw 0x100(%rbx)
    dec %ecx
    jnz 1b
    hlt
end_program first_pointer

# Calls, returns, indirect calls and jumps through a table
program calls, 64
    mov $0x200000, %rbx
    lea 1f(%rip), %rax
    mov %rax, (%rbx)
    lea 2f(%rip), %rax
    mov %rax, 8(%rbx)
    lea 3f(%rip), %rax
    mov %rax, 16(%rbx)
    xor %esi, %esi
    mov $3000, %r12d
4:  mov %r12d, %eax
    xor %edx, %edx
    mov $3, %ecx
    div %ecx
    call *(%rbx, %rdx, 8)
    call 5f
    dec %r12d
    jnz 4b
    hlt
1:  add $1, %rsi
    ret
2:  lea 1b(%rip), %rax
    jmp *%rax
3:  push %rsi
    addq $5, (%rsp)
    pop %rsi
    ret
5:  cmp $100, %rsi
    jb 6f
    imul $3, %rsi, %rdi
    ret
6:  call 1b
    ret $0
end_program calls

# Returns to where no call was, or another one with the stack pointer at the same place
program returns, 64
    mov $0x210000, %rbx # a second stack: the same places in tables
    xor %esi, %esi
    mov $500, %r12d
1:  call skips
    add $1, %esi
    add $2, %esi
    call pushes
    add $4, %esi
    lea coroutine(%rip), %rax # two stacks by turns
    mov %rax, (%rbx)
    call switch
    add $8, %esi
    call switch
    add $16, %esi
    mov $0x20000, %ecx # frames further apart than a table reaches, and more than it has
    call recurse
    mov $700, %ecx
    call recurse_near
    call longjmp_1
    add $32, %esi # never
2:  imul $3, %rsi
    call drops
    jmp 3f
    .balign 64
    .skip 64 - 5
3:  call changes
changed: # another line
    add $0x100, %esi
    mov %rsp, %rbp # a return address that a call left below the stack pointer
    call nothing
    sub $8, %rsp
    lea 3f(%rip), %rax
    xchg %rax, (%rsp)
    ret
3:  add %eax, %esi # what it was
    mov $3, %ecx
    call nothing
    sub $8, %rsp
    dec %ecx
    jz 4f
    ret # behind the call again, with the same stack pointer
4:  add $64, %esi
    mov %rbp, %rsp
    dec %r12d
    jnz 1b
    hlt
skips:
    addq $3, (%rsp) # the ADD behind the call
    ret
pushes:
    lea 1f(%rip), %rax
    push %rax
    add $128, %esi
    ret
1:  ret
switch: # to the stack in RBX
    xchg %rsp, %rbx
    ret
coroutine:
    add $3, %rsi
    call switch
    imul $5, %rsi
    xchg %rsp, %rbx
    ret
recurse:
    sub $0x1000, %ecx
    jb 1f
    mov %rsp, %rdx
    lea 0x300000(%rcx), %rsp # each frame at the same place of a page
    push %rdx
    call recurse
    pop %rsp
    lea 1(%rsi, %rsi, 2), %rsi
1:  ret
recurse_near:
    dec %ecx
    js 1f
    call recurse_near
    add %ecx, %esi
    inc %ecx
1:  ret
longjmp_1:
    call 1f
    add $512, %esi # never
1:  add $16, %rsp
    lea 2b(%rip), %rax
    jmp *%rax
drops:
    push $7
    call 1f
    add $5, %esi
    ret
1:  add $6, %esi
    ret $8
changes: # the constant behind the call
    mov %r12b, changed + 2(%rip)
nothing:
    ret
end_program returns

# A return with the stack pointer and to the address that a call noted in another mode: behind it SSE
# instructions are not available
program modes, 64
    mov $100, %ebx
1:  call 2f
    paddd %xmm0, %xmm1
    dec %ebx
    jnz 1b
    hlt
2:  cmp $1, %ebx
    jne 3f
    mov %cr0, %rax
    or $8, %eax
    mov %rax, %cr0
3:  ret
end_program modes

# Fills and copies across page boundaries; frames at every distance from a boundary
program memory, 64
    mov $0x200000 + 0x1000 - 64, %rsp
    mov $200, %ecx
1:  push %rcx
    mov %rcx, -8(%rsp)
    mov %rcx, -16(%rsp)
    mov -8(%rsp), %rax
    add %rax, -16(%rsp)
    mov -16(%rsp), %rdx
    add %rdx, %rbx
    mov %ebx, -20(%rsp)
    movzbl -19(%rsp), %esi
    add %rsi, %rbp
    add $3, %rsp
    dec %ecx
    jnz 1b
    hlt
end_program memory

# Writes into code that has run: an immediate, then the loop itself
program modify, 64
    mov $50, %ecx
    xor %ebx, %ebx
1:  mov $1, %eax          # its immediate is changed below
    add %eax, %ebx
    incl 1b+1(%rip)
    dec %ecx
    jnz 1b
    lea 3f(%rip), %rdi
    mov $20, %ecx
2:  call 3f
    movb $0x90, (%rdi)    # the first byte of the function becomes NOP
    movb $0x90, 1(%rdi)
    dec %ecx
    jnz 2b
    hlt
3:  inc %ebx              # two bytes
    add $2, %ebx
    ret
end_program modify

# Data in the same line as code
program beside, 64
    mov $1000, %ecx
1:  incl 2f(%rip)
    mov 2f(%rip), %eax
    dec %ecx
    jnz 1b
    hlt
2:  .long 0
end_program beside

# Repeated strings: all sizes, counts from none on, both directions, over page borders, overlapping,
# with live flags, into code that comes next, and whole pages
program strings, 64
    mov $0x204000, %r8
    mov $3000, %r9d
    mov $0x123456789abcdef1, %r11
1:  imul $37, %r9d, %ebx
    and $0x1fff, %ebx
    lea (%r8, %rbx), %rdi
    lea 5(%r8, %rbx), %rsi
    test $4, %r9d
    jz 2f
    xchg %rsi, %rdi
2:  test $16, %r9d
    jz 3f
    std
3:  rol $7, %r11
    mov %r11, %rax
    mov %r9d, %ecx
    and $63, %ecx
    add %r9, %r11
    rep stosq
    adc %rdi, %r10
    mov $11, %ecx
    rep stosl
    mov $3, %ecx
    rep stosw
    mov $2, %ecx
    rep stosb
    sub %rdi, %r10
    mov %r9d, %ecx
    and $31, %ecx
    rep movsb
    sbb %rsi, %r10
    mov $20, %ecx
    rep movsq
    mov $1, %ecx
    rep movsl
    mov $7, %ecx
    rep movsw
    add %rdi, %r10
    add %rcx, %r10
    cld
    lea 4f + 1(%rip), %rdi
    mov %r9d, %eax
    mov $1, %ecx
    rep stosb
4:  mov $0, %dl
    add %dl, %r10b
    dec %r9d
    jnz 1b
    mov $5, %ebx
5:  lea (%r8), %rdi
    mov $512, %ecx
    rep stosq
    lea 0x1000(%r8), %rsi
    lea 0x3000(%r8), %rdi
    mov $4096, %ecx
    rep movsb
    lea 0x3000(%r8), %rsi
    lea 0x3003(%r8), %rdi
    mov $4096, %ecx
    rep movsb
    dec %ebx
    jnz 5b
    hlt
end_program strings

# Flags that live across memory accesses, partial writers, conditions of all kinds
program flags, 64
    mov $0x200000, %rsi
    mov $500, %ecx
1:  cmp $250, %ecx
    mov %rcx, (%rsi)
    setb %al
    mov 8(%rsi), %rdx
    sbb %rdx, %rdx
    inc %rbx
    mov %rdx, 16(%rsi)
    adc %rdx, %rbx
    bt $3, %rcx
    mov %al, 24(%rsi)
    rcr $1, %rbx
    pushf
    pop %rdx
    and $0xfff, %edx
    add %rdx, %rdi
    test %ecx, %ecx
    js 2f
    cmovpe %rcx, %r8
    setle %r9b
    lahf
    add %ah, %bl
    dec %ecx
    jns 1b
2:  hlt
end_program flags

# SSE in a loop, with calls and a helper between
program vectors, 64
    mov $0x200000, %rsi
    mov $300, %ecx
    cvtsi2sd %rcx, %xmm1
    movsd %xmm1, %xmm3
1:  movups 3(%rsi), %xmm0
    paddd %xmm0, %xmm2
    mulsd %xmm1, %xmm3
    sqrtsd %xmm3, %xmm3
    divsd %xmm1, %xmm3
    pshufb %xmm2, %xmm4
    movaps %xmm2, (%rsi)
    cpuid
    mov $0x200000, %rsi
    dec %r12d
    movd %r12d, %xmm5
    pinsrq $1, %r12, %xmm4
    comisd %xmm1, %xmm3
    adc $0, %r13
    call 2f
    cmp $-300, %r12d
    jne 1b
    hlt
2:  addps %xmm4, %xmm6
    ret
end_program vectors

# Loops that the trace has several iterations of: the x87 entered from before the loop, short ones
# within another, the end of a page
program float_loops, 64
    fninit
    mov $0x200fc0, %esi
    mov $0x201fe8, %edi
    mov $50, %ebx
    fldz
1:  fldl (%rsi)
    fmull 8(%rdi)
    add $8, %rsi
    faddp
    add $24, %rdi
    fstl (%rsp)
    fists -4(%rdi)
    sub $1, %ebx
    jnz 1b
    fstpt -32(%rsp)
    fnstenv -64(%rsp)
    mov $0x200f00, %esi
    mov $40, %ebx
4:  mov $3, %ecx
    lea (%rsi, %rbx), %rdx
    cvtsi2sd %ebx, %xmm1
2:  movsd 16(%rsi, %rcx, 8), %xmm0
    mulsd %xmm1, %xmm0
    addsd -8(%rdx), %xmm0
    movsd %xmm0, (%rdx)
    add $8, %rdx
    sub $1, %ecx
    ja 2b
3:  movups (%rdi), %xmm2
    paddw %xmm0, %xmm2
    movups %xmm2, 5(%rdi)
    add $7, %rdi
    add $1, %ecx
    test $3, %cl
    jnz 3b
    add $12, %rsi
    sub $1, %ebx
    jnz 4b
    mov $300, %ebx
5:  movq (%rsi), %mm0
    paddusb %mm1, %mm0
    movq %mm0, (%rdi)
    psubw 8(%rsi), %mm1
    add $8, %rsi
    add $8, %rdi
    sub $1, %ebx
    jnz 5b
    emms
    hlt
end_program float_loops

# A store that faults in the middle of a loop: state at the fault
program fault, 64
    mov $0x6ff000, %rdi
    mov $7, %eax
1:  add %rdi, %rbx
    mov %rax, (%rdi)
    add $512, %rdi
    sub $3, %rax
    jmp 1b
end_program fault

# 32-bit: segments, stack, string instructions, 16-bit operands
program protected, 32
    mov $0x200000, %edi
    mov $100, %ecx
    mov $0x12345678, %eax
    rep stosl
    mov $0x200000, %esi
    mov $0x200100, %edi
    mov $64, %ecx
    rep movsb
    mov $50, %ecx
1:  push %ecx
    mov %cx, %ax
    imul %ax, %dx
    xchg %ah, %al
    mov %dl, %ah
    push %ax
    pop %bp
    addw $7, (%esi)
    pop %ecx
    lea (%esi, %ecx, 2), %ebx
    bts %ecx, (%esi)
    loop 1b
    hlt
end_program protected

# 16-bit real mode: segments with bases, wrap-around of addresses
program real, 16
    mov $0x100, %bx
    mov $200, %cx
1:  mov %cx, (%bx)
    add (%bx), %ax
    mov %ax, %es:2(%bx)
    push %ax
    pop %dx
    xor %dh, %dl
    inc %bx
    cs cmpb $0, 0x10
    call 2f
    loop 1b
    mov $0xffff, %bx
    mov 1(%bx), %si
    hlt
2:  add %dl, %ah
    ret
end_program real

.section .note.GNU-stack, "", @progbits
