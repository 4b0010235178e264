/*
 * The fixed code: entering and leaving generated code, and calling C from it.
 *
 * enter(cpu, code) saves the callee-saved registers on the dispatcher's stack, makes struct cpu the
 * stack, loads the homes and jumps. C functions are called on the stack below struct cpu. A fault
 * unwinds from there to the dispatcher's stack by siglongjmp; nothing needs to be undone, since the
 * homes were stored before the call (R2).
 */
#include "translator/x86_64/lower.h"

#include "cpu/window.h"

#include "cpu/host.h"
#include "cpu/system.h"

#include <stdlib.h>

const uint8_t home_of[16] = {
    [RAX] = H_RBX,  [RDX] = H_RBP,  [RSI] = H_RSI,  [RDI] = H_RDI,  [R8] = H_R8,   [R9] = H_R9,
    [R10] = H_R10,  [R11] = H_R11,  [RCX] = H_R12,  [RBX] = H_R13,  [RSP] = H_R14, [RBP] = H_R15,
    [R12] = H_NONE, [R13] = H_NONE, [R14] = H_NONE, [R15] = H_NONE,
};

static const uint8_t callee_saved[] = {H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15};

static struct host_mem at(int32_t offset, int32_t pushed)
{
    return host_at(H_RSP, offset + pushed);
}

/* Homes hold other values afterwards. */
static void store_homes(struct emit *e, int32_t pushed)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned home = home_of[i];
        if (home == H_NONE) {
            home = home_of[RAX];
            emit_load(e, 8, home, at(GPR_AT(i), pushed));
        }
        emit_store(e, 8, at(CPU_AT(gpr[i]), pushed), home);
    }
}

static void load_homes(struct emit *e, int32_t pushed)
{
    for (unsigned i = 16; i-- > 0;) {
        unsigned home = home_of[i];
        if (home == H_NONE)
            home = home_of[RAX];
        emit_load(e, 8, home, at(CPU_AT(gpr[i]), pushed));
        if (home_of[i] == H_NONE)
            emit_store(e, 8, at(GPR_AT(i), pushed), home);
    }
}

#define STMXCSR_EXT 3
#define LDMXCSR_EXT 2
#define MXCSR_GROUP (0xae | X_0F)
/* Rounding, FTZ and DAZ must not leak into C code. */
#define MXCSR_CONTROL 0xe040

static struct host_mem vector_at(unsigned i, int32_t pushed)
{
    return at(CPU_AT(xmm) + (int32_t)(i * sizeof(union vector)), pushed);
}

/* MOVAPS and VMOVAPS, load; one more is a store. */
#define MOVAPS (0x28 | X_0F)

static void emit_vzeroupper(struct emit *e)
{
    emit_byte(e, 0xc5);
    emit_byte(e, 0xf8);
    emit_byte(e, 0x77);
}

/* If vector registers hold the guest's: stores them and MXCSR. Uses RCX. C code does not run with
 * upper halves in use, which would slow its SSE instructions down. */
static void spill_vectors(struct emit *e, int32_t pushed)
{
    uint8_t *stored = NULL;
    emit_alu_mi(e, ALU_CMP, 1, at(HOT_AT(vectors_loaded), pushed), KEEPS_XMM, false);
    uint8_t *none = emit_jcc(e, CC_C);
    if (host_has_feature(FEATURE_AVX)) {
        uint8_t *narrow = emit_jcc(e, CC_Z);
        for (unsigned i = 0; i < 16; i++)
            emit_vex_rm(e, (MOVAPS | X_L) + 1, i, 0, vector_at(i, pushed));
        emit_vzeroupper(e);
        stored = emit_jmp(e);
        emit_patch(narrow, e->at);
    }
    for (unsigned i = 0; i < 16; i++)
        emit_rm(e, MOVAPS + 1, i, vector_at(i, pushed));
    if (stored)
        emit_patch(stored, e->at);
    emit_rm(e, MXCSR_GROUP, STMXCSR_EXT, at(CPU_AT(mxcsr), pushed));
    emit_store_imm(e, 1, at(HOT_AT(vectors_loaded), pushed), 0);
    emit_load(e, 4, H_RCX, at(CPU_AT(mxcsr), pushed));
    emit_rr(e, 0xf7, 0, H_RCX); /* test ecx, imm32 */
    emit_u32(e, MXCSR_CONTROL);
    uint8_t *plain = emit_jcc8(e, CC_Z);
    emit_rm(e, MXCSR_GROUP, LDMXCSR_EXT, at(HOT_AT(mxcsr_host), pushed));
    emit_patch8(e, plain);
    emit_patch(none, e->at);
}

/* Upper halves that are zero, as they are behind the guest's VZEROUPPER, must not be loaded: they
 * would be in use then, and each change between SSE and AVX would cost tens of cycles, which the
 * guest has avoided. */
static void load_vectors(struct emit *e, enum vectors_kept kept, int32_t pushed)
{
    uint8_t *loaded = NULL;
    if (kept == KEEPS_YMM) {
        emit_vzeroupper(e);
        for (unsigned i = 0; i < 16; i++) { /* movaps, por */
            struct host_mem upper = vector_at(i, pushed);
            upper.disp += 16;
            emit_rm(e, i ? 0xeb | X_0F | X_66 : MOVAPS, 0, upper);
        }
        emit_rr(e, 0x17 | X_0F38 | X_66, 0, 0); /* ptest xmm0, xmm0 */
        uint8_t *zero = emit_jcc(e, CC_Z);
        for (unsigned i = 0; i < 16; i++)
            emit_vex_rm(e, MOVAPS | X_L, i, 0, vector_at(i, pushed));
        loaded = emit_jmp(e);
        emit_patch(zero, e->at);
    }
    for (unsigned i = 0; i < 16; i++)
        emit_rm(e, MOVAPS, i, vector_at(i, pushed));
    if (loaded)
        emit_patch(loaded, e->at);
    emit_rm(e, MXCSR_GROUP, LDMXCSR_EXT, at(CPU_AT(mxcsr), pushed));
    emit_store_imm(e, 1, at(HOT_AT(vectors_loaded), pushed), kept);
}

