#!/usr/bin/env bash
# Create the environment from the pins of envs/requirements.txt; return at once where it is up to date.
#   bash envs/setup.sh [folder]      a virtual environment, .venv by default, or an existing conda environment
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-.venv}
stamp="$folder/installed.sha256"
pins=$(cat envs/requirements.txt envs/setup.sh pyproject.toml kernels/cpu/*.cpp kernels/cpu/*.h kernels/cpu/library.py | sha256sum)

build_operators() {
    "$folder/bin/python" -m kernels.cpu.build || echo "The much slower operators in plain torch will be used." >&2
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$pins" ]; then
    compgen -G "kernels/cpu/libraries/*.so" >/dev/null || build_operators
    exit 0
fi

fail() {
    echo "error: $1" >&2
    exit 1
}

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

if [ ! -x "$folder/bin/python" ]; then
    for python in "${PYTHON:-python3}" python3.12 python3.11; do
        supported "$python" && break
    done
    supported "$python" || fail "no Python 3.11 or 3.12 found (Snakemake 9 needs 3.11); name one: PYTHON=/path/to/python make tables"
    "$python" -m venv "$folder" || rm -rf "$folder"
    [ -x "$folder/bin/pip" ] || fail "python cannot create virtual environments; on Debian: apt-get install python3-venv"
fi
python="$folder/bin/python"
supported "$python" || fail "$folder has another Python than 3.11 or 3.12; remove the folder and try again"
command -v c++ >/dev/null || fail "no C++ compiler found; on Debian: apt-get install g++"
header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
[ -f "$header" ] || fail "Python's headers are missing ($header); on Debian: apt-get install python3-dev"

pin() {
    grep -E "^($1)==" envs/requirements.txt
}

install() {
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

echo "Setting up $folder: 1/5 torch"
# shellcheck disable=SC2046
install $(pin "pip|setuptools|wheel|ninja|numpy|packaging|psutil|torch")
echo "Setting up $folder: 2/5 mmcv with its operators, compiled once: 10 to 20 minutes on two cores"
# In build isolation mmcv would not see torch and would leave its operators out without a word.
MMCV_WITH_OPS=1 install --no-build-isolation "$(pin onedl-mmcv)"
echo "Setting up $folder: 3/5 everything else"
install -r envs/requirements.txt
# Two packages bring the same OpenCV; the one without a display is wanted, because it runs where libGL is missing.
install --force-reinstall --no-deps "$(pin opencv-python-headless)"
echo "Setting up $folder: 4/5 this project"
install --no-deps --no-build-isolation --editable .
"$python" -m pip check
echo "Setting up $folder: 5/5 the C++ operators, compiled once: half a minute"
build_operators
"$python" -c "import mmcv.ops" || fail "mmcv was installed without its operators; remove it from pip's cache (pip cache remove onedl_mmcv) and try again"
echo "$pins" >"$stamp"
