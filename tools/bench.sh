#!/usr/bin/env bash
# Build .venv-bench for `make bench`: the packages of .venv and those of bench-requirements.txt.
# The stamp is written last; an interrupted set-up leaves none, and the next call starts afresh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${1:?expected the Python whose packages are shared}
shared=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf 'bench: making .venv-bench, about a minute\n'
rm -rf .venv-bench
"$python" -m venv .venv-bench
# shellcheck source=tools/pip_settings.sh
source tools/pip_settings.sh
# Without their requirements, which .venv has at its own pins.
.venv-bench/bin/python -m pip --quiet --quiet install --no-deps -r tools/bench-requirements.txt
site=$(.venv-bench/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$shared" >"$site/shared.pth"
.venv-bench/bin/python -c 'import trl' || {
    printf 'bench: TRL does not import beside these packages\n' >&2
    exit 1
}
touch .venv-bench/.stamp
