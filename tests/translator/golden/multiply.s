# Long multiplication: MULX takes RDX, so addresses of its operands are in RCX
    mov $0x200000, %ebx
    xor %esi, %esi
    mulx (%rbx), %r8, %r9
    adcx 32(%rbx), %r8
    mulx 8(%rbx), %r10, %r11
    adox %r10, %r9
    mulx 16(%rbx), %r12, %rax
    mulx 24(%rbx), %rdi, %r13
    mov %rax, 40(%rbx)
    hlt
