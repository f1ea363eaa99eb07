#include "copier/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/status.h"

#define PERIOD_NS (5 * NS_PER_SEC)      /* between two files while the run is under way */
#define READ_MAX  ((size_t)1024 * 1024) /* bytes of an earlier file that are looked at */

struct metrics {
    struct engine *engine;    /* not owned; used while the run lasts */
    char *labels;             /* owned; constant */
    char *beside;             /* template of the name under which a file is made; owned; constant */
    pthread_t thread;         /* writes the file; but for the first one, and again after the last one */
    bool started;             /* thread was made; owner's thread only, like joined */
    bool joined;              /* it has ended */
    pthread_mutex_t lock;     /* for all below */
    pthread_cond_t wake;      /* the run has ended; the last file is written */
    bool begun;               /* metrics_begin was called: the run's number is there */
    bool ended;               /* the run has */
    bool written;             /* the last file is, or could not be */
    int status;               /* exit status, once it has ended */
    int err;                  /* of the last file: 0, -errno */
    struct metrics_past past; /* of earlier runs */
};

/* What stands there already. 0; -EINVAL: no regular file; -errno. */
static int read_past(struct metrics *m, const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return -EINVAL;
    }
    FILE *in = fopen(path, "re");
    char *text = in != NULL ? calloc(1, READ_MAX + 1) : NULL;
    int r = in == NULL ? -errno : text == NULL ? -ENOMEM : 0;
    if (r == 0) {
        (void)fread(text, 1, READ_MAX, in); /* what cannot be read says nothing */
        metrics_text_read(text, m->labels, &m->past);
    }
    if (in != NULL) {
        (void)fclose(in);
    }
    free(text);
    return r;
}

static int write_all(int fd, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        ssize_t n = write(fd, text, left);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            text += n;
            left -= (size_t)n;
        }
    }
    return 0;
}

/* The file, as a whole: made beside it under another name, and renamed. Not synced: that would wait for everything else
 * that is to be written to its file system, and after a power cut the state knows more than the file. */
static int replace(const struct metrics *m, const char *text)
{
    char *temp = strdup(m->beside);
    int fd = temp != NULL ? mkostemp(temp, O_CLOEXEC) : -1;
    int r = temp == NULL ? -ENOMEM : fd < 0 ? -errno : 0;
    if (fd >= 0) {
        r = fchmod(fd, 0644) != 0 ? -errno : write_all(fd, text);
        if (close(fd) != 0 && r == 0) {
            r = -errno;
        }
        if (r == 0 && rename(temp, m->engine->options->metrics) != 0) {
            r = -errno;
        }
        if (r != 0) {
            (void)unlink(temp);
        }
    }
    free(temp);
    return r;
}

/* With the lock: what is told now, but for the figures that planner, pool and stores have. */
static struct metrics_text what_is_told(const struct metrics *m)
{
    const struct engine *e = m->engine;
    int64_t now = clock_real_ns();
    int64_t took = clock_mono_ns() - e->begun_ns;
    struct metrics_text t = {.labels = m->labels,
                             .command = e->options->command == COMMAND_SYNC ? "sync" : "copy",
                             .past = m->past,
                             .running = !m->ended,
                             .run = m->begun ? e->run.number : 0,
                             .begun_ns = e->begun_real_ns,
                             .now_ns = now,
                             .took_ns = took,
                             .counts = e->counts};
    if (m->ended) {
        t.past.status = m->status;
        if (m->status == STATUS_OK) {
            t.past.success_ns = now;
            t.past.success_run_ns = took;
        }
    }
    return t;
}

/* One file. 0 or -errno. Blocks, not under the lock. */
static int tell(struct metrics *m)
{
    struct engine *e = m->engine;
    struct watch_times times[DIR_SIDES];
    pthread_mutex_lock(&m->lock);
    struct metrics_text t = what_is_told(m);
    pthread_mutex_unlock(&m->lock);
    bool walking = atomic_load(&e->running);
    if (walking) {
        t.plan = planner_counts(e->planner);
        t.in_flight = t.running ? pool_in_flight(e->pool) : 0;
        t.limit = pool_limit(e->pool);
    }
    for (int side = 0; side < DIR_SIDES; side++) {
        times[side] = (struct watch_times){0};
        t.times[side] = walking && watch_times(e->watch[side], &times[side]) == 0 ? &times[side] : NULL;
    }
    char *text = metrics_text(&t);
    for (int side = 0; side < DIR_SIDES; side++) {
        watch_times_release(&times[side]);
    }
    int r = text != NULL ? replace(m, text) : -ENOMEM;
    free(text);
    return r;
}

