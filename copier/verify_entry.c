/*
 * verify_entry: one entry: what is wrong with it. Whatever looks wrong is looked at a second time before it is called a
 * finding: a run may be working on it, or somebody on the source.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/errs.h"
#include "copier/quantity.h"
#include "copier/verify_internal.h"

#define TRIES_MAX 3U /* that an entry may change under us */

void verify_found(struct verify_dir *d, const struct verify_entry *e, enum finding_kind kind, enum finding_sure sure,
                  const char *evidence)
{
    struct attr attr = facts_attr(&e->dst);
    struct finding f = {
        .kind = kind, .sure = sure, .evidence = evidence, .attr = e->there ? &attr : NULL, .action = ACTION_NONE};
    atomic_store(&d->tainted, true);
    look_found(d->look, d->dir, verify_name(d, e), &f);
}

void verify_failed(struct verify_dir *d, const struct verify_entry *e, const struct store_op *op, int err,
                   bool on_source)
{
    atomic_store(&d->tainted, true);
    look_failed(d->look, d->dir, verify_name(d, e), op, err, on_source, false);
}

static void changed(struct verify_dir *d)
{
    atomic_store(&d->tainted, true);
    verify_add(&d->verify->counts.changed, 1);
}

bool verify_needs_look(const struct verify_dir *d, const struct verify_entry *e)
{
    char evidence[EVIDENCE_MAX];
    enum finding_kind kind = FINDING_NONE;
    if (e->src.mode == 0) {
        return false;
    }
    return !e->there || e->contents || S_ISLNK(e->src.mode) || verify_needs_more(d->verify, e) ||
           verify_attrs_differ(d->verify, e, &kind, evidence);
}

/* ---- the second look ---- */

/* What stands at a side now; fresh where that is a server. 0, -ENOENT; -errno, reported. */
static int stat_side(struct verify_dir *d, const struct verify_entry *e, struct worker *w, bool on_source,
                     struct facts *out)
{
    struct attr attr = {0};
    struct store_op op = {
        .code = STORE_STAT, .dir = d->dir, .name = verify_name(d, e), .stat = {.out = &attr, .fresh = true}};
    int r = store_run(on_source ? look_src(w) : look_dst(w), &op);
    if (r == 0) {
        *out = facts_of(&attr);
    } else if (r != -ENOENT) {
        verify_failed(d, e, &op, r, on_source);
    }
    return r;
}

/* All that a verification goes by. */
static bool same_facts(const struct facts *a, const struct facts *b)
{
    return facts_unchanged(a, b) && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid && a->rdev == b->rdev;
}

/* How things stand after both sides were asked again. */
enum again {
    AGAIN_SAME,   /* as they were */
    AGAIN_OTHER,  /* the entry has been brought up to date: begin anew */
    AGAIN_GONE,   /* the source has it no more */
    AGAIN_FAILED, /* reported */
};

static enum again look_again(struct verify_dir *d, struct verify_entry *e, struct worker *w)
{
    struct facts src = {0};
    struct facts dst = {0};
    int r = stat_side(d, e, w, true, &src);
    if (r != 0) {
        return r == -ENOENT ? AGAIN_GONE : AGAIN_FAILED;
    }
    r = stat_side(d, e, w, false, &dst);
    if (r != 0 && r != -ENOENT) {
        return AGAIN_FAILED;
    }
    bool there = r == 0;
    bool same = same_facts(&src, &e->src) && there == e->there && (!there || same_facts(&dst, &e->dst));
    if (!same_facts(&src, &e->src)) {
        e->src = src;
        verify_want_source(d->verify, e);
    }
    e->dst = there ? dst : e->dst;
    e->there = there;
    return same ? AGAIN_SAME : AGAIN_OTHER;
}

/* ---- what is wrong ---- */

