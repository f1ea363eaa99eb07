#!/usr/bin/env bash
# One owner for a destination, on one host: the same place, above, below, side by side, and after a kill.
. "$(dirname "$0")/lib.sh"

other=$WORK/other # another source, whose state is another's too
mkdir -p "$SRC/sub" "$other/sub" "$other/side"
head -c 3000000 /dev/urandom >"$SRC/big"
echo one >"$SRC/sub/small"
echo two and two >"$other/sub/small"
echo two >"$other/side/small"

lease_stands() { [ -s "$1/.haul/lease" ]; }
lease_gone() { [ ! -e "$1/.haul" ]; }
run_of() { jq -r .run "$1/.haul/lease"; }

# slow DST: a run into DST that lasts for some seconds; $PID.
slow() {
    # shellcheck disable=SC2086
    "$HAUL" copy $HAUL_EXTRA --bwlimit 250K --jobs 1 --state "$WORK/slow.$(basename "$1").db" "$SRC" "$(at "$1")" >"$WORK/slow.out" 2>&1 &
    PID=$!
    E2E_PIDS+=("$PID")
    wait_until 60 lease_stands "$1"
}

# ends STATUS: the slow run, with that status.
ends() {
    local status=0
    wait "$PID" || status=$?
    [ "$status" = "$1" ] || fail "the slow run ended with $status, not $1: $(cat "$WORK/slow.out")"
}

# The same destination, above it, below it: refused, and nothing is touched; a dry run is welcome.
slow "$DST"
holder=$(run_of "$DST")
expect 11 copy --state "$WORK/b.db" "$other" "$DST"
err_has "another run works on '$(at "$DST")' \(host .*, process [0-9]+, run $holder, since .* UTC\)"
expect 11 copy "$other" "$DST/new"
err_has "another run works on '$(at "$DST")' "
[ ! -e "$DST/new" ] || fail "a refused run left its destination's root behind"
wait_until 60 test -e "$DST/sub/small"
touch -d '2001-02-03 04:05:06.789' "$DST/sub/" # whatever tries a server out there stirs it
before=$(stat -c %y "$DST/sub/")
expect 11 copy "$other" "$DST/sub"
[ ! -e "$DST/sub/.haul" ] || fail "a refused run left its lease behind"
[ "$(stat -c %y "$DST/sub/")" = "$before" ] || fail "a refused run left another time at the root: $(stat -c %y "$DST/sub/")"
expect 11 copy "$other/side/small" "$DST/single"
err_has "another run works on '$(at "$DST")' "
[ ! -e "$DST/side" ] && [ ! -e "$DST/single" ] || fail "a refused run left something behind"
expect 0 copy --dry-run "$other" "$DST"
[ "$(run_of "$DST")" = "$holder" ] || fail "the lease is another's"
# Waiting: not long enough, then long enough.
expect 11 copy --wait 2s --state "$WORK/b.db" "$other" "$DST"
out_has "another run works on '$(at "$DST")'.*waiting for it"
expect 0 copy --wait 60s --state "$WORK/b.db" "$other" "$DST"
ends 0
lease_gone "$DST" || fail ".haul stays after success"
[ "$(cat "$DST/sub/small")" = "two and two" ] || fail "the one that waited did not copy"
cmp "$SRC/big" "$DST/big"

# Below: the walk stops where another run works, says so, and copies the rest.
rm -rf "$DST"
mkdir -p "$DST/sub"
slow "$DST/sub"
expect 23 copy --json --state "$WORK/b.db" "$other" "$DST"
err_has 'sub: another run works there: host'
[ "$(failures)" = sub ] || fail "other failures: $(failures)"
[ "$(cat "$DST/side/small")" = two ] || fail "what lies beside did not arrive"
[ "$(cat "$DST/sub/small" 2>/dev/null)" != "two and two" ] || fail "something was copied where another run works"
[ ! -e "$DST/.haul/lease" ] || fail "a failed run keeps its lease"
ends 0
expect 0 copy --state "$WORK/b.db" "$other" "$DST"
lease_gone "$DST" || fail ".haul stays after success"
# What a dead run left below is passed over.
mkdir "$DST/sub/.haul"
echo '{"haul":1,"host":"gone","run":"0123456789abcdef","boot":"","pidns":1,"pid":1,"started":1,"since":1,"renewal":1,"period_ms":5000,"renewed_ns":1,"root":1}' \
    >"$DST/sub/.haul/lease"
