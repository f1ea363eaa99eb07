/*
 * nfs3_temp: temp names: made, settled, checked, renamed, dropped, and those that were left behind.
 *
 * Where the answer to a call that makes or moves a name was lost, the name is looked at, or kept in mind and removed
 * later: a name whose fate is unknown is never used again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "workers/stores/nfs3/nfs3_internal.h"

#define SPECIAL    (S_ISUID | S_ISGID | S_ISVTX)
#define OWNERS     (V3_SET_UID | V3_SET_GID)
#define LEFT_MAX   4096U /* names kept in mind; more are left to the janitor */
#define LEFT_BATCH 4U    /* removed at a time, on the way of something else */

/* A temp name that could not be removed. */
struct nfs3_left {
    struct nfs3_left *next;
    struct nfs_fh dir; /* in which it is */
    int64_t due_ns;    /* not before that, monotonic: it may come to be until then */
    char name[TEMP_NAME_MAX];
};

/* ---- what is set ---- */

void nfs3_temp_plan(struct port *p, struct nfs3_temp *t)
{
    const struct nfs3_store *s = nfs3_of(p);
    const struct want *w = &t->want;
    uid_t uid = w->uid == (uid_t)-1 ? s->uid : w->uid;
    gid_t gid = w->gid == (gid_t)-1 ? s->gid : w->gid;
    bool inherits = t->dir.inherits;
    unsigned owner = (w->uid != (uid_t)-1 ? V3_SET_UID : 0) | (w->gid != (gid_t)-1 ? V3_SET_GID : 0);
    unsigned times = w->keep & STORE_KEEP_TIMES ? V3_SET_TIMES : 0;
    unsigned mode_bit = S_ISLNK(w->attr->mode) ? 0 : V3_SET_MODE;
    mode_t mode = want_mode(w, uid, w->gid == (gid_t)-1 && inherits ? (gid_t)-1 : gid) & ~t->strip;
    bool comes = uid == s->uid && (w->gid == (gid_t)-1 || (gid == s->gid && !inherits)) &&
                 !(mode & (S_ISUID | S_ISGID)) && !atomic_load_explicit(&s->owner_surprise, memory_order_relaxed);

    t->attr = *w->attr;
    t->attr.mode = (w->attr->mode & S_IFMT) | mode;
    t->attr.uid = uid;
    t->attr.gid = gid;
    /* Servers take setuid and setgid away where an owner is set in the same breath, and nobody else may read a file
     * before its owner is right: the mode goes apart then. */
    t->first = comes && !t->apart ? times | mode_bit : owner | times;
    t->second = comes && !t->apart ? 0 : mode_bit;
}

int nfs3_temp_again(struct port *p, struct nfs3_temp *t)
{
    t->made = t->unknown = t->has_seen = false;
    t->made_twice = t->written_twice = t->set_twice = false;
    t->fh.len = 0;
    nfs3_temp_plan(p, t);
    return temp_name_make(nfs3_of(p)->run_id, t->name);
}

int nfs3_temp_init(struct port *p, struct nfs3_temp *t, const struct nfs_dir *dir, const struct attr *attr,
                   unsigned keep, const struct xattrs *xattrs)
{
    *t = (struct nfs3_temp){.dir = *dir};
    want_init(&nfs3_of(p)->owning, &t->want, attr, keep, xattrs);
    return nfs3_temp_again(p, t);
}

/* ---- made ---- */

/* The handle, where the server told none. 0, a status or -errno. */
static int find_made(struct port *p, struct nfs3_temp *t, const struct nfs3_req *req)
{
    if (req->out_fh.len > 0) {
        t->fh = req->out_fh;
        return 0;
    }
    return nfs3_lookup(p, &t->dir.fh, t->name, &t->fh, NULL);
}

