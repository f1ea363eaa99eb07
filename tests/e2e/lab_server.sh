#!/usr/bin/env bash
# A kernel NFS mount whose server or link fails in the middle of a run: the run waits, goes on, and all is there.
. "$(dirname "$0")/../lab/enter.sh" --rtt 500us --timeout 1600 --size 1g --mem 3072

# under_way NAME N: whether N files have arrived there.
under_way() {
    [ "$(find "$EXPORT/$1" -type f ! -name '.haul.*' 2>/dev/null | wc -l)" -ge "$2" ]
}

# The server is stopped for 20 s in the middle, and started again.
maketree spread "$SRC" 40 800 8192
start_haul --json "$SRC" "$NFS/stopped"
wait_until 300 under_way stopped 100
server_stop
! under_way stopped 800 || fail "the server was stopped too late"
sleep 20
kill -0 "$PID" || fail "the run has not waited for the server"
server_start
wait "$PID" || fail "exit status $?"
judge_lab "$SRC" stopped
no_temps "$EXPORT/stopped"
echo "server stopped for 20 s: $(figure seconds) s"
rm -rf "$SRC" "$EXPORT/stopped"

# 7,000 files of mixed size, and a link over which nothing comes for 15 s; nobody is told.
mkdir "$SRC"
for i in $(seq 20); do
    maketree flat "$SRC/$i" 350 16384
done
start_haul --json "$SRC" "$NFS/stalled"
wait_until 900 under_way stalled 1000
net_cut
! under_way stalled 7000 || fail "the link was cut too late"
sleep 15
kill -0 "$PID" || fail "the run has not waited for the link"
net_heal
wait "$PID" || fail "exit status $?"
figure_is files 7000
figure_is failed 0
judge_lab "$SRC" stalled
no_temps "$EXPORT/stalled"
echo "7,000 files, link cut for 15 s: $(figure seconds) s"
