#!/usr/bin/env bash
# Many files in one directory, of mixed sizes and empty ones, in bounded memory. The numbers of the long test are those
# of the promise; the bound is the same here.
. "$(dirname "$0")/lib.sh"

bound_kib=$((96 * 1024))

# one COUNT MAX: COUNT files of 0..MAX bytes in one directory.
one() {
    local count=$1 max=$2 status=0 peak
    maketree flat "$SRC" "$count" "$max"
    settle
    # shellcheck disable=SC2086
    maxrss "$WORK/rss" "$HAUL" copy $HAUL_EXTRA --json "$SRC" "$DST" >"$WORK/out" 2>"$WORK/err" || status=$?
    [ "$status" = 0 ] || fail "exit status $status"
    figure_is files "$count"
    peak=$(cat "$WORK/rss")
    echo "$count files of up to $max bytes: peak $peak KiB, $(figure seconds) s"
    [ "$peak" -le "$bound_kib" ] || fail "peak memory $peak KiB, more than $bound_kib"
    cmptree --no-dir-times "$SRC" "$DST" >"$WORK/cmptree" || fail "cmptree finds: $(cat "$WORK/cmptree")"
    expect 0 copy --json "$SRC" "$DST"
    figure_is todo 0
    rm -rf "$SRC" "$DST" "$XDG_STATE_HOME"
}

one "${SCALE_MIXED:-100000}" 65536
one "${SCALE_EMPTY:-100000}" 0
