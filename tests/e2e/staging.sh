#!/usr/bin/env bash
# The local temp dir: what goes through it, that it spares source and destination, its room, its reflinks, and that
# nothing ever stays in it.
. "$(dirname "$0")/lib.sh"
[ -x "$HAUL_FAULTY" ] || fail "no program with fault injection: $HAUL_FAULTY"

stage=$WORK/stage
mkdir -m 700 "$stage"

# stage_empty: nothing is left in it.
stage_empty() {
    local left
    left=$(find "$stage" -mindepth 1 -print -quit)
    [ -z "$left" ] || fail "left in the temp dir: $left"
}

# faulty SPEC ARGUMENTS...: haul copy whose operations at the destination fail so; its exit status in $status.
faulty() {
    local spec=$1
    shift
    status=0
    # shellcheck disable=SC2086
    HAUL_TEST_FAULT=$spec "$HAUL_FAULTY" copy $HAUL_EXTRA --json --retry-delay 1ms "$@" >"$WORK/out" 2>"$WORK/err" || status=$?
    check_sanitizers
}

# Every regular file, and all of it arrives: small ones, empty ones, holes, links.
maketree told "$SRC" 300 3 1
mkdir "$SRC/more"
: >"$SRC/more/empty"
truncate -s 20M "$SRC/more/hole"
printf 'x' | dd of="$SRC/more/holes" bs=1 seek=5000000 status=none
truncate -s 9M "$SRC/more/holes"
head -c 5000001 /dev/urandom >"$SRC/more/odd"
ln "$SRC/more/odd" "$SRC/more/link"
ln -s odd "$SRC/more/symlink"
files=$(find "$SRC" -type f ! -name link | wc -l)
expect 0 copy --json --archive-dirs --stage always --temp-dir "$stage" "$SRC" "$DST"
judge "$SRC" "$DST"
figure_is staged "$files"
figure_is files "$files"
stage_empty
no_temps "$DST"
rm -rf "$DST"

# Nothing of it with never; and by itself only where it is worth something, which between two places of one machine it is
# with reflinks alone.
expect 0 copy --json --stage never --temp-dir "$WORK/unmade" "$SRC" "$DST"
figure_is staged 0
[ ! -e "$WORK/unmade" ] || fail "--stage never made a temp dir"
rm -rf "$DST"

# Made where it is missing, private.
mkdir "$WORK/tmpdir"
(export TMPDIR=$WORK/tmpdir && expect 0 copy --stage always "$SRC/more" "$DST")
made=$WORK/tmpdir/haul-$(id -u)
[ "$(stat -c %a "$made")" = 700 ] || fail "the default temp dir: $(ls -la "$WORK/tmpdir")"
[ -z "$(ls -A "$made")" ] || fail "left in the default temp dir"
rm -rf "$DST"

# The destination breaks off twice; the source is read once. Streamed, it is read three times.
mkdir "$WORK/one"
head -c 3000000 /dev/urandom >"$WORK/one/file"
opens() {
    grep -cE "openat2?\(.*\"file\", .*O_RDONLY" "$WORK/trace" || true
}
if strace -f -qq -o /dev/null true 2>/dev/null; then
    for mode in always never; do
        HAUL_TEST_FAULT=1+2:ESTALE:before:commit ASAN_OPTIONS=detect_leaks=0 \
            strace -f -qq -e trace=openat,openat2 -o "$WORK/trace" "$HAUL_FAULTY" copy --no-io-uring --json --jobs 1 \
            --retry-delay 1ms --stage $mode --temp-dir "$stage" "$WORK/one" "$DST" >"$WORK/out" 2>"$WORK/err" ||
            fail "COMMIT fails twice, --stage $mode"
        figure_is retries 2
        cmp "$WORK/one/file" "$DST/file" || fail "COMMIT fails twice, --stage $mode: contents"
        declare "opens_$mode=$(opens)"
        rm -rf "$DST"
    done
    # shellcheck disable=SC2154
    [ "$opens_always" = 1 ] && [ "$opens_never" = 3 ] || fail "the source was read $opens_always and $opens_never times"
fi
faulty 1+2:ESTALE:after:publish --stage always --temp-dir "$stage" "$SRC" "$DST"
[ "$status" = 0 ] || fail "PUBLISH fails twice: exit status $status"
judge_lax "$SRC" "$DST"
stage_empty
rm -rf "$DST"

