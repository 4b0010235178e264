/*
 * fw_cfg: the channel by which firmware of virtual machines learns what the machine is made of
 * (QEMU's firmware configuration device; specification in its docs/specs/fw_cfg).
 */
#ifndef DOPPEL_HW_FW_CFG_H
#define DOPPEL_HW_FW_CFG_H

#include "hw/memory.h"

/* Keys with a fixed meaning. Bit 15 marks those that belong to one architecture. */
enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_DEVICE = 0x0c,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_ARCH_LOCAL = 0x8000,
    FW_CFG_ACPI_TABLES = 0x8000,
    FW_CFG_SMBIOS_ENTRIES = 0x8001,
    FW_CFG_IRQ0_OVERRIDE = 0x8002,
    FW_CFG_E820_TABLE = 0x8003,
    FW_CFG_HPET = 0x8004,
    /* Ours: where the kernel goes that doppel unpacks, and that kernel (bios/kernelboot.S). */
    FW_CFG_KERNEL_PLACE = 0x8100,
    FW_CFG_KERNEL_UNPACKED = 0x8101,
};

struct fw_cfg;

/* Ports 0x510-0x51B, with signature and identification (traditional and DMA interface). */
struct fw_cfg *fw_cfg_new(struct device_list *list, struct io_bus *io, struct memory *memory);

/* Items. Contents are copied; adding a key or file again replaces its contents. Numbers are
 * little-endian. File names have at most 55 characters. */
void fw_cfg_add_bytes(struct fw_cfg *fw_cfg, uint16_t key, const void *data, size_t size);
void fw_cfg_add_u16(struct fw_cfg *fw_cfg, uint16_t key, uint16_t value);
void fw_cfg_add_u32(struct fw_cfg *fw_cfg, uint16_t key, uint32_t value);
void fw_cfg_add_u64(struct fw_cfg *fw_cfg, uint16_t key, uint64_t value);
void fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *data, size_t size);

/* Contents that stay in a regular file, `size` bytes from `offset` on, and are read when the guest
 * asks. `path` names the file in messages: it is an error, to the guest too, if it changed. False:
 * it cannot be opened or has not that many bytes. */
bool fw_cfg_add_stored(struct fw_cfg *fw_cfg, uint16_t key, const char *path, uint64_t offset,
                       size_t size, struct error *error);

/* Contents that are made when the guest reads them. It may read in any order, again, and never to
 * the end; board lock. */
struct fw_cfg_maker {
    /* Bytes from `offset` on, all within the item. False: there are none, which the guest hears. */
    bool (*read)(void *opaque, uint32_t offset, uint8_t *bytes, size_t count);
    /* The guest has turned to another item: what reading on would need can go. May be NULL. */
    void (*rest)(void *opaque);
    void (*destroy)(void *opaque); /* with the item; may be NULL */
};
void fw_cfg_add_made(struct fw_cfg *fw_cfg, uint16_t key, size_t size,
                     const struct fw_cfg_maker *maker, void *opaque);

/* Bytes of an item as the guest would read them. False: it has not that many, or they cannot be
 * read (any more). */
bool fw_cfg_read_item(struct fw_cfg *fw_cfg, uint16_t key, uint64_t offset, void *bytes,
                      size_t count);

/* Contents of a file (owned by fw_cfg, valid until replaced), or NULL. */
const void *fw_cfg_file(const struct fw_cfg *fw_cfg, const char *name, size_t *size);

/* Called each time the guest selects an item, before it can read it: may replace its contents. */
void fw_cfg_on_select(struct fw_cfg *fw_cfg, void (*selected)(void *opaque, uint16_t key),
                      void *opaque);
/* Frees `memory` (from malloc) with the device: what a callback needs as long. */
void fw_cfg_keep(struct fw_cfg *fw_cfg, void *memory);
/* The key of a file, or 0 if there is none: to know it in the select callback. */
uint16_t fw_cfg_file_key(const struct fw_cfg *fw_cfg, const char *name);

#endif
