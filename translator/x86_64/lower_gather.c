/*
 * Gathers: each element has an address, and so a TLB check, of its own. The three vectors are put
 * into struct cpu, where their elements are at hand; the registers change only when all elements
 * are there, so the slow path may begin anew.
 *
 * for each element:
 *     test byte [mask element's top], 0x80 ; jz next
 *     movsxd rcx, [index element] ; shl rcx, scale ; add rcx, [base + disp]
 *     TLB check of rcx, as in lower_memory.c ; ja slow
 *     mov [destination's element], [rdx + rcx]
 */
#include "translator/x86_64/lower.h"

#define ELEMENTS_MAX 8

static struct host_mem element_at(unsigned reg, unsigned offset)
{
    return cpu_mem(CPU_AT(xmm) + (int32_t)(reg * sizeof(union vector) + offset));
}

/* VMOVDQA of all 32 bytes, from (store false) or to the register's place in struct cpu. */
static void move_vector(struct emit *e, unsigned reg, bool store)
{
    emit_vex_rm(e, (store ? 0x7f : 0x6f) | X_0F | X_66 | X_L, reg, 0, element_at(reg, 0));
}

/* The element whose address is in RCX goes to `to`. Returns the jump to the slow path. */
static uint8_t *load_element(struct lower *l, struct host_mem to, unsigned size)
{
    struct emit *e = l->e;
    stubs_load_tlb(e, 0);
    stubs_find_slot(stubs_of(l->engine), e, H_RCX, 0);
    uint8_t *slow = stubs_compare(e, ACCESS_READ, size, false);
    emit_load(e, 8, H_RDX, TLB_HOST);
    emit_load(e, size, H_RAX, (struct host_mem){H_RDX, H_RCX, 0, 0});
    emit_store(e, size, to, H_RAX);
    return slow;
}

void lower_gather(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    const struct insn *insn = &l->trace->insn[ir->insn];
    const struct gather_shape shape = gather_shape(insn);
    const unsigned to = insn->operand[0].reg, mask = insn->operand[2].reg, size = shape.size;
    const unsigned address_size = ir->aux >> 4;
    const struct host_mem base = cpu_mem(HOT_AT(scratch));
    uint8_t *slow[ELEMENTS_MAX];

    lower_clobber(l);
    emit_lea(e, 8, H_RCX, lower_address(l, ir));
    emit_store(e, 8, base, H_RCX);
    move_vector(e, to, true);
    move_vector(e, mask, true);
    move_vector(e, insn->index, true);
    for (unsigned i = 0; i < shape.count; i++) {
        emit_rm(e, 0xf6, 0, element_at(mask, i * size + size - 1)); /* test byte, imm8 */
        emit_byte(e, 0x80);
        uint8_t *next = emit_jcc8(e, CC_Z);
        if (shape.index_size == 4)
            emit_rm(e, 0x63 | X_W, H_RCX, element_at(insn->index, i * 4)); /* movsxd */
        else
            emit_load(e, 8, H_RCX, element_at(insn->index, i * 8));
        if (insn->scale)
            emit_shift_ri(e, SHIFT_SHL, 8, H_RCX, insn->scale);
        emit_alu_rm(e, ALU_ADD, address_size, H_RCX, base);
        slow[i] = load_element(l, element_at(to, i * size), size);
        emit_patch8(e, next);
    }
    uint8_t *done = emit_jmp8(e);
    for (unsigned i = 0; i < shape.count && emit_ok(e); i++)
        emit_patch(slow[i], e->at);
    lower_cold(l, COLD_SLOW, emit_jmp(e));
    emit_patch8(e, done);
    if (shape.count * size < 16) { /* bits 64 and up are cleared */
        emit_store_imm(e, 8, element_at(to, 8), 0);
    }
    if (shape.count * size < 32) /* vmovdqa xmm: clears the upper half */
        emit_vex_rm(e, 0x6f | X_0F | X_66, to, 0, element_at(to, 0));
    else
        move_vector(e, to, false);
    emit_vex_rr(e, 0xef | X_0F | X_66, mask, mask, mask); /* vpxor xmm */
}
