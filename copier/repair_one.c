/*
 * repair_one: one finding mended: looked at once more, then replaced, changed or taken away while it is still what was
 * found.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copier/copyfile.h"
#include "copier/repair_internal.h"

static const char changed[] = "it has changed since it was found";

static void left(struct outcome *out, const char *why)
{
    *out = (struct outcome){.action = ACTION_LEFT, .why = why};
}

static bool is_guard(const struct store_op *op, int err)
{
    return err == -ESTALE && store_op_guarded(op);
}

/* What failed, in words. */
static void failed(struct outcome *out, const struct store_op *op, int err, bool on_source)
{
    *out = (struct outcome){.action = ACTION_FAILED, .err = abs(err)};
    if (err == -ECANCELED) {
        out->why = "the run was stopped";
        return;
    }
    (void)snprintf(out->text, sizeof out->text, "%s%s", op->step != NULL ? op->step : store_code_name(op->code),
                   on_source ? " at the source" : "");
    out->why = out->text;
}

static void refused(struct outcome *out, const struct store_op *op, int err)
{
    if (is_guard(op, err)) {
        left(out, changed);
    } else {
        failed(out, op, err, false);
    }
}

static int look_at(struct port *port, const struct mending *m, struct attr *out, struct store_op *op)
{
    *op = (struct store_op){.code = STORE_STAT, .dir = m->dir, .name = m->text, .stat = {.out = out, .fresh = true}};
    return store_run(port, op);
}

/* What the source has by now. False: *out says why not. */
static bool ask_source(struct worker *w, const struct mending *m, struct attr *src, struct outcome *out)
{
    struct store_op op;
    int err = look_at(look_src(w), m, src, &op);
    if (err == -ENOENT) {
        left(out, "the source does not have it any more");
    } else if (err != 0) {
        failed(out, &op, err, true);
    }
    return err == 0;
}

/* ---- contents ---- */

/* Whether what stands there is what was to be published: a try before the last one did it, whose answer was lost. */
static bool is_there(struct worker *w, const struct mending *m, const struct attr *src, struct attr *now)
{
    struct store_op op;
    return look_at(look_dst(w), m, now, &op) == 0 && (now->mode & S_IFMT) == (src->mode & S_IFMT) &&
           now->size == src->size && now->mtime.tv_sec == src->mtime.tv_sec &&
           (now->mode & 07777) == (src->mode & 07777);
}

/* ---- several names of one file ---- */

void repair_leaders_free(struct repair *r)
{
    while (r->leaders != NULL) {
        struct repair_leader *next = r->leaders->next;
        dir_put(r->leaders->dir);
        free(r->leaders);
        r->leaders = next;
    }
}

/* Without memory its further names become files of their own. */
static void add_leader(struct repair *r, const struct mending *m, const struct state_file *file)
{
    size_t size = strlen(m->text) + 1;
    struct repair_leader *l = malloc(sizeof *l + size);
    if (l != NULL) {
        *l = (struct repair_leader){.next = r->leaders, .dir = dir_get(m->dir), .file = *file};
        memcpy(l->name, m->text, size);
        r->leaders = l;
    }
}

/* One that was published in this run from that very file. */
static const struct repair_leader *leader_of(const struct repair *r, const struct attr *src)
{
    const struct repair_leader *l = r->leaders;
    while (l != NULL && !attr_unchanged(&l->file.src, src)) {
        l = l->next;
    }
    return l;
}

/* A further name of what was published already, which was looked at right before. False: it is to be published. */
static bool link_it(struct repair *r, struct worker *w, struct mending *m, const struct attr *src, struct outcome *out)
{
    const struct repair_leader *l = leader_of(r, src);
    struct attr there = {0};
    if (l == NULL) {
        return false;
    }
    struct store_op op = {.code = STORE_LINK,
                          .dir = m->dir,
                          .name = m->text,
                          .link = {.from_dir = l->dir, .from_name = l->name, .out = &there}};
    int err = store_run(look_dst(w), &op);
    if (item_link_copies(err)) {
        return false;
    }
    if (err != 0) {
        failed(out, &op, err, false);
        return true;
    }
    *out = (struct outcome){.action = ACTION_MENDED};
    struct state_file file = l->file;
    file.dst = there;
    repair_state_note(r, w, m, FACT_PUBLISHED, &file);
    return true;
}

