#!/usr/bin/env bash
# Each option does what it says.
. "$(dirname "$0")/lib.sh"

# names DIR: what is in it, in one line.
names() {
    (cd "$1" && find . -mindepth 1 -printf '%P\n' | sort | paste -sd' ')
}
names_are() {
    local have
    have=$(names "$1")
    [ "$have" = "$2" ] || fail "$1 holds '$have', not '$2'"
}

mkdir -p "$SRC/a/deep" "$SRC/b" "$SRC/cache"
for file in a/one.txt a/two.log a/deep/three.txt a/deep/keep.log b/four.txt cache/five top.log; do
    echo "$file" >"$SRC/$file"
done

# --help, --version.
expect 0 --help
out_has 'Usage: haul copy'
for option in exclude include files-from one-file-system dry-run jobs bwlimit retries retry-delay fsync owner \
    archive-dirs stats progress json state no-io-uring help version; do
    out_has "--$option"
done
"$HAUL" --version >"$WORK/out" 2>"$WORK/err" || fail "--version"
out_has '^haul [0-9]+\.[0-9]+\.[0-9]+'

# --exclude, --include: the first that matches decides.
expect 0 copy --include='keep.log' --exclude='*.log' --exclude=/cache/ "$SRC" "$WORK/excluded"
names_are "$WORK/excluded" 'a a/deep a/deep/keep.log a/deep/three.txt a/one.txt b b/four.txt'
# As rsync does, with the same patterns.
for patterns in '--exclude=/a/deep' '--exclude=a/*.txt' '--include=*/ --include=*.txt --exclude=*' '--exclude=**/t*' \
    '--exclude=[ot]*'; do
    rm -rf "$WORK/one" "$WORK/two"
    set -f
    # shellcheck disable=SC2086
    expect 0 copy $patterns "$SRC" "$WORK/one"
    # shellcheck disable=SC2086
    rsync -a $patterns "$SRC/" "$WORK/two/"
    set +f
    [ "$(names "$WORK/one")" = "$(names "$WORK/two")" ] ||
        fail "$patterns: '$(names "$WORK/one")', rsync: '$(names "$WORK/two")'"
done

# --files-from, from a file and from standard input, with NULs.
printf 'a/one.txt\nb\na/deep/three.txt\n' >"$WORK/list"
expect 0 copy --files-from="$WORK/list" "$SRC" "$WORK/listed"
names_are "$WORK/listed" 'a a/deep a/deep/three.txt a/one.txt b'
touch "$SRC/new"$'\n'"line"
printf 'new\nline\0top.log\0' | expect 0 copy --files-from=- --from0 "$SRC" "$WORK/listed0"
[ -f "$WORK/listed0/new"$'\n'"line" ] && [ -f "$WORK/listed0/top.log" ] || fail "--from0: $(names "$WORK/listed0")"
rm "$SRC/new"$'\n'"line"
printf 'a/one.txt\nno/such\n' >"$WORK/list"
expect '23|24' copy --json --files-from="$WORK/list" "$SRC" "$WORK/listed2"
failures | grep -q 'no' || fail "a missing entry of the list is not in the report"
[ -f "$WORK/listed2/a/one.txt" ] || fail "a missing entry of the list stopped the others"
mkdir "$WORK/outside"
echo outside >"$WORK/outside/file"
printf '../outside/file\n' >"$WORK/list"
expect '1|11|23|24' copy --files-from="$WORK/list" "$SRC" "$WORK/listed3"
[ -z "$(find "$WORK/listed3" -name file 2>/dev/null)" ] || fail "a list led out of the source"

# --one-file-system.
if [ "$(id -u)" = 0 ]; then
    mkdir "$SRC/mounted"
    mount -t tmpfs none "$SRC/mounted" || fail "cannot mount a tmpfs"
    E2E_MOUNTS+=("$SRC/mounted")
    echo there >"$SRC/mounted/there"
    expect 0 copy --one-file-system "$SRC" "$WORK/onefs"
    [ -d "$WORK/onefs/mounted" ] && [ ! -e "$WORK/onefs/mounted/there" ] || fail "--one-file-system"
    expect 0 copy "$SRC" "$WORK/twofs"
    [ -f "$WORK/twofs/mounted/there" ] || fail "without --one-file-system the mount is left out"
    umount "$SRC/mounted"
    rmdir "$SRC/mounted"
fi

