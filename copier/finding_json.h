/*
 * finding_json: a finding as an event.
 */
#ifndef HAUL_COPIER_FINDING_JSON_H
#define HAUL_COPIER_FINDING_JSON_H

#include "cleanup/finding.h"
#include "copier/json.h"

/* "finding": path, kind, certainty, evidence, action, and what stands there. The caller's. */
json_t *finding_json(const struct finding *f);

#endif
