#include <criterion/criterion.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "support_nfsd_net.h"

void srv_complain(struct nfsd *n, const char *format, ...)
{
    if (n->complaint[0] == 0) {
        va_list args;

        va_start(args, format);
        vsnprintf(n->complaint, sizeof(n->complaint), format, args);
        va_end(args);
    }
}

uint64_t srv_sum(const void *bytes, size_t len)
{
    const uint8_t *b = bytes;
    uint64_t sum = 0xcbf29ce484222325; /* FNV-1a */

    for (size_t i = 0; i < len; i++) {
        sum = (sum ^ b[i]) * 0x100000001b3;
    }
    return sum;
}

uint64_t srv_random(struct nfsd *n)
{
    n->random = n->random * 6364136223846793005 + 1442695040888963407;
    return n->random >> 16;
}

static void wake(struct nfsd *n)
{
    uint64_t one = 1;

    if (write(n->wake, &one, sizeof(one)) < 0) {
        abort();
    }
}

static void fill_in(struct nfsd_options *o)
{
    o->slots = o->slots > 0 ? o->slots : 64;
    o->request = o->request > 0 ? o->request : (1U << 20) + 4096;
    o->response = o->response > 0 ? o->response : o->request;
    o->cached = o->cached > 0 ? o->cached : 8192;
    o->ops = o->ops > 0 ? o->ops : 100;
    o->lease_s = o->lease_s > 0 ? o->lease_s : 90;
    o->space = o->space > 0 ? o->space : 512ULL << 20;
    o->export_path = o->export_path != NULL ? o->export_path : "/export";
}

/* Directories along a path, made. */
static void make_export(struct nfsd *n, const char *path)
{
    char part[1024];

    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        nfsd_put_dir(n, part, 0755);
        *slash = '/';
    }
    nfsd_put_dir(n, part, 0755);
}

struct nfsd *nfsd_create(const struct nfsd_options *options)
{
    struct nfsd *n = calloc(1, sizeof(*n));

    cr_assert_not_null(n);
    n->o = options != NULL ? *options : (struct nfsd_options){0};
    fill_in(&n->o);
    nf_init(&n->fs, n->o.space);
    n->fs.seconds_only = n->o.seconds_only;
    n->target = UINT32_MAX;
    n->next_id = 0x1000;
    n->write_verf = 0x7772697465000001;
    n->random = 42;
    for (unsigned i = 0; i < SRV_MAX_CONNS; i++) {
        n->conn[i].fd = -1;
    }
    cr_assert_eq(pthread_mutex_init(&n->lock, NULL), 0);
    make_export(n, n->o.export_path);
    n->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    cr_assert(n->wake >= 0);
    n->listener = srv_listen(0, &n->port);
    cr_assert(n->listener >= 0, "no socket to listen at");
    cr_assert_eq(pthread_create(&n->thread, NULL, srv_thread, n), 0);
    return n;
}

void nfsd_destroy(struct nfsd *n)
{
    char complaint[sizeof(n->complaint)];
    bool forgiven;

    if (n == NULL) {
        return;
    }
    pthread_mutex_lock(&n->lock);
    n->stop = true;
    pthread_mutex_unlock(&n->lock);
    wake(n);
    pthread_join(n->thread, NULL);
    memcpy(complaint, n->complaint, sizeof(complaint));
    forgiven = n->forgiven;
    srv_crash(n);
    while (n->held != NULL) {
        struct srv_held *h = n->held;

        n->held = h->next;
        nx_free(&h->bytes);
        free(h);
    }
    nfsd_clear(n);
    for (unsigned i = 0; i < 64; i++) {
        free(n->seen[i].ops);
        nx_free(&n->seen[i].reply);
    }
    nf_release(&n->fs);
    if (n->listener >= 0) {
        close(n->listener);
    }
    close(n->wake);
    pthread_mutex_destroy(&n->lock);
    free(n);
    cr_expect(forgiven || complaint[0] == 0, "the server complains: %s", complaint);
}

uint16_t nfsd_port(const struct nfsd *n)
{
    return n->port;
}

/* ---- the script ---- */

void nfsd_rule(struct nfsd *n, const struct nfsd_rule *rule)
{
    pthread_mutex_lock(&n->lock);
    cr_assert(n->rules < SRV_MAX_RULES);
    struct srv_rule *r = &n->rule[n->rules++];
    *r = (struct srv_rule){.rule = *rule};
    if (rule->bytes != NULL) {
        r->bytes = malloc(rule->len + 1);
        cr_assert_not_null(r->bytes);
        memcpy(r->bytes, rule->bytes, rule->len);
    }
    pthread_mutex_unlock(&n->lock);
}

