/*
 * lease_take: taking the lease, in its thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/lease_internal.h"
#include "workers/fiber.h"

/* Within that time one exchange of a dead lease for ours is over, or takes the long way (local, network). */
#define QUICK_NS        (50 * NS_PER_MS)
#define QUICK_REMOTE_NS (500 * NS_PER_MS)
#define LEVELS_MAX      4096 /* directories above the destination */
#define ABOVE_AT_ONCE   8    /* of them that are looked into side by side */
#define MISSING_MAX     100  /* times in a row that .haul/ was removed under our hands */

/* What is being waited for. */
struct pending {
    int64_t until_ns; /* CLOCK_BOOTTIME: how long a lease that lives is waited for */
    bool told_lives;  /* waiting() was called for one that lives */
    bool told_silent; /* ... for one that may be dead */
};

static int pause_for(const struct lease *l, int64_t ns)
{
    return io_sleep(l->port->io, ns) == 0 ? 0 : -ECANCELED;
}

static void tell_waiting(struct lease *l, struct pending *p, const char *path, const struct lease_seen *seen,
                         bool lives)
{
    bool *told = lives ? &p->told_lives : &p->told_silent;
    int64_t ns =
        lives ? p->until_ns - clock_boot_ns() : LEASE_SILENT_PERIODS * lease_period(seen, l->options.period_ns);
    if (!*told && l->options.waiting != NULL) {
        lease_refuse(l, path, seen);
        l->options.waiting(l->options.arg, path, l->refusal.who, lives, ns);
    }
    *told = true;
}

/* ---- one lease ---- */

/* One look at another's lease in root. The verdict, or -errno. */
static int look_once(struct lease *l, struct port *port, struct dir *root, uint64_t root_ino, struct lease_watch *watch,
                     struct lease_seen *out_seen)
{
    struct lease_facts facts;
    int64_t asked = clock_boot_ns();
    int r = lease_look(port, root, out_seen);
    if (r != 0) {
        return r;
    }
    int64_t now = clock_boot_ns();
    lease_facts(&l->self, out_seen, root_ino, now, &facts);
    return (int)lease_watch_step(watch, out_seen, &facts, l->options.period_ns, asked, now);
}

static bool is_ours(const struct lease *l, const struct lease_seen *seen)
{
    return seen->there && seen->parsed && strcmp(seen->owner.run, l->self.run) == 0;
}

/*
 * A lease that lives, or may: 0: look again; -ERR_OWNED: it lives, and there is no time left to wait; -ECANCELED.
 */
static int wait_for(struct lease *l, struct pending *p, const char *path, const struct lease_seen *seen, bool lives)
{
    if (lives && clock_boot_ns() >= p->until_ns) {
        lease_refuse(l, path, seen);
        return -ERR_OWNED;
    }
    tell_waiting(l, p, path, seen, lives);
    return pause_for(l, lease_step_ns(l->options.period_ns));
}

/* ---- the own one ---- */

static int make_dir(struct lease *l)
{
    struct store_op op = {.code = STORE_MKDIR, .dir = l->root, .name = HAUL_DIR, .mkdir = {.mode = 0755}};
    int r = lease_run(l->port, &op);
    if (r == -EACCES && !l->changed_mode && lease_unlock_root(l) == 0 && l->changed_mode) {
        r = lease_run(l->port, &op);
    }
    if (r == 0) {
        l->made_dir = true;
    }
    return r == -EEXIST ? 0 : r;
}

/* Where nothing stands. 0; -EAGAIN: something has come in between; -errno, with the refusal. */
static int take_free(struct lease *l, unsigned *missing)
{
    int r = make_dir(l);
    if (r != 0) {
        return lease_fail(l, "make " HAUL_DIR, r);
    }
    int64_t begun = clock_boot_ns();
    r = lease_publish(l, true);
    if (r == 0) {
        lease_grant(l, begun);
        return 0;
    }
    if (r == -ENOENT && ++*missing < MISSING_MAX) {
        r = -EEXIST; /* a run that has ended took .haul/ away */
    }
    return r == -EEXIST ? -EAGAIN : lease_fail(l, "write " HAUL_DIR "/" LEASE_NAME, r);
}

/* Until our lease has proved to stay. 0; -EAGAIN: it is another's; -errno, with the refusal: a destination that does
 * not let us renew it for so long that others take it for dead is not waited for. */
static int prove(struct lease *l)
{
    while (l->safe_ns == INT64_MIN) {
        int64_t now = clock_boot_ns();
        int64_t left = l->shut_until_ns - now;
        int64_t due = l->renewed_ns + l->options.period_ns - now;
        if (left > 0 && pause_for(l, left < due ? left : due > 0 ? due : 0) != 0) {
            return -ECANCELED;
        }
        int r = lease_renew(l);
        if (r == -EOWNERDEAD) {
            return -EAGAIN;
        }
        bool late = clock_boot_ns() - l->renewed_ns >= LEASE_SILENT_PERIODS * l->options.period_ns;
        if (r != 0 && (late || err_classify(r, l->options.store->caps.network, false) != ERR_TRANSIENT)) {
            return lease_fail(l, "write " HAUL_DIR "/" LEASE_NAME, r);
        }
        if (r != 0 && pause_for(l, lease_step_ns(l->options.period_ns)) != 0) {
            return -ECANCELED;
        }
    }
    return 0;
}

