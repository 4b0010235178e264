/*
 * A boot sector for the keyboard test: prints every byte that the keyboard controller hands over as
 * two hexadecimal digits on the first serial line, one byte a line, and ! once it is ready.
 */
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw $interrupt, 9 * 4      /* vector 9 is IRQ 1 */
    movw %ax, 9 * 4 + 2
    movb $0xfd, %al             /* only IRQ 1 */
    outb %al, $0x21
    movw $0x3fb, %dx            /* words of 8 bits */
    movb $0x03, %al
    outb %al, %dx
    movb $'!', %al
    call put
    call newline
idle:
    sti
    hlt
    jmp idle

interrupt:
    inb $0x60, %al
    movb %al, %bl
    shrb $4, %al
    call digit
    movb %bl, %al
    andb $15, %al
    call digit
    call newline
    movb $0x20, %al
    outb %al, $0x20
    iretw

digit:
    cmpb $10, %al
    jb 1f
    addb $'a' - '0' - 10, %al
1:  addb $'0', %al
    jmp put
newline:
    movb $'\n', %al
put:
    movw $0x3f8, %dx
    outb %al, %dx
    ret

    .org 510
    .word 0xaa55
