/*
 * lease_look: looking at a lease, and telling whether its holder lives.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/lease_internal.h"

#define RUN_TRIES 4                  /* of one request */
#define RUN_PAUSE (50 * NS_PER_MS)   /* before the first repeat; doubled each time */
#define GRACE_NS  (1 * NS_PER_SEC)   /* a killed process disappears in that time */
#define OLD_NS    (600 * NS_PER_SEC) /* older than ours by that much: not renewed for long, whatever the clocks */
#define STEP_MAX  (500 * NS_PER_MS)
#define STEP_MIN  (10 * NS_PER_MS)

int lease_run(struct port *port, struct store_op *op)
{
    int64_t pause = RUN_PAUSE;
    for (unsigned i = 1;; i++) {
        int r = store_run(port, op);
        bool guard = store_op_guarded(op);
        if (r == 0 || guard || i == RUN_TRIES || err_classify(r, port->store->caps.network, false) != ERR_TRANSIENT ||
            io_sleep(port->io, pause) != 0) {
            return r;
        }
        pause *= 2;
    }
}

int lease_look_in(struct port *port, struct dir *haul, struct lease_seen *out)
{
    char text[LEASE_TEXT_MAX];
    size_t len = 0;
    struct attr before = {0};
    struct attr after = {0};
    struct store_op op = {.code = STORE_STAT, .dir = haul, .name = LEASE_NAME, .stat = {.out = &after, .fresh = true}};
    /* A mount without close-to-open may read an old one from its cache for a minute: the server is asked first. */
    const struct store_caps *caps = &port->store->caps;
    int r = caps->network && !caps->uncached ? lease_run(port, &op) : 0;
    if (r == -ENOENT) {
        *out = (struct lease_seen){0};
        return 0;
    }
    if (r != 0) {
        return r;
    }
    op = (struct store_op){
        .code = STORE_READ_SMALL,
        .dir = haul,
        .name = LEASE_NAME,
        .read_small = {.buf = text, .size = sizeof text, .out_len = &len, .before = &before, .after = &after}};
    r = lease_run(port, &op);
    if (r == 0) {
        /* A lease is replaced, never written over: what was read is one whole lease. */
        *out = (struct lease_seen){.there = true, .attr = after, .digest = XXH3_64bits(text, len)};
        out->parsed = lease_parse(text, len, &out->owner) == 0;
        return 0;
    }
    if (r == -ENOENT) {
        *out = (struct lease_seen){0};
        return 0;
    }
    if (r == -EFBIG) { /* none of ours, but somebody's: whether it changes can be told all the same */
        op = (struct store_op){.code = STORE_STAT, .dir = haul, .name = LEASE_NAME, .stat = {.out = &after}};
        r = lease_run(port, &op);
        *out = (struct lease_seen){.there = r == 0, .attr = after};
        return r == -ENOENT ? 0 : r;
    }
    return r;
}

int lease_look(struct port *port, struct dir *root, struct lease_seen *out_seen)
{
    /* A node of its own each time: .haul/ may have been removed and made again since the last look. */
    struct dir *haul = NULL;
    int r = dir_create_child(root, HAUL_DIR, strlen(HAUL_DIR), &haul);
    if (r == 0) {
        r = lease_look_in(port, haul, out_seen);
        dir_put(haul);
    }
    return r;
}

void lease_facts(const struct lease_owner *self, const struct lease_seen *seen, uint64_t root_ino, int64_t now_ns,
                 struct lease_facts *out_facts)
{
    *out_facts = (struct lease_facts){0};
    if (!seen->parsed || self->boot[0] == '\0' || strcmp(self->boot, seen->owner.boot) != 0) {
        return;
    }
    int64_t age = now_ns - seen->owner.renewed_ns;
    out_facts->gone = lease_process_gone(self, &seen->owner);
    out_facts->young = !out_facts->gone && age >= 0 && age < 2 * seen->owner.period_ns && seen->owner.root == root_ino;
}

int64_t lease_period(const struct lease_seen *seen, int64_t own_ns)
{
    return seen->parsed && seen->owner.period_ns > own_ns ? seen->owner.period_ns : own_ns;
}

