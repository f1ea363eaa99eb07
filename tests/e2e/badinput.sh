#!/usr/bin/env bash
# Wrong use and what cannot work: a message with path and reason on standard error, exit 1 or 11, and nothing created.
. "$(dirname "$0")/lib.sh"

mkdir "$SRC" "$SRC/sub"
echo content >"$SRC/file"
echo plain >"$WORK/plain"

# look: all that is in $WORK, but for what this script itself writes there, and the states.
look() {
    (cd "$WORK" && find . -mindepth 1 \( -path ./state -o -path ./dbs \) -prune -o ! -path ./out ! -path ./err ! -path ./look \
        -printf '%p %i %m %s %C@\n' | sort)
}

# bad STATUS REGEX ARGUMENTS...: run exactly so; must fail so, say so, and leave everything as it was.
bad() {
    local want=$1 says=$2 status=0
    shift 2
    look >"$WORK/look"
    "$HAUL" "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
    check_sanitizers
    [ "$status" = "$want" ] || fail "haul $*: exit status $status, not $want"
    err_has "$says"
    look | cmp -s - "$WORK/look" || fail "haul $*: something was created or changed: $(look | diff "$WORK/look" - | head)"
    echo "$status: $(head -n 1 "$WORK/err")"
}

# The command line.
bad 1 'no command'
bad 1 "unknown command 'cpoy'" cpoy "$SRC" "$DST"
bad 1 'DST' copy "$SRC"
bad 1 'arguments' copy "$SRC" "$DST" more
bad 1 "unknown option '--frobnicate'" copy --frobnicate "$SRC" "$DST"
bad 1 "unknown option '-Z'" copy -Z "$SRC" "$DST"
bad 1 'needs an argument' copy "$SRC" "$DST" --jobs
for value in x 0 -1 1.5 4097 99999999999999999999 '' ' 5' 5x; do
    bad 1 "--jobs: '$value'" copy "--jobs=$value" "$SRC" "$DST"
done
for value in 10Q -5 x '' 1e3 nan 1M1 99999999999999E; do
    bad 1 "--bwlimit: '$value'" copy "--bwlimit=$value" "$SRC" "$DST"
done
for value in -1 x '' 2.5 1001; do
    bad 1 "--retries: '$value'" copy "--retries=$value" "$SRC" "$DST"
done
for value in -1s x '' 5y; do
    bad 1 "--retry-delay: '$value'" copy "--retry-delay=$value" "$SRC" "$DST"
done
for value in -1 x '' 1Q; do
    bad 1 "--stage-max: '$value'" copy "--stage-max=$value" "$SRC" "$DST"
    bad 1 "--temp-space: '$value'" copy "--temp-space=$value" "$SRC" "$DST"
done
bad 1 "--stage: 'often'" copy --stage=often "$SRC" "$DST"
bad 1 "--temp-dir: the path is empty" copy --temp-dir= "$SRC" "$DST"
bad 1 "--sparse: 'yes'" copy --sparse=yes "$SRC" "$DST"
bad 1 "--owner: 'me'" copy --owner=me "$SRC" "$DST"
bad 1 'empty' copy --exclude= "$SRC" "$DST"
bad 1 'SRC is empty' copy "" "$DST"
bad 1 'DST is empty' copy "$SRC" ""

# Places.
bad 11 "$WORK/missing'.*No such file" copy "$WORK/missing" "$DST"
bad 11 "$WORK/plain/below'.*Not a directory" copy "$WORK/plain/below" "$DST"
bad 11 "$WORK/no/such/dst'.*No such file" copy "$SRC" "$WORK/no/such/dst"
bad 1 "below SRC" copy "$SRC" "$SRC/sub"
bad 1 "below SRC" copy "$SRC" "$SRC/sub/new"
bad 1 "below SRC" copy "$SRC" "$SRC/new"
bad 1 "same directory" copy "$SRC" "$SRC"
bad 1 "same directory" copy "$SRC/" "$SRC/sub/../"
bad 1 "is below DST" copy "$SRC/sub" "$SRC"
bad 1 "is below DST" copy "$SRC" /
bad 1 "same file" copy "$SRC/file" "$SRC/file"
bad 1 "same file" copy "$SRC/file" "$SRC/"
bad 1 "$WORK/plain' is not a directory" copy "$SRC" "$WORK/plain"
ln -s "$SRC" "$WORK/link"
bad 1 "same directory" copy "$WORK/link" "$SRC"
ln -s nowhere "$WORK/dangling"
bad 11 "$WORK/dangling'" copy "$SRC" "$WORK/dangling"
bad 11 "files-from.*missing-list'.*No such file" \
    copy --files-from="$WORK/missing-list" "$SRC" "$DST"

