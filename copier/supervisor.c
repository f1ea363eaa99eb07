#include "copier/supervisor.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "copier/channel.h"
#include "copier/status.h"

/* P8 promises 5 s from the signal to the end. */
#define STOP_NS  (4 * NS_PER_SEC)
#define AGAIN_NS (500 * NS_PER_MS) /* signals closer together are one wish: timeout(1) sends to us and to our group */
#define EXIT_NS  (500 * NS_PER_MS) /* what an engine gets that is in its _exit */
#define KILL_NS  (500 * NS_PER_MS) /* what a killed engine gets to disappear, before it is left behind */

struct supervisor {
    pid_t engine;        /* child; 0 once it has been waited for */
    int channel;         /* our end; -1 once the engine has closed its end */
    int signals;         /* signalfd */
    int lock;            /* descriptor with the lock, held until we end; -1: none yet */
    int status;          /* the engine's result; -1: none yet */
    int wait_status;     /* of waitpid, once engine is 0 */
    int64_t stop_ns;     /* monotonic: when the first signal that asks us to stop was taken; 0: none yet */
    int64_t until_ns;    /* monotonic: when the run's time is over; 0: never, or it is being stopped already */
    int stop_status;     /* exit status where that stopped it: STATUS_INTERRUPTED, STATUS_OUT_OF_TIME; 0: none yet */
    int64_t deadline_ns; /* monotonic: when the next step is due; 0: none */
    bool killed;         /* SIGKILL was sent */
};

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP};

/* What comes by signalfd. A signal that whoever started us has set to be ignored (nohup, a shell's background job)
 * stays ignored: blocked, it would be queued for the signalfd nevertheless. */
static void signal_set(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < sizeof stop_signals / sizeof stop_signals[0]; i++) {
        struct sigaction inherited;
        if (sigaction(stop_signals[i], NULL, &inherited) == 0 && inherited.sa_handler != SIG_IGN) {
            sigaddset(set, stop_signals[i]);
        }
    }
    sigaddset(set, SIGCHLD);
}

static void kill_engine(struct supervisor *s)
{
    if (s->engine != 0 && !s->killed) {
        kill(s->engine, SIGKILL);
        s->killed = true;
        s->deadline_ns = clock_mono_ns() + KILL_NS;
    }
}

static void stop_engine(struct supervisor *s, int status)
{
    s->stop_ns = clock_mono_ns();
    s->stop_status = status;
    s->until_ns = 0;
    s->deadline_ns = s->stop_ns + STOP_NS;
    if (s->channel >= 0) {
        channel_send(s->channel, CHANNEL_STOP, status,
                     -1); /* refused where it is ending already; the deadline stands */
    }
}

static void take_stop(struct supervisor *s)
{
    if (s->stop_ns == 0) {
        stop_engine(s, STATUS_INTERRUPTED);
    } else if (clock_mono_ns() - s->stop_ns >= AGAIN_NS) {
        kill_engine(s);
    }
}

static void take_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD) {
            take_stop(s);
        }
    }
    if (s->engine == 0) {
        return;
    }
    pid_t ended = waitpid(s->engine, &s->wait_status, WNOHANG);
    if (ended == s->engine || (ended < 0 && errno == ECHILD)) {
        s->engine = 0; /* ECHILD: somebody else has taken its status */
    }
}

static void take_message(struct supervisor *s)
{
    struct channel_message message;
    int fd = -1;
    if (channel_receive(s->channel, &message, &fd) != 0) {
        close(s->channel);
        s->channel = -1;
        return;
    }
    if (message.kind == CHANNEL_LOCK && fd >= 0 && s->lock < 0) {
        s->lock = fd;
    } else if (fd >= 0) {
        close(fd);
    }
    if (message.kind == CHANNEL_RESULT || message.kind == CHANNEL_EXIT) {
        s->status = message.value; /* what is left must not keep us */
        int64_t deadline = clock_mono_ns() + (message.kind == CHANNEL_EXIT ? EXIT_NS : STOP_NS);
        s->deadline_ns = s->deadline_ns != 0 && s->deadline_ns < deadline ? s->deadline_ns : deadline;
    }
}

