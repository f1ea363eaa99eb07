/*
 * req: the procedures as libnfs has them: arguments in, results out (req.h).
 *
 * What libnfs decodes is gone when its callback returns: all of it is copied.
 */
#include "workers/stores/nfs3/req.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/clock.h"
#include "workers/stores/nfs3/lib.h"

#define TCP 6 /* as the portmapper calls it */

static const struct {
    const char *name;
    bool repeats;
} procs[V3_PROCS] = {
    [V3_GETATTR] = {"getattr", true},     [V3_SETATTR] = {"setattr", true},   [V3_LOOKUP] = {"lookup", true},
    [V3_ACCESS] = {"access", true},       [V3_READLINK] = {"readlink", true}, [V3_READ] = {"read", true},
    [V3_WRITE] = {"write", true},         [V3_CREATE] = {"create", false},    [V3_MKDIR] = {"mkdir", false},
    [V3_SYMLINK] = {"symlink", false},    [V3_MKNOD] = {"mknod", false},      [V3_REMOVE] = {"remove", false},
    [V3_RMDIR] = {"rmdir", false},        [V3_RENAME] = {"rename", false},    [V3_LINK] = {"link", false},
    [V3_READDIRPLUS] = {"readdir", true}, [V3_READDIR] = {"readdir", true},   [V3_FSSTAT] = {"fsstat", true},
    [V3_FSINFO] = {"fsinfo", true},       [V3_PATHCONF] = {"pathconf", true}, [V3_COMMIT] = {"commit", true},
    [V3_PMAP_PORT] = {"getport", true},   [V3_MNT] = {"mount", true},         [V3_EXPORTS] = {"exports", true},
};

const char *nfs3_proc_name(enum nfs3_proc proc)
{
    return procs[proc].name;
}

bool nfs3_proc_repeats(enum nfs3_proc proc)
{
    return procs[proc].repeats;
}

void nfs3_page_free(struct nfs3_page *page)
{
    free(page->entries);
    *page = (struct nfs3_page){0};
}

/* ---- arguments ---- */

static nfs_fh3 fh_arg(const struct nfs_fh *fh)
{
    return (nfs_fh3){.data = {.data_len = fh->len, .data_val = (char *)(uintptr_t)fh->data}};
}

static diropargs3 name_arg(const struct nfs_fh *fh, const char *name)
{
    return (diropargs3){.dir = fh_arg(fh), .name = (char *)(uintptr_t)name};
}

/* The protocol counts seconds from 1970 in 32 bits. */
static nfstime3 time_arg(const struct timespec *t)
{
    if (t->tv_sec < 0) {
        return (nfstime3){0};
    }
    if (t->tv_sec > (time_t)UINT32_MAX) {
        return (nfstime3){.seconds = UINT32_MAX};
    }
    return (nfstime3){.seconds = (u_int)t->tv_sec, .nseconds = (u_int)t->tv_nsec};
}

static sattr3 set_arg(const struct nfs3_req *req)
{
    const struct attr *a = req->attr_in;
    sattr3 s = {.atime = {.set_it = DONT_CHANGE}, .mtime = {.set_it = DONT_CHANGE}};

    if (req->set & V3_SET_MODE) {
        s.mode.set_it = 1;
        s.mode.set_mode3_u.mode = a->mode & 07777;
    }
    if (req->set & V3_SET_UID) {
        s.uid.set_it = 1;
        s.uid.set_uid3_u.uid = a->uid;
    }
    if (req->set & V3_SET_GID) {
        s.gid.set_it = 1;
        s.gid.set_gid3_u.gid = a->gid;
    }
    if (req->set & V3_SET_SIZE) {
        s.size.set_it = 1;
        s.size.set_size3_u.size = a->size;
    }
    if (req->set & V3_SET_TIMES) {
        s.atime.set_it = SET_TO_CLIENT_TIME;
        s.atime.set_atime_u.atime = time_arg(&a->atime);
        s.mtime.set_it = SET_TO_CLIENT_TIME;
        s.mtime.set_mtime_u.mtime = time_arg(&a->mtime);
    }
    return s;
}

