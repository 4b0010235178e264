/*
 * Kernels that follow the Multiboot specification 0.6.96 or Multiboot2 2.0, with modules: as ELF
 * files, or as plain ones whose header says where they go.
 *
 * Not offered: graphics modes, APM and drive tables, section headers. A kernel that insists on one
 * of them is refused.
 */
#include "bios/kernel.h"
#include "bios/tables.h"

#include <stdlib.h>
#include <string.h>

#define MAP_ENTRY      24u /* of both versions */
#define MAP_MAX        128u
#define RAM_KIB        1024u
#define LOADER_NAME    "doppel"

#define MB1_MAGIC      0x1badb002u
#define MB1_BOOT_MAGIC 0x2badb002u
#define MB1_SEARCH     8192u
#define MB1_REQUIRED   0x0000ffffu
#define MB1_PAGES      0x00000001u
#define MB1_MEMORY     0x00000002u
#define MB1_ADDRESSES  0x00010000u

#define MB2_MAGIC      0xe85250d6u
#define MB2_BOOT_MAGIC 0x36d76289u
#define MB2_SEARCH     32768u
#define MB2_OPTIONAL   1

enum mb2_header_tag {
    MB2_END = 0,
    MB2_REQUEST = 1,
    MB2_ADDRESS = 2,
    MB2_ENTRY = 3,
    MB2_MODULE_ALIGN = 6,
    MB2_EFI_SERVICES = 7,
    MB2_ENTRY_EFI32 = 8,
    MB2_ENTRY_EFI64 = 9,
    MB2_RELOCATABLE = 10,
};

enum mb2_info_tag {
    MB2_INFO_COMMAND_LINE = 1,
    MB2_INFO_LOADER = 2,
    MB2_INFO_MODULE = 3,
    MB2_INFO_MEMORY = 4,
    MB2_INFO_MAP = 6,
};

/* Multiboot 1 information: offsets from KERNEL_INFO. */
#define MB1_INFO_MAP     0x100u
#define MB1_INFO_MODULES 0xd00u
#define MB1_INFO_STRINGS 0x1000u

static uint32_t get(const struct blob *file, size_t offset)
{
    uint32_t value = 0;
    if (offset + 4 <= file->size)
        memcpy(&value, file->bytes + offset, 4);
    return value;
}

/* A plain file, part of which goes to load..load_end and is followed by zeros up to bss_end; the
 * byte at `header` in the file belongs at address `at`. */
static bool load_plain(struct kernel_image *image, const struct blob *file, size_t header,
                       uint32_t at, uint32_t load, uint32_t load_end, uint32_t bss_end,
                       const char *path, struct error *error)
{
    uint64_t offset = (uint64_t)header - ((uint64_t)at - load);
    if (at < load || at - load > header)
        return error_set(error, "the kernel '%s' has impossible Multiboot addresses", path);
    uint64_t size = load_end ? (uint64_t)load_end - load : file->size - offset;
    uint64_t whole = bss_end > load + size ? (uint64_t)bss_end - load : size;
    if ((load_end && load_end < load) || size > file->size - offset || whole > 1u << 30)
        return error_set(error, "the kernel '%s' has impossible Multiboot addresses", path);
    image->bytes = calloc(1, whole ? (size_t)whole : 1);
    if (!image->bytes)
        return error_set(error, "no memory to load the kernel '%s'", path);
    memcpy(image->bytes, file->bytes + offset, (size_t)size);
    image->size = (size_t)whole;
    image->base = load;
    return true;
}

static uint32_t upper_kib(const struct bios_config *config)
{
    return (uint32_t)((config->ram_low - (1u << 20) - FIRMWARE_RESERVE) / RAM_KIB);
}

/* -- Version 1 -- */

static bool find_mb1(const struct blob *file, size_t *header)
{
    for (size_t at = 0; at + 12 <= file->size && at < MB1_SEARCH; at += 4) {
        if (get(file, at) == MB1_MAGIC &&
            get(file, at) + get(file, at + 4) + get(file, at + 8) == 0) {
            *header = at;
            return true;
        }
    }
    return false;
}

