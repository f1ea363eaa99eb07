#include <stdlib.h>
#include <string.h>

#include "support_nfsd_fs.h"

static void *grown(void *old, size_t bytes)
{
    void *p = realloc(old, bytes);

    if (p == NULL) {
        abort(); /* a test's own memory */
    }
    return p;
}

static struct timespec now_of(const struct nf *f)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    if (f->seconds_only) {
        ts.tv_nsec = 0;
    }
    return ts;
}

void nf_touch(struct nf *f, struct nf_inode *i, bool contents)
{
    i->ctime = now_of(f);
    if (contents) {
        i->mtime = i->ctime;
    }
    i->change++;
}

static struct nf_inode *inode_new(struct nf *f, enum nfsd_type type)
{
    struct nf_inode *i = calloc(1, sizeof(*i));

    if (i == NULL) {
        abort();
    }
    if (f->inodes == f->inode_room) {
        f->inode_room = f->inode_room * 2 + 64;
        f->inode = grown(f->inode, f->inode_room * sizeof(*f->inode));
    }
    i->ino = f->inodes;
    i->type = type;
    i->mode = type == D4T_DIR ? 0755 : 0644;
    i->next_cookie = 3; /* 0 to 2 mean something else (RFC 8881 18.23.3) */
    i->stable = UINT64_MAX;
    nf_touch(f, i, true);
    i->atime = i->mtime;
    f->inode[f->inodes++] = i;
    return i;
}

static void inode_free(struct nf_inode *i)
{
    for (size_t e = 0; e < i->entries; e++) {
        free(i->entry[e].name);
    }
    free(i->entry);
    free(i->data);
    free(i->target);
    free(i);
}

void nf_init(struct nf *f, uint64_t space)
{
    *f = (struct nf){.space = space, .cookie_verf = 0x6b6f6b6965000001};
    f->inode = grown(NULL, 64 * sizeof(*f->inode));
    f->inode_room = 64;
    f->inode[0] = NULL;
    f->inodes = 1;
    struct nf_inode *root = inode_new(f, D4T_DIR);
    root->nlink = 2;
    root->parent = root;
}

void nf_release(struct nf *f)
{
    for (size_t i = 0; i < f->inodes; i++) {
        if (f->inode[i] != NULL) {
            inode_free(f->inode[i]);
        }
    }
    for (size_t i = 0; i < f->renames; i++) {
        free(f->renamed[i].name);
    }
    free(f->renamed);
    free(f->inode);
    *f = (struct nf){0};
}

struct nf_inode *nf_root(struct nf *f)
{
    return f->inode[1];
}

static const uint8_t magic[12] = "haul-tests-";

void nf_handle(const struct nf_inode *i, uint8_t out[NF_FH_LEN])
{
    memcpy(out, magic, sizeof(magic));
    for (int b = 0; b < 8; b++) {
        out[sizeof(magic) + (size_t)b] = (uint8_t)(i->ino >> (56 - 8 * b));
    }
}

uint32_t nf_find(struct nf *f, struct nx_str handle, struct nf_inode **out)
{
    uint64_t ino = 0;

    if (handle.len != NF_FH_LEN || memcmp(handle.at, magic, sizeof(magic)) != 0) {
        return D4ERR_BADHANDLE;
    }
    for (size_t b = sizeof(magic); b < NF_FH_LEN; b++) {
        ino = ino << 8 | handle.at[b];
    }
    if (ino == 0 || ino >= f->inodes) {
        return D4ERR_BADHANDLE;
    }
    if (f->inode[ino] == NULL) {
        return D4ERR_STALE;
    }
    *out = f->inode[ino];
    return D4ERR_OK;
}

struct nf_entry *nf_look(struct nf_inode *dir, struct nx_str name)
{
    for (size_t e = 0; e < dir->entries; e++) {
        if (strlen(dir->entry[e].name) == name.len && memcmp(dir->entry[e].name, name.at, name.len) == 0) {
            return &dir->entry[e];
        }
    }
    return NULL;
}

