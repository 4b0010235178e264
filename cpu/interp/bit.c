/* Bit tests and scans, counts, CRC32, SETcc, and the instructions on single flags. */
#include "cpu/interp/operand.h"

/* -- BT, BTS, BTR, BTC: CF is the bit; the other flags, undefined but ZF, stay -- */

INLINE void bit_to_cf(uint64_t a, uint64_t bit, uint32_t *eflags)
{
    *eflags = flags_merge(*eflags, FLAG_CF, (a >> bit) & 1);
}

INLINE uint64_t op_bt(uint64_t a, uint64_t bit, unsigned size, uint32_t *eflags)
{
    bit_to_cf(a, bit, eflags);
    return a;
}

INLINE uint64_t op_bts(uint64_t a, uint64_t bit, unsigned size, uint32_t *eflags)
{
    bit_to_cf(a, bit, eflags);
    return a | 1ull << bit;
}

INLINE uint64_t op_btr(uint64_t a, uint64_t bit, unsigned size, uint32_t *eflags)
{
    bit_to_cf(a, bit, eflags);
    return a & ~(1ull << bit);
}

INLINE uint64_t op_btc(uint64_t a, uint64_t bit, unsigned size, uint32_t *eflags)
{
    bit_to_cf(a, bit, eflags);
    return a ^ 1ull << bit;
}

/*
 * A register index into memory is a signed offset in a bit string: it selects the word at address +
 * index / width, rounded down. Immediates and register operands use the index modulo the width.
 */
INLINE void bit_operation(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem,
                          alu_op *op, bool test)
{
    unsigned bits = size * 8;
    uint64_t index = source_read(cpu, insn, 1, size);
    uint64_t bit = index & (bits - 1);

    if (!mem) {
        if (test)
            op(reg_read(cpu, &insn->operand[0], size), bit, size, &cpu->eflags);
        else
            modify(cpu, insn, size, false, op, bit);
        return;
    }
    uint64_t offset = insn_offset(cpu, insn);
    if (insn->operand[1].kind != OPERAND_IMM) {
        unsigned shift = size == 8 ? 6 : size == 4 ? 5 : 4;
        offset += (uint64_t)((sign_extend(index, size) >> shift) * (int64_t)size);
        offset = insn->addrsize == 8 ? offset : zero_extend(offset, insn->addrsize);
    }
    gva_t gva = segment_linear(cpu, insn->seg, offset, size, test ? ACCESS_READ : ACCESS_WRITE);
    if (test)
        op(mem_read(cpu, gva, size), bit, size, &cpu->eflags);
    else
        modify_memory(cpu, insn, gva, size, op, bit);
}

EXEC_WIDTHS(BT, bit_operation, op_bt, true)
EXEC_WIDTHS(BTS, bit_operation, op_bts, false)
EXEC_WIDTHS(BTR, bit_operation, op_btr, false)
EXEC_WIDTHS(BTC, bit_operation, op_btc, false)

/* -- Scans and counts -- */

/* With no bit set ZF is 1 and the destination stays whole, upper half included, as on all current
 * processors. Of the undefined flags PF follows the index and the rest are 0. */
INLINE void bit_scan(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem,
                     bool reverse)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);
    uint64_t index = 0;

    if (source != 0) {
        index = (uint64_t)(reverse ? 63 - __builtin_clzll(source) : __builtin_ctzll(source));
        reg_write(cpu, &insn->operand[0], size, index);
    }
    cpu->eflags =
        flags_merge(cpu->eflags, FLAG_ARITH, flags_parity[index] | (source == 0 ? FLAG_ZF : 0));
}

INLINE void zero_count(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem,
                       bool leading)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);
    unsigned bits = size * 8;
    uint64_t count = bits;

    if (source != 0)
        count = leading ? (uint64_t)__builtin_clzll(source) - (64 - bits)
                        : (uint64_t)__builtin_ctzll(source);
    reg_write(cpu, &insn->operand[0], size, count);
    cpu->eflags = flags_merge(cpu->eflags, FLAG_CF | FLAG_ZF,
                              (source == 0 ? FLAG_CF : 0) | (count == 0 ? FLAG_ZF : 0));
}