unsigned nfsd_clear(struct nfsd *n)
{
    pthread_mutex_lock(&n->lock);
    unsigned fired = n->fired;
    for (unsigned i = 0; i < n->rules; i++) {
        free(n->rule[i].bytes);
    }
    n->rules = n->fired = 0;
    pthread_mutex_unlock(&n->lock);
    return fired;
}

unsigned nfsd_fired(struct nfsd *n)
{
    pthread_mutex_lock(&n->lock);
    unsigned fired = n->fired;
    pthread_mutex_unlock(&n->lock);
    return fired;
}

void nfsd_forgive(struct nfsd *n)
{
    pthread_mutex_lock(&n->lock);
    n->forgiven = true;
    pthread_mutex_unlock(&n->lock);
}

char *nfsd_complaint(struct nfsd *n)
{
    pthread_mutex_lock(&n->lock);
    char *copy = n->complaint[0] != 0 ? strdup(n->complaint) : NULL;
    pthread_mutex_unlock(&n->lock);
    return copy;
}

void nfsd_set_flags(struct nfsd *n, uint32_t flags)
{
    pthread_mutex_lock(&n->lock);
    n->flags = flags;
    pthread_mutex_unlock(&n->lock);
}

void nfsd_set_target(struct nfsd *n, uint32_t highest)
{
    pthread_mutex_lock(&n->lock);
    n->target = highest;
    pthread_mutex_unlock(&n->lock);
}

unsigned nfsd_let_go(struct nfsd *n)
{
    pthread_mutex_lock(&n->lock);
    unsigned count = n->held_count;
    if (count > 0) {
        srv_release_held(n);
    }
    pthread_mutex_unlock(&n->lock);
    wake(n);
    return count;
}

bool nfsd_wait_held(struct nfsd *n, unsigned count, int limit_ms)
{
    bool there = false;

    for (int ms = 0; !there && ms <= limit_ms; ms++) {
        pthread_mutex_lock(&n->lock);
        there = n->held_count >= count;
        pthread_mutex_unlock(&n->lock);
        if (!there) {
            usleep(1000);
        }
    }
    return there;
}

void nfsd_restart(struct nfsd *n)
{
    pthread_mutex_lock(&n->lock);
    srv_crash(n);
    pthread_mutex_unlock(&n->lock);
    wake(n);
}

void nfsd_listen(struct nfsd *n, bool listen)
{
    pthread_mutex_lock(&n->lock);
    for (unsigned i = 0; i < SRV_MAX_CONNS; i++) {
        srv_close(n, &n->conn[i]);
    }
    if (!listen && n->listener >= 0) {
        close(n->listener);
        n->listener = -1;
    }
    /* The old socket lives on until the thread comes back from its poll. */
    for (int ms = 0; listen && n->listener < 0 && ms < 10000; ms++) {
        n->listener = srv_listen(n->port, &n->port);
        if (n->listener < 0) {
            pthread_mutex_unlock(&n->lock);
            wake(n);
            usleep(1000);
            pthread_mutex_lock(&n->lock);
        }
    }
    cr_assert(!listen || n->listener >= 0);
    pthread_mutex_unlock(&n->lock);
    wake(n);
}

/* ---- what was seen ---- */

struct nfsd_counts nfsd_counts(struct nfsd *n)
{
    pthread_mutex_lock(&n->lock);
    struct nfsd_counts counts = n->counts;
    counts.in_flight = n->held_count;
    pthread_mutex_unlock(&n->lock);
    return counts;
}

char *nfsd_last_with(struct nfsd *n, uint32_t op)
{
    pthread_mutex_lock(&n->lock);
    char *copy = n->seen[op].ops != NULL ? strdup(n->seen[op].ops) : NULL;
    pthread_mutex_unlock(&n->lock);
    return copy;
}

unsigned nfsd_last_ops(struct nfsd *n, uint32_t op)
{
    pthread_mutex_lock(&n->lock);
    unsigned count = n->seen[op].count;
    pthread_mutex_unlock(&n->lock);
    return count;
}

uint8_t *nfsd_last_reply(struct nfsd *n, uint32_t op, size_t *out_len)
{
    uint8_t *copy = NULL;

    pthread_mutex_lock(&n->lock);
    const struct nx_out *reply = &n->seen[op].reply;
    if (reply->len > 0) {
        copy = malloc(reply->len);
        cr_assert_not_null(copy);
        memcpy(copy, reply->data, reply->len);
        *out_len = reply->len;
    }
    pthread_mutex_unlock(&n->lock);
    return copy;
}

struct nfsd_file nfsd_see(struct nfsd *n, const char *path)
{
    struct nfsd_file f = {0};

