/*
 * System operations: what can be done on a few words of struct cpu.
 *
 * EFLAGS above the low byte are accessed as the word at bits 8-23 by all code here, so that loads
 * find what they want in one store buffer entry.
 */
#include "translator/x86_64/lower.h"

#define EFLAGS_HIGH   cpu_mem(CPU_AT(eflags) + 1)
#define HIGH(flags)   ((int32_t)((flags) >> 8 & 0xffff))
#define SLOT_COMPLETE ((struct flags){.slot = FLAG_ARITH, .recipe = {.op = IR_COUNT}})

/* op word [eflags + 1], imm16 */
static void change_high(struct emit *e, enum host_alu alu, int32_t value)
{
    emit_alu_mi(e, alu, 2, EFLAGS_HIGH, (int16_t)value, false);
}

/* PUSHF: the image in RCX, RF and VM clear. */
static void lower_flags_read(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    lower_fill_slot(l, &l->flags);
    l->flags.host = 0;
    lower_free_rcx(l);
    emit_load(e, 2, H_RCX, EFLAGS_HIGH);
    emit_alu_ri(e, ALU_AND, 4, H_RCX, HIGH(~(uint32_t)(FLAG_OF | FLAG_RF | FLAG_VM)));
    emit_load(e, 1, H_RAX, cpu_mem(HOT_AT(overflow)));
    emit_shift_ri(e, SHIFT_SHL, 4, H_RAX, 11 - 8);
    emit_alu_rr(e, ALU_OR, 4, H_RCX, H_RAX);
    emit_shift_ri(e, SHIFT_SHL, 4, H_RCX, 8);
    emit_load(e, 1, H_RAX, cpu_mem(HOT_AT(flags)));
    emit_alu_rr(e, ALU_OR, 4, H_RCX, H_RAX);
    emit_store(e, ir->size, l->m, H_RCX);
}

/*
 * POPF of an image that leaves TF, IOPL and AC as they are, does not set IF while an interrupt
 * waits for it, and at CPL 3 leaves IF alone too.
 */
static void lower_flags_write(struct lower *l, const struct ir *ir)
{
    const uint32_t plain = FLAG_DF | FLAG_NT | FLAG_ID;
    const uint32_t fixed = FLAG_TF | FLAG_IOPL | FLAG_AC;
    bool ring0 = ir->aux;
    struct emit *e = l->e;

    lower_clobber(l);
    emit_load(e, 4, H_RAX, l->m);
    emit_mov_rr(e, 4, H_RDX, H_RAX);
    emit_shift_ri(e, SHIFT_SHR, 4, H_RDX, 8);
    emit_load(e, 2, H_RCX, EFLAGS_HIGH);
    emit_alu_rr(e, ALU_XOR, 4, H_RDX, H_RCX); /* changes */
    emit_rr(e, 0xf7, 0, H_RDX);               /* test edx, imm32 */
    emit_u32(e, (uint32_t)HIGH(fixed | (ring0 ? 0 : FLAG_IF)));
    lower_slow_if(l, CC_NZ);
    if (ring0) {
        emit_alu_rr(e, ALU_XOR, 4, H_RCX, H_RDX); /* the image's */
        emit_alu_rr(e, ALU_AND, 4, H_RCX, H_RDX); /* newly set */
        emit_alu_rm(e, ALU_AND, 4, H_RCX, cpu_mem(CPU_AT(held_interrupt)));
        lower_slow_if(l, CC_NZ);
    }
    emit_alu_ri(e, ALU_AND, 4, H_RDX, HIGH(plain | (ring0 ? FLAG_IF : 0)));
    emit_alu_mr(e, ALU_XOR, 2, EFLAGS_HIGH, H_RDX, false);
    emit_rr(e, 0xba | X_0F, 4, H_RAX); /* bt eax, 11 */
    emit_byte(e, 11);
    emit_rm(e, 0x92 | X_0F, 0, cpu_mem(HOT_AT(overflow))); /* setc */
    emit_alu_ri(e, ALU_AND, 4, H_RAX, FLAG_ARITH & 0xff);
    emit_alu_ri(e, ALU_OR, 4, H_RAX, FLAG_FIXED);
    emit_store(e, 1, cpu_mem(HOT_AT(flags)), H_RAX);
    l->flags = SLOT_COMPLETE;
}

static void lower_cli(struct lower *l)
{
    lower_clobber(l);
    change_high(l->e, ALU_AND, ~HIGH(FLAG_IF));
}

static void lower_sti(struct lower *l)
{
    lower_clobber(l);
    emit_alu_mi(l->e, ALU_CMP, 4, cpu_mem(CPU_AT(held_interrupt)), 0, false);
    lower_slow_if(l, CC_NZ);
    change_high(l->e, ALU_OR, HIGH(FLAG_IF));
}

static void select_tlb(struct emit *e, enum mmu_index mmu)
{
    emit_load(e, 8, H_RAX, cpu_mem(CPU_AT(mmu) + (int32_t)mmu * 8));
    emit_store(e, 8, cpu_mem(CPU_AT(tlb)), H_RAX);
}

