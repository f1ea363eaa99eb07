/*
 * doctor_chart: what haul doctor has found: lines with marks, and figures; as text, or with --json as events.
 */
#ifndef HAUL_COPIER_DOCTOR_CHART_H
#define HAUL_COPIER_DOCTOR_CHART_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum doctor_mark {
    DOCTOR_FACT,   /* neither good nor bad */
    DOCTOR_GOOD,   /* as it should be */
    DOCTOR_BETTER, /* could be better */
    DOCTOR_BAD,    /* loses data, time or the run */
    DOCTOR_MARKS
};

struct doctor_line {
    enum doctor_mark mark; /* see above */
    const char *topic;     /* a word ("rsize"); static */
    char *text;            /* what is so; owned */
    char *fix;             /* what to do about it; NULL: nothing; owned */
};

struct doctor_chart {
    FILE *out;                  /* not owned; NULL: nothing is printed */
    bool json;                  /* an event a line */
    struct doctor_line *lines;  /* all so far; owned */
    size_t count;               /* of lines */
    size_t marks[DOCTOR_MARKS]; /* lines with each mark */
    json_t *figures;            /* numbers for the last event; owned */
    int failed;                 /* 0; -ENOMEM: a line is missing; -EIO: one could not be written */
};

/* In the caller's storage. out as above. 0 or -ENOMEM. */
int doctor_chart_init(struct doctor_chart *c, FILE *out, bool json);
void doctor_chart_release(struct doctor_chart *c); /* one that is zeroed is fine */

/* One more line, printed at once. fix NULL: nothing is to be done. A failure is kept in c->failed. */
void doctor_add(struct doctor_chart *c, enum doctor_mark mark, const char *topic, const char *fix, const char *format,
                ...) __attribute__((format(printf, 5, 6)));

/* The last lines: how many of each mark; with json the event "doctor" with all figures. */
void doctor_chart_end(struct doctor_chart *c, const char *place, int status);

#endif
