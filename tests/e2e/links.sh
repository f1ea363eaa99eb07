#!/usr/bin/env bash
# Hard links: a destination that takes few of them, one that takes none, and what a dry run says of them.
. "$(dirname "$0")/lib.sh"

# group DIR NUMBER: one file with so many names.
group() {
    mkdir -p "$1/sub"
    echo "contents of all" >"$1/n1"
    local i
    for i in $(seq 2 "$2"); do
        ln "$1/n1" "$1/sub/n$i"
    done
}
# inodes DIR: how many files there are, whatever their names.
inodes() {
    find "$1" -type f -printf '%i\n' | sort -u | wc -l
}

# One link too many: the name that finds its file full becomes a file of its own, to which all others are linked.
group "$SRC" 30
settle
HAUL=$HAUL_FAULTY HAUL_TEST_FAULT=5:EMLINK:before:link expect 0 copy --json "$SRC" "$DST"
figure_is links_copied 1
figure_is files 2
figure_is links 28
figure_is failed 0
err_has 'more names than the destination allows: it was copied more than once$'
err_has ' 1 instead of hard links'
[ "$(inodes "$DST")" = 2 ] || fail "$(inodes "$DST") files, not 2"
judge_lax_links() {
    local diff
    diff=$(rsync -anO --checksum --itemize-changes "$1/" "$2/") && [ -z "$diff" ] || fail "rsync finds: $diff"
}
judge_lax_links "$SRC" "$DST"
no_temps "$DST"

# A destination without links: each name a copy, said once with their number.
HAUL=$HAUL_FAULTY HAUL_TEST_FAULT=1+1000:EOPNOTSUPP:before:link expect 0 copy --stats --json "$SRC" "$WORK/none"
figure_is links_copied 29
figure_is files 30
[ "$(inodes "$WORK/none")" = 30 ] || fail "$(inodes "$WORK/none") files, not 30"
judge_lax_links "$SRC" "$WORK/none"
err_has 'refused, copied instead: 29$'
err_has 'made no hard links.*\(29 times\)'

# And what can be linked again is.
expect 0 copy --archive-dirs "$SRC" "$DST"
judge "$SRC" "$DST"

# A dry run lists what a real one does: directories that would be made, names of a file that would be made anew.
would() {
    jq -r 'select(.event == "would") | "\(.operation) \(.path)"' "$WORK/out" | sort
}
mkdir -p "$SRC/new/below"
echo one >"$SRC/new/below/file"
echo "other contents" >"$SRC/n1"
settle
expect 0 copy --json --dry-run "$SRC" "$DST"
would >"$WORK/would"
{
    echo "copy new/below/file"
    echo "make directory new"
    echo "make directory new/below"
} >"$WORK/wanted"
find "$SRC" -type f -links 30 -printf '%P\n' >"$WORK/names"
grep -vxFf "$WORK/wanted" "$WORK/would" >"$WORK/rest" || true
[ "$(comm -12 <(sort "$WORK/wanted") "$WORK/would" | wc -l)" = 3 ] || fail "not all is listed: $(cat "$WORK/would")"
[ "$(grep -c '^copy ' "$WORK/rest")" = 1 ] && [ "$(grep -c '^link ' "$WORK/rest")" = 29 ] ||
    fail "not one name to be copied and 29 to be linked: $(cat "$WORK/rest")"
diff <(sed 's/^[a-z]* //' "$WORK/rest" | sort) <(sort "$WORK/names") || fail "other names than those of the file"
[ ! -e "$DST/new" ] || fail "a dry run made a directory"
expect 0 copy --archive-dirs --json "$SRC" "$DST"
figure_is files 2
figure_is links 29
judge "$SRC" "$DST"
expect 0 copy --json --dry-run "$SRC" "$DST"
[ -z "$(would)" ] || fail "a dry run lists what is right: $(would)"
# A destination that is not there yet.
expect 0 copy --json --dry-run "$SRC" "$WORK/not there"
would | grep -qx 'make directory new/below' || fail "a directory is not listed"
[ "$(would | wc -l)" = $(($(find "$SRC" | wc -l))) ] || fail "not all is listed: $(would)"
[ ! -e "$WORK/not there" ] || fail "a dry run made the destination"

# The real limit of ext4: 65,000 names. Once is enough.
far=$(mktemp -d /dev/shm/haul-e2e.XXXXXX)
trap 'rm -rf "$far"; e2e_cleanup' EXIT
if [ -z "$HAUL_EXTRA$HAUL_DST" ] && [ "$(stat -f -c %T "$WORK")" = ext2/ext3 ] && [ "$(stat -f -c %T "$far")" = tmpfs ]; then
    perl -e '$d = shift; mkdir "$d/$_" for 0 .. 9; open my $f, ">", "$d/first"; print $f "x"; close $f;
        link "$d/first", "$d/" . ($_ % 10) . "/$_" or die for 1 .. 65010' "$far"
    expect 0 copy --json "$far" "$WORK/far"
    figure_is links_copied 1
    [ "$(inodes "$WORK/far")" = 2 ] || fail "$(inodes "$WORK/far") files, not 2"
    diff <(cd "$far" && find . -type f | sort) <(cd "$WORK/far" && find . -type f | sort) || fail "names are missing"
fi
