#!/usr/bin/env bash
# Damage planted in a tree of 50,000 files; behind a server too, of NFSv4.1 and of NFSv3, with the calls of a scan of 200,000
# files in 2,000 directories.
if [ "${1:-}" = --slices ]; then
    echo 3
    exit 0
fi
destinations=('' nfs nfs3)
export FILES=50000 WIDE=200000 E2E_TIMEOUT=1500 HAUL_DST="${destinations[$(($1 - 1))]}"
exec bash "$(dirname "$0")/scan.sh"
