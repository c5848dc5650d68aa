#!/bin/sh
# See to it that there is a Redis or Valkey server for the tests of the remote tier,
# which start their own on free ports.
set -eu

for candidate in redis-server valkey-server; do
    command -v "$candidate" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    printf '    installing redis-server\n' >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null
    # The package starts a service, which nothing here needs.
    if [ -d /run/systemd/system ]; then
        systemctl disable --now redis-server >/dev/null 2>&1 || true
    fi
    exit 0
fi
printf 'The tests of the remote tier need redis-server or valkey-server: install one.\n' >&2
exit 1
