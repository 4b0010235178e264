/*
 * Lowering: the driver. Sites, exits, slow paths, entry of a block.
 */
#include "translator/x86_64/lower.h"

#include <assert.h>
#include <string.h>

/* -- Sites and slow paths (R2) -- */

/* The site of an instruction; `slow`: only a slow path leads there. */
static struct site *site_of(struct lower *l, unsigned index, bool slow)
{
    if (l->site[index])
        return l->site[index];
    struct cache *cache = &l->engine->cache;
    struct site *site;
    size_t size = sizeof *site + (slow ? 0 : sizeof site->insn[0]);
    site = cache_allocate(cache, size, _Alignof(struct site));
    if (!site) {
        l->failed = true;
        static struct site dummy;
        return &dummy;
    }
    const struct insn *insn = &l->trace->insn[index];
    bool last = index + 1 == l->trace->count;
    *site = (struct site){.rip = l->trace->rip[index],
                          .next = l->trace->next[index],
                          .block = cache_offset(cache, l->block),
                          .index = (uint8_t)index,
                          .slow = slow,
                          .floats = l->block->floats};
    if (!slow)
        site->insn[0] = *insn;
    if (last) {
        switch (insn->op) {
        case OP_JMP:
        case OP_CALL:
            if (insn->operand[0].kind == OPERAND_REL)
                trace_target(l->trace, insn, site->rip, &site->next);
            else
                site->end = true;
            break;
        case OP_RET:
            site->end = true;
            break;
        }
    }
    l->site[index] = site;
    return site;
}

void lower_code_address(struct lower *l, unsigned reg, uint64_t rip)
{
    emit_mov_ri(l->e, reg, rip);
    if (l->block->floats)
        stubs_add_shift(l->e, reg, 0);
}

void lower_shifted(struct lower *l, unsigned size, unsigned reg, uint64_t address, unsigned temp)
{
    emit_mov_ri(l->e, reg, address);
    emit_load(l->e, 8, temp, cpu_mem(HOT_AT(shift)));
    emit_lea(l->e, size, reg, (struct host_mem){(uint8_t)reg, (uint8_t)temp, 0, 0});
}

void lower_carried(struct lower *l)
{
    const struct ir *ir = l->ir;
    l->flags.recipe = (struct recipe){ir->op, ir->size, ir->a == V_M ? V_CARRY : ir->a,
                                      ir->b == V_M ? V_CARRY : ir->b, (int32_t)ir->imm};
    site_of(l, ir->insn, true)->end = true;
}

static uint32_t site_offset(struct lower *l, unsigned index)
{
    return cache_offset(&l->engine->cache, site_of(l, index, true));
}

struct cold *lower_cold(struct lower *l, enum cold_kind kind, uint8_t *field)
{
    if (l->colds == COLD_MAX) {
        l->failed = true;
        l->colds--;
    }
    struct cold *cold = &l->cold[l->colds++];
    *cold = (struct cold){.kind = (uint8_t)kind,
                          .index = (uint8_t)l->ir->insn,
                          .executed = (uint8_t)l->ir->insn,
                          .next = l->next,
                          .moved = l->moved,
                          .field = field,
                          .flags = l->flags,
                          .note = l->note};
    if (kind == COLD_SLOW)
        l->returns[cold->index] = true;
    return cold;
}

void lower_slow_if(struct lower *l, enum host_cond cond)
{
    lower_cold(l, COLD_SLOW, emit_jcc(l->e, cond));
}

/* The number, + 1, of the current flags' recipe among those of the block's checks. */
static uint8_t note_recipe(struct lower *l)
{
    const struct recipe *recipe = &l->flags.recipe;
    if (l->recipes && memcmp(&l->recipe[l->recipes - 1], recipe, sizeof *recipe) == 0)
        return (uint8_t)l->recipes;
    if (l->recipes + 1 == RECIPE_HOST) {
        l->failed = true;
        return 0;
    }
    l->recipe[l->recipes++] = *recipe;
    return (uint8_t)l->recipes;
}

static struct warm_check *new_check(struct lower *l, ptrdiff_t code)
{
    unsigned index = l->ir->insn;
    uint64_t distance = l->trace->rip[index] - l->block->rip;
    if (l->checks == CHECKS_MAX || code > UINT16_MAX) {
        l->failed = true;
        return &l->check[0];
    }
    l->check[l->checks] =
        (struct warm_check){.rip = (int32_t)distance, .code = (uint16_t)code, .index = index & 63};
    return &l->check[l->checks++];
}

void lower_called_check(struct lower *l, bool shared)
{
    struct warm_check *check = new_check(l, l->e->at - 1 - l->start);
    bool stored = !(ALL & ~l->flags.slot) || l->flags.recipe.op == IR_COUNT;
    check->shared = shared;
    check->recipe = stored ? 0 : note_recipe(l);
}

void lower_fault(struct lower *l)
{
    if (l->block->hot) {
        lower_cold(l, COLD_FAULT, NULL)->faults = l->e->at;
        site_of(l, l->ir->insn, true)->end = true;
        return;
    }
    struct warm_check *check = new_check(l, l->e->at - l->start);
    bool computed = ALL & ~l->flags.host && l->flags.recipe.op != IR_COUNT;
    check->window = true;
    if (ALL & ~l->flags.slot)
        check->recipe = computed ? note_recipe(l) : RECIPE_HOST;
}

static const uint8_t *exec_stub(const struct lower *l)
{
    const struct x86_stubs *stubs = stubs_of(l->engine);
    return stubs->exec[l->block->vectors][l->block->x87];
}

/* -- Exits -- */

static void count_instructions(struct lower *l, unsigned executed)
{
    if (l->count && executed)
        emit_alu_mi(l->e, ALU_ADD, 8, cpu_mem(HOT_AT(instructions)), (int32_t)executed, false);
}

