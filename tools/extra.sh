#!/usr/bin/env bash
# Build .venv-NAME: the packages of .venv, and before them those of tools/NAME-requirements.txt.
# The stamp is written last; an interrupted set-up leaves none, and the next call starts afresh.
#
# That file has vLLM's CPU build. Where torch finds a GPU, pyproject.toml's extra is installed
# instead, with all that it needs and .venv lacks; this has not been tried.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extra=${1:?expected the name of the extra}
module=${2:?expected the module that it brings}
python=${3:?expected the Python whose packages are shared}
folder=.venv-$extra
shared=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Without their requirements, which stand in the file too, or are .venv's at its own pins.
wanted=(--no-deps -r "tools/$extra-requirements.txt")
if [[ $extra == vllm ]] && "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    wanted=("$(grep -o 'vllm==[0-9.]*' pyproject.toml)")
fi
printf '%s: making %s, up to minutes\n' "$extra" "$folder"
rm -rf "$folder"
"$python" -m venv "$folder"
# shellcheck source=tools/pip_settings.sh
source tools/pip_settings.sh
site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$shared" >"$site/shared.pth" # before pip, which counts what is there as installed
pip=("$folder/bin/python" -m pip --quiet --quiet)
"${pip[@]}" uninstall --yes setuptools # an old one, which hides .venv's
"${pip[@]}" install "${wanted[@]}"
"$folder/bin/python" -c "import $module" || {
    printf '%s: %s does not import beside the packages of .venv\n' "$extra" "$module" >&2
    exit 1
}
touch "$folder/.stamp"
