# One access with a check of its own: load, store, read-modify-write, byte of a high register
    mov $0x200000, %ebx
    mov $0x210000, %esi
    mov $0x220000, %edi
    mov (%rbx), %eax
    mov %eax, 8(%rsi)
    addl $3, 0x100(%rdi)
    mov %ah, 4(%rbx, %rax)
    hlt