    pthread_mutex_lock(&n->lock);
    const struct nf_inode *i = nf_walk(&n->fs, path);
    if (i != NULL) {
        f = (struct nfsd_file){.there = true,
                               .type = i->type,
                               .mode = i->mode,
                               .uid = i->uid,
                               .gid = i->gid,
                               .nlink = i->nlink,
                               .size = i->size,
                               .ino = i->ino,
                               .mtime = i->mtime,
                               .atime = i->atime,
                               .rdev = {i->rdev[0], i->rdev[1]},
                               .published = i->published};
    }
    pthread_mutex_unlock(&n->lock);
    return f;
}

bool nfsd_same(struct nfsd *n, const char *path, const void *bytes, size_t len)
{
    pthread_mutex_lock(&n->lock);
    const struct nf_inode *i = nf_walk(&n->fs, path);
    bool same = i != NULL && i->type == D4T_REG && i->size == len && (len == 0 || memcmp(i->data, bytes, len) == 0);
    pthread_mutex_unlock(&n->lock);
    return same;
}

char *nfsd_target(struct nfsd *n, const char *path)
{
    pthread_mutex_lock(&n->lock);
    const struct nf_inode *i = nf_walk(&n->fs, path);
    char *copy = i != NULL && i->target != NULL ? strdup(i->target) : NULL;
    pthread_mutex_unlock(&n->lock);
    return copy;
}

unsigned nfsd_names(struct nfsd *n, const char *pattern)
{
    unsigned count = 0;

    pthread_mutex_lock(&n->lock);
    for (size_t i = 1; i < n->fs.inodes; i++) {
        const struct nf_inode *dir = n->fs.inode[i];

        for (size_t e = 0; dir != NULL && e < dir->entries; e++) {
            count += fnmatch(pattern, dir->entry[e].name, 0) == 0;
        }
    }
    pthread_mutex_unlock(&n->lock);
    return count;
}

unsigned nfsd_renames(struct nfsd *n, const char *pattern)
{
    unsigned count = 0;

    pthread_mutex_lock(&n->lock);
    for (size_t i = 0; i < n->fs.renames; i++) {
        count += fnmatch(pattern, n->fs.renamed[i].name, 0) == 0 ? n->fs.renamed[i].count : 0;
    }
    pthread_mutex_unlock(&n->lock);
    return count;
}

/* ---- another client ---- */

static struct nf_inode *put(struct nfsd *n, const char *path, enum nfsd_type type, uint32_t mode)
{
    struct nx_str name;
    struct nf_inode *dir = nf_walk_parent(&n->fs, path, &name);
    struct nf_inode *i = NULL;

    cr_assert_not_null(dir, "%s: its directory is not there", path);
    cr_assert_eq(nf_make(&n->fs, dir, name, type, &i), D4ERR_OK, "%s", path);
    i->mode = mode;
    return i;
}

void nfsd_put_dir(struct nfsd *n, const char *path, uint32_t mode)
{
    pthread_mutex_lock(&n->lock);
    put(n, path, D4T_DIR, mode);
    pthread_mutex_unlock(&n->lock);
}

void nfsd_put_file(struct nfsd *n, const char *path, const void *bytes, size_t len, uint32_t mode)
{
    pthread_mutex_lock(&n->lock);
    struct nf_inode *i = put(n, path, D4T_REG, mode);
    cr_assert_eq(nf_write(&n->fs, i, 0, bytes, (uint32_t)len), D4ERR_OK);
    pthread_mutex_unlock(&n->lock);
}

void nfsd_put_link(struct nfsd *n, const char *path, const char *target)
{
    pthread_mutex_lock(&n->lock);
    put(n, path, D4T_LNK, 0777)->target = strdup(target);
    pthread_mutex_unlock(&n->lock);
}

void nfsd_remove(struct nfsd *n, const char *path)
{
    struct nx_str name;

    pthread_mutex_lock(&n->lock);
    struct nf_inode *dir = nf_walk_parent(&n->fs, path, &name);
    cr_assert_not_null(dir);
    cr_assert_eq(nf_remove(&n->fs, dir, name), D4ERR_OK, "%s", path);
    pthread_mutex_unlock(&n->lock);
}

void nfsd_change(struct nfsd *n, const char *path, uint64_t size, time_t mtime)
{
    pthread_mutex_lock(&n->lock);
    struct nf_inode *i = nf_walk(&n->fs, path);
    cr_assert_not_null(i, "%s", path);
    cr_assert_eq(nf_resize(&n->fs, i, size), D4ERR_OK, "%s", path);
    i->mtime = (struct timespec){.tv_sec = mtime};
    pthread_mutex_unlock(&n->lock);
}
