/*
 * Memory operands: from guest address to V_M.
 *
 * In warm blocks the check is called (stubs.c), in hot ones it is inline. That of `size` bytes at a
 * guest address (cpu/state.h): one TLB slot, one compare for page, right and page crossing. What is
 * compared is the offset in the page, if it passes.
 *
 *     lea  rcx, [address]
 *     mov  rax, [tlb]
 *     pext edx, ecx, [slot_mask]
 *     xor  rcx, [rax + rdx * 8 + tag]
 *     cmp  rcx, 4096 - size         ; test rcx, ~0xff0 for aligned 16-byte, ~0xfe0 for 32-byte
 *     ja   slow                     ; operands
 *     mov  rdx, [rax + rdx * 8 + host] ; operand: [rdx + rcx]
 *
 * Others in the same range use its host address. In a loop whose address moves the page that it was
 * in before stands in for the slot:
 *
 *     mov  rax, rcx
 *     xor  rax, [slot.page]
 *     cmp  rax, [slot.bound]        ; 4097 - size, or 0: no page yet
 *     jae  look into the TLB, fill the slot
 *     mov  rdx, [slot.distance]
 */
#include "translator/x86_64/lower.h"

#define SEG_AT(number, member)                                                                     \
    (CPU_AT(seg) + (int32_t)((number) * sizeof(struct segment)) +                                  \
     (int32_t)offsetof(struct segment, member))

static enum access access_of(const struct ir *ir)
{
    return ir->op == IR_MEM_READ && !ir->share_write ? ACCESS_READ : ACCESS_WRITE;
}

static void load_tlb(struct lower *l)
{
    if (l->held == HELD_TLB)
        return;
    stubs_load_tlb(l->e, 0);
    l->held = HELD_TLB;
    l->e->named = 0;
}

/* The check of a page known now, whose TLB slot has a known place: its host address in RDX. */
static void check_page(struct lower *l, const struct ir *ir, gva_t page, struct lower_exit *careful)
{
    struct emit *e = l->e;
    enum access access = access_of(ir);
    int32_t slot = (int32_t)(tlb_index(page) * sizeof(uint64_t));
    struct host_mem tag = host_at(H_RAX, tlb_tag(access).disp + slot);
    load_tlb(l);
    uint8_t *check = e->at;
    if ((uint64_t)(int64_t)(int32_t)page == page) {
        emit_alu_mi(e, ALU_CMP, 8, tag, (int32_t)page, false);
    } else {
        emit_mov_ri(e, H_RCX, page);
        emit_alu_mr(e, ALU_CMP, 8, tag, H_RCX, false);
    }
    struct cold *cold = lower_cold(l, COLD_REFILL, emit_jcc(e, CC_NZ));
    cold->back = check;
    cold->gva = H_NONE;
    cold->page = page;
    cold->access = access;
    cold->exit = careful;
    l->returns[cold->index] |= !careful;
    emit_load(e, 8, H_RDX, host_at(H_RAX, TLB_HOST.disp + slot));
}

/* An address known now. */
static void lower_constant(struct lower *l, const struct ir *ir, uint64_t gva)
{
    if ((gva & 0xfff) + ir->size > 4096 || (ir->aligned && gva & (ir->size - 1u))) {
        lower_cold(l, COLD_SLOW, emit_jmp(l->e));
        l->m = host_at(H_RDX, 0); /* what follows is never reached */
        return;
    }
    check_page(l, ir, gva & ~0xfffull, NULL);
    l->m = host_at(H_RDX, (int32_t)(gva & 0xfff));
}

/* Bit string instructions: RCX += byte offset of the unit that holds bit `ir->d`; V_T1 = the bit's
 * number within the unit. */
