/*
 * Guest memory: everything that is no soft TLB hit (see cpu/mem.h). An access arrives here because
 *   - the page is not in the TLB, or not with this right: paging_resolve() walks, or raises;
 *   - it crosses a page: both pages are resolved before anything is read or written;
 *   - the page is no plain RAM for it: device, ROM, code, dirty log (TLB_SLOW);
 *   - accesses are watched (alignment checks, data breakpoints): cpu->tlb never hits.
 */
#include "cpu/mem.h"

#include "cpu/isa.h"
#include "cpu/system.h"

/* -- Checks before translation -- */

/* #SS for accesses through SS, as far as the instruction tells; stack helpers check themselves. */
static _Noreturn void raise_non_canonical(struct cpu *cpu)
{
    const struct insn *insn = cpu->insn;
    bool stack = insn && insn->seg == SEG_SS && insn_has_mem(insn);
    cpu_raise(cpu, stack ? EXC_SS : EXC_GP, 0);
}

static void check_canonical(struct cpu *cpu, gva_t gva, size_t size)
{
    if (__builtin_expect(!is_canonical(gva) || !is_canonical(gva + size - 1), 0))
        raise_non_canonical(cpu);
}

/* What a run of `size` bytes must be aligned to where alignment is checked. x87 environments and
 * images go by the size of their items; 16 bytes and more have rules of their own. */
static size_t checked_alignment(size_t size)
{
    switch (size) {
    case 2:
    case 4:
    case 8:
        return size;
    case 10: /* float80, packed decimal */
        return 8;
    case 14:
    case 94:
        return 2;
    case 28:
    case 108:
        return 4;
    default:
        return 1;
    }
}

/* Gathers and masked moves never report misaligned elements. */
static bool ignores_alignment(const struct insn *insn)
{
    switch (insn->op) {
    case OP_VMASKMOVPS:
    case OP_VMASKMOVPD:
    case OP_VPMASKMOVD:
    case OP_VPMASKMOVQ:
        return true;
    }
    return isa_rows[insn->row].attributes & ISA_VSIB;
}

static void check_watch(struct cpu *cpu, gva_t gva, size_t size, bool write)
{
    if (cpu->tlb != cpu->watch)
        return;
    if (cpu->mode & MODE_ALIGN && gva & (checked_alignment(size) - 1) &&
        !(cpu->insn && ignores_alignment(cpu->insn)))
        cpu_raise(cpu, EXC_AC, 0);
    if (cpu->mode & MODE_BREAK)
        debug_check_data(cpu, gva, (unsigned)size, write);
}

/* Addresses have 32 bits outside 64-bit mode; implicit accesses in long mode have all. */
static gva_t next_page(const struct cpu *cpu, gva_t gva, bool implicit)
{
    gva_t next = (gva | 0xfff) + 1;
    return cpu->mode & (implicit ? MODE_LONG : MODE_CODE64) ? next : (uint32_t)next;
}

/* -- Within one page -- */

static uint64_t host_read(const uint8_t *host, unsigned size)
{
    switch (size) {
    case 1:
        return *host;
    case 2: {
        uint16_t value;
        memcpy(&value, host, 2);
        return value;
    }
    case 4: {
        uint32_t value;
        memcpy(&value, host, 4);
        return value;
    }
    default: {
        uint64_t value = 0;
        memcpy(&value, host, size <= 8 ? size : 8);
        return value;
    }
    }
}

static void host_write(uint8_t *host, uint64_t value, unsigned size)
{
    switch (size) {
    case 1:
        *host = (uint8_t)value;
        break;
    case 2:
        memcpy(host, &value, 2);
        break;
    case 4:
        memcpy(host, &value, 4);
        break;
    default:
        memcpy(host, &value, size <= 8 ? size : 8);
    }
}

/* Largest access of 1, 2, 4 or 8 bytes that starts a run of `size` bytes at gpa, aligned. */
static unsigned bus_size(gpa_t gpa, size_t size)
{
    unsigned n = 8;
    while (n > size || gpa & (n - 1))
        n >>= 1;
    return n;
}

static void bus_read(struct cpu *cpu, gpa_t gpa, void *data, size_t size)
{
    uint8_t *bytes = data;
    bool whole = size == 1 || size == 2 || size == 4 || size == 8;
    while (size) {
        unsigned n = whole ? (unsigned)size : bus_size(gpa, size);
        uint64_t value = cpu->bus->mem_read(cpu->bus->opaque, cpu, gpa, n);
        memcpy(bytes, &value, n);
        gpa += n;
        bytes += n;
        size -= n;
    }
}

