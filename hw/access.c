/*
 * Splitting and widening of accesses between a bus and a device's handlers.
 */
#include "hw/access.h"

static unsigned min_size(const struct access_ops *ops)
{
    return ops->min_size ? ops->min_size : 1;
}

static unsigned max_size(const struct access_ops *ops)
{
    return ops->max_size ? ops->max_size : 4;
}

bool access_fits(const struct access_ops *ops, uint64_t length)
{
    return length % min_size(ops) == 0;
}

static bool taken_whole(const struct access_ops *ops, uint64_t offset, unsigned size)
{
    return size >= min_size(ops) && size <= max_size(ops) && (offset & (min_size(ops) - 1)) == 0;
}

/* The access misses the handler's grid: collects its bytes from whole words of min_size. */
static uint64_t read_words(const struct access_ops *ops, void *opaque, uint64_t offset,
                           unsigned size)
{
    unsigned word_size = min_size(ops);
    uint64_t value = 0;

    for (uint64_t at = offset & ~(uint64_t)(word_size - 1); at < offset + size; at += word_size) {
        uint64_t word = ops->read(opaque, at, word_size) & access_mask(word_size);
        value |= at >= offset ? word << (8 * (at - offset)) : word >> (8 * (offset - at));
    }
    return value & access_mask(size);
}

uint64_t access_read(const struct access_ops *ops, void *opaque, uint64_t offset, unsigned size)
{
    if (!ops->read)
        return access_mask(size);
    if (taken_whole(ops, offset, size))
        return ops->read(opaque, offset, size) & access_mask(size);
    if (size > max_size(ops)) {
        uint64_t value = 0;
        for (unsigned done = 0; done < size; done += max_size(ops))
            value |= access_read(ops, opaque, offset + done, max_size(ops)) << (8 * done);
        return value;
    }
    return read_words(ops, opaque, offset, size);
}

static void write_words(const struct access_ops *ops, void *opaque, uint64_t offset, uint64_t value,
                        unsigned size)
{
    unsigned word_size = min_size(ops);

    log_guest("a write of %u bytes to a register of %u bytes: the other bytes become 0", size,
              word_size);
    for (uint64_t at = offset & ~(uint64_t)(word_size - 1); at < offset + size; at += word_size) {
        uint64_t word = at >= offset ? value >> (8 * (at - offset)) : value << (8 * (offset - at));
        ops->write(opaque, at, word & access_mask(word_size), word_size);
    }
}

void access_write(const struct access_ops *ops, void *opaque, uint64_t offset, uint64_t value,
                  unsigned size)
{
    value &= access_mask(size);
    if (!ops->write)
        return;
    if (taken_whole(ops, offset, size)) {
        ops->write(opaque, offset, value, size);
    } else if (size > max_size(ops)) {
        for (unsigned done = 0; done < size; done += max_size(ops))
            access_write(ops, opaque, offset + done, value >> (8 * done), max_size(ops));
    } else {
        write_words(ops, opaque, offset, value, size);
    }
}
