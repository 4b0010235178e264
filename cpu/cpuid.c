/*
 * CPUID (Intel SDM 2A, table 3-8): feature bits from features.def, the rest leaf by leaf.
 *
 * Leaves 0x40000000 up follow the convention of hypervisors. The signature is KVM's, because guests
 * act on it; what it promises is only what leaf 0x40000001 lists, and that is that port delays are
 * not needed. Leaf 0x40000010 gives the TSC and APIC timer frequencies.
 */
#include "cpu/models.h"
#include "cpu/system.h"

#include <string.h>

enum cpuid_register { EAX, EBX, ECX, EDX };

/* -- Feature bits -- */

static const struct feature_place {
    uint32_t leaf;
    uint8_t subleaf, reg, bit;
} places[FEATURE_COUNT] = {
#define FEATURE(name, leaf_, subleaf_, reg_, bit_) {leaf_, subleaf_, reg_, bit_},
#include "cpu/features.def"
#undef FEATURE
};

static bool has(const struct cpu *cpu, enum cpu_feature feature)
{
    return feature_test(cpu->features, feature);
}

static uint32_t feature_bits(const struct cpu *cpu, uint32_t leaf, unsigned subleaf,
                             enum cpuid_register reg)
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < FEATURE_COUNT; i++)
        if (places[i].leaf == leaf && places[i].subleaf == subleaf && places[i].reg == reg &&
            has(cpu, (enum cpu_feature)i))
            bits |= 1u << places[i].bit;
    return bits;
}

