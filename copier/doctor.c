#include "copier/doctor.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/channel.h"
#include "copier/doctor_chart.h"
#include "copier/doctor_judge.h"
#include "copier/doctor_local.h"
#include "copier/doctor_measure.h"
#include "copier/doctor_mount.h"
#include "copier/json.h"
#include "copier/mounturl.h"
#include "copier/nfsuser.h"
#include "copier/report_server.h"
#include "copier/server.h"
#include "copier/status.h"
#include "workers/stores/posix.h"

#define LARGE_BYTES (64ULL * 1024 * 1024)      /* of the large file, where there is room */
#define STOP_NS     (3500 * NS_PER_MS)         /* from the wish to stop until we leave what hangs */
#define LOOK_MS     100                        /* between two looks at the pulse */
#define FOR_EVER_NS (365 * 86400 * NS_PER_SEC) /* --io-timeout 0 */

enum { HANDLES = 16, ROOM_SHARE = 16 };

struct doctor {
    const struct options *options; /* not owned */
    int channel;                   /* to the supervisor; not owned */
    struct doctor_pulse pulse;     /* shared with the guard */
    atomic_bool ended;             /* the guard is not needed any more */
    struct doctor_chart chart;     /* what was found */
    struct report *report;         /* for what the temp dir is refused for; owned */
    char run_id[RUN_ID_LEN + 1];   /* of the names that are made */
    char *place;                   /* DST as a real path or URL; owned */
    struct store *store;           /* on it; owned */
    struct doctor_figures figures; /* measured there */
    struct doctor_room room;       /* there */
    struct mount_place mount;      /* path NULL: it is on no NFS mount; owned */
};

/* ---- what must not hang ---- */

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        text = NULL;
    }
    va_end(args);
    char *shown = text != NULL ? name_show(text) : NULL;
    fprintf(stderr, "haul: %s\n", shown != NULL ? shown : "?");
    free(shown);
    free(text);
}

/* Leaves without whatever hangs; the supervisor sees to it that this ends. */
static _Noreturn void leave(struct doctor *d, int status)
{
    fflush(stdout);
    channel_send(d->channel, CHANNEL_EXIT, status, -1);
    _exit(status);
}

/* How long nothing may be answered: the store's own limit comes first, where it has one. */
static int64_t patience(const struct doctor *d)
{
    int64_t limit = d->options->io_timeout_ns;
    return limit == 0 ? INT64_MAX : 2 * limit + NS_PER_SEC;
}

/* Listens to the supervisor, and watches the pulse. */
static void *guard(void *arg)
{
    struct doctor *d = arg;
    struct pollfd channel = {.fd = d->channel, .events = POLLIN};
    int64_t stop_ns = 0;
    while (!atomic_load(&d->ended)) {
        struct channel_message message;
        int fd = -1;
        if (poll(&channel, 1, LOOK_MS) > 0 && !atomic_load(&d->ended) &&
            channel_receive(d->channel, &message, &fd) == 0 && message.kind == CHANNEL_STOP) {
            atomic_store(&d->pulse.stop, true);
            stop_ns = clock_mono_ns();
        }
        int64_t now = clock_mono_ns();
        if (stop_ns != 0 && now - stop_ns > STOP_NS) {
            complain("interrupted; '%s' does not answer: what was made there (.haul.%s.*) stays", d->place, d->run_id);
            leave(d, STATUS_INTERRUPTED);
        }
        if (now - atomic_load(&d->pulse.beat_ns) > patience(d)) {
            complain("'%s' has not answered for %.0f s; it hangs, or what lies between", d->place,
                     (double)(now - atomic_load(&d->pulse.beat_ns)) / 1e9);
            leave(d, STATUS_CANNOT);
        }
    }
    return NULL;
}

/* ---- where it is ---- */

static struct store_options store_options_of(const struct doctor *d, const char *path)
{
    return (struct store_options){
        .side = DIR_DST, .path = path, .run_id = d->run_id, .owner = OWNER_AUTO, .max_handles = HANDLES};
}

static int open_server(const struct doctor *d, const struct url *url, struct store **out_store, char **out_problem)
{
    const struct options *o = d->options;
    struct nfs_user user = {0};
    struct store_options options = store_options_of(d, d->place);
    *out_problem = NULL;
    int r = nfs_user_find(o, &user);
    if (r != 0) {
        return r;
    }
    const struct nfs41_options nfs = {.host = url->host,
                                      .port = url->port,
                                      .path = url->path,
                                      .uid = user.uid,
                                      .gid = user.groups[0],
                                      .groups = user.groups + 1,
                                      .group_count = user.count - 1,
                                      .reserved_port = !o->no_reserved_port,
                                      .io_timeout_ns = o->io_timeout_ns != 0 ? o->io_timeout_ns : FOR_EVER_NS,
                                      .retries = o->retries};
    r = server_open(&options, url, &nfs, out_store, out_problem);
    nfs_user_release(&user);
    return r;
}

