/*
 * entry: what is to be done for one non-directory.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/name.h"
#include "base/notice.h"
#include "planner/links.h"
#include "planner/planner_internal.h"

#define ASKED_MAX 8 /* entries of a directory on a network that are asked for one by one before it is listed */

/* How the planner's part for one entry ended. */
enum verdict {
    VERDICT_SAME,   /* nothing to do */
    VERDICT_TODO,   /* an item is on its way */
    VERDICT_FAILED, /* reported */
};

static const char *dst_name(const struct planner *p, const char *name)
{
    return p->options.only_name != NULL && p->options.only_as != NULL ? p->options.only_as : name;
}

bool entry_excluded(struct walker *w, struct dir *dir, const char *name, size_t name_len, bool is_dir)
{
    struct planner *p = w->p;

    if (dir->parent == NULL && strcmp(dst_name(p, name), HAUL_DIR) == 0) {
        return true; /* never counted */
    }
    if (!is_dir && temp_name_parse(name, NULL)) {
        notice_raise(p->options.notices, "temp files of an earlier run in the source were left out");
        count_add(&p->counts.excluded, 1);
        return true;
    }
    if (filter_count(p->options.filter) == 0) {
        return false;
    }
    const char *path = walk_path_of(w, dir, name, name_len);
    if (path == NULL) {
        plan_failed(p, dir, name, "filter", -ENOMEM, true, is_dir);
        return true;
    }
    if (!filter_excludes(p->options.filter, path, is_dir)) {
        return false;
    }
    if (p->options.remove_excluded) {
        recall_see(p, dir, name, name_len, false); /* the source counts as not having it */
    }
    count_add(&p->counts.excluded, 1);
    return true;
}

int entry_clear(struct walker *w, struct dir *dir, const char *name, const struct attr *there)
{
    struct planner *p = w->p;
    struct store_op op = {.code = STORE_REMOVE, .dir = dir, .name = name, .remove = {.expect = there, .dir = true}};
    /* A dry run would take every directory for an empty one. */
    bool noted = p->options.dry_run && p->gone != NULL && !p->removed;
    int err = noted ? -ENOTEMPTY : store_run(w->dst, &op);
    if (err == -ENOENT) {
        return 0;
    }
    if ((err == -ENOTEMPTY || err == -EEXIST) && gone_replace(w, dir, name) == 0) {
        return -EAGAIN;
    }
    if (err != 0) {
        /* -ENOTEMPTY: a directory that is not empty stands in the way. */
        plan_op_failed(w, w->dst, &op, dir, name, err == -EEXIST ? -ENOTEMPTY : err, false);
    }
    return err;
}

/* Whether two symbolic links have the same target; where one cannot be read, they are taken for different. */
static bool same_target(struct walker *w, struct dir *dir, const char *name, const char *to)
{
    char ours[PATH_MAX + 1];
    char theirs[PATH_MAX + 1];
    size_t our_len = 0;
    size_t their_len = 0;
    struct store_op op = {.code = STORE_READLINK,
                          .dir = dir,
                          .name = name,
                          .readlink = {.buf = ours, .size = sizeof(ours), .out_len = &our_len}};
    if (store_run(w->src, &op) != 0) {
        return false;
    }
    op = (struct store_op){.code = STORE_READLINK,
                           .dir = dir,
                           .name = to,
                           .readlink = {.buf = theirs, .size = sizeof(theirs), .out_len = &their_len}};
    return store_run(w->dst, &op) == 0 && our_len == their_len && memcmp(ours, theirs, our_len) == 0;
}

/* Whether the destination can give an entry that group: what cannot be had is no difference. */
static bool group_can_be_had(const struct planner *p, gid_t gid)
{
    for (int i = 0; i < p->group_count; i++) {
        if (p->groups[i] == gid) {
            return true;
        }
    }
    return false;
}