/*
 * A dead lease makes room for ours. Between the guard's look and the removal somebody else may have done the same: who
 * is quick waits for as long as a quick one takes before it looks whether its lease has stayed, who was not waits until
 * nobody can believe any more to be the owner. 0; -EAGAIN: look again; -errno.
 */
static int take_over(struct lease *l, const struct lease_seen *seen, bool silent)
{
    int64_t quick = l->options.store->caps.network ? QUICK_REMOTE_NS : QUICK_NS;
    int64_t begun = clock_boot_ns();
    struct dir *haul = NULL;
    int r = dir_create_child(l->root, HAUL_DIR, strlen(HAUL_DIR), &haul);
    if (r != 0) {
        return lease_fail(l, "remember", r);
    }
    struct store_op op = {.code = STORE_REMOVE, .dir = haul, .name = LEASE_NAME, .remove = {.expect = &seen->attr}};
    r = lease_run(l->port, &op);
    dir_put(haul);
    if (r != 0) {
        return r == -ESTALE || r == -ENOENT ? -EAGAIN : lease_fail(l, "remove a dead " HAUL_DIR "/" LEASE_NAME, r);
    }
    if (seen->parsed) {
        memcpy(l->dead_run, seen->owner.run, sizeof l->dead_run);
    }
    r = lease_publish(l, true);
    if (r != 0) {
        return r == -EEXIST || r == -ENOENT ? -EAGAIN : lease_fail(l, "write " HAUL_DIR "/" LEASE_NAME, r);
    }
    if (seen->parsed && l->options.evict != NULL) {
        l->options.evict(l->options.arg, l->port->io, seen->owner.run);
    }
    int64_t ended = clock_boot_ns();
    bool slow = silent || ended - begun > quick;
    l->renewed_ns = ended;
    l->shut_until_ns = ended + (slow ? 2 * l->options.period_ns : quick);
    return prove(l);
}

static int take_own(struct lease *l, struct pending *p)
{
    struct lease_watch watch = {0};
    struct lease_seen seen = {0};
    unsigned missing = 0;
    /* What stands there all the same is met when ours is published. */
    bool free = l->options.root_fresh && !l->tried;
    l->tried = true;
    for (;; free = false) {
        int verdict = free ? LEASE_NONE : look_once(l, l->port, l->root, l->self.root, &watch, &seen);
        int r = -EAGAIN;
        if (verdict < 0) {
            return lease_fail(l, "read " HAUL_DIR "/" LEASE_NAME, verdict);
        }
        if (is_ours(l, &seen)) { /* the answer to its publishing was lost; or a repeat met the first try */
            l->shut_until_ns = clock_boot_ns();
            r = prove(l);
        } else if (verdict == LEASE_NONE) {
            r = take_free(l, &missing);
        } else if (verdict == LEASE_GONE || verdict == LEASE_SILENT) {
            r = take_over(l, &seen, verdict == LEASE_SILENT);
            watch.begun = false;
        } else {
            r = wait_for(l, p, l->options.path, &seen, verdict == LEASE_LIVES);
            r = r == 0 ? -EAGAIN : r;
        }
        if (r != -EAGAIN) {
            return r;
        }
    }
}

/* ---- those above ---- */

/* The own lease goes on while others are looked at. */
static int keep_own(struct lease *l)
{
    if (l->options.look_only || l->safe_ns == INT64_MIN || clock_boot_ns() - l->renewed_ns < l->options.period_ns) {
        return 0;
    }
    return lease_renew(l) == -EOWNERDEAD ? -EAGAIN : 0;
}

/* A directory above, or the destination's root. */
struct above {
    struct lease *l;
    struct store *store;    /* on it, owned; NULL: the lease's own */
    char *path;             /* for messages, owned; NULL: the destination's */
    struct dir_tree tree;   /* of root */
    struct dir *root;       /* one reference */
    struct port *port;      /* owned where store is */
    struct lease_seen seen; /* at the first look */
    int r;                  /* of opening it, or of that look */
};

/* The first one, in a fiber: mostly there is no lease, and nothing more is asked. */
static void look_first(void *arg)
{
    struct above *a = arg;
    a->r = lease_look(a->port, a->root, &a->seen);
}

/* What the lease comes to that was found in a directory above. 0: none that lives; -ERR_OWNED; -EAGAIN: the own one was
 * lost; -errno. */