static void add_bit_offset(struct lower *l, const struct ir *ir, unsigned address_size)
{
    struct emit *e = l->e;
    struct host_mem mem;
    l->held = V_NONE;
    uint32_t extend = ir->size == 8 ? 0x8b | X_W : ir->size == 4 ? 0x63 | X_W : 0xbf | X_0F | X_W;
    if (lower_in_memory(l, ir->d, &mem))
        emit_rm(e, extend, H_RAX, mem);
    else
        emit_rr(e, extend, H_RAX, l->home[ir->d]);
    emit_shift_ri(e, SHIFT_SAR, 8, H_RAX, 3);
    emit_alu_ri(e, ALU_AND, 8, H_RAX, -(int32_t)ir->size);
    emit_alu_rr(e, ALU_ADD, address_size, H_RCX, H_RAX);
    unsigned bit = lower_use(l, ir->d, ir->size, H_RAX);
    if (bit != H_RAX)
        emit_mov_rr(e, 4, H_RAX, bit);
    emit_alu_ri(e, ALU_AND, 4, H_RAX, ir->size * 8 - 1);
    emit_store(e, 8, cpu_mem(HOT_AT(scratch)), H_RAX);
}

/* Limit and rights of a segment that is not flat; offset in RCX becomes linear. Data segments must
 * be writable and expand up, a CS override needs a readable code segment: all else is slow. */
static void check_segment(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    bool code = ir->seg == SEG_CS;
    unsigned wanted = SEGMENT_P | SEGMENT_S | SEGMENT_RW | (code ? SEGMENT_CODE : 0);
    l->held = V_NONE;
    unsigned mask = SEGMENT_P | SEGMENT_S | SEGMENT_RW | SEGMENT_CODE | (code ? 0 : SEGMENT_DC);
    emit_load(e, 2, H_RAX, cpu_mem(SEG_AT(ir->seg, attr)));
    emit_alu_ri(e, ALU_AND, 4, H_RAX, (int32_t)mask);
    emit_alu_ri(e, ALU_CMP, 4, H_RAX, (int32_t)wanted);
    lower_slow_if(l, CC_NZ);
    emit_load(e, 4, H_RAX, cpu_mem(SEG_AT(ir->seg, limit)));
    emit_lea(e, 8, H_RDX, host_at(H_RCX, ir->size - 1));
    emit_alu_rr(e, ALU_CMP, 8, H_RDX, H_RAX);
    lower_slow_if(l, CC_A);
    emit_alu_rm(e, ALU_ADD, 4, H_RCX, cpu_mem(SEG_AT(ir->seg, base)));
}

/* Goes on with an address whose TLB slot is to be found: it is in RCX then. */
static uint8_t *find_slot(struct lower *l, unsigned gva)
{
    load_tlb(l);
    stubs_find_slot(stubs_of(l->engine), l->e, gva, 0);
    if (gva != H_RCX)
        emit_mov_rr(l->e, 8, H_RCX, gva);
    return l->e->at;
}

/* Notes the TLB's slot, which matched, in one of the loop. RDX is the distance then, RCX the
 * address again. */
static void fill_loop_slot(struct emit *e, unsigned slot, enum access access, unsigned span)
{
    emit_lea(e, 8, H_RAX, (struct host_mem){H_RAX, H_RDX, 3, 0});
    emit_load(e, 8, H_RDX, host_at(H_RAX, tlb_tag(access).disp));
    emit_store(e, 8, loop_slot_mem(slot, page), H_RDX);
    emit_alu_rr(e, ALU_XOR, 8, H_RCX, H_RDX);
    emit_load(e, 8, H_RAX, host_at(H_RAX, TLB_HOST.disp));
    emit_alu_rr(e, ALU_SUB, 8, H_RAX, H_RDX);
    emit_store(e, 8, loop_slot_mem(slot, distance), H_RAX);
    emit_mov_rr(e, 8, H_RDX, H_RAX);
    emit_store_imm(e, 8, loop_slot_mem(slot, bound), 4097 - (int32_t)span);
}

/* Where members of a group find what its check has noted: the host address of the range, or the
 * distance. */