static mknoddata3 node_arg(const struct nfs3_req *req)
{
    mode_t mode = req->attr_in->mode;
    mknoddata3 node = {.type = NF3FIFO};
    devicedata3 device = {.dev_attributes = set_arg(req),
                          .spec = {.specdata1 = major(req->attr_in->rdev), .specdata2 = minor(req->attr_in->rdev)}};

    if (S_ISCHR(mode)) {
        node.type = NF3CHR;
        node.mknoddata3_u.chr_device = device;
    } else if (S_ISBLK(mode)) {
        node.type = NF3BLK;
        node.mknoddata3_u.blk_device = device;
    } else if (S_ISSOCK(mode)) {
        node.type = NF3SOCK;
        node.mknoddata3_u.sock_attributes = set_arg(req);
    } else {
        node.mknoddata3_u.pipe_attributes = set_arg(req);
    }
    return node;
}

/* ---- results ---- */

static void take_fh(struct nfs3_req *req, const nfs_fh3 *fh)
{
    if (fh->data.data_len <= NFS3_FH_MAX) {
        req->out_fh.len = fh->data.data_len;
        memcpy(req->out_fh.data, fh->data.data_val, fh->data.data_len);
    }
}

static void take_post_fh(struct nfs3_req *req, const post_op_fh3 *fh)
{
    req->out_fh.len = 0;
    if (fh->handle_follows) {
        take_fh(req, &fh->post_op_fh3_u.handle);
    }
}

static mode_t type_of(ftype3 type)
{
    switch (type) {
    case NF3REG:
        return S_IFREG;
    case NF3DIR:
        return S_IFDIR;
    case NF3BLK:
        return S_IFBLK;
    case NF3CHR:
        return S_IFCHR;
    case NF3LNK:
        return S_IFLNK;
    case NF3SOCK:
        return S_IFSOCK;
    case NF3FIFO:
        return S_IFIFO;
    default:
        return 0;
    }
}

static struct timespec time_of(const nfstime3 *t)
{
    return (struct timespec){.tv_sec = (time_t)t->seconds, .tv_nsec = t->nseconds < NS_PER_SEC ? t->nseconds : 0};
}

/* Whether the server told what can be. */
static bool attr_of(const fattr3 *a, struct attr *out)
{
    *out = (struct attr){
        .mode = type_of(a->type) | (a->mode & 07777),
        .uid = a->uid,
        .gid = a->gid,
        .nlink = a->nlink,
        .dev = a->fsid,
        .rdev = makedev(a->rdev.specdata1, a->rdev.specdata2),
        .ino = a->fileid,
        .size = a->size,
        .allocated = a->used,
        .atime = time_of(&a->atime),
        .mtime = time_of(&a->mtime),
        .ctime = time_of(&a->ctime),
    };
    return (out->mode & S_IFMT) != 0;
}

static void take_post_attr(struct nfs3_req *req, const post_op_attr *a)
{
    req->has_attr = a->attributes_follow && attr_of(&a->post_op_attr_u.attributes, &req->attr);
}

static int take_read(struct nfs3_req *req, const READ3resok *ok)
{
    size_t len = ok->count;

    if (len > req->len || len > ok->data.data_len) {
        return -EPROTO;
    }
    if (len > 0 && ok->data.data_val != req->buf) {
        memcpy(req->buf, ok->data.data_val, len);
    }
    req->count = len;
    req->eof = ok->eof;
    take_post_attr(req, &ok->file_attributes);
    return 0;
}

static int take_write(struct nfs3_req *req, const WRITE3resok *ok)
{
    if (ok->count > req->len) {
        return -EPROTO;
    }
    req->count = ok->count;
    req->sync = ok->committed == FILE_SYNC;
    memcpy(req->verf, ok->verf, NFS3_VERF);
    take_post_attr(req, &ok->file_wcc.after);
    return 0;
}

static int take_readlink(struct nfs3_req *req, const READLINK3resok *ok)
{
    size_t len = strlen(ok->data);

    if (len >= req->len) {
        return -ENAMETOOLONG;
    }
    memcpy(req->buf, ok->data, len + 1);
    req->count = len;
    return 0;
}

static int64_t ns_of(const nfstime3 *t)
{
    return (int64_t)t->seconds * NS_PER_SEC + t->nseconds;
}

static void take_info(struct nfs3_req *req, const FSINFO3resok *ok)
{
    req->info = (struct nfs3_info){.read_max = ok->rtmax,
                                   .write_max = ok->wtmax,
                                   .dir_preferred = ok->dtpref,
                                   .file_max = ok->maxfilesize,
                                   .delta_ns = ns_of(&ok->time_delta),
                                   .links = (ok->properties & FSF3_LINK) != 0,
                                   .symlinks = (ok->properties & FSF3_SYMLINK) != 0,
                                   .times = (ok->properties & FSF3_CANSETTIME) != 0};
    take_post_attr(req, &ok->obj_attributes);
}

