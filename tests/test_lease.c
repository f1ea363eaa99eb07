#include "copier/lease.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/errs.h"
#include "base/notice.h"
#include "copier/lease_internal.h"
#include "support_io.h"
#include "workers/stores/posix.h"

#define PERIOD (500 * NS_PER_MS)
#define RUN_A  "0123456789abcdef"
#define RUN_B  "fedcba9876543210"

/* ---- what stands in the file ---- */

static struct lease_owner somebody(const char *run)
{
    struct lease_owner o;
    cr_assert_eq(lease_self(&o), 0);
    snprintf(o.run, sizeof o.run, "%s", run);
    o.period_ns = PERIOD;
    o.renewal = 7;
    o.renewed_ns = 12345678901234;
    o.root = UINT64_MAX - 5; /* as some servers count */
    return o;
}

Test(lease, text_comes_back, .timeout = 10)
{
    struct lease_owner a = somebody(RUN_A);
    struct lease_owner b = {0};
    char text[LEASE_TEXT_MAX];
    char who[LEASE_WHO_MAX];
    size_t len = 0;
    cr_assert_eq(lease_format(&a, text, &len), 0);
    cr_assert_eq(lease_parse(text, len, &b), 0);
    cr_assert_str_eq(b.host, a.host);
    cr_assert_str_eq(b.boot, a.boot);
    cr_assert_str_eq(b.run, RUN_A);
    cr_assert_eq(b.pid, getpid());
    cr_assert_eq(b.pidns, a.pidns);
    cr_assert_eq(b.started, a.started);
    cr_assert_eq(b.since_s, a.since_s);
    cr_assert_eq(b.renewal, 7);
    cr_assert_eq(b.period_ns, PERIOD);
    cr_assert_eq(b.renewed_ns, a.renewed_ns);
    cr_assert_eq(b.root, a.root);
    lease_describe(&b, who);
    cr_assert_not_null(strstr(who, RUN_A));
    cr_assert_not_null(strstr(who, "UTC"));
    /* Every beginning of it is no lease. */
    for (size_t cut = 0; cut < len - 1; cut++) {
        cr_assert_eq(lease_parse(text, cut, &b), -EINVAL, "%zu bytes", cut);
    }
}

#define REST "\"boot\":\"b\",\"pidns\":1,\"started\":1,\"since\":1,\"renewal\":1,\"renewed_ns\":1,\"root\":1"

Test(lease, garbage_is_no_lease, .timeout = 10)
{
    static const char *const garbage[] = {
        "",
        "x",
        "null",
        "[]",
        "{}",
        "{\"haul\":\"1\"}",
        "{\"haul\":1}",
        "{\"haul\":0,\"host\":\"h\",\"run\":\"" RUN_A "\",\"pid\":1,\"period_ms\":5000," REST "}",
        "{\"haul\":1,\"host\":\"h\",\"run\":\"short\",\"pid\":1,\"period_ms\":5000," REST "}",
        "{\"haul\":1,\"host\":\"h\",\"run\":\"" RUN_A "\",\"pid\":0,\"period_ms\":5000," REST "}",
        "{\"haul\":1,\"host\":\"h\",\"run\":\"" RUN_A "\",\"pid\":-1,\"period_ms\":5000," REST "}",
        "{\"haul\":1,\"host\":\"h\",\"run\":\"" RUN_A "\",\"pid\":99999999999,\"period_ms\":5000," REST "}",
        "{\"haul\":1,\"host\":\"h\",\"run\":\"" RUN_A "\",\"pid\":1,\"period_ms\":0," REST "}",
        "{\"haul\":1,\"host\":7,\"run\":\"" RUN_A "\",\"pid\":1,\"period_ms\":5000," REST "}",
        "{\"haul\":1,\"haul\":1,\"host\":\"h\",\"run\":\"" RUN_A "\",\"pid\":1,\"period_ms\":5000," REST "}",
    };
    struct lease_owner o;
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        cr_assert_eq(lease_parse(garbage[i], strlen(garbage[i]), &o), -EINVAL, "%s", garbage[i]);
    }
    const char *newer = "{\"haul\":2,\"anything\":[]}";
    cr_assert_eq(lease_parse(newer, strlen(newer), &o), -EPROTO);
}

