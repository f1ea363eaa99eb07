#!/usr/bin/env bash
# kill -9 while a large file is under way, 20 times, each followed by a run that sends only what is missing; and with
# all of it through the temp dir.
if [ "${1:-}" = --slices ]; then
    echo 2
    exit 0
fi
extras=('' '--stage always')
export KILLS=20 E2E_TIMEOUT=1500 HAUL_EXTRA="${extras[$(($1 - 1))]}"
exec bash "$(dirname "$0")/partial.sh"