static struct host_mem share_mem(const struct ir *ir)
{
    unsigned slot = ir->share - 1u;
    if (slot < SHARES)
        return cpu_mem(HOT_AT(share) + (int32_t)slot * 8);
    return ir->share_start ? loop_slot_mem(slot - SHARES, start)
                           : loop_slot_mem(slot - SHARES, distance);
}

/* The check of a group has found its range at RDX + `with`, and noted RDX for a loop if others want
 * that: notes the range's host address if they want it, and gives the operand. Keeps flags. */
static void note_share(struct lower *l, const struct ir *ir, unsigned with)
{
    if (ir->share_start) {
        emit_lea(l->e, 8, H_RDX, (struct host_mem){H_RDX, (uint8_t)with, 0, 0});
        emit_store(l->e, 8, share_mem(ir), H_RDX);
    }
    /* The range lies in one page: no address in it wraps around. */
    l->m = (struct host_mem){H_RDX, ir->share_start ? H_NONE : (uint8_t)with, 0, -ir->share_low};
    l->share[0] = ir->share;
    l->share_used = 0;
}

/* The check of the alignment of a range whose offset in the page is in `reg`; without members
 * behind it its instruction has a slow path. */
static void check_alignment(struct lower *l, unsigned reg, bool shared)
{
    emit_rr(l->e, 0xf6 | X_BYTE_RM, 0, reg); /* test reg, 15 */
    emit_byte(l->e, 15);
    uint8_t *field = emit_jcc(l->e, CC_NZ);
    if (shared)
        lower_cold(l, COLD_EXIT, field)->exit = lower_careful_exit(l);
    else
        lower_cold(l, COLD_SLOW, field);
}

/* The TLB check of `span` bytes at register `gva`: their offset in the page in RCX; TLB_HOST has
 * its host address. */
static struct cold *emit_check(struct lower *l, const struct ir *ir, unsigned gva, unsigned span,
                               bool aligned, struct lower_exit *careful)
{
    struct emit *e = l->e;
    uint8_t *check = find_slot(l, gva);
    bool together = aligned && (span == 16 || span == 32);
    uint8_t *miss = stubs_compare(e, access_of(ir), span, together);
    struct cold *cold = lower_cold(l, COLD_REFILL, miss);
    if (aligned && !together) /* tags are page addresses: the low bits are the address's own */
        check_alignment(l, H_RCX, careful != NULL);
    cold->back = check;
    cold->gva = (uint8_t)gva;
    cold->access = access_of(ir);
    cold->span = (uint16_t)span;
    cold->exit = careful;
    l->returns[cold->index] |= !careful;
    return cold;
}

/* The same by a slot of the loop. */
static void emit_slot_check(struct lower *l, const struct ir *ir, unsigned gva,
                            struct lower_exit *careful)
{
    struct emit *e = l->e;
    unsigned slot = ir->share - 1u - SHARES;
    emit_mov_rr(e, 8, H_RAX, gva);
    emit_alu_rm(e, ALU_XOR, 8, H_RAX, loop_slot_mem(slot, page));
    if (ir->share_aligned)
        check_alignment(l, H_RAX, careful != NULL);
    emit_alu_rm(e, ALU_CMP, 8, H_RAX, loop_slot_mem(slot, bound));
    struct cold *cold = lower_cold(l, COLD_SLOT, emit_jcc(e, CC_NC));
    cold->slot = (uint8_t)(slot + 1);
    cold->gva = (uint8_t)gva;
    cold->span = ir->share_span;
    cold->access = access_of(ir);
    cold->exit = careful;
    l->returns[cold->index] |= !careful;
    emit_load(e, 8, H_RDX, loop_slot_mem(slot, distance));
    cold->after = e->at;
}

/* The TLB's slot may be that for one access beside code (stubs.c): the loop's gets its distance,
 * but stays empty. */
