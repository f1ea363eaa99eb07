#include "copier/doctor_judge.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "copier/json.h"
#include "copier/quantity.h"
#include "copier/report_server.h"

#define SLOTS_FEW    16U              /* with fewer, little is under way at a time */
#define CLOCK_OFF_NS (2 * NS_PER_SEC) /* that a clock may be off and nobody notices */
#define GAIN         1.2              /* times as fast: less is noise */

enum { FIX_MAX = 4200 };

/* "1.25 ms", "12 us" */
static char *show_ms(int64_t ns, char buf[QUANTITY_MAX])
{
    if (ns < NS_PER_MS / 10) {
        snprintf(buf, QUANTITY_MAX, "%.1f us", (double)ns / 1e3);
        return buf;
    }
    snprintf(buf, QUANTITY_MAX, ns < 10 * NS_PER_MS ? "%.2f ms" : "%.0f ms", (double)ns / 1e6);
    return buf;
}

void doctor_judge_server(struct doctor_chart *c, const struct nfs41_facts *f)
{
    char request[QUANTITY_MAX];
    char response[QUANTITY_MAX];
    char read[QUANTITY_MAX];
    char write[QUANTITY_MAX];
    doctor_add(c, DOCTOR_GOOD, "protocol", NULL, "NFSv4.1, minor version 1, spoken by haul itself%s%s",
               f->server[0] != '\0' ? "; the server calls itself " : "", f->server);
    doctor_add(c, f->slots < SLOTS_FEW ? DOCTOR_BETTER : DOCTOR_GOOD, "session",
               f->slots < SLOTS_FEW ? "more slots at the server (knfsd: more threads)" : NULL,
               "%u slots, %u operations in a COMPOUND, requests to %s, answers to %s, reads to %s, writes to %s, lease "
               "%u s",
               f->slots, f->operations_max, quantity_show_bytes(f->request_max, request),
               quantity_show_bytes(f->response_max, response), quantity_show_bytes(f->read_max, read),
               quantity_show_bytes(f->write_max, write), f->lease_s);
    for (unsigned step = 1; step != 0; step <<= 1) {
        const char *phrase = (f->steps & step) != 0 ? report_server_step(step) : NULL;
        if (phrase != NULL && step != NFS41_STEP_OWNERS) {
            doctor_add(c, DOCTOR_BETTER, "protocol", NULL, "the server lacks something: %s", phrase);
        }
    }
}

void doctor_judge_server3(struct doctor_chart *c, const struct nfs3_facts *f)
{
    char read[QUANTITY_MAX];
    char write[QUANTITY_MAX];
    doctor_add(c, DOCTOR_BETTER, "protocol", "?version=4.1, where the server has it: one round trip a file, not four",
               "NFSv3, through libnfs; port %u, mountd at port %u, reads to %s, writes to %s", f->port, f->mount_port,
               quantity_show_bytes(f->read_max, read), quantity_show_bytes(f->write_max, write));
}

static void judge_times(struct doctor_chart *c, const char *topic, const char *what, const struct doctor_times *t)
{
    char median[QUANTITY_MAX];
    char most[QUANTITY_MAX];
    if (t->count > 0) {
        doctor_add(c, DOCTOR_FACT, topic, NULL, "%s: median %s, 95 %% within %s (%u, one at a time)", what,
                   show_ms(t->median_ns, median), show_ms(t->most_ns, most), t->count);
    }
}

void doctor_judge_times(struct doctor_chart *c, const struct doctor_figures *f, bool network)
{
    char bytes[QUANTITY_MAX];
    judge_times(c, "round trip", "a look at the root's attributes", &f->look);
    judge_times(c, "round trip", "a file of 8 KiB created", &f->create);
    judge_times(c, "round trip", "and removed", &f->remove);
    if (f->files_per_s > 0) {
        doctor_add(c, DOCTOR_FACT, "files/s", NULL,
                   "about %.0f a second, as %u files of 8 KiB went, %u at a time, in %u director%s, one worker%s",
                   f->files_per_s, f->files, f->flight, f->dirs, f->dirs == 1 ? "y" : "ies",
                   network ? "" : "; not waiting for the disk");
    }
    if (f->bytes_per_s > 0) {
        doctor_add(c, DOCTOR_FACT, "MB/s", NULL,
                   "about %.0f MB/s, as %s of one file went, %u part%s at a time, one worker, until durable",
                   f->bytes_per_s / 1e6, quantity_show_bytes(f->bytes, bytes), f->parts, f->parts == 1 ? "" : "s");
    }
}