static void bus_write(struct cpu *cpu, gpa_t gpa, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    bool whole = size == 1 || size == 2 || size == 4 || size == 8;
    while (size) {
        unsigned n = whole ? (unsigned)size : bus_size(gpa, size);
        uint64_t value = 0;
        memcpy(&value, bytes, n);
        cpu->bus->mem_write(cpu->bus->opaque, cpu, gpa, value, n);
        gpa += n;
        bytes += n;
        size -= n;
    }
}

/* A page that was resolved for an access: where its bytes are. */
struct place {
    struct tlb *tlb;
    struct tlb_info *info;
    gva_t gva;
};

static struct place resolve(struct cpu *cpu, enum mmu_index mmu, gva_t gva, enum access access)
{
    return (struct place){
        .tlb = cpu->mmu[mmu], .info = paging_resolve(cpu, mmu, gva, access), .gva = gva};
}

static uint8_t *place_host(const struct place *place)
{
    return (uint8_t *)place->tlb->host[tlb_index(place->gva)] + (place->gva & 0xfff);
}

static gpa_t place_gpa(const struct place *place)
{
    return place->info->gpa | (place->gva & 0xfff);
}

static void place_read(struct cpu *cpu, const struct place *place, void *data, size_t size)
{
    if (place->info->host)
        memcpy(data, place_host(place), size);
    else
        bus_read(cpu, place_gpa(place), data, size);
}

/* Somebody may want the page as it is before the store. */
static void announce_store(struct cpu *cpu, const struct place *place)
{
    if (__builtin_expect(cpu->bus->before_write && place->info->log, 0))
        cpu->bus->before_write(cpu->bus->opaque, cpu, place->gva, place_gpa(place));
}

/* What a store to RAM owes to decoded code and dirty logs; then lets later stores hit if it can. */
static void settle_store(struct cpu *cpu, const struct place *place, size_t size)
{
    uint64_t *tag = &place->tlb->tag[ACCESS_WRITE][tlb_index(place->gva)];
    if (*tag == (place->gva & ~0xfffull))
        return;
    gpa_t gpa = place_gpa(place);
    code_written(cpu->code, gpa, size);
    if (place->info->log) {
        cpu->bus->note_write(cpu->bus->opaque, gpa, (unsigned)size);
        place->info->log = false;
    }
    if (!code_page_marked(cpu->code, gpa))
        *tag = place->gva & ~0xfffull;
}

static void place_write(struct cpu *cpu, const struct place *place, const void *data, size_t size)
{
    if (!place->info->host || place->info->rom) {
        bus_write(cpu, place_gpa(place), data, size);
        return;
    }
    announce_store(cpu, place);
    memcpy(place_host(place), data, size);
    settle_store(cpu, place, size);
}

/* -- Accesses of any length; both pages are resolved first -- */

static void read_as(struct cpu *cpu, enum mmu_index mmu, bool implicit, gva_t gva, void *data,
                    size_t size)
{
    uint8_t *bytes = data;
    size_t first = 4096 - (gva & 0xfff);
    if (first > size)
        first = size;
    struct place place = resolve(cpu, mmu, gva, ACCESS_READ);
    while (first < size) {
        struct place next = resolve(cpu, mmu, next_page(cpu, place.gva, implicit), ACCESS_READ);
        place_read(cpu, &place, bytes, first);
        bytes += first;
        size -= first;
        first = size < 4096 ? size : 4096;
        place = next;
    }
    place_read(cpu, &place, bytes, size);
}

static void write_as(struct cpu *cpu, enum mmu_index mmu, bool implicit, gva_t gva,
                     const void *data, size_t size)
{
    const uint8_t *bytes = data;
    size_t first = 4096 - (gva & 0xfff);
    if (first > size)
        first = size;
    struct place place = resolve(cpu, mmu, gva, ACCESS_WRITE);
    if (first < size) { /* the last page is checked before the first is written */
        gva_t last = gva + size - 1;
        resolve(cpu, mmu, cpu->mode & MODE_LONG ? last & ~0xfffull : (uint32_t)last & ~0xfffu,
                ACCESS_WRITE);
    }
    while (first < size) {
        struct place next = resolve(cpu, mmu, next_page(cpu, place.gva, implicit), ACCESS_WRITE);
        place_write(cpu, &place, bytes, first);
        bytes += first;
        size -= first;
        first = size < 4096 ? size : 4096;
        place = next;
    }
    place_write(cpu, &place, bytes, size);
}

/* -- Scalars with the current rights -- */

static bool crosses_page(gva_t gva, size_t size)
{
    return (gva & 0xfff) + size > 4096;
}

uint64_t mem_read_slow(struct cpu *cpu, gva_t gva, unsigned size)
{
    check_canonical(cpu, gva, size);
    check_watch(cpu, gva, size, false);
    if (crosses_page(gva, size)) {
        uint64_t value = 0;
        read_as(cpu, cpu_mmu(cpu), false, gva, &value, size);
        return value;
    }
    struct place place = resolve(cpu, cpu_mmu(cpu), gva, ACCESS_READ);
    if (place.info->host)
        return host_read(place_host(&place), size);
    return cpu->bus->mem_read(cpu->bus->opaque, cpu, place_gpa(&place), size);
}

