/*
 * lib: libnfs's asynchronous calls of NFSv3, MOUNT and the portmapper, under one name for each, whatever its version.
 *
 * Up to version 5 they are called rpc_..._async and tell whether they were queued as an int or as a pointer; since
 * version 6 they are called rpc_..._task, and READ is told where its data are wanted. Only wire.c and req.c include
 * this.
 */
#ifndef HAUL_STORES_NFS3_LIB_H
#define HAUL_STORES_NFS3_LIB_H

#include <sys/time.h>

#include <nfsc/libnfs.h>

#include <nfsc/libnfs-raw.h>

#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-raw-portmap.h>
#include <stdbool.h>

static inline bool lib_queued_int(int r)
{
    return r == 0;
}

static inline bool lib_queued_pdu(const void *pdu)
{
    return pdu != NULL;
}

/* Whether a call of the library has queued what it was told to; its callback is called then, sooner or later. */
#define LIB_QUEUED(call) _Generic((call), int : lib_queued_int, default : lib_queued_pdu)(call)

#ifdef HAUL_LIBNFS_TASKS
#define LIB(name)                               rpc_##name##_task
#define LIB_READ(rpc, cb, buf, len, args, data) rpc_nfs3_read_task(rpc, cb, buf, len, args, data)
#else
#define LIB(name)                               rpc_##name##_async
#define LIB_READ(rpc, cb, buf, len, args, data) rpc_nfs3_read_async(rpc, cb, args, data)
#endif

#endif