INLINE void popcnt(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    uint64_t source = operand_read(cpu, insn, 1, size, mem);

    reg_write(cpu, &insn->operand[0], size, (uint64_t)__builtin_popcountll(source));
    cpu->eflags = flags_merge(cpu->eflags, FLAG_ARITH, source == 0 ? FLAG_ZF : 0);
}

EXEC_WIDTHS(BSF, bit_scan, false)
EXEC_WIDTHS(BSR, bit_scan, true)
EXEC_WIDTHS(TZCNT, zero_count, false)
EXEC_WIDTHS(LZCNT, zero_count, true)
EXEC_WIDTHS(POPCNT, popcnt)

/* -- CRC32: the Castagnoli polynomial 0x11EDC6F41, bit-reflected, a nibble at a time -- */

static const uint32_t crc32c_nibble[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

/* The widths of source and destination are the operands' own: the row is Gy,Eb or Gy,Ev. */
static void crc32(struct cpu *cpu, const struct insn *insn)
{
    const struct operand *source = &insn->operand[1];
    unsigned size = source->size;
    uint64_t data;

    if (source->kind == OPERAND_MEM) {
        gva_t gva = insn_linear(cpu, insn, size, ACCESS_READ);
        data = mem_read(cpu, gva, size);
    } else {
        data = size == 1 ? reg_read(cpu, source, 1) : gpr_read(cpu, source->reg, size);
    }
    uint32_t crc = (uint32_t)cpu->gpr[insn->operand[0].reg];
    for (unsigned i = 0; i < size * 2; i++) {
        crc = crc >> 4 ^ crc32c_nibble[(crc ^ data) & 15];
        data >>= 4;
    }
    cpu->gpr[insn->operand[0].reg] = crc;
}

EXEC_ONE(CRC32, crc32)

/* -- Flags -- */

INLINE void setcc(struct cpu *cpu, const struct insn *insn, unsigned size, bool mem)
{
    operand_write(cpu, insn, 0, 1, mem, condition_holds(cpu->eflags, insn->cond));
}

static void cmc(struct cpu *cpu, const struct insn *insn)
{
    cpu->eflags ^= FLAG_CF;
}

static void clc(struct cpu *cpu, const struct insn *insn)
{
    cpu->eflags &= ~(uint32_t)FLAG_CF;
}

static void stc(struct cpu *cpu, const struct insn *insn)
{
    cpu->eflags |= FLAG_CF;
}

static void cld(struct cpu *cpu, const struct insn *insn)
{
    cpu->eflags &= ~(uint32_t)FLAG_DF;
}

static void std(struct cpu *cpu, const struct insn *insn)
{
    cpu->eflags |= FLAG_DF;
}

#define FLAGS_IN_AH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF)

static void sahf(struct cpu *cpu, const struct insn *insn)
{
    cpu->eflags =
        flags_merge(cpu->eflags, FLAGS_IN_AH, (uint32_t)(cpu->gpr[RAX] >> 8) & FLAGS_IN_AH);
}

static void lahf(struct cpu *cpu, const struct insn *insn)
{
    uint64_t ah = (cpu->eflags & FLAGS_IN_AH) | FLAG_FIXED;
    cpu->gpr[RAX] = (cpu->gpr[RAX] & ~0xff00ull) | ah << 8;
}

EXEC_WIDTHS(SETCC, setcc)
EXEC_ONE(CMC, cmc)
EXEC_ONE(CLC, clc)
EXEC_ONE(STC, stc)
EXEC_ONE(CLD, cld)
EXEC_ONE(STD, std)
EXEC_ONE(SAHF, sahf)
EXEC_ONE(LAHF, lahf)
