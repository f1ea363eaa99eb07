#include "copier/report.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/name.h"
#include "copier/finding_json.h"
#include "copier/json.h"
#include "copier/quantity.h"
#include "copier/report_server.h"
#include "copier/report_times.h"
#include "copier/status.h"

struct report {
    struct report_options options; /* constant */
    struct report_counts counts;   /* atomics */
    FILE *text;                    /* text for people; constant */
    bool terminal;                 /* progress goes to a terminal; constant */
    bool text_journal;             /* text is read by the journal; constant, like errors_journal */
    bool errors_journal;           /* standard error is */
    int64_t begun_ns;              /* monotonic; constant */
    pthread_mutex_t lock;          /* for all below, and for writing lines */
    unsigned long shown;           /* failures listed as text */
    unsigned long findings_shown;  /* findings listed as text */
    bool line_open;                /* a progress line stands on the terminal */
    int64_t last_ns;               /* monotonic time of the last progress line */
    double rate_files;             /* smoothed, a second */
    double rate_bytes;             /* smoothed, a second */
    unsigned long last_done;       /* items at the last progress line */
    unsigned long last_bytes;      /* bytes at the last progress line */
};

static unsigned long get(const atomic_ulong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Whether the journal reads what is written there (systemd.exec(5), JOURNAL_STREAM). */
static bool is_journal(FILE *out)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev = 0;
    unsigned long long ino = 0;
    struct stat st;
    return stream != NULL && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(fileno(out), &st) == 0 &&
           st.st_dev == dev && st.st_ino == ino;
}

/* What a line for the journal begins with, sd-daemon(3): its priority. */
static const char *priority(const struct report *r, const FILE *out, bool error)
{
    bool journal = out == stderr ? r->errors_journal : r->text_journal;
    return !journal ? "" : error ? "<3>" : "<6>";
}

int report_create(const struct report_options *options, struct report **out_report)
{
    struct report *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return -ENOMEM;
    }
    r->options = *options;
    r->text = options->json ? stderr : stdout;
    r->text_journal = is_journal(r->text);
    r->errors_journal = is_journal(stderr);
    r->terminal = isatty(STDERR_FILENO) == 1 && !options->quiet;
    r->begun_ns = clock_mono_ns();
    r->last_ns = r->begun_ns;
    pthread_mutex_init(&r->lock, NULL);
    *out_report = r;
    return 0;
}

void report_destroy(struct report *r)
{
    if (r != NULL) {
        pthread_mutex_destroy(&r->lock);
        free(r);
    }
}

struct report_counts *report_counts(struct report *r)
{
    return &r->counts;
}

bool report_on_terminal(const struct report *r)
{
    return r->terminal;
}

/* With the lock: takes the progress line off the terminal. */
static void clear_line(struct report *r)
{
    if (r->line_open) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        r->line_open = false;
    }
}

static void say(struct report *r, FILE *out, bool error, const char *format, va_list args)
{
    pthread_mutex_lock(&r->lock);
    clear_line(r);
    fprintf(out, "%s%s", priority(r, out, error), error ? "haul: " : "");
    vfprintf(out, format, args);
    fputc('\n', out);
    fflush(out);
    pthread_mutex_unlock(&r->lock);
}

void report_say(struct report *r, const char *format, ...)
{
    if (r->options.quiet) {
        return;
    }
    va_list args;
    va_start(args, format);
    say(r, r->text, false, format, args);
    va_end(args);
}

void report_error(struct report *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(r, stderr, true, format, args);
    va_end(args);
}

void report_line(struct report *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(r, r->text, false, format, args);
    va_end(args);
}

static void emit(struct report *r, json_t *event)
{
    pthread_mutex_lock(&r->lock);
    json_emit(event, stdout);
    pthread_mutex_unlock(&r->lock);
}

bool report_is_json(const struct report *r)
{
    return r->options.json;
}

