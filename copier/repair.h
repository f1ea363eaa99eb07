/*
 * repair: haul scan --repair: what is found is mended, once everything was looked at and it is not too much.
 *
 * While the scan goes on findings that are to be mended are only kept (about 1/3 KiB each). Each is looked at once more
 * before it is touched, and replaced, changed or removed only while it is still what was found.
 */
#ifndef HAUL_COPIER_REPAIR_H
#define HAUL_COPIER_REPAIR_H

#include "cleanup/mend.h"
#include "copier/look.h"

struct repair;

/* Makes sure that everything is there that is needed. 0 with *out_repair (NULL: nothing is to be mended), or an exit
 * status after a message. Blocks. */
int repair_create(struct look *l, struct repair **out_repair);
/* state_path: of what is remembered of the destination, which has a ledger by now; "": nothing is. r may be NULL. 0 or
 * an exit status after a message. Blocks. */
int repair_remember(struct repair *r, const char *state_path);
void repair_destroy(struct repair *r); /* NULL is fine; all workers have ended */

/*
 * A finding: facts has what is known of it, its kind and sure are f's. True: it is to be mended, and is told then; all
 * is copied. False: it is the caller's to tell; f says what becomes of it. Any fiber.
 */
bool repair_meet(struct repair *r, struct dir *dir, const char *name, struct finding *f, struct mend_case *facts);

/* Another run works on dir: of what is found there and below nothing is mended. Any fiber. */
void repair_avoid(struct repair *r, struct dir *dir);

/* Whether that directory of the destination is the quarantine. r may be NULL. */
bool repair_is_quarantine(const struct repair *r, const struct attr *dir);

/* Everything was looked at: mends, in tasks of the tour. In a fiber of w. */
void repair_go(struct repair *r, struct worker *w);

/* After all workers have ended: tells what was not come to. r may be NULL. */
void repair_over(struct repair *r);

#endif
