/*
 * x87 operations: the guest's instruction is executed as it is, on the host's x87 unit, which holds
 * the guest's whole x87 state (registers, TOP, tags, status, control) while hot.x87_loaded. MMX
 * instructions (lower_vector.c) then find their registers there too.
 *
 * All exceptions are masked in that state; with an unmasked one, blocks with x87 instructions are
 * interpreted, and an FLDCW that unmasks one takes its slow path.
 *
 * What the host cannot know are the guest's instruction and data pointer. They are stored late:
 * l->note says which instruction's are due. They are stored before control can leave the block,
 * before a register changes that the data pointer is made of, and on slow paths.
 */
#include "translator/x86_64/lower.h"

#define SELECTOR_AT(number)                                                                        \
    (CPU_AT(seg) + (int32_t)((number) * sizeof(struct segment)) +                                  \
     (int32_t)offsetof(struct segment, selector))

static bool is_x87(const struct insn *insn)
{
    const struct isa_row *row = &isa_rows[insn->row];
    return (row->map == MAP_PRIMARY && (row->opcode & 0xf8) == 0xd8) || insn->op == OP_FWAIT;
}

bool host_has_x87(const struct insn *insn)
{
    switch (insn->op) {
    case OP_FNINIT:
    case OP_FNSTENV:
    case OP_FLDENV:
    case OP_FNSAVE:
    case OP_FRSTOR:
        return false;
    }
    return is_x87(insn);
}

/* -- Pointers -- */

/* Does the instruction set the pointers? Control instructions do not. */
static bool sets_pointers(const struct insn *insn)
{
    switch (insn->op) {
    case OP_FLDCW:
    case OP_FNSTCW:
    case OP_FNSTSW:
    case OP_FNCLEX:
    case OP_FWAIT:
    case OP_FNOP:
        return false;
    }
    return true;
}

static void store_data_pointer(struct lower *l, const struct ir *mem)
{
    struct emit *e = l->e;
    unsigned size = mem->aux >> 4;
    struct host_mem address = lower_address(l, mem);
    if (address.base == H_NONE && address.index == H_NONE) {
        emit_mov_ri(e, H_RDX, size == 8 ? (uint64_t)(int64_t)address.disp : (uint32_t)address.disp);
    } else {
        emit_lea(e, size == 8 ? 8 : 4, H_RDX, address);
    }
    if (size == 2)
        emit_rr(e, 0xb7 | X_0F, H_RDX, H_RDX); /* movzx edx, dx */
    emit_store(e, 8, cpu_mem(CPU_AT(x87.dp)), H_RDX);
    emit_load(e, 2, H_RDX, cpu_mem(SELECTOR_AT(l->trace->insn[mem->insn].seg)));
    emit_store(e, 2, cpu_mem(CPU_AT(x87.dp_selector)), H_RDX);
}

void lower_store_pointers(struct lower *l, struct x87_note *note)
{
    struct emit *e = l->e;
    if (note->mem || note->insn) {
        l->held = V_NONE;
        lower_forget_shares(l);
    }
    if (note->mem)
        store_data_pointer(l, &l->list->at[note->mem - 1]);
    if (note->insn) {
        uint64_t rip = l->trace->rip[note->insn - 1];
        if (l->block->floats) {
            lower_shifted(l, 8, H_RDX, rip, H_RCX);
            emit_store(e, 8, cpu_mem(CPU_AT(x87.ip)), H_RDX);
        } else if (rip == (uint64_t)(int64_t)(int32_t)rip) {
            emit_store_imm(e, 8, cpu_mem(CPU_AT(x87.ip)), (int32_t)rip);
        } else {
            emit_store_imm(e, 4, cpu_mem(CPU_AT(x87.ip)), (int32_t)rip);
            emit_store_imm(e, 4, cpu_mem(CPU_AT(x87.ip) + 4), (int32_t)(rip >> 32));
        }
        emit_load(e, 2, H_RDX, cpu_mem(SELECTOR_AT(SEG_CS)));
        emit_store(e, 2, cpu_mem(CPU_AT(x87.ip_selector)), H_RDX);
    }
    *note = (struct x87_note){0};
}

/* Can the operation leave the block but by its instruction's slow path, or show the state? Branches
 * and jumps see to the pointers themselves. */
static bool leaves(const struct ir *ir)
{
    switch (ir->op) {
    case IR_BRANCH:
    case IR_JUMP:
    case IR_FORWARD:
    case IR_FIND:
    case IR_X87_CONTROL:
        return false;
    }
    return ir->op >= IR_EVENT;
}

void lower_before_insn(struct lower *l)
{
    if (!l->note.insn)
        return;
    const struct ir_list *list = l->list;
    uint32_t registers = 0, written = 0;
    if (l->note.mem) {
        const struct ir *mem = &list->at[l->note.mem - 1];
        registers = (mem->a < 16 ? 1u << mem->a : 0) | (mem->b < 16 ? 1u << mem->b : 0);
    }
    for (unsigned i = l->at; i < list->count && list->at[i].insn == list->at[l->at].insn; i++) {
        if (leaves(&list->at[i])) {
            lower_store_pointers(l, &l->note);
            return;
        }
        written |= ir_written(&list->at[i]);
    }
    if (written & registers) {
        struct x87_note data = {.mem = l->note.mem};
        lower_store_pointers(l, &data);
        l->note.mem = 0;
    }
}

/* -- Operations -- */

static bool has_memory(const struct insn *insn)
{
    return insn->noperands && insn->operand[0].kind == OPERAND_MEM;
}

void lower_x87(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    const struct insn *insn = &l->trace->insn[ir->insn];
    const struct isa_row *row = &isa_rows[insn->row];
    bool mem = has_memory(insn);

    switch (insn->op) {
    case OP_FWAIT: /* nothing is pending while all exceptions are masked */
    case OP_FNOP:
        return;
    case OP_FLDCW:
        lower_clobber(l);
        emit_load(e, 2, H_RAX, l->m);
        emit_rr(e, 0xf7, 2, H_RAX); /* not eax */
        emit_byte(e, 0xa8);         /* test al, imm8 */
        emit_byte(e, X87_MASKS);
        lower_slow_if(l, CC_NZ);
        break;
    }
    if (ir->reads)
        lower_want(l, ir->reads);
    if (mem) {
        emit_rm(e, row->opcode, insn->modrm >> 3 & 7, l->m);
    } else {
        emit_byte(e, row->opcode);
        emit_byte(e, insn->modrm);
    }
    if (ir->d == RAX)
        lower_put(l, RAX, 2, H_RAX);
    lower_wrote_flags(l);

    if (!sets_pointers(insn))
        return;
    l->note.insn = (uint16_t)(ir->insn + 1);
    if (!mem)
        return;
    /* The last one: at the block's start, checks of others may stand before it (opt_hoist). */
    unsigned at = l->at;
    do
        at--;
    while (!ir_is_memory(&l->list->at[at]));
    l->note.mem = (uint16_t)(at + 1);
}
