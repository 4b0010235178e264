# Guest loops of test_loops.c. RSI and RDI walk, R8 to R11 and RBP collect results, RBX is the number of
# rounds, RSP is a stack, R12 points to data that no loop leaves. Each ends by HLT.

.macro loop name
    .code64
    .global loop_\name, loop_\name\()_end
loop_\name:
.endm
.macro end_loop name
    hlt
loop_\name\()_end:
.endm

.section .rodata

# Two pointers with different steps, and a comparison with memory that never moves
loop products
    mov %rbx, (%rsp)
1:  movswl (%rsi), %eax
    movswl (%rdi), %ecx
    add $2, %rsi
    add $6, %rdi
    mov %ecx, %ebp
    imul %eax, %ecx
    add %ebp, %eax
    sar $5, %eax
    and $0x7f, %ecx
    imul %eax, %ecx
    add %ecx, %r8d
    subq $1, (%rsp)
    cmpq %rbp, (%rsp)
    ja 2f
    cmpl $0, (%rsp)
2:  jne 1b
end_loop products

# The comparison's operand moves
loop search
    mov $-1, %r9
1:  add $4, %rsi
    sub $1, %rbx
    jz 2f
    cmp %r9d, (%rsi)
    jne 1b
2:
end_loop search

# A chain of pointers, each element made just before
loop chain
1:  lea 24(%rsi), %rax
    mov %rax, (%rsi)
    mov (%rsi), %rsi
    sub $1, %rbx
    je 2f
    cmp %r9d, 12(%rsi)
    jne 1b
2:
end_loop chain

# Flags that INC and DEC leave alone live over the jump back
loop copy
1:  mov (%rsi), %al
    mov %al, (%rdi)
    inc %rsi
    inc %rdi
    dec %ebx
    jnz 1b
end_loop copy

loop modify
1:  add %rbx, (%rdi)
    adcl %ebx, 8(%rdi)
    sbb %r8, 4(%rdi)
    lea 11(%rdi), %rdi
    sub $1, %rbx
    jnz 1b
end_loop modify

# Members of a structure: one check for all
loop members
    lea (%rsi, %rbx, 8), %rbx
1:  mov (%rsi), %rax
    add 16(%rsi), %rax
    mov %rax, 8(%rsi)
    mov %al, -3(%rsi)
    add $8, %rsi
    cmp %rbx, %rsi
    jb 1b
end_loop members

# Stack frames
loop stack
1:  push %rsi
    push %rbx
    mov (%rsi), %eax
    add %eax, 8(%rsp)
    pop %r8
    pop %rax
    add %rax, %r9
    lea 2(%rsi), %rsi
    sub $1, %ebx
    jne 1b
end_loop stack

# A frame that stays where it is, across the border or not, and one that moves once
loop frame
1:  mov (%rdi), %rax
    add %rax, 0x18(%rdi)
    movups 0x20(%rdi), %xmm1
    paddd %xmm1, %xmm2
    movups %xmm2, 0x30(%rdi)
    adc 0x44(%rdi), %r8d
    testb $2, 0x4c(%rdi, %rbx)
    jz 2f
    incq 0x58(%rdi)
    sub %r8d, 0x70(%rsi)
2:  mov %r8d, 0x64(%rsi)
    cmp $2, %ebx
    jne 3f
    lea -9(%rsi), %rsi
3:  dec %ebx
    jnz 1b
end_loop frame

# Copies of the body are in two pages by turns; members by the host address of their range
loop alternate
    xor %ecx, %ecx
1:  mov 3(%rsi, %rcx, 2), %ax
    add 8(%rsi, %rcx, 2), %al
    mov %ax, 5(%rsi, %rcx, 2)
    movzbl %al, %ebp
    lea (%r12, %rbp, 4), %r9
    add (%r9), %r8d
    xchg %rsi, %rdi
    lea 1(%rcx), %rcx
    and $0x7f, %rcx
    sub $1, %rbx
    jne 1b
