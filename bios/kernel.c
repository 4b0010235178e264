/*
 * Starting a kernel without a boot loader: what kind of file it is, ELF images, modules, and the
 * option ROM (kernelboot.S) that pulls everything into memory by fw_cfg DMA and enters it.
 */
#include "bios/kernel.h"
#include "bios/tables.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

extern const uint8_t bios_kernelboot_rom[], bios_kernelboot_rom_end[];

#define KERNEL_BYTES_MAX (1u << 30)
#define LOWEST           0x100000u
#define PAGE             4096u

/* -- The ROM: fields that it has patched (kernelboot.S) -- */

#define ROM_PARAMETERS      0x40
#define ROM_PARAMETER_COUNT 17

static bool add_piece(struct fw_cfg *fw_cfg, const struct kernel_piece *piece, struct error *error)
{
    if (piece->path)
        return fw_cfg_add_stored(fw_cfg, piece->key, piece->path, piece->offset, piece->size,
                                 error);
    fw_cfg_add_bytes(fw_cfg, piece->key, piece->bytes, piece->size);
    return true;
}

bool kernel_add_rom(struct fw_cfg *fw_cfg, const struct kernel_piece *pieces, unsigned count,
                    const struct kernel_start *start, struct error *error)
{
    uint32_t parameters[ROM_PARAMETER_COUNT + 3 * KERNEL_PIECES] = {
        start->entry,
        start->kind,
        count,
        start->vbe_mode,
        start->eax,
        start->ebx,
        start->map_offset,
        start->map_stride,
        start->map_max,
        start->count_offset,
        start->count_scale,
        start->count_bias,
        FW_CFG_KERNEL_PLACE,
        FW_CFG_KERNEL_UNPACKED,
        start->unpacked.size,
        start->unpacked.entry,
        start->unpacked.table,
    };
    size_t size = (size_t)(bios_kernelboot_rom_end - bios_kernelboot_rom);
    struct table rom = {0};
    bool ok = true;

    for (unsigned i = 0; i < count; i++) {
        uint32_t *piece = parameters + ROM_PARAMETER_COUNT + 3 * i;
        piece[0] = pieces[i].key;
        piece[1] = (uint32_t)pieces[i].size;
        piece[2] = pieces[i].address;
        ok = ok && add_piece(fw_cfg, &pieces[i], error);
    }
    table_append(&rom, bios_kernelboot_rom, size);
    for (unsigned i = 0; i < sizeof parameters / sizeof parameters[0]; i++)
        table_patch(&rom, ROM_PARAMETERS + 4 * i, parameters[i], 4);
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + rom.bytes[i]);
    rom.bytes[size - 1] = (uint8_t)(rom.bytes[size - 1] - sum);
    fw_cfg_add_file(fw_cfg, "genroms/kernelboot.bin", rom.bytes, rom.size);
    table_free(&rom);
    return ok;
}

/* -- Reading: gzip is taken off -- */

static bool inflate_blob(struct blob *blob, const char *path, struct error *error)
{
    struct blob plain = {0};
    size_t capacity = blob->size * 4;
    z_stream stream = {.next_in = blob->bytes, .avail_in = (uInt)blob->size};
    int result = inflateInit2(&stream, 15 + 16);

    while (result == Z_OK) {
        uint8_t *grown = realloc(plain.bytes, capacity);
        if (!grown || capacity > KERNEL_BYTES_MAX) {
            free(grown ? grown : plain.bytes);
            inflateEnd(&stream);
            return error_set(error, "the kernel '%s' is too large when unpacked", path);
        }
        plain.bytes = grown;
        stream.next_out = plain.bytes + plain.size;
        stream.avail_out = (uInt)(capacity - plain.size);
        result = inflate(&stream, Z_NO_FLUSH);
        plain.size = stream.total_out;
        capacity *= 2;
    }
    inflateEnd(&stream);
    if (result != Z_STREAM_END) {
        blob_free(&plain);
        return error_set(error, "the kernel '%s' is damaged: its gzip data cannot be unpacked",
                         path);
    }
    blob_free(blob);
    *blob = plain;
    return true;
}