static int cannot_open(const struct doctor *d, int r, const char *problem)
{
    complain("cannot open DST '%s': %s", d->place, problem != NULL ? problem : err_text(r));
    return STATUS_CANNOT;
}

/* 0 or an exit status after a message. */
static int open_url(struct doctor *d)
{
    char *problem = NULL;
    int r = open_server(d, &d->options->url, &d->store, &problem);
    if (r != 0) {
        r = cannot_open(d, r, problem);
        free(problem);
        return r;
    }
    struct server_facts facts;
    if (server_facts(d->store, &facts) == 0) {
        const bool old = facts.version == URL_NFS3;
        if (old) {
            doctor_judge_server3(&d->chart, &facts.nfs3);
        } else {
            doctor_judge_server(&d->chart, &facts.nfs41);
        }
        report_server_json(d->chart.figures, DIR_DST, &facts);
        d->room = (struct doctor_room){.bytes = old ? facts.nfs3.space_avail : facts.nfs41.space_avail,
                                       .inodes = old ? facts.nfs3.files_avail : facts.nfs41.files_avail};
    }
    return 0;
}

static int open_path(struct doctor *d)
{
    int r = mounts_find(d->place, &d->mount);
    if (r != 0 && r != -ENOENT) {
        complain("cannot read the mounts of this machine: %s", err_text(r));
        return STATUS_CANNOT;
    }
    const struct store_options options = store_options_of(d, d->place);
    r = posix_open(&options, &d->store);
    if (r != 0) {
        return cannot_open(d, r, NULL);
    }
    if (d->mount.path != NULL) {
        doctor_judge_mount(&d->chart, &d->mount, true);
    } else {
        doctor_add(&d->chart, DOCTOR_FACT, "mount", NULL, "%s, %s", d->store->caps.fs,
                   d->store->caps.network ? "asked over a network, or by another process" : "local");
    }
    json_set_text(d->chart.figures, "file_system", d->store->caps.fs);
    return doctor_room_of(posix_root_fd(d->store), &d->room) == 0 ? 0 : cannot_open(d, -errno, NULL);
}

static int open_place(struct doctor *d)
{
    const struct options *o = d->options;
    bool at_server = o->url.host != NULL;
    char *real = at_server ? url_text(&o->url) : realpath(o->destination, NULL);
    if (real == NULL) {
        return cannot_open(d, -errno, NULL);
    }
    free(d->place);
    d->place = real;
    return at_server ? open_url(d) : open_path(d);
}

/* ---- what a file costs there ---- */

static int measure(struct doctor *d, struct store *store, bool give_away, struct doctor_figures *out)
{
    uint64_t share = d->room.bytes / ROOM_SHARE;
    const struct doctor_measuring how = {.store = store,
                                         .run_id = d->run_id,
                                         .pulse = &d->pulse,
                                         .no_ring = d->options->no_io_uring,
                                         .give_away = give_away,
                                         .bytes_max = share < LARGE_BYTES ? share : LARGE_BYTES};
    int r = doctor_measure(&how, out);
    if (out->left > 0) {
        complain("'%s': %u of the files that were made to measure could not be removed: .haul.%s.*", d->place,
                 out->left, d->run_id);
    }
    return r;
}

static bool is_root_there(const struct doctor *d)
{
    uid_t uid = d->options->nfs_uid;
    return uid != (uid_t)-1 ? uid == 0 : geteuid() == 0;
}

/* 0 or an exit status after a message. */
static int measure_place(struct doctor *d)
{
    const struct doctor_figures *f = &d->figures;
    int r = measure(d, d->store, is_root_there(d), &d->figures);
    json_object_set_new(d->chart.figures, "measured", doctor_figures_json(f));
    doctor_judge_times(&d->chart, f, d->store->caps.network);
    if (r != 0) {
        complain("'%s': %s: %s", d->place, f->step, err_text(r));
        return STATUS_CANNOT;
    }
    if (atomic_load(&d->pulse.stop)) {
        return STATUS_INTERRUPTED;
    }
    doctor_judge_owner(&d->chart, f);
    if (d->store->caps.network) {
        doctor_judge_clock(&d->chart, f);
    }
    json_set_number(d->chart.figures, "bytes_free", d->room.bytes == UINT64_MAX ? INT64_MAX : d->room.bytes);
    json_set_number(d->chart.figures, "inodes_free", d->room.inodes > INT64_MAX ? INT64_MAX : d->room.inodes);
    doctor_judge_room(&d->chart, "space", &d->room);
    return 0;
}