end_loop alternate

# More accesses in four copies than there are slots, the table's index unknown before
loop tables
1:  movzbl (%rsi), %ecx
    movzbl (%r12, %rcx), %eax
    mov 1(%r12, %rax, 2), %edx
    mov %al, (%rdi)
    and $0x3f, %edx
    xor (%r12, %rdx, 8), %r8
    add %edx, %r9d
    sub %rcx, %rdi
    add %rcx, %rdi
    add $2, %rsi
    inc %rdi
    dec %ebx
    jnz 1b
end_loop tables

# Written only sometimes, behind a branch that may leave
loop sparse
1:  mov (%rsi), %al
    cmp $0x55, %al
    je 2f
    mov %bl, (%rsi)
    add $3, %rsi
    sub $1, %rbx
    ja 1b
2:
end_loop sparse

# The jump back is not conditional; the carry goes round
loop carry
    stc
1:  adc (%rsi), %rax
    lea 8(%rsi), %rsi
    lea -1(%rbx), %rbx
    mov %rbx, %rcx
    jrcxz 2f
    jmp 1b
2:
end_loop carry

# Registers in memory, scaled indices, a table
loop indexed
    xor %r14d, %r14d
1:  movzbl (%rsi, %r14), %r15d
    mov (%r12, %r15, 4), %r13d
    xor %r13d, (%rdi, %r14, 4)
    add $1, %r14
    cmp %rbx, %r14
    jne 1b
end_loop indexed

# Two chains of carries live across the first accesses of three groups, which can be checked at the
# start; a fourth cannot, since its address is new
loop wide
    movabs $0x9e3779b97f4a7c15, %rdx
    xor %r8d, %r8d
    lea 1(%rsi), %r11
1:  mulx (%rsi), %rax, %r9
    adcx %r8, %rax
    mulx 8(%rsi), %rcx, %r8
    adcx -8(%rdi), %r9
    adox (%rdi), %rcx
    mulx (%r11), %rbp, %r13
    adox %rbp, %r8
    mov %rax, (%rdi)
    adcx %rcx, %r13
    lea 7(%r11), %r11
    mov %r13, 8(%rdi)
    mulx -1(%r11), %r14, %rbp
    adox %r14, %r10
    lea 5(%rsi), %rsi
    lea 3(%rdi), %rdi
    dec %rbx
    jnz 1b
end_loop wide

# Registers without a home used more than those that have one, which are read by faults only; a way
# out in the middle, and flags that the next iteration needs
loop homes
    xor %r15d, %r15d
1:  mov (%rsi), %r13d
    rol $7, %r13d
    mov %r13d, %r14d
    xor %r12d, %r14d
    adc %r14d, %r15d
    cmp $0xfffffffe, %r15d
    je 2f
    xor %r13, %r15
    shr $3, %r14d
    imul %r14, %r13
    test %r13, %r13 # some are undefined so far
    add %r13, (%rdi)
    lea 4(%rsi, %r14, 1), %r14
    sub %rsi, %r14
    mov %r14, 8(%rdi)
    add $3, %rsi
    add $5, %rdi
    dec %rbx
    jnz 1b
2:
end_loop homes

# Blocks that only faults could show their predecessors' flags: of operations on registers that hold
# them until then, or not, or of which nothing remains
loop passed
1:  cmp %r9d, %ebx
    jb 2f
    lea 1(%r8), %r8
2:  mov (%rsi), %eax
    mov -6(%rsi), %edx
    test $0x12, %al
    jz 3f
    lea 2(%r8), %r8
3:  mov %eax, (%rdi)
    add %edx, %r9d
    js 4f
    lea 3(%r8), %r8
4:  mov 1(%rdi), %ecx
    mov 4(%rsi), %r9d
    cmp %ecx, %r9d
    jle 5f
    lea 4(%r8), %r8
