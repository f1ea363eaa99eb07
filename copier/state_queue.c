/*
 * state_queue: records go into the batch that fills. This runs in the workers, once a file: no allocation, no system
 * call as long as the writer keeps up.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup/finding.h"
#include "copier/state_internal.h"

#define ALIGN8(n) (((n) + 7U) & ~(size_t)7U)

int state_batches_create(struct state *s)
{
    for (int i = 0; i < 2; i++) {
        s->batches[i].bytes = malloc(BATCH_BYTES);
        s->batches[i].keys = malloc(BATCH_RECORDS * sizeof(struct record_key));
        if (s->batches[i].bytes == NULL || s->batches[i].keys == NULL) {
            return -ENOMEM; /* state_batches_destroy frees what there is */
        }
    }
    s->filling = &s->batches[0];
    return 0;
}

void state_batches_destroy(struct state *s)
{
    for (int i = 0; i < 2; i++) {
        free(s->batches[i].bytes);
        free(s->batches[i].keys);
        s->batches[i] = (struct batch){0};
    }
    s->filling = NULL;
}

void state_note_error(struct state *s, int err)
{
    int none = 0;
    (void)atomic_compare_exchange_strong(&s->error, &none, err);
    if (err == -EBADMSG) {
        atomic_store(&s->damaged, true);
    }
}

int state_error(struct state *s)
{
    return atomic_load(&s->error);
}

static size_t record_size(const struct record *head)
{
    return ALIGN8(sizeof(*head) + (head->heap != NULL ? 0 : head->text_len));
}

/* Waits until the batch that fills has room for head. Whether it has: not outside of a run, where nobody would write
 * it. The lock is held, and let go of while it waits. */
static bool wait_room(struct state *s, const struct record *head)
{
    const size_t size = record_size(head);
    while (s->writing && (s->filling->count == BATCH_RECORDS || s->filling->used + size > BATCH_BYTES)) {
        s->waiting++;
        (void)pthread_cond_signal(&s->work);
        (void)pthread_cond_wait(&s->room, &s->lock);
        s->waiting--;
    }
    return s->writing;
}

/* Puts head, with text after it, into the batch that fills, which has room. The lock is held. */
static void put(struct state *s, const struct record *head, const char *text)
{
    struct batch *batch = s->filling;
    struct record *record = (struct record *)(void *)(batch->bytes + batch->used);
    memcpy(record, head, sizeof(*record));
    record->size = (uint32_t)record_size(head);
    if (head->heap == NULL) {
        memcpy(record->text, text, head->text_len);
    }
    if (head->kind == RECORD_FILE || head->kind == RECORD_FORGET || head->kind == RECORD_INTEND ||
        head->kind == RECORD_DOUBT) {
        batch->keys[batch->keys_count++] = (struct record_key){.dir = head->dir, .record = record};
        state_summary_spoil(s, head->dir);
    } else if (head->kind == RECORD_CLEAR) {
        state_summary_spoil(s, head->dir);
    }
    batch->used += record->size;
    batch->count++;
    s->queued++;
    if (batch->count == 1 || batch->count == BATCH_READY) {
        (void)pthread_cond_signal(&s->work);
    }
}

/* Queues head; takes over head->heap. The lock is held, and let go of while it waits. */
static void append(struct state *s, const struct record *head, const char *text)
{
    if (wait_room(s, head)) {
        put(s, head, text);
    } else {
        free(head->heap);
    }
}

/* Takes a name: one component, which no file system lets grow beyond a batch. 0, or -ENAMETOOLONG (kept). */
static int set_name(struct state *s, struct record *head, const char *name)
{
    const size_t len = strlen(name);
    if (len > TEXT_INLINE) {
        state_note_error(s, -ENAMETOOLONG);
        return -ENAMETOOLONG;
    }
    head->text_len = (uint32_t)len;
    return 0;
}

/* Takes a text that may be too long for a batch. 0, or -ENOMEM (kept for state_error). */
static int set_text(struct state *s, struct record *head, const char *text)
{
    const size_t len = strlen(text);
    if (len > UINT32_MAX) {
        state_note_error(s, -ENAMETOOLONG);
        return -ENAMETOOLONG;
    }
    head->text_len = (uint32_t)len;
    if (len > TEXT_INLINE) {
        head->heap = malloc(len);
        if (head->heap == NULL) {
            state_note_error(s, -ENOMEM);
            return -ENOMEM;
        }
        memcpy(head->heap, text, len);
    }
    return 0;
}