touch -d '1 day ago' "$DST/sub/.haul/lease"
echo three, no less >"$other/sub/small"
elapsed_ms expect 0 copy --state "$WORK/b.db" "$other" "$DST"
[ "$MS" -lt 12000 ] || fail "an old lease below was looked at for $MS ms"
[ "$(cat "$DST/sub/small")" = "three, no less" ] || fail "a dead lease keeps its directory from being copied"

# Killed: its lease stands, and does not keep the next run waiting.
rm -rf "$DST"
slow "$DST"
kill -KILL "$PID"
wait "$PID" 2>/dev/null || true
lease_stands "$DST" || fail "there is no lease of the killed run"
elapsed_ms expect 0 copy --archive-dirs --state "$WORK/slow.dst.db" "$SRC" "$DST"
[ "$MS" -lt 12000 ] || fail "the next run took $MS ms"
judge "$SRC" "$DST"
no_temps "$DST"
lease_gone "$DST" || fail ".haul stays after success"

# Interrupted: the lease is gone.
rm -rf "$DST"
slow "$DST"
kill -TERM "$PID"
ends 20
[ ! -e "$DST/.haul/lease" ] || fail "an interrupted run keeps its lease"

# Four runs into four places side by side.
rm -rf "$DST"
mkdir "$DST"
for i in 1 2 3 4; do
    maketree told "$WORK/src$i" 300 2 "$i"
done
pids=()
for i in 1 2 3 4; do
    # shellcheck disable=SC2086
    "$HAUL" copy $HAUL_EXTRA --archive-dirs "$WORK/src$i" "$(at "$DST/$i")" >"$WORK/out$i" 2>&1 &
    pids+=("$!")
    E2E_PIDS+=("$!")
done
for i in 1 2 3 4; do
    wait "${pids[$((i - 1))]}" || fail "run $i: $(cat "$WORK/out$i")"
done
for i in 1 2 3 4; do
    judge "$WORK/src$i" "$DST/$i"
done

# Single files side by side in one directory need no lease of their own.
rm -rf "$DST"
mkdir "$DST"
for i in 1 2 3 4; do
    # shellcheck disable=SC2086
    "$HAUL" copy $HAUL_EXTRA "$SRC/big" "$(at "$DST/big$i")" >"$WORK/out$i" 2>&1 &
    pids[i - 1]=$!
    E2E_PIDS+=("$!")
done
for i in 1 2 3 4; do
    wait "${pids[$((i - 1))]}" || fail "single file $i: $(cat "$WORK/out$i")"
    cmp "$SRC/big" "$DST/big$i"
done
lease_gone "$DST" || fail "single files leave a .haul"

# .haul that is none of ours, and leases that nobody can read.
rm -rf "$DST"
mkdir "$DST"
echo mine >"$DST/.haul"
expect 11 copy "$other" "$DST"
err_has 'no lease on DST'
[ "$(cat "$DST/.haul")" = mine ] || fail "a file of that name was touched"
rm "$DST/.haul"
ln -s "$WORK/elsewhere" "$DST/.haul"
mkdir "$WORK/elsewhere"
expect 11 copy "$other" "$DST"
err_has 'no lease on DST'
[ -z "$(ls -A "$WORK/elsewhere")" ] || fail "a symbolic link led the lease elsewhere"
rm "$DST/.haul"
export HAUL_TEST_PERIOD=100 # of the program with faults: garbage is waited for, since somebody may write it
HAUL=$HAUL_FAULTY
for garbage in '' '{' '{"haul":1}' '{"haul":2,"host":"future"}' "$(head -c 20000 /dev/zero | tr '\0' x)"; do
    mkdir -p "$DST/.haul"
    printf '%s' "$garbage" >"$DST/.haul/lease"
    expect 0 copy "$other" "$DST"
    out_has 'looking whether it lives'
    lease_gone "$DST" || fail ".haul stays"
done

# Taken away by hand, the lease comes back, and the run goes on.
rm -rf "$DST"
slow "$DST"
rm -rf "$DST/.haul"
wait_until 20 lease_stands "$DST"
ends 0
lease_gone "$DST" || fail ".haul stays"
