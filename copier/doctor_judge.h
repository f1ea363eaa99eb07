/*
 * doctor_judge: lines out of figures: what was measured, and what a server granted.
 */
#ifndef HAUL_COPIER_DOCTOR_JUDGE_H
#define HAUL_COPIER_DOCTOR_JUDGE_H

#include "copier/doctor_chart.h"
#include "copier/doctor_measure.h"
#include "workers/stores/nfs3/nfs3.h"
#include "workers/stores/nfs41/nfs41.h"

/* What a session with the server is like. */
void doctor_judge_server(struct doctor_chart *c, const struct nfs41_facts *facts);

/* The same of a server that is spoken to in version 3. */
void doctor_judge_server3(struct doctor_chart *c, const struct nfs3_facts *facts);

/* What a file costs. network: as the store's caps say. */
void doctor_judge_times(struct doctor_chart *c, const struct doctor_figures *f, bool network);
void doctor_judge_owner(struct doctor_chart *c, const struct doctor_figures *f);
void doctor_judge_clock(struct doctor_chart *c, const struct doctor_figures *f);

/* f as an object of figures. The caller's; NULL: no memory. */
json_t *doctor_figures_json(const struct doctor_figures *f);

/* What going to the server at url itself would gain: mount was measured through the mount, direct without it. */
void doctor_judge_direct(struct doctor_chart *c, const char *url, const struct doctor_figures *mount,
                         const struct doctor_figures *direct);

#endif
