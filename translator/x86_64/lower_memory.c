/*
 * Memory operands: from guest address to V_M.
 *
 * In warm blocks the check is called (stubs.c), in hot ones it is inline. That of `size` bytes at a
 * guest address (cpu/state.h): one TLB entry, one compare for page, right and page crossing, then
 * the distance to host memory in RDX.
 *
 *     lea  rcx, [address]
 *     rorx edx, ecx, 7              ; index of the page, times 32 bytes an entry
 *     and  edx, (TLB_ENTRIES - 1) << 5
 *     add  rdx, [tlb]
 *     mov  rax, rcx
 *     xor  rax, [rdx + tag]
 *     cmp  rax, 4096 - size         ; test rax, ~0xff0 for aligned 16-byte, ~0xfe0 for 32-byte
 * operands ja   slow mov  rdx, [rdx + addend]      ; operand: [rdx + rcx]
 *
 * In a loop the page that the address was in before stands in for the entry:
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

static int32_t tag_of(const struct ir *ir)
{
    return ir->op == IR_MEM_READ && !ir->share_write ? READ_TAG : WRITE_TAG;
}

/* An address known now: its TLB entry has a known place. */
static void lower_constant(struct lower *l, const struct ir *ir, uint64_t gva)
{
    struct emit *e = l->e;
    int32_t entry = (int32_t)(tlb_index(gva) * sizeof(struct tlb_entry));
    uint64_t page = gva & ~0xfffull;
    if ((gva & 0xfff) + ir->size > 4096 || (ir->aligned && gva & (ir->size - 1u))) {
        lower_cold(l, COLD_SLOW, emit_jmp(e));
        l->m = host_at(H_RDX, 0); /* what follows is never reached */
        return;
    }
    emit_load(e, 8, H_RDX, cpu_mem(CPU_AT(tlb)));
    uint8_t *check = e->at;
    if ((uint64_t)(int64_t)(int32_t)page == page) {
        emit_alu_mi(e, ALU_CMP, 8, host_at(H_RDX, entry + tag_of(ir)), (int32_t)page, false);
        l->m = host_at(H_RDX, (int32_t)gva);
    } else {
        emit_mov_ri(e, H_RCX, page);
        emit_alu_mr(e, ALU_CMP, 8, host_at(H_RDX, entry + tag_of(ir)), H_RCX, false);
        l->m = (struct host_mem){H_RDX, H_RCX, 0, (int32_t)(gva & 0xfff)};
    }
    struct cold *cold = lower_cold(l, COLD_REFILL, emit_jcc(e, CC_NZ));
    cold->back = check;
    cold->gva = H_NONE;
    cold->page = page;
    cold->write = tag_of(ir) == WRITE_TAG;
    l->returns[cold->index] = true;
    emit_load(e, 8, H_RDX, host_at(H_RDX, entry + (int32_t)offsetof(struct tlb_entry, addend)));
}

/* Bit string instructions: RCX += byte offset of the unit that holds bit `ir->d`; V_T1 = the bit's
 * number within the unit. */
