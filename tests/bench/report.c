/* Medians, ratios, means beside their targets, and the JSON file (bench.h). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/bench.h"

#define CLOCK_SLACK   0.05 /* how far a guest's clock may be from the host's */
#define CLOCK_SLACK_S 0.05

const char *const group_names[GROUPS] = {"start", "integer", "FP, SIMD", "system"};

enum { QEMU_SLOWDOWN, DOPPEL_SLOWDOWN, SPEEDUP, RATIOS };

struct figures {
    double seconds[SYSTEMS], ratios[RATIOS], spread;
};

/* -- Figures -- */

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* What a workload took on a system by a clock: the median, and (max - min) / median. */
static double median(const struct series *series, enum clock clock, double *spread)
{
    double sorted[MAX_ROUNDS];
    size_t count = (size_t)series->count;
    *spread = 0;
    if (count == 0)
        return NOT_MEASURED;
    memcpy(sorted, series->seconds[clock], count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_doubles);
    double middle = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    if (middle > 0)
        *spread = (sorted[count - 1] - sorted[0]) / middle;
    return middle;
}

/* Quotient of two measured values, or NOT_MEASURED. */
static double ratio(double over, double under)
{
    return over > 0 && under > 0 ? over / under : NOT_MEASURED;
}

static struct figures figures_of(const struct bench *bench, size_t workload)
{
    /* A boot has no native counterpart, and its clock starts late: the wall clock counts. */
    enum clock clock = workload == BOOT && bench->clock == GUEST ? HOST : bench->clock;
    struct figures figures = {.spread = 0};
    for (int system = 0; system < SYSTEMS; system++) {
        double own;
        figures.seconds[system] = median(&bench->series[system][workload], clock, &own);
        figures.spread = own > figures.spread ? own : figures.spread;
    }
    figures.ratios[QEMU_SLOWDOWN] = ratio(figures.seconds[QEMU], figures.seconds[NATIVE]);
    figures.ratios[DOPPEL_SLOWDOWN] = ratio(figures.seconds[DOPPEL], figures.seconds[NATIVE]);
    figures.ratios[SPEEDUP] = ratio(figures.seconds[QEMU], figures.seconds[DOPPEL]);
    return figures;
}

/* Geometric mean of a ratio over the wanted workloads of the groups in `mask`; a boot never counts.
 */
static double mean_of(const struct bench *bench, int kind, unsigned mask)
{
    double logarithms = 0;
    int count = 0;
    for (size_t i = BOOT + 1; i < workload_count; i++) {
        if (!bench->wanted[i] || !(mask & 1u << workloads[i].group))
            continue;
        double value = figures_of(bench, i).ratios[kind];
        if (value > 0) {
            logarithms += log(value);
            count++;
        }
    }
    return count ? exp(logarithms / count) : NOT_MEASURED;
}

/* -- Table -- */

static void print_cell(double value, const char *unit, int decimals)
{
    if (value < 0)
        printf(" %10s", "-");
    else
        printf(" %*.*f%s", 10 - (int)strlen(unit), decimals, value, unit);
}

static void print_mean(const struct bench *bench, const char *name, unsigned mask)
{
    printf("%-12s %10s %10s %10s", name, "", "", "");
    for (int kind = 0; kind < RATIOS; kind++)
        print_cell(mean_of(bench, kind, mask), "x", 2);
    printf("\n");
}

