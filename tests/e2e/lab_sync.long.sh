#!/usr/bin/env bash
# What haul sync costs on a real kernel NFS mount, and over nfs:// to the same server, at a round trip of 2 ms: nothing
# changed, one file changed, no state but a complete destination.
if [ "${1:-}" = --slices ]; then
    echo 1
    exit
fi
. "$(dirname "$0")/../lab/enter.sh" --rtt 2ms --timeout 600

maketree spread "$SRC" 40 1000 8192
settle

# served: COMPOUNDs that the server was sent so far, by anybody.
served() {
    awk '/^proc4 / { print $4 }' /proc/net/rpc/nfsd
}

# served_most BEFORE MOST WHAT: those since then are at most so many.
served_most() {
    local sum=$(($(served) - $1))
    echo "$3: $sum COMPOUNDs"
    [ "$sum" -le "$2" ] || fail "$3: $sum COMPOUNDs, more than $2"
}

nfs_mount 4.1
expect 0 sync "$SRC" "$NFS/dst"
judge_lab "$SRC" dst
nfs_mount 4.1 # nothing is left in the client's caches
rpc_begin
expect 0 sync --json --delete "$SRC" "$NFS/dst"
figure_is todo 0
rpc_per 1 10 "sync on the mount, nothing changed"
rpc_begin
expect 0 sync --json "$SRC" "$NFS/dst"
figure_is todo 0
rpc_per 1 5 "once more"

# Of each directory that is listed the client asks ACCESS and READDIR. The rest is the lease, .haul/sync and the mount:
# some 30 calls, however many directories there are.
rm -r "$XDG_STATE_HOME"
nfs_mount 4.1
rpc_begin
expect 0 sync --json "$SRC" "$NFS/dst"
figure_is todo 0
rpc_per 41 3 "sync on the mount, no state, for each directory"

# What the client remembers of the listings is no reason to ask for the attributes of each file once they are old.
nfs_mount 4.1 acregmin=3,acregmax=3
expect 0 sync --compare=dest "$SRC" "$NFS/dst"
sleep 3.1 # until they are
rpc_begin
expect 0 sync --json --compare=dest "$SRC" "$NFS/dst"
figure_is todo 0
rpc_per 41 3 "compared again, a moment later, for each directory"

# Nor is what it remembers taken for what stands there now.
nfs_mount 4.1 acregmin=600,acregmax=600,acdirmin=600,acdirmax=600
expect 0 sync --compare=dest "$SRC" "$NFS/dst"
behind=$(cd "$SRC" && find . -type f | sort | sed -n 500p)
echo more >>"$EXPORT/dst/$behind"
expect 0 sync --json --compare=dest "$SRC" "$NFS/dst"
figure_is files 1
judge_lab "$SRC" dst

umount "$NFS" # whose client asks now and then too
url=nfs://127.0.0.1/direct
expect 0 sync "$SRC" "$url"
before=$(served)
expect 0 sync --json --delete "$SRC" "$url"
figure_is todo 0
served_most "$before" 10 "sync over nfs://, nothing changed"
echo changed >"$SRC/changed"
settle
before=$(served)
expect 0 sync --json "$SRC" "$url"
figure_is files 1
served_most "$before" 45 "sync over nfs://, one file more"
judge_lab "$SRC" direct
rm -r "$XDG_STATE_HOME"
before=$(served)
expect 0 sync --json "$SRC" "$url"
figure_is todo 0
served_most "$before" $((41 * 3)) "sync over nfs://, no state, 41 directories"