static void add_bit_offset(struct lower *l, const struct ir *ir, unsigned address_size)
{
    struct emit *e = l->e;
    struct host_mem mem;
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

static void find_entry(struct lower *l, unsigned gva)
{
    stubs_find_entry(l->e, l->bmi2, gva, 0);
}

#define DISTANCE host_at(H_RDX, (int32_t)offsetof(struct tlb_entry, addend))

/* Notes the entry at RDX, which matched, in a slot of the loop; uses RAX. */
static void fill_loop_slot(struct emit *e, unsigned slot, int32_t tag, unsigned span)
{
    emit_load(e, 8, H_RAX, host_at(H_RDX, tag));
    emit_store(e, 8, loop_slot_mem(slot, page), H_RAX);
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

/* The check of a group has found the distance of its range at `gva`: notes what others need, and
 * gives the operand. Keeps flags. */
static void note_share(struct lower *l, const struct ir *ir, unsigned gva, bool noted)
{
    if (ir->share_start) {
        emit_lea(l->e, 8, H_RDX, (struct host_mem){H_RDX, (uint8_t)gva, 0, 0});
        noted = false;
    }
    if (!noted)
        emit_store(l->e, 8, share_mem(ir), H_RDX);
    /* The range lies in one page: no address in it wraps around. */
    l->m = (struct host_mem){H_RDX, ir->share_start ? H_NONE : (uint8_t)gva, 0, -ir->share_low};
    l->share[0] = ir->share;
    l->share_used = 0;
}

/* The check of a range's alignment; without members behind it its instruction has a slow path. */
static void check_alignment(struct lower *l, bool shared)
{
    emit_byte(l->e, 0xa8); /* test al, 15 */
    emit_byte(l->e, 15);
    uint8_t *field = emit_jcc(l->e, CC_NZ);
    if (shared)
        lower_cold(l, COLD_EXIT, field)->exit = lower_careful_exit(l);
    else
        lower_cold(l, COLD_SLOW, field);
}

/* The TLB check of `span` bytes at register `gva`; host distance in RDX. */
static struct cold *emit_check(struct lower *l, const struct ir *ir, unsigned gva, unsigned span,
                               bool aligned, struct lower_exit *careful)
{
    struct emit *e = l->e;
    find_entry(l, gva);
    uint8_t *check = e->at;
    emit_mov_rr(e, 8, H_RAX, gva);
    emit_alu_rm(e, ALU_XOR, 8, H_RAX, host_at(H_RDX, tag_of(ir)));
    struct cold *cold;
    if (aligned && (span == 16 || span == 32)) {
        emit_rr(e, 0xf7 | X_W, 0, H_RAX); /* test rax, ~0xff0 */
        emit_u32(e, span - 1 - 4096);
        cold = lower_cold(l, COLD_REFILL, emit_jcc(e, CC_NZ));
    } else {
        if (aligned) /* tags are page addresses: the low bits are the address's own */
            check_alignment(l, careful != NULL);
        emit_alu_ri(e, ALU_CMP, 8, H_RAX, 4096 - (int32_t)span);
        cold = lower_cold(l, COLD_REFILL, emit_jcc(e, CC_A));
    }
    cold->back = check;
    cold->gva = (uint8_t)gva;
    cold->write = ir->op != IR_MEM_READ || ir->share_write;
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
        check_alignment(l, careful != NULL);
    emit_alu_rm(e, ALU_CMP, 8, H_RAX, loop_slot_mem(slot, bound));
    struct cold *cold = lower_cold(l, COLD_SLOT, emit_jcc(e, CC_NC));
    cold->slot = (uint8_t)(slot + 1);
    cold->gva = (uint8_t)gva;
    cold->span = ir->share_span;
    cold->write = ir->op != IR_MEM_READ || ir->share_write;
    cold->exit = careful;
    l->returns[cold->index] |= !careful;
    cold->back = e->at;
    emit_load(e, 8, H_RDX, loop_slot_mem(slot, distance));
    cold->after = e->at;
}

/* The entry at RDX may stand for one access beside code only (stubs.c): the slot gets its
 * distance, but stays empty. */
static void pass_beside_code(struct lower *l, const struct cold *cold)
{
    struct emit *e = l->e;
    emit_lea(e, 8, H_RAX, cpu_mem(FAR_AT(passed)));
    emit_alu_rr(e, ALU_CMP, 8, H_RAX, H_RDX);
    emit_patch(emit_jcc(e, CC_NZ), cold->back);
    emit_load(e, 8, H_RDX, DISTANCE);
    emit_store(e, 8, loop_slot_mem(cold->slot - 1u, distance), H_RDX);
    emit_store_imm(e, 8, loop_slot_mem(cold->slot - 1u, bound), 0);
    emit_jmp_to(e, cold->after);
}

/* A miss in the slot: the TLB's entry may be good. */
static void lower_slot_miss(struct lower *l, struct cold *cold)
{
    struct emit *e = l->e;
    int32_t tag = cold->write ? WRITE_TAG : READ_TAG;
    uint8_t *filled = cold->back;
    find_entry(l, cold->gva);
    cold->back = e->at;
    emit_mov_rr(e, 8, H_RAX, cold->gva);
    emit_alu_rm(e, ALU_XOR, 8, H_RAX, host_at(H_RDX, tag));
    emit_alu_ri(e, ALU_CMP, 8, H_RAX, 4096 - cold->span);
    uint8_t *refill = emit_jcc8(e, CC_A);
    fill_loop_slot(e, cold->slot - 1u, tag, cold->span);
    emit_load(e, 8, H_RAX, DISTANCE);
    emit_store(e, 8, loop_slot_mem(cold->slot - 1u, distance), H_RAX);
    emit_jmp_to(e, filled);
    emit_patch8(e, refill);
}

void lower_refill(struct lower *l, struct cold *cold)
{
    const struct x86_stubs *stubs = stubs_of(l->engine);
    struct emit *e = l->e;
    if (cold->kind == COLD_SLOT)
        lower_slot_miss(l, cold);
    if (cold->gva == H_NONE) {
        emit_mov_ri(e, H_RCX, cold->page);
        emit_call_to(e, stubs->refill_constant[cold->write]);
        emit_patch(emit_jcc(e, CC_NZ), cold->back);
        return;
    }
    if (cold->gva != H_RCX)
        emit_mov_rr(e, 8, H_RCX, cold->gva);
    if (cold->write)
        emit_mov_ri(e, H_RAX, cold->span);
    emit_call_to(e, stubs->refill[cold->write]);
    if (cold->write && cold->slot) {
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
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROL:
    case IR_ROR:
        if (ir->b != V_IMM)
            return false;
        break;
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
        break;
    default:
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
    struct host_mem mem = {H_NONE, H_NONE, 0, 0};
    bool wide = ir->aux >> 4 == 8;
    if (ir->share_start) {
        l->m = host_at(load_share(l, ir, true), -ir->share_low);
        return;
    }
    if (wide && in_register(l, ir->a) && ir->b == V_ZERO && ir->seg == SEG_COUNT) {
        unsigned distance = load_share(l, ir, true);
        l->m = (struct host_mem){(uint8_t)distance, l->home[ir->a], 0, (int32_t)ir->imm};
        return;
    }
    load_share(l, ir, false);
    l->share[1] = 0;
    if (ir->a == V_ZERO && ir->b == V_ZERO) {
        uint64_t address = wide ? (uint64_t)ir->imm : (uint32_t)ir->imm;
        if (ir->floats) {
            lower_shifted(l, wide ? 8 : 4, H_RCX, (uint64_t)ir->imm, H_RAX);
            l->m = (struct host_mem){H_RDX, H_RCX, 0, 0};
        } else if (ir->seg != SEG_COUNT) { /* 64-bit mode: FS, GS */
            emit_load(e, 8, H_RCX, cpu_mem(SEG_AT(ir->seg, base)));
            l->m = (struct host_mem){H_RDX, H_RCX, 0, (int32_t)ir->imm};
        } else if (address == (uint64_t)(int64_t)(int32_t)address) {
            l->m = host_at(H_RDX, (int32_t)address);
        } else {
            emit_mov_ri(e, H_RCX, address);
            l->m = (struct host_mem){H_RDX, H_RCX, 0, 0};
        }
        return;
    }
    mem = lower_address(l, ir);
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
    bool write = ir->op != IR_MEM_READ || ir->share_write;
    emit_call_to(l->e, stubs_of(l->engine)->check[write][kind]);
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
    note_share(l, ir, H_RCX, false);
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
        note_share(l, ir, gva, true);
    } else {
        struct cold *cold = emit_check(l, ir, gva, ir->share_span, ir->share_aligned, careful);
        if (constant) /* stands for more of the page than it checks */
            cold->span = SPAN_PAGE;
        if (of_loop && !ir->invariant) {
            cold->slot = (uint8_t)(ir->share - SHARES);
            if (ir->share_alone)
                cold->empty = cold->slot;
            fill_loop_slot(e, cold->slot - 1u, tag_of(ir), ir->share_span);
        }
        emit_load(e, 8, H_RDX, DISTANCE);
        if (cold->slot)
            emit_store(e, 8, loop_slot_mem(cold->slot - 1u, distance), H_RDX);
        cold->after = e->at;
        note_share(l, ir, gva, cold->slot != 0);
    }
}

void lower_memory(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    unsigned address_size = ir->aux >> 4;
    unsigned gva = H_RCX;

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
    emit_load(e, 8, H_RDX, DISTANCE);
    l->m = (struct host_mem){H_RDX, (uint8_t)gva, 0, 0};
}