void report_event(struct report *r, json_t *event)
{
    if (r->options.json) {
        emit(r, event);
    } else {
        json_decref(event);
    }
}

void report_started(struct report *r, const struct report_start *start)
{
    if (start->resumed != NULL) {
        report_say(r, "%s", start->resumed);
    }
    if (r->options.json) {
        json_t *event = json_event("start");
        json_set_text(event, "source", start->source);
        json_set_text(event, "destination", start->destination);
        if (start->state != NULL) {
            json_set_text(event, "state", start->state);
        }
        json_set_number(event, "run", (uint64_t)start->run);
        if (start->resumed != NULL) {
            json_set_text(event, "resumed", start->resumed);
        }
        emit(r, event);
    }
}

static void failure_text(struct report *r, const struct report_failure *f)
{
    pthread_mutex_lock(&r->lock);
    bool show = r->shown < REPORT_FAILURES_SHOWN;
    r->shown++;
    pthread_mutex_unlock(&r->lock);
    if (!show) {
        return;
    }
    char *path = name_show(f->path);
    char tries[32] = "";
    if (f->attempts > 1) {
        snprintf(tries, sizeof tries, " (%u tries)", f->attempts);
    }
    char unanswered[80];
    if (f->waited_ns > 0) {
        snprintf(unanswered, sizeof unanswered, "no answer for %.0f s%s", (double)f->waited_ns / 1e9,
                 f->on_source ? "" : "; outcome unknown");
    }
    report_error(r, "%s: %s %s: %s%s%s", path != NULL ? path : f->path,
                 f->on_source ? "source:" : "destination:", f->op, f->waited_ns > 0 ? unanswered : err_text(f->err),
                 tries, f->below ? "; nothing below it was copied" : "");
    free(path);
}

void report_failed(struct report *r, const struct report_failure *f)
{
    bool changed = f->kind == ERR_VANISHED || f->err == ERR_CHANGED;
    atomic_fetch_add_explicit(changed ? &r->counts.changed : &r->counts.failed, 1, memory_order_relaxed);
    failure_text(r, f);
    if (r->options.json) {
        json_t *event = json_event("failure");
        json_set_text(event, "path", f->path);
        json_set_text(event, "side", f->on_source ? "source" : "destination");
        json_set_text(event, "operation", f->op);
        json_set_text(event, "error", err_name(f->err));
        json_set_text(event, "message", err_text(f->err));
        json_set_number(event, "attempts", f->attempts > 0 ? f->attempts : 1);
        json_object_set_new(event, "below", json_boolean(f->below));
        if (f->waited_ns > 0) {
            json_object_set_new(event, "waited_seconds", json_real((double)f->waited_ns / 1e9));
        }
        emit(r, event);
    }
}

void report_found(struct report *r, const struct finding *f)
{
    pthread_mutex_lock(&r->lock);
    bool show = r->findings_shown++ < REPORT_FAILURES_SHOWN;
    pthread_mutex_unlock(&r->lock);
    if (show) {
        char *path = name_show(f->path);
        report_error(r, "%s: destination: looked at again: %s; %s", path != NULL ? path : f->path, f->evidence, f->why);
        free(path);
    }
    if (r->options.json) {
        emit(r, finding_json(f));
    }
}

void report_would(struct report *r, const char *what, const char *path)
{
    if (r->options.json) {
        json_t *event = json_event("would");
        json_set_text(event, "operation", what);
        json_set_text(event, "path", path);
        emit(r, event);
    } else {
        char *shown = name_show(path);
        report_say(r, "would %s %s", what, shown != NULL ? shown : path);
        free(shown);
    }
}

