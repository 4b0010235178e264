# Accesses that share a check: a structure, then the stack
    mov $0x200000, %ebx
    mov (%rbx), %rax
    mov 8(%rbx), %rcx
    mov %rax, 16(%rbx)
    add %rcx, 24(%rbx)
    push %rax
    push %rcx
    pop %rdx
    pop %rsi
    hlt