int nfs3_temp_make(struct port *p, struct store_op *op, struct nfs3_temp *t, enum nfs3_proc proc, const char *target)
{
    const struct attr attr = {.mode = (t->want.attr->mode & S_IFMT) | 0600, .rdev = t->want.attr->rdev};

    for (unsigned tries = 0;; tries++) {
        struct nfs3_req req = {.proc = proc,
                               .fh = &t->dir.fh,
                               .name = t->name,
                               .attr_in = &attr,
                               .set = proc == V3_SYMLINK ? 0 : V3_SET_MODE,
                               .target = target};
        int r = nfs3_call(p, &req);
        int err;

        t->made = r == 0;
        t->unknown = r < 0 || (r > 0 && req.again); /* of two tries the first may have made it */
        t->made_twice = r == 0 && req.again;
        r = r ? r : find_made(p, t, &req);
        if (!r) {
            return 0;
        }
        nfs3_temp_drop(p, t);
        if (r != V3_EXIST || tries == NFS3_NAME_TRIES) {
            return nfs3_fail(op, nfs3_proc_name(proc), nfs3_result(r));
        }
        err = nfs3_temp_again(p, t);
        if (err) {
            return err;
        }
    }
}

/* ---- settled ---- */

/* One SETATTR. What the server says came of it goes into t->seen. 0, a status or -errno. */
static int set(struct port *p, struct nfs3_temp *t, unsigned what)
{
    struct nfs3_req req = {.proc = V3_SETATTR, .fh = &t->fh, .attr_in = &t->attr, .set = what};
    int r = nfs3_call(p, &req);

    t->set_twice |= req.again && t->second;
    t->has_seen = !r && req.has_attr;
    if (t->has_seen) {
        t->seen = req.attr;
    }
    return r;
}

/* The server stored another owner than it was told to, or none was told since it should have come by itself. */
static int judge_owner(struct nfs3_store *s, struct nfs3_temp *t)
{
    if (!(t->first & OWNERS)) {
        atomic_store(&s->owner_surprise, true);
        return 0;
    }
    return nfs3_want_refused(s, &t->want, V3_PERM, true);
}

/* Whether what was seen is what is wanted. 0; 1: it may be after another try; -errno with op->step. */
static int judge(struct port *p, struct store_op *op, struct nfs3_temp *t, unsigned tries)
{
    const struct attr *want = &t->attr;
    const struct attr *seen = &t->seen;
    bool device = S_ISCHR(want->mode) || S_ISBLK(want->mode);
    int err;

    if ((want->mode & S_IFMT) != (seen->mode & S_IFMT) || (S_ISREG(want->mode) && want->size != seen->size) ||
        (device && want->rdev != seen->rdev)) {
        return nfs3_fail(op, "check", -EIO);
    }
    if (want_owner_wrong(&t->want, seen)) {
        err = tries >= NFS3_TRIES ? -EIO : judge_owner(nfs3_of(p), t);
        return err ? nfs3_fail(op, "setattr", err) : 1;
    }
    if (S_ISLNK(want->mode) || ((want->mode ^ seen->mode) & 07777) == 0) {
        return 0;
    }
    if ((t->apart || tries > 0) && want_mode_will_do(want->mode, seen->mode) && tries < NFS3_TRIES) {
        t->strip |= want->mode & ~seen->mode & SPECIAL;
        return 1;
    }
    if (t->apart || tries >= NFS3_TRIES) {
        return nfs3_fail(op, "check", -EIO);
    }
    t->apart = true;
    return 1;
}