/* Has the block checked the page of the target (R6)? */
static bool page_is_checked(const struct lower *l, uint64_t rip, unsigned index)
{
    const struct trace *trace = l->trace;
    if (!(trace->mode & MODE_PAGING))
        return true;
    gva_t gva = trace->mode & MODE_CODE64 ? rip : (uint32_t)(trace->cs_base + rip);
    uint8_t checked = 1;
    for (unsigned i = 0; i <= index; i++)
        checked |= trace->guard[i];
    for (unsigned p = 0; p < trace->pages; p++)
        if (checked >> p & 1 && trace->page[p].gva == (gva & ~0xfffull))
            return true;
    return false;
}

static bool is_backward(const struct lower *l, uint64_t target)
{
    return target <= l->trace->rip[l->ir->insn];
}

static struct lower_exit *new_exit(struct lower *l, uint64_t rip, unsigned index)
{
    if (l->exits == EXITS_MAX) {
        l->failed = true;
        l->exits--;
    }
    struct lower_exit *exit = &l->exit[l->exits++];
    *exit = (struct lower_exit){
        .rip = rip, .executed = (uint8_t)(index + 1), .same_page = page_is_checked(l, rip, index)};
    /* What did not fit together in one iteration does not in the next either. */
    if (l->block->care == CARE_PAGES && is_backward(l, rip))
        exit->care = CARE_PAGES;
    return exit;
}

struct lower_exit *lower_careful_exit(struct lower *l)
{
    unsigned index = l->ir->insn;
    struct lower_exit *exit = new_exit(l, l->trace->rip[index], index);
    exit->executed = (uint8_t)index;
    exit->care = (enum care)(l->block->care + 1);
    return exit;
}

/* Decides how the flags get from the exit to where it leads, if that can be done when it is linked:
 * nothing is emitted for it before. False: they are to be stored. `poll`: there will be a
 * comparison in between. */
static bool pass_flags(const struct lower *l, struct lower_exit *exit, const struct flags *flags,
                       bool poll)
{
    exit->flags = EXIT_STORED;
    if (!(ALL & ~flags->slot))
        return true;
    if (l->count)
        return false;
    if (flags->recipe.op != IR_COUNT)
        exit->recipe = (uint16_t)recipe_number(l->engine, &flags->recipe);
    if (!poll && !(ALL & ~flags->host))
        exit->flags = EXIT_IN_HOST;
    else if (exit->recipe)
        exit->flags = EXIT_BY_RECIPE;
    return exit->flags != EXIT_STORED;
}

/* Room for what host_link() may put there. */
static void reserve_room(struct lower *l, struct lower_exit *exit)
{
    struct emit *e = l->e;
    uint8_t *start = e->at;
    lower_store_left(l, e, exit->flags, exit->recipe);
    exit->room = e->at != start;
    uint8_t *end = emit_jmp(e) + 4;
    if (!emit_ok(e))
        return;
    e->at = start;
    exit->jump = emit_jmp(e);
    e->at = end;
}

/* The jump of an exit, with all that comes before it. If there is an event, it leaves as if it were
 * not linked. */
static void emit_exit(struct lower *l, struct lower_exit *exit, struct flags *flags, bool poll)
{
    bool moved = l->moved;
    lower_give_homes(l);
    if (!pass_flags(l, exit, flags, poll))
        lower_fill_slot(l, flags);
    count_instructions(l, exit->executed);
    if (poll) {
        emit_alu_mi(l->e, ALU_CMP, 4, cpu_mem(CPU_AT(event)), 0, false);
        if (exit->room) {
            exit->leave = emit_jcc(l->e, CC_NZ);
        } else {
            exit->jump = emit_jcc(l->e, CC_Z);
            exit->leave = emit_jmp(l->e);
        }
    }
    if (exit->room)
        reserve_room(l, exit);
    else if (!poll)
        exit->jump = emit_jmp(l->e);
    lower_assume_homes(l, moved);
}

/* -- Loops (opt_loop.c) -- */

/* Are flags of the iteration before read, before the first are written? */
static bool loop_reads_flags(const struct lower *l)
{
    for (unsigned i = 0; i < l->list->count; i++)
        if (l->list->at[i].reads || l->list->at[i].writes)
            return l->list->at[i].reads != 0;
    return false;
}

/* Flags at the start of the second copy, given those at the end of the first: computed again where
 * that is possible until they are dead, left in the host's where they are read first, else stored.
 */
static void choose_head_flags(struct lower *l)
{
    unsigned at = l->at;
    l->at = 0;
    if (l->list->entry_strict == 0)
        l->head = (struct flags){.recipe = {.op = IR_COUNT}};
    else if (lower_recipe_survives(l))
        l->head = (struct flags){.recipe = l->flags.recipe};
    else if (!(ALL & ~l->flags.host) && loop_reads_flags(l) && !l->count && !l->engine->verify)
        l->head = (struct flags){.host = ALL, .recipe = {.op = IR_COUNT}};
    else
        l->head = (struct flags){.slot = ALL, .recipe = {.op = IR_COUNT}};
    l->at = at;
}

/* Do the flags at the end of the second copy fit those at its start? */
static bool head_fits(const struct lower *l)
{
    const struct recipe *head = &l->head.recipe;
    return head->op == IR_COUNT || memcmp(head, &l->flags.recipe, sizeof *head) == 0;
}

