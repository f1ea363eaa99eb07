#!/usr/bin/env bash
# Each of the first 200 calls of a copy of 500 files is cut, in five ways; a slice for each way.
if [ "${1:-}" = --slices ]; then
    echo 5
    exit 0
fi
ways=(up-before up-within up-after down-before down-within)
export CUT_WAYS=${ways[$(($1 - 1))]} E2E_TIMEOUT=1800
CUT_CALLS=$(seq -s ' ' 200)
export CUT_CALLS
exec bash "$(dirname "$0")/nfscuts.sh"
