/*
 * Option ROM that starts a kernel after the firmware has set the machine up.
 *
 * SeaBIOS finds it as a fw_cfg "genroms/" file and boots it through its PnP boot entry vector
 * (Plug and Play BIOS 1.0a, section 3). It pulls the pieces into memory by fw_cfg DMA and writes the
 * memory map to where the information for the kernel wants it. A Linux kernel then gets the screen
 * described and is entered by the 32- or 64-bit boot protocol (Documentation/arch/x86/boot.rst); others
 * are entered in flat protected mode with two registers set (Multiboot, PVH).
 *
 * A Linux kernel that doppel unpacks (bios/linux_payload.h) is pulled to a place of its own, relocated
 * and entered where its own decompressor would enter it. If it cannot be pulled, the first piece, which
 * is the packed kernel, is what starts; otherwise that piece is left out.
 *
 * bios/kernel.c patches the fields of `parameters` and the checksum before it hands out the image.
 */
    .code16
    .text
    .globl _start

    .set BOOT_PARAMS, 0x10000      /* also the segment 0x1000 */
    .set PAGE_TABLES, 0x30000      /* PML4, PDPT, four page directories */
    .set SCRATCH, 0x7000           /* one fw_cfg DMA descriptor, then the GDT pointer */
    .set PLACE, 0x7020             /* of the unpacked kernel (struct place_answer), 0: there is none */
    .set PLACE_BIAS, PLACE + 4     /* from an address in its table to the field's place in memory */
    .set PLACE_DELTA, PLACE + 8    /* by how much it is moved in virtual memory */
    .set PLACE_SIZE, 12
    .set VBE_INFO, 0x7200          /* blocks of VBE functions 0 and 1, below the boot sector's place */
    .set ENTRY_REGISTERS, 2
    .set LOADFLAGS, 0x211          /* in boot_params */
    .set KASLR_FLAG, 2
    .set TABLE_ZEROS_INVERSE, 3    /* bios/linux_payload.c */

    .set DMA_READ, 2               /* fw_cfg: bits of a descriptor's first field */
    .set DMA_SELECT, 8
    .set PULL_BYTES, 0x100000      /* at a time: the machine's other parts wait as long */

_start:
    .word 0xaa55
    .byte ROM_BLOCKS               /* in units of 512 bytes */
    jmp initialize
    .org 0x1a
    .word pnp_header

    .org 0x20
pnp_header:
    .ascii "$PnP"
    .byte 1, 2                     /* revision, length in 16-byte units */
    .word 0
    .byte 0, 0                     /* reserved, checksum (patched) */
    .long 0
    .word manufacturer, product
    .byte 0, 0, 0                  /* device type */
    .byte 0
    .word 0, 0                     /* no boot connection vector */
    .word boot                     /* boot entry vector */
    .word 0, 0

    .org 0x40
parameters:                        /* layout known to bios/kernel.c */
parameter_entry:      .long 0      /* where the kernel is entered */
parameter_kind:       .long 0      /* 0, 1: Linux in 32- or 64-bit mode; ENTRY_REGISTERS */
parameter_transfers:  .long 0      /* number of descriptors that follow */
parameter_vbe_mode:   .long 0      /* graphics mode for Linux (VBE 3.0), 0: text */
parameter_eax:        .long 0
parameter_ebx:        .long 0
parameter_map:        .long 0      /* memory map: offset in the segment at BOOT_PARAMS */
parameter_map_stride: .long 0      /* from entry to entry */
parameter_map_max:    .long 0
parameter_count:      .long 0      /* offset of the number: entries * scale + bias */
parameter_scale:      .long 0
parameter_bias:       .long 0
parameter_place_key:  .long 0      /* fw_cfg item that says where the unpacked kernel goes */
parameter_unpacked_key: .long 0    /* ... and that is it */
parameter_unpacked:   .long 0      /* its size; 0: the kernel unpacks itself */
parameter_unpacked_entry: .long 0  /* from its begin */
parameter_table:      .long 0      /* from its begin: relocations, up to the number at the end; or 0 */
pieces:               .space 4 * 12 /* fw_cfg key, size, address */