/* With the lock: the smoothed rates, from what was done since the last call. */
static void update_rates(struct report *r, unsigned long done, unsigned long bytes)
{
    int64_t now = clock_mono_ns();
    double seconds = (double)(now - r->last_ns) / 1e9;
    if (seconds <= 0) {
        return;
    }
    double fresh = r->last_done == 0 && r->last_bytes == 0 ? 1 : seconds / (seconds + 5);
    r->rate_files += fresh * ((double)(done - r->last_done) / seconds - r->rate_files);
    r->rate_bytes += fresh * ((double)(bytes - r->last_bytes) / seconds - r->rate_bytes);
    r->last_ns = now;
    r->last_done = done;
    r->last_bytes = bytes;
}

/* Seconds left by what is known to be left, -1 where that cannot be told. */
static double eta(const struct report *r, const struct plan_counts *plan, unsigned long done, unsigned long bytes)
{
    if (!atomic_load(&plan->walked)) {
        return -1;
    }
    double files_left = (double)get(&plan->todo) - (double)done;
    double bytes_left = (double)get(&plan->todo_bytes) - (double)bytes;
    double by_files = r->rate_files > 0 ? files_left / r->rate_files : -1;
    double by_bytes = r->rate_bytes > 0 ? bytes_left / r->rate_bytes : -1;
    return by_bytes > 0 && bytes_left > 1e6 ? by_bytes : by_files;
}

/* Columns of the terminal that the progress line is on. */
static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* With the lock: a line of progress. */
static void put_line(struct report *r, const char *line)
{
    if (r->terminal) {
        fprintf(stderr, "\r%.*s\033[K", columns() - 1, line); /* a line that wraps could not be taken back */
    } else {
        fprintf(stderr, "%s%s\n", priority(r, stderr, false), line);
    }
    fflush(stderr);
    r->line_open = r->terminal;
}

static void progress_text(struct report *r, const struct plan_counts *plan, unsigned in_flight, double left)
{
    char files[QUANTITY_MAX];
    char total[QUANTITY_MAX];
    char bytes[QUANTITY_MAX];
    char rate[QUANTITY_MAX];
    char time[QUANTITY_MAX] = "";
    char line[512];
    quantity_show_count(r->last_done, files);
    quantity_show_count(get(&plan->todo), total);
    quantity_show_bytes(r->last_bytes, bytes);
    quantity_show_bytes((uint64_t)r->rate_bytes, rate);
    if (left >= 0) {
        quantity_show_duration(llround(left) * NS_PER_SEC, time);
    }
    unsigned long retries = get(&r->counts.retries);
    unsigned long failed = get(&r->counts.failed);
    int len = snprintf(line, sizeof line, "%s of %s%s, %s; %s%s%.0f files/s, %s/s; %u in flight", files, total,
                       atomic_load(&plan->walked) ? "" : "+", bytes, time, left >= 0 ? " left; " : "", r->rate_files,
                       rate, in_flight);
    if (retries + failed > 0 || !r->terminal) {
        snprintf(line + len, sizeof line - (size_t)len, ", %lu retries, %lu failed", retries, failed);
    }
    put_line(r, line);
}

void report_progress_line(struct report *r, const char *line)
{
    if (!r->options.quiet) {
        pthread_mutex_lock(&r->lock);
        put_line(r, line);
        pthread_mutex_unlock(&r->lock);
    }
}

void report_progress(struct report *r, const struct plan_counts *plan, unsigned in_flight, unsigned limit)
{
    unsigned long done = get(&r->counts.done);
    /* What is under way counts as it is written: a large file would look like standing still. */
    unsigned long bytes = get(&r->counts.done_bytes) + get(&r->counts.under_way);
    pthread_mutex_lock(&r->lock);
    update_rates(r, done, bytes);
    double left = eta(r, plan, done, bytes);
    if (!r->options.quiet && !r->options.dry_run) {
        progress_text(r, plan, in_flight, left);
    }
    double rate_files = r->rate_files;
    double rate_bytes = r->rate_bytes;
    pthread_mutex_unlock(&r->lock);
    if (r->options.json) {
        json_t *event = json_event("progress");
        json_set_number(event, "done", done);
        json_set_number(event, "done_bytes", bytes);
        json_set_number(event, "todo", get(&plan->todo));
        json_set_number(event, "todo_bytes", get(&plan->todo_bytes));
        json_object_set_new(event, "walk_complete", json_boolean(atomic_load(&plan->complete)));
        json_object_set_new(event, "files_per_second", json_real(rate_files));
        json_object_set_new(event, "bytes_per_second", json_real(rate_bytes));
        json_set_number(event, "in_flight", in_flight);
        json_set_number(event, "limit", limit);
        json_set_number(event, "retries", get(&r->counts.retries));
        json_set_number(event, "failed", get(&r->counts.failed));
        if (left >= 0) {
            json_object_set_new(event, "seconds_left", json_real(left));
        }
        emit(r, event);
    }
}

