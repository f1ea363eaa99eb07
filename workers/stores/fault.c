/*
 * fault: lets the Nth operation fail, for tests.
 *
 * What ends a handle ends it whatever happens (store.h), so before and after are the same for CLOSE, LIST_CLOSE, ABORT
 * and PARK: carried out, then the error; a COMMIT that fails before is an ABORT below. A resumed upload whose answer is
 * "lost" is parked again. What hands a handle out has it
 * taken back below when the error comes after: the caller never sees it. A listing's next entry is not lost by an error
 * after: a server asked again with the same cookie gives the same answer.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/errs.h"
#include "workers/stores/layer.h"
#include "workers/stores/layers.h"

#define ERRNO_MAX 200 /* above the largest errno with a name */

struct fault {
    struct store head;
    struct fault_options options; /* constant */
    atomic_ulong count;           /* operations counted */
};

static bool ends_handle(enum store_code code)
{
    return code == STORE_CLOSE || code == STORE_LIST_CLOSE || code == STORE_ABORT || code == STORE_PARK;
}

static int run_before(struct port *p, struct store_op *op, int err)
{
    if (ends_handle(op->code)) {
        (void)store_run_next(p, op);
    } else if (op->code == STORE_COMMIT) {
        struct store_op drop = {.code = STORE_ABORT, .dir = op->dir, .up = {.upload = op->up.upload}};

        (void)store_run_next(p, &drop);
    }
    return -err;
}

/* Takes back what an operation handed out whose answer is "lost". */
static void take_back(struct port *p, struct store_op *op)
{
    struct store_op undo = {.dir = op->dir};

    if (op->code == STORE_XATTRS) {
        xattrs_destroy(*op->xattrs.out);
        *op->xattrs.out = NULL;
        return;
    }
    if (op->code == STORE_BEGIN) {
        undo.code = op->put.resume ? STORE_PARK : STORE_ABORT;
        undo.up.upload = *op->put.upload;
        *op->put.upload = NULL;
    } else if (op->code == STORE_OPEN) {
        undo.code = STORE_CLOSE;
        undo.file.file = *op->open.out;
        *op->open.out = NULL;
    } else if (op->code == STORE_LIST_OPEN) {
        undo.code = STORE_LIST_CLOSE;
        undo.list.list = op->list.list;
    } else {
        return;
    }
    (void)store_run_next(p, &undo);
}

static int run_after(struct port *p, struct store_op *op, int err)
{
    if (op->code == STORE_LIST_NEXT) {
        return -err;
    }
    if (store_run_next(p, op) == 0) {
        take_back(p, op);
    }
    return -err;
}

/* Half of the file goes under a temp name, which is then given up: what a write that breaks off comes to. */
static void publish_half(struct port *p, const struct store_op *op)
{
    struct store_upload *upload = NULL;
    struct store_op part = {.code = STORE_BEGIN,
                            .dir = op->dir,
                            .name = op->name,
                            .put = {.attr = op->put.attr, .keep = op->put.keep, .upload = &upload}};

    if (store_run_next(p, &part)) {
        return;
    }
    part = (struct store_op){.code = STORE_WRITE,
                             .dir = op->dir,
                             .up = {.upload = upload, .buf = op->put.data, .len = op->put.attr->size / 2}};
    (void)store_run_next(p, &part);
    part = (struct store_op){.code = STORE_ABORT, .dir = op->dir, .up = {.upload = upload}};
    (void)store_run_next(p, &part);
}

static int run_short(struct port *p, struct store_op *op, int err)
{
    struct store_op half = *op;
    size_t moved;

    switch (op->code) {
    case STORE_PUBLISH:
        publish_half(p, op);
        return -err;
    case STORE_WRITE:
    case STORE_COPY:
        half.up.len /= 2;
        half.up.out_len = &moved;
        break;
    case STORE_READ:
        half.file.len /= 2;
        half.file.out_len = &moved;
        break;
    default:
        return run_before(p, op, err);
    }
    (void)store_run_next(p, &half);
    return -err;
}

/* Whether this operation is one of those that fail. */
static bool is_due(struct fault *f, enum store_code code)
{
    const struct fault_options *o = &f->options;
    uint64_t n;

    if (o->codes && !(o->codes & (UINT64_C(1) << code))) {
        return false;
    }
    n = atomic_fetch_add(&f->count, 1) + 1;
    if (o->seen) {
        atomic_fetch_add(o->seen, 1);
    }
    return o->nth && n >= o->nth && n - o->nth < (o->count ? o->count : 1);
}

