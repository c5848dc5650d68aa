#!/bin/sh
# Generate clients from docs/openapi/: whole, or not at all.
#
#   requirements/clients.sh VENV TARGET LANGUAGE [LANGUAGE …]
#
# LANGUAGE is python (TARGET/python: packages kvplane_client and kvplane_agent_client,
# which pip can install from there) or typescript (TARGET/typescript: types of all
# paths). Whatever a generator cannot express fails here.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
documents=$(dirname "$here")/docs/openapi
venv=$(cd "$1" && pwd)
target=$2
shift 2
mkdir -p "$target"

python_client() {
    sed "s/kvplane-client/$2/; s/kvplane_client/$3/" "$here/python-client.yaml" >"$target/.$2.yaml"
    "$venv/bin/openapi-python-client" generate --path "$documents/$1" --meta setup \
        --config "$target/.$2.yaml" --output-path "$target/python/$2" --overwrite \
        --fail-on-warning >"$target/.$2.log" 2>&1 || {
        cat "$target/.$2.log" >&2
        exit 1
    }
    rm "$target/.$2.yaml" "$target/.$2.log"
}

typescript_types() {
    "$venv/bin/node" "$(dirname "$here")/examples/typescript/node_modules/openapi-typescript/bin/cli.js" \
        "$documents/$1" --output "$target/typescript/$2.d.ts" >/dev/null
}

for language in "$@"; do
    mkdir -p "$target/$language"
    case $language in
    python)
        python_client controlplane.yaml kvplane-client kvplane_client
        python_client agent.json kvplane-agent-client kvplane_agent_client
        ;;
    typescript)
        typescript_types controlplane.yaml controlplane
        typescript_types agent.json agent
        ;;
    *)
        printf "clients: unknown language '%s'; known are python, typescript\n" "$language" >&2
        exit 1
        ;;
    esac
done