unsigned entry_keep(const struct planner *p, unsigned keep, const struct attr *there, struct attr *attr)
{
    const atomic_bool *refused = p->options.dst->caps.owner_refused;
    bool all = p->options.owner_required || (p->uid == 0 && !(refused != NULL && atomic_load(refused)));
    keep &= all ? ~0U : ~STORE_KEEP_OWNER;
    keep &= all || group_can_be_had(p, attr->gid) ? ~0U : ~STORE_KEEP_GROUP;
    keep &= S_ISLNK(attr->mode) && p->options.dst->caps.no_link_times ? ~STORE_KEEP_TIMES : ~0U;
    if (S_ISREG(attr->mode)) {
        /* Not with another owner (P3). */
        attr->mode &= (keep & STORE_KEEP_OWNER) != 0 || there->uid == attr->uid ? ~0U : ~(mode_t)S_ISUID;
        attr->mode &= (keep & STORE_KEEP_GROUP) != 0 || there->gid == attr->gid ? ~0U : ~(mode_t)S_ISGID;
    }
    return keep;
}

/* What the state knows of the entry. Of others than files nothing is asked but whether their extended attributes were
 * copied. */
static enum known ask_state(const struct plan_options *o, struct dir *dir, const char *name, const struct attr *attr,
                            const struct attr *there)
{
    bool asked = S_ISREG(attr->mode) ? S_ISREG(there->mode) : o->xattrs != 0;
    return o->known != NULL && asked ? o->known(o->arg, dir, name, attr) : KNOWN_NOTHING;
}

/* Compares with what stands there: no directory. out_alike: nothing but contents can differ. 0 or -errno, reported. */
static int compare_entry(struct walker *w, struct dir *dir, const char *name, const struct attr *attr,
                         const struct attr *there, enum compare *out_result, bool *out_alike)
{
    const struct plan_options *o = &w->p->options;
    enum known known = ask_state(o, dir, name, attr, there);
    struct attr wanted = *attr;
    entry_ask_owner(w, dir, dst_name(w->p, name), there, attr);
    unsigned keep = entry_keep(w->p, o->keep, there, &wanted);
    enum compare result = compare_attrs(&wanted, there, keep, o->dst->caps.time_granularity_ns, known);
    bool doubt = S_ISREG(attr->mode) && (known == KNOWN_TOUCHED || o->checksum);
    if (result == COMPARE_SAME && known != KNOWN_GOOD) {
        bool differs = false;
        int err = extra_differs(w, dir, name, dst_name(w->p, name), &differs);
        if (err != 0) {
            return err;
        }
        result = differs ? COMPARE_ATTRS : COMPARE_SAME;
    }
    if ((result == COMPARE_SAME || result == COMPARE_ATTRS) && S_ISLNK(attr->mode) &&
        !same_target(w, dir, name, dst_name(w->p, name))) {
        result = COMPARE_DIFFERS;
    }
    /* Other names that hang on it there and are others' at the source must not change with it. */
    if (result == COMPARE_ATTRS && there->nlink > attr->nlink) {
        result = COMPARE_DIFFERS;
    }
    *out_alike = result == COMPARE_SAME;
    if (doubt && (result == COMPARE_SAME || result == COMPARE_ATTRS)) {
        result = COMPARE_CONTENTS;
    }
    *out_result = result;
    return 0;
}

void entry_ask_owner(struct walker *w, struct dir *dir, const char *name, const struct attr *there,
                     const struct attr *attr)
{
    struct planner *p = w->p;
    unsigned owner = p->options.keep & (STORE_KEEP_OWNER | STORE_KEEP_GROUP);
    bool other = ((owner & STORE_KEEP_OWNER) != 0 && there->uid != attr->uid) ||
                 ((owner & STORE_KEEP_GROUP) != 0 && there->gid != attr->gid);

    if (!other || p->options.dst->caps.owner_refused == NULL || S_ISLNK(attr->mode) ||
        (there->mode & S_IFMT) != (attr->mode & S_IFMT) || there->nlink > attr->nlink ||
        atomic_exchange(&p->owner_asked, true)) {
        return;
    }
    struct store_op op = {.code = STORE_SETATTR, .dir = dir, .name = name, .setattr = {.attr = attr, .keep = owner}};
    (void)store_run(w->dst, &op); /* what fails is done, or told, as for every other entry */
}