/* Room for count entries whose names have so many bytes, NULs included. */
static int page_begin(struct nfs3_req *req, size_t count, size_t bytes, char **out_names)
{
    struct nfs3_entry *entries = malloc(count * sizeof(*entries) + bytes + 1);

    if (!entries) {
        return -ENOMEM;
    }
    req->page = (struct nfs3_page){.count = count, .entries = entries};
    *out_names = (char *)(entries + count);
    return 0;
}

static char *page_add(struct nfs3_entry *to, const char *name, uint64_t cookie, char *names)
{
    size_t size = strlen(name) + 1;

    memset(to, 0, offsetof(struct nfs3_entry, attr));
    to->name = memcpy(names, name, size);
    to->cookie = cookie;
    to->fh.len = 0;
    return names + size;
}

/* The element that follows, copied, since libnfs lays lists out as bytes come: what points into them may not be
 * aligned. False: there is none. */
static bool next_plus(struct entryplus3 *e)
{
    const void *next = e->nextentry;

    return next && memcpy(e, next, sizeof(*e));
}

static bool next_plain(struct entry3 *e)
{
    const void *next = e->nextentry;

    return next && memcpy(e, next, sizeof(*e));
}

static bool next_export(struct exportnode *e)
{
    const void *next = e->ex_next;

    return next && memcpy(e, next, sizeof(*e));
}

static int take_entries_plus(struct nfs3_req *req, const READDIRPLUS3resok *ok)
{
    size_t count = 0;
    size_t bytes = 0;
    char *names;
    int err;

    for (struct entryplus3 e = {.nextentry = ok->reply.entries}; next_plus(&e);) {
        count++;
        bytes += strlen(e.name) + 1;
    }
    err = page_begin(req, count, bytes, &names);
    if (err) {
        return err;
    }
    count = 0;
    for (struct entryplus3 e = {.nextentry = ok->reply.entries}; next_plus(&e);) {
        struct nfs3_entry *to = &req->page.entries[count++];

        names = page_add(to, e.name, e.cookie, names);
        to->has_attr =
            e.name_attributes.attributes_follow && attr_of(&e.name_attributes.post_op_attr_u.attributes, &to->attr);
        if (e.name_handle.handle_follows) {
            const nfs_fh3 *fh = &e.name_handle.post_op_fh3_u.handle;

            to->has_fh = fh->data.data_len > 0 && fh->data.data_len <= NFS3_FH_MAX;
            if (to->has_fh) {
                to->fh.len = fh->data.data_len;
                memcpy(to->fh.data, fh->data.data_val, fh->data.data_len);
            }
        }
    }
    req->eof = ok->reply.eof;
    memcpy(req->verf, ok->cookieverf, NFS3_VERF);
    return 0;
}

static int take_entries(struct nfs3_req *req, const READDIR3resok *ok)
{
    size_t count = 0;
    size_t bytes = 0;
    char *names;
    int err;

    for (struct entry3 e = {.nextentry = ok->reply.entries}; next_plain(&e);) {
        count++;
        bytes += strlen(e.name) + 1;
    }
    err = page_begin(req, count, bytes, &names);
    if (err) {
        return err;
    }
    count = 0;
    for (struct entry3 e = {.nextentry = ok->reply.entries}; next_plain(&e);) {
        names = page_add(&req->page.entries[count++], e.name, e.cookie, names);
    }
    req->eof = ok->reply.eof;
    memcpy(req->verf, ok->cookieverf, NFS3_VERF);
    return 0;
}

static int take_exports(struct nfs3_req *req, struct exportnode *first)
{
    size_t count = 0;
    size_t bytes = 0;
    char *names;
    int err;

    for (struct exportnode e = {.ex_next = first}; next_export(&e);) {
        count++;
        bytes += strlen(e.ex_dir) + 1;
    }
    err = page_begin(req, count, bytes, &names);
    if (err) {
        return err;
    }
    count = 0;
    for (struct exportnode e = {.ex_next = first}; next_export(&e);) {
        names = page_add(&req->page.entries[count++], e.ex_dir, 0, names);
    }
    return 0;
}

