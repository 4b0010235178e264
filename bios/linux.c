/*
 * Direct start of a Linux bzImage (Linux Documentation/arch/x86/boot.rst): checks the setup header,
 * lays out kernel, initrd, command line and boot_params for the option ROM (kernelboot.S).
 *
 * A 64-bit kernel is unpacked here (linux_payload.h) and entered behind its own decompressor, with
 * all that this would leave to it: the same boot_params, an identity mapping of the first 4 GiB,
 * zeroed memory behind its segments, a random place (linux_place.h). A kernel for which that cannot
 * be done is started as it is and unpacks itself.
 */
#include "bios/kernel.h"
#include "bios/linux_payload.h"
#include "bios/linux_place.h"
#include "cpu/log.h"

#include <stdlib.h>
#include <string.h>

/* -- Setup header: offsets in the file and in boot_params -- */

#define HEADER_SETUP_SECTS    0x1f1
#define HEADER_BOOT_FLAG      0x1fe
#define HEADER_JUMP           0x200
#define HEADER_MAGIC          0x202 /* "HdrS" */
#define HEADER_VERSION        0x206
#define HEADER_TYPE_OF_LOADER 0x210
#define HEADER_LOADFLAGS      0x211
#define HEADER_RAMDISK_IMAGE  0x218
#define HEADER_RAMDISK_SIZE   0x21c
#define HEADER_HEAP_END       0x224
#define HEADER_CMD_LINE_PTR   0x228
#define HEADER_INITRD_MAX     0x22c
#define HEADER_ALIGNMENT      0x230
#define HEADER_RELOCATABLE    0x234
#define HEADER_XLOADFLAGS     0x236
#define HEADER_CMDLINE_SIZE   0x238
#define HEADER_PAYLOAD_OFFSET 0x248
#define HEADER_PAYLOAD_LENGTH 0x24c
#define HEADER_PREF_ADDRESS   0x258
#define HEADER_INIT_SIZE      0x260

#define LOADFLAG_HIGH         0x01
#define LOADFLAG_HEAP         0x80
#define XLOADFLAG_64          0x01
#define PROTOCOL_MIN          0x0206 /* relocatable bzImage with cmdline_size: every kernel since 2.6.22 */
#define PROTOCOL_64           0x020c /* and later: has xloadflags */
#define LOADER_UNDEFINED      0xff

/* -- Where things go in guest memory -- */

#define BOOT_PARAMS      KERNEL_INFO
#define BOOT_PARAMS_SIZE 4096u
#define COMMAND_LINE     0x20000u
#define COMMAND_LINE_MAX 0x10000u
#define KERNEL_BASE      0x100000u

/* Where an unpacked kernel may lie. */
#define PLACE_LOWEST_MAX (512u << 20)
#define PLACE_ALIGNMENT  (2u << 20) /* at least */

/* The memory map in boot_params. */
#define E820_COUNT 0x1e8u
#define E820_TABLE 0x2d0u
#define E820_ENTRY 20u
#define E820_MAX   128u

/* "vga=" numbers of VESA modes (Documentation/admin-guide/svga.rst): this plus the VBE mode. */
#define VIDEO_VESA      0x200
#define VIDEO_VESA_LAST 0x8ff

static uint32_t get(const uint8_t *bytes, size_t offset, unsigned size)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)bytes[offset + i] << (8 * i);
    return value;
}

static void put(uint8_t *bytes, size_t offset, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        bytes[offset + i] = (uint8_t)(value >> (8 * i));
}

static bool check_kernel(const struct blob *kernel, const char *path, struct error *error)
{
    if (kernel->size < 0x1000 || get(kernel->bytes, HEADER_BOOT_FLAG, 2) != 0xaa55 ||
        memcmp(kernel->bytes + HEADER_MAGIC, "HdrS", 4) != 0)
        return error_set(error, "the kernel '%s' is no Linux bzImage, Multiboot or PVH kernel",
                         path);
    if (get(kernel->bytes, HEADER_VERSION, 2) < PROTOCOL_MIN ||
        !(get(kernel->bytes, HEADER_LOADFLAGS, 1) & LOADFLAG_HIGH))
        return error_set(error, "the kernel '%s' is older than boot protocol 2.06 or no bzImage",
                         path);
    unsigned sectors = kernel->bytes[HEADER_SETUP_SECTS] ? kernel->bytes[HEADER_SETUP_SECTS] : 4;
    if (kernel->size <= (sectors + 1) * 512u)
        return error_set(error, "the kernel '%s' is cut short: it ends within its setup code",
                         path);
    return true;
}

