/* How haul doctor judges mounts, by lines of mountinfo as kernels print them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "copier/doctor_mount.h"

TestSuite(doctor_mount, .timeout = 20);

#define GOOD                                                                                                           \
    "rw,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,hard,noresvport,proto=tcp,nconnect=4,timeo=600,retrans=2,"     \
    "sec=sys,clientaddr=10.0.0.9,local_lock=none,addr=10.0.0.1"

static struct doctor_chart chart;

static void judge_on(const char *flags, const char *source, const char *options)
{
    char line[1024];
    struct mount_place place = {0};
    int len = snprintf(line, sizeof line, "40 27 0:40 / /mnt/nfs %s shared:3 - nfs4 %s %s\n", flags, source, options);
    FILE *f = fmemopen(line, (size_t)len, "r");
    cr_assert_not_null(f);
    cr_assert_eq(mounts_place(f, "/mnt/nfs/dst", &place), 0);
    fclose(f);
    doctor_chart_release(&chart);
    cr_assert_eq(doctor_chart_init(&chart, NULL, false), 0);
    doctor_judge_mount(&chart, &place, true);
    cr_assert_eq(chart.failed, 0);
    mounts_release(&place);
}

static void judge(const char *options)
{
    judge_on("rw,relatime", "server:/export", options);
}

/* The last line about topic; NULL: there is none. */
static const struct doctor_line *line_of(const char *topic)
{
    for (size_t i = chart.count; i > 0; i--) {
        if (strcmp(chart.lines[i - 1].topic, topic) == 0) {
            return &chart.lines[i - 1];
        }
    }
    return NULL;
}

static void expect(const char *topic, enum doctor_mark mark, const char *fix)
{
    const struct doctor_line *line = line_of(topic);
    cr_assert_not_null(line, "nothing is said about %s", topic);
    cr_expect_eq(line->mark, mark, "%s: mark %d", topic, line->mark);
    if (fix == NULL) {
        cr_expect_null(line->fix, "%s: %s", topic, line->fix);
    } else {
        cr_assert_not_null(line->fix, "%s has no fix", topic);
        cr_expect_not_null(strstr(line->fix, fix), "%s: '%s' is not in '%s'", topic, fix, line->fix);
    }
}

Test(doctor_mount, a_good_one)
{
    judge(GOOD);
    for (size_t i = 0; i < chart.count; i++) {
        cr_expect(chart.lines[i].mark == DOCTOR_GOOD || chart.lines[i].mark == DOCTOR_FACT, "%s: %s",
                  chart.lines[i].topic, chart.lines[i].text);
        cr_expect_null(chart.lines[i].fix);
    }
    cr_expect_eq(chart.marks[DOCTOR_GOOD], 6);
    doctor_chart_release(&chart);
}

Test(doctor_mount, a_bad_one)
{
    judge("rw,vers=4.0,rsize=4096,wsize=4096,namlen=255,soft,proto=tcp,timeo=70,retrans=2,sec=krb5,addr=10.0.0.1");
    expect("vers", DOCTOR_BAD, "vers=4.1");
    expect("rsize", DOCTOR_BAD, "rsize=1048576");
    expect("wsize", DOCTOR_BAD, "wsize=1048576");
    expect("hard", DOCTOR_BAD, "hard");
    expect("timeo", DOCTOR_BETTER, "timeo=600");
    expect("noresvport", DOCTOR_BETTER, "noresvport");
    expect("nconnect", DOCTOR_BETTER, "nconnect=4");
    expect("mount", DOCTOR_FACT,
           "umount '/mnt/nfs' && mount -t nfs4 -o "
           "vers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,nconnect=4,sec=krb5 "
           "'server:/export' '/mnt/nfs'");
    cr_expect_eq(chart.marks[DOCTOR_BAD], 4);
    doctor_chart_release(&chart);
}

/* Each by itself: nothing else is found. */
static void alone(const char *options, const char *topic, enum doctor_mark mark, const char *fix)
{
    judge(options);
    expect(topic, mark, fix);
    cr_expect_eq(chart.marks[DOCTOR_BAD] + chart.marks[DOCTOR_BETTER], 1, "%s", options);
    doctor_chart_release(&chart);
}

