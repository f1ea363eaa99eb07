/*
 * name: run ids, temp names, and names as they are shown to people.
 *
 * Any thread may call these.
 */
#ifndef HAUL_BASE_NAME_H
#define HAUL_BASE_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RUN_ID_LEN    16      /* characters of a run id: lower-case hexadecimal */
#define TEMP_NAME_MAX 64      /* bytes enough for a temp name with its NUL */
#define HAUL_DIR      ".haul" /* haul's reserved name in a destination's root */

/* Whether name, of len bytes, is "." or "..": what listings have besides the entries, and no entry's name. */
bool name_is_dots(const char *name, size_t len);

/* A new random run id. 0, or -errno of getrandom. */
int run_id_make(char out_id[RUN_ID_LEN + 1]);

/* Whether s is exactly RUN_ID_LEN lower-case hexadecimal digits. */
bool run_id_valid(const char *s);

/* A new temp name ".haul.<run id>.<16 hex digits>" (unguessable: from getrandom, a block of it at a time for each
 * thread). 0, or -errno. */
int temp_name_make(const char *run_id, char out_name[TEMP_NAME_MAX]);

/* Whether name is a temp name of haul; its run id is then in out_id (may be NULL). */
bool temp_name_parse(const char *name, char out_id[RUN_ID_LEN + 1]);

/* Whether it is one of that run's: nobody else's then, and it may go at any time. */
bool temp_name_is_of(const char *name, const char *run_id);

/*
 * text as it is shown on a terminal or in a log: valid printable UTF-8 stays, everything else (control characters,
 * newlines, invalid bytes, the backslash) becomes \n, \t, \\ or \ooo. A malloc'd string that the caller frees; NULL
 * where memory is short.
 */
char *name_show(const char *text);

#endif
