#!/usr/bin/env bash
# The server behind nfs:// is killed with SIGKILL and started again, several times in one copy: with what it knew of its
# clients, without it, with a time of grace. The tree is right each time, judged on the server's own folder.
# RESTART_FILES, RESTART_TIMES choose; RESTART_KINDS: remembers, forgets, grace.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ganesha.sh"

need_root
files=${RESTART_FILES:-3000} times=${RESTART_TIMES:-3}
mkdir "$WORK/export"
maketree spread "$SRC" 60 "$files" 3000
settle

# arrived NAME N: N files have their final names, or the run has ended.
arrived() {
    [ "$(find "$WORK/export/$1" -name 'f*' -type f 2>/dev/null | wc -l)" -ge "$2" ] || ! kill -0 "$PID" 2>/dev/null
}

for kind in ${RESTART_KINDS:-remembers forgets}; do
    GANESHA_GRACE=0
    [ "$kind" != grace ] || GANESHA_GRACE=3
    start_ganesha "$kind" "$WORK/export"
    # Slow enough that there is a middle.
    start_cutproxy "$GANESHA_PORT" "rtt 20ms"
    rm -rf "$XDG_STATE_HOME"
    begin=$SECONDS killed=0
    start_haul --retries 20 --retry-delay 50ms --json "$SRC" "nfs://127.0.0.1:$CUT_PORT/export/$kind"
    for i in $(seq "$times"); do
        wait_until 300 arrived "$kind" $((files * i / (times + 1)))
        kill -0 "$PID" 2>/dev/null || break
        kill_ganesha "$kind"
        restart_ganesha "$kind" "$([ "$kind" != forgets ] || echo forget)"
        killed=$((killed + 1))
    done
    wait "$PID" || fail "$kind: exit status $? after $killed restarts"
    check_sanitizers
    [ "$killed" = "$times" ] || fail "$kind: only $killed restarts; it was too quick"
    figure_is failed 0
    figure_is files "$files"
    judge_lax "$SRC" "$WORK/export/$kind"
    no_temps "$WORK/export"
    [ "$(ganesha_holds "$kind" "$WORK/export")" = 0 ] || fail "a file is held open"
    echo "$kind: $files files, $killed restarts, $((SECONDS - begin)) s"
    stop_cutproxy
    stop_ganesha "$kind"
    rm -rf "$WORK/export/$kind"
done
