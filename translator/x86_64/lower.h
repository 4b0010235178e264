/*
 * Lowering IR to x86-64 code: what its files share.
 *
 * Register convention (R1). Twelve guest registers live in host registers, the other four in struct
 * cpu; host RAX, RCX, RDX are temporaries; host RSP is the address of struct cpu:
 *
 *     guest  RAX RDX RSI RDI R8 R9 R10 R11 | RCX RBX RSP RBP | R12 R13 R14 R15
 *     host   RBX RBP RSI RDI R8 R9 R10 R11 | R12 R13 R14 R15 | cpu->gpr[12..15]
 *
 * RBX for RAX because its byte BH is addressable as AH is. Temporaries: V_T0 is RAX; the memory
 * operand V_M is an address made of RDX (a page's host address, or host minus guest address) and
 * RCX (the offset in the page) or a guest register. Guest XMM or YMM registers live in the host's
 * of the same number as hot.vectors_loaded says; code that uses them tests that at its entry. While
 * only XMM are loaded, the upper halves are in struct cpu, and no VEX-encoded instruction runs;
 * with YMM loaded, the host's SSE keeps the upper halves as the guest's does.
 *
 * Code is emitted to two places: the straight path, and the cold part with the slow paths, which
 * are noted in `cold` and emitted at the end, when the places they return to are known. What is
 * noted there but runs as often as any, the code before the jumps of exits, follows the straight
 * path.
 */
#ifndef DOPPEL_TRANSLATOR_X86_64_LOWER_H
#define DOPPEL_TRANSLATOR_X86_64_LOWER_H

#include "translator/engine.h"
#include "translator/x86_64/emit.h"

#define COLD_MAX   640 /* a loop has two iterations of up to TRACE_MAX instructions */
#define CHECKS_MAX (TRACE_MAX * 4)
#define EXITS_MAX  768 /* likewise: for each a branch, and shared checks */

/* Displacements from host RSP. */
#define CPU_AT(member) ((int32_t)offsetof(struct cpu, member))
#define HOT_AT(member)                                                                             \
    ((int32_t)(offsetof(struct cpu, engine) + offsetof(struct engine_hot, member)))
/* Where generated code has a register that is in memory. */
#define GPR_AT(reg) ((reg) < R12 ? CPU_AT(gpr) + (int32_t)(reg)*8 : HOT_AT(high[(reg)-R12]))

/* Displacement of tlb.code of a page from its TLB. */
#define TLB_CODE_AT(gva) ((int32_t)(offsetof(struct tlb, code) + tlb_index(gva) * sizeof(uint64_t)))

static inline struct host_mem cpu_mem(int32_t displacement)
{
    return host_at(H_RSP, displacement);
}

/* A member of a loop's slot. */
#define loop_slot_mem(slot, member)                                                                \
    cpu_mem(HOT_AT(loop) + (int32_t)(slot) * (int32_t)sizeof(struct loop_slot) +                   \
            (int32_t)offsetof(struct loop_slot, member))

/* Host register of a guest register, or H_NONE, between blocks; within one see struct lower. */
extern const uint8_t home_of[16];

#define ALL FLAG_ARITH

/* Where the arithmetic flags are (R3): masks of enum eflags_bit. The recipe computes all of them.
 */
struct flags {
    uint16_t host; /* in host EFLAGS */
    uint16_t slot; /* in struct cpu */
    struct recipe recipe;
};

/* x87 instruction and data pointer that are to be stored still (lower_x87.c): numbers, plus one, of
 * the guest instruction and of the memory operation. */
struct x87_note {
    uint16_t insn, mem;
};

/* An exit while its block is being lowered: becomes a struct exit. */
struct lower_exit {
    uint64_t rip;
    uint8_t *jump;  /* displacements: the jump that is linked */
    uint8_t *leave; /* and one that never is, taken when there is an event; NULL: none */
    uint16_t recipe;
    uint8_t flags;    /* enum exit_flags */
    uint8_t executed; /* instructions of the block executed when it is taken */
    bool same_page, returns;
    enum care care; /* of the block that it leads to */
    bool room;      /* see struct exit */
};

