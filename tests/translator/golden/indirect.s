# A jump through a table in memory
    mov $0x200000, %ebx
    lea 1f(%rip), %rax
    mov %rax, 8(%rbx)
    mov $1, %ecx
    jmp *(%rbx, %rcx, 8)
    nop
1:  hlt
