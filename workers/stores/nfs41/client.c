/*
 * client: what all sessions with one server share (client.h).
 */
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "workers/stores/nfs41/client_internal.h"

#define DEADLINE_STEPS 1024 /* of an operation's time: by less than one of them it ends earlier */

void nfs_problem(char **problem, const char *format, ...)
{
    if (!problem || *problem) {
        return;
    }
    va_list args;
    va_start(args, format);
    if (vasprintf(problem, format, args) < 0) {
        *problem = NULL;
    }
    va_end(args);
}

static void take_cred(struct nfs_client *c, const struct nfs_client_options *o)
{
    c->cred.uid = o->uid;
    c->cred.gid = o->gid;
    c->cred.group_count = o->group_count < RPC_GROUPS_MAX ? o->group_count : RPC_GROUPS_MAX;
    for (unsigned i = 0; i < c->cred.group_count; i++) {
        c->cred.groups[i] = o->groups[i];
    }
    if (gethostname(c->cred.machine, sizeof(c->cred.machine) - 1) < 0) {
        memcpy(c->cred.machine, "haul", sizeof("haul"));
    }
}

int nfs_resolve(const char *host, uint16_t port_number, struct nfs_addresses *out, char **problem)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", port_number);
    /* An address needs nobody to be asked; the kernel's list of interfaces, which AI_ADDRCONFIG looks at, is long on
     * some. */
    const struct addrinfo number = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int e = getaddrinfo(host, port, &number, &list);
    if (e == EAI_NONAME) {
        e = getaddrinfo(host, port, &hints, &list);
    }
    if (e == EAI_ADDRFAMILY || e == EAI_NONAME) {
        /* Only loopback addresses may be configured, which AI_ADDRCONFIG does not count. */
        const struct addrinfo plain = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
        e = getaddrinfo(host, port, &plain, &list);
    }
    if (e != 0) {
        nfs_problem(problem, "cannot find the address of the NFS server %s: %s", host, gai_strerror(e));
        return e == EAI_AGAIN ? -EAGAIN : e == EAI_MEMORY ? -ENOMEM : -ENOENT;
    }
    for (const struct addrinfo *a = list; a && out->count < NFS_ADDRESSES; a = a->ai_next) {
        if (a->ai_addrlen <= sizeof(out->list[0]) && (a->ai_family == AF_INET || a->ai_family == AF_INET6)) {
            memcpy(&out->list[out->count], a->ai_addr, a->ai_addrlen);
            out->lens[out->count++] = a->ai_addrlen;
        }
    }
    freeaddrinfo(list);
    return out->count > 0 ? 0 : -ENOENT;
}

int nfs_client_create(const struct nfs_client_options *options, struct nfs_client **out_client, char **problem)
{
    if (!options->host || !options->owner || strlen(options->owner) >= NFS_OWNER_MAX || options->io_timeout_ns <= 0) {
        return -EINVAL;
    }
    struct nfs_client *c = calloc(1, sizeof(*c));
    if (!c) {
        return -ENOMEM;
    }
    int r = -ENOMEM;
    if (pthread_mutex_init(&c->lock, NULL) != 0) {
        free(c);
        return r;
    }
    c->host = strdup(options->host);
    if (!c->host) {
        goto fail;
    }
    c->port = options->port ? options->port : NFS_PORT;
    memcpy(c->owner, options->owner, strlen(options->owner) + 1);
    take_cred(c, options);
    c->reserved_port = options->reserved_port;
    c->io_timeout_ns = options->io_timeout_ns;
    c->retries = options->retries;
    c->connections = options->connections ? options->connections : 1;
    atomic_init(&c->lease_ns, NFS_LEASE_ASSUME * NS_PER_SEC);
    if (getrandom(c->verifier, sizeof(c->verifier), 0) != sizeof(c->verifier)) {
        r = -errno;
        goto fail;
    }
    r = nfs_resolve(c->host, c->port, &c->addresses, problem);
    if (r < 0) {
        goto fail;
    }
    *out_client = c;
    return 0;

fail:
    nfs_client_destroy(c);
    return r;
}

void nfs_client_destroy(struct nfs_client *client)
{
    if (!client) {
        return;
    }
    pthread_mutex_destroy(&client->lock);
    free(client->host);
    free(client);
}

static uint64_t counted(const atomic_ullong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void nfs_counters_add(struct nfs_client_facts *f, const struct nfs_counters *c)
{
    f->compounds += counted(&c->compounds);
    f->replays += counted(&c->replays);
    f->waits += counted(&c->waits);
    f->reconnects += counted(&c->reconnects);
    f->sessions_lost += counted(&c->sessions_lost);
    f->slots_retired += counted(&c->slots_retired);
    f->slots_recovered += counted(&c->slots_recovered);
    f->rpc.calls += counted(&c->calls);
    f->rpc.sends += counted(&c->sends);
    f->rpc.receives += counted(&c->receives);
    f->rpc.bytes_sent += counted(&c->bytes_sent);
    f->rpc.bytes_received += counted(&c->bytes_received);
}

void nfs_client_facts(struct nfs_client *client, struct nfs_client_facts *out_facts)
{
    pthread_mutex_lock(&client->lock);
    *out_facts = client->facts;
    for (const struct nfs_member *m = client->members; m; m = m->next) {
        nfs_counters_add(out_facts, &m->counters);
    }
    out_facts->client_id = client->id;
    out_facts->clients_lost = client->ids_seen > 0 ? client->ids_seen - 1 : 0;
    pthread_mutex_unlock(&client->lock);
    out_facts->reserved_port = atomic_load(&client->reserved);
    out_facts->status_flags = atomic_load(&client->status_flags);
}

unsigned nfs_client_generation(const struct nfs_client *client)
{
    return atomic_load(&client->generation);
}

bool nfs_client_due(const struct nfs_client *client)
{
    int64_t renewed = atomic_load_explicit(&client->renewed_ns, memory_order_relaxed);
    int64_t lease = atomic_load_explicit(&client->lease_ns, memory_order_relaxed);
    return renewed != 0 && clock_mono_ns() - renewed > lease / 3;
}

int64_t nfs_client_deadline_ns(const struct nfs_client *client)
{
    /* A fifth is left for whoever measures from outside, and for its coarse clock. */
    int64_t now = clock_mono_ns();
    int64_t most = client->io_timeout_ns - client->io_timeout_ns / 5;
    int64_t step = most / DEADLINE_STEPS + 1;
    if (most > INT64_MAX - now) {
        return INT64_MAX;
    }
    /* Operations that begin at about the same time have the same one: a wait is put in order among the others by going
     * past all that end later, and those who began later may have come first, while it waited for a slot. */
    return now + most - (now + most) % step;
}
