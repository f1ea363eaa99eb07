/*
 * support_nfsd_files: operations that move between files, and those that change them.
 */
#include <stdlib.h>
#include <string.h>

#include "support_nfsd_internal.h"

static uint32_t inode_of(struct nfsd *n, uint64_t ino, uint32_t none, struct nf_inode **out)
{
    if (ino == 0) {
        return none;
    }
    *out = n->fs.inode[ino];
    return *out == NULL ? (uint32_t)D4ERR_STALE : (uint32_t)D4ERR_OK;
}

uint32_t srv_current(struct srv_call *c, struct nf_inode **out)
{
    return inode_of(c->n, c->cur, D4ERR_NOFILEHANDLE, out);
}

uint32_t srv_saved(struct srv_call *c, struct nf_inode **out)
{
    return inode_of(c->n, c->saved, D4ERR_NOFILEHANDLE, out);
}

bool srv_changes(uint32_t op)
{
    switch (op) {
    case D4_CLOSE:
    case D4_CREATE:
    case D4_LINK:
    case D4_OPEN:
    case D4_REMOVE:
    case D4_RENAME:
    case D4_SETATTR:
    case D4_WRITE:
        return true;
    default:
        return false;
    }
}

/* Another current file handle; it has no stateid (RFC 8881 16.2.3.1.2). */
static void move_to(struct srv_call *c, const struct nf_inode *i)
{
    c->cur = i->ino;
    c->cur_id = (struct srv_stateid){0};
}

static void put_change(struct nx_out *out, uint64_t before, uint64_t after)
{
    nx_put_u32(out, 1);
    nx_put_u64(out, before);
    nx_put_u64(out, after);
}

/* The current file handle, which must be a directory, and the name, which must be one. */
static uint32_t dir_and_name(struct srv_call *c, struct nx_str name, struct nf_inode **out)
{
    uint32_t status = srv_current(c, out);

    if (status == D4ERR_OK && (*out)->type != D4T_DIR) {
        status = (*out)->type == D4T_LNK ? D4ERR_SYMLINK : D4ERR_NOTDIR;
    }
    return status == D4ERR_OK ? nf_name_check(name) : status;
}

static uint32_t do_putfh(struct srv_call *c, const struct srv_op *op)
{
    struct nf_inode *i = NULL;
    uint32_t status = nf_find(&c->n->fs, op->putfh.fh, &i);

    if (status == D4ERR_OK) {
        move_to(c, i);
    }
    return status;
}

static uint32_t do_lookup(struct srv_call *c, const struct srv_op *op)
{
    struct nf_inode *dir = NULL;
    uint32_t status = dir_and_name(c, op->name, &dir);

    if (status != D4ERR_OK) {
        return status;
    }
    if (c->n->o.wrongsec) {
        return D4ERR_WRONGSEC;
    }
    const struct nf_entry *e = nf_look(dir, op->name);
    if (e == NULL) {
        return D4ERR_NOENT;
    }
    move_to(c, e->inode);
    return D4ERR_OK;
}

static uint32_t do_lookupp(struct srv_call *c)
{
    struct nf_inode *dir = NULL;
    uint32_t status = srv_current(c, &dir);

    if (status == D4ERR_OK && dir->type != D4T_DIR) {
        status = D4ERR_NOTDIR;
    }
    if (status == D4ERR_OK && dir->parent == dir) {
        status = D4ERR_NOENT;
    }
    if (status == D4ERR_OK) {
        move_to(c, dir->parent);
    }
    return status;
}

static uint32_t do_save(struct srv_call *c)
{
    if (c->cur == 0) {
        return D4ERR_NOFILEHANDLE;
    }
    c->saved = c->cur;
    c->saved_id = c->cur_id;
    return D4ERR_OK;
}

static uint32_t do_restore(struct srv_call *c)
{
    if (c->saved == 0) {
        return D4ERR_RESTOREFH;
    }
    c->cur = c->saved;
    c->cur_id = c->saved_id;
    return D4ERR_OK;
}

static void owned_by_caller(const struct srv_call *c, struct nf_inode *i)
{
    bool squashed = c->n->o.owners == NFSD_OWNERS_PERM && c->uid == 0;

    i->uid = squashed ? 65534 : c->uid;
    i->gid = squashed ? 65534 : c->gid;
}

/* ---- opens ---- */

static struct srv_open *open_of(struct srv_call *c, const struct nf_inode *i, uint64_t owner)
{
    struct srv_open *o = c->n->opens;

