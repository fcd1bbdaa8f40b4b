#!/usr/bin/env bash
# Create the environment from the pins of envs/requirements.txt; return at once where it is up to date.
#   bash envs/setup.sh [folder]      a virtual environment, .venv by default, or an existing conda environment
# Where GPUs are, mmcv is compiled for them: see envs/cuda.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source envs/cuda.sh
folder=${1:-.venv}
stamp="$folder/installed.sha256"
pins=$(cat envs/requirements.txt envs/snakemake.txt envs/setup.sh envs/cuda.sh pyproject.toml kernels/cpu/*.cpp kernels/cpu/*.h kernels/cpu/library.py | sha256sum)

build_operators() {
    "$folder/bin/python" -m kernels.cpu.build || echo "The much slower operators in plain torch will be used." >&2
}

pin() {
    grep -E "^($1)==" envs/requirements.txt
}

stamped() {
    [ ! -f "$stamp" ] || sed -n "s/^$1: //p" "$stamp"
}

# Whether the mmcv of the stamp was compiled for all GPUs for which one is wanted now.
compiled_for_gpus() {
    local architecture
    for architecture in ${architectures//;/ }; do
        [[ ";$(stamped cuda | sed 's/+PTX//g');" == *";${architecture%+PTX};"* ]] || return 1
    done
}

architectures=""
if cuda_wanted; then
    architectures=$(cuda_architectures)
fi
if [ "$(stamped pins)" = "$pins" ] && compiled_for_gpus; then
    compgen -G "kernels/cpu/libraries/*.so" >/dev/null || build_operators
    exit 0
fi

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

if [ -n "$architectures" ]; then
    nvcc=$(find_nvcc)
    announce_cuda "$architectures" "$nvcc"
    check_cuda_compiler "$nvcc" "$architectures"
fi
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

install() {
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

# Snakemake and what it needs, in an environment of their own; its command stands beside the programs of the other.
install_snakemake() {
    local inner="$folder/snakemake"
    [ -x "$inner/bin/python" ] || "$python" -m venv "$inner"
    "$inner/bin/python" -m pip install --quiet --disable-pip-version-check -r envs/snakemake.txt
    "$inner/bin/python" -m pip check
    printf "%s\n" "$PWD" >"$("$inner/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
    # Earlier versions had it in the one environment.
    "$python" -m pip uninstall --quiet --yes snakemake snakemake-executor-plugin-slurm snakemake-executor-plugin-slurm-jobstep 2>/dev/null
    ln -sf ../snakemake/bin/snakemake "$folder/bin/snakemake"
}

echo "Setting up $folder: 1/6 torch"
# shellcheck disable=SC2046
install $(pin "pip|setuptools|wheel|ninja|numpy|packaging|psutil|torch")
# In build isolation mmcv would not see torch and would leave its operators out without a word.
build=$(pin "torch|onedl-mmcv" | paste -sd " ")
if [ -z "$architectures" ]; then
    echo "Setting up $folder: 2/6 mmcv with its operators, compiled once: 10 to 20 minutes on two cores"
    # Where GPUs are left out on purpose, mmcv must not find them either.
    CUDA_VISIBLE_DEVICES="" FORCE_CUDA=0 MMCV_WITH_OPS=1 install --no-build-isolation "$(pin onedl-mmcv)"
elif ! compiled_for_gpus || [ "$(stamped build)" != "$build" ]; then
    check_cuda_torch "$python" "$nvcc"
    echo "Setting up $folder: 2/6 mmcv with its operators for CUDA, compiled once"
    CUDA_HOME=$(cuda_home "$nvcc")
    export CUDA_HOME FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="$architectures"
    # A wheel's name does not tell whether it has CUDA: neither pip's cache nor what is installed may stand in.
    MMCV_WITH_OPS=1 install --no-build-isolation --no-cache-dir --no-binary onedl-mmcv --no-deps --force-reinstall "$(pin onedl-mmcv)"
fi
echo "Setting up $folder: 3/6 everything else"
install -r envs/requirements.txt
# Two packages bring the same OpenCV; the one without a display is wanted, because it runs where libGL is missing.
install --force-reinstall --no-deps "$(pin opencv-python-headless)"
echo "Setting up $folder: 4/6 this project"
install --no-deps --no-build-isolation --editable .
"$python" -m pip check
echo "Setting up $folder: 5/6 Snakemake, in an environment of its own"
install_snakemake
echo "Setting up $folder: 6/6 the C++ operators, compiled once: half a minute"
build_operators
"$python" -c "import mmcv.ops" || fail "mmcv was installed without its operators; remove it from pip's cache (pip cache remove onedl_mmcv) and try again"
if [ -n "$(mmcv_cuda "$python")" ]; then
    architectures=${architectures:-$(stamped cuda)}
elif [ -n "$architectures" ]; then
    fail "mmcv was compiled without its CUDA operators; remove $folder and try again"
fi
# The GPUs are to be tried again with what is installed now.
rm -f checks/*_gpus.json
printf "pins: %s\ncuda: %s\nbuild: %s\n" "$pins" "$architectures" "$build" >"$stamp"