static enum item_kind kind_of(mode_t mode)
{
    return S_ISREG(mode) ? ITEM_FILE : S_ISLNK(mode) ? ITEM_SYMLINK : ITEM_NODE;
}

/*
 * Two files of the source may stand at the destination as one: a link that was broken up at the source, by a copy
 * perhaps that is as alike as can be, or names that changed groups. The first one to be looked at keeps that file, the
 * others are published anew. Further names that only the destination has are left alone. 0 or -errno.
 */
static int part_files(struct walker *w, const struct attr *attr, const struct attr *there, enum compare *result)
{
    const struct plan_options *o = &w->p->options;
    bool ours = true;

    if (*result == COMPARE_DIFFERS || *result == COMPARE_TYPE || there->nlink < 2 || !o->hard_links ||
        o->only_name != NULL) {
        return 0;
    }
    int err = links_claim(w->p->links, there, attr, &ours);
    if (err == 0 && !ours) {
        *result = COMPARE_DIFFERS;
    }
    return err;
}

/* Whether so many of dir's entries were asked for one by one that the whole listing costs less. */
static bool worth_listing(const struct walker *w, const struct dir *dir)
{
    struct plan_dir *node = plan_of(dir);
    return node->listing && node->there == NULL && w->p->options.dst->caps.network && node->asked++ == ASKED_MAX;
}

/* Looks at what stands at the destination: 0, 1: nothing needs to be done, or -errno, reported. May turn *kind into
 * ITEM_ATTRS, or ITEM_CHECK with *out_alike (item.h). */
static int look(struct walker *w, struct dir *dir, const char *name, const struct attr *attr, enum item_kind *kind,
                bool *out_alike, struct attr *out_there)
{
    const char *to = dst_name(w->p, name);
    struct attr there = {0};
    enum there_known known = there_find(w->p, dir, to, &there);
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = to, .stat = {.out = &there}};

    if (known == THERE_UNKNOWN && worth_listing(w, dir)) {
        bool temps = true;
        (void)there_read(w, dir, &temps);
        known = there_find(w->p, dir, to, &there);
    }
    int err = known == THERE_FOUND ? 0 : known == THERE_NOTHING ? -ENOENT : store_run(w->dst, &op);
    if (err == -ENOENT) {
        return 0;
    }
    if (err != 0) {
        plan_op_failed(w, w->dst, &op, dir, name, err, false);
        return err;
    }
    if (S_ISDIR(there.mode)) {
        return entry_clear(w, dir, to, &there);
    }
    enum compare result = COMPARE_SAME;
    err = compare_entry(w, dir, name, attr, &there, &result, out_alike);
    if (err != 0) {
        return err;
    }
    err = part_files(w, attr, &there, &result);
    if (err != 0) {
        plan_failed(w->p, dir, name, "remember", err, true, false);
        return err;
    }
    if (result == COMPARE_ATTRS || result == COMPARE_CONTENTS) {
        *kind = result == COMPARE_ATTRS ? ITEM_ATTRS : ITEM_CHECK;
    }
    *out_there = there;
    return result == COMPARE_SAME ? 1 : 0;
}

/* there: what it was compared with; NULL: it was trusted. */
static void count_same(struct planner *p, const struct dir *dir, const char *name, const struct attr *attr,
                       const struct attr *there)
{
    count_add(&p->counts.same, 1);
    if (S_ISREG(attr->mode)) {
        count_add(&p->counts.same_bytes, attr->size);
    }
    if (p->options.same != NULL && there != NULL) {
        p->options.same(p->options.arg, dir, name, attr, there);
    }
}

