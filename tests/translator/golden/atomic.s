# LOCKed read-modify-write and compare-exchange
    mov $0x200000, %ebx
    mov $1, %eax
    lock xadd %eax, (%rbx)
    lock cmpxchg %ecx, 8(%rbx)
    mfence
    hlt