static int take_mount(struct nfs3_req *req, const mountres3 *res)
{
    const fhandle3 *fh = &res->mountres3_u.mountinfo.fhandle;

    if (fh->fhandle3_len == 0 || fh->fhandle3_len > NFS3_FH_MAX) {
        return -EPROTO;
    }
    req->out_fh.len = fh->fhandle3_len;
    memcpy(req->out_fh.data, fh->fhandle3_val, fh->fhandle3_len);
    return 0;
}

/* Whatever makes something: a handle and attributes, perhaps. */
static int take_made(struct nfs3_req *req, const post_op_fh3 *fh, const post_op_attr *a)
{
    take_post_fh(req, fh);
    take_post_attr(req, a);
    return 0;
}

/* Results of a procedure that brought NFS3_OK. */
static int take_ok(struct nfs3_req *req, const void *data)
{
    switch (req->proc) {
    case V3_GETATTR:
        req->has_attr = attr_of(&((const GETATTR3res *)data)->GETATTR3res_u.resok.obj_attributes, &req->attr);
        return req->has_attr ? 0 : -EPROTO;
    case V3_SETATTR:
        take_post_attr(req, &((const SETATTR3res *)data)->SETATTR3res_u.resok.obj_wcc.after);
        return 0;
    case V3_LOOKUP: {
        const LOOKUP3resok *ok = &((const LOOKUP3res *)data)->LOOKUP3res_u.resok;

        req->out_fh.len = 0;
        take_fh(req, &ok->object);
        take_post_attr(req, &ok->obj_attributes);
        return req->out_fh.len > 0 ? 0 : -EPROTO;
    }
    case V3_ACCESS:
        req->access = ((const ACCESS3res *)data)->ACCESS3res_u.resok.access;
        return 0;
    case V3_READLINK:
        return take_readlink(req, &((const READLINK3res *)data)->READLINK3res_u.resok);
    case V3_READ:
        return take_read(req, &((const READ3res *)data)->READ3res_u.resok);
    case V3_WRITE:
        return take_write(req, &((const WRITE3res *)data)->WRITE3res_u.resok);
    case V3_CREATE: {
        const CREATE3resok *ok = &((const CREATE3res *)data)->CREATE3res_u.resok;

        return take_made(req, &ok->obj, &ok->obj_attributes);
    }
    case V3_MKDIR: {
        const MKDIR3resok *ok = &((const MKDIR3res *)data)->MKDIR3res_u.resok;

        return take_made(req, &ok->obj, &ok->obj_attributes);
    }
    case V3_SYMLINK: {
        const SYMLINK3resok *ok = &((const SYMLINK3res *)data)->SYMLINK3res_u.resok;

        return take_made(req, &ok->obj, &ok->obj_attributes);
    }
    case V3_MKNOD: {
        const MKNOD3resok *ok = &((const MKNOD3res *)data)->MKNOD3res_u.resok;

        return take_made(req, &ok->obj, &ok->obj_attributes);
    }
    case V3_LINK:
        take_post_attr(req, &((const LINK3res *)data)->LINK3res_u.resok.file_attributes);
        return 0;
    case V3_READDIRPLUS:
        return take_entries_plus(req, &((const READDIRPLUS3res *)data)->READDIRPLUS3res_u.resok);
    case V3_READDIR:
        return take_entries(req, &((const READDIR3res *)data)->READDIR3res_u.resok);
    case V3_FSSTAT:
        req->space_avail = ((const FSSTAT3res *)data)->FSSTAT3res_u.resok.abytes;
        req->files_avail = ((const FSSTAT3res *)data)->FSSTAT3res_u.resok.afiles;
        return 0;
    case V3_FSINFO:
        take_info(req, &((const FSINFO3res *)data)->FSINFO3res_u.resok);
        return 0;
    case V3_PATHCONF:
        req->name_max = ((const PATHCONF3res *)data)->PATHCONF3res_u.resok.name_max;
        req->link_max = ((const PATHCONF3res *)data)->PATHCONF3res_u.resok.linkmax;
        return 0;
    case V3_COMMIT:
        memcpy(req->verf, ((const COMMIT3res *)data)->COMMIT3res_u.resok.verf, NFS3_VERF);
        return 0;
    case V3_MNT:
        return take_mount(req, data);
    default:
        return 0;
    }
}

/* 0, a status or -errno. */
static int take(struct nfs3_req *req, const void *data)
{
    uint32_t port;
    uint32_t status;

    if (req->proc == V3_PMAP_PORT) {
        memcpy(&port, data, sizeof(port));
        req->port = port <= UINT16_MAX ? (uint16_t)port : 0;
        return 0;
    }
    if (req->proc == V3_EXPORTS) {
        return take_exports(req, *(const exports *)data);
    }
    memcpy(&status, data, sizeof(status)); /* every other result begins with it */
    return status ? (int)(status <= INT32_MAX ? status : INT32_MAX) : take_ok(req, data);
}

