#!/usr/bin/env bash
# haul scan --repair in a tree of 50,000 files, 500 damaged ones of each kind, here and behind servers of NFSv4.1 and of
# NFSv3; faults and kills are in the quick one.
if [ "${1:-}" = --slices ]; then
    echo 3
    exit 0
fi
destinations=('' nfs nfs3)
export FILES=${FILES:-50000} DAMAGED=${DAMAGED:-500} CODES=${CODES:-publish}
export E2E_TIMEOUT=${E2E_TIMEOUT:-3000}
export HAUL_DST="${destinations[$(($1 - 1))]}"
exec bash "$(dirname "$0")/repair.sh"