/* The end. */

void report_notices(struct report *r, struct notices *notices)
{
    const char *text = NULL;
    uint64_t count = 0;
    for (size_t i = 0; notice_at(notices, i, &text, &count) == 0; i++) {
        if (count == 1) {
            report_say(r, "note: %s", text);
        } else {
            report_say(r, "note: %s (%llu times)", text, (unsigned long long)count);
        }
        if (r->options.json) {
            json_t *event = json_event("notice");
            json_set_text(event, "text", text);
            json_set_number(event, "count", count);
            emit(r, event);
        }
    }
}

static void end_stats(struct report *r, const struct report_end *end)
{
    const struct plan_counts *p = end->plan;
    const struct report_counts *c = &r->counts;
    char bytes[QUANTITY_MAX];
    report_say(r, "source: %lu directories, %lu files (%s), %lu others, %lu further hard links; %lu excluded",
               get(&p->dirs), get(&p->files), quantity_show_bytes(get(&p->bytes), bytes), get(&p->others),
               get(&p->links), get(&p->excluded));
    report_say(r, "right already: %lu entries (%s)", get(&p->same), quantity_show_bytes(get(&p->same_bytes), bytes));
    report_say(r, "done: %lu directories, %lu files (%s), %lu others, %lu hard links, %lu renamed, %lu attributes only",
               get(&p->dirs_made), get(&c->files), quantity_show_bytes(get(&c->bytes), bytes), get(&c->others),
               get(&c->links), get(&c->renamed), get(&c->attrs));
    if (get(&p->copies) > 0) {
        report_say(r, "further hard links that the destination refused, copied instead: %lu", get(&p->copies));
    }
    report_say(r, "%s written; %lu retries, %lu read again since they changed, %lu stale temp names purged",
               quantity_show_bytes(get(&c->moved), bytes), get(&c->retries), get(&c->again), get(&c->purged));
    if (get(&c->resumed) > 0) {
        char size[QUANTITY_MAX];
        report_say(r, "resumed: %lu large %s; %s of %s were there", get(&c->resumed),
                   get(&c->resumed) == 1 ? "file" : "files", quantity_show_bytes(get(&c->resumed_bytes), bytes),
                   quantity_show_bytes(get(&c->resumed_size), size));
    }
    if (get(&c->staged) > 0) {
        report_say(r, "%lu files went through the temp dir, %lu of them as reflinks", get(&c->staged),
                   get(&c->staged_clones));
    }
    report_say(r, "looked at again: %lu entries; %lu were not right, %lu published again, %lu still not right",
               get(&c->rechecked), get(&c->findings), get(&c->repaired), get(&c->broken));
    if (end->io->ring) {
        report_say(r, "io_uring: %u of %u operations; %u in flight at the end", end->io->ops, end->io->ops_wanted,
                   end->limit);
    } else {
        report_say(r, "io_uring: not used%s%s; %u in flight at the end", end->io->ring_error != 0 ? ": " : "",
                   end->io->ring_error != 0 ? err_text(end->io->ring_error) : "", end->limit);
    }
    for (int side = 0; side < DIR_SIDES; side++) {
        report_server_text(r, side, end->nfs[side]);
    }
    report_times_text(r, end->times);
}