void mem_write_slow(struct cpu *cpu, gva_t gva, uint64_t value, unsigned size)
{
    check_canonical(cpu, gva, size);
    check_watch(cpu, gva, size, true);
    if (crosses_page(gva, size)) {
        write_as(cpu, cpu_mmu(cpu), false, gva, &value, size);
        return;
    }
    struct place place = resolve(cpu, cpu_mmu(cpu), gva, ACCESS_WRITE);
    if (place.info->host && !place.info->rom) {
        announce_store(cpu, &place);
        host_write(place_host(&place), value, size);
        settle_store(cpu, &place, size);
    } else {
        cpu->bus->mem_write(cpu->bus->opaque, cpu, place_gpa(&place), value, size);
    }
}

uint64_t mem_rmw_slow(struct cpu *cpu, gva_t gva, unsigned size)
{
    mem_probe_write(cpu, gva, size);
    uint64_t value = 0;
    read_as(cpu, cpu_mmu(cpu), false, gva, &value, size);
    return value;
}

uint64_t mem_read_as(struct cpu *cpu, enum mmu_index mmu, gva_t gva, unsigned size)
{
    const uint8_t *host = tlb_find(cpu->mmu[mmu], ACCESS_READ, gva, size);
    if (host)
        return host_read(host, size);
    uint64_t value = 0;
    if (!is_canonical(gva) || !is_canonical(gva + size - 1))
        cpu_raise_gp(cpu, 0);
    if (crosses_page(gva, size)) {
        read_as(cpu, mmu, true, gva, &value, size);
        return value;
    }
    struct place place = resolve(cpu, mmu, gva, ACCESS_READ);
    place_read(cpu, &place, &value, size);
    return value;
}

void mem_write_as(struct cpu *cpu, enum mmu_index mmu, gva_t gva, uint64_t value, unsigned size)
{
    uint8_t *host = tlb_find(cpu->mmu[mmu], ACCESS_WRITE, gva, size);
    if (host) {
        host_write(host, value, size);
        return;
    }
    if (!is_canonical(gva) || !is_canonical(gva + size - 1))
        cpu_raise_gp(cpu, 0);
    write_as(cpu, mmu, true, gva, &value, size);
}

/* -- Any length -- */

/* Accesses longer than two pages would not be atomic with respect to faults. */
void mem_read_bytes(struct cpu *cpu, gva_t gva, void *data, size_t length)
{
    if (!length)
        return;
    check_canonical(cpu, gva, length);
    check_watch(cpu, gva, length, false);
    read_as(cpu, cpu_mmu(cpu), false, gva, data, length);
}

void mem_write_bytes(struct cpu *cpu, gva_t gva, const void *data, size_t length)
{
    if (!length)
        return;
    check_canonical(cpu, gva, length);
    check_watch(cpu, gva, length, true);
    write_as(cpu, cpu_mmu(cpu), false, gva, data, length);
}

static void probe(struct cpu *cpu, gva_t gva, size_t size, enum access access)
{
    if (!size)
        return;
    check_canonical(cpu, gva, size);
    check_watch(cpu, gva, size, access == ACCESS_WRITE);
    for (size_t done = 0; done < size;) {
        resolve(cpu, cpu_mmu(cpu), gva, access);
        done += 4096 - (gva & 0xfff);
        gva = next_page(cpu, gva, false);
    }
}

void mem_probe_write(struct cpu *cpu, gva_t gva, size_t size)
{
    probe(cpu, gva, size, ACCESS_WRITE);
}

void mem_probe_read(struct cpu *cpu, gva_t gva, size_t size)
{
    probe(cpu, gva, size, ACCESS_READ);
}

void *mem_host_read(struct cpu *cpu, gva_t gva, size_t size)
{
    return size > 4096 ? NULL : tlb_find(cpu->tlb, ACCESS_READ, gva, size);
}

void *mem_host_write(struct cpu *cpu, gva_t gva, size_t size)
{
    return size > 4096 ? NULL : tlb_find(cpu->tlb, ACCESS_WRITE, gva, size);
}

void *mem_host_modify(struct cpu *cpu, gva_t gva, size_t size)
{
    void *host = mem_host_write(cpu, gva, size);
    if (host || crosses_page(gva, size))
        return host;
    struct place place = resolve(cpu, cpu_mmu(cpu), gva, ACCESS_WRITE);
    if (!place.info->host || place.info->rom)
        return NULL;
    announce_store(cpu, &place);
    settle_store(cpu, &place, size);
    return place_host(&place);
}

