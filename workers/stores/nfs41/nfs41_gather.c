/*
 * nfs41_gather: several small files in one COMPOUND, where slots are what is short.
 *
 * As long as a slot is free each file goes alone: nothing waits for another. When all are busy files queue; each
 * COMPOUND that ends lets the first one go, which takes as many of the others along as are its share and fit. The
 * server carries them out one after the other and stops at the first that fails: those behind it are sent again.
 */
#include <errno.h>
#include <string.h>

#include "workers/fiber.h"
#include "workers/stores/nfs41/nfs41_internal.h"

#define REPLY_HEAD 128U /* bytes of a reply before the first file */
#define REPLY_FILE 480U /* and for each, with owners as numbers */

/*
 * Data of a WRITE must begin in a request's first page of this size, unless they are those of its first WRITE, which
 * do. Linux's server writes something else where they begin further back and not at a page's beginning, and says that
 * all is well (seen with 6.1).
 */
#define FIRST_PAGE 4096U

enum {
    PUT_QUEUED,  /* waits for its turn */
    PUT_LEADS,   /* its turn has come: it sends, for others too */
    PUT_FOLLOWS, /* another one sends it */
    PUT_DONE,    /* it has its result */
    PUT_AGAIN,   /* it was not carried out, because of another one */
};

static bool same_dir(const struct nfs41_put *a, const struct nfs41_put *b)
{
    return a->t.dir.fh.len == b->t.dir.fh.len && memcmp(a->t.dir.fh.data, b->t.dir.fh.data, a->t.dir.fh.len) == 0;
}

/* Whether put needs the directory's handle to be set before it. */
static bool sets_dir(const struct nfs41_put *put, const struct nfs41_put *before)
{
    return !before || !same_dir(put, before);
}

static void add(struct port *p, struct nfs_compound *c, const struct nfs41_put *put, const struct nfs41_put *before)
{
    if (sets_dir(put, before)) {
        nfs_put_putfh(c, &put->t.dir.fh);
        nfs_put_savefh(c);
    }
    nfs41_put_file(p, c, put);
}

static bool fits(const struct nfs_compound *c, const struct nfs_limits *limits, unsigned files)
{
    return !c->out.failed && c->op_count <= limits->max_ops && nfs_compound_size(c) <= limits->max_request &&
           REPLY_HEAD + files * REPLY_FILE <= limits->max_cached && files <= XDR_REFS_MAX;
}

/* Whether the data of put, which was just added to c, begin in the first page; what comes behind them counts as well.
 */
static bool begins_early(const struct nfs_compound *c, const struct nfs41_put *put)
{
    return nfs_compound_size(c) - (size_t)put->op->put.attr->size <= FIRST_PAGE;
}

/* ---- the queue ---- */

static void enqueue(struct nfs41_port *np, struct nfs41_put *put)
{
    put->next = NULL;
    put->state = PUT_QUEUED;
    if (np->last) {
        np->last->next = put;
    } else {
        np->first = put;
    }
    np->last = put;
    np->queued++;
}

static struct nfs41_put *dequeue(struct nfs41_port *np)
{
    struct nfs41_put *put = np->first;

    if (put) {
        np->first = put->next;
        np->last = np->first ? np->last : NULL;
        np->queued--;
        put->next = NULL;
    }
    return put;
}

/* Takes put out of the middle. */
static void unqueue(struct nfs41_port *np, struct nfs41_put *put)
{
    struct nfs41_put *before = NULL;

    for (struct nfs41_put *at = np->first; at != put; at = at->next) {
        before = at;
    }
    if (before) {
        before->next = put->next;
    } else {
        np->first = put->next;
    }
    if (np->last == put) {
        np->last = before;
    }
    np->queued--;
    put->next = NULL;
}

/* A COMPOUND has ended: the first that waits may go in its place. */
static void landed(struct port *p)
{
    struct nfs41_port *np = nfs41_port_of(p);
    struct nfs41_put *next = dequeue(np);

    if (!next) {
        np->flying--;
        return;
    }
    next->state = PUT_LEADS;
    io_event_set(p->io, &next->event);
}

/* ---- one COMPOUND ---- */

/* A file that may not replace just anything. */
static bool goes_alone(const struct nfs41_put *put)
{
    return put->op->put.exclusive || put->op->put.expect;
}

/* Adds put, and its share of those that wait, to c. Returns how many files those are. */
static unsigned fill(struct port *p, struct nfs_compound *c, struct nfs41_put *put, int64_t *deadline_ns)
{
    struct nfs41_port *np = nfs41_port_of(p);
    struct nfs41_put *last = put;
    struct nfs_limits limits;
    unsigned files = 1;
    unsigned share;

    nfs41_limits(p, &limits);
    share = 1 + (np->queued + limits.slots - 1) / limits.slots;
    add(p, c, put, NULL);
    while (files < share && np->first && !goes_alone(np->first) && !goes_alone(put)) {
        struct nfs_compound_mark mark = nfs_compound_mark(c);
        struct nfs41_put *next = np->first;

        add(p, c, next, last);
        if (!fits(c, &limits, files + 1) || !begins_early(c, next)) {
            nfs_compound_rewind(c, mark);
            break;
        }
        (void)dequeue(np);
        next->state = PUT_FOLLOWS;
        last->next = next;
        last = next;
        *deadline_ns = next->deadline_ns < *deadline_ns ? next->deadline_ns : *deadline_ns;
        files++;
    }
    return files;
}