# --dry-run: tells, and changes nothing.
expect 0 copy --dry-run "$SRC" "$WORK/dry"
[ ! -e "$WORK/dry" ] || fail "--dry-run created the destination"
out_has 'would copy a/deep/three.txt'
expect 0 copy "$SRC" "$WORK/dry"
echo changed >>"$SRC/top.log"
chmod 600 "$SRC/b/four.txt"
(cd "$WORK/dry" && find . -printf '%P %i %C@\n' | sort) >"$WORK/before"
expect 0 copy --dry-run --json "$SRC" "$WORK/dry"
(cd "$WORK/dry" && find . -printf '%P %i %C@\n' | sort) | cmp -s - "$WORK/before" || fail "--dry-run changed something"
[ "$(jq -r 'select(.event == "would") | .path' "$WORK/out" | sort | paste -sd' ')" = 'b/four.txt top.log' ] ||
    fail "--dry-run does not tell what would be done"
expect 0 copy --json "$SRC" "$WORK/dry"
figure_is files 1
figure_is attrs 1

# --jobs.
for jobs in 1 2 64; do
    expect 0 copy --jobs "$jobs" --json "$SRC" "$WORK/jobs.$jobs"
    judge_lax "$SRC" "$WORK/jobs.$jobs"
    figure_is limit "$jobs"
done

# --bwlimit: 4 MiB at 2 MiB/s cannot take less than a second and a half, whatever the machine.
mkdir "$WORK/four"
head -c 3M /dev/urandom >"$WORK/four/large"
for i in 1 2 3 4; do
    head -c 256K /dev/urandom >"$WORK/four/$i"
done
elapsed_ms expect 0 copy --bwlimit 2M "$WORK/four" "$WORK/limited"
[ "$MS" -ge 1500 ] || fail "--bwlimit: 4 MiB at 2 MiB/s in $MS ms"
judge_lax "$WORK/four" "$WORK/limited"

# --owner.
if [ "$(id -u)" = 0 ]; then
    chown 1000:1001 "$SRC/top.log"
    expect 0 copy --owner=ignore "$SRC" "$WORK/ignored"
    [ "$(stat -c %u:%g "$WORK/ignored/top.log")" = 0:0 ] || fail "--owner=ignore"
    expect 0 copy --owner=require "$SRC" "$WORK/required"
    [ "$(stat -c %u:%g "$WORK/required/top.log")" = 1000:1001 ] || fail "--owner=require"
    # As somebody who may not give files away.
    cp "$HAUL" "$WORK/haul"
    chmod 755 "$WORK/haul"
    mkdir -m 777 "$WORK/to" "$WORK/state.nobody"
    printf '#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups env XDG_STATE_HOME=%s %s "$@"\n' \
        "$WORK/state.nobody" "$WORK/haul" >"$WORK/as-nobody"
    chmod 755 "$WORK/as-nobody"
    chmod 644 "$SRC/b/four.txt"
    HAUL_REAL=$HAUL
    HAUL=$WORK/as-nobody
    expect 0 copy "$SRC" "$WORK/to/auto"
    [ "$(stat -c %u:%g "$WORK/to/auto/top.log")" = 65534:65534 ] || fail "--owner=auto as nobody"
    cmp "$SRC/a/one.txt" "$WORK/to/auto/a/one.txt" || fail "--owner=auto as nobody: contents"
    expect 23 copy --owner=require "$SRC" "$WORK/to/required"
    HAUL=$HAUL_REAL
    chown 0:0 "$SRC/top.log"
fi

# --fsync: each file is synced before its rename.
if strace -f -qq -o /dev/null true 2>/dev/null; then
    ASAN_OPTIONS=detect_leaks=0 strace -f -qq -e trace=fsync,fdatasync \
        -o "$WORK/trace" "$HAUL" copy --no-io-uring --fsync "$SRC" "$WORK/synced" >"$WORK/out" 2>"$WORK/err" ||
        fail "--fsync"
    [ "$(grep -cE '(fsync|fdatasync)(\([0-9]+\)| resumed>\)) += 0' "$WORK/trace")" -ge 7 ] || fail "--fsync: files were not synced"
fi
expect 0 copy --fsync "$SRC" "$WORK/synced2"
judge_lax "$SRC" "$WORK/synced2"

# --stats, --progress, --json, --quiet.
expect 0 copy --stats "$SRC" "$WORK/stats"
out_has 'source: 5 directories, 7 files'
expect 0 copy --progress --bwlimit 2M "$WORK/four" "$WORK/progress"
err_has 'in flight, 0 retries, 0 failed'
expect 0 copy --json --progress "$SRC" "$WORK/json"
[ "$(jq -es 'length' "$WORK/out")" -ge 2 ] || fail "--json: too few events"
jq -es 'all(.[]; .event and .time) and (.[0].event == "start") and (.[-1].event == "end")' "$WORK/out" >/dev/null ||
    fail "--json: not one event a line, from start to end"
