/*
 * session_slots: who may call, and what becomes of a slot whose call was given up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workers/fiber.h"
#include "workers/stores/nfs41/session_internal.h"

/* ---- tables ---- */

struct nfs_table *nfs_table_create(const uint8_t id[NFS_SESSION_ID], const struct nfs_limits *limits)
{
    struct nfs_table *t = calloc(1, sizeof(*t) + limits->slots * sizeof(t->slots[0]));
    if (!t) {
        return NULL;
    }
    memcpy(t->id, id, NFS_SESSION_ID);
    t->limits = *limits;
    t->refs = 1;
    t->usable = limits->slots;
    for (uint32_t i = 0; i < limits->slots; i++) {
        t->slots[i].sequence = 1; /* RFC 8881 2.10.6.1 */
    }
    return t;
}

struct nfs_table *nfs_table_get(struct nfs_table *table)
{
    table->refs++;
    return table;
}

void nfs_table_put(struct nfs_table *table)
{
    if (table && --table->refs == 0) {
        free(table);
    }
}

/* ---- waiting in order ---- */

static void waiters_push(struct nfs_waiters *list, struct nfs_compound *c)
{
    c->next = NULL;
    if (list->first) {
        list->last->next = c;
    } else {
        list->first = c;
    }
    list->last = c;
}

static void waiters_remove(struct nfs_waiters *list, const struct nfs_compound *c)
{
    struct nfs_compound *before = NULL;
    struct nfs_compound **at = &list->first;
    while (*at && *at != c) {
        before = *at;
        at = &before->next;
    }
    if (*at) {
        *at = c->next;
        if (list->last == c) {
            list->last = before;
        }
    }
}

int nfs_wait_in(struct nfs_session *s, struct nfs_waiters *list, struct nfs_compound *c, int64_t deadline_ns)
{
    if (!fiber_self()) {
        return -EBUSY;
    }
    c->event = (struct io_event){0};
    waiters_push(list, c);
    int r = io_event_wait(s->io, &c->event, deadline_ns);
    if (r < 0 && c->event.set) {
        return 0; /* it was woken all the same, and may have been given something */
    }
    if (r < 0) {
        waiters_remove(list, c);
    }
    return r;
}

bool nfs_wake_first(struct nfs_session *s, struct nfs_waiters *list)
{
    struct nfs_compound *c = list->first;
    if (!c) {
        return false;
    }
    list->first = c->next;
    io_event_set(s->io, &c->event);
    return true;
}

void nfs_wake_all(struct nfs_session *s, struct nfs_waiters *list)
{
    while (nfs_wake_first(s, list)) {
    }
}

/* ---- slots ---- */

/* Takes the lowest free slot for c: servers keep less for those that are never used. */
static bool take_free(struct nfs_table *t, struct nfs_compound *c)
{
    for (unsigned i = t->free_hint; i < t->usable; i++) {
        if (t->slots[i].state == NFS_SLOT_FREE) {
            t->slots[i].state = NFS_SLOT_BUSY;
            t->free_hint = i + 1;
            t->highest = t->highest > i + 1 ? t->highest : i + 1;
            t->busy++;
            c->table = nfs_table_get(t);
            c->slot = i;
            return true;
        }
    }
    return false;
}

/* No slot that may be used is free, and none will be: those that were not given up the server does not want used. */
static bool is_stuck(const struct nfs_table *t)
{
    for (unsigned i = 0; i < t->usable; i++) {
        if (t->slots[i].state != NFS_SLOT_RETIRED) {
            return false;
        }
    }
    return t->busy == 0; /* an answer may say that more of them may be used */
}

/* Gives free slots to those who wait, in order. */
static void hand_out(struct nfs_session *s)
{
    while (s->for_slot.first && s->table && !s->table->lost && take_free(s->table, s->for_slot.first)) {
        nfs_wake_first(s, &s->for_slot);
    }
    if (s->for_slot.first && s->table && !s->table->lost && is_stuck(s->table)) {
        nfs_session_lose(s, s->table);
    }
}