static void lower_stac(struct lower *l)
{
    struct emit *e = l->e;
    lower_clobber(l);
    change_high(e, ALU_OR, HIGH(FLAG_AC));
    emit_alu_mi(e, ALU_AND, 4, cpu_mem(CPU_AT(mode)), ~(3 << MODE_MMU_SHIFT), false);
    select_tlb(e, MMU_KERNEL);
}

static void lower_clac(struct lower *l)
{
    struct emit *e = l->e;
    lower_clobber(l);
    emit_rm(e, 0xf7, 0, cpu_mem(CPU_AT(cr4))); /* test dword [cr4], imm32 */
    emit_u32(e, CR4_SMAP);
    lower_slow_if(l, CC_Z);
    change_high(e, ALU_AND, ~HIGH(FLAG_AC));
    emit_alu_mi(e, ALU_OR, 4, cpu_mem(CPU_AT(mode)), MMU_KERNEL_SMAP << MODE_MMU_SHIFT, false);
    select_tlb(e, MMU_KERNEL_SMAP);
}

static void lower_swapgs(struct lower *l)
{
    struct host_mem gs = cpu_mem(CPU_AT(seg) + SEG_GS * (int32_t)sizeof(struct segment) +
                                 (int32_t)offsetof(struct segment, base));
    struct host_mem kernel = cpu_mem(CPU_AT(kernel_gs_base));
    emit_load(l->e, 8, H_RAX, gs);
    emit_load(l->e, 8, H_RCX, kernel);
    emit_store(l->e, 8, gs, H_RCX);
    emit_store(l->e, 8, kernel, H_RAX);
}

/* The host's instruction wants RBX, which is the home of guest RAX, and an address beside them all.
 */
static void lower_cmpxchg_wide(struct lower *l, const struct ir *ir)
{
    struct host_mem scratch = cpu_mem(HOT_AT(scratch));
    struct emit *e = l->e;
    lower_want(l, ir->strict & ~FLAG_ZF); /* it leaves the other flags alone */
    emit_store(e, 8, scratch, H_RSI);
    emit_lea(e, 8, H_RSI, l->m);
    emit_mov_rr(e, 8, H_RAX, l->home[RAX]);
    emit_mov_rr(e, 8, H_RDX, l->home[RDX]);
    emit_mov_rr(e, 8, H_RCX, l->home[RCX]);
    emit_mov_rr(e, 8, H_RBX, l->home[RBX]);
    emit_rm(e, 0xc7 | X_0F | (ir->size == 16 ? X_W : 0) | (ir->lock ? X_LOCK : 0), 1,
            host_at(H_RSI, 0));
    emit_mov_rr(e, 8, l->home[RAX], H_RAX);
    emit_mov_rr(e, 8, l->home[RDX], H_RDX);
    emit_load(e, 8, H_RSI, scratch);
    lower_wrote_flags(l);
}

static void lower_tsc(struct lower *l, const struct ir *ir)
{
    const struct x86_stubs *stubs = stubs_of(l->engine);
    struct emit *e = l->e;
    lower_clobber(l);
    if (!ir->aux) {
        emit_rm(e, 0xf6, 0, cpu_mem(CPU_AT(cr4))); /* test byte [cr4], imm8 */
        emit_byte(e, CR4_TSD);
        lower_slow_if(l, CC_NZ);
    }
    emit_call_to(e, stubs->tsc[l->block->vectors]);
    emit_mov_rr(e, 4, l->home[RAX], H_RAX);
    emit_shift_ri(e, SHIFT_SHR, 8, H_RAX, 32);
    emit_mov_rr(e, 4, l->home[RDX], H_RAX);
}

static void lower_field(struct lower *l, const struct ir *ir)
{
    unsigned target = ir->aux >= 4 ? lower_target(l, ir->d, H_RAX) : H_RAX;
    emit_load(l->e, ir->size, target, cpu_mem((int32_t)ir->imm));
    if (target == H_RAX)
        lower_put(l, ir->d, ir->aux, H_RAX);
}

void lower_system(struct lower *l, const struct ir *ir)
{
    switch (ir->op) {
    case IR_FLAGS_READ:
        lower_flags_read(l, ir);
        break;
    case IR_FLAGS_WRITE:
        lower_flags_write(l, ir);
        break;
    case IR_CLI:
        lower_cli(l);
        break;
    case IR_STI:
        lower_sti(l);
        break;
    case IR_STAC:
        lower_stac(l);
        break;
    case IR_CLAC:
        lower_clac(l);
        break;
    case IR_SWAPGS:
        lower_swapgs(l);
        break;
    case IR_FENCE:
        emit_rr(l->e, 0xae | X_0F, (unsigned)ir->imm, H_RAX);
        break;
    case IR_CMPXCHG_WIDE:
        lower_cmpxchg_wide(l, ir);
        break;
    case IR_CPUID:
        lower_clobber(l);
        emit_call_to(l->e, stubs_of(l->engine)->cpuid);
        lower_slow_if(l, CC_NZ);
        break;
    case IR_TSC:
        lower_tsc(l, ir);
        break;
    case IR_FIELD:
        lower_field(l, ir);
        break;
    }
}