uint32_t nf_name_check(struct nx_str name)
{
    if (name.len == 0) {
        return D4ERR_INVAL;
    }
    if (name.len > 255) {
        return D4ERR_NAMETOOLONG;
    }
    if (memchr(name.at, '/', name.len) != NULL || memchr(name.at, 0, name.len) != NULL) {
        return D4ERR_BADCHAR;
    }
    if (name.at[0] == '.' && (name.len == 1 || (name.len == 2 && name.at[1] == '.'))) {
        return D4ERR_BADNAME;
    }
    return D4ERR_OK;
}

static void entry_add(struct nf *f, struct nf_inode *dir, struct nx_str name, struct nf_inode *i)
{
    char *copy = grown(NULL, (size_t)name.len + 1);

    memcpy(copy, name.at, name.len);
    copy[name.len] = 0;
    if (dir->entries == dir->entry_room) {
        dir->entry_room = dir->entry_room * 2 + 8;
        dir->entry = grown(dir->entry, dir->entry_room * sizeof(*dir->entry));
    }
    dir->entry[dir->entries++] = (struct nf_entry){.name = copy, .inode = i, .cookie = dir->next_cookie++};
    nf_touch(f, dir, true);
}

static void entry_cut(struct nf *f, struct nf_inode *dir, struct nf_entry *e)
{
    size_t at = (size_t)(e - dir->entry);

    free(e->name);
    memmove(e, e + 1, (dir->entries - at - 1) * sizeof(*e));
    dir->entries--;
    nf_touch(f, dir, true);
}

void nf_drop(struct nf *f, struct nf_inode *i)
{
    if (i->nlink == 0 && i->opens == 0) {
        f->used -= i->size;
        f->inode[i->ino] = NULL;
        inode_free(i);
    }
}

/* One name less. */
static void unname(struct nf *f, struct nf_inode *i)
{
    i->nlink = i->type == D4T_DIR ? 0 : i->nlink - 1;
    nf_touch(f, i, false);
    nf_drop(f, i);
}

uint32_t nf_make(struct nf *f, struct nf_inode *dir, struct nx_str name, enum nfsd_type type, struct nf_inode **out)
{
    if (dir->type != D4T_DIR) {
        return D4ERR_NOTDIR;
    }
    if (nf_look(dir, name) != NULL) {
        return D4ERR_EXIST;
    }
    struct nf_inode *i = inode_new(f, type);
    i->nlink = type == D4T_DIR ? 2 : 1;
    i->parent = type == D4T_DIR ? dir : NULL;
    dir->nlink += type == D4T_DIR;
    entry_add(f, dir, name, i);
    *out = i;
    return D4ERR_OK;
}

uint32_t nf_link(struct nf *f, struct nf_inode *from, struct nf_inode *dir, struct nx_str name)
{
    if (dir->type != D4T_DIR) {
        return D4ERR_NOTDIR;
    }
    if (from->type == D4T_DIR) {
        return D4ERR_ISDIR;
    }
    if (nf_look(dir, name) != NULL) {
        return D4ERR_EXIST;
    }
    from->nlink++;
    nf_touch(f, from, false);
    entry_add(f, dir, name, from);
    return D4ERR_OK;
}

uint32_t nf_remove(struct nf *f, struct nf_inode *dir, struct nx_str name)
{
    if (dir->type != D4T_DIR) {
        return D4ERR_NOTDIR;
    }
    struct nf_entry *e = nf_look(dir, name);
    if (e == NULL) {
        return D4ERR_NOENT;
    }
    struct nf_inode *i = e->inode;
    if (i->type == D4T_DIR && i->entries > 0) {
        return D4ERR_NOTEMPTY;
    }
    dir->nlink -= i->type == D4T_DIR;
    entry_cut(f, dir, e);
    unname(f, i);
    return D4ERR_OK;
}

static void count_rename(struct nf *f, struct nx_str name)
{
    for (size_t i = 0; i < f->renames; i++) {
        if (strlen(f->renamed[i].name) == name.len && memcmp(f->renamed[i].name, name.at, name.len) == 0) {
            f->renamed[i].count++;
            return;
        }
    }
    f->renamed = grown(f->renamed, (f->renames + 1) * sizeof(*f->renamed));
    char *copy = grown(NULL, (size_t)name.len + 1);
    memcpy(copy, name.at, name.len);
    copy[name.len] = 0;
    f->renamed[f->renames++] = (struct nf_rename){.name = copy, .count = 1};
}