const uint8_t *mem_fetch(struct cpu *cpu, gva_t gva, gpa_t *gpa)
{
    enum mmu_index mmu = cpu_mmu(cpu);
    const uint8_t *host = tlb_find(cpu->mmu[mmu], ACCESS_FETCH, gva, 1);
    if (host) {
        *gpa = cpu->mmu[mmu]->info[tlb_index(gva)].gpa | (gva & 0xfff);
        return host;
    }
    if (!is_canonical(gva))
        cpu_raise_gp(cpu, 0);
    struct place place = resolve(cpu, mmu, gva, ACCESS_FETCH);
    *gpa = place_gpa(&place);
    return place.info->host ? place_host(&place) : NULL;
}

/* -- Segments -- */

static _Noreturn void raise_segment(struct cpu *cpu, unsigned seg)
{
    cpu_raise(cpu, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

gva_t segment_check(struct cpu *cpu, unsigned seg, uint64_t offset, unsigned size,
                    enum access access)
{
    const struct segment *s = &cpu->seg[seg];
    uint64_t last = size ? size - 1 : 0;

    if (cpu->mode & MODE_CODE64) {
        gva_t gva = offset + (seg >= SEG_FS ? s->base : 0);
        if (!is_canonical(gva) || !is_canonical(gva + last))
            raise_segment(cpu, seg);
        return gva;
    }
    if (!(s->attr & SEGMENT_P))
        raise_segment(cpu, seg);
    if (cpu->mode & MODE_PROTECTED) {
        unsigned type = s->attr & (SEGMENT_CODE | SEGMENT_RW);
        if (access == ACCESS_WRITE ? type != SEGMENT_RW : type == SEGMENT_CODE)
            raise_segment(cpu, seg);
    }
    offset = (uint32_t)offset;
    if ((s->attr & (SEGMENT_CODE | SEGMENT_DC)) == SEGMENT_DC && cpu->mode & MODE_PROTECTED) {
        uint64_t top = s->attr & SEGMENT_DB ? 0xffffffff : 0xffff;
        if (offset <= s->limit || offset + last > top)
            raise_segment(cpu, seg);
    } else if (offset + last > s->limit) {
        raise_segment(cpu, seg);
    }
    return (uint32_t)(s->base + offset);
}

/* -- Stack -- */

static uint64_t stack_mask(const struct cpu *cpu)
{
    if (cpu->mode & MODE_CODE64)
        return ~0ull;
    return cpu->mode & MODE_STACK32 ? 0xffffffff : 0xffff;
}

static gva_t stack_linear(struct cpu *cpu, uint64_t sp, unsigned size, enum access access)
{
    if (cpu->mode & MODE_CODE64) {
        if (!is_canonical(sp) || !is_canonical(sp + size - 1))
            cpu_raise(cpu, EXC_SS, 0);
        return sp;
    }
    if (cpu->mode & MODE_FLAT_SS && sp + size <= 0x100000000ull)
        return sp;
    return segment_check(cpu, SEG_SS, sp, size, access);
}

static void set_sp(struct cpu *cpu, uint64_t sp, uint64_t mask)
{
    if (mask == 0xffff)
        cpu->gpr[RSP] = (cpu->gpr[RSP] & ~0xffffull) | (sp & 0xffff);
    else
        cpu->gpr[RSP] = sp & mask;
}

void stack_push(struct cpu *cpu, uint64_t value, unsigned size)
{
    uint64_t mask = stack_mask(cpu);
    uint64_t sp = (cpu->gpr[RSP] - size) & mask;
    gva_t gva = stack_linear(cpu, sp, size, ACCESS_WRITE);
    if (size == 8)
        mem_write_u64(cpu, gva, value);
    else if (size == 4)
        mem_write_u32(cpu, gva, (uint32_t)value);
    else
        mem_write_u16(cpu, gva, (uint16_t)value);
    set_sp(cpu, sp, mask);
}

uint64_t stack_peek(struct cpu *cpu, unsigned offset, unsigned size)
{
    uint64_t sp = (cpu->gpr[RSP] + offset) & stack_mask(cpu);
    gva_t gva = stack_linear(cpu, sp, size, ACCESS_READ);
    return size == 8   ? mem_read_u64(cpu, gva)
           : size == 4 ? mem_read_u32(cpu, gva)
                       : mem_read_u16(cpu, gva);
}

void stack_adjust(struct cpu *cpu, int64_t bytes)
{
    uint64_t mask = stack_mask(cpu);
    set_sp(cpu, (cpu->gpr[RSP] & mask) + (uint64_t)bytes, mask);
}

uint64_t stack_pop(struct cpu *cpu, unsigned size)
{
    uint64_t value = stack_peek(cpu, 0, size);
    stack_adjust(cpu, (int)size);
    return value;
}