static void call_aligned(struct emit *e, const void *fn, int32_t pushed)
{
    emit_lea(e, 8, H_RDI, at(0, pushed));
    if (pushed & 8)
        emit_alu_ri(e, ALU_SUB, 8, H_RSP, 8);
    emit_mov_ri(e, H_RAX, (uint64_t)(uintptr_t)fn);
    emit_call_reg(e, H_RAX);
    if (pushed & 8)
        emit_alu_ri(e, ALU_ADD, 8, H_RSP, 8);
}

/* If the x87 unit holds the guest's state: stores that. Keeps RSI; the homes are stored already. */
static void spill_x87(struct emit *e, int32_t pushed)
{
    emit_alu_mi(e, ALU_CMP, 1, at(HOT_AT(x87_loaded), pushed), 0, false);
    uint8_t *none = emit_jcc8(e, CC_Z);
    emit_mov_rr(e, 8, H_RBX, H_RSI);
    call_aligned(e, (const void *)x87_store, pushed);
    emit_mov_rr(e, 8, H_RSI, H_RBX);
    emit_patch8(e, none);
}

/* Calls fn(cpu, eax); `pushed` bytes lie on the stack, and it is misaligned by 8 if pushed is 8. */
static void call_c(struct emit *e, const void *fn, int32_t pushed)
{
    store_homes(e, pushed);
    emit_mov_rr(e, 4, H_RSI, H_RAX);
    spill_vectors(e, pushed);
    spill_x87(e, pushed);
    call_aligned(e, fn, pushed);
}

typedef void enter_fn(struct cpu *cpu, const void *code);

static uint8_t *emit_enter(struct emit *e)
{
    emit_align(e, 16);
    uint8_t *start = e->at;
    for (unsigned i = 0; i < sizeof callee_saved; i++) { /* push */
        if (callee_saved[i] & 8)
            emit_byte(e, 0x41);
        emit_byte(e, (uint8_t)(0x50 | (callee_saved[i] & 7)));
    }
    emit_store(e, 8, host_at(H_RDI, HOT_AT(host_sp)), H_RSP);
    emit_mov_rr(e, 8, H_RSP, H_RDI);
    emit_mov_rr(e, 8, H_RAX, H_RSI);
    load_homes(e, 0);
    emit_jmp_reg(e, H_RAX);
    return start;
}

static uint8_t *emit_leave(struct emit *e)
{
    emit_align(e, 16);
    uint8_t *start = e->at;
    store_homes(e, 0);
    spill_vectors(e, 0);
    spill_x87(e, 0);
    emit_load(e, 8, H_RSP, cpu_mem(HOT_AT(host_sp)));
    for (unsigned i = sizeof callee_saved; i-- > 0;) { /* pop */
        if (callee_saved[i] & 8)
            emit_byte(e, 0x41);
        emit_byte(e, (uint8_t)(0x58 | (callee_saved[i] & 7)));
    }
    emit_byte(e, 0xc3);
    return start;
}

/* Called with the site in EAX; returns if the block goes on. */
static uint8_t *emit_exec(struct emit *e, const struct x86_stubs *stubs, enum vectors_kept vectors,
                          bool x87)
{
    uint8_t *unmasked = NULL;
    emit_align(e, 16);
    uint8_t *start = e->at;
    call_c(e, (const void *)engine_exec, 8);
    emit_rr(e, 0x85 | X_W, H_RAX, H_RAX); /* test rax, rax */
    uint8_t *away = emit_jcc(e, CC_NZ);
    if (x87) {
        call_aligned(e, (const void *)x87_load, 8);
        emit_rr(e, 0x84, H_RAX, H_RAX); /* test al, al */
        unmasked = emit_jcc(e, CC_Z);
    }
    if (vectors)
        load_vectors(e, vectors, 8);
    load_homes(e, 8);
    emit_byte(e, 0xc3);
    emit_patch(away, e->at);
    emit_alu_ri(e, ALU_ADD, 8, H_RSP, 8);
    load_homes(e, 0);
    emit_jmp_reg(e, H_RAX);
    if (unmasked) {
        emit_patch(unmasked, e->at);
        emit_alu_ri(e, ALU_ADD, 8, H_RSP, 8);
        load_homes(e, 0);
        emit_jmp_to(e, stubs->leave);
    }
    return start;
}

static bool refill_read(struct cpu *cpu, gva_t gva)
{
    return paging_refill(cpu, gva, ACCESS_READ);
}

static bool refill_write(struct cpu *cpu, gva_t gva)
{
    return paging_refill(cpu, gva, ACCESS_WRITE);
}

static bool refill_fetch(struct cpu *cpu, gva_t gva)
{
    return paging_refill(cpu, gva, ACCESS_FETCH);
}

/*
 * A store found its slot's tag slow. If the only reason is that the page holds code, and none in
 * the lines of this store: makes a slot that lets just this page pass, returns its number in RDX,
 * and NZ. RCX, RDX, EAX: what the tag was compared with, slot, bytes. Falls through with RCX and
 * RDX as they were if it is something else.
 */
