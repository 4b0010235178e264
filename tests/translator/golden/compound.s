# Shared checks of addresses that are more than one register: host addresses of ranges
    mov $0x200000, %ebx
    xor %ecx, %ecx
    movsd (%rbx,%rcx,8), %xmm0
    addsd 8(%rbx,%rcx,8), %xmm0
    inc %rcx
    movsd %xmm0, 8(%rbx,%rcx,8)
    mov $0x200100, %r12d
    mov (%r12), %rax
    add 8(%r12), %rax
    mov %rax, 16(%r12)
    add %fs:0x201000, %rax
    mov %rax, %fs:0x201008
    hlt