    while (o != NULL && (o->inode != i || o->client != c->session->client || o->owner != owner)) {
        o = o->next;
    }
    return o;
}

static void open_state(struct srv_call *c, struct nf_inode *i, const struct srv_op *op)
{
    struct nfsd *n = c->n;
    uint64_t owner = srv_sum(op->open.owner.at, op->open.owner.len);
    struct srv_open *o = open_of(c, i, owner);

    if (o == NULL) {
        o = calloc(1, sizeof(*o));
        if (o == NULL) {
            abort();
        }
        o->client = c->session->client;
        o->inode = i;
        o->owner = owner;
        memcpy(o->id.other, "open", 4);
        for (int b = 0; b < 8; b++) {
            o->id.other[4 + b] = (uint8_t)(n->next_id >> (56 - 8 * b));
        }
        n->next_id++;
        o->next = n->opens;
        n->opens = o;
        i->opens++;
        n->counts.opens++;
        n->counts.opens_max = n->counts.opens > n->counts.opens_max ? n->counts.opens : n->counts.opens_max;
    }
    o->id.seqid++;
    o->access |= op->open.access & 3;
    move_to(c, i);
    c->cur_id = o->id;
}

static uint32_t can_be_opened(const struct nf_inode *i)
{
    switch (i->type) {
    case D4T_REG:
        return D4ERR_OK;
    case D4T_DIR:
        return D4ERR_ISDIR;
    case D4T_LNK:
        return D4ERR_SYMLINK;
    default:
        return D4ERR_WRONG_TYPE;
    }
}

static uint32_t open_create(struct srv_call *c, const struct srv_op *op, struct nf_inode *dir, struct nf_inode **out,
                            uint32_t set[D4A_WORDS])
{
    uint32_t status;

    if (c->n->o.read_only) {
        return D4ERR_ROFS;
    }
    status = nf_make(&c->n->fs, dir, op->name, D4T_REG, out);
    if (status != D4ERR_OK) {
        return status;
    }
    owned_by_caller(c, *out);
    (*out)->mode = 0;
    status = srv_set_attrs(c, *out, &op->open.attrs, set);
    if (status != D4ERR_OK) {
        nf_remove(&c->n->fs, dir, op->name);
    }
    return status;
}

/* By name: what is to be opened, made where it must be. */
static uint32_t open_by_name(struct srv_call *c, const struct srv_op *op, struct nf_inode **out, uint64_t change[2],
                             uint32_t set[D4A_WORDS])
{
    struct nf_inode *dir = NULL;
    uint32_t status = dir_and_name(c, op->name, &dir);

    if (status != D4ERR_OK) {
        return status;
    }
    change[0] = dir->change;
    const struct nf_entry *e = nf_look(dir, op->name);
    if (e != NULL && op->open.create && op->open.how == 1) {
        return D4ERR_EXIST;
    }
    if (e != NULL) {
        *out = e->inode;
        status = can_be_opened(*out);
        if (status == D4ERR_OK && op->open.create && (op->open.attrs.mask[0] & 1U << D4A_SIZE) != 0) {
            status = nf_resize(&c->n->fs, *out, 0);
        }
    } else {
        status = op->open.create ? open_create(c, op, dir, out, set) : (uint32_t)D4ERR_NOENT;
    }
    change[1] = dir->change;
    return status;
}

static uint32_t do_open(struct srv_call *c, const struct srv_op *op)
{
    struct nfsd *n = c->n;
    struct nf_inode *i = NULL;
    uint64_t change[2] = {0};
    uint32_t set[D4A_WORDS] = {0};
    uint32_t status;

    if ((op->open.access & 3) == 0 || (op->open.access & 0xff00) != 0x0400 || op->open.deny > 3) {
        srv_complain(n, "OPEN: share access %x, deny %x: delegations must not be wanted", op->open.access,
                     op->open.deny);
    }
    if (!c->session->client->reclaimed) {
        srv_complain(n, "OPEN before RECLAIM_COMPLETE");
        return D4ERR_GRACE;
    }
    for (unsigned k = 0; n->o.no_second_open && k < c->at; k++) {
        if (c->op[k].op == D4_OPEN) {
            return D4ERR_RESOURCE;
        }
    }
    if (op->open.claim == 0) {
        status = open_by_name(c, op, &i, change, set);
    } else {
        status = srv_current(c, &i);
        status = status == D4ERR_OK ? can_be_opened(i) : status;
    }
    if (status != D4ERR_OK) {
        return status;
    }
    open_state(c, i, op);
    nx_put_u32(&c->out, c->cur_id.seqid);
    nx_put_fixed(&c->out, c->cur_id.other, 12);
    put_change(&c->out, change[0], change[1]);
    nx_put_u32(&c->out, 4); /* OPEN4_RESULT_LOCKTYPE_POSIX */
    srv_put_mask(&c->out, set);
    nx_put_u32(&c->out, 0); /* OPEN_DELEGATE_NONE */
    return D4ERR_OK;
}