Test(lease, what_is_printed_is_printable_and_what_is_waited_for_bounded, .timeout = 10)
{
    const char *text =
        "{\"haul\":1,\"host\":\"a\\u001b[2Jb\",\"run\":\"" RUN_A "\",\"pid\":1,\"period_ms\":999999999999," REST "}";
    struct lease_owner o;
    char who[LEASE_WHO_MAX];
    cr_assert_eq(lease_parse(text, strlen(text), &o), 0);
    lease_describe(&o, who);
    cr_assert_null(strchr(who, '\033'));
    cr_assert_leq(o.period_ns, 60 * NS_PER_SEC);
}

/* ---- whether a holder lives ---- */

Test(lease, a_process_is_gone_only_where_that_is_known, .timeout = 10)
{
    struct lease_owner self = somebody(RUN_A);
    struct lease_owner o = self;
    cr_assert_not(lease_process_gone(&self, &o));
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        pause();
        _exit(0);
    }
    o.pid = child;
    o.started--; /* we, and so the child, may have started within the same tick */
    cr_assert(lease_process_gone(&self, &o), "another process of that number");
    kill(child, SIGKILL);
    siginfo_t info;
    cr_assert_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    cr_assert(lease_process_gone(&self, &o), "nobody has waited for it yet");
    cr_assert_eq(waitpid(child, NULL, 0), child);
    cr_assert(lease_process_gone(&self, &o));
    /* Elsewhere that number says nothing. */
    o.pidns++;
    cr_assert_not(lease_process_gone(&self, &o));
    o.pidns--;
    o.boot[0] ^= 1;
    cr_assert_not(lease_process_gone(&self, &o));
    o = self;
    o.pid = child;
    self.boot[0] = '\0';
    o.boot[0] = '\0';
    cr_assert_not(lease_process_gone(&self, &o), "without /proc nothing is known");
}

static struct lease_seen seen_now(uint64_t digest)
{
    return (struct lease_seen){.there = true, .digest = digest, .attr = {.ino = digest}};
}

Test(lease, silent_for_three_periods_of_our_clock, .timeout = 10)
{
    const struct lease_facts none = {0};
    struct lease_watch w = {0};
    struct lease_seen one = seen_now(1);
    struct lease_seen two = seen_now(2);
    struct lease_seen gone = {0};
    int64_t t = 1000 * PERIOD;
    cr_assert_eq(lease_watch_step(&w, &one, &none, PERIOD, t, t), LEASE_UNKNOWN);
    cr_assert_eq(lease_watch_step(&w, &one, &none, PERIOD, t + PERIOD, t + PERIOD), LEASE_UNKNOWN);
    cr_assert_eq(lease_watch_step(&w, &two, &none, PERIOD, t + 2 * PERIOD, t + 2 * PERIOD), LEASE_LIVES);
    t += 2 * PERIOD;
    cr_assert_eq(lease_watch_step(&w, &two, &none, PERIOD, t + 3 * PERIOD - 1, t + 3 * PERIOD - 1), LEASE_UNKNOWN);
    cr_assert_eq(lease_watch_step(&w, &two, &none, PERIOD, t + 3 * PERIOD, t + 3 * PERIOD), LEASE_SILENT);
    cr_assert_eq(lease_watch_step(&w, &gone, &none, PERIOD, t, t), LEASE_NONE);
    /* One that comes back is looked at anew. */
    cr_assert_eq(lease_watch_step(&w, &two, &none, PERIOD, t + 9 * PERIOD, t + 9 * PERIOD), LEASE_UNKNOWN);
}

