/*
 * Shifts: code of programs is translated once for all addresses that it is executed at.
 *
 * Systems load a program and its libraries at other addresses each time (ASLR), so a script that
 * starts a hundred programs executes the same pages of the C library at a hundred addresses. In
 * 64-bit user mode warm blocks therefore float: their rip is an address by which the translation
 * is known, its origin, and the shift, the distance from there to where the code is executed, is in
 * struct engine_hot while they run. They add it to what the guest sees of addresses: return
 * addresses, RIP-relative operands, rip when they leave. The check of a page that they call looks
 * for it where it is with the shift.
 *
 * All blocks that direct jumps lead to from one another have the same shift, which therefore stays
 * as it is when they are linked. Tables of jumps and returns note the shift besides the code. So
 * the pages of one file must have origins as far from one another as they are mapped: a page that
 * is come to by a direct jump gets its origin from the shift of the block that jumped, another from
 * that of its neighbours. If the guess was wrong, an exit finds a block whose origin does not fit,
 * and the code is translated once more.
 *
 * Hot blocks are for one shift only: so they have constant addresses, whose checks are shorter. The
 * warm block stays, and leads to the hot one if the shift is the one that that was made for.
 */
#include "translator/engine.h"

/* What is near enough to belong to the same file, or to one that is mapped with it. */
#define NEIGHBOUR_MAX (64ull << 20)

/* What lies lower is a program that has its addresses fixed, with which it is smaller. From what
 * lies higher direct jumps may lead to addresses that are not canonical, with a shift or without.
 */
#define FLOAT_MIN (1ull << 32)
#define FLOAT_MAX ((1ull << 47) - (1ull << 32))

bool shift_is_useful(const struct engine *engine)
{
    uint32_t mode = engine->cpu->mode;
    if (!(mode & MODE_CODE64) || !(mode & MODE_PAGING) || engine->options.hot == 1)
        return false;
    return (mode & MODE_CPL) == 3 || engine->options.float_all;
}

bool shift_is_possible(const struct engine *engine, uint64_t rip)
{
    uint64_t min = engine->options.float_all ? 0 : FLOAT_MIN;
    return engine->current_space->floats && rip - min < FLOAT_MAX - min;
}

static struct origin *origin_of(struct engine *engine, gpa_t page)
{
    uint64_t hash = (page >> 12) * 0x9e3779b97f4a7c15ull;
    return &engine->origin[hash >> (64 - ORIGIN_BITS)];
}

/* Code with this shift has been executed in the page. */
static void note_recent(struct engine *engine, uint64_t page, uint64_t shift)
{
    unsigned i = 0;
    while (i < RECENT_SHIFTS && engine->recent_shift[i].shift != shift)
        i++;
    if (i == RECENT_SHIFTS) {
        i = engine->next_shift;
        engine->next_shift = (i + 1) % RECENT_SHIFTS;
    }
    engine->recent_shift[i] = (struct recent_shift){shift, page};
}

/* The shift of the code nearest to the page. */
static uint64_t guess(const struct engine *engine, uint64_t page)
{
    uint64_t shift = 0, nearest = NEIGHBOUR_MAX;
    for (unsigned i = 0; i < RECENT_SHIFTS; i++) {
        const struct recent_shift *recent = &engine->recent_shift[i];
        uint64_t distance = recent->page > page ? recent->page - page : page - recent->page;
        if (recent->page && distance < nearest) {
            nearest = distance;
            shift = recent->shift;
        }
    }
    return shift;
}

void shift_select(struct engine *engine, gpa_t gpa, const struct exit *exit)
{
    struct engine_hot *hot = engine_hot(engine->cpu);
    const struct space *space = engine->current_space;
    if (!space->floats)
        return;
    uint64_t page = engine->cpu->rip & ~0xfffull;
    gpa &= ~0xfffull;
    bool known = exit && &engine->space[exit_from(engine, exit)->space] == space;
    uint64_t shift = known ? hot->shift : 0;
    if (!shift_is_possible(engine, page)) {
        hot->shift = 0;
        return;
    }
    struct origin *origin = origin_of(engine, gpa);
    if (origin->page && origin->gpa == gpa && page - origin->page == hot->shift)
        return; /* as it was: most often */
    if (!known)
        shift = origin->page && origin->gpa == gpa ? page - origin->page : guess(engine, page);
    if (!shift_is_possible(engine, page - shift))
        shift = 0;
    *origin = (struct origin){gpa, page - shift};
    note_recent(engine, page, shift);
    hot->shift = shift;
}
