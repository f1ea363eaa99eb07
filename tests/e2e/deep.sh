#!/usr/bin/env bash
# Deeper than any path can be: 2,000 directories of 10-byte names, one in the other.
. "$(dirname "$0")/lib.sh"

maketree deep "$SRC" 2000
settle
expect 0 copy --archive-dirs --json "$SRC" "$DST"
cmptree "${E2E_CMPTREE[@]}" "$SRC" "$DST" || fail "cmptree finds differences"
figure_is dirs_made 2000
expect 0 copy --archive-dirs --json "$SRC" "$DST"
figure_is todo 0
no_temps "$DST"

# With few descriptors it is as deep.
(ulimit -n 64 && expect 0 copy --archive-dirs "$SRC" "$WORK/second")
cmptree "${E2E_CMPTREE[@]}" "$SRC" "$WORK/second" || fail "cmptree finds differences"