[ "$(jq -r 'select(.event == "end") | [.files, .status, .failed] | @csv' "$WORK/out")" = 7,0,0 ] || fail "--json: figures"
expect 0 copy --quiet "$SRC" "$WORK/quiet"
! grep -v 'WARNING: ASan' "$WORK/out" "$WORK/err" || fail "--quiet says something"
expect 0 copy "$SRC" "$WORK/said"
[ "$(tail -n 1 "$WORK/out")" = 'everything arrived' ] || fail "the last line: $(tail -n 1 "$WORK/out")"

# Names that would break a terminal or a line are shown escaped, and exactly in --json.
mkdir "$WORK/odd"
odd=$'bad\n\e[31m\xff'
echo x >"$WORK/odd/$odd"
expect 0 copy --dry-run "$WORK/odd" "$WORK/odd.dst"
LC_ALL=C grep -q $'\e' "$WORK/out" && fail "an escape sequence reached the terminal"
expect 0 copy --dry-run --json "$WORK/odd" "$WORK/odd.dst"
[ "$(jq -r 'select(.event == "would" and .path_hex) | .path_hex' "$WORK/out")" = "$(printf %s "$odd" | od -An -tx1 | tr -d ' \n')" ] ||
    fail "--json does not hold the exact name"

# --state.
expect 0 copy --state "$WORK/my.db" "$SRC" "$WORK/stated"
[ -s "$WORK/my.db" ] || fail "--state: no file"
[ "$(stat -c %a "$WORK/my.db")" = 600 ] || fail "--state: others may read it"
rm -rf "$XDG_STATE_HOME"
expect 0 copy "$SRC" "$WORK/stated2"
[ "$(find "$XDG_STATE_HOME/haul" -name '*.db' | wc -l)" = 1 ] || fail "no state in XDG_STATE_HOME"
[ "$(stat -c %a "$XDG_STATE_HOME/haul")" = 700 ] || fail "others may look into the state"

# --no-io-uring: said in --stats, and no ring is made.
expect 0 copy --no-io-uring --stats --json "$SRC" "$WORK/noring"
figure_is io_uring false
if strace -f -qq -o /dev/null true 2>/dev/null; then
    ASAN_OPTIONS=detect_leaks=0 strace -f -qq -e trace=io_uring_setup -o "$WORK/trace" \
        "$HAUL" copy --no-io-uring "$SRC" "$WORK/noring2" >"$WORK/out" 2>"$WORK/err" || fail "--no-io-uring"
    ! grep -q io_uring_setup "$WORK/trace" || fail "--no-io-uring made a ring"
    # Where the kernel forbids it, haul works, and says so once.
    ASAN_OPTIONS=detect_leaks=0 strace -f -qq -e inject=io_uring_setup:error=EPERM -e trace=io_uring_setup \
        -o "$WORK/trace" "$HAUL" copy --jobs 8 "$SRC" "$WORK/noring3" >"$WORK/out" 2>"$WORK/err" ||
        fail "without io_uring it does not work"
    judge_lax "$SRC" "$WORK/noring3"
    if grep -q io_uring_setup "$WORK/trace"; then
        [ "$(cat "$WORK/out" "$WORK/err" | grep -c io_uring)" = 1 ] || fail "does not say once that io_uring is missing"
    fi
fi

# A single file: to a new name, into a directory, over a file, as a link.
expect 0 copy "$SRC/top.log" "$WORK/single"
cmp "$SRC/top.log" "$WORK/single" || fail "a single file under a new name"
mkdir "$WORK/into"
expect 0 copy "$SRC/top.log" "$WORK/into"
cmp "$SRC/top.log" "$WORK/into/top.log" || fail "a single file into a directory"
expect 0 copy "$SRC/a/one.txt" "$WORK/single"
cmp "$SRC/a/one.txt" "$WORK/single" || fail "a single file over another"
expect 0 copy "$SRC/top.log" "$WORK/newdir/"
cmp "$SRC/top.log" "$WORK/newdir/top.log" || fail "a single file into a new directory"
ln -s nowhere "$WORK/alink"
expect 0 copy "$WORK/alink" "$WORK/alink.copy"
[ "$(readlink "$WORK/alink.copy")" = nowhere ] || fail "a single symbolic link"
names_are "$WORK/into" 'top.log'

# null: takes everything and holds nothing.
expect 0 copy --json "$SRC" null:
figure_is files 7