static void publish(struct repair *r, struct worker *w, struct mending *m, const struct attr *now, struct outcome *out)
{
    struct engine *e = &r->look->engine;
    struct attr src = {0};
    struct attr there = {0};
    struct state_file file = {.name = NULL};
    struct copy_job job = {.engine = e, .worker = w, .expect = now, .outcome = &file};
    if (!ask_source(w, m, &src, out)) {
        return;
    }
    if (!S_ISREG(src.mode)) {
        left(out, mend_why(LEFT_TYPE));
        return;
    }
    if (m->linked && link_it(r, w, m, &src, out)) {
        return;
    }
    job.item = item_create(ITEM_FILE, m->dir, m->text, strlen(m->text), &src);
    if (job.item == NULL) {
        failed(out, &(struct store_op){.code = STORE_PUBLISH}, -ENOMEM, false);
        return;
    }
    int err = copy_item(&job);
    if (err == 0) {
        *out = (struct outcome){.action = ACTION_MENDED};
        repair_state_note(r, w, m, FACT_PUBLISHED, &file);
        if (m->linked) {
            add_leader(r, m, &file);
        }
    } else if (is_guard(&job.op, err) && job.op.attempts > 1 && is_there(w, m, &src, &there)) {
        *out = (struct outcome){.action = ACTION_MENDED}; /* the state's doubt stays: who published it is not certain */
    } else if (err == -ERR_CHANGED) {
        left(out, "the source is being changed");
    } else if (job.on_source) {
        failed(out, &job.op, err, true);
    } else {
        refused(out, &job.op, err);
    }
    xattrs_destroy(job.xattrs);
    item_destroy(job.item);
}

/* ---- attributes ---- */

static void set_attrs(struct repair *r, struct worker *w, struct mending *m, const struct attr *now,
                      struct outcome *out)
{
    struct attr src = {0};
    struct state_file file = {.name = NULL};
    if (!ask_source(w, m, &src, out)) {
        return;
    }
    if ((src.mode & S_IFMT) != (now->mode & S_IFMT) || (S_ISREG(src.mode) && src.size != now->size)) {
        left(out, "the source has changed since");
        return;
    }
    struct store_op op = {.code = STORE_SETATTR,
                          .dir = m->dir,
                          .name = m->text,
                          .setattr = {.attr = &src, .keep = copy_keep(&r->look->engine), .expect = now}};
    int err = store_run(look_dst(w), &op);
    if (err != 0 && !(is_guard(&op, err) && op.attempts > 1)) {
        refused(out, &op, err);
        return;
    }
    err = look_at(look_dst(w), m, &file.dst, &op);
    if (err != 0) {
        failed(out, &op, err, false);
    } else if (file.dst.ino != now->ino || (file.dst.mode & 07777) != (src.mode & 07777) ||
               file.dst.mtime.tv_sec != src.mtime.tv_sec) {
        *out = (struct outcome){.action = ACTION_FAILED, .why = "they did not stay as they were set", .err = EIO};
    } else {
        *out = (struct outcome){.action = ACTION_MENDED};
        repair_state_note(r, w, m, FACT_ATTRS, &file);
    }
}

/* ---- away ---- */

static int take_away(struct worker *w, const struct mending *m, const struct attr *now, struct store_op *op)
{
    *op = (struct store_op){
        .code = STORE_REMOVE, .dir = m->dir, .name = m->text, .remove = {.expect = now, .dir = false}};
    return store_run(look_dst(w), op);
}

static void remove_it(struct repair *r, struct worker *w, struct mending *m, const struct attr *now,
                      struct outcome *out)
{
    struct store_op op;
    int err = take_away(w, m, now, &op);
    if (err == 0) {
        *out = (struct outcome){.action = ACTION_REMOVED};
        repair_state_note(r, w, m, FACT_GONE, NULL);
    } else {
        refused(out, &op, err);
    }
}

#define READ_SIZE (1024U * 1024) /* bytes at a time */

