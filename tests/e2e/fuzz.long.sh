#!/usr/bin/env bash
# An hour of fuzzing what reads an NFS server's replies, a minute for each slice.
if [ "${1:-}" = --slices ]; then
    echo 60
    exit 0
fi
. "$(dirname "$0")/lib.sh"
"$top/tests/fuzz" 60 "${1:-1}"