# A source that keeps changing costs the destination nothing: it never sees a BEGIN or PUBLISH (the first of them would
# kill the run), and keeps what it had.
mkdir "$WORK/busy"
head -c 30000000 /dev/urandom >"$WORK/busy/large"
head -c 900000 /dev/urandom >"$WORK/busy/small"
expect 0 copy "$WORK/busy" "$DST"
cp -r "$DST" "$WORK/was"
append() {
    while :; do
        echo line >>"$WORK/busy/large"
        echo line >>"$WORK/busy/small"
    done
}
background append
appender=$PID
faulty 1:EIO:kill:begin --retries 3 --stage always --temp-dir "$stage" --exclude small "$WORK/busy" "$DST"
[ "$status" = 24 ] || fail "a file that keeps changing: exit status $status"
[ "$(figure read_again)" -ge 3 ] || fail "not tried again: $(figure read_again)"
failures | grep -qx large || fail "large is not in the report: $(failures)"
cmp "$WORK/was/large" "$DST/large" || fail "the old file did not stay"
stage_empty
kill -KILL "$appender"
wait "$appender" 2>/dev/null || true
expect 0 copy --stage always --temp-dir "$stage" "$WORK/busy" "$DST"
judge_lax "$WORK/busy" "$DST"
rm -rf "$DST" "$WORK/busy" "$WORK/was"

# Killed in the middle: nothing is left there.
maketree told "$WORK/many" 0 12 1
for _ in 1 2 3; do
    start_haul --stage always --temp-dir "$stage" --bwlimit 3M --jobs 4 "$WORK/many" "$DST"
    engine_stages() { ls -l /proc/"$(pgrep -P "$PID")"/fd 2>/dev/null | grep -q "$stage/.*(deleted)"; }
    wait_until 60 engine_stages
    sleep "$(random_ms 200)"
    kill -KILL "$(pgrep -P "$PID")"
    wait "$PID" 2>/dev/null || true
    stage_empty
done
expect 0 copy --stage always --temp-dir "$stage" "$WORK/many" "$DST"
judge_lax "$WORK/many" "$DST"
rm -rf "$DST"

# A name that a crash left where there is no O_TMPFILE is purged; what is no temp name is not touched.
: >"$stage/.haul.0123456789abcdef.0123456789abcdef"
: >"$stage/mine"
expect 0 copy --stage always --temp-dir "$stage" "$WORK/one" "$DST"
[ "$(ls -A "$stage")" = mine ] || fail "in the temp dir: $(ls -A "$stage")"
rm -f "$stage/mine"
rm -rf "$DST"

# It is never read or copied into the destination, and never mixed with it.
expect 11 copy --temp-dir "$WORK/one" "$WORK/one" "$DST"
err_has 'inside SRC'
mkdir "$DST"
expect 11 copy --stage always --temp-dir "$DST/tmp" "$WORK/one" "$DST"
err_has 'inside DST'
[ -z "$(ls -A "$DST")" ] || fail "something was made in DST: $(ls -A "$DST")"
rm -rf "$DST"

# --sparse.
mkdir "$WORK/zeros"
{ head -c 100000 /dev/urandom && head -c 3000000 /dev/zero && head -c 100 /dev/urandom && head -c 900000 /dev/zero; } \
    >"$WORK/zeros/large"
{ head -c 5000 /dev/urandom && head -c 600000 /dev/zero && echo end; } >"$WORK/zeros/small"
head -c 500000 /dev/zero >"$WORK/zeros/nothing"
truncate -s 7M "$WORK/zeros/hole"
truncate -s 300K "$WORK/zeros/small-hole"
blocks() {
    stat -c %b "$1"
}
for extra in '' '--stage always --temp-dir'; do
    for how in auto always never; do
        # shellcheck disable=SC2086
        expect 0 copy --sparse=$how $extra ${extra:+"$stage"} "$WORK/zeros" "$DST.$how"
        rsync -aHn --checksum --itemize-changes "$WORK/zeros/" "$DST.$how/" | grep -v '^\.d' && fail "--sparse=$how: contents"
    done
    for file in large small nothing hole small-hole; do
        size=$(($(stat -c %s "$WORK/zeros/$file") / 512))
        from=$(blocks "$WORK/zeros/$file")
        [ "$(blocks "$DST.auto/$file")" -le $((from + 16)) ] || fail "--sparse=auto filled the holes of $file"
        [ "$(blocks "$DST.always/$file")" -le 240 ] || fail "--sparse=always: $file takes $(blocks "$DST.always/$file") blocks"
        [ "$(blocks "$DST.never/$file")" -ge "$size" ] || fail "--sparse=never: $file takes $(blocks "$DST.never/$file") blocks"
    done
    [ "$(blocks "$DST.auto/large")" -ge 7000 ] || fail "--sparse=auto made holes"
    rm -rf "$DST".*
