/*
 * Debug registers: breakpoints on instructions, data and ports (Intel SDM 3B 17.2, 17.3).
 *
 * While a data breakpoint is armed, cpu->tlb is the TLB that never hits, so that every access comes
 * by mem.c, which asks here; while any is armed, cpu_run() steps (EVENT_STEP).
 */
#include "cpu/system.h"

enum { BREAK_EXECUTE, BREAK_WRITE, BREAK_IO, BREAK_ACCESS };

static bool enabled(const struct cpu *cpu, unsigned i)
{
    return cpu->dr[7] >> (i * 2) & 3;
}

static unsigned kind_of(const struct cpu *cpu, unsigned i)
{
    unsigned kind = cpu->dr[7] >> (16 + i * 4) & 3;
    /* Without CR4.DE type 2 is undefined; it acts as no data breakpoint. */
    return kind;
}

static unsigned length_of(const struct cpu *cpu, unsigned i)
{
    static const uint8_t length[] = {1, 2, 8, 4};
    return length[cpu->dr[7] >> (18 + i * 4) & 3];
}

bool debug_armed(const struct cpu *cpu)
{
    return cpu->dr[7] & 0xff;
}

bool debug_data_armed(const struct cpu *cpu)
{
    for (unsigned i = 0; i < 4; i++)
        if (enabled(cpu, i) && kind_of(cpu, i) & 1)
            return true;
    return false;
}

static bool overlaps(const struct cpu *cpu, unsigned i, uint64_t address, unsigned size)
{
    uint64_t length = length_of(cpu, i), start = cpu->dr[i] & ~(length - 1);
    return address < start + length && start < address + size;
}

uint32_t debug_instruction_hits(const struct cpu *cpu, gva_t gva)
{
    uint32_t hits = 0, armed = 0;
    for (unsigned i = 0; i < 4; i++)
        if (kind_of(cpu, i) == BREAK_EXECUTE && cpu->dr[i] == gva) {
            hits |= 1u << i;
            armed |= enabled(cpu, i);
        }
    return armed ? hits : 0;
}

void debug_check_data(struct cpu *cpu, gva_t gva, unsigned size, bool write)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned kind = kind_of(cpu, i);
        if ((kind == BREAK_ACCESS || (kind == BREAK_WRITE && write)) && enabled(cpu, i) &&
            overlaps(cpu, i, gva, size))
            cpu->debug_hits |= 1u << i;
    }
}

void debug_check_io(struct cpu *cpu, uint16_t port, unsigned size)
{
    if (!(cpu->cr4 & CR4_DE))
        return;
    for (unsigned i = 0; i < 4; i++)
        if (kind_of(cpu, i) == BREAK_IO && enabled(cpu, i) && overlaps(cpu, i, port, size))
            cpu->debug_hits |= 1u << i;
}

_Noreturn void debug_raise(struct cpu *cpu, uint32_t dr6_bits)
{
    /* The processor sets bits; B0-B3 of earlier exceptions it clears, the rest software must. */
    cpu->dr[6] = (cpu->dr[6] & ~15ull) | dr6_bits;
    cpu_raise(cpu, EXC_DB, 0);
}
