/* Paging: rights, error codes, A and D bits, large pages, PCIDs, TLB maintenance. */
#include "tests/cpu/guest.h"

#include <check.h>

enum { P = 1, W = 2, U = 4, RSVD = 8, I = 16 };

#define NX   (1ull << 63)
#define DATA 0x400000ull /* linear address under test */
#define PTE  (GUEST_TABLES + 0x3000)

static struct board *board;

static void setup(void)
{
    board = board_new(16 << 20, "default", &accel_interpreter);
}

static void teardown(void)
{
    board_free(board);
}

/* DATA is mapped by the 4 KiB entry at PTE. */
static void map(uint64_t entry)
{
    guest_put(board, GUEST_TABLES + 0x2000 + 2 * 8, PTE | 7, 8);
    guest_put(board, PTE, entry, 8);
    tlb_flush_all(board->cpu);
}

static int read_data(void)
{
    return GUEST_RUN(board, 0xa1, 0, 0, 0x40, 0, 0, 0, 0, 0, 0xf4); /* MOV EAX, [DATA]; HLT */
}

static int write_data(void)
{
    return GUEST_RUN(board, 0xa3, 0, 0, 0x40, 0, 0, 0, 0, 0, 0xf4);
}

static int fetch_data(void)
{
    return GUEST_RUN(board, 0xb8, 0, 0, 0x40, 0, 0xff, 0xe0); /* MOV EAX, DATA; JMP RAX */
}

struct rights_case {
    uint64_t entry;
    bool user;
    uint32_t cr4, cr0_clear, eflags;
    char access;
    int error; /* -1: no fault */
};

static const struct rights_case rights[] = {
    {0x500000, false, 0, 0, 0, 'r', 0},
    {0x500000, false, 0, 0, 0, 'w', W},
    {0x500000, true, 0, 0, 0, 'r', U},
    {0x500000, true, 0, 0, 0, 'x', U | I},
    {0x500003, true, 0, 0, 0, 'r', P | U},
    {0x500003, true, 0, 0, 0, 'w', P | U | W},
    {0x500005, true, 0, 0, 0, 'w', P | U | W},
    {0x500005, true, 0, 0, 0, 'r', -1},
    {0x500007, true, 0, 0, 0, 'w', -1},
    {0x500001, false, 0, 0, 0, 'w', P | W},
    {0x500001, false, 0, CR0_WP, 0, 'w', -1},
    {0x500005, false, 0, 0, 0, 'w', P | W},
    {0x500003 | NX, false, 0, 0, 0, 'x', P | I},
    {0x500003 | NX, false, 0, 0, 0, 'r', -1},
    {0x500007, false, CR4_SMEP, 0, 0, 'x', P | I},
    {0x500003, false, CR4_SMEP, 0, 0, 'x', -1},
    {0x500007, false, CR4_SMAP, 0, 0, 'r', P},
    {0x500007, false, CR4_SMAP, 0, 0, 'w', P | W},
    {0x500007, false, CR4_SMAP, 0, FLAG_AC, 'r', -1},
    {0x500007, false, CR4_SMAP, 0, FLAG_AC, 'w', -1},
    {0x500003, false, CR4_SMAP, 0, 0, 'r', -1},
    {0x500003 | 1ull << 45, false, 0, 0, 0, 'r', P | RSVD},
    {0x500003 | 1ull << 40, true, 0, 0, 0, 'w', P | RSVD | W | U},
    {1ull << 45, false, 0, 0, 0, 'r', 0},
};

