/*
 * Sound Blaster 16: an ISA card of before Plug and Play, at its usual ports (220h).
 */
#ifndef DOPPEL_HW_AUDIO_SB16_H
#define DOPPEL_HW_AUDIO_SB16_H

#include "hw/audio/mixer.h"
#include "hw/chipset/i8237.h"

struct sb16;

/* The interrupts that the guest can choose from. */
enum { SB16_IRQ9, SB16_IRQ5, SB16_IRQ7, SB16_IRQ10, SB16_IRQS };

struct sb16 *sb16_new(struct device_list *list, struct io_bus *io, struct i8237 *dma,
                      const struct irq_line irq[SB16_IRQS], struct mixer *mixer, const char *id);

#endif
