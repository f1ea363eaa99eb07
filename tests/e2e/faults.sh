#!/usr/bin/env bash
# The Nth operation of the destination fails, for every N until none fires: no half file under a final name, the right
# exit status and report, no temp name left, and the next run completes the tree.
. "$(dirname "$0")/lib.sh"
[ -x "$HAUL_FAULTY" ] || fail "no program with fault injection: $HAUL_FAULTY"

mkdir -p "$SRC/d/e" "$SRC/empty"
maketree told "$SRC/told" 6 1 1
for i in 1 2 3; do
    head -c $((i * 5000)) /dev/urandom >"$SRC/d/small$i"
done
head -c 1500000 /dev/urandom >"$SRC/d/e/large"
truncate -s 3M "$SRC/d/e/sparse"
printf 'x' >>"$SRC/d/e/sparse"
ln "$SRC/d/small1" "$SRC/d/e/link"
ln "$SRC/d/small1" "$SRC/d/link"
ln -s target "$SRC/d/symlink"
mkfifo "$SRC/d/fifo"
: >"$SRC/d/nothing"
chmod 4711 "$SRC/d/small2"
entries=$(find "$SRC" -mindepth 1 | wc -l)
compare="${E2E_CMPTREE[*]}"
export SRC WORK HAUL HAUL_FAULTY HAUL_EXTRA HAUL_DST entries compare

# one SPEC CODE N: one run whose Nth operation of that code fails so, in folders of its own.
one() {
    local spec=$1 code=$2 nth=$3 kind=${1%%:*} err status=0 dir failures
    err=${spec#*:}
    dir=$WORK/f.$kind.$err.$code.$nth
    mkdir "$dir"
    text() { echo "fault $spec at $code $nth: $*: $(tail -n 3 "$dir/err" | tr '\n' ';')" >>"$WORK/failed"; }
    # shellcheck disable=SC2086
    XDG_STATE_HOME=$dir/state HAUL_TEST_FAULT="$nth:$err:$kind:$code" \
        "$HAUL_FAULTY" copy $HAUL_EXTRA --json --archive-dirs --retry-delay 1ms "$SRC" "$(at "$dir/dst")" \
        >"$dir/out" 2>"$dir/err" || status=$?
    echo "$status" >"$dir/status"
    if grep -qE 'Sanitizer|runtime error:' "$dir/err"; then text "a sanitizer complains"; fi
    [ -z "$(find "$dir/dst" -name '.haul.*' -print -quit 2>/dev/null)" ] || text "a temp name is left"
    half "$dir/dst" || text "half a file: $half"
    failures=$(jq -r 'select(.event == "failure") | .path' "$dir/out" | wc -l)
    case $err:$status in
    *:0) # it did not fire, was repeated, or did no harm: then all is there
        # shellcheck disable=SC2086
        cmptree $compare "$SRC" "$dir/dst" >"$dir/cmp" 2>&1 || text "exit 0, but: $(head -n 3 "$dir/cmp")"
        ;;
    ENOSPC:11) grep -q 'stopped early: No space' "$dir/err" || text "does not say why it stopped" ;;
    EIO:23) [ "$failures" -ge 1 ] || text "exit 23 without a failure in the report" ;;
    *) text "exit status $status" ;;
    esac
    # The next run completes it.
    status=0
    # shellcheck disable=SC2086
    XDG_STATE_HOME=$dir/state "$HAUL" copy $HAUL_EXTRA --archive-dirs "$SRC" "$(at "$dir/dst")" >"$dir/out2" 2>"$dir/err2" ||
        text "the next run fails: $(tail -n 2 "$dir/err2")"
    # shellcheck disable=SC2086
    cmptree $compare "$SRC" "$dir/dst" >"$dir/cmp" 2>&1 || text "after the next run: $(head -n 3 "$dir/cmp")"
    [ -z "$(find "$dir/dst" -name '.haul.*' -print -quit)" ] || text "a temp name is left after the next run"
    rm -rf "$dir/dst" "$dir/state"
}

# half DST: whether a regular file there differs from the source's in contents or mode; its name in $half.
half() {
    local file
    half=
    while IFS= read -r -d '' file; do
        if [ -f "$1/$file" ] && [ ! -L "$1/$file" ]; then
            cmp -s "$SRC/$file" "$1/$file" && [ "$(stat -c %a "$SRC/$file")" = "$(stat -c %a "$1/$file")" ] ||
                { half=$file && return 1; }
        fi
    done < <(cd "$SRC" && find . -type f -print0)
}
export -f one half at
[ "$HAUL_DST" != nfs ] || export -f ganesha_port

# fired SPEC CODE: the Nth operation of that code fails, for every N until none fires, in batches; the number in $fired.
# That one fired shows in the exit status, or in the count of retries.
batch=4
fire() {
    local spec=$1 code=$2 from=1 silent=0 nth dir status retries
    fired=0
    while [ $silent -lt $batch ]; do
        seq "$from" $((from + batch - 1)) | xargs -P2 -I{} bash -c "one $spec $code {}"
        silent=0
        for nth in $(seq "$from" $((from + batch - 1))); do
            dir=$WORK/f.${spec%%:*}.${spec#*:}.$code.$nth
            status=$(cat "$dir/status")
            retries=$(jq -r 'select(.event == "end") | .retries' "$dir/out")
            if [ "$status" = 0 ] && [ "${retries:-0}" = 0 ]; then
                silent=$((silent + 1))
            else
                fired=$((fired + 1))
            fi
        done
        from=$((from + batch))
    done
}

specs=${FAULT_SPECS:-before:EIO after:EIO before:ENOSPC before:ESTALE short:ENOSPC short:EIO}
for spec in $specs; do
    : >"$WORK/failed"
    total=0
    told=
    codes='mkdir publish begin copy commit symlink node link setattr stat write'
    [ "${spec%%:*}" = before ] || [ "${spec%%:*}" = after ] || codes='publish copy write'
    for code in $codes; do
        fire $spec $code
        total=$((total + fired))
        told+=" $code $fired"
        case $code in
        write | copy) ;; # the store chooses one of both
        stat) ;;  # on the way back from a failure only
        *) [ $fired -ge 1 ] || fail "$spec: no fault fired at $code" ;;
        esac
    done
    [ ! -s "$WORK/failed" ] || fail "$(cat "$WORK/failed")"
    [ "${spec%%:*}" = short ] || [ "$total" -ge "$entries" ] || fail "$spec: only $total faults for $entries entries"
    echo "$spec:$told"
done

# One that does not pass is repeated as often as was said, then reported with its attempts.
status=0
HAUL_TEST_FAULT="1+1000:ESTALE:before:publish" "$HAUL_FAULTY" copy $HAUL_EXTRA --json --retries 3 --retry-delay 1ms \
    "$SRC" "$(at "$DST")" >"$WORK/out" 2>"$WORK/err" || status=$?
[ "$status" = 23 ] || fail "an error that does not pass: exit status $status"
jq -es '[.[] | select(.event == "failure" and .error == "ESTALE")] | length > 0 and all(.[]; .attempts == 4)' \
    "$WORK/out" >/dev/null || fail "not tried four times"
# 0 repeats: none.
rm -rf "$DST"
status=0
HAUL_TEST_FAULT="1:ESTALE:before:publish" "$HAUL_FAULTY" copy $HAUL_EXTRA --json --retries 0 "$SRC" "$(at "$DST")" \
    >"$WORK/out" 2>"$WORK/err" || status=$?
[ "$status" = 23 ] || fail "--retries 0: exit status $status"
figure_is retries 0