START_TEST(rights_and_error_codes)
{
    const struct rights_case *c = &rights[_i];
    guest_long(board);
    struct cpu *cpu = board->cpu;
    /* Code, stack and handlers stay reachable: only the low 2 MiB are for ring 0 with SMEP, SMAP.
     */
    if (!c->user)
        guest_put(board, GUEST_TABLES + 0x2000, 0x83, 8);
    map(c->entry);
    board->ram[0x500000] = 0xf4;
    cpu->cr4 |= c->cr4;
    cpu->cr0 &= ~(uint64_t)c->cr0_clear;
    cpu->eflags |= c->eflags;
    if (c->user)
        guest_enter_ring3(board);
    cpu_update_mode(cpu);
    tlb_flush_all(cpu);

    int vector = c->access == 'r' ? read_data() : c->access == 'w' ? write_data() : fetch_data();
    if (c->error < 0) {
        /* HLT in ring 3 is #GP. */
        ck_assert_int_eq(vector, c->user ? EXC_GP : 256);
    } else {
        ck_assert_int_eq(vector, EXC_PF);
        ck_assert_int_eq(guest_frame(board, 0), c->error);
        ck_assert_uint_eq(cpu->cr2, DATA);
    }
}
END_TEST

START_TEST(nx_without_efer_is_reserved)
{
    guest_long(board);
    map(0x500003 | NX);
    board->cpu->efer &= ~(uint64_t)EFER_NXE;
    ck_assert_int_eq(read_data(), EXC_PF);
    ck_assert_int_eq(guest_frame(board, 0), P | RSVD);
    /* Without NX and SMEP a fetch is not told from a read. */
    guest_long(board);
    map(0x500002);
    board->cpu->efer &= ~(uint64_t)EFER_NXE;
    ck_assert_int_eq(fetch_data(), EXC_PF);
    ck_assert_int_eq(guest_frame(board, 0), 0);
}
END_TEST

START_TEST(accessed_and_dirty)
{
    guest_long(board);
    map(0x500003);
    ck_assert_int_eq(read_data(), 256);
    ck_assert_uint_eq(guest_get(board, PTE, 8), 0x500023);
    ck_assert_uint_eq(guest_get(board, GUEST_TABLES, 8) & 0x60, 0x20);
    board->cpu->rip = GUEST_CODE;
    ck_assert_int_eq(write_data(), 256);
    ck_assert_uint_eq(guest_get(board, PTE, 8), 0x500063);
    /* A fault sets nothing. */
    guest_long(board);
    map(0x500001);
    ck_assert_int_eq(write_data(), EXC_PF);
    ck_assert_uint_eq(guest_get(board, PTE, 8), 0x500001);
}
END_TEST

START_TEST(crossing_checks_both_pages_first)
{
    guest_long(board);
    map(0x500003);
    guest_put(board, PTE + 8, 0, 8);
    /* MOV EAX, -1; MOV [DATA + 0xffe], EAX */
    ck_assert_int_eq(GUEST_RUN(board, 0x83, 0xc8, 0xff, 0xa3, 0xfe, 0x0f, 0x40, 0, 0, 0, 0, 0),
                     EXC_PF);
    ck_assert_uint_eq(board->cpu->cr2, DATA + 0x1000);
    ck_assert_uint_eq(guest_get(board, 0x500ffe, 2), 0);
    guest_put(board, PTE + 8, 0x700003, 8);
    board->cpu->rip = GUEST_CODE;
    ck_assert_int_eq(
        GUEST_RUN(board, 0x83, 0xc8, 0xff, 0xa3, 0xfe, 0x0f, 0x40, 0, 0, 0, 0, 0, 0xf4), 256);
    ck_assert_uint_eq(guest_get(board, 0x500ffe, 2), 0xffff);
    ck_assert_uint_eq(guest_get(board, 0x700000, 4), 0xffff);
}
END_TEST

/* The physical address of a page that may be read. */
static gpa_t resolved(gva_t gva)
{
    return paging_resolve(board->cpu, MMU_KERNEL, gva, ACCESS_READ)->gpa;
}

START_TEST(invlpg_drops_all_of_a_large_page)
{
    guest_long(board);
    struct cpu *cpu = board->cpu;
    for (unsigned i = 0; i < 8; i++)
        resolved(DATA + i * 0x1000);
    resolved(0x800000);
    guest_put(board, GUEST_TABLES + 0x2000 + 2 * 8, 0x600087, 8); /* DATA is elsewhere now */
    guest_put(board, GUEST_TABLES + 0x2000 + 4 * 8, 0, 8);
    ck_assert_uint_eq(resolved(DATA + 0x3000), 0x403000); /* stale, as it may be */
    tlb_flush_page(cpu, DATA + 0x1fffff);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_uint_eq(resolved(DATA + i * 0x1000), 0x600000 + i * 0x1000);
    }
    ck_assert_uint_eq(resolved(0x800000), 0x800000); /* not flushed */
}
END_TEST