manufacturer: .asciz "doppel"
product:      .asciz "kernel"

initialize:
    movw $0x20, %ax                /* an initial program load device is attached */
    lret

/* -- Boot entry vector -- */

boot:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ss
    movl $0x7000, %esp
    sti

    /* Pull every piece into place. */
    xorw %ax, %ax
    movw %ax, %es
    call pull_unpacked
    sbbl %ebx, %ebx
    incl %ebx                      /* if there is an unpacked kernel from the second on */
1:  cmpl %cs:parameter_transfers, %ebx
    jae 3f
    imulw $12, %bx, %si
    movl %cs:pieces(%si), %eax
    movl %cs:pieces + 4(%si), %ecx
    movl %cs:pieces + 8(%si), %edi
    call pull
    jc failed
    incl %ebx
    jmp 1b

    /* Memory map into the information for the kernel. */
3:  movw $(BOOT_PARAMS >> 4), %ax
    movw %ax, %es
    movw %ax, %ds
    movw %cs:parameter_map, %di
    xorl %ebx, %ebx
    xorl %ebp, %ebp                /* entries so far */
4:  movl $0xe820, %eax
    movl $0x534d4150, %edx
    movl $20, %ecx
    int $0x15
    jc 5f
    cmpl $0x534d4150, %eax
    jne 5f
    addw %cs:parameter_map_stride, %di
    incl %ebp
    cmpl %cs:parameter_map_max, %ebp
    jae 5f
    testl %ebx, %ebx
    jnz 4b
5:  imull %cs:parameter_scale, %ebp
    addl %cs:parameter_bias, %ebp
    movw %cs:parameter_count, %di
    movl %ebp, (%di)
    cmpl $ENTRY_REGISTERS, %cs:parameter_kind
    je 6f

    /* The text screen into boot_params.screen_info. */
    movb $0x0f, %ah
    int $0x10
    movb %al, 0x06                 /* orig_video_mode */
    movb %ah, 0x07                 /* orig_video_cols */
    movzbw %bh, %ax
    movw %ax, 0x04                 /* orig_video_page */
    movb $0x03, %ah
    int $0x10
    movw %dx, 0x00                 /* orig_x, orig_y */
    movb $25, 0x0e                 /* orig_video_lines */
    movb $1, 0x0f                  /* orig_video_isVGA */
    movw $16, 0x10                 /* orig_video_points */

    movw %cs:parameter_vbe_mode, %bx
    testw %bx, %bx
    jz 6f
    call set_graphics

    /* Flat protected mode. The ROM's linear address is known only now. */
6:  cli
    xorl %ebp, %ebp
    movw %cs, %bp
    shll $4, %ebp                  /* linear address of this ROM */
    xorw %ax, %ax
    movw %ax, %ds
    leal gdt(%ebp), %eax
    movw $(gdt_end - gdt - 1), SCRATCH
    movl %eax, SCRATCH + 2
    lgdtl SCRATCH
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    leal protected(%ebp), %eax
    pushl $0x10
    pushl %eax
    lretl

/* Pulls the unpacked kernel, if there is one, and sets PLACE; ES: 0. Carry: there is none. */
pull_unpacked:
    cmpl $1, %cs:parameter_unpacked
    jb 1f
    movl %cs:parameter_place_key, %eax
    movl $PLACE_SIZE, %ecx
    movl $PLACE, %edi
    call pull
    jc 1f
    movl %cs:parameter_unpacked_key, %eax
    movl %cs:parameter_unpacked, %ecx
    movl %es:PLACE, %edi
    call pull
    jnc 2f
1:  movl $0, %es:PLACE
2:  ret

/* Pulls ECX bytes of the item with key EAX to EDI by DMA; ES: 0. Carry: they cannot be read. */
pull:
    shll $16, %eax
    orb $(DMA_READ | DMA_SELECT), %al
    movl %eax, %esi