# The local temp dir: one that somebody else could tamper with, or that cannot be one.
mkdir -m 700 "$WORK/ours"
mkdir -m 770 "$WORK/shared"
mkdir "$WORK/everyones"
chmod 777 "$WORK/everyones"
ln -s ours "$WORK/ourlink"
bad 11 "$WORK/ourlink' is refused: it is a symbolic link" copy --temp-dir "$WORK/ourlink" "$SRC" "$DST"
bad 11 "$WORK/ourlink' is refused: it is a symbolic link" copy --temp-dir "$WORK/ourlink/" "$SRC" "$DST"
bad 11 "$WORK/plain' is refused: it is not a directory" copy --temp-dir "$WORK/plain" "$SRC" "$DST"
bad 11 "$WORK/shared' is refused: others may write to it" copy --temp-dir "$WORK/shared" "$SRC" "$DST"
bad 11 'others may write to the directory that it stands in' copy --temp-dir "$WORK/everyones/new" "$SRC" "$DST"
bad 11 "$WORK/no/such/dir'.*No such file" copy --temp-dir "$WORK/no/such/dir" "$SRC" "$DST"
bad 11 "inside SRC" copy --temp-dir "$SRC/sub/new" "$SRC" "$DST"
bad 11 "it is DST" copy --temp-dir "$DST" "$SRC" "$DST"
ln -s ours "$WORK/tmp/haul-$(id -u)"
bad 11 "$WORK/tmp/haul-.* is refused: it is a symbolic link" copy "$SRC" "$DST"
rm "$WORK/tmp/haul-$(id -u)"

if [ "$(id -u)" = 0 ]; then
    mkdir -m 700 "$WORK/theirs"
    chown 65534 "$WORK/theirs"
    bad 11 "$WORK/theirs' is refused: it belongs to somebody else" copy --temp-dir "$WORK/theirs" "$SRC" "$DST"
    # As somebody who may not.
    HAUL_REAL=$HAUL
    cp "$HAUL" "$WORK/haul"
    chmod 755 "$WORK/haul"
    mkdir -m 700 "$WORK/closed"
    mkdir -m 755 "$WORK/locked"
    mkdir -m 777 "$WORK/state.nobody"
    printf '#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups env XDG_STATE_HOME=%s %s "$@"\n' \
        "$WORK/state.nobody" "$WORK/haul" >"$WORK/as-nobody"
    chmod 755 "$WORK/as-nobody"
    HAUL=$WORK/as-nobody
    mkdir -m 777 "$WORK/open"
    bad 11 "$WORK/closed'.*Permission denied" copy "$WORK/closed" "$WORK/open/dst"
    bad 11 "$WORK/locked'.*Permission denied" copy "$SRC" "$WORK/locked"
    bad 11 "$WORK/locked/new'.*Permission denied" copy "$SRC" "$WORK/locked/new"
    HAUL=$HAUL_REAL
    mkdir "$WORK/readonly"
    if mount -t tmpfs -o ro none "$WORK/readonly"; then
        E2E_MOUNTS+=("$WORK/readonly")
        bad 11 "$WORK/readonly'.*Read-only" copy "$SRC" "$WORK/readonly"
    fi
fi

# State: a damaged database is kept aside, one of a newer version or of another pair is left alone.
mkdir "$WORK/dbs"
expect 0 copy --state "$WORK/dbs/good.db" "$SRC" "$WORK/good"
head -c 100000 /dev/urandom >"$WORK/dbs/corrupt.db"
cp "$WORK/dbs/corrupt.db" "$WORK/corrupt.was"
status=0
"$HAUL" copy --state "$WORK/dbs/corrupt.db" "$SRC" "$WORK/dst.corrupt" >"$WORK/out" 2>"$WORK/err" || status=$?
check_sanitizers
case $status in
0 | 1 | 11) ;;
*) fail "a corrupt state: exit status $status" ;;
esac
aside=$(find "$WORK/dbs" -name 'corrupt.db.corrupt-*')
[ -n "$aside" ] || fail "the corrupt state was not kept aside"
cmp "$aside" "$WORK/corrupt.was" || fail "the corrupt state was changed"
err_has "corrupt\.db"
for part in "" -wal -shm; do
    [ ! -e "$WORK/dbs/good.db$part" ] || cp "$WORK/dbs/good.db$part" "$WORK/dbs/newer.db$part"
done
sqlite3 "$WORK/dbs/newer.db" 'UPDATE meta SET version = 9999; PRAGMA journal_mode = DELETE' >/dev/null
cp "$WORK/dbs/newer.db" "$WORK/newer.was"
bad 11 'newer' copy --state "$WORK/dbs/newer.db" "$SRC" "$WORK/dst.newer"
cmp "$WORK/dbs/newer.db" "$WORK/newer.was" || fail "the newer state was changed"
bad '11' 'another' copy --state "$WORK/dbs/good.db" "$SRC" "$WORK/dst.other"
bad 11 "$WORK/plain/state.db|Not a directory" copy --state "$WORK/plain/state.db" "$SRC" "$DST"
bad 11 'state' copy --state "$WORK/dbs" "$SRC" "$DST"

# Few descriptors: fewer in flight, or a clear message; never half a tree that counts as done.
maketree spread "$WORK/many" 50 500 100
for n in 1024 64 32; do
    (ulimit -n "$n" && expect 0 copy "$WORK/many" "$WORK/few.$n")
    judge_lax "$WORK/many" "$WORK/few.$n"
done
for n in 16 14 12; do # with fewer the shell cannot start it
    status=0
    (ulimit -n "$n" && exec "$HAUL" copy "$WORK/many" "$WORK/fewer.$n" >"$WORK/out" 2>"$WORK/err") || status=$?
    if [ "$status" = 0 ]; then
        judge_lax "$WORK/many" "$WORK/fewer.$n"
    elif [ "$status" != 11 ]; then
        [ "$status" = 127 ] || fail "with $n descriptors: exit status $status"
    else
        err_has 'descriptor|open files'
    fi
done