done
expect 0 copy -S "$WORK/zeros" "$DST"
[ "$(blocks "$DST/small")" -le 240 ] || fail "-S"
rm -rf "$DST"

[ "$(id -u)" = 0 ] || exit 0

# Room: many files at a time in a temp dir that holds few of them. It is obeyed, and with always they wait for it.
mkdir "$WORK/disk"
mount -t tmpfs -o size=64M,mode=700 none "$WORK/disk" || exit 0
E2E_MOUNTS+=("$WORK/disk")
mkdir "$WORK/big"
for i in $(seq 40); do
    head -c $((2000000 + i * 20000)) /dev/urandom >"$WORK/big/$i"
done
taken() {
    local most=0 now
    while :; do
        now=$(df --output=used -k "$WORK/disk" | tail -n 1)
        [ "$now" -le "$most" ] || { most=$now && echo "$most" >"$WORK/most"; }
    done
}
echo 0 >"$WORK/most"
background taken
meter=$PID
expect 0 copy --json --jobs 16 --stage always --temp-dir "$WORK/disk" --temp-space 8M "$WORK/big" "$DST"
kill -KILL "$meter"
wait "$meter" 2>/dev/null || true
judge_lax "$WORK/big" "$DST"
figure_is staged 40
# tmpfs counts whole pages, and removes them a moment after they are given back.
[ "$(cat "$WORK/most")" -le 9000 ] || fail "took $(cat "$WORK/most") KiB of 8 MiB"
echo "took at most $(cat "$WORK/most") KiB"
rm -rf "$DST"
# Those that will never fit go straight, which is said once.
expect 0 copy --json --jobs 4 --stage always --temp-dir "$WORK/disk" --temp-space 2400K "$WORK/big" "$DST"
judge_lax "$WORK/big" "$DST"
figure_is staged 22
[ "$(jq -r 'select(.event == "notice") | .count' "$WORK/out")" = 18 ] || fail "notices: $(grep notice "$WORK/out")"
err_has 'no room in the temp dir.*18 times'
rm -rf "$DST"
# A temp dir that is full though it should not be is no failure of any file.
head -c 60M /dev/zero >"$WORK/disk/filler"
expect 0 copy --json --jobs 8 --stage always --temp-dir "$WORK/disk" --temp-space 1G "$WORK/big" "$DST"
judge_lax "$WORK/big" "$DST"
err_has 'no room in the temp dir'
[ "$(figure staged)" -lt 40 ] || fail "more was staged than there was room for"
rm -rf "$DST"
umount "$WORK/disk"