static uint32_t do_close(struct srv_call *c, const struct srv_op *op)
{
    struct nf_inode *i = NULL;
    struct srv_open *o = NULL;
    uint32_t status = srv_current(c, &i);

    if (status == D4ERR_OK) {
        status = srv_open_find(c, &op->close.stateid, &o);
    }
    if (status == D4ERR_OK && (o == NULL || o->inode != i)) {
        status = D4ERR_BAD_STATEID;
    }
    if (status != D4ERR_OK) {
        return status;
    }
    srv_open_free(c->n, o);
    c->cur_id = (struct srv_stateid){0};
    nx_put_u32(&c->out, UINT32_MAX); /* no stateid any more (RFC 8881 18.2.4) */
    nx_put_fixed(&c->out, c->cur_id.other, 12);
    return D4ERR_OK;
}

/* ---- contents ---- */

static uint32_t do_write(struct srv_call *c, const struct srv_op *op)
{
    struct nfsd *n = c->n;
    struct nf_inode *i = NULL;
    struct srv_open *o = NULL;
    uint32_t len = op->write.data.len;
    uint32_t status = srv_current(c, &i);

    if (status == D4ERR_OK) {
        status = srv_open_find(c, &op->write.stateid, &o);
    }
    if (status == D4ERR_OK && i->type != D4T_REG) {
        status = can_be_opened(i);
    }
    if (status == D4ERR_OK && o == NULL) {
        srv_complain(n, "WRITE with the anonymous stateid");
    }
    if (status == D4ERR_OK && o != NULL && (o->inode != i || (o->access & 2) == 0)) {
        status = o->inode != i ? D4ERR_BAD_STATEID : D4ERR_OPENMODE;
    }
    if (status != D4ERR_OK) {
        return status;
    }
    if (n->o.write_max > 0 && len > n->o.write_max) {
        len = n->o.write_max;
    }
    status = nf_write(&n->fs, i, op->write.offset, op->write.data.at, len);
    if (status != D4ERR_OK) {
        return status;
    }
    n->counts.written += len;
    if (op->write.stable == 0 && op->write.offset < i->stable) {
        i->stable = op->write.offset;
    }
    nx_put_u32(&c->out, len);
    nx_put_u32(&c->out, op->write.stable == 0 ? 0 : 2);
    nx_put_u64(&c->out, n->write_verf);
    return D4ERR_OK;
}

static uint32_t do_commit(struct srv_call *c)
{
    struct nf_inode *i = NULL;
    uint32_t status = srv_current(c, &i);

    if (status == D4ERR_OK) {
        i->stable = UINT64_MAX;
        nx_put_u64(&c->out, c->n->write_verf);
    }
    return status;
}

static uint32_t do_setattr(struct srv_call *c, const struct srv_op *op, uint32_t set[D4A_WORDS])
{
    struct nf_inode *i = NULL;
    struct srv_open *o = NULL;
    uint32_t status = srv_current(c, &i);

    if (status == D4ERR_OK && (op->setattr.attrs.mask[0] & 1U << D4A_SIZE) != 0) {
        status = srv_open_find(c, &op->setattr.stateid, &o);
    }
    return status == D4ERR_OK ? srv_set_attrs(c, i, &op->setattr.attrs, set) : status;
}

/* ---- names ---- */