/* Does the TLB still know DATA by its old translation, 0x500000? */
static bool cached(void)
{
    guest_put(board, PTE, guest_get(board, PTE, 8) ^ 0x200000, 8); /* 0x700000 */
    gpa_t gpa = resolved(DATA);
    guest_put(board, PTE, guest_get(board, PTE, 8) ^ 0x200000, 8);
    return gpa == 0x500000;
}

static void fill(void)
{
    tlb_flush_all(board->cpu);
    resolved(DATA);
}

START_TEST(flushes_and_global_pages)
{
    guest_long(board);
    struct cpu *cpu = board->cpu;
    map(0x500003);
    fill();
    ck_assert(cached());
    fill();
    cpu_write_cr3(cpu, cpu->cr3);
    ck_assert(!cached());

    cpu_write_cr4(cpu, cpu->cr4 | CR4_PGE);
    map(0x500103); /* global */
    fill();
    cpu_write_cr3(cpu, cpu->cr3);
    ck_assert(cached());
    tlb_flush_page(cpu, DATA);
    ck_assert(!cached());
    fill();
    cpu_write_cr4(cpu, cpu->cr4 & ~(uint64_t)CR4_PGE);
    ck_assert(!cached());
    fill();
    cpu_write_cr0(cpu, cpu->cr0 & ~(uint64_t)CR0_WP);
    ck_assert(!cached());
}
END_TEST

START_TEST(many_fills_then_flush)
{
    /* More than the list of filled slots holds: the flush must still find all. */
    guest_long(board);
    struct cpu *cpu = board->cpu;
    for (unsigned i = 0; i < 3000; i++)
        resolved(i * 0x1000);
    for (unsigned i = 0; i < 512; i++)
        guest_put(board, GUEST_TABLES + 0x2000 + i * 8, 0x600087, 8);
    cpu_write_cr3(cpu, cpu->cr3);
    for (unsigned i = 0; i < 3000; i++)
        ck_assert_uint_eq(resolved(i * 0x1000), 0x600000 + (i * 0x1000 & 0x1fffff));
}
END_TEST

START_TEST(pcid_contexts)
{
    guest_long(board);
    struct cpu *cpu = board->cpu;
    map(0x500003);
    cpu_write_cr4(cpu, cpu->cr4 | CR4_PCIDE);
    uint64_t root = cpu->cr3;
    fill();
    for (unsigned pcid = 1; pcid < 6; pcid++) { /* another one has none of it */
        cpu_write_cr3(cpu, root | pcid);
        ck_assert(!cached());
    }
    fill(); /* in PCID 5, everything else flushed */
    cpu_write_cr3(cpu, root | 6);
    cpu_write_cr3(cpu, root | 5 | 1ull << 63);
    ck_assert_uint_eq(cpu->cr3, root | 5);
    ck_assert(cached());
    cpu_write_cr3(cpu, root | 6);
    cpu_write_cr3(cpu, root | 5);
    ck_assert(!cached());

    fill();
    cpu_write_cr3(cpu, root | 6);
    paging_invalidate_pcid(cpu, 5);
    cpu_write_cr3(cpu, root | 5 | 1ull << 63);
    ck_assert(!cached());
    fill();
    cpu_write_cr3(cpu, root | 6);
    paging_invalidate_pcid_page(cpu, 5, DATA);
    cpu_write_cr3(cpu, root | 5 | 1ull << 63);
    ck_assert(!cached());
    /* More PCIDs than are kept: the contents may be lost but never wrong. */
    for (unsigned pcid = 16; pcid < 64; pcid++)
        cpu_write_cr3(cpu, root | pcid | 1ull << 63);
    guest_put(board, PTE, 0x700003, 8);
    ck_assert_uint_eq(resolved(DATA), 0x700000);
}
END_TEST

