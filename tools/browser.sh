#!/usr/bin/env bash
# Install the browser of the slow tests, Debian's Chromium, unless one is there. It takes root.
set -euo pipefail

fail() {
    printf 'browser: %s\n' "$*" >&2
    exit 1
}

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then
        exit 0
    fi
done
command -v apt-get >/dev/null ||
    fail "no Chromium, and no apt-get to install it with; install chromium and try again"
as_root=()
if [[ $(id -u) -ne 0 ]]; then
    sudo -n true 2>/dev/null || fail "no Chromium; as root: apt-get install chromium"
    as_root=(sudo -n)
fi
printf 'browser: installing chromium, 1 to 3 minutes\n'
for step in update "install --yes --no-install-recommends chromium"; do
    # shellcheck disable=SC2086 - the step is a command with its options
    said=$("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get $step 2>&1) || {
        tail -n 20 <<<"$said" >&2
        fail "apt-get $step failed"
    }
done
