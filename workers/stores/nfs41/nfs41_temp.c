/*
 * nfs41_temp: temp names: made, settled, renamed, dropped, and those that were left behind.
 *
 * What goes wrong after OPEN leaves a file open at the server: it is closed, and its name removed, before anything else
 * is tried. Where even that is not possible (no server), the name is kept in mind, and removed when the server is back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workers/stores/nfs41/nfs41_internal.h"

#define LEFT_MAX   4096U /* names kept in mind; more are left to the janitor */
#define LEFT_BATCH 4U    /* removed at a time, on the way of something else */

/* ---- the plan ---- */

/* What goes into SETATTR and VERIFY, as want and what is known of the server have it. */
static void plan_make(const struct nfs41_store *s, struct nfs41_temp *t)
{
    const struct want *w = &t->want;
    const struct attr *attr = w->attr;
    uid_t uid = w->uid == (uid_t)-1 ? s->uid : w->uid;
    gid_t gid = w->gid == (gid_t)-1 ? s->gid : w->gid;
    bool inherits = t->dir.inherits;
    uint64_t owner = (w->uid != (uid_t)-1 ? NFS_ATTR_OWNER : 0) | (w->gid != (gid_t)-1 ? NFS_ATTR_GROUP : 0);
    uint64_t times = w->keep & STORE_KEEP_TIMES ? NFS_ATTR_ATIME_SET | NFS_ATTR_MTIME_SET : 0;
    uint64_t mode_bit = S_ISLNK(attr->mode) ? 0 : NFS_ATTR_MODE;
    struct nfs41_plan *plan = &t->plan;
    mode_t mode = want_mode(w, uid, w->gid == (gid_t)-1 && inherits ? (gid_t)-1 : gid) & ~t->strip;
    bool comes = uid == s->uid && (w->gid == (gid_t)-1 || (gid == s->gid && !inherits)) &&
                 !(mode & (S_ISUID | S_ISGID)) && !atomic_load_explicit(&s->owner_surprise, memory_order_relaxed);

    *plan = (struct nfs41_plan){.attr = *attr};
    plan->attr.mode = (attr->mode & S_IFMT) | mode;
    plan->attr.uid = uid;
    plan->attr.gid = gid;
    /* Servers take setuid and setgid away where an owner is set in the same breath, and nobody else may read a file
     * before its owner is right: the mode goes apart then. */
    plan->first = comes && !t->apart ? times | mode_bit : owner | times;
    plan->second = comes && !t->apart ? 0 : mode_bit;
    plan->verify = NFS_ATTR_TYPE | mode_bit | (S_ISREG(attr->mode) ? NFS_ATTR_SIZE : 0) |
                   (S_ISCHR(attr->mode) || S_ISBLK(attr->mode) ? NFS_ATTR_RAWDEV : 0) |
                   (nfs41_stepped(s, NFS41_STEP_OWNER_TEXT) ? 0 : owner);
}

void nfs41_temp_plan(struct port *p, struct nfs41_temp *t)
{
    plan_make(nfs41_of(p), t);
}

int nfs41_temp_again(struct port *p, struct nfs41_temp *t)
{
    t->made = t->open = t->unknown = t->has_seen = t->named = false;
    t->fh.len = 0;
    t->settled = 0;
    plan_make(nfs41_of(p), t);
    return temp_name_make(nfs41_of(p)->run_id, t->name);
}

int nfs41_temp_init(struct port *p, struct nfs41_temp *t, const struct nfs_dir *dir, const struct attr *attr,
                    unsigned keep, const struct xattrs *xattrs)
{
    *t = (struct nfs41_temp){.dir = *dir};
    want_init(&nfs41_of(p)->owning, &t->want, attr, keep, xattrs);
    return nfs41_temp_again(p, t);
}

/* ---- its operations ---- */

void nfs41_put_temp_open(struct port *p, struct nfs_compound *c, const struct nfs41_temp *t)
{
    struct nfs_open open = {.owner = nfs41_port_of(p)->owner,
                            .share = NFS_SHARE_READ | NFS_SHARE_WRITE,
                            .create = NFS_OPEN_GUARDED,
                            .mode = 0600,
                            .name = t->name};

    nfs_put_open(c, &open);
}

int nfs41_get_temp_open(struct nfs_compound *c, struct nfs41_temp *t)
{
    int r = nfs_get_open(c, &t->stateid);

    if (!r) {
        t->made = t->open = true;
    }
    return r;
}