/* Reads the results of put, which came after before. */
static void read_results(struct port *p, struct nfs_compound *c, struct nfs41_put *put, const struct nfs41_put *before)
{
    int r = 0;

    if (sets_dir(put, before)) {
        r = nfs_get_plain(c, NFS_OP_PUTFH);
        r = r ? r : nfs_get_plain(c, NFS_OP_SAVEFH);
    }
    if (!r) {
        nfs41_get_file(p, c, put);
        return;
    }
    put->r = r;
    put->stop = nfs41_stopped_at(c);
}

/* Those behind put were not carried out. */
static void send_back(struct port *p, struct nfs41_put *put)
{
    while (put) {
        struct nfs41_put *next = put->next;

        put->state = PUT_AGAIN;
        io_event_set(p->io, &put->event);
        put = next;
    }
}

/* Hands out what came of it; a follower that has its result may be gone the moment it runs again. */
static void hand_out(struct port *p, struct nfs_compound *c, struct nfs41_put *put, int r)
{
    struct nfs41_put *before = NULL;

    for (bool first = true; put; first = false) {
        struct nfs41_put *next = put->next;

        put->sent = r < 0 && c->sent;
        put->r = r;
        if (!r) {
            read_results(p, c, put, before);
            put->sent = put->r < 0; /* an answer that cannot be read is none */
        }
        put->state = PUT_DONE;
        if (!first) {
            io_event_set(p->io, &put->event);
        }
        if (!r && put->r) {
            send_back(p, next);
            return;
        }
        before = put;
        put = next;
    }
}

/* Whether a COMPOUND of several was too much: one at a time from now on. */
static bool too_much(const struct nfs_compound *c, int r)
{
    return r == -E2BIG || r == -EOVERFLOW || (!r && nfs_error(c->status)->decision == NFS_DO_SPLIT);
}

/* put leads. */
static void send_group(struct port *p, struct nfs41_put *put)
{
    struct nfs41_store *s = nfs41_of(p);
    int64_t deadline_ns = put->deadline_ns;
    struct nfs_compound *c = NULL;
    unsigned files = 1;
    int r = nfs41_fence(p, put->op);

    put->next = NULL;
    put->sent = false;
    r = r ? r : nfs41_begin(p, &c);
    if (r) {
        put->r = r;
        put->state = PUT_DONE;
        return;
    }
    files = fill(p, c, put, &deadline_ns);
    r = nfs41_send_until(p, c, deadline_ns);
    if (files > 1 && too_much(c, r) && c->result_count <= 1) {
        atomic_fetch_or(&s->steps, NFS41_STEP_SINGLE);
        send_back(p, put->next);
        put->state = PUT_AGAIN;
    } else {
        if (files > 1) {
            atomic_fetch_add_explicit(&s->combined, files, memory_order_relaxed);
        }
        hand_out(p, c, put, r);
    }
    nfs_compound_end(c);
}

/* Until it may lead, or has its result. 0 or -ETIMEDOUT. */
static int wait_turn(struct port *p, struct nfs41_put *put)
{
    struct nfs41_port *np = nfs41_port_of(p);
    int err = 0;

    enqueue(np, put);
    while (put->state == PUT_QUEUED || put->state == PUT_FOLLOWS) {
        /* Who sends it ends in time. */
        err = io_event_wait(p->io, &put->event, put->state == PUT_QUEUED ? put->deadline_ns : INT64_MAX);
        if (err && put->state == PUT_QUEUED) {
            unqueue(np, put);
            return -ETIMEDOUT;
        }
    }
    return 0;
}

void nfs41_gather(struct port *p, struct nfs41_put *put)
{
    struct nfs41_port *np = nfs41_port_of(p);
    struct nfs_limits limits;

    put->event = (struct io_event){0};
    put->deadline_ns = nfs_client_deadline_ns(nfs41_of(p)->client);
    do {
        nfs41_limits(p, &limits);
        if (!fiber_self() || np->flying < limits.slots || nfs41_stepped(nfs41_of(p), NFS41_STEP_SINGLE)) {
            np->flying++;
            put->state = PUT_LEADS;
        } else if (wait_turn(p, put)) {
            put->r = -ETIMEDOUT;
            put->sent = false;
            return;
        }
        if (put->state == PUT_LEADS) {
            send_group(p, put);
            landed(p);
        }
    } while (put->state == PUT_AGAIN);
}