/* ---- and without the mount ---- */

static void try_direct(struct doctor *d, const struct mounturl *m)
{
    struct store *store = NULL;
    struct doctor_figures direct = {0};
    char *problem = NULL;
    char *url = url_text(&m->url);
    int r = url == NULL ? -ENOMEM : open_server(d, &m->url, &store, &problem);
    r = r == 0 ? measure(d, store, false, &direct) : r;
    json_object_set_new(d->chart.figures, "direct_works", json_boolean(r == 0));
    if (url != NULL) {
        json_set_text(d->chart.figures, "direct_url", url);
    }
    if (r != 0) {
        doctor_add(&d->chart, DOCTOR_FACT, "direct", NULL, "--direct would not work (%s): %s", url != NULL ? url : "?",
                   problem != NULL ? problem : err_text(r));
    } else if (!atomic_load(&d->pulse.stop)) {
        json_object_set_new(d->chart.figures, "direct", doctor_figures_json(&direct));
        doctor_judge_direct(&d->chart, url, &d->figures, &direct);
    }
    free(problem);
    free(url);
    store_destroy(store);
}

static int look_at_direct(struct doctor *d)
{
    struct mounturl m = {0};
    if (d->mount.path == NULL) {
        return 0;
    }
    if (mounturl_of(&d->mount, &m) != 0) {
        complain("%s", err_text(ENOMEM));
        return STATUS_CANNOT;
    }
    if (m.why != NULL) {
        json_object_set_new(d->chart.figures, "direct_works", json_false());
        doctor_add(&d->chart, DOCTOR_FACT, "direct", NULL, "--direct would not work: %s", m.why);
    } else {
        try_direct(d, &m);
    }
    mounturl_release(&m);
    return atomic_load(&d->pulse.stop) ? STATUS_INTERRUPTED : 0;
}

static void look_at_machine(struct doctor *d)
{
    struct places places = {.destination = d->place};
    if (d->options->url.host != NULL) {
        places.url = d->options->url;
    }
    doctor_judge_ring(&d->chart, d->options);
    doctor_look_at_descriptors(&d->chart);
    doctor_look_at_tempdir(&d->chart, d->options, &places, d->report);
}

/* Everything, in the order in which it is told. An exit status. */
static int look(struct doctor *d)
{
    int status = open_place(d);
    status = status == 0 ? measure_place(d) : status;
    status = status == 0 ? look_at_direct(d) : status;
    if (status != 0) {
        return status;
    }
    look_at_machine(d);
    return d->chart.marks[DOCTOR_BAD] > 0 ? STATUS_UNWELL : STATUS_OK;
}

static int begin(struct doctor *d)
{
    const struct report_options how = {.json = d->options->json};
    d->place = strdup(d->options->destination);
    int r = d->place == NULL ? -ENOMEM : run_id_make(d->run_id);
    r = r == 0 ? doctor_chart_init(&d->chart, stdout, d->options->json) : r;
    return r == 0 ? report_create(&how, &d->report) : r;
}

static int run(struct doctor *d)
{
    pthread_t thread;
    int r = begin(d);
    doctor_beat(&d->pulse);
    r = r == 0 ? -pthread_create(&thread, NULL, guard, d) : r;
    if (r != 0) {
        complain("cannot start: %s", err_text(r));
        return STATUS_CANNOT;
    }
    int status = look(d);
    atomic_store(&d->ended, true);
    shutdown(d->channel, SHUT_RD); /* wakes the guard */
    pthread_join(thread, NULL);
    if (status == STATUS_INTERRUPTED) {
        complain("interrupted");
    }
    if (status == STATUS_OK || status == STATUS_UNWELL) {
        doctor_chart_end(&d->chart, d->place, status);
    }
    if (d->chart.failed != 0) {
        complain("not all of it could be printed: %s", err_text(d->chart.failed));
        return STATUS_CANNOT;
    }
    return status;
}

int doctor_run(const struct options *options, int channel)
{
    struct doctor d = {.options = options, .channel = channel};
    int status = run(&d);
    channel_send(channel, CHANNEL_RESULT, status, -1);
    store_destroy(d.store);
    mounts_release(&d.mount);
    report_destroy(d.report);
    doctor_chart_release(&d.chart);
    free(d.place);
    return status;
}
