/*
 * copyxattrs: the extended attributes of an item's source entry, where the run keeps them.
 */
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "copier/copyfile.h"

unsigned copy_xattr_kinds(const struct options *o)
{
    unsigned kinds = o->acls ? XATTRS_ACL : 0;
    if (o->xattrs) {
        kinds |= geteuid() == 0 ? XATTRS_KINDS & ~XATTRS_ACL : XATTRS_USER;
    }
    return kinds;
}

int copy_read_xattrs(struct copy_job *job)
{
    struct engine_worker *own = worker_own(job->worker);
    struct xattrs *seen = NULL;
    unsigned kinds = copy_xattr_kinds(job->engine->options);
    if (kinds == 0) {
        return 0;
    }
    job->on_source = true;
    job->op = (struct store_op){.code = STORE_XATTRS,
                                .dir = job->item->work.dir,
                                .name = job->item->name,
                                .xattrs = {.kinds = kinds, .out = &seen, .attr = &job->xattrs_of}};
    int r = store_run(own->src, &job->op);
    if (r == 0) {
        xattrs_destroy(job->xattrs);
        job->xattrs = seen;
    }
    return r;
}

bool copy_xattrs_hold(const struct copy_job *job, const struct attr *after)
{
    return job->xattrs == NULL || attr_unchanged(&job->xattrs_of, after);
}