static void print_table(const struct bench *bench)
{
    static const char *const head[][8] = {
        {"", "native", "QEMU", "doppel", "QEMU /", "doppel /", "QEMU /", ""},
        {"workload", "s", "s", "s", "native", "native", "doppel", "spread"}};
    printf("\n");
    for (int row = 0; row < 2; row++) {
        printf("%-12s", head[row][0]);
        for (int column = 1; column < 8; column++)
            printf(" %*s", column < 7 ? 10 : 8, head[row][column]);
        printf("\n");
    }
    for (size_t i = 0; i < workload_count; i++) {
        if (!bench->wanted[i])
            continue;
        struct figures figures = figures_of(bench, i);
        printf("%-12s", workloads[i].name);
        for (int system = 0; system < SYSTEMS; system++)
            print_cell(figures.seconds[system], "", 3);
        for (int kind = 0; kind < RATIOS; kind++)
            print_cell(figures.ratios[kind], "x", 2);
        printf(" %7.0f%%\n", figures.spread * 100);
    }
    for (int group = INTEGER; group < GROUPS; group++) {
        char name[32];
        snprintf(name, sizeof name, "= %s", group_names[group]);
        print_mean(bench, name, 1u << group);
    }
    print_mean(bench, "= all", ~0u);
    if (bench->wanted[BOOT])
        for (int system = QEMU; system < SYSTEMS; system++) {
            double spread, uptime = median(&bench->series[system][BOOT], GUEST, &spread);
            if (uptime >= 0)
                printf("boot under %s: the guest's own clock says %.2f s\n", system_names[system],
                       uptime);
        }
    printf("Times are medians by the %s clock; spread is the largest (max - min) / median; means\n"
           "are geometric, without boot. Right column above 1: doppel is faster than QEMU.\n",
           clock_names[bench->clock]);
}

/* -- Targets -- */

static void print_target(const char *what, double value, double target, bool at_least)
{
    if (value < 0)
        return;
    bool met = at_least ? value >= target : value <= target;
    printf("  %-44s %6.2fx  %s %.2fx  %s\n", what, value, at_least ? "at least" : "at most ",
           target, met ? "met" : "NOT MET");
}

static bool has_targets(const struct bench *bench)
{
    for (size_t i = 0; i < workload_count; i++)
        if (bench->wanted[i] && workloads[i].least > 0)
            return true;
    return false;
}

static void print_targets(const struct bench *bench)
{
    char what[64];
    printf("\nTargets:\n");
    print_target("doppel over QEMU, all workloads", mean_of(bench, SPEEDUP, ~0u), 6, true);
    print_target("slower than native, integer and FP",
                 mean_of(bench, DOPPEL_SLOWDOWN, 1u << INTEGER | 1u << FLOATING), 2, false);
    print_target("slower than native, FP and SIMD", mean_of(bench, DOPPEL_SLOWDOWN, 1u << FLOATING),
                 1.5, false);
    for (size_t i = 0; i < workload_count; i++) {
        if (!bench->wanted[i])
            continue;
        struct figures figures = figures_of(bench, i);
        double speedup = figures.ratios[SPEEDUP];
        snprintf(what, sizeof what, "doppel over QEMU, %s", workloads[i].name);
        if (i == BOOT || speedup < workloads[i].least)
            print_target(what, speedup, workloads[i].least, true);
        snprintf(what, sizeof what, "slower than native, %s", workloads[i].name);
        if (workloads[i].most > 0)
            print_target(what, figures.ratios[DOPPEL_SLOWDOWN], workloads[i].most, false);
    }
    printf("  (single workloads are listed where they miss)\n");
}

/* A guest whose clock runs differently from the host's would report wrong times. */
static void print_clocks(const struct bench *bench)
{
    for (int system = QEMU; system < SYSTEMS; system++)
        for (size_t i = BOOT + 1; i < workload_count; i++) {
            const struct series *series = &bench->series[system][i];
            double spread, guest = median(series, GUEST, &spread);
            double host = median(series, HOST, &spread);
            if (fabs(guest - host) > host * CLOCK_SLACK + CLOCK_SLACK_S)
                printf("note: %s under %s: %.3f s by the guest's clock, %.3f s by the host's\n",
                       workloads[i].name, system_names[system], guest, host);
        }
}

void report_print(const struct bench *bench)
{
    print_table(bench);
    if (bench->use[QEMU] && bench->use[DOPPEL] && has_targets(bench))
        print_targets(bench);
    print_clocks(bench);
}

