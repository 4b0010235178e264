/*
 * The x87 as state: control, status and tag words, pending exceptions, and the instructions that
 * handle them whole (environment and state images in memory, initialisation).
 * Intel SDM volume 1, sections 8.1 and 8.3.9-8.3.10.
 *
 * IGNNE# is taken as always asserted: with CR0.NE clear, an instruction that finds an exception
 * pending requests IRQ 13 and then runs.
 */
#include "cpu/interp/x87.h"

#include "cpu/bus.h"
#include "cpu/log.h"

_Noreturn void x87_unavailable(struct cpu *cpu)
{
    cpu_raise(cpu, EXC_NM, 0); /* CR0.EM or CR0.TS */
}

void x87_report_pending(struct cpu *cpu)
{
    if (cpu->cr0 & CR0_NE)
        cpu_raise(cpu, EXC_MF, 0);
    if (cpu->bus && cpu->bus->fpu_error)
        cpu->bus->fpu_error(cpu->bus->opaque, cpu);
    else
        log_guest("x87: exception with CR0.NE clear, and no IRQ 13 on this board");
}

void x87_pend(struct cpu *cpu, const struct insn *insn)
{
    cpu->x87.status |= FSW_ES | FSW_B;
    cpu->x87.opcode = (uint16_t)((isa_rows[insn->row].opcode & 7) << 8 | insn->modrm);
}

/* -- Words -- */

static void update_pending(struct cpu *cpu)
{
    bool pending = cpu->x87.status & ~cpu->x87.control & FSW_EXCEPTIONS;
    cpu->x87.status &= (uint16_t) ~(FSW_ES | FSW_B);
    if (pending)
        cpu->x87.status |= FSW_ES | FSW_B;
}

void x87_set_control(struct cpu *cpu, uint16_t control)
{
    cpu->x87.control = (control & FCW_DEFINED) | 0x40;
    update_pending(cpu);
}

void x87_set_status_word(struct cpu *cpu, uint16_t status)
{
    cpu->x87.top = status >> FSW_TOP_SHIFT & 7;
    cpu->x87.status = (uint16_t)(status & ~(7 << FSW_TOP_SHIFT));
    update_pending(cpu);
}

uint16_t x87_tag_word(const struct cpu *cpu)
{
    enum { VALID, ZERO, SPECIAL, EMPTY };
    unsigned tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        struct float80 value = cpu->x87.reg[i];
        unsigned exponent = value.exponent & 0x7fff, tag;
        if (cpu->x87.empty >> i & 1)
            tag = EMPTY;
        else if (!exponent && !value.mantissa)
            tag = ZERO;
        else if (!exponent || exponent == 0x7fff || !(value.mantissa >> 63))
            tag = SPECIAL;
        else
            tag = VALID;
        tags |= tag << 2 * i;
    }
    return (uint16_t)tags;
}

void x87_set_tag_word(struct cpu *cpu, uint16_t tags)
{
    cpu->x87.empty = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((tags >> 2 * i & 3) == 3)
            cpu->x87.empty |= (uint8_t)(1u << i);
}

void x87_reset(struct cpu *cpu)
{
    struct x87 *x87 = &cpu->x87;
    x87->control = FCW_INITIAL;
    x87->status = 0;
    x87->top = 0;
    x87->empty = 0xff;
    x87->opcode = 0;
    x87->ip_selector = x87->dp_selector = 0;
    x87->ip = x87->dp = 0;
}

/* -- Control instructions -- */

static void fninit(struct cpu *cpu, const struct insn *insn)
{
    x87_begin_nowait(cpu);
    x87_reset(cpu);
}

static void fnclex(struct cpu *cpu, const struct insn *insn)
{
    x87_begin_nowait(cpu);
    cpu->x87.status &= FSW_CONDITION;
}

static void fldcw(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    x87_set_control(cpu, mem_read_u16(cpu, insn_linear(cpu, insn, 2, ACCESS_READ)));
}

