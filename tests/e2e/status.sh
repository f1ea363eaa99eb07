#!/usr/bin/env bash
# haul status: past and present runs, how they ended, and since when they have not ended well.
. "$(dirname "$0")/lib.sh"

# said: of the last run of haul status, on one line.
status_json() {
    "$HAUL" status --json "$@" >"$WORK/out" 2>"$WORK/err" || fail "haul status $*: exit status $?"
}
field() {
    jq -rs ".[$1].$2" "$WORK/out"
}

"$HAUL" status >"$WORK/out" 2>"$WORK/err" || fail "nothing to tell is no failure"
out_has 'no run is remembered'
[ ! -e "$XDG_STATE_HOME/haul" ] || fail "it made something"

mkdir "$SRC" "$WORK/other"
for i in $(seq 40); do head -c 100000 /dev/urandom >"$SRC/f$i"; done
expect 0 copy "$SRC" "$DST"
echo new >"$SRC/new"
expect 30 copy --bwlimit 1M --max-duration 1s "$SRC" "$WORK/second dst"
expect 30 copy --bwlimit 1M --max-duration 1s "$SRC" "$WORK/second dst"

status_json
[ "$(jq -rs length "$WORK/out")" = 2 ] || fail "not one run of each pair"
status_json "$DST"
[ "$(field 0 destination)" = "$DST" ] && [ "$(field 0 status)" = 0 ] && [ "$(field 0 entries_done)" -ge 40 ] ||
    fail "the first pair: $(cat "$WORK/out")"
[ "$(field 0 how)" = "everything arrived" ] && [ "$(field 0 failing_runs)" = null ] || fail "$(cat "$WORK/out")"
status_json "$WORK/second dst/."
[ "$(jq -rs length "$WORK/out")" = 2 ] && [ "$(field 0 run)" = 2 ] && [ "$(field 1 run)" = 1 ] || fail "not both runs"
[ "$(field 0 status)" = 30 ] && [ "$(field 0 how)" = "out of time" ] && [ "$(field 0 failing_runs)" = 2 ] ||
    fail "$(cat "$WORK/out")"
"$HAUL" status >"$WORK/out" 2>"$WORK/err" || fail "exit status $?"
out_has "^$SRC -> $DST\$"
out_has 'everything arrived$'
out_has 'failing since 20.*: 2 runs'

# One that runs now, and one that was killed.
start_haul --bwlimit 500K "$SRC" "$WORK/third"
is_running() { "$HAUL" status --json "$WORK/third" 2>/dev/null | jq -e '.running' >/dev/null; }
wait_until 30 is_running
kill -KILL "$PID"
wait "$PID" 2>/dev/null || true
is_over() { ! is_running; }
wait_until 30 is_over
status_json "$WORK/third"
[ "$(field 0 how)" = killed ] && [ "$(field 0 status)" = null ] && [ "$(field 0 failing_runs)" = 1 ] || fail "$(cat "$WORK/out")"

# A state of its own, one that is none, wrong use.
expect 0 copy --state "$WORK/own.db" "$SRC" "$DST"
status_json --state "$WORK/own.db"
[ "$(field 0 destination)" = "$DST" ] || fail "$(cat "$WORK/out")"
# One place has one text, however its URL is written.
sqlite3 "$WORK/own.db" "UPDATE meta SET destination = CAST('nfs://server/export/x?version=3' AS BLOB)"
mkdir -p "$WORK/urls/haul"
mv "$WORK/own.db" "$WORK/urls/haul"
for url in 'nfs://Server:2049/export//x/?version=3&mountport=20048' 'nfs://server/export/%78?version=3'; do
    XDG_STATE_HOME=$WORK/urls status_json "$url"
    [ "$(field 0 how)" = "everything arrived" ] || fail "$url: $(cat "$WORK/out")"
done
XDG_STATE_HOME=$WORK/urls "$HAUL" status nfs://server/export/x >"$WORK/out" 2>"$WORK/err" && fail "version 4.1 is another place"
"$HAUL" status 'nfs://server/x?version=2' >"$WORK/out" 2>"$WORK/err" && fail "a version that there is not"
err_has "is no version of NFS"
echo "no database" >"$WORK/none.db"
"$HAUL" status --state "$WORK/none.db" >"$WORK/out" 2>"$WORK/err" && fail "that is no state"
err_has "none of haul's, or damaged"
[ "$(cat "$WORK/none.db")" = "no database" ] || fail "it was changed"
"$HAUL" status "$WORK/other" >"$WORK/out" 2>"$WORK/err" && fail "nothing is known of it"
err_has 'no run to'
"$HAUL" status --jobs 3 >"$WORK/out" 2>"$WORK/err" && fail "an option that it has not"
err_has 'is not for haul status'
"$HAUL" status a b >"$WORK/out" 2>"$WORK/err" && fail "two destinations"
err_has 'takes DST or nothing'
