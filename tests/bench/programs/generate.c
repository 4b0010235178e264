/*
 * Makes data for the workloads, the same everywhere:
 *
 *   generate text BYTES    words with the frequencies of a language, lines, repeated passages
 *   generate code COUNT    a C file with COUNT functions of several kinds
 */
#include <string.h>

#include "bench.h"

/* -- Text -- */

#define WORDS   4096
#define HISTORY (1u << 18)

static void make_words(char words[WORDS][12], uint64_t *random)
{
    static const char vowels[] = "aeiouea", consonants[] = "tnshrdlcmfgpwbvktnsr";
    for (size_t i = 0; i < WORDS; i++) {
        size_t length = 2 + bench_random(random) % 9;
        for (size_t k = 0; k < length; k++)
            words[i][k] = (k + i) % 2 ? vowels[bench_random(random) % (sizeof vowels - 1)]
                                      : consonants[bench_random(random) % (sizeof consonants - 1)];
        words[i][length] = 0;
    }
}

static void write_text(uint64_t bytes)
{
    static char words[WORDS][12], history[HISTORY];
    uint64_t random = 0x5eed, written = 0, column = 0;
    make_words(words, &random);
    while (written < bytes) {
        char piece[64];
        uint64_t dice = bench_random(&random) % 64;
        size_t length;
        if (dice == 0 && written > HISTORY) { /* a passage from before */
            size_t from = bench_random(&random) % (HISTORY - sizeof piece);
            length = 16 + bench_random(&random) % 48;
            memcpy(piece, history + from, length);
        } else if (dice < 4) {
            length = (size_t)snprintf(piece, sizeof piece, "%u ",
                                      (unsigned)(bench_random(&random) % 100000));
        } else { /* small ranks are frequent */
            uint64_t rank = bench_random(&random) % WORDS;
            rank = rank * (bench_random(&random) % WORDS) / WORDS;
            length = (size_t)snprintf(piece, sizeof piece, "%s%s", words[rank * rank / WORDS],
                                      dice < 8 ? ", " : " ");
        }
        column += length;
        if (column > 90) {
            piece[length - 1] = '\n';
            column = 0;
        }
        for (size_t i = 0; i < length; i++)
            history[(written + i) % HISTORY] = piece[i];
        fwrite(piece, 1, length < bytes - written ? length : (size_t)(bytes - written), stdout);
        written += length;
    }
}

/* -- C -- */

static void write_loop(unsigned n, uint64_t *random)
{
    printf("int loop_%u(const int *a, int *b, int n)\n{\n    int sum = %u;\n", n,
           (unsigned)(bench_random(random) % 1000));
    printf("    for (int i = 0; i < n; i++) {\n        int x = a[i] * %u + (a[i] >> %u);\n",
           (unsigned)(bench_random(random) % 99) + 2, (unsigned)(bench_random(random) % 7) + 1);
    printf("        if (x %% %u == 0)\n            sum += b[i ^ 1];\n",
           (unsigned)(bench_random(random) % 30) + 3);
    printf("        else if (x & %u)\n            b[i] = sum - x;\n        sum ^= x << 3;\n    }\n",
           1u << bench_random(random) % 12);
    printf("    return sum;\n}\n\n");
}

static void write_switch(unsigned n, uint64_t *random)
{
    printf("long decide_%u(unsigned what, long value, long *table)\n{\n    switch (what) {\n", n);
    for (unsigned i = 0; i < 6; i++) {
        unsigned number = (unsigned)(bench_random(random) % 5000);
        printf("    case %u:\n        table[%u] += value * %u;\n", i * 3, i, number);
        printf("        return value > %u ? table[%u] : value / %u;\n", number, 7 - i,
               number % 17 + 2);
    }
    printf("    default:\n        return decide_helper(value, table) + %u;\n    }\n}\n\n", n);
}

static void write_structure(unsigned n, uint64_t *random)
{
    printf("struct item_%u { struct item_%u *next; double weight; short tag[%u]; int count; };\n",
           n, n, (unsigned)(bench_random(random) % 6) + 2);
    printf("double walk_%u(struct item_%u *list, double factor)\n{\n", n, n);
    printf("    double total = 0;\n    for (; list; list = list->next) {\n");
    printf("        total += list->weight * factor + list->tag[list->count & 1];\n");
    printf("        if (list->count > %u)\n            list->weight /= 1.0 + total;\n",
           (unsigned)(bench_random(random) % 200));
    printf("        list->count += decide_helper(list->count, 0) != %u;\n    }\n    return total;\n"
           "}\n\n",
           n);
}

static void write_code(uint64_t count)
{
    uint64_t random = 0xc0de;
    printf("long decide_helper(long value, long *table);\n\n");
    for (unsigned n = 0; n < count; n++)
        switch (n % 3) {
        case 0:
            write_loop(n, &random);
            break;
        case 1:
            write_switch(n, &random);
            break;
        default:
            write_structure(n, &random);
            break;
        }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    uint64_t amount = strtoull(argv[2], NULL, 10);
    if (strcmp(argv[1], "text") == 0)
        write_text(amount);
    else if (strcmp(argv[1], "code") == 0)
        write_code(amount);
    else
        return 2;
    return fflush(stdout) == 0 ? 0 : 1;
}