bool report_check(const struct bench *bench)
{
    bool good = true;
    for (size_t i = 0; i < workload_count; i++) {
        const struct series *first = NULL;
        for (int system = 0; system < SYSTEMS; system++) {
            const struct series *series = &bench->series[system][i];
            if (series->failed) {
                printf("FAILED: %s under %s\n", workloads[i].name, system_names[system]);
                good = false;
            }
            if (series->count == 0)
                continue;
            if (!first)
                first = series;
            if (series->checksum != first->checksum) {
                printf("FAILED: checksum of %s under %s is %016" PRIx64 ", not %016" PRIx64 "\n",
                       workloads[i].name, system_names[system], series->checksum, first->checksum);
                good = false;
            }
        }
    }
    return good;
}

/* -- JSON -- */

static void write_series(FILE *out, const struct series *series, const char *name)
{
    fprintf(out, "      \"%s\": {\"checksum\": \"%016" PRIx64 "\", \"failed\": %s", name,
            series->checksum, series->failed ? "true" : "false");
    for (int clock = 0; clock < CLOCKS; clock++) {
        fprintf(out, ", \"%s_s\": [", clock_names[clock]);
        for (int i = 0; i < series->count; i++)
            fprintf(out, "%s%.6f", i ? ", " : "", series->seconds[clock][i]);
        fprintf(out, "]");
    }
    fprintf(out, "}");
}

static void write_ratios(FILE *out, const double ratios[RATIOS])
{
    static const char *const names[RATIOS] = {"qemu_over_native", "doppel_over_native",
                                              "qemu_over_doppel"};
    for (int kind = 0; kind < RATIOS; kind++) {
        fprintf(out, "%s\"%s\": ", kind ? ", " : "", names[kind]);
        if (ratios[kind] < 0)
            fprintf(out, "null");
        else
            fprintf(out, "%.4f", ratios[kind]);
    }
}

static void write_means(FILE *out, const struct bench *bench, const char *name, unsigned mask)
{
    double ratios[RATIOS];
    for (int kind = 0; kind < RATIOS; kind++)
        ratios[kind] = mean_of(bench, kind, mask);
    fprintf(out, "\n    \"%s\": {", name);
    write_ratios(out, ratios);
    fprintf(out, "}");
}

bool report_json(const struct bench *bench, bool good)
{
    char path[512], date[64];
    time_t now = time(NULL);
    snprintf(path, sizeof path, "%s/bench-%s.json", bench->build, bench->set->name);
    FILE *out = fopen(path, "w");
    if (!out) {
        perror(path);
        return false;
    }
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    fprintf(out, "{\n  \"date\": \"%s\", \"set\": \"%s\", \"rounds\": %d, \"scale\": %d, ", date,
            bench->set->name, bench->rounds, bench->scale);
    fprintf(out, "\"clock\": \"%s\",\n  \"good\": %s,\n  \"workloads\": {",
            clock_names[bench->clock], good ? "true" : "false");
    const char *comma = "";
    for (size_t i = 0; i < workload_count; i++) {
        if (!bench->wanted[i])
            continue;
        struct figures figures = figures_of(bench, i);
        fprintf(out, "%s\n    \"%s\": {\n      \"group\": \"%s\", ", comma, workloads[i].name,
                group_names[workloads[i].group]);
        write_ratios(out, figures.ratios);
        fprintf(out, ", \"spread\": %.4f", figures.spread);
        for (int system = 0; system < SYSTEMS; system++)
            if (bench->series[system][i].count || bench->series[system][i].failed) {
                fprintf(out, ",\n");
                write_series(out, &bench->series[system][i], system_names[system]);
            }
        fprintf(out, "\n    }");
        comma = ",";
    }
    fprintf(out, "\n  },\n  \"means\": {");
    for (int group = INTEGER; group < GROUPS; group++) {
        write_means(out, bench, group_names[group], 1u << group);
        fprintf(out, ",");
    }
    write_means(out, bench, "all", ~0u);
    fprintf(out, "\n  }\n}\n");
    return fclose(out) == 0;
}
