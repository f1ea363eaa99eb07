#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copier/json.h"
#include "copier/report.h"
#include "copier/status.h"

/* Sends a stream to a file without a name; returns the descriptor from which what was written is read back. */
static int redirect(FILE *stream)
{
    char path[] = "/tmp/haul-test-report-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    unlink(path);
    fflush(stream);
    cr_assert_geq(dup2(fd, fileno(stream)), 0);
    return fd;
}

static char *slurp(int fd)
{
    fflush(NULL);
    char *text = calloc(1, 65536);
    cr_assert_geq(pread(fd, text, 65535, 0), 0);
    close(fd);
    return text;
}

static const struct report_failure plain = {
    .path = "a/b", .op = "open", .err = EACCES, .attempts = 1, .kind = ERR_PERMANENT, .on_source = true};

static void end_with(struct report *r, int status, bool interrupted, int fatal)
{
    static struct plan_counts plan;
    static const struct io_facts facts;
    struct notices *notices = NULL;
    cr_assert_eq(notices_create(&notices), 0);
    const struct report_end end = {.plan = &plan,
                                   .notices = notices,
                                   .status = status,
                                   .interrupted = interrupted,
                                   .fatal = fatal,
                                   .elapsed_ns = 1000000000,
                                   .io = &facts};
    report_ended(r, &end);
    notices_destroy(notices);
}