void nfs41_put_settle(struct port *p, struct nfs_compound *c, const struct nfs41_temp *t,
                      const struct nfs_stateid *stateid)
{
    const struct nfs41_plan *plan = &t->plan;

    if (plan->first) {
        nfs_put_setattr(c, stateid, plan->first, &plan->attr);
    }
    if (plan->second) {
        nfs_put_setattr(c, stateid, plan->second, &plan->attr);
    }
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    if (!nfs41_stepped(nfs41_of(p), NFS41_STEP_NO_VERIFY)) {
        nfs_put_verify(c, plan->verify, &plan->attr);
    }
}

int nfs41_get_settle(struct port *p, struct nfs_compound *c, struct nfs41_temp *t)
{
    struct nfs_attrs attrs;
    int r = 0;

    t->settled = 0;
    if (t->plan.first) {
        r = nfs_get_setattr(c);
    }
    if (!r && t->plan.second) {
        t->settled = 1;
        r = nfs_get_setattr(c);
    }
    r = r ? r : nfs_get_getattr(c, &attrs);
    if (r) {
        return r;
    }
    nfs41_attr_of(nfs41_of(p), &attrs, &t->seen);
    t->has_seen = true;
    t->named = attrs.owner.text || attrs.group.text;
    if (nfs41_next(c) == NFS_OP_VERIFY) {
        return nfs_get_plain(c, NFS_OP_VERIFY);
    }
    return nfs41_temp_check(t);
}

int nfs41_temp_check(const struct nfs41_temp *t)
{
    const struct attr *want = &t->plan.attr;
    const struct attr *seen = &t->seen;
    bool device = S_ISCHR(want->mode) || S_ISBLK(want->mode);

    if ((want->mode & S_IFMT) != (seen->mode & S_IFMT) || (S_ISREG(want->mode) && want->size != seen->size) ||
        (device && want->rdev != seen->rdev) || (!S_ISLNK(want->mode) && (want->mode ^ seen->mode) & 07777) ||
        (!t->named && want_owner_wrong(&t->want, seen))) {
        return NFS4ERR_NOT_SAME;
    }
    return 0;
}

/* ---- COMPOUNDs of its own ---- */

int nfs41_temp_open(struct port *p, struct store_op *op, struct nfs41_temp *t)
{
    for (unsigned tries = 0;; tries++) {
        struct nfs_compound *c;
        int r = nfs41_begin(p, &c);
        int err;

        if (r) {
            return r;
        }
        nfs_put_putfh(c, &t->dir.fh);
        nfs41_put_temp_open(p, c, t);
        nfs_put_getfh(c);
        r = nfs41_send(p, c);
        r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
        r = r ? r : nfs41_get_temp_open(c, t);
        r = r ? r : nfs_get_getfh(c, &t->fh);
        t->unknown = r < 0 && c->sent; /* an answer that cannot be read is none */
        err = nfs41_result(op, c, r);
        nfs_compound_end(c);
        if (!err) {
            return 0;
        }
        nfs41_temp_drop(p, t);
        if (r != NFS4ERR_EXIST || tries == NFS41_NAME_TRIES) {
            return err;
        }
        op->step = NULL;
        err = nfs41_temp_again(p, t);
        if (err) {
            return err;
        }
    }
}

/* Whether name is what t was: a rename or link whose answer was lost. */
static bool is_there(struct port *p, const struct nfs41_temp *t, const char *name)
{
    struct attr attr;
    struct nfs_compound *c;
    int r = t->has_seen ? nfs41_begin(p, &c) : -ENOENT;

    if (r) {
        return false;
    }
    nfs_put_putfh(c, &t->dir.fh);
    nfs_put_lookup(c, name);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = r ? r : nfs41_get_attr(p, c, &attr);
    nfs_compound_end(c);
    return !r && attr.ino == t->seen.ino && attr.dev == t->seen.dev;
}

/* One try, behind the server's own look where guards. 0 or -errno; t->guarded: r and *out_stop are to be judged. */
static int rename_once(struct port *p, struct store_op *op, struct nfs41_temp *t, const char *name, int *out_r,
                       enum nfs_op *out_stop)
{
    bool guards = nfs41_guards(nfs41_of(p), t);
    struct nfs_compound *c;
    int err = t->expect && !guards ? nfs41_guard_look(p, op, t, name) : 0;
    int r;