/* Goes back, or on into the second copy, unless there is an event. */
static void lower_leave_loop(struct lower *l)
{
    struct emit *e = l->e;
    uint8_t *leave, *back = NULL;
    if (l->head.host) { /* nothing that changes them */
        emit_load(e, 4, H_RCX, cpu_mem(CPU_AT(event)));
        uint8_t *none = emit_jrcxz8(e);
        leave = emit_jmp(e);
        emit_patch8(e, none);
        if (l->next)
            back = emit_jmp(e);
    } else {
        emit_alu_mi(e, ALU_CMP, 4, cpu_mem(CPU_AT(event)), 0, false);
        if (l->next)
            back = emit_jcc(e, CC_Z);
        leave = l->next ? emit_jmp(e) : emit_jcc(e, CC_NZ);
    }
    if (back && emit_ok(e))
        emit_patch(back, l->head_code);
    struct cold *cold = lower_cold(l, COLD_LOOKUP, leave);
    cold->rip = l->block->rip;
    cold->executed = l->count ? 0 : (uint8_t)(l->ir->insn + 1);
}

/* The jump back: from the end of the first copy into the second, which comes next, and from
 * the end of that to its start. */
static void lower_back_edge(struct lower *l)
{
    struct emit *e = l->e;
    unsigned count = l->ir->insn + 1u;
    if (!l->next)
        choose_head_flags(l);
    l->failed |= !head_fits(l); /* never: both copies end alike */
    if (l->head.host) {
        if (ALL & ~l->flags.host)
            lower_fill_slot(l, &l->flags);
        lower_want(l, ALL);
        lower_leave_loop(l);
        return;
    }
    if (l->head.slot || l->flags.recipe.op == IR_COUNT)
        lower_fill_slot(l, &l->flags);
    l->flags.host = 0; /* what follows clobbers them */
    count_instructions(l, count);
    if (l->engine->verify) { /* the interpreter must not have to go back far */
        struct lower_exit *exit = new_exit(l, l->block->rip, l->ir->insn);
        exit->executed = 0;
        emit_alu_mi(e, ALU_CMP, 8, cpu_mem(HOT_AT(instructions)),
                    (int32_t)block_verified_insns(l->block), false);
        lower_cold(l, COLD_EXIT, emit_jcc(e, CC_NC))->exit = exit;
    }
    lower_leave_loop(l);
}

static bool is_back_edge(const struct lower *l, const struct ir *ir)
{
    return l->list->loop && (uint64_t)ir->imm == l->block->rip &&
           l->at + (ir->op == IR_BRANCH ? 2 : 1) == l->list->count;
}

/* An exit taken if `cond`, with what it takes in the cold part. */
static void exit_if(struct lower *l, struct lower_exit *exit, enum host_cond cond, bool poll)
{
    uint8_t *field = emit_jcc(l->e, cond);
    bool pointers = l->note.insn || l->note.mem;
    if (!poll && !l->count && !pointers && !l->moved && pass_flags(l, exit, &l->flags, false)) {
        exit->jump = field; /* nothing to do on the way */
        return;
    }
    struct cold *cold = lower_cold(l, COLD_EXIT, field);
    cold->exit = exit;
    cold->poll = poll;
}

static void lower_branch(struct lower *l, const struct ir *ir)
{
    uint64_t target = (uint64_t)ir->imm;
    enum host_cond cond = lower_condition(l, ir->cond);
    bool ends = l->at + 1 < l->list->count && l->list->at[l->at + 1].op == IR_JUMP;
    if (is_back_edge(l, ir)) {
        struct lower_exit *out = new_exit(l, (uint64_t)l->list->at[++l->at].imm, ir->insn);
        exit_if(l, out, (enum host_cond)(cond ^ 1), false);
        lower_store_pointers(l, &l->note);
        lower_back_edge(l);
        return;
    }
    struct lower_exit *exit = new_exit(l, target, ir->insn);
    if (ends && is_backward(l, target)) { /* a loop: straight */
        lower_store_pointers(l, &l->note);
        uint8_t *over = emit_jcc(l->e, (enum host_cond)(cond ^ 1));
        struct flags flags = l->flags;
        exit->room = true;
        emit_exit(l, exit, &flags, true);
        if (emit_ok(l->e))
            emit_patch(over, l->e->at);
        return;
    }
    exit_if(l, exit, cond, is_backward(l, target));
}

/* JRCXZ keeps the flags. */
static void lower_branch_count(struct lower *l, const struct ir *ir)
{
    struct lower_exit *exit = new_exit(l, (uint64_t)ir->imm, ir->insn);
    if (ir->size == 2)
        emit_rr(l->e, 0xb7 | X_0F, H_RCX, l->home[RCX]); /* movzx ecx, r16 */
    else
        emit_mov_rr(l->e, ir->size, H_RCX, l->home[RCX]);
    uint8_t *zero = emit_jrcxz8(l->e), *over = NULL;
    if (!ir->cond) {
        over = emit_jmp8(l->e);
        emit_patch8(l->e, zero);
    }
    struct cold *cold = lower_cold(l, COLD_EXIT, emit_jmp(l->e));
    emit_patch8(l->e, over ? over : zero);
    cold->exit = exit;
    cold->poll = is_backward(l, exit->rip);
}

static void lower_jump(struct lower *l, const struct ir *ir)
{
    lower_store_pointers(l, &l->note);
    if (is_back_edge(l, ir)) {
        lower_back_edge(l);
        return;
    }
    struct lower_exit *exit = new_exit(l, (uint64_t)ir->imm, ir->insn);
    struct flags flags = l->flags;
    exit->room = true;
    emit_exit(l, exit, &flags, is_backward(l, exit->rip));
}

