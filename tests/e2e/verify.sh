#!/usr/bin/env bash
# haul verify: what it finds is what rsync --checksum finds, and what was planted; it goes on where it was interrupted;
# it reads what is behind the cache of a mount; and one flipped byte among LARGE MiB is found with its offset.
. "$(dirname "$0")/lib.sh"

LARGE=${LARGE:-300}
db=$WORK/state.db
verify() {
    local want=$1
    shift
    expect "$want" verify --state "$db" "$@" "$SRC" "$DST"
}
# The paths of all findings of the last run (with --json), and those that rsync finds, sorted. Of directories that are on
# one side alone haul names the directory, rsync its contents too.
found() {
    jq -r 'select(.event == "finding") | .path' "$WORK/out" | sort -u
}
rsync_finds() {
    rsync -aHnO "${E2E_RSYNC[@]}" --checksum --delete --itemize-changes --out-format='%i %n' --exclude=/.haul "$@" "$SRC/" "$DST/" |
        sed -E 's/^(\*deleting|[^ ]{11}) +//; s|/$||; s|^\./$|.|' | sort -u
}
# told PATH OFFSET: the last run named that byte.
told() {
    jq -en --arg path "$1" --arg at "byte $2 is 0x" \
        '[inputs | select(.event == "finding" and .path == $path) | .evidence | gsub(","; "") | startswith($at)] | any' \
        "$WORK/out" >/dev/null
}
kinds() {
    jq -r 'select(.event == "finding") | .kind' "$WORK/out" | sort | uniq -c | sed 's/^ *//' | tr '\n' ' '
}
# flip FILE OFFSET: another byte there; size and times are kept.
flip() {
    local byte
    touch -r "$1" "$WORK/times"
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    # shellcheck disable=SC2059
    printf "\\x$(printf %x $((byte ^ 128)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
    touch -r "$WORK/times" "$1"
}

# One of everything, and a few hundred files: all is right, and nothing of the source is read whose hash is known.
mkdir "$SRC"
maketree everything "$SRC/all"
if [ "$HAUL_DST" = nfs3 ]; then
    rm "$SRC/all/sparse/beyond 4 GiB"                   # it is read as a whole: the protocol has no word for holes
    find "$SRC/all/times" ! -newermt 1970-01-01 -delete # nor for times before that
fi
maketree told "$SRC" 400 2 7
ln -s here "$SRC/link"
settle
expect 0 copy --state "$db" "$SRC" "$DST"
settle
touch -d @1000000000 "$DST"
verify 0 --json --fresh
[ "$(stat -c %Y "$DST")" = 1000000000 ] || fail "the root's times have changed: $(stat -c %y "$DST")"
files=$(find "$SRC" -type f -size +0 -printf x | wc -c)
figure_is compared "$files"
figure_is findings 0
rm -r "$SRC/all/sparse" "$DST/all/sparse" # rsync would read its holes
[ -z "$(rsync_finds)" ] || fail "rsync finds: $(rsync_finds)"
files=$(find "$SRC" -type f -size +0 -printf x | wc -c)
verify 0 --json
figure_is compared "$files"
figure_is source_files 0
figure_is verification 2
verify 0 --json --read-source
figure_is source_files "$files"
verify 0
out_has '^DST is as the source is$'

# What a local copy did within the kernel has no hash: it is filled in by the first verification.
head -c 5000000 /dev/urandom >"$SRC/cloned"
settle
expect 0 copy --stage never --state "$db" "$SRC" "$DST"
sqlite3 "$db" "UPDATE files SET hash = NULL WHERE name IN (CAST('cloned' AS BLOB), CAST('f000001' AS BLOB))"
settle
verify 0 --json
figure_is source_files 2
figure_is hashes_filled 2
verify 0 --json
figure_is source_files 0
figure_is compared $((files + 1))

# A state that knows nothing of it: the source is read.
expect 0 verify --json --state "$WORK/other.db" "$SRC" "$DST"
figure_is source_files $((files + 1))
figure_is findings 0

# A sample: others in each run, and all of the rest is looked at by its attributes.
expect 0 verify --json --sample 20% --state "$db" "$SRC" "$DST"
first=$(figure compared)
[ $((first + $(figure unsampled))) = $((files + 1)) ] || fail "$first of $((files + 1)) and $(figure unsampled)"
[ "$first" -gt $((files / 10)) ] && [ "$first" -lt $((files / 3)) ] || fail "$first of $files are no 20 %"
verify 0 --json --sample 0%
figure_is compared 0

