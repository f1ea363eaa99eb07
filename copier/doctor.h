/*
 * doctor: haul doctor: whether a destination and this machine are set up well, what a file costs there, and how to mend
 * what is not as it should be.
 */
#ifndef HAUL_COPIER_DOCTOR_H
#define HAUL_COPIER_DOCTOR_H

#include "copier/options.h"

/*
 * The engine's work for haul doctor (supervisor.h): looks at options->destination, creates and removes files of its own
 * there (temp names of a run), prints what it finds, sends its exit status over channel and returns it: STATUS_OK where
 * nothing is bad, STATUS_UNWELL, STATUS_CANNOT after a message, STATUS_INTERRUPTED. Blocks.
 */
int doctor_run(const struct options *options, int channel);

#endif
