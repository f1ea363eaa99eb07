/*
 * doctor_mount: the options of a kernel NFS mount against those that are recommended. Asks nobody.
 */
#ifndef HAUL_COPIER_DOCTOR_MOUNT_H
#define HAUL_COPIER_DOCTOR_MOUNT_H

#include "copier/doctor_chart.h"
#include "copier/mounts.h"

/* Whether it is Amazon EFS, by its name, or by the address and port of its TLS proxy. */
bool doctor_is_efs(const struct mount_place *place);

/* A line for each option that matters, and where one is to be changed the whole line to mount it with. write: it is to
 * be written to. */
void doctor_judge_mount(struct doctor_chart *c, const struct mount_place *place, bool write);

#endif
