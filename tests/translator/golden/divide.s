# Division, which may fault, multiplication and a shift by a register
    mov $100, %eax
    xor %edx, %edx
    mov $7, %ecx
    div %ecx
    imul %edx, %eax
    shl %cl, %eax
    hlt
