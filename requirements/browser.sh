#!/bin/sh
# See to it that there is a Chromium for the tests that look at pages.
# KVPLANE_CHROMIUM names one that lies elsewhere.
set -eu

for candidate in "${KVPLANE_CHROMIUM:-}" chromium chromium-browser google-chrome; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    printf '    installing chromium\n' >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
    exit 0
fi
printf 'The page tests need Chromium: install it, or name it in KVPLANE_CHROMIUM.\n' >&2
exit 1
