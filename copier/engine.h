/*
 * engine: one run of haul copy, from start to report, in the supervisor's child.
 */
#ifndef HAUL_COPIER_ENGINE_H
#define HAUL_COPIER_ENGINE_H

#include "copier/options.h"

/* Carries out the copy; returns the exit status, after everything was reported. channel: the engine's end. Once a
 * process. */
int engine_run(const struct options *options, int channel);

#endif
