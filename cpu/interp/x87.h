/*
 * The x87 register stack and its exceptions, shared by the x87, MMX and state-image files.
 * Intel SDM volume 1, chapter 8.
 */
#ifndef DOPPEL_CPU_INTERP_X87_H
#define DOPPEL_CPU_INTERP_X87_H

#include "cpu/fpu/softfloat.h"
#include "cpu/interp/operand.h"

enum x87_status {
    FSW_EXCEPTIONS = 0x3f, /* enum fp_flag */
    FSW_SF = 1 << 6,       /* stack fault */
    FSW_ES = 1 << 7,       /* an unmasked exception is pending */
    FSW_C0 = 1 << 8,
    FSW_C1 = 1 << 9,
    FSW_C2 = 1 << 10,
    FSW_TOP_SHIFT = 11,
    FSW_C3 = 1 << 14,
    FSW_B = 1 << 15, /* copy of ES */
};
#define FSW_CONDITION (FSW_C0 | FSW_C1 | FSW_C2 | FSW_C3)

#define FCW_INITIAL   0x37f
#define FCW_DEFINED   0x1f3f /* bit 6 always reads as 1 */

/* exec_MNEMONIC from one body each for the register and the memory form. */
#define EXEC_FORMS(MNEMONIC, call_reg, call_mem)                                                   \
    static void MNEMONIC##_reg(struct cpu *cpu, const struct insn *insn)                           \
    {                                                                                              \
        call_reg;                                                                                  \
    }                                                                                              \
    static void MNEMONIC##_mem(struct cpu *cpu, const struct insn *insn)                           \
    {                                                                                              \
        call_mem;                                                                                  \
    }                                                                                              \
    const struct exec exec_##MNEMONIC = {                                                          \
        {MNEMONIC##_reg, MNEMONIC##_reg, MNEMONIC##_reg, MNEMONIC##_reg},                          \
        {MNEMONIC##_mem, MNEMONIC##_mem, MNEMONIC##_mem, MNEMONIC##_mem}};

/* -- Whole words -- */

static inline uint16_t x87_status_word(const struct cpu *cpu)
{
    return (uint16_t)(cpu->x87.status | cpu->x87.top << FSW_TOP_SHIFT);
}

/* Sets control and status; ES and B follow from them. */
void x87_set_control(struct cpu *cpu, uint16_t control);
void x87_set_status_word(struct cpu *cpu, uint16_t status);
/* Two bits for each physical register, as FNSTENV stores it; loading looks only for "empty". */
uint16_t x87_tag_word(const struct cpu *cpu);
void x87_set_tag_word(struct cpu *cpu, uint16_t tags);
void x87_reset(struct cpu *cpu); /* FNINIT */

/* -- Beginning of an instruction -- */

_Noreturn void x87_unavailable(struct cpu *cpu);
/* An unmasked exception is pending: #MF with CR0.NE, else the board's IRQ 13. */
void x87_report_pending(struct cpu *cpu);

INLINE void x87_check_pending(struct cpu *cpu)
{
    if (UNLIKELY(cpu->x87.status & FSW_ES))
        x87_report_pending(cpu);
}

/* Of all that do not wait for pending exceptions (FN..), and of all that do. */
INLINE void x87_begin_nowait(struct cpu *cpu)
{
    if (UNLIKELY(cpu->mode & MODE_NO_X87))
        x87_unavailable(cpu);
}

INLINE void x87_begin(struct cpu *cpu)
{
    x87_begin_nowait(cpu);
    x87_check_pending(cpu);
}

/* -- Stack -- */

INLINE unsigned st_index(const struct cpu *cpu, unsigned i)
{
    return (cpu->x87.top + i) & 7;
}

INLINE bool st_empty(const struct cpu *cpu, unsigned i)
{
    return cpu->x87.empty >> st_index(cpu, i) & 1;
}

INLINE struct float80 st_get(const struct cpu *cpu, unsigned i)
{
    return cpu->x87.reg[st_index(cpu, i)];
}

INLINE struct fp_number st_number(const struct cpu *cpu, unsigned i)
{
    return f80_unpack(st_get(cpu, i));
}

INLINE void st_set(struct cpu *cpu, unsigned i, struct float80 value)
{
    unsigned index = st_index(cpu, i);
    cpu->x87.reg[index] = value;
    cpu->x87.empty &= (uint8_t) ~(1u << index);
}

INLINE void st_free(struct cpu *cpu, unsigned i)
{
    cpu->x87.empty |= (uint8_t)(1u << st_index(cpu, i));
}

INLINE void st_pop(struct cpu *cpu)
{
    st_free(cpu, 0);
    cpu->x87.top = (cpu->x87.top + 1) & 7;
}

INLINE void st_push(struct cpu *cpu, struct float80 value)
{
    cpu->x87.top = (cpu->x87.top - 1) & 7;
    st_set(cpu, 0, value);
}

/* -- Results -- */

INLINE struct fp_env x87_env(const struct cpu *cpu)
{
    static const uint8_t precision[4] = {24, 64, 53, 64};
    return (struct fp_env){.rounding = cpu->x87.control >> 10 & 3,
                           .precision = precision[cpu->x87.control >> 8 & 3],
                           .masked = cpu->x87.control & FSW_EXCEPTIONS};
}

/* Instruction and operand pointers of an instruction that is not a control instruction; `mem` if it
 * has a memory operand. Call after its last memory access. */
INLINE void x87_note(struct cpu *cpu, const struct insn *insn, bool mem)
{
    cpu->x87.ip = cpu->rip;
    cpu->x87.ip_selector = cpu->seg[SEG_CS].selector;
    if (mem) {
        cpu->x87.dp = insn_offset(cpu, insn);
        cpu->x87.dp_selector = cpu->seg[insn->seg].selector;
    }
}

/* Notes that an unmasked exception has become pending, with the opcode that caused it. */
void x87_pend(struct cpu *cpu, const struct insn *insn);

/*
 * Enters the exceptions (and C1 = FP_ROUNDED_UP, SF) of an instruction into the status word. False:
 * an unmasked one forbids to change any operand.
 */
INLINE bool x87_commit(struct cpu *cpu, const struct insn *insn, unsigned flags)
{
    unsigned unmasked = flags & ~cpu->x87.control & FSW_EXCEPTIONS;
    if (UNLIKELY(unmasked & FP_BEFORE))
        flags &= FP_BEFORE | FSW_SF | (flags & FSW_SF ? FSW_C1 : 0);
    cpu->x87.status = (uint16_t)((cpu->x87.status & ~FSW_C1) | flags);
    if (LIKELY(!unmasked))
        return true;
    x87_pend(cpu, insn);
    return !(unmasked & FP_BEFORE);
}

/* The float32, float64 or (`integer`) int16, int32 memory operand of an arithmetic instruction. */
struct fp_number x87_read_number(struct cpu *cpu, const struct insn *insn, bool integer,
                                 const struct fp_env *env);

/* ZF, PF, CF of a comparison, as FCOMI and COMISS set them. */
INLINE uint32_t fp_relation_eflags(enum fp_relation relation)
{
    return relation == FP_UNORDERED ? FLAG_ZF | FLAG_PF | FLAG_CF
           : relation == FP_LESS    ? FLAG_CF
           : relation == FP_EQUAL   ? FLAG_ZF
                                    : 0;
}

/* Stack faults as flags for x87_commit. */
#define X87_UNDERFLOW (FP_INVALID | FSW_SF)
#define X87_OVERFLOW  (FP_INVALID | FSW_SF | FSW_C1)

#endif