static void emit_pass_beside_code(struct emit *e, const struct cpu *cpu, int32_t pushed)
{
    enum { FROM = H_RDI, PAGE = H_RSI, MARKS = H_R8, LAST = H_R9 };
    const int32_t info = (int32_t)offsetof(struct tlb, info);
    const int32_t host_rom = (int32_t)offsetof(struct tlb_info, host);
    const int32_t dirty_log = (int32_t)offsetof(struct tlb_info, dirty);
    static const uint8_t saved[] = {FROM, PAGE, MARKS, LAST};
    const struct host_mem passed_host = host_at(H_RAX, TLB_HOST.disp + TLB_PASSED * 8);
    const struct host_mem passed_tag = host_at(H_RAX, tlb_tag(ACCESS_WRITE).disp + TLB_PASSED * 8);
    uint8_t *no[8];
    unsigned n = 0;
    gpa_t limit;
    const _Atomic uint64_t *lines = code_lines(cpu->code, &limit);

    for (unsigned i = 0; i < sizeof saved; i++)
        emit_store(e, 8, host_at(H_RSP, -8 * ((int32_t)i + 1)), saved[i]);
    emit_mov_rr(e, 8, FROM, H_RCX); /* offset in the page, if the tag is this page's slow one */
    emit_alu_ri(e, ALU_XOR, 8, FROM, TLB_SLOW);
    emit_lea(e, 8, LAST, (struct host_mem){H_RAX, FROM, 0, -1});
    emit_alu_ri(e, ALU_CMP, 8, LAST, 4095);
    no[n++] = emit_jcc(e, CC_A);
    stubs_load_tlb(e, pushed);
    _Static_assert(sizeof(struct tlb_info) == 16, "twice 8 times the slot");
    emit_lea(e, 8, PAGE, (struct host_mem){H_RAX, H_RDX, 3, 0});
    emit_lea(e, 8, PAGE, (struct host_mem){PAGE, H_RDX, 3, 0});
    emit_alu_mi(e, ALU_CMP, 2, host_at(PAGE, info + host_rom), 1, false);
    no[n++] = emit_jcc(e, CC_NZ);
    emit_alu_mi(e, ALU_CMP, 2, host_at(PAGE, info + dirty_log), 1, false);
    no[n++] = emit_jcc(e, CC_NZ);
    emit_load(e, 8, PAGE, host_at(PAGE, info + (int32_t)offsetof(struct tlb_info, gpa)));
    emit_shift_ri(e, SHIFT_SHR, 8, PAGE, 12);
    emit_mov_ri(e, MARKS, limit >> 12);
    emit_alu_rr(e, ALU_CMP, 8, PAGE, MARKS);
    no[n++] = emit_jcc(e, CC_NC);
    emit_mov_ri(e, MARKS, (uint64_t)(uintptr_t)lines);
    emit_load(e, 8, MARKS, (struct host_mem){MARKS, PAGE, 3, 0});
    emit_shift_ri(e, SHIFT_SHR, 4, FROM, CODE_LINE_SHIFT);
    emit_shift_ri(e, SHIFT_SHR, 4, LAST, CODE_LINE_SHIFT);
    emit_rr(e, 0xa3 | X_0F | X_W, FROM, MARKS); /* bt */
    no[n++] = emit_jcc(e, CC_C);
    emit_rr(e, 0xa3 | X_0F | X_W, LAST, MARKS);
    no[n++] = emit_jcc(e, CC_C);
    emit_alu_rr(e, ALU_SUB, 4, LAST, FROM);
    emit_alu_ri(e, ALU_CMP, 4, LAST, 1); /* more than two lines */
    no[n++] = emit_jcc(e, CC_A);

    emit_load(e, 8, PAGE, TLB_HOST);
    emit_store(e, 8, passed_host, PAGE);
    emit_load(e, 8, PAGE, tlb_tag(ACCESS_WRITE));
    emit_alu_rr(e, ALU_XOR, 8, H_RCX, PAGE);
    emit_alu_ri(e, ALU_XOR, 8, PAGE, TLB_SLOW);
    emit_store(e, 8, passed_tag, PAGE);
    emit_mov_ri(e, H_RDX, TLB_PASSED);
    emit_rr(e, 0x85 | X_W, H_RSP, H_RSP); /* test: NZ */
    for (unsigned i = 0; i < sizeof saved; i++)
        emit_load(e, 8, saved[i], host_at(H_RSP, -8 * ((int32_t)i + 1)));
    emit_byte(e, 0xc3);

    for (unsigned i = 0; i < n; i++)
        emit_patch(no[i], e->at);
    for (unsigned i = 0; i < sizeof saved; i++)
        emit_load(e, 8, saved[i], host_at(H_RSP, -8 * ((int32_t)i + 1)));
}

/* Returns Z if RCX is an offset in the slot's page: what fails then goes beyond the page, and no
 * refill helps. */
static void emit_test_crossing(struct emit *e)
{
    emit_alu_ri(e, ALU_CMP, 8, H_RCX, 4095);
    uint8_t *other = emit_jcc8(e, CC_A);
    emit_alu_rr(e, ALU_XOR, 4, H_RCX, H_RCX);
    emit_byte(e, 0xc3);
    emit_patch8(e, other);
}

/* Called with the address in RCX; keeps all homes and vectors, RCX and RDX; NZ if filled. The C
 * function uses general registers only. `pushed` bytes lie on the stack, its return address
 * included. */
