/*
 * copyrename: files that have another name than when haul published them (--detect-renames).
 */
#ifndef HAUL_COPIER_COPYRENAME_H
#define HAUL_COPIER_COPYRENAME_H

#include <stdbool.h>

struct copy_job;

/* Has job->item, a regular file, at the destination without its contents, where it is known there under another name:
 * 0, recorded (event_published), and job->renamed is set; 1: it is to be copied; -ECANCELED: the run is being stopped.
 * In a fiber of job->worker; it may block on the state. */
int copy_rename(struct copy_job *job);

/* For a dry run: whether copy_rename would do it, if contents are as they were, which is not looked at; then
 * job->renamed is set. The same. */
bool copy_would_rename(struct copy_job *job);

#endif
