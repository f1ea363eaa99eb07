#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "copier/channel.h"
#include "copier/status.h"
#include "copier/supervisor.h"

/* What engine and test share. */
struct shared {
    volatile pid_t engine;
    volatile int ready;
    volatile int told; /* the engine was told to stop */
    volatile int go;   /* the engine may end */
};

static struct shared *share(void)
{
    struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(s != MAP_FAILED);
    return s;
}

static int end_well(void *arg, int channel)
{
    channel_send(channel, CHANNEL_RESULT, *(int *)arg, -1);
    return *(int *)arg;
}

/* Ends as asked when it is told to stop. */
static int stop_well(void *arg, int channel)
{
    struct shared *s = arg;
    struct channel_message m;
    int fd = -1;
    s->engine = getpid();
    s->ready = 1;
    if (channel_receive(channel, &m, &fd) != 0 || m.kind != CHANNEL_STOP) {
        return 99;
    }
    channel_send(channel, CHANNEL_RESULT, STATUS_INTERRUPTED, -1);
    return STATUS_INTERRUPTED;
}

/* Never listens. */
static _Noreturn int hang(void *arg, int channel)
{
    struct shared *s = arg;
    (void)channel;
    s->engine = getpid();
    s->ready = 1;
    for (;;) {
        pause();
    }
}

static int die(void *arg, int channel)
{
    (void)arg;
    (void)channel;
    kill(getpid(), SIGKILL);
    return 0;
}

static int leave_silently(void *arg, int channel)
{
    (void)arg;
    (void)channel;
    return 0;
}

/* Waits to be told to stop. */
static void be_told(struct shared *s, int channel)
{
    struct channel_message m;
    int fd = -1;
    s->engine = getpid();
    s->ready = 1;
    if (channel_receive(channel, &m, &fd) != 0 || m.kind != CHANNEL_STOP) {
        _exit(99);
    }
    s->told = 1;
}

/* Crashes while it stops. */
static int die_when_told(void *arg, int channel)
{
    be_told(arg, channel);
    return die(arg, channel);
}

/* Hangs while it stops. */
static int hang_when_told(void *arg, int channel)
{
    be_told(arg, channel);
    hang(arg, channel);
}

/* Takes its time to stop. */
static int end_later_when_told(void *arg, int channel)
{
    struct shared *s = arg;
    be_told(s, channel);
    while (!s->go) {
        usleep(1000);
    }
    channel_send(channel, CHANNEL_RESULT, STATUS_SOME_FAILED, -1);
    return STATUS_SOME_FAILED;
}

/* Works until it may end; nobody is to tell it to stop. */
static int work_undisturbed(void *arg, int channel)
{
    struct shared *s = arg;
    char byte;
    s->ready = 1;
    while (!s->go) {
        usleep(1000);
    }
    int result = recv(channel, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN ? STATUS_OK : 98;
    channel_send(channel, CHANNEL_RESULT, result, -1);
    return result;
}

/* Has the result out, but its cleaning up hangs. */
static int result_then_hang(void *arg, int channel)
{
    channel_send(channel, CHANNEL_RESULT, STATUS_SOME_FAILED, -1);
    return hang(arg, channel);
}

/* Is in its exit, which hangs. */
static int exit_then_hang(void *arg, int channel)
{
    channel_send(channel, CHANNEL_RESULT, STATUS_CANNOT, -1);
    channel_send(channel, CHANNEL_EXIT, STATUS_CANNOT, -1);
    return hang(arg, channel);
}

/* A supervisor in a process of its own, started with a signal ignored (0: none), its time over at until_ns. */
static pid_t start_until(int ignored, supervisor_engine engine, void *arg, int64_t until_ns)
{
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        /* Whatever the tests were started with. */
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        if (ignored != 0) {
            signal(ignored, SIG_IGN);
        }
        _exit(supervisor_run(engine, arg, until_ns));
    }
    return pid;
}

static pid_t start_ignoring(int ignored, supervisor_engine engine, void *arg)
{
    return start_until(ignored, engine, arg, 0);
}

static pid_t start(supervisor_engine engine, void *arg)
{
    return start_ignoring(0, engine, arg);
}

/* A line of /proc/PID/status, behind its name. */
static void status_line(pid_t pid, const char *name, char out[64])
{
    char path[64];
    char line[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    cr_assert(f != NULL);
    out[0] = '\0';
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            snprintf(out, 64, "%.63s", line + strlen(name));
        }
    }
    fclose(f);
    cr_assert(out[0] != '\0', "no %s in %s", name, path);
}

