/*
 * Runs the captured 80286 real-mode vectors (SingleStepTests, MOO format) on an engine and compares
 * registers, memory and defined flags.
 *
 *     vectors [--accel NAME] [--max-insns N] [--verbose] [DIRECTORY [OPCODE...]]
 *
 * Prints a line for each opcode. Differences between the 80286 and the 80386 and later stand in the
 * table `differences`, each with its reason; they are counted apart. A directory that does not
 * exist skips the test (exit status 77).
 */
#include "tests/cpu/board.h"
#include "tests/cpu/engines.h"

#include "cpu/decode.h"
#include "cpu/system.h"

#include <dirent.h>
#include <pthread.h>
#include <unistd.h>
#include <zlib.h>

/* -- MOO files -- */

enum { MAX_RAM = 4096, NREGS = 14 };
enum moo_register {
    M_AX,
    M_BX,
    M_CX,
    M_DX,
    M_CS,
    M_SS,
    M_DS,
    M_ES,
    M_SP,
    M_BP,
    M_SI,
    M_DI,
    M_IP,
    M_FLAGS
};
static const char *const register_names[NREGS] = {"ax", "bx", "cx", "dx", "cs", "ss", "ds",
                                                  "es", "sp", "bp", "si", "di", "ip", "flags"};

struct moo_state {
    uint16_t reg[NREGS];
    uint16_t present; /* bit by enum moo_register */
    unsigned ram_count;
    struct {
        uint32_t address;
        uint8_t value;
    } ram[MAX_RAM];
};

struct moo_test {
    char name[96];
    uint8_t bytes[16];
    unsigned length;
    struct moo_state initial, final;
    int exception; /* -1 none */
};

#include "tests/cpu/vectors_differences.h"

struct reader {
    const uint8_t *data;
    size_t left;
};

static uint32_t get(struct reader *r, unsigned size)
{
    uint32_t value = 0;
    if (r->left < size) {
        r->left = 0;
        return 0;
    }
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)r->data[i] << (8 * i);
    r->data += size;
    r->left -= size;
    return value;
}

/* The next chunk's tag and body; false at the end. */
static bool chunk(struct reader *r, char tag[5], struct reader *body)
{
    if (r->left < 8)
        return false;
    memcpy(tag, r->data, 4);
    tag[4] = 0;
    r->data += 4;
    r->left -= 4;
    uint32_t length = get(r, 4);
    if (length > r->left)
        return false;
    *body = (struct reader){r->data, length};
    r->data += length;
    r->left -= length;
    return true;
}

static void read_state(struct reader body, struct moo_state *state)
{
    char tag[5];
    struct reader part;
    while (chunk(&body, tag, &part)) {
        if (!strcmp(tag, "REGS")) {
            state->present = (uint16_t)get(&part, 2);
            for (unsigned i = 0; i < NREGS; i++)
                if (state->present >> i & 1)
                    state->reg[i] = (uint16_t)get(&part, 2);
        } else if (!strcmp(tag, "RAM ")) {
            unsigned count = get(&part, 4);
            for (unsigned i = 0; i < count && i < MAX_RAM; i++) {
                state->ram[i].address = get(&part, 4);
                state->ram[i].value = (uint8_t)get(&part, 1);
                state->ram_count = i + 1;
            }
        }
    }
}

static void read_test(struct reader body, struct moo_test *test)
{
    char tag[5];
    struct reader part;

    memset(test, 0, sizeof *test);
    test->exception = -1;
    get(&body, 4);
    while (chunk(&body, tag, &part)) {
        if (!strcmp(tag, "NAME")) {
            uint32_t length = get(&part, 4);
            snprintf(test->name, sizeof test->name, "%.*s",
                     (int)(length < part.left ? length : part.left), (const char *)part.data);
        } else if (!strcmp(tag, "BYTS")) {
            test->length = get(&part, 4);
            for (unsigned i = 0; i < test->length && i < sizeof test->bytes; i++)
                test->bytes[i] = (uint8_t)get(&part, 1);
        } else if (!strcmp(tag, "INIT")) {
            read_state(part, &test->initial);
        } else if (!strcmp(tag, "FINA")) {
            read_state(part, &test->final);
        } else if (!strcmp(tag, "EXCP")) {
            test->exception = (int)get(&part, 1);
        }
    }
    /* An 80286 reads the top four bits of FLAGS as 0 in real mode. */
    test->initial.reg[M_FLAGS] &= 0x0fff;
}

