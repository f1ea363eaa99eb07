#!/usr/bin/env bash
# A directory of the source, and one of the destination, changes places with a symbolic link to elsewhere, again and
# again during copies: nothing from elsewhere is read, nothing is written there.
. "$(dirname "$0")/lib.sh"

# fill DIR TEXT: the same names everywhere, other contents.
fill() {
    local i
    mkdir -p "$1/inner"
    for i in $(seq 300); do
        echo "$2 $i" >"$1/f$i"
        echo "$2 $i" >"$1/inner/g$i"
    done
    head -c 3000000 /dev/zero | tr '\0' "${2:0:1}" >"$1/large"
}

fill "$SRC/a/victim" honest
fill "$SRC/b/quiet" honest
fill "$WORK/outside" SECRET
ln -s "$WORK/outside" "$WORK/link"
(cd "$WORK/outside" && find . -type f -exec cksum {} + | sort) >"$WORK/outside.was"

# The source.
background swapdir "$SRC/a/victim" "$WORK/link"
swapper=$PID
for i in $(seq "${SWAPS:-12}"); do
    expect '0|23|24' copy --retries 1 --retry-delay 1ms "$SRC" "$WORK/dst.$i"
    # The link itself may be what was found, and arrives as a link: it is not followed here.
    stolen=$(find "$WORK/dst.$i" -type f -exec grep -l S {} +) || true
    [ -z "$stolen" ] || fail "something from outside of the source was copied: $(head -n 3 <<<"$stolen")"
    for name in f1 f300 inner/g150; do
        cmp -s "$SRC/b/quiet/$name" "$WORK/dst.$i/b/quiet/$name" || fail "b/quiet/$name did not arrive"
    done
done
kill -TERM "$swapper"
wait "$swapper" || fail "swapdir failed"
[ -d "$SRC/a/victim" ] && [ ! -L "$SRC/a/victim" ] || fail "the test did not put things back"
expect 0 copy "$SRC" "$WORK/dst.1"
judge_lax "$SRC" "$WORK/dst.1"

# The destination.
rm "$WORK/link"
mkdir -p "$DST/a/victim/inner" "$WORK/elsewhere/inner"
fill "$WORK/elsewhere" SECRET
ln -s "$WORK/elsewhere" "$WORK/link"
# Contents only: times of reading may change.
look() {
    (cd "$WORK/elsewhere" && find . -printf '%P %y %i %s %m %T@ %C@\n' | sort)
}
look >"$WORK/elsewhere.was"
background swapdir "$DST/a/victim" "$WORK/link"
swapper=$PID
for i in $(seq "${SWAPS:-12}"); do
    find "$SRC" -type f -exec touch {} +
    expect '0|23|24' copy --retries 1 --retry-delay 1ms "$SRC" "$DST"
    look | cmp -s - "$WORK/elsewhere.was" || fail "something outside of the destination was changed"
done
kill -TERM "$swapper"
wait "$swapper" || fail "swapdir failed"
expect 0 copy "$SRC" "$DST"
judge_lax "$SRC" "$DST"
no_temps "$DST"
look | cmp -s - "$WORK/elsewhere.was" || fail "something outside of the destination was changed"
(cd "$WORK/outside" && find . -type f -exec cksum {} + | sort) | cmp -s - "$WORK/outside.was" ||
    fail "something outside of the source was changed"

# Links that were there from the first: copied as links, and one that stands where a directory belongs is replaced.
mkdir "$WORK/plain" "$WORK/plain.dst"
mkdir "$WORK/plain/dir"
echo honest >"$WORK/plain/dir/f1"
ln -s "$WORK/elsewhere" "$WORK/plain.dst/dir"
expect '0|23' copy "$WORK/plain" "$WORK/plain.dst"
look | cmp -s - "$WORK/elsewhere.was" || fail "a planted link at the destination was followed"