Test(report, each_event_is_one_line_of_json, .timeout = 20)
{
    const struct report_options how = {.json = true};
    struct report *r = NULL;
    int written = redirect(stdout);
    cr_assert_eq(report_create(&how, &r), 0);
    const struct report_start start = {
        .source = "/s", .destination = "/d", .state = "/x", .run = 3, .resumed = "again"};
    report_started(r, &start);
    struct report_failure odd = plain;
    odd.path = "bad\xff\nname";
    report_failed(r, &odd);
    end_with(r, STATUS_SOME_FAILED, false, 0);
    report_destroy(r);
    char *out = slurp(written);
    unsigned lines = 0;
    bool hex_seen = false;
    for (char *line = strtok(out, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_error_t error;
        json_t *event = json_loads(line, 0, &error);
        cr_assert_not_null(event, "%s", line);
        cr_assert(json_is_string(json_object_get(event, "event")) && json_is_string(json_object_get(event, "time")));
        const char *hex = json_string_value(json_object_get(event, "path_hex"));
        hex_seen = hex_seen || (hex != NULL && strcmp(hex, "626164ff0a6e616d65") == 0);
        json_decref(event);
        lines++;
    }
    cr_assert_eq(lines, 3);
    cr_assert(hex_seen, "the bytes of a name that is not UTF-8 are kept");
    free(out);
}

static char *verdict(int status, bool interrupted, int fatal, const struct report_failure *failure)
{
    const struct report_options how = {0};
    struct report *r = NULL;
    int out = redirect(stdout);
    int err = redirect(stderr);
    cr_assert_eq(report_create(&how, &r), 0);
    if (failure != NULL) {
        report_failed(r, failure);
    }
    end_with(r, status, interrupted, fatal);
    report_destroy(r);
    return slurp(status == STATUS_OK ? out : err);
}

/* The last line says in words whether everything arrived. */
Test(report, the_last_line_says_it, .timeout = 20)
{
    struct report_failure vanished = plain;
    vanished.err = ENOENT;
    vanished.kind = ERR_VANISHED;
    const struct {
        int status;
        bool interrupted;
        int fatal;
        const struct report_failure *failure;
        const char *last;
    } rows[] = {
        {STATUS_OK, false, 0, NULL, "everything arrived\n"},
        {STATUS_SOME_FAILED, false, 0, &plain, "NOT everything arrived: 1 failed\n"},
        {STATUS_SOME_CHANGED, false, 0, &vanished, "NOT everything arrived: 1 vanished or kept changing\n"},
        {STATUS_INTERRUPTED, true, 0, NULL, "NOT everything arrived; the next run goes on\n"},
        {STATUS_CANNOT, false, ENOSPC, NULL, "NOT everything arrived\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = verdict(rows[i].status, rows[i].interrupted, rows[i].fatal, rows[i].failure);
        size_t len = strlen(text);
        size_t want = strlen(rows[i].last);
        cr_assert(len >= want && strcmp(text + len - want, rows[i].last) == 0, "row %zu: %s", i, text);
        free(text);
    }
}

Test(report, lists_the_first_20_failures, .timeout = 20)
{
    const struct report_options how = {.quiet = true};
    struct report *r = NULL;
    int written = redirect(stderr);
    cr_assert_eq(report_create(&how, &r), 0);
    for (int i = 0; i < 50; i++) {
        report_failed(r, &plain);
    }
    cr_assert_eq(atomic_load(&report_counts(r)->failed), 50);
    end_with(r, STATUS_SOME_FAILED, false, 0);
    report_destroy(r);
    char *text = slurp(written);
    unsigned shown = 0;
    for (const char *at = text; (at = strstr(at, "a/b: source: open: ")) != NULL; at++) {
        shown++;
    }
    cr_assert_eq(shown, REPORT_FAILURES_SHOWN);
    cr_assert(strstr(text, "50 failed; --json lists them all") != NULL, "%s", text);
    free(text);
}

static struct watch_times some_times(void)
{
    struct watch_times t = {.dir_count = 1, .slow_count = 1};
    t.codes[STORE_PUBLISH] = (struct watch_code){.count = 3, .failed = 1, .total_ns = 5000000000, .max_ns = 4000000000};
    t.codes[STORE_PUBLISH].buckets[20] = 2;
    t.codes[STORE_PUBLISH].buckets[31] = 1;
    t.dirs[0] = (struct watch_dir){.count = 3, .total_ns = 5000000000};
    t.slow[0] = (struct watch_slow){.code = STORE_PUBLISH, .ns = 4000000000, .unanswered = true};
    return t;
}

Test(report, where_the_time_went_is_told, .timeout = 20)
{
    static struct plan_counts plan;
    static const struct io_facts facts;
    char dir[] = "slow";
    char file[] = "slow/file";
    struct watch_times t = some_times();
    t.dirs[0].path = dir;
    t.slow[0].path = file;
    const struct report_options how = {.json = true, .stats = true};
    struct report *r = NULL;
    struct notices *notices = NULL;
    int json = redirect(stdout);
    int text = redirect(stderr);
    cr_assert_eq(notices_create(&notices), 0);
    cr_assert_eq(report_create(&how, &r), 0);
    const struct report_end end = {.plan = &plan,
                                   .notices = notices,
                                   .status = STATUS_CANNOT,
                                   .why = "stopped early: the destination does not answer",
                                   .times = {[DIR_DST] = &t},
                                   .io = &facts,
                                   .elapsed_ns = 1};
    report_ended(r, &end);
    report_destroy(r);
    notices_destroy(notices);
    char *said = slurp(text);
    cr_assert(strstr(said, "publish") != NULL && strstr(said, "4.0 s") != NULL && strstr(said, "(1 failed)") != NULL,
              "%s", said);
    cr_assert_not_null(strstr(said, "destination publish slow/file (no answer)"));
    cr_assert_not_null(strstr(said, "does not answer; NOT everything arrived"));
    free(said);
    char *out = slurp(json);
    json_t *event = json_loads(out, 0, NULL);
    cr_assert_not_null(event, "%s", out);
    json_t *op = json_array_get(json_object_get(event, "operations"), 0);
    cr_assert_str_eq(json_string_value(json_object_get(op, "operation")), "publish");
    cr_assert_eq(json_integer_value(json_object_get(op, "count")), 3);
    cr_assert_float_eq(json_real_value(json_object_get(op, "max_seconds")), 4, 1e-6);
    cr_assert(json_real_value(json_object_get(op, "median_seconds")) < 0.01);
    json_t *slow = json_array_get(json_object_get(event, "slow_operations"), 0);
    cr_assert_str_eq(json_string_value(json_object_get(slow, "path")), "slow/file");
    cr_assert(json_is_false(json_object_get(slow, "answered")));
    cr_assert_eq(json_array_size(json_object_get(event, "slow_directories")), 1);
    json_decref(event);
    free(out);
}

Test(report, no_answer_is_told_with_its_seconds, .timeout = 20)
{
    const struct report_options how = {0};
    struct report *r = NULL;
    int text = redirect(stderr);
    cr_assert_eq(report_create(&how, &r), 0);
    struct report_failure hung = plain;
    hung.err = ETIMEDOUT;
    hung.on_source = false;
    hung.waited_ns = 120000000000;
    report_failed(r, &hung);
    report_destroy(r);
    char *said = slurp(text);
    cr_assert_not_null(strstr(said, "a/b: destination: open: no answer for 120 s; outcome unknown"), "%s", said);
    free(said);
}