Test(lease, a_destination_that_does_not_answer_proves_nothing, .timeout = 10)
{
    const struct lease_facts none = {0};
    struct lease_watch w = {0};
    struct lease_seen one = seen_now(1);
    int64_t t = 1000 * PERIOD;
    cr_assert_eq(lease_watch_step(&w, &one, &none, PERIOD, t, t), LEASE_UNKNOWN);
    /* The look was answered ten periods after it was asked. */
    cr_assert_eq(lease_watch_step(&w, &one, &none, PERIOD, t + PERIOD, t + 11 * PERIOD), LEASE_UNKNOWN);
    t += 11 * PERIOD;
    cr_assert_eq(lease_watch_step(&w, &one, &none, PERIOD, t + 2 * PERIOD, t + 2 * PERIOD), LEASE_UNKNOWN);
    cr_assert_eq(lease_watch_step(&w, &one, &none, PERIOD, t + 3 * PERIOD, t + 3 * PERIOD), LEASE_SILENT);
}

Test(lease, its_own_period_counts_where_it_is_longer, .timeout = 10)
{
    const struct lease_facts none = {0};
    struct lease_watch w = {0};
    struct lease_seen one = seen_now(1);
    int64_t t = 1000 * PERIOD;
    one.parsed = true;
    one.owner.period_ns = 10 * PERIOD;
    cr_assert_eq(lease_watch_step(&w, &one, &none, PERIOD, t, t), LEASE_UNKNOWN);
    cr_assert_eq(lease_watch_step(&w, &one, &none, PERIOD, t + 29 * PERIOD, t + 29 * PERIOD), LEASE_UNKNOWN);
    cr_assert_eq(lease_watch_step(&w, &one, &none, PERIOD, t + 30 * PERIOD, t + 30 * PERIOD), LEASE_SILENT);
}

Test(lease, on_the_same_machine_nobody_waits, .timeout = 10)
{
    const struct lease_facts dead = {.gone = true};
    const struct lease_facts young = {.young = true};
    struct lease_watch w = {0};
    struct lease_seen one = seen_now(1);
    int64_t t = 1000 * PERIOD;
    cr_assert_eq(lease_watch_step(&w, &one, &dead, PERIOD, t, t), LEASE_GONE);
    w = (struct lease_watch){0};
    /* A process that is being killed gets a moment to disappear. */
    cr_assert_eq(lease_watch_step(&w, &one, &young, PERIOD, t, t), LEASE_UNKNOWN);
    cr_assert_eq(lease_watch_step(&w, &one, &young, PERIOD, t + PERIOD, t + PERIOD), LEASE_LIVES);
}

Test(lease, a_copy_of_a_lease_is_not_young, .timeout = 10)
{
    struct lease_owner self = somebody(RUN_A);
    struct lease_seen seen = {.there = true, .parsed = true, .owner = self};
    struct lease_facts facts;
    int64_t now = self.renewed_ns + PERIOD;
    seen.owner.root = 5;
    lease_facts(&self, &seen, 5, now, &facts);
    cr_assert(facts.young);
    lease_facts(&self, &seen, 6, now, &facts);
    cr_assert_not(facts.young, "it was copied with its directory");
    lease_facts(&self, &seen, 5, self.renewed_ns + 2 * PERIOD, &facts);
    cr_assert_not(facts.young);
    lease_facts(&self, &seen, 5, self.renewed_ns - 1, &facts);
    cr_assert_not(facts.young, "a clock that runs backwards proves nothing");
}

/* ---- one run and another ---- */

struct run {
    struct fence fence;
    struct store *store;
    struct lease *lease;
    char path[256];
    int64_t period_ns;
    int64_t touch_ns;
    bool look_only;
    bool starves;                     /* once it has taken a lease over it can open nothing any more */
    bool shut_above;                  /* the directory above cannot be opened */
    struct notices *notices;          /* NULL: nobody is told */
    atomic_int lost;                  /* errno */
    atomic_int evicted;               /* times */
    char evicted_run[RUN_ID_LEN + 1]; /* the last one */
};

/* Nothing, or what may not be opened. */
static int nothing_above(void *arg, struct io *io, unsigned levels, struct store **out_store, char **out_path)
{
    const struct run *r = arg;
    (void)io;
    (void)out_store;
    (void)out_path;
    return r->shut_above && levels == 1 ? -EACCES : -ENOENT;
}