static bool read_kernel(struct blob *kernel, const char *path, struct error *error)
{
    if (!blob_read(kernel, path, "kernel", KERNEL_BYTES_MAX, error))
        return false;
    if (kernel->size > 18 && kernel->bytes[0] == 0x1f && kernel->bytes[1] == 0x8b)
        return inflate_blob(kernel, path, error);
    return true;
}

/* -- ELF -- */

struct program_segment {
    uint64_t offset, address, file_size, memory_size;
};

static unsigned program_headers(const struct blob *file)
{
    const Elf32_Ehdr *header = (const void *)file->bytes;

    if (file->size < sizeof(Elf64_Ehdr) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_ident[EI_DATA] != ELFDATA2LSB)
        return 0;
    if (header->e_ident[EI_CLASS] == ELFCLASS64)
        return ((const Elf64_Ehdr *)(const void *)file->bytes)->e_phnum;
    return header->e_phnum;
}

/* Program header `index` if it lies in the file, is of that type, and its bytes do too. */
static bool read_segment(const struct blob *file, unsigned index, uint32_t type,
                         struct program_segment *segment)
{
    bool wide = file->bytes[EI_CLASS] == ELFCLASS64;
    size_t entry = wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    uint64_t table = wide ? ((const Elf64_Ehdr *)(const void *)file->bytes)->e_phoff
                          : ((const Elf32_Ehdr *)(const void *)file->bytes)->e_phoff;

    if (table > file->size || (uint64_t)index * entry + entry > file->size - table)
        return false;
    if (wide) {
        Elf64_Phdr header;
        memcpy(&header, file->bytes + table + index * entry, sizeof header);
        if (header.p_type != type)
            return false;
        *segment = (struct program_segment){header.p_offset, header.p_paddr, header.p_filesz,
                                            header.p_memsz};
    } else {
        Elf32_Phdr header;
        memcpy(&header, file->bytes + table + index * entry, sizeof header);
        if (header.p_type != type)
            return false;
        *segment = (struct program_segment){header.p_offset, header.p_paddr, header.p_filesz,
                                            header.p_memsz};
    }
    return segment->offset <= file->size && segment->file_size <= file->size - segment->offset;
}

bool kernel_load_elf(struct kernel_image *image, const struct blob *file, const char *path,
                     struct error *error)
{
    unsigned count = program_headers(file);
    uint64_t first = UINT64_MAX, end = 0;
    struct program_segment segment;

    for (unsigned i = 0; i < count; i++) {
        if (!read_segment(file, i, PT_LOAD, &segment) || segment.memory_size == 0)
            continue;
        if (segment.file_size > segment.memory_size || segment.address >= UINT32_MAX ||
            segment.memory_size > KERNEL_BYTES_MAX)
            return error_set(error, "the kernel '%s' has a damaged ELF program header", path);
        if (segment.address < first)
            first = segment.address;
        if (segment.address + segment.memory_size > end)
            end = segment.address + segment.memory_size;
    }
    if (first >= end || end - first > KERNEL_BYTES_MAX)
        return error_set(error, "the kernel '%s' has no ELF segments that can be loaded", path);

    image->size = (size_t)(end - first);
    image->base = (uint32_t)first;
    image->entry = file->bytes[EI_CLASS] == ELFCLASS64
                       ? (uint32_t)((const Elf64_Ehdr *)(const void *)file->bytes)->e_entry
                       : ((const Elf32_Ehdr *)(const void *)file->bytes)->e_entry;
    image->bytes = calloc(1, image->size);
    if (!image->bytes)
        return error_set(error, "no memory to load the kernel '%s'", path);
    for (unsigned i = 0; i < count; i++)
        if (read_segment(file, i, PT_LOAD, &segment) && segment.memory_size)
            memcpy(image->bytes + (segment.address - first), file->bytes + segment.offset,
                   segment.file_size);
    return true;
}

/* -- PVH (Xen docs/misc/pvh.pandoc): an ELF note names the entry -- */

#define NOTE_PHYS32_ENTRY 18
#define PVH_MAGIC         0x336ec578u
#define PVH_MAP           0x100u /* offsets in the information */
#define PVH_MODULES       0xd00u
#define PVH_STRINGS       0x1000u
#define PVH_MAP_MAX       128u
#define MAP_ENTRY         24u
#define MODULE_ENTRY      32u

