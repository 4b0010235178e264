# Call and return, direct and through a register
    lea 2f(%rip), %rdx
    call 1f
    call *%rdx
    hlt
1:  lea 1(%rax), %eax
    ret
2:  lea 2(%rax), %eax
    ret