static void fnstcw(struct cpu *cpu, const struct insn *insn)
{
    x87_begin_nowait(cpu);
    mem_write_u16(cpu, insn_linear(cpu, insn, 2, ACCESS_WRITE), cpu->x87.control);
}

INLINE void fnstsw(struct cpu *cpu, const struct insn *insn, bool mem)
{
    x87_begin_nowait(cpu);
    operand_write(cpu, insn, 0, 2, mem, x87_status_word(cpu));
}

/* Monitors TS only together with MP, and never EM. */
static void fwait(struct cpu *cpu, const struct insn *insn)
{
    if ((cpu->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        x87_unavailable(cpu);
    x87_check_pending(cpu);
}

static void fnop(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
}

EXEC_ONE(FNINIT, fninit)
EXEC_ONE(FNCLEX, fnclex)
EXEC_ONE(FLDCW, fldcw)
EXEC_ONE(FNSTCW, fnstcw)
EXEC_FORMS(FNSTSW, fnstsw(cpu, insn, false), fnstsw(cpu, insn, true))
EXEC_ONE(FWAIT, fwait)
EXEC_ONE(FNOP, fnop)

/*
 * -- Environment images --
 *
 *   16-bit, 14 bytes, words           32-bit, 28 bytes, doublewords
 *   0 control                         0 control        (upper halves of 0-8 are ones)
 *   2 status                          4 status
 *   4 tags                            8 tags
 *   6 IP                              12 IP
 *   8 CS      | IP 19-16, opcode      16 opcode, CS    | IP 31-16, opcode
 *   10 DP                             20 DP
 *   12 DS     | DP 19-16              24 DS            | DP 31-16
 *
 * Behind the bars: real-address and virtual-8086 mode, where pointers are linear addresses.
 */

struct environment {
    uint16_t control, status, tags;
    uint32_t pointers[4]; /* the last four rows, as doublewords or words */
};

static bool uses_linear_pointers(const struct cpu *cpu)
{
    return !(cpu->mode & MODE_PROTECTED);
}

static void environment_get(const struct cpu *cpu, bool wide, struct environment *env)
{
    const struct x87 *x87 = &cpu->x87;
    uint32_t *p = env->pointers;
    env->control = x87->control;
    env->status = x87_status_word(cpu);
    env->tags = x87_tag_word(cpu);
    if (uses_linear_pointers(cpu)) {
        uint32_t ip = (uint32_t)x87->ip + ((uint32_t)x87->ip_selector << 4);
        uint32_t dp = (uint32_t)x87->dp + ((uint32_t)x87->dp_selector << 4);
        uint32_t mask = wide ? 0xffff : 0xf;
        p[0] = ip & 0xffff;
        p[1] = (ip >> 16 & mask) << 12 | (x87->opcode & 0x7ff);
        p[2] = dp & 0xffff;
        p[3] = (dp >> 16 & mask) << 12;
    } else {
        p[0] = (uint32_t)x87->ip;
        p[1] = x87->ip_selector | (wide ? (uint32_t)(x87->opcode & 0x7ff) << 16 : 0);
        p[2] = (uint32_t)x87->dp;
        p[3] = x87->dp_selector | (wide ? 0xffff0000 : 0);
    }
}

static void environment_set(struct cpu *cpu, bool wide, const struct environment *env)
{
    struct x87 *x87 = &cpu->x87;
    const uint32_t *p = env->pointers;
    cpu->x87.control = (env->control & FCW_DEFINED) | 0x40;
    x87_set_status_word(cpu, env->status);
    x87_set_tag_word(cpu, env->tags);
    if (uses_linear_pointers(cpu)) {
        uint32_t mask = wide ? 0xffff : 0xf;
        x87->ip = (p[0] & 0xffff) | (p[1] >> 12 & mask) << 16;
        x87->dp = (p[2] & 0xffff) | (p[3] >> 12 & mask) << 16;
        x87->opcode = p[1] & 0x7ff;
        x87->ip_selector = x87->dp_selector = 0;
    } else {
        x87->ip = p[0];
        x87->ip_selector = (uint16_t)p[1];
        x87->dp = p[2];
        x87->dp_selector = (uint16_t)p[3];
        if (wide)
            x87->opcode = p[1] >> 16 & 0x7ff;
    }
}

/* To and from the bytes above; returns their number. */
static unsigned environment_pack(const struct environment *env, bool wide, uint8_t *image)
{
    const uint16_t words[3] = {env->control, env->status, env->tags};
    unsigned step = wide ? 4 : 2;
    for (unsigned i = 0; i < 7; i++) {
        uint32_t value = i < 3 ? words[i] | 0xffff0000 : env->pointers[i - 3];
        memcpy(image + i * step, &value, step);
    }
    return 7 * step;
}

static void environment_unpack(struct environment *env, bool wide, const uint8_t *image)
{
    uint32_t words[7] = {0};
    unsigned step = wide ? 4 : 2;
    for (unsigned i = 0; i < 7; i++)
        memcpy(&words[i], image + i * step, step);
    env->control = (uint16_t)words[0];
    env->status = (uint16_t)words[1];
    env->tags = (uint16_t)words[2];
    memcpy(env->pointers, words + 3, sizeof env->pointers);
}

static void fnstenv(struct cpu *cpu, const struct insn *insn)
{
    x87_begin_nowait(cpu);
    bool wide = insn->opsize != 2;
    struct environment env;
    uint8_t image[28];
    environment_get(cpu, wide, &env);
    unsigned length = environment_pack(&env, wide, image);
    mem_write_bytes(cpu, insn_linear(cpu, insn, length, ACCESS_WRITE), image, length);
    x87_set_control(cpu, cpu->x87.control | FSW_EXCEPTIONS);
}

static void fldenv(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    bool wide = insn->opsize != 2;
    struct environment env;
    uint8_t image[28];
    unsigned length = wide ? 28 : 14;
    mem_read_bytes(cpu, insn_linear(cpu, insn, length, ACCESS_READ), image, length);
    environment_unpack(&env, wide, image);
    environment_set(cpu, wide, &env);
}

/* The environment followed by ST(0) to ST(7), ten bytes each. */
static void fnsave(struct cpu *cpu, const struct insn *insn)
{
    x87_begin_nowait(cpu);
    bool wide = insn->opsize != 2;
    struct environment env;
    uint8_t image[28 + 80];
    environment_get(cpu, wide, &env);
    unsigned length = environment_pack(&env, wide, image);
    for (unsigned i = 0; i < 8; i++, length += 10) {
        struct float80 value = st_get(cpu, i);
        memcpy(image + length, &value.mantissa, 8);
        memcpy(image + length + 8, &value.exponent, 2);
    }
    mem_write_bytes(cpu, insn_linear(cpu, insn, length, ACCESS_WRITE), image, length);
    x87_reset(cpu);
}

static void frstor(struct cpu *cpu, const struct insn *insn)
{
    x87_begin(cpu);
    bool wide = insn->opsize != 2;
    struct environment env;
    uint8_t image[28 + 80];
    unsigned at = wide ? 28 : 14, length = at + 80;
    mem_read_bytes(cpu, insn_linear(cpu, insn, length, ACCESS_READ), image, length);
    environment_unpack(&env, wide, image);
    environment_set(cpu, wide, &env);
    for (unsigned i = 0; i < 8; i++, at += 10) {
        struct float80 *reg = &cpu->x87.reg[st_index(cpu, i)];
        memcpy(&reg->mantissa, image + at, 8);
        memcpy(&reg->exponent, image + at + 8, 2);
    }
}

EXEC_ONE(FNSTENV, fnstenv)
EXEC_ONE(FLDENV, fldenv)
EXEC_ONE(FNSAVE, fnsave)
EXEC_ONE(FRSTOR, frstor)