int64_t lease_step_ns(int64_t period_ns)
{
    int64_t step = period_ns / 10;
    return step < STEP_MIN ? STEP_MIN : step > STEP_MAX ? STEP_MAX : step;
}

static bool same_lease(const struct lease_seen *a, const struct lease_seen *b)
{
    return a->digest == b->digest && a->attr.ino == b->attr.ino && a->attr.size == b->attr.size &&
           clock_cmp(&a->attr.mtime, &b->attr.mtime) == 0;
}

enum lease_verdict lease_watch_step(struct lease_watch *w, const struct lease_seen *seen,
                                    const struct lease_facts *facts, int64_t own_period_ns, int64_t asked_ns,
                                    int64_t now_ns)
{
    int64_t period = lease_period(seen, own_period_ns);
    if (!seen->there) {
        w->begun = false;
        return LEASE_NONE;
    }
    if (facts->gone) {
        return LEASE_GONE;
    }
    if (!w->begun) {
        *w = (struct lease_watch){.begun = true, .first = *seen, .begun_ns = now_ns, .since_ns = now_ns};
    } else if (!same_lease(&w->first, seen)) {
        w->first = *seen;
        w->since_ns = now_ns;
        return LEASE_LIVES;
    } else if (now_ns - asked_ns > period) {
        w->since_ns = now_ns; /* a destination that did not answer us did not answer the holder either */
    }
    if (facts->young && now_ns - w->begun_ns >= (period < GRACE_NS ? period : GRACE_NS)) {
        return LEASE_LIVES;
    }
    return now_ns - w->since_ns >= LEASE_SILENT_PERIODS * period ? LEASE_SILENT : LEASE_UNKNOWN;
}

/* ---- below the root ---- */

/* Whether name in dir is a directory. 1, 0, or -errno. */
static int has_dir(struct port *port, struct dir *dir, const char *name, uint64_t *out_dir_ino)
{
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = name, .stat = {.out = &attr}};
    int r = store_run(port, &op);
    if (r != 0 || !S_ISDIR(attr.mode)) {
        return r == -ENOENT ? 0 : r;
    }
    op = (struct store_op){.code = STORE_STAT, .dir = dir, .stat = {.out = &attr}};
    r = store_run(port, &op);
    *out_dir_ino = attr.ino;
    return r != 0 ? r : 1;
}

int lease_check_dir(const struct lease *l, struct port *port, struct dir *dir, char out_who[LEASE_WHO_MAX])
{
    struct lease_watch watch = {0};
    struct lease_seen seen = {0};
    struct lease_facts facts;
    uint64_t ino = 0;
    int r = has_dir(port, dir, HAUL_DIR, &ino);
    while (r > 0) {
        int64_t asked = clock_boot_ns();
        r = lease_look(port, dir, &seen);
        if (r != 0 || !seen.there) {
            break;
        }
        int64_t now = clock_boot_ns();
        /* Both stamps are the destination's. */
        if (atomic_load(&l->mtime_ns) - clock_ns_of(&seen.attr.mtime) > OLD_NS) {
            return 0;
        }
        lease_facts(&l->self, &seen, ino, now, &facts);
        switch (lease_watch_step(&watch, &seen, &facts, l->options.period_ns, asked, now)) {
        case LEASE_LIVES:
            if (seen.parsed) {
                lease_describe(&seen.owner, out_who);
            } else {
                snprintf(out_who, LEASE_WHO_MAX, "%s", "its lease is none that this haul can read");
            }
            return -ERR_OWNED;
        case LEASE_UNKNOWN:
            r = io_sleep(port->io, lease_step_ns(l->options.period_ns)) == 0 ? 1 : -ECANCELED;
            break;
        case LEASE_NONE:
        case LEASE_GONE:
        case LEASE_SILENT:
            return 0;
        }
    }
    /* What no haul makes is not haul's: somebody's own entry of that name. */
    return r == -EACCES || r == -ENOTDIR || r == -ELOOP || r == -ERR_CHANGED ? 0 : r;
}
