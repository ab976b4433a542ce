#!/usr/bin/env bash
# Make the folder of wheels that tests/gpu/first_look.sh installs on a machine without a network: `wheels.sh FOLDER`.
# It needs pip and a package index, no GPU. Prints what is in it.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd) folder=$1 most=60000000
python=${PYTHON:-python3}
pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT
# The pinned lines of the packages in wheels.txt, hashes included.
while read -r name _; do
  awk -v name="$name" '/^[^ ]/ { wanted = index($0, name "==") == 1 } wanted { found = 1; print }
    END { exit !found }' "$here/../../requirements/base.txt" >>"$pinned" ||
    { echo "$name is not in requirements/base.txt" >&2; exit 1; }
done < <(grep -v '^#' "$here/wheels.txt")
mkdir -p "$folder"
platforms=()
for tag in manylinux1 manylinux2014 manylinux_2_17 manylinux_2_24 manylinux_2_26 manylinux_2_27 manylinux_2_28 linux; do
  platforms+=(--platform "${tag}_x86_64")
done
"$python" -m pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version 3.12 \
  "${platforms[@]}" --require-hashes -r "$pinned" -d "$folder"
(cd "$folder" && ls -lS -- *.whl | awk '{ print $5, $9 }')
bytes=$(cat "$folder"/*.whl | wc -c)
echo "$bytes bytes together"
[ "$bytes" -le $most ] || { echo "that is more than $most bytes" >&2; exit 1; }