    err = err ? err : nfs41_fence(p, op);
    if (err) {
        return err;
    }
    r = nfs41_begin(p, &c);
    if (r) {
        return r;
    }
    nfs_put_putfh(c, &t->dir.fh);
    nfs_put_savefh(c);
    if (guards) {
        nfs41_put_guard(c, name, t->expect);
    }
    nfs_put_rename(c, t->name, name);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_plain(c, NFS_OP_SAVEFH);
    r = r || !guards ? r : nfs41_get_guard(c, t);
    r = r ? r : nfs_get_rename(c);
    t->unknown = r < 0 && c->sent;
    *out_r = r;
    *out_stop = nfs41_stopped_at(c);
    err = nfs41_result(op, c, r);
    nfs_compound_end(c);
    return err;
}

int nfs41_temp_rename(struct port *p, struct store_op *op, struct nfs41_temp *t, const char *name)
{
    enum nfs_op stop = (enum nfs_op)0;
    int r = 0;
    int err = rename_once(p, op, t, name, &r, &stop);

    if (err && t->guarded) {
        err = nfs41_guard_judge(op, t, stop, r);
        err = err ? err : rename_once(p, op, t, name, &r, &stop);
    }
    if (err && t->unknown && is_there(p, t, name)) {
        err = 0; /* a lost answer */
    }
    if (!err) {
        op->step = NULL;
        t->made = t->unknown = false;
    }
    return err;
}

/* Servers without hard links: the final name is made empty for a moment. */
static int take_name(struct port *p, struct store_op *op, struct nfs41_temp *t, const char *name)
{
    struct nfs41_temp place = {.dir = t->dir};
    int r;
    int err = 0;
    struct nfs_compound *c;

    if (strlen(name) >= sizeof(place.name)) {
        return nfs41_fail(op, "link", -EOPNOTSUPP);
    }
    memcpy(place.name, name, strlen(name) + 1);
    r = nfs41_begin(p, &c);
    if (r) {
        return r;
    }
    nfs_put_putfh(c, &t->dir.fh);
    nfs41_put_temp_open(p, c, &place);
    nfs_put_getfh(c);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs41_get_temp_open(c, &place);
    r = r ? r : nfs_get_getfh(c, &place.fh);
    err = nfs41_result(op, c, r);
    nfs_compound_end(c);
    if (err) {
        return err;
    }
    err = nfs41_temp_close(p, &place);
    err = err ? err : nfs41_temp_rename(p, op, t, name);
    if (err) {
        nfs41_temp_drop(p, &place);
    }
    return err;
}

static bool cannot_link(int r)
{
    return r == NFS4ERR_NOTSUPP || r == NFS4ERR_MLINK || r == NFS4ERR_PERM || r == NFS4ERR_XDEV;
}

int nfs41_temp_link(struct port *p, struct store_op *op, struct nfs41_temp *t, const char *name)
{
    struct nfs_compound *c;
    int err = nfs41_fence(p, op);
    int r;

    if (err) {
        return err;
    }
    r = nfs41_begin(p, &c);
    if (r) {
        return r;
    }
    nfs_put_putfh(c, &t->fh);
    nfs_put_savefh(c);
    nfs_put_putfh(c, &t->dir.fh);
    nfs_put_link(c, name);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_plain(c, NFS_OP_SAVEFH);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_link(c);
    t->unknown = r < 0 && c->sent;
    err = nfs41_result(op, c, r);
    nfs_compound_end(c);
    if (cannot_link(r)) {
        op->step = NULL;
        return take_name(p, op, t, name);
    }
    if (err && t->unknown && is_there(p, t, name)) {
        err = 0;
    }
    if (!err) {
        op->step = NULL;
        nfs41_temp_drop(p, t);
    }
    return err;
}

int nfs41_temp_close(struct port *p, struct nfs41_temp *t)
{
    struct nfs_compound *c;
    int r = t->open ? nfs41_begin(p, &c) : 0;

    if (r || !t->open) {
        return r;
    }
    if (t->fh.len > 0) {
        nfs_put_putfh(c, &t->fh);
    } else {
        nfs_put_putfh(c, &t->dir.fh);
        nfs_put_lookup(c, t->name);
    }
    nfs_put_close(c, &t->stateid);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r || t->fh.len > 0 ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = r ? r : nfs_get_close(c);
    if (r > 0 && nfs_error((uint32_t)r)->decision == NFS_DO_REOPEN) {
        r = 0; /* gone already, with the server that gave it */
    }
    r = nfs41_result(NULL, c, r);
    nfs_compound_end(c);
    if (!r) {
        t->open = false;
    }
    return r;
}

/* ---- dropped ---- */

