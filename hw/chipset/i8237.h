/*
 * The pair of DMA controllers of the AT: channels 0-3 move bytes, 5-7 words; 4 is the cascade.
 */
#ifndef DOPPEL_HW_CHIPSET_I8237_H
#define DOPPEL_HW_CHIPSET_I8237_H

#include "hw/memory.h"

struct i8237;

/* Claims 0x00-0x0f, 0xc0-0xdf and the page registers 0x80-0x8f. */
struct i8237 *i8237_new(struct device_list *list, struct io_bus *io, struct memory *memory,
                        const char *id);

/*
 * A device on `channel` (0-3, 5-7) has `length` bytes to move. To memory for a channel in write
 * mode, from memory in read mode; in verify mode nothing is moved but counted. Returns the bytes
 * moved: fewer at terminal count (*terminal_count is then true), 0 if the channel is masked,
 * disabled or programmed for the other direction.
 */
size_t i8237_write_memory(struct i8237 *dma, int channel, const void *data, size_t length,
                          bool *terminal_count);
size_t i8237_read_memory(struct i8237 *dma, int channel, void *data, size_t length,
                         bool *terminal_count);

/* A device that moves data by the clock brings its channel up to date in `accessed`, which is
 * called before the guest reads or writes a register of the two controllers. One device only. */
void i8237_on_access(struct i8237 *dma, void (*accessed)(void *opaque), void *opaque);

#endif
