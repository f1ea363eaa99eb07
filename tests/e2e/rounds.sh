#!/usr/bin/env bash
# Months of hourly syncs in minutes: rounds of random changes at the source (tools/shake.c), each followed by a sync with
# --delete, before which now and then one is killed, finds the disk full or has a file fail; after each clean one rsync
# finds nothing to do. ROUNDS: how many. SEED: of an earlier run, to see it again.
. "$(dirname "$0")/lib.sh"

rounds=${ROUNDS:-20}
[ "$HAUL_DST" != nfs ] || rounds=${ROUNDS:-10}
RANDOM=${SEED:-$((($(date +%N | sed 's/^0*//;s/^$/1/') / 1000) % 32768))}
echo "SEED of each round is printed; the script's is the first: $RANDOM"

# pick FROM TO
pick() { echo $(($1 + (RANDOM * 32768 + RANDOM) % ($2 - $1 + 1))); }

judged() {
    local diff
    diff=$(rsync -aHnO "${E2E_RSYNC[@]}" --checksum --delete --itemize-changes --exclude=/.haul "$SRC/" "$DST/") ||
        fail "rsync could not judge"
    [ -z "$diff" ] || fail "round $round: rsync finds: $(head -n 30 <<<"$diff")"
    no_temps "$DST"
    # All is settled: nothing is remembered that may be otherwise at the destination.
    [ "$(sqlite3 "$XDG_STATE_HOME"/haul/*.db 'SELECT count(*) FROM files WHERE flags & 2 OR mode = 0')" = 0 ] ||
        fail "round $round: the state has entries that were only announced"
}

# mishap: a sync to which something happens. It may also come through.
mishap() {
    local fault status=0
    case $(pick 1 5) in
    1) fault="$(pick 1 60):EIO:kill:publish,begin,write,commit,setattr,link,symlink,mkdir,remove" ;;
    2) fault="$(pick 1 15):EIO:kill:remove,link,setattr,mkdir" ;;
    3) fault="$(pick 1 40)+100000:ENOSPC:before:publish,begin,write,commit,link,symlink,mkdir" ;;
    4) fault="$(pick 1 40)+$(pick 1 5):EIO:before:publish,begin,write,commit,link,symlink,mkdir,setattr,remove" ;;
    5) fault="$(pick 1 40):EIO:after:publish,commit,link,symlink,mkdir,setattr,remove" ;;
    esac
    # shellcheck disable=SC2086
    HAUL_TEST_FAULT=$fault "$HAUL_FAULTY" sync $HAUL_EXTRA --delete --max-delete=100% --retries 0 "$SRC" "$(at "$DST")" \
        >"$WORK/out" 2>"$WORK/err" || status=$?
    check_sanitizers
    case $status in
    0 | 11 | 23) ;;
    *) fail "round $round, fault $fault: exit status $status" ;;
    esac
    echo "  mishap $fault: exit status $status"
}


maketree spread "$SRC" 10 200 3000
shake "$SRC" "$RANDOM" 200 >/dev/null
for round in $(seq "$rounds"); do
    for _ in $(seq "$(pick 0 2)"); do
        mishap
        [ "$(pick 0 1)" = 0 ] || shake "$SRC" "$(pick 1 30000)" "$(pick 1 10)" >>"$WORK/changes"
    done
    expect 0 sync --delete --max-delete=100% "$SRC" "$DST"
    judged
    seed=$(pick 1 1000000)
    echo "round $round: right; next seed $seed"
    shake "$SRC" "$seed" "$(pick 0 40)" >"$WORK/changes"
done