static void note_lost(void *arg, int err, const char *who)
{
    struct run *r = arg;
    cr_assert_neq(who[0], '\0');
    atomic_store(&r->lost, err);
}

/* How many descriptors may be open. */
static void descriptors(rlim_t most)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = most;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void note_evicted(void *arg, struct io *io, const char *run_id)
{
    struct run *r = arg;
    cr_assert_not_null(io);
    if (r->starves) {
        descriptors(3); /* those that it has, and as many as poll is given */
    }
    snprintf(r->evicted_run, sizeof r->evicted_run, "%s", run_id);
    atomic_fetch_add(&r->evicted, 1);
}

static void run_open(struct run *r, const char *path, const char *run_id)
{
    struct store_options o = {.side = DIR_DST, .path = path, .run_id = run_id, .max_handles = 16, .fence = &r->fence};
    *r = (struct run){.period_ns = PERIOD};
    snprintf(r->path, sizeof r->path, "%s", path);
    fence_init(&r->fence);
    cr_assert_eq(posix_open(&o, &r->store), 0);
}

static int run_take(struct run *r, const char *run_id, int stop_fd, struct lease_refusal *refusal)
{
    const struct lease_options o = {.store = r->store,
                                    .fence = &r->fence,
                                    .run_id = run_id,
                                    .path = r->path,
                                    .period_ns = r->period_ns,
                                    .look_only = r->look_only,
                                    .touch_ns = r->touch_ns,
                                    .notices = r->notices,
                                    .arg = r,
                                    .above = nothing_above,
                                    .evict = note_evicted,
                                    .lost = note_lost};
    return lease_take(&o, stop_fd, &r->lease, refusal);
}

static void run_close(struct run *r)
{
    lease_destroy(r->lease);
    store_destroy(r->store);
}

static char *lease_path(const char *dir, char path[512])
{
    snprintf(path, 512, "%s/.haul/lease", dir);
    return path;
}

static bool is_fenced_as(struct run *r, enum fence_state state)
{
    for (unsigned i = 0; i < 2000; i++) {
        if (fence_state(&r->fence, clock_boot_ns()) == state) {
            return true;
        }
        usleep(5000);
    }
    return false;
}

Test(lease, taken_renewed_and_given_back, .timeout = 60)
{
    char dir[256];
    char file[512];
    struct stat first;
    struct stat later;
    struct run a;
    struct lease_refusal refusal;
    int stop = eventfd(0, EFD_CLOEXEC);
    close(scratch_make(dir));
    run_open(&a, dir, RUN_A);
    cr_assert_eq(run_take(&a, RUN_A, stop, &refusal), 0, "%s", refusal.who);
    cr_assert(is_fenced_as(&a, FENCE_OPEN));
    cr_assert_eq(stat(lease_path(dir, file), &first), 0);
    cr_assert_eq(first.st_mode & 07777, 0644);
    do {
        usleep(5000);
        cr_assert_eq(stat(file, &later), 0);
    } while (first.st_ino == later.st_ino && first.st_mtim.tv_nsec == later.st_mtim.tv_nsec);
    lease_end_begin(a.lease, true);
    cr_assert_eq(lease_end(a.lease, 20 * NS_PER_SEC), 0);
    cr_assert_eq(access(file, F_OK), -1);
    *strrchr(file, '/') = '\0';
    cr_assert_eq(access(file, F_OK), -1, ".haul stays");
    cr_assert_eq(atomic_load(&a.lost), 0);
    run_close(&a);
    close(stop);
    scratch_remove(dir);
}

