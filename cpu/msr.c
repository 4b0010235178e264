/*
 * Model-specific registers (Intel SDM 4, table 2-2), as one table: number, existence, reserved
 * bits, and where the value lives. What is not in the table does not exist: #GP, and a line in the
 * log.
 *
 * Not modelled: performance counters, last-branch records, thermal and power management, machine
 * check banks (none exist), VMX, SMM. MTRRs are kept but have no effect: memory types do not exist.
 */
#include "cpu/isa.h"
#include "cpu/log.h"
#include "cpu/system.h"

struct msr {
    uint32_t first, last; /* numbers that the row describes */
    uint8_t feature;      /* enum cpu_feature, or FEATURE_BASE */
    uint8_t check;        /* enum msr_check: of a written value */
    size_t member;        /* offset in struct cpu of a uint64_t; 0 if only functions */
    uint64_t writable;    /* bits that may be set; 0 with `check` CONSTANT: read-only */
    uint64_t constant;    /* value of a read-only register */
    bool (*read)(struct cpu *cpu, uint32_t number, uint64_t *value);
    bool (*write)(struct cpu *cpu, uint32_t number, uint64_t value);
};

enum msr_check { CHECK_MASK, CHECK_CANONICAL, CONSTANT, FUNCTION, IGNORE_WRITE };

#define MEMBER(name) offsetof(struct cpu, name)
#define ALL_BITS     (~0ull)

/* -- Time -- */

uint64_t cpu_tsc(struct cpu *cpu)
{
    return cpu->bus->clock_ns(cpu->bus->opaque) + cpu->tsc_offset; /* CPU_TSC_HZ is 1 GHz */
}

uint64_t cpu_tsc_to_ns(const struct cpu *cpu, uint64_t tsc)
{
    uint64_t now = cpu->bus->clock_ns(cpu->bus->opaque);
    uint64_t ahead = tsc - (now + cpu->tsc_offset);
    if ((int64_t)ahead <= 0)
        return now;
    return now > UINT64_MAX - ahead ? UINT64_MAX : now + ahead;
}

static bool read_tsc(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    *value = cpu_tsc(cpu);
    return true;
}

static bool write_tsc(struct cpu *cpu, uint32_t number, uint64_t value)
{
    cpu->tsc_offset = value - cpu->bus->clock_ns(cpu->bus->opaque);
    if (cpu->bus->tsc_changed)
        cpu->bus->tsc_changed(cpu->bus->opaque, cpu);
    return true;
}

/* -- Registers with a life of their own -- */

static bool read_apic(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    return cpu->bus->apic_msr_read(cpu->bus->opaque, cpu, number, value);
}

static bool write_apic(struct cpu *cpu, uint32_t number, uint64_t value)
{
    if (!cpu->bus->apic_msr_write(cpu->bus->opaque, cpu, number, value))
        return false;
    cpu->cpuid_epoch += number == 0x1b; /* CPUID shows whether the APIC is enabled */
    cpu_check_interrupt(cpu); /* EOI and TPR may let a waiting one through */
    return true;
}

static bool read_efer(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    *value = cpu->efer;
    return true;
}

static bool write_efer(struct cpu *cpu, uint32_t number, uint64_t value)
{
    cpu_write_efer(cpu, value);
    return true;
}

static bool read_base(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    *value = cpu->seg[number == 0xc0000100 ? SEG_FS : SEG_GS].base;
    return true;
}

static bool write_base(struct cpu *cpu, uint32_t number, uint64_t value)
{
    if (!is_canonical(value))
        return false;
    cpu->seg[number == 0xc0000100 ? SEG_FS : SEG_GS].base = value;
    cpu_update_mode(cpu);
    return true;
}

/* Memory types that PAT and MTRRs accept. */
static bool memory_type_valid(uint64_t type, bool pat)
{
    return type <= 6 ? type != 2 && type != 3 : pat && type == 7;
}

static bool types_valid(uint64_t value, bool pat)
{
    for (unsigned i = 0; i < 8; i++)
        if (!memory_type_valid(value >> (i * 8) & 0xff, pat))
            return false;
    return true;
}

static bool write_pat(struct cpu *cpu, uint32_t number, uint64_t value)
{
    if (!types_valid(value, true))
        return false;
    cpu->pat = value;
    return true;
}

static const uint16_t mtrr_fixed_numbers[11] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                                0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

