#!/usr/bin/env bash
# Build .venv from requirements.txt, for `make setup`. The stamp holds a digest of what was asked
# for and is written last: an interrupted set-up leaves none, and the next call starts afresh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}
is_311() { "$1" -I -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    if [[ -n ${PYTHON:-} ]]; then
        is_311 "$PYTHON" || fail "PYTHON=$PYTHON is not a working Python 3.11; name one that is"
        printf '%s' "$PYTHON"
        return
    fi
    for candidate in python3.11 python3; do
        if is_311 "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    fail "Python 3.11 is missing; on Debian: apt-get install python3.11 python3.11-venv" \
        "(or name one: make setup PYTHON=/path/to/python3.11)"
}

# shellcheck source=tools/pip_settings.sh
source tools/pip_settings.sh
export DS_BUILD_OPS=0 # DeepSpeed's compiled kernels are not used

python=$(find_python)
for tool in gcc git; do
    command -v "$tool" >/dev/null || fail "$tool is missing; on Debian: apt-get install $tool"
done
"$python" -I -c 'import ensurepip, venv' 2>/dev/null ||
    fail "Python's venv module is missing; on Debian: apt-get install python3.11-venv"

digest=$("$python" -I -c 'import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())' <requirements.txt)
if [[ -f .venv/.stamp && $(<.venv/.stamp) == "$digest" ]]; then
    touch .venv/.stamp # the file is newer, its content is not
    exit 0
fi

torch=$(grep '^torch==' requirements.txt)
others=$(($(grep -c '==' requirements.txt) - 1))
say "1/4 making .venv with $("$python" -I --version)"
"$python" -I -m venv --clear .venv
pip=(.venv/bin/python -I -m pip --quiet --quiet)
say "2/4 installing $torch, 1 to 5 minutes"
"${pip[@]}" install "$torch"
say "3/4 installing $others other pinned packages, 2 to 5 minutes"
"${pip[@]}" install -r requirements.txt
say "4/4 linking this checkout and checking that the packages fit together"
"${pip[@]}" install --no-deps --no-build-isolation --editable .
.venv/bin/python -I -m pip check >/dev/null || fail "the pins disagree: .venv/bin/pip check"
printf '%s\n' "$digest" >.venv/.stamp
say "done"