# Damage of every kind; the owner is root's alone to change.
mapfile -t some < <(cd "$DST" && find d0* -type f -size +100c | sort)
flip "$DST/${some[0]}" 17
flip "$DST/${some[1]}" 0
flip "$DST/cloned" 4999999
chmod 600 "$DST/${some[2]}"
touch -d 2001-01-01 "$DST/${some[3]}"
truncate -s -1 "$DST/${some[4]}"
: >"$DST/${some[5]}"
: >"$DST/${some[6]}"
chmod 0 "$DST/${some[6]}"
touch -d 2034-01-01 "$DST/${some[6]}"
rm "$DST/${some[7]}"
rm "$DST/${some[8]}"
ln -s nowhere "$DST/${some[8]}"
echo more >"$DST/d00/more"
mkdir "$DST/d19/only"
touch "$DST/d19/only/a"
rm -r "$DST/d18"
chmod 711 "$DST/d17"
ln -sfn elsewhere "$DST/link"
touch -h -r "$SRC/link" "$DST/link"
wanted=' 3 contents 1 corrupt 6 differs 1 empty 2 extra 2 missing '
if [ "$(id -u)" = 0 ]; then
    chown 12:34 "$DST/${some[9]}"
    wanted=${wanted/6 differs/7 differs}
fi
cp -a "$DST/${some[10]}" "$DST/.haul.0123456789abcdef.0000000000000001"
verify 40 --json
[ " $(kinds)" = "$wanted" ] || fail "kinds: $(kinds)"
figure_is temps 1
rm "$DST/.haul.0123456789abcdef.0000000000000001"
rsync_finds | grep -v -e '^d18/' -e '^d19/only/' >"$WORK/rsync"
found | diff - "$WORK/rsync" || fail "haul (<) and rsync (>) find others"
told "${some[0]}" 17 || fail "the byte was not told"
# What was found is remembered too.
"$HAUL" status --json --state "$db" >"$WORK/status" || fail "haul status: exit status $?"
[ "$(jq -r 'select(.event == "look") | "\(.command) \(.status) \(.findings) \(.open)"' "$WORK/status" | head -n 1)" = \
    "verify 40 $(figure findings) $(figure findings)" ] || fail "status: $(jq -c 'select(.event == "look")' "$WORK/status")"
jq -r 'select(.event == "finding" and .look != null) | .path' "$WORK/status" | sort -u | diff - "$WORK/rsync" ||
    fail "status (<) tells of others than there are (>)"
verify 40 --json --read-source
found | diff - "$WORK/rsync" || fail "with --read-source haul (<) and rsync (>) find others"
verify 40 --exclude '/d1?' --exclude link --exclude cloned --json
found | diff - <(grep -v -e '^d1' -e '^link$' -e '^cloned$' "$WORK/rsync") || fail "excluded, and found"
verify 40
out_has '^contents +certain +found +cloned: byte 4,999,999 is 0x'
out_has '^missing +certain +found +d18: the source has a directory there'
err_has 'DST is NOT as the source is: [0-9]+ findings$'
verify 40 --quiet
out_has '^contents '

# Mended by a sync: nothing is left to be found.
expect 0 sync --compare=checksum --delete --state "$db" "$SRC" "$DST"
rm -rf "$DST/d00/more" "$DST/d19/only"
settle
verify 0 --json
figure_is findings 0

# Interrupted, it goes on: what was found right is not read again, but for what was changed since.
interrupt() {
    "$HAUL" verify --state "$db" --ops-limit "$1" "$SRC" "$(at "$DST")" >"$WORK/out" 2>"$WORK/err" &
    PID=$!
    E2E_PIDS+=("$PID")
    has_some() { [ "$(sqlite3 "$db" "SELECT count(*) FROM dirs JOIN verified ON dirs.id = verified.dir WHERE CAST(path AS TEXT) LIKE 'd__'")" -ge 3 ]; }
    wait_until 120 has_some
    kill -TERM "$PID"
    status=0
    wait "$PID" || status=$?
    [ "$status" = 20 ] || fail "interrupted: exit status $status"
    err_has 'NOT everything was looked at'
}
settle
pace=100 # operations a second: it must not be over before some directories are remembered
[ -z "$HAUL_DST" ] || pace=10
interrupt "$pace"
sqlite3 "$db" ".backup '$WORK/begun.db'"
verify 0 --json
remembered=$(figure remembered)
[ "$remembered" -ge 10 ] || fail "$remembered files were remembered"
[ $((remembered + $(figure compared))) = $((files + 1)) ] || fail "$remembered and $(figure compared) of $((files + 1))"
verify 0 --json # it was over: the next one begins anew
figure_is remembered 0
figure_is compared $((files + 1))
cp "$WORK/begun.db" "$db"
rm -f "$db"-*
verify 0 --json --fresh
figure_is remembered 0
cp "$WORK/begun.db" "$db"
rm -f "$db"-*
victim=$(sqlite3 "$db" "SELECT path FROM dirs JOIN verified ON dirs.id = verified.dir WHERE CAST(path AS TEXT) LIKE 'd__' LIMIT 1")
victim=$victim/$(cd "$SRC/$victim" && find . -maxdepth 1 -type f -size +0 -printf '%f\n' | head -n 1)
flip "$DST/$victim" 0
verify 40 --json
[ "$(found)" = "$victim" ] || fail "found: $(found), not $victim"
[ "$(figure remembered)" -ge 5 ] || fail "only $(figure remembered) files were remembered"
flip "$DST/$victim" 0