static uint8_t *emit_refill(struct emit *e, bool (*fn)(struct cpu *cpu, gva_t gva), int32_t pushed)
{
    static const uint8_t kept[] = {H_RCX, H_RDX, H_RSI, H_RDI, H_R8, H_R9, H_R10, H_R11};
    const int32_t frame = (int32_t)sizeof kept * 8 + (pushed & 8); /* with `pushed`: aligned */
    emit_align(e, 16);
    uint8_t *start = e->at;
    emit_lea(e, 8, H_RSP, host_at(H_RSP, -frame));
    for (unsigned i = 0; i < sizeof kept; i++)
        emit_store(e, 8, host_at(H_RSP, (int32_t)i * 8), kept[i]);
    emit_mov_rr(e, 8, H_RSI, H_RCX);
    emit_lea(e, 8, H_RDI, at(0, frame + pushed));
    emit_mov_ri(e, H_RAX, (uint64_t)(uintptr_t)fn);
    emit_call_reg(e, H_RAX);
    emit_rr(e, 0x84, H_RAX, H_RAX); /* test al, al */
    for (unsigned i = 0; i < sizeof kept; i++)
        emit_load(e, 8, kept[i], host_at(H_RSP, (int32_t)i * 8));
    emit_lea(e, 8, H_RSP, host_at(H_RSP, frame));
    stubs_load_tlb(e, pushed);
    emit_byte(e, 0xc3);
    return start;
}

/* Jumped to by what is called when stubs_compare() has failed, with RCX and RDX as they are then,
 * and for a write the span in EAX: RCX is the address again if it returns NZ, RAX the TLB, and RDX
 * a slot to compare with. */
static uint8_t *emit_miss(struct emit *e, enum access access, const struct cpu *cpu, int32_t pushed)
{
    const uint8_t *refill =
        emit_refill(e, access == ACCESS_WRITE ? refill_write : refill_read, pushed);
    emit_align(e, 16);
    uint8_t *start = e->at;
    emit_test_crossing(e);
    if (access == ACCESS_WRITE)
        emit_pass_beside_code(e, cpu, pushed);
    stubs_load_tlb(e, pushed);
    emit_alu_rm(e, ALU_XOR, 8, H_RCX, tlb_tag(access));
    emit_jmp_to(e, refill);
    return start;
}

/* RDX = the distance to host memory from the address in `gva`; goes to the place given back if RCX
 * bytes more do not lie in its page or may not be accessed so. */
static uint8_t *emit_run_check(const struct x86_stubs *stubs, struct emit *e, unsigned gva,
                               enum access access)
{
    stubs_load_tlb(e, 8);
    stubs_find_slot(stubs, e, gva, 8);
    emit_lea(e, 8, H_RAX, (struct host_mem){H_RAX, H_RDX, 3, 0});
    emit_mov_rr(e, 8, H_RDX, gva);
    emit_alu_rm(e, ALU_XOR, 8, H_RDX, host_at(H_RAX, tlb_tag(access).disp));
    emit_alu_rr(e, ALU_CMP, 8, H_RDX, H_RCX);
    uint8_t *no = emit_jcc(e, CC_A);
    emit_load(e, 8, H_RDX, host_at(H_RAX, TLB_HOST.disp));
    emit_alu_rm(e, ALU_SUB, 8, H_RDX, host_at(H_RAX, tlb_tag(access).disp));
    return no;
}

/* REP STOS or MOVS upwards with 64-bit addresses, all of it within a page of plain memory; NZ, or Z
 * with nothing changed if it is another one. Uses the temporaries. */
static uint8_t *emit_repeat(const struct x86_stubs *stubs, struct emit *e, bool moves,
                            unsigned shift)
{
    enum { COUNT = H_R12, VALUE = H_RBX }; /* homes of RCX and RAX */
    const struct host_mem source = host_at(H_RSP, -8);
    uint8_t *no[5];
    unsigned n = 0;
    emit_align(e, 16);
    uint8_t *start = e->at;
    emit_rm(e, 0xf6, 0, at(CPU_AT(eflags) + 1, 8)); /* test byte, imm8 */
    emit_byte(e, FLAG_DF >> 8);
    no[n++] = emit_jcc(e, CC_NZ);
    emit_alu_mi(e, ALU_CMP, 1, at(HOT_AT(overflow), 8), FLAGS_PASSED, false);
    no[n++] = emit_jcc(e, CC_Z); /* by a recipe, perhaps of registers that change */
    emit_lea(e, 8, H_RAX, host_at(COUNT, -1));
    emit_alu_ri(e, ALU_CMP, 8, H_RAX, (4096 >> shift) - 1);
    no[n++] = emit_jcc(e, CC_A);
    emit_mov_ri(e, H_RCX, 4096 >> shift);
    emit_alu_rr(e, ALU_SUB, 4, H_RCX, COUNT);
    if (shift)
        emit_shift_ri(e, SHIFT_SHL, 4, H_RCX, shift);
    if (moves) {
        no[n++] = emit_run_check(stubs, e, H_RSI, ACCESS_READ);
        emit_store(e, 8, source, H_RDX);
    }
    no[n++] = emit_run_check(stubs, e, H_RDI, ACCESS_WRITE);
    emit_alu_rr(e, ALU_ADD, 8, H_RDI, H_RDX);
    if (moves)
        emit_alu_rm(e, ALU_ADD, 8, H_RSI, source);
    else
        emit_mov_rr(e, 8, H_RAX, VALUE);
    emit_mov_rr(e, 8, H_RCX, COUNT);
    if (shift == 1)
        emit_byte(e, 0x66);
    emit_byte(e, 0xf3);
    if (shift == 3)
        emit_byte(e, 0x48);
    emit_byte(e, (uint8_t)((moves ? 0xa4 : 0xaa) | (shift > 0)));
    emit_alu_rr(e, ALU_SUB, 8, H_RDI, H_RDX);
    if (moves)
        emit_alu_rm(e, ALU_SUB, 8, H_RSI, source);
    emit_mov_rr(e, 8, COUNT, H_RCX);      /* 0 */
    emit_rr(e, 0x85 | X_W, H_RSP, H_RSP); /* test: NZ */
    emit_byte(e, 0xc3);
    for (unsigned i = 0; i < n; i++)
        emit_patch(no[i], e->at);
    emit_alu_rr(e, ALU_CMP, 4, H_RAX, H_RAX);
    emit_byte(e, 0xc3);
    return start;
}