/* CLOSE and REMOVE in one COMPOUND. 0, NFS4ERR or -errno. */
static int close_and_remove(struct port *p, struct nfs41_temp *t)
{
    struct nfs_compound *c;
    bool by_name = t->fh.len == 0;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    if (t->open) {
        nfs_put_putfh(c, by_name ? &t->dir.fh : &t->fh);
        if (by_name) {
            nfs_put_lookup(c, t->name);
        }
        nfs_put_close(c, &t->stateid);
    }
    nfs_put_putfh(c, &t->dir.fh);
    nfs_put_remove(c, t->name);
    r = nfs41_send(p, c);
    if (!r && t->open) {
        r = nfs_get_plain(c, NFS_OP_PUTFH);
        r = r || !by_name ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
        r = r ? r : nfs_get_close(c);
        t->open = r < 0; /* whatever it said: there is no more that could be done about it */
    }
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_remove(c);
    nfs_compound_end(c);
    return r;
}

static void left_add(struct port *p, const struct nfs41_temp *t)
{
    struct nfs41_store *s = nfs41_of(p);
    struct nfs41_left *left = malloc(sizeof(*left));

    if (!left) {
        return; /* it goes with the next janitor */
    }
    *left = (struct nfs41_left){.dir = t->dir, .owner = nfs41_port_of(p)->owner};
    memcpy(left->name, t->name, sizeof(left->name));
    pthread_mutex_lock(&s->lock);
    if (s->left_count < LEFT_MAX) {
        left->next = s->left;
        s->left = left;
        s->left_count++;
        left = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    atomic_store(&s->has_left, true);
    free(left);
}

void nfs41_temp_drop(struct port *p, struct nfs41_temp *t)
{
    bool opened = t->open;
    int r;

    if (t->unknown) {
        left_add(p, t);
        t->made = t->open = t->unknown = false;
        nfs41_left_clean(p, false);
        return;
    }
    if (!t->made) {
        return;
    }
    r = close_and_remove(p, t);
    if (r > 0 && r != NFS4ERR_NOENT && opened && !t->open) {
        r = close_and_remove(p, t); /* it may have been CLOSE that stopped it */
    }
    if (r != 0 && r != NFS4ERR_NOENT && !nfs41_is_stale((uint32_t)(r > 0 ? r : 0))) {
        left_add(p, t);
    }
    t->made = t->open = false;
    atomic_fetch_add_explicit(&nfs41_of(p)->cleanups, 1, memory_order_relaxed);
}

/* One that was left: opened again by its owner, which gives the same state id back, so that CLOSE ends whatever was
 * open. False: the server cannot be asked now. */
static bool clean_one(struct port *p, struct nfs41_left *left)
{
    struct nfs41_temp t = {.dir = left->dir, .made = true};
    struct nfs_open open = {.owner = left->owner, .share = NFS_SHARE_WRITE, .create = NFS_OPEN_ONLY, .name = t.name};
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    memcpy(t.name, left->name, sizeof(t.name));
    if (r) {
        return false;
    }
    nfs_put_putfh(c, &t.dir.fh);
    nfs_put_open(c, &open);
    nfs_put_getfh(c);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs41_get_temp_open(c, &t);
    r = r ? r : nfs_get_getfh(c, &t.fh);
    nfs_compound_end(c);
    if (r == 0 || (r > 0 && r != NFS4ERR_NOENT)) {
        r = close_and_remove(p, &t);
    }
    return r >= 0;
}

void nfs41_left_clean(struct port *p, bool all)
{
    struct nfs41_store *s = nfs41_of(p);

    for (unsigned i = 0; (all || i < LEFT_BATCH) && atomic_load(&s->has_left); i++) {
        struct nfs41_left *left;

        pthread_mutex_lock(&s->lock);
        left = s->left;
        if (left) {
            s->left = left->next;
            s->left_count--;
        }
        atomic_store(&s->has_left, s->left != NULL);
        pthread_mutex_unlock(&s->lock);
        if (!left) {
            return;
        }
        if (!clean_one(p, left)) {
            pthread_mutex_lock(&s->lock);
            left->next = s->left;
            s->left = left;
            s->left_count++;
            atomic_store(&s->has_left, true);
            pthread_mutex_unlock(&s->lock);
            return;
        }
        free(left);
    }
}

void nfs41_left_free(struct nfs41_store *s)
{
    while (s->left) {
        struct nfs41_left *next = s->left->next;

        free(s->left);
        s->left = next;
    }
}