static int run(struct port *p, struct store_op *op)
{
    struct fault *f = (struct fault *)p->store;
    int err = f->options.err;

    if (!is_due(f, op->code)) {
        return store_run_next(p, op);
    }
    op->step = "fault";
    switch (f->options.kind) {
    case FAULT_AFTER:
        err = run_after(p, op, err);
        break;
    case FAULT_SHORT:
        err = run_short(p, op, err);
        break;
    case FAULT_KILL:
        (void)kill(getpid(), SIGKILL);
        err = -err;
        break;
    case FAULT_BEFORE:
    default:
        err = run_before(p, op, err);
        break;
    }
    op->step = "fault";
    return err;
}

static void destroy(struct store *s)
{
    free(s);
}

static const struct store_ops fault_ops = {
    .destroy = destroy,
    .port_create = layer_port_create,
    .port_destroy = layer_port_destroy,
    .run = run,
};

int fault_wrap(struct store *next, const struct fault_options *options, struct store **out_store)
{
    struct fault *f = calloc(1, sizeof(*f));

    if (!f) {
        store_destroy(next);
        return -ENOMEM;
    }
    f->head.ops = &fault_ops;
    f->head.caps = next->caps;
    f->head.next = next;
    f->options = *options;
    *out_store = &f->head;
    return 0;
}

/* ---- the text form ---- */

/* A number up to end or '+'. 0 or -EINVAL. */
static int parse_count(const char **at, uint64_t *out)
{
    uint64_t n = 0;
    const char *s = *at;

    if (*s < '0' || *s > '9') {
        return -EINVAL;
    }
    for (; *s >= '0' && *s <= '9'; s++) {
        if (n > (UINT64_MAX - 9) / 10) {
            return -EINVAL;
        }
        n = n * 10 + (uint64_t)(*s - '0');
    }
    *at = s;
    *out = n;
    return 0;
}

static bool word_is(const char *word, size_t len, const char *name)
{
    return strlen(name) == len && strncmp(word, name, len) == 0;
}

static int parse_errno(const char *word, size_t len)
{
    for (int e = 1; e < ERRNO_MAX; e++) {
        if (word_is(word, len, err_name(e)) && err_name(e)[1] != '?') {
            return e;
        }
    }
    return -EINVAL;
}

static int parse_kind(const char *word, size_t len, enum fault_kind *out)
{
    static const char *const kinds[] = {
        [FAULT_BEFORE] = "before", [FAULT_AFTER] = "after", [FAULT_SHORT] = "short", [FAULT_KILL] = "kill"};

    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (word_is(word, len, kinds[i])) {
            *out = (enum fault_kind)i;
            return 0;
        }
    }
    return -EINVAL;
}

static int parse_codes(const char *s, uint64_t *out)
{
    uint64_t mask = 0;

    for (;;) {
        size_t len = strcspn(s, ",");
        unsigned code = 0;

        while (code < STORE_CODES && !word_is(s, len, store_code_name((enum store_code)code))) {
            code++;
        }
        if (code == STORE_CODES) {
            return -EINVAL;
        }
        mask |= UINT64_C(1) << code;
        if (s[len] == '\0') {
            *out = mask;
            return 0;
        }
        s += len + 1;
    }
}

int fault_parse(const char *text, struct fault_options *out_options)
{
    struct fault_options o = {.count = 1};
    size_t len;

    if (parse_count(&text, &o.nth) || o.nth == 0) {
        return -EINVAL;
    }
    if (*text == '+') {
        text++;
        if (parse_count(&text, &o.count) || o.count == 0) {
            return -EINVAL;
        }
    }
    if (*text++ != ':') {
        return -EINVAL;
    }
    len = strcspn(text, ":");
    o.err = parse_errno(text, len);
    if (o.err < 0) {
        return -EINVAL;
    }
    text += len;
    if (*text == ':') {
        text++;
        len = strcspn(text, ":");
        if (parse_kind(text, len, &o.kind)) {
            return -EINVAL;
        }
        text += len;
    }
    if (*text == ':' && parse_codes(text + 1, &o.codes)) {
        return -EINVAL;
    }
    *out_options = o;
    return 0;
}