/* Page-aligned address as high as kernel and firmware allow; 0 and an error if it does not fit. */
static uint32_t place_initrd(const uint8_t *header, const struct bios_config *config, size_t size,
                             const char *path, struct error *error)
{
    uint64_t top = config->ram_low > FIRMWARE_RESERVE ? config->ram_low - FIRMWARE_RESERVE : 0;
    uint64_t limit = (uint64_t)get(header, HEADER_INITRD_MAX, 4) + 1;
    if (top > limit)
        top = limit;
    uint64_t preferred = get(header, HEADER_PREF_ADDRESS, 4);
    uint64_t bottom =
        (preferred > KERNEL_BASE ? preferred : KERNEL_BASE) + get(header, HEADER_INIT_SIZE, 4);
    if (bottom + size > top) {
        error_set(error,
                  "the initrd '%s' (%zu MiB) does not fit beside the kernel in %llu MiB of memory; "
                  "give the machine more with --memory",
                  path, (size + 0xfffff) >> 20,
                  (unsigned long long)(config->ram_low + config->ram_high) >> 20);
        return 0;
    }
    return (uint32_t)((top - size) & ~0xfffull);
}

/* The VBE mode that "vga=" on the command line asks for, 0 for text: the kernel's own setup code,
 * which would look at it, is not run. */
static bool find_video_mode(const char *command_line, uint32_t *vbe_mode, struct error *error)
{
    static const char name[] = "vga=";
    *vbe_mode = 0;
    for (const char *word = command_line; *word; word += strcspn(word, " ")) {
        word += strspn(word, " ");
        if (strncmp(word, name, sizeof name - 1) != 0)
            continue;
        const char *value = word + sizeof name - 1;
        size_t length = strcspn(value, " ");
        char *end;
        unsigned long mode = strtoul(value, &end, 0);
        bool text = length == 6 && memcmp(value, "normal", 6) == 0;
        if (!text && (end != value + length || mode < VIDEO_VESA || mode > VIDEO_VESA_LAST))
            return error_set(error,
                             "--append: vga=%.*s is no VESA mode; use for example vga=791 "
                             "(1024x768) or vga=normal",
                             (int)length, value);
        *vbe_mode = text ? 0 : (uint32_t)mode - VIDEO_VESA;
    }
    return true;
}

/* -- Unpacking -- */

/* Does a word of the command line begin with, or have to be, `name`? */
static bool command_line_has(const char *command_line, const char *name, bool whole)
{
    size_t length = strlen(name);

    for (const char *word = command_line; *word; word += strcspn(word, " ")) {
        word += strspn(word, " ");
        if (strncmp(word, name, length) == 0 &&
            (!whole || word[length] == ' ' || word[length] == 0))
            return true;
    }
    return false;
}

