#include "copier/doctor_measure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/errs.h"
#include "workers/fiber.h"

enum {
    SAMPLES = 40,              /* files that are created one at a time */
    SAMPLES_MIN = 5,           /* however long that takes */
    BURST_MAX = 2000,          /* files that are created many at a time */
    BURST_DIRS = 8,            /* directories that they are spread over, where that matters */
    FLIGHT_MAX = 64,           /* operations at a time */
    PARTS_MAX = 16,            /* parts of the large file at a time */
    OTHER_ID = 1,              /* somebody who is not us */
    TIME_OF_FILES = 1234567890 /* seconds since 1970, which they get */
};
#define SAMPLES_NS (2 * NS_PER_SEC)
#define BURST_NS   NS_PER_SEC
#define LARGE_NS   (3 * NS_PER_SEC / 2)

/* A file or directory of ours. */
struct made {
    char name[TEMP_NAME_MAX];
    struct dir *dir; /* it stands in; not owned */
};

struct measuring {
    const struct doctor_measuring *how; /* not owned */
    struct doctor_figures *out;         /* not owned */
    struct io *io;                      /* of this thread; owned */
    struct port *port;                  /* owned */
    struct fibers *fibers;              /* owned */
    struct dir_tree tree;               /* of the nodes below */
    struct dir *root;                   /* owned */
    struct dir *dirs[BURST_DIRS];       /* owned; NULL: not there */
    struct made *files;                 /* BURST_MAX of the burst; owned */
    unsigned begun;                     /* files of the burst that were begun */
    unsigned next;                      /* of them, the next to be removed */
    struct store_upload *upload;        /* the large file */
    uint64_t offset;                    /* where its next part begins */
    uint64_t written;                   /* bytes of it that were */
    char *data;                         /* caps.part bytes, or those of a file; owned */
    uint64_t part;                      /* bytes of a part */
    int64_t until_ns;                   /* monotonic: when the present series is over */
    int err;                            /* first failure */
    bool silent;                        /* nobody answers any more: what is left to be removed stays */
};

void doctor_beat(struct doctor_pulse *pulse)
{
    atomic_store(&pulse->beat_ns, clock_mono_ns());
}

static bool stopped(const struct measuring *m)
{
    return m->err != 0 || atomic_load(&m->how->pulse->stop);
}

/* Remembers the first failure. Returns r. */
static int note(struct measuring *m, int r, const char *step)
{
    doctor_beat(m->how->pulse);
    if (r != 0 && m->err == 0) {
        m->err = r;
        m->out->step = step;
    }
    return r;
}

static int compare_times(const void *a, const void *b)
{
    const int64_t *x = a;
    const int64_t *y = b;
    return (*x > *y) - (*x < *y);
}

void doctor_times_of(int64_t *times, unsigned count, struct doctor_times *out)
{
    *out = (struct doctor_times){.count = count};
    if (count > 0) {
        qsort(times, count, sizeof *times, compare_times);
        out->median_ns = times[(count - 1) / 2];
        out->most_ns = times[(count * 95 + 99) / 100 - 1];
    }
}

/* ---- one file ---- */

static struct attr attr_of(const struct measuring *m, uid_t uid, gid_t gid)
{
    (void)m;
    return (struct attr){.mode = S_IFREG | 0600,
                         .uid = uid,
                         .gid = gid,
                         .nlink = 1,
                         .size = DOCTOR_FILE_BYTES,
                         .atime = {.tv_sec = TIME_OF_FILES},
                         .mtime = {.tv_sec = TIME_OF_FILES}};
}

static int create(struct measuring *m, const struct made *file, struct attr *seen)
{
    const struct attr attr = attr_of(m, geteuid(), getegid());
    struct store_op op = {
        .code = STORE_PUBLISH,
        .dir = file->dir,
        .name = file->name,
        .put = {.attr = &attr, .keep = STORE_KEEP_MODE | STORE_KEEP_TIMES, .data = m->data, .out = seen}};
    return note(m, store_run(m->port, &op), "create");
}

/* What is not there any more is gone. */
static int take_away(struct measuring *m, const struct made *made, bool is_dir)
{
    struct store_op op = {.code = STORE_REMOVE, .dir = made->dir, .name = made->name, .remove = {.dir = is_dir}};
    int r = m->silent ? -ETIMEDOUT : store_run(m->port, &op);
    m->silent = m->silent || err_is_silence(r);
    doctor_beat(m->how->pulse);
    r = r == -ENOENT ? 0 : r;
    m->out->left += r != 0;
    return r;
}

static int new_name(struct measuring *m, struct dir *dir, struct made *out)
{
    out->dir = dir;
    return note(m, temp_name_make(m->how->run_id, out->name), "create");
}

/* ---- one at a time ---- */

/* By how much the server's clock, which stamped seen between the two moments of ours, is ahead; the closer they are the
 * better it is known. */
