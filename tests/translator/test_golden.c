/*
 * Golden tests: the host code of chosen guest sequences (golden/NAME.s) is what stands in
 * golden/NAME.expected, so that every change of code generation shows as a difference to review.
 * `make golden-update` (GOLDEN_UPDATE=1) writes the files anew.
 *
 * Addresses are normalized: targets within a block are labels, everything else in the code cache is
 * <out>; fields of struct cpu, which host rsp points to, have their names.
 */
#include "cpu/log.h"
#include "tests/translator/guest.h"
#include "translator/engine.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOLDENS                                                                                    \
    GOLDEN(atomic, PLAIN)                                                                          \
    GOLDEN(call, PLAIN)                                                                            \
    GOLDEN(compound, PLAIN)                                                                        \
    GOLDEN(divide, PLAIN)                                                                          \
    GOLDEN(flags, PLAIN)                                                                           \
    GOLDEN(floating, FLOATS)                                                                       \
    GOLDEN(indirect, PLAIN)                                                                        \
    GOLDEN(loop, PLAIN)                                                                            \
    GOLDEN(memory, PLAIN)                                                                          \
    GOLDEN(multiply, PLAIN)                                                                        \
    GOLDEN(registers, PLAIN)                                                                       \
    GOLDEN(shared, PLAIN)                                                                          \
    GOLDEN(sse, PLAIN)                                                                             \
    GOLDEN(string, PLAIN)                                                                          \
    GOLDEN(window, WINDOW)                                                                         \
    GOLDEN(x87, PLAIN)

#define GOLDEN(name, kind)                                                                         \
    extern const uint8_t golden_##name[], golden_##name##_end[];                                   \
    __asm__(".pushsection .rodata\n.global golden_" #name ", golden_" #name "_end\n"               \
            "golden_" #name ":\n.include \"tests/translator/golden/" #name ".s\"\n"                \
            "golden_" #name "_end:\n.popsection\n");
GOLDENS
#undef GOLDEN

static const struct {
    const char *name;
    const uint8_t *start, *end;
    enum { PLAIN, FLOATS, WINDOW } kind;
} goldens[] = {
#define GOLDEN(name, kind) {#name, golden_##name, golden_##name##_end, kind},
    GOLDENS
#undef GOLDEN
};

#define LINES_MAX 4000
#define LINE_SIZE 200

struct text {
    unsigned count;
    char line[LINES_MAX][LINE_SIZE];
    uint64_t address[LINES_MAX]; /* of host instructions, 0 elsewhere */
};

/* -- Names -- */

static const struct {
    size_t offset, size, each;
    const char *name;
} fields[] = {
#define PART(field)                                                                                \
    {                                                                                              \
        offsetof(struct cpu, field), sizeof(((struct cpu *)0)->field), 0, #field                   \
    }
#define PARTS(field)                                                                               \
    {                                                                                              \
        offsetof(struct cpu, field), sizeof(((struct cpu *)0)->field),                             \
            sizeof(((struct cpu *)0)->field[0]), #field                                            \
    }
#define HOT(field)                                                                                 \
    {                                                                                              \
        offsetof(struct cpu, engine) + offsetof(struct engine_hot, field),                         \
            sizeof(((struct engine_hot *)0)->field), 0, "hot." #field                              \
    }
    PARTS(gpr),
    PART(rip),
    PART(eflags),
    PART(mode),
    PART(mxcsr),
    PART(event),
    PARTS(xmm),
    PARTS(seg),
    PART(x87),
    PART(tlb),
    PART(cr0),
    PART(cr2),
    PART(cr3),
    PART(insn),
    PART(next_rip),
    PART(instructions),
    PART(shadow),
    PART(code),
    HOT(overflow),
    HOT(table_mask),
    HOT(shift),
    HOT(vectors_loaded),
    HOT(x87_loaded),
    HOT(exit),
    HOT(returns),
    HOT(jumps),
    HOT(scratch),
    HOT(host_sp),
    HOT(mxcsr_host),
    HOT(mxcsr_saved),
    HOT(instructions),
    {offsetof(struct cpu, engine) + offsetof(struct engine_hot, high),
     sizeof(((struct engine_hot *)0)->high), sizeof(uint64_t), "hot.high"},
    {offsetof(struct cpu, engine) + offsetof(struct engine_hot, share),
     sizeof(((struct engine_hot *)0)->share), sizeof(uint64_t), "hot.share"},
};

static void name_field(char *out, size_t size, uint64_t offset)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        uint64_t inside = offset - fields[i].offset;
        if (offset < fields[i].offset || inside >= fields[i].size)
            continue;
        int length = snprintf(out, size, "%s", fields[i].name);
        if (fields[i].each) {
            length += snprintf(out + length, size - (size_t)length, "[%u]",
                               (unsigned)(inside / fields[i].each));
            inside %= fields[i].each;
        }
        if (inside)
            snprintf(out + length, size - (size_t)length, "+%u", (unsigned)inside);
        return;
    }
    snprintf(out, size, "cpu+?");
}