/* What the server said of the call as such; libnfs tells it in words only. */
static int refusal(const char *said)
{
    if (!said) {
        return -ECONNRESET;
    }
    if (strstr(said, "Program not available") || strstr(said, "version mismatch")) {
        return -EPROTONOSUPPORT;
    }
    if (strstr(said, "Procedure not available")) {
        return -EOPNOTSUPP;
    }
    if (strstr(said, "not accepted")) {
        return -EACCES; /* the credential */
    }
    if (strstr(said, "Garbage arguments") || strstr(said, "rejected by server")) {
        return -EPROTO;
    }
    return strstr(said, "System Error") ? -EREMOTEIO : -ECONNRESET;
}

static void called_back(struct rpc_context *rpc, int status, void *data, void *arg)
{
    struct nfs3_ticket *ticket = arg;
    int r = -ECONNRESET; /* RPC_STATUS_CANCEL, RPC_STATUS_TIMEOUT */

    (void)rpc;
    if (status == RPC_STATUS_SUCCESS) {
        r = data ? take(ticket->req, data) : -EPROTO;
    } else if (status == RPC_STATUS_ERROR) {
        r = refusal(data);
    }
    ticket->done(ticket->arg, r);
}

/* ---- queued ---- */

static bool queue_make(struct rpc_context *rpc, const struct nfs3_req *req, struct nfs3_ticket *ticket)
{
    diropargs3 where = name_arg(req->fh, req->name);

    if (req->proc == V3_CREATE) {
        CREATE3args args = {.where = where, .how = {.mode = GUARDED}};

        args.how.createhow3_u.g_obj_attributes = set_arg(req);
        return LIB_QUEUED(LIB(nfs3_create)(rpc, called_back, &args, ticket));
    }
    if (req->proc == V3_MKDIR) {
        MKDIR3args args = {.where = where, .attributes = set_arg(req)};

        return LIB_QUEUED(LIB(nfs3_mkdir)(rpc, called_back, &args, ticket));
    }
    if (req->proc == V3_SYMLINK) {
        SYMLINK3args args = {
            .where = where,
            .symlink = {.symlink_attributes = set_arg(req), .symlink_data = (char *)(uintptr_t)req->target}};

        return LIB_QUEUED(LIB(nfs3_symlink)(rpc, called_back, &args, ticket));
    }
    MKNOD3args args = {.where = where, .what = node_arg(req)};

    return LIB_QUEUED(LIB(nfs3_mknod)(rpc, called_back, &args, ticket));
}

static bool queue_names(struct rpc_context *rpc, const struct nfs3_req *req, struct nfs3_ticket *ticket)
{
    switch (req->proc) {
    case V3_LOOKUP: {
        LOOKUP3args args = {.what = name_arg(req->fh, req->name)};

        return LIB_QUEUED(LIB(nfs3_lookup)(rpc, called_back, &args, ticket));
    }
    case V3_REMOVE: {
        REMOVE3args args = {.object = name_arg(req->fh, req->name)};

        return LIB_QUEUED(LIB(nfs3_remove)(rpc, called_back, &args, ticket));
    }
    case V3_RMDIR: {
        RMDIR3args args = {.object = name_arg(req->fh, req->name)};

        return LIB_QUEUED(LIB(nfs3_rmdir)(rpc, called_back, &args, ticket));
    }
    case V3_RENAME: {
        RENAME3args args = {.from = name_arg(req->fh, req->name), .to = name_arg(req->to_fh, req->to_name)};

        return LIB_QUEUED(LIB(nfs3_rename)(rpc, called_back, &args, ticket));
    }
    default: {
        LINK3args args = {.file = fh_arg(req->fh), .link = name_arg(req->to_fh, req->to_name)};

        return LIB_QUEUED(LIB(nfs3_link)(rpc, called_back, &args, ticket));
    }
    }
}

