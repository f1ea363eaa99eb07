#include "copier/doctor_local.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "base/errs.h"
#include "copier/json.h"
#include "copier/quantity.h"
#include "copier/tempdir.h"
#include "workers/io.h"

#define MIB         (1024ULL * 1024)
#define ROOM_FEW    (1024 * MIB) /* bytes: less could be better */
#define ROOM_NONE   (64 * MIB)   /* less is bad */
#define INODES_FEW  10000U
#define INODES_NONE 100U
#define FDS_MANY    4096U /* descriptors with which nothing is held back */
#define FDS_FEW     256U  /* with fewer, one walker and one worker must do */

/* ---- room ---- */

int doctor_room_of(int fd, struct doctor_room *out)
{
    struct statvfs sv;
    if (fstatvfs(fd, &sv) != 0) {
        return -errno;
    }
    out->bytes = (uint64_t)sv.f_bavail * sv.f_frsize;
    out->inodes = sv.f_files != 0 ? sv.f_favail : UINT64_MAX; /* where they are made as they are needed */
    return 0;
}

static enum doctor_mark mark_room(const struct doctor_room *room)
{
    if (room->bytes < ROOM_NONE || room->inodes < INODES_NONE) {
        return DOCTOR_BAD;
    }
    return room->bytes < ROOM_FEW || room->inodes < INODES_FEW ? DOCTOR_BETTER : DOCTOR_GOOD;
}

void doctor_judge_room(struct doctor_chart *c, const char *topic, const struct doctor_room *room)
{
    char bytes[QUANTITY_MAX];
    char inodes[QUANTITY_MAX];
    enum doctor_mark mark = mark_room(room);
    const char *fix = mark == DOCTOR_GOOD ? NULL : "make room before something large is copied";
    if (room->bytes == UINT64_MAX) {
        doctor_add(c, DOCTOR_FACT, topic, NULL, "the server does not say how much is free");
        return;
    }
    quantity_show_bytes(room->bytes, bytes);
    if (room->inodes == UINT64_MAX) {
        doctor_add(c, mark, topic, fix, "%s free; files are not counted there", bytes);
    } else {
        doctor_add(c, mark, topic, fix, "%s free, and room for %s files", bytes,
                   quantity_show_count(room->inodes, inodes));
    }
}

/* ---- this machine ---- */

/* The number in a file of /proc; -1: there is none. */
static long read_number(const char *path)
{
    long n = -1;
    char text[32];
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        n = fgets(text, sizeof text, f) != NULL ? strtol(text, NULL, 10) : -1;
        (void)fclose(f);
    }
    return n;
}

void doctor_judge_ring(struct doctor_chart *c, const struct options *o)
{
    struct io *io = NULL;
    struct io_facts facts = {0};
    const struct io_options how = {.no_ring = o->no_io_uring};
    int r = io_create(&how, &io);
    if (r == 0) {
        io_facts(io, &facts);
        io_destroy(io);
    }
    json_object_set_new(c->figures, "io_uring", json_boolean(facts.ring));
    if (facts.ring) {
        json_set_number(c->figures, "io_uring_ops", facts.ops);
        doctor_add(c, facts.ops < facts.ops_wanted ? DOCTOR_FACT : DOCTOR_GOOD, "io_uring", NULL,
                   "available, with %u of the %u operations that haul could use%s", facts.ops, facts.ops_wanted,
                   facts.ops < facts.ops_wanted ? "; helper threads do the others" : "");
        return;
    }
    int err = r != 0 ? r : facts.ring_error;
    if (err == 0) {
        doctor_add(c, DOCTOR_FACT, "io_uring", NULL, "not used (--no-io-uring); helper threads do its work");
    } else if (err == -EPERM && read_number("/proc/sys/kernel/io_uring_disabled") > 0) {
        doctor_add(c, DOCTOR_BETTER, "io_uring", "sysctl kernel.io_uring_disabled=0",
                   "switched off in this kernel; helper threads do its work, at more processor time");
    } else if (err == -EPERM) {
        doctor_add(c, DOCTOR_BETTER, "io_uring", "allow io_uring_setup, io_uring_enter and io_uring_register (seccomp)",
                   "forbidden to this process, as containers do; helper threads do its work, at more processor time");
    } else {
        doctor_add(c, DOCTOR_BETTER, "io_uring",
                   err == -ENOSYS ? "a kernel of 5.15 or later" : "ulimit -l, if it is memory that is missing",
                   "not available: %s; helper threads do its work, at more processor time", err_text(err));
    }
}

void doctor_judge_descriptors(struct doctor_chart *c, uint64_t hard)
{
    if (hard >= FDS_MANY) {
        doctor_add(c, DOCTOR_GOOD, "descriptors", NULL, "%" PRIu64 " at a time", hard);
    } else {
        doctor_add(c, hard < FDS_FEW ? DOCTOR_BAD : DOCTOR_BETTER, "descriptors",
                   "ulimit -Hn 65536 (systemd: LimitNOFILE=65536)", "only %" PRIu64 " at a time: %s", hard,
                   hard < FDS_FEW ? "one walker and one worker must do"
                                  : "fewer files and directories are under way than could be");
    }
}

void doctor_look_at_descriptors(struct doctor_chart *c)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        json_set_number(c->figures, "descriptors", limit.rlim_max == RLIM_INFINITY ? INT64_MAX : limit.rlim_max);
        doctor_judge_descriptors(c, limit.rlim_max); /* a run raises its own limit that far */
    }
}

void doctor_look_at_tempdir(struct doctor_chart *c, const struct options *o, const struct places *places,
                            struct report *report)
{
    struct tempdir t = {.parent = -1, .fd = -1};
    struct doctor_room room = {.bytes = UINT64_MAX, .inodes = UINT64_MAX};
    int r = tempdir_find(o, places, report, &t);
    bool usable = r == 0 && !t.unusable;
    json_object_set_new(c->figures, "temp_dir_usable", json_boolean(usable));
    if (!usable) {
        doctor_add(c, r != 0 ? DOCTOR_BAD : DOCTOR_BETTER, "temp dir", "another one with --temp-dir, or $TMPDIR",
                   "'%s' cannot be used: %s", t.path != NULL ? t.path : "?",
                   t.why != NULL ? t.why : "others could tamper with it");
    } else {
        doctor_add(c, DOCTOR_GOOD, "temp dir", NULL, "'%s' %s%s", t.path,
                   t.fd >= 0 ? "can be used" : "would be made as it is needed",
                   t.clones ? "; it may have reflinks of what is on the same file system" : "");
        if (doctor_room_of(t.fd >= 0 ? t.fd : t.parent, &room) == 0) {
            json_set_number(c->figures, "temp_dir_bytes_free", room.bytes);
            doctor_judge_room(c, "temp dir", &room);
        }
    }
    tempdir_release(&t);
}