START_TEST(pcid_rules)
{
    guest_long(board);
    struct cpu *cpu = board->cpu;
    cpu->gpr[RAX] = cpu->cr4 | CR4_PCIDE;
    cpu->cr3 |= 8; /* PCD: the low 12 bits are not 0 */
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x22, 0xe0), EXC_GP); /* MOV CR4, RAX */
    guest_long(board);
    cpu->gpr[RAX] = cpu->cr3 | 1ull << 63;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x22, 0xd8), EXC_GP); /* MOV CR3, RAX */
    guest_long(board);
    cpu->gpr[RAX] = cpu->cr3 | 1ull << 45;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x22, 0xd8), EXC_GP);
}
END_TEST

START_TEST(paging_32)
{
    guest_protected(board);
    struct cpu *cpu = board->cpu;
    /* 4 MiB page to itself; DATA by a page table, 0x800000 by a 4 MiB page above 4 GiB (PSE-36). */
    guest_put(board, GUEST_TABLES, 0x83, 4);
    guest_put(board, GUEST_TABLES + 4, (GUEST_TABLES + 0x1000) | 7, 4);
    guest_put(board, GUEST_TABLES + 0x1000, 0x500003, 4);
    guest_put(board, GUEST_TABLES + 8, 0x2083, 4);
    cpu->cr3 = GUEST_TABLES;
    cpu->cr4 = CR4_PSE;
    cpu_write_cr0(cpu, cpu->cr0 | CR0_PG);
    guest_put(board, 0x500000, 0x12345678, 4);
    ck_assert_int_eq(GUEST_RUN(board, 0xa1, 0, 0, 0x40, 0, 0xf4), 256);
    ck_assert_uint_eq(cpu->gpr[RAX], 0x12345678);
    gpa_t gpa;
    ck_assert(paging_translate(cpu, 0x801234, &gpa));
    ck_assert_uint_eq(gpa, 0x100001234);
    cpu->rip = GUEST_CODE;
    ck_assert_int_eq(GUEST_RUN(board, 0xa1, 0, 0x10, 0x40, 0, 0xf4), EXC_PF);
    ck_assert_uint_eq(guest_frame(board, 0), 0);
    ck_assert_uint_eq(cpu->cr2, DATA + 0x1000);
}
END_TEST

START_TEST(paging_pae)
{
    guest_protected(board);
    struct cpu *cpu = board->cpu;
    guest_put(board, GUEST_TABLES, (GUEST_TABLES + 0x1000) | 1, 8);
    guest_put(board, GUEST_TABLES + 0x1000, 0x83, 8);
    guest_put(board, GUEST_TABLES + 0x1000 + 16, (GUEST_TABLES + 0x2000) | 7, 8);
    guest_put(board, GUEST_TABLES + 0x2000, 0x500003 | 1ull << 52, 8); /* reserved bit */
    cpu->cr3 = GUEST_TABLES;
    cpu->cr4 = CR4_PAE;
    cpu_write_cr0(cpu, cpu->cr0 | CR0_PG);
    ck_assert_int_eq(GUEST_RUN(board, 0xa1, 0, 0, 0x40, 0, 0xf4), EXC_PF);
    ck_assert_uint_eq(guest_frame(board, 0), P | RSVD);
    guest_put(board, GUEST_TABLES + 0x2000, 0x500003, 8);
    cpu->rip = GUEST_CODE;
    ck_assert_int_eq(GUEST_RUN(board, 0xa1, 0, 0, 0x40, 0, 0xf4), 256);
    /* PDPTEs are registers: a change in memory has no effect until CR3 is written, and a reserved
     * bit is found then. */
    guest_put(board, GUEST_TABLES, (GUEST_TABLES + 0x1000) | 3, 8);
    tlb_flush_all(cpu);
    cpu->rip = GUEST_CODE;
    ck_assert_int_eq(GUEST_RUN(board, 0xa1, 0, 0, 0x40, 0, 0xf4), 256);
    cpu->gpr[RAX] = cpu->cr3;
    cpu->rip = GUEST_CODE;
    ck_assert_int_eq(GUEST_RUN(board, 0x0f, 0x22, 0xd8), EXC_GP);
}
END_TEST