static struct record_attr pack_attr(const struct attr *attr)
{
    return (struct record_attr){
        .mode = attr->mode,
        .uid = attr->uid,
        .gid = attr->gid,
        .dev = attr->dev,
        .ino = attr->ino,
        .size = attr->size,
        .mtime_ns = clock_ns_of(&attr->mtime),
        .ctime_ns = clock_ns_of(&attr->ctime),
    };
}

void state_dir(struct state *s, uint64_t dir_id, const char *path)
{
    struct record head = {.kind = RECORD_DIR, .dir = dir_id};
    if (set_text(s, &head, path) != 0) {
        return;
    }
    (void)pthread_mutex_lock(&s->lock);
    append(s, &head, path);
    (void)pthread_mutex_unlock(&s->lock);
}

void state_record(struct state *s, const struct state_file *file)
{
    struct record head = {
        .kind = RECORD_FILE,
        .dir = file->dir_id,
        .racy = file->racy,
        .xattrs = (uint8_t)file->xattrs,
        .hash_known = file->hash_known,
        .file.src = pack_attr(&file->src),
        .file.dst = pack_attr(&file->dst),
    };
    if (set_name(s, &head, file->name) != 0) {
        return;
    }
    memcpy(head.file.hash, file->hash, sizeof(head.file.hash));
    (void)pthread_mutex_lock(&s->lock);
    head.epoch = s->epoch;
    append(s, &head, file->name);
    (void)pthread_mutex_unlock(&s->lock);
}

/* A record that is nothing but a name. Returns how many were queued with it. */
static uint64_t queue_name(struct state *s, enum record_kind kind, uint64_t dir_id, const char *name)
{
    struct record head = {.kind = kind, .dir = dir_id};
    if (set_name(s, &head, name) != 0) {
        return 0;
    }
    (void)pthread_mutex_lock(&s->lock);
    head.epoch = s->epoch;
    append(s, &head, name);
    const uint64_t queued = s->queued;
    (void)pthread_mutex_unlock(&s->lock);
    return queued;
}

void state_forget(struct state *s, uint64_t dir_id, const char *name)
{
    (void)queue_name(s, RECORD_FORGET, dir_id, name);
}

uint64_t state_intend(struct state *s, uint64_t dir_id, const char *name)
{
    return queue_name(s, RECORD_INTEND, dir_id, name);
}

void state_doubt(struct state *s, uint64_t dir_id, const char *name)
{
    (void)queue_name(s, RECORD_DOUBT, dir_id, name);
}

void state_forget_dir(struct state *s, uint64_t dir_id)
{
    (void)queue_name(s, RECORD_CLEAR, dir_id, "");
}

