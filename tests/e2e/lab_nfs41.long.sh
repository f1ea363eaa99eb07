#!/usr/bin/env bash
# nfs:// to the Linux kernel's server: a tree with one of everything arrives as the server's own file system shows, a second
# run finds nothing to do, a file costs one COMPOUND, and a server that was stopped and started again in the middle costs
# time, not the run.
if [ "${1:-}" = --slices ]; then
    echo 1
    exit
fi
. "$(dirname "$0")/../lab/enter.sh" --rtt 0 --timeout 1600 --size 1g --mem 3072

maketree everything "$SRC"
rm "$SRC"/*/"beyond 4 GiB" # rsync reads all of its zeros, for minutes
settle

# compounds: that the server was sent so far, by anybody.
compounds() {
    awk '/^proc4 / { print $4 }' /proc/net/rpc/nfsd
}
# clients: that the server knows and that are ours; a mount is one of its own.
clients() {
    cat /proc/fs/nfsd/clients/*/info 2>/dev/null | grep -c 'name: "haul' || true
}
# opens: files that are open at the server.
opens() {
    cat /proc/fs/nfsd/clients/*/states 2>/dev/null | grep -c 'type: open' || true
}

begin=$SECONDS
expect 0 copy --json "$SRC" nfs://127.0.0.1/everything
figure_is failed 0
judge_lab "$SRC" everything
no_temps "$EXPORT/everything"
expect 0 copy --json "$SRC" nfs://127.0.0.1/everything
figure_is todo 0
[ "$(clients)" = 0 ] || fail "the server still knows of a client"
echo "everything: right, $((SECONDS - begin)) s"

# What a small file costs, all told.
maketree spread "$WORK/calls" 40 1000 8192
settle
net_rtt 2ms
before=$(compounds)
expect 0 copy --json "$WORK/calls" nfs://127.0.0.1/calls
each=$(awk -v n=$(($(compounds) - before)) 'BEGIN { printf "%.3f", n / 1000 }')
echo "1,000 files in 40 directories: $each COMPOUNDs each, $(figure seconds) s"
awk -v each="$each" 'BEGIN { exit !(each <= 1.2) }' || fail "$each COMPOUNDs a file"
judge_lab "$WORK/calls" calls
before=$(compounds)
expect 0 copy --json "$WORK/calls" nfs://127.0.0.1/calls
figure_is todo 0
[ $(($(compounds) - before)) -le 400 ] || fail "$(($(compounds) - before)) COMPOUNDs for a second look"

# The server is stopped in the middle, and started again.
start_haul --json "$WORK/calls" nfs://127.0.0.1/stopped
wait_until 300 eval '[ "$(find "$EXPORT/stopped" -type f ! -name ".haul.*" 2>/dev/null | wc -l)" -ge 200 ]'
server_stop
[ "$(find "$EXPORT/stopped" -type f ! -name '.haul.*' | wc -l)" -lt 1000 ] || fail "the server was stopped too late"
server_start
wait "$PID" || fail "exit status $?"
figure_is failed 0
judge_lab "$WORK/calls" stopped
no_temps "$EXPORT/stopped"
[ "$(opens)" = 0 ] || fail "a file is open at the server"
echo "server stopped and started: $(figure seconds) s"
