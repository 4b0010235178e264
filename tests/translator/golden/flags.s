# Arithmetic whose flags are dead, used at once, and used after an instruction that keeps some of them
    mov $5, %eax
    mov $7, %ecx
    add %ecx, %eax
    sub $3, %ecx
    cmp %ecx, %eax
    setb %dl
    inc %eax
    adc %ecx, %edx
    shl $2, %edx
    rcr $1, %eax
    neg %ecx
    hlt
