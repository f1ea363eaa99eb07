/*
 * errs: the table of what an errno means to a copy (errs.h).
 */
#include "base/errs.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>

/* One row: the class at a destination. */
struct row {
    int err;                /* positive errno */
    enum err_class local;   /* on a local file system */
    enum err_class network; /* on a network mount or server */
};

static const struct row rows[] = {
    /* may pass by itself, wherever it comes from */
    {EAGAIN, ERR_TRANSIENT, ERR_TRANSIENT},
    {EINTR, ERR_TRANSIENT, ERR_TRANSIENT},
    {ENOMEM, ERR_TRANSIENT, ERR_TRANSIENT},
    {ENOBUFS, ERR_TRANSIENT, ERR_TRANSIENT},
    {ENFILE, ERR_TRANSIENT, ERR_TRANSIENT},
    {EMFILE, ERR_TRANSIENT, ERR_TRANSIENT},
    {ESTALE, ERR_TRANSIENT, ERR_TRANSIENT},
    {ETIMEDOUT, ERR_TRANSIENT, ERR_TRANSIENT},
    {EREMOTEIO, ERR_TRANSIENT, ERR_TRANSIENT},
    /* comes and goes with a connection or a server */
    {EIO, ERR_PERMANENT, ERR_TRANSIENT},
    {EBUSY, ERR_PERMANENT, ERR_TRANSIENT},
    {ENOLCK, ERR_PERMANENT, ERR_TRANSIENT},
    {EPIPE, ERR_PERMANENT, ERR_TRANSIENT},
    {ENETDOWN, ERR_PERMANENT, ERR_TRANSIENT},
    {ENETUNREACH, ERR_PERMANENT, ERR_TRANSIENT},
    {ENETRESET, ERR_PERMANENT, ERR_TRANSIENT},
    {EHOSTDOWN, ERR_PERMANENT, ERR_TRANSIENT},
    {EHOSTUNREACH, ERR_PERMANENT, ERR_TRANSIENT},
    {ECONNABORTED, ERR_PERMANENT, ERR_TRANSIENT},
    {ECONNREFUSED, ERR_PERMANENT, ERR_TRANSIENT},
    {ECONNRESET, ERR_PERMANENT, ERR_TRANSIENT},
    {ENOTCONN, ERR_PERMANENT, ERR_TRANSIENT},
    {ESHUTDOWN, ERR_PERMANENT, ERR_TRANSIENT},
    {ECOMM, ERR_PERMANENT, ERR_TRANSIENT},
    {ENOLINK, ERR_PERMANENT, ERR_TRANSIENT},
    {ETIME, ERR_PERMANENT, ERR_TRANSIENT},
    /* would meet every further file alike */
    {ENOSPC, ERR_FATAL, ERR_FATAL},
    {EDQUOT, ERR_FATAL, ERR_FATAL},
    {EROFS, ERR_FATAL, ERR_FATAL},
    {EOWNERDEAD, ERR_FATAL, ERR_FATAL},
    /* the run is being stopped */
    {ECANCELED, ERR_CANCELLED, ERR_CANCELLED},
    /* this file will not succeed by repeating */
    {ERR_CHANGED, ERR_PERMANENT, ERR_PERMANENT},
    {ERR_OWNED, ERR_PERMANENT, ERR_PERMANENT},
    {ENOENT, ERR_PERMANENT, ERR_PERMANENT},
    {EACCES, ERR_PERMANENT, ERR_PERMANENT},
    {EPERM, ERR_PERMANENT, ERR_PERMANENT},
    {ENAMETOOLONG, ERR_PERMANENT, ERR_PERMANENT},
    {ELOOP, ERR_PERMANENT, ERR_PERMANENT},
    {EISDIR, ERR_PERMANENT, ERR_PERMANENT},
    {ENOTDIR, ERR_PERMANENT, ERR_PERMANENT},
    {ENOTEMPTY, ERR_PERMANENT, ERR_PERMANENT},
    {EEXIST, ERR_PERMANENT, ERR_PERMANENT},
    {EINVAL, ERR_PERMANENT, ERR_PERMANENT},
    {EFBIG, ERR_PERMANENT, ERR_PERMANENT},
    {EOVERFLOW, ERR_PERMANENT, ERR_PERMANENT},
    {EMLINK, ERR_PERMANENT, ERR_PERMANENT},
    {EXDEV, ERR_PERMANENT, ERR_PERMANENT},
    {ENODEV, ERR_PERMANENT, ERR_PERMANENT},
    {ENXIO, ERR_PERMANENT, ERR_PERMANENT},
    {ETXTBSY, ERR_PERMANENT, ERR_PERMANENT},
    {ENOSYS, ERR_PERMANENT, ERR_PERMANENT},
    {EOPNOTSUPP, ERR_PERMANENT, ERR_PERMANENT},
    {EILSEQ, ERR_PERMANENT, ERR_PERMANENT},
    {EBADF, ERR_PERMANENT, ERR_PERMANENT},
    {EBADMSG, ERR_PERMANENT, ERR_PERMANENT},
    {EUCLEAN, ERR_PERMANENT, ERR_PERMANENT},
    {EPROTO, ERR_PERMANENT, ERR_PERMANENT},
};

static int positive(int err)
{
    if (err == INT_MIN) {
        return INT_MAX; /* its negative does not fit; unknown either way */
    }
    return err < 0 ? -err : err;
}

enum err_class err_classify(int err, bool network, bool on_source)
{
    err = positive(err);
    if (err == 0) {
        return ERR_NONE;
    }
    if (err == ENOENT && on_source) {
        return ERR_VANISHED;
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].err == err) {
            const enum err_class class = network ? rows[i].network : rows[i].local;
            return class == ERR_FATAL && on_source ? ERR_PERMANENT : class;
        }
    }
    return ERR_PERMANENT;
}

bool err_is_silence(int err)
{
    switch (positive(err)) {
    case ETIMEDOUT:
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENOTCONN:
    case ESHUTDOWN:
    case ENETDOWN:
    case ENETUNREACH:
    case ENETRESET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
        return true;
    default:
        return false;
    }
}

const char *err_name(int err)
{
    err = positive(err);
    if (err == ERR_CHANGED) {
        return "ECHANGED";
    }
    if (err == ERR_OWNED) {
        return "EOWNED";
    }
    const char *name = err != 0 ? strerrorname_np(err) : NULL;
    return name != NULL ? name : "E?";
}

const char *err_text(int err)
{
    err = positive(err);
    if (err == ERR_CHANGED) {
        return "the source changed while it was read";
    }
    if (err == ERR_OWNED) {
        return "another run works here";
    }
    if (err == EOWNERDEAD) {
        return "another run has taken this destination over";
    }
    if (err == ECANCELED) {
        return "stopped before it was done";
    }
    const char *text = strerrordesc_np(err);
    return text != NULL ? text : "unknown error";
}

unsigned err_rows(void)
{
    return sizeof(rows) / sizeof(rows[0]);
}

int err_row(unsigned i, enum err_class *out_local, enum err_class *out_network)
{
    if (i >= err_rows()) {
        return 0;
    }
    *out_local = rows[i].local;
    *out_network = rows[i].network;
    return rows[i].err;
}
