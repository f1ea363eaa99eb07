/*
 * engine_end: how a run ends: its exit status, its last words, its row in the state; and how it leaves where source or
 * destination do not answer.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/channel.h"
#include "copier/engine_internal.h"
#include "copier/look.h"
#include "copier/metrics.h"
#include "copier/server.h"
#include "copier/status.h"
#include "copier/sync.h"

/* A stop that came when nothing was left to do has stopped nothing. */
static bool was_interrupted(const struct engine *e)
{
    return atomic_load(&e->interrupted) &&
           (atomic_load(&e->counts->unfinished) > 0 || !atomic_load(&planner_counts(e->planner)->complete));
}

int engine_status(const struct engine *e)
{
    if (was_interrupted(e)) {
        return atomic_load(&e->stop_status);
    }
    if (atomic_load(&e->out_of_time)) {
        return STATUS_OUT_OF_TIME;
    }
    if (atomic_load(&e->fatal) != 0) {
        return STATUS_CANNOT;
    }
    if (atomic_load(&e->counts->failed) > 0 || atomic_load(&e->counts->broken) > 0) {
        return STATUS_SOME_FAILED;
    }
    if (atomic_load(&e->sync.max_deleted)) {
        return STATUS_MAX_DELETE;
    }
    if (atomic_load(&e->counts->changed) > 0) {
        return STATUS_SOME_CHANGED;
    }
    /* Nothing may be lost quietly: what was planned and not done is a failure, whatever the reason. */
    return atomic_load(&e->counts->unfinished) + atomic_load(&e->counts->sync_failed) > 0 ? STATUS_SOME_FAILED
                                                                                          : STATUS_OK;
}

/* Ends the run in the state. Where that cannot be kept, everything may have arrived, but not everything is well. */
static int end_state(struct engine *e, int status)
{
    int kept = e->planner != NULL ? sync_keep_left(e) : 0;
    int r = state_run_end(e->state, status);
    r = r == 0 ? kept : r;
    if (r == 0) {
        r = state_error(e->state);
    }
    if (r == -EBADMSG) {
        report_error(e->report, "the state '%s' is damaged; it is moved aside, and the next run makes a new one",
                     e->state_path);
    } else if (r != 0) {
        report_error(e->report, "the state '%s' could not be written: %s", e->state_path, err_text(r));
    }
    return r;
}

/* What was measured; out_of[side] is NULL where it could not be had. */
static void take_times(const struct engine *e, struct watch_times times[DIR_SIDES],
                       const struct watch_times *out_of[DIR_SIDES])
{
    for (int side = 0; side < DIR_SIDES; side++) {
        times[side] = (struct watch_times){0};
        out_of[side] = e->watch[side] != NULL && watch_times(e->watch[side], &times[side]) == 0 ? &times[side] : NULL;
    }
}

/* Tells how it ended. 0 or -EIO (report.h). */
static int tell_end(struct engine *e, int status, const char *but, const char *why)
{
    struct watch_times times[DIR_SIDES];
    struct io_facts facts;
    struct server_facts nfs[DIR_SIDES];
    pool_io_facts(e->pool, &facts);
    if (!facts.ring && facts.ring_error != 0) {
        notice_raise(e->notices, "io_uring is not available here; haul works without it");
    }
    struct report_end end = {
        .plan = planner_counts(e->planner),
        .notices = e->notices,
        .status = status,
        .interrupted = was_interrupted(e) || status == STATUS_OUT_OF_TIME,
        .fatal = atomic_load(&e->fatal),
        .why = why,
        .but = but,
        .elapsed_ns = clock_mono_ns() - e->begun_ns,
        .nfs =
            {[DIR_SRC] = engine_facts(e, DIR_SRC, &nfs[DIR_SRC]), [DIR_DST] = engine_facts(e, DIR_DST, &nfs[DIR_DST])},
        .io = &facts,
        .limit = pool_limit(e->pool),
        .run = e->run.number,
        .failing = e->failing,
        .failing_since_ns = e->failing_since_ns};
    take_times(e, times, end.times);
    if (why == NULL) {
        direct_tell(&e->direct, e->report, atomic_load(&e->counts->files));
    }
    int r = report_ended(e->report, &end);
    for (int side = 0; side < DIR_SIDES; side++) {
        watch_times_release(&times[side]);
    }
    return r;
}

int engine_finish(struct engine *e)
{
    int status = engine_status(e);
    const char *but = status == STATUS_MAX_DELETE ? "everything arrived, but nothing was removed"
                      : atomic_load(&e->counts->sync_failed) > 0
                          ? "everything arrived, but a sync of the destination failed: the next run copies it again"
                          : NULL;
    if (e->state != NULL && end_state(e, status) != 0) {
        status = status == STATUS_OK ? STATUS_SOME_FAILED : status;
        but = "everything arrived, but the state could not be kept: the next run compares more";
    }
    if (e->lease_failed) {
        status = status == STATUS_OK ? STATUS_SOME_FAILED : status;
        but = but != NULL ? but : "everything arrived, but the lease could not be given back";
    }
    int r = metrics_end(e->metrics, status, METRICS_WAIT_NS);
    if (r != 0) {
        report_error(e->report, "--metrics '%s': %s", e->options->metrics,
                     r == -ETIMEDOUT ? "it does not answer" : err_text(r));
        status = status == STATUS_OK ? STATUS_SOME_FAILED : status;
        but = but != NULL ? but : "everything arrived, but the metrics could not be written";
    }
    if (tell_end(e, status, but, NULL) != 0 && status == STATUS_OK) {
        status = STATUS_SOME_FAILED;
        metrics_end(e->metrics, status, METRICS_WAIT_NS);
    }
    return status;
}

bool engine_take_end(struct engine *e)
{
    return !atomic_exchange(&e->ending, true);
}

/* How a process ends that has something at the kernel which does not answer: releasing things might wait for it. */
_Noreturn void engine_exit(const struct engine *e, int status)
{
    fflush(NULL);
    channel_send(e->channel, CHANNEL_EXIT, status, -1);
    _exit(status);
}

void engine_left(const struct engine *e, int status)
{
    channel_send(e->channel, CHANNEL_RESULT, status, -1);
}

_Noreturn void engine_leave(struct engine *e, int status, const char *why)
{
    if (e->look != NULL) {
        report_error(e->report, "%s", why);
        look_left(e->look);
    } else if (atomic_load(&e->running)) {
        engine_stop(e);
        tell_end(e, status, NULL, why);
    } else {
        report_error(e->report, "%s; nothing was copied", why);
    }
    if (e->run.number != 0) {
        (void)end_state(e, status);
    }
    metrics_end(e->metrics, status, METRICS_HURRY_NS);
    engine_exit(e, status);
}