/* Waits until then (monotonic), or until *flag is set; with the lock. */
static void wait_for(struct metrics *m, const bool *flag, int64_t until_ns)
{
    const struct timespec until = {.tv_sec = until_ns / NS_PER_SEC, .tv_nsec = until_ns % NS_PER_SEC};
    int r = 0;
    while (!*flag && r == 0) {
        r = pthread_cond_timedwait(&m->wake, &m->lock, &until);
    }
}

static void *go_on(void *arg)
{
    struct metrics *m = arg;
    bool ended = false;
    while (!ended) {
        pthread_mutex_lock(&m->lock);
        wait_for(m, &m->ended, clock_mono_ns() + PERIOD_NS);
        ended = m->ended;
        pthread_mutex_unlock(&m->lock);
        int r = tell(m); /* one that could not be written is followed by the next; the last one counts */
        pthread_mutex_lock(&m->lock);
        m->written = ended;
        m->err = r;
        pthread_cond_broadcast(&m->wake);
        pthread_mutex_unlock(&m->lock);
    }
    return NULL;
}

/* 0; -EINVAL: what stands there is no regular file; -errno. */
static int create(struct engine *e, struct metrics **out_metrics)
{
    const struct options *o = e->options;
    struct metrics *m = calloc(1, sizeof *m);
    if (m == NULL) {
        return -ENOMEM;
    }
    m->engine = e;
    m->past.status = -1;
    m->labels = metrics_labels(o->source, o->destination, o->job);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&m->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&m->lock, NULL);
    if (asprintf(&m->beside, "%s.XXXXXX", o->metrics) < 0) {
        m->beside = NULL; /* it says nothing about it */
    }
    int r = m->beside == NULL || m->labels == NULL ? -ENOMEM : 0;
    if (r == 0) {
        r = read_past(m, o->metrics);
    }
    if (r == 0) {
        r = tell(m);
    }
    if (r == 0) {
        r = -pthread_create(&m->thread, NULL, go_on, m);
        m->started = r == 0;
    }
    if (r != 0) {
        metrics_destroy(m);
        return r;
    }
    *out_metrics = m;
    return 0;
}

int metrics_start(struct engine *e)
{
    const char *path = e->options->metrics;
    if (path == NULL || e->options->dry_run) {
        return 0;
    }
    int r = create(e, &e->metrics);
    if (r != 0) {
        report_error(e->report, "--metrics '%s': %s", path, r == -EINVAL ? "it is no regular file" : err_text(r));
        return STATUS_CANNOT;
    }
    return 0;
}

void metrics_begin(struct metrics *m)
{
    if (m == NULL) {
        return;
    }
    const struct engine *e = m->engine;
    struct state_run success;
    bool known = e->state != NULL && state_last_success(e->state, &success) == 0;
    pthread_mutex_lock(&m->lock);
    m->begun = true;
    if (e->state != NULL && e->previous.number != 0) {
        m->past.status = e->previous.status >= 0 ? e->previous.status : m->past.status;
    }
    if (known) {
        m->past.success_ns = success.ended_ns;
        m->past.success_run_ns = success.ended_ns - success.started_ns;
    }
    pthread_mutex_unlock(&m->lock);
}

int metrics_end(struct metrics *m, int status, int64_t wait_ns)
{
    if (m == NULL) {
        return 0;
    }
    pthread_mutex_lock(&m->lock);
    bool again = m->ended && m->status != status;
    m->status = status;
    m->ended = true;
    pthread_cond_broadcast(&m->wake);
    wait_for(m, &m->written, clock_mono_ns() + wait_ns);
    bool written = m->written;
    int r = written ? m->err : -ETIMEDOUT;
    pthread_mutex_unlock(&m->lock);
    if (written && !m->joined) {
        pthread_join(m->thread, NULL);
        m->joined = true;
    }
    return written && again ? tell(m) : r;
}

void metrics_destroy(struct metrics *m)
{
    if (m == NULL || (m->started && !m->joined)) {
        return;
    }
    pthread_cond_destroy(&m->wake);
    pthread_mutex_destroy(&m->lock);
    free(m->labels);
    free(m->beside);
    free(m);
}