enum cold_kind {
    COLD_REFILL,   /* fill the TLB entry and check again, or go on as COLD_SLOW */
    COLD_SLOT,     /* look into the TLB and fill the loop's slot, or go on as COLD_REFILL */
    COLD_FAULT,    /* the host has faulted: run the instruction's exec(), leave */
    COLD_SLOW,     /* run the instruction's exec(), come back behind it */
    COLD_EXIT,     /* a linkable exit */
    COLD_LOOKUP,   /* go to a constant rip through the jump table */
    COLD_GUARD,    /* fill the fetch entry of the page and check again, or go on as COLD_LOOKUP */
    COLD_INDIRECT, /* the address in RCX was not in the table, or there is an event */
    COLD_VECTORS,  /* load the XMM registers, come back */
    COLD_X87,      /* load the x87 state, come back */
};

#define SPAN_PAGE 0x2000

struct cold {
    uint8_t kind;
    uint8_t index;    /* guest instruction */
    uint8_t executed; /* instructions that were completed */
    bool poll;
    uint8_t *field; /* displacement of the jump that leads here */
    uint8_t *back;
    uint8_t gva; /* COLD_REFILL, COLD_SLOT: register with the address; H_NONE: it is `page` */
    enum access access;
    bool next;      /* belongs to the second copy of a loop */
    bool moved;     /* comes from code with homes of its own */
    bool returns;   /* COLD_INDIRECT: it was the return table */
    uint8_t slot;   /* COLD_REFILL, COLD_SLOT: slot of the loop to be filled, +1 */
    uint8_t empty;  /* slot that the slow path leaves empty, +1 */
    uint16_t span;  /* COLD_REFILL, COLD_SLOT: bytes of the check; SPAN_PAGE: stands for the page */
    uint8_t *after; /* with `slot`: where the slot has been filled and RDX is the distance */
    uint64_t page;  /* COLD_GUARD, COLD_REFILL: address of the page */
    uint64_t rip;
    struct lower_exit *exit; /* COLD_REFILL, COLD_SLOT: leave by this if refilling does not help */
    struct flags flags;
    struct x87_note note;
    uint8_t *faults; /* COLD_FAULT: code from which faults lead here, up to that of the next */
    uint8_t *code;   /* where its own is */
};

/* The block's code keeps `in`, a register of struct cpu elsewhere, in the home of `out`. */
struct home_move {
    uint8_t in, out;
};
#define MOVES_MAX 4

#define HELD_TLB  0xf0 /* lower.held: neither a register nor V_NONE */

struct lower {
    struct engine *engine;
    struct block *block;
    const struct trace *trace;
    const struct ir_list *list;
    const struct ir *ir; /* being lowered */
    unsigned at;         /* its index */
    struct emit hot, cold_code;
    struct emit *e;       /* where code goes: hot, or cold_code at the end */
    const uint8_t *start; /* of the block */
    const uint8_t *slow;  /* of its code in the cold part */
    uint8_t *promote;     /* displacement of the jump that is taken when it has become hot */
    struct flags flags;
    struct x87_note note;
    uint8_t home[16]; /* host registers of the guest's, or H_NONE, at this place */
    bool moved;       /* they are not as between blocks */
    unsigned moves;
    struct home_move move[MOVES_MAX];
    bool target;        /* RCX holds where the coming indirect jump goes */
    uint8_t held;       /* guest register without a home whose value is in RAX too; HELD_TLB: that
                         * is the TLB; or V_NONE */
    uint8_t share[2];   /* shared check of which RDX, RCX has what was noted; 0: none */
    uint8_t share_used; /* the one of them that was used last */
    bool returns[TRACE_MAX]; /* instructions with a slow path that comes back behind them */
    struct host_mem m;       /* V_M */
    bool next;               /* lowering the second copy of a loop */
    struct flags head;       /* flags at its start */
    uint8_t *head_code;
    bool bmi2;
    bool count; /* count instructions at exits */
    unsigned colds;
    struct cold cold[COLD_MAX];
    struct {
        uint8_t *code; /* where slow paths come back */
        bool tlb;      /* with HELD_TLB */
        struct flags flags;
        uint16_t live;    /* flags wanted in host EFLAGS there */
    } join[2][TRACE_MAX]; /* of each copy */
    struct site *site[TRACE_MAX];
    unsigned exits;
    struct lower_exit exit[EXITS_MAX];
    unsigned checks, recipes;
    struct warm_check check[CHECKS_MAX]; /* of a warm block */
    struct recipe recipe[UINT8_MAX];     /* of its checks */
    bool failed;
};