/* Whether the entry is remembered as it is now, and the destination need not be asked. */
static bool is_trusted(struct walker *w, const struct dir *dir, const char *name, size_t name_len,
                       const struct attr *attr)
{
    const struct plan_options *o = &w->p->options;
    const struct plan_dir *node = plan_of(dir);

    if (!o->trust || node->audit || node->fresh || !node->listing) {
        return false;
    }
    return node->unrecalled ? o->known(o->arg, dir, name, attr) == KNOWN_GOOD
                            : recall_same(w->p, dir, name, name_len, attr);
}

static enum verdict decide(struct walker *w, struct dir *dir, const char *name, size_t name_len,
                           const struct attr *attr, bool leader, bool fresh)
{
    struct planner *p = w->p;
    enum item_kind kind = kind_of(attr->mode);
    bool alike = false;

    if (!fresh) {
        struct attr there = {0};
        if (is_trusted(w, dir, name, name_len, attr)) {
            count_same(p, dir, name, attr, NULL);
            return VERDICT_SAME;
        }
        if ((plan_of(dir)->assumed || plan_of(dir)->astray) && enter_verify(w, dir) != 0) {
            return VERDICT_FAILED;
        }
        int found = look(w, dir, name, attr, &kind, &alike, &there);
        if (found < 0) {
            return VERDICT_FAILED;
        }
        if (found > 0) {
            count_same(p, dir, name, attr, &there);
            return VERDICT_SAME;
        }
    }
    if (p->options.recall != NULL) {
        w->intended = p->options.intend(p->options.arg, dir, name);
    }
    struct item *item = item_create(kind, dir, name, name_len, attr);
    if (item != NULL) {
        item->leader = leader;
        item->alike = alike;
        item->as = p->options.only_name != NULL ? p->options.only_as : NULL;
    }
    if (item == NULL || shards_add(w, item) != 0) {
        item_destroy(item);
        plan_failed(p, dir, name, "plan", -ENOMEM, true, false);
        return VERDICT_FAILED;
    }
    return VERDICT_TODO;
}

void entry_decide(struct walker *w, struct dir *dir, const char *name, size_t name_len, const struct attr *attr,
                  bool leader, bool fresh)
{
    enum verdict verdict = decide(w, dir, name, name_len, attr, leader, fresh);
    if (!leader || verdict == VERDICT_TODO) {
        return;
    }
    int err = links_settle(w->p->links, attr->dev, attr->ino, verdict == VERDICT_SAME ? LINK_ARRIVED : LINK_FAILED);
    if (err != 0) {
        plan_failed(w->p, dir, name, "remember", err, true, false);
    }
}

static void count_met(struct planner *p, const struct attr *attr)
{
    if (S_ISREG(attr->mode)) {
        count_add(&p->counts.files, 1);
        count_add(&p->counts.bytes, attr->size);
    } else {
        count_add(&p->counts.others, 1);
    }
}

void entry_plan(struct walker *w, struct dir *dir, const char *name, size_t name_len, const struct attr *attr)
{
    struct planner *p = w->p;
    bool fresh = plan_of(dir)->fresh;
    bool leader = false;

    if ((S_ISCHR(attr->mode) || S_ISBLK(attr->mode)) && !p->options.devices) {
        notice_raise(p->options.notices, "device nodes were left out: only root can make them");
        count_add(&p->counts.excluded, 1);
        return;
    }
    if (p->options.hard_links && attr->nlink > 1 && p->options.only_name == NULL) {
        int err = links_meet(p->links, attr->dev, attr->ino, dir, name, fresh, &leader);
        if (err != 0) {
            plan_failed(p, dir, name, "remember", err, true, false);
            return;
        }
        if (!leader) {
            count_add(&p->counts.links, 1);
            return;
        }
    }
    count_met(p, attr);
    entry_decide(w, dir, name, name_len, attr, leader, fresh);
}
