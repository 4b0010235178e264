/*
 * fw_cfg, the firmware configuration device.
 *
 * A guest selects an item by its 16-bit key and reads its bytes one after the other: at the data
 * port, or by a descriptor in memory whose address it writes, big-endian, to the DMA register:
 *
 *     u32 control   bit 0 error, 1 read, 2 skip, 3 select (key in the upper half), 4 write
 *     u32 length    bytes to read, skip or write
 *     u64 address   of the guest's buffer
 *
 * A control of 0 written back says that the transfer is complete. Behind an item's end come zeros.
 * Named items ("files") have keys from 0x20 up; item 0x19 is their directory.
 *
 * Items come from the machine's configuration, not from the guest, and are no part of the saved
 * state. No item can be written: a DMA write ends with the error bit.
 *
 * What is large and read once, a kernel and its initial RAM disk, stays in its file, or is made of
 * a file while the guest reads it.
 */
#include "hw/fw_cfg.h"
#include "hw/alloc.h"
#include "hw/image/format.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PORT_BASE      0x510
#define PORT_COUNT     12
#define REG_SELECTOR   0
#define REG_DATA       1
#define REG_DMA_HIGH   4
#define REG_DMA_LOW    8
#define DMA_SIGNATURE  "QEMU CFG"

#define ID_TRADITIONAL 1
#define ID_DMA         2

#define DMA_ERROR      0x01
#define DMA_READ       0x02
#define DMA_SKIP       0x04
#define DMA_SELECT     0x08
#define DMA_WRITE      0x10

#define FILE_NAME_SIZE 56
#define CHUNK_BYTES    16384

/* Contents in a file, which is as it was when the item was added as long as these two are. */
struct stored {
    int fd;
    uint64_t offset;
    off_t file_size;
    struct timespec modified;
    char *path;
    bool told; /* the user, that it changed */
};

struct item {
    uint16_t key;
    char name[FILE_NAME_SIZE]; /* files only */
    uint8_t *data;
    size_t size;
    struct stored *stored;            /* instead of `data`, or NULL */
    const struct fw_cfg_maker *maker; /* the same */
    void *opaque;
};

/* An entry of the directory, as the guest sees it. */
struct directory_entry {
    uint32_t size;
    uint16_t key;
    uint16_t reserved;
    char name[FILE_NAME_SIZE];
};

struct fw_cfg {
    struct device device;
    struct memory *memory;
    struct item *items;
    size_t item_count;
    uint16_t next_file_key;
    void (*selected)(void *opaque, uint16_t key);
    void *selected_opaque;
    void *kept;

    uint16_t selector;
    uint32_t offset;   /* within the selected item */
    uint32_t dma_high; /* upper half of the descriptor's address */
};

static const struct field fw_cfg_fields[] = {
    FIELD(struct fw_cfg, selector, 1),
    FIELD(struct fw_cfg, offset, 1),
    FIELD(struct fw_cfg, dma_high, 1),
    FIELD_END,
};

/* -- Items -- */

static struct item *find_key(const struct fw_cfg *fw_cfg, uint16_t key)
{
    for (size_t i = 0; i < fw_cfg->item_count; i++) {
        if (fw_cfg->items[i].key == key)
            return &fw_cfg->items[i];
    }
    return NULL;
}

static struct item *find_file(const struct fw_cfg *fw_cfg, const char *name)
{
    for (size_t i = 0; i < fw_cfg->item_count; i++) {
        if (fw_cfg->items[i].name[0] && strcmp(fw_cfg->items[i].name, name) == 0)
            return &fw_cfg->items[i];
    }
    return NULL;
}

static struct item *add_item(struct fw_cfg *fw_cfg, uint16_t key)
{
    fw_cfg->items = alloc_grown(fw_cfg->items, (fw_cfg->item_count + 1) * sizeof *fw_cfg->items);
    struct item *item = &fw_cfg->items[fw_cfg->item_count++];
    *item = (struct item){.key = key};
    return item;
}

static void free_contents(struct item *item)
{
    if (item->stored) {
        close(item->stored->fd);
        free(item->stored->path);
    }
    if (item->maker && item->maker->destroy)
        item->maker->destroy(item->opaque);
    free(item->stored);
    free(item->data);
    item->stored = NULL;
    item->maker = NULL;
    item->data = NULL;
}

