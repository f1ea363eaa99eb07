#!/usr/bin/env bash
# A copy over nfs:// whose connection is cut, each time somewhere else: before a call left, within it, after it arrived,
# before its answer came, within that; and one that goes quiet. Each time the tree is right, judged on the server's own
# folder, nothing is left over, no file is open. CUT_CALLS (calls of a run that are cut) and CUT_WAYS choose.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ganesha.sh"

need_root
ways=(up-before up-within up-after down-before down-within)
read -ra ways <<<"${CUT_WAYS:-${ways[*]}}"
mkdir "$WORK/export"
start_ganesha a "$WORK/export"
start_cutproxy "$GANESHA_PORT"
maketree spread "$SRC" 12 500 3000
settle
runs=0 cuts=0

# copied NAME: the copy of that name is one, and nothing else is left of it. said_goodbye: the server has forgotten us.
copied() {
    figure_is failed 0
    figure_is files 500
    judge_lax "$SRC" "$WORK/export/$1"
    no_temps "$WORK/export"
    [ ! -e "$WORK/export/$1/.haul" ] || fail "the lease is left"
    [ "$(ganesha_holds a "$WORK/export")" = 0 ] || fail "a file is held open"
}
said_goodbye() {
    [ "$(ganesha_clients a)" = 0 ] || fail "a client has not said goodbye: $(ls "$WORK"/ganesha.a/recovery/v4recov/*)"
}
# run NAME [OPTIONS]: a copy through the proxy.
run() {
    local name=$1
    shift
    rm -rf "$XDG_STATE_HOME"
    expect 0 copy --retry-delay 20ms --json "$@" "$SRC" "nfs://127.0.0.1:$CUT_PORT/export/$name"
    copied "$name"
    said_goodbye
    runs=$((runs + 1))
}

# How many calls there are to be cut.
cut_tell zero
run whole
calls=$(cut_stat up_records)
echo "a run makes $calls calls"
last=$((calls < 200 ? calls : 200))
begin=$SECONDS

# cut CALL WAY
cut() {
    cut_next "$2" "$1"
    run "$1.$2"
    cuts=$((cuts + $(cut_stat cuts)))
    [ "$1" -gt $((last / 2)) ] || [ "$(cut_stat cuts)" = 1 ] || fail "call $1 was not cut"
    rm -rf "$WORK/export/$1.$2"
}
if [ -n "${CUT_CALLS:-}" ]; then
    for call in $CUT_CALLS; do
        [ "$call" -gt "$last" ] || for way in "${ways[@]}"; do
            cut "$call" "$way"
        done
    done
else
    # The first ones make the session, the last ones end it: all of these, and some between.
    n=0
    for call in 1 2 3 4 5 6 7 8 9 10 12 15 20 30 $((last / 5)) $((last / 4)) $((last / 3)) $((last / 2)) \
        $((last * 3 / 5)) $((last * 2 / 3)) $((last * 4 / 5)) $((last - 4)) $((last - 2)) $((last - 1)) "$last"; do
        cut "$call" "${ways[$((n++ % ${#ways[@]}))]}"
    done
fi
echo "$runs runs, $cuts cuts, $((SECONDS - begin)) s"

cut_often

# A connection goes quiet, and nobody is told: found out, and another one taken.
cut_next up-after $((last / 2)) silent
elapsed_ms run quiet --io-timeout 8s
[ "$(cut_stat cuts)" = 1 ] || fail "no silence"
[ "$MS" -lt 15000 ] || fail "silence cost $MS ms"
echo "a connection went quiet: $MS ms"

# Everything goes quiet, new connections too: given up in time, told what it was; the next run completes.
cut_tell heal
cut_tell cut up after $((last / 2)) records silent all
rm -rf "$XDG_STATE_HOME"
start_haul --retry-delay 20ms --io-timeout 3s --json "$SRC" "nfs://127.0.0.1:$CUT_PORT/export/stopped"
cut_tell zero
wait_until 30 eval '[ "$(cut_stat cuts)" = 1 ]'
cut_tell silence
begin=$SECONDS status=0
wait "$PID" || status=$?
check_sanitizers
[ "$status" = 11 ] || [ "$status" = 23 ] || fail "exit status $status"
[ $((SECONDS - begin)) -le 30 ] || fail "took $((SECONDS - begin)) s to give up"
tail -n 1 "$WORK/err" | grep -q 'NOT everything arrived' || fail "the last line is '$(tail -n 1 "$WORK/err")'"
echo "everything went quiet: exit status $status after $((SECONDS - begin)) s"
cut_tell heal
expect 0 copy --json "$SRC" "nfs://127.0.0.1:$CUT_PORT/export/stopped"
judge_lax "$SRC" "$WORK/export/stopped"
no_temps "$WORK/export"

# New connections are refused for a while: waited for.
cut_next up-after $((last / 2))
rm -rf "$XDG_STATE_HOME"
start_haul --retry-delay 100ms --json "$SRC" "nfs://127.0.0.1:$CUT_PORT/export/refused"
wait_until 30 eval '[ "$(cut_stat cuts)" = 1 ]'
cut_tell refuse
cut_tell reset
sleep 1
cut_tell heal
wait "$PID" || fail "exit status $?"
copied refused
