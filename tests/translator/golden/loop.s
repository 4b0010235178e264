# A loop over an array: back edge, poll, flags that are dead at it
    mov $0x200000, %ebx
    mov $2, %ecx
    xor %eax, %eax
1:  add (%rbx), %eax
    add $4, %rbx
    dec %ecx
    jnz 1b
    hlt
