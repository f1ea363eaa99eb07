#!/usr/bin/env bash
# What cannot be read, or not be written, does not stop the rest: exit 23, each in the report, none counted as done.
. "$(dirname "$0")/lib.sh"
need_root

mkdir -p "$SRC/open/deep" "$SRC/closed"
for i in $(seq 100); do
    echo "$i" >"$SRC/open/deep/$i"
done
echo secret >"$SRC/open/file"
chmod 000 "$SRC/open/file"
echo inside >"$SRC/closed/inside"
chmod 700 "$SRC/closed"
head -c 3000000 /dev/urandom >"$SRC/open/large"
chmod 000 "$SRC/open/large"
chown -R 65534:65534 "$SRC/open/deep"
mkdir -m 777 "$WORK/to" "$WORK/state.nobody"
cp "$HAUL" "$WORK/haul"
chmod 755 "$WORK/haul"
printf '#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups env XDG_STATE_HOME=%s %s "$@"\n' \
    "$WORK/state.nobody" "$WORK/haul" >"$WORK/as-nobody"
chmod 755 "$WORK/as-nobody"
HAUL_REAL=$HAUL
HAUL=$WORK/as-nobody

expect 23 copy --json "$SRC" "$WORK/to/dst"
[ "$(failures)" = "$(printf 'closed\nopen/file\nopen/large')" ] || fail "other failures: $(failures)"
jq -es '[.[] | select(.event == "failure")] | all(.[]; .side == "source" and .error == "EACCES")' "$WORK/out" >/dev/null ||
    fail "the failures do not tell what happened"
figure_is status 23
figure_is failed 3
[ "$(tail -n 1 "$WORK/err" | grep -c 'NOT everything arrived')" = 1 ] || fail "the last line does not say it"
for i in $(seq 100); do
    cmp -s "$SRC/open/deep/$i" "$WORK/to/dst/open/deep/$i" || fail "open/deep/$i did not arrive"
done
[ ! -e "$WORK/to/dst/open/file" ] && [ ! -e "$WORK/to/dst/open/large" ] || fail "a file without contents arrived"
no_temps "$WORK/to/dst"

# Without --json: listed on standard error, with reason.
expect 23 copy "$SRC" "$WORK/to/dst"
err_has 'open/file.*Permission denied'
err_has 'closed.*Permission denied'

# A directory at the destination that cannot be written: the others go on.
HAUL=$HAUL_REAL
chmod -R u+rwX,go+rX "$SRC"
mkdir "$WORK/to/dst2" "$WORK/to/dst2/closed"
chown 65534:65534 "$WORK/to/dst2"
chmod 755 "$WORK/to/dst2/closed"
HAUL=$WORK/as-nobody
expect 23 copy --json "$SRC" "$WORK/to/dst2"
failures | grep -qx 'closed/inside' || fail "closed/inside is not in the report: $(failures)"
jq -es 'any(.[]; .event == "failure" and .path == "closed/inside" and .side == "destination")' "$WORK/out" >/dev/null ||
    fail "the failure is not told as the destination's"
cmp "$SRC/open/large" "$WORK/to/dst2/open/large" || fail "open/large did not arrive"

# More failures than are listed as text: all are in --json, and the count is told.
mkdir "$SRC/many"
for i in $(seq 60); do
    echo "$i" >"$SRC/many/$i"
    chmod 000 "$SRC/many/$i"
done
expect 23 copy --json "$SRC" "$WORK/to/dst3"
[ "$(failures | grep -c '^many/')" = 60 ] || fail "not all failures are in --json"
[ "$(grep -c 'many/.*Permission denied' "$WORK/err")" = 20 ] || fail "not 20 failures listed as text"
# Once they can be read, a further run brings them.
chmod 644 "$SRC/many"/*
expect 0 copy --json "$SRC" "$WORK/to/dst3"
figure_is files 60