/* Until the process has dealt with every signal it was sent: none is pending, and it sleeps again after that. */
static void until_signals_are_taken(pid_t pid)
{
    char text[64];
    for (status_line(pid, "ShdPnd:", text); strtoull(text, NULL, 16) != 0; status_line(pid, "ShdPnd:", text)) {
        usleep(1000);
    }
    for (status_line(pid, "State:", text); strchr(text, 'S') == NULL; status_line(pid, "State:", text)) {
        usleep(1000);
    }
}

static int wait_for(pid_t pid)
{
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static void until_ready(const struct shared *s)
{
    while (!s->ready) {
        usleep(1000);
    }
}

Test(supervisor, passes_the_result_on, .timeout = 30)
{
    int status = STATUS_SOME_CHANGED;
    int w = wait_for(start(end_well, &status));
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_SOME_CHANGED);
}

/* Ends with the status it is told. */
static int end_as_told(void *arg, int channel)
{
    struct channel_message m;
    int fd = -1;
    (void)arg;
    int status = channel_receive(channel, &m, &fd) == 0 && m.kind == CHANNEL_STOP ? m.value : 99;
    channel_send(channel, CHANNEL_RESULT, status, -1);
    return status;
}

Test(supervisor, out_of_time, .timeout = 30)
{
    int64_t begun = clock_mono_ns();
    int w = wait_for(start_until(0, end_as_told, NULL, begun + 300 * NS_PER_MS));
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_OUT_OF_TIME);
    cr_assert_geq(clock_mono_ns() - begun, 300 * NS_PER_MS);
    int status = STATUS_SOME_CHANGED;
    w = wait_for(start_until(0, end_well, &status, clock_mono_ns() + 3600 * NS_PER_SEC));
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_SOME_CHANGED, "it ended in time");
}

Test(supervisor, out_of_time_and_the_engine_hangs, .timeout = 30)
{
    struct shared *s = share();
    int64_t begun = clock_mono_ns();
    int w = wait_for(start_until(0, hang, s, begun + 300 * NS_PER_MS));
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_OUT_OF_TIME);
    cr_assert_lt(clock_mono_ns() - begun, 300 * NS_PER_MS + 5 * NS_PER_SEC);
    cr_assert(kill(s->engine, 0) != 0 && errno == ESRCH, "the engine is left");
}

Test(supervisor, an_engine_that_dies_is_no_success, .timeout = 30)
{
    int w = wait_for(start(die, NULL));
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_CANNOT);
    w = wait_for(start(leave_silently, NULL));
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_CANNOT);
}

Test(supervisor, an_engine_that_dies_while_it_stops_was_interrupted, .timeout = 30)
{
    struct shared *s = share();
    pid_t pid = start(die_when_told, s);
    until_ready(s);
    kill(pid, SIGTERM);
    int w = wait_for(pid);
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_INTERRUPTED);
}

Test(supervisor, ends_with_the_engine_though_sigchld_was_ignored, .timeout = 30)
{
    int status = STATUS_SOME_CHANGED;
    int64_t begun = clock_mono_ns();
    int w = wait_for(start_ignoring(SIGCHLD, end_well, &status));
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_SOME_CHANGED);
    cr_assert_lt(clock_mono_ns() - begun, 3 * NS_PER_SEC, "it did not wait for a deadline");
    w = wait_for(start_ignoring(SIGCHLD, die, NULL));
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_CANNOT);
}

Test(supervisor, a_signal_that_was_ignored_stays_ignored, .timeout = 60)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct shared *s = share();
        pid_t pid = start_ignoring(signals[i], work_undisturbed, s);
        until_ready(s);
        kill(pid, signals[i]);
        until_signals_are_taken(pid);
        s->go = 1;
        int w = wait_for(pid);
        cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_OK, "signal %d: %d", signals[i], WEXITSTATUS(w));
    }
}

Test(supervisor, one_ignored_signal_leaves_the_others, .timeout = 30)
{
    struct shared *s = share();
    pid_t pid = start_ignoring(SIGHUP, stop_well, s);
    until_ready(s);
    kill(pid, SIGTERM);
    int w = wait_for(pid);
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_INTERRUPTED);
}

Test(supervisor, a_signal_stops_the_engine, .timeout = 30)
{
    struct shared *s = share();
    pid_t pid = start(stop_well, s);
    until_ready(s);
    kill(pid, SIGTERM);
    int w = wait_for(pid);
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_INTERRUPTED);
}