static void pass_beside_code(struct lower *l, const struct cold *cold)
{
    struct emit *e = l->e;
    emit_alu_ri(e, ALU_CMP, 4, H_RDX, TLB_PASSED);
    emit_patch(emit_jcc(e, CC_NZ), cold->back);
    emit_alu_rm(e, ALU_XOR, 8, H_RCX, tlb_tag(cold->access));
    fill_loop_slot(e, cold->slot - 1u, cold->access, 4097);
    emit_jmp_to(e, cold->after);
}

/* A miss in the slot: the TLB's entry may be good. */
static void lower_slot_miss(struct lower *l, struct cold *cold)
{
    struct emit *e = l->e;
    l->held = V_NONE;
    cold->back = find_slot(l, cold->gva);
    uint8_t *refill = stubs_compare(e, cold->access, cold->span, false);
    fill_loop_slot(e, cold->slot - 1u, cold->access, cold->span);
    emit_jmp_to(e, cold->after);
    if (emit_ok(e))
        emit_patch(refill, e->at);
}

void lower_refill(struct lower *l, struct cold *cold)
{
    const struct x86_stubs *stubs = stubs_of(l->engine);
    struct emit *e = l->e;
    bool write = cold->access == ACCESS_WRITE;
    if (cold->kind == COLD_SLOT)
        lower_slot_miss(l, cold);
    if (cold->gva == H_NONE) {
        emit_mov_ri(e, H_RCX, cold->page);
        emit_call_to(e, stubs->refill_constant[write]);
        emit_patch(emit_jcc(e, CC_NZ), cold->back);
        return;
    }
    if (write)
        emit_mov_ri(e, H_RAX, cold->span);
    emit_call_to(e, stubs->refill[write]);
    if (write && cold->slot) {
        uint8_t *failed = emit_jcc8(e, CC_Z);
        pass_beside_code(l, cold);
        emit_patch8(e, failed);
    } else {
        emit_patch(emit_jcc(e, CC_NZ), cold->back);
    }
}

static const uint8_t share_registers[2] = {H_RDX, H_RCX};

/* MULX wants the host's RDX for its multiplier. */
static bool multiplies(const struct lower *l, const struct ir *mem)
{
    return mem[1].op == IR_BITS && l->trace->insn[mem->insn].op == OP_MULX;
}

/* A register with what the access's shared check has noted: RDX, or RCX if that is free. */
static unsigned load_share(struct lower *l, const struct ir *ir, bool rcx_free)
{
    if (rcx_free && multiplies(l, ir)) {
        if (l->share[1] != ir->share)
            emit_load(l->e, 8, H_RCX, share_mem(ir));
        l->share[1] = ir->share;
        return H_RCX;
    }
    for (unsigned i = 0; i < 1u + rcx_free; i++)
        if (l->share[i] == ir->share) {
            l->share_used = (uint8_t)i;
            return share_registers[i];
        }
    unsigned to = 0;
    if (rcx_free && l->share[0])
        to = l->share[1] ? !l->share_used : 1;
    emit_load(l->e, 8, share_registers[to], share_mem(ir));
    l->share[to] = ir->share;
    l->share_used = (uint8_t)to;
    return share_registers[to];
}

static bool in_register(const struct lower *l, unsigned value)
{
    return value < 16 && l->home[value] != H_NONE;
}

bool lower_is_plain(const struct ir *ir)
{
    switch (ir->op) {
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROL:
    case IR_ROR:
        return ir->b == V_IMM;
    case IR_MOV:
    case IR_MOVZX:
    case IR_MOVSX:
    case IR_BSWAP:
    case IR_CMOV:
    case IR_SETCC:
    case IR_ADD:
    case IR_OR:
    case IR_ADC:
    case IR_SBB:
    case IR_AND:
    case IR_SUB:
    case IR_XOR:
    case IR_CMP:
    case IR_TEST:
    case IR_INC:
    case IR_DEC:
    case IR_NEG:
    case IR_NOT:
    case IR_IMUL:
        return true;
    default:
        return false;
    }
}