static void missing(struct verify_dir *d, const struct verify_entry *e)
{
    char evidence[EVIDENCE_MAX];
    char count[QUANTITY_MAX];
    if (S_ISDIR(e->src.mode)) {
        (void)snprintf(evidence, sizeof evidence, "the source has a directory there, with all that is in it");
    } else if (S_ISREG(e->src.mode)) {
        (void)snprintf(evidence, sizeof evidence, "the source has a file of %s bytes there",
                       quantity_show_count(e->src.size, count));
    } else {
        (void)snprintf(evidence, sizeof evidence, "the source has an entry there");
    }
    verify_found(d, e, FINDING_MISSING, SURE_CERTAIN, evidence);
}

/* The target of a symbolic link. 0; -errno with op. */
static int target_of(struct verify_dir *d, const struct verify_entry *e, struct port *port, struct store_op *op,
                     char *out)
{
    *op = (struct store_op){
        .code = STORE_READLINK, .dir = d->dir, .name = verify_name(d, e), .readlink = {.size = PATH_MAX + 1}};
    op->readlink.buf = out;
    return store_run(port, op);
}

static enum outcome compare_targets(struct verify_dir *d, struct verify_entry *e, struct worker *w)
{
    char ours[PATH_MAX + 1];
    char theirs[PATH_MAX + 1];
    struct store_op op;
    int r = target_of(d, e, look_src(w), &op, ours);
    bool on_source = r != 0;
    r = r == 0 ? target_of(d, e, look_dst(w), &op, theirs) : r;
    if (r == -ENOENT || r == -EINVAL) {
        return OUTCOME_MOVED; /* gone, or no symbolic link any more */
    }
    if (r != 0) {
        verify_failed(d, e, &op, r, on_source);
        return OUTCOME_FAILED;
    }
    return strcmp(ours, theirs) == 0 ? OUTCOME_SAME : OUTCOME_OTHER;
}

/* Where the first byte differs, looked for in both. Whether the entry is settled. */
static bool other_contents(struct verify_dir *d, struct verify_entry *e, struct worker *w, uint64_t part)
{
    char evidence[EVIDENCE_MAX];
    char at[QUANTITY_MAX];
    struct difference first;
    switch (verify_bytes(d, e, w, part, &first)) {
    case OUTCOME_OTHER:
        (void)snprintf(evidence, sizeof evidence, "byte %s is 0x%02x, 0x%02x at the source%s",
                       quantity_show_count(first.at, at), first.theirs, first.ours,
                       e->moved_on ? "; the source has changed since it was copied" : "");
        verify_found(d, e, FINDING_CONTENTS, SURE_CERTAIN, evidence);
        return true;
    case OUTCOME_SAME:
        atomic_store(&d->tainted, true);
        if (e->hash_known && !d->look->engine.options->read_source) {
            notice_raise(d->look->engine.notices, "source files have other contents than they were published with, "
                                                  "though their times are the same; the destination has the same");
            verify_add(&d->verify->counts.compared, 1);
        } else {
            verify_found(d, e, FINDING_CONTENTS, SURE_SUSPECTED,
                         "one reading brought other contents than the source has, the next one did not");
        }
        return true;
    case OUTCOME_MOVED:
        return false;
    default:
        return true; /* reported */
    }
}

static void examine(struct verify_dir *d, struct verify_entry *e, struct worker *w, unsigned tries);

/* It is not what was listed any more. */
static void anew(struct verify_dir *d, struct verify_entry *e, struct worker *w, unsigned tries, bool asked)
{
    if (tries + 1 >= TRIES_MAX) {
        changed(d);
        return;
    }
    switch (asked ? AGAIN_OTHER : look_again(d, e, w)) {
    case AGAIN_GONE:
        changed(d);
        break;
    case AGAIN_FAILED:
        break;
    default:
        atomic_store(&d->tainted, true); /* the directory's digest was of what it was */
        examine(d, e, w, tries + 1);
        break;
    }
}

