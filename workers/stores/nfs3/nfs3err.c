/*
 * nfs3err: the table of what NFSv3 statuses mean (nfs3err.h).
 */
#include "workers/stores/nfs3/nfs3err.h"

#include <stddef.h>
#include <stdio.h>

/* In order of status. */
static const struct nfs3_error rows[] = {
    {V3_OK, "NFS3_OK", 0, V3_DO_NOTHING},
    {V3_PERM, "NFS3ERR_PERM", EPERM, V3_DO_FAIL},
    {V3_NOENT, "NFS3ERR_NOENT", ENOENT, V3_DO_FAIL},
    {5, "NFS3ERR_IO", EIO, V3_DO_RETRY},
    {6, "NFS3ERR_NXIO", ENXIO, V3_DO_FAIL},
    {V3_ACCES, "NFS3ERR_ACCES", EACCES, V3_DO_FAIL},
    {V3_EXIST, "NFS3ERR_EXIST", EEXIST, V3_DO_RENAME},
    {V3_XDEV, "NFS3ERR_XDEV", EXDEV, V3_DO_FAIL},
    {19, "NFS3ERR_NODEV", ENODEV, V3_DO_FAIL},
    {V3_NOTDIR, "NFS3ERR_NOTDIR", ENOTDIR, V3_DO_FAIL},
    {21, "NFS3ERR_ISDIR", EISDIR, V3_DO_FAIL},
    {V3_INVAL, "NFS3ERR_INVAL", EINVAL, V3_DO_FAIL},
    {27, "NFS3ERR_FBIG", EFBIG, V3_DO_FAIL},
    {28, "NFS3ERR_NOSPC", ENOSPC, V3_DO_STOP},
    {V3_ROFS, "NFS3ERR_ROFS", EROFS, V3_DO_STOP},
    {V3_MLINK, "NFS3ERR_MLINK", EMLINK, V3_DO_FAIL},
    {63, "NFS3ERR_NAMETOOLONG", ENAMETOOLONG, V3_DO_FAIL},
    {66, "NFS3ERR_NOTEMPTY", ENOTEMPTY, V3_DO_FAIL},
    {69, "NFS3ERR_DQUOT", EDQUOT, V3_DO_STOP},
    {V3_STALE, "NFS3ERR_STALE", ESTALE, V3_DO_LOOK_UP},
    {71, "NFS3ERR_REMOTE", EREMOTE, V3_DO_FAIL},
    {V3_BADHANDLE, "NFS3ERR_BADHANDLE", ESTALE, V3_DO_LOOK_UP},
    {V3_NOT_SYNC, "NFS3ERR_NOT_SYNC", ESTALE, V3_DO_FAIL},
    {V3_BAD_COOKIE, "NFS3ERR_BAD_COOKIE", EBUSY, V3_DO_RESTART},
    {V3_NOTSUPP, "NFS3ERR_NOTSUPP", EOPNOTSUPP, V3_DO_WITHOUT},
    {V3_TOOSMALL, "NFS3ERR_TOOSMALL", EINVAL, V3_DO_FAIL},
    {V3_SERVERFAULT, "NFS3ERR_SERVERFAULT", EREMOTEIO, V3_DO_RETRY},
    {V3_BADTYPE, "NFS3ERR_BADTYPE", EOPNOTSUPP, V3_DO_FAIL},
    {V3_JUKEBOX, "NFS3ERR_JUKEBOX", EBUSY, V3_DO_WAIT},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const struct nfs3_error unknown = {.status = 0, .name = NULL, .err = EREMOTEIO, .decision = V3_DO_RETRY};

const struct nfs3_error *nfs3_error(uint32_t status)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].status == status) {
            return &rows[i];
        }
    }
    return &unknown;
}

int nfs3_errno(uint32_t status)
{
    return -nfs3_error(status)->err;
}

const char *nfs3_status_text(uint32_t status, char buf[V3_STATUS_TEXT])
{
    const struct nfs3_error *row = nfs3_error(status);

    if (row->name) {
        (void)snprintf(buf, V3_STATUS_TEXT, "%s (%u)", row->name, status);
    } else {
        (void)snprintf(buf, V3_STATUS_TEXT, "unknown NFS status %u", status);
    }
    return buf;
}

const struct nfs3_error *nfs3_error_row(unsigned i)
{
    return i < ROWS ? &rows[i] : NULL;
}
