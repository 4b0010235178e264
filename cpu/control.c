/*
 * Control registers and EFER: which values are legal, and what a change entails for the TLB, the
 * PDPTEs and the mode (Intel SDM 3A 2.5, 4.1, 9.8.5).
 */
#include "cpu/isa.h"
#include "cpu/log.h"
#include "cpu/system.h"

static bool has(const struct cpu *cpu, enum cpu_feature feature)
{
    return feature_test(cpu->features, feature);
}

uint64_t cpu_cr4_mask(const struct cpu *cpu)
{
    static const struct {
        uint32_t bits;
        uint8_t feature;
    } table[] = {
        {CR4_VME | CR4_PVI, FEATURE_VME},
        {CR4_TSD, FEATURE_TSC},
        {CR4_DE, FEATURE_DE},
        {CR4_PSE, FEATURE_PSE},
        {CR4_PAE, FEATURE_PAE},
        {CR4_MCE, FEATURE_MCE},
        {CR4_PGE, FEATURE_PGE},
        {CR4_OSFXSR, FEATURE_FXSR},
        {CR4_OSXMMEXCPT, FEATURE_SSE},
        {CR4_UMIP, FEATURE_UMIP},
        {CR4_FSGSBASE, FEATURE_FSGSBASE},
        {CR4_PCIDE, FEATURE_PCID},
        {CR4_OSXSAVE, FEATURE_XSAVE},
        {CR4_SMEP, FEATURE_SMEP},
        {CR4_SMAP, FEATURE_SMAP},
    };
    uint64_t mask = has(cpu, FEATURE_MMX) ? CR4_PCE : 0;
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        if (has(cpu, table[i].feature))
            mask |= table[i].bits;
    return mask;
}

/* PAE paging outside long mode caches four entries of the top level. */
static bool uses_pdptes(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return cr0 & CR0_PG && cr4 & CR4_PAE && !(efer & EFER_LMA);
}

void cpu_write_cr0(struct cpu *cpu, uint64_t value)
{
    const uint64_t writable =
        CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
    if (value >> 32)
        cpu_raise_gp(cpu, 0);
    value = (value & writable) | CR0_ET;
    if ((value & CR0_PG && !(value & CR0_PE)) || (value & CR0_NW && !(value & CR0_CD)))
        cpu_raise_gp(cpu, 0);

    uint64_t changed = cpu->cr0 ^ value, efer = cpu->efer;
    if (changed & CR0_PG) {
        if (value & CR0_PG && efer & EFER_LME) {
            if (!(cpu->cr4 & CR4_PAE) || cpu->seg[SEG_CS].attr & SEGMENT_L)
                cpu_raise_gp(cpu, 0);
            efer |= EFER_LMA;
        } else if (!(value & CR0_PG)) {
            if (is_code64(cpu) || cpu->cr4 & CR4_PCIDE)
                cpu_raise_gp(cpu, 0);
            efer &= ~(uint64_t)EFER_LMA;
        }
    }
    if (changed & (CR0_PG | CR0_CD | CR0_NW) && uses_pdptes(value, cpu->cr4, efer) &&
        !paging_load_pdptes(cpu, cpu->cr3))
        cpu_raise_gp(cpu, 0);

    cpu->cr0 = value;
    cpu->efer = efer;
    if (changed & (CR0_PG | CR0_WP | CR0_PE))
        tlb_flush_all(cpu);
    cpu_update_mode(cpu);
}

void cpu_write_cr3(struct cpu *cpu, uint64_t value)
{
    bool keep = false;
    if (is_long(cpu)) {
        if (cpu->cr4 & CR4_PCIDE) {
            keep = value >> 63;
            value &= ~(1ull << 63);
        }
        if (value & ~PHYSICAL_MASK)
            cpu_raise_gp(cpu, 0);
    } else {
        value = (uint32_t)value;
        if (uses_pdptes(cpu->cr0, cpu->cr4, cpu->efer) && !paging_load_pdptes(cpu, value))
            cpu_raise_gp(cpu, 0);
    }
    cpu->cr3 = value;
    paging_switch(cpu, keep);
}

void cpu_write_cr4(struct cpu *cpu, uint64_t value)
{
    const uint64_t paging = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP;
    if (value & ~cpu_cr4_mask(cpu))
        cpu_raise_gp(cpu, 0);
    uint64_t changed = cpu->cr4 ^ value;
    if (is_long(cpu) && !(value & CR4_PAE))
        cpu_raise_gp(cpu, 0);
    if (changed & value & CR4_PCIDE && (!is_long(cpu) || cpu->cr3 & 0xfff))
        cpu_raise_gp(cpu, 0);
    if (changed & paging && uses_pdptes(cpu->cr0, value, cpu->efer) &&
        !paging_load_pdptes(cpu, cpu->cr3))
        cpu_raise_gp(cpu, 0);

    cpu->cr4 = value;
    if (changed & (paging | CR4_SMAP) || changed & ~value & CR4_PCIDE) {
        paging_switch(cpu, true); /* without PCIDs everything is PCID 0 */
        tlb_flush_all(cpu);
    }
    cpu_update_mode(cpu);
}

void cpu_write_efer(struct cpu *cpu, uint64_t value)
{
    uint64_t allowed = EFER_LMA; /* read-only: its value is ignored */
    if (has(cpu, FEATURE_SYSCALL))
        allowed |= EFER_SCE;
    if (has(cpu, FEATURE_LM))
        allowed |= EFER_LME;
    if (has(cpu, FEATURE_NX))
        allowed |= EFER_NXE;
    if (value & ~allowed || ((value ^ cpu->efer) & EFER_LME && cpu->cr0 & CR0_PG))
        cpu_raise_gp(cpu, 0);
    uint64_t changed = cpu->efer ^ value;
    cpu->efer = (value & ~(uint64_t)EFER_LMA) | (cpu->efer & EFER_LMA);
    if (changed & EFER_NXE)
        tlb_flush_all(cpu);
    cpu_update_mode(cpu);
}