/* The whole file, unpacked; the caller frees. */
static uint8_t *read_file(const char *path, size_t *length)
{
    gzFile file = gzopen(path, "rb");
    size_t capacity = 1 << 20;
    uint8_t *data = malloc(capacity);

    *length = 0;
    if (!file || !data) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    for (int got; (got = gzread(file, data + *length, (unsigned)(capacity - *length))) > 0;) {
        *length += (size_t)got;
        if (*length == capacity) {
            capacity *= 2;
            data = realloc(data, capacity);
            if (!data)
                exit(2);
        }
    }
    gzclose(file);
    return data;
}

/* -- The processor in the state of a test -- */

static uint32_t open_bus_read(void *opaque, struct cpu *cpu, uint16_t port, unsigned size)
{
    return ~0u;
}

static void open_bus_write(void *opaque, struct cpu *cpu, uint16_t port, uint32_t value,
                           unsigned size)
{
}

enum { RAM_SIZE = 16 << 20, MAX_PAGES = 64 };

struct run {
    struct board *board;
    bool verbose;
    gpa_t written[MAX_PAGES]; /* pages that the guest stored to */
    unsigned written_count;
    uint8_t *expected; /* RAM as it should be */
    _Atomic unsigned tests_started;
    unsigned by_difference[DIFFERENCES];
};

/* Stops a test that runs for more than two seconds. */
static void *watchdog(void *opaque)
{
    struct run *run = opaque;
    for (unsigned before = ~0u;;) {
        unsigned now = atomic_load(&run->tests_started);
        if (now == before)
            cpu_post(run->board->cpu, EVENT_STOP);
        before = now;
        sleep(2);
    }
    return NULL;
}

static void on_written(struct board *board, gpa_t gpa)
{
    struct run *run = board->opaque;
    if (run->written_count < MAX_PAGES)
        run->written[run->written_count++] = gpa & ~0xfffull;
}

static void set_segment(struct cpu *cpu, unsigned seg, uint16_t selector)
{
    cpu->seg[seg].selector = selector;
    cpu->seg[seg].base = (uint32_t)selector << 4;
}

static void load_state(struct run *run, const struct moo_state *state)
{
    static const uint8_t gpr[] = {[M_AX] = RAX, [M_BX] = RBX, [M_CX] = RCX, [M_DX] = RDX,
                                  [M_SP] = RSP, [M_BP] = RBP, [M_SI] = RSI, [M_DI] = RDI};
    struct cpu *cpu = run->board->cpu;

    cpu_reset(cpu);
    for (unsigned i = 0; i < M_IP; i++)
        if (i < M_CS || i > M_ES)
            cpu->gpr[gpr[i]] = state->reg[i];
    set_segment(cpu, SEG_CS, state->reg[M_CS]);
    set_segment(cpu, SEG_SS, state->reg[M_SS]);
    set_segment(cpu, SEG_DS, state->reg[M_DS]);
    set_segment(cpu, SEG_ES, state->reg[M_ES]);
    cpu->idtr.limit = 0x3ff;
    cpu->rip = state->reg[M_IP];
    cpu->eflags = state->reg[M_FLAGS] | FLAG_FIXED;
    for (unsigned i = 0; i < state->ram_count; i++) {
        run->board->ram[state->ram[i].address] = state->ram[i].value;
        run->expected[state->ram[i].address] = state->ram[i].value;
    }
    cpu_update_mode(cpu);
    board_ram_changed(run->board);
}

static uint16_t actual_register(const struct cpu *cpu, unsigned i)
{
    switch (i) {
    case M_AX:
        return (uint16_t)cpu->gpr[RAX];
    case M_BX:
        return (uint16_t)cpu->gpr[RBX];
    case M_CX:
        return (uint16_t)cpu->gpr[RCX];
    case M_DX:
        return (uint16_t)cpu->gpr[RDX];
    case M_CS:
        return cpu->seg[SEG_CS].selector;
    case M_SS:
        return cpu->seg[SEG_SS].selector;
    case M_DS:
        return cpu->seg[SEG_DS].selector;
    case M_ES:
        return cpu->seg[SEG_ES].selector;
    case M_SP:
        return (uint16_t)cpu->gpr[RSP];
    case M_BP:
        return (uint16_t)cpu->gpr[RBP];
    case M_SI:
        return (uint16_t)cpu->gpr[RSI];
    case M_DI:
        return (uint16_t)cpu->gpr[RDI];
    case M_IP:
        return (uint16_t)cpu->rip;
    default:
        return (uint16_t)cpu->eflags;
    }
}

static void clear_ram(struct run *run, const struct moo_test *test)
{
    const struct moo_state *states[] = {&test->initial, &test->final};
    for (unsigned s = 0; s < 2; s++) {
        for (unsigned i = 0; i < states[s]->ram_count; i++) {
            run->board->ram[states[s]->ram[i].address] = 0;
            run->expected[states[s]->ram[i].address] = 0;
        }
    }
    for (unsigned i = 0; i < run->written_count; i++)
        memset(run->board->ram + run->written[i], 0, 4096);
}