/* -- Normalizing -- */

/* Reads what the translator logged: guest instructions, host instructions with their addresses. */
static void read_log(FILE *log, struct text *text)
{
    char line[LINE_SIZE];
    bool host = false;
    rewind(log);
    text->count = 0;
    while (fgets(line, sizeof line, log) && text->count < LINES_MAX) {
        unsigned long long address;
        int start = 0;
        size_t length = strcspn(line, "\n");
        while (length && line[length - 1] == ' ')
            length--;
        line[length] = 0;
        if (strncmp(line, "--", 2) == 0)
            host = strstr(line, "host code") != NULL;
        text->address[text->count] = 0;
        if (host && sscanf(line, " %llx %n", &address, &start) == 1 && start > 10) {
            text->address[text->count] = address;
            snprintf(text->line[text->count++], LINE_SIZE, "%s", line + start);
        } else if (!strstr(line, "bytes")) { /* sizes of the parts follow from the lines */
            snprintf(text->line[text->count++], LINE_SIZE, "%s", line);
        }
    }
}

static bool is_transfer(const char *line)
{
    return line[0] == 'j' || strncmp(line, "call 0x", 7) == 0;
}

/* The line of [first, end) that an instruction of it jumps to; `end` if it goes elsewhere. */
static unsigned find_target(const struct text *text, unsigned first, unsigned end, unsigned i)
{
    const char *number = is_transfer(text->line[i]) ? strstr(text->line[i], "0x") : NULL;
    for (unsigned k = first; number && k < end; k++)
        if (text->address[k] == strtoull(number, NULL, 16))
            return k;
    return end;
}

/* Writes one host instruction with names instead of numbers that change from run to run or with
 * the layout of structures. */
static void write_host(FILE *out, const struct text *text, unsigned end, unsigned i, unsigned label)
{
    const char *line = text->line[i], *number;
    char name[80];
    if (is_transfer(line) && !strchr(line, '[') && (number = strstr(line, "0x"))) {
        fprintf(out, "%.*s", (int)(number - line), line);
        fprintf(out, label ? "L%u\n" : "<out>\n", label);
    } else if ((number = strstr(line, "[rsp"))) {
        uint64_t offset = number[4] == ' ' ? strtoull(number + 7, NULL, 0) : 0;
        name_field(name, sizeof name, offset);
        fprintf(out, "%.*s[%s%s\n", (int)(number - line), line, name, strchr(number, ']'));
    } else if ((number = strstr(line, ", 0x")) && strtoull(number + 2, NULL, 16) >> 32) {
        fprintf(out, "%.*s, <pointer>\n", (int)(number - line), line);
    } else if ((number = strstr(line, "[rip"))) {
        const char *what = strncmp(line, "lea", 3) ? "countdown" : "return";
        fprintf(out, "%.*s[%s%s\n", (int)(number - line), line, what, strchr(number, ']'));
    } else if (strncmp(line, "mov e", 5) == 0 && strncmp(line + 6, "x, 0x", 5) == 0 &&
               strchr("ad", line[5]) && i + 1 < end && is_transfer(text->line[i + 1]) &&
               strtoull(line + 9, NULL, 16) > 0xff) {
        fprintf(out, "mov e%cx, <%s>\n", line[5], line[5] == 'a' ? "site" : "exits");
    } else {
        fprintf(out, "%s\n", line);
    }
}

