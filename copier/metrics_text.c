/*
 * metrics_text: Prometheus' text exposition format: families of samples, each with its HELP and TYPE; and the few of
 * them that are read back.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/name.h"
#include "copier/metrics.h"

#define STATUS_NAME      "haul_last_exit_status"
#define SUCCESS_NAME     "haul_last_success_timestamp_seconds"
#define SUCCESS_RUN_NAME "haul_last_success_duration_seconds"
#define SECONDS_NAME     "haul_operation_duration_seconds"
#define FAILED_NAME      "haul_operation_failures"

/* The histogram's bounds: 2^FIRST_BIT ns (16 us), then four times as much each, to 275 s. */
enum { FIRST_BIT = 14, LAST_BIT = 38, STEP_BITS = 2 };

static const char *const sides[DIR_SIDES] = {[DIR_SRC] = "source", [DIR_DST] = "destination"};

/* In a label's value the backslash, the quote and the newline are escaped; name_show leaves no newline. */
static void put_label(FILE *out, const char *name, const char *value)
{
    char *shown = name_show(value);
    fprintf(out, "%s=\"", name);
    for (const char *c = shown != NULL ? shown : "?"; *c != '\0'; c++) {
        if (*c == '\\' || *c == '"') {
            fputc('\\', out);
        }
        fputc(*c, out);
    }
    fputc('"', out);
    free(shown);
}

/* Closes it. The text, or NULL where memory was short. */
static char *finish(FILE *out, char **text)
{
    if (out == NULL) {
        return NULL;
    }
    bool short_of_memory = ferror(out) != 0;
    if (fclose(out) != 0 || short_of_memory) {
        free(*text);
        return NULL;
    }
    return *text;
}

char *metrics_labels(const char *source, const char *destination, const char *job)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out != NULL) {
        put_label(out, "source", source);
        fputc(',', out);
        put_label(out, "destination", destination);
        if (job != NULL) {
            fputc(',', out);
            put_label(out, "haul_job", job);
        }
    }
    return finish(out, &text);
}

static void put_family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_number(FILE *out, const struct metrics_text *t, const char *name, const char *help, uint64_t value)
{
    put_family(out, name, "gauge", help);
    fprintf(out, "%s{%s} %llu\n", name, t->labels, (unsigned long long)value);
}

static void put_seconds(FILE *out, const struct metrics_text *t, const char *name, const char *help, int64_t ns)
{
    put_family(out, name, "gauge", help);
    fprintf(out, "%s{%s} %.3f\n", name, t->labels, (double)ns / 1e9);
}

static void put_run(FILE *out, const struct metrics_text *t)
{
    put_family(out, "haul_info", "gauge", "Always 1; which haul, and what it was asked for.");
    fprintf(out, "haul_info{%s,command=\"%s\",version=\"%s\"} 1\n", t->labels, t->command, HAUL_VERSION);
    if (t->past.status >= 0) {
        put_number(out, t, STATUS_NAME, "Exit status of the last run that ended.", (uint64_t)t->past.status);
    }
    put_seconds(out, t, SUCCESS_NAME, "When the last run in which everything arrived ended; 0: none is known.",
                t->past.success_ns);
    put_seconds(out, t, SUCCESS_RUN_NAME, "How long that run took.", t->past.success_run_ns);
    put_number(out, t, "haul_run_in_progress",
               "1 while a run is under way. haul_run_* tell of it, or else of the last one.", t->running ? 1 : 0);
    put_number(out, t, "haul_run_number", "Number of the run with this state; 0: it has none.", (uint64_t)t->run);
    put_seconds(out, t, "haul_run_start_timestamp_seconds", "When it began.", t->begun_ns);
    put_seconds(out, t, "haul_run_updated_timestamp_seconds", "When these figures were written.", t->now_ns);
    put_seconds(out, t, "haul_run_duration_seconds", "How long it has taken, so far or in all.", t->took_ns);
}

