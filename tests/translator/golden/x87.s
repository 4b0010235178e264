# x87: load, arithmetic, store, exchange
    mov $0x200000, %ebx
    fldl (%rbx)
    fld1
    faddp
    fxch
    fstpl 8(%rbx)
    hlt