Test(lease, two_runs_one_owner, .timeout = 60)
{
    char dir[256];
    struct run a;
    struct run b;
    struct lease_refusal refusal;
    int stop = eventfd(0, EFD_CLOEXEC);
    close(scratch_make(dir));
    run_open(&a, dir, RUN_A);
    run_open(&b, dir, RUN_B);
    cr_assert_eq(run_take(&a, RUN_A, stop, &refusal), 0);
    cr_assert_eq(run_take(&b, RUN_B, stop, &refusal), -ERR_OWNED);
    cr_assert_not_null(strstr(refusal.who, RUN_A), "%s", refusal.who);
    cr_assert_str_eq(refusal.path, dir);
    free(refusal.path);
    cr_assert_eq(fence_state(&b.fence, clock_boot_ns()), FENCE_SHUT);
    lease_destroy(b.lease);
    lease_end_begin(a.lease, false);
    cr_assert_eq(lease_end(a.lease, 20 * NS_PER_SEC), 0);
    cr_assert_eq(run_take(&b, RUN_B, stop, &refusal), 0);
    run_close(&a);
    run_close(&b);
    close(stop);
    scratch_remove(dir);
}

Test(lease, anothers_in_its_place_is_a_loss, .timeout = 60)
{
    char dir[256];
    char file[512];
    char text[LEASE_TEXT_MAX];
    size_t len = 0;
    struct lease_owner other = somebody(RUN_B);
    struct run a;
    struct lease_refusal refusal;
    int stop = eventfd(0, EFD_CLOEXEC);
    close(scratch_make(dir));
    run_open(&a, dir, RUN_A);
    cr_assert_eq(run_take(&a, RUN_A, stop, &refusal), 0);
    /* Again and again: a renewal under way may replace it once. */
    cr_assert_eq(lease_format(&other, text, &len), 0);
    while (atomic_load(&a.lost) == 0) {
        char temp[600];
        int fd;
        snprintf(temp, sizeof temp, "%s.new", lease_path(dir, file));
        fd = open(temp, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
        cr_assert_eq(write(fd, text, len), (ssize_t)len);
        close(fd);
        cr_assert_eq(rename(temp, file), 0);
        usleep(5000);
    }
    cr_assert_eq(atomic_load(&a.lost), EOWNERDEAD);
    cr_assert_eq(fence_state(&a.fence, clock_boot_ns()), FENCE_LOST);
    lease_end_begin(a.lease, true);
    cr_assert_eq(lease_end(a.lease, 20 * NS_PER_SEC), 0);
    cr_assert_eq(access(file, F_OK), 0, "the other's lease was removed");
    run_close(&a);
    close(stop);
    scratch_remove(dir);
}

/* The server dropped our session: nothing passes until the lease has been looked at, which is at once. */
Test(lease, in_doubt_it_is_looked_at_at_once, .timeout = 60)
{
    char dir[256];
    struct run a;
    struct lease_refusal refusal;
    int stop = eventfd(0, EFD_CLOEXEC);
    close(scratch_make(dir));
    run_open(&a, dir, RUN_A);
    a.period_ns = 3600 * NS_PER_SEC;
    cr_assert_eq(run_take(&a, RUN_A, stop, &refusal), 0);
    cr_assert(is_fenced_as(&a, FENCE_OPEN));
    fence_doubt(&a.fence);
    cr_assert(is_fenced_as(&a, FENCE_OPEN), "it is still ours");
    cr_assert(!fence_doubted(&a.fence));
    /* Another's stands there now. */
    struct lease_owner other = somebody(RUN_B);
    char file[512];
    char text[LEASE_TEXT_MAX];
    size_t len = 0;
    cr_assert_eq(lease_format(&other, text, &len), 0);
    int fd = open(lease_path(dir, file), O_WRONLY | O_TRUNC | O_CLOEXEC);
    cr_assert_eq(write(fd, text, len), (ssize_t)len);
    close(fd);
    cr_assert_eq(fence_state(&a.fence, clock_boot_ns()), FENCE_OPEN, "nobody looks before the time");
    fence_doubt(&a.fence);
    cr_assert(is_fenced_as(&a, FENCE_LOST));
    cr_assert_eq(atomic_load(&a.lost), EOWNERDEAD);
    run_close(&a);
    close(stop);
    scratch_remove(dir);
}

/* Nobody's lease is seen where nobody may look; that it was not looked for is told. */
Test(lease, a_directory_above_that_is_shut, .timeout = 60)
{
    char dir[256];
    struct run a;
    struct lease_refusal refusal;
    const char *said = NULL;
    uint64_t times = 0;
    int stop = eventfd(0, EFD_CLOEXEC);
    close(scratch_make(dir));
    for (unsigned only = 0; only < 2; only++) {
        run_open(&a, dir, RUN_A);
        cr_assert_eq(notices_create(&a.notices), 0);
        a.shut_above = true;
        a.look_only = only > 0;
        cr_assert_eq(run_take(&a, RUN_A, stop, &refusal), 0, "%s", refusal.who);
        cr_assert_eq(notice_at(a.notices, 0, &said, &times), 0, "nothing was said");
        cr_assert_eq(times, 1);
        cr_assert_not_null(strstr(said, "a directory above the destination"));
        run_close(&a);
        notices_destroy(a.notices);
    }
    close(stop);
    scratch_remove(dir);
}

/* A lease with that text stands in dir. */
static void plant(const char *dir, const char *text, size_t len)
{
    char file[512];
    lease_path(dir, file);
    *strrchr(file, '/') = '\0';
    cr_assert_eq(mkdir(file, 0755), 0);
    int fd = open(lease_path(dir, file), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    cr_assert_eq(write(fd, text, len), (ssize_t)len);
    close(fd);
}

/* One of RUN_A, whose process is gone. */
static void plant_dead(const char *dir)
{
    char text[LEASE_TEXT_MAX];
    size_t len = 0;
    struct lease_owner other = somebody(RUN_A);
    other.period_ns = 20 * NS_PER_MS;
    cr_assert_eq(lease_format(&other, text, &len), 0);
    plant(dir, text, len);
}

/* A holder that is known to be gone, or silent: what the server still does for it is ended, once. */
Test(lease, who_takes_over_evicts, .timeout = 60)
{
    char dir[256];
    struct run b;
    struct lease_refusal refusal;
    int stop = eventfd(0, EFD_CLOEXEC);
    close(scratch_make(dir));
    plant_dead(dir);
    run_open(&b, dir, RUN_B);
    b.period_ns = 20 * NS_PER_MS;
    cr_assert_eq(run_take(&b, RUN_B, stop, &refusal), 0, "%s", refusal.who);
    cr_assert_eq(atomic_load(&b.evicted), 1);
    cr_assert_str_eq(b.evicted_run, RUN_A);
    run_close(&b);
    close(stop);
    scratch_remove(dir);
}

/* A destination that fails for good, in a way that mostly passes, before it is certain that the lease is ours: that
 * ends too. */
Test(lease, who_takes_over_is_not_kept_waiting_for_ever, .timeout = 20)
{
    char dir[256];
    struct run b;
    struct lease_refusal refusal = {0};
    int stop = eventfd(0, EFD_CLOEXEC);
    close(scratch_make(dir));
    plant_dead(dir);
    run_open(&b, dir, RUN_B);
    b.period_ns = 20 * NS_PER_MS;
    b.starves = true;
    cr_assert_eq(run_take(&b, RUN_B, stop, &refusal), -EMFILE);
    cr_assert_eq(atomic_load(&b.evicted), 1);
    descriptors(64);
    free(refusal.path);
    run_close(&b);
    close(stop);
    scratch_remove(dir);
}

Test(lease, waiting_ends_when_it_is_told_to, .timeout = 60)
{
    char dir[256];
    char file[512];
    struct run b;
    struct lease_refusal refusal;
    int stop = eventfd(1, EFD_CLOEXEC); /* at once */
    struct stat st;
    close(scratch_make(dir));
    /* Somebody else's, of which nothing is known but that it does not change. */
    plant(dir, "?", 1);
    run_open(&b, dir, RUN_B);
    cr_assert_eq(run_take(&b, RUN_B, stop, &refusal), -ECANCELED);
    free(refusal.path);
    run_close(&b);
    cr_assert_eq(stat(lease_path(dir, file), &st), 0);
    cr_assert_eq(st.st_size, 1, "it was taken over all the same");
    close(stop);
    scratch_remove(dir);
}
