/* Inside bios/: the ways to start a kernel directly, and the option ROM that they share. */
#ifndef DOPPEL_BIOS_KERNEL_H
#define DOPPEL_BIOS_KERNEL_H

#include "bios/bios.h"

/* The ROM (kernelboot.S) fills the memory map into this segment; boot_params, Multiboot information
 * or hvm_start_info begin here. */
#define KERNEL_INFO     0x10000u
#define KERNEL_INFO_MAX 0x10000u

/* Left free below the end of low memory for what SeaBIOS puts there (ACPI tables, its heap). */
#define FIRMWARE_RESERVE (2u << 20)

enum kernel_entry { ENTRY_LINUX_32, ENTRY_LINUX_64, ENTRY_REGISTERS };

/* A kernel that comes unpacked: an item of fw_cfg (bios/linux_payload.h) that goes where another
 * item (bios/linux_place.h) says. It takes the place of the first piece, unless it cannot be read.
 */
struct kernel_unpacked {
    uint32_t size;  /* 0: there is none */
    uint32_t entry; /* from its begin */
    uint32_t table; /* from its begin: relocations, up to the item's last number; 0: none */
};

/* What the ROM does after it has pulled the pieces into memory. */
struct kernel_start {
    enum kernel_entry kind;
    uint32_t entry;
    uint32_t eax, ebx; /* ENTRY_REGISTERS: flat 32-bit mode with these */
    uint32_t vbe_mode; /* Linux: graphics mode, 0 for text */
    struct kernel_unpacked unpacked;
    /* The memory map: offset from KERNEL_INFO of the first entry (base, length, type as INT 15 E820
     * gives them), bytes from one to the next, how many fit; and where `count * scale + bias` goes.
     */
    uint32_t map_offset, map_stride, map_max;
    uint32_t count_offset, count_scale, count_bias;
};

/* A fw_cfg item that the ROM puts at `address`. */
struct kernel_piece {
    uint16_t key;
    uint32_t address;
    const void *bytes;
    size_t size;
    const char *path; /* the bytes are in this file, from `offset` on; NULL: at `bytes` */
    uint64_t offset;
};

#define KERNEL_PIECES 4

bool kernel_add_rom(struct fw_cfg *fw_cfg, const struct kernel_piece *pieces, unsigned count,
                    const struct kernel_start *start, struct error *error);

/* linux.c */
bool linux_add(struct fw_cfg *fw_cfg, const struct bios_config *config,
               const struct bios_kernel *files, const struct blob *kernel, struct error *error);
/* multiboot.c, pvh.c: *mine tells whether the file is of that kind at all. */
bool multiboot_add(struct fw_cfg *fw_cfg, const struct bios_config *config,
                   const struct bios_kernel *files, const struct blob *kernel, bool *mine,
                   struct error *error);
bool pvh_add(struct fw_cfg *fw_cfg, const struct bios_config *config,
             const struct bios_kernel *files, const struct blob *kernel, bool *mine,
             struct error *error);

/* -- kernel.c: what Multiboot and PVH share -- */

/* A program as it lies in memory. */
struct kernel_image {
    uint8_t *bytes; /* from malloc */
    uint32_t base, entry;
    size_t size;
};

struct kernel_modules {
    uint8_t *bytes; /* all of them, each at a page; from malloc, or NULL */
    size_t size;
    uint32_t base;
    unsigned count;
    struct {
        uint32_t start, end; /* physical addresses */
        const char *text;    /* its command line: the file's name and the arguments */
        const char *arguments;
    } module[BIOS_MODULES + 1];
};

/* The last part of a path; words after a space go along. */
const char *kernel_file_name(const char *text);
/* Lays out an ELF executable of either class by its physical addresses. */
bool kernel_load_elf(struct kernel_image *image, const struct blob *file, const char *path,
                     struct error *error);
/* Checks that the image lies between 1 MiB and what the firmware needs, and places the modules
 * (the initrd first) behind it. */
bool kernel_place(struct kernel_image *image, struct kernel_modules *modules,
                  const struct bios_config *config, const struct bios_kernel *files,
                  struct error *error);
/* Hands image, modules and the information (what lies at KERNEL_INFO) to the guest. */
bool kernel_hand_over(struct fw_cfg *fw_cfg, const struct kernel_image *image,
                      const struct kernel_modules *modules, const void *info, size_t info_size,
                      const struct kernel_start *start, struct error *error);

#endif
