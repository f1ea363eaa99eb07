/*
 * janitor_look: looking at what was published, and what is done about it. In fibers of the workers.
 */
#include <errno.h>
#include <stddef.h>

#include "base/clock.h"
#include "cleanup/janitor_internal.h"

enum finding_kind janitor_found_kind(enum janitor_found found)
{
    static const enum finding_kind kinds[] = {
        [FOUND_RIGHT] = FINDING_NONE,   [FOUND_GONE] = FINDING_MISSING,       [FOUND_REPLACED] = FINDING_REPLACED,
        [FOUND_TYPE] = FINDING_DIFFERS, [FOUND_MODE_EMPTY] = FINDING_CORRUPT, [FOUND_MODE] = FINDING_UNREADABLE,
        [FOUND_EMPTY] = FINDING_EMPTY,  [FOUND_SIZE] = FINDING_DIFFERS,
    };
    return (unsigned)found < sizeof(kinds) / sizeof(kinds[0]) ? kinds[found] : FINDING_NONE;
}

/* Somebody else's, unless it is just what was published: there are file systems whose inode numbers move. */
static enum janitor_found judge_other(const struct attr *dst, const struct attr *now)
{
    return now->size == dst->size && clock_cmp(&now->mtime, &dst->mtime) == 0 ? FOUND_RIGHT : FOUND_REPLACED;
}

enum janitor_found janitor_judge(const struct attr *src, const struct attr *dst, const struct attr *now)
{
    if (now == NULL) {
        return FOUND_GONE;
    }
    if ((now->mode & S_IFMT) != (dst->mode & S_IFMT)) {
        return FOUND_TYPE;
    }
    if (!S_ISREG(dst->mode)) {
        return now->ino == dst->ino ? FOUND_RIGHT : judge_other(dst, now);
    }
    bool shut = (now->mode & 07777) == 0 && (dst->mode & 07777) != 0;
    bool empty = now->size == 0 && src->size != 0;
    if (shut || empty) {
        return shut && empty ? FOUND_MODE_EMPTY : shut ? FOUND_MODE : FOUND_EMPTY;
    }
    if (now->ino != dst->ino) {
        return judge_other(dst, now);
    }
    return now->size == src->size ? FOUND_RIGHT : FOUND_SIZE;
}

static void tell(struct janitor *j, const struct janitor_finding *finding)
{
    j->options.finding(j->options.arg, finding);
}

/* Takes it out of the list of those being published again, where it is in it. */
static void unlist(struct janitor *j, const struct waiting *w)
{
    pthread_mutex_lock(&j->lock);
    struct waiting **at = &j->repairing;
    while (*at != NULL && *at != w) {
        at = &(*at)->next_repair;
    }
    if (*at != NULL) {
        *at = w->next_repair;
    }
    pthread_mutex_unlock(&j->lock);
}

/* Publishes it again; what comes of that is queued by janitor_published, which finds it in the list. 0 or -errno. */
static int repair(struct janitor *j, struct worker *worker, struct waiting *w)
{
    pthread_mutex_lock(&j->lock);
    w->next_repair = j->repairing;
    j->repairing = w;
    pthread_mutex_unlock(&j->lock);

    int err = j->options.repair(j->options.arg, worker, &w->entry);

    unlist(j, w);
    return err;
}

/* It is not what it should be. now NULL: it is gone. */
static void mend(struct janitor *j, struct worker *worker, struct waiting *w, enum janitor_found found,
                 const struct attr *now)
{
    struct janitor_finding finding = {.entry = &w->entry, .found = found, .now = now, .done = DONE_LEFT};

    if (found != FOUND_GONE && found != FOUND_REPLACED) {
        if (w->entry.repairs >= REPAIRS_MAX) {
            finding.done = DONE_GIVEN_UP;
        } else {
            finding.err = repair(j, worker, w);
            finding.done = finding.err == 0 ? DONE_REPAIRED : DONE_FAILED;
        }
    }
    if (finding.err != -ECANCELED) {
        tell(j, &finding);
    }
}

/* Looks at one entry, and mends what it finds. */
static void look(struct janitor *j, struct worker *worker, struct waiting *w)
{
    struct port *port = j->options.port(j->options.arg, worker);
    struct attr now = {0};
    struct store_op op = {.code = STORE_STAT,
                          .dir = w->entry.dir,
                          .name = j->options.dst_name(j->options.arg, w->entry.name),
                          .stat = {.out = &now, .fresh = true}};
    int err = store_run(port, &op);
    if (err == 0 || err == -ENOENT) {
        atomic_fetch_add(j->options.looked, 1);
        const struct attr *seen = err == 0 ? &now : NULL;
        enum janitor_found found = janitor_judge(&w->entry.src, &w->entry.dst, seen);
        if (found != FOUND_RIGHT) {
            mend(j, worker, w, found, seen);
        }
    } else if (err != -ECANCELED) {
        notice_raise(j->options.notices, "published entries could not be looked at again");
    }
}

static struct port *port_to_finish(const struct batch *batch)
{
    const struct janitor_options *o = &batch->janitor->options;
    return worker_stopping(batch->worker) ? NULL : o->port(o->arg, batch->worker);
}

static void look_at_all(struct batch *batch)
{
    while (batch->at < batch->count) {
        if (!worker_stopping(batch->worker)) {
            look(batch->janitor, batch->worker, batch->entries[batch->at]);
        }
        batch->releasing = true;
        janitor_let_go(batch->janitor, port_to_finish(batch), batch->entries[batch->at]);
        batch->releasing = false;
        batch->at++;
    }
    janitor_batch_done(batch->janitor, batch);
}

/* worker_on_lost: one entry got no answer. It stays as it is, since its operation is still under way; the others are
 * looked at. */
static void look_lost(void *arg, const void *why)
{
    struct batch *batch = arg;
    const struct janitor_options *o = &batch->janitor->options;
    struct waiting *w = batch->entries[batch->at];

    unlist(batch->janitor, w);
    worker_on_lost(look_lost, batch);
    o->unanswered(o->arg, batch->worker, &w->entry, batch->releasing, why);
    if (!batch->releasing) {
        batch->releasing = true;
        o->release(o->arg, port_to_finish(batch), w->entry.dir);
    }
    batch->releasing = false;
    batch->at++;
    look_at_all(batch);
}

void janitor_look(struct pool_offer *offer, struct worker *w)
{
    struct batch *batch = (struct batch *)offer; /* offer is its first field */

    batch->worker = w;
    if (batch->janitor->options.unanswered != NULL) {
        worker_on_lost(look_lost, batch);
    }
    look_at_all(batch);
}
