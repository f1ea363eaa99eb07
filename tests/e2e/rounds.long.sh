#!/usr/bin/env bash
# 300 rounds of random changes in ten slices, and 100 over nfs:// in five more.
if [ "${1:-}" = --slices ]; then
    echo 15
    exit 0
fi
export E2E_TIMEOUT=2400 ROUNDS=30
[ "$1" -le 10 ] || export HAUL_DST=nfs ROUNDS=20
exec bash "$(dirname "$0")/rounds.sh"
