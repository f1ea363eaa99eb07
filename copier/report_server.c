#include "copier/report_server.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "copier/json.h"
#include "copier/quantity.h"

#define PROTOCOL   "NFSv4.1"
#define PROTOCOL_3 "NFSv3"

/* What was stepped down to: a word for programs, a phrase for people. */
static const struct {
    unsigned step; /* NFS41_STEP_* */
    const char *word;
    const char *phrase;
} steps[] = {
    {NFS41_STEP_SPLIT, "split", "files are opened in a COMPOUND of their own"},
    {NFS41_STEP_NO_VERIFY, "no-verify", "attributes are checked by haul, not by the server"},
    {NFS41_STEP_OWNERS, "owners-refused", "owners are refused"},
    {NFS41_STEP_OWNER_TEXT, "owners-by-name", "owners come back as names"},
    {NFS41_STEP_READ_OPEN, "read-open", "files have to be opened to be read"},
    {NFS41_STEP_SINGLE, "single", "one file in a COMPOUND"},
    {NFS41_STEP_SMALL, "small-requests", "requests are smaller than asked for"},
};

enum { STEPS = sizeof steps / sizeof steps[0] };

const char *report_server_step(unsigned step)
{
    for (int i = 0; i < STEPS; i++) {
        if (steps[i].step == step) {
            return steps[i].phrase;
        }
    }
    return NULL;
}

/* Files that went in one COMPOUND each: published, or read. */
static uint64_t files_of(enum dir_side side, const struct nfs41_facts *f)
{
    return side == DIR_SRC ? f->reads : f->publishes;
}

/* COMPOUNDs for each of them, all others of the run included; 0: there was no file. */
static double per_file(enum dir_side side, const struct nfs41_facts *f)
{
    uint64_t files = files_of(side, f);
    return files > 0 ? (double)f->compounds / (double)files : 0;
}

static void tell_counts(struct report *r, const char *who, enum dir_side side, const struct nfs41_facts *f)
{
    char shared[48] = "";
    if (side == DIR_DST) {
        snprintf(shared, sizeof shared, " (%llu shared one)", (unsigned long long)f->combined);
    }
    report_say(r,
               "%s: %llu COMPOUNDs, %.2f for each of %llu files that were %s in one%s; %llu "
               "connections, %llu requests sent again, %llu sessions made again, %llu put off, %llu cleaned up",
               who, (unsigned long long)f->compounds, per_file(side, f), (unsigned long long)files_of(side, f),
               side == DIR_SRC ? "read" : "published", shared, (unsigned long long)f->connects,
               (unsigned long long)f->replays, (unsigned long long)f->rebuilds, (unsigned long long)f->waits,
               (unsigned long long)f->cleanups);
}

static void text41(struct report *r, enum dir_side side, const struct nfs41_facts *f)
{
    const char *who = side == DIR_SRC ? PROTOCOL " (SRC)" : PROTOCOL;
    char request[QUANTITY_MAX];
    char response[QUANTITY_MAX];
    char read[QUANTITY_MAX];
    char write[QUANTITY_MAX];
    report_say(
        r,
        "%s%s%s: %u slots, %u operations in a COMPOUND, requests to %s, answers to %s (%u bytes kept for a replay), "
        "reads to %s, writes to %s, lease %u s, round trip %.1f ms",
        who, f->server[0] != '\0' ? ", " : "", f->server, f->slots, f->operations_max,
        quantity_show_bytes(f->request_max, request), quantity_show_bytes(f->response_max, response), f->cached_max,
        quantity_show_bytes(f->read_max, read), quantity_show_bytes(f->write_max, write), f->lease_s,
        (double)f->round_trip_ns / NS_PER_MS);
    for (int i = 0; i < STEPS; i++) {
        if ((f->steps & steps[i].step) != 0) {
            report_say(r, "%s: %s", who, steps[i].phrase);
        }
    }
    tell_counts(r, who, side, f);
}

