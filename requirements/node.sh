#!/bin/sh
# Install what the TypeScript example is made of, as its lock file says.
#
#   requirements/node.sh VENV
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$1" && pwd)
cd "$here/../examples/typescript"

fingerprint=$(cat package.json package-lock.json | cksum | tr ' ' -)
stamp=node_modules/.installed
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$fingerprint" ] && exit 0
printf '    installing examples/typescript\n' >&2
PATH="$venv/bin:$PATH" "$venv/bin/npm" ci --no-audit --no-fund --loglevel error
printf '%s' "$fingerprint" >"$stamp"
