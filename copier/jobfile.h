/*
 * jobfile: the file of jobs: pairs of source and destination with their options, each under a name (libconfig's
 * format).
 *
 *     defaults = { retries = 8; };
 *     jobs = {
 *       data = {
 *         source = "/data";
 *         destination = "/mnt/efs/data";
 *         delete = true;
 *         max-duration = "50m";
 *         exclude = [ "*.tmp", "/cache/" ];
 *       };
 *     };
 *
 * Keys are the long names of the options (options_table), flags are true or false, values are strings or whole numbers;
 * an option that may be given several times takes several values in brackets. A job's own key stands instead of the
 * defaults'. in-order = ( { exclude = "a"; }, { include = "b"; } ) is for keys that are needed by turns.
 */
#ifndef HAUL_COPIER_JOBFILE_H
#define HAUL_COPIER_JOBFILE_H

#include <stdio.h>

#include "copier/options.h"

#define JOBFILE_DEFAULT "/etc/haul/haul.conf"

struct jobfile;

/* Reads the file and looks at all that is in it but the values of options. Messages go to errors, with file and line
 * ("haul: /etc/haul/haul.conf:7: ..."). 0; -EINVAL or -errno after a message. Blocks. */
int jobfile_read(const char *path, FILE *errors, struct jobfile **out_jobfile);
void jobfile_destroy(struct jobfile *config); /* NULL is fine */

/* Takes one option, value NULL where it has none; strings live as long as the config. What is wrong goes to errors,
 * without file and line. 0 or -EINVAL. */
typedef int (*jobfile_take)(void *arg, const struct option_row *row, const char *value, FILE *errors);

/* Calls take for each option of that job, and of the defaults where the job has none of that name, in the order in
 * which they stand, the defaults first. 0; -EINVAL after a message with file and line; -ENOMEM. Source and destination
 * live as long as the config. */
int jobfile_job(struct jobfile *config, const char *job, jobfile_take take, void *arg, FILE *errors,
                const char **out_source, const char **out_destination);

/* --list-jobs: all jobs of o->config, as text or (o->json) an object a line. Returns the exit status. */
int jobfile_list(const struct options *o, FILE *out, FILE *errors);

#endif