static bool find_pvh_entry(const struct blob *file, uint32_t *entry)
{
    unsigned count = program_headers(file);
    struct program_segment segment;

    for (unsigned i = 0; i < count; i++) {
        if (!read_segment(file, i, PT_NOTE, &segment))
            continue;
        const uint8_t *at = file->bytes + segment.offset, *end = at + segment.file_size;
        while (end - at >= 12) {
            uint32_t head[3]; /* name size, contents size, type */
            memcpy(head, at, sizeof head);
            uint64_t name = ((uint64_t)head[0] + 3) & ~3ull, data = ((uint64_t)head[1] + 3) & ~3ull;
            if (12 + name + data > (uint64_t)(end - at))
                break;
            if (head[2] == NOTE_PHYS32_ENTRY && head[0] == 4 && memcmp(at + 12, "Xen", 4) == 0 &&
                head[1] >= 4) {
                memcpy(entry, at + 12 + name, 4);
                return true;
            }
            at += 12 + name + data;
        }
    }
    return false;
}

static uint32_t add_string(struct table *info, const char *text)
{
    return KERNEL_INFO + (uint32_t)table_append(info, text, strlen(text) + 1);
}

bool pvh_add(struct fw_cfg *fw_cfg, const struct bios_config *config,
             const struct bios_kernel *files, const struct blob *kernel, bool *mine,
             struct error *error)
{
    struct kernel_image image = {0};
    struct kernel_modules modules = {0};
    uint32_t entry;

    *mine = find_pvh_entry(kernel, &entry);
    if (!*mine)
        return false;
    bool ok = kernel_load_elf(&image, kernel, files->kernel, error) &&
              kernel_place(&image, &modules, config, files, error);
    if (ok) {
        struct table info = {0};
        table_append(&info, NULL, PVH_STRINGS);
        const uint64_t start_info[] = {PVH_MAGIC | 1ull << 32, /* version 1 */
                                       (uint64_t)modules.count << 32,
                                       KERNEL_INFO + PVH_MODULES,
                                       add_string(&info, files->append ? files->append : ""),
                                       0, /* the RSDP is found by looking for it */
                                       KERNEL_INFO + PVH_MAP};
        for (unsigned i = 0; i < sizeof start_info / sizeof start_info[0]; i++)
            table_patch(&info, 8 * i, start_info[i], 8);
        for (unsigned i = 0; i < modules.count; i++) {
            size_t at = PVH_MODULES + MODULE_ENTRY * i;
            uint32_t text = add_string(&info, modules.module[i].arguments);
            table_patch(&info, at, modules.module[i].start, 8);
            table_patch(&info, at + 8, modules.module[i].end - modules.module[i].start, 8);
            table_patch(&info, at + 16, text, 8);
        }
        const struct kernel_start start = {.kind = ENTRY_REGISTERS,
                                           .entry = entry,
                                           .ebx = KERNEL_INFO,
                                           .map_offset = PVH_MAP,
                                           .map_stride = MAP_ENTRY,
                                           .map_max = PVH_MAP_MAX,
                                           .count_offset = 48,
                                           .count_scale = 1};
        ok = info.size <= KERNEL_INFO_MAX || error_set(error, "--append and --module: too long");
        if (ok)
            ok = kernel_hand_over(fw_cfg, &image, &modules, info.bytes, info.size, &start, error);
        table_free(&info);
    }
    free(image.bytes);
    free(modules.bytes);
    return ok;
}

/* -- Placing -- */

const char *kernel_file_name(const char *text)
{
    const char *name = text;
    for (const char *at = text; *at && *at != ' '; at++)
        if (*at == '/')
            name = at + 1;
    return name;
}

