#include "copier/finding_json.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/errs.h"

json_t *finding_json(const struct finding *f)
{
    json_t *event = json_event("finding");
    json_set_text(event, "path", f->path);
    json_set_text(event, "kind", finding_kind_name(f->kind));
    json_set_text(event, "certainty", finding_sure_name(f->sure));
    json_set_text(event, "evidence", f->evidence);
    json_set_text(event, "action", finding_action_name(f->action));
    if (f->why != NULL) {
        json_set_text(event, "why", f->why);
    }
    if (f->err != 0) {
        json_set_text(event, "error", err_name(f->err));
    }
    if (f->attr != NULL) {
        char mode[8];
        (void)snprintf(mode, sizeof mode, "%04o", f->attr->mode & 07777U);
        json_set_text(event, "mode", mode);
        json_set_number(event, "uid", f->attr->uid);
        json_set_number(event, "gid", f->attr->gid);
        json_set_number(event, "size", f->attr->size);
        json_object_set_new(event, "mtime", json_real((double)clock_ns_of(&f->attr->mtime) / 1e9));
    }
    return event;
}
