/*
 * From the boot sector to 64-bit C code. The BIOS loads the first sector at 0x7c00; it loads the
 * rest behind itself (INT 13h, function 42h), and the processor goes through protected to long
 * mode. Then the entry points that the C code cannot have: exceptions, interrupts, SYSCALL, and
 * the way to ring 3 and back.
 *
 * Page tables: the first GiB one to one in 2 MiB pages, and above it 2 MiB in 4 KiB pages for the
 * tests (kernel.c). All of it is open to ring 3.
 */
#define PAGE_OPEN    7 /* present, writable, user */
#define PAGE_LARGE   0x87
#define TEST_MEMORY  0x1000000 /* physical address of the 4 KiB pages */

    .section .boot, "awx"
    .code16
    .globl _start
_start:
    ljmp $0, $1f
1:  cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    sti
    mov $packet, %si
    mov $0x42, %ah
    int $0x13 /* drive: dl as the BIOS left it */
    jc failed
    cli
    lgdt gdt_pointer
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmp $0x28, $protected
failed:
    mov $0xf4, %dx
    mov $0x7e, %al
    out %al, %dx
    hlt

    .align 4
packet:
    .byte 16, 0
    .short _sectors
    .short 0, 0x7e0 /* to 0x7e0:0 */
    .quad 1
gdt_pointer:
    .short gdt_end - gdt - 1
    .long gdt

    .org 510
    .short 0xaa55

    .section .text
    .code32
protected:
    mov $0x10, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $_bss_start, %edi
    mov $_bss_end, %ecx
    sub %edi, %ecx
    xor %eax, %eax
    cld
    rep stosb
    mov $stack_end, %esp

    movl $(page_directories + PAGE_OPEN), page_root
    movl $(page_directory_low + PAGE_OPEN), page_directories
    movl $(page_directory_test + PAGE_OPEN), page_directories + 8
    movl $(page_table_test + PAGE_OPEN), page_directory_test
    mov $PAGE_LARGE, %eax
    mov $page_directory_low, %edi
    mov $512, %ecx
1:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 1b
    mov $(TEST_MEMORY + PAGE_OPEN), %eax
    mov $page_table_test, %edi
    mov $511, %ecx /* the last page stays absent */
1:  mov %eax, (%edi)
    add $0x1000, %eax
    add $8, %edi
    loop 1b

    mov $page_root, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %eax /* PAE */
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x101, %eax /* LME, SCE */
    wrmsr
    mov %cr0, %eax
    and $~0x60000000, %eax /* caches on */
    or $0x80010000, %eax   /* PG, WP */
    mov %eax, %cr0
    ljmp $8, $long_mode

    .code64
long_mode:
    mov $task, %eax /* its address goes into the descriptor */
    mov %ax, gdt_task + 2
    shr $16, %eax
    mov %al, gdt_task + 4
    mov $0x30, %ax
    ltr %ax
    movq $interrupt_stack_end, task + 4 /* RSP0 */
    lidt idt_pointer
    call kernel_main
    hlt

/* -- Entry points -- */

/* Exceptions that no test expects: number on the stack, to C. */
    .macro exception number, has_code
    .align 16
    .if !\has_code
    push $0
    .endif
    push $\number
    jmp unexpected
    .endm

    .globl exception_entries
    .align 16
exception_entries:
    .set vector, 0
    .rept 32
    exception vector, ((0x60227d00 >> vector) & 1)
    .set vector, vector + 1
    .endr
unexpected:
    mov (%rsp), %rdi
    mov 16(%rsp), %rsi
    call kernel_unexpected

/* #PF: resumes at page_fault_resume, as a handler that has repaired something would. */
    .globl page_fault_entry
page_fault_entry:
    push %rax
    mov page_fault_resume, %rax
    test %rax, %rax
    jz 1f
    mov %rax, 16(%rsp)
    pop %rax
    add $8, %rsp
    iretq
1:  pop %rax
    push $14
    jmp unexpected

    .globl interrupt_entry
interrupt_entry:
    iretq

    .globl syscall_entry
syscall_entry:
    sysretq

/* void run_in_user_mode(micro_fn *function, uint64_t count): calls function(count) in ring 3. */
    .globl run_in_user_mode
run_in_user_mode:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    pushfq
    mov %rsp, kernel_rsp
    mov %rdi, %rax
    mov %rsi, %rdi
    push $0x1b
    push $user_stack_end
    push $2
    push $0x23
    push $1f
    iretq
1:  call *%rax
    int $0x41
/* INT 41h, from ring 3 only: back to who called run_in_user_mode(). */
    .globl user_end_entry
user_end_entry:
    mov kernel_rsp, %rsp
    popfq
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .section .data
    .align 8
gdt:
    .quad 0
    .quad 0x00af9a000000ffff /* 08 code, 64-bit */
    .quad 0x00cf92000000ffff /* 10 data */
    .quad 0x00cff2000000ffff /* 18 data, ring 3 */
    .quad 0x00affa000000ffff /* 20 code, ring 3 */
    .quad 0x00cf9a000000ffff /* 28 code, 32-bit */
gdt_task:
    .quad 0x0000890000000067 /* 30 task state segment; the base is filled in */
    .quad 0
gdt_end:
idt_pointer:
    .short 256 * 16 - 1
    .quad idt

    .section .bss
    .align 4096
    .globl page_root
page_root:           .skip 4096
page_directories:    .skip 4096
page_directory_low:  .skip 4096
page_directory_test: .skip 4096
page_table_test:     .skip 4096
    .skip 16384
stack_end:
    .skip 8192
user_stack_end:
    .skip 4096
interrupt_stack_end:
    .globl idt
idt:        .skip 256 * 16
task:       .skip 104
kernel_rsp: .skip 8
    .globl page_fault_resume
page_fault_resume: .skip 8

    .section .note.GNU-stack, "", @progbits