/* Words by which the decompressor changes where it puts the kernel. */
static bool command_line_limits(const char *command_line)
{
    static const char *const names[] = {"mem=", "memmap=", "hugepages"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (command_line_has(command_line, names[i], false))
            return true;
    return false;
}

static bool memory_source_read(void *opaque, uint64_t offset, void *bytes, size_t count)
{
    memcpy(bytes, (const uint8_t *)opaque + offset, count);
    return true;
}

/* What is known of a kernel before it is placed. */
struct unpacking {
    const uint8_t *header;
    const char *command_line;
    uint64_t memory_end;
    struct place_range initrd;
};

static bool refuse(const char **reason, const char *why)
{
    *reason = why;
    return false;
}

/* What room the kernel has: to choose from, or only where it prefers to be. */
static bool find_room(const struct unpacking *unpacking, const struct linux_payload *payload,
                      bool choose, struct linux_room *room, const char **reason)
{
    const uint64_t first[2] = {0};
    struct linux_place place;
    uint32_t lowest =
        choose && payload->preferred > PLACE_LOWEST_MAX ? PLACE_LOWEST_MAX : payload->preferred;

    *room = (struct linux_room){
        .memory = {lowest, unpacking->memory_end},
        .taken = unpacking->initrd,
        .size = get(unpacking->header, HEADER_INIT_SIZE, 4),
        .mapped_size =
            payload->file_size > payload->memory_size ? payload->file_size : payload->memory_size,
        .alignment = get(unpacking->header, HEADER_ALIGNMENT, 4),
        .preferred = payload->preferred,
        .link_base = payload_link_base(payload),
    };
    if (room->alignment < PLACE_ALIGNMENT || (room->alignment & (room->alignment - 1)) ||
        payload->preferred % room->alignment || payload->preferred < KERNEL_BASE)
        return refuse(reason, "its address is not aligned");
    if (payload->memory_size > room->size)
        return refuse(reason, "it needs more memory than its header says");
    uint64_t with_table = (uint64_t)payload->memory_size + payload_table_size(payload) + 4;
    if (choose && with_table > room->size)
        room->size = with_table;
    return (place_choose(room, first, &place) && (choose || place.address == lowest)) ||
           refuse(reason, "it has too little memory");
}

/* Adds the kernel unpacked. False with a reason: it has to unpack itself. */
static bool unpack(struct fw_cfg *fw_cfg, const struct blob *kernel, size_t setup_size,
                   const struct unpacking *unpacking, struct kernel_unpacked *unpacked,
                   const char **reason)
{
    const uint8_t *header = unpacking->header;
    uint64_t offset = get(header, HEADER_PAYLOAD_OFFSET, 4);
    uint64_t length = get(header, HEADER_PAYLOAD_LENGTH, 4);
    uint64_t preferred = get(header, HEADER_PREF_ADDRESS, 4) |
                         (uint64_t)get(header, HEADER_PREF_ADDRESS + 4, 4) << 32;
    struct linux_payload payload;
    struct linux_room room;

    if (offset > kernel->size - setup_size || length > kernel->size - setup_size - offset)
        return refuse(reason, "its packed data is cut short");
    const struct unpack_source source = {memory_source_read, kernel->bytes + setup_size + offset,
                                         length};
    if (!payload_inspect(&payload, &source, preferred, reason))
        return false;
    bool choose = header[HEADER_RELOCATABLE] && payload_table_size(&payload) &&
                  !command_line_has(unpacking->command_line, "nokaslr", true);
    if (choose && command_line_limits(unpacking->command_line))
        return refuse(reason, "its command line says what memory it may use");
    if (!find_room(unpacking, &payload, choose, &room, reason))
        return false;
    place_add(fw_cfg, FW_CFG_KERNEL_PLACE, payload.preferred, choose ? &room : NULL);
    unpacked->size =
        payload_add(fw_cfg, FW_CFG_KERNEL_UNPACKED, &payload, FW_CFG_KERNEL_DATA, offset, choose);
    unpacked->entry = payload.entry;
    unpacked->table = choose ? payload.memory_size : 0;
    return true;
}

/* -- Laying out -- */

static bool lay_out(struct fw_cfg *fw_cfg, const struct bios_config *config,
                    const struct blob *kernel, const struct blob *initrd,
                    const struct bios_kernel *files, struct error *error)
{
    const uint8_t *file = kernel->bytes;
    uint8_t params[BOOT_PARAMS_SIZE] = {0};
    unsigned sectors = file[HEADER_SETUP_SECTS] ? file[HEADER_SETUP_SECTS] : 4;
    size_t setup_size = (sectors + 1) * 512u;
    size_t header_end = 0x202u + file[HEADER_JUMP + 1];
    if (header_end > 0x290)
        header_end = 0x290; /* the field after the largest header known */
    memcpy(params + HEADER_SETUP_SECTS, file + HEADER_SETUP_SECTS, header_end - HEADER_SETUP_SECTS);

    const char *command_line = files->append ? files->append : "";
    size_t command_line_size = strlen(command_line) + 1;
    uint32_t command_line_max = get(file, HEADER_CMDLINE_SIZE, 4);
    if (command_line_size - 1 > command_line_max || command_line_size > COMMAND_LINE_MAX)
        return error_set(error, "--append is too long: %zu characters, this kernel takes %u",
                         command_line_size - 1, command_line_max);
    uint32_t vbe_mode;
    if (!find_video_mode(command_line, &vbe_mode, error))
        return false;

    uint64_t kernel_size = kernel->size - setup_size;
    uint64_t run_size = get(file, HEADER_INIT_SIZE, 4);
    if (KERNEL_BASE + (run_size > kernel_size ? run_size : kernel_size) + FIRMWARE_RESERVE >
        config->ram_low)
        return error_set(error,
                         "the kernel does not fit in %llu MiB of memory; give the machine more "
                         "with --memory",
                         (unsigned long long)(config->ram_low + config->ram_high) >> 20);

    struct unpacking unpacking = {
        .header = file,
        .command_line = command_line,
        .memory_end = config->ram_low - FIRMWARE_RESERVE,
    };
    unpacking.initrd = (struct place_range){unpacking.memory_end, unpacking.memory_end};
    struct kernel_piece pieces[KERNEL_PIECES];
    unsigned count = 0;
    pieces[count++] = (struct kernel_piece){FW_CFG_KERNEL_DATA, KERNEL_BASE,  file + setup_size,
                                            kernel_size,        kernel->path, setup_size};
    pieces[count++] = (struct kernel_piece){.key = FW_CFG_CMDLINE_DATA,
                                            .address = COMMAND_LINE,
                                            .bytes = command_line,
                                            .size = command_line_size};
    if (initrd) {
        uint32_t address = place_initrd(file, config, initrd->size, initrd->path, error);
        if (!address)
            return false;
        put(params, HEADER_RAMDISK_IMAGE, address, 4);
        put(params, HEADER_RAMDISK_SIZE, (uint32_t)initrd->size, 4);
        pieces[count++] = (struct kernel_piece){.key = FW_CFG_INITRD_DATA,
                                                .address = address,
                                                .size = initrd->size,
                                                .path = initrd->path};
        unpacking.initrd = (struct place_range){address, address + initrd->size};
    }
    put(params, HEADER_TYPE_OF_LOADER, LOADER_UNDEFINED, 1);
    put(params, HEADER_LOADFLAGS, get(params, HEADER_LOADFLAGS, 1) & ~LOADFLAG_HEAP, 1);
    put(params, HEADER_CMD_LINE_PTR, COMMAND_LINE, 4);
    pieces[count++] = (struct kernel_piece){
        .key = FW_CFG_SETUP_DATA, .address = BOOT_PARAMS, .bytes = params, .size = sizeof params};

    bool long_mode = get(file, HEADER_VERSION, 2) >= PROTOCOL_64 &&
                     (get(file, HEADER_XLOADFLAGS, 2) & XLOADFLAG_64);
    struct kernel_start start = {
        .kind = long_mode ? ENTRY_LINUX_64 : ENTRY_LINUX_32,
        .entry = long_mode ? KERNEL_BASE + 0x200 : KERNEL_BASE,
        .vbe_mode = vbe_mode,
        .map_offset = E820_TABLE,
        .map_stride = E820_ENTRY,
        .map_max = E820_MAX,
        .count_offset = E820_COUNT,
        .count_scale = 1,
    };
    const char *reason;
    if (long_mode && !files->unpack_in_guest &&
        !unpack(fw_cfg, kernel, setup_size, &unpacking, &start.unpacked, &reason))
        log_guest("the kernel has to unpack itself: %s", reason);
    return kernel_add_rom(fw_cfg, pieces, count, &start, error);
}

bool linux_add(struct fw_cfg *fw_cfg, const struct bios_config *config,
               const struct bios_kernel *files, const struct blob *kernel, struct error *error)
{
    struct blob initrd = {0};
    if (!check_kernel(kernel, files->kernel, error))
        return false;
    if (files->modules)
        return error_set(error, "--module: the kernel '%s' is a Linux bzImage; use --initrd",
                         files->kernel);
    return (!files->initrd || blob_find(&initrd, files->initrd, "initrd", 0x7fffffff, error)) &&
           lay_out(fw_cfg, config, kernel, files->initrd ? &initrd : NULL, files, error);
}
