/*
 * Which guest bytes are cached as decoded or translated code: per physical page, one bit for each
 * 64-byte line. A store to a page with any bit set takes the TLB's slow path, which checks the
 * line: data beside code costs a few cycles, code that is overwritten is dropped.
 *
 * One map a machine, shared by its CPUs. Covers RAM (gpa below `limit`); code elsewhere (ROM) is
 * never tracked: it changes only with the memory layout, and if that changes there, everything is
 * dropped (code_drop_all).
 */
#ifndef DOPPEL_CPU_CODE_H
#define DOPPEL_CPU_CODE_H

#include "cpu/state.h"

#define CODE_LINE_SHIFT 6

struct code_listener {
    /* Cached code that overlaps [gpa, gpa + size) is stale. Called on the writing CPU's thread. */
    void (*written)(void *opaque, gpa_t gpa, uint64_t size);
    void (*drop_all)(void *opaque);
    void *opaque;
};

struct code_map *code_map_new(gpa_t limit);
void code_map_free(struct code_map *map);
void code_listen(struct code_map *map, const struct code_listener *listener);
void code_unlisten(struct code_map *map, const void *opaque);

/* The engines note that [gpa, gpa + size) within one page was decoded. True if the page had none
 * before: the caller must make write TLB entries of that page slow (tlb_protect_page). */
bool code_mark(struct code_map *map, gpa_t gpa, unsigned size);
/* For generated code: the marks, by page number, of RAM up to *limit; bit i for line i. */
const _Atomic uint64_t *code_lines(const struct code_map *map, gpa_t *limit);
/* Any line of the page marked? (TLB fill) */
bool code_page_marked(const struct code_map *map, gpa_t gpa);
/* A store or DMA of `size` bytes is about to happen or has happened: tells the listeners if it
 * touches a marked line (whole lines are reported), clears those marks, returns true then. Cheap
 * when it does not. */
bool code_written(struct code_map *map, gpa_t gpa, uint64_t size);
void code_drop_all(struct code_map *map);

/* From threads that are no CPU's: noted here, told to the listeners when a CPU handles
 * EVENT_FLUSH_CODE by code_run_queue(). Written (DMA): true if the range holds code, so that the
 * event is worth posting. Moved: other memory is in [first, end) now. */
bool code_queue_written(struct code_map *map, gpa_t gpa, uint64_t size);
void code_queue_moved(struct code_map *map, gpa_t first, gpa_t end);
void code_run_queue(struct code_map *map);
static inline bool code_tracked(gpa_t gpa, gpa_t limit)
{
    return gpa < limit;
}

#endif