# One flipped byte in a large file, which several hands read; known by the state, and read at both ends.
rm -rf "$SRC" "$DST" "$db"*
mkdir "$SRC"
for i in 1 2; do head -c $((LARGE / 2))M /dev/urandom >"$SRC/large$i"; done
settle
expect 0 copy --state "$db" "$SRC" "$DST"
settle
at=$((LARGE * 1024 * 1024 / 2 - 20000001))
flip "$DST/large2" "$at"
for how in --fresh --read-source; do
    verify 40 --json "$how"
    [ "$(found)" = large2 ] || fail "$how: found: $(found)"
    told large2 "$at" || fail "$how: the byte was not told: $(jq -c 'select(.event == "finding")' "$WORK/out")"
    figure_is compared 1
done
flip "$DST/large2" "$at"
verify 0 --json --fresh
figure_is compared 2

# What the destination could not hold is right as it was published, and said.
if [ "$HAUL_DST" = nfs3 ]; then
    touch -d 1960-01-01 "$SRC/large1"
    settle
    expect 0 copy --state "$db" "$SRC" "$DST"
    verify 0
    out_has 'mode, owner or times are as they were published'
fi

# Which names are one file; extended attributes where they are asked for.
rm -rf "$SRC" "$DST" "$db"*
mkdir "$SRC"
for i in 1 2 3 5; do echo "$i" >"$SRC/$i"; done
cp -p "$SRC/3" "$SRC/4"
ln "$SRC/1" "$SRC/1too"
ln "$SRC/2" "$SRC/2too"
if [ "$(id -u)" = 0 ]; then
    setfattr -n trusted.five -v 5 "$SRC/5"
    setfattr -n trusted.root -v 0 "$SRC"
fi
settle
expect 0 copy -X -A --state "$db" "$SRC" "$DST"
verify 0 --json -X -A
if [ "$(id -u)" = 0 ] && [ -n "$HAUL_DST" ]; then
    err_has '2 .*attributes or ACLs that the destination cannot hold were not compared|not compared.*2'
fi
cp -p "$DST/1too" "$WORK/apart"
mv "$WORK/apart" "$DST/1too"
ln -f "$DST/3" "$DST/4"
verify 40 --json
[ "$(kinds)" = '2 differs ' ] || fail "links: $(kinds)"
found | head -n 1 | grep -qE '^1(too)?$' && found | tail -n 1 | grep -qE '^[34]$' || fail "links: $(found)"
if [ "$(id -u)" = 0 ] && [ -z "$HAUL_DST" ]; then
    setfattr -n trusted.five -v 6 "$DST/5"
    setfattr -x trusted.root "$DST"
    setfattr -n trusted.more -v 7 "$DST/2"
    verify 40 --json
    [ "$(kinds)" = '2 differs ' ] || fail "attributes that nobody asked for: $(kinds)"
    verify 40 -X
    out_has '^differs +certain +found +5: trusted\.five has another value$'
    out_has '^differs +certain +found +\.: trusted\.root is missing$'
    out_has '^differs +certain +found +2: trusted\.more is there, not at the source$'
    out_has '^differs +certain +found +2too: trusted\.more is there, not at the source$'
fi

# Wrong use; what is not there; nothing is made.
expect 1 verify "$DST"
expect 1 verify --bwlimit 3M "$SRC" "$DST"
err_has '--bwlimit is not for haul verify'
expect 1 copy --read-source "$SRC" "$DST"
expect 1 verify "$SRC/1" "$DST"
expect 11 verify "$WORK/nowhere" "$DST"
expect 11 verify "$SRC" "$WORK/nowhere"
[ ! -e "$WORK/nowhere" ] || fail "it was made"

# A mount that shows what its cache has: cat sees nothing, haul does.
if [ -z "$HAUL_DST" ] && [ "$(id -u)" = 0 ]; then
    rm -rf "$SRC" "$DST"
    maketree told "$SRC" 20 1 9
    mkdir "$DST"
    start_faultfs "$WORK/back" "$DST" --cache 3600
    settle
    expect 0 copy "$SRC" "$DST"
    settle
    expect 0 verify "$SRC" "$DST"
    cat "$DST"/*/f* "$DST"/big* | cksum >"$WORK/before"
    small=$(cd "$SRC" && find d* -type f -size +100c | head -n 1)
    for file in "$small" big000; do
        flip "$WORK/back/$file" 33
    done
    cat "$DST"/*/f* "$DST"/big* | cksum | cmp - "$WORK/before" || fail "the cache was not used: this shows nothing"
    expect 40 verify --json "$SRC" "$DST"
    [ "$(found)" = "$(printf '%s\n' big000 "$small")" ] || fail "behind the cache: $(found)"
fi
