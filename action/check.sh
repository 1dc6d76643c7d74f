#!/usr/bin/env bash
# What action.yml runs: one check, with all that a CI keeps of it in one folder. Usable from any other CI, too.
#
#   MEMTRACE           the program
#   MEMTRACE_SERVER    what starts the server, for `sh -c`
#   MEMTRACE_CLIENT    what drives it, for `sh -c`; the server's port is in MEMTRACE_PORT then
#   MEMTRACE_BASELINE  the baseline's file
#   MEMTRACE_FOLDER    where run.mtr, run.pftrace, comment.md, tests.xml and the baseline go
#   MEMTRACE_OPTIONS   further options, separated by blanks
set -euo pipefail
for name in MEMTRACE MEMTRACE_SERVER MEMTRACE_CLIENT MEMTRACE_BASELINE MEMTRACE_FOLDER; do
    [ -n "${!name:-}" ] || {
        echo "check.sh: $name is not set; its first lines say what it is for" >&2
        exit 2
    }
done
mkdir -p "$MEMTRACE_FOLDER"
read -ra options <<<"${MEMTRACE_OPTIONS:-}"
check=(
    "$MEMTRACE" check --baseline "$MEMTRACE_BASELINE" --drive "$MEMTRACE_CLIENT"
    --keep "$MEMTRACE_FOLDER/run.mtr" --perfetto "$MEMTRACE_FOLDER/run.pftrace"
    --markdown "$MEMTRACE_FOLDER/comment.md" --junit "$MEMTRACE_FOLDER/tests.xml"
    "${options[@]}"
)
# The server is the shell's successor, so that it is what is ended.
server=(sh -c "exec $MEMTRACE_SERVER")
if [ "$(id -u)" != 0 ]; then
    # The server runs as who runs this, as it does without memtrace.
    check=(sudo --preserve-env env "PATH=$PATH" "${check[@]}" --user "$(id -un)")
fi
status=0
"${check[@]}" -- "${server[@]}" || status=$?
# As it is now: --update has written it anew.
[ ! -e "$MEMTRACE_BASELINE" ] || cp "$MEMTRACE_BASELINE" "$MEMTRACE_FOLDER/memtrace.toml"
exit "$status"
