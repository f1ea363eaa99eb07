#!/usr/bin/env bash
# haul sync with nothing to do: how little it asks a server, that it leaves the destination as it is, takes no lease, and
# that its first change is made only once the lease is its own, of a destination that is still as it was.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ganesha.sh"

need_root
export=$WORK/export
mkdir -p "$export"
maketree spread "$SRC" 40 1000 100
chmod 777 "$SRC"
settle
start_ganesha a "$export"
start_cutproxy "$(ganesha_port a)"
url=nfs://127.0.0.1:$CUT_PORT/export/dst

# asked MOST COMMAND...: haul with at most so many calls, of any kind.
asked() {
    local most=$1 before calls
    shift
    before=$(cut_stat up_records)
    expect 0 "$@"
    calls=$(($(cut_stat up_records) - before))
    echo "$*: $calls calls"
    [ "$calls" -le "$most" ] || fail "$*: $calls calls, more than $most"
}
look() {
    find "$1" -printf '%p %i %m %s %T@ %C@\n' | sort
}

# Nothing changed: 41 directories, 1,000 files.
expect 0 sync "$SRC" "$url"
judge_lax "$SRC" "$export/dst"
look "$export/dst" >"$WORK/look"
for again in 'sync --json' 'sync --json --delete'; do
    # shellcheck disable=SC2086
    asked 10 $again "$SRC" "$url"
    figure_is todo 0
done
look "$export/dst" | cmp -s - "$WORK/look" || fail "a sync with nothing to do changed: $(look "$export/dst" | diff "$WORK/look" -)"
[ "$(ganesha_clients a)" = 0 ] || fail "the server still knows us"

# One file more; what the server can do is known.
echo more >"$SRC/more"
settle
asked 40 sync --json "$SRC" "$url"
figure_is files 1
judge_lax "$SRC" "$export/dst"

# A complete destination that nothing is remembered of.
rm -r "$XDG_STATE_HOME"
asked $((41 * 3)) sync --json "$SRC" "$url"
figure_is todo 0
asked 10 sync --json "$SRC" "$url"

# ---- the end ----

# ends MOST COMMAND...: from the last directory's files on, at most so many round trips follow one another: the files, a
# look at each of them, what is set of all directories, the lease with .haul/ beside the sessions, the last session, the
# client. A busy machine may take more: one of five tries will do.
ends() {
    local most=$1 try took
    shift
    for try in 1 2 3 4 5; do
        mkfifo "$WORK/list"
        "$HAUL" "$@" --files-from "$WORK/list" "$WORK/last" "$url/end$try" >"$WORK/out" 2>"$WORK/err" &
        PID=$!
        E2E_PIDS+=("$PID")
        exec 5>"$WORK/list"
        printf '%s\n' a/one b/c/d/two last/three last/four >&5
        wait_until 60 test -e "$export/dst/end$try/b/c/d/two"
        wait_until 60 all_answered
        cut_tell zero
        cut_tell delay up 60ms
        exec 5>&-
        wait "$PID" || fail "$*: exit status $?: $(cat "$WORK/err")"
        took=$(cut_stat rounds)
        cut_tell delay up 0
        rm "$WORK/list"
        judge_lax "$WORK/last" "$export/dst/end$try"
        rm -rf "$export/dst/end$try"
        [ "$took" -gt "$most" ] || break
    done
    echo "the end of $*: $took round trips one after the other"
    [ "$took" -le "$most" ] || fail "$took round trips at the end of $*, more than $most"
}
all_answered() { [ "$(cut_stat up_records)" = "$(cut_stat down_records)" ]; }
mkdir -p "$WORK/last/a" "$WORK/last/b/c/d" "$WORK/last/last"
for name in a/one b/c/d/two last/three last/four; do
    echo "$name" >"$WORK/last/$name"
done
ends 6 copy --recheck 100%

