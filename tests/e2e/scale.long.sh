#!/usr/bin/env bash
# 1,000,000 files of mixed sizes, and 2,000,000 empty ones, each in one directory, within 96 MiB.
if [ "${1:-}" = --slices ]; then
    echo 1
    exit 0
fi
export SCALE_MIXED=1000000 SCALE_EMPTY=2000000 E2E_TIMEOUT=3600
exec bash "$(dirname "$0")/scale.sh"
