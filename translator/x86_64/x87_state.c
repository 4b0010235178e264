/*
 * Guest x87 state to and from the host's x87 unit, by FRSTOR and FNSAVE. Instruction and data
 * pointers stay in struct cpu, since the host's are not the guest's.
 *
 * Compiled without vector registers, which hold the guest's when these functions are called.
 */
#include "translator/x86_64/lower.h"

/* SDM volume 1, figure 8-9: protected mode, 32-bit; registers from ST(0) on. */
struct image {
    uint32_t control, status, tags, pointers[4];
    struct {
        uint64_t mantissa;
        uint16_t exponent;
    } __attribute__((packed)) st[8];
} __attribute__((packed));

#define TOP_SHIFT 11

bool x87_load(struct cpu *cpu)
{
    struct x87 *x87 = &cpu->x87;
    struct image image;
    uint32_t tags = 0;
    if (!x87_usable(cpu))
        return false;
    for (unsigned i = 0; i < 8; i++) {
        const struct float80 *reg = &x87->reg[(x87->top + i) & 7];
        image.st[i].mantissa = reg->mantissa;
        image.st[i].exponent = reg->exponent;
        tags |= (x87->empty >> i & 1) * 3u << 2 * i;
    }
    image.control = x87->control;
    image.status = x87->status | (uint32_t)x87->top << TOP_SHIFT;
    image.tags = tags;
    image.pointers[0] = image.pointers[1] = image.pointers[2] = image.pointers[3] = 0;
    __asm__ volatile("frstor %0" : : "m"(image));
    engine_hot(cpu)->x87_loaded = true;
    return true;
}

void x87_store(struct cpu *cpu)
{
    struct x87 *x87 = &cpu->x87;
    struct image image;
    __asm__ volatile("fnsave %0" : "=m"(image)); /* and FNINIT: as C code wants it */
    x87->control = (uint16_t)image.control;
    x87->top = image.status >> TOP_SHIFT & 7;
    x87->status = (uint16_t)(image.status & ~(7u << TOP_SHIFT));
    x87->empty = 0;
    for (unsigned i = 0; i < 8; i++) {
        struct float80 *reg = &x87->reg[(x87->top + i) & 7];
        reg->mantissa = image.st[i].mantissa;
        reg->exponent = image.st[i].exponent;
        if ((image.tags >> 2 * i & 3) == 3)
            x87->empty |= (uint8_t)(1u << i);
    }
    engine_hot(cpu)->x87_loaded = false;
}