Test(doctor_mount, one_at_a_time)
{
    const char *rest = "rw,vers=4.2,rsize=1048576,wsize=1048576,hard,noresvport,proto=tcp,nconnect=2,timeo=600";
    char text[512];
    alone("rw,vers=4.0,rsize=1048576,wsize=1048576,hard,noresvport,nconnect=4,timeo=600", "vers", DOCTOR_BAD,
          "vers=4.1");
    alone("rw,vers=3,rsize=1048576,wsize=1048576,hard,noresvport,nconnect=4,timeo=600,mountvers=3", "vers",
          DOCTOR_BETTER, "vers=4.1");
    alone("rw,vers=4.1,rsize=4096,wsize=1048576,hard,noresvport,nconnect=4,timeo=600", "rsize", DOCTOR_BAD,
          "rsize=1048576");
    alone("rw,vers=4.1,rsize=1048576,wsize=262144,hard,noresvport,nconnect=4,timeo=600", "wsize", DOCTOR_BETTER,
          "wsize=1048576");
    alone("rw,vers=4.1,rsize=1048576,wsize=1048576,hard,nconnect=4,timeo=600", "noresvport", DOCTOR_BETTER,
          "noresvport");
    alone("rw,vers=4.1,rsize=1048576,wsize=1048576,softerr,noresvport,nconnect=4,timeo=600", "hard", DOCTOR_BAD,
          "hard");
    alone("rw,vers=4.1,rsize=1048576,wsize=1048576,hard,noresvport,timeo=600", "nconnect", DOCTOR_BETTER, "nconnect=4");
    snprintf(text, sizeof text, "%s,noac", rest);
    alone(text, "ac", DOCTOR_BETTER, "without");
    snprintf(text, sizeof text, "%s,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0", rest);
    alone(text, "ac", DOCTOR_BETTER, "without");
    snprintf(text, sizeof text, "%s,lookupcache=none", rest);
    alone(text, "lookupcache", DOCTOR_BETTER, "without");
    snprintf(text, sizeof text, "%s,sync", rest);
    alone(text, "async", DOCTOR_BETTER, "without sync");
}

Test(doctor_mount, read_only)
{
    judge_on("ro,relatime", "server:/export", GOOD);
    expect("rw", DOCTOR_BAD, "rw");
    doctor_chart_release(&chart);
}

Test(doctor_mount, efs)
{
    const char *efs = "fs-12345678.efs.eu-west-1.amazonaws.com:/";
    judge_on("rw", efs, "rw,vers=4.1,rsize=1048576,wsize=1048576,hard,noresvport,timeo=600,retrans=2,addr=10.0.0.1");
    cr_expect_eq(chart.marks[DOCTOR_BAD] + chart.marks[DOCTOR_BETTER], 0, "one connection is right there");
    judge_on("rw", efs, "rw,vers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,nconnect=4,addr=10.0.0.1");
    expect("noresvport", DOCTOR_BAD, "noresvport");
    expect("nconnect", DOCTOR_BETTER, "without");
    expect("mount", DOCTOR_FACT, "noresvport 'fs-12345678.efs.eu-west-1.amazonaws.com:/' '/mnt/nfs'");
    judge_on("rw", "127.0.0.1:/", "rw,vers=4.1,rsize=1048576,wsize=1048576,hard,port=20449,timeo=600,addr=127.0.0.1");
    expect("noresvport", DOCTOR_BAD, "noresvport");
    expect("mount", DOCTOR_FACT, "noresvport,port=20449 ");
    judge_on("rw", "nfs.efs.example.com:/", "rw,vers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,addr=10.0.0.1");
    expect("noresvport", DOCTOR_BETTER, "noresvport");
    doctor_chart_release(&chart);
}

Test(doctor_mount, names_that_do_harm)
{
    judge_on("rw", "server:/a\\033[2J", GOOD);
    cr_expect_null(strchr(line_of("mount")->text, '\033'));
    doctor_chart_release(&chart);
}