static void lower_call(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    struct lower_exit *exit = new_exit(l, (uint64_t)ir->imm, ir->insn);
    exit->same_page = false;
    exit->returns = true;
    lower_clobber(l);
    lower_code_address(l, H_RAX, (uint64_t)ir->imm);
    emit_store(e, ir->size, l->m, H_RAX);
    bool floats = l->trace->space->floats;
    if (!l->block->hot && ir->size == 8 && l->home[RSP] == home_of[RSP]) {
        exit->jump = emit_lea_code(e, H_RDX);
        emit_call_to(e, stubs_of(l->engine)->note_call[floats]);
        return;
    }
    stubs_find_return(e, lower_use(l, RSP, 8, H_RDX), ir->size, 0);
    emit_store(e, 8, host_at(H_RDX, offsetof(struct jump_entry, rip)), H_RAX);
    exit->jump = emit_lea_code(e, H_RAX);
    emit_store(e, 8, host_at(H_RDX, offsetof(struct jump_entry, code)), H_RAX);
    if (floats)
        stubs_note_shift(e, !l->block->floats && l->block->shift == 0, 0);
}

/* Does the operation give the target of the indirect jump that ends its instruction, with nothing
 * in between that needs RCX? */
static bool gives_target(const struct lower *l)
{
    const struct ir *ir = l->ir, *end = &l->list->at[l->list->count];
    if (ir->op != IR_MOV || ir->d != V_T1 || ir->size != 8)
        return false;
    do
        ir++;
    while (ir < end && ir->op == IR_LEA && ir->d == RSP && l->home[RSP] != H_NONE &&
           ir->b == V_ZERO);
    return ir < end && (ir->op == IR_INDIRECT || ir->op == IR_FIND);
}

static void lower_jump_target(struct lower *l)
{
    unsigned value = l->ir->a;
    unsigned reg = value < 16 && value == l->held ? H_RAX : lower_use(l, value, 8, H_RCX);
    if (reg != H_RCX)
        emit_mov_rr(l->e, 8, H_RCX, reg);
    l->target = true;
}

/* Is there an event, or has the entry for the target in RCX another? Then NZ, by which the caller
 * jumps. RDX is the entry. */
static void find_entry(struct lower *l, const struct ir *ir)
{
    struct emit *e = l->e;
    bool returns = ir->aux == IR_INDIRECT_RETURN;
    emit_alu_mi(e, ALU_CMP, 4, cpu_mem(CPU_AT(event)), 0, false);
    if (!l->target)
        emit_load(e, 8, H_RCX, cpu_mem(HOT_AT(scratch)));
    l->target = false;
    uint8_t *event = emit_jcc8(e, CC_NZ);
    if (returns)
        stubs_find_return(e, home_of[RSP], (int32_t)ir->imm, 0);
    else
        stubs_find_jump(e);
    emit_alu_mr(e, ALU_CMP, 8, host_at(H_RDX, 0), H_RCX, false);
    emit_patch8(e, event);
}

/* Goes to what the entry at RDX says. */
static void follow_entry(struct lower *l)
{
    if (l->trace->space->floats)
        stubs_take_shift(l->e);
    emit_jmp_mem(l->e, host_at(H_RDX, offsetof(struct jump_entry, code)));
}

/* Before a call pushes. What the table has is no address that would fault. */
static void lower_find(struct lower *l, const struct ir *ir)
{
    lower_clobber(l);
    find_entry(l, ir);
    lower_slow_if(l, CC_NZ);
    emit_store(l->e, 8, cpu_mem(HOT_AT(scratch)), H_RDX);
}

static void lower_indirect(struct lower *l, const struct ir *ir)
{
    lower_fill_slot(l, &l->flags);
    l->flags.host = 0;
    lower_give_homes(l);
    count_instructions(l, ir->insn + 1u);
    if (ir->aux == IR_INDIRECT_FOUND) {
        emit_load(l->e, 8, H_RDX, cpu_mem(HOT_AT(scratch)));
        follow_entry(l);
        return;
    }
    if (!l->block->hot && l->target && ir->aux == IR_INDIRECT_RETURN && ir->imm == RETURN_MOVE) {
        l->target = false;
        emit_mov_ri(l->e, H_RAX, site_offset(l, ir->insn));
        emit_jmp_to(l->e, stubs_of(l->engine)->ret);
        return;
    }
    find_entry(l, ir);
    struct cold *cold = lower_cold(l, COLD_INDIRECT, emit_jcc(l->e, CC_NZ));
    cold->executed = 0;
    cold->returns = ir->aux == IR_INDIRECT_RETURN;
    follow_entry(l);
}

/* A return that the trace expects at a known place. */
static void lower_expect(struct lower *l, const struct ir *ir)
{
    struct host_mem scratch = cpu_mem(HOT_AT(scratch));
    lower_clobber(l);
    if (ir->imm == (int32_t)ir->imm) {
        emit_alu_mi(l->e, ALU_CMP, 8, scratch, (int32_t)ir->imm, false);
    } else {
        emit_mov_ri(l->e, H_RAX, (uint64_t)ir->imm);
        emit_alu_mr(l->e, ALU_CMP, 8, scratch, H_RAX, false);
    }
    struct cold *cold = lower_cold(l, COLD_INDIRECT, emit_jcc(l->e, CC_NZ));
    cold->executed = (uint8_t)(ir->insn + 1);
    cold->poll = true;    /* RCX is to be loaded */
    cold->returns = true; /* code that jumps by returns comes here each time */
}

/* Goes to `rip` through the jump table unless the page is mapped as when it was translated. */
static void emit_guard(struct lower *l, const struct trace_page *page, uint64_t rip)
{
    struct emit *e = l->e;
    uint8_t *start = e->at;
    if (!l->block->hot) {
        const uint8_t *guard = stubs_guard(l->engine, &l->cold_code, page, l->block->floats);
        l->failed |= !guard;
        if (guard)
            emit_call_to(e, guard);
        return;
    }
    struct cold *cold = lower_cold(l, COLD_GUARD, stubs_test_page(e, page, 0));
    cold->back = start;
    cold->page = page->gva;
    cold->rip = rip;
}

