# Vectors: scalar, packed, memory operands with and without alignment, conversion
    mov $0x200000, %ebx
    movsd (%rbx), %xmm0
    addsd 8(%rbx), %xmm0
    movaps 16(%rbx), %xmm1
    mulps %xmm0, %xmm1
    paddd %xmm1, %xmm9
    movups %xmm9, 36(%rbx)
    cvttsd2si %xmm0, %eax
    ucomisd %xmm1, %xmm0
    ja 1f
    pxor %xmm2, %xmm2
1:  hlt
