#!/usr/bin/env bash
# kill -9 at 50 random moments of a copy of /usr, each followed by a run that finishes, in ten slices of five; a checker
# looks at the destination all the while.
if [ "${1:-}" = --slices ]; then
    echo 10
    exit 0
fi
export E2E_TIMEOUT=3000
. "$(dirname "$0")/lib.sh"
need_root
tree=${KILL_TREE:-/usr}

elapsed_ms expect 0 copy --archive-dirs "$tree" "$DST"
full_ms=$MS
rm -rf "$DST" "$XDG_STATE_HOME"
echo "a run takes $full_ms ms"
for i in 1 2 3 4 5; do
    start_watch --same "$tree" "$DST"
    start_haul --archive-dirs "$tree" "$DST"
    sleep "$(random_ms "$full_ms")"
    kill -KILL "$PID" 2>/dev/null || echo "kill $i came too late"
    wait "$PID" 2>/dev/null || true
    expect 0 copy --archive-dirs --json "$tree" "$DST"
    stop_watch
    echo "kill $i: $(figure same) right already, $(figure files) files copied; $(cat "$WORK/watch.out")"
    judge "$tree" "$DST"
    no_temps "$DST"
    rm -rf "$DST" "$XDG_STATE_HOME"
done