static void see_clock(struct doctor_figures *out, const struct attr *seen, int64_t before_ns, int64_t after_ns)
{
    int64_t error = (after_ns - before_ns) / 2;
    if (!out->clock_known || error < out->clock_error_ns) {
        out->clock_known = true;
        out->clock_error_ns = error;
        out->clock_ahead_ns = clock_ns_of(&seen->ctime) - (before_ns + error);
    }
}

static int sample(struct measuring *m, int64_t *look, int64_t *made, int64_t *gone)
{
    struct made file;
    struct attr seen = {0};
    struct store_op op = {.code = STORE_STAT, .dir = m->root, .stat = {.out = &seen, .fresh = true}};
    if (new_name(m, m->root, &file) != 0) {
        return m->err;
    }
    int64_t begin = clock_mono_ns();
    if (note(m, store_run(m->port, &op), "look") != 0) {
        return m->err;
    }
    *look = clock_mono_ns() - begin;
    int64_t before = clock_real_ns();
    begin = clock_mono_ns();
    int r = create(m, &file, &seen);
    *made = clock_mono_ns() - begin;
    if (r == 0) {
        see_clock(m->out, &seen, before, clock_real_ns());
    }
    begin = clock_mono_ns();
    int removed = take_away(m, &file, false);
    *gone = clock_mono_ns() - begin;
    return r != 0 ? r : note(m, removed, "remove");
}

static void measure_samples(struct measuring *m)
{
    int64_t look[SAMPLES];
    int64_t made[SAMPLES];
    int64_t gone[SAMPLES];
    unsigned n = 0;
    int64_t until = clock_mono_ns() + SAMPLES_NS;
    int64_t first = 0;
    /* The first one pays for what is found out once. */
    (void)sample(m, &first, &first, &first);
    while (!stopped(m) && n < SAMPLES && (n < SAMPLES_MIN || clock_mono_ns() < until)) {
        if (sample(m, &look[n], &made[n], &gone[n]) == 0) {
            n++;
        }
    }
    doctor_times_of(look, n, &m->out->look);
    doctor_times_of(made, n, &m->out->create);
    doctor_times_of(gone, n, &m->out->remove);
}

/* A file that is to be somebody else's. A destination that refuses that publishes it all the same. */
static void try_owner(struct measuring *m)
{
    struct made file;
    struct attr seen = {0};
    const struct attr attr = attr_of(m, OTHER_ID, OTHER_ID);
    if (!m->how->give_away || stopped(m) || new_name(m, m->root, &file) != 0) {
        return;
    }
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = file.dir,
                          .name = file.name,
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = m->data, .out = &seen}};
    int r = store_run(m->port, &op);
    if (r == 0 || r == -EPERM) {
        m->out->owner =
            r == 0 && seen.uid == OTHER_ID && seen.gid == OTHER_ID ? DOCTOR_OWNER_KEPT : DOCTOR_OWNER_REFUSED;
    } else {
        note(m, r, "create");
    }
    (void)take_away(m, &file, false);
}

/* ---- many at a time ---- */

/* Runs fn in so many fibers until all have returned. */
static void run_fibers(struct measuring *m, unsigned count, void (*fn)(void *arg))
{
    if (m->how->store->caps.network) {
        io_set_mode(m->io, IO_ASYNC);
        io_set_width(m->io, count);
    }
    for (unsigned i = 0; i < count; i++) {
        if (fiber_start(m->fibers, fn, m) != 0) {
            note(m, -ENOMEM, "create");
            break;
        }
    }
    while (fibers_alive(m->fibers) > 0) {
        io_turn(m->io, -1);
    }
    io_set_mode(m->io, IO_DIRECT);
}

static unsigned flight_of(const struct measuring *m)
{
    const struct store_caps *caps = &m->how->store->caps;
    if (!caps->network) {
        return 1;
    }
    return caps->in_flight == 0 || caps->in_flight > FLIGHT_MAX ? FLIGHT_MAX : caps->in_flight;
}

static void create_many(void *arg)
{
    struct measuring *m = arg;
    while (!stopped(m) && m->begun < BURST_MAX && clock_mono_ns() < m->until_ns) {
        struct made *file = &m->files[m->begun];
        if (new_name(m, m->dirs[m->begun % m->out->dirs], file) != 0) {
            return;
        }
        m->begun++;
        if (create(m, file, NULL) == 0) {
            m->out->files++;
        }
    }
}

static void remove_many(void *arg)
{
    struct measuring *m = arg;
    while (m->next < m->begun) {
        (void)take_away(m, &m->files[m->next++], false);
    }
}

/* The directories of the burst. 0 or -errno. */
static int make_dirs(struct measuring *m, struct made made[BURST_DIRS], unsigned wanted)
{
    for (unsigned i = 0; i < wanted && !stopped(m); i++) {
        if (new_name(m, m->root, &made[i]) != 0) {
            return m->err;
        }
        struct store_op op = {.code = STORE_MKDIR, .dir = m->root, .name = made[i].name, .mkdir = {.mode = 0700}};
        if (note(m, store_run(m->port, &op), "make a directory") != 0) {
            return m->err;
        }
        if (note(m, dir_create_child(m->root, made[i].name, strlen(made[i].name), &m->dirs[i]), "create") != 0) {
            (void)take_away(m, &made[i], true);
            return m->err;
        }
        m->out->dirs++;
    }
    return 0;
}