static void lower_guard_op(struct lower *l, const struct ir *ir)
{
    if (l->next) /* passed in the first iteration */
        return;
    lower_clobber(l);
    emit_guard(l, &l->trace->page[ir->aux], (uint64_t)ir->imm);
    if (!l->block->hot)
        lower_called_check(l, false);
}

/* REP STOS and MOVS that shared code does, if they are not special at run time. */
static const uint8_t *repeat_stub(const struct lower *l)
{
    const struct insn *insn = &l->trace->insn[l->ir->insn];
    if (l->ir->op != IR_EXEC || (insn->op != OP_STOS && insn->op != OP_MOVS) ||
        !(insn->prefixes & PREFIX_REP) || insn->prefixes & PREFIX_SEG || insn->addrsize != 8)
        return NULL;
    return stubs_of(l->engine)->repeat[insn->op == OP_MOVS][__builtin_ctz(insn->opsize)];
}

static void lower_exec(struct lower *l, bool end)
{
    const uint8_t *repeat = repeat_stub(l);
    uint8_t *done = NULL;
    site_of(l, l->ir->insn, false)->end |= end;
    lower_fill_slot(l, &l->flags);
    if (repeat) {
        emit_call_to(l->e, repeat);
        done = emit_jcc8(l->e, CC_NZ);
    }
    emit_mov_ri(l->e, H_RAX, site_offset(l, l->ir->insn));
    emit_call_to(l->e, exec_stub(l));
    if (repeat)
        emit_patch8(l->e, done);
    l->flags = (struct flags){.slot = ALL, .recipe = {.op = IR_COUNT}};
}

/* -- The cold part -- */

static void emit_cold(struct lower *l, struct cold *cold)
{
    const struct x86_stubs *stubs = stubs_of(l->engine);
    struct emit *e = l->e;
    if (cold->field && emit_ok(e) && emit_ok(&l->hot))
        emit_patch(cold->field, e->at);
    cold->code = e->at;
    lower_assume_homes(l, cold->moved);
    switch (cold->kind) {
    case COLD_SLOT:
    case COLD_REFILL:
        lower_refill(l, cold);
        lower_store_pointers(l, &cold->note);
        if (cold->exit) {
            emit_exit(l, cold->exit, &cold->flags, false);
            break;
        }
        /* fall through */
    case COLD_FAULT:
    case COLD_SLOW:
        lower_store_pointers(l, &cold->note);
        lower_give_homes(l);
        lower_fill_slot(l, &cold->flags);
        emit_mov_ri(e, H_RAX, site_offset(l, cold->index));
        emit_call_to(e, exec_stub(l));
        if (l->site[cold->index] && l->site[cold->index]->end)
            break;
        if (cold->empty)
            emit_store_imm(e, 8, loop_slot_mem(cold->empty - 1u, bound), 0);
        if (cold->moved)
            lower_take_homes(l);
        if (l->join[cold->next][cold->index].live)
            lower_restore_flags(e);
        if (l->join[cold->next][cold->index].tlb)
            stubs_load_tlb(e, 0);
        emit_jmp_to(e, l->join[cold->next][cold->index].code);
        break;
    case COLD_EXIT:
        lower_store_pointers(l, &cold->note);
        emit_exit(l, cold->exit, &cold->flags, cold->poll);
        break;
    case COLD_GUARD:
        emit_mov_ri(e, H_RCX, cold->page);
        emit_call_to(e, stubs->refill_fetch);
        emit_patch(emit_jcc(e, CC_NZ), cold->back);
        /* fall through */
    case COLD_LOOKUP:
        lower_give_homes(l);
        lower_fill_slot(l, &cold->flags);
        count_instructions(l, cold->executed);
        lower_code_address(l, H_RCX, cold->rip);
        emit_jmp_to(e, stubs->lookup);
        break;
    case COLD_INDIRECT:
        lower_give_homes(l);
        lower_fill_slot(l, &cold->flags);
        if (cold->poll) {
            count_instructions(l, cold->executed);
            emit_load(e, 8, H_RCX, cpu_mem(HOT_AT(scratch)));
        }
        emit_mov_ri(e, H_RAX, site_offset(l, cold->index));
        emit_jmp_to(e, cold->returns ? stubs->returned : stubs->indirect);
        break;
    case COLD_VECTORS:
        lower_code_address(l, H_RCX, cold->rip);
        emit_call_to(e, stubs->load_vectors[l->block->vectors]);
        emit_jmp_to(e, cold->back);
        break;
    case COLD_X87:
        lower_code_address(l, H_RCX, cold->rip);
        emit_call_to(e, stubs->load_x87);
        emit_rr(e, 0x84, H_RAX, H_RAX); /* test al, al */
        emit_patch(emit_jcc(e, CC_NZ), cold->back);
        emit_jmp_to(e, stubs->refuse);
        break;
    }
}

/* Exits that are taken as often as any: the code before their jumps stands behind the straight
 * code. */
static bool is_tail(const struct lower *l, const struct cold *cold)
{
    return cold->kind == COLD_EXIT && cold->exit->care <= l->block->care;
}

static void emit_tail(struct lower *l)
{
    l->held = V_NONE;
    for (unsigned i = 0; i < l->colds && !l->failed; i++) /* emitting may add more */
        if (is_tail(l, &l->cold[i]))
            emit_cold(l, &l->cold[i]);
}

static void emit_slow_paths(struct lower *l)
{
    l->e = &l->cold_code;
    for (unsigned i = 0; i < l->colds && !l->failed; i++)
        if (!is_tail(l, &l->cold[i]))
            emit_cold(l, &l->cold[i]);
}

/* -- The block -- */

