#include "cleanup/mend.h"

static bool has_bytes(const struct attr *a)
{
    return !S_ISREG(a->mode) || a->size > 0;
}

/* How sure one has to be. What is different in its rights is never more than likely; names of temp files neither. */
static bool is_sure(const struct mend_case *c)
{
    switch (c->kind) {
    case FINDING_DIFFERS:
    case FINDING_TEMP:
        return c->sure != SURE_SUSPECTED;
    case FINDING_CORRUPT:
        /* Of what the source does not have it can say no more than that. */
        return c->sure == SURE_CERTAIN || (c->sure == SURE_LIKELY && c->asked && c->src == NULL);
    default:
        return c->sure == SURE_CERTAIN;
    }
}

/* A file without a byte that should hold some is nobody's work. */
static bool is_work(const struct mend_case *c)
{
    bool lost = c->kind == FINDING_CORRUPT || c->kind == FINDING_EMPTY;
    return c->theirs && !lost;
}

/* The source has no such entry. */
static enum mend_verdict put_away(const struct mend_case *c)
{
    /* Of what has all its bytes only the attributes are wrong, and nobody can tell the right ones. */
    bool lost = c->kind == FINDING_CORRUPT || c->kind == FINDING_EMPTY || c->kind == FINDING_DIFFERS;
    if (!lost || c->sure == SURE_SUSPECTED || c->away == AWAY_LEAVE || !S_ISREG(c->now->mode)) {
        return LEFT_NONE;
    }
    if (c->away == AWAY_MOVE) {
        return MEND_MOVE;
    }
    return has_bytes(c->now) ? LEFT_HOLDS : MEND_REMOVE;
}

static enum mend_verdict from_source(const struct mend_case *c)
{
    const struct attr *src = c->src;
    const struct attr *now = c->now;
    if (c->kind == FINDING_CORRUPT || c->kind == FINDING_EMPTY) {
        return S_ISREG(src->mode) ? MEND_CONTENTS : LEFT_TYPE;
    }
    if ((src->mode & S_IFMT) != (now->mode & S_IFMT)) {
        return LEFT_TYPE;
    }
    if (!S_ISREG(now->mode) || src->size == now->size) {
        return MEND_ATTRS;
    }
    return c->kind == FINDING_DIFFERS && c->sure == SURE_CERTAIN ? MEND_CONTENTS : LEFT_SIZE;
}

enum mend_verdict mend_decide(const struct mend_case *c)
{
    if ((c->named & MEND_KINDS & MEND_KIND(c->kind)) == 0) {
        return LEFT_KIND;
    }
    if (c->now == NULL) {
        return LEFT_UNSEEN;
    }
    if (!is_sure(c)) {
        return LEFT_UNSURE;
    }
    if (c->kind == FINDING_TEMP) {
        return MEND_REMOVE; /* only stale ones are findings */
    }
    if (is_work(c)) {
        return LEFT_THEIRS;
    }
    if (!c->asked) {
        return LEFT_SOURCE;
    }
    return c->src == NULL ? put_away(c) : from_source(c);
}

bool mend_is_wanted(enum mend_verdict verdict)
{
    return verdict < LEFT_KIND;
}

const char *mend_why(enum mend_verdict verdict)
{
    switch (verdict) {
    case LEFT_KIND:
        return "--repair does not name its kind";
    case LEFT_UNSURE:
        return "that is not certain enough";
    case LEFT_THEIRS:
        return "somebody has changed it since it was published";
    case LEFT_SOURCE:
        return "the source could not be asked";
    case LEFT_NONE:
        return "the source has no such entry";
    case LEFT_HOLDS:
        return "the source has no such entry, and it holds bytes: only --quarantine takes it away";
    case LEFT_TYPE:
        return "the source has something of another type there";
    case LEFT_SIZE:
        return "its size is not the source's either";
    case LEFT_UNSEEN:
        return "it cannot be looked at";
    case MEND_CONTENTS:
    case MEND_ATTRS:
    case MEND_REMOVE:
    case MEND_MOVE:
    default:
        return NULL;
    }
}
