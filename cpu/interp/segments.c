/*
 * Segment registers and descriptors: MOV/PUSH/POP Sreg, LDS..LGS, descriptor-table registers, LAR,
 * LSL, VERR, VERW, ARPL, FS/GS base instructions (Intel SDM 2A-2D).
 */
#include "cpu/interp/operand.h"
#include "cpu/system.h"

static bool has_memory(const struct insn *insn, unsigned n)
{
    return insn->operand[n].kind == OPERAND_MEM;
}

static void check_umip(struct cpu *cpu)
{
    if (cpu->cr4 & CR4_UMIP && cpu_cpl(cpu))
        cpu_raise_gp(cpu, 0);
}

/* Stores 16 bits: a register gets them zero-extended to the operand size. */
static void store_word(struct cpu *cpu, const struct insn *insn, uint16_t value)
{
    if (has_memory(insn, 0))
        mem_write_u16(cpu, insn_linear(cpu, insn, 2, ACCESS_WRITE), value);
    else
        gpr_write(cpu, insn->operand[0].reg, insn->opsize, value);
}

/* -- Moves -- */

static void mov_sreg(struct cpu *cpu, const struct insn *insn)
{
    if (insn->operand[0].kind != OPERAND_SEG) {
        if (insn->operand[1].reg > SEG_GS)
            cpu_raise_ud(cpu);
        store_word(cpu, insn, cpu->seg[insn->operand[1].reg].selector);
        return;
    }
    unsigned seg = insn->operand[0].reg;
    if (seg == SEG_CS || seg > SEG_GS)
        cpu_raise_ud(cpu);
    segment_load(cpu, seg, (uint16_t)operand_read(cpu, insn, 1, 2, has_memory(insn, 1)));
    if (seg == SEG_SS)
        cpu_set_shadow(cpu, SHADOW_MOV_SS);
}
EXEC_ONE(MOV_SREG, mov_sreg)

static void push_sreg(struct cpu *cpu, const struct insn *insn)
{
    stack_push(cpu, cpu->seg[insn->operand[0].reg].selector, insn->opsize);
}
EXEC_ONE(PUSH_SREG, push_sreg)

static void pop_sreg(struct cpu *cpu, const struct insn *insn)
{
    unsigned seg = insn->operand[0].reg;
    uint16_t selector = (uint16_t)stack_peek(cpu, 0, insn->opsize);
    uint64_t rsp = cpu->gpr[RSP], popped;
    stack_adjust(cpu, insn->opsize); /* as wide as the old stack is */
    popped = cpu->gpr[RSP];
    cpu->gpr[RSP] = rsp;
    segment_load(cpu, seg, selector);
    cpu->gpr[RSP] = popped;
    if (seg == SEG_SS)
        cpu_set_shadow(cpu, SHADOW_MOV_SS);
}
EXEC_ONE(POP_SREG, pop_sreg)

static void load_far(struct cpu *cpu, const struct insn *insn, unsigned seg)
{
    unsigned size = insn->opsize;
    gva_t gva = insn_linear(cpu, insn, size + 2, ACCESS_READ);
    uint64_t offset = mem_read(cpu, gva, size);
    gva += size;
    uint16_t selector = mem_read_u16(cpu, is_code64(cpu) ? gva : (uint32_t)gva);
    segment_load(cpu, seg, selector);
    gpr_write(cpu, insn->operand[0].reg, size, offset);
}