static uint32_t do_create(struct srv_call *c, const struct srv_op *op)
{
    struct nf_inode *dir = NULL;
    struct nf_inode *i = NULL;
    uint32_t set[D4A_WORDS] = {0};
    uint32_t type = op->create.type;
    uint32_t status = dir_and_name(c, op->name, &dir);

    if (status == D4ERR_OK && (type < D4T_DIR || type > D4T_FIFO)) {
        status = D4ERR_BADTYPE;
    }
    if (status == D4ERR_OK && type == D4T_LNK && op->create.target.len == 0) {
        status = D4ERR_INVAL;
    }
    if (status != D4ERR_OK) {
        return status;
    }
    uint64_t before = dir->change;
    status = nf_make(&c->n->fs, dir, op->name, (enum nfsd_type)type, &i);
    if (status != D4ERR_OK) {
        return status;
    }
    owned_by_caller(c, i);
    memcpy(i->rdev, op->create.rdev, sizeof(i->rdev));
    if (type == D4T_LNK) {
        i->mode = 0777;
        i->target = strndup((const char *)op->create.target.at, op->create.target.len);
    }
    status = srv_set_attrs(c, i, &op->create.attrs, set);
    if (status != D4ERR_OK) {
        nf_remove(&c->n->fs, dir, op->name);
        return status;
    }
    put_change(&c->out, before, dir->change);
    srv_put_mask(&c->out, set);
    move_to(c, i);
    return D4ERR_OK;
}

static uint32_t do_link(struct srv_call *c, const struct srv_op *op)
{
    struct nf_inode *from = NULL;
    struct nf_inode *dir = NULL;
    uint32_t status = srv_saved(c, &from);

    if (status == D4ERR_OK) {
        status = dir_and_name(c, op->name, &dir);
    }
    if (status != D4ERR_OK) {
        return status;
    }
    uint64_t before = dir->change;
    status = nf_link(&c->n->fs, from, dir, op->name);
    if (status == D4ERR_OK) {
        put_change(&c->out, before, dir->change);
    }
    return status;
}

static uint32_t do_remove(struct srv_call *c, const struct srv_op *op)
{
    struct nf_inode *dir = NULL;
    uint32_t status = dir_and_name(c, op->name, &dir);

    if (status != D4ERR_OK) {
        return status;
    }
    uint64_t before = dir->change;
    status = nf_remove(&c->n->fs, dir, op->name);
    if (status == D4ERR_OK) {
        put_change(&c->out, before, dir->change);
    }
    return status;
}

static uint32_t do_rename(struct srv_call *c, const struct srv_op *op)
{
    struct nf_inode *from = NULL;
    struct nf_inode *to = NULL;
    uint32_t status = srv_saved(c, &from);

    if (status == D4ERR_OK) {
        status = dir_and_name(c, op->name, &to);
    }
    if (status == D4ERR_OK) {
        status = nf_name_check(op->rename.old);
    }
    if (status != D4ERR_OK) {
        return status;
    }
    uint64_t before[2] = {from->change, to->change};
    status = nf_rename(&c->n->fs, from, op->rename.old, to, op->name);
    if (status == D4ERR_OK) {
        put_change(&c->out, before[0], from->change);
        put_change(&c->out, before[1], to->change);
    }
    return status;
}

static uint32_t changing_op(struct srv_call *c, const struct srv_op *op)
{
    uint32_t set[D4A_WORDS] = {0};
    uint32_t status;

    switch (op->op) {
    case D4_WRITE:
        return do_write(c, op);
    case D4_CREATE:
        return do_create(c, op);
    case D4_LINK:
        return do_link(c, op);
    case D4_REMOVE:
        return do_remove(c, op);
    case D4_RENAME:
        return do_rename(c, op);
    default: /* SETATTR: which attributes were set stands in a failure too (RFC 8881 18.30.2) */
        status = do_setattr(c, op, set);
        srv_put_mask(&c->out, set);
        return status;
    }
}

uint32_t srv_file_op(struct srv_call *c, const struct srv_op *op)
{
    switch (op->op) {
    case D4_PUTROOTFH:
        move_to(c, nf_root(&c->n->fs));
        return D4ERR_OK;
    case D4_PUTFH:
        return do_putfh(c, op);
    case D4_LOOKUP:
        return do_lookup(c, op);
    case D4_LOOKUPP:
        return do_lookupp(c);
    case D4_SAVEFH:
        return do_save(c);
    case D4_RESTOREFH:
        return do_restore(c);
    case D4_OPEN:
        return do_open(c, op);
    case D4_CLOSE:
        return do_close(c, op);
    case D4_COMMIT:
        return do_commit(c);
    default:
        break;
    }
    if (!srv_changes(op->op)) {
        return srv_look_op(c, op);
    }
    if (c->n->o.read_only) {
        if (op->op == D4_SETATTR) {
            srv_put_mask(&c->out, (const uint32_t[D4A_WORDS]){0});
        }
        return D4ERR_ROFS;
    }
    return changing_op(c, op);
}
