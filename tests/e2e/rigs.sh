#!/usr/bin/env bash
# What the tests of nfs:// stand on, without haul: a private server, a proxy that counts and cuts, a reader that is not
# haul, and the bare generator.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ganesha.sh"

need_root
mkdir "$WORK/one" "$WORK/two" "$WORK/one/run" "$WORK/two/run"
start_ganesha a "$WORK/one" "$WORK/two"
start_ganesha b "$WORK/two"
[ "$(ganesha_port a)" != "$(ganesha_port b)" ] || fail "both have the same port"

# The proxy counts what the generator sends: one COMPOUND a file, and its own of the beginning and the end.
start_cutproxy "$(ganesha_port a)" "rtt 1ms"
for folder in export/run export2/run; do
    cut_tell zero
    bench_nfsgen --files 300 --dirs 7 --connections 2 127.0.0.1 "$CUT_PORT" /$folder >"$WORK/out"
    sent=$(sed 's/.*compounds //' "$WORK/out")
    [ "$sent" = $((300 + 7 + 6)) ] || fail "compounds: $(cat "$WORK/out")"
    [ "$(cut_stat up_records)" = "$sent" ] || fail "the proxy counted $(cut_stat up_records) calls, not $sent"
    [ "$(cut_stat down_records)" = "$sent" ] || fail "the proxy counted $(cut_stat down_records) answers, not $sent"
    [ "$(cut_stat connections)" = 2 ] || fail "not two connections"
done
for folder in one two; do
    [ "$(find "$WORK/$folder/run" -type f -name 'f*' -size 8192c -perm 644 | wc -l)" = 300 ] || fail "files are missing"
    [ "$(ganesha_holds a "$WORK/$folder")" = 0 ] || fail "files are held open"
done

[ "$(ganesha_clients a)" = 0 ] || fail "a client is left"

# A round trip of 40 ms: 10 one after another take 400 ms, 40 at a time no longer than these.
cut_tell rtt 40ms
mkdir "$WORK/one/slow" "$WORK/one/fast"
bench_nfsgen --files 10 --dirs 1 --slots 1 127.0.0.1 "$CUT_PORT" /export/slow >"$WORK/slow"
bench_nfsgen --files 400 --dirs 1 --slots 40 127.0.0.1 "$CUT_PORT" /export/fast >"$WORK/fast"
awk '{ exit !($4 >= 0.4) }' "$WORK/slow" || fail "too quick for 40 ms: $(cat "$WORK/slow")"
awk '{ exit !($4 >= 0.4 && $4 < 4) }' "$WORK/fast" || fail "one after another: $(cat "$WORK/fast")"

# A cut ends the generator; what had passed was done.
cut_tell rtt 0
mkdir "$WORK/one/cut"
cut_tell cut up after 30 records
! bench_nfsgen --files 300 --dirs 1 --slots 1 127.0.0.1 "$CUT_PORT" /export/cut 2>"$WORK/err" || fail "it was not cut"
[ "$(cut_stat cuts)" = 1 ] || fail "cuts: $(cut_stat cuts)"
[ "$(ganesha_clients a)" = 1 ] || fail "the client that was cut is not seen"
wait_until 10 eval '[ "$(find "$WORK/one/cut" -name "f*" | wc -l)" = 25 ]' # 5 calls stand before the first file's
stop_cutproxy

# The reader sees what stands in the folder, whatever it is; over 4.0, which needs no further port.
maketree everything "$WORK/one/everything"
find "$WORK/one/everything" -size +8M -delete
url="nfs://127.0.0.1/export?version=4&nfsport=$(ganesha_port a)"
nfsread "$WORK/one" >"$WORK/list.folder" || fail "nfsread of the folder"
nfsread "$url" >"$WORK/list.nfs" || fail "nfsread $url"
diff "$WORK/list.folder" "$WORK/list.nfs" >"$WORK/out" || fail "libnfs reads something else"
[ "$(wc -l <"$WORK/list.folder")" -gt 800 ] || fail "the list is short"
echo x >"$WORK/one/another"
! nfsread "$url" | cmp -s - "$WORK/list.folder" || fail "a change is not seen"

# Killed, and started again at the same port; the other one lives.
port=$(ganesha_port a)
kill_ganesha a
! ganesha_answers "$port" || fail "it answers though it was killed"
ganesha_answers "$(ganesha_port b)" || fail "the other one was killed too"
restart_ganesha a
[ "$(ganesha_port a)" = "$port" ] || fail "another port"
restart_ganesha a forget
mkdir "$WORK/one/again"
bench_nfsgen --files 10 --dirs 1 127.0.0.1 "$port" /export/again >"$WORK/out" || fail "not after a restart"
stop_ganesha a
