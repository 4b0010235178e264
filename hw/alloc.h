/*
 * Allocation of the board's own bookkeeping. Sizes here never come from a guest; if the host has
 * not even that much, nothing sensible can go on.
 */
#ifndef DOPPEL_HW_ALLOC_H
#define DOPPEL_HW_ALLOC_H

#include <stdio.h>
#include <stdlib.h>

__attribute__((noreturn)) static inline void alloc_failed(size_t bytes)
{
    fprintf(stderr, "doppel: the host has no memory left (%zu bytes wanted)\n", bytes);
    abort();
}

/* Zeroed, never NULL; freed with free(). */
static inline void *alloc_zeroed(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);

    if (!memory)
        alloc_failed(bytes);
    return memory;
}

static inline void *alloc_grown(void *old, size_t bytes)
{
    void *memory = realloc(old, bytes);

    if (!memory)
        alloc_failed(bytes);
    return memory;
}

#endif