#define LOAD_FAR(name, seg)                                                                        \
    static void load_##name(struct cpu *cpu, const struct insn *insn)                              \
    {                                                                                              \
        load_far(cpu, insn, seg);                                                                  \
    }                                                                                              \
    EXEC_ONE(name, load_##name)

LOAD_FAR(LES, SEG_ES)
LOAD_FAR(LDS, SEG_DS)
LOAD_FAR(LSS, SEG_SS)
LOAD_FAR(LFS, SEG_FS)
LOAD_FAR(LGS, SEG_GS)

/* -- Looking at descriptors -- */

static void set_zf(struct cpu *cpu, bool zf)
{
    cpu->eflags = (cpu->eflags & ~(uint32_t)FLAG_ZF) | (zf ? FLAG_ZF : 0);
}

static void arpl(struct cpu *cpu, const struct insn *insn)
{
    uint16_t rpl = gpr_read(cpu, insn->operand[1].reg, 2) & 3;
    gva_t gva = 0;
    uint16_t value;
    if (has_memory(insn, 0)) {
        gva = insn_linear(cpu, insn, 2, ACCESS_WRITE);
        value = mem_rmw_u16(cpu, gva);
    } else {
        value = (uint16_t)gpr_read(cpu, insn->operand[0].reg, 2);
    }
    bool raise = (value & 3) < rpl;
    if (raise) {
        value = (uint16_t)((value & ~3u) | rpl);
        if (has_memory(insn, 0))
            mem_write_u16(cpu, gva, value);
        else
            gpr_write(cpu, insn->operand[0].reg, 2, value);
    }
    set_zf(cpu, raise);
}
EXEC_ONE(ARPL, arpl)

/* The descriptor, if the selector may be used to look at it: present in a table, and privileged
 * enough unless it is conforming code. */
static bool visible_descriptor(struct cpu *cpu, uint16_t selector, struct descriptor *d)
{
    if (!(selector & 0xfffc) || !descriptor_read(cpu, selector, d))
        return false;
    if (descriptor_is_code(d) && descriptor_is_conforming(d))
        return true;
    return descriptor_dpl(d) >= cpu_cpl(cpu) && descriptor_dpl(d) >= (selector & 3u);
}

/* Bit i: LAR (LSL) knows system descriptors of type i. */
#define TYPE_BIT(type) (1u << (type))
static const unsigned lar_types = TYPE_BIT(TYPE_TSS16) | TYPE_BIT(TYPE_LDT) |
                                  TYPE_BIT(TYPE_TSS16_BUSY) | TYPE_BIT(TYPE_CALL16) |
                                  TYPE_BIT(TYPE_TASK_GATE) | TYPE_BIT(TYPE_TSS32) |
                                  TYPE_BIT(TYPE_TSS32_BUSY) | TYPE_BIT(TYPE_CALL32);
static const unsigned lsl_types = TYPE_BIT(TYPE_TSS16) | TYPE_BIT(TYPE_LDT) |
                                  TYPE_BIT(TYPE_TSS16_BUSY) | TYPE_BIT(TYPE_TSS32) |
                                  TYPE_BIT(TYPE_TSS32_BUSY);
static const unsigned long_types =
    TYPE_BIT(TYPE_LDT) | TYPE_BIT(TYPE_TSS32) | TYPE_BIT(TYPE_TSS32_BUSY) | TYPE_BIT(TYPE_CALL32);

static bool type_known(const struct cpu *cpu, const struct descriptor *d, unsigned types)
{
    if (!descriptor_is_system(d))
        return true;
    if (is_long(cpu))
        types &= long_types;
    return types >> descriptor_type(d) & 1;
}

static void lar(struct cpu *cpu, const struct insn *insn)
{
    struct descriptor d;
    uint16_t selector = (uint16_t)operand_read(cpu, insn, 1, 2, has_memory(insn, 1));
    bool ok = visible_descriptor(cpu, selector, &d) && type_known(cpu, &d, lar_types);
    if (ok)
        gpr_write(cpu, insn->operand[0].reg, insn->opsize,
                  d.high & (insn->opsize == 2 ? 0xff00 : 0x00ffff00));
    set_zf(cpu, ok);
}
EXEC_ONE(LAR, lar)

static void lsl(struct cpu *cpu, const struct insn *insn)
{
    struct descriptor d;
    uint16_t selector = (uint16_t)operand_read(cpu, insn, 1, 2, has_memory(insn, 1));
    bool ok = visible_descriptor(cpu, selector, &d) && type_known(cpu, &d, lsl_types);
    if (ok)
        gpr_write(cpu, insn->operand[0].reg, insn->opsize, descriptor_limit(&d));
    set_zf(cpu, ok);
}
EXEC_ONE(LSL, lsl)

static void verr(struct cpu *cpu, const struct insn *insn)
{
    struct descriptor d;
    uint16_t selector = (uint16_t)operand_read(cpu, insn, 0, 2, has_memory(insn, 0));
    set_zf(cpu, visible_descriptor(cpu, selector, &d) && !descriptor_is_system(&d) &&
                    (!descriptor_is_code(&d) || d.high & 1u << 9));
}
EXEC_ONE(VERR, verr)

static void verw(struct cpu *cpu, const struct insn *insn)
{
    struct descriptor d;
    uint16_t selector = (uint16_t)operand_read(cpu, insn, 0, 2, has_memory(insn, 0));
    set_zf(cpu, visible_descriptor(cpu, selector, &d) && (d.high & 0x1a00) == 0x1200);
}
EXEC_ONE(VERW, verw)

/* -- Table registers -- */

static void sldt(struct cpu *cpu, const struct insn *insn)
{
    check_umip(cpu);
    store_word(cpu, insn, cpu->seg[SEG_LDTR].selector);
}
EXEC_ONE(SLDT, sldt)

static void str(struct cpu *cpu, const struct insn *insn)
{
    check_umip(cpu);
    store_word(cpu, insn, cpu->seg[SEG_TR].selector);
}
EXEC_ONE(STR, str)

static void lldt(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
    segment_load_ldt(cpu, (uint16_t)operand_read(cpu, insn, 0, 2, has_memory(insn, 0)));
}
EXEC_ONE(LLDT, lldt)

static void ltr(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
    segment_load_tr(cpu, (uint16_t)operand_read(cpu, insn, 0, 2, has_memory(insn, 0)));
}
EXEC_ONE(LTR, ltr)

static void store_table(struct cpu *cpu, const struct insn *insn, uint64_t base, uint16_t limit)
{
    uint8_t image[10];
    unsigned size = is_code64(cpu) ? 10 : 6;
    check_umip(cpu);
    memcpy(image, &limit, 2);
    memcpy(image + 2, &base, 8);
    mem_write_bytes(cpu, insn_linear(cpu, insn, size, ACCESS_WRITE), image, size);
}

static void sgdt(struct cpu *cpu, const struct insn *insn)
{
    store_table(cpu, insn, cpu->gdtr.base, cpu->gdtr.limit);
}
EXEC_ONE(SGDT, sgdt)

static void sidt(struct cpu *cpu, const struct insn *insn)
{
    store_table(cpu, insn, cpu->idtr.base, cpu->idtr.limit);
}
EXEC_ONE(SIDT, sidt)

static void load_table(struct cpu *cpu, const struct insn *insn, uint64_t *base, uint16_t *limit)
{
    uint8_t image[10] = {0};
    unsigned size = is_code64(cpu) ? 10 : 6;
    uint64_t address;
    require_ring0(cpu);
    mem_read_bytes(cpu, insn_linear(cpu, insn, size, ACCESS_READ), image, size);
    memcpy(&address, image + 2, 8);
    if (size == 6 && insn->opsize == 2)
        address &= 0xffffff;
    if (!is_canonical(address))
        cpu_raise_gp(cpu, 0);
    memcpy(limit, image, 2);
    *base = address;
}

static void lgdt(struct cpu *cpu, const struct insn *insn)
{
    load_table(cpu, insn, &cpu->gdtr.base, &cpu->gdtr.limit);
}
EXEC_ONE(LGDT, lgdt)

static void lidt(struct cpu *cpu, const struct insn *insn)
{
    load_table(cpu, insn, &cpu->idtr.base, &cpu->idtr.limit);
}
EXEC_ONE(LIDT, lidt)

/* -- FS and GS base -- */

static void read_base(struct cpu *cpu, const struct insn *insn, unsigned seg)
{
    if (!(cpu->cr4 & CR4_FSGSBASE))
        cpu_raise_ud(cpu);
    gpr_write(cpu, insn->operand[0].reg, insn->opsize == 8 ? 8 : 4, cpu->seg[seg].base);
}

static void write_base(struct cpu *cpu, const struct insn *insn, unsigned seg)
{
    if (!(cpu->cr4 & CR4_FSGSBASE))
        cpu_raise_ud(cpu);
    uint64_t value = gpr_read(cpu, insn->operand[0].reg, insn->opsize == 8 ? 8 : 4);
    if (!is_canonical(value))
        cpu_raise_gp(cpu, 0);
    cpu->seg[seg].base = value;
    cpu_update_mode(cpu);
}

#define BASE(name, fn, seg)                                                                        \
    static void name##_(struct cpu *cpu, const struct insn *insn)                                  \
    {                                                                                              \
        fn(cpu, insn, seg);                                                                        \
    }                                                                                              \
    EXEC_ONE(name, name##_)

BASE(RDFSBASE, read_base, SEG_FS)
BASE(RDGSBASE, read_base, SEG_GS)
BASE(WRFSBASE, write_base, SEG_FS)
BASE(WRGSBASE, write_base, SEG_GS)

static void swapgs(struct cpu *cpu, const struct insn *insn)
{
    require_ring0(cpu);
    uint64_t base = cpu->seg[SEG_GS].base;
    cpu->seg[SEG_GS].base = cpu->kernel_gs_base;
    cpu->kernel_gs_base = base;
    cpu_update_mode(cpu);
}
EXEC_ONE(SWAPGS, swapgs)