void doctor_judge_owner(struct doctor_chart *c, const struct doctor_figures *f)
{
    switch (f->owner) {
    case DOCTOR_OWNER_KEPT:
        doctor_add(c, DOCTOR_GOOD, "owners", NULL, "can be set");
        break;
    case DOCTOR_OWNER_REFUSED:
        doctor_add(
            c, DOCTOR_BETTER, "owners",
            "no_root_squash at the server, or no access point; or --owner=ignore where it does not matter",
            "are refused, or not kept: all that is copied would belong to the user that the server takes us for");
        break;
    case DOCTOR_OWNER_UNTRIED:
    default:
        doctor_add(c, DOCTOR_FACT, "owners", NULL, "not tried: only root can give files away");
    }
}

void doctor_judge_clock(struct doctor_chart *c, const struct doctor_figures *f)
{
    char off[QUANTITY_MAX];
    char error[QUANTITY_MAX];
    if (!f->clock_known) {
        return;
    }
    int64_t ns = llabs(f->clock_ahead_ns);
    bool fine = ns <= CLOCK_OFF_NS + f->clock_error_ns;
    doctor_add(c, fine ? DOCTOR_GOOD : DOCTOR_BETTER, "clock", fine ? NULL : "NTP (chrony) on both sides",
               "the server's is %s %s ours, give or take %s", show_ms(ns, off),
               f->clock_ahead_ns >= 0 ? "ahead of" : "behind", show_ms(f->clock_error_ns, error));
}

static void times_json(json_t *object, const char *key, const struct doctor_times *t)
{
    json_t *times = json_object();
    json_set_number(times, "count", t->count);
    json_object_set_new(times, "median_ms", json_real((double)t->median_ns / 1e6));
    json_object_set_new(times, "p95_ms", json_real((double)t->most_ns / 1e6));
    json_object_set_new(object, key, times);
}

json_t *doctor_figures_json(const struct doctor_figures *f)
{
    static const char *const owners[] = {"untried", "kept", "refused"};
    json_t *object = json_object();
    times_json(object, "look", &f->look);
    times_json(object, "create", &f->create);
    times_json(object, "remove", &f->remove);
    json_object_set_new(object, "files_per_second", json_real(f->files_per_s));
    json_set_number(object, "files", f->files);
    json_set_number(object, "files_in_flight", f->flight);
    json_set_number(object, "directories", f->dirs);
    json_object_set_new(object, "bytes_per_second", json_real(f->bytes_per_s));
    json_set_number(object, "bytes", f->bytes);
    json_set_number(object, "parts_in_flight", f->parts);
    json_set_text(object, "owners", owners[f->owner]);
    if (f->clock_known) {
        json_object_set_new(object, "clock_ahead_ms", json_real((double)f->clock_ahead_ns / 1e6));
        json_object_set_new(object, "clock_error_ms", json_real((double)f->clock_error_ns / 1e6));
    }
    json_set_number(object, "left", f->left);
    return object;
}

void doctor_judge_direct(struct doctor_chart *c, const char *url, const struct doctor_figures *mount,
                         const struct doctor_figures *direct)
{
    char fix[FIX_MAX];
    double gain = mount->files_per_s > 0 ? direct->files_per_s / mount->files_per_s : 0;
    snprintf(fix, sizeof fix, "--direct, or '%s' as DST", url);
    doctor_add(c, DOCTOR_FACT, "direct", gain >= GAIN ? fix : NULL,
               "with --direct haul goes to the server itself: about %.0f files/s, %.1f times as many as through the "
               "mount, and %.0f MB/s instead of %.0f",
               direct->files_per_s, gain, direct->bytes_per_s / 1e6, mount->bytes_per_s / 1e6);
}