/* All of an open file into what is kept. */
static int keep_bytes(struct worker *w, struct store_file *file, struct kept *kept, struct store_op *op)
{
    char *buffer = malloc(READ_SIZE);
    uint64_t at = 0;
    size_t got = READ_SIZE;
    int err = buffer == NULL ? -ENOMEM : 0;
    while (err == 0 && got == READ_SIZE) {
        *op = (struct store_op){.code = STORE_READ,
                                .file = {.file = file, .buf = buffer, .len = READ_SIZE, .offset = at, .out_len = &got}};
        err = worker_stopping(w) ? -ECANCELED : store_run(look_dst(w), op);
        if (err == 0) {
            op->step = "write into the quarantine";
            err = quarantine_write(kept, buffer, got);
            at += got;
        }
    }
    free(buffer);
    return err;
}

/* Its contents into what is kept; they are those of now. 0 or -errno of op. */
static int keep_contents(struct worker *w, const struct mending *m, const struct attr *now, struct kept *kept,
                         struct store_op *op)
{
    struct store_file *file = NULL;
    struct attr before = {0};
    struct attr after = {0};
    if (now->size == 0) {
        return 0;
    }
    *op =
        (struct store_op){.code = STORE_OPEN, .dir = m->dir, .name = m->text, .open = {.out = &file, .attr = &before}};
    int err = store_run(look_dst(w), op);
    if (err != 0) {
        return err;
    }
    err = keep_bytes(w, file, kept, op);
    if (err == 0) {
        *op = (struct store_op){.code = STORE_FSTAT, .dir = m->dir, .stat = {.out = &after, .file = file}};
        err = store_run(look_dst(w), op);
    }
    struct store_op close = {.code = STORE_CLOSE, .dir = m->dir, .file = {.file = file}};
    (void)store_run(look_dst(w), &close); /* nothing was written through it */
    if (err == 0 && !(attr_is_meant(now, &before) && attr_is_meant(now, &after))) {
        op->step = STORE_STEP_GUARD;
        err = -ESTALE;
    }
    return err;
}

/* First all of it is in the quarantine, with its note, on the disk; then it is removed. */
static void move(struct repair *r, struct worker *w, struct mending *m, const struct attr *now, struct outcome *out)
{
    struct kept *kept = NULL;
    struct store_op op = {.code = STORE_OPEN, .step = "quarantine"};
    char *path = dir_path(m->dir, m->text);
    int err = path != NULL ? quarantine_begin(r->quarantine, path, &kept) : -ENOMEM;
    if (err == 0) {
        err = keep_contents(w, m, now, kept, &op);
    }
    if (err == 0) {
        const struct finding f = {.path = path, .kind = m->kind, .sure = m->sure, .evidence = m->evidence, .attr = now};
        op.step = "quarantine";
        err = quarantine_keep(kept, &f);
    }
    if (err != 0) {
        refused(out, &op, err);
        quarantine_drop(kept);
        free(path);
        return;
    }
    err = take_away(w, m, now, &op);
    if (err == 0) {
        *out = (struct outcome){.action = ACTION_MOVED};
        (void)snprintf(out->text, sizeof out->text, "to %s", quarantine_name(kept));
        out->why = out->text;
        repair_state_note(r, w, m, FACT_GONE, NULL);
    } else {
        refused(out, &op, err);
    }
    if (is_guard(&op, err) && op.attempts <= 1) {
        quarantine_drop(kept);
    } else {
        quarantine_end(kept); /* what may be gone stays there */
    }
    free(path);
}

/* Still what was found. Of a file with several names ctime moves as others of them are mended. */
static bool is_same(const struct mending *m, const struct attr *now)
{
    return attr_is_meant(&m->now, now) && m->now.dev == now->dev && (m->linked || attr_unchanged(&m->now, now));
}

void repair_one(struct repair *r, struct worker *w, struct mending *m, struct outcome *out)
{
    struct attr now = {0};
    struct store_op op;
    int err = look_at(look_dst(w), m, &now, &op);
    if (err == -ENOENT) {
        left(out, "it is gone by now");
    } else if (err != 0) {
        failed(out, &op, err, false);
    } else if (!is_same(m, &now)) {
        left(out, changed);
    } else if (m->verdict == MEND_CONTENTS) {
        publish(r, w, m, &now, out);
    } else if (m->verdict == MEND_ATTRS) {
        set_attrs(r, w, m, &now, out);
    } else if (m->verdict == MEND_MOVE) {
        move(r, w, m, &now, out);
    } else {
        remove_it(r, w, m, &now, out);
    }
    if (out->action == ACTION_LEFT) {
        repair_state_note(r, w, m, FACT_LEFT, NULL);
    }
}