static void set_contents(struct item *item, const void *data, size_t size)
{
    uint8_t *copy = alloc_zeroed(size);

    assert(size <= UINT32_MAX);
    if (size)
        memcpy(copy, data, size);
    free_contents(item);
    item->data = copy;
    item->size = size;
}

static struct item *item_for(struct fw_cfg *fw_cfg, uint16_t key)
{
    struct item *item = find_key(fw_cfg, key);

    return item ? item : add_item(fw_cfg, key);
}

void fw_cfg_add_bytes(struct fw_cfg *fw_cfg, uint16_t key, const void *data, size_t size)
{
    set_contents(item_for(fw_cfg, key), data, size);
}

bool fw_cfg_add_stored(struct fw_cfg *fw_cfg, uint16_t key, const char *path, uint64_t offset,
                       size_t size, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;

    assert(size <= UINT32_MAX);
    if (fd < 0 || fstat(fd, &status) < 0) {
        error_set(error, "cannot open '%s': %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (!S_ISREG(status.st_mode) || offset > (uint64_t)status.st_size ||
        size > (uint64_t)status.st_size - offset) {
        close(fd);
        return error_set(error, "'%s' changed while it was being read", path);
    }
    struct item *item = item_for(fw_cfg, key);
    free_contents(item);
    item->size = size;
    item->stored = alloc_zeroed(sizeof *item->stored);
    *item->stored = (struct stored){
        .fd = fd,
        .offset = offset,
        .file_size = status.st_size,
        .modified = status.st_mtim,
        .path = strdup(path),
    };
    return true;
}

void fw_cfg_add_made(struct fw_cfg *fw_cfg, uint16_t key, size_t size,
                     const struct fw_cfg_maker *maker, void *opaque)
{
    struct item *item = item_for(fw_cfg, key);

    assert(size <= UINT32_MAX);
    free_contents(item);
    item->size = size;
    item->maker = maker;
    item->opaque = opaque;
}

void fw_cfg_add_u16(struct fw_cfg *fw_cfg, uint16_t key, uint16_t value)
{
    value = htole16(value);
    fw_cfg_add_bytes(fw_cfg, key, &value, sizeof value);
}

void fw_cfg_add_u32(struct fw_cfg *fw_cfg, uint16_t key, uint32_t value)
{
    value = htole32(value);
    fw_cfg_add_bytes(fw_cfg, key, &value, sizeof value);
}

void fw_cfg_add_u64(struct fw_cfg *fw_cfg, uint16_t key, uint64_t value)
{
    value = htole64(value);
    fw_cfg_add_bytes(fw_cfg, key, &value, sizeof value);
}

static void make_directory(struct fw_cfg *fw_cfg)
{
    uint32_t files = (uint32_t)(fw_cfg->next_file_key - FW_CFG_FILE_FIRST);
    size_t size = sizeof files + files * sizeof(struct directory_entry);
    uint8_t *directory = alloc_zeroed(size);
    uint8_t *at = directory + sizeof files;

    for (size_t i = 0; i < fw_cfg->item_count; i++) {
        const struct item *item = &fw_cfg->items[i];
        if (!item->name[0])
            continue;
        struct directory_entry entry = {.size = htobe32((uint32_t)item->size),
                                        .key = htobe16(item->key)};
        memcpy(entry.name, item->name, sizeof entry.name);
        memcpy(at, &entry, sizeof entry);
        at += sizeof entry;
    }
    files = htobe32(files);
    memcpy(directory, &files, sizeof files);
    fw_cfg_add_bytes(fw_cfg, FW_CFG_FILE_DIR, directory, size);
    free(directory);
}

void fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *data, size_t size)
{
    struct item *item = find_file(fw_cfg, name);

    assert(name[0] && strlen(name) < FILE_NAME_SIZE);
    if (!item) {
        assert(fw_cfg->next_file_key < 0x4000);
        item = add_item(fw_cfg, fw_cfg->next_file_key++);
        strcpy(item->name, name);
    }
    set_contents(item, data, size);
    make_directory(fw_cfg);
}

const void *fw_cfg_file(const struct fw_cfg *fw_cfg, const char *name, size_t *size)
{
    const struct item *item = find_file(fw_cfg, name);

    *size = item ? item->size : 0;
    return item ? item->data : NULL;
}

