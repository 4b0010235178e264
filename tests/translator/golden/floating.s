# Code that floats: what it shows of its addresses, operands beside it, calls
    lea 1f(%rip), %rbx
    mov 0x200000(%rip), %rax
    add %rax, 0x200000(%rip)
    lea 1f(%rip), %r12
    call 1f
    call *%rbx
    hlt
1:  lea 1(%rax), %eax
    ret