# A server that refuses owners now, though it is remembered that it takes them: found out, and told once.
kill_ganesha a
sed -i 's/Squash = No_Root_Squash/Squash = Root_Squash/' "$WORK/ganesha.a/conf"
restart_ganesha a
chmod 777 "$export/dst/.haul"
echo mine >"$SRC/mine"
chown 1234:1234 "$SRC/mine"
settle
expect 0 sync --json "$SRC" "$url"
figure_is failed 0
err_has 'refuses to set owners'
[ "$(cat "$export/dst/mine")" = mine ] || fail "a file that is owned by nobody did not arrive"
kill_ganesha a

# ---- the first change ----

# late COMMAND...: a sync that has looked, and found nobody there, waits for what it is to copy; COMMAND is carried out;
# then it hears of a file that has changed. Its status in $LATE.
late() {
    LATE=0
    mkfifo "$WORK/list"
    "$HAUL" sync "${options[@]}" --json --files-from "$WORK/list" "$SRC" "$DST" >"$WORK/out" 2>"$WORK/err" &
    PID=$!
    E2E_PIDS+=("$PID")
    exec 5>"$WORK/list" # opened by haul once it has looked
    "$@" 5>&-
    echo changed >&5
    exec 5>&-
    wait "$PID" || LATE=$?
    check_sanitizers
    rm "$WORK/list"
}
# holds: another run works there, for some seconds; it copies $other.
other=$WORK/other
mkdir "$other"
head -c 1500000 /dev/urandom >"$other/large"
holds() {
    "$HAUL" copy --bwlimit 500K --jobs 1 --state "$WORK/other.db" "$other" "$DST" >"$WORK/other.out" 2>&1 &
    HOLDER=$!
    E2E_PIDS+=("$HOLDER")
    wait_until 60 test -s "$DST/.haul/lease"
}

options=()
expect 0 sync "$SRC" "$DST"
echo one >"$SRC/changed"
late true
[ "$LATE" = 0 ] && [ "$(cat "$DST/changed")" = one ] || fail "a late change: status $LATE: $(cat "$WORK/err")"
[ ! -e "$DST/.haul/lease" ] || fail "the lease stays"

# Somebody works there by then: refused, and nothing is changed; waited for; interrupted while waiting.
echo two >"$SRC/changed"
late holds
[ "$LATE" = 11 ] && [ "$(cat "$DST/changed")" = one ] || fail "beside another run: status $LATE"
err_has "another run works on '$DST' \\(host"
wait "$HOLDER" || fail "the other run: $(cat "$WORK/other.out")"
expect 0 sync "$SRC" "$DST"
rm "$DST/large"
echo three >"$SRC/changed"
options=(--wait 60s)
late holds
[ "$LATE" = 0 ] && [ "$(cat "$DST/changed")" = three ] || fail "waiting for another run: status $LATE"
wait "$HOLDER" || fail "the other run: $(cat "$WORK/other.out")"
rm "$DST/large"
echo four >"$SRC/changed"
interrupted() {
    holds
    (sleep 1 && kill -TERM "$PID") &
}
elapsed_ms late interrupted
[ "$LATE" = 20 ] && [ "$(cat "$DST/changed")" = three ] || fail "interrupted while waiting: status $LATE"
wait "$HOLDER" || fail "the other run: $(cat "$WORK/other.out")"

# Somebody has synced to it meanwhile: what was found out before counts no more. The next run compares.
expect 0 sync "$SRC" "$DST"
echo five >"$SRC/changed"
options=()
late "$HAUL" sync --quiet --state "$WORK/third.db" "$other" "$DST"
[ "$LATE" = 11 ] && [ "$(cat "$DST/changed")" = four ] || fail "another sync in between: status $LATE"
err_has 'another run has changed it since this one began'
expect 0 sync "$SRC" "$DST"
[ "$(cat "$DST/changed")" = five ] || fail "the run after that"
expect 0 sync "$SRC" "$DST"
