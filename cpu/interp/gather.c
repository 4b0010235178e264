/*
 * Gathers: elements from addresses that a vector of indices gives. Intel SDM volume 2C, VPGATHERDD.
 *
 * First each element of the mask becomes its sign. Elements are loaded from the lowest to the
 * highest. Each one done clears its part of the mask at once, so that after a fault in a later one
 * the instruction goes on where it was.
 */
#include "cpu/interp/simd.h"

INLINE gva_t gather_address(struct cpu *cpu, const struct insn *insn, int64_t index, unsigned size)
{
    uint64_t base = insn->base == REG_IP ? cpu->rip + insn->length : cpu->gpr[insn->base];
    uint64_t offset = base + ((uint64_t)index << insn->scale) + (uint64_t)insn->disp;
    if (insn->addrsize != 8)
        offset = zero_extend(offset, insn->addrsize);
    return segment_linear(cpu, insn->seg, offset, size, ACCESS_READ);
}

INLINE void gather(struct cpu *cpu, const struct insn *insn, bool mem, enum vector_form form,
                   unsigned index_size, unsigned size)
{
    vector_begin(cpu, form);
    const unsigned count = form_bytes(form) / (index_size > size ? index_size : size);
    union vector *to = &cpu->xmm[insn->operand[0].reg], *mask = &cpu->xmm[insn->operand[2].reg];
    union vector index = cpu->xmm[insn->index];
    memset(to->u8 + form_bytes(form), 0, 32 - form_bytes(form));
    for (unsigned i = 0; i < form_bytes(form); i += size)
        memset(mask->u8 + i, (int8_t)mask->u8[i + size - 1] < 0 ? 0xff : 0, size);
    memset(mask->u8 + form_bytes(form), 0, 32 - form_bytes(form));
    for (unsigned i = 0; i < count; i++) {
        if ((size == 4 ? mask->s32[i] : mask->s64[i]) < 0) {
            int64_t at = index_size == 4 ? index.s32[i] : index.s64[i];
            uint64_t element = mem_read(cpu, gather_address(cpu, insn, at, size), size);
            memcpy(to->u8 + i * size, &element, size);
        }
        memset(mask->u8 + i * size, 0, size);
    }
    memset(to->u8 + count * size, 0, 32 - count * size);
    memset(mask->u8, 0, 32);
}

EXEC_VEX(VPGATHERDD, gather, 4, 4)
EXEC_VEX(VPGATHERDQ, gather, 4, 8)
EXEC_VEX(VPGATHERQD, gather, 8, 4)
EXEC_VEX(VPGATHERQQ, gather, 8, 8)
EXEC_VEX(VGATHERDPS, gather, 4, 4)
EXEC_VEX(VGATHERDPD, gather, 4, 8)
EXEC_VEX(VGATHERQPS, gather, 8, 4)
EXEC_VEX(VGATHERQPD, gather, 8, 8)