static void set_join(struct lower *l, unsigned index)
{
    /* Flags that code behind the join takes from host EFLAGS: all that are there and nowhere else.
     */
    bool joined = l->join[l->next][index].code != NULL;
    if (l->returns[index]) { /* temporaries are others' there */
        if (l->held != HELD_TLB || (joined && !l->join[l->next][index].tlb))
            l->held = V_NONE;
        lower_forget_shares(l);
    }
    if (joined)
        return;
    l->join[l->next][index].tlb = l->held == HELD_TLB;
    l->join[l->next][index].code = l->e->at;
    l->join[l->next][index].live = l->flags.host;
}

static void lower_poll(struct lower *l, const struct ir *ir)
{
    lower_clobber(l);
    emit_alu_mi(l->e, ALU_CMP, 4, cpu_mem(CPU_AT(event)), 0, false);
    struct cold *cold = lower_cold(l, COLD_LOOKUP, emit_jcc(l->e, CC_NZ));
    cold->rip = (uint64_t)ir->imm;
    cold->executed = (uint8_t)(ir->insn + 1);
}

static void lower_one(struct lower *l)
{
    const struct ir *ir = l->ir;
    switch (ir->op) {
    case IR_MEM_READ:
    case IR_MEM_WRITE:
    case IR_MEM_MODIFY:
        lower_memory(l, ir);
        break;
    case IR_VECTOR:
        lower_vector(l, ir);
        break;
    case IR_BITS:
        lower_bits(l, ir);
        break;
    case IR_GATHER:
        lower_gather(l, ir);
        break;
    case IR_X87:
    case IR_X87_CONTROL:
        lower_x87(l, ir);
        break;
    case IR_FLAGS_READ:
    case IR_FLAGS_WRITE:
    case IR_CLI:
    case IR_STI:
    case IR_STAC:
    case IR_CLAC:
    case IR_TSC:
    case IR_CPUID:
    case IR_CMPXCHG_WIDE:
    case IR_SWAPGS:
    case IR_FENCE:
    case IR_FIELD:
        lower_system(l, ir);
        break;
    case IR_EVENT:
        lower_poll(l, ir);
        break;
    case IR_GUARD:
        lower_guard_op(l, ir);
        break;
    case IR_BRANCH:
        lower_branch(l, ir);
        break;
    case IR_BRANCH_COUNT:
        lower_branch_count(l, ir);
        break;
    case IR_FIND:
        lower_find(l, ir);
        break;
    case IR_FORWARD:
        lower_clobber(l);
        emit_rm(l->e, 0xf6, 0, cpu_mem(CPU_AT(eflags) + 1)); /* test byte, imm8 */
        emit_byte(l->e, FLAG_DF >> 8);
        lower_slow_if(l, CC_NZ);
        break;
    case IR_CALL:
        lower_call(l, ir);
        break;
    case IR_EXPECT:
        lower_expect(l, ir);
        break;
    case IR_JUMP:
        lower_jump(l, ir);
        break;
    case IR_INDIRECT:
        lower_indirect(l, ir);
        break;
    case IR_MOV:
        if (gives_target(l))
            lower_jump_target(l);
        else
            lower_integer(l, ir);
        break;
    case IR_EXEC:
        lower_exec(l, false);
        break;
    case IR_EXEC_END:
        lower_exec(l, true);
        break;
    default:
        lower_integer(l, ir);
    }
}

static void emit_load_check(struct lower *l, int32_t flag, unsigned wanted, enum cold_kind kind)
{
    emit_alu_mi(l->e, ALU_CMP, 1, cpu_mem(flag), (int32_t)wanted, false);
    struct cold *cold = lower_cold(l, kind, emit_jcc(l->e, CC_C));
    cold->back = l->e->at;
    cold->rip = l->block->rip;
}

/* Counts an execution of a warm block. */
static void emit_countdown(struct lower *l)
{
    struct emit *e = l->e;
    struct cache *cache = &l->engine->cache;
    emit_byte(e, 0xff); /* dec dword [rip + disp32] */
    emit_byte(e, 0x0d);
    emit_u32(e, (uint32_t)((uint8_t *)block_countdown(l->engine, l->block) -
                           cache_rx(cache, e->at + 4)));
    l->promote = emit_jcc(e, CC_S);
}

static void emit_entry(struct lower *l)
{
    static const struct ir first = {.op = IR_EVENT};
    struct block *block = l->block;
    l->ir = &first;
    if (block->hot) /* of warm blocks more fit into the host's caches without */
        emit_align(l->e, 16);
    l->start = l->e->at;
    block->code = (uint32_t)(l->start - l->engine->cache.rw);
    if (l->trace->mode & MODE_PAGING)
        emit_guard(l, &l->trace->page[0], block->rip);
    block->entry = (uint8_t)(l->e->at - l->start);
    if (block->vectors)
        emit_load_check(l, HOT_AT(vectors_loaded), block->vectors, COLD_VECTORS);
    if (block->x87)
        emit_load_check(l, HOT_AT(x87_loaded), 1, COLD_X87);
    block->loaded = (uint8_t)(l->e->at - l->start);
    if (!block->hot && !l->engine->verify)
        emit_countdown(l);
}

static bool has_home(const struct lower *l, unsigned value)
{
    return value == V_IMM || value == V_NONE || (value < 16 && l->home[value] != H_NONE);
}

/* Does RAX still hold the TLB? Operations that may use it without naming it are not here. */
static bool keeps_tlb(const struct lower *l)
{
    switch (l->ir->op) {
    case IR_MEM_READ:
    case IR_MEM_WRITE:
    case IR_MEM_MODIFY:
    case IR_LEA:
    case IR_BRANCH:
        break;
    default:
        if (!lower_is_plain(l->ir))
            return false;
    }
    return l->held == HELD_TLB && !(l->e->named & 1u << H_RAX);
}

/* What RAX holds after the operation: the TLB, or the value of a register. What has no place for
 * that in its lowering, or uses RAX, ends it. */