static bool append_module(struct kernel_modules *modules, const char *path, const char *text,
                          const char *arguments, struct error *error)
{
    struct blob file = {0};
    if (!blob_read(&file, path, "module", 0x7fffffff, error))
        return false;
    size_t size = (file.size + PAGE - 1) & ~(size_t)(PAGE - 1);
    uint8_t *grown = size <= KERNEL_BYTES_MAX - modules->size
                         ? realloc(modules->bytes, modules->size + size)
                         : NULL;
    if (!grown) {
        blob_free(&file);
        return error_set(error, "no memory for the module '%s'", path);
    }
    modules->bytes = grown;
    memset(grown + modules->size, 0, size);
    memcpy(grown + modules->size, file.bytes, file.size);
    modules->module[modules->count].start = (uint32_t)modules->size; /* until the base is known */
    modules->module[modules->count].end = (uint32_t)(modules->size + file.size);
    modules->module[modules->count].text = kernel_file_name(text);
    modules->module[modules->count].arguments = arguments;
    modules->count++;
    modules->size += size;
    blob_free(&file);
    return true;
}

static bool read_modules(struct kernel_modules *modules, const struct bios_kernel *files,
                         struct error *error)
{
    if (files->initrd && !append_module(modules, files->initrd, files->initrd, "", error))
        return false;
    for (unsigned i = 0; i < files->modules; i++) {
        const char *space = strchr(files->module[i], ' ');
        size_t length = space ? (size_t)(space - files->module[i]) : strlen(files->module[i]);
        char *path = strndup(files->module[i], length);
        bool ok = append_module(modules, path, files->module[i], space ? space + 1 : "", error);
        free(path);
        if (!ok)
            return false;
    }
    return true;
}

bool kernel_place(struct kernel_image *image, struct kernel_modules *modules,
                  const struct bios_config *config, const struct bios_kernel *files,
                  struct error *error)
{
    if (!read_modules(modules, files, error))
        return false;
    uint64_t top = config->ram_low > FIRMWARE_RESERVE ? config->ram_low - FIRMWARE_RESERVE : 0;
    uint64_t base = ((uint64_t)image->base + image->size + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    if (image->base < LOWEST)
        return error_set(error, "the kernel '%s' wants to lie at %#x, below 1 MiB", files->kernel,
                         image->base);
    if (base + modules->size > top)
        return error_set(error,
                         "the kernel '%s' and its modules need memory up to %llu MiB; give the "
                         "machine more with --memory",
                         files->kernel,
                         (unsigned long long)(base + modules->size + FIRMWARE_RESERVE) >> 20);
    modules->base = (uint32_t)base;
    for (unsigned i = 0; i < modules->count; i++) {
        modules->module[i].start += modules->base;
        modules->module[i].end += modules->base;
    }
    return true;
}

bool kernel_hand_over(struct fw_cfg *fw_cfg, const struct kernel_image *image,
                      const struct kernel_modules *modules, const void *info, size_t info_size,
                      const struct kernel_start *start, struct error *error)
{
    struct kernel_piece pieces[KERNEL_PIECES];
    unsigned count = 0;

    pieces[count++] = (struct kernel_piece){.key = FW_CFG_KERNEL_DATA,
                                            .address = image->base,
                                            .bytes = image->bytes,
                                            .size = image->size};
    if (modules->size)
        pieces[count++] = (struct kernel_piece){.key = FW_CFG_INITRD_DATA,
                                                .address = modules->base,
                                                .bytes = modules->bytes,
                                                .size = modules->size};
    pieces[count++] = (struct kernel_piece){
        .key = FW_CFG_SETUP_DATA, .address = KERNEL_INFO, .bytes = info, .size = info_size};
    return kernel_add_rom(fw_cfg, pieces, count, start, error);
}

bool bios_add_kernel(struct fw_cfg *fw_cfg, const struct bios_config *config,
                     const struct bios_kernel *files, struct error *error)
{
    struct blob kernel = {0};
    bool mine = false;
    if (!read_kernel(&kernel, files->kernel, error)) {
        blob_free(&kernel);
        return false;
    }
    bool ok = multiboot_add(fw_cfg, config, files, &kernel, &mine, error);
    if (!mine)
        ok = pvh_add(fw_cfg, config, files, &kernel, &mine, error);
    if (!mine)
        ok = linux_add(fw_cfg, config, files, &kernel, error);
    blob_free(&kernel);
    return ok;
}
