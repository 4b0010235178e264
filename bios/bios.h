/*
 * Firmware: finding the distribution's SeaBIOS and VGA BIOS, and what the machine tells them
 * through fw_cfg (memory map, ACPI and SMBIOS tables, boot order, a kernel to start directly).
 */
#ifndef DOPPEL_BIOS_BIOS_H
#define DOPPEL_BIOS_BIOS_H

#include "cpu/error.h"
#include "hw/machine.h"

#include <stddef.h>
#include <stdint.h>

/* A file read into memory; bytes owned by the holder, freed with blob_free. */
struct blob {
    uint8_t *bytes;
    size_t size;
    const char *path; /* of the file that has these bytes; NULL: none has */
};

void blob_free(struct blob *blob);
/* Reads a whole regular file of 1 to `limit` bytes. `what` names it in the error ("kernel"). */
bool blob_read(struct blob *blob, const char *path, const char *what, size_t limit,
               struct error *error);
/* The same without the bytes, which stay in the file. */
bool blob_find(struct blob *blob, const char *path, const char *what, size_t limit,
               struct error *error);

/* Looks for a firmware image in the distribution's usual places (and first in
 * $DOPPEL_FIRMWARE_PATH, a colon-separated list). The error names the package that has it. */
bool firmware_load(struct blob *blob, const char *name, const char *package, struct error *error);
/* The path where firmware_load would find it, or NULL. The string is static to the call. */
const char *firmware_path(const char *name, char *buffer, size_t size);

#define FIRMWARE_BIOS    "bios-256k.bin"
#define FIRMWARE_VGA     "vgabios-stdvga.bin"
#define FIRMWARE_PACKAGE "seabios"

/* UEFI: code in ROM, variables in flash memory below it. */
#define FIRMWARE_UEFI         "OVMF_CODE_4M.fd"
#define FIRMWARE_UEFI_VARS    "OVMF_VARS_4M.fd"
#define FIRMWARE_UEFI_PACKAGE "ovmf"

/* Network boot: option ROMs by the kind of firmware and the name of the card's driver. */
#define FIRMWARE_PXE         "pxe-%s.rom"
#define FIRMWARE_PXE_UEFI    "efi-%s.rom"
#define FIRMWARE_PXE_PACKAGE "ipxe-qemu"

/* Flash memory, mapped from a file or without one. */
struct flash {
    uint8_t *bytes;
    size_t size;
    int fd;
};

/* `fresh` is what a new file (or, with a NULL path, memory that is forgotten) starts with. */
bool flash_open(struct flash *flash, const char *path, const struct blob *fresh,
                struct error *error);
void flash_close(struct flash *flash);

/* What the tables depend on. The machine (NULL in tests of the tables alone: a PC) is asked when
 * the firmware reads them; it has to hold `fw_cfg`. */
struct bios_config {
    const struct machine *machine;
    uint64_t ram_low, ram_high; /* bytes below the PCI hole and above 4 GiB */
    unsigned cpus;
    const char *name;   /* machine's name, for SMBIOS */
    const char *boot;   /* "disk,cdrom,menu" ... already checked by bios_check_boot; or NULL */
    bool direct_kernel; /* bios_add_kernel will be called: it boots first */
};

/* Does an order name `device` ("net", "menu")? */
bool bios_boot_names(const char *order, const char *device);
/* Is `text` a boot order that --boot accepts? */
bool bios_check_boot(const char *text, struct error *error);
/* CMOS boot-device bytes 0x3d and 0x38 for a checked order. */
void bios_cmos_boot(const char *order, uint8_t *reg_3d, uint8_t *reg_38);

/* Puts memory map, ACPI and SMBIOS tables, CPU counts and boot options into fw_cfg. */
void bios_add_tables(struct fw_cfg *fw_cfg, const struct bios_config *config);

#define BIOS_MODULES 16

/* A kernel to start directly. initrd and append may be NULL. */
struct bios_kernel {
    const char *kernel, *initrd, *append;
    const char *module[BIOS_MODULES]; /* "FILE ARGUMENTS" */
    unsigned modules;
    bool unpack_in_guest; /* a bzImage is not unpacked here, but by its own code */
};

/* Direct start of a Linux bzImage (32- or 64-bit entry, as the kernel offers, or behind its
 * decompressor), a Multiboot 1 or 2 kernel, or an ELF file with a PVH entry; each may be packed
 * with gzip. */
bool bios_add_kernel(struct fw_cfg *fw_cfg, const struct bios_config *config,
                     const struct bios_kernel *files, struct error *error);

#endif
