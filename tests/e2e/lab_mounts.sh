#!/usr/bin/env bash
# On a real kernel NFS mount: a tree with one of everything arrives with each version of the protocol, as the server's own
# file system shows; without io_uring too; what a file costs in calls; the mount as the source.
. "$(dirname "$0")/../lab/enter.sh" --rtt 0 --timeout 1600 --size 1g --mem 3072

# direct SRC DST SIDE REGEX MOST: a copy with --direct from or to a mount, whose events say that SIDE is REGEX instead; for
# each of 1,000 files the mount makes MOST calls at most.
direct() {
    rpc_begin
    expect 0 copy --direct --json "$1" "$2"
    jq -es --arg side "$3" --arg url "$4" 'any(.[]; .event == "start" and (.[$side] | test($url)))' "$WORK/out" >/dev/null ||
        fail "--direct: the $3 is not $4: $(head -n 1 "$WORK/out")"
    rpc_per 1000 "$5" "calls of the mount with --direct, the $3 being $4"
}
# shown NAME: all of "calls" has arrived at NAME without the mount, and the mount shows it.
shown() {
    local diff
    judge_lab "$WORK/calls" "$1"
    diff=$(rsync -rlptgoDHnO --itemize-changes "$WORK/calls/" "$NFS/$1/")
    [ -z "$diff" ] || fail "the mount does not show what arrived without it: $(head -n 5 <<<"$diff")"
}

maketree everything "$SRC"
rm "$SRC"/*/"beyond 4 GiB" # rsync reads all of its zeros, for minutes
settle

for vers in 4.1 3 4.0 4.2; do
    nfs_mount "$vers"
    begin=$SECONDS
    expect 0 copy --json "$SRC" "$NFS/everything.$vers"
    figure_is failed 0
    case $vers in
    4.0) err_has 'NFS 4\.0 mount opens' ;;
    *) ! grep -q 'mount opens' "$WORK/err" || fail "a notice about $vers" ;;
    esac
    judge_lab "$SRC" "everything.$vers"
    no_temps "$EXPORT/everything.$vers"
    expect 0 copy --json "$SRC" "$NFS/everything.$vers"
    figure_is todo 0
    echo "NFS $vers: right, $((SECONDS - begin)) s"
    # What is large has been seen to work; and NFSv3 has no times before 1970.
    find "$SRC" -type f \( -size +2M -o ! -newermt 1970-01-01 \) -delete
done

# What a small file costs: OPEN, WRITE, SETATTR (times), CLOSE, RENAME, and a share of what its directory costs.
nfs_mount 4.1
maketree spread "$WORK/calls" 40 1000 8192
settle
net_rtt 2ms
rpc_begin
expect 0 copy --json "$WORK/calls" "$NFS/calls"
# And about one each second for the lease, which is another share on a busy machine.
rpc_per 1000 "$(awk -v s="$(figure seconds)" 'BEGIN { printf "%.2f", 5.5 + 1.2 * s / 1000 }')" "publishing 1,000 files in 40 directories"
judge_lab "$WORK/calls" calls

# What the mount has cost is told, and what goes without it: --direct does, as the kernel's counts of the mount show.
files=$(find "$WORK/calls" -type f | wc -l)
err_has "the mount took [0-9]+ calls for $files files; --direct \\(nfs://.*/calls\\) would have saved about [0-9]+ of them"
direct "$WORK/calls" "$NFS/direct" destination '^nfs://.*/direct$' 0.02
shown direct
rm -rf "$EXPORT/direct"

# From the mount: the same, and what has been written through it and not been sent yet is there. From it to it, too.
expect 0 copy --json "$NFS/calls" "$WORK/by-mount"
err_has "the mount took [0-9]+ calls for $files files; --direct \\(nfs://.*/calls\\) would have saved about [0-9]+ of them"
nfs_mount 4.1 # delegations have gone back
exec 3>"$NFS/calls/open"
echo "not closed" >&3
direct "$NFS/calls" "$WORK/without" source '^nfs://.*/calls$' 0.03
exec 3>&-
judge_lab "$WORK/without" calls
[ "$(cat "$WORK/without/open")" = "not closed" ] || fail "what was not sent yet did not arrive"
rm "$NFS/calls/open"
direct "$NFS/calls" "$NFS/direct" source '^nfs://.*/calls$' 0.02
judge_lab "$WORK/calls" direct
rm -rf "$EXPORT/direct" "$WORK/without" "$WORK/by-mount"
expect 1 copy --direct "$NFS/calls" "$NFS/calls/below"
err_has "is below SRC"
expect 0 copy --direct --xattrs --json "$NFS/calls/d00001" "$WORK/one"
err_has "--direct: SRC '.*': extended attributes .*; it is used as it is"

# A mount of NFSv3 is left alone in NFSv3: to it, from it, from it to it.
nfs_mount 3
direct "$WORK/calls" "$NFS/direct3" destination '^nfs://.*/direct3.version=3$' 0.02
shown direct3
nfs_mount 3
direct "$NFS/direct3" "$WORK/without" source '^nfs://.*/direct3.version=3$' 0.03
judge_lab "$WORK/without" direct3
expect 0 copy --direct --json "$NFS/direct3" "$NFS/again3"
judge_lab "$WORK/calls" again3
rm -rf "$EXPORT/direct3" "$EXPORT/again3" "$WORK/without"

# A second run that finds nothing to do asks by the directory, not by the file; nothing is left in the client's caches.
nfs_mount 4.1
rpc_begin
expect 0 copy --json "$WORK/calls" "$NFS/calls"
figure_is todo 0
rpc_per 1000 0.5 "looking at 1,000 files in 40 directories"
net_rtt 0
rm -rf "$WORK/calls"/d*[1-9]
expect 0 copy --no-io-uring --json "$WORK/calls" "$NFS/calls.noring"
judge_lab "$WORK/calls" calls.noring

# The mount as the source.
rm -rf "$EXPORT/everything.4.1"
expect 0 copy --json "$NFS/everything.4.2" "$WORK/back"
figure_is failed 0
diff=$(rsync -aHnO --checksum --delete --itemize-changes --exclude=/.haul "$SRC/" "$WORK/back/")
[ -z "$diff" ] || fail "rsync finds: $diff"