/* -- lower.c -- */

struct cold *lower_cold(struct lower *l, enum cold_kind kind, uint8_t *field);
/* The exit of the current instruction to a block that starts there and shares no checks. */
struct lower_exit *lower_careful_exit(struct lower *l);
/* Notes that a call just emitted was a check of the current instruction; `shared`: if it fails, go
 * on in a block that shares no checks. */
void lower_called_check(struct lower *l, bool shared);
/* The coming code may fault, with nothing of the current instruction done. */
void lower_fault(struct lower *l);
/* Jumps to the slow path of the current instruction if `cond`. */
void lower_slow_if(struct lower *l, enum host_cond cond);
/* `reg` = where code, or what is addressed like that, is; may clobber host EFLAGS. */
void lower_code_address(struct lower *l, unsigned reg, uint64_t rip);
/* The same for an address of `size` bytes in a block that floats; keeps host EFLAGS, uses `temp`.
 */
void lower_shifted(struct lower *l, unsigned size, unsigned reg, uint64_t address, unsigned temp);
/* A loop's last comparison was kept (lower_carries): notes how to compute the flags. The slow path,
 * which keeps nothing, leaves. */
void lower_carried(struct lower *l);

/* -- lower_homes.c -- */

/* Decides which registers are kept in the host's by the block. */
void lower_choose_homes(struct lower *l);
/* Code: the block's homes from those between blocks, and back if they are not given back yet. Keep
 * temporaries and host EFLAGS. */
void lower_take_homes(struct lower *l);
void lower_give_homes(struct lower *l);
/* The code that follows is reached from a place where homes were moved or not. */
void lower_assume_homes(struct lower *l, bool moved);

/* -- lower_flags.c -- */

/* The coming code destroys host EFLAGS: saves what must be saved. */
void lower_clobber(struct lower *l);
/* The coming code reads these flags from host EFLAGS. */
void lower_want(struct lower *l, uint16_t flags);
/* Gives a host condition that equals the guest's condition; may destroy host EFLAGS. */
enum host_cond lower_condition(struct lower *l, unsigned cond);
/* The emitted code has set the flags that the IR says (`native`: in host EFLAGS). */
void lower_wrote_flags(struct lower *l);
/* Is this a loop's last comparison, with memory? Its operand can be kept in V_CARRY, so that the
 * jump back need not store flags. */
bool lower_carries(const struct lower *l);
/* Is it worth keeping in V_CARRY what the operation, a shift, changes? Flags that only faults may
 * show are then computed from it: a store instead of saving them at the next memory check. */
bool lower_keeps_operand(const struct lower *l);
/* Makes the slot complete; uses RAX. */
void lower_fill_slot(struct lower *l, struct flags *flags);
/* Stores host EFLAGS' arithmetic flags: OF as a byte, 0 or 1, at one displacement from the
 * processor, the others as EFLAGS' low byte at the other. Uses RAX. */
void lower_save_flags(struct emit *e, int32_t low, int32_t overflow);
/* The same into the slot. */
void lower_store_flags(struct emit *e);
/* Stores the flags that an exit left unstored (pass_flags()), when they are wanted after all: code
 * at its jump or outside of blocks. `recipe` is their recipe's number. Uses RAX. */
void lower_store_left(struct lower *l, struct emit *e, enum exit_flags flags, unsigned recipe);
/* Slot to host EFLAGS; uses RAX. */
void lower_restore_flags(struct emit *e);
/* Will those of the current recipe hold until its flags are dead, if nothing else has the flags? */
bool lower_recipe_survives(const struct lower *l);

/* -- lower_value.c -- */