static bool is_below(const struct nf_inode *dir, const struct nf_inode *top)
{
    while (dir != top && dir->parent != dir) {
        dir = dir->parent;
    }
    return dir == top;
}

uint32_t nf_rename(struct nf *f, struct nf_inode *from, struct nx_str old, struct nf_inode *to, struct nx_str name)
{
    if (from->type != D4T_DIR || to->type != D4T_DIR) {
        return D4ERR_NOTDIR;
    }
    struct nf_entry *source = nf_look(from, old);
    if (source == NULL) {
        return D4ERR_NOENT;
    }
    struct nf_inode *i = source->inode;
    struct nf_entry *there = nf_look(to, name);
    if (i->type == D4T_DIR && is_below(to, i)) {
        return D4ERR_INVAL;
    }
    if (there != NULL && there->inode == i) {
        count_rename(f, name);
        return D4ERR_OK; /* links of one file: nothing is done (RFC 8881 18.26.3) */
    }
    if (there != NULL) {
        struct nf_inode *victim = there->inode;

        if ((victim->type == D4T_DIR) != (i->type == D4T_DIR)) {
            return D4ERR_EXIST;
        }
        if (victim->type == D4T_DIR && victim->entries > 0) {
            return D4ERR_EXIST;
        }
        to->nlink -= victim->type == D4T_DIR;
        entry_cut(f, to, there);
        unname(f, victim);
    }
    entry_cut(f, from, nf_look(from, old));
    entry_add(f, to, name, i);
    if (i->type == D4T_DIR) {
        from->nlink--;
        to->nlink++;
        i->parent = to;
    }
    i->published++;
    nf_touch(f, i, false);
    count_rename(f, name);
    return D4ERR_OK;
}

uint32_t nf_resize(struct nf *f, struct nf_inode *i, uint64_t size)
{
    if (size > f->space || f->used - i->size + size > f->space) {
        return D4ERR_NOSPC;
    }
    if (size > i->room) {
        size_t room = (size_t)size + (size_t)(size / 4) + 64;

        i->data = grown(i->data, room);
        memset(i->data + i->room, 0, room - i->room);
        i->room = room;
    }
    if (size < i->size) {
        memset(i->data + size, 0, (size_t)(i->size - size));
    }
    f->used = f->used - i->size + size;
    i->size = size;
    nf_touch(f, i, true);
    return D4ERR_OK;
}

uint32_t nf_write(struct nf *f, struct nf_inode *i, uint64_t offset, const void *bytes, uint32_t len)
{
    uint32_t status = D4ERR_OK;

    if (offset > (uint64_t)INT64_MAX - len) {
        return D4ERR_FBIG;
    }
    if (offset + len > i->size) {
        status = nf_resize(f, i, offset + len);
    }
    if (status == D4ERR_OK && len > 0) {
        memcpy(i->data + offset, bytes, len);
        nf_touch(f, i, true);
    }
    return status;
}

static struct nx_str next_component(const char **path)
{
    while (**path == '/') {
        (*path)++;
    }
    size_t len = strcspn(*path, "/");
    struct nx_str name = {.at = (const uint8_t *)*path, .len = (uint32_t)len};
    *path += len;
    return name;
}

struct nf_inode *nf_walk_parent(struct nf *f, const char *path, struct nx_str *out_name)
{
    struct nf_inode *dir = nf_root(f);
    struct nx_str name = next_component(&path);

    for (;;) {
        struct nx_str next = next_component(&path);

        if (next.len == 0) {
            *out_name = name;
            return dir->type == D4T_DIR ? dir : NULL;
        }
        struct nf_entry *e = dir->type == D4T_DIR ? nf_look(dir, name) : NULL;
        if (e == NULL) {
            return NULL;
        }
        dir = e->inode;
        name = next;
    }
}

struct nf_inode *nf_walk(struct nf *f, const char *path)
{
    struct nx_str name;
    struct nf_inode *dir = nf_walk_parent(f, path, &name);

    if (dir == NULL || name.len == 0) {
        return dir;
    }
    struct nf_entry *e = nf_look(dir, name);
    return e == NULL ? NULL : e->inode;
}