static void measure_burst(struct measuring *m)
{
    struct made dirs[BURST_DIRS];
    unsigned flight = flight_of(m);
    if (stopped(m)) {
        return;
    }
    if (make_dirs(m, dirs, m->how->store->caps.spread ? BURST_DIRS : 1) == 0 && !stopped(m)) {
        int64_t begin = clock_mono_ns();
        m->until_ns = begin + BURST_NS;
        m->out->flight = flight;
        run_fibers(m, flight, create_many);
        int64_t took = clock_mono_ns() - begin;
        if (!stopped(m) && took > 0) {
            m->out->files_per_s = (double)m->out->files * 1e9 / (double)took;
        }
    }
    run_fibers(m, flight, remove_many);
    for (unsigned i = 0; i < m->out->dirs; i++) {
        (void)take_away(m, &dirs[i], true);
    }
}

/* ---- a large file ---- */

static void write_parts(void *arg)
{
    struct measuring *m = arg;
    while (!stopped(m) && m->offset < m->how->bytes_max && clock_mono_ns() < m->until_ns) {
        struct store_op op = {.code = STORE_WRITE,
                              .up = {.upload = m->upload, .buf = m->data, .len = m->part, .offset = m->offset}};
        m->offset += m->part;
        if (note(m, store_run(m->port, &op), "write") == 0) {
            m->written += op.up.len;
        }
    }
}

static void measure_large(struct measuring *m)
{
    struct made file;
    struct attr attr = attr_of(m, geteuid(), getegid());
    if (stopped(m) || m->how->bytes_max < m->part || new_name(m, m->root, &file) != 0) {
        return;
    }
    attr.size = m->how->bytes_max;
    struct store_op op = {.code = STORE_BEGIN,
                          .dir = m->root,
                          .name = file.name,
                          .put = {.attr = &attr, .keep = STORE_KEEP_MODE, .upload = &m->upload}};
    if (note(m, store_run(m->port, &op), "begin") != 0) {
        return;
    }
    unsigned flight = flight_of(m);
    m->out->parts = flight < PARTS_MAX ? flight : PARTS_MAX;
    int64_t begin = clock_mono_ns();
    m->until_ns = begin + LARGE_NS;
    run_fibers(m, m->out->parts, write_parts);
    if (!stopped(m)) {
        op = (struct store_op){.code = STORE_FLUSH, .up = {.upload = m->upload, .len = m->written}};
        int r = store_run(m->port, &op);
        int64_t took = clock_mono_ns() - begin;
        /* Some can only be made durable by ending them. */
        if (r == -EOPNOTSUPP || note(m, r, "flush") == 0) {
            m->out->bytes = m->written;
            m->out->bytes_per_s = took > 0 ? (double)m->written * 1e9 / (double)took : 0;
        }
    }
    op = (struct store_op){.code = STORE_ABORT, .up = {.upload = m->upload}};
    m->out->left += store_run(m->port, &op) != 0;
}

/* ---- all of it ---- */

static int begin(struct measuring *m)
{
    const struct store_caps *caps = &m->how->store->caps;
    m->part = caps->part > DOCTOR_FILE_BYTES ? caps->part : DOCTOR_FILE_BYTES;
    m->data = malloc(m->part);
    m->files = calloc(BURST_MAX, sizeof *m->files);
    if (m->data == NULL || m->files == NULL) {
        return -ENOMEM;
    }
    /* Nothing that a server could make smaller. */
    uint64_t x = 0x9E3779B97F4A7C15;
    for (uint64_t i = 0; i + sizeof x <= m->part; i += sizeof x) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(m->data + i, &x, sizeof x);
    }
    const struct io_options io = {.no_ring = m->how->no_ring, .writes_apart = caps->network};
    store_attach(m->how->store, DIR_DST, &m->tree);
    int r = io_create(&io, &m->io);
    r = r == 0 ? fibers_create(&m->fibers) : r;
    r = r == 0 ? dir_create_root(&m->tree, &m->root) : r;
    return r == 0 ? store_port_create(m->how->store, m->io, &m->port) : r;
}

int doctor_measure(const struct doctor_measuring *how, struct doctor_figures *out)
{
    struct measuring m = {.how = how, .out = out};
    *out = (struct doctor_figures){0};
    if (note(&m, begin(&m), "begin") == 0) {
        io_set_mode(m.io, IO_DIRECT);
        measure_samples(&m);
        try_owner(&m);
        measure_burst(&m);
        measure_large(&m);
    }
    for (unsigned i = 0; i < BURST_DIRS; i++) {
        dir_put(m.dirs[i]);
    }
    dir_put(m.root);
    store_port_destroy(m.port);
    fibers_destroy(m.fibers);
    io_destroy(m.io);
    free(m.files);
    free(m.data);
    return m.err;
}
