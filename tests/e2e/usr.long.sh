#!/usr/bin/env bash
# All of /usr.
if [ "${1:-}" = --slices ]; then
    echo 1
    exit 0
fi
export USR_PARTS=/usr E2E_TIMEOUT=3600
exec bash "$(dirname "$0")/usr.sh"