uint16_t fw_cfg_file_key(const struct fw_cfg *fw_cfg, const char *name)
{
    const struct item *item = find_file(fw_cfg, name);

    return item ? item->key : 0;
}

void fw_cfg_on_select(struct fw_cfg *fw_cfg, void (*selected)(void *opaque, uint16_t key),
                      void *opaque)
{
    fw_cfg->selected = selected;
    fw_cfg->selected_opaque = opaque;
}

void fw_cfg_keep(struct fw_cfg *fw_cfg, void *memory)
{
    free(fw_cfg->kept);
    fw_cfg->kept = memory;
}

/* -- Selecting and reading -- */

static void rest_makers(struct fw_cfg *fw_cfg)
{
    for (size_t i = 0; i < fw_cfg->item_count; i++) {
        const struct item *item = &fw_cfg->items[i];
        if (item->maker && item->maker->rest)
            item->maker->rest(item->opaque);
    }
}

static void select_item(struct fw_cfg *fw_cfg, uint16_t key)
{
    rest_makers(fw_cfg);
    fw_cfg->selector = key;
    fw_cfg->offset = 0;
    if (fw_cfg->selected)
        fw_cfg->selected(fw_cfg->selected_opaque, key);
}

/* The selected item, with how many bytes it has from the current offset on. */
static const struct item *selected_item(const struct fw_cfg *fw_cfg, size_t *left)
{
    const struct item *item = find_key(fw_cfg, fw_cfg->selector);

    *left = item && fw_cfg->offset < item->size ? item->size - fw_cfg->offset : 0;
    return item;
}

/* A kernel of which parts changed would fail in strange ways: rather none, with a reason. */
static bool read_stored(struct stored *stored, uint32_t offset, uint8_t *bytes, size_t count)
{
    struct stat status;
    bool same = fstat(stored->fd, &status) == 0 && status.st_size == stored->file_size &&
                status.st_mtim.tv_sec == stored->modified.tv_sec &&
                status.st_mtim.tv_nsec == stored->modified.tv_nsec;

    if (same && file_read(stored->fd, stored->offset + offset, bytes, count) == 0)
        return true;
    if (!stored->told)
        fprintf(stderr, "doppel: '%s' %s; the guest cannot start from it again\n", stored->path,
                same ? "cannot be read any more" : "has changed since doppel was started");
    stored->told = true;
    return false;
}

/* Bytes of an item. False: they cannot be read. */
static bool read_item(const struct item *item, uint32_t offset, uint8_t *bytes, size_t count)
{
    if (item->stored)
        return read_stored(item->stored, offset, bytes, count);
    if (item->maker)
        return item->maker->read(item->opaque, offset, bytes, count);
    memcpy(bytes, item->data + offset, count);
    return true;
}

bool fw_cfg_read_item(struct fw_cfg *fw_cfg, uint16_t key, uint64_t offset, void *bytes,
                      size_t count)
{
    const struct item *item = find_key(fw_cfg, key);

    return item && offset <= item->size && count <= item->size - offset &&
           read_item(item, (uint32_t)offset, bytes, count);
}

static void advance(struct fw_cfg *fw_cfg, uint32_t count)
{
    fw_cfg->offset = count > UINT32_MAX - fw_cfg->offset ? UINT32_MAX : fw_cfg->offset + count;
}

static uint8_t read_byte(struct fw_cfg *fw_cfg)
{
    size_t left;
    const struct item *item = selected_item(fw_cfg, &left);
    uint8_t byte;

    if (!left || !read_item(item, fw_cfg->offset, &byte, 1))
        return 0;
    fw_cfg->offset++;
    return byte;
}

/* -- DMA -- */

struct dma_descriptor {
    uint32_t control;
    uint32_t length;
    uint64_t address;
};

static bool dma_read(struct fw_cfg *fw_cfg, uint64_t address, uint32_t length)
{
    uint8_t bytes[CHUNK_BYTES];
    size_t left;
    const struct item *item = selected_item(fw_cfg, &left);

    /* The first miss ends it, so that the work is bounded by the guest's memory. */
    for (uint32_t done = 0; done < length;) {
        size_t step = length - done < sizeof bytes ? length - done : sizeof bytes;
        size_t count = step < left ? step : left;
        if (count && !read_item(item, fw_cfg->offset + done, bytes, count))
            return false;
        memset(bytes + count, 0, step - count);
        if (!memory_dma_write(fw_cfg->memory, address + done, bytes, step))
            return false;
        done += (uint32_t)step;
        left -= count;
    }
    advance(fw_cfg, length);
    return true;
}

