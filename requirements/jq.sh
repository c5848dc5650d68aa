#!/bin/sh
# See to it that there is jq for the tests that read `--json` as a script does.
set -eu

command -v jq >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    printf '    installing jq\n' >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends jq >/dev/null
    exit 0
fi
printf 'The tests of the commands need jq: install it.\n' >&2
exit 1
