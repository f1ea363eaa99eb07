/*
 * copyrename: a file that the state knows under another name (--detect-renames). It is not copied once more: what haul
 * published under the former name gets the new one as well. The former name goes as every other that the source has no
 * more.
 *
 * That it is the same file: device, inode, size and mtime are those that it had when it was read. Where ctime is too,
 * as with all files in a directory that was renamed, so are its contents. It moves when the file itself is renamed:
 * then its contents have to be those of before, by the hash that was recorded, else by what stands at the destination.
 *
 * Owner and mode have to be right before anybody sees the file under its new name, and under the former one nobody may
 * see more of it than before: what got another owner, or more permission bits, is copied.
 */
#include "copier/copyrename.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "copier/copyfile.h"
#include "copier/sync.h"

#define PERMISSIONS 07777

/* What is known of the file. */
struct former {
    struct state_renamed known; /* owned */
    struct dir *dir;            /* of its former name; one reference; NULL: none yet */
    struct attr now;            /* at the source */
    int64_t read_ns;            /* wall clock before that was asked, and its contents read */
    bool tightened;             /* it has fewer permission bits than it had */
};

static void release(struct former *f)
{
    state_renamed_release(&f->known);
    dir_put(f->dir);
}

/* A file of several names is left to those who link them. */
static bool is_eligible(const struct copy_job *job)
{
    const struct engine *e = job->engine;
    const struct attr *a = &job->item->attr;
    return e->options->detect_renames && e->state != NULL && job->expect == NULL && job->outcome == NULL &&
           S_ISREG(a->mode) && a->nlink == 1 && a->size > 0;
}

/* Whether owner and mode are as they were then, or only narrower. */
static bool is_no_wider(const struct engine *e, struct former *f)
{
    const struct attr *was = &f->known.file.src;
    const struct attr *is = &f->now;
    const unsigned keep = copy_keep(e);
    const bool owner = (keep & STORE_KEEP_OWNER) == 0 || was->uid == is->uid;
    const bool group = (keep & STORE_KEEP_GROUP) == 0 || was->gid == is->gid;
    f->tightened = was->mode != is->mode;
    return owner && group && (is->mode & ~was->mode & PERMISSIONS) == 0;
}

/* Looks at the source once more, right before. */
static bool is_still_that(struct copy_job *job, struct former *f)
{
    const struct engine_worker *own = worker_own(job->worker);
    f->read_ns = clock_real_ns();
    job->on_source = true;
    job->op = (struct store_op){
        .code = STORE_STAT, .dir = job->item->work.dir, .name = job->item->name, .stat = {.out = &f->now}};
    return store_run(own->src, &job->op) == 0 && attr_unchanged(&job->item->attr, &f->now) &&
           is_no_wider(job->engine, f);
}

/* The node of its former directory, from the worker's chain. 0 or -errno. */
static int find_dir(struct copy_job *job, struct former *f)
{
    struct engine_worker *own = worker_own(job->worker);
    struct dir *dir = NULL;
    if (own->former.root == NULL) {
        chain_init(&own->former, planner_root(job->engine->planner));
    }
    int r = chain_to(&own->former, f->known.dir_path, strlen(f->known.dir_path), &dir);
    f->dir = r == 0 ? dir_get(dir) : NULL;
    return r;
}

/* 0, or -errno: it is known under no other name. Then f holds nothing. */
static int find(struct copy_job *job, struct former *f)
{
    const struct item *item = job->item;
    *f = (struct former){.dir = NULL};
    struct state_reader *reader = is_eligible(job) ? event_reader(job->engine) : NULL;
    int r = reader != NULL ? state_renamed(reader, item->work.dir->id, item->name, &item->attr, &f->known) : -ENOENT;
    if (r != 0) {
        return r;
    }
    r = is_still_that(job, f) ? find_dir(job, f) : -ESTALE;
    if (r != 0) {
        release(f);
    }
    return r;
}

/* What is at the destination has that hash: read there where it is near, and nobody has recorded it. */
static bool find_hash(struct copy_job *job, struct former *f)
{
    struct state_file *known = &f->known.file;
    struct attr before = {0};
    struct attr after = {0};
    if (!known->hash_known && !job->engine->dst->caps.network) {
        known->hash_known = copy_hash(job, false, f->dir, f->known.name, known->hash, &before, &after) == 0 &&
                            attr_is_same_file(&known->dst, &before) && attr_is_same_file(&known->dst, &after);
    }
    return known->hash_known;
}

