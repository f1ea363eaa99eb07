/*
 * report_server: what a server granted, what was chosen for it, what passed between, in the report's end.
 */
#ifndef HAUL_COPIER_REPORT_SERVER_H
#define HAUL_COPIER_REPORT_SERVER_H

#include <jansson.h>

#include "copier/report.h"
#include "copier/server.h"

/* As lines of the report, of the server of that side. facts NULL: none. */
void report_server_text(struct report *r, enum dir_side side, const struct server_facts *facts);

/* What one step (NFS41_STEP_*) means, as a phrase; NULL: there is no such step. */
const char *report_server_step(unsigned step);

/* As a member of event: "nfs" of a destination's, "nfs_source" of a source's. facts NULL: none. */
void report_server_json(json_t *event, enum dir_side side, const struct server_facts *facts);

#endif