static uint64_t *mtrr_fixed(struct cpu *cpu, uint32_t number)
{
    for (unsigned i = 0; i < 11; i++)
        if (mtrr_fixed_numbers[i] == number)
            return &cpu->mtrr_fixed[i];
    return NULL;
}

static bool read_mtrr_fixed(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    const uint64_t *mtrr = mtrr_fixed(cpu, number);
    if (mtrr)
        *value = *mtrr;
    return mtrr != NULL;
}

static bool write_mtrr_fixed(struct cpu *cpu, uint32_t number, uint64_t value)
{
    uint64_t *mtrr = mtrr_fixed(cpu, number);
    if (!mtrr || !types_valid(value, false))
        return false;
    *mtrr = value;
    return true;
}

static bool read_mtrr_variable(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    unsigned i = (number - 0x200) / 2;
    *value = number & 1 ? cpu->mtrr_mask[i] : cpu->mtrr_base[i];
    return true;
}

static bool write_mtrr_variable(struct cpu *cpu, uint32_t number, uint64_t value)
{
    unsigned i = (number - 0x200) / 2;
    if (number & 1) {
        if (value & (~PHYSICAL_MASK | 0x7ff))
            return false;
        cpu->mtrr_mask[i] = value;
    } else {
        if (value & (~PHYSICAL_MASK | 0xf00) || !memory_type_valid(value & 0xff, false))
            return false;
        cpu->mtrr_base[i] = value;
    }
    return true;
}

static bool write_mtrr_def_type(struct cpu *cpu, uint32_t number, uint64_t value)
{
    if (value & ~0xcffull || !memory_type_valid(value & 0xff, false))
        return false;
    cpu->mtrr_def_type = value;
    return true;
}

static bool write_debug_ctl(struct cpu *cpu, uint32_t number, uint64_t value)
{
    if (value & ~3ull)
        return false;
    if (value)
        log_guest("IA32_DEBUGCTL set to %llx: branch recording and branch steps are not modelled",
                  (unsigned long long)value);
    cpu->debug_ctl = value;
    return true;
}

/* MSR_MISC_FEATURES_ENABLES: CPUID faulting, its one feature, is not offered. */
static bool read_misc_features(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    *value = 0;
    return true;
}

static bool write_misc_features(struct cpu *cpu, uint32_t number, uint64_t value)
{
    return value == 0;
}

/* IA32_XSS: there are no supervisor components. */
static bool read_xss(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    *value = 0;
    return true;
}

static bool write_xss(struct cpu *cpu, uint32_t number, uint64_t value)
{
    return value == 0;
}

/* Prediction barrier: there are no predictors. */
static bool write_pred_cmd(struct cpu *cpu, uint32_t number, uint64_t value)
{
    return !(value & ~1ull);
}

/* -- The table -- */

/* None of the known speculation bugs exist here (names of the bits: SDM 4, IA32_ARCH_CAPABILITIES).
 */
enum {
    RDCL_NO = 1 << 0,
    IBRS_ALL = 1 << 1,
    SKIP_L1DFL_VMENTRY = 1 << 3,
    SSB_NO = 1 << 4,
    MDS_NO = 1 << 5,
    IF_PSCHANGE_MC_NO = 1 << 6,
    TAA_NO = 1 << 8,
    SBDR_SSDP_NO = 1 << 13,
    FBSDP_NO = 1 << 14,
    PSDP_NO = 1 << 15,
    BHI_NO = 1 << 20,
    PBRSB_NO = 1 << 24,
    GDS_NO = 1 << 26,
    RFDS_NO = 1 << 27,
};
#define ITS_NO (1ull << 62)
#define ARCH_CAPABILITIES                                                                          \
    (ITS_NO | RDCL_NO | IBRS_ALL | SKIP_L1DFL_VMENTRY | SSB_NO | MDS_NO | IF_PSCHANGE_MC_NO |      \
     TAA_NO | SBDR_SSDP_NO | FBSDP_NO | PSDP_NO | BHI_NO | PBRSB_NO | GDS_NO | RFDS_NO)

/* IBRS, STIBP, SSBD, BHI_DIS_S: all of them hold anyway. */
#define SPEC_CTRL_BITS (1 << 0 | 1 << 1 | 1 << 2 | 1 << 10)

#define MSR_VALUE(number, feat, field, mask)                                                       \
    {                                                                                              \
        .first = number, .last = number, .feature = feat, .member = MEMBER(field),                 \
        .writable = mask                                                                           \
    }