static void end_json(struct report *r, const struct report_end *end)
{
    const struct plan_counts *p = end->plan;
    const struct report_counts *c = &r->counts;
    const struct {
        const char *key;
        unsigned long value;
    } numbers[] = {
        {"source_dirs", get(&p->dirs)},
        {"source_files", get(&p->files)},
        {"source_bytes", get(&p->bytes)},
        {"source_others", get(&p->others)},
        {"source_links", get(&p->links)},
        {"excluded", get(&p->excluded)},
        {"same", get(&p->same)},
        {"same_bytes", get(&p->same_bytes)},
        {"dirs_made", get(&p->dirs_made)},
        {"todo", get(&p->todo)},
        {"files", get(&c->files)},
        {"bytes", get(&c->bytes)},
        {"bytes_written", get(&c->moved)},
        {"resumed", get(&c->resumed)},
        {"resumed_bytes", get(&c->resumed_bytes)},
        {"resumed_size", get(&c->resumed_size)},
        {"others", get(&c->others)},
        {"links", get(&c->links)},
        {"links_copied", get(&p->copies)},
        {"renamed", get(&c->renamed)},
        {"attrs", get(&c->attrs)},
        {"removed", get(&c->removed)},
        {"failed", get(&c->failed)},
        {"changed", get(&c->changed)},
        {"retries", get(&c->retries)},
        {"read_again", get(&c->again)},
        {"staged", get(&c->staged)},
        {"staged_reflinks", get(&c->staged_clones)},
        {"purged", get(&c->purged)},
        {"rechecked", get(&c->rechecked)},
        {"findings", get(&c->findings)},
        {"repaired", get(&c->repaired)},
        {"unfinished", get(&c->unfinished)},
        {"limit", end->limit},
    };
    json_t *event = json_event("end");
    json_set_number(event, "run", (uint64_t)end->run);
    json_set_number(event, "status", (uint64_t)end->status);
    json_object_set_new(event, "seconds", json_real((double)end->elapsed_ns / 1e9));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_set_number(event, numbers[i].key, numbers[i].value);
    }
    json_object_set_new(event, "walk_complete", json_boolean(atomic_load(&p->complete)));
    json_object_set_new(event, "interrupted", json_boolean(end->interrupted));
    json_object_set_new(event, "io_uring", json_boolean(end->io->ring));
    if (end->fatal != 0) {
        json_set_text(event, "stopped_by", err_name(end->fatal));
    }
    if (end->status != STATUS_OK && end->failing_since_ns != 0) {
        json_set_number(event, "failing_runs", end->failing + 1);
        json_object_set_new(event, "failing_since", json_real((double)end->failing_since_ns / 1e9));
    }
    if (end->why != NULL) {
        json_set_text(event, "why", end->why);
    }
    for (int side = 0; side < DIR_SIDES; side++) {
        report_server_json(event, side, end->nfs[side]);
    }
    report_times_json(event, end->times);
    emit(r, event);
}

/* The last line: in words, whether everything arrived. */
static void end_verdict(struct report *r, const struct report_end *end)
{
    unsigned long failed = get(&r->counts.failed);
    unsigned long changed = get(&r->counts.changed);
    const char *more = failed + changed > REPORT_FAILURES_SHOWN ? "; --json lists them all" : "";
    if (end->why != NULL) {
        report_error(r, "%s; NOT everything arrived", end->why);
    } else if (end->interrupted) {
        report_error(r, "%s: NOT everything arrived; the next run goes on", status_stopped(end->status));
    } else if (end->fatal != 0) {
        report_error(r, "stopped early: %s; NOT everything arrived", err_text(end->fatal));
    } else if (failed > 0) {
        report_error(r, "NOT everything arrived: %lu failed%s", failed + changed, more);
    } else if (changed > 0) {
        report_error(r, "NOT everything arrived: %lu vanished or kept changing%s", changed, more);
    } else if (end->status != STATUS_OK) {
        report_error(r, "%s", end->but != NULL ? end->but : "NOT everything arrived");
    } else if (r->options.dry_run) {
        report_say(r, "dry run: nothing was changed");
    } else {
        report_say(r, "everything arrived");
    }
}