1:  movl $PULL_BYTES, %edx
    cmpl %edx, %ecx
    jae 2f
    movl %ecx, %edx
2:  movl %esi, %eax                /* the descriptor: control, length, address; big-endian */
    bswapl %eax
    movl %eax, %es:SCRATCH
    movl %edx, %eax
    bswapl %eax
    movl %eax, %es:SCRATCH + 4
    movl $0, %es:SCRATCH + 8
    movl %edi, %eax
    bswapl %eax
    movl %eax, %es:SCRATCH + 12
    addl %edx, %edi
    subl %edx, %ecx
    movw $0x518, %dx
    movl $SCRATCH, %eax
    bswapl %eax
    outl %eax, %dx                 /* low half of the address starts the transfer */
3:  movl %es:SCRATCH, %eax         /* control becomes 0 when done, 1 (big-endian) on error */
    bswapl %eax
    testl $~1, %eax
    jnz 3b
    shrl $1, %eax
    jc 4f
    movl $DMA_READ, %esi           /* on from there */
    testl %ecx, %ecx               /* leaves no carry */
    jnz 1b
4:  ret

/* Sets VBE mode BX with a linear frame buffer and describes it in screen_info (DS: boot_params), as
 * the kernel's own setup code would. Leaves the text screen if the adapter lacks the mode. */
set_graphics:
    xorw %ax, %ax
    movw %ax, %es
    movw $VBE_INFO, %di
    movl $0x32454256, %es:(%di)    /* "VBE2" asks for version 2 */
    movw $0x4f00, %ax
    int $0x10
    cmpw $0x004f, %ax
    jne 1f
    movzwl %es:0x12(%di), %ebp     /* total memory, in 64 KiB */
    movw $0x4f01, %ax
    movw %bx, %cx
    int $0x10
    cmpw $0x004f, %ax
    jne 1f
    movw %es:(%di), %ax
    andw $0x99, %ax                /* supported, colour, graphics, linear */
    cmpw $0x99, %ax
    jne 1f
    orw $0x4000, %bx
    movw $0x4f02, %ax
    int $0x10
    cmpw $0x004f, %ax
    jne 1f
    movb $0x23, 0x0f               /* orig_video_isVGA: a VESA linear frame buffer */
    movl %es:0x12(%di), %eax
    movl %eax, 0x12                /* lfb_width, lfb_height */
    movzbw %es:0x19(%di), %ax
    movw %ax, 0x16                 /* lfb_depth */
    movl %es:0x28(%di), %eax
    movl %eax, 0x18                /* lfb_base */
    movl %ebp, 0x1c                /* lfb_size */
    movw %es:0x10(%di), %ax
    movw %ax, 0x24                 /* lfb_linelength */
    movl %es:0x1f(%di), %eax
    movl %eax, 0x26                /* sizes and places of red and green */
    movl %es:0x23(%di), %eax
    movl %eax, 0x2a                /* of blue and reserved */
    cmpw $8, 0x16
    jne 2f
    movl $0x00060006, %eax         /* a palette: the DAC has 6 bits a colour */
    movl %eax, 0x26
    movl %eax, 0x2a
2:
    movzbw %es:0x1d(%di), %ax
    movw %ax, 0x32                 /* pages */
    movw %es:(%di), %ax
    movw %ax, 0x34                 /* vesa_attributes */
1:  ret

failed:
    movw %cs, %ax
    movw %ax, %ds
    movw $failed_text, %si
1:  lodsb
    testb %al, %al
    jz 2f
    movb $0x0e, %ah
    movw $7, %bx
    int $0x10
    jmp 1b
2:  hlt
    jmp 2b
failed_text: .asciz "doppel: the kernel could not be read from fw_cfg\r\n"

    .code32
protected:
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl parameter_entry(%ebp), %edx
    cmpl $0, PLACE
    je 1f
    cmpl $0, parameter_table(%ebp)
    je 2f
    call relocate
2:  movl parameter_unpacked_entry(%ebp), %edx
    addl PLACE, %edx
