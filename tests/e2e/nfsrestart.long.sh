#!/usr/bin/env bash
# The server killed and started again 20 times in a copy of 20,000 files: a slice for each kind of restart.
if [ "${1:-}" = --slices ]; then
    echo 3
    exit 0
fi
kinds=(remembers forgets grace)
export RESTART_KINDS=${kinds[$(($1 - 1))]} RESTART_FILES=20000 RESTART_TIMES=20 E2E_TIMEOUT=1200
exec bash "$(dirname "$0")/nfsrestart.sh"