/* What was done, in a line. */
static void end_summary(struct report *r, const struct report_end *end)
{
    const struct report_counts *c = &r->counts;
    char bytes[QUANTITY_MAX];
    char time[QUANTITY_MAX];
    char rate[QUANTITY_MAX];
    char same[QUANTITY_MAX];
    char attrs[64] = "";
    char renamed[64] = "";
    char copies[64] = "";
    unsigned long size = get(&c->bytes);
    unsigned long entries = get(&c->files) + get(&c->others) + get(&c->links);
    quantity_show_count(get(&end->plan->same), same);
    quantity_show_bytes(size, bytes);
    if (get(&c->attrs) > 0) {
        snprintf(attrs, sizeof attrs, ", attributes of %lu", get(&c->attrs));
    }
    if (get(&c->renamed) > 0) {
        snprintf(renamed, sizeof renamed, ", %s%lu", r->options.dry_run ? "rename " : "renamed ", get(&c->renamed));
    }
    if (get(&end->plan->copies) > 0) {
        snprintf(copies, sizeof copies, ", %lu instead of hard links", get(&end->plan->copies));
    }
    if (get(&c->removed) > 0) {
        report_say(r, "%s %lu %s", r->options.dry_run ? "would remove" : "removed", get(&c->removed),
                   get(&c->removed) == 1 ? "entry" : "entries");
    }
    if (r->options.dry_run) {
        report_say(r, "would copy %lu %s%s%s, %s; %s right already", entries, entries == 1 ? "entry" : "entries",
                   renamed, attrs, bytes, same);
        return;
    }
    if (get(&c->findings) > 0) {
        report_error(
            r,
            "%lu of %lu entries that were looked at again were not right at the destination; %lu were published again",
            get(&c->findings), get(&c->rechecked), get(&c->repaired));
    }
    double seconds = (double)end->elapsed_ns / 1e9;
    report_say(r, "copied %lu %s%s%s%s, %s in %s (%.0f entries/s, %s/s); %s right already", entries,
               entries == 1 ? "entry" : "entries", copies, renamed, attrs, bytes,
               quantity_show_duration(end->elapsed_ns, time), (double)entries / seconds,
               quantity_show_bytes((uint64_t)((double)get(&c->moved) / seconds), rate), same);
}

/* Since when runs have not ended well, where that is more than one. */
static void end_failing(struct report *r, const struct report_end *end)
{
    char when[32];
    time_t since = (time_t)(end->failing_since_ns / NS_PER_SEC);
    struct tm tm;
    if (end->status != STATUS_OK && end->failing > 0 && localtime_r(&since, &tm) != NULL &&
        strftime(when, sizeof when, "%Y-%m-%d %H:%M", &tm) > 0) {
        report_error(r, "failing since %s: %llu runs", when, (unsigned long long)end->failing + 1);
    }
}

int report_ended(struct report *r, const struct report_end *end)
{
    pthread_mutex_lock(&r->lock);
    clear_line(r);
    pthread_mutex_unlock(&r->lock);
    report_notices(r, end->notices);
    if (r->options.stats) {
        end_stats(r, end);
    }
    end_summary(r, end);
    if (r->options.json) {
        end_json(r, end);
    }
    end_failing(r, end);
    end_verdict(r, end);
    return report_flush(r);
}

int report_flush(struct report *r)
{
    bool lost = fflush(stdout) != 0 || ferror(stdout);
    if (!lost || !(r->options.json || r->options.dry_run)) {
        return 0; /* text that nobody wants to read is no loss */
    }
    report_error(r, "standard output could not be written: what it should have said is lost");
    return -EIO;
}
