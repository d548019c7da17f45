#!/usr/bin/env bash
# Build .venv-NAME: the packages of .venv, and before them those of tools/NAME-requirements.txt.
# The stamp is written last; an interrupted set-up leaves none, and the next call starts afresh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=${1:?expected the name of the extra}
module=${2:?expected the module that it brings}
python=${3:?expected the Python whose packages are shared}
folder=.venv-$name
shared=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s: making %s\n' "$name" "$folder"
rm -rf "$folder"
"$python" -m venv "$folder"
# shellcheck source=tools/pip_settings.sh
source tools/pip_settings.sh
# Without their requirements, which stand in the file too, or are .venv's at its own pins.
"$folder/bin/python" -m pip --quiet --quiet install --no-deps -r "tools/$name-requirements.txt"
site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$shared" >"$site/shared.pth"
"$folder/bin/python" -c "import $module" || {
    printf '%s: %s does not import beside the packages of .venv\n' "$name" "$module" >&2
    exit 1
}
touch "$folder/.stamp"