int nfs3_temp_settle(struct port *p, struct store_op *op, struct nfs3_temp *t)
{
    for (unsigned tries = 0;; tries++) {
        int err;
        int r;

        nfs3_temp_plan(p, t);
        t->has_seen = false;
        r = t->first ? set(p, t, t->first) : 0;
        if (r > 0 && (t->first & OWNERS) && nfs3_is_owner_refusal(r)) {
            err = nfs3_want_refused(nfs3_of(p), &t->want, r, true);
            if (err) {
                return nfs3_fail(op, "setattr", err);
            }
            continue;
        }
        r = r || !t->second ? r : set(p, t, t->second);
        if (r) {
            return nfs3_fail(op, "setattr", nfs3_result(r));
        }
        if (!t->has_seen) {
            r = nfs3_getattr(p, &t->fh, &t->seen);
            if (r) {
                return nfs3_fail(op, "getattr", nfs3_result(r));
            }
            t->has_seen = true;
        }
        r = judge(p, op, t, tries);
        if (r < 0 || (r == 0 && !t->set_twice)) {
            return r;
        }
        if (t->set_twice) { /* in the wrong order, perhaps: once more */
            nfs3_wait_late(p);
            t->set_twice = false;
        }
    }
}

/* ---- kept in mind ---- */

/* Behind the others. False: there are too many. */
static bool left_put(struct nfs3_store *s, struct nfs3_left *left)
{
    bool fits;

    left->next = NULL;
    pthread_mutex_lock(&s->lock);
    fits = s->left_count < LEFT_MAX;
    if (fits) {
        struct nfs3_left **end = &s->left;

        while (*end) {
            end = &(*end)->next;
        }
        *end = left;
        s->left_count++;
        atomic_store(&s->has_left, true);
    }
    pthread_mutex_unlock(&s->lock);
    return fits;
}

static void left_add(struct port *p, const struct nfs3_temp *t)
{
    struct nfs3_store *s = nfs3_of(p);
    struct nfs3_left *left = malloc(sizeof(*left));

    if (!left) {
        return; /* it goes with the next janitor */
    }
    left->dir = t->dir.fh;
    left->due_ns = clock_mono_ns() + NFS3_LATE_NS;
    memcpy(left->name, t->name, sizeof(left->name));
    if (!left_put(s, left)) {
        free(left);
    }
}

/* ---- under the final name ---- */

/* Whether name is what t was: a rename or link whose answer was lost. */
static bool is_there(struct port *p, const struct nfs3_temp *t, const char *name)
{
    struct nfs_fh fh;
    struct attr attr;

    return t->has_seen && nfs3_lookup(p, &t->dir.fh, name, &fh, &attr) == 0 && attr.ino == t->seen.ino &&
           attr.dev == t->seen.dev;
}

/* Whether name is still what is to be replaced. The protocol has nothing that the server could compare with, so that we
 * look right before. 0, -ESTALE with STORE_STEP_GUARD, -errno. */
static int look_if_meant(struct port *p, struct store_op *op, const struct nfs3_temp *t, const char *name)
{
    struct nfs_fh fh;
    struct attr now;
    int r = t->expect ? nfs3_lookup(p, &t->dir.fh, name, &fh, &now) : 0;

    if (r == V3_NOENT || (!r && t->expect && !attr_is_meant(t->expect, &now))) {
        return nfs3_fail(op, STORE_STEP_GUARD, -ESTALE);
    }
    return r ? nfs3_fail(op, "lookup", nfs3_result(r)) : 0;
}

int nfs3_temp_rename(struct port *p, struct store_op *op, struct nfs3_temp *t, const char *name)
{
    struct nfs3_req req = {.proc = V3_RENAME, .fh = &t->dir.fh, .name = t->name, .to_fh = &t->dir.fh, .to_name = name};
    int err = look_if_meant(p, op, t, name);
    int r;

    err = err ? err : nfs3_fence(p, op);
    if (err) {
        return err;
    }
    r = nfs3_call(p, &req);
    t->unknown = r < 0;
    if ((r < 0 || (r > 0 && req.again)) && is_there(p, t, name)) {
        r = 0;
    }
    if (r) {
        return nfs3_fail(op, "rename", nfs3_result(r));
    }
    op->step = NULL;
    t->made = t->unknown = false;
    if (t->made_twice) {
        left_add(p, t);
    }
    return 0;
}

