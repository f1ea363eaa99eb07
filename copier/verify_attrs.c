/*
 * verify_attrs: what differs in attributes, in words.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "base/clock.h"
#include "copier/quantity.h"
#include "copier/verify_internal.h"

struct facts facts_of(const struct attr *attr)
{
    return (struct facts){.size = attr->size,
                          .ino = attr->ino,
                          .dev = attr->dev,
                          .rdev = attr->rdev,
                          .mtime_ns = clock_ns_of(&attr->mtime),
                          .ctime_ns = clock_ns_of(&attr->ctime),
                          .mode = attr->mode,
                          .uid = attr->uid,
                          .gid = attr->gid,
                          .nlink = (uint32_t)attr->nlink};
}

static struct timespec timespec_of(int64_t ns)
{
    struct timespec ts = {.tv_sec = ns / NS_PER_SEC, .tv_nsec = ns % NS_PER_SEC};
    if (ts.tv_nsec < 0) {
        ts.tv_sec--;
        ts.tv_nsec += NS_PER_SEC;
    }
    return ts;
}

struct attr facts_attr(const struct facts *f)
{
    return (struct attr){.size = f->size,
                         .ino = f->ino,
                         .dev = f->dev,
                         .rdev = f->rdev,
                         .mtime = timespec_of(f->mtime_ns),
                         .ctime = timespec_of(f->ctime_ns),
                         .mode = f->mode,
                         .uid = f->uid,
                         .gid = f->gid,
                         .nlink = f->nlink};
}

bool facts_unchanged(const struct facts *a, const struct facts *b)
{
    return (a->mode & S_IFMT) == (b->mode & S_IFMT) && a->size == b->size && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns && a->ino == b->ino && a->dev == b->dev;
}

/* A text that grows by parts with "; " between them. */
struct text {
    char *out;  /* EVIDENCE_MAX bytes */
    size_t len; /* of it */
};

static void say(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct text *t, const char *format, ...)
{
    va_list args;
    if (t->len > 0 && t->len + 3 < EVIDENCE_MAX) {
        memcpy(t->out + t->len, "; ", 3);
        t->len += 2;
    }
    va_start(args, format);
    int n = vsnprintf(t->out + t->len, EVIDENCE_MAX - t->len, format, args);
    va_end(args);
    t->len += n > 0 ? (size_t)n : 0;
    t->len = t->len < EVIDENCE_MAX ? t->len : EVIDENCE_MAX - 1;
}

static const char *type_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "a regular file";
    case S_IFDIR:
        return "a directory";
    case S_IFLNK:
        return "a symbolic link";
    case S_IFIFO:
        return "a FIFO";
    case S_IFSOCK:
        return "a socket";
    case S_IFCHR:
    case S_IFBLK:
        return "a device node";
    default:
        return "something unknown";
    }
}

/* "2026-11-25 10:00:00.123456789", UTC. */
static const char *show_time(int64_t ns, char out[48])
{
    struct timespec ts = timespec_of(ns);
    struct tm tm;
    size_t len = 0;
    if (gmtime_r(&ts.tv_sec, &tm) != NULL) {
        len = strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm);
    }
    (void)snprintf(out + len, 48 - len, ".%09ld", (long)ts.tv_nsec);
    return out;
}

/* What it is to have at the destination. */
static struct attr wanted(const struct verify_entry *e)
{
    struct attr want = facts_attr(&e->src);
    want.mode = e->want_mode;
    want.uid = e->want_uid;
    want.gid = e->want_gid;
    want.mtime = timespec_of(e->want_mtime_ns);
    return want;
}

/* Whether the times differ by more than the destination's granularity. */
static bool other_times(const struct verify *v, const struct attr *want, const struct attr *have)
{
    struct attr probe = *have;
    probe.mode = want->mode;
    probe.size = want->size;
    probe.rdev = want->rdev;
    return compare_attrs(want, &probe, STORE_KEEP_TIMES, v->look->engine.dst->caps.time_granularity_ns, KNOWN_GOOD) !=
           COMPARE_SAME;
}

/* Which attributes count for this entry. */
static unsigned keep_of(const struct verify *v, const struct verify_entry *e)
{
    const struct engine *engine = &v->look->engine;
    unsigned keep = e->keep;
    if (S_ISDIR(e->src.mode) && !engine->options->archive_dirs) {
        keep &= ~STORE_KEEP_TIMES;
    }
    if (S_ISLNK(e->src.mode)) {
        keep &= ~STORE_KEEP_MODE; /* it means nothing */
        keep &= engine->dst->caps.no_link_times ? ~STORE_KEEP_TIMES : ~0U;
    }
    return keep;
}

/* A regular file that is as a create that was cut off leaves it. */
static enum finding_kind kind_of(const struct verify_entry *e)
{
    if (!S_ISREG(e->src.mode) || !S_ISREG(e->dst.mode) || e->dst.size != 0 || e->src.size == 0) {
        return FINDING_DIFFERS;
    }
    return (e->dst.mode & 07777U) == 0 ? FINDING_CORRUPT : FINDING_EMPTY;
}

static void say_owner(struct text *t, unsigned keep, const struct attr *want, const struct attr *have)
{
    bool uid = (keep & STORE_KEEP_OWNER) != 0 && want->uid != have->uid;
    bool gid = (keep & STORE_KEEP_GROUP) != 0 && want->gid != have->gid;
    if (uid || gid) {
        say(t, "owner %u:%u instead of %u:%u", have->uid, have->gid, want->uid, want->gid);
    }
}

bool verify_attrs_differ(const struct verify *v, const struct verify_entry *e, enum finding_kind *out_kind,
                         char out_evidence[EVIDENCE_MAX])
{
    const struct attr want = wanted(e);
    const struct attr have = facts_attr(&e->dst);
    const unsigned keep = keep_of(v, e);
    struct text t = {.out = out_evidence};
    char then[48];
    char now[48];
    char count[QUANTITY_MAX];
    char count_want[QUANTITY_MAX];
    out_evidence[0] = '\0';
    *out_kind = kind_of(e);
    if (((want.mode ^ have.mode) & S_IFMT) != 0) {
        say(&t, "%s instead of %s", type_name(have.mode), type_name(want.mode));
        return true;
    }
    if (S_ISREG(want.mode) && want.size != have.size) {
        say(&t, "%s bytes instead of %s", quantity_show_count(have.size, count),
            quantity_show_count(want.size, count_want));
    }
    if ((S_ISCHR(want.mode) || S_ISBLK(want.mode)) && want.rdev != have.rdev) {
        say(&t, "device %u:%u instead of %u:%u", major(have.rdev), minor(have.rdev), major(want.rdev),
            minor(want.rdev));
    }
    if ((keep & STORE_KEEP_MODE) != 0 && ((want.mode ^ have.mode) & 07777U) != 0) {
        say(&t, "mode %04o instead of %04o", have.mode & 07777U, want.mode & 07777U);
    }
    say_owner(&t, keep, &want, &have);
    if ((keep & STORE_KEEP_TIMES) != 0 && other_times(v, &want, &have)) {
        say(&t, "mtime %s instead of %s", show_time(clock_ns_of(&have.mtime), now),
            show_time(clock_ns_of(&want.mtime), then));
    }
    if (t.len > 0 && e->moved_on) {
        say(&t, "the source has changed since it was copied");
    }
    return t.len > 0;
}