bool lower_keeps_shares(const struct lower *l, const struct ir *ir)
{
    switch (ir->op) {
    case IR_MEM_READ:
    case IR_MEM_WRITE:
    case IR_MEM_MODIFY:
    case IR_BITS: /* see to it themselves */
    case IR_BRANCH:
    case IR_EVENT:
    case IR_X87:
        return true;
    case IR_VECTOR:
        return !lower_vector_uses_rcx(l, ir);
    case IR_LEA:
        return !ir->floats && (ir->a == V_ZERO || in_register(l, ir->a)) &&
               (ir->b == V_ZERO || in_register(l, ir->b)) && ir->imm == (int32_t)ir->imm;
    default:
        if (!lower_is_plain(ir))
            return false;
    }
    const uint8_t values[] = {ir->d, ir->a, ir->b};
    for (unsigned i = 0; i < sizeof values; i++)
        if (is_high(values[i]))
            return false;
    return true;
}

/* The operand of an access that a shared check has passed. Keeps flags. */
static void use_share(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    bool wide = ir->aux >> 4 == 8;
    if (ir->share_start) {
        l->m = host_at(load_share(l, ir, true), -ir->share_low);
        return;
    }
    /* A loop's address that moves: it has registers. */
    if (wide && in_register(l, ir->a) && ir->b == V_ZERO && ir->seg == SEG_COUNT) {
        unsigned distance = load_share(l, ir, true);
        l->m = (struct host_mem){(uint8_t)distance, l->home[ir->a], 0, (int32_t)ir->imm};
        return;
    }
    load_share(l, ir, false);
    l->share[1] = 0;
    struct host_mem mem = lower_address(l, ir);
    if (wide && mem.index == H_NONE && ir->seg == SEG_COUNT) {
        l->m = (struct host_mem){H_RDX, mem.base, 0, mem.disp};
        return;
    }
    emit_lea(e, wide ? 8 : 4, H_RCX, mem);
    if (ir->seg != SEG_COUNT) {
        emit_load(e, 8, H_RAX, cpu_mem(SEG_AT(ir->seg, base)));
        emit_lea(e, 8, H_RCX, (struct host_mem){H_RCX, H_RAX, 0, 0});
    }
    l->m = (struct host_mem){H_RDX, H_RCX, 0, 0};
}

/* A warm block calls the check of the address in RCX. */
static void call_check(struct lower *l, const struct ir *ir, enum check_kind kind, bool shared)
{
    emit_call_to(l->e, stubs_of(l->engine)->check[access_of(ir) == ACCESS_WRITE][kind]);
    lower_called_check(l, shared);
    l->m = (struct host_mem){H_RDX, H_RCX, 0, 0};
}

/* The first access of a group in a warm block. */
static void call_shared_check(struct lower *l, const struct ir *ir, bool constant)
{
    enum check_kind kind = check_kind(ir->share_span, ir->share_aligned);
    if (constant && ir->seg == SEG_COUNT) /* an aligned start is known, another never passes */
        kind = ir->share_aligned && (ir->imm + ir->share_low) & 15 ? CHECK_ALIGNED : CHECK_PAGE;
    call_check(l, ir, kind, !ir->share_alone);
    note_share(l, ir, H_RCX);
}