/* The home of a value if it is in a host register, else it is loaded into `temp`. */
unsigned lower_use(struct lower *l, unsigned value, unsigned size, unsigned temp);
/* Memory where a value lives: V_M, V_T1, or a guest register without a host register. */
bool lower_in_memory(const struct lower *l, unsigned value, struct host_mem *mem);
/* Host register to compute a result in: its home, or `temp`, which lower_put() then stores. */
unsigned lower_target(const struct lower *l, unsigned value, unsigned temp);
void lower_put(struct lower *l, unsigned value, unsigned size, unsigned reg);
static inline bool is_high(unsigned value)
{
    return value >= V_HIGH && value < V_HIGH + 4;
}
/* Address computation of LEA and MEM: an operand made of homes, RCX and RAX. */
struct host_mem lower_address(struct lower *l, const struct ir *ir);
/* The same for a register without a home, into RAX if the value is not there already. */
void lower_load_rax(struct lower *l, unsigned value, unsigned size);
/* Frees RCX (RDX still belongs to V_M). */
void lower_free_rcx(struct lower *l);

/* -- lower_*.c: one operation each -- */

void lower_memory(struct lower *l, const struct ir *ir);
/* Distances of shared checks are no longer in registers. */
static inline void lower_forget_shares(struct lower *l)
{
    l->share[0] = l->share[1] = 0;
}
/* Is it an operation of a few instructions, without calls or registers that none of them names? */
bool lower_is_plain(const struct ir *ir);
/* Does the operation leave RCX and RDX alone, but for V_M's own use of them? */
bool lower_keeps_shares(const struct lower *l, const struct ir *ir);
void lower_integer(struct lower *l, const struct ir *ir);
void lower_vector(struct lower *l, const struct ir *ir);
bool lower_vector_uses_rcx(const struct lower *l, const struct ir *ir);
void lower_bits(struct lower *l, const struct ir *ir);
void lower_gather(struct lower *l, const struct ir *ir);
void lower_x87(struct lower *l, const struct ir *ir);
/* Stores the pointers of `note`, which becomes empty; uses all temporaries, keeps host EFLAGS. */
void lower_store_pointers(struct lower *l, struct x87_note *note);
/* At the start of an instruction: stores pointers that it would falsify or show. */
void lower_before_insn(struct lower *l);
void lower_system(struct lower *l, const struct ir *ir);
/* A memory operand in the window. False: it cannot be there. */
bool lower_window(struct lower *l, const struct ir *ir);
/* The cold part of a memory check, up to where refilling the TLB has not helped. */
void lower_refill(struct lower *l, struct cold *cold);

/* -- x87_state.c: called by the stubs; they use general registers only -- */

/* False: the guest has unmasked an exception. */
bool x87_load(struct cpu *cpu);
void x87_store(struct cpu *cpu);

/* -- stubs.c -- */

/* Kinds of memory checks that warm blocks call, by bytes and alignment. */
enum check_kind {
    CHECK_PAGE = 10,    /* of a known address: stands for the whole page */
    CHECK_ALIGNED = 11, /* the range begins at a multiple of 16, or, with 32 bytes alone, of 32 */
    CHECK_KINDS = 17,
};
enum check_kind check_kind(unsigned span, bool aligned);

#define GUARDS 4096

/* Shared code that tests whether a page is mapped as it was. */
struct guard_code {
    bool floats;
    gva_t gva;
    const uint8_t *host;
    uint8_t *code; /* NULL: none */
};

/* Where unlinked exits of a block lead: to code of 4 bytes each, of which so many share an end. */
#define STUB_SIZE      4
#define STUBS_TOGETHER 24 /* they reach the end by a short jump */
#define STUBS_SIZE     (STUBS_TOGETHER * STUB_SIZE + 8)
#define PROMOTE_NUMBER 255 /* no exit: the block has become hot */

/* Code of warm blocks that is found again to be changed. */
#define COUNTDOWN_SIZE     12 /* of an execution, with the jump when it is the last */
#define PROMOTE_SIZE       4  /* where that jump leads, in front of the stubs: with exits */
#define PROMOTE_ALONE_SIZE 10 /* and without */
#define GUARD_CALL_SIZE    5  /* what floating blocks begin with */

