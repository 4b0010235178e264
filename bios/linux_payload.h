/*
 * Inside bios/: what a bzImage unpacks for itself, its payload: the kernel as an ELF file and, if
 * it can be moved in virtual memory, a table of relocations behind it.
 *
 * Both come to the guest as one fw_cfg item, unpacked while the guest reads it: memory from the
 * preferred address on as the segments fill it, then the table if it is wanted, then one number.
 */
#ifndef DOPPEL_BIOS_LINUX_PAYLOAD_H
#define DOPPEL_BIOS_LINUX_PAYLOAD_H

#include "bios/unpack.h"
#include "hw/fw_cfg.h"

#define PAYLOAD_SEGMENTS 8

/* Linux's mapping of itself (KERNEL_IMAGE_SIZE of a kernel that can be moved): physical address 0
 * is at its begin until the kernel is moved within it. */
#define PAYLOAD_MAPPING_BASE 0xffffffff80000000ull
#define PAYLOAD_MAPPING      (1u << 30)

struct linux_payload {
    uint32_t preferred;   /* physical address that the kernel is linked for */
    uint32_t memory_size; /* from there on, with all zeros behind its segments */
    uint32_t entry;       /* from there on */
    uint64_t packed_size;
    uint64_t file_size; /* ELF file and table */
    uint64_t table;     /* where in it the table begins; nothing behind it: there is none */
    unsigned segments;
    struct payload_segment {
        uint64_t offset; /* in the file */
        uint32_t start;  /* in memory, from the preferred address on */
        uint32_t size;   /* of both; zeros follow up to the next segment */
    } segment[PAYLOAD_SEGMENTS];
};

/* Looks at the head of the payload. False with a reason: it is nothing that can be entered without
 * the kernel's own decompressor. */
bool payload_inspect(struct linux_payload *payload, const struct unpack_source *source,
                     uint64_t preferred, const char **reason);

/*
 * The table: a zero, the addresses of 64-bit fields, a zero, before Linux 6.15 those of 32-bit
 * fields to subtract from and a zero, those of 32-bit fields; little-endian, 32 bits each, the low
 * half of virtual addresses in the kernel's own mapping. Linux reads it backwards, a loader that
 * goes forward needs to know how many zeros there are: the number at the end of the item.
 */
static inline uint32_t payload_table_size(const struct linux_payload *payload)
{
    return (uint32_t)(payload->file_size - payload->table);
}

/* What addresses in the table count from: that of the memory's first byte. */
static inline uint32_t payload_link_base(const struct linux_payload *payload)
{
    return (uint32_t)PAYLOAD_MAPPING_BASE + payload->preferred;
}

/* Adds the item and returns its size; with `relocations` it has table and number. It is made of the
 * item `packed_key`, from `offset` on. If that turns out to be damaged, the guest hears it at the
 * end at the latest, and it is logged. */
uint32_t payload_add(struct fw_cfg *fw_cfg, uint16_t key, const struct linux_payload *payload,
                     uint16_t packed_key, uint64_t offset, bool relocations);

#endif