/* Runs one test; describes the first difference and returns false if there is one. */
static bool run_test(struct run *run, const struct moo_test *test, uint16_t flags_mask, char *text,
                     size_t size)
{
    struct cpu *cpu = run->board->cpu;
    bool same = true;

    run->written_count = 0;
    load_state(run, &test->initial);
    atomic_fetch_add(&run->tests_started, 1);
    enum cpu_exit why = cpu_run(cpu);

    snprintf(text, size, "%s", "");
    if (why != CPU_EXIT_HALTED) {
        snprintf(text, size, "did not reach HLT (exit %d) at %04x:%04x", (int)why,
                 cpu->seg[SEG_CS].selector, (unsigned)cpu->rip);
        same = false;
    }
    for (unsigned i = 0; i < NREGS && same; i++) {
        uint16_t expected =
            test->final.present >> i & 1 ? test->final.reg[i] : test->initial.reg[i];
        uint16_t actual = actual_register(cpu, i);
        uint16_t mask = i == M_FLAGS ? flags_mask & 0x0fff : 0xffff;
        if ((expected ^ actual) & mask) {
            snprintf(text, size, "%s is %04x, not %04x", register_names[i], actual, expected);
            same = false;
        }
    }
    for (unsigned i = 0; i < test->final.ram_count; i++)
        run->expected[test->final.ram[i].address] = test->final.ram[i].value;
    if (test->exception >= 0) {
        /* The pushed flags: only the defined ones, and none of the top four. (The vectors give
         * their address rounded down to even.) */
        for (unsigned i = 0; i < 2; i++) {
            uint16_t offset = (uint16_t)(actual_register(cpu, M_SP) + 4 + i);
            uint32_t address = (uint32_t)(cpu->seg[SEG_SS].base + offset);
            uint8_t mask = (uint8_t)((flags_mask & 0x0fff) >> (8 * i));
            uint8_t actual = run->board->ram[address];
            run->expected[address] = (uint8_t)((run->expected[address] & mask) | (actual & ~mask));
        }
    }
    for (unsigned i = 0; i < test->final.ram_count && same; i++) {
        uint32_t address = test->final.ram[i].address;
        if (run->board->ram[address] != run->expected[address]) {
            snprintf(text, size, "memory %06x is %02x, not %02x", address, run->board->ram[address],
                     run->expected[address]);
            same = false;
        }
    }
    for (unsigned p = 0; p < run->written_count && same; p++) {
        for (gpa_t a = run->written[p]; a < run->written[p] + 4096 && same; a++) {
            if (run->board->ram[a] != run->expected[a]) {
                snprintf(text, size, "stray store: memory %06x is %02x, not %02x", (unsigned)a,
                         run->board->ram[a], run->expected[a]);
                same = false;
            }
        }
    }
    clear_ram(run, test);
    return same;
}

/* -- Flags masks: metadata.json -- */

/* Which flags an opcode defines, by the file's own name; all if it does not say. For shifts by an
 * immediate the file has the mask of a count of 1 or none: the rows of shifts by CL hold for them.
 */
static uint16_t flags_mask_of(const char *metadata, const char *opcode)
{
    char key[32];
    const char *scope = metadata;
    const char *dot = strchr(opcode, '.');

    snprintf(key, sizeof key, "\"%.*s\":", dot ? (int)(dot - opcode) : (int)strlen(opcode), opcode);
    if (!strncmp(opcode, "C0.", 3) || !strncmp(opcode, "C1.", 3))
        key[1] = 'D', key[2] = opcode[1] == '0' ? '2' : '3';
    scope = strstr(scope, key);
    if (!scope)
        return 0xffff;
    if (dot) { /* "reg": {"4": {...}} within the opcode's object */
        snprintf(key, sizeof key, "\"%s\":", dot + 1);
        scope = strstr(scope, "\"reg\":");
        scope = scope ? strstr(scope, key) : NULL;
        if (!scope)
            return 0xffff;
    }
    const char *end = strchr(scope, '}');
    const char *mask = strstr(scope, "\"flags-mask\":");
    return mask && end && mask < end ? (uint16_t)atoi(mask + 13) : 0xffff;
}