#define CPUID_AT(member) ((int32_t)offsetof(struct cpuid_entry, member))

/* CPUID by its cache; NZ, with nothing changed, if the result is not there. */
static uint8_t *emit_cpuid(struct emit *e)
{
    enum { LEAF = H_RBX, SUBLEAF = H_R12 }; /* homes of RAX and RCX */
    const int32_t pushed = 8;
    emit_align(e, 16);
    uint8_t *start = e->at;
    emit_mov_rr(e, 4, H_RAX, LEAF);
    emit_shift_ri(e, SHIFT_SHR, 4, H_RAX, 29);
    emit_alu_rr(e, ALU_ADD, 4, H_RAX, LEAF);
    emit_alu_rr(e, ALU_ADD, 4, H_RAX, SUBLEAF);
    emit_alu_ri(e, ALU_AND, 4, H_RAX, CPUID_ENTRIES - 1);
    emit_shift_ri(e, SHIFT_SHL, 4, H_RAX, 5);
    emit_lea(e, 8, H_RDX, (struct host_mem){H_RSP, H_RAX, 0, CPU_AT(cpuid) + pushed});
    emit_alu_mr(e, ALU_CMP, 4, host_at(H_RDX, CPUID_AT(leaf)), LEAF, false);
    uint8_t *leaf = emit_jcc8(e, CC_NZ);
    emit_alu_mr(e, ALU_CMP, 4, host_at(H_RDX, CPUID_AT(subleaf)), SUBLEAF, false);
    uint8_t *subleaf = emit_jcc8(e, CC_NZ);
    emit_load(e, 8, H_RAX, at(CPU_AT(cpuid_epoch), pushed));
    emit_alu_mr(e, ALU_CMP, 8, host_at(H_RDX, CPUID_AT(epoch)), H_RAX, false);
    uint8_t *epoch = emit_jcc8(e, CC_NZ);
    emit_load(e, 4, home_of[RAX], host_at(H_RDX, CPUID_AT(eax)));
    emit_load(e, 4, home_of[RBX], host_at(H_RDX, CPUID_AT(ebx)));
    emit_load(e, 4, home_of[RCX], host_at(H_RDX, CPUID_AT(ecx)));
    emit_load(e, 4, home_of[RDX], host_at(H_RDX, CPUID_AT(edx)));
    emit_patch8(e, leaf);
    emit_patch8(e, subleaf);
    emit_patch8(e, epoch);
    emit_byte(e, 0xc3);
    return start;
}
_Static_assert(sizeof(struct cpuid_entry) == 32, "emit_cpuid() shifts");

/* Calls fn(cpu), which touches neither guest registers nor flags, and returns its result in RAX:
 * only RCX and homes that C functions may change are kept. Without `spills` it is a function that
 * uses general registers only. */
static uint8_t *emit_query(struct emit *e, const void *fn, bool spills, enum vectors_kept vectors)
{
    static const uint8_t kept[] = {H_RCX, H_RSI, H_RDI, H_R8, H_R9, H_R10, H_R11};
    const int32_t frame = (int32_t)sizeof kept * 8; /* with the return address: aligned */
    emit_align(e, 16);
    uint8_t *start = e->at;
    emit_lea(e, 8, H_RSP, host_at(H_RSP, -frame));
    for (unsigned i = 0; i < sizeof kept; i++)
        emit_store(e, 8, host_at(H_RSP, (int32_t)i * 8), kept[i]);
    if (spills)
        spill_vectors(e, frame + 8);
    call_aligned(e, fn, frame + 8);
    if (vectors)
        load_vectors(e, vectors, frame + 8);
    for (unsigned i = 0; i < sizeof kept; i++)
        emit_load(e, 8, kept[i], host_at(H_RSP, (int32_t)i * 8));
    emit_lea(e, 8, H_RSP, host_at(H_RSP, frame));
    emit_byte(e, 0xc3);
    return start;
}

void stubs_add_shift(struct emit *e, unsigned reg, int32_t pushed)
{
    emit_alu_rm(e, ALU_ADD, 8, reg, at(HOT_AT(shift), pushed));
}

void stubs_take_shift(struct emit *e)
{
    emit_load(e, 8, H_RAX, host_at(H_RDX, offsetof(struct jump_entry, shift)));
    emit_store(e, 8, cpu_mem(HOT_AT(shift)), H_RAX);
}

/* Jumped to with a number for `fn` in EAX, and the target rip in RCX if `jump`. */
static uint8_t *emit_lookup(struct emit *e, const void *fn, bool jump)
{
    emit_align(e, 16);
    uint8_t *start = e->at;
    if (jump)
        emit_store(e, 8, cpu_mem(CPU_AT(rip)), H_RCX);
    call_c(e, fn, 0);
    load_homes(e, 0);
    emit_jmp_reg(e, H_RAX);
    return start;
}

void stubs_note_shift(struct emit *e, bool zero, int32_t pushed)
{
    struct host_mem shift = host_at(H_RDX, offsetof(struct jump_entry, shift));
    if (zero) {
        emit_store_imm(e, 8, shift, 0);
        return;
    }
    emit_load(e, 8, H_RAX, at(HOT_AT(shift), pushed));
    emit_store(e, 8, shift, H_RAX);
}

void stubs_find_return(struct emit *e, unsigned sp, int32_t below, int32_t pushed)
{
    struct host_mem twice = {(uint8_t)sp, (uint8_t)sp, 0, -2 * below};
    emit_lea(e, 4, H_RDX, twice);
    emit_alu_ri(e, ALU_AND, 4, H_RDX, RETURN_MASK);
    emit_alu_rm(e, ALU_ADD, 8, H_RDX, at(HOT_AT(returns), pushed));
}