/* Whether its contents are those that were published. */
static bool is_unchanged(struct copy_job *job, struct former *f)
{
    const struct item *item = job->item;
    const struct state_file *known = &f->known.file;
    struct attr before = {0};
    struct attr after = {0};
    uint8_t hash[16];
    if (clock_ns_of(&known->src.ctime) == clock_ns_of(&f->now.ctime)) {
        return true;
    }
    return find_hash(job, f) && copy_hash(job, true, item->work.dir, item->name, hash, &before, &after) == 0 &&
           attr_unchanged(&f->now, &before) && attr_unchanged(&f->now, &after) &&
           memcmp(hash, known->hash, sizeof hash) == 0;
}

/* What stands at the destination under that name. 0 or -errno. */
static int look(struct copy_job *job, struct dir *dir, const char *name, struct attr *out)
{
    const struct engine_worker *own = worker_own(job->worker);
    job->on_source = false;
    job->op = (struct store_op){.code = STORE_STAT, .dir = dir, .name = name, .stat = {.out = out}};
    return store_run(own->dst, &job->op);
}

bool copy_would_rename(struct copy_job *job)
{
    struct former f;
    struct attr there = {0};
    if (find(job, &f) != 0) {
        return false;
    }
    const bool would = look(job, f.dir, f.known.name, &there) == 0 && attr_is_same_file(&f.known.file.dst, &there);
    release(&f);
    job->renamed = would;
    return would;
}

/* Takes the permission bits away that it has no more. What cannot be done shows when it has been linked. */
static void tighten(struct copy_job *job, const struct former *f)
{
    const struct engine_worker *own = worker_own(job->worker);
    job->on_source = false;
    job->op = (struct store_op){
        .code = STORE_SETATTR,
        .dir = f->dir,
        .name = f->known.name,
        .setattr = {.attr = &f->now, .keep = copy_keep(job->engine) & STORE_KEEP_MODE, .expect = &f->known.file.dst}};
    (void)store_run(own->dst, &job->op);
}

/* Gives it its new name; *out: what stands there. 0 or -errno. */
static int link_it(struct copy_job *job, const struct former *f, struct attr *out)
{
    const struct engine_worker *own = worker_own(job->worker);
    const struct attr *published = &f->known.file.dst;
    job->on_source = false;
    job->op =
        (struct store_op){.code = STORE_LINK,
                          .dir = job->item->work.dir,
                          .name = item_dst_name(job->item),
                          .link = {.from_dir = f->dir, .from_name = f->known.name, .expect = published, .out = out}};
    int r = store_run(own->dst, &job->op);
    if (r == -ENOENT || r == -ENOTDIR || r == -ESTALE) {
        /* An earlier run did it, perhaps, and did not live to record it. */
        r = look(job, job->item->work.dir, item_dst_name(job->item), out);
        r = r == 0 && !attr_is_same_file(published, out) ? -ESTALE : r;
    }
    return r;
}

/* Whether what has been linked is as it is to be, and no other name's too. */
static bool is_right(const struct former *f, const struct attr *out)
{
    const struct attr *was = &f->known.file.dst;
    const mode_t mode = f->tightened ? f->now.mode : was->mode;
    return out->mode == mode && out->uid == was->uid && out->gid == was->gid && out->nlink <= 2;
}

int copy_rename(struct copy_job *job)
{
    struct item *item = job->item;
    struct former f;
    struct attr out = {0};
    if (find(job, &f) != 0) {
        return 1;
    }
    int r = is_unchanged(job, &f) ? 0 : 1;
    if (r == 0 && f.tightened) {
        tighten(job, &f);
    }
    r = r == 0 ? link_it(job, &f, &out) : r;
    if (r == 0 && is_right(&f, &out)) {
        const struct state_file *known = &f.known.file;
        item->attr = f.now;
        job->renamed = true;
        event_published(job->engine, item->work.dir, item->name, &f.now, &out, known->hash_known ? known->hash : NULL,
                        f.read_ns);
    } else if (r != -ECANCELED) {
        r = 1; /* what stands there now is replaced by a copy */
    }
    release(&f);
    return r;
}
