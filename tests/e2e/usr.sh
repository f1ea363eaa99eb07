#!/usr/bin/env bash
# Parts of the system itself, as they are: hundreds of programs, tens of thousands of small files.
. "$(dirname "$0")/lib.sh"
need_root

for part in ${USR_PARTS:-/usr/share /usr/bin}; do
    expect 0 copy --archive-dirs --json "$part" "$DST"
    judge "$part" "$DST"
    no_temps "$DST"
    echo "$part: $(figure files) files, $(figure bytes) bytes, $(figure seconds) s"
    expect 0 copy --archive-dirs --json "$part" "$DST"
    figure_is files 0
    rm -rf "$DST" "$XDG_STATE_HOME"
done