static bool load_mb1(struct kernel_image *image, const struct blob *file, size_t header,
                     const char *path, struct error *error)
{
    uint32_t flags = get(file, header + 4);
    if (flags & MB1_REQUIRED & ~(MB1_PAGES | MB1_MEMORY))
        return error_set(error,
                         "the Multiboot kernel '%s' requires features %#x (4: a graphics mode) "
                         "that are not offered",
                         path, flags & MB1_REQUIRED & ~(MB1_PAGES | MB1_MEMORY));
    if (!(flags & MB1_ADDRESSES))
        return kernel_load_elf(image, file, path, error);
    image->entry = get(file, header + 28);
    return load_plain(image, file, header, get(file, header + 12), get(file, header + 16),
                      get(file, header + 20), get(file, header + 24), path, error);
}

static uint32_t add_string(struct table *info, const char *text)
{
    return KERNEL_INFO + (uint32_t)table_append(info, text, strlen(text) + 1);
}

static void make_mb1_info(struct table *info, struct kernel_start *start,
                          const struct kernel_modules *modules, const struct bios_config *config,
                          const char *command_line)
{
    table_append(info, NULL, MB1_INFO_STRINGS);
    uint32_t text = add_string(info, command_line), name = add_string(info, LOADER_NAME);
    const uint32_t fields[][2] = {
        {0, 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9}, /* memory, command line, modules, map, name */
        {4, 639},
        {8, upper_kib(config)},
        {16, text},
        {20, modules->count},
        {24, KERNEL_INFO + MB1_INFO_MODULES},
        {48, KERNEL_INFO + MB1_INFO_MAP},
        {64, name},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        table_patch(info, fields[i][0], fields[i][1], 4);
    for (unsigned i = 0; i < modules->count; i++) {
        uint32_t string = add_string(info, modules->module[i].text);
        size_t at = MB1_INFO_MODULES + 16 * i;
        table_patch(info, at, modules->module[i].start, 4);
        table_patch(info, at + 4, modules->module[i].end, 4);
        table_patch(info, at + 8, string, 4);
    }
    for (unsigned i = 0; i < MAP_MAX; i++) /* each entry's size stands before it */
        table_patch(info, MB1_INFO_MAP + MAP_ENTRY * i, MAP_ENTRY - 4, 4);
    start->eax = MB1_BOOT_MAGIC;
    start->map_offset = MB1_INFO_MAP + 4;
    start->count_offset = 44;
    start->count_scale = MAP_ENTRY;
}

/* -- Version 2 -- */

static bool find_mb2(const struct blob *file, size_t *header)
{
    for (size_t at = 0; at + 16 <= file->size && at < MB2_SEARCH; at += 8) {
        uint32_t sum = get(file, at) + get(file, at + 4) + get(file, at + 8) + get(file, at + 12);
        if (get(file, at) == MB2_MAGIC && get(file, at + 4) == 0 && sum == 0) {
            *header = at;
            return true;
        }
    }
    return false;
}

static bool load_mb2(struct kernel_image *image, const struct blob *file, size_t header,
                     const char *path, struct error *error)
{
    size_t end = header + get(file, header + 8), address = 0, entry = 0;
    for (size_t at = header + 16; at + 8 <= end && at + 8 <= file->size;) {
        uint32_t type = get(file, at) & 0xffff, size = get(file, at + 4);
        bool optional = get(file, at) >> 16 & MB2_OPTIONAL;
        if (type == MB2_END || size < 8)
            break;
        switch (type) {
        case MB2_ADDRESS:
            address = at + 8;
            break;
        case MB2_ENTRY:
            entry = at + 8;
            break;
        case MB2_REQUEST:
        case MB2_MODULE_ALIGN:
        case MB2_EFI_SERVICES:
        case MB2_ENTRY_EFI32:
        case MB2_ENTRY_EFI64:
        case MB2_RELOCATABLE:
            break;
        default:
            if (!optional)
                return error_set(error,
                                 "the Multiboot2 kernel '%s' requires feature %u (4, 5: a console "
                                 "or graphics mode) that is not offered",
                                 path, type);
        }
        at += ((size_t)size + 7) & ~(size_t)7;
    }
    bool ok = address ? load_plain(image, file, header, get(file, address), get(file, address + 4),
                                   get(file, address + 8), get(file, address + 12), path, error)
                      : kernel_load_elf(image, file, path, error);
    if (ok && entry)
        image->entry = get(file, entry);
    return ok;
}

static size_t begin_tag(struct table *info, enum mb2_info_tag type)
{
    table_align(info, 8);
    size_t at = table_u32(info, type);
    table_u32(info, 0);
    return at;
}

static void end_tag(struct table *info, size_t at)
{
    table_patch(info, at + 4, info->size - at, 4);
}

static void string_tag(struct table *info, enum mb2_info_tag type, const char *text)
{
    size_t at = begin_tag(info, type);
    table_append(info, text, strlen(text) + 1);
    end_tag(info, at);
}

static void make_mb2_info(struct table *info, struct kernel_start *start,
                          const struct kernel_modules *modules, const struct bios_config *config,
                          const char *command_line)
{
    table_append(info, NULL, 8);
    string_tag(info, MB2_INFO_COMMAND_LINE, command_line);
    string_tag(info, MB2_INFO_LOADER, LOADER_NAME);
    for (unsigned i = 0; i < modules->count; i++) {
        size_t at = begin_tag(info, MB2_INFO_MODULE);
        table_u32(info, modules->module[i].start);
        table_u32(info, modules->module[i].end);
        table_append(info, modules->module[i].text, strlen(modules->module[i].text) + 1);
        end_tag(info, at);
    }
    size_t memory = begin_tag(info, MB2_INFO_MEMORY);
    table_u32(info, 639);
    table_u32(info, upper_kib(config));
    end_tag(info, memory);

    /* The map comes last: what the ROM leaves of it reads as end tags. */
    size_t map = begin_tag(info, MB2_INFO_MAP);
    table_u32(info, MAP_ENTRY);
    table_u32(info, 0);
    start->eax = MB2_BOOT_MAGIC;
    start->map_offset = (uint32_t)info->size;
    start->count_offset = (uint32_t)map + 4;
    start->count_scale = MAP_ENTRY;
    start->count_bias = 16;
    table_append(info, NULL, MAP_MAX * MAP_ENTRY + 8);
    for (size_t at = start->map_offset; at < info->size; at += 8)
        table_patch(info, at + 4, 8, 4);
    table_patch(info, 0, info->size, 4);
}

bool multiboot_add(struct fw_cfg *fw_cfg, const struct bios_config *config,
                   const struct bios_kernel *files, const struct blob *kernel, bool *mine,
                   struct error *error)
{
    struct kernel_image image = {0};
    struct kernel_modules modules = {0};
    struct table info = {0};
    size_t header;
    bool second = find_mb2(kernel, &header);

    *mine = second || find_mb1(kernel, &header);
    if (!*mine)
        return false;
    bool ok = (second ? load_mb2(&image, kernel, header, files->kernel, error)
                      : load_mb1(&image, kernel, header, files->kernel, error)) &&
              kernel_place(&image, &modules, config, files, error);
    if (ok) {
        struct kernel_start start = {.kind = ENTRY_REGISTERS,
                                     .entry = image.entry,
                                     .ebx = KERNEL_INFO,
                                     .map_stride = MAP_ENTRY,
                                     .map_max = MAP_MAX};
        /* Kernels skip the first word (Xen does): loaders put the kernel's name there. */
        struct table command_line = {0};
        const char *name = kernel_file_name(files->kernel);
        table_append(&command_line, name, strlen(name));
        table_append(&command_line, " ", 1);
        table_append(&command_line, files->append ? files->append : "",
                     files->append ? strlen(files->append) + 1 : 1);
        if (second)
            make_mb2_info(&info, &start, &modules, config, (const char *)command_line.bytes);
        else
            make_mb1_info(&info, &start, &modules, config, (const char *)command_line.bytes);
        ok = info.size <= KERNEL_INFO_MAX ||
             error_set(error, "--append and --module: the command lines are too long");
        if (ok)
            ok = kernel_hand_over(fw_cfg, &image, &modules, info.bytes, info.size, &start, error);
        table_free(&command_line);
    }
    table_free(&info);
    free(image.bytes);
    free(modules.bytes);
    return ok;
}