1:  movl $BOOT_PARAMS, %esi
    cmpl $ENTRY_REGISTERS, parameter_kind(%ebp)
    je enter_with_registers
    cmpl $0, parameter_kind(%ebp)
    jne enter_long_mode
    xorl %ebp, %ebp
    xorl %edi, %edi
    xorl %ebx, %ebx
    jmp *%edx

enter_with_registers:
    movl parameter_eax(%ebp), %eax
    movl parameter_ebx(%ebp), %ebx
    jmp *%edx

/* Moves the unpacked kernel in virtual memory: adds to the fields that its table names. */
relocate:
    orb $KASLR_FLAG, BOOT_PARAMS + LOADFLAGS
    movl PLACE, %esi
    movl parameter_unpacked(%ebp), %ecx
    leal -4(%esi, %ecx), %ecx      /* the end of the table: how many zeros it has */
    addl parameter_table(%ebp), %esi
    movl PLACE_BIAS, %ebx
    movl PLACE_DELTA, %edx
    lodsl                          /* the zero that it begins with */
1:  lodsl                          /* 64-bit fields */
    testl %eax, %eax
    jz 2f
    addl %edx, (%eax, %ebx)
    adcl $0, 4(%eax, %ebx)
    jmp 1b
2:  cmpl $TABLE_ZEROS_INVERSE, (%ecx)
    jne 4f
3:  lodsl                          /* 32-bit fields that count the other way */
    testl %eax, %eax
    jz 4f
    subl %edx, (%eax, %ebx)
    jmp 3b
4:  cmpl %ecx, %esi                /* 32-bit fields */
    jae 5f
    lodsl
    addl %edx, (%eax, %ebx)
    jmp 4b
5:  ret

    /* Identity map of the first 4 GiB by 2 MiB pages, then 64-bit mode. */
enter_long_mode:
    movl $PAGE_TABLES, %edi
    xorl %eax, %eax
    movl $(6 * 4096 / 4), %ecx
    rep stosl
    movl $PAGE_TABLES, %edi
    movl $(PAGE_TABLES + 0x1000 + 3), (%edi)
    xorl %ecx, %ecx
1:  imull $0x1000, %ecx, %eax
    addl $(PAGE_TABLES + 0x2000 + 3), %eax
    movl %eax, 0x1000(%edi, %ecx, 8)
    incl %ecx
    cmpl $4, %ecx
    jb 1b
    movl $0x83, %eax
    xorl %ecx, %ecx
2:  movl %eax, 0x2000(%edi, %ecx, 8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $2048, %ecx
    jb 2b
    movl %cr4, %eax
    orl $0x20, %eax                /* PAE */
    movl %eax, %cr4
    movl %edi, %cr3
    movl $0xc0000080, %ecx
    movl %edx, %ebx                /* rdmsr overwrites edx */
    rdmsr
    orl $0x100, %eax               /* EFER.LME */
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    leal long_mode(%ebp), %eax
    pushl $0x20
    pushl %eax
    lretl

    .code64
long_mode:
    /* The protocol wants the 64-bit code segment at selector 0x10. */
    leal gdt64(%rbp), %eax
    movw $(gdt64_end - gdt64 - 1), SCRATCH
    movq %rax, SCRATCH + 2
    lgdt SCRATCH
    movl $BOOT_PARAMS, %esi
    pushq $0x10
    pushq %rbx
    lretq

    .balign 8
gdt:
    .quad 0, 0
    .quad 0x00cf9b000000ffff       /* 0x10: code, 32-bit */
    .quad 0x00cf93000000ffff       /* 0x18: data */
    .quad 0x00af9b000000ffff       /* 0x20: code, 64-bit */
gdt_end:
gdt64:
    .quad 0, 0
    .quad 0x00af9b000000ffff       /* 0x10: code, 64-bit */
    .quad 0x00cf93000000ffff       /* 0x18: data */
gdt64_end:

    .org ROM_BLOCKS * 512 - 1
    .byte 0                        /* checksum (patched) */
