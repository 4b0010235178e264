# The library of test_shift.c: two pages of code and one of data behind them, all position-independent.
# It adds up what it sees of its own addresses.

.section .rodata
.code64
.balign 4096
.global library, library_end, library_callback, library_fault
library:
    # RDI times; RSI: another library's callback; the sum is in RAX
    push %rbx
    push %rbp
    mov %rdi, %rbx
1:  add library_data(%rip), %rax
    lea 1b(%rip), %rdx
    add %rdx, %rax
    addq $3, library_data + 8(%rip)
    addq library_data + 8(%rip), %rax
    call library_far
    call 2f
2:  pop %rdx
    xor %rdx, %rax
    lea 3f(%rip), %rbp # without a home
    lea 3f(%rip), %r12
    add %r12, %rax
    sub %rbp, %rax
    fldl library_data + 16(%rip)
    faddl library_data + 24(%rip)
    fstpl library_data + 24(%rip)
    call *%rsi
    movdqu library_data + 48(%rip), %xmm1
    paddq %xmm1, %xmm0
    rol $5, %rax
    cmp %rbx, library_data + 32(%rip)
    adc $0, %rax
3:  dec %rbx
    jnz 1b
    fnstenv library_data + 128(%rip) # with the last instruction's address
    pop %rbp
    pop %rbx
    ret
library_back:
    xor library_data + 8(%rip), %rax
    ret

    .org library + 0xff8
library_straddle: # into the next page
    imul $77, %rax, %rax
    add library_data + 40(%rip), %rax
    jmp library_back

library_far:
    test $1, %bl
    jz library_straddle
    push $library_far - library
    lea library_back(%rip), %rcx
    sub (%rsp), %rcx
    pop %rdx
    add %rcx, %rax
    ret

library_callback:
    lea library_callback(%rip), %rdx
    add %rdx, %rax
    sub (%rsp), %rax # the return address
    testb $3, library_data + 8(%rip)
    jnz 4f
    add $1, %rax
4:  ret

library_fault: # nothing is mapped there
    add library_data + 0x10000(%rip), %rax
    ret

    .org library + 0x2000
library_data:
library_end:
.text
