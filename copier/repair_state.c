/*
 * repair_state: what the state remembers of what was mended. What cannot be written stays in doubt: the next run looks
 * at it again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copier/repair_internal.h"
#include "copier/status.h"

#define BATCH 512U /* facts of one transaction, which a local destination is synced for */

int repair_state_open(struct repair *r, const char *path)
{
    struct engine *e = &r->look->engine;
    int err = *path != '\0' ? state_mend_open(path, &r->state) : 0;
    if (err != 0) {
        report_error(e->report, "the state '%s' cannot be written: %s; nothing was touched", path, err_text(err));
        return STATUS_CANNOT;
    }
    return 0;
}

int repair_state_doubt(struct repair *r)
{
    if (r->state == NULL) {
        return 0;
    }
    pthread_mutex_lock(&r->state_lock);
    int err = state_mend_begin(r->state);
    struct mending *const lists[] = {r->first, r->linked};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (struct mending *m = lists[i]; err == 0 && m != NULL; m = m->next) {
            if (m->kind != FINDING_TEMP) {
                err = state_mend_doubt(r->state, m->dir->id, m->text, &m->doubted);
            }
        }
    }
    err = state_mend_commit(r->state);
    pthread_mutex_unlock(&r->state_lock);
    return err;
}

void repair_state_note(struct repair *r, struct worker *w, struct mending *m, enum repair_fact fact,
                       const struct state_file *file)
{
    size_t size = strlen(m->text) + 1;
    if (r->state == NULL || m->kind == FINDING_TEMP || (fact == FACT_LEFT && !m->doubted)) {
        return;
    }
    struct repair_done *done = malloc(sizeof *done + size);
    if (done == NULL) {
        return; /* it stays in doubt */
    }
    *done = (struct repair_done){.dir = dir_get(m->dir), .fact = fact, .doubted = m->doubted};
    memcpy(done->name, m->text, size);
    if (file != NULL) {
        done->file = *file;
    }
    done->file.dir_id = m->dir->id;
    done->file.name = done->name;
    pthread_mutex_lock(&r->lock);
    done->next = r->done;
    r->done = done;
    bool full = ++r->done_count >= BATCH;
    pthread_mutex_unlock(&r->lock);
    if (full) {
        repair_state_flush(r, w);
    }
}

static void free_done(struct repair_done *done)
{
    while (done != NULL) {
        struct repair_done *next = done->next;
        dir_put(done->dir);
        free(done);
        done = next;
    }
}

static int write_one(struct state_mend *state, const struct repair_done *d)
{
    switch (d->fact) {
    case FACT_PUBLISHED: {
        char *path = dir_path(d->dir, NULL);
        int err = path != NULL ? state_mend_published(state, &d->file, path) : -ENOMEM;
        free(path);
        return err;
    }
    case FACT_ATTRS:
        return state_mend_attrs(state, d->dir->id, d->name, &d->file.dst, d->doubted);
    case FACT_GONE:
        return state_mend_gone(state, d->dir->id, d->name);
    case FACT_LEFT:
    default:
        return state_mend_trust(state, d->dir->id, d->name);
    }
}

void repair_state_flush(struct repair *r, struct worker *w)
{
    struct engine *e = &r->look->engine;
    pthread_mutex_lock(&r->lock);
    struct repair_done *done = r->done;
    r->done = NULL;
    r->done_count = 0;
    pthread_mutex_unlock(&r->lock);
    if (done == NULL) {
        return;
    }
    struct store_op sync = {.code = STORE_SYNC};
    int err = e->dst->caps.durable ? 0 : store_run(look_dst(w), &sync);
    pthread_mutex_lock(&r->state_lock);
    if (err == 0) {
        err = state_mend_begin(r->state);
        for (const struct repair_done *d = done; err == 0 && d != NULL; d = d->next) {
            err = write_one(r->state, d);
        }
        err = state_mend_commit(r->state);
    }
    pthread_mutex_unlock(&r->state_lock);
    if (err != 0) {
        notice_raise(e->notices, "not all of what was mended could be kept in the state: the next sync looks at it");
    }
    free_done(done);
}

void repair_state_free(struct repair *r)
{
    free_done(r->done);
    r->done = NULL;
    state_mend_close(r->state);
}