void stubs_find_jump(struct emit *e)
{
    emit_rr(e, 0x69, H_RDX, H_RCX); /* imul edx, ecx, JUMP_HASH */
    emit_u32(e, JUMP_HASH);
    emit_alu_ri(e, ALU_AND, 4, H_RDX, JUMP_MASK);
    emit_alu_rm(e, ALU_ADD, 8, H_RDX, cpu_mem(HOT_AT(jumps)));
}

/* A return to the rip in RCX that no call has noted, or with an event; its site is in EAX. */
static uint8_t *emit_returned(struct emit *e, const struct x86_stubs *stubs)
{
    emit_align(e, 16);
    uint8_t *start = e->at;
    emit_alu_mi(e, ALU_CMP, 4, cpu_mem(CPU_AT(event)), 0, false);
    emit_patch(emit_jcc(e, CC_NZ), stubs->indirect);
    stubs_find_jump(e);
    emit_alu_mr(e, ALU_CMP, 8, host_at(H_RDX, 0), H_RCX, false);
    emit_patch(emit_jcc(e, CC_NZ), stubs->indirect);
    stubs_take_shift(e);
    emit_jmp_mem(e, host_at(H_RDX, offsetof(struct jump_entry, code)));
    return start;
}

/* -- What warm blocks share -- */

/* A return to the rip in RCX; its site is in EAX. */
static uint8_t *emit_ret(struct emit *e, const struct x86_stubs *stubs)
{
    emit_align(e, 16);
    uint8_t *start = e->at;
    emit_alu_mi(e, ALU_CMP, 4, cpu_mem(CPU_AT(event)), 0, false);
    emit_patch(emit_jcc(e, CC_NZ), stubs->indirect);
    stubs_find_return(e, home_of[RSP], RETURN_MOVE, 0);
    emit_alu_mr(e, ALU_CMP, 8, host_at(H_RDX, 0), H_RCX, false);
    emit_patch(emit_jcc(e, CC_NZ), stubs->returned);
    stubs_take_shift(e);
    emit_jmp_mem(e, host_at(H_RDX, offsetof(struct jump_entry, code)));
    return start;
}

/* Called when a return address of 8 bytes, in RAX, is being pushed: notes that what returns to it
 * goes to the code at RDX. */
static uint8_t *emit_note_call(struct emit *e, bool floats)
{
    emit_align(e, 16);
    uint8_t *start = e->at;
    emit_byte(e, 0x52); /* push rdx */
    stubs_find_return(e, home_of[RSP], 8, 16);
    emit_store(e, 8, host_at(H_RDX, offsetof(struct jump_entry, rip)), H_RAX);
    emit_byte(e, 0x58); /* pop rax */
    emit_store(e, 8, host_at(H_RDX, offsetof(struct jump_entry, code)), H_RAX);
    if (floats)
        stubs_note_shift(e, false, 8);
    emit_byte(e, 0xc3);
    return start;
}

#define PEXT (0xf5 | X_0F38 | X_F3)

void stubs_load_tlb(struct emit *e, int32_t pushed)
{
    emit_load(e, 8, H_RAX, at(CPU_AT(tlb), pushed));
}

void stubs_find_slot(const struct x86_stubs *stubs, struct emit *e, unsigned gva, int32_t pushed)
{
    if (stubs->pext) {
        emit_vex_rm(e, PEXT, H_RDX, gva, at(HOT_AT(slot_mask), pushed));
        return;
    }
    if (stubs->bmi2) {
        emit_rorx(e, 4, H_RDX, gva, 12);
    } else {
        emit_mov_rr(e, 4, H_RDX, gva);
        emit_shift_ri(e, SHIFT_SHR, 4, H_RDX, 12);
    }
    emit_alu_ri(e, ALU_AND, 4, H_RDX, TLB_ENTRIES - 1);
}

uint8_t *stubs_compare(struct emit *e, enum access access, unsigned span, bool aligned)
{
    emit_alu_rm(e, ALU_XOR, 8, H_RCX, tlb_tag(access));
    if (aligned) {
        emit_rr(e, 0xf7 | X_W, 0, H_RCX); /* test rcx, imm32 */
        emit_u32(e, span - 1 - 4096);
        return emit_jcc(e, CC_NZ);
    }
    emit_alu_ri(e, ALU_CMP, 8, H_RCX, 4096 - (int32_t)span);
    return emit_jcc(e, CC_A);
}

enum check_kind check_kind(unsigned span, bool aligned)
{
    unsigned kind = 0;
    while (1u << kind < span)
        kind++;
    return (enum check_kind)(aligned ? kind - 4 + CHECK_ALIGNED : kind);
}

/* Called with an address in RCX: its offset in the page there, and the page's host address in RDX.
 * Does not return if that needs more than a look into the page tables. */
static uint8_t *emit_check_call(struct emit *e, const struct x86_stubs *stubs, unsigned kind,
                                enum access access, const uint8_t *missed, const uint8_t *failed)
{
    bool aligned = kind >= CHECK_ALIGNED;
    unsigned span = kind == CHECK_PAGE ? 1 : 1u << (aligned ? kind - CHECK_ALIGNED + 4 : kind);
    emit_align(e, 16);
    uint8_t *start = e->at;
    stubs_load_tlb(e, 8);
    stubs_find_slot(stubs, e, H_RCX, 8);
    uint8_t *check = e->at;
    uint8_t *miss = stubs_compare(e, access, span, false);
    if (aligned) {
        emit_rr(e, 0xf6 | X_BYTE_RM, 0, H_RCX); /* test cl, imm8 */
        emit_byte(e, span == 32 ? 31 : 15);
        emit_patch(emit_jcc(e, CC_NZ), failed);
    }
    emit_load(e, 8, H_RDX, TLB_HOST);
    emit_byte(e, 0xc3);
    emit_patch(miss, e->at);
    if (access == ACCESS_WRITE)
        emit_mov_ri(e, H_RAX, kind == CHECK_PAGE ? SPAN_PAGE : span);
    emit_call_to(e, missed);
    emit_patch(emit_jcc(e, CC_NZ), check);
    emit_jmp_to(e, failed);
    return start;
}