static uint64_t get(const atomic_ulong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* What the workers have done. */
static void put_counts(FILE *out, const struct metrics_text *t)
{
    const struct report_counts *c = t->counts;
    const struct {
        const char *name;
        const char *help;
        const atomic_ulong *value;
    } rows[] = {
        {"haul_run_files", "Regular files published.", &c->files},
        {"haul_run_bytes", "Bytes of published files, with their holes.", &c->bytes},
        {"haul_run_written_bytes", "Bytes that were really written.", &c->moved},
        {"haul_run_others", "Symbolic links, FIFOs, sockets, device nodes published.", &c->others},
        {"haul_run_links", "Hard links made.", &c->links},
        {"haul_run_renames", "Regular files that were there under another name, and not copied.", &c->renamed},
        {"haul_run_attributes", "Entries of which the attributes alone were set.", &c->attrs},
        {"haul_run_deletions", "Entries of the destination removed, which the source had no more.", &c->removed},
        {"haul_run_errors", "Entries that did not arrive.", &c->failed},
        {"haul_run_changed", "Source entries that vanished or kept changing.", &c->changed},
        {"haul_run_unfinished", "Entries left to the next run when this one was stopped.", &c->unfinished},
        {"haul_run_retries", "Repeats after passing errors.", &c->retries},
        {"haul_run_read_again", "Files read again since the source changed meanwhile.", &c->again},
        {"haul_run_rechecked", "Published entries looked at again.", &c->rechecked},
        {"haul_run_findings", "Of them, those that were not right.", &c->findings},
        {"haul_run_repaired", "Of the findings, those published again.", &c->repaired},
        {"haul_run_broken", "Of the findings, those not put right.", &c->broken},
        {"haul_run_done_entries", "Of what was to be done, what is done, whatever the result.", &c->done},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put_number(out, t, rows[i].name, rows[i].help, get(rows[i].value));
    }
}

/* What the walk has met. */
static void put_plan(FILE *out, const struct metrics_text *t)
{
    static const struct plan_counts nothing;
    const struct plan_counts *p = t->plan != NULL ? t->plan : &nothing;
    put_number(out, t, "haul_run_todo_entries", "Entries found so far that were not right at the destination.",
               get(&p->todo));
    put_number(out, t, "haul_run_todo_bytes", "Sizes of the regular files among them.", get(&p->todo_bytes));
    put_number(out, t, "haul_run_same_entries", "Entries that were right already.", get(&p->same));
    put_number(out, t, "haul_run_same_bytes", "Sizes of the regular files among them.", get(&p->same_bytes));
    put_number(out, t, "haul_run_walk_complete", "1 once the whole source has been looked at.",
               atomic_load(&p->complete) ? 1 : 0);
    put_family(out, "haul_run_source_entries", "gauge", "Entries of the source met so far.");
    const struct {
        const char *kind;
        const atomic_ulong *value;
    } kinds[] = {{"directory", &p->dirs}, {"file", &p->files}, {"link", &p->links}, {"other", &p->others}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        fprintf(out, "haul_run_source_entries{%s,kind=\"%s\"} %llu\n", t->labels, kinds[i].kind,
                (unsigned long long)get(kinds[i].value));
    }
    put_number(out, t, "haul_run_source_bytes", "Sizes of the regular files met so far.", get(&p->bytes));
    put_number(out, t, "haul_in_flight", "Operations in flight.", t->in_flight);
    put_number(out, t, "haul_in_flight_limit", "Operations that may be in flight.", t->limit);
}

static void put_histogram(FILE *out, const char *labels, const struct watch_code *c)
{
    uint64_t below = 0;
    int bit = 0; /* everything below 2^bit ns is counted */
    for (int bound = FIRST_BIT; bound <= LAST_BIT; bound += STEP_BITS) {
        while (bit < bound) {
            below += c->buckets[bit++];
        }
        fprintf(out, SECONDS_NAME "_bucket{%s,le=\"%.9g\"} %llu\n", labels, (double)(INT64_C(1) << bound) / 1e9,
                (unsigned long long)below);
    }
    while (bit < WATCH_BUCKETS) {
        below += c->buckets[bit++];
    }
    fprintf(out, SECONDS_NAME "_bucket{%s,le=\"+Inf\"} %llu\n", labels, (unsigned long long)below);
    fprintf(out, SECONDS_NAME "_sum{%s} %.9f\n", labels, (double)c->total_ns / 1e9);
    fprintf(out, SECONDS_NAME "_count{%s} %llu\n", labels, (unsigned long long)below);
}

/* Calls put for each operation that has been measured. */
static void each_operation(FILE *out, const struct metrics_text *t,
                           void (*put)(FILE *out, const char *labels, const struct watch_code *c))
{
    for (int side = 0; side < DIR_SIDES; side++) {
        for (unsigned code = 0; t->times[side] != NULL && code < STORE_CODES; code++) {
            const struct watch_code *c = &t->times[side]->codes[code];
            char *labels = NULL;
            if (c->count > 0 && asprintf(&labels, "%s,side=\"%s\",operation=\"%s\"", t->labels, sides[side],
                                         store_code_name((enum store_code)code)) >= 0) {
                put(out, labels, c);
                free(labels);
            }
        }
    }
}

static void put_failures(FILE *out, const char *labels, const struct watch_code *c)
{
    fprintf(out, FAILED_NAME "{%s} %llu\n", labels, (unsigned long long)c->failed);
}

char *metrics_text(const struct metrics_text *t)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out != NULL) {
        put_run(out, t);
        put_counts(out, t);
        put_plan(out, t);
        put_family(out, SECONDS_NAME, "histogram", "How long operations of the run took.");
        each_operation(out, t, put_histogram);
        put_family(out, FAILED_NAME, "gauge", "Operations of the run that failed, before they were tried again.");
        each_operation(out, t, put_failures);
    }
    return finish(out, &text);
}

/* The value of name{labels}, or -1. */
static double read_value(const char *text, const char *name, const char *labels)
{
    size_t name_len = strlen(name);
    size_t labels_len = strlen(labels);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, name, name_len) == 0 && line[name_len] == '{' &&
            strncmp(line + name_len + 1, labels, labels_len) == 0 &&
            strncmp(line + name_len + 1 + labels_len, "} ", 2) == 0) {
            char *end = NULL;
            double value = strtod(line + name_len + labels_len + 3, &end);
            return *end == '\n' && value >= 0 && value < 9e9 ? value : -1;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return -1;
}

void metrics_text_read(const char *text, const char *labels, struct metrics_past *past)
{
    double status = read_value(text, STATUS_NAME, labels);
    double success = read_value(text, SUCCESS_NAME, labels);
    double success_run = read_value(text, SUCCESS_RUN_NAME, labels);
    if (status >= 0 && status <= 255) {
        past->status = (int)status;
    }
    if (success > 0) {
        past->success_ns = llround(success * 1e3) * NS_PER_MS;
        past->success_run_ns = success_run > 0 ? llround(success_run * 1e3) * NS_PER_MS : 0;
    }
}
