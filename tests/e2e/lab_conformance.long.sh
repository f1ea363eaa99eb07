#!/usr/bin/env bash
# The conformance suite of stores, over nfs:// to the Linux kernel's server: each case as it is on a private Ganesha
# (tests/test_conformance_nfs41.c), and what only a server has. Nothing of ours is left there.
if [ "${1:-}" = --slices ]; then
    echo 1
    exit
fi
. "$(dirname "$0")/../lab/enter.sh" --rtt 0 --timeout 1600 --size 1g --mem 3072

status=0
export HAUL_TEST_NFS41_PORT=2049 HAUL_TEST_NFS41_BASE=$EXPORT HAUL_TEST_NFS41_EXPORT=
"$(dirname "$HAUL_TOOLS")/tests/test_conformance_nfs41" -j1 --timeout 600 >"$WORK/out" 2>&1 || status=$?
grep -E '^\[(FAIL|----|====)' "$WORK/out" || true
[ "$status" = 0 ] || fail "exit status $status"
! grep -q 'Tested: 0 ' "$WORK/out" || fail "no case was run"
for info in /proc/fs/nfsd/clients/*/info; do
    ! grep -q 'name: "haul' "$info" || fail "the server still knows a client: $(cat "$info")"
done