static json_t *json41(enum dir_side side, const struct nfs41_facts *f)
{
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"slots", f->slots},
        {"operations_max", f->operations_max},
        {"request_max", f->request_max},
        {"response_max", f->response_max},
        {"cached_max", f->cached_max},
        {"read_max", f->read_max},
        {"write_max", f->write_max},
        {"lease_seconds", f->lease_s},
        {"round_trip_us", (uint64_t)f->round_trip_ns / 1000},
        {"compounds", f->compounds},
        {"published", f->publishes},
        {"read", f->reads},
        {"combined", f->combined},
        {"connects", f->connects},
        {"replays", f->replays},
        {"rebuilds", f->rebuilds},
        {"waits", f->waits},
        {"cleanups", f->cleanups},
    };
    json_t *nfs = json_object();
    json_t *chosen = json_array();
    json_set_text(nfs, "protocol", PROTOCOL);
    json_set_text(nfs, "server", f->server);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_set_number(nfs, numbers[i].key, numbers[i].value);
    }
    json_object_set_new(nfs, "compounds_per_file", json_real(per_file(side, f)));
    for (int i = 0; i < STEPS; i++) {
        if ((f->steps & steps[i].step) != 0) {
            json_array_append_new(chosen, json_string(steps[i].word));
        }
    }
    json_object_set_new(nfs, "steps", chosen);
    return nfs;
}

/* ---- version 3 ---- */

static void text3(struct report *r, enum dir_side side, const struct nfs3_facts *f)
{
    const char *who = side == DIR_SRC ? PROTOCOL_3 " (SRC)" : PROTOCOL_3;
    char read[QUANTITY_MAX];
    char write[QUANTITY_MAX];
    report_say(r, "%s: port %u, mountd at port %u, reads to %s, writes to %s", who, f->port, f->mount_port,
               quantity_show_bytes(f->read_max, read), quantity_show_bytes(f->write_max, write));
    if (f->owners_refused) {
        report_say(r, "%s: owners are refused", who);
    }
    if (f->no_attributes) {
        report_say(r, "%s: listings come without attributes", who);
    }
    report_say(r,
               "%s: %llu calls, %.2f for each of %llu small files; %llu connections made again, %llu calls "
               "sent again, %llu put off, %llu cleaned up",
               who, (unsigned long long)f->calls, f->publishes > 0 ? (double)f->calls / (double)f->publishes : 0,
               (unsigned long long)f->publishes, (unsigned long long)f->connects, (unsigned long long)f->repeats,
               (unsigned long long)f->waits, (unsigned long long)f->cleanups);
}

static json_t *json3(const struct nfs3_facts *f)
{
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"port", f->port},   {"mount_port", f->mount_port}, {"read_max", f->read_max}, {"write_max", f->write_max},
        {"calls", f->calls}, {"published", f->publishes},   {"connects", f->connects}, {"repeats", f->repeats},
        {"waits", f->waits}, {"cleanups", f->cleanups},
    };
    json_t *nfs = json_object();
    json_t *chosen = json_array();
    json_set_text(nfs, "protocol", PROTOCOL_3);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_set_number(nfs, numbers[i].key, numbers[i].value);
    }
    if (f->owners_refused) {
        json_array_append_new(chosen, json_string("owners-refused"));
    }
    if (f->no_attributes) {
        json_array_append_new(chosen, json_string("no-attributes"));
    }
    json_object_set_new(nfs, "steps", chosen);
    return nfs;
}

/* ---- either ---- */

void report_server_text(struct report *r, enum dir_side side, const struct server_facts *f)
{
    if (f != NULL && f->version == URL_NFS41) {
        text41(r, side, &f->nfs41);
    } else if (f != NULL) {
        text3(r, side, &f->nfs3);
    }
}

void report_server_json(json_t *event, enum dir_side side, const struct server_facts *f)
{
    if (f != NULL) {
        json_object_set_new(event, side == DIR_SRC ? "nfs_source" : "nfs",
                            f->version == URL_NFS41 ? json41(side, &f->nfs41) : json3(&f->nfs3));
    }
}