static inline unsigned exit_stub(unsigned number)
{
    return number / STUBS_TOGETHER * STUBS_SIZE + number % STUBS_TOGETHER * STUB_SIZE;
}

/* What belongs to the TLB slot that stubs_find_slot() has found. */
static inline struct host_mem tlb_tag(enum access access)
{
    return (struct host_mem){H_RAX, H_RDX, 3, (int32_t)offsetof(struct tlb, tag[access])};
}
#define TLB_HOST ((struct host_mem){H_RAX, H_RDX, 3, (int32_t)offsetof(struct tlb, host)})
/* The slot that lets one store pass beside code (stubs.c). */
#define TLB_PASSED TLB_ENTRIES

struct x86_stubs {
    struct host_stubs host;
    /* writable-view addresses */
    uint8_t *leave, *lookup, *exit, *indirect, *returned, *ret, *load_vectors[KEEPS_COUNT],
        *load_x87, *refuse, *refill[2], *refill_constant[2], *refill_fetch, *cpuid,
        *tsc[KEEPS_COUNT], *exit_number, *promote, *nested_refill_fetch, *guard_failed,
        *check_failed;
    uint8_t *note_call[2];          /* in a space that floats: [1] */
    uint8_t *check[2][CHECK_KINDS]; /* for reading, writing */
    uint8_t *repeat[2][4];          /* REP STOS, REP MOVS of 1, 2, 4, 8 bytes an element */
    struct guard_code guard[GUARDS];
    uint8_t *exec[KEEPS_COUNT][2]; /* for blocks that keep vectors, x87 state */
    bool bmi2, pext;               /* `pext`: it is fast */
    struct lower lower;            /* work space */
};

static inline struct x86_stubs *stubs_of(const struct engine *engine)
{
    return (struct x86_stubs *)engine->stubs;
}

bool stubs_emit(struct engine *engine, struct x86_stubs *stubs);
/* Tests that the page is mapped as before; gives the jump to be taken if it is not. Uses all
 * temporaries. */
uint8_t *stubs_test_page(struct emit *e, const struct trace_page *page, int32_t pushed);
/* The code that tests the page, and returns only if it is mapped as before, or, if it `floats`,
 * with the current shift. Uses all temporaries. If there is none it is emitted, and what it does
 * else to `slow`. NULL: no room. */
const uint8_t *stubs_guard(struct engine *engine, struct emit *slow, const struct trace_page *page,
                           bool floats);
/* `reg` += the current shift; clobbers host EFLAGS. `pushed` bytes lie on the stack. */
void stubs_add_shift(struct emit *e, unsigned reg, int32_t pushed);
/* The shift of the table entry at RDX becomes the current one; uses RAX. */
void stubs_take_shift(struct emit *e);
#define RETURN_MOVE 8 /* what most returns add to the stack pointer */

/* RDX = the entry for the return address that lies at the stack pointer, in `sp`, - `below`.
 * `pushed` bytes lie on the stack. */
void stubs_find_return(struct emit *e, unsigned sp, int32_t below, int32_t pushed);
/* The entry at RDX gets the current shift, or 0, known to be the same; uses RAX. */
void stubs_note_shift(struct emit *e, bool zero, int32_t pushed);
/* RDX = the entry for the rip in RCX. */
void stubs_find_jump(struct emit *e);
/* RAX = the TLB; `pushed` bytes lie on the stack. */
void stubs_load_tlb(struct emit *e, int32_t pushed);
/* RDX = the slot of that for the address in `gva`. */
void stubs_find_slot(const struct x86_stubs *stubs, struct emit *e, unsigned gva, int32_t pushed);
/* The check of `span` bytes at the address in RCX, of which it makes the offset in the page of the
 * slot found: goes to the place given back, to be patched, if they may not be accessed or are not
 * aligned to their size, 16 or 32 bytes. The host address is RCX + TLB_HOST then. */
uint8_t *stubs_compare(struct emit *e, enum access access, unsigned span, bool aligned);

#endif