static uint32_t text_at(const char *text, size_t offset)
{
    uint8_t bytes[4] = {0};
    size_t length = strlen(text);
    for (unsigned i = 0; i < 4; i++)
        if (offset + i < length)
            bytes[i] = (uint8_t)text[offset + i];
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* -- Leaf 1 -- */

static bool apic_enabled(struct cpu *cpu)
{
    uint64_t base;
    return cpu->bus->apic_msr_read(cpu->bus->opaque, cpu, 0x1b, &base) && base >> 11 & 1;
}

static struct cpuid_result leaf_version(struct cpu *cpu)
{
    struct cpuid_result r = {
        .eax = cpu->model->signature,
        .ebx = (uint32_t)cpu->index << 24 | 1u << 16, /* APIC ID, one logical processor */
        .ecx = feature_bits(cpu, 1, 0, ECX),
        .edx = feature_bits(cpu, 1, 0, EDX),
    };
    if (has(cpu, FEATURE_CLFSH))
        r.ebx |= 64 / 8 << 8; /* line of CLFLUSH, in quadwords */
    if (cpu->cr4 & CR4_OSXSAVE)
        r.ecx |= 1u << 27;
    if (has(cpu, FEATURE_APIC) && !apic_enabled(cpu))
        r.edx &= ~(1u << 9);
    return r;
}

/* -- Leaf 4: caches, as an ordinary processor of today would have them -- */

static struct cpuid_result leaf_caches(uint32_t index)
{
    enum { DATA = 1, CODE = 2, UNIFIED = 3 };
    static const struct {
        uint32_t type, level, ways, sets;
    } caches[] = {
        {DATA, 1, 8, 64},        /* 32 KiB */
        {CODE, 1, 8, 64},        /* 32 KiB */
        {UNIFIED, 2, 16, 1024},  /* 1 MiB */
        {UNIFIED, 3, 16, 16384}, /* 16 MiB */
    };
    if (index >= sizeof caches / sizeof *caches)
        return (struct cpuid_result){0};
    return (struct cpuid_result){
        .eax = caches[index].type | caches[index].level << 5 | 1u << 8, /* self-initializing */
        .ebx = (caches[index].ways - 1) << 22 | (64 - 1),
        .ecx = caches[index].sets - 1,
    };
}

/* -- Leaf 0xb: one thread per core, one core -- */

static struct cpuid_result leaf_topology(const struct cpu *cpu, uint32_t level)
{
    struct cpuid_result r = {.ecx = level & 0xff, .edx = (uint32_t)cpu->index};
    if (level < 2) {
        r.ebx = 1;
        r.ecx |= (level + 1) << 8; /* thread, core */
    }
    return r;
}

/* -- Leaf 0xd: XSAVE area -- */

static struct cpuid_result leaf_xsave(struct cpu *cpu, uint32_t subleaf)
{
    enum { LEGACY_AND_HEADER = 576, AVX_SIZE = 256 };
    bool avx = has(cpu, FEATURE_AVX);
    struct cpuid_result r = {0};
    if (!has(cpu, FEATURE_XSAVE))
        return r;
    if (subleaf == 0) {
        r.eax = 3 | (avx ? 4 : 0);
        r.ebx = LEGACY_AND_HEADER + (cpu->xcr0 & 4 ? AVX_SIZE : 0);
        r.ecx = LEGACY_AND_HEADER + (avx ? AVX_SIZE : 0);
    } else if (subleaf == 1) {
        r.eax = feature_bits(cpu, 13, 1, EAX);
        if (r.eax & ~1u) /* compacted: the same size, as AVX is all there is */
            r.ebx = LEGACY_AND_HEADER + (cpu->xcr0 & 4 ? AVX_SIZE : 0);
    } else if (subleaf == 2 && avx) {
        r.eax = AVX_SIZE;
        r.ebx = LEGACY_AND_HEADER;
    }
    return r;
}

/* -- All of them -- */

static struct cpuid_result basic_leaf(struct cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
    const struct cpu_model *model = cpu->model;
    struct cpuid_result r = {0};
    switch (leaf) {
    case 0:
        r.eax = model->basic_max;
        r.ebx = text_at(model->vendor, 0);
        r.edx = text_at(model->vendor, 4);
        r.ecx = text_at(model->vendor, 8);
        break;
    case 1:
        r = leaf_version(cpu);
        break;
    case 2: /* cache descriptors: of a Pentium III, or "see leaf 4" */
        r.eax = model->basic_max > 2 ? 0x00feff01 : 0x03020101;
        r.edx = model->basic_max > 2 ? 0xf0 : 0x0c040882;
        break;
    case 4:
        r = leaf_caches(subleaf);
        break;
    case 5:
        if (has(cpu, FEATURE_MONITOR)) {
            r.eax = r.ebx = 64;
            r.ecx = 3; /* extensions; interrupts break out though masked */
        }
        break;
    case 6:
        r.eax = feature_bits(cpu, 6, 0, EAX);
        break;
    case 7:
        if (subleaf == 0) {
            r.eax = 2; /* last subleaf */
            r.ebx = feature_bits(cpu, 7, 0, EBX);
            r.ecx = feature_bits(cpu, 7, 0, ECX);
            r.edx = feature_bits(cpu, 7, 0, EDX);
        } else if (subleaf == 2) {
            r.edx = feature_bits(cpu, 7, 2, EDX);
        }
        break;
    case 0xb:
        r = leaf_topology(cpu, subleaf);
        break;
    case 0xd:
        r = leaf_xsave(cpu, subleaf);
        break;
    case 0x15: /* TSC is crystal * ebx / eax; the crystal also drives the APIC timer */
        r.eax = r.ebx = 1;
        r.ecx = (uint32_t)CPU_TSC_HZ;
        break;
    case 0x16: /* MHz: base, maximum, bus */
        r.eax = r.ebx = (uint32_t)(CPU_TSC_HZ / 1000000);
        r.ecx = 100;
        break;
    }
    return r;
}

static struct cpuid_result hypervisor_leaf(uint32_t leaf)
{
    struct cpuid_result r = {0};
    switch (leaf) {
    case 0x40000000:
        r.eax = 0x40000010;
        r.ebx = text_at("KVMKVMKVM", 0);
        r.ecx = text_at("KVMKVMKVM", 4);
        r.edx = text_at("KVMKVMKVM", 8);
        break;
    case 0x40000001:
        r.eax = 1u << 1; /* no delays between port accesses */
        break;
    case 0x40000010: /* kHz: TSC, APIC timer */
        r.eax = r.ebx = (uint32_t)(CPU_TSC_HZ / 1000);
        break;
    }
    return r;
}

static struct cpuid_result extended_leaf(struct cpu *cpu, uint32_t leaf)
{
    struct cpuid_result r = {0};
    switch (leaf) {
    case 0x80000000:
        r.eax = cpu->model->extended_max;
        break;
    case 0x80000001:
        r.ecx = feature_bits(cpu, leaf, 0, ECX);
        r.edx = feature_bits(cpu, leaf, 0, EDX);
        if (!is_code64(cpu)) /* Intel shows SYSCALL only in 64-bit mode */
            r.edx &= ~(1u << 11);
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
        size_t offset = (leaf - 0x80000002) * 16;
        r.eax = text_at(cpu->model->brand, offset);
        r.ebx = text_at(cpu->model->brand, offset + 4);
        r.ecx = text_at(cpu->model->brand, offset + 8);
        r.edx = text_at(cpu->model->brand, offset + 12);
        break;
    }
    case 0x80000006: /* L2: size in KiB, associativity, line */
        r.ecx = 1024u << 16 | 8u << 12 | 64;
        break;
    case 0x80000007:
        r.edx = feature_bits(cpu, leaf, 0, EDX);
        break;
    case 0x80000008:
        r.eax = CPU_PHYSICAL_BITS | (has(cpu, FEATURE_LM) ? 48 : 32) << 8;
        break;
    }
    return r;
}

static struct cpuid_result read_leaf(struct cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
    const struct cpu_model *model = cpu->model;
    if (leaf >> 16 == 0x4000 && has(cpu, FEATURE_HYPERVISOR))
        return hypervisor_leaf(leaf);
    if (leaf >= 0x80000000 && leaf <= model->extended_max)
        return extended_leaf(cpu, leaf);
    if (leaf > model->basic_max) /* Intel: as the highest basic leaf */
        leaf = model->basic_max;
    return basic_leaf(cpu, leaf, subleaf);
}

struct cpuid_result cpuid_read(struct cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_result r = read_leaf(cpu, leaf, subleaf);
    if (is_code64(cpu))
        cpu->cpuid[cpuid_slot(leaf, subleaf)] =
            (struct cpuid_entry){cpu->cpuid_epoch, leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx};
    return r;
}
