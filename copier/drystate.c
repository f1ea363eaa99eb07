#include "copier/drystate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "copier/state.h"

#define NAME "state.db"

int drystate_open(struct engine *e, const struct state_pair *pair)
{
    const char *tmp = getenv("TMPDIR");
    char *copy = NULL;
    char *aside = NULL;
    if (asprintf(&e->state_folder, "%s/haul-dry-run.XXXXXX", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp") < 0) {
        e->state_folder = NULL;
        return -ENOMEM;
    }
    if (mkdtemp(e->state_folder) == NULL) {
        int r = -errno;
        free(e->state_folder);
        e->state_folder = NULL;
        return r;
    }
    if (asprintf(&copy, "%s/" NAME, e->state_folder) < 0) {
        return -ENOMEM;
    }
    int r = state_copy(e->state_path, copy);
    if (r == 0 || r == -ENOENT) { /* there may be nothing that is remembered */
        r = state_open(copy, pair, e->notices, &e->state, &aside);
    }
    free(aside);
    free(copy);
    return r;
}

void drystate_drop(struct engine *e)
{
    static const char *const files[] = {NAME, NAME "-wal", NAME "-shm", NAME "-journal"};
    if (e->state_folder == NULL) {
        return;
    }
    int fd = open(e->state_folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; fd >= 0 && i < sizeof files / sizeof files[0]; i++) {
        (void)unlinkat(fd, files[i], 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    (void)rmdir(e->state_folder);
    free(e->state_folder);
    e->state_folder = NULL;
}