Test(supervisor, an_engine_that_does_not_end_is_killed_within_5_s, .timeout = 30)
{
    struct shared *s = share();
    pid_t pid = start(hang, s);
    until_ready(s);
    int64_t begun = clock_mono_ns();
    kill(pid, SIGINT);
    int w = wait_for(pid);
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_INTERRUPTED);
    cr_assert_lt(clock_mono_ns() - begun, 5 * NS_PER_SEC);
    cr_assert(kill(s->engine, 0) != 0 && errno == ESRCH);
}

Test(supervisor, a_second_signal_kills_at_once, .timeout = 30)
{
    struct shared *s = share();
    pid_t pid = start(hang_when_told, s);
    until_ready(s);
    int64_t begun = clock_mono_ns();
    kill(pid, SIGINT);
    while (!s->told) {
        usleep(1000);
    }
    usleep(600 * 1000); /* the time after which it is taken for a second one */
    kill(pid, SIGINT);
    int w = wait_for(pid);
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_INTERRUPTED);
    cr_assert_lt(clock_mono_ns() - begun, 3 * NS_PER_SEC, "the first deadline is 4 s: this did not wait for it");
}

/* As timeout(1) does it: to the process, then to its group. */
Test(supervisor, two_signals_within_moments_are_one, .timeout = 30)
{
    struct shared *s = share();
    pid_t pid = start(end_later_when_told, s);
    int w = 0;
    until_ready(s);
    kill(pid, SIGSTOP);
    cr_assert_eq(waitpid(pid, &w, WUNTRACED), pid);
    kill(pid, SIGINT);
    /* Signals of one kind that are pending merge: another kind is surely a second one. */
    kill(pid, SIGTERM);
    kill(pid, SIGCONT);
    while (!s->told) {
        usleep(1000);
    }
    until_signals_are_taken(pid);
    s->go = 1;
    w = wait_for(pid);
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_SOME_FAILED, "it was let to end: %x", (unsigned)w);
}

Test(supervisor, a_result_stands_whatever_hangs_afterwards, .timeout = 30)
{
    struct shared *s = share();
    int w = wait_for(start(result_then_hang, s));
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_SOME_FAILED);
}

/* What only has something at the kernel is not waited for as long as what may still have something to do. */
Test(supervisor, an_exit_that_hangs_is_cut_short, .timeout = 30)
{
    struct shared *s = share();
    int64_t begin = clock_mono_ns();
    int w = wait_for(start(exit_then_hang, s));
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == STATUS_CANNOT);
    cr_assert(clock_mono_ns() - begin < 3 * NS_PER_SEC);
}

Test(supervisor, the_engine_dies_with_the_supervisor, .timeout = 30)
{
    struct shared *s = share();
    pid_t pid = start(hang, s);
    until_ready(s);
    kill(pid, SIGKILL);
    wait_for(pid);
    while (kill(s->engine, 0) == 0) {
        usleep(1000); /* gone as soon as init has reaped it */
        char path[64];
        char text[256] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", (int)s->engine);
        FILE *f = fopen(path, "r");
        if (f == NULL) {
            break;
        }
        bool zombie = fgets(text, sizeof text, f) != NULL && strstr(text, ") Z ") != NULL;
        fclose(f);
        if (zombie) {
            break;
        }
    }
}

static int take_lock_and_leave_it(void *arg, int channel)
{
    int fd = open(arg, O_RDWR | O_CLOEXEC);
    int r = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 ? 90 : 0;
    if (r == 0 && channel_send(channel, CHANNEL_LOCK, 0, fd) != 0) {
        r = 91;
    }
    close(fd);
    /* The supervisor holds it now: our own second descriptor does not get it. */
    int again = open(arg, O_RDWR | O_CLOEXEC);
    if (r == 0 && (flock(again, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)) {
        r = 92;
    }
    close(again);
    channel_send(channel, CHANNEL_RESULT, r, -1);
    return r;
}

Test(supervisor, holds_the_lock_for_the_engine, .timeout = 30)
{
    char path[] = "/tmp/haul-test-lock-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    int w = wait_for(start(take_lock_and_leave_it, path));
    cr_assert(WIFEXITED(w) && WEXITSTATUS(w) == 0, "status %d", WEXITSTATUS(w));
    cr_assert_eq(flock(fd, LOCK_EX | LOCK_NB), 0, "free again once the supervisor has ended");
    unlink(path);
    close(fd);
}