/* Jumped to from shared code of warm blocks: the return address says what failed. */
static uint8_t *emit_failed(struct emit *e, const void *fn)
{
    emit_align(e, 16);
    uint8_t *start = e->at;
    emit_byte(e, 0x58); /* pop rax */
    call_c(e, fn, 0);
    load_homes(e, 0);
    emit_jmp_reg(e, H_RAX);
    return start;
}

static void emit_checks(struct emit *e, struct x86_stubs *stubs, const struct cpu *cpu)
{
    const uint8_t *read = emit_miss(e, ACCESS_READ, cpu, 16);
    const uint8_t *write = emit_miss(e, ACCESS_WRITE, cpu, 16);
    const uint8_t *failed = stubs->check_failed =
        emit_failed(e, (const void *)engine_check_failed);
    stubs->guard_failed = emit_failed(e, (const void *)engine_guard_failed);
    for (unsigned kind = 0; kind < CHECK_KINDS; kind++) {
        stubs->check[false][kind] = emit_check_call(e, stubs, kind, ACCESS_READ, read, failed);
        stubs->check[true][kind] = emit_check_call(e, stubs, kind, ACCESS_WRITE, write, failed);
    }
}

uint8_t *stubs_test_page(struct emit *e, const struct trace_page *page, int32_t pushed)
{
    emit_load(e, 8, H_RDX, at(CPU_AT(tlb), pushed));
    emit_mov_ri(e, H_RAX, tlb_code(page->gva, page->host));
    emit_alu_mr(e, ALU_CMP, 8, host_at(H_RDX, TLB_CODE_AT(page->gva)), H_RAX, false);
    return emit_jcc(e, CC_NZ);
}

/* The same with the current shift: then its TLB slot is for fetching the page, and that is in the
 * same place. RCX is the page's address at the first of the jumps. */
static void test_floating_page(const struct x86_stubs *stubs, struct emit *e,
                               const struct trace_page *page, uint8_t *miss[2])
{
    emit_mov_ri(e, H_RCX, page->gva);
    stubs_add_shift(e, H_RCX, 8);
    stubs_load_tlb(e, 8);
    stubs_find_slot(stubs, e, H_RCX, 8);
    emit_alu_mr(e, ALU_CMP, 8, tlb_tag(ACCESS_FETCH), H_RCX, false);
    miss[0] = emit_jcc(e, CC_NZ);
    emit_mov_ri(e, H_RCX, (uint64_t)(uintptr_t)page->host);
    emit_alu_mr(e, ALU_CMP, 8, TLB_HOST, H_RCX, false);
    miss[1] = emit_jcc(e, CC_NZ);
}

const uint8_t *stubs_guard(struct engine *engine, struct emit *slow, const struct trace_page *page,
                           bool floats)
{
    struct x86_stubs *stubs = stubs_of(engine);
    struct guard_code *guard =
        &stubs->guard[(page->gva >> 12 ^ (uintptr_t)page->host >> 16) % GUARDS];
    if (guard->code && guard->gva == page->gva && guard->host == page->host &&
        guard->floats == floats)
        return guard->code;
    struct cache_region *region = cache_region(&engine->cache);
    struct emit fast = emit_between(region->part[CODE_GUARDS].at, region->part[CODE_GUARDS].end);
    uint8_t *miss[2] = {0};
    emit_align(&fast, 32); /* most have 29 bytes */
    uint8_t *start = fast.at;
    if (floats)
        test_floating_page(stubs, &fast, page, miss);
    else
        miss[0] = stubs_test_page(&fast, page, 8);
    emit_byte(&fast, 0xc3);
    if (emit_ok(&fast))
        emit_patch(miss[0], slow->at);
    if (!floats)
        emit_mov_ri(slow, H_RCX, page->gva);
    emit_call_to(slow, stubs->nested_refill_fetch);
    emit_patch(emit_jcc(slow, CC_NZ), start);
    if (miss[1] && emit_ok(&fast))
        emit_patch(miss[1], slow->at);
    emit_jmp_to(slow, stubs->guard_failed);
    if (!emit_ok(&fast))
        return NULL;
    if (emit_ok(slow)) {
        *guard = (struct guard_code){floats, page->gva, page->host, start};
        region->part[CODE_GUARDS].at = fast.at;
    }
    return start;
}

/* Jumped to with the number of an exit, or PROMOTE_NUMBER, in AL, the offset of its block's exits
 * in EDX. */
static uint8_t *emit_exit_number(struct emit *e, const struct engine *engine,
                                 const struct x86_stubs *stubs)
{
    emit_align(e, 16);
    uint8_t *start = e->at;
    emit_rr(e, 0xb6 | X_0F | X_BYTE_RM, H_RCX, H_RAX); /* movzx ecx, al */
    lower_save_flags(e, HOT_AT(exit_flags), HOT_AT(exit_overflow));
    emit_mov_rr(e, 4, H_RAX, H_RCX);
    emit_alu_ri(e, ALU_CMP, 4, H_RAX, PROMOTE_NUMBER);
    uint8_t *promote = emit_jcc8(e, CC_Z);
    emit_rr(e, 0x69, H_RAX, H_RAX); /* imul eax, eax, imm32 */
    emit_u32(e, sizeof(struct exit));
    emit_alu_rr(e, ALU_ADD, 4, H_RAX, H_RDX);
    emit_jmp_to(e, stubs->exit);
    emit_patch8(e, promote);
    emit_mov_ri(e, H_RCX, (uintptr_t)engine->cache.arena + offsetof(struct exit, back));
    emit_load(e, 2, H_RCX, (struct host_mem){H_RCX, H_RDX, 0, 0});
    emit_shift_ri(e, SHIFT_SHL, 4, H_RCX, __builtin_ctz(EXIT_UNIT));
    emit_mov_rr(e, 4, H_RAX, H_RDX);
    emit_alu_rr(e, ALU_SUB, 4, H_RAX, H_RCX);
    emit_jmp_to(e, stubs->promote);
    return start;
}