/* The first access of a group: checks the whole range. */
static void lower_shared_check(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    bool warm = !l->block->hot, constant = ir->a == V_ZERO && ir->b == V_ZERO;
    struct lower_exit *careful = warm || ir->share_alone ? NULL : lower_careful_exit(l);
    bool of_loop = ir->share > SHARES, wide = ir->aux >> 4 == 8;
    unsigned gva = H_RCX;
    struct ir range = *ir;
    range.imm += ir->share_low;
    if (constant && !warm && ir->seg == SEG_COUNT && !ir->floats) {
        gva_t page = wide ? (uint64_t)range.imm : (uint32_t)range.imm;
        lower_clobber(l);
        check_page(l, ir, page, careful);
        emit_store(e, 8, share_mem(ir), H_RDX);
        l->m = host_at(H_RDX, -ir->share_low);
        l->share[0] = ir->share;
        l->share_used = 0;
        return;
    }
    if (constant && !ir->floats) {
        emit_mov_ri(e, H_RCX, wide ? (uint64_t)range.imm : (uint32_t)range.imm);
    } else {
        struct host_mem mem = lower_address(l, &range);
        if (!warm && wide && ir->seg == SEG_COUNT && mem.index == H_NONE && mem.disp == 0 &&
            mem.base != H_RDX && mem.base != H_RAX)
            gva = mem.base;
        else
            emit_lea(e, wide ? 8 : 4, H_RCX, mem);
    }
    lower_clobber(l); /* nothing so far has touched flags */
    if (ir->seg != SEG_COUNT)
        emit_alu_rm(e, ALU_ADD, 8, H_RCX, cpu_mem(SEG_AT(ir->seg, base)));
    if (warm) {
        call_shared_check(l, ir, constant);
        return;
    }
    if (of_loop && (l->next || ir->share_again)) {
        emit_slot_check(l, ir, gva, careful);
    } else {
        struct cold *cold = emit_check(l, ir, gva, ir->share_span, ir->share_aligned, careful);
        if (of_loop && !ir->invariant) {
            cold->slot = (uint8_t)(ir->share - SHARES);
            if (ir->share_alone)
                cold->empty = cold->slot;
            fill_loop_slot(e, cold->slot - 1u, access_of(ir), ir->share_span);
            cold->after = e->at;
        } else {
            emit_load(e, 8, H_RDX, TLB_HOST);
            gva = H_RCX;
        }
    }
    note_share(l, ir, gva);
}

void lower_memory(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    unsigned address_size = ir->aux >> 4;
    unsigned gva = H_RCX;

    if (ir->window && lower_window(l, ir))
        return;
    if (ir->share && (!ir->share_check || (l->next && ir->invariant))) {
        use_share(l, ir);
        return;
    }
    lower_forget_shares(l);
    bool warm = !l->block->hot;
    if (warm)
        lower_store_pointers(l, &l->note);
    if (ir->share) {
        lower_shared_check(l, ir);
        return;
    }
    if (!warm && ir->a == V_ZERO && ir->b == V_ZERO && ir->seg == SEG_COUNT && !ir->bit_offset) {
        uint64_t address = (uint64_t)ir->imm;
        if (address_size == 4)
            address = (uint32_t)address;
        else if (address_size == 2)
            address = (uint16_t)address;
        lower_clobber(l);
        lower_constant(l, ir, address);
        return;
    }

    struct host_mem mem = lower_address(l, ir);
    bool plain = !warm && address_size == 8 && ir->seg == SEG_COUNT && !ir->bit_offset &&
                 mem.index == H_NONE && mem.disp == 0 && mem.base != H_RAX && mem.base != H_RDX;
    if (!plain)
        emit_lea(e, address_size == 8 ? 8 : 4, H_RCX, mem);
    lower_clobber(l); /* nothing so far has touched flags */
    if (plain) {
        gva = mem.base;
    } else {
        if (address_size == 2)
            emit_rr(e, 0xb7 | X_0F, H_RCX, H_RCX); /* movzx ecx, cx */
        if (ir->bit_offset)
            add_bit_offset(l, ir, address_size);
        if (ir->checked)
            check_segment(l, ir);
        else if (ir->seg != SEG_COUNT)
            emit_alu_rm(e, ALU_ADD, 8, H_RCX, cpu_mem(SEG_AT(ir->seg, base)));
    }
    if (warm) {
        call_check(l, ir, check_kind(ir->size, ir->aligned), false);
        return;
    }
    emit_check(l, ir, gva, ir->size, ir->aligned, NULL);
    emit_load(e, 8, H_RDX, TLB_HOST);
    l->m = (struct host_mem){H_RDX, H_RCX, 0, 0};
}