/* Milliseconds until the deadline or the end of its time; -1: there is neither. */
static int poll_timeout(const struct supervisor *s)
{
    int64_t next =
        s->until_ns != 0 && (s->deadline_ns == 0 || s->until_ns < s->deadline_ns) ? s->until_ns : s->deadline_ns;
    if (next == 0) {
        return -1;
    }
    int64_t left = (next - clock_mono_ns()) / NS_PER_MS + 1;
    return left <= 0 ? 0 : left < INT_MAX ? (int)left : INT_MAX;
}

/* Until the engine has ended, or could not be killed (false). */
static bool watch(struct supervisor *s)
{
    while (s->engine != 0) {
        struct pollfd fds[] = {{.fd = s->signals, .events = POLLIN}, {.fd = s->channel, .events = POLLIN}};
        int n = poll(fds, 2, poll_timeout(s));
        if (n > 0 && fds[1].revents != 0) {
            take_message(s);
        }
        if (n > 0 && fds[0].revents != 0) {
            take_signals(s);
        }
        if (s->until_ns != 0 && clock_mono_ns() >= s->until_ns) {
            stop_engine(s, STATUS_OUT_OF_TIME);
        }
        if (s->deadline_ns != 0 && clock_mono_ns() >= s->deadline_ns) {
            if (s->killed) {
                return false;
            }
            kill_engine(s);
        }
    }
    while (s->channel >= 0) {
        take_message(s); /* what it said last */
    }
    return true;
}

/* The engine may have left a progress line open. */
static void clear_line(void)
{
    if (isatty(STDERR_FILENO) == 1) {
        fputs("\r\033[K", stderr);
    }
}

static int verdict(struct supervisor *s, bool ended)
{
    if (s->status >= 0) {
        return s->status;
    }
    clear_line();
    int stopped = s->stop_status != 0 ? s->stop_status : STATUS_INTERRUPTED;
    if (!ended) {
        fprintf(stderr,
                "haul: the engine (process %d) hangs in a system call and cannot be killed; it is left behind\n",
                (int)s->engine);
    }
    if (!ended || s->killed) {
        fprintf(stderr, "haul: %s: NOT everything arrived; the next run goes on\n", status_stopped(stopped));
        return stopped;
    }
    if (WIFSIGNALED(s->wait_status)) {
        fprintf(stderr, "haul: the engine was killed by signal %d (%s): NOT everything arrived; the next run goes on\n",
                WTERMSIG(s->wait_status), strsignal(WTERMSIG(s->wait_status)));
    } else {
        fprintf(stderr, "haul: the engine ended without a result: NOT everything arrived; the next run goes on\n");
    }
    /* Whoever asked us to stop gets the answer to that; else a scheduler must be able to tell a crash from a stop. */
    return s->stop_status != 0 ? s->stop_status : STATUS_CANNOT;
}

static _Noreturn void be_engine(supervisor_engine engine, void *arg, int channel, pid_t parent)
{
    /* Nobody works on without the one who holds the lock. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(STATUS_INTERRUPTED);
    }
    exit(engine(arg, channel));
}

int supervisor_run(supervisor_engine engine, void *arg, int64_t until_ns)
{
    struct supervisor s = {.channel = -1, .signals = -1, .lock = -1, .status = -1, .until_ns = until_ns};
    int ends[2] = {-1, -1};
    sigset_t set;
    signal_set(&set);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would never come, and nothing would be left to wait for */
    sigprocmask(SIG_BLOCK, &set, NULL); /* the engine inherits this: signals are ours */
    int r = channel_open(ends);
    s.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    pid_t self = getpid();
    fflush(NULL);
    if (r == 0 && s.signals >= 0) {
        s.engine = fork();
    }
    if (r != 0 || s.signals < 0 || s.engine < 0) {
        fprintf(stderr, "haul: cannot start the engine: %s\n", strerror(r != 0 ? -r : errno));
        return STATUS_CANNOT;
    }
    if (s.engine == 0) {
        close(ends[0]);
        close(s.signals);
        be_engine(engine, arg, ends[1], self);
    }
    close(ends[1]);
    s.channel = ends[0];
    bool ended = watch(&s);
    return verdict(&s, ended);
}