static uint8_t held_after(const struct lower *l)
{
    const struct ir *ir = l->ir;
    if (keeps_tlb(l))
        return HELD_TLB;
    uint8_t held = l->held == HELD_TLB ? V_NONE : l->held;
    bool whole = ir->size >= 4 && ir->d < 16 && l->home[ir->d] == H_NONE;
    switch (ir->op) {
    case IR_MOV:
        if (whole && (ir->a == V_M || (ir->a < 16 && l->home[ir->a] == H_NONE)))
            return ir->d;
        break;
    case IR_MOVZX:
    case IR_MOVSX:
        if (whole)
            return ir->d;
        break;
    case IR_LEA:
        if (whole && ir->aux >> 4 >= 4)
            return ir->d;
        if (ir->b != V_ZERO && !has_home(l, ir->b))
            return V_NONE;
        return has_home(l, ir->d) && (ir->a == V_ZERO || has_home(l, ir->a)) ? held : V_NONE;
    case IR_ADD:
    case IR_SUB:
    case IR_AND:
    case IR_OR:
    case IR_XOR:
        if (whole && ir->size == 4 && ir->a == ir->d)
            return ir->d;
        break;
    case IR_CMP:
    case IR_TEST:
        break;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
        if (ir->b == V_IMM)
            break;
        return V_NONE;
    default:
        return V_NONE;
    }
    return has_home(l, ir->d) && has_home(l, ir->a) && has_home(l, ir->b) ? held : V_NONE;
}

static void lower_list(struct lower *l)
{
    const struct ir_list *list = l->list;
    unsigned insn = 0;
    l->held = V_NONE;
    lower_forget_shares(l);
    for (l->at = 0; l->at < list->count && !l->failed; l->at++) {
        const struct ir *ir = l->ir = &list->at[l->at];
        struct recipe before = l->flags.recipe;
        if (ir->insn != insn) {
            set_join(l, insn);
            lower_before_insn(l);
        }
        insn = ir->insn;
        if (ir->op == IR_JUMP || ir->op == IR_INDIRECT || ir->op == IR_EVENT)
            set_join(l, insn);
        lower_one(l);
        l->held = held_after(l);
        if (!lower_keeps_shares(l, ir))
            lower_forget_shares(l);
        if (before.op != IR_COUNT && memcmp(&before, &l->flags.recipe, sizeof before) == 0 &&
            !ir->writes && ir_written(ir) & recipe_registers(&before))
            l->flags.recipe.op = IR_COUNT;
    }
    set_join(l, insn);
}

/* The second copy of a loop: behind the first, which runs into it. */
static void lower_loop(struct lower *l)
{
    l->next = true;
    l->flags = l->head;
    l->note = (struct x87_note){0};
    emit_align(l->e, 32);
    l->head_code = l->e->at;
    lower_list(l);
}

/* Where the block goes to become hot: as to an exit of a certain number. */
static uint8_t *emit_promote_stub(struct lower *l)
{
    struct emit *e = l->e;
    if (emit_ok(e))
        emit_patch(l->promote, e->at);
    if (l->exits) {
        emit_byte(e, 0xb0); /* mov al, imm8 */
        emit_byte(e, PROMOTE_NUMBER);
        return emit_jmp8(e);
    }
    emit_mov_ri(e, H_RAX, cache_offset(&l->engine->cache, l->block));
    emit_jmp_to(e, stubs_of(l->engine)->promote);
    return NULL;
}

/* Where unlinked jumps go: their number in AL, then code for several of them, and for `promote`. */
static void emit_exit_stubs(struct lower *l, const struct exit *exits, uint8_t *promote)
{
    struct emit *e = l->e;
    uint8_t *together[STUBS_TOGETHER];
    for (unsigned i = 0; i < l->exits; i++) {
        unsigned number = i % STUBS_TOGETHER;
        bool last = number + 1 == STUBS_TOGETHER || i + 1u == l->exits;
        if (l->exit[i].jump && emit_ok(e))
            emit_patch(l->exit[i].jump, e->at);
        if (l->exit[i].leave && emit_ok(e))
            emit_patch(l->exit[i].leave, e->at);
        emit_byte(e, 0xb0); /* mov al, imm8 */
        emit_byte(e, (uint8_t)number);
        if (!last) { /* it needs no jump */
            together[number] = emit_jmp8(e);
            continue;
        }
        while (number)
            emit_patch8(e, together[--number]);
        if (promote)
            emit_patch8(e, promote);
        promote = NULL;
        emit_mov_ri(e, H_RDX, cache_offset(&l->engine->cache, &exits[i - i % STUBS_TOGETHER]));
        emit_jmp_to(e, stubs_of(l->engine)->exit_number);
    }
}

/* Where the exit's jump is, relative to the block's code or to its stubs. */
static bool place_exit(const struct lower *l, const struct lower_exit *from, struct exit *exit)
{
    exit->slow = from->jump >= l->slow && from->jump < l->e->at;
    ptrdiff_t jump = exit->slow ? l->e->at - from->jump : from->jump - l->start;
    exit->jump = (uint16_t)jump;
    return jump <= UINT16_MAX;
}

/* Describes the exits, and emits where they lead while they are not linked. */
static void describe_exits(struct lower *l, struct exit *exits)
{
    struct cache *cache = &l->engine->cache;
    uint32_t at = cache_offset(cache, exits), block = cache_offset(cache, l->block);
    l->failed |= (at - block) / EXIT_UNIT + l->exits * sizeof(struct exit) > UINT16_MAX;
    l->block->exits = at;
    l->block->exit_count = (uint16_t)l->exits;
    uint8_t *promote = l->promote ? emit_promote_stub(l) : NULL;
    l->block->stubs = (uint32_t)(l->e->at - cache->rw);
    for (unsigned i = 0; i < l->exits && !l->failed; i++) {
        const struct lower_exit *from = &l->exit[i];
        uint64_t distance = from->rip - l->block->rip;
        uint32_t back = cache_offset(cache, &exits[i]) - block;
        exits[i] = (struct exit){.back = (uint16_t)(back / EXIT_UNIT),
                                 .distance = (uint32_t)distance,
                                 .distance_high = (int8_t)(distance >> 32),
                                 .recipe = from->recipe & 0xfff,
                                 .flags = from->flags & 3,
                                 .room = from->room,
                                 .same_page = from->same_page,
                                 .returns = from->returns,
                                 .care = from->care & 3};
        l->failed |= !place_exit(l, from, &exits[i]);
    }
    emit_exit_stubs(l, exits, promote);
}

