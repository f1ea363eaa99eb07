/* What haul doctor makes of figures. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "copier/doctor_judge.h"
#include "copier/doctor_local.h"

TestSuite(doctor, .timeout = 20);

static struct doctor_chart chart;

static void begin(void)
{
    doctor_chart_release(&chart);
    cr_assert_eq(doctor_chart_init(&chart, NULL, false), 0);
}

static void last_is(enum doctor_mark mark, const char *word)
{
    cr_assert_gt(chart.count, 0);
    const struct doctor_line *line = &chart.lines[chart.count - 1];
    cr_expect_eq(line->mark, mark, "%s: mark %d", line->text, line->mark);
    cr_expect_not_null(strstr(line->text, word), "'%s' is not in '%s'", word, line->text);
    cr_expect((line->fix != NULL) == (mark == DOCTOR_BETTER || mark == DOCTOR_BAD), "%s", line->text);
}

Test(doctor, times)
{
    int64_t times[100];
    struct doctor_times t;
    doctor_times_of(times, 0, &t);
    cr_expect_eq(t.count, 0);
    times[0] = 7;
    doctor_times_of(times, 1, &t);
    cr_expect(t.count == 1 && t.median_ns == 7 && t.most_ns == 7);
    for (int i = 0; i < 100; i++) {
        times[i] = 100 - i;
    }
    doctor_times_of(times, 100, &t);
    cr_expect_eq(t.median_ns, 50, "%lld", (long long)t.median_ns);
    cr_expect_eq(t.most_ns, 95, "%lld", (long long)t.most_ns);
}

Test(doctor, room)
{
    const uint64_t gib = 1024ULL * 1024 * 1024;
    const struct {
        struct doctor_room room;
        enum doctor_mark mark;
        const char *word;
    } cases[] = {
        {{50 * gib, 1000000}, DOCTOR_GOOD, "50.0 GiB free, and room for 1,000,000 files"},
        {{50 * gib, UINT64_MAX}, DOCTOR_GOOD, "not counted"},
        {{gib / 2, 1000000}, DOCTOR_BETTER, "512"},
        {{50 * gib, 5000}, DOCTOR_BETTER, "5,000 files"},
        {{1024, 1000000}, DOCTOR_BAD, "free"},
        {{50 * gib, 3}, DOCTOR_BAD, "3 files"},
        {{UINT64_MAX, UINT64_MAX}, DOCTOR_FACT, "does not say"},
    };
    begin();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        doctor_judge_room(&chart, "space", &cases[i].room);
        last_is(cases[i].mark, cases[i].word);
    }
    doctor_chart_release(&chart);
}

Test(doctor, descriptors)
{
    begin();
    doctor_judge_descriptors(&chart, 65536);
    last_is(DOCTOR_GOOD, "65536");
    doctor_judge_descriptors(&chart, 1024);
    last_is(DOCTOR_BETTER, "1024");
    doctor_judge_descriptors(&chart, 100);
    last_is(DOCTOR_BAD, "100");
    doctor_chart_release(&chart);
}

Test(doctor, owners)
{
    struct doctor_figures f = {.owner = DOCTOR_OWNER_KEPT};
    begin();
    doctor_judge_owner(&chart, &f);
    last_is(DOCTOR_GOOD, "can be set");
    f.owner = DOCTOR_OWNER_REFUSED;
    doctor_judge_owner(&chart, &f);
    last_is(DOCTOR_BETTER, "refused");
    f.owner = DOCTOR_OWNER_UNTRIED;
    doctor_judge_owner(&chart, &f);
    last_is(DOCTOR_FACT, "not tried");
    doctor_chart_release(&chart);
}

Test(doctor, clocks)
{
    struct doctor_figures f = {0};
    begin();
    doctor_judge_clock(&chart, &f);
    cr_expect_eq(chart.count, 0, "nothing is known of it");
    f = (struct doctor_figures){.clock_known = true, .clock_ahead_ns = -30 * NS_PER_MS, .clock_error_ns = NS_PER_MS};
    doctor_judge_clock(&chart, &f);
    last_is(DOCTOR_GOOD, "30 ms behind ours, give or take 1.00 ms");
    f.clock_ahead_ns = 90 * NS_PER_SEC;
    doctor_judge_clock(&chart, &f);
    last_is(DOCTOR_BETTER, "ahead of ours");
    doctor_chart_release(&chart);
}

Test(doctor, servers)
{
    struct nfs41_facts facts = {.slots = 64, .operations_max = 50, .request_max = 1 << 20, .server = "box"};
    begin();
    doctor_judge_server(&chart, &facts);
    last_is(DOCTOR_GOOD, "64 slots, 50 operations");
    cr_expect_eq(chart.marks[DOCTOR_BETTER], 0);
    facts.slots = 4;
    facts.steps = NFS41_STEP_NO_VERIFY | NFS41_STEP_OWNERS;
    doctor_judge_server(&chart, &facts);
    cr_expect_eq(chart.marks[DOCTOR_BETTER], 2, "the slots and VERIFY; owners are judged by what was tried");
    doctor_chart_release(&chart);
}

Test(doctor, direct)
{
    struct doctor_figures mount = {.files_per_s = 100, .bytes_per_s = 1e8};
    struct doctor_figures direct = {.files_per_s = 350, .bytes_per_s = 2e8};
    begin();
    doctor_judge_direct(&chart, "nfs://s/e", &mount, &direct);
    cr_expect_not_null(strstr(chart.lines[0].text, "3.5 times"));
    cr_expect_str_eq(chart.lines[0].fix, "--direct, or 'nfs://s/e' as DST");
    direct.files_per_s = 90;
    doctor_judge_direct(&chart, "nfs://s/e", &mount, &direct);
    cr_expect_null(chart.lines[1].fix, "what is slower is not proposed");
    doctor_chart_release(&chart);
}

/* What is printed, and that a full disk is noticed. */
Test(doctor, output)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    cr_assert_not_null(out);
    cr_assert_eq(doctor_chart_init(&chart, out, false), 0);
    doctor_add(&chart, DOCTOR_BAD, "vers", "vers=4.1", "NFS %s\n\033[2J", "4.0");
    doctor_chart_end(&chart, "/mnt", 41);
    fclose(out);
    cr_expect_not_null(strstr(text, "BAD   vers          NFS 4.0\\n"), "%s", text);
    cr_expect_not_null(strstr(text, "-> vers=4.1\n"), "%s", text);
    cr_expect_not_null(strstr(text, "1 bad, 0 could be better\n"), "%s", text);
    cr_expect_null(strchr(text, '\033'));
    cr_expect_eq(chart.failed, 0);
    doctor_chart_release(&chart);
    free(text);
    out = fopen("/dev/full", "w");
    cr_assert_not_null(out);
    cr_assert_eq(doctor_chart_init(&chart, out, false), 0);
    doctor_add(&chart, DOCTOR_GOOD, "vers", NULL, "NFS 4.1");
    cr_expect_eq(chart.failed, -EIO);
    doctor_chart_release(&chart);
    fclose(out);
}
