/*
 * verify_more: what no listing tells: which names are one file, extended attributes, ACLs.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "copier/copyfile.h"
#include "copier/verify_internal.h"
#include "planner/links.h"

/* ---- names of one file ---- */

static bool has_names(const struct verify_entry *e)
{
    return !S_ISDIR(e->src.mode) && (e->src.nlink > 1 || e->dst.nlink > 1);
}

/* Two files of the source are to be two at the destination, and names of one are to be one there. The first name to be
 * looked at decides which file is taken for which. OUTCOME_OTHER, SAME, FAILED. */
static enum outcome compare_names(struct verify_dir *d, struct verify_entry *e, char *evidence)
{
    struct verify *v = d->verify;
    const struct attr src = facts_attr(&e->src);
    const struct attr dst = facts_attr(&e->dst);
    bool one = true; /* what the source has under these names is one file, as far as this one tells */
    bool own = true; /* the destination's file is no other one's of the source */
    int r = e->src.nlink > 1 ? links_claim(v->links[DIR_SRC], &src, &dst, &one) : 0;
    if (r == 0 && e->dst.nlink > 1) {
        r = links_claim(v->links[DIR_DST], &dst, &src, &own);
    }
    if (r != 0) {
        const struct store_op op = {.code = STORE_LINK};
        verify_failed(d, e, &op, r, false);
        return OUTCOME_FAILED;
    }
    if (one && own) {
        return OUTCOME_SAME;
    }
    (void)snprintf(evidence, EVIDENCE_MAX, "%s",
                   own ? "a file of its own; at the source it is one with other names"
                       : "a link to a file that is another one at the source");
    return OUTCOME_OTHER;
}

/* ---- extended attributes ---- */

static int read_side(const struct verify *v, struct port *port, struct dir *dir, const char *name, struct xattrs **out,
                     struct store_op *op)
{
    *op = (struct store_op){.code = STORE_XATTRS, .dir = dir, .name = name, .xattrs = {.kinds = v->kinds, .out = out}};
    return store_run(port, op);
}

/* The first one of a that b should have too and does not, or not so. False: there is none. */
static bool find_other(const struct xattrs *a, const struct xattrs *b, bool only_missing, const char **out_name,
                       bool *out_missing)
{
    struct xattr mine;
    struct xattr other;
    size_t at = 0;
    while (xattrs_next(a, &at, &mine)) {
        if ((xattr_kind(mine.name) & a->kinds & b->kinds) == 0 || xattr_is_label(mine.name)) {
            continue;
        }
        *out_name = mine.name;
        *out_missing = !xattrs_find(b, mine.name, &other);
        if (*out_missing ||
            (!only_missing && (mine.size != other.size || memcmp(mine.value, other.value, mine.size) != 0))) {
            return true;
        }
    }
    return false;
}

static void tell_other(const struct xattrs *ours, const struct xattrs *theirs, char *evidence, size_t room)
{
    const char *name = "";
    bool missing = false;
    if (find_other(ours, theirs, false, &name, &missing)) {
        (void)snprintf(evidence, room, "%s %s", name, missing ? "is missing" : "has another value");
    } else if (find_other(theirs, ours, true, &name, &missing)) {
        (void)snprintf(evidence, room, "%s is there, not at the source", name);
    }
}

int verify_xattrs_differ(struct verify *v, struct dir *dir, const char *name, struct worker *w, char *evidence,
                         size_t room, struct store_op *op, bool *on_source)
{
    struct xattrs *ours = NULL;
    struct xattrs *theirs = NULL;
    if (v->kinds == 0) {
        return 0;
    }
    *on_source = true;
    int r = read_side(v, look_src(w), dir, name, &ours, op);
    if (r == 0) {
        *on_source = false;
        r = read_side(v, look_dst(w), dir, name, &theirs, op);
    }
    if (r == 0 && ours != NULL && theirs != NULL) {
        if ((ours->kinds & ~theirs->kinds) != 0 && ours->count > 0) {
            notice_raise(v->look->engine.notices,
                         "extended attributes or ACLs that the destination cannot hold were not compared");
        }
        r = xattrs_equal(ours, theirs) ? 0 : 1;
        if (r == 1) {
            tell_other(ours, theirs, evidence, room);
        }
    }
    xattrs_destroy(ours);
    xattrs_destroy(theirs);
    return r;
}

/* ---- both ---- */

bool verify_needs_more(const struct verify *v, const struct verify_entry *e)
{
    return e->there && (v->kinds != 0 || has_names(e));
}

enum outcome verify_more(struct verify_dir *d, struct verify_entry *e, struct worker *w, char *evidence)
{
    enum outcome outcome = has_names(e) ? compare_names(d, e, evidence) : OUTCOME_SAME;
    const size_t len = outcome == OUTCOME_OTHER ? strlen(evidence) : 0;
    const size_t gap = len > 0 ? 2 : 0;
    struct store_op op = {.code = STORE_XATTRS};
    bool on_source = false;
    if (outcome == OUTCOME_FAILED) {
        return outcome;
    }
    int r = verify_xattrs_differ(d->verify, d->dir, verify_name(d, e), w, evidence + len + gap,
                                 EVIDENCE_MAX - len - gap, &op, &on_source);
    if (r == 1) {
        memcpy(evidence + len, "; ", gap);
        return OUTCOME_OTHER;
    }
    if (r == -ENOENT) {
        return OUTCOME_MOVED;
    }
    if (r < 0) {
        verify_failed(d, e, &op, r, on_source);
        return OUTCOME_FAILED;
    }
    return outcome;
}
