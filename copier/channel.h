/*
 * channel: what supervisor and engine say to each other, over a socket pair (SOCK_SEQPACKET).
 *
 * Each end belongs to one process. The end of one process is noticed by the other as end of file.
 */
#ifndef HAUL_COPIER_CHANNEL_H
#define HAUL_COPIER_CHANNEL_H

#include <stdint.h>

enum channel_kind {
    CHANNEL_LOCK,   /* engine -> supervisor, with a descriptor: hold this lock until you end */
    CHANNEL_RESULT, /* engine -> supervisor: value is the exit status; the report is printed */
    CHANNEL_EXIT, /* engine -> supervisor: value is the exit status, all is written; what keeps the process from now on
                     is only what it has at the kernel */
    CHANNEL_STOP, /* supervisor -> engine: finish or drop what is in flight, record, end with value as exit status where
                     anything is left to do: STATUS_INTERRUPTED or STATUS_OUT_OF_TIME */
};

struct channel_message {
    uint32_t kind; /* enum channel_kind */
    int32_t value; /* by kind */
};

/* Both ends, close-on-exec. 0 or -errno. */
int channel_open(int out_ends[2]);

/* Sends a message; fd >= 0 goes along (the sender keeps its own). 0, -EPIPE (the other end is gone), -errno. Blocks
 * only while the socket is full. */
int channel_send(int end, enum channel_kind kind, int value, int fd);

/* Waits for a message. 0; -EPIPE where the other end is gone; -errno. A descriptor that came along is in *out_fd, which
 * is the caller's then, else -1. */
int channel_receive(int end, struct channel_message *out_message, int *out_fd);

#endif
