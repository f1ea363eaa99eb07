/*
 * doctor_local: what haul doctor finds out about this machine, and about the room at a destination.
 */
#ifndef HAUL_COPIER_DOCTOR_LOCAL_H
#define HAUL_COPIER_DOCTOR_LOCAL_H

#include <stdint.h>

#include "copier/doctor_chart.h"
#include "copier/options.h"
#include "copier/places.h"
#include "copier/report.h"

/* What is free somewhere; UINT64_MAX: nobody says. */
struct doctor_room {
    uint64_t bytes;  /* for us */
    uint64_t inodes; /* files that can still be made */
};

/* Of the file system that fd is on. 0 or -errno. May block as long as a mount does. */
int doctor_room_of(int fd, struct doctor_room *out);
/* topic: "space" of a destination, "temp dir". */
void doctor_judge_room(struct doctor_chart *c, const char *topic, const struct doctor_room *room);

/* Whether io_uring works here, or why not. */
void doctor_judge_ring(struct doctor_chart *c, const struct options *o);

/* How many descriptors we may have: soft the limit now, hard the most that we may raise it to. */
void doctor_judge_descriptors(struct doctor_chart *c, uint64_t hard);
void doctor_look_at_descriptors(struct doctor_chart *c);

/* The local temp dir: usable, with room, and whether it can have reflinks. Makes nothing. What is refused is said by
 * report too. */
void doctor_look_at_tempdir(struct doctor_chart *c, const struct options *o, const struct places *places,
                            struct report *report);

#endif