/* -- Main -- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_moo(const struct dirent *entry)
{
    const char *dot = strstr(entry->d_name, ".MOO.gz");
    return dot && dot[7] == 0;
}

struct totals {
    unsigned tests, passed, different, failed;
};

static struct totals run_file(struct run *run, const char *directory, const char *file,
                              const char *metadata)
{
    char path[1024], opcode[32], text[160];
    size_t length;
    struct totals totals = {0};
    unsigned by_difference[DIFFERENCES] = {0};
    static struct moo_test test;

    snprintf(path, sizeof path, "%s/%s", directory, file);
    snprintf(opcode, sizeof opcode, "%.*s", (int)(strstr(file, ".MOO") - file), file);
    uint8_t *data = read_file(path, &length);
    struct reader reader = {data, length}, body;
    uint16_t mask = flags_mask_of(metadata, opcode);
    char tag[5];

    while (chunk(&reader, tag, &body)) {
        if (strcmp(tag, "TEST"))
            continue;
        read_test(body, &test);
        totals.tests++;
        const struct difference *difference = find_difference(&test);
        if (difference) {
            totals.different++;
            run->by_difference[difference - differences]++;
            by_difference[difference - differences]++;
            if (run->verbose)
                printf("%s #%u %s: not run: %s\n", opcode, totals.tests, test.name,
                       difference->reason);
        } else if (run_test(run, &test, mask, text, sizeof text)) {
            totals.passed++;
        } else {
            totals.failed++;
            if (totals.failed <= 3 || run->verbose)
                printf("%s #%u %s: %s\n", opcode, totals.tests, test.name, text);
        }
    }
    free(data);
    printf("%-6s %3u of %u passed", opcode, totals.passed, totals.tests);
    if (totals.failed)
        printf(", %u FAILED", totals.failed);
    for (unsigned i = 0; i < DIFFERENCES; i++)
        if (by_difference[i])
            printf("; %u differ: %s", by_difference[i], differences[i].reason);
    printf("\n");
    return totals;
}

int main(int argc, char **argv)
{
    const struct accel *accel = &accel_interpreter;
    const char *directory = NULL;
    bool verbose = false;
    unsigned max_insns = 0;
    int first_opcode = argc;
    char path[1024];

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--accel") && i + 1 < argc) {
            accel = engine_find(argv[++i]);
            if (!accel) {
                fprintf(stderr, "there is no engine '%s'\n", argv[i]);
                return 2;
            }
        } else if (!strcmp(argv[i], "--max-insns") && i + 1 < argc) {
            max_insns = (unsigned)atoi(argv[++i]);
        } else if (!strcmp(argv[i], "--verbose")) {
            verbose = true;
        } else if (!directory) {
            directory = argv[i];
            first_opcode = i + 1;
        }
    }
    if (!directory)
        directory = "../shared/vectors/80286";

    struct dirent **names;
    int count = scandir(directory, &names, is_moo, by_name);
    if (count <= 0) {
        printf("no captured vectors in %s\n", directory);
        return 77;
    }
    snprintf(path, sizeof path, "%s/metadata.json", directory);
    size_t length;
    uint8_t *raw = read_file(path, &length);
    char *metadata = calloc(1, length + 1);
    memcpy(metadata, raw, length);
    free(raw);

    engine_set_options(1, max_insns, false); /* every instruction is executed once or twice only */
    struct run run = {.board = board_new(RAM_SIZE, "default", accel), .verbose = verbose};
    run.expected = calloc(1, RAM_SIZE);
    run.board->opaque = &run;
    run.board->written = on_written;
    run.board->log_dirty = true;
    run.board->bus.io_read = open_bus_read;
    run.board->bus.io_write = open_bus_write;
    pthread_t thread;
    pthread_create(&thread, NULL, watchdog, &run);

    struct totals all = {0};
    for (int i = 0; i < count; i++) {
        bool wanted = first_opcode >= argc;
        for (int o = first_opcode; o < argc; o++) {
            size_t n = strlen(argv[o]);
            wanted |= !strncmp(names[i]->d_name, argv[o], n) && names[i]->d_name[n] == '.';
        }
        if (wanted) {
            struct totals t = run_file(&run, directory, names[i]->d_name, metadata);
            all.tests += t.tests;
            all.passed += t.passed;
            all.different += t.different;
            all.failed += t.failed;
        }
        free(names[i]);
    }
    free(names);
    printf("%u tests on '%s': %u passed, %u differ by design, %u failed\n", all.tests, accel->name,
           all.passed, all.different, all.failed);
    for (unsigned i = 0; i < DIFFERENCES; i++)
        if (run.by_difference[i])
            printf("%5u differ: %s\n", run.by_difference[i], differences[i].reason);
    if (verbose && accel->stats)
        accel->stats(run.board->cpu, stdout);
    pthread_cancel(thread); /* asleep, or about to be */
    pthread_join(thread, NULL);
    board_free(run.board);
    free(run.expected);
    free(metadata);
    return all.failed || !all.tests ? 1 : 0;
}