int nfs_slot_take(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns)
{
    if (s->table->lost) {
        return -NFS_LOST;
    }
    if (!s->for_slot.first && take_free(s->table, c)) {
        return 0;
    }
    if (is_stuck(s->table)) {
        nfs_session_lose(s, s->table);
        return -NFS_LOST;
    }
    int r = nfs_wait_in(s, &s->for_slot, c, deadline_ns);
    if (r < 0) {
        return r;
    }
    return c->table ? 0 : -NFS_LOST;
}

static void set_free(struct nfs_table *t, unsigned slot)
{
    t->slots[slot].state = NFS_SLOT_FREE;
    t->free_hint = slot < t->free_hint ? slot : t->free_hint;
}

void nfs_slot_release(struct nfs_session *s, struct nfs_compound *c, bool used)
{
    struct nfs_table *t = c->table;
    if (used) {
        t->slots[c->slot].sequence++;
    }
    t->busy--;
    set_free(t, c->slot);
    c->table = NULL;
    if (t == s->table) {
        hand_out(s);
    }
    nfs_table_put(t);
}

void nfs_slot_retire(struct nfs_session *s, struct nfs_compound *c)
{
    struct nfs_table *t = c->table;
    t->slots[c->slot].state = NFS_SLOT_RETIRED;
    t->busy--;
    t->retired++;
    c->table = NULL;
    nfs_count(&s->member.counters.slots_retired);
    if (t == s->table && !t->lost && (2 * t->retired >= t->usable || is_stuck(t))) {
        nfs_session_lose(s, t);
    }
    nfs_table_put(t);
}

void nfs_slot_target(struct nfs_session *s, struct nfs_table *table, uint32_t target_highest)
{
    uint32_t usable = target_highest < table->limits.slots ? target_highest + 1 : table->limits.slots;
    if (usable == table->usable) {
        return;
    }
    bool more = usable > table->usable;
    table->usable = usable;
    if (more && table == s->table) {
        hand_out(s);
    }
}

void nfs_slot_wake(struct nfs_session *s)
{
    if (s->table && !s->table->lost) {
        hand_out(s);
    } else {
        nfs_wake_all(s, &s->for_slot);
    }
}

/* Whether head is a reply whose SEQUENCE the server has carried out. */
static bool sequence_taken(const uint8_t *head, size_t len)
{
    struct xdr_in in;
    size_t skip;
    xdr_in_init(&in, head, len);
    xdr_get_u32(&in); /* xid */
    uint32_t type = xdr_get_u32(&in);
    uint32_t denied = xdr_get_u32(&in);
    xdr_get_u32(&in); /* verifier */
    xdr_get_opaque(&in, RPC_REPLY_SMALL, &skip);
    uint32_t refused = xdr_get_u32(&in); /* accept_stat */
    xdr_get_u32(&in);                    /* status */
    xdr_get_opaque(&in, RPC_REPLY_SMALL, &skip);
    uint32_t count = xdr_get_u32(&in);
    uint32_t op = xdr_get_u32(&in);
    uint32_t status = xdr_get_u32(&in);
    bool fine = type == 1 && denied == 0 && refused == 0 && count > 0 && op == NFS_OP_SEQUENCE && status == NFS4_OK;
    return fine && !in.failed;
}

void nfs_slot_late(void *arg, uint32_t xid, const uint8_t *head, size_t len)
{
    struct nfs_session *s = arg;
    struct nfs_table *t = s->table;
    if (!t || t->retired == 0 || !sequence_taken(head, len)) {
        return;
    }
    for (unsigned i = 0; i < t->highest; i++) {
        if (t->slots[i].state == NFS_SLOT_RETIRED && t->slots[i].xid == xid) {
            t->slots[i].sequence++;
            t->retired--;
            set_free(t, i);
            nfs_count(&s->member.counters.slots_recovered);
            hand_out(s);
            return;
        }
    }
}
