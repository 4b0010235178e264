# Single string instructions, and a repeated one
    cld
    mov $0x200000, %esi
    mov $0x210000, %edi
    lodsl
    stosl
    movsq
    mov $64, %ecx
    rep movsb
    hlt
