#include "support_cutproxy.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support_tree.h"

struct cutproxy {
    char *home;        /* folder of its socket; owned */
    char program[512]; /* tools/cutproxy */
    char socket[512];  /* where it takes commands */
    uint16_t port;
    pid_t pid;
};

/* The tools lie beside the program under test. */
static void find_program(struct cutproxy *c)
{
    const char *haul = getenv("HAUL");
    cr_assert_not_null(haul, "HAUL is not set");
    char *copy = strdup(haul);
    cr_assert_not_null(copy);
    snprintf(c->program, sizeof(c->program), "%s/tools/cutproxy", dirname(copy));
    free(copy);
    cr_assert_eq(access(c->program, X_OK), 0, "%s: %s", c->program, strerror(errno));
}

struct cutproxy *cutproxy_start(uint16_t port)
{
    int out[2];
    char target[16];
    char line[16] = "";
    struct cutproxy *c = calloc(1, sizeof(*c));
    cr_assert_not_null(c);
    find_program(c);
    c->home = tree_temp("cut");
    snprintf(c->socket, sizeof(c->socket), "%s/socket", c->home);
    snprintf(target, sizeof(target), "%u", port);
    cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t parent = getpid();
    c->pid = fork();
    cr_assert(c->pid >= 0);
    if (c->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDOUT_FILENO);
        if (getppid() == parent) {
            execl(c->program, c->program, "--control", c->socket, target, (char *)NULL);
        }
        _exit(127);
    }
    close(out[1]);
    FILE *in = fdopen(out[0], "re");
    cr_assert_not_null(in);
    cr_assert_not_null(fgets(line, sizeof(line), in), "the proxy did not start");
    fclose(in);
    c->port = (uint16_t)strtoul(line, NULL, 10);
    cr_assert_neq(c->port, 0);
    return c;
}

void cutproxy_destroy(struct cutproxy *c)
{
    if (c == NULL) {
        return;
    }
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    tree_remove(c->home);
    free(c->home);
    free(c);
}

uint16_t cutproxy_port(const struct cutproxy *c)
{
    return c->port;
}

/* What it answers; the caller frees it. */
static char *ask(const struct cutproxy *c, const char *command)
{
    int status = -1;
    const char *const argv[] = {c->program, "--tell", c->socket, command, NULL};
    char *answer = tree_run(argv, &status);
    cr_assert_eq(status, 0, "the proxy refused: %s", command);
    return answer;
}

void cutproxy_tell(struct cutproxy *c, const char *command)
{
    free(ask(c, command));
}

uint64_t cutproxy_stat(struct cutproxy *c, const char *name)
{
    char *answer = ask(c, "stats");
    size_t len = strlen(name);
    for (const char *line = answer; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == ' ') {
            uint64_t value = strtoull(line + len + 1, NULL, 10);
            free(answer);
            return value;
        }
    }
    cr_assert_fail("the proxy has no figure %s", name);
    return 0;
}
