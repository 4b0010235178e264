# Code for the window: accesses that are near share a look at their granule, flags stay in EFLAGS
# over loads and stores, and an operand is the guest's own address
    mov $0x200000, %edi
    mov $3, %ecx
    mov (%rdi), %rax
    add 8(%rdi), %rax
    mov %rax, 0x20(%rdi)
    add (%rdi,%rcx,8), %rax
    mov %rax, 8(%rdi,%rcx,8)
    push %rax
    pop %rdx
    adc %rdx, 0x10(%rdi)
    sub %fs:8(%rdi), %rax
    movups 0x10(%rdi), %xmm0
    addps 0x20(%rdi), %xmm0
    lock incl (%rdi)
    cmp 0x200008, %rdx
    cmovz 0x1000(%rdi), %rbx
    fldl (%rdi)
    hlt