#define MSR_ADDRESS(number, feat, field)                                                           \
    {                                                                                              \
        .first = number, .last = number, .feature = feat, .member = MEMBER(field),                 \
        .writable = ALL_BITS, .check = CHECK_CANONICAL                                             \
    }
#define MSR_CONSTANT(number, feat, value)                                                          \
    {                                                                                              \
        .first = number, .last = number, .feature = feat, .check = CONSTANT, .constant = value     \
    }
#define MSR_FUNCTION(from, to, feat, reader, writer)                                               \
    {                                                                                              \
        .first = from, .last = to, .feature = feat, .check = FUNCTION, .read = reader,             \
        .write = writer                                                                            \
    }
#define MSR_MEMBER_FUNCTION(number, feat, field, writer)                                           \
    {                                                                                              \
        .first = number, .last = number, .feature = feat, .check = FUNCTION,                       \
        .member = MEMBER(field), .write = writer                                                   \
    }

#define BASE FEATURE_BASE
#define F(x) FEATURE_##x

static const struct msr msrs[] = {
    /* IA32_P5_MC_ADDR, IA32_P5_MC_TYPE */
    {.first = 0x00, .last = 0x01, .feature = F(MCE), .check = IGNORE_WRITE},
    MSR_FUNCTION(0x10, 0x10, F(TSC), read_tsc, write_tsc),
    MSR_CONSTANT(0x17, BASE, 0), /* IA32_PLATFORM_ID */
    MSR_FUNCTION(0x1b, 0x1b, F(APIC), read_apic, write_apic),
    MSR_CONSTANT(0x2a, BASE, 0),  /* EBL_CR_POWERON */
    MSR_CONSTANT(0x3a, F(LM), 1), /* IA32_FEATURE_CONTROL: locked, nothing enabled */
    MSR_VALUE(0x48, F(IBRS_IBPB), spec_ctrl, SPEC_CTRL_BITS),
    MSR_CONSTANT(0x4e, F(LM), 1), /* MSR_PPIN_CTL: locked, no inventory number */
    MSR_FUNCTION(0x49, 0x49, F(IBRS_IBPB), NULL, write_pred_cmd),
    /* IA32_BIOS_SIGN_ID: software writes 0, executes CPUID and reads the revision */
    {.first = 0x8b, .last = 0x8b, .feature = BASE, .check = IGNORE_WRITE, .constant = 1ull << 32},
    MSR_CONSTANT(0xce, F(LM), 10 << 8), /* MSR_PLATFORM_INFO: ratio of the TSC to 100 MHz */
    MSR_CONSTANT(0xfe, F(MTRR), 0x508), /* IA32_MTRRCAP: 8 variable, fixed, WC */
    MSR_CONSTANT(0x10a, F(ARCH_CAPABILITIES), ARCH_CAPABILITIES),
    MSR_FUNCTION(0x140, 0x140, F(LM), read_misc_features, write_misc_features),
    MSR_VALUE(0x174, F(SEP), sysenter_cs, 0xffffffff),
    MSR_ADDRESS(0x175, F(SEP), sysenter_esp),
    MSR_ADDRESS(0x176, F(SEP), sysenter_eip),
    MSR_CONSTANT(0x179, F(MCA), 0), /* IA32_MCG_CAP: no banks */
    MSR_VALUE(0x17a, F(MCA), mcg_status, 7),
    MSR_VALUE(0x1a0, F(LM), misc_enable, 1 << 0 | 1 << 11 | 1 << 12 | 1 << 16 | 1 << 18),
    MSR_MEMBER_FUNCTION(0x1d9, F(PAE), debug_ctl, write_debug_ctl),
    MSR_CONSTANT(0x1db, F(PAE), 0), /* last branch from, to; last interrupt from, to */
    MSR_CONSTANT(0x1dc, F(PAE), 0),
    MSR_CONSTANT(0x1dd, F(PAE), 0),
    MSR_CONSTANT(0x1de, F(PAE), 0),
    MSR_FUNCTION(0x200, 0x20f, F(MTRR), read_mtrr_variable, write_mtrr_variable),
    MSR_FUNCTION(0x250, 0x26f, F(MTRR), read_mtrr_fixed, write_mtrr_fixed),
    MSR_MEMBER_FUNCTION(0x277, F(PAT), pat, write_pat),
    MSR_MEMBER_FUNCTION(0x2ff, F(MTRR), mtrr_def_type, write_mtrr_def_type),
    MSR_CONSTANT(0x64e, F(LM), 0), /* MSR_PPERF: does not count, which 0 tells */
    MSR_FUNCTION(0x6e0, 0x6e0, F(TSC_DEADLINE), read_apic, write_apic),
    MSR_FUNCTION(0x800, 0x8ff, F(X2APIC), read_apic, write_apic),
    MSR_FUNCTION(0xda0, 0xda0, F(XSAVES), read_xss, write_xss),
    MSR_FUNCTION(0xc0000080, 0xc0000080, F(NX), read_efer, write_efer),
    MSR_VALUE(0xc0000081, F(SYSCALL), star, ALL_BITS),
    MSR_ADDRESS(0xc0000082, F(LM), lstar),
    MSR_ADDRESS(0xc0000083, F(LM), cstar),
    MSR_VALUE(0xc0000084, F(LM), sfmask, 0xffffffff),
    MSR_FUNCTION(0xc0000100, 0xc0000101, F(LM), read_base, write_base),
    MSR_ADDRESS(0xc0000102, F(LM), kernel_gs_base),
    MSR_VALUE(0xc0000103, F(RDTSCP), tsc_aux, 0xffffffff),
};

