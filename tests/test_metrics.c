#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "copier/metrics.h"

static struct report_counts counts;

static struct metrics_text sample(const char *labels)
{
    return (struct metrics_text){.labels = labels,
                                 .command = "sync",
                                 .past = {.status = -1},
                                 .begun_ns = 5 * NS_PER_SEC,
                                 .now_ns = 7 * NS_PER_SEC,
                                 .took_ns = 2 * NS_PER_SEC,
                                 .counts = &counts};
}

static void has(const char *text, const char *line)
{
    cr_assert(strstr(text, line) != NULL, "no '%s' in %s", line, text);
}

Test(metrics, labels_hold_any_path, .timeout = 10)
{
    char *labels = metrics_labels("/a \"b\"\\\n\xff", "nfs://h/e", NULL);
    cr_assert_str_eq(labels, "source=\"/a \\\"b\\\"\\\\\\\\\\\\n\\\\377\",destination=\"nfs://h/e\"");
    free(labels);
    labels = metrics_labels("/a", "/b", "nightly");
    cr_assert_str_eq(labels, "source=\"/a\",destination=\"/b\",haul_job=\"nightly\"");
    free(labels);
}

Test(metrics, what_is_written_is_read_back, .timeout = 10)
{
    struct metrics_text t = sample("source=\"/a\",destination=\"/b\"");
    t.past = (struct metrics_past){
        .status = 23, .success_ns = 1764118000123 * NS_PER_MS, .success_run_ns = 61500 * NS_PER_MS};
    char *text = metrics_text(&t);
    struct metrics_past past = {.status = -1};
    metrics_text_read(text, t.labels, &past);
    cr_assert_eq(past.status, 23);
    cr_assert_eq(past.success_run_ns, 61500 * NS_PER_MS);
    cr_assert(llabs(past.success_ns - t.past.success_ns) <= NS_PER_MS, "%lld", (long long)past.success_ns);

    struct metrics_past other = {.status = -1};
    metrics_text_read(text, "source=\"/a\",destination=\"/bb\"", &other);
    metrics_text_read(text, "source=\"/a\",destination=\"/b", &other);
    cr_assert(other.status == -1 && other.success_ns == 0, "another pair's");
    free(text);
}

Test(metrics, half_a_file_or_none_of_ours_says_nothing, .timeout = 10)
{
    static const char *const texts[] = {"",
                                        "\n",
                                        "haul_last_exit_status{l} 0",
                                        "haul_last_exit_status{l} x\n",
                                        "haul_last_exit_status{l} -3\n",
                                        "haul_last_exit_status{l} 1e300\n",
                                        "haul_last_exit_status{l} nan\n",
                                        "haul_last_exit_status{l}",
                                        "haul_last_exit_status{"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct metrics_past past = {.status = -1};
        metrics_text_read(texts[i], "l", &past);
        cr_assert(past.status == -1 && past.success_ns == 0, "row %zu", i);
    }
}

Test(metrics, each_operation_has_its_histogram, .timeout = 10)
{
    struct metrics_text t = sample("l=\"x\"");
    struct watch_times times = {0};
    struct watch_code *c = &times.codes[STORE_PUBLISH];
    c->count = 7;
    c->failed = 2;
    c->total_ns = 3 * NS_PER_SEC;
    c->buckets[0] = 1;                 /* 1 ns */
    c->buckets[13] = 2;                /* below 16.384 us */
    c->buckets[14] = 1;                /* below 65.536 us, not below 16.384 */
    c->buckets[30] = 2;                /* between 1 and 2 s */
    c->buckets[WATCH_BUCKETS - 1] = 1; /* longer than any bound */
    t.times[DIR_DST] = &times;
    char *text = metrics_text(&t);
    has(text, "haul_operation_duration_seconds_bucket{l=\"x\",side=\"destination\",operation=\"publish\",le=\"1.6384e-"
              "05\"} 3\n");
    has(text, ",le=\"6.5536e-05\"} 4\n");
    has(text, ",le=\"1.07374182\"} 4\n");
    has(text, ",le=\"4.2949673\"} 6\n");
    has(text, ",le=\"+Inf\"} 7\n");
    has(text, "_sum{l=\"x\",side=\"destination\",operation=\"publish\"} 3.000000000\n");
    has(text, "_count{l=\"x\",side=\"destination\",operation=\"publish\"} 7\n");
    has(text, "haul_operation_failures{l=\"x\",side=\"destination\",operation=\"publish\"} 2\n");
    cr_assert(strstr(text, "side=\"source\"") == NULL);
    free(text);
}

Test(metrics, a_run_that_has_not_walked_yet_says_so, .timeout = 10)
{
    struct metrics_text t = sample("l=\"x\"");
    t.running = true;
    char *text = metrics_text(&t);
    has(text, "haul_run_in_progress{l=\"x\"} 1\n");
    has(text, "haul_run_walk_complete{l=\"x\"} 0\n");
    has(text, "haul_last_success_timestamp_seconds{l=\"x\"} 0.000\n");
    has(text, "haul_run_start_timestamp_seconds{l=\"x\"} 5.000\n");
    cr_assert(strstr(text, "haul_last_exit_status{") == NULL, "none is known");
    free(text);
}
