# Guest registers that have no register of the host
    mov $1, %r12
    lea 3(%r12, %r13, 2), %r14
    add %r14, %r15
    xchg %r15, %rax
    hlt