START_TEST(non_canonical)
{
    guest_long(board);
    board->cpu->gpr[RAX] = 1ull << 61; /* the tag of an empty slot must not match */
    ck_assert_int_eq(GUEST_RUN(board, 0x8b, 0x00), EXC_GP); /* MOV EAX, [RAX] */
    ck_assert_uint_eq(guest_frame(board, 0), 0);
    guest_long(board);
    board->cpu->gpr[RBP] = 0x0000800000000000;
    ck_assert_int_eq(GUEST_RUN(board, 0x8b, 0x45, 0x00), EXC_SS); /* MOV EAX, [RBP] */
    guest_long(board);
    board->cpu->gpr[RSP] = 0x8000000000000000;
    ck_assert_int_eq(GUEST_RUN(board, 0x50), -1); /* #SS on an unusable stack: triple fault */
}
END_TEST

START_TEST(slow_tags_never_match)
{
    /* A device page's tag, its neighbours, and every single wrong bit. */
    guest_long(board);
    struct cpu *cpu = board->cpu;
    ck_assert(!paging_resolve(cpu, MMU_KERNEL, 0x3f000000, ACCESS_READ)->host);
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t gva = 0x3f000000 ^ 1ull << bit;
        if (tlb_index(gva) == tlb_index(0x3f000000))
            ck_assert_ptr_null(tlb_find(cpu->tlb, ACCESS_READ, gva, 1));
    }
    ck_assert_ptr_null(tlb_find(cpu->tlb, ACCESS_READ, 0x3f000000, 1));
}
END_TEST

/* Tags of the first pages, valid or slow, are near what empty slots have. */
START_TEST(first_pages)
{
    static const uint64_t at[] = {0, 0x3f000000, 0x600000, 0x3f200000}; /* memory and devices */
    guest_long(board);
    struct cpu *cpu = board->cpu;
    tlb_flush_all(cpu);
    for (uint64_t gva = 0; gva < 0x8000; gva += 0x1000) {
        uint64_t tag = cpu->tlb->tag[ACCESS_READ][tlb_index(gva)];
        ck_assert((gva ^ tag) > 4095 && (gva ^ tag) != TLB_SLOW);
    }
    for (unsigned i = 0; i < sizeof at / sizeof at[0]; i++) {
        guest_put(board, GUEST_TABLES + 0x2000, at[i] | 0x83, 8);
        for (uint64_t gva = 0; gva < 0x8000; gva += 0x1000) {
            tlb_flush_page(cpu, gva);
            const struct tlb_info *info = paging_resolve(cpu, MMU_KERNEL, gva, ACCESS_READ);
            ck_assert_uint_eq(info->gpa, at[i] + gva);
            ck_assert_int_eq(tlb_find(cpu->tlb, ACCESS_READ, gva, 1) != NULL, info->host);
        }
        tlb_flush_all(cpu);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("paging");
    TCase *t = tcase_create("paging");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, rights_and_error_codes, 0, sizeof rights / sizeof *rights);
    tcase_add_test(t, nx_without_efer_is_reserved);
    tcase_add_test(t, accessed_and_dirty);
    tcase_add_test(t, crossing_checks_both_pages_first);
    tcase_add_test(t, invlpg_drops_all_of_a_large_page);
    tcase_add_test(t, flushes_and_global_pages);
    tcase_add_test(t, many_fills_then_flush);
    tcase_add_test(t, pcid_contexts);
    tcase_add_test(t, pcid_rules);
    tcase_add_test(t, paging_32);
    tcase_add_test(t, paging_pae);
    tcase_add_test(t, non_canonical);
    tcase_add_test(t, slow_tags_never_match);
    tcase_add_test(t, first_pages);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_set_fork_status(sr, CK_NOFORK);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
