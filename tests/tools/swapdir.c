/*
 * swapdir A B: exchanges two names atomically (renameat2), again and again, until SIGTERM or SIGINT; then leaves them
 * as they were at first and prints how often they changed places.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stop; /* a signal asked for the end */

static void on_signal(int sig)
{
    (void)sig;
    stop = 1;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: swapdir A B\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    unsigned long swaps = 0;
    while (!stop || swaps % 2 != 0) {
        if (renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE) == 0) {
            swaps++;
        } else if (errno != ENOENT || stop) {
            fprintf(stderr, "swapdir: %s, %s: %s\n", argv[1], argv[2], strerror(errno));
            return 1;
        }
        usleep(swaps % 7 * 20);
    }
    printf("%lu exchanges\n", swaps);
    return 0;
}