/* Where code for the window may fault, in the order of the code. */
static void describe_accesses(struct lower *l)
{
    struct cache *cache = &l->engine->cache;
    unsigned count = 0;
    for (unsigned i = 0; i < l->colds; i++)
        count += l->cold[i].kind == COLD_FAULT;
    if (!count)
        return;
    struct window_access *to =
        cache_allocate(cache, count * sizeof *to, _Alignof(struct window_access));
    if (!to) {
        l->failed = true;
        return;
    }
    l->block->accesses = cache_offset(cache, to);
    l->block->check_count = (uint16_t)count;
    for (unsigned i = 0; i < l->colds; i++)
        if (l->cold[i].kind == COLD_FAULT)
            *to++ = (struct window_access){(uint32_t)(l->cold[i].faults - cache->rw),
                                           (uint32_t)(l->cold[i].code - cache->rw)};
    l->failed |= !host_note_window(l->engine, l->block);
}

/* The block's exits, its checks, and their recipes. */
static void describe(struct lower *l)
{
    size_t exits = l->exits * sizeof(struct exit), checks = l->checks * sizeof *l->check;
    size_t recipes = l->recipes * sizeof *l->recipe;
    uint8_t *to =
        cache_allocate(&l->engine->cache, exits + checks + recipes, _Alignof(struct exit));
    l->failed |= !to || !emit_ok(&l->hot) || !emit_ok(l->e);
    if (l->failed)
        return;
    describe_exits(l, (struct exit *)(void *)to);
    memcpy(to + exits, l->check, checks);
    memcpy(to + exits + checks, l->recipe, recipes);
    l->block->check_count = (uint16_t)l->checks;
}

/* Which registers of the host the block keeps for the guest's vectors and x87 state. */
static void find_kept(struct block *block, const struct ir_list *list)
{
    for (unsigned i = 0; i < list->count; i++)
        switch (list->at[i].op) {
        case IR_VECTOR:
            if (list->at[i].aux & IR_VECTOR_YMM)
                block->vectors = KEEPS_YMM;
            else if (!block->vectors && !(list->at[i].aux & IR_VECTOR_NO_XMM))
                block->vectors = KEEPS_XMM;
            block->x87 |= (list->at[i].aux & IR_VECTOR_MMX) != 0;
            break;
        case IR_GATHER:
            block->vectors = KEEPS_YMM;
            break;
        case IR_X87:
        case IR_X87_CONTROL:
            block->x87 = true;
        }
}

size_t host_lower(struct engine *engine, struct block *block, const struct trace *trace,
                  const struct ir_list *list)
{
    struct x86_stubs *stubs = stubs_of(engine);
    struct cache *cache = &engine->cache;
    struct lower *l = &stubs->lower;
    memset(l->join, 0, sizeof l->join);
    memset(l->site, 0, sizeof l->site);
    memset(l->returns, 0, sizeof l->returns);
    l->engine = engine;
    l->block = block;
    l->trace = trace;
    l->list = list;
    enum code_part part = block->hot ? CODE_HOT : CODE_WARM;
    cache_prepare(cache, block->hot ? CODE_HOT : CODE_GUARDS);
    struct cache_region *region = cache_region(cache);
    uint8_t *hot = region->part[part].at, *cold = region->part[CODE_SLOW].at;
    l->hot = emit_between(hot, region->part[part].end);
    l->cold_code = emit_between(cold, region->part[CODE_SLOW].end);
    l->slow = cold;
    l->flags = (struct flags){.slot = ALL, .recipe = {.op = IR_COUNT}};
    l->note = (struct x87_note){0};
    l->bmi2 = stubs->bmi2;
    l->count = engine->count;
    l->colds = 0;
    l->failed = l->next = l->target = false;
    l->exits = l->checks = l->recipes = 0;
    l->promote = NULL;
    l->moves = 0;
    lower_assume_homes(l, false);
    block->loops = list->loop;
    find_kept(block, list);
    block->loaded_needs_flags = list->entry_strict != 0;
    block->passes = list->passes;
    block->changed = list->changed;
    block->needs_flags = block->loaded_needs_flags || block->vectors || block->x87;

    l->e = &l->hot;
    emit_entry(l);
    lower_choose_homes(l);
    if (l->moves)
        lower_take_homes(l);
    lower_list(l);
    if (list->loop && !l->failed)
        lower_loop(l);

    emit_tail(l);
    emit_slow_paths(l);
    describe(l);
    if (!l->failed && emit_ok(&l->hot) && emit_ok(&l->cold_code))
        describe_accesses(l);
    if (l->failed || !emit_ok(&l->hot) || !emit_ok(&l->cold_code))
        return 0;

    if (!block->hot && !cache_note_block(cache, block, l->hot.at))
        return 0;
    size_t straight = (size_t)(l->hot.at - hot), slow = (size_t)(l->cold_code.at - cold);
    log_host(engine, block, hot, straight, cold, slow);
    perf_map_note(engine, block_checked(engine, block), straight, block);
    region->part[part].at = l->hot.at;
    region->part[CODE_SLOW].at = l->cold_code.at;
    return straight + slow;
}