/* Leaves to the dispatcher for the rip in RCX. */
static uint8_t *emit_refuse(struct emit *e, const struct x86_stubs *stubs, int32_t pushed)
{
    uint8_t *start = e->at;
    if (pushed)
        emit_alu_ri(e, ALU_ADD, 8, H_RSP, pushed);
    emit_store(e, 8, cpu_mem(CPU_AT(rip)), H_RCX);
    emit_jmp_to(e, stubs->leave);
    return start;
}

/* Called at the start of blocks that use vectors, of which less is loaded; with unmasked exceptions
 * they cannot run: then the rip in RCX goes to the dispatcher. */
static uint8_t *emit_load_vectors(struct emit *e, const struct x86_stubs *stubs,
                                  enum vectors_kept kept)
{
    emit_align(e, 16);
    uint8_t *start = e->at;
    emit_load(e, 4, H_RAX, at(CPU_AT(mxcsr), 8));
    emit_rr(e, 0xf7, 2, H_RAX); /* not */
    emit_rr(e, 0xf7, 0, H_RAX); /* test eax, imm32 */
    emit_u32(e, 0x1f80);
    uint8_t *unmasked = emit_jcc(e, CC_NZ);
    if (kept == KEEPS_YMM)
        spill_vectors(e, 8);
    load_vectors(e, kept, 8);
    emit_byte(e, 0xc3);
    emit_patch(unmasked, e->at);
    emit_refuse(e, stubs, 8);
    return start;
}

bool stubs_emit(struct engine *engine, struct x86_stubs *stubs)
{
    struct cache *cache = &engine->cache;
    struct emit e = emit_between(cache->start, cache->slow);

    uint8_t *enter = emit_enter(&e);
    stubs->leave = emit_leave(&e);
    unsigned levels = host_has_feature(FEATURE_AVX) ? KEEPS_COUNT : KEEPS_YMM;
    for (unsigned kept = 0; kept < levels; kept++) {
        stubs->exec[kept][0] = emit_exec(&e, stubs, (enum vectors_kept)kept, false);
        stubs->exec[kept][1] = emit_exec(&e, stubs, (enum vectors_kept)kept, true);
        stubs->tsc[kept] = emit_query(&e, (const void *)cpu_tsc, true, (enum vectors_kept)kept);
    }
    stubs->refill[false] = emit_miss(&e, ACCESS_READ, engine->cpu, 8);
    stubs->refill[true] = emit_miss(&e, ACCESS_WRITE, engine->cpu, 8);
    stubs->refill_constant[false] = emit_refill(&e, refill_read, 8);
    stubs->refill_constant[true] = emit_refill(&e, refill_write, 8);
    stubs->cpuid = emit_cpuid(&e);
    for (unsigned shift = 0; shift < 4; shift++) {
        stubs->repeat[false][shift] = emit_repeat(stubs, &e, false, shift);
        stubs->repeat[true][shift] = emit_repeat(stubs, &e, true, shift);
    }
    stubs->refill_fetch = emit_refill(&e, refill_fetch, 8);
    stubs->nested_refill_fetch = emit_refill(&e, refill_fetch, 16);
    stubs->load_x87 = emit_query(&e, (const void *)x87_load, false, KEEPS_NONE);
    stubs->lookup = emit_lookup(&e, (const void *)engine_continue, true);
    stubs->indirect = emit_lookup(&e, (const void *)engine_indirect, true);

    stubs->returned = emit_returned(&e, stubs);
    stubs->ret = emit_ret(&e, stubs);
    stubs->note_call[false] = emit_note_call(&e, false);
    stubs->note_call[true] = emit_note_call(&e, true);

    emit_align(&e, 16);
    stubs->exit = e.at; /* jumped to with the exit in EAX */
    emit_store(&e, 4, cpu_mem(HOT_AT(exit)), H_RAX);
    emit_jmp_to(&e, stubs->leave);
    stubs->promote = emit_lookup(&e, (const void *)engine_promote, false);
    stubs->exit_number = emit_exit_number(&e, engine, stubs);
    emit_checks(&e, stubs, engine->cpu);

    for (unsigned kept = KEEPS_XMM; kept < levels; kept++)
        stubs->load_vectors[kept] = emit_load_vectors(&e, stubs, (enum vectors_kept)kept);
    stubs->refuse = emit_refuse(&e, stubs, 0);

    if (!emit_ok(&e))
        return false;
    emit_align(&e, 64);
    cache->start = e.at;
    cache_reset(cache);
    stubs->host.enter = (enter_fn *)(uintptr_t)cache_rx(cache, enter);
    stubs->host.leave = cache_rx(cache, stubs->leave);
    stubs->host.lookup = cache_rx(cache, stubs->lookup);
    engine_hot(engine->cpu)->mxcsr_host = 0x1f80;
    engine_hot(engine->cpu)->slot_mask = (TLB_ENTRIES - 1) << 12;
    engine_hot(engine->cpu)->table_mask = WINDOW_TABLE_MASK;
    return true;
}