/* The instructions of a block, with labels where jumps of it lead. */
static void write_block(FILE *out, const struct text *text, unsigned first, unsigned end)
{
    static unsigned labels[LINES_MAX + 1];
    unsigned count = 0;
    memset(labels, 0, sizeof labels);
    for (unsigned i = first; i < end; i++)
        labels[find_target(text, first, end, i)] = 1;
    labels[end] = 0;
    for (unsigned i = first; i < end; i++)
        labels[i] = labels[i] ? ++count : 0;
    for (unsigned i = first; i < end; i++) {
        if (labels[i])
            fprintf(out, "L%u:\n", labels[i]);
        fprintf(out, "     ");
        write_host(out, text, end, i, labels[find_target(text, first, end, i)]);
    }
}

static void write_normalized(FILE *out, const struct text *text)
{
    for (unsigned i = 0; i < text->count;) {
        unsigned end = i;
        while (end < text->count && text->address[end])
            end++;
        write_block(out, text, i, end);
        if (end < text->count)
            fprintf(out, "%s\n", text->line[end]);
        i = end + 1;
    }
}

/* -- The test -- */

/* Translates a sequence when its memory is in the TLB already; writes the normalized log. */
static bool write_translation(FILE *out, unsigned n, bool hot)
{
    static struct text text;
    translator_options = (struct translator_options){.threshold = 3,
                                                     .hot = !hot                        ? 1000000
                                                            : goldens[n].kind == FLOATS ? 2
                                                                                        : 1,
                                                     .float_all = goldens[n].kind == FLOATS};
    struct guest *guest = guest_new(&accel_translator, GUEST_64);
    log_file = tmpfile();
    if (!log_file)
        return false;
    log_items = LOG_IN | LOG_OUT;
    guest_load(guest, GUEST_CODE, goldens[n].start, (size_t)(goldens[n].end - goldens[n].start));
    for (unsigned run = 0; run < 6; run++) {
        guest->cpu->rip = GUEST_CODE;
        guest->cpu->gpr[RSP] = GUEST_STACK;
        guest->cpu->halted = false;
        if (goldens[n].kind == WINDOW) /* as if it were user code */
            guest->cpu->mode |= MODE_WINDOW;
        if (!guest_run(guest))
            printf("%s: the guest did not halt\n", goldens[n].name);
    }
    log_items = 0;
    read_log(log_file, &text);
    fclose(log_file);
    log_file = NULL;
    fprintf(out, "==== %s\n", hot ? "hot" : "warm");
    write_normalized(out, &text);
    guest_free(guest);
    return true;
}

static char *host_code_of(unsigned n)
{
    char *result = NULL;
    size_t size;
    FILE *out = open_memstream(&result, &size);
    bool done = write_translation(out, n, false) && write_translation(out, n, true);
    fclose(out);
    return done ? result : NULL;
}

static bool write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return false;
    fputs(text, file);
    return fclose(file) == 0;
}

/* Prints the differences; true if there are none. */
static bool compare(const char *name, const char *text)
{
    char path[128], found[] = "/tmp/golden-XXXXXX", command[300];
    int file = mkstemp(found);
    if (file < 0)
        return false;
    close(file);
    snprintf(path, sizeof path, "tests/translator/golden/%s.expected", name);
    snprintf(command, sizeof command, "diff -u %s %s", path, found);
    bool same = write_file(found, text) && system(command) == 0;
    unlink(found);
    return same;
}

int main(void)
{
    bool same = true;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2")) {
        printf("the host has no AVX2 and BMI2, with which the expected code was made\n");
        return 77;
    }
    for (unsigned n = 0; n < sizeof goldens / sizeof *goldens; n++) {
        char path[128];
        char *text = host_code_of(n);
        snprintf(path, sizeof path, "tests/translator/golden/%s.expected", goldens[n].name);
        if (!text)
            same = false;
        else if (getenv("GOLDEN_UPDATE"))
            same &= write_file(path, text);
        else
            same &= compare(goldens[n].name, text);
        free(text);
    }
    if (!same)
        printf("Review the differences; `make golden-update` accepts them.\n");
    return same ? 0 : 1;
}
