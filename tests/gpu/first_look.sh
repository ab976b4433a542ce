#!/usr/bin/env bash
# The first twelve minutes on a machine with one GPU: `tests/gpu/first_look.sh WHEELS OUT`, from the checkout's root.
#
# It needs Python 3.12 with torch and numpy, and WHEELS as tests/gpu/wheels.sh makes it; no network, no Transformer
# Engine, no compiler. OUT/first_look.json grows with each step; OUT/first_look.txt is for people. `-` for WHEELS: what
# is needed is installed. Without a GPU the same steps are rehearsed with tiny shapes.
set -euo pipefail
[ $# = 2 ] || { echo "usage: $0 WHEELS OUT" >&2; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd) python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The checkout's rooms under their import name, and who they are: nothing is built or installed.
mkdir -p "$work/site/pdapt" "$work/site/pdapt-0.dist-info" "$2"
for room in "$root"/*/; do
  [ -f "$room/__init__.py" ] && ln -s "$room" "$work/site/pdapt/$(basename "$room")"
done
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml")
printf 'Metadata-Version: 2.1\nName: pdapt\nVersion: %s\n' "$version" >"$work/site/pdapt-0.dist-info/METADATA"
if [ "$1" != - ]; then
  for wheel in "$1"/*.whl; do "$python" -m zipfile -e "$wheel" "$work/wheels"; done
fi
export PYTHONPATH="$work/site:$work/wheels" PYTHONUNBUFFERED=1
out=$(cd "$2" && pwd)
cd "$root"
timeout --kill-after=10 705 "$python" tests/gpu/first_look/run.py "$out" "$work"