static bool queue_data(struct rpc_context *rpc, const struct nfs3_req *req, struct nfs3_ticket *ticket)
{
    if (req->proc == V3_READ) {
        READ3args args = {.file = fh_arg(req->fh), .offset = req->offset, .count = (count3)req->len};

        return LIB_QUEUED(LIB_READ(rpc, called_back, req->buf, req->len, &args, ticket));
    }
    if (req->proc == V3_WRITE) {
        WRITE3args args = {.file = fh_arg(req->fh),
                           .offset = req->offset,
                           .count = (count3)req->len,
                           .stable = req->sync ? FILE_SYNC : UNSTABLE,
                           .data = {.data_len = (u_int)req->len, .data_val = (char *)(uintptr_t)req->data}};

        return LIB_QUEUED(LIB(nfs3_write)(rpc, called_back, &args, ticket));
    }
    if (req->proc == V3_COMMIT) {
        COMMIT3args args = {.file = fh_arg(req->fh)};

        return LIB_QUEUED(LIB(nfs3_commit)(rpc, called_back, &args, ticket));
    }
    if (req->proc == V3_READDIRPLUS) {
        READDIRPLUS3args args = {.dir = fh_arg(req->fh),
                                 .cookie = req->cookie,
                                 .dircount = (count3)(req->len / 4),
                                 .maxcount = (count3)req->len};

        memcpy(args.cookieverf, req->verf, NFS3_VERF);
        return LIB_QUEUED(LIB(nfs3_readdirplus)(rpc, called_back, &args, ticket));
    }
    READDIR3args args = {.dir = fh_arg(req->fh), .cookie = req->cookie, .count = (count3)req->len};

    memcpy(args.cookieverf, req->verf, NFS3_VERF);
    return LIB_QUEUED(LIB(nfs3_readdir)(rpc, called_back, &args, ticket));
}

static bool queue_looks(struct rpc_context *rpc, const struct nfs3_req *req, struct nfs3_ticket *ticket)
{
    switch (req->proc) {
    case V3_GETATTR: {
        GETATTR3args args = {.object = fh_arg(req->fh)};

        return LIB_QUEUED(LIB(nfs3_getattr)(rpc, called_back, &args, ticket));
    }
    case V3_SETATTR: {
        SETATTR3args args = {.object = fh_arg(req->fh), .new_attributes = set_arg(req)};

        return LIB_QUEUED(LIB(nfs3_setattr)(rpc, called_back, &args, ticket));
    }
    case V3_ACCESS: {
        ACCESS3args args = {.object = fh_arg(req->fh), .access = req->access};

        return LIB_QUEUED(LIB(nfs3_access)(rpc, called_back, &args, ticket));
    }
    case V3_READLINK: {
        READLINK3args args = {.symlink = fh_arg(req->fh)};

        return LIB_QUEUED(LIB(nfs3_readlink)(rpc, called_back, &args, ticket));
    }
    case V3_FSSTAT: {
        FSSTAT3args args = {.fsroot = fh_arg(req->fh)};

        return LIB_QUEUED(LIB(nfs3_fsstat)(rpc, called_back, &args, ticket));
    }
    case V3_FSINFO: {
        FSINFO3args args = {.fsroot = fh_arg(req->fh)};

        return LIB_QUEUED(LIB(nfs3_fsinfo)(rpc, called_back, &args, ticket));
    }
    default: {
        PATHCONF3args args = {.object = fh_arg(req->fh)};

        return LIB_QUEUED(LIB(nfs3_pathconf)(rpc, called_back, &args, ticket));
    }
    }
}

bool nfs3_req_queue(struct rpc_context *rpc, struct nfs3_ticket *ticket)
{
    const struct nfs3_req *req = ticket->req;

    switch (req->proc) {
    case V3_CREATE:
    case V3_MKDIR:
    case V3_SYMLINK:
    case V3_MKNOD:
        return queue_make(rpc, req, ticket);
    case V3_LOOKUP:
    case V3_REMOVE:
    case V3_RMDIR:
    case V3_RENAME:
    case V3_LINK:
        return queue_names(rpc, req, ticket);
    case V3_READ:
    case V3_WRITE:
    case V3_COMMIT:
    case V3_READDIRPLUS:
    case V3_READDIR:
        return queue_data(rpc, req, ticket);
    case V3_PMAP_PORT:
        return LIB_QUEUED(LIB(pmap2_getport)(rpc, (int)req->program, 3, TCP, called_back, ticket));
    case V3_MNT:
        return LIB_QUEUED(LIB(mount3_mnt)(rpc, called_back, (char *)(uintptr_t)req->name, ticket));
    case V3_EXPORTS:
        return LIB_QUEUED(LIB(mount3_export)(rpc, called_back, ticket));
    default:
        return queue_looks(rpc, req, ticket);
    }
}
