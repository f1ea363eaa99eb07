#!/usr/bin/env bash
# haul scan --repair in a tree of 50,000 files, 500 damaged ones of each kind; faults and kills are in the quick one.
if [ "${1:-}" = --slices ]; then
    echo 1
    exit 0
fi
export FILES=${FILES:-50000} DAMAGED=${DAMAGED:-500} CODES=${CODES:-publish}
export E2E_TIMEOUT=${E2E_TIMEOUT:-3000}
for HAUL_DST in "" nfs; do
    export HAUL_DST
    bash "$(dirname "$0")/repair.sh"
done