#undef BASE
#undef F

static const struct msr *find(const struct cpu *cpu, uint32_t number)
{
    for (unsigned i = 0; i < sizeof msrs / sizeof *msrs; i++)
        if (number >= msrs[i].first && number <= msrs[i].last) {
            bool exists =
                msrs[i].feature == FEATURE_BASE || feature_test(cpu->features, msrs[i].feature);
            return exists ? &msrs[i] : NULL;
        }
    return NULL;
}

static uint64_t *member_of(struct cpu *cpu, const struct msr *msr)
{
    return (uint64_t *)(void *)((uint8_t *)cpu + msr->member);
}

bool msr_read(struct cpu *cpu, uint32_t number, uint64_t *value)
{
    const struct msr *msr = find(cpu, number);
    if (msr && msr->member)
        *value = *member_of(cpu, msr);
    else if (msr && (msr->check == CONSTANT || msr->check == IGNORE_WRITE))
        *value = msr->constant;
    else if (!msr || !msr->read || !msr->read(cpu, number, value)) {
        log_if(LOG_MSR, "RDMSR of %x, which does not exist, at %llx", number,
               (unsigned long long)cpu->rip);
        return false;
    }
    return true;
}

static bool write_checked(struct cpu *cpu, const struct msr *msr, uint32_t number, uint64_t value)
{
    switch (msr->check) {
    case CHECK_MASK:
        if (value & ~msr->writable)
            return false;
        *member_of(cpu, msr) = value;
        return true;
    case CHECK_CANONICAL:
        if (!is_canonical(value))
            return false;
        *member_of(cpu, msr) = value;
        return true;
    case FUNCTION:
        return msr->write && msr->write(cpu, number, value);
    case IGNORE_WRITE:
        return true;
    default:
        return false;
    }
}

bool msr_write(struct cpu *cpu, uint32_t number, uint64_t value)
{
    const struct msr *msr = find(cpu, number);
    if (msr && write_checked(cpu, msr, number, value))
        return true;
    log_if(LOG_MSR, "WRMSR of %llx to %x refused, at %llx", (unsigned long long)value, number,
           (unsigned long long)cpu->rip);
    return false;
}

void msr_reset(struct cpu *cpu)
{
    cpu->star = cpu->lstar = cpu->cstar = cpu->sfmask = cpu->kernel_gs_base = 0;
    cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = 0;
    cpu->pat = 0x0007040600070406;
    cpu->tsc_offset = 0 - cpu->bus->clock_ns(cpu->bus->opaque);
    cpu->tsc_aux = 0;
    cpu->misc_enable = 1 << 0 | 1 << 11 | 1 << 12; /* fast strings; no BTS, no PEBS */
    cpu->mtrr_def_type = 0;
    for (unsigned i = 0; i < 11; i++)
        cpu->mtrr_fixed[i] = 0;
    for (unsigned i = 0; i < 8; i++)
        cpu->mtrr_base[i] = cpu->mtrr_mask[i] = 0;
    cpu->debug_ctl = cpu->spec_ctrl = cpu->mcg_status = 0;
}
