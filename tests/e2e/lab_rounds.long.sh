#!/usr/bin/env bash
# 30 rounds of random changes (rounds.sh) to the kernel mount of the lab, in ten slices.
if [ "${1:-}" = --slices ]; then
    echo 10
    exit 0
fi
if [ -z "${LAB:-}" ]; then
    exec bash "$(dirname "$0")/../lab/vm" --rtt 1ms --timeout 1500 -- env SEED="${SEED:-}" bash "$0" "$@"
fi
export TMPDIR=$SCRATCH E2E_TIMEOUT=1450 HAUL_DST=lab ROUNDS=${ROUNDS:-3}
exec bash "$(dirname "$0")/rounds.sh"