static int look_on(struct pending *p, struct above *a)
{
    struct lease *l = a->l;
    const char *path = a->path ? a->path : l->options.path;
    struct lease_watch watch = {0};
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = a->root, .stat = {.out = &attr}};
    if (a->r != 0 || !a->seen.there) {
        return a->r;
    }
    int r = lease_run(a->port, &op);
    while (r == 0) {
        int verdict = look_once(l, a->port, a->root, attr.ino, &watch, &a->seen);
        if (verdict < 0) {
            return verdict;
        }
        if (is_ours(l, &a->seen) || verdict == LEASE_NONE || verdict == LEASE_GONE || verdict == LEASE_SILENT) {
            return 0;
        }
        if (verdict == LEASE_LIVES) {
            lease_refuse(l, path, &a->seen);
            return -ERR_OWNED; /* waiting for it is done without a lease of our own */
        }
        tell_waiting(l, p, path, &a->seen, false);
        r = pause_for(l, lease_step_ns(l->options.period_ns));
        r = r == 0 ? keep_own(l) : r;
    }
    return r;
}

/* So many levels above the destination; 0: itself. False: there is nothing so far above. What else fails is in a->r. To
 * be ended with above_release in any case. */
static bool above_init(struct above *a, struct lease *l, unsigned levels)
{
    *a = (struct above){.l = l, .root = levels == 0 ? l->root : NULL, .port = levels == 0 ? l->port : NULL};
    if (levels == 0) {
        return true;
    }
    a->r = l->options.above(l->options.arg, l->port->io, levels, &a->store, &a->path);
    if (a->r == -ENOENT) {
        return false;
    }
    if (a->r == 0) {
        store_attach(a->store, DIR_DST, &a->tree);
        a->r = dir_create_root(&a->tree, &a->root);
    }
    if (a->r == 0) {
        a->r = store_port_create(a->store, l->port->io, &a->port);
    }
    return true;
}

static void above_release(struct above *a)
{
    if (a->store != NULL) {
        store_port_destroy(a->port);
        dir_put(a->root);
        store_destroy(a->store);
    }
    free(a->path);
}

/* What haul does not make, or may not see, is nobody's lease. */
static bool is_no_lease(int r)
{
    return r == -EACCES || r == -EPERM || r == -ENOTDIR || r == -ELOOP || r == -ERR_CHANGED;
}

/* The first look at each, side by side where they are far away. */
static void look_beside(struct above *some, unsigned count)
{
    struct fibers *fibers = NULL;
    int r = fibers_create(&fibers);
    for (unsigned i = 0; i < count; i++) {
        if (some[i].r == 0 && (r != 0 || fiber_start(fibers, look_first, &some[i]) != 0)) {
            look_first(&some[i]);
        }
    }
    while (r == 0 && fibers_alive(fibers) > 0) {
        io_turn(some[0].l->port->io, -1);
    }
    fibers_destroy(fibers);
}

/* What was seen at some, from below. 0; -ERR_OWNED; -EAGAIN: the own lease was lost; -errno. */
static int judge_above(struct pending *p, struct above *some, unsigned count)
{
    int r = 0;
    for (unsigned i = 0; i < count && (r == 0 || is_no_lease(r)); i++) {
        r = look_on(p, &some[i]);
        if (is_no_lease(r) && r != -ENOTDIR && some[i].root != some[i].l->root) {
            notice_raise(some[i].l->options.notices,
                         "a directory above the destination could not be searched for another run's lease");
        }
    }
    return is_no_lease(r) ? 0 : r;
}

static int look_above(struct lease *l, struct pending *p)
{
    unsigned levels = l->options.look_only ? 0 : 1;
    bool top = false;
    int r = 0;
    while (r == 0 && !top && levels < LEVELS_MAX) {
        struct above some[ABOVE_AT_ONCE];
        unsigned count = 0;
        while (!top && count < ABOVE_AT_ONCE) {
            top = !above_init(&some[count++], l, levels++);
        }
        look_beside(some, count - top);
        r = judge_above(p, some, count - top);
        while (count > 0) {
            above_release(&some[--count]);
        }
    }
    if (r != 0 && r != -ERR_OWNED && r != -EAGAIN && r != -ECANCELED) {
        return lease_fail(l, "look for a lease above the destination", r);
    }
    return r;
}

int lease_acquire(struct lease *l)
{
    int64_t now = clock_boot_ns();
    struct pending p = {.until_ns = l->options.wait_ns < INT64_MAX - now ? now + l->options.wait_ns : INT64_MAX};
    for (;;) {
        int r = l->options.look_only ? 0 : take_own(l, &p);
        if (r == 0) {
            r = look_above(l, &p);
        }
        if (r == 0) {
            return 0;
        }
        lease_refused(l);
        if (r == -ERR_OWNED && clock_boot_ns() < p.until_ns) {
            if (!p.told_lives && l->options.waiting != NULL) {
                l->options.waiting(l->options.arg, l->refusal.path != NULL ? l->refusal.path : l->options.path,
                                   l->refusal.who, true, p.until_ns - clock_boot_ns());
            }
            p.told_lives = true;
            r = pause_for(l, 2 * lease_step_ns(l->options.period_ns)) == 0 ? -EAGAIN : -ECANCELED;
        }
        if (r != -EAGAIN) {
            return r;
        }
    }
}
