/*
 * maxrss OUT COMMAND...: runs COMMAND and writes to the file OUT the peak of its memory in KiB: the sum, over all
 * processes that descend from it, of each one's own peak (VmHWM). An upper bound of what they held at any one moment.
 * The exit status is COMMAND's (128 + signal where one killed it); 125 where it could not be run.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES_MAX 256

struct process {
    pid_t pid;
    unsigned long peak; /* KiB */
};

static struct process family[PROCESSES_MAX]; /* COMMAND and what descends from it */
static unsigned family_count;

static struct process *find(pid_t pid)
{
    for (unsigned i = 0; i < family_count; i++) {
        if (family[i].pid == pid) {
            return &family[i];
        }
    }
    return NULL;
}

/* Parent and peak of a process; false where it is gone. */
static bool read_status(pid_t pid, pid_t *out_parent, unsigned long *out_peak)
{
    char name[64];
    char line[256];
    snprintf(name, sizeof(name), "/proc/%d/status", pid);
    FILE *file = fopen(name, "re");
    if (file == NULL) {
        return false;
    }
    *out_parent = 0;
    *out_peak = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "PPid:", 5) == 0) {
            *out_parent = (pid_t)strtol(line + 5, NULL, 10);
        } else if (strncmp(line, "VmHWM:", 6) == 0) {
            *out_peak = strtoul(line + 6, NULL, 10);
        }
    }
    fclose(file);
    return true;
}

static void look(void)
{
    DIR *proc = opendir("/proc");
    if (proc == NULL) {
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(proc)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0])) {
            continue;
        }
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        pid_t parent;
        unsigned long peak;
        if (pid < family[0].pid || !read_status(pid, &parent, &peak)) {
            continue;
        }
        struct process *p = find(pid);
        if (p == NULL && find(parent) != NULL && family_count < PROCESSES_MAX) {
            p = &family[family_count++];
            p->pid = pid;
        }
        if (p != NULL && peak > p->peak) {
            p->peak = peak;
        }
    }
    closedir(proc);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: maxrss OUT COMMAND...\n");
        return 125;
    }
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        fprintf(stderr, "maxrss: %s: %s\n", argv[2], strerror(errno));
        _exit(125);
    }
    if (child < 0) {
        fprintf(stderr, "maxrss: fork: %s\n", strerror(errno));
        return 125;
    }
    family[family_count++].pid = child;
    int status;
    while (waitpid(child, &status, WNOHANG) == 0) {
        look();
        usleep(10000);
    }
    unsigned long sum = 0;
    for (unsigned i = 0; i < family_count; i++) {
        sum += family[i].peak;
    }
    /* What the kernel kept of those that were waited for: no poll can miss it. */
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    if (sum < (unsigned long)usage.ru_maxrss) {
        sum = (unsigned long)usage.ru_maxrss;
    }
    FILE *out = fopen(argv[1], "we");
    if (out == NULL || fprintf(out, "%lu\n", sum) < 0 || fclose(out) != 0) {
        fprintf(stderr, "maxrss: %s: %s\n", argv[1], strerror(errno));
        return 125;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