5:  mov 2(%rsi), %r9b
    mov %dl, 7(%rdi)
    and $0x0f, %r9b
    jnz 6f
    shr $3, %r10
    jc 6f
    lea 5(%r8), %r8
6:  lea (%r9, %r8, 8), %r10
    mov %r10, -3(%rdi)
    add $3, %rsi
    add $5, %rdi
    sub $1, %rbx
    ja 1b
end_loop passed

# Shifts, whose flags the next access shows if it fails
loop shifts
1:  mov (%rsi), %eax
    shr $5, %eax
    xor (%rdi), %eax
    xor %rax, %r8
    sar $3, %r8
    mov %r8, %rdx
    mov %al, (%rsi, %rbx)
    shl $7, %edx
    lea 2(%rsi), %rsi
    mov -4(%rdi, %rbx), %ecx
    jc 2f
    shr $1, %rcx
    add %rcx, 3(%rdi, %rbx, 2)
2:  shl $1, %r9
    movzbl 1(%rdi, %rbx, 4), %ecx
    inc %ecx
    adc %rcx, %r9
    add $3, %rdi
    sub $1, %ebx
    jg 1b
end_loop shifts

# Long numbers: a chain of carries through several pointers, and over the jump back
loop sums
    stc
1:  mov (%rsi), %rax
    adc 5(%rdi), %rax
    mov %rax, (%rdi, %rbx)
    lea 8(%rsi), %rsi
    mov (%rsi), %rcx
    adc %rcx, %r8
    sbb -3(%rdi), %r9
    lea 3(%rdi), %rdi
    adc %r8, 16(%rsi, %rbx, 2)
    lea (%r12, %rcx), %r10
    setc %cl
    mov (%rsp), %r11
    adc %r11, %r10
    mov %r10, -4(%rdi)
    dec %rbx
    jnz 1b
end_loop sums

loop strings
    cld
1:  lodsb
    stosb
    scasw
    sub $1, %ebx
    jg 1b
end_loop strings

loop vectors
1:  movaps (%rsi), %xmm0
    paddd 16(%rsi), %xmm0
    movups 3(%rdi), %xmm1
    pxor %xmm0, %xmm1
    movaps %xmm1, (%rdi)
    add $16, %rsi
    add $16, %rdi
    sub $1, %ebx
    jnz 1b
end_loop vectors

loop division
1:  movzwl (%rsi), %eax
    xor %edx, %edx
    divw (%rdi)
    add %eax, %r8d
    add %edx, %r9d
    add $2, %rdi
    sub $1, %ebx
    jnz 1b
end_loop division

# Calls that the trace follows
loop calls
1:  call 2f
    sub $1, %ebx
    jnz 1b
    hlt
2:  add (%rsi), %r8
    add $5, %rsi
    ret
end_loop calls

# Absolute addresses
loop absolute
1:  mov 0x200000, %eax
    add (%rsi), %eax
    mov %eax, 0x200000
    add $4, %rsi
    add $-1, %ebx
    jnz 1b
end_loop absolute

# A sum of products on the x87: the trace comes into the loop from before it, and has several iterations
loop dot
    fninit
    fldz
1:  fldl (%rsi)
    fmull 8(%rdi)
    add $8, %rsi
    faddp
    add $24, %rdi
    fstl (%rsp)
    fists -4(%rdi)
    sub $1, %rbx
    jnz 1b
    fstpt 8(%rsp)
end_loop dot

# Short inner loops in an outer one, with an index and with a pointer
loop nested
1:  mov $3, %ecx
    lea (%rsi, %rbx), %rdx
    movsd (%rsi), %xmm1
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
    sub $1, %rbx
    jnz 1b
end_loop nested

loop mmx
    fninit
1:  movq (%rsi), %mm0
    paddusb %mm1, %mm0
    movq %mm0, (%rdi)
    psubw 8(%rsi), %mm1
    add $8, %rsi
    add $8, %rdi
    sub $1, %rbx
    jnz 1b
    emms
end_loop mmx
