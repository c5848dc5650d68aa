#!/bin/sh
# Generate clients from docs/openapi/; each takes the place of the one before when it
# is whole.
#
#   requirements/clients.sh VENV TARGET LANGUAGE [LANGUAGE …]
#
# LANGUAGE is python (TARGET/python: projects with the packages kvplane_client and
# kvplane_agent_client, which pip can install) or typescript (TARGET/typescript: types
# of all paths; needs requirements/node.sh). What a generator cannot express fails here.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
venv=$(cd "$1" && pwd)
target=$2
shift 2
mkdir -p "$target"
scratch=$(mktemp -d "$target/.new.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

python_client() {
    sed "s/kvplane-client/$2/; s/kvplane_client/$3/" "$here/python-client.yaml" >"$scratch/$2.yaml"
    "$venv/bin/openapi-python-client" generate --path "$root/docs/openapi/$1" --meta setup \
        --config "$scratch/$2.yaml" --output-path "$scratch/$2" --fail-on-warning \
        >"$scratch/log" 2>&1 || {
        cat "$scratch/log" >&2
        exit 1
    }
    rm -rf "$target/python/$2"
    mv "$scratch/$2" "$target/python/$2"
}

typescript_types() {
    "$venv/bin/node" "$root/examples/typescript/node_modules/openapi-typescript/bin/cli.js" \
        "$root/docs/openapi/$1" --output "$scratch/$2.d.ts" >/dev/null
    mv "$scratch/$2.d.ts" "$target/typescript/$2.d.ts"
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
