/*
 * look_report: what a look tells: its findings as they come, progress, its figures at the end. Any thread.
 */
#ifndef HAUL_COPIER_LOOK_REPORT_H
#define HAUL_COPIER_LOOK_REPORT_H

#include "copier/look.h"

/* The start event: what is looked at, and which state remembers it ("": none). */
void look_report_start(struct look *l, const char *state);

/* A line of the table, or an event. */
void look_report_finding(struct look *l, const struct finding *f);

/* Findings by kind, as lines: how many, and what became of them. Nothing where there are none. */
void look_report_counts(struct look *l);

/* A figure of the end event besides those that every look has. */
struct look_figure {
    const char *key;
    uint64_t value;
};

/* The notices and, with --json, the end event: status, seconds, entries, findings by kind. 0; -EIO as report_ended. */
int look_report_end(struct look *l, int status, const struct look_figure *figures, unsigned count);

/* The thread that shows progress. 0, -ENOMEM, -EAGAIN. */
struct look_progress;
int look_progress_create(struct look *l, struct look_progress **out_progress);
void look_progress_destroy(struct look_progress *p); /* NULL is fine */

#endif
