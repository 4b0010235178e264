/*
 * The Internet checksum (RFC 1071) and numbers in network order, for network cards.
 */
#ifndef DOPPEL_HW_NETWORK_CHECKSUM_H
#define DOPPEL_HW_NETWORK_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t load16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint32_t load32(const uint8_t *bytes)
{
    return (uint32_t)load16(bytes) << 16 | load16(bytes + 2);
}

static inline void store16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static inline void store32(uint8_t *bytes, uint32_t value)
{
    store16(bytes, value >> 16);
    store16(bytes + 2, value);
}

/* Sum of 16-bit words in network order, not complemented. Sums can be added up; only a sum of no
 * ones at all is 0. */
static inline uint32_t sum_words(const uint8_t *data, size_t length)
{
    uint64_t sum = 0; /* of 32-bit words in the host's order: folding makes that the same */
    uint64_t word = 0;
    for (; length >= 8; data += 8, length -= 8) {
        memcpy(&word, data, 8);
        sum += (word & 0xffffffff) + (word >> 32);
    }
    word = 0;
    memcpy(&word, data, length);
    sum += (word & 0xffffffff) + (word >> 32);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    sum = __builtin_bswap16((uint16_t)sum);
#endif
    return (uint32_t)sum;
}

static inline uint16_t fold_sum(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)(sum + (sum >> 16));
}

#endif