void verify_settle(struct verify_dir *d, struct verify_entry *e, struct worker *w, enum outcome outcome, uint64_t part,
                   unsigned tries)
{
    switch (outcome) {
    case OUTCOME_OTHER: {
        enum again again = look_again(d, e, w);
        if (again == AGAIN_OTHER) {
            anew(d, e, w, tries, true);
        } else if (again == AGAIN_GONE) {
            changed(d);
        } else if (again == AGAIN_SAME && !other_contents(d, e, w, part)) {
            anew(d, e, w, tries, false);
        }
        break;
    }
    case OUTCOME_MOVED:
        anew(d, e, w, tries, false);
        break;
    case OUTCOME_CUT:
        atomic_store(&d->tainted, true);
        atomic_store(&d->look->cut, true);
        break;
    case OUTCOME_SAME:
    case OUTCOME_FAILED:
    case OUTCOME_PENDING:
        break;
    }
}

/* Attributes, presence. True: all is said, or it is begun anew. */
static bool first_look(struct verify_dir *d, struct verify_entry *e, struct worker *w, unsigned tries)
{
    char evidence[EVIDENCE_MAX];
    enum finding_kind kind = FINDING_NONE;
    bool differs = e->there && verify_attrs_differ(d->verify, e, &kind, evidence);
    if (e->there && !differs) {
        return false;
    }
    switch (look_again(d, e, w)) {
    case AGAIN_SAME:
        break;
    case AGAIN_OTHER:
        anew(d, e, w, tries, true);
        return true;
    case AGAIN_GONE:
        changed(d);
        return true;
    case AGAIN_FAILED:
        return true;
    }
    if (!e->there) {
        missing(d, e);
        return true;
    }
    verify_found(d, e, kind, SURE_CERTAIN, evidence);
    return ((e->src.mode ^ e->dst.mode) & S_IFMT) != 0;
}

/* Names and extended attributes. True: all is said, or it is begun anew. */
static bool more_look(struct verify_dir *d, struct verify_entry *e, struct worker *w, unsigned tries)
{
    char evidence[EVIDENCE_MAX] = "";
    enum outcome outcome = verify_needs_more(d->verify, e) ? verify_more(d, e, w, evidence) : OUTCOME_SAME;
    if (outcome == OUTCOME_SAME) {
        return false;
    }
    if (outcome == OUTCOME_MOVED) {
        anew(d, e, w, tries, false);
        return true;
    }
    if (outcome != OUTCOME_OTHER) {
        return true; /* reported */
    }
    switch (look_again(d, e, w)) {
    case AGAIN_SAME:
        break;
    case AGAIN_OTHER:
        anew(d, e, w, tries, true);
        return true;
    case AGAIN_GONE:
        changed(d);
        return true;
    case AGAIN_FAILED:
        return true;
    }
    if (!e->more_told) {
        e->more_told = true;
        verify_found(d, e, FINDING_DIFFERS, SURE_CERTAIN, evidence);
    }
    return false;
}

static void examine(struct verify_dir *d, struct verify_entry *e, struct worker *w, unsigned tries)
{
    uint64_t part = 0;
    if (worker_stopping(w)) {
        verify_settle(d, e, w, OUTCOME_CUT, 0, tries);
        return;
    }
    if (first_look(d, e, w, tries) || more_look(d, e, w, tries)) {
        return;
    }
    if (S_ISLNK(e->src.mode)) {
        enum outcome outcome = compare_targets(d, e, w);
        if (outcome == OUTCOME_OTHER) {
            verify_found(d, e, FINDING_DIFFERS, SURE_CERTAIN, "a symbolic link with another target");
        } else {
            verify_settle(d, e, w, outcome, 0, tries);
        }
    } else if (e->contents && S_ISREG(e->src.mode) && S_ISREG(e->dst.mode) && e->src.size == e->dst.size &&
               e->src.size > 0) {
        enum outcome outcome = verify_contents(d, e, w, tries, &part);
        verify_settle(d, e, w, outcome, part, tries);
    }
}

void verify_examine(struct verify_dir *d, struct verify_entry *e, struct worker *w)
{
    examine(d, e, w, 0);
}
