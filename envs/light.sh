#!/usr/bin/env bash
# Create the environment of `make check`, without torch, in about a minute; return at once where it is up to date.
#   bash envs/light.sh [folder]      .venv-light by default; PYTHON names another Python of version 3.11 or newer
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-.venv-light}
python=${PYTHON:-python3}
stamp="$folder/installed.sha256"
pins=$("$python" -c 'import hashlib, sys; print(hashlib.sha256(b"".join(open(f, "rb").read() for f in sys.argv[1:])).hexdigest())' \
  envs/light.txt envs/light.sh envs/requirements.txt envs/snakemake.txt)
[ "$(cat "$stamp" 2>/dev/null || true)" = "$pins" ] && exit 0
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $python is older than Python 3.11: PYTHON=… make check" >&2; exit 1; }
echo "Setting up $folder, about a minute" >&2
rm -rf "$folder"
"$python" -m venv "$folder"
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
{ grep -vE '^(pip|torch|triton)==' envs/requirements.txt; grep '^snakemake==' envs/snakemake.txt; } > "$constraints"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$constraints" --requirement envs/light.txt
# The necks of mmdetection are read from its files; it is never imported.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation "$(grep '^onedl-mmdetection==' envs/requirements.txt)"
echo "$pins" > "$stamp"