/* Servers without hard links: the final name is made empty for a moment. */
static int take_name(struct port *p, struct store_op *op, struct nfs3_temp *t, const char *name)
{
    const struct attr attr = {.mode = S_IFREG | 0600};
    struct nfs3_req req = {.proc = V3_CREATE, .fh = &t->dir.fh, .name = name, .attr_in = &attr, .set = V3_SET_MODE};
    struct nfs3_req gone = {.proc = V3_REMOVE, .fh = &t->dir.fh, .name = name};
    int err = nfs3_do(p, op, &req);

    if (err) {
        return err;
    }
    err = nfs3_temp_rename(p, op, t, name);
    if (err && !t->unknown) {
        (void)nfs3_call(p, &gone);
    }
    return err;
}

static bool cannot_link(int r)
{
    return r == V3_NOTSUPP || r == V3_MLINK || r == V3_PERM || r == V3_XDEV;
}

int nfs3_temp_link(struct port *p, struct store_op *op, struct nfs3_temp *t, const char *name)
{
    struct nfs3_req req = {.proc = V3_LINK, .fh = &t->fh, .to_fh = &t->dir.fh, .to_name = name};
    int err = nfs3_fence(p, op);
    int r;

    if (err) {
        return err;
    }
    r = nfs3_call(p, &req);
    if (cannot_link(r)) {
        return take_name(p, op, t, name);
    }
    if ((r < 0 || (r > 0 && req.again)) && is_there(p, t, name)) {
        r = 0;
    }
    if (r) {
        return nfs3_fail(op, "link", nfs3_result(r));
    }
    op->step = NULL;
    nfs3_temp_drop(p, t);
    return 0;
}

/* ---- dropped ---- */

static int remove_name(struct port *p, const struct nfs_fh *dir, const char *name)
{
    struct nfs3_req req = {.proc = V3_REMOVE, .fh = dir, .name = name};

    return nfs3_call(p, &req);
}

void nfs3_temp_drop(struct port *p, struct nfs3_temp *t)
{
    int r;

    if (t->unknown) {
        left_add(p, t);
        t->made = t->unknown = false;
        nfs3_left_clean(p, false);
        return;
    }
    if (t->made && t->made_twice) {
        left_add(p, t);
    }
    if (!t->made) {
        return;
    }
    r = remove_name(p, &t->dir.fh, t->name);
    if (r && r != V3_NOENT && !nfs3_is_stale(r)) {
        left_add(p, t);
    }
    t->made = false;
    if (!r) {
        atomic_fetch_add_explicit(&nfs3_of(p)->cleanups, 1, memory_order_relaxed);
    }
}

/* The first one, whose time has come; wait: whose time will have come. NULL: there is none. */
static struct nfs3_left *left_take(struct port *p, bool wait)
{
    struct nfs3_store *s = nfs3_of(p);
    struct nfs3_left *left;
    int64_t early = 0;

    pthread_mutex_lock(&s->lock);
    left = s->left;
    early = left ? left->due_ns - clock_mono_ns() : 0;
    if (left && !wait && early > 0) {
        left = NULL;
    }
    if (left) {
        s->left = left->next;
        s->left_count--;
    }
    atomic_store(&s->has_left, s->left != NULL);
    pthread_mutex_unlock(&s->lock);
    if (left && early > 0) {
        (void)io_sleep(p->io, early);
    }
    return left;
}

void nfs3_left_clean(struct port *p, bool all)
{
    struct nfs3_store *s = nfs3_of(p);

    for (unsigned i = 0; (all || i < LEFT_BATCH) && atomic_load(&s->has_left); i++) {
        struct nfs3_left *left = left_take(p, all);

        if (!left) {
            return;
        }
        if (remove_name(p, &left->dir, left->name) < 0) {
            if (!left_put(s, left)) {
                free(left);
            }
            return;
        }
        free(left);
    }
}

void nfs3_left_free(struct nfs3_store *s)
{
    while (s->left) {
        struct nfs3_left *next = s->left->next;

        free(s->left);
        s->left = next;
    }
}