int state_settle(struct state *s, uint64_t wanted)
{
    (void)pthread_mutex_lock(&s->lock);
    while (s->writing && s->written < wanted) {
        if (s->hurried < wanted) {
            s->hurried = wanted;
            (void)pthread_cond_signal(&s->work);
        }
        (void)pthread_cond_wait(&s->settled, &s->lock);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return state_error(s);
}

int64_t state_partial_id(const char *temp)
{
    const char *dot = strrchr(temp, '.');
    return (int64_t)strtoull(dot != NULL ? dot + 1 : temp, NULL, 16);
}

void state_partial(struct state *s, const struct state_partial *partial)
{
    struct record head = {
        .kind = RECORD_PARTIAL,
        .dir = partial->dir_id,
        .partial.src = pack_attr(&partial->src),
        .partial.id = state_partial_id(partial->temp.name),
        .partial.temp_dev = partial->temp.dev,
        .partial.temp_ino = partial->temp.ino,
        .partial.temp_uid = partial->temp.uid,
        .partial.temp_len = (uint32_t)strnlen(partial->temp.name, TEMP_NAME_MAX),
        .partial.touched_ns = partial->touched_ns,
    };
    char text[TEMP_NAME_MAX + NAME_MAX + 1];
    const int len = snprintf(text, sizeof(text), "%s%s", partial->temp.name, partial->name);
    if (len < 0 || (size_t)len >= sizeof(text)) {
        return; /* longer than any name: it is only not resumed */
    }
    head.text_len = (uint32_t)len;
    (void)pthread_mutex_lock(&s->lock);
    append(s, &head, text);
    (void)pthread_mutex_unlock(&s->lock);
}

void state_part(struct state *s, const char *temp, uint64_t part, const uint8_t *hash)
{
    struct record head = {
        .kind = RECORD_PART,
        .hash_known = hash != NULL,
        .part.id = state_partial_id(temp),
        .part.part = part,
    };
    if (hash != NULL) {
        memcpy(head.part.hash, hash, sizeof(head.part.hash));
    }
    (void)pthread_mutex_lock(&s->lock);
    head.epoch = s->epoch;
    append(s, &head, "");
    (void)pthread_mutex_unlock(&s->lock);
}

void state_partial_over(struct state *s, const char *temp)
{
    const struct record head = {.kind = RECORD_OVER, .part.id = state_partial_id(temp)};
    (void)pthread_mutex_lock(&s->lock);
    append(s, &head, "");
    (void)pthread_mutex_unlock(&s->lock);
}

void state_queue_summary(struct state *s, const struct record *head, const char *bytes)
{
    (void)pthread_mutex_lock(&s->lock);
    /* Room first: while that is waited for, others may write about the directory. */
    if (wait_room(s, head) && !state_summary_spoilt(s, head->dir)) {
        put(s, head, bytes);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

void state_failure(struct state *s, const char *path, const char *op, int err, unsigned attempts)
{
    struct record head = {
        .kind = RECORD_FAILURE,
        .failure.err = err < 0 ? -err : err,
        .failure.attempts = attempts,
    };
    const size_t op_len = strnlen(op, OP_MAX - 1);
    memcpy(head.failure.op, op, op_len);
    if (set_text(s, &head, path) != 0) {
        return;
    }
    (void)pthread_mutex_lock(&s->lock);
    if (s->failures < FAILURES_MAX) {
        head.failure.number = ++s->failures;
        append(s, &head, path);
        head.heap = NULL;
    }
    (void)pthread_mutex_unlock(&s->lock);
    free(head.heap);
}

void state_finding(struct state *s, const struct finding *f)
{
    struct record head = {
        .kind = RECORD_FINDING,
        .finding.path_len = (uint32_t)strlen(f->path),
        .finding.finding_kind = (uint8_t)f->kind,
        .finding.sure = (uint8_t)f->sure,
        .finding.action = (uint8_t)f->action,
        .finding.err = f->err,
    };
    char *text = NULL;
    if (asprintf(&text, "%s%s", f->path, f->evidence) < 0) {
        state_note_error(s, -ENOMEM);
        return;
    }
    if (set_text(s, &head, text) == 0) {
        (void)pthread_mutex_lock(&s->lock);
        if (s->findings < FAILURES_MAX) {
            head.finding.number = ++s->findings;
            append(s, &head, text);
            head.heap = NULL;
        }
        (void)pthread_mutex_unlock(&s->lock);
        free(head.heap);
    }
    free(text);
}

int64_t state_epoch_next(struct state *s)
{
    struct record head = {.kind = RECORD_EPOCH};
    (void)pthread_mutex_lock(&s->lock);
    /* The epoch's row comes before all records of it, so nothing may slip in between: room first, then both. */
    const bool taken = wait_room(s, &head);
    const int64_t before = s->epoch;
    const int64_t count_mask = ((int64_t)1 << EPOCH_BITS) - 1;
    /* The last possible epoch of a run just lasts; so does the one in which a sync failed. */
    if (taken && !s->sync_failed && (before & count_mask) != count_mask) {
        s->epoch = before + 1;
        head.epoch = s->epoch;
        if (!s->durable) {
            put(s, &head, "");
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return before;
}

void state_epoch_durable(struct state *s, int64_t epoch)
{
    const struct record head = {.kind = RECORD_DURABLE, .epoch = epoch};
    (void)pthread_mutex_lock(&s->lock);
    /* The present one cannot be: records are still added to it. */
    if (!s->durable && !s->sync_failed && epoch != s->epoch) {
        append(s, &head, "");
    }
    (void)pthread_mutex_unlock(&s->lock);
}

void state_epoch_failed(struct state *s)
{
    (void)pthread_mutex_lock(&s->lock);
    if (s->run != 0 && !s->durable && !s->sync_failed) {
        s->sync_failed = true;
        s->failed_wanted = true;
        (void)pthread_cond_signal(&s->work);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

void state_run_progress(struct state *s, uint64_t files_total, uint64_t bytes_total, uint64_t files_done,
                        uint64_t bytes_done, uint64_t failed, bool complete)
{
    const struct figures now = {
        .files_total = files_total,
        .bytes_total = bytes_total,
        .files_done = files_done,
        .bytes_done = bytes_done,
        .failed = failed,
        .complete = complete,
    };
    (void)pthread_mutex_lock(&s->lock);
    const struct figures *old = &s->figures;
    if (s->writing && (old->files_total != now.files_total || old->bytes_total != now.bytes_total ||
                       old->files_done != now.files_done || old->bytes_done != now.bytes_done ||
                       old->failed != now.failed || old->complete != now.complete)) {
        s->figures = now;
        if (!s->figures_changed) {
            s->figures_changed = true;
            (void)pthread_cond_signal(&s->work);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
}