# To a network destination, which FUSE counts as, what is larger than 1 MiB is copied into the temp dir by itself, up to
# --stage-max and while there is room.
if [ -c /dev/fuse ]; then
    start_faultfs "$WORK/back" "$WORK/net"
    for i in 1 2 3; do
        head -c $((i * 500000)) /dev/urandom >"$WORK/big/s$i"
    done
    chmod 644 "$WORK/big"/*
    expect 0 copy --json --temp-dir "$stage" --temp-space 100M "$WORK/big" "$WORK/net/one"
    judge_lax "$WORK/big" "$WORK/back/one"
    figure_is staged 41 # s1 and s2 are small
    expect 0 copy --json --temp-dir "$stage" --temp-space 100M --stage-max 2400K "$WORK/big" "$WORK/net/two"
    judge_lax "$WORK/big" "$WORK/back/two"
    figure_is staged 23
    expect 0 copy --json --temp-dir "$stage" --temp-space 0 "$WORK/big" "$WORK/net/three"
    judge_lax "$WORK/big" "$WORK/back/three"
    figure_is staged 0
    ! grep -q '"event":"notice".*temp dir' "$WORK/out" || fail "auto says that it did not stage"
    stage_empty
    # From the same mount: the server copies by itself.
    expect 0 copy --json --temp-dir "$stage" "$WORK/net/one" "$WORK/net/four"
    judge_lax "$WORK/big" "$WORK/back/four"
    figure_is staged 0
    umount "$WORK/net"
fi

# Data with gaps of all sizes between.
mkdir "$WORK/holed"
for gap in 8 64 512 4096; do
    for i in $(seq 0 7); do
        head -c 65536 /dev/urandom |
            dd of="$WORK/holed/$gap" bs=1024 seek=$((i * (gap + 64))) conv=notrunc iflag=fullblock status=none
    done
done

# Reflinks: by themselves where source and temp dir share a file system that has them, of any size.
for fs in xfs btrfs; do
    command -v mkfs.$fs >/dev/null && grep -qw $fs /proc/filesystems || { echo "no $fs here" && continue; }
    truncate -s 512M "$WORK/image"
    mkfs.$fs -q "$WORK/image" >/dev/null
    mount -o loop "$WORK/image" "$WORK/disk" || fail "cannot mount $fs"
    mkdir -m 700 "$WORK/disk/stage"
    mkdir "$WORK/disk/src"
    head -c 20000000 /dev/urandom >"$WORK/disk/src/large"
    head -c 10000 /dev/urandom >"$WORK/disk/src/small"
    cp --sparse=always "$WORK/zeros/large" "$WORK/disk/src/sparse"
    truncate -s 30M "$WORK/disk/src/hole"
    sync -f "$WORK/disk"
    settle
    # To another file system: staged as a reflink, whatever room there is.
    expect 0 copy --json --temp-dir "$WORK/disk/stage" --stage-max 1 --temp-space 0 "$WORK/disk/src" "$DST"
    judge_lax "$WORK/disk/src" "$DST"
    figure_is staged_reflinks 3
    figure_is staged 3
    [ -z "$(ls -A "$WORK/disk/stage")" ] || fail "$fs: left in the temp dir"
    rm -rf "$DST"
    expect 0 copy --json --stage always --temp-dir "$WORK/disk/stage" --temp-space 0 "$WORK/disk/src" "$DST"
    judge_lax "$WORK/disk/src" "$DST"
    figure_is staged_reflinks 4
    rm -rf "$DST"
    # Within it: the destination shares the source's blocks, staged or not.
    for mode in auto never always; do
        expect 0 copy --json --stage $mode --temp-dir "$WORK/disk/stage" "$WORK/disk/src" "$WORK/disk/dst"
        judge_lax "$WORK/disk/src" "$WORK/disk/dst"
        sync -f "$WORK/disk"
        filefrag -v "$WORK/disk/dst/large" | grep -q shared || fail "$fs, --stage $mode: the copy shares nothing"
        no_temps "$WORK/disk/dst"
        # What was a reflink is compared and left alone like any other.
        settle
        expect 0 copy --json --stage $mode --temp-dir "$WORK/disk/stage" "$WORK/disk/src" "$WORK/disk/dst"
        figure_is files 0
        rm -rf "$WORK/disk/dst"
    done
    expect 0 copy --json --sparse=never --temp-dir "$WORK/disk/stage" "$WORK/disk/src" "$WORK/disk/dst"
    [ "$(blocks "$WORK/disk/dst/hole")" -ge 61000 ] || fail "$fs: --sparse=never kept the hole"
    expect 0 copy --sparse=always --temp-dir "$WORK/disk/stage" "$WORK/zeros" "$WORK/disk/dst2"
    [ "$(blocks "$WORK/disk/dst2/large")" -le 240 ] || fail "$fs: --sparse=always made no holes"
    # What comes from elsewhere keeps its holes, and its holes in the temp dir too.
    for mode in never always; do
        expect 0 copy --json --stage $mode --temp-dir "$WORK/disk/stage" "$WORK/holed" "$WORK/disk/holed.$mode"
        for file in "$WORK/holed"/*; do
            [ "$(blocks "$WORK/disk/holed.$mode/${file##*/}")" -le 1100 ] ||
                fail "$fs, --stage $mode: ${file##*/} takes $(blocks "$WORK/disk/holed.$mode/${file##*/}") blocks"
        done
        judge_lax "$WORK/holed" "$WORK/disk/holed.$mode"
    done
    expect 0 copy --json --stage always --temp-dir "$WORK/disk/stage" "$WORK/holed" "$DST"
    judge_lax "$WORK/holed" "$DST"
    rm -rf "$DST"
    umount "$WORK/disk"
    rm -f "$WORK/image"
    echo "$fs: reflinks"
done