static void run_dma(struct fw_cfg *fw_cfg, uint64_t descriptor_address)
{
    struct dma_descriptor descriptor;
    bool ok = true;

    if (!memory_dma_read(fw_cfg->memory, descriptor_address, &descriptor, sizeof descriptor)) {
        log_guest("fw_cfg: the DMA descriptor lies outside of memory");
        return;
    }
    uint32_t control = be32toh(descriptor.control);
    uint32_t length = be32toh(descriptor.length);

    if (control & DMA_SELECT)
        select_item(fw_cfg, (uint16_t)(control >> 16));
    if (control & DMA_READ)
        ok = dma_read(fw_cfg, be64toh(descriptor.address), length);
    else if (control & DMA_WRITE)
        ok = false;
    else if (control & DMA_SKIP)
        advance(fw_cfg, length);

    uint32_t answer = htobe32(ok ? 0 : DMA_ERROR);
    memory_dma_write(fw_cfg->memory, descriptor_address, &answer, sizeof answer);
}

/* -- Ports -- */

static uint64_t fw_cfg_read(void *opaque, uint64_t offset, unsigned size)
{
    struct fw_cfg *fw_cfg = opaque;
    uint64_t value = 0;

    if (offset == REG_DATA && size == 1)
        return read_byte(fw_cfg);
    /* The DMA register answers with its signature, big-endian as everything in it. */
    if (offset >= REG_DMA_HIGH)
        memcpy(&value, &DMA_SIGNATURE[offset - REG_DMA_HIGH], size);
    return le64toh(value);
}

static void fw_cfg_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct fw_cfg *fw_cfg = opaque;

    if (offset == REG_SELECTOR && size == 2) {
        select_item(fw_cfg, (uint16_t)value);
    } else if (offset == REG_DMA_HIGH && size == 4) {
        fw_cfg->dma_high = __builtin_bswap32((uint32_t)value);
    } else if (offset == REG_DMA_LOW && size == 4) {
        uint64_t address = (uint64_t)fw_cfg->dma_high << 32 | __builtin_bswap32((uint32_t)value);
        fw_cfg->dma_high = 0;
        run_dma(fw_cfg, address);
    } else {
        log_guest("fw_cfg: write of %u bytes at register %u", size, (unsigned)offset);
    }
}

static const struct access_ops fw_cfg_ops = {fw_cfg_read, fw_cfg_write, 1, 4};

/* -- Life -- */

static void fw_cfg_reset(struct device *device)
{
    struct fw_cfg *fw_cfg = (struct fw_cfg *)device;

    fw_cfg->selector = FW_CFG_SIGNATURE;
    fw_cfg->offset = 0;
    fw_cfg->dma_high = 0;
    rest_makers(fw_cfg);
}

static void fw_cfg_destroy(struct device *device)
{
    struct fw_cfg *fw_cfg = (struct fw_cfg *)device;

    for (size_t i = 0; i < fw_cfg->item_count; i++)
        free_contents(&fw_cfg->items[i]);
    free(fw_cfg->items);
    free(fw_cfg->kept);
    free(fw_cfg);
}

static const struct device_ops fw_cfg_device_ops = {
    .name = "fw_cfg",
    .fields = fw_cfg_fields,
    .version = 1,
    .reset = fw_cfg_reset,
    .destroy = fw_cfg_destroy,
};

struct fw_cfg *fw_cfg_new(struct device_list *list, struct io_bus *io, struct memory *memory)
{
    struct fw_cfg *fw_cfg = alloc_zeroed(sizeof *fw_cfg);

    fw_cfg->memory = memory;
    fw_cfg->next_file_key = FW_CFG_FILE_FIRST;
    fw_cfg_add_bytes(fw_cfg, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_add_u32(fw_cfg, FW_CFG_ID, ID_TRADITIONAL | ID_DMA);
    make_directory(fw_cfg);
    io_bus_add(io, PORT_BASE, PORT_COUNT, &fw_cfg_ops, fw_cfg);
    device_add(list, &fw_cfg->device, &fw_cfg_device_ops, "fw_cfg");
    return fw_cfg;
}
