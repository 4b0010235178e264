/* The binary pieces that bios/ assembles and compiles at build time, made addressable from C. */
    .section .rodata
    .macro blob name, file
    .globl \name, \name\()_end
    .balign 16
\name:
    .incbin "\file"
\name\()_end:
    .endm

    blob bios_kernelboot_rom, "kernelboot.bin"
    blob bios_dsdt_pc, "dsdt_pc.aml"
    blob bios_dsdt_q35, "dsdt_q35.aml"

    .section .note.GNU-stack, "", @progbits
