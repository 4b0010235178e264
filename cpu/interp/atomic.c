/*
 * LOCKed read-modify-writes: host atomics on the guest's RAM, so that they are atomic to every
 * access of every CPU thread.
 *
 * What no host atomic reaches - operands across a page, device memory, and on hosts other than x86
 * misaligned operands - is done under one lock: atomic to other such accesses, not to plain ones. It
 * is process-wide because nothing is gained by having more.
 */
#include "cpu/interp/operand.h"

#include <pthread.h>

static pthread_mutex_t split_lock = PTHREAD_MUTEX_INITIALIZER;

static bool host_can(const void *host, unsigned size)
{
#if defined(__x86_64__) || defined(__i386__)
    return host != NULL;
#else
    return host != NULL && ((uintptr_t)host & (size - 1)) == 0;
#endif
}

#define HOST_EXCHANGE(type)                                                                        \
    {                                                                                              \
        type old = __sync_val_compare_and_swap((type *)host, (type)*expected, (type)desired);      \
        bool done = old == (type)*expected;                                                        \
        *expected = old;                                                                           \
        return done;                                                                               \
    }

__attribute__((no_sanitize("alignment"))) static bool host_exchange(void *host, uint64_t *expected,
                                                                    uint64_t desired, unsigned size)
{
    switch (size) {
    case 1:
        HOST_EXCHANGE(uint8_t)
    case 2:
        HOST_EXCHANGE(uint16_t)
    case 4:
        HOST_EXCHANGE(uint32_t)
    default:
        HOST_EXCHANGE(uint64_t)
    }
}

/*
 * Nothing below the lock can fault: mem_rmw() resolved the same bytes in this instruction, and the
 * TLB that remembers it is flushed between instructions only.
 */
bool mem_compare_exchange(struct cpu *cpu, gva_t gva, uint64_t *expected, uint64_t desired,
                          unsigned size)
{
    void *host = mem_host_modify(cpu, gva, size);

    if (host_can(host, size))
        return host_exchange(host, expected, desired, size);

    pthread_mutex_lock(&split_lock);
    uint64_t old = mem_rmw_slow(cpu, gva, size);
    bool done = old == *expected;
    if (done)
        mem_write_slow(cpu, gva, desired, size);
    pthread_mutex_unlock(&split_lock);
    *expected = old;
    return done;
}

#if defined(__x86_64__)
#define HOST_HAS_128 1
static bool host_exchange_128(void *host, uint64_t expected[2], const uint64_t desired[2])
{
    bool done;
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(done), "+m"(*(uint64_t(*)[2])host), "+a"(expected[0]),
                       "+d"(expected[1])
                     : "b"(desired[0]), "c"(desired[1])
                     : "memory");
    return done;
}
#elif defined(__GCC_HAVE_SYNC_COMPARE_AND_SWAP_16)
#define HOST_HAS_128 1
static bool host_exchange_128(void *host, uint64_t expected[2], const uint64_t desired[2])
{
    unsigned __int128 compare, value, old;
    memcpy(&compare, expected, sizeof compare);
    memcpy(&value, desired, sizeof value);
    old = __sync_val_compare_and_swap((unsigned __int128 *)host, compare, value);
    memcpy(expected, &old, sizeof old);
    return old == compare;
}
#else
#define HOST_HAS_128 0
static bool host_exchange_128(void *host, uint64_t expected[2], const uint64_t desired[2])
{
    return false;
}
#endif

bool mem_compare_exchange_128(struct cpu *cpu, gva_t gva, uint64_t expected[2],
                              const uint64_t desired[2])
{
    void *host = mem_host_modify(cpu, gva, 16);

    if (HOST_HAS_128 && host)
        return host_exchange_128(host, expected, desired);

    pthread_mutex_lock(&split_lock);
    uint64_t old[2] = {mem_rmw_slow(cpu, gva, 8), mem_rmw_slow(cpu, gva + 8, 8)};
    bool done = old[0] == expected[0] && old[1] == expected[1];
    if (done) {
        mem_write_slow(cpu, gva, desired[0], 8);
        mem_write_slow(cpu, gva + 8, desired[1], 8);
    }
    pthread_mutex_unlock(&split_lock);
    memcpy(expected, old, sizeof old);
    return done;
}
